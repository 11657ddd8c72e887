//! A document as YAML that is pleasant to read and to compare: block style, what is short and flat on
//! one line, texts of several lines as they are. The same document is the same bytes.

use super::document::{Map, Value};

/// Up to where something flat is written on one line.
const LINE_CHARS: usize = 96;

/// The text of a document.
pub fn render(document: &Map) -> String {
    let mut out = String::new();
    for (name, value) in &document.0 {
        entry(name, value, 0, &mut out);
    }
    out
}

/// The same as JSON. A reader of YAML takes fewer characters as they are than one of JSON does, and
/// those are escaped; they stand in texts only.
pub fn json(document: &Map) -> Result<String, serde_json::Error> {
    let text = serde_json::to_string_pretty(document)?;
    let mut out = String::with_capacity(text.len() + 1);
    for c in text.chars() {
        if c == '\n' || is_printable(c) {
            out.push(c);
        } else {
            out.push_str(&format!("\\u{:04x}", u32::from(c)));
        }
    }
    out.push('\n');
    Ok(out)
}

/// `name: value`, from where the line has been indented.
fn entry(name: &str, value: &Value, indent: usize, out: &mut String) {
    out.push_str(&scalar(name, true));
    out.push(':');
    let taken = indent + name.chars().count() + 2;
    if let Some(flat) = flat(value).filter(|flat| is_short(flat, taken)) {
        out.push(' ');
        out.push_str(&flat);
        out.push('\n');
        return;
    }
    match value {
        Value::Map(map) => {
            out.push('\n');
            mapping(map, indent + 2, false, out);
        }
        Value::List(items) => {
            out.push('\n');
            for item in items {
                blank(indent + 2, out);
                out.push_str("- ");
                listed(item, indent + 4, out);
            }
        }
        scalar => {
            out.push(' ');
            out.push_str(&leaf(scalar, indent + 2));
            out.push('\n');
        }
    }
}

/// An item of a list, from behind its dash.
fn listed(item: &Value, indent: usize, out: &mut String) {
    if let Some(flat) = flat(item).filter(|flat| is_short(flat, indent)) {
        out.push_str(&flat);
        out.push('\n');
        return;
    }
    match item {
        Value::Map(map) => mapping(map, indent, true, out),
        // Nothing that is written has lists in lists; on one line they are right all the same.
        other => {
            out.push_str(&leaf(other, indent));
            out.push('\n');
        }
    }
}

/// Entries below each other; the first may stand behind a dash already.
fn mapping(map: &Map, indent: usize, mut begun: bool, out: &mut String) {
    for (name, value) in &map.0 {
        if !begun {
            blank(indent, out);
        }
        begun = false;
        entry(name, value, indent, out);
    }
}

fn blank(columns: usize, out: &mut String) {
    out.extend(std::iter::repeat_n(' ', columns));
}

fn is_short(flat: &str, taken: usize) -> bool {
    taken + flat.chars().count() <= LINE_CHARS
}

/// What has no mappings in it on one line, unless it is a text of several lines. A mapping that has
/// one entry and a list of mappings have their own lines.
fn flat(value: &Value) -> Option<String> {
    match value {
        Value::List(items) if items.iter().any(|item| matches!(item, Value::Map(_))) => None,
        Value::Map(map) if map.0.iter().any(|(_, value)| matches!(value, Value::Map(_))) => None,
        Value::List(items) if items.iter().any(is_long_text) => None,
        Value::List(items) if items.len() > 1 && items.iter().any(is_expression) => None,
        Value::Map(map) if map.0.iter().any(|(_, value)| flat(value).is_none()) => None,
        Value::Text(text) if text.contains('\n') => None,
        Value::List(_) | Value::Map(_) => Some(flow(value)),
        scalar => Some(leaf(scalar, 0)),
    }
}

fn is_long_text(value: &Value) -> bool {
    matches!(value, Value::Text(text) if text.contains('\n'))
}

/// Several expressions are read one a line.
fn is_expression(value: &Value) -> bool {
    matches!(value, Value::Text(text) if text.contains(' ') && text.contains(['=', '<', '>', '(']))
}

