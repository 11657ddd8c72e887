//! The end of quiet: while this member leads, held incidents are looked at again when their time
//! comes. Apply decides what becomes of their pages.

use std::time::Duration;

use parallax_common::limits::{HELD_LOOK_EVERY, HELD_REVIEW_AGAIN_AFTER};
use parallax_proto::store;
use parallax_proto::store::entry::Command;
use parallax_runtime::clock;
use tokio::sync::watch;
use tracing::warn;

use crate::propose::{Origin, Proposer};
use crate::raft::member::Leadership;
use crate::view::View;

/// Proposes a look at held incidents whenever one is due, for as long as this member lives.
pub async fn run(
    view: View,
    proposer: Proposer,
    mut applied: watch::Receiver<u64>,
    mut leadership: watch::Receiver<Leadership>,
    name: String,
) {
    loop {
        applied.mark_unchanged();
        let leads = leadership.borrow_and_update().leader;
        let state = view.load();
        let due = state.review_at().filter(|_| leads);
        // By the clock of the log, as silences end by it: a leader before may have been ahead. Not
        // longer: the clock may be set meanwhile.
        let utc = clock::utc().max(state.last_utc());
        let wait = due.map(|due| due.since(utc).min(HELD_LOOK_EVERY));
        if wait == Some(Duration::ZERO) {
            let command = Command::ReviewHeld(store::ReviewHeld::default());
            if let Err(error) = proposer.write_here(Origin::leader(&name), command).await {
                warn!(%error, "pages that were held could not be looked at, trying again");
                tokio::time::sleep(HELD_REVIEW_AGAIN_AFTER).await;
            }
            continue;
        }
        let alive = tokio::select! {
            changed = applied.changed() => changed.is_ok(),
            changed = leadership.changed() => changed.is_ok(),
            () = sleep(wait) => true,
        };
        if !alive {
            // The node stops, and this task with it.
            return std::future::pending().await;
        }
    }
}

/// Nothing is due: something else ends the wait.
async fn sleep(wait: Option<Duration>) {
    match wait {
        Some(wait) => tokio::time::sleep(wait).await,
        None => std::future::pending().await,
    }
}
