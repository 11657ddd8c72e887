//! Ordered runs: which orders are obeyed, and when their runs start (DESIGN.md, decision 7).
//!
//! The bucket is this probe's own: 20 % of what its schedule asks for, at least one run a second,
//! bursts of 20. An order takes the tokens it finds; the rest is the schedule's work.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use parallax_common::limits::{CONFIRM_BURST, CONFIRM_ORDERS_REMEMBERED, STREAK_MAX};
use parallax_common::name::{Generation, RunDigest, Uid};
use parallax_common::record::Order;
use parallax_common::time::MeshTime;

/// Why an order is not obeyed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It came before, perhaps through another coordinator.
    #[error("the order was already taken")]
    Repeated,
    /// The check is not assigned here.
    #[error("the check is not assigned to this probe")]
    NotAssigned,
    /// The check was edited.
    #[error("the order is for another version of the check")]
    OtherDigest,
    /// The plan is of another epoch. An older or newer one of this epoch is obeyed: the digest says
    /// whether the order is for what is run here.
    #[error("the order is for a plan of another epoch")]
    OtherPlan,
    /// One order a check at a time.
    #[error("an order for this check is being carried out")]
    Busy,
    /// The bucket is empty: the schedule decides.
    #[error("no tokens are left for ordered runs")]
    NoTokens,
    /// It was on its way for too long: whoever ordered it does not wait for it any more.
    #[error("the order is older than it may be")]
    TooOld,
    /// Nothing to do.
    #[error("the order asks for no runs or for more than a streak has")]
    Count,
}

#[derive(Debug)]
struct Active {
    order: u64,
    left: u32,
    next_at: MeshTime,
    spacing: Duration,
    void_at: MeshTime,
}

/// Orders being carried out, and the bucket.
#[derive(Debug)]
pub struct Confirmations {
    active: BTreeMap<Uid, Active>,
    seen: VecDeque<u64>,
    tokens: f64,
    filled_at: Option<MeshTime>,
}

impl Default for Confirmations {
    fn default() -> Self {
        Self {
            active: BTreeMap::new(),
            seen: VecDeque::new(),
            tokens: f64::from(CONFIRM_BURST),
            filled_at: None,
        }
    }
}

impl Confirmations {
    fn fill(&mut self, now: MeshTime, steady_rate: f64) {
        let per_second = (steady_rate * 0.2).max(1.0);
        if let Some(before) = self.filled_at {
            let gained = now.since(before).as_secs_f64() * per_second;
            self.tokens = (self.tokens + gained).min(f64::from(CONFIRM_BURST));
        }
        self.filled_at = Some(self.filled_at.map_or(now, |before| before.max(now)));
    }

    /// Takes an order. `held` is the digest of the check as assigned, if it is; `plan` the
    /// generation in force; `steady_rate` the schedule's runs per second. The number of runs that
    /// will start.
    pub fn accept(
        &mut self,
        order: &Order,
        held: Option<RunDigest>,
        plan: Generation,
        steady_rate: f64,
        now: MeshTime,
    ) -> Result<u32, Refused> {
        self.fill(now, steady_rate);
        if self.seen.contains(&order.order) {
            return Err(Refused::Repeated);
        }
        if order.count == 0 || order.count > STREAK_MAX {
            return Err(Refused::Count);
        }
        // A time ahead of our clock is our clock's error.
        let void_at = order.ordered.unwrap_or(now).min(now) + order.expires;
        if now > void_at {
            return Err(Refused::TooOld);
        }
        let held = held.ok_or(Refused::NotAssigned)?;
        if order.generation.epoch != plan.epoch {
            return Err(Refused::OtherPlan);
        }
        if held != order.run_digest {
            return Err(Refused::OtherDigest);
        }
        if self.active.contains_key(&order.check) {
            return Err(Refused::Busy);
        }
        let mut granted = 0;
        while granted < order.count && self.tokens >= 1.0 {
            self.tokens -= 1.0;
            granted += 1;
        }
        if granted == 0 {
            return Err(Refused::NoTokens);
        }
        if self.seen.len() >= CONFIRM_ORDERS_REMEMBERED {
            self.seen.pop_front();
        }
        self.seen.push_back(order.order);
        let active = Active {
            order: order.order,
            left: granted,
            next_at: now,
            spacing: order.spacing,
            void_at,
        };
        self.active.insert(order.check, active);
        Ok(granted)
    }

