//! Only the holder of a page's newest claim sends it. A claim that moved away less than a second ago
//! may still be acted upon: for so long a confirmation counts.

use std::collections::BTreeMap;

use parallax_proto::v1::DeliveryState;

use super::Invariant;
use crate::pager::CONFIRMED_WITHIN;
use crate::seen::Seen;

/// By page: who holds it since which index, and since when each former holder does not.
#[derive(Default)]
pub struct Claims {
    now_us: u64,
    newest: u64,
    holders: BTreeMap<String, u64>,
    left: BTreeMap<(String, u64), u64>,
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
            Seen::Published { index, state, .. } if *index > self.newest => {
                self.newest = *index;
                for (key, incident) in &state.pending {
                    let Some(incident) = state.incidents.get(incident) else { continue };
                    let pages = incident.deliveries.iter();
                    for page in pages.filter(|page| page.idempotency_key == *key) {
                        let holder = page.claimed_by;
                        let before = self.holders.insert(key.clone(), holder);
                        if let Some(before) = before.filter(|before| *before != holder) {
                            self.left.insert((key.clone(), before), self.now_us);
                        }
                        self.left.remove(&(key.clone(), holder));
                        debug_assert_eq!(page.state(), DeliveryState::Pending);
                    }
                }
                Ok(())
            }
            Seen::PageStarted { node, now_us, key } => {
                let since = self.left.get(&(key.clone(), *node));
                let within = CONFIRMED_WITHIN.as_micros() as u64;
                match since {
                    Some(since) if *now_us > since + within => Err(format!(
                        "member {node} sends {key}, which it does not hold since {} ms",
                        (now_us - since) / 1_000
                    )),
                    Some(_) => Ok(()),
                    None if self.holders.get(key).is_some_and(|holder| holder != node) => {
                        Err(format!("member {node} sends {key}, which it never held"))
                    }
                    None => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }
}
