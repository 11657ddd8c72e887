//! History on the disk, without threads: what happens in which order.
//!
//! [`Disk::commit`] writes arrivals to the journal under one sync; then they are in memory, can be
//! read, and may be acknowledged. [`Disk::flush`] writes what is in memory as a segment of windows
//! and begins a new journal. `disk/roll.rs` rolls up and deletes, `disk/query.rs` reads,
//! `disk/install.rs` takes in segments of other members.
//!
//! A full disk is not the end: what arrives is held back until there is room, and so are segments
//! ([`SegmentError::is_full`]). Any other error of the journal, and any failed sync, is.
//!
//! A crash at any point leaves one of two states that mean the same: a segment whose journal is
//! still there (its windows are duplicates when the journal is read again), or segments beside
//! those that they were rolled up from (what is held further up is not counted again).

use std::collections::{BTreeMap, HashMap};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parallax_common::limits::{
    HISTORY_MEMORY_AGE_MAX, HISTORY_MEMORY_BYTES_MAX, HISTORY_READ_BYTES_MAX, HISTORY_SPOOLS_MAX,
};
use parallax_common::time::MeshTime;
use parking_lot::Mutex;
use tracing::{error, info, warn};

use self::memory::Memory;
use super::files::Files;
use super::journal::{self, Journal};
use super::ranges::Held;
use super::segment::reader::{Segment, parse_name};
use super::segment::writer::{UNFINISHED, Writer, sync_dir};
use super::segment::{Key, SegmentError, codec};
use super::tier::Tier;
use super::{Appended, Batch, Kept, Spool, Stats, cost};

mod install;
mod memory;
mod query;
mod roll;

pub use install::{Incoming, Verdict};

/// History in a directory.
#[derive(Debug)]
pub struct Disk {
    files: Arc<dyn Files>,
    dir: PathBuf,
    bytes_max: u64,
    /// What one question may read.
    read_bytes_max: u64,
    state: Mutex<State>,
    /// Held by whoever rolls up, deletes or takes in: one at a time.
    keeper: Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    /// In the journal and in no segment.
    memory: Memory,
    /// Is being written as a segment.
    frozen: Option<Arc<Memory>>,
    spools: HashMap<Spool, Through>,
    /// Counts the words of spools.
    words: u64,
    segments: [BTreeMap<u64, Arc<Segment>>; 3],
    /// What the segments of each tier hold.
    held: [Arc<Held>; 3],
    next_id: u64,
    journal_bytes: u64,
    /// Older journals that a start found and had no room to make a segment of.
    old_journals: Vec<PathBuf>,
    dropped: u64,
    expired: u64,
    damaged: u64,
    left_out: u64,
    /// Since when the disk has had no room for what arrives.
    full: Option<MeshTime>,
    /// Whoever reads segments that must not go meanwhile.
    pins: usize,
    /// Files whose segments have gone while somebody reads.
    doomed: Vec<PathBuf>,
}

/// Segments that stay readable for as long as this lives.
#[derive(Debug)]
pub struct Pin<'a>(&'a Disk);

/// How far one spool has come.
#[derive(Debug, Clone, Copy)]
struct Through {
    sequence: u64,
    /// In the order of the last words of spools.
    heard: u64,
}

impl State {
    fn heard(&mut self, spool: &Spool, sequence: u64) {
        self.words += 1;
        let fresh = Through { sequence: 0, heard: self.words };
        let through = self.spools.entry(spool.clone()).or_insert(fresh);
        through.sequence = through.sequence.max(sequence);
        through.heard = self.words;
        // The spool that has been quiet the longest: if it comes back, its windows count as new.
        while self.spools.len() > HISTORY_SPOOLS_MAX {
            let quiet = self.spools.iter().min_by_key(|(_, through)| through.heard);
            let Some(spool) = quiet.map(|(spool, _)| spool.clone()) else { return };
            self.spools.remove(&spool);
        }
    }

