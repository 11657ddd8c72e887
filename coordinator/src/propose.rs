//! The only way to change the state: stamp a command, propose it, wait until it is applied.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parallax_common::limits::ENTRY_BYTES_MAX;
use parallax_proto::store::entry::Command;
use parallax_proto::{store, v1};
use parallax_runtime::clock;
use prost::Message as _;
use tracing::debug;

use crate::core::state::{Answer, LEVEL, Refusal};
use crate::mesh_clock::MeshClock;
use crate::raft::node::{NodeHandle, ProposeError, ReadError};
use crate::view::View;

/// How long a proposal may take before its caller is told that nobody knows.
const DEADLINE: Duration = Duration::from_secs(5);

/// A page goes out only when leadership was confirmed less than this ago.
const LEADERSHIP_WITHIN: Duration = Duration::from_secs(1);

/// Why a command was not carried out, or why it is not known whether it was.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// It broke a rule in apply.
    #[error("{}", .0.message)]
    Refused(Refusal),
    /// It could not be replicated.
    #[error(transparent)]
    Propose(#[from] ProposeError),
}

/// Stamps commands and proposes them.
#[derive(Clone)]
pub struct Proposer {
    node: NodeHandle<Answer>,
    view: View,
    clock: Arc<MeshClock>,
}

/// Who proposes, and on whose request.
#[derive(Debug, Clone, Default)]
pub struct Origin {
    /// From the certificate.
    pub actor: v1::Actor,
    /// Present for what a client may repeat.
    pub request_id: Option<v1::RequestId>,
    /// Of what the client asked for; 0 without a request id.
    pub request_digest: u64,
    /// "api", "leader", a file name.
    pub source: String,
}

impl Origin {
    /// What this coordinator does by itself, as the leader.
    pub fn leader(name: &str) -> Self {
        let actor = v1::Actor {
            kind: "coordinator".to_owned(),
            name: name.to_owned(),
            role: String::new(),
        };
        Self { actor, source: "leader".to_owned(), ..Self::default() }
    }
}

impl Proposer {
    /// A proposer to this member's Raft node.
    pub fn new(node: NodeHandle<Answer>, view: View, clock: Arc<MeshClock>) -> Self {
        Self { node, view, clock }
    }

    /// Proposes `command` and gives the answer of its application: the revision and the subjects.
    ///
    /// # Errors
    /// [`WriteError::Refused`] when apply refused it, [`WriteError::Propose`] when it could not be
    /// replicated, is larger than an entry may be, or the deadline passed (it may still be).
    pub async fn write(
        &self,
        origin: Origin,
        command: Command,
    ) -> Result<(u64, Vec<String>), WriteError> {
        let utc = clock::utc().max(self.view.load().last_utc());
        let entry = store::Entry {
            min_level: LEVEL,
            request_id: origin.request_id,
            request_digest: origin.request_digest,
            actor: Some(origin.actor),
            utc_ns: utc.as_ns(),
            mesh_ns: self.clock.now().as_ns(),
            source: origin.source,
            command: Some(command),
        };
        let committed = self.node.propose(Bytes::from(entry.encode_to_vec()), DEADLINE).await?;
        match committed.output {
            Answer::Accepted { revision, subjects } => Ok((revision, subjects)),
            Answer::Refused(refusal) => Err(WriteError::Refused(refusal)),
        }
    }

    /// Stages `changes` in parts of at most 256 KiB and commits them in one entry.
    ///
    /// # Errors
    /// As [`Self::write`]; after a refusal nothing of it is in force.
    pub async fn write_config(
        &self,
        origin: Origin,
        namespace: String,
        set: String,
        take: bool,
        changes: Vec<store::ConfigChange>,
    ) -> Result<(u64, Vec<String>), WriteError> {
        // A name of its own: the same request, tried again while this is in flight, stages beside
        // it, and the first commit wins.
        let txn = uuid::Uuid::now_v7().to_string();
        let staging = Origin { request_id: None, request_digest: 0, ..origin.clone() };
        let mut commit = store::CommitConfig { txn, namespace, set, take, ..Default::default() };
        let written = match self.stage(&staging, &mut commit, changes).await {
            Ok(()) => self.write(origin, Command::CommitConfig(commit.clone())).await,
            Err(error) => Err(error),
        };
        if written.is_err() {
            let command = Command::DropStage(store::DropStage { txn: commit.txn });
            if let Err(error) = self.write(staging, command).await {
                debug!(%error, "a stage was left behind, it expires by itself");
            }
        }
        written
    }

    /// Proposes the parts, and writes into `commit` how many there are and what they say.
    async fn stage(
        &self,
        origin: &Origin,
        commit: &mut store::CommitConfig,
        changes: Vec<store::ConfigChange>,
    ) -> Result<(), WriteError> {
        let mut hash = ring::digest::Context::new(&ring::digest::SHA256);
        for part in split(&commit.txn, &commit.namespace, changes) {
            commit.parts += 1;
            hash.update(&part.encode_to_vec());
            self.write(origin.clone(), Command::StageConfig(part)).await?;
        }
        commit.sha256 = Bytes::copy_from_slice(hash.finish().as_ref());
        Ok(())
    }

    /// Waits until everything committed before this call is applied here.
    ///
    /// # Errors
    /// When no leader confirms in time.
    pub async fn barrier(&self) -> Result<u64, ReadError> {
        self.node.read_index(DEADLINE).await
    }

    /// Whether this member leads, as a quorum confirms after this call. Ends within a second.
    pub async fn confirm_leadership(&self) -> bool {
        self.node.leadership().borrow().leader
            && self.node.read_index(LEADERSHIP_WITHIN).await.is_ok()
            && self.node.leadership().borrow().leader
    }

    /// The Raft node, for its status.
    pub fn node(&self) -> &NodeHandle<Answer> {
        &self.node
    }
}

/// Cuts the changes into parts that leave room for the entry around them.
fn split(txn: &str, namespace: &str, changes: Vec<store::ConfigChange>) -> Vec<store::StageConfig> {
    const PART_BYTES_MAX: usize = ENTRY_BYTES_MAX - 8 * 1024;
    let mut parts: Vec<store::StageConfig> = Vec::new();
    let mut room = 0;
    for change in changes {
        let size = change.encoded_len() + 8;
        if parts.is_empty() || size > room {
            let part = u32::try_from(parts.len()).unwrap_or(u32::MAX);
            parts.push(store::StageConfig {
                txn: txn.to_owned(),
                part,
                changes: Vec::new(),
                namespace: namespace.to_owned(),
            });
            room = PART_BYTES_MAX;
        }
        room -= size.min(room);
        if let Some(last) = parts.last_mut() {
            last.changes.push(change);
        }
    }
    parts
}

#[cfg(test)]
mod tests;
