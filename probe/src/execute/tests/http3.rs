//! The behaviour table of HTTP/3: real QUIC servers on this machine, and what becomes of each end.

use std::sync::mpsc::{Receiver, Sender, channel};

use ::http::Response;
use bytes::{Buf as _, Bytes};
use h3::server::RequestStream;
use h3_quinn::BidiStream;
use parallax_common::check::{ClientCertificate, ContentEncoding, HttpVersion, TlsVersion};
use quinn::{Connection, Endpoint, ServerConfig, TransportConfig, VarInt};
use rcgen::{CertificateParams, KeyPair};
use tokio::task::JoinSet;

use super::guard::NameServer;
use super::http::tls_server;
use super::*;

const ALL: &[Phase] = &[Phase::Connect, Phase::Tls, Phase::FirstByte, Phase::Transfer];
const TLS13: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS13];

/// How a server is set up.
struct Site {
    tls: rustls::ServerConfig,
    address: [u8; 4],
    idle: Duration,
    /// It takes no connection.
    refuses: bool,
    /// Without them a library speaks.
    frames: Option<(Vec<u8>, Then)>,
}

impl Site {
    fn new(authority: &Authority) -> Self {
        let mut tls = Arc::unwrap_or_clone(tls_server(authority, TLS13, false));
        tls.alpn_protocols = vec![b"h3".to_vec()];
        Self { tls, address: [127, 0, 0, 1], idle: ms(20_000), refuses: false, frames: None }
    }

    /// One whose certificate has so many names that its first flight takes more than one datagram.
    fn of_many_names(authority: &Authority) -> Self {
        let mut names: Vec<String> = (0..100).map(|n| format!("name-{n}.shop.example")).collect();
        names.push("127.0.0.1".to_owned());
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(names).unwrap();
        let cert = params.signed_by(&key, &authority.issuer).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(TLS13)
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![cert.der().clone()],
                PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            )
            .unwrap();
        tls.alpn_protocols = vec![b"h3".to_vec()];
        Self { tls, ..Self::new(authority) }
    }

    /// Serves until the test ends, on a thread of its own.
    fn start(self) -> SocketAddr {
        let (started, address) = channel();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(self.serve(&started));
        });
        address.recv().unwrap()
    }

    async fn serve(self, started: &Sender<SocketAddr>) {
        let tls = quinn::crypto::rustls::QuicServerConfig::try_from(self.tls).unwrap();
        let mut config = ServerConfig::with_crypto(Arc::new(tls));
        let mut transport = TransportConfig::default();
        transport.max_idle_timeout(Some(self.idle.try_into().unwrap()));
        config.transport_config(Arc::new(transport));
        let endpoint = Endpoint::server(config, (self.address, 0).into()).unwrap();
        started.send(endpoint.local_addr().unwrap()).unwrap();
        let mut sessions = JoinSet::new();
        while let Some(incoming) = endpoint.accept().await {
            if self.refuses {
                incoming.refuse();
                continue;
            }
            let frames = self.frames.clone();
            sessions.spawn(async move {
                let Ok(connection) = incoming.await else { return };
                match frames {
                    None => session(connection).await,
                    Some((frames, then)) => by_hand(connection, &frames, then).await,
                }
            });
        }
    }
}

type Stream = RequestStream<BidiStream<Bytes>, Bytes>;

/// What a server that writes its frames by hand does behind them.
#[derive(Clone, Copy)]
enum Then {
    Ends,
    Waits,
    /// Sends more of the same for as long as it is read.
    Floods,
}

// Heads whose one field comes from the static table (RFC 9204, appendix A): `:status` 200 and 103.
const OK_HEAD: &[u8] = &[0x01, 0x03, 0x00, 0x00, 0xd9];
const EARLY_HINTS: &[u8] = &[0x01, 0x03, 0x00, 0x00, 0xd8];

