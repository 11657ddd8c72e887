//! An outage that a quorum of regions sees, each in touch with a leader that can commit, is an
//! incident within a few seconds.

use std::collections::BTreeMap;

use parallax_common::name::Uid;

use super::Invariant;
use super::quorum::down_at;
use crate::seen::{Seen, Watched};

/// A failover may delay it by 5 s, and it is looked at four times a second.
const WITHIN_US: u64 = 6_000_000;

/// Since when what is said here has been so without a break.
#[derive(Default)]
pub struct Prompt {
    /// The leader that could commit, with its term.
    leader: Option<(u64, u64, u64)>,
    /// By check, with its version: no incident is open.
    quiet: BTreeMap<Uid, (u64, u64)>,
    /// By check, rank and line to the leader: the region fails.
    failing: BTreeMap<(Uid, usize, u64), u64>,
}

impl Prompt {
    fn look(&mut self, now_us: u64, checks: &[Watched]) -> Result<(), String> {
        let mut failing = BTreeMap::new();
        let mut quiet = BTreeMap::new();
        let Some((leader, _, leads_since)) = self.leader else { return Ok(()) };
        for check in checks {
            if check.is_open || check.is_latched {
                continue;
            }
            let before = self.quiet.get(&check.check).filter(|(etag, _)| *etag == check.etag);
            let since = before.map_or(now_us, |(_, since)| *since);
            quiet.insert(check.check, (check.etag, since));
            let mut long = 0;
            for (rank, line) in check.failing.iter().copied() {
                let key = (check.check, rank, line);
                let since = self.failing.get(&key).copied().unwrap_or(now_us);
                failing.insert(key, since);
                long += usize::from(since + WITHIN_US < now_us);
            }
            let is_due = since.max(leads_since) + WITHIN_US < now_us;
            if is_due && long >= down_at(check.regions) {
                return Err(format!(
                    "check {} fails from {long} of {} regions for long, member {leader} leads and \
                     hears them, and no incident is open",
                    check.check, check.regions
                ));
            }
        }
        (self.failing, self.quiet) = (failing, quiet);
        Ok(())
    }
}

impl Invariant for Prompt {
    fn name(&self) -> &'static str {
        "an outage opens in time"
    }

    fn see(&mut self, seen: &Seen) -> Result<(), String> {
        let Seen::Watched { now_us, node, term, leads, commits, checks, .. } = seen else {
            return Ok(());
        };
        if !leads {
            return Ok(());
        }
        if !commits {
            *self = Self::default();
            return Ok(());
        }
        match self.leader {
            Some((leader, of, _)) if (leader, of) == (*node, *term) => {}
            // An older leader that does not know better yet.
            Some((_, of, _)) if of > *term => return Ok(()),
            _ => *self = Self { leader: Some((*node, *term, *now_us)), ..Self::default() },
        }
        self.look(*now_us, checks)
    }
}
