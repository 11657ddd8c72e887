//! The bytes of a snapshot.
//!
//! ```text
//! magic        8 bytes  "PLXSNAP" and a line feed
//! header       frame    SnapshotHeader
//! chunks       frames   SnapshotChunk, numbered from 0, about 1 MiB of rows each
//! end          frame    length 0xffff_ffff, then rows, chunks, checksum of all checksums
//!
//! frame = length u32, crc32 u32, that many bytes. All numbers are little endian.
//! ```

use std::io::{self, Read, Write};

use bytes::Bytes;
use parallax_common::limits;
use parallax_proto::store;
use prost::Message as _;

use super::{Header, SnapshotError, SnapshotId};
use crate::store::rows::Row;

/// The format that is written, and the only one that is read.
pub(super) const VERSION: u32 = 1;
const MAGIC: &[u8; 8] = b"PLXSNAP\n";
const END: u32 = u32::MAX;
const END_BYTES: usize = 8 + 4 + 4;
/// What a frame's encoding adds to its rows, at the most.
const FRAME_BYTES_MAX: usize = limits::ROW_BYTES_MAX + limits::SNAPSHOT_CHUNK_BYTES + 1024;

/// Writes a whole snapshot.
pub(super) fn write(
    out: &mut impl Write,
    header: &Header,
    rows: &[Row],
) -> Result<(), SnapshotError> {
    let io_error = SnapshotError::io("write");
    let mut sums = crc32fast::Hasher::new();
    out.write_all(MAGIC).map_err(&io_error)?;
    let encoded = header.encode(rows.len() as u64)?.encode_to_vec();
    frame(out, &encoded, &mut sums).map_err(&io_error)?;
    let mut chunk = store::SnapshotChunk::default();
    let mut bytes = 0;
    for row in rows {
        let weight = row.key.len() + row.value.len();
        if weight > limits::ROW_BYTES_MAX {
            return Err(SnapshotError::RowTooLarge { bytes: weight, max: limits::ROW_BYTES_MAX });
        }
        if bytes > 0 && bytes + weight > limits::SNAPSHOT_CHUNK_BYTES {
            frame(out, &chunk.encode_to_vec(), &mut sums).map_err(&io_error)?;
            chunk.rows.clear();
            chunk.number += 1;
            bytes = 0;
        }
        bytes += weight;
        chunk.rows.push(store::Row { key: row.key.clone(), value: row.value.clone() });
    }
    if !chunk.rows.is_empty() {
        frame(out, &chunk.encode_to_vec(), &mut sums).map_err(&io_error)?;
        chunk.number += 1;
    }
    let mut end = Vec::with_capacity(END_BYTES);
    end.extend_from_slice(&(rows.len() as u64).to_le_bytes());
    end.extend_from_slice(&chunk.number.to_le_bytes());
    end.extend_from_slice(&sums.finalize().to_le_bytes());
    out.write_all(&END.to_le_bytes()).map_err(&io_error)?;
    out.write_all(&crc32fast::hash(&end).to_le_bytes()).map_err(&io_error)?;
    out.write_all(&end).map_err(&io_error)
}

fn frame(out: &mut impl Write, bytes: &[u8], sums: &mut crc32fast::Hasher) -> io::Result<()> {
    let sum = crc32fast::hash(bytes).to_le_bytes();
    sums.update(&sum);
    out.write_all(&(bytes.len() as u32).to_le_bytes())?;
    out.write_all(&sum)?;
    out.write_all(bytes)
}

/// Reads a whole snapshot and verifies every byte of it.
pub(super) fn read(
    input: &mut impl Read,
    id: SnapshotId,
) -> Result<(Header, Vec<Row>), SnapshotError> {
    let mut reader = Reader { input, id, sums: crc32fast::Hasher::new() };
    if &reader.take::<8>()? != MAGIC {
        return Err(reader.damaged("it is not a snapshot"));
    }
    let Frame::Bytes(bytes) = reader.frame()? else {
        return Err(reader.damaged("it has no header"));
    };
    let header = store::SnapshotHeader::decode(bytes)
        .map_err(|_| reader.damaged("its header cannot be read"))?;
    let expected = header.rows;
    let header = Header::decode(id, header)?;
    let mut rows = Vec::new();
    let mut chunks = 0u32;
    loop {
        match reader.frame()? {
            Frame::Bytes(bytes) => {
                let chunk = store::SnapshotChunk::decode(bytes)
                    .map_err(|_| reader.damaged(format!("chunk {chunks} cannot be read")))?;
                if chunk.number != chunks {
                    return Err(reader.damaged(format!("chunk {chunks} is missing")));
                }
                chunks += 1;
                rows.extend(chunk.rows.into_iter().map(|r| Row { key: r.key, value: r.value }));
            }
            Frame::End { rows: counted, chunks: numbered, sums } => {
                let own = reader.sums.clone().finalize();
                if (counted, numbered, sums) != (rows.len() as u64, chunks, own)
                    || counted != expected
                {
                    return Err(reader.damaged("its totals do not fit"));
                }
                let mut more = [0];
                return match reader.input.read(&mut more) {
                    Ok(0) => Ok((header, rows)),
                    Ok(_) => Err(reader.damaged("something follows its end")),
                    Err(error) => Err(SnapshotError::io("read")(error)),
                };
            }
        }
    }
}

enum Frame {
    Bytes(Bytes),
    End { rows: u64, chunks: u32, sums: u32 },
}

struct Reader<'a, R> {
    input: &'a mut R,
    id: SnapshotId,
    sums: crc32fast::Hasher,
}

impl<R: Read> Reader<'_, R> {
    fn damaged(&self, what: impl Into<String>) -> SnapshotError {
        SnapshotError::damaged(self.id, what)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), SnapshotError> {
        self.input.read_exact(bytes).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => self.damaged("it ends too early"),
            _ => SnapshotError::io("read")(error),
        })
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], SnapshotError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn frame(&mut self) -> Result<Frame, SnapshotError> {
        let length = u32::from_le_bytes(self.take()?);
        let sum = self.take::<4>()?;
        let count = if length == END { END_BYTES } else { length as usize };
        if count > FRAME_BYTES_MAX {
            return Err(self.damaged(format!("a frame of {count} bytes")));
        }
        let mut bytes = vec![0; count];
        self.fill(&mut bytes)?;
        if crc32fast::hash(&bytes).to_le_bytes() != sum {
            return Err(self.damaged("a checksum does not fit"));
        }
        if length != END {
            self.sums.update(&sum);
            return Ok(Frame::Bytes(bytes.into()));
        }
        let word = |at: usize| {
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        let rows = u64::from(word(0)) | u64::from(word(4)) << 32;
        Ok(Frame::End { rows, chunks: word(8), sums: word(12) })
    }
}
