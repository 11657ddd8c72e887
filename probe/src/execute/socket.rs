//! The only file that opens sockets towards targets and name servers.
//!
//! Each function takes an [`Allowed`], which only the guard can make, so there is no way past it; a
//! test of the tree sees to it that no other file of the probe opens one. [`connect`] is for TCP,
//! [`udp`] for datagrams, [`NameServers`] for what hickory sends on behalf of a run. Sessions with coordinators are no
//! part of a check and go their own way (`crate::session`).

use std::future::{Future, ready};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hickory_resolver::net::runtime::{
    DnsUdpSocket, RuntimeProvider, TokioHandle, TokioRuntimeProvider, TokioTime,
};
use parallax_common::outcome::Reason;
use tokio::net::{TcpSocket, TcpStream, UdpSocket};

use super::connect::{failure, own};
use super::{Failure, Trace};
use crate::core::guard::Allowed;

/// A TCP connection to exactly this address, from `source`.
pub(super) async fn connect(to: Allowed, source: Option<IpAddr>) -> Result<TcpStream, Failure> {
    let remote = to.address();
    let socket = if remote.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
    let family = if remote.is_ipv4() { "IPv4" } else { "IPv6" };
    let socket =
        socket.map_err(|error| own(&error, format!("this machine has no {family} sockets")))?;
    if let Some(source) = source {
        socket.bind(SocketAddr::new(source, 0)).map_err(|error| unusable(&error, source))?;
    }
    // A request is one small write; waiting for more would be measured as the target's latency.
    socket
        .set_nodelay(true)
        .map_err(|error| own(&error, "a socket cannot be set up".to_owned()))?;
    socket.connect(remote).await.map_err(|error| failure(&error, remote))
}

/// A UDP socket that speaks with one of the addresses and nobody else: the first that this machine
/// has a way to.
pub(super) async fn udp(
    addresses: &[Allowed],
    source: Option<IpAddr>,
    trace: &mut Trace,
) -> Result<UdpSocket, Failure> {
    let mut refused = None;
    for to in addresses {
        let remote = to.address();
        let any: IpAddr = match remote {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = UdpSocket::bind(SocketAddr::new(source.unwrap_or(any), 0));
        let socket = socket.await.map_err(|error| match source {
            Some(source) => unusable(&error, source),
            None => own(&error, "a socket cannot be made".to_owned()),
        })?;
        trace.remote = Some(remote);
        match socket.connect(remote).await {
            Ok(()) => return Ok(socket),
            Err(error) => refused = Some(failure(&error, remote)),
        }
    }
    Err(refused.unwrap_or_else(|| Failure::new(Reason::DnsNoAddress, "the name has no address")))
}

/// A source address that cannot be bound.
fn unusable(error: &io::Error, source: IpAddr) -> Failure {
    if error.kind() == ErrorKind::AddrNotAvailable {
        let evidence = format!("the source address {source} is not one of this machine");
        return Failure::new(Reason::ConfigError, evidence);
    }
    own(error, format!("the source address {source} cannot be used"))
}

type Opening<S> = Pin<Box<dyn Future<Output = io::Result<S>> + Send>>;

/// Opens a resolver's sockets: to these name servers and to nobody else, whatever they answer.
#[derive(Clone)]
pub(super) struct NameServers {
    allowed: Arc<[Allowed]>,
    tokio: TokioRuntimeProvider,
}

impl NameServers {
    pub fn new(allowed: Vec<Allowed>) -> Self {
        Self { allowed: allowed.into(), tokio: TokioRuntimeProvider::default() }
    }

    fn holds(&self, server: SocketAddr) -> bool {
        self.allowed.iter().any(|allowed| allowed.address() == server)
    }
}

fn not_allowed(server: SocketAddr) -> io::Error {
    io::Error::new(ErrorKind::PermissionDenied, format!("{server} is none of the name servers"))
}

impl RuntimeProvider for NameServers {
    type Handle = TokioHandle;
    type Timer = TokioTime;
    type Udp = ToServer;
    type Tcp = <TokioRuntimeProvider as RuntimeProvider>::Tcp;

    fn create_handle(&self) -> TokioHandle {
        self.tokio.create_handle()
    }

    fn connect_tcp(
        &self,
        server: SocketAddr,
        from: Option<SocketAddr>,
        timeout: Option<Duration>,
    ) -> Opening<Self::Tcp> {
        match self.holds(server) {
            true => self.tokio.connect_tcp(server, from, timeout),
            false => Box::pin(ready(Err(not_allowed(server)))),
        }
    }

    fn bind_udp(&self, from: SocketAddr, server: SocketAddr) -> Opening<ToServer> {
        if !self.holds(server) {
            return Box::pin(ready(Err(not_allowed(server))));
        }
        let bound = self.tokio.bind_udp(from, server);
        Box::pin(async move { Ok(ToServer { socket: bound.await?, server }) })
    }
}

/// A datagram socket that sends to one name server only.
pub(super) struct ToServer {
    socket: <TokioRuntimeProvider as RuntimeProvider>::Udp,
    server: SocketAddr,
}

impl DnsUdpSocket for ToServer {
    type Time = TokioTime;

    fn poll_recv_from(
        &self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<(usize, SocketAddr)>> {
        DnsUdpSocket::poll_recv_from(&self.socket, context, buffer)
    }

    fn poll_send_to(
        &self,
        context: &mut Context<'_>,
        bytes: &[u8],
        target: SocketAddr,
    ) -> Poll<io::Result<usize>> {
        if target != self.server {
            return Poll::Ready(Err(not_allowed(target)));
        }
        DnsUdpSocket::poll_send_to(&self.socket, context, bytes, target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::guard::Guard;

    #[tokio::test]
    async fn a_resolver_has_no_sockets_but_to_its_name_servers() {
        let trap = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        trap.set_nonblocking(true).unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let (other, other_tcp) = (trap.local_addr().unwrap(), listener.local_addr().unwrap());
        let server = std::net::UdpSocket::bind("127.0.0.2:0").unwrap();
        let ours = server.local_addr().unwrap();
        let servers = NameServers::new(vec![Guard::default().admit(ours).unwrap()]);
        let any = SocketAddr::from(([0, 0, 0, 0], 0));

        let denied = |error: Option<io::Error>| error.map(|error| error.kind());
        let bound = servers.bind_udp(any, other).await;
        assert_eq!(denied(bound.err()), Some(ErrorKind::PermissionDenied));
        let connected = servers.connect_tcp(other_tcp, None, None).await;
        assert_eq!(denied(connected.err()), Some(ErrorKind::PermissionDenied));
        // The same machine on another port is another server.
        let port = SocketAddr::new(ours.ip(), other.port());
        assert!(servers.bind_udp(any, port).await.is_err());

        let socket = servers.bind_udp(any, ours).await.unwrap();
        let sent = DnsUdpSocket::send_to(&socket, b"question", other).await;
        assert_eq!(denied(sent.err()), Some(ErrorKind::PermissionDenied));
        DnsUdpSocket::send_to(&socket, b"question", ours).await.unwrap();
        let mut packet = [0; 16];
        assert_eq!(server.recv(&mut packet).unwrap(), 8);
        let (nothing, nobody) = (trap.recv(&mut packet), listener.accept());
        assert_eq!(nothing.unwrap_err().kind(), ErrorKind::WouldBlock);
        assert_eq!(nobody.unwrap_err().kind(), ErrorKind::WouldBlock);
    }
}
