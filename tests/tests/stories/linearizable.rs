//! What clients of a real group saw fits one order; and what they would see without asking a leader
//! does not, which the checker says.

use anyhow::{Context as _, Result, ensure};
use parallax_tests::harness::group::Group;
use parallax_tests::harness::recorder::{Client, Recorder};
use parallax_tests::harness::wait::{Look, STALE, wait_until};

/// A group of three that have all applied one write, of which one then misses another, and is alone
/// afterwards. Returns it and its name.
async fn left_behind(
    group: &mut Group,
    recorder: &Recorder,
    key: &str,
) -> Result<(Client, String)> {
    let leader = group.leader().await?;
    let behind = group.names().into_iter().find(|name| *name != leader).context("a follower")?;
    let endpoint = |name: &str| Ok::<_, anyhow::Error>(group.addresses(name)?.api.to_string());
    let tls = group.tls("anna");
    let mut writer = recorder.client(1, vec![endpoint(&leader)?], &tls, 7);
    let reader = recorder.client(2, vec![endpoint(&behind)?], &tls, 7);
    writer.write(key).await;
    // Answered there only when everything committed before is applied.
    let seen = group.api(&behind).await?.region(key, false).await?.context("the first write")?;
    group.kill_member(&behind)?;
    writer.write(key).await;
    let newer = group.api(&leader).await?.region(key, false).await?.context("the second write")?;
    ensure!(seen.title != newer.title, "one write was not made");
    for name in group.names() {
        group.kill_member(&name)?;
    }
    group.spawn_member(&behind)?;
    wait_until(STALE, "an answer of the one that is alone", || async {
        let answer = group.api(&behind).await?.region(key, true).await;
        Ok(Look::when(answer.is_ok(), &answer))
    })
    .await?;
    Ok((reader, behind))
}

#[tokio::test(flavor = "multi_thread")]
async fn stale_reads_of_a_member_that_is_cut_off_fit_no_order_and_others_are_not_answered()
-> Result<()> {
    let mut group = Group::start(parallax_tests::binaries!(), 3, &[]).await?;
    let (recorder, key) = (Recorder::default(), "key");
    let (mut reader, behind) = left_behind(&mut group, &recorder, key).await?;

    // Without a leader nobody can say what is newest, and nobody does.
    assert!(!reader.read(key, false).await);
    let judged = recorder.judge()?;
    assert_eq!((judged.operations, judged.unknown), (2, 0), "{judged:?}");

    assert!(reader.read(key, true).await, "{behind} answers from its own state");
    let said = recorder.judge().err().context("an old value after a newer one fits no order")?;
    let said = format!("{said:#}");
    assert!(said.contains("not linearizable") && said.contains("client 2"), "{said}");
    assert!(said.contains("Read(") && said.contains("Write("), "{said}");
    group.told();
    Ok(())
}
