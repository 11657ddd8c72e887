//! Routes: who is told of an opening, who later, and what stops it. An entry is a second of stamped UTC.

use parallax_common::limits::REMINDERS_KEPT_MAX;
use parallax_common::matcher::Matcher;
use parallax_proto::convert::route::matcher_to;
use parallax_proto::v1::timeline_event::Event;

use super::*;
use crate::core::explain;
use crate::core::stamp;

mod hours;
mod untold;

fn named(uid: u8, name: &str) -> v1::resource::Kind {
    match contact(name) {
        v1::resource::Kind::Contact(it) => {
            v1::resource::Kind::Contact(v1::Contact { meta: meta(uid, name), ..it })
        }
        other => other,
    }
}

fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

fn step(after: i64, alert: &[&str]) -> v1::RouteStep {
    let alert = alert.iter().map(|name| (*name).to_owned()).collect();
    v1::RouteStep { after: seconds(after), alert, hours: None }
}

fn route(name: &str, matcher: &str, steps: Vec<v1::RouteStep>) -> v1::Route {
    let matchers = vec![matcher_to(&Matcher::parse(matcher).unwrap())];
    v1::Route { name: name.into(), matchers, steps, ..v1::Route::default() }
}

/// To ops at once, after 10 min to the boss too; a reminder an hour.
fn payments() -> v1::Route {
    let steps = vec![step(0, &["ops"]), step(600, &["boss", "ops"])];
    v1::Route { repeat: seconds(3_600), ..route("payments", "team=payments", steps) }
}

fn settings(routes: Vec<v1::Route>) -> v1::resource::Kind {
    let meta = Some(v1::Meta { name: SettingsName::NAME.into(), ..meta(8, "x").unwrap() });
    v1::resource::Kind::Settings(v1::Settings { meta, routes, ..v1::Settings::default() })
}

/// A check without contacts of its own, labelled, and these routes.
fn routed(routes: Vec<v1::Route>) -> Member {
    let mut member = Member::new();
    let mut web = check("web", 1);
    web.alert.clear();
    web.meta.as_mut().unwrap().labels.insert("team".into(), "payments".into());
    let answer = member.commit(vec![
        put(0, region("eu")),
        put(0, named(21, "ops")),
        put(0, named(22, "boss")),
        put(0, settings(routes)),
        put(0, wanted(web)),
    ]);
    assert_eq!(rule(&answer), "accepted", "{answer:?}");
    member
}

fn escalate() -> Command {
    Command::Escalate(store::Escalate { node_id: 7 })
}

fn ack() -> Command {
    Command::AckIncident(store::AckIncident {
        uid: "incident-99".into(),
        by: "anna".into(),
        note: String::new(),
    })
}

impl Member {
    /// The entry at this second of stamped UTC is the next.
    fn next_at(&mut self, second: i64) {
        self.index = u64::try_from(second).unwrap() - 1;
    }

    /// Opens the check's incident at second 100.
    fn open_at_100(&mut self) {
        self.next_at(100);
        let open = self.change(store::VerdictAction::Open);
        self.verdict(open);
    }

    fn end(&mut self) {
        let resolve = self.change(store::VerdictAction::Resolve);
        self.verdict(resolve);
    }

    fn deliver(&mut self) {
        while let Some((key, _)) = self.state.pending.get_min().cloned() {
            let update = store::PageUpdate {
                idempotency_key: key,
                state: v1::DeliveryState::Sent.into(),
                attempts: 1,
                ..store::PageUpdate::default()
            };
            self.apply(Command::UpdatePages(store::UpdatePages { updates: vec![update] }));
        }
    }

    fn escalate_at_second(&mut self, second: i64) -> String {
        self.next_at(second);
        self.apply(escalate());
        self.told_whom()
    }

    /// `ops opened sent`, a page each.
    fn told_whom(&self) -> String {
        let word = |page: &v1::Delivery| {
            let kind = page.kind().as_str_name().trim_start_matches("PAGE_KIND_").to_lowercase();
            let state = page.state().as_str_name().trim_start_matches("DELIVERY_STATE_");
            format!("{} {kind} {}", page.contact_name, state.to_lowercase())
        };
        self.only_incident().deliveries.iter().map(word).collect::<Vec<_>>().join(", ")
    }

    /// When the next step or reminder is due, in seconds.
    fn due(&self) -> Option<i64> {
        self.state.escalate_at().map(|at| at.as_ns() / 1_000_000_000)
    }

