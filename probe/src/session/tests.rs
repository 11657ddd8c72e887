//! A whole probe against a coordinator that does what the test says, over real sockets and TLS.

use std::net::SocketAddr;
use std::path::Path;

use parallax_common::check::{Assignment, IpFamily, Run, Step, StepKind, TcpStep};
use parallax_common::digest::run_digest;
use parallax_common::name::{Generation, Uid};
use parallax_common::outcome::{Outcome, Reason};
use parallax_proto::v1::session_service_server::{SessionService, SessionServiceServer};
use parallax_runtime::transport::{Accepts, Listener, serve};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};
use tonic::service::Routes;
use tonic::{Request, Response, Status};
use v1::live_request::Frame as Said;
use v1::live_response::Frame as Say;

use super::*;
use crate::execute::tests::nobody::Nobody;
use crate::{Config, RunError};

/// One opened lane: what comes in, and where answers go.
struct Lane<In, Out> {
    inward: Streaming<In>,
    outward: mpsc::Sender<Result<Out, Status>>,
}

type Live = Lane<v1::LiveRequest, v1::LiveResponse>;
type Bulk = Lane<v1::BulkRequest, v1::BulkResponse>;

struct Service {
    live: mpsc::UnboundedSender<Live>,
    bulk: mpsc::UnboundedSender<Bulk>,
    /// Bulk lanes are answered while it says so.
    bulk_open: watch::Receiver<bool>,
}

#[tonic::async_trait]
impl SessionService for Service {
    type LiveStream = ReceiverStream<Result<v1::LiveResponse, Status>>;
    type BulkStream = ReceiverStream<Result<v1::BulkResponse, Status>>;

    async fn live(
        &self,
        request: Request<Streaming<v1::LiveRequest>>,
    ) -> Result<Response<Self::LiveStream>, Status> {
        let (outward, frames) = mpsc::channel(64);
        let _ = self.live.send(Lane { inward: request.into_inner(), outward });
        Ok(Response::new(ReceiverStream::new(frames)))
    }

    async fn bulk(
        &self,
        request: Request<Streaming<v1::BulkRequest>>,
    ) -> Result<Response<Self::BulkStream>, Status> {
        let (outward, frames) = mpsc::channel(64);
        let _ = self.bulk_open.clone().wait_for(|open| *open).await;
        let _ = self.bulk.send(Lane { inward: request.into_inner(), outward });
        Ok(Response::new(ReceiverStream::new(frames)))
    }
}

fn write_credentials(dir: &Path, ca_pem: &str, issuer: &Issuer<'_, KeyPair>, uri: &str) {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.subject_alt_names.push(SanType::URI(uri.try_into().unwrap()));
    let key = KeyPair::generate().unwrap();
    std::fs::create_dir_all(dir).unwrap();
    std::fs::write(dir.join("ca.pem"), ca_pem).unwrap();
    std::fs::write(dir.join("cert.pem"), params.signed_by(&key, issuer).unwrap().pem()).unwrap();
    std::fs::write(dir.join("key.pem"), key.serialize_pem()).unwrap();
}

/// A coordinator in the hands of the test.
struct Coordinator {
    node: u64,
    address: String,
    live: mpsc::UnboundedReceiver<Live>,
    bulk: mpsc::UnboundedReceiver<Bulk>,
    bulk_open: watch::Sender<bool>,
}

/// A coordinator, and the probe that dials it.
struct World {
    coordinator: Coordinator,
    /// Where coordinators' credentials are.
    credentials: Credentials,
    supervisor: Supervisor,
    ended: tokio::sync::oneshot::Receiver<Result<(), RunError>>,
    stop: CancellationToken,
    dir: tempfile::TempDir,
}

const MESH_OFFSET_S: i64 = 1_000_000;

impl World {
    async fn start() -> Self {
        Self::start_after(|_| {}).await
    }

