//! Checks that go down again and again: when one flaps, by the incidents that it opened.
//!
//! It begins to when it opens so many within a while. It has calmed down when the incident that is open
//! then ends, which `core/decide/calm.rs` lets happen only after enough regions have passed for a
//! longer while without a break: where it begins and where it ends are not the same, so that it does
//! not flap between the two.

use std::time::Duration;

use parallax_common::time::UtcTime;
use parallax_proto::v1;

use crate::core::stamp;

/// The openings that count from now on, and whether there are enough of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Openings {
    /// The oldest first, this one last. Never more than make it flap.
    pub recent: Vec<prost_types::Timestamp>,
    /// So many that it flaps.
    pub flaps: bool,
}

/// An incident opens `now`, after those that did `before`.
pub fn opening(flap: &v1::Flap, before: &[prost_types::Timestamp], now: UtcTime) -> Openings {
    let within = flap.within.as_ref().map_or(Duration::ZERO, stamp::length);
    let first = now - within;
    let counts = |at: &&prost_types::Timestamp| first < stamp::utc(Some(at));
    let mut recent: Vec<_> = before.iter().filter(counts).copied().collect();
    recent.push(stamp::timestamp(now));
    let needed = usize::try_from(flap.opens).unwrap_or(usize::MAX).max(1);
    let flaps = recent.len() >= needed;
    recent.drain(..recent.len().saturating_sub(needed));
    Openings { recent, flaps }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::table::{columns, lines};

    fn minute(at: i64) -> UtcTime {
        UtcTime::from_ns(at * 60_000_000_000)
    }

    #[test]
    fn openings_within_a_while_make_it_flap() {
        let mut rows = 0;
        for line in lines(include_str!("flap.txt")) {
            let [opens, within, openings, flaps, kept] = columns(line);
            let minutes: i64 = within.parse().unwrap();
            let flap = v1::Flap {
                opens: opens.parse().unwrap(),
                within: Some(prost_types::Duration { seconds: minutes * 60, nanos: 0 }),
                calm: None,
            };
            let (mut before, mut said, mut counts) = (Vec::new(), Vec::new(), Vec::new());
            for at in openings.split_whitespace() {
                if at.starts_with('c') {
                    before.clear();
                }
                let now = minute(at.trim_start_matches('c').parse().unwrap());
                let openings = opening(&flap, &before, now);
                said.push(if openings.flaps { "F" } else { "-" });
                counts.push(openings.recent.len().to_string());
                before = openings.recent;
            }
            assert_eq!((said.join(" "), counts.join(" ")), (flaps.into(), kept.into()), "{line}");
            rows += 1;
        }
        assert_eq!(rows, 9);
    }
}
