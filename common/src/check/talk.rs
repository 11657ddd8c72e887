//! What is said to a target and what it must answer: dialogues over TCP, datagrams, and the greeting
//! of SSH.

use std::time::Duration;

use crate::outcome::words;

words! {
    /// A protocol that begins without TLS and changes over to it.
    StartTls {
        /// RFC 3207.
        Smtp = "smtp",
        /// RFC 9051.
        Imap = "imap",
        /// RFC 2595.
        Pop3 = "pop3",
        /// RFC 4511, 4.14.
        Ldap = "ldap",
        /// `SSLRequest` of PostgreSQL's protocol.
        Postgres = "postgres",
        /// `SSLRequest` of MySQL's and MariaDB's protocol.
        Mysql = "mysql",
    }
}

/// What is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// May hold references, and in a dialogue captures. See [`crate::message::Message`].
    Text(String),
    /// Sent as they are.
    Bytes(Vec<u8>),
}

impl Payload {
    /// The text, when it is one.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Bytes(_) => None,
        }
    }
}

/// What must arrive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// A regular expression that is found in it. See [`crate::pattern::Pattern`].
    Pattern(String),
    /// It begins with exactly these.
    Bytes(Vec<u8>),
}

/// One step of a dialogue: something is sent, or something must arrive, or one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    /// Of its own within the dialogue; its place, counted from 1, unless it was given.
    pub name: String,
    /// First.
    pub send: Option<Payload>,
    /// Then.
    pub expect: Option<Expected>,
}

/// A datagram, and the answer to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UdpStep {
    /// Host name or address.
    pub host: String,
    /// 1 to 65535.
    pub port: u16,
    /// One datagram. Holds no captures.
    pub send: Payload,
    /// What the answer must be; any answer will do when absent.
    pub expect: Option<Expected>,
    /// How long an answer is waited for before the datagram is sent once more; it is sent once when
    /// absent.
    pub resend: Option<Duration>,
}

/// The identification and the key exchange offer of an SSH server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshStep {
    /// Host name or address.
    pub host: String,
    /// 1 to 65535.
    pub port: u16,
}
