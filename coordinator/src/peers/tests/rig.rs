//! Members with real sockets, TLS and snapshot files; their logs and rows are twins in memory, which
//! outlive them as disks do.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use parallax_proto::peer::PeerHello;
use parallax_proto::store::MemberRow;
use parallax_runtime::clock;
use parallax_runtime::supervisor::{Supervisor, TaskKind};
use parallax_runtime::transport::{Accepts, Credentials, Listener, RefusalCounters, serve};
use parking_lot::Mutex;
use raft::eraftpb::{Message, MessageType};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, SanType,
};
use tempfile::TempDir;
use tonic::service::Routes;

use super::super::gate::{Gate, Own};
use super::super::transport::Transport;
use super::super::{Peer, Peers};
use crate::core::peering::Group;
use crate::raft::config::{Config, Stores};
use crate::raft::fatal::Fatal;
use crate::raft::log::memory::{MemDisk, MemLog};
use crate::raft::node::{self, NodeHandle};
use crate::raft::test_machine::{Entries, TestMachine, entry};
use crate::store::rows::memory::MemRows;
use crate::store::snapshot::file::FileSnapshots;

pub(super) const MESH: &str = "demo";
pub(super) const CLUSTER: &str = "cluster-of-tests";
const LONG: Duration = Duration::from_secs(30);

/// An authority and what it issues.
pub(super) struct Ca(CertifiedIssuer<'static, KeyPair>);

impl Ca {
    pub(super) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// A directory with a certificate for `uri` that ends in so many days, and with the authorities
    /// to trust.
    pub(super) fn issue(&self, uri: &str, days: i64, trusts: &[&Ca]) -> TempDir {
        let mut params = CertificateParams::default();
        let now_s = clock::utc().as_ns() / 1_000_000_000;
        let at = |day: i64| UNIX_EPOCH + Duration::from_secs((now_s + day * 86_400) as u64);
        (params.not_before, params.not_after) = (at(days - 30).into(), at(days).into());
        params.subject_alt_names.push(SanType::URI(uri.try_into().unwrap()));
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.0).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: String| std::fs::write(dir.path().join(name), text).unwrap();
        write("ca.pem", trusts.iter().map(|ca| ca.0.pem()).collect());
        write("cert.pem", cert.pem());
        write("key.pem", key.serialize_pem());
        dir
    }

    pub(super) fn credentials(&self, uri: &str) -> Credentials {
        Credentials::load(self.issue(uri, 29, &[self]).path()).unwrap()
    }

    pub(super) fn coordinator(&self, node_id: u64) -> Credentials {
        self.credentials(&format!("spiffe://{MESH}/coordinator/c{node_id}"))
    }
}

/// What outlives the process of a member.
pub(super) struct Site {
    pub(super) node_id: u64,
    pub(super) credentials: Credentials,
    disk: MemDisk,
    rows: MemRows,
    snapshots: TempDir,
    pub(super) group: Arc<Mutex<Group>>,
}

/// A row of the members' table.
pub(super) fn row(node_id: u64) -> MemberRow {
    MemberRow {
        node_id,
        name: format!("c{node_id}"),
        disk_id: format!("disk-{node_id}"),
        ..MemberRow::default()
    }
}

impl Site {
    /// A member whose group has these members.
    pub(super) fn new(ca: &Ca, node_id: u64, members: &[u64]) -> Self {
        let group = Group {
            mesh: MESH.to_owned(),
            cluster_id: CLUSTER.to_owned(),
            node_id,
            members: members.iter().map(|id| (*id, Arc::new(row(*id)))).collect(),
            told: BTreeMap::new(),
        };
        Self {
            node_id,
            credentials: ca.coordinator(node_id),
            disk: MemDisk::default(),
            rows: MemRows::default(),
            snapshots: tempfile::tempdir().unwrap(),
            group: Arc::new(Mutex::new(group)),
        }
    }

    pub(super) fn snapshots(&self) -> &Path {
        self.snapshots.path()
    }

    pub(super) fn own(&self, address: &str) -> Own {
        Own {
            node_id: self.node_id,
            disk_id: format!("disk-{}", self.node_id),
            build: format!("build of {}", self.node_id),
            level: crate::level::level(),
            peer_address: address.to_owned(),
        }
    }

