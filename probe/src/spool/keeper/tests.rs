//! Every step of a life of the spool is the last one, fails, or finds no room; then the next life is
//! looked at. The files are the twin's; two coordinators stand outside and count what they are brought.
//!
//! Windows have ten runs each. What a coordinator counts for a check and a minute must never be more
//! than was measured, however windows were merged, lost, sent again and acknowledged in vain; and in
//! the end no less than what was on the disk.

use std::time::Duration;

use parallax_common::limits::{
    SPOOL_DAMAGED_KEPT, SPOOL_MERGE_AGAIN_TURNS, SPOOL_MERGE_BYTES_MAX, SPOOL_SEGMENT_BYTES_MAX,
    SPOOL_SEGMENT_READ_MAX, SPOOL_UNREADABLE_TIMES, SPOOL_WRITE_BYTES_MAX,
};
use parallax_common::name::Incarnation;
use parallax_common::outcome::Outcome;
use parallax_common::time::BootTime;
use parallax_common::window::Window;

use super::super::files::twin::{Fault, Loss, Twin};
use super::*;
use crate::core::spool::disk::Bounds;
use crate::core::spool::merge::tests::window as measured;
use crate::core::spool::record::decode;
use crate::core::spool::{Claim, Portion};

/// Room for some 80 windows; segments of some 5.
const SMALL: Bounds = Bounds { bytes_max: 14_000, age_max: Duration::from_secs(86_400) };
const AMPLE: Bounds = Bounds { bytes_max: 1 << 30, ..SMALL };
const PORTION: Portion = Portion { windows: 4, bytes: 10_000 };
const READERS: [u64; 2] = [1, 2];

/// Runs, by check, life and minute.
type Runs = BTreeMap<(parallax_common::name::Uid, u64, MeshTime), u64>;

fn count(runs: &mut Runs, window: &Window) {
    let minute = window.start.as_ns().div_euclid(60_000_000_000);
    let key = (window.check, window.incarnation.0, MeshTime::from_ns(minute));
    *runs.entry(key).or_default() += window.outcomes.len();
}

/// What outlives the process.
#[derive(Default, Clone)]
struct Outside {
    /// All that was sealed, and that part of it which was on the disk when a turn had ended well.
    sealed: Runs,
    durable: Runs,
    /// By coordinator: how far each life has come, and what was counted.
    through: BTreeMap<(u64, u64), u64>,
    counted: BTreeMap<u64, Runs>,
    merged: u64,
}

impl Outside {
    fn take(&mut self, reader: u64, life: Incarnation, sequence: u64, bytes: &[u8]) {
        let through = self.through.entry((reader, life.0)).or_default();
        if sequence <= *through {
            return;
        }
        *through = sequence;
        let window = window(&v1::Window::decode(bytes).unwrap()).unwrap();
        assert_eq!(window.incarnation, life);
        count(self.counted.entry(reader).or_default(), &window);
    }

    fn never_more_than_was_sealed(&self, why: &str) {
        for (reader, counted) in &self.counted {
            for (key, runs) in counted {
                let sealed = self.sealed.get(key).copied().unwrap_or(0);
                assert!(*runs <= sealed, "{reader} counts {runs} of {sealed} for {key:?}: {why}");
            }
        }
    }

    fn has(&self, wanted: &Runs, why: &str) {
        for reader in READERS {
            for (key, runs) in wanted {
                let counted = self.counted.get(&reader).and_then(|of| of.get(key)).copied();
                let counted = counted.unwrap_or(0);
                assert!(counted >= *runs, "{reader} has {counted} of {runs} for {key:?}: {why}");
            }
        }
    }
}

struct Life {
    files: Twin,
    spool: Mutex<Spool>,
    keeper: Keeper,
    incarnation: Incarnation,
    n: i64,
}

impl Life {
    fn begin(files: &Twin, life: u64, bounds: Bounds) -> io::Result<Self> {
        let (keeper, found) = Keeper::open(Arc::new(files.clone()))?;
        let incarnation = Incarnation(life);
        let mut spool =
            Spool::on_disk(incarnation, bounds, found.segments, &found.statements, found.quiet);
        spool.expect(1, BootTime::default());
        spool.expect(2, BootTime::default());
        Ok(Self { files: files.clone(), spool: Mutex::new(spool), keeper, incarnation, n: 0 })
    }

