//! What a segment file is made of: records, each with a mark, a length and a checksum.
//!
//! `"PxSp"`, length (u32), CRC-32 (u32) of what follows, one byte that says what it is, and the
//! body; numbers are little-endian. The mark is there for looking behind a place that cannot be
//! read: with a whole record behind it, it is damage; without one, the end of a write that was cut
//! short, which nobody was promised anything about.

use parallax_common::limits::SPOOL_RECORD_BYTES_MAX;
use parallax_common::name::Incarnation;
use parallax_common::time::MeshTime;

use super::cursors::Statement;

const MARK: [u8; 4] = *b"PxSp";
/// Bytes before the kind.
const HEAD: usize = 12;
/// Of the layout of bodies.
const VERSION: u8 = 1;

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record<'a> {
    /// The first one of each segment.
    Head(Head),
    /// A sealed window.
    Window {
        /// Its number in its life of the spool.
        sequence: u64,
        /// The end of its period.
        end: MeshTime,
        /// The encoded window.
        bytes: &'a [u8],
    },
    /// How far each reader has come in each life, all of it.
    Cursors(Vec<Statement>),
}

/// What a segment says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The life whose windows are in it.
    pub life: Incarnation,
    /// Its number.
    pub id: u64,
    /// Its windows were merged, or cannot be.
    pub merged: bool,
    /// Other segments of which nothing counts behind a length: it stands for the rest of them, or for
    /// all. Whatever is left there is to go.
    pub replaces: Vec<(u64, u64)>,
}

/// What was found behind the last record that could be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// Nothing: the segment is whole.
    Nothing,
    /// So many bytes that are no record, and no record behind them.
    Torn(usize),
    /// Bytes that are no record, and a whole record somewhere behind them.
    Damaged,
}

/// Adds a record to `out`.
pub fn encode(record: &Record<'_>, out: &mut Vec<u8>) {
    let at = out.len();
    out.extend_from_slice(&MARK);
    out.extend_from_slice(&[0; HEAD - 4]);
    match record {
        Record::Head(head) => {
            out.extend_from_slice(&[1, VERSION, u8::from(head.merged)]);
            put(out, head.life.0);
            put(out, head.id);
            for (id, length) in &head.replaces {
                put(out, *id);
                put(out, *length);
            }
        }
        Record::Window { sequence, end, bytes } => {
            out.push(2);
            put(out, *sequence);
            out.extend_from_slice(&end.as_ns().to_le_bytes());
            out.extend_from_slice(bytes);
        }
        Record::Cursors(statements) => {
            out.push(3);
            for statement in statements {
                put(out, statement.life.0);
                put(out, statement.reader);
                put(out, statement.acknowledged);
                put(out, statement.sent);
            }
        }
    }
    let body = &out[at + HEAD..];
    // A window is far below the limit that reading holds it to.
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes();
    let crc = crc32fast::hash(body).to_le_bytes();
    out[at + 4..at + 8].copy_from_slice(&length);
    out[at + 8..at + HEAD].copy_from_slice(&crc);
}

/// Bytes that the record of a window takes.
pub fn window_bytes(window: usize) -> u64 {
    (HEAD + 1 + 16 + window) as u64
}

fn put(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(&number.to_le_bytes());
}

/// The record that begins these bytes, if it is whole, and its length.
pub fn decode(bytes: &[u8]) -> Option<(Record<'_>, usize)> {
    let (head, rest) = bytes.split_at_checked(HEAD)?;
    let (mark, head) = head.split_at(4);
    let length = u32::from_le_bytes(head[..4].try_into().ok()?) as usize;
    let crc = u32::from_le_bytes(head[4..].try_into().ok()?);
    if mark != MARK || !(1..=SPOOL_RECORD_BYTES_MAX).contains(&length) {
        return None;
    }
    let body = rest.get(..length)?;
    if crc32fast::hash(body) != crc {
        return None;
    }
    Some((read(body)?, HEAD + length))
}

fn read(body: &[u8]) -> Option<Record<'_>> {
    let (kind, body) = body.split_first()?;
    match kind {
        1 => {
            let (flags, numbers) = body.split_at_checked(2)?;
            let numbers = numbers_of(numbers)?;
            let [life, id, replaces @ ..] = numbers.as_slice() else { return None };
            let replaces = replaces.chunks_exact(2).map(|pair| (pair[0], pair[1]));
            let head = Head {
                life: Incarnation(*life),
                id: *id,
                merged: flags[1] != 0,
                replaces: replaces.collect(),
            };
            (flags[0] == VERSION).then_some(Record::Head(head))
        }
        2 => {
            let (sequence, body) = body.split_at_checked(8)?;
            let (end, bytes) = body.split_at_checked(8)?;
            Some(Record::Window {
                sequence: u64::from_le_bytes(sequence.try_into().ok()?),
                end: MeshTime::from_ns(i64::from_le_bytes(end.try_into().ok()?)),
                bytes,
            })
        }
        3 => {
            let numbers = numbers_of(body)?;
            let statements = numbers.chunks_exact(4).map(|of| Statement {
                life: Incarnation(of[0]),
                reader: of[1],
                acknowledged: of[2],
                sent: of[3],
            });
            (numbers.len() % 4 == 0).then(|| Record::Cursors(statements.collect()))
        }
        _ => None,
    }
}

