//! A slice of seeds in every test run, the seeds that found something once, and the proof that a seed
//! decides everything.

use std::sync::atomic::{AtomicU64, Ordering};

use parallax_simulation::counters::Counters;
use parallax_simulation::runner::{self, Options, Outcome};
use parking_lot::Mutex;

const SECONDS: u64 = 24;

fn options(seed: u64, simulated_seconds: u64) -> Options {
    Options { seed, simulated_seconds, trace: false, mutant: None }
}

/// Runs all of them on all cores and fails with every violation at once.
fn run_all(all: &[Options]) -> Vec<Outcome> {
    let next = AtomicU64::new(0);
    let outcomes = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(options) = all.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
                    let outcome = runner::run(options);
                    let violation = outcome.violation.as_ref().map(|violation| {
                        let replay = outcome.replay(options);
                        format!("{}: {}\n    {replay}", violation.invariant, violation.what)
                    });
                    outcomes.lock().push((outcome, violation));
                }
            });
        }
    });
    let outcomes = outcomes.into_inner();
    let violations: Vec<_> = outcomes.iter().filter_map(|(_, what)| what.as_deref()).collect();
    assert!(violations.is_empty(), "\n  {}\n", violations.join("\n  "));
    outcomes.into_iter().map(|(outcome, _)| outcome).collect()
}

#[test]
fn a_hundred_seeds_hold_every_invariant_and_see_everything_rare() {
    let all: Vec<Options> = (0..100).map(|seed| options(seed, SECONDS)).collect();
    let outcomes = run_all(&all);
    let mut counters = Counters::default();
    outcomes.iter().for_each(|outcome| counters.merge(&outcome.counters));
    let never: Vec<&&str> =
        runner::SOMETIMES.iter().filter(|what| counters.get(what) == 0).collect();
    assert!(never.is_empty(), "never happened: {never:?}");
}

#[test]
fn seeds_that_found_something_once_find_nothing_now() {
    let kept: Vec<Options> = include_str!("../seeds.txt")
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default().trim())
        .filter(|line| !line.is_empty())
        .map(|line| {
            let mut numbers = line.split_whitespace().map(|word| word.parse().unwrap());
            options(numbers.next().unwrap(), numbers.next().unwrap())
        })
        .collect();
    run_all(&kept);
}

#[test]
fn a_seed_decides_everything_and_another_one_decides_otherwise() {
    let digests = |seed| {
        let outcome = runner::run(&options(seed, 20));
        (outcome.digest, outcome.events, outcome.counters)
    };
    for seed in 0..4 {
        assert_eq!(digests(seed), digests(seed), "seed {seed}");
    }
    assert_ne!(digests(1).0, digests(2).0);
}
