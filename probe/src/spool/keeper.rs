//! The spool's files: performs what the core decides ([`crate::core::spool::disk`]).
//!
//! `segment-<number>.spool` is written at its end only; a merged one is written whole under another
//! name and renamed. Nothing is believed to be on the disk before it is synced. After a write or a
//! sync that failed, the file is not written again: what was not synced is still in memory and goes
//! into the next one, so that no later sync is taken for the one that failed; the head of that one says
//! where the other ends. Only a full disk leaves the file as it is, cut back to what was synced.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use parallax_common::limits::{SPOOL_MERGE_AGAIN_TURNS, SPOOL_PIECE_BYTES};
use parallax_common::time::MeshTime;
use parallax_proto::convert::window::{window, window_to};
use parallax_proto::v1;
use prost::Message as _;
use tracing::{error, info, warn};

pub use self::opening::Found;
use self::opening::{aside, forget_damaged, read_what_can_be};
use super::files::{Files, Writing, is_full, is_of_the_process, read_all};
use crate::core::spool::Spool;
use crate::core::spool::disk::{Commit, Room, Segment};
use crate::core::spool::merge::{self, Key};
use crate::core::spool::record::{Head, Record, encode, salvage, scan};

mod opening;

/// While it is there, nobody is being sent anything.
const QUIET: &str = "quiet";
const BEGIN: &str = "segment-";
const END: &str = ".spool";
const UNFINISHED: &str = ".new";
const DAMAGED: &str = ".damaged";
/// What is said with its number and how many windows are lost.
pub(super) const IS_DAMAGED: &str = "a spooled segment is damaged: these are lost";
/// More than the head of any segment has: it names those of one merge, and ends of a few others.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Segments merged or dropped in one turn: the next turn goes on.
const ROOM_STEPS_MAX: usize = 64;

/// A segment's name.
pub(super) fn name(id: u64) -> String {
    format!("{BEGIN}{id:012}{END}")
}

fn id_of(name: &str) -> Option<u64> {
    name.strip_prefix(BEGIN)?.strip_suffix(END)?.parse().ok()
}

/// What a turn did.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// Windows that were merged away.
    pub merged: u64,
    /// Windows that were dropped.
    pub dropped: u64,
    /// Segments that were found damaged, and mended or set aside.
    pub damaged: u64,
    /// Why it did not do all, if the disk refused something.
    pub refused: Option<Refused>,
}

/// The disk refused something.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot {what}: {why}")]
pub struct Refused {
    /// What was to be done.
    pub what: &'static str,
    /// What the system said.
    pub why: String,
    /// There is no room.
    pub full: bool,
}

fn refused(what: &'static str) -> impl FnOnce(io::Error) -> Refused {
    move |error| Refused { what, full: is_full(&error), why: error.to_string() }
}

#[derive(Debug)]
struct Active {
    id: u64,
    file: Box<dyn Writing>,
    /// What is synced of it.
    length: u64,
}

/// Writes and deletes the files of one spool.
#[derive(Debug)]
pub struct Keeper {
    files: Arc<dyn Files>,
    active: Option<Active>,
    /// The quiet file could not be deleted, although somebody is being sent something.
    quiet_left: bool,
    /// Turns until segments are merged that the disk had no room to merge.
    merge_again_in: Option<u32>,
    /// Segments that another one stands for and that could not be deleted yet. While there are some, none
    /// are merged: they take room that nobody counts.
    left: Vec<u64>,
}

/// Windows of a segment by their numbers, with the ends of their periods.
type Windows = BTreeMap<u64, (MeshTime, Bytes)>;

