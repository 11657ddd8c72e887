//! Live lanes between members: a member that does not hear a probe listens to it through one that
//! does (decision 13), and followers learn the time of the leader.
//!
//! One stream a follower, which it dials; both ends speak on it once a second. Who is wanted of whom
//! and what is passed on is decided in `core/relay.rs`. What comes is fed to the judge as a session
//! of its own, under the same voter: numbers and sequences are the probe's. [`outgoing`] is what
//! waits to be sent, `relay/stream.rs` one stream, [`server`] the end that is dialled.

pub mod outgoing;
pub mod server;
mod stream;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parallax_common::limits::{
    FRAME_BYTES_MAX, HEARTBEAT, PEER_BACK_OFF_MAX, PEER_BACK_OFF_MIN, RELAY_FRAMES_MAX,
    RELAY_LIST_PROBES_MAX,
};
use parallax_common::name::Incarnation;
use parallax_proto::peer::relay_frame;
use parallax_proto::peer::relay_service_client::RelayServiceClient;
use parallax_proto::{peer, v1};
use parallax_runtime::clock;
use parallax_runtime::supervisor::{Supervisor, TaskKind};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tracing::{debug, info};

use self::outgoing::{Outgoing, Say};
use self::server::RelayServer;
use self::stream::{Said, Talk};
use crate::core::engine::Voter;
use crate::core::relay::{Heard, Listening};
use crate::judge::JudgeHandle;
use crate::mesh_clock::MeshClock;
use crate::peers::Peers;
use crate::peers::gate::Gate;
use crate::session::Sessions;

/// One frame between members: one of a session and its envelope.
const RELAY_FRAME_BYTES_MAX: usize = FRAME_BYTES_MAX + 4 * 1024;

/// The parts that relays are made of.
pub struct Parts {
    /// Other members.
    pub peers: Peers,
    /// Who is let in.
    pub gate: Gate,
    /// Whom this member hears.
    pub sessions: Sessions,
    /// Who is told what is heard through others.
    pub judge: JudgeHandle,
    /// Follows the leader's.
    pub clock: Arc<MeshClock>,
    /// Runs streams.
    pub supervisor: Supervisor,
}

/// All relays of one member. Clones share them.
#[derive(Clone)]
pub struct Relays(Arc<Inner>);

struct Inner {
    parts: Parts,
    listening: Mutex<Listening>,
    streams: Mutex<BTreeMap<u64, Open>>,
    next_stream: AtomicU64,
    refused: AtomicU64,
}

/// An open stream, by the member at its other end.
struct Open {
    id: u64,
    out: Outgoing,
    end: CancellationToken,
}

