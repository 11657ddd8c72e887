use super::*;
use crate::convert::check::normalise_check;

fn check() -> v1::Check {
    let http = v1::HttpStep { url: "https://shop.example/".to_owned(), ..Default::default() };
    let step = v1::Step { kind: Some(v1::step::Kind::Http(http)), ..Default::default() };
    normalise_check(v1::Check {
        meta: Some(v1::Meta { name: "checkout".to_owned(), ..Default::default() }),
        run: Some(v1::Run {
            steps: vec![step],
            timeout: Some(prost_types::Duration { seconds: 0, nanos: 900_000_000 }),
            expect: vec!["status == 200".to_owned()],
            ..Default::default()
        }),
        interval: Some(prost_types::Duration { seconds: 10, nanos: 0 }),
        regions: vec!["eu-west".to_owned(), "us-east".to_owned()],
        ..Default::default()
    })
}

fn rows(changes: Vec<v1::FieldChange>) -> Vec<(String, String, String)> {
    changes.into_iter().map(|change| (change.field, change.before, change.after)).collect()
}

fn row(field: &str, before: &str, after: &str) -> (String, String, String) {
    (field.to_owned(), before.to_owned(), after.to_owned())
}

#[test]
fn nothing_differs_from_itself() {
    assert_eq!(diff_checks(&check(), &check()), []);
    let mut other = check();
    let meta = other.meta.as_mut().unwrap();
    (meta.uid, meta.etag, meta.created_revision) = ("x".to_owned(), 9, 9);
    assert_eq!(diff_checks(&check(), &other), []);
}

#[test]
fn regions_are_a_set() {
    let mut other = check();
    other.regions.reverse();
    assert_eq!(diff_checks(&check(), &other), []);
    other.regions.push("ap-south".to_owned());
    assert_eq!(
        rows(diff_checks(&check(), &other)),
        [row("regions", "[eu-west, us-east]", "[us-east, eu-west, ap-south]")]
    );
}

#[test]
fn values_are_printed_as_yaml_would() {
    let mut other = check();
    other.interval = Some(prost_types::Duration { seconds: 90, nanos: 0 });
    other.enabled = Some(false);
    other.alert = vec!["ops".to_owned(), "night".to_owned()];
    other.down =
        Some(v1::Down { regions: v1::Quorum::Count as i32, count: 2, ..other.down.unwrap() });
    other.meta.as_mut().unwrap().labels.insert("team".to_owned(), "on: call".to_owned());
    let run = other.run.as_mut().unwrap();
    run.warn = vec!["cert.days_left > 14".to_owned()];
    run.ip = v1::IpFamily::V4 as i32;
    if let Some(v1::step::Kind::Http(http)) = &mut run.steps[0].kind {
        let value = v1::secret::Value::Template("Bearer ${env:TOKEN}".to_owned());
        let value = Some(v1::Secret { value: Some(value) });
        http.headers = vec![v1::Header { name: "authorization".to_owned(), value }];
        http.insecure = true;
    }
    assert_eq!(
        rows(diff_checks(&check(), &other)),
        [
            row("alert", "", "[ops, night]"),
            row("down.regions", "majority", "2"),
            row("enabled", "true", "false"),
            row("http.headers.authorization", "", "\"Bearer ${env:TOKEN}\""),
            row("http.insecure", "", "true"),
            row("interval", "10s", "1m30s"),
            row("ip", "auto", "4"),
            row("labels.team", "", "\"on: call\""),
            row("warn", "", "[cert.days_left > 14]"),
        ]
    );
}

#[test]
fn a_check_of_before_redirects_is_one_that_follows_none() {
    let redirects = |redirects| {
        let mut check = check();
        if let Some(v1::step::Kind::Http(http)) = &mut check.run.as_mut().unwrap().steps[0].kind {
            http.redirects = redirects;
        }
        check
    };
    let none = redirects(Some(v1::Redirects { max: 0 }));
    assert_eq!(rows(diff_checks(&redirects(None), &none)), []);
}

