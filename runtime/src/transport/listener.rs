//! The server's side: accept, shake hands, find out who it is, and serve or say why not.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use parallax_common::limits::{
    CONNECTIONS_MAX, CONTROL_FRAMES_PER_SECOND_MAX, HANDSHAKE_TIMEOUT, HANDSHAKES_MAX,
    HEADER_LIST_BYTES_MAX, KEEP_ALIVE, PEER_CONNECTION_WINDOW_BYTES, PEER_STREAM_WINDOW_BYTES,
    PROBE_CONNECTION_WINDOW_BYTES, PROBE_STREAM_WINDOW_BYTES, REFUSAL_LOGS_PER_SECOND_MAX,
    REFUSED_CONNECTION_AGE_MAX, REFUSED_CONNECTIONS_MAX, STREAMS_PER_CONNECTION_MAX,
};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Sleep;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tokio_util::sync::CancellationToken;
use tonic::service::{Interceptor, InterceptorLayer, Routes};
use tonic::transport::Server;
use tonic::transport::server::Connected;
use tonic::{Request, Status};
use tracing::{debug, warn};

use crate::clock;
use crate::supervisor::{Supervisor, TaskKind};
use crate::transport::credentials::{Credentials, causes};
use crate::transport::identity::Identity;
use crate::transport::meter::{Meter, Refusing};
use crate::transport::oversized::Oversized;
use crate::transport::refusal::{Accepts, LogBudget, Refusal, RefusalCounters};
use crate::transport::verify::{CertificateIdentityError, identity_of};

/// Who is at the other end of a connection: of our mesh, and of a role the listener takes. In the
/// extensions of every request that [`serve`] hands to a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerInfo {
    /// From its certificate.
    pub identity: Identity,
    /// Its address.
    pub remote: SocketAddr,
    /// Ours.
    pub local: SocketAddr,
}

/// The listener cannot be set up.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}")]
pub struct BindError {
    /// Where.
    pub address: SocketAddr,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

/// A bound address that takes one kind of peer. Handshakes go on in tasks of their own; those that
/// end well wait to be served.
#[derive(Debug)]
pub struct Listener {
    accepts: Accepts,
    local: SocketAddr,
    turned: Arc<Turned>,
    incoming: Incoming,
}

impl Listener {
    /// Binds `address` (port 0: any) and starts to accept, until the supervisor stops or the
    /// listener is dropped.
    pub async fn bind(
        address: SocketAddr,
        accepts: Accepts,
        credentials: &Credentials,
        supervisor: &Supervisor,
    ) -> Result<Self, BindError> {
        let failed = |source| BindError { address, source };
        let socket = TcpListener::bind(address).await.map_err(failed)?;
        let local = socket.local_addr().map_err(failed)?;
        let turned =
            Arc::new(Turned { accepts, refusals: Arc::default(), logged: Mutex::default() });
        let (served, incoming) = mpsc::channel(1);
        let (refused, to_refuse) = mpsc::channel(REFUSED_CONNECTIONS_MAX);
        let door = Arc::new(Door {
            accepts,
            credentials: credentials.clone(),
            served,
            refused,
            handshakes: Arc::new(Semaphore::new(HANDSHAKES_MAX)),
            connections: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
            refused_connections: Arc::new(Semaphore::new(REFUSED_CONNECTIONS_MAX)),
            held: Arc::default(),
            turned: Arc::clone(&turned),
            supervisor: supervisor.clone(),
        });
        supervisor.spawn(TaskKind::Session("refuser"), refuse(to_refuse, supervisor.stop_token()));
        supervisor.spawn(TaskKind::Session("listener"), accept(socket, door));
        let incoming = Incoming { ready: ReceiverStream::new(incoming) };
        Ok(Self { accepts, local, turned, incoming })
    }

    /// The address that was bound.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Whom it takes.
    pub fn accepts(&self) -> Accepts {
        self.accepts
    }

    /// What it turned away so far; lives on when the listener is served.
    pub fn refusals(&self) -> Arc<RefusalCounters> {
        Arc::clone(&self.turned.refusals)
    }

