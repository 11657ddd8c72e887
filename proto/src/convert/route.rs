//! Routes: who is told of the incidents that they fit. Their rules, and how they are written.

use std::collections::BTreeSet;
use std::time::Duration;

use parallax_common::limits::{
    MATCHER_PATTERNS_MAX, MATCHERS_MAX, ROUTE_PATTERNS_MAX, ROUTE_REPEAT_MAX, ROUTE_REPEAT_MIN,
    ROUTE_STEP_AFTER_MAX, ROUTE_STEP_CONTACTS_MAX, ROUTE_STEPS_MAX, ROUTES_CONTINUE_MAX,
    ROUTES_MAX,
};
use parallax_common::matcher::{Matcher, Operator};
use parallax_common::name::is_name;
use parallax_common::rule;
use parallax_common::text::format_duration;

use super::check::{Known, contacts, names};
use super::{Findings, hours, time};
use crate::v1;

/// What an operator of the wire means; `None` for one that this build does not know.
pub fn operator(operator: v1::MatchOperator) -> Option<Operator> {
    Some(match operator {
        v1::MatchOperator::Equal => Operator::Equal,
        v1::MatchOperator::NotEqual => Operator::NotEqual,
        v1::MatchOperator::Pattern => Operator::Pattern,
        v1::MatchOperator::NotPattern => Operator::NotPattern,
        v1::MatchOperator::Unspecified => return None,
    })
}

/// A matcher as messages carry it.
pub fn matcher_to(matcher: &Matcher) -> v1::Matcher {
    let operator = match matcher.operator {
        Operator::Equal => v1::MatchOperator::Equal,
        Operator::NotEqual => v1::MatchOperator::NotEqual,
        Operator::Pattern => v1::MatchOperator::Pattern,
        Operator::NotPattern => v1::MatchOperator::NotPattern,
    };
    let (key, value) = (matcher.key.clone(), matcher.value.clone());
    v1::Matcher { key, operator: operator.into(), value }
}

/// A matcher as people write it.
pub fn matcher_shown(matcher: &v1::Matcher) -> String {
    let sign = operator(matcher.operator()).map_or("?", Operator::sign);
    format!("{}{sign}{}", matcher.key, matcher.value)
}

/// How long after the opening a step comes; `None` when it cannot be said.
pub fn after(step: &v1::RouteStep) -> Option<Duration> {
    step.after.as_ref().map_or(Some(Duration::ZERO), time::duration)
}

/// A route whose hours have the one form that they have.
pub(super) fn normalise(route: &mut v1::Route) {
    let steps = route.steps.iter_mut().filter_map(|step| step.hours.as_mut());
    route.hours.iter_mut().chain(steps).for_each(hours::normalise);
}

