//! Every reason a run can have, produced by a small real server. `questions`, `handshakes`, `echoes` and
//! `health` have the kinds `dns`, `tls`, `icmp` and `grpc`; `talk` has STARTTLS, dialogues, `udp` and `ssh`,
//! `websocket` and `plugins` those kinds, `samples` several runs a slot, `evidence` what stands beside a reason, `steps` what steps tell one
//! another, `proxies` the ways through proxies, `tokens` those of OAuth 2.0, `kept` connections that outlive
//! a run, `http3` what is spoken over QUIC. `endings` has the steps of an exchange at which a target can give
//! up, `common_options` what holds for every kind.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::thread;

use parallax_common::check::{Canary, HttpStep, IpFamily, Step, TcpStep, TlsOptions, TlsStep};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use self::nobody::Nobody;
use super::secrets::Secrets;
use super::*;

mod common_options;
mod echoes;
mod endings;
mod evidence;
mod guard;
mod handshakes;
mod health;
mod http;
#[cfg(feature = "http3")]
mod http3;
mod kept;
pub(crate) mod nobody;
mod plugins;
mod proxies;
mod questions;
pub(crate) mod reasons;
mod samples;
mod steps;
mod talk;
pub(crate) mod tokens;
mod websocket;

/// Serves each connection with `serve`, on a thread of its own, until the test ends.
fn server(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serve = Arc::new(serve);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let serve = Arc::clone(&serve);
            thread::spawn(move || serve(stream));
        }
    });
    address
}

/// Reads a request's head (the tests send no bodies).
fn request(stream: &mut impl Read) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
        head.push(byte[0]);
    }
    String::from_utf8_lossy(&head).into_owned()
}

/// A server that answers each request with these bytes and closes.
fn answering(bytes: &'static [u8]) -> SocketAddr {
    server(move |mut stream| {
        request(&mut stream);
        let _ = stream.write_all(bytes);
    })
}

fn reset(stream: TcpStream) {
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
}

fn hang(stream: TcpStream) {
    thread::sleep(Duration::from_secs(20));
    drop(stream);
}

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn run_of(kind: StepKind) -> Run {
    Run {
        steps: vec![Step { name: String::new(), kind, captures: vec![] }],
        timeout: Duration::from_millis(2_000),
        expect: vec![],
        warn: vec![],
        invert: false,
        canary: None,
        ip: IpFamily::Auto,
        source_address: None,
        resolver: None,
        samples: 1,
    }
}

pub(super) fn http(url: String) -> Run {
    run_of(StepKind::Http(HttpStep {
        url,
        method: "GET".into(),
        body_max_bytes: 1_000,
        ..HttpStep::default()
    }))
}

fn plain_http(address: SocketAddr) -> Run {
    http(format!("http://{address}/path?q=1"))
}

fn tcp(host: &str, port: u16) -> Run {
    run_of(StepKind::Tcp(TcpStep { host: host.into(), port, ..TcpStep::default() }))
}

fn step(run: &mut Run) -> &mut HttpStep {
    match &mut run.steps[0].kind {
        StepKind::Http(step) => step,
        _ => panic!("an http step"),
    }
}

fn executor() -> Executor {
    Executor::new(Secrets::default(), None, None)
}

async fn found(run: &Run) -> Finding {
    executor().run(run).await.finding
}

