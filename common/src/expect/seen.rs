//! What expressions see of a certificate, of a DNS answer, of echoes and of a health service, of what was
//! said, of an SSH server, and of a plugin.

use std::collections::BTreeMap;
use std::time::Duration;

/// A certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Certificate {
    /// Whole days until it expires; negative when it has.
    pub days_left: i64,
    /// DNS names and addresses it is for.
    pub names: Vec<String>,
    /// Its issuer's distinguished name.
    pub issuer: String,
    /// Its own distinguished name.
    pub subject: String,
    /// Its number, in pairs of hexadecimal digits with colons between them.
    pub serial: String,
    /// The algorithm that it is signed with, such as `sha256WithRSAEncryption`.
    pub signature: String,
    /// `RSA`, `EC`, `Ed25519`, or the algorithm's object identifier.
    pub key_type: String,
    /// Length of its key in bits; 0 when it is not known.
    pub key_bits: u32,
}

/// A DNS answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DnsAnswer {
    /// `NOERROR`, `NXDOMAIN` and so on.
    pub rcode: String,
    /// Of the header.
    pub flags: DnsFlags,
    /// Records that answer.
    pub answers: Vec<DnsRecord>,
    /// Records that say who knows.
    pub authority: Vec<DnsRecord>,
    /// Records that may help.
    pub additional: Vec<DnsRecord>,
    /// `udp`, `tcp`, `tls` or `https`: what brought it.
    pub transport: String,
}

impl DnsAnswer {
    /// How much text expressions that look at the records have before them, in bytes.
    pub fn bytes(&self) -> usize {
        let all = [&self.answers, &self.authority, &self.additional];
        all.into_iter().flatten().map(|record| record.name.len() + record.data.len()).sum()
    }
}

/// Flags of an answer, by the names of RFC 1035 and RFC 4035.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DnsFlags {
    /// The server is an authority for the name.
    pub aa: bool,
    /// The answer was cut.
    pub tc: bool,
    /// Recursion was asked for.
    pub rd: bool,
    /// The server offers recursion.
    pub ra: bool,
    /// The server has verified the records.
    pub ad: bool,
    /// Verification was not wanted.
    pub cd: bool,
}

/// A record of a DNS answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DnsRecord {
    /// Whose it is, in lower case, with the dot at its end.
    pub name: String,
    /// `A`, `MX` and so on; `TYPE65280` for one without a name.
    pub record_type: String,
    /// Seconds for which it may be kept.
    pub ttl: u32,
    /// As text, the way zone files have it; names in lower case, the strings of a TXT joined.
    pub data: String,
}

/// What a target said in a dialogue, or in answer to a datagram.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Talk {
    /// Its first line.
    pub banner: String,
    /// All that it said.
    pub received: bytes::Bytes,
    /// What patterns captured, by the names of their groups.
    pub captures: BTreeMap<String, String>,
    /// How long each step of the dialogue took, by its name.
    pub exchanges: Vec<(String, Duration)>,
}

/// What an SSH server says of itself, and what it offers, in its order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SshOffer {
    /// Its identification line.
    pub banner: String,
    /// The software in it, without comments.
    pub software: String,
    /// Ways to exchange keys.
    pub kex: Vec<String>,
    /// Algorithms of host keys.
    pub host_key_algorithms: Vec<String>,
    /// Ciphers, of either direction.
    pub ciphers: Vec<String>,
    /// Codes of message authentication, of either direction.
    pub macs: Vec<String>,
}

/// What became of echoes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Echoes {
    /// How many were sent.
    pub sent: u32,
    /// How many were answered.
    pub answered: u32,
    /// Shortest, mean and longest round trip, when one was answered.
    pub round_trips: Option<(Duration, Duration, Duration)>,
}

impl Echoes {
    /// The part that was not answered, from 0 to 1.
    pub fn loss(&self) -> f64 {
        match self.sent {
            0 => 0.0,
            sent => f64::from(sent.saturating_sub(self.answered)) / f64::from(sent),
        }
    }
}

/// What a plugin said.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PluginAnswer {
    /// 0 to 3.
    pub exit_code: u8,
    /// Its first line, without the performance data.
    pub output: String,
    /// Its performance data: each label once.
    pub perf: BTreeMap<String, PerfValue>,
}

/// A value of a plugin's performance data.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum PerfValue {
    /// A time, in nanoseconds; an offset may be negative.
    Time(i64),
    /// Anything else, in the plugin's own unit.
    Number(f64),
}

/// What a gRPC health service said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GrpcAnswer {
    /// `SERVING` and so on; empty when the call was refused.
    pub serving: String,
    /// The status that the call ended with.
    pub status: u32,
    /// The text that came with it.
    pub message: String,
}

/// What was agreed on for a websocket.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Upgraded {
    /// The one that the target has chosen; empty when it chose none.
    pub subprotocol: String,
    /// What the target closed it with, when that was waited for.
    pub close_code: Option<u16>,
}
