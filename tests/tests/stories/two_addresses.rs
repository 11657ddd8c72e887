//! (h) One member known by two addresses, and one whose connection was cut without a word.

use std::time::Duration;

use anyhow::Result;
use parallax_proto::v1;
use parallax_proto::v1::live_response::Frame;
use parallax_runtime::clock;
use parallax_tests::harness::mesh::Mesh;
use parallax_tests::harness::rogue::{Rogue, first};
use parallax_tests::harness::wait::{Look, SOON, wait_until};

const REGION: &str = "eu-west";

fn opened(log: &str) -> usize {
    log.lines().filter(|line| line.contains("session opened")).count()
}

/// The address that the coordinator tells its probes is 127.0.0.1:port; this probe was given
/// another spelling, and so dials both.
#[tokio::test(flavor = "multi_thread")]
async fn a_member_with_two_addresses_gets_one_session_that_lasts() -> Result<()> {
    let mut mesh = Mesh::start(parallax_tests::binaries!(), &[]).await?;
    mesh.issue_probe("p1", REGION).await?;
    let port = mesh.ports()?.probes.rsplit_once(':').expect("host:port").1.to_owned();
    let mut probe = mesh.probe_process_at("p1", &format!("localhost:{port}"), "127.0.0.1")?;
    let api = mesh.api().await?;
    let began = wait_until(SOON, "the probe's session", || async {
        let probe = api.probe("p1").await;
        let seen = format!("{probe:?}");
        Ok(Look::some(probe.ok().filter(|probe| probe.connected), seen))
    })
    .await?;
    assert_eq!(began.region, REGION);
    // The dial of the second address ends in being parked, which both ends have to say.
    wait_until(SOON, "the second address parked", || {
        let log = probe.log();
        async move { Ok(Look::when(log?.contains("known by another address"), "not parked")) }
    })
    .await?;
    // That nothing happens can only be watched for a while: eight seconds, not a wait for anything.
    for _ in 0..8 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        probe.check_running()?;
        assert_eq!(opened(&mesh.coordinator_log()?), 1, "{}", mesh.coordinator_log()?);
        assert!(api.probe("p1").await?.connected);
    }
    assert!(!mesh.coordinator_log()?.contains("session closed"));
    // The parked address is good for something: with the session gone, one comes back.
    mesh.kill_coordinator();
    mesh.start_coordinator().await?;
    let api = mesh.api().await?;
    wait_until(SOON, "a session with the new process", || async {
        let probe = api.probe("p1").await;
        Ok(Look::when(probe.as_ref().is_ok_and(|p| p.connected), probe.is_ok()))
    })
    .await?;
    drop(probe);
    mesh.told();
    Ok(())
}

/// A lane from which nothing comes any more is as good as cut: TCP does not tell. The same life of
/// the probe is sent away as long as it may be a second address, and then gets its place.
#[tokio::test(flavor = "multi_thread")]
async fn a_half_open_lane_is_taken_over() -> Result<()> {
    let mesh = Mesh::start(parallax_tests::binaries!(), &[]).await?;
    mesh.issue_probe("p1", REGION).await?;
    let endpoint = mesh.ports()?.probes.clone();
    let tls = mesh.tls("p1");
    let dial = || Rogue::dial(&endpoint, &tls, REGION, "p1");
    // It says hello and then not a word, not even to pings; its stream stays open.
    let silent = dial().await?;
    let (_open, mut frames) = silent.live(vec![]).await?;
    let welcome = frames.message().await?.and_then(|message| message.frame);
    assert!(matches!(welcome, Some(Frame::Welcome(_))), "{welcome:?}");
    let again = dial().await?;
    let (_open_too, refused) = again.live(vec![]).await?;
    let v1::LiveResponse { frame: Some(Frame::Goodbye(goodbye)) } = first(refused).await? else {
        panic!("a second connection of one life is sent away");
    };
    assert!(!goodbye.r#final && goodbye.connected_node_id == 1, "{goodbye:?}");
    let began = clock::instant();
    wait_until(SOON, "the takeover", || async {
        let (_open, frames) = again.live(vec![]).await?;
        let answer = first(frames).await?;
        Ok(Look::when(matches!(answer.frame, Some(Frame::Welcome(_))), format!("{answer:?}")))
    })
    .await?;
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    // The old lane was told nothing, but it has ended.
    while let Ok(Some(_)) = frames.message().await {}
    mesh.told();
    Ok(())
}
