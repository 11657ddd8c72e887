//! Raft's messages between members, put together: the way out for the Raft thread, the service that
//! takes what others send, and the task that keeps a link to each of them.

use std::sync::Arc;

use parallax_proto::peer::raft_service_server::RaftServiceServer;
use parallax_runtime::supervisor::Supervisor;
use raft::eraftpb::Message;

use super::Peers;
use super::arrival::Arrivals;
use super::gate::Gate;
use super::inbound::RaftPeer;
use super::links::{Links, PeerOutbound};
use crate::raft::fatal::Fatal;
use crate::raft::node::{NodeHandle, StepError};
use crate::raft::outbound::Carried;
use crate::store::snapshot::transfer::SnapshotTransfer;

/// What the transport tells Raft. Nothing here waits: `StepError` says that it was not taken.
pub trait Inbox: Send + Sync + 'static {
    /// Hands in a message of another member.
    fn step(&self, message: Message) -> Result<(), StepError>;
    /// Messages to this member were lost.
    fn unreachable(&self, node_id: u64) -> Result<(), StepError>;
    /// A snapshot reached this member, or did not.
    fn snapshot_sent(&self, to: u64, carried: Carried) -> Result<(), StepError>;
}

impl<O: Send + 'static> Inbox for NodeHandle<O> {
    fn step(&self, message: Message) -> Result<(), StepError> {
        NodeHandle::step(self, message)
    }

    fn unreachable(&self, node_id: u64) -> Result<(), StepError> {
        self.report_unreachable(node_id)
    }

    fn snapshot_sent(&self, to: u64, carried: Carried) -> Result<(), StepError> {
        self.report_snapshot(to, carried)
    }
}

/// The transport of a member whose Raft node has not started yet.
pub struct Transport {
    peers: Peers,
    gate: Gate,
    snapshots: Arc<dyn SnapshotTransfer>,
    links: Links,
}

impl Transport {
    /// The transport, and the way out to start the node with.
    pub fn new(
        peers: Peers,
        gate: Gate,
        snapshots: Arc<dyn SnapshotTransfer>,
    ) -> (Self, PeerOutbound) {
        let (links, outbound) = Links::new(peers.clone(), gate.clone(), Arc::clone(&snapshots));
        (Self { peers, gate, snapshots, links }, outbound)
    }

    /// What others dial.
    pub fn service(
        &self,
        inbox: Arc<dyn Inbox>,
        supervisor: &Supervisor,
        fatal: Fatal,
    ) -> RaftServiceServer<RaftPeer> {
        let arrivals = Arrivals::new(Arc::clone(&self.snapshots), fatal);
        let (gate, peers) = (self.gate.clone(), self.peers.clone());
        RaftPeer { gate, peers, inbox, arrivals, supervisor: supervisor.clone() }.into_service()
    }

    /// Keeps a link to every member in the book, until the supervisor stops. `seed` is for the
    /// jitter of its dials.
    pub async fn run(self, inbox: Arc<dyn Inbox>, supervisor: Supervisor, seed: u64) {
        self.links.run(inbox, supervisor, seed).await;
    }
}
