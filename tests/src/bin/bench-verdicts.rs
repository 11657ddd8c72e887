//! False incidents of a month, what real outages take to be found, and what other products' rules would
//! have made of the same traces. What goes wrong and what is counted is said in `parallax_verdicts`.

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::Result;
use clap::Parser;
use parallax_runtime::clock;
use parallax_tests::bench;
use parallax_tests::bench::figures::{Missed, Samples};
use parallax_verdicts::closed_form;
use parallax_verdicts::faults::Plan;
use parallax_verdicts::judged::Judged;
use parallax_verdicts::mesh::{self, Found, Load, REGIONS};
use parallax_verdicts::rules::Rule;
use serde_json::{Value, json};

const DAY: Duration = Duration::from_secs(86_400);
/// Of five regions.
const DOWN_AT: u32 = 3;
/// By which the count is judged at much loss.
const CONFIDENCE: f64 = 0.99;

/// Count false incidents of checks at 60 s in five regions, and time to open of planted outages.
#[derive(Debug, Parser)]
struct Args {
    /// Decides everything that is drawn.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Checks of both parts.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    checks: u32,
    /// Days of the part with faults and outages.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=90))]
    days: u32,
    /// Its loss: how likely a run fails by itself.
    #[arg(long, default_value_t = 0.003, value_parser = fraction)]
    loss: f64,
    /// Mean days between two outages of a check.
    #[arg(long, default_value_t = 10.0)]
    outage_every_days: f64,
    /// Days of the part that is nothing but loss.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=90))]
    lossy_days: u32,
    /// Its loss. A count above the 99 % bound of the closed form fails the bench.
    #[arg(long, default_value_t = 0.03, value_parser = fraction)]
    much_loss: f64,
    /// False incidents, in the part with faults, above which the bench fails.
    #[arg(long, default_value_t = 0.0)]
    at_most: f64,
    /// Outcomes through ballots and decisions, a second, below which the bench fails.
    #[arg(long)]
    at_least: Option<f64>,
    /// Seconds that both parts may take.
    #[arg(long)]
    seconds_at_most: Option<f64>,
}

/// How likely something is: a part of one, and rather seldom.
fn fraction(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "a number such as 0.03".to_owned())?;
    if (0.0..=0.5).contains(&value) {
        Ok(value)
    } else {
        Err("from 0 to 0.5: 0.03 is 3 %".to_owned())
    }
}

fn main() -> ExitCode {
    bench::main(async { run(&Args::parse()) })
}

fn run(args: &Args) -> Result<Value> {
    let load_average = bench::load_average();
    let span = DAY * args.days;
    let month = Load {
        seed: args.seed,
        span,
        loss: args.loss,
        outages_every: Some(DAY.mul_f64(args.outage_every_days)),
        plan: Plan::new(args.seed, REGIONS, Load::START, span),
    };
    let lossy = Load {
        seed: args.seed + 1,
        span: DAY * args.lossy_days,
        loss: args.much_loss,
        outages_every: None,
        plan: Plan::none(REGIONS),
    };
    let began = clock::instant();
    let found = simulate(&month, args.checks);
    let took = clock::instant().duration_since(began);
    let began = clock::instant();
    let lost = simulate(&lossy, args.checks);
    let lossy_took = clock::instant().duration_since(began);

    let by_loss = |load: &Load| {
        load.slots(args.checks) * closed_form::per_slot(REGIONS as u32, DOWN_AT, load.loss)
    };
    let expected = by_loss(&lossy);
    let at_most = closed_form::poisson_at_most(expected, CONFIDENCE);
    let bound = mesh::bound(REGIONS);
    let in_time = |after: &&Duration| **after <= bound;
    let late = found.ours.to_open_calm.iter().filter(|after| !in_time(after)).count();
    let rate = (found.told + lost.told) as f64 / (took + lossy_took).as_secs_f64();

    let mut missed = Missed::default();
    missed.at_most("false_downs", found.ours.false_downs as f64, Some(args.at_most));
    missed.at_most("false_downs_at_much_loss", lost.ours.false_downs as f64, Some(at_most as f64));
    missed.at_most("opened_without_quorum", found.without_quorum as f64, Some(0.0));
    missed.at_most("outages_missed_beside_no_fault", found.ours.missed_calm as f64, Some(0.0));
    missed.at_most("opened_late", late as f64, Some(0.0));
    missed.at_least("events_per_second", rate, args.at_least);
    missed.at_most("seconds", (took + lossy_took).as_secs_f64(), args.seconds_at_most);
    let mut rules = vec![row("parallax", &found.ours)];
    rules.extend(Rule::ALL.iter().zip(&found.theirs).map(|(rule, of)| row(rule.name(), of)));
    Ok(json!({
        "bench": "verdicts",
        "seed": args.seed,
        "checks": args.checks,
        "regions": REGIONS,
        "interval_seconds": mesh::INTERVAL.as_secs(),
        "events_per_second": rate.round(),
        "faults": {
            "days": args.days,
            "loss": args.loss,
            "slots": month.slots(args.checks),
            "work": work(&found, took),
            "expected_false_downs": {
                "by_loss": by_loss(&month),
                "by_loss_beside_faults":
                    month.plan.expected(args.checks, mesh::INTERVAL, DOWN_AT, args.loss),
            },
            "false_downs": found.ours.false_downs,
            "outages": found.outages,
            "outages_missed": found.ours.missed,
            "outages_missed_beside_no_fault": found.ours.missed_calm,
            "time_to_open": {
                "bound_seconds": bound.as_secs_f64(),
                "outages_beside_no_fault": found.ours.to_open_calm.len(),
                "late": late,
                "summary": summary(&found.ours.to_open_calm),
            },
            "rules": rules,
        },
        "loss_alone": {
            "days": args.lossy_days,
            "loss": args.much_loss,
            "slots": lossy.slots(args.checks),
            "work": work(&lost, lossy_took),
            "expected_false_downs": expected,
            "at_most": at_most,
            "false_downs": lost.ours.false_downs,
        },
        (bench::LOAD): load_average,
        "missed": missed.into_json(),
    }))
}

/// All checks, on as many threads as there are processors. Each check is drawn by itself, so their order
/// changes nothing.
fn simulate(load: &Load, checks: u32) -> Found {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicU32::new(0);
    let all = Mutex::new(Found::default());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut found = Found::default();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= checks {
                        break;
                    }
                    found.merge(mesh::run(load, number));
                }
                if let Ok(mut all) = all.lock() {
                    all.merge(found);
                }
            });
        }
    });
    all.into_inner().unwrap_or_default()
}

fn work(found: &Found, took: Duration) -> Value {
    json!({
        "seconds": (took.as_secs_f64() * 10.0).round() / 10.0,
        "events": found.told,
        "failed": found.failed,
        "ordered": found.ordered,
        "decisions": found.decisions,
        "commits": found.commits,
    })
}

fn row(rule: &str, of: &Judged) -> Value {
    json!({
        "rule": rule,
        "false_downs": of.false_downs,
        "outages_missed": of.missed,
        "median_seconds_to_open": samples(&of.to_open).quantile(0.5).as_secs_f64(),
    })
}

fn summary(all: &[Duration]) -> Value {
    samples(all).summary()
}

fn samples(all: &[Duration]) -> Samples {
    let mut samples = Samples::default();
    all.iter().for_each(|one| samples.push(*one));
    samples
}
