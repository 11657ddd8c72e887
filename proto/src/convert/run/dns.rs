//! A `dns` step: what is asked, whom, and how.

use parallax_common::check::{DnsClass, DnsStep, DnsTransport, DnsType, StepKind, TlsOptions};
use parallax_common::limits::DNS_PATH_BYTES_MAX;
use parallax_common::rule;
use parallax_common::target::{is_dns_name, parse_server, shown_address};
use parallax_common::text::nearest;

use super::{Findings, enums, no_reference, pem, tls_options};
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
    let transport = match step.transport() {
        v1::DnsTransport::Udp => Some(DnsTransport::Udp),
        v1::DnsTransport::UdpOnly => Some(DnsTransport::UdpOnly),
        v1::DnsTransport::Tcp => Some(DnsTransport::Tcp),
        v1::DnsTransport::Tls => Some(DnsTransport::Tls),
        v1::DnsTransport::Https => Some(DnsTransport::Https),
        v1::DnsTransport::Unspecified => {
            let message = "transport is udp, udp_only, tcp, tls or https";
            findings.add(rule::ENUM_UNKNOWN, field("transport"), message);
            None
        }
    };
    let secure = transport.is_some_and(DnsTransport::is_secure);
    let tls = handshake(step, secure, at, findings);
    let path = path(step, transport, &field("path"), findings);
    let server = match step.server.as_str() {
        "" if secure => {
            // The system's servers, and those of a check's resolver, are addresses for plain DNS.
            let message = "a server is needed: over tls and https none is known otherwise";
            findings.add(rule::MISSING_FIELD, field("server"), message);
            return None;
        }
        "" => None,
        text if no_reference(text, &field("server"), findings) => None,
        text => parse_server(text, transport.map_or(53, DnsTransport::port))
            .map_err(|error| findings.add(error.rule, field("server"), error.message))
            .ok(),
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
        tls,
        path,
    }))
}

/// Reads what holds for the handshake; where there is none, none of it may be given.
fn handshake(
    step: &v1::DnsStep,
    secure: bool,
    at: &str,
    findings: &mut Findings<'_>,
) -> Option<TlsOptions> {
    let why_not = "transport is neither tls nor https";
    let given = (step.insecure, step.server_name.as_str(), step.ca_pem.as_str());
    let mut tls = tls_options(given, secure, why_not, at, findings);
    if step.min_tls != v1::TlsVersion::Unspecified as i32 {
        let field = format!("{at}min_tls");
        tls.min_version = enums::tls_version(step.min_tls);
        if !secure {
            let message = format!("min_tls has no effect: {why_not}");
            findings.add(rule::TLS_WITHOUT_TLS, field, message);
        } else if tls.min_version.is_none() {
            findings.add(rule::ENUM_UNKNOWN, field, "min_tls is 1.2 or 1.3");
        }
    }
    secure.then_some(tls)
}

fn path(
    step: &v1::DnsStep,
    transport: Option<DnsTransport>,
    field: &str,
    findings: &mut Findings<'_>,
) -> Option<String> {
    let path = step.path.as_str();
    if path.is_empty() {
        return None;
    }
    let fits = path.starts_with('/')
        && path.len() <= DNS_PATH_BYTES_MAX
        && path.bytes().all(|b| b.is_ascii_graphic() && b != b'#');
    if transport != Some(DnsTransport::Https) {
        findings.add(rule::DNS_PATH, field, "a path has an effect with transport: https only");
    } else if !no_reference(path, field, findings) && !fits {
        findings.add(rule::DNS_PATH, field, format!("`{path}` is not a path such as /dns-query"));
    }
    Some(path.to_owned())
}

/// A `dns` step as messages carry it.
pub(super) fn dns_to(step: &DnsStep) -> v1::DnsStep {
    let tls = step.tls.clone().unwrap_or_default();
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
            DnsTransport::Tls => v1::DnsTransport::Tls,
            DnsTransport::Https => v1::DnsTransport::Https,
        } as i32,
        recursion: Some(step.recursion),
        insecure: tls.insecure,
        ca_pem: pem(&tls),
        server_name: tls.server_name.unwrap_or_default(),
        min_tls: tls.min_version.map_or(v1::TlsVersion::Unspecified as i32, enums::tls_version_to),
        path: step.path.clone().unwrap_or_default(),
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
    if step.transport == v1::DnsTransport::Https as i32 && step.path.is_empty() {
        "/dns-query".clone_into(&mut step.path);
    }
    step.recursion.get_or_insert(true);
}
