//! The history store of a running coordinator: [`Disk`] with its two threads.
//!
//! `history` owns the journal: it gathers what arrives, writes it under one sync, tells everybody
//! that waits, and writes segments. While the disk is full it holds on to what it has and takes no more:
//! lanes wait at the gate, and probes spool. `history roller` rolls up and deletes beside it. Whoever reads
//! does so on a thread of their own.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parallax_common::limits::{HISTORY_GATHER_MAX, HISTORY_GATHER_WINDOWS, HISTORY_QUEUE_KIB_MAX};
use parallax_common::name::Uid;
use parallax_common::time::MeshTime;
use parallax_runtime::clock;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, oneshot};
use tracing::{info, warn};

use super::cell::Cell;
use super::disk::Disk;
use super::files::{Files, System};
use super::journal::Journal;
use super::segment::SegmentError;
use super::{Appended, Batch, History, Kept, Question, Receipt, Spool, Stats};
use crate::raft::fatal::{Fatal, Guard, chain};

/// How often it is looked whether a segment is to be written.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often it is looked whether something is to be rolled up or deleted.
const ROLL_EVERY: Duration = Duration::from_secs(10);

/// How long a full disk is left alone before it is tried again.
const FULL_FOR: Duration = Duration::from_secs(1);
/// The same for a whole segment.
const FLUSH_FULL_FOR: Duration = Duration::from_secs(10);

/// Mesh time, as the threads read it.
pub type Now = Arc<dyn Fn() -> MeshTime + Send + Sync>;

type Waiting = (Batch, oneshot::Sender<Appended>);

