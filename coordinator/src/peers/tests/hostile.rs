//! Strangers, liars and floods at the peer listener of a member whose group goes on meanwhile: each
//! is refused with a reason and counted, and the leader keeps its office.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parallax_common::limits::{
    CONTROL_FRAMES_PER_SECOND_MAX, PEER_CONNECTIONS_MAX, PEER_FRAME_BYTES_MAX, PEER_STREAMS_MAX,
    SNAPSHOT_PIECE_BYTES,
};
use parallax_proto::peer::raft_service_client::RaftServiceClient;
use parallax_proto::peer::{
    MessagesRequest, MessagesResponse, PeerHello, PeerPing, RaftFrame, SnapshotBegin, SnapshotEnd,
    SnapshotPiece, SnapshotRequest, messages_request, snapshot_request,
};
use parallax_runtime::transport::{Connector, Credentials, Refusal, connect, endpoint};
use raft::eraftpb::{Entry, MessageType};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

use super::super::frame::seal;
use super::super::gate::refusal_of;
use super::group::{ALL, all_see, three};
use super::rig::{CLUSTER, Ca, MESH, Process, Site, eventually, leader, row};
use crate::core::peering;

/// Three members under attack, and a fourth that is in the rows and not running: its certificate and
/// its place are the attacker's.
struct Siege {
    ca: Ca,
    sites: Vec<Site>,
    processes: Vec<Process>,
    rogue: Site,
    term: u64,
    entries: usize,
}

impl Siege {
    async fn begin() -> Self {
        let ca = Ca::new("ca");
        let (sites, processes) = three(&ca).await;
        let mut removed = row(5);
        removed.removed = true;
        let removed = Arc::new(removed);
        for site in &sites {
            let members = &mut site.group.lock().members;
            members.insert(4, Arc::new(row(4)));
            members.insert(5, Arc::clone(&removed));
        }
        let rogue = Site::new(&ca, 4, &[1, 2, 3, 4]);
        let led = leader(&processes.iter().collect::<Vec<_>>()).await;
        processes[led].propose(1).await;
        all_see(&processes, 1).await;
        let term = processes[led].node.status().term;
        Self { ca, sites, processes, rogue, term, entries: 1 }
    }

    fn victim(&self) -> &Process {
        &self.processes[0]
    }

    fn address(&self) -> SocketAddr {
        self.victim().address
    }

    fn member(&self) -> &Site {
        &self.sites[1]
    }

    async fn channel(&self, credentials: &Credentials) -> Channel {
        let connector = Connector::new(credentials.clone());
        let endpoint = endpoint(&self.address().to_string()).unwrap();
        endpoint.connect_with_connector(connector).await.unwrap()
    }

    async fn rogue_channel(&self) -> Channel {
        self.channel(&self.rogue.credentials).await
    }

    fn hello(&self) -> PeerHello {
        self.rogue.hello(1)
    }

    async fn counted(&self, reason: &str, count: u64) {
        let victim = self.victim();
        eventually(reason, || victim.refused(reason) >= count).await;
        assert_eq!(victim.refused(reason), count, "{reason}");
    }

    async fn turned_away(&self, refusal: Refusal, count: u64) {
        let refusals = &self.victim().refusals;
        eventually(refusal.as_str(), || refusals.get(refusal) >= count).await;
        assert_eq!(refusals.get(refusal), count, "{refusal}");
    }

    /// Nobody noticed: the same leader takes writes, and everybody follows.
    async fn end(mut self) {
        let led = leader(&self.processes.iter().collect::<Vec<_>>()).await;
        self.entries += 1;
        self.processes[led].propose(7).await;
        all_see(&self.processes, self.entries).await;
        assert_eq!(self.processes[led].node.status().term, self.term, "the leader lost its office");
        for process in &self.processes {
            for other in ALL.into_iter().filter(|id| *id != process.node_id) {
                assert!(process.peers.facts(other).connected);
            }
        }
        for process in self.processes {
            process.stop().await;
        }
    }
}

fn hello_frame(hello: PeerHello) -> MessagesRequest {
    MessagesRequest { frame: Some(messages_request::Frame::Hello(hello)) }
}

fn message_frame(frame: RaftFrame) -> MessagesRequest {
    MessagesRequest { frame: Some(messages_request::Frame::Message(frame)) }
}

