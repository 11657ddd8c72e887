//! Replicated writes: three coordinators, and three members of etcd, in the same run.
//!
//! The same client program for both: each client has one connection to the leader and one write under
//! way, of one of its own keys with a new value of 256 bytes. Ours is a configuration change (a region
//! with a title of 256 bytes) over mTLS, planned, checked and audited; etcd's is a plain put. etcd is
//! measured twice, without certificates and with them.
//!
//! On a machine that others use too, writes a second say little; beside them stands the processor time
//! that each write took, of the clients and of every member.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::Parser;
use parallax_proto::v1;
use parallax_runtime::clock;
use parallax_runtime::transport::{Connector, Credentials};
use parallax_tests::bench;
use parallax_tests::bench::cpu;
use parallax_tests::bench::etcd::{self, Etcd};
use parallax_tests::bench::figures::{Missed, Samples, ms};
use parallax_tests::bench::grpc::Caller;
use parallax_tests::bench::syncs::Counting;
use parallax_tests::harness::client;
use parallax_tests::harness::group::Group;
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// The call that writes configuration.
const APPLY: &str = "/parallax.v1.ConfigService/ApplyWhole";
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
    /// The same of one client, beside etcd with certificates, as we always have them.
    #[arg(long)]
    one_client_tls_at_least: Option<f64>,
    /// The same of 64 clients, beside etcd with certificates.
    #[arg(long)]
    many_clients_tls_at_least: Option<f64>,
    /// etcd's processor time a write of 64 clients, as a multiple of ours, below which the bench
    /// fails. It says more than writes a second where the machine has other work.
    #[arg(long)]
    many_clients_processor_at_least: Option<f64>,
}

fn main() -> ExitCode {
    bench::main_on_one_thread(run(Args::parse()))
}

/// Where writes go.
#[derive(Debug, Clone)]
enum Target {
    Ours { endpoint: String, tls: PathBuf },
    Etcd(etcd::Place),
}

/// One of those that are measured.
struct Contender {
    name: &'static str,
    target: Target,
    /// The leader first.
    pids: Vec<u32>,
}

/// One client's connection.
enum Client {
    Ours { caller: Caller, id: String },
    Etcd(etcd::Client),
}

impl Client {
    async fn connect(target: &Target) -> Result<Self> {
        Ok(match target {
            Target::Ours { endpoint, tls } => {
                let (host, port) = endpoint.rsplit_once(':').context("no port")?;
                let connector = Connector::new(Credentials::load(tls)?);
                let stream = connector.dial(host, port.parse()?).await?;
                let caller = Caller::over(stream, "https", endpoint).await?;
                Self::Ours { caller, id: uuid::Uuid::now_v7().to_string() }
            }
            Target::Etcd(place) => Self::Etcd(etcd::Client::connect(place).await?),
        })
    }

    async fn write(&self, key: &str, number: u64, value: &str) -> Result<u64> {
        match self {
            Self::Ours { caller, id } => {
                let region = v1::Region { meta: Some(client::named(key)), title: value.to_owned() };
                let request = client::region_request(client::request_id(id, number), region);
                let answers = caller.call(APPLY, &[request]).await?;
                client::acknowledged(answers.first().context("no result")?)
            }
            Self::Etcd(client) => client.put(key, value.as_bytes()).await,
        }
    }
}

/// What one round came to.
struct Round {
    per_second: f64,
    latency: Samples,
    /// Processor time a write in microseconds: of the clients, then of each member.
    cpu_us: Vec<f64>,
}

