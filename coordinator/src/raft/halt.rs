//! Why a member cannot start, or cannot go on.

use thiserror::Error;

use super::log::LogError;
use super::recover::RecoverError;
use super::standstill::Standstill;
use crate::store::snapshot::SnapshotError;
use crate::store::writer::Stopped;

/// Why a member cannot start.
#[derive(Debug, Error)]
pub enum StartError {
    /// No state to start from.
    #[error(transparent)]
    Recover(#[from] RecoverError),
    /// raft-rs refused the configuration or the log.
    #[error("raft refused to start")]
    Raft(#[from] raft::Error),
    /// The system gave no thread.
    #[error("no thread could be started")]
    Thread(#[from] std::io::Error),
}

/// Why a member cannot go on. What it holds in memory may be ahead of its disk.
#[derive(Debug, Error)]
pub enum Halt {
    /// The log failed.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The row store failed.
    #[error(transparent)]
    Store(#[from] Stopped),
    /// A snapshot that a leader sent could not be installed.
    #[error("a snapshot could not be installed")]
    Install(#[from] RecoverError),
    /// The snapshot store failed.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// It stood still until its log was as long as it may be.
    #[error("{0}. its log has grown by {1} bytes since, which is the most")]
    Standstill(Standstill, u64),
    /// A committed change of the members makes no sense.
    #[error("a committed change of the members could not be applied")]
    Raft(#[from] raft::Error),
}
