//! Handing over by oneself: a leader that has to stop lets the voter lead that lacks the least.

use std::time::Duration;

use parallax_runtime::clock;
use tracing::{info, warn};

use crate::core::state::Answer;
use crate::peers::Peers;
use crate::raft::node::{NodeHandle, TransferError};
use crate::raft::status::{Role, Status};
use crate::view::View;

/// Between two looks of a leader that has not heard anybody yet.
const POLL: Duration = Duration::from_millis(20);

/// The level of a member's build, when it is below that of the cluster: it must not lead.
pub fn low_level(node_id: u64, peers: &Peers, view: &View) -> Option<u32> {
    let level = view.load().cluster.level;
    peers.level_of(node_id).filter(|theirs| *theirs < level)
}

/// Who may lead after this member, whose status it is; the one that lacks the least first.
pub fn successors(status: &Status, peers: &Peers, view: &View) -> Vec<u64> {
    let able = status.group().successors().into_iter();
    able.filter(|id| low_level(*id, peers, view).is_none()).collect()
}

/// Hands over if this member leads, within the time allowed. Whether somebody else leads now; a
/// lone voter has nobody.
///
/// A voter whose build is below the level of the cluster is passed over: it must not lead.
pub async fn hand_over(
    node: &NodeHandle<Answer>,
    peers: &Peers,
    view: &View,
    within: Duration,
) -> bool {
    let until = clock::instant() + within;
    let mut tried = Vec::new();
    loop {
        let status = node.status();
        if status.role != Role::Leader {
            return status.leader_id.is_some();
        }
        let left = until.saturating_duration_since(clock::instant());
        if status.voters == [status.node_id] || left.is_zero() {
            return false;
        }
        let mut able = successors(&status, peers, view).into_iter();
        let Some(next) = able.find(|id| !tried.contains(id)) else {
            tokio::time::sleep(POLL.min(left)).await;
            continue;
        };
        let name = |id: u64| peers.get(id).map(|peer| peer.name).unwrap_or_default();
        match node.transfer_leadership(next, left).await {
            Ok(()) => {
                info!(to = name(next), "handed the leadership over");
                return true;
            }
            Err(TransferError::Stopped | TransferError::NotLeader { .. }) => {}
            // A person's, which is as good.
            Err(TransferError::Pending(_)) => tokio::time::sleep(POLL.min(left)).await,
            Err(error) => {
                warn!(to = name(next), error = %error.named(name), "not handed over");
                tried.push(next);
            }
        }
        if *node.ended().borrow() {
            return false;
        }
    }
}
