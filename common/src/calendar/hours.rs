//! Times of the week by a local clock, such as the hours of an office.
//!
//! Both ends of a time go by the clock: what is from 09:00 to 17:00 is so on every day, also on one on
//! which the clock changes. An end that a clock jumps over comes as much later as the clock jumps, and
//! one that comes twice comes the first time, so that times that meet always meet: `22:00-02:30` and
//! `02:30-06:00` leave nothing between them and share nothing.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::{Span, TimeOfDay, WEEKDAYS, date};
use crate::time::UtcTime;

/// Minutes of a day, and `24:00`.
pub const DAY_MINUTES: u16 = 24 * 60;

const WEEK_MINUTES: usize = 7 * DAY_MINUTES as usize;

/// Further back than any stretch of time reaches that leaves some of the week out: what it leaves out may be
/// an hour that the clock jumps over, and then it lasts for two weeks.
const BACK: Duration = Duration::from_secs(16 * 86_400);

/// Days of a week and what of them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time {
    /// From Monday, which is 1, to Sunday, which is 7. Never none.
    pub days: BTreeSet<u8>,
    /// The first minute of the day that belongs to it.
    pub from: u16,
    /// The first minute that does not: of the day after where it is not later than `from`, and up to
    /// [`DAY_MINUTES`].
    pub to: u16,
}

/// Times of the week in a zone.
#[derive(Debug, Clone)]
pub struct Hours {
    /// Whose clock.
    pub zone: TimeZone,
    /// In any order; they may overlap.
    pub times: Vec<Time>,
}

impl Time {
    /// `mon-fri 09:00-17:00`, `sat,sun`, `22:00-06:00`: days, or a time of the day, or both.
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = text.split_whitespace();
        let first = words.next()?;
        let starts_with_days = first.starts_with(|letter: char| letter.is_ascii_lowercase());
        let (days, times) = match starts_with_days {
            true => (days(first)?, words.next()),
            false => ((1..=7).collect(), Some(first)),
        };
        if words.next().is_some() {
            return None;
        }
        let Some(times) = times else { return Some(Self { days, from: 0, to: DAY_MINUTES }) };
        let (from, to) = times.split_once('-')?;
        let from = TimeOfDay::parse(from)?.minute_of_day();
        let to = match to {
            "24:00" | "00:00" => DAY_MINUTES,
            to => TimeOfDay::parse(to)?.minute_of_day(),
        };
        (from != to).then_some(Self { days, from, to })
    }

    /// Whether it can be what [`Self::parse`] gives.
    pub fn is_sound(&self) -> bool {
        let days = !self.days.is_empty() && self.days.iter().all(|day| (1..=7).contains(day));
        days && self.from < DAY_MINUTES
            && (1..=DAY_MINUTES).contains(&self.to)
            && self.from != self.to
    }

    /// Whether it goes on on the day after.
    fn is_overnight(&self) -> bool {
        self.to <= self.from
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole_day = self.from == 0 && self.to == DAY_MINUTES;
        let every_day = self.days.len() == 7;
        if !every_day || whole_day {
            f.write_str(&days_shown(&self.days))?;
        }
        if !whole_day {
            let blank = if every_day { "" } else { " " };
            let shown = |minute: u16| format!("{:02}:{:02}", minute / 60, minute % 60);
            write!(f, "{blank}{}-{}", shown(self.from), shown(self.to))?;
        }
        Ok(())
    }
}

/// `mon-wed,fri`, as [`days`] reads it.
fn days_shown(days: &BTreeSet<u8>) -> String {
    let mut runs: Vec<(u8, u8)> = Vec::new();
    for day in days {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == *day => *last = *day,
            _ => runs.push((*day, *day)),
        }
    }
    let short = |day: u8| {
        let name = WEEKDAYS.get(usize::from(day).wrapping_sub(1)).copied().unwrap_or("?");
        name.get(..3).unwrap_or(name)
    };
    let shown = runs.iter().map(|(first, last)| match first == last {
        true => short(*first).to_owned(),
        false => format!("{}-{}", short(*first), short(*last)),
    });
    shown.collect::<Vec<_>>().join(",")
}

/// `mon-fri`, `sat,sun`, `friday-monday`.
fn days(text: &str) -> Option<BTreeSet<u8>> {
    let mut all = BTreeSet::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (day(first)?, day(last)?);
        let mut at = first;
        all.insert(at);
        while at != last {
            at = at % 7 + 1;
            all.insert(at);
        }
    }
    Some(all)
}

/// A day by its English name or the first three letters of it.
fn day(word: &str) -> Option<u8> {
    let is_it = |name: &&str| *name == word || name.get(..3) == Some(word);
    let place = WEEKDAYS.iter().position(is_it)?;
    u8::try_from(place + 1).ok()
}

