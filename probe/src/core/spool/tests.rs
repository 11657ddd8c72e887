//! The spool without a disk, and what it decides about one.

use super::cursors::Statement;
use super::disk::{Bounds, Commit, Room, Segment};
use super::record::Head;
use super::*;

const LIFE: Incarnation = Incarnation(7);
const ALL: Portion = Portion { windows: 1_000, bytes: usize::MAX };
const HOUR: Duration = Duration::from_secs(3_600);

fn at(hours: u32) -> BootTime {
    BootTime::from_ns(0) + HOUR * hours
}

fn mesh(n: u64) -> MeshTime {
    MeshTime::from_ns(n as i64 * 10_000_000_000)
}

fn push(spool: &mut Spool, count: u64, bytes: usize) {
    for _ in 0..count {
        let n = spool.life.last + 1;
        assert_eq!(spool.push(mesh(n), vec![n as u8; bytes].into()), n);
    }
}

fn filled(n: u64) -> Spool {
    let mut spool = Spool::new(LIFE);
    push(&mut spool, n, 10);
    spool
}

/// The numbers that a reader is sent from `from` on.
fn claimed(spool: &mut Spool, reader: u64, from: u64) -> Vec<u64> {
    match spool.claim(LIFE, reader, (from, u64::MAX), ALL) {
        Claim::Windows(first, windows) => (first..).take(windows.len()).collect(),
        Claim::Nothing => Vec::new(),
        other => panic!("{other:?}"),
    }
}

fn gap(reader: u64, first: u64, last: u64) -> Gap {
    Gap { reader, life: LIFE, first, last }
}

#[test]
fn a_window_leaves_when_every_reader_has_it() {
    let mut spool = filled(5);
    spool.attach(1);
    spool.attach(2);
    assert_eq!((spool.place(LIFE, 1), spool.place(LIFE, 2)), ((1, 5), (1, 5)));
    spool.acknowledge(LIFE, 1, 4);
    assert_eq!(claimed(&mut spool, 2, 1), [1, 2, 3, 4, 5]);
    spool.acknowledge(LIFE, 2, 2);
    assert_eq!(claimed(&mut spool, 2, 1), [3, 4, 5]);
    assert_eq!(spool.bytes(), 30);
}

#[test]
fn what_is_not_over_waits_and_while_nobody_knows_the_time_nothing_is() {
    let mut spool = filled(5);
    spool.attach(1);
    spool.it_is(None);
    assert!(claimed(&mut spool, 1, 1).is_empty());
    // Sealed by a guess: that says nothing.
    push(&mut spool, 1, 10);
    spool.is_over(mesh(6));
    assert!(claimed(&mut spool, 1, 1).is_empty());
    // It was ahead.
    spool.it_is(Some(mesh(2)));
    assert_eq!(claimed(&mut spool, 1, 1), [1, 2]);
    assert!(claimed(&mut spool, 1, 3).is_empty());
    spool.it_is(Some(mesh(4)));
    assert_eq!(claimed(&mut spool, 1, 3), [3, 4]);
    spool.is_over(mesh(5));
    assert_eq!(claimed(&mut spool, 1, 5), [5]);
    spool.is_early(mesh(6));
    assert_eq!((claimed(&mut spool, 1, 6), spool.dropped()), (vec![], 0));
}

#[test]
fn what_ends_so_far_ahead_that_no_waiting_helps_is_dropped_and_counted() {
    let now = mesh(1_000);
    for (more, dropped, left) in [(0, 0, 5), (1, 3, 2)] {
        let mut spool = Spool::new(LIFE);
        spool.attach(1);
        spool.it_is(None);
        for _ in 0..3 {
            let end = now + SPOOL_AHEAD_MAX + Duration::from_nanos(more);
            spool.push(end, vec![0; 10].into());
        }
        spool.push(now, vec![0; 10].into());
        spool.push(now, vec![0; 10].into());
        spool.it_is(Some(now));
        assert_eq!((spool.dropped(), spool.bytes()), (dropped, left * 10), "{more} ns more");
        let sent = if left == 2 { vec![4, 5] } else { vec![] };
        assert_eq!(claimed(&mut spool, 1, 1), sent);
    }
}

