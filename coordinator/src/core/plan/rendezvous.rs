//! Highest random weight: each probe of a region draws a number for a check, the highest win.
//!
//! After D. Thaler and C. Ravishankar, "A Name-Based Mapping Scheme for Rendezvous" (1996). The
//! numbers come from XXH3-64, so every member draws the same. Weights are uniform in plan version
//! 1: the numbers are compared as they are, without floating point, which would not be the same
//! on every machine.

use std::time::Duration;

use parallax_common::name::Uid;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::{LiveProbe, ProbeRef};

/// Seed of a probe's key: the bytes of `plx-plan`, read as a big-endian number. A part of the
/// plan's version, never changed within one.
pub const SEED: u64 = u64::from_be_bytes(*b"plx-plan");
/// What tells a probe's offset from its draw: the bytes of `plx-offs`.
const OFFSET_SEED: u64 = u64::from_be_bytes(*b"plx-offs");

/// A probe that may be chosen, with the key it draws by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    live: LiveProbe,
    /// See [`key`].
    key: u64,
}

impl Candidate {
    /// The candidate for a live probe.
    pub fn new(live: LiveProbe) -> Self {
        Self { key: key(&live.probe), live }
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

/// The indexes of the `wanted` candidates that look at `check`, the highest draw first; fewer where
/// fewer know all of `kinds`. Of equal draws the first in order wins, so `candidates` must be in order
/// of name.
pub fn assignees(
    check: &Uid,
    kinds: &[&str],
    candidates: &[Candidate],
    wanted: usize,
) -> Vec<usize> {
    let mut best: Vec<(u64, usize)> = Vec::with_capacity(wanted + 1);
    for (index, candidate) in candidates.iter().enumerate() {
        if !candidate.can_run(kinds) {
            continue;
        }
        let draw = candidate.draw(check);
        let place = best.partition_point(|(higher, _)| *higher >= draw);
        if place < wanted {
            best.insert(place, (draw, index));
            best.truncate(wanted);
        }
    }
    best.into_iter().map(|(_, index)| index).collect()
}

/// Where within `share` a probe begins that runs a check beside others of its region: a number of its
/// own, so that who the others are moves no slot. Not the number that it draws, which is a high one
/// for whoever was chosen.
pub fn offset_ns(check: &Uid, probe: &ProbeRef, share: Duration) -> i64 {
    let draw = xxh3_64_with_seed(check.as_bytes(), key(probe) ^ OFFSET_SEED);
    // Less than the share, which is a part of an interval.
    i64::try_from((u128::from(draw) * share.as_nanos()) >> 64).unwrap_or(0)
}

/// XXH3-64 with [`SEED`] over region, a zero byte and name. The incarnation is not in it: a probe that
/// starts anew keeps its checks.
fn key(probe: &ProbeRef) -> u64 {
    let mut bytes = Vec::with_capacity(probe.region.len() + probe.probe.len() + 1);
    bytes.extend_from_slice(probe.region.as_bytes());
    bytes.push(0);
    bytes.extend_from_slice(probe.probe.as_bytes());
    xxh3_64_with_seed(&bytes, SEED)
}
