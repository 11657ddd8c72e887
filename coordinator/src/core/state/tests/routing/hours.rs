//! Hours of routes and of their steps, by a day that begins with second 0 (a Thursday, by UTC). The
//! office is open from 09:00 to 17:00.

use parallax_common::calendar::hours::Time;
use parallax_common::limits::{HOURS_KEPT_MAX, HOURS_PER_NAMESPACE_MAX};
use parallax_proto::convert::hours::{shown, time_to};

use super::*;
use crate::core::configure::{Request, draft};
use crate::core::hours::due;
use crate::core::routing;

const HOUR: i64 = 3_600;
const DAY: i64 = 24 * HOUR;
/// When the office opens, and when it closes.
const OPENS: i64 = 9 * HOUR;
const CLOSES: i64 = 17 * HOUR;

fn times(time: &str, outside: bool) -> Option<v1::Hours> {
    let times = vec![time_to(&Time::parse(time).unwrap())];
    Some(v1::Hours { zone: "UTC".into(), times, outside })
}

fn office(outside: bool) -> Option<v1::Hours> {
    times("09:00-17:00", outside)
}

/// To ops by day, to the boss at any other time.
fn by_day() -> Vec<v1::Route> {
    let day = route("day", "team=payments", vec![step(0, &["ops"])]);
    let night = route("night", "team=payments", vec![step(0, &["boss"])]);
    vec![v1::Route { hours: office(false), ..day }, night]
}

/// To ops in office hours, and after 10 min to the boss; what opens at night waits. A reminder every 4 h.
fn patient() -> v1::Route {
    let steps = vec![step(0, &["ops"]), step(600, &["boss"])];
    let route = route("desk", "team=payments", steps);
    v1::Route { hours: office(false), wait: true, repeat: seconds(4 * HOUR), ..route }
}

impl Member {
    /// What a leader would do by now.
    fn write_hours_down(&mut self) -> usize {
        // By the clock of the entry that it becomes.
        let now = i64::try_from(self.index + 1).unwrap() * 1_000_000_000;
        let rows = due(&self.state, UtcTime::from_ns(now));
        let written = rows.len();
        self.apply(Command::ScheduleHours(store::ScheduleHours { rows }));
        written
    }

    fn open_at(&mut self, second: i64) {
        self.next_at(second);
        let open = self.change(store::VerdictAction::Open);
        self.verdict(open);
    }

    fn end_at(&mut self, second: i64) {
        self.next_at(second);
        self.end();
    }

    fn says(&self, said: &str) {
        let sentences = explain::incident(self.only_incident()).join(" ");
        assert!(sentences.contains(said), "{said}: {sentences}");
    }
}

/// These routes, their hours written down.
fn known(routes: Vec<v1::Route>) -> Member {
    let mut member = routed(routes);
    assert!(member.write_hours_down() > 0);
    assert_eq!(member.write_hours_down(), 0);
    member
}

#[test]
fn by_day_one_route_takes_it_and_by_night_the_next() {
    for (second, expected) in [
        (HOUR, "boss opened pending"),
        (OPENS - 1, "boss opened pending"),
        (OPENS, "ops opened pending"),
        (CLOSES - 1, "ops opened pending"),
        (CLOSES, "boss opened pending"),
        (DAY + OPENS, "ops opened pending"),
        (20 * DAY + OPENS, "ops opened pending"),
        (20 * DAY + CLOSES, "boss opened pending"),
    ] {
        let mut member = known(by_day());
        member.reopen();
        member.open_at(second);
        assert_eq!(member.told_whom(), expected, "{second}");
    }
    let mut member = known(by_day());
    member.open_at(HOUR);
    let passed = v1::PassedRoute { route: "day".into(), hours: office(false) };
    let passed = v1::RoutesPassed { routes: vec![passed] };
    assert!(member.events().contains(&&Event::RoutesPassed(passed)));
    member.says(
        "Route day fits it and was passed over: outside UTC 09:00-17:00. Route night took it.",
    );
}