#[test]
fn a_segment_that_ends_too_far_ahead_is_dropped() {
    let now = mesh(1_000);
    let far = now + SPOOL_AHEAD_MAX;
    for (oldest, dropped) in [(far, false), (far + Duration::from_nanos(1), true)] {
        let head = Head { life: Incarnation(2), id: 1, merged: false, replaces: vec![] };
        let mut segment = Segment::new(&head);
        segment.add(1, oldest);
        segment.bytes = 100;
        let spool = Spool::on_disk(LIFE, BOUNDS, vec![segment], &[], true);
        assert_eq!(spool.room(Some(now)) == Room::Drop(1), dropped);
        assert_eq!(spool.room(None), Room::Enough, "nobody knows");
    }
}

#[test]
fn a_reader_that_returns_goes_on_where_it_stopped() {
    let mut spool = filled(5);
    spool.attach(1);
    spool.acknowledge(LIFE, 1, 2);
    spool.detach(1, at(0));
    push(&mut spool, 1, 10);
    spool.attach(1);
    assert_eq!(spool.place(LIFE, 1), (3, 6));
}

#[test]
fn a_claim_is_bounded_in_number_in_bytes_and_by_the_last_number_wanted() {
    let mut spool = filled(50);
    spool.attach(1);
    let count = |spool: &mut Spool, through, windows, bytes| match spool.claim(
        LIFE,
        1,
        (11, through),
        Portion { windows, bytes },
    ) {
        Claim::Windows(11, windows) => windows.len(),
        other => panic!("{other:?}"),
    };
    assert_eq!(count(&mut spool, u64::MAX, 5, 1_000), 5);
    assert_eq!(count(&mut spool, u64::MAX, 100, 45), 5);
    assert_eq!(count(&mut spool, 13, 100, 1_000), 3);
    assert_eq!(spool.claim(LIFE, 1, (11, 10), ALL), Claim::Nothing);
    assert_eq!(spool.claim(LIFE, 1, (51, u64::MAX), ALL), Claim::Nothing);
    assert_eq!(spool.claim(Incarnation(9), 1, (1, u64::MAX), ALL), Claim::Over);
}

#[test]
fn at_the_bound_of_memory_the_oldest_is_dropped_counted_and_a_gap() {
    const MIB: usize = 1024 * 1024;
    let mut spool = Spool::new(LIFE);
    spool.attach(1);
    push(&mut spool, (SPOOL_BYTES_MAX / (MIB / 2)) as u64, MIB / 2);
    assert_eq!((spool.dropped(), spool.bytes()), (0, SPOOL_BYTES_MAX as u64));
    push(&mut spool, 2, MIB / 2);
    assert_eq!((spool.dropped(), spool.bytes()), (2, SPOOL_BYTES_MAX as u64));
    assert_eq!(claimed(&mut spool, 1, 1)[0], 3);
    assert_eq!(spool.give_up_away(at(0), HOUR), [gap(1, 1, 2)]);
    push(&mut spool, 1, MIB / 2);
    assert_eq!(spool.give_up_away(at(0), HOUR), [], "it goes on, and was told");
    // One that fits no frame is in nobody's way.
    let last = spool.life.last;
    assert_eq!(spool.push(mesh(1), vec![0; MIB].into()), last);
    assert_eq!((spool.dropped(), spool.life.last), (4, last));
}

#[test]
fn nobody_listening_keeps_everything_and_an_hour_away_lets_go() {
    let mut spool = filled(5);
    assert_eq!(spool.give_up_away(at(0), HOUR), []);
    assert_eq!(spool.bytes(), 50);
    spool.attach(1);
    spool.attach(2);
    spool.acknowledge(LIFE, 1, 5);
    spool.detach(2, at(0));
    assert_eq!(spool.give_up_away(at(0) + HOUR / 2, HOUR), []);
    assert_eq!(spool.bytes(), 50);
    assert_eq!(spool.give_up_away(at(1), HOUR), [gap(2, 1, 5)]);
    assert_eq!(spool.bytes(), 0);
    push(&mut spool, 1, 10);
}

