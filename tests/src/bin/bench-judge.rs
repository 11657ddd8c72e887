//! How long a coordinator takes from the outcome that decides to the proposal that says so.
//!
//! A coordinator process with 10 000 checks. Five probes of this bench stream what real ones would: a
//! heartbeat a second, and a window of each check every 10 s. Check after check is then told to fail by
//! three regions of five; the last of their outcomes decides. The time begins just before that outcome is
//! written to its connection, and ends with the time that the proposer stamped into the proposal, which
//! the incident keeps as its opening: one machine, one clock. So the connection, its decoding and every
//! queue on the way are in it.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use clap::Parser;
use parallax_common::name::Uid;
use parallax_common::time::{MeshTime, ns};
use parallax_proto::v1;
use parallax_proto::v1::live_request::Frame as Up;
use parallax_proto::v1::live_response::Frame as Down;
use parallax_runtime::clock;
use parallax_runtime::supervisor::{Supervisor, TaskKind};
use parallax_tests::bench::figures::{Missed, Samples};
use parallax_tests::bench::{self, windows};
use parallax_tests::harness::mesh::Mesh;
use parallax_tests::harness::rogue::Rogue;
use parallax_tests::harness::wait::{Look, wait_until};
use parallax_tests::harness::yaml::{self, CheckYaml};
use prost::Message as _;
use serde_json::{Value, json};
use tokio::sync::{Mutex, mpsc};
use tonic::Streaming;

const REGIONS: [&str; 5] = ["eu-west", "us-east", "us-west", "ap-south", "sa-east"];
/// So many of them make a check down.
const DOWN_AT: usize = 3;
/// As a probe sends them.
const WINDOWS_PER_FRAME: usize = 64;
const PATIENCE: Duration = Duration::from_secs(300);

/// Measure how soon an outcome becomes a proposal.
#[derive(Debug, Parser)]
struct Args {
    /// Checks, each seen from five regions.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    checks: u32,
    /// How many of them go down, one after the other.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..))]
    outages: u32,
    /// Milliseconds between two of them.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
    apart_ms: u64,
    /// The 99th percentile above which the bench fails.
    #[arg(long)]
    p99_at_most_ms: Option<f64>,
}

fn main() -> ExitCode {
    bench::main(run(Args::parse()))
}

