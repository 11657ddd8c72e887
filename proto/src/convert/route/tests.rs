//! Each row breaks one rule about routes, at the field that it names.

use parallax_common::calendar::hours::Time;
use parallax_common::limits::HOURS_TIMES_MAX;
use parallax_common::rule::{self, Rule};

use super::*;
use crate::convert::resource::{normalise, resource_references, validate_settings};

fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

fn step(after: i64, alert: &[&str]) -> v1::RouteStep {
    let alert = alert.iter().map(|name| (*name).to_owned()).collect();
    v1::RouteStep { after: seconds(after), alert, hours: None }
}

fn matcher(text: &str) -> v1::Matcher {
    matcher_to(&Matcher::parse(text).unwrap())
}

fn office(outside: bool) -> Option<v1::Hours> {
    Some(hours_of(&["mon-fri 09:00-17:00"], outside))
}

fn hours_of(times: &[&str], outside: bool) -> v1::Hours {
    let times = times.iter().map(|text| hours::time_to(&Time::parse(text).unwrap())).collect();
    v1::Hours { zone: "Europe/Berlin".into(), times, outside }
}

fn good() -> v1::Settings {
    let route = v1::Route {
        name: "payments".to_owned(),
        matchers: vec![matcher("team=payments"), matcher("severity!=info")],
        steps: vec![v1::RouteStep { after: None, ..step(0, &["ops"]) }, step(600, &["boss"])],
        repeat: seconds(14_400),
        r#continue: false,
        hours: office(false),
        wait: true,
    };
    let public_url = "https://parallax.example/mesh".to_owned();
    let settings = v1::Settings { routes: vec![route], public_url, ..v1::Settings::default() };
    match normalise(v1::Resource { kind: Some(v1::resource::Kind::Settings(settings)) }).kind {
        Some(v1::resource::Kind::Settings(settings)) => settings,
        _ => unreachable!("made above"),
    }
}

/// What breaks a rule about good settings.
type Break = fn(&mut v1::Settings);

