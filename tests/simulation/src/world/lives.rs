//! What comes to a member, and how its process begins and ends.

use parallax_coordinator::core::peering::{Refusal, Standing};
use parallax_coordinator::raft::outbound::Carried;
use raft::eraftpb::MessageType;

use super::{Event, World};
use crate::gate;
use crate::seen::Seen;
use crate::trouble::Cure;
use crate::wire::{Failed, Input, Reply};

impl World {
    pub(super) fn arrive(&mut self, to: u64, input: Input) {
        if matches!(input, Input::ShutOut) {
            return self.shut_out(to);
        }
        let from = match &input {
            Input::Raft(message, _) => Some((message.from, false)),
            Input::Forward { from, .. } => Some((*from, true)),
            _ => None,
        };
        let is_let_in = from.is_none_or(|(from, is_call)| self.is_let_in(to, from, is_call));
        if let Input::Raft(message, _) = &input
            && message.get_msg_type() == MessageType::MsgSnapshot
        {
            let is_there = self.nodes.get(&to).is_some_and(|node| node.process.is_some());
            let carried = if is_there && is_let_in { Carried::Arrived } else { Carried::Lost };
            let input = Input::SnapshotSent { to, carried };
            self.after(1_000, Event::Arrive(message.from, Box::new(input)));
        }
        if !is_let_in {
            if let Input::Forward { id, from, .. } = input {
                let result = Err(Failed::NotDone);
                self.after(1_000, Event::Arrive(from, Box::new(Input::Forwarded { id, result })));
            }
            return;
        }
        let Some(node) = self.nodes.get_mut(&to) else { return };
        match input {
            // Nobody listens: half of the time the machine still says so.
            Input::Request(request) if node.process.is_none() => {
                if self.chance.one_in(2) {
                    self.after(1_000, Event::Answer(request, Reply::Later));
                }
            }
            input => {
                if node.receive(input) {
                    self.turn(to);
                }
            }
        }
    }

    /// Whether a member takes what another one sends: a stream is asked again once a second, each call
    /// for itself. Whoever was removed is told so, when the way back is open.
    pub(crate) fn is_let_in(&mut self, to: u64, from: u64, is_call: bool) -> bool {
        let now_us = self.now_us;
        let Some(process) = self.nodes.get(&to).and_then(|node| node.process.as_ref()) else {
            return true;
        };
        let said = match process.gate.known(from, now_us).filter(|_| !is_call) {
            Some(said) => said,
            None => {
                let other = self.nodes.get(&from).and_then(|node| node.process.as_ref());
                let theirs = other.map(|other| other.view.load()).unwrap_or_default();
                let hello = gate::hello(from, to, &theirs);
                let said = process.gate.admit(&process.view.load(), &hello);
                if said.is_ok() {
                    self.sink.tell(Seen::LetIn { node: to, from });
                }
                // From now on, and no longer for what comes meanwhile.
                if let Some(process) = self.nodes.get_mut(&to).and_then(|it| it.process.as_mut()) {
                    process.gate.keep(from, now_us, said);
                }
                said
            }
        };
        match said {
            Ok(Standing::Member) => true,
            // Its row is not applied here yet: what its log lacks is taken from it, nothing else.
            Ok(Standing::Ahead) => !is_call,
            Err(refusal) => {
                self.refused(to, from, refusal);
                false
            }
        }
    }

    /// A member was not let in.
    pub(crate) fn refused(&mut self, to: u64, from: u64, refusal: Refusal) {
        if refusal != Refusal::Removed {
            return self.counters.add("hello refused");
        }
        self.counters.add("removed member refused");
        if self.network.is_open(to, from) && !self.breaks() {
            let (least, most) = self.profile.delay_us;
            let delay_us = self.chance.between(least, most);
            self.after(delay_us, Event::Arrive(from, Box::new(Input::ShutOut)));
        }
    }

    /// A member is told that it was removed.
    fn shut_out(&mut self, id: u64) {
        let Some(node) = self.nodes.get(&id) else { return };
        if node.process.is_some() && !node.paused {
            self.stop_removed(id);
        }
    }

    /// A member that was removed ends. Somebody may start it again, once.
    pub(crate) fn stop_removed(&mut self, id: u64) {
        let is_calm = self.is_calm();
        let Some(node) = self.nodes.get_mut(&id) else { return };
        if !node.is_leaving {
            node.is_leaving = true;
            self.counters.add("member removed");
            node.comes_again = !is_calm && self.mischief.one_in(2);
        }
        let comes_again = std::mem::take(&mut node.comes_again);
        node.removed = !comes_again;
        node.crash(&mut self.mischief);
        self.trace.note(self.now_us, &[id], || format!("{id} was removed and stops"));
        self.end_judge(id);
        self.end_watches(id);
        if comes_again {
            let later_us = self.mischief.between(200_000, 4_000_000);
            self.after(later_us, Event::Heal(Cure::Restart(id)));
        }
    }

    /// Starts a member's process.
    pub(crate) fn start(&mut self, id: u64) {
        let Some(node) = self.nodes.get(&id) else { return };
        if node.process.is_some() || node.removed {
            return;
        }
        if node.is_leaving {
            self.counters.add("removed member started again");
        }
        let is_same_boot = node.life > 0 && !self.mesh.road.one_in(4);
        let boot_us = match is_same_boot {
            true => node.boot_us,
            false => self.mesh.road.between(1_000_000, 1_000_000_000),
        };
        let offset_ns = self.first_offset(id, boot_us, is_same_boot);
        let is_calm = self.is_calm();
        let Some(node) = self.nodes.get_mut(&id) else { return };
        node.boot_us = boot_us;
        let clock = (self.now_us, offset_ns);
        node.start(self.seed, &self.profile, &self.sink, &mut self.counters, clock);
        if is_calm && let Some(process) = &mut node.process {
            process.pager.calm();
        }
        self.begin_judge(id);
        self.turn(id);
        self.go_on();
    }

    /// Takes a member's power away.
    pub(crate) fn crash(&mut self, id: u64, why: &str) {
        let Some(node) = self.nodes.get_mut(&id).filter(|node| node.process.is_some()) else {
            return;
        };
        node.crash(&mut self.mischief);
        self.end_judge(id);
        self.end_watches(id);
        self.counters.add("crash");
        let down_us = match self.is_calm() {
            true => 200_000,
            false => self.mischief.between(20_000, 1_500_000),
        };
        self.trace.note(self.now_us, &[id], || format!("{id} crashes ({why})"));
        self.after(down_us, Event::Heal(Cure::Restart(id)));
    }

    /// One that is in the list has joined.
    pub(super) fn note_joined(&mut self, index: u64, (voters, learners): &(Vec<u64>, Vec<u64>)) {
        for node in self.nodes.values_mut().filter(|node| node.joined.is_none()) {
            if voters.contains(&node.id) || learners.contains(&node.id) {
                node.joined = Some(index);
            }
        }
    }

    /// Once a second a member says hello to all others: its streams are kept up, whatever it has to say.
    pub(crate) fn say_hellos(&mut self, id: u64) {
        let others: Vec<u64> = self.nodes.keys().copied().filter(|other| *other != id).collect();
        for to in others {
            if self.network.is_open(id, to) {
                self.is_let_in(to, id, false);
            }
        }
    }
}
