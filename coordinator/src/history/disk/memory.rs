//! Windows that are in the journal and in no segment yet. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use parallax_common::time::MeshTime;

use super::{Held, Kept, Key, cost};

/// By check and region, in the order of arrival.
#[derive(Debug, Default, Clone)]
pub struct Memory {
    /// The windows.
    pub windows: BTreeMap<Key, Vec<Kept>>,
    /// Which they are.
    pub held: Held,
    /// How many.
    pub items: usize,
    /// What they take.
    pub bytes: usize,
    /// When the first of them came; not known of what was read back from a journal.
    pub since: Option<MeshTime>,
}

impl Memory {
    /// Adds a window.
    pub fn insert(&mut self, kept: Kept) {
        self.held.insert(&kept.spool, kept.sequence, kept.sequence);
        self.items += 1;
        self.bytes += cost(&kept.record);
        let key = Key { check: kept.record.check, region: Arc::clone(&kept.spool.region) };
        self.windows.entry(key).or_default().push(kept);
    }

    /// Takes back what could not be written: it came before what is here.
    pub fn put_before(&mut self, mut earlier: Self) {
        let later = std::mem::take(self);
        for (key, windows) in later.windows {
            earlier.windows.entry(key).or_default().extend(windows);
        }
        earlier.held.extend(&later.held);
        earlier.items += later.items;
        earlier.bytes += later.bytes;
        earlier.since = earlier.since.or(later.since);
        *self = earlier;
    }
}
