//! A member that does not run asks for a snapshot, to rebuild its state from
//! ([`crate::offline::rebuild`]). It is let in as if it ran.

use std::io::Read;
use std::sync::Arc;

use bytes::Bytes;
use parallax_common::limits::{SNAPSHOT_PIECE_BYTES, SNAPSHOTS_OUT_MAX};
use parallax_proto::peer::fetch_service_server::{FetchService, FetchServiceServer};
use parallax_proto::peer::fetch_snapshot_response::Part;
use parallax_proto::peer::{FetchSnapshotRequest, FetchSnapshotResponse, FetchedSnapshot};
use parallax_runtime::transport::peer_of;
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};
use tracing::{info, warn};

use super::gate::Gate;
use crate::raft::fatal::chain;
use crate::store::snapshot::transfer::{Outgoing, SnapshotTransfer};

/// Pieces that are read ahead of the line.
const PIECES_WAITING: usize = 4;

type Answer = Result<FetchSnapshotResponse, Status>;

/// Gives snapshots to members that do not run.
pub struct Fetches {
    gate: Gate,
    snapshots: Arc<dyn SnapshotTransfer>,
    places: Arc<Semaphore>,
}

impl Fetches {
    /// Snapshots of this store, for whom the gate lets in.
    pub fn new(gate: Gate, snapshots: Arc<dyn SnapshotTransfer>) -> Self {
        Self { gate, snapshots, places: Arc::new(Semaphore::new(SNAPSHOTS_OUT_MAX)) }
    }

    /// For the peer listener.
    pub fn into_service(self) -> FetchServiceServer<Self> {
        FetchServiceServer::new(self)
    }
}

#[tonic::async_trait]
impl FetchService for Fetches {
    type FetchSnapshotStream = ReceiverStream<Answer>;

    async fn fetch_snapshot(
        &self,
        request: Request<FetchSnapshotRequest>,
    ) -> Result<Response<Self::FetchSnapshotStream>, Status> {
        let identity = peer_of(&request)?.identity.clone();
        let asked = request.into_inner();
        let mut hello = asked.hello.unwrap_or_default();
        if hello.to_node_id == 0 {
            // It was told an address by a person, who means whoever answers there.
            hello.to_node_id = self.gate.node_id();
        }
        let admitted = self.gate.admit_member(&identity, &hello)?;
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| {
            Status::resource_exhausted("this member sends as many snapshots as it may, try again")
        })?;
        let internal =
            |error: crate::store::snapshot::SnapshotError| Status::internal(chain(&error));
        let newest = self.snapshots.list().map_err(internal)?.pop();
        let Some(id) = newest.filter(|id| id.index >= asked.index_min) else {
            return Err(Status::failed_precondition(format!(
                "the newest snapshot here is of index {}, and the log that asks begins behind \
                 {}: ask another member, or later",
                newest.map_or(0, |id| id.index),
                asked.index_min
            )));
        };
        let (file, bytes) = self.snapshots.open_bytes(id).map_err(internal)?;
        let (pieces, stream) = mpsc::channel(PIECES_WAITING);
        let name = admitted.name;
        tokio::task::spawn_blocking(move || {
            let _place = place;
            let begin = FetchedSnapshot { index: id.index, term: id.term, bytes };
            match send(&pieces, begin, (file, bytes)) {
                Ok(()) => info!(to = name, index = id.index, bytes, "gave a snapshot away"),
                Err(error) => {
                    warn!(to = name, %error, "a snapshot could not be given away");
                    let _ = pieces.blocking_send(Err(Status::aborted(error.to_string())));
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

fn send(
    pieces: &mpsc::Sender<Answer>,
    begin: FetchedSnapshot,
    (mut file, bytes): Outgoing,
) -> std::io::Result<()> {
    let send = |part| {
        let sent = pieces.blocking_send(Ok(FetchSnapshotResponse { part: Some(part) }));
        sent.map_err(|_| std::io::Error::other("its reader went away"))
    };
    send(Part::Begin(begin))?;
    let mut left = bytes;
    while left > 0 {
        let length = left.min(SNAPSHOT_PIECE_BYTES as u64);
        let mut content = vec![0; length as usize];
        file.read_exact(&mut content)?;
        send(Part::Content(Bytes::from(content)))?;
        left -= length;
    }
    Ok(())
}
