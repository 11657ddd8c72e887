//! The bytes of blocks and of what a segment says of itself. Pure.
//!
//! Numbers are variable-length (7 bits a byte, low ones first), signed ones zigzag. A histogram's
//! entry is the distance from the one before, shifted by one; the low bit says that a count other
//! than 1 follows. Most entries are one byte so. Reading believes nothing: every length is
//! compared with what is there before anything is allocated for it.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use parallax_common::histogram::Totals;
use parallax_common::name::{Incarnation, RunDigest, Uid};
use parallax_common::outcome::{Outcome, Phase};
use parallax_common::time::MeshTime;
use parallax_common::window::Period;
use parallax_proto::convert::enums;

use super::{Key, Meta, SegmentError};
use crate::history::cell::Cell;
use crate::history::ranges::Held;
use crate::history::sparse::Sparse;
use crate::history::tier::Tier;
use crate::history::{Kept, Record, Spool};

/// Starts are multiples of this.
const UNIT_NS: i64 = 10_000_000_000;

/// Bytes that are being put together.
#[derive(Debug, Default)]
pub struct Out(Vec<u8>);

impl Out {
    /// What was put together.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// A number.
    pub fn number(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    /// A number that may be negative.
    pub fn signed(&mut self, value: i64) {
        self.number(((value << 1) ^ (value >> 63)) as u64);
    }

    /// Eight bytes.
    pub fn fixed(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    /// Bytes with their length before them.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    /// A spool.
    pub fn spool(&mut self, spool: &Spool) {
        self.bytes(spool.region.as_bytes());
        self.bytes(spool.probe.as_bytes());
        self.fixed(spool.incarnation.0);
    }
}

/// Bytes that are being taken apart.
#[derive(Debug)]
pub struct In<'a>(&'a [u8]);

type Read<T> = Result<T, SegmentError>;

const SHORT: SegmentError = SegmentError::Damaged("a value ends too early");
const WRONG: SegmentError = SegmentError::Damaged("a value is out of range");

impl<'a> In<'a> {
    /// Begins.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Whether everything was taken.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A number.
    pub fn number(&mut self) -> Read<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.0.split_first().ok_or(SHORT)?;
            self.0 = rest;
            if shift == 63 && byte > 1 {
                return Err(WRONG);
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(WRONG)
    }

    fn small<T: TryFrom<u64>>(&mut self) -> Read<T> {
        T::try_from(self.number()?).map_err(|_| WRONG)
    }

    /// A number that may be negative.
    pub fn signed(&mut self) -> Read<i64> {
        let value = self.number()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    fn take(&mut self, length: usize) -> Read<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(SHORT)?;
        self.0 = rest;
        Ok(taken)
    }

    /// Eight bytes.
    pub fn fixed(&mut self) -> Read<u64> {
        Ok(u64::from_le_bytes(self.take(8)?.try_into().map_err(|_| SHORT)?))
    }

    /// Bytes with their length before them.
    pub fn bytes(&mut self) -> Read<&'a [u8]> {
        let length = self.small()?;
        self.take(length)
    }

    /// A text.
    pub fn text(&mut self) -> Read<&'a str> {
        std::str::from_utf8(self.bytes()?).map_err(|_| WRONG)
    }

    /// A spool.
    pub fn spool(&mut self) -> Read<Spool> {
        Ok(Spool {
            region: self.text()?.into(),
            probe: self.text()?.into(),
            incarnation: Incarnation(self.fixed()?),
        })
    }
}

/// A window, for a journal or a block; its check and spool are said elsewhere.
fn put_record(out: &mut Out, sequence: u64, record: &Record) {
    out.number(sequence);
    out.fixed(record.digest.0);
    out.signed(record.start.as_ns());
    out.number(record.end.since(record.start).as_secs());
    out.number(u64::from(record.unassigned));
    out.bytes(&record.encoded);
}

fn take_record(input: &mut In<'_>, check: Uid) -> Read<(u64, Record)> {
    let sequence = input.number()?;
    let digest = RunDigest(input.fixed()?);
    let start = MeshTime::from_ns(input.signed()?);
    let period = Period::from_seconds(input.small()?).ok_or(WRONG)?;
    let unassigned = input.number()? != 0;
    let encoded = Bytes::copy_from_slice(input.bytes()?);
    let end = start + period.length();
    Ok((sequence, Record { check, digest, start, end, unassigned, encoded }))
}