impl Relays {
    /// No stream yet.
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(Inner {
            parts,
            listening: Mutex::default(),
            streams: Mutex::default(),
            next_stream: AtomicU64::new(1),
            refused: AtomicU64::new(0),
        }))
    }

    /// The service of the peer listener.
    pub fn server(&self) -> RelayServer {
        RelayServer::new(self.clone())
    }

    /// Probes that are heard through others now, those that are not for the bound's sake, and frames
    /// of other members that broke a rule.
    pub fn counts(&self) -> (usize, usize, u64) {
        let (through, beyond) = self.0.listening.lock().counts();
        (through, beyond, self.0.refused.load(Ordering::Relaxed))
    }

    /// Keeps a stream to whoever leads, and says what is heard and wanted once a second.
    pub async fn run(self, mut leader: watch::Receiver<Option<u64>>) {
        let own = self.0.parts.gate.node_id();
        let mut following: Option<(u64, CancellationToken)> = None;
        let mut beat = tokio::time::interval(HEARTBEAT);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let leads = leader.borrow_and_update().filter(|leads| *leads != own);
            if following.as_ref().map(|(member, _)| *member) != leads {
                if let Some((_, end)) = following.take() {
                    end.cancel();
                }
                if let Some(member) = leads {
                    let end = CancellationToken::new();
                    let (relays, until) = (self.clone(), end.clone());
                    let task = async move { relays.follow(member, until).await };
                    self.0.parts.supervisor.spawn(TaskKind::Session("relay"), task);
                    following = Some((member, end));
                }
            }
            tokio::select! {
                _ = beat.tick() => self.round(),
                changed = leader.changed() => if changed.is_err() {
                    return;
                },
            }
        }
    }

    /// Tells everybody what is heard here, and what is wanted of him.
    fn round(&self) {
        let (now, heard) =
            (self.0.parts.clock.now(), self.0.parts.sessions.heard(clock::instant()));
        let mut wanted = {
            let mut listening = self.0.listening.lock();
            listening.heard_here(&heard, now);
            listening.wanted(now)
        };
        let parts = lists(&heard);
        for (member, open) in self.0.streams.lock().iter() {
            let lives = wanted.remove(member).unwrap_or_default();
            let probes = lives.iter().map(life_of).collect();
            let heard = parts.iter().cloned().map(relay_frame::Frame::Heard);
            let wanted = relay_frame::Frame::Wanted(peer::WantedProbes { probes });
            if !heard.chain([wanted]).all(|frame| open.out.say(Say::Relay(frame))) {
                debug!(member, "a stream that relays is full and ends");
                open.end.cancel();
            }
        }
    }

    /// Has the member that relays a probe pass this order on.
    pub fn order(&self, to: &Voter, order: v1::ConfirmOrder) {
        let Some(member) = self.0.listening.lock().through(to) else { return };
        if let Some(open) = self.0.streams.lock().get(&member) {
            let order = peer::RelayedOrder { life: Some(life_of(to)), order: Some(order) };
            // One that finds no room would come too late.
            open.out.say(Say::Order(order));
        }
    }

    /// Has every other member tell this life of a probe to go.
    pub fn supersede(&self, region: &str, probe: &str, old: Incarnation, new: Incarnation) {
        for open in self.0.streams.lock().values() {
            open.out.say(Say::Superseded(peer::SupersededProbe {
                region: region.to_owned(),
                probe: probe.to_owned(),
                old: old.0,
                new: new.0,
            }));
        }
    }

    /// Records of a relayed lane are missing: it ends and begins anew.
    pub fn begin_anew(&self, voter: &Voter) {
        self.0.listening.lock().begin_anew(voter);
    }

    /// Ends every stream: they are dialled again.
    fn end_all(&self) {
        for open in self.0.streams.lock().values() {
            open.end.cancel();
        }
    }

    /// Dials the leader again and again, until another one leads.
    async fn follow(self, member: u64, end: CancellationToken) {
        let stop = self.0.parts.supervisor.stop_token();
        let mut back_off = PEER_BACK_OFF_MIN;
        loop {
            let began = clock::instant();
            // Not dropped when another member leads: it ends what it began, and so by itself.
            let ended = tokio::select! {
                () = stop.cancelled() => return,
                ended = self.dial(member, &end) => ended,
            };
            match ended {
                Ok(()) => {}
                Err(status) => debug!(member, why = status.message(), "no relay"),
            }
            if end.is_cancelled() {
                return;
            }
            if clock::instant().saturating_duration_since(began) > PEER_BACK_OFF_MAX {
                back_off = PEER_BACK_OFF_MIN;
            }
            tokio::select! {
                () = end.cancelled() => return,
                () = stop.cancelled() => return,
                () = tokio::time::sleep(back_off) => {}
            }
            back_off = (back_off * 2).min(PEER_BACK_OFF_MAX);
        }
    }

    async fn dial(&self, member: u64, end: &CancellationToken) -> Result<(), Status> {
        use tokio_stream::StreamExt as _;
        let parts = &self.0.parts;
        // Not the connection of Raft's heartbeats: a snapshot is large.
        let Some(channel) = parts.peers.carrier(member) else { return Ok(()) };
        let (out, queue) = outgoing::channel(RELAY_FRAMES_MAX);
        let requests = queue.into_requests(parts.gate.hello(member));
        let mut client =
            RelayServiceClient::new(channel).max_decoding_message_size(RELAY_FRAME_BYTES_MAX);
        let frames = tokio::select! {
            () = end.cancelled() => return Ok(()),
            answered = client.relay(requests) => answered?.into_inner(),
        };
        info!(member, "follows the leader's clock and lanes");
        let frames = frames.map(|frame| frame.map(Said::from));
        Talk::new(self.clone(), member, out, end.child_token(), false).run(frames).await
    }

    fn register(&self, member: u64, out: &Outgoing, end: &CancellationToken) -> u64 {
        let id = self.0.next_stream.fetch_add(1, Ordering::Relaxed);
        let open = Open { id, out: out.clone(), end: end.clone() };
        if let Some(before) = self.0.streams.lock().insert(member, open) {
            before.end.cancel();
        }
        id
    }

    fn unregister(&self, member: u64, id: u64) {
        let mut streams = self.0.streams.lock();
        if streams.get(&member).is_some_and(|open| open.id == id) {
            streams.remove(&member);
            drop(streams);
            self.0.listening.lock().gone(member);
        }
    }
}

/// The list in parts; one that is empty is said, too.
fn lists(heard: &Heard) -> Vec<peer::HeardProbes> {
    let probes: Vec<peer::HeardProbe> = heard
        .iter()
        .map(|(voter, mark)| peer::HeardProbe {
            life: Some(life_of(voter)),
            watermark_mesh_ns: mark.as_ns(),
        })
        .collect();
    let mut parts: Vec<peer::HeardProbes> = probes
        .chunks(RELAY_LIST_PROBES_MAX)
        .map(|part| peer::HeardProbes { probes: part.to_vec(), last: false })
        .collect();
    if parts.is_empty() {
        parts.push(peer::HeardProbes::default());
    }
    if let Some(part) = parts.last_mut() {
        part.last = true;
    }
    parts
}

fn life_of(voter: &Voter) -> peer::ProbeLife {
    peer::ProbeLife {
        region: voter.region.clone(),
        probe: voter.probe.clone(),
        incarnation: voter.incarnation.0,
    }
}
