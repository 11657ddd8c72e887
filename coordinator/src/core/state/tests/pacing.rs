//! Rates, failures in a row, fallbacks and what is kept of attempts. An entry is a second of stamped UTC.

use parallax_common::limits::{ATTEMPTS_KEPT_FIRST, ATTEMPTS_KEPT_MAX, BREAKER_FAILURES};
use parallax_proto::store::AttemptEnd;
use parallax_proto::v1::timeline_event::Event;
use parallax_proto::v1::{AttemptResult, DeliveryState};

use super::*;
use crate::core::outbox::breaker::Breaker;
use crate::core::stamp;

/// A contact `ops`, and one `boss`, as `with` makes them.
fn with_contacts(with: impl Fn(&str, &mut v1::Contact)) -> Member {
    let mut member = configured();
    member.commit(vec![put(0, made(5, "boss", &|_, _| {}))]);
    for (uid, name) in [(2, "ops"), (5, "boss")] {
        let etag = member.etag(Kind::Contact, name);
        member.commit(vec![put(etag, made(uid, name, &with))]);
    }
    member
}

fn made(uid: u8, name: &str, with: &dyn Fn(&str, &mut v1::Contact)) -> v1::resource::Kind {
    let v1::resource::Kind::Contact(mut it) = contact(name) else { unreachable!() };
    it.meta = meta(uid, name);
    with(name, &mut it);
    v1::resource::Kind::Contact(it)
}

impl Member {
    fn opens(&mut self) -> String {
        let change = self.change(store::VerdictAction::Open);
        let uid = change.incident_uid.clone();
        assert_eq!(rule(&self.verdict(change)), "accepted");
        uid
    }

    fn resolves(&mut self) {
        let change = self.change(store::VerdictAction::Resolve);
        assert_eq!(rule(&self.verdict(change)), "accepted");
    }

    /// The pages of an incident: to whom, what, when in seconds (0: at once), in which state.
    fn told_pages(&self, uid: &str) -> Vec<String> {
        let pages = self.state.incidents[uid].deliveries.iter();
        let shown = |page: &v1::Delivery| {
            let at = stamp::utc(page.next_attempt_at.as_ref()).as_ns() / 1_000_000_000;
            let state = page.state().as_str_name().replace("DELIVERY_STATE_", "").to_lowercase();
            let what = page.idempotency_key.rsplit(':').next().unwrap_or_default();
            format!("{} {what} {at} {state}", page.contact_name)
        };
        pages.map(shown).collect()
    }

    fn reports(&mut self, key: &str, attempts: u32, state: DeliveryState, end: AttemptEnd) {
        let update = store::PageUpdate {
            idempotency_key: key.to_owned(),
            state: state.into(),
            attempts,
            end: end.into(),
            error: format!("error {attempts} {}", "x".repeat(400)),
            sent_by: 1,
            ..store::PageUpdate::default()
        };
        self.apply(Command::UpdatePages(store::UpdatePages { updates: vec![update] }));
    }

    fn key(&self, incident: &str) -> String {
        self.state.incidents[incident].deliveries[0].idempotency_key.clone()
    }

    fn ops(&self) -> Breaker {
        Breaker::of(&self.state.contacts[&Uid::from_bytes([2; 16]).to_string()])
    }
}

