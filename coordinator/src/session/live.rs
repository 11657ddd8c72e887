//! The live lane: hello, clock, assignments down, outcomes and heartbeats up, orders down.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use parallax_common::limits::{FRAME_BYTES_MAX, HEARTBEAT};
use parallax_common::name::Generation;
use parallax_common::time::BootTime;
use parallax_proto::v1;
use parallax_proto::v1::live_request::Frame as Up;
use parallax_proto::v1::live_response::Frame as Down;
use parallax_proto::v1::session_service_server::{SessionService, SessionServiceServer};
use parallax_runtime::clock;
use parallax_runtime::transport::{PeerInfo, peer_of};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};
use tracing::{debug, info};

use super::members::Members;
use super::{Connected, Lane, LastHeard, OUTBOUND_MAX, Sessions, Taps, Who, wire};
use crate::alert::certificates::Certificates;
use crate::core::engine::Voter;
use crate::core::fleet;
use crate::core::plan::Plan;
use crate::core::plan::handout::Handout;
use crate::core::session::{Event, Intake};
use crate::history::History;
use crate::judge::{JudgeHandle, Told};
use crate::mesh_clock::MeshClock;
use crate::view::View;

/// How long a new connection may take to say hello.
const HELLO_WITHIN: Duration = Duration::from_secs(5);

/// The service that probes dial.
#[derive(Clone)]
pub struct SessionServer {
    pub(super) inner: Arc<Inner>,
}

/// What the session service of one member is made of.
pub struct Parts {
    /// Who is connected.
    pub sessions: Sessions,
    /// Who is told what they hear.
    pub judge: JudgeHandle,
    /// Who runs what.
    pub plan: watch::Receiver<Arc<Plan>>,
    /// The published state.
    pub view: View,
    /// Mesh time.
    pub clock: Arc<MeshClock>,
    /// Where windows go.
    pub history: Arc<dyn History>,
    /// Where goes what they say of certificates.
    pub certificates: Certificates,
    /// Of this member.
    pub node_id: u64,
    /// Where probes reach members.
    pub members: Members,
}

pub(super) struct Inner {
    parts: Parts,
}

impl Deref for Inner {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.parts
    }
}

impl SessionServer {
    /// The service of one member.
    pub fn new(parts: Parts) -> Self {
        Self { inner: Arc::new(Inner { parts }) }
    }

    /// With the frame bound of decision 28.
    pub fn into_service(self) -> SessionServiceServer<Self> {
        SessionServiceServer::new(self)
            .max_decoding_message_size(FRAME_BYTES_MAX)
            .max_encoding_message_size(FRAME_BYTES_MAX)
    }
}

#[tonic::async_trait]
impl SessionService for SessionServer {
    type LiveStream = ReceiverStream<Result<v1::LiveResponse, Status>>;
    type BulkStream = ReceiverStream<Result<v1::BulkResponse, Status>>;