    /// Seals windows of two checks.
    fn seal(&mut self, outside: &mut Outside, count_of: u64) {
        for _ in 0..count_of {
            let check = 1 + (self.n % 2) as u8;
            let of = measured(check, self.n / 2, &[Outcome::Pass; 10], &[500; 10]);
            let of = Window { incarnation: self.incarnation, ..of };
            self.n += 1;
            count(&mut outside.sealed, &of);
            let end = of.start + of.period.length();
            lock(&self.spool).push(end, window_to(&of).encode_to_vec().into());
        }
    }

    fn turn(&mut self, outside: &mut Outside) {
        let turn = self.keeper.turn(&self.spool, None);
        outside.merged += turn.merged;
        if turn.refused.is_none() && !self.files.is_over() {
            let ours =
                outside.sealed.iter().filter(|((_, life, _), _)| *life == self.incarnation.0);
            let ours: Vec<_> = ours.map(|(key, runs)| (*key, *runs)).collect();
            outside.durable.extend(ours);
        }
    }

    /// Brings at most so many windows of a life to a coordinator; whether it said that they came.
    fn bring(
        &mut self,
        outside: &mut Outside,
        life: Incarnation,
        reader: u64,
        most: u64,
        ack: bool,
    ) {
        let (mut cursor, _) = lock(&self.spool).place(life, reader);
        let mut brought = 0;
        while brought < most && !self.files.is_over() {
            let claim = lock(&self.spool).claim(life, reader, (cursor, u64::MAX), PORTION);
            let (first, windows) = match claim {
                Claim::Windows(first, windows) => (first, windows),
                Claim::Disk(id, from) => {
                    let length = lock(&self.spool).segment(id).unwrap().bytes;
                    let files = &*self.keeper.files;
                    let range = (from, MeshTime::from_ns(i64::MAX));
                    let batch = super::super::read(files, (id, length), 0, range, PORTION);
                    let batch = batch.unwrap().expect("they are over");
                    (batch.first, batch.windows)
                }
                Claim::Nothing | Claim::Over => return,
            };
            for (sequence, bytes) in (first..).zip(&windows) {
                outside.take(reader, life, sequence, bytes);
            }
            cursor = first + windows.len() as u64;
            brought += windows.len() as u64;
            if ack {
                lock(&self.spool).acknowledge(life, reader, cursor - 1);
            }
        }
    }

    fn bring_all(&mut self, outside: &mut Outside) {
        for reader in READERS {
            lock(&self.spool).attach(reader);
        }
        self.turn(outside);
        for reader in READERS {
            loop {
                let owed = lock(&self.spool).owed(reader);
                let Some(life) = owed else { break };
                self.bring(outside, life, reader, u64::MAX, true);
            }
            self.bring(outside, self.incarnation, reader, u64::MAX, true);
        }
    }

    fn away(&mut self, outside: &mut Outside, readers: &[u64]) {
        for reader in readers {
            lock(&self.spool).detach(*reader, BootTime::default());
        }
        self.turn(outside);
    }

    fn story(&mut self, outside: &mut Outside) {
        let ours = self.incarnation;
        for _ in 0..3 {
            self.seal(outside, 10);
            self.turn(outside);
        }
        lock(&self.spool).attach(1);
        self.turn(outside);
        self.bring(outside, ours, 1, 10, true);
        self.bring(outside, ours, 1, 5, false);
        self.away(outside, &[1]);
        for _ in 0..6 {
            self.seal(outside, 10);
            self.turn(outside);
        }
        lock(&self.spool).attach(1);
        lock(&self.spool).attach(2);
        self.turn(outside);
        self.bring(outside, ours, 1, 20, true);
        self.bring(outside, ours, 2, 13, false);
        self.seal(outside, 5);
        self.turn(outside);
        self.away(outside, &READERS);
        for _ in 0..6 {
            self.seal(outside, 10);
            self.turn(outside);
        }
        lock(&self.spool).attach(1);
        self.turn(outside);
        self.bring(outside, ours, 1, u64::MAX, true);
        self.turn(outside);
        self.away(outside, &[1]);
    }
}

