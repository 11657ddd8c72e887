//! The journal: what has arrived and is in no segment yet, in the order of arrival.
//!
//! Records are `length, CRC-32, bytes`. One write and one sync carry everything that arrived since
//! the last; nothing is acknowledged before. After a crash the end may be torn: everything from the
//! first record that does not agree with its checksum is cut. It was acknowledged to nobody. When the
//! disk is full, what was written of an append is cut as well, and the journal is as it was.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use parallax_common::limits::HISTORY_BLOCK_BYTES_MAX;

use super::files::{self, Files, Writing};
use super::segment::SegmentError;

const BEGIN: &str = "journal-";
const END: &str = ".log";
const HEAD: usize = 8;

/// One journal, open for more.
#[derive(Debug)]
pub struct Journal {
    /// Its place in the order of journals.
    pub id: u64,
    files: Arc<dyn Files>,
    path: PathBuf,
    file: Box<dyn Writing>,
    bytes: u64,
}

/// What a journal held.
#[derive(Debug)]
pub struct Recovered {
    /// Where to go on.
    pub journal: Journal,
    /// Its records.
    pub records: Vec<Vec<u8>>,
    /// Bytes that were cut from its end.
    pub torn: u64,
}

/// The journal's number in a file name.
pub fn parse_name(name: &str) -> Option<u64> {
    name.strip_prefix(BEGIN)?.strip_suffix(END)?.parse().ok()
}

/// Where a journal is.
pub fn path(dir: &Path, id: u64) -> PathBuf {
    dir.join(format!("{BEGIN}{id:012}{END}"))
}

impl Journal {
    /// An empty journal.
    ///
    /// # Errors
    /// When it cannot be made durable.
    pub fn create(files: &Arc<dyn Files>, dir: &Path, id: u64) -> Result<Self, SegmentError> {
        let path = path(dir, id);
        let mut file = files.create(&path).map_err(SegmentError::io("create a journal"))?;
        file.sync().map_err(SegmentError::io("sync a journal"))?;
        files.sync_dir(dir).map_err(SegmentError::io("sync the directory of history"))?;
        Ok(Self { id, files: Arc::clone(files), path, file, bytes: 0 })
    }

    /// Opens a journal, and cuts a torn end. What is in it is synced: it may be read from memory and
    /// be on no disk, and whoever is told that it is here goes by that.
    ///
    /// # Errors
    /// When it cannot be read or cut.
    pub fn recover(files: &Arc<dyn Files>, dir: &Path, id: u64) -> Result<Recovered, SegmentError> {
        let path = path(dir, id);
        let all = files::read(&**files, &path).map_err(SegmentError::io("read a journal"))?;
        let (mut records, mut at) = (Vec::new(), 0);
        while let Some(record) = record_at(&all[at..]) {
            at += HEAD + record.len();
            records.push(record.to_vec());
        }
        let torn = (all.len() - at) as u64;
        let mut file = files.append(&path).map_err(SegmentError::io("open a journal"))?;
        if torn > 0 {
            file.cut(at as u64).map_err(SegmentError::io("cut a journal"))?;
        }
        file.sync().map_err(SegmentError::io("sync a journal"))?;
        let journal = Self { id, files: Arc::clone(files), path, file, bytes: at as u64 };
        Ok(Recovered { journal, records, torn })
    }

    /// Adds records: they are on the disk when this returns.
    ///
    /// # Errors
    /// When there is no room ([`SegmentError::is_full`]): none of them is here, and it can be tried
    /// again. When they cannot be written or synced otherwise: nothing is known of them then.
    pub fn append(&mut self, records: &[Vec<u8>]) -> Result<(), SegmentError> {
        let mut bytes = Vec::with_capacity(records.iter().map(|r| r.len() + HEAD).sum());
        for record in records {
            let length = u32::try_from(record.len())
                .ok()
                .filter(|length| *length as usize <= HISTORY_BLOCK_BYTES_MAX)
                .ok_or(SegmentError::Damaged("a record is too large"))?;
            bytes.extend_from_slice(&length.to_le_bytes());
            bytes.extend_from_slice(&crc32fast::hash(record).to_le_bytes());
            bytes.extend_from_slice(record);
        }
        if let Err(refused) = self.file.add(&bytes) {
            let refused = SegmentError::io("write to the journal")(refused);
            if refused.is_full() {
                // The next append begins where this one did.
                self.file.cut(self.bytes).map_err(SegmentError::io("cut a journal"))?;
            }
            return Err(refused);
        }
        self.file.sync().map_err(SegmentError::io("sync the journal"))?;
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// Its length.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Deletes it: everything in it is in a segment.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn delete(self) -> Result<(), SegmentError> {
        self.files.remove(&self.path).map_err(SegmentError::io("delete a journal"))
    }
}

/// The record that begins these bytes, if it is whole.
fn record_at(bytes: &[u8]) -> Option<&[u8]> {
    let (head, rest) = bytes.split_at_checked(HEAD)?;
    let length = u32::from_le_bytes(head[..4].try_into().ok()?) as usize;
    let crc = u32::from_le_bytes(head[4..].try_into().ok()?);
    let record = rest.get(..length)?;
    // A stretch of zeros is no record.
    (length > 0 && crc32fast::hash(record) == crc).then_some(record)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::history::files::System;

    fn system() -> Arc<dyn Files> {
        Arc::new(System)
    }

    #[test]
    fn a_journal_cut_at_any_byte_holds_its_whole_records_and_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::create(&system(), dir.path(), 3).unwrap();
        let records: Vec<Vec<u8>> = (1..6u8).map(|n| vec![n; usize::from(n) * 7]).collect();
        journal.append(&records[..2]).unwrap();
        journal.append(&records[2..]).unwrap();
        let whole = fs::read(&journal.path).unwrap();
        assert_eq!(journal.bytes(), whole.len() as u64);
        let ends: Vec<usize> = records
            .iter()
            .scan(0, |end, record| {
                *end += HEAD + record.len();
                Some(*end)
            })
            .collect();
        for length in 0..=whole.len() {
            fs::write(&journal.path, &whole[..length]).unwrap();
            let Recovered { mut journal, records: found, torn } =
                Journal::recover(&system(), dir.path(), 3).unwrap();
            let kept = ends.iter().filter(|end| **end <= length).count();
            assert_eq!(found, records[..kept], "{length}");
            let end = kept.checked_sub(1).map_or(0, |last| ends[last]);
            assert_eq!(torn as usize, length - end);
            journal.append(&[vec![9; 3]]).unwrap();
            let again = Journal::recover(&system(), dir.path(), 3).unwrap();
            assert_eq!((again.records.len(), again.torn), (kept + 1, 0));
            assert_eq!(again.records[kept], [9; 3]);
        }
    }

    #[test]
    fn zeros_at_the_end_and_a_changed_byte_are_cut() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::create(&system(), dir.path(), 1).unwrap();
        journal.append(&[vec![1; 20], vec![2; 20]]).unwrap();
        let whole = fs::read(&journal.path).unwrap();
        let mut zeros = whole.clone();
        zeros.extend([0; 64]);
        fs::write(&journal.path, zeros).unwrap();
        let found = Journal::recover(&system(), dir.path(), 1).unwrap();
        assert_eq!((found.records.len(), found.torn), (2, 64));
        let mut changed = whole;
        changed[HEAD + 20 + HEAD + 3] ^= 1;
        fs::write(&journal.path, changed).unwrap();
        assert_eq!(Journal::recover(&system(), dir.path(), 1).unwrap().records, [vec![1; 20]]);
    }
}