    /// One whose data directory was made before.
    async fn start_after(earlier: impl FnOnce(&Path)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let ca_pem = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        let (ours, theirs) = (dir.path().join("c"), dir.path().join("p"));
        write_credentials(&ours, &ca_pem, &issuer, "spiffe://m1/coordinator/c1");
        write_credentials(&theirs, &ca_pem, &issuer, "spiffe://m1/region/eu-west/probe/p1");
        let supervisor = Supervisor::default();
        let credentials = Credentials::load(&ours).unwrap();
        let coordinator = Coordinator::start(1, &credentials, &supervisor).await;
        let stop = CancellationToken::new();
        earlier(&dir.path().join("data"));
        let config = Config {
            tls_dir: theirs,
            coordinators: vec![coordinator.address.clone()],
            data_dir: Some(dir.path().join("data")),
            ..Config::default()
        };
        let (done, ended) = tokio::sync::oneshot::channel();
        let probe_stop = stop.clone();
        supervisor.spawn(TaskKind::Session("probe"), async move {
            let _ = done.send(crate::run(config, probe_stop).await);
        });
        Self { coordinator, credentials, supervisor, ended, stop, dir }
    }

    async fn session(&mut self) -> (v1::Hello, Live, Bulk) {
        self.coordinator.session().await
    }
}

impl Coordinator {
    async fn start(node: u64, credentials: &Credentials, supervisor: &Supervisor) -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = Listener::bind(any, Accepts::Probes, credentials, supervisor).await.unwrap();
        let address = listener.local_addr().to_string();
        let (live_tx, live) = mpsc::unbounded_channel();
        let (bulk_tx, bulk) = mpsc::unbounded_channel();
        let (bulk_open, opened) = watch::channel(true);
        let service = Service { live: live_tx, bulk: bulk_tx, bulk_open: opened };
        let service = SessionServiceServer::new(service);
        let mut routes = Routes::builder();
        routes.add_service(service);
        let (routes, serving) = (routes.routes(), supervisor.stop_token());
        supervisor.spawn(TaskKind::Session("coordinator"), async move {
            let _ = serve(listener, routes, serving).await;
        });
        Self { node, address, live, bulk, bulk_open }
    }

    /// The next session, welcomed: its hello and its lanes.
    async fn session(&mut self) -> (v1::Hello, Live, Bulk) {
        let (hello, live) = self.welcomed().await;
        (hello, live, self.bulk_lane().await)
    }

    /// The next session's live lane, welcomed.
    async fn welcomed(&mut self) -> (v1::Hello, Live) {
        let mut live = within("a live lane", self.live.recv()).await.unwrap();
        let hello = match next(&mut live).await {
            Said::Hello(hello) => hello,
            other => panic!("a hello comes first, not {other:?}"),
        };
        let welcome = v1::Welcome {
            mesh: "m1".into(),
            node_id: self.node,
            leader: self.node == 1,
            ..Default::default()
        };
        say(&live, Say::Welcome(welcome)).await;
        (hello, live)
    }

    async fn bulk_lane(&mut self) -> Bulk {
        let mut bulk = within("a bulk lane", self.bulk.recv()).await.unwrap();
        let frame = within("a bulk hello", bulk.inward.message()).await.unwrap().unwrap();
        assert!(matches!(frame.frame, Some(v1::bulk_request::Frame::Hello(_))));
        bulk
    }
}

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future)
        .await
        .unwrap_or_else(|_| panic!("{what} did not come within 20 s"))
}

async fn next(live: &mut Live) -> Said {
    within("a frame", live.inward.message()).await.unwrap().unwrap().frame.unwrap()
}

/// The next frame that `pick` takes; others are passed over.
async fn until<T>(live: &mut Live, pick: impl Fn(&Said) -> Option<T>) -> T {
    loop {
        if let Some(found) = pick(&next(live).await) {
            return found;
        }
    }
}

async fn say(live: &Live, frame: Say) {
    live.outward.send(Ok(v1::LiveResponse { frame: Some(frame) })).await.unwrap();
}

/// Two seconds before the end of a 10 s window on the mesh's clock.
fn offset_ns() -> i64 {
    let boot = clock::boot_time().as_ns();
    let aim = (boot / 1_000_000_000 + MESH_OFFSET_S) / 10 * 10_000_000_000 + 18_000_000_000;
    aim - boot
}

fn assignment(n: u8, port: u16) -> Assignment {
    let run = Run {
        steps: vec![Step {
            name: String::new(),
            captures: vec![],
            kind: StepKind::Tcp(TcpStep { host: "127.0.0.1".into(), port, ..TcpStep::default() }),
        }],
        timeout: Duration::from_millis(500),
        expect: vec![],
        warn: vec![],
        invert: false,
        canary: None,
        ip: IpFamily::Auto,
        source_address: None,
        resolver: None,
        samples: 1,
    };
    Assignment {
        check: Uid::from_bytes([n; 16]),
        namespace: "default".into(),
        name: format!("check-{n}"),
        run_digest: run_digest(&run),
        run: Arc::new(run),
        interval: Duration::from_millis(500),
        phase_ns: 0,
        failures: 2,
        successes: 2,
        failures_of: 0,
        successes_of: 0,
        confirm_spacing: Duration::from_millis(50),
    }
}

