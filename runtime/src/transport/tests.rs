//! Both ends of a connection, over real sockets, with certificates made on the spot.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, UNIX_EPOCH};

use hyper_util::rt::TokioIo;
use parallax_common::limits::{DIAL_TIMEOUT, HANDSHAKE_TIMEOUT};
use parallax_common::time::UtcTime;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, SanType,
};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::codegen::{InterceptedService, Service};
use tonic::service::Routes;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::HealthService;

use super::*;
use crate::clock;
use crate::supervisor::{Supervisor, TaskKind};

const DAY: i64 = 86_400;
const COORDINATOR: &str = "spiffe://demo/coordinator/c1";
const PROBE: &str = "spiffe://demo/region/eu-west/probe/p1";
const USER: &str = "spiffe://demo/user/anna/role/edit";

/// An authority and what it issues.
struct Ca(CertifiedIssuer<'static, KeyPair>);

impl Ca {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    /// Writes `cert.pem` and `key.pem`, valid between these days from now.
    fn write(&self, dir: &Path, uri: Option<&str>, from_day: i64, to_day: i64) {
        let mut params = CertificateParams::default();
        let now_s = clock::utc().as_ns() / 1_000_000_000;
        let at = |day: i64| UNIX_EPOCH + Duration::from_secs((now_s + day * DAY) as u64);
        (params.not_before, params.not_after) = (at(from_day).into(), at(to_day).into());
        if let Some(uri) = uri {
            params.subject_alt_names.push(SanType::URI(uri.try_into().unwrap()));
        }
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.0).unwrap();
        fs::write(dir.join("cert.pem"), cert.pem()).unwrap();
        fs::write(dir.join("key.pem"), key.serialize_pem()).unwrap();
    }

    fn issue(&self, uri: &str) -> TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("ca.pem"), self.pem()).unwrap();
        self.write(dir.path(), Some(uri), -1, 30);
        dir
    }

    fn credentials(&self, uri: &str) -> Credentials {
        Credentials::load(self.issue(uri).path()).unwrap()
    }
}

/// A served listener whose one service notes who called it.
struct Server {
    address: SocketAddr,
    refusals: Arc<RefusalCounters>,
    seen: Arc<Mutex<Vec<PeerInfo>>>,
    supervisor: Supervisor,
}

impl Server {
    async fn start(accepts: Accepts, credentials: &Credentials) -> Self {
        let supervisor = Supervisor::default();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = Listener::bind(any, accepts, credentials, &supervisor).await.unwrap();
        let (address, refusals) = (listener.local_addr(), listener.refusals());
        let seen = Arc::<Mutex<Vec<PeerInfo>>>::default();
        let noted = Arc::clone(&seen);
        let (reporter, _) = tonic_health::server::health_reporter();
        let health = HealthServer::new(HealthService::from_health_reporter(reporter));
        let note = move |request: Request<()>| -> Result<Request<()>, Status> {
            noted.lock().unwrap().push(peer_of(&request)?.clone());
            Ok(request)
        };
        let mut routes = Routes::builder();
        routes.add_service(InterceptedService::new(health, note));
        let stop = supervisor.stop_token();
        supervisor.spawn(TaskKind::Session("server"), async move {
            serve(listener, routes.routes(), stop).await.unwrap();
        });
        Self { address, refusals, seen, supervisor }
    }

    fn endpoints(&self) -> Vec<String> {
        vec![self.address.to_string()]
    }

    async fn counted(&self, refusal: Refusal, count: u64) {
        eventually(|| self.refusals.get(refusal) == count).await;
        let others: u64 = self.refusals.each().filter(|(of, _)| *of != refusal).map(|x| x.1).sum();
        assert_eq!(others, 0, "{:?}", self.refusals);
    }

    async fn stop(self) {
        self.supervisor.stop();
        assert!(self.supervisor.join(Duration::from_secs(10)).await, "a task did not end");
    }
}

