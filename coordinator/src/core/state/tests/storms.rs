//! Openings that are told together: which, when, and that each end is told. An entry is a second of
//! stamped UTC.

use parallax_proto::v1::{DeliveryState, PageKind};

use super::*;
use crate::core::explain;
use crate::core::outbox::{Origin, Outbox};
use crate::core::stamp;
use crate::notify::body;

/// A member with so many checks that tell `ops`, and a storm after the third opening in half a minute.
fn many_checks(checks: usize, over: u32) -> Member {
    let mut member = Member::new();
    let rule = v1::StormRule { over, within: seconds(30) };
    let meta = Some(v1::Meta { name: SettingsName::NAME.into(), ..meta(8, "x").unwrap() });
    let settings = v1::Settings { meta, storm: Some(rule), ..v1::Settings::default() };
    let mut changes = vec![
        put(0, region("eu")),
        put(0, contact("ops")),
        put(0, v1::resource::Kind::Settings(settings)),
    ];
    for n in 0..checks {
        let mut made = check(&name(n), 1);
        made.meta = super::meta(100 + u8::try_from(n).unwrap(), &name(n));
        changes.push(put(0, wanted(made)));
    }
    assert_eq!(rule_of(&member.commit(changes)), "accepted");
    member
}

/// A member whose `ops` is told of a storm, whose uid it gives.
pub(super) fn storm_of(member: &mut Member, checks: usize) -> String {
    *member = many_checks(checks, 1);
    member.acts(0..checks, store::VerdictAction::Open);
    member.storm().uid.clone()
}

fn rule_of(answer: &Answer) -> &str {
    rule(answer)
}

fn name(n: usize) -> String {
    format!("web-{n}")
}

fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

impl Member {
    /// Changes the verdicts of these checks in one entry.
    fn acts(&mut self, checks: impl IntoIterator<Item = usize>, action: store::VerdictAction) {
        let changes = checks.into_iter().map(|n| {
            let check = &self.state.check_named("default", &name(n)).unwrap().check;
            let verdict = self.state.verdicts.get(&check.uid);
            store::VerdictChange {
                check_uid: check.uid.to_string(),
                etag: check.etag,
                run_digest: check.run_digest.0,
                expected_sequence: verdict.map_or(0, |v| v.sequence),
                incident_uid: format!("of-{}-{}", name(n), self.index),
                ..self.change_of(action)
            }
        });
        let changes = store::ChangeVerdicts { changes: changes.collect(), node_id: 1 };
        assert_eq!(rule(&self.apply(Command::ChangeVerdicts(changes))), "accepted");
    }

    fn change_of(&self, action: store::VerdictAction) -> store::VerdictChange {
        let verdict = match action {
            store::VerdictAction::Resolve => v1::Verdict::Up,
            _ => v1::Verdict::Down,
        };
        let rule = Some(v1::Rule { regions: 1, down_at: 1, up_at: 1, ..v1::Rule::default() });
        let failing = u32::from(verdict == v1::Verdict::Down);
        let record =
            v1::DecisionRecord { verdict: verdict.into(), failing, rule, ..Default::default() };
        store::VerdictChange { record: Some(record), action: action.into(), ..Default::default() }
    }

    fn storms(&self) -> Vec<&v1::Incident> {
        let mut all: Vec<&v1::Incident> = self
            .state
            .incidents
            .values()
            .map(AsRef::as_ref)
            .filter(|it| it.storm.is_some())
            .collect();
        all.sort_by_key(|it| it.opened_revision);
        all
    }

    fn storm(&self) -> &v1::Incident {
        self.storms().last().copied().expect("a storm")
    }

    fn review(&mut self) {
        self.apply(Command::ReviewHeld(store::ReviewHeld { node_id: 1 }));
    }

    /// Says that all that waits was taken.
    fn send_all(&mut self) {
        let waiting: Vec<String> = self.state.pending.iter().map(|(key, _)| key.clone()).collect();
        let updates = waiting.into_iter().map(|key| store::PageUpdate {
            idempotency_key: key,
            state: DeliveryState::Sent.into(),
            attempts: 1,
            end: store::AttemptEnd::Answered.into(),
            sent_by: 1,
            ..store::PageUpdate::default()
        });
        self.apply(Command::UpdatePages(store::UpdatePages { updates: updates.collect() }));
    }

    /// Who is told what of the check's newest incident.
    fn told_of(&self, n: usize) -> String {
        let all = self.state.incidents.values().filter(|it| it.check_name == name(n));
        let newest = all.max_by_key(|it| it.opened_revision).expect("an incident");
        lines(newest)
    }

