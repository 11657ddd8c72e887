//! A probe: the cores of production, with sessions, slots and runs moved by the simulation.
//!
//! Everything that a probe decides is its own core's; what stands here is what its owner task does
//! around them: hand a fact in, carry out what comes back. Windows are sealed and dropped, as
//! history is no part of the simulation.

use std::collections::{BTreeMap, VecDeque};

use parallax_common::limits::HEARTBEAT;
use parallax_common::name::{Generation, Incarnation, Uid};
use parallax_common::outcome::{BallotState, Outcome};
use parallax_common::time::{BootTime, MeshTime};
use parallax_probe::clock::MeshClock;
use parallax_probe::core::assign::{Applied, Assembler, Assignments, Change, Plan};
use parallax_probe::core::confirm::{Confirmations, Refused};
use parallax_probe::core::record::{Ended, Record, Recorder};
use parallax_probe::core::schedule::{Cause, RunId, Schedule, Start};
use parallax_probe::core::watermark::{InFlight, Told};
use parallax_probe::session::read_chunk;
use parallax_probe::wire;
use parallax_proto::convert;
use parallax_proto::convert::time::generation_to;
use parallax_proto::v1;
use parallax_proto::v1::live_request::Frame as Up;
use parallax_proto::v1::live_response::Frame as Down;

use crate::chance::Chance;
use crate::counters::Counters;
use crate::line::{LineId, Word};
use crate::seen::{Seen, Sink};
use crate::target::{Sight, Target, finding};

/// The mesh of every certificate.
pub const MESH: &str = "simulation";
/// A line on which nothing was heard for so long is dead: its pings come every second.
const SILENT_US: u64 = 20_000_000;
const HEARTBEAT_US: u64 = HEARTBEAT.as_micros() as u64;
/// How long a turn waits at least for the next.
const REST_US: u64 = 500;

/// What a probe's turn works with, and what it asks for.
pub struct Desk<'a> {
    /// The simulation's time.
    pub now_us: u64,
    /// What it looks at.
    pub target: &'a Target,
    /// What happened.
    pub counters: &'a mut Counters,
    /// Where it is seen.
    pub sink: &'a Sink,
    /// To be said.
    pub say: Vec<(LineId, Word)>,
    /// To be closed.
    pub hang_up: Vec<LineId>,
    /// Runs that end later: when, and which.
    pub ends: Vec<(u64, RunId)>,
    /// Members to dial again.
    pub redial: Vec<u64>,
}

#[derive(Debug)]
struct Session {
    line: LineId,
    welcomed: bool,
    /// Nothing yet: its next heartbeat is whole.
    told: Option<Told>,
    snapshots: VecDeque<(Generation, Vec<Uid>, bool)>,
    assembler: Assembler,
    heard_us: u64,
    /// A plan that was overtaken by another member's, and when: that one leads to it, or else the
    /// session begins anew.
    overtaken: Option<(Generation, u64)>,
}

struct Running {
    start: Start,
    generation: Generation,
    handed: MeshTime,
    started: BootTime,
    /// It hangs until its timeout, whatever the target does meanwhile.
    hangs: bool,
}

/// What a check's runs said of late.
#[derive(Default)]
struct Said {
    digest: u64,
    state: Option<BallotState>,
    last: Option<Outcome>,
    same: u32,
}

/// What this life's runs of one version of a check amount to: that it was taken away and given back
/// meanwhile changes nothing about what they saw.
#[derive(Default)]
struct Saw {
    /// It is to be told although it is nothing else.
    owed: bool,
    failing: bool,
    same: u32,
    state: Option<BallotState>,
}

/// One life of a probe.
pub struct Probe {
    /// Names this life.
    pub pid: u64,
    /// Where it runs: its region.
    pub place: usize,
    /// Its region's name.
    pub region: String,
    /// Its name.
    pub name: String,
    /// Of its spool.
    pub incarnation: Incarnation,
    /// It is stopped, and does not know.
    pub frozen: bool,
    /// It was told to go and not come back.
    pub dismissed: bool,
    /// It will be woken then.
    pub wake_us: Option<u64>,
    /// Its boot clock is ahead by so much.
    boot_us: u64,
    clock: MeshClock,
    assignments: Assignments,
    schedule: Schedule,
    recorder: Recorder,
    confirmations: Confirmations,
    in_flight: InFlight,
    sessions: BTreeMap<u64, Session>,
    running: BTreeMap<RunId, Running>,
    out: Vec<Record>,
    heartbeat_us: u64,
    said: BTreeMap<Uid, Said>,
    saw: BTreeMap<(Uid, u64), Saw>,
    chance: Chance,
}

