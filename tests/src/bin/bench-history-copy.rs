//! A coordinator that joins a group later takes over what the others have measured, over the network,
//! and answers as they do.
//!
//! In real time: windows wait a minute for their segment, which is why this is no test.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use parallax_common::name::Uid;
use parallax_common::time::MeshTime;
use parallax_proto::convert::time::mesh_timestamp;
use parallax_proto::v1;
use parallax_proto::v1::bulk_response::Frame as Down;
use parallax_runtime::clock;
use parallax_tests::bench;
use parallax_tests::bench::figures::{Missed, ms};
use parallax_tests::bench::fleet::Idle;
use parallax_tests::bench::windows::{PERIOD, SAMPLES, SERIES, window};
use parallax_tests::harness::group::Group;
use parallax_tests::harness::http;
use parallax_tests::harness::rogue::Rogue;
use parallax_tests::harness::wait::{Look, SOON, wait_until};
use parallax_tests::harness::yaml::{self, CheckYaml};
use prost::Message as _;
use serde_json::{Value, json};

const REGION: &str = "eu-west";
const PROBE: &str = "p1";
const CHECK: &str = "checkout";
/// Windows that a probe brings which could not reach anybody three hours ago: twenty minutes of them.
const WINDOWS: u32 = 120;
const AGO: Duration = Duration::from_secs(3 * 3_600);
const QUANTILES: [f64; 4] = [50.0, 95.0, 99.0, 99.9];
/// Windows wait a minute for their segment; rolling it up and copying it come after.
const A_MINUTE: Duration = Duration::from_secs(120);

/// Brings these windows to a coordinator, and waits until it says that it keeps them.
async fn replay(rogue: &Rogue, windows: &[v1::Window]) -> Result<()> {
    let frame = v1::Windows { first_sequence: 1, windows: windows.to_vec(), replay: true };
    let frame = v1::bulk_request::Frame::Windows(frame);
    let frame = v1::BulkRequest { frame: Some(frame) }.encode_to_vec();
    let (_open, mut answers) = rogue.bulk(vec![frame.into()]).await?;
    while let Some(answer) = answers.message().await? {
        if let Some(Down::Ack(ack)) = answer.frame {
            ensure!(ack.through_sequence == windows.len() as u64, "{ack:?}");
            return Ok(());
        }
    }
    anyhow::bail!("the lane ended without an acknowledgement")
}

/// The range that all of it lies in.
fn range(origin: MeshTime) -> (prost_types::Timestamp, prost_types::Timestamp) {
    let hour = Duration::from_secs(3_600);
    (mesh_timestamp(origin - hour), mesh_timestamp(origin + hour))
}

async fn ask(group: &Group, member: &str, origin: MeshTime) -> Result<v1::QueryHistoryResponse> {
    let (since, until) = range(origin);
    group.api(member).await?.history(CHECK, since, until, &QUANTILES).await
}

/// Runs that passed, as a member has them.
fn passed(answer: &v1::QueryHistoryResponse) -> u64 {
    let counts = answer.rows.iter().flat_map(|row| &row.counts);
    counts.filter(|it| it.outcome() == v1::Outcome::Pass).map(|it| it.count).sum()
}

/// Files of a coordinator's history.
async fn segments(group: &Group, member: &str) -> Result<u64> {
    let address = group.addresses(member)?.public.to_string();
    let text = http::get(&address, "/metrics").await?.body;
    let line = text.lines().find_map(|line| line.strip_prefix("parallax_history_segments "));
    Ok(line.context("no such sample")?.parse()?)
}

/// Measure how long a new member takes to copy what the others have measured.
#[derive(Debug, clap::Parser)]
struct Args {
    /// Milliseconds from its start to its first whole answer above which the bench fails.
    #[arg(long)]
    at_most_ms: Option<f64>,
}

fn main() -> ExitCode {
    bench::main(run(<Args as clap::Parser>::parse()))
}

