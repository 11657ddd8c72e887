//! From a contact's host to an open connection: the one file of a coordinator that opens sockets on a
//! contact's behalf, each to an address that the guard let through.
//!
//! Whoever may edit contacts says where a coordinator connects to, and a coordinator often stands where
//! much can be reached that is not for everybody. So what holds for probes holds here: a name is resolved
//! once, each address is looked at, and exactly that one is connected to.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use parallax_common::guard::{Allowed, Guard};
use parallax_common::limits::CONTACT_ADDRESSES_MAX;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::chain;

/// Whom to trust when a contact's certificate is verified.
#[derive(Debug, Clone)]
pub enum Roots {
    /// The list that is compiled in.
    Webpki,
    /// These and no others.
    Given(RootCertStore),
}

/// TLS cannot be set up, so nothing can be sent at all.
#[derive(Debug, thiserror::Error)]
#[error("cannot set up TLS for contacts")]
pub struct ReachError(#[from] rustls::Error);

/// The way to contacts.
#[derive(Clone)]
pub struct Reach {
    guard: Arc<Guard>,
    tls: TlsConnector,
}

impl std::fmt::Debug for Reach {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reach").finish_non_exhaustive()
    }
}

/// What is trusted. Nothing is said of what will be spoken: HTTP/1.1, or SMTP.
fn trusting(roots: RootCertStore) -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// The authorities in a text.
fn given(pem: &str) -> Result<RootCertStore, String> {
    let wrong = |error: String| format!("config_error: ca_pem: {error}");
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
        roots.add(certificate).map_err(|error| wrong(chain(&error)))?;
    }
    if roots.is_empty() {
        Err(wrong("there is no certificate in it".to_owned()))
    } else {
        Ok(roots)
    }
}

/// The public authorities that are compiled in.
fn public() -> RootCertStore {
    webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect()
}

impl Reach {
    /// Lets through what `guard` allows, and trusts `roots`.
    ///
    /// # Errors
    /// TLS cannot be set up.
    pub fn new(roots: Roots, guard: Guard) -> Result<Self, ReachError> {
        let roots = match roots {
            Roots::Webpki => public(),
            Roots::Given(roots) => roots,
        };
        Ok(Self { guard: Arc::new(guard), tls: TlsConnector::from(Arc::new(trusting(roots)?)) })
    }

    /// An open connection to a host, within `limit`: plain, or with TLS.
    ///
    /// # Errors
    /// One line that says why there is none. Nothing of a page was sent.
    pub async fn connect(
        &self,
        (host, port): (&str, u16),
        tls: bool,
        limit: Duration,
    ) -> Result<Stream, String> {
        let plain = self.open(host, port, limit).await?;
        if tls { self.secure(plain, host, "").await } else { Ok(Stream::Plain(plain)) }
    }

    /// TLS over a connection, with somebody who shows a certificate of this name. `ca_pem`: who may have
    /// signed it; empty for whom all contacts trust.
    ///
    /// # Errors
    /// One line that says why there is none.
    pub async fn secure(
        &self,
        plain: TcpStream,
        name: &str,
        ca_pem: &str,
    ) -> Result<Stream, String> {
        let name = ServerName::try_from(name.to_owned())
            .map_err(|_| format!("{name} cannot be the name in a certificate"))?;
        let own = match ca_pem.is_empty() {
            true => None,
            false => Some(TlsConnector::from(Arc::new(
                trusting(given(ca_pem)?).map_err(|it| chain(&it))?,
            ))),
        };
        let secured = own.as_ref().unwrap_or(&self.tls).connect(name, plain).await;
        secured.map(|stream| Stream::Secured(Box::new(stream))).map_err(|error| chain(&error))
    }

    /// An open connection to a host, with nothing around it.
    ///
    /// # Errors
    /// One line that says why there is none.
    pub async fn open(&self, host: &str, port: u16, limit: Duration) -> Result<TcpStream, String> {
        let found = tokio::net::lookup_host((host, port)).await;
        let found: Vec<SocketAddr> =
            found.map_err(|error| format!("dns error: {}", chain(&error)))?.collect();
        let allowed = self.admit(host, &found)?;
        // Each has its share of the time: one that swallows everything must not keep us from the next.
        let tried = allowed.len().min(CONTACT_ADDRESSES_MAX);
        let share = limit / u32::try_from(tried.max(1)).unwrap_or(1);
        let mut failed = String::new();
        for to in allowed.into_iter().take(tried) {
            match timeout(share, dial(to)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => failed = chain(&error),
                Err(_) => failed = "no connection in its share of the time".to_owned(),
            }
        }
        Err(failed)
    }

    /// Those addresses that the guard allows; an error when there are none.
    fn admit(&self, host: &str, found: &[SocketAddr]) -> Result<Vec<Allowed>, String> {
        let (mut allowed, mut first_denied) = (Vec::new(), None);
        for address in found {
            match self.guard.admit(*address) {
                Ok(address) => allowed.push(address),
                Err(denied) => first_denied = first_denied.or(Some(denied)),
            }
        }
        match first_denied {
            _ if !allowed.is_empty() => Ok(allowed),
            Some(denied) => Err(format!("address_denied: {host}: {denied}")),
            None => Err(format!("dns error: {host} has no address")),
        }
    }
}

/// The one place that opens a socket.
async fn dial(to: Allowed) -> io::Result<TcpStream> {
    let remote = to.address();
    let socket = if remote.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_nodelay(true)?;
    socket.connect(remote).await
}

/// A connection to a contact.
#[derive(Debug)]
pub enum Stream {
    /// As it is.
    Plain(TcpStream),
    /// Within TLS.
    Secured(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Secured(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Secured(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Secured(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Secured(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
