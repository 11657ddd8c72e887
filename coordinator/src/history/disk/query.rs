//! Reading history: what is rolled up, and beside it what is not yet.
//!
//! A question about minutes reads the segments of minutes and the windows that none of them holds;
//! one about hours reads hours, minutes that no hours hold, and windows that neither holds. So
//! every window counts once, whatever was rolled up meanwhile.

use std::sync::Arc;

use parallax_common::name::Uid;
use parallax_common::time::MeshTime;
use tracing::warn;

use super::{Disk, Held, Kept, Key, Memory, Segment, SegmentError, State, Tier, codec};
use crate::history::Question;
use crate::history::cell::Cell;
use crate::history::segment::cells::{all_phases, take_cells};
use crate::history::segment::reader::Entry;

/// What one question reads: taken under the lock, read without it.
struct Sources {
    /// Whole segments of cells.
    cells: Vec<Arc<Segment>>,
    /// Segments of windows, of which those in `rolled` do not count.
    windows: Vec<Arc<Segment>>,
    /// Windows in memory of the check.
    memory: Vec<Kept>,
    rolled: Held,
}

impl State {
    fn memories(&self) -> impl Iterator<Item = &Memory> {
        self.frozen.as_deref().into_iter().chain([&self.memory])
    }

    fn sources(&self, question: &Question) -> Sources {
        let overlaps = |segment: &&Arc<Segment>| {
            segment.meta.min_start < question.to && segment.meta.max_end > question.from
        };
        let of = |tier: Tier| self.segments[tier.number()].values();
        let rolled = match question.tier {
            Tier::Windows => Held::default(),
            Tier::Minutes => self.held[Tier::Minutes.number()].as_ref().clone(),
            Tier::Hours => self.rolled(),
        };
        let cells = match question.tier {
            Tier::Windows => Vec::new(),
            Tier::Minutes => of(Tier::Minutes).filter(overlaps).cloned().collect(),
            Tier::Hours => {
                let hours = of(Tier::Hours).cloned();
                hours.chain(self.fresh(Tier::Minutes)).filter(|s| overlaps(&s)).collect()
            }
        };
        let windows = of(Tier::Windows).filter(overlaps);
        let windows = windows.filter(|segment| !rolled.covers(&segment.meta.held));
        // With nothing rolled up, an empty set covers nothing that holds something.
        let windows = windows.cloned().collect();
        let memory = self
            .memories()
            .flat_map(|memory| memory.windows.range(of_check(question.check)))
            .filter(|(key, _)| key.check == question.check)
            .flat_map(|(_, windows)| windows.iter().cloned())
            .collect();
        Sources { cells, windows, memory, rolled }
    }
}

/// The keys of one check.
fn of_check(check: Uid) -> std::ops::RangeInclusive<Key> {
    // No name of a region is above this.
    let key = |region: &str| Key { check, region: region.into() };
    key("")..=key("\u{10ffff}")
}

impl Disk {
    /// Hands out the cells that begin within the question's range, some of them in parts; nothing
    /// is kept meanwhile but one block. After an error what was handed out is a part.
    ///
    /// # Errors
    /// When the disk refuses, or there is more to read than one question may.
    pub fn cells(
        &self,
        question: &Question,
        each: &mut dyn FnMut(&Arc<str>, &Cell),
    ) -> Result<(), SegmentError> {
        let _stays = self.pin();
        let sources = self.state.lock().sources(question);
        let inside = |cell: &Cell| {
            let (start, _) = cell.place(question.tier);
            start >= question.from && start < question.to
        };
        let mut unreadable = 0;
        let mut left = self.read_bytes_max;
        let mut window = |kept: &Kept, each: &mut dyn FnMut(&Arc<str>, &Cell)| {
            if sources.rolled.contains(&kept.spool, kept.sequence) {
                return;
            }
            match Cell::of_window(&kept.record.encoded, kept.record.unassigned) {
                Ok(cell) if inside(&cell) => each(&kept.spool.region, &cell),
                Ok(_) => {}
                Err(_) => unreadable += 1,
            }
        };
        sources.memory.iter().for_each(|kept| window(kept, each));
        for segment in &sources.windows {
            self.blocks(segment, question, &mut left, |entry, bytes| {
                let windows = codec::take_windows(&entry.key, bytes)?;
                windows.iter().for_each(|kept| window(kept, each));
                Ok(())
            })?;
        }
        for segment in &sources.cells {
            self.blocks(segment, question, &mut left, |entry, bytes| {
                let cells = take_cells(bytes, &question.phases)?;
                let cells = cells.iter().filter(|cell| inside(cell));
                cells.for_each(|cell| each(&entry.key.region, cell));
                Ok(())
            })?;
        }
        self.state.lock().damaged += unreadable;
        Ok(())
    }

    /// The windows of one check in one region that overlap a range, by start.
    ///
    /// # Errors
    /// When the disk refuses, or there is more to read than one question may.
    pub fn read(
        &self,
        check: &Uid,
        region: &str,
        from: MeshTime,
        to: MeshTime,
    ) -> Result<Vec<Kept>, SegmentError> {
        let phases = all_phases();
        let question = Question { check: *check, from, to, tier: Tier::Windows, phases };
        let _stays = self.pin();
        let sources = self.state.lock().sources(&question);
        let (mut found, mut left) = (sources.memory, self.read_bytes_max);
        for segment in &sources.windows {
            self.blocks(segment, &question, &mut left, |entry, bytes| {
                found.extend(codec::take_windows(&entry.key, bytes)?);
                Ok(())
            })?;
        }
        found.retain(|kept| {
            let record = &kept.record;
            *kept.spool.region == *region && record.start < to && record.end > from
        });
        found.sort_by(|a, b| {
            (a.record.start, &a.spool, a.sequence).cmp(&(b.record.start, &b.spool, b.sequence))
        });
        Ok(found)
    }

    /// Reads the question's blocks of one segment, while there is something left of what it may.
    /// What is damaged is left out and counted.
    fn blocks(
        &self,
        segment: &Segment,
        question: &Question,
        left: &mut u64,
        mut each: impl FnMut(&Entry, &[u8]) -> Result<(), SegmentError>,
    ) -> Result<(), SegmentError> {
        let file = segment.file()?;
        let mut read = || {
            for entry in segment.find(&*file, &question.check)? {
                if entry.start < question.to && entry.end > question.from {
                    let more = left.checked_sub(Segment::length(&entry));
                    *left = more.ok_or(SegmentError::TooMuch(self.read_bytes_max))?;
                    each(&entry, &segment.block(&*file, &entry)?)?;
                }
            }
            Ok(())
        };
        match read() {
            Err(SegmentError::Damaged(why)) => {
                warn!(segment = %segment.path.display(), why, "history that cannot be read");
                self.state.lock().damaged += 1;
                Ok(())
            }
            done => done,
        }
    }
}
