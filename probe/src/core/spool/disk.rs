//! The spool's part on the disk, as far as it is a decision: which segments there are, what is
//! written next, what is merged, dropped and deleted.
//!
//! `crate::spool::keeper` performs it, in this order: [`Spool::removable`] is deleted,
//! [`Spool::room`] is made, [`Spool::commit`] is written and synced. What was done is told back.
//!
//! What a reader was sent is written down with the windows. It decides what may be merged: a reader
//! that has a part of a minute must not get the whole. Who is sent what while sessions live is only
//! known here, so a file ("quiet") stands on the disk while there is none, and is deleted before
//! anything is sent. A life that ended without it is in doubt, and nothing of it is ever merged.

use std::collections::BTreeMap;
use std::time::Duration;

use parallax_common::limits::{
    SPOOL_AHEAD_MAX, SPOOL_LIVES_MAX, SPOOL_MERGE_BYTES_MAX, SPOOL_SEGMENT_BYTES_MAX,
    SPOOL_WRITE_BYTES_MAX,
};
use parallax_common::name::Incarnation;
use parallax_common::time::MeshTime;

use super::cursors::{Life, Statement};
use super::record::{Head, window_bytes};
use super::{Item, Spool};

/// One file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Its number.
    pub id: u64,
    /// The life whose windows are in it.
    pub life: Incarnation,
    /// Its first window.
    pub first: u64,
    /// Its last window.
    pub last: u64,
    /// How many windows it has.
    pub windows: u64,
    /// Its length.
    pub bytes: u64,
    /// The earliest end of a window in it.
    pub oldest: MeshTime,
    /// The latest.
    pub newest: MeshTime,
    /// Its windows were merged, or cannot be.
    pub merged: bool,
    /// The disk had no room to merge it; later it may.
    pub put_off: bool,
    /// See [`Head::replaces`].
    pub replaces: Vec<(u64, u64)>,
}

impl Segment {
    /// One without windows.
    pub fn new(head: &Head) -> Self {
        Self {
            id: head.id,
            life: head.life,
            first: u64::MAX,
            last: 0,
            windows: 0,
            bytes: 0,
            oldest: MeshTime::from_ns(i64::MAX),
            newest: MeshTime::from_ns(i64::MIN),
            merged: head.merged,
            put_off: false,
            replaces: head.replaces.clone(),
        }
    }

    /// One window more.
    pub fn add(&mut self, sequence: u64, end: MeshTime) {
        self.first = self.first.min(sequence);
        self.last = self.last.max(sequence);
        self.windows += 1;
        self.oldest = self.oldest.min(end);
        self.newest = self.newest.max(end);
    }
}

/// Bounds of a spool on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// What it may take.
    pub bytes_max: u64,
    /// Older windows are dropped.
    pub age_max: Duration,
}

impl Bounds {
    /// Length at which a segment is closed.
    pub fn segment_bytes(&self) -> u64 {
        (self.bytes_max / 32).min(SPOOL_SEGMENT_BYTES_MAX)
    }

    fn merge_bytes(&self) -> u64 {
        (self.segment_bytes() * 4).min(SPOOL_MERGE_BYTES_MAX)
    }
}

/// What is on the disk.
#[derive(Debug)]
pub(super) struct Disk {
    bounds: Bounds,
    segments: BTreeMap<u64, Segment>,
    /// The one that is written.
    active: Option<u64>,
    next_id: u64,
    /// The number of a segment that was to begin and could not: the next one takes its place, so that
    /// what may be there is not left beside it.
    unbegun: Option<u64>,
    /// Segments of which nothing counts behind a length, until the next one says so: what was written
    /// there and not synced goes into it.
    void: Vec<(u64, u64)>,
    /// Up to which window of this life all are there, or have left.
    pub(super) durable: u64,
    /// The disk says that nobody is being sent anything.
    pub(super) quiet: bool,
}

impl Disk {
    pub(super) fn bytes(&self) -> u64 {
        self.segments.values().map(|segment| segment.bytes).sum()
    }

    fn of(&self, life: Incarnation) -> impl Iterator<Item = &Segment> {
        self.segments.values().filter(move |segment| segment.life == life && segment.windows > 0)
    }

