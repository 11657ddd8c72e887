//! Websockets: every way in which the upgrade and what follows can end. Where a server has to speak
//! well, another implementation of the protocol does; what no library would send is written by hand.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use parallax_common::check::{Exchange, Expected, Payload, WebSocketStep};
use parallax_common::limits::{CAPTURE_BYTES_MAX, WEBSOCKET_MESSAGE_BYTES_MAX};
use tungstenite::protocol::{CloseFrame, Role};
use tungstenite::{Message, WebSocket};

use super::talk::config;
use super::*;

/// The answer to this request, as a good server gives it, without the empty line at its end.
fn answer(head: &str) -> String {
    let name = "sec-websocket-key: ";
    let key = head.lines().find_map(|line| {
        line.get(..name.len()).filter(|begin| begin.eq_ignore_ascii_case(name)).map(|_| &line[19..])
    });
    let both = format!("{}258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key.expect("a key").trim());
    let hash = ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, both.as_bytes());
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
         sec-websocket-accept: {}\r\n",
        STANDARD.encode(hash)
    )
}

/// Upgrades, and says these bytes.
pub(super) fn saying(bytes: Vec<u8>, then: fn(TcpStream)) -> SocketAddr {
    server(move |mut stream| {
        let answer = answer(&request(&mut stream));
        let _ = stream.write_all(format!("{answer}\r\n").as_bytes());
        let _ = stream.write_all(&bytes);
        then(stream);
    })
}

/// By then the client knows that it is connected: sooner it is another reason.
fn reset_later(stream: TcpStream) {
    thread::sleep(ms(50));
    reset(stream);
}

/// Upgrades, and speaks as `serve` does.
fn speaking<S: Read + Write>(mut stream: S, serve: impl Fn(&mut WebSocket<S>)) {
    let head = request(&mut stream);
    let chosen = match head.contains("chat.v2") {
        true => "sec-websocket-protocol: chat.v2\r\nx-served-by: test\r\n",
        false => "",
    };
    let _ = stream.write_all(format!("{}{chosen}\r\n", answer(&head)).as_bytes());
    let _ = stream.flush();
    serve(&mut WebSocket::from_raw_socket(stream, Role::Server, None));
}

/// Says what it has heard, between two pings; closes as it is told to.
fn echo<S: Read + Write>(websocket: &mut WebSocket<S>) {
    let mut pongs = 0;
    loop {
        match websocket.read() {
            Ok(Message::Text(text)) if text.as_str() == "bye" => {
                let close = CloseFrame { code: 4001.into(), reason: "as you wish".into() };
                let _ = websocket.close(Some(close));
            }
            Ok(Message::Text(text)) if text.as_str() == "pongs" => {
                let _ = websocket.send(Message::text(format!("{pongs} pongs")));
            }
            Ok(message @ Message::Binary(_)) => {
                let _ = websocket.send(message);
            }
            Ok(message @ Message::Text(_)) => {
                let _ = websocket.send(Message::Ping(b"there?".to_vec().into()));
                let _ = websocket.send(Message::text("not for you"));
                let _ = websocket.send(message);
            }
            Ok(Message::Pong(payload)) => pongs += usize::from(payload.as_ref() == b"there?"),
            Ok(_) => {}
            Err(_) => return,
        }
    }
}

fn exchange(name: &str, send: &str, expect: &str) -> Exchange {
    let raw = |text: &str| text.as_bytes().to_vec();
    Exchange {
        name: name.to_owned(),
        send: match send.strip_prefix("raw:") {
            Some(bytes) => Some(Payload::Bytes(raw(bytes))),
            None => (!send.is_empty()).then(|| Payload::Text(send.to_owned())),
        },
        expect: match expect.strip_prefix("raw:") {
            Some(bytes) => Some(Expected::Bytes(raw(bytes))),
            None => (!expect.is_empty()).then(|| Expected::Pattern(expect.to_owned())),
        },
    }
}

fn websocket(address: SocketAddr, change: impl FnOnce(&mut WebSocketStep)) -> Run {
    let url = format!("ws://{address}/live?a=1");
    let mut step = WebSocketStep { url, ..WebSocketStep::default() };
    change(&mut step);
    run_of(StepKind::Websocket(step))
}

