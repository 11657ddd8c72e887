//! A QUIC connection (RFC 9000) to a target: from an address that the guard let through to the end of the
//! handshake.
//!
//! Sockets, timers and tasks of the library are the run's own: [`Link`] sends to one address and nobody
//! else, and [`Driver`] is polled by whoever waits for the connection, so that no task is left behind.
//! QUIC does in one handshake what TCP and TLS do one after the other. The first datagram of the target
//! parts them: until it comes nobody knows whether anybody is there (`connect`), from then on the two agree
//! on keys and show certificates (`tls`). What is said over the connection is `http3_exchange`'s.

use std::fmt;
use std::future::{Future, poll_fn};
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use parallax_common::limits::QUIC_TARGET_STREAMS_MAX;
use parallax_common::outcome::{Phase, Reason};
use parallax_runtime::clock;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::udp::{RecvMeta, Transmit};
use quinn::{
    AsyncTimer, AsyncUdpSocket, ClientConfig, Connecting, Connection, ConnectionError, Endpoint,
    EndpointConfig, IdleTimeout, Runtime, TransportConfig, TransportErrorCode, UdpPoller, VarInt,
};
use rustls::AlertDescription;
use rustls::pki_types::CertificateDer;
use tokio::io::{Interest, ReadBuf};

use super::connect::{datagram_failure, own};
use super::errno::plain;
use super::visit::shown;
use super::{Failure, Stage, Trace, socket, tls};
use crate::core::guard::Allowed;

/// Bytes of an answer that may be under way at once, as with HTTP/2.
const WINDOW_BYTES: u32 = 65_535;
/// So much longer than a run lasts a connection may be idle: a run ends by its own time, and a target that
/// hears nothing more of one soon forgets it.
const IDLE_BEYOND: Duration = Duration::from_secs(1);
/// What an application closes with that has nothing to complain of: `H3_NO_ERROR` (RFC 9114, 8.1).
const NO_ERROR: u32 = 0x100;

/// What a handshake is made with.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    config: ClientConfig,
    name: String,
}

impl Wanted {
    /// For the TLS of `config`, a target of this name, and a run of this length.
    pub fn new(config: &tls::Config, name: &str, timeout: Duration) -> Result<Self, Failure> {
        let refuse = |why: String| Failure::new(Reason::ConfigError, why);
        let crypto = QuicClientConfig::try_from(Arc::clone(config.client()))
            .map_err(|error| refuse(format!("this TLS cannot be spoken over QUIC: {error}")))?;
        let idle = IdleTimeout::try_from(timeout + IDLE_BEYOND)
            .map_err(|error| refuse(format!("the timeout: {error}")))?;
        let mut transport = TransportConfig::default();
        transport
            .max_idle_timeout(Some(idle))
            .max_concurrent_bidi_streams(VarInt::from_u32(0))
            .max_concurrent_uni_streams(VarInt::from_u32(QUIC_TARGET_STREAMS_MAX))
            .stream_receive_window(VarInt::from_u32(WINDOW_BYTES))
            .receive_window(VarInt::from_u32(2 * WINDOW_BYTES))
            .datagram_receive_buffer_size(None)
            .mtu_discovery_config(None)
            .enable_segmentation_offload(false);
        let mut config = ClientConfig::new(Arc::new(crypto));
        config.transport_config(Arc::new(transport));
        Ok(Self { config, name: name.to_owned() })
    }
}

/// A connection whose target has said something.
pub(super) struct Answered {
    driver: Driver,
    link: Arc<Link>,
    connecting: Connecting,
}

