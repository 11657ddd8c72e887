//! The samples of one slot, and the one outcome that they give (DESIGN.md, decision 1).
//!
//! Whoever runs them hands in what each has found ([`Samples::take`]) until [`Samples::wants_more`] or the
//! slot's room says no, and takes [`Samples::finding`]. Every sample that was carried out is in the series;
//! the outcome, its reason and its evidence are one.

use std::time::Duration;

use parallax_common::expiry::Expiry;
use parallax_common::outcome::{Outcome, Phase, Reason};

use super::record::Finding;

/// What the samples of a slot have found so far.
#[derive(Debug)]
pub struct Samples {
    wanted: u32,
    passed: u32,
    warned: u32,
    failed: u32,
    missed: u32,
    phases: Vec<(u32, Phase, Duration)>,
    /// The certificate that expires first of all that they were shown.
    expiry: Option<Expiry>,
    /// The last one that failed, that warned, that was missed, and that passed; without their phases.
    last: [Option<Finding>; 4],
}

const FAILED: usize = 0;
const WARNED: usize = 1;
const MISSED: usize = 2;
const PASSED: usize = 3;

impl Samples {
    /// Nothing yet, of so many.
    pub fn new(wanted: u32) -> Self {
        Self {
            wanted: wanted.max(1),
            passed: 0,
            warned: 0,
            failed: 0,
            missed: 0,
            phases: Vec::new(),
            expiry: None,
            last: [const { None }; 4],
        }
    }

    /// Takes what one has found, and how long it took.
    pub fn take(&mut self, mut finding: Finding, length: Duration) {
        let phases = std::mem::take(&mut finding.phases);
        self.expiry = Expiry::first(self.expiry, finding.expiry);
        let (count, place) = match finding.outcome {
            Outcome::Fail => (&mut self.failed, FAILED),
            Outcome::Warn => (&mut self.warned, WARNED),
            Outcome::Missed => (&mut self.missed, MISSED),
            Outcome::Pass => (&mut self.passed, PASSED),
        };
        *count += 1;
        if place != MISSED {
            self.phases.extend(phases);
            // One that took no time has not begun: there is nothing that it took.
            if !length.is_zero() {
                self.phases.push((0, Phase::Total, length));
            }
        }
        self.last[place] = Some(finding);
    }

    fn taken(&self) -> u32 {
        self.passed + self.warned + self.failed + self.missed
    }

    /// Whether another one is wanted.
    pub fn wants_more(&self) -> bool {
        self.taken() < self.wanted
    }

