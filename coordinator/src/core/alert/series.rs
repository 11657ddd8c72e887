//! What the regions of a check measured, cell by cell, as far as an alert wants to know.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parallax_common::alert::Measure;
use parallax_common::histogram::value_at;
use parallax_common::outcome::{Outcome, Phase};
use parallax_common::time::MeshTime;

use crate::history::cell::Cell;
use crate::history::sparse::Sparse;
use crate::history::tier::Tier;

/// Samples of some stretch of time, and how many are bad: runs that failed, or durations above the
/// threshold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Count {
    /// All of them.
    pub all: u64,
    /// The bad ones.
    pub bad: u64,
    /// The longest duration; 0 for runs.
    pub max_us: u64,
}

impl Count {
    /// Adds another stretch.
    pub fn add(&mut self, other: Self) {
        self.all = self.all.saturating_add(other.all);
        self.bad = self.bad.saturating_add(other.bad);
        self.max_us = self.max_us.max(other.max_us);
    }
}

/// Counts by region and start of the cell.
#[derive(Debug)]
pub struct Series {
    measure: Measure,
    counts: BTreeMap<Arc<str>, BTreeMap<MeshTime, Count>>,
    /// Durations of the newest look, merged whole: the record says what the percentile was.
    newest: BTreeMap<Arc<str>, Sparse>,
    newest_from: MeshTime,
    newest_to: MeshTime,
}

impl Series {
    /// Nothing counted yet. The newest look begins and ends there.
    pub fn of(measure: Measure, newest_from: MeshTime, newest_to: MeshTime) -> Self {
        let (counts, newest) = (BTreeMap::new(), BTreeMap::new());
        Self { measure, counts, newest, newest_from, newest_to }
    }

    /// Counts of runs only.
    pub fn of_runs() -> Self {
        let (from, to) = (MeshTime::default(), MeshTime::default());
        Self::of(Measure::ErrorRate { above_ppm: 0 }, from, to)
    }

    /// Whether runs are counted, and not durations.
    pub fn is_of_runs(&self) -> bool {
        matches!(self.measure, Measure::ErrorRate { .. })
    }

    /// The durations that are wanted of history.
    pub fn phase(&self) -> Option<Phase> {
        match self.measure {
            Measure::Latency { phase, .. } => Some(phase),
            Measure::ErrorRate { .. } | Measure::CertDays { .. } => None,
        }
    }

    /// Counts a cell of history, placed in `tier`.
    pub fn add(&mut self, region: &Arc<str>, cell: &Cell, tier: Tier) {
        let (start, _) = cell.place(tier);
        let count = match self.measure {
            Measure::ErrorRate { .. } => runs(cell),
            // History has none of it: see `certificate`.
            Measure::CertDays { .. } => Count::default(),
            Measure::Latency { phase, above, .. } => {
                let mut count = Count::default();
                let of_phase = cell.series.iter().filter(|((_, of), _)| *of == phase);
                for (_, sparse) in of_phase {
                    count.add(durations(sparse, above));
                    if start >= self.newest_from && start < self.newest_to {
                        self.newest.entry(Arc::clone(region)).or_default().add(sparse);
                    }
                }
                count
            }
        };
        if count.all > 0 {
            let starts = self.counts.entry(Arc::clone(region)).or_default();
            starts.entry(start).or_default().add(count);
        }
    }

    /// What one region measured in the cells that begin within `from..to`.
    pub fn count(&self, region: &str, from: MeshTime, to: MeshTime) -> Count {
        let mut sum = Count::default();
        if let Some(starts) = self.counts.get(region).filter(|_| from < to) {
            starts.range(from..to).for_each(|(_, count)| sum.add(*count));
        }
        sum
    }

    /// Whether what one region measured within `from..to` is above the threshold; `None`: it measured
    /// nothing.
    pub fn above(&self, region: &str, from: MeshTime, to: MeshTime) -> Option<bool> {
        let count = self.count(region, from, to);
        if count.all == 0 {
            return None;
        }
        Some(match self.measure {
            Measure::ErrorRate { above_ppm } => exceeds(count.bad, count.all, above_ppm.into()),
            Measure::CertDays { .. } => return None,
            Measure::Latency { percentile, above, .. } => {
                // The percentile is the sample of this rank, as in `Sparse::quantile`. It is above
                // when the samples that are not above do not reach it. No percentile is above the
                // greatest sample, though the entry of a histogram that it is in may be.
                let rank = (share(percentile) * count.all as f64).ceil() as u64;
                let rank = rank.clamp(1, count.all);
                count.all - count.bad < rank && u128::from(count.max_us) > above.as_micros()
            }
        })
    }

    /// The percentile of the newest look in one region.
    pub fn percentile(&self, region: &str) -> Option<Duration> {
        match self.measure {
            Measure::Latency { percentile, .. } => {
                self.newest.get(region)?.quantile(share(percentile))
            }
            Measure::ErrorRate { .. } | Measure::CertDays { .. } => None,
        }
    }
}

/// Whether more than so many millionths are bad.
pub fn exceeds(bad: u64, all: u64, ppm: u128) -> bool {
    u128::from(bad) * 1_000_000 > u128::from(all) * ppm
}

/// Hundredths of a percent as a share of 1.
fn share(hundredths: u32) -> f64 {
    f64::from(hundredths) / 10_000.0
}