fn phases(finding: &Finding) -> Vec<Phase> {
    finding.phases.iter().map(|(_, phase, _)| *phase).collect()
}

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\nx-a: 1\r\nx-a: 2\r\n\r\n{\"a\":1}";

#[tokio::test]
async fn a_good_answer_passes_with_its_phases() {
    let finding = found(&plain_http(answering(OK))).await;
    assert_eq!((finding.outcome, finding.reason), (Outcome::Pass, None), "{finding:?}");
    assert_eq!(phases(&finding), [Phase::Connect, Phase::FirstByte, Phase::Transfer]);
    assert!(finding.remote.is_some());
    // No certificate was shown.
    assert_eq!(finding.expiry, None);
}

#[tokio::test]
async fn each_bad_answer_has_its_reason() {
    let none = &[Phase::Connect][..];
    let head = &[Phase::Connect, Phase::FirstByte][..];
    let whole = &[Phase::Connect, Phase::FirstByte, Phase::Transfer][..];
    for (answer, reason, wanted) in [
        (&b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n"[..], Reason::HttpStatus, whole),
        (b"HTTP/1.1 404 No\r\nconnection: close\r\n\r\nbody to the end", Reason::HttpStatus, whole),
        (b"220 mail.example ESMTP\r\n\r\n", Reason::HttpMalformed, none),
        (b"HTTP/1.1 abc OK\r\n\r\n", Reason::HttpMalformed, none),
        (
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
            Reason::HttpMalformed,
            head,
        ),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc", Reason::HttpTruncated, head),
        (
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab",
            Reason::HttpTruncated,
            head,
        ),
        (b"HTTP/1.1 200", Reason::HttpTruncated, none),
        (b"", Reason::HttpTruncated, none),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 1001\r\n\r\nabc", Reason::HttpBodyTooLarge, head),
    ] {
        let finding = found(&plain_http(answering(answer))).await;
        let shown = String::from_utf8_lossy(answer);
        assert_eq!(finding.reason, Some(reason), "{shown:?}: {finding:?}");
        assert_eq!((finding.outcome, finding.step), (Outcome::Fail, 0), "{shown:?}");
        assert_eq!(phases(&finding), wanted, "{shown:?}: {finding:?}");
        assert!(!finding.evidence.is_empty(), "{shown:?}");
    }
}

#[tokio::test]
async fn a_body_that_does_not_say_its_length_is_measured() {
    let address = server(|mut stream| {
        request(&mut stream);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
        let _ = stream.write_all(&[b'x'; 3_000]);
    });
    let finding = found(&plain_http(address)).await;
    assert_eq!(finding.reason, Some(Reason::HttpBodyTooLarge));
    assert_eq!(phases(&finding), [Phase::Connect, Phase::FirstByte]);
}

#[tokio::test]
async fn resets_and_silence_have_their_reasons() {
    let reset_after_request = server(|mut stream| {
        request(&mut stream);
        reset(stream);
    });
    let finding = found(&plain_http(reset_after_request)).await;
    assert_eq!(finding.reason, Some(Reason::HttpReset));
    assert_eq!(phases(&finding), [Phase::Connect]);
    let reset_in_body = server(|mut stream| {
        request(&mut stream);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\nabc");
        thread::sleep(Duration::from_millis(50));
        reset(stream);
    });
    let finding = found(&plain_http(reset_in_body)).await;
    assert_eq!(finding.reason, Some(Reason::HttpReset));
    assert_eq!(phases(&finding), [Phase::Connect, Phase::FirstByte]);
    let mut silent = plain_http(server(hang));
    silent.timeout = Duration::from_millis(200);
    let execution = executor().run(&silent).await;
    assert_eq!(execution.finding.reason, Some(Reason::Timeout));
    assert_eq!(phases(&execution.finding), [Phase::Connect]);
    assert!(execution.ended.since(execution.started) >= Duration::from_millis(200));
}

/// The one thread of this runtime is stopped while runs are in flight, as a paused machine stops
/// all of them.
#[tokio::test]
async fn a_run_that_a_stall_of_the_probe_cut_short_is_no_vote() {
    let stall = |length: Duration| async move { thread::sleep(length) };
    for (serve, length, reason) in [
        (server(hang), ms(900), Some(Reason::MissedOverload)),
        // The answer has come while nobody looked.
        (answering(OK), ms(900), Some(Reason::MissedOverload)),
        // Noticed soon enough: it is the target's.
        (server(hang), ms(150), Some(Reason::Timeout)),
    ] {
        let mut run = plain_http(serve);
        run.timeout = ms(100);
        let executor = executor();
        let (execution, ()) = tokio::join!(executor.run(&run), stall(length));
        assert_eq!(execution.finding.reason, reason, "{:?}", execution.finding);
        let missed = execution.finding.outcome == Outcome::Missed;
        assert_eq!(missed, reason == Some(Reason::MissedOverload));
        let length = execution.ended.since(execution.started);
        assert!(length <= run.timeout + RUN_STALL_AFTER, "{length:?}");
    }
}

#[tokio::test]
async fn connections_that_do_not_come_about_have_their_reasons() {
    let nobody_there = Nobody::new();
    let gone = nobody_there.at;
    let refused = found(&tcp("127.0.0.1", gone.port())).await;
    assert_eq!(refused.reason, Some(Reason::ConnectRefused));
    assert_eq!((refused.step, refused.remote), (0, Some(gone)));
    assert_eq!(phases(&refused), []);
    // A listener whose queue is full: the kernel drops further connects.
    let full = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    full.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    full.listen(0).unwrap();
    let address = full.local_addr().unwrap().as_socket().unwrap();
    let mut queued = vec![];
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
        queued.push(stream);
        assert!(queued.len() < 100);
    }
    let (host, port, tls) = ("127.0.0.1", address.port(), TlsOptions::default());
    let tls = TlsStep { host: host.to_owned(), port, tls };
    for mut run in [tcp(host, port), run_of(StepKind::Tls(tls)), plain_http(address)] {
        run.timeout = Duration::from_millis(200);
        let finding = found(&run).await;
        assert_eq!((finding.reason, finding.step), (Some(Reason::ConnectTimeout), 0));
        assert_eq!((phases(&finding), finding.remote), (vec![], Some(address)));
    }
    // An address of no interface of ours cannot be a source.
    let mut run = tcp("127.0.0.1", gone.port());
    run.source_address = Some([192, 0, 2, 77].into());
    let finding = found(&run).await;
    assert_eq!((finding.outcome, finding.reason), (Outcome::Missed, Some(Reason::ConfigError)));
}

#[tokio::test]
async fn the_source_address_is_the_checks_or_the_probes() {
    let (seen, peers) = std::sync::mpsc::channel();
    let address = server(move |stream| seen.send(stream.peer_addr().unwrap().ip()).unwrap());
    let executor = Executor::new(Secrets::default(), Some([127, 0, 3, 1].into()), None);
    for (own, wanted) in [(None, [127, 0, 3, 1]), (Some([127, 0, 4, 2]), [127, 0, 4, 2])] {
        let mut run = tcp("127.0.0.1", address.port());
        run.source_address = own.map(IpAddr::from);
        let finding = executor.run(&run).await.finding;
        assert_eq!(finding.outcome, Outcome::Pass, "{finding:?}");
        // Received before the next run: each connection is served by a thread of its own.
        assert_eq!(peers.recv().unwrap(), IpAddr::from(wanted));
    }
}

/// A DNS server that answers every question with this code, and one address when it is given.
fn dns(code: Option<u8>, address: Option<[u8; 4]>) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let at = socket.local_addr().unwrap();
    thread::spawn(move || {
        let mut packet = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut packet) {
            let Some(code) = code else { continue };
            // Header, then the question: its name ends with a zero, type and class follow.
            let name_end = 12 + packet[12..length].iter().position(|b| *b == 0).unwrap() + 5;
            let mut answer = packet[..name_end].to_vec();
            let wanted = answer[name_end - 3] == 1;
            answer[2] = 0x81;
            answer[3] = 0x80 | code;
            answer[7] = u8::from(address.is_some() && wanted);
            answer[8..12].fill(0);
            if let Some(address) = address.filter(|_| wanted) {
                answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
                answer.extend(address);
            }
            socket.send_to(&answer, from).unwrap();
        }
    });
    at
}

