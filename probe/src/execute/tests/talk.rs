//! What a target can say, by small servers: starttls, dialogues, datagrams and SSH, with reason, step and
//! phases of each.

use std::io;

use parallax_common::check::{Exchange, Expected, Payload, SshStep, StartTls, TlsVersion, UdpStep};
use parallax_common::limits::{CAPTURE_BYTES_MAX, DIALOGUE_BYTES_MAX, UDP_ANSWER_BYTES_MAX};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::*;
use Phase::{Connect, FirstByte, Tls, Transfer};

/// What a server does in a dialogue: reason, phases, steps that have ended, words of the evidence.
type Spoken<'a> = (&'a str, Vec<Do>, Option<Reason>, &'a [Phase], usize, &'a str);
/// What is sent to whom, what is expected, how often: reason, words of the evidence.
type Answered<'a> = (&'a str, SocketAddr, &'a str, Option<Duration>, Option<Reason>, &'a str);
/// What an SSH server does: reason, phases, words of the evidence.
type Greeted<'a> = (&'a str, Vec<Do>, Option<Reason>, &'a [Phase], &'a str);

trait ReadWrite: Read + Write + Send {}
impl<T: Read + Write + Send> ReadWrite for T {}

/// What a server does next. At the end of its script it closes.
#[derive(Debug, Clone)]
pub(super) enum Do {
    Say(Vec<u8>),
    /// A byte each 20 ms.
    Slowly(Vec<u8>),
    /// Reads until this has come.
    Hear(&'static str),
    Secure,
    Reset,
    Hang,
}

pub(super) fn say(text: &str) -> Do {
    Do::Say(text.as_bytes().to_vec())
}

fn play(stream: TcpStream, script: &[Do], config: &Arc<ServerConfig>) -> io::Result<()> {
    let plain = stream.try_clone()?;
    let mut stream: Box<dyn ReadWrite> = Box::new(stream);
    for step in script {
        match step {
            Do::Say(bytes) => {
                stream.write_all(bytes)?;
                stream.flush()?;
            }
            Do::Slowly(bytes) => {
                for byte in bytes {
                    stream.write_all(&[*byte])?;
                    stream.flush()?;
                    thread::sleep(ms(20));
                }
            }
            Do::Hear(words) => {
                let (mut heard, mut byte) = (Vec::new(), [0]);
                while !heard.ends_with(words.as_bytes()) {
                    stream.read_exact(&mut byte)?;
                    heard.push(byte[0]);
                }
            }
            Do::Secure => {
                let session = ServerConnection::new(Arc::clone(config)).unwrap();
                stream = Box::new(StreamOwned::new(session, plain.try_clone()?));
                // Shakes hands.
                stream.flush()?;
            }
            Do::Reset => {
                // By then the client knows that it is connected: sooner it is another reason.
                thread::sleep(ms(50));
                reset(plain.try_clone()?);
                return Ok(());
            }
            Do::Hang => {
                hang(plain);
                return Ok(());
            }
        }
    }
    Ok(())
}

pub(super) fn config(
    authority: &Authority,
    years: (i32, i32),
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> Arc<ServerConfig> {
    let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    params.not_before = date_time_ymd(years.0, 1, 1);
    params.not_after = date_time_ymd(years.1, 1, 1);
    let key = KeyPair::generate().unwrap();
    let cert = params.signed_by(&key, &authority.issuer).unwrap().der().clone();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert], PrivateKeyDer::try_from(key.serialize_der()).unwrap());
    Arc::new(config.unwrap())
}

pub(super) fn scripted(config: &Arc<ServerConfig>, script: Vec<Do>) -> SocketAddr {
    let config = Arc::clone(config);
    server(move |stream| drop(play(stream, &script, &config)))
}

