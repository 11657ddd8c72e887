//! From the moment a target begins to refuse to the arrival of the webhook: separate processes,
//! mTLS, fsync, one look a second from each of three regions.
//!
//! Trial k breaks the target at k / N of the interval, so the trials are spread evenly over the
//! phases at which an outage can begin. Between trials the target is well until everything says so. A
//! trial during which the machine itself stood still is told, left out, and tried again.
//!
//! With `--peer-trials` the same is asked of Prometheus, three `blackbox_exporter`s and Alertmanager of
//! Debian's packages, started here once our own trials are over: one look a second from each of three, an
//! evaluation a second, one sample a region, and no wait before a group is told.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use parallax_common::time::UtcTime;
use parallax_proto::v1;
use parallax_runtime::clock;
use parallax_tests::bench;
use parallax_tests::bench::figures::{Missed, Samples, ms};
use parallax_tests::bench::prometheus::Alerting;
use parallax_tests::bench::stalls::Stalls;
use parallax_tests::harness::client::{Api, brief};
use parallax_tests::harness::mesh::Mesh;
use parallax_tests::harness::target::Target;
use parallax_tests::harness::wait::{Look, SOON, wait_until};
use parallax_tests::harness::yaml::{self, CheckYaml};
use serde_json::{Value, json};

const REGIONS: [&str; 3] = ["eu-west", "us-east", "ap-south"];
const CHECK: &str = "checkout";
const INTERVAL: Duration = Duration::from_secs(1);

/// A trial with a longer stall of the machine's disk or clock in it measures the machine.
const STALL_MAX: Duration = Duration::from_millis(60);

/// A trial that takes longer than this, besides the lines, is told in full.
const SLOW: Duration = Duration::from_millis(600);

/// Measure how soon an outage is paged.
#[derive(Debug, Parser)]
struct Args {
    /// Outages, spread evenly over the interval.
    #[arg(long, default_value_t = 120, value_parser = clap::value_parser!(u32).range(1..))]
    trials: u32,
    /// Fails in a row that turn a region.
    #[arg(long, default_value_t = 2)]
    failures: u32,
    /// How long a byte takes between a probe and the coordinator, each way.
    #[arg(long, default_value_t = 0)]
    one_way_delay_ms: u64,
    /// The median above which the bench fails.
    #[arg(long)]
    median_at_most_ms: Option<f64>,
    /// The 95th percentile above which the bench fails.
    #[arg(long)]
    p95_at_most_ms: Option<f64>,
    /// Outages for the peer, spread in the same way; none: it is not started.
    #[arg(long, default_value_t = 0)]
    peer_trials: u32,
    /// How many times our median the peer's has to be; below, the bench fails.
    #[arg(long, requires = "peer_trials")]
    at_least: Option<f64>,
    /// Print every sample, in order of the trials.
    #[arg(long)]
    samples: bool,
}

fn main() -> ExitCode {
    bench::main(run(Args::parse()))
}

async fn run(args: Args) -> Result<Value> {
    let load = bench::load_average();
    let one_way = Duration::from_millis(args.one_way_delay_ms);
    let mut mesh = Mesh::start_apart(bench::binaries()?, &REGIONS, one_way).await?;
    let check = CheckYaml {
        interval: "1s".to_owned(),
        timeout: "900ms".to_owned(),
        failures: Some(args.failures),
        ..CheckYaml::new(CHECK, &mesh.target.url(), &REGIONS)
    };
    mesh.apply(&yaml::file(&REGIONS, "${env:PX_HOOK}", &[check])).await?;
    let api = mesh.api().await?;
    well(&mesh, &api, 0).await?;

    let stalls = Stalls::watch(mesh.dir())?;
    let origin = clock::instant();
    let mut samples = Samples::default();
    let mut opened = 0;
    let mut disturbed = 0;
    for trial in 0..args.trials {
        let phase = INTERVAL * trial / args.trials;
        loop {
            tokio::time::sleep_until(next(origin + phase).into()).await;
            let broken = Broken { at: clock::instant(), utc: clock::utc() };
            let took = outage(&mut mesh, opened).await.with_context(|| format!("trial {trial}"))?;
            let stall = stalls.longest_since(broken.at);
            opened += 2;
            eprintln!("trial {trial}: {} ms", ms(took));
            if took > SLOW + 4 * one_way {
                tell(&api, &broken).await?;
            }
            mesh.target.heal()?;
            well(&mesh, &api, opened).await.with_context(|| format!("after trial {trial}"))?;
            // On a machine that is always disturbed this is a figure all the same.
            if stall <= STALL_MAX || disturbed >= args.trials.div_ceil(2) {
                samples.push(took);
                break;
            }
            disturbed += 1;
            eprintln!("trial {trial} again: the machine stood still for {} ms", ms(stall));
        }
    }
    let mut missed = Missed::default();
    missed.at_most("median_ms", ms(samples.quantile(0.5)), args.median_at_most_ms);
    missed.at_most("p95_ms", ms(samples.quantile(0.95)), args.p95_at_most_ms);
    mesh.told();
    let peer = match args.peer_trials {
        0 => None,
        trials => Some(peer(trials, &stalls).await.context("the peer")?),
    };
    let mut report = json!({
        "bench": "detection",
        "what": "the target refuses -> the webhook has arrived",
        "regions": REGIONS.len(),
        "interval_ms": INTERVAL.as_millis() as u64,
        "failures": args.failures,
        "one_way_delay_ms": args.one_way_delay_ms,
        "latency": samples.summary(),
        "trials_again_because_the_machine_stood_still": disturbed,
        (bench::LOAD): load,
    });
    if let Some((versions, theirs, again)) = peer {
        let ratio = |q| {
            let (ours, theirs) =
                (samples.quantile(q).as_secs_f64(), theirs.quantile(q).as_secs_f64());
            (theirs / ours * 100.0).round() / 100.0
        };
        missed.at_least("at_least", ratio(0.5), args.at_least);
        report["peer"] = json!({
            "what": "prometheus, three blackbox_exporters and alertmanager: 1 s, 1 s, 0 s",
            "versions": versions,
            "latency": theirs.summary(),
            "trials_again_because_the_machine_stood_still": again,
            "times_our_median": ratio(0.5),
            "times_our_p95": ratio(0.95),
        });
    }
    report["missed"] = missed.into_json();
    if args.samples {
        report["samples_ms"] = samples.all_ms().into();
    }
    Ok(report)
}

