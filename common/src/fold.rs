//! What a run of numbered outcomes amounts to: streaks, state, and since when.
//!
//! One [`Fold::step`] a run, in order of number. A gap in the numbers is runs that were not told of.
//! From the first non-pass on a probe tells of every run until enough passed in a row, so untold
//! runs are passes that travel in windows: they end every streak of fails. They are not taken for
//! passes either: a streak is of outcomes that were heard.
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
    /// It was ordered, so it starts no confirmation.
    pub ordered: bool,
    /// When it ended.
    pub ended: T,
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
    /// The first of them was ordered.
    pub fails_ordered: bool,
    /// Passes and warns in a row.
    pub oks: u32,
    /// Warns in a row.
    pub warns: u32,
    /// Passes in a row.
    pub passes: u32,
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
            fails_ordered: false,
            oks: 0,
            warns: 0,
            passes: 0,
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
                if outcome == Outcome::Fail && self.fails == 0 {
                    self.fails_ordered = mark.ordered;
                }
                self.fails = add(self.fails, outcome == Outcome::Fail);
                self.oks = add(self.oks, outcome != Outcome::Fail);
                self.warns = add(self.warns, outcome == Outcome::Warn);
                self.passes = add(self.passes, outcome == Outcome::Pass);
                self.newest = Some(outcome);
                self.ended = mark.ended;
                self.missing = None;
            }
        }
        let needed = if self.state == BallotState::None && one_pass { 1 } else { terms.successes };
        let well =
            if mark.outcome == Outcome::Warn { BallotState::Warn } else { BallotState::Pass };
        let state = match self.state {
            // Every change goes by a streak: fails down, passes up, warns sideways.
            BallotState::Fail if self.oks >= needed => well,
            BallotState::None if self.fails >= terms.failures => BallotState::Fail,
            BallotState::None if self.oks >= needed => well,
            BallotState::Pass | BallotState::Warn if self.fails >= terms.failures => {
                BallotState::Fail
            }
            BallotState::Pass if self.warns >= terms.failures => BallotState::Warn,
            BallotState::Warn if self.passes >= terms.successes => BallotState::Pass,
            unchanged => unchanged,
        };
        if state != self.state {
            self.state = state;
            self.since = mark.ended;
        }
    }
}
