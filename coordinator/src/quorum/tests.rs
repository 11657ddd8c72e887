//! The watch with its own pages over a real socket, a minute passed by hand; and the heartbeat.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parallax_proto::v1::{DeliveryState, Incident};
use parallax_runtime::supervisor::{Supervisor, TaskKind};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

use super::heartbeat::Calls;
use super::*;
use crate::notify::carrier::Carrier;
use crate::notify::pager;
use crate::notify::reach::Roots;
use crate::raft::fatal::Fatal;
use parallax_common::guard::Guard;

/// Answers every request with the status of the moment, and keeps what it was told.
struct Sink {
    url: String,
    status: Arc<Mutex<u16>>,
    requests: Arc<Mutex<Vec<String>>>,
    count: watch::Receiver<usize>,
}

impl Sink {
    async fn start(supervisor: &Supervisor) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let (status, requests) = (Arc::new(Mutex::new(200)), Arc::new(Mutex::new(Vec::new())));
        let (tell, count) = watch::channel(0);
        let (now, seen, stop) =
            (Arc::clone(&status), Arc::clone(&requests), supervisor.stop_token());
        supervisor.spawn(TaskKind::Session("sink"), async move {
            loop {
                let (mut stream, _) = tokio::select! {
                    () = stop.cancelled() => return,
                    accepted = listener.accept() => accepted.unwrap(),
                };
                let mut request = Vec::new();
                let mut chunk = [0; 4096];
                while !is_whole(&request) {
                    let read = stream.read(&mut chunk).await.unwrap();
                    request.extend_from_slice(&chunk[..read]);
                }
                seen.lock().push(String::from_utf8(request).unwrap());
                let status = *now.lock();
                let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n");
                stream.write_all(answer.as_bytes()).await.unwrap();
                tell.send_modify(|count| *count += 1);
            }
        });
        Self { url, status, requests, count }
    }

    /// Waits for the request with this number, from 1.
    async fn request(&mut self, number: usize) -> String {
        let there = self.count.wait_for(|count| *count >= number);
        let there = tokio::time::timeout(Duration::from_secs(30), there).await;
        assert!(there.is_ok(), "request {number} did not come: {:#?}", self.requests.lock());
        self.requests.lock()[number - 1].clone()
    }
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    text.split_once("\r\n\r\n").is_some_and(|(head, body)| {
        let length = head.lines().find_map(|line| {
            line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse::<usize>().ok()
        });
        body.len() >= length.unwrap_or(0)
    })
}

fn header(request: &str, name: &str) -> String {
    let line = request.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
    line.unwrap_or_default().to_owned()
}

fn body(request: &str) -> serde_json::Value {
    serde_json::from_str(request.split_once("\r\n\r\n").unwrap().1).unwrap()
}

#[derive(Clone, Default)]
struct Leader(Arc<AtomicBool>);

impl Sight for Leader {
    fn leader(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

struct Two;

impl Reach for Two {
    fn others(&self) -> Vec<Other> {
        let other = |node_id, name: &str, heard| Other { node_id, name: name.into(), heard };
        vec![other(1, "c1", true), other(2, "c2", false)]
    }
}

/// One life of a member, in which seconds pass when the test says so.
struct Life {
    supervisor: Supervisor,
    quorum: Quorum,
    told: Arc<Told>,
    leader: Leader,
    now: Instant,
}

fn open(dir: &std::path::Path, url: &str) -> (Arc<Told>, told::Changes) {
    let identity =
        told::Identity { mesh: "prod".into(), cluster: "0190-cluster".into(), member: "c3".into() };
    let fatal: Fatal = Arc::new(|why| panic!("{why}"));
    Told::open(dir, identity, url, fatal)
}

impl Life {
    fn start(dir: &std::path::Path, url: &str) -> Self {
        let supervisor = Supervisor::default();
        let (told, changed) = open(dir, url);
        let leader = Leader::default();
        let since = told.open_since();
        let quorum = Quorum::new("c3".into(), Arc::new(Two), leader.clone(), since);
        let webhook = Carrier::new(
            Roots::Webpki,
            Guard::default(),
            contact::secrets([url]),
            supervisor.clone(),
        )
        .unwrap();
        let (to_pager, events) = mpsc::channel(64);
        let pager = pager::run(
            told::SENDER,
            Arc::clone(&told),
            Arc::new(webhook),
            events,
            supervisor.clone(),
            7,
        );
        supervisor.spawn(TaskKind::Session("pager"), pager);
        let (feed, stop) = (changed.feed(to_pager), supervisor.stop_token());
        supervisor.spawn(TaskKind::Session("feed"), async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = feed => {}
            }
        });
        Self { supervisor, quorum, told, leader, now: clock::instant() }
    }

