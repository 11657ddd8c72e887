//! Numbers, the live gate and windows.

use super::super::assign::tests::{assignment, uid};
use super::*;

const MS: i64 = 1_000_000;

fn at(ms: i64) -> MeshTime {
    MeshTime::from_ns(ms * MS)
}

fn finding(outcome: Outcome) -> Finding {
    Finding {
        outcome,
        reason: match outcome {
            Outcome::Pass => None,
            Outcome::Warn => Some(Reason::Warning),
            Outcome::Fail => Some(Reason::ConnectRefused),
            Outcome::Missed => Some(Reason::ConfigError),
        },
        step: 0,
        evidence: String::from("seen"),
        remote: None,
        phases: vec![(0, Phase::Connect, Duration::from_millis(3))],
        expiry: None,
    }
}

struct Bench {
    recorder: Recorder,
    assignment: Arc<Assignment>,
    generation: Generation,
}

impl Bench {
    fn new(interval: Duration) -> Self {
        let mut recorder = Recorder::new(Incarnation(77));
        let assignment = Arc::new(assignment(1, interval));
        let generation = Generation { epoch: 1, index: 4 };
        recorder.assign(&assignment, generation);
        Self { recorder, assignment, generation }
    }

    fn start(&mut self, cause: Cause, ms: i64) {
        self.recorder.started(&self.assignment, cause, at(ms));
    }

    fn end(&mut self, cause: Cause, ms: i64, takes_ms: i64, outcome: Outcome) -> Option<Record> {
        let ended = self.ended(cause, ms, takes_ms, outcome);
        self.recorder.ended(ended)
    }

    fn ended(&self, cause: Cause, ms: i64, takes_ms: i64, outcome: Outcome) -> Ended {
        Ended {
            assignment: Arc::clone(&self.assignment),
            generation: self.generation,
            cause,
            scheduled: at(ms),
            handed: at(ms),
            started: BootTime::from_ns(ms * MS),
            ended: BootTime::from_ns((ms + takes_ms) * MS),
            lateness: Duration::from_millis(2),
            finding: finding(outcome),
        }
    }

    /// A run of slot `k` of a check with a 1 s interval.
    fn run(&mut self, k: i64, outcome: Outcome) -> Option<Record> {
        self.start(Cause::Slot(k), k * 1_000);
        self.end(Cause::Slot(k), k * 1_000, 40, outcome)
    }
}

/// `.` pass, `w` warn, `f` fail, `o` ordered pass; the second line says which are sent.
#[test]
fn the_gate_opens_with_what_is_wrong_and_closes_after_as_many_passes() {
    let table = [
        // The first runs of a check are sent: nobody knows its state yet.
        ("......", "yynnnn"),
        ("..f....", "yyyyynn"),
        ("..w....", "yyyyynn"),
        ("..f.f...", "yyyyyyyn"),
        ("ffff.....", "yyyyyynnn"),
        ("...o...", "yynynnn"),
        ("..f.o...", "yyyyynnn"),
    ];
    for (runs, sent) in table {
        let mut bench = Bench::new(Duration::from_secs(1));
        let mut got = String::new();
        for (k, run) in runs.chars().enumerate() {
            let k = k as i64;
            let record = match run {
                '.' => bench.run(k, Outcome::Pass),
                'w' => bench.run(k, Outcome::Warn),
                'f' => bench.run(k, Outcome::Fail),
                _ => {
                    bench.start(Cause::Order(5), k * 1_000);
                    bench.end(Cause::Order(5), k * 1_000, 1, Outcome::Pass)
                }
            };
            if let Some(record) = &record {
                // Numbers go on over what is not sent.
                assert_eq!(record.number, k as u64 + 1);
            }
            got.push(if record.is_some() { 'y' } else { 'n' });
        }
        assert_eq!(got, sent, "{runs}");
    }
}

