//! SMTP (RFC 5321, 3207), IMAP (RFC 9051, 6.2.1) and POP3 (RFC 1939, 2595), up to the handshake.

use super::{Taken, Then, refused};

/// One line, its end included: longer than any of the three protocols has it (RFC 9051 has no limit
/// and advises 8 000).
const LINE_BYTES_MAX: usize = 8_192;
/// The words that IMAP's one command begins with.
const TAG: &str = "p1";

/// The first line, and its length with the end. `None` while it is not whole.
fn line(rest: &[u8]) -> Result<Option<(&str, usize)>, Taken> {
    let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
        return match rest.len() > LINE_BYTES_MAX {
            true => Err(Taken::Malformed("a line has no end".to_owned())),
            false => Ok(None),
        };
    };
    let text = rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]);
    match std::str::from_utf8(text) {
        Ok(text) => Ok(Some((text, end + 1))),
        Err(_) => Err(Taken::Malformed("a line is no text".to_owned())),
    }
}

macro_rules! line {
    ($rest:expr) => {
        match line($rest) {
            Ok(Some(line)) => line,
            Ok(None) => return Taken::NotYet,
            Err(wrong) => return wrong,
        }
    };
}

/// Greeting, EHLO, STARTTLS: three replies of one or more lines.
pub(super) fn smtp(rest: &[u8], heard: u32, own: &str, banner: &mut String) -> Taken {
    let (mut at, mut offered, mut code) = (0, false, None);
    let (last, code) = loop {
        let (text, length) = line!(&rest[at..]);
        at += length;
        // RFC 5321, 4.2: three digits, then a hyphen when there are more lines.
        let (digits, after) = text.split_at_checked(3).unwrap_or_default();
        let of_line = digits.parse::<u16>().ok().filter(|code| (200..600).contains(code));
        let Some(of_line) = of_line.filter(|of| digits.len() == 3 && code.is_none_or(|c| c == *of))
        else {
            return Taken::Malformed("a reply without its code".to_owned());
        };
        code = Some(of_line);
        offered |= after.get(1..).is_some_and(|word| word.eq_ignore_ascii_case("STARTTLS"));
        match after.as_bytes().first() {
            None | Some(b' ') => break (text, of_line),
            Some(b'-') => {}
            Some(_) => return Taken::Malformed("a reply without its code".to_owned()),
        }
    };
    match (heard, code) {
        (0, 220) => {
            // Of several lines the first says who it is.
            *banner = line(rest).ok().flatten().map_or("", |(text, _)| text).to_owned();
            Taken::Message(at, Then::Say(format!("EHLO {own}\r\n").into_bytes()))
        }
        (1, 250) if offered => Taken::Message(at, Then::Say(b"STARTTLS\r\n".to_vec())),
        (1, 250) => Taken::Refused("the server does not offer STARTTLS".to_owned()),
        (2, 220) => Taken::Message(at, Then::Secure),
        (0..=2, code) if code >= 400 => refused(last.as_bytes()),
        _ => Taken::Malformed(format!("{code} is no answer here")),
    }
}

/// Greeting, then one command with its tagged answer.
pub(super) fn imap(rest: &[u8], heard: u32, banner: &mut String) -> Taken {
    let (text, length) = line!(rest);
    let mut words = text.splitn(3, ' ');
    let (tag, status) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let is = |word: &str| status.eq_ignore_ascii_case(word);
    if tag == "*" && is("BYE") {
        return refused(text.as_bytes());
    }
    if heard == 0 {
        return match tag {
            "*" if is("OK") => {
                text.clone_into(banner);
                Taken::Message(length, Then::Say(format!("{TAG} STARTTLS\r\n").into_bytes()))
            }
            // RFC 9051, 7.1.4: it is too late for TLS then.
            "*" if is("PREAUTH") => {
                Taken::Refused("the server has logged the connection in already".to_owned())
            }
            _ => Taken::Malformed("no greeting of IMAP".to_owned()),
        };
    }
    match tag {
        // What it says beside its answer.
        "*" => Taken::Message(length, Then::Wait),
        TAG if is("OK") => Taken::Message(length, Then::Secure),
        TAG if is("NO") || is("BAD") => refused(text.as_bytes()),
        _ => Taken::Malformed("no answer of IMAP".to_owned()),
    }
}

/// Greeting, then one command with its answer.
pub(super) fn pop3(rest: &[u8], heard: u32, banner: &mut String) -> Taken {
    let (text, length) = line!(rest);
    match (text.split(' ').next(), heard) {
        (Some("+OK"), 0) => {
            text.clone_into(banner);
            Taken::Message(length, Then::Say(b"STLS\r\n".to_vec()))
        }
        (Some("+OK"), _) => Taken::Message(length, Then::Secure),
        (Some("-ERR"), _) => refused(text.as_bytes()),
        _ => Taken::Malformed("no answer of POP3".to_owned()),
    }
}
