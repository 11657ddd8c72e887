//! One stream between two members: what the other end says, and what follows.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parallax_common::limits::{
    CLOCK_STEP_MAX, CONNECTIONS_MAX, HEARTBEAT, PEER_SILENT_AFTER, RELAYED_LANES_MAX,
};
use parallax_common::name::{Incarnation, is_name};
use parallax_common::time::MeshTime;
use parallax_proto::peer::{self, relay_frame, relay_request, relay_response};
use parallax_proto::v1;
use parallax_proto::v1::live_request::Frame as LaneSays;
use parallax_proto::v1::live_response::Frame as Down;
use parallax_runtime::clock;
use tokio_stream::{Stream, StreamExt as _};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tracing::{debug, info, warn};

use super::outgoing::{Outgoing, Say};
use super::{Relays, life_of};
use crate::core::engine::Voter;
use crate::core::fleet::{ProbeKey, Session};
use crate::core::mesh_clock::Followed;
use crate::core::relay::{Heard, Passing};
use crate::core::session::{Intake, Mapping};
use crate::judge::Told;
use crate::session::{Tap, are_kinds};

/// One frame from the other end.
pub(super) enum Said {
    Relay(relay_frame::Frame),
    Ping(v1::Ping),
    Pong(v1::Pong),
    Order(peer::RelayedOrder),
    Superseded(peer::SupersededProbe),
    /// Of a newer build, or out of place.
    Nothing,
}

impl From<peer::RelayRequest> for Said {
    fn from(request: peer::RelayRequest) -> Self {
        match request.frame {
            Some(relay_request::Frame::Relay(peer::RelayFrame { frame: Some(frame) })) => {
                Self::Relay(frame)
            }
            Some(relay_request::Frame::Pong(pong)) => Self::Pong(pong),
            Some(relay_request::Frame::Hello(_) | relay_request::Frame::Relay(_)) | None => {
                Self::Nothing
            }
        }
    }
}

impl From<peer::RelayResponse> for Said {
    fn from(response: peer::RelayResponse) -> Self {
        match response.frame {
            Some(relay_response::Frame::Relay(peer::RelayFrame { frame: Some(frame) })) => {
                Self::Relay(frame)
            }
            Some(relay_response::Frame::Ping(ping)) => Self::Ping(ping),
            Some(relay_response::Frame::Order(order)) => Self::Order(order),
            Some(relay_response::Frame::Superseded(superseded)) => Self::Superseded(superseded),
            Some(relay_response::Frame::Relay(_)) | None => Self::Nothing,
        }
    }
}

/// One end of a stream.
pub(super) struct Talk {
    relays: Relays,
    member: u64,
    /// Its number here.
    id: u64,
    out: Outgoing,
    end: CancellationToken,
    /// This end was dialled: it measures the other one.
    measures: bool,
    intake: Intake,
    passing: Passing,
    /// Lanes that come, by their number: whose, and their session here.
    lanes: BTreeMap<u64, (Voter, u64)>,
    /// The list that is being said.
    list: Heard,
}

impl Talk {
    pub(super) fn new(
        relays: Relays,
        member: u64,
        out: Outgoing,
        end: CancellationToken,
        measures: bool,
    ) -> Self {
        let id = relays.register(member, &out, &end);
        Self {
            relays,
            member,
            id,
            out,
            end,
            measures,
            intake: Intake::default(),
            passing: Passing::default(),
            lanes: BTreeMap::new(),
            list: Heard::new(),
        }
    }

    /// Runs until the stream breaks, the other end falls silent, or a rule is broken.
    pub(super) async fn run(
        mut self,
        mut frames: impl Stream<Item = Result<Said, Status>> + Unpin,
    ) -> Result<(), Status> {
        let ended = self.talk(&mut frames).await;
        self.relays.unregister(self.member, self.id);
        for voter in self.passing.voters() {
            self.relays.0.parts.sessions.untap(voter, self.id);
        }
        for (voter, session) in std::mem::take(&mut self.lanes).into_values() {
            self.relays.0.parts.judge.tell(Told::Closed(voter, session)).await;
        }
        ended
    }

