//! A record as it is kept for snapshots: there are 32 for each check, so it is small.

use std::collections::VecDeque;
use std::net::SocketAddr;

use parallax_common::limits::SNAPSHOT_OUTCOMES_MAX;
use parallax_common::name::{Generation, RunDigest, Uid};
use parallax_common::outcome::{Outcome, Reason};
use parallax_common::time::{BootTime, MeshTime};

use super::Record;

/// What is left of a record.
#[derive(Debug)]
pub(super) struct Kept {
    number: u64,
    /// As the others, so that most runs have nothing but numbers: [`NO_SLOT`] for none.
    slot: i64,
    scheduled: MeshTime,
    started: BootTime,
    ended: BootTime,
    outcome: Outcome,
    reason: Option<Reason>,
    step: u8,
    /// Only of runs that did not pass, and of ordered ones.
    detail: Option<Box<Detail>>,
}

const NO_SLOT: i64 = i64::MIN;

#[derive(Debug)]
struct Detail {
    order: u64,
    evidence: Box<str>,
    remote: Option<SocketAddr>,
}

impl Kept {
    /// The record again, without its phases.
    pub(super) fn record(&self, check: Uid, digest: RunDigest, generation: Generation) -> Record {
        let detail = self.detail.as_deref();
        Record {
            sequence: 0,
            check,
            digest,
            number: self.number,
            slot: (self.slot != NO_SLOT).then_some(self.slot),
            order: detail.map_or(0, |detail| detail.order),
            outcome: self.outcome,
            reason: self.reason,
            step: u32::from(self.step),
            evidence: detail.map(|detail| detail.evidence.clone()).unwrap_or_default(),
            remote: detail.and_then(|detail| detail.remote),
            scheduled: self.scheduled,
            started: self.started,
            ended: self.ended,
            generation,
            phases: Vec::new(),
        }
    }
}

/// Remembers a record, in place of the oldest where there are enough.
pub(super) fn keep(recent: &mut VecDeque<Kept>, record: &Record) {
    if recent.len() >= SNAPSHOT_OUTCOMES_MAX {
        recent.pop_front();
    }
    let is_plain = record.outcome == Outcome::Pass && record.order == 0;
    let detail = || Detail {
        order: record.order,
        evidence: record.evidence.clone(),
        remote: record.remote.filter(|_| record.outcome != Outcome::Pass),
    };
    recent.push_back(Kept {
        number: record.number,
        slot: record.slot.unwrap_or(NO_SLOT),
        scheduled: record.scheduled,
        started: record.started,
        ended: record.ended,
        outcome: record.outcome,
        reason: record.reason,
        step: u8::try_from(record.step).unwrap_or(u8::MAX),
        detail: (!is_plain).then(|| Box::new(detail())),
    });
}
