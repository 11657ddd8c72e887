//! Sealed windows that some coordinator has not acknowledged yet: what is where, and what becomes
//! of it.
//!
//! The newest are in memory, and all of them on the disk where there is one ([`disk`] decides what
//! is written, merged and dropped; `crate::spool` does it). Sequences are a life's own and start at 1
//! with each: one run of the process is one life, under an incarnation of its own, and what an
//! earlier life has left is delivered under its old one. (incarnation, sequence) names a window for
//! ever, so that nothing counts twice, however often it is sent.
//!
//! A window leaves when every reader has acknowledged it, or at a bound (counted). A reader that has
//! been away for an hour no longer holds anything back (DESIGN.md, decision 13): what leaves without
//! it is its gap. Each reader's gap is told once, when it begins, and again only after the reader
//! was back and has acknowledged something.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use parallax_common::limits::{
    MEMBERS_MAX, SPOOL_AHEAD_MAX, SPOOL_BYTES_MAX, SPOOL_CACHE_BYTES_MAX, SPOOL_RECORD_BYTES_MAX,
};
use parallax_common::name::Incarnation;
use parallax_common::time::{BootTime, MeshTime};

use self::cursors::Life;
use self::disk::Disk;

pub mod cursors;
pub mod disk;
pub mod merge;
pub mod record;

/// No period is over by then.
const NEVER: MeshTime = MeshTime::from_ns(i64::MIN);

/// Whether a reader is there.
#[derive(Debug, Default)]
struct Presence {
    sessions: u32,
    /// Since when it is away; `None` while a session of it lives.
    away_since: Option<BootTime>,
    /// It has been away for too long: nothing waits for it.
    given_up: bool,
}

/// A reader that will not get some windows: they have left without it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// Its node id.
    pub reader: u64,
    /// The life they are of.
    pub life: Incarnation,
    /// First window that it has not acknowledged.
    pub first: u64,
    /// Last window that has left so far.
    pub last: u64,
}

/// A window in memory.
#[derive(Debug, Clone)]
pub struct Item {
    /// The end of its period.
    pub end: MeshTime,
    /// As it is sent.
    pub encoded: Bytes,
}

/// What there is to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// These, the first under this number, the others behind it without a gap.
    Windows(u64, Vec<Bytes>),
    /// What this segment holds from this number on.
    Disk(u64, u64),
    /// Nothing now.
    Nothing,
    /// Nothing more: the life is over, and nothing of it is kept.
    Over,
}

/// How much of what is claimed at a time.
#[derive(Debug, Clone, Copy)]
pub struct Portion {
    /// Windows.
    pub windows: usize,
    /// No window more once there are so many bytes.
    pub bytes: usize,
}

/// The spool of one probe.
#[derive(Debug)]
pub struct Spool {
    /// Earlier lives, the oldest first, and ours.
    earlier: Vec<Life>,
    life: Life,
    readers: BTreeMap<u64, Presence>,
    /// The newest windows of this life, without a gap up to the last.
    memory: VecDeque<Item>,
    memory_first: u64,
    memory_bytes: usize,
    disk: Option<Disk>,
    /// What readers have done since it was written down last.
    unstated: bool,
    dropped: u64,
    /// Ends of earlier lives that were lost, not told yet.
    lost: Vec<Gap>,
    /// Somebody is there again after nobody was.
    returned: bool,
    /// Periods that end later are not over: coordinators would refuse their windows.
    over_at: MeshTime,
}

impl Spool {
    /// An empty spool in memory, at most [`SPOOL_BYTES_MAX`].
    pub fn new(incarnation: Incarnation) -> Self {
        Self {
            earlier: Vec::new(),
            life: Life::new(incarnation),
            readers: BTreeMap::new(),
            memory: VecDeque::new(),
            memory_first: 1,
            memory_bytes: 0,
            disk: None,
            unstated: false,
            dropped: 0,
            lost: Vec::new(),
            returned: false,
            // Until somebody tells the time.
            over_at: MeshTime::from_ns(i64::MAX),
        }
    }

    /// This life.
    pub fn incarnation(&self) -> Incarnation {
        self.life.incarnation
    }

