//! What happens in a world, and how it is told apart and printed.

use crate::trouble::Cure;
use crate::wire::{Input, Reply, Request};
use parallax_coordinator::core::outbox::Report;

/// What happens.
#[derive(Debug)]
pub enum Event {
    /// A member's clock ticks.
    Tick(u64),
    /// A process that waited for its disk, or has work, goes on.
    Wake(u64, u64),
    /// Something arrives at a member.
    Arrive(u64, Box<Input>),
    /// The row writer of a life writes.
    WriteRows(u64, u64),
    /// A snapshot of a life is written.
    WriteSnapshot(u64, u64),
    /// Something goes wrong.
    Trouble,
    /// Something is well again.
    Heal(Cure),
    /// Everything is well again, for good.
    HealAll,
    /// An outage begins or ends.
    Outage,
    /// The leader looks at the outage.
    Judge,
    /// An attempt to page has ended.
    PageEnds(u64, u64, String, Report),
    /// An operator changes the members, where there is one.
    Operate,
    /// The end is near.
    Late,
    /// A client begins, or asks again.
    Ask(usize),
    /// A client is answered.
    Answer(Request, Reply),
    /// A client has waited long enough for this attempt.
    Impatient(usize, u64, u64),
}

impl Event {
    /// A number for its kind, for the digest of a run.
    pub(super) fn kind(&self) -> u64 {
        match self {
            Self::Tick(_) => 1,
            Self::Wake(..) => 2,
            Self::Arrive(_, input) => match &**input {
                Input::Raft(message, _) => 100 + message.get_msg_type() as u64,
                Input::SnapshotSent { .. } => 3,
                Input::Request(_) => 4,
                Input::Forward { .. } => 5,
                Input::Forwarded { .. } => 6,
            },
            Self::WriteRows(..) => 7,
            Self::WriteSnapshot(..) => 8,
            Self::Trouble => 9,
            Self::Heal(_) => 10,
            Self::HealAll => 11,
            Self::Late => 15,
            Self::Operate => 16,
            Self::Outage => 17,
            Self::Judge => 18,
            Self::PageEnds(..) => 19,
            Self::Ask(_) => 12,
            Self::Answer(..) => 13,
            Self::Impatient(..) => 14,
        }
    }

    /// Who it is about; 0 for nobody.
    pub(super) fn whom(&self) -> u64 {
        match self {
            Self::Tick(id) | Self::Wake(id, _) | Self::Arrive(id, _) => *id,
            Self::WriteRows(id, _) | Self::WriteSnapshot(id, _) => *id,
            Self::Ask(index) | Self::Impatient(index, ..) => *index as u64,
            Self::Answer(request, _) => request.client as u64,
            Self::Trouble | Self::Heal(_) | Self::HealAll | Self::Late | Self::Operate => 0,
            Self::Outage | Self::Judge => 0,
            Self::PageEnds(from, ..) => *from,
        }
    }

    /// For a trace.
    pub(super) fn line(&self) -> String {
        match self {
            Self::Arrive(to, input) => match &**input {
                Input::Raft(m, _) => format!(
                    "{} -> {to} {:?} term {} index {} log term {} commit {} entries {} reject {}",
                    m.from,
                    m.get_msg_type(),
                    m.term,
                    m.index,
                    m.log_term,
                    m.commit,
                    m.entries.len(),
                    m.reject
                ),
                other => format!("-> {to} {other:?}"),
            },
            other => format!("{other:?}"),
        }
    }
}
