//! Where slots lie: pure arithmetic over phase and interval, in mesh time.
//!
//! What runs at a slot is the probe's business (`parallax-probe`, `core::schedule`); which region
//! has which rank is configuration. The hash is part of the wire: every coordinator and every
//! release must put a check's slots at the same instants, so the seed never changes.

use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::name::Uid;
use crate::time::{MeshTime, ns};

/// Seed of the phase hash: the bytes `plxphase`, big-endian. Changing it moves every slot.
pub const PHASE_SEED: u64 = u64::from_be_bytes(*b"plxphase");

/// Where in its interval a region looks: `hash(uid) mod interval + rank * interval / regions`,
/// modulo the interval. Nanoseconds, at least 0 and less than the interval.
///
/// The hash keeps checks from starting together; the rank spreads the regions of one check evenly,
/// so that R regions give a look every interval / R. A zero interval gives 0, no regions count as
/// one.
pub fn phase_ns(uid: &Uid, rank: usize, interval: Duration, regions: usize) -> i64 {
    let interval = i128::from(ns(interval));
    if interval == 0 {
        return 0;
    }
    let hash = i128::from(xxh3_64_with_seed(uid.as_bytes(), PHASE_SEED));
    let share = rank as i128 * interval / regions.max(1) as i128;
    // Less than the interval, which is an i64.
    ((hash % interval + share) % interval) as i64
}

/// The slots of one assignment: `phase + k * interval` for every whole k, negative ones included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slots {
    phase_ns: i64,
    interval_ns: i64,
}

impl Slots {
    /// Slots at `phase_ns + k * interval`. An interval of zero is taken as one nanosecond.
    pub fn new(phase_ns: i64, interval: Duration) -> Self {
        Self { phase_ns, interval_ns: ns(interval).max(1) }
    }

    /// Nanoseconds from mesh time zero to slot 0.
    pub const fn phase_ns(&self) -> i64 {
        self.phase_ns
    }

    /// Time between two slots.
    pub fn interval(&self) -> Duration {
        Duration::from_nanos(self.interval_ns.unsigned_abs())
    }

    /// The slot that `at` lies in: the last one that begins at or before it.
    pub fn slot_of(&self, at: MeshTime) -> i64 {
        let k = (i128::from(at.as_ns()) - i128::from(self.phase_ns))
            .div_euclid(i128::from(self.interval_ns));
        clamp(k)
    }

    /// The first slot that begins at or after `at`.
    pub fn slot_at_or_after(&self, at: MeshTime) -> i64 {
        let slot = self.slot_of(at);
        if self.time_of(slot) < at { slot.saturating_add(1) } else { slot }
    }

    /// The last slot that begins before `at`.
    pub fn slot_before(&self, at: MeshTime) -> i64 {
        self.slot_at_or_after(at).saturating_sub(1)
    }

    /// When slot `k` begins.
    pub fn time_of(&self, k: i64) -> MeshTime {
        let at = i128::from(self.phase_ns) + i128::from(k) * i128::from(self.interval_ns);
        MeshTime::from_ns(clamp(at))
    }
}

fn clamp(value: i128) -> i64 {
    value.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
}

/// The stored order of regions after an edit: survivors keep their order and close up, new ones go
/// to the end in the order in which they were written, repeats are dropped.
///
/// Stored order is rank order, so an edit that only re-orders the list moves no slot.
pub fn merge_ranks(old: &[String], wanted: &[String]) -> Vec<String> {
    let mut merged: Vec<String> = Vec::with_capacity(wanted.len());
    let survivors = old.iter().filter(|region| wanted.contains(region));
    for region in survivors.chain(wanted) {
        if !merged.contains(region) {
            merged.push(region.clone());
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn the_phase_is_pinned() {
        let uid = Uid::from_bytes(*b"0123456789abcdef");
        let second = Duration::from_secs(1);
        let phases: Vec<i64> = (0..5).map(|rank| phase_ns(&uid, rank, second, 5)).collect();
        assert_eq!(phases, PINNED);
    }

    const PINNED: [i64; 5] = [901_983_328, 101_983_328, 301_983_328, 501_983_328, 701_983_328];

    #[test]
    fn an_edit_keeps_ranks_of_survivors() {
        for (old, wanted, merged) in [
            ("", "a b c", "a b c"),
            ("a b c", "c b a", "a b c"),
            ("a b c", "c d a", "a c d"),
            ("a b c", "x y", "x y"),
            ("a b", "a a b", "a b"),
            ("a b c", "", ""),
        ] {
            assert_eq!(
                merge_ranks(&names(old), &names(wanted)),
                names(merged),
                "{old} -> {wanted}"
            );
        }
    }

    #[test]
    fn slots_count_through_zero() {
        let slots = Slots::new(300, Duration::from_nanos(1_000));
        for (at, of, after, before) in [
            (-701, -2, -1, -2),
            (-700, -1, -1, -2),
            (299, -1, 0, -1),
            (300, 0, 0, -1),
            (301, 0, 1, 0),
            (1_300, 1, 1, 0),
        ] {
            let at = MeshTime::from_ns(at);
            assert_eq!(slots.slot_of(at), of, "{at:?}");
            assert_eq!(slots.slot_at_or_after(at), after, "{at:?}");
            assert_eq!(slots.slot_before(at), before, "{at:?}");
        }
    }

    proptest! {
        #[test]
        fn phases_lie_in_the_interval_and_are_spread(
            bytes in any::<[u8; 16]>(),
            interval_ms in 100u64..86_400_000,
            regions in 1usize..32,
        ) {
            let uid = Uid::from_bytes(bytes);
            let interval = Duration::from_millis(interval_ms);
            let phases: Vec<i64> = (0..regions).map(|r| phase_ns(&uid, r, interval, regions)).collect();
            let whole = ns(interval);
            for (rank, phase) in phases.iter().enumerate() {
                prop_assert!((0..whole).contains(phase));
                let from_first = (phase - phases[0]).rem_euclid(whole);
                prop_assert_eq!(from_first, (rank as i128 * i128::from(whole) / regions as i128) as i64);
            }
        }

        #[test]
        fn every_instant_has_one_slot(phase in 0i64..1_000_000_000, interval_ns in 1u64..1_000_000_000_000,
                                      at in -4_000_000_000_000_000_000i64..4_000_000_000_000_000_000) {
            let slots = Slots::new(phase, Duration::from_nanos(interval_ns));
            let at = MeshTime::from_ns(at);
            let k = slots.slot_of(at);
            prop_assert!(slots.time_of(k) <= at && at < slots.time_of(k + 1));
            let next = slots.slot_at_or_after(at);
            prop_assert!(slots.time_of(next) >= at && slots.time_of(next - 1) < at);
            prop_assert_eq!(slots.slot_at_or_after(slots.time_of(k)), k);
        }

        #[test]
        fn merged_ranks_are_the_wanted_set(old in "[a-e ]{0,12}", wanted in "[a-e ]{0,12}") {
            let (old, wanted) = (names(&old), names(&wanted));
            let merged = merge_ranks(&old, &wanted);
            let mut sorted = merged.clone();
            sorted.sort();
            let mut set = wanted.clone();
            set.sort();
            set.dedup();
            prop_assert_eq!(sorted, set);
            prop_assert_eq!(merge_ranks(&merged, &wanted), merged);
        }
    }
}
