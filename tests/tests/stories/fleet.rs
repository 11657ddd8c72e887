//! Probes come and go: another one takes over, and a region without any is said once.

use anyhow::Result;
use parallax_proto::v1;
use parallax_tests::harness::client::brief;
use parallax_tests::harness::mesh::Mesh;
use parallax_tests::harness::until;
use parallax_tests::harness::wait::{Look, STALE, wait_until};
use parallax_tests::harness::yaml::{self, CheckYaml};

const REGIONS: [&str; 3] = ["eu-west", "us-east", "ap-south"];

/// So many that neither of two probes is left without any, but once in ten million runs.
const CHECKS: u32 = 24;

#[tokio::test(flavor = "multi_thread")]
async fn a_second_probe_takes_over_what_a_dead_one_ran_and_nobody_is_paged() -> Result<()> {
    let mut mesh = Mesh::start(parallax_tests::binaries!(), &REGIONS).await?;
    mesh.issue_probe("eu-spare", "eu-west").await?;
    let spare = mesh.probe_process("eu-spare", "127.0.20.1")?;
    let api = mesh.api().await?;
    let names: Vec<String> = (0..CHECKS).map(|n| format!("check-{n}")).collect();
    let check = |name: &String| CheckYaml {
        interval: "1s".to_owned(),
        ..CheckYaml::new(name, &mesh.target.url(), &REGIONS)
    };
    let checks: Vec<CheckYaml> = names.iter().map(check).collect();
    mesh.apply(&yaml::file(&REGIONS, &mesh.sink.url(), &checks)).await?;
    for name in &names {
        until::everybody_passes(&api, name).await?;
    }
    // Rendezvous hashing gives each of the two about half of the checks; which, nobody chose.
    let mut of_the_dead = Vec::new();
    for name in &names {
        let row = api.status(name).await?;
        if row.ballots[0].probe == "eu-west" {
            of_the_dead.push(name);
        }
    }
    assert!(!of_the_dead.is_empty(), "the probe that is to die runs nothing");

    mesh.kill_probe("eu-west");
    wait_until(STALE, "the spare probe runs everything", || async {
        let probe = api.probe("eu-spare").await?;
        Ok(Look::when(probe.checks == CHECKS, probe.checks))
    })
    .await?;
    for name in of_the_dead {
        wait_until(STALE, "a vote of the spare probe", || async {
            let row = api.status(name).await?;
            let ballot = &row.ballots[0];
            let votes = ballot.probe == "eu-spare" && ballot.state() == v1::BallotState::Pass;
            Ok(Look::when(votes && !ballot.stale, brief(&row)))
        })
        .await?;
        let row = api.status(name).await?;
        assert_eq!(row.verdict(), v1::Verdict::Up, "{}", brief(&row));
    }
    assert_eq!(api.probe("eu-west").await?.state(), v1::ProbeState::Lost);
    assert!(mesh.sink.pages().is_empty(), "{:?}", mesh.sink.pages());
    drop(spare);
    mesh.told();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_region_is_one_page_and_one_resolve_and_no_verdict() -> Result<()> {
    let mut mesh = Mesh::start(parallax_tests::binaries!(), &REGIONS).await?;
    let checks: Vec<CheckYaml> = ["one", "two", "three"]
        .iter()
        .map(|name| CheckYaml::new(name, &mesh.target.url(), &REGIONS))
        .collect();
    let yaml = yaml::file(&REGIONS, &mesh.sink.url(), &checks);
    mesh.apply(&format!("{yaml}mesh: {{alert: [ops]}}\n")).await?;
    let api = mesh.api().await?;
    for check in &checks {
        until::everybody_passes(&api, &check.name).await?;
    }
    mesh.kill_probe("ap-south");
    let opened = wait_until(STALE, "the page about the silent region", || async {
        let pages = mesh.sink.pages();
        Ok(Look::some(pages.first().cloned(), &pages))
    })
    .await?;
    assert_eq!(opened.kind, "opened", "{opened:?}");
    assert_eq!(opened.body["incident"]["kind"], "region_silent", "{}", opened.body);
    assert_eq!(opened.body["incident"]["region"], "ap-south", "{}", opened.body);

    mesh.start_probe("ap-south")?;
    let pages = wait_until(STALE, "the page that says it is back", || async {
        let pages = mesh.sink.pages();
        Ok(Look::some((pages.len() >= 2).then(|| pages.clone()), &pages))
    })
    .await?;
    assert_eq!(pages.len(), 2, "{pages:?}");
    assert_eq!(pages[1].kind, "resolved", "{pages:?}");
    for check in &checks {
        let row = api.status(&check.name).await?;
        assert_eq!(row.verdict(), v1::Verdict::Up, "{}", brief(&row));
        assert!(api.incidents_of(&check.name).await?.is_empty());
    }
    mesh.told();
    Ok(())
}
