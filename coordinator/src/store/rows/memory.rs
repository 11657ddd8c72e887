//! The twin of the rows on disk: a disk in memory that can lose, tear and refuse.

use std::collections::BTreeMap;
use std::io;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::{Row, RowChange, RowError, RowStore};

/// What the disk does with a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing is written and the write fails.
    RefuseWrite,
    /// The write is in the system's cache, and its sync fails.
    RefuseSync,
    /// Nothing is written, because there is no room for it.
    NoRoom,
}

/// What becomes, in a crash, of what was not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crash {
    /// It is gone.
    Lose,
    /// It reached the disk all the same.
    Keep,
    /// A part of it did: the whole store cannot be read any more.
    Tear,
    /// Everything is gone, as when the store's directory is deleted.
    Vanish,
}

#[derive(Debug, Clone, Default)]
struct Image {
    rows: BTreeMap<Bytes, Bytes>,
    applied: u64,
}

#[derive(Debug, Default)]
struct State {
    synced: Image,
    unsynced: Option<Image>,
    fault: Option<(u32, Fault)>,
}

/// Rows on a disk in memory. Clones are the same disk.
#[derive(Debug, Clone, Default)]
pub struct MemRows {
    state: Arc<Mutex<State>>,
}

impl MemRows {
    /// Makes the write after `good` good ones go wrong.
    pub fn fail_after(&self, good: u32, fault: Fault) {
        self.state.lock().fault = Some((good, fault));
    }

    /// The machine stops: what was not synced meets its fate, faults that were planned are off.
    pub fn crash(&self, crash: Crash) {
        let mut state = self.state.lock();
        state.fault = None;
        let unsynced = state.unsynced.take();
        match crash {
            Crash::Lose => {}
            Crash::Keep => state.synced = unsynced.unwrap_or_else(|| state.synced.clone()),
            Crash::Tear if unsynced.is_some() => state.synced = Image::default(),
            Crash::Tear => {}
            Crash::Vanish => state.synced = Image::default(),
        }
    }

    /// Makes a change that fails, if at all, before it has touched anything.
    fn change(
        &self,
        change: impl FnOnce(&mut Image) -> Result<(), RowError>,
    ) -> Result<(), RowError> {
        let mut state = self.state.lock();
        let fault = match &mut state.fault {
            Some((0, fault)) => Some(*fault),
            Some((good, _)) => {
                *good -= 1;
                None
            }
            None => None,
        };
        let refused = |action| {
            Err(RowError::Io { action, source: io::Error::other("input/output error (injected)") })
        };
        if fault == Some(Fault::NoRoom) {
            let source = io::ErrorKind::StorageFull.into();
            return Err(RowError::Io { action: "write", source });
        }
        if fault == Some(Fault::RefuseWrite) {
            return refused("write");
        }
        if fault == Some(Fault::RefuseSync) {
            let mut image = state.synced.clone();
            change(&mut image)?;
            state.unsynced.get_or_insert(image);
            return refused("sync");
        }
        change(&mut state.synced)
    }
}

impl RowStore for MemRows {
    fn applied_index(&self) -> Result<u64, RowError> {
        Ok(self.state.lock().synced.applied)
    }

    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, RowError> {
        Ok(self.state.lock().synced.rows.get(key).cloned())
    }

    fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Row>, RowError> {
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let state = self.state.lock();
        let rows = state.synced.rows.range::<[u8], _>((from, Bound::Unbounded));
        let rows = rows.take_while(|(key, _)| key.starts_with(prefix)).take(limit);
        Ok(rows.map(|(key, value)| Row { key: key.clone(), value: value.clone() }).collect())
    }

    fn load(&self, each: &mut dyn FnMut(Row)) -> Result<(), RowError> {
        let rows = self.state.lock().synced.rows.clone();
        rows.into_iter().for_each(|(key, value)| each(Row { key, value }));
        Ok(())
    }

    fn write(&self, changes: &[RowChange], applied: u64) -> Result<(), RowError> {
        self.change(|image| {
            if applied < image.applied {
                return Err(RowError::Backwards { present: image.applied, asked: applied });
            }
            for change in changes {
                match &change.value {
                    Some(value) => image.rows.insert(change.key.clone(), value.clone()),
                    None => image.rows.remove(&change.key),
                };
            }
            image.applied = applied;
            Ok(())
        })
    }

    fn replace(
        &self,
        rows: &mut dyn Iterator<Item = Result<Row, RowError>>,
        applied: u64,
    ) -> Result<(), RowError> {
        // Before the lock: the new rows may be read from these.
        let rows = rows.map(|row| row.map(|row| (row.key, row.value)));
        let rows = rows.collect::<Result<_, _>>()?;
        self.change(|image| {
            image.rows = rows;
            image.applied = applied;
            Ok(())
        })
    }

    fn live_bytes(&self) -> Result<u64, RowError> {
        let state = self.state.lock();
        Ok(state.synced.rows.iter().map(|(key, value)| (key.len() + value.len()) as u64).sum())
    }

    fn disk_bytes(&self) -> Result<u64, RowError> {
        self.live_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::super::contract;
    use super::*;

    #[test]
    fn the_twin_keeps_the_contract() {
        contract::suite(|| {
            let rows = MemRows::default();
            move || rows.clone()
        });
    }

    #[test]
    fn what_was_not_synced_can_be_lost_kept_or_torn() {
        for (crash, applied) in
            [(Crash::Lose, 1), (Crash::Keep, 2), (Crash::Tear, 0), (Crash::Vanish, 0)]
        {
            let rows = MemRows::default();
            rows.write(&[RowChange::put("a", "1")], 1).unwrap();
            rows.fail_after(0, Fault::RefuseSync);
            assert!(rows.write(&[RowChange::put("a", "2")], 2).is_err());
            assert_eq!(rows.get(b"a").unwrap().unwrap(), "1");
            rows.crash(crash);
            assert_eq!(rows.applied_index().unwrap(), applied, "{crash:?}");
        }
    }

    #[test]
    fn a_refused_write_leaves_nothing() {
        let rows = MemRows::default();
        rows.fail_after(1, Fault::RefuseWrite);
        rows.write(&[RowChange::put("a", "1")], 1).unwrap();
        assert!(rows.write(&[RowChange::put("a", "2")], 2).is_err());
        rows.crash(Crash::Keep);
        assert_eq!(rows.get(b"a").unwrap().unwrap(), "1");
    }
}
