//! How late a busy probe starts its runs: plain http, on one core, everything else on another.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::Parser;
use parallax_tests::bench;
use parallax_tests::bench::buckets::Buckets;
use parallax_tests::bench::figures::Missed;
use parallax_tests::bench::place::keep_on;
use parallax_tests::bench::prober::Prober;
use parallax_tests::bench::targets::{Kind, Names, Targets};
use serde_json::{Value, json};

const INTERVAL: &str = "1s";
/// A tenth of what the 99th percentile leaves out.
const MISSED_PERCENT_MAX: f64 = 0.1;
const WARM_UP: Duration = Duration::from_secs(5);

/// Measure how late runs start.
#[derive(Debug, Parser)]
struct Args {
    /// Runs a second, each of a check of its own.
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rate: u32,
    /// Seconds that are measured.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// Addresses that are probed.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u8).range(16..=200))]
    targets: u8,
    /// The core on which the probe stands; the one before or after it has all others.
    #[arg(long, default_value_t = 0)]
    core: usize,
    /// Milliseconds of lateness at the 99th percentile above which the bench fails.
    #[arg(long)]
    p99_at_most_ms: Option<f64>,
}

fn main() -> ExitCode {
    bench::main_on_one_thread(run(Args::parse()))
}

async fn run(args: Args) -> Result<Value> {
    let load = bench::load_average();
    keep_on(args.core ^ 1, std::process::id())?;
    let dir = tempfile::Builder::new().prefix("parallax-probe-").tempdir()?;
    let targets = Targets::start(dir.path(), args.targets).await?;
    let place = targets.place(dir.path(), args.core, Names::Hosts)?;
    let yaml = targets.checks(Kind::Http, usize::try_from(args.rate)?, INTERVAL);
    let prober = Prober::start(&place, args.core ^ 1, &yaml, &[]).await?;
    tokio::time::sleep(WARM_UP).await;
    let before = prober.reading().await?;
    let text_before = prober.metrics().await?;
    tokio::time::sleep(Duration::from_secs(args.seconds.into())).await;
    let text = prober.metrics().await?;
    let done = prober.reading().await?.since(before)?;
    // A slot that is missed is in no histogram: too many of them would be the latest ones left out.
    done.ensure_done(MISSED_PERCENT_MAX)?;
    prober.told();

    let grown = |name| -> Result<Buckets> {
        Ok(Buckets::read(&text, name)?.since(&Buckets::read(&text_before, name)?))
    };
    let lateness = grown("parallax_probe_lateness_seconds")?;
    let from_slot = grown("parallax_probe_from_slot_seconds")?;
    let mut missed = Missed::default();
    missed.at_most("p99_at_most_ms", lateness.quantile_ms(0.99), args.p99_at_most_ms);
    let took = (done.at - before.at).as_secs_f64();
    Ok(json!({
        "bench": "lateness",
        "what": "actual less intended start of plain http runs, by the bounds of the probe's buckets",
        "rate": args.rate,
        "runs_per_second": (done.passed as f64 / took).round(),
        "core_used": (done.cpu.as_secs_f64() / took * 100.0).round() / 100.0,
        "lateness": lateness.summary(),
        "from_slot": from_slot.summary(),
        "slots_missed": done.missed,
        (bench::LOAD): load,
        "missed": missed.into_json(),
    }))
}
