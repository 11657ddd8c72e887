//! The link to one member: two queues that the Raft thread fills, and one task that empties them
//! into two streams.
//!
//! Heartbeats, votes and answers have a queue and a stream of their own. In one queue they would
//! stand behind entries, up to megabytes on a slow line, and a follower that hears nothing for an
//! election timeout stands for election: load would cost the leader its office. On one stream the
//! flow control of what is large would hold back what is small. Appends keep their order among
//! themselves, which is all that Raft is quicker with; it is correct in any order.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parallax_common::limits::{
    PEER_APPEND_BYTES_MAX, PEER_APPENDS_MAX, PEER_BACK_OFF_MAX, PEER_BACK_OFF_MIN,
    PEER_FRAME_BYTES_MAX, PEER_HELLO_WITHIN, PEER_MESSAGE_AGE_MAX, PEER_PING, PEER_SILENT_AFTER,
    PEER_URGENT_MAX,
};
use parallax_proto::peer::raft_service_client::RaftServiceClient;
use parallax_proto::peer::{
    MessagesRequest, MessagesResponse, PeerPing, messages_request, messages_response,
};
use parallax_runtime::clock;
use parallax_runtime::error::causes;
use parallax_runtime::transport::dial_error;
use raft::eraftpb::{Message, MessageType};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use thiserror::Error;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic::{Status, Streaming};
use tracing::{debug, info};

use super::frame;
use super::gate::{Gate, refusal_of};
use super::transport::Inbox;
use super::{Peer, Peers};
use crate::core::peering::Refusal;
use crate::raft::log::entry_bytes;

/// Frames between the task and the stream. Few: what waits should wait where it can be dropped.
const URGENT_FRAMES: usize = 16;
const APPEND_FRAMES: usize = 2;

/// A message that waits to be sent.
struct Waiting {
    message: Message,
    bytes: usize,
    since: Instant,
}

/// The near end of a link: where the Raft thread puts messages.
pub(super) struct Link {
    urgent: mpsc::Sender<Waiting>,
    appends: mpsc::Sender<Waiting>,
    append_bytes: AtomicUsize,
    /// Something was dropped since Raft was last told.
    lossy: AtomicBool,
}

impl Link {
    /// Queues a message. False: there was no room, it is dropped.
    pub(super) fn offer(&self, message: Message, now: Instant) -> bool {
        let bytes = message.entries.iter().map(entry_bytes).sum::<u64>() as usize;
        let kind = message.get_msg_type();
        let waiting = Waiting { message, bytes, since: now };
        let taken = if kind == MessageType::MsgAppend {
            let queued = self.append_bytes.fetch_add(bytes, Ordering::AcqRel);
            // One is taken whatever it weighs, so that nothing is too large for good.
            let fits = queued == 0 || queued + bytes <= PEER_APPEND_BYTES_MAX;
            let taken = fits && self.appends.try_send(waiting).is_ok();
            if !taken {
                self.append_bytes.fetch_sub(bytes, Ordering::AcqRel);
            }
            taken
        } else {
            self.urgent.try_send(waiting).is_ok()
        };
        if !taken {
            self.lossy.store(true, Ordering::Release);
        }
        taken
    }
}

/// Why a link has no streams any more, or yet.
#[derive(Debug, Error)]
enum Lost {
    #[error("{}", dial_error(.0).map_or_else(|| .0.message().to_owned(), causes_of))]
    Status(Box<Status>),
    #[error("no answer within {} s", PEER_HELLO_WITHIN.as_secs())]
    Hello,
    #[error("it answered as somebody else: {0}")]
    Recognised(Refusal),
    #[error("it said what is no answer")]
    Nonsense,
    #[error("it closed the stream")]
    Closed,
    #[error("silent for {} s", PEER_SILENT_AFTER.as_secs())]
    Silent,
    #[error("its address or name changed")]
    Moved,
}

fn causes_of(error: &parallax_runtime::transport::DialError) -> String {
    causes(error)
}

impl From<Status> for Lost {
    fn from(status: Status) -> Self {
        Self::Status(Box::new(status))
    }
}

/// The far end of a link: the task that sends.
pub(super) struct LinkTask {
    node_id: u64,
    link: Arc<Link>,
    urgent: mpsc::Receiver<Waiting>,
    appends: mpsc::Receiver<Waiting>,
    peers: Peers,
    gate: Gate,
    inbox: Arc<dyn Inbox>,
    end: CancellationToken,
    chance: StdRng,
}

