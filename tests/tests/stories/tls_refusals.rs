//! (h) Who may not come in is told why, and the log on the other end says who came.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result};
use parallax_tests::harness::client;
use parallax_tests::harness::mesh::Mesh;
use parallax_tests::harness::rogue::Rogue;
use parallax_tests::harness::wait::{Look, SOON, wait_until};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Waits until the coordinator's log has a line with all of these.
async fn logged(mesh: &Mesh, words: &[&str]) -> Result<()> {
    wait_until(SOON, &format!("a log line with {words:?}"), || async {
        let log = mesh.coordinator_log()?;
        let found = log.lines().any(|line| words.iter().all(|word| line.contains(word)));
        let last = log.lines().last().unwrap_or_default().to_owned();
        Ok(Look::when(found, last))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probes_certificate_opens_no_api() -> Result<()> {
    let mesh = Mesh::start(parallax_tests::binaries!(), &["eu-west"]).await?;
    let output = mesh.px_as("eu-west", &["status"]).await?;
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("this listener takes users"), "{said}");
    assert!(said.contains("eu-west") && said.contains("probe"), "{said}");
    logged(&mesh, &["probe", "eu-west", "takes users"]).await?;
    mesh.told();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_users_certificate_makes_no_probe() -> Result<()> {
    let mesh = Mesh::start(parallax_tests::binaries!(), &["eu-west"]).await?;
    let probes = mesh.ports()?.probes.clone();
    let rogue = Rogue::dial(&probes, &mesh.tls("anna"), "eu-west", "anna").await?;
    let status = rogue.say_hello().await.err().context("a user was taken for a probe")?;
    assert_eq!(status.code(), tonic::Code::PermissionDenied, "{status:?}");
    assert!(status.message().contains("this listener takes probes"), "{status:?}");
    assert!(status.message().contains("anna"), "{status:?}");
    logged(&mesh, &["anna", "takes probes"]).await?;
    mesh.told();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_that_claims_another_region_is_refused_by_name() -> Result<()> {
    let mesh = Mesh::start(parallax_tests::binaries!(), &["eu-west"]).await?;
    mesh.issue_probe("liar", "eu-west").await?;
    let probes = mesh.ports()?.probes.clone();
    let liar = Rogue::dial(&probes, &mesh.tls("liar"), "ap-south", "liar").await?;
    let said = match liar.say_hello().await {
        Err(status) => status.message().to_owned(),
        Ok(answer) => match answer.frame {
            Some(parallax_proto::v1::live_response::Frame::Goodbye(goodbye)) => goodbye.why,
            other => panic!("a liar was welcomed: {other:?}"),
        },
    };
    assert!(said.contains("ap-south") && said.contains("eu-west"), "{said}");
    logged(&mesh, &["liar", "ap-south", "eu-west"]).await?;
    mesh.told();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn another_authority_is_refused_on_both_ends() -> Result<()> {
    let mesh = Mesh::start(parallax_tests::binaries!(), &["eu-west"]).await?;
    // A second mesh of the same name, with an authority of its own.
    let (pki, out) = (mesh.path("pki-b"), mesh.tls("bob").display().to_string());
    mesh.pki(&["init", "--mesh", "test-mesh", "--dir", &pki]).await?;
    let issue = ["issue", "user", "bob", "--role", "admin", "--dir", &pki, "--out", &out];
    mesh.pki(&issue).await?;

    // Bob trusts his own authority only, so it is he who refuses first ...
    let output = mesh.px_as("bob", &["status"]).await?;
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("certificate") && said.contains("authority"), "{said}");

    // ... and with our authority's certificate beside his own, it is the server.
    let authorities = [mesh.tls("bob"), mesh.tls("anna")].map(|tls| tls.join("ca.pem"));
    let both = authorities.iter().map(std::fs::read).collect::<std::io::Result<Vec<_>>>()?;
    std::fs::write(&authorities[0], both.concat())?;
    let output = mesh.px_as("bob", &["status"]).await?;
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("the server does not trust our certificate"), "{said}");
    logged(&mesh, &["unknown_authority"]).await?;
    mesh.told();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_certificate_is_refused_and_disturbs_nobody() -> Result<()> {
    let mesh = Mesh::start(parallax_tests::binaries!(), &["eu-west"]).await?;
    let ports = mesh.ports()?;
    for address in [&ports.api, &ports.probes] {
        let address: SocketAddr = address.parse()?;
        let ended = naked_handshake(address).await;
        let said = ended.err().map(|error| format!("{error:#}")).context("it was let in")?;
        assert!(said.contains("CertificateRequired"), "{said}");
    }
    logged(&mesh, &["no_certificate"]).await?;
    // Everybody else still comes in.
    client::channel(&mesh.ports()?.api, &mesh.tls("anna")).await?;
    mesh.px_ok(&["probe", "list"]).await?;
    mesh.told();
    Ok(())
}

/// A TLS client without a certificate. In TLS 1.3 it learns of the refusal when it reads.
async fn naked_handshake(address: SocketAddr) -> Result<()> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let name = ServerName::try_from("coordinator")?;
    let mut stream = connector.connect(name, TcpStream::connect(address).await?).await?;
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await?;
    let mut byte = [0];
    stream.read_exact(&mut byte).await?;
    Ok(())
}

/// Takes every server: this client has nothing to lose.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