    /// Ordered runs that start now: (check, order, when it was meant to start).
    pub fn due(&mut self, now: MeshTime) -> Vec<(Uid, u64, MeshTime)> {
        let mut starts = Vec::new();
        self.active.retain(|check, active| {
            if now > active.void_at {
                return false;
            }
            if now < active.next_at {
                return true;
            }
            starts.push((*check, active.order, active.next_at));
            active.left -= 1;
            // Counted from the start that really happened: two must not fall together.
            active.next_at = now + active.spacing;
            active.left > 0 && active.next_at <= active.void_at
        });
        starts
    }

    /// The check was removed or its digest changed: its order is void.
    pub fn drop_check(&mut self, check: &Uid) {
        self.active.remove(check);
    }

    /// When [`Self::due`] has something next.
    pub fn next_at(&self) -> Option<MeshTime> {
        self.active.values().map(|active| active.next_at).min()
    }
}

#[cfg(test)]
mod tests {
    use super::super::assign::tests::uid;
    use super::*;

    const PLAN: Generation = Generation { epoch: 1, index: 10 };

    fn order(id: u64, check: u8, count: u32) -> Order {
        Order {
            order: id,
            check: uid(check),
            run_digest: RunDigest(7),
            generation: PLAN,
            count,
            spacing: Duration::from_millis(100),
            expires: Duration::from_secs(2),
            ordered: None,
        }
    }

    fn at(ms: i64) -> MeshTime {
        MeshTime::from_ns(ms * 1_000_000)
    }

    #[test]
    fn runs_start_at_once_and_then_the_spacing_apart() {
        let mut all = Confirmations::default();
        assert_eq!(all.accept(&order(1, 1, 3), Some(RunDigest(7)), PLAN, 1.0, at(0)), Ok(3));
        let mut starts = vec![];
        for ms in 0..1_000 {
            starts.extend(all.due(at(ms)).into_iter().map(|_| ms));
        }
        assert_eq!(starts, [0, 100, 200]);
        assert_eq!(all.next_at(), None);
    }

    #[test]
    fn orders_that_do_not_fit_are_refused_each_with_its_reason() {
        let digest = Some(RunDigest(7));
        let older = Generation { epoch: 1, index: 3 };
        let newer = Generation { epoch: 1, index: 11 };
        let other = Generation { epoch: 2, index: 1 };
        let table = [
            ("as ordered", order(1, 1, 2), digest, Ok(2)),
            (
                "an older plan, same digest",
                Order { generation: older, ..order(1, 1, 2) },
                digest,
                Ok(2),
            ),
            (
                "a newer plan, same digest: it moved something else",
                Order { generation: newer, ..order(1, 1, 2) },
                digest,
                Ok(2),
            ),
            (
                "a newer plan, edited",
                Order { generation: newer, ..order(1, 1, 2) },
                Some(RunDigest(8)),
                Err(Refused::OtherDigest),
            ),
            (
                "another epoch",
                Order { generation: other, ..order(1, 1, 2) },
                digest,
                Err(Refused::OtherPlan),
            ),
            ("edited", order(1, 1, 2), Some(RunDigest(8)), Err(Refused::OtherDigest)),
            ("not ours", order(1, 1, 2), None, Err(Refused::NotAssigned)),
            ("no runs", order(1, 1, 0), digest, Err(Refused::Count)),
            ("too many runs", order(1, 1, 33), digest, Err(Refused::Count)),
        ];
        for (what, order, held, wanted) in table {
            let got = Confirmations::default().accept(&order, held, PLAN, 1.0, at(0));
            assert_eq!(got, wanted, "{what}");
        }
    }

