//! Outcomes a second and core through the engine, with 10 000 checks seen from five regions.
//!
//! Time is simulated, one round a second: outcomes in frames as probes send them, a heartbeat of
//! each probe, the engine's own alarms. Proposals are applied and settled at once, as they would be
//! behind a store that takes no time. What is counted is this process's processor time inside the
//! engine; making the outcomes is not.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Parser;
use parallax_common::check::{
    Check, IpFamily, Lasting, Missing, Policy, Quorum, Run, Step, StepKind, TcpStep,
};
use parallax_common::name::{Generation, Incarnation, RunDigest, Uid};
use parallax_common::outcome::{DegradedKind, Outcome, Reason, Verdict};
use parallax_common::time::MeshTime;
use parallax_coordinator::core::ballots::Heard;
use parallax_coordinator::core::engine::{
    Action, Engine, Heartbeat, Input, Output, Subject, VerdictDraft, Voter,
};
use parallax_proto::convert::enums;
use parallax_tests::bench::figures::Missed;
use parallax_tests::bench::{self, cpu};
use serde_json::{Value, json};

const REGIONS: usize = 5;
/// Every voter has one session.
const SESSION: u64 = 1;
/// As a probe sends them.
const OUTCOMES_PER_FRAME: usize = 64;
const ROUND: Duration = Duration::from_secs(1);
/// Runs in flight that each heartbeat tells of, and as many that ended.
const IN_FLIGHT: usize = 50;
/// Heartbeats are few and cheap: so many times more rounds, to be measurable. A round of them is
/// shorter than the clock's tick, so all rounds are counted as one, with the making of them.
const HEARTBEAT_ROUNDS: u32 = 500;

/// Measure how many outcomes a core decides on.
#[derive(Debug, Parser)]
struct Args {
    /// Checks, each seen from five regions.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    checks: u32,
    /// Simulated seconds of each kind of load.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(4..))]
    rounds: u32,
    /// Outcomes a second and core, under the heaviest kind of load, below which the bench fails.
    #[arg(long)]
    at_least: Option<f64>,
}

fn main() -> ExitCode {
    bench::main(async { run(&Args::parse()) })
}

fn run(args: &Args) -> Result<Value> {
    let load = bench::load_average();
    let mut mesh = Mesh::new(args.checks);
    mesh.rounds(2, |_, _| Some(Outcome::Pass))?;
    mesh.all_are(Verdict::Up)?;

    // All is well: nothing but heartbeats.
    let before = cpu::used_here()?;
    let passing = mesh.rounds(args.rounds * HEARTBEAT_ROUNDS, |_, _| None)?;
    let passing_cpu = cpu::used_here()? - before;
    mesh.all_are(Verdict::Up)?;
    // One region lies: its outcomes change nothing after the second.
    let lying = |_: u32, rank: usize| (rank == 0).then_some(Outcome::Fail);
    let failing = mesh.rounds(args.rounds, lying)?;
    mesh.all_are(Verdict::Degraded)?;
    mesh.rounds(2, |_, rank| (rank == 0).then_some(Outcome::Pass))?;
    mesh.all_are(Verdict::Up)?;
    // Everything goes down and comes back, again and again.
    let tide =
        |round: u32, _: usize| Some(if round % 4 < 2 { Outcome::Fail } else { Outcome::Pass });
    let changing = mesh.rounds(args.rounds / 4 * 4, tide)?;
    mesh.all_are(Verdict::Up)?;

    let slowest = failing.rate().min(changing.rate());
    let mut missed = Missed::default();
    missed.at_least("outcomes_per_core_second", slowest, args.at_least);
    Ok(json!({
        "bench": "decide",
        "pairs": args.checks as usize * REGIONS,
        "outcomes_per_core_second": slowest.round(),
        "failing": failing.json(),
        "changing": changing.json(),
        "heartbeats": passing.heartbeats,
        "heartbeats_per_core_second":
            (passing.heartbeats as f64 / passing_cpu.as_secs_f64()).round(),
        "heartbeat_in_flight": IN_FLIGHT,
        (bench::LOAD): load,
        "missed": missed.into_json(),
    }))
}

/// What some rounds came to.
#[derive(Debug, Default)]
struct Done {
    outcomes: u64,
    heartbeats: u64,
    proposals: u64,
    orders: u64,
    cpu: Duration,
}

