//! A cluster that comes back from a file, builds of different level in one cluster, and a member
//! that takes its state from another.

use std::path::{Path, PathBuf};
use std::process::Output;

use anyhow::{Context, Result, bail};
use parallax_proto::v1;
use parallax_tests::harness::group::Group;
use parallax_tests::harness::mesh::Mesh;
use parallax_tests::harness::until;
use parallax_tests::harness::wait::{Look, STALE, wait_until};
use parallax_tests::harness::yaml::{self, CheckYaml};

const PROGRAM: &str = env!("CARGO_BIN_EXE_px-coordinator");

/// Runs an offline tool to its end.
async fn tool(args: &[&str]) -> Result<Output> {
    let args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
    let run = move || std::process::Command::new(PROGRAM).args(args).output();
    Ok(tokio::task::spawn_blocking(run).await??)
}

fn said(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!("{}{}", String::from_utf8_lossy(out), String::from_utf8_lossy(err))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_cluster_goes_on_with_its_incident_and_pages_nobody_again() -> Result<()> {
    let region = "eu-west";
    let mut mesh = Mesh::start(parallax_tests::binaries!(), &[region]).await?;
    let check = |name: &str| CheckYaml::new(name, &mesh.target.url(), &[region]);
    let (first, both) = ([check("checkout")], [check("checkout"), check("later")]);
    let files = |checks: &[CheckYaml]| yaml::file(&[region], &mesh.sink.url(), checks);
    let (first, both) = (files(&first), files(&both));
    mesh.apply(&first).await?;
    let api = mesh.api().await?;
    until::verdict(&api, "checkout", v1::Verdict::Up).await?;
    mesh.target.refuse();
    let opened = until::pages(&mesh.sink, "checkout", 1).await?.remove(0);
    wait_until(STALE, "the page to be noted as sent", || async {
        let incidents = api.incidents_of("checkout").await?;
        let sent = incidents.iter().flat_map(|it| &it.deliveries);
        let sent = sent.filter(|it| it.state() == v1::DeliveryState::Sent).count();
        Ok(Look::when(sent == 1, &incidents))
    })
    .await?;
    let before = api.incidents_of("checkout").await?.remove(0);

    let file = mesh.path("mesh.plx");
    mesh.px_ok(&["backup", &file]).await?;
    assert!(!mesh.px(&["backup", &file]).await?.status.success(), "never written over");
    mesh.apply(&both).await?;
    mesh.kill_coordinator();

    let data = mesh.path("data-c1");
    let looked = tool(&["inspect", "--data-dir", &data]).await?;
    assert!(looked.status.success(), "{}", said(&looked));
    let refused = tool(&["restore", &file, "--data-dir", &data, "--name", "c1"]).await?;
    assert!(said(&refused).contains("--force"), "{}", said(&refused));
    let restored =
        tool(&["restore", &file, "--data-dir", &data, "--name", "c1", "--force"]).await?;
    assert!(restored.status.success(), "{}", said(&restored));
    mesh.start_coordinator().await?;

    let api = mesh.api().await?;
    // The probe, which ran on, knows the newer plan of the old cluster, and takes that of the new.
    until::verdict(&api, "checkout", v1::Verdict::Down).await?;
    assert!(api.status("later").await.is_err(), "it was written after the backup");
    let incidents = api.incidents_of("checkout").await?;
    assert_eq!(incidents.len(), 1, "{incidents:?}");
    assert_eq!(incidents[0].uid, before.uid);
    assert!(incidents[0].resolved_at.is_none());
    mesh.target.heal()?;
    until::verdict(&api, "checkout", v1::Verdict::Up).await?;
    let pages = until::pages(&mesh.sink, "checkout", 2).await?;
    let kinds: Vec<_> = pages.iter().map(|page| page.kind.as_str()).collect();
    assert_eq!(kinds, ["opened", "resolved"], "{pages:?}");
    assert_eq!(pages[0].key, opened.key);
    mesh.told();
    Ok(())
}

/// Until one of these coordinators has said it, in any of its lives.
async fn says(group: &Group, members: &[&str], words: &str) -> Result<()> {
    wait_until(STALE, &format!("somebody to say {words:?}"), || async {
        let mut all = String::new();
        for name in members {
            all.push_str(&group.said(name)?);
        }
        Ok(Look::when(all.contains(words), tail(&all)))
    })
    .await
}

fn tail(text: &str) -> String {
    text.chars().skip(text.chars().count().saturating_sub(2_000)).collect()
}

/// Starts a coordinator anew as a build of this level.
async fn restart_as(group: &mut Group, name: &str, level: u32) -> Result<()> {
    group.kill_member(name)?;
    group.set_level(name, level)?;
    group.spawn_member(name)
}

/// The newest file of a directory with this end.
fn newest(dir: &Path, end: &str) -> Result<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        files.push(entry?.path());
    }
    files.retain(|path| path.to_string_lossy().ends_with(end));
    files.sort();
    files.pop().context("no such file")
}