    fn waiting_pages(&self) -> Vec<String> {
        let waiting = self.state.pending.iter();
        waiting.map(|(key, _)| key.rsplit(':').next().unwrap_or_default().to_owned()).collect()
    }
}

fn lines(incident: &v1::Incident) -> String {
    let line = |page: &v1::Delivery| {
        let state = page.state().as_str_name().replace("DELIVERY_STATE_", "").to_lowercase();
        let what = page.idempotency_key.rsplit(':').next().unwrap_or_default();
        let apart = if page.storm_uid.is_empty() { "" } else { " in a storm" };
        format!("{} {what} {state}{apart}", page.contact_name)
    };
    incident.deliveries.iter().map(line).collect::<Vec<_>>().join(", ")
}

#[test]
fn the_first_pages_go_out_at_once_and_the_others_are_one_that_lists_them() {
    let mut member = many_checks(9, 3);
    member.at_second(100);
    member.acts(0..6, store::VerdictAction::Open);
    for n in 0..3 {
        assert_eq!(member.told_of(n), "ops opened pending", "{n}");
    }
    for n in 3..6 {
        assert_eq!(member.told_of(n), "ops opened dropped in a storm", "{n}");
    }
    member.acts([6], store::VerdictAction::Open);
    assert_eq!(lines(member.storm()), "ops opened held");
    member.reopen();
    // Nothing goes out before it has gathered, and then one page.
    member.review();
    assert_eq!(member.waiting_pages(), ["opened", "opened", "opened"]);
    assert_eq!(member.state.review_at().map(UtcTime::as_ns), Some(130_000_000_000));
    member.at_second(130);
    member.review();
    let storm = member.storm().clone();
    assert_eq!(lines(&storm), "ops opened pending");
    assert_eq!(storm.deliveries[0].created_at, Some(stamp::timestamp(at(130))));
    let key = &storm.deliveries[0].idempotency_key;
    let page = body::page(&storm, PageKind::Opened, key, "prod");
    assert_eq!(page.summary, "4 checks are down: web-3, web-4, web-5 and 1 more");
    let text = page.sentences.join(" ");
    assert!(text.contains("They are web-3, web-4, web-5 and web-6."), "{text}");
    assert!(text.contains("more than 3 checks opened within 30s; 3 were told before."), "{text}");
    let listed = page.storm.expect("a list").incidents;
    assert_eq!(listed.len(), 4);
    // Each one's record says where its page went.
    let of_five = member.state.incidents.values().find(|it| it.check_name == "web-5").unwrap();
    let said = explain::incident(of_five).join(" ");
    let expected = format!(
        "ops is told of the opening and of the end together with others, in {}.",
        storm.uid
    );
    assert!(said.contains(&expected), "{said}");
    let gathered = of_five.timeline.iter().any(|event| {
        matches!(&event.event, Some(v1::timeline_event::Event::StormGathered(it))
            if it.storm_uid == storm.uid && it.contact == "ops")
    });
    assert!(gathered, "{:?}", of_five.timeline);
}

#[test]
fn with_the_rule_off_or_below_the_level_every_page_goes_out_by_itself() {
    let mut off = many_checks(20, 0);
    off.acts(0..20, store::VerdictAction::Open);
    assert_eq!((off.storms().len(), off.waiting_pages().len()), (0, 20));
    let mut below = many_checks(20, 3);
    below.state.cluster.level = STORM_LEVEL - 1;
    let changes = 0..20;
    for n in changes {
        below.acts([n], store::VerdictAction::Open);
    }
    assert_eq!((below.storms().len(), below.waiting_pages().len()), (0, 20));
}

#[test]
fn where_nobody_says_so_the_usual_rule_holds() {
    let mut member = many_checks(20, 0);
    let etag = member.etag(Kind::Settings, SettingsName::NAME);
    let meta = Some(v1::Meta { name: SettingsName::NAME.into(), ..meta(8, "x").unwrap() });
    let settings = v1::Settings { meta, ..v1::Settings::default() };
    member.commit(vec![put(etag, v1::resource::Kind::Settings(settings))]);
    member.acts(0..20, store::VerdictAction::Open);
    let storm = member.storm().storm.clone().unwrap();
    assert_eq!((member.waiting_pages().len(), storm.gathered, storm.over), (10, 10, 10));
}

