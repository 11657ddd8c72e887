//! What is exported is what was applied: nothing is lost, and nothing is said that nobody said.

use std::collections::BTreeSet;

use parallax_proto::convert::fields::diff;
use parallax_proto::convert::resource::normalise;
use parallax_proto::v1;

use super::document::{Map, Value};
use super::{export, name_of, yaml};
use crate::config::{Sources, load};
use crate::documents::{blocks, documents, every_table, sources};

/// A document with every option that no page shows an example of.
const OTHERS: &str = include_str!("others.yaml");

/// What a text becomes in the mesh, as the coordinator stores it.
fn applied(name: &str, text: &str) -> Vec<v1::Resource> {
    let loaded = match load(sources(name, text)) {
        Ok(loaded) => loaded,
        Err(invalid) => {
            let said: String =
                invalid.diagnostics.iter().map(|it| it.render(&invalid.sources, false)).collect();
            panic!("{said}\n{text}");
        }
    };
    let mut resources: Vec<v1::Resource> =
        loaded.resources.into_iter().map(|located| normalise(located.resource)).collect();
    // A set of files may be in any order.
    resources.sort_by(|one, other| {
        let key = |it: &v1::Resource| {
            (parallax_proto::convert::resource::kind(it), name_of(it).to_owned())
        };
        key(one).cmp(&key(other))
    });
    resources
}

/// Every name in a document, behind the name of what it stands in: `http.url`, `checks.interval`.
fn names(outer: &str, map: &Map, into: &mut BTreeSet<String>) {
    fn of(outer: &str, value: &Value, into: &mut BTreeSet<String>) {
        match value {
            Value::Map(map) => names(outer, map, into),
            Value::List(items) => items.iter().for_each(|item| of(outer, item, into)),
            _ => {}
        }
    }
    for (name, value) in &map.0 {
        into.insert(format!("{outer}.{name}"));
        of(name, value, into);
    }
}

/// Every valid document that there is: those of the pages, which show each option of each kind, and
/// the others.
fn texts() -> Vec<(String, String)> {
    let mut texts = vec![("others.yaml".to_owned(), OTHERS.to_owned())];
    for (page, text) in documents() {
        let yaml = blocks(&text).into_iter().filter(|(word, ..)| *word == "yaml");
        texts.extend(yaml.map(|(_, line, block)| (format!("{page}:{line}"), block)));
    }
    assert!(texts.len() > 30, "{}", texts.len());
    texts
}

#[test]
fn what_is_exported_applies_to_the_same_resources() {
    for (name, text) in texts() {
        let before = applied(&name, &text);
        let document = export("default", before.clone());
        let written = yaml::render(&document);
        let after = applied(&name, &written);
        for (one, other) in before.iter().zip(&after) {
            assert_eq!(diff(Some(one), Some(other)), [], "{name}:\n{written}");
        }
        // To the last field, digests among them.
        assert_eq!(before, after, "{name}:\n{written}");
        let json = yaml::json(&document).unwrap();
        assert_eq!(before, applied(&name, &json), "{name}:\n{json}");
        // And again, it is the same bytes.
        assert_eq!(yaml::render(&export("default", after)), written, "{name}");
    }
}

/// Where a table's fields stand.
fn stands_in(table: &str) -> Vec<String> {
    let several: &[&str] = match table {
        "DOCUMENT" | "SETTINGS" => &["document"],
        "OWN" | "COMMON" => &["checks"],
        "CONTACT" => &["contacts"],
        "REGION" => &["regions"],
        "WINDOW" => &["maintenance"],
        "ROUTE" => &["routes"],
        "ALERT" => &["alerts"],
        "STEP" => &["steps"],
        "EXCHANGE" => &["dialogue"],
        "LASTING" => &["regional", "warning"],
        "HOURS" => &["during", "outside"],
        _ => return vec![table.to_ascii_lowercase()],
    };
    several.iter().map(|&outer| outer.to_owned()).collect()
}

/// Fields that another one says: a file that was read is its text, bytes are hex digits, defaults are
/// in each check. `source` has one value that is built, which is the default; `public` has none.
const SAID_OTHERWISE: &[&str] = &[
    ".ca_file",
    ".body_file",
    ".send_base64",
    ".expect_base64",
    "document.defaults",
    "checks.source",
    "checks.public",
];

