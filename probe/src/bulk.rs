//! The bulk lanes of one session: windows up, acknowledgements down.
//!
//! One lane carries this life's windows for as long as the session lives. What earlier lives have left
//! goes over lanes of its own, one after the other, each under the incarnation of its life: the
//! coordinator knows a window by (incarnation, sequence), whoever brings it. Both share one bounded rate
//! for what was there before the session ([`crate::core::pace`]), this life before the others; what is
//! sealed meanwhile is sent at once, unless it is behind that in its own lane: a coordinator takes the
//! windows of one life in order, and drops what is behind. None of it votes.
//!
//! A lane that ends is opened again, and the session goes on without it meanwhile. When a coordinator
//! ends it over what it was sent, those windows are sent one by one, and the one that it is over is set
//! aside for that coordinator. So it is when a lane ends without a word over the same windows again and
//! again while its session lives on: what they do to a coordinator need not leave it able to speak.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use bytes::Bytes;
use parallax_common::limits::{
    BACK_OFF_MAX, BACK_OFF_MIN, DIAL_TIMEOUT, LANE_END_GRACE, SPOOL_REFUSALS_MAX,
    WINDOWS_UNACKNOWLEDGED_MAX,
};
use parallax_common::name::Incarnation;
use parallax_proto::v1;
use parallax_proto::v1::session_service_client::SessionServiceClient;
use parallax_runtime::clock;
use prost::Message as _;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt as _};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tracing::{debug, error, info, warn};

use crate::core::pace::{Pace, Turn, Whose};
use crate::core::spool::{Claim, Portion};
use crate::metrics::Metrics;
use crate::spool::{Place, Spooler};
use crate::wire;

/// Frames waiting in one lane.
const FRAMES: usize = 64;
/// What one frame carries.
const PORTION: Portion = Portion { windows: 512, bytes: 256 * 1024 };
/// A window that is sent by itself.
const ALONE: Portion = Portion { windows: 1, bytes: 1 };

/// The bulk side of one session.
#[derive(Debug, Clone)]
pub struct Bulk {
    /// Where windows come from.
    pub spooler: Spooler,
    /// The coordinator's node id.
    pub node: u64,
    /// Said at the beginning of each lane, with the life that it carries.
    pub hello: v1::Hello,
    /// The session's connection.
    pub client: SessionServiceClient<Channel>,
    /// Where refusals are counted.
    pub metrics: Arc<Metrics>,
    /// What its lanes may send of what was spooled.
    pub pace: watch::Sender<Pace>,
    /// Cancelled with the session.
    pub end: CancellationToken,
}

/// Why a lane ended before its session.
#[derive(Debug, thiserror::Error)]
enum LaneError {
    #[error("it did not open within {} s", DIAL_TIMEOUT.as_secs())]
    NotOpen,
    #[error("{} ({:?})", .0.message(), .0.code())]
    Ended(Status),
    #[error("the stream ended")]
    Closed,
    #[error("the coordinator said goodbye: {0}")]
    Goodbye(String),
}

impl From<Status> for LaneError {
    fn from(status: Status) -> Self {
        Self::Ended(status)
    }
}

impl LaneError {
    /// Whether the coordinator has ended the lane over what came through it. A broken connection has
    /// an error of the transport behind it.
    fn is_refusal(&self) -> bool {
        let Self::Ended(status) = self else { return false };
        let codes = [Code::InvalidArgument, Code::Internal, Code::OutOfRange, Code::DataLoss];
        codes.contains(&status.code()) && std::error::Error::source(status).is_none()
    }

    /// Whether the lane has ended without a word. If its session lives on, that was no broken connection.
    fn is_silent(&self) -> bool {
        match self {
            Self::Closed => true,
            Self::Ended(status) => {
                let codes = [Code::Unknown, Code::Cancelled, Code::Internal];
                codes.contains(&status.code()) && !self.is_refusal()
            }
            Self::NotOpen | Self::Goodbye(_) => false,
        }
    }
}

/// How a lane ended.
struct Ended {
    why: Result<(), LaneError>,
    /// First and last window that were on their way.
    on_its_way: Option<(u64, u64)>,
    /// Something was acknowledged.
    moved: bool,
}

impl From<LaneError> for Ended {
    fn from(why: LaneError) -> Self {
        Self { why: Err(why), on_its_way: None, moved: false }
    }
}

impl Bulk {
    /// Delivers for as long as the session lives.
    pub async fn run(self) {
        let _attached = self.spooler.attach(self.node);
        tokio::join!(self.ours(), self.earlier());
    }

    async fn ours(&self) {
        let life = self.spooler.incarnation();
        self.again_and_again(|| Some(life)).await;
    }

    async fn earlier(&self) {
        tokio::select! {
            () = self.spooler.opened() => {}
            () = self.end.cancelled() => return,
        }
        self.again_and_again(|| self.spooler.owed(self.node)).await;
    }

