//! The HDR V2 encoding, read and written entry by entry without a counts array.
//!
//! Layout (HdrHistogram's V2 format, big-endian): cookie, length of the payload, normalizing index
//! offset, significant figures, lowest and highest value, conversion ratio; then zig-zag LEB128
//! numbers of at most 9 bytes: a count, or minus the number of empty entries to skip. Tests compare
//! both directions with the `hdrhistogram` crate, byte by byte.

use super::{COUNTS_LEN, HistogramError};
use crate::limits::{HISTOGRAM_FIGURES, HISTOGRAM_HIGH_US, HISTOGRAM_LOW_US};

/// Bytes before the payload.
pub const HEADER_LEN: usize = 40;
/// "V2, counts of up to 9 bytes, not compressed".
const COOKIE: u32 = 0x1c84_9313;
/// Most bytes of one number.
const NUMBER_MAX: usize = 9;

/// Why bytes are not an HDR V2 histogram of our layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum V2Error {
    /// Fewer bytes than the header.
    #[error("shorter than its header")]
    Short,
    /// Not V2, or compressed.
    #[error("not the uncompressed V2 format")]
    Cookie,
    /// The length in the header is not that of the bytes.
    #[error("the header announces {announced} bytes but {present} are there")]
    Length {
        /// By the header.
        announced: u32,
        /// Behind the header.
        present: usize,
    },
    /// Another layout than everybody's.
    #[error("other bounds or figures than 1 us to 60 s at 3 figures")]
    Layout,
    /// The last number is cut off.
    #[error("a number is cut off")]
    Truncated,
    /// A run of empty entries that no encoder writes.
    #[error("a run of empty entries is too long")]
    Skip,
}

/// Hands out (index, count) of every filled entry in ascending order. Trusts nothing and allocates
/// nothing.
pub(super) fn walk(
    bytes: &[u8],
    take: &mut impl FnMut(u64, u64) -> Result<(), HistogramError>,
) -> Result<(), HistogramError> {
    let (header, mut payload) = bytes.split_at_checked(HEADER_LEN).ok_or(V2Error::Short)?;
    let word = |at: usize| u32::from_be_bytes(header[at..at + 4].try_into().expect("four bytes"));
    let long = |at: usize| u64::from_be_bytes(header[at..at + 8].try_into().expect("eight bytes"));
    if word(0) != COOKIE {
        return Err(V2Error::Cookie.into());
    }
    if word(4) as usize != payload.len() {
        return Err(V2Error::Length { announced: word(4), present: payload.len() }.into());
    }
    let ours = word(8) == 0
        && word(12) == u32::from(HISTOGRAM_FIGURES)
        && long(16) == HISTOGRAM_LOW_US
        && long(24) == HISTOGRAM_HIGH_US
        && long(32) == 1f64.to_bits();
    if !ours {
        return Err(V2Error::Layout.into());
    }
    let mut index: u64 = 0;
    while !payload.is_empty() {
        let (number, len) = read_number(payload)?;
        payload = &payload[len..];
        if number < 0 {
            let skip = number.unsigned_abs();
            if skip > u64::from(COUNTS_LEN) {
                return Err(V2Error::Skip.into());
            }
            index += skip;
        } else {
            if number > 0 {
                take(index, number.unsigned_abs())?;
            }
            index += 1;
        }
        if index > u64::from(COUNTS_LEN) {
            return Err(HistogramError::Index(index));
        }
    }
    Ok(())
}

/// The encoding of entries in ascending order: the bytes that the stock serializer writes.
pub(super) fn encode(entries: &[(u32, u32)]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER_LEN + entries.len() * 4);
    out.extend_from_slice(&COOKIE.to_be_bytes());
    out.extend_from_slice(&[0; 8]);
    out.extend_from_slice(&u32::from(HISTOGRAM_FIGURES).to_be_bytes());
    out.extend_from_slice(&HISTOGRAM_LOW_US.to_be_bytes());
    out.extend_from_slice(&HISTOGRAM_HIGH_US.to_be_bytes());
    out.extend_from_slice(&1f64.to_be_bytes());
    let mut next = 0;
    for &(index, count) in entries {
        // One empty entry is written as a count of zero, more as a run.
        match index - next {
            0 => {}
            1 => write_number(0, &mut out),
            gap => write_number(-i64::from(gap), &mut out),
        }
        write_number(i64::from(count), &mut out);
        next = index + 1;
    }
    let len = u32::try_from(out.len() - HEADER_LEN).expect("17 408 entries are under 4 GiB");
    out[4..8].copy_from_slice(&len.to_be_bytes());
    out
}

fn read_number(bytes: &[u8]) -> Result<(i64, usize), V2Error> {
    let mut value: u64 = 0;
    for (place, &byte) in bytes.iter().take(NUMBER_MAX).enumerate() {
        if place == NUMBER_MAX - 1 {
            // The ninth byte has all its eight bits.
            value |= u64::from(byte) << (7 * place);
            return Ok((zig_zag(value), NUMBER_MAX));
        }
        value |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Ok((zig_zag(value), place + 1));
        }
    }
    Err(V2Error::Truncated)
}

fn zig_zag(value: u64) -> i64 {
    ((value >> 1) as i64) ^ -((value & 1) as i64)
}

/// Numbers here are under 2^33: never more than five bytes, so the ninth byte's rule is not needed.
fn write_number(number: i64, out: &mut Vec<u8>) {
    let mut value = ((number << 1) ^ (number >> 63)) as u64;
    while value >= 0x80 {
        out.push((value as u8) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
