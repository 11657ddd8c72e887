//! Every option that a file can have, each with a row in `options.txt`: what it makes of a resource, and
//! which test shows its effect. Tests only.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use parallax_proto::convert::resource::normalise;
use serde_json::{Value, json};

use super::{Sources, load, schema};

mod canaries;

const ROWS: &str = include_str!("options.txt");

/// Kinds of which a step has the same table as a check.
const KINDS: [&str; 10] =
    ["http", "tcp", "tls", "dns", "udp", "ssh", "icmp", "grpc", "websocket", "plugin"];

struct Row {
    path: String,
    /// The document that it is put into.
    base: Value,
    /// Which item of the innermost list of the path is meant.
    item: usize,
    /// What stands at the path.
    value: Value,
    /// The rule that is broken where it is left out, if it is needed.
    without: Option<String>,
    /// Which test shows its effect.
    shown: Shown,
}

struct Shown {
    file: String,
    function: String,
    /// The table or page that the test runs, where the option stands there.
    table: Option<String>,
    /// What the test calls the option, where that is not its name.
    called: String,
}

impl Shown {
    fn read(cell: &str, name: &str) -> Self {
        let (cell, called) = cell.split_once(" as ").unwrap_or((cell, name));
        let (test, table) = match cell.split_once(" by ") {
            Some((test, table)) => (test, Some(table.to_owned())),
            None => (cell, None),
        };
        let (file, function) = test.split_once("::").expect("a test is FILE::FUNCTION");
        let (file, function) = (file.to_owned(), function.to_owned());
        Self { file, function, table, called: called.to_owned() }
    }
}

impl Row {
    fn read(line: &str, bases: &BTreeMap<&str, Value>) -> Self {
        let cells: Vec<&str> = line.split(" | ").map(str::trim).collect();
        let [path, base, value, without, shown] = cells[..] else {
            panic!("a row has five cells: {line}")
        };
        let (base, beside) = base.split_once(" + ").unwrap_or((base, "{}"));
        let (base, item) = base.split_once('@').unwrap_or((base, "0"));
        let item = item.parse().expect("the number of an item");
        let mut base = bases.get(base).unwrap_or_else(|| panic!("no base: {line}")).clone();
        let (above, name) = path.rsplit_once('.').unwrap_or(("", path));
        let target = at(&mut base, above, item).as_object_mut().expect("a mapping");
        target.extend(yaml::<serde_json::Map<_, _>>(beside));
        let shown = Shown::read(shown, name);
        Self {
            path: path.to_owned(),
            base,
            item,
            value: match value {
                "PEM" => Value::String(certificate().0),
                "FILE" => Value::String(certificate().1),
                text => yaml(text),
            },
            without: Some(without.to_owned()).filter(|rule| rule != "-"),
            shown,
        }
    }

    /// The document with the option, and without it.
    fn documents(&self) -> (Value, Value) {
        let (above, name) = self.path.rsplit_once('.').unwrap_or(("", &self.path));
        let (mut with, mut without) = (self.base.clone(), self.base.clone());
        let target = at(&mut with, above, self.item).as_object_mut().expect("a mapping");
        target.insert(name.to_owned(), self.value.clone());
        at(&mut without, above, self.item).as_object_mut().expect("a mapping").remove(name);
        (with, without)
    }
}

/// A certificate, and the path of a file with it.
fn certificate() -> (String, String) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/config/options.pem");
    (std::fs::read_to_string(path).expect("a certificate"), path.to_owned())
}

