//! Three coordinators on machines of their own (network namespaces: needs root, Debian's iproute2
//! and util-linux), and everything that may happen to one of them, again and again.

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use parallax_runtime::clock;
use parallax_tests::bench::figures::Missed;
use parallax_tests::harness::namespaces::{Network, on_a_machine_of_its_own};
use parallax_tests::{bench, disorder};
use serde_json::{Value, json};

/// Kill, stop and cut off coordinators under clients that write and a target that breaks. What is lost
/// and a history that fits no order end it with 1.
#[derive(Debug, Parser)]
struct Args {
    /// Faults, one a round.
    #[arg(long, default_value_t = 100)]
    rounds: u32,
    /// Decides what happens when.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Acknowledged writes, all of them there in the end, below which the bench fails.
    #[arg(long)]
    at_least: Option<f64>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    if let Err(error) = on_a_machine_of_its_own() {
        eprintln!("bench-disorder: {error:#}");
        return ExitCode::FAILURE;
    }
    bench::main(run(args))
}

async fn run(args: Args) -> Result<Value> {
    let load = bench::load_average();
    let began = clock::instant();
    let network = Network::start(3)?;
    let told = disorder::tell(bench::binaries()?, args.rounds, args.seed, Some(network)).await?;
    let mut missed = Missed::default();
    missed.at_least("acknowledged writes", told.acknowledged as f64, args.at_least);
    Ok(json!({
        "bench": "disorder",
        "members": 3,
        "rounds": args.rounds,
        "seed": args.seed,
        "kills": told.kills,
        "kills_within_300_ms_of_the_start": told.early,
        "pauses": told.pauses,
        "cuts": told.cuts,
        "outages": told.outages,
        "pages": told.pages,
        "pages_received_again_under_their_key": told.again,
        "acknowledged_writes": told.acknowledged,
        "lost": 0,
        "operations_checked": told.history.operations,
        "keys": told.history.keys,
        "unknown_outcomes": told.history.unknown,
        "swaps_that_met_another_version": told.history.unequal,
        "linearizable": true,
        "seconds": clock::instant().duration_since(began).as_secs(),
        (bench::LOAD): load,
        "missed": missed.into_json(),
    }))
}
