//! A histogram as history adds it up: filled entries only, in order. Pure.
//!
//! The layout is that of `parallax_common::histogram`, so merging is exact and its order does not
//! matter. A full counts array would take 136 KiB a series; this takes what was measured.

use std::time::Duration;

use parallax_common::histogram::{self, COUNTS_LEN, HistogramError, Totals, View, value_at};

/// Counts by index, with their exact totals.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sparse {
    totals: Totals,
    /// (index, count), ascending; no count is 0.
    entries: Vec<(u32, u64)>,
}

impl Sparse {
    /// One encoded series, which must be well formed.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn decode(view: View<'_>, totals: Totals) -> Result<Self, HistogramError> {
        histogram::check(view, totals)?;
        let mut entries = Vec::new();
        histogram::walk(view, |index, count| entries.push((index, count)))?;
        Ok(Self { totals, entries })
    }

    /// From what a segment holds; `None` when entries and totals cannot belong together.
    pub fn from_parts(totals: Totals, entries: Vec<(u32, u64)>) -> Option<Self> {
        let mut count: u64 = 0;
        let mut before = None;
        for &(index, n) in &entries {
            if n == 0 || index >= COUNTS_LEN || before.is_some_and(|before| index <= before) {
                return None;
            }
            before = Some(index);
            count = count.checked_add(n)?;
        }
        (count == totals.count && count > 0 && totals.min_us <= totals.max_us)
            .then_some(Self { totals, entries })
    }

    /// Count, sum, least and greatest, exact.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// (index, count), ascending.
    pub fn entries(&self) -> &[(u32, u64)] {
        &self.entries
    }

    /// Adds another one to this.
    pub fn add(&mut self, other: &Self) {
        if other.totals.count == 0 {
            return;
        }
        if self.totals.count == 0 {
            self.clone_from(other);
            return;
        }
        let (mine, theirs) = (self.totals, other.totals);
        self.totals = Totals {
            count: mine.count.saturating_add(theirs.count),
            sum_us: mine.sum_us.saturating_add(theirs.sum_us),
            min_us: mine.min_us.min(theirs.min_us),
            max_us: mine.max_us.max(theirs.max_us),
        };
        let mut merged = Vec::with_capacity(self.entries.len() + other.entries.len());
        let (mut left, mut right) =
            (self.entries.iter().peekable(), other.entries.iter().peekable());
        loop {
            match (left.peek(), right.peek()) {
                (Some(&&(a, n)), Some(&&(b, m))) if a == b => {
                    merged.push((a, n.saturating_add(m)));
                    left.next();
                    right.next();
                }
                (Some(&&a), Some(&&b)) if a.0 < b.0 => {
                    merged.push(a);
                    left.next();
                }
                (Some(&&a), None) => {
                    merged.push(a);
                    left.next();
                }
                (_, Some(&&b)) => {
                    merged.push(b);
                    right.next();
                }
                (None, None) => break,
            }
        }
        self.entries = merged;
    }

    /// The duration that the share `quantile` (0 to 1) of all samples does not exceed, to 3 figures
    /// and never outside the exact least and greatest; `None` without samples.
    pub fn quantile(&self, quantile: f64) -> Option<Duration> {
        let total = self.totals.count;
        if total == 0 {
            return None;
        }
        if quantile <= 0.0 {
            return Some(Duration::from_micros(self.totals.min_us));
        }
        // As in the reference implementation: the sample at ceil(share * count), from 1.
        let wanted = (quantile.clamp(0.0, 1.0) * total as f64).ceil() as u64;
        let wanted = wanted.clamp(1, total);
        let mut seen: u64 = 0;
        let found = self.entries.iter().find(|(_, count)| {
            seen = seen.saturating_add(*count);
            seen >= wanted
        });
        let index = found.or(self.entries.last())?.0;
        // The greatest value that is counted there.
        let us = value_at(index + 1).saturating_sub(1);
        Some(Duration::from_micros(us.clamp(self.totals.min_us, self.totals.max_us)))
    }

    /// The exact mean; `None` without samples.
    pub fn mean(&self) -> Option<Duration> {
        self.totals.sum_us.checked_div(self.totals.count).map(Duration::from_micros)
    }
}

#[cfg(test)]
mod tests {
    use parallax_common::histogram::{Merged, Recorder};
    use proptest::prelude::*;

    use super::*;

    fn recorded(samples: &[u64]) -> (Sparse, Merged) {
        let mut recorder = Recorder::new();
        for us in samples {
            recorder.record(Duration::from_micros(*us));
        }
        let (encoded, totals) = (recorder.encode(), recorder.totals());
        let sparse = Sparse::decode(encoded.view(), totals).unwrap();
        (sparse, histogram::decode(encoded.view(), totals).unwrap())
    }

    proptest! {
        #[test]
        fn it_says_what_the_full_histogram_says(
            parts in prop::collection::vec(prop::collection::vec(1u64..70_000_000, 1..100), 1..5)
        ) {
            let (mut sparse, mut merged) = (Sparse::default(), Merged::new());
            for part in &parts {
                let (s, m) = recorded(part);
                sparse.add(&s);
                merged.add(&m);
            }
            prop_assert_eq!(sparse.totals(), merged.totals());
            prop_assert_eq!(sparse.mean(), merged.mean());
            for quantile in [0.0, 0.25, 0.5, 0.9, 0.95, 0.99, 0.999, 1.0] {
                prop_assert_eq!(sparse.quantile(quantile), merged.quantile(quantile));
            }
        }

        #[test]
        fn the_order_of_adding_does_not_matter(
            a in prop::collection::vec(1u64..1_000_000, 1..50),
            b in prop::collection::vec(1u64..1_000_000, 1..50),
            c in prop::collection::vec(1u64..1_000_000, 1..50),
        ) {
            let sum = |order: [&Vec<u64>; 3]| {
                let mut sum = Sparse::default();
                order.into_iter().for_each(|part| sum.add(&recorded(part).0));
                sum
            };
            prop_assert_eq!(sum([&a, &b, &c]), sum([&c, &a, &b]));
            prop_assert_eq!(sum([&a, &b, &c]), recorded(&[a, b, c].concat()).0);
        }
    }

    #[test]
    fn parts_that_do_not_belong_together_are_refused() {
        let totals = Totals { count: 3, sum_us: 30, min_us: 5, max_us: 15 };
        assert!(Sparse::from_parts(totals, vec![(5, 1), (10, 1), (15, 1)]).is_some());
        for wrong in [
            vec![(5, 1), (10, 1)],
            vec![(10, 1), (5, 2)],
            vec![(5, 3), (6, 0)],
            vec![(5, 1), (COUNTS_LEN, 2)],
            vec![(5, u64::MAX), (6, 4)],
        ] {
            assert_eq!(Sparse::from_parts(totals, wrong), None);
        }
    }
}
