//! What is kept, rolled up, deleted and taken in; and that no crash between loses or doubles a run.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use parallax_common::limits::HISTORY_HOURS_AGE_MAX;
use parallax_common::outcome::Outcome;
use proptest::prelude::*;

use super::*;
use crate::history::cell::Cells;
use crate::history::contract::{at, check, spool, window};
use crate::history::files::System;
use crate::history::segment::cells::all_phases;
use crate::history::{Question, Record};

mod budget;
mod crash;

const HOUR: i64 = 3_600;
const DAY: i64 = 86_400;

fn system() -> Arc<dyn Files> {
    Arc::new(System)
}

struct Rig {
    dir: tempfile::TempDir,
    disk: Disk,
    journal: Journal,
}

impl Rig {
    fn new() -> Self {
        Self::with_budget(u64::MAX)
    }

    fn with_budget(bytes_max: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (disk, journal) = Disk::open(system(), dir.path(), bytes_max).unwrap();
        Self { dir, disk, journal }
    }

    /// As after `kill -9`: nothing is written on the way out.
    fn restart(self) -> Self {
        let Self { dir, disk, journal } = self;
        drop((disk, journal));
        let (disk, journal) = Disk::open(system(), dir.path(), u64::MAX).unwrap();
        Self { dir, disk, journal }
    }

    fn take(&mut self, spool: &Spool, first: u64, windows: Vec<Record>, now: i64) -> Appended {
        let windows = (first..).zip(windows).collect();
        let batch = Batch { spool: spool.clone(), windows, now: at(now), room: None };
        self.disk.commit(&mut self.journal, &[batch]).unwrap()[0]
    }

    /// Ten-second windows of check 1, one after the other, taken ten minutes at a time: a sync for
    /// each window would be most of what the tests do.
    fn fill(&mut self, from: i64, to: i64) {
        for start in (from..to).step_by(600) {
            let end = to.min(start + 600);
            let windows = (start..end).step_by(10).map(|start| window(1, start)).collect();
            self.take(&spool("eu", 1), (start / 10 + 1) as u64, windows, end);
            if self.disk.should_flush(at(end + 60)) {
                self.disk.flush(&mut self.journal).unwrap();
            }
        }
    }

    fn runs(&self, tier: Tier) -> u64 {
        runs(&self.disk, tier)
    }

    fn journals(&self) -> Vec<String> {
        let names = system().list(self.dir.path()).unwrap();
        names.into_iter().filter(|name| journal::parse_name(name).is_some()).collect()
    }

    fn segments(&self) -> [usize; 3] {
        Tier::ALL.map(|tier| self.disk.segments(tier).len())
    }
}

/// Runs of check 1 in `eu`, whatever came of them.
fn runs(disk: &Disk, tier: Tier) -> u64 {
    let question = Question {
        check: check(1),
        from: at(-DAY),
        to: at(1_000 * DAY),
        tier,
        phases: all_phases(),
    };
    let mut cells = Cells::default();
    disk.cells(&question, &mut |_, cell| cells.add(Tier::Hours, cell)).unwrap();
    cells.into_vec().iter().flat_map(|cell| cell.counts.values()).sum()
}

#[test]
fn every_tier_says_the_same_before_and_after_rolling_up() {
    let mut rig = Rig::new();
    rig.fill(0, 2 * HOUR + 600);
    let all = [7_800; 3];
    assert_eq!(Tier::ALL.map(|tier| rig.runs(tier)), all);
    let before = rig.segments();
    assert_eq!(before, [13, 0, 0]);
    rig.disk.maintain(at(2 * HOUR + 600)).unwrap();
    assert_eq!(rig.segments()[1], 1, "what has settled was rolled up at once");
    assert_eq!([Tier::Minutes, Tier::Hours].map(|tier| rig.runs(tier)), [7_800; 2]);
    let rig = rig.restart();
    assert_eq!([Tier::Minutes, Tier::Hours].map(|tier| rig.runs(tier)), [7_800; 2]);
    // The first hour is gone from the finest tier and from no other.
    let first = Question {
        check: check(1),
        from: at(0),
        to: at(HOUR),
        tier: Tier::Minutes,
        phases: all_phases(),
    };
    let mut minutes = 0;
    rig.disk.cells(&first, &mut |_, cell| minutes += u64::from(cell.length_s == 60)).unwrap();
    assert_eq!(minutes, 60);
    assert!(rig.runs(Tier::Windows) < 7_800);
}