async fn run(args: Args) -> Result<Value> {
    ensure!(args.outages <= args.checks, "--outages are of --checks");
    let load = bench::load_average();
    let mesh = Mesh::coordinator_alone(bench::binaries()?, &REGIONS, Duration::ZERO).await?;
    let checks: Vec<CheckYaml> = (0..args.checks)
        .map(|n| CheckYaml {
            interval: "10s".to_owned(),
            ..CheckYaml::new(&format!("check-{n}"), "http://127.0.0.1:9/", &REGIONS)
        })
        .collect();
    eprintln!("applying {} checks", checks.len());
    mesh.apply(&yaml::file(&REGIONS, "${env:PX_HOOK}", &checks)).await?;
    let mut probes = Vec::new();
    for region in REGIONS {
        mesh.issue_probe(region, region).await?;
        let endpoint = &mesh.ports()?.probes;
        let rogue = Rogue::dial(endpoint, &mesh.tls(region), region, region).await?;
        probes.push(Probe::open(rogue).await?);
    }
    eprintln!("waiting for the plan");
    wait_until(PATIENCE, "every check with every probe", || async {
        let mut told = Vec::new();
        for probe in &probes {
            told.push(probe.state.lock().await.assigned.len());
        }
        Ok(Look::when(told.iter().all(|&told| told == args.checks as usize), told))
    })
    .await?;
    let streaming = Supervisor::default();
    for probe in &probes {
        let assigned: Vec<Uid> = probe.state.lock().await.assigned.keys().copied().collect();
        let (rogue, stop) = (probe.rogue.clone(), streaming.stop_token());
        streaming.spawn(TaskKind::Session("bulk lane"), async move {
            tokio::select! {
                () = stop.cancelled() => {}
                ended = stream(&rogue, &assigned) => eprintln!("a bulk lane ended: {ended:?}"),
            }
        });
    }

    eprintln!("{} checks go down", args.outages);
    let api = mesh.api().await?;
    let uids: Vec<Uid> = probes[0].state.lock().await.assigned.keys().copied().collect();
    let mut sent = BTreeMap::new();
    for uid in uids.into_iter().take(args.outages as usize) {
        for probe in &probes[..DOWN_AT - 1] {
            probe.fails(uid, 1).await?;
            probe.fails(uid, 2).await?;
        }
        let last = &probes[DOWN_AT - 1];
        last.fails(uid, 1).await?;
        // The others' have long been heard when the last one is told.
        tokio::time::sleep(Duration::from_millis(args.apart_ms)).await;
        let at = clock::utc();
        last.fails(uid, 2).await?;
        sent.insert(uid.to_string(), at);
    }
    wait_until(PATIENCE, "an incident of each", || async {
        let count = api.incidents(false).await?.len();
        Ok(Look::when(count >= args.outages as usize, count))
    })
    .await?;
    let incidents = api.incidents(false).await?;
    streaming.stop();
    let mut samples = Samples::default();
    for incident in &incidents {
        let Some(at) = sent.remove(&incident.check_uid) else { continue };
        let opened = incident.opened_at.context("an incident has a beginning")?;
        let opened = opened.seconds * 1_000_000_000 + i64::from(opened.nanos);
        let after = u64::try_from(opened - at.as_ns()).context("opened before it was told")?;
        samples.push(Duration::from_nanos(after));
    }
    ensure!(sent.is_empty(), "{} checks have no incident", sent.len());
    mesh.told();
    let p99 = samples.quantile(0.99).as_secs_f64() * 1_000.0;
    let mut missed = Missed::default();
    missed.at_most("p99_ms", p99, args.p99_at_most_ms);
    Ok(json!({
        "bench": "judge",
        "what": "the deciding outcome is written to its connection -> its proposal is stamped",
        "checks": args.checks,
        "regions": REGIONS.len(),
        "windows_a_second": f64::from(args.checks) * REGIONS.len() as f64 / windows::PERIOD.as_secs_f64(),
        "latency": samples.summary(),
        (bench::LOAD): load,
        "missed": missed.into_json(),
    }))
}

/// A probe that says what the bench wants it to have seen.
struct Probe {
    rogue: Rogue,
    up: mpsc::Sender<Bytes>,
    state: Arc<Mutex<State>>,
    supervisor: Supervisor,
}

/// What is told on the live lane has one order.
#[derive(Debug, Default)]
struct State {
    sequence: u64,
    assigned: BTreeMap<Uid, u64>,
}

impl Probe {
    async fn open(rogue: Rogue) -> Result<Self> {
        let snapshot = v1::BallotSnapshot { last: true, whole: true, ..Default::default() };
        let (up, down) = rogue.live(vec![encoded(Up::Snapshot(snapshot))]).await?;
        let (state, supervisor) = (Arc::<Mutex<State>>::default(), Supervisor::default());
        let (lane, kept, stop) = (up.clone(), Arc::clone(&state), supervisor.stop_token());
        supervisor.spawn(TaskKind::Session("live lane"), async move {
            tokio::select! {
                () = stop.cancelled() => {}
                ended = keep(&lane, down, &kept) => eprintln!("a live lane ended: {ended:?}"),
            }
        });
        Ok(Self { rogue, up, state, supervisor })
    }

