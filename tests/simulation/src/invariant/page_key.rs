//! What is said of one incident to one contact is said under one key, however often and by whomever.

use std::collections::BTreeMap;

use parallax_proto::v1::PageKind;

use super::Invariant;
use crate::seen::Seen;

/// By incident, contact, what is said, and whether it is the repetition of an end.
#[derive(Default)]
pub struct PageKeys(BTreeMap<(String, String, bool, bool), String>);

impl Invariant for PageKeys {
    fn name(&self) -> &'static str {
        "one key a page"
    }

    fn see(&mut self, seen: &Seen) -> Result<(), String> {
        let Seen::PageReceived { key, incident, contact, kind } = seen else { return Ok(()) };
        // One message that says both goes under the opening's key.
        let end = *kind == PageKind::Resolved;
        let place = (incident.clone(), contact.clone(), end, key.ends_with("/again"));
        match self.0.entry(place).or_insert_with(|| key.clone()) {
            first if first == key => Ok(()),
            first => Err(format!("one page went out under {first} and under {key}")),
        }
    }
}
