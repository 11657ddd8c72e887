//! Members that do not hold the same: one that differs from the majority stops, a leader hands over
//! before, `rebuild-from-peer` is the way back; and without a majority nobody writes.

use std::path::Path;
use std::process::Output;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result, ensure};
use parallax_coordinator::store::rows::sled::SledRows;
use parallax_coordinator::store::rows::{RowChange, RowStore as _};
use parallax_proto::v1;
use parallax_runtime::supervisor::{Supervisor, TaskKind};
use parallax_tests::harness::group::Group;
use parallax_tests::harness::http;
use parallax_tests::harness::roaming::{Acknowledged, nothing_lost, write_forever};
use parallax_tests::harness::wait::{Look, STALE, wait_until};
use prost::Message as _;

const PROGRAM: &str = env!("CARGO_BIN_EXE_px-coordinator");
/// The region whose row is changed behind a member's back.
const MARKED: &str = "marked";
/// A thousand entries are written soon when many write.
const CLIENTS: u128 = 12;
/// Entries between two comparisons.
const EVERY: u64 = parallax_common::limits::STATE_HASH_EVERY;

/// Changes one row of a member that does not run, and nothing else: log and snapshots stay.
fn tamper(data_dir: &Path, title: &str) -> Result<()> {
    let rows = SledRows::open(&data_dir.join("rows"))?;
    let mut found = None;
    rows.load(&mut |row| {
        if row.key.windows(MARKED.len()).any(|part| part == MARKED.as_bytes())
            && let Ok(region) = v1::Region::decode(row.value.clone())
        {
            found = Some((row.key, region));
        }
    })?;
    let (key, mut region) = found.context("no row of the region")?;
    ensure!(region.meta.as_ref().is_some_and(|meta| meta.name == MARKED), "{region:?}");
    title.clone_into(&mut region.title);
    rows.write(&[RowChange::put(key, region.encode_to_vec())], rows.applied_index()?)?;
    Ok(())
}

struct Writers {
    known: Vec<Arc<Mutex<Acknowledged>>>,
    tasks: Supervisor,
}

impl Writers {
    fn start(group: &Group, round: u128) -> Result<Self> {
        let mut writers = Self { known: Vec::new(), tasks: Supervisor::default() };
        let endpoints = group
            .names()
            .iter()
            .map(|name| Ok(group.addresses(name)?.api.to_string()))
            .collect::<Result<Vec<_>>>()?;
        for number in round * CLIENTS..(round + 1) * CLIENTS {
            let known = Arc::new(Mutex::new(Acknowledged::default()));
            let (tls, stop) = (group.tls("anna"), writers.tasks.stop_token());
            let (endpoints, here) = (endpoints.clone(), Arc::clone(&known));
            let seed = u64::try_from(number)?;
            writers.tasks.spawn(TaskKind::Vital("writer"), async move {
                let prefix = format!("by-{number}");
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = write_forever(endpoints, tls, seed, &prefix, here) => {}
                }
            });
            writers.known.push(known);
        }
        Ok(writers)
    }

    fn names(&self) -> Vec<String> {
        let each = self.known.iter();
        each.flat_map(|it| it.lock().unwrap_or_else(PoisonError::into_inner).names.clone())
            .collect()
    }

    async fn stop(self) -> Result<Vec<String>> {
        self.tasks.stop();
        ensure!(self.tasks.join(STALE).await && !self.tasks.failed(), "a writer failed");
        Ok(self.names())
    }
}

async fn begun() -> Result<(Group, String, Vec<String>)> {
    let mut group = Group::start(parallax_tests::binaries!(), 3, &[]).await?;
    group.apply(&format!("regions: [{{name: {MARKED}, title: as written}}]\n")).await?;
    let leader = group.leader().await?;
    let followers: Vec<String> = group.names().into_iter().filter(|it| *it != leader).collect();
    for name in &followers {
        has(&group, name, MARKED).await?;
    }
    Ok((group, leader, followers))
}

async fn has(group: &Group, member: &str, region: &str) -> Result<()> {
    wait_until(STALE, &format!("{member} to have {region}"), || async {
        let there = group.api(member).await?.regions().await?;
        Ok(Look::when(there.contains(&region.to_owned()), there.len()))
    })
    .await
}

/// Stops a member, changes its rows, and starts it.
async fn make_differ(group: &mut Group, name: &str, title: &str) -> Result<()> {
    group.terminate_member(name)?;
    ensure!(group.member_ended(name).await? == Some(0), "{name} did not stop well");
    tamper(&group.data_dir(name), title)?;
    group.spawn_member(name)?;
    group.member_up(name).await?;
    has(group, name, MARKED).await
}

