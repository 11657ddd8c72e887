//! The behaviour table of the options of `http`: each against a small real server, with the reason,
//! the step and the phases that come of it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use flate2::Compression;
use flate2::write::GzEncoder;
use parallax_common::check::{
    ClientCertificate, ContentEncoding, HttpAuth, HttpVersion, TlsVersion,
};
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

/// Reads a request with its body.
pub(super) fn message(stream: &mut impl Read) -> String {
    let mut text = request(stream);
    let length = text.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    if stream.read_exact(&mut body).is_ok() {
        text.push_str(&String::from_utf8_lossy(&body));
    }
    text
}

/// A server that answers by the path, and tells what it was sent.
fn site(
    answer: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static,
) -> (SocketAddr, Receiver<String>) {
    let (seen, requests) = channel();
    let address = server(move |mut stream| {
        let sent = message(&mut stream);
        let path = sent.split(' ').nth(1).unwrap_or_default().to_owned();
        // Nobody may be interested.
        let _ = seen.send(sent);
        let _ = stream.write_all(&answer(&path));
    });
    (address, requests)
}

fn redirect(status: u16, location: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status} Moved\r\nlocation: {location}\r\ncontent-length: 3\r\n\r\nsee")
        .into_bytes()
}

pub(super) fn ok(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

fn following(address: SocketAddr, path: &str, max: u32) -> Run {
    let mut run = http(format!("http://{address}{path}"));
    step(&mut run).redirects_max = max;
    run
}

/// The lines of the next request's head.
fn lines(requests: &Receiver<String>) -> Vec<String> {
    let sent = requests.recv_timeout(Duration::from_secs(20)).expect("a request");
    sent.lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn each_chain_of_redirects_has_its_end() {
    let nobody_there = Nobody::new();
    let refused = nobody_there.at;
    let (other, _) = site(|path| match path {
        "/" => ok("there"),
        _ => b"HTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n".to_vec(),
    });
    let (address, _) = site(move |path| match path {
        "/end" => ok("x"),
        "/once" => redirect(302, "/end"),
        "/twice" => redirect(301, "once"),
        "/permanent" => redirect(308, "/end#top"),
        "/self" => redirect(302, "/self"),
        "/ping" => redirect(302, "/pong"),
        "/pong" => redirect(302, "/ping"),
        "/away" => redirect(307, &format!("http://{other}/")),
        "/gone" => redirect(302, &format!("//{other}/gone")),
        "/refused" => redirect(302, &format!("http://{refused}/")),
        "/ftp" => redirect(302, "ftp://127.0.0.1/"),
        "/user" => redirect(302, "http://me:pw@127.0.0.1/"),
        "/bytes" => b"HTTP/1.1 302 X\r\nlocation: /\xff\r\ncontent-length: 0\r\n\r\n".to_vec(),
        "/long" => redirect(302, &format!("/{}", "x".repeat(9_000))),
        "/six" => redirect(302, "http://[::1]:9/"),
        "/nowhere" => b"HTTP/1.1 302 X\r\ncontent-length: 0\r\n\r\n".to_vec(),
        "/choices" => redirect(300, "/end"),
        "/cut" => b"HTTP/1.1 302 X\r\nlocation: /end\r\n".to_vec(),
        "/reset" => vec![],
        path => {
            let number: u32 = path.trim_start_matches('/').parse().unwrap_or(0);
            redirect(302, &format!("/{}", number + 1))
        }
    });
    let pass = (Outcome::Pass, None);
    let fail = |reason| (Outcome::Fail, Some(reason));
    let all = &[Phase::Connect, Phase::FirstByte, Phase::Transfer][..];
    // A redirect's body is not read, and a hop that fails adds what it came to.
    let half = &[Phase::Connect, Phase::FirstByte][..];
    // (path, max, finding, phases, expectation)
    for (path, max, finding, phases_of, expect) in [
        ("/end", 10, pass, all, "redirects.count == 0 && redirects.url.endsWith('/end')"),
        ("/once", 10, pass, all, "redirects.count == 1 && redirects.url.endsWith('/end')"),
        ("/twice", 10, pass, all, "redirects.count == 2 && body == 'x' && status == 200"),
        ("/twice", 2, pass, all, "redirects.count == 2"),
        ("/permanent", 1, pass, all, "redirects.url.endsWith('/end')"),
        ("/away", 1, pass, all, "body == 'there'"),
        // Not followed: an answer like any other.
        ("/once", 0, pass, all, "status == 302 && body == 'see' && redirects.count == 0"),
        ("/nowhere", 10, pass, all, "status == 302"),
        ("/choices", 10, pass, all, "status == 300"),
        ("/twice", 1, fail(Reason::HttpRedirectsTooMany), half, ""),
        ("/1", 10, fail(Reason::HttpRedirectsTooMany), half, ""),
        ("/self", 1, fail(Reason::HttpRedirectLoop), half, ""),
        ("/ping", 10, fail(Reason::HttpRedirectLoop), half, ""),
        ("/ftp", 10, fail(Reason::HttpRedirectMalformed), half, ""),
        ("/user", 10, fail(Reason::HttpRedirectMalformed), half, ""),
        ("/bytes", 10, fail(Reason::HttpRedirectMalformed), half, ""),
        ("/long", 10, fail(Reason::HttpRedirectMalformed), half, ""),
        ("/refused", 10, fail(Reason::ConnectRefused), half, ""),
        ("/gone", 10, fail(Reason::HttpStatus), all, ""),
        ("/cut", 10, fail(Reason::HttpTruncated), &[Phase::Connect], ""),
        ("/reset", 10, fail(Reason::HttpTruncated), &[Phase::Connect], ""),
    ] {
        let mut run = following(address, path, max);
        run.expect.extend((!expect.is_empty()).then(|| expect.to_owned()));
        let finding_of = found(&run).await;
        assert_eq!((finding_of.outcome, finding_of.reason), finding, "{path}: {finding_of:?}");
        assert_eq!(phases(&finding_of), phases_of, "{path}: {finding_of:?}");
        assert_eq!(finding_of.step, 0, "{path}");
        assert_eq!(finding_of.evidence.is_empty(), finding == pass, "{path}: {finding_of:?}");
        assert!(!finding_of.evidence.contains("pw@"), "{finding_of:?}");
    }
    // An address of another family than the check asks for is not connected to.
    let mut run = following(address, "/six", 10);
    run.ip = IpFamily::V4;
    assert_eq!(found(&run).await.reason, Some(Reason::DnsNoAddress));
}

#[tokio::test]
async fn a_redirect_of_a_later_step_names_that_step() {
    let (address, _) = site(|path| if path == "/end" { ok("x") } else { redirect(302, "/around") });
    let mut run = following(address, "/end", 10);
    let later = following(address, "/", 10).steps.remove(0);
    run.steps.push(Step { name: "later".to_owned(), ..later });
    let finding = found(&run).await;
    assert_eq!((finding.step, finding.reason), (1, Some(Reason::HttpRedirectLoop)), "{finding:?}");
    let phases: Vec<_> = finding.phases.iter().map(|(step, phase, _)| (*step, *phase)).collect();
    let first = [(0, Phase::Connect), (0, Phase::FirstByte), (0, Phase::Transfer)];
    assert_eq!(phases[..3], first);
    assert_eq!(phases[3..], [(1, Phase::Connect), (1, Phase::FirstByte)]);
}

#[tokio::test]
async fn the_phases_of_all_hops_are_summed() {
    let (address, _) = site(|path| {
        thread::sleep(ms(60));
        if path == "/end" { ok("x") } else { redirect(302, "/end") }
    });
    let mut run = following(address, "/", 1);
    run.expect =
        vec!["phases.first_byte >= duration('120ms') && phases.first_byte <= latency".to_owned()];
    let finding = found(&run).await;
    assert_eq!(finding.outcome, Outcome::Pass, "{finding:?}");
}

#[tokio::test]
async fn a_hop_resolves_anew_and_an_unknown_name_is_told() {
    let (address, _) = site(|_| redirect(302, "http://gone.example./"));
    let mut run = following(address, "/", 1);
    run.resolver = Some(dns(Some(3), None));
    let finding = found(&run).await;
    assert_eq!(finding.reason, Some(Reason::DnsNxdomain), "{finding:?}");
    assert_eq!(phases(&finding), [Phase::Connect, Phase::FirstByte, Phase::Dns]);
}

#[tokio::test]
async fn the_method_follows_the_status() {
    for (status, method, then, keeps) in [
        (301, "POST", "GET", false),
        (302, "POST", "GET", false),
        (303, "PUT", "GET", false),
        (307, "POST", "POST", true),
        (308, "PUT", "PUT", true),
        (302, "PUT", "PUT", true),
        (303, "HEAD", "HEAD", false),
    ] {
        let (address, requests) =
            site(move |path| if path == "/end" { ok("") } else { redirect(status, "/end") });
        let mut run = following(address, "/", 1);
        step(&mut run).method = method.to_owned();
        if method != "HEAD" {
            step(&mut run).body = "hello".to_owned();
            step(&mut run).headers = vec![("content-type".into(), "text/x".into())];
        }
        let finding = found(&run).await;
        assert_eq!(finding.outcome, Outcome::Pass, "{status} {method}: {finding:?}");
        lines(&requests);
        let second = lines(&requests);
        assert_eq!(second[0], format!("{then} /end HTTP/1.1"), "{status} {method}");
        for line in ["hello", "content-type: text/x"] {
            assert_eq!(second.iter().any(|l| l == line), keeps, "{status} {method}: {second:?}");
        }
    }
}

/// A directory of secrets with one file, and an executor that may read it.
fn with_secret(text: &str) -> (tempfile::TempDir, String, Executor) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("secret"), text).unwrap();
    let reference = format!("${{file:{}/secret}}", dir.path().display());
    let secrets = Secrets::new(vec![], vec![dir.path().to_owned()]);
    (dir, reference, Executor::new(secrets, None, None))
}

