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
use parallax_common::outcome::Reason;
use parallax_common::target::HttpUrl;

use super::request::Request;
use super::{
    Executor, Failure, Seen, Stage, Trace, expect, http_exchange, http2_exchange, proxy, tls,
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
        trace.stage = Stage::Dns;
        trace.cert = None;
        let target = (request.url.host.as_str(), request.url.port);
        let is_abroad = chain.count() > 0;
        let tunnel = visit.tunnel.as_ref();
        let connected = executor.reach(run, tunnel, target, visit.source, trace).await;
        let stream = connected.map_err(|failure| of_hop(is_abroad, failure))?;
        let mut seen = if request.url.https {
            let (config, name) = match request.at_home {
                true => (&visit.tls, step.tls.server_name.as_deref().unwrap_or(target.0)),
                false => (&visit.tls_abroad, target.0),
            };
            // What only runs over TLS need is in boxes: a run holds the largest of its parts.
            let shaken = Box::pin(tls::handshake(config, name, stream, trace)).await;
            let stream = shaken.map_err(|failure| of_hop(is_abroad, failure))?;
            let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            match (http2, step.version) {
                (true, _) => {
                    Box::pin(http2_exchange::exchange(&request, stream, keep_body, trace)).await?
                }
                (false, HttpVersion::V2) => {
                    let evidence = "the target did not choose HTTP/2 in the handshake";
                    return Err(Failure::new(Reason::HttpVersion, evidence));
                }
                (false, _) => {
                    Box::pin(http_exchange::exchange(&request, stream, keep_body, trace)).await?
                }
            }
        } else {
            http_exchange::exchange(&request, stream, keep_body, trace).await?
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
