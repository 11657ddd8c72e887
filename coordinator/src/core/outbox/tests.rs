//! Tables for single rules, and a seeded simulation of everything that can go wrong at once.

use parallax_common::limits::{
    BREAKER_FAILURES, PAGES_IN_FLIGHT_SHARED_MAX, PAGES_SLOW_MAX, RECEIPT_BYTES_MAX,
};
use parallax_proto::v1::timeline_event::Event;
use parallax_proto::v1::{Contact, Meta};

use super::*;

mod claims;
mod doubt;
mod line;
mod members;
mod simulation;

const ME: u64 = 1;
const OTHER: u64 = 2;

fn at(seconds: i64) -> UtcTime {
    UtcTime::from_ns(seconds * 1_000_000_000)
}

fn contact(uid: &str) -> Contact {
    let meta = Meta { uid: uid.into(), name: uid.into(), ..Default::default() };
    Contact { meta: Some(meta), ..Default::default() }
}

fn opened(uid: &str, contacts: &[&str], seconds: i64) -> Incident {
    let mut incident = Incident {
        uid: uid.into(),
        opened_at: Some(stamp::timestamp(at(seconds))),
        ..Default::default()
    };
    let contacts: Vec<Contact> = contacts.iter().map(|uid| contact(uid)).collect();
    intents::open(&mut incident, &contacts, ME, at(seconds));
    incident
}

fn end(incident: &mut Incident, seconds: i64) {
    incident.resolved_at = Some(stamp::timestamp(at(seconds)));
    intents::resolve(incident, ME, at(seconds));
}

fn ok() -> Report {
    status(200)
}

fn status(status: u16) -> Report {
    Report::Answered { status, retry_after: None, detail: String::new() }
}

fn leading() -> Outbox {
    let mut outbox = Outbox::new(ME);
    outbox.lead(true);
    outbox
}

/// Records what a sender reports as the state does where attempts are kept. False: it changes nothing.
fn note(incident: &mut Incident, update: &PageUpdate, now: UtcTime) -> bool {
    let before = incident.clone();
    let changed = intents::update(incident, update, now);
    if changed {
        intents::note_attempt(incident, &before, update, now);
    }
    changed
}

/// Commits what the outbox drafted, and feeds back what came of it.
fn settle(outbox: &mut Outbox, incident: &mut Incident, now: UtcTime) {
    for update in outbox.drafts() {
        intents::update(incident, &update, now);
    }
    outbox.put(incident, Origin::Applied);
}

fn sends(outbox: &mut Outbox, seconds: i64) -> Vec<(String, PageKind)> {
    outbox.ready(at(seconds)).into_iter().map(|send| (send.key, send.kind)).collect()
}

fn page(key: &str, kind: PageKind) -> (String, PageKind) {
    (key.to_owned(), kind)
}

/// One incident and one contact: sends at `seconds`, with this end, committed at once.
fn attempt(outbox: &mut Outbox, incident: &mut Incident, seconds: i64, report: Report) {
    let sends = outbox.ready(at(seconds));
    assert_eq!(sends.len(), 1, "at {seconds}");
    outbox.finished(&sends[0].key, report, at(seconds), 0.0);
    settle(outbox, incident, at(seconds));
}

fn states(incident: &Incident) -> String {
    let word = |page: &Delivery| {
        let what = page.idempotency_key.splitn(3, ':').nth(2).unwrap_or_default();
        let state = page.state().as_str_name().replace("DELIVERY_STATE_", "").to_lowercase();
        format!("{what} {state}")
    };
    incident.deliveries.iter().map(word).collect::<Vec<_>>().join(", ")
}

