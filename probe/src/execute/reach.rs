//! From a host to a connection: whatever a run connects to goes through here, and by the guard.

use std::net::{IpAddr, SocketAddr};

use parallax_common::check::Run;
use parallax_common::outcome::Reason;

use super::{Executor, Failure, Stage, Trace, connect, proxy};
#[cfg(feature = "http3")]
use super::{quic, tls};
use crate::core::guard::Allowed;

impl Executor {
    /// Name to open connection: resolved once, each address checked by the guard, and connected to
    /// as it was checked. Whatever a run connects to goes through here, each hop of a redirect
    /// included.
    pub(crate) async fn connect(
        &self,
        run: &Run,
        (host, port): (&str, u16),
        source: Option<IpAddr>,
        trace: &mut Trace,
    ) -> Result<tokio::net::TcpStream, Failure> {
        let allowed = self.allowed(run, (host, port), source, trace).await?;
        self.open(run, &allowed, source, trace).await
    }

    /// The same through a proxy, when there is one.
    pub(super) async fn reach(
        &self,
        run: &Run,
        tunnel: Option<&proxy::Tunnel>,
        target: (&str, u16),
        source: Option<IpAddr>,
        trace: &mut Trace,
    ) -> Result<tokio::net::TcpStream, Failure> {
        match tunnel {
            None => self.connect(run, target, source, trace).await,
            Some(tunnel) => {
                Box::pin(proxy::connect(self, run, tunnel, target, source, trace)).await
            }
        }
    }

    /// Name to the addresses that the guard allows.
    pub(crate) async fn allowed(
        &self,
        run: &Run,
        (host, port): (&str, u16),
        source: Option<IpAddr>,
        trace: &mut Trace,
    ) -> Result<Vec<Allowed>, Failure> {
        trace.left_out = None;
        let addresses = self.resolvers.resolve(host, run.ip, run.resolver, source, trace).await?;
        trace.stage = Stage::Connect;
        trace.remote = None;
        let reachable = connect::reachable(&addresses, source)?;
        self.admit(host, &reachable, port, trace)
    }

    /// Addresses to open connection.
    pub(crate) async fn open(
        &self,
        run: &Run,
        to: &[Allowed],
        source: Option<IpAddr>,
        trace: &mut Trace,
    ) -> Result<tokio::net::TcpStream, Failure> {
        trace.stage = Stage::Connect;
        trace.remote = None;
        let wanted = connect::Wanted { source, timeout: run.timeout };
        let stream = connect::connect(to, wanted, trace).await?;
        trace.left_out = None;
        Ok(stream)
    }

    /// Name to a QUIC connection whose target was judged.
    #[cfg(feature = "http3")]
    pub(super) async fn reach_quic(
        &self,
        run: &Run,
        target: (&str, u16),
        (config, name): (&tls::Config, &str),
        source: Option<IpAddr>,
        trace: &mut Trace,
    ) -> Result<quic::Quic, Failure> {
        let to = self.allowed(run, target, source, trace).await?;
        let wanted = quic::Wanted::new(config, name, run.timeout)?;
        let dial = |to| -> connect::Attempt<quic::Answered> {
            Box::pin(quic::dial(to, source, wanted.clone()))
        };
        let answered = connect::connect_by(&to, run.timeout, dial, trace).await?;
        trace.left_out = None;
        quic::handshake(config, name, answered, trace).await
    }

    /// Those addresses of `host` that the guard allows. Denied ones are left out when there are
    /// others: a stray address in a name's records must not hide an outage behind the good one.
    /// What is left out is told should none of the others take the connection.
    pub(crate) fn admit(
        &self,
        host: &str,
        addresses: &[IpAddr],
        port: u16,
        trace: &mut Trace,
    ) -> Result<Vec<Allowed>, Failure> {
        let (mut allowed, mut first_denied) = (Vec::with_capacity(addresses.len()), None);
        for address in addresses {
            match self.guard.admit(SocketAddr::new(*address, port)) {
                Ok(address) => allowed.push(address),
                Err(denied) => first_denied = first_denied.or(Some(denied)),
            }
        }
        let denied_count = addresses.len() - allowed.len();
        match first_denied {
            None => Ok(allowed),
            Some(denied) if allowed.is_empty() => {
                let evidence = match denied_count {
                    _ if host.parse::<IpAddr>().is_ok() => denied.to_string(),
                    1 => format!("{host}: {denied}"),
                    count => format!("{host}: {denied}; all its {count} addresses are denied"),
                };
                Err(Failure::new(Reason::AddressDenied, evidence))
            }
            Some(denied) => {
                trace.left_out = Some(format!("{denied_count} more not tried: {denied}"));
                Ok(allowed)
            }
        }
    }
}
