//! An HTTP step: the exchange it asks for, and one more for each redirect that is followed.
//!
//! Every hop resolves, connects and shakes hands anew, by the same rules as the first; the phases of
//! all hops are summed. `Chain` says where to go next, and which chains are not followed to an end.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderMap, StatusCode};
use parallax_common::check::{HttpStep, HttpVersion, IpFamily, Run};
use parallax_common::limits::LOCATION_BYTES_MAX;
use parallax_common::name::RunDigest;
use parallax_common::outcome::Reason;
use parallax_common::target::HttpUrl;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

#[cfg(feature = "http3")]
use super::http3_exchange;
use super::request::Request;
use super::{
    Executor, Failure, Seen, Stage, Trace, expect, http_exchange, http2_exchange, keep, proxy, tls,
    tokens,
};

/// An HTTP step with everything filled in.
#[derive(Debug)]
pub(super) struct Visit {
    pub request: Request,
    pub tls: Arc<tls::Config>,
    /// For other origins: without the client certificate.
    pub tls_abroad: Arc<tls::Config>,
    /// Through whom every hop connects.
    pub tunnel: Option<proxy::Tunnel>,
    /// The token that the request needs, and the one that was got.
    pub wish: Option<Box<tokens::Wish>>,
    pub token: Option<Arc<tokens::Token>>,
    /// The version of the check, for a step whose connections are kept.
    pub kept: Option<RunDigest>,
    pub source: Option<IpAddr>,
}

/// Carries out the step. What is seen is the last answer.
pub(super) async fn run(
    executor: &Executor,
    run: &Run,
    step: &HttpStep,
    visit: &Visit,
    keep_body: bool,
    trace: &mut Trace,
) -> Result<Seen, Failure> {
    let mut chain = Chain::new(step.redirects_max, run.ip);
    let mut request = Cow::Borrowed(&visit.request);
    loop {
        let is_abroad = chain.count() > 0;
        let hop = Hop { executor, run, step, visit, request: &request, keep_body, is_abroad };
        let mut seen = match visit.kept {
            None => hop.go(trace).await?,
            // What only kept connections need is in a box: a run holds the largest of its parts.
            Some(digest) => Box::pin(hop.go_again(digest, trace)).await?,
        };
        if let (Some(401), true, Some(token)) = (seen.status, request.at_home, &visit.token) {
            token.refuse();
        }
        match chain.next(&request, seen.status.unwrap_or_default(), &seen.headers)? {
            Some(next) => request = Cow::Owned(next),
            None => {
                seen.redirects = chain.count();
                if expect::mentions_redirects(run) {
                    seen.url = request.url.to_string();
                }
                return Ok(seen);
            }
        }
    }
}

/// One exchange of a chain.
struct Hop<'a> {
    executor: &'a Executor,
    run: &'a Run,
    step: &'a HttpStep,
    visit: &'a Visit,
    request: &'a Request,
    keep_body: bool,
    is_abroad: bool,
}

impl Hop<'_> {
    /// By what the target is judged, and under which name.
    fn tls(&self) -> (&Arc<tls::Config>, &str) {
        let host = self.request.url.host.as_str();
        match self.request.at_home {
            true => (&self.visit.tls, self.step.tls.server_name.as_deref().unwrap_or(host)),
            false => (&self.visit.tls_abroad, host),
        }
    }

    async fn connect(&self, trace: &mut Trace) -> Result<TcpStream, Failure> {
        trace.stage = Stage::Dns;
        (trace.cert, trace.not_after_s) = (None, None);
        let target = (self.request.url.host.as_str(), self.request.url.port);
        let (tunnel, source) = (self.visit.tunnel.as_ref(), self.visit.source);
        let connected = self.executor.reach(self.run, tunnel, target, source, trace).await;
        connected.map_err(|failure| of_hop(self.is_abroad, failure))
    }

    async fn shake(
        &self,
        stream: TcpStream,
        trace: &mut Trace,
    ) -> Result<(TlsStream<TcpStream>, bool), Failure> {
        let (config, name) = self.tls();
        let shaken = tls::handshake(config, name, stream, trace).await;
        let stream = shaken.map_err(|failure| of_hop(self.is_abroad, failure))?;
        let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        match (http2, self.step.version) {
            (false, HttpVersion::V2) => {
                let evidence = "the target did not choose HTTP/2 in the handshake";
                Err(Failure::new(Reason::HttpVersion, evidence))
            }
            _ => Ok((stream, http2)),
        }
    }

    /// Over QUIC.
    #[cfg(feature = "http3")]
    async fn go_http3(&self, trace: &mut Trace) -> Result<Seen, Failure> {
        trace.stage = Stage::Dns;
        (trace.cert, trace.not_after_s) = (None, None);
        let target = (self.request.url.host.as_str(), self.request.url.port);
        let (config, name) = self.tls();
        let reached =
            self.executor.reach_quic(self.run, target, (config, name), self.visit.source, trace);
        let quic = reached.await.map_err(|failure| of_hop(self.is_abroad, failure))?;
        http3_exchange::exchange(self.request, quic, self.keep_body, trace).await
    }

    /// On a new connection.
    async fn go(&self, trace: &mut Trace) -> Result<Seen, Failure> {
        let (request, keep_body) = (self.request, self.keep_body);
        #[cfg(feature = "http3")]
        if request.url.https && self.step.version == HttpVersion::V3 {
            return Box::pin(self.go_http3(trace)).await;
        }
        let stream = self.connect(trace).await?;
        if !request.url.https {
            return http_exchange::exchange(request, stream, keep_body, trace).await;
        }
        // What only runs over TLS need is in boxes: a run holds the largest of its parts.
        let (stream, http2) = Box::pin(self.shake(stream, trace)).await?;
        match http2 {
            true => Box::pin(http2_exchange::exchange(request, stream, keep_body, trace)).await,
            false => Box::pin(http_exchange::exchange(request, stream, keep_body, trace)).await,
        }
    }

    /// On the connection that is kept for this origin, when there is one and its target has left it open;
    /// else on a new one. Either is kept for the next run.
    async fn go_again(&self, digest: RunDigest, trace: &mut Trace) -> Result<Seen, Failure> {
        let place = keep::Place::new(digest, trace.step, &self.request.url, self.tls().1);
        let pool = &self.executor.kept;
        if let Some(mut line) = pool.take(&place, self.tls().0) {
            trace.stage = Stage::Exchange;
            trace.is_answered = false;
            line.recall(trace);
            if line.is_open().await {
                match line.ask(self.request, self.keep_body, trace).await {
                    Ok((seen, more)) => {
                        line.served(trace);
                        if more {
                            pool.put(place, line);
                        }
                        return Ok(Seen { reused: true, ..seen });
                    }
                    Err(failure) if trace.is_answered || !keep::is_stale(failure.reason) => {
                        return Err(failure);
                    }
                    Err(_closed) => {}
                }
            }
        }
        let stream = self.connect(trace).await?;
        let tls = Arc::clone(self.tls().0);
        let (stream, http2): (Box<dyn keep::Duplex>, bool) = match self.request.url.https {
            false => (Box::new(stream), false),
            true => {
                let (stream, http2) = self.shake(stream, trace).await?;
                (Box::new(stream), http2)
            }
        };
        trace.stage = Stage::Exchange;
        let mut line = keep::Line::open(stream, http2, tls, trace).await?;
        let (seen, more) = line.ask(self.request, self.keep_body, trace).await?;
        if more {
            pool.put(place, line);
        }
        Ok(seen)
    }
}

