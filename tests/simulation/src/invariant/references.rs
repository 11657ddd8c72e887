//! No check names a region or a contact that does not exist.

use super::Invariant;
use crate::seen::Seen;

/// Needs no memory.
#[derive(Default)]
pub struct References;

impl Invariant for References {
    fn name(&self) -> &'static str {
        "references hold"
    }

    fn see(&mut self, seen: &Seen) -> Result<(), String> {
        let Seen::Published { index, state, .. } = seen else { return Ok(()) };
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
