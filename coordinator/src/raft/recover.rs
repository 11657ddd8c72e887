//! How a start finds its state: the newest rows when they can be trusted, else a snapshot, and the
//! log for the rest.
//!
//! The log is the truth. Rows are trusted when they are of an index that the log reaches from and
//! to; on any doubt they are rebuilt from a snapshot, and the log is applied again behind it. But
//! rows behind the log's end prove that the log lost its end, and then there is no start.

use bytes::Bytes;
use parallax_common::limits;
use protobuf::Message as _;
use raft::eraftpb::{ConfState, HardState};
use thiserror::Error;
use tracing::{error, info, warn};

use super::log::{LogError, LogStore};
use super::machine::{LoadError, Machine};
use crate::mutant::{self, Mutant};
use crate::store::rows::{Pages, RESERVED, Row, RowChange, RowError, RowStore};
use crate::store::snapshot::{Header, ReadRows, SnapshotError, SnapshotId, SnapshotStore};

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
    /// There is state of committed entries behind the end of the log, and nobody else has them.
    #[error(
        "there is state of entry {state}, but the raft log ends at entry {last}: its end was lost, \
         and this is the only voter. nothing was changed. to recover, restore from a backup, or \
         accept that what was committed behind entry {last} is lost (see `parallax-coordinator \
         accept-lost-tail --help`)"
    )]
    TailLost {
        /// What rows or snapshots are of.
        state: u64,
        /// The last entry.
        last: u64,
    },
    /// The same in a group of several.
    #[error(
        "there is state of entry {state}, but the raft log ends at entry {last}: its end was lost, \
         and with it what this member has promised to others. nothing was changed. to recover, \
         remove it from the cluster, move the data directory aside, and let it join anew under a \
         new node id"
    )]
    PromisesLost {
        /// What the rows are of.
        state: u64,
        /// The last entry.
        last: u64,
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
    node_id: u64,
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
        let empty = machine.load(&mut std::iter::empty(), 0);
        empty.map_err(|LoadError(tried)| RecoverError::NoSnapshot {
            doubt: "there are none".to_owned(),
            tried,
        })?;
        return Ok(Recovered { applied: 0, conf_state: ConfState::default(), rebuilt: None });
    }
    refuse_lost_tail(node_id, last, rows, snapshots)?;
    match from_rows(machine, log, rows)? {
        Ok(recovered) => {
            shrink(rows, recovered.applied)?;
            Ok(recovered)
        }
        Err(doubt) => from_snapshot(doubt, machine, log, rows, snapshots),
    }
}

/// Refuses a log that lacks entries which were applied: they were committed, so they were in it.
///
/// A lone voter has lost what nobody else has. A member of several has lost entries that it told
/// the leader it holds: raft-rs counts on them (a leader never takes an acknowledgement back, and
/// the member panics at a commit index behind its log), and a vote without them could lose them
/// for everybody. So it must not come back under its old node id.
fn refuse_lost_tail(
    node_id: u64,
    last: u64,
    rows: &dyn RowStore,
    snapshots: &dyn SnapshotStore,
) -> Result<(), RecoverError> {
    let newest = snapshots.list()?.pop();
    let voters = match conf_state_of(rows) {
        Ok(Some(conf_state)) => conf_state.voters,
        // Rows in doubt are rebuilt later. One snapshot's header says who voted then.
        _ => match newest.map(|id| snapshots.read(id)) {
            Some(Ok((header, _))) => header.conf_state.voters,
            _ => return Ok(()),
        },
    };
    let applied = match rows.applied_index() {
        Ok(applied) => applied,
        Err(error) if error.is_damage() => 0,
        Err(error) => return Err(error.into()),
    };
    if voters == [node_id] {
        // A snapshot ahead of the log is that of this member; nobody sends it any.
        let state = applied.max(newest.map_or(0, |id| id.index));
        if state > last {
            return Err(RecoverError::TailLost { state, last });
        }
    } else if applied > last {
        return Err(RecoverError::PromisesLost { state: applied, last });
    }
    Ok(())
}

/// The first start of a cluster. Every step can be repeated until the log says that it was done.
fn begin<L: LogStore>(
    bootstrap: Option<&[u64]>,
    log: &mut L,
    rows: &dyn RowStore,
    snapshots: &dyn SnapshotStore,
) -> Result<(), RecoverError> {
    // A member that waits to be let in may have died between the arrival of its first snapshot and
    // its installation: then the file alone is there, and is sent again.
    let newest = match bootstrap {
        Some(_) => snapshots.list()?.last().map_or(0, |id| id.index),
        None => 0,
    };
    let state = rows.applied_index()?.max(newest);
    if state > FIRST.index {
        return Err(RecoverError::LogLost(state));
    }
    let Some(voters) = bootstrap else { return Ok(()) };
    let conf_state = ConfState { voters: voters.to_vec(), ..ConfState::default() };
    let header = Header { id: FIRST, conf_state, mesh: String::new(), epoch: 0 };
    snapshots.write(&header, &mut |_| Ok(()))?;
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
    let start = log.start().index;
    if applied == 0 {
        return Ok(Err("there are none".to_owned()));
    }
    if applied < start {
        return Ok(Err(format!("they are of index {applied}, the log begins behind {start}")));
    }
    let doubt = |error: RowError| match error.is_damage() {
        true => Ok(Err(super::fatal::chain(&error))),
        false => Err(RecoverError::from(error)),
    };
    let voters = match conf_state_of(rows) {
        Ok(Some(voters)) => voters,
        Ok(None) => return Ok(Err("they do not say who votes".to_owned())),
        Err(error) => return doubt(error),
    };
    let mut hot = UntilError::new(Pages::new(rows));
    let loaded = machine.load(&mut hot.by_ref().filter(|row| is_hot::<M>(row)), applied);
    if let Some(error) = hot.error {
        return doubt(error);
    }
    Ok(match loaded {
        Ok(()) => Ok(Recovered { applied, conf_state: voters, rebuilt: None }),
        Err(error) => Err(error.to_string()),
    })
}

