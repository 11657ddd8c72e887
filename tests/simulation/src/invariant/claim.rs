//! Only the holder of a page's newest claim sends it. A claim that moved away less than a second ago
//! may still be acted upon: for so long a confirmation counts. But not by a member whose own state says
//! already that it moved.

use std::collections::BTreeMap;
use std::sync::Arc;

use parallax_coordinator::core::state::State;

use super::Invariant;
use crate::pager::CONFIRMED_WITHIN;
use crate::seen::Seen;

/// By page: who holds it, and since when each former holder does not. Entry by entry: a claim may
/// have moved, and its page have been sent, within what a member publishes at once. And the newest state
/// of each member, by which it may go.
#[derive(Default)]
pub struct Claims {
    now_us: u64,
    newest: u64,
    holders: BTreeMap<String, u64>,
    left: BTreeMap<(String, u64), u64>,
    states: BTreeMap<u64, Arc<State>>,
}

impl Claims {
    /// Whom the state of this member names as the holder of a page that waits.
    fn known_to(&self, node: u64, key: &str) -> Option<u64> {
        let state = self.states.get(&node)?;
        let incident = state.incidents.get(state.pending.get(key)?)?;
        let page = incident.deliveries.iter().find(|page| page.idempotency_key == key)?;
        Some(page.claimed_by)
    }
}

impl Invariant for Claims {
    fn name(&self) -> &'static str {
        "only the claim's holder sends"
    }

    fn at(&mut self, now_us: u64) {
        self.now_us = now_us;
    }

    fn see(&mut self, seen: &Seen) -> Result<(), String> {
        match seen {
            Seen::Claimed { index, holders } if *index > self.newest => {
                self.newest = *index;
                for (key, holder) in holders {
                    let before = self.holders.insert(key.clone(), *holder);
                    if let Some(before) = before.filter(|before| before != holder) {
                        self.left.insert((key.clone(), before), self.now_us);
                    }
                    self.left.remove(&(key.clone(), *holder));
                }
                Ok(())
            }
            Seen::Loaded { node, state, .. } | Seen::Published { node, state, .. } => {
                self.states.insert(*node, Arc::clone(state));
                Ok(())
            }
            Seen::PageStarted { node, now_us, key } => {
                if let Some(holder) = self.known_to(*node, key).filter(|holder| holder != node) {
                    return Err(format!(
                        "member {node} sends {key}, which by its own state is held by {holder}"
                    ));
                }
                let since = self.left.get(&(key.clone(), *node));
                let within = CONFIRMED_WITHIN.as_micros() as u64;
                match since {
                    Some(since) if *now_us > since + within => Err(format!(
                        "member {node} sends {key}, which it does not hold since {} ms",
                        (now_us - since) / 1_000
                    )),
                    Some(_) => Ok(()),
                    None if self.holders.get(key) != Some(node) => {
                        Err(format!("member {node} sends {key}, which it never held"))
                    }
                    None => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use parallax_proto::v1::{Delivery, Incident};

    use super::*;

    /// Member `node` has a state by which `holder` holds the page.
    fn published(index: u64, node: u64, holder: u64) -> (u64, Seen) {
        let page =
            Delivery { idempotency_key: "k".to_owned(), claimed_by: holder, ..Delivery::default() };
        let incident = Incident { deliveries: vec![page], ..Incident::default() };
        let mut state = State::default();
        state.incidents.insert("i".to_owned(), Arc::new(incident));
        state.pending.insert("k".to_owned(), "i".to_owned());
        (index, Seen::Published { node, index, state: Arc::new(state), hash: 0, whole: None })
    }

    fn claimed(index: u64, holder: u64) -> (u64, Seen) {
        (index, Seen::Claimed { index, holders: vec![("k".to_owned(), holder)] })
    }

    fn started(now_us: u64, node: u64) -> (u64, Seen) {
        (now_us, Seen::PageStarted { node, now_us, key: "k".to_owned() })
    }

    fn see_all(all: &[(u64, Seen)]) -> Result<(), String> {
        let mut claims = Claims::default();
        all.iter().try_for_each(|(now_us, seen)| {
            claims.at(*now_us);
            claims.see(seen)
        })
    }

    #[test]
    fn whoever_holds_a_claim_sends_and_for_a_second_whoever_held_it() {
        for good in [
            vec![claimed(3, 3), claimed(5, 1), started(9, 1)],
            vec![claimed(3, 3), claimed(5, 1), claimed(6, 2), started(1_000_006, 1)],
            // One that is behind tells nothing new.
            vec![claimed(3, 3), claimed(5, 1), claimed(3, 3), started(2_000_000, 1)],
            // It does not know yet that the claim has moved; another one does.
            vec![
                claimed(3, 3),
                published(4, 3, 3),
                claimed(5, 1),
                published(6, 1, 1),
                started(7, 3),
            ],
        ] {
            assert_eq!(see_all(&good), Ok(()));
        }
        for bad in [
            vec![claimed(3, 3), started(9, 1)],
            vec![started(9, 1)],
            vec![claimed(3, 3), claimed(5, 1), started(1_000_006, 3)],
            vec![claimed(3, 3), claimed(5, 1), published(6, 3, 1), started(7, 3)],
        ] {
            assert!(see_all(&bad).is_err(), "{bad:?}");
        }
    }
}
