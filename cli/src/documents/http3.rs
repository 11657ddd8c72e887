//! The example of HTTP/3 in `docs/checks/http.md`, run against a small server of a library's.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};

use bytes::Bytes;
use http::Response;
use parallax_common::check::{HttpVersion, StepKind};
use parallax_common::outcome::{Outcome, Reason};
use parallax_probe::execute::Executor;
use parallax_probe::execute::secrets::Secrets;
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Endpoint, Incoming, ServerConfig};
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use tokio::task::JoinSet;

use super::{examples, judged};

/// The name that the page asks for.
const NAME: &str = "quic.example";

/// The server, until the test ends, and its certificate.
fn serve() -> (SocketAddr, String) {
    let key = KeyPair::generate().unwrap();
    let own = CertificateParams::new(vec![NAME.to_owned()]).unwrap().self_signed(&key).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![own.der().clone()],
            PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap();
    tls.alpn_protocols = vec![b"h3".to_vec()];
    let config = QuicServerConfig::try_from(tls).unwrap();
    let (started, address) = channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.unwrap().block_on(accept(config, &started));
    });
    (address.recv().unwrap(), own.pem())
}

async fn accept(config: QuicServerConfig, started: &Sender<SocketAddr>) {
    let config = ServerConfig::with_crypto(Arc::new(config));
    let endpoint = Endpoint::server(config, (Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    started.send(endpoint.local_addr().unwrap()).unwrap();
    let mut sessions = JoinSet::new();
    while let Some(incoming) = endpoint.accept().await {
        sessions.spawn(answer(incoming));
    }
}

/// Answers each request with 200.
async fn answer(incoming: Incoming) {
    let Ok(connection) = incoming.await else { return };
    let transport = h3_quinn::Connection::new(connection);
    let Ok(mut session) = h3::server::Connection::<_, Bytes>::new(transport).await else { return };
    while let Ok(Some(resolver)) = session.accept().await {
        let Ok((_request, mut stream)) = resolver.resolve_request().await else { return };
        let head = Response::builder().status(200).body(()).unwrap();
        stream.send_response(head).await.unwrap();
        stream.send_data("here".into()).await.unwrap();
        stream.finish().await.unwrap();
    }
}

#[tokio::test]
async fn the_example_of_http3_does_what_the_page_says() {
    let (address, authority) = serve();
    let mut examples_run = 0;
    for (line, check) in examples("docs/checks/http.md") {
        let mut run = check.run;
        let StepKind::Http(step) = &mut run.steps[0].kind else {
            panic!("line {line}: an http step")
        };
        if step.version != HttpVersion::V3 {
            continue;
        }
        // The page's server is this one.
        assert!(step.url.contains(NAME), "line {line}: {}", step.url);
        step.url = step.url.replace(NAME, &address.to_string());
        step.tls.server_name = Some(NAME.to_owned());
        step.tls.ca_pem = Some(authority.as_str().into());
        let executor = Executor::new(Secrets::default(), None, None);
        let finding = judged(&executor, &run).await;
        assert_eq!(finding.outcome, Outcome::Pass, "{} (line {line}): {finding:?}", check.name);
        // Each of its expectations can fail: the contrary does.
        assert!(run.expect.len() >= 3, "line {line}: {:?}", run.expect);
        for expectation in &run.expect {
            let mut contrary = run.clone();
            contrary.expect = vec!["status > 0".to_owned(), format!("!({expectation})")];
            let finding = judged(&executor, &contrary).await;
            assert_eq!(finding.outcome, Outcome::Fail, "{expectation}: {finding:?}");
        }
        // The option decides: over TCP nobody listens there.
        let StepKind::Http(step) = &mut run.steps[0].kind else { panic!("an http step") };
        step.version = HttpVersion::Auto;
        let finding = judged(&executor, &run).await;
        assert_eq!(finding.reason, Some(Reason::ConnectRefused), "line {line}: {finding:?}");
        examples_run += 1;
    }
    assert_eq!(examples_run, 1, "examples of HTTP/3");
}
