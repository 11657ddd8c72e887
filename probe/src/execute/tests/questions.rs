//! What a question can meet: each answer and each failure by a small name server, whose messages are
//! written here byte by byte.

use parallax_common::check::{DnsClass, DnsStep, DnsTransport, DnsType};
use parallax_common::limits::{DNS_IGNORED_MAX, DNS_UDP_BYTES_MAX};

use super::*;

/// Bytes of the question that was asked, without the header.
fn question(packet: &[u8]) -> &[u8] {
    let name = packet[12..].iter().position(|byte| *byte == 0).unwrap();
    &packet[12..12 + name + 5]
}

/// A name as it is written.
fn wire(name: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        out.push(u8::try_from(label.len()).unwrap());
        out.extend(label.bytes());
    }
    out.push(0);
    out
}

const A: u16 = 1;
const NS: u16 = 2;
const CNAME: u16 = 5;
const SOA: u16 = 6;
const PTR: u16 = 12;
const MX: u16 = 15;
const TXT: u16 = 16;
const SRV: u16 = 33;
const DS: u16 = 43;
const CAA: u16 = 257;

/// A record of the name that was asked about, or of another one.
fn record(of: Option<&str>, record_type: u16, data: &[u8]) -> Vec<u8> {
    let mut out = of.map_or(vec![0xc0, 12], wire);
    out.extend(record_type.to_be_bytes());
    out.extend([0, 1, 0, 0, 0, 60]);
    out.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
    out.extend(data);
    out
}

const CUT: u16 = 0x0200;
const RESPONSE: u16 = 0x8180;

/// An answer to a question, with these flags and codes and the records of three sections.
fn reply(asked: &[u8], flags: u16, sections: [&[Vec<u8>]; 3]) -> Vec<u8> {
    let mut out = asked[..2].to_vec();
    out.extend((RESPONSE | flags).to_be_bytes());
    out.extend([0, 1]);
    for section in sections {
        out.extend(u16::try_from(section.len()).unwrap().to_be_bytes());
    }
    out.extend(question(asked));
    out.extend(sections.concat().concat());
    out
}

pub(super) fn address(asked: &[u8]) -> Vec<u8> {
    reply(asked, 0, [&[record(None, A, &[192, 0, 2, 1])], &[], &[]])
}

fn code(asked: &[u8], code: u16) -> Vec<u8> {
    reply(asked, code, [&[], &[], &[]])
}

fn cut(asked: &[u8]) -> Vec<u8> {
    reply(asked, CUT, [&[], &[], &[]])
}

fn other_id(asked: &[u8]) -> Vec<u8> {
    let mut answer = address(asked);
    answer[0] ^= 0x55;
    answer
}

fn other_question(asked: &[u8]) -> Vec<u8> {
    let mut answer = address(asked);
    answer[13] ^= 1;
    answer
}

/// What happens to a connection.
pub(super) enum Tcp {
    /// These bytes behind their length, then the end.
    Message(Vec<u8>),
    /// These bytes as they are, then the end.
    Bytes(Vec<u8>),
    /// These bytes, and no end.
    Hang(Vec<u8>),
    Reset,
}

pub(super) type OverUdp = fn(&[u8]) -> Vec<Vec<u8>>;
pub(super) type OverTcp = fn(&[u8]) -> Tcp;

/// A name server with one port for both. Without `tcp` nobody listens there.
pub(super) fn name_server(udp: OverUdp, tcp: Option<OverTcp>) -> SocketAddr {
    let (socket, listener) = (0..100)
        .find_map(|_| {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            let listener = TcpListener::bind(socket.local_addr().unwrap()).ok()?;
            Some((socket, listener))
        })
        .expect("a port that is free for both");
    let at = socket.local_addr().unwrap();
    thread::spawn(move || {
        let mut packet = [0; 2_048];
        while let Ok((length, from)) = socket.recv_from(&mut packet) {
            for answer in udp(&packet[..length]) {
                socket.send_to(&answer, from).unwrap();
            }
        }
    });
    let Some(tcp) = tcp else { return at };
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut length = [0; 2];
                stream.read_exact(&mut length).unwrap();
                let mut asked = vec![0; u16::from_be_bytes(length).into()];
                stream.read_exact(&mut asked).unwrap();
                match tcp(&asked) {
                    Tcp::Message(answer) => {
                        let length = u16::try_from(answer.len()).unwrap().to_be_bytes();
                        let _ = stream.write_all(&[&length[..], &answer].concat());
                    }
                    Tcp::Bytes(bytes) => drop(stream.write_all(&bytes)),
                    Tcp::Hang(bytes) => {
                        let _ = stream.write_all(&bytes);
                        hang(stream);
                    }
                    Tcp::Reset => reset(stream),
                }
            });
        }
    });
    at
}

