//! (i) A first failure is confirmed at once by every region, whoever joined the mesh after whom.

use std::time::Duration;

use anyhow::Result;
use parallax_proto::v1;
use parallax_tests::harness::client::brief;
use parallax_tests::harness::mesh::Mesh;
use parallax_tests::harness::wait::{Look, SOON, wait_until};
use parallax_tests::harness::yaml::{self, CheckYaml};

const REGIONS: [&str; 3] = ["eu-west", "us-east", "ap-south"];

/// A probe that joins moves the plan on for everybody, also for those whose work stays the same.
/// The orders that follow name that plan; the probes that joined before must obey them.
#[tokio::test(flavor = "multi_thread")]
async fn probes_that_joined_one_after_the_other_all_confirm() -> Result<()> {
    let mut mesh =
        Mesh::coordinator_alone(parallax_tests::binaries!(), &REGIONS, Duration::ZERO).await?;
    // By its schedule alone, two fails in a row from two regions take at least 26 s: longer than
    // anything here waits.
    let check = CheckYaml {
        interval: "20s".to_owned(),
        ..CheckYaml::new("checkout", &mesh.target.url(), &REGIONS)
    };
    mesh.apply(&yaml::file(&REGIONS, "${env:PX_HOOK}", &[check])).await?;
    let api = mesh.api().await?;
    for (before, region) in REGIONS.iter().enumerate() {
        mesh.issue_probe(region, region).await?;
        mesh.start_probe(region)?;
        wait_until(SOON, &format!("a vote of {region}"), || async {
            let row = api.status("checkout").await?;
            let passing = row.ballots.iter().filter(|b| b.state() == v1::BallotState::Pass);
            Ok(Look::when(passing.count() == before + 1, brief(&row)))
        })
        .await?;
    }
    mesh.target.refuse();
    wait_until(SOON, "a page", || async {
        let pages = mesh.sink.pages_of("checkout");
        Ok(Look::when(pages.len() == 1, &pages))
    })
    .await?;
    mesh.told();
    Ok(())
}