fn outcomes(said: &Said) -> Option<v1::Outcomes> {
    match said {
        Said::Outcomes(outcomes) => Some(outcomes.clone()),
        _ => None,
    }
}

fn snapshot(said: &Said) -> Option<v1::BallotSnapshot> {
    match said {
        Said::Snapshot(snapshot) => Some(snapshot.clone()),
        _ => None,
    }
}

async fn windows(bulk: &mut Bulk) -> v1::Windows {
    loop {
        let frame = within("windows", bulk.inward.message()).await.unwrap().unwrap();
        if let Some(v1::bulk_request::Frame::Windows(windows)) = frame.frame {
            return windows;
        }
    }
}

#[test]
fn a_build_says_that_it_speaks_http3_when_it_does() {
    let said = |http3| kinds(http3).iter().any(|kind| kind == StepKind::HTTP3);
    assert_eq!([said(true), said(false)], [true, false]);
    assert!(kinds(false).len() > 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_from_hello_to_dismissal() {
    let mut world = World::start().await;
    let (hello, mut live, mut bulk) = world.session().await;
    assert_eq!((hello.region.as_str(), hello.probe.as_str()), ("eu-west", "p1"));
    assert_ne!(hello.incarnation, 0);
    assert_eq!(hello.offset_ns, 0);
    assert_eq!(hello.kinds, kinds(cfg!(feature = "http3")));
    let empty = until(&mut live, snapshot).await;
    assert!(empty.whole && empty.last && empty.checks.is_empty());

    // The clock.
    let offset_ns = offset_ns();
    let ping = v1::Ping { id: 7, measured: true, offset_ns, leader: true, ..Default::default() };
    say(&live, Say::Ping(ping)).await;
    let pong = until(&mut live, |said| match said {
        Said::Pong(pong) => Some(*pong),
        _ => None,
    });
    assert_eq!(pong.await.id, 7);

    // One check that passes, one that is refused, in two chunks.
    let target = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody_there = Nobody::new();
    let gone = nobody_there.at;
    let generation = Generation { epoch: 1, index: 9 };
    let checks = [assignment(1, target.local_addr().unwrap().port()), assignment(2, gone.port())];
    for (n, check) in checks.iter().enumerate() {
        let chunk = v1::AssignmentChunk {
            generation: Some(convert::time::generation_to(generation)),
            base: None,
            chunk: n as u32,
            last: n == 1,
            upserts: vec![convert::assignment::assignment_to(check)],
            removed: vec![],
        };
        say(&live, Say::Assignments(chunk)).await;
    }
    until(&mut live, |said| match said {
        Said::AssignmentsApplied(applied) => {
            assert_eq!(convert::time::generation(applied.generation.as_ref()), generation);
            Some(())
        }
        _ => None,
    })
    .await;
    let changed = until(&mut live, snapshot).await;
    assert!(!changed.whole && changed.last && changed.checks.len() == 2);

    // Outcomes come at once and in sequence; the passing check falls silent after two.
    let mut sequence = 0;
    let (mut passes, mut fails) = (0, 0);
    while fails < 6 {
        let frame = until(&mut live, outcomes).await;
        assert_eq!(frame.first_sequence, sequence + 1);
        sequence += frame.records.len() as u64;
        for wire in &frame.records {
            let record = convert::record::record(wire).unwrap();
            match record.outcome {
                Outcome::Pass => passes += 1,
                Outcome::Fail => {
                    assert_eq!(record.reason, Some(Reason::ConnectRefused));
                    fails += 1;
                    assert_eq!(record.number, fails);
                }
                other => panic!("{other}"),
            }
        }
    }
    assert_eq!(passes, 2);

    // Heartbeats promise what was sent.
    let beat = until(&mut live, |said| match said {
        Said::Heartbeat(beat) => Some(beat.clone()),
        _ => None,
    });
    let beat = beat.await;
    assert!(beat.live_sequence >= sequence);
    assert_eq!(beat.health.unwrap().checks, 2);

    // An order runs beside the slots, once, also when it comes twice.
    let order = v1::ConfirmOrder {
        order: 41,
        check_uid: checks[0].check.as_bytes().to_vec().into(),
        run_digest: checks[0].run_digest.0,
        generation: Some(convert::time::generation_to(generation)),
        count: 2,
        spacing_ns: 50_000_000,
        expires_ms: 2_000,
        ordered_mesh_ns: 0,
    };
    // One that was on its way for too long is not obeyed: no outcome names it.
    let late = v1::ConfirmOrder { order: 40, ordered_mesh_ns: 1, ..order.clone() };
    say(&live, Say::Order(late)).await;
    say(&live, Say::Order(order.clone())).await;
    say(&live, Say::Order(order)).await;
    let mut ordered = vec![];
    while ordered.len() < 2 {
        let frame = until(&mut live, outcomes).await;
        ordered.extend(frame.records.into_iter().filter(|record| record.order != 0));
    }
    assert!(ordered.iter().all(|record| record.slot.is_none() && record.order == 41));
    assert!(ordered[1].started_boottime_ns - ordered[0].started_boottime_ns >= 50_000_000);

    // Another member begins to listen: everything is told once more.
    say(&live, Say::SnapshotRequest(v1::SnapshotRequest {})).await;
    let again = until(&mut live, |said| match said {
        Said::Snapshot(snapshot) if snapshot.whole => Some(snapshot.clone()),
        _ => None,
    });
    let again = again.await;
    assert_eq!((again.chunk, again.last, again.checks.len()), (0, true, 2));
    let beats = |said: &Said| match said {
        Said::Heartbeat(beat) => Some(beat.whole),
        _ => None,
    };
    assert!(until(&mut live, beats).await, "the next heartbeat names every run in flight");
    assert!(!until(&mut live, beats).await, "those after it only what changed");

    // The first windows end two seconds after the start; only the first is acknowledged.
    let mut sealed = vec![];
    while sealed.len() < 2 {
        let frame = windows(&mut bulk).await;
        assert_eq!(frame.first_sequence, sealed.len() as u64 + 1);
        for window in &frame.windows {
            let window = convert::window::window(window).unwrap();
            assert_eq!(window.incarnation.0, hello.incarnation);
            assert!(window.slots.is_some());
        }
        sealed.extend(frame.windows);
    }
    let ack = v1::WindowsAck { through_sequence: 1, refused: 0 };
    let frame = Some(v1::bulk_response::Frame::Ack(ack));
    bulk.outward.send(Ok(v1::BulkResponse { frame })).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;

    // The connection breaks; the next session starts with what is held, and replays.
    drop((live, bulk));
    let (again, mut live, mut bulk) = world.session().await;
    assert_eq!(again.incarnation, hello.incarnation);
    assert_eq!(convert::time::generation(again.generation.as_ref()), generation);
    assert_ne!(again.offset_ns, 0);
    let whole = until(&mut live, snapshot).await;
    assert!(whole.whole && whole.last);
    assert_eq!(whole.checks.len(), 2);
    for check in &whole.checks {
        let check = convert::record::snapshot(check).unwrap();
        assert!(check.recent.len() >= 3, "{check:?}");
        assert_eq!(check.recent.last().map(|r| r.number + 1), Some(check.next_number));
    }
    let replayed = windows(&mut bulk).await;
    assert!(replayed.replay);
    assert_eq!(replayed.first_sequence, 2);
    assert_eq!(replayed.windows[0], sealed[1]);

    // A final goodbye ends the process and says why.
    let goodbye =
        v1::CoordinatorGoodbye { why: "superseded".into(), r#final: true, connected_node_id: 0 };
    say(&live, Say::Goodbye(goodbye)).await;
    let ended = within("the end", &mut world.ended).await.unwrap();
    assert!(matches!(&ended, Err(RunError::Dismissed(why)) if why == "superseded"), "{ended:?}");
    let state = crate::state::load(&world.dir.path().join("data")).unwrap();
    assert!(state.offset_ns.is_some());
    world.supervisor.stop();
}

/// The first ping measures the clock that a fresh probe starts with.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ping_is_answered_while_the_bulk_lane_is_still_opening() {
    let mut world = World::start().await;
    world.coordinator.bulk_open.send_replace(false);
    let (_, mut live) = world.coordinator.welcomed().await;
    say(&live, Say::Ping(v1::Ping { id: 3, ..Default::default() })).await;
    let pong = until(&mut live, |said| match said {
        Said::Pong(pong) => Some(pong.id),
        _ => None,
    });
    assert_eq!(pong.await, 3);
    // The same session goes on when it is open.
    world.coordinator.bulk_open.send_replace(true);
    let _bulk = world.coordinator.bulk_lane().await;
    say(&live, Say::Ping(v1::Ping { id: 4, ..Default::default() })).await;
    let pong = until(&mut live, |said| match said {
        Said::Pong(pong) => Some(pong.id),
        _ => None,
    });
    assert_eq!(pong.await, 4);
    world.stop.cancel();
    drop(live);
    within("the end", &mut world.ended).await.unwrap().unwrap();
    world.supervisor.stop();
}

/// Every coordinator hears every outcome with the same sequence and number, whichever it was that
/// brought the plan; and one that leaves disturbs none of the others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_coordinators_hear_the_same() {
    let mut world = World::start().await;
    let mut second = Coordinator::start(2, &world.credentials, &world.supervisor).await;
    let (hello, mut one, _bulk_one) = world.session().await;
    let member = v1::Member { node_id: 2, name: "c2".into(), address: second.address.clone() };
    say(&one, Say::Members(v1::Members { members: vec![member] })).await;
    let (told, mut two, _bulk_two) = second.session().await;
    assert_eq!(told.incarnation, hello.incarnation);
    let whole = until(&mut two, snapshot).await;
    assert!(whole.whole && whole.last);

    let offset_ns = offset_ns();
    let ping = v1::Ping { id: 7, measured: true, offset_ns, leader: true, ..Default::default() };
    say(&one, Say::Ping(ping)).await;
    let nobody_there = Nobody::new();
    let gone = nobody_there.at;
    let generation = Generation { epoch: 1, index: 9 };
    let chunk = v1::AssignmentChunk {
        generation: Some(convert::time::generation_to(generation)),
        base: None,
        chunk: 0,
        last: true,
        upserts: vec![convert::assignment::assignment_to(&assignment(1, gone.port()))],
        removed: vec![],
    };
    // Both bring it; it is put in force once.
    say(&one, Say::Assignments(chunk.clone())).await;
    say(&two, Say::Assignments(chunk)).await;
    let mut heard = [vec![], vec![]];
    for (live, heard) in [&mut one, &mut two].into_iter().zip(&mut heard) {
        while heard.len() < 3 {
            let frame = until(live, outcomes).await;
            let records = frame.records.iter().enumerate();
            heard.extend(
                records.map(|(n, record)| {
                    (frame.first_sequence + n as u64, record.number, record.slot)
                }),
            );
        }
    }
    let [first, other] = heard;
    assert_eq!(first[..3], other[..3]);
    assert_eq!(first.iter().map(|of| of.1).take(3).collect::<Vec<_>>(), [1, 2, 3]);

    drop((one, _bulk_one));
    let frame = until(&mut two, outcomes).await;
    assert!(frame.first_sequence > 3);
    world.stop.cancel();
    drop(two);
    within("the end", &mut world.ended).await.unwrap().unwrap();
    world.supervisor.stop();
}

/// Two coordinators that apply in other batches: the delta of one arrives when the other one has
/// brought the probe past its base. Both lanes stay, and the next delta of each fits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delta_that_was_overtaken_ends_no_session() {
    let mut world = World::start().await;
    let mut second = Coordinator::start(2, &world.credentials, &world.supervisor).await;
    let (_, one, _bulk_one) = world.session().await;
    let member = v1::Member { node_id: 2, name: "c2".into(), address: second.address.clone() };
    say(&one, Say::Members(v1::Members { members: vec![member] })).await;
    let (_, mut two, _bulk_two) = second.session().await;
    let mut one = one;
    let generation = |index| convert::time::generation_to(Generation { epoch: 1, index });
    let chunk = |base: Option<u64>, index| {
        Say::Assignments(v1::AssignmentChunk {
            generation: Some(generation(index)),
            base: base.map(generation),
            chunk: 0,
            last: true,
            upserts: vec![],
            removed: vec![],
        })
    };
    let applied = |index: u64| {
        move |said: &Said| match said {
            Said::AssignmentsApplied(it) if it.generation == Some(generation(index)) => Some(()),
            _ => None,
        }
    };
    say(&one, chunk(None, 10)).await;
    until(&mut two, applied(10)).await;
    say(&two, chunk(Some(10), 12)).await;
    until(&mut one, applied(12)).await;
    // Its base is 10 and we hold 12; the other one goes on from there.
    say(&one, chunk(Some(10), 14)).await;
    say(&two, chunk(Some(12), 14)).await;
    until(&mut one, applied(14)).await;
    // The same lane takes what comes next, and heartbeats go on over both.
    say(&one, chunk(Some(14), 15)).await;
    until(&mut one, applied(15)).await;
    until(&mut two, applied(15)).await;

    // A delta that nobody completes: the probe asks anew, on a session of its own.
    say(&one, chunk(Some(12), 20)).await;
    let (hello, _one, _bulk_one) = world.session().await;
    assert_eq!(hello.generation, Some(generation(15)));
    world.stop.cancel();
    drop(two);
    within("the end", &mut world.ended).await.unwrap().unwrap();
    world.supervisor.stop();
}