    /// Keeps a lane open for the life that is next, until there is none or the session ends.
    async fn again_and_again(&self, next: impl Fn() -> Option<Incarnation>) {
        let mut pause = BACK_OFF_MIN;
        while let Some(life) = next() {
            let Ended { why, on_its_way, moved } = self.lane(life).await;
            let error = match why {
                Ok(()) if self.end.is_cancelled() => return,
                Ok(()) => {
                    info!(node = self.node, life = life.0, "an earlier life is delivered");
                    pause = BACK_OFF_MIN;
                    continue;
                }
                Err(error) => error,
            };
            debug!(node = self.node, life = life.0, %error, "a bulk lane ended");
            if moved {
                pause = BACK_OFF_MIN;
            }
            if error.is_refusal() {
                self.ended_over(life, on_its_way, &error);
            }
            let at_least = if error.is_silent() { LANE_END_GRACE } else { pause };
            tokio::select! {
                () = tokio::time::sleep(pause.max(at_least)) => {}
                // If it said nothing, the connection broke.
                () = self.end.cancelled() => return,
            }
            if error.is_silent() {
                self.ended_over(life, on_its_way, &error);
            }
            pause = (pause * 2).min(BACK_OFF_MAX);
        }
    }

    /// The coordinator has ended a lane over what was on its way.
    fn ended_over(&self, life: Incarnation, on_its_way: Option<(u64, u64)>, why: &LaneError) {
        let Some((first, last)) = on_its_way else { return };
        let Self { spooler, node, metrics, .. } = self;
        let times = match why.is_refusal() {
            true => spooler.refused(life, *node, (first, last)),
            false => spooler.cut(life, *node, (first, last)),
        };
        warn!(node, first, last, times, %why, "a coordinator ended a lane over windows");
        if times >= SPOOL_REFUSALS_MAX && first == last {
            error!(
                node,
                life = life.0,
                window = first,
                %why,
                "a window is set aside: this coordinator ends the lane over it again and again"
            );
            metrics.windows_set_aside.fetch_add(1, Relaxed);
            spooler.acknowledge(life, *node, first);
        }
    }

    /// One lane, from its opening to its end: the session's, or that of what there is in an earlier
    /// life.
    async fn lane(&self, life: Incarnation) -> Ended {
        let (frames, outward) = mpsc::channel(FRAMES);
        let hello = v1::Hello { incarnation: life.0, ..self.hello.clone() };
        // Empty channels have room.
        let _ = frames.try_send(wire::bulk_hello(hello));
        let mut client = self.client.clone();
        let opening = client.bulk(ReceiverStream::new(outward));
        let inward = tokio::select! {
            opened = tokio::time::timeout(DIAL_TIMEOUT, opening) => match opened {
                Ok(Ok(opened)) => opened.into_inner(),
                Ok(Err(status)) => return LaneError::from(status).into(),
                Err(_) => return LaneError::NotOpen.into(),
            },
            () = self.end.cancelled() => {
                return Ended { why: Ok(()), on_its_way: None, moved: false };
            }
        };
        self.over(life, inward, frames).await
    }

    /// An open lane, to its end.
    async fn over(
        &self,
        life: Incarnation,
        inward: impl Stream<Item = Result<v1::BulkResponse, Status>> + Unpin,
        outward: mpsc::Sender<v1::BulkRequest>,
    ) -> Ended {
        let whose = match life == self.spooler.incarnation() {
            true => Whose::Ours,
            false => Whose::Earlier,
        };
        let (cursor, replay_through) = self.spooler.place(life, self.node);
        let mut lane = Lane {
            bulk: self,
            life,
            whose,
            cursor,
            acknowledged: cursor - 1,
            replay_through,
            place: None,
            paused_until: clock::instant(),
        };
        let why = lane.deliver(inward, outward).await;
        lane.behind(false);
        let (first, last) = (lane.acknowledged + 1, lane.cursor - 1);
        let on_its_way = (first <= last).then_some((first, last));
        Ended { why, on_its_way, moved: first > cursor }
    }
}

/// One lane.
struct Lane<'a> {
    bulk: &'a Bulk,
    life: Incarnation,
    whose: Whose,
    /// Next window to send.
    cursor: u64,
    acknowledged: u64,
    /// Windows up to here were spooled before the lane was opened.
    replay_through: u64,
    place: Option<Place>,
    /// Nothing more before: the disk is asked again then.
    paused_until: Instant,
}

/// Windows that wait for room in the lane.
struct Ready {
    first: u64,
    windows: Vec<Bytes>,
}

/// What there is to do.
enum Next {
    Send(Ready),
    Wait,
    Over,
}

