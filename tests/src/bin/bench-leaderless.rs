//! A group that loses its majority says so: one page of each member that is left, and no other; and the time
//! counts for no verdict.
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
use parallax_tests::harness::http;
use parallax_tests::harness::sink::Page;
use parallax_tests::harness::until;
use parallax_tests::harness::wait::{Look, STALE, wait_until};
use parallax_tests::harness::yaml::{self, CheckYaml};
use serde_json::{Value, json};

const REGIONS: [&str; 3] = ["eu-west", "us-east", "ap-south"];
const CHECK: &str = "checkout";
/// Coordinators of the group, of which three are lost.
const MEMBERS: u8 = 5;
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
    let mut group = Group::start_with(bench::binaries()?, MEMBERS, &REGIONS, &hook).await?;
    let check = CheckYaml::new(CHECK, &group.target.url(), &REGIONS);
    group.apply(&yaml::file(&REGIONS, "${env:PX_HOOK}", &[check])).await?;
    let leader = group.leader().await?;
    until::everybody_passes(&group.api(&leader).await?, CHECK).await?;
    let names = group.names();
    // Two that are left hear each other, and have to say so.
    let left: Vec<String> = names.iter().filter(|name| **name != leader).take(2).cloned().collect();
    let lost: Vec<String> = names.iter().filter(|name| !left.contains(name)).cloned().collect();
    for name in &lost {
        group.kill_member(name)?;
    }
    let at = clock::instant();
    let before = group.target.requests();
    let mut took = Vec::new();
    for (name, other) in [(&left[0], &left[1]), (&left[1], &left[0])] {
        let told = leaderless(&group, name, "opened", SPEAKS_AFTER + STALE).await?;
        let after = told.at.duration_since(at);
        eprintln!("{name} said after {} ms: {}", ms(after), told.body["summary"]);
        ensure!(after >= SPEAKS_AFTER, "{name} spoke after {} ms, too early", ms(after));
        let summary = told.body["summary"].as_str().unwrap_or_default();
        said(summary, name, other, &lost)?;
        took.push(after);
    }
    let took = took.into_iter().max().context("two are left")?;
    let runs = group.target.requests() - before;
    let slots = took.as_millis() as u64 / 200 * REGIONS.len() as u64;
    // Probes looked all the time, by their own schedule.
    ensure!(runs * 100 >= slots * 95, "{runs} runs of {slots} without a leader");
    let stale = group.px_at(&[&left[0]], &["status", "--stale"]).await?;
    let shown = String::from_utf8_lossy(&stale.stdout).into_owned()
        + &String::from_utf8_lossy(&stale.stderr);
    ensure!(stale.status.success() && shown.contains(CHECK), "status --stale: {shown}");
    let ends = format!("; it reaches {}, not {}", left[1], lost.join(", "));
    let says = |line: &str| line.contains("it has seen no leader since ") && line.contains(&ends);
    ensure!(shown.lines().any(says), "status --stale does not say {ends:?}: {shown}");
    let ready = http::get(&group.addresses(&left[0])?.public.to_string(), "/readyz").await?;
    ensure!(ready.status == 503, "/readyz answers {}", ready.status);
    said(&ready.body, &left[0], &left[1], &lost)?;
    let now = uptime(&group, &left[0], &["--stale"]).await?;
    ensure!(now["leaderless"][0]["to"].is_null(), "uptime --stale: {now}");
    ensure!(now["leaderless"][0]["from"].is_string(), "uptime --stale: {now}");
    for name in &lost {
        group.spawn_member(name)?;
    }
    let back = clock::instant();
    let mut ended = Vec::new();
    for name in &left {
        ended.push(leaderless(&group, name, "resolved", STALE).await?.at.duration_since(back));
    }
    let ended = ended.into_iter().max().context("two are left")?;
    // Nobody else spoke: the others were dead, and the check was well.
    let pages: Vec<String> = group.sink.pages().iter().map(|page| page.key.clone()).collect();
    ensure!(pages.len() == 4, "pages: {pages:?}");
    // What stood then is not counted: nobody decided anything.
    let recorded = wait_until(STALE, "the time without a leader to be recorded", || async {
        let over = uptime(&group, &left[0], &[]).await?;
        let times = over["leaderless"].as_array().map_or(0, Vec::len);
        ensure!(times == 1, "uptime: {over}");
        Ok(Look::some(over["leaderless"][0]["to"].is_string().then(|| over.clone()), over))
    })
    .await?;
    let mut missed = Missed::default();
    missed.at_most("told_after_ms", ms(took), args.at_most_ms);
    group.told();
    Ok(json!({
        "bench": "leaderless",
        "what": "three of five members are killed -> each of the others says that it sees no leader",
        "told_after_ms": ms(took),
        "over_after_ms": ms(ended),
        "without_a_leader": recorded["leaderless"],
        "pages": pages.len(),
        "runs_without_a_leader": runs,
        "slots_without_a_leader": slots,
        (bench::LOAD): load,
        "missed": missed.into_json(),
    }))
}

/// What a member says of itself, in exactly these words.
fn said(text: &str, member: &str, reaches: &str, lost: &[String]) -> Result<()> {
    let begins = format!("member {member} has seen no leader for ");
    let (last, others) = lost.split_last().context("somebody is lost")?;
    let ends = format!("; it reaches {reaches}, not {} and {last}", others.join(", "));
    let fits = text.split_once(&begins).is_some_and(|(_, rest)| {
        rest.split_once(&ends).is_some_and(|(lasts, _)| {
            lasts.starts_with(|first: char| first.is_ascii_digit()) && lasts.ends_with(" s")
        })
    });
    ensure!(fits, "{text:?} is not {begins:?}, how long, and {ends:?}");
    Ok(())
}

/// The uptime of the check in JSON, as a member tells it.
async fn uptime(group: &Group, member: &str, more: &[&str]) -> Result<Value> {
    let args = [&["uptime", CHECK, "--since", "1h", "--output", "json"], more].concat();
    let output = group.px_at(&[member], &args).await?;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{args:?}: {told}");
    let mut answer: Value = serde_json::from_slice(&output.stdout)?;
    Ok(answer["checks"][0].take())
}

async fn leaderless(group: &Group, member: &str, kind: &str, within: Duration) -> Result<Page> {
    wait_until(within, &format!("the {kind} page of {member}"), || async {
        let pages = group.sink.pages();
        let told = pages.iter().find(|page| {
            let incident = &page.body["incident"];
            page.kind == kind
                && incident["kind"] == "leaderless"
                && page.body["labels"]["member"] == *member
        });
        Ok(Look::some(told.cloned(), &pages))
    })
    .await
}
