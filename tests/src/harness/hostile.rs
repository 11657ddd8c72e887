//! A hostile peer: somebody outside, or inside with a certificate of his own, who does to each
//! listener of one coordinator what it must refuse.
//!
//! [`ROWS`] is the table of what he does where, and of what has to come of it; `tests/tests/stories/hostile.rs`
//! tells the story around it. Each way is a connection of its own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use parallax_cli::pki::{AUTHORITY_CERTIFICATE, AUTHORITY_KEY, CERTIFICATE, KEY};
use parallax_common::limits::{
    CONTROL_FRAMES_PER_SECOND_MAX, FRAME_BYTES_MAX, PEER_CONNECTIONS_MAX, PEER_FRAME_BYTES_MAX,
    PEER_STREAMS_MAX, STREAMS_PER_CONNECTION_MAX,
};
use parallax_proto::peer::join_service_client::JoinServiceClient;
use parallax_proto::peer::messages_request::Frame;
use parallax_proto::peer::raft_service_client::RaftServiceClient;
use parallax_proto::peer::{JoinRequest, MessagesRequest, MessagesResponse, PeerHello, RaftFrame};
use parallax_proto::v1;
use parallax_proto::v1::session_service_client::SessionServiceClient;
use parallax_runtime::clock;
use parallax_runtime::transport::{self, Connector, Credentials};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair, SanType};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::client::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

use super::client::{Api, named, request_id};
use super::group::{Addresses, Group};
use super::http2;
use super::rogue::Rogue;
use super::site::MESH;

/// A coordinator that was let in and never runs: its certificate and its place are the attacker's.
const MEMBER: &str = "c9";
/// A probe with a good certificate, of a region in which nothing is looked at.
const PROBE: (&str, &str) = ("nowhere", "rogue");
/// More than any message of the API may have.
const API_MESSAGE_BYTES: usize = 5 * 1024 * 1024;
/// Streams opened above what a connection may have.
const STREAMS_TOO_MANY: u32 = 20;
/// Between two bytes of a line that is slow on purpose.
const DRIP: Duration = Duration::from_millis(300);

/// Whose listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum At {
    /// Of other coordinators.
    Peers,
    /// Of probes.
    Probes,
    /// Of people and tools.
    Api,
}

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// A certificate of an authority of the same name.
    WrongAuthority,
    /// A certificate that has ended.
    Expired,
    /// A good certificate for another listener.
    WrongRole,
    /// A hello of another cluster, or of another mesh.
    OtherCluster,
    /// A message larger than any may be.
    Oversized,
    /// More streams than one may have.
    TooManyStreams,
    /// More connections than one may have.
    TooManyConnections,
    /// A connection, and not a byte.
    Silent,
    /// A handshake, then a byte now and then.
    Drip,
    /// A stream, and no hello.
    NoHello,
    /// Streams opened and taken back without end.
    RapidReset,
}

/// A way at a listener, and what comes of it.
#[derive(Debug)]
pub struct Row {
    /// Where.
    pub at: At,
    /// What.
    pub way: Way,
    /// The sample of `/metrics` that counts it.
    pub metric: &'static str,
    /// Words of one line of the log.
    pub logged: &'static [&'static str],
    /// What the attacker is told, or a part of it.
    pub told: &'static str,
}

/// One row of [`ROWS`], from a reason in the handshake or on the connection.
macro_rules! door {
    ($at:ident $listener:literal $way:ident $reason:literal $told:literal) => {
        Row {
            at: At::$at,
            way: Way::$way,
            metric: concat!(
                "parallax_peers_refused_total{listener=\"",
                $listener,
                "\",reason=\"",
                $reason,
                "\"}"
            ),
            logged: &[
                "connection refused",
                concat!("listener=\"", $listener, "\""),
                concat!("reason=\"", $reason, "\""),
            ],
            told: $told,
        }
    };
}

/// One row of [`ROWS`], of a stream between members.
macro_rules! gate {
    ($way:ident $reason:literal $told:literal) => {
        Row {
            at: At::Peers,
            way: Way::$way,
            metric: concat!("parallax_peer_streams_refused_total{reason=\"", $reason, "\"}"),
            logged: &["peer stream refused", concat!("reason=\"", $reason, "\""), MEMBER],
            told: $told,
        }
    };
}

