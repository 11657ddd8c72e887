//! Writing a segment: under another name, synced, renamed, the directory synced.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use parallax_common::limits::HISTORY_BLOCK_BYTES_MAX;
use parallax_common::time::MeshTime;
use ring::digest::{Context, SHA256};

use super::reader::Segment;
use super::{HEAD_BYTES, Key, MAGIC, Meta, PAGE_ENTRIES, SegmentError, codec};
use crate::history::files::{Files, Writing};
use crate::history::tier::Tier;

/// What names of unfinished files end with.
pub const UNFINISHED: &str = ".unfinished";
/// What names of segments end with.
pub const SUFFIX: &str = ".seg";

/// Bytes that are gathered before they are written.
const GATHERED: usize = 256 * 1024;

/// A segment that is being written. Dropped before it is finished, its file goes.
pub struct Writer {
    files: Arc<dyn Files>,
    dir: PathBuf,
    unfinished: PathBuf,
    tier: Tier,
    id: u64,
    file: Box<dyn Writing>,
    gathered: Vec<u8>,
    hash: Context,
    at: u64,
    index: Vec<u8>,
    entries: usize,
    regions: Vec<Arc<str>>,
    /// First key of each page.
    pages: Vec<[u8; 16]>,
    items: u64,
    min_start: MeshTime,
    max_end: MeshTime,
    finished: bool,
}

impl Writer {
    /// Begins the segment `id` of a tier.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub fn create(
        files: &Arc<dyn Files>,
        dir: &Path,
        tier: Tier,
        id: u64,
    ) -> Result<Self, SegmentError> {
        let unfinished = dir.join(format!("{}-{id:012}{UNFINISHED}", tier.number()));
        let file = files.create(&unfinished).map_err(SegmentError::io("create a segment"))?;
        let mut writer = Self {
            files: Arc::clone(files),
            dir: dir.to_owned(),
            unfinished,
            tier,
            id,
            file,
            gathered: Vec::with_capacity(GATHERED),
            hash: Context::new(&SHA256),
            at: 0,
            index: Vec::new(),
            entries: 0,
            regions: Vec::new(),
            pages: Vec::new(),
            items: 0,
            min_start: MeshTime::from_ns(i64::MAX),
            max_end: MeshTime::from_ns(i64::MIN),
            finished: false,
        };
        let mut head = [0; HEAD_BYTES as usize];
        head[..8].copy_from_slice(&MAGIC);
        head[8] = tier.number() as u8;
        writer.write(&head)?;
        Ok(writer)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), SegmentError> {
        self.hash.update(bytes);
        self.at += bytes.len() as u64;
        self.gathered.extend_from_slice(bytes);
        if self.gathered.len() >= GATHERED { self.pass_on() } else { Ok(()) }
    }

    fn pass_on(&mut self) -> Result<(), SegmentError> {
        self.file.add(&self.gathered).map_err(SegmentError::io("write a segment"))?;
        self.gathered.clear();
        Ok(())
    }

    /// Adds the block of the next key. `items` windows or cells between two moments are in it.
    ///
    /// # Errors
    /// When it is too large, or cannot be written.
    pub fn block(
        &mut self,
        key: &Key,
        bytes: &[u8],
        items: usize,
        (start, end): (MeshTime, MeshTime),
    ) -> Result<(), SegmentError> {
        let length = u32::try_from(bytes.len())
            .ok()
            .filter(|length| *length as usize <= HISTORY_BLOCK_BYTES_MAX)
            .ok_or(SegmentError::Damaged("a block is too large"))?;
        let region = match self.regions.iter().position(|region| *region == key.region) {
            Some(region) => region,
            None => {
                self.regions.push(Arc::clone(&key.region));
                self.regions.len() - 1
            }
        };
        if self.entries.is_multiple_of(PAGE_ENTRIES) {
            self.pages.push(*key.check.as_bytes());
        }
        self.entries += 1;
        self.items += items as u64;
        self.min_start = self.min_start.min(start);
        self.max_end = self.max_end.max(end);
        let index = &mut self.index;
        index.extend_from_slice(key.check.as_bytes());
        index.extend_from_slice(&(region as u32).to_le_bytes());
        index.extend_from_slice(&length.to_le_bytes());
        index.extend_from_slice(&self.at.to_le_bytes());
        index.extend_from_slice(&crc32fast::hash(bytes).to_le_bytes());
        index.extend_from_slice(&[0; 4]);
        index.extend_from_slice(&start.as_ns().to_le_bytes());
        index.extend_from_slice(&end.as_ns().to_le_bytes());
        self.write(bytes)
    }

    /// Ends the segment: it is on the disk as a whole when this returns.
    ///
    /// # Errors
    /// When it cannot be written or synced.
    pub fn finish(
        mut self,
        held: crate::history::ranges::Held,
        spools: Vec<(crate::history::Spool, u64)>,
    ) -> Result<Segment, SegmentError> {
        let index = std::mem::take(&mut self.index);
        let mut directory = Vec::new();
        for (page, first) in index.chunks(PAGE_ENTRIES * super::ENTRY_BYTES).zip(self.pages.clone())
        {
            directory.extend_from_slice(&first);
            directory.extend_from_slice(&self.at.to_le_bytes());
            directory.extend_from_slice(&((page.len() / super::ENTRY_BYTES) as u32).to_le_bytes());
            directory.extend_from_slice(&crc32fast::hash(page).to_le_bytes());
            self.write(page)?;
        }
        let meta = Meta {
            tier: self.tier,
            min_start: self.min_start,
            max_end: self.max_end,
            held,
            items: self.items,
            spools,
        };
        let encoded = codec::put_meta(&meta, &self.regions);
        let mut footer = Vec::with_capacity(super::FOOTER_BYTES);
        for part in [&directory, &encoded] {
            footer.extend_from_slice(&self.at.to_le_bytes());
            let length = u32::try_from(part.len())
                .map_err(|_| SegmentError::Damaged("an index is too large"))?;
            footer.extend_from_slice(&length.to_le_bytes());
            footer.extend_from_slice(&crc32fast::hash(part).to_le_bytes());
            self.write(part)?;
        }
        footer.extend_from_slice(&crc32fast::hash(&footer).to_le_bytes());
        footer.extend_from_slice(&[0; 4]);
        footer.extend_from_slice(&MAGIC);
        self.write(&footer)?;

        self.pass_on()?;
        self.file.sync().map_err(SegmentError::io("sync a segment"))?;
        let hash = std::mem::replace(&mut self.hash, Context::new(&SHA256)).finish();
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(hash.as_ref());
        let path = self.dir.join(name(self.tier, self.id, &sha256));
        self.files.rename(&self.unfinished, &path).map_err(SegmentError::io("rename a segment"))?;
        self.finished = true;
        sync_dir(&*self.files, &self.dir)?;
        Segment::open(&self.files, &path)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if !self.finished {
            // A start deletes what is left all the same.
            let _ = self.files.remove(&self.unfinished);
        }
    }
}

/// A segment's file name.
pub fn name(tier: Tier, id: u64, sha256: &[u8; 32]) -> String {
    let hex: String = sha256.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{id:012}-{hex}{SUFFIX}", tier.number())
}

/// Makes renames and deletions of a directory durable.
///
/// # Errors
/// When the disk refuses.
pub fn sync_dir(files: &dyn Files, dir: &Path) -> Result<(), SegmentError> {
    files.sync_dir(dir).map_err(SegmentError::io("sync the directory of history"))
}
