//! The owner with runs that show tokens: how late they count, and what follows them.

use parallax_common::check::Run;
use parallax_common::digest::run_digest;
use parallax_common::limits::IN_FLIGHT_MAX;
use parallax_common::name::RunDigest;
use parallax_common::outcome::Phase;
use parallax_common::record;
use parallax_proto::convert;

use super::*;
use crate::execute::secrets::Secrets;
use crate::execute::tests::tokens::{Provider, asking, grants, says, target};

mod wall_clock;

const PLAN: Generation = Generation { epoch: 1, index: 1 };

fn setup(metrics: &Arc<Metrics>, events: mpsc::Receiver<Event>) -> Setup {
    Setup {
        executor: Arc::new(Executor::new(Secrets::default(), None, None)),
        metrics: Arc::clone(metrics),
        spooler: Spooler::in_memory(Incarnation(1), Arc::clone(metrics)),
        clock: MeshClock::resumed(Some(1_000_000_000_000_000), clock::boot_time()),
        cached: None,
        events,
        utc: clock::utc,
    }
}

/// An owner that one session speaks with.
struct World {
    events: mpsc::Sender<Event>,
    live: mpsc::Receiver<v1::LiveRequest>,
    metrics: Arc<Metrics>,
    _told: Told,
    supervisor: Supervisor,
}

impl World {
    async fn start(assignment: &Assignment) -> Self {
        let (metrics, supervisor) = (Arc::new(Metrics::default()), Supervisor::default());
        let (events, inbox) = mpsc::channel(16);
        let setup = setup(&metrics, inbox);
        let told = Owner::spawn(setup, &supervisor);
        let (frames, live) = mpsc::channel(1_024);
        let session =
            Connected { session: 1, node: 1, live: frames, end: CancellationToken::new() };
        let upserts = vec![assignment.clone()];
        let plan = Plan { generation: PLAN, base: None, upserts, removed: vec![] };
        events.send(Event::Connected(session)).await.unwrap();
        events.send(Event::Plan(1, plan)).await.unwrap();
        Self { events, live, metrics, _told: told, supervisor }
    }

    /// The next outcome that `pick` takes.
    async fn outcome(&mut self, pick: impl Fn(&record::Record) -> bool) -> record::Record {
        let picked = async {
            loop {
                let frame = self.live.recv().await.expect("a session").frame;
                let Some(v1::live_request::Frame::Outcomes(said)) = frame else { continue };
                let records = said.records.iter().map(|it| convert::record::record(it).unwrap());
                if let Some(found) = records.into_iter().find(&pick) {
                    return found;
                }
            }
        };
        let picked = tokio::time::timeout(Duration::from_secs(20), picked).await;
        picked.expect("no such outcome within 20 s")
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.supervisor.stop();
    }
}

fn assignment(run: Run, interval: Duration) -> Assignment {
    Assignment {
        run_digest: run_digest(&run),
        run: Arc::new(run),
        // All that follow one another are told.
        failures: 30,
        ..crate::core::assign::tests::assignment(1, interval)
    }
}

fn order(id: u64, assignment: &Assignment) -> Order {
    Order {
        order: id,
        check: assignment.check,
        run_digest: assignment.run_digest,
        generation: PLAN,
        count: 1,
        spacing: Duration::from_secs(1),
        expires: Duration::from_secs(2),
        ordered: None,
    }
}

#[tokio::test]
async fn an_ordered_run_that_finds_no_room_is_counted() {
    let metrics = Arc::new(Metrics::default());
    let (_events, inbox) = mpsc::channel(1);
    let (mut owner, ..) = Owner::new(setup(&metrics, inbox), &Supervisor::default());
    let mut assignment = crate::core::assign::tests::assignment(1, Duration::from_secs(3_600));
    // No slot of its own comes meanwhile.
    let now = owner.mesh_now().unwrap();
    assignment.phase_ns = (now + Duration::from_secs(1_800)).as_ns() % 3_600_000_000_000;
    let upserts = vec![assignment.clone()];
    owner.plan(1, Plan { generation: PLAN, base: None, upserts, removed: vec![] });
    for run in 0..IN_FLIGHT_MAX as u64 {
        owner.schedule.start_ordered(assignment.check, 100 + run, now).expect("room");
    }
    owner.order(&order(7, &assignment));
    owner.turn();
    assert_eq!(owner.schedule.in_flight(), IN_FLIGHT_MAX);
    assert!(metrics.text().contains("parallax_probe_orders_crowded_out_total 1\n"));
}

