//! Reads the log engine's files before they are opened, and tells a torn end from damage.
//!
//! A process that is killed leaves its last file with preallocated zeros, sometimes with half a
//! record. The engine refuses both when it is told to tolerate nothing, and would cut anything when
//! told to tolerate. So the files are read here first: a broken record with nothing valid behind it
//! is a torn end, which is cut; with something valid behind it, it is damage, and nothing is touched.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};

use super::LogError;

/// What every file begins with, followed by a version and, in version 2, an alignment.
const MAGIC: &[u8] = b"RAFT-LOG-FILE-HEADER-9986AB3E47F320B394C8E84916EB0ED5";
const FILE_HEADER: usize = MAGIC.len() + 16;
const VERSION: u64 = 2;
const RECORD_HEADER: usize = 16;
const CHECKSUM: usize = 4;
const SEQUENCE_DIGITS: usize = 16;

/// What was cut off the end of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// The last file of its queue.
    pub file: PathBuf,
    /// Its length now. 0: it held nothing and was deleted.
    pub offset: u64,
    /// Bytes that were cut.
    pub bytes: u64,
    /// Only preallocated space was cut, as after any kill.
    pub zeros: bool,
}

/// Reads every record of every log file in `dir`, and cuts a torn end.
pub fn mend(dir: &Path) -> Result<Vec<Cut>, LogError> {
    let mut cuts = Vec::new();
    if !dir.exists() {
        return Ok(cuts);
    }
    for suffix in [".raftlog", ".rewrite"] {
        cuts.extend(mend_queue(dir, suffix)?);
    }
    Ok(cuts)
}

fn mend_queue(dir: &Path, suffix: &str) -> Result<Option<Cut>, LogError> {
    let mut files = list(dir, suffix)?;
    let Some((sequence, last)) = files.pop() else { return Ok(None) };
    for (sequence, path) in files {
        let bytes = fs::read(&path).map_err(LogError::io("read a log file"))?;
        if let Some(offset) = first_broken(&bytes, sequence) {
            let evidence = format!("a later file, {}", last.display());
            return Err(LogError::Damaged { file: path, offset: offset as u64, evidence });
        }
    }
    let bytes = fs::read(&last).map_err(LogError::io("read a log file"))?;
    let Some(offset) = first_broken(&bytes, sequence) else { return Ok(None) };
    if let Some(valid) = next_valid(&bytes, offset + 1, sequence) {
        let evidence = format!("one at byte {valid} of the same file");
        return Err(LogError::Damaged { file: last, offset: offset as u64, evidence });
    }
    let zeros = bytes[offset..].iter().all(|byte| *byte == 0);
    cut(dir, &last, offset)?;
    let bytes = (bytes.len() - offset) as u64;
    Ok(Some(Cut { file: last, offset: offset as u64, bytes, zeros }))
}

/// Log files of one queue, in order.
fn list(dir: &Path, suffix: &str) -> Result<Vec<(u64, PathBuf)>, LogError> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).map_err(LogError::io("list its directory"))? {
        let path = entry.map_err(LogError::io("list its directory"))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if let Some(digits) = name.strip_suffix(suffix)
            && digits.len() == SEQUENCE_DIGITS
            && let Ok(sequence) = digits.parse()
        {
            files.push((sequence, path));
        }
    }
    files.sort();
    Ok(files)
}

fn cut(dir: &Path, path: &Path, offset: usize) -> Result<(), LogError> {
    if offset == 0 {
        // Without a whole header the engine would refuse the file; it was created and never used.
        fs::remove_file(path).map_err(LogError::io("delete an unused log file"))?;
    } else {
        let file = OpenOptions::new()
            .write(true)
            .open(path)
            .map_err(LogError::io("open a log file to cut it"))?;
        file.set_len(offset as u64).map_err(LogError::io("cut a log file"))?;
        file.sync_all().map_err(LogError::io("sync a log file after cutting it"))?;
    }
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(LogError::io("sync its directory after cutting a file"))
}

/// The offset of the first byte that belongs to no valid record; none when all is well.
fn first_broken(bytes: &[u8], sequence: u64) -> Option<usize> {
    if !header_is_valid(bytes) {
        return Some(0);
    }
    let mut offset = FILE_HEADER;
    while offset < bytes.len() {
        match record(&bytes[offset..], sequence) {
            Some(length) => offset += length,
            None => return Some(offset),
        }
    }
    None
}

/// The first offset at or after `from` at which a valid record begins.
fn next_valid(bytes: &[u8], from: usize, sequence: u64) -> Option<usize> {
    (from..bytes.len()).find(|offset| record(&bytes[*offset..], sequence).is_some())
}

fn header_is_valid(bytes: &[u8]) -> bool {
    bytes.len() >= FILE_HEADER
        && bytes.starts_with(MAGIC)
        && big_endian(&bytes[MAGIC.len()..]) == Some(VERSION)
        && big_endian(&bytes[MAGIC.len() + 8..]) == Some(0)
}

/// The length of the valid record that `bytes` begin with: a header, entries with their checksum
/// (perhaps none), items with theirs, the latter signed with the file's number.
fn record(bytes: &[u8], sequence: u64) -> Option<usize> {
    let head = big_endian(bytes)?;
    let items_at = usize::try_from(big_endian(bytes.get(8..)?)?).ok()?;
    let length = usize::try_from(head >> 8).ok()?;
    let compression = head & 0xff;
    if compression > 1 || items_at < RECORD_HEADER || items_at > length || length > bytes.len() {
        return None;
    }
    let entries = &bytes[RECORD_HEADER..items_at];
    if !entries.is_empty() && !checksum_fits(entries, 0) {
        return None;
    }
    // The engine signs with the low half of the number.
    checksum_fits(&bytes[items_at..length], sequence as u32).then_some(length)
}

fn checksum_fits(block: &[u8], signature: u32) -> bool {
    let Some(body) = block.len().checked_sub(CHECKSUM).filter(|body| *body > 0) else {
        return false;
    };
    let (body, sum) = block.split_at(body);
    let sum = u32::from_le_bytes([sum[0], sum[1], sum[2], sum[3]]);
    crc32fast::hash(body) == sum ^ signature
}

fn big_endian(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.get(..8)?.try_into().ok()?))
}