#[tokio::test]
async fn a_coordinator_that_no_list_names_any_more_is_not_dialled_again() {
    let mut world = World::start().await;
    let mut second = Coordinator::start(2, &world.credentials, &world.supervisor).await;
    let (_, one, _bulk_one) = world.session().await;
    let member = v1::Member { node_id: 2, name: "c2".into(), address: second.address.clone() };
    let list = |members| Say::Members(v1::Members { members });
    say(&one, list(vec![member.clone()])).await;
    let (_, two, bulk_two) = second.session().await;
    say(&one, list(vec![])).await;
    let data = world.dir.path().join("data");
    let deadline = clock::instant() + Duration::from_secs(10);
    while !crate::state::load(&data).unwrap().members.is_empty() {
        assert!(clock::instant() < deadline, "the empty list was not saved");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // Its session goes on as long as it does, and is the last.
    drop((two, bulk_two));
    let again = tokio::time::timeout(Duration::from_secs(2), second.live.recv()).await;
    assert!(again.is_err(), "it was dialled again");
    // Unless it is named again.
    say(&one, list(vec![member])).await;
    let _session = second.session().await;
    world.stop.cancel();
    world.supervisor.stop();
}

/// Leaves the spool of an earlier life behind, with so many windows.
fn spool_of_an_earlier_life(data: &Path, life: Incarnation, windows: i64) {
    use crate::spool::holder::Holder;
    let holder = Holder { mesh: "m1".into(), region: "eu-west".into(), probe: "p1".into() };
    let (bounds, metrics) = (Config::default().spool_bounds(), Arc::default());
    let spooler =
        crate::spool::Spooler::open(&data.join("spool"), bounds, &holder, life, metrics).unwrap();
    spooler.push((0..windows).map(|n| {
        let of = crate::core::spool::merge::tests::window(1, n, &[Outcome::Pass; 3], &[500; 3]);
        // Of an hour ago by the clock that the coordinator will tell: older ones are not kept.
        let ago = parallax_runtime::clock::boot_time().as_ns() + offset_ns() - 3_600_000_000_000;
        let start = of.start + Duration::from_nanos(u64::try_from(ago).unwrap());
        let of = parallax_common::window::Window { incarnation: life, start, ..of };
        let bytes = prost::Message::encode_to_vec(&convert::window::window_to(&of)).into();
        (of.start + of.period.length(), bytes)
    }));
    spooler.turn();
}

/// A coordinator that says nothing any more over one window: the lane ends, again and again, and the
/// session lives on. The window is found, set aside and told, and all others arrive.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_window_that_ends_its_lane_without_a_word_is_set_aside_and_the_others_arrive() {
    const POISON: u64 = 3;
    let life = Incarnation(77);
    let mut world = World::start_after(|data| spool_of_an_earlier_life(data, life, 6)).await;
    let (_, live) = world.coordinator.welcomed().await;
    // Without the time nothing is sent.
    let ping = v1::Ping {
        id: 7,
        measured: true,
        offset_ns: offset_ns(),
        leader: true,
        ..Default::default()
    };
    say(&live, Say::Ping(ping)).await;
    let (mut arrived, mut ended, mut lanes) = (vec![], vec![], vec![]);
    while arrived.last() != Some(&6) {
        let mut bulk = within("a bulk lane", world.coordinator.bulk.recv()).await.unwrap();
        let hello = within("a hello", bulk.inward.message()).await.unwrap().unwrap().frame;
        let Some(v1::bulk_request::Frame::Hello(hello)) = hello else { panic!("{hello:?}") };
        if hello.incarnation != life.0 {
            // That of this life, which has nothing yet.
            lanes.push(bulk);
            continue;
        }
        while arrived.last() != Some(&6) {
            let frame = windows(&mut bulk).await;
            let all: Vec<u64> = (frame.first_sequence..).take(frame.windows.len()).collect();
            if all.contains(&POISON) {
                ended.push(all);
                break;
            }
            arrived.extend(&all);
            let ack = v1::WindowsAck { through_sequence: *all.last().unwrap(), refused: 0 };
            let frame = Some(v1::bulk_response::Frame::Ack(ack));
            bulk.outward.send(Ok(v1::BulkResponse { frame })).await.unwrap();
        }
    }
    assert_eq!(arrived, [1, 2, 4, 5, 6]);
    let whole = vec![1, 2, 3, 4, 5, 6];
    let alone = vec![POISON];
    let expected = [&whole, &whole, &whole, &alone, &alone, &alone];
    assert_eq!(ended.iter().collect::<Vec<_>>(), expected, "as it was, then alone");
    world.stop.cancel();
    drop(live);
    within("the end", &mut world.ended).await.unwrap().unwrap();
    world.supervisor.stop();
}

