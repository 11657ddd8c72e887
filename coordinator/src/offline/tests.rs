//! The tools over data directories that a real node has written.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use clap::CommandFactory as _;
use parallax_proto::store::entry::Command;
use parallax_proto::{store, v1};
use prost::Message as _;

use super::*;
use crate::core::state::{Answer, LEVEL, State};
use crate::history::disk::Disk;
use crate::history::files::System;
use crate::history::segment::cells::all_phases;
use crate::history::tier::Tier;
use crate::history::{Batch, Question, contract};
use crate::identity::Identity;
use crate::machine::StateMachine;
use crate::raft::config::{Config as NodeConfig, Stores};
use crate::raft::fatal;
use crate::raft::log::engine::EngineLog;
use crate::raft::node::{self, NodeHandle};
use crate::raft::outbound::Alone;
use crate::store::backup;
use crate::store::rows::sled::SledRows;
use crate::store::rows::{Pages, Row, RowStore as _};
use crate::store::snapshot::file::FileSnapshots;
use crate::view::View;

const LONG: Duration = Duration::from_secs(20);

#[test]
fn the_command_lines_are_sound_and_every_word_is_known() {
    Cli::command().debug_assert();
    let words: Vec<_> =
        Cli::command().get_subcommands().map(|it| it.get_name().to_owned()).collect();
    assert_eq!(words, WORDS);
    assert!(is_asked(Some("restore".as_ref())) && !is_asked(Some("--mesh".as_ref())));
    assert!(WORDS.iter().all(|word| HELP.contains(word)));
}

/// A node on a data directory, as `run` starts it, without listeners.
struct Node {
    handle: NodeHandle<Answer>,
    view: View,
}

fn start(dir: &Path) -> Node {
    let view = View::default();
    let machine = StateMachine::new(view.clone(), Vec::new(), fatal::abort());
    let stores = Stores {
        log: EngineLog::open(&dir.join("log")).unwrap(),
        rows: Arc::new(SledRows::open(&dir.join("rows")).unwrap()),
        snapshots: Arc::new(FileSnapshots::open(&dir.join("snapshots")).unwrap()),
        outbound: Box::new(Alone),
    };
    let mut config = NodeConfig::new(1, Some(vec![1]));
    config.snapshot_after_entries = 20;
    let handle = node::start(config, machine, stores, fatal::abort()).unwrap();
    Node { handle, view }
}

impl Node {
    async fn leads(&self) {
        let mut leadership = self.handle.leadership();
        let leads = leadership.wait_for(|now| now.leader);
        drop(tokio::time::timeout(LONG, leads).await.unwrap().unwrap());
    }

    async fn write(&self, request: u64, command: Command) -> Answer {
        let actor = v1::Actor { kind: "user".into(), name: "ops".into(), role: "admin".into() };
        let request_id = (request > 0).then(|| v1::RequestId {
            client: "client".to_owned(),
            number: request,
            lowest_open: 1,
        });
        let entry = store::Entry {
            min_level: LEVEL,
            request_id,
            request_digest: request,
            actor: Some(actor),
            utc_ns: 1_700_000_000_000_000_000,
            mesh_ns: 5,
            source: "test".to_owned(),
            command: Some(command),
        };
        let entry = entry.encode_to_vec().into();
        self.handle.propose(entry, LONG).await.unwrap().output
    }

    async fn stop(self) {
        self.handle.stop().await;
    }
}

fn resource(kind: v1::resource::Kind) -> store::ConfigChange {
    let resource = v1::Resource { kind: Some(kind) };
    let change = Some(store::config_change::Change::Put(resource));
    store::ConfigChange { base_etag: 0, change, force: false }
}

fn region(n: u64) -> store::ConfigChange {
    let meta = v1::Meta {
        uid: uuid::Uuid::now_v7().to_string(),
        namespace: "default".to_owned(),
        name: format!("region-{n}"),
        set: "default".to_owned(),
        ..v1::Meta::default()
    };
    let region = v1::Region { meta: Some(meta), ..v1::Region::default() };
    resource(v1::resource::Kind::Region(region))
}

