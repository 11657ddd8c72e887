//! Maintenance windows: which of their times become silences next, and when to look again.
//!
//! The leader asks ahead of time and has what it finds written down as silences. Apply never looks
//! into a calendar: two builds may know a time zone differently.

use std::collections::BTreeMap;
use std::time::Duration;

use parallax_common::calendar::Span;
use parallax_common::limits::{MAINTENANCE_AHEAD, MAINTENANCE_DUE_MAX, SILENCES_PER_NAMESPACE_MAX};
use parallax_common::name::Uid;
use parallax_common::time::UtcTime;
use parallax_proto::convert::maintenance;
use parallax_proto::{store, v1};
use xxhash_rust::xxh3::Xxh3Default;

use crate::core::state::State;

/// The times of a window that have not ended, the earliest first.
pub fn next(window: &v1::Maintenance, now: UtcTime, most: usize) -> Vec<Span> {
    maintenance::when(window).map(|when| when.after(now).take(most).collect()).unwrap_or_default()
}

/// The times that begin within a day and are no silences yet, a bounded number of them. Of each
/// window one at a time: what it has next is asked for once that is written down. Namespaces that have
/// no room for silences come last, so that what waits there keeps no other from being written down.
pub fn due(state: &State, now: UtcTime) -> Vec<store::MaintenanceDue> {
    let soon = now + MAINTENANCE_AHEAD;
    let unwritten = state.maintenance.values().filter_map(|row| {
        let span = unwritten(row, now).filter(|span| span.from <= soon)?;
        let meta = row.window.as_ref()?.meta.as_ref()?;
        Some(store::MaintenanceDue {
            namespace: meta.namespace.clone(),
            name: meta.name.clone(),
            etag: meta.etag,
            silence_uid: silence_uid(meta, span).to_string(),
            starts_utc_ns: span.from.as_ns(),
            ends_utc_ns: span.until.as_ns(),
        })
    });
    let mut due: Vec<store::MaintenanceDue> = unwritten.collect();
    let mut full: BTreeMap<String, bool> = BTreeMap::new();
    for due in &due {
        full.entry(due.namespace.clone()).or_insert_with_key(|of| is_full(state, of, now));
    }
    due.sort_by_key(|due| full.get(&due.namespace).copied());
    due.truncate(MAINTENANCE_DUE_MAX);
    due
}

/// Whether a namespace has as many silences as it may, none of which has ended and would make room.
fn is_full(state: &State, namespace: &str, now: UtcTime) -> bool {
    let theirs = state.silences_of(namespace).filter(|silence| now < silence.ends());
    theirs.count() >= SILENCES_PER_NAMESPACE_MAX
}

/// When the first time is due that is no silence yet; in the past when one is due now.
pub fn look_at(state: &State, now: UtcTime) -> Option<UtcTime> {
    let next = state.maintenance.values().filter_map(|row| unwritten(row, now));
    next.map(|span| span.from - MAINTENANCE_AHEAD).min()
}

/// The first time of a window that is no silence yet.
fn unwritten(row: &store::MaintenanceRow, now: UtcTime) -> Option<Span> {
    let when = maintenance::when(row.window.as_ref()?)?;
    when.after(now).find(|span| span.from.as_ns() > row.scheduled_utc_ns)
}

/// The uid of the silence that a time of a window becomes: the same whoever asks, and in order of
/// time among others.
fn silence_uid(meta: &v1::Meta, span: Span) -> Uid {
    let mut hash = Xxh3Default::new();
    hash.update(meta.uid.as_bytes());
    hash.update(&meta.etag.to_be_bytes());
    hash.update(&span.from.as_ns().to_be_bytes());
    let mut bytes = hash.digest128().to_be_bytes();
    let ms = u64::try_from(span.from.as_ns()).unwrap_or(0) / ns_of_ms();
    bytes[..6].copy_from_slice(&ms.to_be_bytes()[2..]);
    // A UUID of its own making (RFC 9562, version 8), whose first 48 bits are milliseconds as in the
    // others.
    bytes[6] = (bytes[6] & 0x0f) | 0x80;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    Uid::from_bytes(bytes)
}