#[test]
fn outside_turns_hours_round_and_who_is_left_without_a_route_is_told() {
    let all = route("nights", "team=payments", vec![step(0, &["boss"])]);
    let all = || vec![v1::Route { hours: office(true), ..all.clone() }];
    let mut member = known(all());
    member.open_at(CLOSES);
    assert_eq!(member.told_whom(), "boss opened pending");
    let mut member = known(all());
    member.open_at(OPENS);
    assert_eq!(member.told_whom(), "");
    member.says(
        "Route nights fits it and was passed over: within UTC 09:00-17:00. No other route fits it: nobody \
         is told.",
    );
}

#[test]
fn until_the_leader_has_written_hours_down_their_route_tells_and_so_do_those_after_it() {
    let mut member = routed(by_day());
    member.open_at(HOUR);
    assert_eq!(member.told_whom(), "ops opened pending, boss opened pending");
    member.says("Routes day and night took it.");
    // A route that waits for hours of which nothing is known does not.
    let mut member = routed(vec![patient()]);
    member.open_at(HOUR);
    assert_eq!(member.told_whom(), "ops opened pending");
    // The same when nobody has led for longer than is known.
    let mut member = known(by_day());
    member.open_at(22 * DAY);
    assert_eq!(member.told_whom(), "ops opened pending, boss opened pending");
}

#[test]
fn an_answer_names_the_routes_of_whose_hours_nobody_knows() {
    let would_tell = |member: &Member| {
        let wire = &member.state.check_named("default", "web").unwrap().wire;
        let sample = routing::sample(wire, v1::IncidentKind::Down);
        let routes = member.state.routes_of("default").unwrap();
        let now = UtcTime::from_ns(HOUR * 1_000_000_000);
        explain::would_tell("web", &routes.taking(&sample, |it| member.state.when(it, now)))
    };
    let unknown = "It is not written down when the hours of route day are (during UTC 09:00-17:00): it is \
                   told, and so are those after it.";
    let told = would_tell(&routed(by_day()));
    assert_eq!(told[0], unknown);
    assert!(told[1].contains("route day (") && told[1].contains("route night ("), "{told:?}");
    let told = would_tell(&known(by_day()));
    assert!(!told.join(" ").contains("not written down"), "{told:?}");
}

#[test]
fn what_opens_at_night_waits_for_the_morning_and_its_steps_count_from_there() {
    let mut member = known(vec![patient()]);
    member.open_at(HOUR);
    assert_eq!((member.told_whom().as_str(), member.due()), ("", Some(OPENS)));
    let waits = v1::RouteWaits {
        route: "desk".into(),
        hours: office(false),
        until: Some(stamp::timestamp(UtcTime::from_ns(OPENS * 1_000_000_000))),
    };
    assert!(member.events().contains(&&Event::RouteWaits(waits)));
    member
        .says("Route desk took it. Route desk waits until 09:00:00 UTC (outside UTC 09:00-17:00)");
    // A look before changes nothing, and neither does another life.
    assert_eq!(member.escalate_at_second(OPENS - 1), "");
    member.reopen();
    assert_eq!(member.due(), Some(OPENS));
    assert_eq!(member.escalate_at_second(OPENS), "ops opened pending");
    assert_eq!(member.due(), Some(OPENS + 600));
    let sentences = explain::incident(member.only_incident()).join(" ");
    assert!(!sentences.contains("waits until"), "{sentences}");
    member.deliver();
    let whom = member.escalate_at_second(OPENS + 600);
    assert_eq!(whom, "ops opened sent, boss escalated pending");
    member.deliver();
    member.end();
    assert_eq!(member.told_whom().matches("resolved pending").count(), 2);
}

#[test]
fn what_opens_in_office_hours_is_told_at_once_and_reminded_of_in_the_morning() {
    let mut member = known(vec![patient()]);
    member.open_at(CLOSES - 300);
    assert_eq!(member.told_whom(), "ops opened pending");
    member.deliver();
    // The second step is due when the office has closed.
    assert_eq!(member.escalate_at_second(CLOSES + 300), "ops opened sent");
    assert_eq!(member.due(), Some(DAY + OPENS));
    member.says("Route desk waits until 1970-01-02 09:00:00 UTC (outside UTC 09:00-17:00)");
    // Neither the step nor the reminder comes before.
    member.says(
        "Unless somebody acknowledges it, step 2 comes at 09:00:00 UTC and a reminder comes at 09:00:00 \
         UTC (route desk).",
    );
    let whom = member.escalate_at_second(DAY + OPENS);
    assert_eq!(whom, "ops opened sent, boss escalated pending");
    member.deliver();
    assert_eq!(member.due(), Some(DAY + OPENS + 4 * HOUR));
    let whom = member.escalate_at_second(DAY + OPENS + 4 * HOUR);
    assert!(whom.ends_with("ops reminder pending, boss reminder pending"), "{whom}");
    // The next one is due at 17:00, when nobody is there.
    member.deliver();
    member.escalate_at_second(DAY + CLOSES);
    assert_eq!(member.due(), Some(2 * DAY + OPENS));
}

