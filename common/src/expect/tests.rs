use std::time::Duration;

use super::*;
use crate::check::{HttpStep, TcpStep, TlsOptions};
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
    });
    facts
}

const BODY: &str = r#"{"ok": true, "count": 3, "ratio": 0.5, "big": 18446744073709551615,
    "items": [{"id": 1, "tags": ["a"]}, {"id": 2, "tags": []}], "none": null}"#;

#[test]
fn expressions_hold_or_do_not() {
    for (source, holds) in [
        ("true", true),
        ("status == 200", true),
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
        ("redirects == 0", rule::EXPRESSION_UNKNOWN_NAME, None),
        ("json.items.all(i, j.id > 0)", rule::EXPRESSION_UNKNOWN_NAME, Some("i")),
        ("json.all(i, i > 0) && i > 0", rule::EXPRESSION_UNKNOWN_NAME, Some("ip")),
        ("body.startWith('a')", rule::EXPRESSION_UNKNOWN_FUNCTION, Some("startsWith")),
        ("json.items.exist(i, i > 0)", rule::EXPRESSION_UNKNOWN_FUNCTION, Some("exists")),
        ("phases.first_bite < duration('1s')", rule::EXPRESSION_UNKNOWN_FIELD, Some("first_byte")),
        ("phases['tsl'] < duration('1s')", rule::EXPRESSION_UNKNOWN_FIELD, Some("tls")),
        ("cert.daysleft > 3", rule::EXPRESSION_UNKNOWN_FIELD, Some("days_left")),
        ("has(cert.day)", rule::EXPRESSION_UNKNOWN_FIELD, None),
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
            headers: vec![],
            body: String::new(),
            body_max_bytes: 1,
            tls: TlsOptions::default(),
        })
    };
    let tcp = |tls| StepKind::Tcp(TcpStep { host: "h".to_owned(), port: 1, tls });
    assert_eq!(variables_of(&http("HTTPS://x")), Variable::ALL);
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
