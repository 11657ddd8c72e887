//! What a probe says to a target and how it takes the answers: bytes in, what to do out.
//!
//! A [`Talk`] is a protocol without a socket. Whoever holds it asks [`Talk::next`] what to do, hands in
//! what has arrived, and asks again: see `crate::execute::converse`. [`dialogue`] is what a check
//! writes down itself, [`starttls`] the plain part of six protocols, [`ssh`] the greeting of an SSH
//! server, [`websocket`] a dialogue in messages. Nothing here trusts a byte: each machine bounds what it keeps, and says what is wrong.

use parallax_common::outcome::Reason;

pub mod dialogue;
pub mod evidence;
pub mod ssh;
pub mod starttls;
pub mod websocket;

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Send this, then ask again.
    Send(Vec<u8>),
    /// This step of several has ended; ask again.
    Ended(usize),
    /// Wait until something arrives, hand it in, and ask again.
    Read,
    /// It has ended well; send this, should the target still take it.
    Leave(Vec<u8>),
    /// It has ended well.
    Done,
}

/// Why it did not end well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// In a word of the list.
    pub reason: Reason,
    /// For a person; not cut yet, without secrets.
    pub evidence: String,
}

impl Refusal {
    pub(crate) fn new(reason: Reason, evidence: impl Into<String>) -> Self {
        Self { reason, evidence: evidence.into() }
    }
}

/// A protocol, spoken from the probe's side.
pub trait Talk {
    /// What to do, now that this has arrived: nothing at the start and after a send.
    ///
    /// # Errors
    /// What has arrived is not what must arrive.
    fn next(&mut self, arrived: &[u8]) -> Result<Action, Refusal>;

    /// What is wrong when nothing more arrives: the target has closed, or the time is over.
    fn cut(&self, how: Cut) -> Refusal;
}

/// How a conversation is cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// The target closed the connection.
    Closed,
    /// The target reset it.
    Reset,
    /// The run's time is over.
    Late,
}

impl Cut {
    /// The reason, when there is no better one.
    pub const fn reason(self) -> Reason {
        match self {
            Self::Closed => Reason::ConnectionClosed,
            Self::Reset => Reason::ConnectionReset,
            Self::Late => Reason::Timeout,
        }
    }

    /// In words.
    pub const fn said(self) -> &'static str {
        match self {
            Self::Closed => "the target closed the connection",
            Self::Reset => "the target reset the connection",
            Self::Late => "the time is over",
        }
    }
}

/// What is spoken on one connection at a time.
#[derive(Debug)]
pub enum Speaking {
    /// The plain part before a handshake.
    StartTls(starttls::StartTls),
    /// What a check has written down.
    Dialogue(dialogue::Dialogue),
    /// The greeting of an SSH server.
    Ssh(ssh::Ssh),
    /// A dialogue in messages.
    WebSocket(Box<websocket::WebSocket>),
}

impl Talk for Speaking {
    fn next(&mut self, arrived: &[u8]) -> Result<Action, Refusal> {
        match self {
            Self::StartTls(talk) => talk.next(arrived),
            Self::Dialogue(talk) => talk.next(arrived),
            Self::Ssh(talk) => talk.next(arrived),
            Self::WebSocket(talk) => talk.next(arrived),
        }
    }

    fn cut(&self, how: Cut) -> Refusal {
        match self {
            Self::StartTls(talk) => talk.cut(how),
            Self::Dialogue(talk) => talk.cut(how),
            Self::Ssh(talk) => talk.cut(how),
            Self::WebSocket(talk) => talk.cut(how),
        }
    }
}
