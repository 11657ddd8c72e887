//! What one member cannot do, another one does: it answers, it goes on watching, it sends the page.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use parallax_proto::v1;
use parallax_tests::harness::group::Group;
use parallax_tests::harness::until;
use parallax_tests::harness::wait::{Look, SOON, STALE, wait_until};
use parallax_tests::harness::yaml::{self, CheckYaml};
use serde_json::Value;

const REGIONS: [&str; 3] = ["eu-west", "us-east", "ap-south"];
const CHECK: &str = "checkout";
/// Nobody listens on it: port 1 needs rights that no test server has, and no service uses it.
const NOWHERE: &str = "http://127.0.0.1:1/hook";

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_without_a_way_to_a_contact_has_another_member_send_the_page() -> Result<()> {
    let mut group = Group::start(parallax_tests::binaries!(), 3, &REGIONS).await?;
    // The variable that the contact names leads nowhere on one member, as a firewall would have it.
    let mute = group.leader().await?;
    group.set_env(&mute, "PX_HOOK", NOWHERE)?;
    group.set_env(&mute, "PARALLAX_LOG", "info,raft=warn,parallax_coordinator::machine=debug")?;
    group.kill_member(&mute)?;
    group.spawn_member(&mute)?;
    group.member_up(&mute).await?;
    let check = CheckYaml::new(CHECK, &group.target.url(), &REGIONS);
    group.apply(&yaml::file(&REGIONS, "${env:PX_HOOK}", &[check])).await?;
    applied_as_it_was_taken(&group, &mute).await?;
    let number = group.mesh_status(&mute).await?.node_id;
    wait_until(SOON, "the mute member leads", || async {
        let output = group.px(&["cluster", "transfer", &mute]).await?;
        let mesh = group.mesh_status(&mute).await?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        Ok(Look::when(mesh.leader_id == number, said))
    })
    .await?;
    let api = group.api(&mute).await?;
    until::verdict(&api, CHECK, v1::Verdict::Up).await?;
    until::everybody_passes(&api, CHECK).await?;

    group.target.refuse();
    until::pages(&group.sink, CHECK, 1).await?;
    group.target.heal()?;
    let pages = wait_until(STALE, "the page that it is over", || async {
        let pages = group.sink.pages_of(CHECK);
        Ok(Look::some((pages.len() >= 2).then(|| pages.clone()), &pages))
    })
    .await?;
    assert_eq!(pages.iter().map(|page| &page.kind).collect::<Vec<_>>(), ["opened", "resolved"]);
    let incident = wait_until(SOON, "both pages are written down as sent", || async {
        let incident = api.incidents_of(CHECK).await?.into_iter().next().context("no incident")?;
        let sent = |it: &v1::Delivery| it.state() == v1::DeliveryState::Sent;
        let all = incident.deliveries.len() == 2 && incident.deliveries.iter().all(sent);
        Ok(Look::some(all.then(|| incident.clone()), &incident.deliveries))
    })
    .await?;
    let opened = &incident.deliveries[0];
    assert!(opened.handed_over >= 1 && opened.claimed_by != number, "{opened:?}");
    assert!(opened.unreached_by.contains(&number) || opened.handed_over == 1, "{opened:?}");
    // It led all the time: no election carried the page away.
    let mesh = group.mesh_status(&mute).await?;
    assert_eq!(mesh.leader_id, number, "{mesh:?}");
    group.told();
    Ok(())
}

/// Whoever took the configuration says so with the id of the request, and this member, when it has applied
/// it, with the same.
async fn applied_as_it_was_taken(group: &Group, member: &str) -> Result<()> {
    wait_until(SOON, "the request in the logs of two members", || async {
        let mut taken = String::new();
        for name in group.names() {
            taken.push_str(&group.said(&name)?);
        }
        let taken = taken.lines().find(|line| {
            line.contains("a request is carried out") && line.contains("commit_config")
        });
        let id = taken.and_then(|line| line.split("request=").nth(1)?.split(' ').next());
        let log = group.said(member)?;
        let applied = log.lines().filter(|line| line.contains("a request is applied"));
        let found = applied.clone().any(|line| id.is_some_and(|id| line.contains(id)));
        Ok(Look::when(found, format!("{taken:?}: {:?}", applied.collect::<Vec<_>>())))
    })
    .await
}