/// A control stream with no settings, the first request, and these frames in answer.
async fn by_hand(connection: Connection, frames: &[u8], then: Then) {
    let mut control = connection.open_uni().await.unwrap();
    control.write_all(&[0x00, 0x04, 0x00]).await.unwrap();
    let Ok((mut send, mut receive)) = connection.accept_bi().await else { return };
    let _ = receive.read_to_end(10_000).await;
    send.write_all(frames).await.unwrap();
    match then {
        Then::Ends => send.finish().unwrap(),
        Then::Waits => {}
        Then::Floods => while send.write_all(&[0; 10_000]).await.is_ok() {},
    }
    connection.closed().await;
}

async fn session(connection: Connection) {
    let raw = connection.clone();
    let transport = h3_quinn::Connection::new(connection);
    let Ok(mut session) = h3::server::Connection::new(transport).await else { return };
    // Streams that are held open while the session lasts.
    let mut held: Vec<Stream> = vec![];
    while let Ok(Some(resolver)) = session.accept().await {
        let Ok((request, mut stream)) = resolver.resolve_request().await else { return };
        let path = request.uri().path().to_owned();
        let answer = |status: u16| Response::builder().status(status);
        match path.as_str() {
            "/reset" => stream.stop_stream(h3::error::Code::H3_INTERNAL_ERROR),
            "/old" => stream.stop_stream(h3::error::Code::H3_VERSION_FALLBACK),
            "/broken-body" => {
                stream.send_response(answer(200).body(()).unwrap()).await.unwrap();
                stream.send_data("half".into()).await.unwrap();
                // What was sent must be there before the reset drops it.
                tokio::time::sleep(ms(100)).await;
                stream.stop_stream(h3::error::Code::H3_INTERNAL_ERROR);
            }
            "/close" => raw.close(VarInt::from_u32(0x107), b"too many"),
            "/gone" => {
                let head = answer(200).header("content-length", 100).body(()).unwrap();
                stream.send_response(head).await.unwrap();
                tokio::time::sleep(ms(100)).await;
                raw.close(VarInt::from_u32(0x100), b"");
            }
            // A goodbye that leaves the request out, and nothing more.
            "/goaway" => {
                session.shutdown(0).await.unwrap();
                held.push(stream);
            }
            "/goaway-reset" => {
                session.shutdown(0).await.unwrap();
                tokio::time::sleep(ms(100)).await;
                stream.stop_stream(h3::error::Code::H3_REQUEST_REJECTED);
            }
            // A polite end: what was begun is finished.
            "/polite" => {
                session.shutdown(1).await.unwrap();
                tokio::time::sleep(ms(100)).await;
                say(&mut stream, answer(200), "bye".into()).await;
            }
            "/hang" => held.push(stream),
            "/moved" => say(&mut stream, answer(302).header("location", "/end"), "x".into()).await,
            "/away" => {
                let to = request.uri().query().unwrap_or_default().to_owned();
                say(&mut stream, answer(302).header("location", to), "x".into()).await;
            }
            "/short" => {
                say(&mut stream, answer(200).header("content-length", 100), "x".into()).await
            }
            "/long" => {
                say(&mut stream, answer(200).header("content-length", 1), "xxx".into()).await
            }
            "/large" => say(&mut stream, answer(200), vec![b'x'; 1_001].into()).await,
            "/promised" => {
                say(&mut stream, answer(200).header("content-length", 1_001), "x".into()).await;
            }
            "/none" => say(&mut stream, answer(204), Bytes::new()).await,
            "/failing" => say(&mut stream, answer(503), "no".into()).await,
            "/head" => {
                let head = answer(200).header("content-length", 9_999).body(()).unwrap();
                stream.send_response(head).await.unwrap();
                stream.finish().await.unwrap();
            }
            // Answered before the request has come, and the rest of it is not wanted.
            "/early" => {
                say(&mut stream, answer(200), "enough".into()).await;
                stream.stop_sending(h3::error::Code::H3_NO_ERROR);
                held.push(stream);
            }
            "/packed" => {
                let mut packed = flate2::write::GzEncoder::new(vec![], flate2::Compression::fast());
                packed.write_all(b"{\"packed\":true}").unwrap();
                let head = answer(200).header("content-encoding", "gzip");
                say(&mut stream, head, packed.finish().unwrap().into()).await;
            }
            _ => {
                let mut length = 0;
                while let Some(data) = stream.recv_data().await.unwrap() {
                    length += data.remaining();
                }
                let host = request.headers().contains_key("host")
                    || request.headers().contains_key("connection");
                let (method, uri) = (request.method(), request.uri());
                let from = raw.remote_address().ip();
                let told = format!("{method} {uri} {host} {length} {from}");
                say(&mut stream, answer(200), told.into()).await;
            }
        }
    }
}

