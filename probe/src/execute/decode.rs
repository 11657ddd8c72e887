//! Content codings of an answer's body: decoded as they were asked for, never to more than the check
//! lets be read. Our work, not the target's: it begins when the answer has ended, and counts in nothing.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use http::HeaderMap;
use http::header::CONTENT_ENCODING;
use parallax_common::check::ContentEncoding;
use parallax_common::limits::{
    DECODE_WALL_MAX, DECODES_AT_ONCE_MAX, ZSTD_FRAMES_MAX, ZSTD_WINDOW_BYTES_MAX,
};
use parallax_common::outcome::Reason;
use ruzstd::decoding::StreamingDecoder;
use tokio::sync::Semaphore;

use super::visit::shown;
use super::{Failure, Seen};

/// What a brotli decoder reads at a time.
const BROTLI_BUFFER_BYTES: usize = 4 * 1024;

/// What was asked for of a body that is not decoded yet.
#[derive(Debug, Clone)]
pub(crate) struct Coded {
    /// Codings that were asked for.
    pub accepts: Vec<ContentEncoding>,
    /// Bytes that the decoded body may have.
    pub limit: u64,
}

/// Decodes bodies, few at once.
#[derive(Debug)]
pub(crate) struct Decoder {
    permits: Arc<Semaphore>,
    wall_max: Duration,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::within(DECODE_WALL_MAX)
    }
}

impl Decoder {
    /// One that gives each body so long.
    pub(crate) fn within(wall_max: Duration) -> Self {
        Self { permits: Arc::new(Semaphore::new(DECODES_AT_ONCE_MAX)), wall_max }
    }

    /// The answer with its body as it was before it was encoded, when codings were asked for. Takes
    /// little more than [`DECODE_WALL_MAX`].
    pub async fn undo(&self, mut seen: Seen) -> Result<Seen, Failure> {
        let Some(Coded { accepts, limit }) = seen.coded.take() else { return Ok(seen) };
        // An answer without a body (to HEAD, or 304) may name the coding that the body would have.
        if seen.body.is_empty() {
            return Ok(seen);
        }
        let Some(encoding) = encoding(&accepts, &seen.headers)? else { return Ok(seen) };
        let body = seen.body.clone();
        let work = async {
            // Never closed.
            let permit = Arc::clone(&self.permits).acquire_owned().await.ok();
            // Milliseconds of work for a large body. Foreign bytes meet foreign code: should it panic,
            // this answer is what is wrong, not this probe.
            tokio::task::spawn_blocking(move || {
                // Held until the end, however late: what runs on must not be joined by more of it.
                let _permit = permit;
                decoded(encoding, &body, limit)
            })
            .await
        };
        seen.body = match tokio::time::timeout(self.wall_max, work).await {
            Ok(Ok(decoded)) => decoded?,
            Ok(Err(_panicked)) => {
                let evidence = format!("{encoding}: the decoder failed");
                return Err(Failure::new(Reason::HttpEncoding, evidence));
            }
            Err(_elapsed) => {
                let evidence = "this probe had no time to decode the body";
                return Err(Failure::new(Reason::MissedOverload, evidence));
            }
        };
        Ok(seen)
    }
}

/// The coding of the answer; it must be one that was asked for.
fn encoding(
    accepts: &[ContentEncoding],
    headers: &HeaderMap,
) -> Result<Option<ContentEncoding>, Failure> {
    let mut named = Vec::new();
    for value in headers.get_all(CONTENT_ENCODING) {
        let text = String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase();
        let words = text.split(',').map(|word| word.trim().to_owned());
        named.extend(words.filter(|word| !word.is_empty() && word != "identity"));
    }
    let refuse = |what: String| Err(Failure::new(Reason::HttpEncoding, what));
    match named.as_slice() {
        [] => Ok(None),
        [word] => {
            // RFC 9110, 8.4.1.3: an old name of the same.
            let word = if word == "x-gzip" { "gzip" } else { word };
            match ContentEncoding::from_word(word).filter(|it| accepts.contains(it)) {
                Some(encoding) => Ok(Some(encoding)),
                None => {
                    let shown = shown(word);
                    refuse(format!("the body has an encoding that was not asked for: {shown}"))
                }
            }
        }
        several => refuse(format!("the body is encoded {} times", several.len())),
    }
}