    fn events(&self) -> Vec<&Event> {
        self.only_incident().timeline.iter().filter_map(|event| event.event.as_ref()).collect()
    }
}

#[test]
fn nobody_acknowledges_and_so_the_next_step_and_then_reminders_follow() {
    let mut member = routed(vec![payments()]);
    member.open_at_100();
    assert_eq!(member.told_whom(), "ops opened pending");
    assert_eq!(member.only_incident().severity(), v1::Severity::Critical);
    assert_eq!(member.due(), Some(700));
    member.deliver();
    // A look that comes too soon changes nothing; a new life knows all of it.
    let before = member.stored.clone();
    member.apply(escalate());
    let same = |key: &Bytes| key.first() == Some(&b'C');
    let moved = member.stored.iter().filter(|(key, value)| before.get(*key) != Some(*value));
    assert_eq!(moved.filter(|(key, _)| !same(key)).count(), 0);
    member.reopen();
    assert_eq!(member.due(), Some(700));
    let sentences = explain::incident(member.only_incident()).join(" ");
    for said in ["Route payments took it.", "step 2 comes at 00:11:40 UTC", "01:01:40 UTC"] {
        assert!(sentences.contains(said), "{said}: {sentences}");
    }
    let whom = member.escalate_at_second(700);
    assert_eq!(whom, "ops opened sent, boss escalated pending, ops escalated pending");
    let page = &member.only_incident().deliveries[1];
    assert!(page.idempotency_key.ends_with(":escalated/payments/2"), "{}", page.idempotency_key);
    assert_eq!((page.claimed_by, page.route.as_str(), page.number), (7, "payments", 2));
    let told = |change: &Changed| matches!(change, Changed::Delivery(..));
    assert_eq!(member.changed.iter().filter(|it| told(it)).count(), 2, "the pager is told");
    let escalated = v1::Escalated {
        route: "payments".into(),
        step: 2,
        contacts: vec!["boss".into(), "ops".into()],
    };
    assert!(member.events().contains(&&Event::Escalated(escalated)));
    // From the last step on, an hour.
    assert_eq!(member.due(), Some(4_300));
    member.deliver();
    let whom = member.escalate_at_second(4_300);
    assert!(whom.ends_with("ops reminder pending, boss reminder pending"), "{whom}");
    let reminded = v1::Reminded {
        route: "payments".into(),
        number: 1,
        contacts: vec!["ops".into(), "boss".into()],
    };
    assert!(member.events().contains(&&Event::Reminded(reminded)));
    assert_eq!(member.due(), Some(7_900));
    member.reopen();
    assert_eq!(member.due(), Some(7_900));
}

#[test]
fn an_acknowledgement_stops_steps_and_reminders() {
    let mut member = routed(vec![payments()]);
    member.open_at_100();
    let uid = member.only_incident().uid.clone();
    assert_eq!(uid, "incident-99");
    assert_eq!(rule(&member.apply(ack())), "accepted");
    assert_eq!(member.due(), None);
    assert_eq!(member.escalate_at_second(9_000), "ops opened pending");
    let sentences = explain::incident(member.only_incident()).join(" ");
    assert!(!sentences.contains("Unless"), "{sentences}");
    member.reopen();
    assert_eq!(member.due(), None);
}

#[test]
fn the_end_goes_to_everybody_who_was_told_once_and_to_nobody_else() {
    let mut member = routed(vec![payments()]);
    member.open_at_100();
    member.deliver();
    member.end();
    assert_eq!(member.told_whom(), "ops opened sent, ops resolved pending");
    assert_eq!(member.due(), None);
    let mut member = routed(vec![payments()]);
    member.open_at_100();
    member.deliver();
    member.escalate_at_second(700);
    member.deliver();
    member.end();
    let ends = member.told_whom().matches("resolved pending").count();
    assert_eq!((ends, member.state.pending.len()), (2, 2), "{}", member.told_whom());
}

