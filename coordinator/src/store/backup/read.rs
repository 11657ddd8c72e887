//! Reading a backup: item by item, everything verified, nothing held but one record.

use std::io::Read;

use bytes::Bytes;
use parallax_common::limits::BACKUP_SEGMENT_BYTES_MAX;
use parallax_proto::store;
use parallax_proto::store::backup_record::Record;
use prost::Message as _;
use ring::digest::{Context, SHA256};

use super::super::rows::Row;
use super::super::snapshot::format::{Next, Reader};
use super::super::snapshot::{SnapshotError, SnapshotId};
use super::{BackupError, Header, MAGIC, Summary, VERSION};
use crate::history::tier::Tier;

/// What comes out of a backup.
#[derive(Debug, Clone, PartialEq)]
pub enum Item {
    /// A row of the replicated state. All of them come first.
    Row(Row),
    /// A segment of history begins.
    Begin(store::BackupSegment),
    /// Its next bytes.
    Piece(Bytes),
    /// It is whole: length and hash are those it was announced with.
    End,
}

/// The items of a backup, as they are asked for. An error is the last thing that comes; until the
/// end has come nobody knows whether the file is whole.
pub struct Contents<R> {
    reader: Reader<R>,
    header: store::BackupHeader,
    rows: std::vec::IntoIter<store::Row>,
    section: Option<Section>,
    sections: u64,
    summary: Summary,
    over: bool,
}

/// The section that is being read.
struct Section {
    records: u64,
    bytes: u64,
    sum: crc32fast::Hasher,
    of: Of,
}

enum Of {
    Rows { chunks: u32 },
    Segment { segment: store::BackupSegment, taken: u64, hash: Box<Context> },
}

/// Reads the header, and what follows as it is asked for.
///
/// # Errors
/// When this is not a backup, or one that this build cannot read.
pub fn read<R: Read>(input: R, level: u32) -> Result<(Header, Contents<R>), BackupError> {
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
    let contents = Contents {
        reader,
        header: header.clone(),
        rows: Vec::new().into_iter(),
        section: None,
        sections: 0,
        summary: Summary::default(),
        over: false,
    };
    Ok((Header(header), contents))
}

fn wrong<T>(what: impl Into<String>) -> Result<T, BackupError> {
    Err(BackupError::Damaged(what.into()))
}

impl<R: Read> Contents<R> {
    /// What has come so far; everything once the end has come.
    pub fn summary(&self) -> Summary {
        self.summary
    }

    /// The next item; none at the end of a whole file.
    fn advance(&mut self) -> Result<Option<Item>, BackupError> {
        loop {
            if let Some(row) = self.rows.next() {
                return Ok(Some(Item::Row(Row { key: row.key, value: row.value })));
            }
            let bytes = match self.reader.frame_or_end().map_err(|e| BackupError::damaged(&e))? {
                Next::Frame(bytes) => bytes,
                Next::End { rows, chunks } => return self.end(rows, chunks).map(|()| None),
            };
            let record = store::BackupRecord::decode(bytes.clone());
            let Ok(store::BackupRecord { record: Some(record) }) = record else {
                return wrong("a record cannot be read");
            };
            if let Some(item) = self.take(record, &bytes)? {
                return Ok(Some(item));
            }
        }
    }

    /// What a record says; nothing when more has to be read.
    fn take(&mut self, record: Record, bytes: &Bytes) -> Result<Option<Item>, BackupError> {
        let Some(section) = &mut self.section else {
            let Record::Begin(begin) = record else { return wrong("a record of no section") };
            return self.begin(begin);
        };
        if !matches!(record, Record::End(_)) {
            section.records += 1;
            section.bytes += bytes.len() as u64;
            section.sum.update(bytes);
        }
        match (record, &mut section.of) {
            (Record::Rows(chunk), Of::Rows { chunks }) => {
                if chunk.number != *chunks {
                    return wrong(format!("chunk {chunks} of its rows is missing"));
                }
                *chunks += 1;
                self.summary.rows += chunk.rows.len() as u64;
                self.rows = chunk.rows.into_iter();
                Ok(None)
            }
            (Record::Piece(piece), Of::Segment { segment, taken, hash }) => {
                *taken += piece.len() as u64;
                if *taken > segment.bytes {
                    return wrong("a segment of history is longer than it should be");
                }
                hash.update(&piece);
                Ok(Some(Item::Piece(piece)))
            }
            (Record::End(end), _) => self.close(&end),
            _ => wrong("a record of another section"),
        }
    }

    fn begin(&mut self, begin: store::BackupSection) -> Result<Option<Item>, BackupError> {
        use store::BackupSectionKind as Kind;
        let first = self.sections == 0;
        self.sections += 1;
        let (of, item) = match (begin.kind(), begin.segment) {
            (Kind::Replicated, None) if first => (Of::Rows { chunks: 0 }, None),
            (Kind::History, Some(segment)) if !first => {
                if Tier::from_number(segment.tier.into()).is_none()
                    || segment.sha256.len() != 32
                    || segment.bytes > BACKUP_SEGMENT_BYTES_MAX
                {
                    return wrong("a segment of history is none of ours");
                }
                let hash = Box::new(Context::new(&SHA256));
                let item = Item::Begin(segment.clone());
                (Of::Segment { segment, taken: 0, hash }, Some(item))
            }
            (Kind::Replicated | Kind::History, _) => return wrong("its sections are out of order"),
            (Kind::Unspecified, _) => return Err(BackupError::Section(begin.kind)),
        };
        let sum = crc32fast::Hasher::new();
        self.section = Some(Section { records: 0, bytes: 0, sum, of });
        Ok(item)
    }

    fn close(&mut self, end: &store::BackupSectionEnd) -> Result<Option<Item>, BackupError> {
        let Some(section) = self.section.take() else { return wrong("an end of no section") };
        let own = (section.records, section.bytes, section.sum.finalize());
        if own != (end.records, end.bytes, end.crc32) {
            return wrong("the length or checksum of a section does not fit");
        }
        match section.of {
            Of::Rows { .. } => Ok(None),
            Of::Segment { segment, taken, hash } => {
                if taken != segment.bytes || hash.finish().as_ref() != &segment.sha256[..] {
                    return wrong("a segment of history is not what it was announced as");
                }
                self.summary.add(&segment);
                Ok(Some(Item::End))
            }
        }
    }

    /// The end of the file, against all that came before.
    fn end(&self, rows: u64, sections: u32) -> Result<(), BackupError> {
        let (segments, bytes) = self.summary.history();
        let told = (self.header.history_segments, self.header.history_bytes);
        let whole = self.section.is_none()
            && self.sections == 1 + segments
            && (rows, u64::from(sections)) == (self.summary.rows, self.sections)
            && (segments, bytes) == told;
        if whole { Ok(()) } else { wrong("its totals do not fit") }
    }
}

impl<R: Read> Iterator for Contents<R> {
    type Item = Result<Item, BackupError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.over {
            return None;
        }
        let item = self.advance().transpose();
        self.over = !matches!(item, Some(Ok(_)));
        item
    }
}