/// What `body` was before it was encoded.
pub(super) fn decoded(
    encoding: ContentEncoding,
    body: &[u8],
    limit: u64,
) -> Result<Bytes, Failure> {
    let mut out = Vec::new();
    // One byte more shows that there is more.
    let room = limit.saturating_add(1);
    let result = match encoding {
        ContentEncoding::Gzip => MultiGzDecoder::new(body).take(room).read_to_end(&mut out),
        ContentEncoding::Deflate if is_zlib(body) => {
            ZlibDecoder::new(body).take(room).read_to_end(&mut out)
        }
        ContentEncoding::Deflate => DeflateDecoder::new(body).take(room).read_to_end(&mut out),
        ContentEncoding::Br => brotli(body).take(room).read_to_end(&mut out),
        ContentEncoding::Zstd => zstd(body, room, &mut out),
    };
    if out.len() as u64 > limit {
        let evidence = format!(
            "{encoding}: {} bytes decode to more than {limit}, which are allowed",
            body.len()
        );
        return Err(Failure::new(Reason::HttpDecodedTooLarge, evidence));
    }
    match result {
        Ok(_) => Ok(out.into()),
        Err(error) => {
            let why = match error.kind() {
                io::ErrorKind::UnexpectedEof => "it ends early".to_owned(),
                _ => error.to_string(),
            };
            Err(Failure::new(Reason::HttpEncoding, format!("the body is not {encoding}: {why}")))
        }
    }
}

/// Whether the body begins as RFC 1950 has it; else it is plain deflate.
fn is_zlib(body: &[u8]) -> bool {
    match body {
        [method, flags, ..] => {
            method & 0x0f == 8 && u16::from_be_bytes([*method, *flags]).is_multiple_of(31)
        }
        _ => false,
    }
}

fn brotli(body: &[u8]) -> brotli_decompressor::Decompressor<&[u8]> {
    let mut decoder = brotli_decompressor::Decompressor::new(body, BROTLI_BUFFER_BYTES);
    // Windows of up to 1 GiB are an extension that is not for HTTP.
    decoder.set_parameter(
        brotli_decompressor::BrotliDecoderParameter::BROTLI_DECODER_PARAM_LARGE_WINDOW,
        0,
    );
    decoder
}

