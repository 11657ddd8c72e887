//! Changes of the members and hand-overs that wait for their end, and who is heard.
//!
//! Raft turns a change that it does not allow into an empty entry, whose context is lost. So a change
//! is found by its place: whatever is applied at its index tells what became of it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use parallax_common::limits::MEMBER_HEARD_WITHIN;
use raft::eraftpb::{ConfChangeSingle, ConfChangeType, ConfChangeV2, ConfState};
use thiserror::Error;
use tokio::sync::oneshot;

use crate::core::membership::{Change, Unfit, Who};

/// Why a change of the members was not made, or why it is not known whether it was.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ChangeError {
    /// Another member leads, or none. Nothing was proposed.
    #[error("this member does not lead")]
    NotLeader {
        /// Who does, when it is known.
        leader: Option<u64>,
    },
    /// It is not allowed now. Nothing was proposed.
    #[error(transparent)]
    Unfit(#[from] Unfit),
    /// Too much is under way. Nothing was proposed.
    #[error("overloaded, try again later")]
    Overloaded,
    /// A new leader wrote something else in its place. It was not made.
    #[error("leadership was lost before the change was committed; it was not made")]
    Overtaken,
    /// Not applied in time. It may still be.
    #[error("not applied within {0:?}, it may still be")]
    Deadline(Duration),
    /// The node stops. It may still be made.
    #[error("the node has stopped, the change may still be made")]
    Stopped,
}

/// Why leadership was not handed over.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TransferError {
    /// Another member leads, or none.
    #[error("this member does not lead")]
    NotLeader {
        /// Who does, when it is known.
        leader: Option<u64>,
    },
    /// That member cannot lead now.
    #[error(transparent)]
    Unfit(#[from] Unfit),
    /// Another hand-over is under way.
    #[error("leadership is being handed to {0}")]
    Pending(Who),
    /// The other did not take it; this member leads on.
    #[error("{0} did not take the leadership in time; nothing has changed")]
    NotTaken(Who),
    /// Somebody else was elected meanwhile.
    #[error("{0} was elected instead")]
    OtherElected(Who),
    /// It is not known who leads.
    #[error("no leader is known after {0:?}")]
    Deadline(Duration),
    /// Too much is under way.
    #[error("overloaded, try again later")]
    Overloaded,
    /// The node stops.
    #[error("the node has stopped")]
    Stopped,
}

impl TransferError {
    /// The same with names.
    pub fn named(self, name: impl Fn(u64) -> String) -> Self {
        let fill = |who: Who| Who { name: name(who.node_id), ..who };
        match self {
            Self::Unfit(why) => Self::Unfit(why.named(name)),
            Self::Pending(who) => Self::Pending(fill(who)),
            Self::NotTaken(who) => Self::NotTaken(fill(who)),
            Self::OtherElected(who) => Self::OtherElected(fill(who)),
            other => other,
        }
    }
}

/// How whoever asked for a change is told the index of its entry.
pub(super) type ChangeReply = oneshot::Sender<Result<u64, ChangeError>>;
/// How whoever asked for a hand-over is told.
pub(super) type TransferReply = oneshot::Sender<Result<(), TransferError>>;

/// The change as Raft has it.
pub(super) fn encode(change: Change) -> ConfChangeV2 {
    let change_type = match change {
        Change::AddLearner(_) | Change::Demote(_) => ConfChangeType::AddLearnerNode,
        Change::Promote(_) => ConfChangeType::AddNode,
        Change::Remove(_) => ConfChangeType::RemoveNode,
    };
    let single =
        ConfChangeSingle { change_type, node_id: change.node_id(), ..ConfChangeSingle::default() };
    let mut encoded = ConfChangeV2::default();
    encoded.set_changes(vec![single].into());
    encoded
}

/// A change that was proposed.
pub(super) struct Proposed {
    pub(super) change: Change,
    pub(super) index: u64,
    pub(super) term: u64,
    pub(super) deadline: Instant,
    pub(super) allowed: Duration,
    pub(super) reply: ChangeReply,
}

/// A hand-over that was begun.
pub(super) struct Transfer {
    pub(super) to: u64,
    pub(super) deadline: Instant,
    pub(super) allowed: Duration,
    pub(super) reply: TransferReply,
}