#[test]
fn missed_slots_neither_open_nor_close_the_gate_and_are_sent_at_once() {
    let mut bench = Bench::new(Duration::from_secs(1));
    bench.run(0, Outcome::Pass);
    bench.run(1, Outcome::Pass);
    let missed = Missed {
        assignment: Arc::clone(&bench.assignment),
        first_slot: 2,
        last_slot: 41,
        reason: Reason::MissedLate,
        skipped: 0,
    };
    let records = bench.recorder.missed(&missed, BootTime::from_ns(9));
    // Every number that is given is sent: a gap would read as passes.
    let numbers: Vec<_> = records.iter().map(|r| (r.number, r.slot, r.sequence)).collect();
    let wanted = (0..40).map(|k| (k + 3, Some(k as i64 + 2), k + 3));
    assert_eq!(numbers, wanted.collect::<Vec<_>>());
    assert!(bench.run(42, Outcome::Pass).is_none());
    bench.run(43, Outcome::Fail);
    let missed = Missed { first_slot: 44, last_slot: 44, ..missed };
    assert_eq!(bench.recorder.missed(&missed, BootTime::from_ns(9)).len(), 1);
    assert!(bench.run(45, Outcome::Pass).is_some());
    assert!(bench.run(46, Outcome::Pass).is_some());
    assert!(bench.run(47, Outcome::Pass).is_none());
}

#[test]
fn the_live_lane_has_one_sequence_over_all_checks() {
    let mut bench = Bench::new(Duration::from_secs(1));
    let other = Arc::new(assignment(2, Duration::from_secs(1)));
    bench.recorder.assign(&other, bench.generation);
    let first = bench.assignment.clone();
    let mut sequences = vec![];
    for k in 0..4 {
        bench.assignment = if k % 2 == 0 { first.clone() } else { other.clone() };
        sequences.extend(bench.run(k, Outcome::Fail).map(|r| (r.sequence, r.number)));
    }
    assert_eq!(sequences, [(1, 1), (2, 1), (3, 2), (4, 2)]);
    assert_eq!(bench.recorder.live_sequence(), 4);
}

#[test]
fn a_window_is_sealed_when_its_last_slot_has_ended() {
    let mut bench = Bench::new(Duration::from_secs(1));
    for k in 0..9 {
        bench.run(k, Outcome::Pass);
    }
    bench.start(Cause::Slot(9), 9_000);
    bench.run(10, Outcome::Pass);
    assert!(bench.recorder.seal(at(10_500), 10).is_empty());
    bench.end(Cause::Slot(9), 9_000, 2_000, Outcome::Fail);
    let sealed = bench.recorder.seal(at(11_000), 10);
    let [window] = sealed.as_slice() else { panic!("one window") };
    assert_eq!(window.check().err(), None);
    assert_eq!((window.start, window.period.seconds()), (at(0), 10));
    assert_eq!(window.slots, Some((0, 9)));
    // The run of slot 10 ended before that of slot 9, so number 10 is in the next window.
    assert_eq!(window.numbers, Some((1, 11)));
    assert_eq!(window.outcomes.len(), 10);
    assert_eq!(window.incarnation, Incarnation(77));
    let counted = |phase| {
        window.series.iter().find(|s| s.phase == phase).map(|s| (s.totals.count, s.totals.max_us))
    };
    assert_eq!(counted(Phase::Connect), Some((10, 3_000)));
    assert_eq!(counted(Phase::Total), Some((10, 2_000_000)));
    assert_eq!(counted(Phase::Lateness), Some((10, 2_000)));
    assert_eq!(counted(Phase::FromSlot), Some((10, 2_002_000)));
    assert!(bench.recorder.seal(at(11_000), 10).is_empty());
    assert_eq!(bench.recorder.next_seal_at(), Some(at(20_000)));
}

