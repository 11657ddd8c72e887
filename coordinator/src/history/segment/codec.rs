//! The bytes of blocks and of what a segment says of itself. Pure.
//!
//! Numbers are variable-length (7 bits a byte, low ones first), signed ones zigzag. Blocks of cells
//! are in [`super::cells`]. Reading believes nothing: every length is compared with what is there
//! before anything is allocated for it.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use parallax_common::name::{Incarnation, RunDigest, Uid};
use parallax_common::time::MeshTime;
use parallax_common::window::Period;

use super::{Key, Meta, SegmentError};
use crate::history::ranges::Held;
use crate::history::tier::Tier;
use crate::history::{Kept, Record, Spool};

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
