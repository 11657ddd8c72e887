//! What one round of alerts costs: every check looked at once, as the leader does every minute.
//!
//! Checks run every minute from three regions. In turn their alert is on a percentile, on a share of failed
//! runs or on how fast an error budget burns; one check in a hundred of the first is slow everywhere and must
//! be found, and nothing else. Windows lie in the coordinator's own store on the disk, as they came or
//! rolled up by its own threads; time is simulated. What is counted is each look by itself, as it is made
//! without the pauses that the leader makes between two of them.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use parallax_common::histogram::Recorder;
use parallax_common::limits::ALERT_PAUSE_TIMES;
use parallax_common::name::{Incarnation, RunDigest, Uid};
use parallax_common::outcome::{Outcome, Phase};
use parallax_common::time::{MeshTime, UtcTime};
use parallax_common::window::{Period, Series, Spans, Window};
use parallax_coordinator::alert::look::{Due, LONGEST_BACK, Look};
use parallax_coordinator::core::alert::burn::PAIRS;
use parallax_coordinator::core::alert::told::Told;
use parallax_coordinator::core::state::{LEVEL, State};
use parallax_coordinator::history::store::Store;
use parallax_coordinator::history::{Batch, History as _, Record, Spool};
use parallax_coordinator::raft::fatal;
use parallax_proto::convert::check::normalise_check;
use parallax_proto::convert::window::window_to;
use parallax_proto::store::entry::Command;
use parallax_proto::{store, v1};
use parallax_runtime::clock;
use parallax_tests::bench::figures::{Missed, Samples, ms};
use parallax_tests::bench::{self, cpu};
use prost::Message as _;
use serde_json::{Value, json};

const REGIONS: [&str; 3] = ["eu-west", "us-east", "ap-south"];
const MINUTE: Duration = Duration::from_secs(60);
/// Checks of one entry of configuration.
const CHECKS_PER_ENTRY: usize = 200;
/// Mesh time at the beginning: a whole hour.
const BEGIN_S: i64 = 3_600 * 500_000;
/// One check in so many is slow, of those that are asked how fast they are.
const SLOW_EVERY: u32 = 100;
const ALERT: &str = "it";

/// Measure a round of alerts.
#[derive(Debug, Parser)]
struct Args {
    /// Checks, with one alert each.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(3..=1_000_000))]
    checks: u32,
    /// Simulated minutes of history.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(10..=50))]
    minutes: u32,
    /// Rounds that are measured.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Milliseconds of processor time a check above which the bench fails.
    #[arg(long)]
    at_most: Option<f64>,
}

fn main() -> ExitCode {
    bench::main(async { run(&Args::parse()).await })
}

async fn run(args: &Args) -> Result<Value> {
    let load = bench::load_average();
    let state = state(args.checks)?;
    let dir = tempfile::tempdir()?;
    let end = MeshTime::from_ns(BEGIN_S * 1_000_000_000) + MINUTE * args.minutes;
    let history = Store::open(dir.path(), u64::MAX, Arc::new(move || end), fatal::abort())?;
    let windows = fill(&history, &state, args).await?;

    // As windows take their time to arrive.
    let now = end + Duration::from_secs(20);
    let told = Told::new(&state, UtcTime::from_ns(now.as_ns()) - LONGEST_BACK);
    let due = Due { alerts: true, pairs: PAIRS.iter().collect(), budget: true };
    let (mut looks, mut spent) = (Samples::default(), Duration::ZERO);
    let (mut took, mut found) = (Duration::ZERO, 0);
    for _ in 0..args.rounds {
        found = 0;
        let before = cpu::used_here()?;
        for entry in state.checks.values() {
            let began = clock::instant();
            let mut look = Look::new(&history, &state, entry, &told, now);
            let budget = look.all(&due, &mut || "incident".to_owned())?;
            ensure!(budget.is_some() == entry.check.slo.is_some(), "a budget was not counted");
            for change in &look.found {
                ensure!(change.alert == ALERT, "{} turned, which nothing asked for", change.alert);
            }
            found += look.found.len();
            let length = clock::instant().duration_since(began);
            looks.push(length);
            took += length;
        }
        spent += cpu::used_here()? - before;
    }
    let slow = (0..args.checks).filter(|number| is_slow(*number)).count();
    ensure!(found == slow, "{found} alerts were found of {slow}");

    let round = took / args.rounds;
    let each = spent.as_secs_f64() * 1_000.0 / f64::from(args.checks * args.rounds);
    let mut missed = Missed::default();
    missed.at_most("cpu_ms_per_check", each, args.at_most);
    Ok(json!({
        "bench": "alerts",
        "checks": args.checks,
        "regions": REGIONS.len(),
        "windows": windows,
        "found": found,
        "round_seconds": round.as_secs_f64(),
        // With the pauses that keep it to a share of a core.
        "round_seconds_with_pauses": (round * (1 + ALERT_PAUSE_TIMES)).as_secs_f64(),
        "cpu_ms_per_check": each,
        "look": looks.summary(),
        "look_p99_ms": ms(looks.quantile(0.99)),
        (bench::LOAD): load,
        "missed": missed.into_json(),
    }))
}

fn uid(number: u32) -> Uid {
    Uid::from_bytes(u128::from(number + 1).to_be_bytes())
}

fn is_slow(number: u32) -> bool {
    number.is_multiple_of(3) && (number / 3).is_multiple_of(SLOW_EVERY)
}

