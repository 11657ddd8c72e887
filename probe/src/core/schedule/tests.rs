//! The schedule against a simulated clock.

use std::collections::BTreeMap;

use parallax_common::name::RunDigest;
use proptest::prelude::*;

use super::super::assign::tests::{assignment, uid};
use super::*;

const MS: i64 = 1_000_000;

fn at(ms: i64) -> MeshTime {
    MeshTime::from_ns(ms * MS)
}

fn change(assignments: impl IntoIterator<Item = Assignment>) -> Change {
    Change { upserts: assignments.into_iter().map(Arc::new).collect(), removed: vec![] }
}

fn slot_of(start: &Start) -> i64 {
    match start.cause {
        Cause::Slot(slot) => slot,
        other => panic!("a slot's run, not {other:?}"),
    }
}

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Serves a schedule as the owner task does: it sleeps until something is due or a run ends.
struct World {
    schedule: Schedule,
    now: MeshTime,
    /// Runs by the time they end.
    ends: BTreeMap<(MeshTime, RunId), Uid>,
    starts: Vec<(MeshTime, Uid, Cause, MeshTime)>,
    missed: Vec<Missed>,
}

impl World {
    fn new(assignments: impl IntoIterator<Item = Assignment>, now: MeshTime) -> Self {
        let mut schedule = Schedule::default();
        schedule.apply(&change(assignments), now);
        Self { schedule, now, ends: BTreeMap::new(), starts: vec![], missed: vec![] }
    }

    fn serve(&mut self, takes: Duration) {
        let due = self.schedule.due(self.now);
        for start in due.starts {
            self.ends.insert((self.now + takes, start.run), start.assignment.check);
            self.starts.push((self.now, start.assignment.check, start.cause, start.scheduled));
        }
        self.missed.extend(due.missed);
    }

    /// Until `end`; each run takes `takes`; the loop wakes `lag` after each due time.
    fn run_until(&mut self, end: MeshTime, takes: Duration, lag: Duration) {
        loop {
            let next_end = self.ends.keys().next().map(|(at, _)| *at);
            let next_due = self.schedule.next_at().map(|at| at.max(self.now) + lag);
            let Some(next) = next_end.into_iter().chain(next_due).min() else { break };
            if next > end {
                break;
            }
            self.now = self.now.max(next);
            while let Some((&(at, run), _)) = self.ends.first_key_value()
                && at <= self.now
            {
                self.ends.pop_first();
                self.schedule.ended(run);
            }
            self.serve(takes);
        }
        self.now = self.now.max(end);
    }
}

#[test]
fn a_slow_target_at_one_second_is_run_3600_times_an_hour_on_a_stable_phase() {
    let mut check = assignment(1, Duration::from_secs(1));
    check.phase_ns = 137 * MS;
    let mut world = World::new([check], at(0));
    world.run_until(at(3_600_000), ms(900), ms(1));
    let runs = world.starts.len();
    assert!((3_599..=3_601).contains(&runs), "{runs} runs");
    assert!(world.missed.is_empty());
    for (started, _, _, scheduled) in &world.starts {
        assert_eq!(scheduled.as_ns().rem_euclid(1_000 * MS), 137 * MS);
        assert!(started.since(*scheduled) <= ms(1));
    }
    let slots: Vec<i64> = world
        .starts
        .iter()
        .map(|(_, _, cause, _)| match cause {
            Cause::Slot(slot) => *slot,
            other => panic!("{other:?}"),
        })
        .collect();
    assert!(slots.windows(2).all(|pair| pair[1] == pair[0] + 1));
}

