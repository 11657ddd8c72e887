//! How a member does, for those who ask.

use std::time::Duration;

/// What a member is in its term.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It orders the entries.
    Leader,
    /// It follows a leader, or waits for one.
    Follower,
    /// It stands for election.
    Candidate,
}

/// How a member does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// This member.
    pub node_id: u64,
    /// Who leads, when it is known.
    pub leader_id: Option<u64>,
    /// What this member is.
    pub role: Role,
    /// The present term.
    pub term: u64,
    /// The last committed index.
    pub commit: u64,
    /// The last applied index.
    pub applied: u64,
    /// The last index whose rows are written and synced.
    pub stored: u64,
    /// The first entry in the log.
    pub first_index: u64,
    /// The last entry in the log.
    pub last_index: u64,
    /// Who votes.
    pub voters: Vec<u64>,
    /// Proposals without an answer.
    pub proposals_pending: usize,
    /// Reads without an answer.
    pub reads_pending: usize,
    /// Applied batches that wait for the row store.
    pub store_batches_waiting: usize,
    /// How often apply had to wait for the row store.
    pub store_stalls: u64,
    /// Half of the last writes to the log took at most this.
    pub log_sync_p50: Duration,
    /// All but one in a hundred took at most this.
    pub log_sync_p99: Duration,
}