#[tokio::test]
async fn credentials_stay_at_their_origin_and_do_not_come_back() {
    let (_dir, reference, executor) = with_secret("tok-1234");
    // Home leads to itself, away and back; each place tells what it was sent.
    let (home_of, home_at) = channel::<SocketAddr>();
    let home_at = std::sync::Mutex::new(home_at);
    let (away, at_away) = site(move |_| {
        let home = home_at.lock().unwrap().recv().unwrap();
        redirect(302, &format!("http://{home}/end"))
    });
    let (home, at_home) = site(move |path| match path {
        "/" => redirect(302, "/again"),
        "/again" => redirect(302, &format!("http://{away}/there")),
        _ => ok(""),
    });
    let auths: [Option<HttpAuth>; 3] = [
        None,
        Some(HttpAuth::Bearer(reference.clone())),
        Some(HttpAuth::Basic { username: "me".into(), password: reference.clone() }),
    ];
    for auth in auths {
        home_of.send(home).unwrap();
        let mut run = following(home, "/", 10);
        let mut headers = vec![
            ("cookie", "session=7"),
            ("x-key", reference.as_str()),
            ("x-plain", "yes"),
            ("host", "shop.example"),
        ];
        if auth.is_none() {
            headers.push(("authorization", "Token 7"));
        }
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        step(&mut run).headers = headers.into_iter().map(owned).collect();
        step(&mut run).auth = auth.clone();
        run.expect = vec!["redirects.count == 3".into()];
        let finding = executor.run(&run).await.finding;
        assert_eq!(finding.outcome, Outcome::Pass, "{finding:?}");
        let authorization = match auth {
            None => "authorization: Token 7",
            Some(HttpAuth::Bearer(_)) => "authorization: Bearer tok-1234",
            Some(HttpAuth::Basic { .. }) => "authorization: Basic bWU6dG9rLTEyMzQ=",
            Some(HttpAuth::OAuth2(_)) => panic!("none of these"),
        };
        let own = [authorization, "cookie: session=7", "x-key: tok-1234", "host: shop.example"];
        let has = |lines: &[String], line: &str| lines.iter().any(|l| l == line);
        for hop in ["/", "/again"] {
            let sent = lines(&at_home);
            assert!(own.iter().all(|line| has(&sent, line)), "{hop}: {sent:?}");
        }
        for (place, requests, host) in [("away", &at_away, away), ("back", &at_home, home)] {
            let sent = lines(requests);
            let names = ["authorization:", "cookie:", "x-key:"];
            let left = sent.iter().any(|line| names.iter().any(|name| line.starts_with(name)));
            assert!(!left && has(&sent, "x-plain: yes"), "{place}: {sent:?}");
            assert!(has(&sent, &format!("host: {host}")), "{place}: {sent:?}");
        }
    }
}

