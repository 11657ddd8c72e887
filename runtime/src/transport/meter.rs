//! Looks at HTTP/2 from outside: whether a client has begun to speak it, and how much of what it
//! sends is work without purpose. Pure; bytes and seconds in.
//!
//! The HTTP/2 library has bounds of its own, but closes such a connection without a word to us. Here
//! it is noticed first, with a reason.

use parallax_common::limits::CONTROL_FRAMES_PER_SECOND_MAX;

/// What every client says first (RFC 9113, section 3.4).
const PREFACE_BYTES: usize = 24;
const FRAME_HEADER_BYTES: usize = 9;
/// Types of frames (RFC 9113, section 6).
const PRIORITY: u8 = 0x2;
const RST_STREAM: u8 = 0x3;
const SETTINGS: u8 = 0x4;
const PING: u8 = 0x6;
/// Bytes of the only thing that RST_STREAM carries, and the error code of a stream that was refused
/// before anything was done for it (RFC 9113, sections 6.4 and 7).
const ERROR_CODE_BYTES: usize = 4;
const REFUSED_STREAM: u32 = 0x7;

/// A client sends more frames that cost us work and carry nothing than any client of ours would.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Flood;

/// Cuts what one side says into frames, however the bytes come.
#[derive(Debug, Default)]
struct Frames {
    /// Bytes of the preface, or of a payload, that are passed over.
    skip: usize,
    /// The header of a frame, and the error code of one that has one.
    frame: [u8; FRAME_HEADER_BYTES + ERROR_CODE_BYTES],
    have: usize,
}

/// The header of a frame.
struct Header {
    kind: u8,
    /// Why a stream is reset; of RST_STREAM only.
    error_code: Option<u32>,
}

impl Frames {
    /// The next frame of `bytes`, which are shortened by what was looked at. None: all were.
    fn next(&mut self, bytes: &mut &[u8]) -> Option<Header> {
        while !bytes.is_empty() {
            if self.skip > 0 {
                let passed = self.skip.min(bytes.len());
                self.skip -= passed;
                *bytes = &bytes[passed..];
                continue;
            }
            let whole =
                if self.have < FRAME_HEADER_BYTES { FRAME_HEADER_BYTES } else { self.frame.len() };
            let taken = (whole - self.have).min(bytes.len());
            self.frame[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
            self.have += taken;
            *bytes = &bytes[taken..];
            let [high, middle, low, kind, _, _, _, _, _, code @ ..] = self.frame;
            let length = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
            let has_code = kind == RST_STREAM && length == ERROR_CODE_BYTES;
            if self.have == FRAME_HEADER_BYTES && !has_code {
                (self.skip, self.have) = (length, 0);
                return Some(Header { kind, error_code: None });
            }
            if self.have == self.frame.len() {
                self.have = 0;
                return Some(Header { kind, error_code: Some(u32::from_be_bytes(code)) });
            }
        }
        None
    }
}

/// Follows the frames of one connection.
#[derive(Debug)]
pub(super) struct Meter {
    frames: Frames,
    /// The preface and the header of the first frame are here.
    opened: bool,
    second: i64,
    control_frames: u32,
}

impl Meter {
    pub(super) fn new() -> Self {
        let frames = Frames { skip: PREFACE_BYTES, ..Frames::default() };
        Self { frames, opened: false, second: 0, control_frames: 0 }
    }

    /// Whether the client speaks HTTP/2 by now.
    pub(super) fn is_opened(&self) -> bool {
        self.opened
    }

    /// Looks at the next bytes.
    pub(super) fn read(&mut self, mut bytes: &[u8], now_s: i64) -> Result<(), Flood> {
        while let Some(header) = self.frames.next(&mut bytes) {
            self.opened = true;
            self.count(header.kind, now_s)?;
        }
        Ok(())
    }

    fn count(&mut self, kind: u8, now_s: i64) -> Result<(), Flood> {
        if !matches!(kind, PRIORITY | RST_STREAM | SETTINGS | PING) {
            return Ok(());
        }
        if self.second != now_s {
            (self.second, self.control_frames) = (now_s, 0);
        }
        self.control_frames += 1;
        if self.control_frames > CONTROL_FRAMES_PER_SECOND_MAX { Err(Flood) } else { Ok(()) }
    }
}

/// Follows the frames that a server sends on one connection, for the streams that its HTTP/2 library
/// refuses because too many are open.
#[derive(Debug, Default)]
pub(super) struct Refusing {
    frames: Frames,
}

impl Refusing {
    /// Looks at the next bytes; how many streams they refuse.
    pub(super) fn wrote(&mut self, mut bytes: &[u8]) -> usize {
        let mut refused = 0;
        while let Some(header) = self.frames.next(&mut bytes) {
            refused += usize::from(header.error_code == Some(REFUSED_STREAM));
        }
        refused
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, payload: usize) -> Vec<u8> {
        let length = (payload as u32).to_be_bytes();
        let mut bytes = vec![length[1], length[2], length[3], kind, 0, 0, 0, 0, 1];
        bytes.resize(FRAME_HEADER_BYTES + payload, kind);
        bytes
    }

    fn opened() -> Meter {
        let mut meter = Meter::new();
        meter.read(&[b'P'; PREFACE_BYTES], 1).unwrap();
        meter.read(&frame(SETTINGS, 6), 1).unwrap();
        meter
    }

    #[test]
    fn a_client_has_begun_once_its_first_frame_has() {
        let mut meter = Meter::new();
        let bytes = [vec![b'P'; PREFACE_BYTES], frame(SETTINGS, 0)].concat();
        for byte in &bytes {
            assert!(!meter.is_opened());
            meter.read(std::slice::from_ref(byte), 1).unwrap();
        }
        assert!(meter.is_opened());
    }

    #[test]
    fn resets_are_counted_a_second_however_they_are_cut() {
        for cut in [1, 7, 13, 100_000] {
            let mut meter = opened();
            let flood: Vec<u8> = (0..3 * CONTROL_FRAMES_PER_SECOND_MAX)
                .flat_map(|_| [frame(0x1, 3), frame(RST_STREAM, 4)].concat())
                .collect();
            let ended = flood.chunks(cut).try_for_each(|bytes| meter.read(bytes, 2));
            assert_eq!(ended, Err(Flood), "in pieces of {cut}");
        }
    }

    #[test]
    fn streams_that_are_refused_are_counted_however_the_bytes_are_cut() {
        let reset = |code: u32| [frame(RST_STREAM, 0), code.to_be_bytes().to_vec()].concat();
        let reset = |code: u32| {
            let mut bytes = reset(code);
            bytes[2] = 4; // its length
            bytes
        };
        let bytes = [
            frame(SETTINGS, 30),
            reset(REFUSED_STREAM),
            reset(0),
            // Payload that looks like one is none.
            frame(0x0, 0),
            frame(0x0, usize::from(RST_STREAM)),
            reset(REFUSED_STREAM),
        ]
        .concat();
        for cut in [1, 5, 9, 12, 1_000] {
            let mut refusing = Refusing::default();
            let refused: usize = bytes.chunks(cut).map(|bytes| refusing.wrote(bytes)).sum();
            assert_eq!(refused, 2, "in pieces of {cut}");
        }
    }

    #[test]
    fn data_and_what_is_spread_over_seconds_is_no_flood() {
        let mut meter = opened();
        for second in 2..5 {
            for _ in 0..CONTROL_FRAMES_PER_SECOND_MAX {
                meter.read(&frame(RST_STREAM, 4), second).unwrap();
                // Payload that looks like frames is none.
                meter.read(&frame(0x0, 40), second).unwrap();
            }
        }
    }
}