#[test]
fn the_options_of_http_are_shown_each_by_its_name() {
    let mut other = check();
    let secret =
        |text: &str| Some(v1::Secret { value: Some(v1::secret::Value::Template(text.to_owned())) });
    if let Some(v1::step::Kind::Http(http)) = &mut other.run.as_mut().unwrap().steps[0].kind {
        http.redirects = Some(v1::Redirects { max: 0 });
        http.basic = Some(v1::BasicAuth { username: secret("me"), password: secret("${env:PW}") });
        http.bearer = secret("${env:TOKEN}");
        http.query = vec![v1::QueryParameter { name: "k".to_owned(), value: secret("v") }];
        http.accept_encoding =
            vec![v1::ContentEncoding::Gzip as i32, v1::ContentEncoding::Br as i32];
        http.http_version = v1::HttpVersion::V2 as i32;
        http.min_tls = v1::TlsVersion::V13 as i32;
        http.client_cert = secret("${file:/c}");
        http.client_key = secret("${file:/k}");
        http.oauth2 = Some(v1::OAuth2 {
            token_url: "https://login.example/".to_owned(),
            client_id: secret("me"),
            client_secret: secret("${env:SECRET}"),
            scopes: vec!["a".to_owned(), "b".to_owned()],
            audience: "shop".to_owned(),
        });
        http.keep_alive = true;
        http.proxy = Some(v1::Proxy {
            url: "socks5://p:1".to_owned(),
            username: secret("me"),
            password: secret("${env:PROXY}"),
        });
    }
    assert_eq!(
        rows(diff_checks(&check(), &other)),
        [
            row("http.accept_encoding", "", "[gzip, br]"),
            row("http.basic.password", "", "\"${env:PW}\""),
            row("http.basic.username", "", "me"),
            row("http.bearer", "", "\"${env:TOKEN}\""),
            row("http.client_cert", "", "\"${file:/c}\""),
            row("http.client_key", "", "\"${file:/k}\""),
            row("http.http_version", "", "\"2\""),
            row("http.keep_alive", "", "true"),
            row("http.min_tls", "", "\"1.3\""),
            row("http.oauth2.audience", "", "shop"),
            row("http.oauth2.client_id", "", "me"),
            row("http.oauth2.client_secret", "", "\"${env:SECRET}\""),
            row("http.oauth2.scopes", "", "[a, b]"),
            row("http.oauth2.token_url", "", "https://login.example/"),
            row("http.proxy.password", "", "\"${env:PROXY}\""),
            row("http.proxy.url", "", "socks5://p:1"),
            row("http.proxy.username", "", "me"),
            row("http.query.k", "", "v"),
            row("http.redirects", "", "none"),
            row("http.redirects.max", "10", ""),
        ]
    );
}

#[test]
fn a_change_of_kind_shows_both() {
    let mut other = check();
    let tcp = v1::TcpStep { address: "db.example:5432".to_owned(), ..Default::default() };
    other.run.as_mut().unwrap().steps[0].kind = Some(v1::step::Kind::Tcp(tcp));
    let changed = rows(diff_checks(&check(), &other));
    assert!(changed.contains(&row("http.url", "https://shop.example/", "")));
    assert!(changed.contains(&row("tcp.address", "", "db.example:5432")));
}