/// Whether times leave nothing of the week out.
pub fn is_always(times: &[Time]) -> bool {
    are_always([(times, false)])
}

/// Whether all of these together leave nothing of the week out: times, or with `true` all others.
pub fn are_always<'t>(all: impl IntoIterator<Item = (&'t [Time], bool)>) -> bool {
    let mut covered = vec![false; WEEK_MINUTES];
    for (times, others) in all {
        for (minute, within) in covered.iter_mut().zip(minutes(times)) {
            *minute |= within != others;
        }
    }
    covered.into_iter().all(|minute| minute)
}

/// Which minutes of a week belong to times.
fn minutes(times: &[Time]) -> Vec<bool> {
    let mut covered = vec![false; WEEK_MINUTES];
    for time in times {
        for day in &time.days {
            let begins = usize::from(day.saturating_sub(1)) * usize::from(DAY_MINUTES);
            let next_day = if time.is_overnight() { usize::from(DAY_MINUTES) } else { 0 };
            for minute in usize::from(time.from)..usize::from(time.to) + next_day {
                covered[(begins + minute) % WEEK_MINUTES] = true;
            }
        }
    }
    covered
}

impl Hours {
    /// The stretches of time that end after `from` and begin before `until`, in order. None touches
    /// another.
    pub fn spans(&self, from: UtcTime, until: UtcTime) -> Vec<Span> {
        let mut all = Vec::new();
        // As far as the stretches reach that are asked for.
        let (mut day, last) = (date(from - BACK, &self.zone), date(until + BACK, &self.zone));
        while let (Some(today), Some(last)) = (day, last)
            && today <= last
        {
            let weekday = u8::try_from(today.weekday().to_monday_one_offset()).unwrap_or(0);
            let times = self.times.iter().filter(|time| time.days.contains(&weekday));
            all.extend(times.filter_map(|time| self.on(today, time)));
            day = today.tomorrow().ok();
        }
        all.sort_by_key(|span| (span.from, span.until));
        let mut merged: Vec<Span> = Vec::with_capacity(all.len());
        for span in all {
            match merged.last_mut() {
                Some(before) if span.from <= before.until => {
                    before.until = before.until.max(span.until);
                }
                _ => merged.push(span),
            }
        }
        merged.retain(|span| from < span.until && span.from < until);
        merged
    }

    /// A time that begins on this day; `None` when the clock jumps over all of it.
    fn on(&self, day: Date, time: &Time) -> Option<Span> {
        let last = if time.is_overnight() { day.tomorrow().ok()? } else { day };
        let span = Span { from: self.at(day, time.from)?, until: self.at(last, time.to)? };
        (span.from < span.until).then_some(span)
    }

