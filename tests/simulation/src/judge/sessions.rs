//! Live lanes at one member, from hello to goodbye.

use parallax_common::limits::KEEP_ALIVE;
use parallax_common::name::{Generation, Incarnation};
use parallax_coordinator::core::engine::Voter;
use parallax_coordinator::core::fleet::{self, ProbeKey};
use parallax_coordinator::core::judge::Input;
use parallax_coordinator::core::relay::Heard;
use parallax_coordinator::core::session::{Event, Mapping};
use parallax_proto::peer::{self, relay_frame};
use parallax_proto::v1;
use parallax_proto::v1::live_request::Frame as Up;
use parallax_proto::v1::live_response::Frame as Down;

use super::{Desk, Judge};
use crate::lane::Lane;
use crate::line::{LineId, Say, Word};
use crate::probe::MESH;
use crate::seen::Seen;

/// A lane on which nothing came for so long is dead.
const SILENT_US: u64 = 2 * KEEP_ALIVE.as_micros() as u64;

fn down(frame: Down) -> Word {
    Word::Down(Box::new(frame))
}

impl Judge {
    pub(super) fn line_of(&self, voter: &Voter, session: u64) -> Option<LineId> {
        let of = |lane: &Lane| lane.session == session && lane.voter == *voter;
        self.lanes.iter().find(|(_, lane)| of(lane)).map(|(line, _)| *line)
    }

    /// Asks a probe for everything once more, by whatever lane it is heard.
    pub(super) fn ask(&mut self, voter: &Voter, desk: &mut Desk<'_>) {
        let Some((line, lane)) = self.lanes.iter_mut().find(|(_, lane)| lane.voter == *voter)
        else {
            return self.relays.listening.begin_anew(voter);
        };
        lane.owed_here = true;
        if lane.ask(desk.now_us) {
            desk.say.push((*line, down(Down::SnapshotRequest(v1::SnapshotRequest {}))));
        }
    }

    /// A probe says something.
    pub fn hear(&mut self, line: LineId, frame: Up, desk: &mut Desk<'_>) {
        if let Up::Hello(hello) = frame {
            return self.greet(line, &hello, desk);
        }
        let now = self.mesh(desk.now_us);
        let leads = self.leads;
        let Some(lane) = self.lanes.get_mut(&line) else { return };
        lane.heard_us = desk.now_us;
        let measuring = matches!(frame, Up::Pong(_));
        let first = measuring && lane.intake.round_trip().is_none();
        let tapped = (!lane.taps.is_empty() && !measuring).then(|| frame.clone());
        let events = match lane.intake.frame(frame, now) {
            Ok(events) => events,
            Err(refused) => {
                let (by, why) = (format!("member {}", desk.node), refused.to_string());
                desk.sink.tell(Seen::FrameRefused { by, why });
                return self.end_lane(line, desk);
            }
        };
        if let (Some(frame), Some(mapping)) = (tapped, lane.intake.mapping()) {
            pass(lane, &frame, mapping, desk);
        }
        if first && lane.intake.round_trip().is_some() {
            let ping = lane.intake.ping(now, leads);
            desk.say.push((line, down(Down::Ping(ping))));
        }
        let (voter, session) = (lane.voter.clone(), lane.session);
        for event in events {
            match &event {
                Event::Heartbeat { heartbeat, .. } => {
                    if let Some(lane) = self.lanes.get_mut(&line) {
                        lane.watermark = Some(heartbeat.watermark);
                    }
                }
                Event::Applied(_) | Event::Looked(_) => continue,
                Event::Goodbye(_) => return self.end_lane(line, desk),
                Event::Snapshot { .. } | Event::Outcomes { .. } => {}
            }
            self.handle(Input::Heard { voter: voter.clone(), session, event }, desk);
        }
    }

