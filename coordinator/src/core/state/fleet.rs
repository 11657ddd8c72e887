//! The fleet's rows: which probes are known, and which of them count.
//!
//! When a probe is live or lost is decided by the leader in `core/fleet.rs`; what apply makes of a
//! decision is in `core/fleet/rows.rs`; here it is written down and moves the plan.

use std::sync::Arc;

use parallax_proto::store;

use super::rows::{self, Rows};
use super::{Answer, Changed, Stamp, State, accepted};
use crate::core::fleet::rows::{apply, moves_plan};

impl State {
    pub(super) fn change_fleet(
        &mut self,
        stamp: &Stamp,
        command: store::ChangeFleet,
        rows: &mut Rows,
        changes: &mut Vec<Changed>,
    ) -> Answer {
        let mut moved = false;
        for change in command.changes {
            let key = (change.region.clone(), change.probe.clone());
            let before = self.probes.get(&key).cloned();
            let after = apply(before.as_deref().cloned(), &change, stamp.utc);
            moved |= moves_plan(before.as_deref(), after.as_ref());
            match after {
                Some(row) => {
                    rows.put(rows::probe_key(&key.0, &key.1), &row);
                    self.probes.insert(key.clone(), Arc::new(row));
                }
                None => {
                    self.probes.remove(&key);
                    rows.remove(rows::probe_key(&key.0, &key.1));
                }
            }
            // Also when nothing changed: whoever proposed it decides again.
            changes.push(Changed::Probe(key.0, key.1));
        }
        if moved {
            self.move_generation(stamp);
        }
        accepted(stamp, [])
    }
}