const ROWS: &[(Rule, &str, Break)] = &[
    (rule::MISSING_FIELD, "routes[0].name", |it| it.routes[0].name.clear()),
    (rule::NAME_FORMAT, "routes[0].name", |it| it.routes[0].name = "No!".into()),
    (rule::DUPLICATE_NAME, "routes[1].name", |it| it.routes.push(it.routes[0].clone())),
    (rule::ROUTES_TOO_MANY, "routes", |it| many(it, ROUTES_MAX + 1, false)),
    (rule::ROUTES_TOO_MANY, "routes", |it| many(it, ROUTES_CONTINUE_MAX + 1, true)),
    (rule::ROUTE_MATCHERS, "routes[0].match", |it| {
        it.routes[0].matchers = vec![matcher("a=b"); MATCHERS_MAX + 1];
    }),
    (rule::ROUTE_MATCHERS, "routes[0].match", |it| {
        it.routes[0].matchers = vec![matcher("a=~b"); MATCHER_PATTERNS_MAX + 1];
    }),
    (rule::ROUTE_MATCHERS, "routes", |it| {
        it.routes[0].matchers = vec![matcher("a=~b"); MATCHER_PATTERNS_MAX];
        many(it, ROUTE_PATTERNS_MAX / MATCHER_PATTERNS_MAX + 1, false);
    }),
    (rule::MATCHER_FORMAT, "routes[0].match[0]", |it| it.routes[0].matchers[0].operator = 0),
    (rule::MATCHER_FORMAT, "routes[0].match[1]", |it| {
        it.routes[0].matchers[1].key = "a b".into();
    }),
    (rule::MATCHER_PATTERN, "routes[0].match[0]", |it| {
        let (key, value) = ("a".into(), "(".into());
        let operator = v1::MatchOperator::Pattern.into();
        it.routes[0].matchers[0] = v1::Matcher { key, operator, value };
    }),
    (rule::ROUTE_STEPS, "routes[0].steps", |it| it.routes[0].steps.clear()),
    (rule::ROUTE_STEPS, "routes[0].steps", |it| {
        it.routes[0].steps = (0..=8).map(|at| step(at * 60, &["ops"])).collect();
    }),
    (rule::ROUTE_STEPS, "routes[0].steps[1].after", |it| it.routes[0].steps[1].after = None),
    (rule::ROUTE_STEPS, "routes[0].steps[1].after", |it| {
        it.routes[0].steps[1].after = seconds(7 * 86_400 + 1);
    }),
    (rule::ROUTE_STEPS, "routes[0].steps[0].after", |it| {
        it.routes[0].steps[0].after = seconds(-1);
    }),
    (rule::ROUTE_STEPS, "routes[0].steps[1].alert", |it| it.routes[0].steps[1].alert.clear()),
    (rule::ROUTE_STEPS, "routes[0].steps[0].alert", |it| {
        it.routes[0].steps[0].alert = (0..=16).map(|at| format!("c{at}")).collect();
    }),
    (rule::CONTACT_DUPLICATE, "routes[0].steps[0].alert[1]", |it| {
        it.routes[0].steps[0] = step(0, &["ops", "ops"]);
    }),
    (rule::ROUTE_HOURS, "routes[0].during.times", |it| {
        it.routes[0].hours = Some(hours_of(&[], false));
    }),
    (rule::ROUTE_HOURS, "routes[0].outside.times", |it| {
        it.routes[0].hours = Some(hours_of(&["mon"; HOURS_TIMES_MAX + 1], true));
    }),
    (rule::ROUTE_HOURS, "routes[0].during.times", |it| {
        it.routes[0].hours = Some(hours_of(&["mon-fri", "sat-sun"], false));
    }),
    (rule::ROUTE_HOURS, "routes[0].outside.times", |it| {
        it.routes[0].hours = Some(hours_of(&["06:00-22:00", "22:00-06:00"], true));
    }),
    (rule::ROUTE_HOURS, "routes[0].during.times", |it| {
        it.routes[0].hours.as_mut().unwrap().times[0].days.clear();
    }),
    (rule::ROUTE_HOURS, "routes[0].during.times", |it| {
        it.routes[0].hours.as_mut().unwrap().times[0].to_minute = 1_441;
    }),
    (rule::ROUTE_ZONE, "routes[0].during.zone", |it| {
        it.routes[0].hours.as_mut().unwrap().zone = "Europe/Berlim".into();
    }),
    (rule::ROUTE_ZONE, "routes[0].outside.zone", |it| {
        it.routes[0].hours = Some(v1::Hours { zone: String::new(), ..hours_of(&["mon"], true) });
    }),
    (rule::ROUTE_ZONE, "routes[0].steps[1].outside.zone", |it| {
        it.routes[0].steps[1].hours =
            Some(v1::Hours { zone: "UCT+1".into(), ..hours_of(&["mon"], true) });
    }),
    (rule::ROUTE_WAIT, "routes[0].wait", |it| it.routes[0].hours = None),
    (rule::ROUTE_WAIT, "routes[0].steps[0].during", |it| {
        it.routes[0].steps[0].hours = office(false);
    }),
    (rule::PUBLIC_URL, "mesh.public_url", |it| it.public_url = "parallax.example".into()),
    (rule::PUBLIC_URL, "mesh.public_url", |it| it.public_url = "https://p.example/?a".into()),
    (rule::PUBLIC_URL, "mesh.public_url", |it| it.public_url = "https://p.example/#a".into()),
    (rule::PUBLIC_URL, "mesh.public_url", |it| {
        it.public_url = format!("https://p.example/{}", "x".repeat(256));
    }),
    (rule::STORM_RULE, "mesh.storm.over", |it| {
        it.storm = Some(v1::StormRule { over: 101, within: seconds(30) });
    }),
    (rule::STORM_RULE, "mesh.storm.within", |it| {
        it.storm = Some(v1::StormRule { over: 5, within: seconds(4) });
    }),
    (rule::STORM_RULE, "mesh.storm.within", |it| {
        it.storm = Some(v1::StormRule { over: 5, within: seconds(601) });
    }),
    (rule::STORM_RULE, "mesh.storm.within", |it| {
        it.storm = Some(v1::StormRule { over: 5, within: seconds(-5) });
    }),
    (rule::ROUTE_REPEAT, "routes[0].repeat", |it| it.routes[0].repeat = seconds(59)),
    (rule::ROUTE_REPEAT, "routes[0].repeat", |it| it.routes[0].repeat = seconds(7 * 86_400 + 1)),
];