/// Every rule that routes break. Settings without any break none.
pub(super) fn routes(routes: &[v1::Route], findings: &mut Findings<'_>) {
    let handing_on = routes.iter().filter(|route| route.r#continue).count();
    if routes.len() > ROUTES_MAX || handing_on > ROUTES_CONTINUE_MAX {
        let message = format!(
            "{} routes are given, {handing_on} of them with `continue`; at most {ROUTES_MAX} are \
             allowed, and {ROUTES_CONTINUE_MAX} with `continue`",
            routes.len()
        );
        findings.add(rule::ROUTES_TOO_MANY, "routes", message);
        return;
    }
    let mut seen = BTreeSet::new();
    let mut patterns = 0;
    for (place, route) in routes.iter().enumerate() {
        let at = format!("routes[{place}]");
        if !is_name(&route.name) {
            let rule = if route.name.is_empty() { rule::MISSING_FIELD } else { rule::NAME_FORMAT };
            let message = format!("`{}` is no name: {}", route.name, rule::NAME_FORMAT.statement);
            findings.add(rule, format!("{at}.name"), message);
        } else if !seen.insert(&route.name) {
            let message = format!("another route is called `{}`", route.name);
            findings.add(rule::DUPLICATE_NAME, format!("{at}.name"), message);
        }
        patterns += matchers(&at, &route.matchers, findings);
        steps(&at, &route.steps, findings);
        times(&at, route, findings);
        if let Some(repeat) = &route.repeat
            && time::duration(repeat)
                .is_none_or(|length| !(ROUTE_REPEAT_MIN..=ROUTE_REPEAT_MAX).contains(&length))
        {
            let message = format!(
                "from {} to {} are allowed",
                format_duration(ROUTE_REPEAT_MIN),
                format_duration(ROUTE_REPEAT_MAX)
            );
            findings.add(rule::ROUTE_REPEAT, format!("{at}.repeat"), message);
        }
    }
    if patterns > ROUTE_PATTERNS_MAX {
        let message = format!(
            "all routes together have {patterns} patterns; at most {ROUTE_PATTERNS_MAX} are allowed"
        );
        findings.add(rule::ROUTE_MATCHERS, "routes", message);
    }
}

/// Gives how many of them are patterns.
fn matchers(at: &str, given: &[v1::Matcher], findings: &mut Findings<'_>) -> usize {
    let is_pattern = |it: &&v1::Matcher| operator(it.operator()).is_some_and(Operator::is_pattern);
    let patterns = given.iter().filter(is_pattern).count();
    if given.len() > MATCHERS_MAX || patterns > MATCHER_PATTERNS_MAX {
        let message = format!(
            "{} matchers are given, {patterns} of them patterns; at most {MATCHERS_MAX} are allowed, \
             and {MATCHER_PATTERNS_MAX} patterns",
            given.len()
        );
        findings.add(rule::ROUTE_MATCHERS, format!("{at}.match"), message);
        // Not compiled: there may be any number of them.
        return 0;
    }
    for (place, matcher) in given.iter().enumerate() {
        let at = format!("{at}.match[{place}]");
        match operator(matcher.operator()) {
            Some(operator) => {
                if let Err(error) = Matcher::new(&matcher.key, operator, &matcher.value) {
                    findings.add(error.rule(), at, error.to_string());
                }
            }
            None => findings.add(rule::MATCHER_FORMAT, at, "an operator is needed"),
        }
    }
    patterns
}

fn steps(at: &str, steps: &[v1::RouteStep], findings: &mut Findings<'_>) {
    if !(1..=ROUTE_STEPS_MAX).contains(&steps.len()) {
        let message = format!(
            "{} steps are given; say `alert`, or from 1 to {ROUTE_STEPS_MAX} `steps`",
            steps.len()
        );
        findings.add(rule::ROUTE_STEPS, format!("{at}.steps"), message);
        return;
    }
    let mut before: Option<Duration> = None;
    for (place, step) in steps.iter().enumerate() {
        let at = format!("{at}.steps[{place}]");
        let length = after(step).filter(|length| *length <= ROUTE_STEP_AFTER_MAX);
        match (length, before) {
            (None, _) => {
                let most = format_duration(ROUTE_STEP_AFTER_MAX);
                let message = format!("at most {most} after the opening are allowed");
                findings.add(rule::ROUTE_STEPS, format!("{at}.after"), message);
            }
            (Some(length), Some(before)) if length <= before => {
                let message = format!(
                    "{} is not later than the step before it, which comes after {}",
                    format_duration(length),
                    format_duration(before)
                );
                findings.add(rule::ROUTE_STEPS, format!("{at}.after"), message);
            }
            _ => {}
        }
        before = length.max(before);
        let alert = format!("{at}.alert");
        if !(1..=ROUTE_STEP_CONTACTS_MAX).contains(&step.alert.len()) {
            let message = format!(
                "{} contacts are named; from 1 to {ROUTE_STEP_CONTACTS_MAX} are allowed",
                step.alert.len()
            );
            findings.add(rule::ROUTE_STEPS, alert.as_str(), message);
        }
        names(&alert, &step.alert, rule::CONTACT_DUPLICATE, findings);
    }
}

/// What a route says of hours.
fn times(at: &str, route: &v1::Route, findings: &mut Findings<'_>) {
    if let Some(given) = &route.hours {
        hours::validate(&format!("{at}.{}", hours::word(given)), given, findings);
    } else if route.wait {
        let message = "it says neither `during` nor `outside`: there is nothing to wait for";
        findings.add(rule::ROUTE_WAIT, format!("{at}.wait"), message);
    }
    for (place, step) in route.steps.iter().enumerate() {
        let Some(given) = &step.hours else { continue };
        let at = format!("{at}.steps[{place}].{}", hours::word(given));
        if place == 0 {
            let message = "the first step comes whenever the route takes an incident: say it of the \
                           route";
            findings.add(rule::ROUTE_WAIT, at, message);
        } else {
            hours::validate(&at, given, findings);
        }
    }
}

/// Every contact that a route names and that does not exist.
pub(super) fn references(routes: &[v1::Route], known: &impl Known, findings: &mut Findings<'_>) {
    for (place, route) in routes.iter().enumerate() {
        for (step, given) in route.steps.iter().enumerate() {
            let field = format!("routes[{place}].steps[{step}].alert");
            contacts(&field, &given.alert, known, findings);
        }
    }
}

/// The fields of a route with their values as YAML would print them, by their names within it.
pub(super) fn shown(route: &v1::Route) -> Vec<(String, String)> {
    let mut out = Vec::new();
    if !route.matchers.is_empty() {
        let all: Vec<String> = route.matchers.iter().map(matcher_shown).collect();
        out.push(("match".to_owned(), format!("[{}]", all.join(", "))));
    }
    for (place, step) in route.steps.iter().enumerate() {
        let after = after(step).map(format_duration).unwrap_or_default();
        let asked = step.hours.as_ref();
        let asked = asked.map(|it| format!(", {}: {}", hours::word(it), hours::shown(it)));
        let (alert, asked) = (step.alert.join(", "), asked.unwrap_or_default());
        let value = format!("{{after: {after}, alert: [{alert}]{asked}}}");
        out.push((format!("steps[{place}]"), value));
    }
    if let Some(given) = &route.hours {
        out.push((hours::word(given).to_owned(), hours::shown(given)));
    }
    if route.wait {
        out.push(("wait".to_owned(), "true".to_owned()));
    }
    if let Some(repeat) = route.repeat.as_ref().and_then(time::duration) {
        out.push(("repeat".to_owned(), format_duration(repeat)));
    }
    if route.r#continue {
        out.push(("continue".to_owned(), "true".to_owned()));
    }
    out
}

#[cfg(test)]
mod tests;
