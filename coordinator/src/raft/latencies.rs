//! The last durations of something, for its quantiles.

use std::time::Duration;

const KEPT: usize = 512;

/// A ring of durations.
#[derive(Debug, Default)]
pub(super) struct Latencies {
    ring: Vec<Duration>,
    next: usize,
}

impl Latencies {
    pub(super) fn record(&mut self, duration: Duration) {
        if self.ring.len() < KEPT {
            self.ring.push(duration);
        } else {
            self.ring[self.next] = duration;
        }
        self.next = (self.next + 1) % KEPT;
    }

    /// The median and the 99th percentile; zero when nothing was recorded.
    pub(super) fn quantiles(&self) -> (Duration, Duration) {
        let mut sorted = self.ring.clone();
        sorted.sort_unstable();
        let at = |percent: usize| {
            let rank = (sorted.len() * percent).div_ceil(100).max(1) - 1;
            sorted.get(rank).copied().unwrap_or_default()
        };
        (at(50), at(99))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_the_newest() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.quantiles(), (Duration::ZERO, Duration::ZERO));
        for _ in 0..KEPT {
            latencies.record(Duration::from_secs(9));
        }
        for ms in 1..=KEPT as u64 {
            latencies.record(Duration::from_millis(ms));
        }
        assert_eq!(latencies.quantiles(), (Duration::from_millis(256), Duration::from_millis(507)));
    }
}
