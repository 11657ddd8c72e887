//! Sessions: one for each coordinator, dialled outward, kept for as long as the probe lives.
//!
//! A session is a live lane and bulk lanes ([`crate::bulk`]) over one mTLS connection. It answers
//! pings at once, puts assignment chunks together, and passes everything else between its coordinator
//! and the owner task ([`crate::owner`]). When it ends, it is dialled again after a jittered pause of
//! at most 5 s.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use parallax_common::check::{Canary, StepKind};
use parallax_common::limits::{
    BACK_OFF_MAX, BACK_OFF_MIN, DIAL_TIMEOUT, FRAME_BYTES_MAX, LIVE_FRAMES_MAX, MEMBERS_MAX,
};
use parallax_common::name::Incarnation;
use parallax_proto::convert;
use parallax_proto::convert::assignment::WireError;
use parallax_proto::v1;
use parallax_proto::v1::session_service_client::SessionServiceClient;
use parallax_runtime::clock;
use parallax_runtime::supervisor::{Supervisor, TaskKind};
use parallax_runtime::transport::{Connector, Credentials, dial_error, endpoint};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Streaming;
use tracing::{debug, info, warn};

use crate::bulk::Bulk;
use crate::core::assign::{Assembler, Chunk, ChunkError};
use crate::metrics::Metrics;
use crate::owner::{Connected, Event, Held, SessionId};
use crate::spool::Spooler;
use crate::state::State;
use crate::wire;

/// The feature level of this build.
const LEVEL: u32 = 1;
/// A session that lasted this long resets the pause between dials.
const STEADY: Duration = Duration::from_secs(10);

/// Who this probe is.
#[derive(Debug, Clone)]
pub struct Identity {
    /// From the certificate.
    pub region: String,
    /// From the certificate.
    pub probe: String,
    /// From the certificate.
    pub mesh: String,
    /// One life of the spool.
    pub incarnation: Incarnation,
}

/// What all sessions share.
#[derive(Debug)]
pub struct Sessions {
    identity: Identity,
    credentials: Credentials,
    source: Option<IpAddr>,
    supervisor: Supervisor,
    spooler: Spooler,
    metrics: Arc<Metrics>,
    events: mpsc::Sender<Event>,
    held: watch::Receiver<Held>,
    /// Given at the start: dialled for as long as the probe lives.
    given: Vec<String>,
    /// Addresses that are dialled, those given at the start first.
    addresses: Mutex<Vec<String>>,
    /// By node id, the address whose session is open: a coordinator may be known by two.
    open: watch::Sender<BTreeMap<u64, String>>,
    next_id: AtomicU64,
    /// Why the probe must not go on.
    dismissed: Mutex<Option<String>>,
    /// Told whenever the addresses change.
    state: watch::Sender<State>,
    seed: u64,
}

