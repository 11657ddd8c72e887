//! One outcome as it leaves a probe, and an order as it reaches one: checked, times still on the
//! probe's own clock.

use std::time::Duration;

use crate::name::{Generation, RunDigest, Uid};
use crate::outcome::{Outcome, Phase, Reason};
use crate::time::{BootTime, MeshTime};

/// The outcome of one run, or of a slot that passed without one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Of the check.
    pub check: Uid,
    /// What was run.
    pub run_digest: RunDigest,
    /// Per (incarnation, check), in order of completion, from 1. Missed slots have one too.
    pub number: u64,
    /// The slot; absent for a run that was ordered, and for the first run of a new assignment.
    pub slot: Option<i64>,
    /// The order; 0 for a run that nobody ordered.
    pub order: u64,
    /// How it ended.
    pub outcome: Outcome,
    /// Why, unless it passed.
    pub reason: Option<Reason>,
    /// The step it ended in, from 0.
    pub step: u32,
    /// Capped and redacted.
    pub evidence: String,
    /// Intended start.
    pub scheduled: BootTime,
    /// Actual start; the intended one when there was none.
    pub started: BootTime,
    /// End.
    pub ended: BootTime,
    /// The plan it was run under.
    pub generation: Generation,
    /// The address that answered; may be empty.
    pub remote_address: String,
    /// Duration of every phase that happened, by step.
    pub phases: Vec<(u32, Phase, Duration)>,
}

/// Run now, outside the schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// Its number, copied into the outcomes.
    pub order: u64,
    /// What to run.
    pub check: Uid,
    /// The version that the orderer knows; another one on the probe voids the order.
    pub run_digest: RunDigest,
    /// Likewise.
    pub generation: Generation,
    /// Runs.
    pub count: u32,
    /// From start to start.
    pub spacing: Duration,
    /// From its receipt; after that it is void.
    pub expires: Duration,
    /// When it was ordered, in mesh time; its age counts from then. Absent: from its arrival.
    pub ordered: Option<MeshTime>,
}

/// Run once now, for somebody who watches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LookOrder {
    /// Its number, copied into the answer.
    pub look: u64,
    /// What to run.
    pub check: Uid,
    /// The version that the asker means; another one on the probe voids the order.
    pub run_digest: RunDigest,
    /// From when it was ordered; after that it is void.
    pub expires: Duration,
    /// When it was ordered, in mesh time. Absent: its age counts from its arrival.
    pub ordered: Option<MeshTime>,
    /// Whose request it answers, for logs. Empty: unknown.
    pub request: String,
}

/// What became of a look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LookResult {
    /// Of the order.
    pub look: u64,
    /// What was seen, or why nobody looked.
    pub said: Result<Box<Record>, LookRefusal>,
}

/// Why a probe does not look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LookRefusal {
    /// The check is not its own, or not yet.
    #[error("the check is not assigned to it")]
    NotAssigned,
    /// The check was edited, and the edit has not reached it, or it is ahead.
    #[error("it runs another version of the check")]
    OtherVersion,
    /// The order was on its way for too long.
    #[error("the order came too late")]
    TooLate,
    /// It carries out as many as it may, or has lately.
    #[error("it was asked to look too often; try again in some seconds")]
    TooMany,
    /// The run gave no account of itself: the probe's own fault.
    #[error("the run broke, a fault of the probe: see its log")]
    Broken,
}

impl LookRefusal {
    /// Every one, in declaration order.
    pub const ALL: [Self; 5] =
        [Self::NotAssigned, Self::OtherVersion, Self::TooLate, Self::TooMany, Self::Broken];
}