async fn say(stream: &mut Stream, head: ::http::response::Builder, body: Bytes) {
    stream.send_response(head.body(()).unwrap()).await.unwrap();
    stream.send_data(body).await.unwrap();
    stream.finish().await.unwrap();
}

fn http3(address: SocketAddr, path: &str, authority: &Authority) -> Run {
    let mut run = http(format!("https://{address}{path}"));
    step(&mut run).tls.ca_pem = Some(authority.pem.clone());
    step(&mut run).version = HttpVersion::V3;
    run
}

fn said(finding: &Finding) -> (Outcome, Option<Reason>) {
    (finding.outcome, finding.reason)
}

const PASS: (Outcome, Option<Reason>) = (Outcome::Pass, None);

const fn fail(reason: Reason) -> (Outcome, Option<Reason>) {
    (Outcome::Fail, Some(reason))
}

#[tokio::test]
async fn http3_is_spoken_and_each_end_has_its_reason() {
    let ours = authority();
    let site = Site::new(&ours).start();
    let (shaken, headed) = (&ALL[..2], &ALL[..3]);
    // (path, finding, phases, in the evidence, expectation)
    for (path, finding, phases_of, evidence, expect) in [
        (
            "/x?y=1",
            PASS,
            ALL,
            "",
            "body.startsWith('GET https://') && body.endsWith('/x?y=1 false 0 127.0.0.1')",
        ),
        ("/", PASS, ALL, "", "http_version == 'HTTP/3' && status == 200 && tls_version == '1.3'"),
        (
            "/",
            PASS,
            ALL,
            "",
            "cert.days_left > 0 && '127.0.0.1' in cert.names && ip == '127.0.0.1'",
        ),
        ("/", PASS, ALL, "", "phases['tls'] > duration('0s') && latency >= phases['connect']"),
        ("/moved", PASS, ALL, "", "redirects.count == 1 && http_version == 'HTTP/3'"),
        ("/polite", PASS, ALL, "", "body == 'bye'"),
        ("/none", PASS, ALL, "", "status == 204"),
        ("/failing", fail(Reason::HttpStatus), ALL, "503", ""),
        ("/reset", fail(Reason::HttpReset), shaken, "H3_INTERNAL_ERROR", ""),
        ("/old", fail(Reason::HttpVersion), shaken, "H3_VERSION_FALLBACK", ""),
        ("/broken-body", fail(Reason::HttpReset), headed, "H3_INTERNAL_ERROR", ""),
        ("/close", fail(Reason::HttpGoaway), shaken, "H3_EXCESSIVE_LOAD: too many", ""),
        ("/gone", fail(Reason::HttpGoaway), headed, "H3_NO_ERROR", ""),
        ("/goaway", fail(Reason::HttpGoaway), shaken, "has not answered", ""),
        ("/goaway-reset", fail(Reason::HttpGoaway), shaken, "H3_REQUEST_REJECTED", ""),
        ("/hang", fail(Reason::Timeout), shaken, "", ""),
        ("/short", fail(Reason::HttpTruncated), headed, "1 of 100 bytes", ""),
        ("/long", fail(Reason::HttpMalformed), headed, "3 bytes of body, 1", ""),
        ("/large", fail(Reason::HttpBodyTooLarge), headed, "1000 allowed", ""),
        ("/promised", fail(Reason::HttpBodyTooLarge), headed, "1001 bytes", ""),
    ] {
        let mut run = http3(site, path, &ours);
        run.timeout = ms(1_000);
        step(&mut run).redirects_max = 1;
        run.expect.extend((!expect.is_empty()).then(|| expect.to_owned()));
        let found = found(&run).await;
        assert_eq!(said(&found), finding, "{path}: {found:?}");
        assert_eq!(phases(&found), phases_of, "{path}: {found:?}");
        assert!(found.evidence.contains(evidence), "{path}: {found:?}");
        assert_eq!(found.remote, Some(site), "{path}");
    }
}

