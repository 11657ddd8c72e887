//! Who a member is, from its first moments on: founders that are killed before anything is settled
//! come together all the same, and a machine with another disk is turned away for good.

use std::time::Duration;

use anyhow::{Result, ensure};
use parallax_tests::harness::group::Group;
use parallax_tests::harness::wait::{Look, STALE, wait_until};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// A founder is killed within this of its first start.
const EARLY: Duration = Duration::from_millis(300);
const ROUNDS: u64 = 4;

#[tokio::test(flavor = "multi_thread")]
async fn founders_that_are_killed_in_their_first_moments_form_the_group_when_they_come_back()
-> Result<()> {
    for seed in 0..ROUNDS {
        let mut random = StdRng::seed_from_u64(seed);
        let mut group = Group::prepare(parallax_tests::binaries!(), 3).await?;
        let mut kills: Vec<(Duration, String)> = Vec::new();
        for name in group.names() {
            group.spawn_member(&name)?;
            kills.push((random.random_range(Duration::ZERO..EARLY), name));
        }
        kills.sort();
        // When each dies is the story's input, not something to wait for.
        let mut passed = Duration::ZERO;
        for (at, name) in kills {
            tokio::time::sleep(at - passed).await;
            passed = at;
            group.kill_member(&name)?;
        }
        for name in group.names() {
            group.spawn_member(&name)?;
        }
        let leader = group.leader().await?;
        let yaml = format!("regions: [{{name: round-{seed}}}]\n");
        group.apply(&yaml).await?;
        let names = group.names();
        for name in &names {
            group.check_running(name)?;
            let wanted = [format!("round-{seed}")];
            wait_until(STALE, &format!("{name} to have {wanted:?}, led by {leader}"), || async {
                let there = group.api(name).await?.regions().await?;
                Ok(Look::when(there == wanted, there))
            })
            .await?;
        }
        group.told();
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_with_another_disk_stops_with_its_own_code_and_disturbs_nobody() -> Result<()> {
    let mut group = Group::start(parallax_tests::binaries!(), 3, &[]).await?;
    // Their disks are bound once each has announced itself.
    wait_until(STALE, "every member to have announced itself", || async {
        let text = group.px_ok(&["-o", "json", "cluster", "status"]).await?;
        let seen: serde_json::Value = serde_json::from_str(&text)?;
        let members = seen["members"].as_array().cloned().unwrap_or_default();
        let told = members.iter().filter(|member| member["api_address"].is_string()).count();
        Ok(Look::when(told == 3, text))
    })
    .await?;
    let leader = group.leader().await?;
    let names = group.names();
    let lost = names.iter().find(|name| **name != leader).cloned().unwrap_or_default();
    group.kill_member(&lost)?;
    std::fs::rename(group.data_dir(&lost), group.dir().join("gone"))?;
    group.spawn_member(&lost)?;
    ensure!(group.member_ended(&lost).await? == Some(4), "{}", group.said(&lost)?);
    let said = group.said(&lost)?;
    assert!(said.contains("its node id lives on another disk"), "{said}");
    assert!(said.contains(&format!("remove \"{lost}\", add it again")), "{said}");

    // Asking to be let in under the name of a member that is there is no better.
    std::fs::remove_dir_all(group.data_dir(&lost))?;
    group.set_join(&lost, &leader)?;
    group.spawn_member(&lost)?;
    ensure!(group.member_ended(&lost).await? == Some(4), "{}", group.said(&lost)?);
    assert!(group.said(&lost)?.contains("does not let this member in"));

    // Nobody was disturbed, and the disk that was missed is welcome.
    assert_eq!(group.leader().await?, leader);
    std::fs::remove_dir_all(group.data_dir(&lost))?;
    std::fs::rename(group.dir().join("gone"), group.data_dir(&lost))?;
    group.spawn_member(&lost)?;
    group.apply("regions: [{name: after}]\n").await?;
    wait_until(STALE, "the member to be back", || async {
        let there = group.api(&lost).await?.regions().await?;
        Ok(Look::when(there == ["after"], there))
    })
    .await?;
    group.told();
    Ok(())
}