    /// Lets seconds pass with or without a leader, with a look at the end of each.
    async fn pass(&mut self, seconds: u64, leader: bool) {
        self.leader.0.store(leader, Ordering::SeqCst);
        for _ in 0..seconds {
            self.now += Duration::from_secs(1);
            self.quorum.look(self.now, Some(&self.told)).await;
        }
    }

    /// Waits until everything that is to be said now is said, and written down.
    async fn settled(&self) {
        let deadline = clock::instant() + Duration::from_secs(30);
        let pending = |incident: &Incident| {
            incident.deliveries.iter().any(|page| page.state() == DeliveryState::Pending)
        };
        while self.told.pending().iter().any(pending) {
            assert!(clock::instant() < deadline, "{:#?}", self.told.pending());
            tokio::task::yield_now().await;
        }
    }

    async fn stop(self) {
        self.supervisor.stop();
        assert!(self.supervisor.join(Duration::from_secs(5)).await);
    }
}

#[tokio::test]
async fn a_minute_without_a_leader_is_one_page_and_a_leader_that_stays_ends_it() {
    let dir = tempfile::tempdir().unwrap();
    let around = Supervisor::default();
    let mut sink = Sink::start(&around).await;
    let mut life = Life::start(dir.path(), &sink.url);
    life.pass(59, false).await;
    assert!(life.told.pending().is_empty());
    let sentence = life.quorum.sentence().unwrap();
    assert!(sentence.starts_with("member c3 has seen no leader for "), "{sentence}");
    assert!(sentence.ends_with("; it reaches c1, not c2"), "{sentence}");

    life.pass(2, false).await;
    let first = sink.request(1).await;
    let page = body(&first);
    assert_eq!(page["kind"], "opened");
    assert_eq!(page["incident"]["kind"], "leaderless");
    let summary = "member c3 has seen no leader for 60 s; it reaches c1, not c2";
    assert_eq!(page["summary"], summary);
    let key = header(&first, "idempotency-key");
    assert!(key.starts_with("0190-cluster/c3/") && key.ends_with(":quorum:opened"), "{key}");
    life.settled().await;

    // A leader that does not stay changes nothing, and nothing is told twice.
    life.pass(5, true).await;
    assert_eq!(life.quorum.sentence(), None);
    life.pass(300, false).await;
    life.pass(11, true).await;
    let second = sink.request(2).await;
    assert_eq!(body(&second)["kind"], "resolved");
    assert_eq!(body(&second)["incident"]["cause"], "leader_back");
    assert_eq!(body(&second)["summary"], "member c3 sees a leader again");
    let resolved = header(&second, "idempotency-key");
    assert_eq!(resolved, key.replace(":opened", ":resolved"));
    life.settled().await;

    // Another time is another page.
    life.pass(61, false).await;
    let third = sink.request(3).await;
    assert_eq!(body(&third)["kind"], "opened");
    assert_ne!(header(&third, "idempotency-key"), key);
    life.stop().await;
    around.stop();
}

