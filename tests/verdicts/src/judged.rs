//! What a rule's verdicts are worth, beside the outages that were planted.

use std::time::Duration;

use parallax_common::time::MeshTime;

use crate::faults::Stretch;

/// One rule over some checks.
#[derive(Debug, Clone, Default)]
pub struct Judged {
    /// It opened with no outage on.
    pub false_downs: u64,
    /// Outages in which it never was down.
    pub missed: u64,
    /// Those of them that fell into a time when nothing else went wrong.
    pub missed_calm: u64,
    /// From the beginning of each other one until it was down; zero where it was before.
    pub to_open: Vec<Duration>,
    /// The same of outages while nothing else went wrong.
    pub to_open_calm: Vec<Duration>,
}

impl Judged {
    /// Judges one check: when the rule was down, beside when it should have been. `late` is how long after
    /// an outage it may still open, by what was seen in it.
    pub fn judge(
        downs: &[Stretch],
        outages: &[Stretch],
        late: Duration,
        is_calm: impl Fn(&Stretch) -> bool,
    ) -> Self {
        let mut judged = Self::default();
        let met = |outage: &Stretch| Stretch { from: outage.from, until: outage.until + late };
        for down in downs {
            let real = outages.iter().any(|outage| met(outage).has(down.from));
            judged.false_downs += u64::from(!real);
        }
        for outage in outages {
            let met = met(outage);
            let found = downs.iter().find(|down| down.from < met.until && met.from < down.until);
            match found {
                None => {
                    judged.missed += 1;
                    judged.missed_calm += u64::from(is_calm(outage));
                }
                Some(down) => {
                    let after = down.from.since(outage.from);
                    judged.to_open.push(after);
                    if is_calm(outage) {
                        judged.to_open_calm.push(after);
                    }
                }
            }
        }
        judged
    }

    /// Adds those of other checks.
    pub fn merge(&mut self, other: Self) {
        self.false_downs += other.false_downs;
        self.missed += other.missed;
        self.missed_calm += other.missed_calm;
        self.to_open.extend(other.to_open);
        self.to_open_calm.extend(other.to_open_calm);
    }
}

/// When something was down: opened and closed in turn.
#[derive(Debug, Clone, Default)]
pub struct Downs {
    since: Option<MeshTime>,
    over: Vec<Stretch>,
}

impl Downs {
    /// It is down now, or is not.
    pub fn say(&mut self, is_down: bool, now: MeshTime) {
        match (is_down, self.since) {
            (true, None) => self.since = Some(now),
            (false, Some(from)) => {
                self.over.push(Stretch { from, until: now });
                self.since = None;
            }
            _ => {}
        }
    }

    /// All stretches, at the end.
    pub fn until(mut self, end: MeshTime) -> Vec<Stretch> {
        self.say(false, end);
        self.over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stretch(from: i64, until: i64) -> Stretch {
        let at = |second: i64| MeshTime::from_ns(second * 1_000_000_000);
        Stretch { from: at(from), until: at(until) }
    }

    #[test]
    fn an_opening_is_false_outside_and_an_outage_without_one_is_missed() {
        let outages = [stretch(100, 200), stretch(1_000, 1_100), stretch(2_000, 2_100)];
        let downs = [
            // False, but it is on when the first begins: found at once.
            stretch(50, 150),
            // Still in time.
            stretch(1_105, 1_110),
            // Long after.
            stretch(2_500, 2_600),
        ];
        let is_calm = |outage: &Stretch| outage.from == outages[1].from;
        let mut judged = Judged::judge(&downs, &outages, Duration::from_secs(10), is_calm);
        assert_eq!((judged.false_downs, judged.missed), (2, 1));
        let seconds = |all: &[Duration]| all.iter().map(Duration::as_secs).collect::<Vec<_>>();
        assert_eq!(seconds(&judged.to_open), [0, 105]);
        assert_eq!(seconds(&judged.to_open_calm), [105]);
        assert_eq!(judged.missed_calm, 0);
        let calm = Judged::judge(&downs, &outages, Duration::ZERO, |_| true);
        assert_eq!((calm.missed, calm.missed_calm), (2, 2), "105 s are too late now");
        judged.merge(judged.clone());
        assert_eq!((judged.false_downs, judged.missed, judged.to_open.len()), (4, 2, 4));
    }

    #[test]
    fn stretches_begin_and_end_with_what_is_said() {
        let mut downs = Downs::default();
        for (is_down, at) in [(false, 1), (true, 2), (true, 3), (false, 4), (true, 5)] {
            downs.say(is_down, stretch(at, at).from);
        }
        assert_eq!(downs.until(stretch(9, 9).from), [stretch(2, 4), stretch(5, 9)]);
    }
}
