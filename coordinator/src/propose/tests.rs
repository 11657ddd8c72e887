//! Against a real node on stores in memory.

use parallax_common::limits::STAGES_PER_NAMESPACE_MAX;

use super::*;
use crate::machine::StateMachine;
use crate::raft::config::{Config, Stores};
use crate::raft::fatal::Fatal;
use crate::raft::log::memory::{MemDisk, MemLog};
use crate::raft::node;
use crate::raft::outbound::Alone;
use crate::store::rows::memory::MemRows;
use crate::store::snapshot::memory::MemSnapshots;

pub(crate) async fn proposer() -> (Proposer, View, tempfile::TempDir) {
    let never: Fatal = Arc::new(|reason| panic!("{reason}"));
    let view = View::default();
    let machine = StateMachine::new(view.clone(), Vec::new(), Arc::clone(&never));
    let stores = Stores {
        log: MemLog::open(&MemDisk::default()).unwrap(),
        rows: Arc::new(MemRows::default()),
        snapshots: Arc::new(MemSnapshots::default()),
        outbound: Box::new(Alone),
    };
    let node = node::start(Config::new(1, Some(vec![1])), machine, stores, never).unwrap();
    let mut leadership = node.leadership();
    let leads = leadership.wait_for(|leadership| leadership.leader);
    tokio::time::timeout(Duration::from_secs(20), leads).await.unwrap().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(MeshClock::open(dir.path()));
    (Proposer::new(node, view.clone(), clock), view, dir)
}

pub(crate) fn region(name: &str) -> store::ConfigChange {
    let uid = parallax_common::name::Uid::from_bytes([1; 16]).to_string();
    let meta = v1::Meta {
        uid,
        namespace: "default".into(),
        name: name.into(),
        set: "default".into(),
        ..v1::Meta::default()
    };
    let region = v1::Region { meta: Some(meta), title: String::new() };
    let resource = v1::Resource { kind: Some(v1::resource::Kind::Region(region)) };
    let change = Some(store::config_change::Change::Put(resource));
    store::ConfigChange { base_etag: 0, change, force: false }
}

impl Proposer {
    pub(crate) async fn apply(
        &self,
        origin: Origin,
        changes: Vec<store::ConfigChange>,
    ) -> Result<(), String> {
        let (namespace, set) = ("default".to_owned(), "default".to_owned());
        let written = self.write_config(origin, namespace, set, false, changes).await;
        written.map(|_| ()).map_err(|error| error.to_string())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_apply_that_fails_half_way_leaves_no_stage_behind() {
    let (proposer, view, _dir) = proposer().await;
    // The first part is staged, the second is larger than an entry.
    let halves = || vec![region("eu"), region(&"x".repeat(ENTRY_BYTES_MAX))];
    for _ in 0..=STAGES_PER_NAMESPACE_MAX {
        let error = proposer.apply(Origin::default(), halves()).await.unwrap_err();
        assert!(error.contains("is too large"), "{error}");
    }
    proposer.apply(Origin::default(), vec![region("eu")]).await.unwrap();
    assert_eq!(view.load().regions.len(), 1);
    proposer.node().clone().stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_apply_that_found_no_place_to_stage_writes_nothing_more() {
    let (proposer, view, _dir) = proposer().await;
    let half = |letter: &str| region(&letter.repeat(ENTRY_BYTES_MAX / 2));
    for at in 0..STAGES_PER_NAMESPACE_MAX {
        let part = store::StageConfig {
            txn: format!("t{at}"),
            namespace: "default".to_owned(),
            changes: vec![region("eu")],
            ..store::StageConfig::default()
        };
        proposer.write(Origin::default(), Command::StageConfig(part)).await.unwrap();
    }
    let before = view.load().applied;
    let error = proposer.apply(Origin::default(), vec![half("a"), half("b")]).await.unwrap_err();
    assert!(!error.contains("too large"), "{error}");
    // The part that was refused; no drop of what is not there.
    assert_eq!(view.load().applied, before + 1, "{error}");
    proposer.node().clone().stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_apply_twice_in_flight_is_carried_out_once_and_told_twice() {
    let (proposer, view, _dir) = proposer().await;
    for number in 1..=2 * STAGES_PER_NAMESPACE_MAX as u64 {
        let origin = || Origin {
            request_id: Some(v1::RequestId { client: "c".into(), number, lowest_open: number }),
            ..Origin::default()
        };
        let changes = || vec![region(&format!("r{number}"))];
        let (first, second) =
            tokio::join!(proposer.apply(origin(), changes()), proposer.apply(origin(), changes()));
        assert_eq!((first, second), (Ok(()), Ok(())));
    }
    assert_eq!(view.load().regions.len(), 2 * STAGES_PER_NAMESPACE_MAX);
    proposer.node().clone().stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_apply_that_fits_is_one_entry_and_is_compared_like_any_other() {
    let (proposer, view, _dir) = proposer().await;
    let before = view.load().applied;
    proposer.apply(Origin::default(), vec![region("eu"), region("us")]).await.unwrap();
    assert_eq!((view.load().applied, view.load().regions.len()), (before + 1, 2));
    // Planned when neither was there.
    let error = proposer.apply(Origin::default(), vec![region("ap"), region("eu")]).await;
    assert!(error.unwrap_err().contains("changed by somebody else"));
    assert_eq!(view.load().regions.len(), 2);
    proposer.node().clone().stop().await;
}
