//! Outcomes, as probes send them: live, and in snapshots.

use std::time::Duration;

use parallax_common::fold::Recent;
use parallax_common::limits::{
    EVIDENCE_BYTES_MAX, PHASE_MAX, SERIES_PER_WINDOW_MAX, SNAPSHOT_OUTCOMES_MAX, STEPS_MAX,
    TIMEOUT_MAX,
};
use parallax_common::name::{RunDigest, Uid};
use parallax_common::outcome::BallotState;
use parallax_common::record::Record;
use parallax_common::rule;
use parallax_common::time::{BootTime, ns};
use parallax_common::window::agrees;

use super::assignment::{WireError, broken, uid, within};
use super::enums::{
    ballot_state, ballot_state_to, outcome, outcome_to, phase, phase_to, reason, reason_or_none_to,
};
use super::time::{generation, generation_to};
use crate::v1;

/// Longest text of a remote address: an IPv6 address with scope, and a port.
const ADDRESS_BYTES_MAX: usize = 80;
/// A run's end may lie behind its timeout by what a loaded machine needs to notice.
const END_SLACK: Duration = Duration::from_secs(60);

/// An outcome as messages carry it.
pub fn record_to(record: &Record) -> v1::OutcomeRecord {
    v1::OutcomeRecord {
        check_uid: record.check.as_bytes().to_vec().into(),
        run_digest: record.run_digest.0,
        number: record.number,
        slot: record.slot,
        order: record.order,
        outcome: outcome_to(record.outcome),
        reason: reason_or_none_to(record.reason),
        step: record.step,
        evidence: record.evidence.clone(),
        scheduled_boottime_ns: record.scheduled.as_ns(),
        started_boottime_ns: record.started.as_ns(),
        ended_boottime_ns: record.ended.as_ns(),
        generation: Some(generation_to(record.generation)),
        remote_address: record.remote_address.clone(),
        phases: record
            .phases
            .iter()
            .map(|&(step, phase, length)| v1::PhaseDuration {
                step,
                phase: phase_to(phase),
                duration_ns: ns(length),
            })
            .collect(),
    }
}

/// The checked form of an outcome that a probe sent.
///
/// # Errors
/// The first rule that it breaks.
pub fn record(record: &v1::OutcomeRecord) -> Result<Record, WireError> {
    let check = uid(&record.check_uid)?;
    if !(1..u64::MAX).contains(&record.number) {
        return broken(rule::WIRE_NUMBER, "number", "run numbers begin at 1");
    }
    if record.slot.is_some() && record.order != 0 {
        return broken(rule::WIRE_NUMBER, "slot", "a run has a slot or an order, not both");
    }
    let Some(outcome) = outcome(record.outcome) else {
        return broken(rule::WIRE_FIELD, "outcome", format!("{} is not known", record.outcome));
    };
    let known = reason(record.reason);
    if (known.is_none() && record.reason != 0) || !agrees(outcome, known) {
        let message = format!("reason {} does not go with {outcome}", record.reason);
        return broken(rule::WIRE_REASON, "reason", message);
    }
    if record.step as usize >= STEPS_MAX {
        return broken(rule::WIRE_NUMBER, "step", format!("there is no step {}", record.step));
    }
    if record.evidence.len() > EVIDENCE_BYTES_MAX {
        return broken(rule::WIRE_TEXT, "evidence", "the evidence was not cut");
    }
    if record.remote_address.len() > ADDRESS_BYTES_MAX {
        return broken(rule::WIRE_TEXT, "remote_address", "that is not an address");
    }
    let (scheduled, started) = (record.scheduled_boottime_ns, record.started_boottime_ns);
    let ended = record.ended_boottime_ns;
    let longest = ns(TIMEOUT_MAX + END_SLACK);
    if scheduled < 0 || started < scheduled || ended < started || ended - started > longest {
        let message = format!("scheduled {scheduled}, started {started}, ended {ended}");
        return broken(rule::WIRE_TIME, "ended_boottime_ns", message);
    }
    if record.phases.len() > SERIES_PER_WINDOW_MAX {
        return broken(rule::WIRE_TOO_MANY, "phases", "there are more phases than steps have");
    }
    let phases = record
        .phases
        .iter()
        .map(|given| {
            let Some(phase) = phase(given.phase) else {
                return broken(
                    rule::WIRE_FIELD,
                    "phases.phase",
                    format!("{} is not known", given.phase),
                );
            };
            if given.step as usize >= STEPS_MAX {
                return broken(
                    rule::WIRE_NUMBER,
                    "phases.step",
                    format!("there is no step {}", given.step),
                );
            }
            let length =
                within(given.duration_ns, "phases.duration_ns", (Duration::ZERO, PHASE_MAX))?;
            Ok((given.step, phase, length))
        })
        .collect::<Result<_, WireError>>()?;
    Ok(Record {
        check,
        run_digest: RunDigest(record.run_digest),
        number: record.number,
        slot: record.slot,
        order: record.order,
        outcome,
        reason: known,
        step: record.step,
        evidence: record.evidence.clone(),
        scheduled: BootTime::from_ns(scheduled),
        started: BootTime::from_ns(started),
        ended: BootTime::from_ns(ended),
        generation: generation(record.generation.as_ref()),
        remote_address: record.remote_address.clone(),
        phases,
    })
}

