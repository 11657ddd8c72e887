//! Each rule that YAML can break, broken; and what a good file becomes.

use std::collections::BTreeSet;

use parallax_common::rule::{self, Stage};
use parallax_proto::v1;

use super::*;

const ROWS: &str = include_str!("rules.txt");

/// Stands right before the place that must be reported.
const SIGN: char = '▶';

struct Row {
    rule: String,
    text: String,
    line: u32,
    column: u32,
}

/// A row of the table: `body` with the sign taken out.
fn row(rule: &str, whole: bool, body: &str) -> Row {
    let mut text = String::new();
    if !whole {
        text.push_str("defaults: {interval: 10s, timeout: 3s, regions: [a, b, c]}\n");
        text.push_str("checks:\n  - name: shop\n");
    }
    for line in body.lines() {
        if !whole {
            text.push_str("    ");
        }
        text.push_str(line);
        text.push('\n');
    }
    let at = text.find(SIGN).unwrap_or_else(|| panic!("a row of {rule} has no sign"));
    let before = &text[..at];
    let line = 1 + before.matches('\n').count() as u32;
    let column = 1 + before.rsplit('\n').next().unwrap_or_default().chars().count() as u32;
    Row { rule: rule.to_owned(), text: text.replace(SIGN, ""), line, column }
}

fn written_rows() -> Vec<Row> {
    let (_, rows) = ROWS.split_once("\n=== ").expect("the table has rows");
    rows.split("\n=== ")
        .map(|section| {
            let (head, body) = section.split_once('\n').expect("a row has a body");
            let (rule, form) = head.split_once(' ').expect("a row has a rule and a form");
            row(rule, form == "file", body.trim_end())
        })
        .collect()
}

/// Rows that are too long to be written down.
fn long_rows() -> Vec<Row> {
    let many = |count: usize, item: &dyn Fn(usize) -> String| {
        (0..count).map(item).collect::<Vec<_>>().join(", ")
    };
    let http = "http: {url: \"http://shop.example\"}";
    let names = many(33, &|at| format!("r{at}"));
    let query = many(65, &|at| format!("k{at}: v"));
    let captures = many(17, &|at| format!("c{at}: status"));
    let labels = many(65, &|at| format!("k{at}: v"));
    let headers = many(65, &|at| format!("x-{at}: v"));
    let expressions = many(33, &|_| "'status == 200'".to_owned());
    let steps = many(17, &|at| format!("{{name: s{at}, http: {{url: \"http://shop.example\"}}}}"));
    let alert = |name: &str, when: &str| format!("{{name: {name}, when: \"{when}\"}}");
    let long = "x".repeat(5_000);
    let body = "x".repeat(200_000);
    vec![
        row("regions_too_many", false, &format!("{http}\n▶regions: [{names}]")),
        row(
            "captures_too_many",
            false,
            &format!(
                "steps:\n  - {{name: a, {http}, ▶capture: {{{captures}}}}}\n  - {{name: b, {http}}}"
            ),
        ),
        row(
            "alerts_too_many",
            false,
            &format!("{http}\n▶alerts: [{}]", many(9, &|at| alert(&format!("a{at}"), "p95 > 1s"))),
        ),
        row(
            "alert_when",
            false,
            &format!(
                "{http}\nalerts: [{}]",
                alert("a", &"x".repeat(257)).replace("when: ", "when: ▶")
            ),
        ),
        row("labels_too_many", false, &format!("{http}\n▶labels: {{{labels}}}")),
        row("text_too_long", false, &format!("{http}\ndescription: ▶{long}")),
        row(
            "headers_too_many",
            false,
            &format!("http: {{url: \"http://shop.example\", ▶headers: {{{headers}}}}}"),
        ),
        row(
            "query_too_many",
            false,
            &format!("http: {{url: \"http://shop.example\", ▶query: {{{query}}}}}"),
        ),
        row("expressions_too_many", false, &format!("{http}\n▶expect: [{expressions}]")),
        row("expression_too_long", false, &format!("{http}\nexpect: [▶\"'{long}' == body\"]")),
        row("steps_too_many", false, &format!("▶steps: [{steps}]")),
        row(
            "resource_too_large",
            true,
            &format!(
                "checks:\n  - name: ▶shop\n    interval: 10s\n    timeout: 1s\n    regions: [a, b, \
                 c]\n    http: {{url: \"http://shop.example\", method: POST, body: {body}}}"
            ),
        ),
    ]
}