async fn eventually(holds: impl Fn() -> bool) {
    let deadline = clock::instant() + Duration::from_secs(15);
    while !holds() {
        assert!(clock::instant() < deadline, "it did not come about within 15 s");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn call(channel: Channel) -> Result<(), Status> {
    HealthClient::new(channel).check(HealthCheckRequest::default()).await.map(|_| ())
}

async fn refused_dial(server: &Server, credentials: &Credentials) -> String {
    connect(&server.endpoints(), credentials, None).await.unwrap_err().to_string()
}

/// A client that trusts any server and shows what it is given: a peer with a mind of its own.
#[derive(Debug, Clone)]
struct Stranger(Arc<ClientConfig>);

impl Stranger {
    fn new(certificate: Option<PathBuf>) -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(TrustsAnybody));
        let mut config = match certificate {
            Some(dir) => {
                let cert = CertificateDer::from_pem_file(dir.join("cert.pem")).unwrap();
                let key = PrivateKeyDer::from_pem_file(dir.join("key.pem")).unwrap();
                builder.with_client_auth_cert(vec![cert], key).unwrap()
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        Self(Arc::new(config))
    }

    async fn channel(&self, server: &Server) -> Channel {
        let endpoint = endpoint(&server.address.to_string()).unwrap();
        endpoint.connect_with_connector(self.clone()).await.unwrap()
    }
}

impl Service<http::Uri> for Stranger {
    type Response = TokioIo<tokio_rustls::client::TlsStream<TcpStream>>;
    type Error = std::io::Error;
    type Future = Pin<Box<dyn Future<Output = std::io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: http::Uri) -> Self::Future {
        let config = Arc::clone(&self.0);
        Box::pin(async move {
            let stream = TcpStream::connect(uri.authority().unwrap().as_str()).await?;
            let name = ServerName::try_from("whoever.example").unwrap();
            Ok(TokioIo::new(TlsConnector::from(config).connect(name, stream).await?))
        })
    }
}

#[derive(Debug)]
struct TrustsAnybody;

impl ServerCertVerifier for TrustsAnybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let provider = rustls::crypto::ring::default_provider();
        provider.signature_verification_algorithms.supported_schemes()
    }
}

#[tokio::test]
async fn whom_a_listener_takes_is_served_and_known_by_its_certificate() {
    let ca = Ca::new("ca");
    let coordinator = ca.credentials(COORDINATOR);
    for (accepts, uri) in [
        (Accepts::Probes, PROBE),
        (Accepts::Api, USER),
        (Accepts::Api, "spiffe://demo/coordinator/c2"),
        (Accepts::Peers, "spiffe://demo/coordinator/c2"),
    ] {
        let server = Server::start(accepts, &coordinator).await;
        let client = ca.credentials(uri);
        call(connect(&server.endpoints(), &client, None).await.unwrap()).await.unwrap();
        let seen = server.seen.lock().unwrap().clone();
        assert_eq!(seen.len(), 1);
        assert_eq!(seen[0].identity.to_string(), uri);
        assert_eq!(seen[0].local, server.address);
        assert_eq!(server.refusals.each().map(|(_, count)| count).sum::<u64>(), 0);
        server.stop().await;
    }
}

#[tokio::test]
async fn whom_a_listener_does_not_take_is_told_whom_it_takes() {
    let ca = Ca::new("ca");
    let coordinator = ca.credentials(COORDINATOR);
    for (accepts, uri, says) in [
        (Accepts::Probes, USER, "this listener takes probes; your certificate is user \"anna\""),
        (
            Accepts::Probes,
            COORDINATOR,
            "this listener takes probes; your certificate is coordinator \"c1\"",
        ),
        (
            Accepts::Api,
            PROBE,
            "this listener takes users; your certificate is probe \"p1\" of region \"eu-west\"",
        ),
        (
            Accepts::Peers,
            PROBE,
            "this listener takes coordinators; your certificate is probe \"p1\" of region \
             \"eu-west\"",
        ),
        (
            Accepts::Peers,
            USER,
            "this listener takes coordinators; your certificate is user \"anna\"",
        ),
    ] {
        let server = Server::start(accepts, &coordinator).await;
        let client = ca.credentials(uri);
        let channel = connect(&server.endpoints(), &client, None).await.unwrap();
        let status = call(channel).await.unwrap_err();
        assert_eq!((status.code(), status.message()), (Code::PermissionDenied, says));
        server.counted(Refusal::WrongRole, 1).await;
        assert!(server.seen.lock().unwrap().is_empty(), "a service saw {uri}");
        server.stop().await;
    }
}

#[tokio::test]
async fn a_client_without_a_certificate_is_told_to_show_one() {
    let ca = Ca::new("ca");
    let server = Server::start(Accepts::Api, &ca.credentials(COORDINATOR)).await;
    let mut stranger = Stranger::new(None);
    let uri: http::Uri = format!("https://{}/", server.address).parse().unwrap();
    let mut stream = stranger.call(uri).await.unwrap().into_inner();
    let error = stream.read_u8().await.unwrap_err();
    let said = super::connect::explain(error).to_string();
    assert_eq!(said, "the server asks for a certificate and we showed none");
    server.counted(Refusal::NoCertificate, 1).await;
    server.stop().await;
}