    async fn talk(
        &mut self,
        frames: &mut (impl Stream<Item = Result<Said, Status>> + Unpin),
    ) -> Result<(), Status> {
        let mut beat = tokio::time::interval(HEARTBEAT);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let end = self.end.clone();
        let mut heard = clock::instant();
        loop {
            tokio::select! {
                () = end.cancelled() => return Ok(()),
                frame = frames.next() => match frame {
                    Some(frame) => {
                        heard = clock::instant();
                        self.take(frame?).await?;
                    }
                    None => return Ok(()),
                },
                _ = beat.tick() => {
                    if clock::instant().saturating_duration_since(heard) > PEER_SILENT_AFTER {
                        return Err(Status::deadline_exceeded("the other end is silent"));
                    }
                    self.ping();
                }
            }
        }
    }

    /// The leader measures its followers as it does probes.
    fn ping(&mut self) {
        let parts = &self.relays.0.parts;
        if self.measures && parts.clock.is_known() {
            let ping = self.intake.ping(parts.clock.now(), parts.judge.is_leader());
            self.out.say(Say::Ping(ping));
        }
    }

    async fn take(&mut self, said: Said) -> Result<(), Status> {
        match said {
            Said::Relay(relay_frame::Frame::Heard(heard)) => self.heard(heard).await?,
            Said::Relay(relay_frame::Frame::Wanted(wanted)) => self.wanted(wanted)?,
            Said::Relay(relay_frame::Frame::Opened(opened)) => self.opened(opened).await?,
            Said::Relay(relay_frame::Frame::Lane(frame)) => self.lane(frame).await,
            Said::Relay(relay_frame::Frame::Closed(closed)) => self.close(closed.lane).await,
            Said::Ping(ping) => self.measured(&ping),
            Said::Pong(pong) => {
                let first = self.intake.round_trip().is_none();
                let now = self.relays.0.parts.clock.now();
                // A pong says nothing else, and breaks no rule.
                let _ = self.intake.frame(LaneSays::Pong(pong), now);
                if first && self.intake.round_trip().is_some() {
                    self.ping();
                }
            }
            Said::Order(peer::RelayedOrder { life, order: Some(order) }) => {
                let to = voter(life)?;
                let sessions = &self.relays.0.parts.sessions;
                sessions.send(&to.region, &to.probe, to.incarnation, Down::Order(order));
            }
            Said::Superseded(peer::SupersededProbe { region, probe, old, new }) => {
                let sessions = &self.relays.0.parts.sessions;
                sessions.supersede(&region, &probe, Incarnation(old), Incarnation(new));
            }
            Said::Order(_) | Said::Nothing => debug!(member = self.member, "ignored a frame"),
        }
        Ok(())
    }

    async fn heard(&mut self, heard: peer::HeardProbes) -> Result<(), Status> {
        for peer::HeardProbe { life, watermark_mesh_ns } in heard.probes {
            self.list.insert(voter(life)?, MeshTime::from_ns(watermark_mesh_ns));
        }
        if self.list.len() > CONNECTIONS_MAX {
            return Err(Status::invalid_argument(format!(
                "heard.probes: a member has at most {CONNECTIONS_MAX} sessions"
            )));
        }
        if heard.last {
            let list = std::mem::take(&mut self.list);
            let parts = &self.relays.0.parts;
            let now = parts.clock.now();
            let vouched = list.iter().map(|(voter, mark)| (voter.clone(), *mark)).collect();
            self.relays.0.listening.lock().heard_there(self.member, list, now);
            parts.judge.tell(Told::Vouched(vouched)).await;
        }
        Ok(())
    }

    /// Begins and ends what is passed on.
    fn wanted(&mut self, wanted: peer::WantedProbes) -> Result<(), Status> {
        if wanted.probes.len() > RELAYED_LANES_MAX {
            return Err(Status::invalid_argument(format!(
                "wanted.probes: at most {RELAYED_LANES_MAX}"
            )));
        }
        let wanted: Vec<Voter> =
            wanted.probes.into_iter().map(|life| voter(Some(life))).collect::<Result<_, _>>()?;
        let sessions = &self.relays.0.parts.sessions;
        let turns = self.passing.wanted(wanted, |voter| sessions.is_tapped(voter, self.id));
        let say = |frame| self.out.say(Say::Relay(frame));
        for (lane, voter) in turns.end {
            sessions.untap(&voter, self.id);
            if !say(relay_frame::Frame::Closed(peer::LaneClosed { lane })) {
                // The other end would keep the lane for ever; with the stream all of them end.
                return Err(Status::resource_exhausted("what is passed on is not read"));
            }
        }
        for (lane, voter) in turns.begin {
            let Some(session) = sessions.facts(&voter) else {
                self.passing.failed(&voter);
                continue;
            };
            // Its beginning before its first frame: a lane whose beginning found no room is asked
            // for again with the next list.
            let opened = relay_frame::Frame::Opened(peer::RelayedLane {
                lane,
                life: Some(life_of(&voter)),
                address: session.address,
                build: session.build,
                kinds: session.kinds,
            });
            if !say(opened) {
                self.passing.failed(&voter);
                continue;
            }
            sessions.tap(&voter, Tap::new(self.id, lane, self.out.clone()));
        }
        Ok(())
    }

