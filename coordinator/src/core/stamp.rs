//! Times between the wire's messages and the types that cores count with.

use std::time::Duration;

use parallax_common::time::UtcTime;

const NS: i64 = 1_000_000_000;

/// `utc` as messages carry it.
pub(crate) fn timestamp(utc: UtcTime) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: utc.as_ns().div_euclid(NS),
        nanos: i32::try_from(utc.as_ns().rem_euclid(NS)).unwrap_or(0),
    }
}

/// The time a message carries; absent counts as zero.
pub(crate) fn utc(stamp: Option<&prost_types::Timestamp>) -> UtcTime {
    let stamp = stamp.copied().unwrap_or_default();
    UtcTime::from_ns(stamp.seconds.saturating_mul(NS).saturating_add(i64::from(stamp.nanos)))
}

/// `length` as messages carry it.
pub(crate) fn duration(length: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(length.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(length.subsec_nanos()).unwrap_or(0),
    }
}

/// The length a message carries; a negative one counts as zero.
pub(crate) fn length(duration: &prost_types::Duration) -> Duration {
    Duration::new(
        u64::try_from(duration.seconds).unwrap_or(0),
        u32::try_from(duration.nanos).unwrap_or(0),
    )
}