    /// Adds a sealed window that ends at `end`; its sequence. One that no frame can carry is dropped
    /// at once: it would be in the way of all behind it.
    pub fn push(&mut self, end: MeshTime, encoded: Bytes) -> u64 {
        if encoded.len() > SPOOL_RECORD_BYTES_MAX / 2 {
            self.dropped += 1;
            return self.life.last;
        }
        if self.memory.is_empty() {
            self.memory_first = self.life.last + 1;
        }
        self.memory_bytes += encoded.len();
        self.memory.push_back(Item { end, encoded });
        self.life.last += 1;
        self.trim();
        self.life.last
    }

    /// The time; `None` while nobody has measured it, and nothing is known to be over. What ends so far
    /// ahead that no waiting helps is dropped and counted: it was sealed by a clock that was wrong.
    pub fn it_is(&mut self, now: Option<MeshTime>) {
        let Some(now) = now else { return self.over_at = NEVER };
        self.over_at = now;
        let is_far = |item: &Item| item.end > now + SPOOL_AHEAD_MAX;
        while self.memory.front().is_some_and(is_far) {
            // On the disk they are dropped and counted by themselves.
            self.dropped += u64::from(self.memory_first > self.durable());
            self.pop();
        }
        self.advance();
    }

    /// These have been sealed by the clock in force, so they are over.
    pub fn is_over(&mut self, end: MeshTime) {
        if self.over_at != NEVER {
            self.over_at = self.over_at.max(end);
        }
    }

    /// What ends at `end` was sealed early, and time is told no more.
    pub fn is_early(&mut self, end: MeshTime) {
        self.over_at = self.over_at.min(end - Duration::from_nanos(1));
    }

    /// Lets go of what memory need not hold, and at its bound of the oldest.
    fn trim(&mut self) {
        let durable = self.durable();
        while self.memory_first <= durable && self.memory_bytes > SPOOL_CACHE_BYTES_MAX {
            if !self.pop() {
                return;
            }
        }
        while self.memory_bytes > SPOOL_BYTES_MAX && self.pop() {
            self.dropped += 1;
            self.advance();
        }
    }

    fn pop(&mut self) -> bool {
        let Some(item) = self.memory.pop_front() else { return false };
        self.memory_first += 1;
        self.memory_bytes -= item.encoded.len();
        true
    }

    /// The windows kept of each life are those that memory or disk still has. An earlier life gets
    /// nothing more: what is missing at its end is waited for no longer.
    fn advance(&mut self) {
        for life in self.earlier.iter_mut() {
            let edges = self.disk.as_ref().and_then(|disk| disk.edges(life.incarnation));
            let Some((front, back)) = edges else {
                life.first = life.last + 1;
                continue;
            };
            life.first = life.first.max(front);
            if back < life.last {
                let (of, last) = (life.incarnation, std::mem::replace(&mut life.last, back));
                self.lost.extend(life.missing(back, last).map(|(reader, first)| Gap {
                    reader,
                    life: of,
                    first,
                    last,
                }));
                life.first = life.first.min(back + 1);
            }
        }
        let on_disk = self.disk.as_ref().and_then(|disk| disk.edges(self.life.incarnation));
        let on_disk = on_disk.map(|(front, _)| front);
        let in_memory = (!self.memory.is_empty()).then_some(self.memory_first);
        let front = on_disk.into_iter().chain(in_memory).min().unwrap_or(self.life.last + 1);
        self.life.first = self.life.first.max(front);
    }

    fn lives(&mut self) -> impl Iterator<Item = &mut Life> {
        self.earlier.iter_mut().chain(std::iter::once(&mut self.life))
    }

    fn life_of(&mut self, life: Incarnation) -> Option<&mut Life> {
        self.lives().find(|of| of.incarnation == life)
    }

    /// A reader's session began. When everybody had been given up, this probe was cut off and not
    /// they: all are waited for anew, from the next look on.
    pub fn attach(&mut self, reader: u64) {
        let everybody = self.readers.values().all(|presence| presence.given_up);
        if everybody && !self.readers.is_empty() {
            self.readers.values_mut().for_each(|presence| presence.given_up = false);
            self.returned = true;
        }
        let presence = self.readers.entry(reader).or_default();
        presence.sessions += 1;
        presence.away_since = None;
        presence.given_up = false;
        self.lives().for_each(|life| life.expect(reader));
        self.unstated = true;
    }