#[tokio::test]
async fn a_start_in_the_middle_tells_nothing_again_and_ends_what_was_told() {
    let dir = tempfile::tempdir().unwrap();
    let around = Supervisor::default();
    let mut sink = Sink::start(&around).await;
    let mut life = Life::start(dir.path(), &sink.url);
    life.pass(61, false).await;
    let key = header(&sink.request(1).await, "idempotency-key");
    life.settled().await;
    life.stop().await;

    let mut life = Life::start(dir.path(), &sink.url);
    life.pass(300, false).await;
    life.pass(11, true).await;
    let resolved = header(&sink.request(2).await, "idempotency-key");
    assert_eq!(resolved, key.replace(":opened", ":resolved"));
    life.settled().await;
    life.stop().await;

    // It is over: a further life has nothing to say of it.
    let mut life = Life::start(dir.path(), &sink.url);
    life.pass(300, true).await;
    assert!(life.told.pending().is_empty());
    life.pass(61, false).await;
    assert_eq!(body(&sink.request(3).await)["kind"], "opened");
    life.stop().await;
    around.stop();
}

#[tokio::test]
async fn a_page_of_this_life_is_not_in_doubt_however_late_the_pager_begins() {
    let dir = tempfile::tempdir().unwrap();
    let (told, _changes) = open(dir.path(), "http://127.0.0.1:9/hook");
    told.tell(clock::utc(), "of an earlier life".into()).await;
    drop(told);

    let (told, changes) = open(dir.path(), "http://127.0.0.1:9/hook");
    told.resolve().await;
    told.tell(clock::utc(), "of this life".into()).await;
    let (to_pager, mut events) = mpsc::channel(8);
    drop(told);
    changes.feed(to_pager).await;
    let mut heard = Vec::new();
    while let Some(event) = events.recv().await {
        heard.push(match event {
            pager::Event::Loaded(it) => format!("loaded {} pages", it.deliveries.len()),
            pager::Event::Applied(it) => format!("applied {} pages", it.deliveries.len()),
            pager::Event::Leadership(leads) => format!("leads {leads}"),
            other => format!("{other:?}"),
        });
    }
    let expected = ["loaded 1 pages", "leads true", "applied 2 pages", "applied 1 pages"];
    assert_eq!(heard, expected);
}

#[tokio::test]
async fn a_page_that_was_written_and_not_sent_is_sent_by_the_next_life() {
    let dir = tempfile::tempdir().unwrap();
    let around = Supervisor::default();
    let mut sink = Sink::start(&around).await;
    // Killed between writing and sending.
    let (told, _changed) = open(dir.path(), &sink.url);
    told.tell(clock::utc(), "member c3 has seen no leader for 60 s".into()).await;
    let key = told.pending()[0].deliveries[0].idempotency_key.clone();
    drop(told);
    let life = Life::start(dir.path(), &sink.url);
    assert_eq!(header(&sink.request(1).await, "idempotency-key"), key);
    life.stop().await;
    around.stop();
}

#[tokio::test]
async fn a_refused_page_is_tried_again_under_its_key_and_says_both_when_it_is_over() {
    let dir = tempfile::tempdir().unwrap();
    let around = Supervisor::default();
    let mut sink = Sink::start(&around).await;
    *sink.status.lock() = 503;
    let mut life = Life::start(dir.path(), &sink.url);
    life.pass(61, false).await;
    let first = sink.request(1).await;
    let second = sink.request(2).await;
    assert_eq!(header(&first, "idempotency-key"), header(&second, "idempotency-key"));
    assert_eq!(body(&first), body(&second));
    // Over before anybody took it: one message says both.
    *sink.status.lock() = 200;
    life.pass(11, true).await;
    let third = sink.request(3).await;
    assert_eq!(body(&third)["kind"], "combined");
    assert_eq!(header(&first, "idempotency-key"), header(&third, "idempotency-key"));
    life.settled().await;
    assert_eq!(sink.requests.lock().len(), 3);
    life.stop().await;
    around.stop();
}