/// The one thread of this runtime is stopped, as a paused machine stops all of them; and a target that
/// never answers keeps more runs in flight than a check may have.
#[tokio::test]
async fn slots_of_a_probe_that_stands_still_or_has_too_much_are_missed() {
    use parallax_common::check::HttpStep;
    let mut world = World::start().await;
    let (_, mut live, _bulk) = world.session().await;
    let offset_ns = offset_ns();
    let ping = v1::Ping { id: 7, measured: true, offset_ns, leader: true, ..Default::default() };
    say(&live, Say::Ping(ping)).await;
    let target = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = target.local_addr().unwrap();
    let swift = assignment(1, address.port());
    let mut silent = Assignment { interval: Duration::from_millis(100), ..assignment(2, 1) };
    let step = HttpStep {
        url: format!("http://{address}/"),
        method: "GET".into(),
        body_max_bytes: 1_000,
        ..HttpStep::default()
    };
    let mut run = Run::clone(&silent.run);
    run.steps[0].kind = StepKind::Http(step);
    run.timeout = Duration::from_secs(5);
    silent.run_digest = run_digest(&run);
    silent.run = Arc::new(run);
    let chunk = v1::AssignmentChunk {
        generation: Some(convert::time::generation_to(Generation { epoch: 1, index: 9 })),
        base: None,
        chunk: 0,
        last: true,
        upserts: [&swift, &silent].map(convert::assignment::assignment_to).into(),
        removed: vec![],
    };
    say(&live, Say::Assignments(chunk)).await;
    let mut seen = std::collections::BTreeSet::new();
    let wanted = [Reason::MissedLate, Reason::MissedOverlap];
    while !wanted.iter().all(|reason| seen.contains(reason)) {
        let frame = until(&mut live, outcomes).await;
        let records = frame.records.iter().map(|record| convert::record::record(record).unwrap());
        seen.extend(records.filter_map(|record| record.reason));
        std::thread::sleep(Duration::from_millis(700));
    }
    world.stop.cancel();
    drop(live);
    within("the end", &mut world.ended).await.unwrap().unwrap();
    world.supervisor.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_are_remembered_and_a_stop_says_goodbye() {
    let mut world = World::start().await;
    let (_, mut live, _bulk) = world.session().await;
    let member = |n: u64, address: &str| v1::Member {
        node_id: n,
        name: format!("c{n}"),
        address: address.into(),
    };
    let members = v1::Members { members: vec![member(2, "127.0.0.1:9"), member(3, "no address")] };
    say(&live, Say::Members(members)).await;
    let data = world.dir.path().join("data");
    let deadline = clock::instant() + Duration::from_secs(10);
    while crate::state::load(&data).unwrap().members != ["127.0.0.1:9"] {
        assert!(clock::instant() < deadline, "the members were not saved");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(crate::state::load(&data).unwrap().mesh, "m1");
    world.stop.cancel();
    let why = until(&mut live, |said| match said {
        Said::Goodbye(goodbye) => Some(goodbye.why.clone()),
        _ => None,
    });
    assert_eq!(why.await, "the probe stops");
    drop(live);
    within("the end", &mut world.ended).await.unwrap().unwrap();
    world.supervisor.stop();
}
