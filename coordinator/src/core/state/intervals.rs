//! Verdict intervals: the uptime of record.
//!
//! Every verdict that ends leaves a row: check, verdict, from when to when, by the stamped UTC of the
//! entries that began and ended it. Rows are cold: written once, read from the store, and removed by
//! [`store::TrimHistory`] when they are too old. The interval that stands is the verdict itself.

use parallax_common::name::Uid;
use parallax_common::time::UtcTime;
use parallax_proto::convert::time::utc;
use parallax_proto::{store, v1};

use super::rows::{self, Rows};
use super::{Answer, Stamp, State, accepted};

impl State {
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
