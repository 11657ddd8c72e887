//! A member applies every entry once, in order, and leaves none out.

use std::collections::{BTreeMap, BTreeSet};

use super::Invariant;
use crate::seen::Seen;

/// Entries that anybody applied, and where each member is. Entries that change nothing (a new
/// leader's first, changes of the members) are not applied by the machine.
#[derive(Default)]
pub struct Order {
    applied: BTreeSet<u64>,
    at: BTreeMap<u64, u64>,
}

impl Order {
    /// Nobody applied anything between the two.
    fn between(&self, node: u64, before: u64, after: u64) -> Result<(), String> {
        match self.applied.range(before.saturating_add(1)..after.max(before + 1)).next() {
            Some(left) => Err(format!("member {node} leaves out entry {left}")),
            None => Ok(()),
        }
    }
}

impl Invariant for Order {
    fn name(&self) -> &'static str {
        "applied once, in order"
    }

    fn see(&mut self, seen: &Seen) -> Result<(), String> {
        match seen {
            Seen::Loaded { node, index, .. } => {
                self.at.insert(*node, *index);
            }
            Seen::Applied { node, index, .. } => {
                let before = self.at.insert(*node, *index).unwrap_or_default();
                if *index <= before {
                    return Err(format!("member {node} applies entry {index} after {before}"));
                }
                self.applied.insert(*index);
                self.between(*node, before, *index)?;
            }
            Seen::Published { node, index, .. } => {
                let before = self.at.insert(*node, *index).unwrap_or_default();
                self.between(*node, before, *index + 1)?;
            }
            _ => {}
        }
        Ok(())
    }
}
