//! A Raft message as it travels, and the checks that one from outside has to pass.
//!
//! raft-rs trusts its peers and ends the process over a message that cannot be; nothing of that
//! kind gets past here.

use parallax_proto::peer::RaftFrame;
use protobuf::{CodedInputStream, Message as _};
use raft::eraftpb::{Message, MessageType};
use thiserror::Error;

/// Why a frame is no message for us.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FrameError {
    /// It cannot be decoded.
    #[error("a frame holds no raft message")]
    Unreadable,
    /// Envelope and message differ.
    #[error("a frame says {0} of its message, which says something else")]
    Envelope(&'static str),
    /// Not between these two.
    #[error("a message is from member {from} to member {to}, on a stream from {sender} to {us}")]
    Route {
        /// The message's sender.
        from: u64,
        /// The message's receiver.
        to: u64,
        /// Whose stream it is.
        sender: u64,
        /// Who we are.
        us: u64,
    },
    /// What a member only says to itself, or not on this stream.
    #[error("a {0:?} does not travel this way")]
    Kind(MessageType),
    /// Its entries do not follow one another.
    #[error("the entries of a message do not follow one another")]
    Entries,
}

/// Encodes a message. None: it is larger than protobuf can say, which no bound of ours allows.
pub fn seal(message: &Message) -> Option<RaftFrame> {
    Some(RaftFrame {
        from: message.from,
        to: message.to,
        term: message.term,
        message: message.write_to_bytes().ok()?.into(),
    })
}

/// Decodes a message that member `sender` sent to us. The entries' data are slices of the frame.
fn open(frame: &RaftFrame, sender: u64, us: u64) -> Result<Message, FrameError> {
    let mut message = Message::default();
    let mut input = CodedInputStream::from_carllerche_bytes(&frame.message);
    message.merge_from(&mut input).map_err(|_| FrameError::Unreadable)?;
    for (what, differs) in [
        ("from", frame.from != message.from),
        ("to", frame.to != message.to),
        ("term", frame.term != message.term),
    ] {
        if differs {
            return Err(FrameError::Envelope(what));
        }
    }
    let (from, to) = (message.from, message.to);
    if (from, to) != (sender, us) {
        return Err(FrameError::Route { from, to, sender, us });
    }
    Ok(message)
}

/// Decodes a message of the stream of messages.
pub fn open_message(frame: &RaftFrame, sender: u64, us: u64) -> Result<Message, FrameError> {
    let message = open(frame, sender, us)?;
    match message.get_msg_type() {
        MessageType::MsgAppend => check_entries(&message)?,
        MessageType::MsgAppendResponse
        | MessageType::MsgRequestVote
        | MessageType::MsgRequestVoteResponse
        | MessageType::MsgHeartbeat
        | MessageType::MsgHeartbeatResponse
        | MessageType::MsgTransferLeader
        | MessageType::MsgTimeoutNow
        | MessageType::MsgReadIndex
        | MessageType::MsgReadIndexResp
        | MessageType::MsgRequestPreVote
        | MessageType::MsgRequestPreVoteResponse => {}
        // Local ones; snapshots, which come with their file; and proposals, which are forwarded
        // with their origin or not at all.
        kind => return Err(FrameError::Kind(kind)),
    }
    Ok(message)
}

/// Decodes the message that announces a snapshot.
pub fn open_snapshot(frame: &RaftFrame, sender: u64, us: u64) -> Result<Message, FrameError> {
    let message = open(frame, sender, us)?;
    match message.get_msg_type() {
        MessageType::MsgSnapshot if message.get_snapshot().get_metadata().index > 0 => Ok(message),
        kind => Err(FrameError::Kind(kind)),
    }
}

