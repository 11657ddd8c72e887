//! A generation names one plan: what it is made from never changes without a greater one.

use std::collections::BTreeMap;
use std::sync::Arc;

use parallax_common::name::Generation;
use parallax_coordinator::core::state::State;

use super::Invariant;
use crate::seen::{Seen, plan_inputs};

/// By generation: what the plan is made from; by member: the newest, and the newest state with what
/// its plan is made from.
#[derive(Default)]
pub struct Generations {
    plans: BTreeMap<Generation, u64>,
    newest: BTreeMap<u64, Generation>,
    states: BTreeMap<u64, (Arc<State>, u64)>,
}

impl Generations {
    /// What the plan is made from; as before when that was not touched.
    fn plan(&mut self, node: u64, state: &Arc<State>) -> u64 {
        let plan = match self.states.get(&node) {
            Some((before, plan))
                if before.checks.ptr_eq(&state.checks) && before.probes.ptr_eq(&state.probes) =>
            {
                *plan
            }
            _ => plan_inputs(state),
        };
        self.states.insert(node, (Arc::clone(state), plan));
        plan
    }
}

impl Invariant for Generations {
    fn name(&self) -> &'static str {
        "a generation names one plan, and only grows"
    }

    fn see(&mut self, seen: &Seen) -> Result<(), String> {
        let (node, state) = match seen {
            Seen::Loaded { node, state, .. } => {
                self.newest.remove(node);
                (node, state)
            }
            Seen::Published { node, state, .. } => (node, state),
            _ => return Ok(()),
        };
        let (generation, plan) = (state.generation(), self.plan(*node, state));
        if let Some(before) = self.newest.insert(*node, generation)
            && before > generation
        {
            return Err(format!("member {node} goes from {before:?} back to {generation:?}"));
        }
        match *self.plans.entry(generation).or_insert(plan) {
            first if first == plan => Ok(()),
            _ => Err(format!("{generation:?} names two plans, the second on member {node}")),
        }
    }
}
