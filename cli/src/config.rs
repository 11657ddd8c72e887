//! Configuration as code: YAML files become the resources of one apply.
//!
//! The way of a file: [`source`] finds and reads it, [`parse`] makes a [`tree`] in which every node
//! knows its line and column, [`document`] reads the tree with the field tables of [`check`],
//! [`step`] and [`contact`], and the rules of `parallax_proto::convert` have the last word. Nothing stops at the
//! first error: every file is read, and [`Invalid`] holds everything that is wrong with all of them.
//!
//! Whether a named region or contact exists is not asked here, as only the coordinator knows what
//! else there is; [`Loaded::diagnose`] maps what it answers back to a line.
//!
//! `defaults:` holds for the checks of its own document and for nothing else, so that a check can
//! be understood from the file it stands in.

pub(crate) mod alert;
pub mod check;
pub mod contact;
pub mod diagnostic;
pub mod document;
mod maintenance;
#[cfg(test)]
mod options;
pub mod parse;
pub mod place;
mod plugin;
pub mod reader;
mod route;
pub mod schema;
pub mod source;
pub mod step;
pub mod talk;
pub mod tree;
pub mod value;
pub mod want;

use std::collections::HashMap;
use std::sync::Arc;

use parallax_proto::v1;

pub use diagnostic::{Diagnostic, Severity};
pub use source::{Input, SourceError, Sources};
pub use tree::Place;

use tree::Node;

/// What kind of resource something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A place to look from.
    Region,
    /// Where alerts go.
    Contact,
    /// What holds for the namespace; `mesh:` in YAML.
    Settings,
    /// When nobody is to be woken.
    Maintenance,
    /// What to test.
    Check,
}

impl Kind {
    /// The word of the wire and of messages.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Region => "region",
            Self::Contact => "contact",
            Self::Settings => "settings",
            Self::Maintenance => "maintenance",
            Self::Check => "check",
        }
    }

    /// The kind with this word.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Region, Self::Contact, Self::Settings, Self::Maintenance, Self::Check]
            .into_iter()
            .find(|kind| kind.word() == word)
    }
}

/// A resource and where it was written.
#[derive(Debug, Clone)]
pub struct Located {
    /// What it is.
    pub kind: Kind,
    /// Its name; `settings` for the settings.
    pub name: String,
    /// As it goes to the coordinator, defaults of the file merged in, others left unset.
    pub resource: v1::Resource,
    /// Where its name stands.
    pub place: Place,
    /// Its mapping, defaults merged in.
    pub body: Arc<Node>,
}

/// Everything that a set of files says.
#[derive(Debug)]
pub struct Loaded {
    /// The files, for messages.
    pub sources: Sources,
    /// Regions first, then contacts, settings, maintenance and checks, each in the order of the files.
    pub resources: Vec<Located>,
    /// The `namespace:` of the files, when one is given.
    pub namespace: Option<String>,
    index: HashMap<(Kind, String), usize>,
}

/// What is wrong with a set of files: everything, in the order of files and lines.
#[derive(Debug, thiserror::Error)]
#[error("the configuration breaks {} rules", diagnostics.len())]
pub struct Invalid {
    /// The files, for messages.
    pub sources: Sources,
    /// Never empty.
    pub diagnostics: Vec<Diagnostic>,
}

/// Reads resources out of what `sources` hold.
///
/// # Errors
/// [`Invalid`] with every broken rule of every file.
pub fn load(sources: Sources) -> Result<Loaded, Box<Invalid>> {
    let mut diagnostics = Vec::new();
    let mut documents = Vec::new();
    for (index, source) in sources.iter() {
        let parsed = parse::parse(index, &source.text);
        documents.extend(parsed.documents);
        diagnostics.extend(parsed.error);
    }
    let mut read = document::read(&sources, &documents);
    diagnostics.append(&mut read.diagnostics);
    if !diagnostics.is_empty() {
        diagnostic::sort(&mut diagnostics);
        return Err(Box::new(Invalid { sources, diagnostics }));
    }
    let index = read
        .resources
        .iter()
        .enumerate()
        .map(|(at, located)| ((located.kind, located.name.clone()), at))
        .collect();
    Ok(Loaded { sources, resources: read.resources, namespace: read.namespace, index })
}

impl Loaded {
    /// Where a field of a resource stands: the value of the longest part of `field` that is
    /// written, or else the resource's name.
    pub fn locate(&self, kind: &str, name: &str, field: &str, rule: &str) -> Option<Place> {
        let at = *self.index.get(&(Kind::from_word(kind)?, name.to_owned()))?;
        let located = &self.resources[at];
        let field = place::as_written(&located.body, field);
        Some(place::of_rule(&located.body, &field, rule).unwrap_or(located.place))
    }

    /// A rule that the coordinator says is broken, with the line that breaks it.
    pub fn diagnose(&self, violation: &v1::Violation) -> Diagnostic {
        Diagnostic {
            severity: Severity::Error,
            rule: violation.rule.clone(),
            place: self.locate(
                &violation.resource,
                &violation.name,
                &violation.field,
                &violation.rule,
            ),
            resource: violation.resource.clone(),
            name: violation.name.clone(),
            field: violation.field.clone(),
            message: violation.message.clone(),
            nearest: Some(violation.nearest.clone()).filter(|near| !near.is_empty()),
            help: None,
        }
    }

    /// What the coordinator advises, with the line that it is about.
    pub fn advise(&self, advice: &v1::Advice) -> Diagnostic {
        Diagnostic {
            severity: Severity::Advice,
            rule: advice.rule.clone(),
            place: self.locate(&advice.resource, &advice.name, &advice.field, &advice.rule),
            resource: advice.resource.clone(),
            name: advice.name.clone(),
            field: advice.field.clone(),
            message: advice.message.clone(),
            nearest: None,
            help: None,
        }
    }
}

#[cfg(test)]
mod tests;
