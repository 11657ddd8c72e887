//! Runs that somebody asked for: which orders are obeyed, and what they saw, as it is told.
//!
//! A look is nobody's vote: it has no slot and no number, is in no window and feeds no streak. It has a
//! bucket of its own, beside that of confirmations ([`super::confirm`]): a person who asks again and
//! again must not make an outage slower to find.

use std::collections::VecDeque;

use parallax_common::limits::{LOOKS_AT_ONCE_MAX, LOOKS_BURST, LOOKS_PER_SECOND, LOOKS_REMEMBERED};
use parallax_common::name::RunDigest;
use parallax_common::record::{LookOrder, LookRefusal};
use parallax_common::time::MeshTime;

use super::record::{Ended, Record, bound, means};

/// Why an order is not carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It came before: the first one is answered.
    #[error("the order was already taken")]
    Repeated,
    /// The asker is told so.
    #[error(transparent)]
    Told(#[from] LookRefusal),
}

/// Looks being carried out, and the bucket.
#[derive(Debug)]
pub struct Looks {
    /// By session and number.
    seen: VecDeque<(u64, u64)>,
    running: usize,
    tokens: f64,
    filled_at: Option<MeshTime>,
}

impl Default for Looks {
    fn default() -> Self {
        let tokens = f64::from(LOOKS_BURST);
        Self { seen: VecDeque::new(), running: 0, tokens, filled_at: None }
    }
}

impl Looks {
    /// Takes an order that came over `session`. `held` is the digest of the check as assigned, if it is.
    /// When it is taken, [`Self::ended`] is owed.
    ///
    /// # Errors
    /// Why it is not carried out.
    pub fn accept(
        &mut self,
        session: u64,
        order: &LookOrder,
        held: Option<RunDigest>,
        now: MeshTime,
    ) -> Result<(), Refused> {
        self.fill(now);
        let name = (session, order.look);
        if self.seen.contains(&name) {
            return Err(Refused::Repeated);
        }
        if self.seen.len() >= LOOKS_REMEMBERED {
            self.seen.pop_front();
        }
        self.seen.push_back(name);
        // A time ahead of our clock is our clock's error.
        if now > order.ordered.unwrap_or(now).min(now) + order.expires {
            return Err(LookRefusal::TooLate.into());
        }
        let held = held.ok_or(LookRefusal::NotAssigned)?;
        if held != order.run_digest {
            return Err(LookRefusal::OtherVersion.into());
        }
        if self.running >= LOOKS_AT_ONCE_MAX || self.tokens < 1.0 {
            return Err(LookRefusal::TooMany.into());
        }
        self.tokens -= 1.0;
        self.running += 1;
        Ok(())
    }

    fn fill(&mut self, now: MeshTime) {
        if let Some(before) = self.filled_at {
            let gained = now.since(before).as_secs_f64() * LOOKS_PER_SECOND;
            self.tokens = (self.tokens + gained).min(f64::from(LOOKS_BURST));
        }
        self.filled_at = Some(self.filled_at.map_or(now, |before| before.max(now)));
    }

    /// One that was taken is over, whatever became of it.
    pub fn ended(&mut self) {
        self.running = self.running.saturating_sub(1);
    }
}

