//! Linearizable reads: a read joins the next round, and is answered when its index is applied.
//!
//! A round asks the quorum once for all reads that waited when it began. A read that comes later
//! must not join it: what it has to see may be newer than the answer. A round belongs to one term of
//! one leader; when another leads, it is given up and its reads are asked for anew at once.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::sync::oneshot;

use super::proposals::Origin;
use super::standstill::Standstill;
use crate::mutant::{self, Mutant};

/// Why a read has no index.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ReadError {
    /// Too many reads wait.
    #[error("overloaded, try again later")]
    Overloaded,
    /// No quorum answered in time, or apply is behind.
    #[error("not confirmed within {0:?}")]
    Deadline(Duration),
    /// What the read has to see is not understood by this build.
    #[error("{0}")]
    StandsStill(Standstill),
    /// The node stops.
    #[error("the node has stopped")]
    Stopped,
}

/// How a reader is told.
pub(super) type Reply = oneshot::Sender<Result<u64, ReadError>>;

/// A round that got no answer in this many ticks is asked again: Raft drops what it cannot answer.
const TICKS_MAX: u32 = 10;

struct Read {
    deadline: Instant,
    allowed: Duration,
    reply: Reply,
}

struct Round {
    /// What its answer is known by, on every member and in every life of this one: leaders keep the
    /// rounds of all members in one table, and an answer may come after a restart.
    context: Vec<u8>,
    office: Office,
    ticks: u32,
    reads: Vec<Read>,
}

/// (term, leader): whom a round is asked of.
pub(super) type Office = (u64, u64);

/// Reads that are not answered yet.
pub(super) struct Reads {
    origin: Origin,
    last: u64,
    waiting: Vec<Read>,
    flight: Option<Round>,
    confirmed: BTreeMap<u64, Vec<Read>>,
    /// Rounds that got no answer in time.
    asked_again: u64,
}

impl Reads {
    pub(super) fn new(origin: Origin) -> Self {
        Self {
            origin,
            last: 0,
            waiting: Vec::new(),
            flight: None,
            confirmed: BTreeMap::new(),
            asked_again: 0,
        }
    }

    /// How many rounds got no answer in time and were asked again.
    pub(super) fn asked_again(&self) -> u64 {
        self.asked_again
    }

    pub(super) fn len(&self) -> usize {
        let flight = self.flight.as_ref().map_or(0, |round| round.reads.len());
        self.waiting.len() + flight + self.confirmed.values().map(Vec::len).sum::<usize>()
    }

    /// A new read; it joins the next round.
    pub(super) fn wait(&mut self, now: Instant, allowed: Duration, reply: Reply) {
        let read = Read { deadline: now + allowed, allowed, reply };
        match &mut self.flight {
            Some(round) if mutant::on(Mutant::ReadJoinsFlight) => round.reads.push(read),
            _ => self.waiting.push(read),
        }
    }

    /// The context of a round that is to be asked of `office` now; none when one is under way there or
    /// nobody waits.
    pub(super) fn begin(&mut self, office: Office) -> Option<Vec<u8>> {
        let mut reads = match self.flight.take() {
            Some(round) if round.office == office => {
                self.flight = Some(round);
                return None;
            }
            // Whoever was asked may never answer.
            Some(round) => round.reads,
            None => Vec::new(),
        };
        reads.append(&mut self.waiting);
        if reads.is_empty() { None } else { Some(self.ask(reads, office)) }
    }

    fn ask(&mut self, reads: Vec<Read>, office: Office) -> Vec<u8> {
        self.last += 1;
        let context = self.origin.mark(self.last);
        self.flight = Some(Round { context: context.clone(), office, ticks: 0, reads });
        context
    }

    /// Time passed. The context of a round that is to be asked again.
    pub(super) fn tick(&mut self, now: Instant) -> Option<Vec<u8>> {
        let expire = |reads: &mut Vec<Read>| {
            for late in reads.extract_if(.., |read| read.deadline <= now) {
                let _ = late.reply.send(Err(ReadError::Deadline(late.allowed)));
            }
        };
        expire(&mut self.waiting);
        self.confirmed.values_mut().for_each(expire);
        self.confirmed.retain(|_, reads| !reads.is_empty());
        let mut round = self.flight.take()?;
        expire(&mut round.reads);
        round.ticks += 1;
        if round.reads.is_empty() {
            return None;
        }
        if round.ticks < TICKS_MAX {
            self.flight = Some(round);
            return None;
        }
        self.asked_again += 1;
        // A later round may answer earlier reads, and newer ones come along.
        round.reads.append(&mut self.waiting);
        Some(self.ask(round.reads, round.office))
    }

    /// A quorum answered: what the round with `context` asked for is `index`.
    pub(super) fn confirm(&mut self, context: &[u8], index: u64) {
        if self.flight.as_ref().is_some_and(|round| round.context == context)
            && let Some(round) = self.flight.take()
        {
            self.confirmed.entry(index).or_default().extend(round.reads);
        }
    }