    /// How far these spools have come moves on over windows that came in another way, as far as they
    /// follow on: those of a gap before them may be in the journal, or still on their way.
    fn follow_on(&mut self, spools: &Held) {
        let rolled = self.rolled();
        for (spool, _) in spools.iter() {
            let through = self.spools.get(spool).map_or(0, |through| through.sequence);
            if let Some(last) = following(rolled.of(spool), through) {
                self.heard(spool, last);
            }
        }
    }

    fn take_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    fn add(&mut self, segment: Segment) {
        let tier = segment.meta.tier;
        self.segments[tier.number()].insert(segment.id, Arc::new(segment));
        self.sum_up(tier);
    }

    fn sum_up(&mut self, tier: Tier) {
        let mut held = Held::default();
        for segment in self.segments[tier.number()].values() {
            held.extend(&segment.meta.held);
        }
        self.held[tier.number()] = Arc::new(held);
    }

    /// What minutes and hours hold: windows in it are not rolled up again.
    fn rolled(&self) -> Held {
        let mut rolled = self.held[Tier::Minutes.number()].as_ref().clone();
        rolled.extend(&self.held[Tier::Hours.number()]);
        rolled
    }

    /// What is in any segment.
    fn all_held(&self) -> Held {
        let mut all = self.rolled();
        all.extend(&self.held[Tier::Windows.number()]);
        all
    }

    fn bytes(&self) -> u64 {
        let segments = self.segments.iter().flat_map(BTreeMap::values);
        segments.map(|segment| segment.bytes).sum::<u64>() + self.journal_bytes
    }

    /// Segments of a tier that are not rolled up, the oldest first.
    fn fresh(&self, tier: Tier) -> Vec<Arc<Segment>> {
        let above = match tier {
            Tier::Windows => self.rolled(),
            Tier::Minutes => self.held[Tier::Hours.number()].as_ref().clone(),
            Tier::Hours => return Vec::new(),
        };
        let of_tier = self.segments[tier.number()].values();
        of_tier.filter(|segment| !above.covers(&segment.meta.held)).cloned().collect()
    }
}

/// The end of the range that goes on where a spool has come to, if there is one.
fn following(ranges: &[(u64, u64)], through: u64) -> Option<u64> {
    let next = ranges.partition_point(|range| range.1 <= through);
    ranges.get(next).filter(|range| range.0 <= through.saturating_add(1)).map(|range| range.1)
}

impl Disk {
    /// Opens the directory: reads what segments say of themselves, and the journal again.
    ///
    /// # Errors
    /// When it cannot be read or put in order. A segment that cannot be read is set aside and counted.
    pub fn open(
        files: Arc<dyn Files>,
        dir: &Path,
        bytes_max: u64,
    ) -> Result<(Self, Journal), SegmentError> {
        files.create_dir(dir).map_err(SegmentError::io("create the directory of history"))?;
        let mut state = State::default();
        let mut journals = Vec::new();
        let list = files.list(dir).map_err(SegmentError::io("list the directory of history"))?;
        for name in list {
            let path = dir.join(&name);
            if name.ends_with(UNFINISHED) {
                files.remove(&path).map_err(SegmentError::io("delete an unfinished file"))?;
            } else if let Some(id) = journal::parse_name(&name) {
                journals.push(id);
            } else if let Some((tier, id, _)) = parse_name(&name) {
                state.next_id = state.next_id.max(id);
                match Segment::open(&files, &path) {
                    Ok(segment) => {
                        state.segments[tier.number()].insert(id, Arc::new(segment));
                    }
                    Err(failed) if !failed.is_unreadable() => return Err(failed),
                    Err(damaged) => {
                        error!(segment = name, %damaged, "a segment of history is set aside");
                        state.damaged += 1;
                        files
                            .rename(&path, &path.with_extension("damaged"))
                            .map_err(SegmentError::io("set a damaged segment aside"))?;
                    }
                }
            }
        }
        state.drop_replaced(&*files)?;
        Tier::ALL.into_iter().for_each(|tier| state.sum_up(tier));
        state.remember_spools();
        sync_dir(&*files, dir)?;
        let (keeper, dir) = (Mutex::default(), dir.to_owned());
        let (read_bytes_max, state) = (HISTORY_READ_BYTES_MAX, Mutex::new(state));
        let disk = Self { files, dir, bytes_max, read_bytes_max, state, keeper };
        let journal = disk.replay(journals)?;
        Ok((disk, journal))
    }

