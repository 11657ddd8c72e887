//! Adding up cells into the rows that were asked for. Pure.
//!
//! A row is one step of time of one group. Nothing is interpolated: a row says how much of its time
//! windows account for, and what that would be without a gap.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use parallax_common::limits::HISTORY_ENTRIES_MAX;
use parallax_common::outcome::{Outcome, Phase};
use parallax_common::time::{MeshTime, ns};
use parallax_common::window::Period;
use parallax_proto::convert::enums::{outcome_to, phase_to, reason_or_none_to};
use parallax_proto::convert::time::{duration_to, mesh_timestamp};
use parallax_proto::v1;

use super::cell::{Cell, What};
use super::sparse::Sparse;
use super::tier::Tier;

/// What the rows are to be.
#[derive(Debug, Clone)]
pub struct Shape {
    /// A multiple of the step.
    pub from: MeshTime,
    /// The end.
    pub to: MeshTime,
    /// Length of one row; zero: all is one.
    pub step: Duration,
    /// One row a region.
    pub by_region: bool,
    /// One series a phase.
    pub by_phase: bool,
    /// One series a step of the run.
    pub by_step: bool,
    /// Only these.
    pub phases: BTreeSet<Phase>,
    /// Nothing is expected after this.
    pub now: MeshTime,
}

/// One row while it is added up.
#[derive(Debug, Default)]
struct Row {
    counts: BTreeMap<What, u64>,
    unassigned: u64,
    /// Covered parts by cell, so that parts of one cell count once.
    cells: BTreeMap<(Arc<str>, MeshTime, u32), u64>,
    series: BTreeMap<(Option<Phase>, Option<u32>), Sparse>,
}

/// Rows that are being added up.
#[derive(Debug)]
pub struct Fold {
    shape: Shape,
    tier: Tier,
    interval: Duration,
    regions: BTreeSet<Arc<str>>,
    /// Shown where each region has rows of its own, and in no row of all.
    advisory: BTreeSet<Arc<str>>,
    rows: BTreeMap<(MeshTime, Arc<str>), Row>,
    longest_cell_s: u32,
    /// Filled entries of all histograms.
    entries: usize,
    entries_max: usize,
}

impl Fold {
    /// No rows yet. A check with this interval is looked at from these regions.
    pub fn new(shape: Shape, tier: Tier, interval: Duration, regions: BTreeSet<Arc<str>>) -> Self {
        let longest_cell_s = tier.cell_s();
        let (rows, entries_max) = (BTreeMap::new(), HISTORY_ENTRIES_MAX);
        let advisory = BTreeSet::new();
        Self {
            shape,
            tier,
            interval,
            regions,
            advisory,
            rows,
            longest_cell_s,
            entries: 0,
            entries_max,
        }
    }

    /// It is looked at from these, too, and they do not count.
    pub fn with_advisory(self, advisory: BTreeSet<Arc<str>>) -> Self {
        Self { advisory, ..self }
    }

    /// Whether there was more than one answer may hold: what there was is gone then.
    pub fn is_too_large(&self) -> bool {
        self.entries > self.entries_max
    }

    /// Adds a cell.
    pub fn add(&mut self, region: &Arc<str>, cell: &Cell) {
        if self.is_too_large() || (!self.shape.by_region && self.advisory.contains(region)) {
            return;
        }
        let (at, length_s) = cell.place(self.tier);
        self.longest_cell_s = self.longest_cell_s.max(length_s);
        let group: Arc<str> = if self.shape.by_region { Arc::clone(region) } else { "".into() };
        let row = self.rows.entry((self.start_of(at), group)).or_default();
        row.unassigned = row.unassigned.saturating_add(cell.unassigned);
        for (what, count) in &cell.counts {
            let mine = row.counts.entry(*what).or_default();
            *mine = mine.saturating_add(*count);
        }
        if cell.covered != 0 {
            let mut place = Cell { start: at, length_s, ..Cell::default() };
            place.add(&Cell { counts: BTreeMap::new(), series: BTreeMap::new(), ..cell.clone() });
            *row.cells.entry((Arc::clone(region), at, length_s)).or_default() |= place.covered;
        }
        for ((step, phase), series) in &cell.series {
            if self.shape.phases.contains(phase) {
                let phase = (self.shape.by_phase || self.shape.phases.len() == 1).then_some(*phase);
                let key = (phase, self.shape.by_step.then_some(*step));
                let sum = row.series.entry(key).or_default();
                let before = sum.entries().len();
                sum.add(series);
                self.entries += sum.entries().len() - before;
            }
        }
        if self.is_too_large() {
            self.rows = BTreeMap::new();
        }
    }

    /// Where the row begins that a cell belongs to.
    fn start_of(&self, at: MeshTime) -> MeshTime {
        let step = ns(self.shape.step);
        if step == 0 {
            return self.shape.from;
        }
        MeshTime::from_ns(at.as_ns() - at.as_ns().rem_euclid(step))
    }

    fn end_of(&self, start: MeshTime) -> MeshTime {
        if self.shape.step.is_zero() { self.shape.to } else { start + self.shape.step }
    }

