//! No member says that nothing is known of a check while enough regions have been telling it: least
//! of all one that has just taken office.

use std::collections::BTreeMap;

use parallax_common::name::Uid;
use parallax_proto::v1::Verdict;

use super::Invariant;
use super::quorum::floor;
use crate::seen::Seen;

/// A vote goes stale after 6 s at most, and what was decided then may be committed 5 s later.
const TOLD_FOR_US: u64 = 12_000_000;

/// Check with its version, rank and line.
type Place = (Uid, u64, usize, u64);

/// By member and place: since when the region tells it without a break.
#[derive(Default)]
pub struct Unknown {
    now_us: u64,
    newest: u64,
    telling: BTreeMap<u64, BTreeMap<Place, u64>>,
    regions: BTreeMap<Uid, usize>,
}

impl Invariant for Unknown {
    fn name(&self) -> &'static str {
        "what is told is known"
    }

    fn at(&mut self, now_us: u64) {
        self.now_us = now_us;
    }

    fn see(&mut self, seen: &Seen) -> Result<(), String> {
        match seen {
            Seen::Watched { now_us, node, checks, .. } => {
                let before = self.telling.remove(node).unwrap_or_default();
                let mut telling = BTreeMap::new();
                for check in checks {
                    self.regions.insert(check.check, check.regions);
                    for (rank, line) in check.telling.iter().copied() {
                        let key = (check.check, check.etag, rank, line);
                        let since = before.get(&key).copied().unwrap_or(*now_us);
                        telling.insert(key, since);
                    }
                }
                self.telling.insert(*node, telling);
            }
            Seen::Started { node, .. } => {
                self.telling.remove(node);
            }
            Seen::Decided { index, by, changes } if *index > self.newest => {
                self.newest = *index;
                let Some(telling) = self.telling.get(by) else { return Ok(()) };
                for change in changes.iter().filter(|it| it.verdict == Verdict::Unknown) {
                    let long = telling.iter().filter(|((check, etag, ..), since)| {
                        (*check, *etag) == (change.check, change.etag)
                            && **since + TOLD_FOR_US < self.now_us
                    });
                    let long = long.count();
                    let Some(regions) = self.regions.get(&change.check).copied() else { continue };
                    if long >= floor(regions) {
                        return Err(format!(
                            "entry {index} of member {by} says that nothing is known of {}, which \
                             {long} of {regions} regions have been telling it for long",
                            change.check
                        ));
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}
