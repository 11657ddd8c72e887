//! Write-behind: applied rows wait here until one thread has written and synced them.
//!
//! Nobody is answered after it, so it lingers: what is applied within a moment is one batch with one
//! sync, in which each row is written once, however often it changed. Otherwise its syncs would stand
//! in the way of the log's, which somebody waits for.
//!
//! The queue is bounded. Proposals are refused before it is full; at a full queue apply waits, the
//! only place where it ever does, and says so.

use std::collections::VecDeque;
use std::sync::Arc;

use parallax_common::limits;
use parking_lot::{Condvar, Mutex};
use tracing::warn;

use super::rows::{RowChange, RowError, RowStore};
use crate::mutant::{self, Mutant};

/// The queue between apply and the row store. Clones are the same queue.
#[derive(Debug, Clone, Default)]
pub struct WriteBehind {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// Something was added, or no more will be.
    added: Condvar,
    /// Something was synced, or never will be.
    synced: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Batch>,
    bytes: usize,
    synced: u64,
    /// The newest index that somebody waits for.
    wanted: u64,
    stalls: u64,
    closed: bool,
    failed: bool,
}

#[derive(Debug)]
struct Batch {
    changes: Vec<RowChange>,
    applied: u64,
    bytes: usize,
}

/// The row store can take no more, ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the row store has stopped")]
pub struct Stopped;

/// How the queue does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backlog {
    /// Batches that wait.
    pub batches: usize,
    /// Bytes in them.
    pub bytes: usize,
    /// Newest index that is written and synced.
    pub synced: u64,
    /// How often apply had to wait.
    pub stalls: u64,
}

impl Backlog {
    /// At three quarters of either bound: nothing new is to be proposed.
    pub fn is_pressing(&self) -> bool {
        self.batches * 4 >= limits::STORE_QUEUE_MAX * 3
            || self.bytes * 4 >= limits::STORE_QUEUE_BYTES_MAX * 3
    }
}

impl State {
    fn is_full(&self) -> bool {
        self.waiting.len() >= limits::STORE_QUEUE_MAX || self.bytes >= limits::STORE_QUEUE_BYTES_MAX
    }

    /// What waits is to be written now: somebody waits for it, or it is a good part of what may wait.
    fn is_urgent(&self) -> bool {
        self.closed
            || self.wanted > self.synced
            || self.waiting.len() * 4 >= limits::STORE_QUEUE_MAX
            || self.bytes >= limits::STORE_BATCH_BYTES_MAX
    }
}

impl WriteBehind {
    /// A queue behind a store whose rows are applied to `synced`.
    pub fn new(synced: u64) -> Self {
        let behind = Self::default();
        behind.shared.state.lock().synced = synced;
        behind
    }

    /// Adds what an applied batch changed. Waits while the queue is full.
    pub fn push(&self, changes: Vec<RowChange>, applied: u64) -> Result<(), Stopped> {
        let bytes = changes.iter().map(RowChange::bytes).sum();
        let mut state = self.shared.state.lock();
        if state.is_full() && !state.failed {
            state.stalls += 1;
            warn!(
                batches = state.waiting.len(),
                bytes = state.bytes,
                applied,
                "apply waits for the row store"
            );
            while state.is_full() && !state.failed {
                self.shared.synced.wait(&mut state);
            }
        }
        if state.failed || state.closed {
            return Err(Stopped);
        }
        let (was_empty, was_urgent) = (state.waiting.is_empty(), state.is_urgent());
        state.bytes += bytes;
        state.waiting.push_back(Batch { changes, applied, bytes });
        // Between the two the thread lingers, and a wake would be for nothing.
        if was_empty || (!was_urgent && state.is_urgent()) {
            self.shared.added.notify_one();
        }
        Ok(())
    }

    /// How the queue does.
    pub fn backlog(&self) -> Backlog {
        let state = self.shared.state.lock();
        Backlog {
            batches: state.waiting.len(),
            bytes: state.bytes,
            synced: state.synced,
            stalls: state.stalls,
        }
    }