#[test]
fn every_option_of_every_table_is_exported_by_some_document() {
    let mut written = BTreeSet::new();
    for (name, text) in texts() {
        names("document", &export("default", applied(&name, &text)), &mut written);
    }
    let otherwise = |path: &str| SAID_OTHERWISE.iter().any(|end| path.ends_with(end));
    let mut missing = BTreeSet::new();
    for (table, fields) in every_table() {
        for outer in stands_in(&table) {
            let paths = fields.iter().map(|field| format!("{outer}.{field}"));
            missing.extend(paths.filter(|path| !written.contains(path) && !otherwise(path)));
        }
    }
    // A step of a route and one of a check are called the same, and have fields of their own.
    assert!(missing.is_empty(), "no document exports {missing:#?}");
    let wrongly: Vec<&String> = written.iter().filter(|path| otherwise(path)).collect();
    assert!(wrongly.is_empty(), "{wrongly:?}");
}

#[test]
fn what_everybody_has_by_default_is_left_out() {
    let text = "contacts:\n  - {name: ops, webhook: {url: \"${env:OPS_URL}\"}}\n  - {name: chat, \
                slack: {token: \"${env:T}\", channel: c}}\n  - {name: duty, pagerduty: {routing_key: \
                \"${env:K}\"}}\nchecks:\n  - {name: a, interval: 10s, timeout: 3s, regions: [r], \
                http: {url: \"https://a.example/\"}}\n  - {name: b, interval: 10s, timeout: 3s, \
                regions: [r], dns: {name: b.example}}\n  - {name: c, interval: 10s, timeout: 3s, \
                regions: [r], icmp: {host: c.example}, slo: {target: 99.9%}, flap: {}, regional: \
                {}}\n";
    let expected = "namespace: default\ncontacts:\n  - name: chat\n    slack: {token: \"${env:T}\", \
                    channel: c}\n  - name: duty\n    pagerduty: {routing_key: \"${env:K}\"}\n  - name: \
                    ops\n    webhook: {url: \"${env:OPS_URL}\"}\nchecks:\n  - name: a\n    http: {url: \
                    \"https://a.example/\"}\n    interval: 10s\n    timeout: 3s\n    regions: [r]\n  - \
                    name: b\n    dns: {name: b.example}\n    interval: 10s\n    timeout: 3s\n    \
                    regions: [r]\n  - name: c\n    icmp: {host: c.example}\n    interval: 10s\n    \
                    timeout: 3s\n    regions: [r]\n    regional: {}\n    flap: {}\n    slo: {target: \
                    99.9%}\n";
    assert_eq!(yaml::render(&export("default", applied("a.yaml", text))), expected);
}

#[test]
fn the_order_in_which_resources_come_changes_nothing() {
    let mut resources = applied("others.yaml", OTHERS);
    let one = yaml::render(&export("team", resources.clone()));
    resources.reverse();
    assert_eq!(yaml::render(&export("team", resources)), one);
    assert!(one.starts_with("namespace: team\nregions:\n"), "{one}");
}

#[test]
fn a_check_of_before_there_was_a_choice_of_redirects_follows_none() {
    let text = "checks: [{name: a, interval: 10s, timeout: 3s, regions: [r], http: {url: \
                \"https://a.example/\"}}]\n";
    let mut resources = applied("a.yaml", text);
    let Some(v1::resource::Kind::Check(check)) = &mut resources[0].kind else { panic!("a check") };
    let Some(v1::step::Kind::Http(http)) = &mut check.run.as_mut().unwrap().steps[0].kind else {
        panic!("an http step")
    };
    http.redirects = None;
    let written = yaml::render(&export("default", resources));
    assert!(written.contains("redirects: none"), "{written}");
}

#[test]
fn what_was_sealed_is_refused_when_it_is_applied_and_never_taken_for_a_value() {
    let text = "contacts: [{name: ops, webhook: {url: \"https://a.example/\"}}]\n";
    let mut resources = applied("a.yaml", text);
    let Some(v1::resource::Kind::Contact(contact)) = &mut resources[0].kind else { panic!() };
    let Some(v1::contact::Kind::Webhook(webhook)) = &mut contact.kind else { panic!() };
    let sealed = v1::secret::Value::Sealed(v1::SealedValue::default());
    webhook.url = Some(v1::Secret { value: Some(sealed) });
    let written = yaml::render(&export("default", resources));
    let wrong = load(Sources::from_texts([("a.yaml", written.as_str())])).unwrap_err();
    assert_eq!(wrong.diagnostics[0].rule, "secret_reference", "{written}");
}
