//! The fleet's rows: which probes are known, and which of them count.
//!
//! When a probe is live or lost is decided by the leader in `core/fleet.rs`; what apply makes of a
//! decision is in `core/fleet/rows.rs`; here it is written down and moves the plan.

use std::sync::Arc;

use parallax_common::rule;
use parallax_proto::{store, v1};

use super::rows::{self, Rows};
use super::{Answer, Changed, Stamp, State, accepted, refused};
use crate::core::fleet::rows::{apply, is_given_work, moves_plan};

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

    /// Takes a probe out of the plan, or puts it back. One that is so already stays as it is, with whoever
    /// drained it first.
    pub(super) fn drain_probe(
        &mut self,
        stamp: &Stamp,
        command: store::DrainProbe,
        rows: &mut Rows,
        changes: &mut Vec<Changed>,
    ) -> Answer {
        let key = (command.region, command.probe);
        let Some(before) = self.probes.get(&key).cloned() else {
            let message = format!("there is no probe {} in region {}", key.1, key.0);
            return refused(rule::NOT_FOUND, message, [key.1]);
        };
        // One that is given no work anyway takes nothing away.
        if !command.undo && !command.force && is_given_work(&before) {
            let (alone, checks) = (self.is_alone(&key), self.looking_from(&key.0));
            if alone && checks > 0 {
                let (noun, look) =
                    if checks == 1 { ("check", "looks") } else { ("checks", "look") };
                let message = format!(
                    "{} is the only live probe of {}, from where {checks} {noun} {look}: nobody would look \
                     from there (--force drains it all the same)",
                    key.1, key.0
                );
                return refused(rule::LAST_PROBE, message, [key.1]);
            }
        }
        if command.undo != before.drain.is_some() {
            return accepted(stamp, []);
        }
        let mut row = before.as_ref().clone();
        row.drain = (!command.undo).then(|| v1::Drain {
            since: Some(stamp.timestamp()),
            by: stamp.actor.name.clone(),
            note: command.note,
        });
        if moves_plan(Some(&before), Some(&row)) {
            self.move_generation(stamp);
        }
        rows.put(rows::probe_key(&key.0, &key.1), &row);
        self.probes.insert(key.clone(), Arc::new(row));
        changes.push(Changed::Probe(key.0, key.1));
        accepted(stamp, [])
    }

    /// Whether no other probe of its region is given work and may vote.
    fn is_alone(&self, (region, probe): &(String, String)) -> bool {
        let mut others =
            self.probes.values().filter(|row| row.region == *region && row.probe != *probe);
        !others.any(|row| is_given_work(row) && row.exclusion.is_none())
    }

    /// Enabled checks that look from a region, whatever their namespace: a probe looks for all of them.
    fn looking_from(&self, region: &str) -> usize {
        let enabled = self.checks.values().filter(|entry| entry.check.enabled);
        enabled.filter(|entry| entry.check.looks_from().any(|from| from == region)).count()
    }
}
