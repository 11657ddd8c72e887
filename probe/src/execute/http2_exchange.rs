//! One HTTP/2 exchange (RFC 9113) on a connection of its own, or several after one another.
//!
//! The protocol is driven without a task beside the run's: connection and exchange are polled
//! together, and both end with the run.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::client::{Builder, Connection, SendRequest};
use http::Request as Message;
use parallax_common::outcome::{Phase, Reason};
use parallax_runtime::clock;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::answer::{Answer, seen};
use super::errno::plain;
use super::request::Request;
use super::{Failure, Seen, Stage, Trace};

/// Bytes of an answer that may be under way at once: what HTTP/2 gives when nobody says, so that
/// what waits unread is bounded for each run.
const WINDOW_BYTES: u32 = 65_535;
/// Largest head of an answer, decoded; a larger one ends the stream. HTTP/3 has the same.
pub(super) const HEAD_BYTES_MAX: u32 = 256 * 1024;

/// Sends the request and reads the answer to its end. The body is kept only when asked; that of a
/// redirect that is followed is not read.
pub(super) async fn exchange<S>(
    request: &Request,
    stream: S,
    keep_body: bool,
    trace: &mut Trace,
) -> Result<Seen, Failure>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut line = Line::open(stream).await?;
    let (seen, _) = line.ask(request, keep_body, trace).await?;
    Ok(seen)
}

/// A connection that speaks HTTP/2. Nothing of it moves but while it is asked.
pub(super) struct Line<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> {
    sender: SendRequest<Bytes>,
    connection: Connection<Framed<S>, Bytes>,
}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> Line<S> {
    pub async fn open(stream: S) -> Result<Self, Failure> {
        let (sender, connection) = open(stream).await?;
        Ok(Self { sender, connection })
    }

    /// Whether the target has left it open. Looks before it asks: a goodbye that has come shows.
    pub async fn is_open(&mut self) -> bool {
        let Self { sender, connection } = self;
        let ready = std::future::poll_fn(|context| sender.poll_ready(context));
        tokio::select! {
            biased;
            _ended = connection => false,
            ready = ready => ready.is_ok(),
        }
    }

    /// Sends the request and reads the answer. Says, too, whether all of it was read, so that another
    /// one can follow.
    pub async fn ask(
        &mut self,
        request: &Request,
        keep_body: bool,
        trace: &mut Trace,
    ) -> Result<(Seen, bool), Failure> {
        let Self { sender, connection } = self;
        exchange_over(request, (sender.clone(), connection), keep_body, trace).await
    }
}

async fn exchange_over<S>(
    request: &Request,
    (sender, connection): (SendRequest<Bytes>, &mut Connection<Framed<S>, Bytes>),
    keep_body: bool,
    trace: &mut Trace,
) -> Result<(Seen, bool), Failure>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    trace.stage = Stage::Exchange;
    let (message, body) = request.build_framed()?;
    let handle = sender.clone();
    let exchange = async {
        let since = clock::instant();
        let response = send(sender, message, body).await.map_err(|error| failure(&error))?;
        trace.phase(Phase::FirstByte, since);
        trace.is_answered = true;
        let (head, mut stream) = response.into_parts();
        if request.leads_to(head.status, &head.headers).is_some() {
            return Ok((seen(head), false));
        }
        let since = clock::instant();
        let mut answer = Answer::begin(request, head, stream.is_end_stream(), keep_body)?;
        while let Some(data) = stream.data().await {
            let data = data.map_err(|error| failure(&error))?;
            answer.take(&data)?;
            stream.flow_control().release_capacity(data.len()).map_err(|error| failure(&error))?;
        }
        // The end of a stream is the end of its trailers.
        stream.trailers().await.map_err(|error| failure(&error))?;
        trace.phase(Phase::Transfer, since);
        Ok((answer.end(), true))
    };
    together(exchange, connection, handle).await
}

/// Begins to speak HTTP/2. Nothing of it moves but while the connection is polled: see [`together`].
pub(super) async fn open<S>(
    stream: S,
) -> Result<(SendRequest<Bytes>, Connection<Framed<S>, Bytes>), Failure>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut builder = Builder::new();
    builder
        .enable_push(false)
        .initial_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .max_header_list_size(HEAD_BYTES_MAX);
    builder.handshake::<_, Bytes>(Framed(stream)).await.map_err(|error| failure(&error))
}

