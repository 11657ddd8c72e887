//! Mesh time on one member, without a clock of its own: where it starts from, and how it follows the
//! leader (DESIGN.md, decision 3).
//!
//! The first measurement of a leader after a start sets it; later ones are approached slowly, and
//! from then on it never goes back. Whoever leads follows nobody: a new leader carries on from its
//! own estimate.

use parallax_common::clock::{Estimate, SlewedClock};
use parallax_common::time::{BootTime, MeshTime};

/// Where the time at a start came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The offset that was stored in this boot.
    Stored,
    /// Another member.
    Member,
    /// The probes that came.
    Probes,
    /// This machine's idea of UTC: mesh time reads like it.
    Utc,
}

/// What a start could find out, as offsets to this machine's boot time in nanoseconds.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// From the same boot.
    pub stored: Option<i64>,
    /// Other members' time.
    pub members: Vec<Estimate>,
    /// The time that probes go on with.
    pub probes: Vec<i64>,
    /// Of UTC.
    pub utc: i64,
}

/// The best of what was found: the record of this boot, the member that answered fastest, the median
/// of the probes (half of them may be wrong, either way), UTC.
pub fn choose(found: &Found) -> (Source, i64) {
    if let Some(stored) = found.stored {
        return (Source::Stored, stored);
    }
    if let Some(best) = found.members.iter().min_by_key(|estimate| estimate.round_trip) {
        return (Source::Member, best.offset_ns);
    }
    let mut probes = found.probes.clone();
    probes.sort_unstable();
    match probes.get(probes.len().saturating_sub(1) / 2) {
        Some(median) => (Source::Probes, *median),
        None => (Source::Utc, found.utc),
    }
}

/// What a measurement did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Followed {
    /// It was the first since the start: the clock was moved by so many nanoseconds.
    Set(i64),
    /// The clock is on its way there.
    Steered,
    /// Nothing: this member leads.
    Leads,
}

/// The clock of one member.
#[derive(Debug, Clone)]
pub struct Clock {
    clock: SlewedClock,
    /// A leader was followed, or this member led, since the start.
    settled: bool,
    leads: bool,
}

impl Clock {
    /// A clock that starts from this offset.
    pub fn new(offset_ns: i64, now: BootTime) -> Self {
        Self { clock: SlewedClock::set(offset_ns, now), settled: false, leads: false }
    }

    /// A leader has measured this member's offset.
    pub fn measured(&mut self, offset_ns: i64, now: BootTime) -> Followed {
        if self.leads {
            return Followed::Leads;
        }
        if !self.settled {
            let step = offset_ns - self.clock.offset_ns(now);
            self.clock = SlewedClock::set(offset_ns, now);
            self.settled = true;
            return Followed::Set(step);
        }
        if self.clock.target_ns() != offset_ns {
            self.clock.steer(offset_ns, now);
        }
        Followed::Steered
    }

    /// This member leads now, or no longer. A leader's time is mesh time: it stops moving towards
    /// what the leader before it had measured.
    pub fn lead(&mut self, leads: bool, now: BootTime) {
        if leads && !self.leads {
            self.clock.steer(self.clock.offset_ns(now), now);
            self.settled = true;
        }
        self.leads = leads;
    }

    /// Moves forward to `committed` when that lies ahead, and says by how many nanoseconds.
    pub fn not_before(&mut self, committed: MeshTime, now: BootTime) -> i64 {
        let behind = (committed.as_ns() - self.mesh(now).as_ns()).max(0);
        if behind > 0 {
            self.clock = SlewedClock::set(self.clock.offset_ns(now) + behind, now);
        }
        behind
    }

    /// The point of mesh time at `now`.
    pub fn mesh(&self, now: BootTime) -> MeshTime {
        self.clock.mesh(now)
    }

