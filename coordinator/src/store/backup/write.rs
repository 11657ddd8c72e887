//! Writing a backup, section by section.

use std::io::Write;

use bytes::Bytes;
use parallax_proto::store;
use parallax_proto::store::backup_record::Record;
use prost::Message as _;

use super::super::snapshot::format::{Chunks, Frames};
use super::super::snapshot::{SnapshotError, Source};
use super::{MAGIC, VERSION};

/// Takes the pieces of a segment, one after the other.
pub type Put<'a> = dyn FnMut(Bytes) -> Result<(), SnapshotError> + 'a;

/// A backup that is being written: rows, then segments, then the end.
pub struct Writer<'a, W> {
    frames: Frames<'a, W>,
    rows: u64,
    sections: u32,
}

impl<'a, W: Write> Writer<'a, W> {
    /// Begins with the header.
    ///
    /// # Errors
    /// When `out` takes no more.
    pub fn begin(out: &'a mut W, header: store::BackupHeader) -> Result<Self, SnapshotError> {
        let mut frames = Frames::begin(out, MAGIC)?;
        frames.put(&store::BackupHeader { format: VERSION, ..header })?;
        Ok(Self { frames, rows: 0, sections: 0 })
    }

    /// The section of the rows.
    ///
    /// # Errors
    /// When `out` takes no more, or a row cannot be read.
    pub fn rows(&mut self, rows: &mut Source<'_>) -> Result<(), SnapshotError> {
        let kind = store::BackupSectionKind::Replicated.into();
        let mut section = self.section(store::BackupSection { kind, segment: None })?;
        let mut chunks = Chunks::new(|chunk| section.put(Record::Rows(chunk.clone())));
        rows(&mut |row| chunks.push(row))?;
        let (count, _) = chunks.end()?;
        section.end()?;
        self.rows += count;
        Ok(())
    }

    /// The section of one segment, whose bytes `content` hands out in pieces.
    ///
    /// # Errors
    /// When `out` takes no more, or `content` says so.
    pub fn segment(
        &mut self,
        segment: store::BackupSegment,
        content: &mut dyn FnMut(&mut Put<'_>) -> Result<(), SnapshotError>,
    ) -> Result<(), SnapshotError> {
        let kind = store::BackupSectionKind::History.into();
        let mut section = self.section(store::BackupSection { kind, segment: Some(segment) })?;
        content(&mut |piece| section.put(Record::Piece(piece)))?;
        section.end()
    }

    fn section(
        &mut self,
        begin: store::BackupSection,
    ) -> Result<Section<'_, 'a, W>, SnapshotError> {
        self.sections += 1;
        let record = store::BackupRecord { record: Some(Record::Begin(begin)) };
        self.frames.put(&record)?;
        let sum = crc32fast::Hasher::new();
        Ok(Section { frames: &mut self.frames, records: 0, bytes: 0, sum })
    }

    /// Ends the file. How many rows there were.
    ///
    /// # Errors
    /// When `out` takes no more.
    pub fn end(self) -> Result<u64, SnapshotError> {
        self.frames.end(self.rows, self.sections)?;
        Ok(self.rows)
    }
}

struct Section<'s, 'a, W> {
    frames: &'s mut Frames<'a, W>,
    records: u64,
    bytes: u64,
    sum: crc32fast::Hasher,
}

impl<W: Write> Section<'_, '_, W> {
    fn put(&mut self, record: Record) -> Result<(), SnapshotError> {
        let bytes = store::BackupRecord { record: Some(record) }.encode_to_vec();
        self.records += 1;
        self.bytes += bytes.len() as u64;
        self.sum.update(&bytes);
        self.frames.put_bytes(&bytes)
    }

    fn end(self) -> Result<(), SnapshotError> {
        let end = store::BackupSectionEnd {
            records: self.records,
            bytes: self.bytes,
            crc32: self.sum.finalize(),
        };
        self.frames.put(&store::BackupRecord { record: Some(Record::End(end)) })
    }
}
