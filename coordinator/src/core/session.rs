//! One probe's live lane, without its socket: frames in, checked and mapped to mesh time, events
//! out. What breaks a rule is refused with a reason and ends the session; nobody else notices.

use std::time::Duration;

use parallax_common::clock::{Exchange, OffsetEstimator};
use parallax_common::limits::{
    EVIDENCE_BYTES_MAX, FRAME_CHANGES_MAX, FRAME_RECORDS_MAX, FRAMES_HELD_BYTES_MAX,
    FRAMES_HELD_MAX, TIME_AHEAD_MAX,
};
use parallax_common::name::{Generation, Uid};
use parallax_common::record::{LookResult, Record};
use parallax_common::rule::{self, Rule};
use parallax_common::time::{BootTime, MeshTime, ns};
use parallax_proto::convert::assignment::WireError;
use parallax_proto::convert::{look, record};
use parallax_proto::v1;
use parallax_proto::v1::live_request::Frame;

use crate::core::ballots::{Heard, Said};
use crate::core::engine::{CheckSnapshot, Heartbeat};

/// A frame that broke a rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{rule}: {why}")]
pub struct Refused {
    /// From the rule table.
    pub rule: Rule,
    /// In words.
    pub why: String,
}

impl From<WireError> for Refused {
    fn from(error: WireError) -> Self {
        Self { rule: error.rule, why: error.to_string() }
    }
}

fn refuse<T>(rule: Rule, why: impl Into<String>) -> Result<T, Refused> {
    Err(Refused { rule, why: why.into() })
}

/// What the frames of a session say.
#[derive(Debug, Clone)]
pub enum Event {
    /// Votes as of a moment; see [`v1::BallotSnapshot`].
    Snapshot {
        /// Records up to here are in it.
        live_sequence: u64,
        /// Replaces everything known of this probe.
        whole: bool,
        /// The last chunk.
        last: bool,
        /// The checks of this chunk.
        checks: Vec<CheckSnapshot>,
    },
    /// Outcomes, with the live sequence of the first.
    Outcomes {
        /// Of the first record.
        first_sequence: u64,
        /// In order.
        records: Vec<Heard>,
    },
    /// A watermark.
    Heartbeat {
        /// T and S of decision 6, and what is in flight.
        heartbeat: Heartbeat,
        /// What the probe says of itself.
        health: Option<v1::ProbeHealth>,
    },
    /// The probe runs this generation now.
    Applied(Generation),
    /// It leaves, and says why.
    Goodbye(String),
    /// What became of a look that it was asked for.
    Looked(LookResult),
}

/// The receiving side of one live lane.
#[derive(Debug, Default)]
pub struct Intake {
    clock: OffsetEstimator,
    pings: u64,
    sent: Option<(u64, MeshTime)>,
    held: Vec<Frame>,
    held_bytes: usize,
}

impl Intake {
    /// The next ping, sent at `now`.
    pub fn ping(&mut self, now: MeshTime, leader: bool) -> v1::Ping {
        self.pings += 1;
        self.sent = Some((self.pings, now));
        let best = self.clock.estimate();
        v1::Ping {
            id: self.pings,
            mesh_ns: now.as_ns(),
            measured: best.is_some(),
            offset_ns: best.map_or(0, |best| best.offset_ns),
            round_trip_ns: best.map_or(0, |best| ns(best.round_trip)),
            leader,
        }
    }

    /// The lowest round trip of late.
    pub fn round_trip(&self) -> Option<Duration> {
        self.clock.estimate().map(|best| best.round_trip)
    }

    /// Takes one frame that arrived at `now`, and gives what it (and frames held back before it)
    /// says.
    ///
    /// # Errors
    /// [`Refused`] names the broken rule; the session is over.
    pub fn frame(&mut self, frame: Frame, now: MeshTime) -> Result<Vec<Event>, Refused> {
        match frame {
            Frame::Pong(pong) => {
                let first = self.clock.estimate().is_none();
                self.pong(&pong, now);
                if first && self.clock.estimate().is_some() {
                    let held = std::mem::take(&mut self.held);
                    return held.into_iter().map(|frame| self.read(frame, now)).collect();
                }
                Ok(Vec::new())
            }
            Frame::Hello(_) => refuse(rule::HELLO_AGAIN, "a session says hello once"),
            frame if self.clock.estimate().is_none() => {
                self.held_bytes += frame.encoded_len();
                if self.held.len() >= FRAMES_HELD_MAX || self.held_bytes > FRAMES_HELD_BYTES_MAX {
                    return refuse(rule::PING_UNANSWERED, "frames come, but no answer to the ping");
                }
                self.held.push(frame);
                Ok(Vec::new())
            }
            frame => Ok(vec![self.read(frame, now)?]),
        }
    }

