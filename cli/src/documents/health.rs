//! The examples of `docs/checks/grpc.md`, run against the health service of tonic, in the clear and
//! behind TLS.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::channel;

use parallax_common::check::StepKind;
use parallax_common::outcome::Outcome;
use parallax_probe::execute::Executor;
use parallax_probe::execute::secrets::Secrets;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use tokio::net::{TcpListener, TcpStream};
use tokio_stream::wrappers::TcpListenerStream;
use tonic_health::ServingStatus;

use super::{examples, judged};

/// Runs a server on a thread of its own, and says where it listens.
pub(super) fn on_a_thread<F: Future<Output = ()>>(
    serve: impl FnOnce(TcpListener) -> F + Send + 'static,
) -> SocketAddr {
    let (told, address) = channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            told.send(listener.local_addr().unwrap()).unwrap();
            serve(listener).await;
        });
    });
    address.recv().unwrap()
}

/// A server that serves the page's services.
pub(super) fn plain() -> SocketAddr {
    on_a_thread(|listener| async {
        let (health, service) = tonic_health::server::health_reporter();
        health.set_service_status("shop.v1.Cart", ServingStatus::Serving).await;
        health.set_service_status("shop.v1.Beta", ServingStatus::NotServing).await;
        let server = tonic::transport::Server::builder().add_service(service);
        server.serve_with_incoming(TcpListenerStream::new(listener)).await.unwrap();
    })
}

/// The same behind TLS, for `shop.example`; whose authority is returned. A client certificate is
/// written beside it, for whoever wants to show one.
fn behind_tls(plain: SocketAddr, client: &Path) -> (SocketAddr, String) {
    let mut root = CertificateParams::new(vec![]).unwrap();
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root_key = KeyPair::generate().unwrap();
    let pem = root.self_signed(&root_key).unwrap().pem();
    let root = Issuer::new(root, root_key);
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["shop.example".to_owned()]).unwrap();
    let leaf = leaf.signed_by(&key, &root).unwrap().der().clone();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let own = KeyPair::generate().unwrap();
    let cert = CertificateParams::new(vec!["probe".to_owned()]).unwrap();
    std::fs::write(client.join("client.pem"), cert.self_signed(&own).unwrap().pem()).unwrap();
    std::fs::write(client.join("client.key"), own.serialize_pem()).unwrap();
    let address = on_a_thread(move |listener| async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut behind = TcpStream::connect(plain).await.unwrap();
            let _ = tokio::io::copy_bidirectional(&mut stream, &mut behind).await;
        }
    });
    (address, pem)
}

#[tokio::test]
async fn every_example_of_grpc_does_what_the_page_says() {
    let dir = tempfile::tempdir().unwrap();
    let plain = plain();
    let (encrypted, authority) = behind_tls(plain, dir.path());
    std::fs::write(dir.path().join("token"), "s3cret\n").unwrap();
    let here = |template: &str| {
        let folder = format!("{}/", dir.path().display());
        let written = template.replace("/etc/parallax/", &folder);
        written.replace("${env:PROBE_TOKEN}", &format!("${{file:{folder}token}}"))
    };
    let examples = examples("docs/checks/grpc.md");
    assert!(examples.len() >= 9, "{} examples", examples.len());
    for (line, check) in examples {
        let mut run = check.run;
        let StepKind::Grpc(step) = &mut run.steps[0].kind else { panic!("line {line}: grpc") };
        // The page's server, its authority and its files are these.
        let address = if step.tls.is_some() { encrypted } else { plain };
        let host = std::mem::replace(&mut step.host, address.ip().to_string());
        step.port = address.port();
        step.metadata.iter_mut().for_each(|(_, value)| *value = here(value));
        if let Some(tls) = &mut step.tls {
            tls.server_name.get_or_insert(host);
            if !tls.insecure {
                tls.ca_pem = Some(authority.clone().into());
            }
            if let Some(client) = &mut tls.client {
                (client.cert, client.key) = (here(&client.cert), here(&client.key));
            }
        }
        let secrets = Secrets::new(vec![], vec![dir.path().to_owned()]);
        let executor = Executor::new(secrets, None, None);
        let finding = judged(&executor, &run).await;
        assert_eq!(finding.outcome, Outcome::Pass, "{} (line {line}): {finding:?}", check.name);
        // Each of its expressions can fail: the contrary does.
        for expression in run.expect.iter().chain(&run.warn) {
            let mut contrary = run.clone();
            contrary.warn.clear();
            contrary.expect = vec!["grpc_status >= 0".into(), format!("!({expression})")];
            let finding = judged(&executor, &contrary).await;
            assert_eq!(finding.outcome, Outcome::Fail, "{expression}: {finding:?}");
        }
    }
}
