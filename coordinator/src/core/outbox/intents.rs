//! What must be said, written into the incident by the entry that changes it.
//!
//! Every function runs inside replicated apply: total, deterministic, with time and claim in its
//! arguments. Each may be called again without doing its work twice. An incident's `opened_at`,
//! `resolved_at` and `cause` are set by the caller before.
//!
//! A claim is of a chain: all that waits for one contact of one incident has one holder. It moves
//! only from the holder that the leader saw, so that of two moves that race one is carried out.

use parallax_common::limits::{
    ATTEMPT_ERROR_BYTES_MAX, ATTEMPTS_KEPT_FIRST, ATTEMPTS_KEPT_MAX, HAND_OVERS_TOLD_MAX,
    MEMBERS_MAX, PAGE_AGAIN_AFTER, PAGE_ANSWER_WITHIN, PAGE_UNREACHED_MAX,
};
use parallax_common::time::UtcTime;
use parallax_proto::store::{AttemptEnd, PageUpdate};
use parallax_proto::v1::timeline_event::Event;
use parallax_proto::v1::{
    AttemptResult, Contact, Delivery, DeliveryAttempt, DeliveryState, Held, Incident, PageDropped,
    PageFailed, PageFellBack, PageKind, PageReassigned, PageSent, PagesHeld, PagesReleased,
};

use super::timeline;
use crate::core::stamp;
use crate::mutant::{self, Mutant};

/// How the key of an end that is said once more ends.
pub const AGAIN: &str = "/again";

/// Why a page was dropped whose contact is gone.
const DELETED: &str = "the contact was deleted";

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

/// Whether a page says that something goes on: its contact must hear of the end.
pub fn goes_on(kind: PageKind) -> bool {
    match kind {
        PageKind::Opened | PageKind::Escalated | PageKind::Reminder => true,
        PageKind::Resolved | PageKind::Combined | PageKind::Unspecified => false,
    }
}

/// Writes the resolving pages of an incident that has just ended: to every contact whose opening,
/// or whatever else told it of the incident, was sent, may have been sent, or still waits. Claimed by member `claimed_by`, but where the
/// opening is held by somebody who has more to say: it still waits, or that member found no
/// connection. 0: by whoever holds the opening.
pub fn resolve(incident: &mut Incident, claimed_by: u64, utc: UtcTime) {
    let mut told: Vec<Delivery> = Vec::new();
    for page in incident.deliveries.iter().filter(|it| goes_on(it.kind()) && must_hear_the_end(it))
    {
        // One end a contact, and of several pages the one that still waits says who holds it.
        match told.iter_mut().find(|known| known.contact_uid == page.contact_uid) {
            Some(known) if page.state() == DeliveryState::Pending => known.clone_from(page),
            Some(_) => {}
            None => told.push(page.clone()),
        }
    }
    for opening in told {
        let (uid, name) = (&opening.contact_uid, &opening.contact_name);
        let stays = claimed_by == 0
            || opening.state() == DeliveryState::Pending
            || opening.unreached_by.contains(&claimed_by);
        let holder = if stays { opening.claimed_by } else { claimed_by };
        let key = key(&incident.uid, uid, "resolved");
        let mut end = page(key, uid, name, PageKind::Resolved, holder, utc);
        end.unreached_by.clone_from(&opening.unreached_by);
        push(incident, end);
    }
    // Behind: the end is held by whoever may have such a page in flight, and goes after it.
    drop_repetitions(incident, utc);
}