/// One stream of messages.
struct Stream {
    frames: mpsc::Sender<MessagesRequest>,
    answers: Streaming<MessagesResponse>,
    pending: Option<MessagesRequest>,
}

impl LinkTask {
    pub(super) fn new(
        node_id: u64,
        peers: Peers,
        gate: Gate,
        inbox: Arc<dyn Inbox>,
        end: CancellationToken,
        seed: u64,
    ) -> (Arc<Link>, Self) {
        let (to_urgent, urgent) = mpsc::channel(PEER_URGENT_MAX);
        let (to_appends, appends) = mpsc::channel(PEER_APPENDS_MAX);
        let link = Arc::new(Link {
            urgent: to_urgent,
            appends: to_appends,
            append_bytes: AtomicUsize::new(0),
            lossy: AtomicBool::new(false),
        });
        let chance = StdRng::seed_from_u64(seed ^ node_id.rotate_left(32));
        let near = Arc::clone(&link);
        (near, Self { node_id, link, urgent, appends, peers, gate, inbox, end, chance })
    }

    /// Dials, sends until the connection breaks, and again, until the end.
    pub(super) async fn run(mut self) {
        let end = self.end.clone();
        let mut back_off = PEER_BACK_OFF_MIN;
        loop {
            let began = clock::instant();
            let lost = tokio::select! {
                () = end.cancelled() => return,
                lost = self.session() => lost,
            };
            self.told(&lost);
            // A link that held for a while begins anew: most likely the member was restarted.
            if clock::instant().duration_since(began) > PEER_SILENT_AFTER {
                back_off = PEER_BACK_OFF_MIN;
            }
            let wait = back_off.mul_f64(self.chance.random_range(0.5..1.0));
            tokio::select! {
                () = end.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
            }
            back_off = (back_off * 2).min(PEER_BACK_OFF_MAX);
        }
    }

    fn told(&mut self, lost: &Lost) {
        let connected = self.peers.facts(self.node_id).connected;
        if connected {
            info!(member = self.node_id, "lost a member: {lost}");
        } else {
            debug!(member = self.node_id, "cannot reach a member: {lost}");
        }
        // Raft begins again behind what was acknowledged: entries that wait would be sent in vain.
        let mut dropped = 0;
        while let Ok(waiting) = self.appends.try_recv() {
            self.link.append_bytes.fetch_sub(waiting.bytes, Ordering::AcqRel);
            dropped += 1;
        }
        self.peers.note(self.node_id, |facts| {
            facts.lost(lost.to_string());
            facts.dropped += dropped;
        });
        // Best effort: without it, the leader learns from what is not acknowledged.
        let _ = self.inbox.unreachable(self.node_id);
        match lost {
            // The socket may be a dead one that TCP still believes in.
            Lost::Silent | Lost::Hello => self.peers.redial(self.node_id),
            Lost::Status(status) => {
                if let Some(refusal) = refusal_of(status) {
                    self.peers.told_refused(self.node_id, refusal);
                }
            }
            _ => {}
        }
    }

    /// From a dial to its loss.
    async fn session(&mut self) -> Lost {
        let (Some(peer), Some(channel)) =
            (self.peers.get(self.node_id), self.peers.channel(self.node_id))
        else {
            return Lost::Moved;
        };
        let opened = tokio::try_join!(
            self.open(channel.clone(), URGENT_FRAMES),
            self.open(channel, APPEND_FRAMES)
        );
        match opened {
            Ok((urgent, appends)) => {
                info!(member = self.node_id, address = peer.address, "reached a member");
                self.peers.note(self.node_id, |facts| facts.connected = true);
                self.drive(&peer, urgent, appends).await
            }
            Err(lost) => lost,
        }
    }

