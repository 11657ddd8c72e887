//! Times and lengths, as messages carry them.

use std::time::Duration;

use parallax_common::name::Generation;
use parallax_common::time::{MeshTime, UtcTime};
use prost_types::Timestamp;

use crate::v1;

const SECOND: i64 = 1_000_000_000;

/// A point in time as messages carry it.
pub fn timestamp(time: UtcTime) -> Timestamp {
    Timestamp {
        seconds: time.as_ns().div_euclid(SECOND),
        // Less than a second.
        nanos: time.as_ns().rem_euclid(SECOND) as i32,
    }
}

/// A point of mesh time as messages show it: it reads like UTC.
pub fn mesh_timestamp(time: MeshTime) -> Timestamp {
    timestamp(UtcTime::from_ns(time.as_ns()))
}

/// The point that a message means; `None` when nanoseconds are not within a second or the point is
/// out of range (1677 to 2262).
pub fn utc(time: &Timestamp) -> Option<UtcTime> {
    if !(0..SECOND as i32).contains(&time.nanos) {
        return None;
    }
    let ns = i128::from(time.seconds) * i128::from(SECOND) + i128::from(time.nanos);
    i64::try_from(ns).ok().map(UtcTime::from_ns)
}

/// A length as messages carry it.
pub fn duration_to(length: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(length.as_secs()).unwrap_or(i64::MAX),
        nanos: length.subsec_nanos() as i32,
    }
}

/// The length that a message means; `None` when it is negative or malformed.
pub fn duration(length: &prost_types::Duration) -> Option<Duration> {
    let nanos = u32::try_from(length.nanos).ok().filter(|nanos| *nanos < SECOND as u32)?;
    Some(Duration::new(u64::try_from(length.seconds).ok()?, nanos))
}

/// The generation that a message means; absent is the oldest.
pub fn generation(generation: Option<&v1::Generation>) -> Generation {
    generation.map_or_else(Generation::default, |g| Generation { epoch: g.epoch, index: g.index })
}

/// A generation as messages carry it.
pub fn generation_to(generation: Generation) -> v1::Generation {
    v1::Generation { epoch: generation.epoch, index: generation.index }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn malformed_times_are_refused() {
        for (seconds, nanos) in [(0, -1), (0, 1_000_000_000), (i64::MAX, 0), (i64::MIN, 0)] {
            assert_eq!(utc(&Timestamp { seconds, nanos }), None, "{seconds} {nanos}");
        }
        for (seconds, nanos) in [(-1, 0), (0, -1), (0, 1_000_000_000), (-1, 5)] {
            assert_eq!(duration(&prost_types::Duration { seconds, nanos }), None);
        }
    }

    proptest! {
        #[test]
        fn times_come_back(ns in any::<i64>()) {
            let time = UtcTime::from_ns(ns);
            prop_assert_eq!(utc(&timestamp(time)), Some(time));
        }

        #[test]
        fn lengths_come_back(ns in any::<u64>()) {
            let length = Duration::from_nanos(ns);
            prop_assert_eq!(duration(&duration_to(length)), Some(length));
        }
    }
}
