//! What is known of one other member besides its row: of use for people, decided upon by nobody.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use parallax_common::limits::PEER_PINGS_KEPT;

/// What this member noticed of another one.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// From its last hello.
    pub build: String,
    /// From its last hello.
    pub level: u32,
    /// Messages reach it at present.
    pub connected: bool,
    /// When it was last heard, on whichever side's stream.
    pub heard: Option<Instant>,
    /// Why the last stream to it ended or did not begin; empty when none did.
    pub last_error: String,
    /// Messages that were dropped because they could not be queued or sent.
    pub dropped: u64,
    /// Messages of it that were dropped because the Raft node was behind.
    pub overrun: u64,
    /// Snapshot files that it took.
    pub snapshots_sent: u64,
    /// Snapshot files that did not arrive.
    pub snapshots_failed: u64,
    round_trips: VecDeque<Duration>,
}

impl Facts {
    /// Lowest round trip of the last pings.
    pub fn round_trip(&self) -> Option<Duration> {
        self.round_trips.iter().min().copied()
    }

    /// Notes what a ping took.
    pub(super) fn ponged(&mut self, took: Duration) {
        while self.round_trips.len() >= PEER_PINGS_KEPT {
            self.round_trips.pop_front();
        }
        self.round_trips.push_back(took);
    }

    /// Messages reach it no more. What its pings took is no news of how far it is now.
    pub(super) fn lost(&mut self, why: String) {
        self.connected = false;
        self.round_trips.clear();
        self.last_error = why;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_round_trip_is_the_lowest_of_the_last_and_gone_with_the_connection() {
        let mut facts = Facts::default();
        assert_eq!(facts.round_trip(), None);
        facts.ponged(Duration::from_millis(1));
        for _ in 0..PEER_PINGS_KEPT {
            assert_eq!(facts.round_trip(), Some(Duration::from_millis(1)));
            facts.ponged(Duration::from_millis(7));
        }
        assert_eq!(facts.round_trip(), Some(Duration::from_millis(7)));
        facts.lost("cut".to_owned());
        assert_eq!(facts.round_trip(), None);
    }
}
