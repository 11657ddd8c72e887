//! Segment files: closed, sorted by check and region, checksummed, never changed.
//!
//! ```text
//! magic, tier | blocks, one a (check, region) | index pages | directory | meta | footer
//! ```
//! [`codec`] and [`cells`] turn values into bytes and back (pure), [`writer`] makes a file, [`reader`] finds
//! blocks in it. A segment says which windows it holds by (spool, sequence): what is copied from
//! another member is the same file under the same hash.

use std::cmp::Ordering;
use std::sync::Arc;

use parallax_common::name::Uid;
use parallax_common::time::MeshTime;

use super::ranges::Held;
use super::tier::Tier;

pub mod cells;
pub mod codec;
pub mod entropy;
pub mod reader;
pub mod writer;

/// First bytes of every segment; the digit is the format.
pub const MAGIC: [u8; 8] = *b"PLXHIST2";
/// Magic and tier.
pub const HEAD_BYTES: u64 = 16;
/// Where the rest is found, at the very end.
pub const FOOTER_BYTES: usize = 48;
/// One entry of an index page.
pub const ENTRY_BYTES: usize = 56;
/// Entries of one index page.
pub const PAGE_ENTRIES: usize = 128;
/// One entry of the directory: a page.
pub const PAGE_BYTES: usize = 32;

/// What blocks are sorted by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    /// The check.
    pub check: Uid,
    /// The region.
    pub region: Arc<str>,
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        self.check
            .as_bytes()
            .cmp(other.check.as_bytes())
            .then_with(|| self.region.cmp(&other.region))
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// What a segment says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meta {
    /// Of its cells.
    pub tier: Tier,
    /// Start of the earliest of them.
    pub min_start: MeshTime,
    /// End of the latest.
    pub max_end: MeshTime,
    /// The windows it holds.
    pub held: Held,
    /// Windows, or cells.
    pub items: u64,
    /// How far every spool had come when it was written, the longest quiet first. Only windows'.
    pub spools: Vec<(super::Spool, u64)>,
}

/// Why a segment or journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SegmentError {
    /// The bytes are not what was written.
    #[error("damaged: {0}")]
    Damaged(&'static str),
    /// More would have to be read than one question may.
    #[error("more than {} MiB of history would have to be read", .0 / (1 << 20))]
    TooMuch(u64),
    /// The disk refused.
    #[error("could not {action}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

impl SegmentError {
    /// For `map_err`.
    pub fn io(action: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { action, source }
    }

    /// Whether the file is gone: it was rolled up or expired while somebody read.
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound)
    }

    /// Whether there was no room for what was to be written: nothing else is wrong, and it can be tried
    /// again. A sync that fails for want of room is a failed sync.
    pub fn is_full(&self) -> bool {
        use std::io::ErrorKind::{QuotaExceeded, StorageFull};
        let no_room =
            |source: &std::io::Error| matches!(source.kind(), StorageFull | QuotaExceeded);
        !self.is_sync() && matches!(self, Self::Io { source, .. } if no_room(source))
    }

    /// Whether it is the file that cannot be read, today and tomorrow: it is damaged or gone, or the
    /// disk does not give it back. Want of descriptors or of memory is no fault of a file.
    pub fn is_unreadable(&self) -> bool {
        use std::io::ErrorKind::{InvalidData, NotFound, UnexpectedEof};
        match self {
            Self::Damaged(_) => true,
            Self::TooMuch(_) => false,
            Self::Io { source, .. } => {
                matches!(source.kind(), InvalidData | NotFound | UnexpectedEof)
                    || source.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error())
            }
        }
    }

    /// Whether what failed was a sync: nothing is known of the file any more (decision 21).
    pub fn is_sync(&self) -> bool {
        matches!(self, Self::Io { action, .. } if action.starts_with("sync"))
    }
}