    /// The connections of admitted peers, for a server of one's own. [`serve`] is the usual way.
    pub fn into_incoming(self) -> Incoming {
        self.incoming
    }
}

/// Serves `routes` on `listener` until `stop`, then lets calls that run end.
pub async fn serve(
    listener: Listener,
    routes: Routes,
    stop: CancellationToken,
) -> Result<(), tonic::transport::Error> {
    let windows = match listener.accepts {
        Accepts::Peers => Some((PEER_STREAM_WINDOW_BYTES, PEER_CONNECTION_WINDOW_BYTES)),
        // A bulk lane that is not read for a while leaves room for the live lane beside it.
        Accepts::Probes => Some((PROBE_STREAM_WINDOW_BYTES, PROBE_CONNECTION_WINDOW_BYTES)),
        Accepts::Api => None, // what the library takes
    };
    Server::builder()
        .http2_keepalive_interval(Some(KEEP_ALIVE))
        .http2_keepalive_timeout(Some(KEEP_ALIVE))
        .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
        .http2_max_header_list_size(HEADER_LIST_BYTES_MAX)
        // Above what the meter lets through, so that it is the meter that closes, with a reason.
        .http2_max_pending_accept_reset_streams(Some(2 * CONTROL_FRAMES_PER_SECOND_MAX as usize))
        .initial_stream_window_size(windows.map(|(stream, _)| stream))
        .initial_connection_window_size(windows.map(|(_, connection)| connection))
        .layer(Oversized(Arc::clone(&listener.turned)))
        .layer(InterceptorLayer::new(require(listener.accepts)))
        .add_routes(routes)
        .serve_with_incoming_shutdown(listener.incoming, stop.cancelled_owned())
        .await
}

/// Who sent this request; `UNAUTHENTICATED` when it did not come through a [`Listener`].
pub fn peer_of<T>(request: &Request<T>) -> Result<&PeerInfo, Status> {
    request
        .extensions()
        .get::<PeerInfo>()
        .ok_or_else(|| Status::unauthenticated("the connection shows no certificate of the mesh"))
}

/// Refuses every request whose sender `accepts` does not admit. [`serve`] has it around everything;
/// it is for services that are served in another way.
pub fn require(accepts: Accepts) -> Require {
    Require { accepts }
}

/// See [`require`].
#[derive(Debug, Clone, Copy)]
pub struct Require {
    accepts: Accepts,
}

impl Interceptor for Require {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        let peer = peer_of(&request)?;
        if self.accepts.admits(&peer.identity) {
            Ok(request)
        } else {
            let (accepts, whose) = (self.accepts, peer.identity.describe());
            let why = Unwelcome::Role { accepts, whose };
            Err(Status::permission_denied(why.to_string()))
        }
    }
}

/// A peer whose chain is good and who is turned away all the same, in words for it to read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum Unwelcome {
    #[error("this listener takes {}; your certificate is {whose}", .accepts.takes())]
    Role { accepts: Accepts, whose: String },
    #[error("this is mesh \"{ours}\"; your certificate is {whose} of mesh \"{theirs}\"")]
    Mesh { ours: String, theirs: String, whose: String },
    #[error("your certificate names nobody: {0}")]
    Nobody(String),
}

impl Unwelcome {
    fn refusal(&self) -> Refusal {
        match self {
            Self::Role { .. } => Refusal::WrongRole,
            Self::Mesh { .. } => Refusal::WrongMesh,
            Self::Nobody(_) => Refusal::NoIdentity,
        }
    }
}

fn admit(
    accepts: Accepts,
    mesh: &str,
    identity: Result<Identity, CertificateIdentityError>,
) -> Result<Identity, Unwelcome> {
    let identity = identity.map_err(|error| Unwelcome::Nobody(causes(&error)))?;
    if identity.mesh() != mesh {
        return Err(Unwelcome::Mesh {
            ours: mesh.to_owned(),
            theirs: identity.mesh().to_owned(),
            whose: identity.describe(),
        });
    }
    if accepts.admits(&identity) {
        Ok(identity)
    } else {
        Err(Unwelcome::Role { accepts, whose: identity.describe() })
    }
}

/// What the accept loop and its handshakes share.
struct Door {
    accepts: Accepts,
    credentials: Credentials,
    served: mpsc::Sender<Connection<PeerInfo>>,
    refused: mpsc::Sender<Connection<Unwelcome>>,
    handshakes: Arc<Semaphore>,
    connections: Arc<Semaphore>,
    refused_connections: Arc<Semaphore>,
    held: Arc<Held>,
    turned: Arc<Turned>,
    supervisor: Supervisor,
}

/// Counts and logs what one listener turns away.
#[derive(Debug)]
pub(super) struct Turned {
    accepts: Accepts,
    refusals: Arc<RefusalCounters>,
    logged: Mutex<LogBudget>,
}

