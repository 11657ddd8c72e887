//! Taking in segments of another member: whole, and only where nothing is counted twice by it.
//!
//! Only minutes and hours are copied. A segment says which windows it holds, so what it shares with
//! this member is known window by window. It is taken when what is here of the same tier is apart
//! from it or wholly in it (then it takes their place: the peer's whole closed range is better than
//! ours with a gap), and when no segment of the other rolled tier holds only a part of it. Else it is
//! left: a gap stays a gap, and is shown as one. Windows that are here one by one do not stand in
//! the way: those in the segment are not rolled up again. Where room is short, what the budget would
//! let go next is not taken.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use parallax_common::time::MeshTime;

use super::{Disk, Held, Segment, SegmentError, State, Tier, sync_dir};
use crate::history::segment::writer::{UNFINISHED, name};

/// One part in so many of the budget is left for what arrives, so that a copy is not dropped for it.
const RESERVE: u64 = 16;

/// What is to become of a segment that another member has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It adds something and can be taken.
    Take,
    /// Everything in it is here or too old, or it would be among the first to go for want of room.
    Needless,
    /// A part of it is here in a form that cannot be taken apart.
    Entangled,
}

/// A segment as another member tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incoming {
    /// Of its cells.
    pub tier: Tier,
    /// Its name.
    pub sha256: [u8; 32],
    /// Its length.
    pub bytes: u64,
    /// End of the latest cell in it.
    pub max_end: MeshTime,
    /// The windows in it.
    pub held: Held,
}

impl State {
    fn judge(&self, incoming: &Incoming, now: MeshTime, bytes_max: u64) -> Verdict {
        let Incoming { tier, held, .. } = incoming;
        let here = &self.held[tier.number()];
        let old = incoming.max_end + tier.age_max() <= now;
        if old || held.is_empty() || *tier == Tier::Windows || here.covers(held) {
            return Verdict::Needless;
        }
        // Else what was dropped for want of room would be copied again and again.
        if self.outlives(incoming).saturating_add(incoming.bytes) > bytes_max - bytes_max / RESERVE
        {
            return Verdict::Needless;
        }
        let same = self.segments[tier.number()].values();
        let apart = |theirs: &Held| !held.overlaps(theirs);
        let fits = match tier {
            Tier::Minutes => {
                let above = &self.held[Tier::Hours.number()];
                apart(above) || above.covers(held)
            }
            Tier::Hours => {
                let mut with = here.as_ref().clone();
                with.extend(held);
                let below = self.segments[Tier::Minutes.number()].values();
                below.map(|segment| &segment.meta.held).all(|b| apart(b) || with.covers(b))
            }
            Tier::Windows => false,
        };
        let replaceable =
            same.map(|segment| &segment.meta.held).all(|mine| apart(mine) || held.covers(mine));
        if fits && replaceable { Verdict::Take } else { Verdict::Entangled }
    }
}

impl State {
    /// Bytes of what the budget would let go only after a segment that comes in: what is coarser, and
    /// what is newer of the same tier; and of what it never lets go.
    fn outlives(&self, incoming: &Incoming) -> u64 {
        let of = |tier: Tier| self.segments[tier.number()].values();
        let longer = Tier::ALL.into_iter().filter(|tier| tier.number() > incoming.tier.number());
        let newer = of(incoming.tier).filter(|mine| {
            mine.meta.max_end >= incoming.max_end && !incoming.held.covers(&mine.meta.held)
        });
        let kept = longer.flat_map(of).chain(newer).chain(of(Tier::Windows).next_back());
        kept.map(|segment| segment.bytes).sum::<u64>() + self.journal_bytes
    }
}

impl Disk {
    /// Whether a segment of another member is to be fetched.
    pub fn judge(&self, incoming: &Incoming, now: MeshTime) -> Verdict {
        self.state.lock().judge(incoming, now, self.bytes_max)
    }

