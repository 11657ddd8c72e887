use std::time::Duration;

use super::*;
use crate::check::{
    DnsClass, DnsStep, DnsTransport, DnsType, Exchange, GrpcStep, HttpStep, IcmpStep, PluginStep,
    SshStep, StartTls, TcpStep, TlsOptions, TlsStep, WebSocketStep,
};
use crate::outcome::Phase;

fn facts(body: &str) -> Facts {
    let mut facts = Facts::default();
    facts.status = Some(200);
    facts.headers.insert("content-type".to_owned(), "application/json".to_owned());
    facts.body = body.to_owned().into();
    facts.latency = Duration::from_millis(120);
    facts.phases = vec![(Phase::Dns, Duration::from_millis(3))];
    facts.ip = "203.0.113.7".to_owned();
    facts.http_version = "HTTP/1.1".to_owned();
    facts.cert = Some(Certificate {
        days_left: 40,
        names: vec!["shop.example".to_owned()],
        issuer: "CN=Example CA".to_owned(),
        subject: "CN=shop.example".to_owned(),
        serial: "0a:1b".to_owned(),
        signature: "ecdsa-with-SHA256".to_owned(),
        key_type: "EC".to_owned(),
        key_bits: 256,
    });
    let authority = Certificate {
        days_left: 12,
        subject: "CN=Example CA".to_owned(),
        issuer: "CN=Example Root".to_owned(),
        key_type: "RSA".to_owned(),
        key_bits: 4_096,
        ..Certificate::default()
    };
    facts.chain = facts.cert.iter().cloned().chain([authority]).collect();
    facts.tls_version = "1.3".to_owned();
    facts.cipher = "TLS_AES_256_GCM_SHA384".to_owned();
    let record = |name: &str, record_type: &str, data: &str| DnsRecord {
        name: name.to_owned(),
        record_type: record_type.to_owned(),
        ttl: 300,
        data: data.to_owned(),
    };
    facts.dns = Some(DnsAnswer {
        rcode: "NOERROR".to_owned(),
        flags: DnsFlags { aa: true, ra: true, ..DnsFlags::default() },
        answers: vec![
            record("www.shop.example.", "CNAME", "shop.example."),
            record("shop.example.", "A", "192.0.2.1"),
        ],
        authority: vec![record("shop.example.", "NS", "ns1.shop.example.")],
        additional: vec![],
        transport: "udp".to_owned(),
    });
    facts.talk = Some(Talk {
        banner: "220 mail.example ESMTP".to_owned(),
        received: b"220 mail.example ESMTP\r\n250 \xff\r\n"[..].into(),
        captures: [("host", "mail.example"), ("count", "3")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        exchanges: vec![("hello".to_owned(), Duration::from_millis(7))],
    });
    facts.ssh = Some(SshOffer {
        software: "OpenSSH_9.9".to_owned(),
        kex: vec!["a".to_owned(), "b".to_owned()],
        ciphers: vec!["c".to_owned()],
        ..SshOffer::default()
    });
    let ms = Duration::from_millis;
    facts.echoes =
        Some(Echoes { sent: 4, answered: 3, round_trips: Some((ms(8), ms(11), ms(20))) });
    facts.grpc = Some(GrpcAnswer {
        serving: "NOT_SERVING".to_owned(),
        status: 0,
        message: "draining".to_owned(),
    });
    facts.upgraded = Some(Upgraded { subprotocol: "chat.v2".to_owned(), close_code: Some(1_000) });
    facts.redirects = Redirects { count: 2, url: "https://shop.example/in?x=1".to_owned() };
    facts
}

const BODY: &str = r#"{"ok": true, "count": 3, "ratio": 0.5, "big": 18446744073709551615,
    "items": [{"id": 1, "tags": ["a"]}, {"id": 2, "tags": []}], "none": null}"#;

