//! How a row is written into the database: whole, or in pieces when it is long.

use bytes::Bytes;
use parallax_common::limits;

use crate::store::rows::RowError;

/// First byte of the keys of rows.
pub(super) const ROW: u8 = b'r';
/// First byte of the keys of pieces.
const PIECE: u8 = b'p';
/// The log index up to which the rows are applied.
pub(super) const APPLIED: &[u8] = b"m/applied";
/// Bytes of all keys and values.
pub(super) const LIVE: &[u8] = b"m/live";
/// Version of this layout.
pub(super) const FORMAT: &[u8] = b"m/format";

const WHOLE: u8 = 0;
const IN_PIECES: u8 = 1;

/// What is stored at a row's key.
pub(super) enum Record {
    /// The value itself.
    Whole(Bytes),
    /// Where the value is.
    Pieces(Pieces),
}

/// A long value, stored under keys of its own.
pub(super) struct Pieces {
    /// The index that wrote them: a reader never mixes two versions.
    version: u64,
    /// Of the value, in bytes.
    pub(super) length: u32,
    checksum: u32,
}

/// The database key of the row at `key`.
pub(super) fn row_key(key: &[u8]) -> Vec<u8> {
    [&[ROW], key].concat()
}

impl Record {
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, RowError> {
        match bytes.split_first() {
            Some((&WHOLE, value)) => Ok(Self::Whole(Bytes::copy_from_slice(value))),
            Some((&IN_PIECES, rest)) => Pieces::decode(rest).map(Self::Pieces),
            _ => Err(unknown()),
        }
    }
}

/// The record of a value that is short enough.
pub(super) fn whole(value: &[u8]) -> Vec<u8> {
    [&[WHOLE], value].concat()
}

/// Bytes of the value that a record is about, and where its pieces are when it has some. Copies no
/// value.
pub(super) fn shape(bytes: &[u8]) -> Result<(usize, Option<Pieces>), RowError> {
    match bytes.split_first() {
        Some((&WHOLE, value)) => Ok((value.len(), None)),
        Some((&IN_PIECES, rest)) => {
            let pieces = Pieces::decode(rest)?;
            Ok((pieces.length as usize, Some(pieces)))
        }
        _ => Err(unknown()),
    }
}

fn unknown() -> RowError {
    RowError::Damaged("a record of no known kind".to_owned())
}

impl Pieces {
    /// How `value` is cut when it is too long to be stored whole.
    pub(super) fn of(value: &Bytes, version: u64) -> Option<Self> {
        let is_long = value.len() > limits::STORE_PIECE_BYTES;
        is_long.then(|| Self {
            version,
            length: value.len() as u32,
            checksum: crc32fast::hash(value),
        })
    }

    /// The record of it.
    pub(super) fn encode(&self) -> Vec<u8> {
        [
            &[IN_PIECES][..],
            &self.version.to_be_bytes(),
            &self.length.to_be_bytes(),
            &self.checksum.to_be_bytes(),
        ]
        .concat()
    }

    fn decode(rest: &[u8]) -> Result<Self, RowError> {
        if rest.len() != 16 {
            return Err(unknown());
        }
        let word = |at: usize| -> [u8; 4] { [rest[at], rest[at + 1], rest[at + 2], rest[at + 3]] };
        let (high, low) = (u32::from_be_bytes(word(0)), u32::from_be_bytes(word(4)));
        Ok(Self {
            version: u64::from(high) << 32 | u64::from(low),
            length: u32::from_be_bytes(word(8)),
            checksum: u32::from_be_bytes(word(12)),
        })
    }

    /// The database keys of the pieces of the row at `key`, in order.
    pub(super) fn keys<'a>(&self, key: &'a [u8]) -> impl Iterator<Item = Vec<u8>> + 'a {
        let count = (self.length as usize).div_ceil(limits::STORE_PIECE_BYTES) as u32;
        let version = self.version;
        (0..count).map(move |number| {
            [
                &[PIECE][..],
                &(key.len() as u32).to_be_bytes(),
                key,
                &version.to_be_bytes(),
                &number.to_be_bytes(),
            ]
            .concat()
        })
    }

    /// Whether `value` is the one that was cut into these pieces.
    pub(super) fn fit(&self, value: &[u8]) -> bool {
        value.len() == self.length as usize && crc32fast::hash(value) == self.checksum
    }
}