impl Probe {
    /// A process that knows nothing yet.
    pub fn new(pid: u64, place: usize, name: String, now_us: u64, chance: &mut Chance) -> Self {
        let incarnation = Incarnation(chance.word() | 1);
        Self {
            pid,
            place,
            region: format!("k{place}"),
            name,
            incarnation,
            frozen: false,
            dismissed: false,
            wake_us: None,
            boot_us: chance.between(1_000_000, 1_000_000_000),
            clock: MeshClock::default(),
            assignments: Assignments::default(),
            schedule: Schedule::default(),
            recorder: Recorder::new(incarnation),
            confirmations: Confirmations::default(),
            in_flight: InFlight::default(),
            sessions: BTreeMap::new(),
            running: BTreeMap::new(),
            out: Vec::new(),
            heartbeat_us: now_us + chance.below(HEARTBEAT_US),
            said: BTreeMap::new(),
            saw: BTreeMap::new(),
            chance: Chance::new(chance.word(), "runs"),
        }
    }

    fn boot(&self, now_us: u64) -> BootTime {
        BootTime::from_ns(((now_us + self.boot_us) * 1_000) as i64)
    }

    fn mesh(&self, now_us: u64) -> Option<MeshTime> {
        self.clock.mesh(self.boot(now_us))
    }

    /// Whether it has a session with a member, or is about to.
    pub fn has_session(&self, member: u64) -> bool {
        self.sessions.contains_key(&member)
    }

    /// The line to a member by which it was welcomed.
    pub fn line_to(&self, member: u64) -> Option<LineId> {
        let session = self.sessions.get(&member).filter(|session| session.welcomed)?;
        Some(session.line)
    }

    /// What its own runs of this version say of a check, as far as they say anything.
    pub fn says(&self, check: &Uid, digest: u64) -> Option<BallotState> {
        let held = self.assignments.get(check)?;
        let same = held.run_digest.0 == digest;
        self.said.get(check).and_then(|said| said.state).filter(|_| same)
    }

    /// It has dialled a member: its first word.
    pub fn dialled(&mut self, member: u64, line: LineId, desk: &mut Desk<'_>) {
        let session = Session {
            line,
            welcomed: false,
            told: None,
            snapshots: VecDeque::new(),
            assembler: Assembler::default(),
            heard_us: desk.now_us,
            overtaken: None,
        };
        self.sessions.insert(member, session);
        let boot = self.boot(desk.now_us);
        let hello = v1::Hello {
            region: self.region.clone(),
            probe: self.name.clone(),
            incarnation: self.incarnation.0,
            mesh: MESH.to_owned(),
            generation: Some(generation_to(self.assignments.generation())),
            build: "simulation".to_owned(),
            level: 1,
            kinds: vec!["http".to_owned(), "tcp".to_owned()],
            boottime_ns: boot.as_ns(),
            offset_ns: self.clock.offset_ns(boot),
            ..v1::Hello::default()
        };
        desk.say.push((line, Word::Up(Box::new(Up::Hello(hello)))));
    }

    /// The other end of a line has closed it.
    pub fn closed(&mut self, line: LineId, desk: &mut Desk<'_>) {
        let member = self.sessions.iter().find(|(_, session)| session.line == line);
        if let Some((member, _)) = member.map(|(member, session)| (*member, session.line)) {
            self.sessions.remove(&member);
            desk.redial.push(member);
        }
    }

    fn hang_up(&mut self, member: u64, desk: &mut Desk<'_>) {
        if let Some(session) = self.sessions.remove(&member) {
            desk.hang_up.push(session.line);
            desk.redial.push(member);
        }
    }

