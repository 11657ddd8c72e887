//! Failures that are no outage, that last, and that nobody is told of: said once for all checks of an apply.
//!
//! That whom a check names is told of outages and not of these is on purpose (docs/alerting.md); that
//! nobody is told of these may be an oversight.

use parallax_common::check::Check;
use parallax_common::outcome::DegradedKind;
use parallax_common::rule::{self, Advice};
use parallax_common::text::format_duration;
use parallax_proto::v1;

use crate::core::decide::rule::Rule;
use crate::core::hours::When;
use crate::core::routing::{self, Routes};

/// Checks that tell somebody of an outage and nobody of a failure that lasts, by kind of it.
#[derive(Debug, Default)]
pub(super) struct Untold {
    regional: Of,
    warning: Of,
}

#[derive(Debug, Default)]
struct Of {
    checks: u32,
    /// The first of them, and how long it has to last there.
    first: Option<(String, String)>,
}

impl Untold {
    /// Looks at one check that is in order.
    pub fn look(&mut self, check: &Check, wire: &v1::Check, routes: &Routes) {
        let is_taken = |kind| {
            let sample = routing::sample(wire, kind);
            !routes.taking(&sample, |_| When::Within).routes.is_empty()
        };
        // Of one that tells nobody of anything, or that has no incidents, other words are said.
        let tells = !check.alert.is_empty() || is_taken(v1::IncidentKind::Down);
        if !tells || !check.enabled || wire.canary.is_some() {
            return;
        }
        let some_can_fail = Rule::of(&check.policy, check.regions.len()).down_at > 1;
        let plugin = check.run.steps.iter().any(|step| step.kind.word() == "plugin");
        let can_warn = plugin || !check.run.warn.is_empty();
        for (possible, kind, of, incident) in [
            (some_can_fail, DegradedKind::Regional, &mut self.regional, v1::IncidentKind::Regional),
            (can_warn, DegradedKind::Warning, &mut self.warning, v1::IncidentKind::Warning),
        ] {
            let lasting = check.lasting(kind);
            if possible && lasting.alert.is_empty() && !is_taken(incident) {
                of.checks += 1;
                let after = format_duration(lasting.after);
                of.first.get_or_insert_with(|| (check.name.clone(), after));
            }
        }
    }

    /// One piece of advice for each kind that somebody may miss.
    pub fn advice(self) -> impl Iterator<Item = Advice> {
        let say = |of: Of, field: &str, word: &str, what: &str| {
            let (name, after) = of.first?;
            let others = match of.checks - 1 {
                0 => String::new(),
                1 => " (so it is for 1 more check)".to_owned(),
                more => format!(" (so it is for {more} more checks)"),
            };
            let message = format!(
                "{what} for {after} is recorded as a {word} incident and nobody is told of it{others}: \
                 name contacts here, or have a route that takes kind={word}"
            );
            let field = field.to_owned();
            Some(Advice { rule: rule::ADVICE_LASTING, resource: "check", name, field, message })
        };
        let regional = "what fails in too few regions for an outage";
        let all = [
            say(self.regional, "regional.alert", "regional", regional),
            say(self.warning, "warning.alert", "warning", "a warning that stays"),
        ];
        all.into_iter().flatten()
    }
}
