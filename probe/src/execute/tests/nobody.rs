//! A port of this machine where nobody listens, for tests.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use socket2::{Domain, Socket, Type};

/// Kept as long as this lives: a port that was given back may be the next listener's.
pub struct Nobody {
    pub at: SocketAddr,
    _tcp: Socket,
    _udp: UdpSocket,
}

impl Nobody {
    pub fn new() -> Nobody {
        loop {
            // Bound and not listening: a connect is refused.
            let tcp = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            tcp.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
            let at = tcp.local_addr().unwrap().as_socket().unwrap();
            // Somebody may have the same port over UDP: another one, then.
            let Ok(udp) = UdpSocket::bind(at) else { continue };
            // It takes what port 1 sends, and nobody sends from there: all else is unreachable.
            udp.connect((Ipv4Addr::LOCALHOST, 1)).unwrap();
            return Nobody { at, _tcp: tcp, _udp: udp };
        }
    }
}
