//! What every row store must do: one suite, run over the real one and its twin.

use bytes::Bytes;
use parallax_common::limits;

use super::{Pages, Row, RowChange, RowError, RowStore};

fn row(key: &'static str, value: &str) -> Row {
    Row { key: Bytes::from_static(key.as_bytes()), value: Bytes::copy_from_slice(value.as_bytes()) }
}

fn all(rows: &impl RowStore) -> Vec<Row> {
    let mut all = Vec::new();
    rows.load(&mut |row| all.push(row)).unwrap();
    all
}

/// Runs every case. `make` gives, for a new disk, a way to open it again and again.
pub(crate) fn suite<R: RowStore, O: Fn() -> R>(make: impl Fn() -> O) {
    a_new_store_is_empty(make());
    written_rows_are_there_after_opening_again(make());
    the_last_change_of_a_row_counts(make());
    an_index_only_grows(make());
    a_scan_goes_by_prefix_and_goes_on_after_a_key(make());
    long_values_come_back_whole_and_shrink_without_remains(make());
    replacing_leaves_exactly_the_new_rows(make());
    an_error_among_new_rows_leaves_the_old_ones(make());
    pages_hold_every_row_once(make());
    live_bytes_are_those_of_the_rows(make());
}

fn a_new_store_is_empty<R: RowStore>(open: impl Fn() -> R) {
    for _ in 0..2 {
        let rows = open();
        assert_eq!(rows.applied_index().unwrap(), 0);
        assert!(all(&rows).is_empty());
        assert_eq!(rows.get(b"a").unwrap(), None);
        assert_eq!(rows.live_bytes().unwrap(), 0);
    }
}

fn written_rows_are_there_after_opening_again<R: RowStore>(open: impl Fn() -> R) {
    let rows = open();
    rows.write(&[RowChange::put("b", "2"), RowChange::put("a", "1")], 5).unwrap();
    rows.write(&[], 6).unwrap();
    drop(rows);
    let rows = open();
    assert_eq!(rows.applied_index().unwrap(), 6);
    assert_eq!(all(&rows), [row("a", "1"), row("b", "2")]);
    rows.write(&[RowChange::remove("a"), RowChange::remove("never")], 7).unwrap();
    assert_eq!(rows.get(b"a").unwrap(), None);
    drop(rows);
    assert_eq!(all(&open()), [row("b", "2")]);
}

fn the_last_change_of_a_row_counts<R: RowStore>(open: impl Fn() -> R) {
    let rows = open();
    let changes = [
        RowChange::put("a", "1"),
        RowChange::put("a", "x".repeat(10_000)),
        RowChange::put("b", "1"),
        RowChange::put("a", "3"),
        RowChange::remove("b"),
    ];
    rows.write(&changes, 1).unwrap();
    assert_eq!(all(&rows), [row("a", "3")]);
    assert_eq!(rows.live_bytes().unwrap(), 2);
}

fn an_index_only_grows<R: RowStore>(open: impl Fn() -> R) {
    let rows = open();
    rows.write(&[RowChange::put("a", "1")], 5).unwrap();
    let error = rows.write(&[RowChange::put("a", "2")], 4).unwrap_err();
    assert!(matches!(error, RowError::Backwards { present: 5, asked: 4 }), "{error}");
    assert_eq!(rows.get(b"a").unwrap().unwrap(), "1");
    rows.write(&[RowChange::put("a", "2")], 5).unwrap();
    assert_eq!(rows.get(b"a").unwrap().unwrap(), "2");
}