/// The next life, and the one after it whatever becomes of what was not synced: they bring what there
/// is, and seal more.
fn go_on(files: &Twin, outside: &mut Outside, why: &str) {
    let mut life = Life::begin(files, 2, AMPLE).unwrap_or_else(|error| panic!("{why}: {error}"));
    let owed = outside.durable.clone();
    life.seal(outside, 3);
    life.bring_all(outside);
    outside.never_more_than_was_sealed(why);
    outside.has(&owed, why);
    life.turn(outside);
    drop(life);
    let mut last = Life::begin(&files.after(Loss::All), 3, AMPLE).unwrap();
    last.bring_all(outside);
    outside.never_more_than_was_sealed(why);
    outside.has(&outside.durable, why);
    last.turn(outside);
    last.turn(outside);
    assert_eq!(lock(&last.spool).disk_bytes(), 0, "all is delivered: {why}");
}

/// A life with something in its way; `None` when it could not even begin.
fn live(files: &Twin, outside: &mut Outside) -> Option<Life> {
    let mut life = Life::begin(files, 1, SMALL).ok()?;
    life.story(outside);
    outside.never_more_than_was_sealed("in the first life");
    Some(life)
}

fn steps() -> u64 {
    let (files, mut outside) = (Twin::default(), Outside::default());
    let mut life = live(&files, &mut outside).unwrap();
    assert!(outside.merged > 60, "{}", outside.merged);
    assert_eq!(lock(&life.spool).dropped(), 0, "merging made room for all");
    life.bring_all(&mut outside);
    outside.never_more_than_was_sealed("whole");
    outside.has(&outside.sealed, "whole");
    files.steps()
}

const fn losses(step: u64) -> [Loss; 4] {
    [Loss::Nothing, Loss::All, Loss::Some(step), Loss::Some(step + 10_000)]
}

#[test]
fn whatever_the_last_step_was_what_was_on_the_disk_arrives_and_nothing_counts_twice() {
    let steps = steps();
    assert!(steps > 120, "{steps}");
    for step in 0..steps {
        for loss in losses(step) {
            let (files, mut outside) = (Twin::with(Fault::EndAt(step)), Outside::default());
            live(&files, &mut outside);
            go_on(&files.after(loss), &mut outside, &format!("ended at {step}, lost {loss:?}"));
        }
    }
}

#[test]
fn a_step_that_fails_loses_nothing_while_the_process_lives() {
    let steps = steps();
    let faults = |step| {
        let fails = [1, 4].map(|length| Fault::FailAt(step, length));
        let full = [1, 30].map(|length| Fault::FullAt(step, length));
        fails.into_iter().chain(full)
    };
    let mut kept_all = 0;
    for step in 0..steps {
        for fault in faults(step) {
            let (files, mut outside) = (Twin::with(fault), Outside::default());
            let why = format!("{fault:?}");
            // A start on a disk that refuses is refused.
            let Some(mut life) = live(&files, &mut outside) else { continue };
            // The disk recovers, and by itself everything goes on; unless room ran out before.
            files.set(Fault::None);
            life.turn(&mut outside);
            life.turn(&mut outside);
            let dropped = lock(&life.spool).dropped();
            let (before, mut crashed) = (files.after(Loss::All), outside.clone());
            life.bring_all(&mut outside);
            outside.never_more_than_was_sealed(&why);
            if dropped == 0 {
                kept_all += 1;
                outside.has(&outside.sealed, &why);
                assert_eq!(outside.durable, outside.sealed, "{why}");
                go_on(&before, &mut crashed, &format!("{why}, then the machine ended"));
            }
        }
    }
    assert!(kept_all > 3 * steps, "{kept_all} of {}", 4 * steps);
}

#[test]
fn a_disk_that_stays_full_leaves_the_newest_in_memory_and_they_arrive() {
    let (files, mut outside) = (Twin::with(Fault::FullAt(12, u64::MAX / 2)), Outside::default());
    let mut life = live(&files, &mut outside).unwrap();
    let turn = life.keeper.turn(&life.spool, None);
    assert!(turn.refused.is_some_and(|refused| refused.full));
    life.bring_all(&mut outside);
    outside.has(&outside.sealed, "from memory");
    outside.never_more_than_was_sealed("from memory");
}

