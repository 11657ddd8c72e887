//! Mesh time on this probe: what coordinators measured, followed slowly (DESIGN.md, decision 3).

use parallax_common::clock::SlewedClock;
use parallax_common::time::{BootTime, MeshTime, UtcTime};
use std::time::Duration;

/// The member whose measurements are followed counts alone for this long after the last of them.
const SOURCE_COUNTS: Duration = Duration::from_secs(5);

/// A guess that is further off than this is not approached slowly, but corrected at once.
const GUESS_OFF_NS_MAX: u64 = 100_000_000;

/// Whose measurements are followed.
#[derive(Debug, Clone, Copy)]
struct Source {
    node: u64,
    leader: bool,
    at: BootTime,
}

/// The clock, unset until the first measurement or a record of this boot.
#[derive(Debug, Default)]
pub struct MeshClock {
    clock: Option<SlewedClock>,
    source: Option<Source>,
    /// It goes by this machine's UTC, which nobody has measured.
    guessed: bool,
}

impl MeshClock {
    /// A clock that goes on from an offset stored in this boot.
    pub fn resumed(offset_ns: Option<i64>, now: BootTime) -> Self {
        let clock = offset_ns.map(|offset| SlewedClock::set(offset, now));
        Self { clock, ..Self::default() }
    }

    /// A start that hears nobody and remembers no offset of this boot goes by UTC, which mesh time
    /// reads like. The first measurement takes the guess back.
    pub fn guess(&mut self, utc: UtcTime, now: BootTime) {
        if self.clock.is_none() {
            self.clock = Some(SlewedClock::set(utc.as_ns().saturating_sub(now.as_ns()), now));
            self.guessed = true;
        }
    }

    /// A measurement by the coordinator `node`. One member is followed at a time: the leader as soon
    /// as it is heard, another one only while nobody else was heard for a while. With nobody the
    /// clock goes on as it is. True when it was set by this for the first time.
    pub fn measured(&mut self, node: u64, offset_ns: i64, leader: bool, now: BootTime) -> bool {
        let counts = self.source.is_none_or(|source| {
            leader
                || now.since(source.at) >= SOURCE_COUNTS
                || (source.node == node && !source.leader)
        });
        if !counts {
            return false;
        }
        self.source = Some(Source { node, leader, at: now });
        if std::mem::take(&mut self.guessed)
            && self.clock.is_some_and(|of| of.target_ns().abs_diff(offset_ns) > GUESS_OFF_NS_MAX)
        {
            self.clock = None;
        }
        match &mut self.clock {
            Some(clock) => {
                if clock.target_ns() != offset_ns {
                    clock.steer(offset_ns, now);
                }
                false
            }
            None => {
                self.clock = Some(SlewedClock::set(offset_ns, now));
                true
            }
        }
    }

    /// Mesh time at `boot`; `None` until the clock is set.
    pub fn mesh(&self, boot: BootTime) -> Option<MeshTime> {
        self.clock.map(|clock| clock.mesh(boot))
    }

    /// Whether it goes by this machine's UTC alone.
    pub fn is_guessed(&self) -> bool {
        self.guessed
    }

    /// The boot time of a point in mesh time, not later than `latest`.
    pub fn boot_for(&self, mesh: MeshTime, latest: BootTime) -> BootTime {
        let at = self.clock.map_or(latest, |clock| clock.boot_for(mesh));
        at.min(latest).max(BootTime::from_ns(0))
    }

    /// How long until `mesh`, from `now`.
    pub fn until(&self, mesh: MeshTime, now: BootTime) -> Duration {
        self.clock.map_or(Duration::MAX, |clock| clock.boot_for(mesh).since(now))
    }

    /// The offset that was measured and is followed; 0 when there is none.
    pub fn measured_offset_ns(&self, now: BootTime) -> i64 {
        if self.guessed { 0 } else { self.offset_ns(now) }
    }

    /// The offset in force; 0 when there is none.
    pub fn offset_ns(&self, now: BootTime) -> i64 {
        self.clock.map_or(0, |clock| clock.offset_ns(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boot(s: i64) -> BootTime {
        BootTime::from_ns(s * 1_000_000_000)
    }

    #[test]
    fn the_first_measurement_sets_and_later_ones_are_approached() {
        let mut clock = MeshClock::default();
        assert_eq!(clock.mesh(boot(1)), None);
        assert!(clock.measured(1, 5_000_000_000, false, boot(1)));
        assert_eq!(clock.mesh(boot(1)), Some(MeshTime::from_ns(6_000_000_000)));
        assert!(!clock.measured(1, 5_001_000_000, true, boot(2)));
        // 500 ppm: half a millisecond a second.
        assert_eq!(clock.offset_ns(boot(3)), 5_000_500_000);
        assert_eq!(clock.offset_ns(boot(9)), 5_001_000_000);
    }

    #[test]
    fn a_guess_is_told_nobody_and_taken_back_by_the_first_measurement() {
        let utc = |s: i64| UtcTime::from_ns(s * 1_000_000_000);
        let mut clock = MeshClock::default();
        clock.guess(utc(100), boot(10));
        assert_eq!(clock.mesh(boot(11)), Some(MeshTime::from_ns(101_000_000_000)));
        assert_eq!((clock.measured_offset_ns(boot(11)), clock.offset_ns(boot(11))), (0, 90 * S));
        assert!(clock.measured(1, 95 * S, false, boot(12)), "set anew");
        assert_eq!(clock.offset_ns(boot(12)), 95 * S);
        assert!(!clock.measured(1, 96 * S, false, boot(13)), "from then on it is approached");

        // One that was nearly right is approached as well, so that no slot is lost over it.
        let mut near = MeshClock::default();
        near.guess(utc(100), boot(10));
        assert!(!near.measured(1, 90 * S + 50_000_000, true, boot(11)));
        assert_eq!(near.offset_ns(boot(11)), 90 * S);
        assert_eq!(near.measured_offset_ns(boot(1_000)), 90 * S + 50_000_000);

        // What is known is not guessed.
        let mut known = MeshClock::resumed(Some(7), boot(0));
        known.guess(utc(100), boot(10));
        assert_eq!(known.measured_offset_ns(boot(10)), 7);
    }

    const S: i64 = 1_000_000_000;

    #[test]
    fn while_a_leader_is_heard_nobody_else_counts() {
        let mut clock = MeshClock::resumed(Some(7), boot(0));
        clock.measured(1, 7, true, boot(1));
        clock.measured(2, 900_000, false, boot(5));
        // Nor does the same member once it leads no more: another leader may be near.
        clock.measured(1, 900_000, false, boot(5));
        assert_eq!(clock.offset_ns(boot(9)), 7);
        clock.measured(2, 900_000, false, boot(10));
        assert!(clock.offset_ns(boot(11)) > 7);
    }

    #[test]
    fn one_member_is_followed_at_a_time() {
        let mut clock = MeshClock::resumed(Some(0), boot(0));
        for second in 1..20 {
            clock.measured(2, 0, false, boot(second));
            clock.measured(3, 900_000_000, false, boot(second));
        }
        assert_eq!(clock.offset_ns(boot(20)), 0);
        // A new leader counts at once.
        clock.measured(3, 900_000_000, true, boot(20));
        assert_eq!(clock.offset_ns(boot(21)), 500_000);
        // Nobody is heard: it goes where it was going and stays there.
        assert_eq!(clock.offset_ns(boot(10_000)), 900_000_000);
    }
}
