//! One HTTP/3 exchange (RFC 9114) on a QUIC connection of its own.
//!
//! The protocol is driven without a task beside the run's: connection, control streams and exchange are
//! polled together, and all end with the run.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use bytes::{Buf as _, Bytes};
use h3::ConnectionState as _;
use h3::client::SendRequest;
use h3::error::{Code, ConnectionError, LocalError, StreamError};
use h3_quinn::OpenStreams;
use http::header::CONTENT_LENGTH;
use http::response::Parts;
use http::{Method, StatusCode};
use parallax_common::limits::QUIC_BESIDE_BODY_BYTES_MAX;
use parallax_common::outcome::{Phase, Reason};
use parallax_runtime::clock;

use super::answer::{Answer, seen};
use super::http2_exchange::HEAD_BYTES_MAX;
use super::quic::{self, Quic};
use super::request::Request;
use super::{Failure, Seen, Stage, Trace};

/// What the library says of a stream that ended where a frame was not complete, and of one that ended
/// before it began; it has no types for the two.
const CUT: [&str; 2] =
    ["received incomplete frame", "Stream finished without receiving response headers"];

/// Sends the request and reads the answer to its end. The body is kept only when asked; that of a
/// redirect that is followed is not read.
pub(super) async fn exchange(
    request: &Request,
    mut quic: Quic,
    keep_body: bool,
    trace: &mut Trace,
) -> Result<Seen, Failure> {
    trace.stage = Stage::Exchange;
    let seen = exchange_over(request, &mut quic, keep_body, trace).await;
    quic.close().await;
    seen
}

async fn exchange_over(
    request: &Request,
    quic: &mut Quic,
    keep_body: bool,
    trace: &mut Trace,
) -> Result<Seen, Failure> {
    let mut builder = h3::client::builder();
    builder.max_field_section_size(HEAD_BYTES_MAX.into()).send_grease(false);
    let transport = h3_quinn::Connection::new(quic.connection.clone());
    let opened = quic.wait(builder.build::<_, _, Bytes>(transport)).await;
    let (mut session, sender) = opened.map_err(|error| of_session(&error, quic))?;
    let most = 2 * request.body_max_bytes + QUIC_BESIDE_BODY_BYTES_MAX;
    let mut asking = pin!(ask(request, sender, keep_body, trace));
    let mut over = None;
    poll_fn(|context| {
        quic.poll(context);
        if over.is_none()
            && let Poll::Ready(error) = session.poll_close(context)
        {
            over = Some(error);
        }
        // What has come before the end is still read.
        if let Poll::Ready(seen) = asking.as_mut().poll(context) {
            return Poll::Ready(seen.map_err(|error| error.explain(quic)));
        }
        if quic.bytes() > most {
            let evidence = format!("over {most} bytes came, and no end of the answer");
            return Poll::Ready(Err(Failure::new(Reason::HttpMalformed, evidence)));
        }
        match (&over, quic.broken()) {
            (Some(error), _) => Poll::Ready(Err(of_session(error, quic))),
            (None, Some(why)) => Poll::Ready(Err(Failure::new(Reason::HttpReset, why))),
            (None, None) => Poll::Pending,
        }
    })
    .await
}

/// Why an exchange came to no end.
enum Broken {
    /// It was told what is wrong.
    Known(Failure),
    /// The connection ended; that knows why.
    Session(ConnectionError),
}

impl Broken {
    fn explain(self, quic: &Quic) -> Failure {
        match self {
            Self::Known(failure) => failure,
            Self::Session(error) => of_session(&error, quic),
        }
    }
}

impl From<Failure> for Broken {
    fn from(failure: Failure) -> Self {
        Self::Known(failure)
    }
}

