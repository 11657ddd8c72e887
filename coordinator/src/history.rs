//! Windows that probes have sent, kept for whoever reads them: latency, uptime, the past.
//!
//! [`History`] is the seam: [`store`] keeps it on the disk, [`ring`] is its twin in memory for
//! tests, `contract` the suite that both pass. Windows arrive checked (`parallax_common::window`)
//! and are kept as the bytes that came; what is older is rolled up into [`cell`]s. Nothing here votes.
//!
//! On the disk, [`disk`] is the order of things: arrivals go to a [`journal`], then into [`segment`]s
//! of windows; those are rolled up into segments of minutes, and these into segments of hours.
//! (spool, sequence) names a window for ever, and each segment says which it holds ([`ranges`]):
//! so late windows go where they arrive, and nothing is counted twice.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use parallax_common::name::{Incarnation, RunDigest, Uid};
use parallax_common::outcome::Phase;
use parallax_common::time::MeshTime;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use self::cell::Cell;
use self::segment::SegmentError;
use self::tier::Tier;

pub mod archive;
pub mod cell;
pub mod copy;
pub mod disk;
pub mod files;
pub mod intake;
pub mod journal;
pub mod query;
pub mod ranges;
pub mod ring;
pub mod segment;
pub mod sparse;
pub mod store;
pub mod tier;
pub mod trim;

#[cfg(test)]
pub(crate) mod contract;

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

/// Windows of one spool that are to be kept.
#[derive(Debug)]
pub struct Batch {
    /// Where they come from.
    pub spool: Spool,
    /// By their numbers, ascending. A window whose number is not above the last one taken is a
    /// duplicate.
    pub windows: Vec<(u64, Record)>,
    /// When they came.
    pub now: MeshTime,
    /// Their place in the queue, held until they are kept: see [`History::gate`].
    pub room: Option<OwnedSemaphorePermit>,
}

/// What became of an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Appended {
    /// Windows that are new.
    pub kept: usize,
    /// Windows that were here already. They are acknowledged all the same.
    pub duplicates: usize,
}

/// Resolves when a batch is kept for good: only then may it be acknowledged.
#[derive(Debug)]
pub struct Receipt(oneshot::Receiver<Appended>);

/// The history was closed before a batch was kept: it is not to be acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the history store is closed")]
pub struct Closed;

impl Receipt {
    /// A receipt and what resolves it.
    pub fn new() -> (oneshot::Sender<Appended>, Self) {
        let (tell, told) = oneshot::channel();
        (tell, Self(told))
    }

    /// The receipt of what is kept already.
    pub fn of(appended: Appended) -> Self {
        let (tell, receipt) = Self::new();
        // We hold the other end.
        let _ = tell.send(appended);
        receipt
    }

    /// Waits until the batch is kept. Taken up again after it was dropped half-way.
    ///
    /// # Errors
    /// When the history is closed.
    pub async fn kept(&mut self) -> Result<Appended, Closed> {
        (&mut self.0).await.map_err(|_| Closed)
    }

    /// The same, for threads.
    ///
    /// # Errors
    /// When the history is closed.
    pub fn wait(self) -> Result<Appended, Closed> {
        self.0.blocking_recv().map_err(|_| Closed)
    }
}

/// How full it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Windows that can be read one by one.
    pub windows: u64,
    /// Bytes that everything takes.
    pub bytes: u64,
    /// Files that it is in, beside the journal.
    pub segments: u64,
    /// Windows and cells dropped for want of room before they were too old, since the start.
    pub dropped: u64,
    /// Windows and cells that became too old, since the start.
    pub expired: u64,
    /// Segments and blocks that could not be read, since the start.
    pub damaged: u64,
    /// Segments of other members that could not be copied, since the start; one is tried with each look.
    pub left_out: u64,
    /// Since when the disk has had no room: windows are held back.
    pub full: Option<MeshTime>,
}

/// What is asked of the past.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Of which check.
    pub check: Uid,
    /// Cells that begin from here on.
    pub from: MeshTime,
    /// And before this.
    pub to: MeshTime,
    /// In which resolution.
    pub tier: Tier,
    /// Whose durations are wanted; others may be left out.
    pub phases: BTreeSet<Phase>,
}

/// A place for windows.
pub trait History: Send + Sync + 'static {
    /// Room in the queue, a permit a KiB: whoever appends takes it first, so that many probes that
    /// send at once wait instead of filling the memory.
    fn gate(&self) -> &Arc<Semaphore>;

    /// Takes windows of one spool.
    fn append(&self, batch: Batch) -> Receipt;

    /// Everything of this spool up to here is kept (or was, and became too old): the probe need not
    /// send it again. `None`: nothing was heard of it.
    fn acknowledged(&self, spool: &Spool) -> Option<u64>;

    /// The windows of one check in one region that overlap `from..to`, by start.
    ///
    /// # Errors
    /// When the disk refuses.
    fn read(
        &self,
        check: &Uid,
        region: &str,
        from: MeshTime,
        to: MeshTime,
    ) -> Result<Vec<Kept>, SegmentError>;

    /// Hands out what was measured, by region: in cells of the tier that was asked for, some of them
    /// in several parts that are to be added up. Blocks that cannot be read are left out and counted.
    /// After an error what was handed out is a part.
    ///
    /// # Errors
    /// When the disk refuses, or there is more to read than one question may.
    fn cells(
        &self,
        question: &Question,
        each: &mut dyn FnMut(&Arc<str>, &Cell),
    ) -> Result<(), SegmentError>;

    /// How full it is.
    fn stats(&self) -> Stats;

    /// Its files, when it has any: what a backup takes along.
    fn on_disk(&self) -> Option<store::Store> {
        None
    }
}

impl Batch {
    /// What it takes in memory, about.
    pub fn bytes(&self) -> usize {
        self.windows.iter().map(|(_, record)| cost(record)).sum()
    }
}

/// What a window costs: its bytes, and what is around them.
fn cost(record: &Record) -> usize {
    const OVERHEAD_BYTES: usize = 256;
    record.encoded.len() + OVERHEAD_BYTES
}
