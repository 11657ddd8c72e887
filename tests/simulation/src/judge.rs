//! A member's judge: the core that decides in production, with its lanes, relays and clock.
//!
//! What stands here is what the judge's task does around its core: hand a fact in, carry out what
//! comes back. Lanes are in `judge/sessions.rs`, streams to other members in `judge/relays.rs`.

mod relays;
mod sessions;

use std::collections::BTreeMap;
use std::sync::Arc;

use parallax_common::name::Uid;
use parallax_common::record::Order;
use parallax_common::time::{BootTime, MeshTime, UtcTime};
use parallax_coordinator::core::engine::Voter;
use parallax_coordinator::core::judge::{About, Act, Input, Judge as Core, Outputs, Proposal};
use parallax_coordinator::core::mesh_clock::Clock;
use parallax_coordinator::core::peering::Refusal;
use parallax_coordinator::core::state::State;
use parallax_coordinator::machine::Batch;
use parallax_coordinator::view::View;
use parallax_proto::convert::assignment::order_to;
use parallax_proto::v1;
use parallax_proto::v1::live_response::Frame as Down;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::oneshot::error::TryRecvError;

use self::relays::Relays;
use crate::api::{self, Context, ProposalReceiver};
use crate::chance::Chance;
use crate::counters::Counters;
use crate::gate::Gate;
use crate::lane::Lane;
use crate::line::{LineId, Word};
use crate::seen::{Seen, Sink, hash_plan};
use crate::wire::Origin;

/// The wait after a proposal failed: doubled up to twenty times as much.
const BACK_OFF_US: u64 = 100_000;

/// What a judge works with, and what it asks for.
pub struct Desk<'a> {
    /// The simulation's time.
    pub now_us: u64,
    /// What the member's clock says.
    pub utc_ns: i64,
    /// This member.
    pub node: u64,
    /// Its published state.
    pub state: Arc<State>,
    /// Whether Raft says that it leads.
    pub leads: bool,
    /// For new uids.
    pub chance: &'a mut Chance,
    /// What happened.
    pub counters: &'a mut Counters,
    /// Where it is seen.
    pub sink: &'a Sink,
    /// To be said.
    pub say: Vec<(LineId, Word)>,
    /// To be closed.
    pub hang_up: Vec<LineId>,
    /// A member to be dialled for a stream that relays.
    pub follow: Option<u64>,
    /// Members that were not let in.
    pub refused: Vec<(u64, Refusal)>,
}

/// What of the world a judge works with.
pub struct Means<'a> {
    /// For new uids.
    pub chance: &'a mut Chance,
    /// What happened.
    pub counters: &'a mut Counters,
    /// Where it is seen.
    pub sink: &'a Sink,
}

impl<'a> Desk<'a> {
    /// The desk of `node`, which leads or not, at this time by the simulation and by its own clock.
    pub fn new(
        (node, leads): (u64, bool),
        (now_us, utc_ns): (u64, i64),
        state: Arc<State>,
        Means { chance, counters, sink }: Means<'a>,
    ) -> Self {
        let (say, hang_up, follow, refused) = (Vec::new(), Vec::new(), None, Vec::new());
        Self {
            now_us,
            utc_ns,
            node,
            state,
            leads,
            chance,
            counters,
            sink,
            say,
            hang_up,
            follow,
            refused,
        }
    }
}

/// The judge of one life.
pub struct Judge {
    core: Core,
    clock: Clock,
    /// Its boot clock is ahead by so much.
    boot_us: u64,
    batches: UnboundedReceiver<Batch>,
    loaded: bool,
    leads: bool,
    lanes: BTreeMap<LineId, Lane>,
    sessions: u64,
    relays: Relays,
    proposals: Vec<Proposal>,
    settling: Vec<(ProposalReceiver, Vec<About>)>,
    failures: u32,
    /// Failed proposals of which the core hears then.
    later: Vec<(u64, Vec<About>)>,
    /// It will be woken then.
    pub wake_us: Option<u64>,
}

impl Judge {
    /// A judge that follows `batches`, by a clock that starts from `offset_ns`.
    pub fn new(
        batches: UnboundedReceiver<Batch>,
        (boot_us, offset_ns): (u64, i64),
        now_us: u64,
        gate: Gate,
    ) -> Self {
        let boot = BootTime::from_ns(((now_us + boot_us) * 1_000) as i64);
        let clock = Clock::new(offset_ns, boot);
        Self {
            core: Core::new(clock.mesh(boot)),
            clock,
            boot_us,
            batches,
            loaded: false,
            leads: false,
            lanes: BTreeMap::new(),
            sessions: 0,
            relays: Relays::new(gate),
            proposals: Vec::new(),
            settling: Vec::new(),
            failures: 0,
            later: Vec::new(),
            wake_us: None,
        }
    }

