use std::time::Duration;

use parallax_common::histogram::Recorder;
use parallax_common::outcome::{Outcome, Phase, Reason};
use proptest::prelude::*;

use super::*;

fn built(samples: &[u64]) -> Window {
    // A certificate of 2026, of the second step, or none.
    let expiry = samples.last().filter(|us| **us % 2 == 0);
    let mut recorder = Recorder::new();
    let mut outcomes = Spans::new();
    for &us in samples {
        assert!(recorder.record(Duration::from_micros(us)));
        match us % 7 {
            0 => outcomes.push(Outcome::Fail, Some(Reason::Timeout), false),
            1 => outcomes.push(Outcome::Pass, None, true),
            _ => outcomes.push(Outcome::Pass, None, false),
        }
    }
    let scheduled = outcomes.iter().filter(|s| !s.ordered).map(|s| i64::from(s.count)).sum::<i64>();
    let series = [Phase::Total, Phase::Lateness].map(|phase| Series {
        step: 0,
        phase,
        totals: recorder.totals(),
        histogram: recorder.encode(),
    });
    Window {
        check: Uid::from_bytes([1; 16]),
        run_digest: RunDigest(2),
        start: MeshTime::from_ns(1_700_000_010_000_000_000),
        period: Period::from_seconds(10).unwrap(),
        phase_ns: 5,
        slots: (scheduled > 0).then(|| (50, 49 + scheduled)),
        numbers: (!samples.is_empty()).then_some((1, samples.len() as u64)),
        outcomes,
        series: if samples.is_empty() { vec![] } else { series.to_vec() },
        expiry: expiry.map(|us| Expiry { not_after_s: 1_780_000_000 + *us as i64, step: 1 }),
        incarnation: Incarnation(8),
    }
}

#[test]
fn what_is_missing_or_unknown_is_refused() {
    type Break = fn(&mut v1::Window);
    let rows: &[(&str, Break)] = &[
        ("check_uid", |w| w.check_uid = vec![1; 17].into()),
        ("outcome", |w| w.outcomes[0].outcome = 0),
        ("reason", |w| w.outcomes[0].reason = 999),
        ("phase", |w| w.series[0].phase = 99),
        ("histogram", |w| w.series[0].histogram = None),
    ];
    for (field, change) in rows {
        let mut wire = window_to(&built(&[100, 200]));
        change(&mut wire);
        assert_eq!(check_window(&wire), Err(WindowError::Field(field)));
        assert!(window(&wire).is_err());
    }
    let mut wire = window_to(&built(&[100]));
    wire.period_s = 11;
    assert_eq!(check_window(&wire), Err(WindowError::Period(11)));
}

#[test]
fn an_hdr_bomb_is_refused_by_its_header() {
    let mut wire = window_to(&built(&[100, 200]));
    let mut bomb = vec![0x1c, 0x84, 0x93, 0x13, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 5];
    bomb.extend_from_slice(&[0xff; 24]);
    wire.series[0].histogram = Some(v1::series::Histogram::HdrV2(bomb.into()));
    let error = check_window(&wire).unwrap_err();
    assert_eq!(error.rule(), parallax_common::rule::WINDOW_HISTOGRAM);
}

proptest! {
    #[test]
    fn windows_come_back(samples in proptest::collection::vec(1u64..60_000_000, 0..100)) {
        let original = built(&samples);
        prop_assert_eq!(original.check(), Ok(()));
        let wire = window_to(&original);
        prop_assert_eq!(window(&wire), Ok(original));
        prop_assert!(check_window(&wire).is_ok());
    }
}
