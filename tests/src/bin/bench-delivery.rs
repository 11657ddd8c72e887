//! Pages while leaders are killed at every step of a page's way and receivers refuse, hang, reset and
//! ask for patience: nothing lost, nothing doubled, no end before its beginning. Or, with
//! `--blackhole-seconds`, while one contact's packets are swallowed.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::Parser;
use parallax_runtime::clock;
use parallax_tests::bench;
use parallax_tests::bench::figures::Missed;
use parallax_tests::delivery::{self, hole};
use serde_json::{Value, json};

/// Break and heal targets under receivers with moods, and kill leaders. What is lost, doubled or out of
/// order ends it with 1.
#[derive(Debug, Parser)]
struct Args {
    /// Targets broken or healed.
    #[arg(long, default_value_t = 2_000)]
    transitions: u32,
    /// A leader is killed every so many of them.
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..))]
    kill_every: u32,
    /// Decides what happens when.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Leaders killed, or with `--blackhole-seconds` incidents, below which the bench fails.
    #[arg(long)]
    at_least: Option<f64>,
    /// Messages shown again since a member sat on a page for 15 s, above which the bench fails. A busy
    /// machine makes some.
    #[arg(long)]
    late_at_most: Option<f64>,
    /// Messages, for each kill, that the receiver that looks at no keys was shown again, above which the bench
    /// fails. What was under way when its sender died may be shown again: up to eight pages a contact.
    #[arg(long)]
    again_per_kill_at_most: Option<f64>,
    /// Instead: one contact's packets are swallowed for so long.
    #[arg(long)]
    blackhole_seconds: Option<u64>,
    /// With `--blackhole-seconds`: milliseconds from the change of a target to the page of the other contact
    /// above which the bench fails.
    #[arg(long)]
    p99_at_most_ms: Option<f64>,
    /// With `--blackhole-seconds`: incidents that the contact behind the hole hears of after one that began
    /// later, above which the bench fails.
    #[arg(long)]
    overtaken_at_most: Option<f64>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    match args.blackhole_seconds {
        Some(seconds) => bench::main(swallowed(Duration::from_secs(seconds), args)),
        None => bench::main(killed(args)),
    }
}

async fn killed(args: Args) -> Result<Value> {
    let load = bench::load_average();
    let began = clock::instant();
    let binaries = bench::binaries()?;
    let told = delivery::tell(binaries, args.transitions, args.kill_every, args.seed).await?;
    let mut missed = Missed::default();
    missed.at_least("kills", f64::from(told.killed()), args.at_least);
    missed.at_most("shown_again_after_a_late_hand_over", told.late as f64, args.late_at_most);
    let (mut receivers, mut again_per_kill) = (serde_json::Map::new(), f64::NAN);
    for (name, account) in &told.accounts {
        let faults = account.faults();
        for fault in &faults {
            eprintln!("{name}: {fault}");
        }
        missed.at_most(&format!("{name}_faults"), faults.len() as f64, Some(0.0));
        let begun_again = account.begun_again as f64;
        missed.at_most(&format!("{name}_begun_again"), begun_again, Some(0.0));
        if *name == delivery::KEYLESS {
            again_per_kill = account.repeated as f64 / f64::from(told.killed().max(1));
        }
        receivers.insert(
            (*name).to_owned(),
            json!({
                "shown": account.shown,
                "messages": account.messages,
                "combined": account.combined,
                "ends_said_again": account.said_again,
                "shown_again_under_their_key": account.repeated,
                "times_at_most": account.times_at_most,
                "lost": account.lost.len(),
                "doubled": account.doubled.len(),
                "ends_before_their_beginning": account.early_ends.len(),
                "going_on_after_their_end": account.zombies.len(),
                "begun_again_after_their_end": account.begun_again,
                "about_no_incident": account.strange.len(),
            }),
        );
    }
    missed.at_most("again_per_kill", again_per_kill, args.again_per_kill_at_most);
    for key in &told.unexplained {
        eprintln!("shown again, and nobody was killed or began to lead: {key}");
    }
    missed.at_most("shown_again_without_a_kill", told.unexplained.len() as f64, Some(0.0));
    Ok(json!({
        "bench": "delivery",
        "members": 3,
        "transitions": told.transitions,
        "seed": args.seed,
        "incidents": told.incidents,
        "kills": told.killed(),
        "kills_by_step": told.kills,
        "shown_again_per_kill_where_keys_are_not_read": again_per_kill,
        "terms_that_began": told.terms,
        "shown_again_after_a_late_hand_over": told.late,
        "shown_again_without_a_kill": told.unexplained.len(),
        "receivers": receivers,
        "seconds": clock::instant().duration_since(began).as_secs(),
        (bench::LOAD): load,
        "missed": missed.into_json(),
    }))
}

async fn swallowed(lasts: Duration, args: Args) -> Result<Value> {
    let load = bench::load_average();
    let told = hole::tell(bench::binaries()?, lasts, args.seed).await?;
    let mut missed = Missed::default();
    missed.at_most("p99_ms", told.beside.p99_ms(), args.p99_at_most_ms);
    missed.at_least("incidents", told.incidents as f64, args.at_least);
    missed.at_most("incidents_overtaken", told.overtaken as f64, args.overtaken_at_most);
    for fault in &told.faults {
        eprintln!("{fault}");
    }
    missed.at_most("faults", told.faults.len() as f64, Some(0.0));
    missed.at_most("missed_runs", told.missed_runs as f64, Some(0.0));
    // Ordered runs are among them.
    missed.at_least("runs", told.runs as f64, Some(told.slots as f64));
    Ok(json!({
        "bench": "delivery",
        "what": "one contact's packets are swallowed",
        "blackhole_seconds": lasts.as_secs(),
        "seed": args.seed,
        "incidents": told.incidents,
        "page_of_the_other_contact": told.beside.summary(),
        "all_told_after_the_end_ms": told.caught_up_ms,
        "combined": told.combined,
        "incidents_overtaken": told.overtaken,
        "runs": told.runs,
        "slots": told.slots,
        "missed_runs": told.missed_runs,
        (bench::LOAD): load,
        "missed": missed.into_json(),
    }))
}