#[tokio::test(flavor = "multi_thread")]
async fn builds_of_two_levels_share_a_cluster_and_a_member_takes_over_a_peers_state() -> Result<()>
{
    let mut group = Group::prepare(parallax_tests::binaries!(), 3).await?;
    let names = ["c1", "c2", "c3"];
    // The cluster is begun at the level of whoever leads first.
    for name in names {
        restart_as(&mut group, name, 1).await?;
    }
    says(&group, &names, "the cluster has begun").await?;
    for name in names {
        wait_until(STALE, "the first entry", || async {
            // Answered only when everything committed before is applied there: whoever restarts
            // knows the others by the rows of the first entry.
            let read = group.api(name).await?.regions().await;
            Ok(Look::when(read.is_ok(), &read))
        })
        .await?;
    }
    for name in ["c1", "c2"] {
        restart_as(&mut group, name, 2).await?;
        group.member_up(name).await?;
    }
    let raised = "the level is raised";
    for name in names {
        assert!(!group.said(name)?.contains(raised), "an old build is still there");
    }
    restart_as(&mut group, "c3", 2).await?;
    says(&group, &names, raised).await?;

    // The old build comes back: it must not apply what it does not understand.
    restart_as(&mut group, "c3", 1).await?;
    // It is refused by its rows, or stands still before the entry when its rows have not got there.
    wait_until(STALE, "c3 to say that it is too old", || async {
        let said = group.said("c3")?;
        let too_old = ["feature level 2", "the cluster is at 2"];
        Ok(Look::when(too_old.iter().any(|words| said.contains(words)), said))
    })
    .await?;
    group.kill_member("c3")?;

    // A member whose rows and snapshots are damaged, and whose log is whole.
    let dir = group.data_dir("c3");
    std::fs::remove_dir_all(dir.join("rows"))?;
    for entry in std::fs::read_dir(dir.join("snapshots"))? {
        std::fs::write(entry?.path(), b"damaged")?;
    }
    restart_as(&mut group, "c3", 2).await?;
    says(&group, &["c3"], "no snapshot can stand for them").await?;
    group.kill_member("c3")?;
    let (data, tls) = (dir.display().to_string(), group.tls("c3").display().to_string());
    let looked = tool(&["inspect", "--data-dir", &data]).await?;
    assert!(!looked.status.success() && said(&looked).contains("rebuild-from-peer"));
    let peer = group.addresses("c1")?.peers.to_string();
    let rebuild = ["rebuild-from-peer", "--data-dir", &data, "--tls-dir", &tls, "--peer", &peer];
    let rebuilt = tool(&rebuild).await?;
    assert!(rebuilt.status.success(), "{}", said(&rebuilt));
    group.spawn_member("c3")?;
    group.member_up("c3").await?;
    group.kill_member("c3")?;

    // With a damaged log nobody knows what it promised.
    let log = newest(&dir.join("log"), ".raftlog")?;
    let mut bytes = std::fs::read(&log)?;
    *bytes.get_mut(90).context("a short log")? ^= 1;
    std::fs::write(&log, &bytes)?;
    let refused = tool(&rebuild).await?;
    let text = said(&refused);
    if refused.status.success() || !text.contains("under a new node id") {
        bail!("must be refused: {text}");
    }
    assert!(std::fs::read(&log)? == bytes, "nothing was changed");
    group.told();
    Ok(())
}