#[test]
fn a_stall_marks_what_is_late_and_spreads_what_it_catches_up() {
    let checks = (0..200).map(|n| {
        let mut one = assignment(n, Duration::from_secs(10));
        one.phase_ns = i64::from(n) * 50 * MS;
        one
    });
    let mut world = World::new(checks, at(0));
    world.run_until(at(20_000), ms(5), ms(1));
    world.starts.clear();
    // Nothing is served from 20 s to 52 s.
    world.now = at(52_000);
    world.run_until(at(54_000), ms(5), ms(1));
    let missed: i64 = world.missed.iter().map(|m| m.last_slot - m.first_slot + 1).sum();
    assert!(world.missed.iter().all(|m| m.reason == Reason::MissedLate && m.skipped == 0));
    assert!(missed > 400, "{missed} missed");
    // Every slot of every check was started or missed, none twice.
    let mut seen: BTreeMap<(Uid, i64), u32> = BTreeMap::new();
    for (_, check, cause, _) in &world.starts {
        let Cause::Slot(slot) = cause else { panic!("{cause:?}") };
        *seen.entry((*check, *slot)).or_default() += 1;
    }
    for m in &world.missed {
        for slot in m.first_slot..=m.last_slot {
            *seen.entry((m.assignment.check, slot)).or_default() += 1;
        }
    }
    assert!(seen.values().all(|n| *n == 1));
    // Late starts lie apart: over at least a second, never a heap of them at once.
    let caught_up: Vec<MeshTime> = world
        .starts
        .iter()
        .filter(|(started, _, _, scheduled)| started.since(*scheduled) > ms(100))
        .map(|(started, ..)| *started)
        .collect();
    assert!(caught_up.len() > 50, "{}", caught_up.len());
    let spread = caught_up.last().unwrap().since(caught_up[0]);
    assert!(spread >= ms(900), "{spread:?}");
    for moment in caught_up.chunks(1) {
        let within = caught_up.iter().filter(|t| t.since(moment[0]) <= ms(100) && **t >= moment[0]);
        assert!(within.count() <= 15);
    }
    // And none is started when it is later than half its interval.
    for (started, _, _, scheduled) in &world.starts {
        assert!(started.since(*scheduled) <= Duration::from_secs(5));
    }
}

#[test]
fn no_check_starts_two_slots_at_once_after_a_stall() {
    let mut world = World::new([assignment(1, ms(100))], at(0));
    world.run_until(at(1_050), ms(1), ms(0));
    world.starts.clear();
    world.now = at(61_030);
    world.serve(ms(1));
    assert_eq!(world.starts.len(), 1);
    assert_eq!(world.starts[0].3, at(61_000));
    let missed = &world.missed[0];
    // The newest 32 are recorded, the others counted.
    assert_eq!((missed.last_slot, missed.first_slot), (609, 609 - 31));
    assert_eq!(missed.skipped, u64::try_from(609 - 31 - 11).unwrap());
    world.run_until(at(61_250), ms(1), ms(0));
    assert_eq!(world.starts.len(), 3);
}

#[test]
fn a_slot_is_late_when_half_its_interval_has_passed() {
    for (late_ms, wanted) in [(0, 1), (499, 1), (500, 1), (501, 0)] {
        let mut schedule = Schedule::default();
        schedule.apply(&change([assignment(1, Duration::from_secs(1))]), at(1));
        let due = schedule.due(at(1_000 + late_ms));
        assert_eq!(due.starts.len(), wanted, "{late_ms} ms late");
        assert_eq!(due.missed.len(), 1 - wanted, "{late_ms} ms late");
        assert_eq!(schedule.next_at(), Some(at(2_000)));
    }
}

#[test]
fn runs_of_one_check_overlap_up_to_the_timeout_and_at_most_four() {
    // (interval ms, timeout ms, runs at once)
    for (interval, timeout, limit) in
        [(1_000, 900, 1), (1_000, 1_000, 1), (1_000, 1_001, 2), (100, 350, 4), (100, 60_000, 4)]
    {
        let mut check = assignment(1, ms(interval));
        Arc::make_mut(&mut check.run).timeout = ms(timeout);
        let mut world = World::new([check], at(0));
        world.run_until(at(i64::try_from(interval).unwrap() * 6), ms(100_000), ms(0));
        assert_eq!(world.starts.len(), limit, "{interval} {timeout}");
        assert!(world.missed.iter().all(|m| m.reason == Reason::MissedOverlap));
        assert_eq!(world.missed.len(), 7 - limit);
    }
}

#[test]
fn the_samples_of_a_slot_overlap_as_one_run_as_long_as_all_of_them() {
    // (interval ms, timeout ms, samples, runs at once): none starts past the next slot.
    for (interval, timeout, samples, limit) in [
        (1_000, 200, 5, 1),
        (1_000, 201, 5, 2),
        (1_000, 900, 20, 2),
        (1_000, 1_001, 20, 3),
        (100, 3_000, 20, 4),
    ] {
        let mut check = assignment(1, ms(interval));
        let run = Arc::make_mut(&mut check.run);
        (run.timeout, run.samples) = (ms(timeout), samples);
        let mut world = World::new([check], at(0));
        world.run_until(at(i64::try_from(interval).unwrap() * 6), ms(100_000), ms(0));
        assert_eq!(world.starts.len(), limit, "{interval} {timeout} {samples}");
        assert_eq!(world.missed.len(), 7 - limit);
    }
}