    fn at(&self, day: Date, minute: u16) -> Option<UtcTime> {
        let (day, minute) = match minute >= DAY_MINUTES {
            true => (day.tomorrow().ok()?, 0),
            false => (day, minute),
        };
        let (hour, minute) = (i8::try_from(minute / 60).ok()?, i8::try_from(minute % 60).ok()?);
        super::moment(day, TimeOfDay { hour, minute }, &self.zone)
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::calendar::zone;

    fn utc(text: &str) -> UtcTime {
        let at: Timestamp = text.parse().unwrap_or_else(|_| panic!("{text}"));
        UtcTime::from_ns(i64::try_from(at.as_nanosecond()).unwrap())
    }

    /// `03-29T01:00Z`
    fn shown(at: UtcTime) -> String {
        let at = Timestamp::from_nanosecond(i128::from(at.as_ns())).unwrap();
        format!("{at:.0}").replace(":00Z", "Z")[5..].to_owned()
    }

    /// `Europe/Berlin mon-fri 09:00-17:00; sat`.
    fn hours(text: &str) -> Hours {
        let (name, times) = text.split_once(' ').unwrap();
        let times = times.split(';').map(|time| Time::parse(time).unwrap()).collect();
        Hours { zone: zone(name).unwrap(), times }
    }

    #[test]
    fn times_are_written_as_they_are_read() {
        // As it is written, and as it is shown.
        for (written, expected) in [
            ("mon-fri 09:00-17:00", "mon-fri 09:00-17:00"),
            ("monday-friday  09:00-17:00", "mon-fri 09:00-17:00"),
            ("fri-mon 09:00-12:00", "mon,fri-sun 09:00-12:00"),
            ("sat,sun", "sat-sun"),
            ("sun,mon,wed", "mon,wed,sun"),
            ("tue", "tue"),
            ("22:00-06:00", "22:00-06:00"),
            ("mon-sun 22:00-06:00", "22:00-06:00"),
            ("mon 18:00-24:00", "mon 18:00-24:00"),
            ("mon 18:00-00:00", "mon 18:00-24:00"),
            ("sat 00:00-24:00", "sat"),
            ("mon-sun", "mon-sun"),
        ] {
            let time = Time::parse(written).unwrap_or_else(|| panic!("{written}"));
            assert_eq!(time.to_string(), expected, "{written}");
            assert!(time.is_sound(), "{written}");
            assert_eq!(Time::parse(&time.to_string()), Some(time), "{written}");
        }
        for bad in [
            "",
            "mon-",
            "-fri",
            "mo",
            "Mon",
            "mon fri",
            "mon 9:00-17:00",
            "mon 09:00",
            "09:00-09:00",
            "24:00-06:00",
            "mon 09:00-24:01",
            "mon 00:00-00:60",
            "mon 09:00-17:00 x",
            "mon,,fri",
            "09:00-12:00,13:00-17:00",
            "weekend",
        ] {
            assert_eq!(Time::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn hours_go_by_the_local_clock_across_its_changes() {
        // Hours, between when, and the stretches.
        let table = "
            Europe/Berlin mon-fri 09:00-17:00 | 11-20T12:00Z 11-24T12:00Z | 11-20T08:00Z/11-20T16:00Z 11-23T08:00Z/11-23T16:00Z 11-24T08:00Z/11-24T16:00Z
            Europe/Berlin mon-fri 09:00-17:00 | 03-27T00:00Z 03-31T00:00Z | 03-27T08:00Z/03-27T16:00Z 03-30T07:00Z/03-30T15:00Z
            Europe/Berlin mon-fri 09:00-17:00 | 10-23T00:00Z 10-27T00:00Z | 10-23T07:00Z/10-23T15:00Z 10-26T08:00Z/10-26T16:00Z
            Europe/Berlin 22:00-06:00 | 03-28T12:00Z 03-29T22:00Z | 03-28T21:00Z/03-29T04:00Z 03-29T20:00Z/03-30T04:00Z
            Europe/Berlin 22:00-06:00 | 10-24T12:00Z 10-25T22:00Z | 10-24T20:00Z/10-25T05:00Z 10-25T21:00Z/10-26T05:00Z
            Europe/Berlin sun 02:00-03:00 | 03-29T00:00Z 03-30T00:00Z |
            Europe/Berlin sun 02:00-02:30 | 03-29T00:00Z 03-30T00:00Z | 03-29T01:00Z/03-29T01:30Z
            Europe/Berlin sun 02:30-03:30 | 03-29T00:00Z 03-30T00:00Z |
            Europe/Berlin sun 01:30-02:30 | 03-29T00:00Z 03-30T00:00Z | 03-29T00:30Z/03-29T01:30Z
            Europe/Berlin sun 02:00-03:00 | 10-25T00:00Z 10-26T00:00Z | 10-25T00:00Z/10-25T02:00Z
            Europe/Berlin sun 02:00-02:30 | 10-25T00:00Z 10-26T00:00Z | 10-25T00:00Z/10-25T00:30Z
            Europe/Berlin sun | 03-29T12:00Z 03-30T00:00Z | 03-28T23:00Z/03-29T22:00Z
            Europe/Berlin sun | 10-25T12:00Z 10-26T00:00Z | 10-24T22:00Z/10-25T23:00Z
            America/New_York mon-fri 09:00-17:00 | 03-06T00:00Z 03-10T00:00Z | 03-06T14:00Z/03-06T22:00Z 03-09T13:00Z/03-09T21:00Z
            America/New_York mon-fri 09:00-17:00 | 10-30T00:00Z 11-03T00:00Z | 10-30T13:00Z/10-30T21:00Z 11-02T14:00Z/11-02T22:00Z
            America/New_York 22:00-06:00 | 03-07T20:00Z 03-08T20:00Z | 03-08T03:00Z/03-08T10:00Z
            America/New_York 22:00-06:00 | 10-31T20:00Z 11-01T20:00Z | 11-01T02:00Z/11-01T11:00Z
            America/New_York sun 01:00-02:00 | 11-01T00:00Z 11-02T00:00Z | 11-01T05:00Z/11-01T07:00Z
            UTC 09:00-12:00;13:00-17:00 | 11-20T00:00Z 11-21T00:00Z | 11-20T09:00Z/11-20T12:00Z 11-20T13:00Z/11-20T17:00Z
            UTC 09:00-13:00;12:00-17:00 | 11-20T00:00Z 11-21T00:00Z | 11-20T09:00Z/11-20T17:00Z
            UTC mon-thu 09:00-17:00;fri 09:00-15:00 | 11-19T12:00Z 11-21T00:00Z | 11-19T09:00Z/11-19T17:00Z 11-20T09:00Z/11-20T15:00Z
            UTC sat-sun;mon 00:00-06:00 | 11-22T12:00Z 11-23T12:00Z | 11-21T00:00Z/11-23T06:00Z
            UTC sun 22:00-06:00 | 11-23T05:59Z 11-24T00:00Z | 11-22T22:00Z/11-23T06:00Z
            UTC sun 22:00-06:00 | 11-23T06:00Z 11-24T00:00Z |
            UTC mon-sat | 11-21T12:00Z 11-22T00:00Z | 11-16T00:00Z/11-22T00:00Z";
        let mut rows = 0;
        for line in table.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let columns: Vec<&str> = line.split('|').map(str::trim).collect();
            let [what, between, expected] = columns[..] else { panic!("{line}") };
            let (from, until) = between.split_once(' ').unwrap();
            let at = |text: &str| utc(&format!("2026-{}", text.replace('Z', ":00Z")));
            let spans = hours(what).spans(at(from), at(until));
            let found: Vec<String> = spans
                .iter()
                .map(|span| format!("{}/{}", shown(span.from), shown(span.until)))
                .collect();
            assert_eq!(found.join(" "), expected, "{line}");
            rows += 1;
        }
        assert_eq!(rows, 25);
    }

    #[test]
    fn day_and_night_leave_nothing_out_and_share_nothing_in_a_whole_year() {
        for zone in ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC"] {
            for at in ["02:00", "02:15", "02:30", "03:00", "09:00", "01:30"] {
                let day = hours(&format!("{zone} {at}-17:00"));
                let night = hours(&format!("{zone} 17:00-{at}"));
                let (from, until) = (utc("2026-01-01T00:00:00Z"), utc("2027-01-01T00:00:00Z"));
                let mut all = day.spans(from, until);
                all.extend(night.spans(from, until));
                all.sort_by_key(|span| span.from);
                assert!(all.len() > 700, "{zone} {at}");
                for pair in all.windows(2) {
                    assert_eq!(pair[0].until, pair[1].from, "{zone} {at}");
                }
            }
        }
    }

    #[test]
    fn where_one_begins_does_not_depend_on_when_it_is_asked() {
        // Of the second, the only hour that it leaves out is jumped over once: a stretch of two weeks.
        for (text, count) in [
            ("Europe/Berlin mon-sat;sun 00:00-23:59", 6),
            ("Europe/Berlin mon-sat;sun 00:00-02:00;sun 03:00-24:00", 5),
        ] {
            let hours = hours(text);
            let (now, until) = (utc("2026-03-22T00:00:00Z"), utc("2026-04-20T00:00:00Z"));
            let all = hours.spans(now, until);
            assert_eq!(all.len(), count, "{text}");
            for hour in 0..24 * 28 {
                let later = now + Duration::from_secs(hour * 3_600);
                let still: Vec<Span> =
                    all.iter().filter(|span| later < span.until).copied().collect();
                assert_eq!(hours.spans(later, until), still, "{text} {}", shown(later));
            }
        }
    }

    #[test]
    fn times_that_leave_nothing_of_the_week_out_are_always() {
        let times =
            |text: &str| text.split(';').map(|it| Time::parse(it).unwrap()).collect::<Vec<_>>();
        for always in
            ["mon-sun", "09:00-17:00;17:00-09:00", "mon-fri;sat-sun", "00:00-12:00;12:00-24:00"]
        {
            assert!(is_always(&times(always)), "{always}");
        }
        for not in
            ["mon-sat", "00:00-23:59", "09:00-17:00;17:00-08:59", "mon-fri;sat;sun 00:01-24:00"]
        {
            assert!(!is_always(&times(not)), "{not}");
        }
        assert!(!is_always(&[]));
        // Times of several, a `!` before those of which all others are meant.
        for (all, expected) in [
            ("06:00-14:00 / 14:00-22:00 / 22:00-06:00", true),
            ("06:00-14:00 / 14:00-22:00 / 22:00-05:59", false),
            ("09:00-17:00 / !09:00-17:00", true),
            ("08:00-18:00 / !09:00-17:00", true),
            ("09:00-17:00 / !08:00-18:00", false),
            ("!mon / !tue", true),
            ("!mon", false),
        ] {
            let all: Vec<(Vec<Time>, bool)> = all
                .split(" / ")
                .map(|it| (times(it.trim_start_matches('!')), it.starts_with('!')))
                .collect();
            let all_of = all.iter().map(|(times, others)| (times.as_slice(), *others));
            assert_eq!(are_always(all_of), expected, "{all:?}");
        }
    }

    #[test]
    fn at_the_ends_of_time_there_is_no_panic() {
        let hours = hours("Europe/Berlin 22:00-06:00");
        let most = UtcTime::from_ns(i64::MAX);
        assert!(hours.spans(most - Duration::from_secs(86_400), most).len() <= 2);
        let least = UtcTime::from_ns(i64::MIN);
        assert!(hours.spans(least, least + Duration::from_secs(86_400)).len() <= 3);
    }
}