#[test]
fn a_gap_is_told_once_and_one_that_begins_after_a_return_is_told_again() {
    let mut spool = filled(2);
    spool.attach(1);
    spool.attach(2);
    spool.acknowledge(LIFE, 2, 1);
    spool.detach(2, at(0));
    spool.acknowledge(LIFE, 1, 2);
    assert_eq!(spool.give_up_away(at(1), HOUR), [gap(2, 2, 2)]);
    push(&mut spool, 1, 10);
    spool.acknowledge(LIFE, 1, 3);
    assert_eq!(spool.give_up_away(at(2), HOUR), [], "it goes on, and was told");
    // Back: it goes on with what is there, and holds it back again.
    push(&mut spool, 1, 10);
    spool.attach(2);
    assert_eq!(spool.place(LIFE, 2), (4, 4));
    spool.acknowledge(LIFE, 1, 4);
    assert_eq!(spool.bytes(), 10);
    spool.acknowledge(LIFE, 2, 4);
    assert_eq!((spool.bytes(), spool.give_up_away(at(3), HOUR)), (0, vec![]));
    spool.detach(2, at(3));
    push(&mut spool, 1, 10);
    spool.acknowledge(LIFE, 1, 5);
    assert_eq!(spool.give_up_away(at(4), HOUR), [gap(2, 5, 5)]);
}

#[test]
fn a_session_that_gives_way_to_the_next_one_is_not_away() {
    let mut spool = filled(3);
    spool.attach(1);
    spool.attach(2);
    spool.attach(1);
    spool.detach(1, at(0));
    spool.acknowledge(LIFE, 2, 3);
    assert_eq!(spool.give_up_away(at(9), HOUR), []);
    spool.detach(1, at(9));
    assert_eq!(spool.give_up_away(at(10), HOUR), [gap(1, 1, 3)]);
}

#[test]
fn a_member_that_never_came_is_waited_for_an_hour() {
    let mut spool = filled(3);
    spool.attach(1);
    spool.expect(1, at(0));
    spool.expect(2, at(0));
    spool.acknowledge(LIFE, 1, 3);
    assert_eq!(spool.give_up_away(at(0) + HOUR / 2, HOUR), []);
    assert_eq!(spool.bytes(), 30);
    assert_eq!(spool.give_up_away(at(1), HOUR), [gap(2, 1, 3)]);
    assert_eq!(spool.bytes(), 0);
    for reader in 3..900 {
        spool.expect(reader, at(1));
    }
    assert!(spool.readers.len() <= MEMBERS_MAX && spool.readers.contains_key(&1));
}

#[test]
fn an_acknowledgement_of_the_future_counts_only_for_what_exists() {
    let mut spool = filled(3);
    spool.attach(1);
    spool.acknowledge(LIFE, 1, 900);
    assert_eq!((spool.bytes(), spool.life.last), (0, 3));
    push(&mut spool, 1, 10);
    assert_eq!((spool.bytes(), spool.place(LIFE, 1)), (10, (4, 4)));
}

// On the disk.

const BOUNDS: Bounds = Bounds { bytes_max: 32 * 1_000, age_max: Duration::from_secs(86_400) };

fn on_disk() -> Spool {
    Spool::on_disk(LIFE, BOUNDS, Vec::new(), &[], true)
}

/// A segment of an earlier life with windows `first..=last`.
fn segment(id: u64, life: u64, first: u64, last: u64) -> Segment {
    let head = Head { life: Incarnation(life), id, merged: false, replaces: vec![] };
    let mut segment = Segment::new(&head);
    (first..=last).for_each(|n| segment.add(n, mesh(n)));
    Segment { bytes: (last - first + 1) * 100, ..segment }
}

/// Everything that waits is written; how long the segment is then.
fn write(spool: &mut Spool) -> Option<Commit> {
    let commit = spool.commit()?;
    let before = spool.segment(commit.segment).map_or(0, |segment| segment.bytes);
    let more: usize = commit.windows.iter().map(|(_, item)| item.encoded.len()).sum();
    spool.committed(&commit, before + more as u64);
    Some(commit)
}

#[test]
fn what_is_acknowledged_before_it_is_written_is_never_written() {
    let mut spool = on_disk();
    spool.is_quiet(false);
    spool.attach(1);
    push(&mut spool, 5, 10);
    spool.acknowledge(LIFE, 1, 3);
    let commit = write(&mut spool).unwrap();
    assert_eq!(commit.windows.iter().map(|(n, _)| *n).collect::<Vec<_>>(), [4, 5]);
    assert!(commit.begin.is_some());
    assert!(write(&mut spool).is_none(), "nothing is new");
    spool.acknowledge(LIFE, 1, 5);
    assert_eq!(spool.removable(), [commit.segment]);
    spool.removed(commit.segment);
    assert_eq!((spool.disk_bytes(), spool.bytes()), (0, 0));
    assert!(write(&mut spool).is_none(), "an empty disk needs no cursors");
}

