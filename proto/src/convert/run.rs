//! What one execution does: steps, timeout, expectations, addresses.

use std::net::IpAddr;
use std::time::Duration;

use parallax_common::check::{Capture, HttpAuth, HttpStep, IpFamily, Run, Step, StepKind, TlsStep};
use parallax_common::expect::{Program, Variable, variables_of};
use parallax_common::limits::{
    BODY_BYTES_MAX, EXPRESSIONS_MAX, SAMPLES_LENGTH_MAX, SAMPLES_MAX, STEPS_MAX, TIMEOUT_MAX,
    TIMEOUT_MIN,
};
use parallax_common::rule::{self, Rule};
use parallax_common::target::{
    HttpUrl, parse_address, parse_resolver, parse_websocket, shown_address,
};
use parallax_common::text::{format_duration, nearest};

use super::{Findings, enums, time};
use crate::v1;

mod capture;
mod dns;
mod grpc;
mod header;
mod http;
mod icmp;
mod oauth2;
mod plugin;
mod proxy;
mod talk;
mod tls;
mod websocket;

pub(super) use capture::none as no_captures;
use capture::{captures, captures_fit, place_fits};
pub(super) use dns::normalise_dns;
use dns::{dns, dns_to};
use grpc::{grpc, grpc_to};
pub(super) use header::{headers, template};
pub(super) use icmp::normalise_icmp;
use icmp::{echoes_fit, icmp, icmp_to};
use plugin::{plugin, plugin_to};
pub(super) use talk::normalise_dialogue;
use talk::{ssh, ssh_to, tcp, tcp_to, together, udp, udp_to};
pub(super) use tls::certificates;
use tls::{pem, tls_options};
use websocket::{websocket, websocket_to};

const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// Reads a run; `None` when a rule was broken (all of them are in `findings`), and of a stored one
/// only when something of it has no checked form.
pub(super) fn run(run: &v1::Run, findings: &mut Findings<'_>) -> Option<Run> {
    let mark = findings.mark();
    let mut steps = steps(&run.steps, findings);
    // Few have more than one, a probe holds very many, and a list that grew has room for four.
    steps.shrink_to_fit();
    let timeout = length(
        run.timeout.as_ref(),
        ("timeout", TIMEOUT_MIN, TIMEOUT_MAX),
        (rule::TIMEOUT_TOO_SHORT, rule::TIMEOUT_TOO_LONG),
        findings,
    );
    // With several steps, expressions see the last one.
    let kind = steps.last().map(|step| &step.kind);
    expressions("expect", &run.expect, kind, findings);
    expressions("warn", &run.warn, kind, findings);
    samples_fit(run.samples, timeout, findings);
    let ip = match v1::IpFamily::try_from(run.ip) {
        Ok(v1::IpFamily::Unspecified | v1::IpFamily::Auto) => IpFamily::Auto,
        Ok(v1::IpFamily::V4) => IpFamily::V4,
        Ok(v1::IpFamily::V6) => IpFamily::V6,
        Err(_) => {
            findings.add(rule::ENUM_UNKNOWN, "ip", "ip is auto, 4 or 6");
            IpFamily::Auto
        }
    };
    let source_address = source_address(&run.source_address, ip, findings);
    let resolver = match run.resolver.as_str() {
        "" => None,
        text => parse_resolver(text)
            .map_err(|error| findings.add(error.rule, "resolver", error.message))
            .ok(),
    };
    for (place, step) in steps.iter().enumerate() {
        family_fits(&prefix(&run.steps, place), step, ip, findings);
        if let (StepKind::Icmp(icmp), Some(timeout)) = (&step.kind, timeout) {
            echoes_fit(&prefix(&run.steps, place), icmp, timeout, findings);
        }
        let asks_resolver = matches!(&step.kind, StepKind::Dns(dns) if dns.server.is_none());
        if let Some(server) = resolver.filter(|server| asks_resolver && conflicts(server.ip(), ip))
        {
            let message = format!("{server} is asked, and is not of the family that ip asks for");
            findings.add(rule::IP_CONFLICT, "resolver", message);
        }
    }
    let whole = !run.steps.is_empty()
        && steps.len() == run.steps.len()
        && timeout.is_some()
        && source_address.is_some() != run.source_address.is_empty()
        && resolver.is_some() != run.resolver.is_empty();
    let built = Run {
        steps,
        timeout: timeout.unwrap_or_default(),
        expect: run.expect.clone(),
        warn: run.warn.clone(),
        invert: run.invert,
        // Beside the run in messages: whoever puts them together fills it in.
        canary: None,
        ip,
        source_address,
        resolver,
        samples: run.samples.max(1),
    };
    together(run, &built, findings);
    plugin::network(run, &built, findings);
    captures_fit(run, &built, findings);
    (whole && findings.none_since(mark)).then_some(built)
}

