//! What one member applied at an index, every member applies there, for ever.

use std::collections::BTreeMap;

use super::Invariant;
use crate::seen::Seen;

/// By index: term and bytes.
#[derive(Default)]
pub struct Committed(BTreeMap<u64, (u64, u64)>);

impl Invariant for Committed {
    fn name(&self) -> &'static str {
        "a committed entry never changes"
    }

    fn see(&mut self, seen: &Seen) -> Result<(), String> {
        let Seen::Applied { node, index, term, digest, .. } = seen else { return Ok(()) };
        let known = *self.0.entry(*index).or_insert((*term, *digest));
        if known == (*term, *digest) {
            return Ok(());
        }
        let first = known.0;
        Err(format!("entry {index} is of term {first} and, on member {node}, of term {term}"))
    }
}