    /// Reads the journals, and makes a segment of what is in them: what a failed sync did not carry
    /// may still be read, from memory, and a segment is written anew. There are two journals when a
    /// new one was begun and the old one not yet deleted.
    fn replay(&self, mut ids: Vec<u64>) -> Result<Journal, SegmentError> {
        ids.sort_unstable();
        let mut newest = None;
        let held = self.state.lock().all_held();
        for id in &ids {
            let found = Journal::recover(&self.files, &self.dir, *id)?;
            if found.torn > 0 {
                warn!(journal = id, bytes = found.torn, "cut a torn end that nobody was told of");
            }
            let mut windows = 0;
            for record in &found.records {
                let (spool, mut taken) = codec::take_batch(record)?;
                let mut state = self.state.lock();
                // Not by how far the spool had come: that may be beyond what is in no segment yet.
                taken.retain(|(sequence, _)| {
                    let known = [&held, &state.memory.held];
                    !known.iter().any(|held| held.contains(&spool, *sequence))
                });
                windows += taken.len();
                state.insert(&spool, taken);
            }
            info!(journal = id, windows, "read the journal of history");
            newest = Some(found.journal);
        }
        {
            let mut state = self.state.lock();
            let spools = state.memory.held.clone();
            state.follow_on(&spools);
        }
        let Some(mut journal) = newest else {
            return Journal::create(&self.files, &self.dir, 1);
        };
        self.state.lock().journal_bytes = journal.bytes();
        match self.flush(&mut journal) {
            Ok(()) => {}
            Err(full) if full.is_full() => {
                warn!("the disk of history is full: the journal stays as it is for now");
                // The next segment holds what is in the older ones too; then they go.
                ids.pop();
                let older = ids.iter().map(|id| journal::path(&self.dir, *id)).collect();
                self.state.lock().old_journals = older;
                return Ok(journal);
            }
            Err(failed) => return Err(failed),
        }
        ids.pop();
        for id in ids {
            let path = journal::path(&self.dir, id);
            self.files.remove(&path).map_err(SegmentError::io("delete a journal"))?;
        }
        Ok(journal)
    }

    /// Writes batches under one sync, and makes them readable.
    ///
    /// # Errors
    /// When the disk is full: none of them is kept, and they can be given again. When it refuses
    /// otherwise: nothing is known of them then, and the process must end.
    pub fn commit(
        &self,
        journal: &mut Journal,
        batches: &[Batch],
    ) -> Result<Vec<Appended>, SegmentError> {
        let mut records = Vec::new();
        let mut fresh = Vec::new();
        let mut appended = Vec::with_capacity(batches.len());
        // Nobody else moves a spool on but a copy, which takes the same lock to install.
        let mut through: HashMap<Spool, u64> = HashMap::new();
        for batch in batches {
            let known = || self.acknowledged(&batch.spool).unwrap_or(0);
            let through = through.entry(batch.spool.clone()).or_insert_with(known);
            let given = batch.windows.len();
            let mut windows = batch.windows.clone();
            windows.retain(|(sequence, _)| {
                let is_new = *sequence > *through;
                *through = (*through).max(*sequence);
                is_new
            });
            let kept = windows.len();
            appended.push(Appended { kept, duplicates: given - kept });
            if !windows.is_empty() {
                records.push(codec::put_batch(&batch.spool, &windows));
                fresh.push((&batch.spool, windows, batch.now));
            }
        }
        if !records.is_empty() {
            journal.append(&records)?;
        }
        let mut state = self.state.lock();
        for (spool, windows, now) in fresh {
            state.memory.since.get_or_insert(now);
            state.insert(spool, windows);
        }
        state.journal_bytes = journal.bytes();
        Ok(appended)
    }

    /// Everything of this spool up to here is kept.
    pub fn acknowledged(&self, spool: &Spool) -> Option<u64> {
        self.state.lock().spools.get(spool).map(|through| through.sequence)
    }

