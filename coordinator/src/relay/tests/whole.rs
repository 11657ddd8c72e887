//! Three whole coordinators, as their processes run them, and a probe that reaches only one of them,
//! which does not lead.

use std::path::Path;

use clap::Parser as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use super::*;
use crate::{Bound, Config};

struct Running {
    bound: Bound,
    stop: CancellationToken,
    ended: oneshot::Receiver<Result<(), crate::RunError>>,
    _dirs: [TempDir; 2],
}

fn config(name: &str, tls: &Path, data: &Path, peers: SocketAddr, members: &str) -> Config {
    let (tls, data, peers) =
        (tls.display().to_string(), data.display().to_string(), peers.to_string());
    let any = "127.0.0.1:0";
    let fixed = ["coordinator", "--mesh", MESH, "--name", name, "--data-dir", &data];
    let addresses = ["--tls-dir", &tls, "--listen-api", any, "--listen-probes", any];
    let group = ["--listen-public", any, "--listen-peers", &peers, "--initial-members", members];
    Config::try_parse_from(fixed.into_iter().chain(addresses).chain(group)).unwrap()
}

async fn start(ca: &Ca, supervisor: &Supervisor) -> Vec<Running> {
    let held = [(); 3].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let addresses = held.map(|listener| listener.local_addr().unwrap());
    let names = ["c1", "c2", "c3"];
    let listed: Vec<String> =
        names.iter().zip(addresses).map(|(name, at)| format!("{name}={at}")).collect();
    let mut starting = Vec::new();
    for (name, at) in names.iter().zip(addresses) {
        let (tls, data) = (ca.issue(&format!("coordinator/{name}")), tempfile::tempdir().unwrap());
        let config = config(name, tls.path(), data.path(), at, &listed.join(","));
        let (stop, (ready, bound)) = (CancellationToken::new(), oneshot::channel());
        let (done, ended) = oneshot::channel();
        let until = stop.clone();
        supervisor.spawn(TaskKind::Session("coordinator"), async move {
            let _ = done.send(crate::run(config, until, ready).await);
        });
        starting.push((bound, stop, ended, [tls, data]));
    }
    let mut running = Vec::new();
    for (bound, stop, ended, dirs) in starting {
        let bound = tokio::time::timeout(3 * LONG, bound).await.unwrap().unwrap();
        running.push(Running { bound, stop, ended, _dirs: dirs });
    }
    running
}

impl Running {
    /// The value of a metric.
    async fn metric(&self, name: &str) -> u64 {
        let mut stream = TcpStream::connect(self.bound.public.unwrap()).await.unwrap();
        let request = "GET /metrics HTTP/1.1\r\nHost: c\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let line = answer.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.parse().ok()).unwrap_or(0)
    }
}

/// Who leads, once exactly one does.
async fn leader(running: &[Running]) -> usize {
    let deadline = clock::instant() + 3 * LONG;
    loop {
        let mut leaders = Vec::new();
        for (n, one) in running.iter().enumerate() {
            if one.metric("parallax_raft_is_leader").await == 1 {
                leaders.push(n);
            }
        }
        if let [one] = leaders[..] {
            return one;
        }
        assert!(clock::instant() < deadline, "{leaders:?} lead");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Polls until every one of these has a value.
async fn until(what: &str, wanted: &[(&Running, &str, u64)]) {
    let deadline = clock::instant() + 3 * LONG;
    for (running, name, value) in wanted {
        loop {
            let now = running.metric(name).await;
            if now == *value {
                break;
            }
            assert!(clock::instant() < deadline, "{what}: {name} is {now}, not {value}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_probe_that_reaches_one_follower_is_live_for_every_leader() {
    let (ca, supervisor) = (Ca::new(), Supervisor::default());
    let mut running = start(&ca, &supervisor).await;
    let first = leader(&running).await;
    let holder = (first + 1) % 3;
    let mut probe = Probe::dial(&ca, running[holder].bound.probes).await;
    supervisor.spawn(TaskKind::Session("probe"), async move {
        // What a probe says first, and whenever it is asked to.
        let mut wanted = true;
        loop {
            if std::mem::take(&mut wanted) {
                probe.snapshot().await;
                probe.beat(true).await;
            }
            wanted = probe.hear(|frame| Some(matches!(frame, Down::SnapshotRequest(_)))).await;
        }
    });
    until(
        "the leader listens through the follower, and has its row written",
        &[
            (&running[first], "parallax_relayed_lanes", 1),
            (&running[holder], "parallax_lanes_relayed_to_others", 1),
            (&running[first], "parallax_probes_live", 1),
            (&running[holder], "parallax_probes_live", 1),
        ],
    )
    .await;
    // The leader stops; whoever leads next hears the probe, by itself or by a relay.
    let gone = running.remove(first);
    gone.stop.cancel();
    gone.ended.await.unwrap().unwrap();
    let holder = usize::from(running[0].metric("parallax_sessions_open").await == 0);
    let next = leader(&running).await;
    let listener = 1 - holder;
    until("listened to after the failover", &[(&running[listener], "parallax_relayed_lanes", 1)])
        .await;
    // Past the grace of the new leader: nobody was lost meanwhile.
    let deadline = clock::instant() + Duration::from_secs(12);
    while clock::instant() < deadline {
        assert_eq!(running[next].metric("parallax_probes_live").await, 1);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    for one in running {
        one.stop.cancel();
        one.ended.await.unwrap().unwrap();
    }
    supervisor.stop();
}
