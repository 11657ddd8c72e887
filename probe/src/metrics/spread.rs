//! Durations counted in fixed buckets, for Prometheus: how late runs start, how long after their
//! slots they end.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Upper bounds in microseconds, included. Fine around a timer's own precision, a millisecond, and
/// coarse where only the order of magnitude matters; a last bucket takes what is longer.
const BOUNDS_US: [u64; 18] = [
    500, 1_000, 2_000, 3_000, 4_000, 5_000, 7_500, 10_000, 25_000, 50_000, 100_000, 250_000,
    500_000, 1_000_000, 2_500_000, 5_000_000, 10_000_000, 60_000_000,
];

/// How durations are spread. Counted by one task, read by others.
#[derive(Debug, Default)]
pub struct Spread {
    /// By bound, not summed up; the last takes what is above all of them.
    counts: [AtomicU64; BOUNDS_US.len() + 1],
    sum_us: AtomicU64,
}

impl Spread {
    /// Counts one.
    pub fn record(&self, length: Duration) {
        let us = u64::try_from(length.as_micros()).unwrap_or(u64::MAX);
        let place = BOUNDS_US.partition_point(|bound| *bound < us);
        self.counts[place].fetch_add(1, Relaxed);
        self.sum_us.fetch_add(us, Relaxed);
    }

    /// Adds the text of a Prometheus histogram in seconds.
    pub(super) fn write(&self, out: &mut String, name: &str) {
        let _ = writeln!(out, "# TYPE {name} histogram");
        let mut count = 0;
        let bounds = BOUNDS_US.iter().map(|us| seconds(*us)).chain(["+Inf".to_owned()]);
        for (of, bound) in self.counts.iter().zip(bounds) {
            count += of.load(Relaxed);
            let _ = writeln!(out, "{name}_bucket{{le=\"{bound}\"}} {count}");
        }
        let _ = writeln!(out, "{name}_sum {}", seconds(self.sum_us.load(Relaxed)));
        let _ = writeln!(out, "{name}_count {count}");
    }
}

fn seconds(us: u64) -> String {
    let text = format!("{}.{:06}", us / 1_000_000, us % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_duration_is_in_every_bucket_that_is_not_below_it() {
        let spread = Spread::default();
        for us in [0, 1_000, 1_001, 5_000, 61_000_000] {
            spread.record(Duration::from_micros(us));
        }
        let mut text = String::new();
        spread.write(&mut text, "late_seconds");
        for line in [
            "# TYPE late_seconds histogram",
            "late_seconds_bucket{le=\"0.0005\"} 1",
            "late_seconds_bucket{le=\"0.001\"} 2",
            "late_seconds_bucket{le=\"0.002\"} 3",
            "late_seconds_bucket{le=\"0.0075\"} 4",
            "late_seconds_bucket{le=\"60\"} 4",
            "late_seconds_bucket{le=\"+Inf\"} 5",
            "late_seconds_sum 61.007001",
            "late_seconds_count 5",
        ] {
            assert!(text.lines().any(|of| of == line), "{line} in {text}");
        }
    }
}
