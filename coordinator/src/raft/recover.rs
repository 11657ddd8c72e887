//! How a start finds its state: the newest rows when they can be trusted, else a snapshot, and the
//! log for the rest.
//!
//! The log is the truth. Rows are trusted when they are of an index that the log reaches from and
//! to; on any doubt they are rebuilt from a snapshot, and the log is applied again behind it.

use bytes::Bytes;
use parallax_common::limits;
use protobuf::Message as _;
use raft::eraftpb::{ConfState, HardState};
use thiserror::Error;
use tracing::{error, info, warn};

use super::log::{LogError, LogStore};
use super::machine::{LoadError, Machine};
use crate::store::rows::{RESERVED, Row, RowChange, RowError, RowStore};
use crate::store::snapshot::{Header, SnapshotError, SnapshotId, SnapshotStore};

/// The row that says who votes, as of the applied index. The store's own, not the machine's.
const CONF_STATE: &[u8] = &[RESERVED, b'c'];
/// A cluster begins with an empty snapshot at this index, so that whoever joins needs one.
const FIRST: SnapshotId = SnapshotId { index: 1, term: 1 };

/// Where a start found itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Recovered {
    /// The machine holds the state at this index.
    pub applied: u64,
    /// Who votes there.
    pub conf_state: ConfState,
    /// Why the rows were rebuilt; none when they were not.
    pub rebuilt: Option<String>,
}

/// Why a member cannot start.
#[derive(Debug, Error)]
pub enum RecoverError {
    /// There is state, and no log that it could come from.
    #[error(
        "the raft log is empty but there is state of index {0}: the log was lost. to recover, move \
         the data directory aside, then restore from a backup, or let this member join anew"
    )]
    LogLost(u64),
    /// Nothing that the log could go on from can be read.
    #[error(
        "the rows cannot be trusted ({doubt}) and no snapshot can stand for them: {tried}. to \
         recover, restore from a backup, or let this member join anew"
    )]
    NoSnapshot {
        /// What is wrong with the rows.
        doubt: String,
        /// What is wrong with each snapshot.
        tried: String,
    },
    /// The log's own account of itself does not fit.
    #[error("the log ends at entry {last}, but entry {commit} was committed: its end was lost")]
    CommitLost {
        /// The last entry.
        last: u64,
        /// What the hard state says.
        commit: u64,
    },
    /// The log could not be read or written.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The rows could not be read or written.
    #[error(transparent)]
    Rows(#[from] RowError),
    /// The first snapshot could not be written.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
}

/// The change that records who votes.
pub(super) fn conf_change_row(conf_state: &ConfState) -> RowChange {
    let row = conf_row(conf_state);
    RowChange { key: row.key, value: Some(row.value) }
}

fn conf_row(conf_state: &ConfState) -> Row {
    // Encoding integers into memory cannot fail.
    let value = conf_state.write_to_bytes().unwrap_or_default();
    Row { key: Bytes::from_static(CONF_STATE), value: value.into() }
}

/// Begins a cluster when the log is new and `bootstrap` names its voters, and loads the machine.
pub fn recover<M: Machine, L: LogStore>(
    bootstrap: Option<&[u64]>,
    machine: &mut M,
    log: &mut L,
    rows: &dyn RowStore,
    snapshots: &dyn SnapshotStore,
) -> Result<Recovered, RecoverError> {
    if log.last_index() == 0 {
        begin(bootstrap, log, rows, snapshots)?;
    }
    let (commit, last) = (log.hard_state().commit, log.last_index());
    if commit > last {
        return Err(RecoverError::CommitLost { last, commit });
    }
    if last == 0 {
        // This member waits to be let into a cluster; the leader will send it a snapshot.
        let empty = machine.load(Vec::new(), 0);
        empty.map_err(|LoadError(tried)| RecoverError::NoSnapshot {
            doubt: "there are none".to_owned(),
            tried,
        })?;
        return Ok(Recovered { applied: 0, conf_state: ConfState::default(), rebuilt: None });
    }
    match from_rows(machine, log, rows)? {
        Ok(recovered) => {
            shrink(rows, recovered.applied)?;
            Ok(recovered)
        }
        Err(doubt) => from_snapshot(doubt, machine, log, rows, snapshots),
    }
}

/// The first start of a cluster. Every step can be repeated until the log says that it was done.
fn begin<L: LogStore>(
    bootstrap: Option<&[u64]>,
    log: &mut L,
    rows: &dyn RowStore,
    snapshots: &dyn SnapshotStore,
) -> Result<(), RecoverError> {
    let newest = snapshots.list()?.last().map_or(0, |id| id.index);
    let state = rows.applied_index()?.max(newest);
    if state > FIRST.index {
        return Err(RecoverError::LogLost(state));
    }
    let Some(voters) = bootstrap else { return Ok(()) };
    let conf_state = ConfState { voters: voters.to_vec(), ..ConfState::default() };
    let header = Header { id: FIRST, conf_state, mesh: String::new(), epoch: 0 };
    snapshots.write(&header, &[])?;
    let hard_state = HardState { term: FIRST.term, commit: FIRST.index, ..HardState::default() };
    log.install(&header.metadata()?, &hard_state)?;
    info!(?voters, "began a new cluster");
    Ok(())
}