/// Begins a handshake with one address, and waits for the first datagram that comes back.
pub(super) async fn dial(
    to: Allowed,
    source: Option<IpAddr>,
    wanted: Wanted,
) -> Result<Answered, Failure> {
    let remote = to.address();
    let link = Arc::new(Link::new(socket::datagrams(to, source).await?, remote));
    let (hands, mut driver) = Driver::new();
    driver.running.push(Box::pin(watch(Arc::clone(&link))));
    let unusable = |error: io::Error| own(&error, "a socket cannot be used".to_owned());
    let socket: Arc<dyn AsyncUdpSocket> = Arc::clone(&link) as _;
    let config = EndpointConfig::default();
    let endpoint = Endpoint::new_with_abstract_socket(config, None, socket, Arc::new(hands));
    let endpoint = endpoint.map_err(unusable)?;
    let connecting = endpoint.connect_with(wanted.config, remote, &wanted.name);
    let connecting = connecting
        .map_err(|error| Failure::new(Reason::ConfigError, format!("no handshake: {error}")))?;
    poll_fn(|context| {
        driver.poll(context);
        match (link.heard.get(), link.broken.get()) {
            (Some(_), _) => Poll::Ready(Ok(())),
            (None, Some(error)) => Poll::Ready(Err(datagram_failure(error, Some(remote)))),
            (None, None) => Poll::Pending,
        }
    })
    .await?;
    Ok(Answered { driver, link, connecting })
}

