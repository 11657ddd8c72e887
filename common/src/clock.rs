//! Mesh time without a clock: how an offset is measured, and how it is followed.
//!
//! [`OffsetEstimator`] belongs to whoever pings (a coordinator, for each of its sessions);
//! [`SlewedClock`] to whoever is pinged (probes, other members). Readings of the local clock come
//! from `parallax-runtime::clock`.

use std::collections::VecDeque;
use std::time::Duration;

use crate::limits::{PINGS_KEPT, SLEW_PPM_MAX};
use crate::time::{BootTime, MeshTime};

/// One ping and its answer: two readings of our clock around two of theirs (the four timestamps of
/// RFC 5905, section 8). A peer that answers at once gives the same reading twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exchange {
    /// We sent the ping.
    pub sent: MeshTime,
    /// They received it.
    pub their_receipt: BootTime,
    /// They sent the answer.
    pub their_answer: BootTime,
    /// We received the answer.
    pub received: MeshTime,
}

/// What the exchanges so far say of a peer's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Estimate {
    /// mesh = their boot time + this, in nanoseconds. Wrong by half the round trip at most.
    pub offset_ns: i64,
    /// Time on the wire of the exchange it was taken from.
    pub round_trip: Duration,
}

/// Keeps the last exchanges with one peer and believes the one that was shortest on the wire.
#[derive(Debug, Clone, Default)]
pub struct OffsetEstimator {
    kept: VecDeque<Estimate>,
}

impl OffsetEstimator {
    /// Knows nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes an exchange in. One that runs backwards on either clock is not counted and gives
    /// `false`.
    pub fn observe(&mut self, exchange: Exchange) -> bool {
        let Exchange { sent, their_receipt, their_answer, received } = exchange;
        let (t1, t2) = (i128::from(sent.as_ns()), i128::from(their_receipt.as_ns()));
        let (t3, t4) = (i128::from(their_answer.as_ns()), i128::from(received.as_ns()));
        let round_trip = (t4 - t1) - (t3 - t2);
        if t4 < t1 || t3 < t2 || round_trip < 0 {
            return false;
        }
        let offset = ((t1 - t2) + (t4 - t3)).div_euclid(2);
        let (Ok(offset_ns), Ok(round_trip)) = (i64::try_from(offset), u64::try_from(round_trip))
        else {
            return false;
        };
        if self.kept.len() == PINGS_KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back(Estimate { offset_ns, round_trip: Duration::from_nanos(round_trip) });
        true
    }

    /// The exchange with the lowest round trip of those kept; of equals the newest.
    pub fn estimate(&self) -> Option<Estimate> {
        self.kept.iter().rev().min_by_key(|estimate| estimate.round_trip).copied()
    }
}

/// Mesh time on a machine that is told its offset: the first is taken as it is, later ones are
/// approached at no more than [`SLEW_PPM_MAX`]. Never stepped, never backwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlewedClock {
    /// From here on the offset moves from `from_ns` towards `to_ns`.
    since: BootTime,
    from_ns: i64,
    to_ns: i64,
}

impl SlewedClock {
    /// A clock set for the first time after a start, from a measurement or from the record of the
    /// same boot.
    pub const fn set(offset_ns: i64, now: BootTime) -> Self {
        Self { since: now, from_ns: offset_ns, to_ns: offset_ns }
    }

    /// A newer measurement: the clock starts towards it from where it stands.
    pub fn steer(&mut self, offset_ns: i64, now: BootTime) {
        let now = now.max(self.since);
        *self = Self { since: now, from_ns: self.offset_ns(now), to_ns: offset_ns };
    }

    /// mesh = boot + this, in nanoseconds, at `boot`.
    pub fn offset_ns(&self, boot: BootTime) -> i64 {
        let elapsed = i128::from(boot.as_ns()) - i128::from(self.since.as_ns());
        let most = elapsed.max(0) * i128::from(SLEW_PPM_MAX) / 1_000_000;
        let left = i128::from(self.to_ns) - i128::from(self.from_ns);
        // Between two i64 values, so it is one.
        (i128::from(self.from_ns) + left.clamp(-most, most)) as i64
    }

    /// The offset it is moving to, or has reached.
    pub const fn target_ns(&self) -> i64 {
        self.to_ns
    }

    /// The point of mesh time at `boot`.
    pub fn mesh(&self, boot: BootTime) -> MeshTime {
        boot.to_mesh(self.offset_ns(boot))
    }