#[test]
fn a_window_has_the_certificate_that_expires_first_of_all_that_its_runs_were_shown() {
    let at_s = |not_after_s, step| Some(Expiry { not_after_s, step });
    for (shown, kept) in [
        (vec![(Outcome::Pass, None), (Outcome::Fail, None)], None),
        (vec![(Outcome::Pass, at_s(9, 1)), (Outcome::Pass, None)], at_s(9, 1)),
        (vec![(Outcome::Pass, at_s(9, 1)), (Outcome::Fail, at_s(-7, 0))], at_s(-7, 0)),
        // It was shown, although the run says nothing.
        (vec![(Outcome::Missed, at_s(5, 2)), (Outcome::Pass, at_s(9, 0))], at_s(5, 2)),
        // What no certificate can say is not told: no wire takes it.
        (vec![(Outcome::Pass, at_s(i64::MAX, 0)), (Outcome::Pass, at_s(1, 16))], None),
    ] {
        let mut bench = Bench::new(Duration::from_secs(1));
        for (k, (outcome, expiry)) in (0..).zip(&shown) {
            bench.start(Cause::Slot(k), k * 1_000);
            let ended = bench.ended(Cause::Slot(k), k * 1_000, 40, *outcome);
            let finding = Finding { expiry: *expiry, ..ended.finding };
            bench.recorder.ended(Ended { finding, ..ended });
        }
        let sealed = bench.recorder.seal(at(10_000), 10);
        assert_eq!(sealed[0].check().err(), None);
        assert_eq!(sealed[0].expiry, kept, "{shown:?}");
    }
}

#[test]
fn ordered_runs_lie_in_the_window_of_their_start_and_have_no_lateness() {
    let mut bench = Bench::new(Duration::from_secs(60));
    bench.start(Cause::Order(3), 61_000);
    bench.end(Cause::Order(3), 61_000, 10, Outcome::Pass);
    let [window] = &bench.recorder.seal(at(120_000), 10)[..] else { panic!("one window") };
    assert_eq!(window.check().err(), None);
    assert_eq!((window.start, window.slots), (at(60_000), None));
    assert!(window.outcomes.iter().all(|span| span.ordered));
    assert!(window.series.iter().all(|s| s.phase != Phase::Lateness && s.phase != Phase::FromSlot));
}

#[test]
fn a_new_digest_splits_the_window_and_opens_the_gate() {
    let mut bench = Bench::new(Duration::from_secs(1));
    for k in 0..4 {
        bench.run(k, Outcome::Pass);
    }
    bench.start(Cause::Slot(4), 4_000);
    let old = bench.assignment.clone();
    let mut new = (*old).clone();
    new.run_digest = RunDigest(99);
    let new = Arc::new(new);
    bench.recorder.assign(&new, Generation { epoch: 1, index: 5 });
    assert_eq!(bench.recorder.snapshot(&uid(1)).unwrap().recent, vec![]);
    // A run of the old version that ends now is sent, but is no part of the new one's state.
    let late = bench.end(Cause::Slot(4), 4_000, 500, Outcome::Pass).unwrap();
    assert_eq!((late.digest, late.number), (old.run_digest, 5));
    bench.assignment = new;
    assert_eq!(bench.run(5, Outcome::Pass).unwrap().number, 6);
    assert_eq!(bench.recorder.snapshot(&uid(1)).unwrap().recent.len(), 1);
    let sealed = bench.recorder.seal(at(10_000), 10);
    let ranges: Vec<_> = sealed.iter().map(|w| (w.run_digest.0, w.slots, w.numbers)).collect();
    assert_eq!(ranges, [(1, Some((0, 4)), Some((1, 5))), (99, Some((5, 5)), Some((6, 6)))]);
    assert!(sealed.iter().all(|w| w.check().is_ok()));
}

