//! Mesh time, boot time, and the lengths between their points.
//!
//! Nothing here reads a clock. Shells read them and pass values down.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

/// A point on the mesh's common clock, in nanoseconds. Reads like UTC since 1970 when the mesh was
/// started on machines with a set clock, but is never stepped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct MeshTime(i64);

/// A reading of `CLOCK_BOOTTIME` on one machine, in nanoseconds. Only comparable within one boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct BootTime(i64);

/// Universal time as the proposer of a command stamped it, in nanoseconds since 1970. Data only:
/// nothing is scheduled by it but calendar rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct UtcTime(i64);

macro_rules! nanoseconds {
    ($name:ident) => {
        impl $name {
            /// The point that lies `ns` nanoseconds after this clock's zero.
            pub const fn from_ns(ns: i64) -> Self {
                Self(ns)
            }

            /// Nanoseconds after this clock's zero.
            pub const fn as_ns(self) -> i64 {
                self.0
            }

            /// How long `earlier` lies back; zero when it does not.
            pub fn since(self, earlier: Self) -> Duration {
                Duration::from_nanos(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
            }
        }

        impl Add<Duration> for $name {
            type Output = Self;

            fn add(self, length: Duration) -> Self {
                Self(self.0.saturating_add(ns(length)))
            }
        }

        impl Sub<Duration> for $name {
            type Output = Self;

            fn sub(self, length: Duration) -> Self {
                Self(self.0.saturating_sub(ns(length)))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(
                    f,
                    "{}.{:09}",
                    self.0.div_euclid(1_000_000_000),
                    self.0.rem_euclid(1_000_000_000)
                )
            }
        }
    };
}

nanoseconds!(MeshTime);
nanoseconds!(BootTime);
nanoseconds!(UtcTime);

impl BootTime {
    /// The same point in mesh time, where mesh = boot + `offset_ns`.
    pub const fn to_mesh(self, offset_ns: i64) -> MeshTime {
        MeshTime(self.0.saturating_add(offset_ns))
    }
}

impl MeshTime {
    /// The same point in boot time, where mesh = boot + `offset_ns`.
    pub const fn to_boot(self, offset_ns: i64) -> BootTime {
        BootTime(self.0.saturating_sub(offset_ns))
    }
}

/// A length in nanoseconds, capped at what an `i64` holds (292 years).
pub fn ns(length: Duration) -> i64 {
    i64::try_from(length.as_nanos()).unwrap_or(i64::MAX)
}