fn yaml<T: serde::de::DeserializeOwned>(text: &str) -> T {
    serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// What stands at a path: of the innermost list in this item, of others in the first. An empty mapping is
/// made where there is nothing.
fn at<'a>(document: &'a mut Value, path: &str, item: usize) -> &'a mut Value {
    let lists = path.matches("[]").count();
    let mut seen = 0;
    path.split('.').filter(|part| !part.is_empty()).fold(document, |inner, part| {
        let (name, list) = match part.strip_suffix("[]") {
            Some(name) => (name, true),
            None => (part, false),
        };
        let nothing = if list { json!([{}]) } else { json!({}) };
        let object = inner.as_object_mut().expect("a mapping");
        let inner = object.entry(name).or_insert(nothing);
        if !list {
            return inner;
        }
        seen += 1;
        &mut inner[if seen == lists { item } else { 0 }]
    })
}

fn rows() -> Vec<Row> {
    let mut bases = BTreeMap::new();
    let mut rows = Vec::new();
    for line in ROWS.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match line.strip_prefix("base ") {
            Some(base) => {
                let (name, text) = base.split_once(' ').expect("a base has a text");
                bases.insert(name, yaml(text));
            }
            None => rows.push(Row::read(line, &bases)),
        }
    }
    rows
}

/// What a document becomes, with everything that it leaves out: resources, or the rules that it breaks.
fn made_of(document: &Value) -> Result<String, BTreeSet<String>> {
    let text = document.to_string();
    let loaded = load(Sources::from_texts([("mesh.yaml", text.as_str())])).map_err(|invalid| {
        invalid.diagnostics.into_iter().map(|it| it.rule).collect::<BTreeSet<_>>()
    })?;
    let mut made = format!("{:?}\n", loaded.namespace);
    for located in loaded.resources {
        let _ = writeln!(made, "{:?}", normalise(located.resource));
    }
    Ok(made)
}

/// The path whose row holds for this one: what `defaults` has is of checks, and the kinds of a step are
/// those of a check.
fn holds_for(path: &str) -> String {
    if let Some(field) = path.strip_prefix("defaults.") {
        return format!("checks[].{field}");
    }
    if let Some(rest) = path.strip_prefix("checks[].steps[].")
        && KINDS.contains(&rest.split(['.', '[']).next().unwrap_or_default())
    {
        return format!("checks[].{rest}");
    }
    path.to_owned()
}

#[test]
fn every_option_of_the_schema_has_one_row_and_no_other_has() {
    let paths: BTreeSet<String> =
        schema::paths().into_iter().map(|(path, _)| holds_for(&path)).collect();
    let named: Vec<String> = rows().into_iter().map(|row| row.path).collect();
    let rows: BTreeSet<String> = named.iter().cloned().collect();
    assert_eq!(named.len(), rows.len(), "an option has two rows");
    let without: Vec<_> = paths.difference(&rows).collect();
    assert!(without.is_empty(), "options without a row in options.txt: {without:#?}");
    let unknown: Vec<_> = rows.difference(&paths).collect();
    assert!(unknown.is_empty(), "rows of no option: {unknown:#?}");
    assert!(rows.len() > 150, "{}", rows.len());
}

