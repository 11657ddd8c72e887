//! Follows the member rows: the address book is what they say, and a member that is removed stops.

use std::path::PathBuf;

use parallax_proto::store;
use tokio::sync::watch;
use tracing::warn;

use super::{Dismissal, Farewell};
use crate::identity::Identity;
use crate::peers::Peers;
use crate::view::View;

/// What [`follow`] works with.
pub struct Parts {
    /// The published state.
    pub view: View,
    /// The last applied index, as it grows.
    pub applied: watch::Receiver<u64>,
    /// The book to be kept.
    pub peers: Peers,
    /// To be told when this member's row is removed.
    pub dismissal: Dismissal,
    /// Who this member is.
    pub identity: Identity,
    /// Where that is kept.
    pub data_dir: PathBuf,
}

/// Runs until the node is gone.
pub async fn follow(parts: Parts) {
    let Parts { view, mut applied, peers, dismissal, mut identity, data_dir } = parts;
    let mut seen = None;
    loop {
        let state = view.load();
        if !identity.begun && state.applied > 0 {
            identity.begun = true;
            if let Err(error) = identity.keep(&data_dir) {
                // A later start asks to be let in again, which finds the same node id.
                warn!(%error, "it could not be noted that this member has begun");
            }
        }
        // Not by what the batches say has changed: a snapshot brings rows without saying so.
        let members = &state.members;
        if !members.is_empty() && seen.as_ref().is_none_or(|seen| !members.ptr_eq(seen)) {
            peers.learn_rows(members.values().map(AsRef::<store::MemberRow>::as_ref));
            if let Some(why) = removed(&state, identity.node_id) {
                dismissal.dismiss(Farewell::Removed(why));
            }
            seen = Some(members.clone());
        }
        drop(state);
        if applied.changed().await.is_err() {
            return;
        }
    }
}

fn removed(state: &crate::core::state::State, node_id: u64) -> Option<String> {
    let row = state.members.get(&node_id)?;
    row.removed.then(|| format!("member {node_id} (\"{}\") was removed from the cluster", row.name))
}
