use std::sync::Arc;
use std::time::Duration;

use parallax_common::calendar::hours::Time;
use parallax_common::limits::{HOURS_SPANS_MAX, HOURS_TIMES_MAX};
use parallax_proto::convert::hours::time_to;

use super::*;

const HOUR: i64 = 3_600;
const DAY: i64 = 24 * HOUR;
/// Monday 2026-11-23, midnight by UTC.
const MONDAY: i64 = 1_795_392_000;

fn at(second: i64) -> UtcTime {
    UtcTime::from_ns(second * 1_000_000_000)
}

fn office(zone: &str, times: &[&str]) -> v1::Hours {
    let times = times.iter().map(|text| time_to(&Time::parse(text).unwrap())).collect();
    v1::Hours { zone: zone.to_owned(), times, outside: false }
}

/// A state whose routes name these hours, of which rows are known.
fn naming(hours: Vec<v1::Hours>, rows: Vec<store::HoursRow>) -> State {
    let route = |hours| v1::Route { hours: Some(hours), ..v1::Route::default() };
    let routes = hours.into_iter().map(route).collect();
    let settings = v1::Settings { routes, ..v1::Settings::default() };
    let mut state = State::default();
    state.settings.insert("default".to_owned(), Arc::new(settings));
    for row in rows {
        state.hours.insert(hours::shown(row.hours.as_ref().unwrap()), Arc::new(row));
    }
    state
}

#[test]
fn hours_begin_as_the_table_says() {
    let row = store::HoursRow {
        spans: [(100, 200), (300, 400)]
            .map(|(from, until)| store::HoursSpan {
                from_utc_ns: at(from).as_ns(),
                until_utc_ns: at(until).as_ns(),
            })
            .to_vec(),
        until_utc_ns: at(1_000).as_ns(),
        hours: None,
    };
    let from = |second: i64| When::From(at(second));
    // Now, what it is to the hours, and to the time outside of them.
    for (now, during, outside) in [
        (0, from(100), When::Within),
        (99, from(100), When::Within),
        (100, When::Within, from(200)),
        (199, When::Within, from(200)),
        (200, from(300), When::Within),
        (300, When::Within, from(400)),
        (400, from(1_000), When::Within),
        (999, from(1_000), When::Within),
        (1_000, When::Unknown, When::Unknown),
        (5_000, When::Unknown, When::Unknown),
    ] {
        assert_eq!(when(Some(&row), false, at(now)), during, "{now}");
        assert_eq!(when(Some(&row), true, at(now)), outside, "{now}");
    }
    assert_eq!(when(None, false, at(0)), When::Unknown);
    assert_eq!(when(None, true, at(0)), When::Unknown);
    // One that goes on beyond what is known is asked again there.
    let open_end = store::HoursRow { until_utc_ns: at(350).as_ns(), ..row };
    assert_eq!(when(Some(&open_end), true, at(300)), from(350));
    assert_eq!(from(350).wait(), Some(at(350)));
    assert_eq!((When::Within.wait(), When::Unknown.wait()), (None, None));
}

#[test]
fn hours_are_due_until_they_are_written_down_and_again_before_they_run_out() {
    let berlin = office("Europe/Berlin", &["mon-fri 09:00-17:00"]);
    let now = at(MONDAY);
    let first = due(&naming(vec![berlin.clone()], vec![]), now);
    assert_eq!(unknown_zones(&naming(vec![berlin.clone()], vec![])), BTreeSet::new());
    assert_eq!(first.len(), 1);
    assert_eq!(first[0].until_utc_ns, (now + HOURS_AHEAD).as_ns());
    assert_eq!(first[0].spans.len(), 15, "three weeks of office hours");
    assert_eq!(first[0].spans[0].from_utc_ns, at(MONDAY + 8 * HOUR).as_ns());
    // Outside of them is known from the same row.
    let outside = v1::Hours { outside: true, ..berlin.clone() };
    let written = naming(vec![berlin.clone(), outside], first.clone());
    for (later, expected) in [(0, 0), (6 * DAY, 0), (7 * DAY, 0), (7 * DAY + 1, 1), (30 * DAY, 1)] {
        assert_eq!(due(&written, at(MONDAY + later)).len(), expected, "{later}");
    }
    // No route names them any more, and a step that is open still goes by them.
    assert_eq!(due(&naming(vec![], first.clone()), at(MONDAY + 8 * DAY)).len(), 1);
    assert_eq!(due(&naming(vec![], vec![]), now), []);
    let nowhere = naming(vec![berlin, office("Mars/Olympus", &["mon"])], first);
    assert_eq!(due(&nowhere, now), [], "a zone that this build does not know");
    assert_eq!(unknown_zones(&nowhere), BTreeSet::from(["Mars/Olympus".to_owned()]));
}

#[test]
fn what_another_build_wrote_down_is_corrected() {
    let berlin = office("Europe/Berlin", &["mon-sat"]);
    let now = at(MONDAY);
    let mut rows = due(&naming(vec![berlin.clone()], vec![]), now);
    let right = rows[0].clone();
    for later in 0..7 * 24 {
        let state = naming(vec![berlin.clone()], rows.clone());
        assert_eq!(due(&state, at(MONDAY + later * HOUR)), [], "{later}");
    }
    rows[0].spans[2].from_utc_ns += 1;
    let corrected = due(&naming(vec![berlin.clone()], rows.clone()), now);
    assert_eq!((corrected.len(), &corrected[0]), (1, &right));
    // What is over is not.
    let (mut past, second) = (right.clone(), 1_000_000_000);
    past.spans[0].from_utc_ns -= second;
    let state = naming(vec![berlin], vec![past.clone()]);
    let over = UtcTime::from_ns(past.spans[0].until_utc_ns);
    assert_eq!(due(&state, over - Duration::from_secs(1)).len(), 1);
    assert_eq!(due(&state, over), []);
}

#[test]
fn one_entry_takes_a_bounded_number_and_what_is_not_known_comes_first() {
    let named: Vec<v1::Hours> = (0..HOURS_DUE_MAX + 9)
        .map(|n| office("UTC", &[format!("mon {:02}:{:02}-23:00", n / 60, n % 60).as_str()]))
        .collect();
    let known = due(&naming(named.clone(), vec![]), at(MONDAY));
    assert_eq!(known.len(), HOURS_DUE_MAX);
    let late = at(MONDAY + 10 * DAY);
    let rest = due(&naming(named, known.clone()), late);
    assert_eq!(rest.len(), HOURS_DUE_MAX);
    let is_known = |row: &store::HoursRow| known.iter().any(|it| it.hours == row.hours);
    assert!(rest.iter().take(9).all(|row| !is_known(row)));
    assert!(rest.iter().skip(9).all(is_known));
}

#[test]
fn a_row_with_as_many_times_as_there_may_be_fits() {
    let times: Vec<String> = (0..HOURS_TIMES_MAX).map(|n| format!("{n:02}:00-{n:02}:30")).collect();
    let times: Vec<&str> = times.iter().map(String::as_str).collect();
    let rows = due(&naming(vec![office("Europe/Berlin", &times)], vec![]), at(MONDAY + HOUR));
    let spans = rows[0].spans.len();
    assert!(spans > 300 && spans <= HOURS_SPANS_MAX, "{spans}");
}
