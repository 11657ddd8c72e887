//! Moves bytes between a target and a protocol of [`crate::core::talk`], which decides.
//!
//! The protocol is in the trace while it is spoken, so that it can say what it waited for when the
//! run's time is over.

use std::io::{Error, ErrorKind};
use std::net::SocketAddr;

use parallax_common::outcome::{Phase, Reason};
use parallax_runtime::clock;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::errno::plain;
use super::{Failure, Stage, Trace, connect, errno};
use crate::core::talk::{Action, Cut, Refusal, Speaking, Talk};

/// Bytes that are taken from a connection at once: more than most answers have.
const READ_BYTES: usize = 4 * 1024;

impl From<Refusal> for Failure {
    fn from(Refusal { reason, evidence }: Refusal) -> Self {
        Self { reason, evidence }
    }
}

/// Speaks until the protocol has ended, and gives it back with what it has heard.
pub(super) async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    speaking: Speaking,
    trace: &mut Trace,
) -> Result<Speaking, Failure> {
    trace.stage = Stage::Exchange;
    let begun = clock::instant();
    let (mut first, mut step_since) = (None, begun);
    let mut buffer = vec![0; READ_BYTES];
    let talk = trace.speaking.insert(speaking);
    let mut action = talk.next(&[])?;
    loop {
        let arrived = match action {
            Action::Send(bytes) => {
                let sent = async {
                    stream.write_all(&bytes).await?;
                    // Under TLS what was written waits for it.
                    stream.flush().await
                };
                sent.await.map_err(|error| lost(&error, trace))?;
                0
            }
            Action::Ended(step) => {
                let now = clock::instant();
                trace.exchange(step, now.saturating_duration_since(step_since));
                step_since = now;
                0
            }
            Action::Read => {
                let read = stream.read(&mut buffer).await;
                let length = match read {
                    Ok(0) => return Err(cut(Cut::Closed, trace)),
                    Ok(length) => length,
                    Err(error) => return Err(lost(&error, trace)),
                };
                if first.is_none() {
                    first = Some(clock::instant());
                    trace.phase(Phase::FirstByte, begun);
                }
                length
            }
            Action::Leave(bytes) => {
                trace.phase(Phase::Transfer, first.unwrap_or(begun));
                // Out of politeness: the run is over, whatever becomes of it.
                let _ = stream.write_all(&bytes).await;
                break;
            }
            Action::Done => {
                trace.phase(Phase::Transfer, first.unwrap_or(begun));
                break;
            }
        };
        let Some(talk) = &mut trace.speaking else { break };
        action = talk.next(&buffer[..arrived])?;
    }
    // It was put there above, and nobody else takes it while the run goes on.
    trace.speaking.take().ok_or_else(|| Failure::new(Reason::ConfigError, "nothing was spoken"))
}

fn cut(how: Cut, trace: &Trace) -> Failure {
    match &trace.speaking {
        Some(talk) => talk.cut(how).into(),
        None => Failure::new(how.reason(), how.said()),
    }
}

/// What an error of an open connection means.
fn lost(error: &Error, trace: &Trace) -> Failure {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match (error.kind(), tls) {
        (_, Some(tls)) => Failure::new(Reason::TlsHandshake, format!("after the handshake: {tls}")),
        (ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe, _) => {
            let failure = cut(Cut::Reset, trace);
            match errno::of(error) {
                Some(errno) => {
                    let evidence = format!("{} ({errno})", failure.evidence);
                    Failure { evidence, ..failure }
                }
                None => failure,
            }
        }
        (ErrorKind::UnexpectedEof, _) => cut(Cut::Closed, trace),
        _ => {
            let remote = trace.remote.unwrap_or(SocketAddr::from(([0, 0, 0, 0], 0)));
            let failure = connect::failure(error, remote);
            match failure.reason.is_missed() {
                true => failure,
                false => Failure {
                    evidence: format!("the connection to {remote} was lost: {}", plain(error)),
                    ..failure
                },
            }
        }
    }
}