    /// A member says something.
    pub fn hear(&mut self, line: LineId, frame: Down, desk: &mut Desk<'_>) {
        let found = self.sessions.iter_mut().find(|(_, session)| session.line == line);
        let Some((member, session)) = found else { return };
        let member = *member;
        session.heard_us = desk.now_us;
        match frame {
            Down::Welcome(_) => {
                session.welcomed = true;
                let job = self.whole_snapshot();
                if let Some(session) = self.sessions.get_mut(&member) {
                    session.snapshots = VecDeque::from([job]);
                }
            }
            Down::Ping(ping) => {
                let boot = self.boot(desk.now_us);
                let pong = v1::Pong { id: ping.id, boottime_ns: boot.as_ns() };
                desk.say.push((line, Word::Up(Box::new(Up::Pong(pong)))));
                if ping.measured && self.clock.measured(member, ping.offset_ns, ping.leader, boot) {
                    self.reschedule(desk.now_us);
                }
            }
            Down::Assignments(chunk) => {
                let chunk = read_chunk(&chunk).map_err(|error| error.to_string());
                let plan = chunk.and_then(|chunk| {
                    session.assembler.push(chunk).map_err(|error| error.to_string())
                });
                match plan {
                    Ok(Some(plan)) => self.plan(member, plan, desk),
                    Ok(None) => {}
                    Err(why) => {
                        desk.sink.tell(Seen::FrameRefused { by: self.name.clone(), why });
                        self.hang_up(member, desk);
                    }
                }
            }
            Down::Order(order) => self.order(&order, desk),
            Down::SnapshotRequest(_) => {
                let job = self.whole_snapshot();
                if let Some(session) = self.sessions.get_mut(&member) {
                    session.snapshots = VecDeque::from([job]);
                    session.told = None;
                }
            }
            Down::Goodbye(goodbye) => {
                self.dismissed |= goodbye.r#final;
                self.hang_up(member, desk);
            }
            // Nobody asks for looks here.
            Down::Members(_) | Down::LookOrder(_) => {}
        }
        self.turn(desk);
    }

    fn whole_snapshot(&self) -> (Generation, Vec<Uid>, bool) {
        let all = self.assignments.iter().map(|assignment| assignment.check).collect();
        (self.assignments.generation(), all, true)
    }

    fn plan(&mut self, member: u64, plan: Plan, desk: &mut Desk<'_>) {
        let (generation, base) = (plan.generation, plan.base);
        let change = match self.assignments.apply(plan) {
            Applied::Changed(change) => change,
            Applied::Stale => return,
            Applied::WrongBase if base < Some(self.assignments.generation()) => {
                desk.counters.add("plan overtaken");
                if let Some(session) = self.sessions.get_mut(&member) {
                    session.overtaken = Some((generation, desk.now_us));
                }
                return;
            }
            Applied::WrongBase => {
                desk.counters.add("plan on another base");
                return self.hang_up(member, desk);
            }
        };
        desk.counters.add("plan accepted");
        desk.sink.tell(Seen::PlanAccepted { incarnation: self.incarnation.0, generation });
        for uid in &change.removed {
            self.confirmations.drop_check(uid);
            self.recorder.remove(uid);
            self.said.remove(uid);
        }
        for assignment in &change.upserts {
            let uid = assignment.check;
            let digest = self.recorder.snapshot(&uid).map(|snapshot| snapshot.digest);
            if digest.is_some_and(|digest| digest != assignment.run_digest) {
                self.confirmations.drop_check(&uid);
                self.said.remove(&uid);
            }
            if digest.is_none() {
                // Somebody else may have looked meanwhile: what it sees now is told, also the same.
                let theirs = self.saw.iter_mut().filter(|((check, _), _)| *check == uid);
                theirs.for_each(|(_, saw)| saw.owed = true);
            }
            self.recorder.assign(assignment, generation);
        }
        if let Some(now) = self.mesh(desk.now_us) {
            self.schedule.apply(&change, now);
        }
        let changed: Vec<Uid> = change.upserts.iter().map(|one| one.check).collect();
        let applied = v1::AssignmentsApplied { generation: Some(generation_to(generation)) };
        for session in self.sessions.values_mut().filter(|session| session.welcomed) {
            session.snapshots.push_back((generation, changed.clone(), false));
            desk.say.push((session.line, Word::Up(Box::new(Up::AssignmentsApplied(applied)))));
        }
    }

    fn reschedule(&mut self, now_us: u64) {
        let upserts = self.assignments.iter().cloned().collect();
        if let Some(now) = self.mesh(now_us) {
            self.schedule.apply(&Change { upserts, removed: Vec::new() }, now);
        }
    }

    fn order(&mut self, order: &v1::ConfirmOrder, desk: &mut Desk<'_>) {
        let Some(now) = self.mesh(desk.now_us) else { return };
        let Ok(order) = convert::assignment::order(order) else { return };
        let held = self.assignments.get(&order.check).map(|assignment| assignment.run_digest);
        let (plan, rate) = (self.assignments.generation(), self.schedule.steady_rate());
        match self.confirmations.accept(&order, held, plan, rate, now) {
            Ok(_) => desk.counters.add("order obeyed"),
            Err(Refused::NoTokens) => desk.counters.add("bucket empty"),
            Err(Refused::Repeated) => desk.counters.add("order came twice"),
            Err(Refused::TooOld) => desk.counters.add("order too old"),
            Err(_) => desk.counters.add("order refused"),
        }
    }