#[test]
fn pages_to_a_contact_with_a_rate_have_their_turns_in_order_over_a_restart() {
    let mut member = with_contacts(|_, contact| contact.rate = "1/m".to_owned());
    member.at_second(100);
    let first = member.opens();
    assert_eq!(member.told_pages(&first), ["ops opened 0 pending"]);
    assert!(member.state.incidents[&first].deliveries[0].paced);
    member.resolves();
    assert_eq!(member.told_pages(&first)[1], "ops resolved 160 pending");
    member.reopen();
    let second = member.opens();
    assert_eq!(member.told_pages(&second), ["ops opened 220 pending"]);
    let waits = &member.state.incidents[&second].deliveries[0];
    assert_eq!(waits.waiting_since, waits.next_attempt_at, "nobody is late before");
    // It is told, and another edit of the contact gives nothing back.
    let ops = Uid::from_bytes([2; 16]).to_string();
    let standing = member.state.standings([ops]).pop().unwrap();
    let until = stamp::utc(standing.paced_until.as_ref()).as_ns() / 1_000_000_000;
    assert_eq!((standing.waiting, until), (3, 220));
    let etag = member.etag(Kind::Contact, "ops");
    member.commit(vec![put(etag, made(2, "ops", &|_, it| it.rate = "1/m".to_owned()))]);
    member.resolves();
    assert_eq!(member.told_pages(&second)[1], "ops resolved 280 pending");
    // What an entry changes later takes no second turn.
    member.reports(&member.key(&second), 1, DeliveryState::Sent, AttemptEnd::Answered);
    assert_eq!(member.told_pages(&second)[1], "ops resolved 280 pending");
}

#[test]
fn with_another_rate_what_waits_has_new_turns_and_without_one_none() {
    let mut member = with_contacts(|_, contact| contact.rate = "1/h".to_owned());
    member.at_second(100);
    let first = member.opens();
    member.resolves();
    let second = member.opens();
    assert_eq!(member.told_pages(&first)[1], "ops resolved 3700 pending");
    assert_eq!(member.told_pages(&second), ["ops opened 7300 pending"]);
    let ops = Uid::from_bytes([2; 16]).to_string();
    let with = |member: &mut Member, rate: &str| {
        let etag = member.etag(Kind::Contact, "ops");
        let change = made(2, "ops", &|_, it| it.rate = rate.to_owned());
        assert_eq!(rule(&member.commit(vec![put(etag, change)])), "accepted");
        let told = |uid: &String| {
            let is_told = |it: &Changed| matches!(it, Changed::Delivery(_, told) if told == uid);
            member.changed.iter().any(is_told)
        };
        [told(&first), told(&second)]
    };
    assert_eq!(with(&mut member, "1/m"), [true, true], "whoever sends them hears of it");
    let soon = member.index + 60;
    let uids = [&first, &second].map(Clone::clone);
    let shown = |member: &Member| {
        let pages = uids.iter().flat_map(|uid| member.told_pages(uid));
        pages.collect::<Vec<_>>()
    };
    let pending = |at: u64| format!("ops opened {at} pending");
    let pages = ["ops opened 0 pending", "ops resolved 0 pending", &pending(soon)];
    assert_eq!(shown(&member), pages);
    let head = &member.state.incidents[&first].deliveries[1];
    assert_eq!(stamp::utc(head.waiting_since.as_ref()).as_ns(), (soon as i64 - 60) * 1_000_000_000);
    assert_eq!(with(&mut member, "1/m"), [false, false]);
    assert_eq!(shown(&member), pages, "the same rate gives nothing back");
    member.reopen();
    assert_eq!(with(&mut member, ""), [false, true], "what is due already is left alone");
    assert_eq!(shown(&member)[2], pending(0));
    assert!(!member.state.incidents[&second].deliveries[0].paced);
    assert_eq!(member.state.contacts[&ops].paced_until_utc_ns, 0);
}

