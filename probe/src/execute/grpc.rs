//! A gRPC step: one call of `grpc.health.v1.Health/Check`, and what it says.
//!
//! A call is an HTTP/2 exchange with a message in each direction behind five bytes (a flag and a
//! length), and a status in the trailers. The two messages have one field each, so they are written
//! and read here; [`http2_exchange`] carries them.

use std::net::IpAddr;
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use h2::RecvStream;
use http::header::{CONTENT_TYPE, TE, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version};
use parallax_common::check::{GrpcStep, Run, TlsOptions};
use parallax_common::expect::GrpcAnswer;
use parallax_common::limits::GRPC_ANSWER_BYTES_MAX;
use parallax_common::outcome::{Phase, Reason};
use parallax_common::target::shown_address;
use parallax_runtime::clock;
use tokio::io::{AsyncRead, AsyncWrite};

use super::capture::References;
use super::{Executor, Failure, Seen, Stage, Trace, http2_exchange, tls};

const AGENT: &str = concat!("parallax-probe/", env!("CARGO_PKG_VERSION"));
const METHOD: &str = "/grpc.health.v1.Health/Check";
/// Characters of a status message that are kept. Cut.
const GRPC_MESSAGE_CHARS_MAX: usize = 256;
/// A flag and a length stand before each message.
const PREFIX_BYTES: usize = 5;

// Statuses of gRPC that mean something of their own here.
const OK: u32 = 0;
const NOT_FOUND: u32 = 5;
const UNIMPLEMENTED: u32 = 12;

/// Names of statuses, by number.
const STATUSES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];
/// Names of what a service may be, by number.
const SERVING: [&str; 4] = ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"];

/// A call with everything filled in.
#[derive(Debug)]
pub(super) struct Call {
    head: Request<()>,
    body: Bytes,
    /// Whether the default rule applies: it is serving.
    judge: bool,
    /// Values that came from references: they never leave in evidence.
    pub secrets: Vec<String>,
}

fn refuse(why: impl Into<String>) -> Failure {
    Failure::new(Reason::ConfigError, why)
}

impl Call {
    /// Fills in references, and what every call says.
    pub fn prepare(
        step: &GrpcStep,
        secrets: References<'_>,
        timeout: Duration,
        judge: bool,
    ) -> Result<Self, Failure> {
        let mut used = Vec::new();
        let address = shown_address(&step.host, step.port);
        let mut head = Request::new(());
        *head.method_mut() = Method::POST;
        *head.version_mut() = Version::HTTP_2;
        *head.uri_mut() = Uri::builder()
            .scheme(if step.tls.is_some() { "https" } else { "http" })
            .authority(step.authority.as_deref().unwrap_or(&address))
            .path_and_query(METHOD)
            .build()
            .map_err(|_| refuse("the authority cannot be sent"))?;
        let headers = head.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(TE, HeaderValue::from_static("trailers"));
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        // So that a server knows when nobody listens any more.
        let timeout = HeaderValue::try_from(format!("{}m", timeout.as_millis()));
        let timeout = timeout.map_err(|_| refuse("the timeout cannot be sent"))?;
        headers.insert(HeaderName::from_static("grpc-timeout"), timeout);
        for (name, template) in &step.metadata {
            let value = secrets.resolve(template, &mut used)?;
            let key = HeaderName::try_from(name.as_str())
                .map_err(|_| refuse(format!("{name} cannot be a key of metadata")))?;
            let mut value = HeaderValue::try_from(value)
                .map_err(|_| refuse(format!("the value of {name} cannot be sent")))?;
            value.set_sensitive(true);
            headers.append(key, value);
        }
        Ok(Self { head, body: question(&step.service)?, judge, secrets: used })
    }
}