/// At most one of each.
#[derive(Default)]
pub(super) struct Changes {
    proposed: Option<Proposed>,
    transfer: Option<Transfer>,
    /// What became of the change, told when the state that it is part of is visible.
    settled: Option<(ChangeReply, Result<u64, ChangeError>)>,
}

impl Changes {
    pub(super) fn is_pending(&self) -> bool {
        self.proposed.is_some()
    }

    /// Whom leadership is being handed to.
    pub(super) fn transferee(&self) -> Option<u64> {
        self.transfer.as_ref().map(|transfer| transfer.to)
    }

    pub(super) fn wait(&mut self, proposed: Proposed) {
        self.proposed = Some(proposed);
    }

    pub(super) fn wait_for_leader(&mut self, transfer: Transfer) {
        self.transfer = Some(transfer);
    }

    /// The entry at `index` is applied; `changes` when it is a change of the members.
    pub(super) fn applied(&mut self, index: u64, term: u64, changes: bool) {
        if let Some(proposed) = self.proposed.take_if(|proposed| proposed.index == index) {
            let made = changes && proposed.term == term;
            let result = if made { Ok(index) } else { Err(ChangeError::Overtaken) };
            self.settled = Some((proposed.reply, result));
        }
    }

    /// A snapshot took the place of everything up to `index`.
    pub(super) fn installed(&mut self, index: u64, conf: &ConfState) {
        if let Some(proposed) = self.proposed.take_if(|proposed| proposed.index <= index) {
            let made = proposed.change.holds(&conf.voters, &conf.learners);
            let result = if made { Ok(proposed.index) } else { Err(ChangeError::Overtaken) };
            self.settled = Some((proposed.reply, result));
        }
    }

    /// Tells what became of a change whose state is visible now.
    pub(super) fn answer(&mut self) {
        if let Some((reply, result)) = self.settled.take() {
            // Whoever asked may be gone, and need not know.
            let _ = reply.send(result);
        }
    }

    /// Somebody leads. `own` is this member; `trying` while it still tries to hand over.
    pub(super) fn led_by(&mut self, leader: Option<u64>, own: u64, trying: bool) {
        let Some(leader) = leader.filter(|leader| *leader != own || !trying) else { return };
        if let Some(Transfer { to, reply, .. }) = self.transfer.take() {
            let _ = reply.send(match leader {
                leader if leader == to => Ok(()),
                leader if leader == own => Err(TransferError::NotTaken(to.into())),
                other => Err(TransferError::OtherElected(other.into())),
            });
        }
    }

    /// Answers those that waited too long.
    pub(super) fn expire(&mut self, now: Instant) {
        if let Some(late) = self.proposed.take_if(|proposed| proposed.deadline <= now) {
            let _ = late.reply.send(Err(ChangeError::Deadline(late.allowed)));
        }
        if let Some(late) = self.transfer.take_if(|transfer| transfer.deadline <= now) {
            let _ = late.reply.send(Err(TransferError::Deadline(late.allowed)));
        }
    }

    /// Answers everybody: the node stops.
    pub(super) fn stop(&mut self) {
        self.answer();
        if let Some(proposed) = self.proposed.take() {
            let _ = proposed.reply.send(Err(ChangeError::Stopped));
        }
        if let Some(transfer) = self.transfer.take() {
            let _ = transfer.reply.send(Err(TransferError::Stopped));
        }
    }
}

/// When each of the others last answered this leader, and since when without a gap.
#[derive(Default)]
pub(super) struct Heard(BTreeMap<u64, (Instant, Instant)>);

impl Heard {
    /// An answer came.
    pub(super) fn hear(&mut self, id: u64, now: Instant) {
        let (last, since) = self.0.entry(id).or_insert((now, now));
        if now.saturating_duration_since(*last) > MEMBER_HEARD_WITHIN {
            *since = now;
        }
        *last = now;
    }

