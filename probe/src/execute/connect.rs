//! A TCP connection from the wanted source, to the first address that takes it.
//!
//! A name's addresses are tried as RFC 8305 ("Happy Eyeballs") has it: families in turn, the next
//! address when the one before has failed or has been silent for a while, the first connection
//! wins. One address that swallows packets so does not use up the whole run.

use std::future::Future;
use std::io::{Error, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use parallax_common::limits::{CONNECT_NEXT_AFTER, CONNECTS_AT_ONCE_MAX};
use parallax_common::outcome::{Phase, Reason};
use parallax_runtime::clock;
use tokio::net::TcpStream;

use super::errno::plain;
use super::{Failure, Trace, errno, socket};
use crate::core::guard::Allowed;

/// What a run asks for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    /// Where the connection starts from.
    pub source: Option<IpAddr>,
    /// The run's: shared out among the addresses when it is short.
    pub timeout: Duration,
}

/// One address that is being connected to.
pub(super) type Attempt<T> = Pin<Box<dyn Future<Output = Result<T, Failure>> + Send>>;

/// A TCP connection to one of the addresses.
pub(super) async fn connect(
    addresses: &[Allowed],
    wanted: Wanted,
    trace: &mut Trace,
) -> Result<TcpStream, Failure> {
    let tcp = |to| -> Attempt<TcpStream> { Box::pin(socket::connect(to, wanted.source)) };
    connect_by(addresses, wanted.timeout, tcp, trace).await
}

/// Tries the addresses in this order, each by `attempt`. Of several failures the one counts that got
/// furthest; it is in `trace.refusal` while others are still tried, for the case that the time of the
/// run, its `timeout`, is over first.
pub(super) async fn connect_by<T>(
    addresses: &[Allowed],
    timeout: Duration,
    attempt: impl Fn(Allowed) -> Attempt<T>,
    trace: &mut Trace,
) -> Result<T, Failure> {
    let since = clock::instant();
    let share = timeout / u32::try_from(addresses.len() + 1).unwrap_or(u32::MAX);
    let next_after = CONNECT_NEXT_AFTER.min(share);
    let mut rest = addresses.iter().copied();
    let mut waiting = rest.len();
    let mut open: Vec<(SocketAddr, Attempt<T>)> = Vec::new();
    let mut next_at = since;
    loop {
        let room = waiting > 0 && open.len() < CONNECTS_AT_ONCE_MAX;
        if room && (open.is_empty() || clock::instant() >= next_at) {
            if let Some(to) = rest.next() {
                // Until somebody answers: what a timeout is told of.
                trace.remote.get_or_insert(to.address());
                open.push((to.address(), attempt(to)));
            }
            waiting = rest.len();
            next_at = clock::instant() + next_after;
            continue;
        }
        if open.is_empty() {
            let none = || Failure::new(Reason::DnsNoAddress, "the name has no address");
            return Err(trace.refusal.take().unwrap_or_else(none));
        }
        let (remote, result) = tokio::select! {
            biased;
            ended = first(&mut open) => ended,
            () = tokio::time::sleep_until(next_at.into()), if room => continue,
        };
        match result {
            Ok(stream) => {
                trace.refusal = None;
                trace.remote = Some(remote);
                trace.phase(Phase::Connect, since);
                return Ok(stream);
            }
            Err(failure) => {
                let before = trace.refusal.as_ref().map(|before| distance(before.reason));
                if before.is_none_or(|before| distance(failure.reason) > before) {
                    trace.remote = Some(remote);
                    trace.refusal = Some(failure);
                }
                // The next one need not wait.
                next_at = clock::instant();
            }
        }
    }
}

/// How far a connect came. One that failed for want of our own means comes first: with them it
/// might have come about, so the others prove nothing.
fn distance(reason: Reason) -> u8 {
    match reason {
        Reason::MissedOverload => 5,
        Reason::ConnectRefused | Reason::ConnectReset => 4,
        Reason::ConnectTimeout => 3,
        Reason::ConnectUnreachable => 2,
        Reason::ConnectDenied => 1,
        _ => 0,
    }
}

/// The addresses that the source can reach, families in turn, in the resolver's order.
pub(super) fn reachable(
    addresses: &[IpAddr],
    source: Option<IpAddr>,
) -> Result<Vec<IpAddr>, Failure> {
    let fits = |address: &&IpAddr| source.is_none_or(|s| s.is_ipv4() == address.is_ipv4());
    let fitting: Vec<IpAddr> = addresses.iter().filter(fits).copied().collect();
    let Some(first) = fitting.first().map(IpAddr::is_ipv4) else {
        return Err(match source {
            Some(source) if !addresses.is_empty() => wrong_family(source),
            _ => Failure::new(Reason::DnsNoAddress, "the name has no address"),
        });
    };
    let (mut one, mut other): (Vec<_>, Vec<_>) =
        fitting.into_iter().partition(|address| address.is_ipv4() == first);
    one.reverse();
    other.reverse();
    let mut turns = Vec::with_capacity(one.len() + other.len());
    while !(one.is_empty() && other.is_empty()) {
        turns.extend(one.pop());
        turns.extend(other.pop());
    }
    Ok(turns)
}

