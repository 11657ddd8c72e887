//! Streams to other members: whom each hears, what is wanted of it, and the leader's time.

use std::collections::BTreeMap;
use std::time::Duration;

use parallax_common::limits::{CLOCK_STEP_MAX, PEER_SILENT_AFTER};
use parallax_common::name::Incarnation;
use parallax_common::time::MeshTime;
use parallax_coordinator::core::engine::Voter;
use parallax_coordinator::core::fleet::{ProbeKey, Session};
use parallax_coordinator::core::judge::Input;
use parallax_coordinator::core::mesh_clock::Followed;
use parallax_coordinator::core::peering::Standing;
use parallax_coordinator::core::relay::{Heard, Listening, Passing, Sieve};
use parallax_coordinator::core::session::{Intake, Mapping};
use parallax_proto::peer::{self, relay_frame};
use parallax_proto::v1;
use parallax_proto::v1::live_request::Frame as Up;
use parallax_proto::v1::live_response::Frame as Down;

use super::{Desk, Judge};
use crate::gate::{self, Gate};
use crate::lane::Tap;
use crate::line::{LineId, Say, Word};
use crate::seen::Seen;

const SILENT_US: u64 = PEER_SILENT_AFTER.as_micros() as u64;

/// One end of a stream.
struct Talk {
    member: u64,
    /// This end was dialled: it measures the other one.
    measures: bool,
    intake: Intake,
    passing: Passing,
    /// Lanes that come, by their number: whose, and their session here.
    lanes: BTreeMap<u64, (Voter, u64)>,
    heard_us: u64,
}

/// All streams of one member.
pub struct Relays {
    gate: Gate,
    /// Who is heard by whom.
    pub(super) listening: Listening,
    /// Who leads, as this member knows.
    pub(super) leader: Option<u64>,
    streams: BTreeMap<LineId, Talk>,
}

fn word(say: Say) -> Word {
    Word::Relay(Box::new(say))
}

fn frame(frame: relay_frame::Frame) -> Word {
    word(Say::Frame(frame))
}

impl Relays {
    /// No streams yet; whoever dials is asked at this gate.
    pub(super) fn new(gate: Gate) -> Self {
        Self { gate, listening: Listening::default(), leader: None, streams: BTreeMap::new() }
    }

    /// Has the member that relays a probe pass this order on.
    pub(super) fn order(&self, to: &Voter, order: &v1::ConfirmOrder, desk: &mut Desk<'_>) {
        let Some(member) = self.listening.through(to) else { return };
        if let Some(line) = self.line_to(member) {
            desk.counters.add("order relayed");
            let order = peer::RelayedOrder { life: Some(life_of(to)), order: Some(order.clone()) };
            desk.say.push((line, word(Say::Order(order))));
        }
    }

    /// Has every other member tell this life of a probe to go.
    pub(super) fn supersede(
        &self,
        key: &ProbeKey,
        old: Incarnation,
        new: Incarnation,
        desk: &mut Desk<'_>,
    ) {
        for line in self.streams.keys() {
            let superseded = peer::SupersededProbe {
                region: key.region.clone(),
                probe: key.probe.clone(),
                old: old.0,
                new: new.0,
            };
            desk.say.push((*line, word(Say::Superseded(superseded))));
        }
    }

    /// Whether another member relays this life of a probe.
    pub(super) fn hears(&self, incarnation: u64) -> bool {
        let mut lanes = self.streams.values().flat_map(|talk| talk.lanes.values());
        lanes.any(|(voter, _)| voter.incarnation.0 == incarnation)
    }

    fn line_to(&self, member: u64) -> Option<LineId> {
        self.streams.iter().find(|(_, talk)| talk.member == member).map(|(line, _)| *line)
    }
}

