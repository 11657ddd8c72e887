//! Deliveries inside incidents: intents are written by the entry that changes the incident, and
//! what senders report is recorded. The rules are in `core/outbox/intents.rs`.

use std::sync::Arc;

use parallax_common::limits::TOMBSTONE_AGE_MAX;
use parallax_common::name::Uid;
use parallax_common::time::UtcTime;
use parallax_proto::{store, v1};

use super::rows::{self, Rows};
use super::{Answer, Changed, Name, Stamp, State, accepted};
use crate::core::outbox::intents;
use crate::core::quiet;

impl State {
    /// Writes the opening pages of a new incident.
    pub(super) fn intend_opening(
        &self,
        stamp: &Stamp,
        incident: &mut v1::Incident,
        claimed_by: u64,
    ) {
        let named = self.alerted(incident);
        if named.is_empty() {
            return self.route_opening(stamp, incident, claimed_by);
        }
        let contacts: Vec<&v1::Contact> =
            named.iter().filter_map(|name| self.contact_named(&incident.namespace, name)).collect();
        intents::open(incident, contacts, claimed_by, stamp.utc);
    }

    /// Writes the resolving pages of an incident that has just ended.
    pub(super) fn intend_resolve(
        &self,
        stamp: &Stamp,
        incident: &mut v1::Incident,
        claimed_by: u64,
    ) {
        let told = incident.held.as_ref().is_some_and(quiet::is_told_all_the_same);
        // The wait for its parents is over with it; what else keeps it quiet is not.
        match told && self.lasting_word(incident, stamp.utc) == quiet::Word::Now {
            true => {
                intents::release(incident, claimed_by, stamp.utc);
                self.route_released(stamp, incident, claimed_by);
            }
            false => intents::end_hold(incident, stamp.utc),
        }
        intents::resolve(incident, claimed_by, stamp.utc);
    }

    /// Names of the contacts that an incident of this kind goes to.
    fn alerted(&self, incident: &v1::Incident) -> Vec<String> {
        let check = || {
            let uid = incident.check_uid.parse::<Uid>().ok()?;
            Some(&self.checks.get(&uid)?.check)
        };
        match incident.kind() {
            v1::IncidentKind::Down => check().map(|it| it.alert.clone()).unwrap_or_default(),
            v1::IncidentKind::Regional => {
                check().map(|it| it.regional.alert.clone()).unwrap_or_default()
            }
            v1::IncidentKind::Warning => {
                check().map(|it| it.warning.alert.clone()).unwrap_or_default()
            }
            v1::IncidentKind::Latency
            | v1::IncidentKind::ErrorRate
            | v1::IncidentKind::Certificate
            | v1::IncidentKind::BurnRate => self.told_of_alert(incident),
            v1::IncidentKind::RegionSilent
            | v1::IncidentKind::RegionExcluded
            | v1::IncidentKind::RegionOutdated
            | v1::IncidentKind::CanaryInDoubt
            // It is written for its contact.
            | v1::IncidentKind::Storm
            | v1::IncidentKind::Leaderless
            | v1::IncidentKind::Unspecified => self
                .settings
                .get(&incident.namespace)
                .map(|settings| settings.mesh_alert.clone())
                .unwrap_or_default(),
        }
    }

