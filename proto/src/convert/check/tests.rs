use std::collections::BTreeSet;

use parallax_common::check::{Canary, StartTls, Step, StepKind};
use parallax_common::outcome::Reason;
use parallax_common::rule::Stage;

use super::*;
use crate::convert::assignment::{assignment, assignment_to, of_check};
use crate::convert::enums;
use crate::convert::resource::{self, validate_settings};
use crate::convert::run::run_to;

const PEM: &str =
    "-----BEGIN CERTIFICATE-----\nMIIBszCCAVmgAwIBAgIUAAAA\n-----END CERTIFICATE-----\n";

fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

fn nanos(nanos: i32) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds: 0, nanos })
}

fn raw() -> v1::Check {
    let http = v1::HttpStep { url: "https://shop.example/".to_owned(), ..Default::default() };
    v1::Check {
        meta: Some(v1::Meta {
            uid: "0190b2a4-7c1e-7d5a-9a51-5d3f6a2b8c01".to_owned(),
            name: "checkout".to_owned(),
            etag: 7,
            ..Default::default()
        }),
        run: Some(v1::Run {
            steps: vec![v1::Step { kind: Some(v1::step::Kind::Http(http)), ..Default::default() }],
            timeout: nanos(900_000_000),
            expect: vec!["status == 200".to_owned()],
            ..Default::default()
        }),
        interval: seconds(1),
        regions: ["eu-west", "us-east", "ap-south"].map(str::to_owned).to_vec(),
        alert: vec!["ops".to_owned()],
        ..Default::default()
    }
}

fn good() -> v1::Check {
    normalise_check(raw())
}

fn http(check: &mut v1::Check) -> &mut v1::HttpStep {
    match &mut run_of(check).steps[0].kind {
        Some(v1::step::Kind::Http(http)) => http,
        _ => unreachable!("made above"),
    }
}

/// Not https, but for where some redirects may lead.
fn plain(check: &mut v1::Check, max: u32) {
    http(check).url = "http://shop.example".to_owned();
    http(check).redirects = Some(v1::Redirects { max });
}

fn lasting(after_ms: u64, alert: &[&str]) -> Option<v1::Lasting> {
    let after = Some(time::duration_to(Duration::from_millis(after_ms)));
    let alert = alert.iter().map(|name| (*name).to_owned()).collect();
    Some(v1::Lasting { after, alert, ..v1::Lasting::default() })
}

fn run_of(check: &mut v1::Check) -> &mut v1::Run {
    check.run.as_mut().unwrap()
}

fn tcp(address: &str, tls: bool) -> v1::Step {
    let kind = v1::TcpStep { address: address.to_owned(), tls, ..Default::default() };
    v1::Step { kind: Some(v1::step::Kind::Tcp(kind)), ..Default::default() }
}

fn to_tcp(check: &mut v1::Check, address: &str, tls: bool) {
    run_of(check).steps = vec![tcp(address, tls)];
    run_of(check).expect.clear();
}

fn to_tls(check: &mut v1::Check, change: impl FnOnce(&mut v1::TlsStep)) {
    let mut tls = v1::TlsStep { address: "db.example:5432".to_owned(), ..Default::default() };
    change(&mut tls);
    run_of(check).steps[0].kind = Some(v1::step::Kind::Tls(tls));
    run_of(check).expect.clear();
}

fn to_dns(check: &mut v1::Check, change: impl FnOnce(&mut v1::DnsStep)) {
    let mut dns = v1::DnsStep { name: "shop.example".to_owned(), ..Default::default() };
    change(&mut dns);
    run_of(check).steps[0].kind = Some(v1::step::Kind::Dns(dns));
    run_of(check).expect.clear();
}

/// A `tcp` step with a dialogue of one exchange.
fn secure(check: &mut v1::Check, change: impl FnOnce(&mut v1::DnsStep)) {
    to_dns(check, |dns| {
        (dns.server, dns.transport) = ("9.9.9.9".to_owned(), v1::DnsTransport::Https as i32);
        change(dns);
    });
}

fn to_talk(check: &mut v1::Check, change: impl FnOnce(&mut v1::TcpStep)) {
    to_tcp(check, "mail.example:25", false);
    if let Some(v1::step::Kind::Tcp(tcp)) = &mut run_of(check).steps[0].kind {
        tcp.dialogue = vec![v1::Exchange {
            name: "hello".to_owned(),
            send: sends("EHLO probe\r\n"),
            expect: expects("^250 (?<host>.+)\r\n"),
        }];
        change(tcp);
    }
}

fn to_udp(check: &mut v1::Check, change: impl FnOnce(&mut v1::UdpStep)) {
    let address = "shop.example:7".to_owned();
    let mut udp = v1::UdpStep { address, send: sends("ping"), ..Default::default() };
    change(&mut udp);
    run_of(check).steps[0].kind = Some(v1::step::Kind::Udp(udp));
    run_of(check).expect.clear();
}

fn to_ssh(check: &mut v1::Check, address: &str) {
    let ssh = v1::SshStep { address: address.to_owned() };
    run_of(check).steps[0].kind = Some(v1::step::Kind::Ssh(ssh));
    run_of(check).expect.clear();
}

fn sends(text: &str) -> Option<v1::Payload> {
    secret(text).map(|text| v1::Payload { form: Some(v1::payload::Form::Text(text)) })
}

fn sends_raw(bytes: &[u8]) -> Option<v1::Payload> {
    Some(v1::Payload { form: Some(v1::payload::Form::Raw(bytes.to_vec().into())) })
}

fn expects(pattern: &str) -> Option<v1::Expected> {
    Some(v1::Expected { form: Some(v1::expected::Form::Pattern(pattern.to_owned())) })
}

fn expects_raw(bytes: &[u8]) -> Option<v1::Expected> {
    Some(v1::Expected { form: Some(v1::expected::Form::Raw(bytes.to_vec().into())) })
}

fn says(name: &str, send: Option<v1::Payload>, expect: Option<v1::Expected>) -> v1::Exchange {
    v1::Exchange { name: name.to_owned(), send, expect }
}

fn to_plugin(check: &mut v1::Check, change: impl FnOnce(&mut v1::PluginStep)) {
    let mut plugin = v1::PluginStep { command: "check_http".to_owned(), ..Default::default() };
    change(&mut plugin);
    run_of(check).steps[0].kind = Some(v1::step::Kind::Plugin(plugin));
    run_of(check).expect.clear();
}

fn to_icmp(check: &mut v1::Check, change: impl FnOnce(&mut v1::IcmpStep)) {
    let mut icmp = v1::IcmpStep {
        host: "gw.example".to_owned(),
        count: 3,
        spacing: nanos(100_000_000),
        payload_bytes: 56,
        ..Default::default()
    };
    change(&mut icmp);
    run_of(check).steps[0].kind = Some(v1::step::Kind::Icmp(icmp));
    run_of(check).expect.clear();
}

fn to_grpc(check: &mut v1::Check, change: impl FnOnce(&mut v1::GrpcStep)) {
    let address = "shop.example:443".to_owned();
    let mut grpc = v1::GrpcStep { address, ..Default::default() };
    change(&mut grpc);
    run_of(check).steps[0].kind = Some(v1::step::Kind::Grpc(grpc));
    run_of(check).expect.clear();
}

fn capture(name: &str, value: &str) -> v1::Capture {
    v1::Capture { name: name.to_owned(), value: value.to_owned() }
}

/// Two http steps: one that captures, and one that goes to this URL.
fn in_steps(check: &mut v1::Check, captures: &[(&str, &str)], url: &str) {
    let mut first = run_of(check).steps[0].clone();
    "login".clone_into(&mut first.name);
    let mut second = first.clone();
    "fetch".clone_into(&mut second.name);
    first.capture = captures.iter().map(|(name, value)| capture(name, value)).collect();
    if let Some(v1::step::Kind::Http(step)) = &mut second.kind {
        step.url = url.to_owned();
    }
    run_of(check).steps = vec![first, second];
}

fn to_websocket(check: &mut v1::Check, change: impl FnOnce(&mut v1::WebSocketStep)) {
    let url = "wss://shop.example/live".to_owned();
    let mut websocket = v1::WebSocketStep { url, ..Default::default() };
    change(&mut websocket);
    run_of(check).steps[0].kind = Some(v1::step::Kind::Websocket(websocket));
    run_of(check).expect.clear();
}

fn header(name: &str, value: &str) -> v1::Header {
    let value = v1::Secret { value: Some(v1::secret::Value::Template(value.to_owned())) };
    v1::Header { name: name.to_owned(), value: Some(value) }
}

fn secret(template: &str) -> Option<v1::Secret> {
    header("x", template).value
}

fn basic(username: &str, password: &str) -> Option<v1::BasicAuth> {
    Some(v1::BasicAuth { username: secret(username), password: secret(password) })
}

fn tokens(change: impl FnOnce(&mut v1::OAuth2)) -> Option<v1::OAuth2> {
    let mut oauth2 = v1::OAuth2 {
        token_url: "https://login.example/token".to_owned(),
        client_id: secret("me"),
        client_secret: secret("${env:SECRET}"),
        scopes: vec!["read".to_owned()],
        audience: "https://shop.example".to_owned(),
    };
    change(&mut oauth2);
    Some(oauth2)
}

fn through(
    url: &str,
    username: Option<v1::Secret>,
    password: Option<v1::Secret>,
) -> Option<v1::Proxy> {
    Some(v1::Proxy { url: url.to_owned(), username, password })
}

fn parameter(name: &str, value: &str) -> v1::QueryParameter {
    v1::QueryParameter { name: name.to_owned(), value: secret(value) }
}

/// A step with every option of `http` that has no default.
fn with_options() -> v1::Check {
    let mut check = raw();
    let step = http(&mut check);
    step.redirects = Some(v1::Redirects { max: 3 });
    step.bearer = secret("${env:TOKEN}");
    step.query = vec![parameter("a", "1"), parameter("key", "${env:KEY}")];
    step.accept_encoding = vec![v1::ContentEncoding::Zstd as i32, v1::ContentEncoding::Gzip as i32];
    step.http_version = v1::HttpVersion::Auto as i32;
    step.min_tls = v1::TlsVersion::V13 as i32;
    (step.client_cert, step.client_key) = (secret("${file:/c.pem}"), secret("${env:K}"));
    step.keep_alive = true;
    step.proxy = through("socks5h://proxy.example:1080", secret("me"), secret("${env:PROXY}"));
    normalise_check(check)
}

#[test]
fn the_options_of_http_go_there_and_back() {
    let mut wire = with_options();
    let built = check(&wire).unwrap();
    assert_eq!(Some(run_to(&built.run)), wire.run);
    http(&mut wire).bearer = None;
    http(&mut wire).basic = basic("me", "${env:PW}");
    let mut wire = normalise_check(wire);
    assert_eq!(Some(run_to(&check(&wire).unwrap().run)), wire.run);
    (http(&mut wire).basic, http(&mut wire).oauth2) = (None, tokens(|_| {}));
    let mut wire = normalise_check(wire);
    assert_eq!(Some(run_to(&check(&wire).unwrap().run)), wire.run);
    (http(&mut wire).keep_alive, http(&mut wire).proxy) = (false, None);
    http(&mut wire).http_version = v1::HttpVersion::V3 as i32;
    let wire = normalise_check(wire);
    assert_eq!(Some(run_to(&check(&wire).unwrap().run)), wire.run);
}

#[test]
fn the_client_certificate_of_tcp_goes_there_and_back_and_is_shown() {
    let mut wire = raw();
    to_talk(&mut wire, |t| {
        t.tls = true;
        (t.client_cert, t.client_key) = (secret("${file:/c}"), secret("${env:K}"));
    });
    let wire = normalise_check(wire);
    let built = check(&wire).unwrap();
    assert_eq!(Some(run_to(&built.run)), wire.run);
    let StepKind::Tcp(_) = &built.run.steps[0].kind else { panic!("a tcp step") };
    let references = ["${file:/c}", "${env:K}"];
    let templates = built.run.steps[0].kind.templates();
    assert!(references.iter().all(|reference| templates.contains(reference)), "{templates:?}");
    let resource = v1::Resource { kind: Some(v1::resource::Kind::Check(wire)) };
    let shown = crate::convert::fields::shown(&resource);
    assert_eq!(shown["tcp.client_cert"], "\"${file:/c}\"");
    assert_eq!(shown["tcp.client_key"], "\"${env:K}\"");
}