    /// mesh = boot + this at `now`, in nanoseconds.
    pub fn offset_ns(&self, now: BootTime) -> i64 {
        self.clock.offset_ns(now)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use parallax_common::limits::SLEW_PPM_MAX;
    use proptest::prelude::*;

    use super::*;

    const fn s(seconds: i64) -> i64 {
        seconds * 1_000_000_000
    }

    fn boot(seconds: i64) -> BootTime {
        BootTime::from_ns(s(seconds))
    }

    fn answer(offset_ns: i64, round_trip_ms: u64) -> Estimate {
        Estimate { offset_ns, round_trip: Duration::from_millis(round_trip_ms) }
    }

    #[test]
    fn a_start_takes_the_best_that_it_finds() {
        let members = vec![answer(30, 9), answer(31, 2), answer(32, 5)];
        #[rustfmt::skip]
        let rows = [
            // stored, members, probes, what is taken
            (Some(7), members.clone(), vec![50],             (Source::Stored, 7)),
            (None,    members,         vec![50, 51, 52],     (Source::Member, 31)),
            (None,    vec![],          vec![52, 50, 51],     (Source::Probes, 51)),
            (None,    vec![],          vec![50, 9_999, 51],  (Source::Probes, 51)),
            (None,    vec![],          vec![50, 52],         (Source::Probes, 50)),
            (None,    vec![],          vec![50],             (Source::Probes, 50)),
            (None,    vec![],          vec![],               (Source::Utc, 90)),
        ];
        for (stored, members, probes, wanted) in rows {
            let found = Found { stored, members, probes, utc: 90 };
            assert_eq!(choose(&found), wanted, "{found:?}");
        }
    }

    #[test]
    fn the_first_measurement_after_a_start_sets_and_later_ones_are_approached() {
        for first in [s(5), s(-5)] {
            let mut clock = Clock::new(s(100), boot(0));
            assert_eq!(clock.measured(s(100) + first, boot(1)), Followed::Set(first));
            assert_eq!(clock.offset_ns(boot(1)), s(100) + first);
            // Two seconds less: at 500 ppm, and mesh time goes on.
            assert_eq!(clock.measured(s(98) + first, boot(1)), Followed::Steered);
            assert_eq!(clock.offset_ns(boot(2)), s(100) + first - 500_000);
            assert!(clock.mesh(boot(2)) > clock.mesh(boot(1)));
        }
    }

    #[test]
    fn a_leader_follows_nobody_and_carries_on_from_where_it_stands() {
        let mut clock = Clock::new(0, boot(0));
        clock.measured(0, boot(0));
        clock.measured(s(1), boot(0));
        clock.lead(true, boot(10));
        let stands = clock.offset_ns(boot(10));
        assert_eq!(stands, 5_000_000);
        assert_eq!(clock.measured(s(9), boot(11)), Followed::Leads);
        assert_eq!(clock.offset_ns(boot(1_000)), stands);
        // Deposed, it follows the next leader slowly.
        clock.lead(false, boot(1_000));
        assert_eq!(clock.measured(s(1), boot(1_000)), Followed::Steered);
        assert_eq!(clock.offset_ns(boot(1_001)), stands + 500_000);
    }

    #[test]
    fn a_start_does_not_lie_before_what_was_committed() {
        let mut clock = Clock::new(s(100), boot(0));
        assert_eq!(clock.not_before(MeshTime::from_ns(s(103)), boot(1)), s(2));
        assert_eq!(clock.mesh(boot(1)), MeshTime::from_ns(s(103)));
        assert_eq!(clock.not_before(MeshTime::from_ns(s(50)), boot(1)), 0);
    }

    proptest! {
        #[test]
        fn once_settled_it_never_falls_and_never_jumps(
            first in -s(1_000)..s(1_000),
            steps in proptest::collection::vec((0..s(5), -s(2)..s(2), 0u8..4), 1..60),
        ) {
            let mut clock = Clock::new(0, boot(0));
            clock.measured(first, boot(0));
            let mut at = 0;
            for (wait, change, what) in steps {
                let before = clock.mesh(BootTime::from_ns(at));
                at += wait;
                let now = BootTime::from_ns(at);
                let after = clock.mesh(now);
                let drift = after.as_ns() - before.as_ns() - wait;
                prop_assert!(after >= before);
                prop_assert!(drift.abs() <= wait * SLEW_PPM_MAX / 1_000_000 + 1);
                match what {
                    0 => clock.lead(true, now),
                    1 => clock.lead(false, now),
                    _ => { clock.measured(first + change, now); }
                }
                prop_assert_eq!(clock.mesh(now), after);
            }
        }
    }
}
