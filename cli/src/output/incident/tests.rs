use parallax_proto::v1::timeline_event::Event;

use super::*;

#[test]
fn what_hours_have_kept_back_is_said_with_the_hours() {
    let time = v1::HoursTime { days: (1..=5).collect(), from_minute: 540, to_minute: 1_020 };
    let hours = |outside| {
        Some(v1::Hours { zone: "Europe/Berlin".into(), times: vec![time.clone()], outside })
    };
    let passed =
        |route: &str, outside| v1::PassedRoute { route: route.into(), hours: hours(outside) };
    let until = Some(prost_types::Timestamp { seconds: 1_795_420_800, nanos: 0 });
    let route = || "desk".to_owned();
    for (event, word, expected) in [
        (
            Event::RoutesPassed(v1::RoutesPassed {
                routes: vec![passed("day", false), passed("night", true)],
            }),
            "routes_passed",
            "routes that fit and are passed over: day (outside Europe/Berlin mon-fri 09:00-17:00); night \
             (within Europe/Berlin mon-fri 09:00-17:00)",
        ),
        (
            Event::RouteWaits(v1::RouteWaits { route: route(), hours: hours(false), until }),
            "route_waits",
            "route desk waits until 2026-11-23T08:00:00.000Z: outside Europe/Berlin mon-fri 09:00-17:00",
        ),
        (
            Event::StepPassed(v1::StepPassed { route: route(), step: 2, hours: hours(true) }),
            "step_passed",
            "step 2 of route desk is passed over: within Europe/Berlin mon-fri 09:00-17:00",
        ),
    ] {
        let view = EventView::new(&v1::TimelineEvent { at: None, event: Some(event) });
        assert_eq!((view.event, view.text.as_str()), (word, expected));
    }
}

#[test]
fn an_incident_whose_check_verified_nobody_is_shown_as_insecure() {
    for (insecure, subject) in [(true, "shop is down (insecure)"), (false, "shop is down")] {
        let incident = v1::Incident {
            kind: v1::IncidentKind::Down.into(),
            check_name: "shop".to_owned(),
            insecure,
            ..v1::Incident::default()
        };
        let view = IncidentView::new(&incident, &[]);
        assert_eq!(view.subject(), subject);
        let json = serde_json::to_value(&view).unwrap();
        let shown = json.get("insecure").and_then(serde_json::Value::as_bool);
        assert_eq!(shown, insecure.then_some(true), "{json}");
    }
}

#[test]
fn an_incident_of_the_mesh_says_what_it_is_about() {
    for (kind, subject) in [
        (v1::IncidentKind::RegionSilent, "region eu is silent"),
        (v1::IncidentKind::RegionExcluded, "a probe of region eu is not believed"),
        (v1::IncidentKind::RegionOutdated, "a probe of region eu is outdated"),
        (v1::IncidentKind::CanaryInDoubt, "canary no-such-name is in doubt"),
    ] {
        let mut incident = v1::Incident { kind: kind.into(), ..v1::Incident::default() };
        match kind {
            v1::IncidentKind::CanaryInDoubt => incident.check_name = "no-such-name".to_owned(),
            _ => incident.region = "eu".to_owned(),
        }
        assert_eq!(IncidentView::new(&incident, &[]).subject(), subject);
    }
}
