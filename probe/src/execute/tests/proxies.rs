//! The behaviour table of proxies: each against a small real one, with the reason, the step and the
//! phases that come of it.

use std::sync::mpsc::{Receiver, channel};

use parallax_common::check::{Proxy, ProxyCredentials, ProxyScheme};

use super::guard::NameServer;
use super::*;

/// What a proxy does with a connection.
#[derive(Clone, Copy)]
enum Does {
    /// Connects to whatever it is asked for.
    Works,
    /// Reads what is said first, answers with this, and closes.
    Says(&'static [u8]),
    /// Speaks SOCKS up to the reply, and this is the reply.
    Replies(&'static [u8]),
    /// Wants a login by SOCKS, and gives this status to it.
    LogsIn(u8),
    Closes,
    Resets,
    Hangs,
}

/// Both directions, until both have ended.
pub(super) fn relay(near: TcpStream, far: TcpStream) {
    let copy = |mut from: TcpStream, mut to: TcpStream| {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(std::net::Shutdown::Write);
    };
    let back = (far.try_clone().unwrap(), near.try_clone().unwrap());
    let thread = thread::spawn(move || copy(back.0, back.1));
    copy(near, far);
    thread.join().unwrap();
}

fn bytes(stream: &mut TcpStream, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    match stream.read_exact(&mut bytes) {
        Ok(()) => bytes,
        Err(_) => vec![0; count],
    }
}

/// The target of a SOCKS request, as text; the request is read to its end.
fn socks_target(stream: &mut TcpStream) -> String {
    let head = bytes(stream, 4);
    let host = match head[3] {
        1 => IpAddr::from(<[u8; 4]>::try_from(bytes(stream, 4)).unwrap()).to_string(),
        4 => {
            let six = IpAddr::from(<[u8; 16]>::try_from(bytes(stream, 16)).unwrap());
            format!("[{six}]")
        }
        _ => {
            let length = bytes(stream, 1)[0].into();
            String::from_utf8(bytes(stream, length)).unwrap()
        }
    };
    let port = bytes(stream, 2);
    format!("{host}:{}", u16::from_be_bytes([port[0], port[1]]))
}

/// A proxy that tells what it was asked for. Names lead to this machine.
fn proxy(scheme: ProxyScheme, does: Does) -> (SocketAddr, Receiver<String>) {
    let (seen, asked) = channel();
    let address = server(move |mut stream| {
        match does {
            Does::Closes => return drop(request_of(scheme, &mut stream)),
            Does::Resets => {
                request_of(scheme, &mut stream);
                return reset(stream);
            }
            Does::Hangs => return hang(stream),
            _ => {}
        }
        let head = request_of(scheme, &mut stream);
        if let Does::Says(answer) = does {
            let _ = seen.send(head);
            let _ = stream.write_all(answer);
            return;
        }
        let target = match scheme {
            ProxyScheme::Http => {
                let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
                let _ = seen.send(head);
                target
            }
            ProxyScheme::Socks5 | ProxyScheme::Socks5h => {
                let login = matches!(does, Does::LogsIn(_));
                stream.write_all(&[5, if login { 2 } else { 0 }]).unwrap();
                if let Does::LogsIn(status) = does {
                    let length = bytes(&mut stream, 2)[1].into();
                    let user = bytes(&mut stream, length);
                    let length = bytes(&mut stream, 1)[0].into();
                    let password = bytes(&mut stream, length);
                    let _ = seen.send(String::from_utf8([user, password].join(&b':')).unwrap());
                    stream.write_all(&[1, status]).unwrap();
                    if status != 0 {
                        return;
                    }
                }
                let target = socks_target(&mut stream);
                let _ = seen.send(target.clone());
                if let Does::Replies(reply) = does {
                    let _ = stream.write_all(reply);
                    return;
                }
                target
            }
        };
        let port = target.rsplit(':').next().unwrap().to_owned();
        let target = target.replace(&format!("shop.example.:{port}"), &format!("127.0.0.1:{port}"));
        let Ok(far) = TcpStream::connect(&target) else {
            let refusal: &[u8] = match scheme {
                ProxyScheme::Http => b"HTTP/1.1 502 Bad Gateway\r\n\r\n",
                _ => &[5, 5, 0, 1, 0, 0, 0, 0, 0, 0],
            };
            let _ = stream.write_all(refusal);
            return;
        };
        let open: &[u8] = match scheme {
            ProxyScheme::Http => b"HTTP/1.1 200 Connection established\r\nvia: 1.1 x\r\n\r\n",
            _ => &[5, 0, 0, 3, 2, b'g', b'w', 0, 80],
        };
        stream.write_all(open).unwrap();
        relay(stream, far);
    });
    (address, asked)
}

/// What a client says first.
fn request_of(scheme: ProxyScheme, stream: &mut TcpStream) -> String {
    match scheme {
        ProxyScheme::Http => request(stream),
        _ => format!("{:?}", bytes(stream, 3)),
    }
}

fn through(mut run: Run, scheme: ProxyScheme, proxy: SocketAddr) -> Run {
    let host = proxy.ip().to_string();
    step(&mut run).proxy = Some(Proxy { scheme, host, port: proxy.port(), credentials: None });
    run
}

fn with_login(run: &mut Run, username: &str, password: &str) {
    let (username, password) = (username.to_owned(), password.to_owned());
    step(run).proxy.as_mut().unwrap().credentials = Some(ProxyCredentials { username, password });
}

fn next(asked: &Receiver<String>) -> String {
    asked.recv_timeout(Duration::from_secs(20)).expect("a connection to the proxy")
}

use ProxyScheme::{Http, Socks5, Socks5h};

#[tokio::test]
async fn a_target_behind_a_proxy_is_reached_with_all_phases() {
    let target = answering(OK);
    for scheme in [Http, Socks5, Socks5h] {
        let (proxy, asked) = proxy(scheme, Does::Works);
        let mut run = through(plain_http(target), scheme, proxy);
        run.expect = vec!["json.a == 1 && ip == '127.0.0.1' && status == 200".to_owned()];
        let finding = found(&run).await;
        assert_eq!(finding.outcome, Outcome::Pass, "{scheme}: {finding:?}");
        assert_eq!(phases(&finding), [Phase::Connect, Phase::FirstByte, Phase::Transfer]);
        assert_eq!(finding.remote, Some(proxy), "who answered the connect");
        assert!(next(&asked).contains(&target.to_string()), "{scheme}");
    }
    let ours = authority();
    let target = https(&ours, "127.0.0.1", (2020, 2090));
    let (proxy, _asked) = proxy(Http, Does::Works);
    let mut run = through(http(format!("https://{target}/")), Http, proxy);
    step(&mut run).tls.ca_pem = Some(ours.pem.clone());
    let finding = found(&run).await;
    assert_eq!(finding.outcome, Outcome::Pass, "{finding:?}");
    let all = [Phase::Connect, Phase::Tls, Phase::FirstByte, Phase::Transfer];
    assert_eq!(phases(&finding), all);
    // What is wrong behind the proxy has the reason that it has without one.
    step(&mut run).tls.ca_pem = Some(authority().pem);
    assert_eq!(found(&run).await.reason, Some(Reason::TlsUntrusted));
}

#[tokio::test]
async fn each_way_in_which_a_proxy_fails_has_its_reason() {
    let nobody_there = Nobody::new();
    let refused = nobody_there.at;
    let connect = &[Phase::Connect][..];
    // (scheme, what it does, reason, in the evidence)
    for (scheme, does, reason, evidence) in [
        (Http, Does::Says(b"HTTP/1.1 407 Who\r\n\r\n"), Reason::ProxyAuth, "status 407"),
        (Http, Does::Says(b"HTTP/1.1 403 No\r\n\r\n"), Reason::ProxyRefused, "status 403"),
        (Http, Does::Says(b"HTTP/1.1 503 None\r\n\r\n"), Reason::ProxyUnreachable, "status 503"),
        (Http, Does::Says(b"SSH-2.0-x\r\n"), Reason::ProxyMalformed, "not HTTP"),
        (Http, Does::Says(b"HTTP/1.1 200 OK\r\n"), Reason::ProxyMalformed, "closed"),
        (Http, Does::Works, Reason::ProxyUnreachable, "status 502"),
        (Http, Does::Closes, Reason::ProxyMalformed, "closed"),
        (Http, Does::Resets, Reason::ProxyMalformed, "reset"),
        (Http, Does::Hangs, Reason::ConnectTimeout, "did not open the way"),
        (Socks5, Does::Says(&[5, 0xff]), Reason::ProxyAuth, "wants a login"),
        (Socks5, Does::Says(b"HTTP/1.1 400 x"), Reason::ProxyMalformed, "SOCKS 5"),
        (Socks5, Does::Replies(&[5, 2, 0, 1]), Reason::ProxyRefused, "reply 2: not allowed"),
        (Socks5h, Does::Replies(&[5, 4, 0, 1]), Reason::ProxyUnreachable, "host unreachable"),
        (Socks5, Does::Works, Reason::ProxyUnreachable, "reply 5: connection refused"),
        (Socks5, Does::Closes, Reason::ProxyMalformed, "closed"),
        (Socks5h, Does::Hangs, Reason::ConnectTimeout, "did not open the way"),
    ] {
        let (address, _asked) = proxy(scheme, does);
        let mut run = through(plain_http(refused), scheme, address);
        if matches!(does, Does::Hangs) {
            run.timeout = ms(300);
        }
        let finding = found(&run).await;
        let said = (finding.outcome, finding.reason);
        assert_eq!(said, (Outcome::Fail, Some(reason)), "{evidence}: {finding:?}");
        assert!(finding.evidence.contains(evidence), "{evidence}: {finding:?}");
        assert!(finding.evidence.contains(&address.to_string()), "{finding:?}");
        assert_eq!((phases(&finding).as_slice(), finding.step), (connect, 0), "{finding:?}");
        // Only who looked for the target can have found that it does not answer.
        run.invert = true;
        let outcome = match reason {
            Reason::ProxyAuth | Reason::ProxyMalformed => Outcome::Fail,
            _ => Outcome::Pass,
        };
        assert_eq!(found(&run).await.outcome, outcome, "{evidence}");
    }
    // A proxy that is not there is told from a target that is not.
    let mut run = through(plain_http(answering(OK)), Http, refused);
    for invert in [false, true] {
        run.invert = invert;
        let finding = found(&run).await;
        assert_eq!(finding.reason, Some(Reason::ConnectRefused));
        assert!(finding.evidence.starts_with("the proxy: connect to "), "{finding:?}");
    }
}

#[tokio::test]
async fn who_looks_a_name_up_is_a_matter_of_the_scheme() {
    let target = answering(OK);
    let names = dns(Some(0), Some([127, 0, 0, 1]));
    let unknown = dns(Some(3), None);
    for (scheme, resolver, asked_for, reason) in [
        (Http, unknown, "shop.example.", None),
        (Socks5h, unknown, "shop.example.", None),
        (Socks5, names, "127.0.0.1", None),
        (Socks5, unknown, "", Some(Reason::DnsNxdomain)),
    ] {
        let (proxy, asked) = proxy(scheme, Does::Works);
        let url = format!("http://shop.example.:{}/", target.port());
        let mut run = through(http(url), scheme, proxy);
        run.resolver = Some(resolver);
        let finding = found(&run).await;
        assert_eq!(finding.reason, reason, "{scheme}: {finding:?}");
        match reason {
            Some(_) => assert!(asked.try_recv().is_err(), "{scheme}"),
            None => assert!(next(&asked).contains(asked_for), "{scheme}"),
        }
        assert_eq!(phases(&finding).contains(&Phase::Dns), scheme == Socks5, "{finding:?}");
    }
}

#[tokio::test]
async fn the_next_address_is_asked_for_when_the_proxy_cannot_reach_one() {
    let names = NameServer::start();
    let target = answering(OK);
    names.say("A=127.0.0.9 A=127.0.0.1");
    let (address, asked) = proxy(Socks5, Does::Works);
    let mut run = through(http(format!("http://two.example:{}/", target.port())), Socks5, address);
    run.resolver = Some(names.address);
    run.ip = IpFamily::V4;
    let finding = found(&run).await;
    assert_eq!(finding.outcome, Outcome::Pass, "{finding:?}");
    let mut targets = vec![next(&asked)];
    targets.extend(asked.try_iter());
    // Which of them comes first is the resolver's order.
    assert!(targets.last().unwrap().starts_with("127.0.0.1:"), "{targets:?}");
    // A refusal by rule is one for all of them.
    let (address, asked) = proxy(Socks5, Does::Replies(&[5, 2, 0, 1]));
    step(&mut run).proxy.as_mut().unwrap().port = address.port();
    assert_eq!(found(&run).await.reason, Some(Reason::ProxyRefused));
    assert_eq!(asked.try_iter().count(), 1);
}

#[tokio::test]
async fn every_hop_goes_through_the_proxy_and_the_login_is_for_the_proxy_alone() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("pw"), "hunter22").unwrap();
    let reference = format!("${{file:{}/pw}}", dir.path().display());
    let executor = || {
        let secrets = Secrets::new(vec![], vec![dir.path().to_owned()]);
        Executor::new(secrets, None, None)
    };
    let (seen, requests) = channel();
    let target = server(move |mut stream| {
        let head = request(&mut stream);
        let first = head.starts_with("GET / ");
        let _ = seen.send(head);
        let _ = match first {
            true => {
                stream.write_all(b"HTTP/1.1 302 X\r\nlocation: /b\r\ncontent-length: 0\r\n\r\n")
            }
            false => stream.write_all(OK),
        };
    });
    let (address, asked) = proxy(Http, Does::Works);
    let mut run = through(http(format!("http://{target}/")), Http, address);
    with_login(&mut run, "me", &reference);
    step(&mut run).redirects_max = 3;
    // Written into the evidence by its name.
    run.expect = vec!["body == 'hunter22 bWU6aHVudGVyMjI='".to_owned()];
    let finding = executor().run(&run).await.finding;
    assert_eq!(finding.reason, Some(Reason::ExpectationFailed), "{finding:?}");
    assert!(finding.evidence.contains("*** ***"), "{finding:?}");
    for _ in 0..2 {
        let head = next(&asked);
        assert!(head.starts_with(&format!("CONNECT {target} HTTP/1.1\r\n")), "{head}");
        assert!(head.contains("\r\nproxy-authorization: Basic bWU6aHVudGVyMjI=\r\n"), "{head}");
        let head = requests.recv_timeout(Duration::from_secs(20)).unwrap();
        assert!(!head.to_lowercase().contains("proxy-"), "{head}");
    }
    for (status, reason) in [(0, None), (1, Some(Reason::ProxyAuth))] {
        let (address, asked) = proxy(Socks5, Does::LogsIn(status));
        let mut run = through(plain_http(answering(OK)), Socks5, address);
        with_login(&mut run, "me", &reference);
        let finding = executor().run(&run).await.finding;
        assert_eq!(finding.reason, reason, "{finding:?}");
        assert_eq!(next(&asked), "me:hunter22");
        assert!(!finding.evidence.contains("hunter22"), "{finding:?}");
    }
    // What a reference cannot give, or no login can be, is a mistake of the check.
    for (username, password) in [("me", "${env:NOT_ALLOWED}"), (reference.as_str(), "")] {
        let mut run = through(plain_http(target), Socks5, address);
        with_login(&mut run, username, password);
        let finding = executor().run(&run).await.finding;
        assert_eq!(finding.reason, Some(Reason::ConfigError), "{finding:?}");
    }
}

/// A listener whose queue is full: the kernel drops further connects, as a firewall does.
#[tokio::test]
async fn a_proxy_that_swallows_packets_is_named_in_the_evidence() {
    let full = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    full.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    full.listen(0).unwrap();
    let address = full.local_addr().unwrap().as_socket().unwrap();
    let mut queued = vec![];
    while let Ok(stream) = TcpStream::connect_timeout(&address, ms(300)) {
        queued.push(stream);
        assert!(queued.len() < 100);
    }
    let mut run = through(plain_http(server(drop)), ProxyScheme::Http, address);
    run.timeout = ms(200);
    let finding = found(&run).await;
    assert_eq!(finding.reason, Some(Reason::ConnectTimeout), "{finding:?}");
    assert_eq!(finding.evidence, "the proxy: no end within 200 ms");
    assert_eq!(finding.remote, Some(address));
}
