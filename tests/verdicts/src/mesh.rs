//! One check's time line: what its five probes tell, what the engine makes of it, and what is committed.
//!
//! Events come in order of time; those of one moment in the order in which they were planned.

mod looker;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;
use std::time::Duration;

use parallax_common::check::{
    Check, IpFamily, Lasting, Missing, Policy, Quorum, Run, Step, StepKind, TcpStep,
};
use parallax_common::name::{Generation, Incarnation, RunDigest, Uid};
use parallax_common::outcome::{DegradedKind, Outcome, Verdict};
use parallax_common::time::{MeshTime, ns};
use parallax_coordinator::core::ballots::{Heard, Terms, VoterId};
use parallax_coordinator::core::engine::entry::{Entry, Links, Office};
use parallax_coordinator::core::engine::link::Link;
use parallax_coordinator::core::engine::{Action, Heartbeat, Output, Subject, VerdictDraft, Voter};
use parallax_proto::convert::enums;

use self::looker::Looker;
use crate::chance::Chance;
use crate::faults::{BEHIND_TRANSIT_ONE_IN, Plan, Stretch};
use crate::judged::{Downs, Judged};
use crate::rules::{self, Place};

/// What the month is planned for; the closed form's tests take fewer.
pub const REGIONS: usize = 5;
/// Time between slots.
pub const INTERVAL: Duration = Duration::from_secs(60);
/// Of one run; what fails takes all of it.
pub const TIMEOUT: Duration = Duration::from_secs(5);
/// What passes takes this long.
const QUICK: Duration = Duration::from_millis(100);
/// As `check`s have it unless told otherwise: a twentieth of the interval, a second at most.
const SPACING: Duration = Duration::from_secs(1);
/// From a probe to the leader, or back.
const ONE_WAY: Duration = Duration::from_millis(50);
/// From a proposal to its commit.
const COMMIT: Duration = Duration::from_millis(50);
/// Of what was seen in an outage something may be told so long after it.
const LATE: Duration = INTERVAL.saturating_mul(3);
/// The one session of every voter.
const SESSION: u64 = 1;
/// An outage's length is drawn between these.
const OUTAGE_LASTS: [Duration; 2] = [Duration::from_secs(300), Duration::from_secs(1_800)];

/// Decision 7's bound from the target's first failing moment to the committed incident.
pub fn bound(regions: usize) -> Duration {
    let failures = policy().failures;
    let probe_round_trip = ONE_WAY * 2;
    INTERVAL / regions as u32
        + TIMEOUT * 2
        + SPACING * (failures - 1)
        + probe_round_trip * 3 / 2
        + COMMIT
}

/// What is simulated.
#[derive(Debug, Clone)]
pub struct Load {
    /// Decides everything that is drawn.
    pub seed: u64,
    /// How long.
    pub span: Duration,
    /// How likely a run fails by itself.
    pub loss: f64,
    /// Mean time between two outages of one check; none plants none.
    pub outages_every: Option<Duration>,
    /// What goes wrong for many checks, and how many regions there are.
    pub plan: Plan,
}

impl Load {
    /// When everything begins.
    pub const START: MeshTime = MeshTime::from_ns(1_000_000_000_000_000);

    /// When it ends.
    pub fn end(&self) -> MeshTime {
        Self::START + self.span
    }

    /// Scheduled runs of so many checks.
    pub fn slots(&self, checks: u32) -> f64 {
        let each = self.span.as_secs_f64() / INTERVAL.as_secs_f64();
        each * f64::from(checks) * self.plan.regions.len() as f64
    }
}

/// What came of some checks.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// Outcomes that went through ballots and `decide`.
    pub told: u64,
    /// Those of them that failed.
    pub failed: u64,
    /// Runs that were ordered and made.
    pub ordered: u64,
    /// How often `decide` was asked.
    pub decisions: u64,
    /// Proposals that were committed.
    pub commits: u64,
    /// Outages that were planted.
    pub outages: u64,
    /// Incidents that had fewer than D failing regions in their record: must be none.
    pub without_quorum: u64,
    /// What this product makes of it.
    pub ours: Judged,
    /// What others would, in the order of [`rules::Rule::ALL`].
    pub theirs: [Judged; rules::Rule::ALL.len()],
}

