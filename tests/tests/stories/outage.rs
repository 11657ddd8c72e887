//! (a) What a user came for: one outage makes one page, and a bad path makes none.

use anyhow::Result;
use parallax_proto::v1;
use parallax_tests::harness::client::{Api, ballot, brief};
use parallax_tests::harness::mesh::Mesh;
use parallax_tests::harness::target::Behaviour;
use parallax_tests::harness::until;
use parallax_tests::harness::yaml::{self, CheckYaml};

const REGIONS: [&str; 5] = ["eu-west", "us-east", "us-west", "ap-south", "sa-east"];

/// Five regions that see `checkout` up.
async fn mesh_that_is_up() -> Result<(Mesh, Api)> {
    let mesh = Mesh::start(parallax_tests::binaries!(), &REGIONS).await?;
    let check = CheckYaml::new("checkout", &mesh.target.url(), &REGIONS);
    // The URL is a reference that the coordinator resolves when it sends.
    mesh.apply(&yaml::file(&REGIONS, "${env:PX_HOOK}", &[check])).await?;
    let api = mesh.api().await?;
    until::verdict(&api, "checkout", v1::Verdict::Up).await?;
    until::everybody_passes(&api, "checkout").await?;
    Ok((mesh, api))
}

#[tokio::test(flavor = "multi_thread")]
async fn all_regions_refused_make_one_incident_one_page_and_one_resolve() -> Result<()> {
    let (mut mesh, api) = mesh_that_is_up().await?;
    mesh.target.refuse();
    until::pages(&mesh.sink, "checkout", 1).await?;
    until::verdict(&api, "checkout", v1::Verdict::Down).await?;

    let incidents = api.incidents_of("checkout").await?;
    assert_eq!(incidents.len(), 1, "{incidents:?}");
    let record = incidents[0].opened_by.clone().unwrap_or_default();
    assert!(record.failing >= 3, "opened by fewer than three of five: {record:?}");
    assert_eq!(record.ballots.len(), REGIONS.len(), "every region's ballot is in the record");
    let refused = record.ballots.iter().filter(|b| b.reason() == v1::Reason::ConnectRefused);
    assert!(refused.count() >= 3, "{record:?}");

    mesh.target.heal()?;
    until::pages(&mesh.sink, "checkout", 2).await?;
    until::verdict(&api, "checkout", v1::Verdict::Up).await?;
    until::more_runs(&mesh.target, 50).await?;

    let kinds: Vec<String> =
        mesh.sink.pages_of("checkout").into_iter().map(|page| page.kind).collect();
    assert_eq!(kinds, ["opened", "resolved"]);
    let keys: Vec<String> = mesh.sink.pages().into_iter().map(|page| page.key).collect();
    assert!(keys.iter().all(|key| !key.is_empty()) && keys[0] != keys[1], "{keys:?}");
    let incidents = api.incidents_of("checkout").await?;
    assert_eq!(incidents.len(), 1, "{incidents:?}");
    assert_eq!(incidents[0].cause(), v1::ResolveCause::Recovered);

    // What a sleepy person reads: the reason and the count, from the record.
    let said = mesh.px_ok(&["incident", "get", &incidents[0].uid]).await?;
    assert!(said.contains("connect_refused") && said.contains("eu-west"), "{said}");
    let said = mesh.px_ok(&["check", "explain", "checkout"]).await?;
    assert!(said.contains("checkout is up since"), "{said}");
    assert!(REGIONS.iter().all(|region| said.contains(region)), "{said}");
    mesh.told();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_region_of_five_is_degraded_and_pages_nobody() -> Result<()> {
    let (mesh, api) = mesh_that_is_up().await?;
    mesh.target.treat(mesh.source("eu-west"), Behaviour::Reset);
    until::verdict(&api, "checkout", v1::Verdict::Degraded).await?;
    until::more_runs(&mesh.target, 100).await?;

    let row = api.status("checkout").await?;
    assert_eq!(row.verdict(), v1::Verdict::Degraded, "{}", brief(&row));
    assert_eq!(row.degraded(), v1::DegradedKind::Regional);
    assert_eq!(ballot(&row, "eu-west")?.state(), v1::BallotState::Fail);
    assert!(api.incidents_of("checkout").await?.is_empty());
    assert!(mesh.sink.pages().is_empty(), "{:?}", mesh.sink.pages());
    mesh.told();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn three_regions_of_five_are_down() -> Result<()> {
    let (mesh, api) = mesh_that_is_up().await?;
    for region in ["eu-west", "us-east", "us-west"] {
        mesh.target.treat(mesh.source(region), Behaviour::Status(503));
    }
    until::verdict(&api, "checkout", v1::Verdict::Down).await?;
    until::pages(&mesh.sink, "checkout", 1).await?;

    let incidents = api.incidents_of("checkout").await?;
    assert_eq!(incidents.len(), 1, "{incidents:?}");
    let record = incidents[0].opened_by.clone().unwrap_or_default();
    assert_eq!((record.failing, record.passing), (3, 2), "{record:?}");
    assert!(record.rule.is_some_and(|rule| rule.down_at == 3 && rule.regions == 5));
    let said = mesh.px_ok(&["check", "explain", "checkout"]).await?;
    assert!(said.contains("3 of 5 regions fail (3 are needed)"), "{said}");
    mesh.told();
    Ok(())
}
