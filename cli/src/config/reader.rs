//! Reads a mapping by its table of fields, and goes on after every error.
//!
//! A table says what a mapping may hold: a name, what its value looks like in words, and the
//! function that reads it. Everything else follows from it: fields that are unknown, given twice
//! or missing, and values of another type, each with its place. [`super::value`] has the readers
//! for single values.

use std::sync::Arc;

use parallax_common::text;

use super::diagnostic::Diagnostic;
use super::source::Sources;
use super::tree::{Entry, Node, Place};
use super::want::Want;

/// One field of a mapping that is read into a `T`.
pub struct Field<T> {
    /// As it is written.
    pub name: &'static str,
    /// What its value must be.
    pub want: Want,
    /// Whether it must be there.
    pub required: bool,
    /// Reads it; says what is wrong through the reader.
    pub read: fn(&mut T, &Node, &mut Reader<'_>),
}

/// A field that may be left out.
pub const fn field<T>(
    name: &'static str,
    want: Want,
    read: fn(&mut T, &Node, &mut Reader<'_>),
) -> Field<T> {
    Field { name, want, required: false, read }
}

/// A field that must be there.
pub const fn required<T>(
    name: &'static str,
    want: Want,
    read: fn(&mut T, &Node, &mut Reader<'_>),
) -> Field<T> {
    Field { name, want, required: true, read }
}

/// Where the reading is, and what was found wrong on the way.
pub struct Reader<'a> {
    /// For files that a text names.
    pub sources: &'a Sources,
    /// What is wrong so far.
    pub diagnostics: Vec<Diagnostic>,
    /// Kind and name of the resource being read.
    resource: &'static str,
    name: String,
    /// Path of the field being read, inside the resource.
    path: String,
    want: &'static str,
    /// Paths inside the resource at which something is wrong already.
    broken: Vec<String>,
}

impl<'a> Reader<'a> {
    /// A reader that has found nothing yet.
    pub fn new(sources: &'a Sources) -> Self {
        Self {
            sources,
            diagnostics: Vec::new(),
            resource: "",
            name: String::new(),
            path: String::new(),
            want: "",
            broken: Vec::new(),
        }
    }

    /// From here on errors belong to this resource.
    pub fn enter(&mut self, resource: &'static str, name: &str) {
        self.resource = resource;
        name.clone_into(&mut self.name);
        self.path.clear();
        self.broken.clear();
    }

    /// From here on errors belong to no resource.
    pub fn leave(&mut self) {
        self.enter("", "");
    }

    /// Whether something is wrong already at this path of the resource, above it or below it: then
    /// a rule about its value would only repeat or guess.
    pub fn is_broken(&self, path: &str) -> bool {
        let within = |outer: &str, inner: &str| {
            inner
                .strip_prefix(outer)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        self.broken.iter().any(|broken| within(broken, path) || within(path, broken))
    }

    /// Says that nothing more is to be said about this path of the resource.
    pub fn settle(&mut self, path: &str) {
        self.broken.push(path.to_owned());
    }

    /// Reads `entries` into `target` by the fields of `tables`.
    ///
    /// `whole` is the place of what the mapping belongs to, for fields that are missing.
    pub fn map<T>(
        &mut self,
        entries: &[Arc<Entry>],
        whole: Place,
        tables: &[&[Field<T>]],
        target: &mut T,
    ) {
        for (at, entry) in entries.iter().enumerate() {
            let known = tables.iter().copied().flatten().find(|field| field.name == entry.key);
            let Some(field) = known else {
                self.unknown_field(entry, tables);
                continue;
            };
            if let Some(first) = entries[..at].iter().find(|before| before.key == entry.key) {
                self.twice(entry, first.place);
                continue;
            }
            let outer = self.want;
            self.want = field.want.words;
            self.within(field.name, |reader| (field.read)(target, &entry.value, reader));
            self.want = outer;
        }
        for field in tables.iter().copied().flatten().filter(|field| field.required) {
            if !entries.iter().any(|entry| entry.key == field.name) {
                self.within(field.name, |reader| {
                    let message = format!("`{}` is missing: {}", field.name, field.want.words);
                    reader.error("missing_field", whole, message);
                });
            }
        }
    }

    /// Reads a mapping by `table`; anything else is of the wrong type.
    pub fn mapping<T>(&mut self, node: &Node, table: &[Field<T>], target: &mut T) {
        match node.entries() {
            Some(entries) => self.map(entries, node.place, &[table], target),
            None => self.wrong_type(node),
        }
    }

    /// Does something one level deeper: at the field `name` of where the reader is.
    pub fn within<R>(&mut self, name: &str, read: impl FnOnce(&mut Self) -> R) -> R {
        let length = self.path.len();
        if length > 0 {
            self.path.push('.');
        }
        self.path.push_str(name);
        let result = read(self);
        self.path.truncate(length);
        result
    }

    /// Does something one level deeper: at an item of a list.
    pub fn at<R>(&mut self, index: usize, read: impl FnOnce(&mut Self) -> R) -> R {
        let length = self.path.len();
        self.path.push_str(&format!("[{index}]"));
        let result = read(self);
        self.path.truncate(length);
        result
    }

    /// Says that a rule is broken at `place`, and returns what it says to add help to it.
    pub fn error(
        &mut self,
        rule: &str,
        place: Place,
        message: impl Into<String>,
    ) -> &mut Diagnostic {
        self.broken.push(self.path.clone());
        let mut diagnostic = Diagnostic::error(rule, Some(place), message);
        self.resource.clone_into(&mut diagnostic.resource);
        diagnostic.name.clone_from(&self.name);
        diagnostic.field.clone_from(&self.path);
        let at = self.diagnostics.len();
        self.diagnostics.push(diagnostic);
        &mut self.diagnostics[at]
    }

    /// Says that a value is not what its field's table says.
    pub fn wrong_type(&mut self, node: &Node) {
        let message = format!("must be {}, found {}", self.want, node.describe());
        self.error("wrong_type", node.place, message);
    }

    /// Says that a key is given a second time.
    pub fn twice(&mut self, entry: &Entry, first: Place) {
        let message =
            format!("`{}` is given twice; the first is on line {}", entry.key, first.line);
        self.within(&entry.key, |reader| {
            reader.error("duplicate_field", entry.place, message);
        });
    }

    fn unknown_field<T>(&mut self, entry: &Entry, tables: &[&[Field<T>]]) {
        let names: Vec<&str> = tables.iter().copied().flatten().map(|field| field.name).collect();
        let near = text::nearest(&entry.key, names.iter().copied());
        let message = format!("`{}` is not a field here", entry.key);
        let known = format!("known here: {}", names.join(", "));
        // The path is that of the mapping: no rule about a real field is silenced by this.
        let length = self.broken.len();
        let diagnostic = self.error("unknown_field", entry.place, message);
        match near {
            Some(near) => diagnostic.nearest = Some(near.to_owned()),
            None => diagnostic.help = Some(known),
        }
        self.broken.truncate(length);
    }
}