impl Judge {
    /// Another member leads, or nobody does: its stream is the one that is kept.
    pub(super) fn follow_leader(&mut self, leader: Option<u64>, desk: &mut Desk<'_>) {
        self.relays.leader = leader;
        let dialled = self.relays.streams.iter().filter(|(_, talk)| !talk.measures);
        let old = dialled.filter(|(_, talk)| Some(talk.member) != leader);
        for line in old.map(|(line, _)| *line).collect::<Vec<_>>() {
            self.end_stream(line, desk);
        }
        desk.follow = self.wants_to_follow(desk.node).or(desk.follow);
    }

    /// The leader to dial, when there is no stream to it.
    pub fn wants_to_follow(&self, node: u64) -> Option<u64> {
        let leader = self.relays.leader.filter(|leader| *leader != node)?;
        let has = |talk: &Talk| talk.member == leader && !talk.measures;
        (!self.relays.streams.values().any(has)).then_some(leader)
    }

    /// Has dialled the leader: its first word.
    pub fn dialled(&mut self, member: u64, line: LineId, desk: &mut Desk<'_>) {
        let hello = gate::hello(desk.node, member, &desk.state);
        desk.say.push((line, word(Say::Hello(hello))));
        self.begin_stream(line, member, false, desk);
    }

    fn begin_stream(&mut self, line: LineId, member: u64, measures: bool, desk: &mut Desk<'_>) {
        if let Some(before) = self.relays.line_to(member) {
            self.end_stream(before, desk);
        }
        let talk = Talk {
            member,
            measures,
            intake: Intake::default(),
            passing: Passing::default(),
            lanes: BTreeMap::new(),
            heard_us: desk.now_us,
        };
        self.relays.streams.insert(line, talk);
    }

    /// Ends a stream: what was heard by it ends, and what was passed on by it.
    pub(super) fn end_stream(&mut self, line: LineId, desk: &mut Desk<'_>) {
        let Some(talk) = self.relays.streams.remove(&line) else { return };
        desk.hang_up.push(line);
        self.relays.listening.gone(talk.member);
        for lane in self.lanes.values_mut() {
            lane.taps.retain(|tap| tap.stream != line);
        }
        for (voter, session) in talk.lanes.into_values() {
            self.handle(Input::Closed(voter, session), desk);
        }
    }

    pub(super) fn end_streams(&mut self, desk: &mut Desk<'_>) {
        for line in self.relays.streams.keys().copied().collect::<Vec<_>>() {
            self.end_stream(line, desk);
        }
    }

    /// Once a second: whom this member hears, and whom it wants of others.
    pub(super) fn round(&mut self, desk: &mut Desk<'_>) {
        let now = self.mesh(desk.now_us);
        let streams = self.relays.streams.iter();
        let silent = streams.filter(|(_, talk)| desk.now_us - talk.heard_us > SILENT_US);
        for line in silent.map(|(line, _)| *line).collect::<Vec<_>>() {
            self.end_stream(line, desk);
        }
        let heard = self.heard_here(desk.now_us);
        self.relays.listening.heard_here(&heard, now);
        let mut wanted = self.relays.listening.wanted(now);
        let one = |(voter, mark): (&Voter, &MeshTime)| peer::HeardProbe {
            life: Some(life_of(voter)),
            watermark_mesh_ns: mark.as_ns(),
        };
        let list = peer::HeardProbes { probes: heard.iter().map(one).collect(), last: true };
        for (line, talk) in &mut self.relays.streams {
            let lives = wanted.remove(&talk.member).unwrap_or_default();
            let probes = lives.iter().map(life_of).collect();
            desk.say.push((*line, frame(relay_frame::Frame::Heard(list.clone()))));
            let wanted = peer::WantedProbes { probes };
            desk.say.push((*line, frame(relay_frame::Frame::Wanted(wanted))));
            if talk.measures {
                desk.say.push((*line, word(Say::Ping(talk.intake.ping(now, self.leads)))));
            }
        }
        desk.follow = self.wants_to_follow(desk.node).or(desk.follow);
    }