async fn accept(socket: TcpListener, door: Arc<Door>) {
    let stop = door.supervisor.stop_token();
    loop {
        let ready = async {
            let slot = Arc::clone(&door.handshakes).acquire_owned().await.ok()?;
            Some((slot, socket.accept().await))
        };
        let (slot, accepted) = tokio::select! {
            () = stop.cancelled() => return,
            () = door.served.closed() => return,
            ready = ready => match ready {
                Some(ready) => ready,
                None => return, // never: nobody closes this semaphore
            },
        };
        match accepted {
            Ok((stream, remote)) => {
                let (door, stop) = (Arc::clone(&door), stop.clone());
                let supervisor = door.supervisor.clone();
                supervisor.spawn(TaskKind::Session("handshake"), async move {
                    tokio::select! {
                        () = stop.cancelled() => {}
                        () = door.welcome(stream, remote, slot) => {}
                    }
                });
            }
            Err(error) => {
                // Out of descriptors, or the peer is gone already: neither ends the listener.
                warn!(listener = door.accepts.as_str(), %error, "accepting failed");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

impl Door {
    /// From an accepted socket to a connection in the hands of a server.
    async fn welcome(
        self: &Arc<Self>,
        stream: TcpStream,
        remote: SocketAddr,
        slot: OwnedSemaphorePermit,
    ) {
        let Ok(permit) = Arc::clone(&self.connections).try_acquire_owned() else {
            self.refuse(Refusal::Full, remote, &"the listener holds all connections it may");
            return;
        };
        let local = match prepare(&stream) {
            Ok(local) => local,
            Err(error) => return self.refuse(Refusal::Gone, remote, &error),
        };
        let acceptor = TlsAcceptor::from(self.credentials.server());
        let shaken = tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await;
        drop(slot);
        let stream = match shaken {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                return self.refuse(Refusal::of_handshake(&error), remote, &error);
            }
            Err(_) => {
                return self.refuse(Refusal::Timeout, remote, &"the handshake took too long");
            }
        };
        let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let identity = match certificates.first() {
            Some(leaf) => identity_of(leaf),
            None => Err(CertificateIdentityError::Uris(0)), // never: the verifier demands one
        };
        match admit(self.accepts, self.credentials.mesh(), identity) {
            Ok(identity) => {
                let most = self.accepts.connections_of_one_max();
                let Some(place) = self.held.take(identity.to_string(), most) else {
                    let why = format!("{} has {most} connections already", identity.describe());
                    return self.refuse(Refusal::TooMany, remote, &why);
                };
                let info = PeerInfo { identity, remote, local };
                debug!(listener = self.accepts.as_str(), %remote, peer = %info.identity, "accepted");
                // Closed when the server has stopped.
                let watch = Watch::new(Arc::clone(self), remote);
                let _places = (permit, Some(place));
                let _ = self.served.send(Connection { stream, info, watch, _places }).await;
            }
            Err(unwelcome) => {
                self.refuse(unwelcome.refusal(), remote, &unwelcome);
                drop(permit);
                if let Ok(permit) = Arc::clone(&self.refused_connections).try_acquire_owned() {
                    let watch = Watch::new(Arc::clone(self), remote);
                    let _places = (permit, None);
                    let refused = Connection { stream, info: unwelcome, watch, _places };
                    let _ = self.refused.try_send(refused);
                }
            }
        }
    }

    fn refuse(&self, refusal: Refusal, remote: SocketAddr, why: &dyn fmt::Display) {
        self.turned.refuse(refusal, remote, why);
    }
}

impl Turned {
    pub(super) fn refuse(&self, refusal: Refusal, remote: SocketAddr, why: &dyn fmt::Display) {
        self.refusals.count(refusal);
        let now_s = clock::boot_time().as_ns() / 1_000_000_000;
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(withheld) = logged.take(now_s, REFUSAL_LOGS_PER_SECOND_MAX) {
            warn!(
                listener = self.accepts.as_str(),
                %remote,
                reason = refusal.as_str(),
                withheld,
                "connection refused: {why}"
            );
        }
    }
}

fn prepare(stream: &TcpStream) -> io::Result<SocketAddr> {
    stream.set_nodelay(true)?;
    let keep_alive = TcpKeepalive::new().with_time(KEEP_ALIVE).with_interval(KEEP_ALIVE);
    SockRef::from(stream).set_tcp_keepalive(&keep_alive)?;
    stream.local_addr()
}

/// Answers every call of those who are turned away with the reason.
async fn refuse(refused: mpsc::Receiver<Connection<Unwelcome>>, stop: CancellationToken) {
    let say_why = |request: Request<()>| -> Result<Request<()>, Status> {
        let why = request.extensions().get::<Unwelcome>().map(ToString::to_string);
        Err(Status::permission_denied(why.unwrap_or_default()))
    };
    let served = Server::builder()
        .max_connection_age(REFUSED_CONNECTION_AGE_MAX)
        .max_connection_age_grace(Duration::from_secs(1))
        .layer(InterceptorLayer::new(say_why))
        .add_routes(Routes::default())
        .serve_with_incoming_shutdown(
            ReceiverStream::new(refused).map(Ok::<_, io::Error>),
            stop.cancelled_owned(),
        )
        .await;
    if let Err(error) = served {
        warn!(%error, "telling refused peers why has ended");
    }
}

/// The connections of a listener's admitted peers.
#[derive(Debug)]
pub struct Incoming {
    ready: ReceiverStream<Connection<PeerInfo>>,
}

impl Stream for Incoming {
    type Item = io::Result<Connection<PeerInfo>>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut self.ready).poll_next(cx).map(|next| next.map(Ok))
    }
}

/// A connection after its handshake, with what is known of the peer.
#[derive(Debug)]
pub struct Connection<I> {
    stream: TlsStream<TcpStream>,
    info: I,
    watch: Watch,
    /// Count against the listener's bounds as long as the connection lives.
    _places: (OwnedSemaphorePermit, Option<Place>),
}

/// Connections by whose they are.
#[derive(Debug, Default)]
struct Held(Mutex<BTreeMap<String, usize>>);

impl Held {
    /// A place for one more connection of this holder, if there is one.
    fn take(self: &Arc<Self>, holder: String, most: usize) -> Option<Place> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = held.entry(holder.clone()).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Place { held: Arc::clone(self), holder })
    }
}

