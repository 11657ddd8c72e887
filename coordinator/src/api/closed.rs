//! Closed incidents that have left memory, from the row store: newest first, so many rows a
//! request and no more. What is asked for goes on from a token.

use parallax_common::limits::INCIDENT_ROWS_READ_MAX;
use parallax_proto::v1;
use prost::Message as _;
use tonic::Status;

use crate::core::state::State;
use crate::store::rows::{RowError, RowStore};

/// Rows of one step of a scan.
const SCAN_ROWS: usize = 500;

/// What page tokens begin with when a list has left memory; no uid does.
const TOKEN: &str = "closed-";

/// A stretch of the closed incidents.
#[derive(Debug, Default)]
pub struct Part {
    /// Those that fit, in the order in which they left memory, the last first.
    pub incidents: Vec<v1::Incident>,
    /// Where the next part begins; none at the end.
    pub next: Option<String>,
}

/// The token of the first part.
pub fn first() -> String {
    TOKEN.to_owned()
}

/// Where a page token stands among the closed incidents, if it does: the key to go on after.
///
/// # Errors
/// A token that was not given out here.
pub fn position(token: &str) -> Result<Option<Vec<u8>>, Status> {
    let Some(hex) = token.strip_prefix(TOKEN) else { return Ok(None) };
    let wrong = || Status::invalid_argument("options.page_token: not one of this list");
    if !hex.is_ascii() || hex.len() % 2 == 1 {
        return Err(wrong());
    }
    let mut key = State::CLOSED.to_vec();
    for at in (0..hex.len()).step_by(2) {
        key.push(u8::from_str_radix(&hex[at..at + 2], 16).map_err(|_| wrong())?);
    }
    Ok(Some(key))
}

fn token(key: &[u8]) -> String {
    let digits = key[State::CLOSED.len()..].iter().map(|byte| format!("{byte:02x}"));
    [TOKEN.to_owned()].into_iter().chain(digits).collect()
}

/// As [`list`], those that have left `state`. The rows are written behind it, so `stored` waits for
/// them; and they may be ahead of it by now, so what it holds, and has told of, is passed over.
///
/// # Errors
/// When the rows do not come, or cannot be read.
pub fn left(
    rows: &dyn RowStore,
    state: &State,
    stored: impl FnOnce(u64) -> Result<(), RowError>,
    (after, most): (Vec<u8>, usize),
    fits: impl Fn(&v1::Incident) -> bool,
) -> Result<Part, RowError> {
    stored(state.applied)?;
    list(rows, after, most, |i| !state.incidents.contains_key(&i.uid) && fits(i))
}

