//! Runs one seed, for a look at it.

use std::process::ExitCode;

use clap::Parser as _;
use parallax_simulation::runner::{self, Options};

/// Runs one seed of the simulation.
#[derive(Debug, clap::Parser)]
struct Args {
    /// Decides everything.
    #[arg(long)]
    seed: u64,
    /// How long the world lasts.
    #[arg(long, default_value_t = 60)]
    simulated_seconds: u64,
    /// Print every event to stderr.
    #[arg(long)]
    trace: bool,
    /// Make a deliberate mistake.
    #[arg(long)]
    mutant: Option<String>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let mutant = match args.mutant.as_deref().map(|name| (name, runner::mutant_named(name))) {
        Some((name, None)) => {
            eprintln!("--mutant: there is no mistake called {name}");
            return ExitCode::from(2);
        }
        Some((_, mutant)) => mutant,
        None => None,
    };
    let (seed, simulated_seconds) = (args.seed, args.simulated_seconds);
    let options = Options { seed, simulated_seconds, trace: args.trace, mutant };
    let outcome = runner::run(&options);
    println!("seed {seed}: {} events, digest {:016x}", outcome.events, outcome.digest);
    for (what, times) in outcome.counters.iter() {
        println!("  {what}: {times}");
    }
    match &outcome.violation {
        None => ExitCode::SUCCESS,
        Some(violation) => {
            println!("violated: {}: {}", violation.invariant, violation.what);
            println!("replay: {}", outcome.replay(&options));
            ExitCode::FAILURE
        }
    }
}
