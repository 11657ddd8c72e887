//! A `websocket` step: where to, what is offered, and what is said.

use parallax_common::check::{StepKind, WebSocketStep};
use parallax_common::limits::{WEBSOCKET_SUBPROTOCOL_BYTES_MAX, WEBSOCKET_SUBPROTOCOLS_MAX};
use parallax_common::rule;
use parallax_common::target::parse_websocket;

use super::{
    Findings, enums, header_to, headers, http, no_reference, pem, secret_to, talk, tls_options,
};
use crate::v1;

/// Reads a `websocket` step.
pub(super) fn websocket(
    step: &v1::WebSocketStep,
    at: &str,
    findings: &mut Findings<'_>,
) -> Option<StepKind> {
    let field = |name: &str| format!("{at}{name}");
    let whole = url(&step.url, &field("url"), findings);
    let mut built = WebSocketStep { url: step.url.clone(), ..WebSocketStep::default() };
    // What cannot be read is told of the URL alone.
    let secure = whole.is_none() || built.is_secure();
    let why_not = "the URL is not wss";
    let given = (step.insecure, step.server_name.as_str(), step.ca_pem.as_str());
    built.tls = tls_options(given, secure, why_not, at, findings);
    let identity = [
        ("min_tls", step.min_tls != v1::TlsVersion::Unspecified as i32),
        ("client_cert", step.client_cert.is_some()),
        ("client_key", step.client_key.is_some()),
    ];
    if secure {
        built.tls.min_version = enums::tls_version(step.min_tls);
        if built.tls.min_version.is_none() && identity[0].1 {
            findings.add(rule::ENUM_UNKNOWN, field("min_tls"), "min_tls is 1.2 or 1.3");
        }
        built.tls.client = http::client((&step.client_cert, &step.client_key), at, findings);
    } else {
        for (name, _) in identity.into_iter().filter(|(_, given)| *given) {
            let message = format!("{name} has no effect: {why_not}");
            findings.add(rule::TLS_WITHOUT_TLS, field(name), message);
        }
    }
    built.headers = headers(&step.headers, &field("headers"), findings);
    for (name, _) in &built.headers {
        if name.get(..14).is_some_and(|begin| begin.eq_ignore_ascii_case("sec-websocket-")) {
            let message = format!("`{name}` is set by the sender itself");
            findings.add(rule::HEADER_RESERVED, field(&format!("headers.{name}")), message);
        }
    }
    subprotocols(&step.subprotocols, &field("subprotocols"), findings);
    built.subprotocols.clone_from(&step.subprotocols);
    built.dialogue = talk::dialogue(&step.dialogue, &field("dialogue"), findings);
    let spoken = built.dialogue.len() == step.dialogue.len();
    (spoken && (whole.is_some() || findings.is_stored())).then_some(StepKind::Websocket(built))
}

fn url(text: &str, field: &str, findings: &mut Findings<'_>) -> Option<()> {
    if text.is_empty() {
        findings.add(rule::MISSING_FIELD, field, "a URL is needed");
        return None;
    }
    if no_reference(text, field, findings) {
        return None;
    }
    let read = parse_websocket(text);
    read.map_err(|error| findings.add(error.rule, field, error.message)).ok().map(|_| ())
}

fn subprotocols(given: &[String], at: &str, findings: &mut Findings<'_>) {
    if given.len() > WEBSOCKET_SUBPROTOCOLS_MAX {
        let message = format!(
            "{} subprotocols are given; at most {WEBSOCKET_SUBPROTOCOLS_MAX} are offered",
            given.len()
        );
        return findings.add(rule::WEBSOCKET_SUBPROTOCOL, at, message);
    }
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    for (place, name) in given.iter().enumerate() {
        let at = format!("{at}[{place}]");
        if !(1..=WEBSOCKET_SUBPROTOCOL_BYTES_MAX).contains(&name.len()) || !name.bytes().all(token)
        {
            let message = format!("`{name}` cannot name a subprotocol");
            findings.add(rule::WEBSOCKET_SUBPROTOCOL, at, message);
        } else if given[..place].contains(name) {
            findings.add(rule::WEBSOCKET_SUBPROTOCOL, at, format!("`{name}` is named twice"));
        }
    }
}

/// A `websocket` step as messages carry it.
pub(super) fn websocket_to(step: &WebSocketStep) -> v1::WebSocketStep {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let WebSocketStep { url, headers, subprotocols, tls, dialogue } = step;
    let client = tls.client.as_ref();
    v1::WebSocketStep {
        url: url.clone(),
        headers: headers.iter().map(|(name, value)| header_to(name, value)).collect(),
        subprotocols: subprotocols.clone(),
        insecure: tls.insecure,
        server_name: text(&tls.server_name),
        ca_pem: pem(tls),
        min_tls: tls.min_version.map_or(v1::TlsVersion::Unspecified as i32, enums::tls_version_to),
        client_cert: client.map(|client| secret_to(&client.cert)),
        client_key: client.map(|client| secret_to(&client.key)),
        dialogue: dialogue.iter().map(talk::exchange_to).collect(),
    }
}
