//! Frames of a websocket (RFC 6455, 5), as a client reads and writes them.
//!
//! [`Frames`] takes bytes as they arrive and gives whole messages, fragments put together. Whatever a
//! server must not send is an error that says what it was; nothing is passed over.

use parallax_common::limits::{
    WEBSOCKET_BYTES_MAX, WEBSOCKET_FRAMES_MAX, WEBSOCKET_MESSAGE_BYTES_MAX,
};

/// What a frame is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opcode {
    /// Goes on with a message.
    Continuation = 0x0,
    /// Begins a message of text.
    Text = 0x1,
    /// Begins a message of bytes.
    Binary = 0x2,
    /// The end; nothing follows.
    Close = 0x8,
    /// Wants a pong.
    Ping = 0x9,
    /// Answers a ping, or says that somebody is there.
    Pong = 0xA,
}

impl Opcode {
    const fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xA => Self::Pong,
            _ => return None,
        })
    }

    const fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// The most that a control frame carries (RFC 6455, 5.5).
const CONTROL_BYTES_MAX: usize = 125;

/// A frame as a client sends it: whole, and masked with this key.
pub fn masked(opcode: Opcode, payload: &[u8], key: [u8; 4]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(payload.len() + 14);
    frame.push(0x80 | opcode as u8);
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(length @ ..=125), _) => frame.push(0x80 | length),
        (_, Ok(length)) => {
            frame.push(0x80 | 126);
            frame.extend(length.to_be_bytes());
        }
        _ => {
            frame.push(0x80 | 127);
            frame.extend((payload.len() as u64).to_be_bytes());
        }
    }
    frame.extend(key);
    frame.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}

/// What a server has sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A whole message, of text or of bytes.
    Message(Vec<u8>),
    /// To be answered with the same bytes.
    Ping(Vec<u8>),
    /// Of no meaning for who has sent no ping.
    Pong,
    /// The end, with a code and a text unless the server gave none.
    Close(Option<(u16, String)>),
}

/// Why frames cannot be read any further.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// It breaks the protocol.
    #[error("frame {frame}: {what}")]
    Malformed {
        /// Counted from 1.
        frame: usize,
        /// In words.
        what: String,
    },
    /// It is more than is read.
    #[error("{0}")]
    TooLarge(String),
}

/// Takes the bytes of a server apart.
#[derive(Debug, Default)]
pub struct Frames {
    /// Arrived, and not taken apart yet; what lies before `at` has been.
    buffer: Vec<u8>,
    at: usize,
    /// All that has arrived.
    bytes: usize,
    frames: usize,
    /// A message whose last fragment has not come: whether it is text, and what there is of it.
    partial: Option<(bool, Vec<u8>)>,
}

/// Head and payload of one frame, within the buffer.
struct Whole {
    is_final: bool,
    opcode: Opcode,
    payload: std::ops::Range<usize>,
}

impl Frames {
    /// Takes what has arrived.
    ///
    /// # Errors
    /// More has arrived than is read.
    pub fn push(&mut self, arrived: &[u8]) -> Result<(), FrameError> {
        self.bytes += arrived.len();
        if self.bytes > WEBSOCKET_BYTES_MAX {
            let what = format!("more than {WEBSOCKET_BYTES_MAX} bytes arrived");
            return Err(FrameError::TooLarge(what));
        }
        self.buffer.drain(..self.at);
        self.at = 0;
        self.buffer.extend_from_slice(arrived);
        Ok(())
    }

    /// What the server has said next; `None` when it has not all arrived.
    ///
    /// # Errors
    /// What has arrived breaks the protocol, or is more than is read.
    pub fn next_event(&mut self) -> Result<Option<Event>, FrameError> {
        while let Some(frame) = self.frame()? {
            let payload = &self.buffer[frame.payload.clone()];
            let event = match frame.opcode {
                Opcode::Ping => Some(Event::Ping(payload.to_vec())),
                Opcode::Pong => Some(Event::Pong),
                Opcode::Close => Some(Event::Close(self.close(payload)?)),
                Opcode::Text | Opcode::Binary | Opcode::Continuation => {
                    let payload = payload.to_vec();
                    self.fragment(frame.opcode, frame.is_final, payload)?
                }
            };
            self.at = frame.payload.end;
            if event.is_some() {
                return Ok(event);
            }
        }
        Ok(None)
    }

    fn malformed<T>(&self, what: impl Into<String>) -> Result<T, FrameError> {
        Err(FrameError::Malformed { frame: self.frames, what: what.into() })
    }

