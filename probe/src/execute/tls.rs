//! The TLS handshake with a target, and what its certificate says.
//!
//! The handshake takes any chain; the chain is judged right after it, within the same phase. So an
//! expired, foreign or untrusted certificate can still be read (`cert.days_left`), and each of
//! these is a reason of its own. Nothing is sent before the judgement.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use parallax_common::check::{TlsOptions, TlsVersion};
use parallax_common::expect::Certificate;
use parallax_common::outcome::{Phase, Reason};
use parallax_runtime::clock;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, Error,
    ProtocolVersion, RootCertStore, SignatureScheme,
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::certificate::{describe, not_after_s};
use super::errno::plain;
use super::{Failure, Stage, Trace};

/// Configurations kept at once; above it they are built anew.
const KEPT_MAX: usize = 1_024;

/// One client configuration, shared by every check with the same options.
#[derive(Debug)]
pub struct Config {
    client: Arc<ClientConfig>,
    /// Judges the chain; absent when the check does not want it judged.
    judge: Option<Arc<WebPkiServerVerifier>>,
}

impl Config {
    /// For a handshake that is not made by [`handshake`]; its chain is [`judge`]d.
    #[cfg(feature = "http3")]
    pub(super) fn client(&self) -> &Arc<ClientConfig> {
        &self.client
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Key {
    insecure: bool,
    ca_pem: Option<Arc<str>>,
    min_version: Option<TlsVersion>,
    client: Option<Client>,
    alpn: Alpn,
}

/// What is offered by ALPN (RFC 7301).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Alpn {
    /// Nothing: what is spoken is not HTTP.
    Nothing,
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 and nothing else.
    Http2,
    /// HTTP/2 first.
    Both,
    /// HTTP/3 and nothing else, in the handshake of QUIC.
    Http3,
}

impl Alpn {
    fn protocols(self) -> Vec<Vec<u8>> {
        let names: &[&[u8]] = match self {
            Self::Nothing => &[],
            Self::Http1 => &[b"http/1.1"],
            Self::Http2 => &[b"h2"],
            Self::Both => &[b"h2", b"http/1.1"],
            Self::Http3 => &[b"h3"],
        };
        names.iter().map(|name| name.to_vec()).collect()
    }
}

/// A client certificate and its key, as PEM.
#[derive(PartialEq, Eq, Hash)]
pub struct Client {
    /// The chain, leaf first.
    pub cert: String,
    /// The leaf's private key.
    pub key: String,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Client")
    }
}

impl Client {
    /// Chain and key. Errors say nothing of what was read.
    fn read(&self) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), String> {
        let chain: Result<Vec<_>, _> =
            CertificateDer::pem_slice_iter(self.cert.as_bytes()).collect();
        let chain = chain.map_err(|_| "client_cert cannot be read as PEM".to_owned())?;
        if chain.is_empty() {
            return Err("client_cert refers to no PEM certificate".to_owned());
        }
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes())
            .map_err(|_| "client_key refers to no PEM private key".to_owned())?;
        Ok((chain, key))
    }
}

/// Client configurations, interned by content.
#[derive(Debug)]
pub struct Configs {
    provider: Arc<CryptoProvider>,
    system: Arc<RootCertStore>,
    kept: Mutex<HashMap<Key, Arc<Config>>>,
}

impl Default for Configs {
    fn default() -> Self {
        Self::new()
    }
}

impl Configs {
    /// Reads the system's authorities; the ones built in when it has none.
    pub fn new() -> Self {
        let mut system = RootCertStore::empty();
        system.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if system.is_empty() {
            system.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        }
        Self {
            provider: Arc::new(ring::default_provider()),
            system: Arc::new(system),
            kept: Mutex::default(),
        }
    }

    /// The configuration with these options, for what is not HTTP.
    pub(super) fn get(&self, options: &TlsOptions) -> Result<Arc<Config>, Failure> {
        self.get_with(options, None, Alpn::Nothing)
    }

