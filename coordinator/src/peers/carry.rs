//! Sends one snapshot file to a member, with the message that announces it.
//!
//! The file is opened once and read through the open descriptor: when newer snapshots push it out of
//! the directory meanwhile, its bytes stay. When it is gone before it is opened, the transfer fails,
//! and Raft asks again, for the newest.
//!
//! It is sent unread. When the other end does not want it, it is read here: one that is damaged would be
//! announced and refused for as long as there is no newer one.

use std::io::Read;
use std::sync::Arc;

use parallax_common::limits::SNAPSHOT_PIECE_BYTES;
use parallax_proto::peer::raft_service_client::RaftServiceClient;
use parallax_proto::peer::snapshot_request::Frame;
use parallax_proto::peer::{
    PeerHello, RaftFrame, SnapshotBegin, SnapshotEnd, SnapshotPiece, SnapshotRequest,
};
use raft::eraftpb::Message;
use thiserror::Error;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Status};

use super::frame;
use crate::raft::outbound::Carried;
use crate::store::snapshot::transfer::SnapshotTransfer;
use crate::store::snapshot::{SnapshotError, SnapshotId};

/// Pieces between the file and the stream.
const PIECES_WAITING: usize = 4;

/// Why a snapshot did not arrive.
#[derive(Debug, Error)]
pub(super) enum CarryError {
    #[error("the file could not be read: {0}")]
    Store(#[from] SnapshotError),
    #[error("the file could not be read: {0}")]
    Read(#[from] std::io::Error),
    #[error("the file is not as long as it was when it was opened")]
    Length,
    #[error("the announcing message could not be encoded")]
    Message,
    #[error("{}", .0.message())]
    Status(#[from] Box<Status>),
    #[error("the reading thread is gone")]
    Gone,
    #[error("{why}, and its file is damaged here")]
    Damaged { id: SnapshotId, why: Box<CarryError> },
}

impl CarryError {
    /// What Raft is to be told.
    pub(super) fn carried(&self) -> Carried {
        match self {
            Self::Damaged { id, .. } => Carried::Damaged(*id),
            _ => Carried::Lost,
        }
    }

    /// Whether the file may be to blame.
    fn blames_file(&self) -> bool {
        match self {
            Self::Status(status) => {
                !matches!(status.code(), Code::Unavailable | Code::ResourceExhausted)
            }
            Self::Store(_) | Self::Read(_) | Self::Length => true,
            Self::Message | Self::Gone | Self::Damaged { .. } => false,
        }
    }
}

/// Sends the snapshot that `message` announces. Returns when the other end has it for good, and has
/// handed the message to its Raft node.
pub(super) async fn carry(
    channel: Channel,
    hello: PeerHello,
    message: Message,
    snapshots: Arc<dyn SnapshotTransfer>,
) -> Result<(), CarryError> {
    let metadata = message.get_snapshot().get_metadata();
    let id = SnapshotId { index: metadata.index, term: metadata.term };
    let again = Arc::clone(&snapshots);
    let error = match send(channel, hello, message, id, snapshots).await {
        Ok(()) => return Ok(()),
        Err(error) if error.blames_file() => error,
        Err(error) => return Err(error),
    };
    let verified = tokio::task::spawn_blocking(move || again.verify(id)).await;
    Err(blame(id, error, verified.map_err(|_| CarryError::Gone)?.map(drop)))
}

/// What a transfer failed of, once the file was read again. A sector that cannot be read is as good as one
/// that holds something else; one that is gone is asked for no more.
fn blame(id: SnapshotId, error: CarryError, verified: Result<(), SnapshotError>) -> CarryError {
    match verified {
        Ok(()) | Err(SnapshotError::Missing(_)) => error,
        Err(_) => CarryError::Damaged { id, why: Box::new(error) },
    }
}

async fn send(
    channel: Channel,
    hello: PeerHello,
    message: Message,
    id: SnapshotId,
    snapshots: Arc<dyn SnapshotTransfer>,
) -> Result<(), CarryError> {
    let announced = frame::seal(&message).ok_or(CarryError::Message)?;
    let (frames, receiver) = mpsc::channel(PIECES_WAITING);
    let reading = tokio::task::spawn_blocking(move || {
        read(snapshots.as_ref(), id, hello, announced, &frames)
    });
    let mut client = RaftServiceClient::new(channel);
    let answer = client.snapshot(ReceiverStream::new(receiver)).await;
    // Of two errors the own one is the cause: the stream ended because of it.
    reading.await.map_err(|_| CarryError::Gone)??;
    answer.map_err(Box::new)?;
    Ok(())
}

/// Reads the file into frames. Ok also when nobody wants them any more: then the call has failed.
fn read(
    snapshots: &dyn SnapshotTransfer,
    id: SnapshotId,
    hello: PeerHello,
    message: RaftFrame,
    frames: &mpsc::Sender<SnapshotRequest>,
) -> Result<(), CarryError> {
    let (mut file, bytes) = snapshots.open_bytes(id)?;
    let send = |frame| frames.blocking_send(SnapshotRequest { frame: Some(frame) }).is_ok();
    let begin = SnapshotBegin { message: Some(message), bytes };
    if !send(Frame::Hello(hello)) || !send(Frame::Begin(begin)) {
        return Ok(());
    }
    let mut whole = crc32fast::Hasher::new();
    let mut offset = 0;
    while offset < bytes {
        let length = (bytes - offset).min(SNAPSHOT_PIECE_BYTES as u64) as usize;
        let mut content = vec![0; length];
        file.read_exact(&mut content).map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => CarryError::Length,
            _ => error.into(),
        })?;
        whole.update(&content);
        let checksum = crc32fast::hash(&content);
        if !send(Frame::Piece(SnapshotPiece { offset, content: content.into(), checksum })) {
            return Ok(());
        }
        offset += length as u64;
    }
    send(Frame::End(SnapshotEnd { checksum: whole.finalize() }));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_cannot_be_read_is_as_bad_as_one_that_is_damaged() {
        let id = SnapshotId { index: 7, term: 2 };
        let io = SnapshotError::io("read")(std::io::ErrorKind::Other.into());
        let damaged = SnapshotError::Damaged { id, what: "a checksum".to_owned() };
        let format = SnapshotError::Format { id, format: 9 };
        for (verified, given_up) in [
            (Ok(()), false),
            (Err(SnapshotError::Missing(id)), false),
            (Err(damaged), true),
            (Err(io), true),
            (Err(format), true),
        ] {
            let said = format!("{verified:?}");
            let carried = blame(id, CarryError::Length, verified).carried();
            assert_eq!(matches!(carried, Carried::Damaged(of) if of == id), given_up, "{said}");
        }
    }
}
