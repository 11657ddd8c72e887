use proptest::prelude::*;

use super::*;

/// What follows is said in answer to what was sent; a `-` in place of a text says nothing.
fn play(protocol: Protocol, turns: &[&[u8]], cut: Cut) -> (String, Result<String, Refusal>) {
    let mut talk = StartTls::new(protocol, "[192.0.2.1]".to_owned());
    let mut turns = turns.iter();
    let mut arrived: &[u8] = &[];
    let mut sent = String::new();
    let ended = loop {
        match talk.next(std::mem::take(&mut arrived)) {
            Ok(Action::Send(bytes)) => {
                let shown = quoted(&bytes, &[]);
                sent.push_str(shown.trim_matches('"'));
                sent.push('|');
            }
            Ok(Action::Read) => match turns.next() {
                Some(bytes) => arrived = bytes,
                None => break Err(talk.cut(cut)),
            },
            Ok(Action::Done) => break Ok(talk.into_banner()),
            Ok(Action::Ended(_) | Action::Leave(_)) => panic!("it ends with a handshake"),
            Err(refusal) => break Err(refusal),
        }
    };
    (sent, ended)
}

const LDAP_YES: &[u8] = b"\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x00\x04\x00\x04\x00";

/// A greeting of MySQL with these capabilities.
fn mysql(version: &str, capabilities: u16) -> Vec<u8> {
    let mut payload = vec![10];
    payload.extend(version.bytes());
    payload.extend([0; 14]);
    payload.extend(capabilities.to_le_bytes());
    payload.extend([45, 2, 0]);
    let mut packet = vec![u8::try_from(payload.len()).unwrap(), 0, 0, 0];
    packet.extend(payload);
    packet
}

#[test]
fn each_protocol_reaches_the_handshake() {
    let smtp: &[&[u8]] = &[
        b"220-mail.example ESMTP\r\n220 welcome\r\n",
        b"250-mail.example\r\n250-PIPELINING\r\n250-starttls\r\n250 8BITMIME\r\n",
        b"220 go ahead\r\n",
    ];
    let postgres: &[&[u8]] = &[b"S"];
    let greeting = mysql("11.4.2-MariaDB", 0xf7fe | 0x800);
    let sql: &[&[u8]] = &[&greeting];
    for (protocol, turns, sent, banner) in [
        (Protocol::Smtp, smtp, "EHLO [192.0.2.1]\\r\\n|STARTTLS\\r\\n|", "220-mail.example ESMTP"),
        (
            Protocol::Imap,
            &[b"* OK [CAPABILITY IMAP4rev1] ready\r\n", b"* CAPABILITY\r\np1 OK begin\r\n"],
            "p1 STARTTLS\\r\\n|",
            "* OK [CAPABILITY IMAP4rev1] ready",
        ),
        (Protocol::Pop3, &[b"+OK ready\r\n", b"+OK\r\n"], "STLS\\r\\n|", "+OK ready"),
        (
            Protocol::Ldap,
            &[LDAP_YES],
            "0\\x1d\\x02\\x01\\x01w\\x18\\x80\\x161.3.6.1.4.1.1466.20037|",
            "",
        ),
        (Protocol::Postgres, postgres, "\\x00\\x00\\x00\\x08\\x04\\xd2\\x16/|", ""),
        (
            Protocol::Mysql,
            sql,
            &format!(
                " \\x00\\x00\\x01\\x00\\x8a\\x00\\x00\\x00\\x00\\x00\\x01-{}|",
                "\\x00".repeat(23)
            ),
            "11.4.2-MariaDB",
        ),
    ] {
        let ended = play(protocol, turns, Cut::Closed);
        assert_eq!(ended, (sent.to_owned(), Ok(banner.to_owned())), "{protocol}");
        // The same byte by byte.
        let single: Vec<&[u8]> = turns.iter().flat_map(|turn| turn.chunks(1)).collect();
        assert_eq!(play(protocol, &single, Cut::Closed), ended, "{protocol}");
        // Cut off at each byte.
        for length in 0..single.len() {
            for (cut, reason) in [
                (Cut::Closed, Reason::ConnectionClosed),
                (Cut::Reset, Reason::ConnectionReset),
                (Cut::Late, Reason::Timeout),
            ] {
                let refusal = play(protocol, &single[..length], cut).1.unwrap_err();
                assert_eq!(refusal.reason, reason, "{protocol} {length}: {refusal:?}");
                assert!(refusal.evidence.contains(cut.said()), "{refusal:?}");
            }
        }
        // Bytes that somebody slipped in before the handshake.
        let mut slipped: Vec<Vec<u8>> = turns.iter().map(|turn| turn.to_vec()).collect();
        if let Some(last) = slipped.last_mut() {
            last.extend(b"220 slipped in\r\n");
        }
        let slipped: Vec<&[u8]> = slipped.iter().map(Vec::as_slice).collect();
        let refusal = play(protocol, &slipped, Cut::Closed).1.unwrap_err();
        assert_eq!(refusal.reason, Reason::StarttlsMalformed, "{protocol}");
        assert!(refusal.evidence.contains("does not wait for its turn"), "{refusal:?}");
    }
}