#[test]
fn a_name_server_over_tls_and_https_has_a_port_of_its_own_and_comes_back() {
    for (transport, server, path) in [
        (v1::DnsTransport::Tls, "9.9.9.9:853", ""),
        (v1::DnsTransport::Https, "9.9.9.9:443", "/dns-query"),
    ] {
        let mut wire = raw();
        secure(&mut wire, |dns| dns.transport = transport as i32);
        let mut wire = normalise_check(wire);
        let built = check(&wire).unwrap();
        // The port is written out, whoever left it to us.
        to_dns(&mut wire, |dns| {
            (dns.server, dns.path) = (server.to_owned(), path.to_owned());
            dns.transport = transport as i32;
        });
        let wire = normalise_check(wire);
        assert_eq!(Some(run_to(&built.run)), wire.run);
        assert_eq!(run_to(&check(&wire).unwrap().run), run_to(&built.run));
    }
}

/// Before there was a choice nothing was followed: what is stored without one goes on like that, under
/// the digest it has; what is applied now says how many.
#[test]
fn a_check_that_was_stored_before_redirects_keeps_its_digest() {
    let mut old = good();
    assert_eq!(http(&mut old).redirects, Some(v1::Redirects { max: 10 }));
    let now = old.run_digest;
    http(&mut old).redirects = None;
    let built = stored_check(&old).unwrap();
    assert_ne!(run_digest(&built.run).0, now);
    assert!(matches!(&built.run.steps[0].kind, StepKind::Http(http) if http.redirects_max == 0));
    let told = run_to(&built.run);
    let Some(v1::step::Kind::Http(told)) = &told.steps[0].kind else { panic!("an http step") };
    assert_eq!(told.redirects, Some(v1::Redirects { max: 0 }));
}

#[test]
fn defaults_are_filled_in_once() {
    let check = good();
    assert_eq!(check.meta.as_ref().unwrap().namespace, "default");
    assert_eq!(check.enabled, Some(true));
    assert_eq!(check.source(), v1::Source::Active);
    assert_eq!(check.probes_per_region, 1);
    assert_eq!(check.down.unwrap().regions(), v1::Quorum::Majority);
    assert_eq!((check.down.unwrap().failures, check.up.unwrap().successes), (2, 2));
    assert_eq!(check.confirm_spacing, nanos(50_000_000));
    let run = check.run.as_ref().unwrap();
    assert_eq!((run.samples, run.ip()), (1, v1::IpFamily::Auto));
    let mut again = check.clone();
    assert_eq!(http(&mut again).method, "GET");
    assert_eq!(http(&mut again).body_max_bytes, 64 * 1024);
    assert_ne!(check.run_digest, 0);
    assert_eq!(normalise_check(check.clone()), check);
    assert_eq!(default_spacing(Duration::from_secs(10)), Duration::from_millis(500));
    assert_eq!(default_spacing(Duration::from_secs(60)), Duration::from_secs(1));
}

#[test]
fn a_number_of_regions_needs_no_kind() {
    let down = Some(v1::Down { count: 2, ..Default::default() });
    let check = normalise_check(v1::Check { down, ..raw() });
    assert_eq!(super::check(&check).unwrap().policy.regions, Quorum::Count(2));
}

#[test]
fn a_good_check_becomes_the_checked_type_and_its_run_goes_back() {
    let wire = good();
    let built = check(&wire).unwrap();
    assert_eq!(built.uid.to_string(), wire.meta.as_ref().unwrap().uid);
    assert_eq!((built.etag, built.enabled), (7, true));
    assert_eq!(built.interval, Duration::from_secs(1));
    assert_eq!(built.run.timeout, Duration::from_millis(900));
    assert_eq!(built.run_digest, run_digest(&built.run));
    assert_eq!(Some(run_to(&built.run)), wire.run);
}

#[test]
fn a_stored_check_needs_a_uid_and_its_digest() {
    let mut wire = good();
    wire.meta.as_mut().unwrap().uid = "7".to_owned();
    wire.run_digest ^= 1;
    let rules: Vec<&str> = check(&wire).unwrap_err().iter().map(|v| v.rule.id).collect();
    assert_eq!(rules, ["uid_format", "wire_field"]);
}

type Break = fn(&mut v1::Check);

