//! Openings that are told together: which, and what is written down of it. The rules are in
//! `core/outbox/storm.rs`.

use std::collections::BTreeSet;
use std::sync::Arc;

use parallax_common::limits::STORM_ACKED_MAX;
use parallax_common::name::Uid;
use parallax_proto::v1::timeline_event::Event;
use parallax_proto::{convert, store, v1};
use xxhash_rust::xxh3::Xxh3Default;

use super::rows::Rows;
use super::{Changed, STORM_LEVEL, Stamp, State};
use crate::core::outbox::{storm, timeline};

impl State {
    /// Looks at the openings that are new with this entry. At its end, so that whatever writes pages need
    /// not know of storms, and before pages are given their turns.
    pub(super) fn gather_pages(
        &mut self,
        stamp: &Stamp,
        changes: &mut Vec<Changed>,
        rows: &mut Rows,
    ) {
        if self.cluster.level < STORM_LEVEL {
            return;
        }
        let mut seen = BTreeSet::new();
        let about: Vec<String> = changes
            .iter()
            .filter_map(|change| match change {
                Changed::Incident(uid) | Changed::Delivery(_, uid) => Some(uid),
                _ => None,
            })
            .filter(|uid| seen.insert(*uid))
            .cloned()
            .collect();
        for uid in about {
            let Some(before) = self.incidents.get(&uid).cloned() else { continue };
            if !storm::may_join(&before, stamp.utc)
                || !before.deliveries.iter().any(|page| storm::is_new(page, stamp.utc))
            {
                continue;
            }
            let mut incident = before.as_ref().clone();
            for place in 0..incident.deliveries.len() {
                let page = &mut incident.deliveries[place];
                if !storm::is_new(page, stamp.utc) {
                    continue;
                }
                page.counted = true;
                let page = page.clone();
                let ended = incident.resolved_at.is_some();
                if ended && storm::heard_otherwise(&incident, &page) {
                    continue;
                }
                if let Some(taken) = self.take_in(stamp, &incident, &page, rows, changes) {
                    storm::told_in(&mut incident, place, &taken, stamp.utc);
                }
            }
            self.keep_incident(incident, rows);
        }
    }

    /// Counts a page of an incident, and gives the storm that it is told in, if it is one too many.
    fn take_in(
        &mut self,
        stamp: &Stamp,
        incident: &v1::Incident,
        page: &v1::Delivery,
        rows: &mut Rows,
        changes: &mut Vec<Changed>,
    ) -> Option<String> {
        let rule = self.storm_rule(&incident.namespace)?;
        let row = self.contacts.get(&page.contact_uid).filter(|row| !row.tombstone)?.clone();
        let open = self.incidents.get(&row.storm_uid).filter(|it| it.resolved_at.is_none());
        // What is worse than a storm that has told of itself is not hidden in it.
        let open = open.filter(|open| !storm::told_as_milder(open, incident));
        let open = open.map(|open| open.as_ref().clone());
        let gathers = open.as_ref().is_some_and(|open| open.held.is_some());
        let (many, openings) = storm::count(&rule, &row.openings, &incident.check_uid, stamp.utc);
        let mut row = store::ContactRow { openings, ..row.as_ref().clone() };
        if !many && !gathers {
            self.put_contact_row(&page.contact_uid, row, rows);
            return None;
        }
        let mut taking = match open {
            Some(open) => open,
            None => {
                let uid = storm_uid(stamp, &page.contact_uid);
                row.storm_uid.clone_from(&uid);
                let by = (page.claimed_by, stamp.index);
                storm::open(uid, row.contact.as_ref()?, &rule, by, stamp.utc)
            }
        };
        self.put_contact_row(&page.contact_uid, row, rows);
        storm::join(&mut taking, incident, stamp.utc);
        if incident.resolved_at.is_some() && !storm::storms_of(incident).contains(&taking.uid) {
            // It gathers, or something that it tells of goes on: it does not end with this.
            if let Some(of) = &mut taking.storm {
                storm::member_ended(of, &incident.uid, incident.cause(), stamp.utc);
            }
        }
        let uid = taking.uid.clone();
        self.put_incident(taking, rows, changes);
        Some(uid)
    }

    /// When openings of a namespace are told together; absent: never.
    fn storm_rule(&self, namespace: &str) -> Option<v1::StormRule> {
        let rule = self.settings.get(namespace).and_then(|settings| settings.storm);
        let rule = rule.unwrap_or_else(convert::storm::usual);
        (rule.over > 0).then_some(rule)
    }