/// The target has addresses, but none that this source can reach: ours, not the target's.
pub(super) fn wrong_family(source: IpAddr) -> Failure {
    let (is, other) = if source.is_ipv4() { ("IPv4", "IPv6") } else { ("IPv6", "IPv4") };
    let evidence = format!("the source address {source} is {is}, the target has only {other}");
    Failure::new(Reason::ConfigError, evidence)
}

/// The first attempt to end; it is taken out.
async fn first<T>(open: &mut Vec<(SocketAddr, Attempt<T>)>) -> (SocketAddr, Result<T, Failure>) {
    std::future::poll_fn(|context| {
        for place in 0..open.len() {
            let (remote, attempt) = &mut open[place];
            if let Poll::Ready(result) = attempt.as_mut().poll(context) {
                let remote = *remote;
                drop(open.swap_remove(place));
                return Poll::Ready((remote, result));
            }
        }
        Poll::Pending
    })
    .await
}

/// An error before anything was sent: never the target's.
pub(super) fn own(error: &Error, what: String) -> Failure {
    match exhausted(error) {
        Some(out_of) => ran_out(out_of, error),
        None => Failure::new(Reason::ConfigError, format!("{what}: {}", plain(error))),
    }
}

pub(super) fn failure(error: &Error, remote: SocketAddr) -> Failure {
    if let Some(out_of) = exhausted(error) {
        // Ours, not the target's: it must not vote.
        return ran_out(out_of, error);
    }
    let reason = match error.kind() {
        ErrorKind::ConnectionRefused => Reason::ConnectRefused,
        ErrorKind::TimedOut => Reason::ConnectTimeout,
        ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted => Reason::ConnectReset,
        ErrorKind::PermissionDenied => Reason::ConnectDenied,
        _ => Reason::ConnectUnreachable,
    };
    Failure::new(reason, format!("connect to {remote}: {}", plain(error)))
}

/// The same for an error of a socket that sends datagrams.
pub(super) fn datagram_failure(error: &Error, remote: Option<SocketAddr>) -> Failure {
    match remote {
        Some(remote) => {
            let failure = failure(error, remote);
            let evidence = format!("udp to {remote}: {}", plain(error));
            if failure.reason.is_missed() { failure } else { Failure { evidence, ..failure } }
        }
        None => Failure::new(Reason::ConnectUnreachable, plain(error)),
    }
}

fn ran_out(of: &str, error: &Error) -> Failure {
    let errno = errno::of(error).unwrap_or_default();
    Failure::new(Reason::ProbeResources, format!("the probe ran out of {of} ({errno})"))
}

