//! Which windows something holds, by the spools they came from and their numbers there. Pure.
//!
//! (spool, sequence) names a window everywhere and for ever. A segment says which it holds, so that
//! what was rolled up, copied from another member, or both, is counted once.

use std::collections::BTreeMap;

use super::Spool;

/// Numbers of one spool: first and last, both included, ascending and apart.
pub type Ranges = Vec<(u64, u64)>;

/// Numbers by spool.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Held(BTreeMap<Spool, Ranges>);

impl Held {
    /// From what a segment says. `None` when ranges are not ascending, or overlap.
    pub fn checked(spools: impl IntoIterator<Item = (Spool, Ranges)>) -> Option<Self> {
        let mut held = Self::default();
        for (spool, ranges) in spools {
            let mut before = None;
            for &(first, last) in &ranges {
                if first > last || before.is_some_and(|before| first <= before) {
                    return None;
                }
                before = Some(last);
            }
            if ranges.is_empty() || held.0.insert(spool, ranges).is_some() {
                return None;
            }
        }
        Some(held)
    }

    /// By spool.
    pub fn iter(&self) -> impl Iterator<Item = (&Spool, &Ranges)> {
        self.0.iter()
    }

    /// Those of one spool.
    pub fn of(&self, spool: &Spool) -> &[(u64, u64)] {
        self.0.get(spool).map_or(&[], Vec::as_slice)
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a stretch of numbers.
    pub fn insert(&mut self, spool: &Spool, first: u64, last: u64) {
        let ranges = match self.0.get_mut(spool) {
            Some(ranges) => ranges,
            None => self.0.entry(spool.clone()).or_default(),
        };
        // Those that touch the new one become one with it.
        let from = ranges.partition_point(|range| range.1.saturating_add(1) < first);
        let to = ranges.partition_point(|range| range.0 <= last.saturating_add(1));
        let joined = ranges[from..to]
            .iter()
            .fold((first, last), |all, range| (all.0.min(range.0), all.1.max(range.1)));
        ranges.splice(from..to, [joined]);
    }

    /// Adds all of another one.
    pub fn extend(&mut self, other: &Self) {
        for (spool, ranges) in &other.0 {
            for &(first, last) in ranges {
                self.insert(spool, first, last);
            }
        }
    }

    /// What of it `other` does not hold.
    pub fn minus(&self, other: &Self) -> Self {
        let mut rest = Self::default();
        for (spool, ranges) in &self.0 {
            let theirs = other.0.get(spool).map_or(&[][..], Vec::as_slice);
            for &(mut first, last) in ranges {
                let at = theirs.partition_point(|range| range.1 < first);
                for &(from, to) in theirs[at..].iter().take_while(|range| range.0 <= last) {
                    if first < from {
                        rest.insert(spool, first, from - 1);
                    }
                    first = to.saturating_add(1);
                }
                if first <= last {
                    rest.insert(spool, first, last);
                }
            }
        }
        rest
    }

    /// Whether it holds this window.
    pub fn contains(&self, spool: &Spool, sequence: u64) -> bool {
        self.0.get(spool).is_some_and(|ranges| {
            let at = ranges.partition_point(|range| range.1 < sequence);
            ranges.get(at).is_some_and(|range| range.0 <= sequence)
        })
    }

    /// Whether it holds everything that `other` holds.
    pub fn covers(&self, other: &Self) -> bool {
        other.0.iter().all(|(spool, theirs)| {
            let mine = self.0.get(spool).map_or(&[][..], Vec::as_slice);
            theirs.iter().all(|&(first, last)| {
                let at = mine.partition_point(|range| range.1 < first);
                mine.get(at).is_some_and(|range| range.0 <= first && last <= range.1)
            })
        })
    }

    /// Whether both hold some window.
    pub fn overlaps(&self, other: &Self) -> bool {
        other.0.iter().any(|(spool, theirs)| {
            let mine = self.0.get(spool).map_or(&[][..], Vec::as_slice);
            theirs.iter().any(|&(first, last)| {
                let at = mine.partition_point(|range| range.1 < first);
                mine.get(at).is_some_and(|range| range.0 <= last)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use parallax_common::name::Incarnation;
    use proptest::prelude::*;

    use super::*;

    fn spool(name: &str) -> Spool {
        Spool { region: "eu".into(), probe: name.into(), incarnation: Incarnation(1) }
    }

    fn held(ranges: &[(u64, u64)]) -> Held {
        let mut held = Held::default();
        ranges.iter().for_each(|(first, last)| held.insert(&spool("a"), *first, *last));
        held
    }

    #[test]
    fn ranges_out_of_order_are_refused() {
        assert!(Held::checked([(spool("a"), vec![(1, 2), (4, 4)])]).is_some());
        for wrong in [vec![], vec![(2, 1)], vec![(4, 4), (1, 2)], vec![(1, 4), (4, 5)]] {
            assert_eq!(Held::checked([(spool("a"), wrong)]), None);
        }
        assert_eq!(Held::checked([(spool("a"), vec![(1, 1)]), (spool("a"), vec![(2, 2)])]), None);
    }

    proptest! {
        #[test]
        fn ranges_are_sets_of_numbers(
            a in prop::collection::vec((1u64..60, 0u64..6), 0..12),
            b in prop::collection::vec((1u64..60, 0u64..6), 0..12),
        ) {
            let ranges = |given: &[(u64, u64)]| {
                held(&given.iter().map(|(first, more)| (*first, first + more)).collect::<Vec<_>>())
            };
            let set = |given: &[(u64, u64)]| -> BTreeSet<u64> {
                given.iter().flat_map(|(first, more)| *first..=first + more).collect()
            };
            let (ra, rb, sa, sb) = (ranges(&a), ranges(&b), set(&a), set(&b));
            for n in 0..70 {
                prop_assert_eq!(ra.contains(&spool("a"), n), sa.contains(&n));
            }
            prop_assert_eq!(ra.covers(&rb), sb.is_subset(&sa));
            prop_assert_eq!(ra.overlaps(&rb), !sa.is_disjoint(&sb));
            let mut both = ra.clone();
            both.extend(&rb);
            prop_assert!(both.covers(&ra) && both.covers(&rb));
            let rest = ra.minus(&rb);
            for n in 0..70 {
                prop_assert_eq!(rest.contains(&spool("a"), n), sa.contains(&n) && !sb.contains(&n));
            }
            let all = Held::checked(both.iter().map(|(spool, ranges)| (spool.clone(), ranges.clone())));
            prop_assert_eq!(all.as_ref(), Some(&both));
        }
    }
}
