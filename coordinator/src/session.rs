//! Sessions with probes: who is connected, and the two lanes of each.
//!
//! Region and name come from the certificate. The live lane is in `session/live.rs`, the bulk lane
//! in `session/bulk.rs`; what frames mean is in `core/session.rs`.

mod bulk;
mod live;
pub mod looks;
pub mod members;
mod taps;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parallax_common::limits::LANE_SILENT_AFTER;
use parallax_common::name::{Generation, Incarnation, is_name};
use parallax_common::time::MeshTime;
use parallax_proto::v1;
use parallax_proto::v1::live_response::Frame;
use parallax_runtime::clock;
use parallax_runtime::supervisor::{Supervisor, TaskKind};
use parallax_runtime::transport::{Identity, PeerInfo};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tracing::warn;

use crate::core::engine::Voter;
use crate::core::fleet;
use crate::core::relay::Heard;

pub use self::live::{Parts, SessionServer};
pub use self::taps::Tap;
use self::taps::Taps;

/// Frames that may wait for a slow probe. At it the session is ended: it comes back with a snapshot.
const OUTBOUND_MAX: usize = 1_024;

/// Step kinds that a probe may name, and the length of each.
const KINDS_MAX: usize = 64;
const KIND_BYTES_MAX: usize = 32;

/// Live lanes of one name, one a life. At it the oldest is ended.
const LANES_PER_NAME_MAX: usize = 4;

type Outbound = mpsc::Sender<Result<v1::LiveResponse, Status>>;

/// What this member knows of a probe besides its replicated row.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// A live lane is open.
    pub connected: bool,
    /// Lowest round trip of late.
    pub round_trip: Option<Duration>,
    /// From its last heartbeat.
    pub health: v1::ProbeHealth,
    /// Frames, windows and sessions refused.
    pub refused: u64,
    /// The last of them.
    pub last_refusal: String,
    /// The plan it runs.
    pub generation: Option<v1::Generation>,
}

/// Every session of this member.
#[derive(Clone)]
pub struct Sessions {
    probes: Arc<Mutex<BTreeMap<(String, String), Entry>>>,
    ids: Arc<AtomicU64>,
    supervisor: Supervisor,
    /// Who waits for looks.
    desk: looks::Desk,
}

#[derive(Default)]
struct Entry {
    /// Open live lanes, by the life of the probe at the other end.
    lanes: BTreeMap<Incarnation, Lane>,
    seen: Seen,
}

struct Lane {
    id: u64,
    /// The other end of its connection.
    address: String,
    outbound: Outbound,
    /// Asks it to end.
    end: CancellationToken,
    /// It has ended: whatever it heard was told.
    ended: CancellationToken,
    heard: LastHeard,
    /// What the probe said of itself.
    facts: fleet::Session,
    taps: Taps,
    /// It carries out look orders.
    looks: bool,
}

impl Lane {
    fn voter(&self) -> Voter {
        let fleet::ProbeKey { region, probe } = self.facts.key.clone();
        Voter { region, probe, incarnation: self.facts.incarnation }
    }

    /// Asks the probe for everything, when somebody waits for it.
    fn ask_for_taps(&self, now: Instant) {
        if self.taps.ask(now) {
            let frame = Some(Frame::SnapshotRequest(v1::SnapshotRequest {}));
            // A lane without room ends anyhow.
            let _ = self.outbound.try_send(Ok(v1::LiveResponse { frame }));
        }
    }

    /// Whether the probe at its other end still speaks.
    fn is_alive(&self, now: Instant) -> bool {
        !self.end.is_cancelled()
            && !self.outbound.is_closed()
            && self.heard.silence(now) <= LANE_SILENT_AFTER
    }
}

/// When the last frame came on a lane, and how far its probe has told everything: written by its
/// task, read by whoever would take its place and by other members.
#[derive(Debug, Clone)]
struct LastHeard(Arc<Mutex<(Instant, Option<MeshTime>)>>);

impl LastHeard {
    fn new(now: Instant) -> Self {
        Self(Arc::new(Mutex::new((now, None))))
    }

    fn set(&self, now: Instant) {
        self.0.lock().0 = now;
    }

    fn set_watermark(&self, watermark: MeshTime) {
        self.0.lock().1 = Some(watermark);
    }

