//! A hash of all hot rows, kept up to date by what each entry changes, and what the members' hashes
//! say together.
//!
//! The hash is the sum of the hashes of the rows, so that neither their order nor the way to them
//! matters: members that loaded, installed or applied the same rows have the same one. It costs a few
//! hashes an entry and is never recomputed.

use std::collections::BTreeMap;

use bytes::Bytes;
use xxhash_rust::xxh3::Xxh3Default;

use super::State;

/// The hash of all hot rows.
#[derive(Debug, Clone, Default)]
pub struct RowSum {
    rows: BTreeMap<Bytes, u64>,
    sum: u64,
}

impl RowSum {
    /// A row now says `value`; none: it is gone. Cold rows are not counted.
    pub fn change(&mut self, key: &Bytes, value: Option<&Bytes>) {
        if State::cold(key).is_some() {
            return;
        }
        let old = match value {
            Some(value) => {
                let new = row_hash(key, value);
                self.sum = self.sum.wrapping_add(new);
                self.rows.insert(key.clone(), new)
            }
            None => self.rows.remove(key),
        };
        self.sum = self.sum.wrapping_sub(old.unwrap_or(0));
    }

    /// The hash of all rows.
    pub fn sum(&self) -> u64 {
        self.sum
    }
}

fn row_hash(key: &[u8], value: &[u8]) -> u64 {
    let mut hash = Xxh3Default::new();
    hash.update(&(key.len() as u64).to_be_bytes());
    hash.update(key);
    hash.update(value);
    hash.digest()
}

/// What the hashes of the voters say together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Agreement {
    /// More than half of the voters have this one.
    Majority(u64),
    /// All voters have spoken, and no hash has a majority.
    Disputed,
    /// Not enough have spoken.
    Open,
}

/// Counts the reports of the voters, by node id. Those of others do not count.
pub fn agree(voters: &[u64], reports: &BTreeMap<u64, u64>) -> Agreement {
    let mut counts: BTreeMap<u64, usize> = BTreeMap::new();
    for hash in voters.iter().filter_map(|voter| reports.get(voter)) {
        *counts.entry(*hash).or_default() += 1;
    }
    let heard: usize = counts.values().sum();
    match counts.iter().find(|(_, count)| **count * 2 > voters.len()) {
        Some((hash, _)) => Agreement::Majority(*hash),
        None if heard > 0 && heard == voters.len() => Agreement::Disputed,
        None => Agreement::Open,
    }
}

/// The level that the cluster can be raised to: that of the oldest build of all members, when it is
/// above the present one. A member that has not said its level is as old as can be.
pub fn raised_level(state: &State, own: u32) -> Option<u32> {
    let lowest = state.live_members().map(|row| row.level).min().unwrap_or(own).min(own);
    (lowest > state.cluster.level).then_some(lowest)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parallax_proto::store;

    use super::*;

    #[test]
    fn the_way_to_the_same_rows_does_not_matter() {
        let (key, value) = (|n: u8| Bytes::from(vec![b'k', n]), |n: u8| Bytes::from(vec![n; 9]));
        let mut straight = RowSum::default();
        straight.change(&key(1), Some(&value(1)));
        straight.change(&key(2), Some(&value(5)));
        let mut detour = RowSum::default();
        for (at, to) in [(2, 9), (3, 3), (1, 4), (2, 5), (1, 1)] {
            detour.change(&key(at), Some(&value(to)));
        }
        assert_ne!(detour.sum(), straight.sum());
        detour.change(&key(3), None);
        detour.change(&key(7), None);
        assert_eq!(detour.sum(), straight.sum());
        // The border between key and value counts.
        let mut other = RowSum::default();
        other.change(&Bytes::from_static(b"ka"), Some(&Bytes::from_static(b"b")));
        let mut moved = RowSum::default();
        moved.change(&Bytes::from_static(b"k"), Some(&Bytes::from_static(b"ab")));
        assert_ne!(other.sum(), moved.sum());
        // A cold row is the store's alone.
        straight.change(&Bytes::from(vec![b'a', 0, 0, 0, 0, 0, 0, 0, 1]), Some(&value(1)));
        assert_eq!(detour.sum(), straight.sum());
    }

    #[test]
    fn a_majority_is_of_the_voters_and_a_dispute_needs_all_of_them() {
        type Case<'a> = (&'a [u64], &'a [(u64, u64)], Agreement);
        let cases: &[Case<'_>] = &[
            (&[1], &[(1, 7)], Agreement::Majority(7)),
            (&[1, 2, 3], &[(1, 7)], Agreement::Open),
            (&[1, 2, 3], &[(1, 7), (2, 7)], Agreement::Majority(7)),
            (&[1, 2, 3], &[(1, 8), (2, 7), (3, 7)], Agreement::Majority(7)),
            (&[1, 2, 3], &[(1, 8), (2, 7)], Agreement::Open),
            (&[1, 2, 3], &[(1, 8), (2, 7), (3, 6)], Agreement::Disputed),
            // A learner has no voice.
            (&[1, 2, 3], &[(1, 8), (2, 7), (4, 7)], Agreement::Open),
            (&[1, 2, 3, 4], &[(1, 8), (2, 8), (3, 7), (4, 7)], Agreement::Disputed),
            (&[1, 2], &[(1, 8), (2, 7)], Agreement::Disputed),
            (&[], &[], Agreement::Open),
        ];
        for (voters, reports, expected) in cases {
            assert_eq!(agree(voters, &reports.iter().copied().collect()), *expected);
        }
    }

    #[test]
    fn the_level_is_raised_when_the_oldest_build_has_it() {
        let with = |levels: &[(u32, bool)], level| {
            let mut state = State::default();
            state.cluster.level = level;
            for (node_id, (level, removed)) in (1..).zip(levels) {
                let row = store::MemberRow {
                    node_id,
                    level: *level,
                    removed: *removed,
                    ..store::MemberRow::default()
                };
                state.members.insert(node_id, Arc::new(row));
            }
            state
        };
        assert_eq!(raised_level(&with(&[(2, false), (2, false)], 1), 2), Some(2));
        assert_eq!(raised_level(&with(&[(2, false), (1, false)], 1), 2), None);
        assert_eq!(raised_level(&with(&[(2, false), (1, true)], 1), 2), Some(2));
        assert_eq!(raised_level(&with(&[(2, false), (0, false)], 1), 2), None);
        assert_eq!(raised_level(&with(&[(3, false)], 1), 2), Some(2));
        assert_eq!(raised_level(&with(&[(2, false)], 2), 2), None);
        assert_eq!(raised_level(&with(&[], 1), 2), Some(2));
    }
}
