//! An engine with one check, one probe a region, and an apply that does what apply must do.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parallax_common::check::{
    Check, IpFamily, Lasting, Missing, Policy, Quorum, Run, Step, StepKind, TcpStep,
};
use parallax_common::fold::{self, Mark};
use parallax_common::name::{Generation, Incarnation, RunDigest, Uid};
use parallax_common::outcome::{DegradedKind, Outcome, Reason, Verdict};
use parallax_common::record::Order;
use parallax_common::time::MeshTime;
use parallax_proto::v1;

use crate::core::ballots::{Fold, Heard, Said, Terms};
use crate::core::engine::{
    Action, CheckSnapshot, Engine, Heartbeat, Input, Output, Subject, VerdictDraft, Voter,
};

/// Uid of the check.
pub const CHECK: Uid = Uid::from_bytes([1; 16]);

/// A check over so many regions: every second, 900 ms, orders 50 ms apart.
pub fn check(regions: usize, failures: u32) -> Check {
    let tcp = TcpStep { host: "127.0.0.1".to_owned(), port: 80, ..TcpStep::default() };
    Check {
        uid: CHECK,
        namespace: "default".to_owned(),
        name: "checkout".to_owned(),
        labels: Default::default(),
        etag: 1,
        enabled: true,
        run: Run {
            steps: vec![Step { name: String::new(), kind: StepKind::Tcp(tcp), captures: vec![] }],
            timeout: Duration::from_millis(900),
            expect: Vec::new(),
            warn: Vec::new(),
            invert: false,
            canary: None,
            ip: IpFamily::Auto,
            source_address: None,
            resolver: None,
            samples: 1,
        },
        run_digest: RunDigest(1),
        interval: Duration::from_secs(1),
        regions: (0..regions).map(region).collect(),
        advisory_regions: Vec::new(),
        probes_per_region: 1,
        policy: Policy {
            regions: Quorum::Majority,
            failures,
            successes: 2,
            failures_of: 0,
            successes_of: 0,
            missing: Missing::Unknown,
        },
        alert: Vec::new(),
        runbook: String::new(),
        confirm_spacing: Duration::from_millis(50),
        regional: Lasting::default_of(DegradedKind::Regional),
        warning: Lasting::default_of(DegradedKind::Warning),
        alerts: vec![],
        slo: None,
    }
}

/// Name of the region at a rank.
pub fn region(rank: usize) -> String {
    format!("r{rank}")
}

/// The probe of a region, in one of its lives.
pub fn voter(rank: usize, incarnation: u64) -> Voter {
    Voter { region: region(rank), probe: "p".to_owned(), incarnation: Incarnation(incarnation) }
}

/// A check nobody decided on, with a probe in every region.
pub fn subject(check: Check) -> Subject {
    let regions = check.regions.len();
    Subject {
        check: Arc::new(check),
        verdict: Verdict::Unknown,
        degraded: None,
        sequence: 0,
        open_incident: None,
        latched: false,
        lasting_due: None,
        doubted: false,
        calm: Default::default(),
        assignees: (0..regions).map(|rank| Some(voter(rank, 1))).collect(),
        generation: Generation { epoch: 1, index: 1 },
    }
}

/// Does with a draft what apply does: a mismatch changes nothing.
pub fn apply(subject: &mut Subject, draft: &VerdictDraft) -> bool {
    let check = &subject.check;
    if (draft.etag, draft.digest, draft.expected_sequence)
        != (check.etag, check.run_digest, subject.sequence)
    {
        return false;
    }
    let record = &draft.record;
    match draft.action {
        Action::Open => {
            assert_eq!(subject.open_incident, None, "an incident opens once");
            subject.open_incident = Some(Uid::from_bytes([9; 16]));
        }
        Action::Resolve => assert!(subject.open_incident.take().is_some(), "nothing to resolve"),
        Action::OpenDoubt => subject.doubted = true,
        Action::EndDoubt => subject.doubted = false,
        Action::Set | Action::OpenLasting => {}
    }
    let rule = record.rule.as_ref().expect("a record has its rule");
    subject.latched &= record.failing >= rule.down_at;
    subject.sequence += 1;
    subject.verdict = match record.verdict() {
        v1::Verdict::Up => Verdict::Up,
        v1::Verdict::Degraded => Verdict::Degraded,
        v1::Verdict::Down => Verdict::Down,
        v1::Verdict::Unknown => Verdict::Unknown,
        v1::Verdict::Unspecified => panic!("a record has a verdict"),
    };
    subject.degraded = match record.degraded() {
        v1::DegradedKind::Unspecified => None,
        v1::DegradedKind::Regional => Some(DegradedKind::Regional),
        v1::DegradedKind::Warning => Some(DegradedKind::Warning),
    };
    true
}

