use parallax_common::calendar::hours::Time;
use parallax_common::matcher::Matcher;
use parallax_proto::convert::hours::time_to;
use parallax_proto::convert::route::matcher_to;

use super::*;

/// `a team=x severity=critical`, with `+` behind the name of one that hands on, and `during:name`,
/// `outside:name` or `wait:name` for one with hours, in the zone of that name. They are those of an office,
/// or what is behind a `@`.
fn route(text: &str) -> v1::Route {
    let mut words = text.split_whitespace();
    let name = words.next().unwrap();
    let (hours, matchers): (Vec<&str>, Vec<&str>) = words.partition(|word| word.contains(':'));
    let hours = hours.first().and_then(|word| word.split_once(':'));
    let zone = |(word, name): (&str, &str)| {
        let (zone, time) = name.split_once('@').unwrap_or((name, "09:00-17:00"));
        let times = vec![time_to(&Time::parse(time).unwrap())];
        v1::Hours { zone: zone.to_owned(), outside: word == "outside", times }
    };
    v1::Route {
        name: name.trim_end_matches('+').to_owned(),
        matchers: matchers.iter().map(|word| matcher_to(&Matcher::parse(word).unwrap())).collect(),
        r#continue: name.ends_with('+'),
        hours: hours.map(zone),
        wait: hours.is_some_and(|(word, _)| word == "wait"),
        ..v1::Route::default()
    }
}

#[test]
fn routes_leave_hours_out_when_each_that_fits_has_some_and_none_has_the_others() {
    for (routes, expected) in [
        ("a during:x", true),
        ("a during:x, b", false),
        ("a during:x, b outside:x", false),
        ("a during:x, b outside:y", true),
        ("a during:x, b during:y", true),
        ("a during:x@06:00-14:00, b during:x@14:00-22:00, c during:x@22:00-06:00", false),
        ("a during:x@06:00-14:00, b during:x@14:00-22:00, c during:x@22:00-05:00", true),
        ("a during:x@06:00-14:00, b during:y@14:00-22:00, c during:x@22:00-06:00", true),
        ("a during:x@08:00-18:00, b outside:x", false),
        ("a during:x@10:00-18:00, b outside:x", true),
        ("a wait:x", false),
        ("a+ during:x, b wait:y", false),
        ("a team=other", false),
        ("a during:x, b team=other", true),
        ("", false),
    ] {
        let routes: Vec<v1::Route> =
            routes.split(',').filter(|it| !it.is_empty()).map(route).collect();
        let incident = sample(&v1::Check::default(), v1::IncidentKind::Down);
        assert_eq!(Routes::new(&routes).leave_hours_out(&incident), expected, "{routes:?}");
    }
}

#[test]
fn the_first_route_that_fits_takes_it_and_one_that_continues_hands_on() {
    // Routes, labels and severity of the incident, who takes it.
    let table = "
        a, b                          | critical             | a
        a team=x, b                   | critical             | b
        a team=x, b                   | critical team=x      | a
        a+ team=x, b                  | critical team=x      | a b
        a+ team=x, b+, c              | critical team=x      | a b c
        a+ team=x, b team=y, c        | critical team=x      | a c
        a+, b+                        | critical             | a b
        a team=x, b team=y            | critical team=z      |
        a severity=critical, b        | warning              | b
        a severity=~critical|warning  | warning              | a
        a severity=info, b kind=down  | info                 | a
        a severity=page, b            | info severity=page   | a
        a check=web region=           | critical             | a
        a kind=region_silent          | critical             |
        a check!=web                  | critical             |
        a during:now, b               | critical             | a
        a during:later, b             | critical             | b - a
        a outside:now, b              | critical             | b - a
        a outside:later, b            | critical             | a
        a during:later                | critical             | - a
        a during:later team=x, b      | critical             | b
        a+ during:later, b+, c        | critical             | b c - a
        a+ during:now, b during:later | critical             | a - b
        a wait:later, b               | critical             | a
        a wait:now, b                 | critical             | a
        a+ wait:later, b              | critical             | a b
        a during:never, b, c          | critical             | a b ? a
        a during:never, b during:never | critical            | a b ? a b
        a outside:never, b during:later | critical           | a - b ? a
        a wait:never, b               | critical             | a ";
    let mut rows = 0;
    for line in table.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let columns: Vec<&str> = line.split('|').map(str::trim).collect();
        // A pattern holds the sign that parts the columns.
        let [routes @ .., incident, expected] = columns.as_slice() else { panic!("{line}") };
        let routes: Vec<v1::Route> = routes.join("|").split(',').map(route).collect();
        let mut words = incident.split_whitespace();
        let severity = match words.next().unwrap() {
            "critical" => v1::Severity::Critical,
            "warning" => v1::Severity::Warning,
            "info" => v1::Severity::Info,
            other => panic!("{other}"),
        };
        let labels = words.map(|word| {
            let (key, value) = word.split_once('=').unwrap();
            (key.to_owned(), value.to_owned())
        });
        let incident = v1::Incident {
            kind: v1::IncidentKind::Down.into(),
            check_name: "web".into(),
            severity: severity.into(),
            labels: labels.collect(),
            ..v1::Incident::default()
        };
        let routes = Routes::new(&routes);
        // Of the hours, those called `now` are, and of those called `never` nobody knows.
        let when = |hours: &v1::Hours| match (hours.zone == "now") != hours.outside {
            _ if hours.zone == "never" => When::Unknown,
            true => When::Within,
            false => When::From(UtcTime::default()),
        };
        let taking = routes.taking(&incident, when);
        let names = |routes: &[&v1::Route]| {
            routes.iter().map(|route| route.name.clone()).collect::<Vec<_>>().join(" ")
        };
        let mut found = names(&taking.routes);
        if !taking.passed.is_empty() {
            found.push_str(&format!(" - {}", names(&taking.passed)));
        }
        if !taking.unknown.is_empty() {
            found.push_str(&format!(" ? {}", names(&taking.unknown)));
        }
        assert_eq!(found.trim(), *expected, "{line}");
        rows += 1;
    }
    assert_eq!(rows, 30);
}

