//! Hours of routes on their way into the log: while this member leads, it writes down when they are,
//! some weeks ahead.

use std::collections::BTreeSet;
use std::sync::Arc;

use imbl::OrdMap;
use parallax_common::limits::{HOURS_AGAIN_AFTER, HOURS_LOOK_EVERY};
use parallax_common::time::UtcTime;
use parallax_proto::store::entry::Command;
use parallax_proto::{store, v1};
use parallax_runtime::clock;
use tracing::warn;

use crate::core::hours;
use crate::core::state::State;
use crate::office::Office;
use crate::propose::{Origin, Proposer};
use crate::view::View;

/// What was looked at last, and when.
#[derive(Default)]
struct Known {
    settings: OrdMap<String, Arc<v1::Settings>>,
    hours: OrdMap<String, Arc<store::HoursRow>>,
    looked_at: Option<UtcTime>,
    /// Zones that this build does not know.
    unknown: BTreeSet<String>,
}

impl Known {
    /// As the next office begins: all is looked at anew, and nothing is said twice.
    fn anew(self) -> Self {
        Self { unknown: self.unknown, ..Self::default() }
    }

    /// Zones that nobody was warned of yet.
    fn news(&mut self, unknown: BTreeSet<String>) -> Vec<String> {
        let news = unknown.difference(&self.unknown).cloned().collect();
        self.unknown = unknown;
        news
    }

    /// Looks into the calendar only when settings or rows have changed, and now and then.
    fn due(&mut self, state: &State, utc: UtcTime) -> Vec<store::HoursRow> {
        let same = self.settings.ptr_eq(&state.settings) && self.hours.ptr_eq(&state.hours);
        let lately = self.looked_at.is_some_and(|at| utc.since(at) < HOURS_LOOK_EVERY);
        if same && lately {
            return Vec::new();
        }
        for zone in self.news(hours::unknown_zones(state)) {
            warn!(
                zone,
                "this build does not know a time zone that routes name: their hours are not known, and \
                 those of them that do not wait take what opens at any time and hand it on"
            );
        }
        let due = hours::due(state, utc);
        if due.is_empty() {
            self.settings = state.settings.clone();
            self.hours = state.hours.clone();
            self.looked_at = Some(utc);
        }
        due
    }
}

/// Proposes what is due, for as long as this member lives.
pub async fn run(view: View, proposer: Proposer, mut office: Office, name: String) {
    let mut known = Known::default();
    loop {
        let leads = office.leads();
        if !leads {
            known = known.anew();
            office.wait(None).await;
            continue;
        }
        let state = view.load();
        // By the clock of the log, as all that is due is.
        let utc = clock::utc().max(state.last_utc());
        let rows = known.due(&state, utc);
        if rows.is_empty() {
            office.wait(Some(HOURS_LOOK_EVERY)).await;
            continue;
        }
        let command = Command::ScheduleHours(store::ScheduleHours { rows });
        if let Err(error) = proposer.write_here(Origin::leader(&name), command).await {
            warn!(%error, "hours of routes could not be written down, trying again");
            tokio::time::sleep(HOURS_AGAIN_AFTER).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use parallax_proto::convert::hours::shown;

    use super::*;

    const DAY: i64 = 86_400;

    fn second(at: i64) -> UtcTime {
        UtcTime::from_ns(at * 1_000_000_000)
    }

    /// A state whose one route has hours on all days but Sunday, of which these rows are written down.
    fn state(rows: &[store::HoursRow]) -> State {
        let days = (1..=6).collect();
        let time = v1::HoursTime { days, from_minute: 540, to_minute: 1_020 };
        let zone = "Europe/Berlin".to_owned();
        let hours = Some(v1::Hours { zone, times: vec![time], outside: true });
        let routes = vec![v1::Route { hours, ..v1::Route::default() }];
        let settings = v1::Settings { routes, ..v1::Settings::default() };
        let mut state = State::default();
        state.settings.insert("default".to_owned(), Arc::new(settings));
        for row in rows {
            let name = row.hours.as_ref().map(shown).unwrap();
            state.hours.insert(name, Arc::new(row.clone()));
        }
        state
    }

    #[test]
    fn a_zone_that_this_build_does_not_know_is_told_once() {
        let zones = |names: &[&str]| names.iter().map(|it| (*it).to_owned()).collect();
        let mut known = Known::default();
        for (unknown, told) in [
            (zones(&["Mars/Olympus"]), vec!["Mars/Olympus"]),
            (zones(&["Mars/Olympus"]), vec![]),
            (zones(&["Mars/Olympus", "Moon/Tycho"]), vec!["Moon/Tycho"]),
            (zones(&[]), vec![]),
            (zones(&["Moon/Tycho"]), vec!["Moon/Tycho"]),
        ] {
            assert_eq!(known.news(unknown), told);
            known = known.anew();
        }
        // What a look finds is what is told.
        let mut state = state(&[]);
        let mut settings = state.settings["default"].as_ref().clone();
        settings.routes[0].hours.as_mut().unwrap().zone = "Mars/Olympus".to_owned();
        state.settings.insert("default".to_owned(), Arc::new(settings));
        assert_eq!(known.due(&state, second(1)), []);
        assert_eq!(known.unknown, zones(&["Mars/Olympus"]));
    }

    #[test]
    fn the_calendar_is_looked_into_when_something_changes_and_now_and_then() {
        let mut known = Known::default();
        assert_eq!(known.due(&State::default(), second(0)), []);
        let before = state(&[]);
        let due = known.due(&before, second(1));
        assert_eq!(due.len(), 1);
        // It stays due until it is written down.
        assert_eq!(known.due(&before, second(2)).len(), 1);
        let written = state(&due);
        assert_eq!(known.due(&written, second(3)), []);
        // What it does not look at it does not see, and a little later it does.
        assert_eq!(known.due(&written, second(4)), []);
        assert_eq!(known.looked_at, Some(second(3)));
        let look = i64::try_from(HOURS_LOOK_EVERY.as_secs()).unwrap();
        assert_eq!(known.due(&written, second(3 + look)), []);
        assert_eq!(known.looked_at, Some(second(3 + look)));
        assert_eq!(known.due(&written, second(8 * DAY)).len(), 1);
    }
}
