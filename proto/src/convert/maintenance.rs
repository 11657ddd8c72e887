//! Maintenance windows: what one may say, and when it is.

use std::collections::BTreeSet;
use std::time::Duration;

use parallax_common::calendar::{self, Days, Recurrence, TimeOfDay, When};
use parallax_common::limits::{
    MAINTENANCE_LENGTH_MAX, MAINTENANCE_LENGTH_MIN, MATCHER_PATTERNS_MAX, MATCHERS_MAX,
    SILENCE_LENGTH_MAX,
};
use parallax_common::matcher::{Matcher, Operator};
use parallax_common::rule::{self, Violation};

use super::check::{Known, unknown};
use super::resource::{meta, size_fits, text_fits};
use super::route::operator;
use super::{Findings, time};
use crate::v1;

/// How often a window comes, as it is written.
pub const EVERY: [(&str, v1::Every); 3] =
    [("daily", v1::Every::Daily), ("weekly", v1::Every::Weekly), ("monthly", v1::Every::Monthly)];

/// A window whose days are in order.
pub fn normalise(mut window: v1::Maintenance) -> v1::Maintenance {
    window.days.sort_unstable();
    window.days.dedup();
    window
}

/// Every rule that a window breaks.
pub fn validate(window: &v1::Maintenance) -> Vec<Violation> {
    let name = window.meta.as_ref().map_or("", |meta| &meta.name);
    let mut findings = Findings::new("maintenance", name);
    meta(window.meta.as_ref(), &mut findings);
    text_fits("comment", &window.comment, &mut findings);
    matchers(&window.matchers, &mut findings);
    if window.every() == v1::Every::Unspecified {
        once(window, &mut findings);
    } else {
        recurring(window, &mut findings);
    }
    size_fits(window, &mut findings);
    findings.finish()
}

/// When a window is; `None` when this build cannot tell.
pub fn when(window: &v1::Maintenance) -> Option<When> {
    let length = || Duration::try_from(window.length?).ok();
    let days = match window.every() {
        v1::Every::Unspecified => {
            let (from, until) = (window.starts_at.as_ref()?, window.ends_at.as_ref()?);
            return Some(When::Once(time::utc(from)?, time::utc(until)?));
        }
        v1::Every::Daily => Days::Every,
        v1::Every::Weekly => {
            let days: BTreeSet<u8> =
                window.days.iter().filter_map(|day| u8::try_from(*day).ok()).collect();
            Days::OfWeek(days)
        }
        v1::Every::Monthly => Days::OfMonth(u8::try_from(window.day).ok()?),
    };
    let recurrence = Recurrence {
        days,
        at: TimeOfDay::parse(&window.at)?,
        length: length()?,
        zone: calendar::zone(&window.zone).ok()?,
    };
    Some(When::Recurring(recurrence))
}

/// A check that a window names exactly must exist: a window with a slip in it is quiet about nothing.
pub fn references(window: &v1::Maintenance, known: &impl Known) -> Vec<Violation> {
    let name = window.meta.as_ref().map_or("", |meta| &meta.name);
    let mut findings = Findings::new("maintenance", name);
    for (place, matcher) in window.matchers.iter().enumerate() {
        let exact = matcher.key == "check" && matcher.operator() == v1::MatchOperator::Equal;
        if exact && !matcher.value.is_empty() && !known.check(&matcher.value) {
            let message = format!("there is no check `{}`", matcher.value);
            let at = ("matchers", place);
            unknown(
                rule::UNKNOWN_CHECK,
                at,
                &matcher.value,
                message,
                known.checks(),
                &mut findings,
            );
        }
    }
    findings.finish()
}