#[test]
fn an_opening_and_its_end_go_to_every_contact_in_order() {
    let mut incident = opened("i", &["a", "b"], 0);
    let mut outbox = leading();
    outbox.put(&incident, Origin::Applied);
    assert_eq!(
        sends(&mut outbox, 0),
        [page("i:a:opened", PageKind::Opened), page("i:b:opened", PageKind::Opened)]
    );
    assert!(sends(&mut outbox, 0).is_empty(), "one attempt at a time");
    // It ends while both are in flight: nothing overtakes them.
    end(&mut incident, 1);
    outbox.put(&incident, Origin::Applied);
    assert!(sends(&mut outbox, 1).is_empty());
    outbox.finished("i:a:opened", ok(), at(2), 0.0);
    assert!(sends(&mut outbox, 2).is_empty(), "not before it is committed");
    settle(&mut outbox, &mut incident, at(2));
    assert_eq!(sends(&mut outbox, 2), [page("i:a:resolved", PageKind::Resolved)]);
    outbox.finished("i:b:opened", ok(), at(3), 0.0);
    outbox.finished("i:a:resolved", ok(), at(3), 0.0);
    settle(&mut outbox, &mut incident, at(3));
    assert_eq!(sends(&mut outbox, 3), [page("i:b:resolved", PageKind::Resolved)]);
    outbox.finished("i:b:resolved", ok(), at(4), 0.0);
    settle(&mut outbox, &mut incident, at(4));
    assert_eq!(states(&incident), "opened sent, opened sent, resolved sent, resolved sent");
    assert_eq!(outbox.depth(), (0, 0));
    assert!(outbox.lanes.is_empty());
}

#[test]
fn an_incident_that_ends_before_anybody_was_told_is_one_message() {
    let mut incident = opened("i", &["a"], 0);
    let mut outbox = leading();
    outbox.put(&incident, Origin::Applied);
    attempt(&mut outbox, &mut incident, 0, Report::NotSent("refused".into()));
    end(&mut incident, 1);
    outbox.put(&incident, Origin::Applied);
    assert_eq!(sends(&mut outbox, 1), [page("i:a:opened", PageKind::Combined)]);
    outbox.finished("i:a:opened", status(503), at(1), 0.0);
    settle(&mut outbox, &mut incident, at(1));
    assert_eq!(sends(&mut outbox, 3), [page("i:a:opened", PageKind::Combined)]);
    outbox.finished("i:a:opened", ok(), at(3), 0.0);
    settle(&mut outbox, &mut incident, at(3));
    assert_eq!(states(&incident), "opened sent, resolved dropped");
    assert_eq!(incident.deliveries[0].kind(), PageKind::Combined);
    assert_eq!(outbox.depth(), (0, 0));
}

#[test]
fn after_an_ambiguous_attempt_the_end_is_said_again_a_minute_later() {
    let mut incident = opened("i", &["a"], 0);
    let mut outbox = leading();
    outbox.put(&incident, Origin::Applied);
    attempt(&mut outbox, &mut incident, 0, Report::Ambiguous("no answer".into()));
    attempt(&mut outbox, &mut incident, 1, ok());
    end(&mut incident, 10);
    outbox.put(&incident, Origin::Applied);
    attempt(&mut outbox, &mut incident, 10, ok());
    assert_eq!(states(&incident), "opened sent, resolved sent, resolved/again pending");
    assert_eq!(outbox.wake_at(), Some(at(70)));
    assert!(sends(&mut outbox, 69).is_empty());
    assert_eq!(sends(&mut outbox, 70), [page("i:a:resolved/again", PageKind::Resolved)]);
    outbox.finished("i:a:resolved/again", Report::Ambiguous("no answer".into()), at(80), 0.0);
    settle(&mut outbox, &mut incident, at(80));
    attempt(&mut outbox, &mut incident, 81, ok());
    assert_eq!(states(&incident), "opened sent, resolved sent, resolved/again sent");
}