/// What this machine has none left of, when that is what the error says.
fn exhausted(error: &Error) -> Option<&'static str> {
    use rustix::io::Errno;
    match Errno::from_io_error(error)? {
        Errno::MFILE | Errno::NFILE => Some("file descriptors"),
        Errno::NOMEM | Errno::NOBUFS => Some("memory for sockets"),
        Errno::ADDRINUSE | Errno::ADDRNOTAVAIL | Errno::AGAIN => Some("local ports"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::guard::Guard;

    #[test]
    fn what_the_system_says_has_one_reason_each() {
        let remote = SocketAddr::from(([192, 0, 2, 1], 80));
        // (errno of Linux, reason)
        for (errno, reason) in [
            (rustix::io::Errno::CONNREFUSED, Reason::ConnectRefused),
            (rustix::io::Errno::TIMEDOUT, Reason::ConnectTimeout),
            (rustix::io::Errno::HOSTUNREACH, Reason::ConnectUnreachable),
            (rustix::io::Errno::NETUNREACH, Reason::ConnectUnreachable),
            (rustix::io::Errno::CONNRESET, Reason::ConnectReset),
            (rustix::io::Errno::ACCESS, Reason::ConnectDenied),
            (rustix::io::Errno::PERM, Reason::ConnectDenied),
            (rustix::io::Errno::MFILE, Reason::ProbeResources),
            (rustix::io::Errno::ADDRNOTAVAIL, Reason::ProbeResources),
            (rustix::io::Errno::NOBUFS, Reason::ProbeResources),
        ] {
            let error = Error::from_raw_os_error(errno.raw_os_error());
            assert_eq!(failure(&error, remote).reason, reason, "{error}");
        }
    }

    #[test]
    fn only_addresses_of_the_sources_family_are_tried_and_families_take_turns() {
        let all = |text: &str| -> Vec<IpAddr> {
            text.split_whitespace().map(|address| address.parse().unwrap()).collect()
        };
        let (four, six) = (Some("127.0.0.9".parse().unwrap()), Some("::1".parse().unwrap()));
        for (addresses, source, wanted) in [
            ("::2 ::3 10.0.0.1 10.0.0.2 ::4", None, "::2 10.0.0.1 ::3 10.0.0.2 ::4"),
            ("10.0.0.1 10.0.0.2", None, "10.0.0.1 10.0.0.2"),
            ("::2 10.0.0.1 ::3", four, "10.0.0.1"),
            ("::2 10.0.0.1 ::3", six, "::2 ::3"),
        ] {
            assert_eq!(reachable(&all(addresses), source).unwrap(), all(wanted), "{addresses}");
        }
        for (addresses, source, reason) in [
            ("::2 ::3", four, Reason::ConfigError),
            ("10.0.0.1", six, Reason::ConfigError),
            ("", four, Reason::DnsNoAddress),
            ("", None, Reason::DnsNoAddress),
        ] {
            assert_eq!(reachable(&all(addresses), source).unwrap_err().reason, reason);
        }
    }

    #[test]
    fn what_goes_wrong_before_anything_is_sent_is_never_the_targets() {
        use rustix::io::Errno;
        for (errno, reason) in [
            (Errno::ACCESS, Reason::ConfigError),
            (Errno::AFNOSUPPORT, Reason::ConfigError),
            (Errno::INVAL, Reason::ConfigError),
            (Errno::ADDRINUSE, Reason::ProbeResources),
            (Errno::MFILE, Reason::ProbeResources),
        ] {
            let error = Error::from_raw_os_error(errno.raw_os_error());
            assert_eq!(own(&error, "what".to_owned()).reason, reason, "{error}");
        }
    }

    /// A listener whose queue is full: the kernel drops further connects, as a firewall does.
    fn blackhole() -> (SocketAddr, Vec<std::net::TcpStream>, socket2::Socket) {
        let full =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        full.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        full.listen(0).unwrap();
        let address = full.local_addr().unwrap().as_socket().unwrap();
        let mut queued = vec![];
        let patience = Duration::from_millis(300);
        while let Ok(stream) = std::net::TcpStream::connect_timeout(&address, patience) {
            queued.push(stream);
            assert!(queued.len() < 100);
        }
        (address, queued, full)
    }

    fn wanted(timeout: Duration) -> Wanted {
        Wanted { source: None, timeout }
    }

    fn allowed(addresses: &[IpAddr], port: u16) -> Vec<Allowed> {
        let admit = |ip: &IpAddr| Guard::default().admit(SocketAddr::new(*ip, port)).unwrap();
        addresses.iter().map(admit).collect()
    }

    #[tokio::test]
    async fn one_address_that_swallows_packets_does_not_use_up_the_run() {
        let (silent, _queued, _full) = blackhole();
        let good = SocketAddr::from(([127, 0, 0, 2], silent.port()));
        let _listening = std::net::TcpListener::bind(good).unwrap();
        let addresses = [silent.ip(), good.ip()];
        // A quarter of a second later, or sooner when the run is short.
        for timeout in [Duration::from_secs(20), Duration::from_millis(600)] {
            let mut trace = Trace::default();
            let wanted = wanted(timeout);
            let addresses = allowed(&addresses, silent.port());
            let stream = tokio::time::timeout(
                Duration::from_secs(20),
                connect(&addresses, wanted, &mut trace),
            );
            let stream = stream.await.expect("the second address").unwrap();
            assert_eq!(stream.peer_addr().unwrap(), good);
            assert_eq!(trace.remote, Some(good));
            let (_, _, took) = trace.phases[0];
            assert!(took >= CONNECT_NEXT_AFTER.min(timeout / 3), "{took:?}");
        }
    }

    #[tokio::test]
    async fn the_failure_that_got_furthest_is_told() {
        let (silent, _queued, _full) = blackhole();
        // Nobody listens on this port of the other address.
        let addresses = ["127.0.0.3".parse().unwrap(), silent.ip()];
        let mut trace = Trace::default();
        let wanted = wanted(Duration::from_millis(600));
        let allowed = allowed(&addresses, silent.port());
        let trying = connect(&allowed, wanted, &mut trace);
        assert!(tokio::time::timeout(wanted.timeout, trying).await.is_err());
        assert_eq!(trace.refusal.unwrap().reason, Reason::ConnectRefused);
        assert_eq!(trace.remote.unwrap().ip(), addresses[0]);
        assert!(distance(Reason::ConnectTimeout) < distance(Reason::ConnectRefused));
        assert!(distance(Reason::ConnectUnreachable) < distance(Reason::ConnectTimeout));
        assert!(distance(Reason::ConfigError) < distance(Reason::ConnectDenied));
    }
}
