//! A backup: everything replicated in one file, and what one member has of the past; it says what it is
//! and verifies itself.
//!
//! ```text
//! magic        8 bytes  "PLXBACK" and a line feed
//! header       frame    BackupHeader
//! section      frames   BackupRecord: begin, chunks of rows, end
//! section      frames   BackupRecord: begin, pieces of a segment, end; one for each segment
//! end          frame    as of a snapshot file: rows, sections, checksum of all checksums
//! ```
//!
//! Frames, chunks and end are those of a snapshot ([`super::snapshot::format`]). Each section ends with
//! its length and checksum, each segment has its SHA-256 besides. What is not in it is what is of no
//! use to another cluster: log, identity, certificates. [`mod@write`] makes one, [`mod@read`] takes it
//! apart.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use parallax_proto::store;
use serde::Serialize;
use thiserror::Error;

use super::snapshot::SnapshotError;
use crate::history::tier::Tier;

pub mod read;
pub mod write;

pub use read::{Contents, Item, read};
pub use write::Writer;

/// The format that is written, and the only one that is read.
const VERSION: u32 = 2;
const MAGIC: &[u8; 8] = b"PLXBACK\n";

/// What a backup says about itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Header(pub store::BackupHeader);

/// What a backup holds, counted while it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Summary {
    /// Rows of the replicated state.
    pub rows: u64,
    /// Segments of history by tier, the finest first.
    pub tiers: [OfTier; 3],
}

/// Segments of one tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct OfTier {
    /// Files.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Windows, or cells.
    pub items: u64,
    /// Start of the earliest of them, in mesh time.
    pub from_ns: i64,
    /// End of the latest.
    pub to_ns: i64,
}

impl OfTier {
    /// Counts one segment more.
    pub fn add(&mut self, segment: &store::BackupSegment) {
        if self.segments == 0 {
            (self.from_ns, self.to_ns) = (segment.min_start_mesh_ns, segment.max_end_mesh_ns);
        }
        self.segments += 1;
        self.bytes += segment.bytes;
        self.items += segment.items;
        self.from_ns = self.from_ns.min(segment.min_start_mesh_ns);
        self.to_ns = self.to_ns.max(segment.max_end_mesh_ns);
    }
}

impl Summary {
    fn add(&mut self, segment: &store::BackupSegment) {
        if let Some(tier) = self.tiers.get_mut(segment.tier as usize) {
            tier.add(segment);
        }
    }

    /// Segments of all tiers, and their bytes.
    pub fn history(&self) -> (u64, u64) {
        let sum = |of: fn(&OfTier) -> u64| self.tiers.iter().map(of).sum();
        (sum(|tier| tier.segments), sum(|tier| tier.bytes))
    }

    /// Each tier with its name.
    pub fn by_tier(&self) -> impl Iterator<Item = (Tier, &OfTier)> {
        Tier::ALL.into_iter().zip(&self.tiers)
    }
}

/// Why a backup cannot be read.
#[derive(Debug, Error)]
pub enum BackupError {
    /// The file.
    #[error("the backup cannot be opened")]
    Open(#[source] std::io::Error),
    /// It was written by a version that this one does not know.
    #[error("the backup has format {0}, and this version reads format {VERSION}")]
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

/// Opens a file for [`read()`].
///
/// # Errors
/// What the system said.
pub fn open(path: &Path) -> Result<BufReader<File>, BackupError> {
    let file = File::open(path).map_err(BackupError::Open)?;
    Ok(BufReader::with_capacity(256 * 1024, file))
}

/// Reads a backup to its end. Its header, and what it holds.
///
/// # Errors
/// When it is not whole.
pub fn verify(path: &Path, level: u32) -> Result<(Header, Summary), BackupError> {
    let (header, mut contents) = read(open(path)?, level)?;
    for item in &mut contents {
        item?;
    }
    Ok((header, contents.summary()))
}

#[cfg(test)]
mod tests;
