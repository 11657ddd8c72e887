//! What regions were shown of certificates, as a member remembers it.
//!
//! One address may lead to several servers, of which some were forgotten at a renewal: which of them a
//! window saw is chance. So of each region counts what expired first in a span of time and in the one
//! before it ([`span`]), both by the windows' own time, whatever the order in which they came. What another
//! version of the check was shown is not mixed with it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parallax_common::check::Check;
use parallax_common::expiry::Expiry;
use parallax_common::limits::{ALERT_SETTLE, CERT_CHECKS_MAX, CERT_FRESH_MIN, CERT_SPAN_MIN};
use parallax_common::name::{RunDigest, Uid};
use parallax_common::time::MeshTime;

use crate::core::alert::floor;

/// What a window said of certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sight {
    /// What was run.
    pub digest: RunDigest,
    /// The one that expires first.
    pub expiry: Expiry,
    /// The end of the window.
    pub at: MeshTime,
    /// Of the check, as the probe was told to run it.
    pub span: Duration,
}

/// How long what was seen counts at least: the check is looked at twice in it.
pub fn span(interval: Duration) -> Duration {
    interval.saturating_mul(2).max(CERT_SPAN_MIN)
}

/// How long what a region was shown counts when nothing more is heard of it.
pub fn fresh_for(check: &Check) -> Duration {
    let windows = check.interval.saturating_mul(2).max(CERT_FRESH_MIN);
    windows + check.run.longest(check.interval) + ALERT_SETTLE
}

/// What one region was shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    digest: RunDigest,
    /// The end of the newest window.
    newest: MeshTime,
    /// When the span began in which that window ended.
    began: MeshTime,
    /// What expires first in it.
    first: Expiry,
    /// And in the span before.
    before: Option<Expiry>,
}

impl Seen {
    fn new(sight: &Sight) -> Self {
        let began = floor(sight.at, sight.span);
        let (digest, newest, first) = (sight.digest, sight.at, sight.expiry);
        Self { digest, newest, began, first, before: None }
    }

    /// Of two windows of different versions that end together the one that comes last counts: a probe
    /// seals them in their order.
    fn take(&mut self, sight: &Sight) {
        if sight.digest != self.digest {
            if sight.at >= self.newest {
                *self = Self::new(sight);
            }
            return;
        }
        let span = sight.span;
        if sight.at >= self.began + span {
            let follows = sight.at < self.began + span.saturating_mul(2);
            let before = follows.then_some(self.first);
            *self = Self { before, ..Self::new(sight) };
        } else if sight.at >= self.began {
            self.first = self.first.min(sight.expiry);
            self.newest = self.newest.max(sight.at);
        } else if sight.at >= self.began - span {
            self.before = Expiry::first(self.before, Some(sight.expiry));
        }
    }

    fn expiry(&self) -> Expiry {
        self.before.map_or(self.first, |before| before.min(self.first))
    }
}

/// What the regions of one check were shown. They are few: looked through.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sights(Vec<(Arc<str>, Seen)>);

impl Sights {
    /// Takes what a window said.
    pub fn take(&mut self, region: &Arc<str>, sight: &Sight) {
        match self.0.iter_mut().find(|(name, _)| name == region) {
            Some((_, seen)) => seen.take(sight),
            None => {
                self.0.reserve_exact(1);
                self.0.push((Arc::clone(region), Seen::new(sight)));
            }
        }
    }

    /// What a region was shown last by this version of the check, however long ago.
    pub fn last(&self, check: &Check, region: &str) -> Option<Expiry> {
        self.seen(check, region).map(Seen::expiry)
    }

    /// The same, unless it is too long ago.
    pub fn fresh(&self, check: &Check, region: &str, now: MeshTime) -> Option<Expiry> {
        let seen = self.seen(check, region);
        seen.filter(|seen| now.since(seen.newest) <= fresh_for(check)).map(Seen::expiry)
    }

    fn seen(&self, check: &Check, region: &str) -> Option<&Seen> {
        let (_, seen) = self.0.iter().find(|(name, _)| name.as_ref() == region)?;
        (seen.digest == check.run_digest).then_some(seen)
    }
}

/// What the regions of all checks were shown.
#[derive(Debug, Default)]
pub struct Shown(BTreeMap<Uid, Sights>);

impl Shown {
    /// Takes what a window said.
    pub fn take(&mut self, check: Uid, region: &Arc<str>, sight: &Sight) {
        if self.0.len() >= CERT_CHECKS_MAX && !self.0.contains_key(&check) {
            return;
        }
        self.0.entry(check).or_default().take(region, sight);
    }

    /// Of one check.
    pub fn of(&self, check: &Uid) -> Sights {
        self.0.get(check).cloned().unwrap_or_default()
    }

    /// Forgets what regions were shown that check no longer looks from, and what nobody looks at any
    /// more.
    pub fn keep(&mut self, looks: impl Fn(&Uid, &str) -> bool) {
        self.0.retain(|check, sights| {
            sights.0.retain(|(region, _)| looks(check, region));
            !sights.0.is_empty()
        });
    }
}

#[cfg(test)]
mod tests;
