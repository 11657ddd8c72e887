//! A check that points where its probes may not connect: told to its owner, connected to by nobody,
//! and no outage.

use std::io::ErrorKind;
use std::net::TcpListener;
use std::time::Duration;

use anyhow::Result;
use parallax_proto::v1;
use parallax_tests::harness::mesh::Mesh;
use parallax_tests::harness::until;
use parallax_tests::harness::wait::{Look, SOON, wait_until};
use parallax_tests::harness::yaml::{self, CheckYaml};

const REGIONS: [&str; 2] = ["eu-west", "us-east"];

/// Runs of each region that were not made, while nothing else may happen.
const MISSED: u64 = 40;

#[tokio::test(flavor = "multi_thread")]
async fn a_denied_target_is_its_owners_to_mend_and_no_outage() -> Result<()> {
    // Stands for something inside that the operator of the probes keeps out.
    let trap = TcpListener::bind("127.66.0.1:0")?;
    trap.set_nonblocking(true)?;
    let inside = format!("http://{}/", trap.local_addr()?);
    let mut mesh =
        Mesh::coordinator_alone(parallax_tests::binaries!(), &REGIONS, Duration::ZERO).await?;
    mesh.set_env("PARALLAX_DENY_NETWORK", "127.66.0.0/16,10.66.0.0/16");
    for region in REGIONS {
        mesh.issue_probe(region, region).await?;
        mesh.start_probe(region)?;
    }
    let checks = [
        CheckYaml::new("checkout", &mesh.target.url(), &REGIONS),
        CheckYaml::new("metadata", "http://169.254.169.254/latest/meta-data/", &REGIONS),
        CheckYaml::new("inside", &inside, &REGIONS),
    ];
    mesh.apply(&yaml::file(&REGIONS, &mesh.sink.url(), &checks)).await?;
    let api = mesh.api().await?;
    until::everybody_passes(&api, "checkout").await?;

    for (check, why) in [
        ("metadata", "169.254.169.254/32 (cloud metadata), denied by default; --allow-network"),
        ("inside", "127.66.0.0/16, denied by --deny-network of this probe; --allow-network"),
    ] {
        let told = wait_until(SOON, "both regions to say why", || async {
            let said = mesh.px_ok(&["check", "explain", check]).await?;
            let both = said.contains("eu-west and us-east cannot run it: address_denied");
            Ok(Look::some(both.then(|| said.clone()), said))
        })
        .await?;
        assert!(told.contains(why), "{told}");
    }

    wait_until(4 * SOON, "many runs that were not made", || async {
        let missed = [api.probe("eu-west").await?.missed, api.probe("us-east").await?.missed];
        Ok(Look::when(missed.iter().all(|count| *count >= MISSED), missed))
    })
    .await?;
    for check in ["metadata", "inside"] {
        let row = api.status(check).await?;
        assert_eq!(row.verdict(), v1::Verdict::Unknown, "{row:?}");
        for ballot in &row.ballots {
            assert_eq!(ballot.reason(), v1::Reason::AddressDenied, "{row:?}");
        }
        assert!(api.incidents_of(check).await?.is_empty());
    }
    assert!(mesh.sink.pages().is_empty(), "{:?}", mesh.sink.pages());
    let nobody = trap.accept().map(|(_, from)| from);
    assert_eq!(nobody.map_err(|error| error.kind()), Err(ErrorKind::WouldBlock));
    assert_eq!(api.status("checkout").await?.verdict(), v1::Verdict::Up);
    mesh.told();
    Ok(())
}
