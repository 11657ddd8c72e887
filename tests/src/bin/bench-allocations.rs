//! Allocations of a probe for each run: everything that the process allocates while it runs checks on
//! schedule and streams to a coordinator, divided by its runs.
//!
//! The probe is this program itself, started a second time with an allocator that counts.

use std::alloc::System;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use parallax_probe::Config;
use parallax_runtime::supervisor::{Supervisor, TaskKind};
use parallax_tests::bench;
use parallax_tests::bench::figures::Missed;
use parallax_tests::bench::place::keep_on;
use parallax_tests::bench::prober::{Prober, value};
use parallax_tests::bench::targets::{AUTHORITY, Kind, Names, Targets};
use parallax_tests::harness::http;
use parallax_tests::harness::wait::{Look, STALE, wait_until};
use serde_json::{Value, json};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static COUNTED: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const INTERVAL: &str = "1s";
/// The first runs make what later ones find ready.
const WARM_UP: Duration = Duration::from_secs(5);
/// The counting probe writes what it found beside its other files.
const REPORT: &str = "allocations.json";

/// Count the allocations of a run.
#[derive(Debug, Parser)]
struct Args {
    /// What the runs do.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "http,https,tcp,dns")]
    kinds: Vec<Kind>,
    /// Checks, each run once a second.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u16).range(1..=2_000))]
    checks: u16,
    /// Seconds that are counted, of each kind.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// Addresses that are probed.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u8).range(16..=200))]
    targets: u8,
    /// The core on which the probe stands; the one before or after it has all others.
    #[arg(long, default_value_t = 0)]
    core: usize,
    /// Allocations of an http run above which the bench fails.
    #[arg(long)]
    at_most: Option<f64>,
    /// Be the probe: what the bench starts itself as, with some of a probe's own flags.
    #[arg(long, hide = true, requires = "tls_dir")]
    probe: bool,
    #[arg(long, hide = true)]
    tls_dir: Option<PathBuf>,
    #[arg(long, hide = true, requires = "probe")]
    coordinator: Vec<String>,
    #[arg(long, hide = true, requires = "probe")]
    data_dir: Option<PathBuf>,
    #[arg(long, hide = true, requires = "probe")]
    health: Option<std::net::SocketAddr>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    if args.probe { bench::main(count(args)) } else { bench::main_on_one_thread(run(args)) }
}

async fn run(args: Args) -> Result<Value> {
    let load = bench::load_average();
    keep_on(args.core ^ 1, std::process::id())?;
    let dir = tempfile::Builder::new().prefix("parallax-probe-").tempdir()?;
    let targets = Targets::start(dir.path(), args.targets).await?;
    let place = targets.place(dir.path(), args.core, Names::Hosts)?;
    let program = std::env::current_exe()?.display().to_string();
    let seconds = args.seconds.to_string();
    let (mut kinds, mut missed) = (serde_json::Map::new(), Missed::default());
    for kind in &args.kinds {
        let yaml = targets.checks(*kind, args.checks.into(), INTERVAL);
        let files = [(AUTHORITY, targets.authority_pem())];
        let command = [&*program, "--probe", "--seconds", &*seconds];
        let prober = Prober::start_as(&command, &place, args.core ^ 1, &yaml, &files).await?;
        let path = prober.data_dir().join(REPORT);
        let within = STALE + WARM_UP + Duration::from_secs(args.seconds.into());
        let report: Value = wait_until(within, "the probe has counted", || {
            let text = std::fs::read(&path);
            async { Ok(Look::some(serde_json::from_slice(&text?).ok(), "a part")) }
        })
        .await?;
        prober.told();
        if *kind == Kind::Http {
            let count = report["allocations_per_run"].as_f64().context("no figure")?;
            missed.at_most("allocations of an http run", count, args.at_most);
        }
        kinds.insert(kind.word().to_owned(), report);
    }
    if args.at_most.is_some() {
        ensure!(args.kinds.contains(&Kind::Http), "--at-most is for kind http");
    }
    Ok(json!({
        "bench": "allocations",
        "what": "all that the probe's process allocates, divided by its runs",
        "checks": args.checks,
        "kinds": kinds,
        (bench::LOAD): load,
        "missed": missed.into_json(),
    }))
}

/// Is the probe, counts for a while, and goes on until it is killed.
async fn count(args: Args) -> Result<Value> {
    let health = args.health.context("no --health")?;
    let data_dir = args.data_dir.context("no --data-dir")?;
    let config = Config {
        tls_dir: args.tls_dir.context("no --tls-dir")?,
        coordinators: args.coordinator,
        data_dir: Some(data_dir.clone()),
        spool_dir: None,
        spool_bytes_max: None,
        spool_age_max: None,
        source_address: None,
        allow_env: Vec::new(),
        allow_files: Vec::new(),
        plugin_dirs: Vec::new(),
        plugin_env: Vec::new(),
        anchors: Vec::new(),
        allow_networks: Vec::new(),
        deny_networks: Vec::new(),
        health: Some(health),
        extra_header: None,
    };
    let supervisor = Supervisor::default();
    let stop = supervisor.stop_token();
    supervisor.spawn(TaskKind::Session("probe"), async move {
        if let Err(error) = parallax_probe::run(config, stop).await {
            eprintln!("the probe ended: {error:#}");
        }
    });
    let health = health.to_string();
    wait_until(STALE, "a first run", || async {
        let runs = runs(&health).await?;
        Ok(Look::when(runs > 0, runs))
    })
    .await?;
    tokio::time::sleep(WARM_UP).await;
    let (before, first) = (COUNTED.stats(), runs(&health).await?);
    tokio::time::sleep(Duration::from_secs(args.seconds.into())).await;
    let (after, last) = (COUNTED.stats(), runs(&health).await?);
    let runs = (last - first) as f64;
    let each = |after: usize, before: usize| ((after - before) as f64 / runs * 10.0).round() / 10.0;
    let report = json!({
        "runs": last - first,
        "allocations_per_run": each(after.allocations, before.allocations),
        "reallocations_per_run": each(after.reallocations, before.reallocations),
        "bytes_per_run": each(after.bytes_allocated, before.bytes_allocated).round(),
    });
    std::fs::write(data_dir.join(REPORT), report.to_string())?;
    std::future::pending().await
}

async fn runs(health: &str) -> Result<u64> {
    let text = http::get(health, "/metrics").await?.body;
    let outcome =
        |word| value(&text, &format!("parallax_probe_outcomes_total{{outcome=\"{word}\"}}"));
    // One that fails early allocates less.
    ensure!(outcome("fail")? == 0, "{} runs failed", outcome("fail")?);
    outcome("pass")
}