#[test]
fn every_end_is_told_with_the_last_one() {
    let mut member = many_checks(6, 3);
    member.at_second(100);
    member.acts(0..6, store::VerdictAction::Open);
    member.at_second(130);
    member.review();
    member.send_all();
    member.acts(0..3, store::VerdictAction::Resolve);
    assert_eq!(member.waiting_pages(), ["resolved"; 3], "those that were told by themselves");
    member.send_all();
    member.acts(3..5, store::VerdictAction::Resolve);
    assert_eq!(member.waiting_pages(), [""; 0]);
    assert_eq!(member.told_of(3), "ops opened dropped in a storm");
    // What goes on meanwhile is told after a while: once for both.
    let tell_at = member.state.escalate_at().expect("something to tell");
    member.at_second(u64::try_from(tell_at.as_ns()).unwrap() / 1_000_000_000);
    member.apply(Command::Escalate(store::Escalate { node_id: 1 }));
    assert_eq!(member.waiting_pages(), ["storm/2"]);
    let storm = member.storm().clone();
    let key = &storm.deliveries[1].idempotency_key;
    let page = body::page(&storm, PageKind::Reminder, key, "prod");
    assert_eq!(page.summary, "1 of 3 checks is down, 2 have recovered: web-5");
    assert!(page.sentences.join(" ").contains("Over: web-3 and web-4."), "{:?}", page.sentences);
    assert_eq!(member.state.escalate_at(), None);
    member.send_all();
    member.acts([5], store::VerdictAction::Resolve);
    let storm = member.storm().clone();
    assert!(storm.resolved_at.is_some());
    assert_eq!(lines(&storm), "ops opened sent, ops storm/2 sent, ops resolved pending");
    let key = &storm.deliveries[2].idempotency_key;
    let page = body::page(&storm, PageKind::Resolved, key, "prod");
    assert_eq!(page.summary, "all 3 checks have recovered");
    member.send_all();
    assert_eq!(member.waiting_pages(), [""; 0]);
}

#[test]
fn what_is_over_before_its_page_goes_out_is_one_message_that_says_both() {
    let mut member = many_checks(6, 3);
    member.at_second(100);
    member.acts(0..6, store::VerdictAction::Open);
    member.acts(3..6, store::VerdictAction::Resolve);
    let storm = member.storm();
    assert!(storm.resolved_at.is_none(), "it gathers still");
    member.at_second(130);
    member.review();
    let storm = member.storm().clone();
    assert_eq!(lines(&storm), "ops opened pending, ops resolved pending");
    let mut outbox = Outbox::new(1);
    outbox.put(&storm, Origin::Applied);
    let sends = outbox.ready(at(131));
    let said: Vec<PageKind> = sends.iter().map(|send| send.kind).collect();
    assert_eq!(said, [PageKind::Combined]);
    let page = body::page(&storm, PageKind::Combined, &sends[0].key, "prod");
    assert_eq!(page.summary, "all 3 checks have recovered");
    let text = page.sentences.join(" ");
    assert!(text.starts_with("A storm of 3 checks went on for 30 s, from "), "{text}");
    assert!(text.contains("Over: web-3, web-4 and web-5."), "{text}");
}

#[test]
fn what_opens_while_a_storm_goes_on_is_told_soon_and_by_itself_when_it_has_calmed_down() {
    let mut member = many_checks(8, 3);
    member.at_second(100);
    member.acts(0..5, store::VerdictAction::Open);
    member.at_second(130);
    member.review();
    member.send_all();
    member.acts(5..7, store::VerdictAction::Open);
    // Five within half a minute are gone; two are not many.
    assert_eq!(member.told_of(5), "ops opened pending");
    let mut member = many_checks(8, 1);
    member.at_second(100);
    member.acts(0..3, store::VerdictAction::Open);
    member.at_second(129);
    member.acts([3], store::VerdictAction::Open);
    member.at_second(130);
    member.review();
    member.send_all();
    member.acts([4], store::VerdictAction::Open);
    assert_eq!(member.told_of(4), "ops opened dropped in a storm");
    assert_eq!(member.storms().len(), 1);
    assert_eq!(member.state.escalate_at(), Some(at(162)));
    member.at_second(162);
    member.apply(Command::Escalate(store::Escalate { node_id: 1 }));
    let storm = member.storm().clone();
    let key = &storm.deliveries[1].idempotency_key;
    let page = body::page(&storm, PageKind::Reminder, key, "prod");
    assert_eq!(page.summary, "4 checks are down: web-1, web-2, web-3 and 1 more");
    // And the opening says what it said.
    let key = &storm.deliveries[0].idempotency_key;
    let page = body::page(&storm, PageKind::Opened, key, "prod");
    assert_eq!(page.summary, "3 checks are down: web-1, web-2 and web-3");
}