    /// The hello that this member says to another one.
    pub(super) fn hello(&self, to: u64) -> PeerHello {
        let group = self.group.lock().clone();
        Gate::new(self.own(""), move || group.clone()).hello(to)
    }

    /// A message of this member's Raft node to another one, which means nothing.
    pub(super) fn heartbeat(&self, to: u64) -> Message {
        let mut message = Message { from: self.node_id, to, term: 1, ..Message::default() };
        message.set_msg_type(MessageType::MsgHeartbeatResponse);
        message
    }

    /// Starts its process. `voters` begin the group; none: it waits to be let in.
    pub(super) async fn start(&self, voters: Option<&[u64]>) -> Process {
        let supervisor = Supervisor::default();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener =
            Listener::bind(any, Accepts::Peers, &self.credentials, &supervisor).await.unwrap();
        let address = listener.local_addr();
        let refusals = listener.refusals();
        let group = Arc::clone(&self.group);
        let gate = Gate::new(self.own(&address.to_string()), move || group.lock().clone());
        let peers = Peers::new(self.credentials.clone(), self.node_id);
        let snapshots = Arc::new(FileSnapshots::open(self.snapshots.path()).unwrap());
        let (transport, outbound) =
            Transport::new(peers.clone(), gate.clone(), Arc::clone(&snapshots) as _);
        let stores = Stores {
            log: MemLog::open(&self.disk).unwrap(),
            rows: Arc::new(self.rows.clone()),
            snapshots,
            outbound: Box::new(outbound),
        };
        let seen = Arc::default();
        let machine = TestMachine::publishing(&seen);
        let mut config = Config::new(self.node_id, voters.map(<[u64]>::to_vec));
        config.snapshot_after_entries = 40;
        let fatal: Fatal = Arc::new(|reason| panic!("{reason}"));
        let node = node::start(config, machine, stores, Arc::clone(&fatal)).unwrap();
        let service = transport.service(Arc::new(node.clone()), &supervisor, fatal);
        let stop = supervisor.stop_token();
        supervisor.spawn(TaskKind::Session("peer listener"), async move {
            serve(listener, Routes::new(service), stop).await.unwrap();
        });
        let run = transport.run(Arc::new(node.clone()), supervisor.clone(), self.node_id);
        supervisor.spawn(TaskKind::Session("peer links"), run);
        Process { node_id: self.node_id, node, peers, gate, refusals, address, seen, supervisor }
    }
}

/// A member that runs.
pub(super) struct Process {
    pub(super) node_id: u64,
    pub(super) node: NodeHandle<usize>,
    pub(super) peers: Peers,
    pub(super) gate: Gate,
    pub(super) refusals: Arc<RefusalCounters>,
    pub(super) address: SocketAddr,
    seen: Arc<Mutex<Entries>>,
    supervisor: Supervisor,
}

impl Process {
    pub(super) fn peer(&self) -> Peer {
        let address = self.address.to_string();
        Peer { node_id: self.node_id, name: format!("c{}", self.node_id), address }
    }

    pub(super) fn seen(&self) -> Entries {
        self.seen.lock().clone()
    }

    pub(super) async fn propose(&self, value: u64) {
        self.node.propose(entry(value), LONG).await.unwrap();
    }

    pub(super) fn refused(&self, reason: &str) -> u64 {
        let found = self.gate.refusals().into_iter().find(|(name, _)| *name == reason);
        found.unwrap_or_else(|| panic!("no reason {reason}")).1
    }

    pub(super) async fn stop(self) {
        self.supervisor.stop();
        assert!(self.supervisor.join(Duration::from_secs(10)).await, "a task did not end");
        self.node.stop().await;
    }
}

/// Tells everybody where everybody is.
pub(super) fn introduce(processes: &[&Process]) {
    for one in processes {
        one.peers.learn(processes.iter().map(|other| other.peer()));
    }
}

/// Waits until one of them leads, and says which.
pub(super) async fn leader(processes: &[&Process]) -> usize {
    let mut found = None;
    let leads = |process: &&Process| process.node.leadership().borrow().leader;
    eventually("a leader", || {
        found = processes.iter().position(leads);
        found.is_some()
    })
    .await;
    found.unwrap()
}

pub(super) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = clock::instant() + LONG;
    while !holds() {
        assert!(clock::instant() < deadline, "no {what} within {} s", LONG.as_secs());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
