//! (g) What no probe would say is refused, counted and shown, and disturbs nobody.

use anyhow::Result;
use bytes::Bytes;
use parallax_proto::v1;
use parallax_tests::harness::client::{Api, brief};
use parallax_tests::harness::mesh::Mesh;
use parallax_tests::harness::rogue::{Rogue, first, hdr, hdr_bombs, window};
use parallax_tests::harness::wait::{Look, SOON, wait_until};
use parallax_tests::harness::yaml::{self, CheckYaml};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

const REGIONS: [&str; 3] = ["eu-west", "us-east", "ap-south"];
/// A region that no check looks from, with a probe of bad manners.
const ELSEWHERE: &str = "elsewhere";
const SEED: u64 = 7;
/// Half of what one bomb announces. New threads reserve some of it for themselves.
const ALLOCATED_MAX: u64 = 2 << 30;

async fn mesh_with_a_rogue() -> Result<(Mesh, Api, Rogue)> {
    let mesh = Mesh::start(parallax_tests::binaries!(), &REGIONS).await?;
    let check = CheckYaml::new("checkout", &mesh.target.url(), &REGIONS);
    let all = ["eu-west", "us-east", "ap-south", ELSEWHERE];
    mesh.apply(&yaml::file(&all, &mesh.sink.url(), &[check])).await?;
    let api = mesh.api().await?;
    up(&api).await?;
    mesh.issue_probe("rogue", ELSEWHERE).await?;
    let rogue = Rogue::dial(&mesh.ports()?.probes, &mesh.tls("rogue"), ELSEWHERE, "rogue").await?;
    let welcome = rogue.say_hello().await?;
    assert!(matches!(welcome.frame, Some(v1::live_response::Frame::Welcome(_))), "{welcome:?}");
    Ok((mesh, api, rogue))
}

async fn up(api: &Api) -> Result<()> {
    wait_until(SOON, "three passing ballots", || async {
        let row = api.status("checkout").await?;
        let passing =
            row.ballots.iter().filter(|b| b.state() == v1::BallotState::Pass && !b.stale).count();
        Ok(Look::when(row.verdict() == v1::Verdict::Up && passing == REGIONS.len(), brief(&row)))
    })
    .await
}

/// Waits until so much of the rogue was refused, and returns how it is shown.
async fn refused(api: &Api, at_least: u64) -> Result<v1::Probe> {
    wait_until(SOON, &format!("{at_least} refusals shown"), || async {
        let probe = api.probe("rogue").await?;
        Ok(Look::some((probe.refused >= at_least).then(|| probe.clone()), &probe))
    })
    .await
}

/// The others went on: same verdict since the same moment, no incident, no page, no refusal.
async fn nobody_was_disturbed(mesh: &Mesh, api: &Api, before: &v1::StatusRow) -> Result<()> {
    let runs = mesh.target.requests();
    wait_until(SOON, "thirty more runs", || async {
        let now = mesh.target.requests();
        Ok(Look::when(now >= runs + 30, now))
    })
    .await?;
    up(api).await?;
    let row = api.status("checkout").await?;
    assert_eq!(row.since, before.since, "{}", brief(&row));
    assert!(api.incidents_of("checkout").await?.is_empty());
    assert!(mesh.sink.pages().is_empty());
    for region in REGIONS {
        let probe = api.probe(region).await?;
        assert_eq!(probe.refused, 0, "{probe:?}");
        assert_eq!(probe.state(), v1::ProbeState::Live, "{probe:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn random_bytes_on_either_stream_are_counted_against_their_probe() -> Result<()> {
    let (mesh, api, rogue) = mesh_with_a_rogue().await?;
    let before = api.status("checkout").await?;
    let already = refused(&api, 0).await?.refused;
    let mut random = StdRng::seed_from_u64(SEED);
    let mut garbage = || {
        let length = random.random_range(1..2_000_usize);
        // 0x07: a field of the sixth wire type, which does not exist. Never a message by chance.
        let bytes = std::iter::once(0x07).chain((0..length).map(|_| random.random::<u8>()));
        bytes.collect::<Bytes>()
    };
    let rounds = 10;
    for _ in 0..rounds {
        let (_open, mut frames) = rogue.live(vec![garbage()]).await?;
        let ended = loop {
            match frames.message().await {
                Ok(Some(v1::LiveResponse {
                    frame: Some(v1::live_response::Frame::Goodbye(_)),
                }))
                | Ok(None) => break "said goodbye".to_owned(),
                Ok(Some(_)) => {}
                Err(status) => break status.to_string(),
            }
        };
        assert!(!ended.is_empty());
        let (_open, frames) = rogue.bulk(vec![garbage()]).await?;
        let answer = first(frames).await;
        let acknowledged = matches!(
            &answer,
            Ok(v1::BulkResponse { frame: Some(v1::bulk_response::Frame::Ack(ack)) })
                if ack.refused == 0
        );
        assert!(!acknowledged, "garbage was acknowledged: {answer:?}");
    }
    let probe = refused(&api, already + 2 * rounds).await?;
    assert_eq!(probe.refused, already + 2 * rounds, "each is counted once: {probe:?}");
    assert!(probe.last_refusal.contains("decode"), "{probe:?}");
    nobody_was_disturbed(&mesh, &api, &before).await?;

    let shown = mesh.px_ok(&["probe", "list"]).await?;
    let line = shown.lines().find(|line| line.contains("rogue")).unwrap_or_default();
    assert!(line.contains(&probe.refused.to_string()), "{shown}");
    mesh.told();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_hdr_bomb_is_refused_before_anything_is_allocated() -> Result<()> {
    let (mesh, api, rogue) = mesh_with_a_rogue().await?;
    let before = api.status("checkout").await?;
    let already = refused(&api, 0).await?.refused;
    let uid = &before.check_uid;
    let peak = mesh.coordinator_address_space_peak()?;
    // The same window is good with a good histogram, so it is the histogram that is refused.
    let [announced, laid_out] = hdr_bombs();
    let frames = [(hdr(), 0), (announced, 1), (laid_out, 1)];
    for (sequence, (histogram, refused)) in (1..).zip(frames) {
        let (_open, frames) = rogue.bulk(vec![window(uid, sequence, histogram)?]).await?;
        match first(frames).await?.frame {
            Some(v1::bulk_response::Frame::Ack(ack)) => {
                assert_eq!((ack.through_sequence, ack.refused), (sequence, refused), "{ack:?}");
            }
            other => panic!("the stream of a bad window goes on, but it said {other:?}"),
        }
    }
    let probe = refused(&api, already + 2).await?;
    assert_eq!(probe.refused, already + 2, "{probe:?}");
    assert!(probe.last_refusal.contains("other bounds or figures"), "{probe:?}");
    nobody_was_disturbed(&mesh, &api, &before).await?;
    let grown = mesh.coordinator_address_space_peak()?.saturating_sub(peak);
    assert!(grown < ALLOCATED_MAX, "{grown} bytes of address space for two bombs");
    mesh.told();
    Ok(())
}