    fn pong(&mut self, pong: &v1::Pong, now: MeshTime) {
        // Only the newest ping counts: an answer to an older one measures our own queue.
        if let Some((_, sent)) = self.sent.take_if(|(id, _)| *id == pong.id) {
            let theirs = BootTime::from_ns(pong.boottime_ns);
            let exchange =
                Exchange { sent, their_receipt: theirs, their_answer: theirs, received: now };
            self.clock.observe(exchange);
        }
    }

    /// What maps the probe's boot time to mesh time now; absent before the first measurement.
    pub fn mapping(&self) -> Option<Mapping> {
        self.clock.estimate().map(|best| Mapping { offset_ns: best.offset_ns })
    }

    fn read(&self, frame: Frame, now: MeshTime) -> Result<Event, Refused> {
        match self.mapping() {
            Some(mapping) => mapping.read(frame, now),
            None => refuse(rule::PING_UNANSWERED, "the clock was not measured yet"),
        }
    }
}

/// How a probe's boot time is mesh time, as measured by the member that holds the session. A relay
/// sends it with each frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mapping {
    /// mesh = boot time + this.
    pub offset_ns: i64,
}

impl Mapping {
    /// What a frame says. Hello and pong are a session's own and say nothing.
    ///
    /// # Errors
    /// [`Refused`] names the broken rule; the session is over.
    pub fn read(&self, frame: Frame, now: MeshTime) -> Result<Event, Refused> {
        match frame {
            Frame::Heartbeat(heartbeat) => self.heartbeat(heartbeat, now),
            Frame::Outcomes(outcomes) => {
                if outcomes.records.is_empty() || outcomes.records.len() > FRAME_RECORDS_MAX {
                    return refuse(
                        rule::WIRE_TOO_MANY,
                        format!("1 to {FRAME_RECORDS_MAX} records in a frame"),
                    );
                }
                let records =
                    outcomes.records.iter().map(|record| self.heard(record::record(record)?, now));
                Ok(Event::Outcomes {
                    first_sequence: outcomes.first_sequence,
                    records: records.collect::<Result<_, _>>()?,
                })
            }
            Frame::Snapshot(snapshot) => {
                if snapshot.checks.len() > FRAME_RECORDS_MAX {
                    return refuse(
                        rule::WIRE_TOO_MANY,
                        format!("at most {FRAME_RECORDS_MAX} checks in a frame"),
                    );
                }
                let checks = snapshot.checks.iter().map(|check| self.snapshot(check, now));
                Ok(Event::Snapshot {
                    live_sequence: snapshot.live_sequence,
                    whole: snapshot.whole,
                    last: snapshot.last,
                    checks: checks.collect::<Result<_, _>>()?,
                })
            }
            Frame::AssignmentsApplied(applied) => {
                let generation = applied.generation.unwrap_or_default();
                Ok(Event::Applied(Generation { epoch: generation.epoch, index: generation.index }))
            }
            Frame::Goodbye(goodbye) => Ok(Event::Goodbye(capped(goodbye.why))),
            Frame::LookResult(result) => Ok(Event::Looked(look::result(&result)?)),
            Frame::Hello(_) | Frame::Pong(_) => refuse(rule::HELLO_AGAIN, "not expected here"),
        }
    }

    fn heartbeat(&self, heartbeat: v1::Heartbeat, now: MeshTime) -> Result<Event, Refused> {
        if heartbeat.started.len() + heartbeat.ended.len() > FRAME_CHANGES_MAX {
            return refuse(
                rule::WIRE_TOO_MANY,
                format!("at most {FRAME_CHANGES_MAX} changes in a heartbeat"),
            );
        }
        let watermark = self.mesh(heartbeat.boottime_ns, now)?;
        let started = heartbeat.started.iter().map(|run| {
            let at = self.mesh(run.scheduled_boottime_ns, now)?;
            Ok::<_, Refused>((uid(&run.check_uid)?, run.slot, at))
        });
        let ended =
            heartbeat.ended.iter().map(|run| Ok::<_, Refused>((uid(&run.check_uid)?, run.slot)));
        Ok(Event::Heartbeat {
            heartbeat: Heartbeat {
                watermark,
                live_sequence: heartbeat.live_sequence,
                started: started.collect::<Result<_, _>>()?,
                ended: ended.collect::<Result<_, _>>()?,
                whole: heartbeat.whole,
            },
            health: heartbeat.health,
        })
    }

