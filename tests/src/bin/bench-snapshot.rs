//! A snapshot of many checks and a long audit: how long it takes to write, to install and to start
//! from, and how much memory that needs beyond the state itself.

use std::path::Path;
use std::process::ExitCode;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Parser;
use parallax_coordinator::core::state::State;
use parallax_coordinator::machine::StateMachine;
use parallax_coordinator::raft::fatal;
use parallax_coordinator::raft::machine::Machine as _;
use parallax_coordinator::raft::recover;
use parallax_coordinator::store::rows::sled::SledRows;
use parallax_coordinator::store::rows::{Pages, Row, RowStore};
use parallax_coordinator::store::snapshot::file::FileSnapshots;
use parallax_coordinator::store::snapshot::{Header, SnapshotId, SnapshotStore};
use parallax_coordinator::view::View;
use parallax_proto::convert::check::normalise_check;
use parallax_proto::{store, v1};
use parallax_runtime::clock;
use parallax_tests::bench;
use parallax_tests::bench::figures::Missed;
use prost::Message as _;
use serde_json::{Value, json};

/// Write, install and load a snapshot of many checks and audit rows.
#[derive(Debug, Parser)]
struct Args {
    /// Checks: hot rows, held in memory.
    #[arg(long, default_value_t = 100_000)]
    checks: u64,
    /// Rows of the audit: cold, never held in memory.
    #[arg(long, default_value_t = 1_000_000)]
    audit: u64,
    /// Rows a second, written and installed, below which the bench fails.
    #[arg(long)]
    at_least: Option<f64>,
    /// MiB that writing or installing may need beyond the loaded state.
    #[arg(long)]
    rss_mib_at_most: Option<f64>,
}

fn main() -> ExitCode {
    bench::main(run(Args::parse()))
}

async fn run(args: Args) -> Result<Value> {
    tokio::task::spawn_blocking(move || measure(&args)).await?
}

fn measure(args: &Args) -> Result<Value> {
    let load = bench::load_average();
    let dir = tempfile::tempdir()?;
    let index = args.checks + args.audit + 10;
    let id = SnapshotId { index, term: 3 };

    // What the member has: rows on disk, and the hot ones in memory.
    let rows = SledRows::open(&dir.path().join("rows"))?;
    rows.replace(&mut made(args).map(Ok), index)?;
    let mut machine = StateMachine::new(View::default(), Vec::new(), fatal::abort());
    let began = clock::instant();
    load_hot(&mut machine, &rows, index)?;
    let load_seconds = seconds(began);
    let rss_loaded = rss()?;

    // Written: the frozen state and the cold rows.
    let snapshots = FileSnapshots::open(&dir.path().join("snapshots"))?;
    let conf_state = Default::default();
    let header = Header { id, conf_state, mesh: "bench".to_owned(), epoch: 1 };
    reset_peak()?;
    let began = clock::instant();
    let mut frozen = Some(machine.freeze());
    snapshots.write(&header, &mut |sink| {
        let mut result = Ok(());
        if let Some(frozen) = frozen.take() {
            frozen(&mut |row| {
                if result.is_ok() {
                    result = sink(row);
                }
            });
        }
        result?;
        for row in Pages::new(&rows) {
            let row = row?;
            if StateMachine::cold(&row.key).is_some() {
                sink(row)?;
            }
        }
        Ok(())
    })?;
    let write_seconds = seconds(began);
    let rss_write = peak()?;
    let bytes = std::fs::metadata(snapshots.path(id))?.len();
    drop(machine);
    drop(rows);

    // Installed: into the rows of another member, and into its memory.
    let other = SledRows::open(&dir.path().join("other"))?;
    let mut machine = StateMachine::new(View::default(), Vec::new(), fatal::abort());
    reset_peak()?;
    let began = clock::instant();
    recover::install(id, &mut machine, &other, &snapshots)?;
    let install_seconds = seconds(began);
    let rss_install = peak()?;
    if other.applied_index()? != index {
        bail!("the rows are of index {}", other.applied_index()?);
    }
    let disk = other.disk_bytes()?;
    drop(machine);
    drop(other);

    // Started from: a start reads its rows again.
    let began = clock::instant();
    let other = SledRows::open(&dir.path().join("other"))?;
    let mut machine = StateMachine::new(View::default(), Vec::new(), fatal::abort());
    load_hot(&mut machine, &other, index)?;
    let restart_seconds = seconds(began);

    let count = (args.checks + args.audit) as f64;
    let mut missed = Missed::default();
    missed.at_least("rows/s written", count / write_seconds, args.at_least);
    missed.at_least("rows/s installed", count / install_seconds, args.at_least);
    let beyond = |peak: u64| peak.saturating_sub(rss_loaded) as f64 / 1024.0 / 1024.0;
    missed.at_most("MiB to write", beyond(rss_write), args.rss_mib_at_most);
    Ok(json!({
        "bench": "snapshot",
        "checks": args.checks,
        "audit_rows": args.audit,
        "snapshot_bytes": bytes,
        "rows_disk_bytes": disk,
        "load_seconds": load_seconds,
        "write_seconds": write_seconds,
        "install_seconds": install_seconds,
        "restart_seconds": restart_seconds,
        "rss_loaded_mib": mib(rss_loaded),
        "rss_peak_write_mib": mib(rss_write),
        "rss_peak_install_mib": mib(rss_install),
        (bench::LOAD): load,
        "missed": missed.into_json(),
    }))
}