/// Polls an exchange and the connection that carries it, to the end of the exchange.
pub(super) async fn together<S, T>(
    exchange: impl Future<Output = Result<T, Failure>>,
    connection: &mut Connection<Framed<S>, Bytes>,
    mut handle: SendRequest<Bytes>,
) -> Result<T, Failure>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    tokio::pin!(exchange);
    let mut ended = None;
    loop {
        tokio::select! {
            biased;
            seen = &mut exchange => return match seen {
                Err(seen) => Err(why(seen, &mut handle).await),
                seen => seen,
            },
            // How it ended, the exchange hears from its stream, at its next turn.
            end = &mut *connection, if ended.is_none() => ended = Some(end),
            // Or never: a stream that was opened while the connection broke is told nothing.
            () = std::future::ready(()), if ended.is_some() => {
                return Err(match ended {
                    Some(Err(error)) => failure(&error),
                    _ => Failure::new(Reason::HttpTruncated, "the target closed the connection"),
                });
            }
        }
    }
}

/// Why an exchange failed. A stream that the target's goodbye leaves open only hears that the
/// connection has ended; the session knows of the goodbye.
async fn why(seen: Failure, handle: &mut SendRequest<Bytes>) -> Failure {
    if seen.reason != Reason::HttpTruncated {
        return seen;
    }
    match std::future::poll_fn(|context| Poll::Ready(handle.poll_ready(context))).await {
        Poll::Ready(Err(error)) if error.is_go_away() => failure(&error),
        _ => seen,
    }
}

/// A stream whose end needs no word of TLS: frames say themselves whether something is missing, and
/// what the target said before it went away is still to be heard.
pub(super) struct Framed<S>(S);

impl<S: AsyncRead + Unpin> AsyncRead for Framed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.0).poll_read(context, buffer) {
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Poll::Ready(Ok(()))
            }
            other => other,
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Framed<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

pub(super) async fn send(
    sender: SendRequest<Bytes>,
    message: Message<()>,
    body: Bytes,
) -> Result<http::Response<h2::RecvStream>, h2::Error> {
    let mut sender = sender.ready().await?;
    let (response, mut stream) = sender.send_request(message, body.is_empty())?;
    if !body.is_empty() {
        // Buffered; the connection sends it as the target's window allows.
        stream.send_data(body, true)?;
    }
    response.await
}

pub(super) fn failure(error: &h2::Error) -> Failure {
    if let Some(io_error) = error.get_io() {
        let tls = io_error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        if let Some(tls) = tls {
            let evidence = format!("the target ended TLS after the handshake: {tls}");
            return Failure::new(Reason::TlsHandshake, evidence);
        }
        // h2 keeps the words of an error and not the error.
        if plain(io_error).starts_with("received fatal alert") {
            let evidence = format!("the target ended TLS after the handshake: {}", plain(io_error));
            return Failure::new(Reason::TlsHandshake, evidence);
        }
        use io::ErrorKind as K;
        let reason = match io_error.kind() {
            K::ConnectionReset | K::ConnectionAborted => Reason::HttpReset,
            // So says the protocol when the connection ends while a stream is open.
            K::BrokenPipe | K::UnexpectedEof => Reason::HttpTruncated,
            K::TimedOut => Reason::Timeout,
            _ => Reason::HttpMalformed,
        };
        return Failure::new(reason, format!("answer: {}", plain(io_error)));
    }
    let code = error.reason().map_or_else(String::new, |reason| format!("{reason:?}"));
    if error.is_go_away() && error.is_remote() {
        return Failure::new(Reason::HttpGoaway, format!("the target ended the session: {code}"));
    }
    if error.is_reset() && error.is_remote() {
        let reason = match error.reason() {
            Some(h2::Reason::HTTP_1_1_REQUIRED) => Reason::HttpVersion,
            _ => Reason::HttpReset,
        };
        return Failure::new(reason, format!("the target reset the stream: {code}"));
    }
    Failure::new(Reason::HttpMalformed, format!("answer: {error}"))
}
