//! Following changes, and looking for a coordinator that answers.

use super::*;

#[tokio::test]
async fn watch_goes_on_from_the_last_revision_it_saw() {
    let bench = Bench::start().await;
    let changed = |revision: u64, state: v1::ProbeState| v1::WatchResponse {
        revision,
        at: at(revision as i64),
        more: false,
        change: Some(v1::watch_response::Change::Probe(v1::ProbeChanged {
            region: "eu-west".to_owned(),
            name: "p1".to_owned(),
            state: state.into(),
        })),
    };
    bench.fake.0.lock().watch = vec![
        changed(5, v1::ProbeState::Live),
        v1::WatchResponse {
            revision: 6,
            at: at(6),
            change: Some(v1::watch_response::Change::Progress(v1::Progress {})),
            more: true,
        },
        changed(7, v1::ProbeState::Lost),
    ];
    let ran = bench.run("watch --from 4 -o json").await;
    let states: Vec<serde_json::Value> = ran
        .out
        .lines()
        .map(|line| {
            serde_json::from_str::<serde_json::Value>(line).unwrap()["probe"]["state"].clone()
        })
        .collect();
    assert_eq!(states, ["live", "lost"]);
    let from: Vec<u64> = bench.fake.0.lock().watched.iter().map(|it| it.from_revision).collect();
    // Of revision 6 only a part had come.
    assert_eq!(from, [4, 5, 7, 7]);
    // What is no failover is for the user, not for a retry.
    assert_eq!(ran.exit, Exit::Refused);
    assert_eq!(ran.err, "error: that will do\n");
}

#[tokio::test]
async fn a_watch_that_missed_what_is_gone_says_how_things_stand_and_goes_on_from_there() {
    let bench = Bench::start().await;
    {
        let mut state = bench.fake.0.lock();
        let progress = v1::watch_response::Change::Progress(v1::Progress {});
        state.watch = vec![v1::WatchResponse {
            revision: 5,
            change: Some(progress),
            ..v1::WatchResponse::default()
        }];
        state.status = status_rows();
        state.status.revision = 42;
        state.probes = vec![v1::Probe {
            region: "eu-west".into(),
            name: "p1".into(),
            state: v1::ProbeState::Live.into(),
            ..v1::Probe::default()
        }];
        state.incident = v1::Incident { uid: "0190b2a4".into(), ..v1::Incident::default() };
    }
    // The revision that a person begins at is theirs to correct.
    bench.fake.0.lock().compacted = 5;
    let ran = bench.run("watch --from 4").await;
    assert_eq!(ran.exit, Exit::Refused);
    assert!(ran.out.is_empty() && ran.err.contains("compacted"), "{}", ran.err);

    // The next watch is told of revision 5; by the time it resumes, changes up to 9 are gone.
    bench.fake.0.lock().watched.clear();
    bench.fake.0.lock().compacted = 0;
    bench.fake.0.lock().compacts_to = 9;
    let ran = bench.run("watch -o json").await;
    let listed: Vec<serde_json::Value> =
        ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(listed.iter().all(|it| it["listed"] == true && it["revision"] == 42), "{}", ran.out);
    let of = |field: &str| listed.iter().filter(|it| it.get(field).is_some()).count();
    let checks = status_rows().rows.iter().filter(|row| row.enabled).count();
    assert!(checks > 0);
    assert_eq!((of("verdict"), of("incident"), of("probe")), (checks, 1, 1));
    assert!(ran.err.starts_with("changes after revision 5 are gone"), "{}", ran.err);
    let from: Vec<u64> = bench.fake.0.lock().watched.iter().map(|it| it.from_revision).collect();
    assert_eq!(from, [0, 5, 42, 42]);
}

#[tokio::test]
async fn a_search_that_is_short_is_not_talked_about_and_a_long_one_once() {
    let bench = Bench::start().await;
    let said = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&said);
    let endpoints = vec![bench.address.to_string()];
    let mut client = Client::new(Box::new(Plain), endpoints, None, Duration::from_secs(60))
        .saying(Arc::new(move |text| heard.lock().push(text.to_owned())));
    let mut call = async || {
        let answer = client.call(None, |channel| async move {
            v1::status_service_client::StatusServiceClient::new(channel)
                .get_status(v1::GetStatusRequest::default())
                .await
        });
        answer.await.unwrap();
    };
    bench.fake.0.lock().away = 2;
    call().await;
    assert!(said.lock().is_empty());
    // 0.1, 0.2, 0.4, 0.8, 1.6 and 2 seconds, of which at least half is waited for each.
    bench.fake.0.lock().away = 6;
    call().await;
    assert_eq!(*said.lock(), ["no coordinator answers yet (starting); trying for 60 s"]);
}

#[tokio::test]
async fn a_coordinator_that_hangs_costs_little_and_the_one_that_answered_is_asked_first() {
    let bench = Bench::start().await;
    let dead = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().to_string()
    };
    /// Notes who is dialled; one of them never answers.
    struct Counting(Arc<Mutex<Vec<String>>>, String);
    impl Dial for Counting {
        fn dial<'a>(&'a self, endpoint: &'a str) -> Dialling<'a> {
            self.0.lock().push(endpoint.to_owned());
            match endpoint == self.1 {
                true => Box::pin(std::future::pending()),
                false => Plain.dial(endpoint),
            }
        }
    }
    let (mute, dialled) = ("mute:1".to_owned(), Arc::default());
    let endpoints = vec![mute.clone(), dead.clone(), bench.address.to_string()];
    let dial = Box::new(Counting(Arc::clone(&dialled), mute.clone()));
    let mut client = Client::new(dial, endpoints, None, Duration::ZERO);
    for _ in 0..2 {
        let answer = client.call(None, |channel| async move {
            v1::status_service_client::StatusServiceClient::new(channel)
                .get_status(v1::GetStatusRequest::default())
                .await
        });
        answer.await.unwrap();
    }
    assert_eq!(*dialled.lock(), [mute, dead, bench.address.to_string()]);
}