/// One numbered outcome.
pub fn heard(number: u64, outcome: Outcome, order: u64, ended: MeshTime) -> Heard {
    Heard {
        check: CHECK,
        digest: RunDigest(1),
        number,
        slot: (order == 0).then_some(number as i64),
        order,
        outcome,
        reason: (outcome == Outcome::Fail).then_some(Reason::ConnectRefused),
        step: 0,
        evidence: if outcome == Outcome::Fail { "refused".to_owned() } else { String::new() },
        started: ended - Duration::from_millis(5),
        ended,
        total: Duration::from_millis(5),
    }
}

/// One region's probe.
#[derive(Debug, Clone)]
pub struct Probe {
    pub voter: Voter,
    pub alive: bool,
    pub number: u64,
    pub sequence: u64,
    pub recent: VecDeque<Heard>,
    pub fold: Fold,
    /// Open sessions, the newest last.
    pub sessions: Vec<u64>,
    terms: fold::Terms,
}

/// The engine and its world. Proposals are applied at once.
pub struct Rig {
    pub engine: Engine,
    pub now: MeshTime,
    pub subject: Subject,
    pub probes: Vec<Probe>,
    /// Applied drafts, oldest first.
    pub applied: Vec<VerdictDraft>,
    pub orders: Vec<(usize, Order)>,
    pub resyncs: usize,
    /// Who was asked for everything once more, since this was last taken.
    pub asked: Vec<Voter>,
    next_beat: MeshTime,
    last_session: u64,
}

impl Rig {
    /// Every region's session is open, its snapshot (of nothing) is in, and the grace is over.
    pub fn new(regions: usize, failures: u32) -> Self {
        let mut rig = Self::at_start(regions, failures);
        for rank in 0..regions {
            rig.connect(rank);
        }
        rig.advance(11_000);
        rig
    }

    /// A coordinator that just started: nobody was heard.
    pub fn at_start(regions: usize, failures: u32) -> Self {
        let now = MeshTime::from_ns(1_700_000_000_000_000_000);
        let probes = (0..regions).map(|rank| Probe::new(voter(rank, 1), failures)).collect();
        let subject = subject(check(regions, failures));
        let mut rig = Self {
            engine: Engine::new(now, true),
            now,
            subject: subject.clone(),
            probes,
            applied: Vec::new(),
            orders: Vec::new(),
            resyncs: 0,
            asked: Vec::new(),
            next_beat: now,
            last_session: 0,
        };
        rig.feed(Input::Subject(subject));
        rig
    }

    /// A rig in which every probe has passed twice: so many of each region, and advisory regions after
    /// those that count. Probe `n` is number `n % probes` of its region.
    pub fn wide(regions: usize, probes: usize, advisory: usize, failures: u32) -> Self {
        let mut rig = Self::at_start(regions, failures);
        let place = |place: usize| Voter {
            region: region(place / probes),
            probe: format!("p{}", place % probes),
            incarnation: Incarnation(1),
        };
        let all = (regions + advisory) * probes;
        rig.probes = (0..all).map(|n| Probe::new(place(n), failures)).collect();
        rig.commit(|subject| {
            let check = Arc::make_mut(&mut subject.check);
            check.probes_per_region = u32::try_from(probes).unwrap();
            check.advisory_regions = (regions..regions + advisory).map(region).collect();
            subject.assignees = (0..all).map(|n| Some(place(n))).collect();
        });
        for n in 0..all {
            rig.connect(n);
        }
        rig.advance(11_000);
        for _ in 0..2 {
            for n in 0..all {
                rig.run(n, Outcome::Pass);
            }
        }
        assert_eq!(rig.subject.verdict, Verdict::Up);
        rig.take_applied();
        rig
    }

