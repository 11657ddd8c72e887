//! Backups: a file is made while it is sent, from the state in memory, the cold rows on disk, and the
//! closed segments of this member's history.

use std::cell::Cell;
use std::io::{self, Write};
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use parallax_common::limits::{
    BACKUP_PIECE_BYTES, BACKUP_PIECES_WAITING_MAX, BACKUP_STALLED_MAX, BACKUPS_AT_ONCE_MAX,
};
use parallax_proto::v1::backup_service_server::BackupService;
use parallax_proto::{store, v1};
use parallax_runtime::clock;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::SendTimeoutError;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};
use tracing::{info, warn};

use super::{Api, Need};
use crate::BUILD;
use crate::core::state::State;
use crate::history::archive;
use crate::history::disk::Disk;
use crate::history::segment::reader::Segment;
use crate::history::tier::Tier;
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
        let without_history = request.get_ref().without_history;
        let place = Arc::clone(&self.inner.backups.0).try_acquire_owned().map_err(|_| {
            Status::resource_exhausted(format!(
                "{BACKUPS_AT_ONCE_MAX} backups are being made by this member, try again later"
            ))
        })?;
        let state = self.read(false).await?;
        if state.cluster.mesh.is_empty() {
            return Err(Status::failed_precondition("the cluster has not begun, nothing is there"));
        }
        let history = self.inner.history.on_disk().filter(|_| !without_history);
        if let Some(history) = &history {
            // What is in no segment yet becomes one: so nothing is missing of the last minute.
            history.settle().await;
        }
        let node = self.inner.proposer.node().clone();
        let row = state.members.get(&self.inner.node_id);
        let member = row.map(|row| row.name.clone()).unwrap_or_default();
        let (pieces, stream) = mpsc::channel(BACKUP_PIECES_WAITING_MAX);
        let runtime = Handle::current();
        // It ends when its reader goes away, and a stop waits for nobody's disk.
        tokio::task::spawn_blocking(move || {
            let _place = place;
            let made =
                node.wait_stored(state.applied).map_err(|error| error.to_string()).and_then(|()| {
                    let told = Rc::new(Told::default());
                    let (bytes, to) = (Vec::new(), pieces.clone());
                    let mut out = Pieces { to, bytes, runtime, told: Rc::clone(&told) };
                    let disk = history.as_ref().map(|history| &**history.disk());
                    let rows = make(&mut out, &state, &member, node.rows().as_ref(), disk, &told)
                        .map_err(|error| chain(&error))?;
                    out.flush().map_err(|error| error.to_string())?;
                    Ok(rows)
                });
            match made {
                Ok(rows) => info!(rows, revision = state.applied, by = actor.name, "made a backup"),
                Err(why) => {
                    warn!(%why, by = actor.name, "a backup was not finished");
                    // The reader may be gone; if not, it must not take what it has for a file.
                    let _ = pieces.try_send(Err(Status::aborted(why)));
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

/// What is told while a backup is made, beside its bytes.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// Segments of history that will be in it, and their bytes.
    history: Cell<(u64, u64)>,
    /// Sections that were begun.
    sections: Cell<u64>,
}

/// Writes the backup of a state whose cold rows are all on disk, and of the closed segments of
/// history; without them when there is no disk. How many rows there were.
pub(crate) fn make(
    out: &mut impl Write,
    state: &State,
    member: &str,
    rows: &dyn crate::store::rows::RowStore,
    history: Option<&Disk>,
    told: &Told,
) -> Result<u64, SnapshotError> {
    // None of them goes before it is read.
    let _stay = history.map(Disk::pin);
    let segments: Vec<Arc<Segment>> = history
        .into_iter()
        .flat_map(|disk| Tier::ALL.into_iter().flat_map(|tier| disk.segments(tier)))
        .collect();
    let history_bytes = segments.iter().map(|segment| segment.bytes).sum();
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
        history_segments: segments.len() as u64,
        history_bytes,
        without_history: history.is_none(),
    };
    told.history.set((segments.len() as u64, history_bytes));
    told.sections.set(1);
    let mut writer = backup::Writer::begin(out, header)?;
    writer.rows(&mut |sink| {
        let mut sent = Ok(());
        state.each_row(&mut |row| {
            if sent.is_ok() && !State::is_secret(&row.key) {
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
    })?;
    for segment in &segments {
        told.sections.update(|sections| sections + 1);
        writer.segment(archive::told(segment), &mut |put| {
            archive::pieces(segment)?.try_for_each(|piece| put(piece?))
        })?;
    }
    writer.end()
}

/// Cuts what is written into pieces of one size.
struct Pieces {
    to: mpsc::Sender<Result<v1::CreateBackupResponse, Status>>,
    bytes: Vec<u8>,
    runtime: Handle,
    told: Rc<Told>,
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
        let (history_segments, history_bytes) = self.told.history.get();
        while !rest.is_empty() {
            let content = rest.split_to(rest.len().min(BACKUP_PIECE_BYTES));
            let sections = self.told.sections.get();
            let piece =
                v1::CreateBackupResponse { content, history_bytes, history_segments, sections };
            // While it is made nothing that it is made of is deleted: a reader that sleeps is left.
            let sent = self.runtime.block_on(self.to.send_timeout(Ok(piece), BACKUP_STALLED_MAX));
            sent.map_err(|error| match error {
                SendTimeoutError::Timeout(_) => {
                    io::Error::new(io::ErrorKind::TimedOut, "its reader takes nothing")
                }
                SendTimeoutError::Closed(_) => {
                    io::Error::new(io::ErrorKind::BrokenPipe, "its reader went away")
                }
            })?;
        }
        Ok(())
    }
}
