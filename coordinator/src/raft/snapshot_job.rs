//! Writing a snapshot beside the Raft thread: the frozen hot rows, and the cold ones of the store.

use std::sync::Arc;

use super::machine::Frozen;
use crate::store::rows::{Pages, RowStore};
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
    /// Writes the rows as they come: the hot ones, then the cold ones in order of keys. Waits until the row store holds the cold ones.
    pub fn run(self) -> Result<(), SnapshotError> {
        let index = self.header.id.index;
        if self.behind.wait_synced(index).is_err() {
            // The node stops: there is no hurry.
            return Ok(());
        }
        let mut frozen = Some(self.frozen);
        let (cold, rows) = (self.cold, self.rows.as_ref());
        self.snapshots.write(&self.header, &mut |sink| {
            let mut written = Ok(());
            if let Some(frozen) = frozen.take() {
                frozen(&mut |row| {
                    if written.is_ok() {
                        written = sink(row);
                    }
                });
            }
            written?;
            for row in Pages::new(rows) {
                let row = row?;
                if cold(&row.key).is_some_and(|written| written <= index) {
                    sink(row)?;
                }
            }
            Ok(())
        })
    }
}