    /// The next frame, when all of it is there. What is wrong with its head is said before its payload
    /// has come.
    fn frame(&mut self) -> Result<Option<Whole>, FrameError> {
        let rest = &self.buffer[self.at..];
        let [first, second, after @ ..] = rest else { return Ok(None) };
        let (length_bytes, short) = match second & 0x7f {
            126 => (2, 0),
            127 => (8, 0),
            length => (0, usize::from(length)),
        };
        let Some(long) = after.get(..length_bytes) else { return Ok(None) };
        let is_final = first & 0x80 != 0;
        let length = match length_bytes {
            0 => short,
            _ => {
                let length = long.iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
                // One that does not fit is too large on any machine.
                usize::try_from(length).unwrap_or(usize::MAX)
            }
        };
        let (reserved, masked) = (first & 0x70 != 0, second & 0x80 != 0);
        let begin = self.at + 2 + length_bytes;
        let opcode = Opcode::from_bits(first & 0x0f);
        let bits = first & 0x0f;
        let is_whole = self.buffer.len().saturating_sub(begin) >= length;
        // Counted once, although its head may be looked at several times.
        self.frames += 1;
        let Some(opcode) = opcode else {
            return self.malformed(format!("opcode {bits} has no meaning"));
        };
        if reserved {
            return self.malformed("a reserved bit is set, and no extension was agreed on");
        }
        if masked {
            return self.malformed("it is masked, as only those of a client are");
        }
        if length > usize::MAX >> 1 {
            return self.malformed("its length has the highest bit set");
        }
        if (length_bytes == 2 && length <= 125) || (length_bytes == 8 && length <= 65_535) {
            return self.malformed("its length is not written in the shortest way");
        }
        if opcode.is_control() {
            if !is_final {
                return self.malformed("a control frame is in fragments");
            }
            if length > CONTROL_BYTES_MAX {
                let what = format!("a control frame has {length} bytes; at most 125 are allowed");
                return self.malformed(what);
            }
        }
        if self.frames > WEBSOCKET_FRAMES_MAX {
            let what = format!("more than {WEBSOCKET_FRAMES_MAX} frames arrived");
            return Err(FrameError::TooLarge(what));
        }
        let before = self.partial.as_ref().map_or(0, |(_, partial)| partial.len());
        if length.saturating_add(before) > WEBSOCKET_MESSAGE_BYTES_MAX {
            let what = format!("a message of over {WEBSOCKET_MESSAGE_BYTES_MAX} bytes");
            return Err(FrameError::TooLarge(what));
        }
        if !is_whole {
            self.frames -= 1;
            return Ok(None);
        }
        Ok(Some(Whole { is_final, opcode, payload: begin..begin + length }))
    }

    /// Adds a fragment to its message, and gives that when it is whole.
    fn fragment(
        &mut self,
        opcode: Opcode,
        is_final: bool,
        payload: Vec<u8>,
    ) -> Result<Option<Event>, FrameError> {
        let message = match (opcode, self.partial.take()) {
            (Opcode::Continuation, None) => {
                return self.malformed("it goes on with a message that has not begun");
            }
            (Opcode::Continuation, Some((is_text, mut partial))) => {
                partial.extend(payload);
                (is_text, partial)
            }
            (_, Some(_)) => {
                return self.malformed("a message begins before the one before it has ended");
            }
            (opcode, None) => (opcode == Opcode::Text, payload),
        };
        if !is_final {
            self.partial = Some(message);
            return Ok(None);
        }
        let (is_text, message) = message;
        if is_text && std::str::from_utf8(&message).is_err() {
            return self.malformed("a message of text is not UTF-8");
        }
        Ok(Some(Event::Message(message)))
    }

