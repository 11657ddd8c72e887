//! The Raft thread and the way to talk to it.
//!
//! Three threads: `raft` owns the member, `rows` writes what was applied, and `snapshot` lives while
//! one is written. An error of any store, or a panic, ends the process through [`Fatal`].

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TrySendError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parallax_common::limits;
use parallax_runtime::clock;
use parking_lot::Mutex;
use raft::eraftpb::Message;
use thiserror::Error;
use tokio::sync::{oneshot, watch};
use tracing::{debug, info};

pub use super::changes::{ChangeError, TransferError};
use super::changes::{ChangeReply, TransferReply};
use super::config::{Config, Stores};
use super::fatal::{Fatal, Guard, chain};
use super::halt::{Halt, StartError};
use super::log::LogStore;
use super::machine::Machine;
use super::member::{Leadership, Member};
use super::outbound::Carried;
use super::proposals::Reply;
pub use super::proposals::{Committed, ProposeError};
pub use super::reads::ReadError;
use super::recover::Recovered;
use super::snapshot_job::SnapshotJob;
use super::status::Status;
use super::{member, reads};
use crate::core::membership::Change;
use crate::store::rows::RowStore;
use crate::store::snapshot::SnapshotError;
use crate::store::writer::{Stopped, WriteBehind};

/// One tick of Raft's clock.
pub const TICK: Duration = Duration::from_millis(50);

enum Command<O> {
    Propose { entry: Bytes, allowed: Duration, reply: Reply<O> },
    Read { allowed: Duration, reply: reads::Reply },
    Change { change: Change, allowed: Duration, reply: ChangeReply },
    Transfer { to: u64, allowed: Duration, reply: TransferReply },
    Step(Box<Message>),
    Unreachable(u64),
    SnapshotSent { to: u64, carried: Carried },
    Stop,
}

/// A running node. Clones talk to the same one.
pub struct NodeHandle<O> {
    commands: SyncSender<Command<O>>,
    status: Arc<Mutex<Status>>,
    applied: watch::Receiver<u64>,
    leadership: watch::Receiver<Leadership>,
    leader: watch::Receiver<Option<u64>>,
    ended: watch::Receiver<bool>,
    behind: WriteBehind,
    rows: Arc<dyn RowStore>,
    recovered: Arc<Recovered>,
}

impl<O> Clone for NodeHandle<O> {
    fn clone(&self) -> Self {
        Self {
            commands: self.commands.clone(),
            status: Arc::clone(&self.status),
            applied: self.applied.clone(),
            leadership: self.leadership.clone(),
            leader: self.leader.clone(),
            ended: self.ended.clone(),
            behind: self.behind.clone(),
            rows: Arc::clone(&self.rows),
            recovered: Arc::clone(&self.recovered),
        }
    }
}

/// A message of another member could not be taken; Raft repeats it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the node takes no message now")]
pub struct StepError;

/// Finds the state, which takes as long as it takes, and starts the threads.
pub fn start<M: Machine, L: LogStore>(
    config: Config,
    machine: M,
    stores: Stores<L>,
    fatal: Fatal,
) -> Result<NodeHandle<M::Output>, StartError> {
    let rows = Arc::clone(&stores.rows);
    let (member, recovered) = Member::start(config, machine, stores)?;
    info!(applied = recovered.applied, rebuilt = recovered.rebuilt.as_deref(), "state loaded");
    let behind = member.behind().clone();
    let (commands, inbox) = mpsc::sync_channel(limits::RAFT_QUEUE_MAX);
    let status = Arc::new(Mutex::new(member.status()));
    let (applied, applied_rx) = watch::channel(member.applied());
    let (leadership, leadership_rx) = watch::channel(member.leadership());
    let (leader, leader_rx) = watch::channel(member.status().leader_id);
    let (ended, ended_rx) = watch::channel(false);

    let writer = {
        let (behind, rows, fatal) = (behind.clone(), Arc::clone(&rows), Arc::clone(&fatal));
        thread("rows", move || write_rows(&behind, rows.as_ref(), &fatal))?
    };
    let raft = Thread {
        member,
        inbox,
        status: Arc::clone(&status),
        applied,
        leadership,
        leader,
        writer: Some(writer),
        snapshot: None,
        fatal,
    };
    let spawned = thread("raft", move || {
        raft.run();
        // Only now is everything closed that the next start opens.
        ended.send_replace(true);
    });
    if let Err(error) = spawned {
        behind.close();
        return Err(error.into());
    }
    Ok(NodeHandle {
        commands,
        status,
        applied: applied_rx,
        leadership: leadership_rx,
        leader: leader_rx,
        ended: ended_rx,
        behind,
        rows,
        recovered: Arc::new(recovered),
    })
}

