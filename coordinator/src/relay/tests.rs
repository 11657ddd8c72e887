//! Two members over real sockets and certificates: the first leads and has no session, the second
//! holds a probe's. What the judges are told is read where they would read it.

mod whole;

use std::net::SocketAddr;
use std::time::Duration;

use parallax_common::name::Uid;
use parallax_common::time::{BootTime, MeshTime};
use parallax_proto::store::MemberRow;
use parallax_proto::v1::live_request::Frame as Up;
use parallax_proto::v1::live_response::Frame as Down;
use parallax_proto::v1::session_service_client::SessionServiceClient;
use parallax_runtime::transport::{Accepts, Connector, Credentials, Listener, endpoint, serve};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, SanType,
};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::Routes;
use tonic::{Code, Streaming};

use super::*;
use crate::core::peering::Group;
use crate::core::session::Event;
use crate::core::state::State;
use crate::history::ring::Ring;
use crate::judge::{self, Told};
use crate::mesh_clock::start::read_clocks;
use crate::peers::Peer;
use crate::peers::gate::Own;
use crate::session::{self, SessionServer};
use crate::view::View;

const LONG: Duration = Duration::from_secs(20);
const MESH: &str = "demo";

/// The authority of the mesh.
struct Ca(CertifiedIssuer<'static, KeyPair>);

impl Ca {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, MESH);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn credentials(&self, path: &str) -> Credentials {
        Credentials::load(self.issue(path).path()).unwrap()
    }

    /// A folder with the files of this identity.
    fn issue(&self, path: &str) -> TempDir {
        let dir = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::default();
        let uri = format!("spiffe://{MESH}/{path}");
        params.subject_alt_names.push(SanType::URI(uri.as_str().try_into().unwrap()));
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.0).unwrap();
        for (name, text) in
            [("ca.pem", self.0.pem()), ("cert.pem", cert.pem()), ("key.pem", key.serialize_pem())]
        {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        dir
    }
}

/// One member, without a Raft node and without a judge.
struct Member {
    relays: Relays,
    judge: JudgeHandle,
    told: mpsc::Receiver<Told>,
    clock: Arc<MeshClock>,
    sessions: Sessions,
    peers: Peers,
    gate: Gate,
    peers_at: SocketAddr,
    probes_at: SocketAddr,
    leader: watch::Sender<Option<u64>>,
    supervisor: Supervisor,
    _dir: TempDir,
}

impl Member {
    async fn start(ca: &Ca, id: u64, offset_s: i64) -> Self {
        let supervisor = Supervisor::default();
        let credentials = ca.credentials(&format!("coordinator/c{id}"));
        let dir = tempfile::tempdir().unwrap();
        // As if it had been stored in this boot.
        let clock = Arc::new(MeshClock::begin(dir.path()));
        clock.heard_probe(MeshTime::from_ns(clock.now().as_ns() + offset_s * 1_000_000_000));
        clock.settle(Vec::new());
        let (judge, told) = judge::channel(Arc::clone(&clock));
        let sessions = Sessions::new(supervisor.clone());
        let peers = Peers::new(credentials.clone(), id);
        let own = Own {
            node_id: id,
            disk_id: format!("d{id}"),
            build: String::new(),
            level: 1,
            peer_address: String::new(),
        };
        let row = |node_id: u64| {
            let name = format!("c{node_id}");
            (node_id, Arc::new(MemberRow { node_id, name, ..MemberRow::default() }))
        };
        let gate = Gate::new(own, move || Group {
            mesh: MESH.to_owned(),
            cluster_id: "k".to_owned(),
            node_id: id,
            members: [row(1), row(2)].into_iter().collect(),
            ..Group::default()
        });
        let relays = Relays::new(Parts {
            peers: peers.clone(),
            gate: gate.clone(),
            sessions: sessions.clone(),
            judge: judge.clone(),
            clock: Arc::clone(&clock),
            supervisor: supervisor.clone(),
        });
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let for_peers =
            Listener::bind(any, Accepts::Peers, &credentials, &supervisor).await.unwrap();
        let for_probes =
            Listener::bind(any, Accepts::Probes, &credentials, &supervisor).await.unwrap();
        let (peers_at, probes_at) = (for_peers.local_addr(), for_probes.local_addr());
        let (_plans, plan) = watch::channel(Arc::default());
        let (_lists, members) = watch::channel(Arc::default());
        let view = View::default();
        let mut state = State::default();
        MESH.clone_into(&mut state.cluster.mesh);
        view.publish(state);
        let server = SessionServer::new(session::Parts {
            sessions: sessions.clone(),
            judge: judge.clone(),
            plan,
            view,
            clock: Arc::clone(&clock),
            history: Arc::new(Ring::new(LONG, 1024)),
            certificates: Default::default(),
            node_id: id,
            members,
        });
        let routes = [
            (for_peers, Routes::new(relays.server().into_service())),
            (for_probes, Routes::new(server.into_service())),
        ];
        for (listener, routes) in routes {
            let stop = supervisor.stop_token();
            supervisor.spawn(TaskKind::Session("listener"), async move {
                serve(listener, routes, stop).await.unwrap();
            });
        }
        let (leader, leads) = watch::channel(None);
        let (running, stop) = (relays.clone(), supervisor.stop_token());
        supervisor.spawn(TaskKind::Session("relays"), async move {
            // The two channels stay open.
            let _kept = (_plans, _lists);
            tokio::select! {
                () = running.run(leads) => {}
                () = stop.cancelled() => {}
            }
        });
        Self {
            relays,
            judge,
            told,
            clock,
            sessions,
            peers,
            gate,
            peers_at,
            probes_at,
            leader,
            supervisor,
            _dir: dir,
        }
    }

