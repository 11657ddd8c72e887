//! A hash of all hot rows, kept up to date by what each entry changes, and what the members' hashes
//! say together.
//!
//! The hash is the sum of the hashes of the rows, so that neither their order nor the way to them
//! matters: members that loaded, installed or applied the same rows have the same one. It costs a few
//! hashes an entry and is never recomputed.

use std::collections::BTreeMap;

use bytes::Bytes;
use parallax_proto::v1::timeline_event::Event;
use parallax_proto::{store, v1};
use prost::Message as _;
use xxhash_rust::xxh3::Xxh3Default;

use super::{State, Table};

/// The hash of all hot rows, without the sentences in them.
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
                let new = row_hash(key, &unworded(key, value));
                self.sum = self.sum.wrapping_add(new);
                match self.rows.get_mut(key) {
                    Some(old) => Some(std::mem::replace(old, new)),
                    // A key of its own: one that was read is part of all that was read with it.
                    None => self.rows.insert(Bytes::copy_from_slice(key), new),
                }
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

/// The value without the sentences that apply writes into it: builds of one level do the same, and may
/// say it in other words. What is meant stands beside them, as a rule or a state.
fn unworded(key: &[u8], value: &Bytes) -> Bytes {
    let plain = match key.first() {
        Some(&table) if table == Table::Client as u8 => plain_client(value),
        Some(&table) if table == Table::Incident as u8 => plain_incident(value),
        _ => None,
    };
    plain.map_or_else(|| value.clone(), Bytes::from)
}

/// Encoded anew when there was anything to leave out.
fn plain_client(value: &Bytes) -> Option<Vec<u8>> {
    /// The sentences of a client's row, without what is around them.
    #[derive(Clone, PartialEq, prost::Message)]
    struct Words {
        #[prost(message, repeated, tag = "3")]
        answers: Vec<Word>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    struct Word {
        #[prost(string, tag = "4")]
        refusal: String,
    }
    // Most have none: they are looked at for each write, and not read whole for that.
    let words = Words::decode(value.as_ref()).ok()?;
    if words.answers.iter().all(|word| word.refusal.is_empty()) {
        return None;
    }
    let mut row = store::ClientRow::decode(value.clone()).ok()?;
    let mut texts = row.answers.iter_mut().map(|answer| &mut answer.refusal);
    leave_out(&mut texts).then(|| row.encode_to_vec())
}

fn plain_incident(value: &Bytes) -> Option<Vec<u8>> {
    let mut incident = v1::Incident::decode(value.clone()).ok()?;
    let told = incident.timeline.iter_mut().filter_map(|event| match event.event.as_mut()? {
        Event::VerdictSuperseded(superseded) => Some(&mut superseded.why),
        Event::PageDropped(dropped) => Some(&mut dropped.why),
        Event::PageFailed(failed) => Some(&mut failed.error),
        _ => None,
    });
    let pages = incident.deliveries.iter_mut().map(|page| &mut page.last_error);
    leave_out(&mut told.chain(pages)).then(|| incident.encode_to_vec())
}

fn leave_out(texts: &mut dyn Iterator<Item = &mut String>) -> bool {
    let mut any = false;
    for text in texts {
        any |= !text.is_empty();
        text.clear();
    }
    any
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

    use super::*;

    fn sum_of(key: &[u8], value: &impl prost::Message) -> u64 {
        let mut sum = RowSum::default();
        sum.change(&Bytes::copy_from_slice(key), Some(&value.encode_to_vec().into()));
        sum.sum()
    }

    #[test]
    fn a_build_that_words_a_refusal_otherwise_has_the_same_hash() {
        let client = |rule: &str, text: &str| {
            let (refusal_rule, refusal) = (rule.to_owned(), text.to_owned());
            let refused = store::AnswerRow { refusal_rule, refusal, ..Default::default() };
            store::ClientRow { answers: vec![refused], ..store::ClientRow::default() }
        };
        let of = |row: &store::ClientRow| sum_of(b"cme", row);
        let said = of(&client("conflict", "it was changed"));
        assert_eq!(of(&client("conflict", "somebody else was there first")), said);
        assert_ne!(of(&client("other_set", "it was changed")), said);
        // The same of what apply notes in an incident.
        let incident = |uid: &str, why: &str| {
            let superseded = Event::VerdictSuperseded(v1::VerdictSuperseded { why: why.into() });
            let dropped = Event::PageDropped(v1::PageDropped { why: why.into(), ..<_>::default() });
            let event = |event| v1::TimelineEvent { at: None, event: Some(event) };
            let page = v1::Delivery { last_error: why.into(), ..v1::Delivery::default() };
            v1::Incident {
                uid: uid.into(),
                timeline: vec![event(superseded), event(dropped)],
                deliveries: vec![page],
                ..v1::Incident::default()
            }
        };
        let of = |row: &v1::Incident| sum_of(b"iuid", row);
        let said = of(&incident("a", "the contact was deleted"));
        assert_eq!(of(&incident("a", "nobody is there any more")), said);
        assert_ne!(of(&incident("b", "the contact was deleted")), said);
        // What somebody wrote counts, wherever it is.
        let check = |title: &str| v1::Check { title: title.into(), ..v1::Check::default() };
        assert_ne!(sum_of(b"kuid", &check("one")), sum_of(b"kuid", &check("another")));
    }

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
    fn a_key_that_is_kept_holds_nothing_of_what_it_was_read_from() {
        let chunk = Bytes::from(vec![b'k'; 1_000]);
        let mut sum = RowSum::default();
        for at in [0, 10] {
            sum.change(&chunk.slice(at..at + 10), Some(&chunk.slice(100..)));
        }
        assert_eq!(sum.rows.len(), 1);
        let within = chunk.as_ptr_range();
        assert!(sum.rows.keys().all(|key| !within.contains(&key.as_ptr())));
        assert!(chunk.is_unique(), "nobody else holds it");
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