    /// Opens a stream, and hears who is at its other end.
    async fn open(&self, channel: Channel, room: usize) -> Result<Stream, Lost> {
        let (frames, receiver) = mpsc::channel(room);
        let hello = messages_request::Frame::Hello(self.gate.hello(self.node_id));
        // There is room for one: nothing was sent yet.
        let _ = frames.try_send(MessagesRequest { frame: Some(hello) });
        let mut client = RaftServiceClient::new(channel)
            .max_decoding_message_size(PEER_FRAME_BYTES_MAX)
            .max_encoding_message_size(PEER_FRAME_BYTES_MAX);
        let opened = async {
            let mut answers = client.messages(ReceiverStream::new(receiver)).await?.into_inner();
            let first = answers.message().await?.and_then(|answer| answer.frame);
            let Some(messages_response::Frame::Hello(hello)) = first else {
                return Err(Lost::Nonsense);
            };
            self.gate.recognise(self.node_id, &hello).map_err(Lost::Recognised)?;
            self.peers.heard_hello(&hello);
            Ok(Stream { frames, answers, pending: None })
        };
        // Dialling has a limit of its own; this one is for a server that says nothing.
        tokio::time::timeout(PEER_HELLO_WITHIN, opened).await.unwrap_or(Err(Lost::Hello))
    }

    /// Sends what is queued and measures the round trip, until a stream ends.
    async fn drive(&mut self, peer: &Peer, urgent: Stream, appends: Stream) -> Lost {
        let Stream { frames: to_urgent, answers: mut pongs, pending: mut small } = urgent;
        let Stream { frames: to_appends, answers: mut rest, pending: mut large } = appends;
        let mut pings = Pings::default();
        let mut tick = tokio::time::interval(PEER_PING);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                answer = pongs.message() => match answer {
                    Ok(Some(answer)) => {
                        self.peers.heard(self.node_id);
                        let Some(messages_response::Frame::Pong(pong)) = answer.frame else {
                            return Lost::Nonsense;
                        };
                        if let Some(took) = pings.answered(pong.number, clock::instant()) {
                            self.peers.note(self.node_id, |facts| facts.ponged(took));
                        }
                    }
                    Ok(None) => return Lost::Closed,
                    Err(status) => return status.into(),
                },
                answer = rest.message() => match answer {
                    // Nothing is answered on this stream but its end.
                    Ok(Some(_)) => return Lost::Nonsense,
                    Ok(None) => return Lost::Closed,
                    Err(status) => return status.into(),
                },
                room = to_urgent.reserve(), if small.is_some() => match (room, small.take()) {
                    (Ok(room), Some(frame)) => room.send(frame),
                    _ => return Lost::Closed,
                },
                room = to_appends.reserve(), if large.is_some() => match (room, large.take()) {
                    (Ok(room), Some(frame)) => room.send(frame),
                    _ => return Lost::Closed,
                },
                Some(waiting) = self.urgent.recv(), if small.is_none() => {
                    small = self.sealed(waiting);
                }
                Some(waiting) = self.appends.recv(), if large.is_none() => {
                    self.link.append_bytes.fetch_sub(waiting.bytes, Ordering::AcqRel);
                    large = self.sealed(waiting);
                }
                _ = tick.tick() => {
                    let now = clock::instant();
                    if pings.silence(now) > PEER_SILENT_AFTER {
                        return Lost::Silent;
                    }
                    if self.peers.get(self.node_id).as_ref() != Some(peer) {
                        return Lost::Moved;
                    }
                    if self.link.lossy.swap(false, Ordering::AcqRel) {
                        let _ = self.inbox.unreachable(self.node_id);
                    }
                    if let Ok(room) = to_urgent.try_reserve() {
                        let ping = PeerPing { number: pings.sent(now) };
                        room.send(MessagesRequest { frame: Some(messages_request::Frame::Ping(ping)) });
                    }
                }
            }
        }
    }

    /// The frame of a message, unless it has waited for too long.
    fn sealed(&self, waiting: Waiting) -> Option<MessagesRequest> {
        let late = clock::instant().saturating_duration_since(waiting.since) > PEER_MESSAGE_AGE_MAX;
        // An append that is late still joins on to the one before it; a vote does not.
        let is_append = waiting.message.get_msg_type() == MessageType::MsgAppend;
        let sealed = if late && !is_append { None } else { frame::seal(&waiting.message) };
        if sealed.is_none() {
            self.peers.note(self.node_id, |facts| facts.dropped += 1);
            self.link.lossy.store(true, Ordering::Release);
        }
        sealed.map(|frame| MessagesRequest { frame: Some(messages_request::Frame::Message(frame)) })
    }
}

