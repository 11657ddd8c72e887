//! Makes each deliberate mistake, and looks for a seed whose invariants notice.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;
use parallax_coordinator::mutant::Mutant;
use parallax_runtime::clock;
use parallax_simulation::invariant::LIVENESS;
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
    /// A mistake that only a lack of progress gave away is tried on so many more seeds, for an
    /// invariant that says what is wrong.
    #[arg(long, default_value_t = 50)]
    further: u64,
    /// Mistakes that must be caught; all of them when it is not given.
    #[arg(long)]
    at_least: Option<usize>,
    /// No seed is begun after so many seconds.
    #[arg(long)]
    seconds_at_most: Option<u64>,
    /// Only this one.
    #[arg(long)]
    only: Option<String>,
}

/// How the search for one mistake stands.
struct Search {
    mutant: Mutant,
    next: u64,
    running: u64,
    /// The run that caught it, and whether the same seed passes without it.
    caught: Option<(Outcome, bool)>,
}

fn is_safety(outcome: &Outcome) -> bool {
    outcome.violation.as_ref().is_some_and(|violation| violation.invariant != LIVENESS)
}

impl Search {
    /// The next seed to try; none when there is nothing left to look for.
    fn seed(&self, args: &Args) -> Option<u64> {
        let end = match &self.caught {
            None => args.seeds,
            Some((outcome, _)) if is_safety(outcome) => 0,
            Some((outcome, _)) => args.seeds.min(outcome.seed + 1 + args.further),
        };
        (self.next < end).then_some(self.next)
    }

    /// Takes a run that caught it. Safety counts more than progress, then the earlier seed.
    fn take(&mut self, outcome: Outcome, passes: bool) {
        let rank = |outcome: &Outcome| (!is_safety(outcome), outcome.seed);
        if self.caught.as_ref().is_none_or(|(before, _)| rank(&outcome) < rank(before)) {
            self.caught = Some((outcome, passes));
        }
    }
}

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
    let search = |mutant| Search { mutant, next: 0, running: 0, caught: None };
    let searches: Mutex<Vec<Search>> = Mutex::new(mutants.iter().copied().map(search).collect());
    let options = |seed, mutant| Options {
        seed,
        simulated_seconds: args.simulated_seconds,
        trace: false,
        mutant,
    };
    let late = || {
        let most = args.seconds_at_most.map(Duration::from_secs);
        most.is_some_and(|most| clock::instant().duration_since(began) >= most)
    };
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    // Whoever was tried least, so that one that hides does not keep the rest waiting.
                    let begun = {
                        let mut all = searches.lock();
                        let open = (0..all.len()).filter(|at| all[*at].seed(&args).is_some());
                        let at = open.min_by_key(|at| (all[*at].next, all[*at].running));
                        at.map(|at| {
                            let (seed, mutant) = (all[at].next, all[at].mutant);
                            all[at].next += 1;
                            all[at].running += 1;
                            (at, seed, mutant)
                        })
                    };
                    let Some((at, seed, mutant)) = begun.filter(|_| !late()) else { return };
                    let outcome = runner::run(&options(seed, Some(mutant)));
                    let found = outcome.violation.is_some();
                    let passes = found && runner::run(&options(seed, None)).violation.is_none();
                    let mut all = searches.lock();
                    all[at].running -= 1;
                    if found {
                        all[at].take(outcome, passes);
                    }
                }
            });
        }
    });
    let searches = searches.into_inner();
    let good = searches.iter().filter(|search| matches!(search.caught, Some((_, true)))).count();
    let mut took: Vec<u64> = searches
        .iter()
        .filter_map(|search| search.caught.as_ref())
        .map(|(outcome, _)| outcome.seed + 1)
        .collect();
    took.sort_unstable();
    let by_safety = searches
        .iter()
        .filter(|search| search.caught.as_ref().is_some_and(|(outcome, _)| is_safety(outcome)))
        .count();
    let rows: Vec<_> = searches
        .iter()
        .map(|search| {
            let caught = search.caught.as_ref();
            let violation = caught.and_then(|(outcome, _)| outcome.violation.as_ref());
            serde_json::json!({
                "mutant": format!("{:?}", search.mutant),
                "seed": caught.map(|(outcome, _)| outcome.seed),
                "seeds": caught.map_or(search.next, |(outcome, _)| outcome.seed + 1),
                "invariant": violation.map(|violation| violation.invariant),
                "what": violation.map(|violation| violation.what.as_str()),
                "passes_without": caught.map(|(_, passes)| passes),
            })
        })
        .collect();
    let report = serde_json::json!({
        "mutants": rows,
        "caught": good,
        "caught_by_safety": by_safety,
        "survived": searches.len() - good,
        "seeds_median": took.get(took.len() / 2),
        "seeds_most": took.last(),
        "seeds_run": searches.iter().map(|search| search.next).sum::<u64>(),
        "seconds": clock::instant().duration_since(began).as_secs_f64(),
    });
    println!("{report:#}");
    match good >= args.at_least.unwrap_or(searches.len()) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}
