//! A cell of history: what the runs of one check in one region said within one stretch of time. Pure.
//!
//! Cells are made from windows and added up; adding is exact and its order does not matter.

use std::collections::BTreeMap;
use std::time::Duration;

use parallax_common::outcome::{Outcome, Phase, Reason};
use parallax_common::time::{MeshTime, ns};
use parallax_common::window::{Window, WindowError};
use parallax_proto::convert;
use parallax_proto::v1;
use prost::Message as _;

use super::sparse::Sparse;
use super::tier::Tier;

/// What is counted: outcome, reason, and whether the runs were ordered and belong to no slot.
pub type What = (Outcome, Option<Reason>, bool);

/// What the runs of one stretch of time said.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cell {
    /// A multiple of its length.
    pub start: MeshTime,
    /// Seconds.
    pub length_s: u32,
    /// Which parts of it windows account for, a bit each: parts of 10 s in cells of up to 5 min,
    /// of 1 min in longer ones.
    pub covered: u64,
    /// Runs of probes that were not the check's assignees. Nothing else of them is in the cell.
    pub unassigned: u64,
    /// Runs.
    pub counts: BTreeMap<What, u64>,
    /// Durations by step and phase.
    pub series: BTreeMap<(u32, Phase), Sparse>,
}

/// A window that cannot be read back.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// The message.
    #[error("the message cannot be decoded")]
    Message(#[from] prost::DecodeError),
    /// What it says.
    #[error("a bound does not hold")]
    Window(#[from] WindowError),
}

/// Seconds of one part of a cell of this length.
const fn part_s(length_s: u32) -> u32 {
    if length_s > 300 { 60 } else { 10 }
}

impl Cell {
    /// The cell that one encoded window makes by itself.
    ///
    /// # Errors
    /// When the bytes are not those of a window that was accepted.
    pub fn of_window(encoded: &[u8], unassigned: bool) -> Result<Self, Unreadable> {
        let window = convert::window::window(&v1::Window::decode(encoded)?)?;
        let mut cell =
            Self { start: window.start, length_s: window.period.seconds(), ..Self::default() };
        if unassigned {
            // A slot that was missed is no run.
            let ran = window.outcomes.iter().filter(|span| span.outcome != Outcome::Missed);
            cell.unassigned = ran.map(|span| u64::from(span.count)).sum();
            return Ok(cell);
        }
        cell.covered = (1 << (cell.length_s / part_s(cell.length_s))) - 1;
        cell.take(&window)?;
        Ok(cell)
    }

    fn take(&mut self, window: &Window) -> Result<(), WindowError> {
        for span in window.outcomes.iter() {
            let what = (span.outcome, span.reason, span.ordered);
            *self.counts.entry(what).or_default() += u64::from(span.count);
        }
        for series in &window.series {
            let sparse = Sparse::decode(series.histogram.view(), series.totals)?;
            self.series.entry((series.step, series.phase)).or_default().add(&sparse);
        }
        Ok(())
    }

    /// First moment after it.
    pub fn end(&self) -> MeshTime {
        self.start + Duration::from_secs(self.length_s.into())
    }

    /// How much of it windows account for.
    pub fn covered(&self) -> Duration {
        Duration::from_secs(u64::from(self.covered.count_ones() * part_s(self.length_s)))
    }

    /// Where it lies in a tier: start and length of the tier's cell. A cell is never divided.
    pub fn place(&self, tier: Tier) -> (MeshTime, u32) {
        let length_s = self.length_s.max(tier.cell_s());
        let length = ns(Duration::from_secs(length_s.into()));
        let start = self.start.as_ns();
        (MeshTime::from_ns(start.saturating_sub(start.rem_euclid(length))), length_s)
    }

    /// Adds another cell, which lies within this one.
    pub fn add(&mut self, other: &Self) {
        self.covered |= other.parts_of(self.start, self.length_s);
        self.unassigned = self.unassigned.saturating_add(other.unassigned);
        for (what, count) in &other.counts {
            let mine = self.counts.entry(*what).or_default();
            *mine = mine.saturating_add(*count);
        }
        for (key, series) in &other.series {
            self.series.entry(*key).or_default().add(series);
        }
    }

    /// Its covered parts, as parts of a cell that holds it.
    fn parts_of(&self, start: MeshTime, length_s: u32) -> u64 {
        if (self.start, self.length_s) == (start, length_s) {
            return self.covered;
        }
        let (mine, theirs) = (part_s(self.length_s), part_s(length_s));
        let ahead = self.start.since(start).as_secs();
        let set = (0..64u64).filter(|bit| self.covered & (1 << bit) != 0);
        set.map(|bit| (ahead + bit * u64::from(mine)) / u64::from(theirs))
            .filter(|bit| *bit < 64)
            .fold(0, |parts, bit| parts | 1 << bit)
    }
}

/// Cells of one check in one region that are being added up for one tier.
#[derive(Debug, Default)]
pub struct Cells(BTreeMap<(MeshTime, u32), Cell>);

impl Cells {
    /// Adds a cell to the one of `tier` that it lies in.
    pub fn add(&mut self, tier: Tier, cell: &Cell) {
        let (start, length_s) = cell.place(tier);
        let fresh = || Cell { start, length_s, ..Cell::default() };
        self.0.entry((start, length_s)).or_insert_with(fresh).add(cell);
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The cells by start.
    pub fn into_vec(self) -> Vec<Cell> {
        self.0.into_values().collect()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use parallax_common::histogram::Recorder;
    use parallax_common::name::{Incarnation, RunDigest, Uid};
    use parallax_common::window::{Period, Series, Spans};
    use proptest::prelude::*;

    use super::*;

    /// A window with one run a second: `passed` of them, then `failed`; latencies in milliseconds.
    pub fn window(check: u8, start_s: i64, period_s: u32, passed: u32, failed: u32) -> Vec<u8> {
        let mut outcomes = Spans::new();
        let mut total = Recorder::new();
        for run in 0..passed {
            outcomes.push(Outcome::Pass, None, false);
            total.record(Duration::from_millis(u64::from(run % 7 + 1)));
        }
        for _ in 0..failed {
            outcomes.push(Outcome::Fail, Some(Reason::ConnectRefused), false);
            total.record(Duration::from_millis(50));
        }
        let runs = u64::from(passed + failed);
        let first = start_s.max(0) + 1;
        let window = Window {
            check: Uid::from_bytes([check; 16]),
            run_digest: RunDigest(1),
            start: MeshTime::from_ns(start_s * 1_000_000_000),
            period: Period::from_seconds(period_s).unwrap(),
            phase_ns: 0,
            slots: (runs > 0).then_some((first, first + runs as i64 - 1)),
            numbers: (runs > 0).then_some((first as u64, first as u64 + runs - 1)),
            outcomes,
            series: (runs > 0)
                .then(|| Series {
                    step: 0,
                    phase: Phase::Total,
                    totals: total.totals(),
                    histogram: total.encode(),
                })
                .into_iter()
                .collect(),
            expiry: None,
            incarnation: Incarnation(1),
        };
        window.check().unwrap();
        convert::window::window_to(&window).encode_to_vec()
    }

    const PASS: What = (Outcome::Pass, None, false);
    const FAIL: What = (Outcome::Fail, Some(Reason::ConnectRefused), false);

    #[test]
    fn windows_become_minutes_and_hours_without_losing_a_run() {
        let mut minutes = Cells::default();
        for start in (0..7_200).step_by(10) {
            let cell = Cell::of_window(&window(1, start, 10, 9, 1), false).unwrap();
            minutes.add(Tier::Minutes, &cell);
        }
        let minutes = minutes.into_vec();
        assert_eq!(minutes.len(), 120);
        assert!(minutes.iter().all(|cell| cell.covered() == Duration::from_secs(60)));
        assert_eq!(minutes[0].counts[&PASS], 54);
        let mut hours = Cells::default();
        minutes.iter().for_each(|cell| hours.add(Tier::Hours, cell));
        let hours = hours.into_vec();
        assert_eq!(hours.len(), 2);
        for hour in &hours {
            assert_eq!((hour.counts[&PASS], hour.counts[&FAIL]), (3_240, 360));
            assert_eq!(hour.series[&(0, Phase::Total)].totals().count, 3_600);
            assert_eq!(hour.covered(), Duration::from_secs(3_600));
        }
    }

    #[test]
    fn a_long_window_is_not_divided_and_covers_its_minutes() {
        let cell = Cell::of_window(&window(1, 600, 300, 5, 0), false).unwrap();
        assert_eq!(cell.place(Tier::Minutes), (MeshTime::from_ns(600_000_000_000), 300));
        let mut hours = Cells::default();
        hours.add(Tier::Hours, &cell);
        let hour = hours.into_vec().remove(0);
        assert_eq!((hour.start, hour.length_s), (MeshTime::from_ns(0), 3_600));
        assert_eq!((hour.covered, hour.covered()), (0b11111 << 10, Duration::from_secs(300)));
    }

    #[test]
    fn runs_of_others_are_counted_apart_and_cover_nothing() {
        let cell = Cell::of_window(&window(1, 0, 10, 5, 2), true).unwrap();
        assert_eq!((cell.unassigned, cell.covered), (7, 0));
        assert!(cell.counts.is_empty() && cell.series.is_empty());
    }

    #[test]
    fn a_slot_that_was_missed_is_no_run_of_somebody_else() {
        let mut encoded = v1::Window::decode(window(1, 0, 10, 5, 2).as_ref()).unwrap();
        encoded.outcomes.push(v1::OutcomeSpan {
            outcome: v1::Outcome::Missed.into(),
            reason: v1::Reason::MissedLate.into(),
            count: 3,
            ..v1::OutcomeSpan::default()
        });
        encoded.last_slot += 3;
        encoded.last_number += 3;
        let encoded = encoded.encode_to_vec();
        assert_eq!(Cell::of_window(&encoded, true).unwrap().unassigned, 7);
        let own = Cell::of_window(&encoded, false).unwrap();
        assert_eq!(own.counts.values().sum::<u64>(), 10);
    }

    #[test]
    fn what_is_not_a_window_is_refused() {
        assert!(matches!(Cell::of_window(b"\xff\xff", false), Err(Unreadable::Message(_))));
        assert!(matches!(Cell::of_window(b"", false), Err(Unreadable::Window(_))));
    }

    proptest! {
        #[test]
        fn any_way_of_adding_gives_the_same(
            given in prop::collection::vec((0i64..720, 0u32..20, 0u32..5), 1..40)
        ) {
            let cells: Vec<Cell> = given
                .iter()
                .map(|(slot, pass, fail)| {
                    let encoded = window(1, slot * 10, 10, *pass, *fail);
                    Cell::of_window(&encoded, false).unwrap()
                })
                .collect();
            let mut straight = Cells::default();
            cells.iter().for_each(|cell| straight.add(Tier::Hours, cell));
            let mut minutes = Cells::default();
            cells.iter().rev().for_each(|cell| minutes.add(Tier::Minutes, cell));
            let mut by_minutes = Cells::default();
            minutes.into_vec().iter().for_each(|cell| by_minutes.add(Tier::Hours, cell));
            prop_assert_eq!(straight.into_vec(), by_minutes.into_vec());
        }
    }
}