/// The same outages for the peer: its versions, how long each took, and how many were tried again.
async fn peer(trials: u32, stalls: &Stalls) -> Result<(Value, Samples, u32)> {
    let versions = Alerting::versions()?;
    let dir = tempfile::tempdir()?;
    let mut target = Target::start()?;
    let peer = Alerting::start(dir.path(), &target, &REGIONS).await?;
    let origin = clock::instant();
    let (mut samples, mut disturbed) = (Samples::default(), 0);
    for trial in 0..trials {
        let phase = INTERVAL * trial / trials;
        loop {
            tokio::time::sleep_until(next(origin + phase).into()).await;
            let began = clock::instant();
            let took = peer.outage(&mut target).await.with_context(|| format!("trial {trial}"))?;
            let stall = stalls.longest_since(began);
            eprintln!("peer, trial {trial}: {} ms", ms(took));
            peer.heal(&mut target).await.with_context(|| format!("after trial {trial}"))?;
            if stall <= STALL_MAX || disturbed >= trials.div_ceil(2) {
                samples.push(took);
                break;
            }
            disturbed += 1;
            eprintln!("trial {trial} again: the machine stood still for {} ms", ms(stall));
        }
    }
    Ok((versions, samples, disturbed))
}

/// When the target began to refuse, on both clocks.
struct Broken {
    at: Instant,
    utc: UtcTime,
}

/// Breaks the target; how long until the page that follows those `before` has arrived.
async fn outage(mesh: &mut Mesh, before: usize) -> Result<Duration> {
    let broken_at = clock::instant();
    mesh.target.refuse();
    let arrived = wait_until(SOON, "a page", || async {
        let pages = mesh.sink.pages_of(CHECK);
        Ok(Look::some(pages.get(before).map(|page| (page.at, page.kind.clone())), &pages))
    });
    let (arrived_at, kind) = arrived.await?;
    ensure!(kind == "opened", "a page that says {kind}");
    Ok(arrived_at.duration_since(broken_at))
}

/// Where the time of a slow trial went: until the decision, or until the page.
async fn tell(api: &Api, broken: &Broken) -> Result<()> {
    let incidents = api.incidents_of(CHECK).await?;
    let Some(incident) = incidents.iter().find(|incident| incident.resolved_at.is_none()) else {
        return Ok(());
    };
    let after = |at: Option<&prost_types::Timestamp>| {
        let at = at.map_or(0, |at| at.seconds * 1_000_000_000 + i64::from(at.nanos));
        (at - broken.utc.as_ns()) / 1_000_000
    };
    eprintln!("  decided {} ms after the target broke", after(incident.opened_at.as_ref()));
    for ballot in incident.opened_by.iter().flat_map(|record| &record.ballots) {
        let since = after(ballot.since.as_ref());
        let (region, state, in_a_row) = (&ballot.region, ballot.state(), ballot.in_a_row);
        eprintln!("  {region}: {state:?}, {in_a_row} in a row, since {since} ms");
    }
    for event in &incident.timeline {
        eprintln!("  {} ms: {:?}", after(event.at.as_ref()), event.event);
    }
    for delivery in &incident.deliveries {
        eprintln!("  page: {} attempts, {:?}", delivery.attempts, delivery.last_error);
    }
    Ok(())
}

/// The next moment that lies a whole number of intervals after `at`, with some time to get ready.
fn next(at: Instant) -> Instant {
    let ready = clock::instant() + Duration::from_millis(5);
    let behind = ready.saturating_duration_since(at).as_nanos();
    let intervals = behind.div_ceil(INTERVAL.as_nanos());
    at + INTERVAL * u32::try_from(intervals).unwrap_or(u32::MAX)
}

/// Waits until nothing of an outage is left: every page sent, verdict up, every region passing.
async fn well(mesh: &Mesh, api: &Api, pages: usize) -> Result<()> {
    wait_until(SOON, "a check that is well everywhere", || async {
        let sent = mesh.sink.pages_of(CHECK).len();
        let row = api.status(CHECK).await?;
        let passing = row
            .ballots
            .iter()
            .filter(|ballot| ballot.state() == v1::BallotState::Pass && !ballot.stale);
        let holds = sent == pages
            && row.verdict() == v1::Verdict::Up
            && row.incident_uid.is_empty()
            && passing.count() == REGIONS.len();
        Ok(Look::when(holds, format!("{sent} pages, {}", brief(&row))))
    })
    .await
}