/// A run as messages carry it, with every default written out.
pub fn run_to(run: &Run) -> v1::Run {
    v1::Run {
        steps: run.steps.iter().map(step_to).collect(),
        timeout: Some(time::duration_to(run.timeout)),
        expect: run.expect.clone(),
        warn: run.warn.clone(),
        invert: run.invert,
        samples: run.samples,
        ip: match run.ip {
            IpFamily::Auto => v1::IpFamily::Auto,
            IpFamily::V4 => v1::IpFamily::V4,
            IpFamily::V6 => v1::IpFamily::V6,
        } as i32,
        source_address: run.source_address.map(|address| address.to_string()).unwrap_or_default(),
        resolver: run.resolver.map(|address| address.to_string()).unwrap_or_default(),
    }
}

fn step_to(step: &Step) -> v1::Step {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let kind = match &step.kind {
        StepKind::Http(http) => v1::step::Kind::Http(v1::HttpStep {
            url: http.url.clone(),
            method: http.method.clone(),
            headers: http.headers.iter().map(|(name, value)| header_to(name, value)).collect(),
            body: http.body.clone(),
            body_max_bytes: http.body_max_bytes,
            insecure: http.tls.insecure,
            server_name: text(&http.tls.server_name),
            ca_pem: pem(&http.tls),
            ..http::options_to(http)
        }),
        StepKind::Tcp(tcp) => v1::step::Kind::Tcp(tcp_to(tcp)),
        StepKind::Tls(TlsStep { host, port, tls }) => v1::step::Kind::Tls(v1::TlsStep {
            address: shown_address(host, *port),
            insecure: tls.insecure,
            server_name: text(&tls.server_name),
            ca_pem: pem(tls),
            min_tls: tls
                .min_version
                .map_or(v1::TlsVersion::Unspecified as i32, enums::tls_version_to),
        }),
        StepKind::Dns(dns) => v1::step::Kind::Dns(dns_to(dns)),
        StepKind::Udp(udp) => v1::step::Kind::Udp(udp_to(udp)),
        StepKind::Ssh(ssh) => v1::step::Kind::Ssh(ssh_to(ssh)),
        StepKind::Icmp(icmp) => v1::step::Kind::Icmp(icmp_to(icmp)),
        StepKind::Grpc(grpc) => v1::step::Kind::Grpc(grpc_to(grpc)),
        StepKind::Websocket(websocket) => v1::step::Kind::Websocket(websocket_to(websocket)),
        StepKind::Plugin(plugin) => v1::step::Kind::Plugin(plugin_to(plugin)),
    };
    let capture = |of: &Capture| v1::Capture { name: of.name.clone(), value: of.value.clone() };
    let capture = step.captures.iter().map(capture).collect();
    v1::Step { name: step.name.clone(), kind: Some(kind), capture }
}

fn header_to(name: &str, template: &str) -> v1::Header {
    v1::Header { name: name.to_owned(), value: Some(secret_to(template)) }
}

