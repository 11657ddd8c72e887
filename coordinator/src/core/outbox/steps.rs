//! Later steps of routes, and reminders, as they are written into an incident when they are due.
//!
//! Called inside replicated apply, as `intents` is. A contact for which a page still waits gets no
//! second one: what waits says all of it, and a contact that is away for a day does not find a heap of
//! reminders.

use parallax_common::limits::{REMINDERS_KEPT_MAX, ROUTES_PASSED_TOLD_MAX};
use parallax_common::time::UtcTime;
use parallax_proto::v1::timeline_event::Event;
use parallax_proto::v1::{
    Contact, Delivery, DeliveryState, Escalated, Incident, PageKind, PassedRoute, Reminded, Route,
    RouteWaits, Routed, RoutesPassed, StepPassed,
};

use super::{intents, timeline};
use crate::core::{routing, stamp};

/// Writes the pages of the next step of the route at `place`. The first one is the opening, however
/// late it comes.
pub fn step<'a>(
    incident: &mut Incident,
    place: usize,
    contacts: impl IntoIterator<Item = &'a Contact>,
    claimed_by: u64,
    utc: UtcTime,
) {
    let Some(routed) = incident.routed.get_mut(place) else { return };
    routed.done = routed.done.saturating_add(1);
    routed.last = Some(stamp::timestamp(utc));
    let (route, step) = (routed.route.clone(), routed.done);
    let mut contacts: Vec<&Contact> = contacts.into_iter().collect();
    if step == 1 {
        // Whom another route has told already learns that it goes on, or has a page that waits.
        let knows = |contact: &&Contact| {
            let uid = contact.meta.as_ref().map(|meta| meta.uid.as_str()).unwrap_or_default();
            incident.deliveries.iter().any(|page| page.contact_uid == uid)
        };
        let (known, new): (Vec<_>, Vec<_>) = contacts.into_iter().partition(knows);
        intents::open(incident, new, claimed_by, utc);
        if known.is_empty() || Some(stamp::timestamp(utc)) == incident.opened_at {
            return;
        }
        contacts = known;
    }
    let what = format!("escalated/{route}/{step}");
    let told =
        tell(incident, contacts, (&what, PageKind::Escalated, &route, step), claimed_by, utc);
    let event = Escalated { route, step, contacts: told };
    timeline::push(incident, utc, Event::Escalated(event));
}

/// Contacts of the step of the route at `place` that is done last were deleted since it took the incident,
/// uids and names: nobody is told in their place, and the record says so.
pub fn deleted(
    incident: &mut Incident,
    place: usize,
    contacts: &[(&str, String)],
    claimed_by: u64,
    utc: UtcTime,
) {
    let Some(routed) = incident.routed.get(place) else { return };
    let (route, step) = (routed.route.clone(), routed.done);
    for (uid, name) in contacts {
        let page = match step {
            0 | 1 => {
                let key = intents::key(&incident.uid, uid, "opened");
                intents::page(key, uid, name, PageKind::Opened, claimed_by, utc)
            }
            _ => {
                let key = intents::key(&incident.uid, uid, &format!("escalated/{route}/{step}"));
                let page = intents::page(key, uid, name, PageKind::Escalated, claimed_by, utc);
                Delivery { route: route.clone(), number: step, ..page }
            }
        };
        intents::push_deleted(incident, page, utc);
    }
}

/// The next step of the route at `place` came due outside of its hours: nobody is told.
pub fn pass_over(incident: &mut Incident, place: usize, utc: UtcTime) {
    let Some(routed) = incident.routed.get_mut(place) else { return };
    let hours = routed.steps.get_mut(routed.done as usize).and_then(|step| {
        step.passed = true;
        step.hours.clone()
    });
    routed.done = routed.done.saturating_add(1);
    let (route, step) = (routed.route.clone(), routed.done);
    timeline::push(incident, utc, Event::StepPassed(StepPassed { route, step, hours }));
}

