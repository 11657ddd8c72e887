//! Runs that a probe carries out in a second of processor time, beside Debian's blackbox_exporter.
//!
//! Both resolve the same names, open a new connection for each run to the same nginx, and stand on the
//! same core, one after the other; everything else stands on another one. The probe runs its checks
//! on schedule and streams to a coordinator; the exporter is asked as fast as it answers. For kind http
//! a bare loop stands there as well, which does no more than connect, ask, read and close.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use parallax_tests::bench;
use parallax_tests::bench::bare;
use parallax_tests::bench::blackbox::Blackbox;
use parallax_tests::bench::figures::Missed;
use parallax_tests::bench::place::{Place, keep_on};
use parallax_tests::bench::prober::Prober;
use parallax_tests::bench::targets::{AUTHORITY, Kind, Names, Targets};
use serde_json::{Value, json};

/// Runs of each check in a second: the shortest interval there is.
const RUNS_PER_CHECK: u32 = 10;
const INTERVAL: &str = "100ms";
/// A slot that begins over 50 ms late is missed, and what it would have cost is not in the figure.
const MISSED_PERCENT_MAX: f64 = 5.0;
/// First runs are told at once, windows are not full yet.
const WARM_UP: Duration = Duration::from_secs(3);
/// A handshake costs the target's core as much as ours: the rate of runs with one is a part of the
/// others'.
const HTTPS_PART: u32 = 4;

/// Measure the processor time of a run.
#[derive(Debug, Parser)]
struct Args {
    /// What the runs do.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "http,https,tcp,dns")]
    kinds: Vec<Kind>,
    /// How the targets' names are resolved.
    #[arg(long, value_enum, default_value = "hosts")]
    names: Names,
    /// Seconds that are measured, of each of the two in each round.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// Rounds; the report gives their median.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Runs a second that the probe is to do; a quarter of it over TLS.
    #[arg(long, default_value_t = 4_000, value_parser = clap::value_parser!(u32).range(100..=20_000))]
    rate: u32,
    /// Addresses that are probed.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u8).range(16..=200))]
    targets: u8,
    /// Connections from which the exporter is asked at once.
    #[arg(long, default_value_t = 8)]
    clients: usize,
    /// The core on which probe and exporter stand; the one before or after it has all others.
    #[arg(long, default_value_t = 0)]
    core: usize,
    /// Runs of kind http, as a multiple of the exporter's, below which the bench fails.
    #[arg(long)]
    at_least: Option<f64>,
    /// Be the bare loop, with these targets: what the bench starts itself as.
    #[arg(long, hide = true, value_delimiter = ',')]
    bare: Vec<SocketAddr>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    if args.bare.is_empty() {
        return bench::main_on_one_thread(run(args));
    }
    match bare::run(&args.bare, Duration::from_secs(args.seconds.into())) {
        Ok((runs, cpu)) => {
            println!("{runs} {}", cpu.as_secs_f64());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs a second of processor time.
#[derive(Debug, Clone, Copy)]
struct Round {
    ours: f64,
    theirs: f64,
    /// Of the bare loop, for kind http.
    bare: f64,
    missed: u64,
}

async fn run(args: Args) -> Result<Value> {
    let load = bench::load_average();
    let version = Blackbox::version()?;
    let aside = args.core ^ 1;
    keep_on(aside, std::process::id())?;
    let dir = tempfile::Builder::new().prefix("parallax-probe-").tempdir()?;
    let targets = Targets::start(dir.path(), args.targets).await?;
    let place = targets.place(dir.path(), args.core, args.names)?;
    let authority = dir.path().join(AUTHORITY);
    std::fs::write(&authority, targets.authority_pem())?;
    let modules = targets.modules(&authority.display().to_string());

    let (mut missed, mut kinds) = (Missed::default(), serde_json::Map::new());
    for kind in &args.kinds {
        let mut rounds = Vec::new();
        for number in 0..args.rounds {
            let (ours, missed) = ours(&args, &targets, &place, *kind).await?;
            let exporter = Blackbox::start(dir.path(), &place, &modules).await?;
            let length = Duration::from_secs(args.seconds.into());
            let asked = targets.exporter_targets(*kind);
            let done = exporter.drive(kind.word(), &asked, args.clients, length).await?;
            ensure!(done.failed == 0, "{} probes of the exporter failed", done.failed);
            let theirs = done.succeeded as f64 / done.cpu.as_secs_f64();
            eprintln!(
                "{} {number}: ours {ours:.0}, the exporter's {theirs:.0} runs a second of \
                 processor time",
                kind.word()
            );
            let bare = match kind {
                Kind::Http => bare::at(&place, &targets.addresses(), args.seconds).await?,
                Kind::Https | Kind::Tcp | Kind::Dns => f64::NAN,
            };
            rounds.push(Round { ours, theirs, bare, missed });
        }
        let ratio = median(rounds.iter().map(|round| round.ours / round.theirs));
        if *kind == Kind::Http {
            missed.at_least("http ratio", ratio, args.at_least);
        }
        let mut figures = json!({
            "runs_per_cpu_second": median(rounds.iter().map(|round| round.ours)).round(),
            "exporter_per_cpu_second": median(rounds.iter().map(|round| round.theirs)).round(),
            "ratio": (ratio * 100.0).round() / 100.0,
            "ratios": rounds.iter().map(|round| round.ours / round.theirs).collect::<Vec<_>>(),
            "slots_missed": rounds.iter().map(|round| round.missed).sum::<u64>(),
        });
        if *kind == Kind::Http {
            let bare = median(rounds.iter().map(|round| round.bare));
            figures["bare_loop_per_cpu_second"] = bare.round().into();
        }
        kinds.insert(kind.word().to_owned(), figures);
    }
    if args.at_least.is_some() {
        ensure!(args.kinds.contains(&Kind::Http), "--at-least is for kind http");
    }
    Ok(json!({
        "bench": "probe",
        "what": "runs in a second of processor time, user and system, of the probe's process",
        "peer": format!("prometheus-blackbox-exporter {version}"),
        "names": format!("{:?}", args.names).to_lowercase(),
        "targets": args.targets,
        "rate": args.rate,
        "rounds": args.rounds,
        "kinds": kinds,
        (bench::LOAD): load,
        "missed": missed.into_json(),
    }))
}

/// Runs of a probe in a second of processor time, and the slots that it missed meanwhile.
async fn ours(args: &Args, targets: &Targets, place: &Place, kind: Kind) -> Result<(f64, u64)> {
    let rate = if kind == Kind::Https { args.rate / HTTPS_PART } else { args.rate };
    let checks = usize::try_from(rate.div_ceil(RUNS_PER_CHECK))?;
    let yaml = targets.checks(kind, checks, INTERVAL);
    let files = [(AUTHORITY, targets.authority_pem())];
    let prober = Prober::start(place, args.core ^ 1, &yaml, &files).await?;
    tokio::time::sleep(WARM_UP).await;
    let before = prober.reading().await?;
    tokio::time::sleep(Duration::from_secs(args.seconds.into())).await;
    let done = prober.reading().await?.since(before).context("the probe")?;
    done.ensure_done(MISSED_PERCENT_MAX)?;
    let took = (done.at - before.at).as_secs_f64();
    eprintln!("{} runs in {took:.1} s, {:?} of processor time", done.passed, done.cpu);
    prober.told();
    Ok((done.passed as f64 / done.cpu.as_secs_f64(), done.missed))
}

fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}