/// A `HealthCheckRequest` behind its prefix: field 1, a text. The default is left out, as is the custom.
fn question(service: &str) -> Result<Bytes, Failure> {
    let long = || refuse("the name of the service is too long");
    let mut message = Vec::new();
    if !service.is_empty() {
        let length = u16::try_from(service.len()).ok().filter(|length| *length < 1 << 14);
        let length = length.ok_or_else(long)?;
        message.push(0x0a);
        // A varint of one byte or two.
        let [low, high] = [length & 0x7f, length >> 7].map(|part| part.to_le_bytes()[0]);
        match high {
            0 => message.push(low),
            high => message.extend([low | 0x80, high]),
        }
        message.extend_from_slice(service.as_bytes());
    }
    let length = u32::try_from(message.len()).map_err(|_| long())?;
    Ok([&[0], &length.to_be_bytes()[..], &message].concat().into())
}

/// Calls, and judges the answer unless the check does so itself.
pub(super) async fn run(
    executor: &Executor,
    run: &Run,
    step: &GrpcStep,
    call: &Call,
    tls: Option<(&tls::Config, &TlsOptions)>,
    source: Option<IpAddr>,
    trace: &mut Trace,
) -> Result<Seen, Failure> {
    let target = (step.host.as_str(), step.port);
    let stream = executor.connect(run, target, source, trace).await?;
    let grpc = match tls {
        None => exchange(call, stream, trace).await?,
        Some((config, options)) => {
            let name = options.server_name.as_deref().unwrap_or(target.0);
            let stream = tls::handshake(config, name, stream, trace).await?;
            if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
                let evidence =
                    "the target did not choose HTTP/2 in the handshake, as gRPC needs it";
                return Err(Failure::new(Reason::HttpVersion, evidence));
            }
            exchange(call, stream, trace).await?
        }
    };
    match judge(&grpc, &step.service).filter(|_| call.judge) {
        Some(failure) => Err(failure),
        None => Ok(Seen { grpc: Some(grpc), ..Seen::default() }),
    }
}

async fn exchange<S>(call: &Call, stream: S, trace: &mut Trace) -> Result<GrpcAnswer, Failure>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    trace.stage = Stage::Exchange;
    let (sender, mut connection) = http2_exchange::open(stream).await?;
    let handle = sender.clone();
    let exchange = async {
        let since = clock::instant();
        let sent = http2_exchange::send(sender, call.head.clone(), call.body.clone());
        let response = sent.await.map_err(|error| http2_exchange::failure(&error))?;
        trace.phase(Phase::FirstByte, since);
        let since = clock::instant();
        let (head, stream) = response.into_parts();
        let status = head.status.as_u16();
        if status != 200 && !head.headers.contains_key("grpc-status") {
            // Somebody on the way: what its page says is of no use, and may be of any length.
            return Err(Failure::new(
                Reason::HttpStatus,
                format!("status {status}, no grpc-status"),
            ));
        }
        let (body, trailers) = read(stream).await?;
        trace.phase(Phase::Transfer, since);
        answer(&head.headers, body, &trailers)
    };
    http2_exchange::together(exchange, &mut connection, handle).await
}

/// Everything behind the head, within its bound.
async fn read(mut stream: RecvStream) -> Result<(Bytes, HeaderMap), Failure> {
    let mut body = BytesMut::new();
    while let Some(data) = stream.data().await {
        let data = data.map_err(|error| http2_exchange::failure(&error))?;
        let _ = stream.flow_control().release_capacity(data.len());
        if body.len() + data.len() > GRPC_ANSWER_BYTES_MAX {
            return Err(malformed(&format!("over {GRPC_ANSWER_BYTES_MAX} bytes")));
        }
        body.extend_from_slice(&data);
    }
    let trailers = stream.trailers().await.map_err(|error| http2_exchange::failure(&error))?;
    Ok((body.freeze(), trailers.unwrap_or_default()))
}

fn malformed(why: &str) -> Failure {
    Failure::new(Reason::GrpcMalformed, format!("not the answer of a health service: {why}"))
}

