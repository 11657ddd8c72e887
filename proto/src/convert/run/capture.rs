//! What steps capture, and where later ones fill it in.

use std::collections::BTreeSet;

use parallax_common::capture::{Piece, is_name, pieces};
use parallax_common::check::{Capture, Run, Step};
use parallax_common::expect::{Program, variables_of};
use parallax_common::limits::CAPTURES_MAX;
use parallax_common::rule;
use parallax_common::secret::{Reference, Template};
use parallax_common::text::nearest;

use super::{Findings, prefix};
use crate::v1;

/// Reads what a step captures. What its expressions may say is another matter: see [`captures_fit`].
pub(super) fn captures(
    given: &[v1::Capture],
    at: &str,
    findings: &mut Findings<'_>,
) -> Vec<Capture> {
    if given.len() > CAPTURES_MAX {
        let message = format!("{} values are captured; at most {CAPTURES_MAX} are", given.len());
        findings.add(rule::CAPTURES_TOO_MANY, format!("{at}capture"), message);
        if !findings.is_stored() {
            return Vec::new();
        }
    }
    let read = |capture: &v1::Capture| Capture {
        name: capture.name.clone(),
        value: capture.value.clone(),
    };
    given.iter().map(read).collect()
}

/// Judges what is captured and filled in, over all steps of a run.
pub(super) fn captures_fit(wire: &v1::Run, run: &Run, findings: &mut Findings<'_>) {
    if findings.is_stored() || wire.steps.len() != run.steps.len() {
        return;
    }
    let mut known: BTreeSet<String> = BTreeSet::new();
    for (place, step) in run.steps.iter().enumerate() {
        let at = prefix(&wire.steps, place);
        filled_in(step, &at, &known, findings);
        let own: BTreeSet<&str> = step.captures.iter().map(|of| of.name.as_str()).collect();
        let taken: Vec<String> = step.captured().collect();
        for (number, capture) in step.captures.iter().enumerate() {
            let field = format!("{at}capture.{}", capture.name);
            let again = step.captures[..number].iter().any(|other| other.name == capture.name);
            if !is_name(&capture.name) {
                let message = format!("`{}` cannot name a capture", capture.name);
                findings.add(rule::CAPTURE_NAME, field.as_str(), message);
            } else if known.contains(&capture.name) || again {
                let message = format!("`{}` is captured before this already", capture.name);
                findings.add(rule::CAPTURE_NAME, field.as_str(), message);
            } else if !run.steps[place + 1..].iter().any(|later| uses(later, &capture.name)) {
                let message = format!("no later step fills in ${{capture:{}}}", capture.name);
                findings.add(rule::CAPTURE_UNUSED, field.as_str(), message);
            }
            value(step, capture, &field, findings);
        }
        // A group may have the name of an earlier one: the later one counts.
        known.extend(taken.into_iter().filter(|name| own.contains(name.as_str()) || is_name(name)));
    }
}

fn value(step: &Step, capture: &Capture, field: &str, findings: &mut Findings<'_>) {
    match Program::admit_value(&capture.value) {
        Err(refusal) => {
            let near = refusal.nearest.as_deref();
            findings.add_near(refusal.rule, field, refusal.message, near);
        }
        Ok(program) => {
            let given = variables_of(&step.kind);
            for variable in program.variables().iter().filter(|name| !given.contains(name)) {
                let known: Vec<&str> = given.iter().map(|variable| variable.word()).collect();
                let kind = step.kind.word();
                let message = format!(
                    "`{variable}` is not there: this {kind} step gives {}",
                    known.join(", ")
                );
                let near = nearest(variable.word(), known);
                findings.add_near(rule::EXPRESSION_NOT_FOR_KIND, field, message, near);
            }
        }
    }
}

fn uses(step: &Step, name: &str) -> bool {
    let wanted = Reference::Capture(name.to_owned());
    let in_template = |text: &&str| {
        Template::parse(text).is_ok_and(|template| template.references().any(|of| *of == wanted))
    };
    let in_plain =
        |text: &&str| pieces(text).is_ok_and(|pieces| pieces.contains(&Piece::Capture(name)));
    step.kind.templates().iter().any(in_template)
        || step.kind.plain_with_captures().iter().any(in_plain)
}

/// Whatever a step fills in must have been captured before.
fn filled_in(step: &Step, at: &str, known: &BTreeSet<String>, findings: &mut Findings<'_>) {
    let kind = step.kind.word();
    let mut wanted: Vec<(String, String)> = Vec::new();
    for text in step.kind.templates() {
        // What cannot be read is another rule's.
        let Ok(template) = Template::parse(text) else { continue };
        for reference in template.references() {
            if let Reference::Capture(name) = reference {
                wanted.push((format!("{at}{kind}"), name.clone()));
            }
        }
    }
    for (field, text) in ["url", "body"].into_iter().zip(step.kind.plain_with_captures()) {
        match pieces(text) {
            Err(why) => findings.add(rule::CAPTURE_UNKNOWN, format!("{at}{kind}.{field}"), why),
            Ok(pieces) => wanted.extend(pieces.into_iter().filter_map(|piece| match piece {
                Piece::Capture(name) => Some((format!("{at}{kind}.{field}"), name.to_owned())),
                Piece::Text(_) => None,
            })),
        }
    }
    let mut told = BTreeSet::new();
    for (field, name) in wanted {
        if known.contains(&name) || !told.insert((field.clone(), name.clone())) {
            continue;
        }
        let message = match known.is_empty() {
            true => format!("no earlier step captures anything, so there is no `{name}`"),
            false => {
                let all: Vec<&str> = known.iter().map(String::as_str).collect();
                format!("no earlier step captures `{name}`; there are {}", all.join(", "))
            }
        };
        let near = nearest(&name, known.iter().map(String::as_str));
        findings.add_near(rule::CAPTURE_UNKNOWN, field, message, near);
    }
}

/// Refuses captures before the path of a URL: where a run goes is said when the check is applied. Says
/// whether there are none.
pub(super) fn place_fits(url: &str, field: &str, findings: &mut Findings<'_>) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let fits = !host.contains("${capture");
    if !fits {
        let message = "a capture stands in the path or the query of a URL, never before them";
        findings.add(rule::CAPTURE_PLACE, field, message);
    }
    fits
}

/// Refuses captures where there are no steps before: in contacts.
pub(in crate::convert) fn none(template: &str, field: &str, findings: &mut Findings<'_>) {
    let Ok(parsed) = Template::parse(template) else { return };
    if parsed.references().any(|reference| matches!(reference, Reference::Capture(_))) {
        let message = "only steps of a check capture anything, and only they fill it in";
        findings.add(rule::CAPTURE_UNKNOWN, field, message);
    }
}
