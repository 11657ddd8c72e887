//! Verdict intervals: the uptime of record.
//!
//! Every verdict that ends leaves a row: check, verdict, from when to when, by the stamped UTC of the
//! entries that began and ended it. Rows are cold: written once, read from the store, and removed by
//! [`store::TrimHistory`] when they are too old. The interval that stands is the verdict itself.
//!
//! Times without a leader are rows of the same table, under [`LEADERLESS`]: nothing is decided in them, and a
//! verdict that stood through one says nothing of it. A leader that has nothing to write marks the time
//! ([`store::MarkTime`]), so that they can be told from a time in which nothing happened.

use parallax_common::limits::LEADERLESS_RECORDED;
use parallax_common::name::Uid;
use parallax_common::time::{MeshTime, UtcTime, ns};
use parallax_proto::convert::time::utc;
use parallax_proto::{store, v1};

use super::rows::{self, Rows};
use super::{Answer, MARKS_LEVEL, Stamp, State, accepted};

/// Under which times without a leader are kept. No check has it: a UUIDv7 is never all zeros.
pub const LEADERLESS: Uid = Uid::from_bytes([0; 16]);

impl State {
    /// An entry is here, so somebody led when it was made: when the one before it is long ago, nobody did
    /// between. By mesh time, which no clock that is set moves; said in UTC, as verdicts are.
    pub(super) fn attend(&mut self, index: u64, rows: &mut Rows) {
        let cluster = &mut self.cluster;
        // Below the level nobody marks the time. Nobody decides while the members dispute: that time is told
        // of when it is over.
        if cluster.level < MARKS_LEVEL || cluster.disputed_index != 0 {
            return;
        }
        let (from, to) = (cluster.attended_utc_ns, cluster.last_utc_ns);
        let nobody = cluster.last_mesh_ns.saturating_sub(cluster.attended_mesh_ns);
        if from != 0 && from < to && nobody > ns(LEADERLESS_RECORDED) {
            let row = store::IntervalRow {
                check_uid: LEADERLESS.to_string(),
                verdict: v1::Verdict::Unspecified.into(),
                from_utc_ns: from,
                to_utc_ns: to,
            };
            rows.put(rows::interval_key(&LEADERLESS, index), &row);
        }
        cluster.attended_utc_ns = to;
        cluster.attended_mesh_ns = cluster.last_mesh_ns;
    }

    /// When somebody led for the last time, as far as this member has applied: UTC and mesh time. `None`:
    /// the cluster is below [`MARKS_LEVEL`].
    pub fn attended(&self) -> Option<(UtcTime, MeshTime)> {
        let (utc, mesh) = (self.cluster.attended_utc_ns, self.cluster.attended_mesh_ns);
        (utc != 0).then(|| (UtcTime::from_ns(utc), MeshTime::from_ns(mesh)))
    }

    /// Writes the row of a verdict that ends with this entry. One that began with the same moment
    /// lasted no time and leaves none.
    pub(super) fn close_interval(
        &self,
        stamp: &Stamp,
        uid: &Uid,
        verdict: &v1::CheckVerdict,
        rows: &mut Rows,
    ) {
        let Some(from) = verdict.since.as_ref().and_then(utc) else { return };
        if from >= stamp.utc || verdict.verdict() == v1::Verdict::Unspecified {
            return;
        }
        let row = store::IntervalRow {
            check_uid: uid.to_string(),
            verdict: verdict.verdict,
            from_utc_ns: from.as_ns(),
            to_utc_ns: stamp.utc.as_ns(),
        };
        rows.put(rows::interval_key(uid, stamp.index), &row);
    }

    /// Removes the rows that the leader found to be too old. One that is gone already is no error.
    pub(super) fn trim_history(
        &self,
        stamp: &Stamp,
        command: store::TrimHistory,
        rows: &mut Rows,
    ) -> Answer {
        for store::IntervalKey { check_uid, index } in command.intervals {
            // Only what was written before: a name of something else cannot be meant.
            if let Ok(uid) = check_uid.parse::<Uid>()
                && index < stamp.index
            {
                rows.remove(rows::interval_key(&uid, index));
            }
        }
        accepted(stamp, [])
    }

    /// The verdict that stands: since when, and which. `None`: nobody decides about the check.
    pub fn standing(&self, uid: &Uid) -> Option<(UtcTime, v1::Verdict)> {
        let verdict = self.verdicts.get(uid)?;
        let since = verdict.since.as_ref().and_then(utc)?;
        (verdict.verdict() != v1::Verdict::Unspecified).then(|| (since, verdict.verdict()))
    }

    /// Prefix of all interval rows.
    pub const INTERVALS: &'static [u8] = &[rows::Table::Interval as u8];

    /// Prefix of the interval rows of one check, the newest first.
    pub fn intervals_of(uid: &Uid) -> Vec<u8> {
        rows::interval_prefix(uid)
    }

    /// The name of an interval row, for [`store::TrimHistory`].
    pub fn interval_named(key: &[u8]) -> Option<store::IntervalKey> {
        let uid = Uid::from_slice(key.get(1..17)?)?;
        let index = Self::cold(key).filter(|_| key.starts_with(Self::INTERVALS))?;
        Some(store::IntervalKey { check_uid: uid.to_string(), index })
    }
}