#[tokio::test]
async fn what_is_said_in_messages_is_heard_and_can_be_judged() {
    let address = server(|stream| speaking(stream, echo));
    let mut run = websocket(address, |step| {
        step.subprotocols = vec!["chat.v2".to_owned(), "chat".to_owned()];
        step.dialogue = vec![
            exchange("hello", "id 42", "^id (?<id>[0-9]+)$"),
            exchange("again", "got %{id}", "^got 42$"),
            exchange("bytes", "raw:\0\u{1}", "raw:\0"),
            exchange("pings", "pongs", "^[1-9][0-9]* pongs$"),
        ];
    });
    run.expect = [
        "subprotocol == 'chat.v2' && close_code == 1000 && headers['x-served-by'] == 'test'",
        "captures.id == '42' && received.contains('not for you')",
        "size(exchanges) == 4 && exchanges.hello < duration('2s') && latency < duration('2s')",
    ]
    .map(str::to_owned)
    .to_vec();
    let finding = found(&run).await;
    assert_eq!((finding.outcome, finding.reason), (Outcome::Pass, None), "{finding:?}");
    let own: Vec<Phase> =
        finding.phases.iter().filter(|(step, ..)| *step == 0).map(|(_, of, _)| *of).collect();
    assert_eq!(own, [Phase::Connect, Phase::FirstByte, Phase::Transfer]);
    let steps: Vec<u32> =
        finding.phases.iter().map(|(step, ..)| *step).filter(|step| *step > 0).collect();
    assert_eq!(steps, [1, 2, 3, 4], "each step has a series");
    // The code is the target's.
    let mut run = websocket(address, |step| step.dialogue = vec![exchange("bye", "bye", "")]);
    run.expect = vec!["close_code == 4001".to_owned()];
    let finding = found(&run).await;
    assert_eq!(finding.outcome, Outcome::Pass, "{finding:?}");
    // Without anything to say the upgrade is enough, and nobody waits for a close.
    let finding = found(&websocket(saying(vec![], hang), |_| {})).await;
    assert_eq!(finding.outcome, Outcome::Pass, "{finding:?}");
    let mut run = websocket(saying(vec![], hang), |_| {});
    (run.expect, run.timeout) = (vec!["close_code == 1000".to_owned()], ms(300));
    let finding = found(&run).await;
    assert_eq!(finding.reason, Some(Reason::Timeout), "{finding:?}");
    assert!(finding.evidence.contains("before it sent a close frame"), "{finding:?}");
}

#[tokio::test]
async fn a_websocket_over_tls_is_judged_by_its_certificate() {
    let ours = authority();
    let config = config(&ours, (2020, 2090), rustls::DEFAULT_VERSIONS);
    let address = server(move |stream| {
        let session = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
        speaking(rustls::StreamOwned::new(session, stream), echo);
    });
    let secure = |change: fn(&mut WebSocketStep)| {
        let mut run = websocket(address, |step| {
            step.url = format!("wss://{address}/");
            step.dialogue = vec![exchange("1", "hi", "^hi$")];
            change(step);
        });
        run.expect = vec!["cert.days_left > 100 && tls_version == '1.3'".to_owned()];
        run
    };
    let mut trusted = secure(|_| {});
    if let StepKind::Websocket(step) = &mut trusted.steps[0].kind {
        step.tls.ca_pem = Some(ours.pem.clone());
    }
    let finding = found(&trusted).await;
    assert_eq!((finding.outcome, finding.reason), (Outcome::Pass, None), "{finding:?}");
    assert_eq!(finding.expiry, ends(2090));
    let finding = found(&secure(|step| step.tls.insecure = true)).await;
    assert_eq!(finding.outcome, Outcome::Pass, "{finding:?}");
    assert_eq!(found(&secure(|_| {})).await.reason, Some(Reason::TlsUntrusted));
    if let StepKind::Websocket(step) = &mut trusted.steps[0].kind {
        step.tls.server_name = Some("other.example".to_owned());
    }
    assert_eq!(found(&trusted).await.reason, Some(Reason::TlsNameMismatch));
    let plain = websocket(address, |_| {});
    assert_ne!(found(&plain).await.outcome, Outcome::Pass);
}

