//! What the options of TLS do, from the file to the finding: each option of each kind that has it, with it
//! and without it, against servers with an authority of their own.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;

use parallax_common::outcome::{Outcome, Reason};
use parallax_probe::execute::Executor;
use parallax_probe::execute::secrets::Secrets;
use rcgen::{BasicConstraints, Certificate, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use serde_json::{Map, Value, json};
use tokio::io::AsyncReadExt as _;
use tokio_rustls::TlsAcceptor;

use super::{checks, health, judged, questions, websocket};
use crate::config::{Sources, schema};

/// What every kind that encrypts may have.
const OPTIONS: [&str; 7] =
    ["insecure", "server_name", "ca_pem", "ca_file", "min_tls", "client_cert", "client_key"];

/// What a server has that others have not.
#[derive(Clone, Copy)]
enum Server {
    Usual,
    /// Its certificate is for `o.example`, and not for where it listens.
    Named,
    /// Speaks TLS 1.2 only.
    Old,
    /// Wants a certificate of its authority, in TLS 1.2: with 1.3 the client is done before it is judged.
    Asks,
}

struct Authority {
    certificate: Certificate,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Self { certificate, issuer: Issuer::new(params, key) }
    }

    fn pem(&self) -> String {
        self.certificate.pem()
    }

    /// A certificate for this name, and its key.
    fn signs(&self, name: &str) -> (Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }

    fn config(&self, server: Server, alpn: &[&str]) -> ServerConfig {
        let name = if matches!(server, Server::Named) { "o.example" } else { "127.0.0.1" };
        let (leaf, key) = self.signs(name);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
        let builder = match server {
            Server::Usual | Server::Named => builder.with_safe_default_protocol_versions(),
            Server::Old | Server::Asks => {
                builder.with_protocol_versions(&[&rustls::version::TLS12])
            }
        };
        let builder = match server {
            Server::Asks => {
                let mut roots = rustls::RootCertStore::empty();
                roots.add(self.certificate.der().clone()).unwrap();
                let roots = Arc::new(roots);
                let clients = WebPkiClientVerifier::builder_with_provider(roots, provider);
                builder.unwrap().with_client_cert_verifier(clients.build().unwrap())
            }
            _ => builder.unwrap().with_no_client_auth(),
        };
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let mut config = builder.with_single_cert(vec![leaf.der().clone()], key).unwrap();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        config
    }
}

/// TLS in front of a server that speaks in the clear.
fn in_front_of(plain: SocketAddr, config: ServerConfig) -> SocketAddr {
    let acceptor = TlsAcceptor::from(Arc::new(config));
    health::on_a_thread(move |listener| async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            match acceptor.accept(stream).into_fallible().await {
                Ok(mut stream) => {
                    let mut behind = tokio::net::TcpStream::connect(plain).await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut stream, &mut behind).await;
                }
                // Read to the end: a close with unread bytes would reset, and might overtake the alert.
                Err((_, mut stream)) => drop(stream.read_to_end(&mut Vec::new()).await),
            }
        }
    })
}

/// A server that does this with each connection, on a thread of its own.
fn listen(serve: fn(TcpStream)) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || serve(stream));
        }
    });
    address
}

/// Answers one request: a question at `/dns-query`, another way at `/q`, and whatever else with nothing.
fn site(mut stream: TcpStream) {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut asked = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    stream.read_exact(&mut asked).unwrap();
    let body = match head.split(' ').nth(1) {
        Some("/dns-query") => questions::answer(&asked),
        Some("/q") => {
            let mut answer = questions::answer(&asked);
            let at = answer.windows(4).position(|four| four == [192, 0, 2, 1]).unwrap();
            answer[at + 3] = 2;
            answer
        }
        _ => vec![],
    };
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/dns-message\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    // Who looks at TLS alone is gone by now.
    let _ = stream.write_all(&[head.into_bytes(), body].concat());
}

