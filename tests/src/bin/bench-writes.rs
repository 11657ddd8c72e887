//! Replicated writes: three coordinators, and three members of etcd, in the same run.
//!
//! The same client program for both: each client has one connection to the leader and one write under
//! way, of one of its own keys with a new value of 256 bytes. Ours is a configuration change (a region with a title of
//! 256 bytes) over mTLS, planned, checked and audited; etcd's is a plain put.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::Parser;
use parallax_runtime::clock;
use parallax_tests::bench;
use parallax_tests::bench::etcd::{self, Etcd};
use parallax_tests::bench::figures::{Missed, Samples, ms};
use parallax_tests::bench::syncs::Counting;
use parallax_tests::harness::client::Api;
use parallax_tests::harness::group::Group;
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// Bytes of each value.
const VALUE_BYTES: usize = 256;
/// Keys of each client.
const KEYS: u64 = 64;
/// Writes while strace counts.
const COUNTED: u64 = 200;

/// Measure replicated writes beside etcd's.
#[derive(Debug, Parser)]
struct Args {
    /// Seconds of each round; the first fifth of it is not measured.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Rounds of each, by turns; the figures are medians.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Writes a second of one client, as a multiple of etcd's, below which the bench fails.
    #[arg(long)]
    one_client_at_least: Option<f64>,
    /// The same of 64 clients.
    #[arg(long)]
    many_clients_at_least: Option<f64>,
}

fn main() -> ExitCode {
    bench::main(run(Args::parse()))
}

/// Where writes go.
#[derive(Debug, Clone)]
enum Target {
    Ours { endpoint: String, tls: PathBuf },
    Etcd { url: String },
}

/// One client's connection.
enum Client {
    Ours { api: Api, id: String },
    Etcd(etcd::Client),
}

impl Client {
    async fn connect(target: &Target) -> Result<Self> {
        Ok(match target {
            Target::Ours { endpoint, tls } => {
                let id = uuid::Uuid::now_v7().to_string();
                Self::Ours { api: Api::connect(endpoint, tls).await?, id }
            }
            Target::Etcd { url } => Self::Etcd(etcd::Client::connect(url).await?),
        })
    }

    async fn write(&self, key: &str, number: u64, value: &str) -> Result<u64> {
        match self {
            Self::Ours { api, id } => api.create_region_titled(id, number, key, value).await,
            Self::Etcd(client) => client.put(key, value.as_bytes()).await,
        }
    }
}

/// What one round came to.
struct Round {
    per_second: f64,
    latency: Samples,
}

async fn run(args: Args) -> Result<Value> {
    let load = bench::load_average();
    let etcd = Etcd::start().await?;
    let (url, version) = etcd.leader().await?;
    let mut group = Group::start(bench::binaries()?, 3, &[]).await?;
    let leader = group.leader().await?;
    let endpoint = group.addresses(&leader)?.api.to_string();
    let ours = Target::Ours { endpoint, tls: group.tls("anna") };
    let theirs = Target::Etcd { url };
    let mut prefix = 0;
    let mut missed = Missed::default();
    let mut rows = Vec::new();
    let bounds = [(1, args.one_client_at_least), (64, args.many_clients_at_least)];
    for (clients, at_least) in bounds {
        let (mut us, mut them) = (Vec::new(), Vec::new());
        for _ in 0..args.rounds {
            for (target, rounds) in [(&theirs, &mut them), (&ours, &mut us)] {
                prefix += 1;
                let round = round(target, clients, args.seconds, prefix).await?;
                eprintln!("{clients} clients, {target:?}: {:.0} writes/s", round.per_second);
                rounds.push(round);
            }
        }
        let ratio = median(&us) / median(&them);
        missed.at_least(&format!("writes/s of {clients} clients, times etcd's"), ratio, at_least);
        rows.push(json!({
            "clients": clients,
            "times_etcd": (ratio * 100.0).round() / 100.0,
            "parallax": summary(&us),
            "etcd": summary(&them),
        }));
    }
    let syncs_ours = syncs(&ours, &pids(&group)?).await?;
    let syncs_theirs = syncs(&theirs, &etcd.pids()).await?;
    group.told();
    Ok(json!({
        "bench": "writes",
        "members": 3,
        "value_bytes": VALUE_BYTES,
        "seconds_a_round": args.seconds,
        "rounds": args.rounds,
        "etcd_version": version,
        "load": rows,
        "syncs_a_write_of_one_client": { "parallax": syncs_ours, "etcd": syncs_theirs },
        (bench::LOAD): load,
        "missed": missed.into_json(),
    }))
}

fn pids(group: &Group) -> Result<Vec<u32>> {
    group.names().iter().map(|name| Ok(group.process(name)?.id())).collect()
}

/// Closed loops of `clients` for `seconds`.
async fn round(target: &Target, clients: u32, seconds: u64, prefix: u32) -> Result<Round> {
    let mut connected = Vec::new();
    for _ in 0..clients {
        connected.push(Client::connect(target).await?);
    }
    let begin = clock::instant() + Duration::from_secs(seconds) / 5;
    let end = begin + Duration::from_secs(seconds) * 4 / 5;
    let mut loops = JoinSet::new();
    for (number, client) in connected.into_iter().enumerate() {
        let name = format!("w{prefix}-{number}");
        loops.spawn(async move { closed_loop(&client, &name, begin, end).await });
    }
    let mut latency = Samples::default();
    let mut count = 0_u64;
    while let Some(samples) = loops.join_next().await {
        for sample in samples.context("a client failed")?? {
            latency.push(sample);
            count += 1;
        }
    }
    Ok(Round { per_second: count as f64 / (end - begin).as_secs_f64(), latency })
}

/// Writes that were begun and acknowledged between `begin` and `end`.
async fn closed_loop(
    client: &Client,
    name: &str,
    begin: Instant,
    end: Instant,
) -> Result<Vec<Duration>> {
    let mut samples = Vec::new();
    for number in 1.. {
        let sent = clock::instant();
        if sent >= end {
            break;
        }
        client.write(&format!("{name}-{}", number % KEYS), number, &value(number)).await?;
        let answered = clock::instant();
        if sent >= begin && answered < end {
            samples.push(answered - sent);
        }
    }
    Ok(samples)
}

/// Syncs of all members together, for each write of one client.
async fn syncs(target: &Target, pids: &[u32]) -> Result<f64> {
    let client = Client::connect(target).await?;
    let name = uuid::Uuid::now_v7().simple().to_string();
    client.write(&format!("s{name}"), 1, &value(1)).await?;
    let counting = Counting::start(pids)?;
    for number in 2..=COUNTED + 1 {
        client.write(&format!("s{name}"), number, &value(number)).await?;
    }
    let calls: u64 = counting.end()?.iter().sum();
    Ok((calls as f64 / COUNTED as f64 * 100.0).round() / 100.0)
}

/// A value that was not written before.
fn value(number: u64) -> String {
    format!("{number:0>VALUE_BYTES$}")
}

fn median(rounds: &[Round]) -> f64 {
    let mut all: Vec<f64> = rounds.iter().map(|round| round.per_second).collect();
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

fn summary(rounds: &[Round]) -> Value {
    let each: Vec<f64> = rounds.iter().map(|round| round.per_second.round()).collect();
    let p99: Vec<f64> = rounds.iter().map(|round| ms(round.latency.quantile(0.99))).collect();
    let p50: Vec<f64> = rounds.iter().map(|round| ms(round.latency.quantile(0.5))).collect();
    json!({ "writes_per_second": each, "median_ms": p50, "p99_ms": p99 })
}
