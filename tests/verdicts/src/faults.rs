//! What goes wrong for many checks at once, and when: a plan over the whole span.
//!
//! The span is divided into 60 parts, and every fault begins at the beginning of one: in a month they lie
//! half a day apart, in a day 24 min. The liar has four parts, the flapping probe two. Which
//! regions are hit is drawn.

use std::time::Duration;

use parallax_common::time::{MeshTime, ns};

use crate::chance::Chance;
use crate::watch;

/// Why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// The upstream of one region: all it looks at fails.
    Upstream,
    /// A transit that two regions use on their way to one check in a hundred.
    Transit,
    /// Three regions, one after the other: all fails for three minutes, then nothing is heard of it.
    Islands,
    /// The place where the coordinators stand is cut off: its own region sees everything fail, of all
    /// others nothing is heard.
    Cut,
    /// A region that says of everything that it fails.
    Liar,
    /// A probe that says of everything that it fails, two minutes of every four.
    Flapping,
}

/// From when, until when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    /// It begins.
    pub from: MeshTime,
    /// It is over.
    pub until: MeshTime,
}

impl Stretch {
    /// Whether `at` is in it.
    pub fn has(&self, at: MeshTime) -> bool {
        self.from <= at && at < self.until
    }

    /// The index of the first stretch that is not over at `at`; they are in order and apart.
    pub fn next_in(all: &[Self], at: MeshTime) -> usize {
        all.partition_point(|stretch| stretch.until <= at)
    }

    /// Whether one of them has `at`.
    pub fn any_has(all: &[Self], at: MeshTime) -> bool {
        all.get(Self::next_in(all, at)).is_some_and(|stretch| stretch.has(at))
    }
}

/// What one region suffers.
#[derive(Debug, Clone, Default)]
pub struct Suffers {
    /// All of its runs fail.
    pub fails: Vec<Stretch>,
    /// The same, and those of checks behind the transit.
    pub fails_behind_transit: Vec<Stretch>,
    /// Nothing is heard of it.
    pub silent: Vec<Stretch>,
    /// It may not vote.
    pub excluded: Vec<Stretch>,
}

/// Everything that goes wrong for many checks at once.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// By rank.
    pub regions: Vec<Suffers>,
    /// When anything of it is on, and why.
    pub all: Vec<(Cause, Stretch)>,
}

/// So many checks have one that lies behind the transit.
pub const BEHIND_TRANSIT_ONE_IN: u32 = 100;
/// Upstreams, transits, islands and cuts last so long.
const LASTS: Duration = Duration::from_secs(600);
/// An island fails for so long before it falls silent.
const FAILS_BEFORE_SILENCE: Duration = Duration::from_secs(180);
/// From the beginning of one island's failure to that of the next.
const ISLANDS_APART: Duration = Duration::from_secs(300);
/// The flapping probe is ill for so long, and well for as long.
const FLAP: Duration = Duration::from_secs(120);

impl Plan {
    /// Nothing but loss.
    pub fn none(regions: usize) -> Self {
        Self { regions: vec![Suffers::default(); regions], all: Vec::new() }
    }

    /// All of them, over `span` from `start` on.
    pub fn new(seed: u64, regions: usize, start: MeshTime, span: Duration) -> Self {
        let mut plan = Self::none(regions);
        let mut chance = Chance::new(seed, u64::MAX);
        let part = |number: u32| start + span / 60 * number;
        let mut some = |count: usize| {
            let mut ranks: Vec<usize> = (0..regions).collect();
            for at in (1..ranks.len()).rev() {
                ranks.swap(at, chance.below(at as u64 + 1) as usize);
            }
            ranks.truncate(count);
            ranks
        };
        let lasting = |from: MeshTime, length: Duration| Stretch { from, until: from + length };
        for number in [3, 9, 15, 21] {
            plan.ill(Cause::Upstream, some(1)[0], lasting(part(number), LASTS));
        }
        for number in [6, 12, 18, 24] {
            let stretch = lasting(part(number), LASTS);
            for rank in some(2) {
                plan.regions[rank].fails_behind_transit.push(stretch);
            }
            plan.all.push((Cause::Transit, stretch));
        }
        let (from, end) = (part(27), part(27) + LASTS * 3);
        for (after, rank) in some(3).into_iter().enumerate() {
            let fails = lasting(from + ISLANDS_APART * after as u32, FAILS_BEFORE_SILENCE);
            plan.fails(rank, fails);
            plan.regions[rank].silent.push(Stretch { from: fails.until, until: end });
        }
        plan.all.push((Cause::Islands, Stretch { from, until: end }));
        for number in [30, 33] {
            let stretch = lasting(part(number), LASTS);
            let mut ranks = some(regions).into_iter();
            plan.fails(ranks.next().unwrap_or(0), stretch);
            for rank in ranks {
                plan.regions[rank].silent.push(stretch);
            }
            plan.all.push((Cause::Cut, stretch));
        }
        let ranks = some(2);
        plan.ill(Cause::Liar, ranks[0], Stretch { from: part(36), until: part(40) });
        let flapping = Stretch { from: part(48), until: part(50) };
        let mut from = flapping.from;
        while from < flapping.until {
            // Never long enough for the watchdog, which waits until all regions had their turn.
            plan.fails(ranks[1], lasting(from, FLAP));
            from = from + FLAP * 2;
        }
        plan.all.push((Cause::Flapping, flapping));
        for region in &mut plan.regions {
            region.fails_behind_transit.extend(&region.fails);
            region.fails_behind_transit.sort_by_key(|stretch| stretch.from);
            region.silent.sort_by_key(|stretch| stretch.from);
        }
        plan
    }