impl Done {
    fn rate(&self) -> f64 {
        self.outcomes as f64 / self.cpu.as_secs_f64()
    }

    fn json(&self) -> Value {
        json!({
            "outcomes": self.outcomes,
            "proposals": self.proposals,
            "orders": self.orders,
            "cpu_seconds": self.cpu.as_secs_f64(),
            "outcomes_per_core_second": self.rate().round(),
        })
    }
}

/// An engine, what is committed about its checks, and one probe a region.
struct Mesh {
    engine: Engine,
    now: MeshTime,
    subjects: BTreeMap<Uid, Subject>,
    voters: Vec<Voter>,
    /// Live sequence of each probe, and its number of runs of each check.
    sequences: Vec<u64>,
    numbers: Vec<u64>,
    round: u32,
}

impl Mesh {
    fn new(checks: u32) -> Self {
        let now = MeshTime::from_ns(1_000_000_000_000);
        let voters: Vec<Voter> = (0..REGIONS)
            .map(|rank| Voter {
                region: format!("r{rank}"),
                probe: "p".to_owned(),
                incarnation: Incarnation(1),
            })
            .collect();
        let subjects = (1..=u128::from(checks))
            .map(|number| {
                let uid = Uid::from_bytes(number.to_be_bytes());
                (uid, subject(uid, &voters))
            })
            .collect();
        let mut mesh = Self {
            engine: Engine::new(now, true),
            now,
            subjects,
            sequences: vec![0; voters.len()],
            numbers: vec![0; voters.len()],
            voters,
            round: 0,
        };
        let mut done = Done::default();
        let subjects: Vec<Subject> = mesh.subjects.values().cloned().collect();
        for subject in subjects {
            mesh.feed(Input::Subject(subject), &mut done);
        }
        for voter in mesh.voters.clone() {
            mesh.feed(Input::SessionStarted(voter.clone(), SESSION), &mut done);
            let snapshot = Input::Snapshot {
                voter,
                session: SESSION,
                live_sequence: 0,
                whole: true,
                last: true,
                checks: Vec::new(),
            };
            mesh.feed(snapshot, &mut done);
        }
        mesh
    }

    /// Lets `count` seconds pass; `outcome` says by round and region what every check's run sends.
    fn rounds(
        &mut self,
        count: u32,
        outcome: impl Fn(u32, usize) -> Option<Outcome>,
    ) -> Result<Done> {
        let mut done = Done::default();
        for round in 0..count {
            self.now = self.now + ROUND;
            self.round += 1;
            let mut inputs = Vec::new();
            for rank in 0..REGIONS {
                if let Some(outcome) = outcome(round, rank) {
                    inputs.extend(self.outcomes(rank, outcome));
                }
                inputs.push(self.heartbeat(rank));
            }
            let before = cpu::used_here()?;
            for input in inputs {
                match &input {
                    Input::Outcomes { records, .. } => done.outcomes += records.len() as u64,
                    Input::Heartbeat { .. } => done.heartbeats += 1,
                    _ => {}
                }
                self.feed(input, &mut done);
            }
            if self.engine.wake_at().is_some_and(|at| at <= self.now) {
                self.feed(Input::Wake, &mut done);
            }
            done.cpu += cpu::used_here()? - before;
        }
        Ok(done)
    }

    /// One run of every check ended in a region, as its probe tells it.
    fn outcomes(&mut self, rank: usize, outcome: Outcome) -> Vec<Input> {
        self.numbers[rank] += 1;
        let (now, number) = (self.now, self.numbers[rank]);
        let uids: Vec<Uid> = self.subjects.keys().copied().collect();
        uids.chunks(OUTCOMES_PER_FRAME)
            .map(|uids| {
                let first_sequence = self.sequences[rank] + 1;
                self.sequences[rank] += uids.len() as u64;
                let records = uids.iter().map(|&check| heard(check, number, outcome, now));
                let voter = self.voters[rank].clone();
                let session = SESSION;
                Input::Outcomes { voter, session, first_sequence, records: records.collect() }
            })
            .collect()
    }

