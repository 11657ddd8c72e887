//! Backups: a file is made while it is sent, from the state in memory and the cold rows on disk.

use std::io::{self, Write};
use std::sync::Arc;

use bytes::Bytes;
use parallax_common::limits::{BACKUP_PIECE_BYTES, BACKUP_PIECES_WAITING_MAX, BACKUPS_AT_ONCE_MAX};
use parallax_proto::v1::backup_service_server::BackupService;
use parallax_proto::{store, v1};
use parallax_runtime::clock;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};
use tracing::{info, warn};

use super::{Api, Need};
use crate::BUILD;
use crate::core::state::State;
use crate::raft::fatal::chain;
use crate::store::backup;
use crate::store::rows::{Pages, Row};
use crate::store::snapshot::SnapshotError;

/// Backups that are being made on this member.
#[derive(Debug, Clone)]
pub(super) struct Places(Arc<tokio::sync::Semaphore>);

impl Default for Places {
    fn default() -> Self {
        Self(Arc::new(tokio::sync::Semaphore::new(BACKUPS_AT_ONCE_MAX)))
    }
}

#[tonic::async_trait]
impl BackupService for Api {
    type CreateBackupStream = ReceiverStream<Result<v1::CreateBackupResponse, Status>>;

    async fn create_backup(
        &self,
        request: Request<v1::CreateBackupRequest>,
    ) -> Result<Response<Self::CreateBackupStream>, Status> {
        // Everything of every namespace is in it.
        let actor = self.caller(&request, "", Need::Admin)?;
        let place = Arc::clone(&self.inner.backups.0).try_acquire_owned().map_err(|_| {
            Status::resource_exhausted(format!(
                "{BACKUPS_AT_ONCE_MAX} backups are being made by this member, try again later"
            ))
        })?;
        let state = self.read(false).await?;
        if state.cluster.mesh.is_empty() {
            return Err(Status::failed_precondition("the cluster has not begun, nothing is there"));
        }
        let node = self.inner.proposer.node().clone();
        let row = state.members.get(&self.inner.node_id);
        let member = row.map(|row| row.name.clone()).unwrap_or_default();
        let (pieces, stream) = mpsc::channel(BACKUP_PIECES_WAITING_MAX);
        // It ends when its reader goes away, and a stop waits for nobody's disk.
        tokio::task::spawn_blocking(move || {
            let _place = place;
            let made =
                node.wait_stored(state.applied).map_err(|error| error.to_string()).and_then(|()| {
                    let mut out = Pieces { pieces: pieces.clone(), bytes: Vec::new() };
                    let rows = make(&mut out, &state, &member, node.rows().as_ref())
                        .map_err(|error| chain(&error))?;
                    out.flush().map_err(|error| error.to_string())?;
                    Ok(rows)
                });
            match made {
                Ok(rows) => info!(rows, revision = state.applied, by = actor.name, "made a backup"),
                Err(why) => {
                    warn!(%why, by = actor.name, "a backup was not finished");
                    // The reader may be gone; if not, it must not take what it has for a file.
                    let _ = pieces.blocking_send(Err(Status::aborted(why)));
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

/// Writes the backup of a state whose cold rows are all on disk.
pub(crate) fn make(
    out: &mut impl Write,
    state: &State,
    member: &str,
    rows: &dyn crate::store::rows::RowStore,
) -> Result<u64, SnapshotError> {
    let header = store::BackupHeader {
        format: 0,
        mesh: state.cluster.mesh.clone(),
        cluster_id: state.cluster.cluster_id.clone(),
        epoch: state.cluster.epoch,
        revision: state.applied,
        level: state.cluster.level,
        utc_ns: clock::utc().as_ns(),
        build: BUILD.to_owned(),
        member: member.to_owned(),
    };
    backup::write(out, header, &mut |sink| {
        let mut sent = Ok(());
        state.each_row(&mut |row| {
            if sent.is_ok() {
                sent = sink(Row { key: row.key, value: row.value });
            }
        });
        sent?;
        for row in Pages::new(rows) {
            let row = row?;
            if State::cold(&row.key).is_some_and(|written| written <= state.applied) {
                sink(row)?;
            }
        }
        Ok(())
    })
}

/// Cuts what is written into pieces of one size.
struct Pieces {
    pieces: mpsc::Sender<Result<v1::CreateBackupResponse, Status>>,
    bytes: Vec<u8>,
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        if self.bytes.len() >= BACKUP_PIECE_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut rest = Bytes::from(std::mem::take(&mut self.bytes));
        while !rest.is_empty() {
            let content = rest.split_to(rest.len().min(BACKUP_PIECE_BYTES));
            let sent = self.pieces.blocking_send(Ok(v1::CreateBackupResponse { content }));
            sent.map_err(|_| io::Error::new(io::ErrorKind::BrokenPipe, "its reader went away"))?;
        }
        Ok(())
    }
}