/// A reminder or a later step that waits for a contact that was told before says nothing any more when the
/// end is there: that goes alone. One in doubt goes first, as whatever is in doubt.
fn drop_repetitions(incident: &mut Incident, utc: UtcTime) {
    let told: Vec<String> = incident
        .deliveries
        .iter()
        .filter(|page| page.state() == DeliveryState::Sent)
        .map(|page| page.contact_uid.clone())
        .collect();
    let mut dropped = Vec::new();
    for page in &mut incident.deliveries {
        let repeats = matches!(page.kind(), PageKind::Reminder | PageKind::Escalated)
            && page.state() == DeliveryState::Pending
            && !page.ambiguous
            && told.contains(&page.contact_uid);
        if repeats {
            page.state = DeliveryState::Dropped.into();
            page.last_error = "the incident ended before".into();
            let (contact, why) = (page.contact_name.clone(), page.last_error.clone());
            dropped.push(PageDropped { contact, kind: page.kind, why });
        }
    }
    for event in dropped {
        timeline::push(incident, utc, Event::PageDropped(event));
    }
}

/// A contact was deleted while the incident is in the records: openings that were not sent are
/// dropped, with an event. What tells of an end still goes, to the tombstone. True: an opening was
/// dropped, and an attempt at it may be in flight.
pub fn contact_deleted(incident: &mut Incident, contact_uid: &str, utc: UtcTime) -> bool {
    let mut dropped = None;
    for page in &mut incident.deliveries {
        let waits = page.contact_uid == contact_uid
            && goes_on(page.kind())
            && matches!(page.state(), DeliveryState::Pending | DeliveryState::Held);
        if waits {
            page.state = DeliveryState::Dropped.into();
            page.last_error = DELETED.into();
            dropped = Some(page.clone());
        }
    }
    let Some(opening) = dropped else { return false };
    let (contact, why) = (opening.contact_name.clone(), opening.last_error.clone());
    let event = PageDropped { contact, kind: opening.kind, why };
    timeline::push(incident, utc, Event::PageDropped(event));
    if !knows(incident, contact_uid) {
        drop_end(incident, contact_uid, "its opening was never sent");
    }
    move_up(incident, &opening, utc);
    true
}

/// A page for a contact that was deleted before it was written: it says in the record who is not told.
pub(super) fn push_deleted(incident: &mut Incident, page: Delivery, utc: UtcTime) {
    let known = |known: &Delivery| known.idempotency_key == page.idempotency_key;
    if incident.deliveries.iter().any(known) {
        return;
    }
    let (contact, why) = (page.contact_name.clone(), DELETED.to_owned());
    let event = PageDropped { contact, kind: page.kind, why: why.clone() };
    let state = DeliveryState::Dropped.into();
    push(incident, Delivery { state, last_error: why, ..page });
    timeline::push(incident, utc, Event::PageDropped(event));
}

/// Whether nobody was told through this contact, as it was deleted before.
pub fn is_untold(incident: &Incident, contact_uid: &str) -> bool {
    let mut theirs = incident.deliveries.iter().filter(|page| page.contact_uid == contact_uid);
    theirs.all(|page| {
        page.state() == DeliveryState::Dropped && !page.ambiguous && page.last_error == DELETED
    })
}

/// The openings that nobody has tried to send wait, for the reason given. Called again, they wait for
/// another one.
pub fn hold(incident: &mut Incident, held: Held, utc: UtcTime) {
    for page in &mut incident.deliveries {
        let untried = page.kind() == PageKind::Opened
            && page.state() == DeliveryState::Pending
            && page.attempts == 0
            && !page.ambiguous;
        if untried {
            page.state = DeliveryState::Held.into();
        }
    }
    let since = incident.held.as_ref().and_then(|before| before.since);
    incident.held = Some(Held { since: since.or(held.since), ..held.clone() });
    timeline::push(incident, utc, Event::PagesHeld(PagesHeld { held: Some(held) }));
}

/// What waited goes out now, claimed by member `claimed_by` or, if that is 0, by whom it was written
/// for. It counts as written now: how long a page is tried begins here.
pub fn release(incident: &mut Incident, claimed_by: u64, utc: UtcTime) {
    if incident.held.take().is_none() {
        return;
    }
    for page in incident.deliveries.iter_mut().filter(|it| it.state() == DeliveryState::Held) {
        page.state = DeliveryState::Pending.into();
        page.created_at = Some(stamp::timestamp(utc));
        page.waiting_since = page.created_at;
        if claimed_by != 0 {
            page.claimed_by = claimed_by;
        }
    }
    if incident.routed_since.is_some() {
        // Nobody could acknowledge what nobody had been told of.
        let now = Some(stamp::timestamp(utc));
        incident.routed_since = now;
        for routed in incident.routed.iter_mut().filter(|routed| routed.last.is_some()) {
            routed.last = now;
        }
    }
    timeline::push(incident, utc, Event::PagesReleased(PagesReleased {}));
}