fn diagnose(texts: &[(&str, &str)]) -> (Sources, Vec<Diagnostic>) {
    match load(Sources::from_texts(texts.iter().copied())) {
        Ok(loaded) => (loaded.sources, Vec::new()),
        Err(invalid) => (invalid.sources, invalid.diagnostics),
    }
}

#[test]
fn each_row_breaks_its_rule_once_at_its_place() {
    let mut wrong = Vec::new();
    for row in written_rows().into_iter().chain(long_rows()) {
        let (sources, found) = diagnose(&[("mesh.yaml", &row.text)]);
        let places: Vec<_> = found
            .iter()
            .map(|it| (it.rule.as_str(), it.place.map(|place| (place.line, place.column))))
            .collect();
        if places != [(row.rule.as_str(), Some((row.line, row.column)))] {
            let said: String = found.iter().map(|it| it.render(&sources, false)).collect();
            let said: String = said.chars().take(1_500).collect();
            wrong.push(format!("{} at {}:{}:\n{said}", row.rule, row.line, row.column));
        }
    }
    assert!(wrong.is_empty(), "{} rows:\n{}", wrong.len(), wrong.join("\n"));
}

/// Rules about what a file cannot say: uids and the name of the settings are not written in YAML.
const NOT_IN_YAML: &[&str] = &["uid_format", "settings_name"];

#[test]
fn every_rule_that_yaml_can_break_has_a_row() {
    let broken: BTreeSet<String> =
        written_rows().into_iter().chain(long_rows()).map(|row| row.rule).collect();
    let all: BTreeSet<String> = rule::ALL
        .iter()
        .filter(|rule| matches!(rule.stage, Stage::Yaml | Stage::Resource))
        .filter(|rule| !NOT_IN_YAML.contains(&rule.id))
        .map(|rule| rule.id.to_owned())
        .collect();
    let without: Vec<&String> = all.difference(&broken).collect();
    assert!(without.is_empty(), "rules without a row: {without:?}");
    assert!(broken.len() >= 40, "{}", broken.len());
    for rule in &broken {
        assert!(rule::by_id(rule).is_some(), "{rule} is no rule");
    }
}

#[test]
fn all_errors_of_all_files_are_said_at_once_in_their_order() {
    let one = "checks:\n  - nmae: shop\n    http: {url: 3, methd: GET}\n";
    let two = "contacts: [{name: ops}]\nregions: {name: a}\n";
    let three = "a: [\n";
    let (sources, found) = diagnose(&[("one.yaml", one), ("two.yaml", two), ("three.yaml", three)]);
    let places: Vec<String> = found
        .iter()
        .filter_map(|it| {
            let place = it.place?;
            Some(format!("{}:{} {}", sources.name(place.source), place.line, it.rule))
        })
        .collect();
    for expected in [
        "one.yaml:2 unknown_field",
        "one.yaml:2 missing_field",
        "one.yaml:3 unknown_field",
        "two.yaml:1 kind_missing",
        "two.yaml:2 wrong_type",
        "three.yaml:1 yaml_syntax",
    ] {
        assert!(places.iter().any(|place| place == expected), "{expected} is not in {places:#?}");
    }
    let in_order: Vec<_> = found.iter().filter_map(|it| it.place).collect();
    assert!(in_order.is_sorted());
    let near = found.iter().find_map(|it| it.nearest.as_deref());
    assert_eq!(near, Some("name"));
}

#[test]
fn a_broken_default_is_one_error_however_many_checks_inherit_it() {
    let mut text = String::from("defaults: {interval: 10, timeout: 1s, regions: [a]}\nchecks:\n");
    for at in 0..50 {
        text.push_str(&format!("  - {{name: c{at}, http: {{url: \"http://x.example\"}}}}\n"));
    }
    let (_, found) = diagnose(&[("mesh.yaml", &text)]);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((found[0].rule.as_str(), found[0].place.unwrap().line), ("wrong_type", 1));
}

/// The file of DESIGN.md's "Config as code".
const GOOD: &str = r#"
regions: [{name: eu-west}, {name: us-east}, {name: ap-south}]
defaults: {interval: 10s, timeout: 3s, regions: [eu-west, us-east, ap-south], labels: {env: prod}}
contacts:
  - {name: ops, webhook: {url: "${env:OPS_URL}"}}
