//! Rolling up, expiry, and the budget.
//!
//! A roll-up takes closed segments of one tier and writes one segment of the next: key by key, so
//! that memory holds one key of each. It is whole when it is renamed, and from then on its windows
//! count there. What it was made of stays until it is too old.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use parallax_common::limits::HISTORY_ROLL_SEGMENTS_MAX;
use parallax_common::time::{MeshTime, ns};
use tracing::{debug, error, warn};

use super::{Disk, Held, Key, Segment, SegmentError, Tier, Writer, codec};
use crate::history::cell::{Cell, Cells};
use crate::history::files::Reading;
use crate::history::segment::cells::{all_phases, put_cells, take_cells};
use crate::history::segment::reader::Entry;
use crate::history::tier::SLACK;
use crate::raft::fatal::chain;

/// Windows of an hour are rolled up this long after its end, so that most of the hour is in one
/// segment. Later ones are as good, and lie in the next.
const HOUR_SETTLES: Duration = Duration::from_secs(120);
/// The same for the minutes of a day.
const DAY_SETTLES: Duration = Duration::from_secs(2 * 3_600);

impl Disk {
    /// Rolls up what has settled, deletes what is too old, and keeps the budget: each of them
    /// whatever became of those before, but for a failed sync.
    ///
    /// # Errors
    /// When the disk refused one of them. After a failed sync the process must end.
    pub fn maintain(&self, now: MeshTime) -> Result<(), SegmentError> {
        let _one_at_a_time = self.keeper.lock();
        let rolled = self.roll_due(now);
        if rolled.as_ref().is_err_and(SegmentError::is_sync) {
            return rolled;
        }
        // Only what goes makes room, and what cannot be rolled up must not grow without end.
        let expired = self.expire(now);
        if expired.as_ref().is_err_and(SegmentError::is_sync) {
            return expired;
        }
        self.keep_budget().and(expired).and(rolled)
    }

    fn roll_due(&self, now: MeshTime) -> Result<(), SegmentError> {
        for tier in [Tier::Windows, Tier::Minutes] {
            // What is due now; more comes due only with time.
            while self.is_due(tier, now) {
                self.roll(tier)?;
            }
        }
        Ok(())
    }

    fn is_due(&self, tier: Tier, now: MeshTime) -> bool {
        let (unit, settles) = match tier {
            Tier::Windows => (Duration::from_secs(3_600), HOUR_SETTLES),
            Tier::Minutes => (Duration::from_secs(86_400), DAY_SETTLES),
            Tier::Hours => return false,
        };
        let fresh = self.state.lock().fresh(tier);
        let number = |at: MeshTime| at.as_ns().div_euclid(ns(unit));
        let settled = |segment: &Arc<Segment>| number(segment.meta.max_end) < number(now - settles);
        fresh.first().is_some_and(settled) || fresh.len() >= HISTORY_ROLL_SEGMENTS_MAX
    }

    /// Rolls up the oldest segments of a tier that are not. One that cannot be read would hold up all
    /// others for good: it is set aside, and the next try is without it.
    fn roll(&self, tier: Tier) -> Result<(), SegmentError> {
        match self.roll_up(tier) {
            Ok(()) => Ok(()),
            Err(Failed { source: Some(source), error }) if error.is_unreadable() => {
                self.set_aside(&source, &error)
            }
            Err(Failed { error, .. }) => Err(error),
        }
    }

    /// From now on the segment counts as gone. Its file, if there is one, is kept for people.
    fn set_aside(&self, segment: &Segment, error: &SegmentError) -> Result<(), SegmentError> {
        let path = segment.path.display();
        error!(segment = %path, error = chain(error), "a segment of history is set aside");
        {
            let mut state = self.state.lock();
            state.segments[segment.meta.tier.number()].remove(&segment.id);
            state.sum_up(segment.meta.tier);
            state.damaged += 1;
        }
        match self.files.rename(&segment.path, &segment.path.with_extension("damaged")) {
            Err(gone) if gone.kind() == ErrorKind::NotFound => Ok(()),
            renamed => renamed.map_err(SegmentError::io("set a damaged segment aside")),
        }
    }

