//! YAML as a tree in which every node knows where it stands.
//!
//! Nodes are shared: an alias and a merged default point at the node they came from, and so an
//! error in them is reported where they are written.

use std::sync::Arc;

/// A stretch of one line of one source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// Index into `Sources`.
    pub source: u32,
    /// From 1.
    pub line: u32,
    /// From 1, in characters.
    pub column: u32,
    /// Characters on that line; at least 1.
    pub length: u32,
}

/// One value and where it stands.
#[derive(Debug)]
pub struct Node {
    /// Of its first character.
    pub place: Place,
    /// What it is.
    pub value: Value,
    /// Levels below it; a leaf has 0. Bounded by the parser, as trees are dropped by recursion.
    pub depth: usize,
}

/// What a node is.
#[derive(Debug)]
pub enum Value {
    /// Nothing, `~` or `null`.
    Null,
    /// Text without quotes: it may be a number or a boolean to who wants one.
    Plain(String),
    /// Quoted or block text: never anything but text.
    Quoted(String),
    /// A sequence.
    List(Vec<Arc<Node>>),
    /// A mapping. Keys may repeat: the reader says so.
    Map(Vec<Arc<Entry>>),
}

/// One key of a mapping and its value.
#[derive(Debug)]
pub struct Entry {
    /// The key's text.
    pub key: String,
    /// Where the key stands.
    pub place: Place,
    /// What it has.
    pub value: Arc<Node>,
}

impl Node {
    /// The text of a scalar, quoted or not.
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Plain(text) | Value::Quoted(text) => Some(text),
            Value::Null | Value::List(_) | Value::Map(_) => None,
        }
    }

    /// The text of a scalar without quotes.
    pub fn plain(&self) -> Option<&str> {
        match &self.value {
            Value::Plain(text) => Some(text),
            _ => None,
        }
    }

    /// The entries of a mapping.
    pub fn entries(&self) -> Option<&[Arc<Entry>]> {
        match &self.value {
            Value::Map(entries) => Some(entries),
            _ => None,
        }
    }

    /// The value of a key of a mapping.
    pub fn get(&self, key: &str) -> Option<&Arc<Node>> {
        self.entries()?.iter().find(|entry| entry.key == key).map(|entry| &entry.value)
    }

    /// What it is, for a sentence that says what was found.
    pub fn describe(&self) -> String {
        match &self.value {
            Value::Null => "nothing".to_owned(),
            Value::Plain(text) => format!("`{}`", cut(text)),
            Value::Quoted(text) => format!("the text \"{}\"", cut(text)),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a mapping".to_owned(),
        }
    }
}

/// The start of a text, short enough for a message.
fn cut(text: &str) -> String {
    const SHOWN_MAX: usize = 40;
    let line = text.lines().next().unwrap_or_default();
    if line.chars().count() <= SHOWN_MAX && line.len() == text.len() {
        return text.to_owned();
    }
    let mut start: String = line.chars().take(SHOWN_MAX).collect();
    start.push_str("...");
    start
}
