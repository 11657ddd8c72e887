//! Alerts on what was measured: percentiles of durations, shares of failed runs, how fast an error budget
//! burns, and when certificates expire.
//!
//! The leader alone looks, once a minute (`coordinator/src/alert.rs`), at its own history: every
//! coordinator has all windows, so the next leader sees the same. What is here is pure: counts go in,
//! and out comes whether an alert opens or resolves, with the record that says why. Nothing is
//! remembered between looks. A condition that must hold for five minutes is counted anew at each of the
//! last minutes, so that neither a new leader nor a restart begins from nothing, and windows that come
//! late count the next time.
//!
//! - **A moment** is a multiple of the step, a minute or the period of the check's windows, in mesh time.
//!   What one says is counted over the cells that begin within `over` before it. Of a percentile only the
//!   durations above the threshold are counted, not kept: it is above exactly when too few are not, so
//!   counts that add up say the same as histograms that are merged ([`series`]).
//! - **A region** holds, is clear, or is silent: nothing was measured there, or its probe is not
//!   believed. Advisory regions, runs that were ordered, slots that were missed and runs of strangers are
//!   not counted in shares.
//! - **A moment holds** when enough regions hold, and is clear when too few would hold even if all silent
//!   ones did. Anything else says nothing: it neither opens nor resolves.
//! - **It opens** when every moment of `for` holds. **It resolves** when every one of `for`, and of five
//!   minutes at least, is clear.
//! - **It does not open** while a `down` incident of the check has told the same contacts, nor while what
//!   it counts reaches back into one: one outage is one page ([`told`]).
//!
//! Burn rates are in [`burn`], what is asked of certificates in [`certificate`]: no history has them.
//! What is proposed names the check's etag and the sequence of the alert's
//! row, as changes of verdicts do, so that of two leaders one is heard (`core/state/alerts.rs`).

use std::collections::BTreeSet;
use std::time::Duration;

use parallax_common::alert::{Alert, When, whole_looks};
use parallax_common::check::{Check, Policy};
use parallax_common::limits::{ALERT_CLEAR_MIN, ALERT_LOOK_EVERY, ALERT_SETTLE};
use parallax_common::time::{MeshTime, ns};
use parallax_common::window::Period;
use parallax_proto::convert::time::{duration_to, mesh_timestamp};
use parallax_proto::v1;

pub mod burn;
pub mod certificate;
pub mod series;
pub mod told;

use self::series::Series;
use super::decide::rule::Rule;

/// How an alert stands in the replicated state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Standing {
    /// Nothing is open.
    #[default]
    Quiet,
    /// Its incident is open.
    Open,
    /// Resolved by hand while it held: it opens again only after it was clear.
    Latched,
}

/// What becomes of an alert.
#[derive(Debug, Clone, PartialEq)]
pub enum Turn {
    /// An incident opens.
    Open(v1::AlertRecord),
    /// Its incident ends.
    Resolve(v1::AlertRecord),
    /// It may open again.
    Unlatch,
}

/// The newest moment that can be looked at, and how far apart moments are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// A multiple of the step: what began before it counts.
    pub until: MeshTime,
    /// From one moment to the next.
    pub step: Duration,
}

impl Look {
    /// The newest moment of which the windows of this check are there, where nothing is wrong.
    pub fn new(check: &Check, now: MeshTime) -> Self {
        let step = ALERT_LOOK_EVERY.max(Period::for_interval(check.interval).length());
        let settled = now - (check.run.longest(check.interval) + ALERT_SETTLE);
        Self { until: floor(settled, step), step }
    }

    /// The moment so many steps before the newest.
    fn back(self, steps: u32) -> MeshTime {
        self.until - self.step.saturating_mul(steps)
    }

    /// In whole steps, rounded up.
    fn steps(self, length: Duration) -> u32 {
        let steps = length.as_secs().div_ceil(self.step.as_secs().max(1));
        u32::try_from(steps).unwrap_or(u32::MAX)
    }
}

/// The multiple of `unit` at or before `at`.
pub fn floor(at: MeshTime, unit: Duration) -> MeshTime {
    MeshTime::from_ns(at.as_ns() - at.as_ns().rem_euclid(ns(unit).max(1)))
}

/// One alert that is looked at.
#[derive(Debug)]
pub struct Watch<'c> {
    check: &'c Check,
    when: When,
    look: Look,
    over: Duration,
    /// What its regions measured; filled by who reads history.
    pub series: Series,
}

