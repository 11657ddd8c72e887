//! What a `dns` step asks, whom, and how.

use super::TlsOptions;
use crate::outcome::words;

words! {
    /// A type of record that can be asked for.
    DnsType {
        /// IPv4 address.
        A = "A",
        /// IPv6 address.
        Aaaa = "AAAA",
        /// Who may issue certificates.
        Caa = "CAA",
        /// Another name for this one.
        Cname = "CNAME",
        /// A zone's public key.
        Dnskey = "DNSKEY",
        /// The digest of a key of a zone below.
        Ds = "DS",
        /// How to reach an HTTPS service.
        Https = "HTTPS",
        /// Where mail goes.
        Mx = "MX",
        /// A rule that rewrites names.
        Naptr = "NAPTR",
        /// A name server of the zone.
        Ns = "NS",
        /// The name of an address.
        Ptr = "PTR",
        /// Where a zone begins, and its serial number.
        Soa = "SOA",
        /// Host and port of a service.
        Srv = "SRV",
        /// The fingerprint of an SSH key.
        Sshfp = "SSHFP",
        /// How to reach a service.
        Svcb = "SVCB",
        /// The certificate of a service.
        Tlsa = "TLSA",
        /// Free text.
        Txt = "TXT",
    }
}

words! {
    /// A class of records.
    DnsClass {
        /// The internet: all of it but a few curiosities.
        In = "IN",
        /// Chaosnet: what servers say of themselves, such as `version.bind`.
        Ch = "CH",
        /// Hesiod.
        Hs = "HS",
    }
}

words! {
    /// How a question travels.
    DnsTransport {
        /// A datagram; once more over TCP when the answer did not fit into one.
        Udp = "udp",
        /// A datagram and nothing else.
        UdpOnly = "udp_only",
        /// A connection of its own.
        Tcp = "tcp",
        /// A connection with TLS (RFC 7858).
        Tls = "tls",
        /// An HTTP request over TLS (RFC 8484).
        Https = "https",
    }
}

/// One question to one name server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsStep {
    /// What is asked about; always taken as a whole name, no domain is ever added.
    pub name: String,
    /// Which records of it.
    pub record_type: DnsType,
    /// Of which class.
    pub class: DnsClass,
    /// Host and port of the server; the run's resolver, or the system's, when absent.
    pub server: Option<(String, u16)>,
    /// How the question travels.
    pub transport: DnsTransport,
    /// Whether the server is asked to find the answer elsewhere.
    pub recursion: bool,
    /// How the handshake is done, where there is one.
    pub tls: Option<TlsOptions>,
    /// What is asked of the HTTP server, where that is how the question travels.
    pub path: Option<String>,
}

impl DnsTransport {
    /// The port of a server that names none.
    pub const fn port(self) -> u16 {
        match self {
            Self::Udp | Self::UdpOnly | Self::Tcp => 53,
            Self::Tls => 853,
            Self::Https => 443,
        }
    }

    /// Whether there is a handshake.
    pub const fn is_secure(self) -> bool {
        matches!(self, Self::Tls | Self::Https)
    }
}
