//! Readers of single values: text, numbers, words, lengths of time, lists and maps of text.
//!
//! Each says what is wrong and returns `None`, so that callers leave their field as it is and go
//! on.

use std::collections::BTreeMap;
use std::sync::Arc;

use parallax_common::text;

use super::reader::Reader;
use super::tree::{Entry, Node, Value};

/// Any scalar, as it is written: `on`, `1e3` and `0123` stay what they are.
pub fn text(node: &Node, reader: &mut Reader<'_>) -> Option<String> {
    match node.text() {
        Some(text) => Some(text.to_owned()),
        None => {
            reader.wrong_type(node);
            None
        }
    }
}

/// `true` or `false`.
pub fn boolean(node: &Node, reader: &mut Reader<'_>) -> Option<bool> {
    match node.plain() {
        Some("true" | "True" | "TRUE") => Some(true),
        Some("false" | "False" | "FALSE") => Some(false),
        _ => {
            reader.wrong_type(node);
            None
        }
    }
}

/// A whole number without sign.
pub fn number<N: TryFrom<u64>>(node: &Node, reader: &mut Reader<'_>) -> Option<N> {
    let number = node.plain().and_then(decimal).and_then(|number| N::try_from(number).ok());
    if number.is_none() {
        reader.wrong_type(node);
    }
    number
}

/// On the wire 0 means "not said": who writes 0 means something else, and is told.
pub fn at_least_one<N: TryFrom<u64> + Default + PartialEq>(
    node: &Node,
    reader: &mut Reader<'_>,
) -> N {
    let given: Option<N> = number(node, reader);
    if given == Some(N::default()) {
        reader.error("wrong_type", node.place, "must be at least 1");
    }
    given.unwrap_or_default()
}

/// Only digits: `+1` and `1_000` are not what they look like in other formats.
pub fn decimal(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// A length of time such as `500ms` or `1m30s`.
pub fn duration(node: &Node, reader: &mut Reader<'_>) -> Option<prost_types::Duration> {
    let Some(written) = node.text() else {
        reader.wrong_type(node);
        return None;
    };
    match text::parse_duration(written) {
        // On the wire nothing means "not said": who writes it means something else, and is told.
        Ok(length) if length.is_zero() => {
            reader.error("wrong_type", node.place, "must be longer than nothing");
            None
        }
        Ok(length) => match prost_types::Duration::try_from(length) {
            Ok(length) => Some(length),
            Err(_) => {
                reader.error("wrong_type", node.place, "longer than can be written");
                None
            }
        },
        Err(error) => {
            let diagnostic = reader.error("wrong_type", node.place, error.to_string());
            if decimal(written).is_some() {
                diagnostic.help = Some(format!("write the unit: `{written}s` or `{written}ms`"));
            }
            None
        }
    }
}

/// One of some words.
pub fn word<V: Copy>(
    node: &Node,
    words: &[(&'static str, V)],
    reader: &mut Reader<'_>,
) -> Option<V> {
    let Some(written) = node.text() else {
        reader.wrong_type(node);
        return None;
    };
    if let Some((_, value)) = words.iter().find(|(word, _)| *word == written) {
        return Some(*value);
    }
    let near = text::nearest(written, words.iter().map(|(word, _)| *word));
    let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    let message = format!("`{written}` is none of {}", known.join(", "));
    reader.error("enum_unknown", node.place, message).nearest = near.map(str::to_owned);
    None
}

/// A list of such words, as messages carry them; nothing when one of them is none.
pub fn words<V: Copy + Into<i32>>(
    node: &Node,
    words: &[(&'static str, V)],
    reader: &mut Reader<'_>,
) -> Option<Vec<i32>> {
    let Value::List(items) = &node.value else {
        reader.wrong_type(node);
        return None;
    };
    let mut found = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        found.extend(reader.at(index, |reader| word(item, words, reader)).map(Into::into));
    }
    (found.len() == items.len()).then_some(found)
}

/// A list of texts; nothing when one of them is none, as rules about the others would name the
/// wrong item.
pub fn texts(node: &Node, reader: &mut Reader<'_>) -> Option<Vec<String>> {
    let Value::List(items) = &node.value else {
        reader.wrong_type(node);
        if let (Some(text), Some(diagnostic)) = (node.text(), reader.diagnostics.last_mut()) {
            diagnostic.help = Some(format!("write `[{text}]` for a list of one"));
        }
        return None;
    };
    let mut texts = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        texts.extend(reader.at(index, |reader| text(item, reader)));
    }
    (texts.len() == items.len()).then_some(texts)
}

/// A mapping of names to texts, such as labels and headers, in its order.
pub fn pairs(node: &Node, reader: &mut Reader<'_>) -> Option<Vec<(String, String)>> {
    let Some(entries) = node.entries() else {
        reader.wrong_type(node);
        return None;
    };
    let mut pairs = Vec::with_capacity(entries.len());
    for (at, entry) in entries.iter().enumerate() {
        if let Some(first) = first_of(&entries[..at], &entry.key) {
            reader.twice(entry, first.place);
            continue;
        }
        let value = reader.within(&entry.key, |reader| text(&entry.value, reader));
        pairs.extend(value.map(|value| (entry.key.clone(), value)));
    }
    Some(pairs)
}

fn first_of<'e>(entries: &'e [Arc<Entry>], key: &str) -> Option<&'e Arc<Entry>> {
    entries.iter().find(|entry| entry.key == key)
}

/// Labels: a mapping of names to texts.
pub fn labels(node: &Node, reader: &mut Reader<'_>) -> Option<BTreeMap<String, String>> {
    Some(pairs(node, reader)?.into_iter().collect())
}
