//! How fast what was spooled goes to one coordinator, over all of its lanes together.
//!
//! What this life has spooled goes before what earlier lives have left. A coordinator takes the windows of
//! one life in the order of their numbers and nothing that is behind (`coordinator/src/history`), so what
//! this life seals now cannot overtake what it has spooled: the sooner that is through, the sooner
//! everything is fresh again.

use std::time::Duration;

use parallax_common::limits::REPLAY_BYTES_PER_S_MAX;
use parallax_common::time::BootTime;

/// Whose windows a lane carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// Those of this life.
    Ours,
    /// Those of an earlier one.
    Earlier,
}

/// When a lane may send something that was spooled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Now.
    Now,
    /// Not before.
    At(BootTime),
    /// When this life has nothing spooled to send any more.
    AfterOurs,
}

/// The pace of one session.
#[derive(Debug, Default)]
pub struct Pace {
    free_at: BootTime,
    ours_first: bool,
}

impl Pace {
    /// Whether a lane may send something that was spooled.
    pub fn turn(&self, whose: Whose, now: BootTime) -> Turn {
        match whose {
            Whose::Earlier if self.ours_first => Turn::AfterOurs,
            _ if now < self.free_at => Turn::At(self.free_at),
            _ => Turn::Now,
        }
    }

    /// A lane has sent so much of it. What two lanes send at once is paid for one after the other.
    pub fn sent(&mut self, bytes: u64, now: BootTime) {
        let length = Duration::from_secs_f64(bytes as f64 / REPLAY_BYTES_PER_S_MAX as f64);
        self.free_at = self.free_at.max(now) + length;
    }

    /// This life has something spooled to send, and could send it; or no longer. Whether that is news.
    pub fn ours_first(&mut self, first: bool) -> bool {
        std::mem::replace(&mut self.ours_first, first) != first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: u64 = 256 * 1024;

    /// Two lanes that ask every millisecond and send a frame whenever they may: what each has sent
    /// within a second.
    fn in_a_second(ours: bool, earlier: usize) -> (u64, Vec<u64>) {
        let mut pace = Pace::default();
        let (mut by_us, mut by_others) = (0, vec![0; earlier]);
        for ms in 0..1_000 {
            let now = BootTime::from_ns((5_000 + ms) * 1_000_000);
            pace.ours_first(ours);
            // All of them ask before the first has sent.
            let may = |whose| pace.turn(whose, now) == Turn::Now;
            let (we, others) = (ours && may(Whose::Ours), may(Whose::Earlier));
            if we {
                by_us += FRAME;
                pace.sent(FRAME, now);
            }
            for sent in by_others.iter_mut().filter(|_| others) {
                *sent += FRAME;
                pace.sent(FRAME, now);
            }
        }
        (by_us, by_others)
    }

    #[test]
    fn the_rate_is_that_of_all_lanes_together() {
        // The first frame of each waits for nothing.
        let at_most = |lanes: u64| REPLAY_BYTES_PER_S_MAX + lanes * FRAME;
        for lanes in [1, 2, 3] {
            let (ours, others) = in_a_second(false, lanes);
            let sum: u64 = others.iter().sum();
            assert_eq!(ours, 0);
            assert!(sum <= at_most(lanes as u64), "{lanes}: {sum}");
            assert!(sum >= REPLAY_BYTES_PER_S_MAX * 9 / 10, "{lanes}: {sum}");
        }
    }

    #[test]
    fn what_this_life_has_spooled_goes_first() {
        let (ours, others) = in_a_second(true, 1);
        assert!((REPLAY_BYTES_PER_S_MAX * 9 / 10..=REPLAY_BYTES_PER_S_MAX + FRAME).contains(&ours));
        assert_eq!(others, [0]);
        let mut pace = Pace::default();
        let now = BootTime::from_ns(1);
        assert!(pace.ours_first(true) && !pace.ours_first(true));
        assert_eq!(pace.turn(Whose::Earlier, now), Turn::AfterOurs);
        assert_eq!(pace.turn(Whose::Ours, now), Turn::Now);
        pace.sent(REPLAY_BYTES_PER_S_MAX, now);
        let then = now + Duration::from_secs(1);
        assert_eq!(pace.turn(Whose::Ours, now), Turn::At(then));
        assert!(pace.ours_first(false));
        assert_eq!(pace.turn(Whose::Earlier, now), Turn::At(then));
        assert_eq!(pace.turn(Whose::Earlier, then), Turn::Now);
    }
}
