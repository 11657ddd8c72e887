//! Steps in which something is said: `tcp` with its dialogue, `udp`, `ssh`.

use std::collections::BTreeSet;
use std::time::Duration;

use parallax_common::check::{
    Exchange, Expected, Payload, Run, SshStep, StartTls, StepKind, TcpStep, UdpStep,
};
use parallax_common::limits::{CAPTURES_MAX, SEND_BYTES_MAX, STEPS_MAX, UDP_RESEND_MIN};
use parallax_common::message::{Message, MessageError};
use parallax_common::pattern::Pattern;
use parallax_common::rule;
use parallax_common::target::{parse_address, shown_address};
use parallax_common::text::{format_duration, nearest};

use super::tls::{pem, tls_options};
use super::{Findings, http, no_reference, prefix, secret_to};
use crate::convert::{enums, time};
use crate::v1;

/// Reads a `tcp` step.
pub(super) fn tcp(step: &v1::TcpStep, at: &str, findings: &mut Findings<'_>) -> Option<StepKind> {
    let starttls = enums::start_tls(step.starttls);
    let unspecified = step.starttls == v1::StartTls::Unspecified as i32;
    if starttls.is_none() && !unspecified {
        let words: Vec<&str> = StartTls::ALL.iter().map(|word| word.word()).collect();
        let message = format!("starttls is one of {}", words.join(", "));
        findings.add(rule::ENUM_UNKNOWN, format!("{at}starttls"), message);
    }
    if step.tls && !unspecified {
        let message = "starttls shakes hands after its plain part; leave tls out";
        findings.add(rule::STARTTLS_TWICE, format!("{at}tls"), message);
    }
    let secured = step.tls || !unspecified;
    let given = (step.insecure, step.server_name.as_str(), step.ca_pem.as_str());
    let why_not = "neither tls nor starttls is set";
    let mut tls = tls_options(given, secured, why_not, at, findings);
    if step.min_tls != v1::TlsVersion::Unspecified as i32 {
        let field = format!("{at}min_tls");
        tls.min_version = enums::tls_version(step.min_tls);
        if !secured {
            let message = format!("min_tls has no effect: {why_not}");
            findings.add(rule::TLS_WITHOUT_TLS, field, message);
        } else if tls.min_version.is_none() {
            findings.add(rule::ENUM_UNKNOWN, field, "min_tls is 1.2 or 1.3");
        }
    }
    if secured {
        tls.client = http::client((&step.client_cert, &step.client_key), at, findings);
    } else {
        let both = [("client_cert", &step.client_cert), ("client_key", &step.client_key)];
        for (name, _) in both.into_iter().filter(|(_, secret)| secret.is_some()) {
            let message = format!("{name} has no effect: {why_not}");
            findings.add(rule::TLS_WITHOUT_TLS, format!("{at}{name}"), message);
        }
    }
    let dialogue = dialogue(&step.dialogue, &format!("{at}dialogue"), findings);
    let (host, port) = address(&step.address, at, findings)?;
    // A protocol that is not known cannot be spoken.
    if dialogue.len() != step.dialogue.len() || starttls.is_some() == unspecified {
        return None;
    }
    let tls = secured.then_some(tls);
    Some(StepKind::Tcp(TcpStep { host, port, tls, starttls, dialogue }))
}

/// Reads a `udp` step.
pub(super) fn udp(step: &v1::UdpStep, at: &str, findings: &mut Findings<'_>) -> Option<StepKind> {
    let field = format!("{at}send");
    let send = match &step.send {
        Some(given) => payload(given, &field, &BTreeSet::new(), findings),
        None => {
            findings.add(rule::MISSING_FIELD, field, "a datagram to send is needed");
            None
        }
    };
    let mut taken = BTreeSet::new();
    let expect = step.expect.as_ref();
    let read = expect.and_then(|it| expected(it, &format!("{at}expect"), &mut taken, findings));
    let resend = step.resend.as_ref().and_then(time::duration);
    if let Some(given) = resend.filter(|resend| *resend < UDP_RESEND_MIN) {
        let (is, least) = (format_duration(given), format_duration(UDP_RESEND_MIN));
        let message = format!("resend is {is}; it must be at least {least}");
        findings.add(rule::UDP_RESEND, format!("{at}resend"), message);
    } else if resend.is_none() && step.resend.is_some() {
        findings.add(rule::UDP_RESEND, format!("{at}resend"), "resend must not be negative");
    }
    let (host, port) = address(&step.address, at, findings)?;
    if read.is_some() != expect.is_some() || resend.is_some() != step.resend.is_some() {
        return None;
    }
    Some(StepKind::Udp(UdpStep { host, port, send: send?, expect: read, resend }))
}

/// Reads an `ssh` step.
pub(super) fn ssh(step: &v1::SshStep, at: &str, findings: &mut Findings<'_>) -> Option<StepKind> {
    let (host, port) = address(&step.address, at, findings)?;
    Some(StepKind::Ssh(SshStep { host, port }))
}

