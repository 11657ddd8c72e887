//! A member votes for one candidate in a term, also when it was restarted in between.

use std::collections::BTreeMap;

use raft::eraftpb::MessageType;

use super::Invariant;
use crate::seen::Seen;

/// By voter and term: for whom.
#[derive(Default)]
pub struct OneVote(BTreeMap<(u64, u64), u64>);

impl Invariant for OneVote {
    fn name(&self) -> &'static str {
        "one vote a term"
    }

    fn see(&mut self, seen: &Seen) -> Result<(), String> {
        let Seen::Sent { from: voter, to, kind, term, reject, .. } = seen else { return Ok(()) };
        let (voter, term) = (*voter, *term);
        let to = match kind {
            MessageType::MsgRequestVoteResponse if !reject => *to,
            // A candidate has voted for itself.
            MessageType::MsgRequestVote => voter,
            _ => return Ok(()),
        };
        match *self.0.entry((voter, term)).or_insert(to) {
            first if first == to => Ok(()),
            first => Err(format!("member {voter} votes for {first} and {to} in term {term}")),
        }
    }
}