    async fn live(
        &self,
        request: Request<Streaming<v1::LiveRequest>>,
    ) -> Result<Response<Self::LiveStream>, Status> {
        let peer = peer_of(&request)?.clone();
        let inbound = request.into_inner();
        let (outbound, receive) = mpsc::channel(OUTBOUND_MAX);
        let inner = Arc::clone(&self.inner);
        let sessions = inner.sessions.clone();
        // The answer's headers go out before the hello comes in, so that neither side waits.
        sessions.spawn("live lane", async move {
            let mut inbound = inbound;
            let mesh = inner.view.load().cluster.mesh.clone();
            let greeted = hello(&mut inbound)
                .await
                .and_then(|hello| Ok((Who::from_hello(&peer, &hello, &mesh)?, hello)));
            match greeted {
                Ok((who, hello)) => run(&inner, &peer, who, hello, inbound, outbound).await,
                Err(status) => {
                    inner.sessions.refuse(&peer, &status);
                    // The peer may be gone already; then there is nobody to tell.
                    let _ = outbound.try_send(Err(status));
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(receive)))
    }

    async fn bulk(
        &self,
        request: Request<Streaming<v1::BulkRequest>>,
    ) -> Result<Response<Self::BulkStream>, Status> {
        self.take_bulk(request).await
    }
}

async fn hello(inbound: &mut Streaming<v1::LiveRequest>) -> Result<v1::Hello, Status> {
    let first = tokio::time::timeout(HELLO_WITHIN, inbound.message()).await;
    match first.map_err(|_| Status::deadline_exceeded("no hello came within 5 s"))?? {
        Some(v1::LiveRequest { frame: Some(Up::Hello(hello)) }) => Ok(hello),
        None => Err(Status::cancelled("the stream ended before it began")),
        _ => Err(Status::invalid_argument("the first frame must be a hello")),
    }
}

async fn run(
    inner: &Arc<Inner>,
    peer: &PeerInfo,
    who: Who,
    hello: v1::Hello,
    mut inbound: Streaming<v1::LiveRequest>,
    outbound: super::Outbound,
) {
    if !inner.clock.is_known() {
        // It may know what this member is asking for, if it has met the mesh before.
        if hello.offset_ns != 0 {
            let theirs = BootTime::from_ns(hello.boottime_ns);
            inner.clock.heard_probe(theirs.to_mesh(hello.offset_ns));
        }
        inner.clock.known().await;
    }
    let id = inner.sessions.next_id();
    let (end, ended) = (CancellationToken::new(), CancellationToken::new());
    let now = clock::instant();
    let heard = LastHeard::new(now);
    let taps = Taps::default();
    let lane = Lane {
        id,
        address: who.address.clone(),
        outbound: outbound.clone(),
        end: end.clone(),
        ended: ended.clone(),
        heard: heard.clone(),
        facts: announcement(id, &who, &hello),
        taps: taps.clone(),
        looks: hello.looks,
    };
    let before = match inner.sessions.open(&who, lane, welcome(inner), now) {
        Ok(before) => before,
        Err(Connected) => {
            let (region, probe) = (&who.region, &who.probe);
            debug!(region, probe, address = who.address, "connected already");
            let goodbye = v1::CoordinatorGoodbye {
                why: "this life of the probe is connected already".to_owned(),
                r#final: false,
                connected_node_id: inner.node_id,
            };
            // The first frame of an empty channel.
            let _ = outbound.try_send(Ok(v1::LiveResponse { frame: Some(Down::Goodbye(goodbye)) }));
            return;
        }
    };
    let _ended = ended.drop_guard();
    if let Some(before) = before {
        // What the session before says must not be taken for what this one says.
        before.cancelled().await;
    }
    info!(region = who.region, probe = who.probe, address = who.address, "session opened");
    let voter = Voter {
        region: who.region.clone(),
        probe: who.probe.clone(),
        incarnation: who.incarnation,
    };
    inner.judge.tell(Told::Opened(voter.clone(), announcement(id, &who, &hello))).await;
    let mut lane = LiveLane {
        inner: Arc::clone(inner),
        id,
        who: who.clone(),
        voter: voter.clone(),
        intake: Intake::default(),
        heard,
        taps,
        outbound,
        handout: Handout::default(),
    };
    let stop = inner.sessions.stop_token();
    let ended = tokio::select! {
        () = end.cancelled() => Ok(()),
        () = stop.cancelled() => Ok(()),
        ended = lane.talk(&mut inbound, &hello) => ended,
    };
    if let Err(status) = ended {
        inner.sessions.refuse(peer, &status);
        // Not awaited: a peer that does not read would keep its session open.
        let _ = lane.outbound.try_send(Err(status));
    }
    inner.sessions.close(&who, id);
    // Also when another session has replaced it: that one waits for this.
    inner.judge.tell(Told::Closed(voter, id)).await;
    info!(region = who.region, probe = who.probe, "session closed");
}

fn announcement(id: u64, who: &Who, hello: &v1::Hello) -> fleet::Session {
    fleet::Session {
        id,
        key: fleet::ProbeKey { region: who.region.clone(), probe: who.probe.clone() },
        incarnation: who.incarnation,
        address: who.address.clone(),
        build: hello.build.chars().take(64).collect(),
        kinds: hello.kinds.clone(),
    }
}

/// The first frame of every lane.
fn welcome(inner: &Inner) -> v1::LiveResponse {
    let state = inner.view.load();
    let welcome = v1::Welcome {
        mesh: state.cluster.mesh.clone(),
        node_id: inner.node_id,
        epoch: state.cluster.epoch,
        leader: inner.judge.is_leader(),
        build: crate::BUILD.to_owned(),
        level: crate::level::level(),
        heartbeat_ms: u32::try_from(HEARTBEAT.as_millis()).unwrap_or(u32::MAX),
    };
    v1::LiveResponse { frame: Some(Down::Welcome(welcome)) }
}

/// One open live lane.
struct LiveLane {
    inner: Arc<Inner>,
    /// Which of its sessions this is.
    id: u64,
    who: Who,
    voter: Voter,
    intake: Intake,
    heard: LastHeard,
    taps: Taps,
    outbound: super::Outbound,
    /// What the probe was sent of the plan.
    handout: Handout,
}

impl LiveLane {
    /// Runs until the probe leaves, the lane breaks, or a rule is broken.
    async fn talk(
        &mut self,
        inbound: &mut Streaming<v1::LiveRequest>,
        hello: &v1::Hello,
    ) -> Result<(), Status> {
        self.ping().await;
        let mut members = self.inner.members.clone();
        let list = members.borrow_and_update().clone();
        self.tell_members(&list).await;
        let mut plan = self.inner.plan.clone();
        let current = plan.borrow_and_update().clone();
        self.send_plan(&current, hello.generation).await;
        let mut beat = tokio::time::interval(HEARTBEAT);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        beat.tick().await;
        loop {
            tokio::select! {
                frame = inbound.message() => match frame? {
                    Some(v1::LiveRequest { frame: Some(frame) }) => {
                        self.heard.set(clock::instant());
                        if self.take(frame).await? == Flow::Over {
                            return Ok(());
                        }
                    }
                    Some(_) => return Err(Status::invalid_argument("an empty frame")),
                    None => return Ok(()),
                },
                _ = beat.tick() => {
                    self.ping().await;
                    if self.taps.ask(clock::instant()) {
                        self.send(Down::SnapshotRequest(v1::SnapshotRequest {})).await;
                    }
                }
                changed = members.changed() => {
                    if changed.is_err() {
                        return Ok(());
                    }
                    let list = members.borrow_and_update().clone();
                    self.tell_members(&list).await;
                }
                changed = plan.changed() => {
                    if changed.is_err() {
                        return Ok(());
                    }
                    let current = plan.borrow_and_update().clone();
                    self.send_plan(&current, None).await;
                }
            }
        }
    }

    async fn tell_members(&self, members: &[v1::Member]) {
        self.send(Down::Members(v1::Members { members: members.to_vec() })).await;
    }

    async fn ping(&mut self) {
        let now = self.inner.clock.now();
        let ping = self.intake.ping(now, self.inner.judge.is_leader());
        self.send(Down::Ping(ping)).await;
    }

    async fn send(&self, frame: Down) {
        // A closed lane shows in the inbound stream too, which ends the session.
        let _ = self.outbound.send(Ok(v1::LiveResponse { frame: Some(frame) })).await;
    }

    /// Sends what the probe does not have yet.
    async fn send_plan(&mut self, plan: &Plan, held: Option<v1::Generation>) {
        let held = held.map(|held| Generation { epoch: held.epoch, index: held.index });
        let chunks = self.handout.next(plan, &self.who.region, &self.who.probe, held);
        if !chunks.is_empty() {
            debug!(
                probe = self.who.probe,
                upserts = chunks.iter().map(|chunk| chunk.upserts.len()).sum::<usize>(),
                removed = chunks.iter().map(|chunk| chunk.removed.len()).sum::<usize>(),
                index = plan.generation().index,
                "assignments sent"
            );
        }
        for chunk in chunks {
            self.send(Down::Assignments(chunk)).await;
        }
    }

    async fn take(&mut self, frame: Up) -> Result<Flow, Status> {
        let now = self.inner.clock.now();
        let measuring = matches!(frame, Up::Pong(_));
        let first = measuring && self.intake.round_trip().is_none();
        let tapped = (!self.taps.is_empty() && !measuring).then(|| frame.clone());
        let events = self
            .intake
            .frame(frame, now)
            .map_err(|refused| Status::invalid_argument(refused.to_string()))?;
        // Once it is known to break no rule.
        if let (Some(frame), Some(mapping)) = (tapped, self.intake.mapping()) {
            self.taps.pass(&frame, mapping);
        }
        if measuring {
            let round_trip = self.intake.round_trip();
            self.inner.sessions.update(&self.who, |seen| seen.round_trip = round_trip);
        }
        // Not for a pong that was not the answer awaited: two pings in flight would never match again.
        if first && self.intake.round_trip().is_some() {
            // The probe learns its offset at once, not with the next beat.
            self.ping().await;
        }
        for event in events {
            match event {
                Event::Goodbye(why) => {
                    info!(
                        region = self.who.region,
                        probe = self.who.probe,
                        why,
                        "the probe leaves"
                    );
                    return Ok(Flow::Over);
                }
                // For whoever asked, and nobody else.
                Event::Looked(result) => self.inner.sessions.looked(&self.voter, result),
                event => self.tell(event).await,
            }
        }
        Ok(Flow::On)
    }

    async fn tell(&self, event: Event) {
        match &event {
            Event::Heartbeat { heartbeat, health } => {
                self.heard.set_watermark(heartbeat.watermark);
                if let Some(health) = health {
                    self.inner.sessions.update(&self.who, |seen| seen.health = *health);
                }
            }
            Event::Applied(generation) => {
                let generation = Some(wire(*generation));
                self.inner.sessions.update(&self.who, |seen| seen.generation = generation);
                return;
            }
            Event::Goodbye(_) | Event::Looked(_) => return,
            Event::Snapshot { .. } | Event::Outcomes { .. } => {}
        }
        self.inner.judge.tell(Told::Heard(self.voter.clone(), self.id, event)).await;
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Flow {
    On,
    Over,
}