/// What all regions say together at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Says {
    /// Enough of them hold.
    Holds,
    /// Too few would even if all silent ones did.
    Clear,
    /// Neither.
    Nothing,
}

impl Says {
    /// By the votes of all regions, when it has to hold in so many.
    fn of(votes: impl Iterator<Item = v1::AlertVote>, needed: u32) -> Self {
        let (mut holds, mut silent) = (0, 0);
        for vote in votes {
            match vote {
                v1::AlertVote::Holds => holds += 1,
                v1::AlertVote::Clear => {}
                v1::AlertVote::Silent | v1::AlertVote::Unspecified => silent += 1,
            }
        }
        if holds >= needed {
            Self::Holds
        } else if holds + silent < needed {
            Self::Clear
        } else {
            Self::Nothing
        }
    }
}

/// Regions of a check in which a condition must hold.
fn needed(check: &Check, when: &When) -> u32 {
    let policy = Policy { regions: when.regions, ..check.policy };
    Rule::of(&policy, check.regions.len()).down_at
}

impl<'c> Watch<'c> {
    /// Of one alert of a check; nothing is counted yet.
    pub fn new(check: &'c Check, alert: &Alert, look: Look) -> Self {
        let when = alert.when.whole(check.interval);
        // Windows are never divided.
        let over = when.over(check.interval).unwrap_or_default();
        let over = look.step.saturating_mul(look.steps(over));
        let newest = look.until - over;
        Self { check, when, look, over, series: Series::of(when.measure, newest, look.until) }
    }

    /// The first moment of history that it counts.
    pub fn from(&self) -> MeshTime {
        self.look.back(self.moments(self.clears_after())) - self.over
    }

    /// Where a `down` incident must have ended for an opening not to be about it.
    pub fn looks_back_to(&self) -> MeshTime {
        self.look.back(self.moments(self.when.hold)) - self.over
    }

    fn clears_after(&self) -> Duration {
        self.when.hold.max(ALERT_CLEAR_MIN)
    }

    /// Steps back that a length takes.
    fn moments(&self, length: Duration) -> u32 {
        self.look.steps(whole_looks(length))
    }

    /// What becomes of the alert. Regions of `unheeded` count as silent.
    pub fn turn(&self, standing: Standing, unheeded: &BTreeSet<String>) -> Option<Turn> {
        let all = |length: Duration, says: Says| {
            (0..=self.moments(length)).all(|back| self.says(self.look.back(back), unheeded) == says)
        };
        match standing {
            Standing::Quiet if all(self.when.hold, Says::Holds) => {
                Some(Turn::Open(self.record(unheeded)))
            }
            Standing::Open if all(self.clears_after(), Says::Clear) => {
                Some(Turn::Resolve(self.record(unheeded)))
            }
            Standing::Latched if all(Duration::ZERO, Says::Clear) => Some(Turn::Unlatch),
            _ => None,
        }
    }

    fn needed(&self) -> u32 {
        needed(self.check, &self.when)
    }

    fn says(&self, at: MeshTime, unheeded: &BTreeSet<String>) -> Says {
        let votes = self.check.regions.iter().map(|region| self.vote(region, at, unheeded));
        Says::of(votes, self.needed())
    }

    fn vote(&self, region: &str, at: MeshTime, unheeded: &BTreeSet<String>) -> v1::AlertVote {
        if unheeded.contains(region) {
            return v1::AlertVote::Silent;
        }
        match self.series.above(region, at - self.over, at) {
            None => v1::AlertVote::Silent,
            Some(true) => v1::AlertVote::Holds,
            Some(false) => v1::AlertVote::Clear,
        }
    }

    /// What the newest moment says, region by region.
    fn record(&self, unheeded: &BTreeSet<String>) -> v1::AlertRecord {
        let until = self.look.until;
        let region = |name: &String| {
            let count = self.series.count(name, until - self.over, until);
            v1::AlertRegion {
                region: name.clone(),
                vote: self.vote(name, until, unheeded).into(),
                samples: count.all,
                failed: if self.series.is_of_runs() { count.bad } else { 0 },
                value: self.series.percentile(name).map(duration_to),
                ..v1::AlertRegion::default()
            }
        };
        v1::AlertRecord {
            until: Some(mesh_timestamp(until)),
            when: self.when.to_string(),
            regions: self.check.regions.iter().map(region).collect(),
            needed: self.needed(),
            burn: None,
            target: String::new(),
        }
    }
}

#[cfg(test)]
mod tests;
