//! How long an incident stays open although enough regions pass: for a least time, and while its check
//! flaps until they have passed for a while without a break.
//!
//! Only ends that [`decide`](super::decide) would let through are held back, and what lets one through
//! at last are the votes of that moment.

use std::time::Duration;

use parallax_common::outcome::Verdict;
use parallax_common::time::MeshTime;

use super::{Decision, Open};

/// What an open incident asks for besides its quorum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Terms {
    /// It does not end before then.
    pub open_until: Option<MeshTime>,
    /// Enough regions must have passed for so long without a break.
    pub passing_for: Option<Duration>,
}

/// What was seen of one check while its incident is open. A new leader begins anew: it may stay open
/// longer for that, and never ends sooner.
#[derive(Debug, Clone, Copy, Default)]
pub struct Calm {
    passing_since: Option<MeshTime>,
}

impl Calm {
    /// Holds an end back that comes too early. `reconsider_at` then says when it would not any more.
    pub fn hold(&mut self, decision: &mut Decision, open: &Open, terms: &Terms, now: MeshTime) {
        if !open.incident || decision.tally.passing < decision.rule.up_at {
            self.passing_since = None;
            return;
        }
        let since = *self.passing_since.get_or_insert(now);
        let passed = terms.passing_for.map(|length| since + length);
        let Some(until) = terms.open_until.max(passed).filter(|until| now < *until) else { return };
        if decision.resolves {
            decision.resolves = false;
            if decision.verdict != Verdict::Unknown {
                // As for every incident that is open.
                (decision.verdict, decision.degraded) = (Verdict::Down, None);
            }
        }
        let sooner = decision.reconsider_at.map_or(until, |at| at.min(until));
        decision.reconsider_at = Some(sooner);
    }
}

#[cfg(test)]
mod tests {
    use parallax_common::check::{Missing, Policy, Quorum};
    use parallax_common::outcome::BallotState;

    use super::*;
    use crate::core::ballots::Vote;
    use crate::core::decide::decide;
    use crate::core::table::{columns, lines};

    const POLICY: Policy = Policy {
        regions: Quorum::Majority,
        failures: 2,
        successes: 2,
        failures_of: 0,
        successes_of: 0,
        missing: Missing::Unknown,
    };
    const OPEN: Open =
        Open { incident: true, latched: false, said: Verdict::Down, degraded: None, settled: true };

    fn second(at: i64) -> MeshTime {
        MeshTime::from_ns(at * 1_000_000_000)
    }

    fn votes(letters: &str) -> Vec<Vote> {
        let vote = |letter| match letter {
            'f' => Vote { state: BallotState::Fail, ..Vote::NONE },
            'p' => Vote { state: BallotState::Pass, ..Vote::NONE },
            'S' => Vote { state: BallotState::Pass, stale: true, ..Vote::NONE },
            other => panic!("no vote is written {other}"),
        };
        letters.chars().map(vote).collect()
    }

    /// What each look says: the verdict, `ends`, and when to look again.
    fn looks(terms: Terms, steps: &str) -> String {
        let mut calm = Calm::default();
        let said = steps.split(' ').map(|step| {
            let (at, letters) = step.split_once(':').unwrap();
            let now = second(at.parse().unwrap());
            let mut decision = decide(&POLICY, &OPEN, &votes(letters), now);
            calm.hold(&mut decision, &OPEN, &terms, now);
            let again = decision.reconsider_at.map(|at| at.as_ns() / 1_000_000_000);
            match (decision.resolves, again) {
                (true, _) => "ends".to_owned(),
                (false, Some(again)) => format!("{}@{again}", decision.verdict.word()),
                (false, None) => decision.verdict.word().to_owned(),
            }
        });
        said.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn an_end_waits_for_its_time_and_still_needs_its_quorum_then() {
        let mut rows = 0;
        for line in lines(include_str!("calm.txt")) {
            let [until, passing, steps, expected] = columns(line);
            let terms = Terms {
                open_until: until.parse().ok().map(second),
                passing_for: passing.parse().ok().map(Duration::from_secs),
            };
            assert_eq!(looks(terms, steps), expected, "{line}");
            rows += 1;
        }
        assert_eq!(rows, 12);
    }

    #[test]
    fn without_an_open_incident_nothing_is_held() {
        let closed = Open { incident: false, said: Verdict::Up, ..OPEN };
        let terms = Terms { open_until: Some(second(100)), passing_for: None };
        let decision = decide(&POLICY, &closed, &votes("ppp"), second(1));
        let mut held = decision;
        Calm::default().hold(&mut held, &closed, &terms, second(1));
        assert_eq!(held, decision);
    }
}
