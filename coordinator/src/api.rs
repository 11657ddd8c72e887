//! The gRPC surface for people and tools. One service a file; here is what they share: who may,
//! how reads wait, and how refusals become statuses.

pub mod backup;
pub mod budget;
pub mod checks;
pub mod closed;
pub mod cluster;
pub mod config;
pub mod contacts;
pub mod fleet;
pub mod history;
pub mod incidents;
pub mod looks;
pub mod maintenance;
pub mod page;
pub mod regions;
pub mod settings;
pub mod silences;
pub mod status;

use std::sync::Arc;

use parallax_common::limits::{HISTORY_QUESTIONS_MAX, REFUSAL_BYTES_MAX, TEXT_BYTES_MAX};
use parallax_common::rule;
use parallax_common::text::cut;
use parallax_proto::store::entry::Command;
use parallax_proto::{store, v1};
use parallax_runtime::transport::{Identity, Role as Need, peer_of};
use tokio::sync::{Semaphore, oneshot, watch};
use tonic::{Code, Request, Status};

use self::budget::Budget;
use crate::alert::Budgets;
use crate::alert::certificates::Certificates;
use crate::core::plan::Plan;
use crate::core::state::{Answer, Asked, Refusal, State, identified};
use crate::forward::ForwardError;
use crate::history::History;
use crate::judge::JudgeHandle;
use crate::notify::Sender;
use crate::propose::{Origin, Proposer, WriteError, fits_one_entry};
use crate::quorum::Quorum;
use crate::raft::node::{ProposeError, ReadError};
use crate::session::Sessions;
use crate::view::View;
use crate::watch::Changes;

/// The namespace of requests that name none.
pub const DEFAULT_NAMESPACE: &str = "default";
/// Metadata key that carries the id of the rule that was broken.
pub const RULE_KEY: &str = "parallax-rule";

/// What every service needs.
#[derive(Clone)]
pub struct Api {
    inner: Arc<Inner>,
}

struct Inner {
    view: View,
    proposer: Proposer,
    judge: JudgeHandle,
    sessions: Sessions,
    changes: Changes,
    reading: Budget,
    quorum: Quorum,
    backups: backup::Places,
    node_id: u64,
    history: Arc<dyn History>,
    budgets: Budgets,
    certificates: Certificates,
    sender: Arc<dyn Sender>,
    name: String,
    plan: watch::Receiver<Arc<Plan>>,
    /// Questions of history that may still be asked at once.
    questions: Arc<Semaphore>,
}

/// What the services of one member are made of.
pub struct Parts {
    /// The published state.
    pub view: View,
    /// The way to change it.
    pub proposer: Proposer,
    /// What votes say now.
    pub judge: JudgeHandle,
    /// Who is connected.
    pub sessions: Sessions,
    /// The last changes, for watchers.
    pub changes: Changes,
    /// Whether this member sees a leader.
    pub quorum: Quorum,
    /// This member.
    pub node_id: u64,
    /// What probes measured.
    pub history: Arc<dyn History>,
    /// What is left of error budgets.
    pub budgets: Budgets,
    /// What regions were shown of certificates.
    pub certificates: Certificates,
    /// What carries a page, for one that is a test.
    pub sender: Arc<dyn Sender>,
    /// This member's name.
    pub name: String,
    /// Who runs what.
    pub plan: watch::Receiver<Arc<Plan>>,
}

impl Api {
    /// The services of one member.
    pub fn new(parts: Parts) -> Self {
        let Parts {
            view,
            proposer,
            judge,
            sessions,
            changes,
            quorum,
            node_id,
            history,
            budgets,
            certificates,
            sender,
            name,
            plan,
        } = parts;
        let reading = Budget::default();
        let backups = backup::Places::default();
        let questions = Arc::new(Semaphore::new(HISTORY_QUESTIONS_MAX));
        let inner = Inner {
            view,
            proposer,
            judge,
            sessions,
            changes,
            reading,
            quorum,
            backups,
            node_id,
            history,
            budgets,
            certificates,
            sender,
            name,
            plan,
            questions,
        };
        Self { inner: Arc::new(inner) }
    }

