//! One thing that is wrong, or worth a thought, with the place where it is written; and how it is
//! shown to a person and to a program.

use std::fmt::Write as _;

use owo_colors::OwoColorize as _;
use serde::Serialize;

use super::source::Sources;
use super::tree::Place;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Nothing is applied.
    Error,
    /// Allowed, but worth a thought.
    Advice,
}

/// One broken rule, or one piece of advice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// An id of `parallax_common::rule`.
    pub rule: String,
    /// Where it is written; absent when no file has it.
    pub place: Option<Place>,
    /// `check`, `region`, `contact`, `settings`, or empty for what belongs to no resource.
    pub resource: String,
    /// The resource's name, when it has one.
    pub name: String,
    /// Path inside the resource: `http.url`, `expect[1]`.
    pub field: String,
    /// One sentence.
    pub message: String,
    /// A known name that was perhaps meant.
    pub nearest: Option<String>,
    /// What to write instead.
    pub help: Option<String>,
}

/// A diagnostic as `--output json` shows it.
#[derive(Debug, Serialize)]
pub struct DiagnosticView<'a> {
    severity: Severity,
    rule: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    column: Option<u32>,
    resource: &'a str,
    name: &'a str,
    field: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    nearest: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<&'a str>,
}

impl Diagnostic {
    /// An error that names no resource yet.
    pub fn error(rule: &str, place: Option<Place>, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            rule: rule.to_owned(),
            place,
            resource: String::new(),
            name: String::new(),
            field: String::new(),
            message: message.into(),
            nearest: None,
            help: None,
        }
    }

    /// The form for programs.
    pub fn view<'a>(&'a self, sources: &'a Sources) -> DiagnosticView<'a> {
        DiagnosticView {
            severity: self.severity,
            rule: &self.rule,
            file: self.place.map(|place| sources.name(place.source)),
            line: self.place.map(|place| place.line),
            column: self.place.map(|place| place.column),
            resource: &self.resource,
            name: &self.name,
            field: &self.field,
            message: &self.message,
            nearest: self.nearest.as_deref(),
            help: self.help.as_deref(),
        }
    }

    /// The form for people: position, rule and message; the line with a mark under it; what to do.
    pub fn render(&self, sources: &Sources, color: bool) -> String {
        let word = match self.severity {
            Severity::Error => "error",
            Severity::Advice => "advice",
        };
        let label = format!("{word}[{}]", self.rule);
        let label = match (color, self.severity) {
            (false, _) => label,
            (true, Severity::Error) => label.red().bold().to_string(),
            (true, Severity::Advice) => label.yellow().bold().to_string(),
        };
        let mut text = String::new();
        match self.place {
            Some(place) => {
                let file = sources.name(place.source);
                let _ = writeln!(
                    text,
                    "{file}:{}:{}: {label}: {}{}",
                    place.line,
                    place.column,
                    self.subject(),
                    self.message
                );
                if let Some(line) = sources.line(place) {
                    snippet(&mut text, line, place, color);
                }
            }
            None => {
                let _ = writeln!(text, "{label}: {}{}", self.subject(), self.message);
            }
        }
        if let Some(nearest) = &self.nearest {
            let _ = writeln!(text, "  help: did you mean `{nearest}`?");
        }
        if let Some(help) = &self.help {
            let _ = writeln!(text, "  help: {help}");
        }
        text
    }

    /// `check "checkout", http.url: `, as far as it is known.
    fn subject(&self) -> String {
        let mut subject = String::new();
        if !self.resource.is_empty() {
            subject.push_str(&self.resource);
            if !self.name.is_empty() && self.name != self.resource {
                let _ = write!(subject, " \"{}\"", self.name);
            }
        }
        if !self.field.is_empty() {
            if !subject.is_empty() {
                subject.push_str(", ");
            }
            subject.push_str(&self.field);
        }
        if !subject.is_empty() {
            subject.push_str(": ");
        }
        subject
    }
}

/// The line and a mark under the part that is meant.
fn snippet(text: &mut String, line: &str, place: Place, color: bool) {
    /// Wider lines are cut around the mark.
    const WIDTH_MAX: usize = 120;
    let column = place.column.max(1) as usize - 1;
    let skip = column.saturating_sub(WIDTH_MAX / 2);
    let shown: String = line.chars().skip(skip).take(WIDTH_MAX).collect();
    // A tab keeps its width in the line of the mark too.
    let indent: String =
        shown.chars().take(column - skip).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
    let room = shown.chars().count().saturating_sub(column - skip).max(1);
    let mark = "^".repeat((place.length as usize).clamp(1, room));
    let mark = if color { mark.red().to_string() } else { mark };
    let number = place.line.to_string();
    let gutter = " ".repeat(number.len());
    let _ = writeln!(text, " {gutter} |");
    let _ = writeln!(text, " {number} | {shown}");
    let _ = writeln!(text, " {gutter} | {indent}{mark}");
}

/// Orders diagnostics by file and line and drops repetitions: a broken default is one error, not
/// one for each check that inherits it.
pub fn sort(diagnostics: &mut Vec<Diagnostic>) {
    let mut seen = std::collections::HashSet::new();
    diagnostics.retain(|diagnostic| {
        diagnostic.place.is_none_or(|place| seen.insert((place, diagnostic.rule.clone())))
    });
    diagnostics.sort_by_key(|diagnostic| {
        (diagnostic.place.is_none(), diagnostic.place, diagnostic.rule.clone())
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diagnostic_reads_like_a_compilers() {
        let sources = Sources::from_texts([("mesh.yaml", "checks:\n  - nmae: shop\n")]);
        let place = Place { source: 0, line: 2, column: 5, length: 4 };
        let mut diagnostic = Diagnostic::error("unknown_field", Some(place), "`nmae` is no field");
        diagnostic.resource = "check".to_owned();
        diagnostic.nearest = Some("name".to_owned());
        assert_eq!(
            diagnostic.render(&sources, false),
            "mesh.yaml:2:5: error[unknown_field]: check: `nmae` is no field\n   |\n 2 |   - nmae: \
             shop\n   |     ^^^^\n  help: did you mean `name`?\n"
        );
    }

    #[test]
    fn a_long_line_is_cut_around_the_mark() {
        let line = format!("{}HERE{}", "x".repeat(400), "y".repeat(400));
        let sources = Sources::from_texts([("a.yaml", line.as_str())]);
        let place = Place { source: 0, line: 1, column: 401, length: 4 };
        let text = Diagnostic::error("wrong_type", Some(place), "no").render(&sources, false);
        assert!(text.lines().all(|line| line.chars().count() < 140), "{text}");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[2].find("HERE"), lines[3].find("^^^^"));
    }

    #[test]
    fn the_same_rule_at_the_same_place_is_said_once() {
        let place = Place { source: 0, line: 1, column: 1, length: 1 };
        let one = Diagnostic::error("wrong_type", Some(place), "no");
        let mut all = vec![one.clone(), one.clone(), Diagnostic { place: None, ..one }];
        sort(&mut all);
        assert_eq!(all.len(), 2);
    }
}