    /// Whether it is time to write a segment.
    pub fn should_flush(&self, now: MeshTime) -> bool {
        let state = self.state.lock();
        let memory = &state.memory;
        let old = memory.since.is_none_or(|since| now.since(since) >= HISTORY_MEMORY_AGE_MAX);
        memory.items > 0 && (old || memory.bytes >= HISTORY_MEMORY_BYTES_MAX)
    }

    /// Whether there are so many windows in memory that no more may come before a segment is written.
    pub fn must_flush(&self) -> bool {
        self.state.lock().memory.bytes >= 2 * HISTORY_MEMORY_BYTES_MAX
    }

    /// Writes what is in memory as a segment of windows, and begins a new journal.
    ///
    /// # Errors
    /// When the disk is full: everything is as it was, and it can be tried again. When it refuses
    /// otherwise: the process must end.
    pub fn flush(&self, journal: &mut Journal) -> Result<(), SegmentError> {
        let (memory, id, mut spools) = {
            let mut state = self.state.lock();
            if state.memory.items == 0 {
                return Ok(());
            }
            let memory = Arc::new(std::mem::take(&mut state.memory));
            state.frozen = Some(Arc::clone(&memory));
            let spools: Vec<_> = state.spools.iter().map(|(s, t)| (s.clone(), *t)).collect();
            (memory, state.take_id(), spools)
        };
        spools.sort_by_key(|(_, through)| through.heard);
        let spools = spools.into_iter().map(|(spool, through)| (spool, through.sequence)).collect();
        let written = self.write_windows(id, &memory, spools);
        let segment = match written {
            Ok(segment) => segment,
            Err(error) => {
                // In the journal it is all the same.
                let mut state = self.state.lock();
                state.frozen = None;
                let memory = Arc::try_unwrap(memory).unwrap_or_else(|shared| (*shared).clone());
                state.memory.put_before(memory);
                return Err(error);
            }
        };
        {
            let mut state = self.state.lock();
            state.add(segment);
            state.frozen = None;
        }
        // When there is no room for a new one, the old one goes on: what is in it is here already.
        let new = Journal::create(&self.files, &self.dir, journal.id + 1)?;
        let old = std::mem::replace(journal, new);
        let older = {
            let mut state = self.state.lock();
            state.journal_bytes = 0;
            std::mem::take(&mut state.old_journals)
        };
        for path in older {
            self.files.remove(&path).map_err(SegmentError::io("delete a journal"))?;
        }
        old.delete()
    }

    fn write_windows(
        &self,
        id: u64,
        memory: &Memory,
        spools: Vec<(Spool, u64)>,
    ) -> Result<Segment, SegmentError> {
        let mut writer = Writer::create(&self.files, &self.dir, Tier::Windows, id)?;
        for (key, windows) in &memory.windows {
            let mut windows: Vec<Kept> = windows.clone();
            windows.sort_by_key(|kept| kept.record.start);
            let start = windows.first().map_or_else(MeshTime::default, |kept| kept.record.start);
            let end = windows.iter().map(|kept| kept.record.end).max().unwrap_or(start);
            writer.block(key, &codec::put_windows(&windows), windows.len(), (start, end))?;
        }
        writer.finish(memory.held.clone(), spools)
    }

    /// Notes that the disk is full, or is not any more; whether that is news.
    pub fn note_full(&self, full: Option<MeshTime>) -> bool {
        let mut state = self.state.lock();
        let is_news = state.full.is_some() != full.is_some();
        if is_news {
            state.full = full;
        }
        is_news
    }

