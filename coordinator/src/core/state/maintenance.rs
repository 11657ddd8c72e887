//! Maintenance windows, and the silences that they become. Which times those are is found by the
//! leader (`core/quiet/windows.rs`); here they are written down.

use std::sync::Arc;

use parallax_common::limits::{
    MAINTENANCE_DUE_MAX, MAINTENANCE_HANDOVER, MAINTENANCE_MAX, MAINTENANCE_PER_NAMESPACE_MAX,
    SILENCES_MAX, SILENCES_PER_NAMESPACE_MAX,
};
use parallax_common::rule;
use parallax_common::time::UtcTime;
use parallax_proto::{store, v1};

use super::rows::{self, Rows};
use super::{Answer, Changed, Name, Refusal, Stamp, State, accepted, refusal};
use crate::core::stamp;

impl State {
    /// Stores a window. What an earlier version of it made holds on for a moment, in which the leader
    /// has those of this one written down: an edit wakes nobody.
    pub(super) fn put_maintenance(
        &mut self,
        stamp: &Stamp,
        name: Name,
        window: v1::Maintenance,
        rows: &mut Rows,
        changes: &mut Vec<Changed>,
    ) {
        let uid = window.meta.as_ref().map(|meta| meta.uid.clone()).unwrap_or_default();
        self.end_window(stamp, &uid, stamp.utc + MAINTENANCE_HANDOVER, rows, changes);
        // Nothing of this version is written down: 0.
        let row = store::MaintenanceRow { window: Some(window), scheduled_utc_ns: 0 };
        rows.put(rows::maintenance_key(&name.0, &name.1), &row);
        self.maintenance.insert(name, Arc::new(row));
    }

    /// Deletes a window and ends what it made.
    pub(super) fn delete_maintenance(
        &mut self,
        stamp: &Stamp,
        name: &Name,
        rows: &mut Rows,
        changes: &mut Vec<Changed>,
    ) {
        let Some(row) = self.maintenance.remove(name) else { return };
        rows.remove(rows::maintenance_key(&name.0, &name.1));
        let meta = row.window.as_ref().and_then(|window| window.meta.as_ref());
        let uid = meta.map(|meta| meta.uid.clone()).unwrap_or_default();
        self.end_window(stamp, &uid, stamp.utc, rows, changes);
    }

    /// Writes times of windows down as silences. What is about another version of a window, or was
    /// written down before, changes nothing.
    pub(super) fn schedule_maintenance(
        &mut self,
        stamp: &Stamp,
        command: store::ScheduleMaintenance,
        rows: &mut Rows,
        changes: &mut Vec<Changed>,
    ) -> Answer {
        let mut made = Vec::new();
        for due in command.due.into_iter().take(MAINTENANCE_DUE_MAX) {
            let name = (due.namespace.clone(), due.name.clone());
            let Some(row) = self.maintenance.get(&name).cloned() else { continue };
            let Some(window) = &row.window else { continue };
            let etag = window.meta.as_ref().map_or(0, |meta| meta.etag);
            if etag != due.etag || due.starts_utc_ns <= row.scheduled_utc_ns {
                continue;
            }
            let ends = UtcTime::from_ns(due.ends_utc_ns);
            if stamp.utc < ends && !self.silences.contains_key(&due.silence_uid) {
                self.forget_silences(&name.0, stamp.utc, rows);
                let theirs = self.silences_of(&name.0).count();
                if theirs >= SILENCES_PER_NAMESPACE_MAX || self.silences.len() >= SILENCES_MAX {
                    // Not written down: it is asked for again when there may be room.
                    continue;
                }
                let silence = silence_of(stamp, window, &due);
                made.push(silence.uid.clone());
                self.put_silence_row(stamp, silence, rows, changes);
            }
            let row = store::MaintenanceRow {
                scheduled_utc_ns: due.starts_utc_ns,
                ..row.as_ref().clone()
            };
            rows.put(rows::maintenance_key(&name.0, &name.1), &row);
            self.maintenance.insert(name, Arc::new(row));
        }
        accepted(stamp, made)
    }

    /// Ends the silences that a window made: those that hold at `until` at the latest, and now those
    /// that have not begun. What they held is looked at in the same entry.
    fn end_window(
        &mut self,
        stamp: &Stamp,
        uid: &str,
        until: UtcTime,
        rows: &mut Rows,
        changes: &mut Vec<Changed>,
    ) {
        if uid.is_empty() {
            return;
        }
        let theirs: Vec<v1::Silence> = self
            .silences
            .values()
            .filter(|silence| silence.wire.window_uid == uid && stamp.utc < silence.ends())
            .map(|silence| silence.wire.clone())
            .collect();
        for mut silence in theirs {
            let (starts, ends) =
                (stamp::utc(silence.starts_at.as_ref()), stamp::utc(silence.ends_at.as_ref()));
            let ends = if stamp.utc < starts { stamp.utc } else { ends.min(until) };
            silence.starts_at = Some(stamp::timestamp(starts.min(stamp.utc)));
            silence.ends_at = Some(stamp::timestamp(ends));
            if ends <= stamp.utc {
                silence.expired_by.clone_from(&stamp.actor.name);
            }
            let uid = silence.uid.clone();
            self.put_silence_row(stamp, silence, rows, changes);
            for held in self.waiting_for(&uid) {
                self.review(stamp, &held, 0, rows, changes);
            }
            let namespace = self.silences.get(&uid).map(|it| it.wire.namespace.clone());
            self.end_quiet_of_routes(&namespace.unwrap_or_default(), rows, changes);
        }
    }

    /// Whether there is room for the windows that there are.
    pub(super) fn verify_maintenance(&self, namespace: &str) -> Result<(), Refusal> {
        let theirs = self.maintenance.keys().filter(|(of, _)| of == namespace).count();
        if theirs <= MAINTENANCE_PER_NAMESPACE_MAX && self.maintenance.len() <= MAINTENANCE_MAX {
            return Ok(());
        }
        let message = format!(
            "it would be the maintenance window number {theirs} of namespace {namespace} and {} of \
             all; at most {MAINTENANCE_PER_NAMESPACE_MAX} and {MAINTENANCE_MAX} are kept",
            self.maintenance.len()
        );
        Err(refusal(rule::MAINTENANCE_TOO_MANY, message, []))
    }
}

fn silence_of(stamp: &Stamp, window: &v1::Maintenance, due: &store::MaintenanceDue) -> v1::Silence {
    let meta = window.meta.clone().unwrap_or_default();
    let at = |ns| Some(stamp::timestamp(UtcTime::from_ns(ns)));
    v1::Silence {
        uid: due.silence_uid.clone(),
        namespace: due.namespace.clone(),
        matchers: window.matchers.clone(),
        comment: window.comment.clone(),
        created_by: format!("maintenance window {}", meta.name),
        created_at: Some(stamp.timestamp()),
        starts_at: at(due.starts_utc_ns),
        ends_at: at(due.ends_utc_ns),
        created_revision: stamp.index,
        window: meta.name,
        window_uid: meta.uid,
        ..v1::Silence::default()
    }
}
