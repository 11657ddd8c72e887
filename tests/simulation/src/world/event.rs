//! What happens in a world, and how it is told apart and printed.

use crate::feed::{Letter, Said};
use crate::line::LineId;
use crate::trouble::Cure;
use crate::wire::{Input, Reply, Request};
use parallax_coordinator::core::outbox::Report;
use parallax_probe::core::schedule::RunId;

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
    /// Something goes wrong with a probe or its lines.
    MeshTrouble,
    /// Somebody looks how members and probes stand to one another.
    Watch,
    /// A word may have arrived at an end of a line.
    Word(LineId, usize),
    /// A member's second has passed, in one of its lives.
    Beat(u64, u64),
    /// A judge has something to do by itself, in one life of its member.
    WakeJudge(u64, u64),
    /// A member dials the leader.
    Follow(u64, u64, u64),
    /// A probe has something to do by itself.
    Probe(u64),
    /// A probe's run ends.
    RunEnds(u64, RunId),
    /// A probe dials a member.
    Dial(u64, u64),
    /// Somebody starts the probe of a place, the first or the second.
    StartProbe(usize, bool),
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
    /// A watcher begins its next stream.
    Listen(usize, u64),
    /// A watcher has waited long enough for this stream.
    Unheard(usize, u64),
    /// A watcher hears something.
    Heard(Box<Letter>),
    /// A watcher's stream breaks.
    Torn(usize, u64),
    /// A watcher goes away for a while.
    Tire(usize),
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
                Input::Listen(_) => 29,
                Input::ShutOut => 30,
            },
            Self::WriteRows(..) => 7,
            Self::WriteSnapshot(..) => 8,
            Self::Trouble => 9,
            Self::Heal(_) => 10,
            Self::HealAll => 11,
            Self::Late => 15,
            Self::Operate => 16,
            Self::Outage => 17,
            Self::MeshTrouble => 18,
            Self::Watch => 28,
            Self::Word(..) => 20,
            Self::Beat(..) => 21,
            Self::WakeJudge(..) => 22,
            Self::Follow(..) => 23,
            Self::Probe(_) => 24,
            Self::RunEnds(..) => 25,
            Self::Dial(..) => 26,
            Self::StartProbe(..) => 27,
            Self::PageEnds(..) => 19,
            Self::Ask(_) => 12,
            Self::Answer(..) => 13,
            Self::Impatient(..) => 14,
            Self::Listen(..) => 31,
            Self::Unheard(..) => 32,
            Self::Heard(_) => 33,
            Self::Torn(..) => 34,
            Self::Tire(_) => 35,
        }
    }

    /// Who it is about; 0 for nobody.
    pub(super) fn whom(&self) -> u64 {
        match self {
            Self::Tick(id) | Self::Wake(id, _) | Self::Arrive(id, _) => *id,
            Self::WriteRows(id, _) | Self::WriteSnapshot(id, _) => *id,
            Self::Ask(index) | Self::Impatient(index, ..) => *index as u64,
            Self::Listen(index, _) | Self::Unheard(index, _) => *index as u64,
            Self::Torn(index, _) | Self::Tire(index) => *index as u64,
            Self::Heard(letter) => letter.0 as u64,
            Self::Answer(request, _) => request.client as u64,
            Self::Trouble | Self::Heal(_) | Self::HealAll | Self::Late | Self::Operate => 0,
            Self::Outage | Self::MeshTrouble | Self::Watch => 0,
            Self::Word(line, _) => *line,
            Self::Beat(id, _) | Self::WakeJudge(id, _) | Self::Follow(id, ..) => *id,
            Self::Probe(pid) | Self::RunEnds(pid, _) | Self::Dial(pid, _) => *pid,
            Self::StartProbe(place, _) => *place as u64,
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
            Self::Heard(letter) => match &letter.2 {
                Said::List(state) => format!("watcher {} lists {}", letter.0, state.applied),
                said @ (Said::Begun | Said::Compacted | Said::End) => {
                    format!("watcher {} hears {said:?}", letter.0)
                }
                Said::Changes(changes, _) => {
                    let revisions: Vec<_> = changes.iter().map(|change| change.revision).collect();
                    format!("watcher {} hears of {revisions:?}", letter.0)
                }
            },
            other => format!("{other:?}"),
        }
    }
}
