//! (lo) Somebody asks for a look from everywhere, while one region's probe is gone.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use parallax_proto::v1;
use parallax_tests::harness::client::brief;
use parallax_tests::harness::mesh::Mesh;
use parallax_tests::harness::wait::{Look, SOON, wait_until};
use parallax_tests::harness::yaml::{self, CheckYaml};

const REGIONS: [&str; 3] = ["eu-west", "us-east", "ap-south"];

/// The id of the request that a line of a log is about.
fn id(line: &str) -> Result<String> {
    let after = line.split("request=\"").nth(1).with_context(|| format!("no request in {line}"))?;
    Ok(after.split('"').next().unwrap_or_default().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_shows_every_region_and_moves_no_verdict() -> Result<()> {
    let mut mesh =
        Mesh::coordinator_alone(parallax_tests::binaries!(), &REGIONS, Duration::ZERO).await?;
    // A slot while this lasts would vote: it comes in one of some thousand runs.
    let check = CheckYaml {
        interval: "24h".to_owned(),
        ..CheckYaml::new("checkout", &mesh.target.url(), &REGIONS)
    };
    mesh.apply(&yaml::file(&REGIONS, "${env:PX_HOOK}", &[check])).await?;
    let api = mesh.api().await?;
    mesh.set_env("PARALLAX_LOG", "info,parallax_probe=debug");
    for region in REGIONS {
        mesh.issue_probe(region, region).await?;
        mesh.start_probe(region)?;
    }
    wait_until(SOON, "a vote of each region", || async {
        let row = api.status("checkout").await?;
        let passing = row.ballots.iter().filter(|b| b.state() == v1::BallotState::Pass);
        let decided = row.verdict() == v1::Verdict::Up;
        Ok(Look::when(decided && passing.count() == 3, brief(&row)))
    })
    .await?;
    let before = api.verdict("checkout").await?.sequence;

    let run = ["check", "run", "checkout", "-o", "json"];
    let shown = mesh.px_json(&run[..3]).await?;
    let looks = shown["looks"].as_array().cloned().unwrap_or_default();
    ensure!(looks.len() == 3, "{shown}");
    for look in &looks {
        ensure!(look["outcome"] == "pass" && look["total"].is_string(), "{shown}");
    }
    // Who reads the logs finds the request at both ends.
    let log = mesh.coordinator_log()?;
    let asked = log.lines().find(|line| line.contains("a check is run on demand"));
    let request = id(asked.context("the coordinator says nothing of it")?)?;
    let begun = mesh.probe_log("eu-west")?;
    let begun = begun.lines().find(|line| line.contains("a look begins")).map(str::to_owned);
    ensure!(begun.as_deref().is_some_and(|line| line.contains(&request)), "{request}: {begun:?}");
    // And by the id that a refusal shows, what was asked for.
    let refused = mesh.px(&["probe", "drain", "eu-west"]).await?;
    let err = String::from_utf8_lossy(&refused.stderr).into_owned();
    let shown = err.lines().find_map(|line| line.trim().strip_prefix("request: "));
    let shown = shown.with_context(|| format!("no request id in {err}"))?;
    let log = mesh.coordinator_log()?;
    let line = log.lines().find(|line| line.contains("a request is refused"));
    let line = line.context("the coordinator says nothing of the refusal")?;
    ensure!(id(line)? == shown && line.contains("last_probe"), "{shown}: {line}");
    // A failure that somebody asked for is nobody's vote.
    mesh.target.refuse();
    mesh.kill_probe("ap-south");
    let answer = mesh.px(&run).await?;
    let shown: serde_json::Value = serde_json::from_slice(&answer.stdout)?;
    let of = |region: &str| shown["looks"].as_array()?.iter().find(|it| it["region"] == region);
    ensure!(answer.status.code() == Some(1), "{answer:?}");
    for region in ["eu-west", "us-east"] {
        let reason = of(region).map(|look| &look["reason"]);
        ensure!(reason == Some(&"connect_refused".into()), "{shown}");
    }
    let gone = of("ap-south").map(|look| &look["ending"]);
    ensure!(gone == Some(&"no_answer".into()), "{shown}");
    let row = api.status("checkout").await?;
    let failing = row.ballots.iter().any(|ballot| ballot.state() == v1::BallotState::Fail);
    ensure!(!failing, "{}", brief(&row));
    ensure!(api.verdict("checkout").await?.sequence == before, "a look moved the verdict");
    ensure!(mesh.sink.pages_of("checkout").is_empty(), "a look has paged");

    // What cannot be is said, and why.
    let table: [(&[&str], &str); 3] = [
        (
            &["check", "run", "checkout", "--region", "mars"],
            "it looks from eu-west, us-east, ap-south",
        ),
        (&["check", "run", "chekout"], "chekout does not exist"),
        (&["check", "run", "checkout", "--namespace", "other"], "does not exist"),
    ];
    for (line, said) in table {
        let answer = mesh.px(line).await?;
        let err = String::from_utf8_lossy(&answer.stderr).into_owned();
        ensure!(!answer.status.success() && err.contains(said), "{line:?}: {err}");
    }
    let paused =
        CheckYaml { enabled: false, ..CheckYaml::new("checkout", &mesh.target.url(), &REGIONS) };
    mesh.apply(&yaml::file(&REGIONS, "${env:PX_HOOK}", &[paused])).await?;
    let answer = mesh.px(&run).await?;
    let err = String::from_utf8_lossy(&answer.stderr).into_owned();
    ensure!(answer.status.code() == Some(1) && err.contains("is paused"), "{err}");
    mesh.told();
    Ok(())
}