fn address(text: &str, at: &str, findings: &mut Findings<'_>) -> Option<(String, u16)> {
    let field = format!("{at}address");
    if no_reference(text, &field, findings) && !findings.is_stored() {
        return None;
    }
    parse_address(text).map_err(|error| findings.add(error.rule, field, error.message)).ok()
}

/// Reads a dialogue.
pub(super) fn dialogue(
    steps: &[v1::Exchange],
    at: &str,
    findings: &mut Findings<'_>,
) -> Vec<Exchange> {
    let mut built: Vec<Exchange> = Vec::new();
    let mut captured = BTreeSet::new();
    for (place, step) in steps.iter().enumerate() {
        let at = format!("{at}[{place}]");
        if !parallax_common::name::is_name(&step.name) {
            let message =
                format!("`{}` cannot name a step: {}", step.name, rule::NAME_FORMAT.statement);
            findings.add(rule::NAME_FORMAT, format!("{at}.name"), message);
        } else if steps[..place].iter().any(|other| other.name == step.name) {
            let message = format!("another step of the dialogue is named `{}` already", step.name);
            findings.add(rule::STEP_NAME, format!("{at}.name"), message);
        }
        if step.send.is_none() && step.expect.is_none() {
            let message = "say what is sent, or what is expected, or both";
            findings.add(rule::DIALOGUE_STEP, at.as_str(), message);
        }
        let (send, expect) = (step.send.as_ref(), step.expect.as_ref());
        let sent = send.and_then(|it| payload(it, &format!("{at}.send"), &captured, findings));
        // What a step sends it sends before anything is captured in it.
        let read =
            expect.and_then(|it| expected(it, &format!("{at}.expect"), &mut captured, findings));
        if sent.is_some() == send.is_some() && read.is_some() == expect.is_some() {
            built.push(Exchange { name: step.name.clone(), send: sent, expect: read });
        }
    }
    built
}

fn payload(
    given: &v1::Payload,
    field: &str,
    captured: &BTreeSet<String>,
    findings: &mut Findings<'_>,
) -> Option<Payload> {
    use v1::payload::Form;
    let payload = match &given.form {
        Some(Form::Text(v1::Secret { value: Some(v1::secret::Value::Template(text)) })) => {
            message(text, field, captured, findings);
            Payload::Text(text.clone())
        }
        Some(Form::Text(v1::Secret { value: Some(v1::secret::Value::Sealed(_)) })) => {
            findings.add(rule::NOT_YET, field, "sealed values are not built yet; use a reference");
            return None;
        }
        Some(Form::Raw(bytes)) => Payload::Bytes(bytes.to_vec()),
        Some(Form::Text(v1::Secret { value: None })) | None => {
            findings.add(rule::MISSING_FIELD, field, "a text or bytes are needed");
            return None;
        }
    };
    let length = match &payload {
        Payload::Text(text) => text.len(),
        Payload::Bytes(bytes) => bytes.len(),
    };
    size(length, field, findings);
    Some(payload)
}

fn size(length: usize, field: &str, findings: &mut Findings<'_>) {
    if !(1..=SEND_BYTES_MAX).contains(&length) {
        let message = format!("there are {length} bytes; 1 to {SEND_BYTES_MAX} are allowed");
        findings.add(rule::MESSAGE_SIZE, field, message);
    }
}

fn message(text: &str, field: &str, captured: &BTreeSet<String>, findings: &mut Findings<'_>) {
    let message = match Message::parse(text) {
        Ok(message) => message,
        Err(MessageError::Template(error)) => {
            return findings.add(rule::SECRET_REFERENCE, field, error.to_string());
        }
        Err(error) => return findings.add(rule::DIALOGUE_CAPTURE, field, error.to_string()),
    };
    for name in message.captures().filter(|name| !captured.contains(*name)) {
        let said = match captured.is_empty() {
            true => format!("nothing is captured before this, so there is no `{name}`"),
            false => {
                let known: Vec<&str> = captured.iter().map(String::as_str).collect();
                format!("`{name}` is not captured before this; there are {}", known.join(", "))
            }
        };
        let near = nearest(name, captured.iter().map(String::as_str));
        findings.add_near(rule::DIALOGUE_CAPTURE, field, said, near);
    }
}

fn expected(
    given: &v1::Expected,
    field: &str,
    captured: &mut BTreeSet<String>,
    findings: &mut Findings<'_>,
) -> Option<Expected> {
    match &given.form {
        Some(v1::expected::Form::Raw(bytes)) => {
            size(bytes.len(), field, findings);
            Some(Expected::Bytes(bytes.to_vec()))
        }
        Some(v1::expected::Form::Pattern(source)) => {
            if !findings.is_stored() {
                pattern(source, field, captured, findings);
            }
            Some(Expected::Pattern(source.clone()))
        }
        None => {
            findings.add(rule::MISSING_FIELD, field, "a pattern or bytes are needed");
            None
        }
    }
}

