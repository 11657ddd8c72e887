//! A leader that is told to stop hands over first: nobody waits for an election, nothing is lost,
//! and nobody is paged twice.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result, ensure};
use parallax_proto::v1;
use parallax_runtime::clock;
use parallax_runtime::supervisor::{Supervisor, TaskKind};
use parallax_tests::harness::group::Group;
use parallax_tests::harness::roaming::{Acknowledged, nothing_lost, write_forever};
use parallax_tests::harness::until;
use parallax_tests::harness::wait::{Look, STALE, wait_until};
use parallax_tests::harness::yaml::{self, CheckYaml};

const REGIONS: [&str; 3] = ["eu-west", "us-east", "ap-south"];
const CHECK: &str = "checkout";
const HANDED: &str = "handed the leadership over";

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_stops_hands_over_and_writes_and_pages_go_on() -> Result<()> {
    let mut group = Group::start(parallax_tests::binaries!(), 3, &REGIONS).await?;
    let check = CheckYaml::new(CHECK, &group.target.url(), &REGIONS);
    group.apply(&yaml::file(&REGIONS, "${env:PX_HOOK}", &[check])).await?;
    let leader = group.leader().await?;
    until::verdict(&group.api(&leader).await?, CHECK, v1::Verdict::Up).await?;
    group.target.refuse();
    until::pages(&group.sink, CHECK, 1).await?;

    let (known, writer) = (Arc::new(Mutex::new(Acknowledged::default())), Supervisor::default());
    let endpoints = group
        .names()
        .iter()
        .map(|name| Ok(group.addresses(name)?.api.to_string()))
        .collect::<Result<Vec<_>>>()?;
    let (tls, stop, written) = (group.tls("anna"), writer.stop_token(), Arc::clone(&known));
    writer.spawn(TaskKind::Vital("writer"), async move {
        tokio::select! {
            () = stop.cancelled() => {}
            () = write_forever(endpoints, tls, 5, "w", written) => {}
        }
    });
    for round in 1..=3 {
        let old = settled(&mut group, &known).await?;
        let before = group.mesh_status(&old).await?;
        let told = group.said(&old)?.matches(HANDED).count();
        let at = clock::instant();
        group.terminate_member(&old)?;
        ensure!(group.member_ended(&old).await? == Some(0), "{old} did not stop well");
        ensure!(
            group.said(&old)?.matches(HANDED).count() == told + 1,
            "round {round}: {old} did not hand over"
        );
        let next = group.leader().await?;
        let after = group.mesh_status(&next).await?;
        // One vote, called for by the old leader: nobody had to miss it first.
        assert_eq!(after.term, before.term + 1, "round {round}, from {old} to {next}");
        wait_until(STALE, "a write", || async {
            let known = known.lock().unwrap_or_else(PoisonError::into_inner);
            Ok(Look::some(known.first_begun_after(at), &known.refused))
        })
        .await?;
        group.spawn_member(&old)?;
        group.member_up(&old).await?;
    }
    group.target.heal()?;
    let pages = until::pages(&group.sink, CHECK, 2).await?;
    let kinds: Vec<&str> = pages.iter().map(|page| page.kind.as_str()).collect();
    assert_eq!(kinds, ["opened", "resolved"], "{pages:?}");
    let keys: BTreeSet<&String> = pages.iter().map(|page| &page.key).collect();
    assert_eq!(keys.len(), pages.len(), "{pages:?}");
    writer.stop();
    ensure!(writer.join(STALE).await && !writer.failed(), "the writer failed");
    let names = known.lock().unwrap_or_else(PoisonError::into_inner).names.clone();
    for member in group.names() {
        let there = group.api(&member).await?.regions().await?;
        nothing_lost(&names, &there).with_context(|| format!("at {member}"))?;
    }
    group.told();
    Ok(())
}

/// Waits until all follow one leader, which has heard both others, and writes go through.
async fn settled(group: &mut Group, known: &Mutex<Acknowledged>) -> Result<String> {
    let leader = group.leader().await?;
    let begun = clock::instant();
    let group = &*group;
    wait_until(STALE, "every member follows the leader", || async {
        let lead = group.mesh_status(&leader).await?;
        for name in group.names() {
            let mesh = group.mesh_status(&name).await?;
            if mesh.leader_id != lead.node_id {
                return Ok(Look::NotYet(format!("{name} follows {}", mesh.leader_id)));
            }
        }
        let known = known.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Look::some(known.first_begun_after(begun).map(drop), &known.refused))
    })
    .await?;
    Ok(leader)
}
