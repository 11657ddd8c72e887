//! Where messages to other members go, and what came of the snapshots among them.

use raft::eraftpb::Message;

use crate::store::snapshot::SnapshotId;

/// What came of a snapshot for another member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carried {
    /// It is there.
    Arrived,
    /// It did not get there. It is sent again.
    Lost,
    /// It did not get there, and never will: its file was read again, and is damaged.
    Damaged(SnapshotId),
}

/// Takes messages to other members. Must not wait: what cannot be queued is dropped, Raft repeats it.
pub trait Outbound: Send + 'static {
    /// Sends `messages`, in order for each member, or drops them.
    fn send(&mut self, messages: Vec<Message>);
}

/// There are no other members, so there is nothing to send.
#[derive(Debug, Default)]
pub struct Alone;

impl Outbound for Alone {
    fn send(&mut self, messages: Vec<Message>) {
        if let Some(message) = messages.first() {
            tracing::warn!(to = message.to, "no way to other members, messages are dropped");
        }
    }
}
