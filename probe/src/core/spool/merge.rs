//! Windows merged exactly: those of one check within one minute become one window of a minute.
//!
//! Nothing is lost but where within the minute a run lay: outcomes keep their order, counts are
//! added, histograms are added entry by entry, and of certificates the first to expire is kept. What
//! cannot be one window by the rules of the wire (`parallax_common::window`) stays as it is; so do
//! windows of different versions of a check, and of different intervals, whose slots are counted from
//! different zeros and never fit one period.

use std::collections::BTreeMap;
use std::time::Duration;

use parallax_common::expiry::Expiry;
use parallax_common::histogram::Recorder;
use parallax_common::name::{RunDigest, Uid};
use parallax_common::outcome::Phase;
use parallax_common::time::MeshTime;
use parallax_common::window::{Period, Series, Spans, Window};

/// Seconds of what merging makes.
const MINUTE_S: u32 = 60;

/// What windows have in common that may become one.
pub type Key = (Uid, RunDigest, i64, MeshTime);

/// The minute that a window could be merged into; `None` when it is as long already.
pub fn key(window: &Window) -> Option<Key> {
    let minute = Period::from_seconds(MINUTE_S)?;
    if window.period >= minute {
        return None;
    }
    let (start, _) = minute.edges(window.start);
    Some((window.check, window.run_digest, window.phase_ns, start))
}

/// When the minute of a key ends.
pub fn end(key: &Key) -> MeshTime {
    key.3 + Duration::from_secs(MINUTE_S.into())
}

/// One window for several of one [`key`], in their order; `None` when they cannot be one.
pub fn merge(windows: &[Window]) -> Option<Window> {
    let (first, rest) = windows.split_first()?;
    let of = key(first)?;
    if rest.iter().any(|other| key(other) != Some(of) || other.incarnation != first.incarnation) {
        return None;
    }
    let mut outcomes = Spans::new();
    let mut series: BTreeMap<(u32, Phase), Recorder> = BTreeMap::new();
    let (mut slots, mut numbers, mut expiry) = (None, None, None);
    for window in windows {
        window.outcomes.iter().for_each(|span| outcomes.push_span(*span));
        slots = joined(slots, window.slots);
        numbers = joined(numbers, window.numbers);
        expiry = Expiry::first(expiry, window.expiry);
        for one in &window.series {
            let sum = series.entry((one.step, one.phase)).or_default();
            sum.add_encoded(one.histogram.view(), one.totals).ok()?;
        }
    }
    let series = series.into_iter().map(|((step, phase), sum)| Series {
        step,
        phase,
        totals: sum.totals(),
        histogram: sum.encode(),
    });
    let merged = Window {
        check: first.check,
        run_digest: first.run_digest,
        start: of.3,
        period: Period::from_seconds(MINUTE_S)?,
        phase_ns: first.phase_ns,
        slots,
        numbers,
        outcomes,
        series: series.collect(),
        expiry,
        incarnation: first.incarnation,
    };
    merged.check().is_ok().then_some(merged)
}

