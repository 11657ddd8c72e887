//! Clients ask, and are answered.

use super::{Event, World};
use crate::api::DEADLINE_US;
use crate::node::Node;
use crate::seen::Seen;
use crate::wire::{Action, Input, Reply, Request};

/// Clients begin nothing new in the very last of the calm seconds.
const QUIET_US: u64 = 8_000_000;
/// A client rests longer after so many acknowledged writes, and longer again after as many more: in a
/// world in which little goes through they hurry, one in which all goes well needs no more of them.
const EASED_EVERY: u64 = 4;

impl World {
    pub(super) fn ask(&mut self, index: usize) {
        if self.clients[index].open.is_none() {
            if self.now_us + QUIET_US >= self.end_us {
                return;
            }
            let step = self.count;
            self.clients[index].begin(index, &self.profile, step);
        }
        let Some(open) = &mut self.clients[index].open else { return };
        open.attempt += 1;
        let (number, attempt, action) = (open.number, open.attempt, open.action.clone());
        let request = Request { client: index, number, attempt, action };
        if attempt > 1 {
            self.counters.add("asked again");
        }
        // Only members are in a client's list of endpoints.
        let is_member = |node: &&Node| !node.removed && node.joined.is_some();
        let ids: Vec<u64> = self.nodes.values().filter(is_member).map(|node| node.id).collect();
        let Some(to) = self.chance.pick(&ids).copied() else { return };
        if !self.breaks() {
            let delay_us = self.chance.between(100, 5_000);
            self.after(delay_us, Event::Arrive(to, Box::new(Input::Request(request))));
        }
        // Whoever asks twice stages twice. In the calm no call is lost: as production's, a client waits
        // for what a member still does.
        let patience_us = match self.is_calm() {
            true => self.chance.between(DEADLINE_US, DEADLINE_US + 1_000_000),
            false => self.chance.between(800_000, 3_000_000),
        };
        self.after(patience_us, Event::Impatient(index, number, attempt));
    }

    pub(super) fn answer(&mut self, request: &Request, reply: &Reply) {
        let index = request.client;
        let step = self.count;
        let client = &mut self.clients[index];
        let Some(open) = client.open.as_ref().filter(|open| open.number == request.number) else {
            return;
        };
        // A read's answer counts for the attempt that asked, and so does an earlier one's.
        if matches!(reply, Reply::Later | Reply::Unknown) {
            if open.attempt == request.attempt {
                // Longer each time: who hurries a group that is behind keeps it there.
                let pause_us = self.chance.between(20_000, 200_000) * request.attempt.min(5);
                let (number, attempt) = (request.number, request.attempt);
                self.after(pause_us, Event::Impatient(index, number, attempt));
            }
            return;
        }
        match reply {
            Reply::Done(revision) => {
                let request = (client.name.clone(), request.number);
                self.sink.tell(Seen::Acknowledged { request, revision: *revision });
            }
            Reply::Read(one, other) => {
                if let Action::Read { key } = request.action {
                    self.sink.tell(Seen::Read { key, one: *one, other: *other });
                }
            }
            Reply::Conflict => self.counters.add("conflict"),
            _ => {}
        }
        if client.answer(reply, step, &mut self.linear) {
            let eased = 1 + client.acknowledged / EASED_EVERY;
            let rest_us = self.chance.below(self.profile.think_us * eased * eased);
            self.after(rest_us, Event::Ask(index));
        }
    }
}
