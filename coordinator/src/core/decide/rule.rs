//! The numbers a verdict follows, from the policy and the configured regions.

use parallax_common::check::{Policy, Quorum};

/// A quorum that does not shrink: every number counts configured regions, heard from or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// R: configured regions.
    pub regions: u32,
    /// D: fresh failing regions that make it down.
    pub down_at: u32,
    /// U: fresh passing regions that resolve an incident.
    pub up_at: u32,
    /// Fewer fresh regions than this say nothing.
    pub floor: u32,
    /// More excluded regions than this say nothing.
    pub excludable: u32,
}

impl Rule {
    /// The numbers for `policy` over so many configured regions.
    pub fn of(policy: &Policy, regions: usize) -> Self {
        let r = u32::try_from(regions).unwrap_or(u32::MAX);
        let down_at = match policy.regions {
            Quorum::Majority if r > 1 => (r / 2 + 1).max(2),
            Quorum::Majority | Quorum::Any => 1,
            Quorum::All => r.max(1),
            Quorum::Count(wanted) => wanted.max(1),
        };
        Self {
            regions: r,
            down_at,
            // With D failing at most R - D can pass: what resolves can never be true while down.
            up_at: (r / 2 + 1).max((r + 1).saturating_sub(down_at)),
            floor: if r == 2 { 2 } else { r.div_ceil(2) },
            excludable: r.saturating_sub(1) / 2,
        }
    }
}
