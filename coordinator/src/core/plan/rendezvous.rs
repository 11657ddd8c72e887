//! Highest random weight: each probe of a region draws a number for a check, the highest wins.
//!
//! After D. Thaler and C. Ravishankar, "A Name-Based Mapping Scheme for Rendezvous" (1996). The
//! numbers come from XXH3-64, so every member draws the same. Weights are uniform in plan version
//! 1: the numbers are compared as they are, without floating point, which would not be the same
//! on every machine.

use parallax_common::name::Uid;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::{LiveProbe, ProbeRef};

/// Seed of a probe's key: the bytes of `plx-plan`, read as a big-endian number. A part of the
/// plan's version, never changed within one.
pub const SEED: u64 = u64::from_be_bytes(*b"plx-plan");

/// A probe that may be chosen, with the key it draws by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    live: LiveProbe,
    /// XXH3-64 with [`SEED`] over region, a zero byte and name. The incarnation is not in it: a
    /// probe that starts anew keeps its checks.
    key: u64,
}

impl Candidate {
    /// The candidate for a live probe.
    pub fn new(live: LiveProbe) -> Self {
        let mut bytes = Vec::with_capacity(live.probe.region.len() + live.probe.probe.len() + 1);
        bytes.extend_from_slice(live.probe.region.as_bytes());
        bytes.push(0);
        bytes.extend_from_slice(live.probe.probe.as_bytes());
        Self { key: xxh3_64_with_seed(&bytes, SEED), live }
    }

    /// Who it is.
    pub fn probe(&self) -> &ProbeRef {
        &self.live.probe
    }

    /// Whether it can run all of `kinds`.
    pub fn can_run(&self, kinds: &[&str]) -> bool {
        kinds.iter().all(|kind| self.live.kinds.iter().any(|known| known == kind))
    }

    /// The number it draws for a check: XXH3-64 over the uid, seeded by its key.
    fn draw(&self, check: &Uid) -> u64 {
        xxh3_64_with_seed(check.as_bytes(), self.key)
    }
}

/// The index of the candidate that looks at `check`, or `None` when no candidate knows all of
/// `kinds`. Of equal draws the first in order wins, so `candidates` must be in order of name.
pub fn assignee(check: &Uid, kinds: &[&str], candidates: &[Candidate]) -> Option<usize> {
    let mut best: Option<(u64, usize)> = None;
    for (index, candidate) in candidates.iter().enumerate() {
        if !candidate.can_run(kinds) {
            continue;
        }
        let draw = candidate.draw(check);
        if best.is_none_or(|(highest, _)| draw > highest) {
            best = Some((draw, index));
        }
    }
    best.map(|(_, index)| index)
}