    /// Another member says something.
    pub fn hear_member(&mut self, line: LineId, say: Say, desk: &mut Desk<'_>) {
        if let Say::Hello(hello) = &say {
            return self.admit(line, hello, desk);
        }
        let Some(talk) = self.relays.streams.get_mut(&line) else { return };
        talk.heard_us = desk.now_us;
        match say {
            Say::Frame(relay_frame::Frame::Heard(heard)) => self.heard_there(line, heard, desk),
            Say::Frame(relay_frame::Frame::Wanted(wanted)) => self.wanted(line, wanted, desk),
            Say::Frame(relay_frame::Frame::Opened(opened)) => self.opened(line, opened, desk),
            Say::Frame(relay_frame::Frame::Lane(lane)) => self.lane(line, lane, desk),
            Say::Frame(relay_frame::Frame::Closed(closed)) => {
                self.close_relayed(line, closed.lane, desk);
            }
            Say::Ping(ping) => self.measured(line, &ping, desk),
            Say::Pong(pong) => {
                let now = self.mesh(desk.now_us);
                let leads = self.leads;
                let Some(talk) = self.relays.streams.get_mut(&line) else { return };
                let first = talk.intake.round_trip().is_none();
                // A pong says nothing else, and breaks no rule.
                drop(talk.intake.frame(Up::Pong(pong), now));
                if first && talk.intake.round_trip().is_some() {
                    desk.say.push((line, word(Say::Ping(talk.intake.ping(now, leads)))));
                }
            }
            Say::Order(peer::RelayedOrder { life, order: Some(order) }) => {
                let to = voter(life);
                for (line, lane) in &self.lanes {
                    if lane.voter == to {
                        desk.say.push((*line, Word::Down(Box::new(Down::Order(order.clone())))));
                    }
                }
            }
            Say::Superseded(peer::SupersededProbe { region, probe, old, .. }) => {
                self.supersede(&ProbeKey { region, probe }, Incarnation(old), desk);
            }
            Say::Order(_) | Say::Hello(_) => {}
        }
    }

    /// Lets another member in, or not, by the rule of production.
    fn admit(&mut self, line: LineId, hello: &peer::PeerHello, desk: &mut Desk<'_>) {
        match self.relays.gate.admit(&desk.state, hello) {
            Ok(Standing::Member) => {
                desk.sink.tell(Seen::LetIn { node: desk.node, from: hello.node_id });
                self.begin_stream(line, hello.node_id, true, desk);
            }
            // Its row is not applied here yet.
            Ok(Standing::Ahead) => desk.hang_up.push(line),
            Err(refusal) => {
                desk.refused.push((hello.node_id, refusal));
                desk.hang_up.push(line);
            }
        }
    }

    fn heard_there(&mut self, line: LineId, heard: peer::HeardProbes, desk: &mut Desk<'_>) {
        let Some(talk) = self.relays.streams.get(&line) else { return };
        let one = |probe: peer::HeardProbe| {
            (voter(probe.life), MeshTime::from_ns(probe.watermark_mesh_ns))
        };
        let list: Heard = heard.probes.into_iter().map(one).collect();
        let vouched = list.iter().map(|(voter, mark)| (voter.clone(), *mark)).collect();
        let now = self.mesh(desk.now_us);
        self.relays.listening.heard_there(talk.member, list, now);
        self.handle(Input::Vouched(vouched), desk);
    }