    fn close(&self, payload: &[u8]) -> Result<Option<(u16, String)>, FrameError> {
        let [high, low, reason @ ..] = payload else {
            return match payload {
                [] => Ok(None),
                _ => self.malformed("a close frame has half a code"),
            };
        };
        let code = u16::from_be_bytes([*high, *low]);
        // RFC 6455, 7.4, and what IANA has added: the others are never sent.
        if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
            return self.malformed(format!("it closes with {code}, which nobody may send"));
        }
        match std::str::from_utf8(reason) {
            Ok(reason) => Ok(Some((code, reason.to_owned()))),
            Err(_) => self.malformed("the text of a close frame is not UTF-8"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a server sends: hexadecimal digits, and texts behind a quote.
    fn bytes(row: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        for word in row.split_whitespace() {
            match word.strip_prefix('"') {
                Some(text) => bytes.extend(text.as_bytes()),
                None => {
                    let pairs = word.as_bytes().chunks(2);
                    let byte = |pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16);
                    bytes.extend(pairs.map(|pair| byte(pair).unwrap()));
                }
            }
        }
        bytes
    }

    fn shown(frames: &mut Frames) -> String {
        let mut shown = Vec::new();
        loop {
            shown.push(match frames.next_event() {
                Ok(Some(Event::Message(message))) => {
                    format!("message {}", String::from_utf8_lossy(&message))
                }
                Ok(Some(Event::Ping(payload))) => {
                    format!("ping {}", String::from_utf8_lossy(&payload))
                }
                Ok(Some(Event::Pong)) => "pong".to_owned(),
                Ok(Some(Event::Close(None))) => "close".to_owned(),
                Ok(Some(Event::Close(Some((code, reason))))) => format!("close {code} {reason}"),
                Ok(None) => break,
                Err(error) => {
                    shown.push(format!("! {error}"));
                    break;
                }
            });
        }
        shown.join(", ")
    }

    #[test]
    fn frames_are_read_as_the_table_says() {
        for (row, wanted) in [
            ("8102 \"hi", "message hi"),
            ("8102 \"h", ""),
            ("81", ""),
            ("8203 00ff01", "message \0\u{fffd}\u{1}"),
            ("8100", "message "),
            ("0101 \"a 0001 \"b 8001 \"c", "message abc"),
            ("0101 \"a 8902 \"hi 8001 \"b", "ping hi, message ab"),
            ("8a00 8102 \"hi", "pong, message hi"),
            ("8800", "close"),
            ("8805 03e8 \"bye", "close 1000 bye"),
            ("8802 0bb8", "close 3000 "),
            // A character in two fragments.
            ("0101 c3 8001 a9", "message é"),
            ("817e0080 ", ""),
            ("8302 \"hi", "! frame 1: opcode 3 has no meaning"),
            ("8b00", "! frame 1: opcode 11 has no meaning"),
            ("c102 \"hi", "! frame 1: a reserved bit is set, and no extension was agreed on"),
            ("9102 \"hi", "! frame 1: a reserved bit is set, and no extension was agreed on"),
            ("8182 00000000 \"hi", "! frame 1: it is masked, as only those of a client are"),
            ("0900", "! frame 1: a control frame is in fragments"),
            ("887e007e", "! frame 1: a control frame has 126 bytes; at most 125 are allowed"),
            ("817e0002 \"hi", "! frame 1: its length is not written in the shortest way"),
            ("817f0000000000000002", "! frame 1: its length is not written in the shortest way"),
            ("817fffffffffffffffff", "! frame 1: its length has the highest bit set"),
            ("817f0000000000010000", "! a message of over 32768 bytes"),
            ("8001 \"a", "! frame 1: it goes on with a message that has not begun"),
            ("0101 \"a 8101 \"b", "! frame 2: a message begins before the one before it has ended"),
            ("8101 ff", "! frame 1: a message of text is not UTF-8"),
            ("0101 c3 8001 \"a", "! frame 2: a message of text is not UTF-8"),
            ("8801 03", "! frame 1: a close frame has half a code"),
            ("8802 03ed", "! frame 1: it closes with 1005, which nobody may send"),
            ("8802 03e7", "! frame 1: it closes with 999, which nobody may send"),
            ("8802 1388", "! frame 1: it closes with 5000, which nobody may send"),
            ("8803 03e8 ff", "! frame 1: the text of a close frame is not UTF-8"),
        ] {
            let bytes = bytes(row);
            let mut frames = Frames::default();
            frames.push(&bytes).unwrap();
            assert_eq!(shown(&mut frames), wanted, "{row}");
            // In single bytes it is the same, but for where an error shows.
            let mut frames = Frames::default();
            let mut all = Vec::new();
            for byte in bytes {
                frames.push(&[byte]).unwrap();
                let shown = shown(&mut frames);
                if !shown.is_empty() {
                    all.push(shown.clone());
                }
                if shown.contains('!') {
                    break;
                }
            }
            assert_eq!(all.join(", "), wanted, "{row}, byte by byte");
        }
    }

    #[test]
    fn everything_that_is_read_has_a_bound() {
        let read = |bytes: &[u8]| {
            let mut frames = Frames::default();
            match frames.push(bytes) {
                Ok(()) => shown(&mut frames),
                Err(error) => format!("! {error}"),
            }
        };
        let pongs = bytes("8a00").repeat(WEBSOCKET_FRAMES_MAX);
        assert!(!read(&pongs).contains('!'));
        let last = "pong, ! more than 1024 frames arrived";
        assert!(read(&[&pongs[..], &pongs[..2]].concat()).ends_with(last));
        let fragment = [&[0x02, 126, 0x40, 0x00][..], &[0; 0x4000]].concat();
        let rest = [&[0x00, 126, 0x40, 0x00][..], &[0; 0x4000]].concat();
        let whole = [&fragment[..], &rest, &[0x80, 0]].concat();
        assert!(read(&whole).starts_with("message "));
        let over = [&fragment[..], &rest, &[0x80, 1, 0]].concat();
        assert_eq!(read(&over), "! a message of over 32768 bytes");
        assert_eq!(read(&[0; WEBSOCKET_BYTES_MAX + 1]), "! more than 131072 bytes arrived");
    }

    #[test]
    fn what_is_sent_is_masked_and_of_each_length() {
        let key = [1, 2, 3, 4];
        assert_eq!(masked(Opcode::Text, b"hello", key), bytes("8185 01020304 69676f686e"));
        assert_eq!(masked(Opcode::Close, &[], key), bytes("8880 01020304"));
        for (length, head) in [
            (125, "82fd"),
            (126, "82fe007e"),
            (65_535, "82feffff"),
            (65_536, "82ff0000000000010000"),
        ] {
            let frame = masked(Opcode::Binary, &vec![0; length], key);
            let head = bytes(head);
            assert_eq!(frame[..head.len()], head[..], "{length}");
            assert_eq!(frame.len(), head.len() + 4 + length, "{length}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..20)) {
            let mut frames = Frames::default();
            for part in parts {
                if frames.push(&part).is_err() || shown(&mut frames).contains('!') {
                    break;
                }
            }
        }
    }
}
