//! What must be said, written into the incident by the entry that changes it.
//!
//! Every function runs inside replicated apply: total, deterministic, with time and claim in its
//! arguments. Each may be called again without doing its work twice. An incident's `opened_at`,
//! `resolved_at` and `cause` are set by the caller before.

use parallax_common::limits::PAGE_AGAIN_AFTER;
use parallax_common::time::UtcTime;
use parallax_proto::store::PageUpdate;
use parallax_proto::v1::timeline_event::Event;
use parallax_proto::v1::{
    Contact, Delivery, DeliveryState, Incident, PageDropped, PageFailed, PageKind, PageSent,
};

use super::timeline;
use crate::core::stamp;

/// Writes the opening pages of a new incident, one a contact, claimed by member `claimed_by`.
pub fn open<'a>(
    incident: &mut Incident,
    contacts: impl IntoIterator<Item = &'a Contact>,
    claimed_by: u64,
    utc: UtcTime,
) {
    for contact in contacts {
        let meta = contact.meta.clone().unwrap_or_default();
        let key = key(&incident.uid, &meta.uid, "opened");
        push(incident, page(key, &meta.uid, &meta.name, PageKind::Opened, claimed_by, utc));
    }
}

/// Writes the resolving pages of an incident that has just ended: to every contact whose opening
/// was sent, may have been sent, or still waits.
pub fn resolve(incident: &mut Incident, claimed_by: u64, utc: UtcTime) {
    let told: Vec<(String, String)> = incident
        .deliveries
        .iter()
        .filter(|page| page.kind() == PageKind::Opened && must_hear_the_end(page))
        .map(|page| (page.contact_uid.clone(), page.contact_name.clone()))
        .collect();
    for (uid, name) in told {
        let key = key(&incident.uid, &uid, "resolved");
        push(incident, page(key, &uid, &name, PageKind::Resolved, claimed_by, utc));
    }
}

/// A contact was deleted while the incident is in the records: openings that were not sent are
/// dropped, with an event. What tells of an end still goes, to the tombstone.
pub fn contact_deleted(incident: &mut Incident, contact_uid: &str, utc: UtcTime) {
    let mut dropped = None;
    for page in &mut incident.deliveries {
        let waits = page.contact_uid == contact_uid
            && page.kind() == PageKind::Opened
            && page.state() == DeliveryState::Pending;
        if waits {
            page.state = DeliveryState::Dropped.into();
            page.last_error = "the contact was deleted".into();
            dropped = Some((page.contact_name.clone(), page.ambiguous));
        }
    }
    let Some((contact, ambiguous)) = dropped else { return };
    let why = "the contact was deleted".to_owned();
    let event = PageDropped { contact, kind: PageKind::Opened.into(), why };
    timeline::push(incident, utc, Event::PageDropped(event));
    if !ambiguous {
        drop_end(incident, contact_uid, "its opening was never sent");
    }
}

/// Whether a deleted contact is still needed as a tombstone by this incident.
pub fn needs_contact(incident: &Incident, contact_uid: &str) -> bool {
    incident.deliveries.iter().any(|page| {
        page.contact_uid == contact_uid
            && (page.state() == DeliveryState::Pending || incident.resolved_at.is_none())
    })
}

/// Records what a sender reports of one page, and writes what follows from it. False: the incident
/// has no such page, or the report is too late to change anything.
pub fn update(incident: &mut Incident, update: &PageUpdate, utc: UtcTime) -> bool {
    let found =
        incident.deliveries.iter().position(|page| page.idempotency_key == update.idempotency_key);
    let Some(index) = found else { return false };
    let page = &mut incident.deliveries[index];
    let before = page.clone();
    let done = matches!(page.state(), DeliveryState::Sent | DeliveryState::Dead);
    if update.claimed_by != 0 && page.state() == DeliveryState::Pending {
        page.claimed_by = update.claimed_by;
    }
    page.ambiguous |= update.ambiguous;
    if !done {
        page.attempts = page.attempts.max(update.attempts);
    }
    match update.state() {
        DeliveryState::Sent if !done => {
            page.state = DeliveryState::Sent.into();
            page.sent_at = Some(stamp::timestamp(utc));
            page.next_attempt_at = None;
            page.last_error.clear();
            if update.kind() != PageKind::Unspecified {
                page.kind = update.kind;
            }
        }
        DeliveryState::Dead if page.state() == DeliveryState::Pending => {
            page.state = DeliveryState::Dead.into();
            page.next_attempt_at = None;
            page.last_error.clone_from(&update.error);
        }
        DeliveryState::Pending if page.state() == DeliveryState::Pending => {
            page.last_error.clone_from(&update.error);
            let next = UtcTime::from_ns(update.next_attempt_utc_ns);
            page.next_attempt_at = Some(stamp::timestamp(next));
        }
        _ => {}
    }
    let after = page.clone();
    if after == before {
        return false;
    }
    follow(incident, &before, &after, utc);
    true
}

