//! What members ask each other about the group, and what the leader does for them.

use parallax_proto::peer;
use parallax_proto::peer::member_service_server::MemberService;
use parallax_runtime::transport::peer_of;
use tonic::{Request, Response, Status};

use super::account::Accounts;
use super::change::{Changer, Done};
use crate::api::refusal_status;
use crate::core::state::{Asked, identified};
use crate::peers::gate::Gate;

/// The service of one member.
#[derive(Clone)]
pub struct MemberServer {
    accounts: Accounts,
    changer: Changer,
    gate: Gate,
}

impl MemberServer {
    /// Answers whom `gate` lets in.
    pub fn new(accounts: Accounts, changer: Changer, gate: Gate) -> Self {
        Self { accounts, changer, gate }
    }

    fn admit<T>(
        &self,
        request: &Request<T>,
        hello: Option<&peer::PeerHello>,
    ) -> Result<(), Status> {
        let hello = hello.ok_or_else(|| Status::invalid_argument("hello: is missing"))?;
        self.gate.admit_member(&peer_of(request)?.identity, hello).map(|_| ())
    }
}

#[tonic::async_trait]
impl MemberService for MemberServer {
    async fn get_member(
        &self,
        request: Request<peer::GetMemberRequest>,
    ) -> Result<Response<peer::GetMemberResponse>, Status> {
        self.admit(&request, request.get_ref().hello.as_ref())?;
        Ok(Response::new(self.accounts.own().await))
    }

    async fn change_members(
        &self,
        request: Request<peer::ChangeMembersRequest>,
    ) -> Result<Response<peer::ChangeMembersResponse>, Status> {
        self.admit(&request, request.get_ref().hello.as_ref())?;
        let peer::ChangeMembersRequest { actor, request_id, request_digest, change, .. } =
            request.into_inner();
        let actor = actor.ok_or_else(|| Status::invalid_argument("actor: is missing"))?;
        let id = identified(request_id).map_err(|refusal| refusal_status(&refusal))?;
        let change = change.and_then(|change| change.change);
        let change = change.ok_or_else(|| Status::invalid_argument("change: is missing"))?;
        let asked = Asked { id, actor, digest: request_digest };
        let Done { node_id, revision } = self.changer.change_here(&asked, &change).await?;
        Ok(Response::new(peer::ChangeMembersResponse { node_id, revision }))
    }
}