#[tokio::test]
async fn query_and_credentials_are_sent_encoded_and_never_shown() {
    let (_dir, reference, executor) = with_secret("a b&c");
    let (address, requests) = site(|_| {
        let told = "a+b%26c bWU6YSBiJmM=";
        format!("HTTP/1.1 200 {told}\r\ncontent-length: 0\r\n\r\n").into_bytes()
    });
    let mut run = http(format!("http://{address}/x?y=1"));
    step(&mut run).query = vec![("key".into(), reference.clone()), ("ü z".into(), "1=2".into())];
    step(&mut run).auth =
        Some(HttpAuth::Basic { username: "me".into(), password: reference.clone() });
    // Written into the evidence by its name.
    run.expect = vec!["body == 'a+b%26c bWU6YSBiJmM='".into()];
    let finding = executor.run(&run).await.finding;
    assert_eq!(finding.reason, Some(Reason::ExpectationFailed));
    for secret in ["a+b%26c", "bWU6YSBiJmM="] {
        assert!(!finding.evidence.contains(secret), "{finding:?}");
    }
    let sent = lines(&requests);
    assert_eq!(sent[0], "GET /x?y=1&key=a+b%26c&%C3%BC+z=1%3D2 HTTP/1.1");
    assert!(sent.iter().any(|line| line == "authorization: Basic bWU6YSBiJmM="), "{sent:?}");
    // A name with a colon would be another name, and what no header can be is not sent.
    let (_dir, reference, executor) = with_secret("me:\nx");
    let username = reference.clone();
    for auth in [
        HttpAuth::Basic { username, password: "${env:NOT_ALLOWED}".into() },
        HttpAuth::Basic { username: reference.clone(), password: reference.clone() },
        HttpAuth::Bearer(reference),
    ] {
        step(&mut run).query.clear();
        step(&mut run).auth = Some(auth.clone());
        let finding = executor.run(&run).await.finding;
        assert_eq!(finding.reason, Some(Reason::ConfigError), "{auth:?}: {finding:?}");
        assert!(!finding.evidence.contains("me:"), "{finding:?}");
    }
}

