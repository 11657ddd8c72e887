//! Being let in: what a new member asks, and what a running one answers.

use std::time::Duration;

use parallax_common::limits::CALL_ANSWER_WITHIN;
use parallax_proto::peer::join_service_client::JoinServiceClient;
use parallax_proto::peer::join_service_server::JoinService;
use parallax_proto::store::entry::Command;
use parallax_proto::{peer, store};
use parallax_runtime::error::causes;
use parallax_runtime::transport::{self, Credentials, Identity, peer_of};
use tonic::{Code, Request, Response, Status};
use tracing::{info, warn};

use crate::api::{RULE_KEY, refusal_status, unread, write_status};
use crate::core::state::State;
use crate::level::level;
use crate::propose::{Origin, Proposer};
use crate::view::View;
use crate::{BUILD, identity};

/// Between two attempts to join.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// A cluster does not take this member.
#[derive(Debug, thiserror::Error)]
#[error("{address} does not let this member in: {why}")]
pub struct JoinError {
    /// Who was asked.
    pub address: String,
    /// What it said.
    pub why: String,
    /// The rule that was broken, when it named one.
    pub rule: Option<String>,
}

/// Asks the member at `address` until it answers.
///
/// # Errors
/// What it refuses for, which does not get better by asking again.
pub async fn join(
    address: &str,
    credentials: &Credentials,
    identity: &identity::Identity,
) -> Result<peer::JoinResponse, JoinError> {
    let refused = |why| JoinError { address: address.to_owned(), why, rule: None };
    let targets = [address.to_owned()];
    loop {
        let why = match transport::connect(&targets, credentials, None).await {
            Err(error) if error.attempts.iter().all(|tried| tried.error.is_lasting()) => {
                return Err(refused(causes(&error)));
            }
            Err(error) => causes(&error),
            Ok(channel) => {
                let request = peer::JoinRequest {
                    disk_id: identity.disk_id.clone(),
                    build: BUILD.to_owned(),
                    level: level(),
                };
                let mut client = JoinServiceClient::new(channel);
                let answer = client.join(request);
                match tokio::time::timeout(CALL_ANSWER_WITHIN, answer).await {
                    Ok(Ok(answer)) => {
                        let answer = answer.into_inner();
                        info!(node_id = answer.node_id, address, "let into the cluster");
                        return Ok(answer);
                    }
                    Ok(Err(status)) if may_pass(&status) => status.message().to_owned(),
                    Ok(Err(status)) => {
                        let rule = status.metadata().get(RULE_KEY);
                        let rule = rule.and_then(|rule| rule.to_str().ok()).map(str::to_owned);
                        return Err(JoinError { rule, ..refused(status.message().to_owned()) });
                    }
                    Err(_) => "no answer".to_owned(),
                }
            }
        };
        warn!(address, why, "not joined yet, trying again");
        tokio::time::sleep(AGAIN_AFTER).await;
    }
}

/// Whether a refusal is of the moment.
fn may_pass(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Unavailable
            | Code::DeadlineExceeded
            | Code::ResourceExhausted
            | Code::Aborted
            | Code::Unknown
            | Code::Internal
            | Code::Cancelled
    )
}

/// Lets new members in.
#[derive(Clone)]
pub struct Doorkeeper {
    view: View,
    proposer: Proposer,
}

impl Doorkeeper {
    /// The service of one member.
    pub fn new(view: View, proposer: Proposer) -> Self {
        Self { view, proposer }
    }
}

#[tonic::async_trait]
impl JoinService for Doorkeeper {
    async fn join(
        &self,
        request: Request<peer::JoinRequest>,
    ) -> Result<Response<peer::JoinResponse>, Status> {
        let Identity::Coordinator { name, .. } = &peer_of(&request)?.identity else {
            return Err(Status::permission_denied("only a coordinator joins"));
        };
        let name = name.clone();
        let asked = request.into_inner();
        let barrier = self.proposer.barrier().await;
        barrier.map_err(|error| unread(&error))?;
        let row = expected(&self.view.load(), &name, &asked.disk_id)?;
        if row.disk_id.is_empty() {
            // From here on the node id belongs to this disk. Of two machines with one name the
            // second is refused by apply.
            let command = Command::AnnounceMember(store::AnnounceMember {
                node_id: row.node_id,
                name: name.clone(),
                disk_id: asked.disk_id,
                build: asked.build,
                level: asked.level,
                ..store::AnnounceMember::default()
            });
            self.proposer.write(Origin::member(&name), command).await.map_err(write_status)?;
        }
        let state = self.view.load();
        Ok(Response::new(peer::JoinResponse {
            node_id: row.node_id,
            cluster_id: state.cluster.cluster_id.clone(),
            members: state.live_members().cloned().collect(),
        }))
    }
}

/// The row that was made for whoever comes with this name and disk.
fn expected(state: &State, name: &str, disk_id: &str) -> Result<store::MemberRow, Status> {
    if let Some(row) = state.member_named(name) {
        let admitted = state.admitted(row.node_id, name, disk_id);
        return admitted.cloned().map_err(|refusal| refusal_status(&refusal));
    }
    let before = state.members.values().find(|row| row.name == name && row.disk_id == disk_id);
    if let Some(row) = before {
        let admitted = state.admitted(row.node_id, name, disk_id);
        return admitted.cloned().map_err(|refusal| refusal_status(&refusal));
    }
    Err(Status::failed_precondition(format!(
        "no member \"{name}\" is expected; add it first: parallax cluster add {name} HOST:PORT"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> State {
        let mut state = State::default();
        let rows = [
            (1, "c1", "disk-1", false),
            (2, "c2", "disk-2", true),
            (3, "c3", "", false),
            (4, "c2", "disk-4", false),
            (5, "c5", "disk-5", true),
        ];
        for (node_id, name, disk_id, removed) in rows {
            let row = store::MemberRow {
                node_id,
                name: name.into(),
                disk_id: disk_id.into(),
                removed,
                ..store::MemberRow::default()
            };
            state.members.insert(node_id, row.into());
        }
        state
    }

    #[test]
    fn who_is_expected_gets_the_node_id_of_its_name_and_disk_and_no_other_does() {
        let cases = [
            ("c3", "new", Ok(3)),
            ("c1", "disk-1", Ok(1)),
            ("c4", "new", Err("no member \"c4\" is expected")),
            ("c1", "new", Err("lives on another disk")),
            ("c2", "disk-2", Err("lives on another disk")),
            ("c5", "disk-5", Err("was removed")),
            ("c5", "new", Err("no member \"c5\" is expected")),
            ("c3", "", Err("lives on another disk")),
        ];
        for (name, disk, answer) in cases {
            match (expected(&state(), name, disk), answer) {
                (Ok(row), Ok(node_id)) => assert_eq!(row.node_id, node_id, "{name} {disk}"),
                (Err(status), Err(why)) => {
                    assert!(status.message().contains(why), "{name} {disk}: {}", status.message());
                    assert!(!may_pass(&status), "{name} {disk}");
                }
                (got, _) => panic!("{name} {disk}: {got:?}"),
            }
        }
    }
}
