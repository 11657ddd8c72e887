//! What an alert and an objective say beside what they count: how bad it is, whom they tell, over which time.

use super::*;

/// The cluster of one check, with a second contact beside the check's own `ops`.
fn with_boss(of: v1::Check) -> World {
    let mut world = World::new(check(&[], None));
    let boss = v1::Contact {
        meta: meta("boss"),
        ..world.state.contact_named("default", "ops").unwrap().clone()
    };
    world.configure(vec![Kind::Contact(boss)]);
    world.configure(vec![Kind::Check(of)]);
    world
}

fn told(incident: &v1::Incident) -> Vec<&str> {
    incident.deliveries.iter().map(|page| page.contact_name.as_str()).collect()
}

fn names(of: &[&str]) -> Vec<String> {
    of.iter().map(|&name| name.to_owned()).collect()
}

#[test]
fn an_alert_has_its_own_severity_and_without_it_is_a_warning() {
    for (severity, expected) in [
        (v1::Severity::Unspecified, v1::Severity::Warning),
        (v1::Severity::Info, v1::Severity::Info),
        (v1::Severity::Warning, v1::Severity::Warning),
        (v1::Severity::Critical, v1::Severity::Critical),
    ] {
        // What the check itself is does not matter to its alerts.
        for of_check in [v1::Severity::Info, v1::Severity::Critical] {
            let mut of = check(&[ERRORS], None);
            of.severity = of_check.into();
            of.alerts[0].severity = severity.into();
            let mut world = World::new(of);
            world.run(0..12, [5, 5, 5]);
            assert_eq!(world.turn(12), [turned("errors", Open)]);
            assert_eq!(world.incident("errors").severity(), expected, "{severity:?}");
        }
    }
}

#[test]
fn an_alert_tells_whom_its_own_alert_names_and_else_whom_the_check_names() {
    let table: [(&[&str], &[&str]); 3] =
        [(&[], &["ops"]), (&["boss"], &["boss"]), (&["boss", "ops"], &["boss", "ops"])];
    for (alert, expected) in table {
        let mut of = check(&[ERRORS, SLOW], None);
        of.alerts[0].alert = names(alert);
        let mut world = with_boss(of);
        world.run(0..14, [5, 5, 5]);
        assert_eq!(world.turn(14), [turned("errors", Open), turned("slow", Open)]);
        assert_eq!(told(world.incident("errors")), expected, "{alert:?}");
        assert_eq!(told(world.incident("slow")), ["ops"], "the other one says nothing");
    }
}

#[test]
fn a_burning_budget_tells_whom_slo_alert_names_and_else_whom_the_check_names() {
    let table: [(&[&str], &[&str]); 3] =
        [(&[], &["ops"]), (&["boss"], &["boss"]), (&["boss", "ops"], &["boss", "ops"])];
    for (alert, expected) in table {
        let mut of = check(&[], Some("99%"));
        of.slo.as_mut().unwrap().alert = names(alert);
        let mut world = with_boss(of);
        world.run(0..60, [5, 5, 5]);
        assert_eq!(world.turn(60), [turned("slo:1h", Open)]);
        assert_eq!(told(world.incident("slo:1h")), expected, "{alert:?}");
    }
}

#[test]
fn a_budget_counts_the_runs_of_its_own_time_and_forgets_what_is_older() {
    // An hour with failures, and thirty without.
    const HOURS: i64 = 31;
    for (days, failed, left_ppm) in [(None, 5_400, Some(838_710)), (Some(1), 0, Some(1_000_000))] {
        let mut of = check(&[], Some("90%"));
        let over = days.map(|days| prost_types::Duration { seconds: days * 86_400, nanos: 0 });
        of.slo.as_mut().unwrap().over = over;
        let mut world = World::new(of);
        world.run(0..60, [5, 5, 5]);
        world.run(60..HOURS * 60, [0, 0, 0]);
        let (entry, told) = (world.entry(), Told::default());
        let now = contract::at(HOURS * 3_600 + 20);
        let look = Look::new(&world.history, &world.state, &entry, &told, now);
        let budget = look.budget().unwrap().unwrap();
        assert_eq!((budget.failed, budget.left_ppm), (failed, left_ppm), "{days:?}");
        let runs = if days.is_some() { 24 } else { HOURS };
        assert_eq!(i64::try_from(budget.runs), Ok(runs * 3_600 * 3), "{days:?}");
    }
}