/// A spool of one life with three segments, and their names.
fn three() -> (Twin, Outside, Vec<String>) {
    let (files, mut outside) = (Twin::default(), Outside::default());
    let mut life = Life::begin(&files, 1, SMALL).unwrap();
    for _ in 0..3 {
        life.seal(&mut outside, 6);
        life.turn(&mut outside);
    }
    let mut names = files.list().unwrap();
    names.retain(|name| name.ends_with(END));
    assert_eq!(names.len(), 3, "{names:?}");
    (files.after(Loss::All), outside, names)
}

/// The kinds of the records of a file, with their ends.
fn records(bytes: &[u8]) -> Vec<(&'static str, usize)> {
    let (mut at, mut all) = (0, vec![]);
    while let Some((record, length)) = decode(&bytes[at..]) {
        at += length;
        let kind = match record {
            Record::Head(_) => "head",
            Record::Cursors(_) => "cursors",
            Record::Window { .. } => "window",
        };
        all.push((kind, at));
    }
    all
}

/// What both readers are brought in the next life: runs of three segments with six windows of ten.
fn brought(files: &Twin, outside: &mut Outside, why: &str) -> u64 {
    let mut life = Life::begin(files, 2, AMPLE).unwrap();
    life.bring_all(outside);
    outside.never_more_than_was_sealed(why);
    let runs = outside.counted.values().map(|counted| counted.values().sum());
    let runs: Vec<u64> = runs.collect();
    assert!(runs.len() == 2 && runs[0] == runs[1], "{runs:?} {why}");
    runs[0]
}

fn aside_in(files: &Twin) -> usize {
    files.list().unwrap().iter().filter(|name| name.ends_with(DAMAGED)).count()
}

#[test]
fn a_torn_end_is_cut_and_damage_in_the_middle_takes_only_what_it_hit() {
    let kinds = {
        let (files, _, names) = three();
        records(&read_all(&files, &names[1]).unwrap())
    };
    assert_eq!(kinds.iter().filter(|(kind, _)| *kind == "window").count(), 6, "{kinds:?}");
    let length = kinds.last().unwrap().1;
    for at in (0..length).step_by(7) {
        let (files, mut outside, names) = three();
        files.flip(&names[1], at);
        let hit = kinds.iter().position(|(_, end)| at < *end).unwrap();
        let runs = brought(&files, &mut outside, "damaged");
        let kept = match kinds[hit].0 {
            "head" => 120,
            "cursors" => 180,
            _ => 170,
        };
        assert_eq!(runs, kept, "flipped {at}, in the {}", kinds[hit].0);
        let torn = hit == kinds.len() - 1;
        assert_eq!(aside_in(&files), usize::from(!torn), "flipped {at}");
    }
}

#[test]
fn a_hole_in_the_last_commit_takes_nothing_of_those_before_it() {
    let (files, mut outside) = (Twin::default(), Outside::default());
    let mut life = Life::begin(&files, 1, AMPLE).unwrap();
    life.seal(&mut outside, 5);
    life.turn(&mut outside);
    let synced = files.length(&name(1)).unwrap();
    life.seal(&mut outside, 5);
    life.turn(&mut outside);
    drop(life);
    // The machine ended before the second one was whole: a page of it was not written.
    let at = usize::try_from(synced).unwrap();
    let end = usize::try_from(files.length(&name(1)).unwrap()).unwrap();
    for byte in at..(at + 20).min(end) {
        files.flip(&name(1), byte);
    }
    assert_eq!(brought(&files, &mut outside, "a hole"), 90, "one window of ten was hit");
    assert_eq!(aside_in(&files), 1);
}

#[test]
fn a_damaged_segment_that_cannot_be_mended_keeps_what_is_before_the_damage() {
    let (files, mut outside, names) = three();
    let kinds = records(&read_all(&files, &names[1]).unwrap());
    files.flip(&names[1], kinds[4].1 + 30);
    files.set(Fault::FullAt(0, u64::MAX));
    let windows = kinds[..=4].iter().filter(|(kind, _)| *kind == "window").count() as u64;
    assert!(windows > 1, "{kinds:?}");
    assert_eq!(brought(&files, &mut outside, "full"), 120 + 10 * windows);
}