#[test]
fn a_day_becomes_hours_and_a_year_is_deleted_as_whole_files() {
    let mut rig = Rig::new();
    for hour in 0..26 {
        let start = hour * HOUR;
        rig.take(&spool("eu", 1), hour as u64 + 1, vec![window(1, start)], start + 10);
        rig.disk.flush(&mut rig.journal).unwrap();
        rig.disk.maintain(at(start + HOUR + 180)).unwrap();
    }
    assert_eq!(rig.runs(Tier::Hours), 260);
    rig.disk.maintain(at(DAY + 3 * HOUR)).unwrap();
    assert_eq!(rig.segments()[2], 1);
    assert_eq!([Tier::Minutes, Tier::Hours].map(|tier| rig.runs(tier)), [260; 2]);
    // Two days on, minutes are gone; hours are not. The newest segment of windows stays.
    rig.disk.maintain(at(4 * DAY)).unwrap();
    assert_eq!((rig.segments()[..2].to_vec(), rig.runs(Tier::Hours)), (vec![1, 0], 260));
    let old = at(2 * DAY) + HISTORY_HOURS_AGE_MAX;
    rig.disk.maintain(old).unwrap();
    assert_eq!((rig.segments(), rig.runs(Tier::Hours)), ([1, 0, 0], 10));
    assert!(rig.disk.stats().expired >= 260 / 10 * 2);
    // What the newest segment of windows says outlives them all.
    let mut rig = rig.restart();
    assert_eq!(rig.disk.acknowledged(&spool("eu", 1)), Some(26));
    assert_eq!(rig.take(&spool("eu", 1), 26, vec![window(1, 0)], 0).duplicates, 1);
}

#[test]
fn windows_that_come_hours_late_are_counted_where_they_belong() {
    let mut rig = Rig::new();
    rig.fill(6 * HOUR, 7 * HOUR + 300);
    rig.disk.maintain(at(7 * HOUR + 300)).unwrap();
    // A spool that was away brings the first hour now.
    let late = (0..HOUR).step_by(10).map(|start| window(1, start)).collect();
    rig.take(&spool("eu", 2), 1, late, 7 * HOUR + 310);
    rig.disk.flush(&mut rig.journal).unwrap();
    rig.disk.maintain(at(8 * HOUR + 300)).unwrap();
    let mut hours = BTreeMap::new();
    let question = Question {
        check: check(1),
        from: at(0),
        to: at(DAY),
        tier: Tier::Hours,
        phases: all_phases(),
    };
    rig.disk
        .cells(&question, &mut |_, cell| {
            let (start, _) = cell.place(Tier::Hours);
            *hours.entry(start).or_insert(0) += cell.counts.values().sum::<u64>();
        })
        .unwrap();
    let hours: Vec<_> =
        hours.into_iter().map(|(at, n)| (at.as_ns() / 3_600_000_000_000, n)).collect();
    assert_eq!(hours, [(0, 3_600), (6, 3_600), (7, 300)]);
}