pub(super) fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(vec![], Compression::best());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

fn encoded(coding: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-encoding: {coding}\r\ncontent-length: {length}\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

#[tokio::test]
async fn encoded_bodies_are_decoded_or_refused() {
    use ContentEncoding::{Br, Gzip};
    let (address, requests) = site(|path| match path {
        "/good" => encoded("gzip", &gzip(br#"{"a": 1}"#)),
        "/bomb" => encoded("gzip", &gzip(&vec![b'x'; 200_000])),
        "/plain" => encoded("gzip", b"not gzip at all"),
        "/half" => encoded("gzip", &gzip(b"hello hello hello")[..20]),
        "/large" => encoded("gzip", &[0; 1_001]),
        "/early" => {
            let mut answer = encoded("gzip", &gzip(b"hello"));
            answer.truncate(answer.len() - 1);
            answer
        }
        "/none" => b"HTTP/1.1 204 No\r\ncontent-encoding: gzip\r\n\r\n".to_vec(),
        _ => ok(r#"{"a": 1}"#),
    });
    let pass = (Outcome::Pass, None);
    let fail = |reason| (Outcome::Fail, Some(reason));
    let all = &[Phase::Connect, Phase::FirstByte, Phase::Transfer][..];
    let half = &[Phase::Connect, Phase::FirstByte][..];
    // (path, asked for, expectation, finding, phases)
    for (path, accepts, expect, finding, phases_of) in [
        ("/good", &[Gzip][..], "json.a == 1", pass, all),
        ("/", &[Gzip, Br], "json.a == 1", pass, all),
        ("/none", &[Gzip], "status == 204", pass, all),
        // Nothing was asked for: left as it came.
        ("/good", &[], "headers['content-encoding'] == 'gzip' && !body.startsWith('{')", pass, all),
        ("/bomb", &[Gzip], "", fail(Reason::HttpDecodedTooLarge), all),
        ("/plain", &[Gzip], "", fail(Reason::HttpEncoding), all),
        ("/half", &[Gzip], "", fail(Reason::HttpEncoding), all),
        ("/good", &[Br], "", fail(Reason::HttpEncoding), all),
        ("/large", &[Gzip], "", fail(Reason::HttpBodyTooLarge), half),
        ("/early", &[Gzip], "", fail(Reason::HttpTruncated), half),
    ] {
        let mut run = http(format!("http://{address}{path}"));
        step(&mut run).accept_encoding = accepts.to_vec();
        run.expect.extend((!expect.is_empty()).then(|| expect.to_owned()));
        let finding_of = found(&run).await;
        assert_eq!((finding_of.outcome, finding_of.reason), finding, "{path}: {finding_of:?}");
        assert_eq!(phases(&finding_of), phases_of, "{path}: {finding_of:?}");
        let sent = lines(&requests);
        let words: Vec<&str> = accepts.iter().map(|it| it.word()).collect();
        let line = format!("accept-encoding: {}", words.join(", "));
        assert_eq!(sent.contains(&line), !accepts.is_empty(), "{sent:?}");
    }
}

/// How a test server does TLS.
pub(super) fn tls_server(
    authority: &Authority,
    versions: &[&'static rustls::SupportedProtocolVersion],
    asks_clients: bool,
) -> Arc<rustls::ServerConfig> {
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let key = KeyPair::generate().unwrap();
    let cert = params.signed_by(&key, &authority.issuer).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .unwrap();
    let builder = if asks_clients {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority.pem.as_bytes()).unwrap()).unwrap();
        let clients =
            rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        builder.with_client_cert_verifier(clients.build().unwrap())
    } else {
        builder.with_no_client_auth()
    };
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    Arc::new(builder.with_single_cert(vec![cert.der().clone()], key).unwrap())
}

pub(super) fn tls_site(config: Arc<rustls::ServerConfig>, answer: Vec<u8>) -> SocketAddr {
    server(move |mut stream: TcpStream| {
        let mut session = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
        let mut tls = rustls::Stream::new(&mut session, &mut stream);
        if !request(&mut tls).is_empty() {
            let _ = tls.write_all(&answer);
            tls.conn.send_close_notify();
            let _ = tls.flush();
        }
        // Read to the end: a close with unread bytes would reset, and might overtake an alert.
        let _ = stream.read_to_end(&mut Vec::new());
    })
}

#[tokio::test]
async fn a_tcp_step_shows_its_client_certificate_to_who_asks() {
    let ours = authority();
    let dir = tempfile::tempdir().unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["probe".to_owned()]).unwrap();
    let cert = params.signed_by(&key, &ours.issuer).unwrap();
    let file = |name: &str, text: String| {
        std::fs::write(dir.path().join(name), text).unwrap();
        format!("${{file:{}}}", dir.path().join(name).display())
    };
    let good =
        ClientCertificate { cert: file("cert", cert.pem()), key: file("key", key.serialize_pem()) };
    let other = KeyPair::generate().unwrap().serialize_pem();
    let unfit = ClientCertificate { key: file("other", other), ..good.clone() };
    let secrets = Secrets::new(vec![], vec![dir.path().to_owned()]);
    let executor = Executor::new(secrets, None, None);
    // With 1.2 the server judges before the handshake ends; with 1.3 what is said next shows it.
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let config = tls_server(&ours, &[version], true);
        let address = server(move |mut stream| {
            let mut session = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut tls = rustls::Stream::new(&mut session, &mut stream);
            if tls.write_all(b"hello\r\n").is_ok() {
                let _ = tls.read(&mut [0; 16]);
            } else {
                // Read to the end: a close with unread bytes would reset, and overtake the alert.
                let _ = stream.read_to_end(&mut Vec::new());
            }
        });
        for (client, passes) in [(Some(&good), true), (None, false)] {
            let mut run = tcp("127.0.0.1", address.port());
            let StepKind::Tcp(step) = &mut run.steps[0].kind else { panic!("a tcp step") };
            let ca_pem = Some(ours.pem.clone());
            let client = client.cloned();
            step.tls = Some(TlsOptions { ca_pem, client, ..TlsOptions::default() });
            step.dialogue = vec![parallax_common::check::Exchange {
                name: "1".into(),
                send: None,
                expect: Some(parallax_common::check::Expected::Bytes(b"hello".to_vec())),
            }];
            let finding = executor.run(&run).await.finding;
            assert_eq!(finding.outcome == Outcome::Pass, passes, "{version:?}: {finding:?}");
            if version.version == rustls::ProtocolVersion::TLSv1_2 && !passes {
                assert_eq!(finding.reason, Some(Reason::TlsHandshake), "{finding:?}");
            }
        }
        let mut run = tcp("127.0.0.1", address.port());
        let StepKind::Tcp(step) = &mut run.steps[0].kind else { panic!("a tcp step") };
        step.tls = Some(TlsOptions { client: Some(unfit.clone()), ..TlsOptions::default() });
        assert_eq!(executor.run(&run).await.finding.reason, Some(Reason::ConfigError));
    }
}

#[tokio::test]
async fn an_older_tls_than_the_check_takes_is_refused() {
    let ours = authority();
    let old = tls_site(tls_server(&ours, &[&rustls::version::TLS12], false), ok(""));
    let new = tls_site(tls_server(&ours, &[&rustls::version::TLS13], false), ok(""));
    for (address, min, reason) in [
        (old, None, None),
        (old, Some(TlsVersion::V12), None),
        (old, Some(TlsVersion::V13), Some(Reason::TlsHandshake)),
        (new, Some(TlsVersion::V12), None),
        (new, Some(TlsVersion::V13), None),
    ] {
        let mut run = http(format!("https://{address}/"));
        step(&mut run).tls.ca_pem = Some(ours.pem.clone());
        step(&mut run).tls.min_version = min;
        let finding = found(&run).await;
        assert_eq!(finding.reason, reason, "{min:?}: {finding:?}");
    }
}

#[tokio::test]
async fn a_client_certificate_is_shown_at_its_origin_only() {
    let ours = authority();
    let versions = &[&rustls::version::TLS13];
    let config = tls_server(&ours, versions, true);
    let address = tls_site(Arc::clone(&config), ok(""));
    let other = tls_site(config, ok(""));
    let leads =
        tls_site(tls_server(&ours, versions, true), redirect(302, &format!("https://{other}/")));
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["probe".to_owned()]).unwrap();
    let cert = params.signed_by(&key, &ours.issuer).unwrap().pem();
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        std::fs::write(dir.path().join(name), text).unwrap();
        format!("${{file:{}/{name}}}", dir.path().display())
    };
    let cert = write("cert", &cert);
    let right = write("key", &key.serialize_pem());
    let wrong = write("wrong", &KeyPair::generate().unwrap().serialize_pem());
    let no_key = write("none", "hunter2");
    let secrets = Secrets::new(vec![], vec![dir.path().to_owned()]);
    let executor = Executor::new(secrets, None, None);
    let client = |cert: &String, key: &String| {
        Some(ClientCertificate { cert: cert.clone(), key: key.clone() })
    };
    for (address, client, reason) in [
        (address, client(&cert, &right), None),
        (address, None, Some(Reason::TlsHandshake)),
        (address, client(&cert, &wrong), Some(Reason::ConfigError)),
        (address, client(&cert, &no_key), Some(Reason::ConfigError)),
        (address, client(&no_key, &right), Some(Reason::ConfigError)),
        (address, client(&cert, &"${file:/not/allowed}".to_owned()), Some(Reason::ConfigError)),
        // The other origin asks for it, too, and is shown none.
        (leads, client(&cert, &right), Some(Reason::TlsHandshake)),
    ] {
        let mut run = http(format!("https://{address}/"));
        step(&mut run).tls.ca_pem = Some(ours.pem.clone());
        step(&mut run).tls.client = client.clone();
        step(&mut run).redirects_max = 1;
        let finding = executor.run(&run).await.finding;
        assert_eq!(finding.reason, reason, "{client:?}: {finding:?}");
        assert!(!finding.evidence.contains("hunter2"), "{finding:?}");
    }
}

