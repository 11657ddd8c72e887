//! The end of a world: everything that should have come to rest has.

use super::World;
use crate::invariant::{LIVENESS, Violation};
use crate::node::Node;

impl World {
    pub(super) fn finish(&mut self) -> Result<(), Violation> {
        for client in &self.clients {
            client.end(&mut self.linear);
        }
        self.linear.end()?;
        self.invariants.end(self.end_us)?;
        self.liveness()
    }

    /// After the calm there is a leader, everybody has the same state, and no client waits.
    fn liveness(&self) -> Result<(), Violation> {
        let missing = |what: String| Violation { invariant: LIVENESS, what };
        let leads = |node: &&Node| {
            node.process.as_ref().is_some_and(|process| process.member.leadership().leader)
        };
        let Some(leader) = self.nodes.values().find(leads) else {
            return Err(missing("nobody leads".to_owned()));
        };
        if let Some(client) = self.clients.iter().find(|client| client.open.is_some()) {
            return Err(missing(format!("{} waits for {:?}", client.name, client.open)));
        }
        if let Some(index) = self.watchers.iter().position(|watcher| !watcher.begun) {
            return Err(missing(format!("watcher {index} is told nothing")));
        }
        let Some(process) = &leader.process else { return Ok(()) };
        let wanted = self.late_index;
        for voter in &process.member.conf_state().voters {
            let at = self.nodes.get(voter).and_then(|node| node.process.as_ref());
            let at = at.map_or(0, |process| process.member.applied());
            if at < wanted {
                return Err(missing(format!("member {voter} is at {at}, not at {wanted}")));
            }
        }
        Ok(())
    }
}
