//! Silences as people ask for them: checked against every rule before they are proposed.
//!
//! Rules about the silence alone are looked at here and not in apply, which reads whatever was
//! accepted once. What other entries may change meanwhile (how many there are, what time it is) apply
//! looks at itself.

use std::time::Duration;

use parallax_common::limits::{
    MATCHER_PATTERNS_MAX, MATCHERS_MAX, SILENCE_LENGTH_MAX, TEXT_BYTES_MAX,
};
use parallax_common::matcher::{Matcher, Operator};
use parallax_common::name::Uid;
use parallax_common::rule;
use parallax_common::text::nearest;
use parallax_common::time::ns;
use parallax_proto::convert::route::{matcher_to, operator};
use parallax_proto::v1::add_silence_request::End;
use parallax_proto::{convert, store, v1};

use crate::core::state::{QUIET_LEVEL, Refusal, State, refusal};

/// The command for a silence that `by` asks for.
///
/// # Errors
/// The first rule that it breaks, and the field that breaks it.
pub fn add(
    state: &State,
    asked: &v1::AddSilenceRequest,
    namespace: &str,
    by: &str,
    uid: Uid,
) -> Result<store::AddSilence, Refusal> {
    understood(state)?;
    let patterns = asked.matchers.iter().filter(|it| is_pattern(it)).count();
    if !(1..=MATCHERS_MAX).contains(&asked.matchers.len()) || patterns > MATCHER_PATTERNS_MAX {
        let given = asked.matchers.len();
        let message = format!(
            "matchers: {given} are given, {patterns} of them patterns; from 1 to {MATCHERS_MAX} are \
             allowed, with at most {MATCHER_PATTERNS_MAX} patterns"
        );
        return Err(refusal(rule::MATCHERS_COUNT, message, []));
    }
    let mut matchers = Vec::with_capacity(asked.matchers.len());
    for (at, given) in asked.matchers.iter().enumerate() {
        let read = match operator(given.operator()) {
            Some(operator) => Matcher::new(&given.key, operator, &given.value)
                .map_err(|error| (error.rule(), error.to_string())),
            None => Err((rule::MATCHER_FORMAT, "an operator is needed".to_owned())),
        };
        let field = format!("matchers[{at}]");
        let matcher = read.map_err(|(rule, said)| refusal(rule, format!("{field}: {said}"), []))?;
        exists(state, namespace, &field, &matcher)?;
        matchers.push(matcher);
    }
    if matchers.iter().all(|matcher| matcher.fits("")) {
        let message = "matchers: all of them fit what has no labels, so this silences everything; add \
                       one that a missing label does not fit";
        return Err(refusal(rule::MATCHERS_ANY, message, []));
    }
    let comment = asked.comment.trim();
    if comment.is_empty() || comment.len() > TEXT_BYTES_MAX {
        let message = format!(
            "comment: {} bytes are given; say why it is quiet, in at most {TEXT_BYTES_MAX}",
            comment.len()
        );
        return Err(refusal(rule::SILENCE_COMMENT, message, []));
    }
    let (ends_at, length) = end(asked)?;
    let silence = v1::Silence {
        uid: uid.to_string(),
        namespace: namespace.to_owned(),
        matchers: matchers.iter().map(matcher_to).collect(),
        comment: comment.to_owned(),
        created_by: by.to_owned(),
        starts_at: asked.starts_at,
        ends_at,
        ..v1::Silence::default()
    };
    Ok(store::AddSilence { silence: Some(silence), length_ns: ns(length) })
}

/// Whether every member understands what keeps pages back.
///
/// # Errors
/// [`rule::LEVEL_TOO_LOW`].
pub fn understood(state: &State) -> Result<(), Refusal> {
    let level = state.cluster.level;
    if level >= QUIET_LEVEL {
        return Ok(());
    }
    let message = format!(
        "the cluster is at level {level} and silences need {QUIET_LEVEL}: upgrade every coordinator \
         first"
    );
    Err(refusal(rule::LEVEL_TOO_LOW, message, []))
}

fn is_pattern(matcher: &v1::Matcher) -> bool {
    operator(matcher.operator()).is_some_and(Operator::is_pattern)
}

/// A check that is named exactly must be there: a silence with a slip in it silences nothing, and
/// that shows at night.
fn exists(state: &State, namespace: &str, field: &str, matcher: &Matcher) -> Result<(), Refusal> {
    let name = &matcher.value;
    let named = matcher.key == "check" && matcher.operator == Operator::Equal && !name.is_empty();
    if !named || state.check_named(namespace, name).is_some() {
        return Ok(());
    }
    let names = state.check_names.keys().filter(|(of, _)| of == namespace);
    let near = nearest(name, names.map(|(_, name)| name.as_str()));
    let hint = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
    let message = format!("{field}: check {name} does not exist{hint}");
    Err(refusal(rule::UNKNOWN_CHECK, message, [format!("check {name}")]))
}

/// When it ends: then, or so long after its start.
fn end(
    asked: &v1::AddSilenceRequest,
) -> Result<(Option<prost_types::Timestamp>, Duration), Refusal> {
    let wrong = |message: String| Err(refusal(rule::SILENCE_TIMES, message, []));
    if asked.starts_at.as_ref().is_some_and(|at| convert::time::utc(at).is_none()) {
        return wrong("starts_at: not a moment".to_owned());
    }
    match &asked.end {
        None => wrong("length: say how long it lasts, or until when".to_owned()),
        Some(End::EndsAt(at)) => match convert::time::utc(at) {
            Some(_) => Ok((Some(*at), Duration::ZERO)),
            None => wrong("ends_at: not a moment".to_owned()),
        },
        Some(End::Length(length)) => match convert::time::duration(length) {
            Some(length) if !length.is_zero() && length <= SILENCE_LENGTH_MAX => Ok((None, length)),
            _ => wrong("length: from above 0 to 366 days are allowed".to_owned()),
        },
    }
}
