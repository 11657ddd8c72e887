//! When something is that people planned by their own clock: once, or again and again.
//!
//! Pure: time zones come with the build, and nobody reads a clock. Two builds may know a zone
//! differently, so what is found here is written down by whoever finds it and never found again by
//! others.
//!
//! A local time that a clock jumps over begins as much later as the clock jumps; one that comes twice
//! begins the first time. What begins lasts exactly as long as was said, whatever the clock does
//! meanwhile. What has two ends by the clock, such as the hours of an office, is in [`hours`].

pub mod hours;

use std::collections::BTreeSet;
use std::sync::LazyLock;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::{TimeZone, TimeZoneDatabase};

use crate::text::nearest;
use crate::time::UtcTime;

/// Those of the build and no others: what a machine has installed would make members differ.
static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// More days than ever lie between two times of a day that comes every month.
const DAYS_MAX: usize = 100;

/// The days on which something is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Days {
    /// Each.
    Every,
    /// Of a week, from Monday, which is 1, to Sunday, which is 7.
    OfWeek(BTreeSet<u8>),
    /// Of a month, from 1. A month that has no such day is passed over.
    OfMonth(u8),
}

/// Something that comes again and again.
#[derive(Debug, Clone)]
pub struct Recurrence {
    /// On which days.
    pub days: Days,
    /// By the clock of the zone.
    pub at: TimeOfDay,
    /// How long each time.
    pub length: Duration,
    /// Whose clock.
    pub zone: TimeZone,
}

/// When something is.
#[derive(Debug, Clone)]
pub enum When {
    /// From then until before then.
    Once(UtcTime, UtcTime),
    /// Again and again.
    Recurring(Recurrence),
}

/// One time at which it is: from then until before then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// From then on.
    pub from: UtcTime,
    /// Until before then.
    pub until: UtcTime,
}

/// A time of day by a local clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeOfDay {
    hour: i8,
    minute: i8,
}

impl TimeOfDay {
    /// `02:30`: two digits, a colon, two digits, up to `23:59`.
    pub fn parse(text: &str) -> Option<Self> {
        let (hour, minute) = text.split_once(':')?;
        let number = |text: &str, most: i8| {
            let digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse().ok().filter(|number| digits && *number <= most)
        };
        Some(Self { hour: number(hour, 23)?, minute: number(minute, 59)? })
    }

    /// How many minutes of the day lie before it.
    fn minute_of_day(self) -> u16 {
        u16::from(self.hour.unsigned_abs()) * 60 + u16::from(self.minute.unsigned_abs())
    }
}

/// The zone with exactly this name, such as `Europe/Berlin`.
///
/// # Errors
/// A name that is near, if there is one.
pub fn zone(name: &str) -> Result<TimeZone, Option<String>> {
    match ZONES.get(name) {
        Ok(zone) if zone.iana_name() == Some(name) => Ok(zone),
        _ => {
            let known: Vec<String> = ZONES.available().map(|name| name.to_string()).collect();
            let lower = name.to_ascii_lowercase();
            let same = known.iter().find(|known| known.to_ascii_lowercase() == lower);
            let near = same.cloned();
            Err(near.or_else(|| nearest(name, known.iter().map(String::as_str)).map(str::to_owned)))
        }
    }
}

impl When {
    /// The times that end after `now`, the earliest first.
    pub fn after(&self, now: UtcTime) -> Box<dyn Iterator<Item = Span> + '_> {
        match self {
            Self::Once(from, until) => {
                let span = Span { from: *from, until: *until };
                Box::new(std::iter::once(span).filter(move |span| span.until > now))
            }
            Self::Recurring(recurrence) => Box::new(recurrence.after(now)),
        }
    }
}

impl Recurrence {
    /// The times that end after `now`, the earliest first. There is no end of them.
    fn after(&self, now: UtcTime) -> impl Iterator<Item = Span> + '_ {
        // A day before and one more: clocks that jump move a start by hours, never by days, but for
        // the day that some islands once left out.
        let first = now - self.length - Duration::from_secs(2 * 86_400);
        let mut day = date(first, &self.zone);
        let mut last = UtcTime::from_ns(i64::MIN);
        std::iter::from_fn(move || {
            for _ in 0..DAYS_MAX {
                let today = day?;
                day = today.tomorrow().ok();
                if !self.is_on(today) {
                    continue;
                }
                let Some(from) = self.on(today) else { continue };
                let span = Span { from, until: from + self.length };
                // A day that is left out begins when the next one does.
                if span.until > now && from > last {
                    last = from;
                    return Some(span);
                }
            }
            None
        })
    }

    fn is_on(&self, day: Date) -> bool {
        match &self.days {
            Days::Every => true,
            Days::OfWeek(days) => u8::try_from(day.weekday().to_monday_one_offset())
                .is_ok_and(|day| days.contains(&day)),
            Days::OfMonth(wanted) => u8::try_from(day.day()).is_ok_and(|day| day == *wanted),
        }
    }

    /// When it begins on this day.
    fn on(&self, day: Date) -> Option<UtcTime> {
        moment(day, self.at, &self.zone)
    }
}

