//! (b) Four regions that disagree two against two: a state, not a pendulum.

use anyhow::Result;
use parallax_proto::v1;
use parallax_tests::harness::client::brief;
use parallax_tests::harness::mesh::Mesh;
use parallax_tests::harness::target::Behaviour;
use parallax_tests::harness::until;
use parallax_tests::harness::wait::{Look, SOON, wait_until};
use parallax_tests::harness::yaml::{self, CheckYaml};

const REGIONS: [&str; 4] = ["eu-west", "us-east", "us-west", "ap-south"];

/// Runs that each region must have seen while nothing may change.
const INTERVALS: u64 = 50;

#[tokio::test(flavor = "multi_thread")]
async fn two_against_two_for_fifty_intervals_does_not_flap() -> Result<()> {
    let mesh = Mesh::start(parallax_tests::binaries!(), &REGIONS).await?;
    let check = CheckYaml::new("checkout", &mesh.target.url(), &REGIONS);
    mesh.apply(&yaml::file(&REGIONS, &mesh.sink.url(), &[check])).await?;
    let api = mesh.api().await?;
    until::everybody_passes(&api, "checkout").await?;

    for region in ["eu-west", "us-east"] {
        mesh.target.treat(mesh.source(region), Behaviour::Status(503));
    }
    let settled = wait_until(SOON, "two failing ballots and `degraded`", || async {
        let row = api.status("checkout").await?;
        let failing = row.ballots.iter().filter(|b| b.state() == v1::BallotState::Fail);
        let split = failing.count() == 2 && row.verdict() == v1::Verdict::Degraded;
        Ok(Look::some(split.then(|| row.clone()), brief(&row)))
    })
    .await?;

    let seen = |region: &str| mesh.target.requests_from(mesh.source(region));
    let goals: Vec<u64> = REGIONS.iter().map(|region| seen(region) + INTERVALS).collect();
    wait_until(4 * SOON, "fifty intervals in every region", || async {
        let row = api.status("checkout").await?;
        // Not a look but a law: at no moment may it be anything else.
        assert_eq!(row.verdict(), v1::Verdict::Degraded, "{}", brief(&row));
        let counts: Vec<u64> = REGIONS.iter().map(|region| seen(region)).collect();
        Ok(Look::when(counts.iter().zip(&goals).all(|(seen, goal)| seen >= goal), counts))
    })
    .await?;

    let row = api.status("checkout").await?;
    assert_eq!(row.since, settled.since, "the verdict changed and came back: {}", brief(&row));
    assert!(api.incidents_of("checkout").await?.is_empty());
    assert!(mesh.sink.pages().is_empty(), "{:?}", mesh.sink.pages());
    mesh.told();
    Ok(())
}