fn lock(spool: &Mutex<Spool>) -> MutexGuard<'_, Spool> {
    spool.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Keeper {
    /// Reads what is there and puts it in order, see `keeper/opening.rs`.
    ///
    /// # Errors
    /// When the directory cannot be read or put in order.
    pub fn open(files: Arc<dyn Files>) -> io::Result<(Self, Found)> {
        let found = opening::open(&*files)?;
        let left = Vec::new();
        Ok((Self { files, active: None, quiet_left: false, merge_again_in: None, left }, found))
    }

    /// Does everything that is due. Whatever the disk refuses is tried again by the next turn. A file that
    /// cannot be deleted does not keep others from being written, as long as there is room for them.
    pub fn turn(&mut self, spool: &Mutex<Spool>, now: Option<MeshTime>) -> Turn {
        let mut turn = Turn::default();
        self.count_down(spool);
        let spoken = self.speak(spool);
        let removed = self.remove(spool);
        let roomy = self.make_room(spool, now, &mut turn);
        let has_room = roomy.is_ok() || !lock(spool).is_short();
        let written = if has_room { self.commit(spool) } else { Ok(()) };
        let done = written.and_then(|()| self.remove(spool));
        let done = spoken.and(removed).and(roomy).and(done).and_then(|()| self.be_quiet(spool));
        turn.refused = done.err();
        turn
    }

    /// Before anything is sent, the disk says no longer that nothing is.
    fn speak(&mut self, spool: &Mutex<Spool>) -> Result<(), Refused> {
        if lock(spool).wants_quiet() != Some(false) && !self.quiet_left {
            return Ok(());
        }
        let removed = match self.files.remove(QUIET) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => self.files.sync_names(),
        };
        // On a disk that cannot even be deleted from, sending is worth more than what a later life
        // may merge by mistake. It is tried again for as long as it is there.
        lock(spool).is_quiet(false);
        self.quiet_left = removed.is_err();
        removed.map_err(refused("delete the quiet file"))
    }

    /// After a while what was put off may be merged.
    fn count_down(&mut self, spool: &Mutex<Spool>) {
        self.merge_again_in = self.merge_again_in.and_then(|turns| turns.checked_sub(1));
        if self.merge_again_in == Some(0) {
            lock(spool).merge_again();
            self.merge_again_in = None;
        }
    }

    fn be_quiet(&mut self, spool: &Mutex<Spool>) -> Result<(), Refused> {
        {
            let mut spool = lock(spool);
            if spool.wants_quiet() != Some(true) {
                return Ok(());
            }
            // From now on nothing is sent; should somebody come, the next turn takes it back first.
            spool.is_quiet(true);
        }
        let made = self.files.create(QUIET).and_then(|mut file| file.sync());
        made.and_then(|()| self.files.sync_names()).map_err(refused("make the quiet file"))
    }

    fn remove(&mut self, spool: &Mutex<Spool>) -> Result<(), Refused> {
        let mut done = self.clear_away();
        let ids = lock(spool).removable();
        let last = ids.last().copied();
        for id in ids {
            // The newest cursors may be in the last one: it does not go before the others.
            if done.is_err() && Some(id) == last {
                break;
            }
            match self.delete(id) {
                Ok(()) => lock(spool).removed(id),
                refused => done = done.and(refused),
            }
        }
        done
    }

    /// Deletes what other segments stand for; one that cannot be deleted does not keep others from it.
    fn clear_away(&mut self) -> Result<(), Refused> {
        let mut done = Ok(());
        for id in std::mem::take(&mut self.left) {
            if let Err(refused) = self.delete(id) {
                self.left.push(id);
                done = done.and(Err(refused));
            }
        }
        done
    }

    fn delete(&mut self, id: u64) -> Result<(), Refused> {
        self.active = self.active.take().filter(|active| active.id != id);
        match self.files.remove(&name(id)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(refused("delete a segment")(error))
            }
            _ => Ok(()),
        }
    }

    fn make_room(
        &mut self,
        spool: &Mutex<Spool>,
        now: Option<MeshTime>,
        turn: &mut Turn,
    ) -> Result<(), Refused> {
        for _ in 0..ROOM_STEPS_MAX {
            let room = lock(spool).room(now);
            match room {
                Room::Enough => break,
                Room::Merge(ids) if !self.left.is_empty() => {
                    lock(spool).put_off(&ids);
                    self.merge_again_in.get_or_insert(SPOOL_MERGE_AGAIN_TURNS);
                }
                // A disk that has no room for it may have some for what is to be written.
                Room::Merge(ids) => {
                    if let Err(refused) = self.merge(spool, &ids, now, turn) {
                        warn!(%refused, "spooled windows were not merged");
                        lock(spool).put_off(&ids);
                        self.merge_again_in.get_or_insert(SPOOL_MERGE_AGAIN_TURNS);
                    }
                }
                Room::Drop(id) => {
                    self.delete(id)?;
                    turn.dropped += lock(spool).drop_segment(id);
                }
            }
        }
        Ok(())
    }

    /// Makes one segment of several.
    fn merge(
        &mut self,
        spool: &Mutex<Spool>,
        ids: &[u64],
        now: Option<MeshTime>,
        turn: &mut Turn,
    ) -> Result<(), Refused> {
        let inputs: Vec<Segment> = {
            let spool = lock(spool);
            ids.iter().filter_map(|id| spool.segment(*id).cloned()).collect()
        };
        let mut windows = Windows::new();
        for input in &inputs {
            let bytes =
                read_all(&*self.files, &name(input.id)).map_err(refused("read a segment"))?;
            // What is behind that was written and not synced: it is in memory, or in another one.
            let good = usize::try_from(input.bytes).unwrap_or(usize::MAX).min(bytes.len());
            let (read, _) = scan(&bytes[..good], |record| {
                if let Record::Window { sequence, end, bytes } = record {
                    windows.insert(sequence, (end, Bytes::copy_from_slice(bytes)));
                }
            });
            if read as u64 != input.bytes {
                // What is behind the damage would go with the file. What is whole of it is merged later.
                let lost = self.mend(spool, input.id)?;
                error!(segment = input.id, windows = lost, "{IS_DAMAGED}");
                turn.damaged += 1;
                return Ok(());
            }
        }
        let groups = minutes(&windows, now);
        let groups = {
            let life = inputs.first().map(|segment| segment.life);
            let mut spool = lock(spool);
            let may = |group: &Vec<u64>| match (life, group.first(), group.last()) {
                (Some(life), Some(first), Some(last)) => spool.may_merge(life, *first, *last),
                _ => false,
            };
            groups.into_iter().filter(may).collect::<Vec<_>>()
        };
        let (groups, away) = merge_groups(&mut windows, groups);
        let head = if away == 0 { None } else { lock(spool).merged_head(ids) };
        let Some(head) = head else {
            lock(spool).unmergeable(ids);
            return Ok(());
        };
        let unfinished = name(head.id) + UNFINISHED;
        let written = self.write_stand_in(spool, &unfinished, head, &windows);
        let segment = written.map_err(|error| {
            // Without room for it there may be room for what is to be written all the same.
            let _ = self.files.remove(&unfinished);
            refused("write a merged segment")(error)
        })?;
        let (id, life) = (segment.id, segment.life);
        {
            // Somebody may have been sent a part of it meanwhile.
            let mut spool = lock(spool);
            if !groups.iter().all(|(first, last)| spool.may_merge(life, *first, *last)) {
                spool.unmergeable(ids);
                drop(spool);
                return self.files.remove(&unfinished).map_err(refused("delete a merged segment"));
            }
            spool.merged(ids, segment);
        }
        if let Err(error) = self.files.rename(&unfinished, &name(id)) {
            lock(spool).unmerged(id, inputs);
            return Err(refused("name a merged segment")(error));
        }
        // From here on it stands for them, whichever of both a crash leaves: what was sent of one is
        // not taken again from the other. While its name may be lost they are not deleted.
        self.files.sync_names().map_err(refused("sync the directory of the spool"))?;
        info!(segments = ids.len(), windows = away, "spooled windows were merged to minutes");
        self.left.extend(ids);
        turn.merged += away;
        self.clear_away()
    }

    /// Writes the file of a segment that is to stand for others, piece by piece, and syncs it.
    fn write_stand_in(
        &self,
        spool: &Mutex<Spool>,
        unfinished: &str,
        head: Head,
        windows: &Windows,
    ) -> io::Result<Segment> {
        let mut segment = Segment::new(&head);
        let mut out = Vec::new();
        encode(&Record::Head(head), &mut out);
        encode(&Record::Cursors(lock(spool).statements()), &mut out);
        let mut file = self.files.create(unfinished)?;
        for (sequence, (end, bytes)) in windows {
            segment.add(*sequence, *end);
            encode(&Record::Window { sequence: *sequence, end: *end, bytes }, &mut out);
            if out.len() >= SPOOL_PIECE_BYTES {
                segment.bytes += out.len() as u64;
                file.add(&out)?;
                out.clear();
            }
        }
        segment.bytes += out.len() as u64;
        file.add(&out)?;
        file.sync()?;
        Ok(segment)
    }

    fn commit(&mut self, spool: &Mutex<Spool>) -> Result<(), Refused> {
        loop {
            let commit = lock(spool).commit();
            let Some(commit) = commit else { return Ok(()) };
            match self.write(&commit) {
                Ok(length) => lock(spool).committed(&commit, length),
                Err(refused) => {
                    let closed = self.active.as_ref().is_none_or(|of| of.id != commit.segment);
                    lock(spool).not_committed(&commit, closed);
                    return Err(refused);
                }
            }
        }
    }

    /// Writes and syncs; the length of the segment then.
    fn write(&mut self, commit: &Commit) -> Result<u64, Refused> {
        let mut out = Vec::new();
        if let Some(head) = &commit.begin {
            encode(&Record::Head(head.clone()), &mut out);
        }
        if let Some(statements) = &commit.statements {
            encode(&Record::Cursors(statements.clone()), &mut out);
        }
        for (sequence, item) in &commit.windows {
            let (sequence, end, bytes) = (*sequence, item.end, &item.encoded);
            encode(&Record::Window { sequence, end, bytes }, &mut out);
        }
        // Taken out: it comes back only when nothing is in doubt.
        let before = self.active.take().filter(|active| active.id == commit.segment);
        let mut active = match before {
            Some(active) => active,
            None => {
                let name = name(commit.segment);
                let file = self.files.create(&name).map_err(refused("make a segment"))?;
                Active { id: commit.segment, file, length: 0 }
            }
        };
        if let Err(error) = active.file.add(&out) {
            let error = refused("write a segment")(error);
            if active.length == 0 {
                let _ = self.files.remove(&name(active.id));
            } else if active.file.cut(active.length).is_ok() && error.full {
                self.active = Some(active);
            }
            return Err(error);
        }
        active.file.sync().map_err(refused("sync a segment"))?;
        if commit.begin.is_some() {
            self.files.sync_names().map_err(refused("sync the directory of the spool"))?;
        }
        active.length += out.len() as u64;
        let length = active.length;
        self.active = Some(active);
        Ok(length)
    }

    /// A segment that was read is not what was written, or cannot be read: another one with what can
    /// be read, or is still in memory, takes its place, and it is set aside. How many windows are lost.
    ///
    /// # Errors
    /// When there is no room for the other one, or the process lacks something: nothing has changed then.
    pub fn mend(&mut self, spool: &Mutex<Spool>, id: u64) -> Result<u64, Refused> {
        let Some(length) = lock(spool).segment(id).map(|segment| segment.bytes) else {
            // Merged or delivered meanwhile.
            return Ok(0);
        };
        let mut windows = Windows::new();
        match read_what_can_be(&*self.files, &name(id)) {
            Ok((bytes, _)) => {
                let good = usize::try_from(length).unwrap_or(usize::MAX).min(bytes.len());
                salvage(&bytes[..good], |record| {
                    if let Record::Window { sequence, end, bytes } = record {
                        windows.insert(sequence, (end, Bytes::copy_from_slice(bytes)));
                    }
                });
            }
            Err(error) if is_of_the_process(&error) => {
                return Err(refused("read a damaged segment")(error));
            }
            Err(error) => warn!(segment = id, %error, "nothing can be read of a segment"),
        }
        for (sequence, item) in lock(spool).remembered(id) {
            windows.entry(sequence).or_insert((item.end, item.encoded));
        }
        let head = if windows.is_empty() { None } else { lock(spool).mended_head(id) };
        let Some(head) = head else { return Ok(self.set_aside(spool, id)) };
        let (new, unfinished) = (name(head.id), name(head.id) + UNFINISHED);
        let written = self.write_stand_in(spool, &unfinished, head, &windows);
        let named = written.and_then(|segment| {
            self.files.rename(&unfinished, &new)?;
            // From here on it stands for the other, whichever of both a crash leaves.
            self.files.sync_names()?;
            Ok(segment)
        });
        match named {
            Ok(segment) => {
                self.active = self.active.take().filter(|active| active.id != id);
                let lost = lock(spool).mended(id, segment, windows.keys().copied());
                self.put_aside(id);
                Ok(lost)
            }
            Err(error) => {
                // Both must not be found by the next start: its head says so, whatever is left of it.
                let gone = |name: &str| match self.files.remove(name) {
                    Err(error) => error.kind() == io::ErrorKind::NotFound,
                    Ok(()) => true,
                };
                let is_as_before = gone(&unfinished) & gone(&new);
                if is_as_before && (is_full(&error) || is_of_the_process(&error)) {
                    return Err(refused("write what can be read of a damaged segment")(error));
                }
                warn!(segment = id, %error, "a damaged segment cannot be mended");
                Ok(self.set_aside(spool, id))
            }
        }
    }

    fn put_aside(&self, id: u64) {
        aside(&*self.files, &name(id));
        if let Err(error) = forget_damaged(&*self.files) {
            warn!(%error, "old damaged segments are still there");
        }
    }

    /// A segment of which nothing can be had is set aside.
    fn set_aside(&mut self, spool: &Mutex<Spool>, id: u64) -> u64 {
        if lock(spool).segment(id).is_none() {
            // Merged or delivered meanwhile.
            return 0;
        }
        self.active = self.active.take().filter(|active| active.id != id);
        self.put_aside(id);
        lock(spool).drop_segment(id)
    }
}