/// Handshake and judgement. The certificate is in the trace once it was shown.
pub(super) async fn handshake(
    config: &tls::Config,
    name: &str,
    answered: Answered,
    trace: &mut Trace,
) -> Result<Quic, Failure> {
    trace.stage = Stage::Tls;
    let Answered { mut driver, link, mut connecting } = answered;
    // The first datagram has been read since, and what follows from it computed.
    let since = link.heard.get().copied().unwrap_or_else(clock::instant);
    let name = tls::server_name(name)?;
    let connection = poll_fn(|context| {
        driver.poll(context);
        if let Poll::Ready(made) = Pin::new(&mut connecting).poll(context) {
            return Poll::Ready(made.map_err(|error| not_shaken(&error)));
        }
        match link.broken() {
            Some(why) => {
                let evidence = format!("handshake: {why}");
                Poll::Ready(Err(Failure::new(Reason::TlsHandshake, evidence)))
            }
            None => Poll::Pending,
        }
    })
    .await?;
    let mut quic = Quic { connection, driver, link };
    trace.tls_version = parallax_common::check::TlsVersion::V13.word();
    trace.cipher = None;
    let chain = quic.connection.peer_identity();
    let chain = chain.and_then(|shown| shown.downcast::<Vec<CertificateDer<'static>>>().ok());
    let chain = chain.map_or_else(Vec::new, |chain| *chain);
    if let Err(failure) = tls::judge(config, &name, &chain, trace) {
        quic.close().await;
        return Err(failure);
    }
    trace.phase(Phase::Tls, since);
    Ok(quic)
}

/// A connection that stands. Nothing of it moves but while it is polled.
pub(super) struct Quic {
    pub connection: Connection,
    driver: Driver,
    link: Arc<Link>,
}

impl Quic {
    /// Moves it: takes what has come, sends what is due.
    pub fn poll(&mut self, context: &mut Context<'_>) {
        self.driver.poll(context);
    }

    /// Bytes that have come.
    pub fn bytes(&self) -> u64 {
        self.link.bytes.load(Ordering::Relaxed)
    }

    /// What keeps datagrams from the target.
    pub fn broken(&self) -> Option<String> {
        self.link.broken()
    }

    /// Waits for what needs the connection to move.
    pub async fn wait<T>(&mut self, what: impl Future<Output = T>) -> T {
        let mut what = std::pin::pin!(what);
        poll_fn(|context| {
            self.driver.poll(context);
            what.as_mut().poll(context)
        })
        .await
    }

    /// Says goodbye, so that the target need not wait for more. It is not awaited that it was heard.
    pub async fn close(&mut self) {
        self.connection.close(VarInt::from_u32(NO_ERROR), b"");
        poll_fn(|context| {
            self.driver.poll(context);
            Poll::Ready(())
        })
        .await;
    }
}

/// What it means that a handshake came to no good end.
fn not_shaken(error: &ConnectionError) -> Failure {
    let failed = |why: String| Failure::new(Reason::TlsHandshake, format!("handshake: {why}"));
    match error {
        ConnectionError::ConnectionClosed(close) => match alert(close.error_code) {
            Some(alert) => tls::alerted(alert),
            None if close.error_code == TransportErrorCode::CONNECTION_REFUSED => {
                Failure::new(Reason::ConnectRefused, "the target takes no QUIC connection")
            }
            None => failed(closed(error)),
        },
        // Said by this side of what the target chose.
        ConnectionError::TransportError(own) => match alert(own.code) {
            Some(alert @ AlertDescription::NoApplicationProtocol) => tls::alerted(alert),
            _ => failed(own.to_string()),
        },
        ConnectionError::VersionMismatch => {
            Failure::new(Reason::HttpVersion, "handshake: the target speaks no QUIC of version 1")
        }
        ConnectionError::TimedOut => {
            Failure::new(Reason::TlsTimeout, "handshake: the target fell silent")
        }
        other => failed(closed(other)),
    }
}

/// What it means that a connection ended while an answer was awaited or read.
pub(super) fn ended(error: &ConnectionError) -> Failure {
    match error {
        ConnectionError::ApplicationClosed(_) => Failure::new(
            Reason::HttpGoaway,
            format!("the target ended the session: {}", closed(error)),
        ),
        ConnectionError::ConnectionClosed(close) => match alert(close.error_code) {
            // A server judges the client after the client's handshake has ended.
            Some(alert) => {
                let why = rustls::Error::AlertReceived(alert);
                let evidence = format!("the target ended TLS after the handshake: {why}");
                Failure::new(Reason::TlsHandshake, evidence)
            }
            None if close.error_code == TransportErrorCode::NO_ERROR => {
                Failure::new(Reason::HttpGoaway, "the target ended the connection")
            }
            None => {
                let evidence = format!("the target broke the connection off: {}", closed(error));
                Failure::new(Reason::HttpReset, evidence)
            }
        },
        ConnectionError::Reset => {
            Failure::new(Reason::HttpReset, "the target knows nothing of the connection any more")
        }
        ConnectionError::TimedOut => {
            let evidence = "the connection was idle for longer than the target allows";
            Failure::new(Reason::Timeout, evidence)
        }
        other => Failure::new(Reason::HttpMalformed, format!("connection: {other}")),
    }
}

/// The word for the end of a connection, and what the target has said of it.
fn closed(error: &ConnectionError) -> String {
    let (word, said) = match error {
        ConnectionError::ApplicationClosed(close) => {
            (h3::error::Code::from(close.error_code.into_inner()).to_string(), &close.reason)
        }
        ConnectionError::ConnectionClosed(close) => {
            (format!("{:?}", close.error_code), &close.reason)
        }
        other => return other.to_string(),
    };
    match said.is_empty() {
        true => word,
        false => format!("{word}: {}", shown(&String::from_utf8_lossy(said))),
    }
}

/// The alert of TLS that an error of QUIC stands for (RFC 9001, 4.8).
fn alert(code: TransportErrorCode) -> Option<AlertDescription> {
    let code = u64::from(code).checked_sub(0x100)?;
    u8::try_from(code).ok().map(AlertDescription::from)
}

/// A socket that sends to one address and hears nobody else. What goes wrong with it is kept for whoever
/// waits: the library would write it into the log and forget it.
struct Link {
    socket: socket::Datagrams,
    remote: SocketAddr,
    /// When the first datagram came.
    heard: OnceLock<Instant>,
    bytes: AtomicU64,
    broken: OnceLock<io::Error>,
}

impl Link {
    fn new(socket: socket::Datagrams, remote: SocketAddr) -> Self {
        let (heard, broken) = (OnceLock::new(), OnceLock::new());
        Self { socket, remote, heard, bytes: AtomicU64::new(0), broken }
    }

    fn broken(&self) -> Option<String> {
        self.broken.get().map(|error| format!("udp to {}: {}", self.remote, plain(error)))
    }

    /// The first error counts.
    fn fail(&self, error: io::Error) {
        let _ = self.broken.set(error);
    }
}

/// Waits for what the network says of datagrams that did not arrive. A reader is not woken by that, and
/// without it only the next datagram that is sent, a second later, would be told.
async fn watch(link: Arc<Link>) {
    let look = || match link.socket.take_error()? {
        Some(error) => Ok(error),
        None => Err(io::ErrorKind::WouldBlock.into()),
    };
    let (Ok(error) | Err(error)) = link.socket.async_io(Interest::ERROR, look).await;
    link.fail(error);
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Link({})", self.remote)
    }
}

