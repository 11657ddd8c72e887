//! One seed from beginning to end.

use std::panic::{AssertUnwindSafe, catch_unwind};

use parallax_coordinator::mutant::{self, Mutant};

use crate::counters::Counters;
use crate::invariant::Violation;
use crate::world::World;

/// What is to be run.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Decides everything.
    pub seed: u64,
    /// How long the world lasts.
    pub simulated_seconds: u64,
    /// Prints every event.
    pub trace: bool,
    /// A mistake to be made.
    pub mutant: Option<Mutant>,
}

/// What came of it.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// The first thing that could not be.
    pub violation: Option<Violation>,
    /// What happened.
    pub counters: Counters,
    /// Of all events: equal for equal runs.
    pub digest: u64,
    /// How many events there were.
    pub events: u64,
}

impl Outcome {
    /// Whether enough happened for the run to count as a proof of anything.
    pub fn counts(&self) -> bool {
        self.counters.get("leader change") >= 3
            && self.counters.get("crash") >= 2
            && self.counters.get("acknowledged write") >= 100
    }

    /// The command that replays it.
    pub fn replay(&self, options: &Options) -> String {
        let mutant = options.mutant.map(|mutant| format!(" --mutant {mutant:?}"));
        format!(
            "cargo run --release -p parallax-simulation -- --seed {} --simulated-seconds {}{}",
            self.seed,
            options.simulated_seconds,
            mutant.unwrap_or_default()
        )
    }
}

/// Runs a seed. A panic is a violation as well: production would have aborted.
pub fn run(options: &Options) -> Outcome {
    mutant::set(options.mutant);
    let end_us = options.simulated_seconds * 1_000_000;
    let mut world = None;
    let ran = catch_unwind(AssertUnwindSafe(|| {
        world.insert(World::new(options.seed, end_us, options.trace)).run()
    }));
    mutant::set(None);
    let violation = match ran {
        Ok(ran) => ran.err(),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            let what = text.unwrap_or_else(|| "a panic".to_owned());
            Some(Violation { invariant: "nobody panics", what })
        }
    };
    let (counters, digest, events) = match &world {
        Some(world) => (world.counted(), world.trace.digest(), world.trace.events()),
        None => (Counters::default(), 0, 0),
    };
    Outcome { seed: options.seed, violation, counters, digest, events }
}

/// The mistake with this name.
pub fn mutant_named(name: &str) -> Option<Mutant> {
    Mutant::ALL.iter().copied().find(|mutant| format!("{mutant:?}") == name)
}

/// What must happen at least once over a slice of seeds, so that passing it means something.
pub const SOMETIMES: &[&str] = &[
    "torn tail",
    "rows rebuilt",
    "snapshot install",
    "snapshot written",
    "snapshot refused by the disk",
    "request repeated",
    "asked again",
    "command forwarded",
    "conflict",
    "leader change",
    "crash",
    "pause",
    "isolation",
    "partition",
    "one-way cut",
    "swizzle",
    "slow disk",
    "clock jump",
    "log write fails",
    "row write fails",
    "member added",
    "member removed",
    "change of members refused",
    "restarts during an election",
    "contact ill",
    "page refused for now",
    "leadership handed over",
    "page attempted again",
    "claim re-assigned",
    "feed of pages stalls",
    "no room for the log",
    "no room for rows",
    "incident opened",
    "incident resolved",
    "incident closed by hand",
    "confirmation ordered",
    "order obeyed",
    "order relayed",
    "bucket empty",
    "stale ballot",
    "relay used",
    "probe superseded",
    "slot missed",
    "clock set",
    "read asked again",
    "watch resumed on another member",
    "watch compacted",
    "removed member refused",
];

/// What must happen as well, where there are enough long seeds for it: a learner is steady for 10 s, and a
/// page that its holder has taken up moves to another member before it is begun.
pub const RARELY: &[&str] = &["learner promoted", "claim moved before an attempt"];