fn matchers(given: &[v1::Matcher], findings: &mut Findings<'_>) {
    let is_pattern = |it: &&v1::Matcher| operator(it.operator()).is_some_and(Operator::is_pattern);
    let patterns = given.iter().filter(is_pattern).count();
    if !(1..=MATCHERS_MAX).contains(&given.len()) || patterns > MATCHER_PATTERNS_MAX {
        let message = format!(
            "{} are given, {patterns} of them patterns; from 1 to {MATCHERS_MAX} are allowed, with \
             at most {MATCHER_PATTERNS_MAX} patterns",
            given.len()
        );
        findings.add(rule::MATCHERS_COUNT, "matchers", message);
        return;
    }
    let mut read = Vec::with_capacity(given.len());
    for (place, matcher) in given.iter().enumerate() {
        let field = format!("matchers[{place}]");
        match operator(matcher.operator()) {
            Some(operator) => match Matcher::new(&matcher.key, operator, &matcher.value) {
                Ok(matcher) => read.push(matcher),
                Err(error) => findings.add(error.rule(), field, error.to_string()),
            },
            None => findings.add(rule::MATCHER_FORMAT, field, "an operator is needed"),
        }
    }
    if read.len() == given.len() && read.iter().all(|matcher| matcher.fits("")) {
        let message = "all of them fit what has no labels, so this silences everything; add one that \
                       a missing label does not fit";
        findings.add(rule::MATCHERS_ANY, "matchers", message);
    }
}

/// A window that is once: it has two ends and nothing else.
fn once(window: &v1::Maintenance, findings: &mut Findings<'_>) {
    let recurs = [
        ("days", !window.days.is_empty()),
        ("day", window.day != 0),
        ("at", !window.at.is_empty()),
        ("for", window.length.is_some()),
        ("zone", !window.zone.is_empty()),
    ];
    if let Some((field, _)) = recurs.iter().find(|(_, given)| *given) {
        let message = format!("`{field}` is for a window that recurs: say `every`, too");
        findings.add(rule::MAINTENANCE_WHEN, *field, message);
        return;
    }
    let (Some(from), Some(until)) = (&window.starts_at, &window.ends_at) else {
        let message = "it needs `from` and `until`, or `every`";
        let missing = match (&window.starts_at, &window.ends_at) {
            (None, Some(_)) => "from",
            (Some(_), None) => "until",
            _ => "",
        };
        findings.add(rule::MAINTENANCE_WHEN, missing, message);
        return;
    };
    let fits = match (time::utc(from), time::utc(until)) {
        (Some(from), Some(until)) => from < until && until.since(from) <= SILENCE_LENGTH_MAX,
        _ => false,
    };
    if !fits {
        let message = "it must lie after `from`, at most 366 days";
        findings.add(rule::MAINTENANCE_LENGTH, "until", message);
    }
}

fn recurring(window: &v1::Maintenance, findings: &mut Findings<'_>) {
    for (field, given) in
        [("from", window.starts_at.is_some()), ("until", window.ends_at.is_some())]
    {
        if given {
            let message = format!("a window that recurs has no `{field}`");
            findings.add(rule::MAINTENANCE_WHEN, field, message);
        }
    }
    days(window, findings);
    if TimeOfDay::parse(&window.at).is_none() {
        let message = format!("`{}` is not a time of day such as 02:30", window.at);
        findings.add(rule::MAINTENANCE_AT, "at", message);
    }
    let length = window.length.and_then(|length| Duration::try_from(length).ok());
    let fits = |length| (MAINTENANCE_LENGTH_MIN..=MAINTENANCE_LENGTH_MAX).contains(&length);
    if !length.is_some_and(fits) {
        let message = "say how long it lasts, from 1m to 24h";
        findings.add(rule::MAINTENANCE_LENGTH, "for", message);
    }
    if let Err(near) = calendar::zone(&window.zone) {
        let message = format!("`{}` is not the name of a time zone", window.zone);
        findings.add_near(rule::MAINTENANCE_ZONE, "zone", message, near.as_deref());
    }
}

