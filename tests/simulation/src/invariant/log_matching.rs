//! Logs that have an entry of the same index and term are the same up to it.

use std::collections::BTreeMap;

use super::Invariant;
use crate::seen::Seen;

/// By index and term: what the entry says, and the term of the one before it. Equal chains make
/// equal logs.
#[derive(Default)]
pub struct LogMatching(BTreeMap<(u64, u64), (u64, Option<u64>)>);

impl Invariant for LogMatching {
    fn name(&self) -> &'static str {
        "log matching"
    }

    fn see(&mut self, seen: &Seen) -> Result<(), String> {
        let Seen::Appended { node, before, entries, last } = seen else { return Ok(()) };
        let mut before = *before;
        for (index, term, digest) in entries {
            let known = self.0.entry((*index, *term)).or_insert((*digest, before));
            if known.0 != *digest {
                return Err(format!("member {node} has another entry {index} of term {term}"));
            }
            match (known.1, before) {
                (Some(one), Some(other)) if one != other => {
                    return Err(format!(
                        "member {node} has entry {index} of term {term} behind one of term \
                         {other}, another member behind one of term {one}"
                    ));
                }
                (known_before, _) => known.1 = known_before.or(before),
            }
            before = Some(*term);
        }
        match entries.last() {
            Some((end, ..)) if end != last => Err(format!(
                "member {node} appended up to entry {end}, and its log ends with {last}"
            )),
            _ => Ok(()),
        }
    }
}