/// A cluster with `regions` regions, each written under a request id of its own.
async fn fill(node: &Node, regions: std::ops::Range<u64>) {
    node.leads().await;
    if node.view.load().cluster.mesh.is_empty() {
        let member = |node_id, name: &str| store::MemberRow {
            node_id,
            name: name.to_owned(),
            peer_address: format!("{name}:7102"),
            ..store::MemberRow::default()
        };
        let init = store::InitCluster {
            mesh: "acme".to_owned(),
            cluster_id: "old".to_owned(),
            epoch: 7,
            level: LEVEL,
            plan_version: 1,
            members: vec![member(1, "c1"), member(2, "c2")],
        };
        node.write(0, Command::InitCluster(init)).await;
    }
    for n in regions {
        let txn = format!("txn-{n}");
        let stage = store::StageConfig {
            txn: txn.clone(),
            part: 0,
            changes: vec![region(n)],
            namespace: "default".to_owned(),
        };
        let sha256 = ring::digest::digest(&ring::digest::SHA256, &stage.encode_to_vec());
        node.write(0, Command::StageConfig(stage)).await;
        let commit = store::CommitConfig {
            txn,
            parts: 1,
            sha256: bytes::Bytes::copy_from_slice(sha256.as_ref()),
            namespace: "default".to_owned(),
            set: "default".to_owned(),
            take: false,
            ..Default::default()
        };
        let answer = node.write(n + 1, Command::CommitConfig(commit)).await;
        assert!(matches!(answer, Answer::Accepted { .. }), "{answer:?}");
    }
}

fn known(dir: &Path) {
    Identity { node_id: 1, disk_id: "disk".into(), name: "c1".into(), begun: true }
        .keep(dir)
        .unwrap();
}

fn last_file(dir: &Path, end: &str) -> std::path::PathBuf {
    let mut files: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.to_string_lossy().ends_with(end));
    files.sort();
    files.pop().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inspect_says_what_is_there_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let node = start(dir.path());
    fill(&node, 0..30).await;
    // At least: the status is told after the answer.
    let applied = node.handle.status().applied;
    node.stop().await;
    known(dir.path());

    let look = || inspect::inspect(dir.path(), Some(scratch.path())).unwrap();
    let found = look();
    assert!(found.problems.is_empty(), "{}", found.text());
    assert_eq!(found.log.last_index, found.rows.applied);
    assert!(found.rows.applied >= applied, "{} of {applied}", found.rows.applied);
    assert_eq!(found.member.as_ref().unwrap().name, "c1");
    assert!(!found.snapshots.is_empty() && found.snapshots.iter().all(|it| it.voters == [1]));
    assert!(found.text().contains("a start would take it"), "{}", found.text());
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0, "the copies are gone");

    // Damage, in one place after the other: it is told, and is there after as before.
    let snapshot = last_file(&dir.path().join("snapshots"), ".plx");
    let whole = fs::read(&snapshot).unwrap();
    let mut broken = whole.clone();
    broken[whole.len() / 2] ^= 1;
    fs::write(&snapshot, &broken).unwrap();
    let found = look();
    assert!(found.problems.iter().any(|it| it.contains("is damaged")), "{:?}", found.problems);
    fs::write(&snapshot, &whole).unwrap();

    let log = last_file(&dir.path().join("log"), ".raftlog");
    let whole = fs::read(&log).unwrap();
    let mut broken = whole.clone();
    broken[200] ^= 1;
    fs::write(&log, &broken).unwrap();
    let found = look();
    assert!(found.log.error.as_ref().unwrap().contains("damaged in its middle"), "{found:?}");
    assert!(found.text().contains(&*log.to_string_lossy()), "{}", found.text());
    assert!(fs::read(&log).unwrap() == broken);
    fs::write(&log, &whole).unwrap();
    assert!(look().problems.is_empty());

    // History: what is there, and that a byte of it was changed.
    past_of(&dir.path().join("history"));
    let found = look();
    assert!(found.problems.is_empty(), "{}", found.text());
    assert!(found.text().contains(" minutes in "), "{}", found.text());
    let segment = last_file(&dir.path().join("history"), ".seg");
    let whole = fs::read(&segment).unwrap();
    let mut broken = whole.clone();
    broken[60] ^= 1;
    fs::write(&segment, &broken).unwrap();
    let found = look();
    assert!(found.problems[0].contains("a segment of history"), "{:?}", found.problems);
    fs::write(&segment, &whole).unwrap();

    // A member that runs is left alone.
    let lock = fs::File::create(dir.path().join("lock")).unwrap();
    lock.try_lock().unwrap();
    let refused = inspect::inspect(dir.path(), None);
    assert!(matches!(refused, Err(OfflineError::Locked(_))), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lone_member_accepts_a_lost_tail_only_when_it_has_lost_one() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(dir.path());
    fill(&node, 0..30).await;
    node.stop().await;
    known(dir.path());
    let args = AcceptLostTail { data_dir: dir.path().to_owned() };
    let refused = tail::run(&args).unwrap_err();
    assert!(refused.to_string().contains("has not lost its end"), "{refused}");

    SledRows::open(&dir.path().join("rows")).unwrap().write(&[], 1_000_000).unwrap();
    tail::run(&args).unwrap();
    let node = start(dir.path());
    node.leads().await;
    assert_eq!(node.view.load().regions.len(), 30);
    node.stop().await;
}