fn step_of(server: SocketAddr) -> DnsStep {
    DnsStep {
        name: "www.shop.example".into(),
        record_type: DnsType::A,
        class: DnsClass::In,
        server: Some((server.ip().to_string(), server.port())),
        transport: DnsTransport::Udp,
        recursion: true,
        tls: None,
        path: None,
    }
}

pub(super) fn ask(server: SocketAddr, change: impl FnOnce(&mut DnsStep)) -> Run {
    let mut step = step_of(server);
    change(&mut step);
    run_of(StepKind::Dns(step))
}

const NO_TCP: Option<OverTcp> = None;
use Phase::{Connect, FirstByte, Transfer};

/// What the server does, the transport, what is found: reason, phases, words of the evidence.
type Row = (
    &'static str,
    OverUdp,
    Option<OverTcp>,
    DnsTransport,
    Option<Reason>,
    &'static [Phase],
    &'static str,
);

const UDP: DnsTransport = DnsTransport::Udp;
const UDP_ONLY: DnsTransport = DnsTransport::UdpOnly;
const TCP: DnsTransport = DnsTransport::Tcp;

const ANSWERS: &[Row] = &[
    ("an address", |q| vec![address(q)], NO_TCP, UDP, None, &[FirstByte], ""),
    (
        "an alias and its address",
        |q| {
            let alias = record(None, CNAME, &wire("shop.example"));
            let address = record(Some("shop.example"), A, &[192, 0, 2, 1]);
            vec![reply(q, 0, [&[alias, address], &[], &[]])]
        },
        NO_TCP,
        UDP,
        None,
        &[FirstByte],
        "",
    ),
    (
        "an alias that leads nowhere",
        |q| vec![reply(q, 0, [&[record(None, CNAME, &wire("gone.example"))], &[], &[]])],
        NO_TCP,
        UDP,
        Some(Reason::DnsNoRecords),
        &[FirstByte],
        "no record of this type, 1 others",
    ),
    (
        "no records",
        |q| vec![code(q, 0)],
        NO_TCP,
        UDP,
        Some(Reason::DnsNoRecords),
        &[FirstByte],
        "www.shop.example A at 127.0.0.1",
    ),
    (
        "NXDOMAIN",
        |q| vec![code(q, 3)],
        NO_TCP,
        UDP,
        Some(Reason::DnsNxdomain),
        &[FirstByte],
        "NXDOMAIN",
    ),
    (
        "SERVFAIL",
        |q| vec![code(q, 2)],
        NO_TCP,
        UDP,
        Some(Reason::DnsServfail),
        &[FirstByte],
        "SERVFAIL",
    ),
    (
        "REFUSED",
        |q| vec![code(q, 5)],
        NO_TCP,
        UDP,
        Some(Reason::DnsRefused),
        &[FirstByte],
        "REFUSED",
    ),
    ("NOTAUTH", |q| vec![code(q, 9)], NO_TCP, UDP, Some(Reason::DnsRcode), &[FirstByte], "NOTAUTH"),
    (
        "FORMERR without the question",
        |q| vec![[&q[..2], &[0x81, 0x81, 0, 0, 0, 0, 0, 0, 0, 0]].concat()],
        NO_TCP,
        UDP,
        Some(Reason::DnsRcode),
        &[FirstByte],
        "FORMERR",
    ),
    ("silence", |_| vec![], NO_TCP, UDP, Some(Reason::DnsTimeout), &[], "no end within"),
    (
        "the id of another, then the answer",
        |q| vec![other_id(q), address(q)],
        NO_TCP,
        UDP,
        None,
        &[FirstByte],
        "",
    ),
    (
        "another question, then the answer",
        |q| vec![other_question(q), address(q)],
        NO_TCP,
        UDP,
        None,
        &[FirstByte],
        "",
    ),
    (
        "the id of another only",
        |q| vec![other_id(q), other_id(q)],
        NO_TCP,
        UDP,
        Some(Reason::DnsTimeout),
        &[],
        "2 datagrams were passed over, the last: its id",
    ),
    (
        "another question only",
        |q| vec![other_question(q)],
        NO_TCP,
        UDP,
        Some(Reason::DnsTimeout),
        &[],
        "it answers another question",
    ),
    (
        "no question at all",
        |q| vec![[&q[..2], &[0x81, 0x80, 0, 0, 0, 1, 0, 0, 0, 0]].concat()],
        NO_TCP,
        UDP,
        Some(Reason::DnsTimeout),
        &[],
        "does not say which question",
    ),
    (
        "the question itself",
        |q| vec![q.to_vec()],
        NO_TCP,
        UDP,
        Some(Reason::DnsTimeout),
        &[],
        "it is a question itself",
    ),
    (
        "something else",
        |_| vec![b"hello".to_vec()],
        NO_TCP,
        UDP,
        Some(Reason::DnsTimeout),
        &[],
        "too short for DNS",
    ),
    (
        "somebody who guesses",
        |q| vec![other_id(q); DNS_IGNORED_MAX as usize + 1],
        NO_TCP,
        UDP,
        Some(Reason::DnsMalformed),
        &[],
        "33 datagrams",
    ),
    (
        "records that end early",
        |q| vec![address(q)[..question(q).len() + 20].to_vec()],
        NO_TCP,
        UDP,
        Some(Reason::DnsMalformed),
        &[FirstByte],
        "cannot be read",
    ),
    (
        "a name that points to itself",
        |q| {
            let at = u8::try_from(12 + question(q).len()).unwrap();
            let loops = [&[0xc0, at][..], &record(None, A, &[192, 0, 2, 1])[2..]].concat();
            vec![reply(q, 0, [&[loops], &[], &[]])]
        },
        NO_TCP,
        UDP,
        Some(Reason::DnsMalformed),
        &[FirstByte],
        "cannot be read",
    ),
    (
        "an answer to an update",
        |q| vec![reply(q, 0x2800, [&[], &[], &[]])],
        NO_TCP,
        UDP,
        Some(Reason::DnsMalformed),
        &[FirstByte],
        "another operation",
    ),
    (
        "a datagram that is too long",
        |q| {
            let texts = vec![record(None, TXT, &[0; 200]); DNS_UDP_BYTES_MAX / 200];
            vec![reply(q, 0, [&texts, &[], &[]])]
        },
        NO_TCP,
        UDP,
        Some(Reason::DnsMalformed),
        &[FirstByte],
        "over 4096 bytes",
    ),
    (
        "cut, and whole over tcp",
        |q| vec![cut(q)],
        Some(|q| Tcp::Message(address(q))),
        UDP,
        None,
        &[FirstByte, Connect, Transfer],
        "",
    ),
    (
        "cut in the middle of a record",
        |q| {
            let whole = reply(q, CUT, [&[record(None, A, &[192, 0, 2, 1])], &[], &[]]);
            vec![whole[..whole.len() - 2].to_vec()]
        },
        Some(|q| Tcp::Message(address(q))),
        UDP,
        None,
        &[FirstByte, Connect, Transfer],
        "",
    ),
    (
        "cut, and tcp is not wanted",
        |q| vec![cut(q)],
        Some(|q| Tcp::Message(address(q))),
        UDP_ONLY,
        Some(Reason::DnsTruncated),
        &[FirstByte],
        "the answer is cut",
    ),
    (
        "cut, and cut again",
        |q| vec![cut(q)],
        Some(|q| Tcp::Message(cut(q))),
        UDP,
        Some(Reason::DnsTruncated),
        &[FirstByte, Connect, Transfer],
        "the answer is cut",
    ),
    (
        "cut, and silence over tcp",
        |q| vec![cut(q)],
        Some(|_| Tcp::Hang(vec![])),
        UDP,
        Some(Reason::DnsTimeout),
        &[FirstByte, Connect],
        "no end within",
    ),
    (
        "cut, and closed over tcp",
        |q| vec![cut(q)],
        Some(|_| Tcp::Bytes(vec![])),
        UDP,
        Some(Reason::DnsMalformed),
        &[FirstByte, Connect],
        "cut over udp, asked again over tcp",
    ),
    (
        "an address over tcp",
        |_| vec![],
        Some(|q| Tcp::Message(address(q))),
        TCP,
        None,
        &[Connect, FirstByte, Transfer],
        "",
    ),
    (
        "NXDOMAIN over tcp",
        |_| vec![],
        Some(|q| Tcp::Message(code(q, 3))),
        TCP,
        Some(Reason::DnsNxdomain),
        &[Connect, FirstByte, Transfer],
        "NXDOMAIN",
    ),
    (
        "the id of another over tcp",
        |_| vec![],
        Some(|q| Tcp::Message(other_id(q))),
        TCP,
        Some(Reason::DnsMalformed),
        &[Connect, FirstByte, Transfer],
        "its id is of another question",
    ),
    (
        "another question over tcp",
        |_| vec![],
        Some(|q| Tcp::Message(other_question(q))),
        TCP,
        Some(Reason::DnsMalformed),
        &[Connect, FirstByte, Transfer],
        "another question",
    ),
    (
        "closed without an answer",
        |_| vec![],
        Some(|_| Tcp::Bytes(vec![])),
        TCP,
        Some(Reason::DnsMalformed),
        &[Connect],
        "closed before its end",
    ),
    (
        "closed within the length",
        |_| vec![],
        Some(|_| Tcp::Bytes(vec![0])),
        TCP,
        Some(Reason::DnsMalformed),
        &[Connect, FirstByte],
        "closed before its end",
    ),
    (
        "closed within the answer",
        |_| vec![],
        Some(|q| Tcp::Bytes([&[1, 0], &address(q)[..]].concat())),
        TCP,
        Some(Reason::DnsMalformed),
        &[Connect, FirstByte, Transfer],
        "closed before its end",
    ),
    (
        "silence within the answer",
        |_| vec![],
        Some(|q| Tcp::Hang([&[255, 255], &address(q)[..]].concat())),
        TCP,
        Some(Reason::DnsTimeout),
        &[Connect, FirstByte],
        "no end within",
    ),
    (
        "an empty answer",
        |_| vec![],
        Some(|_| Tcp::Bytes(vec![0, 0])),
        TCP,
        Some(Reason::DnsMalformed),
        &[Connect, FirstByte, Transfer],
        "too short for DNS",
    ),
    (
        "a mail server",
        |_| vec![],
        Some(|_| Tcp::Bytes(b"220 mail.example ESMTP\r\n".to_vec())),
        TCP,
        Some(Reason::DnsMalformed),
        &[Connect, FirstByte, Transfer],
        "closed before its end",
    ),
    (
        "reset",
        |_| vec![],
        Some(|_| Tcp::Reset),
        TCP,
        Some(Reason::DnsMalformed),
        &[Connect],
        "connection reset",
    ),
];

