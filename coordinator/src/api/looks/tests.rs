//! What an asker reads, whatever probes do.

use parallax_common::name::{Generation, Incarnation, RunDigest, Uid};
use parallax_common::outcome::{Phase, Reason};
use parallax_common::record::{LookRefusal, Record};
use parallax_common::time::{BootTime, MeshTime};
use parallax_runtime::supervisor::Supervisor;

use super::*;
use crate::core::engine::Voter;
use crate::session::Sessions;

fn seat(probe: Option<&str>) -> Seat {
    let voter = probe.map(|probe| Voter {
        region: "eu".to_owned(),
        probe: probe.to_owned(),
        incarnation: Incarnation(1),
    });
    Seat { region: "eu".to_owned(), advisory: false, voter }
}

#[test]
fn what_a_probe_saw_is_told_whole() {
    let length = Duration::from_millis(30);
    let record = Record {
        check: Uid::from_bytes([1; 16]),
        run_digest: RunDigest(7),
        number: 3,
        slot: None,
        order: 3,
        outcome: Outcome::Fail,
        reason: Some(Reason::HttpStatus),
        step: 1,
        evidence: "503".to_owned(),
        scheduled: BootTime::from_ns(0),
        started: BootTime::from_ns(5),
        ended: BootTime::from_ns(40_000_005),
        generation: Generation { epoch: 1, index: 1 },
        remote_address: "192.0.2.1:80".to_owned(),
        phases: vec![(1, Phase::FirstByte, length)],
    };
    let look = told(&seat(Some("p1")), Ending::Seen(Box::new(record.clone())));
    assert_eq!((look.region.as_str(), look.probe.as_str(), look.step), ("eu", "p1", 1));
    assert_eq!((look.outcome(), look.reason()), (v1::Outcome::Fail, v1::Reason::HttpStatus));
    assert_eq!((look.evidence.as_str(), look.remote_address.as_str()), ("503", "192.0.2.1:80"));
    assert_eq!(look.total, Some(duration_to(Duration::from_millis(40))));
    assert_eq!((look.phases.len(), look.phases[0].duration_ns), (1, 30_000_000));
    assert_eq!((look.ending(), look.detail.as_str()), (v1::LookEnding::Seen, ""));
    let missed = Record { outcome: Outcome::Missed, reason: Some(Reason::ConfigError), ..record };
    assert_eq!(told(&seat(None), Ending::Seen(Box::new(missed))).total, None);
    let refused = told(&seat(Some("p1")), Ending::Refused(LookRefusal::TooMany));
    assert_eq!(refused.ending(), v1::LookEnding::Refused);
    assert!(refused.detail.contains("too often"), "{}", refused.detail);
}

/// The looks of a stream, to its end.
async fn looks(mut stream: mpsc::Receiver<Result<v1::RunCheckResponse, Status>>) -> Vec<v1::Look> {
    let mut all = vec![];
    while let Some(part) = stream.recv().await {
        match part.unwrap().part.unwrap() {
            Part::Look(look) => all.push(look),
            Part::Asked(_) => panic!("it is said once, before them"),
        }
    }
    all
}

#[tokio::test]
async fn who_is_not_there_is_told_of_at_once_and_who_is_silent_when_the_time_is_over() {
    let sessions = Sessions::new(Supervisor::default());
    let (check, digest) = (Uid::from_bytes([1; 16]), RunDigest(7));
    let seats = vec![seat(None), seat(Some("away"))];
    let open = sessions.look(check, digest, &seats, MeshTime::from_ns(5), String::new()).unwrap();
    assert_eq!(sessions.looks_open(), 1);
    let (to, stream) = mpsc::channel(8);
    // It would not end before the test does.
    follow(open, seats, Duration::from_secs(3_600), to).await;
    let told: Vec<_> = looks(stream).await.iter().map(v1::Look::ending).collect();
    assert_eq!(told, [v1::LookEnding::NoProbe, v1::LookEnding::NoAnswer]);
    assert_eq!(sessions.looks_open(), 0, "its place is free again");
    // Of three seats one is known at once. Nobody says a word of the others.
    let seats = vec![seat(None)];
    let open = sessions.look(check, digest, &seats, MeshTime::from_ns(5), String::new()).unwrap();
    let seats = [seats, vec![seat(Some("p1")), seat(Some("p2"))]].concat();
    let (to, stream) = mpsc::channel(8);
    let (begun, within) = (clock::instant(), Duration::from_millis(50));
    follow(open, seats, within, to).await;
    assert!(begun.elapsed() >= within);
    let told = looks(stream).await;
    let words: Vec<&str> = told.iter().map(|look| look.detail.as_str()).collect();
    assert_eq!(words[1..], ["no answer in time"; 2], "{words:?}");
}

#[tokio::test]
async fn an_asker_that_goes_away_gives_its_place_back() {
    let sessions = Sessions::new(Supervisor::default());
    let check = Uid::from_bytes([1; 16]);
    let open =
        sessions.look(check, RunDigest(7), &[], MeshTime::from_ns(5), String::new()).unwrap();
    let (to, stream) = mpsc::channel(8);
    drop(stream);
    follow(open, vec![seat(Some("p1"))], Duration::from_secs(3_600), to).await;
    assert_eq!(sessions.looks_open(), 0);
}
