//! A websocket step: connect, a handshake for `wss`, the upgrade, and what is said in messages.
//!
//! The upgrade is an HTTP/1.1 exchange whose connection is taken back; what is said over it is decided
//! by [`crate::core::talk::websocket`]. Redirects are not followed: a websocket is where its URL says.

use std::net::IpAddr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{
    CONNECTION, HOST, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE, USER_AGENT,
};
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use parallax_common::check::{Payload, Run, WebSocketStep};
use parallax_common::expect::{Talk, Upgraded};
use parallax_common::outcome::{Phase, Reason};
use parallax_common::target::{HttpUrl, parse_websocket};
use parallax_runtime::clock;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use super::capture::References;
use super::converse::converse;
use super::http_exchange::failure;
use super::visit::shown;
use super::{Executor, Failure, Seen, Stage, Trace, tcp, tls};
use crate::core::talk::Speaking;
use crate::core::talk::dialogue::{Dialogue, Line};
use crate::core::talk::websocket::{Terms, WebSocket};

const AGENT: &str = concat!("parallax-probe/", env!("CARGO_PKG_VERSION"));
/// What is added to the key before it is hashed (RFC 6455, 1.3).
const ACCEPT_GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// A step with everything filled in.
#[derive(Debug)]
pub(super) struct Prepared {
    url: HttpUrl,
    head: HeaderMap,
    tls: Option<Arc<tls::Config>>,
    source: Option<IpAddr>,
    lines: Arc<[Line]>,
    pub secrets: Arc<[String]>,
    /// The number that the dialogue's first step has among the series of the run.
    series_from: u32,
    awaits_close: bool,
    /// Drawn anew for each run: the key of the upgrade, and those of the frames.
    key: String,
    masks: Vec<[u8; 4]>,
}

fn refuse(why: impl Into<String>) -> Failure {
    Failure::new(Reason::ConfigError, why)
}

/// How a step is led beside what it says.
pub(super) struct Wanted {
    pub tls: Option<Arc<tls::Config>>,
    pub source: Option<IpAddr>,
    pub series_from: usize,
    /// An expression speaks of the code that the target closes with.
    pub awaits_close: bool,
}

impl Prepared {
    /// Fills in references, compiles patterns, and draws keys from `draw`.
    pub fn prepare(
        step: &WebSocketStep,
        wanted: Wanted,
        secrets: References<'_>,
        mut used: Vec<String>,
        draw: impl Fn() -> u64,
    ) -> Result<Self, Failure> {
        let url = parse_websocket(&step.url).map_err(|error| refuse(error.message))?;
        let mut head = HeaderMap::new();
        for (name, template) in &step.headers {
            let value = secrets.resolve(template, &mut used)?;
            let header = HeaderName::try_from(name.as_str())
                .map_err(|_| refuse(format!("{name} is not a header name")))?;
            let mut value = HeaderValue::try_from(value)
                .map_err(|_| refuse(format!("the value of {name} cannot be sent")))?;
            value.set_sensitive(true);
            head.append(header, value);
        }
        if !head.contains_key(HOST) {
            let host = HeaderValue::try_from(url.authority.as_str());
            head.insert(HOST, host.map_err(|_| refuse("the host cannot be sent"))?);
        }
        head.entry(USER_AGENT).or_insert(HeaderValue::from_static(AGENT));
        head.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        head.insert(UPGRADE, HeaderValue::from_static("websocket"));
        head.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        let key = STANDARD.encode([draw().to_be_bytes(), draw().to_be_bytes()].concat());
        let value = HeaderValue::try_from(key.as_str());
        head.insert(SEC_WEBSOCKET_KEY, value.map_err(|_| refuse("the key cannot be sent"))?);
        if !step.subprotocols.is_empty() {
            let value = HeaderValue::try_from(step.subprotocols.join(", "));
            let value = value.map_err(|_| refuse("the subprotocols cannot be sent"))?;
            head.insert(SEC_WEBSOCKET_PROTOCOL, value);
        }
        let lines = tcp::lines(&step.dialogue, secrets, &mut used)?;
        let masks = (0..Terms::keys(lines.len())).map(|_| {
            let [a, b, c, d, ..] = draw().to_be_bytes();
            [a, b, c, d]
        });
        Ok(Self {
            url,
            head,
            tls: wanted.tls,
            source: wanted.source,
            masks: masks.collect(),
            lines: lines.into(),
            secrets: used.into(),
            series_from: u32::try_from(wanted.series_from).unwrap_or(u32::MAX),
            awaits_close: wanted.awaits_close,
            key,
        })
    }
}

pub(super) async fn run(
    executor: &Executor,
    run: &Run,
    step: &WebSocketStep,
    prepared: &Prepared,
    trace: &mut Trace,
) -> Result<Seen, Failure> {
    let target = (prepared.url.host.as_str(), prepared.url.port);
    let stream = executor.connect(run, target, prepared.source, trace).await?;
    match prepared.tls.as_deref() {
        None => visit(stream, step, prepared, trace).await,
        Some(config) => {
            let name = step.tls.server_name.as_deref().unwrap_or(target.0);
            let stream = tls::handshake(config, name, stream, trace).await?;
            visit(stream, step, prepared, trace).await
        }
    }
}

