//! The demo target: a small web server that fails as it is told, for whom it is told.
//!
//! Who looks at it is known before a request is served: from the address that the connection comes
//! from, or from a header that is looked at and left in the socket.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::{Response, StatusCode};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use parallax_runtime::supervisor::{Supervisor, TaskKind};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use crate::dev::fault::{Faults, Mode, SLOW};
use crate::dev::place::{REGION_HEADER, Sources};

/// Connections at once; more wait in the accept queue. Five probes need a few.
const CONNECTIONS_MAX: usize = 512;
/// A connection that hangs, or does not say what it wants, is closed after this.
const PATIENCE: Duration = Duration::from_secs(60);
/// Bytes in which the region's header must come.
const HEAD_BYTES_MAX: usize = 8 * 1024;

/// Binds this loopback port (0: any) and serves it until the stop; gives back where. While every region is
/// refused nobody listens, and connections are refused by the system itself.
pub async fn serve(
    port: u16,
    sources: Sources,
    faults: watch::Receiver<Faults>,
    supervisor: &Supervisor,
) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    let address = listener.local_addr()?;
    let target = Arc::new(Target {
        sources,
        faults,
        connections: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
        supervisor: supervisor.clone(),
    });
    supervisor.spawn(TaskKind::Session("target"), target.run(listener, address));
    Ok(address)
}

struct Target {
    sources: Sources,
    faults: watch::Receiver<Faults>,
    connections: Arc<Semaphore>,
    supervisor: Supervisor,
}

impl Target {
    async fn run(self: Arc<Self>, listener: TcpListener, address: SocketAddr) {
        let stop = self.supervisor.stop_token();
        let mut faults = self.faults.clone();
        let mut listener = Some(listener);
        loop {
            if faults.borrow_and_update().closed() {
                listener = None;
            } else if listener.is_none() {
                match TcpListener::bind(address).await {
                    Ok(bound) => listener = Some(bound),
                    Err(error) => {
                        tracing::warn!(%error, %address, "the target cannot listen again yet");
                        tokio::select! {
                            () = stop.cancelled() => return,
                            () = tokio::time::sleep(Duration::from_millis(100)) => continue,
                        }
                    }
                }
            }
            tokio::select! {
                () = stop.cancelled() => return,
                // The sender lives as long as the mesh; without it nothing changes any more.
                changed = faults.changed() => if changed.is_err() { return },
                () = self.accept_one(listener.as_ref()) => {}
            }
        }
    }