#[test]
fn a_crash_at_every_byte_of_the_last_record_loses_only_what_nobody_was_told_of() {
    let mut rig = Rig::new();
    rig.take(&spool("eu", 1), 1, vec![window(1, 0)], 10);
    let before = rig.journal.bytes() as usize;
    rig.take(&spool("eu", 1), 2, vec![window(1, 10), window(1, 20)], 30);
    let path = rig.dir.path().join("journal-000000000001.log");
    let whole = fs::read(&path).unwrap();
    for length in before..=whole.len() {
        let mut next = Rig::new();
        fs::write(next.dir.path().join(path.file_name().unwrap()), &whole[..length]).unwrap();
        next = next.restart();
        let kept = if length == whole.len() { 3 } else { 1 };
        assert_eq!(next.disk.acknowledged(&spool("eu", 1)), Some(kept), "{length}");
        assert_eq!(next.runs(Tier::Minutes), kept * 10);
        // The probe was not told, and sends it again.
        let again = next.take(&spool("eu", 1), 2, vec![window(1, 10), window(1, 20)], 40);
        assert_eq!(again.kept as u64, 3 - kept);
        assert_eq!(next.runs(Tier::Hours), 30);
    }
}

#[test]
fn a_crash_between_a_segment_and_the_end_of_its_journal_doubles_nothing() {
    let mut rig = Rig::new();
    let windows = (0..5).map(|n| window(1, n * 10)).collect();
    rig.take(&spool("eu", 1), 1, windows, 50);
    let old = rig.dir.path().join("journal-000000000001.log");
    let journal = fs::read(&old).unwrap();
    rig.disk.flush(&mut rig.journal).unwrap();
    // The old journal is still there: alone, then beside the new one.
    let new = rig.dir.path().join("journal-000000000002.log");
    for with_new in [true, false] {
        fs::write(&old, &journal).unwrap();
        if !with_new {
            fs::remove_file(&new).unwrap();
        }
        rig = rig.restart();
        assert_eq!((rig.runs(Tier::Windows), rig.segments()[0]), (50, 1), "{with_new}");
        assert_eq!(rig.journals().len(), 1, "{with_new}");
        assert_eq!(rig.disk.acknowledged(&spool("eu", 1)), Some(5));
        rig.take(&spool("eu", 2 + u64::from(with_new)), 1, vec![window(2, 0)], 60);
    }
}

#[test]
fn journals_that_a_start_on_a_full_disk_left_go_with_the_next_segment() {
    use crate::history::files::twin::{Fault, Twin};
    let (files, dir) = (Twin::default(), Path::new("/history"));
    let on = || -> Arc<dyn Files> { Arc::new(files.clone()) };
    let count = || {
        let names = files.list(dir).unwrap();
        names.iter().filter(|name| journal::parse_name(name).is_some()).count()
    };
    let batch = |first: u64| {
        let windows = vec![(first, window(1, first as i64 * 10))];
        [Batch { spool: spool("eu", 1), windows, now: at(60), room: None }]
    };
    let (disk, mut journal) = Disk::open(on(), dir, u64::MAX).unwrap();
    disk.commit(&mut journal, &batch(1)).unwrap();
    let mut second = Journal::create(&on(), dir, 2).unwrap();
    disk.commit(&mut second, &batch(2)).unwrap();
    assert_eq!(count(), 2);
    drop((disk, journal, second));
    files.set(Fault::FullAt(0, u64::MAX / 2));
    let (disk, mut journal) = Disk::open(on(), dir, u64::MAX).unwrap();
    assert_eq!((count(), runs(&disk, Tier::Windows)), (2, 20));
    files.set(Fault::None);
    disk.flush(&mut journal).unwrap();
    assert_eq!((count(), runs(&disk, Tier::Windows)), (1, 20));
}

#[test]
fn an_unfinished_roll_up_is_done_again() {
    let mut rig = Rig::new();
    rig.fill(0, HOUR);
    rig.disk.flush(&mut rig.journal).unwrap();
    let left = rig.dir.path().join(format!("1-000000000999{UNFINISHED}"));
    fs::write(&left, b"half").unwrap();
    let rig = rig.restart();
    assert!(!left.exists());
    rig.disk.maintain(at(HOUR + 300)).unwrap();
    assert_eq!([Tier::Minutes, Tier::Hours].map(|tier| rig.runs(tier)), [3_600; 2]);
}

