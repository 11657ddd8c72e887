//! Confirm now: who is asked to run a check at once when one region sees it fail (decision 7).
//!
//! One confirmation a check at a time, and what was ordered starts none; a failure that comes while one is
//! under way is confirmed after it, when it still fails. The second scheduled failure of a streak is confirmed
//! like the first: a run that was lost may have begun the streak, and the outage with the run after it.
//! A probe that is away is
//! not asked later: an order is void after [`limits::ORDER_EXPIRES`], and the schedule goes on. Who is asked
//! how often is in `table.txt`.

#[cfg(test)]
mod tests;

use parallax_common::check::Check;
use parallax_common::limits;
use parallax_common::time::MeshTime;

use super::ballots::VoterId;

/// A probe's seat as a confirmation sees it. Those of advisory regions are none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Witness {
    /// Who runs the check there, when a session to it is open and it may vote.
    pub reachable: Option<VoterId>,
    /// It is the one that saw the check fail.
    pub failing: bool,
}

/// Who runs how often: `failures` at every other seat, one fewer where it failed already.
pub fn runs(witnesses: &[Witness], failures: u32) -> Vec<(VoterId, u32)> {
    let count = |witness: &Witness| failures.saturating_sub(u32::from(witness.failing));
    witnesses
        .iter()
        .filter_map(|witness| Some((witness.reachable?, count(witness))))
        .filter(|(_, count)| *count > 0)
        .collect()
}

/// A confirmation under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confirmation {
    order: u64,
    until: MeshTime,
    awaited: Vec<(VoterId, u32)>,
}

impl Confirmation {
    /// What `runs` of `check` amount to when they are ordered at `now`.
    pub fn start(order: u64, check: &Check, runs: &[(VoterId, u32)], now: MeshTime) -> Self {
        let rounds = runs.iter().map(|(_, count)| *count).max().unwrap_or(0);
        let spacing = check.confirm_spacing * rounds.saturating_sub(1);
        // The order may arrive as late as it expires; its last run may take the whole timeout.
        let until = now + limits::ORDER_EXPIRES + spacing + check.run.longest(check.interval);
        Self { order, until, awaited: runs.to_vec() }
    }

    /// Takes note of an outcome that belongs to an order.
    pub fn heard(&mut self, voter: VoterId, order: u64) {
        if order == self.order
            && let Some(awaited) = self.awaited.iter_mut().find(|(who, _)| *who == voter)
        {
            awaited.1 = awaited.1.saturating_sub(1);
        }
    }

    /// From here on nothing can come that is still awaited.
    pub fn until(&self) -> MeshTime {
        self.until
    }

    /// Everything was heard, or can no longer come.
    pub fn is_over(&self, now: MeshTime) -> bool {
        now >= self.until || self.awaited.iter().all(|(_, count)| *count == 0)
    }
}
