//! LDAP (RFC 4511), PostgreSQL and MySQL, up to the handshake: protocols of packets.

use super::super::evidence::quoted;
use super::{Taken, Then, refused};

/// An `ExtendedRequest` of StartTLS (RFC 4511, 4.14.1) in BER: message 1, OID 1.3.6.1.4.1.1466.20037.
pub(super) const LDAP_REQUEST: &[u8] =
    b"\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037";
/// `SSLRequest`: its length, and the number that stands in place of a version.
pub(super) const POSTGRES_REQUEST: &[u8] = &[0, 0, 0, 8, 4, 210, 22, 47];

/// A BER element: its tag, its content, and its whole length.
type Element<'b> = (u8, &'b [u8], usize);

/// The first element. `None` while it is not whole; an error when it has no definite length.
fn element(bytes: &[u8]) -> Result<Option<Element<'_>>, ()> {
    let [tag, first, rest @ ..] = bytes else { return Ok(None) };
    // RFC 4511, 5.1: only definite lengths.
    let (length, head) = match first {
        0..=0x7f => (usize::from(*first), 2),
        0x81..=0x84 => {
            let count = usize::from(first - 0x80);
            let Some(digits) = rest.get(..count) else { return Ok(None) };
            let number = digits.iter().fold(0_usize, |sum, byte| sum << 8 | usize::from(*byte));
            (number, 2 + count)
        }
        _ => return Err(()),
    };
    let end = head.checked_add(length).ok_or(())?;
    Ok(bytes.get(head..end).map(|content| (*tag, content, end)))
}

/// One `ExtendedResponse`.
pub(super) fn ldap(rest: &[u8]) -> Taken {
    let malformed = || Taken::Malformed("no answer of LDAP".to_owned());
    // A message is a sequence: anything else need not be awaited in whole.
    if rest.first().is_some_and(|tag| *tag != 0x30) {
        return malformed();
    }
    let (content, length) = match element(rest) {
        Ok(Some((_, content, length))) => (content, length),
        Ok(None) => return Taken::NotYet,
        Err(()) => return malformed(),
    };
    let Some((code, message, id)) = extended_response(content) else { return malformed() };
    match (code, id) {
        (0, 1) => Taken::Message(length, Then::Secure),
        // Unsolicited (RFC 4511, 4.4): the server takes its leave.
        (_, 0 | 1) => {
            let said = match message.is_empty() {
                true => String::new(),
                false => format!(", {}", quoted(message.as_bytes(), &[])),
            };
            Taken::Refused(format!("the server refuses: result code {code}{said}"))
        }
        _ => malformed(),
    }
}

/// Result code, diagnostic message and message id.
fn extended_response(content: &[u8]) -> Option<(u8, String, u8)> {
    let whole = |bytes| element(bytes).ok().flatten();
    let (0x02, [id], end) = whole(content)? else { return None };
    let (0x78, answer, _) = whole(content.get(end..)?)? else { return None };
    let (0x0a, [code], end) = whole(answer)? else { return None };
    let rest = answer.get(end..)?;
    let (0x04, _matched, end) = whole(rest)? else { return None };
    let (0x04, message, _) = whole(rest.get(end..)?)? else { return None };
    Some((*code, String::from_utf8_lossy(message).into_owned(), *id))
}

/// One byte.
pub(super) fn postgres(rest: &[u8]) -> Taken {
    match rest.first() {
        None => Taken::NotYet,
        Some(b'S') => Taken::Message(1, Then::Secure),
        Some(b'N') => Taken::Refused("the server does not offer TLS".to_owned()),
        // An ErrorResponse: of a server that knows no TLS, or takes nobody in.
        Some(b'E') => Taken::Refused("the server answers with an error".to_owned()),
        Some(_) => Taken::Malformed("no answer of PostgreSQL".to_owned()),
    }
}

/// The client speaks the protocol of version 4.1, TLS, and the long form of authentication.
const CLIENT: u32 = 0x200 | CLIENT_SSL as u32 | 0x8000;
const CLIENT_SSL: u16 = 0x800;

/// The first packet of the server, and the answer to it that asks for TLS.
pub(super) fn mysql(rest: &[u8], banner: &mut String) -> Taken {
    let malformed = |why: &str| Taken::Malformed(why.to_owned());
    let Some((&[low, middle, high, sequence], payload)) = rest.split_first_chunk::<4>() else {
        return Taken::NotYet;
    };
    let length = usize::from(low) | usize::from(middle) << 8 | usize::from(high) << 16;
    // Far more than a greeting has: something else speaks.
    if length == 0 || length > 4_096 || sequence != 0 {
        return malformed("no greeting of MySQL");
    }
    let Some(payload) = payload.get(..length) else { return Taken::NotYet };
    match payload {
        [10, rest @ ..] => {
            let Some(end) = rest.iter().position(|byte| *byte == 0) else {
                return malformed("a greeting without the server's version");
            };
            // Thread id, the first part of a challenge, a zero; then what the server can do.
            let Some(&[low, high]) = rest.get(end + 1 + 13..end + 1 + 15) else {
                return malformed("a greeting that is too short");
            };
            *banner = String::from_utf8_lossy(&rest[..end]).into_owned();
            if u16::from_le_bytes([low, high]) & CLIENT_SSL == 0 {
                return Taken::Refused("the server does not offer TLS".to_owned());
            }
            let mut request = vec![32, 0, 0, 1];
            request.extend(CLIENT.to_le_bytes());
            request.extend(0x0100_0000_u32.to_le_bytes());
            // utf8mb4; nothing but this packet is sent before the connection is closed.
            request.push(45);
            request.resize(36, 0);
            Taken::Message(4 + length, Then::SayAndSecure(request))
        }
        [255, rest @ ..] => refused(rest.get(2..).unwrap_or_default()),
        _ => malformed("no greeting of MySQL"),
    }
}
