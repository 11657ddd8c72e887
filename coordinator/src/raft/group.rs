//! Proposals of one turn, as one: Raft sends a message to every other member for each call, whatever
//! is in it.

use bytes::Bytes;
use parallax_common::limits::RAFT_MESSAGE_BYTES_MAX;
use raft::eraftpb::{Entry, Message, MessageType};

/// Entries that are proposed when the turn's messages have been taken.
#[derive(Debug, Default)]
pub(super) struct Group {
    numbers: Vec<u64>,
    entries: Vec<Entry>,
    bytes: u64,
}

impl Group {
    /// Adds the proposal with this number and mark.
    pub(super) fn add(&mut self, number: u64, mark: Vec<u8>, data: Bytes) {
        self.bytes += data.len() as u64;
        self.numbers.push(number);
        self.entries.push(Entry { data, context: mark.into(), ..Entry::default() });
    }

    /// More would not fit into one message.
    pub(super) fn is_full(&self) -> bool {
        self.bytes >= RAFT_MESSAGE_BYTES_MAX
    }

    /// The numbers, and what proposes all of them; none when nothing was added.
    pub(super) fn take(&mut self, from: u64) -> Option<(Vec<u64>, Message)> {
        let Self { numbers, entries, .. } = std::mem::take(self);
        (!numbers.is_empty()).then(|| (numbers, proposal(from, entries)))
    }
}

/// What proposes these entries, in this order.
pub(super) fn proposal(from: u64, entries: Vec<Entry>) -> Message {
    let mut message = Message { from, entries: entries.into(), ..Message::default() };
    message.set_msg_type(MessageType::MsgPropose);
    message
}

/// Drops the messages that a later one for the same member says as well: an append without entries
/// only tells what is committed, and an acknowledgement is of everything up to its index.
pub(super) fn condensed(mut messages: Vec<Message>) -> Vec<Message> {
    if messages.len() < 2 {
        return messages;
    }
    // (member, term) that a kept, later message goes to. A group has few members.
    let mut appends: Vec<(u64, u64)> = Vec::new();
    let mut acknowledged: Vec<(u64, u64, u64)> = Vec::new();
    let mut keep: Vec<bool> = messages
        .iter()
        .rev()
        .map(|message| match message.get_msg_type() {
            MessageType::MsgAppend => {
                let to = (message.to, message.term);
                let said = message.entries.is_empty() && appends.contains(&to);
                appends.push(to);
                !said
            }
            MessageType::MsgAppendResponse if !message.reject => {
                let Message { to, term, index, .. } = *message;
                let said = acknowledged
                    .iter()
                    .any(|(other, of, up_to)| (*other, *of) == (to, term) && *up_to >= index);
                acknowledged.push((to, term, index));
                !said
            }
            _ => true,
        })
        .collect();
    messages.retain(|_| keep.pop().unwrap_or(true));
    messages
}

#[cfg(test)]
mod tests {
    use super::*;

    fn append(to: u64, entries: usize) -> Message {
        let mut message = Message { to, term: 3, ..Message::default() };
        message.set_msg_type(MessageType::MsgAppend);
        message.entries = vec![Entry::default(); entries].into();
        message
    }

    fn answer(to: u64, index: u64, reject: bool) -> Message {
        let mut message = Message { to, term: 3, index, reject, ..Message::default() };
        message.set_msg_type(MessageType::MsgAppendResponse);
        message
    }

    #[test]
    fn what_a_later_message_says_as_well_is_not_sent() {
        let sent = vec![
            append(2, 0),
            append(3, 0),
            append(2, 1),
            answer(1, 5, true),
            answer(1, 6, false),
            append(2, 2),
            answer(1, 8, false),
            answer(4, 1, false),
            answer(1, 7, false),
        ];
        let kept: Vec<_> = condensed(sent.clone())
            .iter()
            .map(|kept| sent.iter().position(|message| message == kept).unwrap())
            .collect();
        // Entries and refusals always; of the rest the last.
        assert_eq!(kept, [1, 2, 3, 5, 6, 7, 8]);
    }

    #[test]
    fn messages_of_another_term_stand_for_themselves() {
        let old = Message { term: 2, ..append(2, 0) };
        assert_eq!(condensed(vec![old.clone(), append(2, 1)]), [old, append(2, 1)]);
    }

    #[test]
    fn a_group_is_one_message_with_its_entries_in_order() {
        let mut group = Group::default();
        assert!(group.take(1).is_none());
        for number in [4, 5] {
            group.add(number, vec![number as u8], Bytes::from(vec![b'x'; 600 * 1024]));
            assert_eq!(group.is_full(), number == 5);
        }
        let (numbers, message) = group.take(1).unwrap();
        assert_eq!(numbers, [4, 5]);
        let marks: Vec<_> = message.entries.iter().map(|entry| entry.context[0]).collect();
        assert_eq!((message.from, marks), (1, vec![4, 5]));
        assert!(!group.is_full() && group.take(1).is_none());
    }
}