pub(super) fn exchange(name: &str, send: &str, expect: &str) -> Exchange {
    let hex = |text: &str| text.bytes().collect::<Vec<u8>>();
    Exchange {
        name: name.to_owned(),
        send: match send.strip_prefix("raw:") {
            Some(raw) => Some(Payload::Bytes(hex(raw))),
            None => (!send.is_empty()).then(|| Payload::Text(send.to_owned())),
        },
        expect: match expect.strip_prefix("raw:") {
            Some(raw) => Some(Expected::Bytes(hex(raw))),
            None => (!expect.is_empty()).then(|| Expected::Pattern(expect.to_owned())),
        },
    }
}

fn talk(address: SocketAddr, change: impl FnOnce(&mut TcpStep)) -> Run {
    let mut step =
        TcpStep { host: address.ip().to_string(), port: address.port(), ..TcpStep::default() };
    change(&mut step);
    run_of(StepKind::Tcp(step))
}

/// Phases of the run's own steps, and how many steps of dialogues have a series.
fn seen(finding: &Finding, steps: usize) -> (Vec<Phase>, usize) {
    let own = |(step, ..): &&(u32, Phase, Duration)| (*step as usize) < steps;
    let phases: Vec<Phase> = finding.phases.iter().filter(own).map(|(_, of, _)| *of).collect();
    let others = finding.phases.len() - phases.len();
    (phases, others)
}

#[tokio::test]
async fn dialogues_have_their_reasons_step_and_phases() {
    let none = config(&authority(), (2020, 2090), rustls::DEFAULT_VERSIONS);
    let smtp = || {
        vec![
            exchange("greeting", "", r"^220 (?<host>\S+) [^\r]*\r\n"),
            exchange("hello", "EHLO %{host}\r\n", r"250 [^\r]*\r\n"),
            exchange("bye", "QUIT\r\n", "raw:221"),
        ]
    };
    let greeting = || say("220 mail.example ESMTP\r\n");
    let large = Do::Say(vec![b'x'; DIALOGUE_BYTES_MAX + 1]);
    let long = Do::Say([&b"220 "[..], &[b'x'; CAPTURE_BYTES_MAX + 1], b" a\r\n"].concat());
    let all = [Connect, FirstByte, Transfer];
    let hello = "EHLO mail.example\r\n";
    use Reason as R;
    let table: Vec<Spoken<'_>> = vec![
        (
            "well",
            vec![
                greeting(),
                Do::Hear(hello),
                say("250-a\r\n250 b\r\n"),
                Do::Hear("QUIT\r\n"),
                say("221 bye\r\n"),
            ],
            None,
            &all,
            3,
            "",
        ),
        (
            "in pieces",
            vec![
                say("220 mail.exa"),
                say("mple ESMTP\r\n"),
                Do::Hear(hello),
                say("250 b\r"),
                say("\n"),
                Do::Hear("QUIT\r\n"),
                say("221"),
            ],
            None,
            &all,
            3,
            "",
        ),
        ("closed at once", vec![], Some(R::ConnectionClosed), &all[..1], 0, "`greeting`: the"),
        ("reset at once", vec![Do::Reset], Some(R::ConnectionReset), &all[..1], 0, "`greeting`:"),
        ("silence", vec![Do::Hang], Some(R::Timeout), &all[..1], 0, "nothing arrived"),
        (
            "another greeting",
            vec![say("554 no\r\n"), Do::Hang],
            Some(R::AnswerMismatch),
            &all[..2],
            0,
            "the target said \"554 no\\r\\n\"",
        ),
        (
            "another greeting, closed",
            vec![say("554 no\r\n")],
            Some(R::AnswerMismatch),
            &all[..2],
            0,
            "the target closed the connection; the target said \"554 no\\r\\n\"",
        ),
        (
            "closed in the middle",
            vec![greeting(), Do::Hear(hello)],
            Some(R::ConnectionClosed),
            &all[..2],
            1,
            "dialogue step `hello`: the target closed the connection; nothing arrived",
        ),
        (
            "reset in the middle",
            vec![greeting(), Do::Hear(hello), Do::Reset],
            Some(R::ConnectionReset),
            &all[..2],
            1,
            "`hello`",
        ),
        (
            "silence in the middle",
            vec![greeting(), Do::Hear(hello), Do::Hang],
            Some(R::Timeout),
            &all[..2],
            1,
            "dialogue step `hello`: the time is over; nothing arrived",
        ),
        (
            "other bytes",
            vec![greeting(), Do::Hear(hello), say("250 b\r\n222"), Do::Hang],
            Some(R::AnswerMismatch),
            &all[..2],
            2,
            "dialogue step `bye`: other bytes than expected arrived; the target said \"222\"",
        ),
        ("too much", vec![large, Do::Hang], Some(R::AnswerTooLarge), &all[..2], 0, "32768"),
        ("a long capture", vec![long, Do::Hang], Some(R::AnswerTooLarge), &all[..2], 0, "`host`"),
    ];
    for (what, script, reason, wanted, ended, evidence) in table {
        let address = scripted(&none, script);
        let mut run = talk(address, |step| step.dialogue = smtp());
        if evidence.contains("nothing arrived") || what == "another greeting" {
            run.timeout = ms(300);
        }
        let finding = found(&run).await;
        assert_eq!((finding.reason, finding.step), (reason, 0), "{what}: {finding:?}");
        assert_eq!(seen(&finding, 1), (wanted.to_vec(), ended), "{what}: {finding:?}");
        assert!(finding.evidence.contains(evidence), "{what}: {finding:?}");
        assert_eq!(finding.remote, Some(address), "{what}");
        // The same as a second step, whose dialogue is numbered behind both.
        let mut steps = tcp("127.0.0.1", server(drop).port());
        steps.timeout = run.timeout;
        steps.steps.push(run.steps.remove(0));
        let finding = found(&steps).await;
        assert_eq!((finding.reason, finding.step), (reason, 1), "{what}: {finding:?}");
        let numbers: Vec<u32> =
            finding.phases.iter().map(|(step, ..)| *step).filter(|step| *step > 1).collect();
        assert_eq!(numbers, (2..2 + ended as u32).collect::<Vec<_>>(), "{what}");
    }
}

