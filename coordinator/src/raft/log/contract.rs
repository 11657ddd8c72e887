//! What every log must do: one suite, run over the real one and its twin.

use raft::eraftpb::{ConfState, Entry, HardState, SnapshotMetadata};

use super::{LogError, LogStore};

/// An entry whose data tells its index and term.
pub(crate) fn entry(index: u64, term: u64) -> Entry {
    Entry { index, term, data: format!("{index}@{term}").into_bytes().into(), ..Entry::default() }
}

/// A hard state that voted for member 1.
pub(crate) fn hard_state(term: u64, commit: u64) -> HardState {
    HardState { term, vote: 1, commit, ..HardState::default() }
}

fn metadata(index: u64, term: u64) -> SnapshotMetadata {
    let mut metadata = SnapshotMetadata { index, term, ..SnapshotMetadata::default() };
    metadata.set_conf_state(ConfState { voters: vec![1], ..ConfState::default() });
    metadata
}

fn entries(range: std::ops::RangeInclusive<u64>, term: u64) -> Vec<Entry> {
    range.map(|index| entry(index, term)).collect()
}

/// Runs every case. `make` gives, for a new disk, a way to open it again and again.
pub(crate) fn suite<L: LogStore, O: Fn() -> L>(make: impl Fn() -> O) {
    a_new_log_is_empty(make());
    appended_entries_are_there_after_opening_again(make());
    a_conflicting_append_replaces_the_rest(make());
    an_append_that_leaves_a_hole_is_refused(make());
    a_range_is_cut_by_bytes_but_never_empty(make());
    compaction_keeps_the_term_of_the_entry_before_the_first(make());
    a_log_compacted_to_its_end_goes_on(make());
    a_log_begins_anew_behind_a_snapshot(make());
    a_hard_state_alone_is_kept(make());
}

fn a_new_log_is_empty<L: LogStore>(open: impl Fn() -> L) {
    for _ in 0..2 {
        let log = open();
        assert_eq!((log.first_index(), log.last_index()), (1, 0));
        assert_eq!(log.term(0).unwrap(), 0);
        assert_eq!(log.hard_state(), &HardState::default());
        assert!(log.entries(1, 1, None).unwrap().is_empty());
    }
}

fn appended_entries_are_there_after_opening_again<L: LogStore>(open: impl Fn() -> L) {
    let mut log = open();
    log.append(&entries(1..=3, 1), Some(&hard_state(1, 0))).unwrap();
    log.append(&entries(4..=5, 2), Some(&hard_state(2, 3))).unwrap();
    for _ in 0..2 {
        assert_eq!((log.first_index(), log.last_index()), (1, 5));
        assert_eq!(log.hard_state(), &hard_state(2, 3));
        let mut expected = entries(1..=3, 1);
        expected.extend(entries(4..=5, 2));
        assert_eq!(log.entries(1, 6, None).unwrap(), expected);
        assert_eq!(log.entries(3, 5, None).unwrap(), expected[2..4]);
        assert_eq!((1..=5).map(|i| log.term(i).unwrap()).collect::<Vec<_>>(), [1, 1, 1, 2, 2]);
        assert!(matches!(log.term(6), Err(LogError::Missing { index: 6, last: 5 })));
        assert!(matches!(log.entries(1, 7, None), Err(LogError::Missing { .. })));
        drop(log);
        log = open();
    }
}

fn a_conflicting_append_replaces_the_rest<L: LogStore>(open: impl Fn() -> L) {
    let mut log = open();
    log.append(&entries(1..=6, 1), None).unwrap();
    log.append(&entries(3..=4, 2), None).unwrap();
    for _ in 0..2 {
        assert_eq!(log.last_index(), 4);
        let mut expected = entries(1..=2, 1);
        expected.extend(entries(3..=4, 2));
        assert_eq!(log.entries(1, 5, None).unwrap(), expected);
        assert!(log.term(5).is_err());
        drop(log);
        log = open();
    }
}

