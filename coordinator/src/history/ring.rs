//! The last hour of windows, in memory: the twin of the history store behind the same trait, for
//! tests and benches. Lost with the process.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use parallax_common::limits::{
    HISTORY_QUEUE_KIB_MAX, HISTORY_SPOOLS_MAX, RING_AGE_MAX, RING_BYTES_MAX,
};
use parallax_common::name::Uid;
use parallax_common::time::MeshTime;
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::cell::Cell;
use super::segment::SegmentError;
use super::{Appended, Batch, History, Kept, Question, Receipt, Spool, Stats, cost};

/// A bounded [`History`].
#[derive(Debug)]
pub struct Ring {
    age_max: Duration,
    bytes_max: usize,
    gate: Arc<Semaphore>,
    inner: Mutex<Inner>,
}

/// By age first: the end of the window, then the order of arrival.
type Place = (MeshTime, u64);

/// One check's windows: by region, then by start and arrival.
type Regions = BTreeMap<Arc<str>, BTreeMap<(MeshTime, u64), Place>>;

#[derive(Debug, Default)]
struct Inner {
    arrivals: u64,
    windows: BTreeMap<Place, Kept>,
    by_pair: HashMap<Uid, Regions>,
    spools: HashMap<Spool, Through>,
    stats: Stats,
}

/// How far one spool has come.
#[derive(Debug, Clone, Copy)]
struct Through {
    sequence: u64,
    heard: MeshTime,
}

impl Default for Ring {
    fn default() -> Self {
        Self::new(RING_AGE_MAX, RING_BYTES_MAX)
    }
}

impl Ring {
    /// A ring that keeps windows for `age_max` after their end, in at most `bytes_max`.
    pub fn new(age_max: Duration, bytes_max: usize) -> Self {
        let gate = Arc::new(Semaphore::new(HISTORY_QUEUE_KIB_MAX));
        Self { age_max, bytes_max, gate, inner: Mutex::new(Inner::default()) }
    }
}

impl History for Ring {
    fn gate(&self) -> &Arc<Semaphore> {
        &self.gate
    }

    fn append(&self, batch: Batch) -> Receipt {
        let Batch { spool, windows, now, .. } = batch;
        let mut inner = self.inner.lock();
        let mut appended = Appended::default();
        let mut through = inner.spools.get(&spool).map(|through| through.sequence);
        for (sequence, record) in windows {
            if through.is_some_and(|through| sequence <= through) {
                appended.duplicates += 1;
                continue;
            }
            through = Some(sequence);
            appended.kept += 1;
            inner.insert(Kept { spool: spool.clone(), sequence, record });
        }
        if let Some(sequence) = through {
            inner.spools.insert(spool, Through { sequence, heard: now });
        }
        inner.expire(now - self.age_max);
        inner.shrink(self.bytes_max);
        inner.forget_spools();
        Receipt::of(appended)
    }

    fn acknowledged(&self, spool: &Spool) -> Option<u64> {
        self.inner.lock().spools.get(spool).map(|through| through.sequence)
    }

    fn read(
        &self,
        check: &Uid,
        region: &str,
        from: MeshTime,
        to: MeshTime,
    ) -> Result<Vec<Kept>, SegmentError> {
        let inner = self.inner.lock();
        let pair = inner.by_pair.get(check).and_then(|regions| regions.get(region));
        let Some(pair) = pair else { return Ok(Vec::new()) };
        Ok(pair
            .range(..(to, 0))
            .filter_map(|(_, place)| inner.windows.get(place))
            .filter(|kept| kept.record.end > from)
            .cloned()
            .collect())
    }

    fn cells(
        &self,
        question: &Question,
        each: &mut dyn FnMut(&Arc<str>, &Cell),
    ) -> Result<(), SegmentError> {
        let inner = self.inner.lock();
        let Some(regions) = inner.by_pair.get(&question.check) else { return Ok(()) };
        for (region, pair) in regions {
            for kept in pair.values().filter_map(|place| inner.windows.get(place)) {
                let Ok(cell) = Cell::of_window(&kept.record.encoded, kept.record.unassigned) else {
                    continue;
                };
                let (start, _) = cell.place(question.tier);
                if start >= question.from && start < question.to {
                    each(region, &cell);
                }
            }
        }
        Ok(())
    }

    fn stats(&self) -> Stats {
        self.inner.lock().stats
    }
}

impl Inner {
    fn insert(&mut self, kept: Kept) {
        self.arrivals += 1;
        let record = &kept.record;
        let place = (record.end, self.arrivals);
        self.by_pair
            .entry(record.check)
            .or_default()
            .entry(kept.spool.region.clone())
            .or_default()
            .insert((record.start, self.arrivals), place);
        self.stats.windows += 1;
        self.stats.bytes += cost(record) as u64;
        self.windows.insert(place, kept);
    }

    fn expire(&mut self, before: MeshTime) {
        while self.windows.first_key_value().is_some_and(|((end, _), _)| *end <= before) {
            self.remove_oldest();
            self.stats.expired += 1;
        }
    }

    fn shrink(&mut self, bytes_max: usize) {
        while self.stats.bytes > bytes_max as u64 && self.remove_oldest() {
            self.stats.dropped += 1;
        }
    }

    fn remove_oldest(&mut self) -> bool {
        let Some(((_, arrival), kept)) = self.windows.pop_first() else { return false };
        let record = &kept.record;
        self.stats.windows -= 1;
        self.stats.bytes -= cost(record) as u64;
        if let Some(regions) = self.by_pair.get_mut(&record.check) {
            if let Some(pair) = regions.get_mut(&kept.spool.region) {
                pair.remove(&(record.start, arrival));
                if pair.is_empty() {
                    regions.remove(&kept.spool.region);
                }
            }
            if regions.is_empty() {
                self.by_pair.remove(&record.check);
            }
        }
        true
    }

    /// Drops the spool that has been quiet the longest: if it comes back, its windows are taken as
    /// new ones.
    fn forget_spools(&mut self) {
        while self.spools.len() > HISTORY_SPOOLS_MAX {
            let oldest = self.spools.iter().min_by_key(|(_, through)| through.heard);
            let Some(spool) = oldest.map(|(spool, _)| spool.clone()) else { return };
            self.spools.remove(&spool);
        }
    }
}

#[cfg(test)]
mod tests;