#[test]
fn what_a_contact_calls_a_page_is_kept_for_the_end() {
    let mut incident = opened("i", &["a", "b"], 0);
    let mut outbox = leading();
    outbox.put(&incident, Origin::Applied);
    assert_eq!(sends(&mut outbox, 0).len(), 2);
    outbox.finished(
        "i:a:opened",
        Report::Taken { receipt: "C1:2.3".into(), note: "b was refused".into() },
        at(1),
        0.0,
    );
    let long = "x".repeat(RECEIPT_BYTES_MAX + 1);
    outbox.finished("i:b:opened", Report::Taken { receipt: long, note: String::new() }, at(1), 0.0);
    settle(&mut outbox, &mut incident, at(1));
    assert_eq!(states(&incident), "opened sent, opened sent");
    assert_eq!(intents::receipt(&incident, "a", None), "C1:2.3");
    assert_eq!(incident.deliveries[0].note, "b was refused");
    assert_eq!(intents::receipt(&incident, "b", None), "", "too long to be kept");
    end(&mut incident, 2);
    outbox.put(&incident, Origin::Applied);
    assert_eq!(sends(&mut outbox, 2).len(), 2);
    outbox.finished(
        "i:a:resolved",
        Report::Taken { receipt: "C1:9.9".into(), note: String::new() },
        at(3),
        0.0,
    );
    settle(&mut outbox, &mut incident, at(3));
    // The opening is what everything refers to, unless the contact was another one then.
    assert_eq!(intents::receipt(&incident, "a", None), "C1:2.3");
    for (edited, known) in [(0, "C1:2.3"), (1, "C1:9.9"), (3, "")] {
        let since = stamp::timestamp(at(edited));
        assert_eq!(intents::receipt(&incident, "a", Some(&since)), known, "{edited}");
    }
}

#[test]
fn waits_follow_the_answer() {
    let hour = Duration::from_secs(3_600);
    let retry = |status, seconds| Report::Answered {
        status,
        retry_after: Some(Duration::from_secs(seconds)),
        detail: String::new(),
    };
    let refused = |lasting, seconds: Option<u64>| Report::Refused {
        why: "no".into(),
        lasting,
        retry_after: seconds.map(Duration::from_secs),
    };
    // (attempts before, answer, jitter, seconds to the next)
    let table = [
        (0, status(500), 0.0, 1.0),
        (1, status(500), 0.0, 2.0),
        (2, Report::NotSent(String::new()), 0.0, 4.0),
        (3, Report::Ambiguous(String::new()), 0.0, 8.0),
        (8, status(503), 0.0, 256.0),
        (9, status(503), 0.0, 300.0),
        (u32::MAX, status(503), 0.0, 300.0),
        (2, status(500), 1.0, 2.0),
        (2, status(500), 0.5, 3.0),
        (0, retry(429, 30), 1.0, 30.0),
        (9, retry(429, 30), 0.0, 300.0),
        (0, retry(503, 1_000_000), 0.0, hour.as_secs_f64()),
        (0, status(408), 0.0, 1.0),
        (0, status(425), 0.0, 1.0),
        (0, status(404), 0.0, 300.0),
        (0, status(401), 1.0, 150.0),
        (0, status(302), 0.0, 300.0),
        (1, refused(false, None), 0.0, 2.0),
        (1, refused(true, None), 0.0, 300.0),
        (0, refused(false, Some(30)), 0.0, 30.0),
    ];
    for (attempts, report, jitter, seconds) in table {
        let incident = opened("i", &["a"], 0);
        let mut page = incident.deliveries[0].clone();
        page.attempts = attempts;
        let update = update(&page, PageKind::Opened, &report, false, at(100), jitter);
        let wait = UtcTime::from_ns(update.next_attempt_utc_ns).since(at(100));
        assert_eq!(wait.as_secs_f64(), seconds, "{attempts} {report:?} {jitter}");
        assert_eq!(update.state(), DeliveryState::Pending);
    }
}

#[test]
fn a_page_is_dead_after_72_hours_and_one_last_attempt() {
    let dead_at = 72 * 3_600;
    let mut incident = opened("i", &["a"], 0);
    let mut outbox = leading();
    outbox.put(&incident, Origin::Applied);
    attempt(&mut outbox, &mut incident, dead_at - 10, status(404));
    assert_eq!(outbox.wake_at(), Some(at(dead_at)));
    end(&mut incident, dead_at - 5);
    attempt(&mut outbox, &mut incident, dead_at, status(404));
    assert_eq!(states(&incident), "opened dead, resolved dropped");
    assert_eq!(incident.deliveries[0].last_error, "HTTP status 404");
    assert!(matches!(
        incident.timeline.last().and_then(|event| event.event.clone()),
        Some(Event::PageFailed(failed)) if failed.attempts == 2
    ));
}