/// What is looked at: the word, the kind, whom it speaks to, and the step for a server.
struct Subject {
    word: &'static str,
    kind: &'static str,
    plain: SocketAddr,
    alpn: &'static [&'static str],
    step: fn(SocketAddr) -> Value,
}

fn subjects() -> Vec<Subject> {
    let site = listen(site);
    let of = |word, kind, plain, step| Subject { word, kind, plain, alpn: &[], step };
    vec![
        of("http", "http", site, |at| json!({"url": format!("https://{at}/")})),
        of("tcp", "tcp", site, |at| json!({"address": at.to_string(), "tls": true})),
        of("tls", "tls", site, |at| json!({"address": at.to_string()})),
        of(
            "dns over tls",
            "dns",
            questions::serve(),
            |at| json!({"name": "shop.example", "server": at.to_string(), "transport": "tls"}),
        ),
        of(
            "dns over https",
            "dns",
            site,
            |at| json!({"name": "shop.example", "server": at.to_string(), "transport": "https"}),
        ),
        Subject {
            alpn: &["h2"],
            ..of(
                "grpc",
                "grpc",
                health::plain(),
                |at| json!({"address": at.to_string(), "tls": true, "service": "shop.v1.Cart"}),
            )
        },
        of(
            "websocket",
            "websocket",
            listen(websocket::serve),
            |at| json!({"url": format!("wss://{at}/")}),
        ),
    ]
}

/// A server, what stands beside the option, what the option says, and what that makes of the run; nothing is
/// said in the run without it.
type Row = (Server, Value, Value, Outcome, Option<Reason>);