    /// A run has ended.
    pub fn run_ends(&mut self, run: RunId, desk: &mut Desk<'_>) {
        let Some(running) = self.running.remove(&run) else { return };
        let Running { start, generation, handed, started, hangs } = running;
        self.schedule.ended(run);
        self.in_flight.ended(run);
        let sight = match desk.target.sight(self.place) {
            _ if hangs => Sight::Hanging,
            // It has begun to hang: this run has just come through.
            Sight::Hanging => Sight::Well,
            sight => sight,
        };
        let began = self.clock.mesh(started).unwrap_or(start.scheduled);
        let (check, digest) = (start.assignment.check, start.assignment.run_digest);
        let needs = (start.assignment.failures, start.assignment.successes);
        let finding = finding(sight);
        let outcome = finding.outcome;
        desk.counters.add("run");
        let record = self.recorder.ended(Ended {
            lateness: began.since(start.scheduled),
            assignment: start.assignment,
            generation,
            cause: start.cause,
            scheduled: start.scheduled,
            handed,
            started,
            ended: self.boot(desk.now_us),
            finding,
        });
        self.out.extend(record);
        self.see((check, digest.0), outcome, needs, desk);
        self.feel((check, digest.0), outcome, needs.0.max(needs.1));
        self.turn(desk);
    }

    /// Tells what its runs of a check have seen, when that is something else now.
    fn see(
        &mut self,
        (check, digest): (Uid, u64),
        outcome: Outcome,
        (failures, successes): (u32, u32),
        desk: &mut Desk<'_>,
    ) {
        let saw = self.saw.entry((check, digest)).or_default();
        let failing = outcome == Outcome::Fail;
        saw.same = if saw.failing == failing { saw.same + 1 } else { 1 };
        saw.failing = failing;
        let (enough, state) = match failing {
            true => (saw.same >= failures, BallotState::Fail),
            false => (saw.same >= successes, BallotState::Pass),
        };
        let (now_us, region) = (desk.now_us, self.region.clone());
        let owed = enough && std::mem::take(&mut saw.owed);
        if enough && (saw.state.replace(state) != Some(state) || owed) {
            desk.sink.tell(Seen::Felt { now_us, region, check, digest, state });
        } else if !failing && saw.state.is_none() {
            desk.sink.tell(Seen::Passed { now_us, region, check, digest });
        }
    }

    /// Follows what its runs of a check amount to. A state changes within the first few runs that say
    /// the same, or not at all.
    fn feel(&mut self, (check, digest): (Uid, u64), outcome: Outcome, need: u32) {
        let held = self.assignments.get(&check).map(|held| held.run_digest.0);
        if held != Some(digest) {
            // The last runs of an older version.
            return;
        }
        let said = self.said.entry(check).or_default();
        if said.digest != digest {
            *said = Said { digest, ..Said::default() };
        }
        said.same = if said.last == Some(outcome) { said.same + 1 } else { 1 };
        said.last = Some(outcome);
        if said.same > need + 1 {
            return;
        }
        let Some(snapshot) = self.recorder.snapshot(&check) else { return };
        said.state = Some(snapshot.state);
    }

    /// Everything that is due now.
    pub fn turn(&mut self, desk: &mut Desk<'_>) {
        let boot = self.boot(desk.now_us);
        if let Some(now) = self.clock.mesh(boot) {
            let due = self.schedule.due(now);
            for missed in due.missed {
                desk.counters.add("slot missed");
                self.out.extend(self.recorder.missed(&missed, boot));
            }
            for start in due.starts {
                self.start(start, now, boot, desk);
            }
            for (check, order, scheduled) in self.confirmations.due(now) {
                if let Some(start) = self.schedule.start_ordered(check, order, scheduled) {
                    self.start(start, now, boot, desk);
                }
            }
            let horizon = self.schedule.horizon(now);
            if self.recorder.next_seal_at().is_some_and(|at| at <= horizon) {
                drop(self.recorder.seal(horizon, usize::MAX));
            }
        }
        self.flush(desk);
        self.send_snapshots(desk);
        if desk.now_us >= self.heartbeat_us {
            self.heartbeat(desk);
        }
    }