fn secret_to(template: &str) -> v1::Secret {
    v1::Secret { value: Some(v1::secret::Value::Template(template.to_owned())) }
}

/// The path of a step as YAML has it: nothing for the one unnamed step, else `steps[i].`.
pub(super) fn prefix(steps: &[v1::Step], place: usize) -> String {
    match steps {
        [only] if only.name.is_empty() => String::new(),
        _ => format!("steps[{place}]."),
    }
}

fn steps(steps: &[v1::Step], findings: &mut Findings<'_>) -> Vec<Step> {
    if steps.is_empty() {
        findings.add(
            rule::STEP_MISSING,
            "http",
            format!("say what to test: {} or steps", StepKind::WORDS.join(", ")),
        );
    }
    if steps.len() > STEPS_MAX {
        let message = format!("{} steps are given; at most {STEPS_MAX} are allowed", steps.len());
        findings.add(rule::STEPS_TOO_MANY, "steps", message);
        if !findings.is_stored() {
            return Vec::new();
        }
    }
    let mut built = Vec::new();
    for (place, step) in steps.iter().enumerate() {
        let at = prefix(steps, place);
        if steps.len() > 1 {
            let field = format!("{at}name");
            if step.name.is_empty() {
                findings.add(rule::STEP_NAME, field, "each of several steps needs a name");
            } else if steps[..place].iter().any(|other| other.name == step.name) {
                let message = format!("another step is named `{}` already", step.name);
                findings.add(rule::STEP_NAME, field, message);
            }
        }
        if !step.name.is_empty() && !parallax_common::name::is_name(&step.name) {
            let message =
                format!("`{}` cannot name a step: {}", step.name, rule::NAME_FORMAT.statement);
            findings.add(rule::NAME_FORMAT, format!("{at}name"), message);
        }
        let kind = match &step.kind {
            Some(v1::step::Kind::Http(step)) => http(step, &format!("{at}http."), findings),
            Some(v1::step::Kind::Tcp(step)) => tcp(step, &format!("{at}tcp."), findings),
            Some(v1::step::Kind::Tls(step)) => tls(step, &format!("{at}tls."), findings),
            Some(v1::step::Kind::Dns(step)) => dns(step, &format!("{at}dns."), findings),
            Some(v1::step::Kind::Udp(step)) => udp(step, &format!("{at}udp."), findings),
            Some(v1::step::Kind::Ssh(step)) => ssh(step, &format!("{at}ssh."), findings),
            Some(v1::step::Kind::Icmp(step)) => icmp(step, &format!("{at}icmp."), findings),
            Some(v1::step::Kind::Grpc(step)) => grpc(step, &format!("{at}grpc."), findings),
            Some(v1::step::Kind::Websocket(step)) => {
                websocket(step, &format!("{at}websocket."), findings)
            }
            Some(v1::step::Kind::Plugin(step)) => plugin(step, &format!("{at}plugin."), findings),
            None => {
                let field = if at.is_empty() { "http" } else { at.trim_end_matches('.') };
                let message = format!("say what the step does: {}", StepKind::WORDS.join(", "));
                findings.add(rule::KIND_MISSING, field, message);
                None
            }
        };
        let captures = captures(&step.capture, &at, findings);
        built.extend(kind.map(|kind| Step { name: step.name.clone(), kind, captures }));
    }
    built
}

