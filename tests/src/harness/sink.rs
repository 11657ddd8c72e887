//! A webhook sink that remembers every request, and answers, hangs or breaks on command.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anyhow::Result;
use parallax_runtime::clock;
use parallax_runtime::supervisor::{Supervisor, TaskKind};
use serde_json::Value;
use tokio::net::TcpStream;

use super::http::{self, Request};

/// What the sink does with a request, after it has remembered it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Answers with this status.
    Answer(u16),
    /// Never answers.
    Hang,
    /// Resets the connection.
    Break,
}

/// One request that reached the sink.
#[derive(Debug, Clone)]
pub struct Page {
    /// `Idempotency-Key`.
    pub key: String,
    /// `kind` of the body: `opened`, `resolved`, `combined`.
    pub kind: String,
    /// `incident.check` of the body, empty for incidents of the mesh.
    pub check: String,
    /// The whole body.
    pub body: Value,
    /// How it was treated.
    pub manner: Manner,
    /// When its last byte had arrived.
    pub at: Instant,
}

#[derive(Debug)]
struct Shared {
    manner: Manner,
    pages: Vec<Page>,
}

/// Where a contact's webhook points in tests. It ends with its owner.
#[derive(Debug)]
pub struct Sink {
    address: SocketAddr,
    shared: Arc<Mutex<Shared>>,
    supervisor: Supervisor,
}

impl Sink {
    /// A sink that answers 200, on a port of the system's choice.
    ///
    /// # Errors
    /// When no port can be bound.
    pub fn start() -> Result<Self> {
        Self::start_at(Ipv4Addr::LOCALHOST)
    }

    /// The same, at an address of this machine's choice.
    ///
    /// # Errors
    /// When no port can be bound there.
    pub fn start_at(ip: Ipv4Addr) -> Result<Self> {
        let listener = http::listen(SocketAddr::from((ip, 0)))?;
        let sink = Self {
            address: listener.local_addr()?,
            shared: Arc::new(Mutex::new(Shared { manner: Manner::Answer(200), pages: Vec::new() })),
            supervisor: Supervisor::default(),
        };
        let shared = Arc::clone(&sink.shared);
        let supervisor = sink.supervisor.clone();
        sink.supervisor.spawn(TaskKind::Session("sink"), async move {
            let stop = supervisor.stop_token();
            loop {
                let stream = tokio::select! {
                    () = stop.cancelled() => return,
                    accepted = listener.accept() => match accepted {
                        Ok((stream, _)) => stream,
                        Err(_) => continue, // the peer was gone before we looked
                    },
                };
                let (shared, stop) = (Arc::clone(&shared), stop.clone());
                supervisor.spawn(TaskKind::Session("sink connection"), async move {
                    tokio::select! {
                        () = stop.cancelled() => {}
                        () = serve(stream, &shared) => {}
                    }
                });
            }
        });
        Ok(sink)
    }

    /// Where it listens, as a URL.
    pub fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    /// How requests are treated from now on.
    pub fn behave(&self, manner: Manner) {
        self.lock().manner = manner;
    }

    /// Every request so far, in order of arrival.
    pub fn pages(&self) -> Vec<Page> {
        self.lock().pages.clone()
    }

    /// The pages of one check.
    pub fn pages_of(&self, check: &str) -> Vec<Page> {
        self.pages().into_iter().filter(|page| page.check == check).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.supervisor.stop();
    }
}

async fn serve(mut stream: TcpStream, shared: &Mutex<Shared>) {
    let Ok(Some(request)) = http::read_request(&mut stream).await else { return };
    let at = clock::instant();
    let manner = {
        let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
        let manner = shared.manner;
        shared.pages.push(page(&request, manner, at));
        manner
    };
    match manner {
        // A sender that left before the answer is the sender's business.
        Manner::Answer(status) => drop(http::answer(&mut stream, status, "thanks").await),
        Manner::Hang => std::future::pending::<()>().await,
        Manner::Break => http::reset(stream),
    }
}

fn page(request: &Request, manner: Manner, at: Instant) -> Page {
    let body: Value = serde_json::from_slice(&request.body).unwrap_or(Value::Null);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Page {
        key: request.headers.get("idempotency-key").cloned().unwrap_or_default(),
        kind: text(&body["kind"]),
        check: text(&body["incident"]["check"]),
        body,
        manner,
        at,
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn a_sink_remembers_key_kind_and_check() -> Result<()> {
        let sink = Sink::start()?;
        let body = r#"{"kind":"opened","incident":{"check":"checkout"}}"#;
        let mut stream = TcpStream::connect(sink.address).await?;
        let request = format!(
            "POST /hook HTTP/1.1\r\nIdempotency-Key: k-1\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        let pages = sink.pages_of("checkout");
        assert_eq!(pages.len(), 1);
        assert_eq!((pages[0].key.as_str(), pages[0].kind.as_str()), ("k-1", "opened"));
        Ok(())
    }
}
