//! The TLS handshake with a target, and what its certificate says.
//!
//! The handshake takes any chain; the chain is judged right after it, within the same phase. So an
//! expired, foreign or untrusted certificate can still be read (`cert.days_left`), and each of
//! these is a reason of its own. Nothing is sent before the judgement.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use parallax_common::check::TlsOptions;
use parallax_common::expect::Certificate;
use parallax_common::outcome::{Phase, Reason};
use parallax_runtime::clock;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::connect::plain;
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

#[derive(Debug, PartialEq, Eq, Hash)]
struct Key {
    insecure: bool,
    ca_pem: Option<String>,
    http: bool,
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

    /// The configuration with these options; `http` asks for HTTP/1.1 by ALPN.
    pub(super) fn get(&self, options: &TlsOptions, http: bool) -> Result<Arc<Config>, Failure> {
        let key = Key { insecure: options.insecure, ca_pem: options.ca_pem.clone(), http };
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(config) = kept.get(&key) {
            return Ok(Arc::clone(config));
        }
        let config = Arc::new(self.build(&key).map_err(|why| {
            Failure::new(Reason::ConfigError, format!("the authorities of the check: {why}"))
        })?);
        if kept.len() >= KEPT_MAX {
            kept.clear();
        }
        kept.insert(key, Arc::clone(&config));
        Ok(config)
    }

    fn build(&self, key: &Key) -> Result<Config, String> {
        let roots = match &key.ca_pem {
            None => Arc::clone(&self.system),
            Some(pem) => {
                let mut roots = RootCertStore::empty();
                for cert in CertificateDer::pem_slice_iter(pem.as_bytes()) {
                    let cert = cert.map_err(|error| error.to_string())?;
                    roots.add(cert).map_err(|error| error.to_string())?;
                }
                Arc::new(roots)
            }
        };
        let judge = match key.insecure {
            true => None,
            false => Some(
                WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&self.provider))
                    .build()
                    .map_err(|error| error.to_string())?,
            ),
        };
        let mut client = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyChain(Arc::clone(&self.provider))))
            .with_no_client_auth();
        // Each run pays for a whole handshake: a resumed one would hide what a visitor meets.
        client.resumption = Resumption::disabled();
        if key.http {
            client.alpn_protocols = vec![b"http/1.1".to_vec()];
        }
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
    let name = ServerName::try_from(name.to_owned()).map_err(|_| {
        Failure::new(Reason::ConfigError, format!("{name} cannot be a server name"))
    })?;
    let connector = TlsConnector::from(Arc::clone(&config.client));
    let stream = connector.connect(name.clone(), stream).await.map_err(|error| {
        let why = match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
            Some(tls) => tls.to_string(),
            None => plain(&error),
        };
        Failure::new(Reason::TlsHandshake, format!("handshake: {why}"))
    })?;
    let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let now = clock::utc().as_ns();
    trace.cert = chain.first().and_then(|leaf| describe(leaf, now));
    if let (Some(judge), [leaf, rest @ ..]) = (&config.judge, chain) {
        let seconds = u64::try_from(now / 1_000_000_000).unwrap_or(0);
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
        judge
            .verify_server_cert(leaf, rest, &name, &[], now)
            .map_err(|error| refused(&error, trace.cert.as_ref()))?;
    }
    trace.phase(Phase::Tls, since);
    Ok(stream)
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

fn describe(leaf: &CertificateDer<'_>, now_ns: i64) -> Option<Certificate> {
    let (_, cert) = X509Certificate::from_der(leaf).ok()?;
    let left_s = cert.validity().not_after.timestamp() - now_ns.div_euclid(1_000_000_000);
    let names = cert.subject_alternative_name().ok().flatten();
    let names = names.map(|names| {
        let name = |name: &GeneralName<'_>| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            GeneralName::IPAddress(bytes) => address(bytes),
            _ => None,
        };
        names.value.general_names.iter().filter_map(name).collect()
    });
    Some(Certificate {
        days_left: left_s.div_euclid(86_400),
        names: names.unwrap_or_default(),
        issuer: cert.issuer().to_string(),
    })
}

fn address(bytes: &[u8]) -> Option<String> {
    let v4 = <[u8; 4]>::try_from(bytes).map(|bytes| std::net::Ipv4Addr::from(bytes).to_string());
    let v6 = || <[u8; 16]>::try_from(bytes).map(|b| std::net::Ipv6Addr::from(b).to_string());
    v4.or_else(|_| v6()).ok()
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
