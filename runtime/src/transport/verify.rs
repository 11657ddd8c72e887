//! Certificates: who they name, and whether a server's is a coordinator of our mesh.
//!
//! Servers check a client's chain only and read its identity after the handshake (`listener.rs`),
//! so that a peer of the wrong role can be told so in words.

use std::sync::Arc;
use std::time::Duration;

use parallax_common::name::is_name;
use parallax_common::time::UtcTime;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, OtherError, RootCertStore, SignatureScheme};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::transport::identity::{Identity, NotAnIdentity};

/// Why a certificate names nobody.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateIdentityError {
    /// Not an X.509 certificate, or with a broken extension.
    #[error("the certificate cannot be read")]
    Unreadable,
    /// It has no URI among its subject alternative names, or several.
    #[error("the certificate holds {0} URIs where one must name its holder")]
    Uris(usize),
    /// The URI is no identity.
    #[error("the certificate's name {uri:?} is no identity")]
    Identity {
        /// As it stands there.
        uri: String,
        /// The rule it breaks.
        #[source]
        source: NotAnIdentity,
    },
}

/// Whom a certificate names. Its chain is not looked at.
pub fn identity_of(certificate: &CertificateDer<'_>) -> Result<Identity, CertificateIdentityError> {
    let (_, parsed) =
        X509Certificate::from_der(certificate).map_err(|_| CertificateIdentityError::Unreadable)?;
    let uris = uris_of(&parsed)?;
    let [uri] = uris.as_slice() else {
        return Err(CertificateIdentityError::Uris(uris.len()));
    };
    uri.parse()
        .map_err(|source| CertificateIdentityError::Identity { uri: (*uri).to_owned(), source })
}

/// The mesh an authority's certificate is for, from its one URI `spiffe://<mesh>`, and when it
/// ends. None when it is not the certificate of a mesh's authority.
pub fn authority_of(certificate: &CertificateDer<'_>) -> Option<(String, UtcTime)> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let uris = uris_of(&parsed).ok()?;
    let [uri] = uris.as_slice() else { return None };
    let mesh = uri.strip_prefix("spiffe://").filter(|mesh| is_name(mesh))?;
    Some((mesh.to_owned(), not_after(&parsed)))
}

/// When a certificate ends. The zero of UTC for one that cannot be read.
pub(super) fn end_of(certificate: &CertificateDer<'_>) -> UtcTime {
    X509Certificate::from_der(certificate)
        .map_or(UtcTime::default(), |(_, parsed)| not_after(&parsed))
}

fn not_after(certificate: &X509Certificate<'_>) -> UtcTime {
    let seconds = certificate.validity().not_after.timestamp();
    UtcTime::default() + Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

fn uris_of<'c>(
    certificate: &'c X509Certificate<'_>,
) -> Result<Vec<&'c str>, CertificateIdentityError> {
    let names = certificate
        .subject_alternative_name()
        .map_err(|_| CertificateIdentityError::Unreadable)?
        .map(|extension| extension.value.general_names.as_slice())
        .unwrap_or_default();
    let uris = names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => Some(*uri),
        _ => None,
    });
    Ok(uris.collect())
}

/// A server with a valid chain that is not the one we may talk to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotOurCoordinator {
    #[error("the server belongs to mesh \"{theirs}\", we belong to \"{ours}\"")]
    Mesh { theirs: String, ours: String },
    #[error("the server is {0}, not a coordinator")]
    Role(String),
    #[error("the server's certificate names nobody")]
    Nobody(#[source] CertificateIdentityError),
}

/// Accepts the coordinators of one mesh, by chain and identity instead of DNS name.
#[derive(Debug)]
pub(super) struct CoordinatorVerifier {
    pub(super) roots: Arc<RootCertStore>,
    pub(super) mesh: String,
    pub(super) provider: Arc<CryptoProvider>,
}

impl CoordinatorVerifier {
    fn admit(&self, certificate: &CertificateDer<'_>) -> Result<(), NotOurCoordinator> {
        let identity = identity_of(certificate).map_err(NotOurCoordinator::Nobody)?;
        if identity.mesh() != self.mesh {
            let (theirs, ours) = (identity.mesh().to_owned(), self.mesh.clone());
            return Err(NotOurCoordinator::Mesh { theirs, ours });
        }
        match identity {
            Identity::Coordinator { .. } => Ok(()),
            other => Err(NotOurCoordinator::Role(other.describe())),
        }
    }
}

impl ServerCertVerifier for CoordinatorVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        verify_server_cert_signed_by_trust_anchor(
            &ParsedCertificate::try_from(end_entity)?,
            &self.roots,
            intermediates,
            now,
            self.provider.signature_verification_algorithms.all,
        )?;
        self.admit(end_entity).map_err(|why| {
            rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(why))))
        })?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