/// One record of the journal: windows of one spool.
pub fn put_batch(spool: &Spool, windows: &[(u64, Record)]) -> Vec<u8> {
    let mut out = Out::default();
    out.spool(spool);
    for (sequence, record) in windows {
        out.0.extend_from_slice(record.check.as_bytes());
        put_record(&mut out, *sequence, record);
    }
    out.into_bytes()
}

/// See [`put_batch`].
///
/// # Errors
/// When the bytes are not of one.
pub fn take_batch(bytes: &[u8]) -> Read<(Spool, Vec<(u64, Record)>)> {
    let mut input = In::new(bytes);
    let spool = input.spool()?;
    let mut windows = Vec::new();
    while !input.is_empty() {
        let check = Uid::from_slice(input.take(16)?).ok_or(WRONG)?;
        windows.push(take_record(&mut input, check)?);
    }
    Ok((spool, windows))
}

/// A block of windows: all of one check in one region, by start and arrival.
pub fn put_windows(windows: &[Kept]) -> Vec<u8> {
    let mut out = Out::default();
    let mut spools: Vec<&Spool> = windows.iter().map(|kept| &kept.spool).collect();
    spools.sort();
    spools.dedup();
    out.number(spools.len() as u64);
    for spool in &spools {
        out.bytes(spool.probe.as_bytes());
        out.fixed(spool.incarnation.0);
    }
    for kept in windows {
        out.number(spools.partition_point(|spool| **spool < kept.spool) as u64);
        put_record(&mut out, kept.sequence, &kept.record);
    }
    out.into_bytes()
}

/// See [`put_windows`].
///
/// # Errors
/// When the bytes are not of one.
pub fn take_windows(key: &Key, bytes: &[u8]) -> Read<Vec<Kept>> {
    let mut input = In::new(bytes);
    let mut spools = Vec::new();
    for _ in 0..input.number()? {
        let probe = input.text()?.into();
        let incarnation = Incarnation(input.fixed()?);
        spools.push(Spool { region: Arc::clone(&key.region), probe, incarnation });
    }
    let mut windows = Vec::new();
    while !input.is_empty() {
        let spool: usize = input.small()?;
        let spool = spools.get(spool).ok_or(WRONG)?.clone();
        let (sequence, record) = take_record(&mut input, key.check)?;
        windows.push(Kept { spool, sequence, record });
    }
    Ok(windows)
}

/// A block of cells: all of one check in one region, by start.
pub fn put_cells(cells: &[Cell]) -> Vec<u8> {
    let mut out = Out::default();
    let mut before = 0;
    for cell in cells {
        let start = cell.start.as_ns().div_euclid(UNIT_NS);
        out.signed(start.wrapping_sub(before));
        before = start;
        out.number(u64::from(cell.length_s));
        out.number(cell.covered);
        out.number(cell.unassigned);
        out.number(cell.counts.len() as u64);
        for ((outcome, reason, ordered), count) in &cell.counts {
            let outcome = *outcome as u64;
            let reason = u64::from(enums::reason_or_none_to(*reason).unsigned_abs());
            out.number(reason << 3 | outcome << 1 | u64::from(*ordered));
            out.number(*count);
        }
        out.number(cell.series.len() as u64);
        for ((step, phase), series) in &cell.series {
            out.number(u64::from(*step) << 3 | *phase as u64);
            put_series(&mut out, series);
        }
    }
    out.into_bytes()
}

fn put_series(out: &mut Out, series: &Sparse) {
    let Totals { count, sum_us, min_us, max_us } = series.totals();
    out.number(count);
    out.number(sum_us);
    out.number(min_us);
    out.number(max_us.saturating_sub(min_us));
    out.number(series.entries().len() as u64);
    let mut before = 0;
    for &(index, count) in series.entries() {
        let distance = u64::from(index - std::mem::replace(&mut before, index));
        out.number(distance << 1 | u64::from(count != 1));
        if count != 1 {
            out.number(count);
        }
    }
}

