//! Carries a page to a contact of any kind: references are resolved, the guard is asked, requests go
//! out, and what came of them is told. What is asked and how an answer is understood is in
//! [`super::kinds`].
//!
//! A connection is made and a request written in two steps of our own instead of through a pooling
//! client, because the outbox must know on which side of that line an attempt failed: before it nothing
//! was said ([`Report::NotSent`]), behind it everything may have been ([`Report::Ambiguous`]). Pages are
//! rare; a new connection each costs less than a reused one that was closed by the other side in the same
//! moment. Redirects are not followed.

use std::future::Future;
use std::pin::Pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::header::{HOST, HeaderName, HeaderValue, LOCATION, RETRY_AFTER, USER_AGENT};
use http::{Request, Response, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use parallax_common::guard::Guard;
use parallax_common::limits::{PAGE_ANSWER_BYTES_MAX, PAGE_RECEIPT_ANSWER_BYTES_MAX, PAGE_TIMEOUT};
use parallax_common::redact::redact;
use parallax_common::time::UtcTime;
use parallax_proto::convert::contact::{Setting, settings, timeout_of};
use parallax_proto::v1::Secret;
use parallax_proto::v1::contact::Kind;
use parallax_runtime::clock;
use parallax_runtime::supervisor::{Supervisor, TaskKind};
use tokio::time::timeout;
use tracing::warn;

use super::kinds::{Answer, Call, Plan, Resolved, Telling, plan};
use super::reach::{Reach, ReachError, Roots, Stream};
use super::secrets::Secrets;
use super::{Attempt, Sender, Sending, chain, smtp};
use crate::core::outbox::Report;

/// The header that stays the same over every attempt at a page.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// A part of a URL that is shorter is no secret of its own, and would be found everywhere.
pub(super) const SECRET_PART_LENGTH_MIN: usize = 8;

/// Sends pages to contacts of all kinds.
#[derive(Debug, Clone)]
pub struct Carrier {
    reach: Reach,
    secrets: Secrets,
    supervisor: Supervisor,
}

/// How long an attempt may take, and when that is over.
#[derive(Debug, Clone, Copy)]
pub struct Limit {
    length: Duration,
    until: Instant,
}

impl Limit {
    /// One that begins now.
    pub fn from_now(length: Duration) -> Self {
        Self { length, until: clock::instant() + length }
    }

    /// All of it.
    pub fn length(self) -> Duration {
        self.length
    }

    /// What is left of it.
    pub fn left(self) -> Duration {
        self.until.saturating_duration_since(clock::instant())
    }
}

impl Carrier {
    /// A sender that connects where `guard` allows it, trusts `roots` and fills in what `secrets` allow.
    /// Connections are driven by tasks of `supervisor`.
    ///
    /// # Errors
    /// TLS cannot be set up.
    pub fn new(
        roots: Roots,
        guard: Guard,
        secrets: Secrets,
        supervisor: Supervisor,
    ) -> Result<Self, ReachError> {
        Ok(Self { reach: Reach::new(roots, guard)?, secrets, supervisor })
    }

    async fn attempt(&self, attempt: Attempt) -> Report {
        let Some(kind) = &attempt.contact.kind else {
            return Report::NotSent(
                "the contact is of a kind that this build does not know".into(),
            );
        };
        let mut used = Vec::new();
        let report = self.tell(kind, &attempt, &mut used).await;
        // Who sees what became of a page need not be one who may acknowledge.
        let link = attempt.page.acknowledge_url.as_deref();
        let signature = link.and_then(|url| url.rsplit(['/', '.']).next());
        used.extend(signature.map(str::to_owned));
        redacted(report, used)
    }

    async fn tell(&self, kind: &Kind, attempt: &Attempt, used: &mut Vec<String>) -> Report {
        let limit = Limit::from_now(timeout_of(kind));
        let values = match within(limit, resolved(&self.secrets, kind, used)).await {
            Ok(values) => values,
            Err(why) => return Report::NotSent(why),
        };
        let telling = Telling {
            page: &attempt.page,
            key: &attempt.key,
            receipt: &attempt.receipt,
            now: clock::utc(),
            values: &values,
        };
        match plan(kind, &telling) {
            Err(why) => Report::NotSent(why),
            Ok(Plan::InTurn(calls)) => self.in_turn(&calls, attempt, limit).await,
            Ok(Plan::Any(calls)) => self.any(&calls, attempt, limit).await,
            Ok(Plan::Mail(letter)) => {
                used.extend(letter.hidden.iter().cloned());
                if !letter.note.is_empty() {
                    let (key, note) = (&attempt.key, &letter.note);
                    warn!(key, note, "page worded otherwise");
                }
                let report = smtp::deliver(&self.reach, &letter, limit).await;
                if let Report::Taken { note, .. } = &report
                    && !note.is_empty()
                {
                    let (key, note) = (&attempt.key, redact(note, used));
                    warn!(key, note, "page taken for some only");
                }
                report
            }
        }
    }

    /// One after the other; the first that is not taken ends it.
    async fn in_turn(&self, calls: &[Call], attempt: &Attempt, limit: Limit) -> Report {
        let mut report = Report::NotSent("there is nothing to send".into());
        for (place, call) in calls.iter().enumerate() {
            report = self.carry(call, Some(&attempt.key), limit).await;
            if is_taken(&report) {
                continue;
            }
            // The contact has a part of it: it was told of an opening, whose end is owed.
            return if place == 0 { report } else { Report::Ambiguous(in_words(report)) };
        }
        report
    }

    /// All at once; one that is taken is enough. Of several that are not, the one in doubt is told:
    /// it may have been taken.
    async fn any(&self, calls: &[Call], attempt: &Attempt, limit: Limit) -> Report {
        let carried = calls.iter().map(|call| self.carry(call, Some(&attempt.key), limit));
        let mut reports = all(carried.collect()).await;
        let taken = reports.iter().position(is_taken);
        if let Some(taken) = taken {
            let others = reports.len() - reports.iter().filter(|report| is_taken(report)).count();
            if others > 0 {
                let (key, of) = (&attempt.key, reports.len());
                warn!(key, others, of, "page taken by some of a contact's addresses only");
            }
            return reports.swap_remove(taken);
        }
        let doubt = reports.iter().position(|report| matches!(report, Report::Ambiguous(_)));
        match (doubt, reports.is_empty()) {
            (_, true) => Report::NotSent("there is nowhere to send it".into()),
            (Some(doubt), false) => reports.swap_remove(doubt),
            (None, false) => reports.swap_remove(0),
        }
    }

    /// Makes one call to a URL that says nothing but that somebody is there. Ends within
    /// [`PAGE_TIMEOUT`].
    pub async fn call(&self, url: &Secret) -> Report {
        let mut used = Vec::new();
        let limit = Limit::from_now(PAGE_TIMEOUT);
        let resolving = async {
            let url = self.secrets.resolve(Some(url), &mut used).await;
            url.map_err(|error| format!("config_error: url: {}", chain(&error)))
        };
        let report = match within(limit, resolving).await {
            Ok(url) => self.carry(&Call::get(url), None, limit).await,
            Err(why) => Report::NotSent(why),
        };
        redacted(report, used)
    }

    /// Sends one request, all within what is left of `limit`.
    async fn carry(&self, call: &Call, key: Option<&str>, limit: Limit) -> Report {
        let (request, to) = match request(call, key) {
            Ok(both) => both,
            Err(why) => return Report::NotSent(why),
        };
        if !call.note.is_empty() {
            let note = &call.note;
            warn!(key, note, "page worded otherwise");
        }
        // Up to here, and until the handshake is done, nothing of the page has left.
        let connecting = self.reach.connect((&to.host, to.port), to.tls, limit.left());
        let late = || format!("no connection within {:?}", limit.length);
        let stream = match timeout(limit.left(), connecting).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(why)) => return Report::NotSent(why),
            Err(_) => return Report::NotSent(late()),
        };
        let exchange = self.exchange(stream, request, call);
        match timeout(limit.left(), exchange).await {
            Ok(report) => report,
            Err(_) => Report::Ambiguous(format!("no answer within {:?}", limit.length)),
        }
    }

    async fn exchange(&self, stream: Stream, request: Request<Full<Bytes>>, call: &Call) -> Report {
        let (mut sender, connection) = match http1::handshake(TokioIo::new(stream)).await {
            Ok(both) => both,
            Err(error) => return Report::NotSent(chain(&error)),
        };
        let stop = self.supervisor.stop_token();
        self.supervisor.spawn(TaskKind::Session("contact"), async move {
            tokio::select! {
                _ = connection => {}
                () = stop.cancelled() => {}
            }
        });
        match sender.send_request(request).await {
            Ok(response) => {
                let answer = answer(response, call.understands).await;
                call.report(&answer)
            }
            Err(error) => Report::Ambiguous(chain(&error)),
        }
    }
}

