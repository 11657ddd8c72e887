//! Alerts on certificates: whether what regions are shown expires too soon.
//!
//! History has none of it. Each member remembers of every check and region what was shown there lately
//! ([`shown`]), and of every alert since when it has said what it says ([`Streak`]). Both are gone with the
//! process: the next windows bring the former, and what must hold for a while is counted anew. All members
//! do so, not only the leader, so that the next one is warm.
//!
//! - **A region** holds when the certificate that expires first of those that it was shown lately has fewer
//!   days left, of mesh time, than the condition says; exactly as many are not fewer. It is silent when its
//!   newest window is too old, when it was never shown one, or when its probe is not believed.
//! - What all regions say together, and when it opens, are the rules of [`super`], with a streak in place
//!   of moments.
//! - **It ends** by those rules as well, and, so that a region that nobody looks from any more keeps nothing
//!   open for ever, when some region is clear and too few would hold even if all did that are in doubt. In
//!   doubt is a region that is silent and held when it was heard last, or, where nobody remembers that, when
//!   the incident opened. What a silent region would say is waited for as long as a window may take. Of an
//!   alert that was resolved by hand no region is in doubt.

use std::collections::BTreeSet;
use std::time::Duration;

use parallax_common::alert::{Alert, Measure, When};
use parallax_common::check::Check;
use parallax_common::expiry::Expiry;
use parallax_common::limits::{ALERT_CLEAR_MIN, ALERT_LOOK_EVERY};
use parallax_common::time::MeshTime;
use parallax_proto::convert::time::mesh_timestamp;
use parallax_proto::v1;

use super::{Says, Standing, Turn, floor, needed};

pub mod shown;

use self::shown::{Sights, fresh_for};

const SECOND_NS: i64 = 1_000_000_000;
const DAY_S: i64 = 86_400;

/// How an alert stands, as far as its end depends on it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Case<'c> {
    /// In the replicated state.
    pub standing: Standing,
    /// What was seen when its incident opened, while that is open.
    pub opened: Option<&'c v1::AlertRecord>,
}

/// Since when an alert has said at every look what it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Streak {
    /// Another condition begins anew.
    when: When,
    says: Says,
    since: MeshTime,
}

/// One alert on certificates that is looked at.
#[derive(Debug)]
pub struct Watch<'c> {
    check: &'c Check,
    when: When,
    below_s: i64,
    case: Case<'c>,
    sights: &'c Sights,
    at: MeshTime,
}

impl<'c> Watch<'c> {
    /// Of one alert of a check; `None`: it is not about certificates.
    pub fn new(
        check: &'c Check,
        alert: &Alert,
        case: Case<'c>,
        sights: &'c Sights,
        now: MeshTime,
    ) -> Option<Self> {
        let Measure::CertDays { below } = alert.when.measure else { return None };
        let (below_s, at) = (i64::from(below) * DAY_S, floor(now, ALERT_LOOK_EVERY));
        Some(Self { check, when: alert.when.whole(check.interval), below_s, case, sights, at })
    }

    /// Looks once more: what was said before goes on or ends.
    pub fn look(&self, before: Option<Streak>, unheeded: &BTreeSet<String>) -> Streak {
        let says = match self.votes_say(unheeded) {
            Says::Nothing if self.is_likely_clear(unheeded) => Says::Clear,
            says => says,
        };
        match before {
            Some(before) if before.when == self.when && before.says == says => before,
            _ => Streak { when: self.when, says, since: self.at },
        }
    }

    /// What becomes of the alert.
    pub fn turn(&self, streak: &Streak, unheeded: &BTreeSet<String>) -> Option<Turn> {
        let lasts = |says: Says, length: Duration| {
            streak.says == says && self.at.since(streak.since) >= length
        };
        // Whoever is silent may yet be heard: after a start nobody was.
        let is_sure = self.votes_say(unheeded) == Says::Clear;
        let waits = if is_sure { Duration::ZERO } else { fresh_for(self.check) };
        let clears_after = self.when.hold.max(ALERT_CLEAR_MIN).max(waits);
        match self.case.standing {
            Standing::Quiet if lasts(Says::Holds, self.when.hold) => {
                Some(Turn::Open(self.record(unheeded)))
            }
            Standing::Open if lasts(Says::Clear, clears_after) => {
                Some(Turn::Resolve(self.record(unheeded)))
            }
            Standing::Latched if lasts(Says::Clear, waits) => Some(Turn::Unlatch),
            _ => None,
        }
    }