    fn snapshot(&self, given: &v1::CheckSnapshot, now: MeshTime) -> Result<CheckSnapshot, Refused> {
        let given = record::snapshot(given)?;
        let recent = given.recent.into_iter().map(|record| self.heard(record, now));
        Ok(CheckSnapshot {
            check: given.check,
            said: Said {
                digest: given.run_digest,
                state: given.state,
                since: self.mesh(given.since.as_ns(), now)?,
                counted: given.counted,
                until: given.next_number.saturating_sub(1),
            },
            recent: recent.collect::<Result<_, _>>()?,
            next_number: given.next_number,
        })
    }

    fn heard(&self, record: Record, now: MeshTime) -> Result<Heard, Refused> {
        let started = self.mesh(record.started.as_ns(), now)?;
        let ended = self.mesh(record.ended.as_ns(), now)?;
        Ok(Heard {
            check: record.check,
            digest: record.run_digest,
            number: record.number,
            slot: record.slot,
            order: record.order,
            outcome: record.outcome,
            reason: record.reason,
            step: record.step,
            evidence: record.evidence,
            started,
            ended,
            total: ended.since(started),
        })
    }

    /// The boot time of the probe as mesh time.
    fn mesh(&self, boottime_ns: i64, now: MeshTime) -> Result<MeshTime, Refused> {
        let mesh = BootTime::from_ns(boottime_ns).to_mesh(self.offset_ns);
        if mesh > now + TIME_AHEAD_MAX {
            return refuse(rule::TIME_AHEAD, "a time lies in the future");
        }
        Ok(mesh)
    }
}

fn uid(bytes: &[u8]) -> Result<Uid, Refused> {
    match Uid::from_slice(bytes) {
        Some(uid) => Ok(uid),
        None => refuse(rule::WIRE_UID, "a check's uid has 16 bytes"),
    }
}

