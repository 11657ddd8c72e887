//! The only way to change the state: stamp a command, propose it, wait until it is applied.
//!
//! On a member that does not lead, what may travel (`core/forwarding.rs`) goes to the leader, which
//! stamps and proposes it. A write goes on through a change of leader until its deadline: what was
//! not proposed is simply tried again, and what may have been is sent again under its request id, or
//! because it can be carried out twice without harm.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parallax_common::limits::{ENTRY_BYTES_MAX, FORWARD_PAUSE, WRITE_APPLIED_WITHIN, WRITE_WITHIN};
use parallax_proto::convert::request::shown;
use parallax_proto::store::entry::Command;
use parallax_proto::{store, v1};
use parallax_runtime::clock;
use parallax_runtime::error::causes;
use prost::Message as _;
use tokio::sync::watch;
use tracing::{debug, info, warn};

use crate::core::forwarding::Travel;
use crate::core::state::{Answer, Refusal, command_word};
use crate::forward::{ForwardError, Forwarder};
use crate::mesh_clock::MeshClock;
use crate::raft::node::{NodeHandle, ProposeError, ReadError};
use crate::view::View;

/// How long a linearizable read may wait for its round.
const READ_WITHIN: Duration = Duration::from_secs(5);

/// A page goes out only when leadership was confirmed less than this ago.
const LEADERSHIP_WITHIN: Duration = Duration::from_secs(1);

/// Why a command was not carried out, or why it is not known whether it was.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// It broke a rule in apply.
    #[error("{}", .0.message)]
    Refused(Refusal),
    /// This member could not have it replicated.
    #[error(transparent)]
    Propose(#[from] ProposeError),
    /// Nobody leads, as far as this member knows. Nothing was written.
    #[error(
        "\"{member}\" knows of no leader in term {term}, the voters are {}; nothing was written",
        voters.join(", ")
    )]
    NoLeader {
        /// This member's name.
        member: String,
        /// Its term.
        term: u64,
        /// Names of those that could be elected.
        voters: Vec<String>,
    },
    /// The leader could not have it replicated, or was not reached.
    #[error("member {leader} leads: {source}")]
    Forward {
        /// Its name and node id.
        leader: String,
        /// What became of it there.
        #[source]
        source: ForwardError,
    },
    /// The last attempt wrote nothing, but one before it may have.
    #[error("an earlier attempt may still be committed; then: {0}")]
    Doubtful(#[source] Box<WriteError>),
}

impl WriteError {
    /// Whether the entry may be in the log.
    pub fn may_be_written(&self) -> bool {
        match self {
            Self::Propose(error) => error.may_be_written(),
            Self::Forward { source, .. } => source.may_be_written(),
            Self::Doubtful(_) => true,
            Self::Refused(_) | Self::NoLeader { .. } => false,
        }
    }

    /// Whether this member does not lead, or not any more: the next leader knows what became of it.
    pub fn is_for_lack_of_office(&self) -> bool {
        matches!(self, Self::Propose(ProposeError::NotLeader { .. } | ProposeError::Dropped))
    }

    /// Whether nothing was written because of who leads, so that another attempt may do better.
    fn is_misdirected(&self) -> bool {
        match self {
            Self::NoLeader { .. }
            | Self::Propose(ProposeError::NotLeader { .. })
            | Self::Forward {
                source:
                    ForwardError::Unknown
                    | ForwardError::NotTaken(_)
                    | ForwardError::Propose(ProposeError::NotLeader { .. }),
                ..
            } => true,
            Self::Refused(_) | Self::Propose(_) | Self::Forward { .. } | Self::Doubtful(_) => false,
        }
    }
}

/// Says in the log of the member that took it what became of somebody's request, by the id that the asker
/// knows. What coordinators do by themselves has none.
fn tell(entry: &store::Entry, done: &Result<(u64, Vec<String>), WriteError>) {
    let Some(id) = &entry.request_id else { return };
    let actor = entry.actor.as_ref().map_or("", |actor| &actor.name);
    let (request, command) = (shown(id), command_word(entry.command.as_ref()));
    match done {
        Ok((revision, _)) => info!(request, actor, command, revision, "a request is carried out"),
        Err(WriteError::Refused(refusal)) => {
            info!(request, actor, command, rule = &*refusal.rule, "a request is refused");
        }
        Err(error) => {
            warn!(request, actor, command, error = causes(error), "a request is not carried out");
        }
    }
}

/// Stamps commands and proposes them.
#[derive(Clone)]
pub struct Proposer {
    node: NodeHandle<Answer>,
    node_id: u64,
    view: View,
    clock: Arc<MeshClock>,
    forwarder: Option<Forwarder>,
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
    /// "api", "leader", "member", a file name.
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

    /// The command with its origin, without the stamps of whoever proposes it.
    fn entry(self, command: Command) -> store::Entry {
        store::Entry {
            request_id: self.request_id,
            request_digest: self.request_digest,
            actor: Some(self.actor),
            source: self.source,
            command: Some(command),
            ..store::Entry::default()
        }
    }
}