    /// Seconds of the longest cell that was met.
    pub fn longest_cell_s(&self) -> u32 {
        self.longest_cell_s
    }

    /// What one region covers of a range without a gap. A check that is looked at less often than
    /// every five minutes has one window of five minutes in each interval.
    fn expected(&self, start: MeshTime, regions: u32) -> Duration {
        let end = self.end_of(start).min(self.shape.now);
        let window = Period::for_interval(self.interval).length();
        let span = end.since(start);
        let one = if self.interval > window {
            span.mul_f64(window.as_secs_f64() / self.interval.as_secs_f64())
        } else {
            span
        };
        Duration::from_secs(one.as_secs()) * regions
    }

    fn covered(row: &Row) -> Duration {
        let parts = row.cells.iter().map(|((_, start, length_s), covered)| {
            Cell { start: *start, length_s: *length_s, covered: *covered, ..Cell::default() }
                .covered()
        });
        parts.sum()
    }

    /// The rows, and one for each step and region of which nothing is known.
    pub fn rows(&self, percents: &[f64]) -> Vec<v1::HistoryRow> {
        let groups: BTreeSet<Arc<str>> = if self.shape.by_region {
            let seen = self.rows.keys().map(|(_, region)| Arc::clone(region));
            self.regions.iter().chain(&self.advisory).cloned().chain(seen).collect()
        } else {
            BTreeSet::from(["".into()])
        };
        let (mut rows, mut start, empty) = (Vec::new(), self.shape.from, Row::default());
        while start < self.shape.to {
            for group in &groups {
                let row = self.rows.get(&(start, Arc::clone(group))).unwrap_or(&empty);
                rows.push(self.row(start, group, row, percents));
            }
            start = self.end_of(start);
        }
        rows
    }

    fn row(
        &self,
        start: MeshTime,
        group: &Arc<str>,
        row: &Row,
        percents: &[f64],
    ) -> v1::HistoryRow {
        let regions = if self.shape.by_region {
            u32::from(self.regions.contains(group) || self.advisory.contains(group))
        } else {
            u32::try_from(self.regions.len()).unwrap_or(u32::MAX)
        };
        let expected = self.expected(start, regions);
        let counts = |of_ordered: bool| {
            let some = row.counts.iter().filter(move |((.., ordered), _)| *ordered == of_ordered);
            some.map(|((outcome, reason, _), count)| v1::HistoryCount {
                outcome: outcome_to(*outcome),
                reason: reason_or_none_to(*reason),
                count: *count,
            })
            .collect()
        };
        v1::HistoryRow {
            start: Some(mesh_timestamp(start)),
            end: Some(mesh_timestamp(self.end_of(start))),
            region: group.to_string(),
            covered: Some(duration_to(Self::covered(row))),
            expected: Some(duration_to(expected)),
            counts: counts(false),
            ordered: counts(true),
            unassigned: row.unassigned,
            advisory: self.advisory.contains(group),
            series: row
                .series
                .iter()
                .map(|(key, series)| series_to(key, series, percents))
                .collect(),
        }
    }

    /// What the runs of each region say by themselves.
    pub fn success(&self) -> Vec<v1::RegionSuccess> {
        let mut regions: BTreeMap<&str, v1::RegionSuccess> = BTreeMap::new();
        for region in self.regions.iter().chain(&self.advisory) {
            let expected = Some(duration_to(self.expected(self.shape.from, 1)));
            let advisory = self.advisory.contains(region);
            let none = v1::RegionSuccess { expected, advisory, ..v1::RegionSuccess::default() };
            regions.insert(region, none);
        }
        for ((_, region), row) in &self.rows {
            let success = regions.entry(region).or_default();
            for ((outcome, _, ordered), count) in &row.counts {
                match (outcome, ordered) {
                    (_, true) => {}
                    (Outcome::Pass | Outcome::Warn, _) => success.passed += count,
                    (Outcome::Fail, _) => success.failed += count,
                    (Outcome::Missed, _) => success.missed += count,
                }
            }
            success.covered = Some(duration_to(Self::covered(row)));
        }
        let named = regions.into_iter();
        named.map(|(region, of)| v1::RegionSuccess { region: region.to_owned(), ..of }).collect()
    }
}

