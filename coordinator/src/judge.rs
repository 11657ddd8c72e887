//! The one task that decides: the shell of `core/judge.rs`. It brings facts to it (what sessions
//! hear, what was applied, the time) and does what it asks for.
//!
//! Event driven: an outcome goes from its session to a proposal without a tick in between. Time
//! alone wakes it only when the core asked for it. How it is told is in `judge/handle.rs`, what it
//! does about it in `judge/output.rs`.

mod handle;
mod output;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use parallax_runtime::clock;
use parallax_runtime::supervisor::Supervisor;
use tokio::sync::{mpsc, watch};
use tracing::info;

use crate::core::judge::{Input, Judge as Core, Outputs};
use crate::core::plan::Plan;
use crate::machine::Batch;
use crate::mesh_clock::MeshClock;
use crate::propose::Proposer;
use crate::relay::Relays;
use crate::session::Sessions;
use crate::view::View;

pub use self::handle::{JudgeHandle, Told, channel};

/// Inputs taken in one go before the state and the clock are looked at again.
const BATCH_MAX: usize = 256;

/// Everything the judge follows and drives.
pub struct Judge {
    core: Core,
    view: View,
    clock: Arc<MeshClock>,
    proposer: Proposer,
    sessions: Sessions,
    relays: Relays,
    supervisor: Supervisor,
    handle: JudgeHandle,
    told: mpsc::Receiver<Told>,
    batches: mpsc::UnboundedReceiver<Batch>,
    publish: watch::Sender<Arc<Plan>>,
    name: String,
    node_id: u64,
    /// Proposals that failed since the last that did not.
    failures: Arc<AtomicU32>,
    /// Made before mesh time was known.
    is_early: bool,
}

/// The parts a judge is made of.
pub struct Parts {
    /// The published state.
    pub view: View,
    /// Mesh time.
    pub clock: Arc<MeshClock>,
    /// Where proposals go.
    pub proposer: Proposer,
    /// Where orders go.
    pub sessions: Sessions,
    /// Where they go for probes that another member hears.
    pub relays: Relays,
    /// Runs proposals while the judge goes on.
    pub supervisor: Supervisor,
    /// What was applied.
    pub batches: mpsc::UnboundedReceiver<Batch>,
    /// Of this member.
    pub name: String,
    /// Of this member.
    pub node_id: u64,
}

impl Judge {
    /// A judge that knows the state as it is published now.
    pub fn new(
        handle: JudgeHandle,
        told: mpsc::Receiver<Told>,
        parts: Parts,
    ) -> (Self, watch::Receiver<Arc<Plan>>) {
        let (publish, plans) = watch::channel(Arc::new(Plan::default()));
        let is_early = !parts.clock.is_known();
        let mut judge = Self {
            is_early,
            core: Core::new(parts.clock.now()),
            view: parts.view,
            clock: parts.clock,
            proposer: parts.proposer,
            sessions: parts.sessions,
            relays: parts.relays,
            supervisor: parts.supervisor,
            handle,
            told,
            batches: parts.batches,
            publish,
            name: parts.name,
            node_id: parts.node_id,
            failures: Arc::default(),
        };
        let state = judge.view.load();
        judge.step(Input::Loaded(&state));
        (judge, plans)
    }