/// All frames, each with its checksum verified.
fn zstd(mut body: &[u8], room: u64, out: &mut Vec<u8>) -> io::Result<usize> {
    let mut frames = 0;
    while !body.is_empty() && (out.len() as u64) < room {
        frames += 1;
        if frames > ZSTD_FRAMES_MAX {
            return Err(io::Error::other("it has too many frames"));
        }
        let left = room - out.len() as u64;
        let mut frame =
            StreamingDecoder::new_with_max_window_size(&mut body, ZSTD_WINDOW_BYTES_MAX)
                .map_err(io::Error::other)?;
        (&mut frame).take(left).read_to_end(out)?;
        let decoder = frame.into_frame_decoder();
        if decoder.is_finished()
            && let (Some(told), Some(is)) =
                (decoder.get_checksum_from_data(), decoder.get_calculated_checksum())
            && told != is
        {
            return Err(io::Error::other("the checksum is wrong"));
        }
    }
    Ok(out.len())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use ContentEncoding as E;
    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

    use super::*;

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(vec![], Compression::default());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    fn zlib(data: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(vec![], Compression::default());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    fn raw(data: &[u8]) -> Vec<u8> {
        let mut encoder = DeflateEncoder::new(vec![], Compression::default());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd_of(data: &[u8]) -> Vec<u8> {
        ruzstd::encoding::compress_to_vec(data, ruzstd::encoding::CompressionLevel::Fastest)
    }

    /// A brotli stream of one uncompressed block (RFC 7932, 9.2) and an empty last one.
    fn brotli_of(data: &[u8]) -> Vec<u8> {
        assert!((1..=65_536).contains(&data.len()));
        // Window bits 16 (one bit 0), then ISLAST 0, MNIBBLES 4 (two bits 0), MLEN - 1 in 16 bits,
        // ISUNCOMPRESSED 1, and zeros up to the byte.
        let length = (data.len() - 1) as u32;
        let bits = length << 4 | 1 << 20;
        let mut out = bits.to_le_bytes()[..3].to_vec();
        out.extend(data);
        // ISLAST 1, ISLASTEMPTY 1.
        out.push(0b11);
        out
    }

    #[test]
    fn what_was_encoded_is_decoded() {
        let text = b"hello hello hello hello".as_slice();
        for (encoding, body) in [
            (E::Gzip, gzip(text)),
            (E::Deflate, zlib(text)),
            (E::Deflate, raw(text)),
            (E::Br, brotli_of(text)),
            (E::Zstd, zstd_of(text)),
        ] {
            assert_eq!(decoded(encoding, &body, 23).unwrap(), text, "{encoding}");
            // Several parts in a row, where the format has them.
            if matches!(encoding, E::Gzip | E::Zstd) {
                let twice = [body.clone(), body].concat();
                assert_eq!(decoded(encoding, &twice, 46).unwrap().len(), 46, "{encoding}");
            }
        }
    }

    #[test]
    fn what_grows_over_the_limit_is_not_kept() {
        let zeros = vec![0; 40_000];
        for (encoding, body) in [
            (E::Gzip, gzip(&zeros)),
            (E::Deflate, zlib(&zeros)),
            (E::Deflate, raw(&zeros)),
            (E::Br, brotli_of(&zeros)),
            (E::Zstd, zstd_of(&zeros)),
        ] {
            assert_eq!(decoded(encoding, &body, 40_000).unwrap().len(), 40_000, "{encoding}");
            let failure = decoded(encoding, &body, 39_999).unwrap_err();
            assert_eq!(failure.reason, Reason::HttpDecodedTooLarge, "{encoding}");
        }
    }

    #[test]
    fn what_is_cut_or_broken_is_no_body() {
        let text = b"hello hello hello hello".as_slice();
        for (encoding, body) in [
            (E::Gzip, gzip(text)),
            (E::Deflate, zlib(text)),
            (E::Br, brotli_of(text)),
            (E::Zstd, zstd_of(text)),
        ] {
            let cut = decoded(encoding, &body[..body.len() - 3], 100).unwrap_err();
            assert_eq!(cut.reason, Reason::HttpEncoding, "{encoding}");
            let other = decoded(encoding, b"<html>plain text</html>", 100).unwrap_err();
            assert_eq!(other.reason, Reason::HttpEncoding, "{encoding}");
            if encoding != E::Br {
                // The checksum at the end.
                let mut broken = body.clone();
                *broken.last_mut().unwrap() ^= 1;
                let broken = decoded(encoding, &broken, 100).unwrap_err();
                assert_eq!(broken.reason, Reason::HttpEncoding, "{encoding}");
            }
        }
    }

    #[test]
    fn what_costs_much_and_holds_little_is_refused() {
        let frames = |count| zstd_of(b"x").repeat(count);
        assert_eq!(decoded(E::Zstd, &frames(ZSTD_FRAMES_MAX), 9_999).unwrap().len(), 1_024);
        let failure = decoded(E::Zstd, &frames(ZSTD_FRAMES_MAX + 1), 9_999).unwrap_err();
        assert_eq!(failure.reason, Reason::HttpEncoding, "{failure:?}");
        assert!(failure.evidence.contains("too many frames"), "{failure:?}");
        // A frame of one empty block with a window of 16 MiB (RFC 8878, 3.1.1).
        let wide = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 14 << 3, 0x01, 0x00, 0x00];
        let failure = decoded(E::Zstd, &wide, 9_999).unwrap_err();
        assert_eq!(failure.reason, Reason::HttpEncoding, "{failure:?}");
        let narrow = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 13 << 3, 0x01, 0x00, 0x00];
        assert!(decoded(E::Zstd, &narrow, 9_999).unwrap().is_empty());
    }

    fn coded(accepts: &[E], headers: HeaderMap, body: Bytes, limit: u64) -> Seen {
        // As the exchange does.
        let accepts = accepts.to_vec();
        let coded = (!accepts.is_empty()).then_some(Coded { accepts, limit });
        Seen { headers, body, coded, ..Seen::default() }
    }

    async fn decode(
        accepts: &[E],
        headers: HeaderMap,
        body: Bytes,
        limit: u64,
    ) -> Result<Bytes, Failure> {
        Decoder::default().undo(coded(accepts, headers, body, limit)).await.map(|seen| seen.body)
    }

    #[tokio::test]
    async fn who_gets_no_turn_to_decode_has_missed_and_does_not_blame_the_target() {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_ENCODING, "gzip".parse().unwrap());
        let decoder = Decoder::within(Duration::from_millis(20));
        let all = u32::try_from(DECODES_AT_ONCE_MAX).unwrap();
        let permits = Arc::clone(&decoder.permits).acquire_many_owned(all).await.unwrap();
        let asked = || coded(&[E::Gzip], headers.clone(), Bytes::from(gzip(b"hello")), 100);
        let failure = decoder.undo(asked()).await.unwrap_err();
        assert_eq!(failure.reason, Reason::MissedOverload, "{failure:?}");
        drop(permits);
        let decoder = Decoder { wall_max: DECODE_WALL_MAX, ..decoder };
        assert_eq!(decoder.undo(asked()).await.unwrap().body, "hello");
    }

    /// A coding of which 64 letters are told.
    const LONG: &str = match std::str::from_utf8(&[b'a'; 8_000]) {
        Ok(long) => long,
        Err(_) => "",
    };

    #[tokio::test]
    async fn only_what_was_asked_for_is_decoded() {
        let named = |word: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_ENCODING, word.parse().unwrap());
            headers
        };
        let body = Bytes::from(gzip(b"hello"));
        for (accepts, word, limit, given) in [
            (&[E::Gzip][..], "gzip", 100, Ok("hello")),
            (&[E::Gzip], "X-GZIP", 100, Ok("hello")),
            (&[E::Br, E::Gzip], "identity, gzip", 5, Ok("hello")),
            (&[E::Br], "gzip", 100, Err("that was not asked for: gzip")),
            (&[E::Gzip], "compress", 100, Err("that was not asked for: compress")),
            (
                &[E::Gzip],
                LONG,
                100,
                Err("asked for: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
            ),
            (&[E::Gzip], "gzip, gzip", 100, Err("2 times")),
        ] {
            let decoded = decode(accepts, named(word), body.clone(), limit).await;
            match given {
                Ok(text) => assert_eq!(decoded.unwrap(), text.as_bytes(), "{word}"),
                Err(what) => {
                    let failure = decoded.unwrap_err();
                    assert_eq!(failure.reason, Reason::HttpEncoding, "{word}");
                    assert!(failure.evidence.ends_with(what), "{failure:?}");
                }
            }
        }
        // Nothing was asked for, and nothing is there: it is left as it is.
        let left = decode(&[], named("gzip"), body.clone(), 1).await.unwrap();
        assert_eq!(left, body);
        let none = decode(&[E::Gzip], named("gzip"), Bytes::new(), 1).await.unwrap();
        assert!(none.is_empty());
        let plain = decode(&[E::Gzip], HeaderMap::new(), Bytes::from("x"), 1).await.unwrap();
        assert_eq!(plain, "x");
    }
}
