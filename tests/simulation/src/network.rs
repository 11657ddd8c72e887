//! The network between members: late, lossy, doubling, and cut in one direction or both.

use std::collections::BTreeSet;

use crate::chance::Chance;
use crate::profile::Profile;

/// Which members hear which others.
#[derive(Debug, Default)]
pub struct Network {
    /// From, to.
    cut: BTreeSet<(u64, u64)>,
}

impl Network {
    /// Nothing goes from one to the other any more.
    pub fn cut(&mut self, from: u64, to: u64) {
        self.cut.insert((from, to));
    }

    /// Neither hears the other, for everybody in `these` and everybody in `those`.
    pub fn part(&mut self, these: &[u64], those: &[u64]) {
        for this in these {
            for that in those.iter().filter(|that| *that != this) {
                self.cut(*this, *that);
                self.cut(*that, *this);
            }
        }
    }

    /// Everybody hears `member` again, and it them.
    pub fn join(&mut self, member: u64) {
        self.cut.retain(|(from, to)| *from != member && *to != member);
    }

    /// Everybody hears everybody.
    pub fn heal(&mut self) {
        self.cut.clear();
    }

    /// Whether something sent now would arrive, chance aside.
    pub fn is_open(&self, from: u64, to: u64) -> bool {
        !self.cut.contains(&(from, to))
    }

    /// After how many microseconds a message arrives; twice when it is doubled, never when lost.
    pub fn delays(&self, from: u64, to: u64, profile: &Profile, chance: &mut Chance) -> Vec<u64> {
        if !self.is_open(from, to) || chance.percent(profile.loss_percent) {
            return Vec::new();
        }
        let delay = |chance: &mut Chance| {
            let (least, most) = profile.delay_us;
            // Now and then one is much later than those sent after it.
            let late = if chance.one_in(50) { 4 } else { 1 };
            chance.between(least, most) * late
        };
        let mut delays = vec![delay(chance)];
        if chance.percent(profile.twice_percent) {
            delays.push(delay(chance));
        }
        delays
    }
}