/// The incident ended while its openings waited: nobody is to be told of it any more.
pub fn end_hold(incident: &mut Incident, utc: UtcTime) {
    if incident.held.take().is_none() {
        return;
    }
    let mut dropped = Vec::new();
    for page in incident.deliveries.iter_mut().filter(|it| it.state() == DeliveryState::Held) {
        page.state = DeliveryState::Dropped.into();
        page.last_error = "the incident ended while it was quiet".into();
        dropped.push((page.contact_name.clone(), page.last_error.clone()));
    }
    for (contact, why) in dropped {
        let event = PageDropped { contact, kind: PageKind::Opened.into(), why };
        timeline::push(incident, utc, Event::PageDropped(event));
    }
}

/// Whether a deleted contact is still needed as a tombstone by this incident. Where a route names it, for
/// its name: that it is not told is said by it.
pub fn needs_contact(incident: &Incident, contact_uid: &str) -> bool {
    let lasts = incident.resolved_at.is_none();
    let has_pages = incident.deliveries.iter().any(|page| {
        page.contact_uid == contact_uid && (page.state() == DeliveryState::Pending || lasts)
    });
    let mut steps = incident.routed.iter().flat_map(|routed| &routed.steps);
    has_pages || lasts && steps.any(|step| step.contacts.iter().any(|uid| uid == contact_uid))
}