    /// Who calls, when their certificate allows it in this namespace.
    fn caller<T>(
        &self,
        request: &Request<T>,
        namespace: &str,
        need: Need,
    ) -> Result<v1::Actor, Status> {
        Self::actor(&peer_of(request)?.identity, namespace, need)
    }

    /// The same of somebody who is known already.
    fn actor(identity: &Identity, namespace: &str, need: Need) -> Result<v1::Actor, Status> {
        if !identity.may(need, namespace) {
            return Err(Status::permission_denied(format!(
                "{} may not {need} in namespace {namespace}",
                identity.describe()
            )));
        }
        let (kind, role) = match identity {
            Identity::User { role, .. } => ("user", role.to_string()),
            Identity::Coordinator { .. } => ("coordinator", String::new()),
            Identity::Probe { .. } => ("probe", String::new()),
        };
        Ok(v1::Actor { kind: kind.to_owned(), name: identity.name().to_owned(), role })
    }

    /// The state to answer from: linearizable, unless the caller takes what is here.
    async fn read(&self, stale: bool) -> Result<Arc<State>, Status> {
        if !stale {
            let barrier = async { self.inner.proposer.barrier().await.map_err(|it| unread(&it)) };
            self.unless_stopping(barrier).await?;
        }
        Ok(self.inner.view.load())
    }

    async fn write(&self, asked: Asked, command: Command) -> Result<(u64, Vec<String>), Status> {
        let proposer = &self.inner.proposer;
        let origin = origin(asked, "api".to_owned());
        let write = async { proposer.write(origin, command).await.map_err(write_status) };
        self.unless_stopping(write).await
    }