#[test]
fn a_place_that_the_disk_refuses_to_read_for_a_moment_costs_nothing_and_for_good_what_is_there() {
    for (times, runs) in [(u64::from(SPOOL_UNREADABLE_TIMES) - 1, 180), (u64::MAX, 120)] {
        let (files, mut outside, names) = three();
        files.refuse_reading(&names[1], 100..101, times);
        assert_eq!(brought(&files, &mut outside, "unreadable"), runs, "{times}");
        assert_eq!(aside_in(&files), usize::from(runs == 120));
    }
}

#[test]
fn a_file_that_is_longer_than_any_segment_is_not_read() {
    let (files, mut outside, names) = three();
    let mut long = files.create(&names[1]).unwrap();
    long.add(&vec![0; usize::try_from(SPOOL_SEGMENT_READ_MAX).unwrap() + 1]).unwrap();
    assert_eq!(brought(&files, &mut outside, "long"), 120);
    assert!(files.read_most() < 1 << 20, "{}", files.read_most());
}

#[test]
fn a_quiet_file_that_could_not_be_deleted_once_is_deleted_by_the_next_turn() {
    let (files, mut outside) = (Twin::default(), Outside::default());
    let mut life = Life::begin(&files, 1, AMPLE).unwrap();
    life.seal(&mut outside, 3);
    life.turn(&mut outside);
    assert!(files.list().unwrap().contains(&QUIET.to_owned()));
    lock(&life.spool).attach(1);
    files.set(Fault::FailAt(files.steps(), 1));
    let turn = life.keeper.turn(&life.spool, None);
    assert_eq!(turn.refused.unwrap().what, "delete the quiet file");
    assert!(files.list().unwrap().contains(&QUIET.to_owned()));
    let incarnation = life.incarnation;
    life.bring(&mut outside, incarnation, 1, 1, false);
    assert!(!outside.counted[&1].is_empty(), "what waits is sent all the same");
    life.turn(&mut outside);
    assert!(!files.after(Loss::All).list().unwrap().contains(&QUIET.to_owned()));
}

#[test]
fn what_the_disk_had_no_room_to_merge_is_merged_later() {
    let (files, mut outside) = (Twin::default(), Outside::default());
    let mut life = Life::begin(&files, 1, SMALL).unwrap();
    // Up to where merging begins, and no further.
    loop {
        let room = lock(&life.spool).room(None);
        if matches!(room, Room::Merge(_)) {
            break;
        }
        life.seal(&mut outside, 1);
        let commit = lock(&life.spool).commit().unwrap();
        let length = life.keeper.write(&commit).unwrap();
        lock(&life.spool).committed(&commit, length);
    }
    files.set(Fault::FullAt(files.steps(), u64::MAX / 2));
    life.turn(&mut outside);
    assert_eq!((outside.merged, lock(&life.spool).dropped()), (0, 0));
    files.set(Fault::None);
    for _ in 1..SPOOL_MERGE_AGAIN_TURNS {
        life.turn(&mut outside);
        assert_eq!(outside.merged, 0, "not at once: it is much work");
    }
    life.turn(&mut outside);
    assert!(outside.merged > 0);
    life.bring_all(&mut outside);
    outside.has(&outside.sealed, "after all");
    outside.never_more_than_was_sealed("after all");
}