    /// The first and the last window of a life.
    pub(super) fn edges(&self, life: Incarnation) -> Option<(u64, u64)> {
        let front = self.of(life).map(|segment| segment.first).min()?;
        Some((front, self.of(life).map(|segment| segment.last).max()?))
    }

    /// The segment with the first window from `from` on: its number, its first and its last window.
    pub(super) fn holding(&self, life: Incarnation, from: u64) -> Option<(u64, u64, u64)> {
        let behind = self.of(life).filter(|segment| segment.last >= from);
        let next = behind.min_by_key(|segment| segment.first)?;
        Some((next.id, next.first, next.last))
    }
}

/// Windows and cursors to be written at once.
#[derive(Debug)]
pub struct Commit {
    /// Into this segment.
    pub segment: u64,
    /// Which begins with this, if it is new.
    pub begin: Option<Head>,
    /// How far readers have come, if that is news or the segment is new.
    pub statements: Option<Vec<Statement>>,
    /// Windows with their sequences.
    pub windows: Vec<(u64, Item)>,
}

/// What is to be done before more is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Room {
    /// Nothing.
    Enough,
    /// These segments, of one life and in order, become one, with what may be merged in it merged.
    Merge(Vec<u64>),
    /// This one goes, with what is in it.
    Drop(u64),
}

impl Spool {
    /// A spool that goes on from what was found on the disk: segments with their windows, all
    /// statements, and whether nobody was being sent anything when it was left.
    pub fn on_disk(
        incarnation: Incarnation,
        bounds: Bounds,
        found: Vec<Segment>,
        statements: &[Statement],
        quiet: bool,
    ) -> Self {
        let mut spool = Self::new(incarnation);
        spool.take_up(bounds, found, statements, quiet);
        spool
    }

    /// The disk has been read: a spool in memory goes on with what was found there. What it has been
    /// given and has sent meanwhile is all of this life, and nothing of that is on the disk.
    pub fn take_up(
        &mut self,
        bounds: Bounds,
        found: Vec<Segment>,
        statements: &[Statement],
        quiet: bool,
    ) {
        let segments: BTreeMap<u64, Segment> = found.into_iter().map(|of| (of.id, of)).collect();
        for segment in segments.values().filter(|segment| segment.windows > 0) {
            let known = self.earlier.iter().position(|of| of.incarnation == segment.life);
            let place = known.unwrap_or_else(|| {
                self.earlier.push(Life::new(segment.life));
                let place = self.earlier.len() - 1;
                self.earlier[place].first = u64::MAX;
                place
            });
            let life = &mut self.earlier[place];
            life.first = life.first.min(segment.first);
            life.last = life.last.max(segment.last);
            if !quiet {
                life.doubt();
            }
        }
        for statement in statements {
            if let Some(life) = self.life_of(statement.life) {
                life.recall(*statement);
            }
        }
        for reader in self.readers.keys() {
            self.earlier.iter_mut().for_each(|life| life.expect(*reader));
        }
        let next_id = segments.keys().next_back().map_or(1, |last| last + 1);
        self.unstated |= !segments.is_empty();
        self.disk = Some(Disk {
            bounds,
            segments,
            active: None,
            next_id,
            unbegun: None,
            void: Vec::new(),
            durable: 0,
            quiet,
        });
    }

    /// Whether there is a disk that was read.
    pub fn has_disk(&self) -> bool {
        self.disk.is_some()
    }

