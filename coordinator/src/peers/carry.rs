//! Sends one snapshot file to a member, with the message that announces it.
//!
//! The file is opened once and read through the open descriptor: when newer snapshots push it out of
//! the directory meanwhile, its bytes stay. When it is gone before it is opened, the transfer fails,
//! and Raft asks again, for the newest.

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
use tonic::Status;
use tonic::transport::Channel;

use super::frame;
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
