//! What targets and disks hand to a probe.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use parallax_common::check::{ProxyScheme, StartTls as Protocol};
use parallax_common::pattern::Pattern;
use parallax_common::target::HttpUrl;
use parallax_probe::core::echo::packet::{Form, Request};
use parallax_probe::core::proxy::{Handshake, Login, Next, Target};
use parallax_probe::core::spool::merge;
use parallax_probe::core::spool::record::{Record, Rest, encode, salvage, scan};
use parallax_probe::core::talk::dialogue::{Awaited, Dialogue, Line, Piece};
use parallax_probe::core::talk::evidence;
use parallax_probe::core::talk::ssh::Ssh;
use parallax_probe::core::talk::starttls::StartTls;
use parallax_probe::core::talk::websocket::{Terms, WebSocket};
use parallax_probe::core::talk::{Action, Cut, Talk};
use parallax_probe::core::{perfdata, token};
use parallax_proto::convert::window::window;
use prost::Message as _;

/// A packet that arrives on a socket for echoes; the first byte says which socket.
pub fn icmp(bytes: &[u8]) {
    let Some((which, packet)) = bytes.split_first() else { return };
    let target = match which & 1 {
        0 => IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
        _ => IpAddr::V6(Ipv6Addr::LOCALHOST),
    };
    let form = if which & 2 == 0 { Form::Message } else { Form::WithHeader };
    let identifier = (which & 4 == 0).then_some(7);
    let request = Request { target, identifier, token: 0x0102_0304_0506_0708, payload_bytes: 16 };
    request.read(target, form, packet);
    request.read(IpAddr::V4(Ipv4Addr::LOCALHOST), form, packet);
}

/// Hands bytes to a conversation in pieces as long as `pieces` say, in turn, until it ends. It may
/// neither go on for ever without reading, nor speak on after its end.
fn converse(talk: &mut impl Talk, pieces: u8, mut bytes: &[u8]) {
    let sizes = [1 + usize::from(pieces & 15), 1 + 8 * usize::from(pieces >> 4)];
    let mut arrived: &[u8] = &[];
    let (mut steps, mut turn) = (0, 0);
    loop {
        steps += 1;
        assert!(steps < 10_000, "it neither reads nor ends");
        match talk.next(arrived) {
            Ok(Action::Read) if bytes.is_empty() => {
                for how in [Cut::Closed, Cut::Reset, Cut::Late] {
                    talk.cut(how);
                }
                return;
            }
            Ok(Action::Read) => {
                let size = sizes[turn % 2].min(bytes.len());
                (arrived, bytes) = bytes.split_at(size);
                (steps, turn) = (0, turn + 1);
            }
            Ok(Action::Done | Action::Leave(_)) | Err(_) => return,
            Ok(_) => arrived = &[],
        }
    }
}

/// What an SSH server says first.
pub fn ssh(bytes: &[u8]) {
    let Some((pieces, bytes)) = bytes.split_first() else { return };
    let mut talk = Ssh::new();
    converse(&mut talk, *pieces, bytes);
    talk.into_offer();
}

/// What a server says before TLS, in one of the protocols.
pub fn starttls(bytes: &[u8]) {
    let [protocol, pieces, bytes @ ..] = bytes else { return };
    let all = Protocol::ALL;
    let mut talk = StartTls::new(all[usize::from(*protocol) % all.len()], "probe".to_owned());
    converse(&mut talk, *pieces, bytes);
    talk.into_banner();
}

/// A pattern as somebody may write it, up to a zero, and what a target says to it.
pub fn dialogue(bytes: &[u8]) {
    let Some((pieces, bytes)) = bytes.split_first() else { return };
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    let said = bytes.get(end + 1..).unwrap_or_default();
    let Ok(source) = std::str::from_utf8(&bytes[..end]) else { return };
    let Ok(pattern) = Pattern::admit(source) else { return };
    let captured = pattern.captures().map(|name| Piece::Capture(name.to_owned())).collect();
    let line = |send, expect| Line { name: "step".to_owned(), send, expect: Some(expect) };
    let lines = [
        line(vec![Piece::Bytes(b"hello".to_vec())], Awaited::Pattern(pattern)),
        line(captured, Awaited::Bytes(b"ok".to_vec())),
    ];
    let secrets = ["secret".to_owned(), "ok".to_owned()];
    let shown = evidence::quoted(said, &secrets);
    assert!(!shown.contains("secret"), "{shown}");
    let mut talk = Dialogue::new(lines.into(), secrets.into());
    converse(&mut talk, *pieces, said);
    talk.into_seen();
}

