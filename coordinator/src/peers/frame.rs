//! A Raft message as it travels, and the checks that one from outside has to pass.
//!
//! raft-rs trusts its peers and ends the process over a message that cannot be; nothing of that
//! kind gets past here.

use parallax_common::limits::RAFT_NUMBER_MAX;
use parallax_proto::peer::RaftFrame;
use protobuf::{CodedInputStream, Message as _};
use raft::eraftpb::{ConfState, Message, MessageType};
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
    /// Its entries do not follow one another, or not what they are said to follow.
    #[error("the entries of a message do not follow one another")]
    Entries,
    /// Raft never says this, and raft-rs ends the process over it.
    #[error("a {0:?} {1}")]
    Shape(MessageType, &'static str),
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
    check_shape(&message).map_err(|what| FrameError::Shape(message.get_msg_type(), what))?;
    Ok(message)
}

/// Refuses what raft-rs takes for granted of any message.
fn check_shape(message: &Message) -> Result<(), &'static str> {
    let numbers =
        [message.term, message.log_term, message.index, message.commit, message.commit_term];
    if numbers.iter().chain([&message.reject_hint]).any(|number| *number > RAFT_NUMBER_MAX) {
        return Err("has a number that no group reaches");
    }
    // Raft takes a message without a term for one that it sent to itself.
    let is_read = message.get_msg_type() == MessageType::MsgReadIndex;
    if (message.term == 0) != is_read {
        return Err(if is_read { "has a term" } else { "has no term" });
    }
    if message.request_snapshot != 0 {
        return Err("asks for a snapshot, which no member does");
    }
    let entries = message.entries.len();
    match message.get_msg_type() {
        MessageType::MsgAppend => {}
        // The one entry is the mark by which the question is known again.
        MessageType::MsgReadIndex | MessageType::MsgReadIndexResp if entries == 1 => {}
        MessageType::MsgReadIndex | MessageType::MsgReadIndexResp => {
            return Err("carries one entry, no more and no less");
        }
        _ if entries == 0 => {}
        _ => return Err("carries no entries"),
    }
    Ok(())
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
    let kind = message.get_msg_type();
    let metadata = message.get_snapshot().get_metadata();
    if kind != MessageType::MsgSnapshot || metadata.index == 0 {
        return Err(FrameError::Kind(kind));
    }
    // A log answers term 0 for what it does not hold: a snapshot of it would seem to be there.
    if metadata.index > RAFT_NUMBER_MAX || metadata.term == 0 || metadata.term > message.term {
        return Err(FrameError::Shape(kind, "is of an entry that cannot be"));
    }
    if !is_configuration(metadata.get_conf_state()) {
        return Err(FrameError::Shape(kind, "names members that no group can have"));
    }
    Ok(message)
}

/// Whether a group can have these members: raft-rs ends the process when it cannot.
fn is_configuration(members: &ConfState) -> bool {
    let once = |ids: &[u64]| ids.iter().enumerate().all(|(at, id)| !ids[..at].contains(id));
    let votes = |id: &u64| members.voters.contains(id) || members.voters_outgoing.contains(id);
    let lists =
        [&members.voters, &members.voters_outgoing, &members.learners, &members.learners_next];
    !members.voters.is_empty()
        && lists.iter().all(|ids| !ids.contains(&0) && once(ids))
        && !members.learners.iter().any(votes)
        && members
            .learners_next
            .iter()
            .all(|id| members.voters_outgoing.contains(id) && !members.voters.contains(id))
        && (!members.auto_leave || !members.voters_outgoing.is_empty())
}

