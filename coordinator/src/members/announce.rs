//! Says to the cluster what this member knows of itself, whenever its row says something else.

use std::time::Duration;

use parallax_proto::store;
use parallax_proto::store::entry::Command;
use tokio::sync::watch;
use tracing::{debug, warn};

use super::Dismissal;
use crate::core::state::{Refusal, State};
use crate::level::level;
use crate::propose::{Origin, Proposer, WriteError};
use crate::view::View;
use crate::{BUILD, raft};

/// Between two looks, and between two attempts.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// What this member says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Account {
    /// Its number.
    pub node_id: u64,
    /// Its name.
    pub name: String,
    /// Its disk.
    pub disk_id: String,
    /// Where other members reach it; empty: as its row says.
    pub peer_address: String,
    /// Where probes reach it, if anywhere.
    pub probe_address: String,
    /// Where people reach it, if anywhere.
    pub api_address: String,
}

impl Account {
    /// The command that makes the row say so.
    pub fn command(&self) -> store::AnnounceMember {
        store::AnnounceMember {
            node_id: self.node_id,
            name: self.name.clone(),
            disk_id: self.disk_id.clone(),
            peer_address: self.peer_address.clone(),
            probe_address: self.probe_address.clone(),
            api_address: self.api_address.clone(),
            build: BUILD.to_owned(),
            level: level(),
        }
    }

    /// Whether the row is to be changed.
    fn differs(&self, state: &State) -> bool {
        let Some(row) = state.members.get(&self.node_id) else { return false };
        let same_peer = self.peer_address.is_empty() || row.peer_address == self.peer_address;
        let same = row.disk_id == self.disk_id
            && same_peer
            && row.probe_address == self.probe_address
            && row.api_address == self.api_address
            && row.build == BUILD
            && row.level == level();
        !row.removed && !same
    }
}

/// Runs until the node is gone.
pub async fn announce(
    account: Account,
    view: View,
    proposer: Proposer,
    mut applied: watch::Receiver<u64>,
    dismissal: Dismissal,
) {
    let mut seen = None;
    loop {
        let state = view.load();
        let new = seen.as_ref().is_none_or(|seen| !state.members.ptr_eq(seen));
        if new && account.differs(&state) {
            drop(state);
            let command = Command::AnnounceMember(account.command());
            match proposer.write(Origin::member(&account.name), command).await {
                Ok(_) => {}
                Err(WriteError::Refused(refusal)) if is_final(&refusal) => {
                    dismissal.dismiss(refusal.message);
                }
                Err(WriteError::Refused(refusal)) => {
                    warn!(why = refusal.message, "the cluster does not take what we are");
                }
                Err(WriteError::Propose(raft::node::ProposeError::Stopped)) => return,
                Err(error) => debug!(%error, "not announced yet"),
            }
            tokio::time::sleep(AGAIN_AFTER).await;
            continue;
        }
        seen = Some(state.members.clone());
        drop(state);
        if applied.changed().await.is_err() {
            return;
        }
    }
}

/// Whether this member can never be part of its cluster again.
pub fn is_final(refusal: &Refusal) -> bool {
    use parallax_common::rule;
    [rule::MEMBER_REMOVED, rule::MEMBER_OTHER_NAME, rule::MEMBER_OTHER_DISK]
        .iter()
        .any(|rule| rule.id == refusal.rule)
}