/// What a probe remembers of one check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckSnapshot {
    /// Of the check.
    pub check: Uid,
    /// The version that is assigned.
    pub run_digest: RunDigest,
    /// Oldest first, numbers ascending.
    pub recent: Vec<Record>,
    /// Number of the next run.
    pub next_number: u64,
    /// What all runs of this version amount to.
    pub state: BallotState,
    /// The end of the run that gave it that state; zero without one.
    pub since: BootTime,
    /// What M of N is counted in.
    pub counted: Recent,
}

/// A snapshot as messages carry it.
pub fn snapshot_to(snapshot: &CheckSnapshot) -> v1::CheckSnapshot {
    let [counted, counted_fails, counted_warns] = snapshot.counted.bits();
    v1::CheckSnapshot {
        check_uid: snapshot.check.as_bytes().to_vec().into(),
        run_digest: snapshot.run_digest.0,
        recent: snapshot.recent.iter().map(record_to).collect(),
        next_number: snapshot.next_number,
        state: ballot_state_to(snapshot.state),
        since_boottime_ns: snapshot.since.as_ns(),
        counted,
        counted_fails,
        counted_warns,
    }
}

/// The checked form of one check's snapshot.
///
/// # Errors
/// The first rule that it, or one of its outcomes, breaks.
pub fn snapshot(snapshot: &v1::CheckSnapshot) -> Result<CheckSnapshot, WireError> {
    let check = uid(&snapshot.check_uid)?;
    if snapshot.recent.len() > SNAPSHOT_OUTCOMES_MAX {
        return broken(rule::WIRE_TOO_MANY, "recent", "there are more outcomes than are kept");
    }
    let mut recent = Vec::with_capacity(snapshot.recent.len());
    let mut before = 0;
    for given in &snapshot.recent {
        let given = record(given)?;
        if given.check != check {
            return broken(rule::WIRE_FIELD, "recent.check_uid", "an outcome is of another check");
        }
        if given.number <= before || given.number >= snapshot.next_number {
            return broken(rule::WIRE_NUMBER, "recent.number", "the numbers do not ascend");
        }
        before = given.number;
        recent.push(given);
    }
    let Some(state) = ballot_state(snapshot.state) else {
        return broken(rule::WIRE_FIELD, "state", format!("{} is not known", snapshot.state));
    };
    if snapshot.since_boottime_ns < 0 {
        return broken(rule::WIRE_TIME, "since_boottime_ns", "it lies before the boot");
    }
    Ok(CheckSnapshot {
        check,
        run_digest: RunDigest(snapshot.run_digest),
        recent,
        next_number: snapshot.next_number,
        state,
        since: BootTime::from_ns(snapshot.since_boottime_ns),
        counted: Recent::from_bits([
            snapshot.counted,
            snapshot.counted_fails,
            snapshot.counted_warns,
        ]),
    })
}

#[cfg(test)]
mod tests;
