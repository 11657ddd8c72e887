//! A `grpc` step: which server, which service, and what goes with the call.

use parallax_common::check::{GrpcStep, StepKind};
use parallax_common::limits::{GRPC_SERVICE_BYTES_MAX, HEADERS_MAX};
use parallax_common::rule;
use parallax_common::target::{is_host, parse_address, shown_address};

use super::{
    Findings, enums, header_to, http, no_reference, pem, secret_to, template, tls_options,
};
use crate::v1;

/// Keys that a call sets itself, beside everything that begins with `grpc-`.
/// With the ones that HTTP/2 has no use for, which would be refused by each run.
const RESERVED: [&str; 11] = [
    "connection",
    "content-length",
    "content-type",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
];

/// Reads a `grpc` step.
pub(super) fn grpc(step: &v1::GrpcStep, at: &str, findings: &mut Findings<'_>) -> Option<StepKind> {
    let field = |name: &str| format!("{at}{name}");
    let why_not = "tls is not set";
    let given = (step.insecure, step.server_name.as_str(), step.ca_pem.as_str());
    let mut tls = tls_options(given, step.tls, why_not, at, findings);
    let identity = [
        ("min_tls", step.min_tls != v1::TlsVersion::Unspecified as i32),
        ("client_cert", step.client_cert.is_some()),
        ("client_key", step.client_key.is_some()),
    ];
    if step.tls {
        tls.min_version = enums::tls_version(step.min_tls);
        if tls.min_version.is_none() && identity[0].1 {
            findings.add(rule::ENUM_UNKNOWN, field("min_tls"), "min_tls is 1.2 or 1.3");
        }
        tls.client = http::client((&step.client_cert, &step.client_key), at, findings);
    } else {
        for (name, _) in identity.into_iter().filter(|(_, given)| *given) {
            let message = format!("{name} has no effect: {why_not}");
            findings.add(rule::TLS_WITHOUT_TLS, field(name), message);
        }
    }
    let one_line = !step.service.chars().any(char::is_control);
    if step.service.len() > GRPC_SERVICE_BYTES_MAX || !one_line {
        let message = format!(
            "a service such as shop.v1.Cart, in one line of at most {GRPC_SERVICE_BYTES_MAX} bytes"
        );
        findings.add(rule::GRPC_SERVICE, field("service"), message);
    }
    no_reference(&step.service, &field("service"), findings);
    let authority = authority(&step.authority, &field("authority"), findings);
    let metadata = metadata(&step.metadata, &field("metadata"), findings);
    let field = field("address");
    if no_reference(&step.address, &field, findings) && !findings.is_stored() {
        return None;
    }
    match parse_address(&step.address) {
        Ok((host, port)) => Some(StepKind::Grpc(GrpcStep {
            host,
            port,
            service: step.service.clone(),
            tls: step.tls.then_some(tls),
            authority,
            metadata,
        })),
        Err(error) => {
            findings.add(error.rule, field, error.message);
            None
        }
    }
}

fn authority(text: &str, field: &str, findings: &mut Findings<'_>) -> Option<String> {
    if text.is_empty() {
        return None;
    }
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let host = is_host(text) && !text.contains(':');
    let bracketed = bare.is_some_and(|text| text.parse::<std::net::Ipv6Addr>().is_ok());
    if !no_reference(text, field, findings) && !host && !bracketed && parse_address(text).is_err() {
        let message = format!("`{text}` is not a host such as shop.example or shop.example:443");
        findings.add(rule::GRPC_AUTHORITY, field, message);
    }
    Some(text.to_owned())
}

fn metadata(given: &[v1::Header], at: &str, findings: &mut Findings<'_>) -> Vec<(String, String)> {
    if given.len() > HEADERS_MAX {
        let message = format!("{} keys are given; at most {HEADERS_MAX} are allowed", given.len());
        findings.add(rule::HEADERS_TOO_MANY, at, message);
        if !findings.is_stored() {
            return Vec::new();
        }
    }
    let mut built = Vec::new();
    for v1::Header { name, value } in given {
        let field = format!("{at}.{name}");
        let letter = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b);
        if name.is_empty() || !name.bytes().all(letter) {
            let message = format!("`{name}` cannot be a key of metadata");
            findings.add(rule::GRPC_METADATA, field.as_str(), message);
        } else if RESERVED.contains(&name.as_str()) || name.starts_with("grpc-") {
            let message = format!("`{name}` is set by the call itself");
            findings.add(rule::GRPC_METADATA, field.as_str(), message);
        }
        let Some(template) = template(value.as_ref(), &field, findings) else { continue };
        // In the template as written: what a reference resolves to is checked where it is used.
        if template.chars().any(char::is_control) {
            findings.add(rule::HEADER_VALUE, field, "a value is one line of text");
            if !findings.is_stored() {
                continue;
            }
        }
        built.push((name.clone(), template.to_owned()));
    }
    built
}

/// A `grpc` step as messages carry it.
pub(super) fn grpc_to(step: &GrpcStep) -> v1::GrpcStep {
    let tls = step.tls.clone().unwrap_or_default();
    v1::GrpcStep {
        address: shown_address(&step.host, step.port),
        service: step.service.clone(),
        tls: step.tls.is_some(),
        insecure: tls.insecure,
        ca_pem: pem(&tls),
        server_name: tls.server_name.unwrap_or_default(),
        min_tls: tls.min_version.map_or(v1::TlsVersion::Unspecified as i32, enums::tls_version_to),
        client_cert: tls.client.as_ref().map(|client| secret_to(&client.cert)),
        client_key: tls.client.as_ref().map(|client| secret_to(&client.key)),
        authority: step.authority.clone().unwrap_or_default(),
        metadata: step.metadata.iter().map(|(name, value)| header_to(name, value)).collect(),
    }
}