impl Origin {
    /// What this coordinator says of itself, whoever leads.
    pub fn member(name: &str) -> Self {
        Self { source: "member".to_owned(), ..Self::leader(name) }
    }
}

impl Proposer {
    /// A proposer to this member's Raft node.
    pub fn new(node: NodeHandle<Answer>, view: View, clock: Arc<MeshClock>) -> Self {
        let node_id = node.status().node_id;
        Self { node, node_id, view, clock, forwarder: None }
    }

    /// The same, with a way to the leader when that is another member.
    pub fn forwarding(self, forwarder: Forwarder) -> Self {
        Self { forwarder: Some(forwarder), ..self }
    }

    /// Has `command` replicated, by whoever leads, and gives the answer of its application: the
    /// revision and the subjects. By then this member has applied it too, unless it lags behind.
    ///
    /// # Errors
    /// [`WriteError::Refused`] when apply refused it; anything else when it could not be replicated,
    /// is larger than an entry may be, or the deadline passed ([`WriteError::may_be_written`]).
    pub async fn write(
        &self,
        origin: Origin,
        command: Command,
    ) -> Result<(u64, Vec<String>), WriteError> {
        let entry = origin.entry(command);
        let done = self.carried_out(&entry).await;
        tell(&entry, &done);
        done
    }

    /// The same, and nothing is said of it.
    async fn carried_out(&self, entry: &store::Entry) -> Result<(u64, Vec<String>), WriteError> {
        let travels = Travel::of(entry).forwarded();
        let until = clock::instant() + WRITE_WITHIN;
        let mut leader = self.node.leader();
        let mut doubt = false;
        loop {
            let known = *leader.borrow_and_update();
            let error = match self.attempt(entry, known, travels, until, &mut leader).await {
                Ok(Answer::Accepted { revision, subjects, .. }) => {
                    self.reach(revision).await;
                    return Ok((revision, subjects));
                }
                Ok(Answer::Refused(refusal)) => return Err(WriteError::Refused(refusal)),
                Err(error) => error,
            };
            doubt |= error.may_be_written();
            let again = travels && (error.may_be_written() || error.is_misdirected());
            let left = until.saturating_duration_since(clock::instant());
            if !again || left.is_zero() {
                let wrap = doubt && !error.may_be_written();
                return Err(if wrap { WriteError::Doubtful(Box::new(error)) } else { error });
            }
            debug!(%error, "trying a write again");
            // A member that knows of no leader learns of the next one; one that does not lead any
            // more, and those that ask it, know that within a tick.
            let pause = if known.is_none() { left } else { FORWARD_PAUSE.min(left) };
            if let Ok(Err(_)) = tokio::time::timeout(pause, leader.changed()).await {
                return Err(ProposeError::Stopped.into());
            }
        }
    }

    /// The same under the leadership of this member only: one attempt, which goes nowhere else.
    ///
    /// # Errors
    /// As [`Self::write`], and [`WriteError::is_for_lack_of_office`].
    pub async fn write_here(
        &self,
        origin: Origin,
        command: Command,
    ) -> Result<(u64, Vec<String>), WriteError> {
        match self.propose_here(origin.entry(command), WRITE_WITHIN).await? {
            Answer::Accepted { revision, subjects, .. } => Ok((revision, subjects)),
            Answer::Refused(refusal) => Err(WriteError::Refused(refusal)),
        }
    }

    /// One attempt at the member that is known to lead.
    async fn attempt(
        &self,
        entry: &store::Entry,
        known: Option<u64>,
        travels: bool,
        until: Instant,
        leader: &mut watch::Receiver<Option<u64>>,
    ) -> Result<Answer, WriteError> {
        let left = until.saturating_duration_since(clock::instant());
        let (id, forwarder) = match (known, &self.forwarder) {
            (Some(id), Some(forwarder)) if travels && id != self.node_id => (id, forwarder),
            (None, _) if travels => return Err(self.no_leader()),
            _ => return Ok(self.propose_here(entry.clone(), left).await?),
        };
        let failed = |source| WriteError::Forward { leader: forwarder.name(id), source };
        tokio::select! {
            answer = forwarder.propose(id, entry.clone(), left) => answer.map_err(failed),
            // Its answer may never come, and whoever leads now can tell what became of it.
            moved = leader.wait_for(|now| *now != Some(id)) => Err(match moved {
                Ok(_) => failed(ForwardError::Lost("it lost its leadership".to_owned())),
                Err(_) => ProposeError::Stopped.into(),
            }),
        }
    }

    /// Proposes `entry`, stamped, on this member and nowhere else.
    ///
    /// # Errors
    /// What became of the proposal. A refusal by apply is an answer.
    pub async fn propose_here(
        &self,
        entry: store::Entry,
        within: Duration,
    ) -> Result<Answer, ProposeError> {
        // A start that is still asking for the time ends that within seconds.
        self.clock.known().await;
        let entry = self.stamp(entry);
        let committed = self.node.propose(Bytes::from(entry.encode_to_vec()), within).await?;
        Ok(committed.output)
    }

