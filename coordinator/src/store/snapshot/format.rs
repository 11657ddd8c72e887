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

use super::{Header, SnapshotError, SnapshotId, Source};
use crate::store::rows::Row;

/// The format that is written, and the only one that is read.
pub(super) const VERSION: u32 = 1;
const MAGIC: &[u8; 8] = b"PLXSNAP\n";
const END: u32 = u32::MAX;
const END_BYTES: usize = 8 + 4 + 4;
/// What a frame's encoding adds to its rows, at the most.
const FRAME_BYTES_MAX: usize = limits::ROW_BYTES_MAX + limits::SNAPSHOT_CHUNK_BYTES + 1024;

/// Writes a whole snapshot. How many rows there were.
pub(super) fn write(
    out: &mut impl Write,
    header: &Header,
    rows: &mut Source<'_>,
) -> Result<u64, SnapshotError> {
    let mut frames = Frames::begin(out, MAGIC)?;
    frames.put(&header.encode()?)?;
    let mut chunks = Chunks::new(|chunk| frames.put(chunk));
    rows(&mut |row| chunks.push(row))?;
    let (rows, chunks) = chunks.end()?;
    frames.end(rows, chunks)?;
    Ok(rows)
}

/// Frames with checksums, and an end that vouches for all of them.
pub struct Frames<'a, W> {
    out: &'a mut W,
    sums: crc32fast::Hasher,
}

impl<'a, W: Write> Frames<'a, W> {
    /// Begins a file with its magic.
    pub fn begin(out: &'a mut W, magic: &[u8; 8]) -> Result<Self, SnapshotError> {
        out.write_all(magic).map_err(SnapshotError::io("write"))?;
        Ok(Self { out, sums: crc32fast::Hasher::new() })
    }

    /// Writes one message as a frame.
    pub fn put(&mut self, message: &impl prost::Message) -> Result<(), SnapshotError> {
        self.frame(&message.encode_to_vec()).map_err(SnapshotError::io("write"))
    }

    /// Writes one encoded message as a frame.
    pub fn put_bytes(&mut self, bytes: &[u8]) -> Result<(), SnapshotError> {
        self.frame(bytes).map_err(SnapshotError::io("write"))
    }

    fn frame(&mut self, bytes: &[u8]) -> io::Result<()> {
        let sum = crc32fast::hash(bytes).to_le_bytes();
        self.sums.update(&sum);
        self.out.write_all(&(bytes.len() as u32).to_le_bytes())?;
        self.out.write_all(&sum)?;
        self.out.write_all(bytes)
    }

    /// Writes the end, which says how much there was.
    pub fn end(self, rows: u64, chunks: u32) -> Result<(), SnapshotError> {
        let mut end = Vec::with_capacity(8 + END_BYTES);
        end.extend_from_slice(&rows.to_le_bytes());
        end.extend_from_slice(&chunks.to_le_bytes());
        end.extend_from_slice(&self.sums.finalize().to_le_bytes());
        let sum = crc32fast::hash(&end).to_le_bytes();
        let whole = [&END.to_le_bytes()[..], &sum, &end].concat();
        self.out.write_all(&whole).map_err(SnapshotError::io("write"))
    }
}

/// Gathers rows into chunks of a bounded size, and hands them out.
pub struct Chunks<P> {
    put: P,
    chunk: store::SnapshotChunk,
    bytes: usize,
    rows: u64,
}

impl<P: FnMut(&store::SnapshotChunk) -> Result<(), SnapshotError>> Chunks<P> {
    /// Chunks that are numbered from 0.
    pub fn new(put: P) -> Self {
        Self { put, chunk: store::SnapshotChunk::default(), bytes: 0, rows: 0 }
    }

    /// Adds a row.
    pub fn push(&mut self, row: Row) -> Result<(), SnapshotError> {
        let weight = row.key.len() + row.value.len();
        if weight > limits::ROW_BYTES_MAX {
            return Err(SnapshotError::RowTooLarge { bytes: weight, max: limits::ROW_BYTES_MAX });
        }
        if self.bytes > 0 && self.bytes + weight > limits::SNAPSHOT_CHUNK_BYTES {
            self.flush()?;
        }
        self.bytes += weight;
        self.rows += 1;
        self.chunk.rows.push(store::Row { key: row.key, value: row.value });
        Ok(())
    }

    fn flush(&mut self) -> Result<(), SnapshotError> {
        (self.put)(&self.chunk)?;
        self.chunk.rows.clear();
        self.chunk.number += 1;
        self.bytes = 0;
        Ok(())
    }

    /// Writes what is left. How many rows and chunks there were.
    pub fn end(mut self) -> Result<(u64, u32), SnapshotError> {
        if !self.chunk.rows.is_empty() {
            self.flush()?;
        }
        Ok((self.rows, self.chunk.number))
    }
}

