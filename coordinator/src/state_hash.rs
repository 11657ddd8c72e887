//! Whether all members hold the same, and understand the same: hashes of the state are compared
//! every thousand entries, and the feature level rises when every build has it (decision 24).
//!
//! Each member takes its own hash at the same indexes, while it applies. The leader asks the others
//! for theirs and, once a majority of the voters has the same, proposes an entry that says it; a
//! member that had another one at that index stops when it applies the entry, and a leader hands
//! over before. When all have spoken and there is no majority, the entry says that, and from then
//! on apply refuses what people and leaders write. What decides is in `core/state/hash.rs`.

use std::collections::BTreeMap;
use std::sync::Arc;

use parallax_common::limits::{
    HAND_OVER_WITHIN, STATE_HASH_ANSWER_WITHIN, STATE_HASH_ASK_EVERY, STATE_HASH_EVERY,
    STATE_HASHES_KEPT,
};
use parallax_proto::peer::state_service_client::StateServiceClient;
use parallax_proto::peer::state_service_server::{StateService, StateServiceServer};
use parallax_proto::peer::{GetStateHashRequest, GetStateHashResponse};
use parallax_proto::store;
use parallax_proto::store::entry::Command;
use parallax_runtime::transport::peer_of;
use parking_lot::Mutex;
use tokio::sync::watch;
use tonic::{Request, Response, Status};
use tracing::{debug, error, info, warn};

use crate::core::plan::PLAN_VERSION;
use crate::core::state::Answer;
use crate::core::state::hash::{Agreement, agree, raised_level};
use crate::level::level;
use crate::members::hand_over::hand_over;
use crate::peers::Peers;
use crate::peers::gate::Gate;
use crate::propose::{Origin, Proposer};
use crate::raft::node::NodeHandle;
use crate::view::View;

/// A member's own hashes, and whether the others' differ. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Hashes(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    own: Mutex<BTreeMap<u64, u64>>,
    differs: watch::Sender<Option<u64>>,
}

impl Hashes {
    /// The newest index at or before which every entry lies that `index` follows on, and at which a
    /// hash is taken.
    pub fn boundary(index: u64) -> u64 {
        index.saturating_sub(1) / STATE_HASH_EVERY * STATE_HASH_EVERY
    }

    /// Keeps the own hash at `index`.
    pub fn keep(&self, index: u64, hash: u64) {
        let mut own = self.0.own.lock();
        own.insert(index, hash);
        while own.len() > STATE_HASHES_KEPT {
            own.pop_first();
        }
    }

    /// Forgets all: the state was replaced by another.
    pub fn forget(&self) {
        self.0.own.lock().clear();
    }

    /// The own hash at `index`.
    pub fn at(&self, index: u64) -> Option<u64> {
        self.0.own.lock().get(&index).copied()
    }

    /// Whether an own hash was another than that of the majority.
    pub fn differs(&self) -> bool {
        self.0.differs.borrow().is_some()
    }

    /// The newest own hash.
    fn newest(&self) -> Option<(u64, u64)> {
        self.0.own.lock().last_key_value().map(|(index, hash)| (*index, *hash))
    }

    /// Compares the own hash with what a majority has at `index`. False: they differ.
    pub fn compare(&self, index: u64, majority: u64) -> bool {
        let same = self.at(index).is_none_or(|own| own == majority);
        if !same {
            self.0.differs.send_replace(Some(index));
        }
        same
    }
}

/// Answers other members.
pub struct HashServer {
    gate: Gate,
    hashes: Hashes,
}

impl HashServer {
    /// Tells `hashes` to whom the gate lets in.
    pub fn new(gate: Gate, hashes: Hashes) -> Self {
        Self { gate, hashes }
    }

    /// For the peer listener.
    pub fn into_service(self) -> StateServiceServer<Self> {
        StateServiceServer::new(self)
    }
}

#[tonic::async_trait]
impl StateService for HashServer {
    async fn get_state_hash(
        &self,
        request: Request<GetStateHashRequest>,
    ) -> Result<Response<GetStateHashResponse>, Status> {
        let identity = peer_of(&request)?.identity.clone();
        let asked = request.into_inner();
        self.gate.admit_member(&identity, &asked.hello.unwrap_or_default())?;
        let hash = self.hashes.at(asked.index);
        let answer = GetStateHashResponse { known: hash.is_some(), hash: hash.unwrap_or(0) };
        Ok(Response::new(answer))
    }
}

/// What the task needs.
pub struct Parts {
    /// The published state.
    pub view: View,
    /// The way to write.
    pub proposer: Proposer,
    /// This member's node.
    pub node: NodeHandle<Answer>,
    /// The other members.
    pub peers: Peers,
    /// For hellos.
    pub gate: Gate,
    /// This member's hashes.
    pub hashes: Hashes,
    /// This member's name.
    pub name: String,
    /// What is done once this member's state differs, as of an index: it must not go on.
    pub on_difference: Arc<dyn Fn(u64) + Send + Sync>,
}