    fn watermark(&self) -> Option<MeshTime> {
        self.0.lock().1
    }

    fn silence(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.0.lock().0)
    }
}

/// This life of the probe has a live lane here already, by another connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Connected;

impl Sessions {
    /// No session yet.
    pub fn new(supervisor: Supervisor) -> Self {
        let desk = looks::Desk::default();
        Self { probes: Arc::default(), ids: Arc::default(), supervisor, desk }
    }

    /// What is known of this probe here.
    pub fn seen(&self, region: &str, probe: &str) -> Option<Seen> {
        let probes = self.probes.lock();
        probes.get(&(region.to_owned(), probe.to_owned())).map(|entry| entry.seen.clone())
    }

    /// How many live lanes are open.
    pub fn connected(&self) -> usize {
        self.probes.lock().values().filter(|entry| !entry.lanes.is_empty()).count()
    }

    /// How many listeners at other members the live lanes have.
    pub fn tapped(&self) -> usize {
        let probes = self.probes.lock();
        probes.values().flat_map(|entry| entry.lanes.values()).map(|lane| lane.taps.count()).sum()
    }

    /// Frames and windows refused so far, over all probes.
    pub fn refused(&self) -> u64 {
        self.probes.lock().values().map(|entry| entry.seen.refused).sum()
    }

    /// Cancelled when the process stops.
    pub fn stop_token(&self) -> CancellationToken {
        self.supervisor.stop_token()
    }