fn check_entries(message: &Message) -> Result<(), FrameError> {
    let (mut index, mut term) = (message.index, message.log_term);
    for entry in &message.entries {
        if index.checked_add(1) != Some(entry.index)
            || entry.term < term
            || entry.term > message.term
        {
            return Err(FrameError::Entries);
        }
        (index, term) = (entry.index, entry.term);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use raft::eraftpb::Entry;

    use super::*;

    fn message() -> Message {
        Message { from: 1, to: 2, term: 5, ..Message::default() }
    }

    fn append(first: u64, terms: &[u64]) -> Message {
        let mut message = Message { index: 7, log_term: 3, ..message() };
        message.set_msg_type(MessageType::MsgAppend);
        for (term, index) in terms.iter().zip(first..) {
            let data = bytes::Bytes::from(vec![9; 100]);
            message.entries.push(Entry { index, term: *term, data, ..Entry::default() });
        }
        message
    }

    fn opened(message: &Message) -> Result<Message, FrameError> {
        open_message(&seal(message).unwrap(), 1, 2)
    }

    #[test]
    fn a_message_arrives_as_it_was_sent_and_its_data_is_not_copied() {
        let sent = append(8, &[3, 4, 5]);
        let frame = seal(&sent).unwrap();
        let received = open_message(&frame, 1, 2).unwrap();
        assert_eq!(received.entries, sent.entries);
        assert_eq!((received.index, received.log_term), (7, 3));
        let within = frame.message.as_ptr_range();
        assert!(received.entries.iter().all(|entry| within.contains(&entry.data.as_ptr())));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for (first, terms) in [(9, &[3][..]), (7, &[3]), (8, &[2]), (8, &[3, 5, 4]), (8, &[3, 6])] {
            let refused = opened(&append(first, terms));
            assert_eq!(refused, Err(FrameError::Entries), "{first} {terms:?}");
        }
        let mut edge = append(8, &[3]);
        edge.index = u64::MAX;
        assert_eq!(opened(&edge), Err(FrameError::Entries));
        for kind in [
            MessageType::MsgHup,
            MessageType::MsgBeat,
            MessageType::MsgPropose,
            MessageType::MsgSnapshot,
            MessageType::MsgSnapStatus,
            MessageType::MsgUnreachable,
            MessageType::MsgCheckQuorum,
        ] {
            let mut local = message();
            local.set_msg_type(kind);
            assert_eq!(opened(&local), Err(FrameError::Kind(kind)));
        }
        let mut frame = seal(&append(8, &[3])).unwrap();
        frame.term = 6;
        assert_eq!(open_message(&frame, 1, 2), Err(FrameError::Envelope("term")));
        frame.message = bytes::Bytes::from_static(b"\xff\xff\xff");
        assert_eq!(open_message(&frame, 1, 2), Err(FrameError::Unreadable));
        let kind = MessageType::MsgAppend;
        let not_a_snapshot = seal(&append(8, &[3])).unwrap();
        assert_eq!(open_snapshot(&not_a_snapshot, 1, 2), Err(FrameError::Kind(kind)));
    }

    #[test]
    fn a_stream_carries_the_messages_of_its_two_ends_only() {
        let frame = seal(&append(8, &[3])).unwrap();
        for (sender, us) in [(3, 2), (1, 3)] {
            let route = FrameError::Route { from: 1, to: 2, sender, us };
            assert_eq!(open_message(&frame, sender, us), Err(route));
        }
    }

    #[test]
    fn a_damaged_frame_never_passes_for_the_whole_one() {
        let sent = append(8, &[3, 4]);
        let whole = seal(&sent).unwrap();
        for at in 0..whole.message.len() {
            let mut bytes = whole.message.to_vec();
            bytes[at] ^= 0x55;
            let flipped = RaftFrame { message: bytes.clone().into(), ..whole.clone() };
            assert_ne!(open_message(&flipped, 1, 2).ok(), Some(sent.clone()), "{at}");
            bytes.truncate(at);
            let cut = RaftFrame { message: bytes.into(), ..whole.clone() };
            assert_ne!(open_message(&cut, 1, 2).ok(), Some(sent.clone()), "{at}");
        }
    }
}