fn pattern(
    source: &str,
    field: &str,
    captured: &mut BTreeSet<String>,
    findings: &mut Findings<'_>,
) {
    let pattern = match Pattern::admit(source) {
        Ok(pattern) => pattern,
        Err(error) => return findings.add(rule::PATTERN, field, error.to_string()),
    };
    for name in pattern.captures() {
        if !captured.insert(name.to_owned()) {
            let message = format!("`{name}` is captured before this already");
            findings.add(rule::DIALOGUE_CAPTURES, field, message);
        }
    }
    if captured.len() > CAPTURES_MAX {
        let message =
            format!("with this {} texts are captured; at most {CAPTURES_MAX} are", captured.len());
        findings.add(rule::DIALOGUE_CAPTURES, field, message);
    }
}

/// What only the steps of a run together can break.
pub(super) fn together(wire: &v1::Run, run: &Run, findings: &mut Findings<'_>) {
    let mut count = wire.steps.len();
    for (place, step) in wire.steps.iter().enumerate() {
        let (more, field) = match &step.kind {
            Some(v1::step::Kind::Tcp(tcp)) => (tcp.dialogue.len(), "tcp.dialogue"),
            Some(v1::step::Kind::Websocket(websocket)) => {
                (websocket.dialogue.len(), "websocket.dialogue")
            }
            Some(v1::step::Kind::Plugin(plugin)) => (plugin.series.len(), "plugin.series"),
            _ => continue,
        };
        let fitted = count <= STEPS_MAX;
        count += more;
        if fitted && count > STEPS_MAX {
            let field = format!("{}{field}", prefix(&wire.steps, place));
            let message =
                format!("with this there are {count} steps; at most {STEPS_MAX} are allowed");
            findings.add(rule::DIALOGUE_TOO_LONG, field, message);
        }
    }
    for (place, step) in run.steps.iter().enumerate() {
        let StepKind::Udp(UdpStep { resend: Some(resend), .. }) = &step.kind else { continue };
        if *resend >= run.timeout && run.timeout > Duration::ZERO {
            let (is, all) = (format_duration(*resend), format_duration(run.timeout));
            let message = format!("resend is {is}, and the run is over after {all}");
            let field = format!("{}udp.resend", prefix(&wire.steps, place));
            findings.add(rule::UDP_RESEND, field, message);
        }
    }
}

/// A `tcp` step as messages carry it.
pub(super) fn tcp_to(tcp: &TcpStep) -> v1::TcpStep {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let tls = tcp.tls.clone().unwrap_or_default();
    v1::TcpStep {
        address: shown_address(&tcp.host, tcp.port),
        // starttls says it, too.
        tls: tcp.tls.is_some() && tcp.starttls.is_none(),
        insecure: tls.insecure,
        server_name: text(&tls.server_name),
        ca_pem: pem(&tls),
        min_tls: tls.min_version.map_or(v1::TlsVersion::Unspecified as i32, enums::tls_version_to),
        starttls: tcp.starttls.map_or(v1::StartTls::Unspecified as i32, enums::start_tls_to),
        dialogue: tcp.dialogue.iter().map(exchange_to).collect(),
        client_cert: tls.client.as_ref().map(|client| secret_to(&client.cert)),
        client_key: tls.client.as_ref().map(|client| secret_to(&client.key)),
    }
}

/// A `udp` step as messages carry it.
pub(super) fn udp_to(udp: &UdpStep) -> v1::UdpStep {
    v1::UdpStep {
        address: shown_address(&udp.host, udp.port),
        send: Some(payload_to(&udp.send)),
        expect: udp.expect.as_ref().map(expected_to),
        resend: udp.resend.map(time::duration_to),
    }
}

/// An `ssh` step as messages carry it.
pub(super) fn ssh_to(ssh: &SshStep) -> v1::SshStep {
    v1::SshStep { address: shown_address(&ssh.host, ssh.port) }
}

/// A step of a dialogue as messages carry it.
pub(super) fn exchange_to(exchange: &Exchange) -> v1::Exchange {
    v1::Exchange {
        name: exchange.name.clone(),
        send: exchange.send.as_ref().map(payload_to),
        expect: exchange.expect.as_ref().map(expected_to),
    }
}

fn payload_to(payload: &Payload) -> v1::Payload {
    let form = match payload {
        Payload::Text(text) => v1::payload::Form::Text(secret_to(text)),
        Payload::Bytes(bytes) => v1::payload::Form::Raw(bytes.clone().into()),
    };
    v1::Payload { form: Some(form) }
}

fn expected_to(expected: &Expected) -> v1::Expected {
    let form = match expected {
        Expected::Pattern(pattern) => v1::expected::Form::Pattern(pattern.clone()),
        Expected::Bytes(bytes) => v1::expected::Form::Raw(bytes.clone().into()),
    };
    v1::Expected { form: Some(form) }
}

/// Names the steps of a dialogue that have no name by their place, counted from 1.
pub(in crate::convert) fn normalise_dialogue(dialogue: &mut [v1::Exchange]) {
    for (place, exchange) in dialogue.iter_mut().enumerate() {
        if exchange.name.is_empty() {
            exchange.name = (place + 1).to_string();
        }
    }
}