#[test]
fn a_silence_that_ends_lets_go_of_one_page_and_not_of_many() {
    let mut member = many_checks(9, 3);
    member.at_second(100);
    let silence = v1::Silence {
        uid: "s".into(),
        namespace: "default".into(),
        matchers: vec![v1::Matcher {
            key: "kind".into(),
            operator: v1::MatchOperator::Equal.into(),
            value: "down".into(),
        }],
        comment: "work".into(),
        ..v1::Silence::default()
    };
    let command = store::AddSilence { silence: Some(silence), length_ns: 60_000_000_000 };
    assert_eq!(rule(&member.apply(Command::AddSilence(command))), "accepted");
    member.acts(0..9, store::VerdictAction::Open);
    assert_eq!((member.storms().len(), member.waiting_pages().len()), (0, 0));
    member.at_second(160);
    member.review();
    assert_eq!(member.waiting_pages(), ["opened"; 3]);
    assert_eq!(member.storm().storm.as_ref().map(|it| it.gathered), Some(6));
}

#[test]
fn who_acknowledges_a_storm_acknowledges_what_it_tells_of() {
    let mut member = many_checks(6, 3);
    member.at_second(100);
    member.acts(0..6, store::VerdictAction::Open);
    let uid = member.storm().uid.clone();
    let ack = store::AckIncident { uid, by: "anna".into(), note: "on it".into() };
    assert_eq!(rule(&member.apply(Command::AckIncident(ack))), "accepted");
    let by = |n: usize| {
        let mut all = member.state.incidents.values();
        all.find(|it| it.check_name == name(n)).unwrap().acknowledged_by.clone()
    };
    assert_eq!([by(0), by(2), by(3), by(5)], ["", "", "anna", "anna"]);
}

#[test]
fn a_check_that_is_deleted_or_a_contact_that_is_leaves_no_storm_behind() {
    let mut member = many_checks(6, 3);
    member.at_second(100);
    member.acts(0..6, store::VerdictAction::Open);
    member.at_second(130);
    member.review();
    member.send_all();
    for n in 3..6 {
        let etag = member.etag(Kind::Check, &name(n));
        assert_eq!(rule(&member.commit(vec![delete(etag, "check", &name(n), false)])), "accepted");
    }
    assert!(member.storm().resolved_at.is_some());
    assert_eq!(member.waiting_pages(), ["resolved"]);
}

#[test]
fn an_edit_of_the_contact_forgets_neither_what_was_written_nor_its_storm() {
    let mut member = many_checks(6, 3);
    member.at_second(100);
    member.acts(0..4, store::VerdictAction::Open);
    let storm = member.storm().uid.clone();
    member.at_second(110);
    let etag = member.etag(Kind::Contact, "ops");
    assert_eq!(rule(&member.commit(vec![put(etag, contact("ops"))])), "accepted");
    member.acts(4..6, store::VerdictAction::Open);
    assert_eq!(member.storms().len(), 1);
    let gathered = member.storm().storm.as_ref().map(|it| it.gathered);
    assert_eq!((member.storm().uid.clone(), gathered), (storm, Some(3)));
}

#[test]
fn a_storm_that_grows_after_its_first_page_ends_under_the_same_name() {
    let mut member = labelled_checks(6, 1);
    member.at_second(100);
    member.acts(0..3, store::VerdictAction::Open);
    member.at_second(129);
    member.acts([3], store::VerdictAction::Open);
    member.at_second(130);
    member.review();
    member.send_all();
    let about = |member: &Member| {
        let storm = member.storm().clone();
        let (kind, page) = match storm.resolved_at {
            Some(_) => (PageKind::Resolved, storm.deliveries.last()),
            None => (PageKind::Opened, storm.deliveries.first()),
        };
        let key = &page.unwrap().idempotency_key;
        let page = body::page(&storm, kind, key, "prod");
        (page.labels, page.incident.severity)
    };
    let opening = about(&member);
    assert_eq!(opening.0.len(), 1, "{opening:?}");
    member.acts([4], store::VerdictAction::Open);
    assert_eq!(member.told_of(4), "ops opened dropped in a storm");
    member.reopen();
    assert_eq!(about(&member), opening, "in a later attempt");
    member.acts([0, 1, 2, 3, 4], store::VerdictAction::Resolve);
    assert!(member.storm().resolved_at.is_some());
    assert_eq!(about(&member), opening, "in the end");
}

