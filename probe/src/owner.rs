//! The one task that owns the schedule, the records and the list of sessions.
//!
//! It waits for the next thing due, an ended run or a word from a session, asks the core, and
//! performs what comes back: runs start as tasks, records go to every session at once, sealed windows
//! into the spool ([`crate::spool`]). Sessions ([`crate::session`]) own their sockets and speak to this
//! task by [`Event`].

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parallax_common::check::Assignment;
use parallax_common::limits::{CACHED_PLAN_AFTER, HEARTBEAT, MEMBER_AWAY_MAX};
use parallax_common::name::{Generation, Incarnation, Uid};
use parallax_common::outcome::Outcome;
use parallax_common::record::{LookOrder, Order};
use parallax_common::time::{MeshTime, UtcTime};
use parallax_common::window::Window;
use parallax_proto::convert::window::window_to;
use parallax_proto::v1;
use parallax_runtime::clock;
use parallax_runtime::supervisor::{Supervisor, TaskKind};
use prost::Message as _;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use crate::cache::Kept;
use crate::clock::MeshClock;
use crate::core::assign::{Applied, Assignments, Plan};
use crate::core::confirm::Confirmations;
use crate::core::look::Looks;
use crate::core::record::{Ended, Record, Recorder};
use crate::core::schedule::{Cause, Schedule, Start};
use crate::core::spool::Gap;
use crate::core::watermark::{self, InFlight};
use crate::execute::{Executor, tokens};
use crate::metrics::Metrics;
use crate::self_health;
use crate::spool::Spooler;
use crate::wire;
use look::Looked;
use report::Done;

mod look;
mod report;
mod snapshot;

/// Windows sealed, and checks put into a snapshot, in one turn: a turn must not delay what is due.
const PORTION: usize = 64;
/// Bytes of records, checks or windows in one frame, less the last of them.
const FRAME_BYTES: usize = 256 * 1024;

/// Frames that wait in a live lane above which snapshots wait, too: their lane holds thousands of
/// frames, and these are large.
const SNAPSHOT_FRAMES_WAITING: usize = 16;
/// Runs in flight are waited for so long when the process stops; it waits a little longer for all tasks.
const RUNS_END_WITHIN: Duration = Duration::from_millis(2_500);
/// How soon such a lane is looked at again.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(5);

/// Names a session within one process.
pub type SessionId = u64;
/// The name of none.
const NO_SESSION: SessionId = 0;

/// What sessions tell the owner.
#[derive(Debug)]
pub enum Event {
    /// A coordinator has welcomed us.
    Connected(Connected),
    /// A complete plan arrived.
    Plan(SessionId, Plan),
    /// An order arrived.
    Order(Order),
    /// Somebody asks for a look.
    Look(SessionId, LookOrder),
    /// A ping said what the coordinator measured.
    Measured {
        /// By whom.
        node: u64,
        /// mesh = boottime + this.
        offset_ns: i64,
        /// Whether the leader says so.
        leader: bool,
        /// How long the question and its answer took.
        round_trip_ns: i64,
    },
    /// A coordinator passes this session on to one that knows nothing of it yet.
    SnapshotWanted(SessionId),
    /// The session is over.
    Closed(SessionId),
}

/// A session that begins.
#[derive(Debug)]
pub struct Connected {
    /// Its name here.
    pub session: SessionId,
    /// The coordinator's node id.
    pub node: u64,
    /// The live lane.
    pub live: mpsc::Sender<v1::LiveRequest>,
    /// Cancelled by the owner to end it.
    pub end: CancellationToken,
}

/// What sessions need to know of the owner's state when they say hello.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Held {
    /// The plan in force.
    pub generation: Generation,
    /// The clock's offset, 0 when unset.
    pub offset_ns: i64,
}

#[derive(Debug)]
struct Session {
    connected: Connected,
    /// Nothing yet: its next heartbeat is whole.
    told: Option<watermark::Told>,
    snapshots: VecDeque<snapshot::Job>,
    /// A delta of it did not fit, and led up to here; since when. The others' deltas are on their way.
    overtaken: Option<(Generation, Instant)>,
}

