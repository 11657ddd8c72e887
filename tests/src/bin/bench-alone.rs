//! A probe without any coordinator, for an hour: what it runs meanwhile, and what of it comes home.
//!
//! In real time, which is why this is no test. The target counts what it is asked; the history must say
//! the same in the end, to the run: nothing is lost, and nothing counts twice.

use std::cell::Cell;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use parallax_proto::v1;
use parallax_runtime::clock;
use parallax_tests::bench;
use parallax_tests::bench::figures::{Missed, ms};
use parallax_tests::harness::mesh::Mesh;
use parallax_tests::harness::until;
use parallax_tests::harness::wait::{Look, STALE, wait_until};
use parallax_tests::harness::yaml::{self, CheckYaml};
use serde_json::{Value, json};

const REGIONS: [&str; 1] = ["eu-west"];
const INTERVAL: Duration = Duration::from_secs(1);
/// Time for everything to come home: an hour of windows waits, and is sent at a bounded rate.
const HOME_WITHIN: Duration = Duration::from_secs(300);
/// Between two looks at the history: each is a call of the command line for each check.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// A target that is asked nothing for so long is asked nothing any more.
const CALM: Duration = Duration::from_secs(3);

/// Leave a probe alone, and count what it did.
#[derive(Debug, Parser)]
struct Args {
    /// Minutes without coordinators.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=600))]
    minutes: u32,
    /// Checks, each every second.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=500))]
    checks: u32,
    /// Percent of the slots below which the bench fails.
    #[arg(long)]
    percent_at_least: Option<f64>,
}

fn main() -> ExitCode {
    bench::main(run(Args::parse()))
}

fn names(args: &Args) -> impl Iterator<Item = String> {
    (1..=args.checks).map(|n| format!("check-{n}"))
}

fn file(args: &Args, url: &str, enabled: bool) -> String {
    let check = |name: String| CheckYaml {
        interval: "1s".to_owned(),
        enabled,
        ..CheckYaml::new(&name, url, &REGIONS)
    };
    let checks: Vec<CheckYaml> = names(args).map(check).collect();
    yaml::file(&REGIONS, "${env:PX_HOOK}", &checks)
}

/// Waits until the history holds so many runs, saying meanwhile how many it holds: these, and the slots
/// that were missed.
async fn home(mesh: &Mesh, args: &Args, what: &str, wanted: u64) -> Result<(u64, u64)> {
    let before = Cell::new(None);
    wait_until(HOME_WITHIN, what, || async {
        if before.get().is_some() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        let (runs, missed) = counted(mesh, args).await?;
        if before.replace(Some(runs)) != Some(runs) {
            eprintln!("waiting for {what}: {runs} of {wanted} runs are in the history");
        }
        Ok(Look::some((runs >= wanted).then_some((runs, missed)), (runs, wanted)))
    })
    .await
}

/// Runs and missed slots that the history holds.
async fn counted(mesh: &Mesh, args: &Args) -> Result<(u64, u64)> {
    let (mut runs, mut missed) = (0, 0);
    for name in names(args) {
        let said = mesh.px_json(&["history", &name, "--since", "24h"]).await?;
        let rows = said["rows"].as_array().context("no rows")?;
        let sum = |what: &str| rows.iter().filter_map(|row| row[what].as_u64()).sum::<u64>();
        // A first run belongs to no slot, as an ordered one does.
        runs +=
            ["passed", "warned", "failed", "ordered", "unassigned"].map(sum).iter().sum::<u64>();
        missed += sum("missed");
    }
    Ok((runs, missed))
}

async fn run(args: Args) -> Result<Value> {
    let load = bench::load_average();
    let mut mesh = Mesh::start(bench::binaries()?, &REGIONS).await?;
    mesh.apply(&file(&args, &mesh.target.url(), true)).await?;
    let api = mesh.api().await?;
    for name in names(&args) {
        until::verdict(&api, &name, v1::Verdict::Up).await?;
    }

    mesh.kill_coordinator();
    let (began, before) = (clock::instant(), mesh.target.requests());
    for minute in 1..=args.minutes {
        tokio::time::sleep_until((began + Duration::from_secs(60) * minute).into()).await;
        eprintln!("{minute} min: {} runs", mesh.target.requests() - before);
    }
    let (runs, alone) = (mesh.target.requests() - before, clock::instant().duration_since(began));
    let slots = alone.as_secs_f64() / INTERVAL.as_secs_f64() * f64::from(args.checks);
    let percent = (runs as f64 / slots * 100_000.0).round() / 1_000.0;

    let (back, asked_before) = (clock::instant(), mesh.target.requests());
    mesh.start_coordinator().await?;
    home(&mesh, &args, "everything of before the return", asked_before).await?;
    let home_after = clock::instant().duration_since(back);
    // Nothing runs any more, so that both sides can be compared to the run.
    mesh.apply(&file(&args, &mesh.target.url(), false)).await?;
    let calm = wait_until(HOME_WITHIN, "the last run", || async {
        let asked = mesh.target.requests();
        tokio::time::sleep(CALM).await;
        Ok(Look::when(mesh.target.requests() == asked, asked))
    });
    calm.await?;
    let asked = mesh.target.requests();
    let (_, missed_slots) = home(&mesh, &args, "every run", asked).await?;
    // Once more: nothing comes in addition.
    tokio::time::sleep(STALE.min(CALM)).await;
    let (counted, _) = counted(&mesh, &args).await?;
    ensure!(counted == asked, "{counted} runs in the history, the target was asked {asked} times");
    ensure!(mesh.sink.pages().is_empty(), "pages: {:?}", mesh.sink.pages());
    mesh.told();

    let mut missed = Missed::default();
    missed.at_least("percent_at_least", percent, args.percent_at_least);
    Ok(json!({
        "bench": "alone",
        "what": "no coordinator for minutes -> slots run, and runs in the history afterwards",
        "minutes": args.minutes,
        "checks": args.checks,
        "runs_alone": runs,
        "slots_alone": slots.round(),
        "percent": percent,
        "asked": asked,
        "in_history": counted,
        "missed_slots": missed_slots,
        "home_after_ms": ms(home_after),
        (bench::LOAD): load,
        "missed": missed.into_json(),
    }))
}
