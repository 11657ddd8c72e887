//! One HTTP/1.1 exchange on a connection of its own.

use std::error::Error;
use std::io;

use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT, CONNECTION, CONTENT_LENGTH, HOST, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};
use http_body_util::{BodyExt, Full};
use hyper::body::Body;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use parallax_common::check::HttpStep;
use parallax_common::outcome::{Phase, Reason};
use parallax_common::target::HttpUrl;
use parallax_runtime::clock;
use tokio::io::{AsyncRead, AsyncWrite};

use super::connect::plain;
use super::secrets::Secrets;
use super::{Failure, Seen, Stage, Trace};

const AGENT: &str = concat!("parallax-probe/", env!("CARGO_PKG_VERSION"));

/// A request with everything filled in.
#[derive(Debug)]
pub(super) struct Request {
    pub url: HttpUrl,
    method: Method,
    headers: HeaderMap,
    body: Bytes,
    body_max_bytes: u64,
    /// Whether the default rule (2xx or 3xx) applies.
    pub judge_status: bool,
    /// Values that came from references: they never leave in evidence.
    pub secrets: Vec<String>,
}

impl Request {
    pub fn prepare(
        step: &HttpStep,
        secrets: &Secrets,
        extra: Option<(HeaderName, HeaderValue)>,
        judge_status: bool,
    ) -> Result<Self, Failure> {
        let refuse = |why: String| Failure::new(Reason::ConfigError, why);
        let url = HttpUrl::parse(&step.url).map_err(|error| refuse(error.message))?;
        let method = Method::from_bytes(step.method.as_bytes())
            .map_err(|_| refuse(format!("{} is not a method", step.method)))?;
        let mut used = Vec::new();
        let mut headers = HeaderMap::new();
        for (name, template) in &step.headers {
            let value = secrets.resolve(template, &mut used)?;
            let header = HeaderName::try_from(name.as_str())
                .map_err(|_| refuse(format!("{name} is not a header name")))?;
            let mut value = HeaderValue::try_from(value)
                .map_err(|_| refuse(format!("the value of {name} cannot be sent")))?;
            value.set_sensitive(true);
            headers.append(header, value);
        }
        if let Some((name, value)) = extra {
            headers.insert(name, value);
        }
        if !headers.contains_key(HOST) {
            let host = HeaderValue::try_from(url.authority.as_str())
                .map_err(|_| refuse("the host cannot be sent".to_owned()))?;
            headers.insert(HOST, host);
        }
        headers.entry(USER_AGENT).or_insert(HeaderValue::from_static(AGENT));
        headers.entry(ACCEPT).or_insert(HeaderValue::from_static("*/*"));
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        Ok(Self {
            url,
            method,
            headers,
            body: Bytes::from(step.body.clone()),
            body_max_bytes: step.body_max_bytes,
            judge_status,
            secrets: used,
        })
    }

    fn build(&self) -> Result<http::Request<Full<Bytes>>, Failure> {
        let mut request = http::Request::new(Full::new(self.body.clone()));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() =
            self.url.path_and_query.parse().map_err(|_| {
                Failure::new(Reason::ConfigError, "the path of the URL cannot be sent")
            })?;
        *request.headers_mut() = self.headers.clone();
        Ok(request)
    }
}

/// Sends the request and reads the answer to its end. The body is kept only when asked.
pub(super) async fn exchange<S>(
    request: &Request,
    stream: S,
    keep_body: bool,
    trace: &mut Trace,
) -> Result<Seen, Failure>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    trace.stage = Stage::Exchange;
    let message = request.build()?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| failure(&error))?;
    let exchange = async {
        let since = clock::instant();
        let response = sender.send_request(message).await.map_err(|error| failure(&error))?;
        trace.phase(Phase::FirstByte, since);
        let since = clock::instant();
        let seen = read(request, response, keep_body).await?;
        trace.phase(Phase::Transfer, since);
        Ok(seen)
    };
    // The connection is driven here and ends with the run: no task is left behind.
    tokio::pin!(exchange, connection);
    let mut open = true;
    loop {
        tokio::select! {
            biased;
            seen = &mut exchange => return seen,
            _ended = &mut connection, if open => open = false,
        }
    }
}

async fn read(
    request: &Request,
    response: http::Response<hyper::body::Incoming>,
    keep_body: bool,
) -> Result<Seen, Failure> {
    let (head, mut body) = response.into_parts();
    let limit = request.body_max_bytes;
    let too_large = |bytes: u64| {
        let evidence = format!(
            "status {}, at least {bytes} bytes of body, {limit} allowed",
            head.status.as_u16()
        );
        Failure::new(Reason::HttpBodyTooLarge, evidence)
    };
    let promised = head.headers.get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse().ok());
    if let Some(promised) = promised.filter(|bytes| *bytes > limit && !body.is_end_stream()) {
        return Err(too_large(promised));
    }
    let mut kept = BytesMut::new();
    let mut bytes = 0_u64;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| failure(&error))?;
        let Some(data) = frame.data_ref() else { continue };
        bytes += data.len() as u64;
        if bytes > limit {
            return Err(too_large(bytes));
        }
        if keep_body {
            kept.extend_from_slice(data);
        }
    }
    Ok(Seen {
        status: Some(head.status.as_u16()),
        headers: head.headers,
        body: kept.freeze(),
        body_bytes: bytes,
        http_version: if head.version == Version::HTTP_10 { "HTTP/1.0" } else { "HTTP/1.1" },
    })
}

fn failure(error: &hyper::Error) -> Failure {
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