impl Sender for Carrier {
    fn send(&self, attempt: Attempt) -> Sending<'_> {
        Box::pin(self.attempt(attempt))
    }
}

/// What a report says that is no success.
fn in_words(report: Report) -> String {
    match report {
        Report::Answered { status, detail, .. } => {
            format!("a part was answered with {status}: {detail}")
        }
        Report::Refused { why, .. } => format!("a part was refused: {why}"),
        Report::NotSent(why) => format!("a part was not sent: {why}"),
        Report::Ambiguous(why) => why,
        Report::Taken { .. } => "a part was taken".to_owned(),
    }
}

/// Whether the contact has the page.
fn is_taken(report: &Report) -> bool {
    matches!(report, Report::Answered { status: 200..=299, .. } | Report::Taken { .. })
}

/// References come first, also against the clock: a file may be on a disk that does not answer.
async fn within<T>(
    limit: Limit,
    resolving: impl Future<Output = Result<T, String>>,
) -> Result<T, String> {
    timeout(limit.left(), resolving).await.unwrap_or_else(|_| {
        Err(format!("config_error: its references were not resolved within {:?}", limit.length))
    })
}

/// Waits for all of them, side by side.
async fn all<T>(futures: Vec<impl Future<Output = T>>) -> Vec<T> {
    let mut running: Vec<_> = futures.into_iter().map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(|context| {
        let mut pending = false;
        for (future, done) in &mut running {
            if done.is_none() {
                match Pin::new(future).poll(context) {
                    Poll::Ready(value) => *done = Some(value),
                    Poll::Pending => pending = true,
                }
            }
        }
        if pending { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
    running.into_iter().filter_map(|(_, done)| done).collect()
}

/// Every option that may hold references, as it is on this machine. What must not be shown is added to
/// `used`.
async fn resolved(
    secrets: &Secrets,
    kind: &Kind,
    used: &mut Vec<String>,
) -> Result<Resolved, String> {
    let mut values = Resolved::default();
    for (name, setting) in settings(kind) {
        let (given, is_url): (&[Secret], bool) = match setting {
            Setting::Url(Some(one)) => (std::slice::from_ref(one), true),
            Setting::Secret(Some(one)) => (std::slice::from_ref(one), false),
            Setting::Urls(several) => (several, true),
            Setting::Secrets(several) => (several, false),
            Setting::Headers(headers) => {
                for header in headers {
                    let value = secrets.resolve(header.value.as_ref(), used).await;
                    let value = value.map_err(|error| {
                        format!("config_error: header {}: {}", header.name, chain(&error))
                    })?;
                    values.headers.push((header.name.clone(), value));
                }
                continue;
            }
            _ => continue,
        };
        for secret in given {
            let value = secrets.resolve(Some(secret), used).await;
            let value =
                value.map_err(|error| format!("config_error: {name}: {}", chain(&error)))?;
            // Also one that is written down: it is hidden wherever the contact is shown.
            if !is_url && value.len() >= SECRET_PART_LENGTH_MIN {
                used.push(value.clone());
            }
            values.options.entry(name).or_default().push(value);
        }
    }
    Ok(values)
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
        Report::Taken { receipt, note } => {
            let receipt = if redact(&receipt) == receipt { receipt } else { String::new() };
            Report::Taken { receipt, note: redact(&note) }
        }
        Report::Refused { why, lasting, retry_after } => {
            Report::Refused { why: redact(&why), lasting, retry_after }
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

/// Where a request goes.
struct To {
    host: String,
    port: u16,
    tls: bool,
}

/// The request as it is sent, and where to. An error names what is wrong with the contact and never
/// shows a resolved value.
fn request(call: &Call, key: Option<&str>) -> Result<(Request<Full<Bytes>>, To), String> {
    let field = call.field;
    let uri: Uri =
        call.url.trim().parse().map_err(|_| format!("config_error: {field}: not a URL"))?;
    let tls = match uri.scheme_str() {
        Some("http") => Some(false),
        Some("https") => Some(true),
        _ => None,
    };
    let (Some(tls), Some(authority)) = (tls, uri.authority()) else {
        return Err(format!("config_error: {field}: not an http or https URL with a host"));
    };
    // User information is not sent to anybody.
    let said = authority.as_str();
    let said = said.rsplit_once('@').map_or(said, |(_, host)| host);
    let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
    let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
    // In origin form: the host is in its header.
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let mut request = Request::builder()
        .method(call.method.clone())
        .uri(path)
        .header(HOST, said)
        .header(USER_AGENT, concat!("parallax/", env!("CARGO_PKG_VERSION")))
        .body(Full::new(Bytes::from(call.body.clone())))
        .map_err(|error| format!("config_error: {error}"))?;
    for (name, value) in &call.headers {
        let wrong = || format!("config_error: header {name}: not a header");
        let header = HeaderName::try_from(name.as_str()).map_err(|_| wrong())?;
        let mut value = HeaderValue::try_from(value).map_err(|_| wrong())?;
        value.set_sensitive(true);
        request.headers_mut().insert(header, value);
    }
    // Last, so that no configured header takes its place.
    if let Some(key) = key {
        let key = HeaderValue::try_from(key).map_err(|error| error.to_string())?;
        request.headers_mut().insert(IDEMPOTENCY_KEY, key);
    }
    Ok((request, To { host, port, tls }))
}

/// What came back. A status is an answer; what follows it is read for the person who looks for the
/// reason, and as a whole only where somebody has to understand it.
async fn answer(response: Response<Incoming>, understands: bool) -> Answer {
    let status = response.status().as_u16();
    let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
    let retry_after = header(RETRY_AFTER).and_then(|value| retry_after(value, clock::utc()));
    let location = header(LOCATION).map(str::to_owned);
    let mut answer = Answer { status, retry_after, location, body: Vec::new(), whole: true };
    // What is no success is told by its status, whatever follows it.
    if understands && response.status().is_success() {
        let read = beginning(response.into_body(), PAGE_RECEIPT_ANSWER_BYTES_MAX).await;
        (answer.body, answer.whole) = read;
    } else if !response.status().is_success() && !response.status().is_redirection() {
        // The answer is in: an error of ours to read on must not make it ambiguous.
        let body = beginning(response.into_body(), PAGE_ANSWER_BYTES_MAX);
        (answer.body, answer.whole) =
            timeout(Duration::from_secs(1), body).await.unwrap_or_default();
    }
    answer
}

/// The first bytes of an answer, and whether that is all of it.
async fn beginning(mut body: Incoming, bytes_max: usize) -> (Vec<u8>, bool) {
    let mut read = BytesMut::new();
    while read.len() < bytes_max {
        match body.frame().await {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    let room = bytes_max - read.len();
                    read.extend_from_slice(&data[..data.len().min(room)]);
                }
            }
            Some(Err(_)) => return (read.to_vec(), false),
            None => return (read.to_vec(), true),
        }
    }
    (read.to_vec(), false)
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

#[cfg(test)]
mod tests;