    /// Answers the reads whose index is applied.
    pub(super) fn applied(&mut self, applied: u64) {
        while let Some(first) = self.confirmed.first_entry()
            && (*first.key() <= applied || mutant::on(Mutant::ReadNotApplied))
        {
            let (index, reads) = first.remove_entry();
            for read in reads {
                let _ = read.reply.send(Ok(index));
            }
        }
    }

    /// Answers all of them with `error`.
    pub(super) fn fail(&mut self, error: &ReadError) {
        let flight = self.flight.take().map(|round| round.reads).unwrap_or_default();
        let confirmed = std::mem::take(&mut self.confirmed).into_values().flatten();
        for read in self.waiting.drain(..).chain(flight).chain(confirmed) {
            let _ = read.reply.send(Err(error.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use parallax_runtime::clock;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const FIRST: Office = (1, 1);
    const SECOND_TERM: Office = (2, 3);

    fn reads(node_id: u64, life: u64) -> Reads {
        Reads::new(Origin::new(node_id, life))
    }

    fn read(reads: &mut Reads, now: Instant) -> oneshot::Receiver<Result<u64, ReadError>> {
        let (reply, answer) = oneshot::channel();
        reads.wait(now, SECOND, reply);
        answer
    }

    #[test]
    fn a_read_never_joins_a_round_that_is_under_way() {
        let (mut reads, now) = (reads(1, 1), clock::instant());
        let mut first = read(&mut reads, now);
        let context = reads.begin(FIRST).unwrap();
        let mut second = read(&mut reads, now);
        assert!(reads.begin(FIRST).is_none(), "one round at a time");
        reads.confirm(&context, 5);
        reads.applied(5);
        assert_eq!(first.try_recv().unwrap(), Ok(5));
        assert!(second.try_recv().is_err());
        assert_eq!(reads.asked_again(), 0, "none was lost");
        let context = reads.begin(FIRST).unwrap();
        reads.confirm(&context, 7);
        reads.applied(6);
        assert!(second.try_recv().is_err(), "index 7 is not applied");
        reads.applied(7);
        assert_eq!(second.try_recv().unwrap(), Ok(7));
        assert_eq!(reads.len(), 0);
    }

    #[test]
    fn a_round_without_an_answer_is_asked_again_and_its_late_answer_is_ignored() {
        let (mut reads, now) = (reads(1, 1), clock::instant());
        let mut first = read(&mut reads, now);
        let old = reads.begin(FIRST).unwrap();
        let new = (0..TICKS_MAX).find_map(|_| reads.tick(now)).unwrap();
        assert_ne!(old, new);
        assert_eq!(reads.asked_again(), 1);
        reads.confirm(&old, 5);
        reads.applied(9);
        assert!(first.try_recv().is_err());
        reads.confirm(&new, 8);
        reads.applied(9);
        assert_eq!(first.try_recv().unwrap(), Ok(8));
    }

    #[test]
    fn a_deadline_ends_a_read_wherever_it_waits() {
        let (mut reads, now) = (reads(1, 1), clock::instant());
        let mut confirmed = read(&mut reads, now);
        let context = reads.begin(FIRST).unwrap();
        reads.confirm(&context, 5);
        let mut flying = read(&mut reads, now);
        reads.begin(FIRST).unwrap();
        let mut waiting = read(&mut reads, now);
        assert_eq!(reads.len(), 3);
        assert!(reads.tick(now + SECOND).is_none());
        for answer in [&mut confirmed, &mut flying, &mut waiting] {
            assert_eq!(answer.try_recv().unwrap(), Err(ReadError::Deadline(SECOND)));
        }
        assert_eq!(reads.len(), 0);
    }

    #[test]
    fn another_leader_is_asked_at_once_and_the_answer_of_the_former_is_ignored() {
        let (mut reads, now) = (reads(1, 1), clock::instant());
        let mut first = read(&mut reads, now);
        let old = reads.begin(FIRST).unwrap();
        let mut second = read(&mut reads, now);
        let new = reads.begin(SECOND_TERM).unwrap();
        assert_ne!(old, new);
        assert!(reads.begin(SECOND_TERM).is_none(), "it is under way there");
        reads.confirm(&old, 5);
        reads.applied(9);
        assert!(first.try_recv().is_err() && second.try_recv().is_err());
        reads.confirm(&new, 8);
        reads.applied(9);
        for answer in [&mut first, &mut second] {
            assert_eq!(answer.try_recv().unwrap(), Ok(8));
        }
    }

    #[test]
    fn no_answer_is_taken_for_that_of_another_member_or_of_an_earlier_life() {
        let now = clock::instant();
        let mut contexts: Vec<Vec<u8>> = Vec::new();
        for (node_id, life) in [(1, 1), (2, 1), (1, 2)] {
            let mut reads = reads(node_id, life);
            let mut first = read(&mut reads, now);
            for context in &contexts {
                reads.confirm(context, 5);
            }
            let own = reads.begin(FIRST).unwrap();
            for context in &contexts {
                reads.confirm(context, 5);
            }
            reads.applied(9);
            assert!(first.try_recv().is_err());
            contexts.push(own);
        }
    }
}
