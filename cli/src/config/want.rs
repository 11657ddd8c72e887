//! What the value of a field must be: in words for a person, and as a shape for a schema.
//!
//! The words complete "must be ..." in messages, and stand in the schema as the field's description;
//! the shape is what [`super::schema`] writes down. Both stand in the field's row of a table, beside the
//! function that reads it, so there is no field without them.

use super::reader::Field;

/// What a value must be.
#[derive(Debug, Clone, Copy)]
pub struct Want {
    /// Completes "must be ...".
    pub words: &'static str,
    /// What it looks like.
    pub shape: Shape,
}

/// What a value looks like. What more it must be is the rules' to say.
#[derive(Debug, Clone, Copy)]
pub enum Shape {
    /// Any scalar; numbers and `true` are texts where a text is wanted.
    Text,
    /// `true` or `false`.
    Boolean,
    /// A whole number from this one on.
    Whole(u64),
    /// A length of time.
    Length,
    /// One of some words.
    Word(fn() -> Vec<&'static str>),
    /// A list.
    List(&'static Self),
    /// A mapping of any names to texts.
    Pairs,
    /// A mapping of these fields.
    Mapping(fn() -> Vec<Known>),
    /// Any of them.
    OneOf(&'static [Self]),
}

/// A field of a mapping, without how it is read.
#[derive(Debug, Clone, Copy)]
pub struct Known {
    /// As it is written.
    pub name: &'static str,
    /// What its value must be.
    pub want: Want,
    /// Whether it must be there.
    pub required: bool,
}

/// The fields of a table.
pub fn known<T>(table: &[Field<T>]) -> Vec<Known> {
    let of =
        |field: &Field<T>| Known { name: field.name, want: field.want, required: field.required };
    table.iter().map(of).collect()
}

/// The words of a table of them.
pub fn names<V>(words: &[(&'static str, V)]) -> Vec<&'static str> {
    words.iter().map(|(word, _)| *word).collect()
}

/// A text.
pub const fn text(words: &'static str) -> Want {
    Want { words, shape: Shape::Text }
}

/// A whole number that is not 0.
pub const fn whole(words: &'static str) -> Want {
    Want { words, shape: Shape::Whole(1) }
}

/// A length of time.
pub const fn length(words: &'static str) -> Want {
    Want { words, shape: Shape::Length }
}

/// A list of texts.
pub const fn texts(words: &'static str) -> Want {
    Want { words, shape: Shape::List(&Shape::Text) }
}

/// A mapping of names to texts.
pub const fn pairs(words: &'static str) -> Want {
    Want { words, shape: Shape::Pairs }
}

/// One of some words.
pub const fn word(words: &'static str, known: fn() -> Vec<&'static str>) -> Want {
    Want { words, shape: Shape::Word(known) }
}

/// A mapping of these fields.
pub const fn mapping(words: &'static str, fields: fn() -> Vec<Known>) -> Want {
    Want { words, shape: Shape::Mapping(fields) }
}

/// What is of a shape of its own.
pub const fn shaped(words: &'static str, shape: Shape) -> Want {
    Want { words, shape }
}

/// What several tables want.
pub const TEXT: Want = text("a text");
/// The same, for one that may be a reference to a secret.
pub const SECRET: Want = text("a text, or a reference to one");
/// The same.
pub const BOOLEAN: Want = shaped("true or false", Shape::Boolean);
/// The same.
pub const NUMBER: Want = whole("a whole number");
/// The same.
pub const LENGTH: Want = length("a length of time such as 500ms or 1m30s");
/// The same.
pub const LABELS: Want = pairs("a mapping of names to texts");
/// The same.
pub const CONTACTS: Want = texts("a list of contacts");