#[test]
fn a_damaged_segment_is_set_aside_and_a_damaged_block_left_out_and_both_are_counted() {
    let mut rig = Rig::new();
    rig.fill(0, 60);
    rig.disk.flush(&mut rig.journal).unwrap();
    let path = rig.disk.segments(Tier::Windows)[0].path.clone();
    let mut bytes = fs::read(&path).unwrap();
    // In the middle of the block.
    bytes[60] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let rig = rig.restart();
    assert_eq!((rig.runs(Tier::Windows), rig.disk.stats().damaged), (0, 1));
    let end = bytes.len() - 1;
    bytes[end] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let rig = rig.restart();
    assert_eq!((rig.segments()[0], rig.disk.stats().damaged), (0, 1));
    assert!(path.with_extension("damaged").exists());
}

/// Fetches every segment of another store that is to be taken, as a copy over the network would.
fn copy(from: &Disk, to: &Disk, now: i64) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    for tier in [Tier::Minutes, Tier::Hours] {
        for segment in from.segments(tier) {
            let incoming = Incoming {
                tier,
                sha256: segment.sha256,
                bytes: segment.bytes,
                max_end: segment.meta.max_end,
                held: segment.meta.held.clone(),
            };
            let verdict = to.judge(&incoming, at(now));
            if verdict == Verdict::Take {
                let file = to.fetching(&segment.sha256);
                fs::copy(&segment.path, &file).unwrap();
                assert_eq!(to.install(&file, &incoming, at(now)).unwrap(), Verdict::Take);
            }
            verdicts.push(verdict);
        }
    }
    verdicts
}

#[test]
fn a_new_member_copies_what_it_missed_and_counts_what_it_heard_itself_once() {
    let mut old = Rig::new();
    old.fill(0, 2 * HOUR);
    old.disk.flush(&mut old.journal).unwrap();
    // The new one hears the last twenty minutes itself.
    let mut new = Rig::new();
    new.fill(2 * HOUR - 1_200, 2 * HOUR);
    assert_eq!(new.runs(Tier::Minutes), 1_200);
    old.disk.maintain(at(2 * HOUR + 180)).unwrap();
    assert_eq!(copy(&old.disk, &new.disk, 2 * HOUR + 180), [Verdict::Take]);
    assert_eq!([Tier::Minutes, Tier::Hours].map(|tier| new.runs(tier)), [7_200; 2]);
    assert_eq!(new.runs(Tier::Windows), 1_200, "windows are not copied");
    // Its own roll-up leaves out what the copy holds.
    new.disk.flush(&mut new.journal).unwrap();
    new.disk.maintain(at(2 * HOUR + 300)).unwrap();
    let mut new = new.restart();
    assert_eq!([Tier::Minutes, Tier::Hours].map(|tier| new.runs(tier)), [7_200; 2]);
    assert_eq!(copy(&old.disk, &new.disk, 2 * HOUR + 300), [Verdict::Needless]);
    // Sent again by the probe: here already.
    let again = new.take(&spool("eu", 1), 5, vec![window(1, 40)], 3 * HOUR);
    assert_eq!(again.duplicates, 1);
    assert_eq!(new.runs(Tier::Hours), 7_200);
}