    /// What is read stays readable until this is dropped.
    pub fn pin(&self) -> Pin<'_> {
        self.state.lock().pins += 1;
        Pin(self)
    }

    /// How full it is.
    pub fn stats(&self) -> Stats {
        let state = self.state.lock();
        let frozen = state.frozen.as_ref().map_or(0, |frozen| frozen.items);
        let of_windows = state.segments[Tier::Windows.number()].values();
        Stats {
            windows: of_windows.map(|segment| segment.meta.items).sum::<u64>()
                + (state.memory.items + frozen) as u64,
            bytes: state.bytes(),
            segments: state.segments.iter().map(|tier| tier.len() as u64).sum(),
            dropped: state.dropped,
            expired: state.expired,
            damaged: state.damaged,
            left_out: state.left_out,
            full: state.full,
        }
    }

    /// The closed segments of a tier, the oldest first.
    pub fn segments(&self, tier: Tier) -> Vec<Arc<Segment>> {
        self.state.lock().segments[tier.number()].values().cloned().collect()
    }

    /// Segments that count no more. Their files go now, or when nobody reads.
    fn remove(&self, segments: &[Arc<Segment>]) -> Result<(), SegmentError> {
        {
            let mut state = self.state.lock();
            for segment in segments {
                state.segments[segment.meta.tier.number()].remove(&segment.id);
            }
            Tier::ALL.into_iter().for_each(|tier| state.sum_up(tier));
            if state.pins > 0 {
                state.doomed.extend(segments.iter().map(|segment| segment.path.clone()));
                return Ok(());
            }
        }
        let mut all = Ok(());
        for segment in segments {
            match self.files.remove(&segment.path) {
                Err(gone) if gone.kind() == ErrorKind::NotFound => {}
                removed => all = removed.map_err(SegmentError::io("delete a segment")).and(all),
            }
        }
        all
    }
}

impl Drop for Pin<'_> {
    fn drop(&mut self) {
        let doomed = {
            let mut state = self.0.state.lock();
            state.pins -= 1;
            if state.pins > 0 {
                return;
            }
            std::mem::take(&mut state.doomed)
        };
        for path in doomed {
            if let Err(error) = self.0.files.remove(&path) {
                // It comes back with the next start, and goes again.
                warn!(segment = %path.display(), %error, "a segment could not be deleted");
            }
        }
    }
}

impl State {
    fn insert(&mut self, spool: &Spool, windows: Vec<(u64, super::Record)>) {
        if let Some((last, _)) = windows.last() {
            self.heard(spool, *last);
        }
        for (sequence, record) in windows {
            self.memory.insert(Kept { spool: spool.clone(), sequence, record });
        }
    }

    /// Of two segments of one tier, one of which holds all that the other holds, the other one was
    /// replaced, and the process ended before it was deleted.
    fn drop_replaced(&mut self, files: &dyn Files) -> Result<(), SegmentError> {
        for tier in [Tier::Minutes, Tier::Hours] {
            let segments = &mut self.segments[tier.number()];
            let all: Vec<Arc<Segment>> = segments.values().cloned().collect();
            for old in &all {
                let replaced = all.iter().any(|new| {
                    let covers = new.meta.held.covers(&old.meta.held);
                    // Of two that hold the same, the newer one stays.
                    covers
                        && new.id != old.id
                        && (!old.meta.held.covers(&new.meta.held) || new.id > old.id)
                });
                if replaced {
                    segments.remove(&old.id);
                    files
                        .remove(&old.path)
                        .map_err(SegmentError::io("delete a replaced segment"))?;
                }
            }
        }
        Ok(())
    }

    /// How far each spool had come: what the newest segment says, and what windows are held, which
    /// came in order. What is rolled up may be a copy: it counts as far as it follows on.
    fn remember_spools(&mut self) {
        let newest = self.segments[Tier::Windows.number()].values().next_back().cloned();
        let newest: Vec<_> = newest.iter().flat_map(|segment| &segment.meta.spools).collect();
        let mut last: BTreeMap<Spool, u64> = BTreeMap::new();
        let windows = self.held[Tier::Windows.number()].iter();
        let windows = windows.filter_map(|(spool, ranges)| Some((spool, ranges.last()?.1)));
        for (spool, through) in windows.chain(newest.iter().map(|(spool, t)| (spool, *t))) {
            let last = last.entry(spool.clone()).or_default();
            *last = (*last).max(through);
        }
        for (spool, ranges) in self.rolled().iter() {
            let through = last.get(spool).copied().unwrap_or(0);
            if let Some(further) = following(ranges, through) {
                last.insert(spool.clone(), further);
            }
        }
        for (spool, through) in last {
            self.heard(&spool, through);
        }
        // In the order of their last words.
        for (spool, through) in newest {
            self.heard(spool, *through);
        }
    }
}

#[cfg(test)]
mod tests;