    /// What the one who proposes says in its own name.
    fn stamp(&self, mut entry: store::Entry) -> store::Entry {
        let state = self.view.load();
        let utc = clock::utc().max(state.last_utc());
        // What every member understands, but for the entry that says that they understand more.
        entry.min_level = match &entry.command {
            Some(Command::InitCluster(init)) => init.level,
            Some(Command::SetLevel(set)) => set.level,
            _ => state.cluster.level,
        };
        entry.utc_ns = utc.as_ns();
        entry.mesh_ns = self.clock.now().as_ns();
        // The pages that follow are claimed for the proposing leader.
        match &mut entry.command {
            Some(Command::ResolveIncident(resolve)) => resolve.node_id = self.node_id,
            Some(Command::ExpireSilence(expire)) => expire.node_id = self.node_id,
            Some(Command::ReviewHeld(review)) => review.node_id = self.node_id,
            Some(Command::Escalate(escalate)) => escalate.node_id = self.node_id,
            Some(Command::ChangeAlerts(change)) => change.node_id = self.node_id,
            _ => {}
        }
        entry
    }

    /// Waits until `revision` is applied and visible on this member, but not for ever.
    async fn reach(&self, revision: u64) {
        if self.view.load().applied >= revision {
            return;
        }
        let mut applied = self.node.applied_watch();
        let reached = applied.wait_for(|applied| *applied >= revision);
        if tokio::time::timeout(WRITE_APPLIED_WITHIN, reached).await.is_err() {
            debug!(revision, "a write is done, and not applied on this member yet");
        }
    }

    fn no_leader(&self) -> WriteError {
        let (status, state) = (self.node.status(), self.view.load());
        let name = |id: &u64| match state.members.get(id) {
            Some(row) => row.name.clone(),
            None => format!("member {id}"),
        };
        let voters = status.voters.iter().map(name).collect();
        WriteError::NoLeader { member: name(&self.node_id), term: status.term, voters }
    }

    /// Commits `changes` in one entry; what is too much for one is staged before, in parts of at most
    /// 256 KiB.
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
        let mut commit = store::CommitConfig { namespace, set, take, ..Default::default() };
        if fits_one_entry(&changes) {
            commit.changes = changes;
            return self.write(origin, Command::CommitConfig(commit)).await;
        }
        // A name of its own: the same request, tried again while this is in flight, stages beside
        // it, and the first commit wins.
        commit.txn = format!("{}{}", stager(self.node_id), uuid::Uuid::now_v7());
        let staging = Origin { request_id: None, request_digest: 0, ..origin.clone() };
        let parts = split(&commit.txn, &commit.namespace, changes);
        let written = match self.stage(&staging, &mut commit, parts).await {
            Ok(()) => self.write(origin, Command::CommitConfig(commit.clone())).await,
            Err(error) => Err(error),
        };
        // A first part that was refused has staged nothing.
        let is_first = commit.parts == 1 && commit.sha256.is_empty();
        let is_staged = !(is_first && matches!(written, Err(WriteError::Refused(_))));
        if written.is_err() && is_staged {
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
        parts: Vec<store::StageConfig>,
    ) -> Result<(), WriteError> {
        let mut hash = ring::digest::Context::new(&ring::digest::SHA256);
        for part in parts {
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
        self.node.read_index(READ_WITHIN).await
    }

    /// Whether this member leads, as a quorum confirms after this call. Ends within a second.
    pub async fn confirm_leadership(&self) -> bool {
        self.node.leadership().borrow().leader
            && self.confirm_state().await
            && self.node.leadership().borrow().leader
    }

    /// Whether all that was committed before this call is applied here, as a quorum confirms after
    /// it, through the leader if it is another member. Ends within a second.
    pub async fn confirm_state(&self) -> bool {
        self.node.read_index(LEADERSHIP_WITHIN).await.is_ok()
    }

    /// The Raft node, for its status.
    pub fn node(&self) -> &NodeHandle<Answer> {
        &self.node
    }
}

/// What the transactions begin with that the member `node_id` stages.
pub fn stager(node_id: u64) -> String {
    format!("{node_id}-")
}

/// Bytes of the changes in one entry: there is room for what is around them.
const PART_BYTES_MAX: usize = ENTRY_BYTES_MAX - 8 * 1024;

/// What a change takes of [`PART_BYTES_MAX`].
fn part_bytes(change: &store::ConfigChange) -> usize {
    change.encoded_len() + 8
}

/// Whether these changes are committed without being staged before.
pub fn fits_one_entry(changes: &[store::ConfigChange]) -> bool {
    changes.iter().map(part_bytes).sum::<usize>() <= PART_BYTES_MAX
}

/// Cuts the changes into parts that leave room for the entry around them.
fn split(txn: &str, namespace: &str, changes: Vec<store::ConfigChange>) -> Vec<store::StageConfig> {
    let mut parts: Vec<store::StageConfig> = Vec::new();
    let mut room = 0;
    for change in changes {
        let size = part_bytes(&change);
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
pub(crate) mod tests;
