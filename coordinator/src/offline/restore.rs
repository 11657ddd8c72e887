//! `restore`: a new cluster of one member, from a backup.
//!
//! All of the file is verified before anything is touched. The rows of the backup become a snapshot,
//! and a log that begins behind it; the segments of history become files again. The first start finds
//! them and loads them as after any other. `member.json` is written last: without it there is no
//! start.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use parallax_common::limits::RESTORE_REVISION_GAP;
use parallax_proto::store;
use parallax_runtime::clock;
use raft::eraftpb::{ConfState, HardState};

use super::place::Place;
use super::{OfflineError, Restore};
use crate::core::state::{self, LEVEL, State};
use crate::history::archive::Unpack;
use crate::history::files::System;
use crate::identity::Identity;
use crate::raft::log::LogStore as _;
use crate::raft::log::engine::EngineLog;
use crate::store::backup::{self, BackupError, Item, Summary};
use crate::store::rows::Row;
use crate::store::snapshot::file::FileSnapshots;
use crate::store::snapshot::{Header, SnapshotError, SnapshotId, SnapshotStore as _};

/// The only member of the new cluster.
const NODE_ID: u64 = 1;

/// Runs the tool.
pub fn run(args: &Restore) -> Result<ExitCode, OfflineError> {
    let restored = restore(args)?;
    if let Some(aside) = &restored.aside {
        println!("what was in the data directory is in {}", aside.display());
    }
    let (segments, bytes) = restored.held.history();
    let history = match (segments, restored.from.without_history) {
        (0, true) => "history was left out of it".to_owned(),
        (0, false) => "there was no history yet".to_owned(),
        _ => format!("its history is back, {segments} segments of {bytes} bytes"),
    };
    println!(
        "restored mesh \"{}\" as of revision {} ({} rows) from a backup of {}; {history}.\n\
         the new cluster {} has epoch {}; it has one member, \"{}\", and begins at revision {}.\n\
         start it with --mesh {} --name {}, then let others join with `parallax cluster add`. \
         never start a member of the old cluster again",
        restored.mesh,
        restored.from.revision,
        restored.held.rows,
        utc_text(restored.from.utc_ns),
        restored.cluster_id,
        restored.epoch,
        args.name,
        restored.index,
        restored.mesh,
        args.name,
    );
    Ok(ExitCode::SUCCESS)
}

/// A moment in UTC, as people read it.
pub(super) fn utc_text(ns: i64) -> String {
    let text = jiff::Timestamp::from_nanosecond(i128::from(ns)).map(|at| format!("{at:.0}"));
    text.unwrap_or_else(|_| format!("{ns} ns"))
}

/// What a restore made.
#[derive(Debug)]
pub struct Restored {
    /// The backup's own account.
    pub from: store::BackupHeader,
    /// Where the old content is, when there was any.
    pub aside: Option<PathBuf>,
    /// The mesh.
    pub mesh: String,
    /// Of the new cluster.
    pub cluster_id: String,
    /// Of the new cluster.
    pub epoch: u64,
    /// Where its log begins.
    pub index: u64,
    /// What was in the backup.
    pub held: Summary,
}