    /// A reader's session ended.
    pub fn detach(&mut self, reader: u64, now: BootTime) {
        if let Some(presence) = self.readers.get_mut(&reader) {
            presence.sessions = presence.sessions.saturating_sub(1);
            if presence.sessions == 0 {
                presence.away_since.get_or_insert(now);
            }
        }
    }

    /// Whether anybody is there to be sent something.
    fn is_attached(&self) -> bool {
        self.readers.values().any(|presence| presence.sessions > 0)
    }

    /// A member that is known to exist: windows wait for it as for one whose session just ended.
    pub fn expect(&mut self, reader: u64, now: BootTime) {
        let away = Presence { away_since: Some(now), ..Presence::default() };
        self.readers.entry(reader).or_insert(away);
        self.lives().for_each(|life| life.expect(reader));
        while self.readers.len() > MEMBERS_MAX {
            let given_up = self.readers.iter().find(|(_, presence)| presence.given_up);
            let other = given_up.or(self.readers.iter().find(|(_, of)| of.sessions == 0));
            let Some(reader) = other.map(|(reader, _)| *reader) else { return };
            self.readers.remove(&reader);
            self.lives().for_each(|life| life.forget(reader));
        }
    }

    /// The next windows for a reader, from `from` on, none above `through`. What is claimed counts
    /// as sent.
    pub fn claim(
        &mut self,
        life: Incarnation,
        reader: u64,
        (from, through): (u64, u64),
        portion: Portion,
    ) -> Claim {
        // What is on the disk says that nobody is being sent anything: that must be taken back first.
        if self.disk.as_ref().is_some_and(|disk| disk.quiet) {
            return Claim::Nothing;
        }
        let ours = life == self.life.incarnation;
        let Some(of) = self.life_of(life) else { return Claim::Over };
        let (from, last) = (from.max(of.first), of.last);
        if from > last {
            return if ours { Claim::Nothing } else { Claim::Over };
        }
        let in_memory = Some(from.max(self.memory_first)).filter(|at| ours && *at <= last);
        let on_disk = self.disk.as_ref().and_then(|disk| disk.holding(life, from));
        let (claim, sent) = match (in_memory, on_disk) {
            (Some(at), disk) if disk.is_none_or(|(_, first, _)| at <= first.max(from)) => {
                if at > through {
                    return Claim::Nothing;
                }
                let windows = self.in_memory(at, through, portion);
                if windows.is_empty() {
                    // The first of them is not over.
                    return Claim::Nothing;
                }
                let sent = at + windows.len() as u64 - 1;
                (Claim::Windows(at, windows), sent)
            }
            (_, Some((_, first, _))) if first > through => return Claim::Nothing,
            (_, Some((segment, first, last))) => (Claim::Disk(segment, first.max(from)), last),
            (_, None) => return Claim::Nothing,
        };
        let news = self.life_of(life).is_some_and(|of| of.claim(reader, sent));
        self.unstated |= news;
        claim
    }

    fn in_memory(&self, at: u64, through: u64, portion: Portion) -> Vec<Bytes> {
        let skipped = usize::try_from(at - self.memory_first).unwrap_or(usize::MAX);
        let count = usize::try_from(through - at).unwrap_or(usize::MAX).saturating_add(1);
        let mut bytes = 0;
        let items = self.memory.iter().skip(skipped).take(count.min(portion.windows));
        let fitting = items.take_while(|item| {
            let fits = bytes < portion.bytes && item.end <= self.over_at;
            bytes += item.encoded.len();
            fits
        });
        fitting.map(|item| item.encoded.clone()).collect()
    }

    /// Where a reader goes on in a life, and the last window that there was when it asked.
    pub fn place(&mut self, life: Incarnation, reader: u64) -> (u64, u64) {
        let of = self.life_of(life);
        of.map_or((1, 0), |life| (life.acknowledged(reader) + 1, life.last))
    }