#[test]
fn what_is_worse_than_a_storm_that_has_told_of_itself_is_not_hidden_in_it() {
    let mut member = labelled_checks(7, 2);
    member.at_second(100);
    member.acts(0..5, store::VerdictAction::Open);
    member.at_second(130);
    member.review();
    member.send_all();
    assert_eq!(member.storm().severity(), v1::Severity::Warning);
    // It has calmed down: what is critical goes out by itself, as anything would.
    member.at_second(200);
    member.acts([6], store::VerdictAction::Open);
    assert_eq!(member.told_of(6), "ops opened pending");
    // While openings come fast it is told together with others, and not as a warning.
    let mut member = labelled_checks(7, 2);
    member.at_second(100);
    member.acts(0..3, store::VerdictAction::Open);
    member.at_second(129);
    member.acts(3..5, store::VerdictAction::Open);
    member.at_second(130);
    member.review();
    member.send_all();
    member.acts([6], store::VerdictAction::Open);
    assert_eq!(member.told_of(6), "ops opened dropped in a storm");
    let severities = |member: &Member| -> Vec<v1::Severity> {
        member.storms().iter().map(|storm| storm.severity()).collect()
    };
    assert_eq!(severities(&member), [v1::Severity::Warning, v1::Severity::Critical]);
    // What is milder joins that one; and each storm ends with what it tells of.
    member.at_second(170);
    member.review();
    assert_eq!(member.storm().deliveries[0].state(), DeliveryState::Pending);
    member.send_all();
    member.acts(0..5, store::VerdictAction::Resolve);
    let open = |member: &Member| -> Vec<bool> {
        member.storms().iter().map(|storm| storm.resolved_at.is_none()).collect()
    };
    assert_eq!(open(&member), [false, true]);
    member.acts([6], store::VerdictAction::Resolve);
    assert_eq!(open(&member), [false, false]);
}

/// Many checks of one team that are warnings, but for the last one: another team's, and critical.
fn labelled_checks(checks: usize, over: u32) -> Member {
    let mut member = many_checks(checks, over);
    for n in 0..checks {
        let last = n + 1 == checks;
        let mut made = check(&name(n), 1);
        made.meta = super::meta(100 + u8::try_from(n).unwrap(), &name(n));
        let team = if last { "search" } else { "payments" };
        made.meta.as_mut().unwrap().labels.insert("team".into(), team.into());
        let severity = if last { v1::Severity::Critical } else { v1::Severity::Warning };
        made.severity = severity.into();
        let etag = member.etag(Kind::Check, &name(n));
        assert_eq!(rule(&member.commit(vec![put(etag, wanted(made))])), "accepted");
    }
    member
}

#[test]
fn a_storm_says_that_checks_have_recovered_only_when_they_have() {
    let mut member = many_checks(6, 3);
    member.at_second(100);
    member.acts(0..6, store::VerdictAction::Open);
    member.at_second(130);
    member.review();
    member.send_all();
    member.acts([3], store::VerdictAction::Resolve);
    let etag = member.etag(Kind::Check, &name(4));
    assert_eq!(rule(&member.commit(vec![delete(etag, "check", &name(4), false)])), "accepted");
    assert_eq!(
        explain::storm_summary(member.storm()),
        "1 of 3 checks is down, 2 have ended (1 paused or deleted): web-5"
    );
    member.reopen();
    member.acts([5], store::VerdictAction::Resolve);
    let storm = member.storm().clone();
    assert_eq!(explain::storm_summary(&storm), "all 3 incidents have ended (1 paused or deleted)");
    assert_eq!(storm.cause(), v1::ResolveCause::CheckDeleted);
    let said = explain::incident(&storm).join(" ");
    assert!(said.contains("It ended with the last of them."), "{said}");
}