fn thread<T: Send + 'static>(
    name: &str,
    body: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, std::io::Error> {
    std::thread::Builder::new().name(name.to_owned()).spawn(body)
}

fn write_rows(behind: &WriteBehind, rows: &dyn RowStore, fatal: &Fatal) {
    /// Nobody is to wait for a thread that is gone.
    struct Ended<'a>(&'a WriteBehind);
    impl Drop for Ended<'_> {
        fn drop(&mut self) {
            self.0.fail();
        }
    }
    let _ended = Ended(behind);
    let _guard = Guard { thread: "rows", fatal: Arc::clone(fatal) };
    if let Err(error) = behind.run(rows) {
        fatal(&chain(&error));
    }
}

impl<O: Send + 'static> NodeHandle<O> {
    /// Proposes an entry and waits until it is committed, applied and visible. After `Deadline`,
    /// `Dropped` and `Stopped` it may be committed all the same.
    pub async fn propose(
        &self,
        entry: Bytes,
        deadline: Duration,
    ) -> Result<Committed<O>, ProposeError> {
        member::check_size(&entry)?;
        if self.behind.backlog().is_pressing() {
            return Err(ProposeError::Overloaded);
        }
        let (reply, answer) = oneshot::channel();
        self.commands.try_send(Command::Propose { entry, allowed: deadline, reply }).map_err(
            |error| match error {
                TrySendError::Full(_) => ProposeError::Overloaded,
                TrySendError::Disconnected(_) => ProposeError::Stopped,
            },
        )?;
        // The thread has the same deadline, but it may be waiting for a disk.
        match tokio::time::timeout(deadline, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(ProposeError::Stopped),
            Err(_) => Err(ProposeError::Deadline(deadline)),
        }
    }

    /// Waits for an index that everything acknowledged before this call is at or below, applied
    /// here: state read afterwards is linearizable.
    pub async fn read_index(&self, deadline: Duration) -> Result<u64, ReadError> {
        let (reply, answer) = oneshot::channel();
        self.commands.try_send(Command::Read { allowed: deadline, reply }).map_err(|error| {
            match error {
                TrySendError::Full(_) => ReadError::Overloaded,
                TrySendError::Disconnected(_) => ReadError::Stopped,
            }
        })?;
        match tokio::time::timeout(deadline, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(ReadError::Stopped),
            Err(_) => Err(ReadError::Deadline(deadline)),
        }
    }

    /// Changes who is in the group and waits until that is applied: its index. Not allowed while
    /// another change is pending, nor when too few of the voters afterwards are heard. After
    /// `Deadline` and `Stopped` it may be made all the same.
    pub async fn change_members(
        &self,
        change: Change,
        deadline: Duration,
    ) -> Result<u64, ChangeError> {
        let (reply, answer) = oneshot::channel();
        let command = Command::Change { change, allowed: deadline, reply };
        self.commands.try_send(command).map_err(|error| match error {
            TrySendError::Full(_) => ChangeError::Overloaded,
            TrySendError::Disconnected(_) => ChangeError::Stopped,
        })?;
        match tokio::time::timeout(deadline, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(ChangeError::Stopped),
            Err(_) => Err(ChangeError::Deadline(deadline)),
        }
    }

    /// Hands the leadership to `to` and waits until somebody leads.
    pub async fn transfer_leadership(
        &self,
        to: u64,
        deadline: Duration,
    ) -> Result<(), TransferError> {
        let (reply, answer) = oneshot::channel();
        let command = Command::Transfer { to, allowed: deadline, reply };
        self.commands.try_send(command).map_err(|error| match error {
            TrySendError::Full(_) => TransferError::Overloaded,
            TrySendError::Disconnected(_) => TransferError::Stopped,
        })?;
        match tokio::time::timeout(deadline, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(TransferError::Stopped),
            Err(_) => Err(TransferError::Deadline(deadline)),
        }
    }

    /// Hands in a message of another member.
    pub fn step(&self, message: Message) -> Result<(), StepError> {
        self.commands.try_send(Command::Step(Box::new(message))).map_err(|_| StepError)
    }

    /// Says that messages to this member were lost: the leader sends it one at a time until it
    /// answers again.
    pub fn report_unreachable(&self, node_id: u64) -> Result<(), StepError> {
        self.commands.try_send(Command::Unreachable(node_id)).map_err(|_| StepError)
    }

    /// Says what came of a snapshot for this member. The leader sends it nothing else before, so
    /// whoever is told `StepError` has to say it again.
    pub fn report_snapshot(&self, to: u64, carried: Carried) -> Result<(), StepError> {
        self.commands.try_send(Command::SnapshotSent { to, carried }).map_err(|_| StepError)
    }

    /// How the node does, as of its last tick or batch.
    pub fn status(&self) -> Status {
        self.status.lock().clone()
    }

    /// The last applied index, as it grows.
    pub fn applied_watch(&self) -> watch::Receiver<u64> {
        self.applied.clone()
    }

    /// Whether this member leads with a complete state, as it changes.
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.leadership.clone()
    }

    /// Who leads, as far as this member knows, as it changes. A leader that has not applied the first
    /// entry of its term is among them: it takes proposals.
    pub fn leader(&self) -> watch::Receiver<Option<u64>> {
        self.leader.clone()
    }

    /// Whether the node has stopped and closed what it had open.
    pub fn ended(&self) -> watch::Receiver<bool> {
        self.ended.clone()
    }

    /// Waits until the rows of everything up to `index` are written and synced. Not for a worker.
    pub fn wait_stored(&self, index: u64) -> Result<(), Stopped> {
        self.behind.wait_synced(index)
    }

    /// The rows of the applied state, behind it by what waits to be written.
    pub fn rows(&self) -> Arc<dyn RowStore> {
        Arc::clone(&self.rows)
    }

    /// What was found when the node started.
    pub fn recovered(&self) -> &Recovered {
        &self.recovered
    }

    /// Stops the node: everybody who waits is answered, what was applied is written, the log is
    /// closed. Returns when its directories may be opened again, but for the rows, which are open
    /// as long as somebody holds them.
    pub async fn stop(self) {
        let Self { commands, mut ended, .. } = self;
        let sent = tokio::task::spawn_blocking(move || commands.send(Command::Stop).is_ok()).await;
        debug!(sent = sent.unwrap_or(false), "stopping the node");
        // An error means that the thread is gone, which is what is waited for.
        let _ = ended.wait_for(|ended| *ended).await;
    }
}

