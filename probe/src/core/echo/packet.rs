//! Echo requests, and what comes back (RFC 792 and RFC 4443): written and read, without a socket.
//!
//! A socket for ICMP hears more than its own: answers to other programs, complaints about other
//! packets. Ours are told by identifier, sequence number and a token in the payload, which nobody
//! off the path can guess. A complaint quotes the head of the packet that it is about; routers need
//! not quote as far as the token, so there identifier, sequence number and target must do.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Bytes of an ICMP header.
const HEADER_BYTES: usize = 8;
/// Bytes of the token, with which every payload begins.
const TOKEN_BYTES: usize = 8;
/// Bytes of the smallest IPv4 header.
const IPV4_BYTES: usize = 20;
/// Bytes of an IPv6 header.
const IPV6_BYTES: usize = 40;
const PROTOCOL_ICMP: u8 = 1;
const PROTOCOL_ICMPV6: u8 = 58;
const IPV6_FRAGMENT: u8 = 44;

/// How a socket hands over what it hears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// The ICMP message alone.
    Message,
    /// Its IPv4 header first.
    WithHeader,
}

/// What somebody on the way says of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Complaint {
    /// There is no way to its destination; in which respect.
    Unreachable(&'static str),
    /// It is not let through.
    Prohibited,
    /// Its ttl was used up, or its fragments did not come together in time.
    TimeExceeded(&'static str),
    /// It is too large and must not be fragmented; what would fit, when that is known.
    TooLarge(Option<u32>),
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(what) | Self::TimeExceeded(what) => f.write_str(what),
            Self::Prohibited => f.write_str("administratively prohibited"),
            Self::TooLarge(None) => f.write_str("the packet is too large"),
            Self::TooLarge(Some(mtu)) => {
                write!(f, "the packet is too large, {mtu} bytes would fit")
            }
        }
    }
}

/// Something about an echo of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// It was answered.
    Answer {
        /// Which.
        sequence: u16,
    },
    /// It did not get there.
    Complaint {
        /// Which.
        sequence: u16,
        /// Why.
        complaint: Complaint,
    },
}

/// The echoes of one run.
#[derive(Debug, Clone, Copy)]
pub struct Request {
    /// Where they go.
    pub target: IpAddr,
    /// What tells one socket's echoes from another's; `None` where the system gives and checks it.
    pub identifier: Option<u16>,
    /// What nobody can guess.
    pub token: u64,
    /// Bytes behind the header; never fewer than the token has.
    pub payload_bytes: usize,
}

impl Request {
    /// One echo request. The checksum of ICMPv6 is the system's business: it covers addresses.
    pub fn packet(&self, sequence: u16) -> Vec<u8> {
        let kind = if self.target.is_ipv4() { 8 } else { 128 };
        let length = HEADER_BYTES + self.payload_bytes.max(TOKEN_BYTES);
        let mut packet = Vec::with_capacity(length);
        packet.extend([kind, 0, 0, 0]);
        packet.extend(self.identifier.unwrap_or(0).to_be_bytes());
        packet.extend(sequence.to_be_bytes());
        packet.extend(self.token.to_be_bytes());
        // The rest counts up, as is the custom.
        packet.extend((packet.len()..length).map(|at| at.to_le_bytes()[0]));
        if self.target.is_ipv4() {
            let checksum = checksum(&packet);
            packet[2..4].copy_from_slice(&checksum.to_be_bytes());
        }
        packet
    }

    /// What a packet from `source` says of an echo of this run; `None` when it is somebody else's, or
    /// cannot be read.
    pub fn read(&self, source: IpAddr, form: Form, packet: &[u8]) -> Option<Heard> {
        let message = match form {
            Form::Message => packet,
            Form::WithHeader => ipv4(packet, PROTOCOL_ICMP)?.1,
        };
        let (kind, code) = (*message.first()?, *message.get(1)?);
        if message.len() < HEADER_BYTES || (self.target.is_ipv4() && checksum(message) != 0) {
            return None;
        }
        let answer = if self.target.is_ipv4() { 0 } else { 129 };
        if kind == answer {
            let token = message.get(HEADER_BYTES..HEADER_BYTES + TOKEN_BYTES)?;
            let ours = source == self.target && code == 0 && token == self.token.to_be_bytes();
            let sequence = self.sequence(message).filter(|_| ours)?;
            return Some(Heard::Answer { sequence });
        }
        let quoted = message.get(HEADER_BYTES..)?;
        let (complaint, quoted) = match self.target {
            IpAddr::V4(target) => {
                let (to, quoted) = ipv4(quoted, PROTOCOL_ICMP)?;
                (complaint_v4(kind, code, message)?, (to == target).then_some(quoted)?)
            }
            IpAddr::V6(target) => {
                let (to, quoted) = ipv6(quoted)?;
                (complaint_v6(kind, code, message)?, (to == target).then_some(quoted)?)
            }
        };
        let request = if self.target.is_ipv4() { 8 } else { 128 };
        let sequence = self.sequence(quoted).filter(|_| quoted.first() == Some(&request))?;
        Some(Heard::Complaint { sequence, complaint })
    }