#[tokio::test]
async fn a_file_that_cannot_be_read_begins_anew_with_other_keys() {
    let dir = tempfile::tempdir().unwrap();
    let (told, _changed) = open(dir.path(), "http://127.0.0.1:1/");
    told.tell(clock::utc(), "first".into()).await;
    let first = told.pending()[0].uid.clone();
    std::fs::write(dir.path().join("leaderless.bin"), [0xff; 40]).unwrap();
    let (told, _changed) = open(dir.path(), "http://127.0.0.1:1/");
    assert_eq!(told.open_since(), None);
    // The clock moves on between two lives; here the number does.
    let deadline = clock::instant() + Duration::from_secs(30);
    let began = clock::utc().as_ns() / 1_000_000_000;
    while clock::utc().as_ns() / 1_000_000_000 == began {
        assert!(clock::instant() < deadline);
        tokio::task::yield_now().await;
    }
    told.tell(clock::utc(), "second".into()).await;
    assert_ne!(told.pending()[0].uid, first);
}

#[tokio::test]
async fn pages_that_nobody_takes_are_kept_up_to_a_bound() {
    let dir = tempfile::tempdir().unwrap();
    let (told, _changed) = open(dir.path(), "http://127.0.0.1:1/");
    for n in 0..12 {
        told.tell(clock::utc(), format!("time {n}")).await;
        told.resolve().await;
    }
    let details: Vec<String> = told.pending().into_iter().map(|it| it.detail).collect();
    assert_eq!(details.len(), parallax_common::limits::LEADERLESS_KEPT);
    assert_eq!(details.last().map(String::as_str), Some("time 11"));
    let (again, _changed) = open(dir.path(), "http://127.0.0.1:1/");
    assert_eq!(again.pending(), told.pending());
}

#[tokio::test]
async fn the_leader_calls_the_heartbeat_url_and_nobody_else_does() {
    let supervisor = Supervisor::default();
    let mut sink = Sink::start(&supervisor).await;
    let webhook =
        Carrier::new(Roots::Webpki, Guard::default(), contact::secrets([]), supervisor.clone())
            .unwrap();
    let calls = Arc::new(Calls::default());
    // How often it was asked whether it leads, and what it is to say.
    let (asked, leads) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let ask = {
        let (asked, leads) = (Arc::clone(&asked), Arc::clone(&leads));
        move || {
            asked.fetch_add(1, Ordering::SeqCst);
            std::future::ready(leads.load(Ordering::SeqCst))
        }
    };
    let (url, counted) = (contact::template(&sink.url), Arc::clone(&calls));
    let every = tokio::time::interval(Duration::from_millis(5));
    let stop = supervisor.stop_token();
    supervisor.spawn(TaskKind::Session("heartbeat"), async move {
        tokio::select! {
            () = stop.cancelled() => {}
            () = heartbeat::run(webhook, url, counted, every, ask) => {}
        }
    });
    let until = async |what: &dyn Fn() -> bool| {
        let deadline = clock::instant() + Duration::from_secs(30);
        while !what() {
            assert!(clock::instant() < deadline);
            tokio::task::yield_now().await;
        }
    };
    until(&|| asked.load(Ordering::SeqCst) >= 5).await;
    assert_eq!((sink.requests.lock().len(), calls.made()), (0, 0));
    leads.store(true, Ordering::SeqCst);
    let call = sink.request(1).await;
    assert!(call.starts_with("GET /hook HTTP/1.1\r\n"), "{call}");
    *sink.status.lock() = 500;
    until(&|| calls.failed() >= 2).await;
    *sink.status.lock() = 204;
    let failed = calls.failed() + 1;
    let made = calls.made();
    until(&|| calls.made() >= made + 3).await;
    assert!(calls.failed() <= failed, "one may have been under way");
    supervisor.stop();
}
