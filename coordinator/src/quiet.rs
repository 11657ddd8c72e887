//! The end of quiet: while this member leads, held incidents are looked at again when their time
//! comes. Apply decides what becomes of their pages.

use std::time::Duration;

use parallax_common::limits::{HELD_LOOK_EVERY, HELD_REVIEW_AGAIN_AFTER};
use parallax_proto::store;
use parallax_proto::store::entry::Command;
use parallax_runtime::clock;
use tracing::warn;

use crate::office::Office;
use crate::propose::{Origin, Proposer};
use crate::view::View;

/// Proposes a look at held incidents whenever one is due, for as long as this member lives.
pub async fn run(view: View, proposer: Proposer, mut office: Office, name: String) {
    loop {
        let leads = office.leads();
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
        office.wait(wait).await;
    }
}