#[test]
fn a_deleted_contact_gets_no_opening_but_hears_the_end_of_what_it_heard() {
    let mut incident = opened("i", &["told", "untold"], 0);
    let mut outbox = leading();
    outbox.put(&incident, Origin::Applied);
    outbox.ready(at(0));
    outbox.finished("i:told:opened", ok(), at(0), 0.0);
    outbox.finished("i:untold:opened", Report::NotSent("refused".into()), at(0), 0.0);
    settle(&mut outbox, &mut incident, at(0));
    for uid in ["told", "untold"] {
        assert!(intents::needs_contact(&incident, uid));
        intents::contact_deleted(&mut incident, uid, at(0));
    }
    outbox.put(&incident, Origin::Applied);
    assert!(matches!(
        incident.timeline.last().and_then(|event| event.event.clone()),
        Some(Event::PageDropped(dropped)) if dropped.contact == "untold"
    ));
    end(&mut incident, 5);
    outbox.put(&incident, Origin::Applied);
    attempt(&mut outbox, &mut incident, 5, ok());
    assert_eq!(states(&incident), "opened sent, opened dropped, resolved sent");
    assert!(!intents::needs_contact(&incident, "told"));
}

#[test]
fn a_dropped_opening_that_went_through_after_all_brings_its_end() {
    let mut incident = opened("i", &["a"], 0);
    let mut outbox = leading();
    outbox.put(&incident, Origin::Applied);
    outbox.ready(at(0));
    intents::contact_deleted(&mut incident, "a", at(1));
    outbox.put(&incident, Origin::Applied);
    end(&mut incident, 2);
    outbox.put(&incident, Origin::Applied);
    assert_eq!(states(&incident), "opened dropped");
    outbox.finished("i:a:opened", ok(), at(3), 0.0);
    settle(&mut outbox, &mut incident, at(3));
    assert_eq!(states(&incident), "opened sent, resolved pending");
    attempt(&mut outbox, &mut incident, 3, ok());
}

#[test]
fn what_is_found_out_about_a_dropped_page_is_proposed_until_it_is_known() {
    #[rustfmt::skip]
    let table = [
        // how the attempt ended, does anybody have to hear of it
        (ok(),                                   true),
        (Report::Ambiguous("no answer".into()),  true),
        (Report::NotSent("refused".into()),      false),
        (status(503),                            false),
    ];
    for (report, waits) in table {
        let mut incident = opened("i", &["a"], 0);
        let mut outbox = leading();
        outbox.put(&incident, Origin::Applied);
        outbox.ready(at(0));
        intents::contact_deleted(&mut incident, "a", at(1));
        outbox.put(&incident, Origin::Applied);
        outbox.finished("i:a:opened", report.clone(), at(2), 0.0);
        let drafts = outbox.drafts();
        assert_eq!(drafts.len(), usize::from(waits), "{report:?}");
        if !waits {
            assert_eq!(outbox.depth(), (0, 0), "{report:?}");
            continue;
        }
        outbox.put(&incident, Origin::Applied);
        outbox.lost(&drafts[0]);
        assert_eq!(outbox.drafts(), drafts, "{report:?}");
        intents::update(&mut incident, &drafts[0], at(3));
        outbox.put(&incident, Origin::Applied);
        assert_eq!(outbox.depth(), (0, 0), "{report:?}");
    }
}

#[test]
fn a_contact_that_hangs_delays_nobody_else() {
    let mut outbox = leading();
    for n in 0..100 {
        outbox.put(&opened(&format!("i{n:03}"), &["hangs"], 0), Origin::Applied);
    }
    assert_eq!(outbox.ready(at(0)).len(), PAGES_PER_CONTACT_MAX);
    outbox.put(&opened("other", &["works"], 1), Origin::Applied);
    assert_eq!(sends(&mut outbox, 1), [page("other:works:opened", PageKind::Opened)]);
    assert_eq!(outbox.wake_at(), None, "only an end of an attempt helps");
}

fn failing(failures: u32, at: UtcTime) -> Breaker {
    Breaker { failures, since: at, failed_at: at }
}