/// Sequences of windows that could be one, by minute. A minute that is not over by the mesh's clock
/// stays as it is: merged it would end in the future, and no coordinator takes that.
fn minutes(windows: &Windows, now: Option<MeshTime>) -> Vec<Vec<u64>> {
    let mut groups: BTreeMap<Key, Vec<u64>> = BTreeMap::new();
    for (sequence, (_, bytes)) in windows {
        let read = v1::Window::decode(bytes.as_ref()).ok();
        if let Some(key) = read.and_then(|of| merge::key(&window(&of).ok()?)) {
            groups.entry(key).or_default().push(*sequence);
        }
    }
    let is_over = |key: &Key| now.is_none_or(|now| merge::end(key) <= now);
    let over = groups.into_iter().filter(|(key, _)| is_over(key)).map(|(_, group)| group);
    over.filter(|group| group.len() > 1).collect()
}

/// Merges groups in place, each under the number of its last window. First and last number of those
/// that were, and how many windows have gone.
fn merge_groups(windows: &mut Windows, groups: Vec<Vec<u64>>) -> (Vec<(u64, u64)>, u64) {
    let (mut done, mut away) = (Vec::new(), 0);
    for group in groups {
        let parts = group.iter().filter_map(|sequence| windows.get(sequence));
        let read = parts.map(|(_, bytes)| v1::Window::decode(bytes.as_ref()).ok());
        let read = read.map(|of| of.and_then(|of| window(&of).ok())).collect::<Option<Vec<_>>>();
        let Some(one) = read.and_then(|parts| merge::merge(&parts)) else { continue };
        let (Some(first), Some(last)) = (group.first(), group.last()) else { continue };
        for sequence in &group {
            windows.remove(sequence);
        }
        let end = one.start + one.period.length();
        windows.insert(*last, (end, window_to(&one).encode_to_vec().into()));
        away += group.len() as u64 - 1;
        done.push((*first, *last));
    }
    (done, away)
}

#[cfg(test)]
mod tests;