    /// Runs a task that belongs to one connection.
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.supervisor.spawn(TaskKind::Session(name), task);
    }

    /// Sends a frame to this life of a probe, if it is connected here. A lane that is full is
    /// ended: what it has missed it gets back with the next session.
    pub fn send(&self, region: &str, probe: &str, incarnation: Incarnation, frame: Frame) -> bool {
        let probes = self.probes.lock();
        let Some(lane) = probes
            .get(&(region.to_owned(), probe.to_owned()))
            .and_then(|entry| entry.lanes.get(&incarnation))
        else {
            return false;
        };
        let sent = lane.outbound.try_send(Ok(v1::LiveResponse { frame: Some(frame) })).is_ok();
        if !sent {
            lane.end.cancel();
        }
        sent
    }

    /// Tells this life of a probe to go and not come back.
    pub fn supersede(&self, region: &str, probe: &str, old: Incarnation, new: Incarnation) {
        let why = format!(
            "another probe took the name {probe} in region {region}: its incarnation is {:016x}, \
             this one's {:016x}",
            new.0, old.0
        );
        let voter = Voter { region: region.to_owned(), probe: probe.to_owned(), incarnation: old };
        if self.facts(&voter).is_none() {
            return;
        }
        warn!(region, probe, "{why}");
        let goodbye = v1::CoordinatorGoodbye { why, r#final: true, connected_node_id: 0 };
        self.send(region, probe, old, Frame::Goodbye(goodbye));
        self.lane(&voter, |lane| lane.end.cancel());
    }

    /// Ends this session of a voter if it is one of this member, and says so; the probe will dial again
    /// and bring a snapshot.
    pub fn end(&self, voter: &Voter, session: u64) -> bool {
        let ends = |lane: &Lane| {
            if lane.id == session {
                lane.end.cancel();
            }
            lane.id == session
        };
        self.lane(voter, ends).unwrap_or(false)
    }

    /// Ends every session: what they measured is of another time.
    pub fn end_all(&self) {
        let probes = self.probes.lock();
        probes.values().flat_map(|entry| entry.lanes.values()).for_each(|lane| lane.end.cancel());
    }

    /// A number for a session that begins, here or at another member.
    pub fn next_id(&self) -> u64 {
        self.ids.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The probes with a session here that speaks and whose clock is measured.
    pub fn heard(&self, now: Instant) -> Heard {
        let probes = self.probes.lock();
        let lanes = probes.values().flat_map(|entry| entry.lanes.values());
        let speak = lanes.filter(|lane| lane.is_alive(now));
        speak.filter_map(|lane| Some((lane.voter(), lane.heard.watermark()?))).collect()
    }

    /// What this life of a probe said of itself, when it has a session here.
    pub fn facts(&self, voter: &Voter) -> Option<fleet::Session> {
        self.lane(voter, |lane| lane.facts.clone())
    }

    /// Lets another member listen to this life of a probe.
    pub fn tap(&self, voter: &Voter, tap: Tap) {
        self.lane(voter, |lane| {
            lane.taps.add(tap);
            lane.ask_for_taps(clock::instant());
        });
    }

    /// Asks this life of a probe for everything once more, if it is connected here, and says so.
    pub fn ask(&self, voter: &Voter) -> bool {
        let asked = self.lane(voter, |lane| {
            lane.taps.owe();
            lane.ask_for_taps(clock::instant());
        });
        asked.is_some()
    }

    /// It listens no more.
    pub fn untap(&self, voter: &Voter, stream: u64) {
        self.lane(voter, |lane| lane.taps.remove(stream));
    }

    /// Whether it listens and was passed everything so far.
    pub fn is_tapped(&self, voter: &Voter, stream: u64) -> bool {
        self.lane(voter, |lane| lane.taps.has(stream)).unwrap_or(false)
    }

    fn lane<T>(&self, voter: &Voter, with: impl FnOnce(&Lane) -> T) -> Option<T> {
        let probes = self.probes.lock();
        let entry = probes.get(&(voter.region.clone(), voter.probe.clone()))?;
        entry.lanes.get(&voter.incarnation).map(with)
    }

    /// Says goodbye on every live lane.
    pub fn goodbye(&self, why: &str) {
        for entry in self.probes.lock().values() {
            for lane in entry.lanes.values() {
                let goodbye = v1::CoordinatorGoodbye {
                    why: why.to_owned(),
                    r#final: false,
                    connected_node_id: 0,
                };
                let frame = v1::LiveResponse { frame: Some(Frame::Goodbye(goodbye)) };
                // A full or closed lane learns it from the end of its stream.
                let _ = lane.outbound.try_send(Ok(frame));
            }
        }
    }

    /// Makes `lane` the one of its life of the probe, and returns what the end of the lane that it
    /// replaces shows in: until then that one may still say something. An older lane of the same
    /// life is replaced when it is dead and kept when it is not: two addresses of one member would
    /// otherwise end each other's sessions for ever. Another life's lane is left alone: who goes is
    /// decided in `core/fleet.rs`. `first` is the first frame of the lane: from here on others put
    /// frames on it, too.
    fn open(
        &self,
        who: &Who,
        lane: Lane,
        first: v1::LiveResponse,
        now: Instant,
    ) -> Result<Option<CancellationToken>, Connected> {
        let mut probes = self.probes.lock();
        let entry = probes.entry(who.key()).or_default();
        // Over one connection it is the probe itself that begins anew.
        let elsewhere = |before: &&Lane| before.address != who.address;
        let before = entry.lanes.get(&who.incarnation);
        if before.filter(elsewhere).is_some_and(|before| before.is_alive(now)) {
            return Err(Connected);
        }
        entry.seen.connected = true;
        // A life that was superseded is on its way out; one name has no use for many.
        if entry.lanes.len() >= LANES_PER_NAME_MAX
            && let Some(oldest) = entry.lanes.values().min_by_key(|lane| lane.id)
        {
            oldest.end.cancel();
        }
        // A peer that is gone already shows in its stream.
        let _ = lane.outbound.try_send(Ok(first));
        Ok(entry.lanes.insert(who.incarnation, lane).map(|before| {
            before.end.cancel();
            before.ended
        }))
    }

    /// Takes a lane away that ends, unless another one has replaced it.
    fn close(&self, who: &Who, id: u64) {
        let mut probes = self.probes.lock();
        if let Some(entry) = probes.get_mut(&who.key())
            && entry.lanes.get(&who.incarnation).is_some_and(|lane| lane.id == id)
        {
            entry.lanes.remove(&who.incarnation);
            entry.seen.connected = !entry.lanes.is_empty();
        }
    }

    fn update(&self, who: &Who, change: impl FnOnce(&mut Seen)) {
        change(&mut self.probes.lock().entry(who.key()).or_default().seen);
    }

    /// Counts a stream that ended with `status` against the probe whose certificate it came with,
    /// unless nobody is to blame for its end. Users and coordinators are in the log only.
    fn refuse(&self, peer: &PeerInfo, status: &Status) {
        if broke(status) {
            return;
        }
        let why = status.message();
        match &peer.identity {
            Identity::Probe { region, name, .. } => self.count_refusal(region, name, 1, why),
            other => warn!(peer = other.describe(), why, "refused a session"),
        }
    }

    fn count_refusal(&self, region: &str, probe: &str, count: u64, why: &str) {
        warn!(region, probe, why, "refused what a probe sent");
        let mut probes = self.probes.lock();
        let seen = &mut probes.entry((region.to_owned(), probe.to_owned())).or_default().seen;
        seen.refused += count;
        why.clone_into(&mut seen.last_refusal);
    }
}

/// The probe at the other end.
#[derive(Debug, Clone)]
struct Who {
    region: String,
    probe: String,
    incarnation: Incarnation,
    address: String,
}

impl Who {
    fn key(&self) -> (String, String) {
        (self.region.clone(), self.probe.clone())
    }

    /// The peer, when its hello says what its certificate says.
    fn from_hello(peer: &PeerInfo, hello: &v1::Hello, mesh: &str) -> Result<Self, Status> {
        let Identity::Probe { region, name, .. } = &peer.identity else {
            return Err(Status::permission_denied(format!(
                "this listener takes probes; your certificate is {}",
                peer.identity.describe()
            )));
        };
        if hello.region != *region || hello.probe != *name {
            return Err(Status::permission_denied(format!(
                "you claim to be probe \"{}\" of region \"{}\"; your certificate is {}",
                hello.probe,
                hello.region,
                peer.identity.describe()
            )));
        }
        // Who says no mesh, as an older build, is in this one.
        if mesh.is_empty() && !hello.mesh.is_empty() {
            return Err(Status::unavailable("this coordinator belongs to no mesh yet; try again"));
        }
        if !hello.mesh.is_empty() && hello.mesh != mesh {
            return Err(Status::failed_precondition(format!(
                "this is mesh \"{mesh}\"; you belong to mesh \"{}\"",
                hello.mesh
            )));
        }
        if !are_kinds(&hello.kinds) {
            return Err(Status::invalid_argument(format!(
                "hello.kinds: at most {KINDS_MAX} names of at most {KIND_BYTES_MAX} bytes"
            )));
        }
        if hello.incarnation == 0 {
            return Err(Status::invalid_argument("hello.incarnation: must not be 0"));
        }
        Ok(Self {
            region: region.clone(),
            probe: name.clone(),
            incarnation: Incarnation(hello.incarnation),
            address: peer.remote.to_string(),
        })
    }
}

/// Whether these can be the step kinds of a probe.
pub fn are_kinds(kinds: &[String]) -> bool {
    let known = |kind: &String| kind.len() <= KIND_BYTES_MAX && is_name(kind);
    kinds.len() <= KINDS_MAX && kinds.iter().all(known)
}

/// Whether a stream ended because its connection or its peer did, which is no offence, or because this
/// coordinator is not ready.
///
/// What our own decoder or a rule refuses has no cause beneath it; what tonic passes on from HTTP/2
/// or the socket names its cause, whatever code it is given: a peer that is killed may show as
/// `Unknown`, `Cancelled` or `Internal`.
fn broke(status: &Status) -> bool {
    matches!(status.code(), tonic::Code::Cancelled | tonic::Code::Unavailable)
        || std::error::Error::source(status).is_some()
}

fn wire(generation: Generation) -> v1::Generation {
    v1::Generation { epoch: generation.epoch, index: generation.index }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc::Receiver;

    use super::*;

    struct Other {
        lane: Option<Lane>,
        incarnation: u64,
        end: CancellationToken,
        heard: LastHeard,
        frames: Receiver<Result<v1::LiveResponse, Status>>,
    }

    fn who(id: u64, incarnation: u64) -> Who {
        Who {
            region: "eu-west".to_owned(),
            probe: "p1".to_owned(),
            incarnation: Incarnation(incarnation),
            address: format!("127.0.0.1:{id}"),
        }
    }

    fn welcome() -> v1::LiveResponse {
        let welcome = v1::Welcome { mesh: "m1".to_owned(), ..v1::Welcome::default() };
        v1::LiveResponse { frame: Some(Frame::Welcome(welcome)) }
    }

    fn facts(id: u64, incarnation: u64) -> fleet::Session {
        fleet::Session {
            id,
            key: fleet::ProbeKey { region: "eu-west".to_owned(), probe: "p1".to_owned() },
            incarnation: Incarnation(incarnation),
            address: String::new(),
            build: String::new(),
            kinds: Vec::new(),
        }
    }

    fn lane(id: u64, incarnation: u64, now: Instant) -> Other {
        let (outbound, frames) = mpsc::channel(8);
        let (end, heard) = (CancellationToken::new(), LastHeard::new(now));
        let who = who(id, incarnation);
        let lane = Lane {
            id,
            address: who.address,
            outbound,
            end: end.clone(),
            ended: CancellationToken::new(),
            heard: heard.clone(),
            facts: facts(id, incarnation),
            taps: Taps::default(),
            looks: true,
        };
        Other { lane: Some(lane), incarnation, end, heard, frames }
    }

    impl Other {
        fn open(&mut self, sessions: &Sessions, now: Instant) -> Result<(), Connected> {
            let lane = self.lane.take().unwrap();
            let opened = sessions.open(&who(lane.id, self.incarnation), lane, welcome(), now);
            // Its beginning is not what these tests look at.
            if opened.is_ok() {
                assert_eq!(self.frames.try_recv().unwrap().unwrap(), welcome());
            }
            opened.map(|_| ())
        }
    }

    #[test]
    fn a_lane_that_speaks_is_kept_and_one_that_is_dead_is_taken_over() {
        let start = parallax_runtime::clock::instant();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let sessions = Sessions::new(Supervisor::default());
        let mut first = lane(1, 7, at(0));
        assert_eq!(first.open(&sessions, at(0)), Ok(()));
        assert_eq!(lane(2, 7, at(900)).open(&sessions, at(900)), Err(Connected));
        first.heard.set(at(5_000));
        assert_eq!(lane(3, 7, at(7_000)).open(&sessions, at(7_000)), Err(Connected));
        assert!(!first.end.is_cancelled());
        // Half open: nothing came for more than two heartbeats.
        let mut second = lane(4, 7, at(7_001));
        assert_eq!(second.open(&sessions, at(7_001)), Ok(()));
        assert!(first.end.is_cancelled());
        sessions.close(&who(1, 7), 1);
        assert_eq!(sessions.connected(), 1, "the first is not the newest any more");
        // Its own end was asked for, or its connection is gone: no need to wait.
        second.end.cancel();
        let mut third = lane(5, 7, at(7_002));
        assert_eq!(third.open(&sessions, at(7_002)), Ok(()));
        drop(third.frames);
        assert_eq!(lane(6, 7, at(7_003)).open(&sessions, at(7_003)), Ok(()));
    }

    #[test]
    fn another_life_of_a_probe_is_let_in_and_the_old_one_goes_when_the_fleet_says_so() {
        let now = parallax_runtime::clock::instant();
        let sessions = Sessions::new(Supervisor::default());
        let (mut first, mut second) = (lane(1, 7, now), lane(2, 8, now));
        first.open(&sessions, now).unwrap();
        assert_eq!(second.open(&sessions, now), Ok(()));
        assert!(!first.end.is_cancelled() && first.frames.try_recv().is_err());
        sessions.supersede("eu-west", "p1", Incarnation(7), Incarnation(8));
        let Ok(Ok(v1::LiveResponse { frame: Some(Frame::Goodbye(goodbye)) })) =
            first.frames.try_recv()
        else {
            panic!("it is told why");
        };
        assert!(goodbye.r#final, "{goodbye:?}");
        assert!(first.end.is_cancelled() && !second.end.is_cancelled());
    }

    #[test]
    fn nothing_gets_onto_a_lane_before_its_welcome() {
        let now = parallax_runtime::clock::instant();
        let sessions = Sessions::new(Supervisor::default());
        let mut lane = lane(1, 7, now);
        let opened = lane.lane.take().unwrap();
        sessions.open(&who(1, 7), opened, welcome(), now).unwrap();
        // Its task has not had its turn yet.
        sessions.goodbye("the coordinator stops");
        assert_eq!(lane.frames.try_recv().unwrap().unwrap(), welcome());
        assert!(lane.frames.try_recv().is_ok(), "the goodbye comes after it");
    }

    #[test]
    fn before_it_belongs_to_a_mesh_a_coordinator_blames_no_probe() {
        let sessions = Sessions::new(Supervisor::default());
        let identity = Identity::Probe {
            mesh: "m1".to_owned(),
            region: "eu-west".to_owned(),
            name: "p1".to_owned(),
        };
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], 1));
        let peer = PeerInfo { identity, remote: address, local: address };
        let hello = |mesh: &str| v1::Hello {
            region: "eu-west".to_owned(),
            probe: "p1".to_owned(),
            mesh: mesh.to_owned(),
            incarnation: 7,
            ..v1::Hello::default()
        };
        let greet = |probes: &str, ours: &str| match Who::from_hello(&peer, &hello(probes), ours) {
            Ok(_) => None,
            Err(status) => {
                sessions.refuse(&peer, &status);
                Some(status.code())
            }
        };
        assert_eq!(greet("m1", ""), Some(tonic::Code::Unavailable));
        for (probes, ours) in [("m1", "m1"), ("", "m1"), ("", "")] {
            assert_eq!(greet(probes, ours), None, "{probes:?} {ours:?}");
        }
        assert_eq!(sessions.refused(), 0);
        assert_eq!(greet("m2", "m1"), Some(tonic::Code::FailedPrecondition));
        assert_eq!(sessions.refused(), 1);
    }

    #[test]
    fn one_name_has_no_use_for_many_lives() {
        let now = parallax_runtime::clock::instant();
        let sessions = Sessions::new(Supervisor::default());
        let mut lanes: Vec<Other> = (1..=5).map(|id| lane(id, id, now)).collect();
        for lane in &mut lanes {
            lane.open(&sessions, now).unwrap();
        }
        let ended: Vec<bool> = lanes.iter().map(|lane| lane.end.is_cancelled()).collect();
        assert_eq!(ended, [true, false, false, false, false]);
    }

    #[tokio::test]
    async fn who_can_look_is_sent_an_order_and_what_it_says_comes_back_to_the_asker() {
        use parallax_common::name::{RunDigest, Uid};
        use parallax_common::record::{LookRefusal, LookResult};

        use crate::core::look::{Ending, Seat};

        let now = parallax_runtime::clock::instant();
        let sessions = Sessions::new(Supervisor::default());
        let (mut new, mut old) = (lane(1, 7, now), lane(2, 8, now));
        old.lane.as_mut().unwrap().looks = false;
        for lane in [&mut new, &mut old] {
            lane.open(&sessions, now).unwrap();
        }
        let voter = |incarnation| Voter {
            region: "eu-west".to_owned(),
            probe: "p1".to_owned(),
            incarnation: Incarnation(incarnation),
        };
        let seats = [Some(7), Some(8), Some(9), None].map(|incarnation| Seat {
            region: "eu-west".to_owned(),
            advisory: false,
            voter: incarnation.map(voter),
        });
        let (check, at) = (Uid::from_bytes([1; 16]), MeshTime::from_ns(5));
        let mut asked = sessions.look(check, RunDigest(3), &seats, at, "cli-7/3".into()).unwrap();
        for known in [(1, Ending::TooOld), (2, Ending::NoSession), (3, Ending::NoProbe)] {
            assert_eq!(asked.next().await, Some(known));
        }
        assert!(old.frames.try_recv().is_err(), "an older build is not sent any");
        let Ok(Ok(v1::LiveResponse { frame: Some(Frame::LookOrder(order)) })) =
            new.frames.try_recv()
        else {
            panic!("an order");
        };
        assert_eq!((order.run_digest, order.ordered_mesh_ns, order.expires_ms), (3, 5, 2_000));
        let refused = LookResult { look: order.look, said: Err(LookRefusal::TooMany) };
        sessions.looked(&voter(9), LookResult { look: order.look + 1, ..refused.clone() });
        sessions.looked(&voter(7), refused.clone());
        assert_eq!(asked.next().await, Some((0, Ending::Refused(LookRefusal::TooMany))));
        drop(asked);
        sessions.looked(&voter(7), refused);
        assert_eq!(sessions.looks_open(), 0);
    }
}