/// Every way a check can break a rule: the rule, the field as YAML has it, what breaks it.
const BROKEN: &[(Rule, &str, Break)] = &[
    (rule::MISSING_FIELD, "name", |c| c.meta.as_mut().unwrap().name.clear()),
    (rule::NAME_FORMAT, "name", |c| c.meta.as_mut().unwrap().name = "Check Out".to_owned()),
    (rule::NAME_FORMAT, "regions[1]", |c| c.regions[1] = "-".to_owned()),
    (rule::NAME_FORMAT, "alert[0]", |c| c.alert[0] = "a b".to_owned()),
    (rule::LABEL_KEY, "labels.a b", |c| {
        c.meta.as_mut().unwrap().labels.insert("a b".to_owned(), String::new());
    }),
    (rule::LABEL_VALUE, "labels.a", |c| {
        c.meta.as_mut().unwrap().labels.insert("a".to_owned(), "x\ny".to_owned());
    }),
    (rule::LABELS_TOO_MANY, "labels", |c| {
        c.meta.as_mut().unwrap().labels =
            (0..65).map(|n| (format!("l{n}"), String::new())).collect();
    }),
    (rule::TEXT_TOO_LONG, "title", |c| c.title = "x".repeat(4_097)),
    (rule::RUNBOOK_URL, "runbook", |c| c.runbook = "wiki/checkout".to_owned()),
    (rule::ENUM_UNKNOWN, "source", |c| c.source = 99),
    (rule::ENUM_UNKNOWN, "ip", |c| run_of(c).ip = 99),
    (rule::ENUM_UNKNOWN, "down.regions", |c| c.down.as_mut().unwrap().regions = 99),
    (rule::NOT_YET, "source", |c| c.source = v1::Source::Heartbeat as i32),
    (rule::NOT_YET, "source", |c| c.source = v1::Source::Push as i32),
    (rule::NOT_YET, "public", |c| c.public = true),
    (rule::ENUM_UNKNOWN, "missing", |c| c.missing = 99),
    (rule::PROBES_PER_REGION_RANGE, "probes_per_region", |c| c.probes_per_region = 10),
    (rule::PROBES_PER_REGION_RANGE, "probes_per_region", |c| c.probes_per_region = u32::MAX),
    (rule::VOTERS_TOO_MANY, "probes_per_region", |c| {
        c.regions = (0..25).map(|n| format!("r{n}")).collect();
        c.probes_per_region = 4;
    }),
    (rule::VOTERS_TOO_MANY, "probes_per_region", |c| {
        c.advisory_regions = (0..29).map(|n| format!("r{n}")).collect();
        c.probes_per_region = 4;
    }),
    (rule::NAME_FORMAT, "advisory_regions[0]", |c| c.advisory_regions = vec!["-".to_owned()]),
    (rule::ADVISORY_COUNTED, "advisory_regions[1]", |c| {
        c.advisory_regions = vec!["mars".to_owned(), "eu-west".to_owned()];
    }),
    (rule::REGIONS_DUPLICATE, "advisory_regions[1]", |c| {
        c.advisory_regions = vec!["mars".to_owned(), "mars".to_owned()];
    }),
    (rule::REGIONS_TOO_MANY, "advisory_regions", |c| {
        c.advisory_regions = (0..30).map(|n| format!("r{n}")).collect();
    }),
    (rule::LASTING_AFTER_RANGE, "regional.after", |c| c.regional = lasting(999, &[])),
    (rule::LASTING_AFTER_RANGE, "warning.after", |c| c.warning = lasting(604_800_001, &[])),
    (rule::ENUM_UNKNOWN, "regional.severity", |c| {
        c.regional = Some(v1::Lasting { severity: 9, ..v1::Lasting::default() });
    }),
    (rule::CONTACT_DUPLICATE, "regional.alert[1]", |c| c.regional = lasting(1_000, &["a", "a"])),
    (rule::NAME_FORMAT, "warning.alert[0]", |c| c.warning = lasting(1_000, &["A b"])),
    (rule::ALERT_WHEN, "alerts[0].when", |c| c.alerts = vec![alert("slow", "p95 < 1s")]),
    (rule::ALERT_WHEN, "alerts[1].when", |c| {
        c.alerts = vec![alert("slow", "p95 > 1s"), alert("b", &" ".repeat(257))];
    }),
    (rule::ALERT_WHEN, "alerts[0].when", |c| c.alerts = vec![alert("cert", "cert_days > 14")]),
    (rule::ALERT_CERTIFICATE, "alerts[1].when", |c| {
        plain(c, 0);
        c.alerts = vec![alert("slow", "p95 > 1s"), alert("cert", "cert_days < 14")];
    }),
    (rule::ALERT_SPAN, "alerts[0].when", |c| {
        c.alerts = vec![alert("cert", "cert_days < 14 for 90s")];
    }),
    (rule::NAME_FORMAT, "alerts[0].name", |c| c.alerts = vec![alert("slo:1h", "p95 > 1s")]),
    (rule::ALERT_DUPLICATE, "alerts[1].name", |c| c.alerts = vec![alert("a", "p95 > 1s"); 2]),
    (rule::ALERTS_TOO_MANY, "alerts", |c| {
        c.alerts = (0..9).map(|n| alert(&format!("a{n}"), "p95 > 1s")).collect();
    }),
    (rule::ALERT_SPAN, "alerts[0].when", |c| c.alerts = vec![alert("a", "p95 > 1s for 90s")]),
    (rule::ALERT_SPAN, "alerts[0].when", |c| c.alerts = vec![alert("a", "p95 > 1s over 361m")]),
    (rule::ALERT_REGIONS, "alerts[0].when", |c| {
        c.alerts = vec![alert("a", "p95 > 1s in 33 regions")];
    }),
    (rule::ENUM_UNKNOWN, "alerts[0].severity", |c| {
        c.alerts = vec![v1::Alert { severity: 99, ..alert("a", "p95 > 1s") }];
    }),
    (rule::CONTACT_DUPLICATE, "alerts[0].alert[1]", |c| {
        let twice = vec!["ops".to_owned(), "ops".to_owned()];
        c.alerts = vec![v1::Alert { alert: twice, ..alert("a", "p95 > 1s") }];
    }),
    (rule::SLO_TARGET, "slo.target", |c| c.slo = Some(v1::Slo::default())),
    (rule::SLO_TARGET, "slo.target", |c| c.slo = Some(slo(999_991, 30))),
    (rule::SLO_TARGET, "slo.target", |c| c.slo = Some(slo(499_999, 30))),
    (rule::SLO_OVER, "slo.over", |c| c.slo = Some(slo(999_000, 0))),
    (rule::SLO_OVER, "slo.over", |c| c.slo = Some(slo(999_000, 91))),
    (rule::CONTACT_DUPLICATE, "slo.alert[1]", |c| {
        let alert = vec!["ops".to_owned(), "ops".to_owned()];
        c.slo = Some(v1::Slo { alert, ..slo(999_000, 30) });
    }),
    (rule::OF_RANGE, "down.of", |c| c.down.as_mut().unwrap().of = 1),
    (rule::OF_RANGE, "down.of", |c| c.down.as_mut().unwrap().of = 33),
    (rule::OF_RANGE, "up.of", |c| c.up.as_mut().unwrap().of = 1),
    (rule::OF_RANGE, "up.of", |c| c.up.as_mut().unwrap().of = 33),
    (rule::SAMPLES_RANGE, "samples", |c| run_of(c).samples = 21),
    (rule::SAMPLES_RANGE, "samples", |c| run_of(c).samples = u32::MAX),
    (rule::SAMPLES_TOO_LONG, "samples", |c| {
        let run = run_of(c);
        (run.samples, run.timeout) = (2, seconds(31));
    }),
    (rule::NOT_YET, "http.headers.x", |c| {
        let sealed = v1::secret::Value::Sealed(v1::SealedValue::default());
        let value = Some(v1::Secret { value: Some(sealed) });
        http(c).headers = vec![v1::Header { name: "x".to_owned(), value }];
    }),
    (rule::REGIONS_EMPTY, "regions", |c| c.regions.clear()),
    (rule::REGIONS_DUPLICATE, "regions[2]", |c| c.regions[2] = "eu-west".to_owned()),
    (rule::REGIONS_TOO_MANY, "regions", |c| {
        c.regions = (0..33).map(|n| format!("r{n}")).collect();
    }),
    (rule::CONTACT_DUPLICATE, "alert[1]", |c| c.alert.push("ops".to_owned())),
    (rule::DEPENDS_ON, "depends_on[1]", |c| c.depends_on = vec!["dns".to_owned(); 2]),
    (rule::DEPENDS_ON, "depends_on", |c| {
        c.depends_on = (0..17).map(|n| format!("c{n}")).collect();
    }),
    (rule::MIN_OPEN_RANGE, "min_open", |c| c.min_open = seconds(0)),
    (rule::MIN_OPEN_RANGE, "min_open", |c| c.min_open = seconds(86_401)),
    (rule::FLAP_RANGE, "flap.opens", |c| {
        c.flap = Some(v1::Flap { opens: 1, ..v1::Flap::default() });
    }),
    (rule::FLAP_RANGE, "flap.opens", |c| {
        c.flap = Some(v1::Flap { opens: 17, ..v1::Flap::default() });
    }),
    (rule::FLAP_RANGE, "flap.within", |c| {
        c.flap = Some(v1::Flap { within: seconds(59), ..v1::Flap::default() });
    }),
    (rule::FLAP_RANGE, "flap.calm", |c| {
        c.flap = Some(v1::Flap { calm: seconds(86_401), ..v1::Flap::default() });
    }),
    (rule::CANARY_ANSWER, "canary.expect", |c| {
        canary_of(c, v1::CanaryAnswer::Unspecified, v1::Reason::Unspecified);
    }),
    (rule::CANARY_ANSWER, "canary.reason", |c| {
        canary_of(c, v1::CanaryAnswer::Pass, v1::Reason::DnsNxdomain);
    }),
    (rule::CANARY_ANSWER, "canary.reason", |c| {
        canary_of(c, v1::CanaryAnswer::Fail, v1::Reason::MissedLate);
    }),
    // No probe takes for a target's what happens before it is looked at.
    (rule::CANARY_ANSWER, "canary.reason", |c| {
        canary_of(c, v1::CanaryAnswer::Fail, v1::Reason::ProxyAuth);
    }),
    (rule::CANARY_ALONE, "alert", |c| {
        canary_of(c, v1::CanaryAnswer::Fail, v1::Reason::DnsNxdomain);
        c.alert = vec!["ops".to_owned()];
    }),
    (rule::CANARY_ALONE, "invert", |c| {
        canary_of(c, v1::CanaryAnswer::Fail, v1::Reason::Unspecified);
        c.run.as_mut().unwrap().invert = true;
    }),
    (rule::CANARY_ALONE, "depends_on", |c| {
        canary_of(c, v1::CanaryAnswer::Pass, v1::Reason::Unspecified);
        c.depends_on = vec!["dns".to_owned()];
    }),
    (rule::NAME_FORMAT, "depends_on[0]", |c| c.depends_on = vec!["a b".to_owned()]),
    (rule::MISSING_FIELD, "interval", |c| c.interval = None),
    (rule::INTERVAL_TOO_SHORT, "interval", |c| c.interval = nanos(99_999_999)),
    (rule::INTERVAL_TOO_SHORT, "interval", |c| c.interval = seconds(-5)),
    (rule::INTERVAL_TOO_LONG, "interval", |c| c.interval = seconds(86_401)),
    (rule::MISSING_FIELD, "timeout", |c| run_of(c).timeout = None),
    (rule::TIMEOUT_TOO_SHORT, "timeout", |c| run_of(c).timeout = nanos(9_000_000)),
    (rule::TIMEOUT_TOO_LONG, "timeout", |c| run_of(c).timeout = seconds(61)),
    (rule::CONFIRM_SPACING_RANGE, "confirm_spacing", |c| c.confirm_spacing = seconds(61)),
    (rule::FAILURES_RANGE, "down.failures", |c| c.down.as_mut().unwrap().failures = 33),
    (rule::SUCCESSES_RANGE, "up.successes", |c| c.up.as_mut().unwrap().successes = 33),
    (rule::QUORUM_EXCEEDS_REGIONS, "down.regions", |c| {
        c.down = Some(v1::Down { regions: v1::Quorum::Count as i32, count: 4, ..c.down.unwrap() });
    }),
    (rule::QUORUM_ZERO, "down.regions", |c| {
        c.down.as_mut().unwrap().regions = v1::Quorum::Count as i32;
    }),
    (rule::STEP_MISSING, "http", |c| run_of(c).steps.clear()),
    (rule::KIND_MISSING, "http", |c| run_of(c).steps[0].kind = None),
    (rule::STEPS_TOO_MANY, "steps", |c| run_of(c).steps = vec![tcp("a:1", false); 17]),
    (rule::STEP_NAME, "steps[1].name", |c| {
        let step = v1::Step { name: "a".to_owned(), ..run_of(c).steps[0].clone() };
        run_of(c).steps = vec![step.clone(), step];
    }),
    (rule::NAME_FORMAT, "steps[0].name", |c| run_of(c).steps[0].name = "A".to_owned()),
    (rule::MISSING_FIELD, "http.url", |c| http(c).url.clear()),
    (rule::URL_FORMAT, "http.url", |c| http(c).url = "https://a b/".to_owned()),
    (rule::URL_SCHEME, "http.url", |c| http(c).url = "ftp://shop.example".to_owned()),
    (rule::URL_HOST_MISSING, "http.url", |c| http(c).url = "https://".to_owned()),
    (rule::URL_USERINFO, "http.url", |c| http(c).url = "https://me:pw@shop.example".to_owned()),
    (rule::URL_FRAGMENT, "http.url", |c| http(c).url = "https://shop.example/#x".to_owned()),
    (rule::PORT_RANGE, "http.url", |c| http(c).url = "https://shop.example:0/".to_owned()),
    (rule::REFERENCE_NOT_HERE, "http.url", |c| http(c).url = "https://${env:HOST}/".to_owned()),
    (rule::REFERENCE_NOT_HERE, "http.body", |c| {
        (http(c).method, http(c).body) = ("POST".to_owned(), "${file:/x}".to_owned());
    }),
    (rule::METHOD_UNKNOWN, "http.method", |c| http(c).method = "get".to_owned()),
    (rule::BODY_NOT_ALLOWED, "http.body", |c| http(c).body = "x".to_owned()),
    (rule::BODY_CAP_RANGE, "http.body_max_bytes", |c| http(c).body_max_bytes = 4 * 1024 * 1024 + 1),
    (rule::HEADER_NAME, "http.headers.a b", |c| http(c).headers = vec![header("a b", "")]),
    (rule::HEADER_RESERVED, "http.headers.Content-Length", |c| {
        http(c).headers = vec![header("Content-Length", "3")];
    }),
    (rule::HEADER_VALUE, "http.headers.x", |c| http(c).headers = vec![header("x", "a\r\nb: c")]),
    (rule::HEADERS_TOO_MANY, "http.headers", |c| http(c).headers = vec![header("x", ""); 65]),
    (rule::MISSING_FIELD, "http.headers.x", |c| {
        http(c).headers = vec![v1::Header { name: "x".to_owned(), value: None }];
    }),
    (rule::SECRET_REFERENCE, "http.headers.x", |c| http(c).headers = vec![header("x", "${TOKEN}")]),
    (rule::REDIRECTS_RANGE, "http.redirects.max", |c| {
        http(c).redirects = Some(v1::Redirects { max: 21 });
    }),
    (rule::AUTH_TWICE, "http.bearer", |c| {
        (http(c).basic, http(c).bearer) = (basic("me", "${env:PW}"), secret("${env:TOKEN}"));
    }),
    (rule::AUTH_TWICE, "http.basic", |c| {
        http(c).headers = vec![header("Authorization", "x")];
        http(c).basic = basic("me", "${env:PW}");
    }),
    (rule::AUTH_REFERENCE, "http.bearer", |c| http(c).bearer = secret("hunter2")),
    (rule::AUTH_REFERENCE, "http.basic.password", |c| http(c).basic = basic("me", "$${env:PW}")),
    (rule::AUTH_USERNAME, "http.basic.username", |c| http(c).basic = basic("a:b", "${env:PW}")),
    (rule::AUTH_USERNAME, "http.basic.username", |c| http(c).basic = basic("", "${env:PW}")),
    (rule::MISSING_FIELD, "http.basic.password", |c| {
        http(c).basic = Some(v1::BasicAuth { username: secret("me"), password: None });
    }),
    (rule::SECRET_REFERENCE, "http.bearer", |c| http(c).bearer = secret("${TOKEN}")),
    (rule::AUTH_TWICE, "http.oauth2", |c| {
        (http(c).bearer, http(c).oauth2) = (secret("${env:TOKEN}"), tokens(|_| {}));
    }),
    (rule::MISSING_FIELD, "http.oauth2.token_url", |c| {
        http(c).oauth2 = tokens(|o| o.token_url.clear());
    }),
    (rule::OAUTH2_URL, "http.oauth2.token_url", |c| {
        http(c).oauth2 = tokens(|o| o.token_url = "http://login.example/".to_owned());
    }),
    (rule::URL_SCHEME, "http.oauth2.token_url", |c| {
        http(c).oauth2 = tokens(|o| o.token_url = "login.example".to_owned());
    }),
    (rule::IP_CONFLICT, "http.oauth2.token_url", |c| {
        http(c).oauth2 = tokens(|o| o.token_url = "https://[::1]/".to_owned());
        run_of(c).ip = v1::IpFamily::V4 as i32;
    }),
    (rule::OAUTH2_TEXT, "http.oauth2.client_id", |c| {
        http(c).oauth2 = tokens(|o| o.client_id = secret(""));
    }),
    (rule::REFERENCE_NOT_HERE, "http.oauth2.audience", |c| {
        http(c).oauth2 = tokens(|o| o.audience = "${env:WHOM}".to_owned());
    }),
    (rule::REFERENCE_NOT_HERE, "http.oauth2.scopes[1]", |c| {
        http(c).oauth2 = tokens(|o| o.scopes.push("${capture:scope}".to_owned()));
    }),
    (rule::OAUTH2_TEXT, "http.oauth2.audience", |c| {
        http(c).oauth2 = tokens(|o| o.audience = "a\nb".to_owned());
    }),
    (rule::AUTH_REFERENCE, "http.oauth2.client_secret", |c| {
        http(c).oauth2 = tokens(|o| o.client_secret = secret("hunter2"));
    }),
    (rule::MISSING_FIELD, "http.oauth2.client_secret", |c| {
        http(c).oauth2 = tokens(|o| o.client_secret = None);
    }),
    (rule::OAUTH2_SCOPE, "http.oauth2.scopes[1]", |c| {
        http(c).oauth2 = tokens(|o| o.scopes.push("a b".to_owned()));
    }),
    (rule::OAUTH2_SCOPE, "http.oauth2.scopes", |c| {
        http(c).oauth2 = tokens(|o| o.scopes = vec!["a".to_owned(); 17]);
    }),
    (rule::TLS_WITHOUT_TLS, "http.insecure", |c| {
        plain(c, 0);
        (http(c).insecure, http(c).oauth2) = (true, tokens(|_| {}));
    }),
    (rule::QUERY_NAME, "http.query", |c| http(c).query = vec![parameter("", "x")]),
    (rule::QUERY_TOO_MANY, "http.query", |c| http(c).query = vec![parameter("k", ""); 65]),
    (rule::SECRET_REFERENCE, "http.query.k", |c| http(c).query = vec![parameter("k", "${x}")]),
    (rule::ACCEPT_ENCODING, "http.accept_encoding[1]", |c| {
        http(c).accept_encoding = vec![v1::ContentEncoding::Br as i32; 2];
    }),
    (rule::ACCEPT_ENCODING, "http.accept_encoding", |c| {
        http(c).headers = vec![header("Accept-Encoding", "br")];
        http(c).accept_encoding = vec![v1::ContentEncoding::Br as i32];
    }),
    (rule::ENUM_UNKNOWN, "http.accept_encoding[0]", |c| http(c).accept_encoding = vec![0]),
    (rule::ENUM_UNKNOWN, "http.min_tls", |c| http(c).min_tls = 99),
    (rule::CLIENT_CERT, "http.client_key", |c| http(c).client_key = secret("${env:KEY}")),
    (rule::CLIENT_CERT, "http.client_cert", |c| {
        (http(c).client_cert, http(c).client_key) = (secret(PEM), secret("${env:KEY}"));
    }),
    (rule::KEEP_ALIVE, "http.keep_alive", |c| {
        (http(c).method, http(c).keep_alive) = ("POST".to_owned(), true);
    }),
    (rule::MISSING_FIELD, "http.proxy.url", |c| http(c).proxy = through("", None, None)),
    (rule::PROXY_URL, "http.proxy.url", |c| http(c).proxy = through("https://p:1", None, None)),
    (rule::URL_USERINFO, "http.proxy.url", |c| http(c).proxy = through("http://a@p:1", None, None)),
    (rule::PORT_RANGE, "http.proxy.url", |c| http(c).proxy = through("http://p:0", None, None)),
    (rule::REFERENCE_NOT_HERE, "http.proxy.url", |c| {
        http(c).proxy = through("http://${env:P}:1", None, None);
    }),
    (rule::MISSING_FIELD, "http.proxy.password", |c| {
        http(c).proxy = through("http://p:1", secret("me"), None);
    }),
    (rule::MISSING_FIELD, "http.proxy.username", |c| {
        http(c).proxy = through("http://p:1", None, secret("${env:PW}"));
    }),
    (rule::AUTH_USERNAME, "http.proxy.username", |c| {
        http(c).proxy = through("http://p:1", secret("a:b"), secret("${env:PW}"));
    }),
    (rule::AUTH_REFERENCE, "http.proxy.password", |c| {
        http(c).proxy = through("http://p:1", secret("me"), secret("pw"));
    }),
    (rule::IP_CONFLICT, "http.proxy.url", |c| {
        http(c).proxy = through("http://[::1]:1", None, None);
        run_of(c).ip = v1::IpFamily::V4 as i32;
    }),
    (rule::ENUM_UNKNOWN, "http.http_version", |c| http(c).http_version = 99),
    (rule::TLS_WITHOUT_TLS, "http.http_version", |c| {
        plain(c, 0);
        http(c).http_version = v1::HttpVersion::V2 as i32;
    }),
    (rule::TLS_WITHOUT_TLS, "http.http_version", |c| {
        plain(c, 0);
        http(c).http_version = v1::HttpVersion::V3 as i32;
    }),
    (rule::QUIC_OPTION, "http.proxy", |c| {
        http(c).http_version = v1::HttpVersion::V3 as i32;
        http(c).proxy = through("http://p:1", None, None);
    }),
    (rule::EXPRESSION_NOT_FOR_KIND, "expect[0]", |c| {
        http(c).http_version = v1::HttpVersion::V3 as i32;
        run_of(c).expect = vec!["cipher.contains('AES')".to_owned()];
    }),
    (rule::QUIC_OPTION, "http.keep_alive", |c| {
        (http(c).http_version, http(c).keep_alive) = (v1::HttpVersion::V3 as i32, true);
    }),
    (rule::TLS_WITHOUT_TLS, "http.min_tls", |c| {
        plain(c, 0);
        http(c).min_tls = v1::TlsVersion::V13 as i32;
    }),
    (rule::TLS_WITHOUT_TLS, "http.insecure", |c| {
        plain(c, 0);
        http(c).insecure = true;
    }),
    (rule::TLS_WITHOUT_TLS, "http.server_name", |c| {
        plain(c, 1);
        http(c).server_name = "shop.example".to_owned();
    }),
    (rule::TLS_WITHOUT_TLS, "http.client_cert", |c| {
        plain(c, 1);
        http(c).client_cert = secret("${env:CERT}");
    }),
    (rule::SERVER_NAME, "http.server_name", |c| http(c).server_name = "a b".to_owned()),
    (rule::CA_PEM, "http.ca_pem", |c| http(c).ca_pem = "-----BEGIN PRIVATE KEY-----".to_owned()),
    (rule::CA_PEM, "http.ca_pem", |c| http(c).ca_pem = PEM.replace("MII", "M!I")),
    (rule::CA_PEM, "http.ca_pem", |c| http(c).ca_pem = format!("{PEM} and more")),
    (rule::CA_PEM, "http.ca_pem", |c| http(c).ca_pem = " \n".to_owned()),
    (rule::CA_WITH_INSECURE, "http.ca_pem", |c| {
        (http(c).ca_pem, http(c).insecure) = (PEM.to_owned(), true);
    }),
    (rule::TCP_ADDRESS, "tcp.address", |c| to_tcp(c, "db.example", false)),
    (rule::PORT_RANGE, "tcp.address", |c| to_tcp(c, "db.example:0", false)),
    (rule::TLS_WITHOUT_TLS, "tcp.server_name", |c| {
        to_tcp(c, "db.example:1", false);
        if let Some(v1::step::Kind::Tcp(tcp)) = &mut run_of(c).steps[0].kind {
            tcp.server_name = "db.example".to_owned();
        }
    }),
    (rule::ENUM_UNKNOWN, "tcp.starttls", |c| to_talk(c, |t| t.starttls = 99)),
    (rule::STARTTLS_TWICE, "tcp.tls", |c| {
        to_talk(c, |t| (t.tls, t.starttls) = (true, v1::StartTls::Smtp as i32));
    }),
    (rule::TLS_WITHOUT_TLS, "tcp.min_tls", |c| {
        to_talk(c, |t| t.min_tls = v1::TlsVersion::V13 as i32);
    }),
    (rule::ENUM_UNKNOWN, "tcp.min_tls", |c| to_talk(c, |t| (t.tls, t.min_tls) = (true, 99))),
    (rule::TLS_WITHOUT_TLS, "tcp.client_cert", |c| {
        to_talk(c, |t| t.client_cert = secret("${file:/c}"));
    }),
    (rule::CLIENT_CERT, "tcp.client_key", |c| {
        to_talk(c, |t| (t.tls, t.client_key) = (true, secret("${file:/k}")));
    }),
    (rule::CLIENT_CERT, "tcp.client_key", |c| {
        to_talk(c, |t| {
            t.starttls = v1::StartTls::Smtp as i32;
            (t.client_cert, t.client_key) = (secret("${file:/c}"), secret("plain"));
        });
    }),
    (rule::DIALOGUE_STEP, "tcp.dialogue[1]", |c| {
        to_talk(c, |t| t.dialogue.push(says("two", None, None)));
    }),
    (rule::STEP_NAME, "tcp.dialogue[1].name", |c| {
        to_talk(c, |t| t.dialogue.push(says("hello", sends("x"), None)));
    }),
    (rule::NAME_FORMAT, "tcp.dialogue[1].name", |c| {
        to_talk(c, |t| t.dialogue.push(says("A b", sends("x"), None)));
    }),
    (rule::MISSING_FIELD, "tcp.dialogue[0].send", |c| {
        to_talk(c, |t| t.dialogue[0].send = Some(v1::Payload { form: None }));
    }),
    (rule::MISSING_FIELD, "tcp.dialogue[0].expect", |c| {
        to_talk(c, |t| t.dialogue[0].expect = Some(v1::Expected { form: None }));
    }),
    (rule::NOT_YET, "tcp.dialogue[0].send", |c| {
        let sealed = v1::secret::Value::Sealed(v1::SealedValue::default());
        let text = v1::payload::Form::Text(v1::Secret { value: Some(sealed) });
        to_talk(c, |t| t.dialogue[0].send = Some(v1::Payload { form: Some(text) }));
    }),
    (rule::MESSAGE_SIZE, "tcp.dialogue[0].send", |c| {
        to_talk(c, |t| t.dialogue[0].send = sends(""));
    }),
    (rule::MESSAGE_SIZE, "tcp.dialogue[0].send", |c| {
        to_talk(c, |t| t.dialogue[0].send = sends_raw(&[0; 16_385]));
    }),
    (rule::MESSAGE_SIZE, "tcp.dialogue[0].expect", |c| {
        to_talk(c, |t| t.dialogue[0].expect = expects_raw(&[]));
    }),
    (rule::SECRET_REFERENCE, "tcp.dialogue[0].send", |c| {
        to_talk(c, |t| t.dialogue[0].send = sends("${env:}"));
    }),
    (rule::DIALOGUE_CAPTURE, "tcp.dialogue[0].send", |c| {
        to_talk(c, |t| t.dialogue[0].send = sends("%{host"));
    }),
    // What a step captures it cannot send itself.
    (rule::DIALOGUE_CAPTURE, "tcp.dialogue[0].send", |c| {
        to_talk(c, |t| t.dialogue[0].send = sends("%{host}"));
    }),
    (rule::DIALOGUE_CAPTURE, "tcp.dialogue[1].send", |c| {
        to_talk(c, |t| t.dialogue.push(says("two", sends("%{hots}"), None)));
    }),
    (rule::DIALOGUE_CAPTURES, "tcp.dialogue[1].expect", |c| {
        to_talk(c, |t| t.dialogue.push(says("two", None, expects("(?<host>x)"))));
    }),
    (rule::DIALOGUE_CAPTURES, "tcp.dialogue[1].expect", |c| {
        let many: String = (0..16).map(|n| format!("(?<g{n}>x)")).collect();
        to_talk(c, |t| t.dialogue.push(says("two", None, expects(&many))));
    }),
    (rule::PATTERN, "tcp.dialogue[0].expect", |c| {
        to_talk(c, |t| t.dialogue[0].expect = expects("250 ("));
    }),
    (rule::PATTERN, "tcp.dialogue[0].expect", |c| {
        to_talk(c, |t| t.dialogue[0].expect = expects(""));
    }),
    (rule::DIALOGUE_TOO_LONG, "tcp.dialogue", |c| {
        to_talk(c, |t| {
            t.dialogue = (0..16).map(|n| says(&n.to_string(), sends("x"), None)).collect();
        });
    }),
    (rule::MISSING_FIELD, "dns.server", |c| {
        to_dns(c, |d| (d.server, d.transport) = (String::new(), v1::DnsTransport::Tls as i32));
    }),
    (rule::TLS_WITHOUT_TLS, "dns.insecure", |c| to_dns(c, |d| d.insecure = true)),
    (rule::TLS_WITHOUT_TLS, "dns.min_tls", |c| {
        to_dns(c, |d| d.min_tls = v1::TlsVersion::V13 as i32);
    }),
    (rule::ENUM_UNKNOWN, "dns.min_tls", |c| secure(c, |d| d.min_tls = 99)),
    (rule::SERVER_NAME, "dns.server_name", |c| secure(c, |d| d.server_name = "a b".to_owned())),
    (rule::DNS_PATH, "dns.path", |c| to_dns(c, |d| d.path = "/dns-query".to_owned())),
    (rule::DNS_PATH, "dns.path", |c| secure(c, |d| d.path = "dns-query".to_owned())),
    (rule::DNS_PATH, "dns.path", |c| secure(c, |d| d.path = "/a b".to_owned())),
    (rule::REFERENCE_NOT_HERE, "dns.path", |c| secure(c, |d| d.path = "/${env:P}".to_owned())),
    (rule::IP_CONFLICT, "udp.address", |c| {
        to_udp(c, |u| u.address = "[::1]:7".to_owned());
        run_of(c).ip = v1::IpFamily::V4 as i32;
    }),
    (rule::TCP_ADDRESS, "udp.address", |c| to_udp(c, |u| u.address = "shop.example".to_owned())),
    (rule::MISSING_FIELD, "udp.send", |c| to_udp(c, |u| u.send = None)),
    (rule::DIALOGUE_CAPTURE, "udp.send", |c| {
        to_udp(c, |u| (u.send, u.expect) = (sends("%{a}"), expects("(?<a>x)")));
    }),
    (rule::PATTERN, "udp.expect", |c| to_udp(c, |u| u.expect = expects("["))),
    (rule::UDP_RESEND, "udp.resend", |c| to_udp(c, |u| u.resend = nanos(9_999_999))),
    (rule::UDP_RESEND, "udp.resend", |c| to_udp(c, |u| u.resend = seconds(-1))),
    (rule::UDP_RESEND, "udp.resend", |c| to_udp(c, |u| u.resend = seconds(60))),
    (rule::REFERENCE_NOT_HERE, "udp.address", |c| {
        to_udp(c, |u| u.address = "${env:HOST}:7".to_owned());
    }),
    (rule::TCP_ADDRESS, "ssh.address", |c| to_ssh(c, "shop.example")),
    (rule::PORT_RANGE, "ssh.address", |c| to_ssh(c, "shop.example:0")),
    (rule::IP_CONFLICT, "ssh.address", |c| {
        to_ssh(c, "127.0.0.1:22");
        run_of(c).ip = v1::IpFamily::V6 as i32;
    }),
    (rule::TCP_ADDRESS, "tls.address", |c| to_tls(c, |t| t.address = "db.example".to_owned())),
    (rule::SERVER_NAME, "tls.server_name", |c| to_tls(c, |t| t.server_name = "a b".to_owned())),
    (rule::CA_WITH_INSECURE, "tls.ca_pem", |c| {
        to_tls(c, |t| (t.ca_pem, t.insecure) = (PEM.to_owned(), true));
    }),
    (rule::ENUM_UNKNOWN, "tls.min_tls", |c| to_tls(c, |t| t.min_tls = 99)),
    (rule::IP_CONFLICT, "tls.address", |c| {
        to_tls(c, |t| t.address = "[::1]:443".to_owned());
        run_of(c).ip = v1::IpFamily::V4 as i32;
    }),
    (rule::MISSING_FIELD, "dns.name", |c| to_dns(c, |d| d.name.clear())),
    (rule::DNS_NAME, "dns.name", |c| to_dns(c, |d| d.name = "shop..example".to_owned())),
    (rule::REFERENCE_NOT_HERE, "dns.name", |c| to_dns(c, |d| d.name = "${env:NAME}".to_owned())),
    (rule::DNS_TYPE, "dns.type", |c| to_dns(c, |d| d.r#type = "ANY".to_owned())),
    (rule::DNS_CLASS, "dns.class", |c| to_dns(c, |d| d.class = "INTERNET".to_owned())),
    (rule::DNS_SERVER, "dns.server", |c| to_dns(c, |d| d.server = "ns1 example".to_owned())),
    (rule::PORT_RANGE, "dns.server", |c| to_dns(c, |d| d.server = "ns1.example:0".to_owned())),
    (rule::REFERENCE_NOT_HERE, "dns.server", |c| {
        to_dns(c, |d| d.server = "${env:NS}".to_owned());
    }),
    (rule::ENUM_UNKNOWN, "dns.transport", |c| to_dns(c, |d| d.transport = 99)),
    (rule::IP_CONFLICT, "dns.server", |c| {
        to_dns(c, |d| d.server = "9.9.9.9".to_owned());
        run_of(c).ip = v1::IpFamily::V6 as i32;
    }),
    (rule::IP_CONFLICT, "resolver", |c| {
        to_dns(c, |d| d.server.clear());
        run_of(c).resolver = "9.9.9.9:53".to_owned();
        run_of(c).ip = v1::IpFamily::V6 as i32;
    }),
    (rule::EXPRESSION_NOT_FOR_KIND, "expect[0]", |c| {
        to_dns(c, |_| {});
        run_of(c).expect = vec!["status == 200".to_owned()];
    }),
    (rule::EXPRESSION_UNKNOWN_FIELD, "expect[0]", |c| {
        to_dns(c, |_| {});
        run_of(c).expect = vec!["answers.exists(a, a.daat == '192.0.2.1')".to_owned()];
    }),
    (rule::MISSING_FIELD, "icmp.host", |c| to_icmp(c, |i| i.host.clear())),
    (rule::ICMP_HOST, "icmp.host", |c| to_icmp(c, |i| i.host = "gw.example:1".to_owned())),
    (rule::REFERENCE_NOT_HERE, "icmp.host", |c| to_icmp(c, |i| i.host = "${env:H}".to_owned())),
    (rule::ICMP_COUNT, "icmp.count", |c| to_icmp(c, |i| i.count = 101)),
    (rule::ICMP_SPACING, "icmp.spacing", |c| to_icmp(c, |i| i.spacing = nanos(9_999_999))),
    (rule::ICMP_SPACING, "icmp.spacing", |c| {
        to_icmp(c, |i| (i.count, i.spacing) = (1, seconds(11)));
    }),
    // The third is sent after 900 ms, when all is over.
    (rule::ICMP_SPACING, "icmp.spacing", |c| to_icmp(c, |i| i.spacing = nanos(450_000_000))),
    (rule::ICMP_PAYLOAD, "icmp.payload_bytes", |c| to_icmp(c, |i| i.payload_bytes = 7)),
    (rule::ICMP_PAYLOAD, "icmp.payload_bytes", |c| to_icmp(c, |i| i.payload_bytes = 8_973)),
    (rule::ICMP_TTL, "icmp.ttl", |c| to_icmp(c, |i| i.ttl = 256)),
    (rule::IP_CONFLICT, "icmp.host", |c| {
        to_icmp(c, |i| i.host = "127.0.0.1".to_owned());
        run_of(c).ip = v1::IpFamily::V6 as i32;
    }),
    (rule::EXPRESSION_NOT_FOR_KIND, "expect[0]", |c| {
        to_icmp(c, |_| {});
        run_of(c).expect = vec!["status == 200".to_owned()];
    }),
    (rule::EXPRESSION_NOT_BOOLEAN, "expect[0]", |c| {
        to_icmp(c, |_| {});
        run_of(c).expect = vec!["loss".to_owned()];
    }),
    (rule::EXPRESSION_NOT_BOOLEAN, "expect[0]", |c| {
        to_icmp(c, |_| {});
        run_of(c).expect = vec!["rtt_avg".to_owned()];
    }),
    (rule::MISSING_FIELD, "plugin.command", |c| to_plugin(c, |p| p.command.clear())),
    (rule::PLUGIN_COMMAND, "plugin.command", |c| {
        to_plugin(c, |p| p.command = "/bin/sh".to_owned());
    }),
    (rule::PLUGIN_COMMAND, "plugin.command", |c| to_plugin(c, |p| p.command = "..".to_owned())),
    (rule::PLUGIN_COMMAND, "plugin.command", |c| to_plugin(c, |p| p.command = "-c".to_owned())),
    (rule::PLUGIN_COMMAND, "plugin.command", |c| to_plugin(c, |p| p.command = "a b".to_owned())),
    (rule::PLUGIN_COMMAND, "plugin.command", |c| to_plugin(c, |p| p.command = "x".repeat(129))),
    (rule::REFERENCE_NOT_HERE, "plugin.command", |c| {
        to_plugin(c, |p| p.command = "${env:C}".to_owned());
    }),
    (rule::REFERENCE_NOT_HERE, "plugin.args[1]", |c| {
        to_plugin(c, |p| p.args = vec!["-p".to_owned(), "${file:/pw}".to_owned()]);
    }),
    (rule::REFERENCE_NOT_HERE, "plugin.args[0]", |c| {
        to_plugin(c, |p| p.args = vec!["${capture:id}".to_owned()]);
    }),
    (rule::PLUGIN_ARGS, "plugin.args", |c| to_plugin(c, |p| p.args = vec![String::new(); 65])),
    (rule::PLUGIN_ARGS, "plugin.args[0]", |c| to_plugin(c, |p| p.args = vec!["x".repeat(4_097)])),
    (rule::PLUGIN_ARGS, "plugin.args[0]", |c| to_plugin(c, |p| p.args = vec!["a\0b".to_owned()])),
    (rule::PLUGIN_ENV, "plugin.env", |c| {
        to_plugin(c, |p| p.env = (0..33).map(|n| header(&format!("V{n}"), "")).collect());
    }),
    (rule::PLUGIN_ENV, "plugin.env.PATH", |c| to_plugin(c, |p| p.env = vec![header("PATH", "/")])),
    (rule::PLUGIN_ENV, "plugin.env.1A", |c| to_plugin(c, |p| p.env = vec![header("1A", "")])),
    (rule::PLUGIN_ENV, "plugin.env.A-B", |c| to_plugin(c, |p| p.env = vec![header("A-B", "")])),
    (rule::PLUGIN_ENV, "plugin.env.A", |c| {
        to_plugin(c, |p| p.env = vec![header("A", "1"), header("A", "2")]);
    }),
    (rule::PLUGIN_ENV, "plugin.env.A", |c| to_plugin(c, |p| p.env = vec![header("A", "\0")])),
    (rule::SECRET_REFERENCE, "plugin.env.A", |c| {
        to_plugin(c, |p| p.env = vec![header("A", "${vault:x}")]);
    }),
    (rule::MISSING_FIELD, "plugin.env.A", |c| {
        to_plugin(c, |p| p.env = vec![v1::Header { name: "A".to_owned(), value: None }]);
    }),
    (rule::PLUGIN_SERIES, "plugin.series[0]", |c| {
        to_plugin(c, |p| p.series = vec![String::new()]);
    }),
    (rule::PLUGIN_SERIES, "plugin.series[0]", |c| {
        to_plugin(c, |p| p.series = vec!["a=b".to_owned()]);
    }),
    (rule::PLUGIN_SERIES, "plugin.series[1]", |c| {
        to_plugin(c, |p| p.series = vec!["time".to_owned(); 2]);
    }),
    (rule::DIALOGUE_TOO_LONG, "plugin.series", |c| {
        to_plugin(c, |p| p.series = (0..16).map(|n| format!("t{n}")).collect());
    }),
    (rule::PLUGIN_NETWORK, "ip", |c| {
        to_plugin(c, |_| {});
        run_of(c).ip = v1::IpFamily::V6 as i32;
    }),
    (rule::PLUGIN_NETWORK, "source_address", |c| {
        to_plugin(c, |_| {});
        run_of(c).source_address = "10.0.0.1".to_owned();
    }),
    (rule::PLUGIN_NETWORK, "resolver", |c| {
        to_plugin(c, |_| {});
        run_of(c).resolver = "10.0.0.1".to_owned();
    }),
    (rule::EXPRESSION_NOT_FOR_KIND, "expect[0]", |c| {
        to_plugin(c, |_| {});
        run_of(c).expect = vec!["ip == ''".to_owned()];
    }),
    (rule::EXPRESSION_NOT_BOOLEAN, "expect[0]", |c| {
        to_plugin(c, |_| {});
        run_of(c).expect = vec!["exit_code".to_owned()];
    }),
    (rule::TCP_ADDRESS, "grpc.address", |c| to_grpc(c, |g| g.address = "a.example".to_owned())),
    (rule::PORT_RANGE, "grpc.address", |c| to_grpc(c, |g| g.address = "a.example:0".to_owned())),
    (rule::REFERENCE_NOT_HERE, "grpc.address", |c| {
        to_grpc(c, |g| g.address = "${env:H}:1".to_owned());
    }),
    (rule::GRPC_SERVICE, "grpc.service", |c| to_grpc(c, |g| g.service = "x".repeat(256))),
    (rule::GRPC_SERVICE, "grpc.service", |c| to_grpc(c, |g| g.service = "a\tb".to_owned())),
    (rule::REFERENCE_NOT_HERE, "grpc.service", |c| {
        to_grpc(c, |g| g.service = "${env:S}".to_owned());
    }),
    (rule::GRPC_AUTHORITY, "grpc.authority", |c| to_grpc(c, |g| g.authority = "a b".to_owned())),
    (rule::GRPC_AUTHORITY, "grpc.authority", |c| {
        to_grpc(c, |g| g.authority = "me@shop.example".to_owned());
    }),
    (rule::GRPC_METADATA, "grpc.metadata.X", |c| {
        to_grpc(c, |g| g.metadata = vec![header("X", "")])
    }),
    (rule::GRPC_METADATA, "grpc.metadata.grpc-x", |c| {
        to_grpc(c, |g| g.metadata = vec![header("grpc-x", "")]);
    }),
    (rule::GRPC_METADATA, "grpc.metadata.te", |c| {
        to_grpc(c, |g| g.metadata = vec![header("te", "")]);
    }),
    (rule::GRPC_METADATA, "grpc.metadata.transfer-encoding", |c| {
        to_grpc(c, |g| g.metadata = vec![header("transfer-encoding", "")]);
    }),
    (rule::HEADER_VALUE, "grpc.metadata.k", |c| {
        to_grpc(c, |g| g.metadata = vec![header("k", "a\r\nb: c")]);
    }),
    (rule::HEADERS_TOO_MANY, "grpc.metadata", |c| {
        to_grpc(c, |g| g.metadata = vec![header("k", ""); 65]);
    }),
    (rule::SECRET_REFERENCE, "grpc.metadata.k", |c| {
        to_grpc(c, |g| g.metadata = vec![header("k", "${K}")]);
    }),
    (rule::TLS_WITHOUT_TLS, "grpc.server_name", |c| {
        to_grpc(c, |g| g.server_name = "shop.example".to_owned());
    }),
    (rule::TLS_WITHOUT_TLS, "grpc.client_cert", |c| {
        to_grpc(c, |g| g.client_cert = secret("${file:/c}"));
    }),
    (rule::CLIENT_CERT, "grpc.client_key", |c| {
        to_grpc(c, |g| (g.tls, g.client_key) = (true, secret("${file:/k}")));
    }),
    (rule::ENUM_UNKNOWN, "grpc.min_tls", |c| to_grpc(c, |g| (g.tls, g.min_tls) = (true, 99))),
    (rule::CA_PEM, "grpc.ca_pem", |c| {
        to_grpc(c, |g| (g.tls, g.ca_pem) = (true, "none".to_owned()));
    }),
    (rule::IP_CONFLICT, "grpc.address", |c| {
        to_grpc(c, |g| g.address = "[::1]:443".to_owned());
        run_of(c).ip = v1::IpFamily::V4 as i32;
    }),
    (rule::EXPRESSION_NOT_FOR_KIND, "expect[0]", |c| {
        to_grpc(c, |_| {});
        run_of(c).expect = vec!["cert.days_left > 3".to_owned()];
    }),
    (rule::CAPTURE_NAME, "steps[0].capture.1st", |c| {
        in_steps(c, &[("1st", "json.id")], "http://a.example/");
    }),
    (rule::CAPTURE_NAME, "steps[0].capture.id", |c| {
        in_steps(c, &[("id", "json.id"), ("id", "status")], "http://a.example/${capture:id}");
    }),
    (rule::CAPTURES_TOO_MANY, "steps[0].capture", |c| {
        in_steps(c, &[], "http://a.example/");
        run_of(c).steps[0].capture = (0..17).map(|n| capture(&format!("c{n}"), "status")).collect();
    }),
    (rule::CAPTURE_UNUSED, "steps[0].capture.id", |c| {
        in_steps(c, &[("id", "json.id")], "http://a.example/");
    }),
    (rule::CAPTURE_UNUSED, "steps[1].capture.id", |c| {
        in_steps(c, &[], "http://a.example/");
        run_of(c).steps[1].capture = vec![capture("id", "json.id")];
    }),
    (rule::CAPTURE_VALUE, "steps[0].capture.id", |c| {
        in_steps(c, &[("id", "status == 200")], "http://a.example/${capture:id}");
    }),
    (rule::EXPRESSION_SYNTAX, "steps[0].capture.id", |c| {
        in_steps(c, &[("id", "status +")], "http://a.example/${capture:id}");
    }),
    (rule::EXPRESSION_NOT_FOR_KIND, "steps[0].capture.id", |c| {
        in_steps(c, &[("id", "rcode")], "http://a.example/${capture:id}");
    }),
    (rule::CAPTURE_UNKNOWN, "steps[1].http.url", |c| {
        in_steps(c, &[], "http://a.example/${capture:id}");
    }),
    (rule::CAPTURE_UNKNOWN, "steps[1].http.url", |c| {
        in_steps(c, &[], "http://a.example/${capture:id");
    }),
    (rule::CAPTURE_UNKNOWN, "steps[1].http", |c| {
        in_steps(c, &[], "http://a.example/");
        let Some(v1::step::Kind::Http(step)) = &mut run_of(c).steps[1].kind else { panic!() };
        step.headers = vec![header("x", "${capture:id}")];
    }),
    (rule::CAPTURE_UNKNOWN, "http", |c| http(c).bearer = secret("${capture:id}")),
    (rule::CAPTURE_PLACE, "steps[1].http.url", |c| {
        in_steps(c, &[("id", "json.id")], "http://a.example:${capture:id}/");
    }),
    (rule::REFERENCE_NOT_HERE, "websocket.url", |c| {
        to_websocket(c, |w| w.url.push_str("${capture:id}"));
    }),
    (rule::MISSING_FIELD, "websocket.url", |c| to_websocket(c, |w| w.url.clear())),
    (rule::WEBSOCKET_URL, "websocket.url", |c| {
        to_websocket(c, |w| w.url = "https://shop.example/".to_owned());
    }),
    (rule::URL_FRAGMENT, "websocket.url", |c| to_websocket(c, |w| w.url.push_str("#top"))),
    (rule::REFERENCE_NOT_HERE, "websocket.url", |c| {
        to_websocket(c, |w| w.url.push_str("${env:P}"));
    }),
    (rule::IP_CONFLICT, "websocket.url", |c| {
        to_websocket(c, |w| w.url = "ws://[::1]/".to_owned());
        run_of(c).ip = v1::IpFamily::V4 as i32;
    }),
    (rule::WEBSOCKET_SUBPROTOCOL, "websocket.subprotocols[1]", |c| {
        to_websocket(c, |w| w.subprotocols = vec!["a".to_owned(), "a".to_owned()]);
    }),
    (rule::WEBSOCKET_SUBPROTOCOL, "websocket.subprotocols[0]", |c| {
        to_websocket(c, |w| w.subprotocols = vec!["a, b".to_owned()]);
    }),
    (rule::WEBSOCKET_SUBPROTOCOL, "websocket.subprotocols[0]", |c| {
        to_websocket(c, |w| w.subprotocols = vec!["a".repeat(256)]);
    }),
    (rule::WEBSOCKET_SUBPROTOCOL, "websocket.subprotocols", |c| {
        to_websocket(c, |w| w.subprotocols = (0..17).map(|n| n.to_string()).collect());
    }),
    (rule::HEADER_RESERVED, "websocket.headers.Sec-WebSocket-Key", |c| {
        to_websocket(c, |w| w.headers = vec![header("Sec-WebSocket-Key", "x")]);
    }),
    (rule::HEADER_RESERVED, "websocket.headers.upgrade", |c| {
        to_websocket(c, |w| w.headers = vec![header("upgrade", "x")]);
    }),
    (rule::TLS_WITHOUT_TLS, "websocket.min_tls", |c| {
        to_websocket(c, |w| (w.url, w.min_tls) = ("ws://a.example".to_owned(), 1));
    }),
    (rule::TLS_WITHOUT_TLS, "websocket.insecure", |c| {
        to_websocket(c, |w| (w.url, w.insecure) = ("ws://a.example".to_owned(), true));
    }),
    (rule::ENUM_UNKNOWN, "websocket.min_tls", |c| to_websocket(c, |w| w.min_tls = 99)),
    (rule::CLIENT_CERT, "websocket.client_key", |c| {
        to_websocket(c, |w| w.client_key = secret("${file:/k}"));
    }),
    (rule::DIALOGUE_STEP, "websocket.dialogue[0]", |c| {
        to_websocket(c, |w| w.dialogue = vec![says("a", None, None)]);
    }),
    (rule::DIALOGUE_TOO_LONG, "websocket.dialogue", |c| {
        to_websocket(c, |w| w.dialogue = vec![says("", sends("x"), None); 16]);
    }),
    (rule::DIALOGUE_CAPTURE, "websocket.dialogue[0].send", |c| {
        to_websocket(c, |w| w.dialogue = vec![says("a", sends("%{x}"), None)]);
    }),
    (rule::EXPRESSION_NOT_FOR_KIND, "expect[0]", |c| {
        to_websocket(c, |w| w.url = "ws://a.example".to_owned());
        run_of(c).expect = vec!["cert.days_left > 3".to_owned()];
    }),
    (rule::EXPRESSION_NOT_FOR_KIND, "expect[0]", |c| {
        to_websocket(c, |_| {});
        run_of(c).expect = vec!["received == ''".to_owned()];
    }),
    (rule::SOURCE_ADDRESS, "source_address", |c| run_of(c).source_address = "eth0".to_owned()),
    (rule::RESOLVER_ADDRESS, "resolver", |c| run_of(c).resolver = "dns.example".to_owned()),
    (rule::IP_CONFLICT, "source_address", |c| {
        (run_of(c).source_address, run_of(c).ip) = ("::1".to_owned(), v1::IpFamily::V4 as i32);
    }),
    (rule::IP_CONFLICT, "http.url", |c| {
        http(c).url = "http://127.0.0.1/".to_owned();
        run_of(c).ip = v1::IpFamily::V6 as i32;
    }),
    (rule::EXPRESSION_TOO_LONG, "expect[0]", |c| run_of(c).expect[0] = " ".repeat(4_097)),
    (rule::EXPRESSION_SYNTAX, "expect[0]", |c| run_of(c).expect[0] = "status ==".to_owned()),
    (rule::EXPRESSION_UNKNOWN_NAME, "warn[0]", |c| run_of(c).warn = vec!["statsu == 1".to_owned()]),
    (rule::EXPRESSION_UNKNOWN_FUNCTION, "expect[0]", |c| {
        run_of(c).expect[0] = "body.startWith('x')".to_owned();
    }),
    (rule::EXPRESSION_UNKNOWN_FIELD, "expect[0]", |c| {
        run_of(c).expect[0] = "cert.daysleft > 3".to_owned();
    }),
    (rule::EXPRESSION_UNBOUNDED, "expect[0]", |c| {
        run_of(c).expect = vec!["size(json.map(x, body + 'a')) > 0".to_owned()];
    }),
    (rule::EXPRESSION_SUMS, "expect[0]", |c| {
        run_of(c).expect = vec![format!("0{} > 0", " + 1".repeat(17))];
    }),
    (rule::EXPRESSION_TOO_DEEP, "expect[0]", |c| {
        run_of(c).expect[0] = "json.all(a, a.all(b, b.all(d, d > 1)))".to_owned();
    }),
    (rule::EXPRESSION_NOT_BOOLEAN, "expect[0]", |c| run_of(c).expect[0] = "status".to_owned()),
    (rule::EXPRESSION_NOT_FOR_KIND, "expect[0]", |c| {
        http(c).url = "http://shop.example".to_owned();
        run_of(c).expect[0] = "cert.days_left > 3".to_owned();
    }),
    (rule::EXPRESSION_NOT_FOR_KIND, "warn[0]", |c| {
        to_tcp(c, "db.example:1", true);
        run_of(c).warn = vec!["status == 200".to_owned()];
    }),
    (rule::EXPRESSIONS_TOO_MANY, "warn", |c| run_of(c).warn = vec!["true".to_owned(); 33]),
    (rule::RESOURCE_TOO_LARGE, "", |c| {
        (http(c).method, http(c).body) = ("POST".to_owned(), "x".repeat(128 * 1024));
    }),
];

#[test]
fn each_row_breaks_its_rule_at_its_field_and_no_other() {
    for (rule, field, change) in BROKEN {
        let mut wire = raw();
        // Defaults first, so that a row can break what normalising would fill in.
        wire = normalise_check(wire);
        change(&mut wire);
        // The digest follows the run; what is broken keeps the digest at 0.
        wire = normalise_check(wire);
        let found: Vec<(&str, String)> =
            validate_check(&wire).into_iter().map(|v| (v.rule.id, v.field)).collect();
        assert_eq!(found, [(rule.id, (*field).to_owned())]);
        assert!(check(&wire).is_err());
    }
}

#[test]
fn questions_and_handshakes_go_there_and_back() {
    let mut question = raw();
    to_dns(&mut question, |d| (d.r#type, d.server) = ("mx".to_owned(), "[::1]:53".to_owned()));
    let wire = normalise_check(question);
    let Some(v1::step::Kind::Dns(dns)) = &wire.run.as_ref().unwrap().steps[0].kind else {
        panic!("{wire:?}")
    };
    assert_eq!((dns.r#type.as_str(), dns.class.as_str()), ("MX", "IN"));
    assert_eq!((dns.transport(), dns.recursion), (v1::DnsTransport::Udp, Some(true)));
    assert_eq!(Some(run_to(&check(&wire).unwrap().run)), wire.run);

    for transport in [v1::DnsTransport::Udp, v1::DnsTransport::UdpOnly, v1::DnsTransport::Tcp] {
        let mut asked = raw();
        to_dns(&mut asked, |d| {
            (d.transport, d.recursion) = (transport as i32, Some(false));
            (d.r#type, d.class) = ("TXT".to_owned(), "CH".to_owned());
        });
        let wire = normalise_check(asked);
        assert_eq!(Some(run_to(&check(&wire).unwrap().run)), wire.run);
    }
    for version in [0, v1::TlsVersion::V12 as i32, v1::TlsVersion::V13 as i32] {
        let mut handshake = raw();
        to_tls(&mut handshake, |t| {
            (t.min_tls, t.ca_pem) = (version, PEM.to_owned());
            t.server_name = "shop.example".to_owned();
        });
        let wire = normalise_check(handshake);
        assert_eq!(Some(run_to(&check(&wire).unwrap().run)), wire.run, "{version}");
    }
    let mut echoes = raw();
    to_icmp(&mut echoes, |i| *i = v1::IcmpStep { host: "::1".to_owned(), ..Default::default() });
    let mut wire = normalise_check(echoes);
    let Some(v1::step::Kind::Icmp(icmp)) = &mut run_of(&mut wire).steps[0].kind else {
        panic!("an icmp step")
    };
    assert_eq!((icmp.count, icmp.payload_bytes, icmp.spacing), (3, 56, nanos(100_000_000)));
    (icmp.dont_fragment, icmp.ttl) = (true, 9);
    let wire = normalise_check(wire);
    assert_eq!(Some(run_to(&check(&wire).unwrap().run)), wire.run);
    for tls in [false, true] {
        let mut call = raw();
        to_grpc(&mut call, |g| {
            (g.service, g.authority) = ("shop.v1.Cart".to_owned(), "shop.example:1".to_owned());
            g.metadata = vec![header("key", "${env:KEY}"), header("key", "again")];
            if tls {
                (g.tls, g.ca_pem, g.min_tls) = (true, PEM.to_owned(), v1::TlsVersion::V13 as i32);
                (g.client_cert, g.client_key) = (secret("${file:/c}"), secret("${file:/k}"));
            }
        });
        let wire = normalise_check(call);
        assert_eq!(Some(run_to(&check(&wire).unwrap().run)), wire.run);
    }
    let mut looked = raw();
    to_plugin(&mut looked, |p| {
        p.args = vec!["-H".to_owned(), String::new(), "a b".to_owned()];
        p.env = vec![header("TOKEN", "${env:TOKEN}"), header("B", "")];
        p.series = vec!["time".to_owned(), "round trip".to_owned()];
    });
    let wire = normalise_check(looked);
    assert_eq!(Some(run_to(&check(&wire).unwrap().run)), wire.run);
    let mut unverified = raw();
    to_grpc(&mut unverified, |g| (g.tls, g.insecure) = (true, true));
    let advice = check_advice(&check(&normalise_check(unverified)).unwrap());
    assert_eq!(advice[0].field, "grpc.insecure");
    let mut unverified = raw();
    to_tls(&mut unverified, |t| t.insecure = true);
    let advice = check_advice(&check(&normalise_check(unverified)).unwrap());
    let fields: Vec<(Rule, &str)> = advice.iter().map(|a| (a.rule, a.field.as_str())).collect();
    assert_eq!(fields, [(rule::ADVICE_INSECURE, "tls.insecure")]);
}

#[test]
fn what_is_captured_goes_there_and_back() {
    let mut wire = raw();
    in_steps(&mut wire, &[("id", "json.id"), ("token", "headers['x-token']")], "");
    let Some(v1::step::Kind::Http(step)) = &mut run_of(&mut wire).steps[1].kind else { panic!() };
    step.url = "https://a.example/orders/${capture:id}?t=1".to_owned();
    (step.method, step.body) = ("POST".to_owned(), "{\"id\": ${capture:id}, $${x}".to_owned());
    step.bearer = secret("${capture:token}");
    let wire = normalise_check(wire);
    assert_ne!(wire.run_digest, 0);
    let built = check(&wire).unwrap();
    assert_eq!(Some(run_to(&built.run)), wire.run);
    assert_eq!(built.run.steps[0].captured().collect::<Vec<_>>(), ["id", "token"]);
    assert_eq!(built.run.steps.iter().map(Step::fills_in).collect::<Vec<_>>(), [false, true]);
    // The groups of a dialogue are captured without a word.
    let mut talks = raw();
    in_steps(&mut talks, &[], "https://a.example/${capture:session}");
    let second = run_of(&mut talks).steps.pop().unwrap();
    to_talk(&mut talks, |t| t.dialogue = vec![says("1", None, expects("^(?<session>[a-z]+)"))]);
    "talk".clone_into(&mut run_of(&mut talks).steps[0].name);
    run_of(&mut talks).steps.push(second);
    let talks = normalise_check(talks);
    assert_eq!(validate_check(&talks), []);
}

#[test]
fn what_is_said_goes_there_and_back() {
    for protocol in StartTls::ALL {
        let mut wire = raw();
        to_talk(&mut wire, |t| {
            t.starttls = enums::start_tls_to(*protocol);
            (t.min_tls, t.ca_pem) = (v1::TlsVersion::V12 as i32, PEM.to_owned());
            t.dialogue.push(says("", sends("%{host} %%{host} ${env:PW}"), expects_raw(b"\0")));
            t.dialogue.push(says("", sends_raw(b"\0\xff"), None));
            t.dialogue.push(says("last", None, expects("x")));
        });
        let wire = normalise_check(wire);
        let Some(v1::step::Kind::Tcp(tcp)) = &wire.run.as_ref().unwrap().steps[0].kind else {
            panic!("{wire:?}")
        };
        let names: Vec<&str> = tcp.dialogue.iter().map(|step| step.name.as_str()).collect();
        assert_eq!(names, ["hello", "2", "3", "last"]);
        assert_eq!(Some(run_to(&check(&wire).unwrap().run)), wire.run);
        assert_ne!(wire.run_digest, 0);
    }
    for url in ["ws://shop.example", "wss://shop.example:8443/live?a=1"] {
        let mut wire = raw();
        to_websocket(&mut wire, |w| {
            w.url = url.to_owned();
            w.headers = vec![header("origin", "https://shop.example"), header("k", "${env:K}")];
            w.subprotocols = vec!["chat.v2".to_owned(), "chat".to_owned()];
            w.dialogue.push(says("hello", sends("%%{x}"), expects("(?<id>[0-9]+)")));
            w.dialogue.push(says("", sends_raw(b"\0"), expects_raw(b"\0")));
            if url.starts_with("wss") {
                (w.ca_pem, w.min_tls) = (PEM.to_owned(), v1::TlsVersion::V13 as i32);
                (w.client_cert, w.client_key) = (secret("${file:/c}"), secret("${file:/k}"));
                w.server_name = "b.example".to_owned();
            }
        });
        run_of(&mut wire).expect = vec!["close_code == 1000 && captures.id != ''".to_owned()];
        let wire = normalise_check(wire);
        let Some(v1::step::Kind::Websocket(step)) = &wire.run.as_ref().unwrap().steps[0].kind
        else {
            panic!("{wire:?}")
        };
        assert_eq!(step.dialogue[1].name, "2");
        assert_eq!(Some(run_to(&check(&wire).unwrap().run)), wire.run);
        assert_ne!(wire.run_digest, 0);
    }
    let mut wire = raw();
    to_udp(&mut wire, |u| (u.expect, u.resend) = (expects("(?<a>x)"), nanos(10_000_000)));
    run_of(&mut wire).expect = vec!["captures.a == received".to_owned()];
    let wire = normalise_check(wire);
    assert_eq!(Some(run_to(&check(&wire).unwrap().run)), wire.run);
    let mut wire = raw();
    to_ssh(&mut wire, "[::1]:22");
    let wire = normalise_check(wire);
    assert_eq!(Some(run_to(&check(&wire).unwrap().run)), wire.run);
}

#[test]
fn what_a_kind_does_not_give_is_told_with_what_it_gives() {
    let mut wire = raw();
    to_dns(&mut wire, |_| {});
    run_of(&mut wire).expect = vec!["body.contains('x')".to_owned()];
    let found = validate_check(&normalise_check(wire));
    assert_eq!(
        found[0].message,
        "`body` is not there: this dns step gives rcode, flags, answers, authority, additional, \
         transport, latency, phases, ip"
    );
}

#[test]
fn a_stored_check_is_read_whatever_rule_it_breaks_by_now() {
    let good = good();
    assert_eq!(stored_check(&good), check(&good));
    // What a build with other limits accepted.
    let breaks: &[fn(&mut v1::Check)] = &[
        |c| c.interval = nanos(1),
        |c| c.interval = seconds(40 * 86_400),
        |c| run_of(c).timeout = nanos(1),
        |c| run_of(c).timeout = seconds(86_400),
        |c| run_of(c).samples = 5_000,
        |c| c.confirm_spacing = seconds(86_400),
        |c| c.down.as_mut().unwrap().failures = 1_000,
        |c| c.regions = (0..100).map(|n| format!("r{n}")).collect(),
        |c| c.title = "x".repeat(100_000),
        |c| run_of(c).expect = vec!["no such thing".to_owned(); 100],
        |c| http(c).url = "gopher://shop.example/".to_owned(),
        |c| http(c).method = "BREW".to_owned(),
        |c| http(c).body_max_bytes = u64::MAX,
        |c| http(c).headers = vec![header("connection", "a\nb"); 500],
        |c| http(c).headers = vec![header("x", "${nothing:known}")],
        |c| c.run_digest = 1,
        |c| to_icmp(c, |i| (i.count, i.payload_bytes) = (5_000, 1)),
        |c| to_icmp(c, |i| i.spacing = seconds(40)),
        |c| to_plugin(c, |p| (p.command, p.args) = ("a/b".to_owned(), vec!["\0".to_owned(); 99])),
        |c| to_plugin(c, |p| p.env = vec![header("PATH", "x"); 99]),
        |c| to_plugin(c, |p| p.series = vec![String::new(); 99]),
        |c| to_grpc(c, |g| g.service = "x".repeat(1_000)),
        |c| to_grpc(c, |g| g.metadata = vec![header("Grpc-X", "a\nb"); 200]),
        |c| to_grpc(c, |g| g.authority = "a b".to_owned()),
        |c| to_websocket(c, |w| w.url = "gopher://shop.example/".to_owned()),
        |c| to_websocket(c, |w| w.subprotocols = vec!["a b".to_owned(); 99]),
    ];
    for (row, change) in breaks.iter().enumerate() {
        let mut wire = good.clone();
        change(&mut wire);
        assert!(check(&wire).is_err(), "row {row} breaks no rule");
        let read = stored_check(&wire).unwrap_or_else(|broken| panic!("row {row}: {broken:?}"));
        // Nothing of it is left out.
        assert_eq!(run_to(&read.run), *wire.run.as_ref().unwrap(), "row {row}");
        assert_eq!((read.run_digest.0, &read.regions), (wire.run_digest, &wire.regions));
        assert_eq!(Some(time::duration_to(read.interval)), wire.interval);
    }
    // What has no meaning at all.
    let senseless: &[fn(&mut v1::Check)] = &[
        |c| c.meta.as_mut().unwrap().uid = "x".to_owned(),
        |c| c.interval = None,
        |c| c.interval = seconds(0),
        |c| run_of(c).timeout = None,
        |c| run_of(c).steps.clear(),
        |c| run_of(c).steps[0].kind = None,
        |c| run_of(c).steps[0] = tcp("nowhere", false),
        |c| run_of(c).resolver = "somewhere".to_owned(),
        |c| c.down.as_mut().unwrap().failures = 0,
        |c| c.down.as_mut().unwrap().regions = 99,
    ];
    for (row, change) in senseless.iter().enumerate() {
        let mut wire = good.clone();
        change(&mut wire);
        let broken = stored_check(&wire).unwrap_err();
        assert!(!broken.is_empty(), "row {row} says nothing");
    }
}

#[test]
fn a_redirect_may_lead_to_tls() {
    let mut wire = good();
    plain(&mut wire, 1);
    http(&mut wire).insecure = true;
    http(&mut wire).min_tls = v1::TlsVersion::V13 as i32;
    http(&mut wire).http_version = v1::HttpVersion::Auto as i32;
    let wire = normalise_check(wire);
    let built = check(&wire).unwrap();
    assert_eq!(Some(run_to(&built.run)), wire.run);
}

#[test]
fn zero_streaks_are_out_of_range_when_nobody_normalised() {
    let mut wire = good();
    wire.down.as_mut().unwrap().failures = 0;
    wire.up.as_mut().unwrap().successes = 0;
    http(&mut wire).body_max_bytes = 0;
    let found: Vec<&str> = validate_check(&wire).iter().map(|v| v.rule.id).collect();
    assert_eq!(found, ["failures_range", "successes_range", "body_cap_range"]);
}

#[test]
fn all_errors_come_at_once_with_the_nearest_name() {
    let mut wire = good();
    wire.interval = nanos(1);
    wire.regions[1] = "eu-west".to_owned();
    http(&mut wire).method = "PSOT".to_owned();
    run_of(&mut wire).expect = vec!["latencyy < duration('1s')".to_owned()];
    let found = validate_check(&wire);
    let rows: Vec<(&str, Option<&str>)> =
        found.iter().map(|v| (v.rule.id, v.nearest.as_deref())).collect();
    assert_eq!(
        rows,
        [
            ("regions_duplicate", None),
            ("interval_too_short", None),
            ("method_unknown", Some("POST")),
            ("expression_unknown_name", Some("latency")),
        ]
    );
    assert!(found.iter().all(|v| v.resource == "check" && v.name == "checkout"));
    assert_eq!(found[1].message, "interval is 1ns; it must be at least 100ms");
}

#[test]
fn several_steps_have_paths_of_their_own() {
    let mut wire = good();
    let first = v1::Step { name: "db".to_owned(), ..tcp("db.example", false) };
    let second = v1::Step { name: "web".to_owned(), ..run_of(&mut wire).steps[0].clone() };
    run_of(&mut wire).steps = vec![first, second];
    let found = validate_check(&normalise_check(wire));
    assert_eq!(found[0].field, "steps[0].tcp.address");
    assert_eq!(found.len(), 1);
}

struct Names;

impl Known for Names {
    fn check(&self, name: &str) -> bool {
        name == "dns"
    }

    fn checks(&self) -> Vec<String> {
        vec!["dns".to_owned()]
    }

    fn region(&self, name: &str) -> bool {
        self.regions().iter().any(|known| known == name)
    }

    fn contact(&self, name: &str) -> bool {
        name == "ops"
    }

    fn regions(&self) -> Vec<String> {
        ["eu-west", "us-east", "ap-south"].map(str::to_owned).to_vec()
    }

    fn contacts(&self) -> Vec<String> {
        vec!["ops".to_owned()]
    }
}

#[test]
fn references_that_name_nothing_are_found() {
    assert_eq!(check_references(&good(), &Names), []);
    let mut wire = good();
    wire.regions[0] = "eu-wset".to_owned();
    wire.alert = vec!["pos".to_owned(), "night-shift".to_owned()];
    let found: Vec<_> =
        check_references(&wire, &Names).into_iter().map(|v| (v.rule, v.field, v.nearest)).collect();
    assert_eq!(
        found,
        [
            (rule::UNKNOWN_REGION, "regions[0]".to_owned(), Some("eu-west".to_owned())),
            (rule::UNKNOWN_CONTACT, "alert[0]".to_owned(), Some("ops".to_owned())),
            (rule::UNKNOWN_CONTACT, "alert[1]".to_owned(), None),
        ]
    );
    let settings =
        v1::Settings { meta: None, mesh_alert: vec!["opps".to_owned()], ..Default::default() };
    let settings = v1::Resource { kind: Some(v1::resource::Kind::Settings(settings)) };
    assert_eq!(resource::resource_references(&settings, &Names)[0].field, "mesh.alert[0]");
    assert_eq!(references(&wire).0.len(), 3);
}

#[test]
fn advice_follows_the_number_of_regions() {
    let advice = |change: fn(&mut v1::Check)| {
        let mut wire = raw();
        change(&mut wire);
        let built = check(&normalise_check(wire)).unwrap();
        check_advice(&built).into_iter().map(|a| (a.rule, a.field)).collect::<Vec<_>>()
    };
    let regions = |rule| vec![(rule, "regions".to_owned())];
    assert_eq!(advice(|_| {}), []);
    assert_eq!(advice(|c| c.regions.truncate(1)), regions(rule::ADVICE_ONE_REGION));
    assert_eq!(advice(|c| c.regions.truncate(2)), regions(rule::ADVICE_TWO_REGIONS));
    assert_eq!(advice(|c| c.probes_per_region = 3), []);
    let even = [(rule::ADVICE_EVEN_PROBES, "probes_per_region".to_owned())];
    assert_eq!(advice(|c| c.probes_per_region = 2), even);
    assert_eq!(advice(|c| c.advisory_regions = vec!["mars".to_owned()]), []);
    assert_eq!(advice(|c| c.regions.push("x".to_owned())), regions(rule::ADVICE_FOUR_REGIONS));
    assert_eq!(advice(|c| c.slo = Some(slo(930_556, 30))), []);
    let slow = [(rule::ADVICE_SLO_TARGET, "slo.target".to_owned())];
    assert_eq!(advice(|c| c.slo = Some(slo(930_555, 30))), slow);
    assert_eq!(
        advice(|c| {
            c.alert.clear();
            c.interval = nanos(100_000_000);
            c.down = Some(v1::Down { count: 1, ..Default::default() });
            http(c).insecure = true;
        }),
        [
            (rule::ADVICE_QUORUM_ONE, "down.regions".to_owned()),
            (rule::ADVICE_OVERLAP, "timeout".to_owned()),
            (rule::ADVICE_NO_ALERT, "alert".to_owned()),
            (rule::ADVICE_INSECURE, "http.insecure".to_owned()),
        ]
    );
}

#[test]
fn settings_have_one_name_and_events_are_not_built() {
    let meta = v1::Meta { name: "mesh".to_owned(), ..Default::default() };
    let settings = v1::Settings { meta: Some(meta), ..v1::Settings::default() };
    assert_eq!(validate_settings(&settings)[0].rule, rule::SETTINGS_NAME);
    let unnamed = v1::Settings::default();
    let resource = v1::Resource { kind: Some(v1::resource::Kind::Settings(unnamed)) };
    assert_eq!(resource::validate(&resource::normalise(resource)), []);
    let event = v1::Resource { kind: Some(v1::resource::Kind::Event(v1::Event::default())) };
    assert_eq!(resource::validate(&event)[0].rule, rule::NOT_YET);
    let nothing = v1::Resource { kind: None };
    assert_eq!(resource::validate(&nothing)[0].rule, rule::KIND_MISSING);
}

#[test]
fn every_rule_on_a_resource_is_broken_by_some_row() {
    let broken: BTreeSet<Rule> = BROKEN.iter().map(|(rule, ..)| *rule).collect();
    // Broken by the tests around: a stored check's uid, the settings' name, options of contacts; and in
    // `maintenance.rs`, what windows say.
    let elsewhere = [
        rule::UID_FORMAT,
        rule::SETTINGS_NAME,
        rule::PAGE_TEMPLATE,
        rule::CONTACT_OPTION,
        rule::CONTACT_OPTIONS_CLASH,
        // `route/tests.rs`.
        rule::ROUTES_TOO_MANY,
        rule::ROUTE_MATCHERS,
        rule::ROUTE_STEPS,
        rule::ROUTE_REPEAT,
        rule::ROUTE_HOURS,
        rule::ROUTE_ZONE,
        rule::ROUTE_WAIT,
        rule::PUBLIC_URL,
        rule::STORM_RULE,
        rule::MAINTENANCE_WHEN,
        rule::MAINTENANCE_DAYS,
        rule::MAINTENANCE_AT,
        rule::MAINTENANCE_LENGTH,
        rule::MAINTENANCE_ZONE,
    ];
    for rule in rule::ALL.iter().filter(|rule| rule.stage == Stage::Resource) {
        assert!(broken.contains(rule) || elsewhere.contains(rule), "{rule} is never broken");
    }
    assert!(broken.len() >= 45);
}

fn alert(name: &str, when: &str) -> v1::Alert {
    v1::Alert { name: name.to_owned(), when: when.to_owned(), ..v1::Alert::default() }
}

fn slo(target_ppm: u32, days: i64) -> v1::Slo {
    let over = Some(prost_types::Duration { seconds: days * 86_400, nanos: 0 });
    v1::Slo { target_ppm, over, alert: vec![] }
}

#[test]
fn a_certificate_may_be_asked_for_wherever_one_may_be_shown() {
    let mut check = v1::Check { alerts: vec![alert("cert", "cert_days < 14")], ..raw() };
    // However seldom it is looked at: nothing is added up.
    check.interval = seconds(86_400);
    assert_eq!(validate_check(&normalise_check(check.clone())), []);
    plain(&mut check, 3);
    assert_eq!(validate_check(&normalise_check(check)), []);
}

#[test]
fn an_alert_without_contacts_tells_those_of_its_check() {
    let given = v1::Check {
        alert: vec!["ops".to_owned()],
        alerts: vec![
            alert("slow", "p95 > 1s"),
            v1::Alert {
                alert: vec!["web".to_owned()],
                severity: v1::Severity::Info.into(),
                ..alert("errors", "error_rate > 1%")
            },
        ],
        slo: Some(v1::Slo { target_ppm: 999_000, ..v1::Slo::default() }),
        ..v1::Check::default()
    };
    let normal = normalise_check(given);
    let [slow, errors] = &normal.alerts[..] else { panic!("two alerts") };
    assert_eq!(
        (&slow.alert[..], slow.severity()),
        (&["ops".to_owned()][..], v1::Severity::Warning)
    );
    assert_eq!(
        (&errors.alert[..], errors.severity()),
        (&["web".to_owned()][..], v1::Severity::Info)
    );
    let slo = normal.slo.clone().unwrap();
    assert_eq!((&slo.alert[..], slo.over.unwrap().seconds), (&["ops".to_owned()][..], 30 * 86_400));
    assert_eq!(normalise_check(normal.clone()), normal);
}

#[test]
fn an_alert_of_a_newer_build_does_not_keep_a_stored_check_from_being_read() {
    let mut stored = good();
    stored.alerts = vec![alert("new", "entropy > 9"), alert("slow", "p95 > 1s")];
    let read = stored_check(&stored).unwrap();
    assert_eq!(read.alerts.iter().map(|it| it.name.as_str()).collect::<Vec<_>>(), ["slow"]);
}

/// Makes a canary of a check, and takes out what none has.
fn canary_of(check: &mut v1::Check, expect: v1::CanaryAnswer, reason: v1::Reason) {
    check.alert.clear();
    check.run.as_mut().unwrap().warn.clear();
    check.canary = Some(v1::Canary { expect: expect.into(), reason: reason.into() });
}

#[test]
fn a_canary_keeps_its_answer_on_its_way_to_a_probe_and_is_another_run() {
    let plain = check(&good()).unwrap();
    for (expect, reason, canary) in [
        (v1::CanaryAnswer::Pass, v1::Reason::Unspecified, Canary::Pass),
        (v1::CanaryAnswer::Fail, v1::Reason::Unspecified, Canary::Fail(None)),
        (v1::CanaryAnswer::Fail, v1::Reason::DnsNxdomain, Canary::Fail(Some(Reason::DnsNxdomain))),
    ] {
        let mut wire = good();
        canary_of(&mut wire, expect, reason);
        let built = check(&normalise_check(wire)).unwrap();
        assert_eq!(built.run.canary, Some(canary));
        assert_ne!(built.run_digest, plain.run_digest);
        let run = std::sync::Arc::new(built.run.clone());
        let told = assignment_to(&of_check(&built, 0, run));
        assert_eq!(assignment(&told).unwrap().run.canary, Some(canary));
        // A probe that was told less than the digest covers does not run it.
        assert!(assignment(&v1::Assignment { canary: None, ..told }).is_err());
    }
}
