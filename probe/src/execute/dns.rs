//! A DNS step: one question to one server, and what it answered. Never a cache, never a second try.
//!
//! [`message`] writes the question and reads answers, without a socket; here the two travel. Over UDP
//! anybody can send a datagram that looks like an answer: what does not fit the question is passed
//! over, so many times, and the wait goes on. Over TCP the connection is the server's, so there it
//! is the server that is wrong, and so it is over TLS (RFC 7858) and in an HTTP request (RFC 8484).

use std::net::IpAddr;
use std::sync::Arc;

use http::HeaderValue;
use http::header::CONTENT_TYPE;
use parallax_common::check::{DnsStep, DnsTransport, Run};
use parallax_common::limits::{DNS_IGNORED_MAX, DNS_UDP_BYTES_MAX};
use parallax_common::outcome::{Phase, Reason};
use parallax_common::target::{HttpUrl, shown_address};
use parallax_runtime::clock;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::errno::plain;
use super::request::Request;
use super::{
    Executor, Failure, Seen, Stage, Trace, connect, http_exchange, http2_exchange, socket, tls,
};
use crate::core::guard::Allowed;

pub(super) mod message;

use message::{Answer, Question, Refused};

/// How a question travels, where it takes more than a socket.
#[derive(Debug)]
pub(super) enum Way {
    Plain,
    /// A handshake under this name.
    Tls(Arc<tls::Config>, String),
    /// The same, and a request.
    Https(Arc<tls::Config>, String, Box<Request>),
}

impl Way {
    pub fn prepare(
        step: &DnsStep,
        question: &Question,
        configs: &tls::Configs,
    ) -> Result<Self, Failure> {
        let (Some(options), Some((host, port))) = (&step.tls, &step.server) else {
            return Ok(Self::Plain);
        };
        let name = options.server_name.as_ref().unwrap_or(host).clone();
        let Some(path) = &step.path else {
            let config = configs.get_with(options, None, tls::Alpn::Nothing)?;
            return Ok(Self::Tls(config, name));
        };
        let config = configs.get_with(options, None, tls::Alpn::Both)?;
        let url = format!("https://{}{path}", shown_address(&name, *port));
        let url = HttpUrl::parse(&url)
            .map_err(|error| Failure::new(Reason::ConfigError, error.message))?;
        let request = Request::for_question(url, &question.packet)?;
        Ok(Self::Https(config, name, Box::new(request)))
    }
}

/// Asks, and judges the answer unless the check does so itself.
pub(super) async fn run(
    executor: &Executor,
    run: &Run,
    step: &DnsStep,
    (question, way): (&Question, &Way),
    source: Option<IpAddr>,
    trace: &mut Trace,
) -> Result<Seen, Failure> {
    let servers = match (&step.server, run.resolver) {
        (Some((host, port)), _) => {
            executor.allowed(run, (host.as_str(), *port), source, trace).await?
        }
        (None, Some(server)) => {
            let reachable = connect::reachable(&[server.ip()], source)?;
            executor.admit("the check's resolver", &reachable, server.port(), trace)?
        }
        (None, None) => vec![executor.resolvers.system_server(run.ip, source)?],
    };
    let (answer, brought) = match step.transport {
        secure @ (DnsTransport::Tls | DnsTransport::Https) => {
            let answer = secured(executor, run, &servers, (question, way), source, trace).await?;
            (answer, secure)
        }
        DnsTransport::Tcp => {
            let answer = over_tcp(executor, run, &servers, question, source, trace).await?;
            (answer, DnsTransport::Tcp)
        }
        wanted @ (DnsTransport::Udp | DnsTransport::UdpOnly) => {
            let answer = over_udp(&servers, question, source, trace).await?;
            match trace.remote.filter(|_| answer.is_cut() && wanted == DnsTransport::Udp) {
                None => (answer, DnsTransport::Udp),
                Some(remote) => {
                    // The same machine: of several addresses the one that answered.
                    let same = |server: &&Allowed| server.address() == remote;
                    let servers: Vec<Allowed> = servers.iter().filter(same).copied().collect();
                    let answer = over_tcp(executor, run, &servers, question, source, trace).await;
                    (answer.map_err(after_udp)?, DnsTransport::Tcp)
                }
            }
        }
    };
    if question.judge
        && let Some(failure) = answer.judge(step, trace.remote)
    {
        return Err(failure);
    }
    let dns = match question.facts {
        true => Some(answer.facts(brought)?),
        false => None,
    };
    Ok(Seen { dns, ..Seen::default() })
}

/// What goes wrong when a check that asks over UDP has to ask over TCP.
fn after_udp(failure: Failure) -> Failure {
    let evidence = format!("cut over udp, asked again over tcp: {}", failure.evidence);
    Failure { evidence, ..failure }
}

