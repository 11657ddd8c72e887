//! An operator who replaces members: one comes as a learner and is given a vote, another loses its
//! vote and goes, and again.

use std::time::Duration;

use parallax_coordinator::core::membership::Change;
use parallax_coordinator::raft::node::ChangeError;
use tokio::sync::oneshot;

use crate::node::{self, Node};
use crate::world::{Event, World};

/// Most voters that the operator makes.
const VOTERS_MAX: usize = 5;

impl World {
    /// Asks for the next change, and again later.
    pub(crate) fn operate(&mut self) {
        if self.is_calm() {
            return;
        }
        let next_us = self.mischief.between(500_000, 2_500_000);
        self.after(next_us, Event::Operate);
        let Some(leader) = self.leader() else { return };
        let instant = node::instant(self.base, self.now_us);
        let Some(process) = self.nodes.get_mut(&leader).and_then(|node| node.process.as_mut())
        else {
            return;
        };
        let conf = process.member.conf_state().clone();
        let fresh = self.next_node;
        // One that had a vote goes, one that never had gets it.
        let goes = |id: &u64| self.leaving == Some(*id);
        let change = match conf.learners.first() {
            Some(id) if goes(id) => Change::Remove(*id),
            Some(id) => Change::Promote(*id),
            None if conf.voters.len() < VOTERS_MAX && self.mischief.one_in(2) => {
                Change::AddLearner(fresh)
            }
            None if conf.voters.len() > 3 => {
                let others: Vec<u64> =
                    conf.voters.iter().copied().filter(|id| *id != leader).collect();
                let Some(id) = self.mischief.pick(&others).copied() else { return };
                Change::Demote(id)
            }
            None => Change::AddLearner(fresh),
        };
        let (reply, mut answer) = oneshot::channel();
        process.member.change_members(change, instant, Duration::from_secs(5), reply);
        self.trace.note(self.now_us, &[leader, change.node_id()], || format!("{change:?}"));
        if let Ok(Err(ChangeError::Unfit(_) | ChangeError::NotLeader { .. })) = answer.try_recv() {
            self.counters.add("change of members refused");
            return;
        }
        match change {
            Change::AddLearner(id) => {
                self.counters.add("member added");
                self.next_node += 1;
                let node = Node::new(id, None, &self.profile, &mut self.mischief);
                self.nodes.insert(id, node);
                self.start(id);
                self.after(1_000, Event::Tick(id));
            }
            Change::Demote(id) => self.leaving = Some(id),
            Change::Promote(_) => self.counters.add("learner promoted"),
            Change::Remove(_) => {}
        }
        self.turn(leader);
    }
}