    /// A rig in which every region has passed twice.
    pub fn up(regions: usize, failures: u32) -> Self {
        let mut rig = Self::new(regions, failures);
        for _ in 0..2 {
            for rank in 0..regions {
                rig.run(rank, Outcome::Pass);
            }
        }
        assert_eq!(rig.subject.verdict, Verdict::Up);
        rig
    }

    pub fn feed(&mut self, input: Input) {
        let mut out = Vec::new();
        self.engine.handle(input, self.now, &mut out);
        for output in out {
            match output {
                Output::Order { to, order } => {
                    let rank = self.probes.iter().position(|probe| probe.voter == to);
                    self.orders.push((rank.expect("an order goes to a known probe"), order));
                }
                Output::Resync(..) => self.resyncs += 1,
                Output::Ask(voter) => self.asked.push(voter),
                Output::Propose(draft) => {
                    assert!(apply(&mut self.subject, &draft), "nothing else changes the subject");
                    let proposal = draft.proposal;
                    self.applied.push(draft);
                    self.feed(Input::Subject(self.subject.clone()));
                    self.feed(Input::ProposalSettled { check: CHECK, proposal });
                }
            }
        }
    }

    /// The number of a session that begins.
    pub fn next_session(&mut self, rank: usize) -> u64 {
        self.last_session += 1;
        self.probes[rank].sessions.push(self.last_session);
        self.last_session
    }

    /// A session opens: snapshot and first heartbeat.
    pub fn connect(&mut self, rank: usize) {
        let session = self.next_session(rank);
        self.probes[rank].alive = true;
        let voter = self.probes[rank].voter.clone();
        self.feed(Input::SessionStarted(voter, session));
        self.tell_everything(rank);
        self.beat(rank);
    }

    /// A whole snapshot, as at the begin of a session or when the probe is asked for it.
    pub fn tell_everything(&mut self, rank: usize) {
        let probe = &self.probes[rank];
        let session = probe.session();
        let snapshot = Input::Snapshot {
            voter: probe.voter.clone(),
            session,
            live_sequence: probe.sequence,
            whole: true,
            last: true,
            checks: vec![CheckSnapshot {
                check: CHECK,
                said: probe.said(),
                recent: probe.recent.iter().cloned().collect(),
                next_number: probe.number + 1,
            }],
        };
        self.feed(snapshot);
    }

    /// A probe dies: its session ends and nothing more is heard.
    pub fn kill(&mut self, rank: usize) {
        self.probes[rank].alive = false;
        let probe = &mut self.probes[rank];
        let (voter, session) = (probe.voter.clone(), probe.sessions.pop().unwrap_or(0));
        self.feed(Input::SessionEnded(voter, session));
    }

    /// A run ends and is told.
    pub fn run(&mut self, rank: usize, outcome: Outcome) {
        self.tell(rank, outcome, 0);
    }

    /// An ordered run ends and is told.
    pub fn run_ordered(&mut self, rank: usize, outcome: Outcome) {
        let order = self.orders.last().map_or(1, |(_, order)| order.order);
        self.tell(rank, outcome, order);
    }

    /// A run ends, and is not told: it passed, and all is well.
    pub fn run_untold(&mut self, rank: usize) {
        let now = self.now;
        self.probes[rank].remember(Outcome::Pass, 0, now);
    }

    fn tell(&mut self, rank: usize, outcome: Outcome, order: u64) {
        let now = self.now;
        let probe = &mut self.probes[rank];
        let record = probe.remember(outcome, order, now);
        probe.sequence += 1;
        let input = Input::Outcomes {
            voter: probe.voter.clone(),
            session: probe.session(),
            first_sequence: probe.sequence,
            records: vec![record],
        };
        self.feed(input);
    }