#[test]
fn a_commit_that_failed_is_repeated_in_another_segment_or_in_the_same() {
    let mut spool = on_disk();
    push(&mut spool, 2, 10);
    let failed = spool.commit().unwrap();
    spool.not_committed(&failed, true);
    let again = write(&mut spool).unwrap();
    assert_eq!(again.windows.len(), 2);
    assert_eq!(again.segment, failed.segment, "nothing is left beside it");
    push(&mut spool, 1, 10);
    let full = spool.commit().unwrap();
    assert_eq!(full.segment, again.segment);
    spool.not_committed(&full, false);
    assert_eq!(spool.commit().unwrap().segment, again.segment);
    spool.not_committed(&full, true);
    let next = spool.commit().unwrap();
    assert_ne!(next.segment, again.segment);
    assert_eq!(next.begin.unwrap().replaces, [(again.segment, 20)], "its end counts no more");
}

#[test]
fn nothing_is_sent_while_the_disk_says_that_nothing_is() {
    let mut spool = on_disk();
    push(&mut spool, 2, 10);
    spool.attach(1);
    assert_eq!(spool.claim(LIFE, 1, (1, u64::MAX), ALL), Claim::Nothing);
    assert_eq!(spool.wants_quiet(), Some(false));
    spool.is_quiet(false);
    assert_eq!(claimed(&mut spool, 1, 1), [1, 2]);
    spool.detach(1, at(0));
    assert_eq!(spool.wants_quiet(), None, "what was sent is not written down");
    write(&mut spool).unwrap();
    assert_eq!(spool.wants_quiet(), Some(true));
}

#[test]
fn earlier_lives_are_owed_from_the_oldest_on_and_deleted_when_everybody_has_them() {
    let found = vec![segment(3, 2, 1, 9), segment(1, 1, 5, 8), segment(2, 1, 9, 10)];
    let said = Statement { life: Incarnation(1), reader: 1, acknowledged: 6, sent: 6 };
    let mut spool = Spool::on_disk(LIFE, BOUNDS, found, &[said], true);
    assert_eq!(spool.known_readers(), [1]);
    spool.is_quiet(false);
    spool.attach(1);
    let one = Incarnation(1);
    assert_eq!((spool.owed(1), spool.place(one, 1)), (Some(one), (7, 10)));
    assert_eq!(spool.claim(one, 1, (7, u64::MAX), ALL), Claim::Disk(1, 7));
    assert_eq!(spool.claim(one, 1, (9, u64::MAX), ALL), Claim::Disk(2, 9));
    assert_eq!(spool.claim(one, 1, (11, u64::MAX), ALL), Claim::Over);
    assert_eq!(spool.removable(), [0; 0], "the newest cursors are in none of them yet");
    write(&mut spool).unwrap();
    spool.acknowledge(one, 1, 8);
    assert_eq!(spool.removable(), [1]);
    spool.acknowledge(one, 1, 10);
    assert_eq!(spool.owed(1), Some(Incarnation(2)));
    spool.acknowledge(Incarnation(2), 1, 9);
    assert_eq!(spool.owed(1), None);
    let all = spool.removable();
    assert_eq!(all.last(), Some(&4), "the one with the cursors goes last: {all:?}");
    all.into_iter().for_each(|id| spool.removed(id));
    assert_eq!((spool.disk_bytes(), spool.earlier.len()), (0, 0));
}