#[tokio::test]
async fn what_is_asked_over_http3_arrives_and_what_comes_is_decoded() {
    let ours = authority();
    let site = Site::new(&ours).start();
    // A body larger than the window that is open at first.
    let post = |path: &str, length: usize| {
        let mut run = http3(site, path, &ours);
        step(&mut run).method = "POST".to_owned();
        step(&mut run).body = "x".repeat(length);
        run
    };
    let mut run = post("/", 100_000);
    run.expect = vec!["body.startsWith('POST ') && body.contains('false 100000 ')".to_owned()];
    assert_eq!(said(&found(&run).await), PASS);
    // An answer that comes before the request was taken, and the rest of which nobody wants.
    let mut run = post("/early", 3_000_000);
    run.expect = vec!["body == 'enough'".to_owned()];
    assert_eq!(said(&found(&run).await), PASS);
    let mut run = http3(site, "/head", &ours);
    step(&mut run).method = "HEAD".to_owned();
    run.expect = vec!["headers['content-length'] == '9999' && body == ''".to_owned()];
    assert_eq!(said(&found(&run).await), PASS);
    let mut run = http3(site, "/packed", &ours);
    step(&mut run).accept_encoding = vec![ContentEncoding::Gzip];
    run.expect = vec!["json.packed".to_owned()];
    assert_eq!(said(&found(&run).await), PASS);
    // From an address of its own, and by the family that it asks for.
    let mut run = http3(site, "/", &ours);
    run.source_address = Some([127, 0, 7, 7].into());
    run.expect = vec!["body.endsWith(' 127.0.7.7')".to_owned()];
    assert_eq!(said(&found(&run).await), PASS);
    run.source_address = Some([192, 0, 2, 77].into());
    let finding = found(&run).await;
    assert_eq!(said(&finding), (Outcome::Missed, Some(Reason::ConfigError)), "{finding:?}");
    let mut run = http3(site, "/", &ours);
    run.ip = IpFamily::V6;
    run.steps[0].kind = match http(format!("https://[::1]:{}/", site.port())).steps.remove(0).kind {
        StepKind::Http(step) => StepKind::Http(HttpStep { version: HttpVersion::V3, ..step }),
        _ => unreachable!("an http step"),
    };
    assert_eq!(found(&run).await.reason, Some(Reason::ConnectRefused));
}

