//! An incident that was committed stays in every later state.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use imbl::ordmap::DiffItem;
use parallax_coordinator::core::state::State;

use super::Invariant;
use crate::seen::Seen;

/// Uids by the index at which they were opened, and each member's newest state with its index. A
/// state is compared with the one before it, and at the end each is looked at whole.
#[derive(Default)]
pub struct Incidents {
    known: BTreeMap<u64, BTreeSet<String>>,
    states: BTreeMap<u64, (u64, Arc<State>)>,
}

fn lost(node: u64, index: u64, uid: &str) -> String {
    format!("at entry {index} member {node} has lost {uid}")
}

impl Incidents {
    /// What was opened from `first` to `last` is in the state.
    fn has(&self, node: u64, first: u64, last: u64, state: &State) -> Result<(), String> {
        if first > last {
            return Ok(());
        }
        let mut known = self.known.range(first..=last).flat_map(|(_, uids)| uids);
        match known.find(|uid| !state.incidents.contains_key(*uid)) {
            Some(uid) => Err(lost(node, last, uid)),
            None => Ok(()),
        }
    }

    /// There is an incident. Who is past its opening has it.
    fn learn(&mut self, uid: &str, opened: u64) -> Result<(), String> {
        let known = self.known.entry(opened).or_default();
        if known.contains(uid) {
            return Ok(());
        }
        known.insert(uid.to_owned());
        let without = self
            .states
            .iter()
            .find(|(_, (index, state))| *index >= opened && !state.incidents.contains_key(uid));
        match without {
            Some((node, (index, _))) => Err(lost(*node, *index, uid)),
            None => Ok(()),
        }
    }
}

impl Invariant for Incidents {
    fn name(&self) -> &'static str {
        "no incident is lost"
    }

    fn see(&mut self, seen: &Seen) -> Result<(), String> {
        let (node, index, state, first) = match seen {
            Seen::Published { node, index, state, .. } => {
                let first = self.states.get(node).map_or(0, |(index, _)| index + 1);
                (node, index, state, first)
            }
            Seen::Loaded { node, index, state, .. } => (node, index, state, 0),
            _ => return Ok(()),
        };
        let before = self.states.insert(*node, (*index, Arc::clone(state)));
        let before = before.map(|(_, state)| state).unwrap_or_default();
        if !before.incidents.ptr_eq(&state.incidents) {
            for item in before.incidents.diff(&state.incidents) {
                match item {
                    DiffItem::Add(uid, incident) => self.learn(uid, incident.opened_revision)?,
                    DiffItem::Remove(uid, incident) if incident.opened_revision <= *index => {
                        return Err(lost(*node, *index, uid));
                    }
                    DiffItem::Remove(..) | DiffItem::Update { .. } => {}
                }
            }
        }
        self.has(*node, first, *index, state)
    }

    fn end(&mut self) -> Result<(), String> {
        let mut states = self.states.iter();
        states.try_for_each(|(node, (index, state))| self.has(*node, 0, *index, state))
    }
}

#[cfg(test)]
mod tests {
    use parallax_proto::v1;

    use super::*;

    /// A state that member `node` published at `index`, with the incidents (uid, opened).
    fn published(node: u64, index: u64, incidents: &[(&str, u64)]) -> Seen {
        let mut state = State::default();
        for (uid, opened_revision) in incidents {
            let (uid, opened_revision) = ((*uid).to_owned(), *opened_revision);
            let incident =
                v1::Incident { uid: uid.clone(), opened_revision, ..v1::Incident::default() };
            state.incidents.insert(uid, Arc::new(incident));
        }
        Seen::Published { node, index, state: Arc::new(state), hash: 0, whole: None }
    }

    fn see_all(all: &[Seen]) -> Result<(), String> {
        let mut incidents = Incidents::default();
        all.iter().try_for_each(|seen| incidents.see(seen))?;
        incidents.end()
    }

    #[test]
    fn an_incident_that_leaves_or_never_came_is_lost_and_one_of_later_is_not() {
        let (a, b) = (("a", 3), ("b", 8));
        let good = [
            published(1, 5, &[a]),
            published(2, 2, &[]),
            published(2, 4, &[a]),
            published(1, 9, &[a, b]),
            published(2, 7, &[a]),
        ];
        assert_eq!(see_all(&good), Ok(()));
        for (name, bad) in [
            ("it leaves", vec![published(1, 5, &[a]), published(1, 6, &[])]),
            ("another never had it", vec![published(1, 5, &[a]), published(2, 4, &[])]),
            ("another was past it", vec![published(2, 4, &[]), published(1, 5, &[a])]),
            (
                "another passes it",
                vec![published(1, 9, &[a, b]), published(2, 4, &[a]), published(2, 9, &[a])],
            ),
        ] {
            assert!(see_all(&bad).is_err(), "{name}");
        }
    }
}
