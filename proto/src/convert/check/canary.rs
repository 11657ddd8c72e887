//! Checks whose answer is known.

use parallax_common::check::Canary;
use parallax_common::outcome::Reason;
use parallax_common::rule;

use crate::convert::{Findings, enums};
use crate::v1;

/// The checked form of what a target is known to answer.
pub(in crate::convert) fn canary(
    given: Option<&v1::Canary>,
    findings: &mut Findings<'_>,
) -> Option<Canary> {
    let given = given?;
    let reason = enums::reason(given.reason);
    let bad = |field: &str, message: &str, findings: &mut Findings<'_>| {
        findings.add(rule::CANARY_ANSWER, field.to_owned(), message.to_owned());
    };
    match given.expect() {
        v1::CanaryAnswer::Unspecified => {
            bad("canary.expect", "expect is pass or fail", findings);
            None
        }
        v1::CanaryAnswer::Pass => {
            if given.reason != 0 {
                let message = "what passes has no reason; it goes with `expect: fail`";
                bad("canary.reason", message, findings);
            }
            Some(Canary::Pass)
        }
        v1::CanaryAnswer::Fail => {
            if given.reason != 0 && !reason.is_some_and(is_of_target) {
                let message = "it is no reason for which a target fails";
                bad("canary.reason", message, findings);
            }
            Some(Canary::Fail(reason))
        }
    }
}

/// A canary as messages carry it.
pub(in crate::convert) fn canary_to(canary: Canary) -> v1::Canary {
    let (expect, reason) = match canary {
        Canary::Pass => (v1::CanaryAnswer::Pass, None),
        Canary::Fail(reason) => (v1::CanaryAnswer::Fail, reason),
    };
    v1::Canary { expect: expect.into(), reason: enums::reason_or_none_to(reason) }
}

/// Whether a run can fail for it by what the target does.
fn is_of_target(reason: Reason) -> bool {
    let of_run = reason.is_missed() || reason.is_before_target();
    !of_run && !matches!(reason, Reason::Warning | Reason::InvertedPass)
}

/// A canary opens no incident and turns no answer round by itself: what is about either has no effect.
pub(super) fn alone(check: &v1::Check, findings: &mut Findings<'_>) {
    if check.canary.is_none() {
        return;
    }
    let run = check.run.as_ref();
    let idle = [
        ("alert", !check.alert.is_empty()),
        ("severity", check.severity() != v1::Severity::Unspecified),
        ("regional", check.regional.is_some()),
        ("warning", check.warning.is_some()),
        ("alerts", !check.alerts.is_empty()),
        ("slo", check.slo.is_some()),
        ("depends_on", !check.depends_on.is_empty()),
        ("min_open", check.min_open.is_some()),
        ("flap", check.flap.is_some()),
        ("invert", run.is_some_and(|run| run.invert)),
        ("warn", run.is_some_and(|run| !run.warn.is_empty())),
    ];
    for (field, _) in idle.into_iter().filter(|(_, given)| *given) {
        let message = "a canary tells of probes and opens no incident: this would have no effect";
        findings.add(rule::CANARY_ALONE, field, message);
    }
}