#[tokio::test]
async fn what_the_resolver_says_has_its_reasons() {
    for (code, reason) in [
        (Some(3), Reason::DnsNxdomain),
        (Some(2), Reason::DnsServfail),
        (Some(5), Reason::DnsRefused),
        (Some(0), Reason::DnsNoAddress),
        (None, Reason::DnsTimeout),
    ] {
        let mut run = tcp("shop.example.", 80);
        run.resolver = Some(dns(code, None));
        run.timeout = Duration::from_millis(400);
        run.ip = IpFamily::V4;
        let finding = found(&run).await;
        assert_eq!((finding.reason, finding.step), (Some(reason), 0), "{finding:?}");
        // Who is never answered has not been told anything.
        let answered = reason != Reason::DnsTimeout;
        assert_eq!(phases(&finding), if answered { vec![Phase::Dns] } else { vec![] });
        assert_eq!(finding.remote, None, "{finding:?}");
    }
    let address = server(drop);
    let mut run = tcp("shop.example.", address.port());
    run.resolver = Some(dns(Some(0), Some([127, 0, 0, 1])));
    let finding = found(&run).await;
    assert_eq!(finding.outcome, Outcome::Pass, "{finding:?}");
    assert_eq!(phases(&finding), [Phase::Dns, Phase::Connect]);
}

