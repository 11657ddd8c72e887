//! The terms of a log, as runs: there are as many as there were leaders, not as entries.

/// Which term each index has, from the one before the first kept entry on.
#[derive(Debug, Clone, Default)]
pub(super) struct Terms {
    /// (first index of the run, term), ascending.
    runs: Vec<(u64, u64)>,
    last: u64,
}

impl Terms {
    /// The terms of a log that begins behind `index`, which had `term`.
    pub(super) fn after(index: u64, term: u64) -> Self {
        Self { runs: vec![(index, term)], last: index }
    }

    /// Newest index.
    pub(super) fn last(&self) -> u64 {
        self.last
    }

    /// Says what term `index` has; forgets everything after it.
    pub(super) fn push(&mut self, index: u64, term: u64) {
        while self.runs.len() > 1 && self.runs.last().is_some_and(|run| run.0 >= index) {
            self.runs.pop();
        }
        if self.runs.last().is_none_or(|run| run.1 != term) {
            self.runs.push((index, term));
        }
        self.last = index;
    }

    /// Forgets what is before `index`.
    pub(super) fn begin_at(&mut self, index: u64) {
        let run = self.runs.partition_point(|run| run.0 <= index).saturating_sub(1);
        self.runs.drain(..run);
        if let Some(first) = self.runs.first_mut() {
            first.0 = first.0.max(index);
        }
    }

    /// The term at `index`, when it is known.
    pub(super) fn get(&self, index: u64) -> Option<u64> {
        if index > self.last || self.runs.first().is_none_or(|run| index < run.0) {
            return None;
        }
        let run = self.runs.partition_point(|run| run.0 <= index) - 1;
        Some(self.runs[run].1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_term_is_found_for_every_index_also_after_overwrites_and_compaction() {
        let mut terms = Terms::after(0, 0);
        for (index, term) in [(1, 1), (2, 1), (3, 2), (4, 2), (5, 2)] {
            terms.push(index, term);
        }
        assert_eq!(
            (0..7).map(|i| terms.get(i)).collect::<Vec<_>>(),
            [Some(0), Some(1), Some(1), Some(2), Some(2), Some(2), None]
        );
        terms.push(3, 4); // overwrites 3, drops 4 and 5
        assert_eq!((2..5).map(|i| terms.get(i)).collect::<Vec<_>>(), [Some(1), Some(4), None]);
        terms.push(4, 4);
        terms.begin_at(2);
        assert_eq!(
            (1..6).map(|i| terms.get(i)).collect::<Vec<_>>(),
            [None, Some(1), Some(4), Some(4), None]
        );
        terms.begin_at(4);
        assert_eq!((3..6).map(|i| terms.get(i)).collect::<Vec<_>>(), [None, Some(4), None]);
        assert_eq!(terms.last(), 4);
    }
}
