//! How the members do: what this one says of itself, and what it hears from the others.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parallax_common::limits::MEMBER_ACCOUNT_WITHIN;
use parallax_proto::convert::time::duration_to;
use parallax_proto::peer;
use parallax_proto::peer::member_service_client::MemberServiceClient;
use parallax_runtime::clock;
use parallax_runtime::error::causes;
use parallax_runtime::transport::dial_error;
use tonic::Status;

use crate::BUILD;
use crate::core::state::Answer;
use crate::history::History;
use crate::level::level;
use crate::peers::Peers;
use crate::peers::gate::Gate;
use crate::raft::node::NodeHandle;
use crate::raft::status::Progress;

/// What this member says of itself.
#[derive(Clone)]
pub struct Accounts {
    node: NodeHandle<Answer>,
    data_dir: PathBuf,
    peers: Peers,
    gate: Gate,
    history: Arc<dyn History>,
}

/// What one member said, and how long that took.
#[derive(Debug, Clone)]
pub struct Heard {
    /// Its account.
    pub account: peer::GetMemberResponse,
    /// From the question to the answer; none for this member itself.
    pub round_trip: Option<Duration>,
}

impl Accounts {
    /// Accounts of this member, whose data is in `data_dir`, and of the others in the book.
    pub fn new(
        node: NodeHandle<Answer>,
        data_dir: PathBuf,
        peers: Peers,
        gate: Gate,
        history: Arc<dyn History>,
    ) -> Self {
        Self { node, data_dir, peers, gate, history }
    }

    /// How this member does.
    pub async fn own(&self) -> peer::GetMemberResponse {
        let dir = self.data_dir.clone();
        let sizes = tokio::task::spawn_blocking(move || {
            ["log", "rows", "snapshots", "history"].map(|part| bytes_under(&dir.join(part)))
        });
        // An error is a panic, of which there is none: sizes are for people to read.
        let [log_bytes, rows_bytes, snapshot_bytes, history_bytes] =
            sizes.await.unwrap_or_default();
        let status = self.node.status();
        let peers = status.peers.iter().map(|peer| peer::PeerProgress {
            node_id: peer.node_id,
            matched: peer.matched,
            lag: peer.lag,
            state: match peer.progress {
                Progress::Probing => peer::PeerState::Probing,
                Progress::Replicating => peer::PeerState::Replicating,
                Progress::Snapshot => peer::PeerState::Snapshot,
            }
            .into(),
            heard_ago: peer.heard_ago.map(duration_to),
            steady_for: Some(duration_to(peer.steady_for)),
        });
        peer::GetMemberResponse {
            node_id: status.node_id,
            leader_id: status.leader_id.unwrap_or(0),
            term: status.term,
            commit: status.commit,
            applied: status.applied,
            first_index: status.first_index,
            last_index: status.last_index,
            voters: status.voters.clone(),
            learners: status.learners.clone(),
            peers: peers.collect(),
            log_sync_p50: Some(duration_to(status.log_sync_p50)),
            log_sync_p99: Some(duration_to(status.log_sync_p99)),
            log_bytes,
            rows_bytes,
            snapshot_bytes,
            history_bytes,
            build: BUILD.to_owned(),
            level: level(),
            stands_still: status.standstill.map(|it| it.to_string()).unwrap_or_default(),
            history_full: self.history.stats().full.is_some(),
        }
    }

    /// Asks `node_id` how it does; this member too. In words, why there is no answer.
    pub async fn of(&self, node_id: u64) -> Result<Heard, String> {
        if node_id == self.gate.node_id() {
            return Ok(Heard { account: self.own().await, round_trip: None });
        }
        let Some(channel) = self.peers.channel(node_id) else {
            return Err("its address is not known here".to_owned());
        };
        let request = peer::GetMemberRequest { hello: Some(self.gate.hello(node_id)) };
        let began = clock::instant();
        let mut client = MemberServiceClient::new(channel);
        match tokio::time::timeout(MEMBER_ACCOUNT_WITHIN, client.get_member(request)).await {
            Ok(Ok(answer)) => Ok(Heard {
                account: answer.into_inner(),
                round_trip: Some(clock::instant().duration_since(began)),
            }),
            Ok(Err(status)) => Err(in_words(&status)),
            Err(_) => Err(format!("no answer within {} s", MEMBER_ACCOUNT_WITHIN.as_secs())),
        }
    }
}

fn in_words(status: &Status) -> String {
    match dial_error(status) {
        Some(error) => causes(error),
        None => status.message().to_owned(),
    }
}

/// Bytes of the files under a directory. What is deleted meanwhile is not there.
fn bytes_under(path: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(path) else { return 0 };
    let sizes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(meta) if meta.is_dir() => bytes_under(&entry.path()),
        Ok(meta) => meta.len(),
        Err(_) => 0,
    });
    sizes.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_of_a_directory_is_that_of_all_its_files() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(bytes_under(&dir.path().join("none")), 0);
        std::fs::create_dir(dir.path().join("inner")).unwrap();
        std::fs::write(dir.path().join("a"), [0; 10]).unwrap();
        std::fs::write(dir.path().join("inner/b"), [0; 32]).unwrap();
        assert_eq!(bytes_under(dir.path()), 42);
    }
}
