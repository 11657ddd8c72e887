//! The leader's end: takes commands of other members and proposes them as its own.
//!
//! Nothing is decided here but whether the command may travel at all; a member that does not lead
//! says who does and forwards nothing further, so that no command goes round in circles.

use std::sync::Arc;

use parallax_common::limits::{FORWARD_BYTES_MAX, WRITE_WITHIN};
use parallax_proto::peer::forward_service_server::{ForwardService, ForwardServiceServer};
use parallax_proto::{convert, peer};
use parallax_runtime::transport::{Identity, peer_of};
use tonic::{Request, Response, Status};

use super::outcome;
use crate::core::forwarding::Travel;
use crate::propose::Proposer;

/// Whether a member that shows this certificate and this hello is let in; the status says why not.
pub type Admit = Arc<dyn Fn(&Identity, &peer::PeerHello) -> Result<(), Status> + Send + Sync>;

/// The service, for the peer listener.
#[derive(Clone)]
pub struct ForwardServer {
    proposer: Proposer,
    admit: Admit,
}

impl ForwardServer {
    /// Proposes through `proposer` what members bring that `admit` lets in.
    pub fn new(proposer: Proposer, admit: Admit) -> Self {
        Self { proposer, admit }
    }

    /// As routes take it.
    pub fn into_service(self) -> ForwardServiceServer<Self> {
        ForwardServiceServer::new(self).max_decoding_message_size(FORWARD_BYTES_MAX)
    }
}

#[tonic::async_trait]
impl ForwardService for ForwardServer {
    async fn propose(
        &self,
        request: Request<peer::ProposeRequest>,
    ) -> Result<Response<peer::ProposeResponse>, Status> {
        let identity = peer_of(&request)?.identity.clone();
        let peer::ProposeRequest { hello, entry, within } = request.into_inner();
        let hello = hello.ok_or_else(|| Status::invalid_argument("hello: is missing"))?;
        (self.admit)(&identity, &hello)?;
        let entry = entry.ok_or_else(|| Status::invalid_argument("entry: is missing"))?;
        if !Travel::of(&entry).forwarded() {
            return Err(Status::invalid_argument(
                "entry.command: only what people ask for under a request id, stages, pages and \
                 what a member says of itself are forwarded",
            ));
        }
        let within = within.as_ref().and_then(convert::time::duration);
        let within = within.unwrap_or(WRITE_WITHIN).min(WRITE_WITHIN);
        let proposed = self.proposer.propose_here(entry, within).await;
        Ok(Response::new(peer::ProposeResponse { outcome: Some(outcome(proposed)?) }))
    }
}
