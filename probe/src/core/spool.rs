//! Sealed windows that some coordinator has not acknowledged yet, in memory, with a bound.
//!
//! Sequences are the spool's own and start at 1 with each incarnation. An item leaves when every
//! reader has acknowledged it, or as the oldest when the bound is reached (counted). A reader that
//! has been away for an hour no longer holds anything back (DESIGN.md, decision 13): what leaves
//! without it is its gap. Each reader's gap is told once, when it begins, and again only after the
//! reader was back and has acknowledged something.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use parallax_common::limits::MEMBERS_MAX;
use parallax_common::time::BootTime;

#[derive(Debug)]
struct Reader {
    /// Everything up to here need not be kept for it.
    acknowledged: u64,
    /// Since when it is away; `None` while its session lives.
    away_since: Option<BootTime>,
    /// It has been away for too long: nothing waits for it.
    given_up: bool,
    /// Its gap was told.
    gap_told: bool,
}

/// A reader that will not get some items: they have left without it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// Its node id.
    pub reader: u64,
    /// First item that it has not acknowledged.
    pub first: u64,
    /// Last item that has left so far.
    pub last: u64,
}

/// A bounded queue with several readers, named by their node ids.
#[derive(Debug)]
pub struct Spool<T> {
    items: VecDeque<(T, usize)>,
    /// Sequence of the first item.
    first: u64,
    bytes: usize,
    bytes_max: usize,
    dropped: u64,
    readers: BTreeMap<u64, Reader>,
}

impl<T> Spool<T> {
    /// An empty spool that holds at most `bytes_max` bytes, as counted by [`Self::push`].
    pub fn new(bytes_max: usize) -> Self {
        Self {
            items: VecDeque::new(),
            first: 1,
            bytes: 0,
            bytes_max,
            dropped: 0,
            readers: BTreeMap::new(),
        }
    }

    /// Adds an item of `bytes` bytes; its sequence.
    pub fn push(&mut self, item: T, bytes: usize) -> u64 {
        self.items.push_back((item, bytes));
        self.bytes += bytes;
        while self.bytes > self.bytes_max {
            if self.pop().is_none() {
                break;
            }
            self.dropped += 1;
        }
        self.last_sequence()
    }

    fn pop(&mut self) -> Option<T> {
        let (item, bytes) = self.items.pop_front()?;
        self.first += 1;
        self.bytes -= bytes;
        Some(item)
    }

    /// The item with this sequence, unless it has left.
    pub fn get(&self, sequence: u64) -> Option<&T> {
        let index = usize::try_from(sequence.checked_sub(self.first)?).ok()?;
        self.items.get(index).map(|(item, _)| item)
    }

    /// Sequence of the oldest item kept; one more than the last when there is none.
    pub fn first_sequence(&self) -> u64 {
        self.first
    }

    /// Sequence of the newest item ever pushed.
    pub fn last_sequence(&self) -> u64 {
        self.first + self.items.len() as u64 - 1
    }

    /// A reader's session began; the sequence it has to be sent from. One never seen before
    /// starts with the oldest item that is kept.
    pub fn attach(&mut self, reader: u64) -> u64 {
        let first = self.first;
        let state = self.readers.entry(reader).or_insert(Reader {
            acknowledged: first - 1,
            away_since: None,
            given_up: false,
            gap_told: false,
        });
        state.away_since = None;
        state.given_up = false;
        state.acknowledged.max(first - 1) + 1
    }

    /// A reader's session ended.
    pub fn detach(&mut self, reader: u64, now: BootTime) {
        if let Some(state) = self.readers.get_mut(&reader) {
            state.away_since.get_or_insert(now);
        }
    }

    /// A reader has everything up to `through`. An acknowledgement of what was never sent is cut.
    pub fn acknowledge(&mut self, reader: u64, through: u64) {
        let last = self.last_sequence();
        if let Some(state) = self.readers.get_mut(&reader) {
            let through = through.min(last);
            if through > state.acknowledged {
                state.acknowledged = through;
                state.gap_told = false;
            }
        }
        self.release();
    }