#[test]
fn windows_before_a_copied_range_are_neither_lost_nor_taken_for_here() {
    // The peer heard all, but its roll-up of what came first is not to be had any more.
    let windows = |from: i64, to: i64| (from..=to).map(|n| window(1, (n - 1) * 10)).collect();
    let eu = spool("eu", 1);
    let mut peer = Rig::new();
    peer.take(&eu, 641, windows(641, 1_000), 3 * HOUR);
    peer.disk.flush(&mut peer.journal).unwrap();
    peer.disk.maintain(at(4 * HOUR)).unwrap();
    // Ours has 1 to 600 in a segment, then 601 to 620 in the journal: acknowledged.
    let mut rig = Rig::new();
    rig.take(&eu, 1, windows(1, 600), 3 * HOUR);
    rig.disk.flush(&mut rig.journal).unwrap();
    rig.disk.maintain(at(4 * HOUR)).unwrap();
    rig.take(&eu, 601, windows(601, 620), 4 * HOUR);
    assert_eq!(copy(&peer.disk, &rig.disk, 4 * HOUR), [Verdict::Take]);
    assert_eq!(rig.disk.acknowledged(&eu), Some(620), "621 to 640 are not here");
    let mut rig = rig.restart();
    assert_eq!(rig.disk.acknowledged(&eu), Some(620));
    assert_eq!([Tier::Minutes, Tier::Hours].map(|tier| rig.runs(tier)), [9_800; 2]);
    // The probe sends the rest, and what follows was here already.
    assert_eq!(rig.take(&eu, 621, windows(621, 640), 4 * HOUR).kept, 20);
    let mut rig = rig.restart();
    assert_eq!(rig.disk.acknowledged(&eu), Some(1_000), "the copy follows on");
    assert_eq!([Tier::Minutes, Tier::Hours].map(|tier| rig.runs(tier)), [10_000; 2]);
    assert_eq!(rig.take(&eu, 601, windows(601, 640), 4 * HOUR).duplicates, 40);
    rig.disk.maintain(at(5 * HOUR)).unwrap();
    assert_eq!([Tier::Minutes, Tier::Hours].map(|tier| rig.runs(tier)), [10_000; 2]);
}

#[test]
fn a_whole_range_takes_the_place_of_a_part_and_an_entangled_one_is_left() {
    let mut old = Rig::new();
    old.fill(0, HOUR);
    old.disk.flush(&mut old.journal).unwrap();
    old.disk.maintain(at(HOUR + 300)).unwrap();
    // Ours has the same hour with a hole, and is rolled up already.
    let mut part = Rig::new();
    part.fill(0, 600);
    part.fill(1_200, HOUR);
    part.disk.flush(&mut part.journal).unwrap();
    part.disk.maintain(at(HOUR + 300)).unwrap();
    assert_eq!(part.runs(Tier::Hours), 3_000);
    assert_eq!(copy(&old.disk, &part.disk, HOUR + 300), [Verdict::Take]);
    assert_eq!((part.runs(Tier::Hours), part.segments()[1]), (3_600, 1));
    let part = part.restart();
    assert_eq!((part.runs(Tier::Minutes), part.runs(Tier::Hours)), (3_600, 3_600));
    // Another has something that theirs has not: neither can be taken apart.
    let mut more = Rig::new();
    more.fill(600, HOUR + 100);
    more.disk.flush(&mut more.journal).unwrap();
    more.disk.maintain(at(2 * HOUR + 300)).unwrap();
    assert_eq!(copy(&old.disk, &more.disk, 2 * HOUR + 300), [Verdict::Entangled]);
    assert_eq!(more.runs(Tier::Hours), 3_100);
}

#[test]
fn a_fetched_file_that_is_not_what_was_told_of_is_refused_and_deleted() {
    let mut old = Rig::new();
    old.fill(0, HOUR);
    old.disk.flush(&mut old.journal).unwrap();
    old.disk.maintain(at(HOUR + 300)).unwrap();
    let segment = old.disk.segments(Tier::Minutes).remove(0);
    let new = Rig::new();
    let told = Incoming {
        tier: Tier::Minutes,
        sha256: segment.sha256,
        bytes: segment.bytes,
        max_end: segment.meta.max_end,
        held: segment.meta.held.clone(),
    };
    let mut more = told.clone();
    more.held.insert(&spool("eu", 9), 1, 5);
    let mut bytes = fs::read(&segment.path).unwrap();
    for (incoming, flip) in [(&told, true), (&more, false)] {
        let file = new.disk.fetching(&segment.sha256);
        bytes[70] ^= u8::from(flip);
        fs::write(&file, &bytes).unwrap();
        bytes[70] ^= u8::from(flip);
        let refused = new.disk.install(&file, incoming, at(HOUR)).unwrap_err();
        assert!(matches!(refused, SegmentError::Damaged(_)), "{refused}");
        assert_eq!(fs::read_dir(new.dir.path()).unwrap().count(), 1, "only the journal");
    }
}

