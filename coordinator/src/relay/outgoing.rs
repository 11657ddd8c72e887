//! What waits on a stream between members that relays: bounded in frames and in bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parallax_common::limits::RELAY_BYTES_MAX;
use parallax_proto::peer::{self, relay_frame};
use parallax_proto::v1;
use prost::Message as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt as _};
use tonic::Status;

/// One frame, whichever end says it.
#[derive(Debug)]
pub enum Say {
    /// What both ends say.
    Relay(relay_frame::Frame),
    /// The leader measures.
    Ping(v1::Ping),
    /// It is answered.
    Pong(v1::Pong),
    /// An order for a probe that the other end hears.
    Order(peer::RelayedOrder),
    /// A life of a probe is to go.
    Superseded(peer::SupersededProbe),
    /// The last: why the stream ends.
    End(Status),
}

impl Say {
    fn bytes(&self) -> usize {
        match self {
            Self::Relay(relay_frame::Frame::Lane(lane)) => lane.encoded_len(),
            Self::Relay(relay_frame::Frame::Heard(heard)) => heard.encoded_len(),
            Self::Relay(relay_frame::Frame::Wanted(wanted)) => wanted.encoded_len(),
            // A few hundred bytes at most.
            _ => 256,
        }
    }
}

/// The end that speaks.
#[derive(Debug, Clone)]
pub struct Outgoing {
    frames: mpsc::Sender<(Say, usize)>,
    bytes: Arc<AtomicUsize>,
}

/// The end that sends.
#[derive(Debug)]
pub struct Queue {
    frames: mpsc::Receiver<(Say, usize)>,
    bytes: Arc<AtomicUsize>,
}

/// A queue of at most so many frames.
pub fn channel(frames_max: usize) -> (Outgoing, Queue) {
    let (frames, waiting) = mpsc::channel(frames_max);
    let bytes = Arc::<AtomicUsize>::default();
    (Outgoing { frames, bytes: Arc::clone(&bytes) }, Queue { frames: waiting, bytes })
}

impl Outgoing {
    /// Queues a frame; false when there is no room for it, or nobody sends any more.
    pub fn say(&self, say: Say) -> bool {
        let bytes = say.bytes();
        if self.bytes.fetch_add(bytes, Ordering::AcqRel) + bytes > RELAY_BYTES_MAX {
            self.bytes.fetch_sub(bytes, Ordering::AcqRel);
            return false;
        }
        let queued = self.frames.try_send((say, bytes)).is_ok();
        if !queued {
            self.bytes.fetch_sub(bytes, Ordering::AcqRel);
        }
        queued
    }
}

impl Queue {
    fn into_frames(self) -> impl Stream<Item = Say> + Send + 'static {
        let bytes = self.bytes;
        ReceiverStream::new(self.frames).map(move |(say, length)| {
            bytes.fetch_sub(length, Ordering::AcqRel);
            say
        })
    }

    /// As the end that was dialled sends it.
    pub fn into_responses(
        self,
    ) -> impl Stream<Item = Result<peer::RelayResponse, Status>> + Send + 'static {
        use peer::relay_response::Frame;
        self.into_frames().filter_map(|say| {
            let frame = match say {
                Say::Relay(frame) => Frame::Relay(peer::RelayFrame { frame: Some(frame) }),
                Say::Ping(ping) => Frame::Ping(ping),
                Say::Order(order) => Frame::Order(order),
                Say::Superseded(superseded) => Frame::Superseded(superseded),
                Say::End(status) => return Some(Err(status)),
                // Only the end that dialled is measured.
                Say::Pong(_) => return None,
            };
            Some(Ok(peer::RelayResponse { frame: Some(frame) }))
        })
    }

    /// As the end that dialled sends it, after its hello.
    pub fn into_requests(
        self,
        hello: peer::PeerHello,
    ) -> impl Stream<Item = peer::RelayRequest> + Send + 'static {
        use peer::relay_request::Frame;
        let first = peer::RelayRequest { frame: Some(Frame::Hello(hello)) };
        let rest = self.into_frames().filter_map(|say| {
            let frame = match say {
                Say::Relay(frame) => Frame::Relay(peer::RelayFrame { frame: Some(frame) }),
                Say::Pong(pong) => Frame::Pong(pong),
                // Only a leader says these, and a leader is dialled.
                Say::Ping(_) | Say::Order(_) | Say::Superseded(_) | Say::End(_) => return None,
            };
            Some(peer::RelayRequest { frame: Some(frame) })
        });
        tokio_stream::once(first).chain(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evidence(bytes: usize) -> Say {
        let why = "x".repeat(bytes);
        let goodbye = v1::live_request::Frame::Goodbye(v1::ProbeGoodbye { why });
        let frame = Some(v1::LiveRequest { frame: Some(goodbye) });
        Say::Relay(relay_frame::Frame::Lane(peer::LaneFrame { lane: 1, offset_ns: 0, frame }))
    }

    #[tokio::test]
    async fn what_waits_is_bounded_in_frames_and_in_bytes() {
        let (out, queue) = channel(2);
        assert!(out.say(evidence(1)) && out.say(evidence(1)));
        assert!(!out.say(evidence(1)), "frames");
        drop(queue);
        let (out, queue) = channel(1_000);
        let large = RELAY_BYTES_MAX / 4;
        assert!(out.say(evidence(large)) && out.say(evidence(large)) && out.say(evidence(large)));
        assert!(!out.say(evidence(large)), "bytes");
        // What was sent makes room.
        let mut frames = Box::pin(queue.into_responses());
        assert!(frames.next().await.is_some());
        assert!(out.say(evidence(large)));
        drop(frames);
        assert!(!out.say(evidence(1)), "nobody sends");
    }
}
