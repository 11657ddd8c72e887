//! Hours of routes: when they begin, and which of them the leader writes down next.
//!
//! Apply never looks into a calendar, as two builds may know a time zone differently. The leader finds
//! ahead of time when the hours are that routes name ([`due`]), and has it written down; whoever asks
//! ([`when`]) compares moments. Of what is not written down nobody knows, and that is an answer of its own:
//! rather somebody is told too early than nobody.

use std::collections::{BTreeMap, BTreeSet};

use parallax_common::calendar;
use parallax_common::limits::{HOURS_AHEAD, HOURS_DUE_MAX, HOURS_LEFT_MIN};
use parallax_common::time::UtcTime;
use parallax_proto::convert::hours;
use parallax_proto::{store, v1};

use super::state::State;

/// What a moment is to hours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// It is the time.
    Within,
    /// It is not before then. Where no beginning is known, the moment up to which that is so: to be
    /// asked again.
    From(UtcTime),
    /// Nothing is written down of it.
    Unknown,
}

impl When {
    /// Until when what waits for its hours has to wait. What is not known is waited for by nobody.
    pub fn wait(self) -> Option<UtcTime> {
        match self {
            Self::From(begin) => Some(begin),
            Self::Within | Self::Unknown => None,
        }
    }
}

/// What `now` is to hours, or, asked `outside` of them, to all other times.
pub fn when(row: Option<&store::HoursRow>, outside: bool, now: UtcTime) -> When {
    let now = now.as_ns();
    let Some(row) = row.filter(|row| now < row.until_utc_ns) else { return When::Unknown };
    let next = row.spans.iter().find(|span| now < span.until_utc_ns);
    let within = next.is_some_and(|span| span.from_utc_ns <= now);
    if within != outside {
        return When::Within;
    }
    let change = next.map(|span| if within { span.until_utc_ns } else { span.from_utc_ns });
    When::From(UtcTime::from_ns(change.unwrap_or(row.until_utc_ns).min(row.until_utc_ns)))
}

/// Zones that hours name and this build does not know: when those are is never written down.
pub fn unknown_zones(state: &State) -> BTreeSet<String> {
    let zones = named(state).into_values().map(|hours| hours.zone);
    zones.filter(|zone| calendar::zone(zone).is_err()).collect()
}

/// The hours that routes name and that are known, each once, by what they are called.
pub fn named(state: &State) -> BTreeMap<String, v1::Hours> {
    let of_routes = state.settings.values().flat_map(|it| hours::of_routes(&it.routes));
    let known = state.hours.values().filter_map(|row| row.hours.as_ref());
    of_routes.chain(known).map(|it| (hours::shown(it), plain(it))).collect()
}

/// The hours themselves, whether they are meant or all other times.
fn plain(hours: &v1::Hours) -> v1::Hours {
    v1::Hours { outside: false, ..hours.clone() }
}

/// Hours that are not written down, or not far enough ahead, or not as the calendar of this build has
/// them; a bounded number of them.
pub fn due(state: &State, now: UtcTime) -> Vec<store::HoursRow> {
    let (written, unwritten): (Vec<_>, Vec<_>) =
        named(state).into_iter().partition(|(name, _)| state.hours.contains_key(name));
    let unwritten = unwritten.into_iter().filter_map(|(_, hours)| row(hours, now));
    let written = written
        .into_iter()
        .filter_map(|(name, hours)| renewed(state.hours.get(&name)?, hours, now));
    // Those of which nothing is known come first.
    unwritten.chain(written).take(HOURS_DUE_MAX).collect()
}

/// What is to be written in the place of a row.
fn renewed(before: &store::HoursRow, hours: v1::Hours, now: UtcTime) -> Option<store::HoursRow> {
    let after = row(hours, now)?;
    let known_until = UtcTime::from_ns(before.until_utc_ns);
    let is_ahead = |span: &&store::HoursSpan| {
        now.as_ns() < span.until_utc_ns && span.from_utc_ns < known_until.as_ns()
    };
    let same = before.spans.iter().filter(is_ahead).eq(after.spans.iter().filter(is_ahead));
    let is_good = same && known_until >= now + HOURS_LEFT_MIN;
    (!is_good).then_some(after)
}

/// When hours are from now on; `None` when this build does not know their zone.
fn row(hours: v1::Hours, now: UtcTime) -> Option<store::HoursRow> {
    let until = now + HOURS_AHEAD;
    let spans = hours::hours(&hours)?.spans(now, until).into_iter();
    let spans = spans.map(|span| store::HoursSpan {
        from_utc_ns: span.from.as_ns(),
        until_utc_ns: span.until.as_ns(),
    });
    Some(store::HoursRow {
        spans: spans.collect(),
        until_utc_ns: until.as_ns(),
        hours: Some(hours),
    })
}

#[cfg(test)]
mod tests;