/// Who votes, as the rows say; none when they do not, or not in a way that can be read.
fn conf_state_of(rows: &dyn RowStore) -> Result<Option<ConfState>, RowError> {
    let Some(bytes) = rows.get(CONF_STATE)? else { return Ok(None) };
    let mut voters = ConfState::default();
    Ok(voters.merge_from_bytes(&bytes).is_ok().then_some(voters))
}

/// Whether the machine keeps this row in memory.
fn is_hot<M: Machine>(row: &Row) -> bool {
    row.key.first() != Some(&RESERVED) && M::cold(&row.key).is_none()
}

/// Passes on what is well, up to the first error, which is kept. So those who know of no errors can
/// be given rows that are read meanwhile.
struct UntilError<I, E> {
    inner: I,
    error: Option<E>,
}

impl<I, E> UntilError<I, E> {
    fn new(inner: I) -> Self {
        Self { inner, error: None }
    }
}

impl<T, E, I: Iterator<Item = Result<T, E>>> Iterator for UntilError<I, E> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        if self.error.is_some() {
            return None;
        }
        match self.inner.next()? {
            Ok(item) => Some(item),
            Err(error) => {
                self.error = Some(error);
                None
            }
        }
    }
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
        let verified = snapshots.verify(id).map_err(|error| super::fatal::chain(&error));
        let header = match verified.and_then(|_| load_snapshot(id, machine, snapshots)) {
            Ok(header) => header,
            Err(why) => {
                error!(index, %why, "a snapshot cannot be used");
                tried.push(format!("{index}: {why}"));
                continue;
            }
        };
        // A new cluster and a new store have none on the first day; that is no doubt.
        if id != FIRST {
            warn!(%doubt, snapshot = index, "rebuilding the rows from a snapshot and the log");
        }
        replace_rows(id, rows, snapshots)?;
        let conf_state = header.conf_state;
        return Ok(Recovered { applied: index, conf_state, rebuilt: Some(doubt) });
    }
    if tried.is_empty() {
        tried.push("there is none".to_owned());
    }
    Err(RecoverError::NoSnapshot { doubt, tried: tried.join("; ") })
}

/// Reads the rows of a snapshot to their end and says whether a machine could load them.
pub fn check<M: Machine>(id: SnapshotId, content: ReadRows) -> Result<(), String> {
    let mut hot = UntilError::new(content);
    let checked = M::check(&mut hot.by_ref().filter(|row| is_hot::<M>(row)), id.index);
    match hot.error {
        Some(error) => Err(super::fatal::chain(&error)),
        None => checked.map_err(|error| error.to_string()),
    }
}

/// Replaces a machine's and a store's state by that of a snapshot a leader sent, which is verified.
pub fn install<M: Machine>(
    id: SnapshotId,
    machine: &mut M,
    rows: &dyn RowStore,
    snapshots: &dyn SnapshotStore,
) -> Result<ConfState, RecoverError> {
    let header = load_snapshot(id, machine, snapshots).map_err(|tried| {
        let doubt = "the leader sent others".to_owned();
        RecoverError::NoSnapshot { doubt, tried }
    })?;
    replace_rows(id, rows, snapshots)?;
    Ok(header.conf_state)
}

/// Loads the hot rows of a snapshot into the machine, or says why not. Whoever calls this has
/// verified the file: what the machine loads, readers see.
fn load_snapshot<M: Machine>(
    id: SnapshotId,
    machine: &mut M,
    snapshots: &dyn SnapshotStore,
) -> Result<Header, String> {
    let told = |error: SnapshotError| super::fatal::chain(&error);
    let (header, content) = snapshots.read(id).map_err(told)?;
    let mut hot = UntilError::new(content);
    let loaded = machine.load(&mut hot.by_ref().filter(|row| is_hot::<M>(row)), id.index);
    match hot.error {
        Some(error) => Err(told(error)),
        None => loaded.map(|()| header).map_err(|error| error.to_string()),
    }
}

/// Puts the rows of a snapshot, and who votes, into the place of everything.
fn replace_rows(
    id: SnapshotId,
    rows: &dyn RowStore,
    snapshots: &dyn SnapshotStore,
) -> Result<(), RecoverError> {
    let (header, content) = snapshots.read(id)?;
    let conf = std::iter::once(Ok(conf_row(&header.conf_state)));
    let content =
        content.map(|row| row.map_err(|error| RowError::Source(super::fatal::chain(&error))));
    let mut all = conf.chain(content);
    if mutant::on(Mutant::InstallKeepsRows) {
        let put = |row: Row| RowChange { key: row.key, value: Some(row.value) };
        let all: Vec<RowChange> = all.map(|row| row.map(put)).collect::<Result<_, _>>()?;
        return Ok(rows.write(&all, id.index)?);
    }
    Ok(rows.replace(&mut all, id.index)?)
}

/// Rebuilds rows whose files have outgrown them; the database never gives space back.
fn shrink(rows: &dyn RowStore, applied: u64) -> Result<(), RowError> {
    let (disk, live) = (rows.disk_bytes()?, rows.live_bytes()?);
    if disk < limits::STORE_OVERGROWN_BYTES_MIN || disk <= live * limits::STORE_OVERGROWN_TIMES {
        return Ok(());
    }
    info!(disk, live, "rebuilding the rows into smaller files");
    rows.replace(&mut Pages::new(rows), applied)
}