#[test]
fn what_is_to_come_says_until_when_it_is_quiet() {
    let mut member = known(vec![patient()]);
    member.open_at(OPENS);
    member.deliver();
    member.next_at(OPENS + 300);
    member.apply(Command::AddSilence(quiet::silence("s1", HOUR)));
    member.escalate_at_second(OPENS + 600);
    assert_eq!(member.due(), Some(OPENS + HOUR + 300));
    member.says("step 2 comes at 10:05:00 UTC and a reminder comes at 13:00:00 UTC");
}

#[test]
fn steps_behind_one_that_waited_for_the_morning_come_as_much_later() {
    let mut desk = patient();
    desk.steps.push(step(1_200, &["ops"]));
    desk.repeat = None;
    let mut member = known(vec![desk.clone()]);
    member.open_at(CLOSES - 300);
    member.deliver();
    member.escalate_at_second(CLOSES + 300);
    assert_eq!(member.due(), Some(DAY + OPENS));
    let whom = member.escalate_at_second(DAY + OPENS);
    assert_eq!(whom, "ops opened sent, boss escalated pending");
    member.deliver();
    assert_eq!(member.due(), Some(DAY + OPENS + 600));
    member.reopen();
    let whom = member.escalate_at_second(DAY + OPENS + 600);
    assert_eq!(whom, "ops opened sent, boss escalated sent, ops escalated pending");
    // A reminder that waits moves steps that are due later in the same night.
    desk.steps[1].after = seconds(2 * HOUR);
    desk.steps[2].after = seconds(3 * HOUR);
    desk.repeat = seconds(HOUR);
    let mut member = known(vec![desk]);
    member.open_at(CLOSES - 300);
    member.deliver();
    member.escalate_at_second(CLOSES - 300 + HOUR);
    let whom = member.escalate_at_second(DAY + OPENS);
    assert_eq!(whom, "ops opened sent, ops reminder pending");
    member.deliver();
    let whom = member.escalate_at_second(DAY + OPENS + HOUR);
    assert_eq!(whom, "ops opened sent, ops reminder sent, boss escalated pending");
}

#[test]
fn what_ends_or_is_acknowledged_before_the_morning_is_told_to_nobody_and_says_so() {
    let mut member = known(vec![patient()]);
    member.open_at(HOUR);
    member.end_at(2 * HOUR);
    assert_eq!((member.told_whom().as_str(), member.due()), ("", None));
    assert!(member.state.pending.is_empty());
    member.says(
        "Route desk waited until 09:00:00 UTC (outside UTC 09:00-17:00) when it ended: it told nobody.",
    );
    assert_eq!(member.escalate_at_second(OPENS), "");

    let mut member = known(vec![patient()]);
    member.open_at(100);
    member.apply(ack());
    assert_eq!(member.due(), None);
    assert_eq!(member.escalate_at_second(OPENS), "");
    member.says("when it was acknowledged: it told nobody.");
}