async fn visit<S>(
    stream: S,
    step: &WebSocketStep,
    prepared: &Prepared,
    trace: &mut Trace,
) -> Result<Seen, Failure>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut stream, headers, arrived) = upgrade(stream, prepared, trace).await?;
    let subprotocol = agreed(&headers, step, &prepared.key)?;
    trace.series_from = prepared.series_from;
    trace.exchanges.clear();
    let is_binary = |send: &Payload| matches!(send, Payload::Bytes(_));
    let terms = Terms {
        binary: step.dialogue.iter().map(|of| of.send.as_ref().is_some_and(is_binary)).collect(),
        awaits_close: prepared.awaits_close,
        masks: prepared.masks.clone(),
    };
    let secrets = Arc::clone(&prepared.secrets);
    let dialogue = Dialogue::new(Arc::clone(&prepared.lines), Arc::clone(&secrets));
    let talk = WebSocket::new(dialogue, terms, secrets, &arrived)?;
    let spoken = converse(&mut stream, Speaking::WebSocket(Box::new(talk)), trace).await?;
    let _ = stream.shutdown().await;
    let mut seen = Seen { headers, ..Seen::default() };
    let mut upgraded = Upgraded { subprotocol, close_code: None };
    if let Speaking::WebSocket(spoken) = spoken {
        let (dialogue, close_code) = spoken.into_seen();
        upgraded.close_code = close_code;
        if !step.dialogue.is_empty() {
            let mut talk = Talk::default();
            tcp::said(dialogue, &step.dialogue, &mut talk, trace);
            seen.talk = Some(talk);
        }
    }
    seen.upgraded = Some(upgraded);
    Ok(seen)
}

/// Asks for the upgrade. Gives the connection back, with what has arrived behind the answer.
async fn upgrade<S>(
    stream: S,
    prepared: &Prepared,
    trace: &mut Trace,
) -> Result<(S, HeaderMap, Bytes), Failure>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    trace.stage = Stage::Exchange;
    let mut message = Request::new(Empty::<Bytes>::new());
    *message.uri_mut() = prepared
        .url
        .path_and_query
        .parse()
        .map_err(|_| refuse("the path of the URL cannot be sent"))?;
    *message.headers_mut() = prepared.head.clone();
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| failure(&error))?;
    let since = clock::instant();
    let asked = sender.send_request(message);
    // The connection is driven here and ends with the run: no task is left behind.
    let connection = connection.without_shutdown();
    tokio::pin!(asked, connection);
    let mut parts = None;
    let response = loop {
        tokio::select! {
            biased;
            response = &mut asked => break response,
            ended = &mut connection, if parts.is_none() => parts = Some(ended),
        }
    };
    let response = response.map_err(|error| failure(&error))?;
    trace.phase(Phase::FirstByte, since);
    let status = response.status();
    if status != StatusCode::SWITCHING_PROTOCOLS {
        let evidence = format!("status {} in answer to the request to upgrade", status.as_u16());
        return Err(Failure::new(Reason::WebsocketRefused, evidence));
    }
    let headers = response.headers().clone();
    drop(response);
    let parts = match parts {
        Some(parts) => parts,
        None => connection.await,
    };
    let parts = parts.map_err(|error| failure(&error))?;
    Ok((parts.io.into_inner(), headers, parts.read_buf))
}

/// What was agreed on (RFC 6455, 4.1): the answer is for this request, and chooses nothing that was not
/// offered. Gives the subprotocol; empty when none was chosen.
pub(super) fn agreed(
    headers: &HeaderMap,
    step: &WebSocketStep,
    key: &str,
) -> Result<String, Failure> {
    let wrong = |what: String| Err(Failure::new(Reason::WebsocketHandshake, what));
    let lists = |name: &HeaderName, wanted: &str| {
        let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
        let mut words = values.flat_map(|value| value.split(','));
        words.any(|word| word.trim().eq_ignore_ascii_case(wanted))
    };
    if !lists(&UPGRADE, "websocket") {
        return wrong("status 101, and no upgrade header with `websocket`".to_owned());
    }
    if !lists(&CONNECTION, "upgrade") {
        return wrong("status 101, and no connection header with `upgrade`".to_owned());
    }
    let accepted = headers.get(SEC_WEBSOCKET_ACCEPT).map(|value| value.as_bytes().trim_ascii());
    if accepted != Some(accept_of(key).as_bytes()) {
        let what = match accepted {
            None => "there is no sec-websocket-accept header",
            Some(_) => "sec-websocket-accept does not answer the key that was sent",
        };
        return wrong(what.to_owned());
    }
    if headers.contains_key(SEC_WEBSOCKET_EXTENSIONS) {
        return wrong("the target chose an extension, and none was offered".to_owned());
    }
    let mut chosen = headers.get_all(SEC_WEBSOCKET_PROTOCOL).into_iter();
    match (chosen.next(), chosen.next()) {
        (None, _) => Ok(String::new()),
        (Some(_), Some(_)) => wrong("the target chose more than one subprotocol".to_owned()),
        (Some(one), None) => {
            let one = String::from_utf8_lossy(one.as_bytes()).trim().to_owned();
            match step.subprotocols.contains(&one) {
                true => Ok(one),
                false => {
                    let shown = shown(&one);
                    wrong(format!("the target chose a subprotocol that was not offered: {shown}"))
                }
            }
        }
    }
}

/// What a server answers to a key (RFC 6455, 4.2.2).
fn accept_of(key: &str) -> String {
    let both = format!("{key}{ACCEPT_GUID}");
    // The protocol has no other hash; nothing rests on it being hard to find collisions.
    STANDARD.encode(ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, both.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 6455, 1.3.
    #[test]
    fn the_answer_to_a_key_is_that_of_the_standard() {
        assert_eq!(accept_of("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