#[test]
fn with_each_option_a_file_becomes_another_than_without_it() {
    let mut wrong = Vec::new();
    for row in rows() {
        let (with, without) = row.documents();
        let made = match made_of(&with) {
            Ok(made) => made,
            Err(rules) => {
                wrong.push(format!("{}: with it these are broken: {rules:?}", row.path));
                continue;
            }
        };
        match (made_of(&without), row.without) {
            (Ok(left), Some(rule)) if rule == "same" && left == made => {}
            (Ok(left), None) if left == made => {
                wrong.push(format!("{}: it changes nothing", row.path));
            }
            (Err(rules), Some(rule)) if rules.contains(&rule) => {}
            (Ok(_), None) => {}
            (left, rule) => {
                let left = left.map(|_| "a good file");
                wrong.push(format!("{}: {left:?} without it, not {rule:?}", row.path));
            }
        }
    }
    assert!(wrong.is_empty(), "{} rows:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn what_defaults_say_makes_the_same_check_as_what_the_check_says() {
    let known: BTreeSet<String> = schema::paths().into_iter().map(|(path, _)| path).collect();
    let mut held = 0;
    for row in rows() {
        let Some(field) = row.path.strip_prefix("checks[].") else { continue };
        if !known.contains(&format!("defaults.{field}")) {
            continue;
        }
        let (mut with, _) = row.documents();
        let said = made_of(&with);
        let top = field.split(['.', '[']).next().unwrap_or_default();
        let check = with["checks"][0].as_object_mut().expect("a check");
        let moved = check.remove(top).expect("the option");
        with["defaults"] = json!({ top: moved });
        assert_eq!(made_of(&with), said, "defaults.{field}");
        held += 1;
    }
    assert!(held > 40, "{held}");
}

#[test]
fn what_a_step_says_makes_the_same_run_as_what_the_check_says() {
    let mut held = 0;
    for row in rows() {
        let Some(field) = row.path.strip_prefix("checks[].") else { continue };
        let kind = field.split(['.', '[']).next().unwrap_or_default();
        if !KINDS.contains(&kind) {
            continue;
        }
        let (mut with, _) = row.documents();
        let said = made_of(&with);
        let check = with["checks"][0].as_object_mut().expect("a check");
        let moved = check.remove(kind).expect("the kind");
        check.insert("steps".to_owned(), json!([{ kind: moved }]));
        assert_eq!(made_of(&with), said, "steps[].{field}");
        held += 1;
    }
    assert!(held > 90, "{held}");
}

/// Every test of these sources: the file, the name, and the text of its function.
fn tests(folder: &Path, at: &str, found: &mut BTreeMap<(String, String), String>) {
    for entry in std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{at}: {error}")) {
        let path = entry.expect("an entry").path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let at = format!("{at}/{name}");
        if path.is_dir() {
            tests(&path, &at, found);
        } else if name.ends_with(".rs") {
            let text = std::fs::read_to_string(&path).expect("a source");
            for part in text.split("#[test]").skip(1).chain(text.split("#[tokio::test").skip(1)) {
                let Some((before, rest)) = part.split_once("fn ") else { continue };
                let name = rest.split('(').next().unwrap_or_default();
                let indent = before.rsplit('\n').next().unwrap_or_default();
                let indent = indent.len() - indent.trim_start().len();
                let end = format!("\n{}}}\n", " ".repeat(indent));
                let body = rest.split(end.as_str()).next().unwrap_or_default();
                found.insert((at.clone(), name.to_owned()), body.to_owned());
            }
        }
    }
}

/// Whether a word stands in a text as a word.
fn says(text: &str, word: &str) -> bool {
    let of_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.match_indices(word).any(|(start, _)| {
        let before = text[..start].chars().next_back();
        let after = text[start + word.len()..].chars().next();
        !before.is_some_and(of_word) && !after.is_some_and(of_word)
    })
}

#[test]
fn the_effect_of_each_option_is_shown_by_a_test_that_names_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut found = BTreeMap::new();
    for folder in
        ["cli/src", "common/src", "coordinator/src", "probe/src", "proto/src", "tests/tests"]
    {
        tests(&root.join(folder), folder, &mut found);
    }
    assert!(found.len() > 1_000, "{}", found.len());
    let mut wrong = Vec::new();
    for row in rows() {
        let Shown { file, function, table, called } = row.shown;
        let Some(body) = found.get(&(file.clone(), function.clone())) else {
            wrong.push(format!("{}: there is no test {file}::{function}", row.path));
            continue;
        };
        let text = table.as_ref().map(|table| {
            std::fs::read_to_string(root.join(table))
                .unwrap_or_else(|error| panic!("{table}: {error}"))
        });
        if !says(text.as_deref().unwrap_or(body), &called) {
            let place = table.unwrap_or(function);
            wrong.push(format!("{}: `{called}` is not in {place}", row.path));
        }
    }
    assert!(wrong.is_empty(), "{} rows:\n{}", wrong.len(), wrong.join("\n"));
}