/// One connection of its holder; free when dropped.
#[derive(Debug)]
struct Place {
    held: Arc<Held>,
    holder: String,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut held = self.held.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = held.get_mut(&self.holder) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.holder);
            }
        }
    }
}

/// Ends a connection whose client says nothing, or floods us.
struct Watch {
    meter: Meter,
    refusing: Refusing,
    /// Until the client has begun.
    deadline: Option<Pin<Box<Sleep>>>,
    door: Arc<Door>,
    remote: SocketAddr,
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("meter", &self.meter).finish_non_exhaustive()
    }
}

impl Watch {
    fn new(door: Arc<Door>, remote: SocketAddr) -> Self {
        let deadline = Some(Box::pin(tokio::time::sleep(HANDSHAKE_TIMEOUT)));
        let (meter, refusing) = (Meter::new(), Refusing::default());
        Self { meter, refusing, deadline, door, remote }
    }

    /// Looks at what was read.
    fn read(&mut self, bytes: &[u8]) -> io::Result<()> {
        let now_s = clock::boot_time().as_ns() / 1_000_000_000;
        if self.meter.read(bytes, now_s).is_err() {
            self.door.refuse(Refusal::Flood, self.remote, &"it resets or pings without end");
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        if self.meter.is_opened() {
            self.deadline = None;
        }
        Ok(())
    }

    /// Looks at what was written, by the library that serves.
    fn wrote(&mut self, bytes: &[u8]) {
        for _ in 0..self.refusing.wrote(bytes) {
            let why = "it has as many streams open as one connection may";
            self.door.refuse(Refusal::TooManyStreams, self.remote, &why);
        }
    }

    /// Whether the client may go on saying nothing.
    fn wait(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(deadline) = &mut self.deadline else { return Poll::Pending };
        match deadline.as_mut().poll(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(()) => {
                self.deadline = None;
                self.door.refuse(Refusal::Mute, self.remote, &"it does not begin to speak HTTP/2");
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
        }
    }
}

impl<I: Clone + Send + Sync + 'static> Connected for Connection<I> {
    type ConnectInfo = I;

    fn connect_info(&self) -> I {
        self.info.clone()
    }
}

impl<I: Unpin> AsyncRead for Connection<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        match Pin::new(&mut self.stream).poll_read(cx, buf) {
            Poll::Pending => self.watch.wait(cx),
            Poll::Ready(Ok(())) => Poll::Ready(self.watch.read(&buf.filled()[before..])),
            failed => failed,
        }
    }
}

impl<I: Unpin> AsyncWrite for Connection<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        if let Poll::Ready(Ok(length)) = written {
            self.watch.wrote(&buf[..length]);
        }
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        if let Poll::Ready(Ok(mut left)) = written {
            for buf in bufs {
                let length = left.min(buf.len());
                self.watch.wrote(&buf[..length]);
                left -= length;
            }
        }
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
