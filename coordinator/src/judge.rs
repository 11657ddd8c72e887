//! The one task that decides: it owns the engine (ballots and verdicts), the fleet tracker and the
//! plan, is told what sessions hear and what was applied, and proposes what the cores say.
//!
//! Event driven: an outcome goes from its session to a proposal without a tick in between. Time
//! alone wakes it only when a core asked for it. How it is told is in `judge/handle.rs`, what it
//! does about it in `judge/output.rs`.

mod handle;
mod output;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use parallax_common::name::{Incarnation, Uid};
use parallax_common::outcome::Verdict;
use parallax_common::time::MeshTime;
use parallax_proto::convert::enums;
use parallax_proto::v1;
use parallax_runtime::clock;
use parallax_runtime::supervisor::Supervisor;
use tokio::sync::{mpsc, watch};
use tracing::info;

use crate::core::decide::rule::Rule;
use crate::core::engine::{self, Engine, Subject, Voter};
use crate::core::fleet::{self, ProbeKey, RegionKey, Tracker};
use crate::core::plan::{CheckChange, Plan};
use crate::core::state::{Changed, State};
use crate::machine::Batch;
use crate::mesh_clock::MeshClock;
use crate::propose::Proposer;
use crate::session::Sessions;
use crate::view::View;

pub use self::handle::{About, JudgeHandle, Told, channel};

/// Inputs taken in one go before the state and the clock are looked at again.
const BATCH_MAX: usize = 256;