#[tokio::test]
async fn frames_that_are_none_have_their_reasons() {
    let ours = authority();
    let data = |text: &[u8]| [&[0x00, u8::try_from(text.len()).unwrap()], text].concat();
    let huge = [&[0x01, 0x67, 0x12, 0x00, 0x00], &[0xdd; 10_000][..]].concat();
    let (shaken, headed) = (&ALL[..2], &ALL[..3]);
    for (name, frames, then, finding, phases_of, evidence) in [
        (
            "interim answers",
            [EARLY_HINTS, EARLY_HINTS, OK_HEAD, &data(b"late")].concat(),
            Then::Ends,
            PASS,
            ALL,
            "",
        ),
        ("nothing", vec![], Then::Ends, fail(Reason::HttpTruncated), shaken, "without"),
        (
            "half a head",
            OK_HEAD[..4].to_vec(),
            Then::Ends,
            fail(Reason::HttpTruncated),
            shaken,
            "incomplete",
        ),
        (
            "a body without a head",
            data(b"early"),
            Then::Ends,
            fail(Reason::HttpMalformed),
            shaken,
            "H3_FRAME_UNEXPECTED",
        ),
        // It refers to a table that nobody has filled.
        (
            "a head that cannot be read",
            vec![0x01, 0x03, 0x05, 0x00, 0x80],
            Then::Ends,
            fail(Reason::HttpMalformed),
            shaken,
            "QPACK_DECOMPRESSION_FAILED",
        ),
        (
            "a head without a status",
            vec![0x01, 0x03, 0x00, 0x00, 0xdd],
            Then::Ends,
            fail(Reason::HttpMalformed),
            shaken,
            "H3_MESSAGE_ERROR",
        ),
        // Ten thousand lines of one byte each, which are many more once they are decoded.
        (
            "a huge head",
            huge,
            Then::Ends,
            fail(Reason::HttpMalformed),
            shaken,
            "its head has over 262144 bytes",
        ),
        // A gigabyte, as it says.
        (
            "an endless head",
            vec![0x01, 0xc0, 0, 0, 0, 0x40, 0, 0, 0],
            Then::Floods,
            fail(Reason::HttpMalformed),
            shaken,
            "over 1050576 bytes came",
        ),
        (
            "a head that stops",
            OK_HEAD[..2].to_vec(),
            Then::Waits,
            fail(Reason::Timeout),
            shaken,
            "",
        ),
        (
            "a body that stops",
            [OK_HEAD, &[0x00, 0x20, b'x']].concat(),
            Then::Waits,
            fail(Reason::Timeout),
            headed,
            "",
        ),
    ] {
        let site = Site { frames: Some((frames, then)), ..Site::new(&ours) }.start();
        let mut run = http3(site, "/", &ours);
        run.timeout = ms(1_500);
        let found = found(&run).await;
        assert_eq!(said(&found), finding, "{name}: {found:?}");
        assert_eq!(phases(&found), phases_of, "{name}: {found:?}");
        assert!(found.evidence.contains(evidence), "{name}: {found:?}");
    }
}

#[tokio::test]
async fn certificates_over_quic_are_judged_each_by_its_own_reason() {
    let (ours, other) = (authority(), authority());
    let site = |signed_by: &Authority, name: &str, years: (i32, i32)| {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_before = date_time_ymd(years.0, 1, 1);
        params.not_after = date_time_ymd(years.1, 1, 1);
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &signed_by.issuer).unwrap().der().clone();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(TLS13)
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert], key)
            .unwrap();
        tls.alpn_protocols = vec![b"h3".to_vec()];
        Site { tls, ..Site::new(&ours) }.start()
    };
    for (signed_by, name, years, finding) in [
        (&ours, "127.0.0.1", (2020, 2090), PASS),
        (&ours, "127.0.0.1", (2010, 2020), fail(Reason::TlsExpired)),
        (&ours, "127.0.0.1", (2080, 2090), fail(Reason::TlsNotYetValid)),
        (&ours, "shop.example", (2020, 2090), fail(Reason::TlsNameMismatch)),
        (&other, "127.0.0.1", (2020, 2090), fail(Reason::TlsUntrusted)),
    ] {
        let address = site(signed_by, name, years);
        let mut run = http3(address, "/", &ours);
        let judged = found(&run).await;
        assert_eq!(said(&judged), finding, "{judged:?}");
        let phases_of = if finding == PASS { ALL } else { &ALL[..1] };
        assert_eq!(phases(&judged), phases_of, "{judged:?}");
        assert_eq!(judged.expiry, ends(years.1), "{judged:?}");
        // Unverified, each of them answers, and its days are known.
        step(&mut run).tls.insecure = true;
        run.expect = vec![match years.1 {
            2020 => "cert.days_left < 0".to_owned(),
            _ => format!("cert.days_left > 0 && '{name}' in cert.names && status == 200"),
        }];
        let unjudged = found(&run).await;
        assert_eq!(said(&unjudged), PASS, "{unjudged:?}");
    }
    // Another name may be asked for, and older versions may be allowed: there are none.
    let mut run = http3(site(&ours, "shop.example", (2020, 2090)), "/", &ours);
    step(&mut run).tls.server_name = Some("shop.example".into());
    for oldest in [None, Some(TlsVersion::V12), Some(TlsVersion::V13)] {
        step(&mut run).tls.min_version = oldest;
        assert_eq!(said(&found(&run).await), PASS, "{oldest:?}");
    }
    // The system's authorities do not know ours.
    step(&mut run).tls.ca_pem = None;
    assert_eq!(found(&run).await.reason, Some(Reason::TlsUntrusted));
}