#[tokio::test]
async fn a_source_of_the_wrong_family_is_no_outage() {
    let sources: [(&str, IpAddr); 2] =
        [("127.0.0.1", [0, 0, 0, 0, 0, 0, 0, 1].into()), ("::1", [127, 0, 0, 1].into())];
    for (host, source) in sources {
        let mut run = tcp(host, 9);
        run.source_address = Some(source);
        let finding = found(&run).await;
        assert_eq!(
            (finding.outcome, finding.reason),
            (Outcome::Missed, Some(Reason::ConfigError)),
            "{finding:?}"
        );
    }
    // A name that has addresses of the other family only, and one that has none.
    for (address, reason) in
        [(Some([127, 0, 0, 1]), Reason::ConfigError), (None, Reason::DnsNoAddress)]
    {
        let mut run = tcp("shop.example.", 9);
        run.resolver = Some(dns(Some(0), address));
        run.source_address = Some([0, 0, 0, 0, 0, 0, 0, 1].into());
        assert_eq!(found(&run).await.reason, Some(reason), "{address:?}");
    }
}

#[tokio::test]
async fn localhost_is_in_the_hosts_file() {
    let address = server(drop);
    let mut run = tcp("localhost", address.port());
    run.ip = IpFamily::V4;
    assert_eq!(found(&run).await.outcome, Outcome::Pass);
}

struct Authority {
    pem: Arc<str>,
    issuer: Issuer<'static, KeyPair>,
}

fn authority() -> Authority {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let pem = params.self_signed(&key).unwrap().pem().into();
    Authority { pem, issuer: Issuer::new(params, key) }
}

/// What a certificate that ends with the first day of this year makes of a run's first step.
fn ends(year: i32) -> Option<Expiry> {
    let not_after_s = date_time_ymd(year, 1, 1).unix_timestamp();
    Some(Expiry { not_after_s, step: 0 })
}

/// An HTTPS server with a certificate for `name`, valid over these years.
fn https(authority: &Authority, name: &str, years: (i32, i32)) -> SocketAddr {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.not_before = date_time_ymd(years.0, 1, 1);
    params.not_after = date_time_ymd(years.1, 1, 1);
    let key = KeyPair::generate().unwrap();
    let cert = params.signed_by(&key, &authority.issuer).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![cert.der().clone()],
            PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap();
    let config = Arc::new(config);
    server(move |mut stream| {
        let mut session = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
        let mut tls = rustls::Stream::new(&mut session, &mut stream);
        if !request(&mut tls).is_empty() {
            let _ = tls.write_all(OK);
            tls.conn.send_close_notify();
            let _ = tls.flush();
        }
    })
}