/// Loads the machine from the rows, or says why they cannot be trusted.
fn from_rows<M: Machine, L: LogStore>(
    machine: &mut M,
    log: &L,
    rows: &dyn RowStore,
) -> Result<Result<Recovered, String>, RecoverError> {
    let applied = rows.applied_index()?;
    let (start, last) = (log.start().index, log.last_index());
    if applied == 0 {
        return Ok(Err("there are none".to_owned()));
    }
    if applied > last {
        return Ok(Err(format!("they are of index {applied}, the log ends at {last}")));
    }
    if applied < start {
        return Ok(Err(format!("they are of index {applied}, the log begins behind {start}")));
    }
    let mut hot = Vec::new();
    let mut conf_state = None;
    let loaded = rows.load(&mut |row| {
        if row.key.first() == Some(&RESERVED) {
            if row.key == CONF_STATE {
                conf_state = Some(row.value);
            }
        } else if M::cold(&row.key).is_none() {
            hot.push(row);
        }
    });
    match loaded {
        Ok(()) => {}
        Err(error) if error.is_damage() => return Ok(Err(super::fatal::chain(&error))),
        Err(error) => return Err(error.into()),
    }
    let mut voters = ConfState::default();
    if conf_state.is_none_or(|bytes| voters.merge_from_bytes(&bytes).is_err()) {
        return Ok(Err("they do not say who votes".to_owned()));
    }
    Ok(match machine.load(hot, applied) {
        Ok(()) => Ok(Recovered { applied, conf_state: voters, rebuilt: None }),
        Err(error) => Err(error.to_string()),
    })
}

/// Rebuilds rows and machine from the newest snapshot that the log goes on from.
fn from_snapshot<M: Machine, L: LogStore>(
    doubt: String,
    machine: &mut M,
    log: &L,
    rows: &dyn RowStore,
    snapshots: &dyn SnapshotStore,
) -> Result<Recovered, RecoverError> {
    let mut tried = Vec::new();
    for id in snapshots.list()?.into_iter().rev() {
        let index = id.index;
        match log.term(index) {
            Ok(term) if term == id.term => {}
            Ok(term) => {
                tried.push(format!("{index}: of term {}, the log's entry of {term}", id.term));
                continue;
            }
            Err(error) => {
                tried.push(format!("{index}: {error}"));
                continue;
            }
        }
        let (header, content) = match snapshots.read(id) {
            Ok(read) => read,
            Err(error) => {
                error!(index, error = %super::fatal::chain(&error), "a snapshot cannot be read");
                tried.push(format!("{index}: {error}"));
                continue;
            }
        };
        let hot = content.iter().filter(|row| M::cold(&row.key).is_none()).cloned().collect();
        if let Err(error) = machine.load(hot, index) {
            tried.push(format!("{index}: {error}"));
            continue;
        }
        // A new cluster and a new store have none on the first day; that is no doubt.
        if id != FIRST {
            warn!(%doubt, snapshot = index, "rebuilding the rows from a snapshot and the log");
        }
        let conf = std::iter::once(conf_row(&header.conf_state));
        rows.replace(&mut conf.chain(content), index)?;
        let conf_state = header.conf_state;
        return Ok(Recovered { applied: index, conf_state, rebuilt: Some(doubt) });
    }
    if tried.is_empty() {
        tried.push("there is none".to_owned());
    }
    Err(RecoverError::NoSnapshot { doubt, tried: tried.join("; ") })
}

/// Replaces a machine's and a store's state by that of a snapshot a leader sent.
pub(super) fn install<M: Machine>(
    id: SnapshotId,
    machine: &mut M,
    rows: &dyn RowStore,
    snapshots: &dyn SnapshotStore,
) -> Result<ConfState, RecoverError> {
    let (header, content) = snapshots.read(id)?;
    let hot = content.iter().filter(|row| M::cold(&row.key).is_none()).cloned().collect();
    machine.load(hot, id.index).map_err(|error| RecoverError::NoSnapshot {
        doubt: "the leader sent others".to_owned(),
        tried: error.to_string(),
    })?;
    let conf = std::iter::once(conf_row(&header.conf_state));
    rows.replace(&mut conf.chain(content), id.index)?;
    Ok(header.conf_state)
}

/// Rebuilds rows whose files have outgrown them; the database never gives space back.
fn shrink(rows: &dyn RowStore, applied: u64) -> Result<(), RowError> {
    let (disk, live) = (rows.disk_bytes()?, rows.live_bytes()?);
    if disk < limits::STORE_OVERGROWN_BYTES_MIN || disk <= live * limits::STORE_OVERGROWN_TIMES {
        return Ok(());
    }
    info!(disk, live, "rebuilding the rows into smaller files");
    let mut all = Vec::new();
    rows.load(&mut |row| all.push(row))?;
    rows.replace(&mut all.into_iter(), applied)
}
