//! What an `icmp` step sends, and how often.

use std::time::Duration;

/// Echo requests to one host (RFC 792, RFC 4443).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IcmpStep {
    /// Host name or address.
    pub host: String,
    /// Echoes a run.
    pub count: u32,
    /// From the start of one echo to the start of the next.
    pub spacing: Duration,
    /// Bytes behind the ICMP header.
    pub payload_bytes: u32,
    /// Nobody on the way may take a packet apart.
    pub dont_fragment: bool,
    /// Routers that a packet may pass, and one more; the system's choice when absent.
    pub ttl: Option<u8>,
}