#[test]
fn expressions_hold_or_do_not() {
    for (source, holds) in [
        ("true", true),
        ("status == 200", true),
        ("!reused", true),
        ("status >= 200 && status < 300", true),
        ("status in [201, 204]", false),
        ("latency < duration('800ms')", true),
        ("latency < duration(\"100ms\")", false),
        ("phases.dns < duration('5ms')", true),
        ("has(phases.tls)", false),
        ("headers['content-type'].startsWith('application/json')", true),
        ("headers['content-type'].matches('json$')", true),
        ("'x-trace' in headers", false),
        ("body.contains('\"ok\": true')", true),
        ("size(body) > 10", true),
        ("json.ok", true),
        ("json.ok == true && json.count == 3", true),
        ("json.count > 2.5", true),
        ("json.ratio < 1", true),
        ("json.big > 1.0", true),
        ("json.none == null", true),
        ("json.items.all(i, i.id > 0)", true),
        ("json.items.exists(i, i.id == 7)", false),
        ("json.items.exists_one(i, i.id == 2)", true),
        ("json.items.map(i, i.id) == [1, 2]", true),
        ("json.items.filter(i, i.id > 1).size() == 1", true),
        ("json.items.exists(i, i.tags.exists(t, t == 'a'))", true),
        ("cert.days_left > 14", true),
        ("'shop.example' in cert.names", true),
        ("cert['issuer'].contains('Example')", true),
        ("ip.startsWith('203.')", true),
        ("http_version == 'HTTP/1.1'", true),
        ("redirects.count == 2 && redirects.url.startsWith('https://shop.example/in')", true),
        ("redirects.count == 0", false),
        ("cert.chain_days_left == 12 && cert.key_bits >= 256 && cert.key_type == 'EC'", true),
        ("cert.chain.all(c, c.key_bits >= 2048)", false),
        ("cert.chain[1].subject == cert.issuer && size(cert.chain) == 2", true),
        ("cert.serial == '0a:1b' && cert.signature.endsWith('SHA256')", true),
        ("tls_version == '1.3' && cipher.contains('AES_256')", true),
        ("rcode == 'NOERROR' && flags.aa && !flags.tc && transport == 'udp'", true),
        ("flags['ra'] && flags.ad", false),
        ("answers.exists(a, a.type == 'A' && a.data == '192.0.2.1')", true),
        ("answers.filter(a, a.type == 'A').all(a, a.ttl <= 60)", false),
        ("answers[0].data == answers[1].name && size(authority) == 1", true),
        ("authority.map(a, a.data) == ['ns1.shop.example.']", true),
        ("size(additional) == 0", true),
        ("banner.startsWith('220 ') && received.contains('250')", true),
        ("received.size() > 500", false),
        ("captures.host == 'mail.example' && int(captures['count']) == 3", true),
        ("'none' in captures || size(captures) != 2", false),
        ("exchanges.hello < duration('10ms') && size(exchanges) == 1", true),
        ("software == 'OpenSSH_9.9' && 'b' in kex && kex.all(k, size(k) == 1)", true),
        ("ciphers.exists(c, c == 'c') && macs == [] && size(host_key_algorithms) == 0", true),
        ("sent == 4 && answered == 3 && loss == 0.25", true),
        ("loss < 0.2", false),
        ("loss < 1", true),
        ("rtt_min < rtt_avg && rtt_max <= duration('20ms')", true),
        ("rtt_avg < duration('10ms')", false),
        ("serving == 'SERVING'", false),
        ("grpc_status == 0 && message.contains('drain')", true),
        ("subprotocol == 'chat.v2' && close_code == 1000", true),
        ("close_code in [1001, 1011]", false),
        ("type(json.count) == int", true),
        ("int('3') == json.count", true),
        ("json.ok ? status == 200 : false", true),
        ("json.items.all(i, body.contains(string(i.id)) && size(headers) == 1)", true),
        ("json.items.all(i, !('x-trace' in headers) && headers['content-type'] != 'x')", true),
        ("json.items.map(i, i.id + 1) == [2, 3]", true),
    ] {
        let program = Program::admit(source).unwrap_or_else(|why| panic!("{source}: {why}"));
        assert_eq!(program.evaluate(&facts(BODY)), Ok(holds), "{source}");
    }
}