#[tokio::test]
async fn what_a_dialogue_has_seen_can_be_judged() {
    let ours = authority();
    let config = config(&ours, (2020, 2090), rustls::DEFAULT_VERSIONS);
    let words = |secure: &[Do]| {
        let mut script = secure.to_vec();
        script.extend([
            say("+OK pop <17.4@mail.example>\r\n"),
            Do::Hear("APOP <17.4@mail.example>\x00\r\n"),
            Do::Say(b"+OK \xff 3 messages\r\n".to_vec()),
        ]);
        script
    };
    let dialogue = || {
        vec![
            exchange("greeting", "", r"(?<stamp><[^>]+>)\r\n"),
            exchange("login", "APOP %{stamp}", ""),
            exchange("3", "raw:\0\r\n", r"(?-u:\+OK \xff) (?<count>\d+) (?<none>x)?"),
        ]
    };
    let holds = [
        "captures.stamp == '<17.4@mail.example>' && int(captures.count) == 3",
        "captures.none == '' && size(captures) == 3",
        "banner == '+OK pop <17.4@mail.example>' && received.endsWith('messages\\r\\n')",
        "exchanges['greeting'] > duration('0s') && size(exchanges) == 3",
        "exchanges['3'] <= phases.transfer + phases.first_byte && phases.total == latency",
    ];
    for secure in [false, true] {
        let before: &[Do] = if secure { &[Do::Secure] } else { &[] };
        let mut run = talk(scripted(&config, words(before)), |step| {
            step.dialogue = dialogue();
            step.tls = secure
                .then(|| TlsOptions { ca_pem: Some(ours.pem.clone()), ..TlsOptions::default() });
        });
        run.expect = holds.map(str::to_owned).to_vec();
        if secure {
            run.expect.push("cert.days_left > 0 && tls_version == '1.3'".to_owned());
        }
        let finding = found(&run).await;
        assert_eq!(finding.outcome, Outcome::Pass, "{finding:?}");
        let wanted: &[Phase] = match secure {
            true => &[Connect, Tls, FirstByte, Transfer],
            false => &[Connect, FirstByte, Transfer],
        };
        assert_eq!(seen(&finding, 1), (wanted.to_vec(), 3));
        // Each can fail, too.
        for expression in holds {
            run.expect = vec![format!("!({expression})")];
            assert_eq!(found(&run).await.reason, Some(Reason::ExpectationFailed), "{expression}");
        }
    }
}