async fn over_udp(
    servers: &[Allowed],
    question: &Question,
    source: Option<IpAddr>,
    trace: &mut Trace,
) -> Result<Answer, Failure> {
    trace.stage = Stage::Connect;
    let socket = socket::udp(servers, source, trace).await?;
    trace.left_out = None;
    trace.stage = Stage::Answer;
    let since = clock::instant();
    let failed =
        |error: std::io::Error, trace: &Trace| connect::datagram_failure(&error, trace.remote);
    socket.send(&question.packet).await.map_err(|error| failed(error, trace))?;
    // One byte more than is read, so that a longer one shows.
    let mut buffer = vec![0; DNS_UDP_BYTES_MAX + 1];
    let mut ignored = 0;
    loop {
        let length = socket.recv(&mut buffer).await.map_err(|error| failed(error, trace))?;
        match question.read(&buffer[..length]) {
            Ok(answer) => {
                trace.refusal = None;
                trace.phase(Phase::FirstByte, since);
                return Ok(answer);
            }
            Err(Refused::Malformed(why)) => {
                trace.refusal = None;
                trace.phase(Phase::FirstByte, since);
                let why = match length > DNS_UDP_BYTES_MAX {
                    true => format!("a datagram of over {DNS_UDP_BYTES_MAX} bytes"),
                    false => why,
                };
                return Err(malformed(&why));
            }
            Err(Refused::Other(why)) => {
                ignored += 1;
                let evidence = match ignored {
                    1 => format!("no answer; a datagram was passed over: {why}"),
                    _ => {
                        format!("no answer; {ignored} datagrams were passed over, the last: {why}")
                    }
                };
                if ignored > DNS_IGNORED_MAX {
                    return Err(Failure::new(Reason::DnsMalformed, evidence));
                }
                trace.refusal = Some(Failure::new(Reason::DnsTimeout, evidence));
            }
        }
    }
}

async fn over_tcp(
    executor: &Executor,
    run: &Run,
    servers: &[Allowed],
    question: &Question,
    source: Option<IpAddr>,
    trace: &mut Trace,
) -> Result<Answer, Failure> {
    let stream = executor.open(run, servers, source, trace).await?;
    ask(stream, question, trace).await
}

async fn secured(
    executor: &Executor,
    run: &Run,
    servers: &[Allowed],
    (question, way): (&Question, &Way),
    source: Option<IpAddr>,
    trace: &mut Trace,
) -> Result<Answer, Failure> {
    let (config, name) = match way {
        Way::Tls(config, name) | Way::Https(config, name, _) => (config, name),
        // Prepared from the same step a moment ago.
        Way::Plain => return Err(Failure::new(Reason::ConfigError, "the step changed")),
    };
    let stream = executor.open(run, servers, source, trace).await?;
    let stream = tls::handshake(config, name, stream, trace).await?;
    let Way::Https(_, _, request) = way else { return ask(stream, question, trace).await };
    trace.refusal = Some(Failure::new(Reason::DnsTimeout, "no answer to the request in time"));
    let seen = match stream.get_ref().1.alpn_protocol() == Some(b"h2") {
        true => http2_exchange::exchange(request, stream, true, trace).await,
        false => http_exchange::exchange(request, stream, true, trace).await,
    };
    trace.refusal = None;
    let seen = seen?;
    let status = seen.status.unwrap_or_default();
    if status != 200 {
        let evidence = format!("status {status}, {} bytes", seen.body_bytes);
        return Err(Failure::new(Reason::HttpStatus, evidence));
    }
    let kind = seen.headers.get(CONTENT_TYPE).map_or(&[][..], HeaderValue::as_bytes);
    let kind = kind.split(|byte| *byte == b';').next().unwrap_or_default();
    if !kind.trim_ascii().eq_ignore_ascii_case(b"application/dns-message") {
        return Err(malformed("it is not of the type application/dns-message"));
    }
    question.read(&seen.body).map_err(|refused| match refused {
        Refused::Malformed(why) | Refused::Other(why) => malformed(&why),
    })
}

/// Asks over a connection that nobody else uses.
async fn ask<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    question: &Question,
    trace: &mut Trace,
) -> Result<Answer, Failure> {
    trace.stage = Stage::Answer;
    let since = clock::instant();
    let lost = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::UnexpectedEof => malformed("the connection was closed before its end"),
        _ => malformed(&format!("the connection was lost: {}", plain(&error))),
    };
    // Length and question in one segment: some servers read no further than the first.
    let length = u16::try_from(question.packet.len()).unwrap_or(u16::MAX);
    let framed = [&length.to_be_bytes()[..], &question.packet].concat();
    stream.write_all(&framed).await.map_err(lost)?;
    // What TLS has not sent yet nobody can answer.
    stream.flush().await.map_err(lost)?;
    let mut length = [0; 2];
    stream.read_exact(&mut length[..1]).await.map_err(lost)?;
    trace.phase(Phase::FirstByte, since);
    let first = clock::instant();
    stream.read_exact(&mut length[1..]).await.map_err(lost)?;
    let length = u64::from(u16::from_be_bytes(length));
    // Grows with what comes, not with what is announced.
    let mut answer = Vec::new();
    (&mut stream).take(length).read_to_end(&mut answer).await.map_err(lost)?;
    trace.phase(Phase::Transfer, first);
    if (answer.len() as u64) < length {
        return Err(lost(std::io::ErrorKind::UnexpectedEof.into()));
    }
    question.read(&answer).map_err(|refused| match refused {
        Refused::Malformed(why) | Refused::Other(why) => malformed(&why),
    })
}

fn malformed(why: &str) -> Failure {
    Failure::new(Reason::DnsMalformed, format!("the answer cannot be read: {why}"))
}

/// What a run does with bytes that may be the answer to its question. See [`super::fuzzing`].
pub(super) fn hear(bytes: &[u8]) {
    let step = DnsStep {
        name: "example.com".to_owned(),
        record_type: parallax_common::check::DnsType::A,
        class: parallax_common::check::DnsClass::In,
        server: None,
        transport: DnsTransport::Udp,
        recursion: true,
        tls: None,
        path: None,
    };
    let id = bytes.first_chunk().map_or(0, |id| u16::from_be_bytes(*id));
    let question = Question::prepare(&step, id, true, true);
    if let Some(answer) = question.ok().and_then(|question| question.read(bytes).ok()) {
        answer.judge(&step, None);
        let _ = answer.facts(DnsTransport::Udp);
    }
}