impl Found {
    /// Adds that of other checks.
    pub fn merge(&mut self, other: Self) {
        self.told += other.told;
        self.failed += other.failed;
        self.ordered += other.ordered;
        self.decisions += other.decisions;
        self.commits += other.commits;
        self.outages += other.outages;
        self.without_quorum += other.without_quorum;
        self.ours.merge(other.ours);
        for (mine, other) in self.theirs.iter_mut().zip(other.theirs) {
            mine.merge(other);
        }
    }
}

/// Simulates the check with this number from the first slot to the last.
pub fn run(load: &Load, number: u32) -> Found {
    let mut mesh = Mesh::new(load, number);
    while let Some(Reverse(next)) = mesh.queue.pop() {
        if next.at >= load.end() {
            break;
        }
        mesh.now = next.at;
        mesh.happen(next.event);
    }
    mesh.found()
}

#[derive(Debug)]
enum Event {
    /// A slot that is told comes due.
    Slot { rank: usize, slot: u64 },
    /// An ordered run starts.
    Ordered { rank: usize, order: u64 },
    /// A run is over.
    Ends { rank: usize, slot: Option<u64>, order: u64, outcome: Outcome, started: MeshTime },
    /// What was told arrives.
    Arrives { rank: usize, heard: Heard },
    /// Nothing more is heard of a region.
    Silence(usize),
    /// It is heard again, with all that it held back.
    Return(usize),
    /// Something may have changed by itself.
    Look,
    /// A proposal is committed.
    Commits(Box<VerdictDraft>),
}

#[derive(Debug)]
struct Planned {
    at: MeshTime,
    order: u64,
    event: Event,
}

impl PartialEq for Planned {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Planned {}

impl PartialOrd for Planned {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Planned {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

struct Mesh<'a> {
    load: &'a Load,
    now: MeshTime,
    queue: BinaryHeap<Reverse<Planned>>,
    planned: u64,
    chance: Chance,
    outages: Vec<Stretch>,
    lookers: Vec<Looker<'a>>,
    entry: Entry,
    links: Links,
    office: Office,
    downs: Downs,
    places: Vec<Place>,
    theirs: [Downs; rules::Rule::ALL.len()],
    found: Found,
    /// Up to when every link that is heard has told everything.
    beaten: MeshTime,
}

impl<'a> Mesh<'a> {
    fn new(load: &'a Load, number: u32) -> Self {
        let regions = load.plan.regions.len();
        let mut chance = Chance::new(load.seed, u64::from(number));
        let outages = outages(load, &mut chance);
        let offset = chance.below(ns(INTERVAL) as u64) as i64;
        let is_behind = number.is_multiple_of(BEHIND_TRANSIT_ONE_IN);
        let lookers: Vec<Looker<'a>> = (0..regions)
            .map(|rank| {
                let phase = (offset + ns(INTERVAL) / regions as i64 * rank as i64) % ns(INTERVAL);
                let suffers = &load.plan.regions[rank];
                let fails = if is_behind { &suffers.fails_behind_transit } else { &suffers.fails };
                let chance =
                    Chance::new(load.seed, u64::from(number) << 8 | (rank as u64 + 1) << 56);
                Looker::new(phase, load.loss, chance, fails, suffers)
            })
            .collect();
        let voters: Vec<Voter> = (0..regions)
            .map(|rank| Voter {
                region: region(rank),
                probe: "p".to_owned(),
                incarnation: Incarnation(1),
            })
            .collect();
        let ids: Vec<Option<VoterId>> = (0..regions).map(|rank| Some(id(rank))).collect();
        let mut links: Links = BTreeMap::new();
        for (rank, voter) in voters.iter().enumerate() {
            let mut link = Link::new(voter.clone());
            link.started(SESSION);
            link.snapshot(SESSION, 0, true, true);
            links.insert(id(rank), link);
        }
        let mut entry = Entry::new(subject(&voters), false);
        entry.assign(&ids, &links, Load::START);
        let mut mesh = Self {
            load,
            now: Load::START,
            queue: BinaryHeap::new(),
            planned: 0,
            chance,
            outages,
            lookers,
            entry,
            links,
            office: Office { settled_at: Load::START, last_order: 0, last_proposal: 0 },
            downs: Downs::default(),
            places: vec![Place::default(); regions],
            theirs: Default::default(),
            found: Found::default(),
            beaten: MeshTime::default(),
        };
        mesh.begin();
        mesh
    }