#[tokio::test]
async fn secrets_are_sent_and_never_told() {
    let none = config(&authority(), (2020, 2090), rustls::DEFAULT_VERSIONS);
    let secret = std::env::var("PATH").unwrap();
    let echo = server(|mut stream| {
        let mut buffer = [0; 4_096];
        while let Ok(length @ 1..) = stream.read(&mut buffer) {
            let _ = stream.write_all(&buffer[..length]);
        }
    });
    let knows = |allowed: &[&str]| {
        let allowed = allowed.iter().map(|name| (*name).to_owned()).collect();
        Executor::new(Secrets::new(allowed, vec![]), None, None)
    };
    let mut run = talk(echo, |step| {
        step.dialogue = vec![
            exchange("login", "PASS ${env:PATH}$${env:PATH}%%{x}\r\n", "^PASS (?<all>.+)\r\n$"),
            exchange("again", "%{all}", "^never$"),
        ];
    });
    run.timeout = ms(400);
    let finding = knows(&["PATH"]).run(&run).await.finding;
    assert_eq!(finding.reason, Some(Reason::AnswerMismatch), "{finding:?}");
    assert!(
        finding.evidence.contains("`again`") && finding.evidence.contains("***${env:PATH}%{x}")
    );
    assert!(!finding.evidence.contains(&secret[..secret.len().min(8)]), "{finding:?}");
    let finding = knows(&[]).run(&run).await.finding;
    assert_eq!(finding.reason, Some(Reason::ConfigError), "{finding:?}");
    // What an expectation says of it is the expression, not the value.
    run.expect = vec!["captures.all == ''".to_owned()];
    if let StepKind::Tcp(step) = &mut run.steps[0].kind {
        step.dialogue.truncate(1);
    }
    let finding = knows(&["PATH"]).run(&run).await.finding;
    assert_eq!(finding.evidence, "not true: captures.all == ''");
    // And a target that speaks out of turn gains nothing by writing references.
    let sly = scripted(&none, vec![say("${env:PATH}\r\n"), Do::Hear("${env:PATH}!"), say("ok")]);
    let run = talk(sly, |step| {
        step.dialogue = vec![exchange("a", "", r"(?<x>.+)\r\n"), exchange("b", "%{x}!", "raw:ok")];
    });
    let finding = knows(&["PATH"]).run(&run).await.finding;
    assert_eq!(finding.outcome, Outcome::Pass, "{finding:?}");
}

