//! The end that is dialled: the leader's, for whoever is a member.

use std::pin::Pin;

use parallax_common::limits::{PEER_HELLO_WITHIN, RELAY_FRAMES_MAX};
use parallax_proto::peer;
use parallax_proto::peer::relay_request::Frame;
use parallax_proto::peer::relay_service_server::{RelayService, RelayServiceServer};
use parallax_runtime::supervisor::TaskKind;
use parallax_runtime::transport::peer_of;
use tokio_stream::{Stream, StreamExt as _};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};
use tracing::debug;

use super::outgoing::{self, Say};
use super::stream::{Said, Talk};
use super::{RELAY_FRAME_BYTES_MAX, Relays};
use crate::peers::gate::Breach;

/// The service.
#[derive(Clone)]
pub struct RelayServer {
    relays: Relays,
}

impl RelayServer {
    pub(super) fn new(relays: Relays) -> Self {
        Self { relays }
    }

    /// As routes take it.
    pub fn into_service(self) -> RelayServiceServer<Self> {
        RelayServiceServer::new(self)
            .max_decoding_message_size(RELAY_FRAME_BYTES_MAX)
            .max_encoding_message_size(RELAY_FRAME_BYTES_MAX)
    }
}

#[tonic::async_trait]
impl RelayService for RelayServer {
    type RelayStream = Pin<Box<dyn Stream<Item = Result<peer::RelayResponse, Status>> + Send>>;

    async fn relay(
        &self,
        request: Request<Streaming<peer::RelayRequest>>,
    ) -> Result<Response<Self::RelayStream>, Status> {
        let parts = &self.relays.0.parts;
        let from = peer_of(&request)?.clone();
        let permit = parts.gate.stream(&from)?;
        let mut frames = request.into_inner();
        let no_hello = || {
            let status = Status::invalid_argument("a stream between members begins with a hello");
            parts.gate.breach(&from, Breach::NoHello, status)
        };
        let first = tokio::time::timeout(PEER_HELLO_WITHIN, frames.message()).await;
        let first = first.map_err(|_| no_hello())??;
        let Some(Frame::Hello(hello)) = first.and_then(|first| first.frame) else {
            return Err(no_hello());
        };
        let member = parts.gate.admit_member(&from.identity, &hello)?.node_id;
        let (out, queue) = outgoing::channel(RELAY_FRAMES_MAX);
        let (relays, stop) = (self.relays.clone(), parts.supervisor.stop_token());
        parts.supervisor.spawn(TaskKind::Session("relay"), async move {
            let _permit = permit;
            let frames = frames.map(|frame| frame.map(Said::from));
            let talk = Talk::new(relays, member, out.clone(), CancellationToken::new(), true);
            let ended = tokio::select! {
                () = stop.cancelled() => Ok(()),
                ended = talk.run(frames) => ended,
            };
            if let Err(status) = ended {
                debug!(member, why = status.message(), "a relay ended");
                // Whoever does not read is not waited for.
                out.say(Say::End(status));
            }
        });
        Ok(Response::new(Box::pin(queue.into_responses())))
    }

    async fn read_clock(
        &self,
        request: Request<peer::ReadClockRequest>,
    ) -> Result<Response<peer::ReadClockResponse>, Status> {
        let parts = &self.relays.0.parts;
        let identity = peer_of(&request)?.identity.clone();
        let hello = request.into_inner().hello;
        let hello = hello.ok_or_else(|| Status::invalid_argument("hello: is missing"))?;
        // Also of one that has just been let in and whose row is not applied here yet: time is no
        // secret among members.
        parts.gate.admit_identity(&identity, &hello)?;
        let known = parts.clock.is_known();
        let mesh_ns = if known { parts.clock.now().as_ns() } else { 0 };
        Ok(Response::new(peer::ReadClockResponse { known, mesh_ns }))
    }
}
