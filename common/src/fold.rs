//! What a run of numbered outcomes amounts to: streaks, state, and since when.
//!
//! One [`Fold::step`] a run, in order of number. A gap in the numbers is runs that were not told of.
//! From the first non-pass on a probe tells of every run until enough passed in a row, so untold
//! runs are passes that travel in windows: they end every streak of fails. They are not taken for
//! passes either: a streak is of outcomes that were heard.
//!
//! With M of N a state goes by counts among the newest runs instead of a streak; each change of it, and
//! each gap, begins that record anew.
//!
//! Probes fold their own runs, for snapshots, by their own clock; coordinators fold what they hear,
//! in mesh time. `T` is the one or the other.

use std::ops::Sub;
use std::time::Duration;

use crate::outcome::{BallotState, Outcome};

/// The numbers of a check that streaks go by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// Fails in a row that turn a region to fail.
    pub failures: u32,
    /// Passes in a row that turn it back.
    pub successes: u32,
    /// M of N: `failures` are counted among so many of the newest runs. 0: in a row.
    pub failures_of: u32,
    /// The same for `successes`.
    pub successes_of: u32,
    /// Time between slots.
    pub interval: Duration,
}

/// The part of an outcome that streaks are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark<T> {
    /// Run number, from 1.
    pub number: u64,
    /// How it ended.
    pub outcome: Outcome,
    /// It was ordered, so it begins no confirmation.
    pub ordered: bool,
    /// When it ended.
    pub ended: T,
}

impl Terms {
    /// Whether a state is counted otherwise than in a row.
    pub const fn counts_recent(&self) -> bool {
        self.failures_of > 0 || self.successes_of > 0
    }
}

/// The newest runs since the state last changed or runs were not told of, 32 at most: what M of N is
/// counted in. A bit a run, the newest lowest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Recent {
    told: u32,
    fails: u32,
    warns: u32,
}

impl Recent {
    /// As messages carry it: which of the newest runs were told, failed and warned.
    pub const fn bits(&self) -> [u32; 3] {
        [self.told, self.fails, self.warns]
    }

    /// From a message. What was not told can have had no outcome.
    pub const fn from_bits([told, fails, warns]: [u32; 3]) -> Self {
        let fails = fails & told;
        Self { told, fails, warns: warns & told & !fails }
    }

    /// The same before so many of the newest runs.
    pub fn without_newest(&self, runs: u32) -> Self {
        let before = |bits: u32| bits.checked_shr(runs).unwrap_or(0);
        Self { told: before(self.told), fails: before(self.fails), warns: before(self.warns) }
    }

    fn take(&mut self, outcome: Outcome) {
        let add = |bits: u32, is: bool| (bits << 1) | u32::from(is);
        self.told = add(self.told, true);
        self.fails = add(self.fails, outcome == Outcome::Fail);
        self.warns = add(self.warns, outcome == Outcome::Warn);
    }

    /// How many of the newest `of` (failed, warned, passed without a warning).
    pub fn of(&self, of: u32) -> (u32, u32, u32) {
        let newest = match of {
            0 => 0,
            of => u32::MAX >> (u32::BITS - of.min(u32::BITS)),
        };
        let Self { told, fails, warns } = *self;
        let passes = told & !fails & !warns;
        let count = |bits: u32| (bits & newest).count_ones();
        (count(fails), count(warns), count(passes))
    }
}

/// A row of slots that were all missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missing<T> {
    /// The last sign of a run before them.
    pub since: T,
    /// The newest of them.
    pub newest: T,
}

/// Everything that outcomes amount to so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fold<T> {
    /// The newest number; 0 when there was none.
    pub last: u64,
    /// The region's state.
    pub state: BallotState,
    /// End of the run that gave it that state.
    pub since: T,
    /// Fails in a row.
    pub fails: u32,
    /// How many of them were runs of the schedule; the others were ordered.
    pub fails_scheduled: u32,
    /// The number of the run with which these fails, or the last ones there were, began.
    pub fails_from: u64,
    /// Passes and warns in a row.
    pub oks: u32,
    /// Warns in a row.
    pub warns: u32,
    /// Passes in a row.
    pub passes: u32,
    /// What M of N is counted in.
    pub recent: Recent,
    /// The newest outcome that was not `missed`.
    pub newest: Option<Outcome>,
    /// Its end.
    pub ended: T,
    /// The newest outcomes are `missed`, without a gap.
    pub missing: Option<Missing<T>>,
}

