//! From the start of a probe to its first run: with a plan that a coordinator hands out, and with the
//! one that it has kept while no coordinator is there.
//!
//! The first run is the first request that the target reads. When the plan was complete the probe says
//! itself, in its log.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Parser;
use parallax_proto::convert::time::utc;
use parallax_runtime::clock;
use parallax_tests::bench;
use parallax_tests::bench::figures::{Missed, ms};
use parallax_tests::harness::mesh::Mesh;
use parallax_tests::harness::wait::{Look, wait_until};
use parallax_tests::harness::yaml::{self, CheckYaml};
use prost_types::Timestamp;
use serde_json::{Value, json};

const REGION: &str = "eu-west";
const WITHIN: Duration = Duration::from_secs(120);

/// Measure how soon a probe looks.
#[derive(Debug, Parser)]
struct Args {
    /// Checks, each every 10 s.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=50_000))]
    checks: u32,
    /// Milliseconds to the first run of a plan that a coordinator hands out above which the bench fails.
    #[arg(long)]
    told_at_most_ms: Option<f64>,
    /// The same of a plan that was kept. For 3 s of them the probe waits for a coordinator.
    #[arg(long)]
    kept_at_most_ms: Option<f64>,
}

fn main() -> ExitCode {
    bench::main(run(Args::parse()))
}

/// How long one start took.
struct Start {
    first_run: Duration,
    complete: Duration,
}

/// Starts the probe, and waits until its plan is complete, the first run has begun, and the plan is kept.
async fn start(mesh: &mut Mesh, checks: u32) -> Result<Start> {
    let said = mesh.path(&format!("probe-{REGION}.log"));
    let said_before = std::fs::read(&said).map_or(0, |log| log.len());
    let asked = mesh.target.requests();
    let (began, at) = (clock::instant(), clock::utc());
    mesh.start_probe(REGION)?;
    let first_run = wait_until(WITHIN, "a first run", || async {
        let some = mesh.target.requests() > asked;
        Ok(Look::some(some.then(|| clock::instant().duration_since(began)), asked))
    });
    let first_run = first_run.await?;
    let complete = format!("checks={checks}");
    let line = wait_until(WITHIN, "a complete plan", || async {
        let log = mesh.probe_log(REGION)?;
        let lines = log.get(said_before..).unwrap_or_default().lines();
        let mut lines = lines.filter(|line| line.ends_with(&complete));
        let applied = lines.find(|line| line.contains("assignments applied")).map(str::to_owned);
        let kept = std::fs::exists(mesh.path(&format!("data-{REGION}/assignments.cache")))?;
        Ok(Look::some(applied.filter(|_| kept), kept))
    });
    let line = line.await?;
    let word = line.split_whitespace().next().context("an empty line")?;
    let applied = utc(&word.parse::<Timestamp>()?).context("no time")?;
    Ok(Start { first_run, complete: applied.since(at) })
}

async fn run(args: Args) -> Result<Value> {
    let load = bench::load_average();
    let mut mesh = Mesh::coordinator_alone(bench::binaries()?, &[REGION], Duration::ZERO).await?;
    mesh.issue_probe(REGION, REGION).await?;
    let check = |n: u32| CheckYaml {
        interval: "10s".to_owned(),
        alert: Vec::new(),
        ..CheckYaml::new(&format!("check-{n}"), &mesh.target.url(), &[REGION])
    };
    let checks: Vec<CheckYaml> = (1..=args.checks).map(check).collect();
    mesh.apply(&yaml::file(&[REGION], "${env:PX_HOOK}", &checks)).await?;

    let told = start(&mut mesh, args.checks).await?;
    wait_until(WITHIN, "kept assignments", || async {
        let log = mesh.probe_log(REGION)?;
        Ok(Look::when(log.contains(&format!("assignments cached checks={}", args.checks)), "no"))
    })
    .await?;
    mesh.kill_probe(REGION);
    mesh.kill_coordinator();
    let kept = start(&mut mesh, args.checks).await?;
    mesh.told();

    let mut missed = Missed::default();
    missed.at_most("told_at_most_ms", ms(told.first_run), args.told_at_most_ms);
    missed.at_most("kept_at_most_ms", ms(kept.first_run), args.kept_at_most_ms);
    Ok(json!({
        "bench": "start",
        "what": "a probe's process begins -> its plan is complete, and the target reads a first request",
        "checks": args.checks,
        "told": {"complete_ms": ms(told.complete), "first_run_ms": ms(told.first_run)},
        "kept": {"complete_ms": ms(kept.complete), "first_run_ms": ms(kept.first_run)},
        (bench::LOAD): load,
        "missed": missed.into_json(),
    }))
}
