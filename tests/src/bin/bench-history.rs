//! What history takes on the disk, how fast it takes windows in with a sync, and how long a week of
//! one check takes to read.
//!
//! Time is simulated, latencies are not uniform: each phase has its own typical length, a spread
//! around it (`--spread`), and a long tail. Checks run every 10 s from three regions. The store is the
//! coordinator's own, without its threads.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use parallax_common::histogram::Recorder;
use parallax_common::name::{Incarnation, RunDigest, Uid};
use parallax_common::outcome::{Outcome, Phase};
use parallax_common::time::MeshTime;
use parallax_common::window::{Period, Series, Spans, Window};
use parallax_coordinator::history::disk::Disk;
use parallax_coordinator::history::files::System;
use parallax_coordinator::history::segment::cells::all_phases;
use parallax_coordinator::history::sparse::Sparse;
use parallax_coordinator::history::tier::Tier;
use parallax_coordinator::history::{Batch, Question, Record, Spool};
use parallax_proto::convert::window::window_to;
use parallax_runtime::clock;
use parallax_tests::bench;
use parallax_tests::bench::figures::{Missed, Samples, ms};
use prost::Message as _;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};

const REGIONS: [&str; 3] = ["eu-west", "us-east", "ap-south"];
const PERIOD: Duration = Duration::from_secs(10);
const MINUTE: Duration = Duration::from_secs(60);
const WINDOWS_PER_DAY: u64 = 8_640;
/// Typical length of each phase in microseconds, in the order of `Phase::ALL`, `total` last.
const TYPICAL_US: [f64; 6] = [1_500.0, 12_000.0, 25_000.0, 45_000.0, 3_000.0, 86_500.0];
/// Windows under one sync while the rate is measured: what arrives at a busy coordinator.
const WINDOWS_PER_SYNC: usize = 1_024;

/// Measure the history store.
#[derive(Debug, Parser)]
struct Args {
    /// Checks whose history is made.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=100))]
    checks: u8,
    /// Simulated days; a week is read back when there is one.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=400))]
    days: u32,
    /// Windows taken in while the rate is measured.
    #[arg(long, default_value_t = 200_000, value_parser = clap::value_parser!(u32).range(10_000..))]
    ingest: u32,
    /// Standard deviation of each phase's latency, in percent of its typical length. Samples that
    /// differ more tell more, and take more.
    #[arg(long, default_value_t = 14.0, value_parser = spread)]
    spread: f64,
    /// Windows a second, each synced, below which the bench fails.
    #[arg(long)]
    at_least: Option<f64>,
    /// Bytes of hours a check and day above which the bench fails.
    #[arg(long)]
    hours_bytes_at_most: Option<f64>,
    /// Median milliseconds of a question about one phase above which the bench fails.
    #[arg(long)]
    query_ms_at_most: Option<f64>,
}

fn spread(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(percent) if (0.0..=25.0).contains(&percent) => Ok(percent),
        _ => Err("must be from 0 to 25".to_owned()),
    }
}

fn main() -> ExitCode {
    bench::main(async { run(&Args::parse()) })
}

fn run(args: &Args) -> Result<Value> {
    let load = bench::load_average();
    let ingest = ingest(args)?;
    let kept = kept(args)?;
    let mut missed = Missed::default();
    let rate = ingest["windows_per_second"].as_f64().context("no rate")?;
    missed.at_least("windows_per_second", rate, args.at_least);
    let bytes = kept["hours_bytes_per_check_day"].as_f64().context("no bytes")?;
    missed.at_most("hours_bytes_per_check_day", bytes, args.hours_bytes_at_most);
    let median = kept["query_median_ms"].as_f64().context("no query")?;
    missed.at_most("query_median_ms", median, args.query_ms_at_most);
    Ok(json!({
        "bench": "history",
        "ingest": ingest,
        "kept": kept,
        (bench::LOAD): load,
        "missed": missed.into_json(),
    }))
}