/// Where a redirect leads is the target's choice, not that of the check's owner: that nobody may go
/// there is no mistake in the configuration.
fn of_hop(is_abroad: bool, failure: Failure) -> Failure {
    match failure.reason {
        Reason::AddressDenied | Reason::ConfigError if is_abroad => {
            let evidence = format!("redirected: {}", failure.evidence);
            Failure::new(Reason::HttpRedirectDenied, evidence)
        }
        _ => failure,
    }
}

/// The redirects so far.
#[derive(Debug)]
struct Chain {
    max: u32,
    ip: IpFamily,
    /// What was asked for, in order: method and URL.
    asked: Vec<(http::Method, String)>,
}

impl Chain {
    fn new(max: u32, ip: IpFamily) -> Self {
        Self { max, ip, asked: Vec::new() }
    }

    fn count(&self) -> u32 {
        u32::try_from(self.asked.len()).unwrap_or(u32::MAX)
    }

    /// What to ask for next; `None` when this answer is the last.
    fn next(
        &mut self,
        request: &Request,
        status: u16,
        headers: &HeaderMap,
    ) -> Result<Option<Request>, Failure> {
        let Some(status) = StatusCode::from_u16(status).ok() else { return Ok(None) };
        let Some(location) = request.leads_to(status, headers) else { return Ok(None) };
        let from = request.url.without_query();
        let fail = |reason, what: String| {
            Err(Failure::new(reason, format!("status {}, {from} leads to {what}", status.as_u16())))
        };
        let url = match read(&request.url, location.as_bytes()) {
            Ok(url) => url,
            Err(why) => return fail(Reason::HttpRedirectMalformed, why),
        };
        let to = url.without_query();
        if request.url.https && !url.https {
            return fail(Reason::HttpRedirectDowngrade, format!("{to}, which is not encrypted"));
        }
        if !fits(&url.host, self.ip) {
            return fail(Reason::DnsNoAddress, format!("{to}, not of the family of the check"));
        }
        let next = request.towards(url, status)?;
        if next.gives_captures_away() {
            let what = format!("{to}, and the body holds captures, which go to no other origin");
            return fail(Reason::HttpRedirectDenied, what);
        }
        self.asked.push((request.method.clone(), request.url.to_string()));
        let again = (next.method.clone(), next.url.to_string());
        if self.asked.contains(&again) {
            return fail(Reason::HttpRedirectLoop, format!("{to}, where it has been"));
        }
        if self.count() > self.max {
            let what = format!("{to}, and {} redirects were followed before", self.max);
            return fail(Reason::HttpRedirectsTooMany, what);
        }
        Ok(Some(next))
    }
}

fn read(from: &HttpUrl, location: &[u8]) -> Result<HttpUrl, String> {
    if location.len() > LOCATION_BYTES_MAX {
        return Err(format!("{} bytes, {LOCATION_BYTES_MAX} allowed", location.len()));
    }
    let text = std::str::from_utf8(location).map_err(|_| "what is no text".to_owned())?;
    from.join(text).map_err(|error| format!("what cannot be followed: {error}"))
}

/// A host that is an address must be of the family that the check asks for; a name is resolved so.
fn fits(host: &str, ip: IpFamily) -> bool {
    match (host.parse::<IpAddr>(), ip) {
        (Ok(address), IpFamily::V4) => address.is_ipv4(),
        (Ok(address), IpFamily::V6) => address.is_ipv6(),
        _ => true,
    }
}