    /// Counts a segment that a member offered and that could not be copied.
    pub fn left_out(&self) {
        self.state.lock().left_out += 1;
    }

    /// Where a segment that is being fetched is put together.
    pub fn fetching(&self, sha256: &[u8; 32]) -> PathBuf {
        let hex: String = sha256.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        self.dir.join(format!("fetched-{hex}{UNFINISHED}"))
    }

    /// How much of a segment that is being fetched is there.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn fetched(&self, path: &Path) -> Result<u64, SegmentError> {
        let length = self.files.open(path).and_then(|file| file.length());
        match length.map_err(SegmentError::io("read a fetched segment")) {
            Err(none) if none.is_gone() => Ok(0),
            length => length,
        }
    }

    /// Puts a piece into its place, and cuts what an earlier attempt may have left behind it.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn fetch(&self, path: &Path, offset: u64, piece: &[u8]) -> Result<(), SegmentError> {
        let there = if offset == 0 { self.files.create(path) } else { self.files.append(path) };
        there
            .and_then(|mut file| file.cut(offset).and_then(|()| file.add(piece)))
            .map_err(SegmentError::io("write a fetched segment"))
    }

    /// Takes in a file that was fetched, if it still may be. The file is gone afterwards.
    ///
    /// # Errors
    /// When it is not the segment that was told of, or the disk refuses.
    pub fn install(
        &self,
        file: &Path,
        incoming: &Incoming,
        now: MeshTime,
    ) -> Result<Verdict, SegmentError> {
        let _one_at_a_time = self.keeper.lock();
        let id = self.state.lock().take_id();
        let path = self.dir.join(name(incoming.tier, id, &incoming.sha256));
        let mut whole =
            self.files.append(file).map_err(SegmentError::io("open a fetched segment"))?;
        whole.sync().map_err(SegmentError::io("sync a fetched segment"))?;
        drop(whole);
        // Under its last name it would be found by a start: looked at before.
        let aside = file.with_file_name(format!(
            "{}{UNFINISHED}",
            path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
        ));
        let rename = SegmentError::io("rename a fetched segment");
        self.files.rename(file, &aside).map_err(rename)?;
        let taken = self.take_in(&aside, &path, incoming, now);
        if !matches!(taken, Ok(Verdict::Take)) {
            let _ = self.files.remove(&aside);
        }
        taken
    }

    fn take_in(
        &self,
        aside: &Path,
        path: &Path,
        incoming: &Incoming,
        now: MeshTime,
    ) -> Result<Verdict, SegmentError> {
        let segment = Segment::open_as(&self.files, aside, path)?;
        segment.verify_at(aside)?;
        let told = segment.meta.held == incoming.held && segment.meta.max_end == incoming.max_end;
        let told = told && segment.bytes == incoming.bytes;
        if !told || segment.meta.tier != incoming.tier {
            return Err(SegmentError::Damaged("it is not the segment that was told of"));
        }
        // Judged again: while it was fetched, something may have been rolled up. Rolling up waits.
        let verdict = self.judge(incoming, now);
        if verdict != Verdict::Take {
            return Ok(verdict);
        }
        let rename = SegmentError::io("rename a fetched segment");
        self.files.rename(aside, path).map_err(rename)?;
        sync_dir(&*self.files, &self.dir)?;
        let replaced: Vec<Arc<Segment>> = {
            let mut state = self.state.lock();
            let same = state.segments[incoming.tier.number()].values();
            let replaced =
                same.filter(|mine| incoming.held.covers(&mine.meta.held)).cloned().collect();
            state.add(segment);
            // What a spool sends again is here now.
            state.follow_on(&incoming.held);
            replaced
        };
        self.remove(&replaced)?;
        // At once: a copy of many segments must not fill the disk before the next pass.
        match self.keep_budget() {
            Err(failed) if failed.is_sync() => Err(failed),
            // The next pass tries it again, and says so.
            Ok(()) | Err(_) => Ok(Verdict::Take),
        }
    }
}