#[tokio::test]
async fn what_is_encrypted_stays_encrypted() {
    let ours = authority();
    let (plain, _) = site(|_| ok(""));
    let config = tls_server(&ours, rustls::DEFAULT_VERSIONS, false);
    let secure = tls_site(Arc::clone(&config), ok(""));
    let down = tls_site(Arc::clone(&config), redirect(302, &format!("http://{plain}/?token=7")));
    let across = tls_site(config, redirect(302, &format!("https://{secure}/")));
    let (up, _) = site(move |_| redirect(301, &format!("https://{secure}/")));
    let all = [Phase::Connect, Phase::Tls, Phase::FirstByte, Phase::Transfer];
    for (url, reason, phases_of) in [
        (format!("https://{down}/"), Some(Reason::HttpRedirectDowngrade), &all[..3]),
        (format!("https://{across}/"), None, &all),
        // No authorities can be named for it; the system's do not know ours.
        (format!("http://{up}/"), Some(Reason::TlsUntrusted), &[Phase::Connect, Phase::FirstByte]),
    ] {
        let mut run = http(url.clone());
        step(&mut run).redirects_max = 1;
        if url.starts_with("https") {
            step(&mut run).tls.ca_pem = Some(ours.pem.clone());
            run.expect = vec!["cert.days_left > 0 && redirects.count == 1".into()];
        }
        let finding = found(&run).await;
        assert_eq!(finding.reason, reason, "{url}: {finding:?}");
        assert_eq!(phases(&finding), phases_of, "{url}: {finding:?}");
        // What a query holds is nobody's business.
        assert!(!finding.evidence.contains("token"), "{finding:?}");
    }
    // The certificate may be for another name at the check's own origin only.
    let mut run = http(format!("https://{across}/"));
    step(&mut run).redirects_max = 1;
    step(&mut run).tls.ca_pem = Some(ours.pem.clone());
    step(&mut run).tls.server_name = Some("shop.example".into());
    assert_eq!(found(&run).await.reason, Some(Reason::TlsNameMismatch));
}