/// At most `most` closed incidents that `fits`, after the key `after`. Reads
/// [`INCIDENT_ROWS_READ_MAX`] rows at most: a part may hold fewer, or none, and have a next one.
///
/// # Errors
/// When the store cannot be read.
pub fn list(
    rows: &dyn RowStore,
    mut after: Vec<u8>,
    most: usize,
    fits: impl Fn(&v1::Incident) -> bool,
) -> Result<Part, RowError> {
    let mut part = Part::default();
    let mut read = 0;
    loop {
        let step = rows.scan(State::CLOSED, Some(&after), SCAN_ROWS)?;
        if step.is_empty() {
            return Ok(part);
        }
        for row in &step {
            if part.incidents.len() == most || read == INCIDENT_ROWS_READ_MAX {
                part.next = Some(token(&after));
                return Ok(part);
            }
            read += 1;
            after = row.key.to_vec();
            let incident = v1::Incident::decode(row.value.clone())
                .map_err(|error| RowError::Damaged(error.to_string()))?;
            if fits(&incident) {
                part.incidents.push(incident);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use parallax_common::limits::CLOSED_INCIDENTS_IN_MEMORY_MAX;
    use parallax_proto::store;

    use super::*;
    use crate::core::state::{Row, Table};
    use crate::store::rows::RowChange;
    use crate::store::rows::memory::MemRows;

    /// Incidents 1 to `count`, left in this order, one in three of namespace `a`.
    fn store(count: u64) -> MemRows {
        let rows = MemRows::default();
        let changes: Vec<RowChange> = (1..=count)
            .map(|number| {
                let namespace = if number % 3 == 0 { "a" } else { "b" };
                let incident = v1::Incident {
                    uid: format!("uid-{number}"),
                    namespace: namespace.into(),
                    ..v1::Incident::default()
                };
                let key = State::closed_row(number, &incident.uid);
                assert_eq!(State::cold(&key), Some(number));
                RowChange::put(key, incident.encode_to_vec())
            })
            .collect();
        rows.write(&changes, count).unwrap();
        rows
    }

    fn all(rows: &MemRows, most: usize, namespace: &str) -> (Vec<String>, usize) {
        let (mut uids, mut parts, mut token) = (Vec::new(), 0, first());
        loop {
            let after = position(&token).unwrap().unwrap();
            let part = list(rows, after, most, |i| i.namespace == namespace).unwrap();
            assert!(part.incidents.len() <= most);
            uids.extend(part.incidents.into_iter().map(|incident| incident.uid));
            parts += 1;
            match part.next {
                Some(next) => token = next,
                None => return (uids, parts),
            }
        }
    }

    #[test]
    fn parts_follow_one_another_newest_first() {
        let rows = store(2_000);
        let expected: Vec<String> =
            (1..=2_000).rev().filter(|n| n % 3 == 0).map(|n| format!("uid-{n}")).collect();
        assert_eq!(all(&rows, 100, "a").0, expected);
        assert_eq!(all(&rows, 1_000, "a"), (expected, 1));
    }

    #[test]
    fn a_list_that_finds_nothing_reads_only_so_many_rows_at_a_time() {
        let rows = store(INCIDENT_ROWS_READ_MAX as u64 + 1);
        assert_eq!(all(&rows, 100, "nobody"), (vec![], 2));
    }

    #[test]
    fn tokens_of_other_lists_are_told_apart_and_nonsense_is_refused() {
        assert_eq!(position("").unwrap(), None);
        assert_eq!(position("fe6d-00").unwrap(), None);
        for wrong in ["closed-0", "closed-zz", "closed-ä"] {
            assert!(position(wrong).is_err(), "{wrong}");
        }
    }

    /// Memory full of closed incidents, as rows, and one that is open.
    fn full() -> Vec<Row> {
        let row = |number: usize| {
            let resolved_at = (number > 0).then(prost_types::Timestamp::default);
            let incident = v1::Incident {
                uid: format!("uid-{number}"),
                resolved_at,
                resolved_revision: number as u64,
                ..v1::Incident::default()
            };
            let key = [&[Table::Incident as u8], incident.uid.as_bytes()].concat();
            Row { key: key.into(), value: incident.encode_to_vec().into() }
        };
        (0..=CLOSED_INCIDENTS_IN_MEMORY_MAX).map(row).collect()
    }

    #[test]
    fn an_incident_that_has_just_left_memory_is_listed_and_listed_once() {
        let mut state = State::from_rows(full(), 1).unwrap();
        let before = state.clone();
        // The last one closes: the oldest leaves, and its row is not written yet.
        let resolve = store::ResolveIncident { uid: "uid-0".into(), ..<_>::default() };
        let command = Some(store::entry::Command::ResolveIncident(resolve));
        let entry = store::Entry { command, ..store::Entry::default() };
        let changes = state.apply(2, &entry.encode_to_vec()).rows;
        let changes: Vec<RowChange> = changes
            .into_iter()
            .map(|change| RowChange { key: change.key, value: change.value })
            .collect();
        let rows = MemRows::default();
        let all = |state: &State, write: &[RowChange]| {
            let from = position(&first()).unwrap().unwrap();
            let stored = |applied| match write {
                [] => Ok(()),
                changes => rows.write(changes, applied),
            };
            let part = left(&rows, state, stored, (from, 10), |_| true).unwrap();
            assert_eq!(part.next, None);
            part.incidents.into_iter().map(|incident| incident.uid).collect::<Vec<_>>()
        };
        assert!(!state.incidents.contains_key("uid-1"));
        assert_eq!(all(&state, &changes), ["uid-1"]);
        // Who read the state before has it from there.
        assert!(before.incidents.contains_key("uid-1"));
        assert!(all(&before, &[]).is_empty());
    }
}