    fn roll_up(&self, tier: Tier) -> Result<(), Failed> {
        let Some(next) = tier.next() else { return Ok(()) };
        let (mut sources, rolled, id) = {
            let mut state = self.state.lock();
            (state.fresh(tier), state.rolled(), state.take_id())
        };
        sources.truncate(HISTORY_ROLL_SEGMENTS_MAX);
        let mut held = Held::default();
        sources.iter().for_each(|segment| held.extend(&segment.meta.held));
        // Minutes that are in hours are not among the sources; windows may be one by one.
        let without = if tier == Tier::Windows { rolled } else { Held::default() };
        let held = held.minus(&without);
        let all = all_phases();
        let mut cursors = Cursors::open(&sources)?;
        let mut writer = Writer::create(&self.files, &self.dir, next, id)?;
        let mut unreadable = 0;
        while let Some((key, blocks)) = cursors.next_key()? {
            let mut cells = Cells::default();
            for bytes in blocks {
                let added = match tier {
                    Tier::Windows => add_windows(&key, &bytes, &without, &mut cells),
                    Tier::Minutes | Tier::Hours => take_cells(&bytes, &all).map(|taken| {
                        taken.iter().for_each(|cell| cells.add(next, cell));
                        0
                    }),
                };
                unreadable += added.unwrap_or(1);
            }
            write_cells(&mut writer, &key, &cells.into_vec())?;
        }
        unreadable += cursors.damaged;
        let segment = writer.finish(held, Vec::new())?;
        debug!(
            segment = %segment.path.display(),
            from = sources.len(),
            cells = segment.meta.items,
            "rolled up"
        );
        if unreadable > 0 {
            warn!(unreadable, "history that could not be read is not in the roll-up");
        }
        let mut state = self.state.lock();
        state.damaged += unreadable;
        state.add(segment);
        Ok(())
    }

    /// Deletes segments of which everything is too old, and has been rolled up.
    fn expire(&self, now: MeshTime) -> Result<(), SegmentError> {
        let mut expired = Vec::new();
        {
            let mut state = self.state.lock();
            for tier in Tier::ALL {
                let fresh: Vec<u64> = state.fresh(tier).iter().map(|segment| segment.id).collect();
                // The newest segment of windows says how far each spool had come.
                let newest = state.segments[Tier::Windows.number()].keys().next_back().copied();
                let old = state.segments[tier.number()].values().filter(|segment| {
                    segment.meta.max_end + tier.age_max() + SLACK <= now
                        && !fresh.contains(&segment.id)
                        && !(tier == Tier::Windows && newest == Some(segment.id))
                });
                expired.extend(old.cloned());
            }
            state.expired += expired.iter().map(|segment| segment.meta.items).sum::<u64>();
        }
        if expired.is_empty() { Ok(()) } else { self.remove(&expired) }
    }

    fn drop_victim(&self, victim: &Arc<Segment>) -> Result<(), SegmentError> {
        self.state.lock().dropped += victim.meta.items;
        warn!(
            segment = %victim.path.display(),
            items = victim.meta.items,
            "history is larger than it may be: the oldest of the finest tier goes"
        );
        self.remove(std::slice::from_ref(victim))
    }

    /// While there is more than may be, the oldest segment of the finest tier goes: rolled up
    /// first, so that what is coarser keeps it. When that fails, it goes all the same.
    pub(super) fn keep_budget(&self) -> Result<(), SegmentError> {
        loop {
            let (victim, roll) = {
                let state = self.state.lock();
                if state.bytes() <= self.bytes_max {
                    return Ok(());
                }
                let of = |tier: Tier| &state.segments[tier.number()];
                let (windows, minutes) = (of(Tier::Windows), of(Tier::Minutes));
                let oldest = |tier: Tier| {
                    let fresh: Vec<u64> = state.fresh(tier).iter().map(|s| s.id).collect();
                    // The newest segment of windows says how far each spool had come.
                    let stays = windows.keys().next_back().filter(|_| tier == Tier::Windows);
                    let may_go = of(tier)
                        .values()
                        .filter(|it| !fresh.contains(&it.id) && stays != Some(&it.id));
                    // By time: what was copied late may be older than what came first.
                    may_go.min_by_key(|segment| segment.meta.max_end).cloned()
                };
                if windows.len() > 1 {
                    (oldest(Tier::Windows), Some(Tier::Windows))
                } else if !minutes.is_empty() {
                    (oldest(Tier::Minutes), Some(Tier::Minutes))
                } else {
                    (oldest(Tier::Hours), None)
                }
            };
            match (victim, roll) {
                (Some(victim), _) => self.drop_victim(&victim)?,
                (None, Some(tier)) => match self.roll(tier) {
                    // Whoever writes waits for room too: nothing grows meanwhile.
                    Err(failed) if failed.is_sync() || failed.is_full() => return Err(failed),
                    Err(failed) => {
                        let oldest = self.state.lock().fresh(tier).into_iter().next();
                        let Some(victim) = oldest else { return Err(failed) };
                        let error = chain(&failed);
                        warn!(
                            error,
                            "history over its budget could not be rolled up before it goes"
                        );
                        self.drop_victim(&victim)?;
                    }
                    Ok(()) => {}
                },
                (None, None) => return Ok(()),
            }
        }
    }
}

