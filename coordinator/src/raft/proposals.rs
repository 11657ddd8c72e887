//! Proposals that wait for their commit, and the mark that finds them again in the log.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::sync::oneshot;

/// An entry that is committed and applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed<O> {
    /// Its place in the log: the revision.
    pub index: u64,
    /// The term that it was written in.
    pub term: u64,
    /// What the machine answered.
    pub output: O,
}

/// Why a proposal has no answer of the machine.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ProposeError {
    /// Another member leads, or none. The entry was not proposed.
    #[error("this member does not lead")]
    NotLeader {
        /// Who does, when it is known.
        leader: Option<u64>,
    },
    /// Too much is under way. The entry was not proposed.
    #[error("overloaded, try again later")]
    Overloaded,
    /// Larger than an entry may be. It was not proposed.
    #[error("an entry of {bytes} bytes is too large, the most is {max}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// An entry without bytes means something else in the log. It was not proposed.
    #[error("an entry must not be empty")]
    Empty,
    /// Not committed in time. It may still be.
    #[error("not committed within {0:?}, it may still be")]
    Deadline(Duration),
    /// The leadership that it was proposed under ended. It may still be committed.
    #[error("leadership was lost, the entry may still be committed")]
    Dropped,
    /// The node stops. The entry may be in the log.
    #[error("the node has stopped, the entry may still be committed")]
    Stopped,
}

impl ProposeError {
    /// Whether the entry may be in the log, and be committed later.
    pub fn may_be_written(&self) -> bool {
        match self {
            Self::NotLeader { .. } | Self::Overloaded | Self::TooLarge { .. } | Self::Empty => {
                false
            }
            Self::Deadline(_) | Self::Dropped | Self::Stopped => true,
        }
    }
}

/// How a proposer is told.
pub(super) type Reply<O> = oneshot::Sender<Result<Committed<O>, ProposeError>>;

/// What a proposal carries in the log, and a round of reads in its messages: whose it is, in which
/// life, and its number there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Origin {
    node_id: u64,
    /// Another one for each start: entries of an earlier life are not taken for ours.
    life: u64,
}

impl Origin {
    pub(super) fn new(node_id: u64, life: u64) -> Self {
        Self { node_id, life }
    }

    /// The mark of the thing with this number.
    pub(super) fn mark(self, number: u64) -> Vec<u8> {
        [self.node_id.to_le_bytes(), self.life.to_le_bytes(), number.to_le_bytes()].concat()
    }

    fn number(self, mark: &[u8]) -> Option<u64> {
        let (origin, number) = mark.split_last_chunk::<8>()?;
        let own = [self.node_id.to_le_bytes(), self.life.to_le_bytes()].concat();
        (origin == own).then(|| u64::from_le_bytes(*number))
    }
}

/// Proposals of this life that are not answered yet.
pub(super) struct Proposals<O> {
    origin: Origin,
    last: u64,
    pending: HashMap<u64, Pending<O>>,
}

struct Pending<O> {
    deadline: Instant,
    allowed: Duration,
    reply: Reply<O>,
}

impl<O> Proposals<O> {
    pub(super) fn new(origin: Origin) -> Self {
        Self { origin, last: 0, pending: HashMap::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.pending.len()
    }

    /// The mark of the next proposal, and its number.
    pub(super) fn next(&mut self) -> (u64, Vec<u8>) {
        self.last += 1;
        (self.last, self.origin.mark(self.last))
    }

    /// Waits for the commit of `number`.
    pub(super) fn wait(&mut self, number: u64, now: Instant, allowed: Duration, reply: Reply<O>) {
        let pending = Pending { deadline: now + allowed, allowed, reply };
        self.pending.insert(number, pending);
    }

    /// Whoever waits for the entry with `mark`.
    pub(super) fn take(&mut self, mark: &[u8]) -> Option<Reply<O>> {
        let number = self.origin.number(mark)?;
        self.pending.remove(&number).map(|pending| pending.reply)
    }

    /// Answers those with these numbers that they were not proposed.
    pub(super) fn refuse(&mut self, numbers: &[u64], error: &ProposeError) {
        for number in numbers {
            if let Some(refused) = self.pending.remove(number) {
                let _ = refused.reply.send(Err(error.clone()));
            }
        }
    }

    /// Answers those that waited too long.
    pub(super) fn expire(&mut self, now: Instant) {
        for (_, late) in self.pending.extract_if(|_, pending| pending.deadline <= now) {
            // Whoever asked may be gone, and need not know.
            let _ = late.reply.send(Err(ProposeError::Deadline(late.allowed)));
        }
    }

    /// Answers all of them with `error`.
    pub(super) fn fail(&mut self, error: &ProposeError) {
        for (_, pending) in self.pending.drain() {
            let _ = pending.reply.send(Err(error.clone()));
        }
    }
}
