//! When a member says aloud that it sees no leader, and when that is over.
//!
//! Fed with what it sees and when, as the time since its owner began; it reads no clock and sends
//! nothing. One episode lasts from the
//! moment it is told until a leader was there for a while: a leader that comes for a second and goes
//! again neither ends it nor begins another.

use std::time::Duration;

use parallax_common::limits::{LEADER_BACK_AFTER, LEADER_LOOKS_APART_MAX, LEADERLESS_TOLD_AFTER};

/// What is to be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nobody led for too long: say so.
    Tell,
    /// A leader is there again, and stays: say that it is over.
    Resolve,
}

/// What one member has seen of its leaders.
#[derive(Debug)]
pub struct QuorumWatch {
    /// Since when there is no leader.
    leaderless: Option<Duration>,
    /// Since when there is one.
    led: Option<Duration>,
    /// An episode has been told of and is not over.
    told: bool,
    /// When the last look was taken.
    seen: Duration,
}

impl QuorumWatch {
    /// A watch that begins now, without a leader. `told`: an earlier life has told of an episode
    /// that is not over.
    pub fn new(now: Duration, told: bool) -> Self {
        Self { leaderless: Some(now), led: None, told, seen: now }
    }

    /// Takes a look: whether a leader is known now.
    pub fn see(&mut self, leader: bool, now: Duration) -> Option<Step> {
        // A process that stood still has not looked: the time that it missed says nothing of leaders.
        let missed = now.saturating_sub(self.seen).saturating_sub(LEADER_LOOKS_APART_MAX);
        self.seen = now;
        self.leaderless = self.leaderless.map(|since| since + missed);
        if leader {
            self.leaderless = None;
            let since = *self.led.get_or_insert(now);
            let lasts = now.saturating_sub(since) >= LEADER_BACK_AFTER;
            if self.told && lasts {
                self.told = false;
                return Some(Step::Resolve);
            }
            return None;
        }
        self.led = None;
        let since = *self.leaderless.get_or_insert(now);
        let lasts = now.saturating_sub(since) >= LEADERLESS_TOLD_AFTER;
        if !self.told && lasts {
            self.told = true;
            return Some(Step::Tell);
        }
        None
    }

    /// For how long there is no leader; none while there is one.
    pub fn leaderless_for(&self, now: Duration) -> Option<Duration> {
        self.leaderless.map(|since| now.saturating_sub(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks once a second; `.` without a leader, `L` with one. Says at which second what was done.
    fn story(told: bool, looks: &str) -> Vec<(usize, Step)> {
        let start = Duration::from_secs(7);
        let mut watch = QuorumWatch::new(start, told);
        let mut steps = Vec::new();
        for (second, look) in looks.chars().enumerate() {
            let now = start + Duration::from_secs(second as u64);
            steps.extend(watch.see(look == 'L', now).map(|step| (second, step)));
        }
        steps
    }

    fn many(look: &str, seconds: usize) -> String {
        look.repeat(seconds)
    }

    #[test]
    fn it_is_told_once_after_a_minute_and_over_when_a_leader_stays() {
        use Step::{Resolve, Tell};
        let table = [
            // (told before, what is seen each second, what is done when)
            (false, many(".", 60), vec![]),
            (false, many(".", 200), vec![(60, Tell)]),
            (false, many(".", 59) + "L" + &many(".", 60), vec![]),
            (false, many(".", 59) + "L" + &many(".", 61), vec![(120, Tell)]),
            (false, many("L", 100), vec![]),
            (false, many(".", 70) + &many("L", 10), vec![(60, Tell)]),
            (false, many(".", 70) + &many("L", 11), vec![(60, Tell), (80, Resolve)]),
            // A leader that goes again ends nothing, and nothing is told twice.
            (false, many(".", 70) + "LLLLL" + &many(".", 100), vec![(60, Tell)]),
            (
                false,
                many(".", 61) + &many("L", 11) + &many(".", 61),
                vec![(60, Tell), (71, Resolve), (132, Tell)],
            ),
            // An earlier life told of it: this one does not, and ends it.
            (true, many(".", 200), vec![]),
            (true, many("L", 11), vec![(10, Resolve)]),
            (true, many(".", 90) + &many("L", 11), vec![(100, Resolve)]),
        ];
        for (told, looks, steps) in table {
            assert_eq!(story(told, &looks), steps, "{told} {looks}");
        }
    }

    #[test]
    fn the_time_without_a_leader_counts_from_the_first_look_without_one() {
        let start = Duration::from_secs(7);
        let second = Duration::from_secs(1);
        let mut watch = QuorumWatch::new(start, false);
        assert_eq!(watch.leaderless_for(start + 3 * second), Some(3 * second));
        watch.see(true, start + 4 * second);
        assert_eq!(watch.leaderless_for(start + 5 * second), None);
        watch.see(false, start + 6 * second);
        assert_eq!(watch.leaderless_for(start + 8 * second), Some(2 * second));
    }

    #[test]
    fn a_process_that_stood_still_has_seen_nothing() {
        let second = Duration::from_secs(1);
        let mut watch = QuorumWatch::new(Duration::ZERO, false);
        assert_eq!(watch.see(false, second), None);
        // Stopped for ten minutes, and awake before anybody was heard.
        assert_eq!(watch.see(false, 601 * second), None);
        assert_eq!(watch.leaderless_for(601 * second), Some(second + LEADER_LOOKS_APART_MAX));
        let tells: Vec<u32> =
            (602..700).filter(|at| watch.see(false, *at * second).is_some()).collect();
        assert_eq!(tells, [601 + 60 - 1 - 5]);
    }
}