    /// The oldest earlier life of which a reader is owed something.
    pub fn owed(&self, reader: u64) -> Option<Incarnation> {
        let owes = |life: &&Life| life.acknowledged(reader) < life.last;
        self.earlier.iter().find(owes).map(|life| life.incarnation)
    }

    /// A reader has everything of a life up to `through`. An acknowledgement of what was never sent
    /// is cut.
    pub fn acknowledge(&mut self, life: Incarnation, reader: u64, through: u64) {
        if self.life_of(life).is_some_and(|of| of.acknowledge(reader, through)) {
            self.unstated = true;
            self.release();
        }
    }

    /// A reader has ended its lane over these windows: how often in a row over the first of them.
    pub fn refused(&mut self, life: Incarnation, reader: u64, (first, last): (u64, u64)) -> u32 {
        self.life_of(life).map_or(0, |of| of.refused(reader, first, last))
    }

    /// A reader's lane has ended without a word over these windows: how often in a row, from the time
    /// on at which that is no accident.
    pub fn cut(&mut self, life: Incarnation, reader: u64, (first, last): (u64, u64)) -> u32 {
        self.life_of(life).map_or(0, |of| of.cut(reader, first, last))
    }

    /// Whether a window is to be sent alone.
    pub fn is_suspect(&mut self, life: Incarnation, reader: u64, from: u64) -> bool {
        self.life_of(life).is_some_and(|of| of.is_suspect(reader, from))
    }

    /// Waits no longer for readers that have been away for `away_max`. Gives the gaps that began
    /// since the last time, also those made by the bounds.
    pub fn give_up_away(&mut self, now: BootTime, away_max: Duration) -> Vec<Gap> {
        if std::mem::take(&mut self.returned) {
            let away = self.readers.values_mut().filter_map(|of| of.away_since.as_mut());
            away.for_each(|since| *since = now);
        }
        for reader in self.readers.values_mut() {
            reader.given_up |= reader.away_since.is_some_and(|since| now.since(since) >= away_max);
        }
        self.release();
        let mut gaps = std::mem::take(&mut self.lost);
        for life in self.lives() {
            let of = life.incarnation;
            let begun = life.gaps().into_iter();
            gaps.extend(begun.map(|(reader, first, last)| Gap { reader, life: of, first, last }));
        }
        self.forget_lives();
        gaps
    }

    /// Drops what every reader has that is waited for. With none such nothing is dropped: somebody
    /// may come.
    fn release(&mut self) {
        let waited: Vec<u64> =
            self.readers.iter().filter(|(_, of)| !of.given_up).map(|(reader, _)| *reader).collect();
        for life in self.lives() {
            if let Some(through) = life.held_by(waited.iter().copied()) {
                life.first = life.first.max((through + 1).min(life.last + 1));
            }
        }
        while self.memory_first < self.life.first && self.pop() {}
        self.advance();
    }

    /// Earlier lives of which nothing is kept any more are forgotten; not what somebody misses of them.
    fn forget_lives(&mut self) {
        let lost = &mut self.lost;
        self.earlier.retain_mut(|life| {
            if life.is_empty() {
                let of = life.incarnation;
                let gaps = life.gaps().into_iter();
                lost.extend(gaps.map(|(reader, first, last)| Gap {
                    reader,
                    life: of,
                    first,
                    last,
                }));
            }
            !life.is_empty()
        });
    }

    /// Up to which window of this life all are on the disk, or have left.
    fn durable(&self) -> u64 {
        self.disk.as_ref().map_or(0, |disk| disk.durable)
    }

    /// Bytes held: on the disk, and in memory what is not there.
    pub fn bytes(&self) -> u64 {
        let durable = self.durable();
        let on_disk = usize::try_from((durable + 1).saturating_sub(self.memory_first));
        let behind = self.memory.iter().skip(on_disk.unwrap_or(usize::MAX));
        let pending: usize = match self.disk {
            Some(_) => behind.map(|item| item.encoded.len()).sum(),
            None => self.memory_bytes,
        };
        self.disk_bytes() + pending as u64
    }

    /// Bytes on the disk.
    pub fn disk_bytes(&self) -> u64 {
        self.disk.as_ref().map_or(0, Disk::bytes)
    }

    /// Windows that left because of a bound.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }
}

#[cfg(test)]
mod tests;