/// What each protocol says up to the handshake.
fn plain_part(protocol: StartTls) -> Vec<Do> {
    match protocol {
        StartTls::Smtp => vec![
            say("220 mail.example\r\n"),
            Do::Hear("EHLO [127.0.0.1]\r\n"),
            say("250-mail.example\r\n250 STARTTLS\r\n"),
            Do::Hear("STARTTLS\r\n"),
            say("220 go\r\n"),
        ],
        StartTls::Imap => {
            vec![say("* OK ready\r\n"), Do::Hear("STARTTLS\r\n"), say("p1 OK begin\r\n")]
        }
        StartTls::Pop3 => vec![say("+OK ready\r\n"), Do::Hear("STLS\r\n"), say("+OK\r\n")],
        StartTls::Ldap => vec![
            Do::Hear("1.3.6.1.4.1.1466.20037"),
            say("\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x00\x04\x00\x04\x00"),
        ],
        StartTls::Postgres => vec![Do::Hear("\x16/"), say("S")],
        StartTls::Mysql => {
            let payload = b"\x0a11.4.2-MariaDB\0\x01\0\0\0salt8byt\0\xfe\xff-\x02\0";
            let packet = [&[u8::try_from(payload.len()).unwrap(), 0, 0, 0], &payload[..]].concat();
            vec![
                Do::Say(packet),
                // Capabilities, the largest packet, a character set, and 23 zeros.
                Do::Hear("\x01-\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"),
            ]
        }
    }
}

#[tokio::test]
async fn each_protocol_changes_over_to_tls() {
    let ours = authority();
    let good = config(&ours, (2020, 2090), rustls::DEFAULT_VERSIONS);
    let expired = config(&ours, (2010, 2020), rustls::DEFAULT_VERSIONS);
    let old = config(&ours, (2020, 2090), &[&rustls::version::TLS12]);
    let plain = [Connect, FirstByte, Transfer];
    let secure = |address, protocol| {
        talk(address, |step| {
            step.starttls = Some(protocol);
            let ca_pem = Some(ours.pem.clone());
            step.tls = Some(TlsOptions { ca_pem, ..TlsOptions::default() });
        })
    };
    for protocol in StartTls::ALL.iter().copied() {
        let with = |more: &[Do]| [&plain_part(protocol)[..], more].concat();
        let mut run = secure(scripted(&good, with(&[Do::Secure, Do::Hang])), protocol);
        let banner = match protocol {
            StartTls::Ldap | StartTls::Postgres => "banner == ''",
            StartTls::Mysql => "banner == '11.4.2-MariaDB'",
            _ => "banner.contains('mail.example') || banner.contains('ready')",
        };
        run.expect = vec![banner.to_owned(), "cert.days_left > 100".to_owned()];
        let finding = found(&run).await;
        assert_eq!(finding.outcome, Outcome::Pass, "{protocol}: {finding:?}");
        assert_eq!(phases(&finding), [Connect, FirstByte, Transfer, Tls], "{protocol}");
        assert_eq!(finding.expiry, ends(2090), "{protocol}");
        // The certificate is judged like any other.
        let finding = found(&secure(scripted(&expired, with(&[Do::Secure])), protocol)).await;
        assert_eq!(finding.reason, Some(Reason::TlsExpired), "{protocol}: {finding:?}");
        assert_eq!(phases(&finding), plain, "{protocol}");
        let mut run = secure(scripted(&old, with(&[Do::Secure])), protocol);
        if let StepKind::Tcp(TcpStep { tls: Some(tls), .. }) = &mut run.steps[0].kind {
            tls.min_version = Some(TlsVersion::V13);
        }
        assert_eq!(found(&run).await.reason, Some(Reason::TlsHandshake), "{protocol}");
        // It breaks behind the plain part.
        for (end, reason) in [
            (vec![], Reason::TlsHandshake),
            (vec![Do::Reset], Reason::TlsHandshake),
            (vec![Do::Hang], Reason::TlsTimeout),
        ] {
            let mut run = secure(scripted(&good, with(&end)), protocol);
            if reason == Reason::TlsTimeout {
                run.timeout = ms(300);
            }
            let finding = found(&run).await;
            assert_eq!(finding.reason, Some(reason), "{protocol} {end:?}: {finding:?}");
        }
        // It breaks within it.
        for (end, reason) in [
            (None, Reason::ConnectionClosed),
            (Some(Do::Reset), Reason::ConnectionReset),
            (Some(Do::Hang), Reason::Timeout),
            (Some(say("\x1b what?\r\n")), Reason::StarttlsMalformed),
        ] {
            // A server that speaks second has heard the question, and one that speaks first says nothing.
            let second = matches!(protocol, StartTls::Ldap | StartTls::Postgres);
            let mut script = if second { plain_part(protocol)[..1].to_vec() } else { vec![] };
            script.extend(end);
            let mut run = secure(scripted(&good, script), protocol);
            if reason == Reason::Timeout {
                run.timeout = ms(300);
            }
            let finding = found(&run).await;
            // To MySQL the first bytes are a length, and more is awaited.
            let wanted = match (protocol, reason) {
                (StartTls::Mysql, Reason::StarttlsMalformed) => Reason::StarttlsMalformed,
                (_, reason) => reason,
            };
            assert_eq!(finding.reason, Some(wanted), "{protocol}: {finding:?}");
            assert!(finding.evidence.contains(&format!("starttls of {protocol}")), "{finding:?}");
        }
    }
    // A server that does not want to.
    let script = vec![say("220 a\r\n"), Do::Hear("\r\n"), say("250-a\r\n250 HELP\r\n"), Do::Hang];
    let finding = found(&secure(scripted(&good, script), StartTls::Smtp)).await;
    assert_eq!(finding.reason, Some(Reason::StarttlsRefused), "{finding:?}");
    // A dialogue goes on under TLS, and the greeting stays that of the plain part.
    let mut script = plain_part(StartTls::Smtp);
    script.extend([Do::Secure, Do::Hear("NOOP\r\n"), say("250 ok\r\n")]);
    let mut run = secure(scripted(&good, script), StartTls::Smtp);
    if let StepKind::Tcp(step) = &mut run.steps[0].kind {
        step.dialogue = vec![exchange("noop", "NOOP\r\n", "^250 ")];
    }
    run.expect = vec!["banner == '220 mail.example' && received == '250 ok\\r\\n'".to_owned()];
    let finding = found(&run).await;
    assert_eq!(finding.outcome, Outcome::Pass, "{finding:?}");
    assert_eq!(seen(&finding, 1), (vec![Connect, FirstByte, Transfer, Tls], 1));
}

