//! A file of settings: one YAML mapping whose values are texts or lists of texts, each with its place.
//!
//! Nothing is known here of which keys there are; [`super`] holds them to the flags of a program. Read
//! from events, since serde's data model has no places.

use std::fmt;

use parallax_common::limits::SETTINGS_BYTES_MAX;
use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle, Span, options};

/// Levels of brackets and of indentation that are read at all; a list in a mapping has two.
const DEPTH_MAX: usize = 8;

/// Where something stands in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
}

impl From<&Span> for Place {
    fn from(span: &Span) -> Self {
        Self { line: span.start.line().max(1), column: span.start.col() + 1 }
    }
}

/// Something that is wrong at one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// What, and what would be right.
    pub message: String,
}

impl Problem {
    /// Something wrong at `place`.
    pub fn new(place: Place, message: impl Into<String>) -> Self {
        Self { place, message: message.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{}:{}: {}", self.place.line, self.place.column, self.message)
    }
}

/// One text and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// Of its first character.
    pub place: Place,
    /// As it was written, without quotes.
    pub text: String,
}

/// What stands behind a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A text, a number or a word.
    One(Text),
    /// A list of those.
    List(Vec<Text>),
}

/// One key and what stands behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: Text,
    /// Its value.
    pub value: Value,
}

/// What is open while events come.
#[derive(Default)]
struct Reading {
    entries: Vec<Entry>,
    inside: bool,
    documents: usize,
    key: Option<Text>,
    list: Option<Vec<Text>>,
}

/// Reads the entries of `text` in their order. An empty file has none.
///
/// # Errors
/// What is no mapping of texts and lists; the first such thing ends the reading.
pub fn parse(text: &str) -> Result<Vec<Entry>, Problem> {
    let start = Place { line: 1, column: 1 };
    if text.len() > SETTINGS_BYTES_MAX {
        let most = SETTINGS_BYTES_MAX >> 10;
        return Err(Problem::new(start, format!("the file is larger than {most} KiB")));
    }
    let options = options! {
        emit_comments: false,
        flow_nesting_limit: DEPTH_MAX,
        block_nesting_limit: DEPTH_MAX,
    };
    let mut reading = Reading::default();
    for event in Parser::new_from_str_with_options(text, options) {
        match event {
            Ok((event, span)) => reading.take(event, Place::from(&span))?,
            Err(error) => {
                let at = error.marker();
                let place = Place { line: at.line().max(1), column: at.col() + 1 };
                return Err(Problem::new(place, error.info()));
            }
        }
    }
    Ok(reading.entries)
}

impl Reading {
    fn take(&mut self, event: Event<'_>, place: Place) -> Result<(), Problem> {
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    return Err(Problem::new(place, "a second document: settings are one"));
                }
            }
            Event::Scalar(text, style, anchor, tag) => {
                if anchor != 0 || tag.is_some() {
                    return Err(no_reuse(place));
                }
                let plain = style == ScalarStyle::Plain;
                let absent = plain && matches!(&*text, "" | "~" | "null" | "Null" | "NULL");
                self.text(Text { place, text: text.into_owned() }, absent)?;
            }
            Event::MappingStart(_, anchor, tag) => {
                if anchor != 0 || tag.is_some() {
                    return Err(no_reuse(place));
                }
                if self.inside {
                    return Err(self.too_deep(place, "a mapping"));
                }
                self.inside = true;
            }
            Event::SequenceStart(_, anchor, tag) => {
                if anchor != 0 || tag.is_some() {
                    return Err(no_reuse(place));
                }
                if self.key.is_none() || self.list.is_some() {
                    return Err(self.too_deep(place, "a list"));
                }
                self.list = Some(Vec::new());
            }
            Event::SequenceEnd => {
                if let (Some(key), Some(list)) = (self.key.take(), self.list.take()) {
                    self.entries.push(Entry { key, value: Value::List(list) });
                }
            }
            Event::Alias(_) => return Err(no_reuse(place)),
            _ => {}
        }
        Ok(())
    }

    fn text(&mut self, text: Text, absent: bool) -> Result<(), Problem> {
        let place = text.place;
        if !self.inside {
            if absent {
                return Ok(());
            }
            return Err(self.too_deep(place, "a text"));
        }
        let Some(key) = &self.key else {
            self.key = Some(text);
            return Ok(());
        };
        if absent {
            let message = format!("`{}` has no value: give one, or leave the key out", key.text);
            let place = if self.list.is_some() { place } else { key.place };
            return Err(Problem::new(place, message));
        }
        if let Some(list) = &mut self.list {
            list.push(text);
        } else if let Some(key) = self.key.take() {
            self.entries.push(Entry { key, value: Value::One(text) });
        }
        Ok(())
    }

    fn too_deep(&self, place: Place, found: &str) -> Problem {
        let message = match &self.key {
            Some(key) => format!("`{}` must be a text or a list of texts, found {found}", key.text),
            None => format!("settings are one mapping, `key: value` a line; found {found}"),
        };
        Problem::new(place, message)
    }
}

fn no_reuse(place: Place) -> Problem {
    Problem::new(place, "tags, anchors and aliases mean nothing in settings")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_lists_come_with_their_places() {
        let read = parse("# settings\nname: c1\nallow_env: [A, \"B C\"]\nallow_file:\n  - /x\n");
        let at = |line, column, text: &str| Text {
            place: Place { line, column },
            text: text.to_owned(),
        };
        let expected = [
            Entry { key: at(2, 1, "name"), value: Value::One(at(2, 7, "c1")) },
            Entry {
                key: at(3, 1, "allow_env"),
                value: Value::List(vec![at(3, 13, "A"), at(3, 16, "B C")]),
            },
            Entry { key: at(4, 1, "allow_file"), value: Value::List(vec![at(5, 5, "/x")]) },
        ];
        assert_eq!(read.unwrap(), expected);
        assert_eq!(parse("").unwrap(), []);
        assert_eq!(parse("# nothing yet\n").unwrap(), []);
        // A quoted word is a text, whatever it says.
        assert!(parse("name: 'null'\n").is_ok());
    }

    #[test]
    fn what_is_no_mapping_of_texts_is_refused_where_it_stands() {
        for (text, at, says) in [
            ("name:\n", "1:1", "`name` has no value"),
            ("a: 1\nname: ~\n", "2:1", "`name` has no value"),
            ("name: [x, ~]\n", "1:11", "`name` has no value"),
            ("listen:\n  api: x\n", "2:3", "must be a text or a list of texts, found a mapping"),
            ("a: [[x]]\n", "1:5", "`a` must be a text or a list of texts, found a list"),
            ("- a\n", "1:1", "settings are one mapping"),
            ("just words\n", "1:1", "settings are one mapping"),
            ("a: 1\n---\nb: 2\n", "2:1", "a second document"),
            ("a: &x 1\nb: *x\n", "1:", "anchors and aliases"),
            ("a: !secret x\n", "1:", "tags"),
            ("a: [1\n", "", ""),
            ("a: {b: 1}\n", "1:4", "found a mapping"),
        ] {
            let problem = parse(text).unwrap_err().to_string();
            assert!(problem.starts_with(at) && problem.contains(says), "{text:?}: {problem}");
        }
        let long = format!("# {}\n", "x".repeat(SETTINGS_BYTES_MAX));
        assert!(parse(&long).unwrap_err().message.contains("larger than 64 KiB"));
        assert!(parse(&"[".repeat(10_000)).is_err());
    }
}