/// One thing that happens to a store.
#[derive(Debug, Clone)]
enum Step {
    Windows { spool: u64, count: usize },
    Again { spool: u64 },
    Flush,
    Restart,
    Pass { seconds: i64 },
    CopyFromTwin,
}

fn a_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0u64..3, 1usize..30).prop_map(|(spool, count)| Step::Windows { spool, count }),
        1 => (0u64..3).prop_map(|spool| Step::Again { spool }),
        2 => Just(Step::Flush),
        1 => Just(Step::Restart),
        2 => (60i64..2 * HOUR).prop_map(|seconds| Step::Pass { seconds }),
        1 => Just(Step::CopyFromTwin),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    /// Two members hear the same spools. Whatever is flushed, rolled up, killed or copied: each run
    /// counts once in the tiers that are kept long enough.
    #[test]
    fn whatever_happens_each_run_counts_once(steps in prop::collection::vec(a_step(), 1..40)) {
        let (mut rig, mut twin) = (Rig::new(), Rig::new());
        let mut sent = [0u64; 3];
        let mut now = 10;
        for step in steps {
            match step {
                Step::Windows { spool: number, count } => {
                    let sequence = sent[number as usize] + 1;
                    sent[number as usize] += count as u64;
                    let windows = || (0..count).map(|_| window(1, now / 10 * 10 - 10)).collect();
                    rig.take(&spool("eu", number), sequence, windows(), now);
                    twin.take(&spool("eu", number), sequence, windows(), now);
                    twin.disk.flush(&mut twin.journal).unwrap();
                }
                Step::Again { spool: number } if sent[number as usize] > 0 => {
                    let sequence = sent[number as usize];
                    let again = rig.take(&spool("eu", number), sequence, vec![window(1, 0)], now);
                    prop_assert_eq!(again.duplicates, 1);
                }
                Step::Again { .. } => {}
                Step::Flush => rig.disk.flush(&mut rig.journal).unwrap(),
                Step::Restart => rig = rig.restart(),
                Step::Pass { seconds } => {
                    now += seconds;
                    rig.disk.maintain(at(now)).unwrap();
                    twin.disk.maintain(at(now)).unwrap();
                }
                Step::CopyFromTwin => {
                    copy(&twin.disk, &rig.disk, now);
                }
            }
            let all = sent.iter().sum::<u64>() * 10;
            prop_assert_eq!(rig.runs(Tier::Hours), all);
            if now < DAY {
                prop_assert_eq!(rig.runs(Tier::Minutes), all);
            }
        }
    }

    /// A member that heard only some stretches copies the rest: never more than there is, and no
    /// less than it had.
    #[test]
    fn a_copy_never_doubles_and_never_loses(
        heard in prop::collection::vec((0i64..60, 1i64..20), 1..6), settled in any::<bool>()
    ) {
        let mut old = Rig::new();
        old.fill(0, HOUR);
        old.disk.flush(&mut old.journal).unwrap();
        old.disk.maintain(at(HOUR + 300)).unwrap();
        let mut new = Rig::new();
        let mut from = 0;
        for (gap, length) in heard {
            new.fill((from + gap) * 10, (from + gap + length) * 10);
            from += gap + length;
        }
        if settled {
            new.disk.flush(&mut new.journal).unwrap();
            new.disk.maintain(at(3 * HOUR)).unwrap();
        }
        let before = new.runs(Tier::Hours);
        copy(&old.disk, &new.disk, HOUR + 600);
        let after = new.runs(Tier::Hours);
        prop_assert!(after >= before);
        // Beyond the hour only what it heard itself.
        let beyond = (from * 10 - HOUR).max(0) as u64;
        prop_assert!(after <= 3_600 + beyond, "{before} {after} {from}");
        prop_assert_eq!(new.runs(Tier::Minutes), after);
    }
}

