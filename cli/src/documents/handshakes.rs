//! The examples of `docs/checks/tls.md`, run against a small server with the certificate of the page.

use std::io::Read as _;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use parallax_common::check::StepKind;
use parallax_common::outcome::Outcome;
use parallax_probe::execute::Executor;
use parallax_probe::execute::secrets::Secrets;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::PrivateKeyDer;

use super::{examples, judged};

/// The server, and the authority that has signed the one that has signed its certificate.
fn serve() -> (SocketAddr, String) {
    let authority = |name: &str| {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        (params, KeyPair::generate().unwrap())
    };
    let (root, root_key) = authority("root");
    let root_pem = root.self_signed(&root_key).unwrap().pem();
    let root = Issuer::new(root, root_key);
    let (between, between_key) = authority("between");
    let between_der = between.signed_by(&between_key, &root).unwrap().der().clone();
    let between = Issuer::new(between, between_key);
    let mut leaf = CertificateParams::new(vec!["shop.example".to_owned()]).unwrap();
    leaf.distinguished_name.push(DnType::CommonName, "shop");
    let key = KeyPair::generate().unwrap();
    let leaf_der = leaf.signed_by(&key, &between).unwrap().der().clone();

    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![leaf_der, between_der],
            PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let config = Arc::clone(&config);
            std::thread::spawn(move || {
                let mut session = rustls::ServerConnection::new(config).unwrap();
                while session.complete_io(&mut stream).is_ok() && session.is_handshaking() {}
                let _ = stream.read_to_end(&mut Vec::new());
            });
        }
    });
    (address, root_pem)
}

#[tokio::test]
async fn every_example_of_tls_does_what_the_page_says() {
    let (address, authority) = serve();
    let examples = examples("docs/checks/tls.md");
    assert!(examples.len() >= 5, "{} examples", examples.len());
    for (line, check) in examples {
        let mut run = check.run;
        let StepKind::Tls(step) = &mut run.steps[0].kind else { panic!("line {line}: a tls step") };
        // The page's server, and its authority, are these.
        let host = std::mem::replace(&mut step.host, address.ip().to_string());
        step.port = address.port();
        step.tls.server_name.get_or_insert(host);
        if !step.tls.insecure {
            step.tls.ca_pem = Some(authority.clone().into());
        }
        let executor = Executor::new(Secrets::default(), None, None);
        let finding = judged(&executor, &run).await;
        assert_eq!(finding.outcome, Outcome::Pass, "{} (line {line}): {finding:?}", check.name);
        // Each of its expressions can fail: the contrary does.
        for expression in run.expect.iter().chain(&run.warn) {
            let mut contrary = run.clone();
            contrary.warn.clear();
            contrary.expect = vec![format!("!({expression})")];
            let finding = judged(&executor, &contrary).await;
            assert_eq!(finding.outcome, Outcome::Fail, "{expression}: {finding:?}");
        }
    }
}