    fn fails(&mut self, rank: usize, stretch: Stretch) {
        self.regions[rank].fails.push(stretch);
    }

    /// One region alone fails everything: until its vote is taken, and that outlasts the fault.
    fn ill(&mut self, cause: Cause, rank: usize, stretch: Stretch) {
        self.fails(rank, stretch);
        let excluded = watch::excluded(stretch);
        self.regions[rank].excluded.extend(excluded);
        let until = excluded.map_or(stretch.until, |excluded| excluded.until);
        self.all.push((cause, Stretch { from: stretch.from, until }));
    }

    /// Whether nothing of it is on between `from` and `until`, nor was shortly before.
    pub fn is_calm(&self, from: MeshTime, until: MeshTime) -> bool {
        self.all.iter().all(|(_, fault)| fault.until + LASTS <= from || until <= fault.from)
    }

    /// How many false incidents it is expected to add to those of loss alone, over so many checks: the
    /// closed form with one or two regions ill already, which still have their votes.
    pub fn expected(&self, checks: u32, interval: Duration, down_at: u32, loss: f64) -> f64 {
        let regions = self.regions.len() as u32;
        let slots = |length: Duration| length.as_secs_f64() / interval.as_secs_f64();
        let beside = |ill: u32, length: Duration| {
            let chance = crate::closed_form::per_slot_beside(regions, ill, down_at, loss);
            f64::from(regions - ill) * slots(length) * chance
        };
        let of = |(cause, stretch): &(Cause, Stretch)| {
            let length = stretch.until.since(stretch.from);
            match cause {
                // Until it is excluded. Then as if it were not there.
                Cause::Upstream | Cause::Liar => beside(1, watch::takes()) * f64::from(checks),
                Cause::Transit => beside(2, length) * f64::from(checks / BEHIND_TRANSIT_ONE_IN),
                // One at a time, and then silent.
                Cause::Islands => beside(1, FAILS_BEFORE_SILENCE * 3) * f64::from(checks),
                // Ill, and two slots until it is well again.
                Cause::Flapping => beside(1, length) * f64::from(checks),
                // Nobody is there to fail.
                Cause::Cut => 0.0,
            }
        };
        self.all.iter().map(of).sum()
    }
}

/// The length of a stretch in seconds, for people.
pub fn seconds(stretch: &Stretch) -> f64 {
    ns(stretch.until.since(stretch.from)) as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_causes_are_on_at_once_and_each_hits_as_many_regions_as_it_says() {
        let start = MeshTime::from_ns(1_000_000_000_000);
        for (seed, days) in [(1, 1), (2, 30), (3, 30)] {
            let plan = Plan::new(seed, 5, start, Duration::from_secs(86_400) * days);
            for (at, (_, one)) in plan.all.iter().enumerate() {
                for (_, other) in &plan.all[at + 1..] {
                    assert!(
                        one.until <= other.from || other.until <= one.from,
                        "{one:?} {other:?}"
                    );
                }
            }
            let ill_at = |at: MeshTime, of: fn(&Suffers) -> &Vec<Stretch>| {
                plan.regions.iter().filter(|region| Stretch::any_has(of(region), at)).count()
            };
            for (cause, stretch) in &plan.all {
                let (at, late) = (stretch.from + LASTS / 20, stretch.from + LASTS * 9 / 10);
                let fails = ill_at(at, |region| &region.fails);
                let behind = ill_at(at, |region| &region.fails_behind_transit);
                let silent = ill_at(late, |region| &region.silent);
                let excluded = ill_at(late, |region| &region.excluded);
                let wanted = match cause {
                    Cause::Upstream | Cause::Liar => (1, 1, 0, 1),
                    Cause::Transit => (0, 2, 0, 0),
                    Cause::Islands => (1, 1, 2, 0),
                    Cause::Cut => (1, 1, 4, 0),
                    Cause::Flapping => (1, 1, 0, 0),
                };
                assert_eq!((fails, behind, silent, excluded), wanted, "{cause:?}");
            }
        }
    }
}