#[test]
fn questions_and_handshakes_differ_field_by_field() {
    let with = |kind: v1::step::Kind| {
        let mut check = check();
        check.run.as_mut().unwrap().steps[0].kind = Some(kind);
        normalise_check(check)
    };
    let dns = v1::DnsStep { name: "shop.example".to_owned(), ..Default::default() };
    let other = v1::DnsStep {
        name: "mail.example".to_owned(),
        r#type: "MX".to_owned(),
        class: "CH".to_owned(),
        server: "9.9.9.9".to_owned(),
        transport: v1::DnsTransport::Https.into(),
        recursion: Some(false),
        insecure: true,
        server_name: "c.example".to_owned(),
        ca_pem: "pem".to_owned(),
        min_tls: v1::TlsVersion::V13.into(),
        path: String::new(),
    };
    let (dns, other) = (v1::step::Kind::Dns(dns), v1::step::Kind::Dns(other));
    assert_eq!(
        rows(diff_checks(&with(dns), &with(other))),
        [
            row("dns.ca_pem", "", "pem"),
            row("dns.class", "IN", "CH"),
            row("dns.insecure", "", "true"),
            row("dns.min_tls", "", "\"1.3\""),
            row("dns.name", "shop.example", "mail.example"),
            row("dns.path", "", "/dns-query"),
            row("dns.recursion", "true", "false"),
            row("dns.server", "", "9.9.9.9"),
            row("dns.server_name", "", "c.example"),
            row("dns.transport", "udp", "https"),
            row("dns.type", "A", "MX"),
        ]
    );
    let icmp = v1::IcmpStep { host: "a.example".to_owned(), ..Default::default() };
    let other = v1::IcmpStep {
        host: "b.example".to_owned(),
        count: 5,
        spacing: Some(prost_types::Duration { seconds: 0, nanos: 50_000_000 }),
        payload_bytes: 1_400,
        dont_fragment: true,
        ttl: 4,
    };
    let (icmp, other) = (v1::step::Kind::Icmp(icmp), v1::step::Kind::Icmp(other));
    assert_eq!(
        rows(diff_checks(&with(icmp), &with(other))),
        [
            row("icmp.count", "3", "5"),
            row("icmp.dont_fragment", "", "true"),
            row("icmp.host", "a.example", "b.example"),
            row("icmp.payload_bytes", "56", "1400"),
            row("icmp.spacing", "100ms", "50ms"),
            row("icmp.ttl", "", "4"),
        ]
    );
    let key =
        |text: &str| Some(v1::Secret { value: Some(v1::secret::Value::Template(text.into())) });
    let plugin = v1::PluginStep { command: "check_a".to_owned(), ..Default::default() };
    let other = v1::PluginStep {
        command: "check_b".to_owned(),
        args: vec!["-H".to_owned(), "a b".to_owned()],
        env: vec![v1::Header { name: "K".to_owned(), value: key("${env:K}") }],
        series: vec!["time".to_owned()],
    };
    let (plugin, other) = (v1::step::Kind::Plugin(plugin), v1::step::Kind::Plugin(other));
    assert_eq!(
        rows(diff_checks(&with(plugin), &with(other))),
        [
            row("plugin.args", "", "[\"-H\", a b]"),
            row("plugin.command", "check_a", "check_b"),
            row("plugin.env.K", "", "\"${env:K}\""),
            row("plugin.series", "", "[time]"),
        ]
    );
    let grpc = v1::GrpcStep { address: "a.example:443".to_owned(), ..Default::default() };
    let other = v1::GrpcStep {
        address: "b.example:443".to_owned(),
        service: "shop.Cart".to_owned(),
        tls: true,
        insecure: true,
        server_name: "c.example".to_owned(),
        ca_pem: "pem".to_owned(),
        min_tls: v1::TlsVersion::V13.into(),
        client_cert: key("${file:/c}"),
        client_key: key("${file:/k}"),
        authority: "d.example".to_owned(),
        metadata: vec![v1::Header { name: "k".to_owned(), value: key("${env:K}") }],
    };
    let (grpc, other) = (v1::step::Kind::Grpc(grpc), v1::step::Kind::Grpc(other));
    assert_eq!(
        rows(diff_checks(&with(grpc), &with(other))),
        [
            row("grpc.address", "a.example:443", "b.example:443"),
            row("grpc.authority", "", "d.example"),
            row("grpc.ca_pem", "", "pem"),
            row("grpc.client_cert", "", "\"${file:/c}\""),
            row("grpc.client_key", "", "\"${file:/k}\""),
            row("grpc.insecure", "", "true"),
            row("grpc.metadata.k", "", "\"${env:K}\""),
            row("grpc.min_tls", "", "\"1.3\""),
            row("grpc.server_name", "", "c.example"),
            row("grpc.service", "", "shop.Cart"),
            row("grpc.tls", "", "true"),
        ]
    );
    let websocket = v1::WebSocketStep { url: "wss://a.example".to_owned(), ..Default::default() };
    let pattern = v1::expected::Form::Pattern("^hi".to_owned());
    let other = v1::WebSocketStep {
        url: "wss://b.example".to_owned(),
        headers: vec![v1::Header { name: "k".to_owned(), value: key("${env:K}") }],
        subprotocols: vec!["chat".to_owned()],
        insecure: true,
        server_name: "c.example".to_owned(),
        ca_pem: "pem".to_owned(),
        min_tls: v1::TlsVersion::V13.into(),
        client_cert: key("${file:/c}"),
        client_key: key("${file:/k}"),
        dialogue: vec![v1::Exchange {
            name: "1".to_owned(),
            send: None,
            expect: Some(v1::Expected { form: Some(pattern) }),
        }],
    };
    let kinds = (v1::step::Kind::Websocket(websocket), v1::step::Kind::Websocket(other));
    assert_eq!(
        rows(diff_checks(&with(kinds.0), &with(kinds.1))),
        [
            row("websocket.ca_pem", "", "pem"),
            row("websocket.client_cert", "", "\"${file:/c}\""),
            row("websocket.client_key", "", "\"${file:/k}\""),
            row("websocket.dialogue[0].expect", "", "^hi"),
            row("websocket.dialogue[0].name", "", "\"1\""),
            row("websocket.headers.k", "", "\"${env:K}\""),
            row("websocket.insecure", "", "true"),
            row("websocket.min_tls", "", "\"1.3\""),
            row("websocket.server_name", "", "c.example"),
            row("websocket.subprotocols", "", "[chat]"),
            row("websocket.url", "wss://a.example", "wss://b.example"),
        ]
    );
    let tls = v1::TlsStep { address: "a.example:443".to_owned(), ..Default::default() };
    let other = v1::TlsStep {
        address: "b.example:443".to_owned(),
        insecure: true,
        server_name: "c.example".to_owned(),
        ca_pem: "pem".to_owned(),
        min_tls: v1::TlsVersion::V13.into(),
    };
    let (tls, other) = (v1::step::Kind::Tls(tls), v1::step::Kind::Tls(other));
    assert_eq!(
        rows(diff_checks(&with(tls), &with(other))),
        [
            row("tls.address", "a.example:443", "b.example:443"),
            row("tls.ca_pem", "", "pem"),
            row("tls.insecure", "", "true"),
            row("tls.min_tls", "", "\"1.3\""),
            row("tls.server_name", "", "c.example"),
        ]
    );
}