/// What the other side of a websocket sends; the first byte says in which pieces, the second whether
/// its close is awaited.
pub fn websocket(bytes: &[u8]) {
    let [pieces, how, bytes @ ..] = bytes else { return };
    let Ok(pattern) = Pattern::admit("(?<word>[a-z]+)") else { return };
    let lines = [
        Line {
            name: "greet".to_owned(),
            send: vec![Piece::Bytes(b"hello".to_vec())],
            expect: Some(Awaited::Pattern(pattern)),
        },
        Line {
            name: "repeat".to_owned(),
            send: vec![Piece::Capture("word".to_owned())],
            expect: Some(Awaited::Bytes(b"ok".to_vec())),
        },
    ];
    let terms = Terms {
        binary: vec![how & 2 != 0, how & 4 != 0],
        awaits_close: how & 1 != 0,
        masks: vec![[1, 2, 3, 4]; Terms::keys(2)],
    };
    let early = usize::from(*how >> 4).min(bytes.len());
    let dialogue = Dialogue::new(lines.into(), [].into());
    let Ok(mut talk) = WebSocket::new(dialogue, terms, [].into(), &bytes[..early]) else { return };
    converse(&mut talk, *pieces, &bytes[early..]);
    let (dialogue, _) = talk.into_seen();
    dialogue.into_seen();
}

/// What a proxy says until the way is open; the first byte says which kind it is and whether there is a
/// login.
pub fn proxy(bytes: &[u8]) {
    let Some((which, mut bytes)) = bytes.split_first() else { return };
    let schemes = ProxyScheme::ALL;
    let scheme = schemes[usize::from(which >> 1) % schemes.len()];
    let login = (which & 1 != 0).then_some(Login { username: "probe", password: "secret" });
    let target = Target::Name("shop.example".to_owned(), 443);
    let Ok((mut handshake, _)) = Handshake::begin(scheme, &target, login) else { return };
    while !bytes.is_empty() {
        match handshake.take(bytes) {
            Ok((used, next)) => {
                assert!((1..=bytes.len()).contains(&used), "{used} of {}", bytes.len());
                if next == Next::Open {
                    return;
                }
                bytes = &bytes[used..];
            }
            Err(refused) => {
                assert!(!refused.evidence.contains("secret"), "{}", refused.evidence);
                return;
            }
        }
    }
}

/// What a provider of tokens answers; the first byte chooses the status.
pub fn token(bytes: &[u8]) {
    let Some((which, body)) = bytes.split_first() else { return };
    let status = [200, 400, 401, 429, 500][usize::from(*which) % 5];
    let _ = token::read(status, body);
}

/// What a plugin writes.
pub fn perfdata(bytes: &[u8]) {
    perfdata::read(&String::from_utf8_lossy(bytes));
}

/// A URL up to the first zero, and what its redirect leads to.
pub fn redirect(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (from, to) = text.split_once('\0').unwrap_or(("https://shop.example/a?b=c", text));
    let Ok(from) = HttpUrl::parse(from) else { return };
    if let Ok(to) = from.join(to) {
        to.without_query();
        HttpUrl::parse(&to.to_string()).expect("what was read is written so that it is read again");
    }
}

/// A segment as it is found on the disk; and, as a checksum is not to be guessed, bytes with the right one.
pub fn spool(bytes: &[u8]) {
    let (mut good, mut windows) = (0, Vec::new());
    let (end, rest) = scan(bytes, |_| good += 1);
    assert!(end <= bytes.len());
    let mut saved = Vec::new();
    salvage(bytes, |record| {
        encode(&record, &mut saved);
        good -= 1;
    });
    assert!(good <= 0 && (good == 0 || rest == Rest::Damaged), "{good} {rest:?}");

    let mut sealed = b"PxSp".to_vec();
    let length = u32::try_from(bytes.len()).expect("libFuzzer keeps them short");
    sealed.extend(length.to_le_bytes());
    sealed.extend(crc32fast::hash(bytes).to_le_bytes());
    sealed.extend(bytes);
    scan(&sealed, |record| {
        if let Record::Window { bytes, .. } = record
            && let Some(read) = parallax_proto::v1::Window::decode(bytes).ok()
            && let Ok(read) = window(&read)
        {
            windows.push(read);
        }
    });
    if let [one] = windows.as_slice() {
        merge::key(one);
        merge::merge(&[one.clone(), one.clone()]);
    }
}

/// The body of a file with cached assignments.
pub fn assignments(bytes: &[u8]) {
    parallax_probe::cache::read_back(bytes);
}