#[test]
fn an_end_that_is_said_again_later_takes_no_turn_of_others() {
    let mut member = with_contacts(|_, contact| contact.rate = "10/m".to_owned());
    member.at_second(100);
    let uid = member.opens();
    let update = store::PageUpdate {
        idempotency_key: member.key(&uid),
        state: DeliveryState::Sent.into(),
        attempts: 1,
        ambiguous: true,
        sent_by: 1,
        ..store::PageUpdate::default()
    };
    member.apply(Command::UpdatePages(store::UpdatePages { updates: vec![update] }));
    member.resolves();
    let end = member.state.incidents[&uid].deliveries[1].idempotency_key.clone();
    member.reports(&end, 1, DeliveryState::Sent, AttemptEnd::Answered);
    let again = format!("ops resolved/again {} pending", member.index + 60);
    assert_eq!(member.told_pages(&uid)[2], again);
    assert!(member.state.incidents[&uid].deliveries[2].paced);
    let next = member.opens();
    assert_eq!(member.told_pages(&next), ["ops opened 0 pending"]);
    // With another rate it keeps its minute.
    let etag = member.etag(Kind::Contact, "ops");
    member.commit(vec![put(etag, made(2, "ops", &|_, it| it.rate = "9/m".to_owned()))]);
    assert_eq!(member.told_pages(&uid)[2], again);
}

#[test]
fn a_contact_without_a_rate_has_no_turns() {
    let mut member = with_contacts(|_, _| {});
    let uid = member.opens();
    let page = &member.state.incidents[&uid].deliveries[0];
    assert!(!page.paced && page.next_attempt_at.is_none());
}

#[test]
fn failures_in_a_row_are_counted_over_incidents_until_one_is_taken_or_the_contact_changes() {
    let mut member = with_contacts(|_, _| {});
    for count in 1..=BREAKER_FAILURES {
        let uid = member.opens();
        member.reports(&member.key(&uid), 1, DeliveryState::Pending, AttemptEnd::Answered);
        // Once, however often it is reported.
        member.reports(&member.key(&uid), 1, DeliveryState::Pending, AttemptEnd::Answered);
        assert_eq!((member.ops().failures, member.ops().is_open()), (count, count == 5));
        member.resolves();
    }
    member.reopen();
    assert_eq!(member.state.contacts_failing(), 1);
    let mut taken = member.state.clone();
    let uid = member.opens();
    member.reports(&member.key(&uid), 1, DeliveryState::Sent, AttemptEnd::Answered);
    assert_eq!((member.ops(), member.state.contacts_failing()), (Breaker::default(), 0));
    std::mem::swap(&mut taken, &mut member.state);
    assert!(member.ops().is_open());
    let etag = member.etag(Kind::Contact, "ops");
    let change = made(2, "ops", &|_, it| it.rate = "9/m".to_owned());
    let resource = v1::Resource { kind: Some(change) };
    let put = store::config_change::Change::Put(resource);
    let change = store::ConfigChange { base_etag: etag, change: Some(put), force: false };
    let before = member.stored.clone();
    member.stored = member.state.to_rows().into_iter().map(|row| (row.key, row.value)).collect();
    assert_eq!(rule(&member.commit(vec![change])), "accepted");
    assert_eq!(member.ops(), Breaker::default(), "somebody may have mended it");
    drop(before);
}

#[test]
fn below_the_level_nothing_of_it_is_kept() {
    let mut member = with_contacts(|_, _| {});
    member.state.cluster.level = MAIL_LEVEL - 1;
    let uid = member.opens();
    member.reports(&member.key(&uid), 1, DeliveryState::Pending, AttemptEnd::Answered);
    assert_eq!(member.ops().failures, 0);
    assert!(member.state.incidents[&uid].deliveries[0].history.is_empty());
}

