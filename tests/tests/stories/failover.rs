//! Three coordinators, and the one that leads is killed: writes go on through any endpoint, what is
//! open stays open, nobody is paged twice and nothing is lost.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use parallax_proto::v1;
use parallax_tests::harness::client::brief;
use parallax_tests::harness::group::Group;
use parallax_tests::harness::until;
use parallax_tests::harness::wait::{Look, STALE, wait_until};
use parallax_tests::harness::yaml::{self, CheckYaml};

const REGIONS: [&str; 3] = ["eu-west", "us-east", "ap-south"];
const CHECK: &str = "checkout";

/// A group that looks at its target every 200 ms from three regions, and all is well.
async fn well(coordinators: u8) -> Result<Group> {
    let group = Group::start(parallax_tests::binaries!(), coordinators, &REGIONS).await?;
    let check = CheckYaml::new(CHECK, &group.target.url(), &REGIONS);
    group.apply(&yaml::file(&REGIONS, "${env:PX_HOOK}", &[check])).await?;
    for name in group.names() {
        let api = group.api(&name).await?;
        until::verdict(&api, CHECK, v1::Verdict::Up).await?;
        until::everybody_passes(&api, CHECK).await.with_context(|| format!("at {name}"))?;
    }
    Ok(group)
}

/// Kills the leader; returns its name and that of the next one.
async fn depose(group: &mut Group) -> Result<(String, String)> {
    let old = group.leader().await?;
    group.kill_member(&old)?;
    let new = group.leader().await?;
    ensure!(old != new, "{old} was killed and leads");
    Ok((old, new))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_incident_outlives_its_leader_and_is_paged_once_and_resolved_once() -> Result<()> {
    let mut group = well(3).await?;
    group.target.refuse();
    let opened = until::pages(&group.sink, CHECK, 1).await?.remove(0);
    assert_eq!(opened.kind, "opened");
    let leader = group.leader().await?;
    let before = group.api(&leader).await?.verdict(CHECK).await?;
    assert_eq!(before.verdict(), v1::Verdict::Down, "{before:?}");

    let (old, new) = depose(&mut group).await?;
    let api = group.api(&new).await?;
    wait_until(STALE, "the new leader's own view of every region", || async {
        let row = api.status(CHECK).await?;
        let failing = row.ballots.iter().filter(|b| b.state() == v1::BallotState::Fail && !b.stale);
        Ok(Look::when(failing.count() == REGIONS.len(), brief(&row)))
    })
    .await?;
    let after = api.verdict(CHECK).await?;
    assert_eq!((after.sequence, &after.incident_uid), (before.sequence, &before.incident_uid));

    group.spawn_member(&old)?;
    group.member_up(&old).await?;
    group.target.heal()?;
    until::verdict(&api, CHECK, v1::Verdict::Up).await?;
    let pages = until::pages(&group.sink, CHECK, 2).await?;
    assert_eq!(pages.iter().map(|page| &page.kind).collect::<Vec<_>>(), ["opened", "resolved"]);
    // The one that was dead has caught up and says the same.
    until::verdict(&group.api(&old).await?, CHECK, v1::Verdict::Up).await?;
    let keys: BTreeSet<&String> = pages.iter().map(|page| &page.key).collect();
    assert_eq!(keys.len(), pages.len(), "{pages:?}");
    assert_eq!(api.incidents_of(CHECK).await?.len(), 1);
    group.told();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_moves_no_verdict_pages_nobody_and_misses_no_run() -> Result<()> {
    let mut group = well(3).await?;
    let leader = group.leader().await?;
    let api = group.api(&leader).await?;
    let before = api.verdict(CHECK).await?;
    let mut missed = Vec::new();
    for region in REGIONS {
        missed.push(api.probe(region).await?.missed);
    }
    let (_, new) = depose(&mut group).await?;
    // 15 runs a second: longer than the grace of a new leader. Whatever it would get wrong, it has
    // had the time to.
    until::more_runs(&group.target, 170).await?;
    let api = group.api(&new).await?;
    let after = api.verdict(CHECK).await?;
    assert_eq!(after.sequence, before.sequence, "{after:?}");
    assert_eq!(after.verdict(), v1::Verdict::Up);
    for (region, missed) in REGIONS.into_iter().zip(missed) {
        let probe = api.probe(region).await?;
        assert_eq!((probe.missed, probe.state()), (missed, v1::ProbeState::Live), "{region}");
    }
    assert!(group.sink.pages().is_empty(), "{:?}", group.sink.pages());
    group.told();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_that_begins_while_nobody_leads_is_paged_once() -> Result<()> {
    let mut group = well(3).await?;
    let leader = group.leader().await?;
    group.kill_member(&leader)?;
    group.target.refuse();
    let pages = until::pages(&group.sink, CHECK, 1).await?;
    assert_eq!((pages.len(), pages[0].kind.as_str()), (1, "opened"), "{pages:?}");
    let new = group.leader().await?;
    let api = group.api(&new).await?;
    until::verdict(&api, CHECK, v1::Verdict::Down).await?;
    group.target.heal()?;
    let pages = until::pages(&group.sink, CHECK, 2).await?;
    assert_eq!(pages[1].kind, "resolved");
    assert_eq!(api.incidents_of(CHECK).await?.len(), 1);
    group.told();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn any_endpoint_takes_a_write_and_every_other_one_shows_it_at_once() -> Result<()> {
    let mut group = Group::start(parallax_tests::binaries!(), 3, &[]).await?;
    let leader = group.leader().await?;
    let names = group.names();
    let mut number = 0;
    for writer in &names {
        number += 1;
        let region = format!("through-{writer}");
        let api = group.api(writer).await?;
        let revision = api.create_region("client", number, &region).await?;
        for reader in &names {
            let there = group.api(reader).await?.regions().await?;
            assert!(
                there.contains(&region),
                "{reader} does not show what {writer} took: {there:?}"
            );
        }
        // The same request again, at another endpoint, is answered and not done again.
        let other = names.iter().find(|name| *name != writer).context("three coordinators")?;
        let again = group.api(other).await?.create_region("client", number, &region).await?;
        assert_eq!(again, revision);
    }
    // A command line that knows a dead endpoint first does not bother its user with it.
    let followers: Vec<&str> =
        names.iter().map(String::as_str).filter(|name| *name != leader).collect();
    group.kill_member(&leader)?;
    let through: Vec<&str> = [leader.as_str()].into_iter().chain(followers).collect();
    let yaml = group.path("one.yaml");
    std::fs::write(&yaml, "regions: [{name: after}]\n")?;
    let output = group.px_at(&through, &["apply", "-f", &yaml]).await?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let list = group.px_at(&through, &["region", "list"]).await?;
    assert!(String::from_utf8_lossy(&list.stdout).contains("after"));
    group.told();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_three_takes_no_write_says_why_and_still_shows_what_it_knows() -> Result<()> {
    let mut group = Group::start(parallax_tests::binaries!(), 3, &["eu-west"]).await?;
    group.apply("regions: [{name: eu-west}, {name: known}]\n").await?;
    let leader = group.leader().await?;
    let names = group.names();
    let left = names.iter().find(|name| **name != leader).context("three coordinators")?;
    for name in names.iter().filter(|name| *name != left) {
        group.kill_member(name)?;
    }
    let yaml = group.path("lost.yaml");
    std::fs::write(&yaml, "regions: [{name: eu-west}, {name: known}, {name: lost}]\n")?;
    let refused = group.px_at(&[left], &["--retry-for", "1s", "apply", "-f", &yaml]).await?;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("leader"), "{said}");
    let shown = group.px_at(&[left], &["region", "list", "--stale"]).await?;
    let listed = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(listed.contains("known") && !listed.contains("lost"), "{listed}");
    // With a quorum again it goes on as if nothing had been.
    group.spawn_member(&leader)?;
    let output = group.px(&["apply", "-f", &yaml]).await?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    group.told();
    Ok(())
}
