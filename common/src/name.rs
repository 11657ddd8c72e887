//! Names, uids and the pair that names a plan.

use std::fmt;
use std::str::FromStr;

/// A resource's uid: a UUIDv7 given by the coordinator that proposed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uid([u8; 16]);

impl Uid {
    /// The uid with these bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The uid with these bytes, when there are sixteen.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        Some(Self(bytes.try_into().ok()?))
    }

    /// Its sixteen bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        uuid::Uuid::from_bytes(self.0).fmt(f)
    }
}

/// A text that is not a uid.
#[derive(Debug, thiserror::Error)]
#[error("not a uid: it must be a UUID such as 0190b2a4-7c1e-7d5a-9a51-5d3f6a2b8c01")]
pub struct NotAUid;

impl FromStr for Uid {
    type Err = NotAUid;

    fn from_str(text: &str) -> Result<Self, NotAUid> {
        Ok(Self(*uuid::Uuid::parse_str(text).map_err(|_| NotAUid)?.as_bytes()))
    }
}

/// (cluster epoch, index of the last entry that changed checks or fleet): the version of a plan.
/// Compared as a pair; a probe accepts only a greater one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Generation {
    /// Raised by `restore` and by a new bootstrap.
    pub epoch: u64,
    /// Log index.
    pub index: u64,
}

/// The version of what a run does; a vote is for one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct RunDigest(pub u64);

/// One life of a probe's spool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Incarnation(pub u64);

/// Whether `name` may name a resource: 1 to 63 of `a-z`, `0-9`, `-` and `.`, with a letter or a
/// digit at both ends (the rule of RFC 1123 labels, dots allowed between them).
pub fn is_name(name: &str) -> bool {
    let edge = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = name.as_bytes();
    matches!(bytes.len(), 1..=63)
        && bytes.iter().all(|&b| edge(b) || b == b'-' || b == b'.')
        && edge(bytes[0])
        && edge(bytes[bytes.len() - 1])
}