#[tokio::test]
async fn each_answer_has_its_reason_and_its_phases() {
    for (what, udp, tcp, transport, reason, wanted, evidence) in ANSWERS {
        let mut run = ask(name_server(*udp, *tcp), |step| step.transport = *transport);
        if *reason == Some(Reason::DnsTimeout) {
            run.timeout = ms(300);
        }
        let finding = found(&run).await;
        assert_eq!(finding.reason, *reason, "{what}: {finding:?}");
        let outcome = if reason.is_some() { Outcome::Fail } else { Outcome::Pass };
        assert_eq!((finding.outcome, finding.step), (outcome, 0), "{what}");
        assert_eq!(phases(&finding), *wanted, "{what}");
        assert!(finding.evidence.contains(evidence), "{what}: {finding:?}");
        assert!(finding.remote.is_some(), "{what}");
    }
}

#[tokio::test]
async fn a_port_where_nobody_listens_refuses() {
    let nobody_there = Nobody::new();
    let gone = nobody_there.at;
    for (transport, evidence) in [(UDP, "udp to 127.0.0.1"), (TCP, "connect to 127.0.0.1")] {
        let finding = found(&ask(gone, |step| step.transport = transport)).await;
        assert_eq!(finding.reason, Some(Reason::ConnectRefused), "{finding:?}");
        assert!(finding.evidence.contains(evidence), "{finding:?}");
        assert_eq!(finding.remote, Some(gone));
    }
    // Over udp the answer was cut, and over tcp nobody is there.
    let only_udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let at = only_udp.local_addr().unwrap();
    thread::spawn(move || {
        let mut packet = [0; 2_048];
        let (length, from) = only_udp.recv_from(&mut packet).unwrap();
        only_udp.send_to(&cut(&packet[..length]), from).unwrap();
    });
    let finding = found(&ask(at, |_| {})).await;
    assert_eq!(finding.reason, Some(Reason::ConnectRefused), "{finding:?}");
    assert!(finding.evidence.starts_with("cut over udp, asked again over tcp"), "{finding:?}");
}

