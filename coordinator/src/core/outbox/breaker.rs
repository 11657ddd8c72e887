//! A contact that takes nothing: after several failures in a row, whatever pages they were about, one page
//! at a time tries, and the others wait without an attempt until one is taken.
//!
//! The count is part of the replicated state, in the contact's row, so that every member goes by the same
//! and a new leader does not begin from nothing. A connection that one member does not find says little of
//! the contact: another may have a way. So a missing connection counts only from the attempt on that a
//! page makes after it has changed hands.

use parallax_common::limits::{BREAKER_FAILURES, BREAKER_TRIAL_EVERY, PAGE_UNREACHED_MAX};
use parallax_common::time::UtcTime;
use parallax_proto::store::{AttemptEnd, ContactRow, PageUpdate};
use parallax_proto::v1::{Delivery, DeliveryState};

/// How a contact takes its pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Breaker {
    /// Attempts in a row that told it nothing.
    pub failures: u32,
    /// When the first of them ended.
    pub since: UtcTime,
    /// When the last of them ended.
    pub failed_at: UtcTime,
}

impl Breaker {
    /// As a contact's row has it.
    pub fn of(row: &ContactRow) -> Self {
        Self {
            failures: row.failures,
            since: UtcTime::from_ns(row.failing_since_utc_ns),
            failed_at: UtcTime::from_ns(row.failed_at_utc_ns),
        }
    }

    /// Writes it into a contact's row.
    pub fn put(self, row: &mut ContactRow) {
        row.failures = self.failures;
        row.failing_since_utc_ns = self.since.as_ns();
        row.failed_at_utc_ns = self.failed_at.as_ns();
    }

    /// Whether pages wait for one that tries.
    pub fn is_open(self) -> bool {
        self.failures >= BREAKER_FAILURES
    }

    /// From when on a page may try; nothing while all may.
    pub fn trial_at(self) -> Option<UtcTime> {
        self.is_open().then(|| self.failed_at + BREAKER_TRIAL_EVERY)
    }

    /// After what a sender reports of a page as it stood before.
    #[must_use]
    pub fn after(self, before: &Delivery, update: &PageUpdate, now: UtcTime) -> Self {
        let attempted = update.claimed_by == 0 && update.attempts > before.attempts;
        if !attempted {
            return self;
        }
        if update.state() == DeliveryState::Sent {
            return Self::default();
        }
        let alone = update.end() == AttemptEnd::NotSent && before.attempts < PAGE_UNREACHED_MAX;
        if alone {
            return self;
        }
        Self {
            failures: self.failures.saturating_add(1),
            since: if self.failures == 0 { now } else { self.since },
            failed_at: now,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SENT: DeliveryState = DeliveryState::Sent;
    const PENDING: DeliveryState = DeliveryState::Pending;

    fn at(seconds: u64) -> UtcTime {
        UtcTime::from_ns(1_700_000_000_000_000_000) + Duration::from_secs(seconds)
    }

    /// A report: attempts before, attempts, state, end.
    type Said = (u32, u32, DeliveryState, AttemptEnd);

    /// Failures in a row after these reports.
    fn counted(reports: &[Said]) -> Vec<u32> {
        let mut breaker = Breaker::default();
        let mut counted = Vec::new();
        for (second, (before, attempts, state, end)) in (0..).zip(reports) {
            let page = Delivery { attempts: *before, ..Delivery::default() };
            let update = PageUpdate {
                attempts: *attempts,
                state: (*state).into(),
                end: (*end).into(),
                ..PageUpdate::default()
            };
            breaker = breaker.after(&page, &update, at(second));
            counted.push(breaker.failures);
        }
        counted
    }

    #[test]
    fn what_counts_is_an_attempt_that_told_nobody() {
        use AttemptEnd::{Answered, NotSent, Unanswered};
        #[rustfmt::skip]
        let table: [(&str, &[Said], &[u32]); 7] = [
            ("refused",          &[(0, 1, PENDING, Answered), (0, 1, PENDING, Answered)],      &[1, 2]),
            ("hangs",            &[(0, 1, PENDING, Unanswered), (1, 2, PENDING, Unanswered)],  &[1, 2]),
            ("taken",            &[(0, 1, PENDING, Answered), (1, 2, SENT, Answered)],         &[1, 0]),
            ("given up",         &[(7, 8, DeliveryState::Dead, Answered)],                     &[1]),
            ("told twice",       &[(0, 1, PENDING, Answered), (1, 1, PENDING, Answered)],      &[1, 1]),
            ("no way from here", &[(0, 1, PENDING, NotSent), (2, 3, PENDING, NotSent)],        &[0, 0]),
            ("from nowhere",     &[(2, 3, PENDING, NotSent), (3, 4, PENDING, NotSent)],        &[0, 1]),
        ];
        for (name, reports, expected) in table {
            assert_eq!(counted(reports), expected, "{name}");
        }
    }

    #[test]
    fn a_claim_that_moves_says_nothing_of_the_contact() {
        let failing = Breaker { failures: 4, since: at(0), failed_at: at(3) };
        let moved = PageUpdate { claimed_by: 2, attempts: 9, ..PageUpdate::default() };
        assert_eq!(failing.after(&Delivery::default(), &moved, at(9)), failing);
    }

    #[test]
    fn pages_wait_from_the_fifth_failure_on_and_one_tries_every_half_minute() {
        let mut breaker = Breaker::default();
        for second in 0..u64::from(BREAKER_FAILURES) {
            assert_eq!(breaker.trial_at(), None, "{breaker:?}");
            let update = PageUpdate {
                attempts: 1,
                state: PENDING.into(),
                end: AttemptEnd::Answered.into(),
                ..PageUpdate::default()
            };
            breaker = breaker.after(&Delivery::default(), &update, at(second));
        }
        assert_eq!(breaker, Breaker { failures: 5, since: at(0), failed_at: at(4) });
        assert_eq!(breaker.trial_at(), Some(at(34)));
        let mut row = ContactRow { paced_until_utc_ns: 7, ..ContactRow::default() };
        breaker.put(&mut row);
        assert_eq!((Breaker::of(&row), row.paced_until_utc_ns), (breaker, 7));
    }
}