#[test]
fn other_resources_differ_too() {
    let region = |title: &str| v1::Region { meta: None, title: title.to_owned() };
    assert_eq!(rows(diff_regions(&region("a"), &region("b"))), [row("title", "a", "b")]);
    let settings = |alert: &[&str]| v1::Settings {
        meta: None,
        mesh_alert: alert.iter().map(|name| (*name).to_owned()).collect(),
        ..v1::Settings::default()
    };
    assert_eq!(
        rows(diff_settings(&settings(&["a", "b"]), &settings(&["b", "a"]))),
        [row("mesh.alert", "[a, b]", "[b, a]")]
    );
    let contact = |url: &str| {
        let url = Some(v1::Secret { value: Some(v1::secret::Value::Template(url.to_owned())) });
        let timeout = Some(prost_types::Duration { seconds: 10, nanos: 0 });
        let webhook = v1::WebhookContact { url, timeout, ..Default::default() };
        v1::Contact { kind: Some(v1::contact::Kind::Webhook(webhook)), ..Default::default() }
    };
    assert_eq!(
        rows(diff_contacts(&contact("https://a"), &contact("https://b"))),
        [row("webhook.url", "https://a", "https://b")]
    );
    let resource = v1::Resource { kind: Some(v1::resource::Kind::Region(region("a"))) };
    assert_eq!(rows(diff(None, Some(&resource))), [row("title", "", "a")]);
    assert_eq!(rows(diff(Some(&resource), None)), [row("title", "a", "")]);
    assert_eq!(shown(&resource).get("title").map(String::as_str), Some("a"));
}

#[test]
fn scalars_read_back_as_the_same_text() {
    for (text, printed) in [
        ("plain text", "plain text"),
        ("", "\"\""),
        ("true", "\"true\""),
        ("12", "\"12\""),
        ("a, b", "\"a, b\""),
        ("a: b", "\"a: b\""),
        ("say \"hi\"", "say \"hi\""),
        ("\"hi\"", "\"\\\"hi\\\"\""),
        ("two\nlines", "\"two\\nlines\""),
        ("- x", "\"- x\""),
        ("9.9.9.9:53", "9.9.9.9:53"),
        ("No", "\"No\""),
        ("none", "none"),
        ("1e9", "\"1e9\""),
        ("12 apples", "12 apples"),
    ] {
        assert_eq!(scalar(text), printed);
    }
    let long = "7".repeat(4_096);
    assert_eq!(scalar(&long), format!("\"{long}\""));
}

