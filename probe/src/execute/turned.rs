//! What a finding becomes where a check wants the opposite, or knows its answer.

use parallax_common::check::Canary;
use parallax_common::outcome::{Outcome, Reason};

use super::cap;
use crate::core::record::Finding;

/// A fail is a pass and the other way round; what is no vote stays none, and a fail by which nobody has
/// looked at the target stays one.
pub(super) fn invert(finding: &mut Finding) {
    if finding.reason.is_some_and(Reason::is_before_target) {
        return;
    }
    (finding.outcome, finding.reason) = match finding.outcome {
        Outcome::Fail => (Outcome::Pass, None),
        Outcome::Pass | Outcome::Warn => (Outcome::Fail, Some(Reason::InvertedPass)),
        Outcome::Missed => return,
    };
}

/// Of a canary: to see the known answer is a pass, to see another one a fail, which says what was seen.
/// Whoever did not get as far as the target has not seen it.
pub(super) fn compare(finding: &mut Finding, canary: Canary) {
    let before =
        finding.outcome == Outcome::Fail && finding.reason.is_some_and(Reason::is_before_target);
    let Some(knows) = canary.knows(finding.outcome, finding.reason) else { return };
    if knows && !before {
        (finding.outcome, finding.reason) = (Outcome::Pass, None);
        finding.evidence.clear();
    } else if finding.outcome != Outcome::Fail {
        let evidence = match finding.evidence.as_str() {
            "" => "it passes, and is known to fail".to_owned(),
            seen => format!("it passes, and is known to fail: {seen}"),
        };
        (finding.outcome, finding.reason) = (Outcome::Fail, Some(Reason::InvertedPass));
        finding.evidence = evidence;
        cap(&mut finding.evidence);
    }
}
