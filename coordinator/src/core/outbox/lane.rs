//! What waits for one contact, and what is in flight to all of them.

use std::collections::{BTreeMap, BTreeSet};

use parallax_common::limits::{
    LINE_TRIES_MAX, PAGE_SLOW_AFTER, PAGES_IN_FLIGHT_MAX, PAGES_IN_FLIGHT_SHARED_MAX,
    PAGES_PER_CONTACT_MAX, PAGES_SLOW_MAX,
};
use parallax_common::time::UtcTime;

use super::ChainKey;

/// What waits for one contact.
#[derive(Debug, Default)]
pub(super) struct Lane {
    /// What this member may send, by when it is due.
    pub(super) due: BTreeSet<(UtcTime, String)>,
    /// Whoever holds it: the next page of every incident, by when it was written.
    pub(super) line: BTreeSet<(UtcTime, String)>,
    pub(super) in_flight: usize,
    /// Members that found no connection, by the incident whose page they tried.
    pub(super) unreached: BTreeMap<String, Vec<u64>>,
    /// With how many of these this member found none.
    pub(super) no_way: usize,
    /// Pages that the contact took in this life.
    pub(super) taken: u64,
    /// Attempts in order since it took one, of all members as far as this one knows.
    pub(super) tries: usize,
    /// How many that were when this member last passed over the first in line.
    pub(super) passed: usize,
    /// It failed, and has taken nothing since.
    pub(super) failed: bool,
    /// What was written up to then goes in order.
    pub(super) behind: UtcTime,
    /// The first of the line that the leader waits for, and since when.
    pub(super) foremost: Option<(String, UtcTime)>,
}

impl Lane {
    /// Whether another page to this contact may go while so many places are taken. In order there is
    /// one at a time.
    pub(super) fn has_room(&self, in_flight: usize, in_order: bool) -> bool {
        if self.in_flight == 0 {
            return in_flight < PAGES_IN_FLIGHT_MAX;
        }
        !in_order
            && self.in_flight < PAGES_PER_CONTACT_MAX
            && in_flight < PAGES_IN_FLIGHT_SHARED_MAX
    }

    /// The contact did not take what was tried at that time, and is to blame for it. It may have taken
    /// something since.
    pub(super) fn was_failing(&mut self, at: UtcTime) {
        if at > self.behind {
            (self.failed, self.behind) = (true, at);
        }
    }

    /// The contact takes pages again: what waits by now goes in order.
    pub(super) fn is_well(&mut self, now: UtcTime) {
        (self.tries, self.passed) = (0, 0);
        if std::mem::take(&mut self.failed) {
            self.behind = self.behind.max(now);
        }
    }

    /// How many of the first in line the next attempt of this member passes over: none, but after every few
    /// in vain one more of them, once; behind the last but one it begins anew.
    pub(super) fn passes(&self) -> usize {
        if self.tries - self.passed < LINE_TRIES_MAX {
            return 0;
        }
        let rounds = (self.tries + 1) / (LINE_TRIES_MAX + 1);
        let others = self.line.len().saturating_sub(1).max(1);
        1 + rounds.saturating_sub(1) % others
    }

    /// This member begins with an attempt.
    pub(super) fn begins(&mut self, in_order: bool) {
        let passes = in_order && self.passes() > 0;
        self.tried(in_order);
        if passes {
            self.passed = self.tries;
        }
    }

    /// An attempt was made, by whomever.
    pub(super) fn tried(&mut self, in_order: bool) {
        if in_order {
            self.tries = self.tries.saturating_add(1);
        } else {
            (self.tries, self.passed) = (0, 0);
        }
    }

    /// What is known of who has no way with this incident's page.
    pub(super) fn put_unreached(&mut self, incident: &str, members: &[u64], node_id: u64) {
        if let Some(before) = self.unreached.remove(incident) {
            self.no_way -= usize::from(before.contains(&node_id));
        }
        if !members.is_empty() {
            self.no_way += usize::from(members.contains(&node_id));
            self.unreached.insert(incident.to_owned(), members.to_vec());
        }
    }

    /// Whether nothing is known or waits here.
    pub(super) fn is_empty(&self) -> bool {
        self.in_flight == 0
            && self.due.is_empty()
            && self.line.is_empty()
            && self.unreached.is_empty()
    }
}

/// Pages in flight, and how many places they take.
#[derive(Debug, Default)]
pub(super) struct Flights {
    pub(super) by_key: BTreeMap<String, (ChainKey, UtcTime)>,
    /// Those that are not slow yet: (start, key).
    pub(super) young: BTreeSet<(UtcTime, String)>,
}

impl Flights {
    pub(super) fn begin(&mut self, key: String, place: ChainKey, now: UtcTime) {
        self.young.insert((now, key.clone()));
        self.by_key.insert(key, (place, now));
    }

    pub(super) fn end(&mut self, key: &str) -> Option<ChainKey> {
        let (place, began) = self.by_key.remove(key)?;
        self.young.remove(&(began, key.to_owned()));
        Some(place)
    }

    /// The oldest become slow, as long as there is room for slow ones.
    pub(super) fn age(&mut self, now: UtcTime) {
        while self.slow() < PAGES_SLOW_MAX
            && self.young.first().is_some_and(|(began, _)| *began + PAGE_SLOW_AFTER <= now)
        {
            self.young.pop_first();
        }
    }

    fn slow(&self) -> usize {
        self.by_key.len() - self.young.len()
    }

    /// When a place becomes free by itself.
    pub(super) fn next_slow(&self) -> Option<UtcTime> {
        let (began, _) = self.young.first().filter(|_| self.slow() < PAGES_SLOW_MAX)?;
        Some(*began + PAGE_SLOW_AFTER)
    }
}
