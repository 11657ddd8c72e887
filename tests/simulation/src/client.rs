//! Clients: one request at a time, asked again through any member until it is answered.

use std::collections::BTreeMap;

use parallax_linearize::Call;
use parallax_linearize::register::Op;

use crate::chance::Chance;
use crate::invariant::Linear;
use crate::profile::Profile;
use crate::wire::{Action, Reply, Stored};

/// A request that is not answered yet.
#[derive(Debug, Clone)]
pub struct Open {
    /// The client's number for it.
    pub number: u64,
    /// What it asks for.
    pub action: Action,
    /// How often it was asked.
    pub attempt: u64,
    from: u64,
    /// What a swap expects, as a value.
    base: Option<u64>,
}

/// One client.
#[derive(Debug)]
pub struct Client {
    /// What it is called.
    pub name: String,
    /// The request that it waits for.
    pub open: Option<Open>,
    number: u64,
    known: BTreeMap<u64, Stored>,
    chance: Chance,
    /// Writes that were acknowledged.
    pub acknowledged: u64,
}

impl Client {
    /// The client with this index.
    pub fn new(seed: u64, index: usize) -> Self {
        let name = format!("client-{index}");
        let chance = Chance::new(seed, &name);
        Self { name, open: None, number: 0, known: BTreeMap::new(), chance, acknowledged: 0 }
    }

    /// Begins a request. Every value that is ever written is another one.
    pub fn begin(&mut self, index: usize, profile: &Profile, step: u64) {
        self.number += 1;
        let chance = &mut self.chance;
        let key = chance.below(profile.keys);
        let value = (index as u64 + 1) * 1_000_000 + self.number;
        let known = self.known.get(&key).copied();
        let (action, base) = match (chance.below(20), known) {
            (0..7, _) | (7..12, None) => (Action::Read { key }, None),
            (7..12, Some(known)) => {
                let value = (!chance.one_in(4) || known.is_none()).then_some(value);
                let etag = known.map_or(0, |(_, etag)| etag);
                (Action::Swap { key, etag, value }, known.map(|(value, _)| value))
            }
            (12..18, _) => (Action::Write { key, value }, None),
            (18, _) => {
                // Of the same namespace.
                let keys = match key >= 2 && chance.one_in(2) {
                    true => vec![key, key - 2],
                    false => vec![key],
                };
                (Action::Check { name: key, keys }, None)
            }
            (_, _) => (Action::DropCheck { name: key }, None),
        };
        // The first client sees to what is always looked at, and edits it now and then.
        let edits = index == 0 && (self.number == 1 || chance.one_in(60));
        let (action, base) = match edits {
            true => (Action::Site { version: self.number }, None),
            false if chance.one_in(120) => (Action::Close { latch: chance.one_in(2) }, None),
            false => (action, base),
        };
        self.open = Some(Open { number: self.number, action, attempt: 0, from: step, base });
    }

    /// Takes an answer. True: the request is over.
    pub fn answer(&mut self, reply: &Reply, step: u64, linear: &mut Linear) -> bool {
        let Some(open) = &self.open else { return false };
        if matches!(reply, Reply::Later | Reply::Unknown) {
            return false;
        }
        let call = |op| Call { from: open.from, to: Some(step), op };
        match (&open.action, reply) {
            (Action::Read { key }, Reply::Read(seen, _)) => {
                self.known.insert(*key, *seen);
                linear.add(*key, call(Op::Read(seen.map(|(value, _)| value))));
            }
            (Action::Write { key, value }, Reply::Done(revision)) => {
                self.known.insert(*key, Some((*value, *revision)));
                linear.add(*key, call(Op::Write(Some(*value))));
            }
            (Action::Swap { key, value, .. }, Reply::Done(revision)) => {
                self.known.insert(*key, value.map(|value| (value, *revision)));
                linear.add(*key, call(Op::Swap(open.base, *value)));
            }
            (Action::Swap { key, .. }, Reply::Conflict) => {
                self.known.remove(key);
                linear.add(*key, call(Op::Unequal(open.base)));
            }
            // Refused: nothing was changed, and nothing is known of what is there.
            _ => {}
        }
        if matches!(reply, Reply::Done(_)) {
            self.acknowledged += 1;
        }
        self.open = None;
        true
    }

    /// The history ends: what is still open may have happened or not.
    pub fn end(&self, linear: &mut Linear) {
        let Some(open) = &self.open else { return };
        let call = |op| Call { from: open.from, to: None, op };
        match &open.action {
            Action::Write { key, value } => linear.add(*key, call(Op::Write(Some(*value)))),
            Action::Swap { key, value, .. } => linear.add(*key, call(Op::Swap(open.base, *value))),
            _ => {}
        }
    }
}