/// Records what a sender reports of one page, and writes what follows from it. False: the incident
/// has no such page, or the report is too late to change anything. Of a sender that has lost its
/// claim meanwhile it counts that the page was, or may have been, received, and not when to go on.
pub fn update(incident: &mut Incident, update: &PageUpdate, utc: UtcTime) -> bool {
    let found =
        incident.deliveries.iter().position(|page| page.idempotency_key == update.idempotency_key);
    let Some(index) = found else { return false };
    if update.claimed_by != 0 {
        return hand_over(incident, index, update, utc);
    }
    let page = &mut incident.deliveries[index];
    let before = page.clone();
    let holds = page.claimed_by == update.sent_by;
    page.ambiguous |= update.ambiguous;
    if !matches!(page.state(), DeliveryState::Sent | DeliveryState::Dead) {
        note_reach(page, update, holds);
        page.attempts = page.attempts.max(update.attempts);
    }
    match update.state() {
        DeliveryState::Sent if page.state() != DeliveryState::Sent => {
            page.state = DeliveryState::Sent.into();
            page.sent_at = Some(stamp::timestamp(utc));
            page.next_attempt_at = None;
            page.last_error.clear();
            page.receipt.clone_from(&update.receipt);
            page.note.clone_from(&update.note);
            if update.kind() != PageKind::Unspecified {
                page.kind = update.kind;
            }
        }
        DeliveryState::Dead if holds && page.state() == DeliveryState::Pending => {
            page.state = DeliveryState::Dead.into();
            page.next_attempt_at = None;
            page.last_error.clone_from(&update.error);
        }
        // Not one that comes again behind a later one.
        DeliveryState::Pending
            if holds
                && page.state() == DeliveryState::Pending
                && page.attempts == update.attempts =>
        {
            page.last_error.clone_from(&update.error);
            let next = UtcTime::from_ns(update.next_attempt_utc_ns);
            page.next_attempt_at = Some(stamp::timestamp(next));
            if update.end() == AttemptEnd::Answered {
                page.waiting_since = page.next_attempt_at;
            }
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

/// Keeps how this attempt ended, once: the first few of a page and the last ones.
pub fn note_attempt(incident: &mut Incident, before: &Incident, update: &PageUpdate, utc: UtcTime) {
    let key = &update.idempotency_key;
    let of = |page: &&Delivery| page.idempotency_key == *key;
    let before = before.deliveries.iter().find(of).map_or(0, |page| page.attempts);
    if update.claimed_by != 0 || update.attempts <= before {
        return;
    }
    let Some(page) = incident.deliveries.iter_mut().find(|page| page.idempotency_key == *key)
    else {
        return;
    };
    let result = match (update.state(), update.end()) {
        (DeliveryState::Sent, _) => AttemptResult::Taken,
        (_, AttemptEnd::Answered) => AttemptResult::Refused,
        (_, AttemptEnd::NotSent) => AttemptResult::NotSent,
        (_, AttemptEnd::Unanswered) => AttemptResult::Unanswered,
        (_, AttemptEnd::Unspecified) => AttemptResult::Unspecified,
    };
    if page.history.len() >= ATTEMPTS_KEPT_MAX {
        page.history.remove(ATTEMPTS_KEPT_FIRST);
    }
    page.history.push(DeliveryAttempt {
        at: Some(stamp::timestamp(utc)),
        number: update.attempts,
        by: update.sent_by,
        result: result.into(),
        error: super::cut(update.error.clone(), ATTEMPT_ERROR_BYTES_MAX),
    });
}

/// This page goes no earlier than at its turn, and until then nobody waits for an answer.
pub fn pace(page: &mut Delivery, turn: UtcTime, utc: UtcTime) {
    page.paced = true;
    if turn > utc {
        page.next_attempt_at = Some(stamp::timestamp(turn));
        page.waiting_since = page.next_attempt_at;
    }
}

/// This page has no turn any more: it goes when it would have gone without one.
pub fn forget_turn(page: &mut Delivery, utc: UtcTime) {
    let again = page.idempotency_key.ends_with(AGAIN);
    let due = again.then(|| stamp::utc(page.created_at.as_ref()) + PAGE_AGAIN_AFTER);
    page.paced = false;
    page.next_attempt_at = due.map(stamp::timestamp);
    page.waiting_since = Some(stamp::timestamp(due.unwrap_or(utc).max(utc)));
}

/// A page was given up: its contact's fallback is told what that contact was not, an end together with
/// its opening. Whoever held the page begins with it. Nothing when the fallback has pages of its own, of what
/// somebody sees to already, and of an end that was said before. True: it is told.
pub fn fall_back(
    incident: &mut Incident,
    dead: &Delivery,
    fallback: &Contact,
    utc: UtcTime,
) -> bool {
    let meta = fallback.meta.clone().unwrap_or_default();
    let taken_on = incident.resolved_at.is_none()
        && incident.acknowledged_at.is_some()
        && goes_on(dead.kind());
    let has_own = incident.deliveries.iter().any(|page| page.contact_uid == meta.uid);
    if has_own || taken_on || dead.idempotency_key.ends_with(AGAIN) {
        return false;
    }
    open(incident, [fallback], dead.claimed_by, utc);
    if incident.resolved_at.is_some() {
        let key = key(&incident.uid, &meta.uid, "resolved");
        let end = page(key, &meta.uid, &meta.name, PageKind::Resolved, dead.claimed_by, utc);
        push(incident, end);
    }
    let (contact, kind, to) = (dead.contact_name.clone(), dead.kind, meta.name);
    timeline::push(incident, utc, Event::PageFellBack(PageFellBack { contact, kind, to }));
    true
}

/// Who has a way to the contact, as this attempt found.
fn note_reach(page: &mut Delivery, update: &PageUpdate, holds: bool) {
    let by = update.sent_by;
    let known = page.unreached_by.contains(&by);
    match update.end() {
        AttemptEnd::Answered => {
            page.unreached_by.retain(|member| *member != by);
            page.unreached = if holds { 0 } else { page.unreached };
        }
        AttemptEnd::NotSent => {
            if !known && page.unreached_by.len() < MEMBERS_MAX {
                page.unreached_by.push(by);
            }
            // Each attempt once, however often it is reported.
            if holds && update.attempts > page.attempts {
                page.unreached = page.unreached.saturating_add(1);
            }
        }
        AttemptEnd::Unanswered if holds => page.unreached = 0,
        AttemptEnd::Unanswered | AttemptEnd::Unspecified => {}
    }
}

/// The claim of all that waits for this page's contact moves. Unless its holder had stopped and
/// said everything, or its first attempt is not due yet, one may be in flight, or have got through without
/// anybody knowing.
fn hand_over(incident: &mut Incident, index: usize, update: &PageUpdate, utc: UtcTime) -> bool {
    let before = incident.deliveries[index].clone();
    if before.state() != DeliveryState::Pending || before.claimed_by != update.claimed_from {
        return false;
    }
    let (from, to) = (update.claimed_from, update.claimed_by);
    for page in &mut incident.deliveries {
        if page.contact_uid == before.contact_uid && page.state() == DeliveryState::Pending {
            page.claimed_by = to;
            page.unreached = 0;
        }
    }
    let page = &mut incident.deliveries[index];
    let due = stamp::utc(page.next_attempt_at.as_ref());
    page.waiting_since = Some(stamp::timestamp(utc.max(due)));
    if page.unreached_by.contains(&to) {
        // All have failed, or nobody else is there: from the beginning.
        page.unreached_by.clear();
    }
    if from == to {
        return true;
    }
    // Before its first turn nobody has tried, also where a clock is ahead.
    let untried = before.attempts == 0 && due > utc + PAGE_ANSWER_WITHIN;
    page.ambiguous |= !has_stopped(&before) && !untried;
    if mutant::on(Mutant::KeyMovesWithClaim) {
        page.idempotency_key.push_str("/moved");
    }
    page.handed_over = page.handed_over.saturating_add(1);
    let told = |event: &&parallax_proto::v1::TimelineEvent| {
        matches!(event.event, Some(Event::PageReassigned(_)))
    };
    if incident.timeline.iter().filter(told).count() < HAND_OVERS_TOLD_MAX {
        let (contact, kind, why) = (before.contact_name, before.kind, update.why);
        let event = PageReassigned { contact, kind, from, to, why };
        timeline::push(incident, utc, Event::PageReassigned(event));
    }
    true
}

/// Whether the holder found no connection so often that it makes no more attempts by itself: the
/// leader says who goes on.
pub fn has_stopped(page: &Delivery) -> bool {
    page.unreached >= PAGE_UNREACHED_MAX
}

/// From when an answer is awaited of the holder.
pub fn waiting_since(page: &Delivery) -> UtcTime {
    stamp::utc(page.waiting_since.as_ref().or(page.created_at.as_ref()))
}

/// A page is done: from now on the next one to this contact is awaited.
fn move_up(incident: &mut Incident, done: &Delivery, utc: UtcTime) {
    let waits = |page: &&mut Delivery| {
        page.contact_uid == done.contact_uid && page.state() == DeliveryState::Pending
    };
    if let Some(next) = incident.deliveries.iter_mut().find(waits) {
        let due = stamp::utc(next.next_attempt_at.as_ref());
        next.waiting_since = Some(stamp::timestamp(utc.max(due)));
        next.unreached_by.clone_from(&done.unreached_by);
    }
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
        // In doubt the end is said as well: whoever has the opening under this key drops what says both, and
        // an opening of another sender may come after it.
        (PageKind::Combined, DeliveryState::Sent) if turned && !in_doubt(incident, uid) => {
            drop_end(incident, uid, "said together with the opening");
        }
        (kind, DeliveryState::Dead) if goes_on(kind) && !knows(incident, uid) => {
            drop_end(incident, uid, "its opening was never delivered");
        }
        // Its opening was given up, and then turned out to have gone through, or may have.
        (kind, DeliveryState::Sent | DeliveryState::Dropped | DeliveryState::Dead)
            if goes_on(kind) && incident.resolved_at.is_some() && must_hear_the_end(after) =>
        {
            end_after_all(incident, after, utc);
        }
        (PageKind::Resolved, DeliveryState::Sent) if turned => again(incident, after, utc),
        _ => {}
    }
    if turned {
        move_up(incident, after, utc);
    }
}

/// Whether this opening was sent, may have been, or may still be.
fn must_hear_the_end(opening: &Delivery) -> bool {
    match opening.state() {
        DeliveryState::Sent | DeliveryState::Pending => true,
        DeliveryState::Dead | DeliveryState::Dropped => opening.ambiguous,
        DeliveryState::Held | DeliveryState::Unspecified => false,
    }
}

/// Whether the contact was told of the incident, may have been, or may still be.
fn knows(incident: &Incident, contact_uid: &str) -> bool {
    incident.deliveries.iter().any(|page| {
        page.contact_uid == contact_uid && goes_on(page.kind()) && must_hear_the_end(page)
    })
}

/// Whether a page to the contact may have come through without anybody knowing.
fn in_doubt(incident: &Incident, contact_uid: &str) -> bool {
    incident.deliveries.iter().any(|page| page.contact_uid == contact_uid && page.ambiguous)
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
            end.claimed_by = opening.claimed_by;
            end.waiting_since = Some(stamp::timestamp(utc));
        }
        Some(_) => {}
        None => {
            let (uid, name) = (opening.contact_uid.clone(), opening.contact_name.clone());
            let claim = opening.claimed_by;
            let mut end = page(key, &uid, &name, PageKind::Resolved, claim, utc);
            end.unreached_by.clone_from(&opening.unreached_by);
            push(incident, end);
        }
    }
}