#[tokio::test]
async fn upgrades_that_are_none_have_their_reasons() {
    use Reason as R;
    let with = |change: fn(String) -> String| {
        server(move |mut stream| {
            let answer = answer(&request(&mut stream));
            let _ = stream.write_all(format!("{}\r\n", change(answer)).as_bytes());
            hang(stream);
        })
    };
    for (what, address, reason, evidence) in [
        ("no websocket", answering(OK), R::WebsocketRefused, "status 200 in answer to"),
        (
            "a redirect",
            answering(b"HTTP/1.1 302 Found\r\nlocation: /\r\ncontent-length: 0\r\n\r\n"),
            R::WebsocketRefused,
            "status 302",
        ),
        ("forbidden", answering(b"HTTP/1.1 403 No\r\n\r\n"), R::WebsocketRefused, "status 403"),
        (
            "no upgrade",
            with(|answer| answer.replace("upgrade: websocket", "upgrade: h2c")),
            R::WebsocketHandshake,
            "no upgrade header",
        ),
        (
            "no connection",
            with(|answer| answer.replace("connection: Upgrade", "connection: keep-alive")),
            R::WebsocketHandshake,
            "no connection header",
        ),
        (
            "another key",
            with(|answer| answer.replace("accept: ", "accept: x")),
            R::WebsocketHandshake,
            "does not answer the key",
        ),
        (
            "no key",
            with(|answer| answer.replace("sec-websocket-accept", "x-accept")),
            R::WebsocketHandshake,
            "no sec-websocket-accept",
        ),
        (
            "an extension",
            with(|answer| answer + "sec-websocket-extensions: permessage-deflate\r\n"),
            R::WebsocketHandshake,
            "an extension",
        ),
        (
            "a subprotocol that was not offered",
            with(|answer| answer + "sec-websocket-protocol: soap\r\n"),
            R::WebsocketHandshake,
            "that was not offered: soap",
        ),
        (
            "a subprotocol of which 64 letters are told",
            with(|answer| format!("{answer}sec-websocket-protocol: {}\r\n", "s".repeat(8_000))),
            R::WebsocketHandshake,
            &format!("that was not offered: {}", "s".repeat(64)),
        ),
        (
            "two subprotocols",
            with(|answer| answer + "sec-websocket-protocol: chat\r\nsec-websocket-protocol: a\r\n"),
            R::WebsocketHandshake,
            "more than one",
        ),
        ("another protocol", answering(b"220 mail.example\r\n\r\n"), R::HttpMalformed, ""),
        ("nothing", answering(b""), R::HttpTruncated, ""),
        ("half an answer", answering(b"HTTP/1.1 101 Sw"), R::HttpTruncated, ""),
    ] {
        let mut run = websocket(address, |step| step.subprotocols = vec!["chat".to_owned()]);
        run.steps[0].name = "live".to_owned();
        let finding = found(&run).await;
        let said = (finding.outcome, finding.reason, finding.step);
        assert_eq!(said, (Outcome::Fail, Some(reason), 0), "{what}");
        assert!(finding.evidence.contains(evidence), "{what}: {finding:?}");
        // An answer of HTTP has come, whatever it says of websockets.
        let answered = matches!(reason, R::WebsocketRefused | R::WebsocketHandshake);
        let wanted = [Phase::Connect, Phase::FirstByte];
        let wanted = if answered { &wanted[..] } else { &wanted[..1] };
        assert_eq!(phases(&finding), wanted, "{what}: {finding:?}");
    }
    for mut silent in [
        websocket(server(hang), |_| {}),
        websocket(
            server(|mut stream| {
                request(&mut stream);
                let _ = stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\nupgr");
                hang(stream);
            }),
            |_| {},
        ),
    ] {
        silent.timeout = ms(300);
        let finding = found(&silent).await;
        assert_eq!((finding.reason, finding.step), (Some(R::Timeout), 0), "{finding:?}");
        assert_eq!(phases(&finding), [Phase::Connect], "{finding:?}");
    }
    let reset_after = server(|mut stream| {
        request(&mut stream);
        reset(stream);
    });
    let finding = found(&websocket(reset_after, |_| {})).await;
    assert_eq!((finding.reason, finding.step), (Some(R::HttpReset), 0), "{finding:?}");
    assert_eq!(phases(&finding), [Phase::Connect], "{finding:?}");
}

