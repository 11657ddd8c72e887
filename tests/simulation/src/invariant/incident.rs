//! An incident that was committed stays in every later state.

use std::collections::BTreeMap;

use super::Invariant;
use crate::seen::Seen;

/// By uid: where it was opened.
#[derive(Default)]
pub struct Incidents(BTreeMap<String, u64>);

impl Invariant for Incidents {
    fn name(&self) -> &'static str {
        "no incident is lost"
    }

    fn see(&mut self, seen: &Seen) -> Result<(), String> {
        let (Seen::Published { node, index, state, .. } | Seen::Loaded { node, index, state, .. }) =
            seen
        else {
            return Ok(());
        };
        for (uid, incident) in &state.incidents {
            if !self.0.contains_key(uid) {
                self.0.insert(uid.clone(), incident.opened_revision);
            }
        }
        let lost = self
            .0
            .iter()
            .find(|(uid, opened)| **opened <= *index && !state.incidents.contains_key(*uid));
        match lost {
            Some((uid, _)) => Err(format!("at entry {index} member {node} has lost {uid}")),
            None => Ok(()),
        }
    }
}
