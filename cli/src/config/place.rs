//! From a field path (`http.url`, `expect[1]`, `labels.team`) to where it is written.

use std::borrow::Cow;

use parallax_common::check::StepKind;

use super::tree::{Node, Place, Value};

/// A path as the file has it. Rules call the only, unnamed step of a check by its kind, however it is
/// written.
pub fn as_written<'p>(body: &Node, path: &'p str) -> Cow<'p, str> {
    let step = StepKind::WORDS.into_iter().any(|kind| {
        path.strip_prefix(kind).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    });
    if step && body.get("steps").is_some() {
        return Cow::Owned(format!("steps[0].{path}"));
    }
    // The only step of a route may be written as its `alert`.
    if let Some((route, rest)) = path.split_once(".steps[0].alert")
        && route.starts_with("routes[")
        && find(body, &format!("{route}.alert")) != find(body, route)
    {
        return Cow::Owned(format!("{route}.alert{rest}"));
    }
    Cow::Borrowed(path)
}

/// Rules about what a mapping's key is called: the key is shown, not its value.
const ABOUT_KEYS: &[&str] =
    &["header_name", "header_reserved", "label_key", "grpc_metadata", "plugin_env", "capture_name"];

/// Where to show that a rule is broken: see [`find`].
pub fn of_rule(body: &Node, path: &str, rule: &str) -> Option<Place> {
    let key = if ABOUT_KEYS.contains(&rule) { split_mapping(path) } else { None };
    let Some((outer, key)) = key else { return find(body, path) };
    let mut node = body;
    let mut rest = outer;
    while !rest.is_empty() {
        let (next, _, after) = step(node, rest)?;
        (node, rest) = (next, after);
    }
    let entry = node.entries()?.iter().find(|entry| entry.key == key);
    entry.map_or_else(|| find(body, path), |entry| Some(entry.place))
}

/// `http.headers.x-a` as `http.headers` and `x-a`.
fn split_mapping(path: &str) -> Option<(&str, &str)> {
    ["headers.", "labels.", "metadata.", "env.", "capture."].into_iter().find_map(|mapping| {
        let at = path.find(mapping)?;
        Some((&path[..at + mapping.len() - 1], &path[at + mapping.len()..]))
    })
}

/// Where the longest part of `path` that is written stands; `None` when not even its first name
/// is.
pub fn find(body: &Node, path: &str) -> Option<Place> {
    let mut node = body;
    let mut found = None;
    let mut rest = path;
    while !rest.is_empty() {
        let Some((next, place, after)) = step(node, rest) else { break };
        found = Some(place);
        node = next;
        rest = after;
    }
    found
}

/// One segment: the node it leads to, the place to show for it, and what is left of the path.
fn step<'n, 'p>(node: &'n Node, path: &'p str) -> Option<(&'n Node, Place, &'p str)> {
    if let Some(indexed) = path.strip_prefix('[') {
        let (index, after) = indexed.split_once(']')?;
        let index: usize = index.parse().ok()?;
        let next = match &node.value {
            Value::List(items) => items.get(index)?,
            // A mapping that the wire carries as a list, such as headers.
            Value::Map(entries) => &entries.get(index)?.value,
            _ => return None,
        };
        return Some((next, next.place, after.strip_prefix('.').unwrap_or(after)));
    }
    // Keys may hold dots themselves: the longest key that fits is meant.
    let fits = |key: &str| {
        path.strip_prefix(key)
            .filter(|after| after.is_empty() || after.starts_with('.') || after.starts_with('['))
    };
    let entry = node
        .entries()?
        .iter()
        .filter(|entry| fits(&entry.key).is_some())
        .max_by_key(|entry| entry.key.len())
        .or_else(|| stand_in(node, path))?;
    let after = fits(&entry.key).unwrap_or_default();
    // A collection, an empty value and a text on other lines have no place of their own that says
    // much: the key is shown.
    let beside = entry.value.place.line == entry.place.line;
    let place = match entry.value.value {
        Value::Plain(_) | Value::Quoted(_) if beside => entry.value.place,
        _ => entry.place,
    };
    Some((&entry.value, place, after.strip_prefix('.').unwrap_or(after)))
}

/// `ca_file` is read into `ca_pem`, `body_file` into `body`, and what is written as bytes into `send` or
/// `expect`: what is said of the one is meant for the other.
fn stand_in<'n>(node: &'n Node, path: &str) -> Option<&'n std::sync::Arc<super::tree::Entry>> {
    let others: &[&str] = match path {
        "ca_pem" => &["ca_file"],
        "body" => &["body_file"],
        "send" => &["send_hex", "send_base64"],
        "expect" => &["expect_hex", "expect_base64"],
        _ => return None,
    };
    node.entries()?.iter().find(|entry| others.contains(&entry.key.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse::parse;

    #[test]
    fn a_path_leads_to_the_longest_part_that_is_written() {
        let text = "http:\n  url: x\n  headers: {a.b: 1, c: 2}\n  ca_file: f\nexpect: [one, two]\n";
        let body = parse(0, text).documents.remove(0);
        let at = |path| find(&body, path).map(|place| (place.line, place.column));
        assert_eq!(at("http.url"), Some((2, 8)));
        assert_eq!(at("http.headers.a.b"), Some((3, 18)));
        assert_eq!(at("http.headers[1].value"), Some((3, 24)));
        assert_eq!(at("http.ca_pem"), Some((4, 12)));
        assert_eq!(at("expect[1]"), Some((5, 15)));
        assert_eq!(at("expect[7]"), Some((5, 1)));
        assert_eq!(at("http.method"), Some((1, 1)));
        assert_eq!(at("interval"), None);
    }
}