#[test]
fn too_many_runs_in_flight_are_an_overload_and_room_is_used_again() {
    let many = u32::try_from(IN_FLIGHT_MAX).unwrap() + 50;
    let checks = (0..many).map(|n| {
        let mut one = assignment(0, Duration::from_secs(10));
        let mut bytes = [0_u8; 16];
        bytes[..4].copy_from_slice(&n.to_be_bytes());
        one.check = Uid::from_bytes(bytes);
        one
    });
    let mut schedule = Schedule::default();
    schedule.apply(&change(checks), at(1));
    let due = schedule.due(at(10_000));
    assert_eq!(due.starts.len(), IN_FLIGHT_MAX);
    assert_eq!(due.missed.len(), 50);
    assert!(due.missed.iter().all(|m| m.reason == Reason::MissedOverload));
    let check = due.starts[0].assignment.check;
    assert!(schedule.start_ordered(check, 9, at(10_000)).is_none());
    schedule.ended(due.starts[0].run);
    let ordered = schedule.start_ordered(check, 9, at(10_000)).unwrap();
    assert_eq!(ordered.cause, Cause::Order(9));
    assert_eq!(schedule.in_flight(), IN_FLIGHT_MAX);
}

#[test]
fn ordered_runs_go_ahead_of_all_slots_and_those_without_room_are_counted() {
    let checks = (0..u32::try_from(IN_FLIGHT_MAX).unwrap()).map(|n| {
        let mut one = assignment(0, Duration::from_secs(10));
        let mut bytes = [0_u8; 16];
        bytes[..4].copy_from_slice(&n.to_be_bytes());
        one.check = Uid::from_bytes(bytes);
        one
    });
    let mut schedule = Schedule::default();
    schedule.apply(&change(checks), at(1));
    let check = Uid::from_bytes([0; 16]);
    // As many slots are due as there is room for.
    let due = schedule.due_after(vec![(check, 9, at(10_000))], at(10_000));
    assert_eq!(due.starts[0].cause, Cause::Order(9));
    assert_eq!((due.starts.len(), due.missed.len()), (IN_FLIGHT_MAX, 1));
    assert_eq!((due.missed[0].reason, due.crowded_out), (Reason::MissedOverload, 0));
    let ordered = vec![(check, 10, at(10_001)), (check, 11, at(10_001))];
    schedule.ended(due.starts[1].run);
    let due = schedule.due_after(ordered, at(10_001));
    assert_eq!(due.starts.iter().map(|it| it.cause).collect::<Vec<_>>(), [Cause::Order(10)]);
    assert_eq!(due.crowded_out, 1);
}

#[test]
fn ordered_runs_are_outside_the_overlap_limit() {
    let mut schedule = Schedule::default();
    schedule.apply(&change([assignment(1, Duration::from_secs(1))]), at(1));
    schedule.start_ordered(uid(1), 1, at(500)).unwrap();
    assert_eq!(schedule.due(at(1_000)).starts.len(), 1);
    schedule.start_ordered(uid(1), 1, at(1_000)).unwrap();
    let due = schedule.due(at(2_000));
    assert_eq!(due.missed[0].reason, Reason::MissedOverlap);
    assert!(schedule.start_ordered(uid(2), 1, at(500)).is_none());
}

#[test]
fn a_long_interval_runs_once_within_ten_seconds_when_it_or_its_digest_is_new() {
    let hour = Duration::from_secs(3_600);
    let mut check = assignment(1, hour);
    check.phase_ns = 1_800_000 * MS;
    let mut world = World::new([check.clone()], at(0));
    world.run_until(at(10_000), ms(1), ms(0));
    assert_eq!(world.starts.len(), 1);
    assert_eq!(world.starts[0].2, Cause::First);
    // Policy edits do not run it again, a new digest does.
    check.failures = 5;
    world.schedule.apply(&change([check.clone()]), world.now);
    world.run_until(at(20_000), ms(1), ms(0));
    assert_eq!(world.starts.len(), 1);
    check.run_digest = RunDigest(99);
    world.schedule.apply(&change([check]), world.now);
    world.run_until(at(30_000), ms(1), ms(0));
    assert_eq!(world.starts.len(), 2);
    world.run_until(at(1_800_000), ms(1), ms(0));
    assert_eq!(world.starts[2].3, at(1_800_000));
}