/// The regions that a watch's log says were created, in the order in which it said so.
fn created(log: &str) -> Vec<String> {
    let changes = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let resources = changes.filter_map(|change| change.get("resource").cloned());
    let created = resources.filter(|it| it["kind"] == "region" && it["change"] == "created");
    created.filter_map(|it| it["name"].as_str().map(str::to_owned)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_goes_on_at_another_member_and_says_each_change_once() -> Result<()> {
    let mut group = Group::start(parallax_tests::binaries!(), 3, &[]).await?;
    let leader = group.leader().await?;
    let mut names = group.names();
    // It watches at the leader first: losing that one is the worst that can happen to it.
    names.sort_by_key(|name| *name != leader);
    let order: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut watch = group.spawn_px("watch", &order, &["-o", "json", "watch"])?;
    let client = "watched";
    let mut number = 0;
    let api = group.api(&names[1]).await?;
    // A watch begins with what comes after it.
    wait_until(SOON, "the watch has begun", || {
        number += 1;
        let (api, log) = (api.clone(), watch.log());
        let name = format!("r{number}");
        async move {
            api.create_region(client, number, &name).await?;
            let log = log?;
            Ok(Look::when(!created(&log).is_empty(), log))
        }
    })
    .await?;
    group.kill_member(&leader)?;
    for _ in 0..20 {
        number += 1;
        let name = format!("r{number}");
        wait_until(SOON, "a write while the others elect", || async {
            // The same request again where the answer was lost.
            let api = group.api(&names[1]).await?;
            Ok(Look::Holds(api.create_region(client, number, &name).await?))
        })
        .await?;
    }
    let last = format!("r{number}");
    let seen = wait_until(SOON, "the watch has seen the last", || {
        let (log, running) = (watch.log(), watch.check_running());
        let last = last.clone();
        async move {
            running?;
            let seen = created(&log?);
            Ok(Look::some(seen.contains(&last).then(|| seen.clone()), &seen))
        }
    })
    .await?;
    let first: u64 = seen[0].trim_start_matches('r').parse()?;
    let wanted: Vec<String> = (first..=number).map(|at| format!("r{at}")).collect();
    assert_eq!(seen, wanted, "{}", watch.log_tail());
    group.told();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn five_members_outlive_the_loss_of_any_two_and_say_so_when_a_third_is_gone() -> Result<()> {
    let mut group = Group::start(parallax_tests::binaries!(), 5, &REGIONS).await?;
    let check = CheckYaml::new(CHECK, &group.target.url(), &REGIONS);
    group.apply(&yaml::file(&REGIONS, "${env:PX_HOOK}", &[check])).await?;
    let mut dead = Vec::new();
    for _ in 0..2 {
        let leader = group.leader().await?;
        group.kill_member(&leader)?;
        dead.push(leader);
    }
    let leader = group.leader().await?;
    let api = group.api(&leader).await?;
    until::verdict(&api, CHECK, v1::Verdict::Up).await?;
    group.target.refuse();
    let pages = until::pages(&group.sink, CHECK, 1).await?;
    assert_eq!((pages.len(), pages[0].kind.as_str()), (1, "opened"), "{pages:?}");
    for number in 1..=5 {
        api.create_region("of three", number, &format!("three-{number}")).await?;
    }

    let third = group.running().into_iter().find(|name| *name != leader).context("three run")?;
    group.kill_member(&third)?;
    let yaml = group.path("fourth.yaml");
    std::fs::write(&yaml, "regions: [{name: unacknowledged}]\n")?;
    let left = group.running();
    let left: Vec<&str> = left.iter().map(String::as_str).collect();
    let refused = group.px_at(&left, &["--retry-for", "1s", "apply", "-f", &yaml]).await?;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(!refused.status.success(), "two of five took a write");
    ensure!(said.contains("leader"), "it does not say why: {said}");

    for name in dead.iter().chain([&third]) {
        group.spawn_member(name)?;
        group.member_up(name).await?;
    }
    group.target.heal()?;
    let pages = until::pages(&group.sink, CHECK, 2).await?;
    assert_eq!(pages[1].kind, "resolved", "{pages:?}");
    let keys: BTreeSet<_> = pages.iter().map(|page| &page.key).collect();
    assert_eq!(keys.len(), pages.len(), "{pages:?}");
    // Everybody has what was written while they were away.
    for name in group.names() {
        let api = group.api(&name).await?;
        wait_until(SOON, "the regions of before", || async {
            let there: BTreeSet<String> = api.regions().await?.into_iter().collect();
            // What was not acknowledged may be there or not: the leader may have written it down.
            let all = (1..=5).all(|number| there.contains(&format!("three-{number}")));
            Ok(Look::when(all, there))
        })
        .await
        .with_context(|| name.clone())?;
    }
    group.told();
    Ok(())
}