async fn run(args: Args) -> Result<Value> {
    let load = bench::load_average();
    let mut group = Group::start(bench::binaries()?, 3, &[]).await?;
    let check = CheckYaml::new(CHECK, &group.target.url(), &[REGION]);
    group.apply(&yaml::file(&[REGION], "${env:PX_HOOK}", &[check])).await?;
    group.issue_probe(PROBE, REGION).await?;
    let leader = group.leader().await?;
    let uid = group.api(&leader).await?.status(CHECK).await?.check_uid;
    let uid: Uid = uid.parse().map_err(|_| anyhow::anyhow!("{uid} is no uid"))?;

    // The region's one probe, at every coordinator; what it brings counts once it has the check.
    let (mut rogues, mut lanes) = (Vec::new(), Vec::new());
    for name in group.names() {
        let address = group.addresses(&name)?.probes.to_string();
        let rogue = Rogue::dial(&address, &group.tls(PROBE), REGION, PROBE).await?;
        lanes.push(Idle::open(&rogue).await?);
        rogues.push(rogue);
    }
    wait_until(SOON, "the check to be the probe's, everywhere", || async {
        let given = lanes.iter().filter(|lane| lane.assigned().contains(&uid)).count();
        Ok(Look::when(given == lanes.len(), given))
    })
    .await?;

    let now_ns = clock::utc().as_ns();
    let origin = MeshTime::from_ns(now_ns - now_ns.rem_euclid(60_000_000_000)) - AGO;
    let incarnation = Rogue::INCARNATION;
    let windows: Vec<_> =
        (0..WINDOWS).map(|round| window(uid, incarnation, origin, round)).collect();
    ensure!(PERIOD * WINDOWS < Duration::from_secs(3_600), "all of it in the range");
    for rogue in &rogues {
        replay(rogue, &windows).await?;
    }
    // Closed: the windows' own segment, and the minutes that it was rolled up into.
    for name in group.names() {
        wait_until(A_MINUTE, &format!("segments of {name}"), || async {
            let there = segments(&group, &name).await?;
            Ok(Look::when(there >= 2, there))
        })
        .await?;
    }
    let before = ask(&group, &leader, origin).await?;
    ensure!(before.tier() == v1::HistoryTier::Minutes, "{before:?}");
    ensure!(passed(&before) == u64::from(WINDOWS) * SAMPLES, "{before:?}");
    ensure!(before.rows[0].series.len() == SERIES, "{:?}", before.rows[0]);

    group.add_member("c4", &leader).await?;
    let started = clock::instant();
    wait_until(A_MINUTE, "the history of the one that joined", || async {
        let there = ask(&group, "c4", origin).await?;
        Ok(Look::when(passed(&there) == passed(&before), passed(&there)))
    })
    .await?;
    let took = clock::instant().duration_since(started);
    let mut nodes = std::collections::BTreeSet::new();
    for name in group.names() {
        let answer = ask(&group, &name, origin).await?;
        nodes.insert(answer.node_id);
        ensure!((answer.tier(), answer.cell) == (before.tier(), before.cell), "{name}");
        // Counts, what is covered, and every quantile of every phase.
        ensure!(answer.rows == before.rows, "{name}: {:?}, not {:?}", answer.rows, before.rows);
    }
    ensure!(nodes.len() == 4, "each answers from its own disk: {nodes:?}");
    // It survives there, too.
    group.kill_member("c4")?;
    group.spawn_member("c4")?;
    group.member_up("c4").await?;
    let after = ask(&group, "c4", origin).await?.rows;
    ensure!(after == before.rows, "after a kill -9: {after:?}, not {:?}", before.rows);
    let mut missed = Missed::default();
    missed.at_most("copied_after_ms", ms(took), args.at_most_ms);
    group.told();
    Ok(json!({
        "bench": "history-copy",
        "what": "start of a fourth member -> its answer is that of the others",
        "windows": WINDOWS,
        "runs": passed(&before),
        "copied_after_ms": ms(took),
        "members_that_agree": nodes.len(),
        (bench::LOAD): load,
        "missed": missed.into_json(),
    }))
}