/// One row of [`ROWS`], of a session with a probe.
macro_rules! session {
    ($way:ident $told:literal) => {
        Row {
            at: At::Probes,
            way: Way::$way,
            metric: "parallax_sessions_refused_total",
            logged: &["refused what a probe sent", $told, PROBE.1],
            told: $told,
        }
    };
}

/// Everything that is done, and what has to come of it.
pub const ROWS: &[Row] = &[
    door!(Peers "peers" WrongAuthority "unknown_authority" "does not trust our certificate"),
    door!(Peers "peers" Expired "expired" "does not trust our certificate"),
    door!(Peers "peers" WrongRole "wrong_role" "this listener takes coordinators"),
    gate!(OtherCluster "other_cluster" "belongs to another cluster"),
    gate!(Oversized "oversized" "message length too large"),
    gate!(TooManyStreams "too_many_streams" "raft streams open"),
    door!(Peers "peers" TooManyConnections "too_many_connections" "closed"),
    door!(Peers "peers" Silent "timeout" "closed"),
    door!(Peers "peers" Drip "mute" "closed"),
    gate!(NoHello "no_hello" "begins with a hello"),
    door!(Peers "peers" RapidReset "flood" "closed"),
    door!(Probes "probes" WrongAuthority "unknown_authority" "does not trust our certificate"),
    door!(Probes "probes" Expired "expired" "does not trust our certificate"),
    door!(Probes "probes" WrongRole "wrong_role" "this listener takes probes"),
    session!(OtherCluster "you belong to mesh"),
    session!(Oversized "message length too large"),
    door!(Probes "probes" TooManyStreams "too_many_streams" "refused stream"),
    door!(Probes "probes" Silent "timeout" "closed"),
    door!(Probes "probes" Drip "mute" "closed"),
    session!(NoHello "no hello came"),
    door!(Probes "probes" RapidReset "flood" "closed"),
    door!(Api "api" WrongAuthority "unknown_authority" "does not trust our certificate"),
    door!(Api "api" Expired "expired" "does not trust our certificate"),
    door!(Api "api" WrongRole "wrong_role" "this listener takes users"),
    door!(Api "api" Oversized "oversized" "message length too large"),
    door!(Api "api" TooManyStreams "too_many_streams" "refused stream"),
    door!(Api "api" Silent "timeout" "closed"),
    door!(Api "api" Drip "mute" "closed"),
    door!(Api "api" RapidReset "flood" "closed"),
];

impl At {
    /// Every listener with a certificate.
    pub const ALL: [Self; 3] = [Self::Peers, Self::Probes, Self::Api];

    /// Whose certificate it takes: the attacker's own, issued by the mesh's authority.
    const fn own(self) -> &'static str {
        match self {
            Self::Peers => MEMBER,
            Self::Probes => PROBE.1,
            Self::Api => "anna",
        }
    }

    /// Whose it does not.
    const fn other(self) -> &'static str {
        match self {
            Self::Peers | Self::Api => PROBE.1,
            Self::Probes => "anna",
        }
    }

    /// A call that stays open while nothing is said on it.
    const fn open_call(self) -> &'static str {
        match self {
            Self::Peers => "/parallax.peer.v1.RaftService/Messages",
            Self::Probes => "/parallax.v1.SessionService/Live",
            Self::Api => "/parallax.v1.ConfigService/Apply",
        }
    }

    /// What the mesh calls the attacker.
    fn uri(self) -> String {
        match self {
            Self::Peers => format!("spiffe://{MESH}/coordinator/{MEMBER}"),
            Self::Probes => format!("spiffe://{MESH}/region/{}/probe/{}", PROBE.0, PROBE.1),
            Self::Api => format!("spiffe://{MESH}/user/anna/role/admin"),
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Peers => "peers",
            Self::Probes => "probes",
            Self::Api => "api",
        }
    }
}

impl Way {
    /// Whether it takes as long as the coordinator waits.
    pub const fn is_slow(self) -> bool {
        matches!(self, Self::Silent | Self::Drip | Self::NoHello)
    }
}

