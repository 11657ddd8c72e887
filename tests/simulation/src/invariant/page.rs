//! No page is lost: what the state says was sent was received, and in the end nothing waits that is
//! due.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parallax_coordinator::core::state::State;
use parallax_proto::v1::{DeliveryState, PageKind};

use super::Invariant;
use crate::seen::Seen;

/// What was received, and each member's newest state.
#[derive(Default)]
pub struct Pages {
    keys: BTreeSet<String>,
    /// (incident, contact): one message said the beginning and the end.
    combined: BTreeSet<(String, String)>,
    states: BTreeMap<u64, (u64, Arc<State>)>,
}

impl Pages {
    fn received(&self, state: &State) -> Result<(), String> {
        for incident in state.incidents.values() {
            for page in &incident.deliveries {
                let place = (incident.uid.clone(), page.contact_uid.clone());
                let whole = page.kind() == PageKind::Resolved && self.combined.contains(&place);
                let key = &page.idempotency_key;
                if page.state() == DeliveryState::Sent && !whole && !self.keys.contains(key) {
                    return Err(format!("page {key} counts as sent, and nobody received it"));
                }
            }
        }
        Ok(())
    }
}

impl Invariant for Pages {
    fn name(&self) -> &'static str {
        "no page is lost"
    }

    fn see(&mut self, seen: &Seen) -> Result<(), String> {
        match seen {
            Seen::PageReceived { key, incident, contact, kind } => {
                self.keys.insert(key.clone());
                if *kind == PageKind::Combined {
                    self.combined.insert((incident.clone(), contact.clone()));
                }
                Ok(())
            }
            Seen::Published { node, index, state, .. } => {
                self.states.insert(*node, (*index, Arc::clone(state)));
                self.received(state)
            }
            _ => Ok(()),
        }
    }

    fn end(&mut self) -> Result<(), String> {
        let Some((_, state)) = self.states.values().max_by_key(|(index, _)| *index) else {
            return Ok(());
        };
        // What is said again for safety is due a minute later, after the end of every world.
        let waits = state.pending.keys().find(|key| !key.ends_with("/again"));
        match waits {
            Some(key) => Err(format!("page {key} still waits, though all has been well for long")),
            None => Ok(()),
        }
    }
}
