//! What a member says of itself and of those that it leads.

use std::time::Duration;

use raft::{ProgressState, StateRole};

use super::Member;
use crate::raft::log::LogStore;
use crate::raft::machine::Machine;
use crate::raft::status::{PeerStatus, Progress, Role, Status};

impl<M: Machine, L: LogStore> Member<M, L> {
    /// How the member does. The quantiles are of the last 512 syncs of the log.
    pub fn status(&self) -> Status {
        let (log_sync_p50, log_sync_p99) = self.log_syncs.quantiles();
        let backlog = self.behind.backlog();
        let raft = &self.raw.raft;
        let log = &self.raw.store().log;
        Status {
            node_id: self.config.node_id,
            leader_id: self.leader(),
            role: match raft.state {
                StateRole::Leader => Role::Leader,
                StateRole::Follower => Role::Follower,
                StateRole::Candidate | StateRole::PreCandidate => Role::Candidate,
            },
            term: raft.term,
            commit: raft.raft_log.committed,
            applied: self.applied.index,
            stored: backlog.synced,
            first_index: log.first_index(),
            last_index: log.last_index(),
            voters: sorted(&self.raw.store().conf_state.voters),
            learners: sorted(&self.raw.store().conf_state.learners),
            standstill: self.standstill(),
            change_pending: self.is_leader()
                && (self.changes.is_pending() || raft.has_pending_conf()),
            peers: if self.is_leader() { self.peers() } else { Vec::new() },
            proposals_pending: self.proposals.len(),
            reads_pending: self.reads.len(),
            store_batches_waiting: backlog.batches,
            store_stalls: backlog.stalls,
            log_sync_p50,
            log_sync_p99,
        }
    }

    /// How many rounds of reads were lost, in this life, and asked again.
    pub fn reads_asked_again(&self) -> u64 {
        self.reads.asked_again()
    }

    /// Of the others, those that a leader heard within so long: [`Self::status`] without the rest.
    pub fn heard_within(&self, within: Duration) -> impl Iterator<Item = u64> {
        let others = self.raw.raft.prs().iter().map(|(id, _)| *id);
        others.filter(move |id| {
            *id != self.config.node_id
                && self.heard.of(*id, self.now).0.is_some_and(|ago| ago <= within)
        })
    }

    /// The others, in order of their ids.
    fn peers(&self) -> Vec<PeerStatus> {
        let raft = &self.raw.raft;
        let last = raft.raft_log.last_index();
        let others = raft.prs().iter().filter(|(id, _)| **id != self.config.node_id);
        let mut peers: Vec<PeerStatus> = others
            .map(|(id, progress)| {
                let (heard_ago, steady_for) = self.heard.of(*id, self.now);
                PeerStatus {
                    node_id: *id,
                    matched: progress.matched,
                    lag: last.saturating_sub(progress.matched),
                    progress: match progress.state {
                        ProgressState::Probe => Progress::Probing,
                        ProgressState::Replicate => Progress::Replicating,
                        ProgressState::Snapshot => Progress::Snapshot,
                    },
                    recent_active: progress.recent_active,
                    heard_ago,
                    steady_for,
                }
            })
            .collect();
        peers.sort_unstable_by_key(|peer| peer.node_id);
        peers
    }
}

/// Raft keeps its members in no order.
fn sorted(ids: &[u64]) -> Vec<u64> {
    let mut ids = ids.to_vec();
    ids.sort_unstable();
    ids
}