#[test]
fn a_checks_own_severity_has_the_word_and_else_the_kind() {
    let check =
        |severity: v1::Severity| v1::Check { severity: severity.into(), ..v1::Check::default() };
    let silent = v1::IncidentKind::RegionSilent;
    let lasting = |own: v1::Severity, regional: v1::Severity| {
        let regional = v1::Lasting { severity: regional.into(), ..v1::Lasting::default() };
        Some(v1::Check { regional: Some(regional), ..check(own) })
    };
    let warned = |severity: v1::Severity| {
        let warning = v1::Lasting { severity: severity.into(), ..v1::Lasting::default() };
        Some(v1::Check { warning: Some(warning), ..v1::Check::default() })
    };
    use v1::Severity::{Critical, Info, Unspecified, Warning};
    for (kind, check, expected) in [
        (v1::IncidentKind::Regional, Some(check(Critical)), Warning),
        (v1::IncidentKind::Regional, lasting(Unspecified, Unspecified), Warning),
        (v1::IncidentKind::Regional, lasting(Info, Unspecified), Info),
        (v1::IncidentKind::Regional, lasting(Info, Critical), Critical),
        (v1::IncidentKind::Regional, lasting(Critical, Info), Info),
        (v1::IncidentKind::Warning, lasting(Unspecified, Critical), Warning),
        (v1::IncidentKind::Down, lasting(Unspecified, Info), Critical),
        (v1::IncidentKind::Warning, warned(Critical), Critical),
        (v1::IncidentKind::Regional, warned(Critical), Warning),
    ] {
        assert_eq!(severity(kind, check.as_ref()), expected, "{kind:?} {check:?}");
    }
    for (kind, check, expected) in [
        (v1::IncidentKind::Down, Some(check(v1::Severity::Unspecified)), v1::Severity::Critical),
        (v1::IncidentKind::Down, Some(check(v1::Severity::Warning)), v1::Severity::Warning),
        (v1::IncidentKind::Down, Some(check(v1::Severity::Info)), v1::Severity::Info),
        (v1::IncidentKind::Down, None, v1::Severity::Critical),
        (silent, None, v1::Severity::Warning),
        (v1::IncidentKind::RegionExcluded, None, v1::Severity::Warning),
        (v1::IncidentKind::CanaryInDoubt, None, v1::Severity::Warning),
    ] {
        assert_eq!(severity(kind, check.as_ref()), expected, "{kind:?}");
    }
}

#[test]
fn what_is_due_is_the_first_step_or_reminder_and_nothing_once_somebody_has_it() {
    let at = |second: i64| Some(stamp::timestamp(UtcTime::from_ns(second * 1_000_000_000)));
    let seconds = |seconds: i64| Some(prost_types::Duration { seconds, nanos: 0 });
    let step = |after| v1::RoutedStep { after: seconds(after), ..v1::RoutedStep::default() };
    let open = v1::Incident {
        routed: vec![v1::Routed {
            steps: vec![step(0), step(600)],
            done: 1,
            repeat: seconds(400),
            last: at(100),
            ..v1::Routed::default()
        }],
        routed_since: at(100),
        ..v1::Incident::default()
    };
    let due = |incident: &v1::Incident| due(incident).map(|at| at.as_ns() / 1_000_000_000);
    assert_eq!(due(&open), Some(500), "the reminder comes before the step");
    let mut later = open.clone();
    later.routed[0].last = at(500);
    assert_eq!(due(&later), Some(700), "the step before the next reminder");
    later.routed[0].done = 2;
    assert_eq!(due(&later), Some(900));
    later.routed[0].repeat = None;
    assert_eq!(due(&later), None, "all is done");
    // Nobody is reminded before anybody was told.
    let mut delayed = open.clone();
    (delayed.routed[0].done, delayed.routed[0].last) = (0, None);
    delayed.routed[0].steps.remove(0);
    assert_eq!(due(&delayed), Some(700));
    for stop in [
        v1::Incident { acknowledged_at: at(200), ..open.clone() },
        v1::Incident { resolved_at: at(200), ..open.clone() },
        v1::Incident { held: Some(v1::Held::default()), ..open.clone() },
        v1::Incident::default(),
    ] {
        assert_eq!(due(&stop), None);
    }
    let mut waiting = open.clone();
    waiting.routed[0].wait_until = at(5_000);
    assert_eq!(due(&waiting), Some(5_000), "both wait for the route's hours");
    // Where the first step waited, times count from the beginning of the hours.
    (waiting.routed[0].done, waiting.routed[0].last) = (0, None);
    waiting.routed[0].since = at(5_000);
    assert_eq!(due(&waiting), Some(5_000));
    waiting.routed[0].done = 1;
    assert_eq!(due(&waiting), Some(5_600));
    assert_eq!(due(&v1::Incident { quiet_until: at(650), ..open.clone() }), Some(650));
    assert_eq!(due(&v1::Incident { quiet_until: at(300), ..open }), Some(500));
}