fn a_scan_goes_by_prefix_and_goes_on_after_a_key<R: RowStore>(open: impl Fn() -> R) {
    let rows = open();
    let keys = ["a", "p/1", "p/2", "p/22", "p/3", "q"];
    let changes: Vec<_> = keys.iter().map(|key| RowChange::put(*key, *key)).collect();
    rows.write(&changes, 1).unwrap();
    let scan = |prefix: &str, after: Option<&str>, limit| {
        let rows = rows.scan(prefix.as_bytes(), after.map(str::as_bytes), limit).unwrap();
        rows.iter().map(|row| String::from_utf8(row.key.to_vec()).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(scan("p/", None, 10), ["p/1", "p/2", "p/22", "p/3"]);
    assert_eq!(scan("p/", None, 2), ["p/1", "p/2"]);
    assert_eq!(scan("p/", Some("p/2"), 2), ["p/22", "p/3"]);
    assert_eq!(scan("p/", Some("a"), 1), ["p/1"]);
    assert_eq!(scan("", None, 10), keys);
    assert!(scan("p/", Some("p/3"), 10).is_empty());
    assert!(scan("z", None, 10).is_empty());
    assert!(scan("p/", None, 0).is_empty());
}

fn long_values_come_back_whole_and_shrink_without_remains<R: RowStore>(open: impl Fn() -> R) {
    let piece = limits::STORE_PIECE_BYTES;
    let value = |length: usize| -> Vec<u8> { (0..length).map(|i| (i % 251) as u8).collect() };
    let mut index = 0;
    for length in [piece - 1, piece, piece + 1, 7 * piece, 300_000, 2 * piece, 1, 0, 40_000] {
        let rows = open();
        index += 1;
        let changes = [RowChange::put("k", value(length)), RowChange::put("kk", "near")];
        rows.write(&changes, index).unwrap();
        drop(rows);
        let rows = open();
        assert_eq!(rows.get(b"k").unwrap().unwrap(), value(length), "{length}");
        assert_eq!(rows.live_bytes().unwrap(), length as u64 + 1 + 6);
        assert_eq!(rows.scan(b"k", None, 10).unwrap().len(), 2);
        assert_eq!(all(&rows)[0].value, value(length));
    }
    let rows = open();
    rows.write(&[RowChange::remove("k"), RowChange::remove("kk")], index + 1).unwrap();
    assert!(all(&rows).is_empty());
    assert_eq!(rows.live_bytes().unwrap(), 0);
}

fn replacing_leaves_exactly_the_new_rows<R: RowStore>(open: impl Fn() -> R) {
    let rows = open();
    rows.write(&[RowChange::put("old", "1"), RowChange::put("both", "1")], 90).unwrap();
    let long = "y".repeat(20_000);
    let new = [row("both", "2"), row("new", &long)];
    // Going back is what a rebuild does.
    rows.replace(&mut new.iter().cloned().map(Ok), 40).unwrap();
    assert_eq!(all(&rows), new);
    assert_eq!(rows.get(b"old").unwrap(), None);
    drop(rows);
    let rows = open();
    assert_eq!(rows.applied_index().unwrap(), 40);
    assert_eq!(all(&rows), new);
    rows.write(&[RowChange::remove("new")], 41).unwrap();
    assert_eq!(all(&rows), new[..1]);
}

fn an_error_among_new_rows_leaves_the_old_ones<R: RowStore>(open: impl Fn() -> R) {
    let rows = open();
    rows.write(&[RowChange::put("a", "1")], 5).unwrap();
    let broken = || [Ok(row("b", "2")), Err(RowError::Source("torn".to_owned()))].into_iter();
    let error = rows.replace(&mut broken(), 9).unwrap_err();
    assert!(matches!(error, RowError::Source(_)), "{error}");
    assert_eq!((rows.applied_index().unwrap(), all(&rows)), (5, vec![row("a", "1")]));
    // And the next attempt finds nothing of it.
    rows.replace(&mut [Ok(row("c", "3"))].into_iter(), 9).unwrap();
    drop(rows);
    assert_eq!(all(&open()), [row("c", "3")]);
}

fn pages_hold_every_row_once<R: RowStore>(open: impl Fn() -> R) {
    let rows = open();
    for count in [0, 1, limits::STORE_PAGE_ROWS, 2 * limits::STORE_PAGE_ROWS + 1] {
        let changes: Vec<_> = (0..count).map(|n| RowChange::put(format!("k{n:06}"), "v")).collect();
        rows.write(&changes, 1).unwrap();
        let read: Vec<Row> = Pages::new(&rows).collect::<Result<_, _>>().unwrap();
        assert_eq!(read, all(&rows));
        assert_eq!(read.len(), count);
        // A store may be rebuilt from itself.
        rows.replace(&mut Pages::new(&rows), 1).unwrap();
        assert_eq!(all(&rows), read);
    }
}

fn live_bytes_are_those_of_the_rows<R: RowStore>(open: impl Fn() -> R) {
    let rows = open();
    rows.write(&[RowChange::put("aa", "12345"), RowChange::put("b", "1")], 1).unwrap();
    assert_eq!(rows.live_bytes().unwrap(), 9);
    rows.write(&[RowChange::put("aa", "1"), RowChange::remove("b")], 2).unwrap();
    drop(rows);
    assert_eq!(open().live_bytes().unwrap(), 3);
}
