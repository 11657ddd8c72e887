//! Writing a snapshot beside the Raft thread: the frozen hot rows, and the cold ones of the store.

use std::sync::Arc;

use super::machine::Frozen;
use crate::store::rows::RowStore;
use crate::store::snapshot::{Header, SnapshotError, SnapshotStore};
use crate::store::writer::WriteBehind;

/// A snapshot that is to be written, on whatever thread.
pub struct SnapshotJob {
    pub(super) header: Header,
    pub(super) frozen: Frozen,
    pub(super) cold: fn(&[u8]) -> Option<u64>,
    pub(super) behind: WriteBehind,
    pub(super) rows: Arc<dyn RowStore>,
    pub(super) snapshots: Arc<dyn SnapshotStore>,
}

impl SnapshotJob {
    /// Gathers the rows and writes them. Waits until the row store holds the cold ones.
    pub fn run(self) -> Result<(), SnapshotError> {
        let index = self.header.id.index;
        if self.behind.wait_synced(index).is_err() {
            // The node stops: there is no hurry.
            return Ok(());
        }
        let mut rows = (self.frozen)();
        let cold = self.cold;
        self.rows.load(&mut |row| {
            if cold(&row.key).is_some_and(|written| written <= index) {
                rows.push(row);
            }
        })?;
        rows.sort_by(|a, b| a.key.cmp(&b.key));
        self.snapshots.write(&self.header, &rows)
    }
}