#[test]
fn an_edit_of_what_is_counted_while_a_region_recovers_tells_enough_for_its_new_terms() {
    // failures, successes, of both; before and after an edit that comes behind three passes.
    for (before, after) in [
        ((2, 5, 0, 0), (2, 2, 0, 0)),
        ((2, 5, 0, 0), (2, 4, 0, 0)),
        ((2, 5, 0, 0), (2, 7, 0, 0)),
        ((2, 5, 0, 6), (2, 2, 0, 3)),
        ((2, 4, 6, 0), (2, 3, 0, 0)),
    ] {
        let mut bench = Bench::new(Duration::from_secs(1));
        let edit = |bench: &mut Bench, (failures, successes, failures_of, successes_of)| {
            let of = Assignment::clone(&bench.assignment);
            let of = Assignment { failures, successes, failures_of, successes_of, ..of };
            bench.assignment = Arc::new(of);
            bench.recorder.assign(&bench.assignment, bench.generation);
            let interval = bench.assignment.interval;
            Terms { failures, successes, failures_of, successes_of, interval }
        };
        // A coordinator folds what it is told, and counts anew by other terms.
        let mut terms = edit(&mut bench, before);
        let mut told = Fold::<BootTime>::default();
        let mut sent = String::new();
        for k in 0..20 {
            let outcome = if k < 3 { Outcome::Fail } else { Outcome::Pass };
            if k == 6 {
                assert_eq!(told.state, BallotState::Fail, "{before:?} to {after:?}: {sent}");
                terms = edit(&mut bench, after);
                (told.oks, told.recent) = (0, Default::default());
            }
            let record = bench.run(k, outcome);
            sent.push(if record.is_some() { 'y' } else { 'n' });
            if let Some(record) = record {
                let (number, ended) = (record.number, record.ended);
                let mark = Mark { number, outcome, ordered: false, ended };
                told.step(&mark, &terms, false);
            }
        }
        assert_eq!(told.state, BallotState::Pass, "{before:?} to {after:?}: {sent}");
        assert!(sent.ends_with("nnn"), "the gate closes again: {sent}");
        // Nothing that is counted has changed.
        edit(&mut bench, after);
        assert!(bench.run(20, Outcome::Pass).is_none());
    }
}

#[test]
fn a_new_interval_splits_the_window() {
    // Slots are numbered from the zero of mesh time, so those of two intervals lie far apart.
    let base = 1_800_000_000;
    let mut bench = Bench::new(Duration::from_secs(1));
    bench.run(base, Outcome::Pass);
    bench.run(base + 1, Outcome::Pass);
    let mut new = (*bench.assignment).clone();
    new.interval = Duration::from_millis(500);
    bench.assignment = Arc::new(new);
    bench.recorder.assign(&bench.assignment, Generation { epoch: 1, index: 5 });
    for slot in [2 * base + 6, 2 * base + 7] {
        bench.start(Cause::Slot(slot), slot * 500);
        bench.end(Cause::Slot(slot), slot * 500, 40, Outcome::Pass);
    }
    let sealed = bench.recorder.seal(at((base + 10) * 1_000), 10);
    assert!(sealed.iter().all(|w| w.check().is_ok()), "{sealed:?}");
    let slots: Vec<_> = sealed.iter().map(|w| w.slots).collect();
    assert_eq!(slots, [Some((base, base + 1)), Some((2 * base + 6, 2 * base + 7))]);
}

#[test]
fn a_snapshot_holds_the_last_32_with_their_numbers_and_reasons() {
    let mut bench = Bench::new(Duration::from_secs(1));
    for k in 0..40 {
        bench.run(k, if k == 38 { Outcome::Fail } else { Outcome::Pass });
    }
    let snapshot = bench.recorder.snapshot(&uid(1)).unwrap();
    assert_eq!(snapshot.next_number, 41);
    let numbers: Vec<u64> = snapshot.recent.iter().map(|r| r.number).collect();
    assert_eq!(numbers, (9..=40).collect::<Vec<u64>>());
    let failed = &snapshot.recent[30];
    assert_eq!((failed.outcome, failed.reason), (Outcome::Fail, Some(Reason::ConnectRefused)));
    assert_eq!(&*failed.evidence, "seen");
    assert_eq!(bench.recorder.snapshot(&uid(9)), None);
}