    fn boot(&self, now_us: u64) -> BootTime {
        BootTime::from_ns(((now_us + self.boot_us) * 1_000) as i64)
    }

    /// Mesh time as this member has it.
    pub fn mesh(&self, now_us: u64) -> MeshTime {
        self.clock.mesh(self.boot(now_us))
    }

    /// What this member's boot clock lacks to mesh time.
    pub fn offset_ns(&self, now_us: u64) -> i64 {
        self.clock.offset_ns(self.boot(now_us))
    }

    /// Whether something waits to be proposed.
    pub fn has_proposals(&self) -> bool {
        !self.proposals.is_empty()
    }

    /// The line by which a life of a probe is heard here, and whether it speaks.
    pub fn lane_of(&self, incarnation: u64) -> Option<LineId> {
        let mut lanes = self.lanes.iter();
        let found = lanes.find(|(_, lane)| lane.voter.incarnation.0 == incarnation);
        found.filter(|(_, lane)| lane.watermark.is_some()).map(|(line, _)| *line)
    }

    /// Whether a life of a probe has a lane here, or one that another member relays.
    pub fn hears(&self, incarnation: u64) -> bool {
        self.lanes.values().any(|lane| lane.voter.incarnation.0 == incarnation)
            || self.relays.hears(incarnation)
    }

    /// Who looks at a check by the plan of this member, by rank.
    pub fn assignees(&self, check: &Uid) -> Vec<Option<u64>> {
        let assignees = self.core.plan().assignees(check);
        let life = |probe: &Option<parallax_coordinator::core::plan::ProbeRef>| {
            probe.as_ref().map(|probe| probe.incarnation.0)
        };
        assignees.iter().map(life).collect()
    }

    /// Of which regions of a check this member has a vote, by rank.
    pub fn voted(&self, check: &Uid, now_us: u64) -> Vec<bool> {
        let ballots = self.core.live_ballots(*check, self.mesh(now_us));
        ballots.iter().map(|ballot| ballot.state() != v1::BallotState::None).collect()
    }

    /// One fact, and what follows.
    fn handle(&mut self, input: Input<'_>, desk: &mut Desk<'_>) {
        let mut out = Outputs::default();
        let now = self.mesh(desk.now_us);
        if let Input::Opened(voter, _) = &input {
            let life = voter.incarnation.0;
            desk.sink.tell(Seen::Heard { node: desk.node, mesh: now, life });
        }
        self.core.handle(input, now, UtcTime::from_ns(desk.utc_ns), &mut out);
        if !out.is_empty() {
            self.perform(out, desk);
        }
    }

    fn perform(&mut self, mut out: Outputs, desk: &mut Desk<'_>) {
        if out.plan_changed {
            let plan = self.core.plan();
            let (generation, digest) = (plan.generation(), hash_plan(plan));
            desk.sink.tell(Seen::Planned { node: desk.node, generation, digest });
            for (line, lane) in &mut self.lanes {
                let (region, probe) = (&lane.voter.region, &lane.voter.probe);
                for chunk in lane.handout.next(plan, region, probe, None) {
                    desk.say.push((*line, Word::Down(Box::new(Down::Assignments(chunk)))));
                }
            }
        }
        for act in std::mem::take(&mut out.acts) {
            match act {
                Act::Order { to, order } => self.order(&to, &order, desk),
                Act::Resync(voter, session) => {
                    desk.counters.add("records missing");
                    match self.line_of(&voter, session) {
                        Some(line) => self.end_lane(line, desk),
                        None => self.relays.listening.begin_anew(&voter),
                    }
                }
                Act::Ask(voter) => {
                    desk.counters.add("asked for everything again");
                    self.ask(&voter, desk);
                }
                Act::Supersede { key, old, new } => {
                    desk.counters.add("probe superseded");
                    self.supersede(&key, old, desk);
                    self.relays.supersede(&key, old, new, desk);
                }
            }
        }
        let uid = || {
            let words = [desk.chance.word().to_be_bytes(), desk.chance.word().to_be_bytes()];
            Uid::from_slice(&words.concat()).map(|uid| uid.to_string()).unwrap_or_default()
        };
        self.proposals.extend(out.proposals(desk.node, uid));
    }

