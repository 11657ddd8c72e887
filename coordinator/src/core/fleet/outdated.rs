//! Which probes are older than what is asked of them, and what they lack.
//!
//! A probe says which kinds of step it can run and which build it is; both stand in its row. It is
//! outdated when a check that looks from its region needs a kind that it does not have, since it is
//! given nothing of that check; or when its build is more than one minor version behind the oldest
//! coordinator, since builds are tried against the one before them only. The oldest one: while
//! coordinators are upgraded one by one, no probe is late yet.
//!
//! Pure. When it becomes an incident is in `fleet/region.rs`.

use std::collections::BTreeMap;

use parallax_common::limits::{OUTDATED_KINDS_NAMED, VERSIONS_BEHIND_MAX};
use parallax_proto::store::ProbeRow;

use crate::core::state::State;

/// Enabled checks of a region by the kind of step that they need.
pub type Needs = BTreeMap<&'static str, u32>;

/// Between two things that a probe lacks, in one line.
pub const BETWEEN: &str = "; ";

/// The part of a build's version that says how old it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// Behind it nothing is comparable.
    pub major: u64,
    /// Counted.
    pub minor: u64,
}

impl Version {
    /// The version at the end of what a build calls itself: `0.4.1`, or `parallax-coordinator 0.4.1`.
    /// Absent when it does not end in one; of such a build nobody says that it is old.
    pub fn of(build: &str) -> Option<Self> {
        let mut parts = build.split_whitespace().next_back()?.splitn(3, '.');
        let (major, minor) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        parts.next().map(|_patch| Self { major, minor })
    }

    /// Whether it is further behind than builds are tried with each other.
    fn is_too_old_for(self, other: Self) -> bool {
        self.major < other.major
            || self.major == other.major
                && self.minor.saturating_add(VERSIONS_BEHIND_MAX) < other.minor
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// What every probe is held to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Standard {
    /// The oldest coordinator's build; absent when one of them has none that can be compared.
    pub build: Option<Version>,
}

impl Standard {
    /// By the members of the applied state. Who has not said what it is yet, or was removed, does not count.
    pub fn of(state: &State) -> Self {
        let members = state.members.values();
        let present = members.filter(|row| !row.removed && !row.build.is_empty());
        let builds: Option<Vec<Version>> = present.map(|row| Version::of(&row.build)).collect();
        Self { build: builds.into_iter().flatten().min() }
    }
}

/// Counts what one more check needs: these kinds.
pub fn count(needs: &mut Needs, kinds: &[&'static str]) {
    for kind in kinds {
        *needs.entry(kind).or_default() += 1;
    }
}

/// Whether a probe lacks anything.
pub fn is(row: &ProbeRow, needs: &Needs, standard: &Standard) -> bool {
    is_behind(row, standard).is_some() || missing(row, needs).next().is_some()
}

/// What a probe lacks, a clause each; empty when that is nothing.
pub fn lacks(row: &ProbeRow, needs: &Needs, standard: &Standard) -> Vec<String> {
    let behind = is_behind(row, standard).map(|oldest| {
        format!("is more than one minor version older than the coordinators ({oldest})")
    });
    let all = missing(row, needs).count();
    let named = missing(row, needs).take(OUTDATED_KINDS_NAMED).map(|(kind, checks)| {
        let checks =
            if checks == 1 { "1 check needs".into() } else { format!("{checks} checks need") };
        format!("cannot run {kind}, which {checks}")
    });
    let more = all.saturating_sub(OUTDATED_KINDS_NAMED);
    let more = (more > 0).then(|| format!("lacks {more} more"));
    behind.into_iter().chain(named).chain(more).collect()
}

fn missing<'a>(
    row: &'a ProbeRow,
    needs: &'a Needs,
) -> impl Iterator<Item = (&'static str, u32)> + 'a {
    let lacks = |kind: &str| !row.kinds.iter().any(|known| known == kind);
    needs.iter().filter(move |(kind, _)| lacks(kind)).map(|(kind, checks)| (*kind, *checks))
}

/// The version that a probe is too far behind, if it is.
fn is_behind(row: &ProbeRow, standard: &Standard) -> Option<Version> {
    let (own, oldest) = (Version::of(&row.build)?, standard.build?);
    own.is_too_old_for(oldest).then_some(oldest)
}

#[cfg(test)]
mod tests;
