//! What every snapshot store must do: one suite, run over the real one and its twin.

use bytes::Bytes;
use parallax_common::limits;
use raft::eraftpb::ConfState;

use super::{Header, SnapshotError, SnapshotId, SnapshotStore, rows_of};
use crate::store::rows::Row;

/// A header of member 1 and 2.
pub(crate) fn header(index: u64, term: u64) -> Header {
    let conf_state = ConfState { voters: vec![1, 2], ..ConfState::default() };
    let id = SnapshotId { index, term };
    Header { id, conf_state, mesh: "acme".to_owned(), epoch: 3 }
}

/// Rows with values of `bytes` bytes.
pub(crate) fn rows(count: usize, bytes: usize) -> Vec<Row> {
    (0..count)
        .map(|n| Row {
            key: Bytes::from(format!("k{n:06}")),
            value: Bytes::from(vec![(n % 251) as u8; bytes]),
        })
        .collect()
}

/// All of a snapshot.
pub(crate) fn read(snapshots: &impl SnapshotStore, id: SnapshotId) -> (Header, Vec<Row>) {
    let (header, rows) = snapshots.read(id).unwrap();
    (header, rows.collect::<Result<_, _>>().unwrap())
}

/// Runs every case. `make` gives, for a new disk, a way to open it again and again.
pub(crate) fn suite<S: SnapshotStore, O: Fn() -> S>(make: impl Fn() -> O) {
    what_is_written_is_read(make());
    all_are_kept_until_they_are_removed(make());
    a_row_that_is_too_large_is_refused(make());
    one_that_is_not_there_is_missing(make());
}

fn what_is_written_is_read<S: SnapshotStore>(open: impl Fn() -> S) {
    let chunk = limits::SNAPSHOT_CHUNK_BYTES;
    // None; small; several chunks; rows about as large as a chunk; larger.
    for (n, (count, bytes)) in
        [(0, 0), (10, 100), (3_000, 1_500), (4, chunk - 7), (2, 3 * chunk)].into_iter().enumerate()
    {
        let header = header(n as u64 + 1, 1);
        open().write(&header, &mut rows_of(&rows(count, bytes))).unwrap();
        let (read_header, read_rows) = read(&open(), header.id);
        assert_eq!(read_header, header);
        assert_eq!(open().verify(header.id).unwrap(), header);
        assert!(read_rows == rows(count, bytes), "{count} rows of {bytes} bytes");
    }
}

fn all_are_kept_until_they_are_removed<S: SnapshotStore>(open: impl Fn() -> S) {
    let snapshots = open();
    assert!(snapshots.list().unwrap().is_empty());
    for (index, term) in [(9, 1), (100, 1), (20, 1)] {
        snapshots.write(&header(index, term), &mut rows_of(&rows(1, 1))).unwrap();
    }
    drop(snapshots);
    // By index, not by the time of writing.
    let ids = [9, 20, 100].map(|index| header(index, 1).id);
    assert_eq!(open().list().unwrap(), ids);
    // Written again: replaced.
    open().write(&header(100, 1), &mut rows_of(&rows(2, 2))).unwrap();
    assert_eq!(read(&open(), header(100, 1).id).1, rows(2, 2));
    assert_eq!(open().list().unwrap(), ids);
    // Twice: somebody else may have been there first.
    for _ in 0..2 {
        open().remove(ids[1]).unwrap();
        assert_eq!(open().list().unwrap(), [ids[0], ids[2]]);
    }
}

fn a_row_that_is_too_large_is_refused<S: SnapshotStore>(open: impl Fn() -> S) {
    let snapshots = open();
    let large = rows(1, limits::ROW_BYTES_MAX + 1);
    let error = snapshots.write(&header(1, 1), &mut rows_of(&large)).unwrap_err();
    assert!(matches!(error, SnapshotError::RowTooLarge { .. }), "{error}");
    assert!(snapshots.list().unwrap().is_empty());
}

fn one_that_is_not_there_is_missing<S: SnapshotStore>(open: impl Fn() -> S) {
    let id = SnapshotId { index: 5, term: 5 };
    assert!(matches!(open().read(id), Err(SnapshotError::Missing(missing)) if missing == id));
}