/// Why a session ended or did not begin.
#[derive(Debug, thiserror::Error)]
enum SessionError {
    #[error("{0}")]
    Dial(String),
    #[error("the coordinator refused the session: {0}")]
    Refused(String),
    #[error("no welcome within {} s", DIAL_TIMEOUT.as_secs())]
    NoWelcome,
    #[error("the coordinator is of mesh {0:?}")]
    OtherMesh(String),
    #[error("the coordinator said goodbye: {0}")]
    Goodbye(String),
    #[error("the coordinator sent what cannot be: {0}")]
    Wire(#[from] WireError),
    #[error(transparent)]
    Chunks(#[from] ChunkError),
    #[error("the stream ended")]
    Ended,
    #[error("ended by this probe")]
    EndedHere,
    #[error("coordinator {0} is connected already, by another address")]
    Already(u64),
    #[error("dismissed: {0}")]
    Dismissed(String),
}

impl From<tonic::Status> for SessionError {
    fn from(status: tonic::Status) -> Self {
        match dial_error(&status) {
            Some(error) => Self::Dial(chain(error)),
            None => Self::Refused(format!("{} ({:?})", status.message(), status.code())),
        }
    }
}

fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

/// What [`Sessions::spawn`] needs.
#[derive(Debug)]
pub struct Setup {
    /// Who this probe is.
    pub identity: Identity,
    /// For dialling.
    pub credentials: Credentials,
    /// Where connections start from.
    pub source: Option<IpAddr>,
    /// Coordinators to dial at first.
    pub coordinators: Vec<String>,
    /// Where windows come from.
    pub spooler: Spooler,
    /// Where refusals are counted.
    pub metrics: Arc<Metrics>,
    /// To the owner.
    pub events: mpsc::Sender<Event>,
    /// From the owner.
    pub held: watch::Receiver<Held>,
    /// What was remembered; kept up to date.
    pub state: watch::Sender<State>,
    /// Of the pauses' jitter.
    pub seed: u64,
}

impl Sessions {
    /// Starts a session for each coordinator that is known.
    pub fn spawn(setup: Setup, supervisor: &Supervisor) -> Arc<Self> {
        let remembered = setup.state.borrow().members.clone();
        let sessions = Arc::new(Self {
            identity: setup.identity,
            credentials: setup.credentials,
            source: setup.source,
            supervisor: supervisor.clone(),
            spooler: setup.spooler,
            metrics: setup.metrics,
            events: setup.events,
            held: setup.held,
            given: setup.coordinators.clone(),
            addresses: Mutex::default(),
            open: watch::Sender::new(BTreeMap::new()),
            next_id: AtomicU64::new(1),
            dismissed: Mutex::default(),
            state: setup.state,
            seed: setup.seed,
        });
        for address in setup.coordinators.into_iter().chain(remembered) {
            sessions.add(address);
        }
        sessions
    }

    /// Why the probe must not go on, when a coordinator has said so.
    pub fn dismissed(&self) -> Option<String> {
        self.dismissed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn add(self: &Arc<Self>, address: String) {
        let mut addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        if addresses.contains(&address) {
            return;
        }
        if addresses.len() >= MEMBERS_MAX {
            warn!(address, limit = MEMBERS_MAX, "too many coordinators, one is not dialled");
            return;
        }
        addresses.push(address.clone());
        let seed = self.seed.wrapping_add(addresses.len() as u64);
        let sessions = Arc::clone(self);
        self.supervisor.spawn(TaskKind::Session("session"), async move {
            sessions.keep(address, StdRng::seed_from_u64(seed)).await;
        });
    }

    /// Whether somebody should be there: an address that a list named and the newest does not is that
    /// of a member that has moved or was removed.
    fn is_wanted(&self, address: &String) -> bool {
        self.given.contains(address) || self.state.borrow().members.contains(address)
    }

    fn forget(&self, address: &str) {
        let mut addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        addresses.retain(|known| known != address);
    }

    /// Dials one coordinator again and again.
    async fn keep(self: Arc<Self>, address: String, mut rng: StdRng) {
        let stop = self.supervisor.stop_token();
        let mut pause = BACK_OFF_MIN;
        while !stop.is_cancelled() {
            let begun = clock::instant();
            let ended = tokio::select! {
                ended = self.session(&address) => ended,
                // The session sees the stop itself and says goodbye; this is for a dial that hangs.
                () = async { stop.cancelled().await; tokio::time::sleep(DIAL_TIMEOUT).await } => return,
            };
            let Err(error) = ended else { return };
            match error {
                SessionError::Dismissed(why) => {
                    warn!(address, why, "a coordinator ended this probe");
                    *self.dismissed.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
                    self.supervisor.stop();
                    return;
                }
                SessionError::Already(node) if self.open.borrow().contains_key(&node) => {
                    info!(
                        address,
                        node, "the coordinator is known by another address, this one waits"
                    );
                    let mut open = self.open.subscribe();
                    let free = open.wait_for(|open| !open.contains_key(&node));
                    tokio::select! {
                        _ = free => {}
                        () = stop.cancelled() => return,
                    }
                    continue;
                }
                // The session that the coordinator means has not begun here yet, or has ended
                // here and not there: the usual pause.
                SessionError::Already(node) => debug!(address, node, "connected already, it says"),
                error => warn!(address, error = chain(&error), "no session"),
            }
            if !self.is_wanted(&address) {
                info!(address, "no coordinator is there any more");
                self.forget(&address);
                // A list that came in between named it again, and found it still there.
                if self.is_wanted(&address) {
                    self.add(address);
                }
                return;
            }
            if clock::instant().saturating_duration_since(begun) >= STEADY {
                pause = BACK_OFF_MIN;
            }
            // Full jitter (the whole range up to the pause): probes that lost the same coordinator
            // must not come back together.
            let wait = pause.mul_f64(rng.random_range(0.2..=1.0));
            pause = (pause * 2).min(BACK_OFF_MAX);
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    fn hello(&self) -> v1::Hello {
        let held = *self.held.borrow();
        v1::Hello {
            region: self.identity.region.clone(),
            probe: self.identity.probe.clone(),
            incarnation: self.identity.incarnation.0,
            boot_id: clock::boot_id(),
            mesh: self.identity.mesh.clone(),
            generation: Some(convert::time::generation_to(held.generation)),
            build: env!("CARGO_PKG_VERSION").to_owned(),
            level: LEVEL,
            kinds: kinds(cfg!(feature = "http3")),
            boottime_ns: clock::boot_time().as_ns(),
            offset_ns: held.offset_ns,
            looks: true,
        }
    }

    /// One session from dial to end. `Ok` when the probe stops.
    async fn session(self: &Arc<Self>, address: &str) -> Result<(), SessionError> {
        let connector = Connector::new(self.credentials.clone()).from_address(self.source);
        let channel = endpoint(address)
            .map_err(|error| SessionError::Dial(chain(&error)))?
            .connect_with_connector(connector)
            .await
            .map_err(|error| match dial_error(&error) {
                Some(dial) => SessionError::Dial(chain(dial)),
                None => SessionError::Dial(chain(&error)),
            })?;
        let mut client =
            SessionServiceClient::new(channel).max_decoding_message_size(FRAME_BYTES_MAX);
        let (live, frames) = mpsc::channel(LIVE_FRAMES_MAX);
        // Empty channels have room.
        let _ = live.try_send(wire::hello(self.hello()));
        let opening = async {
            let mut inward = client.live(ReceiverStream::new(frames)).await?.into_inner();
            let welcome = welcome(&mut inward).await?;
            Ok::<_, SessionError>((inward, welcome))
        };
        let (inward, welcome) = tokio::time::timeout(DIAL_TIMEOUT, opening)
            .await
            .unwrap_or(Err(SessionError::NoWelcome))?;
        if welcome.mesh != self.identity.mesh {
            return Err(SessionError::OtherMesh(welcome.mesh));
        }
        let _claim = self.claim(welcome.node_id, address)?;
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (node, end) = (welcome.node_id, CancellationToken::new());
        let _ended = end.clone().drop_guard();
        let connected = Connected { session: id, node, live: live.clone(), end: end.clone() };
        info!(address, node, leader = welcome.leader, "session open");
        self.tell(Event::Connected(connected)).await?;
        // Beside the live lane, which is served meanwhile: a ping that waited would measure a round
        // trip too long, and the first one sets the clock.
        let bulk = Bulk {
            spooler: self.spooler.clone(),
            node,
            hello: self.hello(),
            client,
            metrics: Arc::clone(&self.metrics),
            pace: watch::Sender::default(),
            end: end.clone(),
        };
        self.supervisor.spawn(TaskKind::Session("bulk lanes"), bulk.run());
        let lanes = Lanes { id, node, live, end, assembler: Assembler::default() };
        let ended = self.serve(lanes, inward).await;
        let _ = self.tell(Event::Closed(id)).await;
        ended
    }

    async fn tell(&self, event: Event) -> Result<(), SessionError> {
        self.events.send(event).await.map_err(|_| SessionError::EndedHere)
    }

    /// Takes the place of the one session to this node; given back when dropped.
    fn claim(self: &Arc<Self>, node: u64, address: &str) -> Result<Claim, SessionError> {
        let free = self.open.send_if_modified(|open| match open.get(&node) {
            Some(_) => false,
            None => open.insert(node, address.to_owned()).is_none(),
        });
        match free {
            true => Ok(Claim { sessions: Arc::clone(self), node }),
            false => Err(SessionError::Already(node)),
        }
    }

    async fn serve(
        self: &Arc<Self>,
        mut lanes: Lanes,
        mut live: Streaming<v1::LiveResponse>,
    ) -> Result<(), SessionError> {
        let stop = self.supervisor.stop_token();
        loop {
            tokio::select! {
                frame = live.message() => match frame? {
                    Some(frame) => self.live(&mut lanes, frame).await?,
                    None => return Err(SessionError::Ended),
                },
                () = lanes.end.cancelled() => return Err(SessionError::EndedHere),
                () = stop.cancelled() => {
                    let _ = lanes.live.try_send(wire::goodbye("the probe stops"));
                    // The frame is on its way when the coordinator closes its side.
                    drop(lanes);
                    let closing = async { while let Ok(Some(_)) = live.message().await {} };
                    let _ = tokio::time::timeout(Duration::from_millis(500), closing).await;
                    return Ok(());
                }
            }
        }
    }

    async fn live(
        self: &Arc<Self>,
        lanes: &mut Lanes,
        frame: v1::LiveResponse,
    ) -> Result<(), SessionError> {
        use v1::live_response::Frame;
        match frame.frame {
            Some(Frame::Ping(ping)) => {
                // Before anything else: the coordinator measures.
                let pong = wire::pong(ping.id, clock::boot_time());
                lanes.live.try_send(pong).map_err(|_| SessionError::EndedHere)?;
                if ping.measured {
                    let v1::Ping { offset_ns, leader, round_trip_ns, .. } = ping;
                    let node = lanes.node;
                    let measured = Event::Measured { node, offset_ns, leader, round_trip_ns };
                    self.tell(measured).await?;
                }
            }
            Some(Frame::Assignments(chunk)) => {
                if let Some(plan) = lanes.assembler.push(read_chunk(&chunk)?)? {
                    self.tell(Event::Plan(lanes.id, plan)).await?;
                }
            }
            Some(Frame::Order(order)) => {
                self.tell(Event::Order(convert::assignment::order(&order)?)).await?;
            }
            Some(Frame::LookOrder(order)) => {
                self.tell(Event::Look(lanes.id, convert::look::order(&order)?)).await?;
            }
            Some(Frame::Members(members)) => {
                let nodes = members.members.iter().take(MEMBERS_MAX).map(|m| m.node_id);
                self.spooler.expect(nodes, clock::boot_time());
                self.members(members);
            }
            Some(Frame::SnapshotRequest(_)) => {
                self.tell(Event::SnapshotWanted(lanes.id)).await?;
            }
            Some(Frame::Goodbye(goodbye)) => return Err(farewell(goodbye)),
            Some(Frame::Welcome(_)) => debug!("a second welcome was ignored"),
            // A newer coordinator may say more than this build knows.
            None => debug!("a frame of an unknown kind was ignored"),
        }
        Ok(())
    }

    fn members(self: &Arc<Self>, members: v1::Members) {
        let addresses: Vec<String> = members
            .members
            .into_iter()
            .map(|member| member.address)
            .filter(|address| endpoint(address).is_ok())
            .take(MEMBERS_MAX)
            .collect();
        self.state.send_if_modified(|state| {
            let changed = state.members != addresses || state.mesh != self.identity.mesh;
            state.members.clone_from(&addresses);
            state.mesh.clone_from(&self.identity.mesh);
            changed
        });
        for address in addresses {
            self.add(address);
        }
    }
}

fn farewell(goodbye: v1::CoordinatorGoodbye) -> SessionError {
    match goodbye {
        v1::CoordinatorGoodbye { r#final: true, why, .. } => SessionError::Dismissed(why),
        v1::CoordinatorGoodbye { connected_node_id: 0, why, .. } => SessionError::Goodbye(why),
        v1::CoordinatorGoodbye { connected_node_id: node, .. } => SessionError::Already(node),
    }
}

async fn welcome(live: &mut Streaming<v1::LiveResponse>) -> Result<v1::Welcome, SessionError> {
    use v1::live_response::Frame;
    match live.message().await?.and_then(|frame| frame.frame) {
        Some(Frame::Welcome(welcome)) => Ok(welcome),
        Some(Frame::Goodbye(goodbye)) => Err(farewell(goodbye)),
        _ => Err(SessionError::Ended),
    }
}

/// What a build can run, with or without HTTP/3.
fn kinds(http3: bool) -> Vec<String> {
    let http3 = http3.then_some(StepKind::HTTP3);
    StepKind::WORDS.into_iter().chain(http3).chain([Canary::WORD]).map(str::to_owned).collect()
}

/// What a chunk of assignments says.
///
/// # Errors
/// It breaks a rule of the wire, which ends the session.
pub fn read_chunk(chunk: &v1::AssignmentChunk) -> Result<Chunk, WireError> {
    let removed = chunk.removed.iter().map(|bytes| {
        parallax_common::name::Uid::from_slice(bytes).ok_or_else(|| WireError {
            rule: parallax_common::rule::WIRE_UID,
            field: "removed",
            message: format!("{} bytes are not a uid", bytes.len()),
        })
    });
    Ok(Chunk {
        generation: convert::time::generation(chunk.generation.as_ref()),
        base: chunk.base.as_ref().map(|base| convert::time::generation(Some(base))),
        number: chunk.chunk,
        last: chunk.last,
        upserts: chunk
            .upserts
            .iter()
            .map(convert::assignment::assignment)
            .collect::<Result<_, _>>()?,
        removed: removed.collect::<Result<_, _>>()?,
    })
}

#[derive(Debug)]
struct Lanes {
    id: SessionId,
    node: u64,
    live: mpsc::Sender<v1::LiveRequest>,
    end: CancellationToken,
    assembler: Assembler,
}

/// The place of one node's session.
#[derive(Debug)]
struct Claim {
    sessions: Arc<Sessions>,
    node: u64,
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.sessions.open.send_if_modified(|open| open.remove(&self.node).is_some());
    }
}

#[cfg(test)]
mod tests;
