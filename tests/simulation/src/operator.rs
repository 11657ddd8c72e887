//! An operator who replaces members, by the steps of production: one is written down, comes as a
//! learner and is given a vote; of another it is written down that it leaves, it loses its vote, it is
//! written down as removed, and it is taken out.
//!
//! What was begun is in the replicated state, so that it goes on whoever leads.

use std::time::Duration;

use parallax_coordinator::core::membership::{Change, Removal};
use parallax_coordinator::core::state::LEVEL;
use parallax_coordinator::raft::node::ChangeError;
use parallax_proto::store;
use parallax_proto::store::entry::Command;
use tokio::sync::oneshot::{self, error::TryRecvError};

use crate::api::{self, Context, ProposalReceiver};
use crate::gate::{disk_of, name_of};
use crate::node::{self, Node};
use crate::wire::Origin;
use crate::world::{Event, World};

/// Most voters that the operator makes.
const VOTERS_MAX: usize = 5;
const WITHIN: Duration = Duration::from_secs(5);
const WITHIN_US: u64 = WITHIN.as_micros() as u64;

/// The operator's next step.
enum Step {
    Write(Box<Command>),
    Change(Change),
    HandOver(u64),
}

/// What the operator waits for: until when, and the answer.
#[derive(Default)]
pub struct Operator(Option<(u64, ProposalReceiver)>);

impl Operator {
    fn waits(&mut self, now_us: u64) -> bool {
        let Some((until_us, answer)) = &mut self.0 else { return false };
        let waits = now_us < *until_us && matches!(answer.try_recv(), Err(TryRecvError::Empty));
        if !waits {
            self.0 = None;
        }
        waits
    }
}

impl World {
    /// Makes the next step, and another one later: soon when there is something to go on with.
    pub(crate) fn operate(&mut self) {
        if self.is_calm() {
            return;
        }
        let goes_on = match self.operator.waits(self.now_us) {
            true => true,
            false => self.leader().is_some_and(|leader| self.next_step(leader)),
        };
        let next_us = match goes_on {
            true => self.mischief.between(50_000, 500_000),
            false => self.mischief.between(500_000, 2_500_000),
        };
        self.after(next_us, Event::Operate);
    }

    /// True: there is more to do.
    fn next_step(&mut self, leader: u64) -> bool {
        let Some(step) = self.step_of(leader) else { return false };
        let now_us = self.now_us;
        let instant = node::instant(self.base, now_us);
        let Some(node) = self.nodes.get_mut(&leader) else { return false };
        let utc_ns = node.utc_ns(now_us);
        let Some(process) = &mut node.process else { return false };
        match step {
            Step::Write(command) => {
                let mut context = Context {
                    member: &mut process.member,
                    view: &process.view,
                    node: leader,
                    now_us,
                    instant,
                    utc_ns,
                    mesh_ns: process.judge.mesh(now_us).as_ns(),
                    chance: &mut self.uids,
                    counters: &mut self.counters,
                };
                let answer = api::propose_here(*command, Origin::default(), &mut context);
                self.operator.0 = Some((now_us + WITHIN_US, answer));
            }
            Step::HandOver(to) => {
                self.transfer(leader, to);
                return true;
            }
            Step::Change(change) => {
                let (reply, mut answer) = oneshot::channel();
                process.member.change_members(change, instant, WITHIN, reply);
                self.trace.note(now_us, &[leader, change.node_id()], || format!("{change:?}"));
                if let Ok(Err(ChangeError::Unfit(_) | ChangeError::NotLeader { .. })) =
                    answer.try_recv()
                {
                    self.counters.add("change of members refused");
                    return false;
                }
                match change {
                    Change::AddLearner(id) if !self.nodes.contains_key(&id) => {
                        self.counters.add("member added");
                        let node = Node::new(id, None, &self.profile, &mut self.mischief);
                        self.nodes.insert(id, node);
                        self.start(id);
                        self.after(1_000, Event::Tick(id));
                    }
                    Change::Promote(_) => self.counters.add("learner promoted"),
                    Change::AddLearner(_) | Change::Demote(_) | Change::Remove(_) => {}
                }
            }
        }
        self.turn(leader);
        true
    }

    /// Asks a leader to hand over to another member.
    pub(crate) fn transfer(&mut self, leader: u64, to: u64) {
        let instant = node::instant(self.base, self.now_us);
        let process = self.nodes.get_mut(&leader).and_then(|node| node.process.as_mut());
        let Some(process) = process else { return };
        let (reply, _) = oneshot::channel();
        process.member.transfer(to, instant, WITHIN, reply);
        self.counters.add("leadership handed over");
        self.turn(leader);
    }

    /// What is to be done next, by the state and the group as the leader has them.
    fn step_of(&mut self, leader: u64) -> Option<Step> {
        let process = self.nodes.get(&leader)?.process.as_ref()?;
        let (state, status) = (process.view.load(), process.member.status());
        let group = status.group();
        let is_in = |id: &u64| group.voters.contains(id) || group.learners.contains(id);
        if let Some(id) =
            group.learners.iter().find(|id| state.members.get(*id).is_some_and(|row| row.removed))
        {
            return Some(Step::Change(Change::Remove(*id)));
        }
        // Somebody else's name: of an addition that was lost, and was made after all.
        let is_nobody = |row: &&store::MemberRow| row.name != name_of(row.node_id);
        let begin = |node_id, begin| {
            Step::Write(Box::new(Command::RemoveMember(store::RemoveMember { node_id, begin })))
        };
        if let Some(row) = state.live_members().find(|row| row.leaving) {
            return match group.next_of_removal(row.node_id).ok()? {
                Removal::HandOver(next) => Some(Step::HandOver(next)),
                Removal::Demote => Some(Step::Change(Change::Demote(row.node_id))),
                Removal::Finish => Some(begin(row.node_id, false)),
            };
        }
        if let Some(row) = state.live_members().find(is_nobody) {
            return Some(begin(row.node_id, true));
        }
        if let Some(row) = state.live_members().find(|row| !is_in(&row.node_id)) {
            return Some(Step::Change(Change::AddLearner(row.node_id)));
        }
        if let Some(row) = state.live_members().find(|row| row.disk_id.is_empty()) {
            return Some(Step::Write(Box::new(Command::AnnounceMember(store::AnnounceMember {
                node_id: row.node_id,
                name: row.name.clone(),
                disk_id: disk_of(row.node_id),
                peer_address: row.peer_address.clone(),
                level: LEVEL,
                ..store::AnnounceMember::default()
            }))));
        }
        if let Some(id) = group.learners.first() {
            return Some(Step::Change(Change::Promote(*id)));
        }
        let voters = group.voters.len();
        if voters > 3 && (voters >= VOTERS_MAX || self.mischief.one_in(2)) {
            // The leader, too: it hands over first.
            return self.mischief.pick(&group.voters).map(|id| begin(*id, true));
        }
        let name = name_of(state.cluster.next_node_id);
        let peer_address = format!("{name}:7443");
        Some(Step::Write(Box::new(Command::AddMember(store::AddMember { name, peer_address }))))
    }
}
