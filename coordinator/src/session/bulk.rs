//! The bulk lane: windows up, acknowledgements down.
//!
//! A window that breaks a rule is counted, shown against its probe and not kept; the lane goes on,
//! and the window is acknowledged so that it is not sent again.

use std::time::Duration;

use parallax_proto::v1;
use parallax_proto::v1::bulk_request::Frame as Up;
use parallax_proto::v1::bulk_response::Frame as Down;
use parallax_runtime::transport::{PeerInfo, peer_of};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::Who;
use super::live::{Inner, SessionServer};
use crate::history::{Spool, intake};

/// Acknowledgements that may wait for a slow probe.
const ACKS_MAX: usize = 64;
const HELLO_WITHIN: Duration = Duration::from_secs(5);
/// A spool never gets there: room to add to it without a thought.
const SEQUENCE_MAX: u64 = u64::MAX / 2;
/// Windows in one frame.
const WINDOWS_MAX: usize = 16_384;

type Outbound = mpsc::Sender<Result<v1::BulkResponse, Status>>;

impl SessionServer {
    pub(super) async fn take_bulk(
        &self,
        request: Request<Streaming<v1::BulkRequest>>,
    ) -> Result<Response<ReceiverStream<Result<v1::BulkResponse, Status>>>, Status> {
        let peer = peer_of(&request)?.clone();
        let inbound = request.into_inner();
        let (outbound, receive) = mpsc::channel(ACKS_MAX);
        let server = self.clone();
        let stop = self.inner.sessions.stop_token();
        self.inner.sessions.spawn("bulk lane", async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = server.run_bulk(peer, inbound, outbound) => {}
            }
        });
        Ok(Response::new(ReceiverStream::new(receive)))
    }

    async fn run_bulk(
        &self,
        peer: PeerInfo,
        mut inbound: Streaming<v1::BulkRequest>,
        outbound: Outbound,
    ) {
        let inner = &self.inner;
        if let Err(status) = talk(inner, &peer, &mut inbound, &outbound).await {
            inner.sessions.refuse(&peer, &status);
            // The probe may be gone already.
            let _ = outbound.try_send(Err(status));
        }
    }
}

async fn talk(
    inner: &Inner,
    peer: &PeerInfo,
    inbound: &mut Streaming<v1::BulkRequest>,
    outbound: &Outbound,
) -> Result<(), Status> {
    let first = tokio::time::timeout(HELLO_WITHIN, inbound.message())
        .await
        .map_err(|_| Status::deadline_exceeded("no hello came within 5 s"))??;
    let hello = match first {
        Some(v1::BulkRequest { frame: Some(Up::Hello(hello)) }) => hello,
        None => return Err(Status::cancelled("the stream ended before it began")),
        _ => return Err(Status::invalid_argument("the first frame must be a hello")),
    };
    let who = Who::from_hello(peer, &hello, &inner.view.load().cluster.mesh)?;
    while let Some(message) = inbound.message().await? {
        let Some(Up::Windows(windows)) = message.frame else {
            return Err(Status::invalid_argument("only windows follow the hello"));
        };
        if windows.windows.is_empty() || windows.windows.len() > WINDOWS_MAX {
            return Err(Status::invalid_argument("1 to 16384 windows in a frame"));
        }
        if windows.first_sequence == 0 || windows.first_sequence > SEQUENCE_MAX {
            return Err(Status::invalid_argument("first_sequence: out of range"));
        }
        let spool = Spool {
            region: who.region.as_str().into(),
            probe: who.probe.as_str().into(),
            incarnation: who.incarnation,
        };
        let through_sequence =
            windows.first_sequence.saturating_add(windows.windows.len() as u64 - 1);
        let refused = keep(inner, &who, &spool, windows);
        let ack = v1::WindowsAck { through_sequence, refused };
        let frame = v1::BulkResponse { frame: Some(Down::Ack(ack)) };
        if outbound.send(Ok(frame)).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// Keeps what may be kept of one frame, and counts the rest against its probe.
fn keep(inner: &Inner, who: &Who, spool: &Spool, windows: v1::Windows) -> u64 {
    let work = inner.plan.borrow().for_probe(&who.region, &who.probe).assignments;
    let refused = intake::keep(&*inner.history, &work, spool, windows, inner.clock.now());
    if refused.count > 0 {
        inner.sessions.count_refusal(&who.region, &who.probe, refused.count, &refused.last);
    }
    refused.count
}