    /// The same, with a client certificate to show, and any version of HTTP.
    pub(super) fn get_with(
        &self,
        options: &TlsOptions,
        client: Option<Client>,
        alpn: Alpn,
    ) -> Result<Arc<Config>, Failure> {
        let key = Key {
            insecure: options.insecure,
            ca_pem: options.ca_pem.clone(),
            min_version: options.min_version,
            client,
            alpn,
        };
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(config) = kept.get(&key) {
            return Ok(Arc::clone(config));
        }
        let config = self.build(&key).map_err(|why| Failure::new(Reason::ConfigError, why))?;
        let config = Arc::new(config);
        if kept.len() >= KEPT_MAX {
            kept.clear();
        }
        kept.insert(key, Arc::clone(&config));
        Ok(config)
    }

    fn build(&self, key: &Key) -> Result<Config, String> {
        let authorities = |why: String| format!("the authorities of the check: {why}");
        let roots = match &key.ca_pem {
            None => Arc::clone(&self.system),
            Some(pem) => {
                let mut roots = RootCertStore::empty();
                for cert in CertificateDer::pem_slice_iter(pem.as_bytes()) {
                    let cert = cert.map_err(|error| authorities(error.to_string()))?;
                    roots.add(cert).map_err(|error| authorities(error.to_string()))?;
                }
                Arc::new(roots)
            }
        };
        let judge = match key.insecure {
            true => None,
            false => Some(
                WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&self.provider))
                    .build()
                    .map_err(|error| authorities(error.to_string()))?,
            ),
        };
        let versions = match (key.min_version, key.alpn) {
            // QUIC has no other (RFC 9001, 4.2).
            (_, Alpn::Http3) | (Some(TlsVersion::V13), _) => &[&rustls::version::TLS13][..],
            (None | Some(TlsVersion::V12), _) => rustls::DEFAULT_VERSIONS,
        };
        let builder = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(versions)
            .map_err(|error| error.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyChain(Arc::clone(&self.provider))));
        let mut client = match &key.client {
            None => builder.with_no_client_auth(),
            Some(client) => {
                let (chain, key) = client.read()?;
                let refused = |error| format!("the client certificate: {error}");
                builder.with_client_auth_cert(chain, key).map_err(refused)?
            }
        };
        // Each run pays for a whole handshake: a resumed one would hide what a visitor meets.
        client.resumption = Resumption::disabled();
        client.alpn_protocols = key.alpn.protocols();
        Ok(Config { client: Arc::new(client), judge })
    }
}

/// Handshake and judgement. The certificate is in the trace in any case.
pub(super) async fn handshake(
    config: &Config,
    name: &str,
    stream: TcpStream,
    trace: &mut Trace,
) -> Result<TlsStream<TcpStream>, Failure> {
    trace.stage = Stage::Tls;
    let since = clock::instant();
    let name = server_name(name)?;
    let connector = TlsConnector::from(Arc::clone(&config.client));
    let stream = connector.connect(name.clone(), stream).await.map_err(|error| {
        let why = match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
            Some(Error::AlertReceived(alert)) => return alerted(*alert),
            Some(tls) => tls.to_string(),
            None => plain(&error),
        };
        Failure::new(Reason::TlsHandshake, format!("handshake: {why}"))
    })?;
    let session = stream.get_ref().1;
    trace.tls_version = session.protocol_version().map_or("", version);
    trace.cipher = session.negotiated_cipher_suite().map(|suite| suite.suite());
    judge(config, &name, session.peer_certificates().unwrap_or_default(), trace)?;
    trace.phase(Phase::Tls, since);
    Ok(stream)
}

/// The name that a certificate must be for.
pub(super) fn server_name(name: &str) -> Result<ServerName<'static>, Failure> {
    ServerName::try_from(name.to_owned())
        .map_err(|_| Failure::new(Reason::ConfigError, format!("{name} cannot be a server name")))
}