    /// Plans everybody's first slot, and everything that is known from the start.
    fn begin(&mut self) {
        let stale_after = self.entry.terms.stale_after() + Duration::from_nanos(1);
        for (rank, suffers) in self.load.plan.regions.iter().enumerate() {
            for silent in &suffers.silent {
                self.at(silent.from, Event::Silence(rank));
                for after in [stale_after, rules::Rule::looks_again_after()] {
                    self.at(silent.from + after, Event::Look);
                }
                self.at(silent.until, Event::Return(rank));
            }
            for excluded in &suffers.excluded {
                self.at(excluded.from, Event::Look);
                self.at(excluded.until, Event::Look);
            }
        }
        for rank in 0..self.lookers.len() {
            self.plan_next(rank);
        }
    }

    fn at(&mut self, at: MeshTime, event: Event) {
        self.planned += 1;
        self.queue.push(Reverse(Planned { at, order: self.planned, event }));
    }

    fn plan_next(&mut self, rank: usize) {
        if let Some((slot, at)) = self.lookers[rank].plan(self.now, &self.outages) {
            self.at(at, Event::Slot { rank, slot });
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Slot { rank, slot } => {
                if let Some(lost) = self.lookers[rank].start(slot) {
                    self.start(rank, Some(slot), 0, lost);
                }
            }
            Event::Ordered { rank, order } => {
                if self.lookers[rank].silent_since.is_none() {
                    let lost = self.chance.unit() <= self.load.loss;
                    self.found.ordered += 1;
                    self.start(rank, None, order, lost);
                }
            }
            Event::Ends { rank, slot, order, outcome, started } => {
                self.end(rank, slot, order, outcome, started);
            }
            Event::Arrives { rank, heard } => self.hear(rank, heard),
            Event::Silence(rank) => {
                self.heartbeats();
                self.lookers[rank].silent_since = Some(self.now);
                self.places[rank].silent_since = Some(self.now);
                self.links.entry(id(rank)).and_modify(|link| link.ended(SESSION));
            }
            Event::Return(rank) => {
                self.heartbeats();
                self.lookers[rank].silent_since = None;
                // Whoever is back is heard at this moment, too.
                self.beaten = MeshTime::default();
                self.places[rank].silent_since = None;
                let told = std::mem::take(&mut self.lookers[rank].held);
                for heard in told {
                    self.hear(rank, heard);
                }
                self.links.entry(id(rank)).and_modify(|link| {
                    link.started(SESSION);
                    link.snapshot(SESSION, 0, true, true);
                });
                self.look();
            }
            Event::Look => self.look(),
            Event::Commits(draft) => self.commit(&draft),
        }
    }

    fn start(&mut self, rank: usize, slot: Option<u64>, order: u64, lost: bool) {
        let started = self.now;
        let fails = lost
            || Stretch::any_has(self.lookers[rank].fails, started)
            || Stretch::any_has(&self.outages, started);
        let (outcome, takes) =
            if fails { (Outcome::Fail, TIMEOUT) } else { (Outcome::Pass, QUICK) };
        self.at(started + takes, Event::Ends { rank, slot, order, outcome, started });
    }