#[test]
fn a_snapshot_tells_the_state_that_its_outcomes_no_longer_show() {
    let mut bench = Bench::new(Duration::from_secs(1));
    let check = uid(1);
    let said = |bench: &Bench| {
        let snapshot = bench.recorder.snapshot(&check).unwrap();
        (snapshot.state, snapshot.since)
    };
    assert_eq!(said(&bench), (BallotState::None, BootTime::default()));
    bench.run(0, Outcome::Fail);
    bench.run(1, Outcome::Fail);
    for k in 1..=20 {
        bench.run(2 * k, Outcome::Pass);
        bench.run(2 * k + 1, Outcome::Fail);
    }
    assert_eq!(said(&bench), (BallotState::Fail, BootTime::from_ns(1_040 * MS)));
    // A vote is for one version.
    let mut edited = Assignment::clone(&bench.assignment);
    edited.run_digest = RunDigest(edited.run_digest.0 + 1);
    bench.assignment = Arc::new(edited);
    bench.recorder.assign(&bench.assignment, bench.generation);
    assert_eq!(said(&bench).0, BallotState::None);
}

#[test]
fn a_new_generation_of_the_same_run_keeps_the_count() {
    let mut bench = Bench::new(Duration::from_secs(1));
    bench.assignment = Arc::new(Assignment { failures: 3, ..Assignment::clone(&bench.assignment) });
    bench.recorder.assign(&bench.assignment, bench.generation);
    for k in 0..3 {
        bench.run(k, Outcome::Pass);
    }
    bench.run(3, Outcome::Fail);
    bench.run(4, Outcome::Fail);
    let before = bench.recorder.snapshot(&uid(1)).unwrap();
    assert_eq!(before.state, BallotState::Pass, "two of three");
    // Whatever was edited, the run is the same: only the plan that it is told by is another one.
    bench.generation.index += 1;
    bench.recorder.assign(&bench.assignment, bench.generation);
    let mut after = bench.recorder.snapshot(&uid(1)).unwrap();
    for record in &mut after.recent {
        record.generation.index -= 1;
    }
    assert_eq!(after, before);
    bench.run(5, Outcome::Fail);
    assert_eq!(bench.recorder.snapshot(&uid(1)).unwrap().state, BallotState::Fail);
}

#[test]
fn a_check_that_leaves_is_sealed_when_its_window_is_over_and_one_that_returns_goes_on_counting() {
    let mut bench = Bench::new(Duration::from_secs(1));
    bench.run(0, Outcome::Pass);
    bench.start(Cause::Slot(1), 1_000);
    bench.recorder.remove(&uid(1));
    assert_eq!(bench.recorder.snapshot(&uid(1)), None);
    // History, but no vote.
    assert_eq!(bench.end(Cause::Slot(1), 1_000, 200, Outcome::Fail), None);
    // Coordinators refuse a window that ends in the future.
    assert!(bench.recorder.seal(at(9_999), 10).is_empty());
    assert_eq!(bench.recorder.next_seal_at(), Some(at(10_000)));
    let sealed = bench.recorder.seal(at(10_000), 10);
    assert_eq!(sealed.len(), 1);
    assert_eq!(sealed[0].numbers, Some((1, 2)));
    let again = bench.assignment.clone();
    bench.recorder.assign(&again, bench.generation);
    assert_eq!(bench.run(12, Outcome::Pass).unwrap().number, 3);
}

#[test]
fn a_check_that_leaves_and_returns_within_a_window_has_one_window() {
    let mut bench = Bench::new(Duration::from_secs(1));
    bench.run(0, Outcome::Pass);
    bench.recorder.remove(&uid(1));
    let again = bench.assignment.clone();
    bench.recorder.assign(&again, bench.generation);
    bench.run(3, Outcome::Pass);
    let sealed = bench.recorder.seal(at(10_000), 10);
    assert_eq!(sealed.iter().map(|window| window.numbers).collect::<Vec<_>>(), [Some((1, 2))]);
}