    fn order(&mut self, to: &Voter, order: &Order, desk: &mut Desk<'_>) {
        desk.counters.add("confirmation ordered");
        desk.sink.tell(Seen::Ordered { node: desk.node, leads: desk.leads });
        let wire = order_to(order);
        self.relays.order(to, &wire, desk);
        for (line, lane) in &self.lanes {
            if lane.voter == *to {
                desk.say.push((*line, Word::Down(Box::new(Down::Order(wire.clone())))));
            }
        }
    }

    /// Follows what was applied, takes or leaves office, proposes, and hears what came of it. True:
    /// Raft has work.
    pub fn turn(&mut self, context: &mut Context<'_>, desk: &mut Desk<'_>) -> bool {
        let leads = context.member.leadership().leader;
        // As in production: out of office before it catches up, in office after it.
        if !leads {
            self.lead(false, desk);
        }
        self.follow(context.view, desk);
        if leads {
            self.lead(true, desk);
        }
        if self.relays.leader != context.member.leader() {
            let leader = context.member.leader();
            self.follow_leader(leader, desk);
        }
        for (mut answer, about) in std::mem::take(&mut self.settling) {
            match answer.try_recv() {
                Err(TryRecvError::Empty) => self.settling.push((answer, about)),
                Ok(Ok(_)) => {
                    self.failures = 0;
                    self.handle(Input::Settled(about), desk);
                }
                Ok(Err(_)) | Err(TryRecvError::Closed) => self.failed(about, desk),
            }
        }
        let mut worked = false;
        for Proposal { about, command } in std::mem::take(&mut self.proposals) {
            if leads {
                desk.counters.add("decision proposed");
                let answer = api::propose_here(command, Origin::default(), context);
                self.settling.push((answer, about));
                worked = true;
            } else {
                // What a leader decides is never forwarded.
                self.failed(about, desk);
            }
        }
        worked
    }

    fn lead(&mut self, leads: bool, desk: &mut Desk<'_>) {
        if self.leads != leads {
            self.leads = leads;
            let boot = self.boot(desk.now_us);
            self.clock.lead(leads, boot);
            self.handle(Input::Leadership(leads), desk);
        }
    }

    /// Deciding again at once would take the time that is lacking.
    fn failed(&mut self, about: Vec<About>, desk: &mut Desk<'_>) {
        desk.counters.add("decision not committed");
        let wait_us = (BACK_OFF_US << self.failures.min(5)).min(20 * BACK_OFF_US);
        self.failures += 1;
        self.later.push((desk.now_us + wait_us, about));
    }

    fn follow(&mut self, view: &View, desk: &mut Desk<'_>) {
        if !std::mem::replace(&mut self.loaded, true) {
            desk.state = view.load();
            let state = Arc::clone(&desk.state);
            let boot = self.boot(desk.now_us);
            self.clock.not_before(MeshTime::from_ns(state.cluster.last_mesh_ns), boot);
            self.handle(Input::Loaded(&state), desk);
        }
        while let Ok(batch) = self.batches.try_recv() {
            desk.state = view.load();
            let state = Arc::clone(&desk.state);
            if batch.reset {
                self.handle(Input::Loaded(&state), desk);
            } else {
                self.handle(Input::Applied(&state, &batch.changes), desk);
            }
        }
    }

    /// Its time has come.
    pub fn wake(&mut self, desk: &mut Desk<'_>) {
        let now_us = desk.now_us;
        let later = std::mem::take(&mut self.later);
        let (due, later): (Vec<_>, Vec<_>) = later.into_iter().partition(|(at, _)| *at <= now_us);
        self.later = later;
        for (_, about) in due {
            self.handle(Input::Settled(about), desk);
        }
        if self.core.wake_at().is_some_and(|at| at <= self.mesh(now_us)) {
            self.handle(Input::Wake, desk);
        }
    }

    /// When it has something to do by itself.
    pub fn wake_at_us(&self, now_us: u64) -> Option<u64> {
        let now = self.mesh(now_us);
        let core = self.core.wake_at().map(|at| now_us + at.since(now).as_micros() as u64 + 2);
        core.into_iter().chain(self.later.iter().map(|(at, _)| *at)).min()
    }

    /// Mesh time was set: whatever was heard is of another time.
    fn begin_anew(&mut self, desk: &mut Desk<'_>) {
        desk.counters.add("clock set");
        self.core = Core::new(self.mesh(desk.now_us));
        let state = Arc::clone(&desk.state);
        self.handle(Input::Loaded(&state), desk);
        if self.leads {
            self.handle(Input::Leadership(true), desk);
        }
        for line in self.lanes.keys().copied().collect::<Vec<_>>() {
            self.end_lane(line, desk);
        }
        self.end_streams(desk);
    }
}