    /// Waits no longer for readers that have been away for `away_max`. Gives the gaps that began
    /// since the last time, also those made by the bound.
    pub fn give_up_away(&mut self, now: BootTime, away_max: Duration) -> Vec<Gap> {
        for reader in self.readers.values_mut() {
            reader.given_up |= reader.away_since.is_some_and(|since| now.since(since) >= away_max);
        }
        self.release();
        let gone = self.first - 1;
        let mut gaps = Vec::new();
        for (&reader, state) in &mut self.readers {
            if state.acknowledged < gone && !state.gap_told {
                state.gap_told = true;
                gaps.push(Gap { reader, first: state.acknowledged + 1, last: gone });
            }
        }
        gaps
    }

    /// A member that is known to exist: windows wait for it as for one whose session just ended.
    pub fn expect(&mut self, reader: u64, now: BootTime) {
        let acknowledged = self.first - 1;
        self.readers.entry(reader).or_insert(Reader {
            acknowledged,
            away_since: Some(now),
            given_up: false,
            gap_told: false,
        });
        while self.readers.len() > MEMBERS_MAX {
            let given_up = self.readers.iter().find(|(_, state)| state.given_up);
            let other = given_up.or(self.readers.iter().find(|(_, s)| s.away_since.is_some()));
            let Some(reader) = other.map(|(reader, _)| *reader) else { return };
            self.readers.remove(&reader);
        }
    }