    /// Some runs came into flight since the last one, and those of last time ended.
    fn heartbeat(&self, rank: usize) -> Input {
        let slot = i64::from(self.round);
        let some: Vec<Uid> = self.subjects.keys().copied().take(IN_FLIGHT).collect();
        let heartbeat = Heartbeat {
            watermark: self.now,
            live_sequence: self.sequences[rank],
            started: some.iter().map(|&check| (check, slot, self.now)).collect(),
            ended: some.into_iter().map(|check| (check, slot - 1)).collect(),
            whole: false,
        };
        Input::Heartbeat { voter: self.voters[rank].clone(), session: SESSION, heartbeat }
    }

    fn feed(&mut self, input: Input, done: &mut Done) {
        let mut inputs = vec![input];
        let mut out = Vec::new();
        while let Some(input) = inputs.pop() {
            self.engine.handle(input, self.now, &mut out);
            for output in out.drain(..) {
                match output {
                    Output::Propose(draft) => {
                        let Some(subject) = self.subjects.get_mut(&draft.check) else { continue };
                        apply(subject, &draft);
                        done.proposals += 1;
                        // Taken from the end: first what is committed, then that it is.
                        let (check, proposal) = (draft.check, draft.proposal);
                        inputs.push(Input::ProposalSettled { check, proposal });
                        inputs.push(Input::Subject(subject.clone()));
                    }
                    Output::Order { .. } => done.orders += 1,
                    Output::Resync(voter, _) => {
                        unreachable!("the probe of {} left no gap", voter.region)
                    }
                    Output::Ask(voter) => {
                        unreachable!("what {} speaks of is known", voter.region)
                    }
                }
            }
        }
    }

    /// Fails when a check has another verdict: then the load was not what it was meant to be.
    fn all_are(&self, wanted: Verdict) -> Result<()> {
        let other = self.subjects.values().find(|subject| subject.verdict != wanted);
        match other {
            None => Ok(()),
            Some(subject) => {
                bail!("{} is {:?}, not {wanted:?}", subject.check.name, subject.verdict)
            }
        }
    }
}

/// What a commit does to what is known of a check.
fn apply(subject: &mut Subject, draft: &VerdictDraft) {
    match draft.action {
        Action::Open => subject.open_incident = Some(subject.check.uid),
        Action::Resolve => subject.open_incident = None,
        Action::Set | Action::OpenLasting | Action::OpenDoubt | Action::EndDoubt => {}
    }
    subject.sequence += 1;
    subject.verdict = enums::verdict(draft.record.verdict).unwrap_or(Verdict::Unknown);
    subject.degraded = enums::degraded_kind(draft.record.degraded);
}

fn subject(uid: Uid, voters: &[Voter]) -> Subject {
    let tcp = TcpStep { host: "127.0.0.1".to_owned(), port: 80, ..TcpStep::default() };
    let check = Check {
        uid,
        namespace: "default".to_owned(),
        name: format!("check-{uid}"),
        labels: BTreeMap::new(),
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
        interval: ROUND,
        regions: voters.iter().map(|voter| voter.region.clone()).collect(),
        advisory_regions: Vec::new(),
        probes_per_region: 1,
        policy: Policy {
            regions: Quorum::Majority,
            failures: 2,
            successes: 2,
            failures_of: 0,
            successes_of: 0,
            missing: Missing::Unknown,
        },
        alert: vec!["ops".to_owned()],
        runbook: String::new(),
        confirm_spacing: Duration::from_millis(50),
        regional: Lasting::default_of(DegradedKind::Regional),
        warning: Lasting::default_of(DegradedKind::Warning),
        alerts: vec![],
        slo: None,
    };
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
        assignees: voters.iter().cloned().map(Some).collect(),
        generation: Generation { epoch: 1, index: 1 },
    }
}

fn heard(check: Uid, number: u64, outcome: Outcome, now: MeshTime) -> Heard {
    let failed = outcome == Outcome::Fail;
    Heard {
        check,
        digest: RunDigest(1),
        number,
        slot: i64::try_from(number).ok(),
        order: 0,
        outcome,
        reason: failed.then_some(Reason::ConnectRefused),
        step: 0,
        evidence: if failed {
            "127.0.0.1:80: connection refused".to_owned()
        } else {
            String::new()
        },
        started: now - Duration::from_millis(2),
        ended: now - Duration::from_millis(1),
        total: Duration::from_millis(1),
    }
}