/// An HTTPS server that speaks HTTP/2 and does as the path says.
pub(super) fn http2_site(authority: &Authority, alpn: &[&[u8]]) -> SocketAddr {
    let config = tls_server(authority, rustls::DEFAULT_VERSIONS, false);
    let mut config = Arc::unwrap_or_clone(config);
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    server(move |stream| {
        let acceptor = acceptor.clone();
        let mut open = stream.try_clone().unwrap();
        let serve = async move {
            stream.set_nonblocking(true).unwrap();
            let stream = tokio::net::TcpStream::from_std(stream).unwrap();
            let Ok(mut stream) = acceptor.accept(stream).await else { return false };
            if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
                return http2_session(stream).await;
            }
            let mut text = Vec::new();
            while !text.ends_with(b"\r\n\r\n") {
                let Ok(byte) = stream.read_u8().await else { return false };
                text.push(byte);
            }
            let _ = stream.write_all(OK).await;
            let _ = stream.shutdown().await;
            false
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        if runtime.block_on(serve) {
            return reset(open);
        }
        // Read to the end: a close with unread bytes would reset, and might overtake what was said.
        let _ = open.shutdown(std::net::Shutdown::Write);
        open.set_nonblocking(false).unwrap();
        let _ = open.read_to_end(&mut Vec::new());
    })
}

