//! How long a coordinator takes from the outcome that decides to the proposal that says so.
//!
//! A coordinator process with 10 000 checks. Five probes of this bench stream what real ones would: a
//! heartbeat a second, and a window of each check every 10 s. By default those come as from real probes, which
//! seal all windows of a period when it is over (`probe/src/core/record.rs`): 50 000 at once every 10 s, from five
//! probes that share the edges of periods. `--windows` spreads them otherwise. They are made and encoded before
//! the bench begins, since real probes have machines of their own. Outcomes are told by a thread that streams
//! nothing, over the connection that carries the windows of the same probe, as in a probe. Check after check is then told to fail by
//! three regions of five; the last of their outcomes decides. The time begins just before that outcome is
//! written to its connection, and ends with the time that the proposer stamped into the proposal, which
//! the incident keeps as its opening: one machine, one clock. So the connection, its decoding and every
//! queue on the way are in it.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use clap::{Parser, ValueEnum};
use parallax_common::name::Uid;
use parallax_proto::v1;
use parallax_proto::v1::live_request::Frame as Up;
use parallax_proto::v1::live_response::Frame as Down;
use parallax_runtime::clock;
use parallax_runtime::supervisor::{Supervisor, TaskKind};
use parallax_tests::bench::figures::{Missed, Samples};
use parallax_tests::bench::lanes::{self, PATIENCE, REGIONS};
use parallax_tests::bench::{self, windows};
use parallax_tests::harness::rogue::Rogue;
use parallax_tests::harness::wait::{Look, wait_until};
use prost::Message as _;
use serde_json::{Value, json};
use tokio::sync::{Mutex, mpsc};
use tonic::Streaming;

/// So many of them make a check down.
const DOWN_AT: usize = 3;
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
    /// When the windows of a period are sent.
    #[arg(long, value_enum, default_value_t = Pace::Edge)]
    windows: Pace,
    /// The 99th percentile above which the bench fails.
    #[arg(long)]
    p99_at_most_ms: Option<f64>,
}

impl Args {
    /// Periods of windows that the outages take at most: twice what they take when nothing comes late, and
    /// some for what comes before and after.
    fn rounds(&self) -> u32 {
        let long = Duration::from_millis(self.apart_ms) * self.outages * 2;
        let periods = long.as_millis().div_ceil(windows::PERIOD.as_millis());
        u32::try_from(periods).unwrap_or(u32::MAX).saturating_add(2)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Pace {
    /// All at once when it is over, as real probes do.
    Edge,
    /// A tenth of them at once every second.
    Second,
    /// One frame after the other, evenly over the next period.
    Even,
}

impl Pace {
    /// How many of a round's frames go out together.
    fn together(self, frames: usize) -> usize {
        match self {
            Self::Edge => frames,
            Self::Second => frames.div_ceil(10),
            Self::Even => 1,
        }
    }
}

fn main() -> ExitCode {
    bench::main(run(Args::parse()))
}

async fn run(args: Args) -> Result<Value> {
    ensure!(args.outages <= args.checks, "--outages are of --checks");
    let load = bench::load_average();
    let (mesh, dialled) = lanes::dialled(args.checks, "10s").await?;
    let mut probes = Vec::new();
    for rogue in dialled {
        probes.push(Probe::open(rogue).await?);
    }
    let told = async || {
        let mut told = Vec::new();
        for probe in &probes {
            told.push(probe.state.lock().await.assigned.len());
        }
        told
    };
    lanes::until_told(args.checks, told).await?;
    eprintln!("making windows");
    let rounds = args.rounds();
    let origin = lanes::origin(rounds);
    let mut loads = Vec::new();
    for probe in &probes {
        let checks: Vec<Uid> = probe.state.lock().await.assigned.keys().copied().collect();
        let made = (0..rounds).map(|round| lanes::frames(&checks, origin, round));
        loads.push(made.collect::<Vec<Vec<Bytes>>>());
    }
    let (streaming, begin) = (Supervisor::default(), clock::instant() + Duration::from_secs(1));
    let broken = Arc::new(AtomicBool::new(false));
    for (probe, rounds) in probes.iter().zip(loads) {
        let broken = Arc::clone(&broken);
        let (rogue, stop, pace) = (probe.rogue.clone(), streaming.stop_token(), args.windows);
        streaming.spawn(TaskKind::Session("bulk lane"), async move {
            tokio::select! {
                () = stop.cancelled() => {}
                ended = stream(&rogue, rounds, pace, begin) => {
                    eprintln!("a bulk lane ended: {ended:?}");
                    broken.store(true, Ordering::Relaxed);
                }
            }
        });
    }
    tokio::time::sleep_until(begin.into()).await;

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
    let lasted = clock::instant().duration_since(begin);
    ensure!(lasted < windows::PERIOD * rounds, "there were windows for {rounds} periods only");
    ensure!(!broken.load(Ordering::Relaxed), "a bulk lane ended before the bench");
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
        "windows": format!("{:?}", args.windows).to_lowercase(),
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

/// Sends one round after the other, from `begin` on.
async fn stream(rogue: &Rogue, rounds: Vec<Vec<Bytes>>, pace: Pace, begin: Instant) -> Result<()> {
    let (lane, mut answers) = rogue.bulk(Vec::new()).await?;
    let sending = async {
        for (number, frames) in (0..).zip(&rounds) {
            let together = pace.together(frames.len());
            for (place, frames_now) in frames.chunks(together).enumerate() {
                let share = (place * together) as f64 / frames.len() as f64;
                let due = begin + windows::PERIOD * number + windows::PERIOD.mul_f64(share);
                tokio::time::sleep_until(due.into()).await;
                for frame in frames_now {
                    lane.send(frame.clone()).await?;
                }
            }
        }
        // What was sent is still to be answered.
        std::future::pending::<Result<()>>().await
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
