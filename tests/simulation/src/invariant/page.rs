//! No page is lost: what the state says was sent was received, and in the end nothing waits that has
//! been next to its contact for long.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use imbl::ordmap::DiffItem;
use parallax_coordinator::core::state::State;
use parallax_proto::v1::{DeliveryState, Incident, PageKind};

use super::Invariant;
use crate::seen::Seen;

/// A page that is next to its contact is sent, and known to be, so long after at most while all is
/// well. Outages end late into the calm: what they write then is on its way at the end.
const WITHIN_US: u64 = 2_500_000;

/// What was received, and each member's newest state. What was received stays so: in a new state only
/// the incidents are looked at that differ from the one before, and at the end all of them.
#[derive(Default)]
pub struct Pages {
    keys: BTreeSet<String>,
    /// (incident, contact): one message said the beginning and the end.
    combined: BTreeSet<(String, String)>,
    states: BTreeMap<u64, (u64, Arc<State>)>,
    now_us: u64,
    newest: u64,
    /// Pages that are next to their contacts in the newest state: since when.
    next: BTreeMap<String, u64>,
}

impl Pages {
    fn received(&self, incident: &Incident) -> Result<(), String> {
        for page in &incident.deliveries {
            if page.state() != DeliveryState::Sent || self.keys.contains(&page.idempotency_key) {
                continue;
            }
            let place = (incident.uid.clone(), page.contact_uid.clone());
            if page.kind() != PageKind::Resolved || !self.combined.contains(&place) {
                let key = &page.idempotency_key;
                return Err(format!("page {key} counts as sent, and nobody received it"));
            }
        }
        Ok(())
    }

    /// Which pages are next to their contacts now. What is said again for safety is due a minute
    /// later, after the end of every world.
    fn wait(&mut self, state: &State) {
        let mut before = std::mem::take(&mut self.next);
        for (key, incident) in state.pending.iter().filter(|(key, _)| !key.ends_with("/again")) {
            let pages = state.incidents.get(incident).map(|it| it.deliveries.as_slice());
            let pages = pages.unwrap_or_default();
            let page = pages.iter().find(|page| page.idempotency_key == *key);
            let behind = page.is_some_and(|page| {
                let first = pages.iter().find(|first| {
                    first.contact_uid == page.contact_uid && first.state() == DeliveryState::Pending
                });
                first.is_some_and(|first| first.idempotency_key != *key)
            });
            if !behind {
                let since = before.remove(key).unwrap_or(self.now_us);
                self.next.insert(key.clone(), since);
            }
        }
    }
}

impl Invariant for Pages {
    fn name(&self) -> &'static str {
        "no page is lost"
    }

    fn at(&mut self, now_us: u64) {
        self.now_us = now_us;
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
                if *index > self.newest {
                    self.newest = *index;
                    self.wait(state);
                }
                let before = self.states.insert(*node, (*index, Arc::clone(state)));
                let before = before.map(|(_, state)| state).unwrap_or_default();
                if before.incidents.ptr_eq(&state.incidents) {
                    return Ok(());
                }
                let mut changed = before.incidents.diff(&state.incidents);
                changed.try_for_each(|item| match item {
                    DiffItem::Add(_, incident) | DiffItem::Update { new: (_, incident), .. } => {
                        self.received(incident)
                    }
                    DiffItem::Remove(..) => Ok(()),
                })
            }
            _ => Ok(()),
        }
    }

    fn end(&mut self) -> Result<(), String> {
        for (_, state) in self.states.values() {
            state.incidents.values().try_for_each(|incident| self.received(incident))?;
        }
        let waits = self.next.iter().find(|(_, since)| **since + WITHIN_US < self.now_us);
        match waits {
            Some((key, since)) => Err(format!(
                "page {key} still waits after {} ms, though all has been well for long",
                (self.now_us - since) / 1_000
            )),
            None => Ok(()),
        }
    }
}