fn check_entries(message: &Message) -> Result<(), FrameError> {
    // Only the beginning of the log has no term. Any other place would seem to be one that the log
    // holds, however far behind its end: see `open_snapshot`.
    if (message.log_term == 0) != (message.index == 0) || message.log_term > message.term {
        return Err(FrameError::Entries);
    }
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
        // Term 0 is what a log answers of an index that it does not hold.
        for (index, log_term) in [(7, 0), (0, 3), (7, 6)] {
            let nowhere = Message { index, log_term, ..append(8, &[]) };
            assert_eq!(opened(&nowhere), Err(FrameError::Entries), "{index} {log_term}");
        }
        assert!(opened(&Message { index: 0, log_term: 0, ..append(1, &[]) }).is_ok());
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
    fn a_message_over_which_raft_would_end_the_process_is_refused() {
        use MessageType::{
            MsgAppend, MsgAppendResponse, MsgHeartbeat, MsgReadIndex, MsgReadIndexResp,
            MsgRequestVote,
        };
        type Make = fn(&mut Message);
        // One entry each from the second to the last but one.
        let cases: [(MessageType, u64, usize, Make, bool); 14] = [
            (MsgReadIndex, 0, 1, |_| (), true),
            (MsgReadIndex, 0, 0, |_| (), false),
            (MsgReadIndex, 0, 2, |_| (), false),
            (MsgReadIndex, 5, 1, |_| (), false),
            (MsgReadIndexResp, 5, 1, |_| (), true),
            (MsgReadIndexResp, 5, 0, |_| (), false),
            (MsgReadIndexResp, 0, 1, |message| message.index = 1_000_000, false),
            (MsgHeartbeat, 5, 0, |_| (), true),
            (MsgHeartbeat, 5, 1, |_| (), false),
            (MsgHeartbeat, 0, 0, |_| (), false),
            (MsgAppend, 0, 0, |_| (), false),
            (MsgRequestVote, u64::MAX, 0, |_| (), false),
            (MsgAppendResponse, 5, 0, |message| message.index = u64::MAX, false),
            (MsgAppendResponse, 5, 0, |message| message.request_snapshot = 9, false),
        ];
        for (kind, term, entries, make, taken) in cases {
            let mut message = Message { term, ..message() };
            message.set_msg_type(kind);
            message.entries = vec![Entry::default(); entries].into();
            make(&mut message);
            let opened = opened(&message);
            let shape = matches!(opened, Err(FrameError::Shape(of, _)) if of == kind);
            assert_eq!((opened.is_ok(), shape), (taken, !taken), "{message:?}");
        }
    }

    #[test]
    fn a_snapshot_of_members_or_of_an_entry_that_cannot_be_is_refused() {
        let announced = |term: u64, conf_state: ConfState| {
            let mut message = message();
            message.set_msg_type(MessageType::MsgSnapshot);
            let metadata = message.mut_snapshot().mut_metadata();
            (metadata.index, metadata.term) = (9, term);
            metadata.set_conf_state(conf_state);
            open_snapshot(&seal(&message).unwrap(), 1, 2).is_ok()
        };
        let members = |lists: [&[u64]; 4]| {
            let [voters, learners, voters_outgoing, learners_next] = lists.map(<[u64]>::to_vec);
            ConfState { voters, learners, voters_outgoing, learners_next, ..ConfState::default() }
        };
        for (lists, can_be) in [
            ([&[1, 2][..], &[3][..], &[][..], &[][..]], true),
            ([&[1, 2], &[4], &[1, 3], &[3]], true),
            ([&[], &[2], &[], &[]], false),
            ([&[1, 1], &[2], &[], &[]], false),
            ([&[1, 0], &[2], &[], &[]], false),
            ([&[1, 2], &[2], &[], &[]], false),
            ([&[1], &[2], &[2], &[]], false),
            ([&[1], &[2], &[], &[3]], false),
        ] {
            assert_eq!(announced(5, members(lists)), can_be, "{lists:?}");
        }
        let leaving = ConfState { auto_leave: true, ..members([&[1, 2], &[], &[], &[]]) };
        assert!(!announced(5, leaving));
        let fine = members([&[1, 2], &[], &[], &[]]);
        for (term, can_be) in [(5, true), (1, true), (0, false), (6, false)] {
            assert_eq!(announced(term, fine.clone()), can_be, "{term}");
        }
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
