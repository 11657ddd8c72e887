//! CloudWatch's published examples, played through a seat and `decide`: see `cloudwatch.txt`.

use std::time::Duration;

use parallax_common::check::{Missing, Policy, Quorum};
use parallax_common::name::{RunDigest, Uid};
use parallax_common::outcome::{Outcome, Verdict};
use parallax_common::time::MeshTime;

use super::{Open, decide};
use crate::core::ballots::{Heard, Hearing, Seat, Terms, VoterId};

const PERIOD: Duration = Duration::from_secs(300);
const WHO: VoterId = VoterId(1);

/// A region and its check, period by period.
struct Region {
    policy: Policy,
    terms: Terms,
    seat: Seat,
    open: Open,
    now: MeshTime,
    watermark: MeshTime,
    number: u64,
}

impl Region {
    fn new(needed: u32, of: u32, missing: Missing) -> Self {
        let of = if of == needed { 0 } else { of };
        let policy = Policy {
            regions: Quorum::Majority,
            failures: needed,
            successes: 2,
            failures_of: of,
            successes_of: 0,
            missing,
        };
        let terms = Terms {
            failures: needed,
            successes: 2,
            failures_of: of,
            successes_of: 0,
            interval: PERIOD,
            timeout: Duration::from_secs(10),
        };
        let now = MeshTime::from_ns(1_700_000_000_000_000_000);
        let mut seat = Seat::new(RunDigest(1));
        seat.assign(Some(WHO), true, &terms, now);
        let said = Verdict::Unknown;
        let open = Open { incident: false, latched: false, said, degraded: None, settled: true };
        Self { policy, terms, seat, open, now, watermark: now, number: 0 }
    }

    fn period(&mut self, data: char) {
        self.now = self.now + PERIOD;
        let outcome = match data {
            '0' => Some(Outcome::Pass),
            'X' => Some(Outcome::Fail),
            '-' => None,
            other => panic!("no period is written {other}"),
        };
        if let Some(outcome) = outcome {
            self.number += 1;
            self.watermark = self.now;
            let heard = Heard {
                check: Uid::from_bytes([1; 16]),
                digest: RunDigest(1),
                number: self.number,
                slot: Some(1),
                order: 0,
                outcome,
                reason: None,
                step: 0,
                evidence: String::new(),
                started: self.now,
                ended: self.now,
                total: Duration::ZERO,
            };
            self.seat.hear(WHO, [heard], None, true, &self.terms);
        }
        self.seat.settle(self.open.incident, &self.terms);
        let hearing = Hearing { watermark: Some(self.watermark), in_flight: None, excluded: false };
        let vote = self.seat.vote(&hearing, &self.terms, self.now);
        let decision = decide(&self.policy, &self.open, &[vote], self.now);
        self.open.incident = (self.open.incident || decision.opens) && !decision.resolves;
        (self.open.said, self.open.degraded) = (decision.verdict, decision.degraded);
    }
}

/// What is said after these periods of a check that was up, or down, before them.
fn ours(needed: u32, of: u32, data: &str, missing: Missing, before: char) -> &'static str {
    let mut region = Region::new(needed, of, missing);
    for _ in 0..5 {
        region.period(before);
    }
    let stood = if before == '0' { Verdict::Up } else { Verdict::Down };
    assert_eq!(region.open.said, stood);
    for period in data.split_whitespace() {
        region.period(period.chars().next().unwrap());
    }
    region.open.said.word()
}

#[test]
fn the_published_examples_are_answered_as_the_table_says_and_each_difference_has_its_reason() {
    let mut same = 0;
    let mut rows = 0;
    for line in include_str!("cloudwatch.txt").lines() {
        if line.starts_with('#') || line.is_empty() {
            continue;
        }
        let columns: Vec<_> = line.split('|').map(str::trim).collect();
        let [of, data, ref answers @ .., why] = columns[..] else { panic!("columns: {line}") };
        let (needed, of) = of.split_once('/').unwrap();
        let (needed, of) = (needed.parse().unwrap(), of.parse().unwrap());
        let here: Vec<&str> = Missing::ALL
            .into_iter()
            .map(|missing| match ['0', 'X'].map(|before| ours(needed, of, data, missing, before)) {
                ["up", "down"] => "keeps",
                [up, down] if up == down => up,
                other => panic!("{line}: {other:?}"),
            })
            .collect();
        assert_eq!(answers.len(), 8, "{line}");
        let (published, ours) = answers.split_at(4);
        assert_eq!(ours, here, "{line}");
        assert_eq!(published == ours, why == "same", "{line}");
        assert!(!why.is_empty(), "{line}");
        same += usize::from(why == "same");
        rows += 1;
    }
    assert_eq!((rows, same), (11, 3), "all that are published");
}