    async fn accept_one(self: &Arc<Self>, listener: Option<&TcpListener>) {
        let Some(listener) = listener else { return std::future::pending().await };
        let Ok(permit) = Arc::clone(&self.connections).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, remote)) => {
                let target = Arc::clone(self);
                self.supervisor.spawn(TaskKind::Session("target connection"), async move {
                    let stop = target.supervisor.stop_token();
                    let served = target.connection(stream, remote, &stop);
                    tokio::select! {
                        () = stop.cancelled() => {}
                        _ = tokio::time::timeout(PATIENCE, served) => {}
                    }
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the target cannot accept");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }

    async fn connection(&self, stream: TcpStream, remote: SocketAddr, stop: &CancellationToken) {
        let region = match &self.sources {
            Sources::Addresses(known) => known.get(&remote.ip()).copied().map(str::to_owned),
            Sources::Header => match region_of(&stream).await {
                Ok(region) => region,
                Err(_) => return, // gone, or not HTTP
            },
        };
        let mode = self.faults.borrow().of(region.as_deref());
        match mode {
            Some(Mode::Refuse) => {
                // Closing sends a reset instead of a goodbye.
                let _ = stream.set_zero_linger();
            }
            Some(Mode::Hang) => hang(&stream, stop).await,
            Some(Mode::Status) => http(stream, StatusCode::SERVICE_UNAVAILABLE, None).await,
            Some(Mode::Slow) => http(stream, StatusCode::OK, Some(SLOW)).await,
            None => http(stream, StatusCode::OK, None).await,
        }
    }
}

/// Reads and says nothing until the other end has gone.
async fn hang(stream: &TcpStream, stop: &CancellationToken) {
    let mut heard = [0; 1024];
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            ready = stream.readable() => if ready.is_err() { return },
        }
        match stream.try_read(&mut heard) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}

/// The region that the request's head names, without taking it out of the socket.
async fn region_of(stream: &TcpStream) -> io::Result<Option<String>> {
    let mut head = vec![0; HEAD_BYTES_MAX];
    let mut seen = 0;
    loop {
        let length = stream.peek(&mut head).await?;
        let text = String::from_utf8_lossy(&head[..length]).to_ascii_lowercase();
        if let Some((head, _)) = text.split_once("\r\n\r\n") {
            let named = head.lines().find_map(|line| line.strip_prefix(REGION_HEADER));
            return Ok(named
                .and_then(|rest| rest.strip_prefix(':'))
                .map(|it| it.trim().to_owned()));
        }
        if length == 0 || length == HEAD_BYTES_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        if length == seen {
            // Half a head lies there: what is peeked at again at once is the same.
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        seen = length;
    }
}

async fn http(stream: TcpStream, status: StatusCode, late: Option<Duration>) {
    let service = service_fn(move |_request| async move {
        if let Some(late) = late {
            tokio::time::sleep(late).await;
        }
        let body = match status {
            StatusCode::OK => "{\"status\":\"ok\"}\n",
            _ => "{\"status\":\"broken by parallax dev\"}\n",
        };
        let mut response = Response::new(Full::new(Bytes::from_static(body.as_bytes())));
        *response.status_mut() = status;
        let json = http::HeaderValue::from_static("application/json");
        response.headers_mut().insert(http::header::CONTENT_TYPE, json);
        Ok::<_, Infallible>(response)
    });
    let mut builder = http1::Builder::new();
    // Each look is a new connection, and the fault of the moment is that of the connection.
    builder.keep_alive(false).timer(TokioTimer::new());
    if let Err(error) = builder.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(%error, "a look at the target ended early");
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpSocket;

    use super::*;
    use crate::dev::place::REGIONS;

    /// What a look at the target comes to.
    #[derive(Debug, PartialEq)]
    enum Seen {
        Refused,
        Reset,
        Nothing,
        Status(u16),
    }

    async fn look(address: SocketAddr, from: Option<IpAddr>, header: &str) -> Seen {
        let socket = TcpSocket::new_v4().unwrap();
        if let Some(from) = from {
            socket.bind(SocketAddr::new(from, 0)).unwrap();
        }
        let Ok(mut stream) = socket.connect(address).await else { return Seen::Refused };
        let request = format!("GET / HTTP/1.1\r\nhost: t\r\n{header}\r\n");
        if stream.write_all(request.as_bytes()).await.is_err() {
            return Seen::Reset;
        }
        let mut answer = String::new();
        let read = stream.read_to_string(&mut answer);
        match tokio::time::timeout(SLOW * 2, read).await {
            Err(_) => Seen::Nothing,
            Ok(Err(_)) => Seen::Reset,
            Ok(Ok(_)) => Seen::Status(answer[9..12].parse().unwrap()),
        }
    }

    fn broken(faults: &watch::Sender<Faults>, regions: &[&str], mode: Mode) {
        let regions: Vec<String> = regions.iter().map(|&region| region.to_owned()).collect();
        faults.send_modify(|faults| {
            *faults = Faults::default();
            faults.break_for(&regions, mode).unwrap();
        });
    }

    async fn until_seen(wanted: Seen, address: SocketAddr, from: Option<IpAddr>) {
        let tries = async { while look(address, from, "").await != wanted {} };
        tokio::time::timeout(Duration::from_secs(5), tries).await.expect("it was never seen");
    }

    #[tokio::test]
    async fn it_fails_as_it_is_told_for_the_addresses_of_a_region() {
        let sources = Sources::of_system();
        let (eu, us) = (sources.address("eu-west"), sources.address("us-east"));
        assert!(eu.is_some() && us.is_some(), "this system has no 127/8: nothing to test here");
        let supervisor = Supervisor::default();
        let (faults, seen) = watch::channel(Faults::default());
        let address = serve(0, sources, seen, &supervisor).await.unwrap();
        assert_eq!(look(address, eu, "").await, Seen::Status(200));
        for (mode, wanted) in [
            (Mode::Refuse, Seen::Reset),
            (Mode::Hang, Seen::Nothing),
            (Mode::Status, Seen::Status(503)),
            (Mode::Slow, Seen::Status(200)),
        ] {
            broken(&faults, &["eu-west"], mode);
            let began = parallax_runtime::clock::instant();
            assert_eq!(look(address, eu, "").await, wanted, "{mode:?}");
            assert!(mode != Mode::Slow || began.elapsed() >= SLOW);
            assert_eq!(look(address, us, "").await, Seen::Status(200), "{mode:?}");
            assert_eq!(look(address, None, "").await, Seen::Status(200), "{mode:?}");
        }
        supervisor.stop();
        assert!(supervisor.join(Duration::from_secs(5)).await);
    }

    #[tokio::test]
    async fn when_every_region_is_refused_nobody_listens_until_it_heals() {
        let sources = Sources::of_system();
        let eu = sources.address("eu-west");
        let supervisor = Supervisor::default();
        let (faults, seen) = watch::channel(Faults::default());
        let address = serve(0, sources, seen, &supervisor).await.unwrap();
        for _ in 0..3 {
            broken(&faults, &REGIONS, Mode::Refuse);
            until_seen(Seen::Refused, address, eu).await;
            faults.send_replace(Faults::default());
            until_seen(Seen::Status(200), address, eu).await;
        }
        supervisor.stop();
        assert!(supervisor.join(Duration::from_secs(5)).await);
    }

    #[tokio::test]
    async fn where_addresses_are_scarce_the_header_says_the_region() {
        let supervisor = Supervisor::default();
        let (faults, seen) = watch::channel(Faults::default());
        let address = serve(0, Sources::Header, seen, &supervisor).await.unwrap();
        let (eu, us) = ("X-Parallax-Region: eu-west\r\n", "x-parallax-region: us-east\r\n");
        broken(&faults, &["eu-west"], Mode::Status);
        assert_eq!(look(address, None, eu).await, Seen::Status(503));
        assert_eq!(look(address, None, us).await, Seen::Status(200));
        assert_eq!(look(address, None, "").await, Seen::Status(200));
        broken(&faults, &["eu-west"], Mode::Refuse);
        assert_eq!(look(address, None, eu).await, Seen::Reset);
        assert_eq!(look(address, None, us).await, Seen::Status(200));
        supervisor.stop();
        assert!(supervisor.join(Duration::from_secs(5)).await);
    }
}