#[tokio::test]
async fn certificates_are_judged_each_by_its_own_reason() {
    let (ours, other) = (authority(), authority());
    let table = [
        (&ours, "127.0.0.1", (2020, 2090), Outcome::Pass, None),
        (&ours, "127.0.0.1", (2010, 2020), Outcome::Fail, Some(Reason::TlsExpired)),
        (&ours, "127.0.0.1", (2080, 2090), Outcome::Fail, Some(Reason::TlsNotYetValid)),
        (&ours, "shop.example", (2020, 2090), Outcome::Fail, Some(Reason::TlsNameMismatch)),
        (&other, "127.0.0.1", (2020, 2090), Outcome::Fail, Some(Reason::TlsUntrusted)),
    ];
    for (signed_by, name, years, outcome, reason) in table {
        let mut run = http(format!("https://{}/", https(signed_by, name, years)));
        step(&mut run).tls.ca_pem = Some(ours.pem.clone());
        let finding = found(&run).await;
        assert_eq!((finding.outcome, finding.reason), (outcome, reason), "{finding:?}");
        let all = [Phase::Connect, Phase::Tls, Phase::FirstByte, Phase::Transfer];
        let wanted = if reason.is_some() { &all[..1] } else { &all };
        assert_eq!((phases(&finding).as_slice(), finding.step), (wanted, 0), "{finding:?}");
        assert_eq!(finding.expiry, ends(years.1), "it was shown, whatever is wrong with it");
        // Unverified, each of them answers, and its days are known.
        step(&mut run).tls.insecure = true;
        run.expect = vec![match years.1 {
            2020 => "cert.days_left < 0".to_owned(),
            _ => format!("cert.days_left > 0 && '{name}' in cert.names && status == 200"),
        }];
        let finding = found(&run).await;
        assert_eq!(finding.outcome, Outcome::Pass, "{finding:?}");
        assert!(phases(&finding).contains(&Phase::Tls));
    }
    // Nobody but itself has signed it.
    let key = KeyPair::generate().unwrap();
    let alone = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let alone = alone.self_signed(&key).unwrap().der().clone();
    let address = handshakes::tls_server(vec![alone], &key, rustls::DEFAULT_VERSIONS);
    let finding = found(&http(format!("https://{address}/"))).await;
    assert_eq!(finding.reason, Some(Reason::TlsUntrusted), "{finding:?}");
    assert_eq!(phases(&finding), [Phase::Connect]);
    // Another name may be asked for.
    let mut run = http(format!("https://{}/", https(&ours, "shop.example", (2020, 2090))));
    step(&mut run).tls.ca_pem = Some(ours.pem.clone());
    step(&mut run).tls.server_name = Some("shop.example".into());
    assert_eq!(found(&run).await.outcome, Outcome::Pass);
    // The system's authorities do not know ours.
    step(&mut run).tls.ca_pem = None;
    assert_eq!(found(&run).await.reason, Some(Reason::TlsUntrusted));
}

#[tokio::test]
async fn handshakes_that_fail_or_hang_have_their_reasons() {
    let speaks_plain = server(|mut stream| {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        thread::sleep(Duration::from_millis(100));
    });
    let tls = |address: SocketAddr| {
        let tls = Some(TlsOptions::default());
        let (host, port) = ("127.0.0.1".into(), address.port());
        run_of(StepKind::Tcp(TcpStep { host, port, tls, ..TcpStep::default() }))
    };
    let mut silent = tls(server(hang));
    silent.timeout = Duration::from_millis(200);
    for (run, reason) in [(tls(speaks_plain), Reason::TlsHandshake), (silent, Reason::TlsTimeout)] {
        let finding = found(&run).await;
        assert_eq!((finding.reason, finding.step), (Some(reason), 0), "{finding:?}");
        assert_eq!(phases(&finding), [Phase::Connect], "{finding:?}");
    }
}

