//! Says to the cluster what this member knows of itself, whenever its row says something else.

use std::sync::Arc;
use std::time::Duration;

use imbl::OrdMap;
use parallax_proto::store;
use parallax_proto::store::entry::Command;
use tokio::sync::watch;
use tracing::{debug, warn};

use super::{Dismissal, Farewell};
use crate::core::state::{Refusal, State};
use crate::level::level;
use crate::propose::{Origin, Proposer, WriteError};
use crate::view::View;
use crate::{BUILD, raft};

/// Between two looks, and between two attempts.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// After a refusal, when no row of a member has changed meanwhile: the answer would be the same, and
/// each attempt is an entry in everybody's log.
const REFUSED_AGAIN_AFTER: Duration = Duration::from_secs(60);

type Members = OrdMap<u64, Arc<store::MemberRow>>;

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
            let members = state.members.clone();
            drop(state);
            let command = Command::AnnounceMember(account.command());
            match proposer.write(Origin::member(&account.name), command).await {
                Ok(_) => {}
                Err(WriteError::Refused(refusal)) => match farewell(&refusal) {
                    Some(farewell) => dismissal.dismiss(farewell),
                    None => {
                        warn!(why = refusal.message, "the cluster does not take what we are");
                        if news(&view, &members, &mut applied, REFUSED_AGAIN_AFTER).await.is_err() {
                            return;
                        }
                    }
                },
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

/// Waits until there is another state of the members, but not longer than this. An error: the node
/// is gone.
async fn news(
    view: &View,
    members: &Members,
    applied: &mut watch::Receiver<u64>,
    within: Duration,
) -> Result<(), watch::error::RecvError> {
    let changed = async {
        while view.load().members.ptr_eq(members) {
            applied.changed().await?;
        }
        Ok(())
    };
    tokio::time::timeout(within, changed).await.unwrap_or(Ok(()))
}

/// Why this member can never be part of its cluster again, if that is what the refusal means.
fn farewell(refusal: &Refusal) -> Option<Farewell> {
    use parallax_common::rule;
    let message = refusal.message.clone();
    match refusal.rule.as_ref() {
        rule if rule == rule::MEMBER_OTHER_DISK.id => Some(Farewell::OtherDisk(message)),
        rule if [rule::MEMBER_REMOVED.id, rule::MEMBER_OTHER_NAME.id].contains(&rule) => {
            Some(Farewell::Removed(message))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use super::*;

    fn state(node_ids: std::ops::RangeInclusive<u64>) -> State {
        let mut state = State::default();
        for node_id in node_ids {
            state.members.insert(node_id, Arc::default());
        }
        state
    }

    #[tokio::test]
    async fn what_was_refused_is_not_said_again_before_the_members_change_or_it_was_long_enough() {
        let view = View::default();
        view.publish(state(1..=2));
        let (told, mut applied) = watch::channel(0);
        let members = view.load().members.clone();
        {
            let waiting = news(&view, &members, &mut applied, REFUSED_AGAIN_AFTER);
            tokio::pin!(waiting);
            // Other entries are no news.
            for entry in 1..=100 {
                let mut same = State::clone(&view.load());
                same.applied = entry;
                view.publish(same);
                told.send_replace(entry);
                tokio::select! {
                    biased;
                    _ = &mut waiting => panic!("it would be said again at entry {entry}"),
                    () = ready(()) => {}
                }
            }
            // A row of a member is.
            view.publish(state(1..=3));
            told.send_replace(101);
            waiting.await.unwrap();
        }
        // Nothing happens, and it was long enough.
        let members = view.load().members.clone();
        news(&view, &members, &mut applied, Duration::ZERO).await.unwrap();
        // Nobody is left to tell.
        drop(told);
        assert!(news(&view, &members, &mut applied, REFUSED_AGAIN_AFTER).await.is_err());
    }
}
