//! History in a backup: a member's closed segments byte for byte, and back into a directory.
//!
//! [`pieces`] hands them out while the store goes on; whoever reads them holds a
//! [`Pin`](super::disk::Pin), and what is deleted meanwhile stays.
//! [`Unpack`] makes files of them again, which a start finds as if they had always been there, and
//! other members copy them as they copy what this one rolled up itself.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use parallax_common::limits::SEGMENT_PIECE_BYTES;
use parallax_proto::store::BackupSegment;

use super::files::{Files, Writing};
use super::segment::SegmentError;
use super::segment::reader::Segment;
use super::segment::writer::{UNFINISHED, name, sync_dir};
use super::tier::Tier;

/// What a backup says of a segment.
pub fn told(segment: &Segment) -> BackupSegment {
    BackupSegment {
        tier: segment.meta.tier.number() as u32,
        id: segment.id,
        sha256: segment.sha256.to_vec().into(),
        bytes: segment.bytes,
        min_start_mesh_ns: segment.meta.min_start.as_ns(),
        max_end_mesh_ns: segment.meta.max_end.as_ns(),
        items: segment.meta.items,
    }
}

/// The bytes of a segment, a piece at a time; an error is the last one.
///
/// # Errors
/// When it cannot be opened.
pub fn pieces(
    segment: &Segment,
) -> Result<impl Iterator<Item = Result<Bytes, SegmentError>>, SegmentError> {
    let (file, bytes, mut at) = (segment.file()?, segment.bytes, 0);
    Ok(std::iter::from_fn(move || {
        let left = usize::try_from(bytes - at).unwrap_or(usize::MAX);
        if left == 0 {
            return None;
        }
        let mut piece = vec![0; left.min(SEGMENT_PIECE_BYTES)];
        let read = file.read_at(&mut piece, at).map_err(SegmentError::io("read a segment"));
        at = if read.is_ok() { at + piece.len() as u64 } else { bytes };
        Some(read.map(|()| piece.into()))
    }))
}

/// A directory of history that is made of a backup.
#[derive(Debug)]
pub struct Unpack {
    files: Arc<dyn Files>,
    dir: PathBuf,
    open: Option<(BackupSegment, PathBuf, Box<dyn Writing>)>,
}

impl Unpack {
    /// Makes the directory.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn begin(files: Arc<dyn Files>, dir: &Path) -> Result<Self, SegmentError> {
        files.create_dir(dir).map_err(SegmentError::io("create the directory of history"))?;
        Ok(Self { files, dir: dir.to_owned(), open: None })
    }

    /// Begins a segment.
    ///
    /// # Errors
    /// When its file cannot be made.
    pub fn segment(&mut self, segment: BackupSegment) -> Result<(), SegmentError> {
        let path = self.dir.join(format!("{}-{:012}{UNFINISHED}", segment.tier, segment.id));
        let file = self.files.create(&path).map_err(SegmentError::io("create a segment"))?;
        self.open = Some((segment, path, file));
        Ok(())
    }

    /// Adds to it.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn piece(&mut self, piece: &[u8]) -> Result<(), SegmentError> {
        let (.., file) = self.open.as_mut().ok_or(SegmentError::Damaged("a piece of nothing"))?;
        file.add(piece).map_err(SegmentError::io("write a segment"))
    }

    /// Ends it: it has its name, is on the disk, and can be opened.
    ///
    /// # Errors
    /// When it is not the segment that was told of, or the disk refuses.
    pub fn end(&mut self) -> Result<(), SegmentError> {
        let (told_of, unfinished, mut file) =
            self.open.take().ok_or(SegmentError::Damaged("an end of nothing"))?;
        file.sync().map_err(SegmentError::io("sync a segment"))?;
        drop(file);
        let damaged = || SegmentError::Damaged("it is not the segment that was told of");
        let tier = Tier::from_number(told_of.tier.into()).ok_or_else(damaged)?;
        let sha256 = told_of.sha256[..].try_into().map_err(|_| damaged())?;
        let path = self.dir.join(name(tier, told_of.id, &sha256));
        let segment = Segment::open_as(&self.files, &unfinished, &path)?;
        segment.verify_at(&unfinished)?;
        if told(&segment) != told_of {
            return Err(damaged());
        }
        let rename = SegmentError::io("rename a segment");
        self.files.rename(&unfinished, &path).map_err(rename)
    }

    /// Makes all of it durable.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn finish(self) -> Result<(), SegmentError> {
        sync_dir(&*self.files, &self.dir)
    }
}
