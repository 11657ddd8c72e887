//! Kills a real coordinator with -9, again and again, and counts acknowledged writes that are gone.

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use parallax_runtime::clock;
use parallax_tests::bench::figures::Missed;
use parallax_tests::{bench, kill_nine};
use serde_json::{Value, json};

/// Kill a coordinator again and again under a client that remembers every acknowledged write.
#[derive(Debug, Parser)]
struct Args {
    /// Kills; a third of them within 300 ms of the start.
    #[arg(long, default_value_t = 200)]
    rounds: u32,
    /// Decides when the kills come.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Acknowledged writes, all of them there in the end, below which the bench fails.
    #[arg(long)]
    at_least: Option<f64>,
}

fn main() -> ExitCode {
    bench::main(run(Args::parse()))
}

async fn run(args: Args) -> Result<Value> {
    let load = bench::load_average();
    let began = clock::instant();
    let told = kill_nine::tell(bench::binaries()?, args.rounds, args.seed).await?;
    let mut missed = Missed::default();
    missed.at_least("acknowledged writes", told.acknowledged as f64, args.at_least);
    Ok(json!({
        "bench": "kill-nine",
        "seed": args.seed,
        "kills": told.kills,
        "kills_within_300_ms_of_the_start": told.early,
        "acknowledged_writes": told.acknowledged,
        "lost": 0,
        "seconds": clock::instant().duration_since(began).as_secs(),
        (bench::LOAD): load,
        "missed": missed.into_json(),
    }))
}
