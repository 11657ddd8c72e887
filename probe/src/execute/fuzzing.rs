//! Doors to parsers of foreign bytes that have no other one, for `fuzz/` and nothing else.
//!
//! Each does with bytes what a run would do with them, and says nothing of it: what is looked for is a
//! panic, and work without end. A crash that was found stays as a test beside its parser.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use parallax_common::check::{ContentEncoding, WebSocketStep};
use rustls::pki_types::CertificateDer;

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
    let trailers = fields(lines);
    let _ = super::grpc::answer(&HeaderMap::new(), Bytes::copy_from_slice(body), &trailers);
}

/// Header fields, a line each; those that none can be are left out.
fn fields(lines: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in lines.split(|byte| *byte == b'\n') {
        let at = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let value = line.get(at + 1..).unwrap_or_default();
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(&line[..at]), HeaderValue::from_bytes(value))
        {
            headers.append(name, value);
        }
    }
    headers
}

/// A certificate as a target shows it, in DER.
pub fn certificate(bytes: &[u8]) {
    let der = CertificateDer::from(bytes);
    let described = super::certificate::describe(&der, 1_795_144_320_000_000_000);
    let ends = described.map(|(_, ends)| ends);
    assert_eq!(super::certificate::not_after_s(&der), ends, "both read the same end");
}

/// The header fields of an answer that upgrades to a websocket, a line each.
pub fn upgrade(bytes: &[u8]) {
    let offered = || vec!["chat".to_owned(), "chat.v2".to_owned()];
    let step = WebSocketStep { subprotocols: offered(), ..WebSocketStep::default() };
    // The key of RFC 6455, 1.3, so that a seed can answer it.
    if let Ok(chosen) = super::websocket::agreed(&fields(bytes), &step, "dGhlIHNhbXBsZSBub25jZQ==")
    {
        assert!(chosen.is_empty() || offered().contains(&chosen), "{chosen} was not offered");
    }
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
        upgrade(b"upgrade:websocket\nconnection:Upgrade\nsec-websocket-accept:s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        upgrade(b"upgrade:\n:");
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["shop.example".to_owned()]).unwrap();
        let cert = params.self_signed(&key).unwrap();
        for end in 0..=cert.der().len() {
            certificate(&cert.der()[..end]);
        }
    }
}