impl AsyncUdpSocket for Link {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Writable(self))
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        if transmit.destination != self.remote {
            let why = format!("{} is not the target", transmit.destination);
            self.fail(io::Error::new(io::ErrorKind::PermissionDenied, why));
            return Ok(());
        }
        match self.socket.try_send(transmit.contents) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(error),
            Err(error) => {
                self.fail(error);
                Ok(())
            }
            Ok(_) => Ok(()),
        }
    }

    fn poll_recv(
        &self,
        context: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let (Some(buffer), Some(meta)) = (buffers.first_mut(), metas.first_mut()) else {
            return Poll::Ready(Ok(0));
        };
        if self.broken.get().is_some() {
            return Poll::Pending;
        }
        let mut buffer = ReadBuf::new(buffer);
        if let Err(error) = ready!(self.socket.poll_recv(context, &mut buffer)) {
            // Whoever polls looks at what is kept before it waits.
            self.fail(error);
            return Poll::Pending;
        }
        let len = buffer.filled().len();
        self.heard.get_or_init(clock::instant);
        self.bytes.fetch_add(len as u64, Ordering::Relaxed);
        *meta = RecvMeta { addr: self.remote, len, stride: len, ecn: None, dst_ip: None };
        Poll::Ready(Ok(1))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}

/// Waits until a [`Link`] takes another datagram.
#[derive(Debug)]
struct Writable(Arc<Link>);

impl UdpPoller for Writable {
    fn poll_writable(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Err(error) = ready!(self.0.socket.poll_send_ready(context)) {
            self.0.fail(error);
        }
        Poll::Ready(Ok(()))
    }
}

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What the library would have run beside a connection, run by whoever waits for the connection.
struct Driver {
    running: Vec<Task>,
    begun: Arc<Mutex<Vec<Task>>>,
}

impl Driver {
    fn new() -> (Hands, Self) {
        let begun = Arc::default();
        (Hands(Arc::downgrade(&begun)), Self { running: Vec::new(), begun })
    }

    fn poll(&mut self, context: &mut Context<'_>) {
        loop {
            self.running.append(&mut self.begun.lock().unwrap_or_else(PoisonError::into_inner));
            self.running.retain_mut(|task| task.as_mut().poll(context).is_pending());
            if self.begun.lock().unwrap_or_else(PoisonError::into_inner).is_empty() {
                return;
            }
        }
    }
}

/// Gives a [`Driver`] its tasks. They know of these hands themselves, so they must not own them.
#[derive(Clone)]
struct Hands(Weak<Mutex<Vec<Task>>>);

impl fmt::Debug for Hands {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hands")
    }
}

impl Runtime for Hands {
    fn new_timer(&self, at: Instant) -> Pin<Box<dyn AsyncTimer>> {
        Box::pin(Timer(Box::pin(tokio::time::sleep_until(at.into()))))
    }

    fn spawn(&self, task: Task) {
        // Without a driver there is no run any more that would need it.
        if let Some(begun) = self.0.upgrade() {
            begun.lock().unwrap_or_else(PoisonError::into_inner).push(task);
        }
    }

    fn wrap_udp_socket(&self, _: socket::Foreign) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "a run has the one socket it began with"))
    }

    fn now(&self) -> Instant {
        clock::instant()
    }
}

#[derive(Debug)]
struct Timer(Pin<Box<tokio::time::Sleep>>);

impl AsyncTimer for Timer {
    fn reset(mut self: Pin<&mut Self>, at: Instant) {
        self.0.as_mut().reset(at.into());
    }

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        Future::poll(self.0.as_mut(), context)
    }
}
