//! Makes each deliberate mistake, and looks for a seed whose invariants notice.

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use clap::Parser as _;
use parallax_coordinator::mutant::Mutant;
use parallax_runtime::clock;
use parallax_simulation::runner::{self, Options, Outcome};
use parking_lot::Mutex;

/// Runs every mutant until an invariant catches it.
#[derive(Debug, clap::Parser)]
struct Args {
    /// Seeds that a mistake may survive.
    #[arg(long, default_value_t = 1_000)]
    seeds: u64,
    /// How long each world lasts.
    #[arg(long, default_value_t = 60)]
    simulated_seconds: u64,
    /// Only this one.
    #[arg(long)]
    only: Option<String>,
}

/// A mistake, with the run that caught it and whether the same seed passes without it.
type Found = (Mutant, Option<(Outcome, bool)>);

fn main() -> ExitCode {
    let args = Args::parse();
    std::panic::set_hook(Box::new(|_| {}));
    let began = clock::instant();
    let mutants: Vec<Mutant> = match &args.only {
        None => Mutant::ALL.to_vec(),
        Some(name) => match runner::mutant_named(name) {
            Some(mutant) => vec![mutant],
            None => {
                eprintln!("--only: there is no mistake called {name}");
                return ExitCode::from(2);
            }
        },
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicUsize::new(0);
    let runs = AtomicU64::new(0);
    let found: Mutex<Vec<Found>> = Mutex::default();
    let options = |seed, mutant| Options {
        seed,
        simulated_seconds: args.simulated_seconds,
        trace: false,
        mutant,
    };
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(mutant) = mutants.get(at).copied() else { return };
                    let caught = (0..args.seeds).find_map(|seed| {
                        runs.fetch_add(1, Ordering::Relaxed);
                        let outcome = runner::run(&options(seed, Some(mutant)));
                        outcome.violation.is_some().then_some(outcome)
                    });
                    let caught = caught.map(|outcome| {
                        let without = runner::run(&options(outcome.seed, None));
                        (outcome, without.violation.is_none())
                    });
                    found.lock().push((mutant, caught));
                }
            });
        }
    });
    let mut found = found.into_inner();
    found.sort_by_key(|(mutant, _)| *mutant);
    let good = |caught: &Option<(Outcome, bool)>| matches!(caught, Some((_, true)));
    let survivors = found.iter().filter(|(_, caught)| !good(caught)).count();
    let rows: Vec<_> = found
        .iter()
        .map(|(mutant, caught)| {
            let violation = caught.as_ref().and_then(|(outcome, _)| outcome.violation.as_ref());
            serde_json::json!({
                "mutant": format!("{mutant:?}"),
                "seed": caught.as_ref().map(|(outcome, _)| outcome.seed),
                "invariant": violation.map(|violation| violation.invariant),
                "what": violation.map(|violation| violation.what.as_str()),
                "passes_without": caught.as_ref().map(|(_, passes)| passes),
            })
        })
        .collect();
    let report = serde_json::json!({
        "mutants": rows,
        "caught": found.len() - survivors,
        "survived": survivors,
        "seeds_run": runs.into_inner(),
        "seconds": clock::instant().duration_since(began).as_secs_f64(),
    });
    println!("{report:#}");
    if survivors == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