/// When a local clock shows this time of this day.
fn moment(day: Date, at: TimeOfDay, zone: &TimeZone) -> Option<UtcTime> {
    let local = day.at(at.hour, at.minute, 0, 0);
    let moment = zone.to_ambiguous_timestamp(local).compatible().ok()?;
    i64::try_from(moment.as_nanosecond()).ok().map(UtcTime::from_ns)
}

fn date(at: UtcTime, zone: &TimeZone) -> Option<Date> {
    let at = Timestamp::from_nanosecond(i128::from(at.as_ns())).ok()?;
    Some(at.to_zoned(zone.clone()).date())
}

/// The number of a day of the week by its English name, from Monday, which is 1.
pub fn weekday(word: &str) -> Option<u8> {
    let place = WEEKDAYS.iter().position(|day| *day == word)?;
    u8::try_from(place + 1).ok()
}

/// The days of the week, as they are written.
pub const WEEKDAYS: [&str; 7] =
    ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];

#[cfg(test)]
mod tests {
    use super::*;

    fn utc(text: &str) -> UtcTime {
        let at: Timestamp = text.parse().unwrap_or_else(|_| panic!("{text}"));
        UtcTime::from_ns(i64::try_from(at.as_nanosecond()).unwrap())
    }

    fn shown(at: UtcTime) -> String {
        let at = Timestamp::from_nanosecond(i128::from(at.as_ns())).unwrap();
        format!("{at:.0}").replace(":00Z", "Z")
    }

    /// `weekly sunday 02:30 2h Europe/Berlin`, `daily - 02:30 1h UTC`, `monthly 31 00:00 1h UTC`.
    fn recurrence(text: &str) -> Recurrence {
        let words: Vec<&str> = text.split_whitespace().collect();
        let [every, days, at, length, name] = words[..] else { panic!("{text}") };
        let days = match every {
            "daily" => Days::Every,
            "weekly" => Days::OfWeek(days.split(',').map(|day| weekday(day).unwrap()).collect()),
            _ => Days::OfMonth(days.parse().unwrap()),
        };
        let hours: u64 = length.trim_end_matches('h').parse().unwrap();
        Recurrence {
            days,
            at: TimeOfDay::parse(at).unwrap(),
            length: Duration::from_secs(hours * 3_600),
            zone: zone(name).unwrap(),
        }
    }

    #[test]
    fn local_times_are_found_across_the_changes_of_the_clock() {
        let mut rows = 0;
        let lines = include_str!("calendar/windows.txt").lines();
        for line in lines.filter(|line| !line.starts_with('#') && !line.is_empty()) {
            let columns: Vec<&str> = line.split('|').map(str::trim).collect();
            let [what, now, expected] = columns[..] else { panic!("{line}") };
            let now = utc(&now.replace('Z', ":00Z"));
            let many = expected.split(' ').count();
            let found: Vec<String> = When::Recurring(recurrence(what))
                .after(now)
                .take(many)
                .map(|span| format!("{}/{}", &shown(span.from)[5..], &shown(span.until)[11..]))
                .collect();
            assert_eq!(found.join(" "), expected, "{line}");
            rows += 1;
        }
        assert_eq!(rows, 20);
    }

    #[test]
    fn a_time_that_is_once_is_over_when_it_has_ended() {
        let (from, until) = (utc("2026-12-01T22:00:00Z"), utc("2026-12-02T02:00:00Z"));
        let once = When::Once(from, until);
        let before = Span { from, until };
        assert_eq!(once.after(utc("2026-11-01T00:00:00Z")).collect::<Vec<_>>(), [before]);
        assert_eq!(once.after(utc("2026-12-02T01:59:59Z")).count(), 1);
        assert_eq!(once.after(until).count(), 0);
    }

    #[test]
    fn a_zone_has_its_exact_name_and_a_near_one_is_told() {
        for name in ["Europe/Berlin", "UTC", "America/Argentina/Ushuaia"] {
            assert!(zone(name).is_ok(), "{name}");
        }
        assert_eq!(zone("europe/berlin").unwrap_err().as_deref(), Some("Europe/Berlin"));
        assert_eq!(zone("Europe/Berlim").unwrap_err().as_deref(), Some("Europe/Berlin"));
        assert_eq!(zone("").unwrap_err(), None);
        for name in ["+02:00", "CET-1", "../etc/passwd"] {
            assert!(zone(name).is_err(), "{name}");
        }
    }

    #[test]
    fn a_time_of_day_is_four_digits() {
        for good in ["00:00", "02:30", "23:59"] {
            assert!(TimeOfDay::parse(good).is_some(), "{good}");
        }
        for bad in ["", "2:30", "24:00", "12:60", "12", "12:3", "-1:30", "+1:30", "12:30:00"] {
            assert!(TimeOfDay::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn there_is_no_end_of_what_recurs_and_none_comes_twice() {
        let every = When::Recurring(recurrence("daily - 02:30 1h Europe/Berlin"));
        let spans: Vec<Span> = every.after(utc("2026-01-01T00:00:00Z")).take(1_000).collect();
        assert_eq!(spans.len(), 1_000);
        assert!(spans.windows(2).all(|pair| pair[0].from < pair[1].from));
        // At the end of what can be said it ends and does not panic.
        assert!(every.after(UtcTime::from_ns(i64::MAX)).take(5).count() <= 5);
        assert!(every.after(UtcTime::from_ns(i64::MIN)).take(5).count() <= 5);
    }
}
