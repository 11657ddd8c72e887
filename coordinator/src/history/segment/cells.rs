//! Blocks of cells: all of one check in one region, by start. Pure.
//!
//! ```text
//! cells, heads (length, coded) | series: step and phase, length, coded | ...
//! ```
//! What the cells say beside their series is one part, each (step, phase) another: whoever asks for
//! `total` reads nothing else. Inside a part everything is told as its difference from what the
//! cells before would make one expect, through [`super::entropy`]. It is exact: the counts of
//! every filled entry come back, and count, sum, least and greatest to the microsecond. Of these,
//! count is the sum of the entries, and the others lie within what the entries leave open.

use std::collections::{BTreeMap, BTreeSet};

use parallax_common::histogram::{COUNTS_LEN, Totals, value_at};
use parallax_common::outcome::{Outcome, Phase};
use parallax_common::time::MeshTime;
use parallax_proto::convert::enums;

use super::SegmentError;
use super::codec::{In, Out};
use super::entropy::{Bit, Decoder, Encoder, Number};
use crate::history::cell::{Cell, What};
use crate::history::sparse::Sparse;

/// Starts are multiples of this.
const UNIT_NS: i64 = 10_000_000_000;
/// Means are kept in units of 1 / 16.
const UNIT: u64 = 16;
/// Classes of a mean, half a power of two each.
const CLASSES: usize = 36;

type Read<T> = Result<T, SegmentError>;

const SHORT: SegmentError = SegmentError::Damaged("a block of cells ends too early");
const WRONG: SegmentError = SegmentError::Damaged("a cell is out of range");

/// A block of cells of one check in one region, by start.
pub fn put_cells(cells: &[Cell]) -> Vec<u8> {
    let mut out = Out::default();
    out.number(cells.len() as u64);
    let mut heads = Encoder::default();
    let mut expected = Heads::default();
    cells.iter().for_each(|cell| expected.put(&mut heads, cell));
    out.bytes(&heads.into_bytes());
    let keys: BTreeSet<(u32, Phase)> =
        cells.iter().flat_map(|c| c.series.keys().copied()).collect();
    for key in keys {
        let mut part = Encoder::default();
        let mut expected = Series::default();
        cells.iter().for_each(|cell| expected.put(&mut part, cell.series.get(&key)));
        out.number(u64::from(key.0) << 3 | key.1 as u64);
        out.bytes(&part.into_bytes());
    }
    out.into_bytes()
}

/// See [`put_cells`]. Series of other phases than `wanted` are left out.
///
/// # Errors
/// When the bytes are not of one.
pub fn take_cells(bytes: &[u8], wanted: &BTreeSet<Phase>) -> Read<Vec<Cell>> {
    let mut input = In::new(bytes);
    let count = input.number()?;
    let mut heads = Decoder::new(input.bytes()?);
    let mut expected = Heads::default();
    let mut cells = Vec::new();
    for _ in 0..count {
        cells.push(expected.take(&mut heads)?);
        if !heads.is_whole() {
            return Err(SHORT);
        }
    }
    while !input.is_empty() {
        let word = input.number()?;
        let phase = *Phase::ALL.get((word & 7) as usize).ok_or(WRONG)?;
        let step = u32::try_from(word >> 3).map_err(|_| WRONG)?;
        let mut part = Decoder::new(input.bytes()?);
        if !wanted.contains(&phase) {
            continue;
        }
        let mut expected = Series::default();
        for cell in &mut cells {
            if let Some(series) = expected.take(&mut part)? {
                cell.series.insert((step, phase), series);
            }
        }
    }
    Ok(cells)
}

/// Every phase, for whoever wants all of a block.
pub fn all_phases() -> BTreeSet<Phase> {
    Phase::ALL.iter().copied().collect()
}

/// All parts of a cell of this length, covered.
fn full(length_s: u32) -> u64 {
    let part_s = if length_s > 300 { 60 } else { 10 };
    (1 << (length_s / part_s).min(63)) - 1
}

/// What is expected of the next cell beside its series.
#[derive(Default)]
struct Heads {
    end: i64,
    length_s: u32,
    counts: BTreeMap<What, u64>,
    gap: Number,
    length: Number,
    covered: Number,
    unassigned: Number,
    kinds: Number,
    same_kinds: Bit,
    kind: Number,
    count: Number,
}

impl Heads {
    fn put(&mut self, out: &mut Encoder, cell: &Cell) {
        let start = cell.start.as_ns().div_euclid(UNIT_NS);
        out.signed(&mut self.gap, start.wrapping_sub(self.end));
        out.signed(&mut self.length, i64::from(cell.length_s) - i64::from(self.length_s));
        out.number(&mut self.covered, cell.covered ^ full(cell.length_s));
        out.number(&mut self.unassigned, cell.unassigned);
        let same = cell.counts.keys().eq(self.counts.keys());
        out.bit(&mut self.same_kinds, same);
        if !same {
            out.number(&mut self.kinds, cell.counts.len() as u64);
            cell.counts.keys().for_each(|what| out.number(&mut self.kind, word_of(what)));
        }
        for (what, count) in &cell.counts {
            let before = self.counts.get(what).copied().unwrap_or(0);
            out.signed(&mut self.count, count.wrapping_sub(before) as i64);
        }
        self.passed(start, cell);
    }