fn numbers_of(bytes: &[u8]) -> Option<Vec<u64>> {
    let chunks = bytes.chunks_exact(8);
    let whole = chunks.remainder().is_empty();
    let numbers = chunks.filter_map(|chunk| Some(u64::from_le_bytes(chunk.try_into().ok()?)));
    whole.then(|| numbers.collect())
}

/// Hands out every record up to the first place that is none; how many bytes they take, and what is
/// behind them.
pub fn scan<'a>(bytes: &'a [u8], mut each: impl FnMut(Record<'a>)) -> (usize, Rest) {
    let at = scan_from(bytes, &mut each);
    (at, rest(&bytes[at..]))
}

fn scan_from<'a>(bytes: &'a [u8], each: &mut impl FnMut(Record<'a>)) -> usize {
    let mut at = 0;
    while let Some((record, length)) = decode(&bytes[at..]) {
        each(record);
        at += length;
    }
    at
}

fn rest(bytes: &[u8]) -> Rest {
    match next(bytes) {
        _ if bytes.is_empty() => Rest::Nothing,
        Some(_) => Rest::Damaged,
        None => Rest::Torn(bytes.len()),
    }
}

/// Where the first record is.
fn next(bytes: &[u8]) -> Option<usize> {
    let marks = bytes.windows(MARK.len()).enumerate().filter(|(_, four)| *four == MARK);
    marks.map(|(at, _)| at).find(|at| decode(&bytes[*at..]).is_some())
}

/// Hands out every record that is whole, also those behind places that are none.
pub fn salvage<'a>(bytes: &'a [u8], mut each: impl FnMut(Record<'a>)) {
    let mut at = 0;
    while let Some(skipped) = next(&bytes[at..]) {
        at += skipped;
        at += scan_from(&bytes[at..], &mut each);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(sequence: u64, bytes: &[u8]) -> Record<'_> {
        Record::Window { sequence, end: MeshTime::from_ns(-5), bytes }
    }

    fn all() -> Vec<Record<'static>> {
        let head =
            Head { life: Incarnation(7), id: 3, merged: true, replaces: vec![(1, 0), (2, 9)] };
        let cursor = Statement { life: Incarnation(7), reader: 2, acknowledged: 8, sent: u64::MAX };
        vec![
            Record::Head(head),
            Record::Cursors(vec![cursor]),
            Record::Cursors(vec![]),
            window(1, b"one"),
            window(2, &[0; 300]),
            window(3, b"PxSp"),
        ]
    }

    fn encoded(records: &[Record<'_>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        records.iter().for_each(|record| encode(record, &mut bytes));
        bytes
    }

    #[test]
    fn what_was_encoded_is_read_and_cut_anywhere_its_whole_records_are() {
        let (all, bytes) = (all(), encoded(&all()));
        assert_eq!(encoded(&[window(9, &[7; 20])]).len() as u64, window_bytes(20));
        let mut ends = vec![0];
        ends.extend((1..=all.len()).map(|n| encoded(&all[..n]).len()));
        for length in 0..=bytes.len() {
            let mut found = vec![];
            let (at, rest) = scan(&bytes[..length], |record| found.push(record));
            let kept = ends.iter().filter(|end| **end <= length).count() - 1;
            assert_eq!(found, all[..kept], "{length}");
            assert_eq!(at, ends[kept]);
            let torn = length - at;
            assert_eq!(rest, if torn == 0 { Rest::Nothing } else { Rest::Torn(torn) });
        }
    }

    #[test]
    fn every_changed_byte_is_noticed_and_told_from_a_torn_end() {
        let (all, bytes) = (all(), encoded(&all()));
        let last = encoded(&all[..all.len() - 1]).len();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            let mut found = 0;
            let (_, rest) = scan(&changed, |record| {
                assert_eq!(record, all[found]);
                found += 1;
            });
            assert!(found < all.len());
            if at >= last {
                assert!(matches!(rest, Rest::Torn(_)), "{at}: {rest:?}");
            } else {
                assert_eq!(rest, Rest::Damaged, "{at}");
            }
            let mut saved = vec![];
            salvage(&changed, |record| saved.push(record));
            let others: Vec<_> = (0..all.len()).filter(|n| *n != found).collect();
            assert!(saved.iter().eq(others.iter().map(|n| &all[*n])), "{at}: {saved:?}");
        }
        let mut zeros = bytes;
        zeros.extend([0; 4096]);
        assert_eq!(scan(&zeros, |_| {}).1, Rest::Torn(4096));
    }

    #[test]
    fn a_length_over_the_limit_is_no_record() {
        let mut bytes = encoded(&[window(1, b"one")]);
        bytes[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(decode(&bytes).is_none());
    }
}
