//! The time of the state never goes back, whatever the clocks of its proposers do.

use std::collections::BTreeMap;

use parallax_common::time::UtcTime;

use super::Invariant;
use crate::seen::Seen;

/// By member: the newest.
#[derive(Default)]
pub struct Time(BTreeMap<u64, UtcTime>);

impl Invariant for Time {
    fn name(&self) -> &'static str {
        "time never goes back"
    }

    fn see(&mut self, seen: &Seen) -> Result<(), String> {
        match seen {
            Seen::Loaded { node, state, .. } => {
                self.0.insert(*node, state.last_utc());
            }
            Seen::Published { node, index, state, .. } => {
                let now = state.last_utc();
                if let Some(before) = self.0.insert(*node, now)
                    && before > now
                {
                    return Err(format!("at entry {index} it is {now:?} after {before:?}"));
                }
            }
            _ => {}
        }
        Ok(())
    }
}
