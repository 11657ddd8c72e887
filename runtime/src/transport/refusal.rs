//! Whom a listener takes, and why it turned somebody away.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use parallax_common::limits::{CONNECTIONS_MAX, PEER_CONNECTIONS_MAX};
use rustls::CertificateError;

use crate::transport::identity::Identity;

/// Whom a listener takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Accepts {
    /// Other coordinators.
    Peers,
    /// Probes.
    Probes,
    /// Users, and coordinators that speak for one.
    Api,
}

impl Accepts {
    /// Whether a holder of `identity` is taken, whatever its mesh.
    pub fn admits(self, identity: &Identity) -> bool {
        matches!(
            (self, identity),
            (Self::Peers | Self::Api, Identity::Coordinator { .. })
                | (Self::Probes, Identity::Probe { .. })
                | (Self::Api, Identity::User { .. })
        )
    }

    /// Connections that the holder of one certificate may have. Members and who speaks for them are
    /// few; a tool may share its user's certificate with others, and a fleet under test one probe's.
    pub(super) const fn connections_of_one_max(self) -> usize {
        match self {
            Self::Peers => PEER_CONNECTIONS_MAX,
            Self::Probes | Self::Api => CONNECTIONS_MAX,
        }
    }

    /// The name used in logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Peers => "peers",
            Self::Probes => "probes",
            Self::Api => "api",
        }
    }

    /// Those it takes, in words.
    pub const fn takes(self) -> &'static str {
        match self {
            Self::Peers => "coordinators",
            Self::Probes => "probes",
            Self::Api => "users",
        }
    }
}

impl fmt::Display for Accepts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a connection was turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// It showed no certificate.
    NoCertificate,
    /// Its certificate does not come from the mesh's authority.
    UnknownAuthority,
    /// Its certificate has ended.
    Expired,
    /// Its certificate has not begun.
    NotYetValid,
    /// Its certificate is broken or for another use.
    BadCertificate,
    /// Its certificate names nobody.
    NoIdentity,
    /// It belongs to another mesh.
    WrongMesh,
    /// It is somebody this listener does not take.
    WrongRole,
    /// It refused us.
    TheyRefused,
    /// It does not speak TLS 1.3 with HTTP/2.
    Protocol,
    /// It went away in the handshake.
    Gone,
    /// Its handshake took too long.
    Timeout,
    /// The listener holds as many connections as it may.
    Full,
    /// Its holder has as many connections as one may.
    TooMany,
    /// It did not begin to speak HTTP/2 in time.
    Mute,
    /// It reset or pinged more than any client of ours.
    Flood,
    /// It opened more streams than a connection may have: this one of them.
    TooManyStreams,
    /// It sent a message larger than any may be.
    Oversized,
}

impl Refusal {
    /// Every reason, in the order of declaration.
    pub const ALL: [Self; 18] = [
        Self::NoCertificate,
        Self::UnknownAuthority,
        Self::Expired,
        Self::NotYetValid,
        Self::BadCertificate,
        Self::NoIdentity,
        Self::WrongMesh,
        Self::WrongRole,
        Self::TheyRefused,
        Self::Protocol,
        Self::Gone,
        Self::Timeout,
        Self::Full,
        Self::TooMany,
        Self::Mute,
        Self::Flood,
        Self::TooManyStreams,
        Self::Oversized,
    ];

    /// The name used in logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoCertificate => "no_certificate",
            Self::UnknownAuthority => "unknown_authority",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::BadCertificate => "bad_certificate",
            Self::NoIdentity => "no_identity",
            Self::WrongMesh => "wrong_mesh",
            Self::WrongRole => "wrong_role",
            Self::TheyRefused => "they_refused",
            Self::Protocol => "protocol",
            Self::Gone => "gone",
            Self::Timeout => "timeout",
            Self::Full => "full",
            Self::TooMany => "too_many_connections",
            Self::Mute => "mute",
            Self::Flood => "flood",
            Self::TooManyStreams => "too_many_streams",
            Self::Oversized => "oversized",
        }
    }

    /// What the error of a server's handshake comes down to.
    pub(super) fn of_handshake(error: &io::Error) -> Self {
        use rustls::Error as Tls;
        let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<Tls>()) else {
            return Self::Gone;
        };
        match tls {
            Tls::NoCertificatesPresented => Self::NoCertificate,
            Tls::InvalidCertificate(why) => match why {
                // An authority of the same name with another key shows as a bad signature.
                CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                    Self::UnknownAuthority
                }
                CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                    Self::Expired
                }
                CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                    Self::NotYetValid
                }
                _ => Self::BadCertificate,
            },
            Tls::AlertReceived(_) => Self::TheyRefused,
            _ => Self::Protocol,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How many connections a listener turned away since it was bound, by reason.
#[derive(Debug, Default)]
pub struct RefusalCounters([AtomicU64; Refusal::ALL.len()]);

impl RefusalCounters {
    /// How many for this reason.
    pub fn get(&self, refusal: Refusal) -> u64 {
        self.0[refusal as usize].load(Ordering::Relaxed)
    }

    /// Every reason with its count.
    pub fn each(&self) -> impl Iterator<Item = (Refusal, u64)> {
        Refusal::ALL.into_iter().map(|refusal| (refusal, self.get(refusal)))
    }

    pub(super) fn count(&self, refusal: Refusal) {
        self.0[refusal as usize].fetch_add(1, Ordering::Relaxed);
    }
}

/// Decides which refusals are logged: some a second, then only how many more there were.
#[derive(Debug, Default)]
pub(super) struct LogBudget {
    second: i64,
    spent: u32,
    withheld: u64,
}

impl LogBudget {
    /// Some(refusals withheld since the last line) when this one is to be logged.
    pub(super) fn take(&mut self, now_s: i64, per_second_max: u32) -> Option<u64> {
        if self.second != now_s {
            (self.second, self.spent) = (now_s, 0);
        }
        if self.spent == per_second_max {
            self.withheld += 1;
            return None;
        }
        self.spent += 1;
        Some(std::mem::take(&mut self.withheld))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_stand_at_their_own_place_and_have_their_own_name() {
        let mut names = std::collections::BTreeSet::new();
        for (at, refusal) in Refusal::ALL.into_iter().enumerate() {
            assert_eq!(refusal as usize, at);
            assert!(names.insert(refusal.as_str()));
        }
    }

    #[test]
    fn a_flood_is_summed_up_in_the_next_line() {
        let mut budget = LogBudget::default();
        assert_eq!(budget.take(7, 2), Some(0));
        assert_eq!(budget.take(7, 2), Some(0));
        assert_eq!(budget.take(7, 2), None);
        assert_eq!(budget.take(7, 2), None);
        assert_eq!(budget.take(8, 2), Some(2));
        assert_eq!(budget.take(8, 2), Some(0));
        assert_eq!(budget.take(8, 2), None);
    }
}
