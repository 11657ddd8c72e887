//! What a call of a gRPC health service can meet, by servers that are written here frame by frame.

use std::sync::Mutex;

use parallax_common::check::{ClientCertificate, GrpcStep};

use super::*;

/// What a server does with a call.
#[derive(Clone, Default)]
pub(super) struct Script {
    status: u16,
    head: Vec<(&'static str, String)>,
    body: Vec<u8>,
    trailers: Option<Vec<(&'static str, String)>>,
    end: End,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum End {
    #[default]
    Whole,
    Reset,
    Goodbye,
    Close,
    Hang,
}

/// The good answer, with this status of the service.
pub(super) fn says(serving: u8) -> Script {
    Script {
        status: 200,
        head: vec![("content-type", "application/grpc".into())],
        body: if serving == 0 { vec![0; 5] } else { vec![0, 0, 0, 0, 2, 8, serving] },
        trailers: Some(vec![("grpc-status", "0".into())]),
        end: End::Whole,
    }
}

/// A call that is refused at once: the status is in the head.
fn refuses(status: u32, message: &str) -> Script {
    let message = ("grpc-message", message.to_owned());
    let status = ("grpc-status", status.to_string());
    let kind = ("content-type", "application/grpc".to_owned());
    Script { status: 200, head: vec![kind, status, message], ..Script::default() }
}

/// Head and body of the calls that came.
pub(super) type Calls = Arc<Mutex<Vec<(::http::request::Parts, Vec<u8>)>>>;

/// A server that does this with each call, in the clear or over TLS.
pub(super) fn serve(script: Script, tls: Option<Arc<rustls::ServerConfig>>) -> (SocketAddr, Calls) {
    let calls = Calls::default();
    let told = Arc::clone(&calls);
    let address = server(move |stream| {
        let (script, told, tls) = (script.clone(), Arc::clone(&told), tls.clone());
        let mut open = stream.try_clone().unwrap();
        let serve = async move {
            stream.set_nonblocking(true).unwrap();
            let stream = tokio::net::TcpStream::from_std(stream).unwrap();
            match tls {
                None => session(stream, &script, &told).await,
                Some(config) => {
                    let acceptor = tokio_rustls::TlsAcceptor::from(config);
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    session(stream, &script, &told).await;
                }
            }
        };
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(serve);
        // Read to the end: a close with unread bytes would reset, and might overtake what was said.
        let _ = open.shutdown(std::net::Shutdown::Write);
        open.set_nonblocking(false).unwrap();
        let _ = open.read_to_end(&mut Vec::new());
    });
    (address, calls)
}

async fn session<S>(stream: S, script: &Script, calls: &Calls)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let Ok(mut session) = h2::server::handshake(stream).await else { return };
    while let Some(Ok((request, mut respond))) = session.accept().await {
        let (head, mut body) = request.into_parts();
        let mut sent = Vec::new();
        loop {
            tokio::select! {
                data = body.data() => match data {
                    Some(data) => sent.extend_from_slice(&data.unwrap()),
                    None => break,
                },
                _ = session.accept() => return,
            }
        }
        calls.lock().unwrap().push((head, sent));
        let mut response = ::http::Response::builder().status(script.status);
        for (name, value) in &script.head {
            response = response.header(*name, value);
        }
        let response = response.body(()).unwrap();
        match script.end {
            End::Reset => respond.send_reset(h2::Reason::REFUSED_STREAM),
            End::Goodbye => session.abrupt_shutdown(h2::Reason::ENHANCE_YOUR_CALM),
            End::Close => return,
            End::Hang => std::future::pending().await,
            End::Whole if script.body.is_empty() && script.trailers.is_none() => {
                respond.send_response(response, true).unwrap();
            }
            End::Whole => {
                let mut send = respond.send_response(response, false).unwrap();
                send.send_data(script.body.clone().into(), script.trailers.is_none()).unwrap();
                if let Some(trailers) = &script.trailers {
                    let pair = |(name, value): &(&'static str, String)| {
                        (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
                    };
                    send.send_trailers(trailers.iter().map(pair).collect()).unwrap();
                }
            }
        }
    }
}

pub(super) fn call(address: SocketAddr) -> Run {
    run_of(StepKind::Grpc(GrpcStep {
        host: address.ip().to_string(),
        port: address.port(),
        service: "shop.Cart".into(),
        tls: None,
        authority: None,
        metadata: vec![],
    }))
}

fn options(run: &mut Run) -> &mut GrpcStep {
    match &mut run.steps[0].kind {
        StepKind::Grpc(step) => step,
        _ => panic!("a grpc step"),
    }
}

#[tokio::test]
async fn each_answer_of_a_health_service_has_its_reason_and_phases() {
    let html = ("content-type", "text/html".to_owned());
    let with = |change: &dyn Fn(&mut Script)| {
        let mut script = says(1);
        change(&mut script);
        script
    };
    let answered = &[Phase::Connect, Phase::FirstByte, Phase::Transfer][..];
    let headed = &answered[..2];
    let connected = &answered[..1];
    for (what, script, reason, phases_of, evidence) in [
        ("serving", says(1), None, answered, ""),
        ("not serving", says(2), Some(Reason::GrpcNotServing), answered, "NOT_SERVING"),
        ("nothing said", says(0), Some(Reason::GrpcNotServing), answered, "is UNKNOWN"),
        ("unknown", says(3), Some(Reason::GrpcUnknownService), answered, "shop.Cart is not known"),
        (
            "not found",
            refuses(5, "no%20such"),
            Some(Reason::GrpcUnknownService),
            answered,
            "no such",
        ),
        ("no service", refuses(12, ""), Some(Reason::GrpcUnimplemented), answered, "(12)"),
        (
            "unavailable",
            refuses(14, "later"),
            Some(Reason::GrpcStatus),
            answered,
            "UNAVAILABLE (14)",
        ),
        (
            "a status in the trailers",
            with(&|s| s.trailers = Some(vec![("grpc-status", "7".into())])),
            Some(Reason::GrpcStatus),
            answered,
            "PERMISSION_DENIED (7)",
        ),
        (
            "no status",
            with(&|s| s.trailers = None),
            Some(Reason::GrpcMalformed),
            answered,
            "no grpc-status",
        ),
        (
            "a status that is none",
            with(&|s| s.trailers = Some(vec![("grpc-status", "good".into())])),
            Some(Reason::GrpcMalformed),
            answered,
            "no number",
        ),
        (
            "half a message",
            with(&|s| s.body.truncate(6)),
            Some(Reason::GrpcMalformed),
            answered,
            "cannot be read",
        ),
        (
            "too much",
            with(&|s| s.body = vec![0; 5_000]),
            Some(Reason::GrpcMalformed),
            headed,
            "over 4096 bytes",
        ),
        (
            "a page",
            Script { head: vec![html.clone()], trailers: None, ..says(1) },
            Some(Reason::GrpcMalformed),
            answered,
            "text/html",
        ),
        (
            "a proxy's page",
            Script {
                status: 503,
                head: vec![html],
                trailers: None,
                body: vec![b'a'; 5_000],
                ..says(1)
            },
            Some(Reason::HttpStatus),
            headed,
            "status 503",
        ),
        ("reset", with(&|s| s.end = End::Reset), Some(Reason::HttpReset), connected, "reset"),
        ("goodbye", with(&|s| s.end = End::Goodbye), Some(Reason::HttpGoaway), connected, "CALM"),
        ("closed", with(&|s| s.end = End::Close), Some(Reason::HttpTruncated), connected, ""),
    ] {
        let finding = found(&call(serve(script, None).0)).await;
        assert_eq!((finding.reason, finding.step), (reason, 0), "{what}: {finding:?}");
        let passed = finding.outcome == Outcome::Pass;
        assert_eq!(passed, reason.is_none(), "{what}: {finding:?}");
        assert_eq!(phases(&finding), phases_of, "{what}: {finding:?}");
        assert!(finding.evidence.contains(evidence), "{what}: {finding:?}");
    }
    let mut silent = call(serve(with(&|s| s.end = End::Hang), None).0);
    silent.timeout = ms(200);
    assert_eq!(found(&silent).await.reason, Some(Reason::Timeout));
    // What speaks no HTTP/2.
    let nobody_there = Nobody::new();
    let gone = nobody_there.at;
    let banner = |mut stream: TcpStream| {
        stream.write_all(b"220 mail.example ESMTP\r\n").unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
    };
    // It may be reset, or be gone for what is still to be sent, before it is read.
    let banner_and_gone = |mut stream: TcpStream| {
        stream.write_all(b"220 mail.example ESMTP\r\n").unwrap();
    };
    for (what, address, reason) in [
        ("http/1.1, gone at once", answering(OK), Reason::HttpMalformed),
        ("mail", server(banner), Reason::HttpMalformed),
        ("mail, gone at once", server(banner_and_gone), Reason::HttpMalformed),
        ("nobody", gone, Reason::ConnectRefused),
    ] {
        let finding = found(&call(address)).await;
        let gone = matches!(finding.reason, Some(Reason::HttpReset | Reason::HttpTruncated));
        let gone = gone && what.ends_with("gone at once");
        assert!(finding.reason == Some(reason) || gone, "{what}: {finding:?}");
    }
}

#[tokio::test]
async fn over_tls_http2_must_be_chosen_and_the_certificate_is_judged() {
    let (ours, other) = (authority(), authority());
    let config = |alpn: &[&[u8]]| {
        let config = http::tls_server(&ours, rustls::DEFAULT_VERSIONS, false);
        let mut config = Arc::unwrap_or_clone(config);
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        Some(Arc::new(config))
    };
    let shaken = &[Phase::Connect, Phase::Tls, Phase::FirstByte, Phase::Transfer][..];
    for (alpn, trusted, reason, phases_of) in [
        (&[&b"h2"[..]][..], &ours, None, shaken),
        (&[b"h2"], &other, Some(Reason::TlsUntrusted), &shaken[..1]),
        (&[b"http/1.1"], &ours, Some(Reason::HttpVersion), &shaken[..1]),
        (&[], &ours, Some(Reason::HttpVersion), &shaken[..2]),
    ] {
        let mut run = call(serve(says(1), config(alpn)).0);
        let tls = TlsOptions { ca_pem: Some(trusted.pem.clone()), ..TlsOptions::default() };
        options(&mut run).tls = Some(tls);
        run.expect = vec!["cert.days_left > 0 && tls_version == '1.3'".into()];
        let finding = found(&run).await;
        assert_eq!(finding.reason, reason, "{alpn:?}: {finding:?}");
        assert_eq!(phases(&finding), phases_of, "{alpn:?}: {finding:?}");
        // Who does not agree on a protocol has shown nothing that was looked at.
        let shaken_off = alpn == [&b"http/1.1"[..]];
        assert_eq!(finding.expiry.is_some(), !shaken_off, "{alpn:?}");
    }
    // In the clear to TLS, and the other way round.
    let finding = found(&call(serve(says(1), config(&[b"h2"])).0)).await;
    assert_eq!(finding.outcome, Outcome::Fail, "{finding:?}");
    let mut run = call(serve(says(1), None).0);
    options(&mut run).tls = Some(TlsOptions::default());
    assert_eq!(found(&run).await.reason, Some(Reason::TlsHandshake));
}

#[tokio::test]
async fn a_client_certificate_is_shown_to_who_asks() {
    let ours = authority();
    let mut config = Arc::unwrap_or_clone(http::tls_server(&ours, rustls::DEFAULT_VERSIONS, true));
    config.alpn_protocols = vec![b"h2".to_vec()];
    let (address, _) = serve(says(1), Some(Arc::new(config)));
    let dir = tempfile::tempdir().unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["probe".to_owned()]).unwrap();
    let cert = params.signed_by(&key, &ours.issuer).unwrap();
    let file = |name: &str, text: String| {
        std::fs::write(dir.path().join(name), text).unwrap();
        format!("${{file:{}}}", dir.path().join(name).display())
    };
    let client =
        ClientCertificate { cert: file("cert", cert.pem()), key: file("key", key.serialize_pem()) };
    let secrets = Secrets::new(vec![], vec![dir.path().to_owned()]);
    let executor = Executor::new(secrets, None, None);
    for (client, reason) in [(Some(client), None), (None, Some(Reason::TlsHandshake))] {
        let mut run = call(address);
        let ca_pem = Some(ours.pem.clone());
        options(&mut run).tls = Some(TlsOptions { ca_pem, client, ..TlsOptions::default() });
        let finding = executor.run(&run).await.finding;
        assert_eq!(finding.reason, reason, "{finding:?}");
    }
}

#[tokio::test]
async fn a_call_says_what_the_standard_wants_and_no_secret_is_told() {
    let (address, calls) = serve(refuses(16, "token s3cret is old"), None);
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("token"), "s3cret\n").unwrap();
    let secrets = Secrets::new(vec![], vec![dir.path().to_owned()]);
    let executor = Executor::new(secrets, None, None);
    let mut run = call(address);
    let token = format!("Bearer ${{file:{}}}", dir.path().join("token").display());
    options(&mut run).metadata =
        vec![("authorization".into(), token), ("x-region".into(), "a".into())];
    options(&mut run).authority = Some("cart.shop.example".into());
    let finding = executor.run(&run).await.finding;
    assert_eq!(finding.reason, Some(Reason::GrpcStatus), "{finding:?}");
    assert!(finding.evidence.contains("UNAUTHENTICATED (16): token *** is old"), "{finding:?}");
    let (head, body) = calls.lock().unwrap().pop().unwrap();
    assert_eq!(head.method, ::http::Method::POST);
    assert_eq!(head.uri.to_string(), "http://cart.shop.example/grpc.health.v1.Health/Check");
    let said = |name: &str| head.headers.get(name).map_or("", |value| value.to_str().unwrap());
    assert_eq!((said("te"), said("content-type")), ("trailers", "application/grpc"));
    assert_eq!((said("grpc-timeout"), said("x-region")), ("2000m", "a"));
    assert_eq!(said("authorization"), "Bearer s3cret");
    assert!(said("user-agent").starts_with("parallax-probe/"), "{head:?}");
    assert_eq!(body, b"\0\0\0\0\x0b\x0a\x09shop.Cart");
    // The server as a whole, by its address.
    (options(&mut run).service, options(&mut run).authority) = (String::new(), None);
    executor.run(&run).await;
    let (head, body) = calls.lock().unwrap().pop().unwrap();
    assert_eq!((head.uri.authority().unwrap().as_str(), body), (&*address.to_string(), vec![0; 5]));
    // What may not be looked up is the owner's to mend, and nothing is sent.
    options(&mut run).metadata = vec![("key".into(), "${env:HOME}".into())];
    let finding = executor.run(&run).await.finding;
    assert_eq!((finding.outcome, finding.reason), (Outcome::Missed, Some(Reason::ConfigError)));
    assert!(calls.lock().unwrap().is_empty());
}

#[tokio::test]
async fn expressions_see_the_answer_and_take_the_default_rules_place() {
    let pass = (Outcome::Pass, None);
    let failed = (Outcome::Fail, Some(Reason::ExpectationFailed));
    for (script, expect, wanted) in [
        (says(1), "serving == 'SERVING' && grpc_status == 0 && message == ''", pass),
        (says(2), "serving == 'NOT_SERVING'", pass),
        (says(2), "serving == 'SERVING'", failed),
        (says(2), "latency < duration('10s')", (Outcome::Fail, Some(Reason::GrpcNotServing))),
        (refuses(5, "gone"), "grpc_status == 5 && message == 'gone' && serving == ''", pass),
        (refuses(5, "gone"), "grpc_status == 0", failed),
        (says(1), "phases.first_byte <= phases.total && ip == '127.0.0.1'", pass),
    ] {
        let mut run = call(serve(script, None).0);
        run.expect = vec![expect.into()];
        let finding = found(&run).await;
        assert_eq!((finding.outcome, finding.reason), wanted, "{expect}: {finding:?}");
    }
}