async fn rebuild(group: &Group, name: &str, from: &str) -> Result<Output> {
    let (data, tls) = (group.data_dir(name), group.tls(name));
    let peer = group.addresses(from)?.peers.to_string();
    let run = move || {
        std::process::Command::new(PROGRAM)
            .args(["rebuild-from-peer", "--peer", &peer, "--data-dir"])
            .arg(data)
            .arg("--tls-dir")
            .arg(tls)
            .output()
    };
    Ok(tokio::task::spawn_blocking(run).await??)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_differs_from_the_majority_stops_a_leader_hands_over_and_a_rebuild_is_the_way_back()
-> Result<()> {
    let (mut group, leader, followers) = begun().await?;
    let differs = &followers[0];
    make_differ(&mut group, differs, "another").await?;
    let writers = Writers::start(&group, 0)?;
    assert_eq!(group.member_ended(differs).await?, Some(5), "{}", group.said(differs)?);
    let why = "the state differs from that of the majority as of entry";
    let said = group.said(differs)?;
    assert!(said.contains(why) && said.contains("rebuild-from-peer"), "{said}");
    // It does not come back with what it holds.
    group.spawn_member(differs)?;
    assert_eq!(group.member_ended(differs).await?, Some(5), "{}", group.said(differs)?);
    let rebuilt = rebuild(&group, differs, &leader).await?;
    let text = String::from_utf8_lossy(&rebuilt.stderr).into_owned();
    ensure!(rebuilt.status.success(), "{text}");
    group.spawn_member(differs)?;
    let mut written = writers.stop().await?;
    let last = written.last().context("nothing was written")?.clone();
    has(&group, differs, &last).await?;

    // The same happens to one that leads: it hands over first. The one that was rebuilt agrees.
    let leads = &followers[1];
    make_differ(&mut group, leads, "a third").await?;
    group.px_ok(&["cluster", "transfer", leads]).await?;
    let told = "handed the leadership over";
    let before = group.said(leads)?.matches(told).count();
    let writers = Writers::start(&group, 1)?;
    assert_eq!(group.member_ended(leads).await?, Some(5), "{}", group.said(leads)?);
    assert_eq!(group.said(leads)?.matches(told).count(), before + 1);
    let boundary = group.mesh_status(&leader).await?.applied / EVERY * EVERY;
    assert!(boundary >= EVERY);
    written.extend(writers.stop().await?);
    let rebuilt = rebuild(&group, leads, &leader).await?;
    ensure!(rebuilt.status.success(), "{}", String::from_utf8_lossy(&rebuilt.stderr));
    group.spawn_member(leads)?;
    for name in group.names() {
        let last = written.last().context("nothing was written")?.clone();
        has(&group, &name, &last).await?;
        group.check_running(&name)?;
        nothing_lost(&written, &group.api(&name).await?.regions().await?)
            .with_context(|| format!("at {name}"))?;
    }
    group.told();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_majority_that_agrees_nothing_is_written_and_everybody_says_so() -> Result<()> {
    let (mut group, leader, followers) = begun().await?;
    make_differ(&mut group, &followers[0], "another").await?;
    make_differ(&mut group, &followers[1], "a third").await?;
    let writers = Writers::start(&group, 0)?;
    wait_until(3 * STALE, "the members to see that they differ", || async {
        let mesh = group.mesh_status(&leader).await?;
        Ok(Look::when(mesh.disputed_index > 0, mesh.applied))
    })
    .await?;
    let written = writers.stop().await?;
    let why = "the members have held different states since entry";
    for name in group.names() {
        group.check_running(&name)?;
        let refused = group.api(&name).await?.create_region("anna", 1, "late").await.unwrap_err();
        assert!(format!("{refused:#}").contains(why), "{name}: {refused:#}");
        let status = group.px_at(&[&name], &["status"]).await?;
        let shown = String::from_utf8_lossy(&status.stdout).into_owned();
        assert!(shown.contains("nothing is written: since entry"), "{shown}");
        let ready = http::get(&group.addresses(&name)?.public.to_string(), "/readyz").await?;
        assert!(ready.status == 503 && ready.body.contains("from a backup"), "{}", ready.body);
        // What was acknowledged before is there, and can be read.
        nothing_lost(&written, &group.api(&name).await?.regions().await?)?;
    }
    group.told();
    Ok(())
}