/// Everything the judge follows and drives.
pub struct Judge {
    engine: Engine,
    tracker: Tracker,
    plan: Plan,
    view: View,
    clock: Arc<MeshClock>,
    proposer: Proposer,
    sessions: Sessions,
    supervisor: Supervisor,
    handle: JudgeHandle,
    told: mpsc::Receiver<Told>,
    batches: mpsc::UnboundedReceiver<Batch>,
    publish: watch::Sender<Arc<Plan>>,
    name: String,
    node_id: u64,
    /// Proposals that failed since the last that did not.
    failures: Arc<AtomicU32>,
    /// Regions whose fleet record the tracker must be given again.
    counted: BTreeMap<RegionKey, u32>,
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
        let now = parts.clock.now();
        let (publish, plans) = watch::channel(Arc::new(Plan::default()));
        let mut judge = Self {
            engine: Engine::new(now, false),
            tracker: Tracker::new(now),
            plan: Plan::default(),
            view: parts.view,
            clock: parts.clock,
            proposer: parts.proposer,
            sessions: parts.sessions,
            supervisor: parts.supervisor,
            handle,
            told,
            batches: parts.batches,
            publish,
            name: parts.name,
            node_id: parts.node_id,
            failures: Arc::default(),
            counted: BTreeMap::new(),
        };
        judge.load_state();
        (judge, plans)
    }

    /// Runs until the process stops.
    pub async fn run(mut self, mut leadership: watch::Receiver<crate::raft::member::Leadership>) {
        let stop = self.supervisor.stop_token();
        let mut told = Vec::with_capacity(BATCH_MAX);
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
                    // A new leader decides on what it holds, not on what it held a while ago.
                    while let Ok(batch) = self.batches.try_recv() {
                        self.applied(batch);
                    }
                    self.lead(leader);
                }
                batch = self.batches.recv() => match batch {
                    Some(batch) => self.applied(batch),
                    None => return,
                },
                count = self.told.recv_many(&mut told, BATCH_MAX) => {
                    if count == 0 {
                        return;
                    }
                    // What was applied comes before the news that its proposal came to an end.
                    while let Ok(batch) = self.batches.try_recv() {
                        self.applied(batch);
                    }
                    self.take(&mut told);
                    // A queue that never empties must not stop the clock.
                    if self.wake_due() {
                        self.wake();
                    }
                }
                () = wake => self.wake(),
            }
        }
    }

    /// When a core wants to look again.
    fn wake_at(&self) -> Option<MeshTime> {
        [self.engine.wake_at(), self.tracker.wake_at()].into_iter().flatten().min()
    }

    fn wake_due(&self) -> bool {
        self.wake_at().is_some_and(|at| at <= self.clock.now())
    }

    /// Until a core wants to look again.
    fn sleep(&self) -> impl Future<Output = ()> + use<> {
        let at = self.wake_at();
        let length = at.map(|at| at.since(self.clock.now()));
        async move {
            match length {
                Some(length) => tokio::time::sleep(length).await,
                None => std::future::pending().await,
            }
        }
    }

    fn wake(&mut self) {
        let (mut decided, mut moved) = (Vec::new(), Vec::new());
        let now = self.clock.now();
        self.engine.handle(engine::Input::Wake, now, &mut decided);
        self.tracker.handle(fleet::Input::Wake, now, clock::utc(), &mut moved);
        self.perform(decided, moved);
    }

    fn lead(&mut self, leader: bool) {
        self.handle.leader.store(leader, Ordering::Release);
        info!(leader, "leadership");
        let (mut decided, mut moved) = (Vec::new(), Vec::new());
        let now = self.clock.now();
        self.engine.handle(engine::Input::Leadership(leader), now, &mut decided);
        self.tracker.handle(fleet::Input::Leadership(leader), now, clock::utc(), &mut moved);
        self.perform(decided, moved);
    }

    fn take(&mut self, told: &mut Vec<Told>) {
        let (mut decided, mut moved) = (Vec::new(), Vec::new());
        let now = self.clock.now();
        for told in told.drain(..) {
            match told {
                Told::Opened(voter, session) => {
                    let input = fleet::Input::SessionStarted(session);
                    self.tracker.handle(input, now, clock::utc(), &mut moved);
                    let input = engine::Input::SessionStarted(voter);
                    self.engine.handle(input, now, &mut decided);
                }
                Told::Closed(voter, id) => {
                    let input = fleet::Input::SessionEnded(key_of(&voter), id);
                    self.tracker.handle(input, now, clock::utc(), &mut moved);
                    let input = engine::Input::SessionEnded(voter);
                    self.engine.handle(input, now, &mut decided);
                }
                Told::Engine(input) => {
                    if let engine::Input::Heartbeat { voter, heartbeat } = &input {
                        let (key, watermark) = (key_of(voter), heartbeat.watermark);
                        let heard =
                            fleet::Input::Heard { key, incarnation: voter.incarnation, watermark };
                        self.tracker.handle(heard, now, clock::utc(), &mut moved);
                    }
                    self.engine.handle(input, now, &mut decided);
                }
                Told::Settled(about) => {
                    for about in about {
                        match about {
                            About::Check(check, proposal) => {
                                let input = engine::Input::ProposalSettled { check, proposal };
                                self.engine.handle(input, now, &mut decided);
                            }
                            About::Fleet(subject, proposal) => {
                                let input = fleet::Input::Settled(subject, proposal);
                                self.tracker.handle(input, now, clock::utc(), &mut moved);
                            }
                        }
                    }
                }
                // Whoever asked may have gone away; then nobody misses the answer.
                Told::Ballots(checks, reply) => {
                    let lists = checks.iter().map(|uid| self.engine.live_ballots(*uid, now));
                    let _ = reply.send(lists.collect());
                }
                Told::StillFailing(check, reply) => {
                    let _ = reply.send(self.still_failing(check, now));
                }
                Told::StillSilent(region, reply) => {
                    let _ = reply.send(self.tracker.is_silent(&region, now));
                }
                Told::WatermarkAge(key, reply) => {
                    let _ = reply.send(self.tracker.heard(&key).map(|heard| now.since(heard)));
                }
            }
        }
        self.perform(decided, moved);
    }

    /// Whether as many regions fail now as make the check down.
    fn still_failing(&self, check: Uid, now: MeshTime) -> bool {
        let state = self.view.load();
        let Some(entry) = state.checks.get(&check) else { return false };
        let down_at = Rule::of(&entry.check.policy, entry.check.regions.len()).down_at;
        let ballots = self.engine.live_ballots(check, now);
        let failing = ballots.iter().filter(|ballot| {
            ballot.state() == v1::BallotState::Fail && !ballot.stale && !ballot.excluded
        });
        failing.count() >= down_at as usize
    }

    /// Everything anew from the published state: at the start.
    fn load_state(&mut self) {
        let state = self.view.load();
        let (mut decided, mut moved) = (Vec::new(), Vec::new());
        let fleet = fleet::rows::live(state.probes.values().map(AsRef::as_ref));
        let checks = state.checks.values().map(|entry| CheckChange::Put(Arc::clone(&entry.check)));
        self.plan.update(state.generation(), checks, Some(fleet));
        for row in state.probes.values() {
            let input = fleet::Input::Row(row.as_ref().clone());
            self.tracker.handle(input, self.clock.now(), clock::utc(), &mut moved);
        }
        let all: BTreeSet<Uid> = state.checks.keys().copied().collect();
        self.refresh(&state, &all, &mut decided);
        self.recount(&state, None, &mut moved);
        self.publish.send_replace(Arc::new(self.plan.clone()));
        self.perform(decided, moved);
    }

    /// Follows one applied batch.
    fn applied(&mut self, batch: Batch) {
        let state = self.view.load();
        let now = self.clock.now();
        let (mut decided, mut moved) = (Vec::new(), Vec::new());
        let mut touched = BTreeSet::new();
        let mut edits = Vec::new();
        let mut regions = BTreeSet::new();
        let (mut fleet_changed, mut recount) = (false, false);
        for (_, change) in batch.changes {
            match change {
                Changed::Check(uid) => {
                    if let Some(entry) = state.checks.get(&uid) {
                        edits.push(CheckChange::Put(Arc::clone(&entry.check)));
                        touched.insert(uid);
                    }
                    recount = true;
                }
                Changed::CheckGone(uid, _) => {
                    edits.push(CheckChange::Delete(uid));
                    self.engine.handle(engine::Input::Remove(uid), now, &mut decided);
                    recount = true;
                }
                Changed::Verdict(uid) => {
                    touched.insert(uid);
                }
                Changed::Probe(region, probe) => {
                    fleet_changed = true;
                    let input = match state.probes.get(&(region.clone(), probe.clone())) {
                        Some(row) => fleet::Input::Row(row.as_ref().clone()),
                        None => fleet::Input::Forgotten(ProbeKey { region, probe }),
                    };
                    self.tracker.handle(input, now, clock::utc(), &mut moved);
                }
                Changed::Region((namespace, region)) => {
                    regions.insert(RegionKey { namespace, region });
                }
                Changed::Resource(_, resource) => {
                    recount |= matches!(resource.kind, Some(v1::resource::Kind::Region(_)));
                }
                Changed::Incident(_) | Changed::Delivery(..) => {}
            }
        }
        if fleet_changed || !edits.is_empty() {
            let fleet =
                fleet_changed.then(|| fleet::rows::live(state.probes.values().map(AsRef::as_ref)));
            touched.extend(self.plan.update(state.generation(), edits, fleet));
            let plan = engine::Input::Plan(state.generation());
            self.engine.handle(plan, now, &mut decided);
            self.publish.send_replace(Arc::new(self.plan.clone()));
        }
        self.refresh(&state, &touched, &mut decided);
        if recount || !regions.is_empty() {
            self.recount(&state, (!recount).then_some(&regions), &mut moved);
        }
        self.perform(decided, moved);
    }

    /// Gives the engine what the state says of these checks.
    fn refresh(
        &mut self,
        state: &State,
        checks: &BTreeSet<Uid>,
        decided: &mut Vec<engine::Output>,
    ) {
        let now = self.clock.now();
        for uid in checks {
            let input = match state.checks.get(uid) {
                Some(entry) if entry.check.enabled => {
                    engine::Input::Subject(subject(state, &self.plan, &entry.check))
                }
                _ => engine::Input::Remove(*uid),
            };
            self.engine.handle(input, now, decided);
        }
    }

    /// Tells the tracker how many checks look from each region, and of its open incident.
    fn recount(
        &mut self,
        state: &State,
        only: Option<&BTreeSet<RegionKey>>,
        moved: &mut Vec<fleet::Output>,
    ) {
        let now = self.clock.now();
        if only.is_none() {
            let mut counted: BTreeMap<RegionKey, u32> = state
                .regions
                .keys()
                .map(|(namespace, region)| {
                    (RegionKey { namespace: namespace.clone(), region: region.clone() }, 0)
                })
                .collect();
            for entry in state.checks.values().filter(|entry| entry.check.enabled) {
                for region in &entry.check.regions {
                    let namespace = entry.check.namespace.clone();
                    let key = RegionKey { namespace, region: region.clone() };
                    if let Some(count) = counted.get_mut(&key) {
                        *count += 1;
                    }
                }
            }
            for gone in self.counted.keys().filter(|key| !counted.contains_key(*key)) {
                let input = fleet::Input::RegionGone(gone.clone());
                self.tracker.handle(input, now, clock::utc(), moved);
            }
            self.counted = counted;
        }
        for (key, &checks) in &self.counted {
            if only.is_some_and(|only| !only.contains(key)) {
                continue;
            }
            let name = (key.namespace.clone(), key.region.clone());
            let row = state.silent.get(&name);
            let incident = row.map(|row| row.incident_uid.clone()).unwrap_or_default();
            let latched = row.is_some_and(|row| row.latched);
            let input = fleet::Input::Region { key: key.clone(), checks, incident, latched };
            self.tracker.handle(input, now, clock::utc(), moved);
        }
    }
}

fn key_of(voter: &Voter) -> ProbeKey {
    ProbeKey { region: voter.region.clone(), probe: voter.probe.clone() }
}

/// What the engine needs to know of one check.
fn subject(state: &State, plan: &Plan, check: &Arc<parallax_common::check::Check>) -> Subject {
    let verdict = state.verdicts.get(&check.uid);
    let assignees = plan.assignees(&check.uid);
    Subject {
        check: Arc::clone(check),
        verdict: verdict.and_then(|v| enums::verdict(v.verdict)).unwrap_or(Verdict::Unknown),
        degraded: verdict.and_then(|v| enums::degraded_kind(v.degraded)),
        sequence: verdict.map_or(0, |verdict| verdict.sequence),
        open_incident: verdict.and_then(|verdict| verdict.incident_uid.parse().ok()),
        latched: verdict.is_some_and(|verdict| verdict.latched),
        assignees: assignees.iter().map(|a| a.as_ref().map(voter_of)).collect(),
        generation: plan.generation(),
    }
}

fn voter_of(probe: &crate::core::plan::ProbeRef) -> Voter {
    Voter {
        region: probe.region.to_string(),
        probe: probe.probe.to_string(),
        incarnation: Incarnation(probe.incarnation.0),
    }
}