mesh: {alert: [ops]}
checks:
  - name: checkout
    http: {url: "https://shop.example/checkout", headers: {x-b: one, x-a: "${env:TOKEN}"}}
    expect: ['status == 200', 'latency < duration("800ms")']
    warn: ['cert.days_left > 14']
    interval: 1s
    timeout: 900ms
    down: {regions: majority, failures: 2}
    alert: [ops]
    runbook: https://wiki.example/runbooks/checkout
    labels: {team: payments}
  - name: database
    tcp: {address: "db.example:5432"}
"#;

fn good(texts: &[(&str, &str)]) -> Loaded {
    match load(Sources::from_texts(texts.iter().copied())) {
        Ok(loaded) => loaded,
        Err(invalid) => {
            let said: String =
                invalid.diagnostics.iter().map(|it| it.render(&invalid.sources, false)).collect();
            panic!("{said}");
        }
    }
}

fn check_of<'l>(loaded: &'l Loaded, name: &str) -> &'l v1::Check {
    let found = loaded.resources.iter().find_map(|it| match &it.resource.kind {
        Some(v1::resource::Kind::Check(check)) if it.name == name => Some(check),
        _ => None,
    });
    found.expect("the check is there")
}

#[test]
fn a_file_becomes_resources_with_defaults_merged_in() {
    let loaded = good(&[("mesh.yaml", GOOD)]);
    let kinds: Vec<(&str, &str)> =
        loaded.resources.iter().map(|it| (it.kind.word(), it.name.as_str())).collect();
    assert_eq!(
        kinds,
        [
            ("region", "eu-west"),
            ("region", "us-east"),
            ("region", "ap-south"),
            ("contact", "ops"),
            ("settings", "settings"),
            ("check", "checkout"),
            ("check", "database"),
        ]
    );
    let checkout = check_of(&loaded, "checkout");
    let run = checkout.run.as_ref().unwrap();
    assert_eq!(checkout.interval, Some(prost_types::Duration { seconds: 1, nanos: 0 }));
    assert_eq!(run.timeout, Some(prost_types::Duration { seconds: 0, nanos: 900_000_000 }));
    assert_eq!(checkout.regions, ["eu-west", "us-east", "ap-south"]);
    assert_eq!(checkout.down.as_ref().unwrap().regions(), v1::Quorum::Majority);
    let labels = &checkout.meta.as_ref().unwrap().labels;
    assert_eq!(labels.iter().collect::<Vec<_>>().len(), 2, "labels are merged key by key");
    let Some(v1::step::Kind::Http(http)) = &run.steps[0].kind else { panic!("an http step") };
    let headers: Vec<&str> = http.headers.iter().map(|header| header.name.as_str()).collect();
    assert_eq!(headers, ["x-b", "x-a"], "headers keep their order");
    let database = check_of(&loaded, "database");
    assert_eq!(database.interval, Some(prost_types::Duration { seconds: 10, nanos: 0 }));
    assert!(matches!(database.run.as_ref().unwrap().steps[0].kind, Some(v1::step::Kind::Tcp(_))));
}

#[test]
fn a_check_goes_to_the_coordinator_as_written_with_nothing_filled_in() {
    let loaded = good(&[("mesh.yaml", GOOD)]);
    let database = check_of(&loaded, "database");
    assert_eq!((database.down, database.up, database.enabled), (None, None, None));
    assert_eq!(database.run_digest, 0);
}

#[test]
fn who_looks_and_what_silence_counts_as_are_read() {
    let text = "regions: [{name: a}, {name: b}]\ndefaults: {missing: fail, probes_per_region: 3}\n\
                checks:\n  - {name: shop, http: {url: \"http://x.example\"}, interval: 5s, timeout: 1s, \
                regions: [a], advisory_regions: [b], missing: pass}\n  - {name: till, http: {url: \
                \"http://x.example\"}, interval: 5s, timeout: 1s, regions: [a]}\n";
    let loaded = good(&[("mesh.yaml", text)]);
    let (shop, till) = (check_of(&loaded, "shop"), check_of(&loaded, "till"));
    assert_eq!((shop.probes_per_region, shop.missing()), (3, v1::MissingData::Pass));
    assert_eq!(shop.advisory_regions, ["b"]);
    assert_eq!((till.probes_per_region, till.missing()), (3, v1::MissingData::Fail));
    assert!(till.advisory_regions.is_empty());
}

