//! A cluster that comes back from a file, builds of different level in one cluster, and a member
//! that takes its state from another.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Output;

use anyhow::{Context, Result, bail};
use parallax_proto::v1;
use parallax_tests::harness::client::Api;
use parallax_tests::harness::mesh::{MESH, Mesh};
use parallax_tests::harness::process::Process;
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

/// Three coordinators of one cluster, each a process.
struct Group<'a> {
    mesh: &'a Mesh,
    listed: String,
    peers: Vec<String>,
    running: Vec<Option<Process>>,
}

const NAMES: [&str; 3] = ["g1", "g2", "g3"];

impl Group<'_> {
    fn dir(&self, at: usize) -> String {
        self.mesh.path(&format!("data-{}", NAMES[at]))
    }

    fn log(&self, at: usize) -> PathBuf {
        PathBuf::from(self.mesh.path(&format!("{}.log", NAMES[at])))
    }

    fn start(&mut self, at: usize, level: u32) -> Result<()> {
        let (name, any) = (NAMES[at], "127.0.0.1:0");
        let tls = self.mesh.tls(name).display().to_string();
        let dir = self.dir(at);
        let args = [
            ["--mesh", MESH],
            ["--name", name],
            ["--data-dir", &dir],
            ["--tls-dir", &tls],
            ["--listen-api", any],
            ["--listen-probes", any],
            ["--listen-peers", &self.peers[at]],
            ["--initial-members", &self.listed],
        ];
        let env = [("PX_LEVEL".to_owned(), level.to_string())];
        let log = self.log(at);
        // What an earlier life said is not what is waited for.
        std::fs::write(&log, "")?;
        self.running[at] = Some(Process::start(name, PROGRAM, args.as_flattened(), &env, &log)?);
        Ok(())
    }

    /// Until this member has applied the first entry, as its API tells.
    async fn is_begun(&self, at: usize) -> Result<()> {
        let log = std::fs::read_to_string(self.log(at))?;
        let api = log.split(" api=").nth(1).and_then(|rest| rest.split_whitespace().next());
        let api = api.context("no address of the API was said")?.to_owned();
        let tls = self.mesh.tls("anna");
        wait_until(STALE, "the first entry", || async {
            let api = Api::connect(&api, &tls).await?;
            // Answered only when everything committed before is applied here.
            let read = api.regions().await;
            Ok(Look::when(read.is_ok(), &read))
        })
        .await
    }

    /// Until one of the members says it.
    async fn says(&self, members: &[usize], words: &str) -> Result<()> {
        wait_until(STALE, &format!("somebody to say {words:?}"), || async {
            let mut all = String::new();
            for at in members {
                all.push_str(&std::fs::read_to_string(self.log(*at))?);
            }
            Ok(Look::when(all.contains(words), tail(&all)))
        })
        .await
    }
}

fn tail(text: &str) -> String {
    text.chars().skip(text.chars().count().saturating_sub(2_000)).collect()
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
    let mesh =
        Mesh::coordinator_alone(parallax_tests::binaries!(), &[], Default::default()).await?;
    let mut held = Vec::new();
    for name in NAMES {
        mesh.issue(&["coordinator", name], name).await?;
        // Held until all are drawn, so that they differ.
        held.push(TcpListener::bind("127.0.0.1:0")?);
    }
    let peers: Vec<String> =
        held.iter().map(|it| Ok(it.local_addr()?.to_string())).collect::<Result<_>>()?;
    drop(held);
    let listed: Vec<_> =
        NAMES.iter().zip(&peers).map(|(name, at)| format!("{name}={at}")).collect();
    let listed = listed.join(",");
    let mut group = Group { mesh: &mesh, listed, peers, running: vec![None, None, None] };

    // Two new builds and an old one: the cluster is begun at the level of whoever leads first, so
    // the old one begins it, and the others join in.
    for at in 0..3 {
        group.start(at, 1)?;
    }
    for at in 0..3 {
        group.says(&[at], "serving").await?;
    }
    // Whoever restarts knows the others by the rows of the first entry.
    group.says(&[0, 1, 2], "the cluster has begun").await?;
    for at in 0..3 {
        group.is_begun(at).await?;
    }
    for at in 0..2 {
        group.running[at] = None;
        group.start(at, 2)?;
        group.says(&[at], "serving").await?;
    }
    let raised = "the level is raised";
    let early = |group: &Group<'_>| -> Result<bool> {
        let logs = (0..3).map(|at| Ok(std::fs::read_to_string(group.log(at))?));
        Ok(logs.collect::<Result<Vec<String>>>()?.iter().any(|log| log.contains(raised)))
    };
    assert!(!early(&group)?, "an old build is still there");
    group.running[2] = None;
    group.start(2, 2)?;
    group.says(&[0, 1, 2], raised).await?;

    // The old build comes back: it must not apply what it does not understand.
    group.running[2] = None;
    group.start(2, 1)?;
    group.says(&[2], "feature level 2").await?;
    group.running[2] = None;

    // A member whose rows and snapshots are damaged, and whose log is whole.
    let dir = PathBuf::from(group.dir(2));
    std::fs::remove_dir_all(dir.join("rows"))?;
    for entry in std::fs::read_dir(dir.join("snapshots"))? {
        std::fs::write(entry?.path(), b"damaged")?;
    }
    group.start(2, 2)?;
    group.says(&[2], "no snapshot can stand for them").await?;
    group.running[2] = None;
    let (data, tls) = (group.dir(2), mesh.tls("g3").display().to_string());
    let looked = tool(&["inspect", "--data-dir", &data]).await?;
    assert!(!looked.status.success() && said(&looked).contains("rebuild-from-peer"));
    let rebuild = ["rebuild-from-peer", "--data-dir", &data, "--tls-dir", &tls, "--peer"];
    let rebuilt = tool(&[&rebuild[..], &[&group.peers[0]]].concat()).await?;
    assert!(rebuilt.status.success(), "{}", said(&rebuilt));
    group.start(2, 2)?;
    group.says(&[2], "serving").await?;
    group.running[2] = None;

    // With a damaged log nobody knows what it promised.
    let log = newest(&dir.join("log"), ".raftlog")?;
    let mut bytes = std::fs::read(&log)?;
    *bytes.get_mut(90).context("a short log")? ^= 1;
    std::fs::write(&log, &bytes)?;
    let refused = tool(&[&rebuild[..], &[&group.peers[0]]].concat()).await?;
    let text = said(&refused);
    if refused.status.success() || !text.contains("under a new node id") {
        bail!("must be refused: {text}");
    }
    assert!(std::fs::read(&log)? == bytes, "nothing was changed");
    drop(group);
    mesh.told();
    Ok(())
}