/// What a look saw, held to the bounds of a record. Its numbers are the look's: it is none of the record.
pub fn seen(look: u64, mut ended: Ended) -> Record {
    bound(&mut ended);
    let finding = ended.finding;
    Record {
        sequence: 0,
        check: ended.assignment.check,
        digest: ended.assignment.run_digest,
        number: look,
        slot: None,
        order: look,
        outcome: finding.outcome,
        reason: finding.reason,
        step: finding.step,
        evidence: finding.evidence.into(),
        remote: finding.remote,
        scheduled: ended.scheduled,
        started: ended.started,
        ended: ended.ended,
        generation: ended.generation,
        phases: means(&finding.phases),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use parallax_common::limits::EVIDENCE_BYTES_MAX;
    use parallax_common::name::Generation;
    use parallax_common::outcome::{Outcome, Phase, Reason};
    use parallax_common::time::BootTime;

    use super::super::assign::tests::{assignment, uid};
    use super::super::record::Finding;
    use super::super::schedule::Cause;
    use super::*;

    const HELD: Option<RunDigest> = Some(RunDigest(7));

    fn order(look: u64) -> LookOrder {
        LookOrder {
            look,
            check: uid(1),
            run_digest: RunDigest(7),
            expires: Duration::from_secs(2),
            ordered: None,
            request: String::new(),
        }
    }

    fn at(ms: i64) -> MeshTime {
        MeshTime::from_ns(ms * 1_000_000)
    }

    #[test]
    fn orders_that_do_not_fit_are_refused_each_with_its_reason() {
        let given = |ms| LookOrder { ordered: Some(at(ms)), ..order(1) };
        let table = [
            ("as ordered", order(1), HELD, 9_000, Ok(())),
            ("not ours", order(1), None, 9_000, Err(LookRefusal::NotAssigned)),
            ("edited", order(1), Some(RunDigest(8)), 9_000, Err(LookRefusal::OtherVersion)),
            ("just in time", given(1_000), HELD, 3_000, Ok(())),
            ("too late", given(1_000), HELD, 3_001, Err(LookRefusal::TooLate)),
            ("from a clock that is ahead", given(9_000), HELD, 3_000, Ok(())),
        ];
        for (what, order, held, now, wanted) in table {
            let got = Looks::default().accept(1, &order, held, at(now));
            assert_eq!(got, wanted.map_err(Refused::Told), "{what}");
        }
    }

    #[test]
    fn an_order_is_carried_out_once_and_numbers_are_those_of_a_session() {
        let mut looks = Looks::default();
        assert_eq!(looks.accept(1, &order(5), HELD, at(0)), Ok(()));
        assert_eq!(looks.accept(1, &order(5), HELD, at(1)), Err(Refused::Repeated));
        assert_eq!(looks.accept(2, &order(5), HELD, at(1)), Ok(()));
        // Refused once is refused for good.
        assert!(looks.accept(1, &order(6), None, at(1)).is_err());
        assert_eq!(looks.accept(1, &order(6), HELD, at(1)), Err(Refused::Repeated));
    }

    #[test]
    fn so_many_at_once_and_then_as_many_as_come_back_into_the_bucket() {
        let mut looks = Looks::default();
        let mut number = 0;
        let mut next = |looks: &mut Looks, ms| {
            number += 1;
            looks.accept(1, &order(number), HELD, at(ms))
        };
        for _ in 0..LOOKS_AT_ONCE_MAX {
            assert_eq!(next(&mut looks, 0), Ok(()));
        }
        let too_many = Err(Refused::Told(LookRefusal::TooMany));
        assert_eq!(next(&mut looks, 0), too_many, "all places are taken");
        for _ in 0..LOOKS_AT_ONCE_MAX {
            looks.ended();
        }
        let left = LOOKS_BURST as usize - LOOKS_AT_ONCE_MAX;
        for _ in 0..left {
            assert_eq!(next(&mut looks, 0), Ok(()));
            looks.ended();
        }
        assert_eq!(next(&mut looks, 999), too_many, "the bucket is empty");
        assert_eq!(next(&mut looks, 1_000), Ok(()));
        looks.ended();
        assert_eq!(next(&mut looks, 1_001), too_many);
        // Never more than the burst, however long nobody asked.
        let taken = (0..99).filter(|_| {
            let taken = next(&mut looks, 9_000_000).is_ok();
            looks.ended();
            taken
        });
        assert_eq!(taken.count(), LOOKS_BURST as usize);
    }

    #[test]
    fn what_is_seen_is_held_to_the_bounds_of_a_record() {
        let phases = vec![
            (0, Phase::Connect, Duration::from_millis(3)),
            (0, Phase::Lateness, Duration::from_millis(9)),
            (99, Phase::Connect, Duration::from_millis(3)),
        ];
        let ended = Ended {
            assignment: Arc::new(assignment(1, Duration::from_secs(1))),
            generation: Generation { epoch: 1, index: 2 },
            cause: Cause::Order(7),
            scheduled: at(5),
            handed: at(5),
            started: BootTime::from_ns(8),
            ended: BootTime::from_ns(5),
            lateness: Duration::ZERO,
            finding: Finding {
                outcome: Outcome::Fail,
                reason: Some(Reason::Timeout),
                step: 99,
                evidence: "e".repeat(2 * EVIDENCE_BYTES_MAX),
                remote: None,
                phases,
                expiry: None,
            },
        };
        let record = seen(7, ended);
        assert_eq!((record.number, record.order, record.slot), (7, 7, None));
        assert_eq!(record.phases, [(0, Phase::Connect, Duration::from_millis(3))]);
        assert_eq!(record.evidence.len(), EVIDENCE_BYTES_MAX);
        assert!(record.ended >= record.started);
    }
}
