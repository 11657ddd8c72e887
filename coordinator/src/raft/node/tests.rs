//! The node with its threads, on real directories and on twins.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::super::log::engine::EngineLog;
use super::super::log::memory::{Fault, MemDisk, MemLog};
use super::super::outbound::Alone;
use super::super::test_machine::{Entries, TestMachine, entry, stored};
use super::*;
use crate::store::rows::memory::MemRows;
use crate::store::rows::sled::SledRows;
use crate::store::snapshot::file::FileSnapshots;
use crate::store::snapshot::memory::MemSnapshots;

/// What a proposer of the test machine is told.
pub(in crate::raft) type Answer = Result<Committed<usize>, ProposeError>;

const LONG: Duration = Duration::from_secs(20);

fn never() -> Fatal {
    Arc::new(|reason| panic!("{reason}"))
}

struct Running {
    handle: NodeHandle<usize>,
    seen: Arc<Mutex<Entries>>,
}

fn config() -> Config {
    let mut config = Config::new(1, Some(vec![1]));
    config.snapshot_after_entries = 300;
    config
}

fn on_disk(dir: &Path) -> Running {
    let stores = Stores {
        log: EngineLog::open(&dir.join("log")).unwrap(),
        rows: Arc::new(SledRows::open(&dir.join("rows")).unwrap()),
        snapshots: Arc::new(FileSnapshots::open(&dir.join("snapshots")).unwrap()),
        outbound: Box::new(Alone),
    };
    let seen = Arc::default();
    let machine = TestMachine::publishing(&seen);
    Running { handle: start(config(), machine, stores, never()).unwrap(), seen }
}

fn in_memory(disk: &MemDisk, config: Config, fatal: Fatal) -> Running {
    let stores = Stores {
        log: MemLog::open(disk).unwrap(),
        rows: Arc::new(MemRows::default()),
        snapshots: Arc::new(MemSnapshots::default()),
        outbound: Box::new(Alone),
    };
    let seen = Arc::default();
    let machine = TestMachine::publishing(&seen);
    Running { handle: start(config, machine, stores, fatal).unwrap(), seen }
}

impl Running {
    /// Proposes `values`, many at a time; all must be committed.
    async fn propose(&self, values: std::ops::Range<u64>) {
        let mut tasks = tokio::task::JoinSet::new();
        for value in values {
            let handle = self.handle.clone();
            tasks.spawn(async move { handle.propose(entry(value), LONG).await });
        }
        while let Some(answer) = tasks.join_next().await {
            answer.unwrap().unwrap();
        }
    }

    fn seen(&self) -> Entries {
        self.seen.lock().clone()
    }
}

