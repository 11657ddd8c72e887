//! Old verdict intervals leave the rows: while this member leads, it looks once a minute for rows
//! that ended long ago, and has them removed by name. Apply looks nothing up.

use std::time::Duration;

use parallax_common::limits::{HISTORY_HOURS_AGE_MAX, TRIM_INTERVALS_MAX, TRIM_ROWS_READ_MAX};
use parallax_common::time::UtcTime;
use parallax_proto::store;
use parallax_proto::store::entry::Command;
use tokio::sync::watch;
use tracing::warn;

use crate::core::state::State;
use crate::core::uptime::Interval;
use crate::propose::{Origin, Proposer};
use crate::raft::member::Leadership;
use crate::store::rows::{RowError, RowStore};
use crate::view::View;

/// How often.
const TRIM_EVERY: Duration = Duration::from_secs(60);
/// Rows of one step of a scan.
const SCAN_ROWS: usize = 500;

/// Where the last look ended; none: at the end, the next begins anew.
type Place = Option<Vec<u8>>;

/// Removes old intervals for as long as this member lives.
pub async fn run(
    view: View,
    proposer: Proposer,
    leadership: watch::Receiver<Leadership>,
    name: String,
) {
    let mut every = tokio::time::interval(TRIM_EVERY);
    let mut place: Place = None;
    loop {
        every.tick().await;
        if !leadership.borrow().leader {
            continue;
        }
        // By the time that entries were stamped with: a clock that jumps ahead trims nothing.
        let before = view.load().last_utc() - HISTORY_HOURS_AGE_MAX;
        let (rows, from) = (proposer.node().rows(), place.take());
        let look = tokio::task::spawn_blocking(move || old(rows.as_ref(), from, before));
        let (intervals, next) = match look.await {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => {
                warn!(%error, "old verdict intervals could not be looked for");
                continue;
            }
            Err(_) => continue,
        };
        place = next;
        for intervals in intervals.chunks(TRIM_INTERVALS_MAX) {
            let command =
                Command::TrimHistory(store::TrimHistory { intervals: intervals.to_vec() });
            if let Err(error) = proposer.write(Origin::leader(&name), command).await {
                warn!(%error, "old verdict intervals could not be removed, trying again later");
                break;
            }
        }
    }
}

/// The intervals that ended before a moment, among so many rows from a place on.
fn old(
    rows: &dyn RowStore,
    mut place: Place,
    before: UtcTime,
) -> Result<(Vec<store::IntervalKey>, Place), RowError> {
    let mut found = Vec::new();
    for _ in 0..TRIM_ROWS_READ_MAX / SCAN_ROWS {
        let step = rows.scan(State::INTERVALS, place.as_deref(), SCAN_ROWS)?;
        let Some(last) = step.last() else { return Ok((found, None)) };
        place = Some(last.key.to_vec());
        for row in &step {
            let is_old = Interval::decode(&row.value)
                .is_none_or(|interval| interval.to.is_some_and(|to| to <= before));
            if is_old {
                found.extend(State::interval_named(&row.key));
            }
        }
    }
    Ok((found, place))
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;
    use crate::store::rows::RowChange;
    use crate::store::rows::memory::MemRows;

    /// A row of one of three checks that ended at this second, with this log index.
    fn row(check: u8, index: u64, ended: i64) -> RowChange {
        let uid = parallax_common::name::Uid::from_bytes([check; 16]);
        let mut key = State::intervals_of(&uid);
        key.extend_from_slice(&(!index).to_be_bytes());
        let value = store::IntervalRow {
            check_uid: uid.to_string(),
            verdict: 1,
            from_utc_ns: (ended - 1) * 1_000_000_000,
            to_utc_ns: ended * 1_000_000_000,
        };
        RowChange::put(key, value.encode_to_vec())
    }

    #[test]
    fn all_old_rows_are_found_however_many_looks_it_takes() {
        let rows = MemRows::default();
        let many = TRIM_ROWS_READ_MAX as u64 + 700;
        let changes: Vec<RowChange> = (1..=many)
            .map(|index| row((index % 3) as u8, index, i64::try_from(index).unwrap()))
            .collect();
        rows.write(&changes, many).unwrap();
        let before = UtcTime::from_ns(5_000 * 1_000_000_000);
        let (first, place) = old(&rows, None, before).unwrap();
        assert!(place.is_some());
        let (second, place) = old(&rows, place, before).unwrap();
        assert_eq!(place, None);
        let mut found: Vec<u64> = first.iter().chain(&second).map(|key| key.index).collect();
        found.sort_unstable();
        assert_eq!(found, (1..=5_000).collect::<Vec<u64>>());
    }
}
