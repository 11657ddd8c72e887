//! Certificates for etcd, and a dial that shows one: what our coordinators do anyway, so that both
//! can be measured with the same work on the line.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls::pki_types::{PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Where the members listen; no name is resolved.
const HOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// An authority, and one certificate that servers, peers and clients show.
#[derive(Debug)]
pub struct Certificates {
    authority: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
    client: Arc<ClientConfig>,
}

impl Certificates {
    /// Makes them, as files in `dir`.
    ///
    /// # Errors
    /// When they cannot be made or written.
    pub fn make(dir: &Path) -> Result<Self> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let authority_key = KeyPair::generate()?;
        let authority = params.self_signed(&authority_key)?;
        let issuer = Issuer::new(params, authority_key);
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::IpAddress(HOST)];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &issuer)?;

        let file = |name: &str, text: String| -> Result<PathBuf> {
            let path = dir.join(name);
            std::fs::write(&path, text)?;
            Ok(path)
        };
        let mut roots = RootCertStore::empty();
        roots.add(authority.der().clone())?;
        let own = vec![certificate.der().clone()];
        let own_key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_client_auth_cert(own, own_key)?;
        client.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Self {
            authority: file("authority.pem", authority.pem())?,
            certificate: file("certificate.pem", certificate.pem())?,
            key: file("key.pem", key.serialize_pem())?,
            client: Arc::new(client),
        })
    }

    /// The flags with which a member demands a certificate of clients and of other members.
    ///
    /// # Errors
    /// When a path is no text.
    pub fn flags(&self) -> Result<Vec<String>> {
        let text = |path: &Path| path.to_str().map(str::to_owned).context("a path is no text");
        let (authority, certificate, key) =
            (text(&self.authority)?, text(&self.certificate)?, text(&self.key)?);
        let mut flags = Vec::new();
        for side in ["", "peer-"] {
            flags.push(format!("--{side}client-cert-auth"));
            flags.push(format!("--{side}trusted-ca-file={authority}"));
            flags.push(format!("--{side}cert-file={certificate}"));
            flags.push(format!("--{side}key-file={key}"));
        }
        Ok(flags)
    }

    /// Dials with them.
    pub fn dialler(&self) -> Dialler {
        Dialler(Arc::clone(&self.client))
    }
}

/// Dials and shows the certificate.
#[derive(Debug, Clone)]
pub struct Dialler(Arc<ClientConfig>);

impl Dialler {
    /// One connection, ready for HTTP/2.
    ///
    /// # Errors
    /// When nobody listens there, or the certificate is not taken.
    pub async fn dial(&self, stream: TcpStream) -> Result<TlsStream<TcpStream>> {
        let name = ServerName::IpAddress(HOST.into());
        Ok(TlsConnector::from(Arc::clone(&self.0)).connect(name, stream).await?)
    }
}