#[test]
fn a_part_of_a_merge_that_cannot_be_deleted_keeps_the_others_from_nothing_and_goes_later() {
    let (files, mut outside) = (Twin::default(), Outside::default());
    let mut life = Life::begin(&files, 1, SMALL).unwrap();
    let merges = |life: &Life| match lock(&life.spool).room(None) {
        Room::Merge(ids) => Some(ids),
        _ => None,
    };
    let ids = loop {
        if let Some(ids) = merges(&life) {
            break ids;
        }
        life.seal(&mut outside, 1);
        let commit = lock(&life.spool).commit().unwrap();
        let length = life.keeper.write(&commit).unwrap();
        lock(&life.spool).committed(&commit, length);
    };
    assert!(ids.len() > 1, "{ids:?}");
    files.refuse_deleting(Some(&name(ids[0])));
    life.turn(&mut outside);
    let merged = outside.merged;
    assert!(merged > 0);
    let there = files.list().unwrap();
    let left = |ids: &[u64]| ids.iter().filter(|id| there.contains(&name(**id))).count();
    assert_eq!((left(&ids[..1]), left(&ids[1..])), (1, 0));
    // What takes room that nobody counts must not become more.
    while merges(&life).is_none() && lock(&life.spool).dropped() == 0 {
        life.seal(&mut outside, 1);
        let commit = lock(&life.spool).commit().unwrap();
        let length = life.keeper.write(&commit).unwrap();
        lock(&life.spool).committed(&commit, length);
    }
    let turn = life.keeper.turn(&life.spool, None);
    assert_eq!(
        (turn.merged, turn.refused.map(|refused| refused.what)),
        (0, Some("delete a segment"))
    );
    files.refuse_deleting(None);
    for _ in 0..=SPOOL_MERGE_AGAIN_TURNS {
        life.turn(&mut outside);
    }
    assert!(!files.list().unwrap().contains(&name(ids[0])));
    assert!(outside.merged > merged);
    life.bring_all(&mut outside);
    outside.has(&outside.sealed, "after all");
    outside.never_more_than_was_sealed("after all");
}

#[test]
fn a_segment_that_is_damaged_when_it_is_merged_loses_what_was_hit_and_nothing_behind_it() {
    let earlier = Bounds { bytes_max: 28_000, ..SMALL };
    for full in [false, true] {
        let (files, mut outside) = (Twin::default(), Outside::default());
        let mut life = Life::begin(&files, 1, earlier).unwrap();
        while lock(&life.spool).disk_bytes() < 11_500 {
            life.seal(&mut outside, 3);
            life.turn(&mut outside);
        }
        drop(life);
        let mut life = Life::begin(&files, 2, SMALL).unwrap();
        let room = lock(&life.spool).room(None);
        let Room::Merge(ids) = room else { panic!("{room:?}") };
        let kinds = records(&read_all(&files, &name(ids[0])).unwrap());
        let third = kinds.iter().filter(|(kind, _)| *kind == "window").nth(2).unwrap();
        files.flip(&name(ids[0]), third.1 - 20);
        if full {
            files.set(Fault::FullAt(0, u64::MAX));
            let turn = life.keeper.turn(&life.spool, None);
            assert_eq!((turn.merged, turn.damaged, turn.dropped), (0, 0, 0));
            assert!(lock(&life.spool).segment(ids[0]).is_some(), "it waits for room");
            assert_eq!(aside_in(&files), 0);
            files.set(Fault::None);
        }
        let mut damaged = 0;
        for _ in 0..=SPOOL_MERGE_AGAIN_TURNS {
            let turn = life.keeper.turn(&life.spool, None);
            outside.merged += turn.merged;
            damaged += turn.damaged;
        }
        assert!(damaged == 1 && outside.merged > 0, "{damaged}, {}", outside.merged);
        assert_eq!((lock(&life.spool).dropped(), aside_in(&files)), (1, 1), "one window");
        life.bring_all(&mut outside);
        outside.never_more_than_was_sealed("damaged");
        let sealed: u64 = outside.sealed.values().sum();
        for counted in outside.counted.values() {
            assert_eq!(counted.values().sum::<u64>(), sealed - 10, "full: {full}");
        }
    }
}

/// A life with ten windows in one segment, of which these are damaged on the disk.
fn ten_of_which_are_hit(hit: &[usize]) -> (Life, Outside, u64) {
    let (files, mut outside) = (Twin::default(), Outside::default());
    let mut life = Life::begin(&files, 1, AMPLE).unwrap();
    life.seal(&mut outside, 10);
    life.turn(&mut outside);
    let room = lock(&life.spool).segment(1).map(|segment| segment.windows);
    assert_eq!(room, Some(10));
    let kinds = records(&read_all(&files, &name(1)).unwrap());
    let ends: Vec<usize> =
        kinds.iter().filter(|(kind, _)| *kind == "window").map(|(_, end)| *end).collect();
    hit.iter().for_each(|window| files.flip(&name(1), ends[window - 1] - 20));
    (life, outside, 1)
}

