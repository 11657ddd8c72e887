//! What the owner task counts, for heartbeats and for `/metrics`.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use parallax_common::outcome::{Outcome, Reason};
use parallax_runtime::build::labels;

use spread::Spread;

pub mod spread;

/// Counters and gauges of one probe.
#[derive(Debug)]
pub struct Metrics {
    /// Runs that ended.
    pub runs: AtomicU64,
    /// Runs that panicked: a fault of the probe, told as missed.
    pub runs_panicked: AtomicU64,
    outcomes: [AtomicU64; Outcome::ALL.len()],
    missed: [AtomicU64; Reason::ALL.len()],
    /// Slots of long stalls that were counted and not recorded.
    pub skipped: AtomicU64,
    /// Checks assigned.
    pub checks: AtomicU64,
    /// Runs in flight.
    pub in_flight: AtomicU64,
    /// Bytes of windows kept.
    pub spool_bytes: AtomicU64,
    /// Those of them that the disk takes.
    pub spool_disk_bytes: AtomicU64,
    /// 1 while the disk of the spool refuses something.
    pub spool_failing: AtomicU64,
    /// Windows that were merged away for want of room.
    pub spool_merged: AtomicU64,
    /// Segments of the spool that were damaged and set aside.
    pub spool_damaged: AtomicU64,
    /// Windows set aside for one coordinator, which ended the lane over them.
    pub windows_set_aside: AtomicU64,
    /// Windows dropped at the spool's bound.
    pub spool_dropped: AtomicU64,
    /// Gaps in the windows of one coordinator that began.
    pub spool_gaps: AtomicU64,
    /// Windows a coordinator refused.
    pub windows_refused: AtomicU64,
    /// Sessions open now.
    pub sessions: AtomicU64,
    /// Sessions ended because they could not keep up.
    pub sessions_slow: AtomicU64,
    /// Orders refused.
    pub orders_refused: AtomicU64,
    /// Ordered runs that found too much in flight.
    pub orders_crowded_out: AtomicU64,
    /// Descriptors that this process has open, and how many it may have; 0 when nobody knows.
    pub descriptors: AtomicU64,
    /// That bound.
    pub descriptors_max: AtomicU64,
    /// TCP sockets of this machine.
    pub ports: AtomicU64,
    /// Ports for outgoing connections.
    pub ports_max: AtomicU64,
    /// Runs that may be in flight.
    pub in_flight_max: AtomicU64,
    /// Bytes that the spool may have.
    pub spool_bytes_max: AtomicU64,
    /// Anchors that answer.
    pub anchors_answering: AtomicU64,
    /// Anchors.
    pub anchors: AtomicU64,
    /// mesh = boottime + this; 0 while it is not known.
    pub clock_offset_ns: AtomicI64,
    /// Round trip of the last measurement of the clock.
    pub clock_round_trip_ns: AtomicI64,
    /// UTC of this machine less mesh time; 0 while that is not known.
    pub utc_drift_ns: AtomicI64,
    /// How late this process came to its work at the worst, in the last second that was told.
    loop_lag_ns: AtomicI64,
    /// The same, since then.
    lag_since: AtomicI64,
    /// Actual less intended start of the runs of slots.
    pub lateness: Spread,
    /// End less intended start of the same runs: what waited counts (coordinated omission).
    pub from_slot: Spread,
    /// What runs that show tokens waited for them before they began: in neither of the two above.
    pub token_wait: Spread,
}

impl Default for Metrics {
    fn default() -> Self {
        let zero = AtomicU64::default;
        Self {
            runs: zero(),
            runs_panicked: zero(),
            outcomes: std::array::from_fn(|_| zero()),
            missed: std::array::from_fn(|_| zero()),
            skipped: zero(),
            checks: zero(),
            in_flight: zero(),
            spool_bytes: zero(),
            spool_disk_bytes: zero(),
            spool_failing: zero(),
            spool_merged: zero(),
            spool_damaged: zero(),
            windows_set_aside: zero(),
            spool_dropped: zero(),
            spool_gaps: zero(),
            windows_refused: zero(),
            sessions: zero(),
            sessions_slow: zero(),
            orders_refused: zero(),
            orders_crowded_out: zero(),
            descriptors: zero(),
            descriptors_max: zero(),
            ports: zero(),
            ports_max: zero(),
            in_flight_max: zero(),
            spool_bytes_max: zero(),
            anchors_answering: zero(),
            anchors: zero(),
            clock_offset_ns: AtomicI64::default(),
            clock_round_trip_ns: AtomicI64::default(),
            utc_drift_ns: AtomicI64::default(),
            loop_lag_ns: AtomicI64::default(),
            lag_since: AtomicI64::default(),
            lateness: Spread::default(),
            from_slot: Spread::default(),
            token_wait: Spread::default(),
        }
    }
}

impl Metrics {
    /// Counts outcomes.
    pub fn outcome(&self, outcome: Outcome, reason: Option<Reason>, count: u64) {
        #[cfg(test)]
        crate::execute::tests::reasons::note(reason);
        self.outcomes[outcome as usize].fetch_add(count, Relaxed);
        if let (Outcome::Missed, Some(reason)) = (outcome, reason) {
            self.missed[reason as usize].fetch_add(count, Relaxed);
        }
    }

