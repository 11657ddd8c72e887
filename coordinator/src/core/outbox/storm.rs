//! Many openings for one contact at once become one page that names them.
//!
//! A storm is an incident of its own, of one contact, with pages as any other has them: claims, keys,
//! order, retries and the end after whatever was or may have been sent are those of every incident. What
//! is written here, inside replicated apply, keeps to this:
//!
//! * **The first go out at once.** Only an opening before which those of so many other checks were written
//!   within so long is taken in ([`count`]). So are later steps of routes, as they tell somebody new.
//! * **In the entry that wrote it.** A page is taken in before anybody saw it waiting: it is dropped, says
//!   in which storm it is told ([`told_in`]), and no attempt at it was ever made. What is counted once is
//!   never taken in later.
//! * **A member's end is told by its storm,** to the contact that it would have gone to: the storm counts
//!   what it has taken in and what of that has ended, ends with the last, and not before.
//! * **A page says the same in every attempt.** What a page tells is numbered when it is written
//!   ([`as_told`]): who joins or ends later is told by a page, or the end, with a key of its own.
//! * **Its name stays.** Labels and severity, by which receivers know an alert again, are those of its first
//!   page in all that follow, and in the end.
//! * **One page waits at most,** besides the end: what changes meanwhile is told after it.
//! * **By the log, not by a clock.** A storm gathers until an entry ends that ([`seal`]), which the leader
//!   proposes when the time has come, as for pages that are held.

use std::time::Duration;

use parallax_common::limits::{
    STORM_ENDS_AFTER, STORM_MEMBERS_MAX, STORM_PAGES_KEPT_MAX, STORM_WITHIN,
};
use parallax_common::time::UtcTime;
use parallax_proto::store::Opening;
use parallax_proto::v1::timeline_event::Event;
use parallax_proto::v1::{
    BallotState, Contact, Delivery, DeliveryState, Held, Incident, IncidentKind, Opened, PageKind,
    ResolveCause, Severity, Storm, StormGathered, StormMember, StormPage, StormRule, StormTold,
};
use parallax_proto::{convert, v1};

use super::{intents, timeline};
use crate::core::stamp;

/// Takes an opening of a check that is written now into account: whether it is one too many, and which
/// are to be kept. A check counts once: one that comes and goes is no storm.
pub fn count(
    rule: &StormRule,
    openings: &[Opening],
    check_uid: &str,
    now: UtcTime,
) -> (bool, Vec<Opening>) {
    let over = rule.over as usize;
    let from = (now - within(rule)).as_ns();
    let others = |it: &&Opening| it.utc_ns > from && it.check_uid != check_uid;
    let mut kept: Vec<Opening> = openings.iter().filter(others).cloned().collect();
    let many = kept.len() >= over;
    kept.push(Opening { utc_ns: now.as_ns(), check_uid: check_uid.to_owned() });
    let surplus = kept.len().saturating_sub(over);
    (many, kept.split_off(surplus))
}

/// How long openings count, and how long a storm gathers.
pub fn within(rule: &StormRule) -> Duration {
    rule.within.as_ref().and_then(convert::time::duration).unwrap_or(STORM_WITHIN)
}

/// Whether openings of this incident may be told with others. What is said of a region explains a
/// storm, and is not hidden in it. Of what has ended those may that this entry let go with the end.
pub fn may_join(incident: &Incident, utc: UtcTime) -> bool {
    let of_check = match incident.kind() {
        IncidentKind::Down
        | IncidentKind::Regional
        | IncidentKind::Warning
        | IncidentKind::Latency
        | IncidentKind::ErrorRate
        | IncidentKind::Certificate
        | IncidentKind::BurnRate => true,
        IncidentKind::RegionSilent
        | IncidentKind::RegionExcluded
        | IncidentKind::RegionOutdated
        | IncidentKind::CanaryInDoubt
        | IncidentKind::Leaderless
        | IncidentKind::Storm
        | IncidentKind::Unspecified => false,
    };
    let ends_now = |at| stamp::utc(Some(at)) == utc;
    of_check && incident.resolved_at.as_ref().is_none_or(ends_now)
}