/// An entry that waits until the state is complete: a lone voter needs a moment to lead.
async fn leads(handle: &NodeHandle<usize>) {
    let mut leadership = handle.leadership();
    let led = leadership.wait_for(|leadership| leadership.leader);
    tokio::time::timeout(LONG, led).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_entries_are_there_after_a_restart_from_disk() {
    let dir = tempfile::tempdir().unwrap();
    let node = on_disk(dir.path());
    leads(&node.handle).await;
    node.propose(1..1_001).await;
    let before = node.seen();
    assert_eq!(before.len(), 1_000);
    // Told after the answers: what was proposed together is applied, and answered, together.
    let mut applied = node.handle.applied_watch();
    let applied = applied.wait_for(|applied| *applied >= 1_001);
    tokio::time::timeout(LONG, applied).await.unwrap().unwrap();
    node.handle.stop().await;

    let node = on_disk(dir.path());
    assert_eq!(node.handle.recovered().rebuilt, None);
    leads(&node.handle).await;
    assert_eq!(node.seen(), before);
    assert_eq!(stored(node.handle.rows().as_ref()), (before.clone(), before));
    node.propose(1_001..1_011).await;
    assert_eq!(node.seen().len(), 1_010);
    node.handle.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_are_lost_are_rebuilt_from_snapshot_files_and_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let node = on_disk(dir.path());
    leads(&node.handle).await;
    // In rounds, so that several snapshots are due, and wait until the log was cut.
    let mut value = 1;
    while node.handle.status().first_index == 2 {
        node.propose(value..value + 100).await;
        value += 100;
        tokio::time::sleep(TICK).await;
        assert!(value < 20_000, "the log is never cut: {:?}", node.handle.status());
    }
    let before = node.seen();
    node.handle.stop().await;

    std::fs::remove_dir_all(dir.path().join("rows")).unwrap();
    let node = on_disk(dir.path());
    assert!(node.handle.recovered().rebuilt.is_some());
    leads(&node.handle).await;
    assert_eq!(node.seen(), before);
    let rows = node.handle.rows();
    node.handle.stop().await;
    assert_eq!(stored(rows.as_ref()), (before.clone(), before));
}

#[tokio::test]
async fn a_read_sees_everything_that_was_acknowledged_before_it() {
    let node = in_memory(&MemDisk::default(), config(), never());
    leads(&node.handle).await;
    for value in 1..50 {
        let committed = node.handle.propose(entry(value), LONG).await.unwrap();
        assert_eq!(committed.output, value as usize);
        let index = node.handle.read_index(LONG).await.unwrap();
        assert!(index >= committed.index);
        assert_eq!(node.seen().get(&committed.index), Some(&value));
        assert!(*node.handle.applied_watch().borrow() <= index);
    }
    node.handle.stop().await;
}

#[tokio::test]
async fn a_read_before_the_first_entry_of_the_term_waits_for_it() {
    let node = in_memory(&MemDisk::default(), config(), never());
    // Nobody waited for the election here.
    assert!(node.handle.read_index(LONG).await.unwrap() >= 2);
    node.handle.stop().await;
}

#[tokio::test]
async fn what_cannot_be_proposed_is_refused_with_its_reason() {
    let node = in_memory(&MemDisk::default(), config(), never());
    leads(&node.handle).await;
    let max = limits::ENTRY_BYTES_MAX;
    let large = Bytes::from(vec![1; max + 1]);
    let refused = node.handle.propose(large, LONG).await;
    assert_eq!(refused, Err(ProposeError::TooLarge { bytes: max + 1, max }));
    assert_eq!(node.handle.propose(Bytes::new(), LONG).await, Err(ProposeError::Empty));
    let other = node.handle.clone();
    node.handle.stop().await;
    assert_eq!(other.propose(entry(1), LONG).await, Err(ProposeError::Stopped));
    assert_eq!(other.read_index(LONG).await, Err(ReadError::Stopped));
}

#[tokio::test]
async fn a_member_outside_of_any_cluster_leads_nothing() {
    let node = in_memory(&MemDisk::default(), Config::new(2, None), never());
    let refused = node.handle.propose(entry(1), LONG).await;
    assert_eq!(refused, Err(ProposeError::NotLeader { leader: None }));
    let allowed = Duration::from_millis(120);
    assert_eq!(node.handle.read_index(allowed).await, Err(ReadError::Deadline(allowed)));
    node.handle.stop().await;
}

#[tokio::test]
async fn an_entry_of_an_earlier_life_answers_nobody() {
    let disk = MemDisk::default();
    let mut same_life = config();
    same_life.life = 7;
    let node = in_memory(&disk, same_life.clone(), never());
    leads(&node.handle).await;
    node.propose(1..20).await;
    node.handle.stop().await;
    // The rows are gone with the node, so the old entries are applied again, marks and all.
    let mut other_life = same_life;
    other_life.life = 8;
    let seen = Arc::default();
    let stores = Stores {
        log: MemLog::open(&disk).unwrap(),
        rows: Arc::new(MemRows::default()),
        snapshots: first_snapshot(),
        outbound: Box::new(Alone),
    };
    let handle = start(other_life, TestMachine::publishing(&seen), stores, never()).unwrap();
    leads(&handle).await;
    let committed = handle.propose(entry(500), LONG).await.unwrap();
    assert_eq!(committed.output, 20);
    assert_eq!(seen.lock().get(&committed.index), Some(&500));
    handle.stop().await;
}

/// The snapshot that every cluster begins with.
fn first_snapshot() -> Arc<MemSnapshots> {
    use crate::store::snapshot::{Header, SnapshotId, SnapshotStore as _};
    let snapshots = MemSnapshots::default();
    let conf_state = raft::eraftpb::ConfState { voters: vec![1], ..Default::default() };
    let id = SnapshotId { index: 1, term: 1 };
    let header = Header { id, conf_state, mesh: String::new(), epoch: 0 };
    snapshots.write(&header, &mut |_| Ok(())).unwrap();
    Arc::new(snapshots)
}

/// Counts the calls, and keeps the last reason.
fn counted() -> (Fatal, Arc<AtomicUsize>, Arc<Mutex<String>>) {
    let (count, reason) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(String::new())));
    let fatal: Fatal = {
        let (count, reason) = (Arc::clone(&count), Arc::clone(&reason));
        Arc::new(move |why| {
            count.fetch_add(1, Ordering::SeqCst);
            *reason.lock() = why.to_owned();
        })
    };
    (fatal, count, reason)
}

#[tokio::test]
async fn a_sync_that_fails_is_fatal_and_nobody_is_told_that_it_worked() {
    let disk = MemDisk::default();
    let (fatal, count, reason) = counted();
    let node = in_memory(&disk, config(), fatal);
    leads(&node.handle).await;
    node.propose(1..5).await;
    disk.fail_after(0, Fault::RefuseSync);
    assert_eq!(node.handle.propose(entry(9), LONG).await, Err(ProposeError::Stopped));
    node.handle.stop().await;
    assert_eq!(count.load(Ordering::SeqCst), 1);
    assert!(reason.lock().contains("could not sync"), "{}", reason.lock());
}

#[tokio::test]
async fn a_panic_of_the_machine_is_fatal() {
    let (fatal, count, reason) = counted();
    let node = in_memory(&MemDisk::default(), config(), fatal);
    leads(&node.handle).await;
    assert_eq!(node.handle.propose(entry(0), LONG).await, Err(ProposeError::Stopped));
    node.handle.stop().await;
    assert_eq!(count.load(Ordering::SeqCst), 1);
    assert!(reason.lock().contains("raft thread panicked"), "{}", reason.lock());
}

#[tokio::test]
async fn a_failing_row_store_is_fatal() {
    let rows = MemRows::default();
    let (fatal, count, _) = counted();
    let stores = Stores {
        log: MemLog::open(&MemDisk::default()).unwrap(),
        rows: Arc::new(rows.clone()),
        snapshots: Arc::new(MemSnapshots::default()),
        outbound: Box::new(Alone),
    };
    let handle = start(config(), TestMachine::default(), stores, fatal).unwrap();
    leads(&handle).await;
    rows.fail_after(0, crate::store::rows::memory::Fault::RefuseSync);
    let mut value = 1;
    while handle.propose(entry(value), LONG).await.is_ok() {
        value += 1;
    }
    handle.stop().await;
    assert!(count.load(Ordering::SeqCst) >= 1);
}