    fn take(&mut self, input: &mut Decoder<'_>) -> Read<Cell> {
        let start = self.end.wrapping_add(input.signed(&mut self.gap));
        let length_s = i64::from(self.length_s).wrapping_add(input.signed(&mut self.length));
        let length_s = u32::try_from(length_s).map_err(|_| WRONG)?;
        if !matches!(length_s, 60 | 300 | 3_600) {
            return Err(WRONG);
        }
        let mut cell = Cell {
            start: MeshTime::from_ns(start.checked_mul(UNIT_NS).ok_or(WRONG)?),
            length_s,
            covered: input.number(&mut self.covered) ^ full(length_s),
            unassigned: input.number(&mut self.unassigned),
            ..Cell::default()
        };
        let kinds: Vec<What> = if input.bit(&mut self.same_kinds) {
            self.counts.keys().copied().collect()
        } else {
            let count = input.number(&mut self.kinds);
            let mut kinds = Vec::new();
            for _ in 0..count {
                kinds.push(what_of(input.number(&mut self.kind))?);
                if !input.is_whole() {
                    return Err(SHORT);
                }
            }
            kinds
        };
        for what in kinds {
            let before = self.counts.get(&what).copied().unwrap_or(0);
            let count = before.wrapping_add(input.signed(&mut self.count) as u64);
            cell.counts.insert(what, count);
        }
        self.passed(start, &cell);
        Ok(cell)
    }

    fn passed(&mut self, start: i64, cell: &Cell) {
        self.end = start.wrapping_add(i64::from(cell.length_s) * 1_000_000_000 / UNIT_NS);
        self.length_s = cell.length_s;
        self.counts.clone_from(&cell.counts);
    }
}

fn word_of((outcome, reason, ordered): &What) -> u64 {
    let reason = u64::from(enums::reason_or_none_to(*reason).unsigned_abs());
    reason << 3 | (*outcome as u64) << 1 | u64::from(*ordered)
}

fn what_of(word: u64) -> Read<What> {
    let outcome = *Outcome::ALL.get((word >> 1 & 3) as usize).ok_or(WRONG)?;
    let number = i32::try_from(word >> 3).map_err(|_| WRONG)?;
    let reason = enums::reason(number);
    if reason.is_none() && number != 0 {
        return Err(WRONG);
    }
    Ok((outcome, reason, word & 1 == 1))
}

/// A mean that follows what was seen, in units of 1 / 16.
#[derive(Debug, Clone, Copy)]
struct Mean(u64);

impl Mean {
    fn follow(&mut self, value: u64) {
        let value = value.min(1 << 20) * UNIT;
        self.0 = (self.0 * 3 + value) / 4;
    }

    /// In steps of half a power of two.
    fn class(self) -> usize {
        let value = self.0 + UNIT;
        let log = value.ilog2();
        let half = value >> (log - 1) & 1;
        ((log as usize - 4) * 2 + half as usize).min(CLASSES - 1)
    }
}

/// What is expected of the next histogram of one step and phase.
struct Series {
    present: Bit,
    /// Totals that do not follow from the entries.
    odd: Bit,
    filled_before: i64,
    first_before: i64,
    gap_mean: Mean,
    count_mean: Mean,
    filled: Number,
    first: Number,
    gaps: Vec<Number>,
    counts: Vec<Number>,
    sum: Number,
    raw: Number,
}

impl Default for Series {
    fn default() -> Self {
        Self {
            present: Bit::default(),
            odd: Bit::default(),
            filled_before: 0,
            first_before: 0,
            gap_mean: Mean(4 * UNIT),
            count_mean: Mean(0),
            filled: Number::default(),
            first: Number::default(),
            gaps: vec![Number::default(); CLASSES],
            counts: vec![Number::default(); 2 * CLASSES],
            sum: Number::default(),
            raw: Number::default(),
        }
    }
}

impl Series {
    fn put(&mut self, out: &mut Encoder, series: Option<&Sparse>) {
        out.bit(&mut self.present, series.is_some());
        let Some(series) = series else { return };
        let entries = series.entries();
        let filled = entries.len() as i64;
        out.signed(&mut self.filled, filled - self.filled_before);
        self.filled_before = filled;
        let mut before = None;
        for &(index, count) in entries {
            match before {
                None => {
                    out.signed(&mut self.first, i64::from(index) - self.first_before);
                    self.first_before = i64::from(index);
                }
                Some(before) => {
                    let gap = u64::from(index - before) - 1;
                    out.number(&mut self.gaps[self.gap_mean.class()], gap);
                    self.gap_mean.follow(gap);
                }
            }
            before = Some(index);
            let class = self.count_class();
            out.number(&mut self.counts[class], count - 1);
            self.count_mean.follow(count - 1);
        }
        let totals = series.totals();
        let room = Room::of(entries);
        let fits = room.filter(|room| room.holds(totals));
        out.bit(&mut self.odd, fits.is_none());
        match fits {
            Some(room) => room.put(out, &mut self.sum, totals),
            None => [totals.count, totals.sum_us, totals.min_us, totals.max_us]
                .into_iter()
                .for_each(|value| out.number(&mut self.raw, value)),
        }
    }

