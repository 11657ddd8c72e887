//! Checks whose answer is known: they tell of probes, and not of targets.

use crate::outcome::{Outcome, Reason};

/// What the target of a canary is known to answer. Whoever sees another thing does not see the truth: it
/// sits behind a proxy that answers for everybody, a resolver that knows every name, or no network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Canary {
    /// It passes.
    Pass,
    /// It fails; for this reason only, when there is one.
    Fail(Option<Reason>),
}

impl Canary {
    /// The word by which a probe says that it can run canaries.
    pub const WORD: &'static str = "canary";

    /// Whether a run saw the known answer; nothing when it saw none.
    pub fn knows(self, outcome: Outcome, reason: Option<Reason>) -> Option<bool> {
        match (self, outcome) {
            (_, Outcome::Missed) => None,
            (Self::Pass, outcome) => Some(outcome != Outcome::Fail),
            (Self::Fail(None), outcome) => Some(outcome == Outcome::Fail),
            (Self::Fail(expected), Outcome::Fail) => Some(reason == expected),
            (Self::Fail(Some(_)), Outcome::Pass | Outcome::Warn) => Some(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_known_answer_is_known_whatever_it_is() {
        let nxdomain = Canary::Fail(Some(Reason::DnsNxdomain));
        // (canary, outcome, reason, whether it is the truth)
        let table = [
            (Canary::Pass, Outcome::Pass, None, Some(true)),
            (Canary::Pass, Outcome::Warn, Some(Reason::Warning), Some(true)),
            (Canary::Pass, Outcome::Fail, Some(Reason::Timeout), Some(false)),
            (Canary::Fail(None), Outcome::Fail, Some(Reason::Timeout), Some(true)),
            (Canary::Fail(None), Outcome::Pass, None, Some(false)),
            (Canary::Fail(None), Outcome::Warn, Some(Reason::Warning), Some(false)),
            (nxdomain, Outcome::Fail, Some(Reason::DnsNxdomain), Some(true)),
            (nxdomain, Outcome::Fail, Some(Reason::Timeout), Some(false)),
            (nxdomain, Outcome::Pass, None, Some(false)),
            (nxdomain, Outcome::Missed, Some(Reason::MissedOverload), None),
            (Canary::Pass, Outcome::Missed, Some(Reason::MissedLate), None),
        ];
        for (canary, outcome, reason, expected) in table {
            assert_eq!(
                canary.knows(outcome, reason),
                expected,
                "{canary:?} {outcome:?} {reason:?}"
            );
        }
    }
}