#[test]
fn the_first_attempts_of_a_page_and_the_last_are_kept_with_their_ends() {
    let mut member = with_contacts(|_, _| {});
    let uid = member.opens();
    let key = member.key(&uid);
    let ends = [AttemptEnd::NotSent, AttemptEnd::Unanswered, AttemptEnd::Answered];
    for attempt in 1..=30 {
        member.reports(&key, attempt, DeliveryState::Pending, ends[attempt as usize % 3]);
    }
    member.reports(&key, 31, DeliveryState::Sent, AttemptEnd::Answered);
    let history = &member.state.incidents[&uid].deliveries[0].history;
    assert_eq!(history.len(), ATTEMPTS_KEPT_MAX);
    let numbers: Vec<u32> = history.iter().map(|attempt| attempt.number).collect();
    let first: Vec<u32> = (1..).take(ATTEMPTS_KEPT_FIRST).collect();
    assert_eq!(numbers[..ATTEMPTS_KEPT_FIRST], first);
    assert_eq!(numbers[ATTEMPTS_KEPT_FIRST..], (20..=31).collect::<Vec<u32>>());
    let results: Vec<AttemptResult> = history[..3].iter().map(|it| it.result()).collect();
    use AttemptResult::{NotSent, Refused, Taken, Unanswered};
    assert_eq!(results, [Unanswered, Refused, NotSent]);
    assert_eq!(history.last().unwrap().result(), Taken);
    assert!(history.iter().all(|it| it.error.len() <= 160 && it.by == 1 && it.at.is_some()));
}

#[test]
fn when_a_page_is_given_up_the_fallback_is_told() {
    let fall = |name: &str, contact: &mut v1::Contact| {
        if name == "ops" {
            contact.fallback = "boss".to_owned();
        }
    };
    let mut member = with_contacts(fall);
    let uid = member.opens();
    let key = member.key(&uid);
    member.reports(&key, 1, DeliveryState::Dead, AttemptEnd::Answered);
    assert_eq!(member.told_pages(&uid), ["ops opened 0 dead", "boss opened 0 pending"]);
    let told =
        member.state.incidents[&uid].timeline.iter().filter_map(|event| match &event.event {
            Some(Event::PageFellBack(it)) => Some((it.contact.as_str(), it.to.as_str())),
            _ => None,
        });
    assert_eq!(told.collect::<Vec<_>>(), [("ops", "boss")]);
    // A start, and a report that comes late, change nothing; the end goes to who was told.
    member.reopen();
    member.reports(&key, 1, DeliveryState::Dead, AttemptEnd::Answered);
    member.resolves();
    let pages = ["ops opened 0 dead", "boss opened 0 pending", "boss resolved 0 pending"];
    assert_eq!(member.told_pages(&uid), pages);

    // An end that cannot be told is told elsewhere, with its beginning.
    let mut member = with_contacts(fall);
    let uid = member.opens();
    member.reports(&member.key(&uid), 1, DeliveryState::Sent, AttemptEnd::Answered);
    member.resolves();
    let end = member.state.incidents[&uid].deliveries[1].idempotency_key.clone();
    member.reports(&end, 1, DeliveryState::Dead, AttemptEnd::Answered);
    let pages = [
        "ops opened 0 sent",
        "ops resolved 0 dead",
        "boss opened 0 pending",
        "boss resolved 0 pending",
    ];
    assert_eq!(member.told_pages(&uid), pages);

    // Somebody who was deleted with force is nobody to tell.
    let mut member = with_contacts(fall);
    let uid = member.opens();
    let boss = member.etag(Kind::Contact, "boss");
    assert_eq!(rule(&member.commit(vec![delete(boss, "contact", "boss", false)])), "in_use");
    member.commit(vec![delete(boss, "contact", "boss", true)]);
    member.reports(&member.key(&uid), 1, DeliveryState::Dead, AttemptEnd::Answered);
    assert_eq!(member.told_pages(&uid), ["ops opened 0 dead"]);
}