    /// Where a `down` incident must have ended for an opening not to be about it: a certificate that
    /// is shown now is not about what was.
    pub fn looks_back_to(&self) -> MeshTime {
        self.at
    }

    /// What all regions say together, where a silent one may say anything.
    fn votes_say(&self, unheeded: &BTreeSet<String>) -> Says {
        let votes = self.check.regions.iter().map(|region| self.vote(region, unheeded));
        Says::of(votes, needed(self.check, &self.when))
    }

    /// Whether somebody is clear, and too few would hold even if all did that are in doubt.
    fn is_likely_clear(&self, unheeded: &BTreeSet<String>) -> bool {
        let (mut may_hold, mut clear) = (0, 0);
        for region in &self.check.regions {
            match self.vote(region, unheeded) {
                v1::AlertVote::Holds => may_hold += 1,
                v1::AlertVote::Clear => clear += 1,
                _ if self.is_in_doubt(region, unheeded) => may_hold += 1,
                _ => {}
            }
        }
        clear > 0 && may_hold < needed(self.check, &self.when)
    }

    /// Of a silent region: whether it held when it was heard last, or at the opening where nobody
    /// remembers that.
    fn is_in_doubt(&self, region: &str, unheeded: &BTreeSet<String>) -> bool {
        if self.case.standing == Standing::Latched {
            return false;
        }
        let last = self.sights.last(self.check, region).filter(|_| !unheeded.contains(region));
        let opened = self.case.opened.map_or(&[][..], |record| &record.regions);
        match last {
            Some(expiry) => self.left_s(expiry) < self.below_s,
            None => {
                opened.iter().any(|of| of.region == region && of.vote() == v1::AlertVote::Holds)
            }
        }
    }

    fn vote(&self, region: &str, unheeded: &BTreeSet<String>) -> v1::AlertVote {
        match self.fresh(region).filter(|_| !unheeded.contains(region)) {
            None => v1::AlertVote::Silent,
            Some(expiry) if self.left_s(expiry) < self.below_s => v1::AlertVote::Holds,
            Some(_) => v1::AlertVote::Clear,
        }
    }

    fn fresh(&self, region: &str) -> Option<Expiry> {
        self.sights.fresh(self.check, region, self.at)
    }

    /// Seconds until what was shown expires. Both sides are far from where they would wrap.
    fn left_s(&self, expiry: Expiry) -> i64 {
        expiry.not_after_s - self.at.as_ns().div_euclid(SECOND_NS)
    }

    fn record(&self, unheeded: &BTreeSet<String>) -> v1::AlertRecord {
        let region = |name: &String| v1::AlertRegion {
            region: name.clone(),
            vote: self.vote(name, unheeded).into(),
            not_after: self.fresh(name).map(not_after),
            ..v1::AlertRegion::default()
        };
        let believed = self.check.regions.iter().filter(|name| !unheeded.contains(*name));
        let first = believed.filter_map(|name| self.fresh(name)).min();
        v1::AlertRecord {
            until: Some(mesh_timestamp(self.at)),
            when: self.when.to_string(),
            regions: self.check.regions.iter().map(region).collect(),
            needed: needed(self.check, &self.when),
            target: first.map(|expiry| target(self.check, expiry)).unwrap_or_default(),
            burn: None,
        }
    }
}

/// When what was shown expires.
pub fn not_after(expiry: Expiry) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: expiry.not_after_s, nanos: 0 }
}

/// What the step looks at that was shown it, by the check as it is now; with the step where there are
/// several. A redirect of it may have led elsewhere.
pub fn target(check: &Check, expiry: Expiry) -> String {
    let Some(step) = check.run.steps.get(expiry.step as usize) else { return String::new() };
    let host = step.kind.host();
    match (check.run.steps.len(), step.name.as_str()) {
        (1, _) => host.to_owned(),
        (_, "") => format!("{host} (step {})", expiry.step + 1),
        (_, name) => format!("{host} (step {name})"),
    }
}

#[cfg(test)]
mod tests;