#[tokio::test]
async fn a_client_of_another_authority_hears_that_it_is_unknown() {
    let ca = Ca::new("ca");
    let server = Server::start(Accepts::Probes, &ca.credentials(COORDINATOR)).await;
    // Under the same name an authority differs by its key alone.
    for (count, other) in [(1, Ca::new("another")), (2, Ca::new("ca"))] {
        let dir = other.issue(PROBE);
        fs::write(dir.path().join("ca.pem"), ca.pem() + &other.pem()).unwrap();
        let client = Credentials::load(dir.path()).unwrap();
        let said = refused_dial(&server, &client).await;
        let expected = "the server does not trust our certificate (unknown authority)";
        assert!(said.ends_with(expected), "{said}");
        server.counted(Refusal::UnknownAuthority, count).await;
    }
    server.stop().await;
}

#[tokio::test]
async fn a_server_of_another_authority_is_not_trusted_and_hears_so() {
    let ca = Ca::new("ca");
    let server = Server::start(Accepts::Probes, &ca.credentials(COORDINATOR)).await;
    let said = refused_dial(&server, &Ca::new("another").credentials(PROBE)).await;
    let expected = "we do not trust the server's certificate (unknown authority)";
    assert!(said.ends_with(expected), "{said}");
    server.counted(Refusal::TheyRefused, 1).await;
    server.stop().await;
}

#[tokio::test]
async fn a_certificate_out_of_its_time_is_refused_by_name_on_both_ends() {
    let ca = Ca::new("ca");
    let server = Server::start(Accepts::Probes, &ca.credentials(COORDINATOR)).await;
    let dir = ca.issue(PROBE);
    ca.write(dir.path(), Some(PROBE), -3, -1);
    let said = refused_dial(&server, &Credentials::load(dir.path()).unwrap()).await;
    assert!(said.contains("does not trust our certificate (it has expired"), "{said}");
    server.counted(Refusal::Expired, 1).await;
    server.stop().await;

    let dir = ca.issue(COORDINATOR);
    for (from, to, says) in [(-3, -1, "has expired"), (1, 3, "is not valid yet")] {
        ca.write(dir.path(), Some(COORDINATOR), from, to);
        let server = Server::start(Accepts::Probes, &Credentials::load(dir.path()).unwrap()).await;
        let said = refused_dial(&server, &ca.credentials(PROBE)).await;
        assert!(said.ends_with(&format!("the server's certificate {says}")), "{said}");
        server.counted(Refusal::TheyRefused, 1).await;
        server.stop().await;
    }
}

#[tokio::test]
async fn another_mesh_is_refused_by_either_end() {
    let ca = Ca::new("ca");
    let server = Server::start(Accepts::Probes, &ca.credentials(COORDINATOR)).await;
    let other = ca.issue("spiffe://other/region/eu-west/probe/p1");
    let said = refused_dial(&server, &Credentials::load(other.path()).unwrap()).await;
    let expected = "the server belongs to mesh \"demo\", we belong to \"other\"";
    assert!(said.ends_with(expected), "{said}");
    server.counted(Refusal::TheyRefused, 1).await;
    server.stop().await;

    // One that would talk to any server is turned away by the server.
    let server = Server::start(Accepts::Probes, &ca.credentials(COORDINATOR)).await;
    let stranger = Stranger::new(Some(other.path().to_owned()));
    let status = call(stranger.channel(&server).await).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    let expected = "this is mesh \"demo\"; your certificate is probe \"p1\" of region \"eu-west\" \
                    of mesh \"other\"";
    assert_eq!(status.message(), expected);
    server.counted(Refusal::WrongMesh, 1).await;
    server.stop().await;
}