#[test]
fn what_is_hit_on_the_disk_and_still_in_memory_is_written_anew_and_not_lost() {
    for hit in [&[3, 4][..], &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]] {
        let (mut life, mut outside, id) = ten_of_which_are_hit(hit);
        assert_eq!(life.keeper.mend(&life.spool, id), Ok(0), "{hit:?}");
        assert_eq!((lock(&life.spool).dropped(), aside_in(&life.files)), (0, 1));
        let mut next = Life::begin(&life.files.after(Loss::All), 2, AMPLE).unwrap();
        next.bring_all(&mut outside);
        outside.has(&outside.sealed, "what was in memory");
        outside.never_more_than_was_sealed("what was in memory");
    }
}

#[test]
fn only_what_somebody_is_owed_counts_as_lost_and_all_of_that() {
    // Hit, and how many of those are owed: everybody has the first four.
    for (hit, lost) in [(&[2, 7][..], 1), (&[2], 0), (&[5, 10], 2), (&[1, 2, 3, 4, 8], 1)] {
        let (life, _, id) = ten_of_which_are_hit(hit);
        let (files, of) = (life.files.clone(), life.incarnation);
        drop(life);
        // Found whole by the start, and hit afterwards.
        let damaged = read_all(&files, &name(id)).unwrap();
        let whole = {
            let (whole, ..) = ten_of_which_are_hit(&[]);
            read_all(&whole.files, &name(id)).unwrap()
        };
        let write = |bytes: &[u8]| {
            let mut file = files.create(&name(id)).unwrap();
            file.add(bytes).and_then(|()| file.sync()).unwrap();
        };
        write(&whole);
        let mut next = Life::begin(&files, 2, AMPLE).unwrap();
        write(&damaged);
        for reader in READERS {
            let mut spool = lock(&next.spool);
            spool.attach(reader);
            spool.acknowledge(of, reader, 4);
        }
        assert_eq!(next.keeper.mend(&next.spool, id), Ok(lost), "{hit:?}");
        assert_eq!(lock(&next.spool).dropped(), lost, "{hit:?}");
    }
}

#[test]
fn what_is_kept_for_a_look_makes_room_for_what_can_be_read() {
    let (files, mut outside, names) = three();
    let kinds = records(&read_all(&files, &names[1]).unwrap());
    files.flip(&names[1], kinds[4].1 + 30);
    // There is room for what it was, and then for nothing.
    files.set(Fault::FullAt(3, 1));
    assert_eq!(brought(&files, &mut outside, "full"), 170);
    assert_eq!(aside_in(&files), 0);
}

#[test]
fn a_file_that_cannot_be_deleted_keeps_none_from_being_written_or_deleted() {
    let (files, mut outside, names) = three();
    let mut life = Life::begin(&files, 2, SMALL).unwrap();
    files.refuse_deleting(Some(&names[0]));
    life.bring_all(&mut outside);
    life.seal(&mut outside, 6);
    let turn = life.keeper.turn(&life.spool, None);
    assert_eq!(turn.refused.unwrap().what, "delete a segment");
    let there = files.list().unwrap();
    assert!(there.contains(&names[0]) && !there.contains(&names[1]), "{there:?}");
    let sealed = outside.sealed.clone();
    let mut next = Life::begin(&files.after(Loss::All), 3, SMALL).unwrap();
    let mut seen = outside.clone();
    next.bring_all(&mut seen);
    seen.has(&sealed, "it was written");
    seen.never_more_than_was_sealed("it was written");
    // Too old to be kept and cannot go: what is new is written all the same, within the bound.
    let late = MeshTime::from_ns(i64::MAX / 2);
    life.seal(&mut outside, 6);
    let turn = life.keeper.turn(&life.spool, Some(late));
    assert!(turn.refused.is_some());
    assert_eq!(lock(&life.spool).commit().map(|of| of.windows.len()), None, "nothing waits");
    files.refuse_deleting(None);
    life.keeper.turn(&life.spool, None);
    assert!(!files.list().unwrap().contains(&names[0]));
}