/// Whether a contact has heard of an incident, or may have, by another page than this one.
pub fn heard_otherwise(incident: &Incident, page: &Delivery) -> bool {
    let other = |it: &&Delivery| {
        it.contact_uid == page.contact_uid && it.idempotency_key != page.idempotency_key
    };
    incident
        .deliveries
        .iter()
        .filter(other)
        .any(|it| intents::goes_on(it.kind()) && it.storm_uid.is_empty())
}

/// Whether this page was written by the entry of that time, tells somebody of the incident, and was not
/// counted.
pub fn is_new(page: &Delivery, utc: UtcTime) -> bool {
    matches!(page.kind(), PageKind::Opened | PageKind::Escalated)
        && page.state() == DeliveryState::Pending
        && page.attempts == 0
        && !page.ambiguous
        && !page.counted
        && stamp::utc(page.created_at.as_ref()) == utc
}

/// A storm for a contact, that gathers from now on, claimed by member `claimed_by`.
pub fn open(
    uid: String,
    contact: &Contact,
    rule: &StormRule,
    (claimed_by, revision): (u64, u64),
    utc: UtcTime,
) -> Incident {
    let meta = contact.meta.clone().unwrap_or_default();
    let mut incident = Incident {
        uid,
        namespace: meta.namespace,
        kind: IncidentKind::Storm.into(),
        opened_at: Some(stamp::timestamp(utc)),
        opened_revision: revision,
        held: Some(Held {
            since: Some(stamp::timestamp(utc)),
            until: Some(stamp::timestamp(utc + within(rule))),
            by: None,
        }),
        storm: Some(Storm {
            contact_uid: meta.uid,
            contact: meta.name,
            over: rule.over,
            within: Some(stamp::duration(within(rule))),
            ..Storm::default()
        }),
        ..Incident::default()
    };
    timeline::push(&mut incident, utc, Event::Opened(Opened {}));
    intents::open(&mut incident, [contact], claimed_by, utc);
    for page in &mut incident.deliveries {
        page.state = DeliveryState::Held.into();
        page.number = 1;
    }
    incident
}

fn how_bad(severity: Severity) -> u8 {
    match severity {
        Severity::Critical | Severity::Unspecified => 3,
        Severity::Warning => 2,
        Severity::Info => 1,
    }
}

/// Whether a storm has told of itself, and as something milder than this incident: its receiver knows it
/// by that, and who is woken by what is critical would not be by one page more of it.
pub fn told_as_milder(storm_incident: &Incident, incident: &Incident) -> bool {
    let told = storm_incident.storm.as_ref().is_some_and(|storm| storm.pages > 0);
    told && how_bad(incident.severity()) > how_bad(storm_incident.severity())
}

/// Takes an incident in, unless it is in already. A storm that has told of itself tells of this soon.
pub fn join(storm_incident: &mut Incident, member: &Incident, utc: UtcTime) {
    let before = storm_incident.severity();
    let Some(storm) = &mut storm_incident.storm else { return };
    if storm.pages > 0 {
        tell_by(storm, utc + storm.within.as_ref().map_or(STORM_WITHIN, stamp::length));
    }
    let known = |page: &Delivery| {
        page.contact_uid == storm.contact_uid && page.storm_uid == storm_incident.uid
    };
    if member.deliveries.iter().any(known) {
        return;
    }
    let regions = failing(member);
    if storm.gathered == 0 {
        (storm.kind, storm.regions) = (member.kind, regions);
        storm_incident.labels.clone_from(&member.labels);
        storm_incident.severity = member.severity;
    } else {
        storm.regions.retain(|region| regions.contains(region));
        if storm.kind != member.kind {
            storm.kind = IncidentKind::Unspecified.into();
        }
    }
    // Once a page was written its receiver knows the storm by these.
    if storm.gathered > 0 && storm.pages == 0 {
        storm_incident.labels.retain(|key, value| member.labels.get(key) == Some(value));
        if how_bad(member.severity()) > how_bad(before) {
            storm_incident.severity = member.severity;
        }
    }
    storm.gathered = storm.gathered.saturating_add(1);
    if storm.members.len() < STORM_MEMBERS_MAX {
        let name = match member.alert.as_str() {
            "" => member.check_name.clone(),
            alert => format!("{} ({alert})", member.check_name),
        };
        let (incident_uid, since) = (member.uid.clone(), storm.pages.saturating_add(1));
        storm.members.push(StormMember { incident_uid, name, since, ended: 0 });
    }
}

