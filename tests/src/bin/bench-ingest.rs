//! Windows a second and core that a coordinator takes in: from decoded messages in this process,
//! and from an mTLS socket in a coordinator of its own.
//!
//! 10 000 checks seen from five regions, each window with 6 series of 10 samples. What is counted is
//! the receiver's processor time in user and kernel mode.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use clap::{Parser, ValueEnum};
use parallax_common::check::{Assignment, IpFamily, Run};
use parallax_common::name::{Incarnation, RunDigest, Uid};
use parallax_common::time::MeshTime;
use parallax_coordinator::core::plan::Work;
use parallax_coordinator::history::ring::Ring;
use parallax_coordinator::history::{Batch, History as _, Spool, intake};
use parallax_proto::v1;
use parallax_runtime::clock;
use parallax_runtime::supervisor::{Supervisor, TaskKind};
use parallax_tests::bench::figures::Missed;
use parallax_tests::bench::fleet::Idle;
use parallax_tests::bench::lanes::{self, PATIENCE, REGIONS, WINDOWS_PER_FRAME};
use parallax_tests::bench::{self, cpu, windows};
use parallax_tests::harness::rogue::Rogue;
use serde_json::{Value, json};

/// Measure how many windows a core takes in.
#[derive(Debug, Parser)]
struct Args {
    /// Where the windows come from.
    #[arg(long, value_enum)]
    from: From,
    /// Checks, each seen from five regions.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    checks: u32,
    /// Windows of each check and region: at most the hour that is kept.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=300))]
    rounds: u32,
    /// Windows a second and core below which the bench fails.
    #[arg(long)]
    at_least: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum From {
    /// Decoded messages, in this process.
    Messages,
    /// A connection with mutual TLS, in a coordinator process.
    Socket,
}

/// What was taken in.
struct Taken {
    windows: u64,
    cpu: Duration,
    elapsed: Duration,
    more: Value,
}

fn main() -> ExitCode {
    bench::main(run(Args::parse()))
}

async fn run(args: Args) -> Result<Value> {
    let load = bench::load_average();
    let taken = match args.from {
        From::Messages => from_messages(&args)?,
        From::Socket => from_socket(&args).await?,
    };
    let rate = taken.windows as f64 / taken.cpu.as_secs_f64();
    let mut missed = Missed::default();
    missed.at_least("windows_per_core_second", rate, args.at_least);
    Ok(json!({
        "bench": "ingest",
        "from": format!("{:?}", args.from).to_lowercase(),
        "pairs": args.checks as usize * REGIONS.len(),
        "series": windows::SERIES,
        "samples": windows::SAMPLES,
        "windows": taken.windows,
        "cpu_seconds": taken.cpu.as_secs_f64(),
        "elapsed_seconds": taken.elapsed.as_secs_f64(),
        "windows_per_core_second": rate.round(),
        "more": taken.more,
        (bench::LOAD): load,
        "missed": missed.into_json(),
    }))
}

/// What a frame of the bulk lane goes through once it is decoded: every bound, then the ring.
fn from_messages(args: &Args) -> Result<Taken> {
    let checks: Vec<Uid> =
        (0..args.checks).map(|n| Uid::from_bytes(u128::from(n).to_be_bytes())).collect();
    let work: Work = checks.iter().map(|&check| (check, Arc::new(assignment(check)))).collect();
    let (ring, incarnation) = (Ring::default(), Incarnation(1));
    let origin = lanes::origin(args.rounds);
    let now = origin + windows::PERIOD * args.rounds;
    let (mut cpu, mut elapsed, mut taken) = (Duration::ZERO, Duration::ZERO, 0);
    for round in 0..args.rounds {
        for region in REGIONS {
            // Making them is the probe's work and is not counted.
            let frames: Vec<v1::Windows> = checks
                .chunks(WINDOWS_PER_FRAME)
                .zip(0..)
                .map(|(checks, frame): (&[Uid], u64)| v1::Windows {
                    first_sequence: 1
                        + u64::from(round) * u64::from(args.checks)
                        + frame * WINDOWS_PER_FRAME as u64,
                    windows: made(checks, incarnation, origin, round),
                    replay: false,
                })
                .collect();
            let spool = Spool { region: region.into(), probe: "p".into(), incarnation };
            let mut refused = Vec::with_capacity(frames.len());
            let (before, began) = (cpu::used_here()?, clock::instant());
            for frame in frames {
                taken += frame.windows.len() as u64;
                let admitted = intake::admit(&work, &spool, frame, now);
                let windows = admitted.windows;
                ring.append(Batch { spool: spool.clone(), windows, now, room: None });
                refused.push(admitted.refused);
            }
            cpu += cpu::used_here()? - before;
            elapsed += clock::instant().duration_since(began);
            let refused = refused.iter().find(|refused| refused.count > 0);
            ensure!(refused.is_none(), "windows were refused: {refused:?}");
        }
    }
    let stats = ring.stats();
    ensure!(stats.windows + stats.dropped == taken, "windows are missing: {stats:?}");
    let more =
        json!({ "kept": stats.windows, "kept_bytes": stats.bytes, "dropped": stats.dropped });
    Ok(Taken { windows: taken, cpu, elapsed, more })
}

fn made(checks: &[Uid], incarnation: Incarnation, origin: MeshTime, round: u32) -> Vec<v1::Window> {
    checks.iter().map(|check| windows::window(*check, incarnation, origin, round)).collect()
}

/// What the plan holds of a check; only that it is there counts.
fn assignment(check: Uid) -> Assignment {
    let run = Run {
        steps: Vec::new(),
        timeout: Duration::from_secs(1),
        expect: Vec::new(),
        warn: Vec::new(),
        invert: false,
        canary: None,
        ip: IpFamily::Auto,
        source_address: None,
        resolver: None,
        samples: 1,
    };
    Assignment {
        check,
        namespace: "default".to_owned(),
        name: format!("check-{check}"),
        run_digest: RunDigest(1),
        run: Arc::new(run),
        interval: Duration::from_secs(1),
        phase_ns: 0,
        failures: 2,
        successes: 2,
        failures_of: 0,
        successes_of: 0,
        confirm_spacing: Duration::from_millis(50),
    }
}

/// A coordinator process with the checks, five live lanes that only say that they are there, and
/// five bulk lanes that send as fast as it takes.
async fn from_socket(args: &Args) -> Result<Taken> {
    let (mesh, dialled) = lanes::dialled(args.checks, "1s").await?;
    let mut probes = Vec::new();
    for rogue in dialled {
        let idle = Idle::open(&rogue).await?;
        probes.push((rogue, idle));
    }
    let told =
        async || probes.iter().map(|(_, idle)| idle.assigned().len()).collect::<Vec<usize>>();
    lanes::until_told(args.checks, told).await?;

    let (origin, sending) = (lanes::origin(args.rounds), Supervisor::default());
    let mut loads: Vec<(Rogue, Vec<Bytes>, u64)> = Vec::new();
    for (rogue, idle) in &probes {
        let checks: Vec<Uid> = idle.assigned().into_iter().collect();
        let rounds = 0..args.rounds;
        let frames = rounds.flat_map(|round| lanes::frames(&checks, origin, round)).collect();
        let last = u64::from(args.rounds) * checks.len() as u64;
        loads.push((rogue.clone(), frames, last));
    }
    let bytes: usize = loads.iter().flat_map(|(_, frames, _)| frames).map(Bytes::len).sum();
    let windows: u64 = loads.iter().map(|(_, _, last)| last).sum();

    eprintln!("sending {windows} windows");
    let pid = mesh.coordinator_id()?;
    let (before, began) = (cpu::used_by(pid)?, clock::instant());
    let (said, mut ended) = tokio::sync::mpsc::channel(REGIONS.len());
    for (rogue, frames, last) in loads {
        let (said, stop) = (said.clone(), sending.stop_token());
        sending.spawn(TaskKind::Session("bulk lane"), async move {
            tokio::select! {
                () = stop.cancelled() => {}
                // Nobody waits any more when the bench has failed.
                sent = send(&rogue, frames, last) => drop(said.send(sent).await),
            }
        });
    }
    drop(said);
    let mut refused = 0;
    for _ in REGIONS {
        let ended = tokio::time::timeout(PATIENCE, ended.recv()).await?;
        refused += ended.context("a lane ended without a word")??;
    }
    let (cpu, elapsed) = (cpu::used_by(pid)? - before, clock::instant().duration_since(began));
    sending.stop();
    ensure!(refused == 0, "{refused} windows were refused");
    mesh.told();
    let more =
        json!({ "megabytes": bytes / 1_000_000, "bytes_per_window": bytes as u64 / windows });
    Ok(Taken { windows, cpu, elapsed, more })
}

/// Sends every frame and waits for the last acknowledgement. Returns how many were refused.
async fn send(rogue: &Rogue, frames: Vec<Bytes>, last: u64) -> Result<u64> {
    let (lane, mut answers) = rogue.bulk(Vec::new()).await?;
    let sending = async {
        for frame in frames {
            lane.send(frame).await?;
        }
        // Held until the last answer is in: dropping it would end the stream.
        Ok::<_, anyhow::Error>(&lane)
    };
    let hearing = async {
        let mut refused = 0;
        while let Some(answer) = answers.message().await? {
            let Some(v1::bulk_response::Frame::Ack(ack)) = answer.frame else { continue };
            refused += ack.refused;
            if ack.through_sequence >= last {
                return Ok(refused);
            }
        }
        anyhow::bail!("the lane ended before the last acknowledgement")
    };
    let (_, refused) = tokio::try_join!(sending, hearing)?;
    Ok(refused)
}
