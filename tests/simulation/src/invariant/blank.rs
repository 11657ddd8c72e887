//! What a probe tells a member, that member knows: also one that was behind when it was told. Passes are
//! not repeated, so a vote that is dropped is missing until something fails, and missed by whoever leads
//! next.

use std::collections::BTreeMap;

use parallax_common::name::Uid;

use super::Invariant;
use crate::seen::Seen;

/// A member that has missed something asks at most every other second, and a large snapshot takes its time.
const BLANK_FOR_US: u64 = 6_000_000;

/// Check with its version, rank and line.
type Place = (Uid, u64, usize, u64);

/// By member and place: since when the region tells it, and it has no vote of it.
#[derive(Default)]
pub struct Blank {
    blank: BTreeMap<u64, BTreeMap<Place, u64>>,
}

impl Invariant for Blank {
    fn name(&self) -> &'static str {
        "what a probe tells a member, it knows"
    }

    fn see(&mut self, seen: &Seen) -> Result<(), String> {
        match seen {
            Seen::Watched { now_us, node, checks, .. } => {
                let before = self.blank.remove(node).unwrap_or_default();
                let mut blank = BTreeMap::new();
                // While an incident is open one pass is no state.
                for check in checks.iter().filter(|check| !check.is_open) {
                    for (rank, line) in check.blank.iter().copied() {
                        let place = (check.check, check.etag, rank, line);
                        let since = before.get(&place).copied().unwrap_or(*now_us);
                        if since + BLANK_FOR_US < *now_us {
                            return Err(format!(
                                "member {node} has had no vote of region {rank} on {} for {} s, which tells it",
                                check.check,
                                (*now_us - since) / 1_000_000
                            ));
                        }
                        blank.insert(place, since);
                    }
                }
                self.blank.insert(*node, blank);
            }
            Seen::Started { node, .. } => {
                self.blank.remove(node);
            }
            _ => {}
        }
        Ok(())
    }
}
