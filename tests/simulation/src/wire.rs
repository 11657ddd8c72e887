//! What goes between members, and between them and clients.

use parallax_coordinator::core::state::Answer;
use parallax_coordinator::raft::outbound::Carried;
use parallax_coordinator::store::rows::Row;
use parallax_coordinator::store::snapshot::Header;
use parallax_proto::store::entry::Command;
use parallax_proto::v1;
use raft::eraftpb::Message;

use crate::feed::Listen;

/// A snapshot file on its way.
#[derive(Debug, Clone)]
pub struct File {
    /// What it says about itself.
    pub header: Header,
    /// What is in it.
    pub rows: Vec<Row>,
}

/// What a client asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// What is stored now.
    Read {
        /// Which key.
        key: u64,
    },
    /// Store this, whatever is there.
    Write {
        /// Which key.
        key: u64,
        /// The new value.
        value: u64,
    },
    /// Store this, or delete, when what is there has this etag (0: nothing is there).
    Swap {
        /// Which key.
        key: u64,
        /// Etag that is expected.
        etag: u64,
        /// The new value; none deletes.
        value: Option<u64>,
    },
    /// Store a check that looks from the regions of these keys.
    Check {
        /// Which check.
        name: u64,
        /// Keys of its regions.
        keys: Vec<u64>,
    },
    /// Store what is always looked at.
    Site {
        /// Which version of it.
        version: u64,
    },
    /// End an open incident by hand.
    Close {
        /// It still fails as far as its closer knows: none is to open before it has not.
        latch: bool,
    },
    /// Delete a check.
    DropCheck {
        /// Which check.
        name: u64,
    },
}

/// A request as it travels.
#[derive(Debug, Clone)]
pub struct Request {
    /// Which client.
    pub client: usize,
    /// Its number for this request; the same for every attempt.
    pub number: u64,
    /// Which attempt.
    pub attempt: u64,
    /// What it asks for.
    pub action: Action,
}

/// Value and etag; none when there is no such resource.
pub type Stored = Option<(u64, u64)>;

/// What a client is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// Both halves of the key.
    Read(Stored, Stored),
    /// Done, at this revision.
    Done(u64),
    /// Somebody else was first; nothing was changed.
    Conflict,
    /// Against a rule; nothing was changed.
    Refused(String),
    /// Not done, and perhaps later.
    Later,
    /// Nobody knows.
    Unknown,
}

/// Why a command has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failed {
    /// It was not proposed.
    NotDone,
    /// It may be committed.
    Unknown,
}

/// On whose request a command is.
#[derive(Debug, Clone, Default)]
pub struct Origin {
    /// Present for what a client may repeat.
    pub request_id: Option<v1::RequestId>,
    /// Of what was asked for.
    pub digest: u64,
    /// Who asks.
    pub actor: v1::Actor,
}

/// What comes to a member.
#[derive(Debug, Clone)]
pub enum Input {
    /// From another member's Raft, with the file that travels before a snapshot's message.
    Raft(Box<Message>, Option<Box<File>>),
    /// A snapshot reached a member, or did not.
    SnapshotSent {
        /// Which member.
        to: u64,
        /// What came of it.
        carried: Carried,
    },
    /// From a client.
    Request(Request),
    /// A command of a member that does not lead.
    Forward {
        /// Its number for it.
        id: u64,
        /// Which member.
        from: u64,
        /// The command.
        command: Box<Command>,
        /// On whose request.
        origin: Origin,
    },
    /// What came of a forwarded command.
    Forwarded {
        /// The number.
        id: u64,
        /// What came of it.
        result: Result<Answer, Failed>,
    },
    /// From a watcher.
    Listen(Listen),
    /// Another member says that this one was removed.
    ShutOut,
}