#[test]
fn a_contact_that_fails_is_tried_by_one_page_at_a_time() {
    let mut outbox = leading();
    let mut incidents: Vec<Incident> =
        (0..4).map(|n| opened(&format!("i{n}"), &["a"], 0)).collect();
    outbox.standing("a", failing(BREAKER_FAILURES, at(0)));
    for incident in &incidents {
        outbox.put(incident, Origin::Applied);
    }
    outbox.put(&opened("other", &["b"], 0), Origin::Applied);
    // Others go, and of these the first, once its time has come.
    assert_eq!(sends(&mut outbox, 10), [page("other:b:opened", PageKind::Opened)]);
    assert_eq!(outbox.wake_at(), Some(at(30)));
    assert!(sends(&mut outbox, 29).is_empty());
    assert_eq!(sends(&mut outbox, 30), [page("i0:a:opened", PageKind::Opened)]);
    assert_eq!((sends(&mut outbox, 40), outbox.wake_at()), (vec![], None));
    // Its end counts at once, also while it is not in the state yet.
    outbox.finished("i0:a:opened", status(404), at(45), 0.0);
    assert!(sends(&mut outbox, 74).is_empty());
    settle(&mut outbox, &mut incidents[0], at(45));
    outbox.standing("a", failing(BREAKER_FAILURES + 1, at(44)));
    assert_eq!(outbox.wake_at(), Some(at(75)));
    // It had an answer, and waits for as long as that says: the next.
    assert_eq!(sends(&mut outbox, 75), [page("i1:a:opened", PageKind::Opened)]);
    outbox.finished("i1:a:opened", ok(), at(76), 0.0);
    // One that is taken lets all of them go, in order.
    outbox.standing("a", Breaker::default());
    settle(&mut outbox, &mut incidents[1], at(76));
    assert_eq!(sends(&mut outbox, 76), [page("i2:a:opened", PageKind::Opened)]);
    assert_eq!(outbox.wake_at(), None);
    outbox.finished("i2:a:opened", ok(), at(77), 0.0);
    assert_eq!(sends(&mut outbox, 77), [page("i3:a:opened", PageKind::Opened)]);
}

#[test]
fn what_waits_for_a_contact_that_fails_is_given_up_when_its_time_is_over() {
    let dead_at = 72 * 3_600;
    let mut outbox = leading();
    let mut incidents: Vec<Incident> =
        (0..3).map(|n| opened(&format!("i{n}"), &["a"], 0)).collect();
    incidents[1].deliveries[0].last_error = "HTTP status 503".into();
    incidents.push(opened("young", &["a"], 1));
    end(&mut incidents[2], 9);
    outbox.standing("a", failing(BREAKER_FAILURES, at(dead_at - 30)));
    for incident in &incidents {
        outbox.put(incident, Origin::Applied);
    }
    assert!(sends(&mut outbox, dead_at - 1).is_empty());
    assert!(outbox.drafts().is_empty(), "not before its time");
    assert_eq!(sends(&mut outbox, dead_at), [page("i0:a:opened", PageKind::Opened)]);
    let drafts = outbox.drafts();
    for update in &drafts {
        for incident in &mut incidents {
            intents::update(incident, update, at(dead_at));
        }
    }
    let found: Vec<String> = incidents.iter().map(states).collect();
    assert_eq!(
        found,
        ["opened pending", "opened dead", "opened dead, resolved dropped", "opened pending"]
    );
    let dead = &incidents[1].deliveries[0];
    assert_eq!((dead.attempts, dead.last_error.as_str()), (0, "HTTP status 503"));
    assert!(incidents[2].deliveries[0].last_error.starts_with("given up without an attempt"));
    for incident in &incidents[1..] {
        outbox.put(incident, Origin::Applied);
    }
    assert_eq!(outbox.depth(), (2, 1), "the one that tries, and the one that has time");
}

