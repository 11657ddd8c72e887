use parallax_common::matcher::Matcher;
use parallax_proto::convert::route::matcher_to;

use super::*;

/// `a team=x severity=critical`, with `+` behind the name of one that hands on.
fn route(text: &str) -> v1::Route {
    let mut words = text.split_whitespace();
    let name = words.next().unwrap();
    v1::Route {
        name: name.trim_end_matches('+').to_owned(),
        matchers: words.map(|word| matcher_to(&Matcher::parse(word).unwrap())).collect(),
        r#continue: name.ends_with('+'),
        ..v1::Route::default()
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
        a check!=web                  | critical             | ";
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
        let taking: Vec<&str> =
            routes.taking(&incident).iter().map(|route| route.name.as_str()).collect();
        assert_eq!(taking.join(" "), *expected, "{line}");
        rows += 1;
    }
    assert_eq!(rows, 15);
}

#[test]
fn a_checks_own_severity_has_the_word_and_else_the_kind() {
    let check =
        |severity: v1::Severity| v1::Check { severity: severity.into(), ..v1::Check::default() };
    let silent = v1::IncidentKind::RegionSilent;
    for (kind, check, expected) in [
        (v1::IncidentKind::Down, Some(check(v1::Severity::Unspecified)), v1::Severity::Critical),
        (v1::IncidentKind::Down, Some(check(v1::Severity::Warning)), v1::Severity::Warning),
        (v1::IncidentKind::Down, Some(check(v1::Severity::Info)), v1::Severity::Info),
        (v1::IncidentKind::Down, None, v1::Severity::Critical),
        (silent, None, v1::Severity::Warning),
        (v1::IncidentKind::RegionExcluded, None, v1::Severity::Warning),
    ] {
        assert_eq!(severity(kind, check.as_ref()), expected, "{kind:?}");
    }
}

#[test]
fn what_is_due_is_the_first_step_or_reminder_and_nothing_once_somebody_has_it() {
    let at = |second: i64| Some(stamp::timestamp(UtcTime::from_ns(second * 1_000_000_000)));
    let seconds = |seconds: i64| Some(prost_types::Duration { seconds, nanos: 0 });
    let step = |after| v1::RoutedStep { after: seconds(after), contacts: vec![] };
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
    assert_eq!(due(&v1::Incident { quiet_until: at(650), ..open.clone() }), Some(650));
    assert_eq!(due(&v1::Incident { quiet_until: at(300), ..open }), Some(500));
}
