//! When a page to a contact with a rate may go: as many as the rate names at once, and from then on
//! evenly, in the order in which they were written.
//!
//! One instant a contact is all that is kept (the generic cell rate algorithm of ITU-T I.371): up to when
//! everything that was let through would have gone, had it come evenly. It is part of the replicated
//! state, and a page's turn is written when the page is, so that whoever sends next knows all of them.

use parallax_common::limits::PACED_AHEAD_MAX;
use parallax_common::rate::Rate;
use parallax_common::time::UtcTime;

/// When the next page may go that could go from `from` on, and the new end of what was let through,
/// which was `until`.
pub fn turn(rate: Rate, until: UtcTime, from: UtcTime) -> (UtcTime, UtcTime) {
    let spacing = rate.spacing();
    let at_once = spacing.saturating_mul(rate.pages.saturating_sub(1));
    let latest = from + PACED_AHEAD_MAX;
    let turn = (until - at_once).max(from).min(latest);
    let until = (until.max(from) + spacing).min(latest + at_once + spacing);
    (turn, until)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn at(seconds: u64) -> UtcTime {
        UtcTime::from_ns(1_700_000_000_000_000_000) + Duration::from_secs(seconds)
    }

    /// When pages go that were written then, in seconds.
    fn turns(rate: &str, written: &[u64]) -> Vec<u64> {
        let rate = Rate::parse(rate).unwrap();
        let mut until = UtcTime::default();
        let mut turns = Vec::new();
        for written in written {
            let (turn, next) = turn(rate, until, at(*written));
            until = next;
            turns.push(turn.since(at(0)).as_secs());
        }
        turns
    }

    #[test]
    fn pages_go_at_once_up_to_the_rate_and_evenly_from_then_on() {
        #[rustfmt::skip]
        let table: [(&str, &[u64], &[u64]); 6] = [
            // rate, written, sent
            ("3/m", &[0, 0, 0],              &[0, 0, 0]),
            ("3/m", &[0, 0, 0, 0, 0],        &[0, 0, 0, 20, 40]),
            ("3/m", &[0, 0, 0, 25, 25],      &[0, 0, 0, 25, 40]),
            ("3/m", &[0, 0, 0, 60, 60, 60, 60], &[0, 0, 0, 60, 60, 60, 80]),
            ("1/m", &[0, 1, 2, 300],         &[0, 60, 120, 300]),
            ("1/s", &[0, 0, 5, 5],           &[0, 1, 5, 6]),
        ];
        for (rate, written, sent) in table {
            assert_eq!(turns(rate, written), sent, "{rate} {written:?}");
        }
    }

    #[test]
    fn nobody_waits_for_more_than_a_day() {
        let turns = turns("1/h", &[0; 200]);
        assert_eq!(turns[23], 23 * 3_600);
        assert!(turns[24..].iter().all(|turn| *turn == 24 * 3_600), "{turns:?}");
    }

    proptest! {
        /// In order, none before it was written, and within a stretch of time no more than twice the
        /// rate: what goes at once, and what follows evenly.
        #[test]
        fn a_rate_is_kept(gaps in proptest::collection::vec(0_u64..40, 1..200), pages in 1_u32..20) {
            let mut now = 0;
            let written: Vec<u64> = gaps.iter().map(|gap| { now += gap; now }).collect();
            let sent = turns(&format!("{pages}/m"), &written);
            prop_assert!(sent.is_sorted());
            prop_assert!(sent.iter().zip(&written).all(|(sent, written)| sent >= written));
            for first in &sent {
                let within = sent.iter().filter(|at| (*first..*first + 60).contains(at)).count();
                prop_assert!(within <= 2 * pages as usize + 1, "{within} from {first}");
            }
        }
    }
}