    pub fn beat(&mut self, rank: usize) {
        self.beat_with(rank, Vec::new(), Vec::new());
    }

    pub fn beat_with(
        &mut self,
        rank: usize,
        started: Vec<(Uid, i64, MeshTime)>,
        ended: Vec<(Uid, i64)>,
    ) {
        let heartbeat = Heartbeat {
            watermark: self.now,
            live_sequence: self.probes[rank].sequence,
            started,
            ended,
            whole: false,
        };
        let (voter, session) = (self.probes[rank].voter.clone(), self.probes[rank].session());
        self.feed(Input::Heartbeat { voter, session, heartbeat });
    }

    /// Time passes: whoever is alive is heard every second, and alarms go off when they are due.
    pub fn advance(&mut self, ms: u64) {
        let end = self.now + Duration::from_millis(ms);
        loop {
            let wake = self.engine.wake_at().map(|at| at.max(self.now));
            let next = wake.into_iter().chain([self.next_beat]).min().unwrap_or(end);
            if next > end {
                self.now = end;
                return;
            }
            self.now = next;
            if next == self.next_beat {
                self.next_beat = next + Duration::from_secs(1);
                for rank in 0..self.probes.len() {
                    if self.probes[rank].alive {
                        self.beat(rank);
                    }
                }
            }
            if wake == Some(next) {
                self.feed(Input::Wake);
            }
        }
    }

    /// Changes what is committed about the check.
    pub fn commit(&mut self, change: impl FnOnce(&mut Subject)) {
        change(&mut self.subject);
        self.feed(Input::Subject(self.subject.clone()));
    }

    /// Applied actions as words, oldest first, and cleared.
    pub fn take_applied(&mut self) -> String {
        let words: Vec<_> = self
            .applied
            .drain(..)
            .map(|draft| {
                let verdict = draft.record.verdict().as_str_name().replace("VERDICT_", "");
                match draft.action {
                    Action::Set => verdict.to_lowercase(),
                    Action::Open => format!("{}!", verdict.to_lowercase()),
                    Action::Resolve => format!("{}.", verdict.to_lowercase()),
                    Action::OpenLasting => format!("{}~", verdict.to_lowercase()),
                    Action::OpenDoubt => format!("{}?", verdict.to_lowercase()),
                    Action::EndDoubt => format!("{};", verdict.to_lowercase()),
                }
            })
            .collect();
        words.join(" ")
    }

    /// Orders as `rank=count`, and cleared.
    pub fn take_orders(&mut self) -> String {
        let words: Vec<_> =
            self.orders.iter().map(|(rank, order)| format!("{rank}={}", order.count)).collect();
        self.orders.clear();
        words.join(" ")
    }
}

impl Probe {
    /// A probe that ran nothing yet.
    pub fn new(voter: Voter, failures: u32) -> Self {
        let terms = Terms::of(&check(1, failures)).streaks();
        let (recent, fold) = (VecDeque::new(), Fold::default());
        let sessions = Vec::new();
        Self { voter, alive: false, number: 0, sequence: 0, recent, fold, sessions, terms }
    }

    /// Its newest session.
    pub fn session(&self) -> u64 {
        self.sessions.last().copied().unwrap_or(0)
    }

    /// What its snapshots say.
    pub fn said(&self) -> Said {
        Said {
            digest: RunDigest(1),
            state: self.fold.state,
            since: self.fold.since,
            counted: self.fold.recent,
            until: self.number,
        }
    }

    /// Numbers an outcome and keeps it for snapshots.
    pub fn remember(&mut self, outcome: Outcome, order: u64, ended: MeshTime) -> Heard {
        self.number += 1;
        let record = heard(self.number, outcome, order, ended);
        self.fold.step(&Mark::from(&record), &self.terms, false);
        self.recent.push_back(record.clone());
        if self.recent.len() > parallax_common::limits::SNAPSHOT_OUTCOMES_MAX {
            self.recent.pop_front();
        }
        record
    }
}
