//! A target that fails on command, for everybody or for some source addresses.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Result;
use parallax_runtime::supervisor::{Supervisor, TaskKind};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::http;

/// What the target does with a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    /// Answers 200.
    Well,
    /// Answers with this status.
    Status(u16),
    /// Reads the request and resets the connection.
    Reset,
    /// Reads the request and never answers.
    Hang,
    /// Answers 200 after this long.
    Slow(Duration),
}

/// What the accept loop and the test both see.
#[derive(Debug)]
struct Shared {
    everybody: Behaviour,
    by_source: BTreeMap<IpAddr, Behaviour>,
    requests: BTreeMap<IpAddr, u64>,
}

/// An HTTP server under a test's control. It ends with its owner.
#[derive(Debug)]
pub struct Target {
    address: SocketAddr,
    shared: Arc<Mutex<Shared>>,
    supervisor: Supervisor,
    listening: Option<CancellationToken>,
}

impl Target {
    /// A well target on a port of the system's choice.
    ///
    /// # Errors
    /// When no port can be bound.
    pub fn start() -> Result<Self> {
        let listener = http::listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let mut target = Self {
            address: listener.local_addr()?,
            shared: Arc::new(Mutex::new(Shared {
                everybody: Behaviour::Well,
                by_source: BTreeMap::new(),
                requests: BTreeMap::new(),
            })),
            supervisor: Supervisor::default(),
            listening: None,
        };
        target.accept_on(listener);
        Ok(target)
    }

    /// `http://127.0.0.1:port/`.
    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// `127.0.0.1:port`.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How everybody is treated who is not named in [`Target::treat`].
    pub fn treat_everybody(&self, behaviour: Behaviour) {
        self.lock().everybody = behaviour;
    }

    /// How connections from one source address are treated.
    pub fn treat(&self, source: IpAddr, behaviour: Behaviour) {
        self.lock().by_source.insert(source, behaviour);
    }

    /// Closes the listener: every connect is refused.
    pub fn refuse(&mut self) {
        if let Some(listening) = self.listening.take() {
            listening.cancel();
        }
    }

    /// Well again, for everybody, on the same port.
    ///
    /// # Errors
    /// When the port was taken meanwhile.
    pub fn heal(&mut self) -> Result<()> {
        {
            let mut shared = self.lock();
            shared.everybody = Behaviour::Well;
            shared.by_source.clear();
        }
        if self.listening.is_none() {
            let listener = http::listen(self.address)?;
            self.accept_on(listener);
        }
        Ok(())
    }

    /// Requests read so far from one source address.
    pub fn requests_from(&self, source: IpAddr) -> u64 {
        self.lock().requests.get(&source).copied().unwrap_or(0)
    }

    /// Requests read so far.
    pub fn requests(&self) -> u64 {
        self.lock().requests.values().sum()
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn accept_on(&mut self, listener: tokio::net::TcpListener) {
        let until = self.supervisor.stop_token().child_token();
        self.listening = Some(until.clone());
        let shared = Arc::clone(&self.shared);
        let supervisor = self.supervisor.clone();
        self.supervisor.spawn(TaskKind::Session("target"), async move {
            loop {
                let (stream, peer) = tokio::select! {
                    () = until.cancelled() => return,
                    accepted = listener.accept() => match accepted {
                        Ok(accepted) => accepted,
                        Err(_) => continue, // the peer was gone before we looked
                    },
                };
                let shared = Arc::clone(&shared);
                let stop = supervisor.stop_token();
                supervisor.spawn(TaskKind::Session("target connection"), async move {
                    tokio::select! {
                        () = stop.cancelled() => {}
                        () = serve(stream, peer.ip(), &shared) => {}
                    }
                });
            }
        });
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.supervisor.stop();
    }
}

async fn serve(mut stream: TcpStream, source: IpAddr, shared: &Mutex<Shared>) {
    // A probe that gave up while it connected is its own business.
    let Ok(Some(_)) = http::read_request(&mut stream).await else { return };
    let behaviour = {
        let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
        *shared.requests.entry(source).or_default() += 1;
        shared.by_source.get(&source).copied().unwrap_or(shared.everybody)
    };
    let answered = match behaviour {
        Behaviour::Well => http::answer(&mut stream, 200, "well").await,
        Behaviour::Status(status) => http::answer(&mut stream, status, "broken").await,
        Behaviour::Reset => {
            http::reset(stream);
            return;
        }
        Behaviour::Hang => {
            std::future::pending::<()>().await;
            return;
        }
        Behaviour::Slow(by) => {
            tokio::time::sleep(by).await;
            http::answer(&mut stream, 200, "well, at last").await
        }
    };
    drop(answered); // a peer that left before the answer is the peer's business
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn ask(address: SocketAddr) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(b"GET / HTTP/1.1\r\nhost: target\r\n\r\n").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    }

    #[tokio::test]
    async fn a_target_answers_refuses_resets_and_heals_on_command() -> Result<()> {
        let mut target = Target::start()?;
        assert!(ask(target.address()).await?.starts_with("HTTP/1.1 200"));

        target.treat(IpAddr::V4(Ipv4Addr::LOCALHOST), Behaviour::Status(503));
        assert!(ask(target.address()).await?.starts_with("HTTP/1.1 503"));

        target.treat(IpAddr::V4(Ipv4Addr::LOCALHOST), Behaviour::Reset);
        let error = ask(target.address()).await.err().map(|error| error.kind());
        assert_eq!(error, Some(std::io::ErrorKind::ConnectionReset));

        target.refuse();
        super::super::wait::wait_until(super::super::wait::SOON, "a refused connect", || async {
            let kind = ask(target.address()).await.err().map(|error| error.kind());
            let refused = kind == Some(std::io::ErrorKind::ConnectionRefused);
            Ok(super::super::wait::Look::when(refused, kind))
        })
        .await?;

        target.heal()?;
        assert!(ask(target.address()).await?.starts_with("HTTP/1.1 200"));
        assert_eq!(target.requests(), 4);
        Ok(())
    }
}