#[test]
fn neither_a_start_nor_a_merge_reads_more_than_a_segment_at_once() {
    const MIB: usize = 1024 * 1024;
    let bounds = Bounds { bytes_max: 64 * MIB as u64, age_max: SMALL.age_max };
    let files = Twin::default();
    let mut life = Life::begin(&files, 1, bounds).unwrap();
    for n in 0..110_u64 {
        let end = MeshTime::from_ns(n as i64);
        lock(&life.spool).push(end, vec![0; MIB / 2 - 100].into());
        if n % 8 == 0 {
            life.keeper.turn(&life.spool, None);
        }
    }
    life.keeper.turn(&life.spool, None);
    let most = {
        let spool = lock(&life.spool);
        let ids = files.list().unwrap().iter().filter_map(|name| id_of(name)).collect::<Vec<_>>();
        assert!(ids.len() > 8, "{ids:?}");
        let lengths = ids.iter().filter_map(|id| spool.segment(*id)).map(|of| of.bytes);
        let most = lengths.max().unwrap();
        let Room::Enough = spool.room(None) else { panic!("it was all looked at") };
        most
    };
    // A write may go over the bound of a segment by itself.
    let one = SPOOL_SEGMENT_BYTES_MAX + SPOOL_WRITE_BYTES_MAX as u64 + MIB as u64;
    assert!(most <= one && one <= SPOOL_SEGMENT_READ_MAX, "{most}");
    Life::begin(&files, 2, bounds).unwrap();
    assert!(files.read_most() as u64 <= one, "{}", files.read_most());
}

#[test]
fn a_merge_takes_no_more_than_its_bound() {
    let (files, mut outside) = (Twin::default(), Outside::default());
    let bounds = Bounds { bytes_max: 1 << 20, ..SMALL };
    let mut life = Life::begin(&files, 1, bounds).unwrap();
    let mut merges = 0;
    for _ in 0..400 {
        life.seal(&mut outside, 20);
        let room = lock(&life.spool).room(None);
        if let Room::Merge(ids) = room {
            merges += 1;
            let spool = lock(&life.spool);
            let bytes: u64 = ids.iter().filter_map(|id| spool.segment(*id)).map(|s| s.bytes).sum();
            assert!(bytes <= bounds.segment_bytes() * 4 && bytes <= SPOOL_MERGE_BYTES_MAX);
        }
        life.turn(&mut outside);
    }
    assert!(merges > 2 && outside.merged > 1_000, "{merges}, {}", outside.merged);
}

#[test]
fn only_the_newest_damaged_segments_are_kept() {
    let (files, mut outside) = (Twin::default(), Outside::default());
    let mut life = Life::begin(&files, 1, AMPLE).unwrap();
    for round in 0..SPOOL_DAMAGED_KEPT as u64 + 3 {
        life.seal(&mut outside, 3);
        life.turn(&mut outside);
        let active = life.keeper.active.as_ref().unwrap().id;
        assert_eq!(life.keeper.set_aside(&life.spool, active), 3, "round {round}");
        assert_eq!(life.keeper.set_aside(&life.spool, active), 0, "it is aside");
    }
    let aside = files.list().unwrap().into_iter().filter(|name| name.ends_with(DAMAGED));
    let aside: Vec<String> = aside.collect();
    assert_eq!(aside.len(), SPOOL_DAMAGED_KEPT, "{aside:?}");
    assert_eq!(lock(&life.spool).dropped(), 3 * (SPOOL_DAMAGED_KEPT as u64 + 3));
}

#[test]
fn a_minute_that_is_not_over_is_not_merged() {
    let windows: BTreeMap<u64, (MeshTime, Bytes)> = (0..4)
        .map(|n| {
            let of = measured(1, n, &[Outcome::Pass; 10], &[500; 10]);
            let end = of.start + of.period.length();
            (n.unsigned_abs() + 1, (end, window_to(&of).encode_to_vec().into()))
        })
        .collect();
    let minute = |at| minutes(&windows, at);
    assert_eq!(minute(None), [[1, 2, 3, 4]]);
    let end = merge::end(&merge::key(&measured(1, 0, &[Outcome::Pass], &[500])).unwrap());
    let before = MeshTime::from_ns(end.as_ns() - 1);
    assert_eq!(minute(Some(before)), Vec::<Vec<u64>>::new(), "it would end in the future");
    assert_eq!(minute(Some(end)), [[1, 2, 3, 4]]);
}
