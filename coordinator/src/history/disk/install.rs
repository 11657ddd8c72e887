//! Taking in segments of another member: whole, and only where nothing is counted twice by it.
//!
//! Only minutes and hours are copied. A segment says which windows it holds, so what it shares with
//! this member is known window by window. It is taken when what is here of the same tier is apart
//! from it or wholly in it (then it takes their place: the peer's whole closed range is better than
//! ours with a gap), and when no segment of the other rolled tier holds only a part of it. Else it is
//! left: a gap stays a gap, and is shown as one. Windows that are here one by one do not stand in
//! the way: those in the segment are not rolled up again.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parallax_common::time::MeshTime;

use super::{Disk, Held, Segment, SegmentError, State, Tier, sync_dir};
use crate::history::segment::writer::{UNFINISHED, name};

/// What is to become of a segment that another member has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It adds something and can be taken.
    Take,
    /// Everything in it is here, or too old.
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
    /// End of the latest cell in it.
    pub max_end: MeshTime,
    /// The windows in it.
    pub held: Held,
}

impl State {
    fn judge(&self, incoming: &Incoming, now: MeshTime) -> Verdict {
        let Incoming { tier, held, .. } = incoming;
        let here = &self.held[tier.number()];
        let old = incoming.max_end + tier.age_max() <= now;
        if old || held.is_empty() || *tier == Tier::Windows || here.covers(held) {
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

impl Disk {
    /// Whether a segment of another member is to be fetched.
    pub fn judge(&self, incoming: &Incoming, now: MeshTime) -> Verdict {
        self.state.lock().judge(incoming, now)
    }

    /// Where a segment that is being fetched is put together.
    pub fn fetching(&self, sha256: &[u8; 32]) -> PathBuf {
        let hex: String = sha256.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        self.dir.join(format!("fetched-{hex}{UNFINISHED}"))
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
        fs::File::open(file)
            .and_then(|file| file.sync_all())
            .map_err(SegmentError::io("sync a fetched segment"))?;
        // Under its last name it would be found by a start: looked at before.
        let aside = file.with_file_name(format!(
            "{}{UNFINISHED}",
            path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
        ));
        fs::rename(file, &aside).map_err(SegmentError::io("rename a fetched segment"))?;
        let taken = self.take_in(&aside, &path, incoming, now);
        if !matches!(taken, Ok(Verdict::Take)) {
            let _ = fs::remove_file(&aside);
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
        let segment = Segment::open_as(aside, path)?;
        segment.verify_at(aside)?;
        let told = segment.meta.held == incoming.held && segment.meta.max_end == incoming.max_end;
        if !told || segment.meta.tier != incoming.tier {
            return Err(SegmentError::Damaged("it is not the segment that was told of"));
        }
        // Judged again: while it was fetched, something may have been rolled up. Rolling up waits.
        let verdict = self.judge(incoming, now);
        if verdict != Verdict::Take {
            return Ok(verdict);
        }
        fs::rename(aside, path).map_err(SegmentError::io("rename a fetched segment"))?;
        sync_dir(&self.dir)?;
        let replaced: Vec<Arc<Segment>> = {
            let mut state = self.state.lock();
            let same = state.segments[incoming.tier.number()].values();
            let replaced =
                same.filter(|mine| incoming.held.covers(&mine.meta.held)).cloned().collect();
            for (spool, ranges) in incoming.held.iter() {
                // What a spool sends again is here now.
                let last = ranges.last().map_or(0, |range| range.1);
                state.heard(spool, last);
            }
            state.add(segment);
            replaced
        };
        self.remove(&replaced)?;
        Ok(Verdict::Take)
    }
}
