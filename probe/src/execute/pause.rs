//! The end of a run's time, which is later by what this probe itself does between steps: working out what
//! was captured, filling it in, getting a token for it.
//!
//! A step has as much time as if none of that had happened, within [`RUN_ASIDE_MAX`] a run: what takes
//! longer eats into the time of what follows.

use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, Instant};

use parallax_common::limits::RUN_ASIDE_MAX;
use tokio::sync::watch;

/// Where pauses are told.
#[derive(Debug)]
pub(crate) struct Pauses {
    ends_at: Instant,
    later: watch::Sender<Duration>,
}

/// A run's time that may have pauses, and what [`within`] hears of them.
pub(crate) fn pauses(ends_at: Instant) -> (Pauses, watch::Receiver<Duration>) {
    let (later, told) = watch::channel(Duration::ZERO);
    (Pauses { ends_at, later }, told)
}

impl Pauses {
    /// One begins: while it lasts the run's time is not over, unless it lasts too long.
    pub fn begin(&mut self) {
        self.later.send_replace(RUN_ASIDE_MAX);
    }

    /// It is over, and all so far have taken so long; when the run's time is over now.
    pub fn end(&mut self, all: Duration) -> Instant {
        let later = all.min(RUN_ASIDE_MAX);
        self.later.send_replace(later);
        self.ends_at + later
    }
}

/// Takes steps until they are done or the run's time is over.
pub(crate) async fn within<T>(
    ends_at: Instant,
    mut later: watch::Receiver<Duration>,
    mut steps: Pin<Box<impl Future<Output = T>>>,
) -> Result<T, ()> {
    loop {
        let until = ends_at + *later.borrow_and_update();
        tokio::select! {
            biased;
            done = &mut steps => return Ok(done),
            Ok(()) = later.changed() => {}
            () = tokio::time::sleep_until(until.into()) => return Err(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use parallax_runtime::clock;

    use super::*;

    /// Steps that pause, or not, and then go on for a while; their time was over before they began.
    async fn steps(over_since: Duration, paused_for: Option<Duration>) -> Result<(), ()> {
        let ends_at = clock::instant().checked_sub(over_since).unwrap();
        let (mut pauses, told) = pauses(ends_at);
        let steps = async move {
            if let Some(all) = paused_for {
                pauses.begin();
                tokio::task::yield_now().await;
                assert_eq!(pauses.end(all), ends_at + all.min(RUN_ASIDE_MAX));
            }
            // Far less than any pause here, and more than no time at all.
            tokio::time::sleep(RUN_ASIDE_MAX / 50).await;
        };
        within(ends_at, told, Box::pin(steps)).await
    }

    #[tokio::test]
    async fn what_was_paused_is_had_once_more_up_to_a_bound() {
        let (half, hour) = (RUN_ASIDE_MAX / 2, Duration::from_secs(3_600));
        for (over_since, paused_for, wanted) in [
            (Duration::ZERO, None, Err(())),
            (Duration::ZERO, Some(Duration::ZERO), Err(())),
            (Duration::ZERO, Some(half), Ok(())),
            (Duration::ZERO, Some(hour), Ok(())),
            (half, Some(half / 2), Err(())),
            (2 * RUN_ASIDE_MAX, Some(hour), Err(())),
        ] {
            let ended = steps(over_since, paused_for).await;
            assert_eq!(ended, wanted, "over since {over_since:?}, paused for {paused_for:?}");
        }
    }
}
