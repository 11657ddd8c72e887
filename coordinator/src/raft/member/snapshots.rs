//! Snapshots as a member makes, takes and keeps them.

use std::sync::Arc;

use parallax_common::limits;
use raft::eraftpb::{ConfState, Snapshot, SnapshotMetadata};
use tracing::{error, info, warn};

use super::{Member, SinceSnapshot};
use crate::mutant::{self, Mutant};
use crate::raft::fatal::chain;
use crate::raft::halt::Halt;
use crate::raft::log::LogStore;
use crate::raft::machine::Machine;
use crate::raft::recover;
use crate::raft::snapshot_job::SnapshotJob;
use crate::store::snapshot::{Header, SnapshotError, SnapshotId};

impl<M: Machine, L: LogStore> Member<M, L> {
    /// Whether Raft may hear of a snapshot that was announced: its file is here and can be taken. Raft
    /// gives up its log for it as soon as it hears of it, so nobody can refuse it later.
    pub(super) fn arrived(&mut self, snapshot: &Snapshot) -> bool {
        let metadata = snapshot.get_metadata();
        let id = SnapshotId { index: metadata.index, term: metadata.term };
        // Of an older one Raft only says that it needs it no more.
        if id.index >= self.raw.raft.raft_log.committed {
            if self.is_above(id) {
                return false;
            }
            if let Err(why) = self.can_take(id, metadata) {
                warn!(index = id.index, %why, "a snapshot was announced that cannot be taken");
                return false;
            }
            self.raw.store().damaged.borrow_mut().remove(&id);
        }
        if let Err(error) = self.tidy() {
            warn!(error = %chain(&error), "snapshots that nobody needs stay for now");
        }
        true
    }

    /// Reads the file to its end, as it will be read when it is installed.
    fn can_take(&self, id: SnapshotId, metadata: &SnapshotMetadata) -> Result<(), String> {
        let (header, rows) = self.snapshots.read(id).map_err(|error| chain(&error))?;
        if header.conf_state != *metadata.get_conf_state() {
            return Err("it has other members than its announcement".to_owned());
        }
        recover::check::<M>(id, rows)
    }

    /// Puts a snapshot into the place of log and state. An error before the log is touched leaves a
    /// start everything as it was.
    pub(super) fn install(&mut self, snapshot: &Snapshot) -> Result<(), Halt> {
        let metadata = snapshot.get_metadata();
        let id = SnapshotId { index: metadata.index, term: metadata.term };
        info!(index = id.index, "installing a snapshot of the leader");
        // It was whole when it was announced. Once the log is gone nothing else can stand for it.
        self.snapshots.verify(id)?;
        // A batch that is being written must not come after the snapshot's rows.
        self.behind.wait_synced(self.applied.index)?;
        let mut hard_state = self.raw.raft.hard_state();
        hard_state.commit = hard_state.commit.max(id.index);
        self.raw.mut_store().log.install(metadata, &hard_state)?;
        let (rows, snapshots) = (self.rows.as_ref(), self.snapshots.as_ref());
        let conf_state = recover::install(id, &mut self.machine, rows, snapshots)?;
        self.changes.installed(id.index, &conf_state);
        self.raw.mut_store().conf_state = conf_state;
        self.behind.reset(id.index);
        self.applied = id;
        self.ceiling.installed();
        self.since = SinceSnapshot::default();
        self.machine.publish(id.index);
        self.changes.answer();
        Ok(())
    }