/// The replicated state with all checks.
fn state(checks: u32) -> Result<State> {
    let mut state = State::default();
    let init =
        store::InitCluster { mesh: "bench".into(), level: LEVEL, ..store::InitCluster::default() };
    apply(&mut state, Command::InitCluster(init));
    let meta = |uid: Uid, name: String| {
        Some(v1::Meta {
            uid: uid.to_string(),
            namespace: "default".into(),
            name,
            set: "default".into(),
            ..v1::Meta::default()
        })
    };
    let regions = REGIONS.iter().zip(u128::MAX - 9..).map(|(name, number)| {
        let meta = meta(Uid::from_bytes(number.to_be_bytes()), (*name).to_owned());
        v1::resource::Kind::Region(v1::Region { meta, title: String::new() })
    });
    let made = (0..checks).map(|number| {
        let meta = meta(uid(number), format!("check-{number}"));
        v1::resource::Kind::Check(normalise_check(v1::Check { meta, ..check(number) }))
    });
    let all: Vec<v1::resource::Kind> = regions.chain(made).collect();
    for part in all.chunks(CHECKS_PER_ENTRY) {
        let put = |kind: &v1::resource::Kind| store::ConfigChange {
            change: Some(store::config_change::Change::Put(v1::Resource {
                kind: Some(kind.clone()),
            })),
            ..store::ConfigChange::default()
        };
        let commit = store::CommitConfig {
            namespace: "default".into(),
            set: "default".into(),
            changes: part.iter().map(put).collect(),
            ..store::CommitConfig::default()
        };
        apply(&mut state, Command::CommitConfig(commit));
    }
    ensure!(state.checks.len() == checks as usize, "{} checks are there", state.checks.len());
    Ok(state)
}

fn apply(state: &mut State, command: Command) {
    let entry = store::Entry { command: Some(command), ..store::Entry::default() };
    state.apply(state.applied + 1, &entry.encode_to_vec());
}

fn check(number: u32) -> v1::Check {
    let length = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    let tcp = v1::TcpStep { address: "192.0.2.1:80".into(), ..v1::TcpStep::default() };
    let step = v1::Step { kind: Some(v1::step::Kind::Tcp(tcp)), ..v1::Step::default() };
    let alert = |when: &str| {
        vec![v1::Alert { name: ALERT.into(), when: when.into(), ..v1::Alert::default() }]
    };
    let slo = v1::Slo { target_ppm: 999_000, ..v1::Slo::default() };
    let (alerts, slo) = match number % 3 {
        0 => (alert("p95 > 800ms for 5m in majority of regions"), None),
        1 => (alert("error_rate > 5% for 5m in majority of regions"), None),
        _ => (Vec::new(), Some(slo)),
    };
    v1::Check {
        run: Some(v1::Run { steps: vec![step], timeout: length(5), ..v1::Run::default() }),
        interval: length(60),
        regions: REGIONS.map(str::to_owned).to_vec(),
        alerts,
        slo,
        ..v1::Check::default()
    }
}

/// Has every window taken in; returns how many there are.
async fn fill(history: &Store, state: &State, args: &Args) -> Result<u64> {
    let begin = MeshTime::from_ns(BEGIN_S * 1_000_000_000);
    let (mut sequence, mut windows) = (0, 0);
    for minute in 0..args.minutes {
        let start = begin + MINUTE * minute;
        let mut receipts = Vec::new();
        for region in REGIONS {
            let spool =
                Spool { region: region.into(), probe: "p".into(), incarnation: Incarnation(1) };
            let records = (0..args.checks).map(|number| {
                let digest = state.checks.get(&uid(number)).context("a check is gone")?;
                let digest = digest.check.run_digest;
                Ok((sequence + u64::from(number) + 1, window(number, digest, start, minute)))
            });
            let records = records.collect::<Result<Vec<_>>>()?;
            windows += records.len() as u64;
            receipts.push(history.append(Batch {
                spool,
                windows: records,
                now: start + MINUTE,
                room: None,
            }));
        }
        for receipt in &mut receipts {
            receipt.kept().await?;
        }
        sequence += u64::from(args.checks);
    }
    Ok(windows)
}

/// One run of a check in one minute.
fn window(number: u32, run_digest: RunDigest, start: MeshTime, minute: u32) -> Record {
    let mut recorder = Recorder::new();
    // No two of them are alike.
    let spread = u64::from(number.wrapping_mul(31) % 997 + minute);
    let typical = if is_slow(number) { 2_000_000 } else { 80_000 };
    recorder.record(Duration::from_micros(typical + spread * 17));
    let series = vec![Series {
        step: 0,
        phase: Phase::Total,
        totals: recorder.totals(),
        histogram: recorder.encode(),
    }];
    let mut outcomes = Spans::new();
    outcomes.push(Outcome::Pass, None, false);
    let slot = start.as_ns() / 60_000_000_000;
    let run = u64::from(minute) + 1;
    let window = Window {
        check: uid(number),
        run_digest,
        start,
        period: Period::for_interval(MINUTE),
        phase_ns: 0,
        slots: Some((slot, slot)),
        numbers: Some((run, run)),
        outcomes,
        series,
        expiry: None,
        incarnation: Incarnation(1),
    };
    Record {
        check: uid(number),
        digest: run_digest,
        start,
        end: start + MINUTE,
        unassigned: false,
        encoded: window_to(&window).encode_to_vec().into(),
    }
}