/// What the route at `place` has to tell waits until its hours begin; `None`: they have. The times of
/// its steps count from there when none was done before; else all that are still to come do so later by
/// as long as the first that is due waits.
pub fn wait(incident: &mut Incident, place: usize, until: Option<UtcTime>, utc: UtcTime) {
    let Some(routed) = incident.routed.get(place) else { return };
    let begin = until.map(stamp::timestamp);
    if routed.wait_until == begin {
        return;
    }
    let since = until.map(|until| {
        let due = routing::next_due(incident, routed).unwrap_or(until);
        let waits_from = due.max(stamp::utc(routed.wait_until.as_ref()));
        match routed.done {
            0 => until,
            _ => routing::steps_since(incident, routed) + until.since(waits_from),
        }
    });
    let Some(routed) = incident.routed.get_mut(place) else { return };
    routed.wait_until = begin;
    let (Some(until), Some(since)) = (begin, since) else { return };
    routed.since = Some(stamp::timestamp(since));
    let (route, hours) = (routed.route.clone(), routed.hours.clone());
    let event = RouteWaits { route, hours, until: Some(until) };
    timeline::push(incident, utc, Event::RouteWaits(event));
}

/// Says which routes fit the incident and were passed over, as it opened outside of their hours.
pub fn passed_over(incident: &mut Incident, routes: &[&Route], utc: UtcTime) {
    if routes.is_empty() {
        return;
    }
    let passed = routes.iter().take(ROUTES_PASSED_TOLD_MAX).map(|route| {
        let (route, hours) = (route.name.clone(), route.hours.clone());
        PassedRoute { route, hours }
    });
    let event = RoutesPassed { routes: passed.collect() };
    timeline::push(incident, utc, Event::RoutesPassed(event));
}

/// Tells those again who were told by the route at `place`.
pub fn remind<'a>(
    incident: &mut Incident,
    place: usize,
    contacts: impl IntoIterator<Item = &'a Contact>,
    claimed_by: u64,
    utc: UtcTime,
) {
    let Some(routed) = incident.routed.get_mut(place) else { return };
    routed.reminders = routed.reminders.saturating_add(1);
    routed.last = Some(stamp::timestamp(utc));
    let (route, number) = (routed.route.clone(), routed.reminders);
    let what = format!("reminder/{route}/{number}");
    let told =
        tell(incident, contacts, (&what, PageKind::Reminder, &route, number), claimed_by, utc);
    let event = Reminded { route, number, contacts: told };
    timeline::push(incident, utc, Event::Reminded(event));
}

/// Uids of everybody whom the steps of a route that are done have named, each once.
pub fn told_by(routed: &Routed) -> Vec<String> {
    let mut told: Vec<String> = Vec::new();
    let done = routed.steps.iter().take(routed.done as usize).filter(|step| !step.passed);
    for uid in done.flat_map(|step| &step.contacts) {
        if !told.contains(uid) {
            told.push(uid.clone());
        }
    }
    told
}

/// Writes one page a contact, and gives the names of those that it was written for.
fn tell<'a>(
    incident: &mut Incident,
    contacts: impl IntoIterator<Item = &'a Contact>,
    (what, kind, route, number): (&str, PageKind, &str, u32),
    claimed_by: u64,
    utc: UtcTime,
) -> Vec<String> {
    let mut told = Vec::new();
    for contact in contacts {
        let meta = contact.meta.clone().unwrap_or_default();
        let waits = incident.deliveries.iter().any(|page| {
            page.contact_uid == meta.uid
                && matches!(page.state(), DeliveryState::Pending | DeliveryState::Held)
        });
        if waits {
            continue;
        }
        let key = intents::key(&incident.uid, &meta.uid, what);
        let page = intents::page(key, &meta.uid, &meta.name, kind, claimed_by, utc);
        intents::push(incident, Delivery { route: route.to_owned(), number, ..page });
        forget_reminders(incident, &meta.uid);
        told.push(meta.name);
    }
    told
}

/// Lets the oldest reminders to a contact go that are done with. A doubt about one stays, with the page
/// that the contact got first: it is why the end is said twice.
pub(super) fn forget_reminders(incident: &mut Incident, contact_uid: &str) {
    let is_done = |page: &Delivery| {
        page.contact_uid == contact_uid
            && page.kind() == PageKind::Reminder
            && page.state() != DeliveryState::Pending
    };
    while incident.deliveries.iter().filter(|page| is_done(page)).count() >= REMINDERS_KEPT_MAX {
        let Some(oldest) = incident.deliveries.iter().position(is_done) else { return };
        let gone = incident.deliveries.remove(oldest);
        let mut theirs = incident.deliveries.iter_mut();
        if gone.ambiguous
            && let Some(first) = theirs.find(|page| page.contact_uid == contact_uid)
        {
            first.ambiguous = true;
        }
    }
}