fn joined<T: Ord + Copy>(one: Option<(T, T)>, other: Option<(T, T)>) -> Option<(T, T)> {
    match (one, other) {
        (Some(one), Some(other)) => Some((one.0.min(other.0), one.1.max(other.1))),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::Duration;

    use parallax_common::histogram::Merged;
    use parallax_common::name::Incarnation;
    use parallax_common::outcome::{Outcome, Reason};
    use proptest::prelude::*;

    use super::*;
    use crate::core::assign::tests::uid;

    const S: i64 = 1_000_000_000;

    /// A window of ten seconds at a check of one second: `n` counts windows.
    pub(crate) fn window(check: u8, n: i64, outcomes: &[Outcome], lengths_us: &[u64]) -> Window {
        let mut spans = Spans::new();
        for outcome in outcomes {
            let reason = match outcome {
                Outcome::Pass => None,
                Outcome::Warn => Some(Reason::Warning),
                Outcome::Fail => Some(Reason::ConnectRefused),
                Outcome::Missed => Some(Reason::MissedLate),
            };
            spans.push(*outcome, reason, false);
        }
        let mut total = Recorder::new();
        lengths_us.iter().for_each(|us| {
            total.record(Duration::from_micros(*us));
        });
        let count = outcomes.len() as i64;
        let series = Series {
            step: 0,
            phase: Phase::Total,
            totals: total.totals(),
            histogram: total.encode(),
        };
        Window {
            check: uid(check),
            run_digest: RunDigest(u64::from(check)),
            start: MeshTime::from_ns(n * 10 * S),
            period: Period::from_seconds(10).unwrap(),
            phase_ns: 0,
            slots: (count > 0).then_some((n * 10, n * 10 + count - 1)),
            numbers: (count > 0).then(|| (n as u64 * 10 + 1, n as u64 * 10 + count as u64)),
            outcomes: spans,
            series: if lengths_us.is_empty() { vec![] } else { vec![series] },
            expiry: None,
            incarnation: Incarnation(1),
        }
    }

    fn outcome() -> impl Strategy<Value = Outcome> {
        (0..Outcome::ALL.len()).prop_map(|n| Outcome::ALL[n])
    }

    proptest! {
        #[test]
        fn a_merged_minute_says_all_that_its_windows_said(
            runs in proptest::collection::vec(
                proptest::collection::vec((outcome(), 1_u64..70_000_000), 1..=10), 1..=6),
        ) {
            let windows: Vec<Window> = runs.iter().enumerate().map(|(n, runs)| {
                let outcomes: Vec<Outcome> = runs.iter().map(|run| run.0).collect();
                let ran = runs.iter().filter(|run| run.0 != Outcome::Missed);
                window(1, 600 + n as i64, &outcomes, &ran.map(|run| run.1).collect::<Vec<_>>())
            }).collect();
            windows.iter().for_each(|window| window.check().unwrap());
            let merged = merge(&windows).expect("they are of one minute");
            prop_assert_eq!(merged.start, MeshTime::from_ns(6_000 * S));
            prop_assert_eq!(merged.period.seconds(), 60);
            let before: Vec<_> = windows.iter().flat_map(|w| w.outcomes.expand()).collect();
            prop_assert_eq!(merged.outcomes.expand().collect::<Vec<_>>(), before);
            prop_assert_eq!(merged.slots.unwrap().0, windows[0].slots.unwrap().0);
            prop_assert_eq!(merged.numbers.unwrap().1, windows.last().unwrap().numbers.unwrap().1);
            let mut sum = Merged::new();
            for one in windows.iter().flat_map(|window| &window.series) {
                sum.add_encoded(one.histogram.view(), one.totals).unwrap();
            }
            let mut whole = Merged::new();
            for one in &merged.series {
                whole.add_encoded(one.histogram.view(), one.totals).unwrap();
            }
            prop_assert_eq!(whole, sum);
        }
    }

    #[test]
    fn a_minute_keeps_the_certificate_that_expires_first() {
        let pass = [Outcome::Pass; 10];
        let at = |not_after_s, step| Some(Expiry { not_after_s, step });
        for (shown, kept) in [
            ([None, None, None], None),
            ([None, at(9, 2), None], at(9, 2)),
            ([at(9, 2), at(7, 1), at(8, 0)], at(7, 1)),
        ] {
            let of =
                |(n, expiry): (i64, _)| Window { expiry, ..window(1, 600 + n, &pass, &[5; 10]) };
            let windows: Vec<Window> = (0..).zip(shown).map(of).collect();
            assert_eq!(merge(&windows).unwrap().expiry, kept);
        }
    }

    #[test]
    fn what_is_not_of_one_minute_version_and_interval_stays_as_it_is() {
        let pass = [Outcome::Pass; 10];
        let one = |n| window(1, n, &pass, &[5; 10]);
        assert!(merge(&[one(600), one(605)]).is_some());
        assert_eq!(merge(&[one(600), one(606)]), None, "another minute");
        assert_eq!(merge(&[one(600), window(2, 601, &pass, &[])]), None, "another check");
        let digest = Window { run_digest: RunDigest(9), ..one(601) };
        assert_eq!(merge(&[one(600), digest]), None, "another version");
        let phase = Window { phase_ns: 5, ..one(601) };
        assert_eq!(merge(&[one(600), phase]), None, "another phase");
        // Slots of half a second are counted twice as fast.
        let interval = Window { slots: Some((12_020, 12_029)), ..one(601) };
        assert_eq!(merge(&[one(600), interval]), None, "another interval");
        let life = Window { incarnation: Incarnation(2), ..one(601) };
        assert_eq!(merge(&[one(600), life]), None, "another life");
        let minute = merge(&[one(600), one(601)]).unwrap();
        assert_eq!((key(&minute), merge(&[minute.clone(), one(602)])), (None, None));
        assert_eq!(merge(&[]), None);
    }
}
