//! Later steps and reminders of routes: while this member leads, open incidents are looked at when the
//! next one is due. Apply decides who is told.

use std::time::Duration;

use parallax_common::limits::{ESCALATE_AGAIN_AFTER, ESCALATE_LOOK_EVERY};
use parallax_proto::store;
use parallax_proto::store::entry::Command;
use parallax_runtime::clock;
use tracing::warn;

use crate::office::Office;
use crate::propose::{Origin, Proposer};
use crate::view::View;

/// Proposes what is due whenever something is, for as long as this member lives.
pub async fn run(view: View, proposer: Proposer, mut office: Office, name: String) {
    loop {
        let leads = office.leads();
        let state = view.load();
        let due = state.escalate_at().filter(|_| leads);
        // By the clock of the log, as all that is due is. Not longer: a clock may be set meanwhile.
        let utc = clock::utc().max(state.last_utc());
        let wait = due.map(|due| due.since(utc).min(ESCALATE_LOOK_EVERY));
        if wait == Some(Duration::ZERO) {
            let command = Command::Escalate(store::Escalate::default());
            if let Err(error) = proposer.write_here(Origin::leader(&name), command).await {
                warn!(%error, "nobody else could be told of what is still open, trying again");
                tokio::time::sleep(ESCALATE_AGAIN_AFTER).await;
            }
            continue;
        }
        office.wait(wait).await;
    }
}