#[test]
fn short_of_room_the_oldest_is_merged_before_anything_is_dropped() {
    let found = (1..=40).map(|id| segment(id, 1, id * 9 - 8, id * 9)).collect();
    let mut spool = Spool::on_disk(LIFE, BOUNDS, found, &[], true);
    // 36 000 bytes where 32 000 are allowed, segments of 900.
    let (mut merges, mut dropped) = (0, 0);
    loop {
        match spool.room(None) {
            Room::Merge(ids) => {
                assert_eq!(dropped, 0, "all that can be merged is merged first");
                assert_eq!(ids, (merges * 4 + 1..=merges * 4 + 4).collect::<Vec<u64>>());
                merges += 1;
                spool.unmergeable(&ids);
            }
            Room::Drop(id) => {
                dropped += spool.drop_segment(id);
                assert_eq!(dropped, id * 9, "the oldest");
            }
            Room::Enough => break,
        }
    }
    assert_eq!((merges, dropped, spool.dropped()), (10, 45, 45));
    assert_eq!(spool.disk_bytes(), 31_500);
    spool.attach(1);
    spool.is_quiet(false);
    assert_eq!(spool.place(Incarnation(1), 1), (46, 360));
}

#[test]
fn what_lies_between_two_segments_keeps_them_apart() {
    let mut found: Vec<Segment> = (1..=5).map(|id| segment(id, 1, id * 60, id * 60 + 59)).collect();
    found[2].merged = true;
    let mut spool = Spool::on_disk(LIFE, BOUNDS, found, &[], true);
    push(&mut spool, 2, 2_000);
    assert_eq!(spool.room(None), Room::Merge(vec![1]), "all of a sudden there is no room");
    spool.unmergeable(&[1]);
    assert_eq!(spool.room(None), Room::Merge(vec![2]));
    spool.unmergeable(&[2]);
    assert_eq!(spool.room(None), Room::Merge(vec![4]));
    spool.unmergeable(&[4, 5]);
    assert_eq!(spool.room(None), Room::Drop(1));
}

#[test]
fn what_is_too_old_is_dropped_and_a_life_too_many_as_well() {
    let found = vec![segment(1, 1, 1, 9), segment(2, 1, 10, 19)];
    let mut spool = Spool::on_disk(LIFE, BOUNDS, found, &[], true);
    let day = Duration::from_secs(86_400);
    assert_eq!(spool.room(Some(mesh(9) + day)), Room::Enough);
    let later = mesh(9) + day + Duration::from_secs(1);
    assert_eq!(spool.room(None), Room::Enough, "without a clock nothing is too old");
    assert_eq!(spool.room(Some(later)), Room::Drop(1));
    assert_eq!(spool.drop_segment(1), 9);
    assert_eq!(spool.room(Some(later)), Room::Enough);

    let many = parallax_common::limits::SPOOL_LIVES_MAX as u64 + 1;
    let found = (1..=many).map(|n| segment(n, n, 1, 1)).collect();
    let mut spool = Spool::on_disk(LIFE, BOUNDS, found, &[], true);
    assert_eq!(spool.room(None), Room::Drop(1));
    spool.drop_segment(1);
    assert_eq!(spool.room(None), Room::Enough);
}

#[test]
fn a_life_that_ended_while_somebody_was_sent_something_is_not_merged() {
    let found = || vec![segment(1, 1, 1, 20)];
    let mut calm = Spool::on_disk(LIFE, BOUNDS, found(), &[], true);
    assert!(calm.may_merge(Incarnation(1), 5, 9));
    let mut doubtful = Spool::on_disk(LIFE, BOUNDS, found(), &[], false);
    assert!(!doubtful.may_merge(Incarnation(1), 5, 9));
    // Nor in the life after it, whatever the disk says then.
    let said = doubtful.statements();
    let mut next = Spool::on_disk(Incarnation(8), BOUNDS, found(), &said, true);
    assert!(!next.may_merge(Incarnation(1), 5, 9));
}

#[test]
fn who_comes_back_first_after_all_were_away_takes_nothing_from_the_others() {
    let mut spool = filled(3);
    for reader in [1, 2] {
        spool.attach(reader);
        spool.detach(reader, at(0));
    }
    assert_eq!(spool.give_up_away(at(3), HOUR), []);
    spool.attach(1);
    spool.acknowledge(LIFE, 1, 3);
    assert_eq!(spool.give_up_away(at(3), HOUR), []);
    assert_eq!(spool.bytes(), 30, "the other is on its way");
    spool.attach(2);
    assert_eq!(claimed(&mut spool, 2, 1), [1, 2, 3]);
    spool.acknowledge(LIFE, 2, 3);
    assert_eq!(spool.bytes(), 0);
}