/// What the thread `history` is asked for.
enum Ask {
    /// To keep a batch.
    Keep(Waiting),
    /// To make a segment of what has come so far, and to say so.
    Settle(oneshot::Sender<()>),
}

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
    queue: Sender<Ask>,
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
    /// be written or synced: what was acknowledged could be lost. A full disk is waited for.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn open(dir: &Path, bytes_max: u64, now: Now, fatal: Fatal) -> Result<Self, SegmentError> {
        Self::open_on(Arc::new(System), dir, bytes_max, now, fatal)
    }

    /// The same, on other files than the system's.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn open_on(
        files: Arc<dyn Files>,
        dir: &Path,
        bytes_max: u64,
        now: Now,
        fatal: Fatal,
    ) -> Result<Self, SegmentError> {
        let (disk, journal) = Disk::open(files, dir, bytes_max)?;
        // What is too much, or too old since it stopped, goes before more comes.
        match disk.maintain(now()) {
            Ok(()) => {}
            Err(error) if error.is_sync() => return Err(error),
            Err(error) => {
                warn!(error = chain(&error), "history could not be put in order at start")
            }
        }
        let disk = Arc::new(disk);
        let (queue, arrivals) = mpsc::channel();
        let (stop_roller, stopped) = mpsc::channel();
        let writer = {
            let (disk, now, fatal) = (Arc::clone(&disk), Arc::clone(&now), Arc::clone(&fatal));
            thread("history", move || {
                let _guard = Guard { thread: "history", fatal: Arc::clone(&fatal) };
                let mut keeper = Keeper::new(&disk, journal, &arrivals, &now);
                if let Err(error) = keeper.run() {
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

    /// Resolves when everything that has come so far is in closed segments, or there is no room for
    /// them.
    pub async fn settle(&self) {
        let (tell, told) = oneshot::channel();
        let asked = self.0.running.lock().as_ref().map(|it| it.queue.send(Ask::Settle(tell)));
        if asked.is_some() {
            // Closed meanwhile: nothing more settles.
            let _ = told.await;
        }
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
struct Keeper<'a> {
    disk: &'a Disk,
    journal: Journal,
    arrivals: &'a Receiver<Ask>,
    now: &'a Now,
    /// What came while a full disk was waited for. The gate bounds it.
    backlog: VecDeque<Waiting>,
    settling: Vec<oneshot::Sender<()>>,
    /// Not before this is a segment tried again.
    flush_after: Option<Instant>,
    /// Everybody who could ask has gone.
    over: bool,
}

impl<'a> Keeper<'a> {
    fn new(disk: &'a Disk, journal: Journal, arrivals: &'a Receiver<Ask>, now: &'a Now) -> Self {
        let (backlog, settling) = (VecDeque::new(), Vec::new());
        Self { disk, journal, arrivals, now, backlog, settling, flush_after: None, over: false }
    }

    /// Until the store is closed, or the disk refuses.
    fn run(&mut self) -> Result<(), SegmentError> {
        loop {
            if self.backlog.is_empty() && !self.over {
                self.hear(LOOK_EVERY);
            }
            let gathered = self.gather();
            if !gathered.is_empty() && !self.keep(gathered)? {
                return Ok(());
            }
            let due = self.disk.should_flush((self.now)()) || !self.settling.is_empty();
            if due && self.flush_after.is_none_or(|after| clock::instant() >= after) {
                self.flush()?;
            }
            self.settling.clear();
            if self.over && self.backlog.is_empty() {
                return Ok(());
            }
        }
    }

    /// Takes what comes within a time; whether something did.
    fn hear(&mut self, within: Duration) -> bool {
        match self.arrivals.recv_timeout(within) {
            Ok(Ask::Keep(waiting)) => self.backlog.push_back(waiting),
            Ok(Ask::Settle(tell)) => self.settling.push(tell),
            Err(RecvTimeoutError::Timeout) => return false,
            Err(RecvTimeoutError::Disconnected) => self.over = true,
        }
        !self.over
    }

    /// What one sync carries: all that arrives within a moment, or enough for one.
    fn gather(&mut self) -> Vec<Waiting> {
        let mut gathered = Vec::new();
        let mut windows = 0;
        let until = clock::instant() + HISTORY_GATHER_MAX;
        while windows < HISTORY_GATHER_WINDOWS {
            let Some(next) = self.backlog.pop_front() else {
                let left = until.saturating_duration_since(clock::instant());
                if gathered.is_empty() || !self.settling.is_empty() || !self.hear(left) {
                    break;
                }
                continue;
            };
            windows += next.0.windows.len();
            gathered.push(next);
        }
        gathered
    }

    /// Writes what was gathered and tells everybody; waits while the disk is full. Whether it was
    /// written: it is not when the store is closed meanwhile, and then nobody is told.
    fn keep(&mut self, gathered: Vec<Waiting>) -> Result<bool, SegmentError> {
        let (batches, waiting): (Vec<_>, Vec<_>) = gathered.into_iter().unzip();
        let appended = loop {
            let done = match self.disk.must_flush() {
                // Nothing more may come into memory.
                true => self.disk.flush(&mut self.journal),
                false => Ok(()),
            };
            let done = done.and_then(|()| self.disk.commit(&mut self.journal, &batches));
            match done {
                Err(full) if full.is_full() => {
                    self.full(&full);
                    self.settling.clear();
                    if self.over || !self.wait(FULL_FOR) {
                        return Ok(false);
                    }
                }
                done => break done?,
            }
        };
        self.room();
        for (tell, appended) in waiting.into_iter().zip(appended) {
            // A lane may have ended meanwhile.
            let _ = tell.send(appended);
        }
        Ok(true)
    }

    fn flush(&mut self) -> Result<(), SegmentError> {
        match self.disk.flush(&mut self.journal) {
            Err(full) if full.is_full() => {
                self.full(&full);
                self.flush_after = Some(clock::instant() + FLUSH_FULL_FOR);
                Ok(())
            }
            done => {
                self.flush_after = None;
                if done.is_ok() {
                    self.room();
                }
                done
            }
        }
    }

    /// Lets a time pass; false when the store is closed meanwhile.
    fn wait(&mut self, length: Duration) -> bool {
        let until = clock::instant() + length;
        loop {
            let left = until.saturating_duration_since(clock::instant());
            if left.is_zero() {
                return true;
            }
            self.hear(left);
            if self.over {
                return false;
            }
        }
    }

    fn full(&self, error: &SegmentError) {
        if self.disk.note_full(Some((self.now)())) {
            let error = chain(error);
            warn!(error, "the disk of history is full: windows wait at their probes");
        }
    }

    fn room(&self) {
        if self.flush_after.is_none() && self.disk.note_full(None) {
            info!("the disk of history has room again");
        }
    }
}

/// The thread `history roller`. What fails but for a sync is tried again: nothing that was
/// acknowledged depends on it.
fn keep(disk: &Disk, stopped: &Receiver<()>, now: &Now, fatal: &Fatal) {
    while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(ROLL_EVERY) {
        match disk.maintain(now()) {
            Ok(()) => {}
            Err(error) if error.is_sync() => return fatal(&format!("history: {}", chain(&error))),
            Err(error) => warn!(error = chain(&error), "history could not be kept in order"),
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
            let _ = running.queue.send(Ask::Keep((batch, tell)));
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

    fn on_disk(&self) -> Option<Store> {
        Some(self.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::contract;
    use crate::history::files::twin::{Fault, Twin};
    use crate::history::tier::Tier;

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

    fn one(sequence: u64) -> Batch {
        let windows = vec![(sequence, contract::window(1, 10))];
        Batch { spool: contract::spool("eu", 1), windows, now: contract::at(20), room: None }
    }

    /// Until something holds, or a good while has passed.
    fn until(what: &str, holds: impl Fn() -> bool) {
        let late = clock::instant() + Duration::from_secs(20);
        while !holds() {
            assert!(clock::instant() < late, "{what}");
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_full_disk_holds_windows_back_and_the_store_goes_on_when_there_is_room() {
        let files = Twin::default();
        let now: Now = Arc::new(|| contract::at(20));
        let (on, dir) = (Arc::new(files.clone()), Path::new("/history"));
        let store = Store::open_on(on, dir, u64::MAX, now, fail()).unwrap();
        files.set(Fault::FullAt(0, u64::MAX / 2));
        let mut waiting = store.append(one(1));
        let mut behind = store.append(one(2));
        until("it to be said", || store.stats().full.is_some());
        assert!(waiting.0.try_recv().is_err() && behind.0.try_recv().is_err());
        assert_eq!(store.acknowledged(&contract::spool("eu", 1)), None);
        files.set(Fault::None);
        assert_eq!(waiting.wait().unwrap().kept, 1);
        assert_eq!(behind.wait().unwrap().kept, 1);
        assert_eq!(store.stats().full, None);
        // Closed while it is full: nobody is told that it was kept.
        files.set(Fault::FullAt(0, u64::MAX / 2));
        let lost = store.append(one(3));
        store.close();
        assert!(lost.wait().is_err());
    }

    #[test]
    fn a_failed_sync_of_the_journal_ends_the_process_and_nobody_is_told() {
        let files = Twin::default();
        let now: Now = Arc::new(|| contract::at(20));
        let (tell, told) = mpsc::channel();
        let fatal: Fatal = Arc::new(move |why| {
            let _ = tell.send(why.to_owned());
        });
        let (on, dir) = (Arc::new(files.clone()), Path::new("/history"));
        let store = Store::open_on(on, dir, u64::MAX, now, fatal).unwrap();
        // The write, then its sync.
        files.set(Fault::FailAt(files.steps() + 1));
        let receipt = store.append(one(1));
        let why = told.recv_timeout(Duration::from_secs(20)).unwrap();
        assert!(why.contains("sync the journal"), "{why}");
        assert!(receipt.wait().is_err());
        assert!(store.append(one(2)).wait().is_err(), "it takes nothing any more");
        assert_eq!(
            (store.acknowledged(&contract::spool("eu", 1)), files.syncs_failed()),
            (None, 1)
        );
    }

    #[test]
    fn a_store_that_is_opened_with_too_much_has_room_before_it_takes_more() {
        let dir = tempfile::tempdir().unwrap();
        let (disk, mut journal) = Disk::open(Arc::new(System), dir.path(), u64::MAX).unwrap();
        for n in 0..20 {
            let windows = (0..30).map(|m| contract::window(1, n * 300 + m * 10));
            let windows = (n as u64 * 30 + 1..).zip(windows).collect();
            let batch = Batch {
                spool: contract::spool("eu", 1),
                windows,
                now: contract::at(0),
                room: None,
            };
            disk.commit(&mut journal, &[batch]).unwrap();
            disk.flush(&mut journal).unwrap();
        }
        let budget = disk.stats().bytes / 2;
        drop((disk, journal));
        // Nothing is due by its time.
        let now: Now = Arc::new(|| contract::at(300));
        let store = Store::open(dir.path(), budget, now, fail()).unwrap();
        let stats = store.stats();
        assert!(stats.bytes <= budget && stats.dropped > 0, "{stats:?}");
        let all = contract::cells(&store, 1, "eu", Tier::Hours, 86_400);
        assert_eq!(all.iter().flat_map(|cell| cell.counts.values()).sum::<u64>(), 6_000);
    }

    #[tokio::test]
    async fn what_has_come_is_in_a_segment_once_it_has_settled() {
        let dir = tempfile::tempdir().unwrap();
        let now: Now = Arc::new(|| contract::at(20));
        let store = Store::open(dir.path(), u64::MAX, now, fail()).unwrap();
        store.append(one(1)).kept().await.unwrap();
        assert_eq!(store.stats().segments, 0);
        store.settle().await;
        assert_eq!((store.stats().segments, store.stats().windows), (1, 1));
        tokio::task::spawn_blocking(move || {
            store.close();
            tokio::runtime::Handle::current().block_on(store.settle());
        })
        .await
        .unwrap();
    }

    const LONG: Duration = Duration::from_secs(4_000);
}