#[test]
fn where_too_many_checks_wait_for_the_end_of_a_window_what_leaves_is_sealed_at_once() {
    for (checks_max, sealed) in [(1, 0), (0, 1)] {
        let mut bench = Bench::new(Duration::from_secs(1));
        bench.recorder.checks_max = checks_max;
        bench.run(0, Outcome::Pass);
        bench.recorder.remove(&uid(1));
        assert_eq!(bench.recorder.seal(at(1_100), 10).len(), sealed, "at most {checks_max}");
    }
}

#[test]
fn at_the_end_everything_that_is_open_is_sealed_once() {
    let mut bench = Bench::new(Duration::from_secs(1));
    for n in 0..3 {
        let one = Arc::new(assignment(n, Duration::from_secs(1)));
        bench.recorder.assign(&one, bench.generation);
        bench.assignment = one;
        bench.run(9, Outcome::Pass);
        bench.run(10, Outcome::Fail);
    }
    bench.recorder.remove(&uid(1));
    // One that has not ended is not known.
    bench.start(Cause::Slot(11), 11_000);
    let sealed = bench.recorder.seal_open();
    let said: Vec<_> = sealed.iter().map(|of| (of.start, of.check, of.numbers)).collect();
    let wanted: Vec<_> = [(0, 1), (10_000, 2)]
        .into_iter()
        .flat_map(|(ms, number)| (0..3).map(move |n| (at(ms), uid(n), Some((number, number)))))
        .collect();
    assert_eq!(said, wanted);
    assert!(sealed.iter().all(|window| window.check().is_ok()));
    assert!(bench.recorder.seal(at(60_000), 100).is_empty());
    assert!(bench.recorder.seal_open().is_empty());
}

#[test]
fn sealing_is_done_in_portions() {
    let mut bench = Bench::new(Duration::from_secs(1));
    for n in 0..50 {
        let one = Arc::new(assignment(n, Duration::from_secs(1)));
        bench.recorder.assign(&one, bench.generation);
        bench.assignment = one;
        bench.run(0, Outcome::Pass);
    }
    let mut portions = vec![];
    loop {
        let sealed = bench.recorder.seal(at(10_000), 20).len();
        portions.push(sealed);
        if sealed < 20 {
            break;
        }
    }
    assert_eq!(portions, [20, 20, 10]);
}

#[test]
fn a_run_that_could_not_be_made_is_missed_and_has_no_samples() {
    let mut bench = Bench::new(Duration::from_secs(1));
    assert_eq!(bench.run(0, Outcome::Missed).unwrap().reason, Some(Reason::ConfigError));
    let sealed = bench.recorder.seal(at(10_000), 10);
    assert!(sealed[0].series.is_empty());
    assert_eq!(sealed[0].check().err(), None);
}

#[test]
fn each_round_trip_is_a_sample_and_a_record_tells_their_mean() {
    let mut bench = Bench::new(Duration::from_secs(1));
    let ms = Duration::from_millis;
    let echoes = |count: u64| (1..=count).map(move |n| (2, Phase::FirstByte, ms(n)));
    for (slot, count) in [(0, 3), (1, u64::from(ECHOES_MAX) + 50)] {
        bench.start(Cause::Slot(slot), slot * 1_000);
        let mut finding = finding(Outcome::Pass);
        // Of everything else there is one.
        finding.phases.push((0, Phase::Connect, ms(9)));
        finding.phases.extend(echoes(count));
        let record = bench.recorder.ended(Ended {
            assignment: Arc::clone(&bench.assignment),
            generation: bench.generation,
            cause: Cause::Slot(slot),
            scheduled: at(slot * 1_000),
            handed: at(slot * 1_000),
            started: BootTime::from_ns(slot * 1_000 * MS),
            ended: BootTime::from_ns((slot * 1_000 + 40) * MS),
            lateness: ms(2),
            finding,
        });
        let record = record.expect("the first runs are sent");
        let told: Vec<_> = record.phases.iter().take(2).copied().collect();
        let mean = if slot == 0 { ms(2) } else { Duration::from_micros(50_500) };
        assert_eq!(told, [(0, Phase::Connect, ms(3)), (2, Phase::FirstByte, mean)]);
        assert_eq!(record.phases.len(), 5, "{:?}", record.phases);
    }
    let [window] = &bench.recorder.seal(at(20_000), 10)[..] else { panic!("one window") };
    assert_eq!(window.check(), Ok(()));
    let count = |phase| window.series.iter().find(|s| s.phase == phase).unwrap().totals.count;
    assert_eq!(count(Phase::FirstByte), 3 + u64::from(ECHOES_MAX));
    assert_eq!((count(Phase::Connect), count(Phase::Total)), (2, 2));
}

