//! What a start finds on the disk, and how it is put in order.
//!
//! A torn end is cut. Of a damaged segment everything that can still be read is kept: it is written anew
//! without what cannot, and what it was stays beside it for whoever wants to look. A place that the disk
//! refuses to read is damage, too, once it was asked a few times. One segment is in memory at a time.

use std::collections::BTreeMap;
use std::io;

use parallax_common::limits::{
    SPOOL_BAD_PIECES_MAX, SPOOL_DAMAGED_KEPT, SPOOL_PIECE_BYTES, SPOOL_SEGMENT_READ_MAX,
    SPOOL_UNREADABLE_TIMES,
};
use tracing::{error, warn};

use super::super::files::{Files, is_bad, is_full, read_all};
use super::{DAMAGED, END, HEAD_BYTES_MAX, QUIET, UNFINISHED, id_of, name};
use crate::core::spool::cursors::Statement;
use crate::core::spool::disk::Segment;
use crate::core::spool::record::{Record, Rest, decode, encode, salvage, scan};

/// What a start found.
#[derive(Debug, Default)]
pub struct Found {
    /// Every segment that can be read.
    pub segments: Vec<Segment>,
    /// Everything that was written down of readers.
    pub statements: Vec<Statement>,
    /// Nobody was being sent anything, and all that was written down of that could be read.
    pub quiet: bool,
    /// Segments that were damaged.
    pub damaged: u64,
    /// Bytes cut from the ends of segments.
    pub torn: u64,
}

/// Reads what is there: cuts torn ends, mends damaged segments or sets them aside, deletes what was not
/// finished or is told by another segment.
///
/// # Errors
/// When the directory cannot be read or put in order.
pub fn open(files: &dyn Files) -> io::Result<Found> {
    let mut found = Found::default();
    let mut segments = Vec::new();
    for name in files.list()? {
        if name == QUIET {
            found.quiet = true;
        } else if name.ends_with(UNFINISHED) {
            files.remove(&name)?;
        } else if let Some(id) = id_of(&name) {
            segments.push(id);
        }
    }
    segments.sort_unstable();
    let mut ends: BTreeMap<u64, u64> = BTreeMap::new();
    for id in &segments {
        for (other, length) in replaced_by(files, &name(*id))? {
            let end = ends.entry(other).or_insert(length);
            *end = length.min(*end);
        }
    }
    for id in segments {
        match ends.get(&id) {
            Some(0) => files.remove(&name(id))?,
            Some(end) if files.length(&name(id))? > *end => files.cut(&name(id), *end)?,
            _ => {}
        }
        if ends.get(&id) != Some(&0) {
            read_segment(files, &name(id), id, &mut found)?;
        }
    }
    never_merge_twice(&mut found.segments);
    if found.damaged > 0 {
        // What was written down of readers may have been in what is lost.
        found.quiet = false;
        forget_damaged(files)?;
    }
    files.sync_names()?;
    Ok(found)
}

/// What the head of a segment says of others. One that cannot be read says nothing.
fn replaced_by(files: &dyn Files, name: &str) -> io::Result<Vec<(u64, u64)>> {
    let mut bytes = vec![0; HEAD_BYTES_MAX];
    let there = match patiently(|| files.read(name, 0, &mut bytes)) {
        Err(error) if is_bad(&error) => 0,
        there => there?,
    };
    match decode(&bytes[..there]) {
        Some((Record::Head(head), _)) => Ok(head.replaces),
        _ => Ok(Vec::new()),
    }
}

/// Does it again a few times while the disk cannot read.
fn patiently<T>(mut read: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    for _ in 1..SPOOL_UNREADABLE_TIMES {
        match read() {
            Err(error) if is_bad(&error) => {}
            done => return done,
        }
    }
    read()
}

/// All of a segment, and whether a part is missing: zeros are in its place. Of one that is longer than
/// any of ours nothing is read.
pub(super) fn read_what_can_be(files: &dyn Files, name: &str) -> io::Result<(Vec<u8>, bool)> {
    let length = files.length(name)?;
    if length > SPOOL_SEGMENT_READ_MAX {
        return Ok((Vec::new(), true));
    }
    match patiently(|| read_all(files, name)) {
        Err(error) if is_bad(&error) => {}
        read => return Ok((read?, false)),
    }
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
    let (mut at, mut bad) = (0, 0);
    for piece in bytes.chunks_mut(SPOOL_PIECE_BYTES) {
        match files.read(name, at, piece) {
            Ok(_) => {}
            Err(error) if is_bad(&error) => {
                piece.fill(0);
                bad += 1;
            }
            Err(error) => return Err(error),
        }
        if bad == SPOOL_BAD_PIECES_MAX {
            break;
        }
        at += piece.len() as u64;
    }
    Ok((bytes, true))
}

