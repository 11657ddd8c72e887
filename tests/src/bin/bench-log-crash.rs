//! Crashes the log on disk at every write and sync of recorded runs, and opens what is left.

use std::process::ExitCode;

use anyhow::{Result, anyhow};
use clap::Parser;
use parallax_coordinator::raft::log::crash::replay::{Report, replay};
use parallax_runtime::clock;
use parallax_tests::bench;
use parallax_tests::bench::figures::Missed;
use serde_json::{Value, json};

/// Record random work on a log, crash it at every change of a file in every way, and start anew.
#[derive(Debug, Parser)]
struct Args {
    /// Recorded runs.
    #[arg(long, default_value_t = 20)]
    rounds: u64,
    /// Seed of the first run; each later one has the next.
    #[arg(long, default_value_t = 1_000)]
    seed: u64,
    /// Pieces of work in one run.
    #[arg(long, default_value_t = 60)]
    steps: usize,
    /// Crashes, all of them survived, below which the bench fails.
    #[arg(long)]
    at_least: Option<f64>,
}

fn main() -> ExitCode {
    bench::main(run(Args::parse()))
}

async fn run(args: Args) -> Result<Value> {
    let load = bench::load_average();
    let began = clock::instant();
    let work = tokio::task::spawn_blocking(move || -> Result<Report> {
        let dir = tempfile::tempdir()?;
        let mut all = Report::default();
        for seed in args.seed..args.seed + args.rounds {
            let place = dir.path().join(seed.to_string());
            all.add(replay(&place, seed, args.steps, 1).map_err(|broken| anyhow!(broken))?);
            std::fs::remove_dir_all(place)?;
        }
        Ok(all)
    });
    let report = work.await??;
    let mut missed = Missed::default();
    missed.at_least("crashes", report.crashes as f64, args.at_least);
    Ok(json!({
        "bench": "log-crash",
        "first_seed": args.seed,
        "rounds": args.rounds,
        "report": report,
        "seconds": clock::instant().duration_since(began).as_secs_f64(),
        (bench::LOAD): load,
        "missed": missed.into_json(),
    }))
}