    /// Something woke this late.
    pub fn woke_late(&self, lag: Duration) {
        self.lag_since.fetch_max(i64::try_from(lag.as_nanos()).unwrap_or(i64::MAX), Relaxed);
    }

    /// The worst since the last call, in nanoseconds. It is the gauge from now on.
    pub fn take_loop_lag(&self) -> i64 {
        let worst = self.lag_since.swap(0, Relaxed);
        self.loop_lag_ns.store(worst, Relaxed);
        worst
    }

    /// Slots and runs that were missed.
    pub fn missed_total(&self) -> u64 {
        self.outcomes[Outcome::Missed as usize].load(Relaxed)
    }

    /// The Prometheus text format.
    pub fn text(&self) -> String {
        let mut out = String::new();
        let mut metric = |name: &str, kind: &str, labels: &str, value: i128| {
            if !kind.is_empty() {
                let _ = writeln!(out, "# TYPE parallax_probe_{name} {kind}");
            }
            let _ = writeln!(out, "parallax_probe_{name}{labels} {value}");
        };
        let build = labels(env!("CARGO_PKG_VERSION"), None);
        metric("build_info", "gauge", &build, 1);
        metric("runs_total", "counter", "", self.runs.load(Relaxed).into());
        for (place, outcome) in Outcome::ALL.iter().enumerate() {
            let kind = if place == 0 { "counter" } else { "" };
            let value = self.outcomes[*outcome as usize].load(Relaxed).into();
            metric("outcomes_total", kind, &format!("{{outcome=\"{outcome}\"}}"), value);
        }
        let missed = Reason::ALL.iter().filter(|reason| reason.is_missed());
        for (place, reason) in missed.enumerate() {
            let kind = if place == 0 { "counter" } else { "" };
            let value = self.missed[*reason as usize].load(Relaxed).into();
            metric("missed_total", kind, &format!("{{reason=\"{reason}\"}}"), value);
        }
        for (name, kind, value) in [
            ("runs_panicked_total", "counter", &self.runs_panicked),
            ("slots_skipped_total", "counter", &self.skipped),
            ("checks", "gauge", &self.checks),
            ("in_flight", "gauge", &self.in_flight),
            ("spool_bytes", "gauge", &self.spool_bytes),
            ("spool_disk_bytes", "gauge", &self.spool_disk_bytes),
            ("spool_failing", "gauge", &self.spool_failing),
            ("spool_merged_total", "counter", &self.spool_merged),
            ("spool_damaged_total", "counter", &self.spool_damaged),
            ("windows_set_aside_total", "counter", &self.windows_set_aside),
            ("spool_dropped_total", "counter", &self.spool_dropped),
            ("spool_gaps_total", "counter", &self.spool_gaps),
            ("windows_refused_total", "counter", &self.windows_refused),
            ("sessions", "gauge", &self.sessions),
            ("sessions_slow_total", "counter", &self.sessions_slow),
            ("orders_refused_total", "counter", &self.orders_refused),
            ("orders_crowded_out_total", "counter", &self.orders_crowded_out),
            ("descriptors", "gauge", &self.descriptors),
            ("descriptors_max", "gauge", &self.descriptors_max),
            ("ports", "gauge", &self.ports),
            ("ports_max", "gauge", &self.ports_max),
            ("in_flight_max", "gauge", &self.in_flight_max),
            ("spool_bytes_max", "gauge", &self.spool_bytes_max),
            ("anchors", "gauge", &self.anchors),
            ("anchors_answering", "gauge", &self.anchors_answering),
        ] {
            metric(name, kind, "", value.load(Relaxed).into());
        }
        for (name, value) in [
            ("loop_lag_ns", &self.loop_lag_ns),
            ("clock_offset_ns", &self.clock_offset_ns),
            ("clock_round_trip_ns", &self.clock_round_trip_ns),
            ("utc_drift_ns", &self.utc_drift_ns),
        ] {
            metric(name, "gauge", "", value.load(Relaxed).into());
        }
        self.lateness.write(&mut out, "parallax_probe_lateness_seconds");
        self.from_slot.write(&mut out, "parallax_probe_from_slot_seconds");
        self.token_wait.write(&mut out, "parallax_probe_token_wait_seconds");
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_holds_what_was_counted() {
        let metrics = Metrics::default();
        metrics.outcome(Outcome::Missed, Some(Reason::MissedLate), 3);
        metrics.outcome(Outcome::Pass, None, 2);
        let text = metrics.text();
        let build =
            format!("parallax_probe_build_info{{version=\"{}\",", env!("CARGO_PKG_VERSION"));
        assert!(
            text.lines().any(|line| line.starts_with(&build) && line.ends_with("} 1")),
            "{text}"
        );
        for line in [
            "parallax_probe_outcomes_total{outcome=\"pass\"} 2",
            "parallax_probe_outcomes_total{outcome=\"missed\"} 3",
            "parallax_probe_missed_total{reason=\"missed_late\"} 3",
            "parallax_probe_missed_total{reason=\"missed_overlap\"} 0",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}");
        }
        assert_eq!(metrics.missed_total(), 3);
    }
}