/// What a page's new state brings with it.
fn follow(incident: &mut Incident, before: &Delivery, after: &Delivery, utc: UtcTime) {
    let (contact, kind) = (after.contact_name.clone(), after.kind);
    let turned = before.state() != after.state();
    match after.state() {
        DeliveryState::Sent if turned => {
            let sent = PageSent { contact, kind, attempts: after.attempts };
            timeline::push(incident, utc, Event::PageSent(sent));
        }
        DeliveryState::Dead if turned => {
            let (attempts, error) = (after.attempts, after.last_error.clone());
            let dead = PageFailed { contact, kind, attempts, error };
            timeline::push(incident, utc, Event::PageFailed(dead));
        }
        // The first failure of a page is news; the rest is in its attempts.
        DeliveryState::Pending if before.attempts == 0 && after.attempts > 0 => {
            let (attempts, error) = (after.attempts, after.last_error.clone());
            let failed = PageFailed { contact, kind, attempts, error };
            timeline::push(incident, utc, Event::PageFailed(failed));
        }
        _ => {}
    }
    let uid = &after.contact_uid;
    match (after.kind(), after.state()) {
        (PageKind::Combined, DeliveryState::Sent) if turned => {
            drop_end(incident, uid, "said together with the opening");
        }
        (PageKind::Opened, DeliveryState::Dead) if !after.ambiguous => {
            drop_end(incident, uid, "its opening was never delivered");
        }
        // Its opening was given up, and then turned out to have gone through, or may have.
        (PageKind::Opened, DeliveryState::Sent | DeliveryState::Dropped | DeliveryState::Dead)
            if incident.resolved_at.is_some() && must_hear_the_end(after) =>
        {
            end_after_all(incident, after, utc);
        }
        (PageKind::Resolved, DeliveryState::Sent) if turned => again(incident, after, utc),
        _ => {}
    }
}

/// Whether this opening was sent, may have been, or may still be.
fn must_hear_the_end(opening: &Delivery) -> bool {
    match opening.state() {
        DeliveryState::Sent | DeliveryState::Pending => true,
        DeliveryState::Dead | DeliveryState::Dropped => opening.ambiguous,
        DeliveryState::Unspecified => false,
    }
}

/// The end need not be said to this contact any more.
fn drop_end(incident: &mut Incident, contact_uid: &str, why: &str) {
    for page in &mut incident.deliveries {
        let end = page.contact_uid == contact_uid
            && page.kind() == PageKind::Resolved
            && page.state() == DeliveryState::Pending;
        if end {
            page.state = DeliveryState::Dropped.into();
            page.last_error = why.to_owned();
        }
    }
}

/// The end must be said to this contact, although it was thought that it need not.
fn end_after_all(incident: &mut Incident, opening: &Delivery, utc: UtcTime) {
    let key = key(&incident.uid, &opening.contact_uid, "resolved");
    match incident.deliveries.iter_mut().find(|page| page.idempotency_key == key) {
        Some(end) if end.state() == DeliveryState::Dropped => {
            end.state = DeliveryState::Pending.into();
            end.last_error.clear();
        }
        Some(_) => {}
        None => {
            let (uid, name) = (opening.contact_uid.clone(), opening.contact_name.clone());
            let claim = opening.claimed_by;
            push(incident, page(key, &uid, &name, PageKind::Resolved, claim, utc));
        }
    }
}

/// After any ambiguous attempt the end is said again, under a key of its own: a page that was
/// only late may have come after it.
fn again(incident: &mut Incident, end: &Delivery, utc: UtcTime) {
    let ambiguous = incident
        .deliveries
        .iter()
        .any(|page| page.contact_uid == end.contact_uid && page.ambiguous);
    if !ambiguous || end.idempotency_key.ends_with("/again") {
        return;
    }
    let key = format!("{}/again", end.idempotency_key);
    let (uid, name) = (end.contact_uid.clone(), end.contact_name.clone());
    let mut page = page(key, &uid, &name, PageKind::Resolved, end.claimed_by, utc);
    page.next_attempt_at = Some(stamp::timestamp(utc + PAGE_AGAIN_AFTER));
    push(incident, page);
}

/// The incident that the page with this key is about.
pub fn incident_of(key: &str) -> &str {
    key.split_once(':').map_or(key, |(incident, _)| incident)
}

fn key(incident: &str, contact: &str, what: &str) -> String {
    format!("{incident}:{contact}:{what}")
}

fn page(
    key: String,
    contact_uid: &str,
    contact_name: &str,
    kind: PageKind,
    claimed_by: u64,
    utc: UtcTime,
) -> Delivery {
    Delivery {
        idempotency_key: key,
        contact_uid: contact_uid.to_owned(),
        contact_name: contact_name.to_owned(),
        kind: kind.into(),
        state: DeliveryState::Pending.into(),
        created_at: Some(stamp::timestamp(utc)),
        claimed_by,
        ..Default::default()
    }
}

/// Adds a page unless it is there.
fn push(incident: &mut Incident, page: Delivery) {
    let known = |known: &Delivery| known.idempotency_key == page.idempotency_key;
    if !incident.deliveries.iter().any(known) {
        incident.deliveries.push(page);
    }
}