/// A server of datagrams: what it answers to the n-th, from 1.
pub(super) fn datagrams(
    answer: impl Fn(usize, &[u8]) -> Option<Vec<u8>> + Send + 'static,
) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    thread::spawn(move || {
        let mut packet = [0; 2_048];
        let mut count = 0;
        while let Ok((length, from)) = socket.recv_from(&mut packet) {
            count += 1;
            if let Some(answer) = answer(count, &packet[..length]) {
                socket.send_to(&answer, from).unwrap();
            }
        }
    });
    address
}

pub(super) fn datagram(address: SocketAddr, expect: &str, resend: Option<Duration>) -> Run {
    let Exchange { send, expect, .. } = exchange("", "ping %%{a}", expect);
    run_of(StepKind::Udp(UdpStep {
        host: address.ip().to_string(),
        port: address.port(),
        send: send.unwrap(),
        expect,
        resend,
    }))
}

#[tokio::test]
async fn datagrams_have_their_reasons_and_phases() {
    let pong = |_: usize, packet: &[u8]| {
        assert_eq!(packet, b"ping %{a}");
        Some(b"pong 42 \xff".to_vec())
    };
    let nobody_there = Nobody::new();
    let gone = nobody_there.at;
    let short = Some(ms(20));
    use Reason as R;
    let table: Vec<Answered<'_>> = vec![
        ("any answer", datagrams(pong), "", None, None, ""),
        ("the right one", datagrams(pong), "^pong", None, None, ""),
        ("the right bytes", datagrams(pong), "raw:pong", None, None, ""),
        (
            "another one",
            datagrams(pong),
            "^pang",
            None,
            Some(R::AnswerMismatch),
            "not what is expected: \"pong 42 \\xff\"",
        ),
        ("other bytes", datagrams(pong), "raw:pong 43", None, Some(R::AnswerMismatch), "pong 42"),
        ("none", datagrams(|_, _| Some(vec![])), "", None, None, ""),
        ("silence", datagrams(|_, _| None), "", None, Some(R::Timeout), "no answer"),
        (
            "silence after all",
            datagrams(|_, _| None),
            "",
            short,
            Some(R::Timeout),
            "no answer to any of 10 datagrams",
        ),
        (
            "the third is answered",
            datagrams(|count, packet| (count == 3).then(|| packet.to_vec())),
            "raw:ping",
            short,
            None,
            "",
        ),
        ("nobody", gone, "", None, Some(R::ConnectRefused), "refused"),
        (
            "too large",
            datagrams(|_, _| Some(vec![b'x'; UDP_ANSWER_BYTES_MAX + 1])),
            "",
            None,
            Some(R::AnswerTooLarge),
            "over 16384 bytes",
        ),
        (
            "a long capture",
            datagrams(|_, _| Some(vec![b'x'; CAPTURE_BYTES_MAX + 1])),
            "(?<all>x+)",
            None,
            Some(R::AnswerTooLarge),
            "`all` captured 1025 bytes",
        ),
    ];
    for (what, address, expect, resend, reason, evidence) in table {
        let mut run = datagram(address, expect, resend);
        if reason == Some(R::Timeout) {
            run.timeout = ms(400);
        }
        let finding = found(&run).await;
        assert_eq!((finding.reason, finding.step), (reason, 0), "{what}: {finding:?}");
        assert!(finding.evidence.contains(evidence), "{what}: {finding:?}");
        let answered = !matches!(reason, Some(R::Timeout | R::ConnectRefused));
        let wanted: &[Phase] = if answered { &[FirstByte] } else { &[] };
        assert_eq!(phases(&finding), wanted, "{what}");
        assert_eq!(finding.remote, Some(address), "{what}");
        let mut steps = tcp("127.0.0.1", server(drop).port());
        steps.timeout = run.timeout;
        steps.steps.push(datagram(address, expect, resend).steps.remove(0));
        if what != "the third is answered" {
            let finding = found(&steps).await;
            assert_eq!((finding.reason, finding.step), (reason, 1), "{what}: {finding:?}");
        }
    }
    // What somebody else sends to the socket is not an answer.
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    thread::spawn(move || {
        let (_, from) = silent.recv_from(&mut [0; 64]).unwrap();
        stranger.send_to(b"pong", from).unwrap();
        thread::sleep(Duration::from_secs(20));
        drop(silent);
    });
    let mut run = datagram(address, "", None);
    run.timeout = ms(300);
    assert_eq!(found(&run).await.reason, Some(Reason::Timeout));
    let mut run = datagram(datagrams(pong), r"pong (?<n>\d+)", None);
    run.expect = vec![
        "captures.n == '42' && received.startsWith('pong 42 ')".to_owned(),
        "ip == '127.0.0.1' && phases.first_byte <= latency".to_owned(),
    ];
    let finding = found(&run).await;
    assert_eq!(finding.outcome, Outcome::Pass, "{finding:?}");
}