#[tokio::test]
async fn conversations_that_break_have_their_reasons() {
    use Reason as R;
    let long = [&[0x81, 126, 0x10, 0][..], &[b'x'; 0x1000]].concat();
    assert!(long.len() > CAPTURE_BYTES_MAX);
    let large = u16::try_from(WEBSOCKET_MESSAGE_BYTES_MAX).unwrap() + 1;
    let large = [&[0x82, 126][..], &large.to_be_bytes()].concat();
    for (what, says, then, reason, evidence) in [
        (
            "closed with a code",
            &b"\x88\x05\x03\xf3now"[..],
            hang as fn(TcpStream),
            R::WebsocketClosed,
            "1011",
        ),
        ("closed without one", b"\x88\x00", hang, R::WebsocketClosed, "without a code"),
        ("cut off", b"\x81\x05hel", drop, R::ConnectionClosed, "`hello`"),
        ("reset", b"", reset_later, R::ConnectionReset, "`hello`"),
        ("reset within a message", b"\x81\x05hel", reset_later, R::ConnectionReset, "`hello`"),
        ("something else", b"\x81\x02no", drop, R::AnswerMismatch, "the target said \"no\""),
        ("silence", b"", hang, R::Timeout, "`hello`"),
        ("something else, and silence", b"\x81\x02no", hang, R::AnswerMismatch, "the time is over"),
        ("masked", b"\x81\x85\0\0\0\0hello", hang, R::WebsocketMalformed, "masked"),
        ("a bad opcode", b"\x83\x00", hang, R::WebsocketMalformed, "opcode 3"),
        ("a long ping", b"\x89\x7e\x00\x7e", hang, R::WebsocketMalformed, "126 bytes"),
        ("a ping in fragments", b"\x09\x00", hang, R::WebsocketMalformed, "fragments"),
        ("no text", b"\x81\x02\xff\xfe", hang, R::WebsocketMalformed, "not UTF-8"),
        ("half a code", b"\x88\x01\x03", hang, R::WebsocketMalformed, "half a code"),
        ("a reserved bit", b"\xc1\x00", hang, R::WebsocketMalformed, "reserved bit"),
        ("a large message", &large, hang, R::AnswerTooLarge, "a message of over 32768 bytes"),
        ("a long capture", &long, hang, R::AnswerTooLarge, "captured 4096 bytes"),
    ] {
        let mut run = websocket(saying(says.to_vec(), then), |step| {
            step.dialogue = vec![exchange("hello", "", "^(?<word>hello|x+)$")];
        });
        if reason == R::Timeout || evidence == "the time is over" {
            run.timeout = ms(300);
        }
        let finding = found(&run).await;
        assert_eq!((finding.reason, finding.step), (Some(reason), 0), "{what}: {finding:?}");
        assert!(finding.evidence.contains(evidence), "{what}: {finding:?}");
        // A step that has not ended has no length.
        assert_eq!(phases(&finding), [Phase::Connect, Phase::FirstByte], "{what}: {finding:?}");
    }
}

#[tokio::test]
async fn what_comes_with_the_answer_is_no_part_lost() {
    // A message in the same piece as the head, its second half in fragments.
    let address = server(|mut stream| {
        let answer = answer(&request(&mut stream));
        let early = [format!("{answer}\r\n").as_bytes(), b"\x01\x02he\x89\x00\x00\x01l"].concat();
        let _ = stream.write_all(&early);
        let _ = stream.write_all(b"\x80\x02lo");
        hang(stream);
    });
    let run = websocket(address, |step| step.dialogue = vec![exchange("hello", "", "^hello$")]);
    let finding = found(&run).await;
    assert_eq!(finding.outcome, Outcome::Pass, "{finding:?}");
}

#[tokio::test]
async fn secrets_are_sent_in_messages_and_headers_and_never_told() {
    let address = server(|stream| speaking(stream, echo));
    let path = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(path.path(), "s3cret\n").unwrap();
    let secrets = Secrets::new(vec![], vec![path.path().to_owned()]);
    let executor = Executor::new(secrets, None, None);
    let template = format!("${{file:{}}}", path.path().display());
    let mut run = websocket(address, |step| {
        step.headers = vec![("x-key".to_owned(), template.clone())];
        step.dialogue = vec![exchange("login", &format!("login {template}"), "^welcome")];
    });
    run.timeout = ms(500);
    let finding = executor.run(&run).await.finding;
    assert_eq!(finding.reason, Some(Reason::AnswerMismatch), "{finding:?}");
    assert!(finding.evidence.contains("login ***"), "{finding:?}");
    assert!(!finding.evidence.contains("s3cret"), "{finding:?}");
}
