//! What a member told others, it knows after every crash: its term, its vote, and the entries that it
//! said it has.

use std::collections::BTreeMap;

use raft::eraftpb::MessageType;

use super::Invariant;
use crate::seen::Seen;

/// What one member told others.
#[derive(Debug, Default)]
struct Told {
    term: u64,
    /// The newest term in which it voted, and for whom.
    vote: (u64, u64),
    /// Up to where it said that it has its leader's log, unless that was replaced since.
    last: u64,
}

/// By member.
#[derive(Default)]
pub struct Promises(BTreeMap<u64, Told>);

impl Invariant for Promises {
    fn name(&self) -> &'static str {
        "a promise outlives a crash"
    }

    fn see(&mut self, seen: &Seen) -> Result<(), String> {
        match seen {
            Seen::Sent { from, to, kind, term, index, reject } => {
                let told = self.0.entry(*from).or_default();
                let vote = match kind {
                    // Questions about a term that nobody is in yet.
                    MessageType::MsgRequestPreVote | MessageType::MsgRequestPreVoteResponse => {
                        return Ok(());
                    }
                    MessageType::MsgRequestVote => Some(*from),
                    MessageType::MsgRequestVoteResponse if !reject => Some(*to),
                    MessageType::MsgAppendResponse if !reject => {
                        told.last = told.last.max(*index);
                        None
                    }
                    _ => None,
                };
                told.term = told.term.max(*term);
                if let Some(vote) = vote.filter(|_| *term >= told.vote.0) {
                    told.vote = (*term, vote);
                }
            }
            // The leader replaces what it never acknowledged itself.
            Seen::Appended { node, last, .. } => {
                let told = self.0.entry(*node).or_default();
                told.last = told.last.min(*last);
            }
            Seen::Started { node, last, term, vote } => {
                let told = self.0.entry(*node).or_default();
                if *term < told.term {
                    return Err(format!(
                        "member {node} starts in term {term}, and was in {} before",
                        told.term
                    ));
                }
                if *term == told.vote.0 && *vote != told.vote.1 {
                    return Err(format!(
                        "member {node} voted for {} in term {term}, and its disk says {vote}",
                        told.vote.1
                    ));
                }
                if *last < told.last {
                    return Err(format!(
                        "member {node} said that it has entry {}, and its log ends with {last}",
                        told.last
                    ));
                }
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(kind: MessageType, to: u64, term: u64, index: u64) -> Seen {
        Seen::Sent { from: 1, to, kind, term, index, reject: false }
    }

    fn appended(last: u64) -> Seen {
        Seen::Appended { node: 1, before: None, entries: Vec::new(), last }
    }

    fn started(last: u64, term: u64, vote: u64) -> Seen {
        Seen::Started { node: 1, last, term, vote }
    }

    #[test]
    fn what_was_told_must_be_on_the_disk_and_what_was_not_need_not() {
        let vote = || sent(MessageType::MsgRequestVoteResponse, 2, 5, 0);
        let acknowledged = || sent(MessageType::MsgAppendResponse, 2, 5, 9);
        let asked = || sent(MessageType::MsgRequestPreVote, 2, 6, 0);
        for (name, all, good) in [
            ("the vote is there", vec![vote(), started(0, 5, 2)], true),
            ("a later term has no vote yet", vec![vote(), started(0, 6, 0)], true),
            ("the vote is gone", vec![vote(), started(0, 5, 0)], false),
            ("the vote is another's", vec![vote(), started(0, 5, 3)], false),
            ("the term is gone", vec![vote(), started(0, 4, 0)], false),
            ("a question is no promise", vec![vote(), asked(), started(0, 5, 2)], true),
            ("the entries are there", vec![acknowledged(), started(9, 5, 0)], true),
            ("an entry is gone", vec![acknowledged(), started(8, 5, 0)], false),
            ("it was replaced", vec![acknowledged(), appended(7), started(7, 5, 0)], true),
            ("more is gone", vec![acknowledged(), appended(7), started(6, 5, 0)], false),
            (
                "a candidate forgets itself",
                vec![sent(MessageType::MsgRequestVote, 2, 4, 0), started(0, 4, 0)],
                false,
            ),
        ] {
            let mut promises = Promises::default();
            let seen = all.iter().try_for_each(|seen| promises.see(seen));
            assert_eq!(seen.is_ok(), good, "{name}: {seen:?}");
        }
    }
}
