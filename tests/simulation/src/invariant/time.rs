//! The time of the state never goes back, whatever the clocks of its proposers do.

use std::collections::BTreeMap;

use parallax_common::time::UtcTime;

use super::Invariant;
use crate::seen::Seen;

/// By member: the newest. After an entry as its rows say it, and in every state that is published.
#[derive(Default)]
pub struct Time {
    newest: BTreeMap<u64, UtcTime>,
    entries: bool,
    clocks: bool,
}

impl Time {
    fn is(&mut self, node: u64, index: u64, now: UtcTime) -> Result<(), String> {
        match self.newest.insert(node, now) {
            Some(before) if before > now => {
                Err(format!("at entry {index} it is {now:?} after {before:?}"))
            }
            _ => Ok(()),
        }
    }
}

impl Invariant for Time {
    fn name(&self) -> &'static str {
        "time never goes back"
    }

    fn see(&mut self, seen: &Seen) -> Result<(), String> {
        match seen {
            Seen::Loaded { node, state, .. } => {
                self.newest.insert(*node, state.last_utc());
                Ok(())
            }
            Seen::Applied { node, index, utc, .. } => {
                self.entries = true;
                self.clocks |= utc.is_some();
                utc.map_or(Ok(()), |now| self.is(*node, *index, now))
            }
            Seen::Published { node, index, state, .. } => self.is(*node, *index, state.last_utc()),
            _ => Ok(()),
        }
    }

    fn end(&mut self) -> Result<(), String> {
        match self.entries && !self.clocks {
            true => Err("no entry says what time it is".to_owned()),
            false => Ok(()),
        }
    }
}
