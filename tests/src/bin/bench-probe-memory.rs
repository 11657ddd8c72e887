//! Memory of a probe with very many checks: while all pass, and while every target takes the request,
//! or the TLS hello, and says nothing more.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Parser;
use parallax_runtime::clock;
use parallax_tests::bench;
use parallax_tests::bench::figures::Missed;
use parallax_tests::bench::place::keep_on;
use parallax_tests::bench::prober::{Prober, REGION, value};
use parallax_tests::bench::targets::{Names, Targets};
use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};

/// How often the memory is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// TLS option sets with the same authorities: one for each oldest version.
const VERSIONS: [&str; 2] = ["1.2", "1.3"];

/// Measure the memory of a probe with many checks.
#[derive(Debug, Parser)]
struct Args {
    /// Checks, half of them over TLS.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(100..=50_000))]
    checks: u32,
    /// Expressions that differ.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..))]
    expressions: u32,
    /// TLS options that differ.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(2..))]
    tls_options: u32,
    /// Seconds for which all pass, 10 s between two runs of a check. After 320 s a probe remembers as
    /// much of each check as it ever does.
    #[arg(long, default_value_t = 340, value_parser = clap::value_parser!(u32).range(20..))]
    seconds: u32,
    /// Seconds for which every target hangs.
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u32).range(10..))]
    hanging_seconds: u32,
    /// The core on which the probe stands; the one before or after it has all others.
    #[arg(long, default_value_t = 0)]
    core: usize,
    /// MiB while all pass above which the bench fails.
    #[arg(long)]
    passing_at_most_mib: Option<f64>,
    /// MiB while every target hangs above which the bench fails.
    #[arg(long)]
    hanging_at_most_mib: Option<f64>,
}

fn main() -> ExitCode {
    bench::main_on_one_thread(run(Args::parse()))
}

async fn run(args: Args) -> Result<Value> {
    let load = bench::load_average();
    keep_on(args.core ^ 1, std::process::id())?;
    let dir = tempfile::Builder::new().prefix("parallax-probe-").tempdir()?;
    let mut targets = Targets::start(dir.path(), 64).await?;
    let place = targets.place(dir.path(), args.core, Names::Hosts)?;
    let authorities = authorities(&args, &targets)?;
    let files: Vec<(&str, &str)> =
        authorities.iter().map(|(name, pem)| (name.as_str(), pem.as_str())).collect();
    let yaml = checks(&args, &targets);
    let prober = Prober::start(&place, args.core ^ 1, &yaml, &files).await?;

    let passing = peak(&prober, args.seconds).await?;
    let before = prober.reading().await?;
    ensure!(before.failed == 0, "{} runs failed while the targets were well", before.failed);
    ensure!(before.passed >= u64::from(args.checks), "only {} runs passed", before.passed);

    let silent = targets.hang()?;
    let hanging = peak(&prober, args.hanging_seconds).await?;
    let after = prober.reading().await?;
    let heard = silent.heard();
    // A round of all of them, but for those on their way when it ends.
    let least = usize::try_from(args.checks)? / 2;
    ensure!(heard as usize >= least, "only {heard} requests hung, of {} checks", args.checks);
    ensure!(after.failed > 0, "no run failed while every target hung");
    prober.told();

    let mib = |bytes: u64| (bytes as f64 / (1 << 20) as f64 * 10.0).round() / 10.0;
    let mut missed = Missed::default();
    missed.at_most("passing_mib", mib(passing.bytes), args.passing_at_most_mib);
    missed.at_most("hanging_mib", mib(hanging.bytes), args.hanging_at_most_mib);
    Ok(json!({
        "bench": "probe-memory",
        "what": "most memory that the probe's process held (VmRSS)",
        "checks": args.checks,
        "expressions": args.expressions,
        "tls_options": args.tls_options,
        "passing_mib": mib(passing.bytes),
        "hanging_mib": mib(hanging.bytes),
        "in_flight_while_hanging": hanging.in_flight,
        "runs_passed": before.passed,
        "runs_that_hung": heard,
        "slots_missed": after.missed,
        (bench::LOAD): load,
        "missed": missed.into_json(),
    }))
}

/// The most that was seen.
#[derive(Debug, Default)]
struct Peak {
    bytes: u64,
    in_flight: u64,
}

async fn peak(prober: &Prober, seconds: u32) -> Result<Peak> {
    let until = clock::instant() + Duration::from_secs(seconds.into());
    let mut peak = Peak::default();
    while clock::instant() < until {
        tokio::time::sleep(LOOK_EVERY).await;
        peak.bytes = peak.bytes.max(prober.memory()?);
        let in_flight = value(&prober.metrics().await?, "parallax_probe_in_flight")?;
        peak.in_flight = peak.in_flight.max(in_flight);
    }
    Ok(peak)
}

/// Files with the targets' authority and another one each.
fn authorities(args: &Args, targets: &Targets) -> Result<Vec<(String, String)>> {
    let other = || -> Result<String> {
        let key = KeyPair::generate()?;
        Ok(CertificateParams::new(vec!["other.test".to_owned()])?.self_signed(&key)?.pem())
    };
    (0..args.tls_options.div_ceil(VERSIONS.len() as u32))
        .map(|n| Ok((format!("ca-{n}.pem"), format!("{}{}", targets.authority_pem(), other()?))))
        .collect()
}

fn checks(args: &Args, targets: &Targets) -> String {
    let mut yaml = format!(
        "regions: [{{name: {REGION}}}]\ndefaults: {{interval: 10s, timeout: 3s, regions: [{REGION}]}}\n\
         checks:\n"
    );
    for number in 0..args.checks {
        let (https, http) = targets.urls(number as usize);
        let step = match number % 2 {
            0 => format!("{{url: \"{http}\"}}"),
            _ => {
                let options = number / 2 % args.tls_options;
                let (file, version) = (options / 2, VERSIONS[(options % 2) as usize]);
                format!("{{url: \"{https}\", ca_file: ca-{file}.pem, min_tls: \"{version}\"}}")
            }
        };
        let ms = 1_000 + number % args.expressions;
        let _ = writeln!(
            yaml,
            "  - name: c{number}\n    http: {step}\n    \
             expect: ['status == 200 && latency < duration(\"{ms}ms\")']"
        );
    }
    yaml
}