/// The attacker of one coordinator.
#[derive(Debug, Clone)]
pub struct Hostile {
    addresses: Addresses,
    /// Where certificates are, by what they are for.
    tls: PathBuf,
    /// A true hello to the coordinator.
    hello: PeerHello,
}

impl Hostile {
    /// Gets a place in the group and certificates of every kind, good ones and bad ones, to be used
    /// against `victim`.
    ///
    /// # Errors
    /// When the group does not let it in, or a certificate cannot be made.
    pub async fn enter(group: &Group, victim: &str) -> Result<Self> {
        let addresses = group.addresses(victim)?.clone();
        let to_node_id = group.mesh_status(victim).await?.node_id;
        group.issue(&["coordinator", MEMBER], MEMBER).await?;
        group.issue_probe(PROBE.1, PROBE.0).await?;
        // Nobody listens there.
        let peer_address = "127.0.0.1:1".to_owned();
        group.px_ok(&["cluster", "add", MEMBER, &peer_address]).await?;
        let credentials = Credentials::load(&group.tls(MEMBER))?;
        let channel =
            transport::connect(&[addresses.peers.to_string()], &credentials, None).await?;
        let build = "hostile".to_owned();
        let disk_id = "a disk of the attacker's".to_owned();
        let join = JoinRequest {
            disk_id: disk_id.clone(),
            build: build.clone(),
            level: parallax_coordinator::level::level(),
        };
        let joined = JoinServiceClient::new(channel).join(join).await?.into_inner();
        let hello = PeerHello {
            mesh: MESH.to_owned(),
            // As a member that has applied nothing yet.
            cluster_id: String::new(),
            node_id: joined.node_id,
            disk_id,
            to_node_id,
            build,
            level: parallax_coordinator::level::level(),
            peer_address,
        };
        let hostile = Self { addresses, tls: group.dir().to_owned(), hello };
        hostile.forge(group).await?;
        Ok(hostile)
    }

    /// Certificates that no `parallax pki` makes.
    async fn forge(&self, group: &Group) -> Result<()> {
        let other = group.path("pki-of-another");
        group.pki(&["init", "--mesh", MESH, "--dir", &other]).await?;
        let (ours, other) = (group.path("pki"), Path::new(&other));
        let ours = Path::new(&ours);
        for at in At::ALL {
            let dir = |way: Way| self.dir(at, way);
            forge(other, ours, &at.uri(), 1, &dir(Way::WrongAuthority))?;
            forge(ours, ours, &at.uri(), -1, &dir(Way::Expired))?;
        }
        Ok(())
    }

    /// Does what a row says; what the attacker was told, `closed` when that is all.
    ///
    /// # Errors
    /// When he was not refused.
    pub async fn attack(&self, row: &Row) -> Result<String> {
        let at = row.at;
        match row.way {
            Way::WrongAuthority | Way::Expired => match self.dial(&self.dir(at, row.way), at).await
            {
                Err(told) => Ok(format!("{told:#}")),
                Ok(_) => bail!("he was let in"),
            },
            Way::WrongRole => {
                // Of the API, whatever the listener: it is refused before anybody looks at the call.
                let api = Api::connect(&self.address(at), &self.own(at.other())).await?;
                let refused = api.region("any", true).await;
                Ok(refused.err().context("he was answered")?.message().to_owned())
            }
            Way::OtherCluster => self.other_cluster(at).await,
            Way::Oversized => self.oversized(at).await,
            Way::TooManyStreams => self.too_many_streams(at).await,
            Way::TooManyConnections => self.too_many_connections(at).await,
            Way::Silent => {
                let mut stream = TcpStream::connect(self.address(at)).await?;
                http2::until_closed(&mut stream).await;
                Ok("closed".to_owned())
            }
            Way::Drip => {
                let mut stream = self.by_hand(at).await?;
                // Whole after longer than anybody waits.
                for byte in http2::PREFACE {
                    if stream.write_all(std::slice::from_ref(byte)).await.is_err() {
                        break;
                    }
                    tokio::time::sleep(DRIP).await;
                }
                http2::until_closed(&mut stream).await;
                Ok("closed".to_owned())
            }
            Way::NoHello => self.no_hello(at).await,
            Way::RapidReset => {
                let mut stream = self.by_hand(at).await?;
                let mut flood = http2::PREFACE.to_vec();
                for number in http2::streams(4 * CONTROL_FRAMES_PER_SECOND_MAX) {
                    flood.extend(http2::open(number, at.open_call()));
                    flood.extend(http2::cancel(number));
                }
                // It may be closed before all of it is written.
                drop(stream.write_all(&flood).await);
                http2::until_closed(&mut stream).await;
                Ok("closed".to_owned())
            }
        }
    }

