//! What pages do to their contacts' rows: turns that a rate gives them, failures in a row, and somebody
//! who is told in a contact's place. The rules are in `core/outbox`; here is what is written down of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parallax_common::rate::Rate;
use parallax_common::time::UtcTime;
use parallax_proto::{store, v1};

use super::rows::{self, Rows};
use super::{Changed, MAIL_LEVEL, Stamp, State};
use crate::core::outbox::breaker::Breaker;
use crate::core::outbox::{intents, pace, storm};
use crate::core::stamp;

impl State {
    /// Gives the pages that are new with this entry their turn, where their contact has a rate. At the
    /// end of an entry, so that whatever writes pages need not know of it.
    pub(super) fn pace_pages(&mut self, stamp: &Stamp, changes: &[Changed], rows: &mut Rows) {
        let about = changes.iter().filter_map(|change| match change {
            Changed::Incident(uid) | Changed::Delivery(_, uid) => Some(uid.as_str()),
            _ => None,
        });
        let mut seen = BTreeSet::new();
        for uid in about.filter(|uid| seen.insert(*uid)) {
            let Some(before) = self.incidents.get(uid).cloned() else { continue };
            let mut incident = None;
            for (at, page) in before.deliveries.iter().enumerate() {
                let fresh = page.state() == v1::DeliveryState::Pending && page.attempts == 0;
                if !fresh || page.paced {
                    continue;
                }
                let Some(turn) = self.take_turn(stamp, page, rows) else { continue };
                let incident = incident.get_or_insert_with(|| before.as_ref().clone());
                // What is due later than its turn does not make others wait for it.
                let turn = turn.max(stamp::utc(page.next_attempt_at.as_ref()));
                intents::pace(&mut incident.deliveries[at], turn, stamp.utc);
            }
            if let Some(incident) = incident {
                self.keep_incident(incident, rows);
            }
        }
    }

    /// When this page may go. None: its contact takes as many as there are.
    fn take_turn(
        &mut self,
        stamp: &Stamp,
        page: &v1::Delivery,
        rows: &mut Rows,
    ) -> Option<UtcTime> {
        let row = self.contacts.get(&page.contact_uid)?;
        let rate = Rate::parse(&row.contact.as_ref()?.rate).ok()?;
        let until = UtcTime::from_ns(row.paced_until_utc_ns);
        let (turn, until) = pace::turn(rate, until, stamp.utc);
        let mut row = row.as_ref().clone();
        row.paced_until_utc_ns = until.as_ns();
        self.put_contact_row(&page.contact_uid, row, rows);
        Some(turn)
    }

    /// Up to when the turns of a contact that is put now are given. With another rate none are: what waits
    /// for its turn has a new one at the end of this entry, in the same order.
    pub(super) fn turns_kept(
        &mut self,
        stamp: &Stamp,
        contact_uid: &str,
        rate: &str,
        rows: &mut Rows,
        changes: &mut Vec<Changed>,
    ) -> i64 {
        let Some(before) = self.contacts.get(contact_uid) else { return 0 };
        if before.contact.as_ref().is_some_and(|contact| contact.rate == rate) {
            return before.paced_until_utc_ns;
        }
        let waits = |page: &v1::Delivery| {
            page.contact_uid == contact_uid
                && page.state() == v1::DeliveryState::Pending
                && page.paced
                && page.attempts == 0
                && stamp::utc(page.next_attempt_at.as_ref()) > stamp.utc
        };
        let theirs = self.pending.iter().filter(|(key, _)| intents::contact_of(key) == contact_uid);
        let uids: BTreeSet<String> = theirs.map(|(_, incident)| incident.clone()).collect();
        let mut turns = Vec::new();
        for uid in uids {
            let Some(before) = self.incidents.get(&uid) else { continue };
            let Some(first) = before.deliveries.iter().find(|page| waits(page)) else { continue };
            turns.push((stamp::utc(first.next_attempt_at.as_ref()), first.idempotency_key.clone()));
            let mut incident = before.as_ref().clone();
            for page in incident.deliveries.iter_mut().filter(|page| waits(page)) {
                intents::forget_turn(page, stamp.utc);
            }
            self.keep_incident(incident, rows);
        }
        turns.sort_unstable();
        let told = |(_, key): (UtcTime, String)| {
            let incident = intents::incident_of(&key).to_owned();
            Changed::Delivery(key, incident)
        };
        changes.extend(turns.into_iter().map(told));
        0
    }

