//! At most one member leads in a term.

use std::collections::BTreeMap;

use raft::eraftpb::MessageType;

use super::Invariant;
use crate::seen::Seen;

/// Who led in each term.
#[derive(Default)]
pub struct OneLeader(BTreeMap<u64, u64>);

impl OneLeader {
    fn lead(&mut self, term: u64, node: u64) -> Result<(), String> {
        match *self.0.entry(term).or_insert(node) {
            first if first == node => Ok(()),
            first => Err(format!("members {first} and {node} both lead in term {term}")),
        }
    }
}

impl Invariant for OneLeader {
    fn name(&self) -> &'static str {
        "one leader a term"
    }

    fn see(&mut self, seen: &Seen) -> Result<(), String> {
        match seen {
            Seen::Leads { node, term, .. } => self.lead(*term, *node),
            // What only a leader sends.
            Seen::Sent {
                from,
                term,
                kind: MessageType::MsgAppend | MessageType::MsgHeartbeat | MessageType::MsgSnapshot,
                ..
            } => self.lead(*term, *from),
            _ => Ok(()),
        }
    }
}