/// What an owner begins with.
#[derive(Debug)]
pub struct Setup {
    /// Carries out runs.
    pub executor: Arc<Executor>,
    /// What it counts.
    pub metrics: Arc<Metrics>,
    /// Takes sealed windows.
    pub spooler: Spooler,
    /// As far as it is known.
    pub clock: MeshClock,
    /// What an earlier run has kept.
    pub cached: Option<Plan>,
    /// From sessions.
    pub events: mpsc::Receiver<Event>,
    /// The wall clock, which somebody may set at any time. It is asked for a first guess, and told of.
    pub utc: fn() -> UtcTime,
}

/// What an owner tells.
#[derive(Debug)]
pub struct Told {
    /// To sessions.
    pub held: watch::Receiver<Held>,
    /// To whoever keeps it for the next start.
    pub kept: watch::Receiver<Kept>,
}

/// What sessions tell, and what runs and looks have come to.
#[derive(Debug)]
struct Inbox {
    events: mpsc::Receiver<Event>,
    ended: mpsc::UnboundedReceiver<Done>,
    seen: mpsc::UnboundedReceiver<Looked>,
}

/// The owner's state.
#[derive(Debug)]
pub struct Owner {
    executor: Arc<Executor>,
    supervisor: Supervisor,
    metrics: Arc<Metrics>,
    clock: MeshClock,
    utc: fn() -> UtcTime,
    assignments: Assignments,
    schedule: Schedule,
    recorder: Recorder,
    confirmations: Confirmations,
    looks: Looks,
    in_flight: InFlight,
    spooler: Spooler,
    sessions: BTreeMap<SessionId, Session>,
    /// Records of this turn.
    out: Vec<Record>,
    held: watch::Sender<Held>,
    /// What is in force, for the next start.
    kept: watch::Sender<Kept>,
    /// What an earlier run has kept, until a coordinator is heard; and when it is run without one.
    cached: Option<(Plan, Instant)>,
    done: mpsc::UnboundedSender<Done>,
    looked: mpsc::UnboundedSender<Looked>,
    heartbeat_at: Instant,
    /// When a live lane that was too full for a snapshot is looked at again.
    look_again_at: Option<Instant>,
}

impl Owner {
    /// Starts the owner task.
    pub fn spawn(setup: Setup, supervisor: &Supervisor) -> Told {
        let (owner, inbox, told) = Self::new(setup, supervisor);
        owner.publish();
        supervisor.spawn(TaskKind::Vital("owner"), owner.run(inbox));
        told
    }

    fn new(setup: Setup, supervisor: &Supervisor) -> (Self, Inbox, Told) {
        let (held, held_told) = watch::channel(Held::default());
        let (kept, kept_told) = watch::channel(Kept::default());
        // Bounded by the number of runs in flight.
        let (done, ended) = mpsc::unbounded_channel();
        // By that of looks at once.
        let (looked, seen) = mpsc::unbounded_channel();
        let Setup { executor, metrics, spooler, clock: mesh_clock, cached, events, utc } = setup;
        let owner = Self {
            executor,
            supervisor: supervisor.clone(),
            metrics,
            clock: mesh_clock,
            utc,
            assignments: Assignments::default(),
            schedule: Schedule::default(),
            recorder: Recorder::new(spooler.incarnation()),
            confirmations: Confirmations::default(),
            looks: Looks::default(),
            in_flight: InFlight::default(),
            spooler,
            sessions: BTreeMap::new(),
            out: Vec::new(),
            held,
            kept,
            cached: cached.map(|plan| (plan, clock::instant() + CACHED_PLAN_AFTER)),
            done,
            looked,
            heartbeat_at: clock::instant() + HEARTBEAT,
            look_again_at: None,
        };
        let inbox = Inbox { events, ended, seen };
        (owner, inbox, Told { held: held_told, kept: kept_told })
    }

