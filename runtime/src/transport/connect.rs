//! The client's side: dial a coordinator, check that it is one, and say plainly what went wrong.

use std::error::Error;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::Uri;
use hyper_util::rt::TokioIo;
use parallax_common::limits::{DIAL_TIMEOUT, KEEP_ALIVE};
use rustls::pki_types::ServerName;
use rustls::{AlertDescription, CertificateError};
use tokio::io::AsyncBufReadExt;
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::codegen::Service;
use tonic::transport::{Channel, Endpoint};

use crate::transport::credentials::{Credentials, causes};
use crate::transport::verify::{NotOurCoordinator, identity_of};

/// Why a coordinator could not be dialled.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DialError {
    /// The text is no `host:port`.
    #[error("{0:?} is not host:port")]
    Address(String),
    /// The name does not resolve, or to no address of our source's family.
    #[error("the name {host:?} does not resolve")]
    Resolve {
        /// The name.
        host: String,
        /// What the resolver said.
        #[source]
        source: Arc<io::Error>,
    },
    /// No connection came about.
    #[error("cannot connect to {address}")]
    Connect {
        /// The last address that was tried.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: Arc<io::Error>,
    },
    /// It all took too long.
    #[error("no answer within {} s", DIAL_TIMEOUT.as_secs())]
    Timeout,
    /// The server did not take our certificate.
    #[error("{0}")]
    WeAreRefused(String),
    /// We did not take the server's certificate.
    #[error("{0}")]
    TheyAreRefused(String),
    /// The handshake failed in another way.
    #[error("the TLS handshake failed")]
    Handshake(#[source] Arc<io::Error>),
}

impl DialError {
    /// Whether trying again is in vain until somebody changes an address or a certificate.
    pub fn is_lasting(&self) -> bool {
        matches!(self, Self::Address(_) | Self::WeAreRefused(_) | Self::TheyAreRefused(_))
    }
}

/// Dials coordinators for tonic: TCP from the source address, TLS with the newest credentials, and
/// not done before the server has taken our certificate.
#[derive(Debug, Clone)]
pub struct Connector {
    credentials: Credentials,
    source: Option<IpAddr>,
    name: Option<Arc<str>>,
}

impl Connector {
    /// Dials as the holder of `credentials` and expects a coordinator of its mesh.
    pub fn new(credentials: Credentials) -> Self {
        Self { credentials, source: None, name: None }
    }

    /// Takes no coordinator but the one of this name.
    pub fn named(self, name: &str) -> Self {
        Self { name: Some(name.into()), ..self }
    }

    /// Dials from this address of ours.
    pub fn from_address(self, source: Option<IpAddr>) -> Self {
        Self { source, ..self }
    }

    /// One connection, ready for HTTP/2.
    pub async fn dial(&self, host: &str, port: u16) -> Result<TlsStream<TcpStream>, DialError> {
        tokio::time::timeout(DIAL_TIMEOUT, async {
            let stream = self.tcp(host, port).await?;
            self.handshake(stream).await
        })
        .await
        .unwrap_or(Err(DialError::Timeout))
    }

    async fn tcp(&self, host: &str, port: u16) -> Result<TcpStream, DialError> {
        let unresolved =
            |error| DialError::Resolve { host: host.to_owned(), source: Arc::new(error) };
        let fits = |address: &SocketAddr| {
            self.source.is_none_or(|source| source.is_ipv4() == address.is_ipv4())
        };
        let mut last = unresolved(io::Error::other("it has no address of our source's family"));
        for address in lookup_host((host, port)).await.map_err(unresolved)?.filter(fits) {
            match self.tcp_to(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = DialError::Connect { address, source: Arc::new(error) },
            }
        }
        Err(last)
    }

    async fn tcp_to(&self, address: SocketAddr) -> io::Result<TcpStream> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        if let Some(source) = self.source {
            socket.bind(SocketAddr::new(source, 0))?;
        }
        socket.set_nodelay(true)?;
        socket.connect(address).await
    }

    async fn handshake(&self, stream: TcpStream) -> Result<TlsStream<TcpStream>, DialError> {
        // Not sent, and not what the verifier goes by.
        let name = ServerName::IpAddress(std::net::Ipv4Addr::UNSPECIFIED.into());
        let mut stream = TlsConnector::from(self.credentials.client())
            .connect(name, stream)
            .await
            .map_err(explain)?;
        // In TLS 1.3 the client is done before the server has looked at its certificate. A server
        // of ours speaks first (HTTP/2 SETTINGS), so its first byte, or its alert, is the answer.
        // Nothing is consumed here.
        match stream.fill_buf().await {
            Ok([]) => {
                return Err(DialError::Handshake(Arc::new(io::ErrorKind::UnexpectedEof.into())));
            }
            Ok(_) => {}
            Err(error) => return Err(explain(error)),
        }
        self.check_name(&stream)?;
        Ok(stream)
    }

    /// The verifier has seen that it is a coordinator of our mesh; here, which.
    fn check_name(&self, stream: &TlsStream<TcpStream>) -> Result<(), DialError> {
        let Some(wanted) = &self.name else { return Ok(()) };
        let leaf = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        match leaf.map(|leaf| identity_of(leaf)) {
            Some(Ok(identity)) if identity.name() == &**wanted => Ok(()),
            Some(Ok(identity)) => Err(DialError::TheyAreRefused(format!(
                "the server is {}, expected \"{wanted}\"",
                identity.describe()
            ))),
            _ => Err(DialError::TheyAreRefused("the server's certificate names nobody".to_owned())),
        }
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<TlsStream<TcpStream>>;
    type Error = DialError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, DialError>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), DialError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move {
            let (Some(host), Some(port)) = (uri.host(), uri.port_u16()) else {
                return Err(DialError::Address(uri.to_string()));
            };
            // A URI writes IPv6 addresses in brackets; the resolver wants none.
            let host = host.trim_start_matches('[').trim_end_matches(']');
            connector.dial(host, port).await.map(TokioIo::new)
        })
    }
}

