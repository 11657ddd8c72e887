use proptest::prelude::*;

use super::*;
use crate::histogram::Recorder;

const PASS: Span = Span { outcome: Outcome::Pass, reason: None, count: 3, ordered: false };

fn series(us: &[u64]) -> Series {
    let mut recorder = Recorder::new();
    for &us in us {
        recorder.record(Duration::from_micros(us));
    }
    Series { step: 0, phase: Phase::Total, totals: recorder.totals(), histogram: recorder.encode() }
}

fn window() -> Window {
    let mut outcomes = Spans::new();
    outcomes.push_span(PASS);
    outcomes.push(Outcome::Fail, Some(Reason::ConnectRefused), true);
    Window {
        check: Uid::from_bytes([7; 16]),
        run_digest: RunDigest(9),
        start: MeshTime::from_ns(1_700_000_000_000_000_000),
        period: Period::from_seconds(10).unwrap(),
        phase_ns: 123,
        slots: Some((100, 102)),
        numbers: Some((40, 43)),
        outcomes,
        series: vec![series(&[100, 200, 300])],
        expiry: Some(Expiry { not_after_s: 1_780_000_000, step: 15 }),
        incarnation: Incarnation(1),
    }
}

#[test]
fn the_ladder_takes_the_least_that_holds_the_interval() {
    for (interval_ms, seconds) in [
        (100, 10),
        (10_000, 10),
        (10_001, 20),
        (20_000, 20),
        (25_000, 30),
        (31_000, 60),
        (60_001, 300),
        (300_001, 300),
        (86_400_000, 300),
    ] {
        let period = Period::for_interval(Duration::from_millis(interval_ms));
        assert_eq!(period.seconds(), seconds, "{interval_ms} ms");
    }
    assert_eq!(Period::from_seconds(15), None);
}

#[test]
fn a_good_window_holds_every_bound() {
    assert_eq!(window().check(), Ok(()));
}