    async fn other_cluster(&self, at: At) -> Result<String> {
        match at {
            At::Peers => {
                let cluster_id = "another".to_owned();
                let hello = PeerHello { cluster_id, ..self.hello.clone() };
                self.ended_by(vec![Frame::Hello(hello)]).await
            }
            At::Probes => {
                let rogue = self.rogue().await?.of_mesh("another-mesh");
                Ok(rogue.say_hello().await.err().context("welcomed")?.message().to_owned())
            }
            At::Api => bail!("who asks says nothing of a cluster"),
        }
    }

    async fn oversized(&self, at: At) -> Result<String> {
        match at {
            At::Peers => {
                let message = Bytes::from(vec![0; PEER_FRAME_BYTES_MAX + 1]);
                let (from, to) = (self.hello.node_id, self.hello.to_node_id);
                let large = RaftFrame { from, to, term: 1, message };
                self.ended_by(vec![Frame::Hello(self.hello.clone()), Frame::Message(large)]).await
            }
            At::Probes => {
                let large = Bytes::from(vec![0; FRAME_BYTES_MAX + 1]);
                let (_open, mut frames) = self.rogue().await?.live(vec![large]).await?;
                end_of(&mut frames).await
            }
            At::Api => {
                let api = Api::connect(&self.address(at), &self.own(at.own())).await?;
                let title = "x".repeat(API_MESSAGE_BYTES);
                let region = v1::Region { meta: Some(named("large")), title };
                let refused = api.put_region(request_id("hostile", 1), region).await;
                Ok(refused.err().context("it was taken")?.message().to_owned())
            }
        }
    }

    async fn too_many_streams(&self, at: At) -> Result<String> {
        if at == At::Peers {
            let channel = self.member().await?;
            let mut held = Vec::new();
            for _ in 0..PEER_STREAMS_MAX {
                held.push(open(channel.clone(), vec![Frame::Hello(self.hello.clone())]).await?);
            }
            return self.ended_by(vec![Frame::Hello(self.hello.clone())]).await;
        }
        let mut stream = self.by_hand(at).await?;
        let mut all = http2::PREFACE.to_vec();
        for number in http2::streams(STREAMS_PER_CONNECTION_MAX + STREAMS_TOO_MANY) {
            all.extend(http2::open(number, at.open_call()));
        }
        stream.write_all(&all).await?;
        http2::until_refused(&mut stream).await?;
        Ok("refused stream".to_owned())
    }

    async fn too_many_connections(&self, at: At) -> Result<String> {
        let mut held = Vec::new();
        for _ in 0..PEER_CONNECTIONS_MAX {
            let mut stream = self.by_hand(at).await?;
            stream.write_all(http2::PREFACE).await?;
            held.push(stream);
        }
        // Closed behind its handshake: before or while it is read.
        if let Ok(mut stream) = self.by_hand(at).await {
            http2::until_closed(&mut stream).await;
        }
        Ok("closed".to_owned())
    }

    async fn no_hello(&self, at: At) -> Result<String> {
        match at {
            At::Peers => {
                let refused = open(self.member().await?, Vec::new()).await;
                Ok(refused.err().context("it was let in")?.message().to_owned())
            }
            At::Probes => {
                let channel = self.dial(&self.own(at.own()), at).await?;
                let (_open, nothing) = mpsc::channel(1);
                let mut client = SessionServiceClient::new(channel);
                let mut frames = client.live(ReceiverStream::new(nothing)).await?.into_inner();
                end_of(&mut frames).await
            }
            At::Api => bail!("who asks says no hello"),
        }
    }

    /// What ends a stream between members that says these frames.
    async fn ended_by(&self, frames: Vec<Frame>) -> Result<String> {
        match open(self.member().await?, frames).await {
            Ok((_sender, mut answers)) => end_of(&mut answers).await,
            Err(status) => Ok(status.message().to_owned()),
        }
    }