fn ns_of_ms() -> u64 {
    u64::try_from(Duration::from_millis(1).as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const DAY: i64 = 86_400;

    fn at(second: i64) -> UtcTime {
        UtcTime::from_ns(second * 1_000_000_000)
    }

    /// A window at noon of each day, of which all up to `scheduled` are silences.
    fn daily(name: &str, scheduled: i64) -> Arc<store::MaintenanceRow> {
        let window = v1::Maintenance {
            meta: Some(v1::Meta {
                uid: Uid::from_bytes([7; 16]).to_string(),
                namespace: "default".into(),
                name: name.into(),
                etag: 3,
                ..v1::Meta::default()
            }),
            every: v1::Every::Daily.into(),
            at: "12:00".into(),
            length: Some(prost_types::Duration { seconds: 3_600, nanos: 0 }),
            zone: "UTC".into(),
            ..v1::Maintenance::default()
        };
        let scheduled_utc_ns = at(scheduled).as_ns();
        Arc::new(store::MaintenanceRow { window: Some(window), scheduled_utc_ns })
    }

    fn with(rows: &[(&str, i64)]) -> State {
        let mut state = State::default();
        for (name, scheduled) in rows {
            let key = ("default".to_owned(), (*name).to_owned());
            state.maintenance.insert(key, daily(name, *scheduled));
        }
        state
    }

    #[test]
    fn a_time_is_due_a_day_before_it_begins_and_until_it_has_ended() {
        let noon = 100 * DAY + DAY / 2;
        // Written up to, now, the start that is due.
        let rows = [
            (0, noon - DAY, Some(noon - DAY)),
            (0, noon - 1, Some(noon)),
            (0, noon + 3_599, Some(noon)),
            (0, noon + 3_600, Some(noon + DAY)),
            (noon, noon - 1, None),
            (noon, noon - 1 + 2, Some(noon + DAY)),
            (noon, noon, Some(noon + DAY)),
            (noon + DAY, noon, None),
        ];
        for (scheduled, now, expected) in rows {
            let state = with(&[("a", scheduled)]);
            let due = due(&state, at(now));
            let starts: Option<i64> = due.first().map(|due| due.starts_utc_ns / 1_000_000_000);
            assert_eq!(starts, expected, "scheduled {scheduled} now {now}");
            let look = look_at(&state, at(now)).unwrap();
            assert_eq!(look <= at(now), expected.is_some(), "scheduled {scheduled} now {now}");
        }
    }

    #[test]
    fn the_same_time_has_the_same_uid_and_a_later_one_a_greater() {
        let state = with(&[("a", 0)]);
        let (one, again) = (due(&state, at(100 * DAY)), due(&state, at(100 * DAY + 60)));
        assert_eq!(one[0].silence_uid, again[0].silence_uid);
        let later = due(&state, at(101 * DAY));
        assert!(one[0].silence_uid < later[0].silence_uid);
        assert!(one[0].silence_uid.parse::<Uid>().is_ok());
    }

    #[test]
    fn one_entry_takes_a_bounded_number() {
        let names: Vec<String> = (0..MAINTENANCE_DUE_MAX + 9).map(|n| format!("w{n}")).collect();
        let rows: Vec<(&str, i64)> = names.iter().map(|name| (name.as_str(), 0)).collect();
        assert_eq!(due(&with(&rows), at(100 * DAY)).len(), MAINTENANCE_DUE_MAX);
    }

    #[test]
    fn a_namespace_without_room_keeps_no_other_waiting() {
        let names: Vec<String> = (0..MAINTENANCE_DUE_MAX).map(|n| format!("w{n}")).collect();
        let rows: Vec<(&str, i64)> = names.iter().map(|name| (name.as_str(), 0)).collect();
        let mut state = with(&rows);
        let mut other = daily("z", 0).as_ref().clone();
        let meta = other.window.as_mut().and_then(|window| window.meta.as_mut()).unwrap();
        meta.namespace = "other".into();
        state.maintenance.insert(("other".into(), "z".into()), Arc::new(other));
        let noon = at(100 * DAY + DAY / 2);
        let asks = |state: &State| due(state, noon).iter().any(|due| due.namespace == "other");
        assert!(!asks(&state), "it comes behind those that can be written down");
        for n in 0..SILENCES_PER_NAMESPACE_MAX {
            let silence = v1::Silence {
                uid: format!("s{n}"),
                namespace: "default".into(),
                ends_at: Some(crate::core::stamp::timestamp(noon + Duration::from_secs(60))),
                ..v1::Silence::default()
            };
            let uid = silence.uid.clone();
            state.silences.insert(uid, Arc::new(crate::core::quiet::Silence::new(silence)));
        }
        assert!(asks(&state));
        assert_eq!(due(&state, noon).len(), MAINTENANCE_DUE_MAX);
    }

    #[test]
    fn a_window_of_a_zone_that_is_not_known_is_never() {
        let mut state = with(&[("a", 0)]);
        let key = ("default".to_owned(), "a".to_owned());
        let mut row = state.maintenance[&key].as_ref().clone();
        row.window.as_mut().unwrap().zone = "Mars/Olympus".into();
        state.maintenance.insert(key, Arc::new(row));
        assert_eq!((due(&state, at(DAY)).len(), look_at(&state, at(DAY))), (0, None));
    }
}