    /// Drops what every reader has that is waited for. With none such nothing is dropped: somebody
    /// may come.
    fn release(&mut self) {
        let waited_for = self.readers.values().filter(|reader| !reader.given_up);
        let Some(through) = waited_for.map(|reader| reader.acknowledged).min() else {
            return;
        };
        while self.first <= through && self.pop().is_some() {}
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Items held.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Items that left because of the bound.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(n: u64) -> Spool<u64> {
        let mut spool = Spool::new(1_000);
        for k in 1..=n {
            assert_eq!(spool.push(k, 10), k);
        }
        spool
    }

    #[test]
    fn an_item_leaves_when_every_reader_has_it() {
        let mut spool = filled(5);
        assert_eq!((spool.attach(1), spool.attach(2)), (1, 1));
        spool.acknowledge(1, 4);
        assert_eq!((spool.len(), spool.first_sequence()), (5, 1));
        spool.acknowledge(2, 2);
        assert_eq!((spool.len(), spool.first_sequence()), (3, 3));
        assert_eq!(spool.get(3), Some(&3));
        assert_eq!(spool.get(2), None);
        assert_eq!(spool.bytes(), 30);
    }

    #[test]
    fn a_reader_that_returns_goes_on_where_it_stopped() {
        let mut spool = filled(5);
        spool.attach(1);
        spool.acknowledge(1, 2);
        spool.detach(1, BootTime::from_ns(0));
        spool.push(6, 10);
        assert_eq!(spool.attach(1), 3);
        assert_eq!(spool.len(), 4);
    }

    #[test]
    fn at_the_bound_the_oldest_is_dropped_and_counted() {
        let mut spool = filled(100);
        spool.attach(1);
        assert_eq!(spool.push(101, 10), 101);
        assert_eq!((spool.dropped(), spool.first_sequence(), spool.bytes()), (1, 2, 1_000));
        assert_eq!(spool.attach(1), 2);
        let mut small = Spool::new(5);
        assert_eq!(small.push(1, 10), 1);
        assert_eq!((small.len(), small.dropped(), small.last_sequence()), (0, 1, 1));
    }

    #[test]
    fn nobody_listening_keeps_everything_and_an_hour_away_lets_go() {
        let hour = Duration::from_secs(3_600);
        let mut spool = filled(5);
        assert_eq!(spool.give_up_away(BootTime::from_ns(0), hour), []);
        assert_eq!(spool.len(), 5);
        spool.attach(1);
        spool.attach(2);
        spool.acknowledge(1, 5);
        spool.detach(2, BootTime::from_ns(0));
        assert_eq!(spool.give_up_away(BootTime::from_ns(0) + hour / 2, hour), []);
        assert_eq!(spool.len(), 5);
        let gap = Gap { reader: 2, first: 1, last: 5 };
        assert_eq!(spool.give_up_away(BootTime::from_ns(0) + hour, hour), [gap]);
        assert!(spool.is_empty());
        assert_eq!(spool.push(6, 10), 6);
    }

    #[test]
    fn a_gap_is_told_once_and_one_that_begins_after_a_return_is_told_again() {
        let hour = Duration::from_secs(3_600);
        let at = |hours: u32| BootTime::from_ns(0) + hour * hours;
        let mut spool = filled(2);
        spool.attach(1);
        spool.attach(2);
        spool.acknowledge(2, 1);
        spool.detach(2, at(0));
        spool.acknowledge(1, 2);
        assert_eq!(spool.give_up_away(at(1), hour), [Gap { reader: 2, first: 2, last: 2 }]);
        spool.push(3, 10);
        spool.acknowledge(1, 3);
        assert_eq!(spool.give_up_away(at(2), hour), [], "it goes on, and was told");
        // Back: it goes on with what is there, and holds it back again.
        spool.push(4, 10);
        assert_eq!(spool.attach(2), 4);
        spool.acknowledge(1, 4);
        assert_eq!(spool.len(), 1);
        spool.acknowledge(2, 4);
        assert_eq!((spool.len(), spool.give_up_away(at(3), hour)), (0, vec![]));
        spool.detach(2, at(3));
        spool.push(5, 10);
        spool.acknowledge(1, 5);
        assert_eq!(spool.give_up_away(at(4), hour), [Gap { reader: 2, first: 5, last: 5 }]);
    }

    #[test]
    fn the_bound_makes_a_gap_for_those_who_did_not_get_it() {
        let mut spool = filled(100);
        spool.attach(1);
        spool.push(101, 10);
        let gap = Gap { reader: 1, first: 1, last: 1 };
        assert_eq!(spool.give_up_away(BootTime::from_ns(0), Duration::from_secs(1)), [gap]);
        spool.push(102, 10);
        assert_eq!(spool.give_up_away(BootTime::from_ns(0), Duration::from_secs(1)), []);
    }

    #[test]
    fn a_member_that_never_came_is_waited_for_an_hour() {
        let hour = Duration::from_secs(3_600);
        let mut spool = filled(3);
        spool.attach(1);
        spool.expect(1, BootTime::from_ns(0));
        spool.expect(2, BootTime::from_ns(0));
        spool.acknowledge(1, 3);
        assert_eq!(spool.give_up_away(BootTime::from_ns(0) + hour / 2, hour), []);
        assert_eq!(spool.len(), 3);
        let gap = Gap { reader: 2, first: 1, last: 3 };
        assert_eq!(spool.give_up_away(BootTime::from_ns(0) + hour, hour), [gap]);
        assert!(spool.is_empty());
        for reader in 3..900 {
            spool.expect(reader, BootTime::from_ns(0));
        }
        assert!(spool.readers.len() <= MEMBERS_MAX && spool.readers.contains_key(&1));
    }

    #[test]
    fn an_acknowledgement_of_the_future_counts_only_for_what_exists() {
        let mut spool = filled(3);
        spool.attach(1);
        spool.acknowledge(1, 900);
        assert_eq!((spool.len(), spool.last_sequence()), (0, 3));
        spool.push(4, 10);
        assert_eq!(spool.len(), 1);
        assert_eq!(spool.attach(1), 4);
    }
}
