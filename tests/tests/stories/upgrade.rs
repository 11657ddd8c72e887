//! Builds of two levels in one group: the older one stands still where the newer ones go on, makes
//! the majority all the same, says what to do, and goes on after its upgrade.

use anyhow::{Context as _, Result, ensure};
use parallax_tests::harness::group::Group;
use parallax_tests::harness::http;
use parallax_tests::harness::wait::{Look, STALE, wait_until};

const ADVICE: &str = "install the newer build on this member";

/// Restarts a member as a build of this level, and waits until all have one leader again.
async fn restart_as(group: &mut Group, name: &str, level: u32) -> Result<()> {
    if group.running().contains(&name.to_owned()) {
        group.terminate_member(name)?;
        ensure!(group.member_ended(name).await? == Some(0), "{name} did not stop well");
    }
    group.set_level(name, level)?;
    group.spawn_member(name)?;
    group.member_up(name).await
}

/// Kills a member whose row says that it has this level. Of one that answers, others show what it
/// says itself; so it has to stand still while somebody looks.
async fn kill_announced(group: &mut Group, at: &str, name: &str, level: u32) -> Result<()> {
    let seen_by = &*group;
    wait_until(STALE, &format!("the row of {name} to say level {level}"), || async {
        seen_by.pause_member(name)?;
        let text = seen_by.px_at(&[at], &["-o", "json", "cluster", "status"]).await?;
        let seen: serde_json::Value = serde_json::from_slice(&text.stdout)?;
        let members = seen["members"].as_array().context("no members")?;
        let row = members.iter().find(|member| member["name"] == name).context("no row")?;
        let holds = row["level"] == level && row["reached"] == false;
        if !holds {
            seen_by.resume_member(name)?;
        }
        Ok(Look::when(holds, row))
    })
    .await?;
    group.kill_member(name)
}

async fn cluster_level(group: &Group, at: &str) -> Result<u64> {
    let text = group.px_at(&[at], &["-o", "json", "cluster", "status"]).await?;
    let seen: serde_json::Value = serde_json::from_slice(&text.stdout)?;
    seen["level"].as_u64().context("no level")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_build_stands_still_makes_the_majority_and_goes_on_after_its_upgrade() -> Result<()>
{
    let mut group = Group::prepare(parallax_tests::binaries!(), 3).await?;
    for name in group.names() {
        group.set_level(&name, 1)?;
        group.spawn_member(&name)?;
    }
    group.leader().await?;
    group.apply("regions: [{name: before}]\n").await?;
    // c3 has said that it understands level 2, and is away when the last of the others does.
    restart_as(&mut group, "c3", 2).await?;
    restart_as(&mut group, "c1", 2).await?;
    group.leader().await?;
    ensure!(cluster_level(&group, "c1").await? == 1, "c2 does not understand level 2");
    kill_announced(&mut group, "c1", "c3", 2).await?;
    restart_as(&mut group, "c2", 2).await?;
    wait_until(STALE, "level 2", || async {
        let level = cluster_level(&group, "c1").await?;
        Ok(Look::when(level == 2, level))
    })
    .await?;
    // Somebody has put the older build back in its place.
    restart_as(&mut group, "c3", 1).await?;
    let still = wait_until(STALE, "c3 to stand still", || async {
        let mesh = group.mesh_status("c3").await?;
        Ok(Look::some((!mesh.stands_still.is_empty()).then_some(mesh.clone()), mesh))
    })
    .await?;
    assert!(still.stands_still.contains(ADVICE), "{}", still.stands_still);
    group.check_running("c3")?;
    let ready = http::get(&group.addresses("c3")?.public.to_string(), "/readyz").await?;
    assert!(ready.status == 503 && ready.body.contains(ADVICE), "{}", ready.body);
    assert!(group.said("c3")?.contains(ADVICE));
    let table = group.px_at(&["c1"], &["cluster", "status"]).await?;
    let told = String::from_utf8_lossy(&table.stdout).into_owned()
        + &String::from_utf8_lossy(&table.stderr);
    assert!(told.contains("stands still") && told.contains(ADVICE), "{told}");

    // Of the two that are left each is needed, and only one may lead.
    group.kill_member("c1")?;
    let api = group.api("c2").await?;
    let write = wait_until(STALE, "a write that c3 acknowledges", || async {
        let written = api.create_region("anna", 1, "needs-c3").await;
        Ok(Look::some(written.as_ref().ok().copied(), format!("{written:?}")))
    });
    let revision = write.await?;
    let leads = group.mesh_status("c2").await?;
    assert_eq!(leads.leader_id, leads.node_id, "only c2 understands what it decides by");
    let stays = group.mesh_status("c3").await?;
    assert!(stays.applied == still.applied && stays.applied < revision, "{stays:?}");
    let api = group.api("c3").await?;
    let refused = api.regions().await.unwrap_err();
    assert!(format!("{refused:#}").contains(ADVICE), "{refused:#}");
    // An apply is planned from the newest state.
    let refused = api.create_region("anna", 2, "through-c3").await.unwrap_err();
    assert!(format!("{refused:#}").contains(ADVICE), "{refused:#}");
    // A command line that knows another endpoint does not bother its user with it.
    let listed = group.px_at(&["c3", "c2"], &["region", "list"]).await?;
    assert!(String::from_utf8_lossy(&listed.stdout).contains("needs-c3"), "{listed:?}");
    let known = group.px_at(&["c3"], &["region", "list", "--stale"]).await?;
    let known = String::from_utf8_lossy(&known.stdout).into_owned();
    assert!(known.contains("before") && !known.contains("needs-c3"), "{known}");

    restart_as(&mut group, "c3", 2).await?;
    wait_until(STALE, "c3 to have it all", || async {
        let regions = group.api("c3").await?.regions().await?;
        Ok(Look::when(regions.contains(&"needs-c3".to_owned()), regions))
    })
    .await?;
    assert!(group.mesh_status("c3").await?.stands_still.is_empty());
    group.told();
    Ok(())
}
