//! A `dns` step: what is asked, whom, and how.

use parallax_common::check::{DnsClass, DnsStep, DnsTransport, DnsType, StepKind};
use parallax_common::rule;
use parallax_common::target::{is_dns_name, parse_server, shown_address};
use parallax_common::text::nearest;

use super::{Findings, no_reference};
use crate::v1;

/// Reads a `dns` step.
pub(super) fn dns(step: &v1::DnsStep, at: &str, findings: &mut Findings<'_>) -> Option<StepKind> {
    let field = |name: &str| format!("{at}{name}");
    if step.name.is_empty() {
        findings.add(rule::MISSING_FIELD, field("name"), "a name to ask about is needed");
    } else if !no_reference(&step.name, &field("name"), findings) && !is_dns_name(&step.name) {
        let message = format!("`{}` is not a name such as shop.example", step.name);
        findings.add(rule::DNS_NAME, field("name"), message);
    }
    let record_type = DnsType::from_word(&step.r#type);
    if record_type.is_none() {
        let words = || DnsType::ALL.iter().map(|word| word.word());
        let known: Vec<&str> = words().collect();
        let message = format!("`{}` is not one of {}", step.r#type, known.join(", "));
        findings.add_near(rule::DNS_TYPE, field("type"), message, nearest(&step.r#type, words()));
    }
    let class = DnsClass::from_word(&step.class);
    if class.is_none() {
        let message = format!("`{}` is not one of IN, CH, HS", step.class);
        findings.add(rule::DNS_CLASS, field("class"), message);
    }
    let server = match step.server.as_str() {
        "" => None,
        text if no_reference(text, &field("server"), findings) => None,
        text => parse_server(text)
            .map_err(|error| findings.add(error.rule, field("server"), error.message))
            .ok(),
    };
    let transport = match step.transport() {
        v1::DnsTransport::Udp => Some(DnsTransport::Udp),
        v1::DnsTransport::UdpOnly => Some(DnsTransport::UdpOnly),
        v1::DnsTransport::Tcp => Some(DnsTransport::Tcp),
        v1::DnsTransport::Unspecified => {
            let message = "transport is udp, udp_only or tcp";
            findings.add(rule::ENUM_UNKNOWN, field("transport"), message);
            None
        }
    };
    if server.is_some() == step.server.is_empty() || step.name.is_empty() {
        return None;
    }
    Some(StepKind::Dns(DnsStep {
        name: step.name.clone(),
        record_type: record_type?,
        class: class?,
        server,
        transport: transport?,
        recursion: step.recursion.unwrap_or(true),
    }))
}

/// A `dns` step as messages carry it.
pub(super) fn dns_to(step: &DnsStep) -> v1::DnsStep {
    let server = step.server.as_ref().map(|(host, port)| shown_address(host, *port));
    v1::DnsStep {
        name: step.name.clone(),
        r#type: step.record_type.word().to_owned(),
        class: step.class.word().to_owned(),
        server: server.unwrap_or_default(),
        transport: match step.transport {
            DnsTransport::Udp => v1::DnsTransport::Udp,
            DnsTransport::UdpOnly => v1::DnsTransport::UdpOnly,
            DnsTransport::Tcp => v1::DnsTransport::Tcp,
        } as i32,
        recursion: Some(step.recursion),
    }
}

/// Fills in what a `dns` step does not say. Types and classes are written in upper case.
pub(in crate::convert) fn normalise_dns(step: &mut v1::DnsStep) {
    for (word, default) in [(&mut step.r#type, "A"), (&mut step.class, "IN")] {
        match word.is_empty() {
            true => default.clone_into(word),
            false => word.make_ascii_uppercase(),
        }
    }
    if step.transport == v1::DnsTransport::Unspecified as i32 {
        step.transport = v1::DnsTransport::Udp as i32;
    }
    step.recursion.get_or_insert(true);
}