/// The page at this place of an incident is told in the storm, and so is the end if it has come with it.
pub fn told_in(incident: &mut Incident, place: usize, storm_uid: &str, utc: UtcTime) {
    let Some(page) = incident.deliveries.get_mut(place) else { return };
    page.state = DeliveryState::Dropped.into();
    page.storm_uid = storm_uid.to_owned();
    page.last_error = format!("told together with others, in {storm_uid}");
    let (contact, kind) = (page.contact_name.clone(), page.kind);
    let (to, why) = (page.contact_uid.clone(), page.last_error.clone());
    let end = |it: &&mut Delivery| it.kind() == PageKind::Resolved && it.contact_uid == to;
    for end in incident.deliveries.iter_mut().filter(end) {
        end.state = DeliveryState::Dropped.into();
        end.storm_uid = storm_uid.to_owned();
        end.last_error.clone_from(&why);
    }
    let event = StormGathered { contact, kind, storm_uid: storm_uid.to_owned() };
    timeline::push(incident, utc, Event::StormGathered(event));
}

/// The storms that tell of an incident, each once.
pub fn storms_of(incident: &Incident) -> Vec<String> {
    let mut storms: Vec<String> = Vec::new();
    for page in incident.deliveries.iter().filter(|page| !page.storm_uid.is_empty()) {
        if !storms.contains(&page.storm_uid) {
            storms.push(page.storm_uid.clone());
        }
    }
    storms
}

/// Whether a contact is told of an incident by one of its storms.
pub fn tells(incident: &Incident, contact_uid: &str) -> bool {
    let by_storm = |page: &Delivery| page.contact_uid == contact_uid && !page.storm_uid.is_empty();
    incident.deliveries.iter().any(by_storm)
}

/// An incident that was taken in has ended. Only what is well again has recovered.
pub fn member_ended(storm: &mut Storm, member: &str, cause: ResolveCause, utc: UtcTime) {
    storm.ended = storm.ended.saturating_add(1).min(storm.gathered);
    let (recovered, unwatched) = match cause {
        ResolveCause::Recovered
        | ResolveCause::AlertCleared
        | ResolveCause::RegionBack
        | ResolveCause::LeaderBack => (true, false),
        ResolveCause::CheckDeleted
        | ResolveCause::CheckPaused
        | ResolveCause::RegionDeleted
        | ResolveCause::AlertRemoved => (false, true),
        ResolveCause::ByHand | ResolveCause::BecameDown | ResolveCause::Unspecified => {
            (false, false)
        }
    };
    if !recovered {
        storm.not_recovered = storm.not_recovered.saturating_add(1).min(storm.ended);
        storm.not_recovered_cause = cause.into();
    }
    if unwatched {
        storm.unwatched = storm.unwatched.saturating_add(1).min(storm.not_recovered);
    }
    let next = storm.pages.saturating_add(1);
    if let Some(known) = storm.members.iter_mut().find(|known| known.incident_uid == member) {
        known.ended = next;
    }
    if storm.pages > 0 {
        tell_by(storm, utc + STORM_ENDS_AFTER);
    }
}

/// Whether there is nothing more to come: it does not gather, and all that it has taken in has ended.
pub fn is_over(storm: &Storm) -> bool {
    storm.pages > 0 && storm.ended >= storm.gathered
}

/// Why a storm that is over ended: all has recovered, or as the last one did that has not.
pub fn cause(storm: &Storm) -> ResolveCause {
    match storm.not_recovered {
        0 => ResolveCause::Recovered,
        _ => storm.not_recovered_cause(),
    }
}

/// What reminders of a member would say is said by the storm.
pub fn tell_soon(storm: &mut Storm, utc: UtcTime) {
    if storm.pages > 0 {
        tell_by(storm, utc + storm.within.as_ref().map_or(STORM_WITHIN, stamp::length));
    }
}

fn tell_by(storm: &mut Storm, at: UtcTime) {
    let due = storm.tell_at.as_ref().map(|due| stamp::utc(Some(due)));
    storm.tell_at = Some(stamp::timestamp(due.map_or(at, |due| due.min(at))));
}