#[test]
fn alerts_and_a_budget_are_read() {
    let text = "regions: [{name: a}]\ncontacts: [{name: ops, webhook: {url: \"https://x.example\"}}]\n\
                checks:\n  - name: shop\n    http: {url: \"http://x.example\"}\n    interval: 5s\n    \
                timeout: 1s\n    regions: [a]\n    alerts:\n      - {name: slow, when: \"p95 > 1s\", \
                severity: critical, alert: [ops]}\n      - {name: errors, when: \"error_rate > 2%\"}\n    \
                slo: {target: 99.95%, over: 7d}\n";
    let loaded = good(&[("mesh.yaml", text)]);
    let shop = check_of(&loaded, "shop");
    let [slow, errors] = &shop.alerts[..] else { panic!("two alerts: {:?}", shop.alerts) };
    assert_eq!((slow.name.as_str(), slow.when.as_str()), ("slow", "p95 > 1s"));
    assert_eq!(
        (slow.severity(), &slow.alert[..]),
        (v1::Severity::Critical, &["ops".to_owned()][..])
    );
    assert_eq!((errors.severity(), errors.alert.len()), (v1::Severity::Unspecified, 0));
    let slo = shop.slo.as_ref().unwrap();
    assert_eq!((slo.target_ppm, slo.over.unwrap().seconds), (999_500, 7 * 86_400));
}

#[test]
fn defaults_hold_for_their_own_document_only() {
    let one = "defaults: {interval: 5s, timeout: 1s, regions: [a]}\nchecks: []\n";
    let two = "checks: [{name: shop, http: {url: \"http://x.example\"}, timeout: 1s, \
               regions: [a], interval: 7s}]\n";
    let loaded = good(&[("one.yaml", one), ("two.yaml", two)]);
    assert_eq!(check_of(&loaded, "shop").interval.unwrap().seconds, 7);
    let bare = "checks: [{name: shop, http: {url: \"http://x.example\"}}]\n";
    assert!(!diagnose(&[("one.yaml", one), ("bare.yaml", bare)]).1.is_empty());
}

#[test]
fn down_and_up_of_a_default_are_merged_field_by_field() {
    let text = "defaults: {interval: 5s, timeout: 1s, regions: [a, b, c], down: {failures: 3, \
                regions: 2}}\nchecks: [{name: shop, http: {url: \"http://x.example\"}, down: \
                {regions: 3}}]\n";
    let down = check_of(&good(&[("a.yaml", text)]), "shop").down.unwrap();
    assert_eq!((down.count, down.failures), (3, 3));
}

#[test]
fn a_name_used_in_two_files_is_refused_with_the_place_of_the_first() {
    let one = "regions: [{name: a}]\n";
    let two = "\nregions: [{name: a}]\n";
    let (_, found) = diagnose(&[("one.yaml", one), ("two.yaml", two)]);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].rule, "duplicate_name");
    assert_eq!(found[0].help.as_deref(), Some("the first is at one.yaml:1"));
}

#[test]
fn authorities_are_read_from_beside_the_file_that_names_them() {
    let dir = tempfile::tempdir().unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["ca.example".to_owned()]).unwrap();
    let pem = params.self_signed(&key).unwrap().pem();
    std::fs::write(dir.path().join("ca.pem"), &pem).unwrap();
    let text = "checks: [{name: shop, interval: 5s, timeout: 1s, regions: [a], http: {url: \
                \"https://x.example\", ca_file: ca.pem}}]\n";
    let file = dir.path().join("mesh.yaml");
    std::fs::write(&file, text).unwrap();
    let sources = Sources::read(&[Input::Path(file)], &mut std::io::empty()).unwrap();
    let loaded = load(sources).unwrap();
    let run = check_of(&loaded, "shop").run.as_ref().unwrap();
    let Some(v1::step::Kind::Http(http)) = &run.steps[0].kind else { panic!("an http step") };
    assert_eq!(http.ca_pem, pem);
}