/// What it means that the target ended the handshake with this alert.
pub(super) fn alerted(alert: AlertDescription) -> Failure {
    match alert {
        AlertDescription::NoApplicationProtocol => {
            let evidence = "handshake: the target speaks no version of HTTP that is wanted (NoApplicationProtocol)";
            Failure::new(Reason::HttpVersion, evidence)
        }
        AlertDescription::CertificateRevoked => {
            let evidence = "handshake: the target says that this probe's certificate was revoked (CertificateRevoked)";
            Failure::new(Reason::TlsRevoked, evidence)
        }
        alert => {
            let why = Error::AlertReceived(alert);
            Failure::new(Reason::TlsHandshake, format!("handshake: {why}"))
        }
    }
}

/// Judges a chain, leaf first. Its certificates are in the trace in any case.
pub(super) fn judge(
    config: &Config,
    name: &ServerName<'_>,
    chain: &[CertificateDer<'_>],
    trace: &mut Trace,
) -> Result<(), Failure> {
    let now = clock::utc().as_ns();
    let shown = chain.first().and_then(|leaf| describe(leaf, now));
    let (cert, own_end) = shown.unzip();
    trace.cert = cert;
    trace.chain.clear();
    let mut ends: Vec<i64> = own_end.into_iter().collect();
    if trace.wants_chain {
        let rest = chain.iter().skip(1).filter_map(|cert| describe(cert, now));
        let (rest, rest_ends): (Vec<_>, Vec<_>) = rest.unzip();
        trace.chain = trace.cert.iter().cloned().chain(rest).collect();
        ends.extend(rest_ends);
    } else {
        ends.extend(chain.iter().skip(1).filter_map(not_after_s));
    }
    trace.was_shown(ends.into_iter().min());
    if let (Some(judge), [leaf, rest @ ..]) = (&config.judge, chain) {
        let seconds = u64::try_from(now / 1_000_000_000).unwrap_or(0);
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
        judge
            .verify_server_cert(leaf, rest, name, &[], now)
            .map_err(|error| refused(&error, trace.cert.as_ref()))?;
    }
    Ok(())
}

const fn version(version: ProtocolVersion) -> &'static str {
    match version {
        ProtocolVersion::TLSv1_2 => TlsVersion::V12.word(),
        ProtocolVersion::TLSv1_3 => TlsVersion::V13.word(),
        // No other one is spoken.
        _ => "",
    }
}

fn refused(error: &Error, cert: Option<&Certificate>) -> Failure {
    let about =
        |cert: &Certificate| format!("issued by {}, for {}", cert.issuer, cert.names.join(" "));
    let about = cert.map(about).unwrap_or_default();
    let days = cert.map_or(0, |cert| cert.days_left);
    let Error::InvalidCertificate(why) = error else {
        return Failure::new(Reason::TlsHandshake, format!("certificate: {error}"));
    };
    use CertificateError as E;
    match why {
        E::Expired | E::ExpiredContext { .. } => Failure::new(
            Reason::TlsExpired,
            format!("the certificate has expired ({days} days left), {about}"),
        ),
        E::NotValidYet | E::NotValidYetContext { .. } => Failure::new(
            Reason::TlsNotYetValid,
            format!("the certificate is not valid yet, {about}"),
        ),
        E::NotValidForName | E::NotValidForNameContext { .. } => Failure::new(
            Reason::TlsNameMismatch,
            format!("the certificate is for another name, {about}"),
        ),
        E::Revoked => Failure::new(Reason::TlsRevoked, format!("revoked, {about}")),
        E::UnknownIssuer | E::BadSignature => {
            Failure::new(Reason::TlsUntrusted, format!("no trusted authority signed it, {about}"))
        }
        other => Failure::new(Reason::TlsUntrusted, format!("certificate: {other}, {about}")),
    }
}

/// Lets every chain through the handshake. Signatures of the handshake itself are verified: the
/// peer holds the key of what it shows.
#[derive(Debug)]
struct AnyChain(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyChain {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
