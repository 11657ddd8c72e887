//! The examples of `docs/checks/dns.md`, asked of a small name server that knows the zone of the page.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;

use parallax_common::check::{Check, DnsTransport, StepKind};
use parallax_common::outcome::Outcome;
use parallax_probe::execute::Executor;
use parallax_probe::execute::secrets::Secrets;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::{examples, judged};

/// The records of the page: name, type, data.
fn zone() -> Vec<(&'static str, u16, Vec<u8>)> {
    let numbers = [7_u32, 3_600, 600, 86_400, 60].map(u32::to_be_bytes).concat();
    let soa = [wire("ns1.shop.example"), wire("ops.shop.example"), numbers].concat();
    let v6 = [&[0x20, 1, 0x0d, 0xb8][..], &[0; 11], &[1]].concat();
    vec![
        ("shop.example", 1, vec![192, 0, 2, 1]),
        ("shop.example", 28, v6),
        ("shop.example", 6, soa),
        ("shop.example", 15, [&[0, 10][..], &wire("mail.shop.example")].concat()),
        ("shop.example", 16, b"\x0bv=spf1 -all".to_vec()),
        ("version.bind", 16, b"\x069.20.1".to_vec()),
        // Followed by what it leads to.
        ("www.shop.example", 5, wire("shop.example")),
    ]
}

fn wire(name: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for label in name.split('.') {
        out.push(u8::try_from(label.len()).unwrap());
        out.extend(label.bytes());
    }
    out.push(0);
    out
}

fn record(name: &str, of: u16, data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(data.len()).unwrap().to_be_bytes();
    [&wire(name), &of.to_be_bytes()[..], &[0, 1, 0, 0, 0, 60], &length, data].concat()
}

pub(super) fn answer(asked: &[u8]) -> Vec<u8> {
    const CNAME: u16 = 5;
    let end = 12 + asked[12..].iter().position(|byte| *byte == 0).unwrap() + 1;
    let name = |of: &str| asked[12..end] == wire(of);
    let wanted = u16::from_be_bytes([asked[end], asked[end + 1]]);
    let zone = zone();
    let mut records = Vec::new();
    for (owner, of, data) in zone.iter().filter(|(owner, ..)| name(owner)) {
        if *of == wanted || *of == CNAME {
            records.push(record(owner, *of, data));
        }
        if *of == CNAME {
            let next =
                zone.iter().filter(|(owner, of, _)| *owner == "shop.example" && *of == wanted);
            records.extend(next.map(|(owner, of, data)| record(owner, *of, data)));
        }
    }
    let known = zone.iter().any(|(owner, ..)| name(owner));
    let authority = record("shop.example", 2, &wire("ns1.shop.example"));
    // An authority's answer, or that there is no such name.
    let flags = if known { [0x85, 0x80] } else { [0x85, 0x83] };
    let counts = [0, 1, 0, u8::try_from(records.len()).unwrap(), 0, 1, 0, 0];
    [&asked[..2], &flags, &counts, &asked[12..end + 4], &records.concat(), &authority].concat()
}

pub(super) fn serve() -> SocketAddr {
    let (socket, listener) = (0..100)
        .find_map(|_| {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            let listener = TcpListener::bind(socket.local_addr().unwrap()).ok()?;
            Some((socket, listener))
        })
        .expect("a port that is free for both");
    let at = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut packet = [0; 2_048];
        while let Ok((length, from)) = socket.recv_from(&mut packet) {
            socket.send_to(&answer(&packet[..length]), from).unwrap();
        }
    });
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            // Who leaves without a question gets no answer.
            let _ = reply(&mut stream);
        }
    });
    at
}

/// Answers one question of a connection.
fn reply(stream: &mut (impl Read + Write)) -> std::io::Result<()> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut asked = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut asked)?;
    let answer = answer(&asked);
    let length = u16::try_from(answer.len()).unwrap().to_be_bytes();
    stream.write_all(&[&length[..], &answer].concat())?;
    stream.flush()
}

/// The same over TLS.
fn serve_secure(config: Arc<ServerConfig>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let session = ServerConnection::new(Arc::clone(&config)).unwrap();
            // Who does not trust the server does not ask it.
            let _ = reply(&mut StreamOwned::new(session, stream));
        }
    });
    address
}

#[tokio::test]
async fn every_example_of_dns_does_what_the_page_says() {
    let server = serve();
    let mut examples = examples("docs/checks/dns.md");
    // What is asked over HTTPS is run by the probe's own tests.
    let over_https = |check: &Check| match &check.run.steps[0].kind {
        StepKind::Dns(step) => step.transport == DnsTransport::Https,
        _ => false,
    };
    let all = examples.len();
    examples.retain(|(_, check)| !over_https(check));
    assert!(examples.len() >= 13 && all == examples.len() + 1, "{} examples", examples.len());
    let (config, pem) = super::talk::config();
    let private = serve_secure(config);
    for (line, check) in examples {
        let mut run = check.run;
        let StepKind::Dns(step) = &mut run.steps[0].kind else { panic!("line {line}: a dns step") };
        // The page's servers are all this one.
        let is_private = step.transport == DnsTransport::Tls;
        if let Some(tls) = &mut step.tls {
            tls.server_name = Some("dns.shop.example".to_owned());
            tls.ca_pem = (!tls.insecure).then(|| pem.as_str().into());
        }
        match &mut step.server {
            Some(named) if is_private => {
                *named = (private.ip().to_string(), private.port());
            }
            Some(named) => *named = (server.ip().to_string(), server.port()),
            None => {
                assert!(run.resolver.is_some(), "line {line}: whom does it ask?");
                run.resolver = Some(server);
            }
        }
        let executor = Executor::new(Secrets::default(), None, None);
        let finding = judged(&executor, &run).await;
        assert_eq!(finding.outcome, Outcome::Pass, "{} (line {line}): {finding:?}", check.name);
        // Each of its expressions can fail: the contrary does.
        for expression in run.expect.iter().chain(&run.warn) {
            let mut contrary = run.clone();
            contrary.warn.clear();
            contrary.expect = vec!["rcode != ''".into(), format!("!({expression})")];
            let finding = judged(&executor, &contrary).await;
            assert_eq!(finding.outcome, Outcome::Fail, "{expression}: {finding:?}");
        }
    }
}