#[test]
fn a_body_is_read_from_beside_the_file_that_names_it() {
    let dir = tempfile::tempdir().unwrap();
    let text = "checks: [{name: shop, interval: 5s, timeout: 1s, regions: [a], http: {url: \
                \"https://x.example\", method: POST, body_file: order.json}}]\n";
    let file = dir.path().join("mesh.yaml");
    std::fs::write(&file, text).unwrap();
    let read = |body: &[u8]| {
        std::fs::write(dir.path().join("order.json"), body).unwrap();
        let sources = Sources::read(&[Input::Path(file.clone())], &mut std::io::empty()).unwrap();
        load(sources).map_err(|wrong| wrong.diagnostics)
    };
    let loaded = read(b"{\"order\": 7}\n").unwrap();
    let run = check_of(&loaded, "shop").run.as_ref().unwrap();
    let Some(v1::step::Kind::Http(http)) = &run.steps[0].kind else { panic!("an http step") };
    assert_eq!(http.body, "{\"order\": 7}\n");
    // What is no text, holds nothing, or would be resolved by nobody, at the line that names it; what
    // is too large, at the check.
    let large = vec![b'x'; 200_000];
    for (body, rule, column) in [
        (&b"\xff\xfe"[..], "body_file", 122),
        (b"\n", "body_file", 122),
        (b"${env:TOKEN}", "reference_not_here", 122),
        (&large, "resource_too_large", 17),
    ] {
        let wrong = read(body).map(|_| ()).unwrap_err();
        let said: Vec<_> =
            wrong.iter().map(|it| (it.rule.as_str(), it.place.map(|at| at.column))).collect();
        assert_eq!(said, [(rule, Some(column))]);
    }
}

#[test]
fn what_the_coordinator_refuses_is_shown_at_its_line() {
    let loaded = good(&[("mesh.yaml", GOOD)]);
    let violation = |name: &str, field: &str| v1::Violation {
        rule: "unknown_region".to_owned(),
        resource: "check".to_owned(),
        name: name.to_owned(),
        field: field.to_owned(),
        message: "there is no region `us-east`".to_owned(),
        nearest: "us-west".to_owned(),
    };
    let place = |violation: &v1::Violation| {
        loaded.diagnose(violation).place.map(|place| (place.line, place.column))
    };
    // The second region of the check is written in the defaults.
    assert_eq!(place(&violation("checkout", "regions[1]")), Some((3, 59)));
    assert_eq!(place(&violation("checkout", "expect[1]")), Some((10, 31)));
    assert_eq!(place(&violation("database", "alert[0]")), Some((18, 11)));
    assert_eq!(place(&violation("elsewhere", "alert[0]")), None);
}

#[test]
fn ten_thousand_checks_are_read() {
    let mut text = String::from("defaults: {interval: 10s, timeout: 3s, regions: [a, b, c]}\n");
    text.push_str("checks:\n");
    for at in 0..10_000 {
        text.push_str(&format!(
            "  - name: c{at}\n    http:\n      url: https://host-{at}.example/health\n      \
             headers: {{x-team: a, x-n: \"{at}\"}}\n    expect: ['status == 200']\n    labels: \
             {{team: t{}}}\n    alert: [ops]\n",
            at % 7
        ));
    }
    let loaded = good(&[("big.yaml", &text)]);
    assert_eq!(loaded.resources.len(), 10_000);
    let place = loaded.locate("check", "c9999", "http.url", "url_host_missing").unwrap();
    assert_eq!(place.line, 2 + 9_999 * 7 + 3);
}

#[test]
fn random_damage_to_a_good_file_is_always_answered() {
    use rand::{RngExt as _, SeedableRng as _};
    let mut chance = rand::rngs::SmallRng::seed_from_u64(7);
    let bytes: Vec<char> = GOOD.chars().collect();
    for _ in 0..300 {
        let mut damaged = bytes.clone();
        for _ in 0..chance.random_range(1..4) {
            let at = chance.random_range(0..damaged.len());
            match chance.random_range(0..3) {
                0 => {
                    damaged[at] = ['{', '}', '[', ':', '\n', '&', '*', '"', '-', '\t']
                        [chance.random_range(0..10)]
                }
                1 => {
                    damaged.remove(at);
                }
                _ => damaged.truncate(at.max(1)),
            }
        }
        let text: String = damaged.into_iter().collect();
        let (sources, found) = diagnose(&[("mesh.yaml", &text)]);
        for diagnostic in found {
            assert!(diagnostic.render(&sources, false).contains(&diagnostic.rule));
        }
    }
}