    async fn run(mut self, inbox: Inbox) {
        let Inbox { mut events, mut ended, mut seen } = inbox;
        let stop = self.supervisor.stop_token();
        loop {
            let more = self.turn();
            let wake = if more { clock::instant() } else { self.wake_at() };
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(done) = ended.recv() => {
                    self.ended(done);
                    for _ in 0..PORTION {
                        let Ok(done) = ended.try_recv() else { break };
                        self.ended(done);
                    }
                }
                Some(event) = events.recv() => self.event(event),
                Some(looked) = seen.recv() => self.looked(looked),
                () = tokio::time::sleep_until(wake.into()) => {
                    let lag = clock::instant().saturating_duration_since(wake);
                    self.metrics.woke_late(lag);
                }
            }
        }
        self.finish(ended).await;
    }

    /// The process stops: nothing more is started. What is in flight is waited for, and what was measured
    /// goes into the spool, also where its period is not over.
    async fn finish(mut self, mut ended: mpsc::UnboundedReceiver<Done>) {
        // What has ended already may still reach the coordinators.
        while let Ok(done) = ended.try_recv() {
            self.ended(done);
        }
        self.flush();
        let deadline = clock::instant() + RUNS_END_WITHIN;
        while self.schedule.in_flight() > 0 {
            let next = tokio::time::timeout_at(deadline.into(), ended.recv()).await;
            let Ok(Some(done)) = next else {
                warn!(runs = self.schedule.in_flight(), "runs did not end in time and are lost");
                break;
            };
            self.ended(done);
        }
        self.flush();
        if let Some(now) = self.mesh_now() {
            let horizon = self.schedule.horizon(now);
            let over = self.recorder.seal(horizon, usize::MAX);
            self.spooler.push(encoded(&over));
        }
        self.spooler.push_early(encoded(&self.recorder.seal_open()));
    }

    fn mesh_now(&self) -> Option<MeshTime> {
        self.clock.mesh(clock::boot_time())
    }

    fn wake_at(&self) -> Instant {
        let (now, boot) = (clock::instant(), clock::boot_time());
        let due =
            [self.schedule.next_at(), self.confirmations.next_at(), self.recorder.next_seal_at()];
        let next = due.into_iter().flatten().min().map(|at| self.clock.until(at, boot));
        match next.and_then(|length| now.checked_add(length)) {
            Some(at) => at.min(self.heartbeat_at),
            None => self.heartbeat_at,
        }
        .min(self.look_again_at.unwrap_or(self.heartbeat_at))
    }

    /// Everything that is due now. True when there is more to do at once.
    fn turn(&mut self) -> bool {
        let mut more = false;
        if let Some(now) = self.mesh_now() {
            let ordered = self.confirmations.due(now);
            let due = self.schedule.due_after(ordered, now);
            self.metrics.orders_crowded_out.fetch_add(due.crowded_out, Relaxed);
            let boot = clock::boot_time();
            for missed in due.missed {
                let slots = u64::try_from(missed.last_slot - missed.first_slot + 1).unwrap_or(0);
                self.metrics.outcome(Outcome::Missed, Some(missed.reason), slots);
                self.metrics.skipped.fetch_add(missed.skipped, Relaxed);
                self.out.extend(self.recorder.missed(&missed, boot));
            }
            for start in due.starts {
                self.start(start, now);
            }
            let horizon = self.schedule.horizon(now);
            let sealed = self.recorder.seal(horizon, PORTION);
            more |= sealed.len() >= PORTION;
            self.spool(&sealed);
        }
        self.flush();
        more |= self.send_snapshots();
        if clock::instant() >= self.heartbeat_at {
            self.heartbeat();
        }
        let metrics = &self.metrics;
        metrics.in_flight.store(self.schedule.in_flight() as u64, Relaxed);
        metrics.sessions.store(self.sessions.len() as u64, Relaxed);
        more
    }

    fn start(&mut self, start: Start, now: MeshTime) {
        self.recorder.started(&start.assignment, start.cause, now);
        if let Cause::Slot(slot) = start.cause {
            self.in_flight.started(start.run, start.assignment.check, slot, start.scheduled);
        }
        let (executor, done) = (Arc::clone(&self.executor), self.done.clone());
        let generation = self.assignments.generation();
        let run = Arc::clone(&start.assignment.run);
        // In a box of its own: each wrapper of a task holds what it awaits twice, and a run is large.
        // No sample starts when the next slot has come.
        let room = start.assignment.interval.saturating_sub(now.since(start.scheduled));
        let run = Box::pin(async move { executor.slot(&run, room).await });
        let renewal = self.renewal(&start.assignment);
        let owed = report::Owed { start, generation, handed: now };
        let carried = report::carry_out(owed, run, done);
        match renewal {
            None => self.supervisor.spawn(TaskKind::Session("run"), carried),
            Some(renewal) => self.supervisor.spawn(TaskKind::Session("run"), async move {
                carried.await;
                renewal.await;
            }),
        }
    }

    /// What follows a run that shows tokens, once it is reported: those that do not last until the next one
    /// are got anew, so that it does not wait. Whoever stops does not wait for it.
    fn renewal(&self, assignment: &Assignment) -> Option<impl Future<Output = ()> + use<>> {
        tokens::are_shown(&assignment.run).then(|| {
            let (executor, stop) = (Arc::clone(&self.executor), self.supervisor.stop_token());
            let (run, interval) = (Arc::clone(&assignment.run), assignment.interval);
            Box::pin(async move {
                let _ = stop.run_until_cancelled(executor.renew(&run, interval)).await;
            })
        })
    }

    fn ended(&mut self, done: Done) {
        let began = self.clock.mesh(done.execution.started).unwrap_or(done.start.scheduled);
        let lateness = done.lateness(began);
        let Done { start, generation, handed, execution, broken } = done;
        if broken {
            error!(check = %start.assignment.check, "a run panicked");
            self.metrics.runs_panicked.fetch_add(1, Relaxed);
        }
        self.schedule.ended(start.run);
        self.in_flight.ended(start.run);
        self.metrics.runs.fetch_add(1, Relaxed);
        let finding = &execution.finding;
        self.metrics.outcome(finding.outcome, finding.reason, 1);
        if let Some(waited) = execution.waited {
            self.metrics.token_wait.record(waited);
        }
        if matches!(start.cause, Cause::Slot(_)) && finding.outcome != Outcome::Missed {
            self.metrics.lateness.record(lateness);
            self.metrics.from_slot.record(lateness + execution.ended.since(execution.started));
        }
        let record = self.recorder.ended(Ended {
            lateness,
            assignment: start.assignment,
            generation,
            cause: start.cause,
            scheduled: start.scheduled,
            handed,
            started: execution.started,
            ended: execution.ended,
            finding: execution.finding,
        });
        self.out.extend(record);
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Connected(connected) => self.connected(connected),
            Event::Closed(session) => self.close(session),
            Event::Plan(session, plan) => self.plan(session, plan),
            Event::Order(order) => self.order(&order),
            Event::Look(session, order) => self.look(session, &order),
            Event::SnapshotWanted(session) => self.begin_anew(session),
            Event::Measured { node, offset_ns, leader, round_trip_ns } => {
                self.metrics.clock_round_trip_ns.store(round_trip_ns, Relaxed);
                if self.clock.measured(node, offset_ns, leader, clock::boot_time()) {
                    info!(offset_ns, "mesh time is known");
                    self.reschedule();
                }
                self.publish();
            }
        }
    }

    fn connected(&mut self, connected: Connected) {
        let node = connected.node;
        // A session that is older and not yet known to be dead gives way.
        let older = self.sessions.values().filter(|s| s.connected.node == node);
        for id in older.map(|s| s.connected.session).collect::<Vec<_>>() {
            self.close(id);
        }
        let job = self.whole_snapshot();
        let session =
            Session { told: None, snapshots: VecDeque::from([job]), overtaken: None, connected };
        self.sessions.insert(session.connected.session, session);
    }

    fn whole_snapshot(&self) -> snapshot::Job {
        let all = self.assignments.iter().map(|assignment| assignment.check).collect();
        snapshot::Job::new(self.assignments.generation(), all, true)
    }

    /// Tells a session everything once more. What it was still owed is a part of that.
    fn begin_anew(&mut self, session: SessionId) {
        let job = self.whole_snapshot();
        if let Some(session) = self.sessions.get_mut(&session) {
            session.snapshots = VecDeque::from([job]);
            session.told = None;
        }
    }

    fn close(&mut self, session: SessionId) {
        if let Some(session) = self.sessions.remove(&session) {
            session.connected.end.cancel();
        }
    }

    fn plan(&mut self, session: SessionId, plan: Plan) {
        let (generation, base) = (plan.generation, plan.base);
        let change = match self.assignments.apply(plan) {
            Applied::Changed(change) => change,
            Applied::Stale => {
                debug!(session, ?generation, "a plan that is not newer was ignored");
                return;
            }
            // Coordinators apply in batches of their own, so that their deltas interleave: another
            // one has brought us past this one's base, and its next ones lead to the same plan.
            Applied::WrongBase if base < Some(self.assignments.generation()) => {
                debug!(session, ?generation, "a delta was overtaken");
                if let Some(session) = self.sessions.get_mut(&session) {
                    session.overtaken = Some((generation, clock::instant()));
                }
                return;
            }
            Applied::WrongBase => {
                warn!(session, ?generation, "a delta on a plan we do not hold: asking anew");
                return self.close(session);
            }
        };
        info!(
            ?generation,
            changed = change.upserts.len(),
            removed = change.removed.len(),
            checks = self.assignments.len(),
            "assignments applied"
        );
        for uid in &change.removed {
            self.confirmations.drop_check(uid);
            self.recorder.remove(uid);
        }
        for assignment in &change.upserts {
            let digest = self.recorder.snapshot(&assignment.check).map(|s| s.digest);
            if digest.is_some_and(|digest| digest != assignment.run_digest) {
                self.confirmations.drop_check(&assignment.check);
            }
            self.recorder.assign(assignment, generation);
        }
        if let Some(now) = self.mesh_now() {
            self.schedule.apply(&change, now);
        }
        self.metrics.checks.store(self.assignments.len() as u64, Relaxed);
        self.cached = None;
        self.kept.send_replace(Kept {
            generation,
            checks: self.assignments.iter().cloned().collect(),
            offset_ns: self.clock.measured_offset_ns(clock::boot_time()),
        });
        let changed: VecDeque<Uid> = change.upserts.iter().map(|one| one.check).collect();
        for session in self.sessions.values_mut() {
            let job = snapshot::Job::new(generation, changed.clone(), false);
            session.snapshots.push_back(job);
        }
        self.broadcast(&wire::applied(generation));
        self.publish();
    }

    /// Nobody was heard since the start: what was kept is run until somebody is.
    fn run_cached(&mut self) {
        let due = self.cached.as_ref().is_some_and(|(_, at)| clock::instant() >= *at);
        if !due || !self.sessions.is_empty() {
            return;
        }
        let Some((plan, _)) = self.cached.take() else { return };
        warn!(generation = ?plan.generation, "no coordinator is heard: cached assignments are run");
        self.clock.guess((self.utc)(), clock::boot_time());
        self.plan(NO_SESSION, plan);
    }

    /// Plans that came before mesh time was known, or while it was a guess, are scheduled anew.
    fn reschedule(&mut self) {
        let upserts: Vec<_> = self.assignments.iter().cloned().collect();
        let removed = upserts.iter().map(|assignment| assignment.check).collect();
        let change = crate::core::assign::Change { upserts, removed };
        if let Some(now) = self.mesh_now() {
            self.schedule.apply(&change, now);
        }
    }

    fn order(&mut self, order: &Order) {
        let Some(now) = self.mesh_now() else { return };
        let held = self.assignments.get(&order.check).map(|assignment| assignment.run_digest);
        let plan = self.assignments.generation();
        let rate = self.schedule.steady_rate();
        match self.confirmations.accept(order, held, plan, rate, now) {
            Ok(runs) => debug!(order = order.order, check = %order.check, runs, "order taken"),
            Err(refused) => {
                self.metrics.orders_refused.fetch_add(1, Relaxed);
                debug!(order = order.order, check = %order.check, %refused, "order refused");
            }
        }
    }

    fn publish(&self) {
        let held = Held {
            generation: self.assignments.generation(),
            offset_ns: self.clock.measured_offset_ns(clock::boot_time()),
        };
        self.held.send_if_modified(|before| std::mem::replace(before, held) != held);
    }

    fn spool(&self, sealed: &[Window]) {
        if !sealed.is_empty() {
            self.spooler.push(encoded(sealed));
        }
    }

    /// Sends this turn's records to every session.
    fn flush(&mut self) {
        if self.out.is_empty() {
            return;
        }
        let records = std::mem::take(&mut self.out);
        for frame in wire::outcomes(&records, &self.clock, FRAME_BYTES) {
            self.broadcast(&frame);
        }
    }

    fn broadcast(&mut self, frame: &v1::LiveRequest) {
        let all: Vec<SessionId> = self.sessions.keys().copied().collect();
        for id in all {
            self.send(id, frame.clone());
        }
    }

    /// Puts a frame on a live lane. A lane that is full ends its session: the next one begins with
    /// a snapshot, so nothing is promised that was not sent.
    fn send(&mut self, id: SessionId, frame: v1::LiveRequest) -> bool {
        let Some(session) = self.sessions.get(&id) else { return false };
        match session.connected.live.try_send(frame) {
            Ok(()) => true,
            Err(error) => {
                if matches!(error, mpsc::error::TrySendError::Full(_)) {
                    self.metrics.sessions_slow.fetch_add(1, Relaxed);
                    warn!(session = id, "a session could not keep up and was ended");
                }
                self.close(id);
                false
            }
        }
    }

    /// One portion of a snapshot for each session that is owed one. True when more is owed and the
    /// lane has room for it: a snapshot of a large plan is more than a lane may hold at once.
    fn send_snapshots(&mut self) -> bool {
        let owed: Vec<SessionId> = self
            .sessions
            .iter()
            .filter(|(_, s)| !s.snapshots.is_empty())
            .map(|(id, _)| *id)
            .collect();
        let mut more = false;
        self.look_again_at = None;
        for id in owed {
            let Some(session) = self.sessions.get_mut(&id) else { continue };
            let live = &session.connected.live;
            if live.max_capacity() - live.capacity() >= SNAPSHOT_FRAMES_WAITING {
                self.look_again_at = Some(clock::instant() + LOOK_AGAIN_AFTER);
                continue;
            }
            let Some(job) = session.snapshots.front_mut() else { continue };
            let (frame, last) = job.portion(&self.recorder, &self.clock);
            if last {
                session.snapshots.pop_front();
            }
            more |= !session.snapshots.is_empty();
            self.send(id, frame);
        }
        more
    }

    fn heartbeat(&mut self) {
        self.run_cached();
        let now = clock::instant();
        self.heartbeat_at += HEARTBEAT;
        if self.heartbeat_at <= now {
            // After a stall the beats go on from here.
            self.heartbeat_at = now + HEARTBEAT;
        }
        let boot = clock::boot_time();
        let watermark = match self.clock.mesh(boot) {
            Some(mesh) => self.clock.boot_for(self.schedule.horizon(mesh), boot),
            None => boot,
        };
        // Nothing is dropped for its age by a clock that nobody has measured.
        let mesh = self.clock.mesh(boot).filter(|_| !self.clock.is_guessed());
        for gap in self.spooler.look(boot, mesh, MEMBER_AWAY_MAX) {
            let Gap { reader: node, life: Incarnation(life), first, last } = gap;
            warn!(
                node,
                life, first, last, "a coordinator will not get some windows: its history has a gap"
            );
            self.metrics.spool_gaps.fetch_add(1, Relaxed);
        }
        let drift = mesh.map_or(0, |mesh| (self.utc)().as_ns().saturating_sub(mesh.as_ns()));
        self.metrics.utc_drift_ns.store(drift, Relaxed);
        self.metrics.clock_offset_ns.store(self.clock.measured_offset_ns(boot), Relaxed);
        let health = self_health::told(&self.metrics);
        let sequence = self.recorder.live_sequence();
        let held = self.assignments.generation();
        let all: Vec<SessionId> = self.sessions.keys().copied().collect();
        for id in all {
            let Some(session) = self.sessions.get_mut(&id) else { continue };
            match session.overtaken {
                Some((wanted, _)) if held >= wanted => session.overtaken = None,
                Some((_, since)) if now.duration_since(since) >= HEARTBEAT => {
                    warn!(session = id, "a delta on a plan we do not hold: asking anew");
                    self.close(id);
                    continue;
                }
                _ => {}
            }
            let whole = session.told.is_none();
            let changes = session.told.get_or_insert_default().changes(&self.in_flight);
            let beat = wire::Beat { watermark, live_sequence: sequence, whole };
            let frame = wire::heartbeat(beat, &changes, health, &self.clock, boot);
            self.send(id, frame);
        }
        self.publish();
    }
}

/// Windows with the ends of their periods. Encoded they take a third of what the messages do.
fn encoded(sealed: &[Window]) -> impl Iterator<Item = (MeshTime, Bytes)> + '_ {
    let encode = |window: &Window| window_to(window).encode_to_vec().into();
    sealed.iter().map(move |of| (of.start + of.period.length(), encode(of)))
}

#[cfg(test)]
mod tests;