#[test]
fn a_blip_of_many_that_wait_for_what_they_depend_on_is_one_message() {
    let mut member = many_checks(9, 3);
    let mut parent = check("dns", 1);
    parent.meta = super::meta(90, "dns");
    let mut changes = vec![put(0, wanted(parent))];
    for n in 0..9 {
        let mut made = check(&name(n), 1);
        made.meta = super::meta(100 + u8::try_from(n).unwrap(), &name(n));
        made.depends_on = vec!["dns".into()];
        changes.push(put(member.etag(Kind::Check, &name(n)), wanted(made)));
    }
    assert_eq!(rule(&member.commit(changes)), "accepted");
    member.at_second(100);
    member.acts(0..9, store::VerdictAction::Open);
    assert_eq!((member.storms().len(), member.waiting_pages().len()), (0, 0));
    member.at_second(103);
    member.acts(0..9, store::VerdictAction::Resolve);
    assert_eq!(member.waiting_pages().len(), 6, "an opening and an end of three of them");
    assert_eq!(member.told_of(5), "ops opened dropped in a storm, ops resolved dropped in a storm");
    member.reopen();
    member.at_second(133);
    member.review();
    member.send_all();
    let storm = member.storm();
    let of = storm.storm.clone().unwrap();
    let five = member.state.incidents.values().find(|it| it.check_name == "web-5").unwrap();
    let said = explain::incident(five).join(" ");
    assert!(said.contains("ops is told of the end there, too."), "{said}");
    assert_eq!((of.gathered, of.ended), (6, 6));
    assert_eq!(lines(storm), "ops opened sent, ops resolved sent");
    assert_eq!(member.state.open.len(), 0);
}

#[test]
fn who_acknowledges_a_storm_again_acknowledges_what_has_joined_since() {
    let mut member = many_checks(8, 1);
    member.at_second(100);
    member.acts(0..3, store::VerdictAction::Open);
    member.at_second(130);
    member.review();
    member.send_all();
    let uid = member.storm().uid.clone();
    let ack = |by: &str| {
        let (uid, by, note) = (uid.clone(), by.to_owned(), String::new());
        Command::AckIncident(store::AckIncident { uid, by, note })
    };
    let by = |member: &Member, n: usize| {
        let mut all = member.state.incidents.values();
        all.find(|it| it.check_name == name(n)).unwrap().acknowledged_by.clone()
    };
    assert_eq!(rule(&member.apply(ack("anna"))), "accepted");
    member.at_second(131);
    member.acts(3..5, store::VerdictAction::Open);
    assert_eq!(member.told_of(4), "ops opened dropped in a storm");
    assert_eq!([by(&member, 1), by(&member, 4)], ["anna", ""]);
    assert_eq!(rule(&member.apply(ack("ben"))), "accepted");
    assert_eq!([by(&member, 1), by(&member, 4)], ["anna", "ben"]);
    assert_eq!(member.storm().acknowledged_by, "anna");
}

#[test]
fn a_contact_that_is_deleted_leaves_no_storm_behind_while_it_gathers_or_later() {
    for sent in [false, true] {
        let mut member = many_checks(6, 3);
        member.at_second(100);
        member.acts(0..6, store::VerdictAction::Open);
        if sent {
            member.at_second(130);
            member.review();
            member.send_all();
        }
        let etag = member.etag(Kind::Contact, "ops");
        let answer = member.commit(vec![delete(etag, "contact", "ops", true)]);
        assert_eq!(rule(&answer), "accepted");
        member.reopen();
        member.at_second(140);
        member.review();
        member.acts(0..6, store::VerdictAction::Resolve);
        assert!(member.storm().resolved_at.is_some(), "sent: {sent}");
        let wanted =
            if sent { "ops opened sent, ops resolved pending" } else { "ops opened dropped" };
        assert_eq!(lines(member.storm()), wanted);
        member.send_all();
        assert_eq!((member.state.open.len(), member.waiting_pages().len()), (0, 0));
        assert_eq!((member.state.review_at(), member.state.escalate_at()), (None, None));
        member.reopen();
    }
}

#[test]
fn a_fallback_is_told_of_a_storm_at_once_and_as_its_last_page_said() {
    let mut member = many_checks(6, 3);
    let named = |uid: u8, name: &str, fallback: &str| match contact(name) {
        v1::resource::Kind::Contact(it) => {
            let fallback = fallback.to_owned();
            v1::resource::Kind::Contact(v1::Contact {
                meta: super::meta(uid, name),
                fallback,
                ..it
            })
        }
        other => other,
    };
    let etag = member.etag(Kind::Contact, "ops");
    let changes = vec![put(0, named(21, "boss", "")), put(etag, named(2, "ops", "boss"))];
    assert_eq!(rule(&member.commit(changes)), "accepted");
    member.at_second(100);
    member.acts(0..6, store::VerdictAction::Open);
    member.at_second(130);
    member.review();
    let matcher = v1::Matcher {
        key: "kind".into(),
        operator: v1::MatchOperator::Equal.into(),
        value: "storm".into(),
    };
    let silence = v1::Silence {
        uid: "s".into(),
        namespace: "default".into(),
        matchers: vec![matcher],
        ..v1::Silence::default()
    };
    let command = store::AddSilence { silence: Some(silence), length_ns: 60_000_000_000 };
    assert_eq!(rule(&member.apply(Command::AddSilence(command))), "accepted");
    let update = store::PageUpdate {
        idempotency_key: member.storm().deliveries[0].idempotency_key.clone(),
        state: DeliveryState::Dead.into(),
        attempts: 1,
        end: store::AttemptEnd::Answered.into(),
        sent_by: 1,
        ..store::PageUpdate::default()
    };
    member.apply(Command::UpdatePages(store::UpdatePages { updates: vec![update] }));
    let storm = member.storm();
    assert_eq!(lines(storm), "ops opened dead, boss opened pending");
    assert_eq!((storm.deliveries[1].number, &storm.held), (1, &None));
    assert_eq!(storm.storm.as_ref().map(|of| of.pages), Some(1));
}

