//! The way of a command from a member that does not lead to the one that does.
//!
//! [`Forwarder`] asks, [`server::ForwardServer`] answers. Which commands travel is in
//! `core/forwarding.rs`; who asks, how often and for how long is in `propose.rs`.

pub mod server;

use std::sync::Arc;
use std::time::Duration;

use parallax_common::limits::FORWARD_BYTES_MAX;
use parallax_proto::peer::forward_service_client::ForwardServiceClient;
use parallax_proto::peer::propose_response::Outcome;
use parallax_proto::{convert, peer, store};
use parallax_runtime::transport::dial_error;
use tonic::{Code, Status};

use crate::core::state::{Answer, Refusal};
use crate::peers::Peers;
use crate::raft::node::ProposeError;

/// The hello of this member to the one with this node id.
pub type Introduce = Arc<dyn Fn(u64) -> peer::PeerHello + Send + Sync>;

/// Why a leader gave no answer of apply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ForwardError {
    /// Its address is not in the book. Nothing was sent.
    #[error("its address is not known here")]
    Unknown,
    /// It did not take the command, or could not be reached. Nothing was proposed.
    #[error("{0}")]
    NotTaken(String),
    /// The connection broke, or it did not answer in time. The entry may be committed.
    #[error("{0}, the entry may still be committed")]
    Lost(String),
    /// What became of the proposal there.
    #[error(transparent)]
    Propose(ProposeError),
    /// It does not know either. The entry may be committed.
    #[error("{0}")]
    Unsettled(String),
}

impl ForwardError {
    /// Whether the entry may be in the log.
    pub fn may_be_written(&self) -> bool {
        match self {
            Self::Lost(_) | Self::Unsettled(_) => true,
            Self::Unknown | Self::NotTaken(_) => false,
            Self::Propose(error) => error.may_be_written(),
        }
    }
}

/// Asks other members to propose.
#[derive(Clone)]
pub struct Forwarder {
    peers: Peers,
    introduce: Introduce,
}

impl Forwarder {
    /// One that finds members in `peers` and says hello with `introduce`.
    pub fn new(peers: Peers, introduce: Introduce) -> Self {
        Self { peers, introduce }
    }

    /// How people call the member.
    pub fn name(&self, node_id: u64) -> String {
        match self.peers.get(node_id) {
            Some(peer) => format!("{} ({node_id})", peer.name),
            None => node_id.to_string(),
        }
    }

    /// Has the member `leader` propose `entry` and waits for its answer.
    ///
    /// # Errors
    /// [`ForwardError`], which says whether the entry may be in the log.
    pub async fn propose(
        &self,
        leader: u64,
        entry: store::Entry,
        within: Duration,
    ) -> Result<Answer, ForwardError> {
        let channel = self.peers.channel(leader).ok_or(ForwardError::Unknown)?;
        let request = peer::ProposeRequest {
            hello: Some((self.introduce)(leader)),
            entry: Some(entry),
            within: Some(convert::time::duration_to(within)),
        };
        let mut client =
            ForwardServiceClient::new(channel).max_decoding_message_size(FORWARD_BYTES_MAX);
        match tokio::time::timeout(within, client.propose(request)).await {
            Err(_) => Err(ForwardError::Lost(format!("it did not answer within {within:?}"))),
            Ok(Err(status)) => Err(failed(&status)),
            Ok(Ok(response)) => answer(response.into_inner().outcome),
        }
    }
}

/// What a status means for the command: what a member says before it proposes, or a connection that
/// never came about, leaves nothing behind.
fn failed(status: &Status) -> ForwardError {
    let text = match status.message() {
        "" => status.code().description().to_owned(),
        message => message.to_owned(),
    };
    if let Some(error) = dial_error(status) {
        return ForwardError::NotTaken(parallax_runtime::error::causes(error));
    }
    match status.code() {
        Code::InvalidArgument
        | Code::PermissionDenied
        | Code::Unauthenticated
        | Code::FailedPrecondition
        | Code::Unimplemented => ForwardError::NotTaken(text),
        _ => ForwardError::Lost(text),
    }
}

fn answer(outcome: Option<Outcome>) -> Result<Answer, ForwardError> {
    match outcome {
        Some(Outcome::Accepted(accepted)) => Ok(Answer::Accepted {
            revision: accepted.revision,
            subjects: accepted.subjects,
            counts: accepted.counts.unwrap_or_default(),
        }),
        Some(Outcome::Refused(refused)) => Ok(Answer::Refused(Refusal {
            rule: refused.rule.into(),
            message: refused.message,
            subjects: refused.subjects,
        })),
        Some(Outcome::NotLeader(other)) => Err(ForwardError::Propose(ProposeError::NotLeader {
            leader: Some(other.leader_id).filter(|leader| *leader != 0),
        })),
        Some(Outcome::Overloaded(_)) => Err(ForwardError::Propose(ProposeError::Overloaded)),
        Some(Outcome::TooLarge(large)) => Err(ForwardError::Propose(ProposeError::TooLarge {
            bytes: usize::try_from(large.bytes).unwrap_or(usize::MAX),
            max: usize::try_from(large.max).unwrap_or(usize::MAX),
        })),
        Some(Outcome::Unknown(unknown)) => Err(ForwardError::Unsettled(unknown.why)),
        None => Err(ForwardError::Unsettled("its answer is of a newer build".to_owned())),
    }
}

/// The answer of a member that proposed, or tried to.
fn outcome(proposed: Result<Answer, ProposeError>) -> Result<Outcome, Status> {
    Ok(match proposed {
        Ok(Answer::Accepted { revision, subjects, counts }) => {
            Outcome::Accepted(peer::ProposeAccepted { revision, subjects, counts: Some(counts) })
        }
        Ok(Answer::Refused(Refusal { rule, message, subjects })) => {
            Outcome::Refused(peer::ProposeRefused { rule: rule.into_owned(), message, subjects })
        }
        Err(ProposeError::NotLeader { leader }) => {
            Outcome::NotLeader(peer::ProposeNotLeader { leader_id: leader.unwrap_or(0) })
        }
        Err(ProposeError::Overloaded) => Outcome::Overloaded(peer::ProposeOverloaded {}),
        Err(ProposeError::TooLarge { bytes, max }) => {
            Outcome::TooLarge(peer::ProposeTooLarge { bytes: bytes as u64, max: max as u64 })
        }
        Err(error @ ProposeError::Empty) => {
            return Err(Status::invalid_argument(error.to_string()));
        }
        Err(
            error @ (ProposeError::Deadline(_) | ProposeError::Dropped | ProposeError::Stopped),
        ) => Outcome::Unknown(peer::ProposeUnknown { why: error.to_string() }),
    })
}

#[cfg(test)]
mod tests;