#[tokio::test]
async fn a_client_certificate_is_shown_over_quic_and_missed_where_there_is_none() {
    let ours = authority();
    let mut tls = Arc::unwrap_or_clone(tls_server(&ours, TLS13, true));
    tls.alpn_protocols = vec![b"h3".to_vec()];
    let site = Site { tls, ..Site::new(&ours) }.start();
    let mut run = http3(site, "/", &ours);
    // The server judges it after the client's handshake has ended.
    let finding = found(&run).await;
    assert_eq!(said(&finding), fail(Reason::TlsHandshake), "{finding:?}");
    assert_eq!(phases(&finding), ALL[..2], "{finding:?}");
    assert!(finding.evidence.contains("CertificateRequired"), "{finding:?}");
    let dir = tempfile::tempdir().unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["probe".to_owned()]).unwrap();
    let cert = params.signed_by(&key, &ours.issuer).unwrap().pem();
    let write = |name: &str, text: String| {
        std::fs::write(dir.path().join(name), text).unwrap();
        format!("${{file:{}/{name}}}", dir.path().display())
    };
    let (cert, key) = (write("cert", cert), write("key", key.serialize_pem()));
    step(&mut run).tls.client = Some(ClientCertificate { cert, key });
    let executor = Executor::new(Secrets::new(vec![], vec![dir.path().to_owned()]), None, None);
    let finding = executor.run(&run).await.finding;
    assert_eq!(said(&finding), PASS, "{finding:?}");
}

/// A socket that answers each datagram with what `answer` makes of it, and then perhaps goes.
fn datagrams(mut answer: impl FnMut(&[u8]) -> Option<Vec<u8>> + Send + 'static) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    thread::spawn(move || {
        let mut packet = [0; 2_000];
        while let Ok((length, from)) = socket.recv_from(&mut packet) {
            match answer(&packet[..length]) {
                Some(answer) if !answer.is_empty() => {
                    socket.send_to(&answer, from).unwrap();
                }
                Some(_) => {}
                None => return,
            }
        }
    });
    address
}

/// A way to a server that passes on so many datagrams of it, and then is gone with all it says.
fn relay(to: SocketAddr, most: usize) -> SocketAddr {
    let near = UdpSocket::bind("127.0.0.1:0").unwrap();
    let far = UdpSocket::bind("127.0.0.1:0").unwrap();
    far.connect(to).unwrap();
    let address = near.local_addr().unwrap();
    thread::spawn(move || {
        let (mut packet, mut client, mut passed) = ([0; 2_000], None, 0);
        for socket in [&near, &far] {
            socket.set_nonblocking(true).unwrap();
        }
        while passed < most {
            if let Ok((length, from)) = near.recv_from(&mut packet) {
                client = Some(from);
                let _ = far.send(&packet[..length]);
            }
            if let Ok(length) = far.recv(&mut packet) {
                near.send_to(&packet[..length], client.unwrap()).unwrap();
                passed += 1;
            }
            thread::sleep(ms(1));
        }
    });
    address
}

