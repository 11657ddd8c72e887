//! The only file that opens sockets towards targets and name servers.
//!
//! Each function takes an [`Allowed`], which only the guard can make, so there is no way past it; a
//! test of the tree sees to it that no other file of the probe opens one. [`connect`] is for TCP,
//! [`udp`] for datagrams, [`Echoes`] for ICMP, [`NameServers`] for what hickory sends on behalf of a run. Sessions with coordinators are no
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
use rustix::io::Errno;
use rustix::net::sockopt::{
    Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery, set_ip_mtu_discover, set_ipv6_mtu_discover,
};
use socket2::{Domain, Protocol, SockFilter, Socket, Type};
use tokio::net::{TcpSocket, TcpStream, UdpSocket};

use super::connect::{failure, own};
use super::{Failure, Trace, errno};
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
        let socket = bound(*to, source).await?;
        let remote = to.address();
        trace.remote = Some(remote);
        match socket.connect(remote).await {
            Ok(()) => return Ok(socket),
            Err(error) => refused = Some(failure(&error, remote)),
        }
    }
    Err(refused.unwrap_or_else(|| Failure::new(Reason::DnsNoAddress, "the name has no address")))
}

/// A UDP socket for datagrams to an address, from `source`; not connected yet.
async fn bound(to: Allowed, source: Option<IpAddr>) -> Result<UdpSocket, Failure> {
    let any: IpAddr = match to.address() {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind(SocketAddr::new(source.unwrap_or(any), 0));
    socket.await.map_err(|error| match source {
        Some(source) => unusable(&error, source),
        None => own(&error, "a socket cannot be made".to_owned()),
    })
}

/// A UDP socket that speaks with exactly one address.
#[cfg(feature = "http3")]
pub(super) type Datagrams = UdpSocket;

/// What a library of datagrams would have a socket made of. None is ever given.
#[cfg(feature = "http3")]
pub(super) type Foreign = std::net::UdpSocket;

/// A UDP socket that speaks with exactly this address, from `source`.
#[cfg(feature = "http3")]
pub(super) async fn datagrams(to: Allowed, source: Option<IpAddr>) -> Result<Datagrams, Failure> {
    let socket = bound(to, source).await?;
    let remote = to.address();
    socket.connect(remote).await.map_err(|error| failure(&error, remote))?;
    Ok(socket)
}

/// By what kind of socket echoes travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// An unprivileged one, which the system gives to groups that `net.ipv4.ping_group_range` names.
    Datagram,
    /// One that hears all ICMP of the machine, which needs `CAP_NET_RAW`.
    Raw,
}

impl Way {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Datagram => "datagram socket",
            Self::Raw => "raw socket",
        }
    }
}

/// What a run asks of a socket for echoes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wish {
    pub source: Option<IpAddr>,
    /// What tells this socket's echoes from another's, where the system does not give it.
    pub id: u16,
    pub ttl: Option<u8>,
    pub dont_fragment: bool,
}

/// A socket for echoes to one address and nobody else.
pub(super) struct Echoes {
    /// Of another protocol: what tokio calls UDP is any socket for datagrams.
    socket: UdpSocket,
    to: SocketAddr,
    way: Way,
}

impl Echoes {
    /// A datagram socket where the system allows one, else a raw one, else the reason why not: a check
    /// that cannot send echoes must not look at something else in their place.
    pub fn open(to: Allowed, wish: &Wish) -> Result<Self, Failure> {
        // An IPv4 address written as IPv6 is IPv4's, as it is for the guard.
        let to = SocketAddr::new(to.address().ip().to_canonical(), 0);
        let (domain, protocol, family) = match to {
            SocketAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4, "IPv4"),
            SocketAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6, "IPv6"),
        };
        let make = |kind: Type| Socket::new(domain, kind.nonblocking(), Some(protocol));
        let unfit = |error: &io::Error| Errno::from_io_error(error) == Some(Errno::AFNOSUPPORT);
        let forbidden = |error: &io::Error| error.kind() == ErrorKind::PermissionDenied;
        let (socket, way) = match make(Type::DGRAM) {
            Ok(socket) => (socket, Way::Datagram),
            Err(error) if unfit(&error) => {
                return Err(own(&error, format!("this machine has no {family} sockets")));
            }
            Err(datagram) => match make(Type::RAW) {
                Ok(socket) => (socket, Way::Raw),
                Err(raw) if forbidden(&datagram) && forbidden(&raw) => {
                    let evidence = "this probe may not send echoes: net.ipv4.ping_group_range names \
                                    none of its groups, and it has no CAP_NET_RAW";
                    return Err(Failure::new(Reason::ConfigError, evidence));
                }
                Err(raw) => {
                    return Err(own(&raw, "no socket for echoes can be made".to_owned()));
                }
            },
        };
        if let Some(source) = wish.source {
            let bound = socket.bind(&SocketAddr::new(source, 0).into());
            bound.map_err(|error| unusable(&error, source))?;
        }
        let unset = |error: io::Error| own(&error, "a socket cannot be set up".to_owned());
        set_up(&socket, to, way, wish).map_err(unset)?;
        if way == Way::Datagram {
            socket.connect(&to.into()).map_err(|error| failure(&error, to))?;
        }
        let socket = UdpSocket::from_std(socket.into()).map_err(unset)?;
        Ok(Self { socket, to, way })
    }

    pub const fn way(&self) -> Way {
        self.way
    }

    pub const fn target(&self) -> IpAddr {
        self.to.ip()
    }

    pub async fn send(&self, packet: &[u8]) -> io::Result<()> {
        match self.way {
            Way::Datagram => self.socket.send(packet).await,
            Way::Raw => self.socket.send_to(packet, self.to).await,
        }
        .map(drop)
    }

    /// The next packet, and whom it is from. An error may be what somebody on the way said of an echo.
    pub async fn recv(&self, buffer: &mut [u8]) -> io::Result<(usize, IpAddr)> {
        let (length, from) = self.socket.recv_from(buffer).await?;
        Ok((length, from.ip()))
    }
}

