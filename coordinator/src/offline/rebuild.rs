//! `rebuild-from-peer`: another member's snapshot takes the place of rows and snapshots; the log,
//! and with it every promise, stays.

use std::path::PathBuf;
use std::process::ExitCode;

use parallax_common::limits::{CALL_ANSWER_WITHIN, SNAPSHOT_FILE_BYTES_MAX};
use parallax_proto::peer::fetch_service_client::FetchServiceClient;
use parallax_proto::peer::fetch_snapshot_response::Part;
use parallax_proto::peer::{FetchSnapshotRequest, FetchSnapshotResponse, PeerHello};
use parallax_runtime::error::causes;
use parallax_runtime::transport::{self, Identity as Certificate};
use raft::eraftpb::HardState;
use tonic::{Status, Streaming};

use super::place::{Place, credentials};
use super::{OfflineError, Rebuild};
use crate::BUILD;
use crate::core::state::LEVEL;
use crate::raft::log::engine::EngineLog;
use crate::raft::log::{LogError, LogStore as _};
use crate::store::rows::sled::SledRows;
use crate::store::rows::{RowError, RowStore as _};
use crate::store::snapshot::file::FileSnapshots;
use crate::store::snapshot::transfer::SnapshotTransfer as _;
use crate::store::snapshot::{SnapshotId, SnapshotStore as _};

const NEW_NODE_ID: &str = "this member cannot come back under its node id, because nobody knows what \
    it has promised to others. remove it from the cluster, move the data directory aside, and let \
    it join anew under a new node id";

/// Runs the tool.
pub fn run(args: &Rebuild) -> Result<ExitCode, OfflineError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(OfflineError::io("start the runtime"))?;
    let (id, aside) = runtime.block_on(rebuild(args))?;
    println!("took over the state of entry {} from {}", id.index, args.peer);
    if let Some(aside) = aside {
        println!("the old rows and snapshots are in {}", aside.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// Fetches the snapshot, and only then makes room for it. Which it is, and where the old files are.
///
/// # Errors
/// When the log is not whole, or the peer gives nothing that it goes on from.
pub async fn rebuild(args: &Rebuild) -> Result<(SnapshotId, Option<PathBuf>), OfflineError> {
    let place = Place::take(&args.data_dir)?;
    let refused = |why: String| OfflineError::Refused(why);
    let identity = place.identity()?.filter(|identity| identity.begun).ok_or_else(|| {
        refused("this data directory holds no member that was in a cluster; use --join".to_owned())
    })?;
    let mut log = EngineLog::open(&place.path("log")).map_err(|error| match error {
        LogError::Damaged { .. } | LogError::Inconsistent(_) => {
            refused(format!("{error}. {NEW_NODE_ID}"))
        }
        error => error.into(),
    })?;
    if log.last_index() == 0 {
        return Err(refused(format!("the raft log is empty: {NEW_NODE_ID}")));
    }
    refuse_lost_tail(&place, log.last_index())?;

    let credentials = credentials(&args.tls_dir)?;
    let mesh = match credentials.identity() {
        Certificate::Coordinator { mesh, name } if *name == identity.name => mesh.clone(),
        other => {
            return Err(refused(format!(
                "the certificate is {}, and the data directory that of coordinator \"{}\"",
                other.describe(),
                identity.name
            )));
        }
    };
    let hello = PeerHello {
        mesh,
        node_id: identity.node_id,
        disk_id: identity.disk_id,
        build: BUILD.to_owned(),
        level: LEVEL,
        ..PeerHello::default()
    };
    let targets = [args.peer.clone()];
    let channel = transport::connect(&targets, &credentials, None)
        .await
        .map_err(|error| refused(format!("{} cannot be reached: {}", args.peer, causes(&error))))?;
    let told = |status: Status| refused(format!("{} says: {}", args.peer, status.message()));
    let request = FetchSnapshotRequest { hello: Some(hello), index_min: log.start().index };
    let mut stream =
        FetchServiceClient::new(channel).fetch_snapshot(request).await.map_err(told)?.into_inner();
    let first = next(&mut stream).await.map_err(told)?;
    let Some(Part::Begin(begin)) = first else {
        return Err(refused(format!("{} sends no snapshot", args.peer)));
    };
    if begin.bytes > SNAPSHOT_FILE_BYTES_MAX || begin.index < log.start().index {
        return Err(refused(format!("{} sends what was not asked for", args.peer)));
    }
    let id = SnapshotId { index: begin.index, term: begin.term };

    // Into a store of its own: nothing is moved before the whole file is here and verified.
    let fetched_dir = place.path("fetched");
    let fetched = FileSnapshots::open(&fetched_dir)?;
    let mut arriving = fetched.receive(id)?;
    let mut bytes = 0;
    while let Some(part) = next(&mut stream).await.map_err(told)? {
        let Part::Content(content) = part else {
            return Err(refused(format!("{} sends two snapshots", args.peer)));
        };
        bytes += content.len() as u64;
        if bytes > begin.bytes {
            return Err(refused(format!("{} sends more than it said", args.peer)));
        }
        arriving.write(&content)?;
    }
    arriving.finish()?;
    let header = fetched.verify(id)?;

    let snapshots = FileSnapshots::open(&place.path("snapshots"))?;
    let mut names: Vec<PathBuf> = vec!["rows".into()];
    names.extend(snapshots.list()?.into_iter().map(|old| snapshots.path(old)));
    // Last: it keeps the member from starting with what is replaced.
    names.push(crate::run::DIFFERS_FILE.into());
    let aside = place.set_aside(&names)?;
    std::fs::rename(fetched.path(id), snapshots.path(id))
        .map_err(OfflineError::io("move the snapshot to its place"))?;
    std::fs::remove_dir_all(&fetched_dir).map_err(OfflineError::io("delete a directory"))?;
    std::fs::File::open(place.path("snapshots"))
        .and_then(|dir| dir.sync_all())
        .map_err(OfflineError::io("sync the snapshots' directory"))?;
    place.sync()?;
    if log.term(id.index).ok() != Some(id.term) {
        // The snapshot is ahead of the log, or of another history than its uncommitted end. All
        // that it covers was committed, so nothing that was promised is forgotten; the vote stays.
        let old = log.hard_state().clone();
        let hard_state = HardState {
            vote: if id.term > old.term { 0 } else { old.vote },
            term: old.term.max(id.term),
            commit: id.index,
            ..HardState::default()
        };
        log.install(&header.metadata()?, &hard_state)?;
    }
    Ok((id, aside))
}

async fn next(stream: &mut Streaming<FetchSnapshotResponse>) -> Result<Option<Part>, Status> {
    let next = tokio::time::timeout(CALL_ANSWER_WITHIN, stream.message()).await;
    let next = next.map_err(|_| Status::deadline_exceeded("nothing came for a minute"))??;
    Ok(next.and_then(|next| next.part))
}

/// Rows behind the log's end prove that it lost entries which others count on.
fn refuse_lost_tail(place: &Place, last: u64) -> Result<(), OfflineError> {
    if !place.path("rows").exists() {
        return Ok(());
    }
    let applied = match SledRows::open(&place.path("rows")) {
        Ok(rows) => rows.applied_index(),
        Err(error) => Err(error),
    };
    match applied {
        Ok(applied) if applied > last => Err(OfflineError::Refused(format!(
            "there is state of entry {applied}, but the raft log ends at entry {last}: \
             {NEW_NODE_ID}"
        ))),
        Err(RowError::Busy) => Err(RowError::Busy.into()),
        // What cannot be read is what is to be replaced.
        Ok(_) | Err(_) => Ok(()),
    }
}
