//! Reading a segment. In memory are its directory (32 bytes for 128 blocks) and what it says of
//! itself; the file is opened when it is read, so that a thousand segments take no descriptors.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use parallax_common::limits::HISTORY_BLOCK_BYTES_MAX;
use parallax_common::name::Uid;
use parallax_common::time::MeshTime;
use ring::digest::{Context, SHA256};

use super::writer::SUFFIX;
use super::{
    ENTRY_BYTES, FOOTER_BYTES, HEAD_BYTES, Key, MAGIC, Meta, PAGE_BYTES, PAGE_ENTRIES,
    SegmentError, codec,
};
use crate::history::files::{Files, Reading};
use crate::history::tier::Tier;

/// An index or meta larger than this is damage: 100 000 checks in 32 regions take less.
const PART_BYTES_MAX: u32 = 512 * 1024 * 1024;

/// One segment on the disk.
#[derive(Debug)]
pub struct Segment {
    /// Its place in the order of writing.
    pub id: u64,
    /// Of all its bytes.
    pub sha256: [u8; 32],
    /// Where it is.
    pub path: PathBuf,
    /// Its length.
    pub bytes: u64,
    /// What it says of itself.
    pub meta: Meta,
    files: Arc<dyn Files>,
    regions: Vec<Arc<str>>,
    pages: Vec<Page>,
}

#[derive(Debug, Clone, Copy)]
struct Page {
    first: Uid,
    at: u64,
    entries: u32,
    crc: u32,
}

/// Where a block is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Whose it is.
    pub key: Key,
    /// Start of the earliest item in it.
    pub start: MeshTime,
    /// End of the latest.
    pub end: MeshTime,
    at: u64,
    length: u32,
    crc: u32,
}

/// Bytes that are read at once while all of a file is.
const PIECE: usize = 256 * 1024;
const READ: &str = "read a segment";
const DAMAGED: SegmentError = SegmentError::Damaged("a checksum or length does not agree");

fn number<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], SegmentError> {
    bytes.get(at..at + N).and_then(|part| part.try_into().ok()).ok_or(DAMAGED)
}

fn u64_at(bytes: &[u8], at: usize) -> Result<u64, SegmentError> {
    Ok(u64::from_le_bytes(number(bytes, at)?))
}

fn u32_at(bytes: &[u8], at: usize) -> Result<u32, SegmentError> {
    Ok(u32::from_le_bytes(number(bytes, at)?))
}

/// Tier, id and hash of a file name.
pub fn parse_name(name: &str) -> Option<(Tier, u64, [u8; 32])> {
    let (tier, rest) = name.strip_suffix(SUFFIX)?.split_once('-')?;
    let (id, hex) = rest.split_once('-')?;
    if hex.len() != 64 || !hex.is_ascii() {
        return None;
    }
    let mut sha256 = [0; 32];
    for (at, byte) in sha256.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[at * 2..at * 2 + 2], 16).ok()?;
    }
    Some((Tier::from_number(tier.parse().ok()?)?, id.parse().ok()?, sha256))
}

impl Segment {
    /// Opens a segment by its path. Its blocks are checked when they are read.
    ///
    /// # Errors
    /// When it cannot be read, or its index is damaged.
    pub fn open(files: &Arc<dyn Files>, path: &Path) -> Result<Self, SegmentError> {
        Self::open_as(files, path, path)
    }