#[tokio::test]
async fn without_recursion_an_alias_is_an_answer() {
    let alias: OverUdp =
        |q| vec![reply(q, 0, [&[record(None, CNAME, &wire("gone.example"))], &[], &[]])];
    let run = ask(name_server(alias, NO_TCP), |step| step.recursion = false);
    assert_eq!(found(&run).await.outcome, Outcome::Pass);
}

/// The header's second word and the question, as the server gets them.
#[tokio::test]
async fn what_is_asked_is_what_the_check_says() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let at = socket.local_addr().unwrap();
    let (seen, packets) = std::sync::mpsc::channel();
    thread::spawn(move || {
        let mut packet = [0; 2_048];
        while let Ok((length, from)) = socket.recv_from(&mut packet) {
            seen.send(packet[..length].to_vec()).unwrap();
            socket.send_to(&address(&packet[..length]), from).unwrap();
        }
    });
    let executor = executor();
    let mut ids = std::collections::BTreeSet::new();
    for (name, record_type, class, recursion, flags, asked) in [
        ("Shop.example", DnsType::A, DnsClass::In, true, 0x0120, (1, 1)),
        ("shop.example.", DnsType::Mx, DnsClass::In, false, 0x0020, (15, 1)),
        ("version.bind", DnsType::Txt, DnsClass::Ch, true, 0x0120, (16, 3)),
        ("_sip._tcp.shop.example", DnsType::Srv, DnsClass::Hs, true, 0x0120, (33, 4)),
        ("0/25.2.0.192.in-addr.arpa", DnsType::Ptr, DnsClass::In, true, 0x0120, (12, 1)),
        (".", DnsType::Soa, DnsClass::In, true, 0x0120, (6, 1)),
    ] {
        let run = ask(at, |step| {
            step.name = name.into();
            (step.record_type, step.class, step.recursion) = (record_type, class, recursion);
        });
        executor.run(&run).await;
        let packet = packets.recv().unwrap();
        assert_eq!(u16::from_be_bytes([packet[2], packet[3]]), flags, "{name}");
        // One question, and the size that is offered.
        assert_eq!(packet[4..12], [0, 1, 0, 0, 0, 0, 0, 1], "{name}");
        let wanted = [&wire(name)[..], &[0, asked.0, 0, asked.1]].concat();
        assert_eq!(question(&packet), wanted, "{name}");
        assert_eq!(packet[12 + wanted.len()..][..5], [0, 0, 41, 4, 208], "{name}");
        ids.insert([packet[0], packet[1]]);
        // One datagram a run: no second try, no cache.
        assert!(packets.try_recv().is_err());
    }
    assert!(ids.len() > 1, "every id is the same: {ids:?}");
}