    /// Opens a lane. One of the same life is replaced when it is dead, and kept when it is not.
    fn greet(&mut self, line: LineId, hello: &v1::Hello, desk: &mut Desk<'_>) {
        let voter = Voter {
            region: hello.region.clone(),
            probe: hello.probe.clone(),
            incarnation: Incarnation(hello.incarnation),
        };
        let before = self.lanes.iter().find(|(_, lane)| lane.voter == voter);
        if let Some((before, is_alive)) =
            before.map(|(line, lane)| (*line, lane.is_alive(desk.now_us)))
        {
            if is_alive {
                desk.counters.add("connected already");
                let goodbye = v1::CoordinatorGoodbye {
                    why: "this life of the probe is connected already".to_owned(),
                    r#final: false,
                    connected_node_id: desk.node,
                };
                desk.say.push((line, down(Down::Goodbye(goodbye))));
                desk.hang_up.push(line);
                return;
            }
            self.end_lane(before, desk);
        }
        self.sessions += 1;
        let facts = fleet::Session {
            id: self.sessions,
            key: ProbeKey { region: voter.region.clone(), probe: voter.probe.clone() },
            incarnation: voter.incarnation,
            address: format!("line {line}"),
            build: hello.build.clone(),
            kinds: hello.kinds.clone(),
        };
        desk.counters.add("session opened");
        self.handle(Input::Opened(voter.clone(), facts.clone()), desk);
        let mut lane = Lane::new(voter, facts, desk.now_us);
        let welcome = v1::Welcome {
            mesh: MESH.to_owned(),
            node_id: desk.node,
            epoch: desk.state.cluster.epoch,
            leader: self.leads,
            level: 1,
            ..v1::Welcome::default()
        };
        desk.say.push((line, down(Down::Welcome(welcome))));
        let ping = lane.intake.ping(self.mesh(desk.now_us), self.leads);
        desk.say.push((line, down(Down::Ping(ping))));
        let held = hello.generation.map(|held| Generation { epoch: held.epoch, index: held.index });
        let (region, probe) = (&lane.voter.region, &lane.voter.probe);
        for chunk in lane.handout.next(self.core.plan(), region, probe, held) {
            desk.say.push((line, down(Down::Assignments(chunk))));
        }
        self.lanes.insert(line, lane);
    }

    /// Ends a lane, and tells the core.
    pub(super) fn end_lane(&mut self, line: LineId, desk: &mut Desk<'_>) {
        if let Some(lane) = self.lanes.remove(&line) {
            desk.hang_up.push(line);
            self.handle(Input::Closed(lane.voter, lane.session), desk);
        }
    }

    /// Tells a life of a probe to go, when it is connected here.
    pub(super) fn supersede(&mut self, key: &ProbeKey, old: Incarnation, desk: &mut Desk<'_>) {
        let of = |lane: &Lane| lane.facts.key == *key && lane.voter.incarnation == old;
        let lanes = self.lanes.iter().filter(|(_, lane)| of(lane));
        for line in lanes.map(|(line, _)| *line).collect::<Vec<_>>() {
            let why = "another probe took the name".to_owned();
            let goodbye = v1::CoordinatorGoodbye { why, r#final: true, connected_node_id: 0 };
            desk.say.push((line, down(Down::Goodbye(goodbye))));
            self.end_lane(line, desk);
        }
    }

    /// The other end of a line has closed it.
    pub fn closed(&mut self, line: LineId, desk: &mut Desk<'_>) {
        self.end_lane(line, desk);
        self.end_stream(line, desk);
    }

    /// The probes with a lane here that speaks and whose clock is measured.
    pub(super) fn heard_here(&self, now_us: u64) -> Heard {
        let lanes = self.lanes.values().filter(|lane| lane.is_alive(now_us));
        lanes.filter_map(|lane| Some((lane.voter.clone(), lane.watermark?))).collect()
    }

    /// Once a second.
    pub fn beat(&mut self, desk: &mut Desk<'_>) {
        let now = self.mesh(desk.now_us);
        let mut dead = Vec::new();
        for (line, lane) in &mut self.lanes {
            if desk.now_us - lane.heard_us > SILENT_US {
                dead.push(*line);
                continue;
            }
            let ping = lane.intake.ping(now, self.leads);
            desk.say.push((*line, down(Down::Ping(ping))));
            if lane.ask(desk.now_us) {
                let request = Down::SnapshotRequest(v1::SnapshotRequest {});
                desk.say.push((*line, down(request)));
            }
        }
        for line in dead {
            self.end_lane(line, desk);
        }
        self.round(desk);
    }
}

/// Passes a frame on to everybody for whom it is.
fn pass(lane: &mut Lane, frame: &Up, mapping: Mapping, desk: &mut Desk<'_>) {
    for tap in &mut lane.taps {
        if tap.sieve.passes(frame) {
            let frame = v1::LiveRequest { frame: Some(frame.clone()) };
            let lane = peer::LaneFrame {
                lane: tap.lane,
                offset_ns: mapping.offset_ns,
                frame: Some(frame),
            };
            let say = Say::Frame(relay_frame::Frame::Lane(lane));
            desk.say.push((tap.stream, Word::Relay(Box::new(say))));
        }
    }
}