    /// The sequence number of an echo, when its identifier is ours.
    fn sequence(&self, echo: &[u8]) -> Option<u16> {
        let number = |at: usize| Some(u16::from_be_bytes([*echo.get(at)?, *echo.get(at + 1)?]));
        let identifier = number(4)?;
        let ours = self.identifier.is_none_or(|ours| ours == identifier);
        number(6).filter(|_| ours)
    }
}

/// Destination and content of an IPv4 packet, or of the head of one.
fn ipv4(packet: &[u8], protocol: u8) -> Option<(Ipv4Addr, &[u8])> {
    let first = *packet.first()?;
    let header = usize::from(first & 0x0f) * 4;
    let fragment = u16::from_be_bytes([*packet.get(6)?, *packet.get(7)?]) & 0x1fff;
    let fits = first >> 4 == 4 && header >= IPV4_BYTES && fragment == 0;
    let to: [u8; 4] = packet.get(16..20)?.try_into().ok()?;
    let content = packet.get(header..).filter(|_| fits && packet[9] == protocol)?;
    Some((to.into(), content))
}

/// Destination and ICMPv6 content of the head of an IPv6 packet. Of what may stand between them only
/// the first fragment's header is known: an echo has no other.
fn ipv6(packet: &[u8]) -> Option<(Ipv6Addr, &[u8])> {
    let to: [u8; 16] = packet.get(24..IPV6_BYTES)?.try_into().ok()?;
    let content = packet.get(IPV6_BYTES..).filter(|_| packet[0] >> 4 == 6)?;
    let content = match packet[6] {
        PROTOCOL_ICMPV6 => content,
        IPV6_FRAGMENT => {
            let fragment = u16::from_be_bytes([*content.get(2)?, *content.get(3)?]) >> 3;
            let first = fragment == 0 && content[0] == PROTOCOL_ICMPV6;
            content.get(8..).filter(|_| first)?
        }
        _ => return None,
    };
    Some((to.into(), content))
}

fn complaint_v4(kind: u8, code: u8, message: &[u8]) -> Option<Complaint> {
    use Complaint as C;
    Some(match (kind, code) {
        (3, 0) => C::Unreachable("network unreachable"),
        (3, 1) => C::Unreachable("host unreachable"),
        (3, 2) => C::Unreachable("protocol unreachable"),
        (3, 3) => C::Unreachable("port unreachable"),
        (3, 4) => {
            let mtu = u16::from_be_bytes([message[6], message[7]]);
            C::TooLarge((mtu > 0).then_some(mtu.into()))
        }
        (3, 5) => C::Unreachable("source route failed"),
        (3, 6) => C::Unreachable("network unknown"),
        (3, 7) => C::Unreachable("host unknown"),
        (3, 8) => C::Unreachable("source host isolated"),
        (3, 9 | 10 | 13 | 14 | 15) => C::Prohibited,
        (3, 11 | 12) => C::Unreachable("unreachable for this type of service"),
        (3, _) => C::Unreachable("unreachable"),
        (11, 0) => C::TimeExceeded("time to live exceeded"),
        (11, _) => C::TimeExceeded("fragments did not come together in time"),
        (12, _) => C::Unreachable("a router could not read the packet"),
        _ => return None,
    })
}

fn complaint_v6(kind: u8, code: u8, message: &[u8]) -> Option<Complaint> {
    use Complaint as C;
    Some(match (kind, code) {
        (1, 0) => C::Unreachable("no route"),
        (1, 1 | 5 | 6) => C::Prohibited,
        (1, 2) => C::Unreachable("beyond the scope of the source address"),
        (1, 3) => C::Unreachable("address unreachable"),
        (1, 4) => C::Unreachable("port unreachable"),
        (1, _) => C::Unreachable("unreachable"),
        (2, _) => {
            let mtu = u32::from_be_bytes([message[4], message[5], message[6], message[7]]);
            C::TooLarge((mtu > 0).then_some(mtu))
        }
        (3, 0) => C::TimeExceeded("hop limit exceeded"),
        (3, _) => C::TimeExceeded("fragments did not come together in time"),
        (4, _) => C::Unreachable("a router could not read the packet"),
        _ => return None,
    })
}

/// The checksum of RFC 1071; 0 over a message that holds its own.
fn checksum(message: &[u8]) -> u16 {
    let words = message.chunks(2).map(|pair| {
        u64::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or_default()]))
    });
    let mut sum: u64 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests;
