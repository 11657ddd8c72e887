//! The core's values as frames of a session.

use std::net::SocketAddr;

use parallax_common::name::{Generation, Uid};
use parallax_common::record::{self as common, LookRefusal, LookResult};
use parallax_common::time::BootTime;
use parallax_proto::convert::look::result_to;
use parallax_proto::convert::record::{CheckSnapshot, record_to, snapshot_to};
use parallax_proto::convert::time::generation_to;
use parallax_proto::v1;
use prost::Message as _;
use v1::live_request::Frame;

use crate::clock::MeshClock;
use crate::core::record::{Record, Snapshot};
use crate::core::watermark::{Changes, Slot};

fn live(frame: Frame) -> v1::LiveRequest {
    v1::LiveRequest { frame: Some(frame) }
}

fn record(record: &Record, clock: &MeshClock) -> common::Record {
    common::Record {
        check: record.check,
        run_digest: record.digest,
        number: record.number,
        slot: record.slot,
        order: record.order,
        outcome: record.outcome,
        reason: record.reason,
        step: record.step,
        evidence: record.evidence.to_string(),
        scheduled: clock.boot_for(record.scheduled, record.started),
        started: record.started,
        ended: record.ended,
        generation: record.generation,
        remote_address: record.remote.map(shown).unwrap_or_default(),
        phases: record.phases.clone(),
    }
}

/// An address as people read it: echoes know no ports.
fn shown(remote: SocketAddr) -> String {
    match remote.port() {
        0 => remote.ip().to_string(),
        _ => remote.to_string(),
    }
}

/// Records of the live lane, in sequence: as many frames as they need, none of them much over
/// `frame_bytes` (one record is less than a kilobyte and a half).
pub fn outcomes(records: &[Record], clock: &MeshClock, frame_bytes: usize) -> Vec<v1::LiveRequest> {
    let mut frames: Vec<v1::Outcomes> = Vec::new();
    let mut bytes = usize::MAX;
    for one in records {
        if bytes >= frame_bytes {
            frames.push(v1::Outcomes { first_sequence: one.sequence, records: Vec::new() });
            bytes = 0;
        }
        let message = record_to(&record(one, clock));
        bytes += message.encoded_len();
        if let Some(frame) = frames.last_mut() {
            frame.records.push(message);
        }
    }
    frames.into_iter().map(|frame| live(Frame::Outcomes(frame))).collect()
}

/// The head of a snapshot's chunk.
#[derive(Debug, Clone, Copy)]
pub struct SnapshotHead {
    /// The plan it is for.
    pub generation: Generation,
    /// Records up to here are in it.
    pub live_sequence: u64,
    /// Counted from 0.
    pub chunk: u32,
    /// Whether it is complete with this one.
    pub last: bool,
    /// Whether it is of all checks.
    pub whole: bool,
}

/// One check of a snapshot.
pub fn check_snapshot(snapshot: &Snapshot, clock: &MeshClock) -> v1::CheckSnapshot {
    snapshot_to(&CheckSnapshot {
        check: snapshot.check,
        run_digest: snapshot.digest,
        recent: snapshot.recent.iter().map(|one| record(one, clock)).collect(),
        next_number: snapshot.next_number,
        state: snapshot.state,
        since: snapshot.since,
        counted: snapshot.counted,
    })
}

/// One chunk of a ballot snapshot, taken now.
pub fn snapshot(checks: Vec<v1::CheckSnapshot>, head: SnapshotHead) -> v1::LiveRequest {
    live(Frame::Snapshot(v1::BallotSnapshot {
        generation: Some(generation_to(head.generation)),
        live_sequence: head.live_sequence,
        checks,
        chunk: head.chunk,
        last: head.last,
        whole: head.whole,
        boottime_ns: parallax_runtime::clock::boot_time().as_ns(),
    }))
}

/// A plan is in force.
pub fn applied(generation: Generation) -> v1::LiveRequest {
    let generation = Some(generation_to(generation));
    live(Frame::AssignmentsApplied(v1::AssignmentsApplied { generation }))
}

/// How far a heartbeat says that everything is told.
#[derive(Debug, Clone, Copy)]
pub struct Beat {
    /// Every slot before it has ended but those listed.
    pub watermark: BootTime,
    /// Every record up to it was sent.
    pub live_sequence: u64,
    /// Every run in flight is listed, not only changes.
    pub whole: bool,
}

/// A heartbeat.
pub fn heartbeat(
    beat: Beat,
    changes: &Changes,
    health: v1::ProbeHealth,
    clock: &MeshClock,
    now: BootTime,
) -> v1::LiveRequest {
    let list = |slots: &[(Slot, parallax_common::time::MeshTime)]| {
        let one = |((check, slot), at): &(Slot, parallax_common::time::MeshTime)| v1::InFlight {
            check_uid: uid(check),
            slot: *slot,
            scheduled_boottime_ns: clock.boot_for(*at, now).as_ns(),
        };
        slots.iter().map(one).collect()
    };
    live(Frame::Heartbeat(v1::Heartbeat {
        boottime_ns: beat.watermark.as_ns(),
        live_sequence: beat.live_sequence,
        started: list(&changes.started),
        ended: list(&changes.ended),
        health: Some(health),
        whole: beat.whole,
    }))
}

fn uid(uid: &Uid) -> bytes::Bytes {
    uid.as_bytes().to_vec().into()
}

/// The answer to a ping.
pub fn pong(id: u64, now: BootTime) -> v1::LiveRequest {
    live(Frame::Pong(v1::Pong { id, boottime_ns: now.as_ns() }))
}