fn http(step: &v1::HttpStep, at: &str, findings: &mut Findings<'_>) -> Option<StepKind> {
    let field = |name: &str| format!("{at}{name}");
    let url = url_with_captures(&step.url, &field("url"), findings);
    let method = if step.method.is_empty() { "GET" } else { &step.method };
    if !METHODS.contains(&method) {
        let message = format!("`{method}` is not one of {}", METHODS.join(", "));
        let near = nearest(method, METHODS);
        findings.add_near(rule::METHOD_UNKNOWN, field("method"), message, near);
    } else if matches!(method, "GET" | "HEAD") && !step.body.is_empty() {
        let message = format!("a {method} is sent without a body; use POST or PUT");
        findings.add(rule::BODY_NOT_ALLOWED, field("body"), message);
    }
    no_secret(&step.body, &field("body"), findings);
    let options = http::options(step, at, findings);
    let body_max_bytes = match step.body_max_bytes {
        1..=BODY_BYTES_MAX => step.body_max_bytes,
        0 => {
            let message = "at least one byte of an answer must be read";
            findings.add(rule::BODY_CAP_RANGE, field("body_max_bytes"), message);
            0
        }
        more => {
            let message = format!("{more} bytes are asked for; at most {BODY_BYTES_MAX} are read");
            findings.add(rule::BODY_CAP_RANGE, field("body_max_bytes"), message);
            more
        }
    };
    let headers = headers(&step.headers, &field("headers"), findings);
    let given = (step.insecure, step.server_name.as_str(), step.ca_pem.as_str());
    let https = url.as_ref().is_none_or(|url| url.https);
    // A redirect may lead to https. A server name is for the URL's own host alone.
    let is_met = https || options.redirects_max > 0;
    // A token is asked for over TLS, and always with verification.
    let reaches_tls = is_met || step.oauth2.is_some();
    let mut tls = tls_options(given, reaches_tls, http::NO_TLS, at, findings);
    if tls.insecure && !is_met {
        let message = format!("insecure has no effect: {}; a token is never got so", http::NO_TLS);
        findings.add(rule::TLS_WITHOUT_TLS, field("insecure"), message);
    }
    if !https && reaches_tls && tls.server_name.take().is_some() {
        http::for_first_origin("server_name", at, findings);
    }
    (tls.min_version, tls.client) = http::tls_options(step, (https, reaches_tls), at, findings);
    // Without its proxy a stored check would connect by itself, without its token ask as nobody.
    let has_auth = step.basic.is_some() || step.bearer.is_some() || step.oauth2.is_some();
    if options.proxy.is_some() != step.proxy.is_some() || options.auth.is_some() != has_auth {
        return None;
    }
    (url.is_some() || findings.is_stored()).then(|| {
        StepKind::Http(HttpStep {
            url: step.url.clone(),
            method: method.to_owned(),
            headers,
            body: step.body.clone(),
            body_max_bytes,
            tls,
            ..options
        })
    })
}

fn tls(step: &v1::TlsStep, at: &str, findings: &mut Findings<'_>) -> Option<StepKind> {
    let given = (step.insecure, step.server_name.as_str(), step.ca_pem.as_str());
    let mut tls = tls_options(given, true, "", at, findings);
    tls.min_version = enums::tls_version(step.min_tls);
    if tls.min_version.is_none() && step.min_tls != v1::TlsVersion::Unspecified as i32 {
        findings.add(rule::ENUM_UNKNOWN, format!("{at}min_tls"), "min_tls is 1.2 or 1.3");
    }
    let field = format!("{at}address");
    if no_reference(&step.address, &field, findings) && !findings.is_stored() {
        return None;
    }
    match parse_address(&step.address) {
        Ok((host, port)) => Some(StepKind::Tls(TlsStep { host, port, tls })),
        Err(error) => {
            findings.add(error.rule, field, error.message);
            None
        }
    }
}

/// Reads a URL that may hold neither references nor captures.
fn http_url(text: &str, field: &str, findings: &mut Findings<'_>) -> Option<HttpUrl> {
    let refused = text.contains("${capture:") && no_reference(text, field, findings);
    if refused { None } else { url_with_captures(text, field, findings) }
}

/// Reads a URL that may hold captures, but for its host: a run goes where its check says.
fn url_with_captures(text: &str, field: &str, findings: &mut Findings<'_>) -> Option<HttpUrl> {
    if text.is_empty() {
        findings.add(rule::MISSING_FIELD, field, "a URL is needed");
        return None;
    }
    if no_secret(text, field, findings) || !place_fits(text, field, findings) {
        return None;
    }
    HttpUrl::parse(text).map_err(|error| findings.add(error.rule, field, error.message)).ok()
}