fn set_up(socket: &Socket, to: SocketAddr, way: Way, wish: &Wish) -> io::Result<()> {
    let ttl = wish.ttl.map(u32::from);
    match to {
        SocketAddr::V4(_) => {
            ttl.map_or(Ok(()), |ttl| socket.set_ttl_v4(ttl))?;
            // `PROBE` asks the way anew each time; `DO` would remember what it said once.
            let discover = match wish.dont_fragment {
                true => Ipv4PathMtuDiscovery::PROBE,
                false => Ipv4PathMtuDiscovery::DONT,
            };
            set_ip_mtu_discover(socket, discover)?;
        }
        SocketAddr::V6(_) => {
            ttl.map_or(Ok(()), |ttl| socket.set_unicast_hops_v6(ttl))?;
            // A datagram socket is told of routers' complaints with `DO` only.
            let discover = match way {
                Way::Datagram => Ipv6PathMtuDiscovery::DO,
                Way::Raw => Ipv6PathMtuDiscovery::PROBE,
            };
            if wish.dont_fragment {
                set_ipv6_mtu_discover(socket, discover)?;
            }
        }
    }
    match (way, to) {
        (Way::Datagram, _) => Ok(()),
        (Way::Raw, SocketAddr::V4(_)) => socket.attach_filter(&filter_v4(wish.id)),
        (Way::Raw, SocketAddr::V6(_)) => socket.attach_filter(&filter_v6(wish.id)),
    }
}

// Instructions of the classic packet filter (linux/filter.h).
const LOAD_BYTE: u16 = 0x30;
const LOAD_HALF: u16 = 0x28;
/// The same behind the IPv4 header.
const LOAD_BYTE_BEHIND: u16 = 0x50;
const LOAD_HALF_BEHIND: u16 = 0x48;
/// The length of the IPv4 header, for the two above.
const MEASURE_HEADER: u16 = 0xb1;
const IF_EQUAL: u16 = 0x15;
const IF_AT_LEAST: u16 = 0x35;
const RETURN: u16 = 0x06;
const WHOLE: u32 = u32::MAX;

/// Lets through what may be about echoes with this identifier: without it each raw socket would get a
/// copy of the answers to all others. What comes through is still looked at byte by byte.
fn filter_v4(id: u16) -> [SockFilter; 12] {
    let op = SockFilter::new;
    [
        op(MEASURE_HEADER, 0, 0, 0),
        op(LOAD_BYTE_BEHIND, 0, 0, 0),
        // An answer: by its identifier.
        op(IF_EQUAL, 0, 2, 0),
        op(LOAD_HALF_BEHIND, 0, 0, 4),
        op(IF_EQUAL, 5, 6, id.into()),
        // Unreachable, time exceeded, parameter problem: by that of the packet which they quote.
        op(IF_EQUAL, 2, 0, 3),
        op(IF_EQUAL, 1, 0, 11),
        op(IF_EQUAL, 0, 3, 12),
        op(LOAD_HALF_BEHIND, 0, 0, 8 + 20 + 4),
        op(IF_EQUAL, 0, 1, id.into()),
        op(RETURN, 0, 0, WHOLE),
        op(RETURN, 0, 0, 0),
    ]
}

/// The same for ICMPv6, which comes without its IP header. What complaints quote may begin with a
/// fragment's header, so they are all let through.
fn filter_v6(id: u16) -> [SockFilter; 7] {
    let op = SockFilter::new;
    [
        op(LOAD_BYTE, 0, 0, 0),
        op(IF_EQUAL, 0, 2, 129),
        op(LOAD_HALF, 0, 0, 4),
        op(IF_EQUAL, 1, 2, id.into()),
        // Complaints have the types 1 to 4.
        op(IF_AT_LEAST, 1, 0, 5),
        op(RETURN, 0, 0, WHOLE),
        op(RETURN, 0, 0, 0),
    ]
}

/// A source address that cannot be bound.
fn unusable(error: &io::Error, source: IpAddr) -> Failure {
    if error.kind() == ErrorKind::AddrNotAvailable {
        let errno = errno::of(error).unwrap_or_default();
        let evidence = format!("the source address {source} is not one of this machine ({errno})");
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
