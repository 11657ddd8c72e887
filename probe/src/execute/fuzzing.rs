//! Doors to parsers of foreign bytes that have no other one, for `fuzz/` and nothing else.
//!
//! Each does with bytes what a run would do with them, and says nothing of it: what is looked for is a
//! panic, and work without end. A crash that was found stays as a test beside its parser.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use parallax_common::check::ContentEncoding;

/// Decoded bytes that a body may have: enough for every way through a decoder.
const DECODED_BYTES_MAX: u64 = 256 * 1024;

/// A datagram that may be the answer of a name server.
pub fn dns(bytes: &[u8]) {
    super::dns::hear(bytes);
}

/// A body, behind a byte that says which content coding it has.
pub fn body(bytes: &[u8]) {
    let Some((coding, body)) = bytes.split_first() else { return };
    let all = ContentEncoding::ALL;
    let coding = all[usize::from(*coding) % all.len()];
    if let Ok(decoded) = super::decode::decoded(coding, body, DECODED_BYTES_MAX) {
        assert!(decoded.len() as u64 <= DECODED_BYTES_MAX, "{coding}: more than was allowed");
    }
}

/// What a health service may answer: the trailers, a line each, an empty line, and the body.
pub fn health(bytes: &[u8]) {
    let end = bytes.windows(2).position(|two| two == b"\n\n").unwrap_or(bytes.len());
    let (lines, body) = (&bytes[..end], bytes.get(end + 2..).unwrap_or_default());
    let mut trailers = HeaderMap::new();
    for line in lines.split(|byte| *byte == b'\n') {
        let at = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let value = line.get(at + 1..).unwrap_or_default();
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(&line[..at]), HeaderValue::from_bytes(value))
        {
            trailers.append(name, value);
        }
    }
    let _ = super::grpc::answer(&HeaderMap::new(), Bytes::copy_from_slice(body), &trailers);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What these doors lead to is judged beside the parsers; here, that they lead anywhere.
    #[test]
    fn every_door_takes_anything() {
        let answer = b"\x12\x34\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00\x07example\x03com\x00\
            \x00\x01\x00\x01\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x05\x00\x04\x01\x02\x03\x04";
        for end in 0..=answer.len() {
            dns(&answer[..end]);
        }
        for coding in 0..8 {
            body(&[coding]);
            body(&[coding, 0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0, 3]);
        }
        health(b"grpc-status:0\ngrpc-message:%41%\n\n\x00\x00\x00\x00\x02\x08\x01");
        health(b"");
    }
}
