//! When a region that alone fails everything loses its vote, and when it has it back: asked of the shipped
//! watchdog, second by second.

use std::sync::OnceLock;
use std::time::Duration;

use parallax_common::limits::SURVEY_EVERY;
use parallax_common::time::{MeshTime, ns};
use parallax_coordinator::core::fleet::ProbeKey;
use parallax_coordinator::core::watchdog::{Survey, Watchdog, Witnessed};

use crate::faults::Stretch;
use crate::mesh;

const NAMES: [&str; mesh::REGIONS] = ["r0", "r1", "r2", "r3", "r4"];
/// More would say the same.
const TARGETS: u32 = 20;
/// As long as a fault is looked at: nothing changes after so long.
const LONG: Duration = Duration::from_secs(1_200);

/// The stretch in which a region that is ill all through `ill` has no vote. None when it is over before
/// anybody is sure.
pub fn excluded(ill: Stretch) -> Option<Stretch> {
    static LONG_ILLNESS: OnceLock<Option<(Duration, Duration)>> = OnceLock::new();
    let length = ill.until.since(ill.from);
    let found =
        if length >= LONG { *LONG_ILLNESS.get_or_init(|| delays(LONG)) } else { delays(length) };
    let (lost, back) = found?;
    Some(Stretch { from: ill.from + lost, until: ill.until + back })
}

/// How long a lasting fault has its say before it is excluded.
pub fn takes() -> Duration {
    let start = MeshTime::from_ns(0);
    let ill = Stretch { from: start, until: start + LONG };
    excluded(ill).map_or(LONG, |excluded| excluded.from.since(start))
}

/// From the beginning of the illness to the loss of the vote, and from its end to its return.
fn delays(length: Duration) -> Option<(Duration, Duration)> {
    let terms = mesh::terms();
    let key = |region: &str| ProbeKey { region: region.to_owned(), probe: "p".to_owned() };
    let mut dog = Watchdog::default();
    for region in NAMES {
        dog.row(key(region), None);
    }
    let start = MeshTime::from_ns(ns(LONG));
    let end = start + length;
    // Each target's slot is at another moment of the interval. It turns with its second run: the
    // confirmation that its own first failure ordered, or the second slot that passes.
    let turns: Vec<(MeshTime, MeshTime)> = (0..TARGETS)
        .map(|number| {
            let slot = terms.interval / TARGETS * number;
            (start + slot + terms.timeout * 2, end + slot + terms.interval)
        })
        .collect();
    let mut lost = None;
    let mut now = start;
    loop {
        now = now + SURVEY_EVERY;
        let mut survey = Survey::default();
        for (number, (fails, passes)) in turns.iter().enumerate() {
            let ill = (*fails..*passes).contains(&now);
            let since = [*passes, *fails].into_iter().find(|at| *at <= now);
            // As the engine looks: a vote that has just turned says nothing yet.
            if since.is_some_and(|since| now.since(since) < terms.all_had_their_turn()) {
                continue;
            }
            let votes = NAMES.map(|region| Witnessed {
                region,
                probe: "p",
                fails: ill && region == NAMES[0],
                young: false,
                excluded: lost.is_some() && region == NAMES[0],
            });
            survey.take(&format!("target-{number}"), &votes);
        }
        for (_, wish) in dog.review(&survey, |_| true, now) {
            dog.row(key(NAMES[0]), wish);
            match (wish, lost) {
                (Some(_), _) => lost = Some(now.since(start)),
                (None, Some(lost)) => return Some((lost, now.since(end))),
                (None, None) => {}
            }
        }
        if now > end + LONG {
            return None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ill(seconds: u64) -> Option<(u64, u64)> {
        delays(Duration::from_secs(seconds)).map(|(lost, back)| (lost.as_secs(), back.as_secs()))
    }

    #[test]
    fn a_region_that_alone_fails_everything_is_excluded_and_comes_back() {
        let (lost, back) = ill(600).unwrap();
        // Three intervals, a run and the grace; a few targets must be as old; five seconds of suspicion.
        assert!((190..=240).contains(&lost), "{lost}");
        // The same after it passes again, then a minute of health.
        assert!((250..=420).contains(&back), "{back}");
        assert_eq!(ill(120), None, "over before anybody is sure");
    }
}
