//! The history store of a running coordinator: [`Disk`] with its two threads.
//!
//! `history` owns the journal: it gathers what arrives, writes it under one sync, tells everybody
//! that waits, and writes segments. `history roller` rolls up and deletes beside it. Whoever reads
//! does so on a thread of their own.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use parallax_common::limits::{HISTORY_GATHER_MAX, HISTORY_GATHER_WINDOWS, HISTORY_QUEUE_KIB_MAX};
use parallax_common::name::Uid;
use parallax_common::time::MeshTime;
use parallax_runtime::clock;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, oneshot};
use tracing::warn;

use super::cell::Cell;
use super::disk::Disk;
use super::journal::Journal;
use super::segment::SegmentError;
use super::{Appended, Batch, History, Kept, Question, Receipt, Spool, Stats};
use crate::raft::fatal::{Fatal, Guard, chain};

/// How often it is looked whether a segment is to be written.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often it is looked whether something is to be rolled up or deleted.
const ROLL_EVERY: Duration = Duration::from_secs(10);

/// Mesh time, as the threads read it.
pub type Now = Arc<dyn Fn() -> MeshTime + Send + Sync>;

type Waiting = (Batch, oneshot::Sender<Appended>);

/// A [`History`] on the disk. Clones share it.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    disk: Arc<Disk>,
    gate: Arc<Semaphore>,
    running: Mutex<Option<Running>>,
}

/// What ends with the store.
struct Running {
    queue: Sender<Waiting>,
    stop_roller: Sender<()>,
    threads: Vec<JoinHandle<()>>,
}

fn thread(
    name: &str,
    body: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, SegmentError> {
    let named = std::thread::Builder::new().name(name.to_owned());
    named.spawn(body).map_err(SegmentError::io("start a thread"))
}

impl Store {
    /// Opens the directory and starts the threads. `fatal` ends the process when the journal cannot
    /// be written: what was acknowledged could be lost.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn open(dir: &Path, bytes_max: u64, now: Now, fatal: Fatal) -> Result<Self, SegmentError> {
        let (disk, journal) = Disk::open(dir, bytes_max)?;
        let disk = Arc::new(disk);
        let (queue, arrivals) = mpsc::channel();
        let (stop_roller, stopped) = mpsc::channel();
        let writer = {
            let (disk, now, fatal) = (Arc::clone(&disk), Arc::clone(&now), Arc::clone(&fatal));
            thread("history", move || {
                let _guard = Guard { thread: "history", fatal: Arc::clone(&fatal) };
                if let Err(error) = write(&disk, journal, &arrivals, &now) {
                    fatal(&format!("history: {}", chain(&error)));
                }
            })?
        };
        let roller = {
            let disk = Arc::clone(&disk);
            thread("history roller", move || {
                let _guard = Guard { thread: "history roller", fatal: Arc::clone(&fatal) };
                keep(&disk, &stopped, &now, &fatal);
            })?
        };
        let threads = vec![writer, roller];
        let running = Mutex::new(Some(Running { queue, stop_roller, threads }));
        let gate = Arc::new(Semaphore::new(HISTORY_QUEUE_KIB_MAX));
        Ok(Self(Arc::new(Inner { disk, gate, running })))
    }

    /// What is below the threads: segments, for those who carry them elsewhere.
    pub fn disk(&self) -> &Arc<Disk> {
        &self.0.disk
    }

    /// Takes no more, writes what has arrived, and waits for the threads.
    pub fn close(&self) {
        self.0.close();
    }
}

