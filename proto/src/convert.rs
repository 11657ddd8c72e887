//! From untrusted messages to the checked types of `parallax-common`, and back.
//!
//! What comes in is normalised once (defaults filled in, by the proposer), validated with every
//! broken rule at once, and then built; nobody checks a field again. Start at [`check`] for what a
//! user writes, [`record`] and [`window`] for what a probe sends, [`fields`] for how a resource is
//! shown and compared.

pub mod alert;
pub mod assignment;
pub mod check;
pub mod contact;
pub mod enums;
pub mod fields;
pub mod health;
pub mod hours;
pub mod look;
pub mod maintenance;
pub mod record;
pub mod request;
pub mod resource;
pub mod route;
pub mod run;
pub mod storm;
pub mod time;
pub mod window;

use parallax_common::rule::{Advice, Rule, Violation};

use crate::v1;

/// Gathers what one resource breaks.
pub(crate) struct Findings<'a> {
    resource: &'static str,
    name: &'a str,
    found: Vec<Violation>,
    stored: bool,
}

impl<'a> Findings<'a> {
    pub(crate) fn new(resource: &'static str, name: &'a str) -> Self {
        Self { resource, name, found: Vec::new(), stored: false }
    }

    /// For what was accepted once: a rule that it breaks does not keep it from being read.
    pub(crate) fn of_stored(resource: &'static str, name: &'a str) -> Self {
        Self { stored: true, ..Self::new(resource, name) }
    }

    /// Whether what is read was accepted once.
    pub(crate) fn is_stored(&self) -> bool {
        self.stored
    }

    pub(crate) fn add(&mut self, rule: Rule, field: impl Into<String>, message: impl Into<String>) {
        self.add_near(rule, field, message, None);
    }

    pub(crate) fn add_near(
        &mut self,
        rule: Rule,
        field: impl Into<String>,
        message: impl Into<String>,
        nearest: Option<&str>,
    ) {
        self.found.push(Violation {
            rule,
            resource: self.resource,
            name: self.name.to_owned(),
            field: field.into(),
            message: message.into(),
            nearest: nearest.map(str::to_owned),
        });
    }

    /// Whether nothing was found since that counts.
    pub(crate) fn none_since(&self, mark: usize) -> bool {
        self.stored || self.found.len() == mark
    }

    pub(crate) fn mark(&self) -> usize {
        self.found.len()
    }

    pub(crate) fn finish(self) -> Vec<Violation> {
        self.found
    }
}

/// A violation on the wire.
pub fn violation(violation: &Violation) -> v1::Violation {
    v1::Violation {
        rule: violation.rule.id.to_owned(),
        resource: violation.resource.to_owned(),
        name: violation.name.clone(),
        field: violation.field.clone(),
        message: violation.message.clone(),
        nearest: violation.nearest.clone().unwrap_or_default(),
    }
}

/// An advice on the wire.
pub fn advice(advice: &Advice) -> v1::Advice {
    v1::Advice {
        rule: advice.rule.id.to_owned(),
        resource: advice.resource.to_owned(),
        name: advice.name.clone(),
        field: advice.field.clone(),
        message: advice.message.clone(),
    }
}

#[cfg(test)]
mod tests;