impl<T: Default> Default for Fold<T> {
    fn default() -> Self {
        Self {
            last: 0,
            state: BallotState::None,
            since: T::default(),
            fails: 0,
            fails_scheduled: 0,
            fails_from: 0,
            oks: 0,
            warns: 0,
            passes: 0,
            recent: Recent::default(),
            newest: None,
            ended: T::default(),
            missing: None,
        }
    }
}

impl<T: Copy + Default + Sub<Duration, Output = T>> Fold<T> {
    /// What a successor starts with: the state, not the streak.
    pub fn heir_of(old: &Self) -> Self {
        Self { state: old.state, since: old.since, ..Self::default() }
    }

    /// Whether any run was heard of; a `missed` is none.
    pub fn ran(&self) -> bool {
        self.newest.is_some()
    }

    /// Outcomes in a row that agree with the newest one.
    pub fn in_a_row(&self) -> u32 {
        match self.newest {
            Some(Outcome::Fail) => self.fails,
            Some(Outcome::Warn) => self.warns,
            Some(Outcome::Pass) => self.passes,
            Some(Outcome::Missed) | None => 0,
        }
    }

    /// Takes the next run. `one_pass` says that a region without a state needs only one pass.
    /// Numbers must ascend.
    pub fn step(&mut self, mark: &Mark<T>, terms: &Terms, one_pass: bool) {
        debug_assert!(mark.number > self.last, "runs are folded in order of number");
        let gap = self.last == 0 || mark.number != self.last + 1;
        if gap {
            (self.fails, self.oks, self.warns, self.passes) = (0, 0, 0, 0);
            self.fails_scheduled = 0;
            self.recent = Recent::default();
            self.missing = None;
        }
        self.last = mark.number;
        let add = |count: u32, feeds: bool| if feeds { count.saturating_add(1) } else { 0 };
        match mark.outcome {
            Outcome::Missed => {
                // Behind a gap lies a run that was not told of, about one interval ago.
                let sign =
                    if gap || !self.ran() { mark.ended - terms.interval } else { self.ended };
                let since = self.missing.map_or(sign, |missing| missing.since);
                self.missing = Some(Missing { since, newest: mark.ended });
                return;
            }
            outcome => {
                if self.fails == 0 && outcome == Outcome::Fail {
                    self.fails_from = mark.number;
                }
                self.fails = add(self.fails, outcome == Outcome::Fail);
                if outcome != Outcome::Fail {
                    self.fails_scheduled = 0;
                } else if !mark.ordered {
                    self.fails_scheduled = self.fails_scheduled.saturating_add(1);
                }
                self.oks = add(self.oks, outcome != Outcome::Fail);
                self.warns = add(self.warns, outcome == Outcome::Warn);
                self.passes = add(self.passes, outcome == Outcome::Pass);
                self.recent.take(outcome);
                self.newest = Some(outcome);
                self.ended = mark.ended;
                self.missing = None;
            }
        }
        let Terms { failures, successes, failures_of, successes_of, .. } = *terms;
        let (recent_fails, recent_warns, _) = self.recent.of(failures_of);
        let (_, well_warns, recent_passes) = self.recent.of(successes_of);
        let enough = |row: u32, recent: u32, needed: u32, of: u32| {
            if of == 0 { row >= needed } else { recent >= needed }
        };
        let fails = enough(self.fails, recent_fails, failures, failures_of);
        let warns = enough(self.warns, recent_warns, failures, failures_of);
        let passes = enough(self.passes, recent_passes, successes, successes_of);
        let oks = enough(self.oks, well_warns + recent_passes, successes, successes_of);
        let first_ok = one_pass && self.oks >= 1;
        let well =
            if mark.outcome == Outcome::Warn { BallotState::Warn } else { BallotState::Pass };
        let state = match self.state {
            // Every change goes by a count of its own: fails down, passes up, warns sideways.
            BallotState::Fail if oks => well,
            BallotState::None if fails => BallotState::Fail,
            BallotState::None if oks || first_ok => well,
            BallotState::Pass | BallotState::Warn if fails => BallotState::Fail,
            BallotState::Pass if warns => BallotState::Warn,
            BallotState::Warn if passes => BallotState::Pass,
            unchanged => unchanged,
        };
        if state != self.state {
            self.state = state;
            self.since = mark.ended;
            // What led here counts for nothing that follows.
            self.recent = Recent::default();
        }
    }
}

#[cfg(test)]
mod tests;