/// The runs of an option: the first is the one without it.
fn rows(option: &str, ours: &Authority, folder: &Path) -> Vec<Row> {
    use Outcome::{Fail, Missed, Pass};
    use Server::{Asks, Named, Old, Usual};
    let other = Authority::new();
    let write = |name: &str, text: String| {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let (none, trusts) = (json!({}), json!({"ca_pem": ours.pem()}));
    let untrusted = Some(Reason::TlsUntrusted);
    let refused = Some(Reason::TlsHandshake);
    match option {
        "insecure" => vec![
            (Usual, none.clone(), none.clone(), Fail, untrusted),
            (Usual, none.clone(), json!({"insecure": false}), Fail, untrusted),
            (Usual, none, json!({"insecure": true}), Pass, None),
        ],
        "server_name" => vec![
            (Named, trusts.clone(), none, Fail, Some(Reason::TlsNameMismatch)),
            (Named, trusts, json!({"server_name": "o.example"}), Pass, None),
        ],
        "ca_pem" => vec![
            (Usual, none.clone(), none.clone(), Fail, untrusted),
            (Usual, none.clone(), json!({"ca_pem": other.pem()}), Fail, untrusted),
            (Usual, none, trusts, Pass, None),
        ],
        "ca_file" => {
            let (right, wrong) = (write("ours", ours.pem()), write("other", other.pem()));
            vec![
                (Usual, none.clone(), none.clone(), Fail, untrusted),
                (Usual, none.clone(), json!({"ca_file": wrong}), Fail, untrusted),
                (Usual, none, json!({"ca_file": right}), Pass, None),
            ]
        }
        "min_tls" => vec![
            (Old, trusts.clone(), none, Pass, None),
            (Old, trusts.clone(), json!({"min_tls": "1.2"}), Pass, None),
            (Old, trusts.clone(), json!({"min_tls": "1.3"}), Fail, refused),
            (Usual, trusts, json!({"min_tls": "1.3"}), Pass, None),
        ],
        "client_cert" | "client_key" => {
            let shows = |name: &str, (cert, key): (&Certificate, &KeyPair)| {
                let cert = write(&format!("{name}.pem"), cert.pem());
                let key = write(&format!("{name}.key"), key.serialize_pem());
                let (cert, key) = (format!("${{file:{cert}}}"), format!("${{file:{key}}}"));
                json!({"client_cert": cert, "client_key": key})
            };
            let (cert, key) = ours.signs("probe");
            let (foreign, foreign_key) = other.signs("probe");
            let mut rows = vec![
                (Asks, trusts.clone(), none, Fail, refused),
                (Asks, trusts.clone(), shows("right", (&cert, &key)), Pass, None),
            ];
            rows.push(match option {
                "client_cert" => {
                    (Asks, trusts, shows("foreign", (&foreign, &foreign_key)), Fail, refused)
                }
                // It is the key of another certificate: nothing of the target is known.
                _ => {
                    let unfit = shows("unfit", (&cert, &foreign_key));
                    (Asks, trusts, unfit, Missed, Some(Reason::ConfigError))
                }
            });
            rows
        }
        other => panic!("{other} has no rows"),
    }
}

/// The check of a file with this step.
fn document(kind: &str, step: &Value, expect: &[&str]) -> Sources {
    let check = json!({
        "name": "shop", "interval": "30s", "timeout": "15s", "regions": ["a", "b", "c"],
        "expect": expect, kind: step,
    });
    Sources::from_texts([("mesh.yaml", json!({ "checks": [check] }).to_string().as_str())])
}

#[tokio::test]
async fn each_option_of_tls_changes_what_every_kind_finds() {
    let known: BTreeSet<String> = schema::paths().into_iter().map(|(path, _)| path).collect();
    let of_tls = |path: &&String| {
        let path = path.strip_prefix("checks[].").and_then(|path| path.split_once('.'));
        path.is_some_and(|(_, option)| OPTIONS.contains(&option))
    };
    let wanted: BTreeSet<String> = known.iter().filter(of_tls).cloned().collect();
    let ours = Authority::new();
    let (mut tried, mut wrong) = (BTreeSet::new(), Vec::new());
    for subject in subjects() {
        let Subject { word, kind, plain, alpn, step } = subject;
        for option in OPTIONS {
            let path = format!("checks[].{kind}.{option}");
            if !known.contains(&path) {
                continue;
            }
            let folder = tempfile::tempdir().unwrap();
            let secrets = Secrets::new(vec![], vec![folder.path().to_owned()]);
            let executor = Executor::new(secrets, None, None);
            for (server, beside, said, outcome, reason) in rows(option, &ours, folder.path()) {
                let mut step = step(in_front_of(plain, ours.config(server, alpn)));
                for more in [beside, said.clone()] {
                    let more: Map<_, _> = serde_json::from_value(more).unwrap();
                    step.as_object_mut().unwrap().extend(more);
                }
                let check = checks(document(kind, &step, &[])).remove(0);
                let finding = judged(&executor, &check.run).await;
                if (finding.outcome, finding.reason) != (outcome, reason) {
                    wrong.push(format!("{word}, {option} {said}: {finding:?}"));
                }
            }
            tried.insert(path);
        }
    }
    assert!(wrong.is_empty(), "\n  {}\n", wrong.join("\n  "));
    assert_eq!(tried, wanted, "a kind without runs");
}

#[tokio::test]
async fn a_question_over_https_is_asked_at_its_path() {
    let ours = Authority::new();
    let address = in_front_of(listen(site), ours.config(Server::Usual, &[]));
    for (path, seen) in
        [(None, "192.0.2.1"), (Some("/dns-query"), "192.0.2.1"), (Some("/q"), "192.0.2.2")]
    {
        let mut step = json!({
            "name": "shop.example", "server": address.to_string(), "transport": "https",
            "ca_pem": ours.pem(),
        });
        if let Some(path) = path {
            step["path"] = path.into();
        }
        let expect = format!("answers[0].data == '{seen}'");
        let check = checks(document("dns", &step, &[&expect])).remove(0);
        let executor = Executor::new(Secrets::default(), None, None);
        let finding = judged(&executor, &check.run).await;
        assert_eq!(finding.outcome, Outcome::Pass, "{path:?}: {finding:?}");
    }
}
