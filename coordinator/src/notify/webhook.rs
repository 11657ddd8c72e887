//! Posts a page to a webhook: one request, one connection, no redirects.
//!
//! The connection is made and the request written in two steps of our own instead of through a
//! pooling client, because the outbox must know on which side of that line an attempt failed: before
//! it nothing was said ([`Report::NotSent`]), behind it everything may have been
//! ([`Report::Ambiguous`]). Pages are rare; a new connection each costs less than a reused one that
//! was closed by the other side in the same moment.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{
    CONTENT_TYPE, HOST, HeaderName, HeaderValue, LOCATION, RETRY_AFTER, USER_AGENT,
};
use http::{Method, Request, Response, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use parallax_common::limits::{PAGE_ANSWER_BYTES_MAX, PAGE_TIMEOUT};
use parallax_common::redact::redact;
use parallax_common::time::UtcTime;
use parallax_proto::v1::{Secret, WebhookContact, contact};
use parallax_runtime::clock;
use parallax_runtime::supervisor::{Supervisor, TaskKind};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tonic::codegen::Service as _;

use super::secrets::Secrets;
use super::{Attempt, Sender, Sending};
use crate::core::outbox::Report;

/// The header that stays the same over every attempt at a page.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// A part of a URL that is shorter is no secret of its own, and would be found everywhere.
const SECRET_PART_LENGTH_MIN: usize = 8;

/// Whom to trust when a webhook's certificate is verified.
#[derive(Debug, Clone)]
pub enum Roots {
    /// The list that is compiled in.
    Webpki,
    /// The system's.
    Native,
    /// These and no others.
    Given(rustls::RootCertStore),
}

/// Why webhooks cannot be sent at all.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// TLS cannot be set up.
    #[error("cannot set up TLS for webhooks")]
    Tls(#[from] rustls::Error),
    /// The system's certificates cannot be read.
    #[error("cannot read the system's certificates for webhooks")]
    Native(#[source] io::Error),
}

/// Sends pages over HTTP and HTTPS.
#[derive(Debug, Clone)]
pub struct Webhook {
    connector: HttpsConnector<HttpConnector>,
    secrets: Secrets,
    supervisor: Supervisor,
}

impl Webhook {
    /// A sender that trusts `roots` and fills in what `secrets` allow. Connections are driven by
    /// tasks of `supervisor`.
    ///
    /// # Errors
    /// When TLS cannot be set up or the system's certificates cannot be read.
    pub fn new(
        roots: Roots,
        secrets: Secrets,
        supervisor: Supervisor,
    ) -> Result<Self, WebhookError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?;
        let config = match roots {
            Roots::Webpki => builder.with_webpki_roots().with_no_client_auth(),
            Roots::Native => {
                builder.with_native_roots().map_err(WebhookError::Native)?.with_no_client_auth()
            }
            Roots::Given(roots) => builder.with_root_certificates(roots).with_no_client_auth(),
        };
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(config)
            .https_or_http()
            .enable_http1()
            .wrap_connector(http);
        Ok(Self { connector, secrets, supervisor })
    }

    async fn attempt(&self, attempt: Attempt) -> Report {
        let Some(contact::Kind::Webhook(webhook)) = &attempt.contact.kind else {
            return Report::NotSent("the contact has no webhook".into());
        };
        let mut used = Vec::new();
        let request = request(&self.secrets, webhook, &attempt, &mut used);
        let report = self.carry(limit(webhook), request).await;
        redacted(report, used)
    }

    /// Makes one call to a URL that says nothing but that somebody is there. Ends within
    /// [`PAGE_TIMEOUT`].
    pub async fn call(&self, url: &Secret) -> Report {
        let mut used = Vec::new();
        let report = self.carry(PAGE_TIMEOUT, call(&self.secrets, url, &mut used)).await;
        redacted(report, used)
    }

    /// Sends the request that `request` becomes, all within `limit`.
    async fn carry(
        &self,
        limit: Duration,
        request: impl Future<Output = Result<Request<Full<Bytes>>, String>>,
    ) -> Report {
        let deadline = tokio::time::sleep(limit);
        tokio::pin!(deadline);
        // References first, also against the clock: a file may be on a disk that does not answer.
        let request = tokio::select! {
            request = request => request,
            () = &mut deadline => {
                Err(format!("config_error: its references were not resolved within {limit:?}"))
            }
        };
        let request = match request {
            Ok(request) => request,
            Err(why) => return Report::NotSent(why),
        };
        // Up to here, and until the handshake is done, nothing of the page has left.
        let stream = tokio::select! {
            stream = self.connect(request.uri().clone()) => stream,
            () = &mut deadline => Err(format!("no connection within {limit:?}")),
        };
        let stream = match stream {
            Ok(stream) => stream,
            Err(why) => return Report::NotSent(why),
        };
        tokio::select! {
            report = self.exchange(stream, request) => report,
            () = &mut deadline => Report::Ambiguous(format!("no answer within {limit:?}")),
        }
    }

    async fn connect(&self, uri: Uri) -> Result<MaybeHttpsStream<TokioIo<TcpStream>>, String> {
        let mut connector = self.connector.clone();
        std::future::poll_fn(|context| connector.poll_ready(context))
            .await
            .map_err(|error| chain(error.as_ref()))?;
        connector.call(uri).await.map_err(|error| chain(error.as_ref()))
    }

    async fn exchange(
        &self,
        stream: MaybeHttpsStream<TokioIo<TcpStream>>,
        mut request: Request<Full<Bytes>>,
    ) -> Report {
        let (mut sender, connection) = match http1::handshake(stream).await {
            Ok(both) => both,
            Err(error) => return Report::NotSent(chain(&error)),
        };
        let stop = self.supervisor.stop_token();
        self.supervisor.spawn(TaskKind::Session("webhook"), async move {
            tokio::select! {
                _ = connection => {}
                () = stop.cancelled() => {}
            }
        });
        // In origin form: the host is in its header.
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        if let Ok(uri) = Uri::try_from(path) {
            *request.uri_mut() = uri;
        }
        match sender.send_request(request).await {
            Ok(response) => answered(response).await,
            Err(error) => Report::Ambiguous(chain(&error)),
        }
    }
}

impl Sender for Webhook {
    fn send(&self, attempt: Attempt) -> Sending<'_> {
        Box::pin(self.attempt(attempt))
    }
}

