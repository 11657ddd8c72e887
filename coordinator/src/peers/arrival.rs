//! Takes one snapshot file from a member: checked piece by piece, verified as a whole, and durable
//! before anybody hears of it.

use std::sync::Arc;

use bytes::Bytes;
use parallax_common::limits::{
    SNAPSHOT_FILE_BYTES_MAX, SNAPSHOT_PIECE_BYTES, SNAPSHOT_PIECE_WITHIN, SNAPSHOTS_IN_MAX,
};
use parallax_proto::peer::snapshot_request::Frame;
use parallax_proto::peer::{SnapshotPiece, SnapshotRequest};
use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tonic::{Status, Streaming};

use crate::raft::fatal::{Fatal, chain};
use crate::store::snapshot::transfer::{Arriving, SnapshotTransfer};
use crate::store::snapshot::{SnapshotError, SnapshotId};

/// Pieces between the stream and the file.
const PIECES_WAITING: usize = 4;

/// Why a snapshot was not taken.
#[derive(Debug, Error)]
pub(super) enum ArrivalError {
    #[error("{SNAPSHOTS_IN_MAX} snapshots are being received already")]
    Busy,
    #[error("the snapshot is not what it was announced to be: {0}")]
    Broken(&'static str),
    #[error("no piece of the snapshot came within {} s", SNAPSHOT_PIECE_WITHIN.as_secs())]
    Slow,
    #[error("the stream of the snapshot broke: {}", .0.message())]
    Stream(Box<Status>),
    #[error(transparent)]
    Store(#[from] SnapshotError),
    #[error("the writing thread is gone")]
    Gone,
}

/// The place where snapshots of others arrive.
#[derive(Clone)]
pub(super) struct Arrivals {
    snapshots: Arc<dyn SnapshotTransfer>,
    places: Arc<Semaphore>,
    fatal: Fatal,
}

impl Arrivals {
    pub(super) fn new(snapshots: Arc<dyn SnapshotTransfer>, fatal: Fatal) -> Self {
        Self { snapshots, places: Arc::new(Semaphore::new(SNAPSHOTS_IN_MAX)), fatal }
    }

    /// Takes a place, if there is one.
    pub(super) fn place(&self) -> Result<OwnedSemaphorePermit, ArrivalError> {
        Arc::clone(&self.places).try_acquire_owned().map_err(|_| ArrivalError::Busy)
    }

    /// Reads the pieces of snapshot `id`, which is `bytes` long, and makes it one of ours.
    pub(super) async fn take(
        &self,
        id: SnapshotId,
        bytes: u64,
        frames: &mut Streaming<SnapshotRequest>,
    ) -> Result<(), ArrivalError> {
        if bytes > SNAPSHOT_FILE_BYTES_MAX {
            return Err(ArrivalError::Broken("it is too large"));
        }
        let (pieces, receiver) = mpsc::channel(PIECES_WAITING);
        let snapshots = Arc::clone(&self.snapshots);
        let writing = tokio::task::spawn_blocking(move || write(snapshots.as_ref(), id, receiver));
        let read = read(bytes, frames, &pieces).await;
        if read.is_ok() {
            // The writer may have failed, which is told below.
            let _ = pieces.send(None).await;
        }
        // Without the last word the writer throws away what it has.
        drop(pieces);
        let written = writing.await.map_err(|_| ArrivalError::Gone)?;
        if let Err(error) = &written
            && error.is_of_sync()
        {
            // Nobody knows what such a disk holds (decision 21).
            (self.fatal)(&chain(error));
        }
        written?;
        read
    }
}

/// Reads pieces until the end, each checked before it is handed on. None is the last word.
async fn read(
    bytes: u64,
    frames: &mut Streaming<SnapshotRequest>,
    pieces: &mpsc::Sender<Option<Bytes>>,
) -> Result<(), ArrivalError> {
    let mut expected = Expected::new(bytes);
    loop {
        let next = tokio::time::timeout(SNAPSHOT_PIECE_WITHIN, frames.message()).await;
        let next = next.map_err(|_| ArrivalError::Slow)?;
        match next.map_err(|status| ArrivalError::Stream(Box::new(status)))? {
            Some(SnapshotRequest { frame: Some(Frame::Piece(piece)) }) => {
                expected.take(&piece).map_err(ArrivalError::Broken)?;
                if pieces.send(Some(piece.content)).await.is_err() {
                    // The writer says why.
                    return Ok(());
                }
            }
            Some(SnapshotRequest { frame: Some(Frame::End(end)) }) => {
                return expected.end(end.checksum).map_err(ArrivalError::Broken);
            }
            Some(_) => return Err(ArrivalError::Broken("a frame of another kind")),
            None => return Err(ArrivalError::Broken("it ends too early")),
        }
    }
}

/// Writes what comes, and keeps it once the last word is said.
fn write(
    snapshots: &dyn SnapshotTransfer,
    id: SnapshotId,
    mut pieces: mpsc::Receiver<Option<Bytes>>,
) -> Result<(), SnapshotError> {
    let mut file: Box<dyn Arriving> = snapshots.receive(id)?;
    while let Some(piece) = pieces.blocking_recv() {
        match piece {
            Some(bytes) => file.write(&bytes)?,
            None => return file.finish(),
        }
    }
    Ok(())
}

/// What must come next.
struct Expected {
    bytes: u64,
    offset: u64,
    whole: crc32fast::Hasher,
}

impl Expected {
    fn new(bytes: u64) -> Self {
        Self { bytes, offset: 0, whole: crc32fast::Hasher::new() }
    }

    fn take(&mut self, piece: &SnapshotPiece) -> Result<(), &'static str> {
        if piece.offset != self.offset {
            return Err("a piece is missing");
        }
        // A full one each time, so that a trickle cannot hold the place for ever.
        let due = (self.bytes - self.offset).min(SNAPSHOT_PIECE_BYTES as u64);
        if due == 0 || piece.content.len() as u64 != due {
            return Err("a piece is too long or too short");
        }
        if crc32fast::hash(&piece.content) != piece.checksum {
            return Err("a piece was damaged on its way");
        }
        self.whole.update(&piece.content);
        self.offset += due;
        Ok(())
    }

    fn end(self, checksum: u32) -> Result<(), &'static str> {
        if self.offset != self.bytes {
            return Err("it ends too early");
        }
        if self.whole.finalize() != checksum {
            return Err("its checksum does not fit");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIECE: u64 = SNAPSHOT_PIECE_BYTES as u64;

    fn piece(offset: u64, length: usize) -> SnapshotPiece {
        let content = Bytes::from(vec![7; length]);
        let checksum = crc32fast::hash(&content);
        SnapshotPiece { offset, content, checksum }
    }

    #[test]
    fn whole_pieces_in_order_and_a_shorter_one_at_the_end() {
        let mut expected = Expected::new(PIECE + 10);
        assert_eq!(expected.take(&piece(0, SNAPSHOT_PIECE_BYTES)), Ok(()));
        assert_eq!(expected.take(&piece(PIECE, 10)), Ok(()));
        assert!(expected.take(&piece(PIECE + 10, 1)).is_err());
        let whole = vec![7; SNAPSHOT_PIECE_BYTES + 10];
        assert_eq!(expected.end(crc32fast::hash(&whole)), Ok(()));
    }

    #[test]
    fn what_is_missing_damaged_or_trickles_is_refused() {
        let begun = || Expected::new(2 * PIECE);
        assert_eq!(begun().take(&piece(0, 1)), Err("a piece is too long or too short"));
        assert_eq!(begun().take(&piece(0, 0)), Err("a piece is too long or too short"));
        let long = piece(0, SNAPSHOT_PIECE_BYTES + 1);
        assert_eq!(begun().take(&long), Err("a piece is too long or too short"));
        let later = piece(PIECE, SNAPSHOT_PIECE_BYTES);
        assert_eq!(begun().take(&later), Err("a piece is missing"));
        let mut damaged = piece(0, SNAPSHOT_PIECE_BYTES);
        damaged.checksum ^= 1;
        assert_eq!(begun().take(&damaged), Err("a piece was damaged on its way"));
        assert_eq!(begun().end(0), Err("it ends too early"));
        assert_eq!(Expected::new(0).end(1), Err("its checksum does not fit"));
        assert_eq!(Expected::new(0).end(0), Ok(()));
    }
}
