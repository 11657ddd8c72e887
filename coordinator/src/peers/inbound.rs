//! The service that other members dial: their messages and their snapshots, for the Raft node.

use std::sync::Arc;

use parallax_common::limits::{
    PEER_FRAME_BYTES_MAX, PEER_HELLO_WITHIN, PEER_RECHECK, SNAPSHOT_PIECE_BYTES,
};
use parallax_proto::peer::raft_service_server::{RaftService, RaftServiceServer};
use parallax_proto::peer::{
    MessagesRequest, MessagesResponse, PeerHello, PeerPong, SnapshotRequest, SnapshotResponse,
    messages_request, messages_response, snapshot_request,
};
use parallax_runtime::supervisor::{Supervisor, TaskKind};
use parallax_runtime::transport::{PeerInfo, peer_of};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Response, Status, Streaming};

use super::arrival::{ArrivalError, Arrivals};
use super::gate::{Admitted, Breach, Gate, StreamPermit};
use super::transport::Inbox;
use super::{Introduction, Peer, Peers, frame};
use crate::core::peering::Standing;
use crate::store::snapshot::SnapshotId;

/// Pongs that wait for a member that does not read them. More are not sent: it does not miss them.
const PONGS_WAITING: usize = 16;

/// Takes messages and snapshots of other members.
pub struct RaftPeer {
    pub(super) gate: Gate,
    pub(super) peers: Peers,
    pub(super) inbox: Arc<dyn Inbox>,
    pub(super) arrivals: Arrivals,
    pub(super) supervisor: Supervisor,
}

impl RaftPeer {
    pub(super) fn into_service(self) -> RaftServiceServer<Self> {
        RaftServiceServer::new(self)
            .max_decoding_message_size(PEER_FRAME_BYTES_MAX)
            .max_encoding_message_size(SNAPSHOT_PIECE_BYTES)
    }

    /// Lets the sender of this hello in, and notes what it says of itself.
    /// Who is ahead of our rows is in the book for as long as the stream keeps what comes with it.
    fn admit(
        &self,
        peer: &PeerInfo,
        hello: &PeerHello,
    ) -> Result<(Admitted, Option<Introduction>), Status> {
        let admitted = self.gate.admit(peer, hello)?;
        let introduction = match admitted.standing {
            Standing::Member => None,
            Standing::Ahead => self.peers.introduce(Peer {
                node_id: admitted.node_id,
                name: admitted.name.clone(),
                address: hello.peer_address.clone(),
            }),
        };
        self.peers.heard_hello(hello);
        Ok((admitted, introduction))
    }

    fn no_hello(&self, peer: &PeerInfo) -> Status {
        let status = Status::invalid_argument("a stream between members begins with a hello");
        self.gate.breach(peer, Breach::NoHello, status)
    }

    /// The next frame of a stream, within the time that a first one may take.
    async fn first<T>(
        &self,
        peer: &PeerInfo,
        frames: &mut Streaming<T>,
    ) -> Result<Option<T>, Status> {
        match tokio::time::timeout(PEER_HELLO_WITHIN, frames.message()).await {
            Ok(Ok(first)) => Ok(first),
            Ok(Err(status)) => Err(counted(&self.gate, peer, status)),
            Err(_) => Err(self.no_hello(peer)),
        }
    }
}

/// Counts what tonic refused by itself.
fn counted(gate: &Gate, peer: &PeerInfo, status: Status) -> Status {
    match status.code() {
        // A message above the limit, by its length prefix: nothing of it was read.
        Code::OutOfRange => gate.breach(peer, Breach::Oversized, status),
        // Not a message.
        Code::Internal if status.message().contains("decode") => {
            gate.breach(peer, Breach::Malformed, status)
        }
        _ => status,
    }
}

#[tonic::async_trait]
impl RaftService for RaftPeer {
    type MessagesStream = ReceiverStream<Result<MessagesResponse, Status>>;

