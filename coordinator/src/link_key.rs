//! The key that signs links in pages: made once, by whoever leads when somebody first asks for links.

use bytes::Bytes;
use parallax_common::limits::{ACK_LINK_KEY_BYTES, LINK_KEY_AGAIN_AFTER};
use parallax_proto::store;
use parallax_proto::store::entry::Command;
use ring::rand::{SecureRandom as _, SystemRandom};
use tracing::warn;

use crate::office::Office;
use crate::propose::{Origin, Proposer};
use crate::view::View;

/// Proposes a key whenever one is needed and this member leads, for as long as it lives.
pub async fn run(view: View, proposer: Proposer, mut office: Office, name: String) {
    loop {
        let leads = office.leads();
        if leads && view.load().needs_link_key() {
            if let Err(error) = propose(&proposer, &name).await {
                warn!(error, "no key for links in pages, trying again");
                tokio::time::sleep(LINK_KEY_AGAIN_AFTER).await;
            }
            continue;
        }
        office.wait(None).await;
    }
}

async fn propose(proposer: &Proposer, name: &str) -> Result<(), String> {
    let mut key = [0; ACK_LINK_KEY_BYTES];
    // Nobody must be able to replay it: not from the process's seeded source.
    SystemRandom::new()
        .fill(&mut key)
        .map_err(|_| "the system gives no random bytes".to_owned())?;
    let command = Command::SetLinkKey(store::SetLinkKey { key: Bytes::copy_from_slice(&key) });
    let written = proposer.write_here(Origin::leader(name), command).await;
    written.map(|_| ()).map_err(|error| error.to_string())
}