impl Parts {
    /// Runs until the node is gone, or its state differs.
    pub async fn run(self) {
        let mut differs = self.hashes.0.differs.subscribe();
        let mut every = tokio::time::interval(STATE_HASH_ASK_EVERY);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut done = 0;
        let mut disputed = 0;
        loop {
            tokio::select! {
                // A sender lives as long as the hashes.
                Ok(index) = async { differs.wait_for(Option::is_some).await.map(|it| *it) } => {
                    self.stop(index.unwrap_or(0)).await;
                    return;
                }
                _ = every.tick() => {}
            }
            let state = self.view.load();
            if state.cluster.disputed_index != disputed {
                disputed = state.cluster.disputed_index;
                error!(
                    index = disputed,
                    "the members hold different states and no majority the same one: nothing is \
                     written any more. restore the cluster from a backup"
                );
            }
            if !self.node.leadership().borrow().leader || state.cluster.mesh.is_empty() {
                continue;
            }
            if let Some(raised) = raised_level(&state, level()) {
                self.raise(raised).await;
            }
            if let Some((index, own)) = self.hashes.newest()
                && index > done
                && disputed == 0
                && self.settle(index, own).await
            {
                done = index;
            }
        }
    }

    async fn raise(&self, raised: u32) {
        let command = store::SetLevel { level: raised, plan_version: PLAN_VERSION };
        match self.proposer.write(Origin::leader(&self.name), Command::SetLevel(command)).await {
            Ok(_) => info!(level = raised, "every member understands it: the level is raised"),
            Err(error) => warn!(%error, "the level could not be raised, trying again"),
        }
    }

    /// Asks the others, and has it written what they say together. Whether this index is settled.
    async fn settle(&self, index: u64, own: u64) -> bool {
        let voters = self.node.status().voters;
        let us = self.gate.node_id();
        let others = voters.iter().filter(|voter| **voter != us);
        let asked = others.map(|voter| async { (*voter, self.ask(*voter, index).await) });
        let mut reports: BTreeMap<u64, u64> = BTreeMap::from([(us, own)]);
        for (voter, hash) in join_all(asked).await {
            reports.extend(hash.map(|hash| (voter, hash)));
        }
        let command = match agree(&voters, &reports) {
            Agreement::Open => return false,
            Agreement::Majority(hash) => store::StateHash { index, hash, disputed: false },
            Agreement::Disputed => {
                error!(index, ?reports, "no majority of the members holds the same state");
                store::StateHash { index, hash: 0, disputed: true }
            }
        };
        let command = Command::StateHash(command);
        match self.proposer.write(Origin::leader(&self.name), command).await {
            Ok(_) => true,
            Err(error) => {
                debug!(%error, "the hash of the state was not written, trying again");
                false
            }
        }
    }

    async fn ask(&self, voter: u64, index: u64) -> Option<u64> {
        let channel = self.peers.channel(voter)?;
        let request = GetStateHashRequest { hello: Some(self.gate.hello(voter)), index };
        let mut client = StateServiceClient::new(channel);
        let answer = tokio::time::timeout(STATE_HASH_ANSWER_WITHIN, client.get_state_hash(request));
        let answer = answer.await.ok()?.ok()?.into_inner();
        answer.known.then_some(answer.hash)
    }

    /// This member must not go on; when it leads, somebody else takes over first.
    async fn stop(&self, index: u64) {
        hand_over(&self.node, &self.peers, &self.view, HAND_OVER_WITHIN).await;
        (self.on_difference)(index);
        // The task is vital: it ends when it is told to.
        std::future::pending::<()>().await;
    }
}

/// Waits for all, one after the other: each was given its own time, and they run at once.
async fn join_all<T, F: Future<Output = T>>(futures: impl Iterator<Item = F>) -> Vec<T> {
    let mut pending: Vec<_> = futures.map(Box::pin).collect();
    let mut done: Vec<Option<T>> = pending.iter().map(|_| None).collect();
    std::future::poll_fn(move |context| {
        let mut waits = false;
        for (future, done) in pending.iter_mut().zip(&mut done) {
            if done.is_none() {
                match future.as_mut().poll(context) {
                    std::task::Poll::Ready(value) => *done = Some(value),
                    std::task::Poll::Pending => waits = true,
                }
            }
        }
        match waits {
            true => std::task::Poll::Pending,
            false => std::task::Poll::Ready(done.iter_mut().filter_map(Option::take).collect()),
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_taken_at_the_same_indexes_and_the_oldest_forgotten() {
        let every = STATE_HASH_EVERY;
        let cases = [(0, 0), (1, 0), (every, 0), (every + 1, every), (2 * every + 7, 2 * every)];
        for (index, boundary) in cases {
            assert_eq!(Hashes::boundary(index), boundary, "{index}");
        }
        let hashes = Hashes::default();
        for n in 0..=STATE_HASHES_KEPT as u64 {
            hashes.keep(n, n);
        }
        assert_eq!((hashes.at(0), hashes.at(1)), (None, Some(1)));
        let differs = hashes.0.differs.subscribe();
        // What was never known cannot differ.
        assert!(hashes.compare(0, 77) && hashes.compare(1, 1) && differs.borrow().is_none());
        assert!(!hashes.compare(1, 2));
        assert_eq!(*differs.borrow(), Some(1));
    }
}