/// Refuses what looks like a reference or a capture where none is resolved. Says whether it did.
fn no_reference(text: &str, field: &str, findings: &mut Findings<'_>) -> bool {
    let found = text.contains("${capture:");
    if found {
        let message = "captures are not filled in here";
        findings.add(rule::REFERENCE_NOT_HERE, field, message);
    }
    found || no_secret(text, field, findings)
}

/// Refuses what looks like a reference where captures alone are filled in. Says whether it did.
fn no_secret(text: &str, field: &str, findings: &mut Findings<'_>) -> bool {
    let found = text.contains("${env:") || text.contains("${file:");
    if found {
        let message = "references are not resolved here; use one in a header's value";
        findings.add(rule::REFERENCE_NOT_HERE, field, message);
    }
    found
}

fn expressions(
    list: &'static str,
    sources: &[String],
    kind: Option<&StepKind>,
    findings: &mut Findings<'_>,
) {
    if findings.is_stored() {
        return;
    }
    if sources.len() > EXPRESSIONS_MAX {
        let message = format!(
            "{} expressions are given; at most {EXPRESSIONS_MAX} are allowed",
            sources.len()
        );
        findings.add(rule::EXPRESSIONS_TOO_MANY, list, message);
        return;
    }
    for (place, source) in sources.iter().enumerate() {
        let field = format!("{list}[{place}]");
        let program = match Program::admit(source) {
            Ok(program) => program,
            Err(refusal) => {
                let near = refusal.nearest.as_deref();
                findings.add_near(refusal.rule, field, refusal.message, near);
                continue;
            }
        };
        // Without a readable step nobody knows what it gives; that is another rule's finding.
        let Some(given) = kind.map(variables_of) else { continue };
        for variable in program.variables().iter().filter(|v| !given.contains(v)) {
            let kind = kind.map_or("", StepKind::word);
            let known: Vec<&str> = given.iter().map(|variable| variable.word()).collect();
            let why = match (variable, kind) {
                (Variable::Cipher, "http") if given.contains(&Variable::TlsVersion) => {
                    "nobody tells the cipher of HTTP/3; "
                }
                (
                    Variable::Cert | Variable::TlsVersion | Variable::Cipher,
                    "http" | "tcp" | "grpc" | "dns" | "websocket",
                ) => "without TLS there is no certificate; ",
                _ => "",
            };
            let message = format!(
                "`{variable}` is not there: {why}this {kind} step gives {}",
                known.join(", ")
            );
            let near = nearest(variable.word(), known);
            findings.add_near(rule::EXPRESSION_NOT_FOR_KIND, field.as_str(), message, near);
        }
    }
}

fn samples_fit(samples: u32, timeout: Option<Duration>, findings: &mut Findings<'_>) {
    // None given means one.
    if samples > SAMPLES_MAX {
        let message = format!("{samples} is not between 1 and {SAMPLES_MAX}");
        return findings.add(rule::SAMPLES_RANGE, "samples", message);
    }
    let Some(timeout) = timeout.filter(|_| samples > 1) else { return };
    let all = timeout.saturating_mul(samples);
    if all > SAMPLES_LENGTH_MAX {
        let (all, most) = (format_duration(all), format_duration(SAMPLES_LENGTH_MAX));
        let each = format_duration(timeout);
        let message =
            format!("{samples} samples of {each} each may take {all}; at most {most} are allowed");
        findings.add(rule::SAMPLES_TOO_LONG, "samples", message);
    }
}

fn source_address(text: &str, ip: IpFamily, findings: &mut Findings<'_>) -> Option<IpAddr> {
    if text.is_empty() {
        return None;
    }
    let Ok(address) = text.parse::<IpAddr>() else {
        let message = format!("`{text}` is not an IP address");
        findings.add(rule::SOURCE_ADDRESS, "source_address", message);
        return None;
    };
    if conflicts(address, ip) {
        let message =
            format!("{address} cannot be used with ip: {}", if ip == IpFamily::V4 { 4 } else { 6 });
        findings.add(rule::IP_CONFLICT, "source_address", message);
    }
    Some(address)
}