#[test]
fn who_waits_for_a_page_that_tries_is_not_taken_for_silent() {
    let waits = |breaker: Breaker, second: i64| {
        let mut outbox = leading();
        outbox.members(Members {
            leader: Some(ME),
            voters: [ME, OTHER].into(),
            heard: [ME, OTHER].into(),
        });
        outbox.standing("a", breaker);
        let mut incident = opened("i", &["a"], 0);
        incident.deliveries[0].claimed_by = OTHER;
        outbox.put(&incident, Origin::Applied);
        outbox.overdue(at(second));
        outbox.drafts().iter().filter(|draft| draft.claimed_by == ME).count()
    };
    assert_eq!(waits(Breaker::default(), 14), 0);
    assert_eq!(waits(Breaker::default(), 15), 1);
    let open = failing(BREAKER_FAILURES, at(0));
    assert_eq!(waits(open, 15), 0);
    assert_eq!(waits(open, 56), 0, "30 s to the next, 12 s for it, 15 s of grace");
    assert_eq!(waits(open, 57), 1);
}

#[test]
fn hundreds_of_contacts_that_hang_delay_the_others_by_a_second() {
    let mut outbox = leading();
    for n in 0..PAGES_IN_FLIGHT_MAX {
        outbox.put(&opened(&format!("i{n:04}"), &[&format!("hangs{n:04}")], 0), Origin::Applied);
    }
    assert_eq!(outbox.ready(at(0)).len(), PAGES_IN_FLIGHT_MAX, "every place is taken");
    outbox.put(&opened("works", &["aaa"], 0), Origin::Applied);
    assert!(outbox.ready(at(0)).is_empty());
    // No attempt ends, and yet there is room.
    assert_eq!(outbox.wake_at(), Some(at(1)));
    assert_eq!(sends(&mut outbox, 1), [page("works:aaa:opened", PageKind::Opened)]);
}

#[test]
fn pages_in_flight_have_an_end_also_when_all_hang() {
    let mut outbox = leading();
    let most = PAGES_IN_FLIGHT_MAX + PAGES_SLOW_MAX;
    for n in 0..most + 10 {
        outbox.put(&opened(&format!("i{n:04}"), &[&format!("hangs{n:04}")], 0), Origin::Applied);
    }
    let mut sent = Vec::new();
    for second in 0..20 {
        sent.extend(outbox.ready(at(second)));
    }
    assert_eq!((sent.len(), outbox.depth().1), (most, most));
    assert_eq!(outbox.wake_at(), None, "only an end of an attempt helps");
    outbox.finished(&sent[0].key, ok(), at(20), 0.0);
    assert_eq!(outbox.ready(at(20)).len(), 1);
}

#[test]
fn many_contacts_that_hang_delay_nobody_else() {
    let mut outbox = leading();
    for incident in 0..20 {
        for contact in 0..40 {
            let contact = format!("hangs{contact:02}");
            outbox.put(
                &opened(&format!("i{incident:02}-{contact}"), &[&contact], 0),
                Origin::Applied,
            );
        }
    }
    let first = outbox.ready(at(0));
    assert_eq!(first.len(), PAGES_IN_FLIGHT_SHARED_MAX);
    let mut of: BTreeMap<&str, usize> = BTreeMap::new();
    first.iter().for_each(|send| *of.entry(&send.contact).or_default() += 1);
    assert_eq!(of.len(), 40, "nobody's second before everybody's first");
    assert!(of.values().all(|&count| count == 3 || count == 4), "{of:?}");
    assert_eq!(outbox.wake_at(), Some(at(1)), "when the first are slow");
    // A place that becomes free goes to the next in turn, not to the first by name.
    outbox.finished(&first[0].key, Report::NotSent("refused".into()), at(0), 0.0);
    let again = outbox.ready(at(0));
    assert_eq!(again.iter().map(|send| &send.contact).collect::<Vec<_>>(), ["hangs08"]);
    // Whoever has nothing in flight is served at once, wherever it stands.
    for contact in ["a", "z"] {
        outbox.put(&opened(contact, &[contact], 0), Origin::Applied);
        assert_eq!(outbox.wake_at(), Some(at(0)));
        assert_eq!(sends(&mut outbox, 0).len(), 1);
        assert_eq!(outbox.wake_at(), Some(at(1)));
    }
}