#[tokio::test]
async fn what_a_run_waited_for_its_token_is_in_no_lateness_and_in_a_metric() {
    let provider = Provider::start(|_| {
        std::thread::sleep(Duration::from_millis(300));
        says("200 OK", r#"{"access_token": "t", "expires_in": 0}"#)
    });
    let (target, _) = target(|_| true);
    let run = asking(target, &provider, "hunter2");
    let mut world = World::start(&assignment(run, Duration::from_secs(1))).await;
    let record = world.outcome(|record| record.slot.is_some()).await;
    assert_eq!(record.outcome, Outcome::Pass, "{record:?}");
    let of = |phase| {
        let mut phases = record.phases.iter();
        phases.find(|(_, of, _)| *of == phase).map(|(.., length)| *length).expect("a phase")
    };
    let behind = record.started.since(record.scheduled);
    // A clock that follows another one is off by less than a millisecond within a second.
    let most = behind.saturating_sub(Duration::from_millis(299));
    assert!(of(Phase::Lateness) <= most, "{record:?}");
    assert_eq!(of(Phase::FromSlot), of(Phase::Lateness) + of(Phase::Total), "{record:?}");
    let text = world.metrics.text();
    let count = |rest: &str| -> u64 {
        let name = format!("parallax_probe_token_wait_seconds_{rest} ");
        let line = text.lines().find_map(|line| line.strip_prefix(name.as_str()));
        line.and_then(|count| count.parse().ok()).expect("a sample")
    };
    assert_eq!(count("bucket{le=\"0.25\"}"), 0);
    assert!(count("count") >= 1);
}

#[tokio::test]
async fn tokens_for_the_next_run_are_got_behind_the_one_that_is_over() {
    let provider = Provider::start(grants);
    // Long enough for the token to be too old for a run that comes so much later.
    let (target, _) = target(|_| {
        std::thread::sleep(Duration::from_millis(50));
        true
    });
    let run = asking(target, &provider, "hunter2");
    let interval = (Duration::from_secs(3_570) - Duration::from_millis(20)) * 2 / 3;
    let assignment = assignment(run, interval);
    let mut world = World::start(&assignment).await;
    world.events.send(Event::Order(order(7, &assignment))).await.unwrap();
    let record = world.outcome(|record| record.order == 7).await;
    assert_eq!(record.outcome, Outcome::Pass, "{record:?}");
    let deadline = clock::instant() + Duration::from_secs(20);
    while provider.questions().len() < 2 {
        assert!(clock::instant() < deadline, "nobody asked");
        tokio::task::yield_now().await;
    }
}

/// The next answer to a look, and the outcomes that were told before it.
async fn answer(world: &mut World) -> (record::LookResult, Vec<v1::OutcomeRecord>) {
    let mut told = vec![];
    let picked = async {
        loop {
            match world.live.recv().await.expect("a session").frame {
                Some(v1::live_request::Frame::LookResult(result)) => {
                    return convert::look::result(&result).unwrap();
                }
                Some(v1::live_request::Frame::Outcomes(said)) => told.extend(said.records),
                _ => {}
            }
        }
    };
    let picked = tokio::time::timeout(Duration::from_secs(20), picked).await;
    (picked.expect("an answer within 20 s"), told)
}

#[tokio::test]
async fn a_look_is_answered_with_what_it_saw_and_is_no_run_of_the_record() {
    let provider =
        Provider::start(|_| says("200 OK", r#"{"access_token": "t", "expires_in": 60}"#));
    let (target, _) = target(|_| true);
    // Its first run is within ten seconds, and no other comes while this test lasts.
    let assignment = assignment(asking(target, &provider, "hunter2"), Duration::from_secs(3_600));
    let mut world = World::start(&assignment).await;
    let first = world.outcome(|record| record.number == 1).await;
    assert_eq!((first.order, first.slot), (0, None));
    let order = record::LookOrder {
        look: 7,
        check: assignment.check,
        run_digest: assignment.run_digest,
        expires: Duration::from_secs(2),
        ordered: None,
        request: "cli-7/3".to_owned(),
    };
    world.events.send(Event::Look(1, order.clone())).await.unwrap();
    let (result, mut told) = answer(&mut world).await;
    let seen = result.said.expect("it looked");
    assert_eq!((result.look, seen.check, seen.outcome), (7, assignment.check, Outcome::Pass));
    assert!(seen.phases.iter().any(|(_, phase, _)| *phase == Phase::Connect), "{seen:?}");
    // An order of another kind is the next run of the record: the look took no number.
    let confirm = record::Order {
        order: 9,
        check: assignment.check,
        run_digest: assignment.run_digest,
        generation: PLAN,
        count: 1,
        spacing: Duration::from_millis(50),
        expires: Duration::from_secs(2),
        ordered: None,
    };
    world.events.send(Event::Order(confirm)).await.unwrap();
    let next = world.outcome(|record| record.order == 9).await;
    assert_eq!(next.number, 2);
    told.retain(|record| record.order != 0);
    assert!(told.is_empty(), "{told:?}");
    // One that cannot be is answered at once, and one that came before is not.
    let other = record::LookOrder { look: 8, run_digest: RunDigest(1), ..order.clone() };
    world.events.send(Event::Look(1, order)).await.unwrap();
    world.events.send(Event::Look(1, other)).await.unwrap();
    let (result, _) = answer(&mut world).await;
    let refused = Err(record::LookRefusal::OtherVersion);
    assert_eq!(result, record::LookResult { look: 8, said: refused });
}
