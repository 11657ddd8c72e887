//! How a member does, for those who ask.

use std::time::Duration;

use super::standstill::Standstill;
use crate::core::membership::{Group, Seen};

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

/// How the leader gets entries to another member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// It finds out what the other has.
    Probing,
    /// It sends entries as they come.
    Replicating,
    /// It sends a snapshot.
    Snapshot,
}

/// Another member as the leader sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerStatus {
    /// Who.
    pub node_id: u64,
    /// Everything up to this index is known to be in its log.
    pub matched: u64,
    /// Entries of the leader's log that are not.
    pub lag: u64,
    /// How entries get there.
    pub progress: Progress,
    /// Heard since the last check of the quorum, as Raft counts it.
    pub recent_active: bool,
    /// Since its last answer; none while there was none under this leadership.
    pub heard_ago: Option<Duration>,
    /// For how long it has answered without a gap.
    pub steady_for: Duration,
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
    /// Who gets the log and does not vote.
    pub learners: Vec<u64>,
    /// Where it stands still because of its build, if it does.
    pub standstill: Option<Standstill>,
    /// A change of the members is proposed and not applied yet, as far as a leader knows.
    pub change_pending: bool,
    /// The others as a leader sees them; empty on all other members.
    pub peers: Vec<PeerStatus>,
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

impl Status {
    /// The group as this leader sees it.
    pub fn group(&self) -> Group {
        let seen = self.peers.iter().map(|peer| {
            let PeerStatus { lag, heard_ago, steady_for, .. } = *peer;
            (peer.node_id, Seen { lag, heard_ago, steady_for })
        });
        Group {
            leader: self.node_id,
            voters: self.voters.clone(),
            learners: self.learners.clone(),
            seen: seen.collect(),
            pending: self.change_pending,
        }
    }
}
