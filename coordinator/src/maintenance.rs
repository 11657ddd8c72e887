//! Maintenance windows on their way into the log: while this member leads, their times are written
//! down as silences a day before they begin.

use imbl::OrdMap;
use parallax_common::limits::{HELD_LOOK_EVERY, HELD_REVIEW_AGAIN_AFTER};
use parallax_common::time::UtcTime;
use parallax_proto::store;
use parallax_proto::store::entry::Command;
use parallax_runtime::clock;
use tracing::warn;

use crate::core::quiet::windows;
use crate::core::state::{Maintenance, State};
use crate::office::Office;
use crate::propose::{Origin, Proposer};
use crate::view::View;

/// When to look again, found once for what the windows were.
#[derive(Default)]
struct Known {
    windows: OrdMap<(String, String), Maintenance>,
    look_at: Option<UtcTime>,
}

impl Known {
    /// Looks into the calendar only when a window has changed, or its time has come.
    fn due(&mut self, state: &State, utc: UtcTime) -> Vec<store::MaintenanceDue> {
        if !self.windows.ptr_eq(&state.maintenance) {
            self.windows = state.maintenance.clone();
            self.look_at = windows::look_at(state, utc);
        }
        if self.look_at.is_none_or(|at| utc < at) {
            return Vec::new();
        }
        let due = windows::due(state, utc);
        if due.is_empty() {
            self.look_at = windows::look_at(state, utc);
        }
        due
    }
}

/// Proposes what is due, for as long as this member lives.
pub async fn run(view: View, proposer: Proposer, mut office: Office, name: String) {
    let mut known = Known::default();
    // What was proposed last, and when: without room it is not proposed again at once.
    let mut asked: Option<(Vec<store::MaintenanceDue>, UtcTime)> = None;
    loop {
        let leads = office.leads();
        let state = view.load();
        // By the clock of the log, as silences begin and end by it.
        let utc = clock::utc().max(state.last_utc());
        let due = if leads { known.due(&state, utc) } else { Vec::new() };
        let just_asked = asked
            .as_ref()
            .is_some_and(|(before, at)| *before == due && utc.since(*at) < HELD_LOOK_EVERY);
        if !due.is_empty() && !just_asked {
            let command = store::ScheduleMaintenance { due: due.clone() };
            let command = Command::ScheduleMaintenance(command);
            match proposer.write_here(Origin::leader(&name), command).await {
                Ok(_) => asked = Some((due, utc)),
                Err(error) => {
                    warn!(%error, "maintenance could not be written down, trying again");
                    tokio::time::sleep(HELD_REVIEW_AGAIN_AFTER).await;
                }
            }
            continue;
        }
        let wait = match due.is_empty() {
            true => known.look_at.filter(|_| leads).map(|at| at.since(utc)),
            false => Some(HELD_LOOK_EVERY),
        };
        office.wait(wait).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parallax_proto::v1;

    use super::*;

    fn second(at: i64) -> UtcTime {
        UtcTime::from_ns(at * 1_000_000_000)
    }

    /// A state with a window at noon of each day that is written down up to a second.
    fn state(scheduled: i64) -> State {
        let window = v1::Maintenance {
            meta: Some(v1::Meta { name: "a".into(), ..v1::Meta::default() }),
            every: v1::Every::Daily.into(),
            at: "12:00".into(),
            length: Some(prost_types::Duration { seconds: 3_600, nanos: 0 }),
            zone: "UTC".into(),
            ..v1::Maintenance::default()
        };
        let scheduled_utc_ns = second(scheduled).as_ns();
        let row = store::MaintenanceRow { window: Some(window), scheduled_utc_ns };
        let mut state = State::default();
        state.maintenance.insert(("default".into(), "a".into()), Arc::new(row));
        state
    }

    #[test]
    fn the_calendar_is_looked_into_when_a_window_changes_and_when_its_time_comes() {
        const NOON: i64 = 43_200;
        const DAY: i64 = 86_400;
        let mut known = Known::default();
        let none: [i64; 0] = [];
        let starts = |due: Vec<store::MaintenanceDue>| {
            due.iter().map(|due| due.starts_utc_ns / 1_000_000_000).collect::<Vec<_>>()
        };
        assert_eq!(starts(known.due(&State::default(), second(0))), none);
        assert_eq!(known.look_at, None);
        let before = state(0);
        assert_eq!(starts(known.due(&before, second(1))), [NOON]);
        // It stays due until it is written down.
        assert_eq!(starts(known.due(&before, second(2))), [NOON]);
        let written = state(NOON);
        assert_eq!(starts(known.due(&written, second(3))), none);
        assert_eq!(known.look_at, Some(second(NOON)), "a day before the next");
        assert_eq!(starts(known.due(&written, second(NOON - 1))), none);
        assert_eq!(starts(known.due(&written, second(NOON))), [NOON + DAY]);
        assert_eq!(starts(known.due(&State::default(), second(NOON))), none);
        assert_eq!(known.look_at, None, "the window is gone");
    }
}
