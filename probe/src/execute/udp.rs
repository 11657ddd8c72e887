//! A UDP step: one datagram, sent again when that is asked for, and the first answer to it.
//!
//! The socket is connected: what others send is not seen, and an ICMP message that nobody listens
//! there is an error of the socket.

use std::net::IpAddr;

use parallax_common::check::{Run, UdpStep};
use parallax_common::expect::Talk;
use parallax_common::limits::{UDP_ANSWER_BYTES_MAX, UDP_SENDS_MAX};
use parallax_common::outcome::{Phase, Reason};
use parallax_runtime::clock;

use super::capture::References;
use super::{Executor, Failure, Seen, Stage, Trace, connect, socket, tcp};
use crate::core::talk::dialogue::{Awaited, Judged, Piece, too_long};
use crate::core::talk::evidence::quoted;

/// A step with everything filled in.
#[derive(Debug)]
pub(super) struct Prepared {
    packet: Vec<u8>,
    expect: Option<Awaited>,
    pub secrets: Vec<String>,
    source: Option<IpAddr>,
}

impl Prepared {
    /// Fills in references, and compiles the pattern.
    pub fn prepare(
        step: &UdpStep,
        secrets: References<'_>,
        source: Option<IpAddr>,
    ) -> Result<Self, Failure> {
        let mut used = Vec::new();
        let mut packet = Vec::new();
        for piece in tcp::pieces(&step.send, secrets, &mut used)? {
            match piece {
                Piece::Bytes(bytes) => packet.extend(bytes),
                Piece::Capture(name) => {
                    let evidence = format!("a datagram cannot hold the capture `{name}`");
                    return Err(Failure::new(Reason::ConfigError, evidence));
                }
            }
        }
        let expect = step.expect.as_ref().map(tcp::awaited).transpose()?;
        Ok(Self { packet, expect, secrets: used, source })
    }
}

pub(super) async fn run(
    executor: &Executor,
    run: &Run,
    step: &UdpStep,
    prepared: &Prepared,
    trace: &mut Trace,
) -> Result<Seen, Failure> {
    let target = (step.host.as_str(), step.port);
    let addresses = executor.allowed(run, target, prepared.source, trace).await?;
    let socket = socket::udp(&addresses, prepared.source, trace).await?;
    trace.left_out = None;
    trace.stage = Stage::Exchange;
    let since = clock::instant();
    // One byte more than is read, so that a longer one shows.
    let mut buffer = vec![0; UDP_ANSWER_BYTES_MAX + 1];
    let mut sent = 0;
    let length = loop {
        let gone = socket.send(&prepared.packet).await;
        gone.map_err(|error| connect::datagram_failure(&error, trace.remote))?;
        sent += 1;
        let evidence = match sent {
            1 => "no answer".to_owned(),
            sent => format!("no answer to any of {sent} datagrams"),
        };
        trace.refusal = Some(Failure::new(Reason::Timeout, evidence));
        let answer = socket.recv(&mut buffer);
        let answer = match step.resend.filter(|_| sent < UDP_SENDS_MAX) {
            None => answer.await,
            Some(resend) => match tokio::time::timeout(resend, answer).await {
                Ok(answer) => answer,
                Err(_elapsed) => continue,
            },
        };
        trace.refusal = None;
        break answer.map_err(|error| connect::datagram_failure(&error, trace.remote))?;
    };
    trace.phase(Phase::FirstByte, since);
    if length > UDP_ANSWER_BYTES_MAX {
        let evidence = format!("an answer of over {UDP_ANSWER_BYTES_MAX} bytes");
        return Err(Failure::new(Reason::AnswerTooLarge, evidence));
    }
    buffer.truncate(length);
    let mut talk = Talk::default();
    if let Some(expect) = &prepared.expect {
        let Judged::Found { captures, .. } = expect.judge(&buffer) else {
            let said = quoted(&buffer, &prepared.secrets);
            let evidence = format!("the answer is not what is expected: {said}");
            return Err(Failure::new(Reason::AnswerMismatch, evidence));
        };
        for (name, taken) in captures {
            if let Some(evidence) = too_long(&name, &taken) {
                return Err(Failure::new(Reason::AnswerTooLarge, evidence));
            }
            talk.captures.insert(name, String::from_utf8_lossy(&taken).into_owned());
        }
    }
    talk.received = buffer.into();
    Ok(Seen { talk: Some(talk), ..Seen::default() })
}