#[test]
fn a_slot_of_several_samples_has_one_number_and_all_of_them_in_its_series() {
    let mut bench = Bench::new(Duration::from_secs(1));
    Arc::make_mut(&mut Arc::make_mut(&mut bench.assignment).run).samples = 3;
    let ms = Duration::from_millis;
    bench.start(Cause::Slot(0), 0);
    let mut found = finding(Outcome::Warn);
    found.phases.clear();
    // A fourth is more than the check has asked for.
    for length in [10, 20, 30, 40] {
        found.phases.push((0, Phase::Connect, ms(length)));
        found.phases.push((0, Phase::Total, ms(length)));
        found.phases.push((0, Phase::Lateness, ms(length)));
    }
    let record = bench.recorder.ended(Ended {
        assignment: Arc::clone(&bench.assignment),
        generation: bench.generation,
        cause: Cause::Slot(0),
        scheduled: at(0),
        handed: at(0),
        started: BootTime::from_ns(0),
        ended: BootTime::from_ns(65 * MS),
        lateness: ms(2),
        finding: found,
    });
    let record = record.expect("it is sent");
    assert_eq!((record.number, record.slot, record.outcome), (1, Some(0), Outcome::Warn));
    let wanted = [
        (0, Phase::Connect, ms(20)),
        (0, Phase::Total, ms(20)),
        (0, Phase::Lateness, ms(2)),
        // From the slot to the end of the last one.
        (0, Phase::FromSlot, ms(67)),
    ];
    assert_eq!(record.phases, wanted);
    let [window] = &bench.recorder.seal(at(20_000), 10)[..] else { panic!("one window") };
    assert_eq!(window.check(), Ok(()));
    let count = |phase| window.series.iter().find(|s| s.phase == phase).unwrap().totals.count;
    assert_eq!((count(Phase::Connect), count(Phase::Total)), (3, 3));
    assert_eq!((count(Phase::Lateness), count(Phase::FromSlot)), (1, 1));
    assert_eq!(window.outcomes.iter().map(|span| span.count).sum::<u32>(), 1);
}

#[test]
fn a_run_that_never_began_has_no_length() {
    let mut bench = Bench::new(Duration::from_secs(1));
    bench.start(Cause::Slot(0), 0);
    let begun = bench.end(Cause::Slot(0), 0, 40, Outcome::Fail).expect("the first run is sent");
    bench.start(Cause::Slot(1), 1_000);
    let not_begun = bench.end(Cause::Slot(1), 1_000, 0, Outcome::Fail).expect("a fail is sent");
    let of = |record: &Record| -> Vec<Phase> {
        let own = [Phase::Total, Phase::Lateness, Phase::FromSlot];
        record.phases.iter().map(|(_, phase, _)| *phase).filter(|it| own.contains(it)).collect()
    };
    assert_eq!(of(&begun), [Phase::Total, Phase::Lateness, Phase::FromSlot]);
    assert_eq!(of(&not_begun), [Phase::Lateness]);
    let [window] = &bench.recorder.seal(at(20_000), 10)[..] else { panic!("one window") };
    assert_eq!(window.check(), Ok(()));
    let total = window.series.iter().find(|series| series.phase == Phase::Total).unwrap();
    assert_eq!(total.totals.count, 1);
}
