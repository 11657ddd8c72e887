//! Limits of samples: runs of one slot.

use std::time::Duration;

use super::TIMEOUT_MAX;

/// Samples of one slot: enough to tell a target that fails now and then from one that fails. Refused.
pub const SAMPLES_MAX: u32 = 20;
/// What all samples of a slot may take together, each its whole timeout: a slot's record is no longer
/// than that of the longest run. Refused.
pub const SAMPLES_LENGTH_MAX: Duration = TIMEOUT_MAX;