async fn run(args: Args) -> Result<Value> {
    let load = bench::load_average();
    let mut etcds = Vec::new();
    for with_tls in [false, true] {
        etcds.push(Etcd::start(with_tls).await?);
    }
    let mut version = String::new();
    let mut contenders = Vec::new();
    for (name, etcd) in ["etcd", "etcd with certificates"].into_iter().zip(&etcds) {
        let (place, found) = etcd.leader().await?;
        version = found;
        let pids = etcd.pids_from(&place);
        contenders.push(Contender { name, target: Target::Etcd(place), pids });
    }
    let mut group = Group::start(bench::binaries()?, 3, &[]).await?;
    let leader = group.leader().await?;
    let endpoint = group.addresses(&leader)?.api.to_string();
    let target = Target::Ours { endpoint, tls: group.tls("anna") };
    let pids = pids(&group, &leader)?;
    contenders.push(Contender { name: "parallax", target, pids });
    let mut prefix = 0;
    let mut missed = Missed::default();
    let mut rows = Vec::new();
    let bounds = [
        (1, args.one_client_at_least, args.one_client_tls_at_least),
        (64, args.many_clients_at_least, args.many_clients_tls_at_least),
    ];
    for (clients, at_least, tls_at_least) in bounds {
        let mut rounds: Vec<Vec<Round>> = contenders.iter().map(|_| Vec::new()).collect();
        for _ in 0..args.rounds {
            for (contender, rounds) in contenders.iter().zip(&mut rounds) {
                prefix += 1;
                let round = round(contender, clients, args.seconds, prefix).await?;
                let Contender { name, .. } = contender;
                let cpu: f64 = round.cpu_us.iter().sum();
                eprintln!(
                    "{clients} clients, {name}: {:.0} writes/s, {cpu:.0} us a write",
                    round.per_second
                );
                rounds.push(round);
            }
        }
        let [plain, tls, ours] = rounds.as_slice() else { bail!("three are measured") };
        let mut ratios = Vec::new();
        for (theirs, whose, at_least) in
            [(plain, "etcd's", at_least), (tls, "etcd's with certificates", tls_at_least)]
        {
            let times = median(ours) / median(theirs);
            missed.at_least(
                &format!("writes/s of {clients} clients, times {whose}"),
                times,
                at_least,
            );
            let cpu = cpu_median(theirs) / cpu_median(ours);
            if clients > 1 && whose == "etcd's" {
                let what = "etcd's processor time a write of 64 clients, times ours";
                missed.at_least(what, cpu, args.many_clients_processor_at_least);
            }
            ratios.push((hundredths(times), hundredths(cpu)));
        }
        rows.push(json!({
            "clients": clients,
            "times_etcd": ratios[0].0,
            "times_etcd_with_certificates": ratios[1].0,
            "times_etcd_by_processor_time": ratios[0].1,
            "times_etcd_with_certificates_by_processor_time": ratios[1].1,
            "parallax": summary(ours),
            "etcd": summary(plain),
            "etcd_with_certificates": summary(tls),
        }));
    }
    let mut counted = serde_json::Map::new();
    for contender in &contenders {
        let syncs = syncs(&contender.target, &contender.pids).await?;
        counted.insert(contender.name.to_owned(), syncs.into());
    }
    group.told();
    Ok(json!({
        "bench": "writes",
        "members": 3,
        "value_bytes": VALUE_BYTES,
        "seconds_a_round": args.seconds,
        "rounds": args.rounds,
        "etcd_version": version,
        "load": rows,
        "syncs_a_write_of_one_client": counted,
        (bench::LOAD): load,
        "missed": missed.into_json(),
    }))
}

/// The members' pids, that of the leader first.
fn pids(group: &Group, leader: &str) -> Result<Vec<u32>> {
    let mut names = group.names();
    names.sort_by_key(|name| name != leader);
    names.iter().map(|name| Ok(group.process(name)?.id())).collect()
}

/// Closed loops of `clients` for `seconds`.
async fn round(contender: &Contender, clients: u32, seconds: u64, prefix: u32) -> Result<Round> {
    let mut connected = Vec::new();
    for _ in 0..clients {
        connected.push(Client::connect(&contender.target).await?);
    }
    let begin = clock::instant() + Duration::from_secs(seconds) / 5;
    let end = begin + Duration::from_secs(seconds) * 4 / 5;
    let mut loops = JoinSet::new();
    for (number, client) in connected.into_iter().enumerate() {
        let name = format!("w{prefix}-{number}");
        loops.spawn(async move { closed_loop(&client, &name, begin, end).await });
    }
    tokio::time::sleep_until(begin.into()).await;
    let before = used(contender)?;
    tokio::time::sleep_until(end.into()).await;
    let after = used(contender)?;
    let mut latency = Samples::default();
    let mut count = 0_u64;
    while let Some(samples) = loops.join_next().await {
        for sample in samples.context("a client failed")?? {
            latency.push(sample);
            count += 1;
        }
    }
    let each = |(before, after): (Duration, Duration)| {
        after.saturating_sub(before).as_secs_f64() * 1e6 / count.max(1) as f64
    };
    let cpu_us = before.into_iter().zip(after).map(each).collect();
    Ok(Round { per_second: count as f64 / (end - begin).as_secs_f64(), latency, cpu_us })
}

/// Processor time so far: of this process, whose only work are the clients, then of each member.
fn used(contender: &Contender) -> Result<Vec<Duration>> {
    let members = contender.pids.iter().map(|pid| cpu::used_by(*pid));
    std::iter::once(cpu::used_here()).chain(members).collect()
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
    Ok(hundredths(calls as f64 / COUNTED as f64))
}

/// A value that was not written before.
fn value(number: u64) -> String {
    format!("{number:0>VALUE_BYTES$}")
}

fn median(rounds: &[Round]) -> f64 {
    middle(rounds.iter().map(|round| round.per_second).collect())
}

/// Of all processes together.
fn cpu_median(rounds: &[Round]) -> f64 {
    middle(rounds.iter().map(|round| round.cpu_us.iter().sum()).collect())
}

fn middle(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

fn hundredths(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

fn summary(rounds: &[Round]) -> Value {
    let each: Vec<f64> = rounds.iter().map(|round| round.per_second.round()).collect();
    let p99: Vec<f64> = rounds.iter().map(|round| ms(round.latency.quantile(0.99))).collect();
    let p50: Vec<f64> = rounds.iter().map(|round| ms(round.latency.quantile(0.5))).collect();
    let cpu: Vec<Vec<f64>> =
        rounds.iter().map(|round| round.cpu_us.iter().map(|us| us.round()).collect()).collect();
    json!({
        "writes_per_second": each,
        "median_ms": p50,
        "p99_ms": p99,
        "processor_us_a_write_of_clients_leader_and_followers": cpu,
    })
}