#[test]
fn a_result_that_was_not_committed_is_proposed_again_and_not_sent_again() {
    let mut incident = opened("i", &["a"], 0);
    let mut outbox = leading();
    outbox.put(&incident, Origin::Applied);
    outbox.ready(at(0));
    outbox.finished("i:a:opened", ok(), at(0), 0.0);
    let first = outbox.drafts();
    outbox.lost(&first[0]);
    assert!(outbox.ready(at(100)).is_empty());
    assert_eq!(outbox.drafts(), first);
    // Whoever leads: what is found out is said.
    outbox.lost(&first[0]);
    outbox.lead(false);
    assert_eq!(outbox.drafts(), first);
    intents::update(&mut incident, &first[0], at(101));
    outbox.put(&incident, Origin::Applied);
    assert_eq!(outbox.depth(), (0, 0));
}

#[test]
fn intents_are_written_once() {
    let mut incident = opened("i", &["a", "a"], 0);
    intents::open(&mut incident, &[contact("a")], ME, at(0));
    end(&mut incident, 1);
    end(&mut incident, 1);
    assert_eq!(states(&incident), "opened pending, resolved pending");
    let update = PageUpdate {
        idempotency_key: "i:a:opened".into(),
        state: DeliveryState::Sent.into(),
        attempts: 1,
        sent_by: ME,
        ..Default::default()
    };
    assert!(intents::update(&mut incident, &update, at(2)));
    let after = incident.clone();
    assert!(!intents::update(&mut incident, &update, at(3)), "twice is once");
    assert_eq!(incident, after);
}

#[test]
fn the_timeline_keeps_its_first_event_and_counts_what_it_drops() {
    let mut incident = opened("i", &[], 0);
    timeline::push(&mut incident, at(0), Event::Opened(parallax_proto::v1::Opened {}));
    for n in 0..200 {
        let ack = parallax_proto::v1::Acknowledged { by: n.to_string(), note: String::new() };
        timeline::push(&mut incident, at(n), Event::Acknowledged(ack));
    }
    assert_eq!(incident.timeline.len(), parallax_common::limits::TIMELINE_MAX);
    assert_eq!(incident.timeline_dropped, 73);
    assert!(matches!(incident.timeline[0].event, Some(Event::Opened(_))));
}

/// An incident that a route with a second step and reminders took.
fn routed(seconds: i64) -> Incident {
    let contacts = [contact("a"), contact("b")];
    let step = |after: i64, uids: &[&str]| parallax_proto::v1::RoutedStep {
        after: Some(prost_types::Duration { seconds: after, nanos: 0 }),
        contacts: uids.iter().map(|uid| (*uid).to_owned()).collect(),
        ..Default::default()
    };
    let mut incident = Incident {
        uid: "i".into(),
        opened_at: Some(stamp::timestamp(at(seconds))),
        routed: vec![parallax_proto::v1::Routed {
            route: "r".into(),
            steps: vec![step(0, &["a"]), step(60, &["b"])],
            ..Default::default()
        }],
        ..Default::default()
    };
    steps::step(&mut incident, 0, &contacts[..1], ME, at(seconds));
    incident
}

#[test]
fn an_escalation_that_still_waits_at_the_end_is_one_message_and_its_contact_hears_no_more() {
    let mut incident = routed(0);
    let mut outbox = leading();
    outbox.put(&incident, Origin::Applied);
    attempt(&mut outbox, &mut incident, 0, ok());
    steps::step(&mut incident, 0, &[contact("b")], ME, at(60));
    outbox.put(&incident, Origin::Applied);
    attempt(&mut outbox, &mut incident, 60, Report::NotSent("refused".into()));
    end(&mut incident, 61);
    outbox.put(&incident, Origin::Applied);
    assert_eq!(
        sends(&mut outbox, 70),
        [page("i:a:resolved", PageKind::Resolved), page("i:b:escalated/r/2", PageKind::Combined)]
    );
    outbox.finished("i:a:resolved", ok(), at(70), 0.0);
    outbox.finished("i:b:escalated/r/2", ok(), at(70), 0.0);
    settle(&mut outbox, &mut incident, at(70));
    assert_eq!(
        states(&incident),
        "opened sent, escalated/r/2 sent, resolved sent, resolved dropped"
    );
    assert_eq!(outbox.depth(), (0, 0));
}

