//! Every step of a life of the spool is the last one, fails, or finds no room; then the next life is
//! looked at. The files are the twin's; two coordinators stand outside and count what they are brought.
//!
//! Windows have ten runs each. What a coordinator counts for a check and a minute must never be more
//! than was measured, however windows were merged, lost, sent again and acknowledged in vain; and in
//! the end no less than what was on the disk.

use std::time::Duration;

use parallax_common::name::Incarnation;
use parallax_common::outcome::Outcome;
use parallax_common::time::BootTime;
use parallax_common::window::Window;

use super::super::files::twin::{Fault, Loss, Twin};
use super::*;
use crate::core::spool::disk::Bounds;
use crate::core::spool::merge::tests::window as measured;
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
                    let batch = super::super::read(files, (id, length), 0, from, PORTION).unwrap();
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

#[test]
fn a_torn_end_is_cut_and_damage_in_the_middle_sets_its_segment_aside() {
    let length = {
        let (files, _, names) = three();
        files.length(&names[1]).unwrap() as usize
    };
    let mut damaged = 0;
    for at in (0..length).step_by(7) {
        let (files, mut outside, names) = three();
        files.flip(&names[1], at);
        let mut life = Life::begin(&files, 2, AMPLE).unwrap();
        life.bring_all(&mut outside);
        outside.never_more_than_was_sealed("damaged");
        for (reader, counted) in &outside.counted {
            // Six windows of ten runs are in each: the others are there, and the tail loses one.
            let runs: u64 = counted.values().sum();
            assert!(runs == 120 || runs == 170, "{reader} has {runs}, flipped {at}");
            damaged += u64::from(runs == 120);
        }
        let left = files.list().unwrap();
        let aside = left.iter().any(|name| name.ends_with(DAMAGED));
        assert_eq!(aside, outside.counted[&1].values().sum::<u64>() == 120, "{left:?}");
    }
    assert!(damaged > 20, "{damaged}");
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
