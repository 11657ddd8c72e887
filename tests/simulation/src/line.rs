//! Connections, between probes and members and between members: what is said arrives in order and
//! late, and while the way is cut it waits. Who loses his power says no farewell.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use parallax_proto::peer::{self, relay_frame};
use parallax_proto::v1;

/// Names a connection.
pub type LineId = u64;

/// One end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    /// A probe's process.
    Probe {
        /// Its number, never used again.
        pid: u64,
        /// Where it runs.
        place: usize,
    },
    /// A member's process.
    Member {
        /// The member.
        id: u64,
        /// Which of its lives.
        life: u64,
    },
}

/// What one member says to another on the stream that relays.
#[derive(Debug, Clone)]
pub enum Say {
    /// The first word of whoever dials.
    Hello(peer::PeerHello),
    /// What both ends say.
    Frame(relay_frame::Frame),
    /// The leader measures.
    Ping(v1::Ping),
    /// It is answered.
    Pong(v1::Pong),
    /// An order for a probe that the other end hears.
    Order(peer::RelayedOrder),
    /// A life of a probe is to go.
    Superseded(peer::SupersededProbe),
}

/// One thing that is said.
#[derive(Debug, Clone)]
pub enum Word {
    /// A probe to a member.
    Up(Box<v1::live_request::Frame>),
    /// A member to a probe.
    Down(Box<v1::live_response::Frame>),
    /// A member to another.
    Relay(Box<Say>),
    /// The other end has closed it.
    Close,
}

/// One connection.
#[derive(Debug)]
pub struct Line {
    /// Who dialled, and who was dialled.
    pub ends: [End; 2],
    /// Whether each end still has it.
    pub open: [bool; 2],
    /// On the way to each end, with the time of arrival.
    queues: [VecDeque<(u64, Word)>; 2],
    last_us: [u64; 2],
}

/// All of them.
#[derive(Debug, Default)]
pub struct Lines {
    all: BTreeMap<LineId, Line>,
    last: LineId,
    /// Place of a probe and member between which nothing passes.
    pub cut: BTreeSet<(usize, u64)>,
}

impl Lines {
    /// A new connection.
    pub fn open(&mut self, dials: End, answers: End) -> LineId {
        self.last += 1;
        let line = Line {
            ends: [dials, answers],
            open: [true; 2],
            queues: Default::default(),
            last_us: [0; 2],
        };
        self.all.insert(self.last, line);
        self.last
    }

    /// The connection, while one end has it.
    pub fn get(&self, id: LineId) -> Option<&Line> {
        self.all.get(&id)
    }

    /// Which of the two ends this one is.
    pub fn side(&self, id: LineId, end: End) -> Option<usize> {
        self.all.get(&id)?.ends.iter().position(|other| *other == end)
    }

    /// Puts a word on its way to an end, behind those before it: when it arrives.
    pub fn push(&mut self, id: LineId, to: usize, at_us: u64, word: Word) -> Option<u64> {
        let line = self.all.get_mut(&id).filter(|line| line.open[to])?;
        let at_us = at_us.max(line.last_us[to]);
        line.last_us[to] = at_us;
        line.queues[to].push_back((at_us, word));
        Some(at_us)
    }

    /// The next word that has arrived at an end.
    pub fn pop(&mut self, id: LineId, to: usize, now_us: u64) -> Option<Word> {
        let queue = &mut self.all.get_mut(&id)?.queues[to];
        let arrived = queue.front().is_some_and(|(at_us, _)| *at_us <= now_us);
        if arrived { queue.pop_front().map(|(_, word)| word) } else { None }
    }

    /// One end has it no more.
    pub fn forget(&mut self, id: LineId, side: usize) {
        if let Some(line) = self.all.get_mut(&id) {
            line.open[side] = false;
            line.queues[side].clear();
            if line.open == [false; 2] {
                self.all.remove(&id);
            }
        }
    }

    /// A process is gone, with its ends of everything.
    pub fn gone(&mut self, is_gone: impl Fn(End) -> bool) {
        let ends = self.all.iter().flat_map(|(id, line)| {
            let gone = |side: &usize| is_gone(line.ends[*side]);
            [0, 1].into_iter().filter(gone).map(|side| (*id, side))
        });
        for (id, side) in ends.collect::<Vec<_>>() {
            self.forget(id, side);
        }
    }

    /// Where something has arrived that was not taken yet.
    pub fn waiting(&self, now_us: u64) -> Vec<(LineId, usize)> {
        let arrived = |line: &Line, side: usize| {
            line.queues[side].front().is_some_and(|(at_us, _)| *at_us <= now_us)
        };
        let both = self.all.iter().flat_map(|(id, line)| {
            [0, 1].into_iter().filter(move |side| arrived(line, *side)).map(|side| (*id, side))
        });
        both.collect()
    }
}
