//! Every member makes the same plan of the same generation, and a probe only ever takes a greater one.

use std::collections::BTreeMap;

use parallax_common::name::Generation;

use super::Invariant;
use crate::seen::Seen;

/// By generation: who runs what; by life of a probe: what it runs.
#[derive(Default)]
pub struct Plans {
    plans: BTreeMap<Generation, (u64, u64)>,
    accepted: BTreeMap<u64, Generation>,
}

impl Invariant for Plans {
    fn name(&self) -> &'static str {
        "one plan a generation, and a probe takes greater ones only"
    }

    fn see(&mut self, seen: &Seen) -> Result<(), String> {
        match seen {
            Seen::Planned { node, generation, digest } => {
                let (first, plan) = *self.plans.entry(*generation).or_insert((*node, *digest));
                if plan == *digest {
                    return Ok(());
                }
                Err(format!("members {first} and {node} plan {generation:?} differently"))
            }
            Seen::PlanAccepted { incarnation, generation } => {
                match self.accepted.insert(*incarnation, *generation) {
                    Some(before) if before >= *generation => Err(format!(
                        "probe {incarnation:016x} goes from {before:?} to {generation:?}"
                    )),
                    _ => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }
}