#[tokio::test]
async fn quic_connections_that_do_not_come_about_have_their_reasons() {
    let ours = authority();
    let site = || Site::new(&ours);
    let nobody_there = Nobody::new();
    let gone = nobody_there.at;
    let speaks = |protocol: &[u8]| {
        let mut site = site();
        site.tls.alpn_protocols = vec![protocol.to_vec()];
        site.start()
    };
    // It answers that it knows another version only (RFC 9000, 17.2.1).
    let other_version = datagrams(|packet| {
        let target = usize::from(packet[5]);
        let source = usize::from(packet[6 + target]);
        let (ours, theirs) = (&packet[6..6 + target], &packet[7 + target..7 + target + source]);
        let (to, from) = (u8::try_from(source).unwrap(), u8::try_from(target).unwrap());
        Some([&[0x80, 0, 0, 0, 0, to], theirs, &[from], ours, &[0x1a, 0x2a, 0x3a, 0x4a]].concat())
    });
    let (nothing, connected, shaken) = (&ALL[..0], &ALL[..1], &ALL[..2]);
    for (name, address, finding, phases_of, evidence) in [
        ("nobody listens", gone, fail(Reason::ConnectRefused), nothing, "connection refused"),
        (
            "silence",
            datagrams(|_| Some(vec![])),
            fail(Reason::ConnectTimeout),
            nothing,
            "no end within 700 ms",
        ),
        (
            "noise",
            datagrams(|_| Some(b"SSH-2.0-dropbear".to_vec())),
            fail(Reason::TlsTimeout),
            connected,
            "no end within 700 ms",
        ),
        ("another version", other_version, fail(Reason::HttpVersion), connected, "QUIC"),
        ("HTTP/2 only", speaks(b"h2"), fail(Reason::HttpVersion), connected, "no version of HTTP"),
        (
            "no protocol",
            {
                let mut site = site();
                site.tls.alpn_protocols.clear();
                site.start()
            },
            fail(Reason::HttpVersion),
            connected,
            "no version of HTTP",
        ),
        (
            "no connection is taken",
            Site { refuses: true, ..site() }.start(),
            fail(Reason::ConnectRefused),
            connected,
            "takes no QUIC",
        ),
        // The first of its datagrams comes, and the answer to it finds nobody.
        (
            "gone in the handshake",
            relay(Site::of_many_names(&ours).start(), 1),
            fail(Reason::TlsHandshake),
            connected,
            "refused",
        ),
    ] {
        let mut run = http3(address, "/", &ours);
        run.timeout = ms(700);
        if name == "gone in the handshake" {
            // What was lost is sent again after a second.
            run.timeout = ms(4_000);
        }
        let found = found(&run).await;
        assert_eq!(said(&found), finding, "{name}: {found:?}");
        assert_eq!(phases(&found), phases_of, "{name}: {found:?}");
        assert!(found.evidence.contains(evidence), "{name}: {found:?}");
        assert_eq!(found.remote, Some(address), "{name}");
    }
    // A server that lets nobody be idle, and one whose machine goes while an answer is awaited.
    let impatient = Site { idle: ms(150), ..site() }.start();
    let finding = found(&http3(impatient, "/hang", &ours)).await;
    assert_eq!(said(&finding), fail(Reason::Timeout), "{finding:?}");
    assert_eq!(phases(&finding), shaken, "{finding:?}");
    assert!(finding.evidence.contains("idle for longer"), "{finding:?}");
}

#[tokio::test]
async fn of_several_addresses_the_first_that_answers_is_spoken_with() {
    let ours = authority();
    let site = Site { address: [127, 0, 0, 2], ..Site::new(&ours) }.start();
    // It takes what comes and says nothing.
    let _silent = UdpSocket::bind(("127.0.0.1", site.port())).unwrap();
    let names = NameServer::start();
    names.say("A=127.0.0.1 A=127.0.0.2");
    let mut run = http3(site, "/", &ours);
    step(&mut run).url = format!("https://shop.example:{}/", site.port());
    step(&mut run).tls.server_name = Some("127.0.0.1".into());
    run.resolver = Some(names.address);
    run.ip = IpFamily::V4;
    run.expect = vec!["ip == '127.0.0.2' && body.contains('https://shop.example')".to_owned()];
    let finding = found(&run).await;
    assert_eq!(said(&finding), PASS, "{finding:?}");
    let phases_of: Vec<Phase> = [&[Phase::Dns], ALL].concat();
    assert_eq!(phases(&finding), phases_of, "{finding:?}");
}

/// Whatever was sent to a socket of ours.
fn caught(socket: &UdpSocket) -> usize {
    socket.set_nonblocking(true).unwrap();
    std::iter::from_fn(|| socket.recv_from(&mut [0; 2_000]).ok()).count()
}

