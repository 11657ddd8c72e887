//! The twin of the snapshot files: kept in memory, able to refuse, to lose and to be damaged.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Header, ReadRows, SnapshotError, SnapshotId, SnapshotStore, Source, format};

#[derive(Debug, Default)]
struct State {
    files: BTreeMap<SnapshotId, Vec<u8>>,
    refuse: bool,
}

/// Snapshots in memory. Clones are the same disk.
#[derive(Debug, Clone, Default)]
pub struct MemSnapshots {
    state: Arc<Mutex<State>>,
}

impl MemSnapshots {
    /// Whether the writes to come fail because the disk is full.
    pub fn refuse(&self, refuse: bool) {
        self.state.lock().refuse = refuse;
    }

    /// Damages a snapshot; false when there is none.
    pub fn damage(&self, id: SnapshotId) -> bool {
        let mut state = self.state.lock();
        let Some(bytes) = state.files.get_mut(&id) else { return false };
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        true
    }

    pub(super) fn bytes(&self, id: SnapshotId) -> Option<Vec<u8>> {
        self.state.lock().files.get(&id).cloned()
    }
}

impl SnapshotStore for MemSnapshots {
    fn list(&self) -> Result<Vec<SnapshotId>, SnapshotError> {
        Ok(self.state.lock().files.keys().copied().collect())
    }

    fn write(&self, header: &Header, rows: &mut Source<'_>) -> Result<(), SnapshotError> {
        let mut bytes = Vec::new();
        format::write(&mut bytes, header, rows)?;
        let mut state = self.state.lock();
        if state.refuse {
            return Err(SnapshotError::io("write")(io::ErrorKind::StorageFull.into()));
        }
        state.files.insert(header.id, bytes);
        Ok(())
    }

    fn remove(&self, id: SnapshotId) -> Result<(), SnapshotError> {
        self.state.lock().files.remove(&id);
        Ok(())
    }

    fn read(&self, id: SnapshotId) -> Result<(Header, ReadRows), SnapshotError> {
        let bytes = self.state.lock().files.get(&id).cloned().ok_or(SnapshotError::Missing(id))?;
        let (header, rows) = format::read(io::Cursor::new(bytes), id)?;
        Ok((header, Box::new(rows)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::contract::{self, header, rows};
    use super::super::rows_of;
    use super::*;

    #[test]
    fn the_twin_keeps_the_contract() {
        contract::suite(|| {
            let snapshots = MemSnapshots::default();
            move || snapshots.clone()
        });
    }

    #[test]
    fn a_refused_write_leaves_what_was_there_and_damage_is_seen() {
        let snapshots = MemSnapshots::default();
        snapshots.write(&header(1, 1), &mut rows_of(&rows(2, 5))).unwrap();
        snapshots.refuse(true);
        assert!(snapshots.write(&header(2, 1), &mut rows_of(&rows(2, 5))).is_err());
        assert_eq!(snapshots.list().unwrap(), [header(1, 1).id]);
        assert!(snapshots.damage(header(1, 1).id));
        assert!(snapshots.verify(header(1, 1).id).is_err());
        snapshots.remove(header(1, 1).id).unwrap();
        assert!(matches!(snapshots.read(header(1, 1).id), Err(SnapshotError::Missing(_))));
    }
}
