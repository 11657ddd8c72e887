//! When what a target shows of itself expires.

use crate::limits::STEPS_MAX;

/// The certificate that expires first of those that were seen, and where.
///
/// They are ordered by what expires first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Expiry {
    /// Its `notAfter` (RFC 5280, 4.1.2.5): seconds of UTC since 1970.
    pub not_after_s: i64,
    /// Place in the run of the step that saw it, from 0.
    pub step: u32,
}

impl Expiry {
    /// What a certificate can say at the earliest, 1950-01-01: two digits of a year begin there.
    pub const NOT_AFTER_S_MIN: i64 = -631_152_000;
    /// And at the latest, the end of 9999.
    pub const NOT_AFTER_S_MAX: i64 = 253_402_300_799;

    /// Whether a certificate can say it, and a run has such a step.
    pub fn is_sayable(&self) -> bool {
        let times = Self::NOT_AFTER_S_MIN..=Self::NOT_AFTER_S_MAX;
        times.contains(&self.not_after_s) && (self.step as usize) < STEPS_MAX
    }

    /// The first of two that may be missing.
    pub fn first(one: Option<Self>, other: Option<Self>) -> Option<Self> {
        match (one, other) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_expires_first_counts_and_what_was_not_seen_does_not() {
        let at = |not_after_s, step| Some(Expiry { not_after_s, step });
        for (one, other, first) in [
            (None, None, None),
            (at(5, 1), None, at(5, 1)),
            (None, at(-5, 0), at(-5, 0)),
            (at(5, 1), at(4, 2), at(4, 2)),
            (at(5, 1), at(5, 0), at(5, 0)),
        ] {
            assert_eq!(Expiry::first(one, other), first);
            assert_eq!(Expiry::first(other, one), first);
        }
    }
}