/// What the bytes of a file say.
struct Reading {
    segment: Option<Segment>,
    statements: Vec<Statement>,
    good: usize,
    rest: Rest,
    /// A record where none of its kind may be.
    misplaced: bool,
}

impl Reading {
    fn of(bytes: &[u8], id: u64) -> Self {
        let (mut segment, mut statements, mut misplaced) = (None, Vec::new(), false);
        let (good, rest) = scan(bytes, |record| match (record, &mut segment) {
            (Record::Head(head), None) if head.id == id => segment = Some(Segment::new(&head)),
            (Record::Window { sequence, end, .. }, Some(segment)) => segment.add(sequence, end),
            (Record::Cursors(of), Some(_)) => statements.extend(of),
            _ => misplaced = true,
        });
        Self { segment, statements, good, rest, misplaced }
    }
}

/// Reads one file of a start.
fn read_segment(files: &dyn Files, name: &str, id: u64, found: &mut Found) -> io::Result<()> {
    let (bytes, missing) = read_what_can_be(files, name)?;
    let mut read = Reading::of(&bytes, id);
    let damaged = missing || read.rest == Rest::Damaged;
    if read.misplaced || (read.segment.is_none() && (damaged || read.good > 0)) {
        error!(segment = name, "a spooled segment is damaged and set aside");
        found.damaged += 1;
        aside(files, name);
        return Ok(());
    }
    if damaged {
        error!(segment = name, "a spooled segment is damaged: what cannot be read of it is lost");
        found.damaged += 1;
        match mend(files, name, &bytes) {
            Ok(mended) => read = Reading::of(&mended, id),
            // What is before the damage is there all the same.
            Err(error) => warn!(segment = name, %error, "a damaged segment cannot be mended"),
        }
    }
    let Some(mut segment) = read.segment else {
        // Its first write never ended.
        return files.remove(name);
    };
    if let Rest::Torn(bytes) = read.rest
        && !damaged
    {
        warn!(segment = name, bytes, "the torn end of a spooled segment was cut");
        found.torn += bytes as u64;
        files.cut(name, read.good as u64)?;
    }
    segment.bytes = read.good as u64;
    found.statements.extend(read.statements);
    found.segments.push(segment);
    Ok(())
}

/// Writes a damaged segment anew, with what can be read of it; what it holds now.
fn mend(files: &dyn Files, name: &str, bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    salvage(bytes, |record| encode(&record, &mut out));
    keep_damaged(files, name, bytes);
    let unfinished = name.to_owned() + UNFINISHED;
    let written = write_whole(files, &unfinished, &out).or_else(|error| {
        if !is_full(&error) {
            return Err(error);
        }
        // What can be read is worth more than what is kept for a look.
        files.remove(&damaged(name))?;
        write_whole(files, &unfinished, &out)
    });
    written?;
    files.rename(&unfinished, name)?;
    Ok(out)
}

/// Writes a file that nobody knows yet, and syncs it. When that fails it is deleted.
pub(super) fn write_whole(files: &dyn Files, name: &str, bytes: &[u8]) -> io::Result<()> {
    let write = || {
        let mut file = files.create(name)?;
        file.add(bytes)?;
        file.sync()
    };
    write().inspect_err(|_| {
        let _ = files.remove(name);
    })
}

/// Windows that are in two segments, because a write failed after it was done, must not be merged
/// with others in one of them: the other would then say a part of it again.
fn never_merge_twice(segments: &mut [Segment]) {
    let spans: Vec<_> = segments.iter().map(|of| (of.id, of.life, of.first, of.last)).collect();
    for segment in segments {
        let shares = spans.iter().any(|(id, life, first, last)| {
            let overlap = *first <= segment.last && segment.first <= *last;
            *id != segment.id && *life == segment.life && overlap
        });
        segment.merged |= shares;
    }
}

fn damaged(name: &str) -> String {
    name.trim_end_matches(END).to_owned() + DAMAGED
}

/// Puts a damaged segment out of the way.
pub(super) fn aside(files: &dyn Files, name: &str) {
    if let Err(error) = files.rename(name, &damaged(name)).and_then(|()| files.sync_names()) {
        warn!(segment = name, %error, "a damaged segment cannot be set aside");
    }
}

/// What a damaged segment was, for whoever wants to look; nothing is lost without it.
fn keep_damaged(files: &dyn Files, name: &str, bytes: &[u8]) {
    if let Err(error) = write_whole(files, &damaged(name), bytes) {
        warn!(segment = name, %error, "a damaged segment cannot be kept for a look");
    }
}

/// Damaged segments beyond the newest few are deleted.
pub(super) fn forget_damaged(files: &dyn Files) -> io::Result<()> {
    let mut names = files.list()?;
    names.retain(|name| name.ends_with(DAMAGED));
    names.sort();
    let beyond = names.len().saturating_sub(SPOOL_DAMAGED_KEPT);
    names.iter().take(beyond).try_for_each(|name| files.remove(name))
}