/// Scheduled runs. One that warned did what it should; a slot that was missed is no run.
fn runs(cell: &Cell) -> Count {
    let mut count = Count::default();
    for ((outcome, _, ordered), runs) in &cell.counts {
        let bad = match outcome {
            _ if *ordered => continue,
            Outcome::Missed => continue,
            Outcome::Fail => *runs,
            Outcome::Pass | Outcome::Warn => 0,
        };
        count.add(Count { all: *runs, bad, max_us: 0 });
    }
    count
}

/// Durations of one series, and those of entries whose greatest value is above.
fn durations(sparse: &Sparse, above: Duration) -> Count {
    let totals = sparse.totals();
    let is_above =
        |index: u32| u128::from(value_at(index + 1).saturating_sub(1)) > above.as_micros();
    let bad = sparse.entries().iter().filter(|(index, _)| is_above(*index));
    Count { all: totals.count, bad: bad.map(|(_, count)| count).sum(), max_us: totals.max_us }
}

#[cfg(test)]
mod tests {
    use parallax_common::histogram::Recorder;
    use proptest::prelude::*;

    use super::*;

    fn cell(start_s: i64, durations_us: &[u64]) -> (Cell, Sparse) {
        let mut recorder = Recorder::new();
        for us in durations_us {
            recorder.record(Duration::from_micros(*us));
        }
        let (encoded, totals) = (recorder.encode(), recorder.totals());
        let sparse = Sparse::decode(encoded.view(), totals).unwrap();
        let cell = Cell {
            start: MeshTime::from_ns(start_s * 1_000_000_000),
            length_s: 60,
            series: [((0, Phase::Total), sparse.clone())].into(),
            ..Cell::default()
        };
        (cell, sparse)
    }

    proptest! {
        /// Counting says what merging says, to the last sample.
        #[test]
        fn a_percentile_is_above_exactly_when_the_merged_histogram_says_so(
            minutes in prop::collection::vec(prop::collection::vec(1u64..3_000_000, 1..40), 1..6),
            percentile in prop::sample::select(vec![5_000u32, 9_000, 9_500, 9_900, 9_990]),
            near in 0usize..100,
            off in -2i64..=2,
        ) {
            // Thresholds at samples and beside them, where it matters.
            let all: Vec<u64> = minutes.concat();
            let above_us = all[near % all.len()].saturating_add_signed(off).max(1);
            let above = Duration::from_micros(above_us);
            let measure = Measure::Latency { percentile, phase: Phase::Total, above };
            let (from, to) = (MeshTime::from_ns(0), MeshTime::from_ns(3_600_000_000_000));
            let mut series = Series::of(measure, from, to);
            let mut merged = Sparse::default();
            for (minute, durations) in (0..).zip(&minutes) {
                let (cell, sparse) = cell(60 * minute, durations);
                series.add(&"eu".into(), &cell, Tier::Minutes);
                merged.add(&sparse);
            }
            let exact = merged.quantile(share(percentile)).unwrap();
            prop_assert_eq!(series.above("eu", from, to), Some(exact > above));
            prop_assert_eq!(series.percentile("eu"), Some(exact));
        }
    }

    #[test]
    fn a_mean_of_percentiles_would_say_otherwise() {
        // Ninety fast minutes of one sample, one slow minute of a thousand.
        let above = Duration::from_millis(100);
        let measure = Measure::Latency { percentile: 9_500, phase: Phase::Total, above };
        let (from, to) = (MeshTime::from_ns(0), MeshTime::from_ns(7_200_000_000_000));
        let mut series = Series::of(measure, from, to);
        for minute in 0..90 {
            series.add(&"eu".into(), &cell(60 * minute, &[1_000]).0, Tier::Minutes);
        }
        series.add(&"eu".into(), &cell(60 * 90, &[500_000; 1_000]).0, Tier::Minutes);
        assert_eq!(series.above("eu", from, to), Some(true));
    }

    #[test]
    fn a_share_counts_scheduled_runs_only() {
        let mut series = Series::of(
            Measure::ErrorRate { above_ppm: 100_000 },
            MeshTime::default(),
            MeshTime::default(),
        );
        let mut cell = cell(0, &[1]).0;
        for (outcome, ordered, count) in [
            (Outcome::Pass, false, 8),
            (Outcome::Warn, false, 1),
            (Outcome::Fail, false, 1),
            (Outcome::Missed, false, 50),
            (Outcome::Fail, true, 50),
        ] {
            cell.counts.insert((outcome, None, ordered), count);
        }
        let eu: Arc<str> = "eu".into();
        series.add(&eu, &cell, Tier::Minutes);
        let (from, to) = (MeshTime::from_ns(0), MeshTime::from_ns(60_000_000_000));
        assert_eq!(series.count("eu", from, to), Count { all: 10, bad: 1, max_us: 0 });
        // Exactly the threshold is not above it.
        assert_eq!(series.above("eu", from, to), Some(false));
        cell.counts = [((Outcome::Fail, None, false), 1)].into();
        series.add(&eu, &cell, Tier::Minutes);
        assert_eq!(series.above("eu", from, to), Some(true));
        assert_eq!(series.above("us", from, to), None);
        assert_eq!(series.above("eu", to, to + Duration::from_secs(60)), None);
    }
}