    fn take(&mut self, input: &mut Decoder<'_>) -> Read<Option<Sparse>> {
        if !input.is_whole() {
            return Err(SHORT);
        }
        if !input.bit(&mut self.present) {
            return Ok(None);
        }
        let filled = self.filled_before.wrapping_add(input.signed(&mut self.filled));
        if !(1..=i64::from(COUNTS_LEN)).contains(&filled) {
            return Err(WRONG);
        }
        self.filled_before = filled;
        let mut entries: Vec<(u32, u64)> = Vec::new();
        for _ in 0..filled {
            let index = match entries.last() {
                None => {
                    let first = self.first_before.wrapping_add(input.signed(&mut self.first));
                    self.first_before = first;
                    u64::try_from(first).map_err(|_| WRONG)?
                }
                Some(&(before, _)) => {
                    let gap = input.number(&mut self.gaps[self.gap_mean.class()]);
                    self.gap_mean.follow(gap);
                    u64::from(before).saturating_add(1).saturating_add(gap)
                }
            };
            let index = u32::try_from(index).ok().filter(|index| *index < COUNTS_LEN);
            let class = self.count_class();
            let count = input.number(&mut self.counts[class]);
            self.count_mean.follow(count);
            entries.push((index.ok_or(WRONG)?, count.checked_add(1).ok_or(WRONG)?));
        }
        if !input.is_whole() {
            return Err(SHORT);
        }
        let totals = if input.bit(&mut self.odd) {
            let mut raw = || input.number(&mut self.raw);
            Totals { count: raw(), sum_us: raw(), min_us: raw(), max_us: raw() }
        } else {
            let room = Room::of(&entries).ok_or(WRONG)?;
            room.take(input, &mut self.sum).ok_or(WRONG)?
        };
        Sparse::from_parts(totals, entries)
            .map(Some)
            .ok_or(SegmentError::Damaged("a histogram does not agree with its totals"))
    }

    /// Few samples an entry: how close entries are says most; many: how many there were.
    fn count_class(&self) -> usize {
        match self.count_mean.class() {
            0 => self.gap_mean.class(),
            class => CLASSES + class,
        }
    }
}

/// What the entries of a histogram leave open of its totals.
#[derive(Clone, Copy)]
struct Room {
    count: u64,
    /// The lowest value of the first entry, and how many places lie within it.
    min: (u64, u32),
    /// The same of the last entry.
    max: (u64, u32),
    /// The sum, were every sample in the middle of its entry.
    middle: u64,
}

impl Room {
    /// `None` when there is none, or it does not fit into a number.
    fn of(entries: &[(u32, u64)]) -> Option<Self> {
        let width = |index: u32| value_at(index + 1) - value_at(index);
        let edge = |entry: Option<&(u32, u64)>| {
            entry.map(|&(index, _)| (value_at(index), width(index).ilog2()))
        };
        let (mut count, mut middle) = (0u64, 0u64);
        for &(index, n) in entries {
            count = count.checked_add(n)?;
            let of_one = value_at(index) + width(index) / 2;
            middle = middle.checked_add(of_one.checked_mul(n)?)?;
        }
        Some(Self { count, min: edge(entries.first())?, max: edge(entries.last())?, middle })
    }

    fn holds(&self, totals: Totals) -> bool {
        let inside = |(low, places): (u64, u32), us: u64| us >= low && us - low < 1 << places;
        totals.count == self.count
            && inside(self.min, totals.min_us)
            && inside(self.max, totals.max_us)
            && totals.min_us <= totals.max_us
            && i64::try_from(totals.sum_us).is_ok()
            && i64::try_from(self.middle).is_ok()
            // Of one sample, and of two, the least and greatest say all.
            && match self.count {
                1 => totals.sum_us == totals.min_us && totals.min_us == totals.max_us,
                2 => totals.sum_us == totals.min_us + totals.max_us,
                _ => true,
            }
    }

    fn put(&self, out: &mut Encoder, sum: &mut Number, totals: Totals) {
        out.places(totals.min_us - self.min.0, self.min.1);
        if self.count > 1 {
            out.places(totals.max_us - self.max.0, self.max.1);
        }
        if self.count > 2 {
            out.signed(sum, totals.sum_us as i64 - self.middle as i64);
        }
    }

    fn take(&self, input: &mut Decoder<'_>, sum: &mut Number) -> Option<Totals> {
        let min_us = self.min.0 + input.places(self.min.1);
        let max_us = if self.count > 1 { self.max.0 + input.places(self.max.1) } else { min_us };
        let sum_us = match self.count {
            1 => min_us,
            2 => min_us + max_us,
            _ => {
                let middle = i64::try_from(self.middle).ok()?;
                u64::try_from(middle.checked_add(input.signed(sum))?).ok()?
            }
        };
        Some(Totals { count: self.count, sum_us, min_us, max_us })
    }
}

#[cfg(test)]
mod tests;