    /// Begins and ends what is passed on.
    fn wanted(&mut self, line: LineId, wanted: peer::WantedProbes, desk: &mut Desk<'_>) {
        let Some(talk) = self.relays.streams.get_mut(&line) else { return };
        let wanted: Vec<Voter> = wanted.probes.into_iter().map(|life| voter(Some(life))).collect();
        let lanes = &mut self.lanes;
        let turns = talk.passing.wanted(wanted, |voter| {
            let of = |tap: &Tap| tap.stream == line;
            lanes.values().any(|lane| lane.voter == *voter && lane.taps.iter().any(of))
        });
        for (number, voter) in turns.end {
            for lane in lanes.values_mut().filter(|lane| lane.voter == voter) {
                lane.taps.retain(|tap| tap.stream != line);
            }
            let closed = peer::LaneClosed { lane: number };
            desk.say.push((line, frame(relay_frame::Frame::Closed(closed))));
        }
        for (number, voter) in turns.begin {
            let found = lanes.iter_mut().find(|(_, lane)| lane.voter == voter);
            let Some((probe, lane)) = found else {
                talk.passing.failed(&voter);
                continue;
            };
            let opened = peer::RelayedLane {
                lane: number,
                life: Some(life_of(&voter)),
                address: lane.facts.address.clone(),
                build: lane.facts.build.clone(),
                kinds: lane.facts.kinds.clone(),
            };
            desk.say.push((line, frame(relay_frame::Frame::Opened(opened))));
            lane.taps.retain(|tap| tap.stream != line);
            lane.taps.push(Tap { stream: line, lane: number, sieve: Sieve::default() });
            lane.owed = true;
            if lane.ask(desk.now_us) {
                let request = Down::SnapshotRequest(v1::SnapshotRequest {});
                desk.say.push((*probe, Word::Down(Box::new(request))));
            }
        }
    }

    fn opened(&mut self, line: LineId, opened: peer::RelayedLane, desk: &mut Desk<'_>) {
        let voter = voter(opened.life);
        let Some(talk) = self.relays.streams.get_mut(&line) else { return };
        if self.relays.listening.through(&voter) != Some(talk.member) {
            return;
        }
        self.sessions += 1;
        let session = Session {
            id: self.sessions,
            key: ProbeKey { region: voter.region.clone(), probe: voter.probe.clone() },
            incarnation: voter.incarnation,
            address: opened.address,
            build: opened.build,
            kinds: opened.kinds,
        };
        talk.lanes.insert(opened.lane, (voter.clone(), self.sessions));
        desk.counters.add("relay used");
        self.handle(Input::Opened(voter, session), desk);
    }

    fn lane(&mut self, line: LineId, lane: peer::LaneFrame, desk: &mut Desk<'_>) {
        let Some(talk) = self.relays.streams.get(&line) else { return };
        let Some((voter, session)) = talk.lanes.get(&lane.lane).cloned() else { return };
        let Some(said) = lane.frame.and_then(|frame| frame.frame) else { return };
        let mapping = Mapping { offset_ns: lane.offset_ns };
        match mapping.read(said, self.mesh(desk.now_us)) {
            Ok(event) => {
                desk.counters.add("frame relayed");
                self.handle(Input::Heard { voter, session, event }, desk);
            }
            Err(_) => {
                // Its holder has not been told the time yet.
                desk.counters.add("relayed frame refused");
                self.relays.listening.begin_anew(&voter);
                self.close_relayed(line, lane.lane, desk);
            }
        }
    }

    fn close_relayed(&mut self, line: LineId, lane: u64, desk: &mut Desk<'_>) {
        let Some(talk) = self.relays.streams.get_mut(&line) else { return };
        if let Some((voter, session)) = talk.lanes.remove(&lane) {
            self.handle(Input::Closed(voter, session), desk);
        }
    }

    /// The leader's time.
    fn measured(&mut self, line: LineId, ping: &v1::Ping, desk: &mut Desk<'_>) {
        let boot = self.boot(desk.now_us);
        let pong = v1::Pong { id: ping.id, boottime_ns: boot.as_ns() };
        desk.say.push((line, word(Say::Pong(pong))));
        if !ping.measured || !ping.leader {
            return;
        }
        if let Followed::Set(step_ns) = self.clock.measured(ping.offset_ns, boot)
            && Duration::from_nanos(step_ns.unsigned_abs()) > CLOCK_STEP_MAX
        {
            self.begin_anew(desk);
        }
    }
}

fn life_of(voter: &Voter) -> peer::ProbeLife {
    peer::ProbeLife {
        region: voter.region.clone(),
        probe: voter.probe.clone(),
        incarnation: voter.incarnation.0,
    }
}

fn voter(life: Option<peer::ProbeLife>) -> Voter {
    let peer::ProbeLife { region, probe, incarnation } = life.unwrap_or_default();
    Voter { region, probe, incarnation: Incarnation(incarnation) }
}
