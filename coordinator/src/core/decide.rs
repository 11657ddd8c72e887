//! What a check's ballots say together, and what follows from it.
//!
//! The numbers R, D, U and the floor are in [`rule`], the record that is committed with a decision
//! in [`record`]; what holds an end back is in [`calm`]. Tables to be read without the code: `quorum.txt` has those numbers,
//! `table.txt` and `excluded.txt` the answer for every mix of votes of up to seven regions, `special.txt`
//! warnings, latches and the grace of a start, `missing.txt` what silence counts as.

pub mod calm;
pub mod doubt;
pub mod record;
pub mod rule;

#[cfg(test)]
mod cloudwatch;
#[cfg(test)]
mod tests;

use parallax_common::check::{Missing, Policy};
use parallax_common::outcome::{BallotState, DegradedKind, Verdict};
use parallax_common::time::MeshTime;

use self::rule::Rule;
use super::ballots::Vote;
use crate::mutant::{self, Mutant};

/// What was committed before, and what may be said now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Open {
    /// A down incident is open.
    pub incident: bool,
    /// Resolved by hand while enough regions failed: no opening until fewer do, once.
    pub latched: bool,
    /// The committed verdict.
    pub said: Verdict,
    /// Its kind.
    pub degraded: Option<DegradedKind>,
    /// Every assignee's snapshot is in, or the grace of a start or a change of leader is over.
    /// Before, only bad news is told (decision 6): silence is still ours, not the target's.
    pub settled: bool,
}

/// The votes, counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// F: fresh regions in state fail, and silent ones that count as such.
    pub failing: u32,
    /// P: fresh regions in state pass or warn.
    pub passing: u32,
    /// W: fresh regions in state warn, which are in `passing` too.
    pub warning: u32,
    /// F + P, and those that are split or count as passing although they are silent.
    pub fresh: u32,
    /// Regions that may not vote.
    pub excluded: u32,
    /// Fresh regions whose probes do not agree.
    pub split: u32,
    /// Silent regions that count all the same.
    pub assumed: u32,
}

impl Tally {
    /// Counts one vote a configured region. One that voted and is silent counts as `missing` says: as
    /// passing it never is in P, which ends incidents.
    pub fn count(votes: &[Vote], missing: Missing) -> Self {
        let mut tally = Self::default();
        for vote in votes {
            let silent = vote.stale && vote.state != BallotState::None;
            let assumed = u32::from(silent && matches!(missing, Missing::Fail | Missing::Pass));
            if vote.excluded {
                tally.excluded += 1;
            } else if assumed > 0 {
                tally.assumed += assumed;
                tally.fresh += assumed;
                tally.failing += u32::from(missing == Missing::Fail);
            } else if vote.is_fresh() && vote.split {
                tally.fresh += 1;
                tally.split += 1;
            } else if vote.is_fresh()
                || (mutant::on(Mutant::StaleVotesCount) && vote.state != BallotState::None)
            {
                tally.fresh += 1;
                match vote.state {
                    BallotState::Fail => tally.failing += 1,
                    BallotState::Pass => tally.passing += 1,
                    BallotState::Warn => {
                        tally.passing += 1;
                        tally.warning += 1;
                    }
                    BallotState::None => unreachable!("a vote without a state is not fresh"),
                }
            }
        }
        tally
    }
}

/// What to say of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// The verdict to hold from now on.
    pub verdict: Verdict,
    /// Its kind, when it is `degraded`.
    pub degraded: Option<DegradedKind>,
    /// An incident begins.
    pub opens: bool,
    /// The open incident ends.
    pub resolves: bool,
    /// The latch of a resolve by hand ends.
    pub unlatches: bool,
    /// The ballots say something else, but it is too early to tell: the verdict is the old one.
    pub held: bool,
    /// When to decide again although nothing was heard, sessions' watermarks aside.
    pub reconsider_at: Option<MeshTime>,
    /// What was counted.
    pub tally: Tally,
    /// The numbers that were followed.
    pub rule: Rule,
}