/// Restores a backup into a data directory.
///
/// # Errors
/// When the file is not whole, or the directory is in use or not empty.
pub fn restore(args: &Restore) -> Result<Restored, OfflineError> {
    // All of it is read before anything is touched, and read again to be written.
    let (backup::Header(from), held) = backup::verify(&args.file, LEVEL)?;
    let mut state = load(args, from.revision)?;
    if state.cluster.mesh.is_empty() {
        return Err(OfflineError::Refused("the backup holds no cluster".to_owned()));
    }
    std::fs::create_dir_all(&args.data_dir)
        .map_err(OfflineError::io("create the data directory"))?;
    let place = Place::take(&args.data_dir)?;
    let aside = clear(&place, args.force)?;

    let cluster_id = uuid::Uuid::now_v7().to_string();
    let utc = clock::utc();
    let seconds = u64::try_from(utc.as_ns() / 1_000_000_000).unwrap_or(1);
    let member = store::MemberRow {
        node_id: NODE_ID,
        name: args.name.clone(),
        added_utc_ns: utc.as_ns(),
        ..store::MemberRow::default()
    };
    let index = from.revision + RESTORE_REVISION_GAP;
    state.begin_anew(index, cluster_id.clone(), seconds, member);
    let epoch = state.cluster.epoch;

    let id = SnapshotId { index, term: 1 };
    let conf_state = ConfState { voters: vec![NODE_ID], ..ConfState::default() };
    let header = Header { id, conf_state, mesh: from.mesh.clone(), epoch };
    let snapshots = FileSnapshots::open(&place.path("snapshots"))?;
    let (_, content) = backup::read(backup::open(&args.file)?, LEVEL)?;
    let mut content = content.peekable();
    snapshots.write(&header, &mut |sink| {
        let mut written = Ok(());
        state.each_row(&mut |row| {
            if written.is_ok() {
                written = sink(Row { key: row.key, value: row.value });
            }
        });
        written?;
        // Rows come first; what follows them stays where it is.
        while let Some(next) = content.next_if(|next| !matches!(next, Ok(Item::Begin(_)))) {
            let item = next.map_err(|error| SnapshotError::Source(error.to_string()))?;
            match item {
                Item::Row(row) if State::cold(&row.key).is_some() => sink(row)?,
                _ => {}
            }
        }
        Ok(())
    })?;
    unpack(content, &place.path("history"))?;
    let mut log = EngineLog::open(&place.path("log"))?;
    let hard_state = HardState { term: id.term, commit: index, ..HardState::default() };
    log.install(&header.metadata()?, &hard_state)?;
    drop(log);
    place.sync()?;
    let disk_id = uuid::Uuid::now_v7().to_string();
    Identity { node_id: NODE_ID, disk_id, name: args.name.clone(), begun: true }
        .keep(place.dir())?;
    let mesh = from.mesh.clone();
    Ok(Restored { from, aside, mesh, cluster_id, epoch, index, held })
}

/// Makes the segments of history files again.
fn unpack(
    content: impl Iterator<Item = Result<Item, BackupError>>,
    dir: &Path,
) -> Result<(), OfflineError> {
    let mut unpack = Unpack::begin(Arc::new(System), dir)?;
    for item in content {
        match item? {
            Item::Row(_) => {}
            Item::Begin(segment) => unpack.segment(segment)?,
            Item::Piece(piece) => unpack.piece(&piece)?,
            Item::End => unpack.end()?,
        }
    }
    Ok(unpack.finish()?)
}

/// The hot rows of the backup, as the state they are.
fn load(args: &Restore, revision: u64) -> Result<State, OfflineError> {
    let (_, items) = backup::read(backup::open(&args.file)?, LEVEL)?;
    let mut broken = None;
    let hot = items.map_while(|item| match item {
        Ok(Item::Row(row)) => Some(row),
        Ok(_) => None,
        Err(error) => {
            broken = Some(error);
            None
        }
    });
    let hot = hot.filter(|row| State::cold(&row.key).is_none());
    let hot = hot.map(|row| state::Row { key: row.key, value: row.value });
    let state = State::from_rows(hot, revision);
    match broken {
        Some(error) => Err(error.into()),
        None => state.map_err(|error| {
            OfflineError::Refused(format!("the backup cannot be restored by this build: {error}"))
        }),
    }
}

/// Makes room, when it may.
fn clear(place: &Place, force: bool) -> Result<Option<PathBuf>, OfflineError> {
    let failed = || OfflineError::io("list the data directory");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(place.dir()).map_err(failed())? {
        let name = PathBuf::from(entry.map_err(failed())?.file_name());
        let text = name.to_string_lossy();
        if text != "lock" && !text.starts_with("set-aside-") {
            names.push(name);
        }
    }
    if !names.is_empty() && !force {
        return Err(OfflineError::Refused(format!(
            "the data directory {} is not empty; --force moves what is in it aside",
            place.dir().display()
        )));
    }
    place.set_aside(&names)
}
