//! An outage that begins while nobody leads: from the break to the page, and what else it may cost.
//!
//! Each round kills the leader of three coordinators with -9 and, at a moment of the seed within the
//! next second, has the target refuse. Whoever leads then must open the incident by what it heard as
//! a follower, and have one page sent. No probe may miss a run, and nobody is told twice.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use parallax_proto::v1;
use parallax_runtime::clock;
use parallax_tests::bench;
use parallax_tests::bench::figures::{Missed, Samples, ms};
use parallax_tests::harness::group::Group;
use parallax_tests::harness::until;
use parallax_tests::harness::wait::{Look, STALE, wait_until};
use parallax_tests::harness::yaml::{self, CheckYaml};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};

const REGIONS: [&str; 3] = ["eu-west", "us-east", "ap-south"];
const CHECK: &str = "checkout";
/// The outage begins within this after the kill: an election takes about as long.
const WITHIN: Duration = Duration::from_millis(1_000);

/// Measure how late an outage is paged that begins while nobody leads.
#[derive(Debug, Parser)]
struct Args {
    /// Leaders to kill, each with an outage.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Decides when the outages begin.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The longest time from the break to the page above which the bench fails.
    #[arg(long)]
    max_at_most_ms: Option<f64>,
}

fn main() -> ExitCode {
    bench::main(run(Args::parse()))
}

async fn run(args: Args) -> Result<Value> {
    let load = bench::load_average();
    let mut group = Group::start(bench::binaries()?, 3, &REGIONS).await?;
    let check = CheckYaml { interval: "1s".to_owned(), ..CheckYaml::new(CHECK, "", &REGIONS) };
    let check = CheckYaml { url: group.target.url(), ..check };
    group.apply(&yaml::file(&REGIONS, "${env:PX_HOOK}", &[check])).await?;
    let mut random = StdRng::seed_from_u64(args.seed);
    let mut samples = Samples::default();
    let mut missed_runs = 0;
    for round in 0..args.rounds {
        let before = well(&mut group).await.with_context(|| format!("round {round}"))?;
        let leader = group.leader().await?;
        group.kill_member(&leader)?;
        // The moment of the outage is the bench's input, not something to wait for.
        tokio::time::sleep(random.random_range(Duration::ZERO..WITHIN)).await;
        group.target.refuse();
        let at = clock::instant();
        let known = (round * 2) as usize;
        let pages = until::pages(&group.sink, CHECK, known + 1).await?;
        let page = &pages[known];
        ensure!(page.kind == "opened", "round {round}: {page:?}");
        let took = page.at.duration_since(at);
        eprintln!("round {round}: {leader} was killed, the page came after {} ms", ms(took));
        samples.push(took);
        group.target.heal()?;
        let pages = until::pages(&group.sink, CHECK, known + 2).await?;
        ensure!(pages[known + 1].kind == "resolved", "round {round}: {pages:?}");
        group.spawn_member(&leader)?;
        let after = well(&mut group).await?;
        missed_runs += after.saturating_sub(before);
    }
    let pages = group.sink.pages_of(CHECK);
    let keys: BTreeSet<&String> = pages.iter().map(|page| &page.key).collect();
    ensure!(keys.len() == pages.len(), "a page came twice: {pages:?}");
    let leader = group.leader().await?;
    let incidents = group.api(&leader).await?.incidents_of(CHECK).await?.len();
    ensure!(incidents == args.rounds as usize, "{incidents} incidents of {} outages", args.rounds);
    let mut missed = Missed::default();
    missed.at_most("max_ms", ms(samples.quantile(1.0)), args.max_at_most_ms);
    missed.at_most("missed_runs", missed_runs as f64, Some(0.0));
    group.told();
    Ok(json!({
        "bench": "takeover",
        "what": "an outage that begins while nobody leads -> its page",
        "members": 3,
        "interval_ms": 1_000,
        "rounds": args.rounds,
        "seed": args.seed,
        "latency": samples.summary(),
        "incidents": incidents,
        "pages": pages.len(),
        "pages_twice": 0,
        "missed_runs": missed_runs,
        (bench::LOAD): load,
        "missed": missed.into_json(),
    }))
}

/// Waits until all is up, by the word of every member. The runs that the probes missed so far.
async fn well(group: &mut Group) -> Result<u64> {
    let leader = group.leader().await?;
    for name in group.names() {
        let group = &*group;
        wait_until(STALE, &format!("{CHECK} is up at {name}"), || async {
            let api = group.api(&name).await?;
            let row = api.status(CHECK).await?;
            let counts = |b: &&v1::Ballot| b.state() == v1::BallotState::Pass && !b.stale;
            let passing = row.ballots.iter().filter(counts).count();
            let up = row.verdict() == v1::Verdict::Up && passing == REGIONS.len();
            Ok(Look::when(up, format!("{:?}, {passing} passing", row.verdict())))
        })
        .await?;
    }
    let api = group.api(&leader).await?;
    let mut missed = 0;
    for region in REGIONS {
        missed += api.probe(region).await?.missed;
    }
    Ok(missed)
}
