//! Whole coordinators, as their processes run them.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use clap::Parser as _;
use parallax_runtime::clock;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::rig::{Ca, MESH};
use crate::{Bound, Config};

const LONG: Duration = Duration::from_secs(60);

/// Addresses that nobody listens on. Somebody may take one before we do; then the test fails loudly.
pub(super) fn free_addresses() -> [SocketAddr; 3] {
    let held = [(); 3].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    held.map(|listener| listener.local_addr().unwrap())
}

pub(super) fn config(
    name: &str,
    tls: &Path,
    data: &Path,
    peers: SocketAddr,
    members: &str,
) -> Config {
    let (tls, data, peers) =
        (tls.display().to_string(), data.display().to_string(), peers.to_string());
    let any = "127.0.0.1:0";
    Config::try_parse_from([
        "coordinator",
        "--mesh",
        MESH,
        "--name",
        name,
        "--data-dir",
        &data,
        "--tls-dir",
        &tls,
        "--listen-api",
        any,
        "--listen-probes",
        any,
        "--listen-public",
        any,
        "--listen-peers",
        &peers,
        "--initial-members",
        members,
    ])
    .unwrap()
}

/// The body of an answer of the public listener.
async fn get(bound: &Bound, path: &str) -> String {
    let mut stream = TcpStream::connect(bound.public.unwrap()).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: c\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_coordinators_that_are_told_of_one_another_form_a_group() {
    let ca = Ca::new("ca");
    let addresses = free_addresses();
    let names = ["c1", "c2", "c3"];
    let listed: Vec<String> =
        names.iter().zip(addresses).map(|(name, at)| format!("{name}={at}")).collect();
    let stop = CancellationToken::new();
    let mut running = JoinSet::new();
    let (mut dirs, mut answers) = (Vec::<TempDir>::new(), Vec::new());
    for (name, at) in names.iter().zip(addresses) {
        let tls = ca.issue(&format!("spiffe://{MESH}/coordinator/{name}"), 29, &[&ca]);
        let data = tempfile::tempdir().unwrap();
        let config = config(name, tls.path(), data.path(), at, &listed.join(","));
        let (ready, bound) = oneshot::channel();
        running.spawn(crate::run(config, stop.clone(), ready));
        dirs.extend([tls, data]);
        answers.push(bound);
    }
    let mut bound = Vec::new();
    for answer in answers {
        bound.push(tokio::time::timeout(LONG, answer).await.unwrap().unwrap());
    }
    let deadline = clock::instant() + LONG;
    loop {
        let (mut ready, mut leaders, mut connected) = (0, 0, 0);
        for one in &bound {
            ready += usize::from(get(one, "/readyz").await.contains("200 OK"));
            let metrics = get(one, "/metrics").await;
            leaders += metrics.matches("\nparallax_raft_is_leader 1").count();
            connected += metrics
                .lines()
                .filter(|line| line.starts_with("parallax_peer_connected{") && line.ends_with(" 1"))
                .count();
        }
        if (ready, leaders, connected) == (3, 1, 6) {
            break;
        }
        let state = format!("{ready} ready, {leaders} leaders, {connected} connections");
        assert!(clock::instant() < deadline, "{state}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let metrics = get(&bound[0], "/metrics").await;
    assert!(metrics.contains("parallax_peer_round_trip_seconds{member=\"c2\"}"), "{metrics}");
    assert!(metrics.contains("listener=\"peers\",reason=\"flood\"} 0"), "{metrics}");
    assert!(metrics.contains("streams_refused_total{reason=\"removed\"} 0"), "{metrics}");
    stop.cancel();
    while let Some(ended) = running.join_next().await {
        ended.unwrap().unwrap();
    }
}
