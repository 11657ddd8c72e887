//! The only place where clocks are read.

#![allow(clippy::disallowed_methods, reason = "this module owns the clocks")]

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use parallax_common::time::{BootTime, UtcTime, ns};

/// `CLOCK_BOOTTIME` now: goes on through suspend, never stepped.
pub fn boot_time() -> BootTime {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    BootTime::from_ns(now.tv_sec * 1_000_000_000 + now.tv_nsec)
}

/// Universal time now, as this machine believes it.
pub fn utc() -> UtcTime {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(after) => UtcTime::from_ns(ns(after)),
        Err(before) => UtcTime::from_ns(-ns(before.duration())),
    }
}

/// The monotonic clock now, for deadlines.
pub fn instant() -> Instant {
    Instant::now()
}

/// The id of this boot: two readings of [`boot_time`] compare only when it is the same.
pub fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|id| id.trim().to_owned())
        .unwrap_or_else(|_| "unknown".to_owned())
}
