//! A decision holds for the check as it stood and for the verdict that came before it; any other one
//! changes nothing.

use std::collections::BTreeMap;

use super::Invariant;
use crate::seen::{Decided, Seen};

/// Decisions that were applied, until the state that they left is seen.
#[derive(Default)]
pub struct Versions {
    newest: u64,
    waiting: BTreeMap<u64, Vec<Decided>>,
}

impl Invariant for Versions {
    fn name(&self) -> &'static str {
        "a decision is for what it was made about"
    }

    fn see(&mut self, seen: &Seen) -> Result<(), String> {
        match seen {
            Seen::Decided { index, changes, .. } if *index > self.newest => {
                self.newest = *index;
                for change in changes {
                    if change.expected + 1 != change.sequence {
                        return Err(format!(
                            "entry {index} was decided on verdict {} of {} and becomes {}",
                            change.expected, change.check, change.sequence
                        ));
                    }
                }
                self.waiting.insert(*index, changes.clone());
            }
            Seen::Published { index, state, .. } => {
                while let Some(entry) = self.waiting.first_entry().filter(|e| *e.key() <= *index) {
                    let (at, changes) = entry.remove_entry();
                    for change in changes {
                        let Some(now) = state.checks.get(&change.check) else { continue };
                        // One that was edited since is another one now.
                        let (etag, digest) = (now.check.etag, now.check.run_digest.0);
                        if etag <= at && (etag, digest) != (change.etag, change.digest) {
                            return Err(format!(
                                "entry {at} decides {} as of {}, which was edited at {etag}",
                                change.check, change.etag
                            ));
                        }
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}