/// After any ambiguous attempt the end is said again, under a key of its own: a page that was
/// only late may have come after it.
fn again(incident: &mut Incident, end: &Delivery, utc: UtcTime) {
    if !in_doubt(incident, &end.contact_uid) || end.idempotency_key.ends_with(AGAIN) {
        return;
    }
    let key = format!("{}{AGAIN}", end.idempotency_key);
    let (uid, name) = (end.contact_uid.clone(), end.contact_name.clone());
    let mut page = page(key, &uid, &name, PageKind::Resolved, end.claimed_by, utc);
    page.next_attempt_at = Some(stamp::timestamp(utc + PAGE_AGAIN_AFTER));
    page.unreached_by.clone_from(&end.unreached_by);
    push(incident, page);
}

/// By what a contact knows the opening that it was sent; empty when it has not said so. What was sent before
/// the contact became what it is, at `since`, may be in another room: its newest version begins anew.
pub fn receipt<'a>(
    incident: &'a Incident,
    contact_uid: &str,
    since: Option<&prost_types::Timestamp>,
) -> &'a str {
    let since = stamp::utc(since);
    let known = |page: &&Delivery| {
        let of_this = page.contact_uid == contact_uid && !page.receipt.is_empty();
        of_this && stamp::utc(page.created_at.as_ref()) >= since
    };
    incident.deliveries.iter().find(known).map_or("", |page| page.receipt.as_str())
}

/// The uid of the contact that the page with this key goes to.
pub fn contact_of(key: &str) -> &str {
    key.split(':').nth(1).unwrap_or_default()
}

/// The incident that the page with this key is about.
pub fn incident_of(key: &str) -> &str {
    key.split_once(':').map_or(key, |(incident, _)| incident)
}

pub(super) fn key(incident: &str, contact: &str, what: &str) -> String {
    format!("{incident}:{contact}:{what}")
}

pub(super) fn page(
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
pub(super) fn push(incident: &mut Incident, page: Delivery) {
    let known = |known: &Delivery| known.idempotency_key == page.idempotency_key;
    if !incident.deliveries.iter().any(known) {
        incident.deliveries.push(page);
    }
}