#[test]
fn a_fallback_is_not_woken_for_what_is_quiet_seen_to_or_said_already() {
    let fall = |name: &str, contact: &mut v1::Contact| {
        if name == "ops" {
            contact.fallback = "boss".to_owned();
        }
    };
    // Quiet since it was told: once that is over, and only then.
    let mut member = with_contacts(fall);
    let uid = member.opens();
    member.apply(Command::AddSilence(super::quiet::silence("s", 3_600)));
    member.reports(&member.key(&uid), 1, DeliveryState::Dead, AttemptEnd::Answered);
    assert_eq!(member.told_pages(&uid), ["ops opened 0 dead", "boss opened 0 held"]);
    let mut ended = member.state.clone();
    member.apply(super::quiet::expire("s"));
    assert_eq!(member.told_pages(&uid)[1], "boss opened 0 pending");
    std::mem::swap(&mut ended, &mut member.state);
    member.stored = member.state.to_rows().into_iter().map(|row| (row.key, row.value)).collect();
    member.resolves();
    assert_eq!(member.told_pages(&uid), ["ops opened 0 dead", "boss opened 0 dropped"]);

    // Somebody sees to it.
    let mut member = with_contacts(fall);
    let uid = member.opens();
    let seen = store::AckIncident { uid: uid.clone(), by: "anna".into(), ..Default::default() };
    assert_eq!(rule(&member.apply(Command::AckIncident(seen))), "accepted");
    member.reports(&member.key(&uid), 1, DeliveryState::Dead, AttemptEnd::Answered);
    assert_eq!(member.told_pages(&uid), ["ops opened 0 dead"]);

    // The end was said, and could only not be said again.
    let mut member = with_contacts(fall);
    let uid = member.opens();
    let update = store::PageUpdate {
        idempotency_key: member.key(&uid),
        state: DeliveryState::Sent.into(),
        attempts: 1,
        ambiguous: true,
        sent_by: 1,
        ..store::PageUpdate::default()
    };
    member.apply(Command::UpdatePages(store::UpdatePages { updates: vec![update] }));
    member.resolves();
    let key = |member: &Member, at: usize| {
        member.state.incidents[&uid].deliveries[at].idempotency_key.clone()
    };
    member.reports(&key(&member, 1), 1, DeliveryState::Sent, AttemptEnd::Answered);
    let again = key(&member, 2);
    assert!(again.ends_with("resolved/again"), "{again}");
    member.reports(&again, 1, DeliveryState::Dead, AttemptEnd::Answered);
    assert_eq!(member.told_pages(&uid).len(), 3);
}

#[test]
fn a_contact_goes_together_with_its_fallback_in_any_order() {
    let fall = |it: &mut v1::Contact, to: &str| it.fallback = to.to_owned();
    for order in [["amy", "zoe"], ["zoe", "amy"]] {
        let mut member = with_contacts(|_, _| {});
        member.commit(vec![
            put(0, made(6, "amy", &|_, it| fall(it, "zoe"))),
            put(0, made(7, "zoe", &|_, _| {})),
        ]);
        let gone = |member: &Member, name: &str| {
            delete(member.etag(Kind::Contact, name), "contact", name, false)
        };
        let alone = vec![gone(&member, "zoe")];
        assert_eq!(rule(&member.commit(alone)), "in_use");
        let both = order.map(|name| gone(&member, name)).to_vec();
        assert_eq!(rule(&member.commit(both)), "accepted", "{order:?}");
    }
}

#[test]
fn two_commits_that_race_make_no_ring_and_name_nobody_who_is_gone() {
    let fall = |to: &'static str| move |_: &str, it: &mut v1::Contact| it.fallback = to.to_owned();
    let mut member = with_contacts(|_, _| {});
    let ops = member.etag(Kind::Contact, "ops");
    let boss = member.etag(Kind::Contact, "boss");
    assert_eq!(rule(&member.commit(vec![put(ops, made(2, "ops", &fall("boss")))])), "accepted");
    let answer = member.commit(vec![put(boss, made(5, "boss", &fall("ops")))]);
    assert_eq!(rule(&answer), "fallback_cycle");
    let answer = member.commit(vec![put(boss, made(5, "boss", &fall("nobody")))]);
    assert_eq!(rule(&answer), "unknown_contact");
}

impl Member {
    /// The entry at this second of stamped UTC is the next.
    pub(super) fn at_second(&mut self, second: u64) {
        self.index = second - 1;
    }
}
