//! Replies of a mail server, out of the bytes that it sends: bounded in the length of a line and in their
//! number, whatever the server would like to say. Pure.

use bytes::{Buf as _, BytesMut};
use lettre::transport::smtp::response::Response;
use parallax_common::limits::{SMTP_LINE_BYTES_MAX, SMTP_REPLY_LINES_MAX, SMTP_REPLY_SHOWN_MAX};
use parallax_common::redact::redact;

use crate::notify::kinds::words;

/// What came is no reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// Without an end, or as good as.
    #[error("the server sent a line of more than {SMTP_LINE_BYTES_MAX} bytes")]
    LineTooLong,
    /// One that never ends.
    #[error("the server sent a reply of more than {SMTP_REPLY_LINES_MAX} lines")]
    TooManyLines,
    /// Three digits are missing, or differ.
    #[error("the server sent something that is no reply of SMTP")]
    NotAReply,
}

/// Takes the first reply out of what was read; nothing while its end has not come.
///
/// # Errors
/// What came is no reply, and none is to be expected any more.
pub fn take(read: &mut BytesMut) -> Result<Option<Response>, ReplyError> {
    let mut text = String::new();
    let mut at = 0;
    for _ in 0..SMTP_REPLY_LINES_MAX {
        let rest = &read[at..];
        let Some(end) = rest.iter().take(SMTP_LINE_BYTES_MAX).position(|b| *b == b'\n') else {
            let waits = rest.len() < SMTP_LINE_BYTES_MAX;
            return if waits { Ok(None) } else { Err(ReplyError::LineTooLong) };
        };
        let line = rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]);
        at += end + 1;
        if line.len() < 3 || !line[..3].iter().all(u8::is_ascii_digit) {
            return Err(ReplyError::NotAReply);
        }
        let (code, said) = line.split_at(3);
        let goes_on = said.first() == Some(&b'-');
        if !goes_on && !matches!(said.first(), None | Some(b' ')) {
            return Err(ReplyError::NotAReply);
        }
        // A code alone is a last line, too; the parser wants the space behind it.
        text.push_str(&String::from_utf8_lossy(code));
        text.push(if goes_on { '-' } else { ' ' });
        let said = said.get(1..).unwrap_or_default();
        text.push_str(&String::from_utf8_lossy(said).replace('\r', " "));
        text.push_str("\r\n");
        if !goes_on {
            read.advance(at);
            return text.parse().map(Some).map_err(|_| ReplyError::NotAReply);
        }
    }
    Err(ReplyError::TooManyLines)
}

/// The number of a reply.
pub fn code(reply: &Response) -> u16 {
    reply.code().into()
}

/// A reply on one line, for people, without what is `hidden`: taken out before anything is cut off, so
/// that no half of it is left.
pub fn shown(reply: &Response, hidden: &[String]) -> String {
    let said: Vec<&str> = reply.message().flat_map(str::split_whitespace).collect();
    let line = redact(&format!("{} {}", code(reply), said.join(" ")), hidden);
    words::cut(line.trim_end(), SMTP_REPLY_SHOWN_MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Taken = Result<Option<String>, ReplyError>;

    fn taken(bytes: &[u8]) -> Taken {
        let mut read = BytesMut::from(bytes);
        Ok(take(&mut read)?.map(|reply| format!("{} | {}", shown(&reply, &[]), read.len())))
    }

    #[test]
    fn a_reply_is_taken_as_it_comes() {
        let some = |text: &str| Ok(Some(text.to_owned()));
        let table: [(&[u8], Taken); 14] = [
            (b"220 mail.example ready\r\n", some("220 mail.example ready | 0")),
            (
                b"250-mail.example\r\n250-STARTTLS\r\n250 OK\r\n",
                some("250 mail.example STARTTLS OK | 0"),
            ),
            (b"250\r\n", some("250 | 0")),
            (b"250 OK\n", some("250 OK | 0")),
            (b"250 one\r\n250 two\r\n", some("250 one | 9")),
            (b"550 5.1.1 caf\xff\r\n", some("550 5.1.1 caf\u{fffd} | 0")),
            (b"", Ok(None)),
            (b"220 mail", Ok(None)),
            (b"250-a\r\n250-b\r\n", Ok(None)),
            (b"250-a\r\n550 b\r\n", Err(ReplyError::NotAReply)),
            (b"HTTP/1.1 400 Bad Request\r\n", Err(ReplyError::NotAReply)),
            (b"\r\n", Err(ReplyError::NotAReply)),
            (b"250x\r\n", Err(ReplyError::NotAReply)),
            (b"999 \r\n", Err(ReplyError::NotAReply)),
        ];
        for (bytes, expected) in table {
            assert_eq!(taken(bytes), expected, "{:?}", String::from_utf8_lossy(bytes));
        }
        assert_eq!(taken(&vec![b'2'; SMTP_LINE_BYTES_MAX]), Err(ReplyError::LineTooLong));
        let endless = b"250-a\r\n".repeat(SMTP_REPLY_LINES_MAX + 1);
        assert_eq!(taken(&endless), Err(ReplyError::TooManyLines));
    }

    #[test]
    fn what_is_shown_of_a_reply_has_an_end() {
        let line = format!("550 {}\r\n", "x".repeat(SMTP_LINE_BYTES_MAX - 10));
        let reply = take(&mut BytesMut::from(line.as_bytes())).unwrap().unwrap();
        assert_eq!(shown(&reply, &[]).chars().count(), SMTP_REPLY_SHOWN_MAX);
        // Nor is a half of what is hidden.
        let line = format!("550 {} password-canary\r\n", "x".repeat(SMTP_REPLY_SHOWN_MAX - 12));
        let reply = take(&mut BytesMut::from(line.as_bytes())).unwrap().unwrap();
        let hidden = ["password-canary".to_owned()];
        assert!(shown(&reply, &[]).contains("pass"));
        assert!(!shown(&reply, &hidden).contains("pass"));
    }

    proptest! {
        /// A reply that is said in pieces is the one that is said at once, and nothing else panics.
        #[test]
        fn no_bytes_are_too_much(bytes in proptest::collection::vec(any::<u8>(), 0..400), at in 0_usize..400) {
            let mut read = BytesMut::from(bytes.as_slice());
            let whole = take(&mut read).map(|reply| reply.map(|reply| shown(&reply, &[])));
            let mut read = BytesMut::from(&bytes[..at.min(bytes.len())]);
            let pieces = match take(&mut read) {
                Ok(None) => {
                    read.extend_from_slice(&bytes[at.min(bytes.len())..]);
                    take(&mut read)
                }
                early => early,
            };
            prop_assert_eq!(pieces.map(|reply| reply.map(|reply| shown(&reply, &[]))), whole);
        }
    }
}