fn take_series(input: &mut In<'_>) -> Read<Sparse> {
    let (count, sum_us, min_us) = (input.number()?, input.number()?, input.number()?);
    let max_us = min_us.checked_add(input.number()?).ok_or(WRONG)?;
    let filled = input.number()?;
    let mut entries = Vec::new();
    let mut index: u32 = 0;
    for _ in 0..filled {
        let word = input.number()?;
        let distance = u32::try_from(word >> 1).map_err(|_| WRONG)?;
        index = index.checked_add(distance).ok_or(WRONG)?;
        let count = if word & 1 == 1 { input.number()? } else { 1 };
        entries.push((index, count));
    }
    Sparse::from_parts(Totals { count, sum_us, min_us, max_us }, entries)
        .ok_or(SegmentError::Damaged("a histogram does not agree with its totals"))
}

/// See [`put_cells`].
///
/// # Errors
/// When the bytes are not of one.
pub fn take_cells(bytes: &[u8]) -> Read<Vec<Cell>> {
    let mut input = In::new(bytes);
    let mut cells = Vec::new();
    let mut start: i64 = 0;
    while !input.is_empty() {
        start = start.checked_add(input.signed()?).ok_or(WRONG)?;
        let mut cell = Cell {
            start: MeshTime::from_ns(start.checked_mul(UNIT_NS).ok_or(WRONG)?),
            length_s: input.small()?,
            covered: input.number()?,
            unassigned: input.number()?,
            ..Cell::default()
        };
        if !matches!(cell.length_s, 60 | 300 | 3_600) {
            return Err(WRONG);
        }
        for _ in 0..input.number()? {
            let word = input.number()?;
            let outcome = *Outcome::ALL.get((word >> 1 & 3) as usize).ok_or(WRONG)?;
            let number = i32::try_from(word >> 3).map_err(|_| WRONG)?;
            let reason = enums::reason(number);
            if reason.is_none() && number != 0 {
                return Err(WRONG);
            }
            cell.counts.insert((outcome, reason, word & 1 == 1), input.number()?);
        }
        for _ in 0..input.number()? {
            let word = input.number()?;
            let phase = *Phase::ALL.get((word & 7) as usize).ok_or(WRONG)?;
            let step = u32::try_from(word >> 3).map_err(|_| WRONG)?;
            cell.series.insert((step, phase), take_series(&mut input)?);
        }
        cells.push(cell);
    }
    Ok(cells)
}

/// What a segment says of itself, and the regions that its index names by number.
pub fn put_meta(meta: &Meta, regions: &[Arc<str>]) -> Vec<u8> {
    let mut out = Out::default();
    out.number(meta.tier.number() as u64);
    out.signed(meta.min_start.as_ns());
    out.signed(meta.max_end.as_ns());
    out.number(meta.items);
    out.number(regions.len() as u64);
    regions.iter().for_each(|region| out.bytes(region.as_bytes()));
    let held: BTreeMap<_, _> = meta.held.iter().collect();
    out.number(held.len() as u64);
    for (spool, ranges) in held {
        out.spool(spool);
        out.number(ranges.len() as u64);
        for (first, last) in ranges {
            out.number(*first);
            out.number(last - first);
        }
    }
    out.number(meta.spools.len() as u64);
    for (spool, through) in &meta.spools {
        out.spool(spool);
        out.number(*through);
    }
    out.into_bytes()
}

/// See [`put_meta`].
///
/// # Errors
/// When the bytes are not of one.
pub fn take_meta(bytes: &[u8]) -> Read<(Meta, Vec<Arc<str>>)> {
    let mut input = In::new(bytes);
    let tier = Tier::from_number(input.number()?).ok_or(WRONG)?;
    let min_start = MeshTime::from_ns(input.signed()?);
    let max_end = MeshTime::from_ns(input.signed()?);
    let items = input.number()?;
    let mut regions: Vec<Arc<str>> = Vec::new();
    for _ in 0..input.number()? {
        regions.push(input.text()?.into());
    }
    let mut held = Vec::new();
    for _ in 0..input.number()? {
        let spool = input.spool()?;
        let mut ranges = Vec::new();
        for _ in 0..input.number()? {
            let first = input.number()?;
            ranges.push((first, first.checked_add(input.number()?).ok_or(WRONG)?));
        }
        held.push((spool, ranges));
    }
    let held = Held::checked(held).ok_or(WRONG)?;
    let mut spools = Vec::new();
    for _ in 0..input.number()? {
        spools.push((input.spool()?, input.number()?));
    }
    if !input.is_empty() {
        return Err(SegmentError::Damaged("something follows the meta"));
    }
    Ok((Meta { tier, min_start, max_end, held, items, spools }, regions))
}

#[cfg(test)]
mod tests;
