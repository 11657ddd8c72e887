//! Alerts on certificates: what regions were shown last, and whether it expires too soon.
//!
//! History has none of it. Each member remembers of every check and region the newest window in which a
//! certificate was shown ([`Shown`]), and of every alert since when it has said what it says
//! ([`Streak`]). Both are gone with the process: the next windows bring the former, and what must hold
//! for a while is counted anew. All members do so, not only the leader, so that the next one is warm.
//!
//! - **A region** holds when the certificate that expires first of those in its newest window has fewer days
//!   left, of mesh time, than the condition says; exactly as many are not fewer. It is silent when that
//!   window is too old, when it was never shown one, or when its probe is not believed.
//! - What all regions say together, and what follows for the alert, are the rules of [`super`], with a
//!   streak in place of moments.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use parallax_common::alert::{Alert, Measure, When};
use parallax_common::check::Check;
use parallax_common::expiry::Expiry;
use parallax_common::limits::{
    ALERT_CLEAR_MIN, ALERT_LOOK_EVERY, ALERT_SETTLE, CERT_CHECKS_MAX, CERT_FRESH_MIN,
};
use parallax_common::name::Uid;
use parallax_common::time::MeshTime;
use parallax_proto::convert::time::mesh_timestamp;
use parallax_proto::v1;

use super::{Says, Standing, Turn, floor, needed};

const SECOND_NS: i64 = 1_000_000_000;
const DAY_S: i64 = 86_400;

/// What a window said of certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sight {
    /// The one that expires first.
    pub expiry: Expiry,
    /// The end of the window.
    pub at: MeshTime,
}

/// What the regions of one check were shown last.
pub type Sights = BTreeMap<Arc<str>, Sight>;

/// What the regions of all checks were shown last.
#[derive(Debug, Default)]
pub struct Shown(BTreeMap<Uid, Sights>);

impl Shown {
    /// Takes what a window said. An older one than is known changes nothing; of two that end together, as
    /// those of two probes do, what expires first counts.
    pub fn take(&mut self, check: Uid, region: &Arc<str>, sight: Sight) {
        if self.0.len() >= CERT_CHECKS_MAX && !self.0.contains_key(&check) {
            return;
        }
        let known = self.0.entry(check).or_default().entry(Arc::clone(region)).or_insert(sight);
        let counts = (sight.at, std::cmp::Reverse(sight.expiry));
        if counts > (known.at, std::cmp::Reverse(known.expiry)) {
            *known = sight;
        }
    }

    /// Of one check.
    pub fn of(&self, check: &Uid) -> Sights {
        self.0.get(check).cloned().unwrap_or_default()
    }

    /// Forgets what regions were shown that check no longer looks from, and what nobody looks at any
    /// more.
    pub fn keep(&mut self, looks: impl Fn(&Uid, &str) -> bool) {
        self.0.retain(|check, sights| {
            sights.retain(|region, _| looks(check, region));
            !sights.is_empty()
        });
    }
}

/// How long what a region was shown counts.
fn fresh_for(check: &Check) -> Duration {
    let windows = check.interval.saturating_mul(2).max(CERT_FRESH_MIN);
    windows + check.run.longest(check.interval) + ALERT_SETTLE
}

/// What a region was shown, unless that is too long ago.
pub fn fresh<'s>(
    check: &Check,
    sights: &'s Sights,
    region: &str,
    now: MeshTime,
) -> Option<&'s Sight> {
    sights.get(region).filter(|sight| now.since(sight.at) <= fresh_for(check))
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
    sights: &'c Sights,
    at: MeshTime,
}

impl<'c> Watch<'c> {
    /// Of one alert of a check; `None`: it is not about certificates.
    pub fn new(check: &'c Check, alert: &Alert, sights: &'c Sights, now: MeshTime) -> Option<Self> {
        let Measure::CertDays { below } = alert.when.measure else { return None };
        let (below_s, at) = (i64::from(below) * DAY_S, floor(now, ALERT_LOOK_EVERY));
        Some(Self { check, when: alert.when.whole(check.interval), below_s, sights, at })
    }

    /// Looks once more: what was said before goes on or ends.
    pub fn look(&self, before: Option<Streak>, unheeded: &BTreeSet<String>) -> Streak {
        let votes = self.check.regions.iter().map(|region| self.vote(region, unheeded));
        let says = Says::of(votes, needed(self.check, &self.when));
        match before {
            Some(before) if before.when == self.when && before.says == says => before,
            _ => Streak { when: self.when, says, since: self.at },
        }
    }

    /// What becomes of the alert.
    pub fn turn(
        &self,
        standing: Standing,
        streak: &Streak,
        unheeded: &BTreeSet<String>,
    ) -> Option<Turn> {
        let lasts = |says: Says, length: Duration| {
            streak.says == says && self.at.since(streak.since) >= length
        };
        match standing {
            Standing::Quiet if lasts(Says::Holds, self.when.hold) => {
                Some(Turn::Open(self.record(unheeded)))
            }
            Standing::Open if lasts(Says::Clear, self.when.hold.max(ALERT_CLEAR_MIN)) => {
                Some(Turn::Resolve(self.record(unheeded)))
            }
            Standing::Latched if lasts(Says::Clear, Duration::ZERO) => Some(Turn::Unlatch),
            _ => None,
        }
    }

    /// Where a `down` incident must have ended for an opening not to be about it: a certificate that
    /// is shown now is not about what was.
    pub fn looks_back_to(&self) -> MeshTime {
        self.at
    }

    fn vote(&self, region: &str, unheeded: &BTreeSet<String>) -> v1::AlertVote {
        let sight = fresh(self.check, self.sights, region, self.at);
        match sight.filter(|_| !unheeded.contains(region)) {
            None => v1::AlertVote::Silent,
            Some(sight) if self.left_s(sight) < self.below_s => v1::AlertVote::Holds,
            Some(_) => v1::AlertVote::Clear,
        }
    }

    /// Seconds until what was shown expires. Both sides are far from where they would wrap.
    fn left_s(&self, sight: &Sight) -> i64 {
        sight.expiry.not_after_s - self.at.as_ns().div_euclid(SECOND_NS)
    }

    fn record(&self, unheeded: &BTreeSet<String>) -> v1::AlertRecord {
        let sight = |region: &String| fresh(self.check, self.sights, region, self.at);
        let region = |name: &String| v1::AlertRegion {
            region: name.clone(),
            vote: self.vote(name, unheeded).into(),
            not_after: sight(name).map(not_after),
            ..v1::AlertRegion::default()
        };
        let first = self.check.regions.iter().filter_map(sight).map(|sight| sight.expiry).min();
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
pub fn not_after(sight: &Sight) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: sight.expiry.not_after_s, nanos: 0 }
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