    /// A snapshot to be written, when one is due and none is under way.
    pub fn snapshot_due(&mut self) -> Option<SnapshotJob> {
        let due = self.since.entries >= self.config.snapshot_after_entries
            || self.since.bytes >= self.config.snapshot_after_bytes
            || self.raw.store().snapshot_wanted.get();
        let too_soon = |failed| self.now < failed + limits::SNAPSHOT_WRITE_AGAIN_AFTER;
        if !due || self.snapshotting.is_some() || self.snapshot_failed.is_some_and(too_soon) {
            return None;
        }
        self.snapshotting = Some(self.applied);
        self.raw.store().snapshot_wanted.set(false);
        self.since = SinceSnapshot::default();
        let label = self.machine.label();
        let header = Header {
            id: self.applied,
            conf_state: match (mutant::on(Mutant::SnapshotOfOldVoters), &self.config.bootstrap) {
                (true, Some(voters)) => ConfState { voters: voters.clone(), ..Default::default() },
                _ => self.raw.store().conf_state.clone(),
            },
            mesh: label.mesh,
            epoch: label.epoch,
        };
        Some(SnapshotJob {
            header,
            frozen: self.machine.freeze(),
            cold: M::cold,
            behind: self.behind.clone(),
            rows: Arc::clone(&self.rows),
            snapshots: Arc::clone(&self.snapshots),
        })
    }

    /// A snapshot was written, or not. The log is cut behind the older one that is kept.
    ///
    /// # Errors
    /// When a sync failed: nobody knows what such a disk holds (decision 21). Any other failure costs
    /// nothing but space, and leaves the log as long as it is.
    pub fn snapshot_done(&mut self, result: Result<(), SnapshotError>) -> Result<(), Halt> {
        let written = self.snapshotting.take().filter(|_| result.is_ok());
        if let Some(id) = written {
            self.raw.store().damaged.borrow_mut().remove(&id);
        }
        self.snapshot_failed = None;
        let usable = match result.and_then(|()| self.tidy()) {
            Err(error) if error.is_of_sync() => return Err(error.into()),
            Err(error) => {
                self.snapshot_failed = Some(self.now);
                let why = chain(&error);
                error!(%why, "no snapshot was written, the log stays as long as it is");
                return Ok(());
            }
            Ok(usable) => usable,
        };
        let [older, .., _newest] = usable.as_slice() else { return Ok(()) };
        let applied = self.applied;
        let older = if mutant::on(Mutant::CompactTooFar) { &applied } else { older };
        let log = &mut self.raw.mut_store().log;
        if older.index > log.start().index && log.term(older.index)? == older.term {
            log.compact(&SnapshotMetadata {
                index: older.index,
                term: older.term,
                ..Default::default()
            })?;
        }
        Ok(())
    }

    /// Deletes the snapshots that nobody needs, and says which the log goes on from, oldest first.
    ///
    /// Two of those are kept, whatever else there is: a start may need them. So are the newest two
    /// of those ahead of the state, which were received and may be installed in a moment, or never.
    fn tidy(&self) -> Result<Vec<SnapshotId>, SnapshotError> {
        let raft = &self.raw.raft;
        let log = &self.raw.store().log;
        let listed = self.snapshots.list()?;
        let (past, ahead): (Vec<SnapshotId>, Vec<SnapshotId>) =
            listed.into_iter().partition(|id| id.index <= self.applied.index);
        let (mut usable, mut needless): (Vec<SnapshotId>, Vec<SnapshotId>) =
            past.into_iter().partition(|id| log.term(id.index).is_ok_and(|term| term == id.term));
        // Nobody can start from a damaged one, nor may the log be cut behind it.
        let mut damaged = self.raw.store().damaged.borrow_mut();
        let bad: Vec<SnapshotId> = usable.extract_if(.., |id| damaged.contains(id)).collect();
        if !usable.is_empty() {
            // Until there is a whole one nothing better stands in their place.
            needless.extend(bad);
        }
        needless.extend(usable.drain(..usable.len().saturating_sub(limits::SNAPSHOTS_KEPT)));
        let older = &ahead[..ahead.len().saturating_sub(limits::SNAPSHOTS_KEPT)];
        // The one that Raft is about to have installed is as far as it has committed.
        needless.extend(older.iter().filter(|id| id.index != raft.raft_log.committed));
        for id in needless {
            self.snapshots.remove(id)?;
            damaged.remove(&id);
        }
        Ok(usable)
    }
}