#[test]
fn contacts_of_its_own_leave_routes_aside_and_without_any_that_fits_it_says_so() {
    let mut member = configured();
    let answer = member
        .commit(vec![put(0, settings(vec![route("all", "team!=x", vec![step(0, &["ops"])])]))]);
    assert_eq!(rule(&answer), "accepted", "{answer:?}");
    member.open_at_100();
    assert_eq!(member.told_whom(), "ops opened pending");
    assert!(member.only_incident().routed.is_empty());
    assert_eq!(member.events().len(), 1, "nothing is said of routes");
    let mut member = routed(vec![route("other", "team=other", vec![step(0, &["ops"])])]);
    member.open_at_100();
    assert_eq!((member.told_whom(), member.due()), (String::new(), None));
    assert!(member.events().contains(&&Event::RoutesTook(v1::RoutesTook::default())));
    let sentences = explain::incident(member.only_incident()).join(" ");
    assert!(sentences.contains("No route fits it: nobody is told."), "{sentences}");
}

#[test]
fn of_two_routes_that_take_it_each_goes_its_own_way_and_nobody_is_told_twice_at_once() {
    let first = v1::Route { r#continue: true, ..payments() };
    let late = vec![step(300, &["ops", "boss"])];
    let mut member = routed(vec![first, route("late", "kind=down", late)]);
    member.open_at_100();
    assert_eq!((member.told_whom().as_str(), member.due()), ("ops opened pending", Some(400)));
    // The first step of the second route is an opening: ops has one already.
    let whom = member.escalate_at_second(400);
    assert_eq!(
        (whom.as_str(), member.due()),
        ("ops opened pending, boss opened pending", Some(700))
    );
    // Neither page has been delivered: they say it all.
    let whom = member.escalate_at_second(700);
    assert_eq!(whom, "ops opened pending, boss opened pending");
    let nobody = v1::Escalated { route: "payments".into(), step: 2, contacts: vec![] };
    assert!(member.events().contains(&&Event::Escalated(nobody)));
}

#[test]
fn what_opens_in_a_silence_counts_from_its_end() {
    let mut member = routed(vec![payments()]);
    member.next_at(90);
    member.apply(Command::AddSilence(quiet::silence("s1", 1_000)));
    member.open_at_100();
    assert_eq!((member.told_whom().as_str(), member.due()), ("ops opened held", None));
    assert_eq!(member.escalate_at_second(800), "ops opened held");
    member.next_at(1_090);
    member.apply(Command::ReviewHeld(store::ReviewHeld { node_id: 7 }));
    assert_eq!((member.told_whom().as_str(), member.due()), ("ops opened pending", Some(1_690)));
    member.reopen();
    assert_eq!(member.due(), Some(1_690));
}

#[test]
fn a_step_that_comes_due_in_a_silence_waits_for_its_end() {
    let mut member = routed(vec![payments()]);
    member.open_at_100();
    member.deliver();
    member.next_at(600);
    member.apply(Command::AddSilence(quiet::silence("s1", 1_000)));
    assert_eq!(member.escalate_at_second(700), "ops opened sent");
    assert_eq!(member.due(), Some(1_600));
    let sentences = explain::incident(member.only_incident()).join(" ");
    assert!(sentences.contains("It is quiet until 00:26:40 UTC"), "{sentences}");
    let whom = member.escalate_at_second(1_600);
    assert_eq!(whom, "ops opened sent, boss escalated pending, ops escalated pending");
    // And one that is ended by hand, for its end.
    let mut member = routed(vec![payments()]);
    member.open_at_100();
    member.deliver();
    member.apply(Command::AddSilence(quiet::silence("s1", 100_000)));
    member.escalate_at_second(700);
    assert!(member.due() > Some(100_000));
    member.next_at(900);
    member.apply(quiet::expire("s1"));
    assert_eq!(member.due(), Some(700));
    let whom = member.escalate_at_second(901);
    assert_eq!(whom, "ops opened sent, boss escalated pending, ops escalated pending");
}

#[test]
fn an_edit_of_the_routes_changes_nothing_that_is_open() {
    let mut member = routed(vec![payments()]);
    member.open_at_100();
    member.deliver();
    let etag = member.etag(Kind::Settings, SettingsName::NAME);
    let answer = member.commit(vec![put(etag, settings(vec![]))]);
    assert_eq!(rule(&answer), "accepted");
    assert!(member.state.routes_of("default").is_none());
    let whom = member.escalate_at_second(700);
    assert_eq!(whom, "ops opened sent, boss escalated pending, ops escalated pending");
}

#[test]
fn a_contact_that_a_route_names_is_in_use_and_one_that_is_gone_is_passed_over() {
    let mut member = routed(vec![payments()]);
    member.open_at_100();
    member.deliver();
    let etag = member.etag(Kind::Contact, "boss");
    let answer = member.commit(vec![delete(etag, "contact", "boss", false)]);
    let Answer::Refused(refusal) = &answer else { panic!("{answer:?}") };
    assert_eq!(
        (&*refusal.rule, refusal.message.as_str()),
        ("in_use", "contact boss is named by route payments")
    );
    let answer = member.commit(vec![delete(etag, "contact", "boss", true)]);
    assert_eq!(rule(&answer), "accepted");
    let whom = member.escalate_at_second(700);
    let whole = "ops opened sent, ops escalated pending, boss escalated dropped";
    assert_eq!(whom, whole);
    // A page that waits goes with its contact; what the contact knows from before is ended.
    let etag = member.etag(Kind::Contact, "ops");
    let answer = member.commit(vec![delete(etag, "contact", "ops", true)]);
    assert_eq!(rule(&answer), "accepted");
    let whole = "ops opened sent, ops escalated dropped, boss escalated dropped";
    assert_eq!(member.told_whom(), whole);
    member.end();
    assert!(member.told_whom().ends_with("ops resolved pending"), "{}", member.told_whom());
}

#[test]
fn a_route_cannot_name_a_contact_that_is_not_there() {
    let mut member = Member::new();
    let answer = member.commit(vec![put(0, settings(vec![payments()]))]);
    assert_eq!(rule(&answer), "unknown_contact");
}

#[test]
fn reminders_without_end_leave_a_record_of_bounded_size() {
    let mut member = routed(vec![payments()]);
    member.open_at_100();
    member.deliver();
    for turn in 0..40 {
        let due = member.due().unwrap();
        member.next_at(due.max(i64::try_from(member.index).unwrap() + 1));
        member.apply(escalate());
        if turn == 3 {
            // Its answer was lost: that stays known when it leaves the record.
            let key = member.state.pending.get_min().unwrap().0.clone();
            let update = store::PageUpdate {
                idempotency_key: key,
                state: v1::DeliveryState::Pending.into(),
                attempts: 1,
                ambiguous: true,
                ..store::PageUpdate::default()
            };
            member.apply(Command::UpdatePages(store::UpdatePages { updates: vec![update] }));
        }
        member.deliver();
    }
    let incident = member.only_incident();
    let reminders = |contact: &str| {
        let theirs = |page: &&v1::Delivery| {
            page.kind() == v1::PageKind::Reminder && page.contact_name == contact
        };
        incident.deliveries.iter().filter(theirs).count()
    };
    assert_eq!((reminders("ops"), reminders("boss")), (REMINDERS_KEPT_MAX, REMINDERS_KEPT_MAX));
    assert_eq!(incident.deliveries.iter().filter(|page| page.ambiguous).count(), 1);
    assert!(incident.routed[0].reminders > 30);
}

#[test]
fn what_is_said_of_the_mesh_is_a_warning_and_goes_by_the_routes_when_nobody_is_named() {
    let mut member = routed(vec![
        route("wake", "severity=critical", vec![step(0, &["boss"])]),
        route("rest", "kind=region_silent", vec![step(0, &["ops"])]),
    ]);
    member.next_at(100);
    member.verdict(store::VerdictChange {
        namespace: "default".into(),
        region: "eu".into(),
        incident_uid: "r1".into(),
        action: store::VerdictAction::Open.into(),
        ..store::VerdictChange::default()
    });
    assert_eq!(member.told_whom(), "ops opened pending");
    assert_eq!(member.only_incident().severity(), v1::Severity::Warning);
}

#[test]
fn below_the_level_an_opening_is_what_it_always_was() {
    let mut member = configured();
    member.state.cluster.level = ROUTING_LEVEL - 1;
    member.open_at_100();
    let incident = member.only_incident();
    assert_eq!(incident.severity(), v1::Severity::Unspecified);
    assert_eq!(
        (incident.routed.len(), incident.routed_since, incident.timeline.len()),
        (0, None, 1)
    );
}

#[test]
fn a_page_that_is_sent_again_says_why_and_every_attempt_says_the_same() {
    use crate::notify::body;
    let mut member = routed(vec![payments()]);
    member.open_at_100();
    member.deliver();
    member.escalate_at_second(700);
    let key = member.only_incident().deliveries[1].idempotency_key.clone();
    let said =
        |member: &Member| body::page(member.only_incident(), v1::PageKind::Escalated, &key, "prod");
    let first = said(&member);
    assert_eq!((first.kind, first.incident.severity), ("escalated", Some("critical")));
    let last = first.sentences.last().unwrap();
    let wanted =
        "Nobody had acknowledged it when this was written: this is step 2 of route payments.";
    assert_eq!(last, wanted);
    member.apply(ack());
    member.deliver();
    assert_eq!(said(&member), first);
    assert_eq!(stamp::utc(member.only_incident().opened_at.as_ref()).as_ns(), 100_000_000_000);
}

#[test]
fn the_key_of_links_is_stored_once_survives_a_restart_and_is_marked_as_what_no_backup_has() {
    let mut member = configured();
    let linked = v1::Settings {
        meta: Some(v1::Meta { name: SettingsName::NAME.into(), ..meta(8, "x").unwrap() }),
        public_url: "https://p.example".into(),
        ..v1::Settings::default()
    };
    assert!(!member.state.needs_link_key());
    member.commit(vec![put(0, v1::resource::Kind::Settings(linked))]);
    assert!(member.state.needs_link_key());
    member.open_at_100();
    assert_eq!(member.state.ack_link(member.only_incident(), "c"), None, "without a key");
    let set = |byte: u8| Command::SetLinkKey(store::SetLinkKey { key: vec![byte; 32].into() });
    assert_eq!(rule(&member.apply(set(1))), "accepted");
    assert_eq!(rule(&member.apply(set(2))), "accepted");
    member.reopen();
    assert_eq!(member.state.link_key(), [1; 32]);
    assert!(!member.state.needs_link_key());
    let link = member.state.ack_link(member.only_incident(), "c").unwrap();
    assert!(link.starts_with("https://p.example/ack/incident-99/c."), "{link}");
    let secret: Vec<_> = member.stored.iter().filter(|(key, _)| State::is_secret(key)).collect();
    assert_eq!(secret.len(), 1);
    let audit =
        member.stored.values().filter(|value| value.windows(32).any(|bytes| bytes == [1; 32]));
    assert_eq!(audit.count(), 1, "in no other row, the audit among them");
    let row = store::MemberRow { node_id: 9, ..store::MemberRow::default() };
    member.state.begin_anew(member.index, "new".into(), 5, row);
    assert!(member.state.needs_link_key(), "a new cluster makes its own");
}

/// What may happen to an incident that routes take.
#[derive(Debug, Clone)]
enum Happens {
    Open,
    End,
    Ack,
    /// So many seconds later the leader looks.
    Look(i64),
    Deliver,
    Silence(i64),
    Expire,
    Review,
    Bury,
}

fn happens() -> impl Strategy<Value = Happens> {
    prop_oneof![
        Just(Happens::Open),
        Just(Happens::End),
        Just(Happens::Ack),
        (1_i64..4_000).prop_map(Happens::Look),
        (1_i64..700).prop_map(Happens::Look),
        Just(Happens::Deliver),
        (1_i64..2_000).prop_map(Happens::Silence),
        Just(Happens::Expire),
        Just(Happens::Review),
        Just(Happens::Bury),
    ]
}

fn happen(member: &mut Member, what: Happens) {
    match what {
        Happens::Open => {
            let change = member.change(store::VerdictAction::Open);
            member.verdict(change);
        }
        Happens::End => {
            let change = member.change(store::VerdictAction::Resolve);
            member.verdict(change);
        }
        Happens::Ack => {
            let Some(uid) = member.state.open.get_min().cloned() else { return };
            let ack = store::AckIncident { uid, ..store::AckIncident::default() };
            member.apply(Command::AckIncident(ack));
        }
        Happens::Look(seconds) => {
            member.index += u64::try_from(seconds).unwrap();
            member.apply(escalate());
        }
        Happens::Deliver => member.deliver(),
        Happens::Silence(seconds) => {
            let uid = format!("s{}", member.index);
            member.apply(Command::AddSilence(quiet::silence(&uid, seconds)));
        }
        Happens::Expire => {
            let Some((uid, _)) = member.state.silences.get_max().cloned() else { return };
            member.apply(quiet::expire(&uid));
        }
        Happens::Review => {
            member.apply(Command::ReviewHeld(store::ReviewHeld { node_id: 2 }));
        }
        Happens::Bury => {
            let etag = member.etag(Kind::Contact, "boss");
            if etag > 0 {
                member.commit(vec![delete(etag, "contact", "boss", true)]);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Two members that apply the same entries, one of them restarted now and then, hold the same rows;
    /// nobody has two pages waiting of what goes on, and whoever was told hears the end.
    #[test]
    fn routes_are_deterministic_survive_restarts_and_end(
        story in prop::collection::vec((happens(), any::<bool>()), 1..60),
    ) {
        let (mut one, mut two) = (routed(vec![payments()]), routed(vec![payments()]));
        for (what, restart) in story {
            happen(&mut one, what.clone());
            happen(&mut two, what);
            if restart {
                two.reopen();
            }
            prop_assert_eq!(&one.stored, &two.stored);
            prop_assert_eq!(one.due(), two.due());
            for incident in one.state.incidents.values() {
                let goes_on = |page: &&v1::Delivery| {
                    crate::core::outbox::intents::goes_on(page.kind())
                };
                for page in incident.deliveries.iter().filter(goes_on) {
                    let theirs = incident.deliveries.iter().filter(|it| it.contact_uid == page.contact_uid);
                    let waiting = theirs.clone().filter(goes_on).filter(|it| {
                        it.state() == v1::DeliveryState::Pending
                    });
                    prop_assert!(waiting.count() <= 1);
                    if incident.resolved_at.is_some() && page.state() == v1::DeliveryState::Sent {
                        let ends = theirs.filter(|it| it.kind() == v1::PageKind::Resolved);
                        prop_assert_eq!(ends.count(), 1);
                    }
                }
            }
        }
    }
}

/// Kinds and states of the pages of `web`.
fn of_web(member: &Member) -> String {
    let incident = member.state.incidents.values().find(|it| it.check_name == "web").unwrap();
    let word = |page: &v1::Delivery| {
        let kind = page.kind().as_str_name().trim_start_matches("PAGE_KIND_").to_lowercase();
        format!("{} {kind}", page.contact_name)
    };
    incident.deliveries.iter().map(word).collect::<Vec<_>>().join(", ")
}

#[test]
fn steps_wait_while_what_a_check_depends_on_is_down_and_come_after_it() {
    use store::VerdictAction::{Open, Resolve};
    let mut member = routed(vec![payments()]);
    let parent = v1::Check { meta: meta(9, "dns"), alert: vec![], ..check("dns", 1) };
    let mut child = check("web", 1);
    child.alert.clear();
    child.depends_on = vec!["dns".into()];
    child.meta.as_mut().unwrap().labels.insert("team".into(), "payments".into());
    let etag = member.etag(Kind::Check, "web");
    let answer = member.commit(vec![put(0, wanted(parent)), put(etag, wanted(child))]);
    assert_eq!(rule(&answer), "accepted", "{answer:?}");
    member.next_at(100);
    member.act("web", Open);
    member.next_at(110);
    member.apply(Command::ReviewHeld(store::ReviewHeld::default()));
    member.deliver();
    member.next_at(160);
    member.act("dns", Open);
    member.deliver();
    member.next_at(710);
    member.apply(escalate());
    assert_eq!(of_web(&member), "ops opened", "it is quiet");
    assert_eq!(member.due(), Some(770), "and is looked at again, whatever ends it");
    member.next_at(720);
    member.act("dns", Resolve);
    member.next_at(770);
    member.apply(escalate());
    assert_eq!(of_web(&member), "ops opened, boss escalated, ops escalated");
}

#[test]
fn whom_one_route_told_another_one_tells_that_it_goes_on() {
    let chat =
        v1::Route { r#continue: true, ..route("chat", "team=payments", vec![step(0, &["ops"])]) };
    let late = route("late", "team=payments", vec![step(300, &["ops", "boss"])]);
    let mut member = routed(vec![chat, late]);
    member.open_at_100();
    member.deliver();
    let whom = member.escalate_at_second(400);
    assert_eq!(whom, "ops opened sent, boss opened pending, ops escalated pending");
}

#[test]
fn a_window_that_is_deleted_keeps_no_step_waiting() {
    let mut member = routed(vec![payments()]);
    member.plan(maintenance::window("backup"));
    member.schedule();
    member.open_at_100();
    member.deliver();
    assert_eq!(member.escalate_at_second(700), "ops opened sent", "it is quiet");
    assert_eq!(member.due(), Some(1_200));
    member.next_at(800);
    member.unplan("backup");
    assert_eq!(member.due(), Some(700));
    let whom = member.escalate_at_second(810);
    assert_eq!(whom, "ops opened sent, boss escalated pending, ops escalated pending");
}