#[test]
fn what_breaks_a_rule_is_refused_with_the_nearest_name() {
    let long = format!("status == 200 || {}", "1".repeat(EXPRESSION_BYTES_MAX));
    let sums = format!("0{} > 0", " + 1".repeat(17));
    let three = "json.a.all(x, x.b.all(y, y.c.all(z, z > 0)))";
    for (source, rule, nearest) in [
        (long.as_str(), rule::EXPRESSION_TOO_LONG, None),
        ("", rule::EXPRESSION_SYNTAX, None),
        ("status ==", rule::EXPRESSION_SYNTAX, None),
        ("status = 200", rule::EXPRESSION_SYNTAX, None),
        ("statsu == 200", rule::EXPRESSION_UNKNOWN_NAME, Some("status")),
        ("latencyy < duration('1s')", rule::EXPRESSION_UNKNOWN_NAME, Some("latency")),
        ("rtt < duration('1s')", rule::EXPRESSION_UNKNOWN_NAME, None),
        ("redirect.count == 0", rule::EXPRESSION_UNKNOWN_NAME, Some("redirects")),
        ("redirects.counts == 0", rule::EXPRESSION_UNKNOWN_FIELD, Some("count")),
        ("redirects", rule::EXPRESSION_NOT_BOOLEAN, None),
        ("captures.host", rule::EXPRESSION_NOT_BOOLEAN, None),
        ("kex", rule::EXPRESSION_NOT_BOOLEAN, None),
        ("kex.map(k, received) == []", rule::EXPRESSION_UNBOUNDED, None),
        ("kex.map(k, captures) == []", rule::EXPRESSION_UNBOUNDED, None),
        ("json.items.all(i, j.id > 0)", rule::EXPRESSION_UNKNOWN_NAME, Some("i")),
        ("json.all(i, i > 0) && i > 0", rule::EXPRESSION_UNKNOWN_NAME, Some("ip")),
        ("body.startWith('a')", rule::EXPRESSION_UNKNOWN_FUNCTION, Some("startsWith")),
        ("json.items.exist(i, i > 0)", rule::EXPRESSION_UNKNOWN_FUNCTION, Some("exists")),
        ("phases.first_bite < duration('1s')", rule::EXPRESSION_UNKNOWN_FIELD, Some("first_byte")),
        ("phases['tsl'] < duration('1s')", rule::EXPRESSION_UNKNOWN_FIELD, Some("tls")),
        ("cert.daysleft > 3", rule::EXPRESSION_UNKNOWN_FIELD, Some("days_left")),
        ("has(cert.day)", rule::EXPRESSION_UNKNOWN_FIELD, None),
        ("cert.chain.all(c, c.keybits > 1)", rule::EXPRESSION_UNKNOWN_FIELD, Some("key_bits")),
        ("cert.chain.all(c, c.chain == [])", rule::EXPRESSION_UNKNOWN_FIELD, None),
        ("cert.chain[0].days == 1", rule::EXPRESSION_UNKNOWN_FIELD, None),
        ("answers.exists(a, a.dat == 'x')", rule::EXPRESSION_UNKNOWN_FIELD, Some("data")),
        ("authority[0]['tll'] > 1", rule::EXPRESSION_UNKNOWN_FIELD, Some("ttl")),
        ("flags.aaa", rule::EXPRESSION_UNKNOWN_FIELD, Some("aa")),
        ("answer.exists(a, a.ttl > 1)", rule::EXPRESSION_UNKNOWN_NAME, Some("answers")),
        ("rcode", rule::EXPRESSION_NOT_BOOLEAN, None),
        ("answers", rule::EXPRESSION_NOT_BOOLEAN, None),
        ("flags", rule::EXPRESSION_NOT_BOOLEAN, None),
        ("headers['Server'] == 'x'", rule::EXPRESSION_UNKNOWN_FIELD, Some("server")),
        (three, rule::EXPRESSION_TOO_DEEP, None),
        ("size(json.map(x, body + 'a')) > 0", rule::EXPRESSION_UNBOUNDED, None),
        ("size(json.map(x, body)) > 0", rule::EXPRESSION_UNBOUNDED, None),
        ("json.exists(x, [headers].size() > 0)", rule::EXPRESSION_UNBOUNDED, None),
        ("json.all(x, (x ? body : 'a') == 'a')", rule::EXPRESSION_UNBOUNDED, None),
        (sums.as_str(), rule::EXPRESSION_SUMS, None),
        ("status", rule::EXPRESSION_NOT_BOOLEAN, None),
        ("status + 1", rule::EXPRESSION_NOT_BOOLEAN, None),
        ("'yes'", rule::EXPRESSION_NOT_BOOLEAN, None),
        ("size(body)", rule::EXPRESSION_NOT_BOOLEAN, None),
        ("json.ok ? 1 : 0", rule::EXPRESSION_NOT_BOOLEAN, None),
        ("json.items.map(i, i.id)", rule::EXPRESSION_NOT_BOOLEAN, None),
    ] {
        let Err(refusal) = Program::admit(source) else { panic!("{source} is admitted") };
        assert_eq!((refusal.rule, refusal.nearest.as_deref()), (rule, nearest), "{source}");
    }
}

#[test]
fn chained_loops_do_not_count_as_nested() {
    let program =
        Program::admit("json.map(a, a.b).filter(b, b > 0).map(c, c + 1).all(d, d > 1)").unwrap();
    assert_eq!(program.depth, 1);
}

