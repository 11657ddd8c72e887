//! Bytes between a probe and a coordinator for one check and one hour, while all is well.
//!
//! They are counted where they pass, on a relay between both: everything that TCP carries, TLS and
//! HTTP/2 included, for checks of 10 s with windows of 10 s. What windows of a minute would take instead
//! is worked out from windows of the same probe: the coordinator is ended, and those that wait in the
//! spool then are merged by the probe's own code.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use parallax_common::window::Window;
use parallax_probe::core::spool::merge::{self, Key, merge};
use parallax_probe::core::spool::record::{Record, scan};
use parallax_proto::convert::window::{window, window_to};
use parallax_proto::v1;
use parallax_runtime::clock;
use parallax_tests::bench;
use parallax_tests::bench::figures::Missed;
use parallax_tests::harness::mesh::Mesh;
use parallax_tests::harness::until;
use parallax_tests::harness::wait::{Look, STALE, wait_until};
use parallax_tests::harness::yaml::{self, CheckYaml};
use prost::Message as _;
use serde_json::{Value, json};

const REGION: &str = "eu-west";
/// Just so long that there is a relay to count on.
const ONE_WAY: Duration = Duration::from_micros(1);
/// Snapshots, first runs and the passes that are sent one by one are over then.
const SETTLED_AFTER: Duration = Duration::from_secs(45);
/// Windows of a whole minute are in the spool then, wherever in a minute it begins.
const MINUTE_WITHIN: Duration = Duration::from_secs(150);
const WINDOWS_A_MINUTE: usize = 6;

/// Count the bytes of a check-hour.
#[derive(Debug, Parser)]
struct Args {
    /// Checks, each every 10 s.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    checks: u32,
    /// Minutes that are counted.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=60))]
    minutes: u32,
    /// KiB of a check-hour above which the bench fails.
    #[arg(long)]
    kib_at_most: Option<f64>,
}

fn main() -> ExitCode {
    bench::main(run(Args::parse()))
}

/// Mean bytes of the windows of one check and one minute: one by one, and as one.
fn of_a_minute(spool: PathBuf) -> Result<Option<(f64, f64)>> {
    let mut minutes: BTreeMap<Key, Vec<(Window, usize)>> = BTreeMap::new();
    for file in std::fs::read_dir(spool)? {
        let path = file?.path();
        if path.extension().is_none_or(|of| of != "spool") {
            continue;
        }
        scan(&std::fs::read(path)?, |record| {
            if let Record::Window { bytes, .. } = record
                && let Some(of) = v1::Window::decode(bytes).ok().and_then(|of| window(&of).ok())
                && let Some(key) = merge::key(&of)
            {
                minutes.entry(key).or_default().push((of, bytes.len()));
            }
        });
    }
    let (mut whole, mut parts, mut merged) = (0_u32, 0, 0);
    for (_, windows) in minutes.into_iter().filter(|(_, of)| of.len() == WINDOWS_A_MINUTE) {
        parts += windows.iter().map(|(_, bytes)| bytes).sum::<usize>();
        let windows: Vec<Window> = windows.into_iter().map(|(window, _)| window).collect();
        merged += window_to(&merge(&windows).context("not to be merged")?).encoded_len();
        whole += 1;
    }
    Ok((whole > 0).then(|| (parts as f64 / f64::from(whole), merged as f64 / f64::from(whole))))
}

async fn run(args: Args) -> Result<Value> {
    let load = bench::load_average();
    let mut mesh = Mesh::start_apart(bench::binaries()?, &[REGION], ONE_WAY).await?;
    let check = |n: u32| CheckYaml {
        interval: "10s".to_owned(),
        ..CheckYaml::new(&format!("check-{n}"), &mesh.target.url(), &[REGION])
    };
    let checks: Vec<CheckYaml> = (1..=args.checks).map(check).collect();
    mesh.apply(&yaml::file(&[REGION], "${env:PX_HOOK}", &checks)).await?;
    let api = mesh.api().await?;
    for check in [1, args.checks] {
        until::verdict(&api, &format!("check-{check}"), v1::Verdict::Up).await?;
    }
    tokio::time::sleep(SETTLED_AFTER).await;

    let (began, before, asked) = (clock::instant(), mesh.carried()?, mesh.target.requests());
    tokio::time::sleep(Duration::from_secs(60) * args.minutes).await;
    let (after, runs) = (mesh.carried()?, mesh.target.requests() - asked);
    let took = clock::instant().duration_since(began).as_secs_f64();
    let slots = took / 10.0 * f64::from(args.checks);
    ensure!(runs as f64 > 0.99 * slots, "{runs} runs for {slots:.0} slots");

    mesh.kill_coordinator();
    let spool = PathBuf::from(mesh.path(&format!("data-{REGION}/spool")));
    let (parts, merged) = wait_until(MINUTE_WITHIN.max(STALE), "a minute in the spool", || async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        Ok(Look::some(of_a_minute(spool.clone())?, "none"))
    })
    .await?;
    mesh.told();

    let check_hours = took / 3_600.0 * f64::from(args.checks);
    let kib = |bytes: f64| (bytes / 1_024.0 * 10.0).round() / 10.0;
    let (up, down) = ((after.0 - before.0) as f64, (after.1 - before.1) as f64);
    let whole = (up + down) / check_hours;
    let mut missed = Missed::default();
    missed.at_most("kib_at_most", whole / 1_024.0, args.kib_at_most);
    Ok(json!({
        "bench": "wire",
        "what": "bytes of TCP between one probe and one coordinator for a check of 10 s and an hour",
        "checks": args.checks,
        "seconds": took.round(),
        "runs": runs,
        "kib_a_check_hour": kib(whole),
        "kib_up": kib(up / check_hours),
        "kib_down": kib(down / check_hours),
        "kib_of_windows": kib(parts * 60.0),
        "kib_of_windows_of_a_minute": kib(merged * 60.0),
        "kib_a_check_hour_with_windows_of_a_minute": kib(whole - parts * 60.0 + merged * 60.0),
        (bench::LOAD): load,
        "missed": missed.into_json(),
    }))
}