fn an_append_that_leaves_a_hole_is_refused<L: LogStore>(open: impl Fn() -> L) {
    let mut log = open();
    log.append(&entries(1..=2, 1), None).unwrap();
    assert!(matches!(log.append(&[entry(4, 1)], None), Err(LogError::Hole { index: 4, .. })));
    let gap = [entry(3, 1), entry(5, 1)];
    assert!(matches!(log.append(&gap, None), Err(LogError::Hole { index: 5, .. })));
    log.compact(&metadata(2, 1)).unwrap();
    assert!(matches!(log.append(&[entry(2, 2)], None), Err(LogError::Hole { .. })));
    drop(log);
    assert_eq!(open().last_index(), 2);
}

fn a_range_is_cut_by_bytes_but_never_empty<L: LogStore>(open: impl Fn() -> L) {
    let mut log = open();
    log.append(&entries(1..=9, 1), None).unwrap();
    assert_eq!(log.entries(2, 10, Some(0)).unwrap(), entries(2..=2, 1));
    let some = log.entries(2, 10, Some(100)).unwrap();
    assert!((2..8).contains(&some.len()), "{}", some.len());
    assert_eq!(some, entries(2..=1 + some.len() as u64, 1));
}

fn compaction_keeps_the_term_of_the_entry_before_the_first<L: LogStore>(open: impl Fn() -> L) {
    let mut log = open();
    log.append(&entries(1..=5, 1), Some(&hard_state(1, 4))).unwrap();
    log.append(&entries(6..=8, 3), None).unwrap();
    log.compact(&metadata(6, 3)).unwrap();
    log.compact(&metadata(4, 1)).unwrap(); // already gone: nothing happens
    assert!(matches!(log.compact(&metadata(9, 3)), Err(LogError::Missing { .. })));
    for _ in 0..2 {
        assert_eq!((log.first_index(), log.last_index()), (7, 8));
        assert_eq!(log.start(), &metadata(6, 3));
        assert_eq!(log.term(6).unwrap(), 3);
        assert!(matches!(log.term(5), Err(LogError::Compacted { index: 5, first: 7 })));
        assert!(matches!(log.entries(6, 8, None), Err(LogError::Compacted { .. })));
        assert_eq!(log.entries(7, 9, None).unwrap(), entries(7..=8, 3));
        assert_eq!(log.hard_state(), &hard_state(1, 4));
        drop(log);
        log = open();
    }
}

fn a_log_compacted_to_its_end_goes_on<L: LogStore>(open: impl Fn() -> L) {
    let mut log = open();
    log.append(&entries(1..=3, 1), None).unwrap();
    log.compact(&metadata(3, 1)).unwrap();
    drop(log);
    let mut log = open();
    assert_eq!((log.first_index(), log.last_index()), (4, 3));
    log.append(&entries(4..=5, 2), None).unwrap();
    drop(log);
    let log = open();
    assert_eq!((log.first_index(), log.last_index()), (4, 5));
    assert_eq!(log.entries(4, 6, None).unwrap(), entries(4..=5, 2));
}

fn a_log_begins_anew_behind_a_snapshot<L: LogStore>(open: impl Fn() -> L) {
    let mut log = open();
    log.append(&entries(1..=5, 1), Some(&hard_state(1, 5))).unwrap();
    log.install(&metadata(100, 7), &hard_state(7, 100)).unwrap();
    for round in 0..2 {
        assert_eq!((log.first_index(), log.last_index()), (101, 100));
        assert_eq!((log.term(100).unwrap(), log.hard_state()), (7, &hard_state(7, 100)));
        assert!(matches!(log.term(5), Err(LogError::Compacted { .. })), "round {round}");
        drop(log);
        log = open();
    }
    log.append(&entries(101..=102, 7), None).unwrap();
    drop(log);
    let log = open();
    assert_eq!(log.start(), &metadata(100, 7));
    assert_eq!(log.entries(101, 103, None).unwrap(), entries(101..=102, 7));
}

fn a_hard_state_alone_is_kept<L: LogStore>(open: impl Fn() -> L) {
    let mut log = open();
    log.append(&[], Some(&hard_state(9, 0))).unwrap();
    drop(log);
    assert_eq!(open().hard_state(), &hard_state(9, 0));
}