#[test]
fn a_first_run_is_neither_lost_nor_doubled_by_further_edits() {
    let hour = Duration::from_secs(3_600);
    let firsts = |world: &World| -> Vec<MeshTime> {
        let all = world.starts.iter();
        all.filter(|(_, _, cause, _)| *cause == Cause::First).map(|(at, ..)| *at).collect()
    };
    let mut check = assignment(1, hour);
    check.phase_ns = 1_800_000 * MS;
    // The regions change, and with them the phase, before the first run has started.
    let mut world = World::new([check.clone()], at(0));
    check.phase_ns = 2_000_000 * MS;
    world.schedule.apply(&change([check.clone()]), at(1));
    world.run_until(at(30_000), ms(1), ms(0));
    assert_eq!(firsts(&world).len(), 1);
    // Three edits of the run within a moment: one run, of the last of them.
    for digest in [97, 98, 99] {
        check.run_digest = RunDigest(digest);
        world.schedule.apply(&change([check.clone()]), world.now);
        world.now = world.now + ms(10);
    }
    world.run_until(at(60_000), ms(1), ms(0));
    assert_eq!(firsts(&world).len(), 2);
    // A change of phase alone owes nothing.
    check.phase_ns = 2_100_000 * MS;
    world.schedule.apply(&change([check]), world.now);
    world.run_until(at(90_000), ms(1), ms(0));
    assert_eq!(firsts(&world).len(), 2);
}

#[test]
fn a_first_slot_that_is_missed_is_made_up_for() {
    let mut check = assignment(1, Duration::from_secs(3_600));
    check.phase_ns = 5_000 * MS;
    let many = u32::try_from(IN_FLIGHT_MAX).unwrap();
    let mut schedule = Schedule::default();
    schedule.apply(&change([check, assignment(2, Duration::from_secs(7_200))]), at(1));
    let full: Vec<_> = (0..many)
        .map(|n| schedule.start_ordered(uid(2), u64::from(n) + 1, at(1)).unwrap().run)
        .collect();
    let missed = schedule.due(at(5_000)).missed;
    assert_eq!(missed[0].reason, Reason::MissedOverload);
    full.into_iter().for_each(|run| schedule.ended(run));
    let mut starts = schedule.due(at(15_000)).starts;
    starts.retain(|start| start.assignment.check == uid(1));
    assert_eq!(starts.iter().map(|start| start.cause).collect::<Vec<_>>(), [Cause::First]);
}

#[test]
fn first_runs_of_many_checks_are_spread() {
    let checks = (0..100_u8).map(|n| {
        let mut one = assignment(n, Duration::from_secs(3_600));
        let mut bytes = [0_u8; 16];
        bytes[12] = n.wrapping_mul(151);
        bytes[15] = n;
        one.check = Uid::from_bytes(bytes);
        one.phase_ns = 3_000_000 * MS;
        one
    });
    let mut world = World::new(checks, at(0));
    world.run_until(at(10_000), ms(1), ms(0));
    assert_eq!(world.starts.len(), 100);
    for second in 0..10 {
        let n = world
            .starts
            .iter()
            .filter(|(t, ..)| (at(second * 1_000)..at(second * 1_000 + 1_000)).contains(t))
            .count();
        assert!((2..=25).contains(&n), "{n} in second {second}");
    }
}

#[test]
fn a_changed_phase_begins_half_an_interval_after_the_last_old_slot() {
    let second = Duration::from_secs(1);
    // (new phase ms, first new slot ms) after an old slot at 5 000.
    for (phase, first) in [(0, 6_000), (400, 6_400), (499, 6_499), (500, 5_500), (900, 5_900)] {
        let mut world = World::new([assignment(1, second)], at(0));
        world.run_until(at(5_100), ms(1), ms(0));
        world.starts.clear();
        let mut moved = assignment(1, second);
        moved.phase_ns = phase * MS;
        world.schedule.apply(&change([moved]), world.now);
        world.run_until(at(6_600), ms(1), ms(0));
        assert_eq!(world.starts[0].3, at(first), "phase {phase}");
    }
}