#[test]
fn what_is_said_is_shown_in_the_form_in_which_it_is_written() {
    let text = |text: &str| {
        let value = Some(v1::secret::Value::Template(text.to_owned()));
        let form = Some(v1::payload::Form::Text(v1::Secret { value }));
        Some(v1::Payload { form })
    };
    let raw = |bytes: &'static [u8]| {
        Some(v1::Expected { form: Some(v1::expected::Form::Raw(bytes.into())) })
    };
    let with = |kind: v1::step::Kind| {
        let step = v1::Step { kind: Some(kind), ..Default::default() };
        let run = v1::Run { steps: vec![step], ..Default::default() };
        v1::Check { run: Some(run), ..Default::default() }
    };
    let one = v1::Exchange { name: "1".to_owned(), send: text("EHLO\r\n"), expect: None };
    let tcp = v1::TcpStep {
        address: "mail.example:25".to_owned(),
        dialogue: vec![one.clone()],
        ..Default::default()
    };
    let mut other = tcp.clone();
    other.starttls = v1::StartTls::Smtp as i32;
    other.min_tls = v1::TlsVersion::V13 as i32;
    other.dialogue[0].expect = raw(b"\r\n");
    other.dialogue.push(v1::Exchange { name: "bye".to_owned(), ..one });
    use v1::step::Kind;
    assert_eq!(
        rows(diff_checks(&with(Kind::Tcp(tcp)), &with(Kind::Tcp(other)))),
        [
            row("tcp.dialogue[0].expect_hex", "", "0d0a"),
            row("tcp.dialogue[1].name", "", "bye"),
            row("tcp.dialogue[1].send", "", "\"EHLO\\r\\n\""),
            row("tcp.min_tls", "", "\"1.3\""),
            row("tcp.starttls", "", "smtp"),
        ]
    );
    let pattern = v1::expected::Form::Pattern("^pong".to_owned());
    let udp = v1::UdpStep {
        address: "shop.example:7".to_owned(),
        send: Some(v1::Payload { form: Some(v1::payload::Form::Raw(vec![0, 255].into())) }),
        expect: Some(v1::Expected { form: Some(pattern) }),
        resend: Some(prost_types::Duration { seconds: 1, nanos: 0 }),
    };
    let ssh = v1::SshStep { address: "shop.example:22".to_owned() };
    assert_eq!(
        rows(diff_checks(&with(Kind::Ssh(ssh)), &with(Kind::Udp(udp)))),
        [
            row("ssh.address", "shop.example:22", ""),
            row("udp.address", "", "shop.example:7"),
            row("udp.expect", "", "^pong"),
            row("udp.resend", "", "1s"),
            row("udp.send_hex", "", "00ff"),
        ]
    );
}

#[test]
fn alerts_and_a_budget_are_shown_field_by_field() {
    let alert = v1::Alert {
        name: "slow".to_owned(),
        when: "p95 > 800ms for 5m".to_owned(),
        severity: v1::Severity::Critical.into(),
        alert: vec!["ops".to_owned()],
    };
    let over = Some(prost_types::Duration { seconds: 30 * 86_400, nanos: 0 });
    let slo = v1::Slo { target_ppm: 999_000, over, alert: vec!["ops".to_owned()] };
    let other = v1::Check { alerts: vec![alert], slo: Some(slo), ..check() };
    assert_eq!(
        rows(diff_checks(&check(), &other)),
        [
            row("alerts[0].alert", "", "[ops]"),
            row("alerts[0].name", "", "slow"),
            row("alerts[0].severity", "", "critical"),
            row("alerts[0].when", "", "p95 > 800ms for 5m"),
            row("slo.alert", "", "[ops]"),
            row("slo.over", "", "30d"),
            row("slo.target", "", "99.9%"),
        ]
    );
}
