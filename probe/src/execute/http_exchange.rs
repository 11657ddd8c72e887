//! One HTTP/1.1 exchange on a connection of its own, or several after one another.

use std::error::Error;
use std::io;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Body;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use parallax_common::outcome::{Phase, Reason};
use parallax_runtime::clock;
use tokio::io::{AsyncRead, AsyncWrite};

use super::answer::{Answer, seen};
use super::errno::plain;
use super::request::Request;
use super::{Failure, Seen, Stage, Trace};

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

/// A connection that speaks HTTP/1.1. Nothing of it moves but while it is asked.
pub(super) struct Line<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> {
    sender: http1::SendRequest<Full<Bytes>>,
    connection: http1::Connection<TokioIo<S>, Full<Bytes>>,
}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> Line<S> {
    pub async fn open(stream: S) -> Result<Self, Failure> {
        let opened = http1::handshake(TokioIo::new(stream)).await;
        let (sender, connection) = opened.map_err(|error| failure(&error))?;
        Ok(Self { sender, connection })
    }

    /// Whether the target has left it open. Looks before it asks: a close that has come shows.
    pub async fn is_open(&mut self) -> bool {
        tokio::select! {
            biased;
            _ended = &mut self.connection => false,
            ready = self.sender.ready() => ready.is_ok(),
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
        exchange_over(request, self, keep_body, trace).await
    }
}

async fn exchange_over<S>(
    request: &Request,
    Line { sender, connection }: &mut Line<S>,
    keep_body: bool,
    trace: &mut Trace,
) -> Result<(Seen, bool), Failure>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    trace.stage = Stage::Exchange;
    let message = request.build()?;
    let exchange = async {
        let since = clock::instant();
        let response = sender.send_request(message).await.map_err(|error| failure(&error))?;
        trace.phase(Phase::FirstByte, since);
        trace.is_answered = true;
        let (head, mut body) = response.into_parts();
        if request.leads_to(head.status, &head.headers).is_some() {
            return Ok((seen(head), false));
        }
        let since = clock::instant();
        let mut answer = Answer::begin(request, head, body.is_end_stream(), keep_body)?;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| failure(&error))?;
            if let Some(data) = frame.data_ref() {
                answer.take(data)?;
            }
        }
        trace.phase(Phase::Transfer, since);
        Ok((answer.end(), true))
    };
    // The connection is driven here: no task is left behind.
    tokio::pin!(exchange);
    let mut open = true;
    loop {
        tokio::select! {
            biased;
            // What it is not open for any more cannot follow.
            seen = &mut exchange => return seen.map(|(seen, whole)| (seen, whole && open)),
            _ended = &mut *connection, if open => open = false,
        }
    }
}

/// What an error of an HTTP/1.1 exchange means.
pub(super) fn failure(error: &hyper::Error) -> Failure {
    let mut cause = error.source();
    let mut io_error: Option<&io::Error> = None;
    while let Some(inner) = cause {
        io_error = io_error.or_else(|| inner.downcast_ref::<io::Error>());
        cause = inner.source();
    }
    if let Some(io_error) = io_error {
        use io::ErrorKind as K;
        let tls = io_error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        if let Some(tls) = tls {
            // With TLS 1.3 a server judges the client after the client's handshake has ended: its
            // refusal comes in the place of the answer.
            let evidence = format!("the target ended TLS after the handshake: {tls}");
            return Failure::new(Reason::TlsHandshake, evidence);
        }
        let reason = match io_error.kind() {
            K::ConnectionReset | K::BrokenPipe | K::ConnectionAborted => Reason::HttpReset,
            K::UnexpectedEof => Reason::HttpTruncated,
            K::TimedOut => Reason::Timeout,
            _ => Reason::HttpMalformed,
        };
        return Failure::new(reason, format!("answer: {}", plain(io_error)));
    }
    if error.is_incomplete_message() {
        let evidence = "the connection was closed before the answer was complete";
        return Failure::new(Reason::HttpTruncated, evidence);
    }
    if error.is_canceled() || error.is_closed() {
        return Failure::new(Reason::HttpReset, "the connection was closed");
    }
    Failure::new(Reason::HttpMalformed, format!("answer: {error}"))
}