    /// The next thing that the judge is told of which `which` makes something.
    async fn told<T>(&mut self, mut which: impl FnMut(Told) -> Option<T>) -> T {
        let next = async {
            loop {
                if let Some(found) = which(self.told.recv().await.unwrap()) {
                    return found;
                }
            }
        };
        tokio::time::timeout(LONG, next).await.expect("the judge was not told in time")
    }
}

/// The first leads; the second's clock is so many seconds ahead of the first's.
async fn two(ca: &Ca, ahead_s: i64) -> (Member, Member) {
    let (first, second) = (Member::start(ca, 1, 0).await, Member::start(ca, 2, ahead_s).await);
    for member in [&first, &second] {
        let book = [(1, first.peers_at), (2, second.peers_at)].map(|(node_id, address)| Peer {
            node_id,
            name: format!("c{node_id}"),
            address: address.to_string(),
        });
        member.peers.learn(book);
    }
    first.judge.leader.store(true, Ordering::Release);
    (first, second)
}

fn follow(first: &Member, second: &Member) {
    for member in [first, second] {
        member.leader.send_replace(Some(1));
    }
}

/// A probe in the hands of the test, which answers pings as one does.
struct Probe {
    up: mpsc::Sender<v1::LiveRequest>,
    down: Streaming<v1::LiveResponse>,
    sequence: u64,
}

impl Probe {
    async fn dial(ca: &Ca, at: SocketAddr) -> Self {
        let connector = Connector::new(ca.credentials("region/eu/probe/p1"));
        let channel =
            endpoint(&at.to_string()).unwrap().connect_with_connector(connector).await.unwrap();
        let (up, frames) = mpsc::channel(64);
        let hello = v1::Hello {
            region: "eu".to_owned(),
            probe: "p1".to_owned(),
            incarnation: 7,
            ..v1::Hello::default()
        };
        let first = v1::LiveRequest { frame: Some(Up::Hello(hello)) };
        up.send(first).await.unwrap();
        let mut client = SessionServiceClient::new(channel);
        let down = client.live(ReceiverStream::new(frames)).await.unwrap().into_inner();
        Self { up, down, sequence: 0 }
    }

    async fn say(&self, frame: Up) {
        self.up.send(v1::LiveRequest { frame: Some(frame) }).await.unwrap();
    }

    /// The next frame of which `which` makes something; pings are answered, with a heartbeat.
    async fn hear<T>(&mut self, mut which: impl FnMut(&Down) -> Option<T>) -> T {
        let next = async {
            loop {
                let frame = self.down.message().await.unwrap().unwrap().frame.unwrap();
                if let Down::Ping(ping) = &frame {
                    let boottime_ns = clock::boot_time().as_ns();
                    self.say(Up::Pong(v1::Pong { id: ping.id, boottime_ns })).await;
                    self.beat(false).await;
                }
                if let Some(found) = which(&frame) {
                    return found;
                }
            }
        };
        tokio::time::timeout(LONG, next).await.expect("the probe was not told in time")
    }

