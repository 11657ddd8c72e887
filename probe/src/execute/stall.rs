//! Whether this probe itself stood still during a run, so that the run says nothing of its target.
//!
//! Two clocks tell: the monotonic one goes on while a process is stopped or its machine is busy, and
//! stands still while the machine sleeps; the one since boot goes on then, too.

use std::time::Duration;

use parallax_common::limits::RUN_STALL_AFTER;

/// How long a run took.
#[derive(Debug, Clone, Copy)]
pub(super) struct Taken {
    /// By the monotonic clock.
    pub awake: Duration,
    /// By the clock that goes on while the machine sleeps.
    pub in_all: Duration,
    /// What of `awake` is not the target's: the probe's own work between two steps.
    pub aside: Duration,
    /// It ended in such work: how long that took is not known.
    pub is_aside: bool,
}

/// What is to be said of a run that may take `timeout`, when the probe stood still in it.
pub(super) fn told(taken: Taken, timeout: Duration) -> Option<String> {
    let asleep = taken.in_all.saturating_sub(taken.awake);
    if asleep > RUN_STALL_AFTER {
        let asleep = asleep.as_millis();
        return Some(format!("this probe stood still: its machine slept {asleep} ms of the run"));
    }
    let latency = taken.awake.saturating_sub(taken.aside);
    if latency > timeout + RUN_STALL_AFTER && !taken.is_aside {
        let over = latency.saturating_sub(timeout).as_millis();
        return Some(format!(
            "this probe stood still: the end of the run was noticed {over} ms after its time"
        ));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_stood_still_when_either_clock_says_so() {
        let timeout = 1_000;
        for (awake, in_all, aside, is_aside, said) in [
            (900, 900, 0, false, None),
            (1_500, 1_500, 0, false, None),
            (1_501, 1_501, 0, false, Some("501 ms after its time")),
            // The probe's own work is no stall.
            (1_501, 1_501, 1, false, None),
            (9_000, 9_000, 0, true, None),
            // Asleep: in time by one clock, hours late by the other.
            (900, 1_400, 0, false, None),
            (900, 1_401, 0, false, Some("slept 501 ms")),
            (1_000, 7_201_000, 0, false, Some("slept 7200000 ms")),
            (1_000, 7_201_000, 900, true, Some("slept 7200000 ms")),
            // Clocks are read one after the other.
            (900, 899, 0, false, None),
        ] {
            let ms = Duration::from_millis;
            let taken = Taken { awake: ms(awake), in_all: ms(in_all), aside: ms(aside), is_aside };
            let told = told(taken, ms(timeout));
            match said {
                None => assert_eq!(told, None, "{taken:?}"),
                Some(said) => assert!(told.as_ref().unwrap().contains(said), "{told:?}"),
            }
        }
    }
}