fn limit(webhook: &WebhookContact) -> Duration {
    let own = webhook.timeout.and_then(|length| Duration::try_from(length).ok());
    own.filter(|own| !own.is_zero()).unwrap_or(PAGE_TIMEOUT)
}

/// What may be remembered of an attempt: a contact may have repeated what it was sent, in whole or in
/// part, and an error of connecting may name the host.
fn redacted(report: Report, mut used: Vec<String>) -> Report {
    let parts = |url: &String| url.trim().parse::<Uri>().ok().map(|uri| parts(&uri));
    used.extend(used.iter().filter_map(parts).flatten().collect::<Vec<_>>());
    let redact = |text: &str| redact(text, &used);
    match report {
        Report::Answered { status, retry_after, detail } => {
            Report::Answered { status, retry_after, detail: redact(&detail) }
        }
        Report::NotSent(why) => Report::NotSent(redact(&why)),
        Report::Ambiguous(why) => Report::Ambiguous(redact(&why)),
    }
}

/// Parts of a URL that may come back without the rest. Short ones hide nothing.
fn parts(uri: &Uri) -> Vec<String> {
    let path = uri.path_and_query().map(|path| path.as_str().trim_start_matches('/'));
    let parts = [path, uri.query(), uri.host()].into_iter().flatten();
    parts.filter(|part| part.len() >= SECRET_PART_LENGTH_MIN).map(str::to_owned).collect()
}

/// Where a URL leads, references resolved: the whole of it, and what the host header says.
async fn target(
    secrets: &Secrets,
    url: Option<&Secret>,
    used: &mut Vec<String>,
) -> Result<(Uri, String), String> {
    let url = secrets.resolve(url, used).await;
    let url = url.map_err(|error| format!("config_error: url: {}", chain(&error)))?;
    let uri: Uri = url.trim().parse().map_err(|_| "config_error: url: not a URL".to_owned())?;
    match (uri.scheme_str(), uri.authority()) {
        (Some("http" | "https"), Some(authority)) => {
            // User information is not sent to anybody.
            let text = authority.as_str();
            let host = text.rsplit_once('@').map_or(text, |(_, host)| host).to_owned();
            Ok((uri, host))
        }
        _ => Err("config_error: url: not an http or https URL with a host".into()),
    }
}