#[test]
fn an_expression_that_cannot_answer_says_why() {
    use EvaluationError::*;
    for (source, body, error) in [
        ("json.missing == 1", "{}", Failed("there is no `missing`".to_owned())),
        ("json.ok == true", "<html>", BodyNotJson("line 1, column 1".to_owned())),
        ("json.ok", r#"{"ok": "yes"}"#, NotBoolean("a string")),
        ("json[3] == 1", "[1]", Failed("an index is outside its list".to_owned())),
        ("headers['x'] == '1'", "", Failed("there is no `x`".to_owned())),
    ] {
        let program = Program::admit(source).unwrap();
        assert_eq!(program.evaluate(&facts(body)), Err(error), "{source}");
    }
}

#[test]
fn no_error_shows_the_body() {
    let secret = "hunter2";
    for source in [
        "json.a < 1",
        "json.a + 1 == 2",
        "json[json.a] == 1",
        "json.a.b.c",
        "duration(json.a) > latency",
    ] {
        let program = Program::admit(source).unwrap();
        let error = program.evaluate(&facts(&format!(r#"{{"a": "{secret}"}}"#))).unwrap_err();
        let shown = error.to_string();
        assert!(!shown.contains(secret), "{source}: {shown}");
    }
}

#[test]
fn nested_loops_over_a_large_body_are_over_budget() {
    let items: Vec<u32> = (0..2_000).collect();
    let body = serde_json::to_string(&items).unwrap();
    let nested = Program::admit("json.all(a, json.exists(b, b == a))").unwrap();
    assert_eq!(nested.evaluate(&facts(&body)), Err(EvaluationError::Budget));
    let flat = Program::admit("json.all(a, a >= 0)").unwrap();
    assert_eq!(flat.evaluate(&facts(&body)), Ok(true));
}

#[test]
fn what_would_build_too_much_is_over_budget() {
    let many = format!("[\"{}\"{}]", "x".repeat(100_000), ",1".repeat(70_000));
    let few = "[[1, 2], [3, 4]]";
    let chain = format!("json{}.size() > 0", ".map(x, [x, x])".repeat(30));
    for source in [
        "json.map(x, json[0]).size() > 0",
        "json.map(x, json).size() > 0",
        "json.map(x, json[0] + 'a').exists(x, x == 'b')",
        "json.map(x, [json[0]]).map(y, [y, y]).size() > 0",
    ] {
        let program = Program::admit(source).unwrap();
        assert_eq!(program.evaluate(&facts(&many)), Err(EvaluationError::Budget), "{source}");
        assert_ne!(program.evaluate(&facts(few)), Err(EvaluationError::Budget), "{source}");
    }
    // Doubled thirty times.
    let chain = Program::admit(&chain).unwrap();
    assert_eq!(chain.evaluate(&facts(few)), Err(EvaluationError::Budget));
    // Linear in a large body.
    for source in ["json.all(x, x != 0)", "size(body + 'a') > 1"] {
        let program = Program::admit(source).unwrap();
        assert_eq!(program.evaluate(&facts(&many)), Ok(true), "{source}");
    }
    let objects = format!("[{}]", vec![r#"{"id": 7, "name": "shop"}"#; 200].join(","));
    let program =
        Program::admit("json.filter(i, i.id > 3).map(i, i.name + '!').size() > 9").unwrap();
    assert_eq!(program.evaluate(&facts(&objects)), Ok(true));
}

#[test]
fn long_answers_are_bounded_like_long_bodies() {
    let mut facts = facts("");
    let record = DnsRecord { data: "x".repeat(10_000), ..DnsRecord::default() };
    let dns = facts.dns.as_mut().unwrap();
    dns.answers = vec![record; 2_000];
    for source in [
        "answers.all(a, answers.exists(b, b.data == a.data))",
        "size(answers.map(a, answers)) > 0",
        "answers.map(a, [a, a]).map(a, [a, a]).size() > 0",
    ] {
        let program = Program::admit(source).unwrap();
        assert_eq!(program.evaluate(&facts), Err(EvaluationError::Budget), "{source}");
    }
    let flat = Program::admit("answers.all(a, a.ttl == 0)").unwrap();
    assert_eq!(flat.evaluate(&facts), Ok(true));
}

#[test]
fn the_same_source_is_compiled_once() {
    let one = Program::admit("status == 418").unwrap();
    let other = Program::admit("status == 418").unwrap();
    assert!(Arc::ptr_eq(&one, &other));
    fn shareable<T: Send + Sync>() {}
    shareable::<Program>();
    shareable::<Facts>();
}

#[test]
fn kinds_give_their_variables() {
    let http = |url: &str| {
        StepKind::Http(HttpStep {
            url: url.to_owned(),
            method: "GET".to_owned(),
            body_max_bytes: 1,
            ..HttpStep::default()
        })
    };
    let tcp =
        |tls| StepKind::Tcp(TcpStep { host: "h".to_owned(), port: 1, tls, ..TcpStep::default() });
    let dns = StepKind::Dns(DnsStep {
        name: "x".to_owned(),
        record_type: DnsType::A,
        class: DnsClass::In,
        server: None,
        transport: DnsTransport::Udp,
        recursion: true,
        tls: None,
        path: None,
    });
    let tls = TlsStep { host: "h".to_owned(), port: 1, tls: TlsOptions::default() };
    let tls = StepKind::Tls(tls);
    assert_eq!(variables_of(&tls), variables_of(&tcp(Some(TlsOptions::default()))));
    let exchange = Exchange { name: "1".to_owned(), send: None, expect: None };
    let talk = |tls: Option<TlsOptions>, starttls, dialogue: bool| {
        let (host, port) = ("h".to_owned(), 1);
        let dialogue = dialogue.then(|| exchange.clone()).into_iter().collect();
        variables_of(&StepKind::Tcp(TcpStep { host, port, tls, starttls, dialogue })).len()
    };
    let (tls_on, smtp) = (Some(TlsOptions::default()), Some(StartTls::Smtp));
    let counts = [
        talk(None, None, false),
        talk(tls_on.clone(), None, false),
        talk(tls_on.clone(), smtp, false),
        talk(None, None, true),
        talk(tls_on.clone(), None, true),
        talk(tls_on, smtp, true),
    ];
    assert_eq!(counts, [3, 6, 7, 7, 10, 10]);
    let ssh = StepKind::Ssh(SshStep { host: "h".to_owned(), port: 1 });
    let ssh = variables_of(&ssh);
    let spoken = TcpStep { dialogue: vec![exchange.clone()], ..TcpStep::default() };
    let spoken = StepKind::Tcp(spoken);
    let spoken = variables_of(&spoken);
    // Each name is given by some kind, and http and dns share what a run itself has.
    let (https, dns) = (variables_of(&http("HTTPS://x")), variables_of(&dns));
    let icmp = variables_of(&StepKind::Icmp(IcmpStep {
        host: "h".to_owned(),
        count: 1,
        spacing: Duration::from_millis(10),
        payload_bytes: 8,
        dont_fragment: false,
        ttl: None,
    }));
    let grpc = |tls| {
        variables_of(&StepKind::Grpc(GrpcStep {
            host: "h".to_owned(),
            port: 1,
            service: String::new(),
            tls,
            authority: None,
            metadata: vec![],
        }))
    };
    let kept = |url: &str| {
        let (url, keep_alive) = (url.to_owned(), true);
        variables_of(&StepKind::Http(HttpStep { url, keep_alive, ..HttpStep::default() }))
    };
    assert_eq!(kept("http://x"), &kept("https://x")[..10]);
    assert_eq!((&kept("https://x")[1..], kept("http://x")[0]), (https, Variable::Reused));
    let quic = |url: &str| {
        let (url, version) = (url.to_owned(), HttpVersion::V3);
        variables_of(&StepKind::Http(HttpStep { url, version, ..HttpStep::default() }))
    };
    // No `cipher`, which comes last.
    assert_eq!(quic("https://x"), &https[..https.len() - 1]);
    assert_eq!(quic("http://x"), &kept("http://x")[1..]);
    let websocket = |url: &str, dialogue: &[Exchange]| {
        variables_of(&StepKind::Websocket(WebSocketStep {
            url: url.to_owned(),
            dialogue: dialogue.to_vec(),
            ..WebSocketStep::default()
        }))
    };
    let talks = std::slice::from_ref(&exchange);
    let counts = [("ws://h", &[][..]), ("WSS://h", &[]), ("ws://h", talks), ("wss://h", talks)];
    assert_eq!(counts.map(|(url, dialogue)| websocket(url, dialogue).len()), [6, 9, 9, 12]);
    let plugin = variables_of(&StepKind::Plugin(PluginStep {
        command: "check_http".to_owned(),
        args: vec![],
        env: vec![],
        series: vec![],
    }));
    let upgraded = websocket("ws://h", &[]);
    let kinds = [https, kept("http://x"), dns, icmp, grpc(None), ssh, spoken, upgraded, plugin];
    assert!(Variable::ALL.iter().all(|name| kinds.iter().any(|given| given.contains(name))));
    assert!(grpc(Some(TlsOptions::default())).contains(&Variable::Cert));
    assert!(!grpc(None).contains(&Variable::Cert));
    assert!(Program::admit("loss < 0.2").unwrap().mentions_echoes());
    assert!(!Program::admit("rtt_max < duration('1s')").unwrap().mentions_echoes());
    assert!(Program::admit("serving == 'UNKNOWN'").unwrap().mentions_serving());
    assert!(!Program::admit("message == ''").unwrap().mentions_serving());
    assert!(Program::admit("exit_code < 2").unwrap().mentions_exit_code());
    assert!(!Program::admit("output != ''").unwrap().mentions_exit_code());
    assert!(!plugin.contains(&Variable::Ip));
    let both: Vec<_> = https.iter().filter(|name| dns.contains(name)).collect();
    assert_eq!(both, [&Variable::Latency, &Variable::Phases, &Variable::Ip]);
    assert_eq!(StepKind::WORDS.iter().position(|word| *word == tls.word()), Some(2));
    assert!(Program::admit("rcode == 'NXDOMAIN'").unwrap().mentions_rcode());
    assert!(!Program::admit("size(answers) == 0").unwrap().mentions_rcode());
    assert!(!variables_of(&http("http://x")).contains(&Variable::Cert));
    assert!(variables_of(&http("http://x")).contains(&Variable::HttpVersion));
    assert!(!variables_of(&tcp(None)).contains(&Variable::Cert));
    assert!(variables_of(&tcp(Some(TlsOptions::default()))).contains(&Variable::Cert));
    assert!(!variables_of(&tcp(None)).contains(&Variable::Status));
    let program = Program::admit("status == 200 && size(body) > 0").unwrap();
    assert!(program.mentions_status() && program.mentions_body());
    assert!(!Program::admit("latency < duration('1s')").unwrap().mentions_status());
}

#[test]
fn loops_and_patterns_are_heavy_and_words_in_texts_are_not() {
    for (source, heavy) in [
        ("status == 200 && latency < duration('1s')", false),
        ("headers['x-filter'] == 'all of the map matches'", false),
        ("body.contains('exists')", false),
        ("json.items.all(x, x > 0)", true),
        ("size(json.items.map(x, x)) > 1", true),
        ("body.matches('a+b')", true),
        ("matches(body, 'a+b')", true),
    ] {
        assert_eq!(Program::admit(source).unwrap().is_heavy(), heavy, "{source}");
    }
}

#[test]
fn a_value_is_a_text_or_a_number() {
    for (source, value) in [
        ("json.count", Ok("3")),
        ("json.items[1].id + 1", Ok("3")),
        ("json.ratio", Ok("0.5")),
        ("json.big", Err("the expression says a number that is not exact, not a text or a number")),
        ("headers['content-type']", Ok("application/json")),
        ("captures.host + '/' + string(status)", Ok("mail.example/200")),
        ("json.none", Err("the expression says null, not a text or a number")),
        ("json.items", Err("the expression says a list, not a text or a number")),
        ("json.ok", Err("the expression says a bool, not a text or a number")),
        ("json.token", Err("there is no `token`")),
        ("headers['x-id']", Err("there is no `x-id`")),
    ] {
        let program = Program::admit_value(source).unwrap_or_else(|why| panic!("{source}: {why}"));
        let found = program.value(&facts(BODY)).map_err(|error| error.to_string());
        assert_eq!(found.as_deref().map_err(String::as_str), value, "{source}");
    }
    for (source, rule) in [
        ("status == 200", rule::CAPTURE_VALUE),
        ("headers", rule::CAPTURE_VALUE),
        ("[1]", rule::CAPTURE_VALUE),
        ("latency", rule::CAPTURE_VALUE),
        ("statsu", rule::EXPRESSION_UNKNOWN_NAME),
        ("status +", rule::EXPRESSION_SYNTAX),
    ] {
        assert_eq!(Program::admit_value(source).unwrap_err().rule, rule, "{source}");
    }
    // What gives a value says nothing, whoever has asked for it before.
    assert!(Program::admit_value("json.ok ? 'a' : 'b'").is_ok());
    assert!(Program::admit("json.ok ? 'a' : 'b'").is_err());
}
