//! The Raft log: what was proposed, in order, and the hard state, synced before anybody is told.
//!
//! [`LogStore`] is the seam. [`engine`] is the one on disk, [`memory`] its twin whose disk can lose,
//! tear and refuse; `contract` is the one suite that both pass. [`storage`] shows either to raft-rs,
//! and [`scan`] looks at the files before they are opened. [`crash`] replays crashes of the one on
//! disk.

use std::io;
use std::path::PathBuf;

use raft::eraftpb::{Entry, HardState, SnapshotMetadata};
use thiserror::Error;

pub mod crash;
pub mod engine;
pub mod memory;
pub mod scan;
pub mod storage;
mod terms;
pub mod written;

#[cfg(test)]
mod contract;

/// An ordered, durable log with its hard state.
///
/// A change is durable when its call returns. After an error nothing is known about what the disk
/// holds, so the owner must stop (decision 21) and open the log anew.
pub trait LogStore: Send + 'static {
    /// The newest hard state written.
    fn hard_state(&self) -> &HardState;

    /// The entry before the first kept one. Index 0: a new log. It tells who votes there only after
    /// an installed snapshot, not after a compaction.
    fn start(&self) -> &SnapshotMetadata;

    /// Index of the newest entry; that of [`LogStore::start`] when no entry is kept.
    fn last_index(&self) -> u64;

    /// Index of the first kept entry, or of the one that will be.
    fn first_index(&self) -> u64 {
        self.start().index + 1
    }

    /// The term of the entry at `index`, which may be that of [`LogStore::start`].
    fn term(&self, index: u64) -> Result<u64, LogError>;

    /// The entries in `low..high`, in order. Ends early at `bytes_max`, but never before the first.
    fn entries(&self, low: u64, high: u64, bytes_max: Option<u64>) -> Result<Vec<Entry>, LogError>;

    /// Appends `entries` and the hard state as one batch with one sync. Entries at or after the
    /// first appended index are replaced.
    fn append(&mut self, entries: &[Entry], hard_state: Option<&HardState>)
    -> Result<(), LogError>;

    /// Drops every entry and begins anew behind a snapshot, as one batch with one sync.
    fn install(
        &mut self,
        metadata: &SnapshotMetadata,
        hard_state: &HardState,
    ) -> Result<(), LogError>;

    /// Drops the entries up to and with `metadata.index`, which must be in the log.
    fn compact(&mut self, metadata: &SnapshotMetadata) -> Result<(), LogError>;
}

/// Why the log could not do what was asked.
#[derive(Debug, Error)]
pub enum LogError {
    /// The entry was dropped by a compaction.
    #[error("entry {index} is compacted, the first kept is {first}")]
    Compacted {
        /// What was asked for.
        index: u64,
        /// What the log begins with.
        first: u64,
    },
    /// The entry was not written yet.
    #[error("entry {index} is not in the log, the last is {last}")]
    Missing {
        /// What was asked for.
        index: u64,
        /// What the log ends with.
        last: u64,
    },
    /// An append that would leave a hole, or touch what is compacted.
    #[error("entry {index} does not follow on the log, which is {first} to {last}")]
    Hole {
        /// The first index of the append.
        index: u64,
        /// First kept.
        first: u64,
        /// Last kept.
        last: u64,
    },
    /// Valid records lie behind a broken one: history is damaged, not merely its end torn.
    #[error(
        "the raft log is damaged in its middle: {file} is broken at byte {offset}, and valid \
         records follow ({evidence}). nothing was changed. to recover, move the data directory \
         aside, then restore this member from a backup, or let it join the cluster anew"
    )]
    Damaged {
        /// The file with the broken record.
        file: PathBuf,
        /// Where in it.
        offset: u64,
        /// What follows, and where.
        evidence: String,
    },
    /// The files are whole but what they say does not fit together.
    #[error(
        "the raft log contradicts itself: {0}. to recover, move the data directory aside, then \
         restore this member from a backup, or let it join the cluster anew"
    )]
    Inconsistent(String),
    /// Somebody else has the log open.
    #[error("the raft log is in use by another process")]
    Busy,
    /// The disk refused.
    #[error("the raft log could not {action}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The log engine refused.
    #[error("the raft log engine could not {action}")]
    Engine {
        /// What was tried.
        action: &'static str,
        /// What it said.
        #[source]
        source: raft_engine::Error,
    },
}

impl LogError {
    /// For `map_err` on plain files.
    pub(crate) fn io(action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, source }
    }
}

/// Checks that `low..high` lies in the log `first..=last`.
fn check_range(low: u64, high: u64, first: u64, last: u64) -> Result<(), LogError> {
    if low < first {
        return Err(LogError::Compacted { index: low, first });
    }
    if high > last + 1 {
        return Err(LogError::Missing { index: high - 1, last });
    }
    Ok(())
}

/// Checks that `entries` follow one another and join on to the log `first..=last`.
fn check_append(entries: &[Entry], first: u64, last: u64) -> Result<(), LogError> {
    let Some(low) = entries.first().map(|entry| entry.index) else { return Ok(()) };
    if low < first || low > last + 1 {
        return Err(LogError::Hole { index: low, first, last });
    }
    match entries.iter().zip(low..).find(|(entry, expected)| entry.index != *expected) {
        Some((entry, _)) => Err(LogError::Hole { index: entry.index, first, last }),
        None => Ok(()),
    }
}

/// Cuts `entries` where their sum passes `bytes_max`, but never before the first.
fn limit_bytes(entries: &mut Vec<Entry>, bytes_max: Option<u64>) {
    let Some(bytes_max) = bytes_max else { return };
    let mut sum = 0;
    let keep = entries.iter().take_while(|entry| {
        let first = sum == 0;
        sum += entry_bytes(entry);
        first || sum <= bytes_max
    });
    let keep = keep.count();
    entries.truncate(keep);
}

/// What an entry weighs, about: never 0.
pub(crate) fn entry_bytes(entry: &Entry) -> u64 {
    (entry.data.len() + entry.context.len() + 24) as u64
}