/// Begins to read a snapshot: its header, and its rows as they are asked for. Every byte is
/// verified; an error is the last item.
pub fn read<R: Read>(input: R, id: SnapshotId) -> Result<(Header, Rows<Reader<R>>), SnapshotError> {
    let mut reader = Reader::begin(input, id, MAGIC, "a snapshot")?;
    let header: store::SnapshotHeader = reader.message("its header")?;
    let expected = header.rows;
    let header = Header::decode(id, header)?;
    Ok((header, Rows::new(reader, expected)))
}

/// The rows of chunks, up to the end of the file.
pub struct Rows<F> {
    reader: F,
    /// As the header says; 0: it does not.
    expected: u64,
    rows: u64,
    chunks: u32,
    chunk: std::vec::IntoIter<store::Row>,
    over: bool,
}

impl<F> Rows<F> {
    fn new(reader: F, expected: u64) -> Self {
        Self { reader, expected, rows: 0, chunks: 0, chunk: Vec::new().into_iter(), over: false }
    }
}

impl<R: Read> Rows<Reader<R>> {
    /// Reads the next chunk; false at the end of a whole file.
    fn refill(&mut self) -> Result<bool, SnapshotError> {
        let reader = &mut self.reader;
        match reader.frame_or_end()? {
            Next::Frame(bytes) => {
                let chunk = store::SnapshotChunk::decode(bytes)
                    .map_err(|_| reader.damaged(format!("chunk {} cannot be read", self.chunks)))?;
                if chunk.number != self.chunks {
                    return Err(reader.damaged(format!("chunk {} is missing", self.chunks)));
                }
                self.chunks += 1;
                self.rows += chunk.rows.len() as u64;
                self.chunk = chunk.rows.into_iter();
                Ok(true)
            }
            Next::End { rows, chunks } => {
                if (rows, chunks) != (self.rows, self.chunks)
                    || (self.expected != 0 && rows != self.expected)
                {
                    return Err(reader.damaged("its totals do not fit"));
                }
                Ok(false)
            }
        }
    }
}

impl<R: Read> Iterator for Rows<Reader<R>> {
    type Item = Result<Row, SnapshotError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(row) = self.chunk.next() {
                return Some(Ok(Row { key: row.key, value: row.value }));
            }
            if self.over {
                return None;
            }
            match self.refill() {
                Ok(true) => {}
                Ok(false) => self.over = true,
                Err(error) => {
                    self.over = true;
                    return Some(Err(error));
                }
            }
        }
    }
}

/// What comes next in a file.
pub enum Next {
    /// A frame, whose checksum fits.
    Frame(Bytes),
    /// The end of the file, which vouches for every frame, and its totals.
    End {
        /// Rows.
        rows: u64,
        /// Chunks, or what else is counted.
        chunks: u32,
    },
}

enum Frame {
    Bytes(Bytes),
    End { rows: u64, chunks: u32, sums: u32 },
}

/// Reads frames and checks them.
pub struct Reader<R> {
    input: R,
    id: SnapshotId,
    sums: crc32fast::Hasher,
}

impl<R: Read> Reader<R> {
    /// Begins a file that must have this magic. `what` it should be is for the error.
    pub fn begin(
        input: R,
        id: SnapshotId,
        magic: &[u8; 8],
        what: &str,
    ) -> Result<Self, SnapshotError> {
        let mut reader = Self { input, id, sums: crc32fast::Hasher::new() };
        if &reader.take::<8>()? != magic {
            return Err(reader.damaged(format!("it is not {what}")));
        }
        Ok(reader)
    }

    /// The next frame, which must be a message. `what` it should be is for the error.
    pub fn message<M: prost::Message + Default>(&mut self, what: &str) -> Result<M, SnapshotError> {
        let Frame::Bytes(bytes) = self.frame()? else {
            return Err(self.damaged(format!("it ends before {what}")));
        };
        M::decode(bytes).map_err(|_| self.damaged(format!("{what} cannot be read")))
    }

    /// The next frame, or the end of a whole file.
    pub fn frame_or_end(&mut self) -> Result<Next, SnapshotError> {
        let (rows, chunks, sums) = match self.frame()? {
            Frame::Bytes(bytes) => return Ok(Next::Frame(bytes)),
            Frame::End { rows, chunks, sums } => (rows, chunks, sums),
        };
        if sums != self.sums.clone().finalize() {
            return Err(self.damaged("its totals do not fit"));
        }
        let mut more = [0];
        match self.input.read(&mut more) {
            Ok(0) => Ok(Next::End { rows, chunks }),
            Ok(_) => Err(self.damaged("something follows its end")),
            Err(error) => Err(SnapshotError::io("read")(error)),
        }
    }

    /// Says which snapshot this is, once that is known, for the errors to come.
    pub fn call(&mut self, id: SnapshotId) {
        self.id = id;
    }

    /// The error for what is not as it was written.
    pub fn damaged(&self, what: impl Into<String>) -> SnapshotError {
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