/// When a storm has something to say, after its first page.
pub fn due(incident: &Incident) -> Option<UtcTime> {
    let storm = incident.storm.as_ref().filter(|_| incident.resolved_at.is_none())?;
    storm.tell_at.as_ref().map(|at| stamp::utc(Some(at)))
}

/// It has gathered: its opening goes out now, claimed by member `claimed_by` or, if that is 0, by whom it
/// was written for. It counts as written now.
pub fn seal(incident: &mut Incident, claimed_by: u64, utc: UtcTime) {
    if incident.held.take().is_none() {
        return;
    }
    note_page(incident, utc);
    for page in incident.deliveries.iter_mut().filter(|it| it.state() == DeliveryState::Held) {
        page.state = DeliveryState::Pending.into();
        page.created_at = Some(stamp::timestamp(utc));
        page.waiting_since = page.created_at;
        if claimed_by != 0 {
            page.claimed_by = claimed_by;
        }
    }
}

/// Tells the storm's contact what has changed since the last page, unless one still waits: then later, and
/// not so soon that a contact which cannot be reached costs an entry every few seconds.
pub fn tell(incident: &mut Incident, contact: Option<&Contact>, claimed_by: u64, utc: UtcTime) {
    let Some(storm) = &mut incident.storm else { return };
    storm.tell_at = None;
    let Some(contact) = contact else { return };
    let waits = |page: &Delivery| page.state() == DeliveryState::Pending;
    if incident.deliveries.iter().any(waits) {
        let within = storm.within.as_ref().map_or(STORM_WITHIN, stamp::length);
        return tell_by(storm, utc + within.max(STORM_ENDS_AFTER));
    }
    note_page(incident, utc);
    let number = incident.storm.as_ref().map_or(0, |storm| storm.pages);
    let meta = contact.meta.clone().unwrap_or_default();
    let key = intents::key(&incident.uid, &meta.uid, &format!("storm/{number}"));
    let page = intents::page(key, &meta.uid, &meta.name, PageKind::Reminder, claimed_by, utc);
    intents::push(incident, Delivery { number, ..page });
    super::steps::forget_reminders(incident, &meta.uid);
}

/// Pages that this entry wrote in somebody's place say what the newest page says.
pub fn number_new(incident: &mut Incident, utc: UtcTime) {
    let Some(storm) = &incident.storm else { return };
    for page in incident.deliveries.iter_mut().filter(|page| is_new(page, utc)) {
        page.number = storm.pages;
    }
}

/// Numbers what is told now.
fn note_page(incident: &mut Incident, utc: UtcTime) {
    let Some(storm) = &mut incident.storm else { return };
    storm.pages = storm.pages.saturating_add(1);
    let (number, gathered, ended) = (storm.pages, storm.gathered, storm.ended);
    if storm.said.len() >= STORM_PAGES_KEPT_MAX {
        storm.said.remove(0);
    }
    storm.said.push(StormPage {
        number,
        gathered,
        ended,
        kind: storm.kind,
        regions: storm.regions.clone(),
        not_recovered: storm.not_recovered,
        unwatched: storm.unwatched,
    });
    timeline::push(incident, utc, Event::StormTold(StormTold { number, gathered, ended }));
}

/// A storm as its page of this number tells it.
pub fn as_told(storm: &Storm, number: u32) -> Storm {
    let Some(said) = storm.said.iter().find(|said| said.number == number) else {
        return storm.clone();
    };
    let mut told = Storm {
        gathered: said.gathered,
        ended: said.ended,
        kind: said.kind,
        regions: said.regions.clone(),
        not_recovered: said.not_recovered,
        unwatched: said.unwatched,
        ..storm.clone()
    };
    told.members.retain(|member| member.since <= number);
    for member in told.members.iter_mut().filter(|member| member.ended > number) {
        member.ended = 0;
    }
    told
}

/// Regions that failed when an incident opened.
fn failing(incident: &Incident) -> Vec<String> {
    let ballots = incident.opened_by.iter().flat_map(|record| &record.ballots);
    let fails = |ballot: &&v1::Ballot| {
        ballot.state() == BallotState::Fail && !ballot.stale && !ballot.excluded && !ballot.advisory
    };
    ballots.filter(fails).map(|ballot| ballot.region.clone()).collect()
}

#[cfg(test)]
mod tests;
