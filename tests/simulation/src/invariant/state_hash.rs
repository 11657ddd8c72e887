//! At the same index every member has the same state, whatever way it came to it: entry by entry,
//! from its rows, or from a snapshot. And a state is what its rows say.

use std::collections::BTreeMap;

use super::Invariant;
use crate::seen::Seen;

/// By index: the hash of the state, and that of the rows which its entry changed.
#[derive(Default)]
pub struct StateHash {
    states: BTreeMap<u64, u64>,
    rows: BTreeMap<u64, u64>,
}

impl Invariant for StateHash {
    fn name(&self) -> &'static str {
        "state equal at equal index"
    }

    fn see(&mut self, seen: &Seen) -> Result<(), String> {
        let (node, index, hash, known) = match seen {
            Seen::Applied { node, index, rows, .. } => (node, index, *rows, &mut self.rows),
            Seen::Loaded { node, index, hash, whole, .. }
            | Seen::Published { node, index, hash, whole: Some(whole), .. }
                if hash != whole =>
            {
                return Err(format!("at entry {index} member {node} is not what its rows say"));
            }
            Seen::Loaded { node, index, hash, .. } | Seen::Published { node, index, hash, .. } => {
                (node, index, *hash, &mut self.states)
            }
            _ => return Ok(()),
        };
        match *known.entry(*index).or_insert(hash) {
            first if first == hash => Ok(()),
            _ => Err(format!("member {node} differs from another at entry {index}")),
        }
    }
}