    fn end(
        &mut self,
        rank: usize,
        slot: Option<u64>,
        order: u64,
        outcome: Outcome,
        started: MeshTime,
    ) {
        let looker = &mut self.lookers[rank];
        let (number, told) = looker.end(slot, outcome, self.now);
        if told {
            let heard = Heard {
                check: CHECK,
                digest: DIGEST,
                number,
                slot: slot.and_then(|slot| i64::try_from(slot).ok()),
                order,
                outcome,
                reason: None,
                step: 0,
                evidence: String::new(),
                started,
                ended: self.now,
                total: self.now.since(started),
            };
            if looker.silent_since.is_some() {
                looker.held.push(heard);
            } else {
                self.at(self.now + ONE_WAY, Event::Arrives { rank, heard });
            }
        }
        self.plan_next(rank);
    }

    fn hear(&mut self, rank: usize, heard: Heard) {
        self.found.told += 1;
        self.found.failed += u64::from(heard.outcome == Outcome::Fail);
        if let Some(slot) = heard.slot {
            self.places[rank].hear(slot, heard.outcome == Outcome::Fail, self.now);
        }
        self.heartbeats();
        let region = &self.entry.subject.check.regions[rank].clone();
        let (changed, _) = self.entry.hear(
            id(rank),
            region,
            std::iter::once(heard),
            None,
            (&self.links, self.now),
        );
        if changed {
            self.look();
        }
    }

    /// Every probe that is heard has told everything up to now; who may not vote, may not.
    fn heartbeats(&mut self) {
        if self.beaten == self.now {
            return;
        }
        self.beaten = self.now;
        let heartbeat = Heartbeat {
            watermark: self.now,
            live_sequence: 0,
            started: Vec::new(),
            ended: Vec::new(),
            whole: false,
        };
        for (looker, link) in self.lookers.iter().zip(self.links.values_mut()) {
            link.excluded = Stretch::any_has(looker.excluded, self.now);
            if looker.silent_since.is_none() {
                link.heartbeat(SESSION, &heartbeat, self.now).expect("no record is missing");
            }
        }
    }

    fn look(&mut self) {
        self.heartbeats();
        self.found.decisions += 1;
        let mut out = Vec::new();
        let before = self.entry.wake;
        self.entry.step(&self.links, &mut self.office, self.now, &mut out);
        if let Some(at) = self.entry.wake.filter(|at| Some(*at) != before) {
            self.at(at, Event::Look);
        }
        for output in out {
            match output {
                Output::Propose(draft) => {
                    self.at(self.now + COMMIT, Event::Commits(Box::new(draft)));
                }
                Output::Order { to, order } => {
                    let rank = (0..self.lookers.len()).find(|rank| region(*rank) == to.region);
                    let rank = rank.expect("orders go to regions of the check");
                    for number in 0..order.count {
                        let at = self.now + ONE_WAY + order.spacing * number;
                        self.at(at, Event::Ordered { rank, order: order.order });
                    }
                }
                Output::Resync(..) | Output::Ask(_) => {
                    unreachable!("the engine says so, not an entry")
                }
            }
        }
        for (rule, downs) in rules::Rule::ALL.into_iter().zip(&mut self.theirs) {
            downs.say(rule.is_down(&self.places, self.now), self.now);
        }
    }

    /// What is decided is so from its commit on, as apply does it.
    fn commit(&mut self, draft: &VerdictDraft) {
        self.found.commits += 1;
        let mut subject = self.entry.subject.clone();
        match draft.action {
            Action::Open => {
                let down_at = draft.record.rule.as_ref().map_or(u32::MAX, |rule| rule.down_at);
                self.found.without_quorum += u64::from(draft.record.failing < down_at);
                subject.open_incident = Some(CHECK);
            }
            Action::Resolve => subject.open_incident = None,
            Action::Set | Action::OpenLasting | Action::OpenDoubt | Action::EndDoubt => {}
        }
        subject.sequence += 1;
        subject.verdict = enums::verdict(draft.record.verdict).unwrap_or(Verdict::Unknown);
        subject.degraded = enums::degraded_kind(draft.record.degraded);
        self.downs.say(subject.open_incident.is_some(), self.now);
        self.entry.update(subject);
        self.entry.proposed = None;
        self.look();
    }