    /// How long ago it was heard, and for how long without a gap.
    pub(super) fn of(&self, id: u64, now: Instant) -> (Option<Duration>, Duration) {
        match self.0.get(&id) {
            None => (None, Duration::ZERO),
            Some((last, since)) => {
                let ago = now.saturating_duration_since(*last);
                let steady = now.saturating_duration_since(*since);
                (Some(ago), if ago > MEMBER_HEARD_WITHIN { Duration::ZERO } else { steady })
            }
        }
    }

    /// Another leadership begins.
    pub(super) fn forget(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use parallax_runtime::clock;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn who_is_heard_again_after_a_gap_begins_anew() {
        let (mut heard, start) = (Heard::default(), clock::instant());
        assert_eq!(heard.of(2, start), (None, Duration::ZERO));
        for step in 0..=20 {
            heard.hear(2, start + 500 * MS * step);
        }
        assert_eq!(heard.of(2, start + 10_100 * MS), (Some(100 * MS), 10_100 * MS));
        assert_eq!(heard.of(2, start + 11_001 * MS), (Some(1_001 * MS), Duration::ZERO));
        heard.hear(2, start + 11_500 * MS);
        assert_eq!(heard.of(2, start + 11_500 * MS), (Some(Duration::ZERO), Duration::ZERO));
        heard.forget();
        assert_eq!(heard.of(2, start + 11_500 * MS), (None, Duration::ZERO));
    }

    fn proposed() -> (Changes, oneshot::Receiver<Result<u64, ChangeError>>) {
        let (reply, answer) = oneshot::channel();
        let mut changes = Changes::default();
        changes.wait(Proposed {
            change: Change::Promote(3),
            index: 10,
            term: 2,
            deadline: clock::instant() + 100 * MS,
            allowed: 100 * MS,
            reply,
        });
        (changes, answer)
    }

    #[test]
    fn what_stands_at_its_index_tells_what_became_of_a_change() {
        let cases = [
            (10, 2, true, Some(Ok(10))),
            (10, 2, false, Some(Err(ChangeError::Overtaken))),
            (10, 3, true, Some(Err(ChangeError::Overtaken))),
            (9, 2, true, None),
        ];
        for (index, term, is_change, told) in cases {
            let (mut changes, mut answer) = proposed();
            changes.applied(index, term, is_change);
            assert!(answer.try_recv().is_err(), "not before the state is visible");
            changes.answer();
            assert_eq!(answer.try_recv().ok(), told);
            assert_eq!(changes.is_pending(), told.is_none());
        }
    }

    #[test]
    fn a_snapshot_over_its_index_tells_it_by_who_votes_then() {
        let conf = |voters: &[u64]| ConfState { voters: voters.to_vec(), ..ConfState::default() };
        let cases = [
            (12, conf(&[1, 2, 3]), Some(Ok(10))),
            (12, conf(&[1, 2]), Some(Err(ChangeError::Overtaken))),
            (9, conf(&[1, 2]), None),
        ];
        for (index, conf, told) in cases {
            let (mut changes, mut answer) = proposed();
            changes.installed(index, &conf);
            changes.answer();
            assert_eq!(answer.try_recv().ok(), told);
        }
    }

    #[test]
    fn a_change_without_an_end_is_unknown_after_its_deadline() {
        let (mut changes, mut answer) = proposed();
        changes.expire(clock::instant());
        assert!(answer.try_recv().is_err());
        changes.expire(clock::instant() + 200 * MS);
        assert_eq!(answer.try_recv().unwrap(), Err(ChangeError::Deadline(100 * MS)));
    }

    #[test]
    fn a_hand_over_ends_with_whoever_leads() {
        let cases = [
            (Some(1), true, None),
            (None, false, None),
            (Some(2), false, Some(Ok(()))),
            (Some(1), false, Some(Err(TransferError::NotTaken(2.into())))),
            (Some(3), false, Some(Err(TransferError::OtherElected(3.into())))),
        ];
        for (leader, trying, told) in cases {
            let (reply, mut answer) = oneshot::channel();
            let mut changes = Changes::default();
            let (deadline, allowed) = (clock::instant(), MS);
            changes.wait_for_leader(Transfer { to: 2, deadline, allowed, reply });
            changes.led_by(leader, 1, trying);
            assert_eq!(answer.try_recv().ok(), told);
        }
    }
}
