//! What an apply changes, or would change.

use parallax_proto::v1;
use serde::Serialize;

use super::mark::Tone;
use super::{Shell, table, word};
use crate::config::diagnostic::DiagnosticView;

/// `apply` and `diff`.
#[derive(Debug, Serialize)]
pub struct PlanView<'a> {
    /// Whether it was made so.
    pub committed: bool,
    /// The revision at which it holds, or against which it was compared.
    pub revision: u64,
    /// How many of each.
    pub created: u32,
    /// See `created`.
    pub changed: u32,
    /// See `created`.
    pub unchanged: u32,
    /// See `created`.
    pub deleted: u32,
    /// All but the unchanged.
    pub changes: Vec<ChangeView>,
    /// Allowed, but worth a thought.
    pub advice: Vec<DiagnosticView<'a>>,
}

/// What happens to one resource.
#[derive(Debug, Serialize)]
pub struct ChangeView {
    /// `created`, `changed` or `deleted`.
    pub kind: String,
    resource: String,
    name: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    fields: Vec<FieldView>,
}

/// One field that changes.
#[derive(Debug, Serialize)]
pub struct FieldView {
    field: String,
    before: String,
    after: String,
}

impl ChangeView {
    /// The view of a message.
    pub fn new(change: &v1::Change) -> Self {
        Self {
            kind: word::change(change.kind),
            resource: change.resource.clone(),
            name: change.name.clone(),
            fields: change
                .fields
                .iter()
                .map(|it| FieldView {
                    field: it.field.clone(),
                    before: it.before.clone(),
                    after: it.after.clone(),
                })
                .collect(),
        }
    }

    fn text(&self, color: bool) -> String {
        let (sign, tone) = match self.kind.as_str() {
            "created" => ('+', Tone::Good),
            "deleted" => ('-', Tone::Bad),
            _ => ('~', Tone::Warn),
        };
        let head = format!("{sign} {} {}", self.resource, table::clean(&self.name));
        let mut text = tone.paint(&head, color);
        text.push('\n');
        let width = self.fields.iter().map(|it| it.field.chars().count()).max().unwrap_or(0);
        for FieldView { field, before, after } in &self.fields {
            let shown = |value: &str| match value {
                "" => "(none)".to_owned(),
                value => table::clean(value),
            };
            let (before, after) = (shown(before), shown(after));
            text.push_str(&format!("    {field:<width$}  {before} -> {after}\n"));
        }
        text
    }
}

impl PlanView<'_> {
    /// Whether anything differs.
    pub fn changes_anything(&self) -> bool {
        self.created + self.changed + self.deleted > 0
    }

    /// Row for row, and a line of numbers.
    pub fn text(&self, shell: &Shell) -> String {
        let mut text = String::new();
        for change in &self.changes {
            text.push_str(&change.text(shell.color_out));
        }
        let Self { created, changed, unchanged, deleted, revision, .. } = self;
        let done = if self.committed { "" } else { "would be " };
        text.push_str(&format!(
            "{done}{created} created, {changed} changed, {unchanged} unchanged, {deleted} deleted"
        ));
        if self.committed {
            text.push_str(&format!(" at revision {revision}"));
        }
        text.push('\n');
        text
    }
}
