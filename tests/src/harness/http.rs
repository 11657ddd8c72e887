//! Just enough HTTP/1.1 to be a target and a sink: one request a connection, heads up to 64 KiB.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// Largest head or body that is read. A test that needs more is wrong.
const BYTES_MAX: usize = 256 * 1024;

/// One request as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// `GET`, `POST`, ...
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
    /// As many bytes as `content-length` says.
    pub body: Vec<u8>,
}

/// Reads one request. `None` when the peer closed before it sent a byte.
///
/// # Errors
/// When the bytes are not a request, or the connection ends within it.
pub async fn read_request(stream: &mut TcpStream) -> Result<Option<Request>> {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at;
        }
        if bytes.len() > BYTES_MAX {
            bail!("the head is larger than {BYTES_MAX} bytes");
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            if bytes.is_empty() {
                return Ok(None);
            }
            bail!("the connection ended within the head");
        }
    };
    let head = std::str::from_utf8(&bytes[..head_end]).context("the head is not text")?;
    let mut lines = head.split("\r\n");
    let mut first = lines.next().unwrap_or_default().split(' ');
    let (Some(method), Some(path)) = (first.next(), first.next()) else {
        bail!("not a request line");
    };
    let (method, path) = (method.to_owned(), path.to_owned());
    let headers: BTreeMap<String, String> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length: usize = match headers.get("content-length") {
        Some(length) => length.parse().context("content-length is not a number")?,
        None if headers.contains_key("transfer-encoding") => bail!("chunked bodies are not read"),
        None => 0,
    };
    if length > BYTES_MAX {
        bail!("the body is larger than {BYTES_MAX} bytes");
    }
    let mut body = bytes.split_off(head_end + 4);
    while body.len() < length {
        if stream.read_buf(&mut body).await? == 0 {
            bail!("the connection ended within the body");
        }
    }
    body.truncate(length);
    Ok(Some(Request { method, path, headers, body }))
}

/// Answers with a status and a body, and closes.
///
/// # Errors
/// When the peer is gone.
pub async fn answer(stream: &mut TcpStream, status: u16, body: &str) -> Result<()> {
    let head = format!(
        "HTTP/1.1 {status} Answer\r\ncontent-type: text/plain\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    stream.shutdown().await?;
    Ok(())
}

/// Answers with a status and a `Retry-After` of so many seconds, and closes.
///
/// # Errors
/// When the peer is gone.
pub async fn answer_later(stream: &mut TcpStream, status: u16, retry_after_s: u32) -> Result<()> {
    let head = format!(
        "HTTP/1.1 {status} Later\r\nretry-after: {retry_after_s}\r\ncontent-length: 0\r\n\
         connection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    stream.shutdown().await?;
    Ok(())
}

/// An answer as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// 100 to 599.
    pub status: u16,
    /// All of it.
    pub body: String,
}

/// Asks for a path and reads the whole answer.
///
/// # Errors
/// When nobody answers, or not in HTTP.
pub async fn get(address: &str, path: &str) -> Result<Response> {
    ask("GET", address, path).await
}

/// Presses a button: a request that changes something, and says nothing more than where it goes.
///
/// # Errors
/// As [`get`].
pub async fn press(address: &str, path: &str) -> Result<Response> {
    ask("POST", address, path).await
}

async fn ask(method: &str, address: &str, path: &str) -> Result<Response> {
    let mut stream = TcpStream::connect(address).await?;
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    let (head, body) = text.split_once("\r\n\r\n").context("no head")?;
    let status = head.split(' ').nth(1).context("no status")?.parse()?;
    Ok(Response { status, body: body.to_owned() })
}

/// Ends a connection with a reset instead of a goodbye.
pub fn reset(stream: TcpStream) {
    // Without lingering, close sends RST. A socket that is already dead needs no reset.
    let _ = socket2::SockRef::from(&stream).set_linger(Some(std::time::Duration::ZERO));
    drop(stream);
}

/// Listens; with port 0 the system chooses one. A port that was just in use can be taken again.
///
/// # Errors
/// When the address cannot be bound.
pub fn listen(address: SocketAddr) -> Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address).with_context(|| format!("cannot bind {address}"))?;
    Ok(socket.listen(1024)?)
}