impl Decision {
    /// Whether there is something to commit.
    pub fn moves(&self, open: &Open) -> bool {
        self.opens
            || self.resolves
            || self.unlatches
            || (self.verdict, self.degraded) != (open.said, open.degraded)
    }
}

/// Decides what a check's ballots say, given what was committed before.
///
/// Pure and total: every coordinator that holds the same ballots reaches the same decision. There
/// is one vote for each configured region, heard from or not. `reconsider_at` names the instant at
/// which a vote changes by itself, so that nobody polls.
pub fn decide(policy: &Policy, open: &Open, votes: &[Vote], now: MeshTime) -> Decision {
    let rule = Rule::of(policy, votes.len());
    // Until everybody had the time to speak, silence is ours and counts as nothing.
    let missing = if open.settled { policy.missing } else { Missing::Unknown };
    let tally = Tally::count(votes, missing);
    let (seen, degraded) = look(&rule, &tally);
    let keeps = missing == Missing::Ignore && is_silence(&rule, &tally);
    let below = tally.failing < rule.down_at;
    let up_at = if mutant::on(Mutant::ResolveWithoutQuorum) { 1 } else { rule.up_at };
    let mut decision = Decision {
        verdict: seen,
        degraded,
        opens: seen == Verdict::Down && !open.incident && !open.latched,
        resolves: open.incident && tally.passing >= up_at,
        unlatches: open.latched && !open.incident && below,
        held: false,
        reconsider_at: votes.iter().filter_map(|vote| vote.changes_at).filter(|&at| at > now).min(),
        tally,
        rule,
    };
    if keeps && open.said != Verdict::Unknown {
        (decision.verdict, decision.degraded) = (open.said, open.degraded);
    } else if open.incident && !decision.resolves && seen != Verdict::Unknown {
        // Fewer fail than were needed, but too few pass to call it over.
        (decision.verdict, decision.degraded) = (Verdict::Down, None);
    }
    if !open.settled && is_early(&decision, open) && !mutant::on(Mutant::GraceForgotten) {
        (decision.verdict, decision.degraded) = (open.said, open.degraded);
        (decision.resolves, decision.unlatches, decision.held) = (false, false, true);
    }
    decision
}

/// The table of decision 8, in its order.
fn look(rule: &Rule, tally: &Tally) -> (Verdict, Option<DegradedKind>) {
    let one = u32::from(mutant::on(Mutant::QuorumOffByOne));
    if tally.excluded > rule.excludable {
        (Verdict::Unknown, None)
    } else if tally.failing + one >= rule.down_at {
        (Verdict::Down, None)
    } else if tally.fresh < rule.floor {
        (Verdict::Unknown, None)
    } else if tally.failing + tally.split > 0 {
        (Verdict::Degraded, Some(DegradedKind::Regional))
    } else if tally.warning >= rule.down_at {
        (Verdict::Degraded, Some(DegradedKind::Warning))
    } else {
        (Verdict::Up, None)
    }
}

/// Whether too few regions are heard, and nothing else is wrong.
fn is_silence(rule: &Rule, tally: &Tally) -> bool {
    tally.excluded <= rule.excludable && tally.failing < rule.down_at && tally.fresh < rule.floor
}

/// Whether a decision must wait until everybody had the time to speak: `unknown`, an end, or a
/// verdict better than the one that stands.
fn is_early(decision: &Decision, open: &Open) -> bool {
    let badness = |verdict| match verdict {
        Verdict::Up => 0,
        Verdict::Degraded => 1,
        Verdict::Down => 2,
        // From `unknown` everything is news.
        Verdict::Unknown => 0,
    };
    decision.resolves
        || decision.unlatches
        || (decision.verdict == Verdict::Unknown && open.said != Verdict::Unknown)
        || badness(decision.verdict) < badness(open.said)
}