/// A store with segments of every tier: a day and a half of one check.
fn past_of(dir: &Path) -> Disk {
    let (disk, mut journal) = Disk::open(Arc::new(System), dir, u64::MAX).unwrap();
    for hour in 0..36i64 {
        let start = hour * 3_600;
        let windows: Vec<_> = (0..3)
            .map(|n| ((hour * 3 + n + 1) as u64, contract::window(1, start + n * 10)))
            .collect();
        let now = contract::at(start + 3_500);
        let spool = contract::spool("eu", 1);
        disk.commit(&mut journal, &[Batch { spool, windows, now, room: None }]).unwrap();
        disk.flush(&mut journal).unwrap();
        disk.maintain(now).unwrap();
    }
    disk
}

fn runs(disk: &Disk, tier: Tier) -> u64 {
    let (from, to) = (contract::at(-10), contract::at(1_000_000));
    let question = Question { check: contract::check(1), from, to, tier, phases: all_phases() };
    let mut runs = 0;
    disk.cells(&question, &mut |_, cell| runs += cell.counts.values().sum::<u64>()).unwrap();
    runs
}

/// Every row of a state, hot and cold, by key.
fn all_rows(state: &State, rows: &SledRows) -> std::collections::BTreeMap<Vec<u8>, Vec<u8>> {
    let hot = state.to_rows().into_iter().map(|row| (row.key.to_vec(), row.value.to_vec()));
    let cold = Pages::new(rows).map(Result::unwrap).filter(|row| State::cold(&row.key).is_some());
    hot.chain(cold.map(|row: Row| (row.key.to_vec(), row.value.to_vec()))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_comes_back_as_a_new_cluster_with_every_row_but_the_documented_ones() {
    let (old, new) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = old.path().join("backup.plx");
    let node = start(old.path());
    fill(&node, 0..12).await;
    // As the service makes it, while more is written.
    let state = node.view.load();
    let past = Arc::new(past_of(&old.path().join("history")));
    let (rows, _) = tokio::join!(
        tokio::task::spawn_blocking({
            let (handle, state, file) = (node.handle.clone(), Arc::clone(&state), file.clone());
            let past = Arc::clone(&past);
            move || {
                handle.wait_stored(state.applied).unwrap();
                let mut out = fs::File::create(file).unwrap();
                let (rows, told) = (handle.rows(), Default::default());
                crate::api::backup::make(&mut out, &state, "c1", rows.as_ref(), Some(&past), &told)
                    .unwrap()
            }
        }),
        fill(&node, 12..30),
    );
    let rows = rows.unwrap();
    node.stop().await;
    let old_rows = SledRows::open(&old.path().join("rows")).unwrap();
    let mut expected = all_rows(&state, &old_rows);
    // Of the audit only what the state knew of.
    expected.retain(|key, _| State::cold(key).is_none_or(|index| index <= state.applied));
    assert_eq!(rows, expected.len() as u64);
    let held = backup::verify(&file, LEVEL).unwrap().1;
    assert_eq!(held.rows, rows);
    // Windows, minutes and hours.
    assert!(held.tiers.iter().all(|tier| tier.segments > 0), "{held:?}");
    let found = inspect::backup_file::inspect(&file).unwrap();
    assert!(found.problems.is_empty(), "{}", found.text());
    assert!(found.text().contains("\"acme\"") && found.text().contains(" hours in "));

    let args = Restore {
        file: file.clone(),
        data_dir: new.path().to_owned(),
        name: "d1".to_owned(),
        force: false,
    };
    let restored = restore::restore(&args).unwrap();
    let again = restore::restore(&args).unwrap_err();
    assert!(again.to_string().contains("is not empty"), "{again}");
    // The past says the same in every tier, as do the segments by name and hash.
    let back = Disk::open(Arc::new(System), &new.path().join("history"), u64::MAX).unwrap().0;
    for tier in Tier::ALL {
        assert_eq!(runs(&back, tier), runs(&past, tier), "{tier:?}");
        let names = |disk: &Disk| {
            let of_tier = disk.segments(tier);
            of_tier.iter().map(|one| (one.id, one.sha256, one.bytes)).collect::<Vec<_>>()
        };
        assert_eq!(names(&back), names(&past), "{tier:?}");
    }
    assert!(runs(&back, Tier::Hours) > 0);
    let identity = Identity::open(new.path(), "d1").unwrap();
    assert!(identity.begun && identity.node_id == 1);

    let node = start(new.path());
    node.leads().await;
    let now = node.view.load();
    // A probe that knew the old plan takes the new one, and nobody who has the old id is let in.
    assert!(now.generation() > state.generation(), "{:?}", now.generation());
    assert_ne!(now.cluster.cluster_id, state.cluster.cluster_id);
    // No revision is one that the old group, which went on behind the backup, can have given out: not in
    // half a day of more entries a second than any log takes.
    assert!(restored.index >= restored.from.revision + 12 * 3_600 * 99_000);
    assert!(now.applied > state.applied && restored.index <= now.applied);
    let members: Vec<_> =
        now.members.values().map(|row| (row.node_id, row.name.as_str())).collect();
    assert_eq!(members, [(1, "d1")]);
    // What was asked for before is answered as it was then.
    let old_request = node.write(3, Command::DropStage(store::DropStage::default())).await;
    assert!(matches!(&old_request, Answer::Accepted { revision, .. } if *revision < 100));
    fill(&node, 100..101).await;
    assert_eq!(node.view.load().regions.len(), 13);
    node.stop().await;

    let kept = all_rows(&now, &SledRows::open(&new.path().join("rows")).unwrap());
    let differs = |key: &Vec<u8>| matches!(key[0], b'C' | b'm');
    for (key, value) in expected.iter().filter(|(key, _)| !differs(key)) {
        assert_eq!(kept.get(key), Some(value), "{}", key.escape_ascii());
    }

    // Torn, altered, and forced.
    let whole = fs::read(&file).unwrap();
    fs::write(&file, &whole[..whole.len() - 1]).unwrap();
    let forced = Restore { force: true, ..args };
    let error = restore::restore(&forced).unwrap_err();
    assert!(error.to_string().contains("torn or was altered"), "{error}");
    let found = inspect::backup_file::inspect(&file).unwrap();
    assert!(found.text().contains("torn or was altered"), "{}", found.text());
    assert!(Identity::open(new.path(), "d1").unwrap().begun, "nothing was touched");
    fs::write(&file, &whole).unwrap();
    assert!(restore::restore(&forced).unwrap().aside.unwrap().join("member.json").exists());
}