fn spool(region: &str) -> Spool {
    Spool { region: region.into(), probe: "p".into(), incarnation: Incarnation(1) }
}

/// One run of a check in ten seconds.
fn window((random, spread): (&mut StdRng, f64), check: Uid, start: MeshTime, slot: u64) -> Record {
    // Six draws from -1 to 1 add up to a standard deviation of the root of 2.
    let each = spread / 100.0 / std::f64::consts::SQRT_2;
    let series = Phase::ALL.iter().zip(TYPICAL_US).map(|(&phase, typical)| {
        // The sum of some draws is bell-shaped; one run in a hundred is much slower.
        let bell: f64 = (0..6).map(|_| random.random_range(-1.0..1.0)).sum::<f64>() * each;
        let tail =
            if random.random_range(0..100) == 0 { random.random_range(1.5..8.0) } else { 1.0 };
        let mut recorder = Recorder::new();
        recorder.record(Duration::from_micros((typical * (1.0 + bell) * tail) as u64));
        Series { step: 0, phase, totals: recorder.totals(), histogram: recorder.encode() }
    });
    let series = series.collect();
    let mut outcomes = Spans::new();
    outcomes.push(Outcome::Pass, None, false);
    let signed = i64::try_from(slot).unwrap_or(i64::MAX);
    let window = Window {
        check,
        run_digest: RunDigest(1),
        start,
        period: Period::for_interval(PERIOD),
        phase_ns: 0,
        slots: Some((signed, signed)),
        numbers: Some((slot, slot)),
        outcomes,
        series,
        expiry: None,
        incarnation: Incarnation(1),
    };
    Record {
        check,
        digest: RunDigest(1),
        start,
        end: start + PERIOD,
        unassigned: false,
        encoded: window_to(&window).encode_to_vec().into(),
    }
}

/// How fast windows are taken in: checked before, then journal, sync, memory, and now and then a
/// segment.
fn ingest(args: &Args) -> Result<Value> {
    let count = args.ingest;
    let dir = tempfile::tempdir()?;
    let (disk, mut journal) = Disk::open(Arc::new(System), dir.path(), u64::MAX)?;
    let mut random = StdRng::seed_from_u64(1);
    let (spool, mut sequence, mut spent) = (spool(REGIONS[0]), 0, Duration::ZERO);
    let (mut encoded, mut syncs) = (0, Samples::default());
    while sequence < u64::from(count) {
        let now = MeshTime::from_ns(0) + PERIOD * u32::try_from(sequence / 10_000 + 1)?;
        let windows: Vec<(u64, Record)> = (0..WINDOWS_PER_SYNC as u64)
            .map(|n| {
                let check = Uid::from_bytes(u128::from((sequence + n) % 10_000).to_be_bytes());
                let with = (&mut random, args.spread);
                (sequence + n + 1, window(with, check, now - PERIOD, sequence + n + 1))
            })
            .collect();
        encoded += windows.iter().map(|(_, record)| record.encoded.len()).sum::<usize>();
        sequence += windows.len() as u64;
        let batch = Batch { spool: spool.clone(), windows, now, room: None };
        let began = clock::instant();
        disk.commit(&mut journal, &[batch])?;
        if disk.should_flush(now) {
            disk.flush(&mut journal)?;
        }
        let took = clock::instant().duration_since(began);
        syncs.push(took);
        spent += took;
    }
    ensure!(disk.stats().windows == sequence, "windows are missing");
    Ok(json!({
        "windows": sequence,
        "windows_per_sync": WINDOWS_PER_SYNC,
        "bytes_per_window": (encoded as f64 / sequence as f64).round(),
        "windows_per_second": (sequence as f64 / spent.as_secs_f64()).round(),
        "per_sync": syncs.summary(),
    }))
}