    /// The `number`th run of a check failed, a moment ago.
    async fn fails(&self, check: Uid, number: u64) -> Result<()> {
        let mut state = self.state.lock().await;
        let run_digest = *state.assigned.get(&check).context("a check of the plan")?;
        let now = clock::boot_time().as_ns();
        let record = v1::OutcomeRecord {
            check_uid: Bytes::copy_from_slice(check.as_bytes()),
            run_digest,
            number,
            slot: i64::try_from(number).ok(),
            outcome: v1::Outcome::Fail.into(),
            reason: v1::Reason::ConnectRefused.into(),
            evidence: "connect to 127.0.0.1:9: connection refused".to_owned(),
            scheduled_boottime_ns: now - 2_000_000,
            started_boottime_ns: now - 2_000_000,
            ended_boottime_ns: now - 1_000_000,
            ..Default::default()
        };
        let first_sequence = state.sequence + 1;
        state.sequence = first_sequence;
        let outcomes = v1::Outcomes { first_sequence, records: vec![record] };
        self.up.send(encoded(Up::Outcomes(outcomes))).await?;
        Ok(())
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.supervisor.stop();
    }
}

/// Answers every ping with a pong and a heartbeat, and keeps what it is to run.
async fn keep(
    up: &mpsc::Sender<Bytes>,
    mut down: Streaming<v1::LiveResponse>,
    state: &Mutex<State>,
) -> Result<()> {
    while let Some(message) = down.message().await? {
        let mut state = state.lock().await;
        match message.frame {
            Some(Down::Ping(ping)) => {
                let boottime_ns = clock::boot_time().as_ns();
                up.send(encoded(Up::Pong(v1::Pong { id: ping.id, boottime_ns }))).await?;
                let live_sequence = state.sequence;
                let heartbeat = v1::Heartbeat { boottime_ns, live_sequence, ..Default::default() };
                up.send(encoded(Up::Heartbeat(heartbeat))).await?;
            }
            Some(Down::Assignments(chunk)) => {
                for assignment in &chunk.upserts {
                    let uid = Uid::from_slice(&assignment.check_uid).context("a uid")?;
                    state.assigned.insert(uid, assignment.run_digest);
                }
                if chunk.last {
                    let generation = Some(chunk.generation.context("a plan has a generation")?);
                    let applied = v1::AssignmentsApplied { generation };
                    up.send(encoded(Up::AssignmentsApplied(applied))).await?;
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// Tells a tenth of the windows every second, as probes whose checks end at different moments.
async fn stream(rogue: &Rogue, checks: &[Uid]) -> Result<()> {
    let (lane, mut answers) = rogue.bulk(Vec::new()).await?;
    let sending = async {
        let mut every = tokio::time::interval(Duration::from_secs(1));
        let (mut sequence, mut round) = (1, 0);
        let now = clock::utc().as_ns();
        let origin = MeshTime::from_ns(now - now.rem_euclid(ns(windows::PERIOD))) - windows::PERIOD;
        loop {
            for tenth in checks.chunks(checks.len().div_ceil(10)) {
                every.tick().await;
                for checks in tenth.chunks(WINDOWS_PER_FRAME) {
                    let made = checks
                        .iter()
                        .map(|check| windows::window(*check, Rogue::INCARNATION, origin, round));
                    let windows: Vec<v1::Window> = made.collect();
                    let count = windows.len() as u64;
                    let frame = v1::Windows { first_sequence: sequence, windows, replay: false };
                    let frame = v1::bulk_request::Frame::Windows(frame);
                    let frame = v1::BulkRequest { frame: Some(frame) };
                    lane.send(frame.encode_to_vec().into()).await?;
                    sequence += count;
                }
            }
            round += 1;
        }
        #[allow(unreachable_code, reason = "says what the block gives")]
        Ok::<(), anyhow::Error>(())
    };
    let hearing = async {
        while let Some(answer) = answers.message().await? {
            if let Some(v1::bulk_response::Frame::Ack(ack)) = answer.frame {
                ensure!(ack.refused == 0, "{} windows were refused", ack.refused);
            }
        }
        anyhow::bail!("the lane ended")
    };
    tokio::try_join!(sending, hearing).map(|((), ())| ())
}

fn encoded(frame: Up) -> Bytes {
    v1::LiveRequest { frame: Some(frame) }.encode_to_vec().into()
}
