use parallax_common::name::Generation;
use parallax_common::outcome::{Outcome, Phase, Reason};
use parallax_common::record::Order;
use parallax_common::time::MeshTime;
use proptest::prelude::*;
use prost::Message as _;

use super::*;
use crate::convert::assignment::{assignment, assignment_to, of_check, order, order_to};
use crate::convert::check::{check, normalise_check};

fn good() -> Record {
    Record {
        check: Uid::from_bytes([3; 16]),
        run_digest: RunDigest(5),
        number: 7,
        slot: Some(-4),
        order: 0,
        outcome: Outcome::Fail,
        reason: Some(Reason::ConnectRefused),
        step: 0,
        evidence: "connection refused by 203.0.113.7:443".to_owned(),
        scheduled: BootTime::from_ns(1_000),
        started: BootTime::from_ns(1_500),
        ended: BootTime::from_ns(9_000),
        generation: Generation { epoch: 1, index: 20 },
        remote_address: "203.0.113.7:443".to_owned(),
        phases: vec![(0, Phase::Dns, Duration::from_nanos(77))],
    }
}

#[test]
fn a_record_comes_back() {
    let passed = Record { outcome: Outcome::Pass, reason: None, slot: None, order: 9, ..good() };
    let first = Record { order: 0, ..passed.clone() };
    assert_eq!(record(&record_to(&first)), Ok(first), "the first run of a new assignment");
    for original in [good(), passed] {
        assert_eq!(record(&record_to(&original)), Ok(original));
    }
}

type Break = fn(&mut v1::OutcomeRecord);

#[test]
fn each_bound_of_a_record_refuses() {
    let rows: &[(&str, parallax_common::rule::Rule, Break)] = &[
        ("check_uid", rule::WIRE_UID, |r| r.check_uid = vec![1; 15].into()),
        ("number", rule::WIRE_NUMBER, |r| r.number = 0),
        ("number", rule::WIRE_NUMBER, |r| r.number = u64::MAX),
        ("slot", rule::WIRE_NUMBER, |r| r.order = 3),
        ("outcome", rule::WIRE_FIELD, |r| r.outcome = 0),
        ("outcome", rule::WIRE_FIELD, |r| r.outcome = 77),
        ("reason", rule::WIRE_REASON, |r| r.reason = 0),
        ("reason", rule::WIRE_REASON, |r| r.reason = 999),
        ("reason", rule::WIRE_REASON, |r| r.outcome = v1::Outcome::Pass as i32),
        ("reason", rule::WIRE_REASON, |r| r.reason = v1::Reason::MissedLate as i32),
        ("step", rule::WIRE_NUMBER, |r| r.step = 16),
        ("evidence", rule::WIRE_TEXT, |r| r.evidence = "x".repeat(513)),
        ("remote_address", rule::WIRE_TEXT, |r| r.remote_address = "x".repeat(81)),
        ("ended_boottime_ns", rule::WIRE_TIME, |r| r.scheduled_boottime_ns = -1),
        ("ended_boottime_ns", rule::WIRE_TIME, |r| r.started_boottime_ns = 999),
        ("ended_boottime_ns", rule::WIRE_TIME, |r| r.ended_boottime_ns = 1_499),
        ("ended_boottime_ns", rule::WIRE_TIME, |r| r.ended_boottime_ns = i64::MAX),
        ("phases", rule::WIRE_TOO_MANY, |r| r.phases = vec![r.phases[0]; 129]),
        ("phases.phase", rule::WIRE_FIELD, |r| r.phases[0].phase = 0),
        ("phases.step", rule::WIRE_NUMBER, |r| r.phases[0].step = 16),
        ("phases.duration_ns", rule::WIRE_TIME, |r| r.phases[0].duration_ns = -1),
        ("phases.duration_ns", rule::WIRE_TIME, |r| r.phases[0].duration_ns = i64::MAX),
    ];
    for (field, rule, change) in rows {
        let mut wire = record_to(&good());
        change(&mut wire);
        let error = record(&wire).unwrap_err();
        assert_eq!((error.field, error.rule), (*field, *rule), "{error}");
    }
}

#[test]
fn snapshots_ascend_and_are_of_one_check() {
    let at = |number| Record { number, ..good() };
    let whole = CheckSnapshot {
        check: good().check,
        run_digest: RunDigest(5),
        recent: vec![at(7), at(9)],
        next_number: 10,
        state: BallotState::Fail,
        since: BootTime::from_ns(5),
        counted: Recent::from_bits([0b111, 0b101, 0b010]),
    };
    assert_eq!(snapshot(&snapshot_to(&whole)), Ok(whole.clone()));
    // No run has two outcomes, and none that was not told has any.
    assert_eq!(Recent::from_bits([0b011, 0b101, 0b111]).bits(), [0b011, 0b001, 0b010]);
    let stateless = v1::CheckSnapshot { state: 0, ..snapshot_to(&whole) };
    assert_eq!(snapshot(&stateless).unwrap_err().field, "state");
    let before = v1::CheckSnapshot { since_boottime_ns: -1, ..snapshot_to(&whole) };
    assert_eq!(snapshot(&before).unwrap_err().field, "since_boottime_ns");
    let refused = |change: fn(&mut CheckSnapshot)| {
        let mut broken = whole.clone();
        change(&mut broken);
        snapshot(&snapshot_to(&broken)).unwrap_err().field
    };
    assert_eq!(refused(|s| s.recent.reverse()), "recent.number");
    assert_eq!(refused(|s| s.next_number = 9), "recent.number");
    assert_eq!(refused(|s| s.recent[0].check = Uid::from_bytes([4; 16])), "recent.check_uid");
    assert_eq!(refused(|s| s.recent = vec![s.recent[0].clone(); 33]), "recent");
}