/// Every row of the state, in order of keys as the store gives them back.
fn made(args: &Args) -> impl Iterator<Item = Row> + use<> {
    let (checks, audit) = (args.checks, args.audit);
    let cluster = store::ClusterRow {
        mesh: "bench".to_owned(),
        cluster_id: "bench".to_owned(),
        epoch: 1,
        level: 1,
        ..Default::default()
    };
    let cluster = Row { key: vec![b'C'].into(), value: cluster.encode_to_vec().into() };
    let audit = (0..audit).map(|n| {
        let row = store::AuditRow {
            index: n + 1,
            utc_ns: 1_700_000_000_000_000_000,
            actor: Some(v1::Actor { kind: "user".into(), name: "ops".into(), role: "edit".into() }),
            source: "api".to_owned(),
            command: "commit_config".to_owned(),
            subjects: vec![uuid::Uuid::from_u128(u128::from(n)).to_string()],
            more_subjects: 0,
        };
        let key = [&b"a"[..], &(n + 1).to_be_bytes()].concat();
        Row { key: key.into(), value: row.encode_to_vec().into() }
    });
    let checks = (0..checks).map(|n| {
        let uid = uuid::Uuid::from_u128(u128::from(n) | 7 << 76 | 2 << 62);
        let check = check(n, &uid.to_string());
        let key = [&b"k"[..], uid.as_bytes()].concat();
        Row { key: key.into(), value: check.encode_to_vec().into() }
    });
    std::iter::once(cluster).chain(audit).chain(checks)
}

/// A check as people write them, and as it is stored.
fn check(n: u64, uid: &str) -> v1::Check {
    normalise_check(v1::Check {
        meta: Some(v1::Meta {
            uid: uid.to_owned(),
            namespace: "default".to_owned(),
            name: format!("check-{n}"),
            set: "default".to_owned(),
            etag: n + 1,
            ..v1::Meta::default()
        }),
        run: Some(v1::Run {
            steps: vec![v1::Step {
                name: String::new(),
                capture: vec![],
                kind: Some(v1::step::Kind::Tcp(v1::TcpStep {
                    address: format!("shop-{n}.example:443"),
                    ..v1::TcpStep::default()
                })),
            }],
            timeout: Duration::from_secs(3).try_into().ok(),
            ..v1::Run::default()
        }),
        interval: Duration::from_secs(10).try_into().ok(),
        regions: ["eu-west", "us-east", "ap-south"].map(str::to_owned).to_vec(),
        alert: vec!["ops".to_owned()],
        ..v1::Check::default()
    })
}

fn load_hot(machine: &mut StateMachine, rows: &dyn RowStore, index: u64) -> Result<()> {
    let hot = Pages::new(rows).map_while(Result::ok).filter(|row| State::cold(&row.key).is_none());
    machine.load(&mut hot.filter(|row| row.key.first() != Some(&0)), index)?;
    Ok(())
}

fn seconds(began: Instant) -> f64 {
    clock::instant().duration_since(began).as_secs_f64()
}

fn mib(bytes: u64) -> f64 {
    (bytes as f64 / 1024.0 / 1024.0 * 10.0).round() / 10.0
}

/// Lets the system count the greatest resident size anew.
fn reset_peak() -> Result<()> {
    std::fs::write("/proc/self/clear_refs", "5").context("reset the peak of resident memory")
}

fn rss() -> Result<u64> {
    status("VmRSS:")
}

fn peak() -> Result<u64> {
    status("VmHWM:")
}

fn status(name: &str) -> Result<u64> {
    let text = std::fs::read_to_string(Path::new("/proc/self/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)).context("no such line")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").trim().parse()?;
    Ok(kib * 1024)
}