/// The first words of an SSH server.
pub(super) fn ssh_offer() -> Vec<u8> {
    let mut payload = vec![20];
    payload.extend([7; 16]);
    for list in ["a25519,b", "ssh-ed25519", "c-gcm", "c-gcm,d", "m1", "m1", "none", "none", "", ""]
    {
        payload.extend(u32::try_from(list.len()).unwrap().to_be_bytes());
        payload.extend(list.bytes());
    }
    payload.extend([0; 5]);
    let padding = 4 + (8 - (9 + payload.len()) % 8) % 8;
    let length = u32::try_from(1 + payload.len() + padding).unwrap();
    let head = [&length.to_be_bytes()[..], &[u8::try_from(padding).unwrap()]].concat();
    [&b"SSH-2.0-Test_1.2 more\r\n"[..], &head, &payload, &vec![0; padding]].concat()
}

#[tokio::test]
async fn ssh_has_its_reasons_and_phases() {
    let none = config(&authority(), (2020, 2090), rustls::DEFAULT_VERSIONS);
    let offer = ssh_offer();
    let half = Do::Say(offer[..60].to_vec());
    let huge = [&b"SSH-2.0-x\r\n"[..], &[0, 1, 0, 0]].concat();
    let http = say("HTTP/1.1 400 Bad Request\r\n\r\n");
    let begun = [Connect, FirstByte];
    // A server that closes before it has read what the probe said resets the connection.
    let heard = || Do::Hear("\r\n");
    use Reason as R;
    let table: Vec<Greeted<'_>> = vec![
        (
            "well",
            vec![
                Do::Hear("\r\n"),
                Do::Say(offer.clone()),
                // It takes its leave.
                Do::Hear("looked at by a probe"),
            ],
            None,
            &[Connect, FirstByte, Transfer],
            "",
        ),
        (
            "closed",
            vec![heard()],
            Some(R::ConnectionClosed),
            &begun[..1],
            "identification: the target",
        ),
        ("reset", vec![Do::Reset], Some(R::ConnectionReset), &begun[..1], "identification"),
        ("silence", vec![Do::Hang], Some(R::Timeout), &begun[..1], "identification: the time"),
        (
            "closed in the offer",
            vec![heard(), half.clone()],
            Some(R::ConnectionClosed),
            &begun,
            "offer",
        ),
        (
            "reset in the offer",
            vec![half.clone(), Do::Hear("\r\n"), Do::Reset],
            Some(R::ConnectionReset),
            &begun,
            "offer",
        ),
        ("half an offer", vec![half, Do::Hang], Some(R::Timeout), &begun, "offer: the time is"),
        (
            "no SSH",
            vec![heard(), http.clone()],
            Some(R::ConnectionClosed),
            &begun,
            "said \"HTTP/1.1 400",
        ),
        ("old", vec![say("SSH-1.5-x\r\n"), Do::Hang], Some(R::SshVersion), &begun, "1.5"),
        ("huge", vec![Do::Say(huge), Do::Hang], Some(R::SshTooLarge), &begun, "65536 bytes"),
        (
            "nonsense",
            vec![say("SSH-2.0-x\r\n\0\0\0\x09aaaaaaaaa"), Do::Hang],
            Some(R::SshMalformed),
            &begun,
            "cannot have 9 bytes",
        ),
    ];
    for (what, script, reason, wanted, evidence) in table {
        let address = scripted(&none, script);
        let (host, port) = (address.ip().to_string(), address.port());
        let mut run = run_of(StepKind::Ssh(SshStep { host, port }));
        if reason == Some(R::Timeout) {
            run.timeout = ms(300);
        }
        let finding = found(&run).await;
        assert_eq!((finding.reason, finding.step), (reason, 0), "{what}: {finding:?}");
        // A reset may overtake what was said before it.
        if what != "reset in the offer" {
            assert_eq!(phases(&finding), wanted, "{what}: {finding:?}");
            assert!(finding.evidence.contains(evidence), "{what}: {finding:?}");
        }
        if reason.is_none() {
            run.expect = vec![
                "banner == 'SSH-2.0-Test_1.2 more' && software == 'Test_1.2'".to_owned(),
                "kex == ['a25519', 'b'] && 'ssh-ed25519' in host_key_algorithms".to_owned(),
                "ciphers == ['c-gcm', 'd'] && macs.all(m, m == 'm1')".to_owned(),
            ];
            let finding = found(&run).await;
            assert_eq!(finding.outcome, Outcome::Pass, "{finding:?}");
        }
    }
}
