//! HTTP/2 written by hand, for what no client library would say (RFC 9113).

use anyhow::{Context, Result};
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// What every client says first, with an empty SETTINGS frame.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";

const HEADERS: u8 = 0x1;
const RST_STREAM: u8 = 0x3;
const END_HEADERS: u8 = 0x4;
/// The error code of a stream for which nothing was done.
const REFUSED_STREAM: u32 = 0x7;
const CANCEL: u32 = 0x8;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, high, middle, low] = u32::to_be_bytes(payload.len() as u32);
    let mut bytes = vec![high, middle, low, kind, flags];
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// Opens a call of `path` and says nothing more on it. Client's streams have odd numbers.
///
/// # Panics
/// When the path has 127 bytes or more, which take another encoding.
pub fn open(stream: u32, path: &str) -> Vec<u8> {
    // Method POST, scheme https, and the path as a literal (RFC 7541, sections 6.1 and 6.2.2).
    let mut block = vec![0x83, 0x87, 0x04];
    block.push(u8::try_from(path.len()).ok().filter(|length| *length < 127).expect("a short path"));
    block.extend(path.as_bytes());
    frame(HEADERS, END_HEADERS, stream, &block)
}

/// Takes it back.
pub fn cancel(stream: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes())
}

/// The numbers of the first so many streams.
pub fn streams(count: u32) -> impl Iterator<Item = u32> {
    (1..).step_by(2).take(count as usize)
}

/// Reads until the server refuses a stream.
///
/// # Errors
/// When it closes before.
pub async fn until_refused(from: &mut (impl AsyncRead + Unpin)) -> Result<()> {
    loop {
        let mut header = [0; 9];
        from.read_exact(&mut header).await.context("closed, and no stream was refused")?;
        let [high, middle, low, kind, ..] = header;
        let length = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
        let mut payload = vec![0; length];
        from.read_exact(&mut payload).await?;
        if kind == RST_STREAM && payload == REFUSED_STREAM.to_be_bytes() {
            return Ok(());
        }
    }
}

/// Reads until the server closes.
pub async fn until_closed(from: &mut (impl AsyncRead + Unpin)) {
    let mut bytes = [0; 4_096];
    while let Ok(1..) = from.read(&mut bytes).await {}
}
