//! A connection to a target through a proxy.
//!
//! The guard judges the proxy's own address like any other that is connected to. It judges the target,
//! too, as far as the probe knows where that is: an address that is written out, and a name that the probe
//! itself looks up. What is said is decided in [`crate::core::proxy`].

use std::io::{Error, ErrorKind};
use std::net::IpAddr;

use parallax_common::check::{Proxy, ProxyScheme, Run};
use parallax_common::limits::PROXY_ADDRESSES_MAX;
use parallax_common::outcome::{Phase, Reason};
use parallax_common::target::shown_address;
use parallax_runtime::clock;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::capture::References;
use super::errno::plain;
use super::{Executor, Failure, Stage, Trace};
use crate::core::guard::Allowed;
use crate::core::proxy::{Handshake, Login, Next, Refused, Target, encoded};

/// A proxy with its references filled in.
pub(super) struct Tunnel {
    scheme: ProxyScheme,
    host: String,
    port: u16,
    /// User name and password.
    login: Option<(String, String)>,
}

impl std::fmt::Debug for Tunnel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tunnel")
    }
}

impl Tunnel {
    /// Fills in references; what must not be shown goes to `used`.
    pub fn prepare(
        proxy: &Proxy,
        secrets: References<'_>,
        used: &mut Vec<String>,
    ) -> Result<Self, Failure> {
        let Proxy { scheme, host, port, credentials } = proxy;
        let login = match credentials {
            None => None,
            Some(of) => {
                let username = secrets.resolve(&of.username, used)?;
                let password = secrets.resolve(&of.password, used)?;
                if username.contains(':') {
                    let why = "the user name for the proxy holds a colon";
                    return Err(Failure::new(Reason::ConfigError, why));
                }
                used.push(encoded(Login { username: &username, password: &password }));
                Some((username, password))
            }
        };
        Ok(Self { scheme: *scheme, host: host.clone(), port: *port, login })
    }
}

/// Connects to the proxy and has it connect to the target. Of several addresses of a target that the
/// probe looked up, the next is asked for when the proxy cannot reach the one before.
pub(super) async fn connect(
    executor: &Executor,
    run: &Run,
    tunnel: &Tunnel,
    (host, port): (&str, u16),
    source: Option<IpAddr>,
    trace: &mut Trace,
) -> Result<TcpStream, Failure> {
    let (targets, left_out) = match tunnel.scheme.looks_up() && host.parse::<IpAddr>().is_err() {
        true => (vec![Target::Name(host.to_owned(), port)], None),
        false => {
            // The source is where the way to the proxy starts; it says nothing of the target's family.
            let allowed = executor.allowed(run, (host, port), None, trace).await?;
            let target = |allowed: &Allowed| Target::Address(allowed.address());
            let targets = allowed.iter().take(PROXY_ADDRESSES_MAX).map(target).collect();
            (targets, trace.left_out.take())
        }
    };
    let mut unreachable = None;
    for target in &targets {
        trace.stage = Stage::Dns;
        trace.is_at_proxy = true;
        let proxy = (tunnel.host.as_str(), tunnel.port);
        let connected = executor.connect(run, proxy, source, trace).await;
        let mut stream = connected.map_err(|failure| {
            let Failure { reason, evidence } = failure;
            Failure::new(reason, format!("the proxy: {evidence}"))
        })?;
        // From here on it may be the target that is waited for.
        trace.is_at_proxy = false;
        let shaken = shake(&mut stream, tunnel, target, trace).await;
        // It is for a time that is over in the middle: what comes next has reasons of its own.
        trace.refusal = None;
        match shaken {
            Ok(()) => return Ok(stream),
            Err(failure) if failure.reason == Reason::ProxyUnreachable => {
                unreachable = Some(failure);
            }
            Err(failure) => return Err(failure),
        }
    }
    trace.left_out = left_out;
    // There is at least one address, or the look-up would have failed.
    Err(unreachable
        .unwrap_or_else(|| Failure::new(Reason::DnsNoAddress, "the name has no address")))
}

/// Speaks with the proxy until the way is open. Reads not one byte of what the target says.
async fn shake(
    stream: &mut TcpStream,
    tunnel: &Tunnel,
    target: &Target,
    trace: &mut Trace,
) -> Result<(), Failure> {
    let at = shown_address(&tunnel.host, tunnel.port);
    let to = target.shown();
    let failed = |refused: Refused| {
        let evidence = format!("the proxy {at}, asked for {to}: {}", refused.evidence);
        Failure::new(refused.reason, evidence)
    };
    let lost = |error: Error| {
        let what = match error.kind() {
            ErrorKind::UnexpectedEof => "it closed the connection".to_owned(),
            _ => format!("the connection was lost: {}", plain(&error)),
        };
        failed(Refused { reason: Reason::ProxyMalformed, evidence: what })
    };
    let login = tunnel.login.as_ref().map(|(username, password)| Login { username, password });
    let since = clock::instant();
    let late = format!("the proxy {at} did not open the way to {to} in time");
    trace.refusal = Some(Failure::new(Reason::ConnectTimeout, late));
    let (mut handshake, first) = Handshake::begin(tunnel.scheme, target, login).map_err(failed)?;
    stream.write_all(&first).await.map_err(lost)?;
    let mut buffer = [0; 512];
    loop {
        // Looked at first: only what the core says is the proxy's is taken off the connection.
        let there = stream.peek(&mut buffer).await.map_err(lost)?;
        if there == 0 {
            return Err(lost(ErrorKind::UnexpectedEof.into()));
        }
        let (used, next) = handshake.take(&buffer[..there]).map_err(failed)?;
        stream.read_exact(&mut buffer[..used]).await.map_err(lost)?;
        match next {
            Next::Wait => {}
            Next::Send(bytes) => stream.write_all(&bytes).await.map_err(lost)?,
            Next::Open => break,
        }
    }
    trace.phase(Phase::Connect, since);
    Ok(())
}