#[test]
fn a_storm_rule_becomes_what_it_says_and_what_it_leaves_out_is_as_usual() {
    let of = |text: &str| {
        let loaded = good(&[("mesh.yaml", &format!("mesh: {{alert: [ops]{text}}}\n"))]);
        let Some(v1::resource::Kind::Settings(settings)) = &loaded.resources[0].resource.kind
        else {
            panic!("{:?}", loaded.resources)
        };
        settings.storm.map(|it| (it.over, it.within.map(|within| within.seconds)))
    };
    assert_eq!(of(""), None);
    assert_eq!(of(", storm: {over: 5, within: 1m}"), Some((5, Some(60))));
    assert_eq!(of(", storm: {over: 0}"), Some((0, Some(30))));
    assert_eq!(of(", storm: {within: 1m}"), Some((10, Some(60))));
}

#[test]
fn routes_become_what_they_say_and_stand_beside_a_mesh_of_another_file() {
    let mesh = "mesh: {alert: [ops], public_url: \"https://p.example\"}\n";
    let routes = "routes:\n  - {name: log, alert: [chat], continue: true}\n  - name: wake\n    \
                  match: [severity=critical, \"team=~a|b\"]\n    steps: [{after: 0s, alert: [ops]}, \
                  {after: 10m, alert: [ops, boss]}]\n    repeat: 4h\n";
    let loaded = good(&[("mesh.yaml", mesh), ("routes.yaml", routes)]);
    assert_eq!(loaded.resources.len(), 1);
    let Some(v1::resource::Kind::Settings(settings)) = &loaded.resources[0].resource.kind else {
        panic!("{:?}", loaded.resources)
    };
    assert_eq!(settings.mesh_alert, ["ops"]);
    assert_eq!(settings.public_url, "https://p.example");
    let [log, wake] = settings.routes.as_slice() else { panic!("{:?}", settings.routes) };
    assert!(log.r#continue && log.matchers.is_empty() && log.repeat.is_none());
    assert_eq!(
        (log.steps.len(), log.steps[0].alert.as_slice()),
        (1, ["chat".to_owned()].as_slice())
    );
    let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    assert!(!wake.r#continue);
    assert_eq!(wake.repeat, seconds(14_400));
    let after: Vec<_> = wake.steps.iter().map(|step| step.after).collect();
    assert_eq!(after, [None, seconds(600)]);
    assert_eq!(wake.steps[1].alert, ["ops", "boss"]);
    let operators: Vec<_> = wake.matchers.iter().map(|matcher| matcher.operator()).collect();
    assert_eq!(operators, [v1::MatchOperator::Equal, v1::MatchOperator::Pattern]);
    // A rule that the coordinator finds broken is shown where it is written.
    let at = |field: &str| loaded.locate("settings", "settings", field, "unknown_contact");
    let line = |field: &str| at(field).map(|place| (place.source, place.line));
    assert_eq!(line("routes[1].steps[1].alert[1]"), Some((1, 5)));
    assert_eq!(line("routes[0].steps[0].alert[0]"), Some((1, 2)));
    assert_eq!(line("mesh.alert[0]"), Some((0, 1)));
}

/// `public` and `source` have one value that is built: all that they do is to refuse the others.
#[test]
fn what_is_not_built_yet_is_refused_where_it_stands_and_what_is_changes_nothing() {
    let read = |option: &str| {
        let text = format!(
            "defaults: {{interval: 10s, timeout: 3s, regions: [a, b, c]}}\nchecks:\n  - name: shop\n    \
             tcp: {{address: \"shop.example:80\"}}\n    {option}\n"
        );
        let loaded = load(Sources::from_texts([("mesh.yaml", text.as_str())]));
        loaded.map(|loaded| {
            loaded
                .resources
                .into_iter()
                .map(|it| parallax_proto::convert::resource::normalise(it.resource))
                .collect::<Vec<_>>()
        })
    };
    let without = read("title: \"\"").unwrap();
    for option in ["public: false", "source: active"] {
        assert_eq!(read(option).unwrap(), without, "{option}");
    }
    for (option, said) in [
        ("public: true", "there is no public status page yet"),
        ("source: heartbeat", "only active checks"),
        ("source: push", "only active checks"),
    ] {
        let refused = read(option).unwrap_err().diagnostics;
        assert_eq!((refused.len(), refused[0].rule.as_str()), (1, "not_yet"), "{option}");
        assert!(refused[0].message.contains(said), "{}", refused[0].message);
        assert_eq!(refused[0].place.as_ref().map(|place| place.line), Some(5), "{option}");
    }
}
