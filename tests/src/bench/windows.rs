//! Windows as a probe sends them, made by the probe's own types.

use std::time::Duration;

use parallax_common::histogram::Recorder;
use parallax_common::name::{Incarnation, RunDigest, Uid};
use parallax_common::outcome::{Outcome, Phase};
use parallax_common::time::MeshTime;
use parallax_common::window::{Period, Series, Spans, Window};
use parallax_proto::convert::window::window_to;
use parallax_proto::v1;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// Series of one window.
pub const SERIES: usize = 6;
/// Samples of one series: an interval of 1 s in a window of 10 s.
pub const SAMPLES: u64 = 10;
/// Length of every window.
pub const PERIOD: Duration = Duration::from_secs(10);

/// The window of `check` that starts at `round` periods after `origin`, a multiple of the period.
/// Latencies differ from window to window, as real ones do; the same arguments give the same ones.
pub fn window(check: Uid, incarnation: Incarnation, origin: MeshTime, round: u32) -> v1::Window {
    let start = origin + PERIOD * round;
    let mut random = StdRng::seed_from_u64(seed_of(&check) ^ u64::from(round));
    let series = Phase::ALL[..SERIES].iter().map(|&phase| {
        let mut recorder = Recorder::new();
        for _ in 0..SAMPLES {
            recorder.record(Duration::from_micros(random.random_range(200..80_000)));
        }
        Series { step: 0, phase, totals: recorder.totals(), histogram: recorder.encode() }
    });
    let series = series.collect();
    let mut outcomes = Spans::new();
    for _ in 0..SAMPLES {
        outcomes.push(Outcome::Pass, None, false);
    }
    let last = u64::from(round + 1) * SAMPLES;
    let slots = (last - SAMPLES + 1, last);
    let signed = |slot: u64| i64::try_from(slot).unwrap_or(i64::MAX);
    window_to(&Window {
        check,
        run_digest: RunDigest(1),
        start,
        period: Period::for_interval(PERIOD),
        phase_ns: 0,
        slots: Some((signed(slots.0), signed(slots.1))),
        numbers: Some(slots),
        outcomes,
        series,
        expiry: None,
        incarnation,
    })
}

fn seed_of(check: &Uid) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&check.as_bytes()[8..]);
    u64::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use parallax_proto::convert::window::check_window;

    use super::*;

    #[test]
    fn a_window_of_the_load_is_accepted_and_has_the_shape_it_claims() {
        let made = window(Uid::from_bytes([3; 16]), Incarnation(1), MeshTime::from_ns(0), 7);
        assert!(check_window(&made).is_ok(), "{:?}", check_window(&made));
        assert_eq!(made.series.len(), SERIES);
        assert!(made.series.iter().all(|series| series.count == SAMPLES));
    }
}