#[tokio::test]
async fn the_server_is_named_or_the_checks_resolver() {
    let server = name_server(|q| vec![address(q)], NO_TCP);
    // A name is looked up first, by the check's resolver.
    let mut named = ask(server, |step| step.server = Some(("ns1.example".into(), server.port())));
    named.resolver = Some(dns(Some(0), Some([127, 0, 0, 1])));
    let finding = found(&named).await;
    assert_eq!(finding.outcome, Outcome::Pass, "{finding:?}");
    assert_eq!(phases(&finding), [Phase::Dns, FirstByte]);
    named.resolver = Some(dns(Some(3), None));
    let finding = found(&named).await;
    assert_eq!(finding.reason, Some(Reason::DnsNxdomain), "{finding:?}");
    assert!(finding.evidence.starts_with("ns1.example"), "{finding:?}");
    assert_eq!(phases(&finding), [Phase::Dns]);
    // Without a server the question goes to the resolver itself.
    let mut unnamed = ask(server, |step| step.server = None);
    unnamed.resolver = Some(server);
    let finding = found(&unnamed).await;
    assert_eq!((finding.outcome, finding.remote), (Outcome::Pass, Some(server)), "{finding:?}");
}

#[tokio::test]
async fn the_source_address_holds_for_questions_too() {
    let server = name_server(|q| vec![address(q)], Some(|q| Tcp::Message(address(q))));
    for transport in [UDP, TCP] {
        let mut run = ask(server, |step| step.transport = transport);
        for (source, reason) in [
            ("127.0.5.1", None),
            // Of no interface of this machine, and of the other family.
            ("192.0.2.77", Some(Reason::ConfigError)),
            ("::1", Some(Reason::ConfigError)),
        ] {
            run.source_address = Some(source.parse().unwrap());
            assert_eq!(found(&run).await.reason, reason, "{transport} from {source}");
        }
    }
}

