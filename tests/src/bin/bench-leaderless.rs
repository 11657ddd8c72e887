//! A group that loses its majority says so: one page of each member that is left, and no other.
//!
//! In real time, which is why this is no test: a member speaks after 60 s without a leader.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use parallax_runtime::clock;
use parallax_tests::bench;
use parallax_tests::bench::figures::{Missed, ms};
use parallax_tests::harness::group::Group;
use parallax_tests::harness::sink::Page;
use parallax_tests::harness::until;
use parallax_tests::harness::wait::{Look, STALE, wait_until};
use parallax_tests::harness::yaml::{self, CheckYaml};
use serde_json::{Value, json};

const REGIONS: [&str; 3] = ["eu-west", "us-east", "ap-south"];
const CHECK: &str = "checkout";
/// When a member speaks, by the documents, and what a busy machine may add.
const SPEAKS_AFTER: Duration = Duration::from_secs(60);

/// Measure when a member without a leader says so, and what goes on without one.
#[derive(Debug, Parser)]
struct Args {
    /// Milliseconds from the loss of the majority to the page above which the bench fails.
    #[arg(long)]
    at_most_ms: Option<f64>,
}

fn main() -> ExitCode {
    bench::main(run(Args::parse()))
}

async fn run(args: Args) -> Result<Value> {
    let load = bench::load_average();
    let hook = ["--quorum-webhook", "${env:PX_HOOK}"];
    let mut group = Group::start_with(bench::binaries()?, 3, &REGIONS, &hook).await?;
    let check = CheckYaml::new(CHECK, &group.target.url(), &REGIONS);
    group.apply(&yaml::file(&REGIONS, "${env:PX_HOOK}", &[check])).await?;
    let leader = group.leader().await?;
    until::everybody_passes(&group.api(&leader).await?, CHECK).await?;
    let names = group.names();
    let left = names.iter().find(|name| **name != leader).context("three coordinators")?.clone();
    for name in names.iter().filter(|name| **name != left) {
        group.kill_member(name)?;
    }
    let at = clock::instant();
    let before = group.target.requests();
    let told = leaderless(&group, "opened", SPEAKS_AFTER + STALE).await?;
    let took = told.at.duration_since(at);
    eprintln!("{left} said after {} ms: {}", ms(took), told.body["summary"]);
    ensure!(took >= SPEAKS_AFTER, "{left} spoke after {} ms, too early", ms(took));
    let summary = told.body["summary"].as_str().unwrap_or_default().to_owned();
    let begins = format!("member {left} has seen no leader for ");
    ensure!(summary.starts_with(&begins), "{summary}");
    ensure!(summary.contains("it reaches nobody") || summary.contains("not "), "{summary}");
    let runs = group.target.requests() - before;
    let slots = took.as_millis() as u64 / 200 * REGIONS.len() as u64;
    // Probes looked all the time, by their own schedule.
    ensure!(runs * 100 >= slots * 95, "{runs} runs of {slots} without a leader");
    let stale = group.px_at(&[&left], &["status", "--stale"]).await?;
    let shown = String::from_utf8_lossy(&stale.stdout).into_owned();
    ensure!(stale.status.success() && shown.contains(CHECK), "status --stale: {shown}");
    for name in names.iter().filter(|name| **name != left) {
        group.spawn_member(name)?;
    }
    let back = clock::instant();
    let over = leaderless(&group, "resolved", STALE).await?;
    let ended = over.at.duration_since(back);
    // Nobody else spoke: the others were dead, and the check was well.
    let pages: Vec<String> = group.sink.pages().iter().map(|page| page.key.clone()).collect();
    ensure!(pages.len() == 2, "pages: {pages:?}");
    let mut missed = Missed::default();
    missed.at_most("told_after_ms", ms(took), args.at_most_ms);
    group.told();
    Ok(json!({
        "bench": "leaderless",
        "what": "two of three members are killed -> the third says that it sees no leader",
        "told_after_ms": ms(took),
        "over_after_ms": ms(ended),
        "summary": summary,
        "pages": pages.len(),
        "runs_without_a_leader": runs,
        "slots_without_a_leader": slots,
        (bench::LOAD): load,
        "missed": missed.into_json(),
    }))
}

async fn leaderless(group: &Group, kind: &str, within: Duration) -> Result<Page> {
    wait_until(within, &format!("the {kind} page of a member"), || async {
        let pages = group.sink.pages();
        let told = pages
            .iter()
            .find(|page| page.kind == kind && page.body["incident"]["kind"] == "leaderless");
        Ok(Look::some(told.cloned(), &pages))
    })
    .await
}