/// Whether the connection is to be reset.
async fn http2_session(stream: tokio_rustls::server::TlsStream<tokio::net::TcpStream>) -> bool {
    let Ok(mut session) = h2::server::handshake(stream).await else { return false };
    // What is begun and never ended: dropped, it would be reset.
    let (mut unanswered, mut unfinished) = (Vec::new(), Vec::new());
    while let Some(Ok((request, mut respond))) = session.accept().await {
        let (head, mut body) = request.into_parts();
        let path = head.uri.path().to_owned();
        let mut length = 0;
        // The session is driven while the body comes.
        while length
            < head.headers.get("content-length").map_or(0, |l| l.to_str().unwrap().parse().unwrap())
        {
            tokio::select! {
                data = body.data() => {
                    let data = data.unwrap().unwrap();
                    length += data.len();
                    let _ = body.flow_control().release_capacity(data.len());
                }
                _ = session.accept() => return false,
            }
        }
        let told = format!(
            "{} {} {} {length}",
            head.method,
            head.uri,
            head.headers.contains_key("connection") || head.headers.contains_key("host")
        );
        let answer = |status: u16| ::http::Response::builder().status(status);
        match path.as_str() {
            "/goaway" => session.abrupt_shutdown(h2::Reason::ENHANCE_YOUR_CALM),
            "/gone" => {
                let head = answer(200).header("content-length", 100).body(()).unwrap();
                let mut send = respond.send_response(head, false).unwrap();
                send.send_data("half".into(), false).unwrap();
                // Sent before the goodbye, which drops what waits.
                std::future::poll_fn(|context| {
                    let _ = session.poll_accept(context);
                    std::task::Poll::Ready(())
                })
                .await;
                session.abrupt_shutdown(h2::Reason::INTERNAL_ERROR);
            }
            "/reset" => respond.send_reset(h2::Reason::REFUSED_STREAM),
            "/old" => respond.send_reset(h2::Reason::HTTP_1_1_REQUIRED),
            "/close" => return false,
            "/silent" => unanswered.push(respond),
            "/stalls" | "/dies" => {
                let head = answer(200).header("content-length", 100).body(()).unwrap();
                let mut send = respond.send_response(head, false).unwrap();
                send.send_data("half".into(), false).unwrap();
                unfinished.push(send);
                if path == "/dies" {
                    // Sent, and read over there, before all of it is reset.
                    let soon = tokio::time::sleep(ms(100));
                    tokio::select! {
                        () = soon => return true,
                        _ = session.accept() => return false,
                    }
                }
            }
            "/dead" => return true,
            "/longer" => {
                let head = answer(200).header("content-length", 3).body(()).unwrap();
                let mut send = respond.send_response(head, false).unwrap();
                send.send_data("abcdef".into(), true).unwrap();
            }
            "/bomb" | "/packed" | "/not_gzip" | "/other" => {
                let coding = if path == "/other" { "br" } else { "gzip" };
                let head = answer(200).header("content-encoding", coding).body(()).unwrap();
                let mut send = respond.send_response(head, false).unwrap();
                let body = match path.as_str() {
                    "/bomb" => gzip(&vec![b'x'; 200_000]),
                    "/not_gzip" => b"not gzip at all".to_vec(),
                    _ => gzip(b"hello"),
                };
                send.send_data(body.into(), true).unwrap();
            }
            "/moved" => {
                let head = answer(302).header("location", "/end").body(()).unwrap();
                respond.send_response(head, true).unwrap();
            }
            "/wrong" => {
                let head = answer(200).header("content-length", 100).body(()).unwrap();
                let mut send = respond.send_response(head, false).unwrap();
                send.send_data("short".into(), true).unwrap();
            }
            "/large" => {
                let mut send = respond.send_response(answer(200).body(()).unwrap(), false).unwrap();
                send.send_data(vec![b'x'; 1_001].into(), true).unwrap();
            }
            // A polite end: what was begun is finished.
            "/polite" => {
                session.graceful_shutdown();
                let mut send = respond.send_response(answer(200).body(()).unwrap(), false).unwrap();
                send.send_data(told.into(), true).unwrap();
            }
            _ => {
                let mut send = respond.send_response(answer(200).body(()).unwrap(), false).unwrap();
                send.send_data(told.into(), true).unwrap();
            }
        }
    }
    false
}

