//! How members and probes stand to one another: which regions tell which member what. Looked at from
//! outside, four times a second, for the invariants.

use std::collections::BTreeMap;

use parallax_common::outcome::BallotState;

use crate::line::{End, LineId};
use crate::node::{Node, Process};
use crate::seen::{Seen, Watched};
use crate::world::{Event, World};

/// How often.
const EVERY_US: u64 = 250_000;

impl World {
    /// Looks at every member.
    pub(crate) fn watch(&mut self) {
        self.after(EVERY_US, Event::Watch);
        let lives: BTreeMap<u64, u64> =
            self.mesh.probes.values().map(|probe| (probe.incarnation.0, probe.pid)).collect();
        for node in self.nodes.values() {
            let Some(process) = &node.process else { continue };
            let leadership = process.member.leadership();
            let leads = leadership.leader && !node.paused;
            self.sink.tell(Seen::Watched {
                now_us: self.now_us,
                node: node.id,
                term: leadership.term,
                mesh: process.judge.mesh(self.now_us),
                leads,
                commits: leads && self.commits(node, process),
                checks: self.watched(node, process, &lives),
            });
        }
    }

    /// Whether a leader reaches a quorum both ways, and no disk of it is slow.
    fn commits(&self, leader: &Node, process: &Process) -> bool {
        let voters = &process.member.conf_state().voters;
        let reached = voters.iter().filter(|voter| {
            let Some(node) = self.nodes.get(voter) else { return false };
            let way = node.id == leader.id
                || (self.network.is_open(leader.id, node.id)
                    && self.network.is_open(node.id, leader.id));
            node.process.is_some() && !node.paused && node.slow == 1 && way
        });
        leader.slow == 1 && 2 * reached.count() > voters.len()
    }

    fn watched(&self, node: &Node, process: &Process, lives: &BTreeMap<u64, u64>) -> Vec<Watched> {
        if node.paused {
            return Vec::new();
        }
        let state = process.view.load();
        let mut all = Vec::new();
        for (uid, entry) in &state.checks {
            let verdict = state.verdicts.get(uid);
            let mut watched = Watched {
                check: *uid,
                etag: entry.check.etag,
                regions: entry.check.regions.len(),
                is_open: verdict.is_some_and(|verdict| !verdict.incident_uid.is_empty()),
                is_latched: verdict.is_some_and(|verdict| verdict.latched),
                telling: Vec::new(),
                blank: Vec::new(),
                failing: Vec::new(),
                unheard: Vec::new(),
            };
            let voted = process.judge.voted(uid, self.now_us);
            for (rank, life) in process.judge.assignees(uid).into_iter().enumerate() {
                let Some(life) = life else { continue };
                if !process.judge.hears(life) {
                    watched.unheard.push(life);
                }
                let Some(line) = self.way(node, process, life, lives) else { continue };
                let probe = lives.get(&life).and_then(|pid| self.mesh.probes.get(pid));
                let says = probe.and_then(|probe| probe.says(uid, entry.check.run_digest.0));
                match says {
                    None | Some(BallotState::None) => continue,
                    Some(BallotState::Fail) => watched.failing.push((rank, line)),
                    Some(BallotState::Pass | BallotState::Warn) => {}
                }
                watched.telling.push((rank, line));
                if voted.get(rank) == Some(&false) {
                    watched.blank.push((rank, line));
                }
            }
            all.push(watched);
        }
        all
    }

    /// The line by which a life of a probe reaches a member, when nothing is in its way.
    fn way(
        &self,
        node: &Node,
        process: &Process,
        life: u64,
        lives: &BTreeMap<u64, u64>,
    ) -> Option<LineId> {
        let probe = self.mesh.probes.get(lives.get(&life)?).filter(|probe| !probe.frozen)?;
        let line = process.judge.lane_of(life)?;
        let is_one = probe.line_to(node.id) == Some(line);
        let ends = self.mesh.lines.get(line)?.ends;
        let is_its_own = ends[1] == End::Member { id: node.id, life: node.life };
        let is_cut = self.mesh.lines.cut.contains(&(probe.place, node.id));
        (is_one && is_its_own && !is_cut).then_some(line)
    }
}