fn ping_frame() -> MessagesRequest {
    MessagesRequest { frame: Some(messages_request::Frame::Ping(PeerPing { number: 1 })) }
}

type Open = (mpsc::Sender<MessagesRequest>, Streaming<MessagesResponse>);

/// Opens a stream that says these frames and stays open.
async fn open(channel: Channel, frames: Vec<MessagesRequest>) -> Result<Open, Status> {
    let (sender, receiver) = mpsc::channel(frames.len().max(1));
    for frame in frames {
        sender.try_send(frame).unwrap();
    }
    let mut client = RaftServiceClient::new(channel);
    let answers = client.messages(ReceiverStream::new(receiver)).await?;
    Ok((sender, answers.into_inner()))
}

/// What ends a stream that says these frames.
async fn ended_by(channel: Channel, frames: Vec<MessagesRequest>) -> Status {
    let (_sender, mut answers) = match open(channel, frames).await {
        Ok(open) => open,
        Err(status) => return status,
    };
    loop {
        match answers.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the stream ended without a reason"),
            Err(status) => return status,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_no_coordinator_of_the_mesh_is_turned_away_at_the_door() {
    let siege = Siege::begin().await;
    let (ca, other) = (&siege.ca, Ca::new("another"));
    let endpoints = [siege.address().to_string()];
    let coordinator = format!("spiffe://{MESH}/coordinator/c4");
    for (credentials, refusal) in [
        (other.issue(&coordinator, 29, &[ca, &other]), Refusal::UnknownAuthority),
        (ca.issue(&coordinator, -1, &[ca]), Refusal::Expired),
    ] {
        let credentials = Credentials::load(credentials.path()).unwrap();
        connect(&endpoints, &credentials, None).await.unwrap_err();
        siege.turned_away(refusal, 1).await;
    }
    for (count, uri) in [
        (1, format!("spiffe://{MESH}/region/eu-west/probe/p1")),
        (2, format!("spiffe://{MESH}/user/anna/role/admin")),
    ] {
        let channel = siege.channel(&ca.credentials(&uri)).await;
        let status = ended_by(channel, vec![hello_frame(siege.hello())]).await;
        assert_eq!(status.code(), Code::PermissionDenied, "{status:?}");
        assert!(status.message().contains("this listener takes coordinators"), "{status:?}");
        siege.turned_away(Refusal::WrongRole, count).await;
    }
    siege.end().await;
}

/// Makes a true hello a false one.
type Lie = fn(&mut PeerHello);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hello_that_lies_is_refused_by_name() {
    let siege = Siege::begin().await;
    let lies: [(&str, Lie); 7] = [
        ("wrong_mesh", |hello| hello.mesh = "other".to_owned()),
        ("other_cluster", |hello| hello.cluster_id = format!("not-{CLUSTER}")),
        ("other_disk", |hello| hello.disk_id = "a new one".to_owned()),
        ("removed", |hello| hello.node_id = 5),
        ("other_name", |hello| hello.node_id = 2),
        ("not_for_us", |hello| hello.to_node_id = 2),
        ("unknown_member", |hello| hello.node_id = 0),
    ];
    for (reason, lie) in lies {
        let mut hello = siege.hello();
        lie(&mut hello);
        let status = ended_by(siege.rogue_channel().await, vec![hello_frame(hello)]).await;
        assert_eq!(status.code(), Code::PermissionDenied, "{reason}: {status:?}");
        assert_eq!(refusal_of(&status).map(peering::Refusal::as_str), Some(reason));
        siege.counted(reason, 1).await;
    }
    // The truth is let in, and sent away when it is true no more.
    let (_sender, mut answers) =
        open(siege.rogue_channel().await, vec![hello_frame(siege.hello())]).await.unwrap();
    assert!(answers.message().await.unwrap().is_some());
    let mut gone = row(4);
    gone.removed = true;
    siege.sites[0].group.lock().members.insert(4, Arc::new(gone));
    let status = answers.message().await.unwrap_err();
    assert_eq!(refusal_of(&status), Some(peering::Refusal::Removed), "{status:?}");
    siege.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frame_that_is_too_large_or_cannot_be_ends_its_stream() {
    let siege = Siege::begin().await;
    let honest = seal(&siege.rogue.heartbeat(1)).unwrap();
    let of = |kind: MessageType| {
        let mut message = siege.rogue.heartbeat(1);
        message.set_msg_type(kind);
        message_frame(seal(&message).unwrap())
    };
    let mut of_another = honest.clone();
    of_another.from = 2;
    let large = vec![0; PEER_FRAME_BYTES_MAX + 1];
    let large = RaftFrame { message: Bytes::from(large), ..honest.clone() };
    let noise = RaftFrame { message: Bytes::from_static(b"\xff\xff\xff"), ..honest.clone() };
    for (count, frame) in [
        message_frame(of_another),
        message_frame(noise),
        of(MessageType::MsgHup),
        of(MessageType::MsgSnapshot),
        of(MessageType::MsgPropose),
        hello_frame(siege.hello()),
        MessagesRequest { frame: None },
    ]
    .into_iter()
    .enumerate()
    {
        let frames = vec![hello_frame(siege.hello()), message_frame(honest.clone()), frame];
        let status = ended_by(siege.rogue_channel().await, frames).await;
        assert_eq!(status.code(), Code::InvalidArgument, "{count}: {status:?}");
        siege.counted("malformed", count as u64 + 1).await;
    }
    let frames = vec![hello_frame(siege.hello()), message_frame(large)];
    let status = ended_by(siege.rogue_channel().await, frames).await;
    assert_eq!(status.code(), Code::OutOfRange, "{status:?}");
    siege.counted("oversized", 1).await;
    let status = ended_by(siege.rogue_channel().await, vec![ping_frame()]).await;
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    siege.counted("no_hello", 1).await;
    siege.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_claims_ever_new_node_ids_is_noted_once_and_forgotten_when_it_leaves() {
    let siege = Siege::begin().await;
    let channel = siege.rogue_channel().await;
    let known = || siege.victim().peers.all().len();
    let before = known();
    let mut held = Vec::new();
    for node_id in 6..106 {
        let hello = PeerHello { node_id, peer_address: "127.0.0.1:1".to_owned(), ..siege.hello() };
        // As many streams as it may have, and their places are given up for the next.
        if held.len() == PEER_STREAMS_MAX {
            held.clear();
        }
        let opened = async {
            loop {
                let frames = vec![hello_frame(hello.clone())];
                match open(channel.clone(), frames).await {
                    Ok(opened) => return opened,
                    Err(status) => assert_eq!(status.code(), Code::ResourceExhausted),
                }
                tokio::task::yield_now().await;
            }
        };
        held.push(tokio::time::timeout(Duration::from_secs(10), opened).await.unwrap());
        assert!(known() <= before + 1, "{node_id}: {:?}", siege.victim().peers.all());
    }
    assert_eq!(known(), before + 1);
    held.clear();
    eventually("an end", || known() == before).await;
    siege.end().await;
}

/// Messages that raft-rs takes from its peers without a look, and ends the process over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_raft_would_die_of_reaches_neither_leader_nor_follower() {
    let siege = Siege::begin().await;
    let led = leader(&siege.processes.iter().collect::<Vec<_>>()).await;
    let led = siege.processes[led].node_id;
    let term = siege.term;
    let deadly = |to: u64| {
        let of = |kind: MessageType, term: u64| {
            let mut message = siege.rogue.heartbeat(to);
            message.set_msg_type(kind);
            message.term = term;
            message
        };
        let mut answered = of(MessageType::MsgReadIndexResp, 0);
        answered.index = 1_000_000;
        answered.mut_entries().push(Entry::default());
        // Of a place far behind the log, which has no term there, as the message says.
        let mut nowhere = of(MessageType::MsgAppend, term);
        (nowhere.index, nowhere.commit) = (1_000_000, 1_000_000);
        [of(MessageType::MsgReadIndex, 0), answered, nowhere]
    };
    for to in ALL {
        let process = siege.processes.iter().find(|process| process.node_id == to).unwrap();
        for (count, message) in deadly(to).into_iter().enumerate() {
            let connector = Connector::new(siege.rogue.credentials.clone());
            let endpoint = endpoint(&process.address.to_string()).unwrap();
            let channel = endpoint.connect_with_connector(connector).await.unwrap();
            let hello = hello_frame(siege.rogue.hello(to));
            let frames = vec![hello, message_frame(seal(&message).unwrap())];
            let status = ended_by(channel, frames).await;
            assert_eq!(status.code(), Code::InvalidArgument, "{to} of {led}: {status:?}");
            assert_eq!(process.refused("malformed"), count as u64 + 1);
        }
    }
    siege.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_member_has_so_many_streams_and_no_more_and_others_keep_theirs() {
    let siege = Siege::begin().await;
    let channel = siege.rogue_channel().await;
    let mut held = Vec::new();
    for _ in 0..PEER_STREAMS_MAX {
        held.push(open(channel.clone(), vec![hello_frame(siege.hello())]).await.unwrap());
    }
    for count in 1..=50 {
        let status = ended_by(channel.clone(), vec![hello_frame(siege.hello())]).await;
        assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
        siege.counted("too_many_streams", count).await;
    }
    let other = siege.channel(&siege.member().credentials).await;
    open(other, vec![hello_frame(siege.member().hello(1))]).await.unwrap();
    // A place that is given up is free again.
    held.clear();
    let deadline = tokio::time::timeout(Duration::from_secs(10), async {
        while open(channel.clone(), vec![hello_frame(siege.hello())]).await.is_err() {
            tokio::task::yield_now().await;
        }
    });
    deadline.await.unwrap();
    siege.end().await;
}

/// A connection whose holder writes HTTP/2 by hand.
async fn by_hand(siege: &Siege) -> tokio_rustls::client::TlsStream<TcpStream> {
    let connector = Connector::new(siege.rogue.credentials.clone());
    connector.dial("127.0.0.1", siege.address().port()).await.unwrap()
}

/// Reads until the other end closes.
async fn closed(stream: &mut tokio_rustls::client::TlsStream<TcpStream>) {
    let mut bytes = [0; 4_096];
    while let Ok(1..) = stream.read(&mut bytes).await {}
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_are_opened_and_reset_without_end_close_their_connection() {
    let siege = Siege::begin().await;
    let mut stream = by_hand(&siege).await;
    let mut flood = PREFACE.to_vec();
    for stream_id in (1..).step_by(2).take(CONTROL_FRAMES_PER_SECOND_MAX as usize * 4) {
        let id = u32::to_be_bytes(stream_id);
        // HEADERS: POST https / and nothing more; then RST_STREAM: cancelled.
        flood.extend([0, 0, 3, 1, 4]);
        flood.extend(id);
        flood.extend([0x83, 0x87, 0x84]);
        flood.extend([0, 0, 4, 3, 0]);
        flood.extend(id);
        flood.extend([0, 0, 0, 8]);
    }
    // It may be closed before all of it is written.
    let _ = stream.write_all(&flood).await;
    tokio::time::timeout(Duration::from_secs(20), closed(&mut stream)).await.unwrap();
    siege.turned_away(Refusal::Flood, 1).await;
    siege.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_member_has_so_many_connections_and_no_more() {
    let siege = Siege::begin().await;
    let mut held = Vec::new();
    for _ in 0..PEER_CONNECTIONS_MAX {
        let mut stream = by_hand(&siege).await;
        stream.write_all(PREFACE).await.unwrap();
        held.push(stream);
    }
    for count in 1..=20 {
        let connector = Connector::new(siege.rogue.credentials.clone());
        // Closed behind its handshake: before or while it is read.
        assert!(connector.dial("127.0.0.1", siege.address().port()).await.is_err());
        siege.turned_away(Refusal::TooMany, count).await;
    }
    let other = siege.channel(&siege.member().credentials).await;
    open(other, vec![hello_frame(siege.member().hello(1))]).await.unwrap();
    drop(held);
    siege.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_says_nothing_is_given_up_at_every_step() {
    let siege = Siege::begin().await;
    // No TLS; TLS and no HTTP/2; HTTP/2, byte by byte and never whole; a stream and no hello.
    let mut bare = TcpStream::connect(siege.address()).await.unwrap();
    let mut mute = by_hand(&siege).await;
    let mut slow = by_hand(&siege).await;
    let channel = siege.rogue_channel().await;
    let silent = async {
        let (_sender, receiver) = mpsc::channel::<MessagesRequest>(1);
        let mut client = RaftServiceClient::new(channel);
        client.messages(ReceiverStream::new(receiver)).await.unwrap_err()
    };
    let drip = async {
        for byte in &PREFACE[..PREFACE.len() - 1] {
            if slow.write_all(std::slice::from_ref(byte)).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        closed(&mut slow).await;
    };
    let all = async {
        let mut bytes = [0; 16];
        let (ended, (), (), status) =
            tokio::join!(bare.read(&mut bytes), closed(&mut mute), drip, silent);
        assert!(matches!(ended, Ok(0) | Err(_)));
        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    };
    tokio::time::timeout(Duration::from_secs(25), all).await.unwrap();
    siege.turned_away(Refusal::Timeout, 1).await;
    siege.turned_away(Refusal::Mute, 2).await;
    siege.counted("no_hello", 1).await;
    siege.end().await;
}

/// A snapshot's stream, up to and with its announcement.
fn announced(siege: &Siege, index: u64, bytes: u64) -> Vec<snapshot_request::Frame> {
    let mut message = siege.rogue.heartbeat(1);
    message.set_msg_type(MessageType::MsgSnapshot);
    let metadata = message.mut_snapshot().mut_metadata();
    (metadata.index, metadata.term) = (index, 1);
    metadata.mut_conf_state().voters = vec![1, 2, 3];
    let begin = SnapshotBegin { message: seal(&message), bytes };
    vec![snapshot_request::Frame::Hello(siege.hello()), snapshot_request::Frame::Begin(begin)]
}

async fn snapshot(
    channel: Channel,
    frames: Vec<snapshot_request::Frame>,
) -> (mpsc::Sender<SnapshotRequest>, impl Future<Output = Status>) {
    let (sender, receiver) = mpsc::channel(frames.len());
    for frame in frames {
        sender.try_send(SnapshotRequest { frame: Some(frame) }).unwrap();
    }
    let mut client = RaftServiceClient::new(channel);
    let answer = async move { client.snapshot(ReceiverStream::new(receiver)).await.unwrap_err() };
    (sender, answer)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn snapshots_come_one_at_a_time_and_whole_or_leave_nothing() {
    let siege = Siege::begin().await;
    let channel = siege.rogue_channel().await;
    let before = std::fs::read_dir(siege.sites[0].snapshots()).unwrap().count();
    let content = Bytes::from(vec![1; SNAPSHOT_PIECE_BYTES]);
    let checksum = crc32fast::hash(&content);
    let piece = |offset| SnapshotPiece { offset, content: content.clone(), checksum };
    let whole = SNAPSHOT_PIECE_BYTES as u64;

    let mut broken = 0;
    let mut damaged = piece(0);
    damaged.checksum ^= 1;
    let trickle = SnapshotPiece { content: content.slice(..1), ..piece(0) };
    let end = SnapshotEnd { checksum };
    let wrong_end = SnapshotEnd { checksum: checksum ^ 1 };
    use snapshot_request::Frame::{End, Hello, Piece};
    for rest in [
        vec![Piece(damaged)],
        vec![Piece(trickle)],
        vec![Piece(piece(1))],
        vec![Piece(piece(0)), Piece(piece(whole))],
        vec![End(end)],
        vec![Piece(piece(0)), End(wrong_end)],
        vec![Hello(siege.hello())],
        // Whole, and no snapshot.
        vec![Piece(piece(0)), End(end)],
    ] {
        let frames = announced(&siege, 1_000, whole).into_iter().chain(rest).collect();
        let (_sender, answer) = snapshot(channel.clone(), frames).await;
        let status = answer.await;
        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
        broken += 1;
        siege.counted("snapshot_broken", broken).await;
    }
    let (_sender, answer) = snapshot(channel.clone(), announced(&siege, 1_000, u64::MAX)).await;
    assert_eq!(answer.await.code(), Code::InvalidArgument);
    siege.counted("snapshot_broken", broken + 1).await;

    // One holds the place; the others are told so at once.
    let frames = announced(&siege, 1_000, 10 * whole);
    let (holds, held) = snapshot(channel.clone(), frames).await;
    let mut waiting = tokio::task::JoinSet::new();
    waiting.spawn(held);
    let dir = siege.sites[0].snapshots().to_owned();
    eventually("a file", || std::fs::read_dir(&dir).unwrap().count() > before).await;
    for count in 1..=5 {
        let (_sender, answer) =
            snapshot(channel.clone(), announced(&siege, 2_000 + count, whole)).await;
        let status = answer.await;
        assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
        siege.counted("snapshot_busy", count).await;
    }
    drop(holds);
    let status = waiting.join_next().await.unwrap().unwrap();
    assert_eq!(status.code(), Code::InvalidArgument);
    eventually("nothing left", || std::fs::read_dir(&dir).unwrap().count() == before).await;
    siege.end().await;
}