    async fn opened(&mut self, opened: peer::RelayedLane) -> Result<(), Status> {
        let voter = voter(opened.life)?;
        if self.lanes.contains_key(&opened.lane) || self.lanes.len() >= RELAYED_LANES_MAX {
            return Err(Status::invalid_argument("opened.lane: used before, or too many"));
        }
        if !are_kinds(&opened.kinds) {
            return Err(Status::invalid_argument("opened.kinds: too many, or no names"));
        }
        let parts = &self.relays.0.parts;
        if self.relays.0.listening.lock().through(&voter) != Some(self.member) {
            // It was wanted a moment ago; the other end learns that it no longer is.
            return Ok(());
        }
        let id = parts.sessions.next_id();
        let cut = |text: String| text.chars().take(64).collect::<String>();
        let session = Session {
            id,
            key: ProbeKey { region: voter.region.clone(), probe: voter.probe.clone() },
            incarnation: voter.incarnation,
            address: cut(opened.address),
            build: cut(opened.build),
            kinds: opened.kinds,
        };
        info!(region = voter.region, probe = voter.probe, member = self.member, "heard by relay");
        self.lanes.insert(opened.lane, (voter.clone(), id));
        parts.judge.tell(Told::Opened(voter, session)).await;
        Ok(())
    }

    async fn lane(&mut self, frame: peer::LaneFrame) {
        let Some((voter, session)) = self.lanes.get(&frame.lane).cloned() else { return };
        let Some(said) = frame.frame.and_then(|frame| frame.frame) else { return };
        let parts = &self.relays.0.parts;
        let mapping = Mapping { offset_ns: frame.offset_ns };
        match mapping.read(said, parts.clock.now()) {
            Ok(event) => parts.judge.tell(Told::Heard(voter, session, event)).await,
            Err(refused) => {
                warn!(member = self.member, probe = voter.probe, %refused, "refused what was relayed");
                self.relays.0.refused.fetch_add(1, Ordering::Relaxed);
                self.relays.begin_anew(&voter);
                self.close(frame.lane).await;
            }
        }
    }

    async fn close(&mut self, lane: u64) {
        if let Some((voter, session)) = self.lanes.remove(&lane) {
            let (region, probe) = (voter.region.clone(), voter.probe.clone());
            info!(region, probe, member = self.member, "no longer heard by relay");
            self.relays.0.parts.judge.tell(Told::Closed(voter, session)).await;
        }
    }

    /// The leader's time. When the clock is set by it, whatever was measured before is of another
    /// time: sessions and relays begin anew.
    fn measured(&self, ping: &v1::Ping) {
        let boottime_ns = clock::boot_time().as_ns();
        self.out.say(Say::Pong(v1::Pong { id: ping.id, boottime_ns }));
        let parts = &self.relays.0.parts;
        if !ping.measured || !ping.leader || !parts.clock.is_known() {
            return;
        }
        if let Followed::Set(step_ns) = parts.clock.measured(ping.offset_ns) {
            let step = Duration::from_nanos(step_ns.unsigned_abs());
            if step > CLOCK_STEP_MAX {
                parts.judge.clock_was_set();
                parts.sessions.end_all();
                self.relays.end_all();
            }
        }
    }
}

fn voter(life: Option<peer::ProbeLife>) -> Result<Voter, Status> {
    let peer::ProbeLife { region, probe, incarnation } = life.unwrap_or_default();
    if !is_name(&region) || !is_name(&probe) || incarnation == 0 {
        return Err(Status::invalid_argument("life: a region, a probe and an incarnation"));
    }
    Ok(Voter { region, probe, incarnation: Incarnation(incarnation) })
}
