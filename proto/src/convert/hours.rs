//! Hours of routes and of their steps: what they may say, how they are written, and when they are.

use std::collections::BTreeMap;

use parallax_common::calendar;
use parallax_common::calendar::hours::{Hours, Time, are_always, is_always};
use parallax_common::limits::HOURS_TIMES_MAX;
use parallax_common::rule;

use super::Findings;
use crate::v1;

/// A time as messages carry it.
pub fn time_to(time: &Time) -> v1::HoursTime {
    v1::HoursTime {
        days: time.days.iter().map(|day| u32::from(*day)).collect(),
        from_minute: time.from.into(),
        to_minute: time.to.into(),
    }
}

/// `None` for one that is no time of a week.
fn time(wire: &v1::HoursTime) -> Option<Time> {
    let days = wire.days.iter().map(|day| u8::try_from(*day).ok());
    let time = Time {
        days: days.collect::<Option<_>>()?,
        from: u16::try_from(wire.from_minute).ok()?,
        to: u16::try_from(wire.to_minute).ok()?,
    };
    time.is_sound().then_some(time)
}

/// In the one form that they have: the same hours are the same message.
pub fn normalise(hours: &mut v1::Hours) {
    for time in &mut hours.times {
        time.days.sort_unstable();
        time.days.dedup();
    }
    hours.times.sort_by(|one, other| {
        let order = |it: &v1::HoursTime| (it.days.first().copied(), it.from_minute, it.to_minute);
        order(one).cmp(&order(other)).then_with(|| one.days.cmp(&other.days))
    });
    hours.times.dedup();
}

/// All hours that routes and their steps name.
pub fn of_routes(routes: &[v1::Route]) -> impl Iterator<Item = &v1::Hours> {
    routes.iter().flat_map(|route| {
        let of_steps = route.steps.iter().filter_map(|step| step.hours.as_ref());
        route.hours.iter().chain(of_steps)
    })
}

/// Whether hours together leave nothing of the week out. Only those of one zone say that, as clocks
/// change on different days.
pub fn leave_nothing_out<'h>(all: impl IntoIterator<Item = &'h v1::Hours>) -> bool {
    let mut zones: BTreeMap<&str, Vec<(Vec<Time>, bool)>> = BTreeMap::new();
    for hours in all {
        let times = hours.times.iter().filter_map(time).collect();
        zones.entry(&hours.zone).or_default().push((times, hours.outside));
    }
    zones.into_values().any(|theirs| {
        are_always(theirs.iter().map(|(times, outside)| (times.as_slice(), *outside)))
    })
}

/// Every rule that hours break. `at` is the field that they stand in.
pub(super) fn validate(at: &str, hours: &v1::Hours, findings: &mut Findings<'_>) {
    if let Err(near) = calendar::zone(&hours.zone) {
        let message = format!("`{}` is not the name of a time zone", hours.zone);
        findings.add_near(rule::ROUTE_ZONE, format!("{at}.zone"), message, near.as_deref());
    }
    let field = format!("{at}.times");
    if !(1..=HOURS_TIMES_MAX).contains(&hours.times.len()) {
        let given = hours.times.len();
        let message = format!("{given} times are given; say from 1 to {HOURS_TIMES_MAX}");
        findings.add(rule::ROUTE_HOURS, field, message);
        return;
    }
    let times: Vec<Time> = hours.times.iter().filter_map(time).collect();
    if times.len() < hours.times.len() {
        let message = "a time has days from 1 to 7 and two different minutes of a day";
        findings.add(rule::ROUTE_HOURS, field, message);
    } else if is_always(&times) {
        let message = match hours.outside {
            true => "they leave nothing of the week out, so nothing is outside of them",
            false => "they leave nothing of the week out: say no hours instead",
        };
        findings.add(rule::ROUTE_HOURS, field, message);
    }
}

/// Hours as they are looked up in a calendar; `None` when this build does not know the zone.
pub fn hours(wire: &v1::Hours) -> Option<Hours> {
    let times = wire.times.iter().map(time).collect::<Option<Vec<_>>>()?;
    Some(Hours { zone: calendar::zone(&wire.zone).ok()?, times })
}

/// `Europe/Berlin mon-fri 09:00-17:00, sat 10:00-14:00`: the same for the same hours, whether they are
/// meant or all others. The state keeps hours by this text, so it never changes.
pub fn shown(hours: &v1::Hours) -> String {
    let times =
        hours.times.iter().map(|it| time(it).map_or_else(|| "?".into(), |it| it.to_string()));
    format!("{} {}", hours.zone, times.collect::<Vec<String>>().join(", "))
}

/// As they are asked for: `during Europe/Berlin mon-fri 09:00-17:00`, or `outside ...`.
pub fn asked(hours: &v1::Hours) -> String {
    format!("{} {}", word(hours), shown(hours))
}

/// The field that they are written in.
pub(super) fn word(hours: &v1::Hours) -> &'static str {
    if hours.outside { "outside" } else { "during" }
}

/// Why what happens now is passed over: `outside Europe/Berlin mon-fri 09:00-17:00`.
pub fn missed(hours: &v1::Hours) -> String {
    let word = if hours.outside { "within" } else { "outside" };
    format!("{word} {}", shown(hours))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(times: &[&str], outside: bool) -> v1::Hours {
        let times = times.iter().map(|text| time_to(&Time::parse(text).unwrap())).collect();
        let mut hours = v1::Hours { zone: "Europe/Berlin".into(), times, outside };
        normalise(&mut hours);
        hours
    }

    #[test]
    fn hours_are_shown_as_they_are_asked_for_and_as_they_are_missed() {
        let office = wire(&["sat 10:00-14:00", "mon-fri 09:00-17:00", "sat 10:00-14:00"], false);
        assert_eq!(shown(&office), "Europe/Berlin mon-fri 09:00-17:00, sat 10:00-14:00");
        assert_eq!(asked(&office), "during Europe/Berlin mon-fri 09:00-17:00, sat 10:00-14:00");
        assert_eq!(missed(&wire(&["mon"], false)), "outside Europe/Berlin mon");
        assert_eq!(asked(&wire(&["mon"], true)), "outside Europe/Berlin mon");
        assert_eq!(missed(&wire(&["mon"], true)), "within Europe/Berlin mon");
    }

    #[test]
    fn what_means_the_same_is_the_same_message() {
        let one = wire(&["mon-fri 09:00-12:00", "sat"], false);
        let mut other = wire(&["saturday 00:00-24:00", "monday-friday 09:00-12:00"], false);
        assert_eq!(one, other);
        other.times[0].days.reverse();
        assert_ne!(one, other);
        normalise(&mut other);
        assert_eq!(one, other);
    }

    #[test]
    fn what_no_build_writes_is_never() {
        let mut odd = wire(&["mon"], false);
        odd.times[0].days = vec![8];
        assert!(hours(&odd).is_none());
        assert_eq!(shown(&odd), "Europe/Berlin ?");
        assert!(hours(&wire(&["mon"], true)).is_some());
    }
}