#[test]
fn it_is_time_to_write_a_segment_after_a_minute_and_a_start_writes_one() {
    let mut rig = Rig::new();
    assert!(!rig.disk.should_flush(at(1_000)));
    rig.take(&spool("eu", 1), 1, vec![window(1, 0)], 10);
    assert!(!rig.disk.should_flush(at(69)));
    assert!(rig.disk.should_flush(at(10) + Duration::from_secs(60)));
    let rig = rig.restart();
    assert!(!rig.disk.should_flush(at(1_000)), "a start writes it as a segment");
    assert_eq!((rig.runs(Tier::Windows), rig.segments()[0]), (10, 1));
}

#[test]
fn every_outcome_has_its_place() {
    let mut rig = Rig::new();
    rig.fill(0, 60);
    let question = Question {
        check: check(1),
        from: at(0),
        to: at(60),
        tier: Tier::Minutes,
        phases: all_phases(),
    };
    let mut failed = 0;
    let fail = |cell: &crate::history::cell::Cell| -> u64 {
        cell.counts.iter().filter(|((o, ..), _)| *o == Outcome::Fail).map(|(_, n)| n).sum()
    };
    rig.disk
        .cells(&question, &mut |region, cell| {
            assert_eq!(&**region, "eu");
            failed += fail(cell);
        })
        .unwrap();
    assert_eq!(failed, 6);
}

#[test]
fn a_question_that_would_read_too_much_is_refused_and_a_shorter_one_answered() {
    let mut rig = Rig::new();
    rig.fill(0, 2 * HOUR);
    rig.disk.flush(&mut rig.journal).unwrap();
    let question = |to: i64| Question {
        check: check(1),
        from: at(0),
        to: at(to),
        tier: Tier::Windows,
        phases: all_phases(),
    };
    let ask = |rig: &Rig, to: i64| {
        let mut cells = 0;
        rig.disk.cells(&question(to), &mut |_, _| cells += 1).map(|()| cells)
    };
    assert_eq!(ask(&rig, 2 * HOUR).unwrap(), 720);
    // The blocks of an hour are allowed, those of two are not.
    rig.disk.read_bytes_max = rig.disk.stats().bytes * 6 / 10;
    assert!(matches!(ask(&rig, 2 * HOUR), Err(SegmentError::TooMuch(_))));
    assert_eq!(ask(&rig, HOUR).unwrap(), 360);
    let refused = rig.disk.read(&check(1), "eu", at(0), at(2 * HOUR));
    assert!(matches!(refused, Err(SegmentError::TooMuch(_))));
    assert_eq!(rig.disk.stats().damaged, 0);
}

#[test]
fn what_is_deleted_while_somebody_reads_stays_until_he_has_read() {
    let mut rig = Rig::new();
    rig.fill(0, 600);
    rig.disk.flush(&mut rig.journal).unwrap();
    rig.fill(600, 1_200);
    rig.disk.flush(&mut rig.journal).unwrap();
    let old = rig.disk.segments(Tier::Windows).remove(0);
    let (first, second) = (rig.disk.pin(), rig.disk.pin());
    rig.disk.maintain(at(DAY)).unwrap();
    assert!(rig.disk.segments(Tier::Windows).iter().all(|segment| segment.id != old.id));
    drop(first);
    old.verify().unwrap();
    drop(second);
    assert!(!old.path.exists());
}