    #[test]
    fn one_order_a_check_at_a_time_and_never_twice_the_same() {
        let mut all = Confirmations::default();
        let digest = Some(RunDigest(7));
        all.accept(&order(1, 1, 2), digest, PLAN, 1.0, at(0)).unwrap();
        assert_eq!(all.accept(&order(2, 1, 2), digest, PLAN, 1.0, at(1)), Err(Refused::Busy));
        assert_eq!(all.accept(&order(1, 1, 2), digest, PLAN, 1.0, at(1)), Err(Refused::Repeated));
        assert_eq!(all.accept(&order(3, 2, 2), digest, PLAN, 1.0, at(1)), Ok(2));
        all.due(at(1));
        all.due(at(150));
        assert_eq!(all.accept(&order(4, 1, 1), digest, PLAN, 1.0, at(200)), Ok(1));
    }

    #[test]
    fn an_order_takes_the_tokens_it_finds_and_the_bucket_fills_again() {
        let mut all = Confirmations::default();
        let digest = Some(RunDigest(7));
        assert_eq!(all.accept(&order(1, 1, 15), digest, PLAN, 1.0, at(0)), Ok(15));
        assert_eq!(all.accept(&order(2, 2, 15), digest, PLAN, 1.0, at(0)), Ok(5));
        assert_eq!(all.accept(&order(3, 3, 1), digest, PLAN, 1.0, at(0)), Err(Refused::NoTokens));
        // One a second at least.
        assert_eq!(all.accept(&order(4, 4, 9), digest, PLAN, 0.0, at(2_000)), Ok(2));
        // A fifth of the steady rate when that is more.
        assert_eq!(all.accept(&order(5, 5, 32), digest, PLAN, 50.0, at(3_000)), Ok(10));
        // Never more than the burst.
        assert_eq!(all.accept(&order(6, 6, 32), digest, PLAN, 50.0, at(900_000)), Ok(20));
    }

    #[test]
    fn a_void_order_starts_nothing_more() {
        let mut all = Confirmations::default();
        let wide = Order { spacing: Duration::from_millis(900), ..order(1, 1, 5) };
        all.accept(&wide, Some(RunDigest(7)), PLAN, 1.0, at(0)).unwrap();
        let starts: Vec<i64> = (0..100)
            .map(|k| k * 100)
            .flat_map(|ms| all.due(at(ms)).into_iter().map(move |_| ms))
            .collect();
        assert_eq!(starts, [0, 900, 1_800]);
        let mut late = Confirmations::default();
        late.accept(&order(1, 1, 5), Some(RunDigest(7)), PLAN, 1.0, at(0)).unwrap();
        assert!(late.due(at(2_001)).is_empty());
        assert_eq!(late.next_at(), None);
    }

    #[test]
    fn an_orders_age_counts_from_when_it_was_given() {
        let digest = Some(RunDigest(7));
        let given = |ms| Order { ordered: Some(at(ms)), ..order(1, 1, 5) };
        let accept = |order: &Order, now| {
            let mut all = Confirmations::default();
            all.accept(order, digest, PLAN, 1.0, at(now)).map(|_| all)
        };
        assert_eq!(accept(&given(1_000), 3_001).err(), Some(Refused::TooOld));
        // What is left of it is what it may still do.
        let mut all = accept(&given(1_000), 2_950).unwrap();
        let starts: Vec<i64> =
            (2_950..9_000).flat_map(|ms| all.due(at(ms)).into_iter().map(move |_| ms)).collect();
        assert_eq!(starts, [2_950]);
        // A clock that lags behind the leader's takes it as new.
        let mut all = accept(&given(9_000), 3_000).unwrap();
        assert_eq!(all.due(at(3_000)).len(), 1);
        assert!(all.due(at(5_001)).is_empty());
    }

    #[test]
    fn a_removed_check_has_no_order_left() {
        let mut all = Confirmations::default();
        all.accept(&order(1, 1, 5), Some(RunDigest(7)), PLAN, 1.0, at(0)).unwrap();
        all.drop_check(&uid(1));
        assert!(all.due(at(0)).is_empty());
    }
}
