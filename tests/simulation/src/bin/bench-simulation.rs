//! Runs many seeds on all cores: are there enough of those that count, did everything rare happen,
//! and does every invariant hold?

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};

use clap::Parser as _;
use parallax_runtime::clock;
use parallax_simulation::counters::Counters;
use parallax_simulation::runner::{self, Options, Outcome};
use parking_lot::Mutex;

/// What must have happened at least once over all seeds.
const REQUIRED: [&[&str]; 2] = [runner::SOMETIMES, runner::RARELY];

/// Runs many seeds of the simulation.
#[derive(Debug, clap::Parser)]
struct Args {
    /// How many.
    #[arg(long, default_value_t = 3_000)]
    seeds: u64,
    /// The first.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// How long each world lasts.
    #[arg(long, default_value_t = 60)]
    simulated_seconds: u64,
    /// Seeds that must count: 3 leader changes, 2 crashes and 100 acknowledged writes or more. More
    /// seeds than asked for are run, up to a tenth, to make up for those that do not.
    #[arg(long, default_value_t = 0)]
    at_least: u64,
    /// How long all of it may take, in seconds.
    #[arg(long)]
    seconds_at_most: Option<f64>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    std::panic::set_hook(Box::new(|_| {}));
    let began = clock::instant();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicU64::new(0);
    let counted = AtomicU64::new(0);
    let outcomes: Mutex<(Counters, Vec<Outcome>, u64)> = Mutex::default();
    let most = args.seeds + args.seeds / 10;
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let enough = counted.load(Ordering::Relaxed) >= args.at_least;
                    if number >= most || (number >= args.seeds && enough) {
                        return;
                    }
                    let outcome = runner::run(&Options {
                        seed: args.from + number,
                        simulated_seconds: args.simulated_seconds,
                        trace: false,
                        mutant: None,
                    });
                    counted.fetch_add(u64::from(outcome.counts()), Ordering::Relaxed);
                    let mut all = outcomes.lock();
                    all.0.merge(&outcome.counters);
                    all.2 += 1;
                    if outcome.violation.is_some() {
                        all.1.push(outcome);
                    }
                }
            });
        }
    });
    let seconds = clock::instant().duration_since(began).as_secs_f64();
    let (counters, mut failed, ran) = outcomes.into_inner();
    failed.sort_by_key(|outcome| outcome.seed);
    let counted = counted.into_inner();
    let missing: Vec<&str> =
        REQUIRED.concat().into_iter().filter(|what| counters.get(what) == 0).collect();
    let failures: Vec<_> = failed
        .iter()
        .filter_map(|outcome| {
            let violation = outcome.violation.as_ref()?;
            let options = Options {
                seed: outcome.seed,
                simulated_seconds: args.simulated_seconds,
                trace: false,
                mutant: None,
            };
            Some(serde_json::json!({
                "seed": outcome.seed,
                "invariant": violation.invariant,
                "what": violation.what,
                "replay": outcome.replay(&options),
            }))
        })
        .collect();
    let report = serde_json::json!({
        "seeds": ran,
        "counted": counted,
        "simulated_seconds": args.simulated_seconds,
        "threads": threads,
        "seconds": seconds,
        "seeds_per_second": ran as f64 / seconds,
        "counted_per_second": counted as f64 / seconds,
        "sometimes": counters.iter().collect::<std::collections::BTreeMap<_, _>>(),
        "never": missing,
        "failures": failures,
    });
    println!("{report:#}");
    let in_time = args.seconds_at_most.is_none_or(|most| seconds <= most);
    match failures.is_empty() && missing.is_empty() && counted >= args.at_least && in_time {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}