    /// What they say together. Missed when more than half were missed; of those that were carried out
    /// fail when more than half failed, else warn when any was not a pass.
    pub fn finding(self) -> Finding {
        let (taken, left) = (self.taken(), self.wanted.saturating_sub(self.taken()));
        let voted = taken - self.missed;
        let Self { warned, failed, missed, phases, expiry, last, .. } = self;
        let [last_failed, last_warned, last_missed, last_passed] = last;
        let unstarted = match left {
            0 => String::new(),
            left => format!(" ({left} more had no time left to start)"),
        };
        let told = |count: u32, what: &str, last: &Finding| {
            let reason = last.reason.map_or("", Reason::word);
            let evidence = &last.evidence;
            format!("{count} of {taken} samples {what}{unstarted}; the last: {reason}: {evidence}")
        };
        let (outcome, chosen, evidence) = if missed > voted {
            let evidence = last_missed.as_ref().map(|it| told(missed, "were missed", it));
            (Outcome::Missed, last_missed, evidence)
        } else if failed * 2 > voted {
            let evidence = last_failed.as_ref().map(|it| told(failed, "failed", it));
            (Outcome::Fail, last_failed, evidence)
        } else if failed > 0 {
            let evidence = last_failed.as_ref().map(|it| told(failed, "failed", it));
            (Outcome::Warn, last_failed, evidence)
        } else if warned > 0 {
            let evidence = last_warned.as_ref().map(|it| told(warned, "warned", it));
            (Outcome::Warn, last_warned, evidence)
        } else if missed > 0 {
            let evidence = last_missed.as_ref().map(|it| told(missed, "were missed", it));
            (Outcome::Warn, last_missed, evidence)
        } else {
            (Outcome::Pass, last_passed, None)
        };
        let reason = match outcome {
            Outcome::Pass => None,
            Outcome::Warn => Some(Reason::Warning),
            Outcome::Fail | Outcome::Missed => chosen.as_ref().and_then(|it| it.reason),
        };
        let (step, remote) = chosen.map_or((0, None), |it| (it.step, it.remote));
        let evidence = evidence.unwrap_or_default();
        Finding { outcome, reason, step, evidence, remote, phases, expiry }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `.` pass, `w` warn, `f` a fail, `m` missed; each at a step of its own.
    fn sample(letter: char, place: usize) -> Finding {
        let (outcome, reason) = match letter {
            '.' => (Outcome::Pass, None),
            'w' => (Outcome::Warn, Some(Reason::Warning)),
            'f' => (Outcome::Fail, Some(Reason::ConnectRefused)),
            _ => (Outcome::Missed, Some(Reason::ExpressionBudget)),
        };
        Finding {
            outcome,
            reason,
            step: u32::try_from(place).unwrap(),
            evidence: match outcome {
                Outcome::Pass => String::new(),
                _ => format!("seen {place}"),
            },
            remote: None,
            phases: vec![(0, Phase::Connect, Duration::from_millis(3))],
            // Each is shown one that ends sooner than the one before.
            expiry: Some(Expiry { not_after_s: -(place as i64), step: 0 }),
        }
    }

    #[test]
    fn the_samples_of_a_slot_give_one_outcome() {
        for (samples, wanted, outcome, reason, evidence) in [
            (".", 1, Outcome::Pass, None, ""),
            ("...", 3, Outcome::Pass, None, ""),
            (
                "f..f.",
                5,
                Outcome::Warn,
                Some(Reason::Warning),
                "2 of 5 samples failed; the last: connect_refused: seen 3",
            ),
            (
                "ff..f",
                5,
                Outcome::Fail,
                Some(Reason::ConnectRefused),
                "3 of 5 samples failed; the last: connect_refused: seen 4",
            ),
            // Half is not more than half.
            (
                "f.",
                2,
                Outcome::Warn,
                Some(Reason::Warning),
                "1 of 2 samples failed; the last: connect_refused: seen 0",
            ),
            (
                "w..",
                3,
                Outcome::Warn,
                Some(Reason::Warning),
                "1 of 3 samples warned; the last: warning: seen 0",
            ),
            (
                "fw.",
                3,
                Outcome::Warn,
                Some(Reason::Warning),
                "1 of 3 samples failed; the last: connect_refused: seen 0",
            ),
            (
                "ffw",
                3,
                Outcome::Fail,
                Some(Reason::ConnectRefused),
                "2 of 3 samples failed; the last: connect_refused: seen 1",
            ),
            (
                "mmm",
                3,
                Outcome::Missed,
                Some(Reason::ExpressionBudget),
                "3 of 3 samples were missed; the last: expression_budget: seen 2",
            ),
            (
                "fmm",
                3,
                Outcome::Missed,
                Some(Reason::ExpressionBudget),
                "2 of 3 samples were missed; the last: expression_budget: seen 2",
            ),
            (
                "m..",
                3,
                Outcome::Warn,
                Some(Reason::Warning),
                "1 of 3 samples were missed; the last: expression_budget: seen 0",
            ),
            // Of those that were carried out.
            (
                "mff.",
                4,
                Outcome::Fail,
                Some(Reason::ConnectRefused),
                "2 of 4 samples failed; the last: connect_refused: seen 2",
            ),
            ("..", 5, Outcome::Pass, None, ""),
            (
                "ff",
                5,
                Outcome::Fail,
                Some(Reason::ConnectRefused),
                "2 of 2 samples failed (3 more had no time left to start); the last: \
                 connect_refused: seen 1",
            ),
        ] {
            let mut all = Samples::new(wanted);
            for (place, letter) in samples.chars().enumerate() {
                assert!(all.wants_more(), "{samples}");
                all.take(sample(letter, place), Duration::from_millis(9));
            }
            let short = samples.len() < wanted as usize;
            assert_eq!(all.wants_more(), short, "{samples}");
            let found = all.finding();
            assert_eq!((found.outcome, found.reason), (outcome, reason), "{samples}");
            assert_eq!(found.evidence, evidence, "{samples}");
            let soonest = found.expiry.unwrap().not_after_s;
            assert_eq!(soonest, 1 - samples.len() as i64, "{samples}");
            // The step is that of the sample whose evidence it is.
            if let Some((_, place)) = evidence.rsplit_once("seen ") {
                assert_eq!(found.step.to_string(), place, "{samples}");
            }
            let carried_out = samples.chars().filter(|letter| *letter != 'm').count();
            for phase in [Phase::Connect, Phase::Total] {
                let count = found.phases.iter().filter(|(_, of, _)| *of == phase).count();
                assert_eq!(count, carried_out, "{samples} {phase}");
            }
        }
    }
}