/// What an answer says. A call that is refused at once has its status in the head.
pub(super) fn answer(
    head: &HeaderMap,
    body: Bytes,
    trailers: &HeaderMap,
) -> Result<GrpcAnswer, Failure> {
    let ended = [trailers, head].into_iter().find(|place| place.contains_key("grpc-status"));
    let Some(ended) = ended else {
        let kind = head.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        return Err(match kind.starts_with("application/grpc") {
            true => malformed("there is no grpc-status"),
            false => malformed(&format!("its content-type is `{kind}`")),
        });
    };
    let text = |name: &str| ended.get(name).map(HeaderValue::as_bytes).unwrap_or_default();
    let number = std::str::from_utf8(text("grpc-status")).ok().and_then(|text| text.parse().ok());
    let status: u32 = number.ok_or_else(|| malformed("its grpc-status is no number"))?;
    let serving = match status {
        OK => serving(body).ok_or_else(|| malformed("its message cannot be read"))?,
        _ => String::new(),
    };
    Ok(GrpcAnswer { serving, status, message: message(text("grpc-message")) })
}

/// The status in a `HealthCheckResponse` behind its prefix: field 1, a number; 0 when it is left out.
fn serving(mut body: Bytes) -> Option<String> {
    if body.len() < PREFIX_BYTES || body.get_u8() != 0 || body.get_u32() as usize != body.len() {
        return None;
    }
    let mut serving = 0;
    while body.has_remaining() {
        let key = varint(&mut body)?;
        match (key >> 3, key & 7) {
            (1, 0) => serving = varint(&mut body)?,
            // Fields that nobody knows yet are passed over.
            (_, 0) => drop(varint(&mut body)?),
            (_, 1) => skip(&mut body, 8)?,
            (_, 2) => {
                let length = varint(&mut body)?;
                skip(&mut body, length)?;
            }
            (_, 5) => skip(&mut body, 4)?,
            _ => return None,
        }
    }
    let known = usize::try_from(serving).ok().and_then(|number| SERVING.get(number));
    Some(known.map_or_else(|| serving.to_string(), |word| (*word).to_owned()))
}

fn skip(body: &mut Bytes, length: u64) -> Option<()> {
    let length = usize::try_from(length).ok().filter(|length| *length <= body.len())?;
    body.advance(length);
    Some(())
}

fn varint(body: &mut Bytes) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let byte = u64::from(body.has_remaining().then(|| body.get_u8())?);
        number |= (byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// The text of a status, which travels with what is no plain ASCII as `%` and two digits. Control
/// characters are left out.
fn message(written: &[u8]) -> String {
    let digit = |at: usize| written.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    let mut bytes = Vec::with_capacity(written.len());
    let mut at = 0;
    while let Some(byte) = written.get(at) {
        match (byte, digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push((high * 16 + low).to_le_bytes()[0]);
                at += 3;
            }
            _ => {
                bytes.push(*byte);
                at += 1;
            }
        }
    }
    let text = String::from_utf8_lossy(&bytes);
    text.chars().filter(|c| !c.is_control()).take(GRPC_MESSAGE_CHARS_MAX).collect()
}