impl Inner {
    fn close(&self) {
        let Some(running) = self.running.lock().take() else { return };
        let Running { queue, stop_roller, threads } = running;
        drop((queue, stop_roller));
        for thread in threads {
            // One that panicked has said so.
            let _ = thread.join();
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}

/// The thread `history`.
fn write(
    disk: &Disk,
    mut journal: Journal,
    arrivals: &Receiver<Waiting>,
    now: &Now,
) -> Result<(), SegmentError> {
    loop {
        match arrivals.recv_timeout(LOOK_EVERY) {
            Ok(first) => {
                let (batches, waiting): (Vec<_>, Vec<_>) =
                    gather(first, arrivals).into_iter().unzip();
                let appended = disk.commit(&mut journal, batches)?;
                for (tell, appended) in waiting.into_iter().zip(appended) {
                    // A lane may have ended meanwhile.
                    let _ = tell.send(appended);
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
        if disk.should_flush(now()) {
            disk.flush(&mut journal)?;
        }
    }
}

/// What one sync carries: all that arrives within a moment, or enough for one.
fn gather(first: Waiting, arrivals: &Receiver<Waiting>) -> Vec<Waiting> {
    let until = clock::instant() + HISTORY_GATHER_MAX;
    let mut windows = first.0.windows.len();
    let mut gathered = vec![first];
    while windows < HISTORY_GATHER_WINDOWS {
        let left = until.saturating_duration_since(clock::instant());
        let Ok(next) = arrivals.recv_timeout(left) else { break };
        windows += next.0.windows.len();
        gathered.push(next);
    }
    gathered
}

/// The thread `history roller`. What fails but for a sync is tried again: nothing that was
/// acknowledged depends on it.
fn keep(disk: &Disk, stopped: &Receiver<()>, now: &Now, fatal: &Fatal) {
    while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(ROLL_EVERY) {
        match disk.maintain(now()) {
            Ok(()) => {}
            Err(error) if error.is_sync() => return fatal(&format!("history: {}", chain(&error))),
            Err(error) => warn!(error = chain(&error), "history could not be rolled up"),
        }
    }
}

impl History for Store {
    fn gate(&self) -> &Arc<Semaphore> {
        &self.0.gate
    }

    fn append(&self, batch: Batch) -> Receipt {
        let (tell, receipt) = Receipt::new();
        if let Some(running) = &*self.0.running.lock() {
            // A thread that is gone has ended the process; the receipt says that it is closed.
            let _ = running.queue.send((batch, tell));
        }
        receipt
    }

    fn acknowledged(&self, spool: &Spool) -> Option<u64> {
        self.0.disk.acknowledged(spool)
    }

    fn read(
        &self,
        check: &Uid,
        region: &str,
        from: MeshTime,
        to: MeshTime,
    ) -> Result<Vec<Kept>, SegmentError> {
        self.0.disk.read(check, region, from, to)
    }

    fn cells(
        &self,
        question: &Question,
        each: &mut dyn FnMut(&Arc<str>, &Cell),
    ) -> Result<(), SegmentError> {
        self.0.disk.cells(question, each)
    }

    fn stats(&self) -> Stats {
        self.0.disk.stats()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::contract;

    fn fail() -> Fatal {
        Arc::new(|why| panic!("{why}"))
    }

    #[test]
    fn the_store_keeps_the_contract() {
        contract::suite(|| {
            let dir = tempfile::tempdir().unwrap();
            let now: Now = Arc::new(|| contract::at(4_000));
            let store = Store::open(dir.path(), u64::MAX, now, fail()).unwrap();
            (store, dir)
        });
    }

    #[test]
    fn what_was_told_to_be_kept_is_there_after_a_restart_and_not_taken_again() {
        let dir = tempfile::tempdir().unwrap();
        let now: Now = Arc::new(|| contract::at(4_000));
        let open = || Store::open(dir.path(), u64::MAX, Arc::clone(&now), fail()).unwrap();
        let store = open();
        let spool = contract::spool("eu", 1);
        let windows = || vec![(1, contract::window(1, 10)), (2, contract::window(1, 20))];
        let batch = || Batch { spool: spool.clone(), windows: windows(), now: now(), room: None };
        assert_eq!(store.append(batch()).wait().unwrap().kept, 2);
        store.close();
        assert!(store.append(batch()).wait().is_err(), "a closed store keeps nothing");
        let store = open();
        assert_eq!(store.acknowledged(&spool), Some(2));
        let again = store.append(batch()).wait().unwrap();
        assert_eq!(again, Appended { kept: 0, duplicates: 2 });
        let check = contract::check(1);
        assert_eq!(store.read(&check, "eu", now() - 2 * LONG, now()).unwrap().len(), 2);
        store.close();
    }

    const LONG: Duration = Duration::from_secs(4_000);
}