/// Days of history, rolled up as time goes by; what they take, and how long they take to read.
fn kept(args: &Args) -> Result<Value> {
    let dir = tempfile::tempdir()?;
    let (disk, mut journal) = Disk::open(Arc::new(System), dir.path(), u64::MAX)?;
    let mut random = StdRng::seed_from_u64(2);
    let checks: Vec<Uid> =
        (0..args.checks).map(|n| Uid::from_bytes(u128::from(n).to_be_bytes())).collect();
    let (mut at, mut sequence, mut slot) = (MeshTime::from_ns(0), 0, 0);
    let end = at + Duration::from_secs(86_400) * args.days;
    while at < end {
        let mut batches = Vec::new();
        for region in REGIONS {
            let mut number = sequence;
            let mut windows = Vec::new();
            for of_minute in 0..6 {
                for check in &checks {
                    number += 1;
                    let start = at + PERIOD * of_minute;
                    let slot = slot + u64::from(of_minute) + 1;
                    let with = (&mut random, args.spread);
                    windows.push((number, window(with, *check, start, slot)));
                }
            }
            batches.push(Batch { spool: spool(region), windows, now: at + MINUTE, room: None });
        }
        sequence += 6 * u64::from(args.checks);
        slot += 6;
        at = at + MINUTE;
        disk.commit(&mut journal, &batches)?;
        if disk.should_flush(at) {
            disk.flush(&mut journal)?;
        }
        if (slot / 6).is_multiple_of(10) {
            disk.maintain(at)?;
        }
    }
    // As it stands when the last day has settled.
    at = at + Duration::from_secs(3 * 3_600);
    disk.flush(&mut journal)?;
    disk.maintain(at)?;
    let of_tier = |tier: Tier| -> u64 { disk.segments(tier).iter().map(|one| one.bytes).sum() };
    let hours = of_tier(Tier::Hours);
    let check_days = f64::from(args.checks) * f64::from(args.days);
    let minutes: Vec<_> = disk.segments(Tier::Minutes);
    let spans = minutes.iter().map(|one| one.meta.max_end.since(one.meta.min_start).as_secs_f64());
    let minute_days = spans.sum::<f64>() / 86_400.0 * f64::from(args.checks);
    let minute_bytes = minutes.iter().map(|one| one.bytes).sum::<u64>();
    // One phase, as most questions are, and all of them.
    let (mut queries, mut of_all) = (Samples::default(), Samples::default());
    let span = Duration::from_secs(86_400) * args.days.min(7);
    for round in 0..120 {
        let check = checks[round % checks.len()];
        let one = round < 60;
        let phases = if one { [Phase::Total].into() } else { all_phases() };
        let (from, to) = (end - span, end);
        let question = Question { check, from, to, tier: Tier::Hours, phases };
        let (mut runs, mut total) = (0, Sparse::default());
        let began = clock::instant();
        disk.cells(&question, &mut |_, cell| {
            runs += cell.counts.values().sum::<u64>();
            if let Some(series) = cell.series.get(&(0, Phase::Total)) {
                total.add(series);
            }
        })?;
        let quantile = total.quantile(0.999);
        let of = if one { &mut queries } else { &mut of_all };
        of.push(clock::instant().duration_since(began));
        let wanted = WINDOWS_PER_DAY * u64::from(args.days.min(7)) * REGIONS.len() as u64;
        ensure!(runs == wanted && quantile.is_some(), "{runs} runs of {wanted} were read");
    }
    Ok(json!({
        "checks": args.checks,
        "days": args.days,
        "regions": REGIONS.len(),
        "hours_bytes_per_check_day": (hours as f64 / check_days).round(),
        "minutes_bytes_per_check_day": (minute_bytes as f64 / minute_days).round(),
        "segments": disk.stats().segments,
        "query_days": args.days.min(7),
        "spread_percent": args.spread,
        "query": queries.summary(),
        "query_of_all_phases": of_all.summary(),
        "query_median_ms": ms(queries.quantile(0.5)),
    }))
}