/// A server that knows one record of each type.
fn zone(asked: &[u8]) -> Vec<Vec<u8>> {
    let question = question(asked);
    let wanted = u16::from_be_bytes([question[question.len() - 4], question[question.len() - 3]]);
    let numbers: Vec<u8> =
        [7_u32, 3_600, 600, 86_400, 60].iter().flat_map(|n| n.to_be_bytes()).collect();
    let data = match wanted {
        A => vec![192, 0, 2, 1],
        28 => [&[0x20, 1, 0xd, 0xb8][..], &[0; 11], &[1]].concat(),
        NS => wire("NS1.Shop.Example"),
        PTR => wire("host.shop.example"),
        SOA => [wire("ns1.shop.example"), wire("Ops.shop.example"), numbers].concat(),
        MX => [&[0, 10][..], &wire("MAIL.shop.example")].concat(),
        TXT => b"\x07v=spf1 \x04-all".to_vec(),
        SRV => [&[0, 1, 0, 2, 0x13, 0xc4][..], &wire("sip.shop.example")].concat(),
        CAA => b"\0\x05issueca.example".to_vec(),
        DS => vec![0, 1, 13, 2, 0xab],
        _ => return vec![code(asked, 4)],
    };
    let answer = [record(None, wanted, &data)];
    let authority = [record(Some("shop.example"), NS, &wire("ns1.shop.example"))];
    let additional = [
        record(Some("ns1.shop.example"), A, &[192, 0, 2, 53]),
        // What the server takes: no record that anybody sees.
        [&[0, 0, 41, 4, 208][..], &[0; 6]].concat(),
    ];
    vec![reply(asked, 0x0420, [&answer, &authority, &additional])]
}

#[tokio::test]
async fn records_are_seen_the_way_zone_files_have_them() {
    let server = name_server(zone, NO_TCP);
    for (record_type, data) in [
        (DnsType::A, "192.0.2.1"),
        (DnsType::Aaaa, "2001:db8::1"),
        (DnsType::Ns, "ns1.shop.example."),
        (DnsType::Ptr, "host.shop.example."),
        (DnsType::Soa, "ns1.shop.example. ops.shop.example. 7 3600 600 86400 60"),
        (DnsType::Mx, "10 mail.shop.example."),
        (DnsType::Txt, "v=spf1 -all"),
        (DnsType::Srv, "1 2 5060 sip.shop.example."),
        (DnsType::Caa, "0 issue \"ca.example\""),
        (DnsType::Ds, "\\# 5 00010d02ab"),
    ] {
        let mut run = ask(server, |step| {
            step.name = "WWW.shop.example".into();
            step.record_type = record_type;
        });
        run.expect = vec![
            format!("answers[0].data == {data:?}"),
            format!("answers[0].name == 'www.shop.example.' && answers[0].type == '{record_type}'"),
            "answers[0].ttl == 60 && size(answers) == 1".into(),
            "authority[0].type == 'NS' && authority[0].name == 'shop.example.'".into(),
            "size(additional) == 1 && additional[0].data == '192.0.2.53'".into(),
            "flags.aa && flags.ad && flags.rd && flags.ra && !flags.tc && !flags.cd".into(),
            "rcode == 'NOERROR' && transport == 'udp' && ip == '127.0.0.1'".into(),
            "phases.first_byte < duration('2s') && latency >= phases.first_byte".into(),
        ];
        let finding = found(&run).await;
        assert_eq!(finding.outcome, Outcome::Pass, "{record_type}: {finding:?}");
    }
}

#[tokio::test]
async fn an_expectation_of_the_code_replaces_the_default_rule() {
    let nothing = name_server(|q| vec![code(q, 3)], NO_TCP);
    let cut_off = name_server(|q| vec![cut(q)], Some(|q| Tcp::Message(address(q))));
    for (server, transport, expect, reason) in [
        (nothing, UDP, "rcode == 'NXDOMAIN'", None),
        (nothing, UDP, "rcode == 'NOERROR'", Some(Reason::ExpectationFailed)),
        // Silent about the code: the default rule comes first.
        (nothing, UDP, "size(answers) == 0", Some(Reason::DnsNxdomain)),
        (cut_off, UDP_ONLY, "rcode == 'NOERROR' && flags.tc", None),
        (cut_off, UDP, "transport == 'tcp' && !flags.tc", None),
    ] {
        let mut run = ask(server, |step| step.transport = transport);
        run.expect = vec![expect.into()];
        let finding = found(&run).await;
        assert_eq!(finding.reason, reason, "{expect}: {finding:?}");
    }
    // A step that is not the last is judged by the default rule, and named.
    let good = name_server(|q| vec![address(q)], NO_TCP);
    let mut run = ask(nothing, |_| {});
    run.steps.insert(0, ask(good, |_| {}).steps.remove(0));
    let finding = found(&run).await;
    assert_eq!((finding.step, finding.reason), (1, Some(Reason::DnsNxdomain)), "{finding:?}");
    run.steps.swap(0, 1);
    run.expect = vec!["rcode == 'NXDOMAIN'".into()];
    let finding = found(&run).await;
    assert_eq!((finding.step, finding.reason), (0, Some(Reason::DnsNxdomain)), "{finding:?}");
}

