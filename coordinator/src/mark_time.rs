//! Marks the time: while this member leads and nothing else is written, an entry that says so.
//!
//! Without it nobody could tell a quiet mesh from one without a leader, and a verdict that stood when the
//! leader was lost would count for as long as nobody decided anything (`core/state/intervals.rs`).

use std::sync::Arc;
use std::time::Duration;

use parallax_common::limits::MARK_TIME_EVERY;
use parallax_common::time::MeshTime;
use parallax_proto::store;
use parallax_proto::store::entry::Command;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tracing::warn;

use crate::core::state::{MARKS_LEVEL, State};
use crate::mesh_clock::MeshClock;
use crate::propose::{Origin, Proposer};
use crate::raft::member::Leadership;
use crate::view::View;

/// How often it looks whether a mark is due: the end of a time without a leader is known so exactly.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Marks the time for as long as this member lives.
pub async fn run(
    view: View,
    proposer: Proposer,
    leadership: watch::Receiver<Leadership>,
    clock: Arc<MeshClock>,
    name: String,
) {
    let mut every = tokio::time::interval(LOOK_EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first tick is at once, and a leader that has just been elected writes of its own accord.
    every.tick().await;
    loop {
        every.tick().await;
        if !leadership.borrow().leader || !clock.is_known() || !is_due(&view.load(), clock.now()) {
            continue;
        }
        let mark = Command::MarkTime(store::MarkTime {});
        if let Err(error) = proposer.write(Origin::leader(&name), mark).await {
            warn!(%error, "the time could not be marked, trying again in {LOOK_EVERY:?}");
        }
    }
}

/// Nothing was written for so long that the next look would be too late.
fn is_due(state: &State, now: MeshTime) -> bool {
    if state.cluster.level < MARKS_LEVEL || state.cluster.disputed_index != 0 {
        return false;
    }
    state.attended().is_none_or(|(_, at)| now.since(at) + LOOK_EVERY > MARK_TIME_EVERY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_due_when_nothing_else_was_written() {
        let at = |seconds: i64| MeshTime::from_ns(seconds * 1_000_000_000);
        let mut state = State::default();
        state.cluster.level = MARKS_LEVEL;
        assert!(is_due(&state, at(1)), "the first");
        state.cluster.attended_utc_ns = 900;
        state.cluster.attended_mesh_ns = at(100).as_ns();
        assert!(!is_due(&state, at(110)));
        assert!(is_due(&state, at(111)));
        // A clock that is behind has nothing to mark.
        assert!(!is_due(&state, at(50)));
        state.cluster.disputed_index = 7;
        assert!(!is_due(&state, at(111)));
        state.cluster.disputed_index = 0;
        state.cluster.level = MARKS_LEVEL - 1;
        assert!(!is_due(&state, at(111)), "older members do not know the entry");
    }
}
