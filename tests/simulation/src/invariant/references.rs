//! No check names a region or a contact that does not exist.

use std::collections::BTreeMap;
use std::sync::Arc;

use parallax_coordinator::core::state::State;

use super::Invariant;
use crate::seen::Seen;

/// Each member's newest state: a new one that shares with it what references are about holds them as
/// well.
#[derive(Default)]
pub struct References(BTreeMap<u64, Arc<State>>);

impl Invariant for References {
    fn name(&self) -> &'static str {
        "references hold"
    }

    fn see(&mut self, seen: &Seen) -> Result<(), String> {
        let Seen::Published { node, index, state, .. } = seen else { return Ok(()) };
        let same = |before: Arc<State>| {
            before.checks.ptr_eq(&state.checks)
                && before.regions.ptr_eq(&state.regions)
                && before.contacts.ptr_eq(&state.contacts)
                && before.contact_names.ptr_eq(&state.contact_names)
        };
        if self.0.insert(*node, Arc::clone(state)).is_some_and(same) {
            return Ok(());
        }
        for entry in state.checks.values() {
            let check = &entry.check;
            let exists = |region: &String| {
                state.regions.contains_key(&(check.namespace.clone(), region.clone()))
            };
            if let Some(region) = check.regions.iter().find(|region| !exists(region)) {
                return Err(format!(
                    "at entry {index} check {} looks from {region}, which is gone",
                    check.name
                ));
            }
            let known = |contact: &String| state.contact_named(&check.namespace, contact).is_some();
            if let Some(contact) = check.alert.iter().find(|contact| !known(contact)) {
                return Err(format!(
                    "at entry {index} check {} alerts {contact}, which is gone",
                    check.name
                ));
            }
        }
        Ok(())
    }
}