fn days(window: &v1::Maintenance, findings: &mut Findings<'_>) {
    let (week, month) = (!window.days.is_empty(), window.day != 0);
    let known = window.days.iter().all(|day| (1..=7).contains(day));
    let wrong = match window.every() {
        v1::Every::Weekly if !week || !known => Some(("days", "name the days of the week")),
        v1::Every::Weekly if month => Some(("day", "a weekly window has `days`")),
        v1::Every::Monthly if !(1..=31).contains(&window.day) => {
            Some(("day", "name the day of the month, from 1 to 31"))
        }
        v1::Every::Monthly if week => Some(("days", "a monthly window has `day`")),
        v1::Every::Daily if week => Some(("days", "a daily window is on all days")),
        v1::Every::Daily if month => Some(("day", "a daily window is on all days")),
        _ => None,
    };
    if let Some((field, message)) = wrong {
        findings.add(rule::MAINTENANCE_DAYS, field, message);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use parallax_common::rule::Rule;
    use parallax_common::time::UtcTime;

    use super::*;
    use crate::convert::route::{matcher_shown, matcher_to};

    fn second(seconds: i64) -> Option<prost_types::Timestamp> {
        Some(prost_types::Timestamp { seconds, nanos: 0 })
    }

    fn weekly() -> v1::Maintenance {
        v1::Maintenance {
            meta: Some(v1::Meta {
                name: "backup".into(),
                namespace: "default".into(),
                ..v1::Meta::default()
            }),
            matchers: vec![matcher_to(&Matcher::parse("team=payments").unwrap())],
            every: v1::Every::Weekly.into(),
            days: vec![7],
            at: "02:30".into(),
            length: Some(prost_types::Duration { seconds: 7_200, nanos: 0 }),
            zone: "Europe/Berlin".into(),
            ..v1::Maintenance::default()
        }
    }

    fn once() -> v1::Maintenance {
        v1::Maintenance {
            starts_at: second(1_000),
            ends_at: second(2_000),
            matchers: weekly().matchers,
            meta: weekly().meta,
            ..v1::Maintenance::default()
        }
    }

    type Row = (Rule, &'static str, fn() -> v1::Maintenance);

    const ROWS: &[Row] = &[
        (rule::MAINTENANCE_WHEN, "from", || v1::Maintenance { starts_at: None, ..once() }),
        (rule::MAINTENANCE_WHEN, "until", || v1::Maintenance { ends_at: None, ..once() }),
        (rule::MAINTENANCE_WHEN, "", || v1::Maintenance {
            starts_at: None,
            ends_at: None,
            ..once()
        }),
        (rule::MAINTENANCE_WHEN, "at", || v1::Maintenance { at: "02:30".into(), ..once() }),
        (rule::MAINTENANCE_WHEN, "days", || v1::Maintenance { days: vec![1], ..once() }),
        (rule::MAINTENANCE_WHEN, "zone", || v1::Maintenance { zone: "UTC".into(), ..once() }),
        (rule::MAINTENANCE_WHEN, "from", || v1::Maintenance { starts_at: second(1), ..weekly() }),
        (rule::MAINTENANCE_WHEN, "until", || v1::Maintenance { ends_at: second(1), ..weekly() }),
        (rule::MAINTENANCE_LENGTH, "until", || v1::Maintenance {
            ends_at: second(1_000),
            ..once()
        }),
        (rule::MAINTENANCE_LENGTH, "until", || v1::Maintenance {
            ends_at: second(1_001 + 366 * 86_400),
            ..once()
        }),
        (rule::MAINTENANCE_LENGTH, "for", || v1::Maintenance { length: None, ..weekly() }),
        (rule::MAINTENANCE_LENGTH, "for", || v1::Maintenance {
            length: Some(prost_types::Duration { seconds: 86_401, nanos: 0 }),
            ..weekly()
        }),
        (rule::MAINTENANCE_LENGTH, "for", || v1::Maintenance {
            length: Some(prost_types::Duration { seconds: 59, nanos: 0 }),
            ..weekly()
        }),
        (rule::MAINTENANCE_AT, "at", || v1::Maintenance { at: "2:30".into(), ..weekly() }),
        (rule::MAINTENANCE_ZONE, "zone", || v1::Maintenance {
            zone: "Europe/Berlim".into(),
            ..weekly()
        }),
        (rule::MAINTENANCE_ZONE, "zone", || v1::Maintenance { zone: String::new(), ..weekly() }),
        (rule::MAINTENANCE_DAYS, "days", || v1::Maintenance { days: vec![], ..weekly() }),
        (rule::MAINTENANCE_DAYS, "days", || v1::Maintenance { days: vec![8], ..weekly() }),
        (rule::MAINTENANCE_DAYS, "day", || v1::Maintenance { day: 3, ..weekly() }),
        (rule::MAINTENANCE_DAYS, "day", || v1::Maintenance {
            every: v1::Every::Monthly.into(),
            days: vec![],
            day: 32,
            ..weekly()
        }),
        (rule::MAINTENANCE_DAYS, "days", || v1::Maintenance {
            every: v1::Every::Monthly.into(),
            day: 3,
            ..weekly()
        }),
        (rule::MAINTENANCE_DAYS, "days", || v1::Maintenance {
            every: v1::Every::Daily.into(),
            ..weekly()
        }),
        (rule::MATCHERS_COUNT, "matchers", || v1::Maintenance { matchers: vec![], ..weekly() }),
        (rule::MATCHERS_ANY, "matchers", || v1::Maintenance {
            matchers: vec![matcher_to(&Matcher::parse("team!=x").unwrap())],
            ..weekly()
        }),
        (rule::MATCHER_FORMAT, "matchers[0]", || v1::Maintenance {
            matchers: vec![v1::Matcher { key: "a b".into(), operator: 1, value: String::new() }],
            ..weekly()
        }),
        (rule::MATCHER_PATTERN, "matchers[0]", || v1::Maintenance {
            matchers: vec![v1::Matcher { key: "a".into(), operator: 3, value: "(".into() }],
            ..weekly()
        }),
        (rule::TEXT_TOO_LONG, "comment", || v1::Maintenance {
            comment: "x".repeat(100_000),
            ..weekly()
        }),
        (rule::NAME_FORMAT, "name", || v1::Maintenance {
            meta: Some(v1::Meta { name: "A B".into(), ..v1::Meta::default() }),
            ..weekly()
        }),
    ];

    #[test]
    fn each_row_breaks_its_rule_and_no_other() {
        for good in [weekly(), once()] {
            assert_eq!(validate(&good), [], "{good:?}");
        }
        for (at, (rule, field, window)) in ROWS.iter().enumerate() {
            let found = validate(&window());
            let found: Vec<_> = found.iter().map(|it| (it.rule, it.field.as_str())).collect();
            assert_eq!(found, [(*rule, *field)], "row {at}");
        }
        let broken: BTreeSet<Rule> = ROWS.iter().map(|(rule, ..)| *rule).collect();
        for rule in rule::ALL.iter().filter(|rule| rule.id.starts_with("maintenance_")) {
            let elsewhere = rule.stage != parallax_common::rule::Stage::Resource;
            assert!(elsewhere || broken.contains(rule), "{rule} has no row");
        }
    }

    #[test]
    fn a_window_is_when_it_says() {
        let first = |window: &v1::Maintenance, now: i64| {
            let now = UtcTime::from_ns(now * 1_000_000_000);
            when(window).unwrap().after(now).next().map(|span| span.from.as_ns() / 1_000_000_000)
        };
        // Sunday 2026-03-29, the day on which the clock jumps over 02:30.
        assert_eq!(first(&weekly(), 1_774_656_000), Some(1_774_747_800));
        assert_eq!(first(&once(), 0), Some(1_000));
        assert_eq!(first(&once(), 2_000), None);
        let unknown = v1::Maintenance { zone: "Mars/Olympus".into(), ..weekly() };
        assert!(when(&unknown).is_none());
    }

    #[test]
    fn matchers_are_written_as_they_are_read() {
        for text in ["team=payments", "team!=a", "check=~pay.*", "a!~b"] {
            assert_eq!(matcher_shown(&matcher_to(&Matcher::parse(text).unwrap())), text);
        }
    }
}
