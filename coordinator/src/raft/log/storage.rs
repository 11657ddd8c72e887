//! A [`LogStore`] as raft-rs wants to see it.
//!
//! raft-rs only reads here; the writes are made by the member, in its one order.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::sync::Arc;

use raft::eraftpb::{ConfState, Entry, Snapshot};
use raft::{GetEntriesContext, RaftState, Storage, StorageError};
use tracing::error;

use super::{LogError, LogStore};
use crate::raft::fatal::chain;
use crate::store::snapshot::{Header, SnapshotError, SnapshotId, SnapshotStore};

/// A log, the configuration of the applied state, and the snapshot files, for raft-rs.
pub struct RaftStorage<L> {
    /// The log itself.
    pub log: L,
    /// What the state holds at a start. It was committed, whatever the hard state knows of it.
    pub applied: u64,
    /// Who votes, as of the last applied entry.
    pub conf_state: ConfState,
    /// Where a snapshot for a lagging member is found.
    pub snapshots: Arc<dyn SnapshotStore>,
    /// A member needs a newer snapshot than there is: one is to be taken.
    pub snapshot_wanted: Cell<bool>,
    /// Snapshots whose files were found to be damaged: no more than there are files. One that is written
    /// anew or removed is none of them any more.
    pub damaged: RefCell<BTreeSet<SnapshotId>>,
    /// The header of the newest snapshot, once it was read.
    pub newest: RefCell<Option<Header>>,
}

impl<L> RaftStorage<L> {
    /// The file of this snapshot is damaged: it is announced to nobody any more, and another one is to be
    /// taken in its place.
    pub fn give_up(&self, id: SnapshotId) {
        error!(index = id.index, "a snapshot is damaged: another one is taken in its place");
        self.damaged.borrow_mut().insert(id);
        self.snapshot_wanted.set(true);
    }
}

impl<L: LogStore> Storage for RaftStorage<L> {
    fn initial_state(&self) -> raft::Result<RaftState> {
        // raft-rs aborts on a state that is ahead of the commit.
        let mut hard_state = self.log.hard_state().clone();
        hard_state.commit = hard_state.commit.max(self.applied);
        Ok(RaftState::new(hard_state, self.conf_state.clone()))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _context: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        self.log.entries(low, high, max_size.into()).map_err(storage_error)
    }

    fn term(&self, idx: u64) -> raft::Result<u64> {
        self.log.term(idx).map_err(storage_error)
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.log.first_index())
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.log.last_index())
    }

    fn snapshot(&self, request_index: u64, to: u64) -> raft::Result<Snapshot> {
        // One that was received and not installed is not of this log.
        let listed = self.snapshots.list().map_err(other)?;
        let whole = |id: &SnapshotId| {
            id.index <= self.log.last_index() && !self.damaged.borrow().contains(id)
        };
        let newest = listed.into_iter().rfind(whole);
        if let Some(id) = newest {
            let mut newest = self.newest.borrow_mut();
            if newest.as_ref().is_none_or(|header| header.id != id) {
                // Only its header: whoever is sent the file verifies all of it. When it cannot be
                // read another one is taken, and raft-rs would panic at any other error.
                *newest = match self.snapshots.read(id) {
                    Ok((header, _)) => Some(header),
                    Err(error) => {
                        let index = id.index;
                        error!(index, error = %chain(&error), "a snapshot cannot be read");
                        if !matches!(error, SnapshotError::Missing(_)) {
                            self.give_up(id);
                        }
                        None
                    }
                };
            }
            if let Some(header) = newest.as_ref()
                && header.id.index >= request_index.max(self.log.start().index)
                // A member refuses a snapshot of a time when it was none.
                && (header.conf_state.voters.contains(&to)
                    || header.conf_state.learners.contains(&to))
            {
                let mut snapshot = Snapshot::default();
                *snapshot.mut_metadata() = header.metadata().map_err(other)?;
                return Ok(snapshot);
            }
        }
        self.snapshot_wanted.set(true);
        Err(raft::Error::Store(StorageError::SnapshotTemporarilyUnavailable))
    }
}

fn storage_error(error: LogError) -> raft::Error {
    match error {
        LogError::Compacted { .. } => raft::Error::Store(StorageError::Compacted),
        LogError::Missing { .. } => raft::Error::Store(StorageError::Unavailable),
        error => other(error),
    }
}

fn other(error: impl std::error::Error + Send + Sync + 'static) -> raft::Error {
    raft::Error::Store(StorageError::Other(Box::new(error)))
}
