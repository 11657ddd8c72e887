//! The tiers of history: how long a cell is, and how long it is kept. Pure.

use std::time::Duration;

use parallax_common::limits::{
    HISTORY_HOURS_AGE_MAX, HISTORY_MINUTES_AGE_MAX, HISTORY_WINDOWS_AGE_MAX,
};
use parallax_common::time::MeshTime;

/// A question about the last hour comes a moment after the hour began: so much longer than they are
/// kept for answers are things kept on the disk.
pub const SLACK: Duration = Duration::from_secs(120);

/// One resolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// Windows as they came, each with its spool and sequence.
    Windows,
    /// Cells of a minute; of five for windows of five.
    Minutes,
    /// Cells of an hour.
    Hours,
}

impl Tier {
    /// All, the finest first.
    pub const ALL: [Self; 3] = [Self::Windows, Self::Minutes, Self::Hours];

    /// Its place among them, as it is written.
    pub const fn number(self) -> usize {
        self as usize
    }

    /// The tier with this number.
    pub fn from_number(number: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|tier| tier.number() as u64 == number)
    }

    /// The tier that this one is rolled up into.
    pub const fn next(self) -> Option<Self> {
        match self {
            Self::Windows => Some(Self::Minutes),
            Self::Minutes => Some(Self::Hours),
            Self::Hours => None,
        }
    }

    /// How long its cells are kept after their end.
    pub const fn age_max(self) -> Duration {
        match self {
            Self::Windows => HISTORY_WINDOWS_AGE_MAX,
            Self::Minutes => HISTORY_MINUTES_AGE_MAX,
            Self::Hours => HISTORY_HOURS_AGE_MAX,
        }
    }

    /// Seconds of its shortest cell.
    pub const fn cell_s(self) -> u32 {
        match self {
            Self::Windows => 10,
            Self::Minutes => 60,
            Self::Hours => 3_600,
        }
    }

    /// The word that people see.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Windows => "windows",
            Self::Minutes => "minutes",
            Self::Hours => "hours",
        }
    }

    /// What answers a question about everything since `since` in steps of `step_s` seconds (0: all
    /// is one step): the finest tier that still has it and is not finer than the steps need.
    pub fn for_question(since: MeshTime, step_s: u64, now: MeshTime) -> Self {
        let wide_enough = |tier: Self| step_s == 0 || step_s < u64::from(tier.cell_s());
        let in_time = |tier: Self| now.since(since) <= tier.age_max() + SLACK / 2;
        if in_time(Self::Windows) && wide_enough(Self::Minutes) {
            Self::Windows
        } else if in_time(Self::Minutes) && wide_enough(Self::Hours) {
            Self::Minutes
        } else {
            Self::Hours
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn age_and_step_choose_the_tier() {
        let now = MeshTime::from_ns(1_000_000_000_000_000_000);
        for (age_s, step_s, tier) in [
            (600, 0, Tier::Windows),
            (3_600, 10, Tier::Windows),
            (3_600, 60, Tier::Minutes),
            (3_601, 10, Tier::Windows),
            (3_661, 10, Tier::Minutes),
            (86_400, 0, Tier::Minutes),
            (86_400, 3_600, Tier::Hours),
            (2 * 86_400 + 61, 60, Tier::Hours),
            (800 * 86_400, 0, Tier::Hours),
        ] {
            let since = now - Duration::from_secs(age_s);
            assert_eq!(Tier::for_question(since, step_s, now), tier, "{age_s} {step_s}");
        }
    }
}