/// Pointers make a short message long: 5 000 records of 250 bytes each in one of 64 KiB.
#[tokio::test]
async fn an_answer_that_is_long_when_written_out_is_refused_where_it_is_wanted() {
    let server = name_server(
        |q| vec![cut(q)],
        Some(|q| {
            let name = vec!["a".repeat(60); 4].join(".");
            let first = record(None, CNAME, &wire(&name));
            // The name's place in the message: behind the question and the record's head.
            let at = 0xc000 | u16::try_from(12 + question(q).len() + 12).unwrap();
            let more = record(None, CNAME, &at.to_be_bytes());
            let mut records = vec![first];
            records.extend(std::iter::repeat_n(more, 4_000));
            Tcp::Message(reply(q, 0, [&records, &[], &[]]))
        }),
    );
    let mut run = ask(server, |step| step.record_type = DnsType::Cname);
    assert_eq!(found(&run).await.outcome, Outcome::Pass);
    run.expect = vec!["answers[0].ttl == 60".into()];
    let finding = found(&run).await;
    assert_eq!(finding.reason, Some(Reason::DnsMalformed), "{finding:?}");
    assert!(finding.evidence.contains("bytes"), "{finding:?}");
}

/// A name server over TLS: gets what came over the connection and says what goes back.
fn secure_server(
    ours: &Authority,
    alpn: &[&[u8]],
    serve: impl Fn(&mut dyn Read, &mut Vec<u8>) + Send + Sync + 'static,
) -> SocketAddr {
    let config = super::http::tls_server(ours, rustls::DEFAULT_VERSIONS, false);
    let mut config = Arc::unwrap_or_clone(config);
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    let config = Arc::new(config);
    server(move |mut stream| {
        let mut session = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
        let mut tls = rustls::Stream::new(&mut session, &mut stream);
        let mut says = Vec::new();
        serve(&mut tls, &mut says);
        let _ = tls.write_all(&says);
        tls.conn.send_close_notify();
        let _ = tls.flush();
    })
}

fn secure_step(server: SocketAddr, ours: &Authority, transport: DnsTransport) -> DnsStep {
    let tls = TlsOptions { ca_pem: Some(ours.pem.clone()), ..TlsOptions::default() };
    let path = (transport == DnsTransport::Https).then(|| "/dns-query".to_owned());
    DnsStep { transport, tls: Some(tls), path, ..step_of(server) }
}

#[tokio::test]
async fn over_tls_a_question_has_the_reasons_of_tcp_and_of_the_handshake() {
    let (ours, other) = (authority(), authority());
    let serving = |says: fn(&[u8]) -> Vec<u8>| {
        secure_server(&ours, &[], move |stream, out| {
            let mut length = [0; 2];
            if stream.read_exact(&mut length).is_ok() {
                let mut asked = vec![0; u16::from_be_bytes(length).into()];
                stream.read_exact(&mut asked).unwrap();
                out.extend(says(&asked));
            }
        })
    };
    fn framed(answer: Vec<u8>) -> Vec<u8> {
        [&u16::try_from(answer.len()).unwrap().to_be_bytes()[..], &answer].concat()
    }
    let all = &[Phase::Connect, Phase::Tls, Phase::FirstByte, Phase::Transfer][..];
    type Says = fn(&[u8]) -> Vec<u8>;
    let rows: [(Says, Option<Reason>, &[Phase]); 6] = [
        (|asked| framed(address(asked)), None, all),
        (|asked| framed(code(asked, 3)), Some(Reason::DnsNxdomain), all),
        (|asked| framed(cut(asked)), Some(Reason::DnsTruncated), all),
        (|asked| framed(other_id(asked)), Some(Reason::DnsMalformed), all),
        (|asked| framed(address(asked))[..9].to_vec(), Some(Reason::DnsMalformed), all),
        (|_| vec![], Some(Reason::DnsMalformed), &all[..2]),
    ];
    for (place, (says, reason, phases_of)) in rows.into_iter().enumerate() {
        let step = secure_step(serving(says), &ours, DnsTransport::Tls);
        let finding = found(&run_of(StepKind::Dns(step))).await;
        assert_eq!(finding.reason, reason, "{place}: {finding:?}");
        assert_eq!(phases(&finding), phases_of, "{place}: {finding:?}");
    }
    let good = serving(|asked| framed(address(asked)));
    let mut run = run_of(StepKind::Dns(secure_step(good, &ours, DnsTransport::Tls)));
    run.expect = vec![
        "transport == 'tls' && answers[0].data == '192.0.2.1'".to_owned(),
        "cert.days_left > 0 && tls_version == '1.3'".to_owned(),
    ];
    let finding = found(&run).await;
    assert_eq!(finding.outcome, Outcome::Pass);
    assert!(finding.expiry.is_some());
    let untrusted = run_of(StepKind::Dns(secure_step(good, &other, DnsTransport::Tls)));
    assert_eq!(found(&untrusted).await.reason, Some(Reason::TlsUntrusted));
    for (serve, reason) in [
        (server(hang), Reason::TlsTimeout),
        (
            secure_server(&ours, &[], |stream, _| {
                let _ = stream.read_exact(&mut [0; 2]);
                thread::sleep(Duration::from_secs(5));
            }),
            Reason::DnsTimeout,
        ),
    ] {
        let mut run = run_of(StepKind::Dns(secure_step(serve, &ours, DnsTransport::Tls)));
        run.timeout = ms(300);
        assert_eq!(found(&run).await.reason, Some(reason));
    }
}

