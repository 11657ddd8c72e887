//! What is written: scalars, lists and mappings in the order in which they were put.
//!
//! Most ways of putting something take what it is when nobody says it, and put nothing when it is
//! just that.

use parallax_common::text::format_duration;
use parallax_proto::convert::time;
use parallax_proto::v1;
use serde::ser::{Serialize, SerializeMap as _, Serializer};

/// One value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// `true` or `false`.
    Flag(bool),
    /// A whole number.
    Number(u64),
    /// A word or a length, which needs no quotes whatever it looks like.
    Word(String),
    /// A text of somebody's.
    Text(String),
    /// A sequence.
    List(Vec<Value>),
    /// A mapping.
    Map(Map),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Flag(flag) => serializer.serialize_bool(*flag),
            Self::Number(number) => serializer.serialize_u64(*number),
            Self::Word(text) | Self::Text(text) => serializer.serialize_str(text),
            Self::List(items) => serializer.collect_seq(items),
            Self::Map(map) => map.serialize(serializer),
        }
    }
}

/// A mapping in the order in which it was made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Map(pub Vec<(String, Value)>);

impl Serialize for Map {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl Map {
    /// Whatever it is.
    pub fn put(&mut self, name: &str, value: impl Into<Value>) {
        self.0.push((name.to_owned(), value.into()));
    }

    pub(super) fn map(&mut self, name: &str, map: Self) {
        self.put(name, Value::Map(map));
    }

    /// A mapping, unless there is nothing in it.
    pub(super) fn some(&mut self, name: &str, map: Self) {
        if !map.0.is_empty() {
            self.map(name, map);
        }
    }

    pub(super) fn text(&mut self, name: &str, given: &str, usual: &str) {
        if given != usual {
            self.put(name, given);
        }
    }

    pub(super) fn flag(&mut self, name: &str, given: bool, usual: bool) {
        if given != usual {
            self.put(name, Value::Flag(given));
        }
    }

    pub(super) fn number(&mut self, name: &str, given: impl Into<u64>, usual: impl Into<u64>) {
        let given = given.into();
        if given != usual.into() {
            self.put(name, Value::Number(given));
        }
    }

    /// What the reader's table of words calls it.
    pub(super) fn word<V: Copy + Into<i32>>(
        &mut self,
        name: &str,
        words: &[(&'static str, V)],
        given: i32,
        usual: i32,
    ) {
        if given != usual {
            let word = word(words, given).unwrap_or_default();
            self.put(name, Value::Word(word.to_owned()));
        }
    }

    pub(super) fn length(
        &mut self,
        name: &str,
        given: Option<&prost_types::Duration>,
        usual: Option<&prost_types::Duration>,
    ) {
        let length = given.and_then(time::duration).filter(|length| !length.is_zero());
        if let Some(length) = length
            && given != usual
        {
            self.put(name, Value::Word(format_duration(length)));
        }
    }

    pub(super) fn texts(&mut self, name: &str, given: &[String], usual: &[String]) {
        if given != usual {
            self.list(name, given.iter().map(|text| text.as_str().into()));
        }
    }

    /// A list, unless there is nothing in it.
    pub(super) fn list(&mut self, name: &str, items: impl Iterator<Item = Value>) {
        let items: Vec<Value> = items.collect();
        if !items.is_empty() {
            self.put(name, Value::List(items));
        }
    }

    /// What may hold references, as it was written.
    pub(super) fn secret(
        &mut self,
        name: &str,
        given: Option<&v1::Secret>,
        usual: Option<&v1::Secret>,
    ) {
        if given != usual
            && let Some(secret) = given
        {
            self.put(name, written(secret));
        }
    }

    /// Names with such values.
    pub(super) fn headers(&mut self, name: &str, headers: &[v1::Header]) {
        let mut map = Self::default();
        for header in headers {
            map.put(&header.name, header.value.as_ref().map_or(Value::from(""), written));
        }
        self.some(name, map);
    }

    pub(super) fn labels<'l>(
        &mut self,
        name: &str,
        labels: impl IntoIterator<Item = (&'l String, &'l String)>,
    ) {
        let mut map = Self::default();
        for (label, value) in labels {
            map.put(label, value.as_str());
        }
        self.some(name, map);
    }
}

/// What a table calls a value; `None` for one that is not in it.
pub(super) fn word<V: Copy + Into<i32>>(
    words: &[(&'static str, V)],
    given: i32,
) -> Option<&'static str> {
    let is_it = |(_, value): &&(&'static str, V)| (*value).into() == given;
    words.iter().find(is_it).map(|(word, _)| *word)
}

/// A secret as it was written. One that was sealed by another build cannot be: what stands for it is
/// no reference that anybody resolves, and `apply` refuses it.
pub(super) fn written(secret: &v1::Secret) -> Value {
    match &secret.value {
        Some(v1::secret::Value::Template(template)) => template.as_str().into(),
        Some(v1::secret::Value::Sealed(_)) => "${sealed}".into(),
        None => "".into(),
    }
}