/// Why segments could not be rolled up.
struct Failed {
    /// The one that could not be read.
    source: Option<Arc<Segment>>,
    error: SegmentError,
}

impl From<SegmentError> for Failed {
    fn from(error: SegmentError) -> Self {
        Self { source: None, error }
    }
}

impl Failed {
    fn of(source: &Arc<Segment>) -> impl FnOnce(SegmentError) -> Self {
        let source = Some(Arc::clone(source));
        move |error| Self { source, error }
    }
}

/// Adds a block of windows, less those that are rolled up; how many could not be read.
fn add_windows(
    key: &Key,
    bytes: &[u8],
    without: &Held,
    cells: &mut Cells,
) -> Result<u64, SegmentError> {
    let mut unreadable = 0;
    for kept in codec::take_windows(key, bytes)? {
        if without.contains(&kept.spool, kept.sequence) {
            continue;
        }
        match Cell::of_window(&kept.record.encoded, kept.record.unassigned) {
            Ok(cell) => cells.add(Tier::Minutes, &cell),
            Err(_) => unreadable += 1,
        }
    }
    Ok(unreadable)
}

fn write_cells(writer: &mut Writer, key: &Key, cells: &[Cell]) -> Result<(), SegmentError> {
    let Some(first) = cells.first() else { return Ok(()) };
    let end = cells.iter().map(Cell::end).max().unwrap_or(first.start);
    writer.block(key, &put_cells(cells), cells.len(), (first.start, end))
}

/// The blocks of one key, one of each segment that has one.
type Blocks = Vec<Vec<u8>>;

/// Several segments that are read together, key by key.
struct Cursors {
    sources: Vec<(Arc<Segment>, Box<dyn Reading>)>,
    /// Entries of the present page of each, the next one last, and the page after it.
    pages: Vec<(Vec<Entry>, usize)>,
    /// Key and source of the next entry of each.
    next: BinaryHeap<Reverse<(Key, usize)>>,
    damaged: u64,
}

impl Cursors {
    fn open(segments: &[Arc<Segment>]) -> Result<Self, Failed> {
        let mut cursors =
            Self { sources: Vec::new(), pages: Vec::new(), next: BinaryHeap::new(), damaged: 0 };
        for (source, segment) in segments.iter().enumerate() {
            cursors
                .sources
                .push((Arc::clone(segment), segment.file().map_err(Failed::of(segment))?));
            cursors.pages.push((Vec::new(), 0));
            cursors.advance(source)?;
        }
        Ok(cursors)
    }

    /// Puts the next key of a source among the others. A damaged page is left out.
    fn advance(&mut self, source: usize) -> Result<(), Failed> {
        let (segment, file) = &self.sources[source];
        let (entries, page) = &mut self.pages[source];
        while entries.is_empty() && *page < segment.pages() {
            match segment.page(&**file, *page) {
                Ok(read) => entries.extend(read.into_iter().rev()),
                Err(SegmentError::Damaged(_)) => self.damaged += 1,
                Err(failed) => return Err(Failed::of(segment)(failed)),
            }
            *page += 1;
        }
        if let Some(entry) = entries.last() {
            self.next.push(Reverse((entry.key.clone(), source)));
        }
        Ok(())
    }

    /// The next key, with its block from each source that has one.
    fn next_key(&mut self) -> Result<Option<(Key, Blocks)>, Failed> {
        let Some(Reverse((key, _))) = self.next.peek() else { return Ok(None) };
        let key = key.clone();
        let mut blocks = Vec::new();
        while self.next.peek().is_some_and(|Reverse((next, _))| *next == key) {
            let Some(Reverse((_, source))) = self.next.pop() else { break };
            let (segment, file) = &self.sources[source];
            if let Some(entry) = self.pages[source].0.pop() {
                match segment.block(&**file, &entry) {
                    Ok(bytes) => blocks.push(bytes),
                    Err(SegmentError::Damaged(_)) => self.damaged += 1,
                    Err(failed) => return Err(Failed::of(segment)(failed)),
                }
            }
            self.advance(source)?;
        }
        Ok(Some((key, blocks)))
    }
}
