//! (c) and (d) Silence is no evidence: it neither opens an incident nor ends one.

use anyhow::Result;
use parallax_proto::v1;
use parallax_tests::harness::client::{Api, ballot, brief};
use parallax_tests::harness::mesh::Mesh;
use parallax_tests::harness::target::Behaviour;
use parallax_tests::harness::until;
use parallax_tests::harness::wait::{Look, SOON, STALE, wait_until};
use parallax_tests::harness::yaml::{self, CheckYaml};

const REGIONS: [&str; 3] = ["eu-west", "us-east", "ap-south"];

async fn mesh_that_is_up() -> Result<(Mesh, Api)> {
    let mesh = Mesh::start(parallax_tests::binaries!(), &REGIONS).await?;
    let check = CheckYaml::new("checkout", &mesh.target.url(), &REGIONS);
    mesh.apply(&yaml::file(&REGIONS, &mesh.sink.url(), &[check])).await?;
    let api = mesh.api().await?;
    until::everybody_passes(&api, "checkout").await?;
    Ok((mesh, api))
}

/// Waits until the ballot of a region no longer counts.
async fn stale(api: &Api, region: &str) -> Result<()> {
    wait_until(STALE, &format!("a stale ballot of {region}"), || async {
        let row = api.status("checkout").await?;
        Ok(Look::when(ballot(&row, region)?.stale, brief(&row)))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn one_failing_region_beside_two_dead_probes_is_unknown_and_pages_nobody() -> Result<()> {
    let (mut mesh, api) = mesh_that_is_up().await?;
    mesh.kill_probe("us-east");
    mesh.kill_probe("ap-south");
    mesh.target.refuse();
    for region in ["us-east", "ap-south"] {
        stale(&api, region).await?;
    }
    let row = wait_until(STALE, "a failing ballot of eu-west and `unknown`", || async {
        let row = api.status("checkout").await?;
        let failing = ballot(&row, "eu-west")?.state() == v1::BallotState::Fail;
        let unknown = row.verdict() == v1::Verdict::Unknown;
        Ok(Look::some((failing && unknown).then(|| row.clone()), brief(&row)))
    })
    .await?;
    assert!(!ballot(&row, "eu-west")?.stale, "{}", brief(&row));
    assert!(api.incidents_of("checkout").await?.is_empty());
    assert!(mesh.sink.pages().is_empty(), "{:?}", mesh.sink.pages());
    mesh.told();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_witness_that_dies_does_not_resolve_an_incident() -> Result<()> {
    let (mut mesh, api) = mesh_that_is_up().await?;
    for region in ["eu-west", "us-east"] {
        mesh.target.treat(mesh.source(region), Behaviour::Status(503));
    }
    until::pages(&mesh.sink, "checkout", 1).await?;

    // Now one fails and one passes: enough to say neither down nor up.
    mesh.kill_probe("us-east");
    stale(&api, "us-east").await?;
    until::more_runs(&mesh.target, 20).await?;
    let row = api.status("checkout").await?;
    let verdict = row.verdict();
    assert!(
        matches!(verdict, v1::Verdict::Down | v1::Verdict::Unknown),
        "an open incident shows {verdict:?}: {}",
        brief(&row)
    );
    let incidents = api.incidents_of("checkout").await?;
    assert_eq!(incidents.len(), 1, "{incidents:?}");
    assert!(incidents[0].resolved_at.is_none(), "{incidents:?}");
    assert_eq!(mesh.sink.pages_of("checkout").len(), 1);

    // Two that see it well resolve it, the dead one notwithstanding.
    mesh.target.heal()?;
    wait_until(SOON, "the resolve", || async {
        let pages = mesh.sink.pages_of("checkout");
        Ok(Look::when(pages.len() == 2 && pages[1].kind == "resolved", &pages))
    })
    .await?;
    mesh.told();
    Ok(())
}