#[test]
fn orders_come_back_and_their_bounds_refuse() {
    let good = Order {
        order: 1,
        check: Uid::from_bytes([3; 16]),
        run_digest: RunDigest(5),
        generation: Generation { epoch: 1, index: 20 },
        count: 2,
        spacing: Duration::from_millis(50),
        expires: Duration::from_secs(2),
        ordered: Some(MeshTime::from_ns(1_800_000_000_000_000_000)),
    };
    assert_eq!(order(&order_to(&good)), Ok(good.clone()));
    let unknown = Order { ordered: None, ..good.clone() };
    assert_eq!(order(&order_to(&unknown)), Ok(unknown));
    let refused = |change: fn(&mut v1::ConfirmOrder)| {
        let mut broken = order_to(&good);
        change(&mut broken);
        order(&broken).unwrap_err().field
    };
    assert_eq!(refused(|o| o.order = 0), "order");
    assert_eq!(refused(|o| o.count = 0), "count");
    assert_eq!(refused(|o| o.count = 33), "count");
    assert_eq!(refused(|o| o.spacing_ns = 1), "spacing_ns");
    assert_eq!(refused(|o| o.expires_ms = 2_001), "expires_ms");
    assert_eq!(refused(|o| o.check_uid = vec![].into()), "check_uid");
}

fn assigned() -> v1::Assignment {
    let http = v1::HttpStep { url: "https://shop.example/".to_owned(), ..Default::default() };
    let step = v1::Step { kind: Some(v1::step::Kind::Http(http)), ..Default::default() };
    let second = prost_types::Duration { seconds: 1, nanos: 0 };
    let wire = normalise_check(v1::Check {
        meta: Some(v1::Meta {
            uid: "0190b2a4-7c1e-7d5a-9a51-5d3f6a2b8c01".to_owned(),
            name: "checkout".to_owned(),
            ..Default::default()
        }),
        run: Some(v1::Run {
            steps: vec![step],
            timeout: Some(second),
            source_address: "127.0.0.2".to_owned(),
            resolver: "[::1]:5353".to_owned(),
            ..Default::default()
        }),
        interval: Some(second),
        regions: vec!["a".to_owned(), "b".to_owned()],
        ..Default::default()
    });
    let built = check(&wire).unwrap();
    assignment_to(&of_check(&built, 1, std::sync::Arc::new(built.run.clone())))
}

#[test]
fn assignments_come_back_and_their_bounds_refuse() {
    let built = assignment(&assigned()).unwrap();
    assert_eq!(assignment_to(&built), assigned());
    assert_eq!(built.interval, Duration::from_secs(1));
    let refused = |change: fn(&mut v1::Assignment)| {
        let mut broken = assigned();
        change(&mut broken);
        assignment(&broken).unwrap_err().field
    };
    assert_eq!(refused(|a| a.check_uid = vec![].into()), "check_uid");
    assert_eq!(refused(|a| a.interval_ns = 0), "interval_ns");
    assert_eq!(refused(|a| a.confirm_spacing_ns = -1), "confirm_spacing_ns");
    assert_eq!(refused(|a| a.phase_ns = a.interval_ns), "phase_ns");
    assert_eq!(refused(|a| a.phase_ns = -1), "phase_ns");
    assert_eq!(refused(|a| a.failures = 0), "failures");
    assert_eq!(refused(|a| a.successes = 33), "failures");
    assert_eq!(refused(|a| a.failures_of = 33), "failures_of");
    assert_eq!(refused(|a| a.failures_of = 1), "failures_of");
    assert_eq!(refused(|a| a.successes_of = 33), "successes_of");
    assert_eq!(refused(|a| a.run = None), "run");
    assert_eq!(refused(|a| a.run.as_mut().unwrap().steps.clear()), "run");
    assert_eq!(refused(|a| a.run_digest ^= 1), "run_digest");
}

proptest! {
    /// What a hostile peer may send decodes to messages of any content; none may panic.
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(wire) = v1::OutcomeRecord::decode(bytes.as_slice()) {
            let _ = record(&wire);
        }
        if let Ok(wire) = v1::Assignment::decode(bytes.as_slice()) {
            let _ = assignment(&wire);
        }
        if let Ok(wire) = v1::Window::decode(bytes.as_slice()) {
            let _ = crate::convert::window::window(&wire);
        }
    }
}
