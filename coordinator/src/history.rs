//! Windows that probes have sent, kept for whoever reads them: latency, uptime, the past.
//!
//! [`History`] is the seam. Until the history store takes over, [`ring`] keeps the last hour in
//! memory. Windows arrive checked (`parallax_common::window`) and are kept as the bytes that came;
//! merging is the reader's. Nothing here votes.

use std::sync::Arc;

use bytes::Bytes;
use parallax_common::name::{Incarnation, RunDigest, Uid};
use parallax_common::time::MeshTime;

pub mod intake;
pub mod ring;

/// The spool that windows come from. Its sequence numbers order them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Spool {
    /// From the certificate.
    pub region: Arc<str>,
    /// From the certificate.
    pub probe: Arc<str>,
    /// One life of the spool.
    pub incarnation: Incarnation,
}

/// One checked window, with what is needed to find it again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its check.
    pub check: Uid,
    /// The version of the run it tells of.
    pub digest: RunDigest,
    /// First moment of its period.
    pub start: MeshTime,
    /// First moment after it.
    pub end: MeshTime,
    /// The probe was not the check's assignee: shown, never counted.
    pub unassigned: bool,
    /// The encoded `v1.Window`, as it came.
    pub encoded: Bytes,
}

/// A window as it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Where it came from.
    pub spool: Spool,
    /// Its number there.
    pub sequence: u64,
    /// The window.
    pub record: Record,
}

/// What became of an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Appended {
    /// Windows that are new.
    pub kept: usize,
    /// Windows that were here already. They are acknowledged all the same.
    pub duplicates: usize,
}

/// How full it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Windows that can be read.
    pub windows: usize,
    /// Bytes they take.
    pub bytes: usize,
    /// Windows dropped for want of room, since the start.
    pub dropped: u64,
    /// Windows that became too old, since the start.
    pub expired: u64,
}

/// A place for windows.
pub trait History: Send + Sync + 'static {
    /// Takes windows of one spool with consecutive sequence numbers from `first_sequence` on.
    /// A window whose number is not above the last one taken is a duplicate.
    fn append(
        &self,
        spool: &Spool,
        first_sequence: u64,
        windows: Vec<Record>,
        now: MeshTime,
    ) -> Appended;

    /// Everything of this spool up to here is kept (or was, and became too old): the probe need not
    /// send it again. `None`: nothing was heard of it.
    fn acknowledged(&self, spool: &Spool) -> Option<u64>;

    /// The windows of one check in one region that overlap `from..to`, by start.
    fn read(&self, check: &Uid, region: &str, from: MeshTime, to: MeshTime) -> Vec<Kept>;

    /// How full it is.
    fn stats(&self) -> Stats;
}