#[test]
fn one_route_waits_and_another_tells_at_once() {
    let chat = route("chat", "team=payments", vec![step(0, &["boss"])]);
    let mut member = known(vec![v1::Route { r#continue: true, ..chat }, patient()]);
    member.open_at(HOUR);
    assert_eq!(member.told_whom(), "boss opened pending");
    member.deliver();
    let whom = member.escalate_at_second(OPENS);
    assert_eq!(whom, "boss opened sent, ops opened pending");
    // Who was told by the one has a page of the other all the same.
    let whom = member.escalate_at_second(OPENS + 600);
    assert_eq!(whom, "boss opened sent, ops opened pending, boss escalated pending");
}

#[test]
fn a_silence_that_outlasts_the_hours_waits_for_the_next() {
    let mut member = known(vec![patient()]);
    member.next_at(HOUR - 10);
    member.apply(Command::AddSilence(quiet::silence("s1", 17 * HOUR)));
    member.open_at(HOUR);
    assert_eq!(member.due(), None, "it is held");
    let ends = 18 * HOUR - 10;
    member.next_at(ends);
    member.apply(Command::ReviewHeld(store::ReviewHeld { node_id: 7 }));
    assert_eq!(member.due(), Some(ends));
    assert_eq!(member.escalate_at_second(ends + 1), "");
    assert_eq!(member.due(), Some(DAY + OPENS));
    assert_eq!(member.escalate_at_second(DAY + OPENS), "ops opened pending");
}

#[test]
fn a_silence_that_ends_outside_of_the_hours_lets_go_what_opened_within_them_in_the_morning() {
    // When the silence ends that begins as the office closes, or opens.
    for (begins, length, told) in [
        (CLOSES - 20, 2 * HOUR, DAY + OPENS),
        (OPENS, HOUR, OPENS + HOUR),
        (OPENS, 20 * HOUR, DAY + OPENS),
    ] {
        let chat = route("chat", "team=payments", vec![step(0, &["boss"])]);
        let mut member = known(vec![v1::Route { r#continue: true, ..chat }, patient()]);
        member.next_at(begins);
        member.apply(Command::AddSilence(quiet::silence("s1", length)));
        member.open_at(begins + 10);
        // A page that waits for no hours is there, and held.
        assert_eq!((member.told_whom().as_str(), member.due()), ("boss opened held", None));
        member.next_at(begins + length);
        member.apply(quiet::review());
        assert_eq!(member.due(), Some(begins + length));
        member.escalate_at_second(begins + length);
        let whom = member.escalate_at_second(told);
        assert_eq!(whom, "boss opened pending, ops opened pending", "{begins}");
        if begins + length < told {
            let waits = |event: &&&Event| matches!(event, Event::RouteWaits(_));
            assert_eq!(member.events().iter().filter(waits).count(), 1);
        }
    }
}

#[test]
fn an_end_before_the_wait_for_what_it_depends_on_tells_both_within_the_hours_only() {
    for (opens, expected) in [(OPENS, "ops opened pending, ops resolved pending"), (CLOSES - 2, "")]
    {
        let mut member = known(vec![patient()]);
        let parent = v1::Check { meta: meta(9, "dns"), alert: vec![], ..check("dns", 1) };
        let mut child = member.state.check_named("default", "web").unwrap().wire.clone();
        child.depends_on = vec!["dns".into()];
        let etag = member.etag(Kind::Check, "web");
        let answer = member.commit(vec![put(0, wanted(parent)), put(etag, wanted(child))]);
        assert_eq!(rule(&answer), "accepted", "{answer:?}");
        member.open_at(opens);
        assert_eq!(member.told_whom(), "", "it waits to see whether dns is down");
        member.end_at(opens + 5);
        assert_eq!(member.told_whom(), expected);
        assert_eq!(member.due(), None);
    }
}

#[test]
fn whom_a_waiting_route_names_and_was_deleted_is_in_the_record_when_it_would_have_been_told() {
    for replaced in [false, true] {
        let mut member = known(vec![patient()]);
        member.open_at(HOUR);
        let etag = member.etag(Kind::Contact, "ops");
        let answer = member.commit(vec![delete(etag, "contact", "ops", true)]);
        assert_eq!(rule(&answer), "accepted", "{answer:?}");
        if replaced {
            let answer = member.commit(vec![put(0, named(31, "ops"))]);
            assert_eq!(rule(&answer), "accepted", "{answer:?}");
        }
        member.reopen();
        assert_eq!(member.escalate_at_second(OPENS), "ops opened dropped");
        let dropped = |kind: v1::PageKind| {
            let why = "the contact was deleted".to_owned();
            Event::PageDropped(v1::PageDropped { contact: "ops".into(), kind: kind.into(), why })
        };
        assert!(member.events().contains(&&dropped(v1::PageKind::Opened)));
        member.says("Route desk has told nobody: whom it names was deleted.");
        member.says("ops was not told of the opening: the contact was deleted.");
        // Who is in the next step is told all the same.
        let whom = member.escalate_at_second(OPENS + 600);
        assert_eq!(whom, "ops opened dropped, boss escalated pending");
        let sentences = explain::incident(member.only_incident()).join(" ");
        assert!(!sentences.contains("has told nobody"), "{sentences}");
        member.deliver();
        assert!(member.state.contacts.values().any(|row| row.tombstone), "it has its name");
        member.end();
        let whom = "ops opened dropped, boss escalated sent, boss resolved pending";
        assert_eq!(member.told_whom(), whom);
        assert!(!member.state.contacts.values().any(|row| row.tombstone));
    }
    // A later step says so as well; who lives is told.
    let later = vec![step(0, &["boss"]), step(600, &["ops", "boss"])];
    let mut member = known(vec![v1::Route { steps: later, ..patient() }]);
    member.open_at(OPENS);
    member.deliver();
    let etag = member.etag(Kind::Contact, "ops");
    member.commit(vec![delete(etag, "contact", "ops", true)]);
    let whom = member.escalate_at_second(OPENS + 600);
    assert_eq!(whom, "boss opened sent, boss escalated pending, ops escalated dropped");
    member.says("ops was not told of step 2 of route desk: the contact was deleted.");
}

/// These routes and hours, and a check with an alert of its own.
fn alerting(routes: Vec<v1::Route>) -> Member {
    let mut member = known(routes);
    let mut web = member.state.check_named("default", "web").unwrap().wire.clone();
    let when = "error_rate > 20% over 2m".into();
    web.alerts = vec![v1::Alert { name: "errors".into(), when, ..v1::Alert::default() }];
    let etag = member.etag(Kind::Check, "web");
    let answer = member.commit(vec![put(etag, wanted(web))]);
    assert_eq!(rule(&answer), "accepted", "{answer:?}");
    member
}

/// Whom the alert tells when a leader finds that it holds at this second; `None` when it does not open.
fn alert_at(member: &mut Member, second: i64) -> Option<String> {
    let check = &member.state.check_named("default", "web").unwrap().check;
    let change = store::AlertChange {
        check_uid: check.uid.to_string(),
        etag: check.etag,
        alert: "errors".into(),
        expected_sequence: member.state.alert(&check.uid, "errors").1,
        action: store::AlertAction::Open.into(),
        incident_uid: "alert-1".into(),
        record: None,
    };
    member.next_at(second);
    member.apply(Command::ChangeAlerts(store::ChangeAlerts { changes: vec![change], node_id: 7 }));
    let alert = member.state.incidents.get("alert-1")?;
    let names = alert.deliveries.iter().map(|page| page.contact_name.as_str());
    Some(names.collect::<Vec<_>>().join(" "))
}

#[test]
fn one_outage_is_one_page_also_when_the_hours_end_while_it_lasts() {
    let only_day = || by_day()[..1].to_vec();
    // The night has hours of its own, and another route of the same hours takes alerts.
    let mut shifts = by_day();
    shifts[1].hours = office(true);
    let mut by_kind = by_day();
    by_kind.insert(1, v1::Route { name: "rest".into(), ..by_kind[0].clone() });
    by_kind[0].matchers = vec![matcher_to(&Matcher::parse("kind=down").unwrap())];
    // When the outage opens and when the alert holds, and whom that tells.
    for (case, routes, opens, holds, told) in [
        ("day into night", by_day(), CLOSES - 60, CLOSES + 60, None),
        ("night into day", by_day(), OPENS - 60, OPENS + 60, None),
        ("the same day", by_day(), OPENS, CLOSES - 1, None),
        ("shifts", shifts.clone(), CLOSES - 60, CLOSES + 60, None),
        ("shifts back", shifts, OPENS - 60, OPENS + 60, None),
        ("other routes", by_kind, CLOSES - 60, CLOSES + 60, None),
        ("no night route", only_day(), CLOSES - 60, CLOSES + 60, None),
        ("nobody told at night", only_day(), OPENS - 60, OPENS + 60, Some("ops")),
        ("nobody told yet", only_day(), OPENS - 60, OPENS - 30, Some("")),
        ("it waits and suppresses nothing", vec![patient()], HOUR, 2 * HOUR, Some("")),
    ] {
        let mut member = alerting(routes);
        member.open_at(opens);
        assert_eq!(alert_at(&mut member, holds).as_deref(), told, "{case}");
    }
    // After it the alert tells whom it tells then.
    let mut member = alerting(by_day());
    member.open_at(CLOSES - 60);
    member.end_at(CLOSES + 30);
    assert_eq!(alert_at(&mut member, CLOSES + 60).as_deref(), Some("boss"));
}

#[test]
fn a_step_outside_of_its_hours_is_passed_over_and_its_contacts_are_not_reminded() {
    let lead = v1::RouteStep { hours: office(false), ..step(600, &["boss"]) };
    let all = route("all", "team=payments", vec![step(0, &["ops"]), lead]);
    let all = || vec![v1::Route { repeat: seconds(HOUR), ..all.clone() }];
    let mut member = known(all());
    member.open_at(HOUR);
    member.deliver();
    assert_eq!(member.escalate_at_second(HOUR + 600), "ops opened sent");
    let passed = v1::StepPassed { route: "all".into(), step: 2, hours: office(false) };
    assert!(member.events().contains(&&Event::StepPassed(passed)));
    member.says("Step 2 of route all was passed over: outside UTC 09:00-17:00.");
    // Reminders count from who was told last, and go to nobody else.
    assert_eq!(member.due(), Some(2 * HOUR));
    let whom = member.escalate_at_second(2 * HOUR);
    assert_eq!(whom, "ops opened sent, ops reminder pending");
    let mut member = known(all());
    member.open_at(OPENS);
    member.deliver();
    let whom = member.escalate_at_second(OPENS + 600);
    assert_eq!(whom, "ops opened sent, boss escalated pending");
}

#[test]
fn an_edit_leaves_what_waits_as_it_was_and_its_hours_known_until_it_is_over() {
    let lead = v1::RouteStep { hours: times("10:00-12:00", true), ..step(600, &["boss"]) };
    let mut all = patient();
    all.steps[1] = lead;
    let mut member = known(vec![all]);
    assert_eq!(member.state.hours.len(), 2);
    member.open_at(HOUR);
    let etag = member.etag(Kind::Settings, SettingsName::NAME);
    member.commit(vec![put(etag, settings(vec![]))]);
    assert_eq!(member.state.hours.len(), 2, "an open incident goes by them");
    // They are written down further.
    member.next_at(8 * DAY + OPENS);
    assert_eq!(member.write_hours_down(), 2);
    let whom = member.escalate_at_second(8 * DAY + OPENS + 1);
    assert_eq!(whom, "ops opened pending, boss escalated pending");
    member.end();
    let etag = member.etag(Kind::Settings, SettingsName::NAME);
    member.commit(vec![put(etag, settings(by_day()))]);
    let names: Vec<&String> = member.state.hours.keys().collect();
    assert_eq!(names, ["UTC 09:00-17:00"]);
    let etag = member.etag(Kind::Settings, SettingsName::NAME);
    member.commit(vec![delete(etag, "settings", SettingsName::NAME, false)]);
    assert!(member.state.hours.is_empty());
}

#[test]
fn only_hours_that_somebody_goes_by_are_written_down() {
    let mut member = known(by_day());
    let mut row = member.state.hours.values().next().unwrap().as_ref().clone();
    row.hours = times("01:00-02:00", false);
    let before = member.stored.len();
    member.apply(Command::ScheduleHours(store::ScheduleHours {
        rows: vec![row, store::HoursRow::default()],
    }));
    assert_eq!((member.state.hours.len(), member.stored.len()), (1, before));
}

#[test]
fn two_members_whose_calendars_differ_come_to_the_same() {
    // What the leader wrote down is not what the calendar of either would say.
    let (mut one, mut two) = (routed(by_day()), routed(by_day()));
    let row = store::HoursRow {
        hours: office(false),
        spans: vec![store::HoursSpan { from_utc_ns: 0, until_utc_ns: 2 * HOUR * 1_000_000_000 }],
        until_utc_ns: DAY * 1_000_000_000,
    };
    for member in [&mut one, &mut two] {
        member.apply(Command::ScheduleHours(store::ScheduleHours { rows: vec![row.clone()] }));
        member.open_at(HOUR);
        assert_eq!(member.told_whom(), "ops opened pending");
    }
    two.reopen();
    assert_eq!(one.stored, two.stored);
}

#[test]
fn a_namespace_has_so_many_hours_and_those_of_open_incidents_are_bounded() {
    let named = |n: usize| {
        let time = format!("{:02}:{:02}-23:30", n / 60, n % 60);
        let hours = times(&time, n.is_multiple_of(2));
        v1::Route { hours, ..route(&format!("r{n}"), "team=payments", vec![step(0, &["ops"])]) }
    };
    let many = |count: usize| settings((0..count).map(named).collect());
    let mut member = routed(vec![]);
    let etag = member.etag(Kind::Settings, SettingsName::NAME);
    let refused = member.commit(vec![put(etag, many(HOURS_PER_NAMESPACE_MAX + 1))]);
    assert_eq!(rule(&refused), "hours_too_many");
    let taken = member.commit(vec![put(etag, many(HOURS_PER_NAMESPACE_MAX))]);
    assert_eq!(rule(&taken), "accepted");
    // A refused commit has forgotten nothing.
    while member.write_hours_down() > 0 {}
    assert_eq!(member.state.hours.len(), HOURS_PER_NAMESPACE_MAX);
    let etag = member.etag(Kind::Settings, SettingsName::NAME);
    member.commit(vec![put(etag, many(HOURS_PER_NAMESPACE_MAX + 1))]);
    assert_eq!(member.state.hours.len(), HOURS_PER_NAMESPACE_MAX);
    // An open incident that goes by more than are kept.
    member.open_at(10_000);
    let mut incident = member.only_incident().clone();
    let mut row = member.state.hours.values().next().unwrap().as_ref().clone();
    for n in 0..HOURS_KEPT_MAX + 5 {
        row.hours = times(&format!("{:02}:{:02}-23:31", n / 60, n % 60), false);
        member.state.hours.insert(shown(row.hours.as_ref().unwrap()), Arc::new(row.clone()));
        incident.routed.push(v1::Routed { hours: row.hours.clone(), ..v1::Routed::default() });
    }
    member.state.incidents.insert(incident.uid.clone(), Arc::new(incident));
    let mut rows = Rows::default();
    member.state.forget_hours(&mut rows);
    assert_eq!(member.state.hours.len(), HOURS_PER_NAMESPACE_MAX + HOURS_KEPT_MAX);
}

#[test]
fn an_apply_says_when_nobody_is_told_outside_of_hours_and_waits_for_the_level() {
    let plan = |routes: Vec<v1::Route>, level: u32| {
        let mut member = routed(vec![]);
        member.state.cluster.level = level;
        let mut web = check("web", 1);
        web.alert.clear();
        web.meta.as_mut().unwrap().labels.insert("team".into(), "payments".into());
        let resources = [settings(routes), wanted(web)].map(|it| v1::Resource { kind: Some(it) });
        let (namespace, set) = ("default".to_owned(), "default".to_owned());
        let request = Request { namespace, set, ..Request::default() };
        draft(&member.state, &request, resources.to_vec(), || Uid::from_bytes([0x77; 16]))
    };
    let advice = |routes: Vec<v1::Route>| {
        let advice = plan(routes, LEVEL).unwrap().advice.into_iter();
        advice.map(|it| it.rule.id).filter(|id| *id != "advice_one_region").collect::<Vec<_>>()
    };
    let none: [&str; 0] = [];
    assert_eq!(advice(by_day()), none);
    assert_eq!(advice(by_day()[..1].to_vec()), ["advice_hours"]);
    assert_eq!(advice(vec![patient()]), none);
    let shift = |name: &str, time: &str| v1::Route {
        hours: times(time, false),
        ..route(name, "team=payments", vec![step(0, &["ops"])])
    };
    let early = [shift("early", "06:00-14:00"), shift("late", "14:00-22:00")];
    assert_eq!(advice(early.to_vec()), ["advice_hours"]);
    assert_eq!(advice([&early[..], &[shift("night", "22:00-06:00")]].concat()), none);
    assert_eq!(advice(vec![]), ["advice_no_alert"]);
    let low = plan(by_day(), 2).unwrap_err();
    assert!(low.iter().all(|it| it.rule == rule::LEVEL_TOO_LOW), "{low:?}");
    assert!(low.iter().any(|it| it.field == "routes.during"), "{low:?}");
}