    /// An incident has ended: its storms count it, and end with their last.
    pub(super) fn leave_storms(
        &mut self,
        stamp: &Stamp,
        ended: &v1::Incident,
        node_id: u64,
        rows: &mut Rows,
        changes: &mut Vec<Changed>,
    ) {
        for uid in storm::storms_of(ended) {
            let taken = self.incidents.get(&uid).filter(|it| it.resolved_at.is_none());
            let Some(mut taken) = taken.map(|it| it.as_ref().clone()) else { continue };
            let Some(of) = &mut taken.storm else { continue };
            storm::member_ended(of, &ended.uid, ended.cause(), stamp.utc);
            let (over, cause) = (storm::is_over(of), storm::cause(of));
            self.put_incident(taken, rows, changes);
            if over {
                self.close_incident(stamp, &uid, cause.into(), node_id, rows, changes);
            }
        }
    }

    /// A storm has gathered long enough: its page goes out, together with its end when all is over.
    pub(super) fn seal_storm(
        &mut self,
        stamp: &Stamp,
        gathered: &Arc<v1::Incident>,
        node_id: u64,
        rows: &mut Rows,
        changes: &mut Vec<Changed>,
    ) {
        let mut incident = gathered.as_ref().clone();
        storm::seal(&mut incident, node_id, stamp.utc);
        let over = incident.storm.as_ref().filter(|of| storm::is_over(of)).map(storm::cause);
        for page in &incident.deliveries {
            changes.push(Changed::Delivery(page.idempotency_key.clone(), incident.uid.clone()));
        }
        let uid = incident.uid.clone();
        self.put_incident(incident, rows, changes);
        if let Some(cause) = over {
            self.close_incident(stamp, &uid, cause.into(), node_id, rows, changes);
        }
    }

    /// Tells a storm's contact what has changed.
    pub(super) fn tell_storm(&self, stamp: &Stamp, incident: &mut v1::Incident, node_id: u64) {
        let uid = incident.storm.as_ref().map(|storm| storm.contact_uid.clone());
        let row = self.contacts.get(&uid.unwrap_or_default()).filter(|row| !row.tombstone);
        let contact = row.and_then(|row| row.contact.as_ref());
        storm::tell(incident, contact, node_id, stamp.utc);
    }

    /// Whom the storms of an incident tell, reminders of a route do not: the storm tells them again.
    pub(super) fn remind_storms(
        &mut self,
        stamp: &Stamp,
        incident: &v1::Incident,
        rows: &mut Rows,
        changes: &mut Vec<Changed>,
    ) {
        for uid in storm::storms_of(incident) {
            let taken = self.incidents.get(&uid).filter(|it| it.resolved_at.is_none());
            let Some(mut taken) = taken.map(|it| it.as_ref().clone()) else { continue };
            if let Some(of) = &mut taken.storm {
                storm::tell_soon(of, stamp.utc);
            }
            self.put_incident(taken, rows, changes);
        }
    }

    /// Somebody has acknowledged a storm, and with it what it tells of and goes on.
    pub(super) fn ack_members(
        &mut self,
        stamp: &Stamp,
        storm_uid: &str,
        acknowledged: &v1::Acknowledged,
        rows: &mut Rows,
        changes: &mut Vec<Changed>,
    ) {
        let told_in = |page: &v1::Delivery| page.storm_uid == storm_uid;
        let members: Vec<Arc<v1::Incident>> = self
            .open
            .iter()
            .filter_map(|uid| self.incidents.get(uid))
            .filter(|it| it.acknowledged_at.is_none() && it.deliveries.iter().any(told_in))
            .take(STORM_ACKED_MAX)
            .cloned()
            .collect();
        for member in members {
            let mut member = member.as_ref().clone();
            member.acknowledged_at = Some(stamp.timestamp());
            member.acknowledged_by.clone_from(&acknowledged.by);
            timeline::push(&mut member, stamp.utc, Event::Acknowledged(acknowledged.clone()));
            self.put_incident(member, rows, changes);
        }
    }
}

/// The same on every member, and one of its kind: what is told joins one storm of a contact at a time,
/// and an entry opens one for it at most. Its first half is the time, as in all uids.
fn storm_uid(stamp: &Stamp, contact_uid: &str) -> String {
    let mut hash = Xxh3Default::new();
    hash.update(&stamp.index.to_be_bytes());
    hash.update(contact_uid.as_bytes());
    let millis = u64::try_from(stamp.utc.as_ns() / 1_000_000).unwrap_or_default();
    let mut bytes = [0; 16];
    bytes[..6].copy_from_slice(&millis.to_be_bytes()[2..]);
    let digest = hash.digest128().to_be_bytes();
    bytes[6..].copy_from_slice(&digest[..10]);
    bytes[6] = 0x70 | (bytes[6] & 0x0f);
    bytes[8] = 0x80 | (bytes[8] & 0x3f);
    Uid::from_bytes(bytes).to_string()
}
