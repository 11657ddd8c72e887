//! Against a real node on stores in memory.

use std::time::Duration;

use axum::body::to_bytes;
use parallax_common::name::Uid;
use parallax_proto::store::config_change::Change;

use super::*;
use crate::core::state::LEVEL;
use crate::propose::tests::{proposer, region};

const CONTACT: u8 = 2;

fn uid(byte: u8) -> String {
    Uid::from_bytes([byte; 16]).to_string()
}

fn meta(byte: u8, name: &str) -> Option<v1::Meta> {
    Some(v1::Meta {
        uid: uid(byte),
        namespace: "default".into(),
        name: name.into(),
        set: "default".into(),
        ..v1::Meta::default()
    })
}

fn put(kind: v1::resource::Kind) -> store::ConfigChange {
    let resource = v1::Resource { kind: Some(kind) };
    store::ConfigChange { base_etag: 0, change: Some(Change::Put(resource)), force: false }
}

/// A cluster with links, and an open incident `r1`.
async fn acks() -> (Acks, tempfile::TempDir) {
    let (proposer, view, dir) = proposer().await;
    let init = store::InitCluster { mesh: "m".into(), level: LEVEL, ..Default::default() };
    let settings = v1::Settings {
        meta: meta(3, "settings"),
        public_url: "https://p.example".into(),
        ..Default::default()
    };
    let open = store::VerdictChange {
        namespace: "default".into(),
        region: "eu<b>".into(),
        incident_uid: "r1".into(),
        action: store::VerdictAction::Open.into(),
        ..Default::default()
    };
    proposer.write(Origin::default(), Command::InitCluster(init)).await.unwrap();
    let contact = v1::Contact { meta: meta(CONTACT, "ops"), ..Default::default() };
    let changes = vec![
        region("eu<b>"),
        put(v1::resource::Kind::Contact(contact)),
        put(v1::resource::Kind::Settings(settings)),
    ];
    proposer.apply(Origin::default(), changes).await.unwrap();
    assert!(view.load().needs_link_key());
    for key in [[5; 32], [6; 32]] {
        let key = store::SetLinkKey { key: key.to_vec().into() };
        proposer.write(Origin::default(), Command::SetLinkKey(key)).await.unwrap();
    }
    assert_eq!(view.load().link_key(), [5; 32], "the first one stays");
    assert!(!view.load().needs_link_key());
    let changes = store::ChangeVerdicts { changes: vec![open], node_id: 1 };
    proposer.write(Origin::default(), Command::ChangeVerdicts(changes)).await.unwrap();
    (Acks::new(view, proposer), dir)
}

/// Incident and token of the link that a contact is sent.
fn link(acks: &Acks, contact: u8) -> (String, String) {
    let state = acks.view.load();
    let link = state.ack_link(&state.incidents["r1"], &uid(contact)).unwrap();
    let path = link.strip_prefix("https://p.example/ack/").unwrap();
    let (incident, token) = path.split_once('/').unwrap();
    (incident.to_owned(), token.to_owned())
}

async fn read(response: Response) -> (u16, String) {
    let status = response.status().as_u16();
    assert_eq!(response.headers()[CACHE_CONTROL], "no-store");
    assert_eq!(response.headers()[REFERRER_POLICY], "no-referrer");
    let body = to_bytes(response.into_body(), 64 * 1024).await.unwrap();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn looking_changes_nothing_and_the_button_acknowledges_once() {
    let (acks, _dir) = acks().await;
    let link = link(&acks, CONTACT);
    let by = || acks.view.load().incidents["r1"].acknowledged_by.clone();
    for _ in 0..3 {
        let (status, body) = read(shown(&acks, &link)).await;
        assert_eq!(status, 200);
        assert!(body.contains("<form method=\"post\"><button>"), "{body}");
        assert!(body.contains("eu&lt;b&gt;") && !body.contains("eu<b>"), "{body}");
    }
    assert_eq!(by(), "");
    for _ in 0..2 {
        let (status, body) = read(acknowledged(&acks, &link).await).await;
        assert_eq!(status, 200);
        assert!(body.contains("<h1>Acknowledged</h1>") && !body.contains("<form"), "{body}");
    }
    assert_eq!(by(), "link:ops");
    let state = acks.view.load();
    let events = &state.incidents["r1"].timeline;
    let told = |it: &&v1::TimelineEvent| {
        matches!(it.event, Some(v1::timeline_event::Event::Acknowledged(_)))
    };
    assert_eq!(events.iter().filter(told).count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_link_that_does_not_hold_gets_the_same_page() {
    let (acks, _dir) = acks().await;
    let (incident, token) = link(&acks, CONTACT);
    let of_other = link(&acks, 9).1;
    let mixed = format!("{}.{}", uid(CONTACT), of_other.rsplit_once('.').unwrap().1);
    let (status, body) = read(shown(&acks, &("nobody".into(), token.clone()))).await;
    assert_eq!(status, 404);
    for wrong in [(incident.clone(), mixed), (incident.clone(), "x".into()), (token, incident)] {
        assert_eq!(read(shown(&acks, &wrong)).await, (404, body.clone()));
        assert_eq!(read(acknowledged(&acks, &wrong).await).await, (404, body.clone()));
    }
    assert_eq!(acks.view.load().incidents["r1"].acknowledged_by, "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_guesses_too_often_is_sent_away_and_a_link_that_holds_is_answered_all_the_same() {
    let (acks, _dir) = acks().await;
    let link = link(&acks, CONTACT);
    let empty = Bucket { tokens: 0.0, filled: clock::instant() + Duration::from_secs(3_600) };
    let acks = Acks { rate: Rate(Mutex::new(empty)), ..acks };
    let guessed = (link.0.clone(), format!("{CONTACT}.{}", "0".repeat(64)));
    assert_eq!(read(shown(&acks, &guessed)).await.0, 429);
    assert_eq!(read(acknowledged(&acks, &guessed).await).await.0, 429);
    assert_eq!(read(shown(&acks, &link)).await.0, 200);
    assert_eq!(read(acknowledged(&acks, &link).await).await.0, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_press_is_a_request_that_any_member_may_forward() {
    let (acks, _dir) = acks().await;
    let client = client_of(&link(&acks, CONTACT).1);
    assert_eq!(client.len(), "link:".len() + 32, "{client}");
    // As many as a request may have is 64.
    assert!(client.len() <= 64);
}

#[test]
fn the_bucket_holds_a_burst_and_fills_at_its_rate() {
    let start = clock::instant();
    let mut bucket = Bucket::full(start);
    let taken = |bucket: &mut Bucket, now| (0..1_000).filter(|_| bucket.take(now)).count();
    assert_eq!(taken(&mut bucket, start), 40);
    assert_eq!(taken(&mut bucket, start + Duration::from_millis(500)), 10);
    assert_eq!(taken(&mut bucket, start + Duration::from_secs(3_600)), 40);
}