    /// Counts what a sender reports of a page against its contact.
    pub(super) fn count_attempt(
        &mut self,
        stamp: &Stamp,
        before: &v1::Delivery,
        update: &store::PageUpdate,
        rows: &mut Rows,
    ) {
        let Some(row) = self.contacts.get(&before.contact_uid) else { return };
        let breaker = Breaker::of(row);
        let after = breaker.after(before, update, stamp.utc);
        if after != breaker {
            let mut row = row.as_ref().clone();
            after.put(&mut row);
            self.put_contact_row(&before.contact_uid, row, rows);
        }
    }

    /// Writes what is told in place of the pages that were given up just now.
    pub(super) fn fall_back(
        &self,
        stamp: &Stamp,
        before: &v1::Incident,
        incident: &mut v1::Incident,
    ) {
        let dead = v1::DeliveryState::Dead;
        let given_up: Vec<v1::Delivery> = incident
            .deliveries
            .iter()
            .enumerate()
            .filter(|(at, page)| {
                let was = before.deliveries.get(*at).map(v1::Delivery::state);
                page.state() == dead && was != Some(dead)
            })
            .map(|(_, page)| page.clone())
            .collect();
        for page in given_up {
            let contact = self.contacts.get(&page.contact_uid).and_then(|row| row.contact.as_ref());
            let fallback = contact.map_or("", |contact| contact.fallback.as_str());
            // One that was deleted with force meanwhile is nobody to tell.
            let Some(fallback) = self.contact_named(&incident.namespace, fallback) else {
                continue;
            };
            if !intents::fall_back(incident, &page, fallback, stamp.utc) {
                continue;
            }
            if incident.storm.is_some() {
                // It is never quiet, and not to be gathered anew; it says what its last page did.
                storm::number_new(incident, stamp.utc);
            } else if incident.resolved_at.is_none() {
                // It may have become quiet since those who are in whose place it goes were told.
                self.hold_opening(stamp, incident);
            }
        }
    }

    /// Whether what became of each attempt is kept: builds below that level would not.
    pub(super) fn keeps_attempts(&self) -> bool {
        self.cluster.level >= MAIL_LEVEL
    }

    pub(super) fn put_contact_row(&mut self, uid: &str, row: store::ContactRow, rows: &mut Rows) {
        rows.put(rows::contact_key(uid), &row);
        self.contacts.insert(uid.to_owned(), Arc::new(row));
    }

    /// How these contacts take their pages, in this order, by uid.
    pub fn standings(
        &self,
        contacts: impl IntoIterator<Item = String>,
    ) -> Vec<v1::ContactStanding> {
        // What waits is looked at once, however many contacts are asked about.
        let mut waiting: BTreeMap<&str, (u32, Option<UtcTime>)> = BTreeMap::new();
        for (key, incident) in &self.pending {
            let (count, last) = waiting.entry(intents::contact_of(key)).or_default();
            *count = count.saturating_add(1);
            let pages = self.incidents.get(incident).map(|incident| &incident.deliveries);
            let page = pages.into_iter().flatten().find(|page| page.idempotency_key == *key);
            let paced = page.filter(|page| page.paced && page.attempts == 0);
            let turn = paced.and_then(|page| page.next_attempt_at.as_ref());
            *last = turn.map(|at| stamp::utc(Some(at))).max(*last);
        }
        let standing = |contact_uid: String| {
            let breaker = self.contacts.get(&contact_uid).map(|row| Breaker::of(row));
            let breaker = breaker.unwrap_or_default();
            let (waiting, last) = waiting.get(contact_uid.as_str()).copied().unwrap_or_default();
            v1::ContactStanding {
                contact_uid,
                waiting,
                failures: breaker.failures,
                failing_since: (breaker.failures > 0).then(|| stamp::timestamp(breaker.since)),
                trial_at: breaker.trial_at().map(stamp::timestamp),
                paced_until: last.map(stamp::timestamp),
            }
        };
        contacts.into_iter().map(standing).collect()
    }

    /// How many contacts are failing so that their pages wait for one that tries.
    pub fn contacts_failing(&self) -> usize {
        self.contacts.values().filter(|row| Breaker::of(row).is_open()).count()
    }
}