    async fn beat(&self, whole: bool) {
        let beat = v1::Heartbeat {
            boottime_ns: clock::boot_time().as_ns(),
            live_sequence: self.sequence,
            whole,
            ..v1::Heartbeat::default()
        };
        self.say(Up::Heartbeat(beat)).await;
    }

    async fn snapshot(&self) {
        let snapshot = v1::BallotSnapshot {
            live_sequence: self.sequence,
            last: true,
            whole: true,
            ..v1::BallotSnapshot::default()
        };
        self.say(Up::Snapshot(snapshot)).await;
    }

    async fn fail(&mut self) -> i64 {
        self.sequence += 1;
        let started = clock::boot_time().as_ns();
        let record = v1::OutcomeRecord {
            check_uid: Uid::from_bytes([3; 16]).as_bytes().to_vec().into(),
            number: self.sequence,
            slot: Some(1),
            outcome: v1::Outcome::Fail.into(),
            reason: v1::Reason::ConnectRefused.into(),
            scheduled_boottime_ns: started,
            started_boottime_ns: started,
            ended_boottime_ns: started + 1_000_000,
            ..v1::OutcomeRecord::default()
        };
        let first_sequence = self.sequence;
        self.say(Up::Outcomes(v1::Outcomes { first_sequence, records: vec![record] })).await;
        started
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_probe_that_only_another_member_hears_is_heard_whole_and_obeys() {
    let ca = Ca::new();
    let (mut first, mut second) = two(&ca, 0).await;
    follow(&first, &second);
    let mut probe = Probe::dial(&ca, second.probes_at).await;
    // Somebody must take what the second judge is told, or its sessions would wait.
    let supervisor = second.supervisor.clone();
    let (_keep, closed) = mpsc::channel::<()>(1);
    let mut told = std::mem::replace(&mut second.told, mpsc::channel(1).1);
    supervisor.spawn(TaskKind::Session("drain"), async move {
        let _closed = closed;
        while told.recv().await.is_some() {}
    });

    // It is listened to, and asked to say everything once more.
    probe.hear(|frame| matches!(frame, Down::SnapshotRequest(_)).then_some(())).await;
    probe.fail().await;
    probe.snapshot().await;
    probe.beat(true).await;
    let voter = Voter { region: "eu".into(), probe: "p1".into(), incarnation: Incarnation(7) };
    let mut vouched = false;
    let (session, facts) = first
        .told(|told| match told {
            Told::Vouched(all) => {
                vouched |= all.iter().any(|(who, _)| *who == voter);
                None
            }
            Told::Opened(who, facts) => Some((who, facts)),
            other => panic!("{other:?} before the lane begins"),
        })
        .await;
    assert!(vouched, "listed before it is relayed");
    assert_eq!((&session, facts.key.probe.as_str()), (&voter, "p1"));
    let mut said = Vec::new();
    while said.last() != Some(&"heartbeat") {
        let event = first.told(|told| match told {
            Told::Heard(who, id, event) => {
                assert_eq!((&who, id), (&voter, facts.id));
                Some(event)
            }
            Told::Vouched(_) => None,
            other => panic!("{other:?}"),
        });
        said.push(match event.await {
            Event::Outcomes { first_sequence, .. } => {
                assert_eq!(first_sequence, 1);
                "outcome"
            }
            Event::Snapshot { whole, last, live_sequence, .. } => {
                assert!(whole && last && live_sequence == 1);
                "snapshot"
            }
            Event::Heartbeat { heartbeat, .. } => {
                assert!(heartbeat.whole, "none that builds on what was not heard");
                "heartbeat"
            }
            other => panic!("{other:?}"),
        });
    }
    assert_eq!(said, ["outcome", "snapshot", "heartbeat"]);

    // Times are mesh time, by the offset that the holder measured.
    let started = probe.fail().await;
    let expected =
        BootTime::from_ns(started).to_mesh(second.clock.now().as_ns() - clock::boot_time().as_ns());
    let records = first
        .told(|told| match told {
            Told::Heard(_, _, Event::Outcomes { records, .. }) => Some(records),
            _ => None,
        })
        .await;
    let off = records[0].started.as_ns() - expected.as_ns();
    assert!(off.abs() < 50_000_000, "{off} ns off");
    assert_eq!((first.relays.counts().0, second.sessions.tapped()), (1, 1));

    // Another member leads: the lane ends here, and when it is the first again, it begins anew.
    second.leader.send_replace(None);
    let closed = |told| matches!(told, Told::Closed(who, id) if who == voter && id == facts.id);
    first.told(|told| closed(told).then_some(())).await;
    assert_eq!(first.relays.counts().0, 0);
    second.leader.send_replace(Some(1));
    probe.hear(|frame| matches!(frame, Down::SnapshotRequest(_)).then_some(())).await;
    let opened = first.told(|told| match told {
        Told::Opened(who, again) => Some((who, again)),
        _ => None,
    });
    let (who, again) = opened.await;
    assert!(who == voter && again.id > facts.id);

    // Orders come back the same way, and so does the end of a life.
    first.relays.order(&voter, v1::ConfirmOrder { order: 5, ..v1::ConfirmOrder::default() });
    let order = probe.hear(|frame| match frame {
        Down::Order(order) => Some(order.order),
        _ => None,
    });
    assert_eq!(order.await, 5);
    first.relays.supersede("eu", "p1", Incarnation(7), Incarnation(8));
    let last = probe.hear(|frame| match frame {
        Down::Goodbye(goodbye) => Some(goodbye.r#final),
        _ => None,
    });
    assert!(last.await);
    first
        .told(|told| {
            matches!(told, Told::Closed(who, id) if who == voter && id == again.id).then_some(())
        })
        .await;
    first.supervisor.stop();
    second.supervisor.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_takes_the_time_of_the_leader_and_asks_for_it_when_it_starts() {
    let ca = Ca::new();
    let (first, second) = two(&ca, 5).await;
    let apart =
        |first: &Member, second: &Member| second.clock.now().as_ns() - first.clock.now().as_ns();
    assert!(apart(&first, &second) > 4_000_000_000);
    // Before anybody leads: a start asks whoever is there.
    let clocks = read_clocks(&second.peers, &second.gate, &second.supervisor).await;
    let [estimate] = clocks[..] else { panic!("{clocks:?}") };
    let ours = first.clock.now().as_ns() - clock::boot_time().as_ns();
    assert!((estimate.offset_ns - ours).abs() < 1_000_000_000, "{estimate:?} and not {ours}");
    // The leader measures it, and its first measurement counts at once.
    follow(&first, &second);
    let set = tokio::time::timeout(LONG, second.judge.set.notified()).await;
    assert!(set.is_ok(), "what was counted by the other time is void");
    assert!(apart(&first, &second).abs() < 500_000_000, "{}", apart(&first, &second));
    first.supervisor.stop();
    second.supervisor.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_no_member_is_refused_and_a_stream_begins_with_a_hello() {
    let ca = Ca::new();
    let (first, second) = two(&ca, 0).await;
    let dial = |path: &'static str| {
        let (ca, at) = (ca.credentials(path), first.peers_at.to_string());
        async move { endpoint(&at).unwrap().connect_with_connector(Connector::new(ca)).await }
    };
    let status = |channel, first: Option<peer::relay_request::Frame>| async move {
        let frames = first.map(|frame| peer::RelayRequest { frame: Some(frame) });
        let frames = tokio_stream::iter(frames);
        RelayServiceClient::new(channel).relay(frames).await.unwrap_err()
    };
    let hello = |gate: &Gate, to| Some(peer::relay_request::Frame::Hello(gate.hello(to)));
    let channel = dial("coordinator/c2").await.unwrap();
    assert_eq!(status(channel.clone(), None).await.code(), Code::InvalidArgument);
    let pong = peer::relay_request::Frame::Pong(v1::Pong::default());
    assert_eq!(status(channel.clone(), Some(pong)).await.code(), Code::InvalidArgument);
    let wrong = hello(&second.gate, 3);
    assert_eq!(status(channel, wrong).await.code(), Code::PermissionDenied);
    // A coordinator of this mesh that has another name than the member it claims to be.
    let channel = dial("coordinator/c9").await.unwrap();
    let refused = status(channel.clone(), hello(&second.gate, 1)).await;
    assert_eq!(refused.code(), Code::PermissionDenied);
    let question = peer::ReadClockRequest { hello: Some(second.gate.hello(1)) };
    let refused = RelayServiceClient::new(channel).read_clock(question).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    first.supervisor.stop();
    second.supervisor.stop();
}