impl Lane<'_> {
    async fn deliver(
        &mut self,
        mut inward: impl Stream<Item = Result<v1::BulkResponse, Status>> + Unpin,
        outward: mpsc::Sender<v1::BulkRequest>,
    ) -> Result<(), LaneError> {
        let mut changes = self.bulk.spooler.changes();
        let mut paces = self.bulk.pace.subscribe();
        let mut ready: Option<Ready> = None;
        loop {
            // What changes from here on wakes us again.
            changes.borrow_and_update();
            paces.borrow_and_update();
            let mut pause = self.pause();
            if ready.is_none() && pause.is_none() {
                match self.next().await {
                    Next::Send(windows) => ready = Some(windows),
                    Next::Wait => {}
                    Next::Over => return Ok(()),
                }
                // While the coordinator lets it send nothing more, or takes nothing, the others may.
                self.behind(ready.is_some() && outward.capacity() > 0);
                pause = self.pause();
            }
            let paused = ready.is_none() && pause.is_some();
            let until = pause.flatten().unwrap_or_else(|| clock::instant() + BACK_OFF_MAX);
            tokio::select! {
                frame = inward.next() => match frame.ok_or(LaneError::Closed)??.frame {
                    Some(v1::bulk_response::Frame::Ack(ack)) => self.acknowledged(ack),
                    Some(v1::bulk_response::Frame::Goodbye(goodbye)) => {
                        return Err(LaneError::Goodbye(goodbye.why));
                    }
                    None => {}
                },
                permit = outward.reserve(), if ready.is_some() => {
                    let permit = permit.map_err(|_| LaneError::Closed)?;
                    if let Some(ready) = ready.take() {
                        permit.send(self.frame(ready));
                    }
                }
                _ = changes.changed(), if ready.is_none() && !paused => {}
                _ = paces.changed(), if paused => {}
                () = tokio::time::sleep_until(until.into()), if paused => {}
                () = self.bulk.end.cancelled() => return Ok(()),
            }
        }
    }

    /// Whether what is next was spooled before the lane was opened.
    fn is_replay(&self) -> bool {
        self.cursor <= self.replay_through
    }

    /// Nothing is sent now: until when, if that is known.
    fn pause(&self) -> Option<Option<Instant>> {
        let now = clock::instant();
        if self.paused_until > now {
            return Some(Some(self.paused_until));
        }
        let boot = clock::boot_time();
        match self.bulk.pace.borrow().turn(self.whose, boot) {
            _ if !self.is_replay() => None,
            Turn::Now => None,
            Turn::At(at) => Some(Some(now + at.since(boot))),
            Turn::AfterOurs => Some(None),
        }
    }

    /// Whether this life has something spooled to send, and may: then the others wait.
    fn behind(&self, can_send: bool) {
        if self.whose == Whose::Ours {
            let first = can_send && self.is_replay();
            self.bulk.pace.send_if_modified(|pace| pace.ours_first(first));
        }
    }

    /// The next windows, from memory or from the disk.
    async fn next(&mut self) -> Next {
        let Bulk { spooler, node, .. } = self.bulk;
        let in_flight = self.cursor > self.acknowledged + 1;
        let suspect = spooler.is_suspect(self.life, *node, self.acknowledged + 1)
            || spooler.is_suspect(self.life, *node, self.cursor);
        if suspect && in_flight {
            return Next::Wait;
        }
        // With nothing on its way there is no limit in numbers: some of them may have left.
        let through = match in_flight {
            true => self.acknowledged + WINDOWS_UNACKNOWLEDGED_MAX,
            false => u64::MAX,
        };
        let portion = if suspect { ALONE } else { PORTION };
        let range = (self.cursor, through);
        match spooler.claim(self.life, *node, range, portion) {
            Claim::Windows(first, windows) => Next::Send(Ready { first, windows }),
            Claim::Disk(segment, from) => {
                let read = spooler.read((segment, from), self.place, portion).await;
                let Some(batch) = read else {
                    // Merged, delivered or set aside meanwhile; or the disk fails, and is asked again.
                    self.paused_until = clock::instant() + BACK_OFF_MIN;
                    return Next::Wait;
                };
                self.place = Some(batch.next);
                Next::Send(Ready { first: batch.first, windows: batch.windows })
            }
            Claim::Nothing => Next::Wait,
            Claim::Over if in_flight => Next::Wait,
            Claim::Over => Next::Over,
        }
    }

    fn frame(&mut self, ready: Ready) -> v1::BulkRequest {
        let Ready { first, windows } = ready;
        let replay = first <= self.replay_through;
        let bytes: usize = windows.iter().map(Bytes::len).sum();
        if replay {
            let now = clock::boot_time();
            self.bulk.pace.send_modify(|pace| pace.sent(bytes as u64, now));
        }
        if self.cursor == self.acknowledged + 1 {
            // What was before it has left.
            self.acknowledged = first - 1;
        }
        self.cursor = first + windows.len() as u64;
        self.behind(true);
        // Encoded by a life of this probe; an empty window would be refused and counted.
        let read = |bytes: Bytes| v1::Window::decode(bytes).unwrap_or_default();
        wire::windows(first, windows.into_iter().map(read).collect(), replay)
    }

    fn acknowledged(&mut self, ack: v1::WindowsAck) {
        let v1::WindowsAck { through_sequence: through, refused } = ack;
        let Bulk { spooler, node, metrics, .. } = self.bulk;
        spooler.acknowledge(self.life, *node, through);
        self.acknowledged = self.acknowledged.max(through.min(self.cursor - 1));
        if refused > 0 {
            warn!(node, refused, "a coordinator refused windows");
            metrics.windows_refused.fetch_add(refused, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests;