#[test]
fn a_reminder_that_still_waits_at_the_end_gives_way_to_it() {
    let mut incident = routed(0);
    let mut outbox = leading();
    outbox.put(&incident, Origin::Applied);
    attempt(&mut outbox, &mut incident, 0, ok());
    steps::remind(&mut incident, 0, &[contact("a")], ME, at(60));
    outbox.put(&incident, Origin::Applied);
    attempt(&mut outbox, &mut incident, 60, status(503));
    end(&mut incident, 61);
    outbox.put(&incident, Origin::Applied);
    assert_eq!(sends(&mut outbox, 61), [page("i:a:resolved", PageKind::Resolved)]);
    outbox.finished("i:a:resolved", ok(), at(62), 0.0);
    settle(&mut outbox, &mut incident, at(62));
    assert_eq!(states(&incident), "opened sent, reminder/r/1 dropped, resolved sent");
    assert_eq!(outbox.depth(), (0, 0));
}

#[test]
fn a_reminder_in_flight_at_the_end_goes_before_it_and_brings_no_second_one() {
    let mut incident = routed(0);
    let mut outbox = leading();
    outbox.put(&incident, Origin::Applied);
    attempt(&mut outbox, &mut incident, 0, ok());
    steps::remind(&mut incident, 0, &[contact("a")], ME, at(60));
    outbox.put(&incident, Origin::Applied);
    assert_eq!(sends(&mut outbox, 60).len(), 1);
    incident.resolved_at = Some(stamp::timestamp(at(61)));
    intents::resolve(&mut incident, OTHER, at(61));
    outbox.put(&incident, Origin::Applied);
    assert!(sends(&mut outbox, 61).is_empty(), "not while it is in flight");
    outbox.finished("i:a:reminder/r/1", ok(), at(62), 0.0);
    settle(&mut outbox, &mut incident, at(62));
    attempt(&mut outbox, &mut incident, 62, ok());
    assert_eq!(states(&incident), "opened sent, reminder/r/1 sent, resolved sent");
}

#[test]
fn a_reminder_in_doubt_is_followed_by_the_end_and_the_end_again() {
    let mut incident = routed(0);
    let mut outbox = leading();
    outbox.put(&incident, Origin::Applied);
    attempt(&mut outbox, &mut incident, 0, ok());
    steps::remind(&mut incident, 0, &[contact("a")], ME, at(60));
    outbox.put(&incident, Origin::Applied);
    attempt(&mut outbox, &mut incident, 60, Report::Ambiguous("no answer".into()));
    end(&mut incident, 61);
    outbox.put(&incident, Origin::Applied);
    let reminder = page("i:a:reminder/r/1", PageKind::Reminder);
    assert_eq!(sends(&mut outbox, 70), [reminder], "in doubt both are said");
    outbox.finished("i:a:reminder/r/1", ok(), at(70), 0.0);
    settle(&mut outbox, &mut incident, at(70));
    attempt(&mut outbox, &mut incident, 71, ok());
    attempt(&mut outbox, &mut incident, 200, ok());
    assert_eq!(
        states(&incident),
        "opened sent, reminder/r/1 sent, resolved sent, resolved/again sent"
    );
}

#[test]
fn a_reminder_that_is_given_up_leaves_the_end_to_who_knows_of_the_opening() {
    let mut incident = routed(0);
    let mut outbox = leading();
    outbox.put(&incident, Origin::Applied);
    attempt(&mut outbox, &mut incident, 0, ok());
    steps::remind(&mut incident, 0, &[contact("a")], ME, at(60));
    let dead = PageUpdate {
        idempotency_key: "i:a:reminder/r/1".into(),
        state: DeliveryState::Dead.into(),
        attempts: 1,
        sent_by: ME,
        ..Default::default()
    };
    intents::update(&mut incident, &dead, at(100));
    end(&mut incident, 101);
    assert_eq!(states(&incident), "opened sent, reminder/r/1 dead, resolved pending");
}