#[tokio::test]
async fn a_certificate_without_an_identity_is_refused_by_either_end() {
    let ca = Ca::new("ca");
    let server = Server::start(Accepts::Probes, &ca.credentials(COORDINATOR)).await;
    let dir = ca.issue(PROBE);
    for (count, uri, says) in [
        (1, None, "holds 0 URIs"),
        (2, Some("https://demo/coordinator/c1"), "does not start with spiffe://"),
        (3, Some("spiffe://demo/region/Mars/probe/p1"), "the region \"Mars\" is not a name"),
    ] {
        ca.write(dir.path(), uri, -1, 30);
        let stranger = Stranger::new(Some(dir.path().to_owned()));
        let status = call(stranger.channel(&server).await).await.unwrap_err();
        assert_eq!(status.code(), Code::PermissionDenied);
        assert!(status.message().contains(says), "{status:?}");
        server.counted(Refusal::NoIdentity, count).await;
        let refused = Credentials::load(dir.path()).unwrap_err();
        assert!(matches!(refused, CredentialsError::Identity { .. }), "{refused:?}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_server_that_is_no_coordinator_is_not_talked_to() {
    let ca = Ca::new("ca");
    let server = Server::start(Accepts::Probes, &ca.credentials(PROBE)).await;
    let said = refused_dial(&server, &ca.credentials(PROBE)).await;
    let expected = "the server is probe \"p1\" of region \"eu-west\", not a coordinator";
    assert!(said.ends_with(expected), "{said}");
    server.stop().await;
}

#[tokio::test]
async fn changed_files_are_used_by_the_next_connection_without_a_restart() {
    let (old, new) = (Ca::new("old"), Ca::new("new"));
    let dir = old.issue(COORDINATOR);
    let credentials = Credentials::load(dir.path()).unwrap();
    let server = Server::start(Accepts::Probes, &credentials).await;
    credentials.watch(&server.supervisor);
    let (of_old, of_new) = (old.credentials(PROBE), new.credentials(PROBE));
    let standing = connect(&server.endpoints(), &of_old, None).await.unwrap();
    call(standing.clone()).await.unwrap();
    assert!(connect(&server.endpoints(), &of_new, None).await.is_err());

    let before = credentials.not_after();
    new.write(dir.path(), Some(COORDINATOR), -1, 60);
    fs::write(dir.path().join("ca.pem"), new.pem()).unwrap();
    eventually(|| credentials.not_after() != before).await;

    call(connect(&server.endpoints(), &of_new, None).await.unwrap()).await.unwrap();
    assert!(connect(&server.endpoints(), &of_old, None).await.is_err());
    call(standing).await.expect("a standing connection is not touched");
    server.stop().await;
}

#[test]
fn bad_new_files_leave_the_old_ones_in_use() {
    let ca = Ca::new("ca");
    let dir = ca.issue(PROBE);
    let credentials = Credentials::load(dir.path()).unwrap();
    let before = credentials.not_after();
    assert!(!credentials.reload_if_changed().unwrap(), "nothing has changed");

    fs::write(dir.path().join("cert.pem"), "-----BEGIN CERTIFICATE-----\nnonsense").unwrap();
    let refused = credentials.reload_if_changed().unwrap_err();
    assert!(matches!(refused, CredentialsError::Pem { .. }), "{refused:?}");
    assert!(!credentials.reload_if_changed().unwrap(), "the same bad files are tried once");

    ca.write(dir.path(), Some("spiffe://demo/region/us-east/probe/p1"), -1, 60);
    let refused = credentials.reload_if_changed().unwrap_err();
    assert!(matches!(refused, CredentialsError::Other { .. }), "{refused:?}");

    // The certificate of one pair with the key of another: a renewal caught half way.
    ca.write(dir.path(), Some(PROBE), -1, 60);
    let key = KeyPair::generate().unwrap();
    fs::write(dir.path().join("key.pem"), key.serialize_pem()).unwrap();
    let refused = credentials.reload_if_changed().unwrap_err();
    assert!(matches!(refused, CredentialsError::Mismatch { .. }), "{refused:?}");

    fs::remove_file(dir.path().join("ca.pem")).unwrap();
    let refused = credentials.reload_if_changed().unwrap_err();
    assert!(matches!(refused, CredentialsError::Read { .. }), "{refused:?}");
    assert_eq!(credentials.not_after(), before);

    fs::write(dir.path().join("ca.pem"), ca.pem()).unwrap();
    ca.write(dir.path(), Some(PROBE), -1, 60);
    assert!(credentials.reload_if_changed().unwrap());
    let days = (credentials.not_after().since(before).as_secs() + 3_600) / DAY as u64;
    assert_eq!(days, 30);
    assert!(credentials.not_after() > UtcTime::default());
}

#[test]
fn files_that_do_not_belong_together_are_refused_at_once() {
    let (ca, other) = (Ca::new("ca"), Ca::new("other"));
    let dir = ca.issue(PROBE);
    fs::write(dir.path().join("ca.pem"), other.pem()).unwrap();
    let refused = Credentials::load(dir.path()).unwrap_err();
    assert!(matches!(refused, CredentialsError::Mismatch { .. }), "{refused:?}");
    let missing = Credentials::load(Path::new("/nowhere")).unwrap_err().to_string();
    assert_eq!(missing, "cannot read /nowhere/cert.pem");
}

#[tokio::test]
async fn silent_sockets_are_cut_off_and_hold_nobody_up() {
    let ca = Ca::new("ca");
    let server = Server::start(Accepts::Probes, &ca.credentials(COORDINATOR)).await;
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(TcpStream::connect(server.address).await.unwrap());
    }
    let began = clock::instant();
    let client = ca.credentials(PROBE);
    call(connect(&server.endpoints(), &client, None).await.unwrap()).await.unwrap();
    assert!(began.elapsed() < HANDSHAKE_TIMEOUT / 2, "a silent socket held the good one up");
    for mut socket in silent {
        let mut byte = [0];
        let cut = tokio::time::timeout(HANDSHAKE_TIMEOUT * 2, socket.read(&mut byte));
        assert!(matches!(cut.await.expect("not cut off"), Ok(0) | Err(_)));
    }
    server.counted(Refusal::Timeout, 20).await;
    server.stop().await;
}

#[tokio::test]
async fn what_is_not_tls_is_refused_and_counted() {
    use tokio::io::AsyncWriteExt;
    let ca = Ca::new("ca");
    let server = Server::start(Accepts::Api, &ca.credentials(COORDINATOR)).await;
    let mut socket = TcpStream::connect(server.address).await.unwrap();
    socket.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = socket.read_to_end(&mut answer).await;
    server.counted(Refusal::Protocol, 1).await;
    server.stop().await;
}

#[tokio::test]
async fn a_client_dials_from_the_address_it_is_given() {
    let ca = Ca::new("ca");
    let server = Server::start(Accepts::Probes, &ca.credentials(COORDINATOR)).await;
    let source: IpAddr = [127, 0, 7, 7].into();
    let client = ca.credentials(PROBE);
    call(connect(&server.endpoints(), &client, Some(source)).await.unwrap()).await.unwrap();
    assert_eq!(server.seen.lock().unwrap()[0].remote.ip(), source);
    let six = Some(IpAddr::V6(std::net::Ipv6Addr::LOCALHOST));
    let said = connect(&server.endpoints(), &client, six).await.unwrap_err().to_string();
    assert!(said.ends_with("it has no address of our source's family"), "{said}");
    server.stop().await;
}

#[tokio::test]
async fn each_coordinator_is_tried_and_each_failure_named() {
    let ca = Ca::new("ca");
    let client = ca.credentials(PROBE);
    let server = Server::start(Accepts::Probes, &ca.credentials(COORDINATOR)).await;
    let gone = Server::start(Accepts::Probes, &ca.credentials(COORDINATOR)).await;
    let closed = gone.address.to_string();
    gone.stop().await;

    let several = [vec!["nonsense".to_owned(), closed.clone()], server.endpoints()].concat();
    let channel = connect(&several, &client, None).await.unwrap();
    call(channel.clone()).await.unwrap();

    let said = connect(&several[..2], &client, None).await.unwrap_err().to_string();
    assert!(said.contains("nonsense: \"nonsense\" is not host:port; "), "{said}");
    assert!(said.contains(&format!("{closed}: cannot connect to {closed}: ")), "{said}");
    assert_eq!(connect(&[], &client, None).await.unwrap_err().to_string(), {
        "no coordinator was named"
    });
    for bad in ["", "host", "host:", ":1", "host:99999", "host:1/path", "https://host:1", "a b:1"] {
        assert!(matches!(endpoint(bad), Err(DialError::Address(_))), "{bad:?}");
    }

    // A call on a channel whose coordinator has gone says why it cannot be dialled again.
    server.stop().await;
    let status = tokio::time::timeout(DIAL_TIMEOUT * 2, async {
        loop {
            let status = call(channel.clone()).await.unwrap_err();
            if dial_error(&status).is_some() {
                return status;
            }
        }
    });
    let status = status.await.expect("a call says why its channel cannot be dialled");
    assert!(matches!(dial_error(&status), Some(DialError::Connect { .. })), "{status:?}");
}