    fn start(&mut self, start: Start, now: MeshTime, boot: BootTime, desk: &mut Desk<'_>) {
        self.recorder.started(&start.assignment, start.cause, now);
        if let Cause::Slot(slot) = start.cause {
            self.in_flight.started(start.run, start.assignment.check, slot, start.scheduled);
        }
        let hangs = desk.target.sight(self.place) == Sight::Hanging;
        let takes_us = match hangs {
            true => start.assignment.run.timeout.as_micros() as u64,
            false => self.chance.between(3_000, 40_000),
        };
        desk.ends.push((desk.now_us + takes_us, start.run));
        let generation = self.assignments.generation();
        let running = Running { generation, handed: now, started: boot, hangs, start };
        self.running.insert(running.start.run, running);
    }

    fn flush(&mut self, desk: &mut Desk<'_>) {
        let records = std::mem::take(&mut self.out);
        for frame in wire::outcomes(&records, &self.clock, usize::MAX) {
            let Some(frame) = frame.frame else { continue };
            for session in self.sessions.values().filter(|session| session.welcomed) {
                desk.say.push((session.line, Word::Up(Box::new(frame.clone()))));
            }
        }
    }

    fn send_snapshots(&mut self, desk: &mut Desk<'_>) {
        for session in self.sessions.values_mut() {
            for (generation, checks, whole) in session.snapshots.drain(..) {
                let checks = checks.iter().filter_map(|uid| self.recorder.snapshot(uid));
                let snapshot = v1::BallotSnapshot {
                    generation: Some(generation_to(generation)),
                    live_sequence: self.recorder.live_sequence(),
                    checks: checks.map(|one| wire::check_snapshot(&one, &self.clock)).collect(),
                    chunk: 0,
                    last: true,
                    whole,
                    boottime_ns: ((desk.now_us + self.boot_us) * 1_000) as i64,
                };
                desk.say.push((session.line, Word::Up(Box::new(Up::Snapshot(snapshot)))));
            }
        }
    }

    fn heartbeat(&mut self, desk: &mut Desk<'_>) {
        self.heartbeat_us += HEARTBEAT_US;
        if self.heartbeat_us <= desk.now_us {
            self.heartbeat_us = desk.now_us + HEARTBEAT_US;
        }
        let boot = self.boot(desk.now_us);
        let watermark = match self.clock.mesh(boot) {
            Some(mesh) => self.clock.boot_for(self.schedule.horizon(mesh), boot),
            None => boot,
        };
        let live_sequence = self.recorder.live_sequence();
        let held = self.assignments.generation();
        let mut dead = Vec::new();
        let mut stuck = Vec::new();
        for (member, session) in &mut self.sessions {
            match session.overtaken {
                Some((wanted, _)) if held >= wanted => session.overtaken = None,
                Some((_, since_us)) if desk.now_us >= since_us + HEARTBEAT_US => {
                    stuck.push(*member);
                    continue;
                }
                _ => {}
            }
            if desk.now_us - session.heard_us > SILENT_US {
                dead.push(*member);
            }
            if !session.welcomed {
                continue;
            }
            let whole = session.told.is_none();
            let changes = session.told.get_or_insert_default().changes(&self.in_flight);
            let beat = wire::Beat { watermark, live_sequence, whole };
            let health = v1::ProbeHealth::default();
            let frame = wire::heartbeat(beat, &changes, health, &self.clock, boot);
            if let Some(frame) = frame.frame {
                desk.say.push((session.line, Word::Up(Box::new(frame))));
            }
        }
        for member in stuck {
            desk.counters.add("plan on another base");
            self.hang_up(member, desk);
        }
        for member in dead {
            desk.counters.add("line given up");
            self.hang_up(member, desk);
        }
    }

    /// When it has something to do by itself.
    pub fn wake_at_us(&self, now_us: u64) -> u64 {
        let boot = self.boot(now_us);
        let due =
            [self.schedule.next_at(), self.confirmations.next_at(), self.recorder.next_seal_at()];
        let next = due.into_iter().flatten().min().map(|at| self.clock.until(at, boot));
        let at_us = next.map_or(u64::MAX, |until| {
            now_us.saturating_add(u64::try_from(until.as_micros()).unwrap_or(u64::MAX) + 1)
        });
        at_us.min(self.heartbeat_us).max(now_us + REST_US)
    }
}