fn series_to(
    (phase, step): &(Option<Phase>, Option<u32>),
    series: &Sparse,
    percents: &[f64],
) -> v1::HistorySeries {
    let totals = series.totals();
    let us = |us: u64| Some(duration_to(Duration::from_micros(us)));
    let quantile = |percent: &f64| series.quantile(percent / 100.0).map(duration_to);
    v1::HistorySeries {
        phase: phase.map_or(0, phase_to),
        step: *step,
        count: totals.count,
        min: us(totals.min_us),
        max: us(totals.max_us),
        mean: series.mean().map(duration_to),
        quantiles: percents.iter().filter_map(quantile).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::cell::tests::window;

    fn at(seconds: i64) -> MeshTime {
        MeshTime::from_ns(seconds * 1_000_000_000)
    }

    fn shape(to: i64, step: u64) -> Shape {
        Shape {
            from: at(0),
            to: at(to),
            step: Duration::from_secs(step),
            by_region: false,
            by_phase: false,
            by_step: false,
            phases: [Phase::Total].into(),
            now: at(100_000),
        }
    }

    fn fold(shape: Shape, windows: &[(&str, i64)]) -> Fold {
        let regions = ["eu".into(), "us".into()].into();
        let mut fold = Fold::new(shape, Tier::Minutes, Duration::from_secs(1), regions);
        for (region, start) in windows {
            let cell = Cell::of_window(&window(1, *start, 10, 9, 1), false).unwrap();
            fold.add(&Arc::from(*region), &cell);
        }
        fold
    }

    fn seconds(length: Option<prost_types::Duration>) -> i64 {
        length.unwrap().seconds
    }

    #[test]
    fn a_gap_is_a_row_without_counts_and_coverage_says_how_much_is_missing() {
        let fold = fold(shape(180, 60), &[("eu", 0), ("eu", 10), ("us", 0), ("eu", 120)]);
        let rows = fold.rows(&[50.0, 100.0]);
        assert_eq!(rows.len(), 3);
        let covered: Vec<i64> = rows.iter().map(|row| seconds(row.covered)).collect();
        assert_eq!(covered, [30, 0, 10]);
        assert!(rows.iter().all(|row| seconds(row.expected) == 120));
        assert_eq!(rows[0].counts.iter().map(|count| count.count).sum::<u64>(), 30);
        assert!(rows[1].counts.is_empty() && rows[1].series.is_empty());
        let series = &rows[0].series[0];
        assert_eq!((series.count, series.quantiles.len()), (30, 2));
        assert_eq!(series.max.unwrap().nanos, 50_000_000);
    }

    #[test]
    fn an_advisory_region_has_rows_of_its_own_and_is_in_none_of_all() {
        let with = |by_region| {
            let shape = Shape { by_region, ..shape(60, 60) };
            let mut fold = fold(shape, &[]).with_advisory(["ap".into()].into());
            for region in ["eu", "us", "ap", "gone"] {
                let cell = Cell::of_window(&window(1, 0, 10, 9, 1), false).unwrap();
                fold.add(&Arc::from(region), &cell);
            }
            fold
        };
        let all = with(false).rows(&[]);
        assert_eq!((seconds(all[0].covered), seconds(all[0].expected)), (30, 120));
        assert!(!all[0].advisory);
        let each = with(true);
        let rows: Vec<_> = each
            .rows(&[])
            .into_iter()
            .map(|row| (row.region, row.advisory, seconds(row.expected)))
            .collect();
        let expected = [("ap", true, 60), ("eu", false, 60), ("gone", false, 0), ("us", false, 60)];
        assert_eq!(rows, expected.map(|(name, is, of)| (name.to_owned(), is, of)));
        let success = each.success();
        let advisory: Vec<_> = success.iter().map(|of| (of.region.as_str(), of.advisory)).collect();
        assert_eq!(advisory, [("ap", true), ("eu", false), ("gone", false), ("us", false)]);
    }

    #[test]
    fn more_histograms_than_an_answer_may_hold_are_not_gathered() {
        // Eight latencies a window, and a row for each.
        let windows: Vec<_> = (0..10).map(|n| ("eu", n * 60)).collect();
        let mut small = fold(shape(600, 60), &[]);
        small.entries_max = 40;
        for (region, start) in &windows {
            let cell = Cell::of_window(&window(1, *start, 10, 9, 1), false).unwrap();
            small.add(&Arc::from(*region), &cell);
        }
        assert!(small.is_too_large() && small.rows.is_empty());
        // In one row they are the same eight.
        let mut one = fold(shape(600, 0), &[]);
        one.entries_max = 40;
        for (region, start) in &windows {
            let cell = Cell::of_window(&window(1, *start, 10, 9, 1), false).unwrap();
            one.add(&Arc::from(*region), &cell);
        }
        assert!(!one.is_too_large() && one.rows.len() == 1);
    }

    #[test]
    fn each_region_has_its_row_also_one_that_said_nothing() {
        let shape = Shape { by_region: true, ..shape(60, 0) };
        let fold = fold(shape, &[("eu", 0), ("ap", 0)]);
        let rows = fold.rows(&[]);
        let said: Vec<_> = rows
            .iter()
            .map(|row| (&*row.region, row.counts.len(), seconds(row.expected)))
            .collect();
        assert_eq!(said, [("ap", 2, 0), ("eu", 2, 60), ("us", 0, 60)]);
        let success = fold.success();
        let eu = success.iter().find(|of| of.region == "eu").unwrap();
        assert_eq!((eu.passed, eu.failed, eu.missed), (9, 1, 0));
    }

    #[test]
    fn a_check_of_long_interval_is_expected_to_cover_its_windows_only() {
        let regions = ["eu".into()].into();
        let fold = Fold::new(shape(7_200, 0), Tier::Hours, Duration::from_secs(3_600), regions);
        assert_eq!(seconds(fold.rows(&[])[0].expected), 600);
    }
}
