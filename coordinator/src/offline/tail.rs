//! `accept-lost-tail`: a lone member goes on without what its disk lost.

use std::path::PathBuf;
use std::process::ExitCode;

use super::place::Place;
use super::{AcceptLostTail, OfflineError};
use crate::machine::StateMachine;
use crate::raft::fatal;
use crate::raft::log::LogStore as _;
use crate::raft::log::engine::EngineLog;
use crate::raft::recover::{RecoverError, recover};
use crate::store::rows::RowStore as _;
use crate::store::rows::sled::SledRows;
use crate::store::snapshot::SnapshotStore as _;
use crate::store::snapshot::file::FileSnapshots;
use crate::view::View;

/// Runs the tool.
pub fn run(args: &AcceptLostTail) -> Result<ExitCode, OfflineError> {
    let place = Place::take(&args.data_dir)?;
    let (state, last) = accept(&place)?;
    println!(
        "there was state of entry {state} and the log ends at entry {last}. what lay behind it is \
         moved aside; the next start rebuilds the state as of entry {last}"
    );
    Ok(ExitCode::SUCCESS)
}

/// Moves aside what is behind the end of the log. What there was state of, and where the log ends.
fn accept(place: &Place) -> Result<(u64, u64), OfflineError> {
    let identity = place.identity()?.ok_or_else(|| {
        OfflineError::Refused("no member ever ran on this data directory".to_owned())
    })?;
    let mut log = EngineLog::open(&place.path("log"))?;
    let rows = SledRows::open(&place.path("rows"))?;
    let snapshots = FileSnapshots::open(&place.path("snapshots"))?;
    // The start itself says whether it would be refused, and for this reason.
    let mut machine = StateMachine::new(View::default(), Vec::new(), fatal::abort());
    let refused = recover(identity.node_id, None, &mut machine, &mut log, &rows, &snapshots);
    let (state, last) = match refused {
        Err(RecoverError::TailLost { state, last }) => (state, last),
        Err(error @ RecoverError::PromisesLost { .. }) => {
            return Err(OfflineError::Refused(error.to_string()));
        }
        Err(other) => {
            return Err(OfflineError::Refused(format!(
                "the log of this member has not lost its end; what a start says is: {other}"
            )));
        }
        Ok(_) => {
            let why = "the log of this member has not lost its end, it can be started";
            return Err(OfflineError::Refused(why.to_owned()));
        }
    };
    let ids = snapshots.list()?;
    let usable = ids.iter().any(|id| id.index <= last && log.term(id.index).ok() == Some(id.term));
    if !usable {
        return Err(OfflineError::Refused(format!(
            "no snapshot is of entry {last} or before, so nothing is left to start from; restore \
             from a backup"
        )));
    }
    let mut names: Vec<PathBuf> = vec!["rows".into()];
    names.extend(ids.iter().filter(|id| id.index > last).map(|id| snapshots.path(*id)));
    if rows.applied_index()? <= last {
        names.remove(0);
    }
    drop(rows);
    place.set_aside(&names)?;
    Ok((state, last))
}