#[tokio::test]
async fn http2_is_spoken_when_it_is_wanted_and_each_end_has_its_reason() {
    use HttpVersion::{Auto, V1, V2};
    let ours = authority();
    let both = http2_site(&ours, &[b"h2", b"http/1.1"]);
    let old = http2_site(&ours, &[b"http/1.1"]);
    let none = http2_site(&ours, &[]);
    let pass = (Outcome::Pass, None);
    let fail = |reason| (Outcome::Fail, Some(reason));
    let all = &[Phase::Connect, Phase::Tls, Phase::FirstByte, Phase::Transfer][..];
    let shaken = &all[..2];
    // (address, path, version, finding, phases, expectation)
    for (address, path, version, finding, phases_of, expect) in [
        (
            both,
            "/x?y=1",
            V2,
            pass,
            all,
            "body.startsWith('GET https://') && body.endsWith('/x?y=1 false 0')",
        ),
        (both, "/", Auto, pass, all, "http_version == 'HTTP/2' && status == 200"),
        (both, "/", V1, pass, all, "http_version == 'HTTP/1.1'"),
        (old, "/", Auto, pass, all, "http_version == 'HTTP/1.1'"),
        (none, "/", Auto, pass, all, "http_version == 'HTTP/1.1'"),
        (both, "/moved", V2, pass, all, "redirects.count == 1 && http_version == 'HTTP/2'"),
        (both, "/polite", V2, pass, all, "status == 200"),
        (old, "/", V2, fail(Reason::HttpVersion), &all[..1], ""),
        (none, "/", V2, fail(Reason::HttpVersion), shaken, ""),
        (both, "/old", V2, fail(Reason::HttpVersion), shaken, ""),
        (both, "/goaway", V2, fail(Reason::HttpGoaway), shaken, ""),
        (both, "/gone", V2, fail(Reason::HttpGoaway), &all[..3], ""),
        (both, "/reset", V2, fail(Reason::HttpReset), shaken, ""),
        (both, "/close", V2, fail(Reason::HttpTruncated), shaken, ""),
        (both, "/wrong", V2, fail(Reason::HttpMalformed), &all[..3], ""),
        (both, "/large", V2, fail(Reason::HttpBodyTooLarge), &all[..3], ""),
        (both, "/silent", V2, fail(Reason::Timeout), shaken, ""),
        (both, "/stalls", V2, fail(Reason::Timeout), &all[..3], ""),
        (both, "/dead", V2, fail(Reason::HttpReset), shaken, ""),
        (both, "/dies", V2, fail(Reason::HttpReset), &all[..3], ""),
        (both, "/longer", V2, fail(Reason::HttpMalformed), &all[..3], ""),
        (both, "/packed", V2, pass, all, "body == 'hello'"),
        (both, "/bomb", V2, fail(Reason::HttpDecodedTooLarge), all, ""),
        (both, "/not_gzip", V2, fail(Reason::HttpEncoding), all, ""),
        (both, "/other", V2, fail(Reason::HttpEncoding), all, ""),
    ] {
        let mut run = http(format!("https://{address}{path}"));
        step(&mut run).tls.ca_pem = Some(ours.pem.clone());
        step(&mut run).version = version;
        step(&mut run).redirects_max = 1;
        step(&mut run).accept_encoding = vec![ContentEncoding::Gzip];
        if finding == fail(Reason::Timeout) {
            run.timeout = ms(400);
        }
        run.expect.extend((!expect.is_empty()).then(|| expect.to_owned()));
        let finding_of = found(&run).await;
        assert_eq!(
            (finding_of.outcome, finding_of.reason),
            finding,
            "{path} {version}: {finding_of:?}"
        );
        assert_eq!(phases(&finding_of), phases_of, "{path} {version}: {finding_of:?}");
        assert_eq!(finding_of.step, 0, "{path} {version}");
    }
    // A body larger than the window that is open at first.
    let mut run = http(format!("https://{both}/"));
    step(&mut run).tls.ca_pem = Some(ours.pem.clone());
    step(&mut run).version = V2;
    step(&mut run).method = "POST".to_owned();
    step(&mut run).body = "x".repeat(100_000);
    run.expect = vec!["body.startsWith('POST ') && body.endsWith('false 100000')".to_owned()];
    let finding = found(&run).await;
    assert_eq!(finding.outcome, Outcome::Pass, "{finding:?}");
}
