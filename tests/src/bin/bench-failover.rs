//! From the end of the leader (kill -9, or SIGTERM) to the next acknowledged write, three coordinators,
//! one client.
//!
//! The client knows every member, as a context of the command line does: it writes all the time, moves
//! on when nobody answers, and repeats a write without an answer under the same request id.

use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use parallax_runtime::clock;
use parallax_runtime::supervisor::{Supervisor, TaskKind};
use parallax_tests::bench;
use parallax_tests::bench::figures::{Missed, Samples, ms};
use parallax_tests::harness::group::Group;
use parallax_tests::harness::roaming::{Acknowledged, nothing_lost, write_forever};
use parallax_tests::harness::wait::{Look, SOON, wait_until};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};

/// The kill comes within this after the group is well.
const WITHIN: Duration = Duration::from_millis(400);

/// How a leader ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum How {
    /// Kill -9: the others have to miss it.
    Kill,
    /// SIGTERM: it hands over.
    Stop,
}

/// Measure how long writes stand still when a leader is killed or stopped.
#[derive(Debug, Parser)]
struct Args {
    /// Leaders to kill, or to stop.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    kills: u32,
    /// How each of them ends.
    #[arg(long, value_enum, default_value_t = How::Kill)]
    how: How,
    /// Decides when the kills come.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The 99th percentile above which the bench fails.
    #[arg(long)]
    p99_at_most_ms: Option<f64>,
    /// Print every sample, in order of the kills.
    #[arg(long)]
    samples: bool,
}

fn main() -> ExitCode {
    bench::main(run(Args::parse()))
}

async fn run(args: Args) -> Result<Value> {
    let load = bench::load_average();
    let mut group = Group::start(bench::binaries()?, 3, &[]).await?;
    let known = Arc::new(Mutex::new(Acknowledged::default()));
    let writer = Supervisor::default();
    {
        let endpoints = group
            .names()
            .iter()
            .map(|name| Ok(group.addresses(name)?.api.to_string()))
            .collect::<Result<Vec<_>>>()?;
        let (tls, known, stop) = (group.tls("anna"), Arc::clone(&known), writer.stop_token());
        writer.spawn(TaskKind::Vital("writer"), async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = write_forever(endpoints, tls, args.seed, "w", known) => {}
            }
        });
    }
    let mut random = StdRng::seed_from_u64(args.seed);
    let mut samples = Samples::default();
    for kill in 0..args.kills {
        let leader = well(&mut group, &known).await.with_context(|| format!("kill {kill}"))?;
        // The moment of the kill is the bench's input, not something to wait for.
        tokio::time::sleep(random.random_range(Duration::ZERO..WITHIN)).await;
        let at = clock::instant();
        match args.how {
            How::Kill => group.kill_member(&leader)?,
            How::Stop => group.terminate_member(&leader)?,
        }
        let next = wait_until(SOON, "a write after the kill", || async {
            let known = known.lock().unwrap_or_else(PoisonError::into_inner);
            Ok(Look::some(known.first_begun_after(at), &known.refused))
        })
        .await
        .with_context(|| format!("kill {kill}, of {leader}"))?;
        let took = next.duration_since(at);
        eprintln!("kill {kill}: {leader}, next write after {} ms", ms(took));
        samples.push(took);
        if args.how == How::Stop {
            let code = group.member_ended(&leader).await?;
            ensure!(code == Some(0), "{leader} ended with {code:?}");
        }
        group.spawn_member(&leader)?;
    }
    well(&mut group, &known).await?;
    writer.stop();
    ensure!(writer.join(SOON).await && !writer.failed(), "the writer failed");
    let leader = group.leader().await?;
    let acknowledged = known.lock().unwrap_or_else(PoisonError::into_inner).names.clone();
    let there = group.api(&leader).await?.regions().await?;
    nothing_lost(&acknowledged, &there)?;
    let mut missed = Missed::default();
    missed.at_most("p99_ms", ms(samples.quantile(0.99)), args.p99_at_most_ms);
    group.told();
    let mut report = json!({
        "bench": "failover",
        "what": match args.how {
            How::Kill => "kill -9 of the leader -> the next write is acknowledged",
            How::Stop => "SIGTERM of the leader -> the next write that was begun then is acknowledged",
        },
        "members": 3,
        "kills": args.kills,
        "seed": args.seed,
        "latency": samples.summary(),
        "acknowledged_writes": acknowledged.len(),
        "lost": 0,
        (bench::LOAD): load,
        "missed": missed.into_json(),
    });
    if args.samples {
        report["samples_ms"] = samples.all_ms().into();
    }
    Ok(report)
}

/// Waits until every member follows one leader and has applied what it has, and writes go through.
async fn well(group: &mut Group, known: &Mutex<Acknowledged>) -> Result<String> {
    let leader = group.leader().await?;
    let begun = clock::instant();
    let group = &*group;
    wait_until(SOON, "every member follows the leader", || async {
        let lead = group.mesh_status(&leader).await?;
        for name in group.names() {
            let mesh = group.mesh_status(&name).await?;
            if mesh.leader_id != lead.node_id || mesh.applied < lead.applied {
                let (follows, applied) = (mesh.leader_id, mesh.applied);
                return Ok(Look::NotYet(format!("{name} follows {follows}, at {applied}")));
            }
        }
        Ok(Look::Holds(()))
    })
    .await?;
    wait_until(SOON, "a write", || async {
        let known = known.lock().unwrap_or_else(PoisonError::into_inner);
        let later: Option<Instant> = known.first_begun_after(begun);
        Ok(Look::some(later, &known.refused))
    })
    .await?;
    Ok(leader)
}