/// A request that carries nothing.
async fn call(
    secrets: &Secrets,
    url: &Secret,
    used: &mut Vec<String>,
) -> Result<Request<Full<Bytes>>, String> {
    let (uri, host) = target(secrets, Some(url), used).await?;
    Request::builder()
        .method(Method::GET)
        .uri(uri)
        .header(HOST, host)
        .header(USER_AGENT, concat!("parallax/", env!("CARGO_PKG_VERSION")))
        .body(Full::default())
        .map_err(|error| format!("config_error: {error}"))
}

/// The request, references resolved. An error names what is wrong with the contact and never shows
/// a resolved value.
async fn request(
    secrets: &Secrets,
    webhook: &WebhookContact,
    attempt: &Attempt,
    used: &mut Vec<String>,
) -> Result<Request<Full<Bytes>>, String> {
    let (uri, host) = target(secrets, webhook.url.as_ref(), used).await?;
    let body = serde_json::to_vec(&attempt.page)
        .map_err(|error| format!("the page cannot be written as JSON: {error}"))?;
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(uri)
        .header(HOST, host)
        .header(CONTENT_TYPE, "application/json")
        .header(USER_AGENT, concat!("parallax/", env!("CARGO_PKG_VERSION")))
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| format!("config_error: {error}"))?;
    for header in &webhook.headers {
        let value = secrets.resolve(header.value.as_ref(), used).await;
        let value = value
            .map_err(|error| format!("config_error: header {}: {}", header.name, chain(&error)))?;
        let wrong = || format!("config_error: header {}: not a header", header.name);
        let name = HeaderName::try_from(header.name.as_str()).map_err(|_| wrong())?;
        let mut value = HeaderValue::try_from(value).map_err(|_| wrong())?;
        value.set_sensitive(true);
        request.headers_mut().insert(name, value);
    }
    // Last, so that no configured header takes its place.
    let key = HeaderValue::try_from(attempt.key.as_str()).map_err(|error| error.to_string())?;
    request.headers_mut().insert(IDEMPOTENCY_KEY, key);
    Ok(request)
}

/// A status is an answer; what follows it is only read for the person who looks for the reason.
async fn answered(response: Response<Incoming>) -> Report {
    let status = response.status().as_u16();
    let retry_after = response
        .headers()
        .get(RETRY_AFTER)
        .and_then(|value| retry_after(value.to_str().ok()?, clock::utc()));
    if response.status().is_success() {
        return Report::Answered { status, retry_after, detail: String::new() };
    }
    if response.status().is_redirection() {
        let to = response.headers().get(LOCATION).and_then(|to| to.to_str().ok());
        let detail = format!("redirects are not followed ({})", to.unwrap_or("no location"));
        return Report::Answered { status, retry_after, detail };
    }
    // The answer is in: an error of ours to read on must not make it ambiguous.
    let read = timeout(Duration::from_secs(1), beginning(response.into_body())).await;
    let detail = read.unwrap_or_default();
    Report::Answered { status, retry_after, detail }
}

/// The first bytes of an answer, as text on one line.
async fn beginning(mut body: Incoming) -> String {
    let mut read = BytesMut::new();
    while read.len() < PAGE_ANSWER_BYTES_MAX {
        match body.frame().await {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    let room = PAGE_ANSWER_BYTES_MAX - read.len();
                    read.extend_from_slice(&data[..data.len().min(room)]);
                }
            }
            Some(Err(_)) | None => break,
        }
    }
    let text = String::from_utf8_lossy(&read);
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// `Retry-After` as a length: seconds, or a date (RFC 9110, 10.2.3) less `now`.
fn retry_after(value: &str, now: UtcTime) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(value).ok()?;
    let at = i64::try_from(date.timestamp().as_nanosecond()).ok()?;
    Some(UtcTime::from_ns(at).since(now))
}

/// An error with its causes, on one line.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests;
