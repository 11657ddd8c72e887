//! A gRPC client with nothing in it that a measurement does not need: one connection, one call after
//! the other, straight on HTTP/2. On a machine that clients and servers share, what a client takes is
//! taken from whoever is measured.

use anyhow::{Context as _, Result, bail, ensure};
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use h2::client::SendRequest;
use prost::Message;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;
use tonic::codegen::http::{HeaderMap, Request, Uri};

/// Bytes before each message: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;

/// One connection.
#[derive(Debug)]
pub struct Caller {
    send: SendRequest<Bytes>,
    scheme_and_authority: String,
    /// Drives the connection; ends with this.
    _connection: JoinSet<()>,
}

impl Caller {
    /// Speaks over `stream`, which leads to `authority`.
    ///
    /// # Errors
    /// When the other end speaks no HTTP/2.
    pub async fn over(
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        scheme: &str,
        authority: &str,
    ) -> Result<Self> {
        let (send, connection) = h2::client::handshake(stream).await?;
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            // Whoever calls hears of it.
            let _ = connection.await;
        });
        let scheme_and_authority = format!("{scheme}://{authority}");
        Ok(Self { send, scheme_and_authority, _connection: driver })
    }

    /// Calls `path` with these messages, all at once, and returns those that come back.
    ///
    /// # Errors
    /// When the connection breaks, or the call ends with another status than 0.
    pub async fn call<Q: Message, A: Message + Default>(
        &self,
        path: &str,
        messages: &[Q],
    ) -> Result<Vec<A>> {
        let uri: Uri = format!("{}{path}", self.scheme_and_authority).parse()?;
        let head = Request::post(uri)
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())?;
        let mut send = self.send.clone().ready().await?;
        let (answer, mut stream) = send.send_request(head, false)?;
        stream.send_data(frames(messages)?, true)?;
        let (head, mut body) = answer.await?.into_parts();
        let mut data = BytesMut::new();
        while let Some(part) = body.data().await {
            let part = part?;
            body.flow_control().release_capacity(part.len())?;
            data.extend_from_slice(&part);
        }
        match body.trailers().await? {
            Some(trailers) => check(&trailers)?,
            None => check(&head.headers)?,
        }
        unframed(data.freeze())
    }
}

fn frames<Q: Message>(messages: &[Q]) -> Result<Bytes> {
    let bytes = messages.iter().map(|message| message.encoded_len() + PREFIX_BYTES).sum();
    let mut framed = BytesMut::with_capacity(bytes);
    for message in messages {
        framed.put_u8(0);
        framed.put_u32(u32::try_from(message.encoded_len())?);
        message.encode(&mut framed)?;
    }
    Ok(framed.freeze())
}

fn unframed<A: Message + Default>(mut data: Bytes) -> Result<Vec<A>> {
    let mut messages = Vec::new();
    while !data.is_empty() {
        ensure!(data.len() >= PREFIX_BYTES, "half a message");
        ensure!(data.get_u8() == 0, "a compressed message");
        let length = data.get_u32() as usize;
        ensure!(data.len() >= length, "half a message");
        messages.push(A::decode(data.split_to(length))?);
    }
    Ok(messages)
}

fn check(headers: &HeaderMap) -> Result<()> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    match text("grpc-status").context("no status")? {
        "0" => Ok(()),
        status => bail!("status {status}: {}", text("grpc-message").unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_out_as_they_went_in_and_half_a_one_is_noticed() {
        let sent = [String::from("one"), String::new(), String::from("three")];
        let framed = frames(&sent).unwrap();
        assert_eq!(unframed::<String>(framed.clone()).unwrap(), sent);
        for length in [3, framed.len() - 1] {
            assert!(unframed::<String>(framed.slice(..length)).is_err(), "{length}");
        }
    }

    #[test]
    fn only_status_0_is_good() {
        let headers = |status: Option<&str>| {
            let mut headers = HeaderMap::new();
            if let Some(status) = status {
                headers.insert("grpc-status", status.parse().unwrap());
            }
            headers
        };
        assert!(check(&headers(Some("0"))).is_ok());
        assert!(check(&headers(Some("14"))).is_err());
        assert!(check(&headers(None)).is_err());
    }
}