fn flow(value: &Value) -> String {
    match value {
        Value::List(items) => {
            let items: Vec<String> = items.iter().map(flow).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Map(map) => {
            let entry = |(name, value): &(String, Value)| {
                format!("{}: {}", scalar(name, true), flow(value))
            };
            let entries: Vec<String> = map.0.iter().map(entry).collect();
            format!("{{{}}}", entries.join(", "))
        }
        Value::Text(text) => scalar(text, true),
        other => leaf(other, 0),
    }
}

/// A value that is one; `indent` is that of the lines below it.
fn leaf(value: &Value, indent: usize) -> String {
    match value {
        Value::Flag(flag) => flag.to_string(),
        Value::Number(number) => number.to_string(),
        Value::Word(word) => word.clone(),
        Value::Text(text) => literal(text, indent).unwrap_or_else(|| scalar(text, false)),
        Value::List(_) | Value::Map(_) => flow(value),
    }
}

/// A text of several lines as it is, where a literal block says exactly it.
fn literal(text: &str, indent: usize) -> Option<String> {
    let body = text.strip_suffix('\n').unwrap_or(text);
    let plain = |c: char| c == '\n' || c == '\t' || is_printable(c);
    let only_blanks = |line: &str| !line.is_empty() && line.trim_matches([' ', '\t']).is_empty();
    let fits = body.contains('\n')
        && !body.starts_with(['\n', ' ', '\t'])
        && !body.ends_with('\n')
        && body.chars().all(plain)
        && !body.lines().any(only_blanks);
    if !fits {
        // A text that is one line and its end reads well as a block, too.
        let one = text.ends_with('\n') && !body.is_empty() && !body.contains('\n');
        if !one || body.starts_with([' ', '\t']) || !body.chars().all(plain) || only_blanks(body) {
            return None;
        }
    }
    let mut out = String::from(if text.ends_with('\n') { "|" } else { "|-" });
    for line in body.split('\n') {
        out.push('\n');
        if !line.is_empty() {
            blank(indent, &mut out);
            out.push_str(line);
        }
    }
    Some(out)
}

/// A text on one line: plain where every reader of YAML takes it for the same text, else quoted.
/// `inside` a list or a mapping on one line, and as a key, more has to be quoted.
fn scalar(text: &str, inside: bool) -> String {
    if is_plain(text, inside) {
        return text.to_owned();
    }
    if !text.chars().all(is_printable) {
        return escaped(text);
    }
    match (text.contains(['"', '\\']), text.contains('\'')) {
        (false, _) => format!("\"{text}\""),
        (true, false) => format!("'{text}'"),
        (true, true) => escaped(text),
    }
}

/// What may stand in YAML as it is, but for line ends.
fn is_printable(c: char) -> bool {
    !c.is_control() && !matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
}

fn is_plain(text: &str, inside: bool) -> bool {
    let letter = |c: char| c.is_ascii_alphanumeric() || "_./@+-".contains(c);
    let outside = |c: char| !inside && ":?=&%,~()$!*<>;".contains(c);
    let starts = text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '/');
    let fits = starts && text.chars().all(|c| letter(c) || outside(c) || c == ' ');
    // A colon or a blank at a place where it would mean something.
    let means_something = text.ends_with([' ', ':']) || text.contains("  ") || text.contains(": ");
    fits && !means_something && !is_something_else(text)
}

/// What some readers take for no text.
fn is_something_else(text: &str) -> bool {
    const WORDS: [&str; 9] = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    let like_a_number = |c: char| c.is_ascii_digit() || "._:+-eExXoabcdefABCDEF".contains(c);
    WORDS.iter().any(|word| text.eq_ignore_ascii_case(word))
        || text.parse::<f64>().is_ok()
        || (text.starts_with(|c: char| c.is_ascii_digit()) && text.chars().all(like_a_number))
}

