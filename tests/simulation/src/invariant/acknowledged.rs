//! A write that a client was told is done is in the log where it was told, and whoever leads later
//! has it.

use std::collections::BTreeMap;

use super::Invariant;
use crate::seen::Seen;

/// Which request each entry was, the newest acknowledged index, and where each member is.
#[derive(Default)]
pub struct Acknowledged {
    applied: BTreeMap<u64, Option<(String, u64)>>,
    newest: u64,
    at: BTreeMap<u64, u64>,
}

impl Invariant for Acknowledged {
    fn name(&self) -> &'static str {
        "an acknowledged write is never lost"
    }

    fn see(&mut self, seen: &Seen) -> Result<(), String> {
        match seen {
            Seen::Applied { index, request, .. } => {
                self.applied.entry(*index).or_insert_with(|| request.clone());
            }
            Seen::Acknowledged { request, revision } => {
                let at = self.applied.get(revision).and_then(Option::as_ref);
                if at != Some(request) {
                    return Err(format!(
                        "request {request:?} is acknowledged at {revision}, where {at:?} is"
                    ));
                }
                self.newest = self.newest.max(*revision);
            }
            Seen::Leads { node, term, applied, .. } if *applied < self.newest => {
                return Err(format!(
                    "member {node} leads in term {term} with entry {applied}, and {} was \
                     acknowledged",
                    self.newest
                ));
            }
            Seen::Published { node, index, .. } | Seen::Loaded { node, index, .. } => {
                self.at.insert(*node, *index);
            }
            _ => {}
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), String> {
        match self.at.values().max() {
            Some(most) if *most < self.newest => {
                Err(format!("entry {} was acknowledged, and no member is past {most}", self.newest))
            }
            _ => Ok(()),
        }
    }
}