async fn ask(
    request: &Request,
    mut sender: SendRequest<OpenStreams, Bytes>,
    keep_body: bool,
    trace: &mut Trace,
) -> Result<Seen, Broken> {
    let (message, body) = request.build_framed()?;
    let since = clock::instant();
    let sent = sender.send_request(message).await;
    let (mut sending, mut receiving) = sent.map_err(not_sent)?.split();
    let mut sending = pin!(async move {
        if !body.is_empty() {
            sending.send_data(body).await?;
        }
        sending.finish().await
    });
    let mut reading = pin!(async {
        // Interim answers are none (RFC 9114, 4.1). How many come is bounded by their bytes.
        let head = loop {
            let mut coming = pin!(receiving.recv_response());
            let head = poll_fn(|context| {
                if sender.is_closing() && trace.refusal.is_none() {
                    trace.refusal = Some(goodbye("and has not answered"));
                }
                coming.as_mut().poll(context)
            });
            let head = head.await.map_err(|error| broken(error, sender.is_closing()))?;
            if !head.status().is_informational() {
                break head;
            }
        };
        trace.refusal = None;
        trace.phase(Phase::FirstByte, since);
        trace.is_answered = true;
        let (head, ()) = head.into_parts();
        if request.leads_to(head.status, &head.headers).is_some() {
            return Ok(seen(head));
        }
        let since = clock::instant();
        let promised = promised(request, &head);
        let is_empty = promised == Some(0);
        let mut answer = Answer::begin(request, head, is_empty, keep_body)?;
        let mut bytes = 0;
        loop {
            let data = receiving.recv_data().await;
            let data = data.map_err(|error| broken(error, sender.is_closing()))?;
            let Some(mut data) = data else { break };
            while data.has_remaining() {
                let length = data.chunk().len();
                answer.take(data.chunk())?;
                bytes += length as u64;
                data.advance(length);
            }
        }
        match promised {
            Some(promised) if bytes < promised => {
                let evidence = format!("the stream ended after {bytes} of {promised} bytes");
                return Err(Failure::new(Reason::HttpTruncated, evidence).into());
            }
            Some(promised) if bytes > promised => {
                let evidence = format!("{bytes} bytes of body, {promised} were promised");
                return Err(Failure::new(Reason::HttpMalformed, evidence).into());
            }
            _ => {}
        }
        trace.phase(Phase::Transfer, since);
        Ok(answer.end())
    });
    let mut is_sent = false;
    poll_fn(|context| {
        // A target may answer and take no more of the request; when it does neither, reading tells why.
        is_sent = is_sent || sending.as_mut().poll(context).is_ready();
        reading.as_mut().poll(context)
    })
    .await
}

/// How many bytes of body must come, when the head says so.
fn promised(request: &Request, head: &Parts) -> Option<u64> {
    let without = matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if without || request.method == Method::HEAD {
        return Some(0);
    }
    head.headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn goodbye(what: &str) -> Failure {
    Failure::new(Reason::HttpGoaway, format!("the target has said goodbye {what}"))
}

/// Why a request could not be sent.
fn not_sent(error: StreamError) -> Broken {
    match error {
        StreamError::HeaderTooBig { actual_size, max_size, .. } => {
            let evidence = format!(
                "the target takes heads of {max_size} bytes, that of the request has {actual_size}"
            );
            Failure::new(Reason::HttpReset, evidence).into()
        }
        StreamError::RemoteClosing => goodbye("before the request").into(),
        other => broken(other, false),
    }
}

/// Why an answer could not be read. Whether the target `is_closing` the session tells a request that it
/// left out from one that went wrong.
fn broken(error: StreamError, is_closing: bool) -> Broken {
    let failure = match error {
        StreamError::ConnectionError(error) => return Broken::Session(error),
        StreamError::RemoteTerminate { code, .. } => {
            let reason = match code {
                Code::H3_VERSION_FALLBACK => Reason::HttpVersion,
                _ if is_closing => Reason::HttpGoaway,
                _ => Reason::HttpReset,
            };
            Failure::new(reason, format!("the target reset the stream: {code}"))
        }
        StreamError::HeaderTooBig { max_size, .. } => {
            let evidence = format!("answer: its head has over {max_size} bytes");
            Failure::new(Reason::HttpMalformed, evidence)
        }
        StreamError::StreamError { code, reason, .. } => {
            Failure::new(Reason::HttpMalformed, format!("answer: {code}: {reason}"))
        }
        other => Failure::new(Reason::HttpMalformed, format!("answer: {other}")),
    };
    failure.into()
}

/// What the end of a session means: that which this side ended names its own complaint, and of the others
/// the connection knows more than the session does.
fn of_session(error: &ConnectionError, quic: &Quic) -> Failure {
    if let ConnectionError::Local { error: LocalError::Application { code, reason, .. }, .. } =
        error
    {
        let reason_of = match CUT.contains(&reason.as_str()) {
            true => Reason::HttpTruncated,
            false => Reason::HttpMalformed,
        };
        return Failure::new(reason_of, format!("answer: {code}: {reason}"));
    }
    match quic.connection.close_reason() {
        Some(why) => quic::ended(&why),
        None => Failure::new(Reason::HttpMalformed, format!("answer: {error}")),
    }
}