    /// Has everything up to `index` written without delay, and waits until it is synced.
    pub fn wait_synced(&self, index: u64) -> Result<(), Stopped> {
        let mut state = self.shared.state.lock();
        if state.wanted < index {
            state.wanted = index;
            self.shared.added.notify_one();
        }
        while state.synced < index {
            if state.failed || (state.closed && state.waiting.is_empty()) {
                return Err(Stopped);
            }
            self.shared.synced.wait(&mut state);
        }
        Ok(())
    }

    /// Nothing more will be added; [`WriteBehind::run`] ends when the rest is written.
    pub fn close(&self) {
        self.shared.state.lock().closed = true;
        self.shared.added.notify_all();
        self.shared.synced.notify_all();
    }

    /// Forgets what waits: a snapshot has taken the place of everything up to `synced`.
    pub fn reset(&self, synced: u64) {
        let mut state = self.shared.state.lock();
        state.waiting.clear();
        state.bytes = 0;
        state.synced = synced;
        self.shared.synced.notify_all();
    }

    /// Writes and syncs what waits, up to a bound, as one batch. The index it led to; none when
    /// nothing waited.
    pub fn step(&self, rows: &dyn RowStore) -> Result<Option<u64>, RowError> {
        // What is being written stays counted until it is synced, so that the bound holds for it.
        let (changes, applied, batches, bytes) = {
            let mut state = self.shared.state.lock();
            let (mut bytes, mut batches) = (0, 0);
            let waiting = state.waiting.iter().map(|batch| batch.changes.len()).sum();
            let mut changes = Vec::with_capacity(waiting);
            let mut applied = None;
            for batch in &mut state.waiting {
                if batches > 0 && bytes + batch.bytes > limits::STORE_BATCH_BYTES_MAX {
                    break;
                }
                changes.append(&mut batch.changes);
                applied = Some(batch.applied);
                bytes += batch.bytes;
                batches += 1;
            }
            let Some(applied) = applied else { return Ok(None) };
            (changes, applied, batches, bytes)
        };
        let index = applied + u64::from(mutant::on(Mutant::RowsIndexAhead));
        let first = match mutant::on(Mutant::RowsAfterIndex) {
            true => rows.write(&[], index),
            false => Ok(()),
        };
        let result = first.and_then(|()| rows.write(&changes, index));
        let mut state = self.shared.state.lock();
        match result {
            Ok(()) => {
                state.waiting.drain(..batches);
                state.bytes -= bytes;
                state.synced = applied;
            }
            Err(_) => state.failed = true,
        }
        self.shared.synced.notify_all();
        drop(state);
        result.map(|()| Some(applied))
    }

    /// The store thread: writes until the queue is closed and empty.
    pub fn run(&self, rows: &dyn RowStore) -> Result<(), RowError> {
        while self.linger() {
            self.step(rows)?;
        }
        Ok(())
    }

    /// Waits until there is something to write, and a while for more. False: nothing comes any more.
    fn linger(&self) -> bool {
        let mut state = self.shared.state.lock();
        while state.waiting.is_empty() {
            if state.closed {
                return false;
            }
            self.shared.added.wait(&mut state);
        }
        if !state.is_urgent() {
            // Woken or not, it is time.
            self.shared.added.wait_for(&mut state, limits::STORE_LINGER);
        }
        true
    }