    pub(super) fn update_pages(
        &mut self,
        stamp: &Stamp,
        command: store::UpdatePages,
        rows: &mut Rows,
        changes: &mut Vec<Changed>,
    ) -> Answer {
        let mut contacts = Vec::new();
        for update in command.updates {
            // Not only what is pending: a page that was dropped while it was in flight may turn
            // out to have gone through, and then its end must be told.
            let uid = intents::incident_of(&update.idempotency_key);
            let Some(before) = self.incidents.get(uid).cloned() else { continue };
            let mut incident = before.as_ref().clone();
            let page =
                before.deliveries.iter().find(|it| it.idempotency_key == update.idempotency_key);
            if let Some(page) = page.filter(|_| self.keeps_attempts()) {
                self.count_attempt(stamp, page, &update, rows);
            }
            if intents::update(&mut incident, &update, stamp.utc) {
                if self.keeps_attempts() {
                    intents::note_attempt(&mut incident, &before, &update, stamp.utc);
                }
                self.fall_back(stamp, &before, &mut incident);
                contacts.extend(incident.deliveries.iter().map(|page| page.contact_uid.clone()));
                // A page takes others with it: those that wait behind it, and those that it brings.
                for (at, page) in incident.deliveries.iter().enumerate() {
                    if before.deliveries.get(at) != Some(page) {
                        let key = page.idempotency_key.clone();
                        changes.push(Changed::Delivery(key, incident.uid.clone()));
                    }
                }
                self.keep_incident(incident, rows);
            }
        }
        self.evict_closed(stamp.index, rows);
        contacts.sort_unstable();
        contacts.dedup();
        for contact in contacts {
            self.drop_tombstone(&contact, stamp, rows);
        }
        self.drop_due_tombstones(stamp, rows);
        accepted(stamp, [])
    }

    /// Deletes a contact by name. While an incident still needs it, it stays as a tombstone.
    pub(super) fn bury_contact(
        &mut self,
        stamp: &Stamp,
        name: &Name,
        rows: &mut Rows,
        changes: &mut Vec<Changed>,
    ) {
        let Some(uid) = self.contact_names.remove(name) else { return };
        let Some(row) = self.contacts.get(&uid).cloned() else { return };
        let waiting: Vec<Arc<v1::Incident>> = self
            .incidents
            .values()
            .filter(|incident| intents::needs_contact(incident, &uid))
            .cloned()
            .collect();
        let mut keep_until = UtcTime::default();
        for incident in waiting {
            let mut incident = incident.as_ref().clone();
            if intents::contact_deleted(&mut incident, &uid, stamp.utc) {
                keep_until = stamp.utc + TOMBSTONE_AGE_MAX;
                self.put_incident(incident, rows, changes);
            }
        }
        let tombstone = store::ContactRow {
            tombstone: true,
            keep_until_utc_ns: keep_until.as_ns(),
            ..row.as_ref().clone()
        };
        rows.put(rows::contact_key(&uid), &tombstone);
        self.insert_contact(uid.clone(), Arc::new(tombstone));
        self.drop_tombstone(&uid, stamp, rows);
        self.drop_due_tombstones(stamp, rows);
    }

    /// Puts a contact into memory and keeps the order of tombstones true.
    pub(super) fn insert_contact(&mut self, uid: String, row: Arc<store::ContactRow>) {
        if row.tombstone {
            self.tombstones.insert((row.keep_until_utc_ns, uid.clone()));
        }
        self.contacts.insert(uid, row);
    }

    /// Forgets deleted contacts whose time is over. One that an incident needs goes with its last
    /// page.
    fn drop_due_tombstones(&mut self, stamp: &Stamp, rows: &mut Rows) {
        while let Some(first) = self.tombstones.get_min().cloned()
            && first.0 <= stamp.utc.as_ns()
        {
            self.tombstones.remove(&first);
            self.drop_tombstone(&first.1, stamp, rows);
        }
    }

    /// Forgets a deleted contact that no incident needs any more.
    pub(super) fn drop_tombstone(&mut self, uid: &str, stamp: &Stamp, rows: &mut Rows) {
        let Some(row) = self.contacts.get(uid) else { return };
        let until = row.keep_until_utc_ns;
        if !row.tombstone || until > stamp.utc.as_ns() {
            return;
        }
        if !self.incidents.values().any(|incident| intents::needs_contact(incident, uid)) {
            self.contacts.remove(uid);
            self.tombstones.remove(&(until, uid.to_owned()));
            rows.remove(rows::contact_key(uid));
        }
    }
}

/// Tells of the pages that are new with an opening or an end.
pub(super) fn note_deliveries(incident: &v1::Incident, changes: &mut Vec<Changed>) {
    for page in &incident.deliveries {
        if matches!(page.state(), v1::DeliveryState::Pending | v1::DeliveryState::Held) {
            changes.push(Changed::Delivery(page.idempotency_key.clone(), incident.uid.clone()));
        }
    }
}