/// What the error of a client's handshake means for whoever reads it.
pub(super) fn explain(error: io::Error) -> DialError {
    let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) else {
        return DialError::Handshake(Arc::new(error));
    };
    match tls {
        rustls::Error::AlertReceived(alert) => DialError::WeAreRefused(refused_by(*alert)),
        rustls::Error::InvalidCertificate(why) => DialError::TheyAreRefused(match why {
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                "we do not trust the server's certificate (unknown authority)".to_owned()
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "the server's certificate has expired".to_owned()
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "the server's certificate is not valid yet".to_owned()
            }
            CertificateError::Other(other) => match other.0.downcast_ref::<NotOurCoordinator>() {
                Some(why) => causes(why),
                None => format!("the server's certificate is no good ({})", other.0),
            },
            other => format!("the server's certificate is no good ({other})"),
        }),
        _ => DialError::Handshake(Arc::new(error)),
    }
}

fn refused_by(alert: AlertDescription) -> String {
    let why = match alert {
        AlertDescription::CertificateRequired => {
            return "the server asks for a certificate and we showed none".to_owned();
        }
        // A signature that does not fit is what an authority of the same name looks like.
        AlertDescription::UnknownCA | AlertDescription::DecryptError => "unknown authority",
        AlertDescription::CertificateExpired => "it has expired, or has not begun",
        AlertDescription::CertificateRevoked => "it is revoked",
        AlertDescription::BadCertificate | AlertDescription::UnsupportedCertificate => {
            "it is broken or for another use"
        }
        other => return format!("the server refused the handshake ({other:?})"),
    };
    format!("the server does not trust our certificate ({why})")
}

/// The endpoint of a coordinator written as `host:port`, with the settings every client has.
pub fn endpoint(address: &str) -> Result<Endpoint, DialError> {
    let bad = || DialError::Address(address.to_owned());
    let uri: Uri = format!("https://{address}").parse().map_err(|_| bad())?;
    if uri.host().is_none_or(str::is_empty) || uri.port_u16().is_none() || uri.path() != "/" {
        return Err(bad());
    }
    Ok(Endpoint::from(uri)
        .connect_timeout(DIAL_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .keep_alive_while_idle(true))
}

/// One coordinator that was tried in vain.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// As it was written.
    pub endpoint: String,
    /// Why it could not be had.
    pub error: DialError,
}

/// No coordinator could be had.
#[derive(Debug, Clone)]
pub struct ConnectError {
    /// Every one that was tried, in order.
    pub attempts: Vec<Attempt>,
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, others @ ..] = self.attempts.as_slice() else {
            return f.write_str("no coordinator was named");
        };
        write!(f, "no coordinator could be reached: {}: {}", first.endpoint, causes(&first.error))?;
        others
            .iter()
            .try_for_each(|tried| write!(f, "; {}: {}", tried.endpoint, causes(&tried.error)))
    }
}

impl Error for ConnectError {}

/// A channel to the first of `endpoints` (`host:port`) that takes us, dialled from `source` when
/// given. When its connection breaks, the channel dials the same coordinator again.
pub async fn connect(
    endpoints: &[String],
    credentials: &Credentials,
    source: Option<IpAddr>,
) -> Result<Channel, ConnectError> {
    let connector = Connector::new(credentials.clone()).from_address(source);
    let mut attempts = Vec::new();
    for address in endpoints {
        let tried = match endpoint(address) {
            Ok(endpoint) => endpoint
                .connect_with_connector(connector.clone())
                .await
                .map_err(|error| dial_error(&error).cloned().unwrap_or_else(|| other(&error))),
            Err(error) => Err(error),
        };
        match tried {
            Ok(channel) => return Ok(channel),
            Err(error) => attempts.push(Attempt { endpoint: address.clone(), error }),
        }
    }
    Err(ConnectError { attempts })
}

/// The [`DialError`] among an error's causes: of a `tonic::transport::Error`, or of the
/// `tonic::Status` of a call on a channel that could not be dialled again.
pub fn dial_error<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e DialError> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<DialError>() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

fn other(error: &tonic::transport::Error) -> DialError {
    DialError::Handshake(Arc::new(io::Error::other(causes(error))))
}