#[test]
fn refusals_and_other_protocols_have_their_reasons() {
    use Protocol as P;
    let (refused, malformed) = (Reason::StarttlsRefused, Reason::StarttlsMalformed);
    let plain = mysql("8.0.36", 0x0200);
    let long = vec![b'2'; 9_000];
    let hostile = [&b"220-"[..], &b"220-a\r\n".repeat(3_000)].concat();
    let busy = b"\x30\x14\x02\x01\x01\x78\x0f\x0a\x01\x34\x04\x00\x04\x08too busy";
    let farewell = b"\x30\x0c\x02\x01\x00\x78\x07\x0a\x01\x34\x04\x00\x04\x00";
    let http: &[u8] = b"HTTP/1.1 400 Bad Request\r\n\r\n";
    let no: &[&[u8]] = &[b"554 no service\r\n"];
    for (protocol, turns, reason, evidence) in [
        (P::Smtp, no, refused, "starttls of smtp, message 1: the server refuses: \"554 no"),
        (P::Smtp, &[b"220 a\r\n", b"250-a\r\n250 HELP\r\n"], refused, "does not offer STARTTLS"),
        (
            P::Smtp,
            &[b"220 a\r\n", b"502 what?\r\n"],
            refused,
            "message 2: the server refuses: \"502",
        ),
        (P::Smtp, &[b"220 a\r\n", b"250 STARTTLS\r\n", b"454 later\r\n"], refused, "454 later"),
        (P::Smtp, &[b"220 a\r\n", b"220 a\r\n"], malformed, "220 is no answer here"),
        (P::Smtp, &[b"220 a\r\n250 b\r\n"], malformed, "does not wait for its turn"),
        (P::Smtp, &[b"220-a\r\n221 b\r\n"], malformed, "without its code"),
        (P::Smtp, &[b"220a\r\n"], malformed, "without its code"),
        (P::Smtp, &[b"+20 a\r\n"], malformed, "without its code"),
        (P::Smtp, &[b"\xff\xff\xff\r\n"], malformed, "no text"),
        (P::Smtp, &[http], malformed, "said \"HTTP/1.1 400"),
        (P::Smtp, &[&long], malformed, "a line has no end"),
        (P::Smtp, &[&hostile], Reason::AnswerTooLarge, "more than 16384 bytes"),
        (P::Imap, &[b"* BYE full\r\n"], refused, "* BYE full"),
        (P::Imap, &[b"* PREAUTH hello\r\n"], refused, "logged the connection in"),
        (P::Imap, &[b"* OK\r\n", b"p1 BAD what?\r\n"], refused, "p1 BAD what?"),
        (P::Imap, &[b"* OK\r\n", b"p1 NO\r\n"], refused, "message 2"),
        (P::Imap, &[b"* OK\r\n", b"* OK x\r\n* BYE\r\n"], refused, "message 3"),
        (P::Imap, &[b"* OK\r\n", b"p2 OK\r\n"], malformed, "no answer of IMAP"),
        (P::Imap, &[b"+OK\r\n"], malformed, "no greeting of IMAP"),
        (P::Pop3, &[b"-ERR busy\r\n"], refused, "-ERR busy"),
        (P::Pop3, &[b"-ERR \x1b[2J\r\n"], refused, "refuses: \"-ERR \\x1b[2J\""),
        (P::Pop3, &[b"+OK\r\n", b"-ERR no\r\n"], refused, "-ERR no"),
        (P::Pop3, &[b"* OK\r\n"], malformed, "no answer of POP3"),
        (P::Ldap, &[busy], refused, "result code 52, \"too busy\""),
        (P::Ldap, &[farewell], refused, "result code 52"),
        (P::Ldap, &[http], malformed, "no answer of LDAP"),
        (P::Ldap, &[b"\x30\x80\x02"], malformed, "no answer of LDAP"),
        (P::Ldap, &[b"\x30\x03\x02\x01\x01"], malformed, "no answer of LDAP"),
        (P::Ldap, &[b"\x30\x84\xff\xff\xff\xff"], Reason::ConnectionClosed, "closed"),
        (P::Postgres, &[b"N"], refused, "does not offer TLS"),
        (P::Postgres, &[b"E\0\0\0\x10SFATAL"], refused, "answers with an error"),
        (P::Postgres, &[http], malformed, "no answer of PostgreSQL"),
        (P::Mysql, &[&plain], refused, "does not offer TLS"),
        (P::Mysql, &[b"\x0e\0\0\0\xff\x10\x04Host is out"], refused, "refuses: \"Host is out\""),
        (P::Mysql, &[http], malformed, "no greeting of MySQL"),
        (P::Mysql, &[b"\x03\0\0\0\x0a88"], malformed, "without the server's version"),
        (P::Mysql, &[b"\x03\0\0\0\x0a8\0"], malformed, "too short"),
        (P::Mysql, &[b"\x01\0\0\0\x09"], malformed, "no greeting of MySQL"),
    ] {
        let refusal = play(protocol, turns, Cut::Closed).1.unwrap_err();
        assert_eq!(refusal.reason, reason, "{protocol} {evidence}: {refusal:?}");
        assert!(refusal.evidence.contains(evidence), "{evidence} in {refusal:?}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(
        place in 0usize..6,
        turns in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..6),
    ) {
        let turns: Vec<&[u8]> = turns.iter().map(Vec::as_slice).collect();
        let _ = play(Protocol::ALL[place], &turns, Cut::Late);
    }

    #[test]
    fn no_answer_of_ldap_makes_it_panic(at in 0usize..14, byte in any::<u8>()) {
        let mut answer = LDAP_YES.to_vec();
        answer[at] = byte;
        let _ = play(Protocol::Ldap, &[&answer], Cut::Closed);
    }

    #[test]
    fn no_greeting_of_mysql_makes_it_panic(at in 0usize..27, byte in any::<u8>()) {
        let mut greeting = mysql("8.0.36", 0x800);
        greeting[at] = byte;
        let _ = play(Protocol::Mysql, &[&greeting], Cut::Closed);
    }
}