    async fn messages(
        &self,
        request: Request<Streaming<MessagesRequest>>,
    ) -> Result<Response<Self::MessagesStream>, Status> {
        let peer = peer_of(&request)?.clone();
        let permit = self.gate.stream(&peer)?;
        let mut frames = request.into_inner();
        let first = self.first(&peer, &mut frames).await?;
        let Some(messages_request::Frame::Hello(hello)) = first.and_then(|first| first.frame)
        else {
            return Err(self.no_hello(&peer));
        };
        let (admitted, introduction) = self.admit(&peer, &hello)?;
        let (answers, receiver) = mpsc::channel(PONGS_WAITING);
        let own = messages_response::Frame::Hello(self.gate.hello(admitted.node_id));
        // There is room: it is the first.
        let _ = answers.try_send(Ok(MessagesResponse { frame: Some(own) }));
        let reader = Reader {
            gate: self.gate.clone(),
            peers: self.peers.clone(),
            inbox: Arc::clone(&self.inbox),
            peer,
            hello,
            answers,
            _permit: permit,
            _introduction: introduction,
        };
        let stop = self.supervisor.stop_token();
        self.supervisor.spawn(TaskKind::Session("peer stream"), async move {
            let answers = reader.answers.clone();
            let ended = tokio::select! {
                () = stop.cancelled() => Some(Status::unavailable("this member stops")),
                ended = reader.read(frames) => ended,
            };
            if let Some(status) = ended {
                // Whoever reads no pongs is not waited for.
                let _ = answers.try_send(Err(status));
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn snapshot(
        &self,
        request: Request<Streaming<SnapshotRequest>>,
    ) -> Result<Response<SnapshotResponse>, Status> {
        let peer = peer_of(&request)?.clone();
        let _permit = self.gate.stream(&peer)?;
        let mut frames = request.into_inner();
        let first = self.first(&peer, &mut frames).await?;
        let Some(snapshot_request::Frame::Hello(hello)) = first.and_then(|first| first.frame)
        else {
            return Err(self.no_hello(&peer));
        };
        let (admitted, _introduction) = self.admit(&peer, &hello)?;
        let broken = |why: String| {
            self.gate.breach(&peer, Breach::SnapshotBroken, Status::invalid_argument(why))
        };
        let second = self.first(&peer, &mut frames).await?;
        let Some(snapshot_request::Frame::Begin(begin)) = second.and_then(|second| second.frame)
        else {
            return Err(broken("a snapshot begins with what it is".to_owned()));
        };
        let announced = begin.message.unwrap_or_default();
        let message = frame::open_snapshot(&announced, admitted.node_id, self.gate.node_id())
            .map_err(|error| broken(error.to_string()))?;
        let metadata = message.get_snapshot().get_metadata();
        let id = SnapshotId { index: metadata.index, term: metadata.term };
        let _place = self.arrivals.place().map_err(|busy| {
            let status = Status::resource_exhausted(busy.to_string());
            self.gate.breach(&peer, Breach::SnapshotBusy, status)
        })?;
        let taken = self.arrivals.take(id, begin.bytes, &mut frames).await;
        taken.map_err(|error| match error {
            ArrivalError::Broken(_) | ArrivalError::Slow => broken(error.to_string()),
            ArrivalError::Store(ref damaged) if damaged.is_damage() => broken(error.to_string()),
            ArrivalError::Stream(status) => counted(&self.gate, &peer, *status),
            error => Status::internal(error.to_string()),
        })?;
        self.peers.heard(admitted.node_id);
        self.inbox
            .step(message)
            .map_err(|error| Status::unavailable(format!("the snapshot is here, but {error}")))?;
        Ok(Response::new(SnapshotResponse {}))
    }
}

/// One stream of messages, from its hello on.
struct Reader {
    gate: Gate,
    peers: Peers,
    inbox: Arc<dyn Inbox>,
    peer: PeerInfo,
    hello: PeerHello,
    answers: mpsc::Sender<Result<MessagesResponse, Status>>,
    _permit: StreamPermit,
    _introduction: Option<Introduction>,
}

impl Reader {
    /// Reads until the stream ends; Some: with what it is to be told.
    async fn read(&self, mut frames: Streaming<MessagesRequest>) -> Option<Status> {
        let mut recheck = tokio::time::interval(PEER_RECHECK);
        loop {
            tokio::select! {
                // Gone, with its connection.
                () = self.answers.closed() => return None,
                _ = recheck.tick() => {
                    if let Err(status) = self.gate.admit(&self.peer, &self.hello) {
                        return Some(status);
                    }
                }
                next = frames.message() => match next {
                    Ok(Some(MessagesRequest { frame })) => {
                        if let Err(status) = self.take(frame) {
                            return Some(status);
                        }
                    }
                    Ok(None) => return None,
                    Err(status) => return Some(counted(&self.gate, &self.peer, status)),
                },
            }
        }
    }

    fn take(&self, frame: Option<messages_request::Frame>) -> Result<(), Status> {
        let malformed = |why: String| {
            self.gate.breach(&self.peer, Breach::Malformed, Status::invalid_argument(why))
        };
        let from = self.hello.node_id;
        match frame {
            Some(messages_request::Frame::Message(frame)) => {
                let message = frame::open_message(&frame, from, self.gate.node_id())
                    .map_err(|error| malformed(error.to_string()))?;
                if self.inbox.step(message).is_err() {
                    // The node is behind; Raft repeats what is lost.
                    self.peers.note(from, |facts| facts.overrun += 1);
                }
            }
            Some(messages_request::Frame::Ping(ping)) => {
                self.peers.heard(from);
                let pong = messages_response::Frame::Pong(PeerPong { number: ping.number });
                let _ = self.answers.try_send(Ok(MessagesResponse { frame: Some(pong) }));
            }
            Some(messages_request::Frame::Hello(_)) => {
                return Err(malformed("a stream says hello once".to_owned()));
            }
            None => return Err(malformed("a frame of an unknown kind".to_owned())),
        }
        Ok(())
    }
}