/// TLS 1.3 lets the client finish its handshake before the server has judged the client.
#[tokio::test]
async fn a_refusal_after_the_handshake_is_the_handshakes() {
    let ours = authority();
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let key = KeyPair::generate().unwrap();
    let cert = params.signed_by(&key, &ours.issuer).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ours.pem.as_bytes()).unwrap()).unwrap();
    let clients = rustls::server::WebPkiClientVerifier::builder_with_provider(
        Arc::new(roots),
        Arc::clone(&provider),
    );
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_client_cert_verifier(clients.build().unwrap())
        .with_single_cert(
            vec![cert.der().clone()],
            PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap();
    let config = Arc::new(config);
    let address = server(move |mut stream| {
        let mut session = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
        while session.complete_io(&mut stream).is_ok() && session.is_handshaking() {}
        // Read to the end: a close with unread bytes would reset, and might overtake the alert.
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let mut run = http(format!("https://{address}/"));
    step(&mut run).tls.ca_pem = Some(ours.pem.clone());
    let finding = found(&run).await;
    assert_eq!(finding.reason, Some(Reason::TlsHandshake), "{finding:?}");
    assert!(finding.evidence.contains("CertificateRequired"), "{finding:?}");
}

#[test]
fn a_configuration_is_built_once_for_the_same_options() {
    let configs = tls::Configs::new();
    let ca = Some(authority().pem);
    let options = TlsOptions { ca_pem: ca, ..TlsOptions::default() };
    let one = configs.get(&options).unwrap();
    let named = TlsOptions { server_name: Some("x.example".into()), ..options.clone() };
    assert!(Arc::ptr_eq(&one, &configs.get(&named).unwrap()));
    assert!(!Arc::ptr_eq(&one, &configs.get_with(&options, None, tls::Alpn::Http1).unwrap()));
    let broken = TlsOptions { ca_pem: Some("no PEM".into()), ..options };
    assert_eq!(configs.get(&broken).unwrap_err().reason, Reason::ConfigError);
}

/// (expect, warn, outcome, reason, in the evidence)
type Row =
    (&'static [&'static str], &'static [&'static str], Outcome, Option<Reason>, &'static str);

#[tokio::test]
async fn expectations_decide_and_are_named() {
    let address = answering(OK);
    let table: [Row; 8] = [
        (&["status == 200", "json.a == 1"], &[], Outcome::Pass, None, ""),
        (&["headers['x-a'] == '1, 2'"], &[], Outcome::Pass, None, ""),
        (
            &["latency < duration('1s')", "phases['connect'] < duration('1s')"],
            &[],
            Outcome::Pass,
            None,
            "",
        ),
        (
            &["status == 200", "status == 201"],
            &[],
            Outcome::Fail,
            Some(Reason::ExpectationFailed),
            "not true: status == 201",
        ),
        (&["json.b == 1"], &[], Outcome::Fail, Some(Reason::ExpectationFailed), "json.b == 1"),
        (&[], &["body.contains('zzz')"], Outcome::Warn, Some(Reason::Warning), "body.contains"),
        (
            &["status == 500"],
            &["status == 501"],
            Outcome::Fail,
            Some(Reason::ExpectationFailed),
            "500",
        ),
        (
            &["http_version == 'HTTP/1.1' && ip == '127.0.0.1'"],
            &["[1, 2].all(x, x > 0)"],
            Outcome::Pass,
            None,
            "",
        ),
    ];
    for (expect, warn, outcome, reason, evidence) in table {
        let mut run = plain_http(address);
        run.expect = expect.iter().map(|s| (*s).to_owned()).collect();
        run.warn = warn.iter().map(|s| (*s).to_owned()).collect();
        let finding = found(&run).await;
        assert_eq!((finding.outcome, finding.reason), (outcome, reason), "{finding:?}");
        assert!(finding.evidence.contains(evidence), "{finding:?}");
    }
    // An expectation that speaks of the status replaces the rule about 2xx and 3xx.
    let mut run = plain_http(answering(b"HTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n"));
    run.expect = vec!["status == 404".into()];
    assert_eq!(found(&run).await.outcome, Outcome::Pass);
    run.expect = vec!["latency > duration('0s')".into()];
    assert_eq!(found(&run).await.reason, Some(Reason::HttpStatus));
}

#[tokio::test]
async fn an_expression_that_would_run_too_long_is_no_vote() {
    let address = server(|mut stream| {
        request(&mut stream);
        let body = format!("[{}0]", "1,".repeat(20_000));
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
        let _ = stream.write_all((head + &body).as_bytes());
    });
    let mut run = plain_http(address);
    step(&mut run).body_max_bytes = 100_000;
    run.expect = vec!["json.all(x, json.all(y, x + y >= 0))".into()];
    let finding = found(&run).await;
    assert_eq!(
        (finding.outcome, finding.reason),
        (Outcome::Missed, Some(Reason::ExpressionBudget))
    );
    assert!(finding.evidence.contains("json"), "{finding:?}");
}

#[tokio::test]
async fn an_inverted_check_passes_when_the_target_fails() {
    let mut run = plain_http(answering(OK));
    run.invert = true;
    let finding = found(&run).await;
    assert_eq!((finding.outcome, finding.reason), (Outcome::Fail, Some(Reason::InvertedPass)));
    let mut run = plain_http(answering(b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n"));
    run.invert = true;
    let finding = found(&run).await;
    assert_eq!((finding.outcome, finding.reason), (Outcome::Pass, None));
}

#[tokio::test]
async fn a_canary_passes_when_its_known_answer_is_seen_and_says_what_is_seen_instead() {
    let no = b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n";
    let mut failing = plain_http(answering(no));
    failing.expect = vec!["status == 200".into()];
    let reason = found(&failing).await.reason;
    assert_eq!(reason, Some(Reason::ExpectationFailed));
    let refused = Some(Reason::ConnectRefused);
    // (what is known, whether the target passes, outcome, reason)
    for (canary, passes, outcome, expected) in [
        (Canary::Fail(None), false, Outcome::Pass, None),
        (Canary::Fail(reason), false, Outcome::Pass, None),
        (Canary::Fail(refused), false, Outcome::Fail, reason),
        (Canary::Pass, false, Outcome::Fail, reason),
        (Canary::Pass, true, Outcome::Pass, None),
        (Canary::Fail(None), true, Outcome::Fail, Some(Reason::InvertedPass)),
        (Canary::Fail(refused), true, Outcome::Fail, Some(Reason::InvertedPass)),
    ] {
        let mut run = if passes { plain_http(answering(OK)) } else { plain_http(answering(no)) };
        run.expect.clone_from(&failing.expect);
        run.canary = Some(canary);
        let finding = found(&run).await;
        assert_eq!((finding.outcome, finding.reason), (outcome, expected), "{canary:?} {passes}");
        let said = finding.reason == Some(Reason::InvertedPass);
        assert_eq!(finding.evidence == "it passes, and is known to fail", said, "{finding:?}");
    }
}

#[tokio::test]
async fn what_is_sent_is_what_the_check_says_and_secrets_stay_inside() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("token"), "tok-12345\n").unwrap();
    let (seen, requests) = std::sync::mpsc::channel();
    let address = server(move |mut stream| {
        seen.send(request(&mut stream)).unwrap();
        let _ = stream.write_all(b"HTTP/1.1 200 tok-12345\r\ncontent-length: 0\r\n\r\n");
    });
    let mut run = plain_http(address);
    let reference = format!("Bearer ${{file:{}/token}}", dir.path().display());
    step(&mut run).headers = vec![("authorization".into(), reference)];
    run.expect = vec!["body == 'tok-12345'".into()];
    let extra = Some((HeaderName::from_static("x-region"), HeaderValue::from_static("r1")));
    let secrets = Secrets::new(vec![], vec![dir.path().to_owned()]);
    let finding = Executor::new(secrets, None, extra).run(&run).await.finding;
    assert_eq!(finding.reason, Some(Reason::ExpectationFailed));
    assert!(!finding.evidence.contains("tok-12345"), "{finding:?}");
    let sent = requests.recv().unwrap();
    assert!(sent.starts_with("GET /path?q=1 HTTP/1.1\r\n"), "{sent}");
    for line in [
        "authorization: Bearer tok-12345",
        "x-region: r1",
        "connection: close",
        &format!("host: {address}"),
    ] {
        assert!(sent.lines().any(|l| l == line), "{line} in {sent}");
    }
    // Without the permission it is no outage.
    let finding = found(&run).await;
    assert_eq!((finding.outcome, finding.reason), (Outcome::Missed, Some(Reason::ConfigError)));
}

#[test]
fn evidence_is_cut_at_a_character() {
    let mut evidence = "ä".repeat(EVIDENCE_BYTES_MAX);
    cap(&mut evidence);
    assert!(evidence.len() <= EVIDENCE_BYTES_MAX && evidence.ends_with("ä..."));
    let mut short = "short".to_owned();
    cap(&mut short);
    assert_eq!(short, "short");
}

/// Such a build does not say that it can, so no coordinator gives it such a check; one that it gets all the
/// same is no vote.
#[cfg(not(feature = "http3"))]
#[tokio::test]
async fn a_build_without_http3_looks_at_nothing() {
    let nobody_there = Nobody::new();
    let gone = nobody_there.at;
    let mut run = http(format!("https://{gone}/"));
    assert_eq!(found(&run).await.reason, Some(Reason::ConnectRefused));
    step(&mut run).version = parallax_common::check::HttpVersion::V3;
    let finding = found(&run).await;
    let said = (finding.outcome, finding.reason);
    assert_eq!(said, (Outcome::Missed, Some(Reason::ConfigError)), "{finding:?}");
    assert!(finding.evidence.contains("built without HTTP/3"), "{finding:?}");
}
