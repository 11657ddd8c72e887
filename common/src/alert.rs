//! Alerts of a check on what its runs measured, and its error budget: already validated.
//!
//! The condition of an alert is a sentence, which [`when`] reads. What the numbers say to it is the
//! coordinator's, in `core/alert.rs`.

use std::time::Duration;

use crate::limits::ALERT_LOOK_EVERY;

pub mod percent;
pub mod when;

pub use when::{Measure, When, WhenError};

/// A condition on what was measured, with an incident of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alert {
    /// Unique in its check.
    pub name: String,
    /// What has to hold.
    pub when: When,
}

/// How many of a check's runs are to pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slo {
    /// Millionths of all runs.
    pub target_ppm: u32,
    /// The time over which they are counted; it ends now.
    pub over: Duration,
}

impl Slo {
    /// Millionths of all runs that may fail. Not 0.
    pub fn budget_ppm(&self) -> u32 {
        1_000_000u32.saturating_sub(self.target_ppm).max(1)
    }
}

/// Rounded up to whole looks of alerts: no minute is divided.
pub fn whole_looks(length: Duration) -> Duration {
    let unit = ALERT_LOOK_EVERY.as_secs();
    let seconds = length.as_secs() + u64::from(length.subsec_nanos() > 0);
    Duration::from_secs(seconds.div_ceil(unit).saturating_mul(unit))
}