/// So many routes like the first, each with a name of its own.
fn many(settings: &mut v1::Settings, count: usize, hand_on: bool) {
    let first = settings.routes[0].clone();
    let named = |at| v1::Route { name: format!("r{at}"), r#continue: hand_on, ..first.clone() };
    settings.routes = (0..count).map(named).collect();
}

#[test]
fn each_row_breaks_its_rule_at_its_field() {
    assert_eq!(validate_settings(&good()), []);
    for (at, (rule, field, change)) in ROWS.iter().enumerate() {
        let mut settings = good();
        change(&mut settings);
        let found = validate_settings(&settings);
        let found: Vec<_> = found.iter().map(|it| (it.rule, it.field.as_str())).collect();
        assert_eq!(found, [(*rule, *field)], "row {at}");
    }
}

#[test]
fn as_many_as_are_allowed_are_taken() {
    let mut settings = good();
    many(&mut settings, ROUTES_CONTINUE_MAX, true);
    assert_eq!(validate_settings(&settings), []);
    settings.routes[0].matchers.clear();
    many(&mut settings, ROUTES_MAX, false);
    settings.routes[0].steps = (0..8).map(|at| step(at * 60, &["ops"])).collect();
    assert_eq!(validate_settings(&settings), [], "and one without matchers fits everything");
}

#[test]
fn a_contact_that_a_route_names_must_exist() {
    struct Contacts;
    impl Known for Contacts {
        fn region(&self, _: &str) -> bool {
            false
        }
        fn contact(&self, name: &str) -> bool {
            name == "ops"
        }
        fn regions(&self) -> Vec<String> {
            vec![]
        }
        fn contacts(&self) -> Vec<String> {
            vec!["ops".to_owned(), "bosse".to_owned()]
        }
        fn check(&self, _: &str) -> bool {
            false
        }
        fn checks(&self) -> Vec<String> {
            vec![]
        }
    }
    let resource = v1::Resource { kind: Some(v1::resource::Kind::Settings(good())) };
    let found = resource_references(&resource, &Contacts);
    assert_eq!(found.len(), 1);
    assert_eq!(
        (found[0].rule, found[0].field.as_str(), found[0].nearest.as_deref()),
        (rule::UNKNOWN_CONTACT, "routes[0].steps[1].alert[0]", Some("bosse"))
    );
}

#[test]
fn a_route_is_shown_as_it_is_written_and_a_change_of_order_is_a_change() {
    let shown = crate::convert::fields::shown(&v1::Resource {
        kind: Some(v1::resource::Kind::Settings(good())),
    });
    let shown: Vec<(&str, &str)> = shown.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(
        shown,
        [
            ("mesh.public_url", "https://parallax.example/mesh"),
            ("routes", "[payments]"),
            ("routes.payments.during", "Europe/Berlin mon-fri 09:00-17:00"),
            ("routes.payments.match", "[team=payments, severity!=info]"),
            ("routes.payments.repeat", "4h"),
            ("routes.payments.steps[0]", "{after: 0s, alert: [ops]}"),
            ("routes.payments.steps[1]", "{after: 10m, alert: [boss]}"),
            ("routes.payments.wait", "true"),
        ]
    );
    let with = |over| {
        let storm = Some(v1::StormRule { over, within: seconds(60) });
        v1::Settings { storm, ..good() }
    };
    let changes = crate::convert::fields::diff_settings(&with(0), &with(5));
    let shown: Vec<_> = changes
        .iter()
        .map(|it| (it.field.as_str(), it.before.as_str(), it.after.as_str()))
        .collect();
    assert_eq!(shown, [("mesh.storm", "off", "over 5 within 1m")]);
    let (mut one, mut other) = (good(), good());
    many(&mut one, 2, false);
    many(&mut other, 2, false);
    other.routes.reverse();
    let changes = crate::convert::fields::diff_settings(&one, &other);
    let fields: Vec<&str> = changes.iter().map(|change| change.field.as_str()).collect();
    assert_eq!(fields, ["routes"]);
}

#[test]
fn hours_are_part_of_what_a_change_shows() {
    let (one, mut other) = (good(), good());
    other.routes[0].hours = office(true);
    other.routes[0].wait = false;
    other.routes[0].steps[1].hours = Some(hours_of(&["sat 10:00-14:00"], true));
    let changes = crate::convert::fields::diff_settings(&one, &other);
    let shown: Vec<_> = changes
        .iter()
        .map(|it| (it.field.as_str(), it.before.as_str(), it.after.as_str()))
        .collect();
    let step = "{after: 10m, alert: [boss], outside: Europe/Berlin sat 10:00-14:00}";
    assert_eq!(
        shown,
        [
            ("routes.payments.during", "Europe/Berlin mon-fri 09:00-17:00", ""),
            ("routes.payments.outside", "", "Europe/Berlin mon-fri 09:00-17:00"),
            ("routes.payments.steps[1]", "{after: 10m, alert: [boss]}", step),
            ("routes.payments.wait", "true", ""),
        ]
    );
}