    /// Opens a file that will be renamed to `path`.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_as(files: &Arc<dyn Files>, file: &Path, path: &Path) -> Result<Self, SegmentError> {
        let name = path.file_name().and_then(|name| name.to_str()).and_then(parse_name);
        let (tier, id, sha256) = name.ok_or(SegmentError::Damaged("its name is of no segment"))?;
        let file = files.open(file).map_err(SegmentError::io(READ))?;
        let bytes = file.length().map_err(SegmentError::io(READ))?;
        let read = |at: u64, length: usize| {
            let end = at.checked_add(length as u64).ok_or(DAMAGED)?;
            if end > bytes {
                return Err(DAMAGED);
            }
            let mut part = vec![0; length];
            file.read_at(&mut part, at).map_err(SegmentError::io(READ))?;
            Ok(part)
        };
        let head = read(0, HEAD_BYTES as usize)?;
        let footer_at = bytes.checked_sub(FOOTER_BYTES as u64).ok_or(DAMAGED)?;
        let footer = read(footer_at, FOOTER_BYTES)?;
        let magic = head[..8] == MAGIC && footer[FOOTER_BYTES - 8..] == MAGIC;
        if !magic || head[8] != tier.number() as u8 {
            return Err(SegmentError::Damaged("it is no segment of its tier"));
        }
        if crc32fast::hash(&footer[..32]) != u32_at(&footer, 32)? {
            return Err(DAMAGED);
        }
        let part = |from: usize| {
            let (at, length) = (u64_at(&footer, from)?, u32_at(&footer, from + 8)?);
            if length > PART_BYTES_MAX {
                return Err(DAMAGED);
            }
            let part = read(at, length as usize)?;
            let whole = crc32fast::hash(&part) == u32_at(&footer, from + 12)?;
            whole.then_some(part).ok_or(DAMAGED)
        };
        let (directory, meta) = (part(0)?, part(16)?);
        let (meta, regions) = codec::take_meta(&meta)?;
        if meta.tier != tier {
            return Err(SegmentError::Damaged("it is of another tier"));
        }
        let pages = directory.chunks(PAGE_BYTES).map(|page| {
            let first = Uid::from_slice(&number::<16>(page, 0)?).ok_or(DAMAGED)?;
            let entries = u32_at(page, 24)?;
            if entries == 0 || entries as usize > PAGE_ENTRIES {
                return Err(DAMAGED);
            }
            Ok(Page { first, at: u64_at(page, 16)?, entries, crc: u32_at(page, 28)? })
        });
        let pages = pages.collect::<Result<_, SegmentError>>()?;
        let (files, path) = (Arc::clone(files), path.to_owned());
        Ok(Self { id, sha256, path, bytes, meta, files, regions, pages })
    }

    /// Opens its file.
    ///
    /// # Errors
    /// When it cannot be opened; see [`SegmentError::is_gone`].
    pub fn file(&self) -> Result<Box<dyn Reading>, SegmentError> {
        self.files.open(&self.path).map_err(SegmentError::io(READ))
    }

    /// Whether its bytes are those that its name says. Reads all of it.
    ///
    /// # Errors
    /// When they are not, or cannot be read.
    pub fn verify(&self) -> Result<(), SegmentError> {
        self.verify_at(&self.path)
    }

    /// The same for a file that is to become it.
    ///
    /// # Errors
    /// As [`Self::verify`].
    pub fn verify_at(&self, path: &Path) -> Result<(), SegmentError> {
        let file = self.files.open(path).map_err(SegmentError::io(READ))?;
        let mut left = file.length().map_err(SegmentError::io(READ))?;
        let (mut hash, mut at) = (Context::new(&SHA256), 0);
        while left > 0 {
            let mut part = vec![0; usize::try_from(left).unwrap_or(PIECE).min(PIECE)];
            file.read_at(&mut part, at).map_err(SegmentError::io(READ))?;
            hash.update(&part);
            at += part.len() as u64;
            left -= part.len() as u64;
        }
        let same = hash.finish().as_ref() == self.sha256;
        same.then_some(()).ok_or(SegmentError::Damaged("its bytes are not those of its name"))
    }

    /// Index pages.
    pub fn pages(&self) -> usize {
        self.pages.len()
    }

    /// The entries of one page, in order.
    ///
    /// # Errors
    /// When it cannot be read, or is damaged.
    pub fn page(&self, file: &dyn Reading, page: usize) -> Result<Vec<Entry>, SegmentError> {
        let Some(page) = self.pages.get(page) else { return Ok(Vec::new()) };
        let mut bytes = vec![0; page.entries as usize * ENTRY_BYTES];
        file.read_at(&mut bytes, page.at).map_err(SegmentError::io(READ))?;
        if crc32fast::hash(&bytes) != page.crc {
            return Err(DAMAGED);
        }
        bytes.chunks(ENTRY_BYTES).map(|entry| self.entry(entry)).collect()
    }

    fn entry(&self, bytes: &[u8]) -> Result<Entry, SegmentError> {
        let check = Uid::from_slice(&number::<16>(bytes, 0)?).ok_or(DAMAGED)?;
        let region = self.regions.get(u32_at(bytes, 16)? as usize).ok_or(DAMAGED)?;
        let length = u32_at(bytes, 20)?;
        if length as usize > HISTORY_BLOCK_BYTES_MAX {
            return Err(DAMAGED);
        }
        Ok(Entry {
            key: Key { check, region: Arc::clone(region) },
            length,
            at: u64_at(bytes, 24)?,
            crc: u32_at(bytes, 32)?,
            start: MeshTime::from_ns(u64_at(bytes, 40)? as i64),
            end: MeshTime::from_ns(u64_at(bytes, 48)? as i64),
        })
    }

    /// The entries of one check, by region.
    ///
    /// # Errors
    /// When the index cannot be read, or is damaged.
    pub fn find(&self, file: &dyn Reading, check: &Uid) -> Result<Vec<Entry>, SegmentError> {
        let key = |uid: &Uid| *uid.as_bytes();
        // A check's entries may begin at the end of the page before the first that begins with it.
        let from = self.pages.partition_point(|page| key(&page.first) < key(check)).max(1) - 1;
        let mut found = Vec::new();
        for page in from..self.pages.len() {
            if key(&self.pages[page].first) > key(check) {
                break;
            }
            found.extend(self.page(file, page)?.into_iter().filter(|e| e.key.check == *check));
        }
        Ok(found)
    }

    /// How long a block is.
    pub fn length(entry: &Entry) -> u64 {
        entry.length.into()
    }

    /// The bytes of a block.
    ///
    /// # Errors
    /// When they cannot be read, or are damaged.
    pub fn block(&self, file: &dyn Reading, entry: &Entry) -> Result<Vec<u8>, SegmentError> {
        if entry.at.checked_add(u64::from(entry.length)).is_none_or(|end| end > self.bytes) {
            return Err(DAMAGED);
        }
        let mut bytes = vec![0; entry.length as usize];
        file.read_at(&mut bytes, entry.at).map_err(SegmentError::io(READ))?;
        if crc32fast::hash(&bytes) != entry.crc {
            return Err(DAMAGED);
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests;