/// A target that is an address must be of the family that is asked for.
fn family_fits(at: &str, step: &Step, ip: IpFamily, findings: &mut Findings<'_>) {
    if let StepKind::Http(HttpStep { auth: Some(HttpAuth::OAuth2(of)), .. }) = &step.kind
        && let Ok(HttpUrl { host, .. }) = HttpUrl::parse(&of.token_url)
        && host.parse().is_ok_and(|address| conflicts(address, ip))
    {
        let message = format!("{host} is not of the family that ip asks for");
        findings.add(rule::IP_CONFLICT, format!("{at}http.oauth2.token_url"), message);
    }
    if let StepKind::Http(HttpStep { proxy: Some(proxy), .. }) = &step.kind
        && proxy.host.parse().is_ok_and(|address| conflicts(address, ip))
    {
        let message = format!("{} is not of the family that ip asks for", proxy.host);
        findings.add(rule::IP_CONFLICT, format!("{at}http.proxy.url"), message);
    }
    let (host, field) = match &step.kind {
        StepKind::Http(http) => match HttpUrl::parse(&http.url) {
            Ok(url) => (url.host, "http.url"),
            Err(_) => return,
        },
        StepKind::Websocket(websocket) => match parse_websocket(&websocket.url) {
            Ok(url) => (url.host, "websocket.url"),
            Err(_) => return,
        },
        StepKind::Tcp(tcp) => (tcp.host.clone(), "tcp.address"),
        StepKind::Tls(tls) => (tls.host.clone(), "tls.address"),
        StepKind::Udp(udp) => (udp.host.clone(), "udp.address"),
        StepKind::Ssh(ssh) => (ssh.host.clone(), "ssh.address"),
        StepKind::Dns(dns) => match &dns.server {
            Some((host, _)) => (host.clone(), "dns.server"),
            None => return,
        },
        StepKind::Icmp(icmp) => (icmp.host.clone(), "icmp.host"),
        StepKind::Grpc(grpc) => (grpc.host.clone(), "grpc.address"),
        StepKind::Plugin(_) => return,
    };
    if host.parse().is_ok_and(|address| conflicts(address, ip)) {
        let message = format!("{host} is not of the family that ip asks for");
        findings.add(rule::IP_CONFLICT, format!("{at}{field}"), message);
    }
}

fn conflicts(address: IpAddr, ip: IpFamily) -> bool {
    match ip {
        IpFamily::Auto => false,
        IpFamily::V4 => address.is_ipv6(),
        IpFamily::V6 => address.is_ipv4(),
    }
}

/// Reads a length that must be there and within bounds; a stored one only above zero.
pub(super) fn length(
    given: Option<&prost_types::Duration>,
    (field, least, most): (&str, Duration, Duration),
    (too_short, too_long): (Rule, Rule),
    findings: &mut Findings<'_>,
) -> Option<Duration> {
    let Some(given) = given else {
        findings.add(rule::MISSING_FIELD, field, format!("{field} is needed"));
        return None;
    };
    match time::duration(given) {
        Some(length) if length < least => {
            let (is, least) = (format_duration(length), format_duration(least));
            findings.add(too_short, field, format!("{field} is {is}; it must be at least {least}"));
            (findings.is_stored() && !length.is_zero()).then_some(length)
        }
        Some(length) if length > most => {
            let (is, most) = (format_duration(length), format_duration(most));
            findings.add(too_long, field, format!("{field} is {is}; it may be at most {most}"));
            findings.is_stored().then_some(length)
        }
        Some(length) => Some(length),
        None => {
            findings.add(too_short, field, format!("{field} must not be negative"));
            None
        }
    }
}