#[tokio::test]
async fn over_https_a_question_is_a_request_and_each_answer_has_its_reason() {
    let ours = authority();
    let serving = |says: fn(&[u8]) -> Vec<u8>| {
        secure_server(&ours, &[b"http/1.1"], move |mut stream, out| {
            let head = request(&mut stream);
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let mut asked = vec![0; length.map_or(0, |length| length.parse().unwrap())];
            let _ = stream.read_exact(&mut asked);
            let wanted = [
                "POST /dns-query HTTP/1.1",
                "content-type: application/dns-message",
                "accept: application/dns-message",
            ];
            // The same question is the same message: its id is 0.
            let good = wanted.iter().all(|line| head.lines().any(|it| it == *line));
            if good && asked.starts_with(&[0, 0]) {
                out.extend(says(&asked));
            }
        })
    };
    fn ok(kind: &str, body: Vec<u8>) -> Vec<u8> {
        let length = body.len();
        let head =
            format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n");
        [head.into_bytes(), body].concat()
    }
    const KIND: &str = "application/dns-message";
    let all = &[Phase::Connect, Phase::Tls, Phase::FirstByte, Phase::Transfer][..];
    type Says = fn(&[u8]) -> Vec<u8>;
    let rows: [(Says, Option<Reason>, &[Phase]); 9] = [
        (|asked| ok(KIND, address(asked)), None, all),
        (|asked| ok("Application/DNS-message; x=y", address(asked)), None, all),
        (|asked| ok(KIND, code(asked, 2)), Some(Reason::DnsServfail), all),
        (|asked| ok("text/html", address(asked)), Some(Reason::DnsMalformed), all),
        (|asked| ok(KIND, address(asked)[..20].to_vec()), Some(Reason::DnsMalformed), all),
        (|asked| ok(KIND, other_question(asked)), Some(Reason::DnsMalformed), all),
        (
            |_| b"HTTP/1.1 415 No\r\ncontent-length: 0\r\n\r\n".to_vec(),
            Some(Reason::HttpStatus),
            all,
        ),
        (|_| ok(KIND, vec![0; 70_000]), Some(Reason::HttpBodyTooLarge), &all[..3]),
        (|_| b"220 mail\r\n\r\n".to_vec(), Some(Reason::HttpMalformed), &all[..2]),
    ];
    for (place, (says, reason, phases_of)) in rows.into_iter().enumerate() {
        let step = secure_step(serving(says), &ours, DnsTransport::Https);
        let mut run = run_of(StepKind::Dns(step));
        if reason.is_none() {
            run.expect = vec!["transport == 'https' && answers[0].data == '192.0.2.1'".to_owned()];
        }
        let finding = found(&run).await;
        assert_eq!(finding.reason, reason, "{place}: {finding:?}");
        assert_eq!(phases(&finding), phases_of, "{place}: {finding:?}");
    }
    let silent = secure_server(&ours, &[b"http/1.1"], |mut stream, _| {
        request(&mut stream);
        thread::sleep(Duration::from_secs(5));
    });
    let mut run = run_of(StepKind::Dns(secure_step(silent, &ours, DnsTransport::Https)));
    run.timeout = ms(300);
    assert_eq!(found(&run).await.reason, Some(Reason::DnsTimeout));
    // Over HTTP/2, where the server chooses it: one that answers something else is told from silence.
    let address = super::http::http2_site(&ours, &[b"h2"]);
    let run = run_of(StepKind::Dns(secure_step(address, &ours, DnsTransport::Https)));
    let finding = found(&run).await;
    assert_eq!(finding.reason, Some(Reason::DnsMalformed), "{finding:?}");
    assert!(finding.evidence.contains("application/dns-message"), "{finding:?}");
    assert_eq!(phases(&finding), all);
}
