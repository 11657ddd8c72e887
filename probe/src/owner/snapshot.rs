//! A ballot snapshot on its way to one session, cut into frames by their size.
//!
//! A frame over the limit of the wire would end the session, and the next one would begin with the
//! same snapshot: so portions are measured as they are made. What is in a snapshot is
//! [`crate::core::record`]'s.

use std::collections::VecDeque;

use parallax_common::name::{Generation, Uid};
use parallax_proto::v1;
use prost::Message as _;

use super::{FRAME_BYTES, PORTION};
use crate::clock::MeshClock;
use crate::core::record::Recorder;
use crate::wire;

/// What one session is still owed of one snapshot.
#[derive(Debug)]
pub(super) struct Job {
    generation: Generation,
    left: VecDeque<Uid>,
    chunk: u32,
    whole: bool,
}

impl Job {
    /// Owes these checks; `whole` when the snapshot is of everything that is assigned.
    pub fn new(generation: Generation, left: VecDeque<Uid>, whole: bool) -> Self {
        Self { generation, left, chunk: 0, whole }
    }

    /// The next frame: at most [`PORTION`] checks, and none more once it has [`FRAME_BYTES`] (one
    /// check is at most some 20 KiB). True when it is the last one.
    pub fn portion(&mut self, recorder: &Recorder, clock: &MeshClock) -> (v1::LiveRequest, bool) {
        let (mut checks, mut bytes) = (Vec::new(), 0);
        while checks.len() < PORTION
            && bytes < FRAME_BYTES
            && let Some(uid) = self.left.pop_front()
        {
            // A check that left in the meantime is owed to nobody.
            let Some(snapshot) = recorder.snapshot(&uid) else { continue };
            let check = wire::check_snapshot(&snapshot, clock);
            bytes += check.encoded_len();
            checks.push(check);
        }
        let last = self.left.is_empty();
        let head = wire::SnapshotHead {
            generation: self.generation,
            live_sequence: recorder.live_sequence(),
            chunk: self.chunk,
            last,
            whole: self.whole,
        };
        self.chunk += 1;
        (wire::snapshot(checks, head), last)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use parallax_common::limits::{EVIDENCE_BYTES_MAX, FRAME_BYTES_MAX, SNAPSHOT_OUTCOMES_MAX};
    use parallax_common::name::Incarnation;
    use parallax_common::outcome::{Outcome, Phase, Reason};
    use parallax_common::time::{BootTime, MeshTime};
    use v1::live_request::Frame;

    use super::*;
    use crate::core::assign::tests::assignment;
    use crate::core::record::{Ended, Finding};
    use crate::core::schedule::Cause;

    /// An outage in full: every check has failed as often as is kept, with all the evidence there
    /// may be. The records that went out, too.
    fn outage(checks: u8) -> (Recorder, Vec<crate::core::record::Record>) {
        let mut recorder = Recorder::new(Incarnation(1));
        let mut records = Vec::new();
        for n in 0..checks {
            let assignment = Arc::new(assignment(n, Duration::from_secs(1)));
            recorder.assign(&assignment, Generation { epoch: u64::MAX, index: u64::MAX });
            for slot in 0..SNAPSHOT_OUTCOMES_MAX as i64 {
                let at = MeshTime::from_ns(1_800_000_000_000_000_000 + slot * 1_000_000_000);
                let cause = Cause::Slot(1_800_000_000 + slot);
                recorder.started(&assignment, cause, at);
                records.extend(recorder.ended(Ended {
                    assignment: Arc::clone(&assignment),
                    generation: Generation { epoch: u64::MAX, index: u64::MAX },
                    cause,
                    scheduled: at,
                    handed: at,
                    started: BootTime::from_ns(at.as_ns()),
                    ended: BootTime::from_ns(at.as_ns() + 60_000_000_000),
                    lateness: Duration::from_millis(3),
                    finding: Finding {
                        outcome: Outcome::Fail,
                        reason: Some(Reason::ExpectationFailed),
                        step: 0,
                        evidence: "e".repeat(EVIDENCE_BYTES_MAX),
                        remote: Some(
                            "[2001:db8:1111:2222:3333:4444:5555:6666]:65535".parse().unwrap(),
                        ),
                        phases: vec![(0, Phase::Connect, Duration::from_secs(20))],
                        expiry: None,
                    },
                }));
            }
        }
        (recorder, records)
    }

    #[test]
    fn a_snapshot_of_an_outage_with_full_evidence_keeps_to_the_limit_of_a_frame() {
        let (recorder, _) = outage(64);
        let all: VecDeque<Uid> =
            (0..64).map(|n| assignment(n, Duration::from_secs(1)).check).collect();
        let mut job = Job::new(Generation::default(), all.clone(), true);
        let (mut seen, mut chunks) = (VecDeque::new(), 0);
        loop {
            let (frame, last) = job.portion(&recorder, &MeshClock::default());
            let length = frame.encoded_len();
            assert!(length <= FRAME_BYTES_MAX / 2, "a frame of {length} bytes");
            let Some(Frame::Snapshot(snapshot)) = frame.frame else { panic!("a snapshot") };
            assert_eq!((snapshot.chunk, snapshot.last), (chunks, last));
            chunks += 1;
            for check in &snapshot.checks {
                let check = parallax_proto::convert::record::snapshot(check).unwrap();
                assert_eq!(check.recent.len(), SNAPSHOT_OUTCOMES_MAX);
                seen.push_back(check.check);
            }
            if last {
                break;
            }
        }
        assert_eq!(seen, all);
        assert!(chunks > 3, "{chunks} chunks");
    }

    #[test]
    fn outcomes_of_one_turn_are_cut_into_frames_without_a_gap() {
        let (_, records) = outage(64);
        let frames = wire::outcomes(&records, &MeshClock::default(), FRAME_BYTES);
        let mut sequence = 0;
        for frame in &frames {
            assert!(frame.encoded_len() <= FRAME_BYTES_MAX / 2, "{}", frame.encoded_len());
            let Some(Frame::Outcomes(outcomes)) = &frame.frame else { panic!("outcomes") };
            assert_eq!(outcomes.first_sequence, sequence + 1);
            assert!(!outcomes.records.is_empty());
            sequence += outcomes.records.len() as u64;
        }
        assert_eq!(sequence, records.len() as u64);
        assert!(frames.len() > 3);
        assert!(wire::outcomes(&[], &MeshClock::default(), FRAME_BYTES).is_empty());
    }
}