/// What a look saw.
pub fn look_seen(seen: &Record, clock: &MeshClock) -> v1::LiveRequest {
    let said = Ok(Box::new(record(seen, clock)));
    live(Frame::LookResult(result_to(&LookResult { look: seen.order, said })))
}

/// Why there is no look.
pub fn look_refused(look: u64, refusal: LookRefusal) -> v1::LiveRequest {
    live(Frame::LookResult(result_to(&LookResult { look, said: Err(refusal) })))
}

/// A farewell.
pub fn goodbye(why: &str) -> v1::LiveRequest {
    live(Frame::Goodbye(v1::ProbeGoodbye { why: why.to_owned() }))
}

/// The first frame of the live lane.
pub fn hello(hello: v1::Hello) -> v1::LiveRequest {
    live(Frame::Hello(hello))
}

/// The first frame of the bulk lane.
pub fn bulk_hello(hello: v1::Hello) -> v1::BulkRequest {
    v1::BulkRequest { frame: Some(v1::bulk_request::Frame::Hello(hello)) }
}

/// Windows, in sequence.
pub fn windows(first_sequence: u64, windows: Vec<v1::Window>, replay: bool) -> v1::BulkRequest {
    let windows = v1::Windows { first_sequence, windows, replay };
    v1::BulkRequest { frame: Some(v1::bulk_request::Frame::Windows(windows)) }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use parallax_common::limits::SNAPSHOT_OUTCOMES_MAX;
    use parallax_common::name::Incarnation;
    use parallax_common::outcome::{Outcome, Phase, Reason};
    use parallax_common::time::MeshTime;
    use parallax_proto::convert;
    use proptest::prelude::*;

    use super::*;
    use crate::core::assign::tests::{assignment, uid};
    use crate::core::record::{Ended, Finding, Recorder};
    use crate::core::schedule::{Cause, Missed};

    /// Outcome and reason as an execution makes them.
    fn said() -> impl Strategy<Value = (Outcome, Option<Reason>)> {
        (0..Reason::ALL.len() + 1).prop_map(|n| match Reason::ALL.get(n) {
            None => (Outcome::Pass, None),
            Some(Reason::Warning) => (Outcome::Warn, Some(Reason::Warning)),
            Some(reason) if reason.is_missed() => (Outcome::Missed, Some(*reason)),
            Some(reason) => (Outcome::Fail, Some(*reason)),
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        /// Whatever clocks do and executions say, no coordinator refuses it.
        #[test]
        fn the_wire_takes_everything_that_the_recorder_makes(
            runs in proptest::collection::vec(
                (
                    said(),
                    (0_i64..400_000_000_000_000, -5_000_000_000_i64..400_000_000_000_000),
                    0_u64..400_000,
                    "\\PC{0,300}",
                    0_u32..40,
                    proptest::collection::vec((0_u32..40, 0_usize..8, 0_u64..400_000), 0..200),
                    0_u64..3,
                ),
                1..40,
            ),
            missed in 0_i64..80,
            offset_ns in -1_000_000_000_000_i64..1_800_000_000_000_000_000,
        ) {
            let clock = MeshClock::resumed(Some(offset_ns), BootTime::from_ns(0));
            let mut recorder = Recorder::new(Incarnation(1));
            let assignment = Arc::new(assignment(1, Duration::from_secs(1)));
            recorder.assign(&assignment, Generation::default());
            let mut records = vec![];
            for (k, ((outcome, reason), (started, length), late_s, evidence, step, phases, cause)) in
                runs.into_iter().enumerate()
            {
                let cause = match cause {
                    0 => Cause::Slot(k as i64),
                    1 => Cause::First,
                    _ => Cause::Order(9),
                };
                let at = MeshTime::from_ns(k as i64 * 1_000_000_000);
                recorder.started(&assignment, cause, at);
                let phases = phases
                    .into_iter()
                    .map(|(step, phase, s)| (step, Phase::ALL[phase], Duration::from_secs(s)))
                    .collect();
                records.extend(recorder.ended(Ended {
                    assignment: Arc::clone(&assignment),
                    generation: Generation::default(),
                    cause,
                    scheduled: at,
                    handed: at,
                    started: BootTime::from_ns(started),
                    ended: BootTime::from_ns(started + length),
                    lateness: Duration::from_secs(late_s),
                    finding: Finding {
                        outcome,
                        reason,
                        step,
                        evidence,
                        remote: None,
                        phases,
                        expiry: None,
                    },
                }));
            }
            if missed > 0 {
                let missed = Missed {
                    assignment: Arc::clone(&assignment),
                    first_slot: 100,
                    last_slot: 99 + missed,
                    reason: Reason::MissedLate,
                    skipped: 0,
                };
                records.extend(recorder.missed(&missed, BootTime::from_ns(1)));
            }
            for frame in outcomes(&records, &clock, usize::MAX) {
                let Some(Frame::Outcomes(frame)) = frame.frame else { panic!("outcomes") };
                for one in &frame.records {
                    prop_assert_eq!(convert::record::record(one).err(), None);
                }
            }
            let snapshot = check_snapshot(&recorder.snapshot(&uid(1)).unwrap(), &clock);
            let read = convert::record::snapshot(&snapshot);
            prop_assert!(read.is_ok(), "{:?}", read);
            prop_assert!(read.unwrap().recent.len() <= SNAPSHOT_OUTCOMES_MAX);
            for window in recorder.seal(MeshTime::from_ns(i64::MAX), 100) {
                let window = convert::window::window_to(&window);
                prop_assert!(convert::window::window(&window).is_ok());
            }
        }
    }
}