/// The default rule: the call succeeds and says `SERVING`.
fn judge(answer: &GrpcAnswer, service: &str) -> Option<Failure> {
    let GrpcAnswer { serving, status, message } = answer;
    let of = match service {
        "" => "the server".to_owned(),
        service => format!("the service {service}"),
    };
    let name = |status: u32| {
        let known = usize::try_from(status).ok().and_then(|number| STATUSES.get(number));
        known.copied().unwrap_or("an unknown status")
    };
    let (reason, mut evidence) = match *status {
        OK => match serving.as_str() {
            "SERVING" => return None,
            "SERVICE_UNKNOWN" => (Reason::GrpcUnknownService, format!("{of} is not known")),
            other => (Reason::GrpcNotServing, format!("{of} is {other}")),
        },
        NOT_FOUND => (Reason::GrpcUnknownService, format!("{of} is not known: NOT_FOUND (5)")),
        UNIMPLEMENTED => {
            (Reason::GrpcUnimplemented, "there is no health service: UNIMPLEMENTED (12)".to_owned())
        }
        status => (Reason::GrpcStatus, format!("the call ended with {} ({status})", name(status))),
    };
    if !message.is_empty() {
        evidence = format!("{evidence}: {message}");
    }
    Some(Failure::new(reason, evidence))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_written_as_the_standard_has_it() {
        assert_eq!(question("").unwrap(), &[0, 0, 0, 0, 0][..]);
        assert_eq!(question("a.B").unwrap(), &b"\0\0\0\0\x05\x0a\x03a.B"[..]);
        let long = "x".repeat(200);
        let written = question(&long).unwrap();
        assert_eq!(written[..8], [0, 0, 0, 0, 203, 0x0a, 0xc8, 0x01]);
        assert_eq!(question(&"x".repeat(1 << 14)).unwrap_err().reason, Reason::ConfigError);
    }

    #[test]
    fn an_answer_is_read_whatever_stands_beside_its_field() {
        for (body, wanted) in [
            (&b"\0\0\0\0\0"[..], Some("UNKNOWN")),
            (b"\0\0\0\0\x02\x08\x01", Some("SERVING")),
            (b"\0\0\0\0\x02\x08\x02", Some("NOT_SERVING")),
            (b"\0\0\0\0\x02\x08\x03", Some("SERVICE_UNKNOWN")),
            (b"\0\0\0\0\x03\x08\x96\x01", Some("150")),
            // Others of each type before, and the last of several counts.
            (b"\0\0\0\0\x13\x10\x05\x19AAAAAAAA\x22\x01x\x2dAAAA", Some("UNKNOWN")),
            (b"\0\0\0\0\x14\x10\x05\x19AAAAAAAA\x22\x01x\x2dAAAA\x08", None),
            (b"\0\0\0\0\x15\x10\x05\x19AAAAAAAA\x22\x01x\x2dAAAA\x08\x01", Some("SERVING")),
            (b"\0\0\0\0\x04\x08\x02\x08\x01", Some("SERVING")),
            (b"", None),
            (b"\0\0\0\0", None),
            (b"\x01\0\0\0\0", None),
            (b"\0\0\0\0\x03\x08\x01", None),
            (b"\0\0\0\0\x01\x08\x01", None),
            (b"\0\0\0\0\x01\x08", None),
            (b"\0\0\0\0\x02\x0b\x01", None),
            (b"\0\0\0\0\x02\x12\x7f", None),
            (b"\0\0\0\0\x0c\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", None),
        ] {
            let read = serving(Bytes::from_static(body));
            assert_eq!(read.as_deref(), wanted, "{body:?}");
        }
    }

    #[test]
    fn a_message_is_decoded_and_cut() {
        for (written, wanted) in [
            (&b""[..], ""),
            (b"no such service", "no such service"),
            (b"100%25 %E2%82%AC", "100% \u{20ac}"),
            (b"%zz %4", "%zz %4"),
            (b"a%0d%0ab", "ab"),
            (b"%ff", "\u{fffd}"),
        ] {
            assert_eq!(message(written), wanted, "{written:?}");
        }
        assert_eq!(message(&[b'x'; 2_000]).len(), GRPC_MESSAGE_CHARS_MAX);
    }

    #[test]
    fn each_status_has_its_reason() {
        let said = |serving: &str, status| GrpcAnswer {
            serving: serving.to_owned(),
            status,
            message: "why".to_owned(),
        };
        for (serving, status, reason, word) in [
            ("NOT_SERVING", OK, Reason::GrpcNotServing, "NOT_SERVING"),
            ("UNKNOWN", OK, Reason::GrpcNotServing, "UNKNOWN"),
            ("150", OK, Reason::GrpcNotServing, "150"),
            ("SERVICE_UNKNOWN", OK, Reason::GrpcUnknownService, "not known"),
            ("", 5, Reason::GrpcUnknownService, "NOT_FOUND (5)"),
            ("", 12, Reason::GrpcUnimplemented, "UNIMPLEMENTED (12)"),
            ("", 14, Reason::GrpcStatus, "UNAVAILABLE (14)"),
            ("", 16, Reason::GrpcStatus, "UNAUTHENTICATED (16)"),
            ("", 99, Reason::GrpcStatus, "an unknown status (99)"),
        ] {
            let failure = judge(&said(serving, status), "shop.Cart").unwrap();
            assert_eq!(failure.reason, reason, "{serving} {status}");
            assert!(failure.evidence.contains(word), "{failure:?}");
            assert!(failure.evidence.ends_with(": why"), "{failure:?}");
        }
        assert_eq!(judge(&said("SERVING", OK), ""), None);
    }
}