/// The pings of one connection.
#[derive(Default)]
struct Pings {
    number: u64,
    /// When the last one was sent, until it is answered.
    waiting: Option<Instant>,
    /// When the oldest one was sent that has no answer.
    unanswered: Option<Instant>,
}

impl Pings {
    fn sent(&mut self, now: Instant) -> u64 {
        self.number += 1;
        self.waiting = Some(now);
        self.unanswered.get_or_insert(now);
        self.number
    }

    /// The round trip, for the newest ping; late answers are a sign of life and no measure.
    fn answered(&mut self, number: u64, now: Instant) -> Option<Duration> {
        self.unanswered = None;
        if number != self.number {
            self.unanswered = self.waiting;
            return None;
        }
        self.waiting.take().map(|sent| now.saturating_duration_since(sent))
    }

    fn silence(&self, now: Instant) -> Duration {
        self.unanswered.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }
}

#[cfg(test)]
mod tests {
    use raft::eraftpb::Entry;

    use super::*;

    fn message(kind: MessageType, bytes: usize) -> Message {
        let mut message = Message { from: 1, to: 2, term: 5, ..Message::default() };
        message.set_msg_type(kind);
        if bytes > 0 {
            let data = bytes::Bytes::from(vec![1; bytes]);
            message.entries.push(Entry { data, ..Entry::default() });
        }
        message
    }

    fn link() -> (Link, mpsc::Receiver<Waiting>, mpsc::Receiver<Waiting>) {
        let (urgent, urgent_rx) = mpsc::channel(PEER_URGENT_MAX);
        let (appends, appends_rx) = mpsc::channel(PEER_APPENDS_MAX);
        let (append_bytes, lossy) = (AtomicUsize::new(0), AtomicBool::new(false));
        (Link { urgent, appends, append_bytes, lossy }, urgent_rx, appends_rx)
    }

    #[test]
    fn a_heartbeat_finds_room_when_appends_do_not() {
        let now = clock::instant();
        let (link, mut urgent, mut appends) = link();
        let large = || message(MessageType::MsgAppend, 1024 * 1024);
        let taken = (0..1_000).take_while(|_| link.offer(large(), now)).count();
        assert!((30..=32).contains(&taken), "{taken} MiB are queued");
        assert!(link.lossy.load(Ordering::Acquire));
        assert!(link.offer(message(MessageType::MsgHeartbeat, 0), now));
        assert_eq!(urgent.try_recv().unwrap().message.get_msg_type(), MessageType::MsgHeartbeat);
        assert_eq!(appends.try_recv().unwrap().message.get_msg_type(), MessageType::MsgAppend);
    }

    #[test]
    fn empty_appends_and_heartbeats_are_bounded_by_their_number() {
        let now = clock::instant();
        let (link, _urgent, _appends) = link();
        let count =
            |kind, most| (0..most + 10).filter(|_| link.offer(message(kind, 0), now)).count();
        assert_eq!(count(MessageType::MsgAppend, PEER_APPENDS_MAX), PEER_APPENDS_MAX);
        assert_eq!(count(MessageType::MsgHeartbeat, PEER_URGENT_MAX), PEER_URGENT_MAX);
    }

    #[test]
    fn a_message_larger_than_the_queue_goes_alone() {
        let now = clock::instant();
        let (link, _urgent, _appends) = link();
        let huge = || message(MessageType::MsgAppend, PEER_APPEND_BYTES_MAX + 1);
        assert!(link.offer(huge(), now));
        assert!(!link.offer(huge(), now));
    }

    #[test]
    fn silence_counts_from_the_first_ping_without_an_answer() {
        let at = |ms| Duration::from_millis(ms);
        let start = clock::instant();
        let mut pings = Pings::default();
        assert_eq!(pings.silence(start + at(9_000)), Duration::ZERO);
        let first = pings.sent(start);
        assert_eq!(pings.answered(first, start + at(3)), Some(at(3)));
        assert_eq!(pings.silence(start + at(400)), Duration::ZERO);
        let second = pings.sent(start + at(500));
        pings.sent(start + at(1_000));
        assert_eq!(pings.silence(start + at(1_200)), at(700));
        // Late, and no measure of the newest; but somebody is there.
        assert_eq!(pings.answered(second, start + at(1_300)), None);
        assert_eq!(pings.silence(start + at(1_400)), at(400));
    }
}