#[test]
fn later_steps_and_reminders_of_routes_are_told_by_the_storms_of_whom_they_tell() {
    let mut member = many_checks(3, 1);
    let named = |uid: u8, name: &str| match contact(name) {
        v1::resource::Kind::Contact(it) => {
            v1::resource::Kind::Contact(v1::Contact { meta: super::meta(uid, name), ..it })
        }
        other => other,
    };
    let step = |after: i64, who: &str| {
        let alert = vec![who.to_owned()];
        v1::RouteStep { after: seconds(after), alert, hours: None }
    };
    let route = v1::Route {
        name: "all".into(),
        steps: vec![step(0, "ops"), step(600, "boss")],
        repeat: seconds(3_600),
        ..v1::Route::default()
    };
    let settings = v1::Settings {
        meta: Some(v1::Meta { name: SettingsName::NAME.into(), ..meta(8, "x").unwrap() }),
        storm: Some(v1::StormRule { over: 1, within: seconds(30) }),
        routes: vec![route],
        ..v1::Settings::default()
    };
    let etag = member.etag(Kind::Settings, SettingsName::NAME);
    let mut changes =
        vec![put(0, named(22, "boss")), put(etag, v1::resource::Kind::Settings(settings))];
    for n in 0..3 {
        let mut made = check(&name(n), 1);
        made.meta = super::meta(100 + u8::try_from(n).unwrap(), &name(n));
        made.alert.clear();
        changes.push(put(member.etag(Kind::Check, &name(n)), wanted(made)));
    }
    assert_eq!(rule(&member.commit(changes)), "accepted");
    let escalate = |member: &mut Member, second: i64| {
        assert_eq!(member.state.escalate_at(), Some(at(second)));
        member.at_second(u64::try_from(second).unwrap());
        member.apply(Command::Escalate(store::Escalate { node_id: 1 }));
        member.reopen();
    };
    member.at_second(100);
    member.acts(0..3, store::VerdictAction::Open);
    member.at_second(130);
    member.review();
    member.send_all();
    // The second step tells somebody new: the first by itself, the others in a storm of the boss's.
    escalate(&mut member, 700);
    assert!(member.told_of(0).contains("boss") && !member.told_of(0).contains("storm"));
    for n in 1..3 {
        let told = member.told_of(n);
        assert_eq!(told.matches("dropped in a storm").count(), 2, "{told}");
    }
    let gathered = |member: &Member| {
        let of = member.storms().into_iter().filter_map(|it| it.storm.as_ref());
        of.map(|of| (of.contact.clone(), of.gathered, of.pages)).collect::<Vec<_>>()
    };
    assert_eq!(gathered(&member), [("ops".into(), 2, 1), ("boss".into(), 2, 0)]);
    member.at_second(730);
    member.review();
    member.send_all();
    // A reminder of one that was told by itself, and none of those in storms: those tell it again.
    escalate(&mut member, 4_300);
    assert_eq!(member.waiting_pages().len(), 2, "ops and the boss");
    member.send_all();
    escalate(&mut member, 4_330);
    assert_eq!(member.waiting_pages(), ["storm/2"; 2]);
    member.send_all();
    member.acts(0..3, store::VerdictAction::Resolve);
    assert_eq!(member.waiting_pages(), ["resolved"; 4], "of one check and two storms");
    assert!(member.state.open.is_empty());
}