    /// Runs until the process stops.
    pub async fn run(mut self, mut leadership: watch::Receiver<crate::raft::member::Leadership>) {
        let stop = self.supervisor.stop_token();
        let mut told = Vec::with_capacity(BATCH_MAX);
        if self.is_early {
            // Until now it was not mesh time that was counted by.
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.clock.known() => self.begin_anew(),
            }
        }
        let clock_set = Arc::clone(&self.handle.set);
        self.lead(leadership.borrow_and_update().leader);
        loop {
            let wake = self.sleep();
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                changed = leadership.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let leader = leadership.borrow_and_update().leader;
                    // Who leads no more orders nothing about what it has yet to catch up with. A new
                    // leader decides on what it holds, not on what it held a while ago.
                    if !leader {
                        self.lead(false);
                    }
                    self.catch_up();
                    if leader {
                        self.lead(true);
                    }
                }
                () = clock_set.notified() => self.begin_anew(),
                count = self.told.recv_many(&mut told, BATCH_MAX) => {
                    if count == 0 {
                        return;
                    }
                    // What was applied comes before the news that its proposal came to an end.
                    self.catch_up();
                    self.take(&mut told);
                    self.wake_if_due();
                }
                // After what is told, which catches up first: writes that never end must not keep
                // questions waiting.
                batch = self.batches.recv() => match batch {
                    Some(batch) => {
                        self.applied(batch);
                        self.wake_if_due();
                    }
                    None => return,
                },
                () = wake => self.step(Input::Wake),
            }
        }
    }

    /// Forgets what was heard, at other times than those that count now.
    fn begin_anew(&mut self) {
        self.core = Core::new(self.clock.now());
        let state = self.view.load();
        self.step(Input::Loaded(&state));
        if self.handle.is_leader() {
            self.step(Input::Leadership(true));
        }
    }

    /// A queue that never empties must not stop the clock.
    fn wake_if_due(&mut self) {
        if self.core.wake_at().is_some_and(|at| at <= self.clock.now()) {
            self.step(Input::Wake);
        }
    }

    /// Until the core wants to look again.
    fn sleep(&self) -> impl Future<Output = ()> + use<> {
        let length = self.core.wake_at().map(|at| at.since(self.clock.now()));
        async move {
            match length {
                Some(length) => tokio::time::sleep(length).await,
                None => std::future::pending().await,
            }
        }
    }

    /// One fact, and what follows.
    fn step(&mut self, input: Input<'_>) {
        let mut out = Outputs::default();
        self.core.handle(input, self.clock.now(), clock::utc(), &mut out);
        self.perform(out);
    }

    fn lead(&mut self, leader: bool) {
        self.handle.leader.store(leader, Ordering::Release);
        info!(leader, "leadership");
        self.clock.lead(leader);
        self.step(Input::Leadership(leader));
    }

    fn catch_up(&mut self) {
        while let Ok(batch) = self.batches.try_recv() {
            self.applied(batch);
        }
    }

    /// Follows one applied batch.
    fn applied(&mut self, batch: Batch) {
        let state = self.view.load();
        if batch.reset {
            return self.step(Input::Loaded(&state));
        }
        self.step(Input::Applied(&state, &batch.changes));
    }

    /// Facts and questions in the order they were told; what follows is done once for all of them,
    /// so that decisions about many checks share an entry.
    fn take(&mut self, told: &mut Vec<Told>) {
        let mut out = Outputs::default();
        let (now, utc) = (self.clock.now(), clock::utc());
        for told in told.drain(..) {
            let fact = match told {
                Told::Opened(voter, session) => Input::Opened(voter, session),
                Told::Closed(voter, session) => Input::Closed(voter, session),
                Told::Heard(voter, session, event) => Input::Heard { voter, session, event },
                Told::Vouched(vouched) => Input::Vouched(vouched),
                Told::Settled(about) => Input::Settled(about),
                // Whoever asked may have gone away; then nobody misses the answer.
                Told::Ballots(checks, reply) => {
                    let lists = checks.iter().map(|uid| self.core.live_ballots(*uid, now));
                    let _ = reply.send(lists.collect());
                    continue;
                }
                Told::StillFailing(check, reply) => {
                    let failing = self.core.still_failing(check, now);
                    let _ = reply.send(failing);
                    continue;
                }
                Told::StillInTrouble(region, trouble, reply) => {
                    let _ = reply.send(self.core.is_in_trouble(&region, trouble, now));
                    continue;
                }
                Told::WatermarkAge(key, reply) => {
                    let _ = reply.send(self.core.heard(&key).map(|heard| now.since(heard)));
                    continue;
                }
            };
            self.core.handle(fact, now, utc, &mut out);
        }
        self.perform(out);
    }
}
