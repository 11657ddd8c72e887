//! Limits of DNS answers that a check is about.

/// A DNS answer over UDP that a question offers to take: what fits into one packet on any path
/// (DNS flag day 2020).
pub const DNS_UDP_OFFER_BYTES: u16 = 1_232;
/// A datagram that is read in search of an answer: more than was offered, for servers that do not
/// listen. A longer one is `dns_malformed`.
pub const DNS_UDP_BYTES_MAX: usize = 4_096;
/// Datagrams that are not the answer and are passed over while it is awaited. One more, and somebody
/// is guessing: `dns_malformed`, before a guess is right.
pub const DNS_IGNORED_MAX: u32 = 32;
/// Records of a DNS answer that expressions see, as text: compressed names are long when they are
/// written out. More is `dns_malformed`.
pub const DNS_RECORD_BYTES_MAX: usize = 512 * 1024;