#[test]
fn each_bound_refuses() {
    use WindowError as E;
    let fail = |outcome, reason| {
        move |w: &mut Window| {
            w.outcomes.push_span(Span { outcome, reason, count: 1, ordered: true })
        }
    };
    type Change = Box<dyn Fn(&mut Window)>;
    let rows: Vec<(&str, Change, WindowError)> = vec![
        ("start", Box::new(|w| w.start = MeshTime::from_ns(1)), E::Start),
        (
            "last start",
            Box::new(|w| w.start = MeshTime::from_ns(9_223_372_030_000_000_000)),
            E::Start,
        ),
        ("phase", Box::new(|w| w.phase_ns = -1), E::Phase),
        ("long phase", Box::new(|w| w.phase_ns = 86_400_000_000_000), E::Phase),
        ("slots", Box::new(|w| w.slots = Some((0, 101))), E::Slots),
        ("slots that wrap", Box::new(|w| w.slots = Some((i64::MIN, i64::MAX))), E::Slots),
        ("number 0", Box::new(|w| w.numbers = Some((0, 3))), E::Numbers),
        ("last number", Box::new(|w| w.numbers = Some((1, u64::MAX))), E::Numbers),
        ("fewer numbers", Box::new(|w| w.numbers = Some((40, 42))), E::Outcomes("run numbers")),
        ("fewer slots", Box::new(|w| w.slots = Some((100, 101))), E::Outcomes("slots")),
        (
            "nothing",
            Box::new(|w| (w.outcomes, w.series) = (Spans::new(), vec![])),
            E::NoOutcomes("run numbers"),
        ),
        (
            "no slot's outcome",
            Box::new(|w| {
                w.series.clear();
                w.outcomes = Spans::new();
                w.outcomes.push(Outcome::Pass, None, true);
            }),
            E::NoOutcomes("slots"),
        ),
        ("a pass with a reason", Box::new(fail(Outcome::Pass, Some(Reason::Timeout))), E::Reason),
        ("a fail without", Box::new(fail(Outcome::Fail, None)), E::Reason),
        (
            "a fail that was missed",
            Box::new(fail(Outcome::Fail, Some(Reason::MissedLate))),
            E::Reason,
        ),
        ("a missed that failed", Box::new(fail(Outcome::Missed, Some(Reason::Timeout))), E::Reason),
        ("the same series", Box::new(|w| w.series.push(series(&[1]))), E::Series),
        ("step 16", Box::new(|w| w.series[0].step = 16), E::Series),
        (
            "more samples",
            Box::new(|w| w.series = vec![series(&vec![1; 4 * SAMPLES_MAX as usize + 1])]),
            E::Samples,
        ),
        (
            "more from their slots than outcomes",
            Box::new(|w| {
                w.series = vec![Series { phase: Phase::FromSlot, ..series(&[1, 2, 3, 4, 5]) }];
            }),
            E::Samples,
        ),
        (
            "more round trips",
            Box::new(|w| {
                let echoes = vec![1; (4 * SAMPLES_MAX * ECHOES_MAX) as usize + 1];
                w.series = vec![Series { phase: Phase::FirstByte, ..series(&echoes) }];
            }),
            E::Samples,
        ),
        (
            "a certificate before 1950",
            Box::new(|w| {
                w.expiry = Some(Expiry { not_after_s: Expiry::NOT_AFTER_S_MIN - 1, step: 0 });
            }),
            E::Expiry,
        ),
        (
            "a certificate after 9999",
            Box::new(|w| {
                w.expiry = Some(Expiry { not_after_s: Expiry::NOT_AFTER_S_MAX + 1, step: 0 });
            }),
            E::Expiry,
        ),
        (
            "a certificate of step 16",
            Box::new(|w| w.expiry = Some(Expiry { not_after_s: 0, step: 16 })),
            E::Expiry,
        ),
        (
            "a sum of nothing",
            Box::new(|w| w.series[0].totals.sum_us = 0),
            E::Histogram(HistogramError::Disagrees("sum_us")),
        ),
        (
            "an empty series",
            Box::new(|w| w.series = vec![series(&[])]),
            E::Histogram(HistogramError::Disagrees("count")),
        ),
    ];
    // A run of echoes has a round trip for each, and a slot may have several runs.
    let mut echoes = window();
    let round_trips = series(&vec![1; (4 * SAMPLES_MAX * ECHOES_MAX) as usize]);
    echoes.series = vec![Series { phase: Phase::FirstByte, ..round_trips }];
    assert_eq!(echoes.check(), Ok(()));
    for (what, change, error) in rows {
        let mut window = window();
        change(&mut window);
        assert_eq!(window.check(), Err(error), "{what}");
    }
    let head = Head { start_mesh_ns: 0, period_s: 15, phase_ns: 0, slots: (1, 0), numbers: (1, 0) };
    assert_eq!(Checker::begin(head).unwrap_err(), E::Period(15));
    let mut checker = Checker::begin(Head { period_s: 10, ..head }).unwrap();
    assert_eq!(checker.span(Span { count: 0, ..PASS }), Err(E::Spans));
    assert_eq!(checker.span(Span { count: u32::MAX, ..PASS }), Err(E::Spans));
}

fn outcomes() -> impl Strategy<Value = Vec<(Outcome, Option<Reason>, bool)>> {
    let one = prop_oneof![
        Just((Outcome::Pass, None)),
        Just((Outcome::Fail, Some(Reason::Timeout))),
        Just((Outcome::Fail, Some(Reason::HttpStatus))),
        Just((Outcome::Missed, Some(Reason::MissedLate))),
    ];
    proptest::collection::vec((one, any::<bool>()).prop_map(|((o, r), b)| (o, r, b)), 0..60)
}

proptest! {
    #[test]
    fn spans_give_back_what_was_pushed(list in outcomes()) {
        let mut spans = Spans::new();
        for &(outcome, reason, ordered) in &list {
            spans.push(outcome, reason, ordered);
        }
        prop_assert_eq!(spans.len(), list.len() as u64);
        prop_assert_eq!(spans.is_empty(), list.is_empty());
        prop_assert_eq!(spans.expand().collect::<Vec<_>>(), list);
        let stretches: Vec<Span> = spans.iter().copied().collect();
        for pair in stretches.windows(2) {
            prop_assert_ne!(Span { count: 0, ..pair[0] }, Span { count: 0, ..pair[1] });
        }
    }

    #[test]
    fn every_instant_lies_between_its_edges(at in any::<i64>(), which in 0usize..5) {
        let period = Period::from_seconds(LADDER_S[which]).unwrap();
        let at = MeshTime::from_ns(at);
        let (start, end) = period.edges(at);
        prop_assert!(start <= at && (at < end || end.as_ns() == i64::MAX));
        if start.as_ns() > i64::MIN {
            prop_assert_eq!(start.as_ns().rem_euclid(ns(period.length())), 0);
        }
    }
}