    /// The first reading of the boot clock at which mesh time is `mesh` or later. Exact until the
    /// next [`SlewedClock::steer`]; ask again after one.
    pub fn boot_for(&self, mesh: MeshTime) -> BootTime {
        let (low, high) = (self.from_ns.min(self.to_ns), self.from_ns.max(self.to_ns));
        // mesh(before) <= mesh <= mesh(after), and mesh() never falls.
        let (mut before, mut after) = (mesh.to_boot(high).as_ns(), mesh.to_boot(low).as_ns());
        while before < after {
            let middle = before + (after - before) / 2;
            if self.mesh(BootTime::from_ns(middle)) < mesh {
                before = middle + 1;
            } else {
                after = middle;
            }
        }
        BootTime::from_ns(after)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn exchange(offset_ns: i64, out_ns: i64, back_ns: i64, at: i64) -> Exchange {
        let there = |mesh: i64| BootTime::from_ns(mesh - offset_ns);
        Exchange {
            sent: MeshTime::from_ns(at),
            their_receipt: there(at + out_ns),
            their_answer: there(at + out_ns + 50),
            received: MeshTime::from_ns(at + out_ns + 50 + back_ns),
        }
    }

    #[test]
    fn the_shortest_round_trip_is_believed() {
        let mut estimator = OffsetEstimator::new();
        assert_eq!(estimator.estimate(), None);
        assert!(estimator.observe(exchange(7_000, 900, 100, 0)));
        assert!(estimator.observe(exchange(7_000, 10, 10, 1_000)));
        assert!(estimator.observe(exchange(7_000, 100, 900, 2_000)));
        let estimate = estimator.estimate().unwrap();
        assert_eq!(estimate, Estimate { offset_ns: 7_000, round_trip: Duration::from_nanos(20) });
    }

    #[test]
    fn an_old_round_trip_is_forgotten() {
        let mut estimator = OffsetEstimator::new();
        assert!(estimator.observe(exchange(1, 1, 1, 0)));
        for second in 0..PINGS_KEPT as i64 {
            assert!(estimator.observe(exchange(5_000, 40, 40, second * 1_000_000_000)));
        }
        assert_eq!(estimator.estimate().unwrap().offset_ns, 5_000);
    }

    #[test]
    fn an_exchange_that_runs_backwards_is_not_counted() {
        let mut estimator = OffsetEstimator::new();
        let good = exchange(0, 10, 10, 0);
        assert!(!estimator.observe(Exchange { received: MeshTime::from_ns(-1), ..good }));
        assert!(!estimator.observe(Exchange { their_answer: BootTime::from_ns(5), ..good }));
        assert!(!estimator.observe(Exchange { their_answer: BootTime::from_ns(500), ..good }));
        assert_eq!(estimator.estimate(), None);
    }

    #[test]
    fn the_first_offset_is_set_and_later_ones_are_slewed() {
        let mut clock = SlewedClock::set(1_000_000, BootTime::from_ns(0));
        assert_eq!(clock.mesh(BootTime::from_ns(0)), MeshTime::from_ns(1_000_000));
        // 1 ms behind: two seconds at 500 ppm.
        clock.steer(2_000_000, BootTime::from_ns(0));
        assert_eq!(clock.offset_ns(BootTime::from_ns(1_000_000_000)), 1_500_000);
        assert_eq!(clock.offset_ns(BootTime::from_ns(2_000_000_000)), 2_000_000);
        assert_eq!(clock.offset_ns(BootTime::from_ns(9_000_000_000)), 2_000_000);
    }

    const OFFSETS: std::ops::Range<i64> = -2_000_000_000_000_000_000..2_000_000_000_000_000_000;

    proptest! {
        #[test]
        fn the_estimate_is_off_by_half_the_round_trip_at_most(
            offset in -1_000_000_000_000i64..1_000_000_000_000, out in 0i64..100_000_000, back in 0i64..100_000_000,
        ) {
            let mut estimator = OffsetEstimator::new();
            prop_assert!(estimator.observe(exchange(offset, out, back, 1_000)));
            let estimate = estimator.estimate().unwrap();
            prop_assert_eq!(estimate.round_trip.as_nanos() as i64, out + back);
            prop_assert!((estimate.offset_ns - offset).abs() <= (out + back) / 2 + 1);
        }

        #[test]
        fn mesh_time_never_falls_and_never_jumps(
            first in OFFSETS,
            steps in proptest::collection::vec((0i64..10_000_000_000, -50_000_000i64..50_000_000, any::<bool>()), 1..40),
        ) {
            let mut clock = SlewedClock::set(first, BootTime::from_ns(0));
            let mut boot = 0i64;
            let mut mesh = clock.mesh(BootTime::from_ns(boot));
            for (wait, change, steer) in steps {
                boot += wait;
                let now = clock.mesh(BootTime::from_ns(boot));
                prop_assert!(now >= mesh);
                let drift = (now.as_ns() - mesh.as_ns()) - wait;
                prop_assert!(drift.abs() <= wait * SLEW_PPM_MAX / 1_000_000 + 1, "{drift} in {wait}");
                mesh = now;
                if steer {
                    clock.steer(clock.target_ns() + change, BootTime::from_ns(boot));
                    prop_assert_eq!(clock.mesh(BootTime::from_ns(boot)), mesh);
                }
            }
        }

        #[test]
        fn boot_for_is_the_first_reading_that_shows_it(
            first in OFFSETS, change in -50_000_000i64..50_000_000, ahead in -1_000_000_000i64..100_000_000_000,
        ) {
            let mut clock = SlewedClock::set(first, BootTime::from_ns(0));
            clock.steer(first + change, BootTime::from_ns(5));
            let mesh = MeshTime::from_ns(first + ahead);
            let boot = clock.boot_for(mesh);
            prop_assert!(clock.mesh(boot) >= mesh);
            prop_assert!(clock.mesh(BootTime::from_ns(boot.as_ns() - 1)) < mesh);
        }
    }
}
