//! A backup: everything replicated in one file, that says what it is and verifies itself.
//!
//! ```text
//! magic        8 bytes  "PLXBACK" and a line feed
//! header       frame    BackupHeader
//! section      frame    BackupSection: what follows, which today is the replicated rows
//! chunks       frames   SnapshotChunk, numbered from 0
//! end          frame    as of a snapshot file
//! ```
//!
//! Frames, chunks and end are those of a snapshot ([`super::snapshot::format`]). What is not in it is
//! what every member keeps for itself: log, identity, history of observations, certificates.

use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::path::Path;

use parallax_proto::store;
use thiserror::Error;

use super::rows::Row;
use super::snapshot::format::{Chunks, Frames, Reader, Rows};
use super::snapshot::{SnapshotError, SnapshotId, Source};

/// The format that is written, and the only one that is read.
const VERSION: u32 = 1;
const MAGIC: &[u8; 8] = b"PLXBACK\n";

/// What a backup says about itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Header(pub store::BackupHeader);

/// Why a backup cannot be read.
#[derive(Debug, Error)]
pub enum BackupError {
    /// The file.
    #[error("the backup cannot be opened")]
    Open(#[source] std::io::Error),
    /// It was written by a version that this one does not know.
    #[error("the backup has format {0}, which this version cannot read")]
    Format(u32),
    /// It needs a newer build.
    #[error("the backup needs feature level {needed}, and this build has {has}")]
    Level {
        /// What it says.
        needed: u32,
        /// What we have.
        has: u32,
    },
    /// It holds what this version does not know.
    #[error("the backup has a section {0}, which this version cannot restore")]
    Section(i32),
    /// It is not what was written.
    #[error("the backup is torn or was altered: {0}")]
    Damaged(String),
}

impl BackupError {
    fn damaged(error: &SnapshotError) -> Self {
        Self::Damaged(match error {
            // Of the index that it says it is of nobody knows anything yet.
            SnapshotError::Damaged { what, .. } => what.clone(),
            error => crate::raft::fatal::chain(error),
        })
    }
}

/// Writes a whole backup. How many rows there were.
///
/// # Errors
/// When `out` takes no more, or a row cannot be read.
pub fn write(
    out: &mut impl Write,
    header: store::BackupHeader,
    rows: &mut Source<'_>,
) -> Result<u64, SnapshotError> {
    let mut frames = Frames::begin(out, MAGIC)?;
    frames.put(&store::BackupHeader { format: VERSION, ..header })?;
    let kind = store::BackupSectionKind::Replicated.into();
    frames.put(&store::BackupSection { kind })?;
    let mut chunks = Chunks::new(&mut frames);
    rows(&mut |row| chunks.push(row))?;
    let (rows, chunks) = chunks.end()?;
    frames.end(rows, chunks)?;
    Ok(rows)
}

/// Reads the header, and the rows as they are asked for; an error is the last thing that comes.
///
/// # Errors
/// When this is not a backup, or one that this build cannot read.
pub fn read<R: Read>(
    input: R,
    level: u32,
) -> Result<(Header, impl Iterator<Item = Result<Row, BackupError>> + use<R>), BackupError> {
    let damaged = |error: SnapshotError| BackupError::damaged(&error);
    let nameless = SnapshotId { index: 0, term: 0 };
    let mut reader = Reader::begin(input, nameless, MAGIC, "a backup").map_err(damaged)?;
    let header: store::BackupHeader = reader.message("its header").map_err(damaged)?;
    if header.format != VERSION {
        return Err(BackupError::Format(header.format));
    }
    if header.level > level {
        return Err(BackupError::Level { needed: header.level, has: level });
    }
    let section: store::BackupSection = reader.message("its section").map_err(damaged)?;
    if section.kind() != store::BackupSectionKind::Replicated {
        return Err(BackupError::Section(section.kind));
    }
    let rows = Rows::of(reader).map(|row| row.map_err(|error| BackupError::damaged(&error)));
    Ok((Header(header), rows))
}

/// Opens a file for [`read`].
///
/// # Errors
/// What the system said.
pub fn open(path: &Path) -> Result<BufReader<File>, BackupError> {
    let file = File::open(path).map_err(BackupError::Open)?;
    Ok(BufReader::with_capacity(256 * 1024, file))
}

/// Reads a backup to its end. Its header, and how many rows it holds.
///
/// # Errors
/// When it is not whole.
pub fn verify(path: &Path, level: u32) -> Result<(Header, u64), BackupError> {
    let (header, rows) = read(open(path)?, level)?;
    let mut count = 0;
    for row in rows {
        row?;
        count += 1;
    }
    Ok((header, count))
}

#[cfg(test)]
mod tests {
    use super::super::snapshot::rows_of;
    use super::*;

    fn header() -> store::BackupHeader {
        let mesh = "acme".to_owned();
        store::BackupHeader { format: VERSION, mesh, revision: 7, level: 1, ..Default::default() }
    }

    fn rows() -> Vec<Row> {
        (0..50).map(|n| Row { key: format!("k{n}").into(), value: vec![n; 90].into() }).collect()
    }

    fn written() -> Vec<u8> {
        let mut bytes = Vec::new();
        write(&mut bytes, header(), &mut rows_of(&rows())).unwrap();
        bytes
    }

    fn all(bytes: &[u8]) -> Result<(Header, Vec<Row>), BackupError> {
        let (header, rows) = read(bytes, 1)?;
        Ok((header, rows.collect::<Result<_, _>>()?))
    }

    #[test]
    fn what_was_written_is_read() {
        assert_eq!(all(&written()).unwrap(), (Header(header()), rows()));
    }

    #[test]
    fn a_torn_or_altered_file_is_refused() {
        let whole = written();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 4;
            assert!(all(&bytes).is_err(), "byte {at} of {}", whole.len());
            assert!(all(&whole[..at]).is_err(), "cut to {at} of {}", whole.len());
        }
        let longer = [&whole[..], &[0]].concat();
        assert!(matches!(all(&longer), Err(BackupError::Damaged(_))));
    }

    #[test]
    fn one_of_a_newer_level_or_with_an_unknown_section_is_refused_in_words() {
        let mut bytes = Vec::new();
        let newer = store::BackupHeader { level: 9, ..header() };
        write(&mut bytes, newer, &mut |_| Ok(())).unwrap();
        let error = all(&bytes).unwrap_err();
        assert!(error.to_string().contains("needs feature level 9"), "{error}");
        bytes.clear();
        let mut frames = Frames::begin(&mut bytes, MAGIC).unwrap();
        frames.put(&header()).unwrap();
        frames.put(&store::BackupSection { kind: 2 }).unwrap();
        frames.end(0, 0).unwrap();
        assert!(matches!(all(&bytes), Err(BackupError::Section(2))));
    }
}