/// Evidence is capped by the probe; one that does not is cut here.
fn capped(mut text: String) -> String {
    if text.len() > EVIDENCE_BYTES_MAX {
        let mut end = EVIDENCE_BYTES_MAX;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured() -> Intake {
        let mut intake = Intake::default();
        let ping = intake.ping(MeshTime::from_ns(10_000_000_000), true);
        assert!(!ping.measured);
        let pong = v1::Pong { id: ping.id, boottime_ns: 1_000_000_000 };
        let events = intake.frame(Frame::Pong(pong), MeshTime::from_ns(10_002_000_000)).unwrap();
        assert!(events.is_empty());
        intake
    }

    fn record() -> v1::OutcomeRecord {
        v1::OutcomeRecord {
            check_uid: vec![7; 16].into(),
            number: 1,
            slot: Some(3),
            scheduled_boottime_ns: 1_000_000_000,
            outcome: v1::Outcome::Fail.into(),
            reason: v1::Reason::ConnectRefused.into(),
            started_boottime_ns: 1_000_000_000,
            ended_boottime_ns: 1_000_500_000,
            ..v1::OutcomeRecord::default()
        }
    }

    fn outcomes(record: v1::OutcomeRecord) -> Frame {
        Frame::Outcomes(v1::Outcomes { first_sequence: 1, records: vec![record] })
    }

    #[test]
    fn times_are_mapped_by_the_offset_that_this_session_measured() {
        let now = MeshTime::from_ns(10_010_000_000);
        let events = measured().frame(outcomes(record()), now).unwrap();
        let [Event::Outcomes { records, .. }] = &events[..] else { panic!("{events:?}") };
        assert_eq!(records[0].started.as_ns(), 10_001_000_000);
        assert_eq!(records[0].total, Duration::from_micros(500));
    }

    #[test]
    fn frames_before_the_first_measurement_wait_for_it() {
        let mut intake = Intake::default();
        let now = MeshTime::from_ns(10_000_000_000);
        let ping = intake.ping(now, true);
        assert!(intake.frame(outcomes(record()), now).unwrap().is_empty());
        let pong = v1::Pong { id: ping.id, boottime_ns: 1_000_600_000 };
        let events = intake.frame(Frame::Pong(pong), now).unwrap();
        assert_eq!(events.len(), 1);
    }

    const NOW: MeshTime = MeshTime::from_ns(10_010_000_000);

    /// The rule that a record breaks on its way in.
    fn of_record(change: fn(&mut v1::OutcomeRecord)) -> Rule {
        let mut record = record();
        change(&mut record);
        of_frame(outcomes(record))
    }

    fn of_frame(frame: Frame) -> Rule {
        measured().frame(frame, NOW).unwrap_err().rule
    }

    #[test]
    fn what_breaks_a_rule_of_the_wire_is_refused_by_its_name() {
        assert_eq!(of_record(|r| r.check_uid = vec![1, 2, 3].into()), rule::WIRE_UID);
        assert_eq!(of_record(|r| r.number = 0), rule::WIRE_NUMBER);
        assert_eq!(of_record(|r| r.outcome = 99), rule::WIRE_FIELD);
        assert_eq!(of_record(|r| r.ended_boottime_ns = 0), rule::WIRE_TIME);
        let none = Frame::Outcomes(v1::Outcomes::default());
        assert_eq!(of_frame(none), rule::WIRE_TOO_MANY);
        let records = vec![record(); FRAME_RECORDS_MAX + 1];
        let many = Frame::Outcomes(v1::Outcomes { first_sequence: 1, records });
        assert_eq!(of_frame(many), rule::WIRE_TOO_MANY);
        let ended = vec![v1::InFlight::default(); FRAME_CHANGES_MAX + 1];
        let many = Frame::Heartbeat(v1::Heartbeat { ended, ..Default::default() });
        assert_eq!(of_frame(many), rule::WIRE_TOO_MANY);
        let checks = vec![v1::CheckSnapshot::default(); FRAME_RECORDS_MAX + 1];
        let many = Frame::Snapshot(v1::BallotSnapshot { checks, ..Default::default() });
        assert_eq!(of_frame(many), rule::WIRE_TOO_MANY);
    }

    #[test]
    fn every_rule_of_a_session_is_broken_by_some_row() {
        let ahead = |r: &mut v1::OutcomeRecord| {
            r.started_boottime_ns += 10_000_000_000;
            r.ended_boottime_ns += 10_000_000_000;
        };
        let unmeasured = || {
            let mut intake = Intake::default();
            intake.ping(NOW, true);
            let mut taken = (0..=FRAMES_HELD_MAX).map(|_| intake.frame(outcomes(record()), NOW));
            taken.find_map(Result::err).unwrap().rule
        };
        let heavy = || {
            let mut intake = Intake::default();
            intake.ping(NOW, true);
            let why = "x".repeat(FRAMES_HELD_BYTES_MAX / 4);
            let frame = || Frame::Goodbye(v1::ProbeGoodbye { why: why.clone() });
            let mut taken = (0..4).map(|_| intake.frame(frame(), NOW));
            taken.find_map(Result::err).unwrap().rule
        };
        let rows = [
            (rule::PING_UNANSWERED, heavy()),
            (rule::HELLO_AGAIN, of_frame(Frame::Hello(v1::Hello::default()))),
            (rule::PING_UNANSWERED, unmeasured()),
            (rule::TIME_AHEAD, of_record(ahead)),
        ];
        for (rule, broken) in &rows {
            assert_eq!(rule, broken);
        }
        let all = rule::ALL.iter().filter(|rule| rule.stage == rule::Stage::Session);
        let without: Vec<&Rule> =
            all.filter(|rule| rows.iter().all(|(broken, _)| broken != *rule)).collect();
        assert!(without.is_empty(), "rules without a row: {without:?}");
    }

    #[test]
    fn what_became_of_a_look_is_an_event_of_its_own_and_held_to_the_rules_of_the_wire() {
        let mut intake = measured();
        let now = MeshTime::from_ns(20_000_000_000);
        let seen = v1::OutcomeRecord { number: 3, order: 3, slot: None, ..record() };
        let result = v1::LookResult { look: 3, record: Some(seen), refusal: 0 };
        let events = intake.frame(Frame::LookResult(result.clone()), now).unwrap();
        let [Event::Looked(looked)] = events.as_slice() else { panic!("{events:?}") };
        assert_eq!((looked.look, looked.said.is_ok()), (3, true));
        let other = v1::LookResult { look: 4, ..result };
        let refused = intake.frame(Frame::LookResult(other), now).unwrap_err();
        assert_eq!(refused.rule, rule::WIRE_NUMBER);
    }
}
