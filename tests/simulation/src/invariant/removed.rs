//! Nobody who knows that a member was removed lets it in again.

use std::collections::BTreeMap;
use std::sync::Arc;

use parallax_coordinator::core::state::State;

use super::Invariant;
use crate::seen::Seen;

/// Each member's newest state.
#[derive(Default)]
pub struct Removed(BTreeMap<u64, Arc<State>>);

impl Invariant for Removed {
    fn name(&self) -> &'static str {
        "who was removed stays out"
    }

    fn see(&mut self, seen: &Seen) -> Result<(), String> {
        match seen {
            Seen::Loaded { node, state, .. } | Seen::Published { node, state, .. } => {
                self.0.insert(*node, Arc::clone(state));
            }
            Seen::LetIn { node, from } => {
                let state = self.0.get(node);
                let row = state.and_then(|state| state.members.get(from));
                if row.is_some_and(|row| row.removed) {
                    return Err(format!("member {node} lets {from} in, which was removed"));
                }
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use parallax_proto::store::MemberRow;

    use super::*;

    #[test]
    fn who_knows_of_a_removal_keeps_the_member_out_and_who_does_not_may_not() {
        let state = |removed| {
            let mut state = State::default();
            state.members.insert(3, Arc::new(MemberRow { removed, ..MemberRow::default() }));
            Seen::Published { node: 1, index: 5, state: Arc::new(state), hash: 0, whole: None }
        };
        for (row, node, good) in [(false, 1, true), (true, 1, false), (true, 2, true)] {
            let mut removed = Removed::default();
            removed.see(&state(row)).unwrap();
            assert_eq!(removed.see(&Seen::LetIn { node, from: 3 }).is_ok(), good, "{row} {node}");
        }
    }
}
