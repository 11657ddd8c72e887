//! Snapshots: every row of the state at one log index, which together stand for the log up to it.
//!
//! [`SnapshotStore`] is the seam. [`mod@file`] keeps them as files, [`memory`] is its twin; `contract` is
//! the suite that both pass. The same file goes to lagging members and into backups.

use std::io;

use parallax_proto::store::SnapshotHeader;
use protobuf::Message as _;
use raft::eraftpb::{ConfState, SnapshotMetadata};
use thiserror::Error;

use super::rows::Row;

pub mod file;
pub mod format;
pub mod memory;
pub mod transfer;

#[cfg(test)]
mod contract;

/// Which snapshot. Ordered by index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SnapshotId {
    /// The last log entry in it.
    pub index: u64,
    /// That entry's term.
    pub term: u64,
}

/// What a snapshot says about itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Header {
    /// Which it is.
    pub id: SnapshotId,
    /// Who votes, as of its index.
    pub conf_state: ConfState,
    /// The mesh that it is of; empty before there is one.
    pub mesh: String,
    /// The cluster's epoch.
    pub epoch: u64,
}

impl Header {
    /// What raft-rs calls the same.
    pub fn metadata(&self) -> Result<SnapshotMetadata, SnapshotError> {
        let mut metadata = SnapshotMetadata {
            index: self.id.index,
            term: self.id.term,
            ..SnapshotMetadata::default()
        };
        metadata.set_conf_state(self.conf_state.clone());
        Ok(metadata)
    }

    fn encode(&self) -> Result<SnapshotHeader, SnapshotError> {
        let conf_state = self.conf_state.write_to_bytes();
        let conf_state = conf_state.map_err(|_| SnapshotError::damaged(self.id, "its voters"))?;
        Ok(SnapshotHeader {
            format: format::VERSION,
            index: self.id.index,
            term: self.id.term,
            conf_state: conf_state.into(),
            // Nobody knows how many there will be: they are counted at the file's end.
            rows: 0,
            mesh: self.mesh.clone(),
            epoch: self.epoch,
        })
    }

    fn decode(id: SnapshotId, header: SnapshotHeader) -> Result<Self, SnapshotError> {
        if header.format != format::VERSION {
            return Err(SnapshotError::Format { id, format: header.format });
        }
        let own = SnapshotId { index: header.index, term: header.term };
        if own != id {
            return Err(SnapshotError::damaged(id, "it says that it is another one"));
        }
        let mut conf_state = ConfState::default();
        conf_state
            .merge_from_bytes(&header.conf_state)
            .map_err(|_| SnapshotError::damaged(id, "its voters cannot be read"))?;
        Ok(Self { id, conf_state, mesh: header.mesh, epoch: header.epoch })
    }
}

/// Takes the rows of a snapshot, one after the other.
pub type Sink<'a> = dyn FnMut(Row) -> Result<(), SnapshotError> + 'a;

/// Hands every row of a snapshot to the sink. Rows are never held all at once: there may be
/// millions of cold ones.
pub type Source<'a> = dyn FnMut(&mut Sink<'_>) -> Result<(), SnapshotError> + 'a;

/// The rows of a snapshot, as they are read. An error is the last thing that comes; until the end
/// has come nobody knows whether the file is whole.
pub type ReadRows = Box<dyn Iterator<Item = Result<Row, SnapshotError>> + Send>;

/// Keeps the newest snapshots.
pub trait SnapshotStore: Send + Sync + 'static {
    /// What is kept, oldest first.
    fn list(&self) -> Result<Vec<SnapshotId>, SnapshotError>;

    /// Writes a snapshot: whole and durable when this returns, not there at all before. The others
    /// stay: which of them is still needed, only their member knows.
    fn write(&self, header: &Header, rows: &mut Source<'_>) -> Result<(), SnapshotError>;

    /// Deletes a snapshot. One that is not there is no error.
    fn remove(&self, id: SnapshotId) -> Result<(), SnapshotError>;

    /// Reads the header of a snapshot, and its rows as they are asked for.
    fn read(&self, id: SnapshotId) -> Result<(Header, ReadRows), SnapshotError>;

    /// Reads a snapshot to its end and says whether it is what was written.
    fn verify(&self, id: SnapshotId) -> Result<Header, SnapshotError> {
        let (header, rows) = self.read(id)?;
        for row in rows {
            row?;
        }
        Ok(header)
    }
}

/// A source of rows that are at hand.
pub fn rows_of(rows: &[Row]) -> impl FnMut(&mut Sink<'_>) -> Result<(), SnapshotError> + '_ {
    move |sink| rows.iter().cloned().try_for_each(sink)
}

/// Why a snapshot could not be written or read.
#[derive(Debug, Error)]
pub enum SnapshotError {
    /// There is no such snapshot.
    #[error("there is no snapshot of index {} and term {}", .0.index, .0.term)]
    Missing(SnapshotId),
    /// It was written by a version that this one does not know.
    #[error("the snapshot of index {} has format {format}, which this version cannot read", .id.index)]
    Format {
        /// Which.
        id: SnapshotId,
        /// What it says.
        format: u32,
    },
    /// It is not what was written.
    #[error("the snapshot of index {} is damaged: {what}", .id.index)]
    Damaged {
        /// Which.
        id: SnapshotId,
        /// What is wrong.
        what: String,
    },
    /// A row is larger than any may be.
    #[error("a row of {bytes} bytes is too large for a snapshot, the most is {max}")]
    RowTooLarge {
        /// Its key and value.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// The disk refused.
    #[error("the snapshot store could not {action}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The rows that belong into it come from elsewhere, and could not be read.
    #[error("the rows of the snapshot could not be read: {0}")]
    Source(String),
    /// The rows that belong into it could not be read.
    #[error("the rows of the snapshot could not be read")]
    Rows(#[from] super::rows::RowError),
    /// The history that belongs into a backup could not be read.
    #[error("history could not be read")]
    History(#[from] crate::history::segment::SegmentError),
}

impl SnapshotError {
    fn damaged(id: SnapshotId, what: impl Into<String>) -> Self {
        Self::Damaged { id, what: what.into() }
    }

    /// Whether a sync failed, be it of a full disk: nobody knows what such a disk holds
    /// (decision 21).
    pub(crate) fn is_of_sync(&self) -> bool {
        matches!(self, Self::Io { action, .. } if action.starts_with("sync"))
    }

    /// Whether the bytes are not those of a snapshot, or not of the one that was named.
    pub(crate) fn is_damage(&self) -> bool {
        matches!(self, Self::Damaged { .. } | Self::Format { .. })
    }

    /// For `map_err` on plain files.
    pub(crate) fn io(action: &'static str) -> impl Fn(io::Error) -> Self {
        move |source| Self::Io { action, source }
    }
}