    fn found(self) -> Found {
        let Self { load, outages, downs, theirs, mut found, .. } = self;
        let is_calm = |outage: &Stretch| load.plan.is_calm(outage.from, outage.until + LATE);
        let judge = |downs: &[Stretch]| Judged::judge(downs, &outages, LATE, is_calm);
        found.outages = outages.len() as u64;
        found.ours = judge(&downs.until(load.end()));
        found.theirs = theirs.map(|downs| judge(&downs.until(load.end())));
        found
    }
}

/// When the target of one check really is gone; not within the last hour, so that each can be found.
fn outages(load: &Load, chance: &mut Chance) -> Vec<Stretch> {
    let mut outages = Vec::new();
    let Some(every) = load.outages_every else { return outages };
    let [least, most] = OUTAGE_LASTS;
    let mut at = Load::START;
    loop {
        let from = at + LATE * 2 + Duration::from_secs_f64(chance.wait(every.as_secs_f64()));
        let lasts = least + Duration::from_millis(chance.below((most - least).as_millis() as u64));
        let until = from + lasts;
        if until + Duration::from_secs(3_600) > load.end() {
            return outages;
        }
        outages.push(Stretch { from, until });
        at = until;
    }
}

const CHECK: Uid = Uid::from_bytes(7u128.to_be_bytes());
const DIGEST: RunDigest = RunDigest(1);

fn id(rank: usize) -> VoterId {
    VoterId(rank as u64)
}

fn region(rank: usize) -> String {
    format!("r{rank}")
}

fn policy() -> Policy {
    Policy {
        regions: Quorum::Majority,
        failures: 2,
        successes: 2,
        failures_of: 0,
        successes_of: 0,
        missing: Missing::Unknown,
    }
}

/// The numbers that votes of the simulated checks depend on.
pub fn terms() -> Terms {
    Terms::of(&check(Vec::new()))
}

fn check(regions: Vec<String>) -> Check {
    let tcp = TcpStep { host: "127.0.0.1".to_owned(), port: 80, ..TcpStep::default() };
    Check {
        uid: CHECK,
        namespace: "default".to_owned(),
        name: "check".to_owned(),
        labels: BTreeMap::new(),
        etag: 1,
        enabled: true,
        run: Run {
            steps: vec![Step { name: String::new(), kind: StepKind::Tcp(tcp), captures: vec![] }],
            timeout: TIMEOUT,
            expect: Vec::new(),
            warn: Vec::new(),
            invert: false,
            ip: IpFamily::Auto,
            source_address: None,
            resolver: None,
            samples: 1,
            canary: None,
        },
        run_digest: DIGEST,
        interval: INTERVAL,
        regions,
        advisory_regions: Vec::new(),
        probes_per_region: 1,
        policy: policy(),
        alert: Vec::new(),
        runbook: String::new(),
        confirm_spacing: SPACING,
        regional: Lasting::default_of(DegradedKind::Regional),
        warning: Lasting::default_of(DegradedKind::Warning),
        alerts: vec![],
        slo: None,
    }
}

fn subject(voters: &[Voter]) -> Subject {
    let regions = voters.iter().map(|voter| voter.region.clone()).collect();
    Subject {
        check: Arc::new(check(regions)),
        verdict: Verdict::Unknown,
        degraded: None,
        sequence: 0,
        open_incident: None,
        latched: false,
        lasting_due: None,
        doubted: false,
        calm: Default::default(),
        assignees: voters.iter().cloned().map(Some).collect(),
        generation: Generation { epoch: 1, index: 1 },
    }
}