    async fn member(&self) -> Result<Channel> {
        self.dial(&self.own(MEMBER), At::Peers).await
    }

    async fn rogue(&self) -> Result<Rogue> {
        Rogue::dial(&self.address(At::Probes), &self.own(PROBE.1), PROBE.0, PROBE.1).await
    }

    async fn dial(&self, tls: &Path, at: At) -> Result<Channel> {
        let credentials = Credentials::load(tls)?;
        Ok(transport::connect(&[self.address(at)], &credentials, None).await?)
    }

    /// A connection whose holder writes HTTP/2 by hand.
    async fn by_hand(&self, at: At) -> Result<TlsStream<TcpStream>> {
        let connector = Connector::new(Credentials::load(&self.own(at.own()))?);
        let address = self.socket(at);
        Ok(connector.dial(&address.ip().to_string(), address.port()).await?)
    }

    fn socket(&self, at: At) -> SocketAddr {
        match at {
            At::Peers => self.addresses.peers,
            At::Probes => self.addresses.probes,
            At::Api => self.addresses.api,
        }
    }

    fn address(&self, at: At) -> String {
        self.socket(at).to_string()
    }

    fn own(&self, name: &str) -> PathBuf {
        self.tls.join(format!("tls-{name}"))
    }

    fn dir(&self, at: At, way: Way) -> PathBuf {
        self.tls.join(format!("tls-forged-{}-{way:?}", at.as_str()))
    }
}

type Open = (mpsc::Sender<MessagesRequest>, Streaming<MessagesResponse>);

/// Opens a stream between members that says these frames and stays open.
async fn open(channel: Channel, frames: Vec<Frame>) -> Result<Open, Status> {
    let (sender, receiver) = mpsc::channel(frames.len().max(1));
    for frame in frames {
        let request = MessagesRequest { frame: Some(frame) };
        // The channel has room for exactly these.
        sender.try_send(request).map_err(|error| Status::internal(error.to_string()))?;
    }
    let mut client = RaftServiceClient::new(channel);
    let answers = client.messages(ReceiverStream::new(receiver)).await?;
    Ok((sender, answers.into_inner()))
}

/// What a stream ends with.
async fn end_of<M>(frames: &mut Streaming<M>) -> Result<String> {
    loop {
        match frames.message().await {
            Ok(Some(_)) => {}
            Ok(None) => bail!("the stream ended without a reason"),
            Err(status) => return Ok(status.message().to_owned()),
        }
    }
}

/// Writes into `out` a certificate for `uri` from the authority in `from` that ends in so many days,
/// for somebody who trusts the authority in `trusts`.
fn forge(from: &Path, trusts: &Path, uri: &str, days: i64, out: &Path) -> Result<()> {
    let read = |dir: &Path, name: &str| {
        std::fs::read_to_string(dir.join(name)).with_context(|| format!("{name} in {dir:?}"))
    };
    let authority = KeyPair::from_pem(&read(from, AUTHORITY_KEY)?)?;
    let authority = Issuer::from_ca_cert_pem(&read(from, AUTHORITY_CERTIFICATE)?, authority)?;
    let now_s = clock::utc().as_ns() / 1_000_000_000;
    let at = |day: i64| -> Result<_> {
        let since = Duration::from_secs(u64::try_from(now_s + day * 86_400)?);
        Ok((UNIX_EPOCH + since).into())
    };
    let mut params = CertificateParams::default();
    (params.not_before, params.not_after) = (at(days - 10)?, at(days)?);
    params.subject_alt_names.push(SanType::URI(uri.try_into()?));
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, &authority)?;
    std::fs::create_dir(out)?;
    // Its own authority too: nobody loads a certificate that he does not trust himself.
    let both = [from, trusts].map(|dir| read(dir, AUTHORITY_CERTIFICATE));
    let both = both.into_iter().collect::<Result<Vec<_>>>()?;
    std::fs::write(out.join(AUTHORITY_CERTIFICATE), both.concat())?;
    std::fs::write(out.join(CERTIFICATE), certificate.pem())?;
    std::fs::write(out.join(KEY), key.serialize_pem())?;
    Ok(())
}