#[tokio::test]
async fn no_datagram_leaves_for_an_address_that_the_guard_denies() {
    use crate::core::guard::Guard;
    let ours = authority();
    let site = Site::new(&ours).start();
    let trap = UdpSocket::bind("127.66.0.1:0").unwrap();
    let denied = trap.local_addr().unwrap();
    let guard = Guard::new(&[], &["127.66.0.0/16".parse().unwrap()]).unwrap();
    let executor = executor().guarded(guard);
    let finding = executor.run(&http3(denied, "/", &ours)).await.finding;
    assert_eq!(said(&finding), (Outcome::Missed, Some(Reason::AddressDenied)), "{finding:?}");
    let mut run = http3(site, &format!("/away?https://{denied}/"), &ours);
    step(&mut run).redirects_max = 1;
    let finding = executor.run(&run).await.finding;
    assert_eq!(said(&finding), fail(Reason::HttpRedirectDenied), "{finding:?}");
    assert_eq!(caught(&trap), 0);
    // Without the guard the trap is sprung.
    let finding = found(&http3(denied, "/", &ours)).await;
    assert_eq!(finding.reason, Some(Reason::ConnectTimeout), "{finding:?}");
    assert!(caught(&trap) > 0);
}

#[tokio::test]
async fn redirects_keep_the_version_and_never_lead_to_what_is_not_encrypted() {
    let ours = authority();
    let (one, other) = (Site::new(&ours).start(), Site::new(&ours).start());
    let away = |to: String| {
        let mut run = http3(one, &format!("/away?{to}"), &ours);
        step(&mut run).redirects_max = 2;
        run
    };
    let mut run = away(format!("https://{other}/there"));
    run.expect =
        vec![format!("http_version == 'HTTP/3' && redirects.url == 'https://{other}/there'")];
    let finding = found(&run).await;
    assert_eq!(said(&finding), PASS, "{finding:?}");
    assert_eq!(phases(&finding), ALL);
    let finding = found(&away(format!("http://{other}/"))).await;
    assert_eq!(said(&finding), fail(Reason::HttpRedirectDowngrade), "{finding:?}");
    // The same version there, too: one that speaks TCP alone is not found.
    let plain = https(&ours, "127.0.0.1", (2020, 2090));
    let finding = found(&away(format!("https://{plain}/"))).await;
    assert_eq!(said(&finding), fail(Reason::ConnectRefused), "{finding:?}");
    // From what is not encrypted, over HTTP/1.1, to what is.
    let first = server(move |mut stream| {
        request(&mut stream);
        let head =
            format!("HTTP/1.1 302 No\r\nlocation: https://{one}/\r\ncontent-length: 0\r\n\r\n");
        let _ = stream.write_all(head.as_bytes());
    });
    let mut run = http3(one, "/", &ours);
    step(&mut run).url = format!("http://{first}/");
    step(&mut run).redirects_max = 1;
    run.expect = vec!["http_version == 'HTTP/3' && redirects.count == 1".to_owned()];
    let finding = found(&run).await;
    assert_eq!(said(&finding), PASS, "{finding:?}");
}

/// Nobody runs anything of a run behind its end.
#[tokio::test]
async fn a_run_leaves_no_task_behind_and_says_goodbye() {
    let ours = authority();
    let (ended, ends): (_, Receiver<String>) = channel();
    let mut tls = Arc::unwrap_or_clone(tls_server(&ours, TLS13, false));
    tls.alpn_protocols = vec![b"h3".to_vec()];
    let (started, address) = channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let tls = quinn::crypto::rustls::QuicServerConfig::try_from(tls).unwrap();
            let config = ServerConfig::with_crypto(Arc::new(tls));
            let endpoint = Endpoint::server(config, ([127, 0, 0, 1], 0).into()).unwrap();
            started.send(endpoint.local_addr().unwrap()).unwrap();
            while let Some(incoming) = endpoint.accept().await {
                let connection = incoming.await.unwrap();
                by_hand(connection.clone(), OK_HEAD, Then::Ends).await;
                ended.send(connection.closed().await.to_string()).unwrap();
            }
        });
    });
    let site = address.recv().unwrap();
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    let finding = found(&http3(site, "/", &ours)).await;
    assert_eq!(said(&finding), PASS, "{finding:?}");
    assert_eq!(tasks(), before);
    let why = ends.recv_timeout(Duration::from_secs(10)).unwrap();
    assert!(why.contains("closed by peer: 256"), "{why}");
}