    /// Once this member stops, messages of others reach it no more, and whoever waits for them here
    /// would wait in vain: they are told to ask elsewhere.
    async fn unless_stopping<T>(
        &self,
        answer: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, Status> {
        let stop = self.inner.sessions.stop_token();
        tokio::select! {
            biased;
            answer = answer => answer,
            () = stop.cancelled() => Err(Status::unavailable(
                "the coordinator stops; ask another one, with the same request id to learn what became \
                 of a write",
            )),
        }
    }

    /// Commits in one entry, or stages and commits, also when the caller goes away meanwhile: a stage
    /// that nobody finishes would take the place of others until it expires.
    async fn write_config(
        &self,
        asked: Asked,
        source: String,
        target: (String, String),
        take: bool,
        changes: Vec<store::ConfigChange>,
    ) -> Result<(u64, Vec<String>), Status> {
        let (namespace, set) = target;
        if fits_one_entry(&changes) {
            let (proposer, origin) = (&self.inner.proposer, origin(asked, source));
            let written = proposer.write_config(origin, namespace, set, take, changes);
            return self.unless_stopping(async { written.await.map_err(write_status) }).await;
        }
        let proposer = self.inner.proposer.clone();
        let (tell, told) = oneshot::channel();
        self.inner.sessions.spawn("apply", async move {
            let origin = origin(asked, source);
            let written = proposer.write_config(origin, namespace, set, take, changes).await;
            // Nobody may be waiting any more.
            let _ = tell.send(written);
        });
        let stops = |_| Status::unavailable("the coordinator stops");
        let written = async { told.await.map_err(stops)?.map_err(write_status) };
        self.unless_stopping(written).await
    }

    /// The revision of a request that was carried out before, and what it wrote.
    fn replay(&self, asked: &Asked) -> Result<Option<(u64, store::CommitCounts)>, Status> {
        match self.inner.view.load().replayed(asked) {
            Ok(Some(Answer::Accepted { revision, counts, .. })) => Ok(Some((revision, counts))),
            Ok(Some(Answer::Refused(refusal))) | Err(refusal) => Err(refusal_status(&refusal)),
            Ok(None) => Ok(None),
        }
    }
}

/// The status for a read that cannot be answered from the newest state: another member may.
pub(crate) fn unread(error: &ReadError) -> Status {
    match error {
        ReadError::StandsStill(_) => Status::unavailable(error.to_string()),
        error => Status::unavailable(format!("no leader confirms: {error}")),
    }
}

fn origin(asked: Asked, source: String) -> Origin {
    let Asked { id, actor, digest } = asked;
    Origin { actor, request_id: Some(id), request_digest: digest, source }
}

/// A write as it is remembered. One without a request id could be carried out twice by a client
/// that tries again; `content` is everything else that the request says.
fn asked(
    actor: v1::Actor,
    request_id: Option<v1::RequestId>,
    method: &str,
    content: impl IntoIterator<Item = Vec<u8>>,
) -> Result<Asked, Status> {
    let id = identified(request_id).map_err(|refusal| refusal_status(&refusal))?;
    let mut hash = ring::digest::Context::new(&ring::digest::SHA256);
    hash.update(method.as_bytes());
    for part in content {
        hash.update(&(part.len() as u64).to_be_bytes());
        hash.update(&part);
    }
    let mut first = [0; 8];
    first.copy_from_slice(&hash.finish().as_ref()[..8]);
    Ok(Asked { id, actor, digest: u64::from_be_bytes(first) })
}

/// Refuses a free text that is longer than the state may keep.
fn bounded(field: &str, text: &str) -> Result<(), Status> {
    if text.len() <= TEXT_BYTES_MAX {
        return Ok(());
    }
    let message = format!("{field}: {} bytes, the most is {TEXT_BYTES_MAX}", text.len());
    Err(with_rule(Status::invalid_argument(message), rule::TEXT_TOO_LONG.id))
}

/// The namespace a request means.
fn namespace_of(given: &str) -> &str {
    if given.is_empty() { DEFAULT_NAMESPACE } else { given }
}

/// The status for a write that failed. The one table of its kind.
pub(crate) fn write_status(error: WriteError) -> Status {
    if let WriteError::Refused(refusal) = error {
        return refusal_status(&refusal);
    }
    if error.may_be_written() {
        return Status::unavailable(format!(
            "{error}; ask again with the same request id to learn what became of it"
        ));
    }
    let proposed = match &error {
        WriteError::Propose(error) => Some(error),
        WriteError::Forward { source: ForwardError::Propose(error), .. } => Some(error),
        _ => None,
    };
    match proposed {
        Some(ProposeError::Overloaded | ProposeError::TooLarge { .. } | ProposeError::Empty) => {
            Status::resource_exhausted(error.to_string())
        }
        _ => Status::unavailable(error.to_string()),
    }
}

pub(crate) fn refusal_status(refusal: &Refusal) -> Status {
    let code = match refusal.rule.as_ref() {
        "not_found" | "member_unknown" | "unknown_check" => Code::NotFound,
        "conflict" | "stage_unknown" | "stage_incomplete" => Code::Aborted,
        "in_use" | "depends_cycle" | "other_set" | "incident_closed" | "still_failing"
        | "members_too_many" | "member_exists" | "member_removed" | "member_other_name"
        | "member_other_disk" | "member_last" | "state_disputed" | "level_too_low"
        | "silence_over" => Code::FailedPrecondition,
        "request_late" | "request_id_reused" => Code::AlreadyExists,
        "request_ids"
        | "client_request_ids"
        | "staged_bytes"
        | "stages_open"
        | "namespace_staged_bytes"
        | "namespace_stages"
        | "silences_too_many"
        | "hours_too_many"
        | "maintenance_too_many" => Code::ResourceExhausted,
        _ => Code::InvalidArgument,
    };
    // A client gives up on headers that are too long, and then nobody learns of the rule.
    with_rule(Status::new(code, cut(&refusal.message, REFUSAL_BYTES_MAX)), &refusal.rule)
}

fn with_rule(mut status: Status, rule: &str) -> Status {
    if let Ok(value) = rule.parse() {
        status.metadata_mut().insert(RULE_KEY, value);
    }
    status
}

fn not_found(kind: &str, name: &str) -> Status {
    with_rule(Status::not_found(format!("{kind} {name} does not exist")), rule::NOT_FOUND.id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(method: &str, parts: &[&str]) -> u64 {
        let id = v1::RequestId { client: "c".into(), number: 1, lowest_open: 1 };
        let content = parts.iter().map(|part| part.as_bytes().to_vec());
        asked(v1::Actor::default(), Some(id), method, content).unwrap().digest
    }

    #[test]
    fn the_digest_of_a_request_is_of_all_that_it_asks_for() {
        let first = digest("apply", &["ab", "c"]);
        assert_eq!(first, digest("apply", &["ab", "c"]));
        for other in [digest("apply", &["a", "bc"]), digest("ack", &["ab", "c"])] {
            assert_ne!(first, other);
        }
    }

    #[test]
    fn a_write_without_a_usable_request_id_is_refused() {
        let id =
            |client: &str, number| v1::RequestId { client: client.into(), number, lowest_open: 1 };
        // Its answer would be forgotten at once, and the client kept for nothing.
        let not_waited_for = v1::RequestId { lowest_open: 8, ..id("c", 7) };
        assert!(identified(Some(v1::RequestId { lowest_open: 7, ..id("c", 7) })).is_ok());
        for bad in [
            None,
            Some(id("", 1)),
            Some(id("c", 0)),
            Some(id(&"c".repeat(65), 1)),
            Some(not_waited_for),
        ] {
            let status = asked(v1::Actor::default(), bad, "ack", []).unwrap_err();
            assert_eq!(status.code(), Code::InvalidArgument);
        }
    }

    #[test]
    fn a_text_above_its_bound_is_refused_by_its_name() {
        assert!(bounded("note", &"x".repeat(TEXT_BYTES_MAX)).is_ok());
        let status = bounded("note", &"x".repeat(TEXT_BYTES_MAX + 1)).unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().starts_with("note: "), "{}", status.message());
        assert_eq!(status.metadata().get(RULE_KEY).unwrap(), "text_too_long");
    }

    #[test]
    fn a_write_that_may_be_done_is_to_be_asked_again_and_one_that_is_not_says_why() {
        let forward = |source| WriteError::Forward { leader: "c2 (2)".to_owned(), source };
        let lost = || forward(ForwardError::Lost("it broke".to_owned()));
        let nobody = || WriteError::NoLeader {
            member: "c1".to_owned(),
            term: 7,
            voters: vec!["c1".to_owned(), "c2".to_owned()],
        };
        let overloaded = || ForwardError::Propose(ProposeError::Overloaded);
        let long = std::time::Duration::from_secs(5);
        // What happened, its code, and whether the caller has to ask again to know.
        let table = [
            (WriteError::Propose(ProposeError::Deadline(long)), Code::Unavailable, true),
            (WriteError::Propose(ProposeError::Dropped), Code::Unavailable, true),
            (WriteError::Propose(ProposeError::Overloaded), Code::ResourceExhausted, false),
            (
                WriteError::Propose(ProposeError::NotLeader { leader: None }),
                Code::Unavailable,
                false,
            ),
            (nobody(), Code::Unavailable, false),
            (lost(), Code::Unavailable, true),
            (forward(ForwardError::Unsettled("who knows".to_owned())), Code::Unavailable, true),
            (forward(ForwardError::Unknown), Code::Unavailable, false),
            (forward(overloaded()), Code::ResourceExhausted, false),
            (WriteError::Doubtful(Box::new(nobody())), Code::Unavailable, true),
        ];
        for (error, code, again) in table {
            let text = error.to_string();
            let status = write_status(error);
            assert_eq!(status.code(), code, "{text}");
            assert_eq!(status.message().contains("with the same request id"), again, "{text}");
        }
    }
}
