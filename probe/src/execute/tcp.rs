//! A TCP step and a TLS step: connect, a handshake when asked, and what is said before and after it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use parallax_common::check::{Exchange, Expected, Payload, Run, TcpStep, TlsOptions};
use parallax_common::expect::Talk;
use parallax_common::limits::SEND_BYTES_MAX;
use parallax_common::message::{Message, Part};
use parallax_common::outcome::Reason;
use parallax_common::pattern::Pattern;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::capture::References;
use super::converse::converse;
use super::{Executor, Failure, Seen, Trace, tls};
use crate::core::talk::Speaking;
use crate::core::talk::dialogue::{Awaited, Dialogue, Line, Piece};
use crate::core::talk::starttls::StartTls;

/// A step with everything filled in.
#[derive(Debug)]
pub(super) struct Prepared {
    pub tls: Option<Arc<tls::Config>>,
    pub source: Option<IpAddr>,
    lines: Arc<[Line]>,
    pub secrets: Arc<[String]>,
    /// The number that the dialogue's first step has among the series of the run.
    series_from: u32,
}

impl Prepared {
    /// Fills in references, and compiles patterns. Others have been filled in before: `used`.
    pub fn prepare(
        step: &TcpStep,
        tls: Option<Arc<tls::Config>>,
        (secrets, mut used): (References<'_>, Vec<String>),
        source: Option<IpAddr>,
        series_from: usize,
    ) -> Result<Self, Failure> {
        let lines = lines(&step.dialogue, secrets, &mut used)?;
        let series_from = u32::try_from(series_from).unwrap_or(u32::MAX);
        Ok(Self { tls, source, lines: lines.into(), secrets: used.into(), series_from })
    }
}

/// A dialogue with its references filled in, and its patterns compiled.
pub(super) fn lines(
    dialogue: &[Exchange],
    secrets: References<'_>,
    used: &mut Vec<String>,
) -> Result<Vec<Line>, Failure> {
    let mut lines = Vec::with_capacity(dialogue.len());
    for Exchange { name, send, expect } in dialogue {
        let pieces = send.as_ref().map(|send| pieces(send, secrets, used)).transpose()?;
        let expect = expect.as_ref().map(awaited).transpose()?;
        lines.push(Line { name: name.clone(), send: pieces.unwrap_or_default(), expect });
    }
    Ok(lines)
}

/// What is sent, with its references filled in.
pub(super) fn pieces(
    payload: &Payload,
    secrets: References<'_>,
    used: &mut Vec<String>,
) -> Result<Vec<Piece>, Failure> {
    let refuse = |why: String| Failure::new(Reason::ConfigError, why);
    let text = match payload {
        Payload::Bytes(bytes) => return Ok(vec![Piece::Bytes(bytes.clone())]),
        Payload::Text(text) => text,
    };
    let message = Message::parse(text).map_err(|error| refuse(error.to_string()))?;
    let (mut pieces, mut length) = (Vec::with_capacity(message.parts().len()), 0);
    for part in message.parts() {
        pieces.push(match part {
            Part::Capture(name) => Piece::Capture(name.clone()),
            Part::Template(text) => {
                let text = secrets.resolve(text, used)?;
                length += text.len();
                Piece::Bytes(text.into_bytes())
            }
        });
    }
    match length {
        length if length > SEND_BYTES_MAX => Err(refuse(format!(
            "with its references a message has {length} bytes; at most {SEND_BYTES_MAX} are sent"
        ))),
        _ => Ok(pieces),
    }
}

/// What must arrive, compiled.
pub(super) fn awaited(expected: &Expected) -> Result<Awaited, Failure> {
    match expected {
        Expected::Bytes(bytes) => Ok(Awaited::Bytes(bytes.clone())),
        Expected::Pattern(source) => match Pattern::admit(source) {
            Ok(pattern) => Ok(Awaited::Pattern(pattern)),
            Err(error) => Err(Failure::new(Reason::ConfigError, error.to_string())),
        },
    }
}

pub(super) async fn run(
    executor: &Executor,
    run: &Run,
    step: &TcpStep,
    prepared: &Prepared,
    trace: &mut Trace,
) -> Result<Seen, Failure> {
    let target = (step.host.as_str(), step.port);
    let mut stream = executor.connect(run, target, prepared.source, trace).await?;
    let mut talk = Talk::default();
    if let Some(protocol) = step.starttls {
        let plain = StartTls::new(protocol, own_name(&stream));
        let spoken = converse(&mut stream, Speaking::StartTls(plain), trace).await?;
        if let Speaking::StartTls(spoken) = spoken {
            talk.banner = spoken.into_banner();
        }
    }
    match prepared.tls.as_deref().zip(step.tls.as_ref()) {
        None => dialogue(&mut stream, step, prepared, &mut talk, trace).await?,
        Some(tls) => {
            let mut stream = shake(stream, target.0, tls, trace).await?;
            dialogue(&mut stream, step, prepared, &mut talk, trace).await?;
        }
    }
    let said = step.starttls.is_some() || !step.dialogue.is_empty();
    Ok(Seen { talk: said.then_some(talk), ..Seen::default() })
}

/// A connect and a handshake, and nothing else.
pub(super) async fn handshake(
    executor: &Executor,
    run: &Run,
    target: (&str, u16),
    tls: (&tls::Config, &TlsOptions),
    source: Option<IpAddr>,
    trace: &mut Trace,
) -> Result<Seen, Failure> {
    let stream = executor.connect(run, target, source, trace).await?;
    shake(stream, target.0, tls, trace).await?;
    Ok(Seen::default())
}

async fn shake(
    stream: TcpStream,
    host: &str,
    (config, options): (&tls::Config, &TlsOptions),
    trace: &mut Trace,
) -> Result<tokio_rustls::client::TlsStream<TcpStream>, Failure> {
    let name = options.server_name.as_deref().unwrap_or(host);
    tls::handshake(config, name, stream, trace).await
}

async fn dialogue<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    step: &TcpStep,
    prepared: &Prepared,
    talk: &mut Talk,
    trace: &mut Trace,
) -> Result<(), Failure> {
    if step.dialogue.is_empty() {
        return Ok(());
    }
    trace.series_from = prepared.series_from;
    trace.exchanges.clear();
    let dialogue = Dialogue::new(Arc::clone(&prepared.lines), Arc::clone(&prepared.secrets));
    let spoken = converse(stream, Speaking::Dialogue(dialogue), trace).await?;
    // Closed as the protocol below has it; who does not care has everything already.
    let _ = stream.shutdown().await;
    if let Speaking::Dialogue(spoken) = spoken {
        said(spoken, &step.dialogue, talk, trace);
        if step.starttls.is_none() {
            talk.banner = first_line(&talk.received);
        }
    }
    Ok(())
}

/// What was said in a dialogue, as expressions see it.
pub(super) fn said(spoken: Dialogue, steps: &[Exchange], talk: &mut Talk, trace: &mut Trace) {
    let (received, captures) = spoken.into_seen();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    talk.received = received.into();
    talk.captures = captures.into_iter().map(|(name, taken)| (name, text(&taken))).collect();
    let names = steps.iter().map(|exchange| exchange.name.clone());
    talk.exchanges = names.zip(trace.exchanges.drain(..)).collect();
}

fn first_line(received: &[u8]) -> String {
    let line = received.split(|byte| *byte == b'\n').next().unwrap_or_default();
    String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line)).into_owned()
}

/// How the probe calls itself where it has to: an address literal (RFC 5321, 4.1.3), as it has no
/// name that a target could look up.
fn own_name(stream: &TcpStream) -> String {
    match stream.local_addr() {
        Ok(SocketAddr::V4(own)) => format!("[{}]", own.ip()),
        Ok(SocketAddr::V6(own)) => match own.ip().to_ipv4_mapped() {
            Some(four) => format!("[{four}]"),
            None => format!("[IPv6:{}]", own.ip()),
        },
        Err(_) => "[127.0.0.1]".to_owned(),
    }
}