/// What the thread owns.
struct Thread<M: Machine, L: LogStore> {
    member: Member<M, L>,
    inbox: Receiver<Command<M::Output>>,
    status: Arc<Mutex<Status>>,
    applied: watch::Sender<u64>,
    leadership: watch::Sender<Leadership>,
    leader: watch::Sender<Option<u64>>,
    writer: Option<JoinHandle<()>>,
    snapshot: Option<JoinHandle<Result<(), SnapshotError>>>,
    fatal: Fatal,
}

impl<M: Machine, L: LogStore> Thread<M, L> {
    fn run(mut self) {
        let _guard = Guard { thread: "raft", fatal: Arc::clone(&self.fatal) };
        if let Err(halt) = self.turn_until_stopped() {
            (self.fatal)(&chain(&halt));
        }
        self.member.stop();
        self.member.behind().close();
        // A panic in either has been told by its guard.
        let _ = self.writer.take().map(JoinHandle::join);
        let _ = self.snapshot.take().map(JoinHandle::join);
    }

    fn turn_until_stopped(&mut self) -> Result<(), Halt> {
        let mut next_tick = clock::instant() + TICK;
        self.member.perform()?;
        self.tell(true);
        loop {
            let wait = next_tick.saturating_duration_since(clock::instant());
            match self.inbox.recv_timeout(wait) {
                Ok(first) => {
                    // Everything that came meanwhile goes into the same write: group commit.
                    let now = clock::instant();
                    let mut command = Some(first);
                    for _ in 0..limits::GROUP_COMMIT_MAX {
                        let Some(taken) = command.take() else { break };
                        if !self.take(taken, now)? {
                            return Ok(());
                        }
                        command = self.inbox.try_recv().ok();
                    }
                    if let Some(taken) = command
                        && !self.take(taken, now)?
                    {
                        return Ok(());
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                // The last handle is gone, so nobody could want anything any more.
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
            let now = clock::instant();
            let ticked = now >= next_tick;
            if ticked {
                // After a stall one tick passes, not all that were missed: others were not silent,
                // we were deaf.
                self.member.tick(now);
                next_tick = (next_tick + TICK).max(now);
            }
            if let Some(thread) = self.snapshot.take_if(|thread| thread.is_finished())
                && let Ok(result) = thread.join()
            {
                self.member.snapshot_done(result)?;
            }
            self.member.perform()?;
            self.tell(ticked);
            if let Some(job) = self.member.snapshot_due() {
                self.begin_snapshot(job);
            }
        }
    }

    /// False: stop.
    fn take(&mut self, command: Command<M::Output>, now: Instant) -> Result<bool, Halt> {
        match command {
            Command::Propose { entry, allowed, reply } => {
                self.member.propose(entry, now, allowed, reply);
            }
            Command::Read { allowed, reply } => self.member.read_index(now, allowed, reply),
            Command::Change { change, allowed, reply } => {
                self.member.change_members(change, now, allowed, reply);
            }
            Command::Transfer { to, allowed, reply } => {
                self.member.transfer(to, now, allowed, reply);
            }
            Command::Step(message) => self.member.step(*message),
            Command::Unreachable(node_id) => self.member.report_unreachable(node_id),
            Command::SnapshotSent { to, carried } => self.member.report_snapshot(to, carried),
            Command::Stop => return Ok(false),
        }
        Ok(true)
    }

    /// Publishes how things are. The status costs a sort, so not after every batch.
    fn tell(&self, with_status: bool) {
        let applied = self.member.applied();
        let moved = self.applied.send_if_modified(|old| std::mem::replace(old, applied) != applied);
        let leadership = self.member.leadership();
        let changed = self
            .leadership
            .send_if_modified(|old| std::mem::replace(old, leadership) != leadership);
        let leader = self.member.leader();
        let other = self.leader.send_if_modified(|old| std::mem::replace(old, leader) != leader);
        if with_status || changed || other {
            *self.status.lock() = self.member.status();
        } else if moved {
            let mut status = self.status.lock();
            status.applied = applied;
            status.commit = status.commit.max(applied);
            status.last_index = status.last_index.max(applied);
        }
    }

    fn begin_snapshot(&mut self, job: SnapshotJob) {
        let fatal = Arc::clone(&self.fatal);
        let spawned = thread("snapshot", move || {
            let _guard = Guard { thread: "snapshot", fatal };
            job.run()
        });
        match spawned {
            Ok(thread) => self.snapshot = Some(thread),
            Err(error) => (self.fatal)(&format!("no thread for a snapshot: {error}")),
        }
    }
}

#[cfg(test)]
pub(in crate::raft) mod tests;
