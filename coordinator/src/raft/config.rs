//! What a member is started with.

use std::sync::Arc;

use parallax_common::limits;
use parallax_runtime::clock;

use super::outbound::Outbound;
use crate::store::rows::RowStore;
use crate::store::snapshot::SnapshotStore;

/// How a member behaves.
#[derive(Debug, Clone)]
pub struct Config {
    /// This member; never 0.
    pub node_id: u64,
    /// Who votes in the cluster that is to begin when the log is new. None: wait to be let in.
    pub bootstrap: Option<Vec<u64>>,
    /// A number that no earlier start of this member had.
    pub life: u64,
    /// Applied entries after which a snapshot is taken.
    pub snapshot_after_entries: u64,
    /// Applied bytes after which a snapshot is taken.
    pub snapshot_after_bytes: u64,
    /// Most bytes of entries in one message to a member.
    pub message_bytes_max: u64,
    /// Most messages with entries on their way to a member without an acknowledgement.
    pub inflight_max: usize,
}

impl Config {
    /// A member with the usual limits, told apart from its earlier lives by the time.
    pub fn new(node_id: u64, bootstrap: Option<Vec<u64>>) -> Self {
        let (utc, boot) = (clock::utc().as_ns() as u64, clock::boot_time().as_ns() as u64);
        Self {
            node_id,
            bootstrap,
            life: utc ^ boot.rotate_left(32),
            snapshot_after_entries: limits::SNAPSHOT_AFTER_ENTRIES,
            snapshot_after_bytes: limits::SNAPSHOT_AFTER_BYTES,
            message_bytes_max: limits::RAFT_MESSAGE_BYTES_MAX,
            inflight_max: limits::RAFT_INFLIGHT_MAX,
        }
    }
}

/// What a member keeps its state in, and where it speaks.
pub struct Stores<L> {
    /// The Raft log.
    pub log: L,
    /// The rows of the applied state.
    pub rows: Arc<dyn RowStore>,
    /// The snapshots.
    pub snapshots: Arc<dyn SnapshotStore>,
    /// The way to other members.
    pub outbound: Box<dyn Outbound>,
}
