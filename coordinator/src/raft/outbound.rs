//! Where messages to other members go.

use raft::eraftpb::Message;

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