#[test]
fn what_has_waited_for_the_hours_of_a_route_is_told_together_when_they_begin() {
    let mut member = many_checks(3, 1);
    let time = v1::HoursTime { days: (1..=7).collect(), from_minute: 540, to_minute: 1_020 };
    let route = v1::Route {
        name: "desk".into(),
        steps: vec![v1::RouteStep { alert: vec!["ops".into()], ..v1::RouteStep::default() }],
        hours: Some(v1::Hours { zone: "UTC".into(), times: vec![time], outside: false }),
        wait: true,
        ..v1::Route::default()
    };
    let settings = v1::Settings {
        meta: Some(v1::Meta { name: SettingsName::NAME.into(), ..meta(8, "x").unwrap() }),
        storm: Some(v1::StormRule { over: 1, within: seconds(30) }),
        routes: vec![route],
        ..v1::Settings::default()
    };
    let etag = member.etag(Kind::Settings, SettingsName::NAME);
    let mut changes = vec![put(etag, v1::resource::Kind::Settings(settings))];
    for n in 0..3 {
        let mut made = check(&name(n), 1);
        made.meta = super::meta(100 + u8::try_from(n).unwrap(), &name(n));
        made.alert.clear();
        changes.push(put(member.etag(Kind::Check, &name(n)), wanted(made)));
    }
    assert_eq!(rule(&member.commit(changes)), "accepted");
    let rows = crate::core::hours::due(&member.state, member.state.last_utc());
    member.apply(Command::ScheduleHours(store::ScheduleHours { rows }));
    member.at_second(100);
    member.acts(0..3, store::VerdictAction::Open);
    assert!(member.waiting_pages().is_empty() && member.storms().is_empty());
    // Nine o'clock.
    assert_eq!(member.state.escalate_at(), Some(at(32_400)));
    member.at_second(32_400);
    member.apply(Command::Escalate(store::Escalate { node_id: 1 }));
    assert_eq!(member.waiting_pages(), ["opened"]);
    let gathered = member.storms().into_iter().filter_map(|it| it.storm.as_ref());
    assert_eq!(gathered.map(|of| of.gathered).collect::<Vec<_>>(), [2]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Whatever opens, ends and goes out when: in the end each opening was told by a page of its own or by
    /// a storm, its end by the same, and a storm has counted what it took in.
    #[test]
    fn nobody_is_left_without_an_end(
        steps in proptest::collection::vec((0_u8..12, 0_usize..8), 1..80),
        over in 1_u32..4,
    ) {
        let mut member = many_checks(8, over);
        let mut second = 100;
        for (step, check) in steps {
            second += 1;
            member.at_second(second);
            let uid = member.state.check_named("default", &name(check)).unwrap().check.uid;
            let open = member.state.open_incident_of(uid).is_some();
            match step {
                0..=4 if !open => member.acts([check], store::VerdictAction::Open),
                0..=6 if open => member.acts([check], store::VerdictAction::Resolve),
                7 => member.review(),
                8 => {
                    member.apply(Command::Escalate(store::Escalate { node_id: 1 }));
                }
                9 => member.send_all(),
                10 => second += 20,
                11 => member.reopen(),
                _ => {}
            }
        }
        let open = (0..8).filter(|n| {
            let uid = member.state.check_named("default", &name(*n)).unwrap().check.uid;
            member.state.open_incident_of(uid).is_some()
        });
        let open: Vec<usize> = open.collect();
        member.at_second(second + 1);
        member.acts(open, store::VerdictAction::Resolve);
        for round in 1..4 {
            member.at_second(second + round * 700);
            member.review();
            member.apply(Command::Escalate(store::Escalate { node_id: 1 }));
            member.send_all();
        }
        prop_assert!(member.state.open.is_empty() && member.state.pending.is_empty());
        let all = &member.state.incidents;
        let told = |incident: &v1::Incident, kind: PageKind| {
            let sent = |page: &v1::Delivery| page.kind() == kind && page.state() == DeliveryState::Sent;
            incident.deliveries.iter().any(sent)
        };
        for incident in all.values() {
            let page = &incident.deliveries[0];
            let teller = match page.storm_uid.as_str() {
                "" => incident.as_ref(),
                storm => all[storm].as_ref(),
            };
            prop_assert!(told(teller, PageKind::Opened), "{}", lines(teller));
            prop_assert!(told(teller, PageKind::Resolved), "{}", lines(teller));
            if let Some(storm) = &incident.storm {
                let members = all.values().filter(|it| it.deliveries[0].storm_uid == incident.uid);
                let members = u32::try_from(members.count()).unwrap();
                prop_assert_eq!((storm.gathered, storm.ended), (members, members));
            }
        }
    }
}

fn at(second: i64) -> UtcTime {
    UtcTime::from_ns(second * 1_000_000_000)
}