#[test]
fn a_removed_check_starts_no_more_and_its_old_runs_do_not_count_for_its_successor() {
    let mut schedule = Schedule::default();
    let check = assignment(1, Duration::from_secs(1));
    schedule.apply(&change([check.clone()]), at(1));
    let old = schedule.due(at(1_000)).starts.remove(0);
    schedule.apply(&Change { upserts: vec![], removed: vec![uid(1)] }, at(1_100));
    assert!(schedule.due(at(2_000)).starts.is_empty());
    schedule.apply(&change([check]), at(2_100));
    let new = schedule.due(at(3_000)).starts.remove(0);
    assert_eq!(slot_of(&new), 3);
    schedule.ended(old.run);
    // The new run is still in flight: the next slot overlaps.
    assert_eq!(schedule.due(at(4_000)).missed[0].reason, Reason::MissedOverlap);
    schedule.ended(new.run);
    assert_eq!(schedule.due(at(5_000)).starts.len(), 1);
}

#[test]
fn the_horizon_stops_at_the_oldest_slot_that_waits() {
    let checks = (0..20_u8).map(|n| assignment(n, Duration::from_secs(10)));
    let mut schedule = Schedule::default();
    schedule.apply(&change(checks), at(1));
    assert_eq!(schedule.horizon(at(9_000)), at(9_000));
    let due = schedule.due(at(12_000));
    assert_eq!(due.starts.len(), 1);
    assert_eq!(schedule.horizon(at(12_000)), at(10_000));
    let mut started = 1;
    let mut now = at(12_000);
    while let Some(next) = schedule.next_at().filter(|next| *next < at(13_500)) {
        now = next;
        started += schedule.due(now).starts.len();
    }
    assert_eq!(started, 20);
    assert!(now.since(at(12_000)) >= ms(900));
    assert_eq!(schedule.horizon(at(14_000)), at(14_000));
}

#[test]
fn the_steady_rate_is_the_sum_over_checks() {
    let mut schedule = Schedule::default();
    schedule.apply(&change([assignment(1, ms(100)), assignment(2, ms(500))]), at(0));
    assert!((schedule.steady_rate() - 12.0).abs() < 1e-9);
    schedule.apply(&Change { upserts: vec![], removed: vec![uid(1)] }, at(0));
    assert!((schedule.steady_rate() - 2.0).abs() < 1e-9);
}

proptest! {
    /// However the loop is served, each slot is started or missed once, in order, and two starts of
    /// one check lie at least half an interval apart.
    #[test]
    fn every_slot_has_one_fate(
        interval_ms in 100_u64..3_000,
        phase in 0_i64..100,
        gaps in proptest::collection::vec(1_u64..4_000, 1..60),
        takes_ms in 1_u64..2_000,
    ) {
        let mut check = assignment(1, ms(interval_ms));
        check.phase_ns = phase * MS;
        let mut world = World::new([check], at(0));
        for gap in gaps {
            world.now = world.now + ms(gap);
            let done: Vec<_> = world.ends.range(..=(world.now, RunId(u64::MAX))).map(|(k, _)| *k).collect();
            for key in done {
                world.ends.remove(&key);
                world.schedule.ended(key.1);
            }
            world.serve(ms(takes_ms));
        }
        let mut fates: Vec<i64> = world
            .missed
            .iter()
            .flat_map(|m| (m.first_slot - i64::try_from(m.skipped).unwrap())..=m.last_slot)
            .collect();
        fates.extend(world.starts.iter().map(|(_, _, cause, _)| match cause {
            Cause::Slot(slot) => *slot,
            other => panic!("{other:?}"),
        }));
        fates.sort_unstable();
        prop_assert!(fates.windows(2).all(|pair| pair[1] == pair[0] + 1), "{fates:?}");
        for pair in world.starts.windows(2) {
            prop_assert!(pair[1].0.since(pair[0].0) * 2 >= ms(interval_ms), "{pair:?}");
        }
        for (started, _, _, scheduled) in &world.starts {
            prop_assert!(started.since(*scheduled) * 2 <= ms(interval_ms) + ms(1));
            prop_assert!(started >= scheduled);
        }
    }
}
