//! The bulk lane: windows up, acknowledgements down.
//!
//! A window that breaks a rule is counted, shown against its probe and not kept; the lane goes on,
//! and the window is acknowledged so that it is not sent again. All others are acknowledged when
//! the history has them on its disk, in the order in which they came; meanwhile the lane reads on.
//!
//! Nobody waits for a window, and somebody may wait for an outcome. So a lane gives way after every portion
//! of windows: the same threads carry the live lanes and the judge, and what has arrived for those goes first.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parallax_common::limits::{HISTORY_FRAMES_WAITING_MAX, HISTORY_QUEUE_KIB_MAX};
use parallax_common::time::MeshTime;
use parallax_proto::v1;
use parallax_proto::v1::bulk_request::Frame as Up;
use parallax_proto::v1::bulk_response::Frame as Down;
use parallax_runtime::transport::{PeerInfo, peer_of};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::Who;
use super::live::{Inner, SessionServer};
use crate::core::plan::Work;
use crate::history::intake::{Admitted, Waiting};
use crate::history::{Batch, Receipt, Spool};

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
    let mut waiting: VecDeque<(v1::WindowsAck, Receipt)> = VecDeque::new();
    loop {
        tokio::select! {
            message = inbound.message(), if waiting.len() < HISTORY_FRAMES_WAITING_MAX => {
                let Some(message) = message? else { return Ok(()) };
                let frame = checked(message)?;
                waiting.push_back(keep(inner, &who, frame).await?);
            }
            ack = next_kept(&mut waiting) => {
                let frame = v1::BulkResponse { frame: Some(Down::Ack(ack?)) };
                if outbound.send(Ok(frame)).await.is_err() {
                    return Ok(());
                }
            }
        }
    }
}

/// The windows of a frame that follows the hello.
fn checked(message: v1::BulkRequest) -> Result<v1::Windows, Status> {
    let Some(Up::Windows(windows)) = message.frame else {
        return Err(Status::invalid_argument("only windows follow the hello"));
    };
    if windows.windows.is_empty() || windows.windows.len() > WINDOWS_MAX {
        return Err(Status::invalid_argument("1 to 16384 windows in a frame"));
    }
    if windows.first_sequence == 0 || windows.first_sequence > SEQUENCE_MAX {
        return Err(Status::invalid_argument("first_sequence: out of range"));
    }
    Ok(windows)
}

/// The acknowledgement of the oldest frame, once it is kept; never while none waits. May be dropped
/// and begun again.
async fn next_kept(
    waiting: &mut VecDeque<(v1::WindowsAck, Receipt)>,
) -> Result<v1::WindowsAck, Status> {
    let Some((ack, receipt)) = waiting.front_mut() else { return std::future::pending().await };
    receipt.kept().await.map_err(|closed| Status::unavailable(closed.to_string()))?;
    let ack = *ack;
    waiting.pop_front();
    Ok(ack)
}

/// Hands what may be kept of one frame to the history, and counts the rest against its probe.
/// Waits while the history has much to do.
async fn keep(
    inner: &Inner,
    who: &Who,
    windows: v1::Windows,
) -> Result<(v1::WindowsAck, Receipt), Status> {
    let through_sequence = windows.first_sequence.saturating_add(windows.windows.len() as u64 - 1);
    let spool = Spool {
        region: who.region.as_str().into(),
        probe: who.probe.as_str().into(),
        incarnation: who.incarnation,
    };
    let work = inner.plan.borrow().for_probe(&who.region, &who.probe).assignments;
    let now = inner.clock.now();
    let admitted = in_turns(&work, &spool, windows, now).await;
    let Admitted { windows, sights, refused } = admitted;
    inner.certificates.take(&spool.region, sights);
    if refused.count > 0 {
        inner.sessions.count_refusal(&who.region, &who.probe, refused.count, &refused.last);
    }
    let mut batch = Batch { spool, windows, now, room: None };
    let kib = (batch.bytes() / 1_024 + 1).min(HISTORY_QUEUE_KIB_MAX);
    let room = Arc::clone(inner.history.gate())
        .acquire_many_owned(u32::try_from(kib).unwrap_or(u32::MAX))
        .await
        .map_err(|_| Status::unavailable("the history store is closed"))?;
    batch.room = Some(room);
    let ack = v1::WindowsAck { through_sequence, refused: refused.count };
    Ok((ack, inner.history.append(batch)))
}

/// What may be kept of a frame, looked at in portions. After each of them, the last one too, all others have
/// their turn, and what has arrived on any connection meanwhile is seen.
async fn in_turns(work: &Work, spool: &Spool, frame: v1::Windows, now: MeshTime) -> Admitted {
    let (mut admitted, mut waiting) = (Admitted::default(), Waiting::of(frame));
    loop {
        let more = admitted.take(work, spool, &mut waiting, now);
        tokio::task::yield_now().await;
        if !more {
            return admitted;
        }
    }
}

#[cfg(test)]
mod tests {
    use parallax_common::limits::INTAKE_PORTION;
    use parallax_common::name::Incarnation;

    use super::*;

    /// How often another task has its turn while a frame of so many windows is looked at.
    async fn turns(windows: usize) -> usize {
        let spool = Spool { region: "eu".into(), probe: "p".into(), incarnation: Incarnation(1) };
        let (count, windows) = (windows as u64, vec![v1::Window::default(); windows]);
        let frame = v1::Windows { first_sequence: 1, windows, replay: false };
        let (work, mut turns) = (Work::new(), 0);
        let others = async {
            loop {
                turns += 1;
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            biased;
            admitted = in_turns(&work, &spool, frame, MeshTime::from_ns(0)) => {
                // None of them is whole.
                assert_eq!(admitted.refused.count, count);
            }
            () = others => {}
        }
        turns
    }

    #[tokio::test]
    async fn others_have_their_turn_after_every_portion_of_a_frame() {
        assert_eq!(turns(1).await, 1);
        assert_eq!(turns(INTAKE_PORTION).await, 1);
        assert_eq!(turns(4 * INTAKE_PORTION).await, 4);
        assert_eq!(turns(WINDOWS_MAX).await, WINDOWS_MAX / INTAKE_PORTION);
    }
}
