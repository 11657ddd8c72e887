//! What goes for want of room, whatever else fails, and what is not copied then.

use super::*;

#[test]
fn over_the_budget_the_finest_goes_first_and_the_coarse_still_knows() {
    let mut rig = Rig::new();
    rig.fill(0, HOUR);
    rig.disk.flush(&mut rig.journal).unwrap();
    let Rig { dir, disk, journal } = rig;
    let full = disk.stats().bytes;
    drop((disk, journal));
    let (disk, journal) = Disk::open(system(), dir.path(), full / 3).unwrap();
    let rig = Rig { dir, disk, journal };
    rig.disk.maintain(at(HOUR)).unwrap();
    let stats = rig.disk.stats();
    assert!(stats.bytes <= full / 3 && stats.dropped > 0, "{stats:?}");
    assert!(rig.runs(Tier::Windows) < 3_600);
    assert_eq!([Tier::Minutes, Tier::Hours].map(|tier| rig.runs(tier)), [3_600; 2]);
}

#[test]
fn a_segment_that_cannot_be_read_holds_up_neither_roll_ups_nor_expiry_nor_the_budget() {
    let mut rig = Rig::new();
    rig.fill(0, 2 * HOUR);
    rig.disk.flush(&mut rig.journal).unwrap();
    let whole = rig.disk.stats().bytes;
    let Rig { dir, disk, journal } = rig;
    drop((disk, journal));
    let budget = whole / 4;
    let (disk, journal) = Disk::open(system(), dir.path(), budget).unwrap();
    let rig = Rig { dir, disk, journal };
    let old = rig.disk.segments(Tier::Windows);
    let gone = &old[3];
    fs::remove_file(&gone.path).unwrap();
    rig.disk.maintain(at(5 * HOUR)).unwrap();
    let stats = rig.disk.stats();
    assert!(stats.bytes <= budget, "{stats:?}");
    assert_eq!(stats.damaged, 1);
    // All but the newest, which says how far each spool had come.
    let left = old.iter().filter(|segment| segment.path.exists()).count();
    assert_eq!((left, rig.segments()[0]), (1, 1));
    // What was lost with the file, and nothing beside it.
    assert_eq!(rig.runs(Tier::Minutes), 7_200 - gone.meta.items * 10);
    assert_eq!(rig.disk.acknowledged(&spool("eu", 1)), Some(720));
}

#[test]
fn a_roll_up_that_fails_again_and_again_does_not_let_history_outgrow_its_budget() {
    let mut rig = Rig::new();
    rig.fill(0, HOUR);
    rig.disk.flush(&mut rig.journal).unwrap();
    let Rig { dir, disk, journal } = rig;
    let budget = disk.stats().bytes / 2;
    drop((disk, journal));
    let (disk, journal) = Disk::open(system(), dir.path(), budget).unwrap();
    // Where the unfinished file of a roll-up would be, there is a directory; whatever its number.
    for id in 0..100 {
        fs::create_dir(dir.path().join(format!("1-{id:012}{UNFINISHED}"))).unwrap();
    }
    let rig = Rig { dir, disk, journal };
    let refused = rig.disk.maintain(at(HOUR + 300)).unwrap_err();
    assert!(!refused.is_unreadable() && !refused.is_full(), "{refused:?}");
    let stats = rig.disk.stats();
    assert!(stats.bytes <= budget && stats.dropped > 0, "{stats:?}");
    assert!(rig.runs(Tier::Windows) > 0, "and no more than that goes");
}

#[test]
fn a_copy_takes_what_there_is_room_for_the_newest_first_and_not_again_what_had_to_go() {
    let mut old = Rig::new();
    for hour in 0..8 {
        // Of so many checks that a segment is more than its frame.
        let of_hour = (0..HOUR)
            .step_by(60)
            .flat_map(|start| (1..=20).map(move |check| window(check, hour * HOUR + start)));
        let end = (hour + 1) * HOUR;
        old.take(&spool("eu", 1), hour as u64 * 1_200 + 1, of_hour.collect(), end);
        old.disk.flush(&mut old.journal).unwrap();
        old.disk.maintain(at(end + 300)).unwrap();
    }
    let theirs = old.disk.segments(Tier::Minutes);
    assert_eq!(theirs.len(), 8);
    let one = theirs.iter().map(|segment| segment.bytes).max().unwrap();
    let now = 8 * HOUR + 300;
    let new = Rig::with_budget(one * 4);
    let mut taken = Vec::new();
    for _ in 0..3 {
        let verdicts = copy(&old.disk, &new.disk, now);
        assert!(new.disk.stats().bytes <= one * 4, "a copy keeps the budget as it goes");
        taken.push(verdicts.iter().filter(|verdict| **verdict == Verdict::Take).count());
        new.disk.maintain(at(now)).unwrap();
        assert!(new.disk.stats().bytes <= one * 4);
    }
    assert!(taken[0] > 0 && taken[1..] == [0, 0], "{taken:?}");
    let kept = new.disk.segments(Tier::Minutes);
    let newest = |of: &[Arc<Segment>]| of.iter().map(|segment| segment.meta.max_end).max();
    assert_eq!(newest(&kept), newest(&theirs), "the oldest go");
    assert!(kept.len() >= 2, "{}", kept.len());
}

#[test]
fn the_oldest_in_time_goes_although_it_came_last() {
    let mut rig = Rig::new();
    let of_hour = |hour: i64| -> Vec<Record> {
        let starts = (0..HOUR).step_by(60).map(move |start| hour * HOUR + start);
        starts.flat_map(|start| (1..=20).map(move |check| window(check, start))).collect()
    };
    for (number, hour) in [(1, 5), (2, 0)] {
        rig.take(&spool("eu", number), 1, of_hour(hour), 6 * HOUR);
        rig.disk.flush(&mut rig.journal).unwrap();
        rig.disk.maintain(at(8 * HOUR)).unwrap();
    }
    let ends = |rig: &Rig| -> Vec<MeshTime> {
        let minutes = rig.disk.segments(Tier::Minutes);
        minutes.iter().map(|segment| segment.meta.max_end).collect()
    };
    let [late, early] = ends(&rig)[..] else { panic!("{:?}", ends(&rig)) };
    assert!(late > early, "the older one has the higher number");
    rig.disk.bytes_max = rig.disk.stats().bytes - 1;
    rig.disk.maintain(at(8 * HOUR)).unwrap();
    assert_eq!(ends(&rig), [late]);
    assert_eq!(rig.runs(Tier::Hours), 2 * 600, "hours know both");
}