/// In double quotes, with everything escaped that is not printed.
fn escaped(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if is_printable(c) => out.push(c),
            c => out.push_str(&format!("\\u{:04x}", u32::from(c))),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::parse::parse;
    use crate::config::tree::{self, Node};

    fn text(text: &str) -> Value {
        Value::Text(text.to_owned())
    }

    fn map(entries: &[(&str, Value)]) -> Map {
        Map(entries.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect())
    }

    /// What a reader sees, in the form of what was written.
    fn read(node: &Node) -> Value {
        match &node.value {
            tree::Value::Null => panic!("nothing is written as nothing"),
            tree::Value::Plain(it) | tree::Value::Quoted(it) => text(it),
            tree::Value::List(items) => Value::List(items.iter().map(|it| read(it)).collect()),
            tree::Value::Map(entries) => {
                let entry = |it: &Arc<tree::Entry>| (it.key.clone(), read(&it.value));
                Value::Map(Map(entries.iter().map(entry).collect()))
            }
        }
    }

    fn read_back(written: &str) -> Value {
        let mut parsed = parse(0, written);
        assert!(parsed.error.is_none(), "{:?}\n{written}", parsed.error);
        assert_eq!(parsed.documents.len(), 1, "{written}");
        read(&parsed.documents.remove(0))
    }

    const TEXTS: &[&str] = &[
        "",
        " ",
        "a",
        "yes",
        "No",
        "null",
        "~",
        "0123",
        "1e3",
        ".5",
        "0x1f",
        "22:30",
        "2026-12-01",
        "a: b",
        "a:",
        "a #b",
        "# a",
        "- a",
        "-",
        "? a",
        "* a",
        "&a",
        "!a",
        "%a",
        "@a",
        "`a",
        "[a]",
        "{a}",
        "a, b",
        "a]",
        "it's",
        "say \"it\"",
        "it's \"it\"",
        "back\\slash",
        "'",
        "\"",
        " a",
        "a ",
        "a  b",
        "a\tb",
        "a\nb",
        "a\nb\n",
        "a\nb\n\n",
        "a\n\nb\n",
        "a\n  b\n",
        "\na\n",
        " a\nb",
        "a \nb\n",
        "a\n \nb",
        "a\n\t\nb",
        "a\n",
        "\n",
        "a\r\nb",
        "---",
        "--- a",
        "...",
        "a\n---\nb\n",
        "a\n# b\n",
        "ü",
        "a\u{7f}b",
        "a\u{85}b",
        "a\u{2028}b\nc",
        "\u{feff}a",
        "\u{0}",
        "\u{1f600}",
        "https://shop.example/a?b=c&d=%20#e",
        "${env:OPS_URL}",
        "Bearer ${file:/etc/token}",
        "status == 200",
        "latency < duration(\"800ms\")",
        "%{greeting}\\r\\n",
        "|",
        ">",
        "|-",
        "=",
        "<<",
    ];

    #[test]
    fn every_text_is_read_back_wherever_it_stands() {
        for it in TEXTS {
            let deep = map(&[("deeper", Value::Map(map(&[("text", text(it))])))]);
            let document = map(&[
                ("alone", text(it)),
                ("flow", Value::List(vec![text("a"), text(it), text(it)])),
                ("map", Value::Map(map(&[("a", text("b")), (it, text(it))]))),
                ("items", Value::List(vec![Value::Map(deep.clone()), Value::Map(deep)])),
                ("last", text(it)),
            ]);
            let written = render(&document);
            assert_eq!(read_back(&written), Value::Map(document.clone()), "{it:?}\n{written}");
            let json = json(&document).unwrap();
            assert_eq!(read_back(&json), Value::Map(document), "{it:?}\n{json}");
        }
    }

    #[test]
    fn any_text_is_read_back() {
        use rand::{RngExt as _, SeedableRng as _};
        let mut chance = rand::rngs::SmallRng::seed_from_u64(11);
        let letters: Vec<char> =
            "ab0 \t\n\r:#-?[]{},&*!|>'\"%@`\\/.=~$\u{1}\u{85}\u{a0}ß".chars().collect();
        for _ in 0..5_000 {
            let length = chance.random_range(0..12);
            let any: String =
                (0..length).map(|_| letters[chance.random_range(0..letters.len())]).collect();
            let document = map(&[
                ("a", text(&any)),
                ("b", Value::List(vec![text(&any), Value::Map(map(&[("c", text(&any))]))])),
            ]);
            let written = render(&document);
            assert_eq!(read_back(&written), Value::Map(document), "{any:?}\n{written}");
        }
    }

    #[test]
    fn it_looks_as_a_person_would_have_written_it() {
        let document = map(&[
            ("regions", Value::List(vec![Value::Map(map(&[("name", text("eu-west"))]))])),
            (
                "checks",
                Value::List(vec![Value::Map(map(&[
                    ("name", text("shop")),
                    ("http", Value::Map(map(&[("url", text("https://shop.example/"))]))),
                    ("expect", Value::List(vec![text("status == 200")])),
                    ("warn", Value::List(vec![text("a > 1"), text("b == 'c'")])),
                    ("interval", Value::Word("10s".to_owned())),
                    ("regions", Value::List(vec![text("eu-west"), text("us-east")])),
                    ("description", text("one\ntwo\n")),
                ]))]),
            ),
        ]);
        let expected = "regions:\n  - {name: eu-west}\nchecks:\n  - name: shop\n    http: {url: \
                        \"https://shop.example/\"}\n    expect: [\"status == 200\"]\n    warn:\n      - a > \
                        1\n      - \"b == 'c'\"\n    interval: 10s\n    regions: [eu-west, us-east]\n    description: |\n      \
                        one\n      two\n";
        assert_eq!(render(&document), expected);
    }
}
