//! How far this probe has come: the content of heartbeats (DESIGN.md, decision 6).
//!
//! Every slot due before T has ended except those listed. Each session hears the list as changes
//! since its own last heartbeat, so a session that begins hears all of it.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};

use parallax_common::name::Uid;
use parallax_common::time::MeshTime;

use super::schedule::RunId;

/// A slot whose run is in flight.
pub type Slot = (Uid, i64);

/// Runs of slots in flight now, and when they were due.
///
/// After a change of phase a slot's number can come a second time while its first run is still in
/// flight. Sessions are told of (check, slot); such a pair is listed until both runs have ended, as
/// due when the earlier of the two was.
#[derive(Debug, Default)]
pub struct InFlight {
    runs: HashMap<RunId, Slot>,
    slots: BTreeMap<Slot, MeshTime>,
    /// Further runs of listed slots: hardly ever any.
    again: BTreeMap<Slot, u32>,
}

impl InFlight {
    /// The run of a slot has started.
    pub fn started(&mut self, run: RunId, check: Uid, slot: i64, scheduled: MeshTime) {
        let slot = (check, slot);
        if self.runs.insert(run, slot).is_some() {
            return;
        }
        match self.slots.entry(slot) {
            Entry::Vacant(free) => {
                free.insert(scheduled);
            }
            Entry::Occupied(mut listed) => {
                let at = scheduled.min(*listed.get());
                listed.insert(at);
                *self.again.entry(slot).or_default() += 1;
            }
        }
    }

    /// A run has ended, of a slot or not.
    pub fn ended(&mut self, run: RunId) {
        let Some(slot) = self.runs.remove(&run) else { return };
        match self.again.get_mut(&slot) {
            Some(1) => {
                self.again.remove(&slot);
            }
            Some(more) => *more -= 1,
            None => {
                self.slots.remove(&slot);
            }
        }
    }

    /// How many slots are listed.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }
}

/// What changed since one session's last heartbeat.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changes {
    /// In flight now and not listed before, with the time they were due.
    pub started: Vec<(Slot, MeshTime)>,
    /// Listed before and over now, with the time they were due.
    pub ended: Vec<(Slot, MeshTime)>,
}

/// What one session was told.
#[derive(Debug, Default)]
pub struct Told {
    slots: BTreeMap<Slot, MeshTime>,
}

impl Told {
    /// What to tell it now. Runs that began and ended in between are never named.
    pub fn changes(&mut self, now: &InFlight) -> Changes {
        let missing = |from: &BTreeMap<Slot, MeshTime>, of: &BTreeMap<Slot, MeshTime>| {
            of.iter()
                .filter(|(slot, _)| !from.contains_key(*slot))
                .map(|(slot, at)| (*slot, *at))
                .collect::<Vec<_>>()
        };
        let changes = Changes {
            started: missing(&self.slots, &now.slots),
            ended: missing(&now.slots, &self.slots),
        };
        for (slot, _) in &changes.ended {
            self.slots.remove(slot);
        }
        self.slots.extend(changes.started.iter().copied());
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::super::assign::tests::uid;
    use super::*;

    #[test]
    fn each_session_hears_the_difference_to_what_it_heard_before() {
        let at = MeshTime::from_ns;
        let mut now = InFlight::default();
        let (mut one, mut two) = (Told::default(), Told::default());
        now.started(RunId(1), uid(1), 5, at(50));
        assert_eq!(one.changes(&now).started, vec![((uid(1), 5), at(50))]);
        now.started(RunId(2), uid(2), 9, at(60));
        now.ended(RunId(1));
        now.started(RunId(3), uid(3), 1, at(70));
        now.ended(RunId(3));
        let heard = one.changes(&now);
        assert_eq!(heard.started, vec![((uid(2), 9), at(60))]);
        assert_eq!(heard.ended, vec![((uid(1), 5), at(50))]);
        assert_eq!(one.changes(&now), Changes::default());
        // A session that begins later hears the whole list.
        assert_eq!(
            two.changes(&now),
            Changes { started: vec![((uid(2), 9), at(60))], ended: vec![] }
        );
        assert_eq!(now.len(), 1);
    }

    #[test]
    fn a_slot_number_that_comes_twice_is_listed_until_both_runs_have_ended() {
        let at = MeshTime::from_ns;
        for (first, second) in [(1, 2), (2, 1)] {
            let (mut now, mut told) = (InFlight::default(), Told::default());
            now.started(RunId(1), uid(1), 5, at(50));
            assert_eq!(told.changes(&now).started, vec![((uid(1), 5), at(50))]);
            now.started(RunId(2), uid(1), 5, at(57));
            now.ended(RunId(first));
            // An ordered run is not listed, and its end delists nothing.
            now.ended(RunId(9));
            assert_eq!(told.changes(&now), Changes::default());
            now.ended(RunId(second));
            assert_eq!(told.changes(&now).ended, vec![((uid(1), 5), at(50))]);
            assert!(now.is_empty());
        }
    }
}