    /// The store thread died without an error of its own: whoever waits must not wait for ever.
    pub fn fail(&self) {
        self.shared.state.lock().failed = true;
        self.shared.synced.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::store::rows::memory::{Fault, MemRows};

    fn change(n: u64) -> Vec<RowChange> {
        vec![RowChange::put(format!("k{n}"), "v")]
    }

    #[test]
    fn what_waits_is_written_as_one_batch_with_the_last_index() {
        let (behind, rows) = (WriteBehind::new(0), MemRows::default());
        for n in 1..=10 {
            behind.push(change(n), n).unwrap();
        }
        assert_eq!(behind.backlog().batches, 10);
        assert_eq!(behind.step(&rows).unwrap(), Some(10));
        assert_eq!(behind.step(&rows).unwrap(), None);
        assert_eq!(rows.applied_index().unwrap(), 10);
        assert_eq!(rows.scan(b"k", None, 100).unwrap().len(), 10);
        let backlog = behind.backlog();
        assert_eq!((backlog.batches, backlog.bytes, backlog.synced), (0, 0, 10));
    }

    #[test]
    fn it_presses_at_three_quarters_and_a_push_at_the_bound_waits_and_is_counted() {
        let (behind, rows) = (WriteBehind::new(0), MemRows::default());
        let max = limits::STORE_QUEUE_MAX as u64;
        for n in 1..max * 3 / 4 {
            behind.push(Vec::new(), n).unwrap();
        }
        assert!(!behind.backlog().is_pressing());
        for n in max * 3 / 4..=max {
            behind.push(Vec::new(), n).unwrap();
            assert!(behind.backlog().is_pressing());
        }
        let waiting = {
            let behind = behind.clone();
            thread::spawn(move || behind.push(Vec::new(), max + 1))
        };
        while behind.backlog().stalls == 0 {
            thread::yield_now();
        }
        assert_eq!(behind.backlog().batches as u64, max);
        behind.step(&rows).unwrap();
        waiting.join().unwrap().unwrap();
        behind.step(&rows).unwrap();
        assert_eq!(rows.applied_index().unwrap(), max + 1);
    }

    #[test]
    fn large_batches_press_by_their_bytes() {
        let behind = WriteBehind::new(0);
        let big = RowChange::put("k", vec![0; limits::STORE_QUEUE_BYTES_MAX / 4]);
        for n in 1..=2 {
            behind.push(vec![big.clone()], n).unwrap();
        }
        assert!(!behind.backlog().is_pressing());
        behind.push(vec![big], 3).unwrap();
        assert!(behind.backlog().is_pressing());
    }

    #[test]
    fn a_failed_write_ends_every_wait() {
        let (behind, rows) = (WriteBehind::new(0), MemRows::default());
        rows.fail_after(0, Fault::RefuseSync);
        behind.push(change(1), 1).unwrap();
        let waiting = {
            let behind = behind.clone();
            thread::spawn(move || behind.wait_synced(1))
        };
        assert!(behind.step(&rows).is_err());
        assert_eq!(waiting.join().unwrap(), Err(Stopped));
        assert_eq!(behind.push(change(2), 2), Err(Stopped));
    }

    #[test]
    fn what_somebody_waits_for_is_written_at_once_and_all_else_after_a_while() {
        let (behind, rows) = (WriteBehind::new(0), MemRows::default());
        let thread = {
            let (behind, rows) = (behind.clone(), rows.clone());
            thread::spawn(move || behind.run(&rows))
        };
        for n in 1..=1_000 {
            behind.push(change(n % 7), n).unwrap();
            if n % 100 == 0 {
                behind.wait_synced(n).unwrap();
                assert!(rows.applied_index().unwrap() >= n);
            }
        }
        behind.push(change(3), 1_001).unwrap();
        // Nobody asks for it, and it is written all the same.
        while rows.applied_index().unwrap() < 1_001 {
            thread::yield_now();
        }
        behind.close();
        thread.join().unwrap().unwrap();
    }

    #[test]
    fn what_comes_in_a_burst_is_urgent_before_it_presses() {
        let behind = WriteBehind::new(0);
        let max = limits::STORE_QUEUE_MAX as u64;
        for n in 1..=max / 4 {
            assert!(!behind.shared.state.lock().is_urgent());
            behind.push(Vec::new(), n).unwrap();
        }
        assert!(behind.shared.state.lock().is_urgent());
        assert!(!behind.backlog().is_pressing());
    }

    #[test]
    fn closing_writes_the_rest_and_ends_the_thread() {
        let (behind, rows) = (WriteBehind::new(0), MemRows::default());
        let thread = {
            let (behind, rows) = (behind.clone(), rows.clone());
            thread::spawn(move || behind.run(&rows))
        };
        for n in 1..=100 {
            behind.push(change(n), n).unwrap();
        }
        behind.close();
        thread.join().unwrap().unwrap();
        assert_eq!(rows.applied_index().unwrap(), 100);
        assert_eq!(behind.push(change(101), 101), Err(Stopped));
        assert_eq!(behind.wait_synced(101), Err(Stopped));
        assert_eq!(behind.wait_synced(100), Ok(()));
    }
}