    /// Readers of earlier lives: windows wait for them as for one whose session just ended.
    pub fn known_readers(&self) -> Vec<u64> {
        let mut all: Vec<u64> = self.earlier.iter().flat_map(Life::readers).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Segments of which nothing is owed to anybody. The newest cursors are in the one that is
    /// written, so that it goes last, and only with all others.
    pub fn removable(&mut self) -> Vec<u64> {
        let Some(disk) = &self.disk else { return Vec::new() };
        let first = |life: Incarnation| {
            let of = self.earlier.iter().chain([&self.life]).find(|of| of.incarnation == life);
            of.map_or(u64::MAX, |life| life.first)
        };
        let over = |segment: &Segment| segment.windows == 0 || segment.last < first(segment.life);
        let active = disk.active.and_then(|id| disk.segments.get(&id));
        let closed = disk.segments.values().filter(|of| Some(of.id) != disk.active && over(of));
        let mut ids: Vec<u64> = closed.map(|segment| segment.id).collect();
        let all = ids.len() + usize::from(active.is_some()) == disk.segments.len();
        match active {
            Some(active) if all && over(active) => ids.push(active.id),
            None if !all => ids.clear(),
            _ => {}
        }
        ids
    }

    /// A segment is deleted, or was set aside.
    pub fn removed(&mut self, id: u64) {
        if let Some(disk) = &mut self.disk {
            disk.segments.remove(&id);
            // The newest cursors were in it.
            self.unstated |= disk.active == Some(id);
            disk.active = disk.active.filter(|active| *active != id);
        }
        self.advance();
        self.forget_lives();
    }

    /// A segment is dropped although somebody is owed what is in it; how many windows that is.
    pub fn drop_segment(&mut self, id: u64) -> u64 {
        let segment = self.disk.as_ref().and_then(|disk| disk.segments.get(&id)).cloned();
        let Some(segment) = segment else { return 0 };
        let first = self.life_of(segment.life).map_or(u64::MAX, |life| life.first);
        let owed = segment.windows.min((segment.last + 1).saturating_sub(first));
        self.dropped += owed;
        self.removed(id);
        owed
    }

    /// Bytes that wait to be written.
    fn pending_bytes(&self) -> u64 {
        self.pending().map(|(_, item)| window_bytes(item.encoded.len())).sum()
    }

    fn pending(&self) -> impl Iterator<Item = (u64, &Item)> {
        let from = (self.durable() + 1).max(self.memory_first).max(self.life.first);
        let skipped = usize::try_from(from - self.memory_first).unwrap_or(usize::MAX);
        (from..).zip(self.memory.iter().skip(skipped))
    }

    /// What must be done before everything that waits is written, by the bounds. Ask until it is
    /// enough.
    pub fn room(&self, now: Option<MeshTime>) -> Room {
        let Some(disk) = &self.disk else { return Room::Enough };
        let closed = || disk.segments.values().filter(|of| Some(of.id) != disk.active);
        let oldest = closed().filter(|of| of.windows > 0).min_by_key(|of| (of.newest, of.id));
        let too_old = |of: &&Segment| now.is_some_and(|now| of.newest + disk.bounds.age_max < now);
        if let Some(segment) = oldest.filter(too_old) {
            return Room::Drop(segment.id);
        }
        let ahead = |of: &&Segment| now.is_some_and(|now| of.oldest > now + SPOOL_AHEAD_MAX);
        if let Some(segment) = closed().filter(|of| of.windows > 0).find(ahead) {
            return Room::Drop(segment.id);
        }
        if self.earlier.len() > SPOOL_LIVES_MAX {
            let life = self.earlier[0].incarnation;
            if let Some(segment) = disk.of(life).min_by_key(|segment| segment.first) {
                return Room::Drop(segment.id);
            }
        }
        let (wanted, short) = (disk.bytes() + self.pending_bytes(), self.is_short());
        if wanted > disk.bounds.bytes_max / 4 * 3
            && let Some(ids) = self.mergeable(disk, short)
        {
            return Room::Merge(ids);
        }
        match oldest {
            Some(oldest) if short => Room::Drop(oldest.id),
            _ => Room::Enough,
        }
    }

    /// Whether what is there and what waits to be written are more than the spool may take.
    pub fn is_short(&self) -> bool {
        let wanted = |disk: &Disk| disk.bytes() + self.pending_bytes();
        self.disk.as_ref().is_some_and(|disk| wanted(disk) > disk.bounds.bytes_max)
    }

    /// The oldest stretch of segments that were not merged yet; a short one only when it must be.
    /// Nothing lies between them: what stands for them is read from its first window to its last, and
    /// would pass over what does.
    fn mergeable(&self, disk: &Disk, short: bool) -> Option<Vec<u64>> {
        let most = disk.bounds.merge_bytes();
        for life in self.earlier.iter().chain([&self.life]) {
            let mut of_life: Vec<&Segment> = disk.of(life.incarnation).collect();
            of_life.sort_by_key(|segment| segment.first);
            let fresh = |segment: &Segment| {
                !segment.merged && !segment.put_off && Some(segment.id) != disk.active
            };
            for stretch in of_life.chunk_by(|one, other| fresh(one) == fresh(other)) {
                let (mut ids, mut bytes) = (Vec::new(), 0);
                for segment in stretch.iter().filter(|segment| fresh(segment)) {
                    if !ids.is_empty() && bytes + segment.bytes > most {
                        break;
                    }
                    bytes += segment.bytes;
                    ids.push(segment.id);
                }
                if !ids.is_empty() && (short || bytes >= most / 2) {
                    return Some(ids);
                }
            }
        }
        None
    }

    /// Whether these windows of a life may become one, by what readers were sent.
    pub fn may_merge(&mut self, life: Incarnation, first: u64, last: u64) -> bool {
        self.life_of(life).is_some_and(|of| of.may_merge(first, last))
    }

    /// The head of the segment that stands for these.
    pub fn merged_head(&mut self, replaces: &[u64]) -> Option<Head> {
        let disk = self.disk.as_mut()?;
        let life = disk.segments.get(replaces.first()?)?.life;
        let inputs = || replaces.iter().filter_map(|id| disk.segments.get(id));
        // What they said of others goes on to be said.
        let said = inputs().flat_map(|segment| &segment.replaces).copied();
        let said = said.filter(|(id, _)| disk.segments.contains_key(id));
        let said = said.filter(|(id, _)| !replaces.contains(id));
        let replaces = replaces.iter().map(|id| (*id, 0)).chain(said).collect();
        disk.next_id += 1;
        Some(Head { life, id: disk.next_id - 1, merged: true, replaces })
    }

    /// These segments are one now. Memory lets go of what is in it: it has another form there.
    pub fn merged(&mut self, replaces: &[u64], by: Segment) {
        let ours = by.life == self.life.incarnation;
        let last = by.last;
        if let Some(disk) = &mut self.disk {
            replaces.iter().for_each(|id| {
                disk.segments.remove(id);
            });
            disk.segments.insert(by.id, by);
        }
        while ours && self.memory_first <= last && self.pop() {}
    }

    /// They are not: what stands for them did not get its name.
    pub fn unmerged(&mut self, id: u64, inputs: Vec<Segment>) {
        let Some(disk) = &mut self.disk else { return };
        disk.segments.remove(&id);
        for segment in inputs {
            disk.segments.insert(segment.id, Segment { merged: true, ..segment });
        }
    }

    /// Merging these made nothing smaller: it is not tried again.
    pub fn unmergeable(&mut self, ids: &[u64]) {
        let Some(disk) = &mut self.disk else { return };
        for id in ids {
            if let Some(segment) = disk.segments.get_mut(id) {
                segment.merged = true;
            }
        }
    }

    /// The disk had no room to merge these: not before [`Self::merge_again`].
    pub fn put_off(&mut self, ids: &[u64]) {
        let Some(disk) = &mut self.disk else { return };
        for id in ids {
            if let Some(segment) = disk.segments.get_mut(id) {
                segment.put_off = true;
            }
        }
    }

    /// What was put off may be merged; whether there was any.
    pub fn merge_again(&mut self) -> bool {
        let Some(disk) = &mut self.disk else { return false };
        let put_off = disk.segments.values_mut().filter(|segment| segment.put_off);
        put_off.map(|segment| segment.put_off = false).count() > 0
    }

    /// The head of a segment that stands for what can still be read of another one.
    pub fn mended_head(&mut self, id: u64) -> Option<Head> {
        let merged = self.segment(id)?.merged;
        self.merged_head(&[id]).map(|head| Head { merged, ..head })
    }

    /// What memory still has of the windows of a segment: with them it can be mended.
    pub fn remembered(&self, id: u64) -> Vec<(u64, Item)> {
        let Some(segment) = self.segment(id) else { return Vec::new() };
        if segment.life != self.life.incarnation || segment.windows == 0 {
            return Vec::new();
        }
        let all = (self.memory_first..).zip(&self.memory);
        let its = all.filter(|(sequence, _)| (segment.first..=segment.last).contains(sequence));
        its.map(|(sequence, item)| (sequence, item.clone())).collect()
    }

    /// What can still be had of a segment is in another one now, these windows; how many are lost.
    pub fn mended(&mut self, id: u64, by: Segment, kept: impl Iterator<Item = u64>) -> u64 {
        let Some(disk) = &mut self.disk else { return 0 };
        let Some(before) = disk.segments.remove(&id) else { return 0 };
        self.unstated |= disk.active == Some(id);
        disk.active = disk.active.filter(|active| *active != id);
        let life = by.life;
        disk.segments.insert(by.id, by);
        let first = self.life_of(life).map_or(u64::MAX, |life| life.first);
        // What everybody has is owed to nobody, whether it was lost or not.
        let (kept, had): (Vec<u64>, Vec<u64>) = kept.partition(|sequence| *sequence >= first);
        let owed = before.windows.saturating_sub(had.len() as u64);
        let owed = owed.min((before.last + 1).saturating_sub(first));
        let lost = owed.saturating_sub(kept.len() as u64);
        self.dropped += lost;
        self.advance();
        lost
    }

    /// All that is to be written down of readers.
    pub fn statements(&self) -> Vec<Statement> {
        self.earlier.iter().chain([&self.life]).flat_map(Life::statements).collect()
    }

    /// What is to be written now, if anything.
    pub fn commit(&mut self) -> Option<Commit> {
        let mut bytes = 0;
        let fitting = self.pending().take_while(|(_, item)| {
            let fits = bytes < SPOOL_WRITE_BYTES_MAX;
            bytes += item.encoded.len();
            fits
        });
        let windows: Vec<(u64, Item)> = fitting.map(|(n, item)| (n, item.clone())).collect();
        let unstated = std::mem::take(&mut self.unstated);
        let disk = self.disk.as_mut()?;
        if windows.is_empty() && (!unstated || disk.segments.is_empty()) {
            return None;
        }
        let bounds = disk.bounds;
        let goes_on = disk.active.and_then(|id| disk.segments.get(&id)).is_some_and(|active| {
            let long = active.newest.since(active.oldest) > bounds.age_max / 24;
            let over = active.windows > 0 && active.last < self.life.first;
            active.bytes < bounds.segment_bytes() && !long && !over
        });
        let mut begin = None;
        if !goes_on {
            let id = disk.unbegun.take().unwrap_or_else(|| {
                disk.next_id += 1;
                disk.next_id - 1
            });
            let (life, replaces) = (self.life.incarnation, disk.void.clone());
            begin = Some(Head { life, id, merged: false, replaces });
        }
        let segment = begin.as_ref().map(|head| head.id).or(disk.active)?;
        let statements = (unstated || begin.is_some()).then(|| self.statements());
        Some(Commit { segment, begin, statements, windows })
    }

    /// A commit is on the disk, and its segment has this length.
    pub fn committed(&mut self, commit: &Commit, length: u64) {
        let Some(disk) = &mut self.disk else { return };
        if let Some(head) = &commit.begin {
            disk.segments.insert(head.id, Segment::new(head));
            disk.active = Some(head.id);
            disk.void.clear();
        }
        if let Some(segment) = disk.segments.get_mut(&commit.segment) {
            commit.windows.iter().for_each(|(sequence, item)| segment.add(*sequence, item.end));
            segment.bytes = length;
        }
        if let Some((last, _)) = commit.windows.last() {
            disk.durable = *last;
        }
        self.trim();
    }

    /// A commit is not on the disk. With `closed` its segment must not be written any more.
    pub fn not_committed(&mut self, commit: &Commit, closed: bool) {
        self.unstated |= commit.statements.is_some();
        let Some(disk) = &mut self.disk else { return };
        if commit.begin.is_some() {
            disk.unbegun = Some(commit.segment);
        } else if closed {
            disk.active = None;
            let good = disk.segments.get(&commit.segment).map_or(0, |segment| segment.bytes);
            disk.void.push((commit.segment, good));
        }
    }

    /// Whether the quiet file is to be made (`true`) or deleted (`false`).
    pub fn wants_quiet(&self) -> Option<bool> {
        let disk = self.disk.as_ref()?;
        match (disk.quiet, self.is_attached()) {
            (true, true) => Some(false),
            (false, false) if !disk.segments.is_empty() && !self.unstated => Some(true),
            _ => None,
        }
    }

    /// The quiet file is there, or not.
    pub fn is_quiet(&mut self, quiet: bool) {
        if let Some(disk) = &mut self.disk {
            disk.quiet = quiet;
        }
    }

    /// A segment as it stands in the books.
    pub fn segment(&self, id: u64) -> Option<&Segment> {
        self.disk.as_ref()?.segments.get(&id)
    }
}
