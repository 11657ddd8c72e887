//! A webhook receiver with moods: it takes pages, refuses, asks for patience, resets, hangs, takes one and
//! loses the answer, closes its door, or has its packets swallowed.
//!
//! It can hold a [`Trap`]: whoever set it has a process killed at one step of a page's way, seen from
//! the receiver. What a receiver has shown to somebody is what it took, answered or not.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use parallax_runtime::clock;
use parallax_runtime::supervisor::{Supervisor, TaskKind};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::Value;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_util::sync::CancellationToken;

use super::http;
use super::wait::{Look, SOON, wait_until};

/// Longest that a receiver hangs: longer than any sender waits.
const HANGS: Duration = Duration::from_secs(30);
/// Connections that the system accepts for a receiver whose packets are swallowed, before it drops them.
const SWALLOWS_AFTER: u32 = 1;
/// How long a connect on this machine may take before its packets count as swallowed.
const CONNECTS_WITHIN: Duration = Duration::from_millis(300);

/// What becomes of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Shown, and answered with 200.
    Take,
    /// Shown, and the connection is reset instead of an answer.
    TakeAndReset,
    /// Not shown; answered with this status, and a `Retry-After` of 1 s.
    Refuse(u16),
    /// Not shown, and the connection is reset.
    Reset,
    /// Not shown, and never answered.
    Hang,
}

impl Manner {
    fn shows(self) -> bool {
        matches!(self, Self::Take | Self::TakeAndReset)
    }
}

/// Manners and how often each of them comes, as parts of the sum.
pub type Moods = Vec<(u32, Manner)>;

/// One request that was read.
#[derive(Debug, Clone)]
pub struct Said {
    /// `Idempotency-Key`.
    pub key: String,
    /// `kind` of the body.
    pub kind: String,
    /// `incident.uid` of the body.
    pub incident: String,
    /// `incident.check` of the body, empty for incidents of the mesh.
    pub check: String,
    /// The whole body.
    pub body: Value,
    /// Whether somebody has seen it.
    pub shown: bool,
    /// When its last byte had arrived.
    pub at: Instant,
}

/// Where on a page's way a process is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It has connected, and nothing was read: nothing is shown.
    Connected,
    /// Everything was read and is shown, and nothing answered.
    Received,
    /// So long after the answer was written: before, while or after it is committed.
    Answered(Duration),
}

impl Step {
    fn is_like(self, other: Self) -> bool {
        std::mem::discriminant(&self) == std::mem::discriminant(&other)
    }
}

/// One process to kill, at one step of the next page that comes so far at any of the receivers that
/// share it.
#[derive(Debug, Default)]
pub struct Trap {
    armed: Mutex<Option<(Step, u32)>>,
    sprung: Mutex<Option<(Step, Instant)>>,
}

impl Trap {
    /// Sets it for a process that the caller keeps until it has taken the trap away or found it sprung.
    pub fn set(&self, step: Step, pid: u32) {
        *lock(&self.armed) = Some((step, pid));
    }

    /// Takes it away. False: it was sprung, or is about to be.
    pub fn take_away(&self) -> bool {
        lock(&self.armed).take().is_some()
    }

    /// The step at which it has killed since this was asked last, and when that was begun.
    pub fn sprung(&self) -> Option<(Step, Instant)> {
        lock(&self.sprung).take()
    }

    /// A page came so far. True: its sender may be dead by now.
    async fn reach(&self, step: Step) -> bool {
        let armed = {
            let mut armed = lock(&self.armed);
            armed.take_if(|(at, _)| at.is_like(step))
        };
        let Some((at, pid)) = armed else { return false };
        if let Step::Answered(after) = at {
            // The moment of the kill is the story's input, not something to wait for.
            tokio::time::sleep(after).await;
        }
        let begun = clock::instant();
        let mut kill = tokio::process::Command::new("sh");
        kill.args(["-c", "kill -s KILL \"$0\"", &pid.to_string()]).stdin(Stdio::null());
        // The owner of the process finds out when this failed: it is still there.
        kill.status().await.ok();
        *lock(&self.sprung) = Some((at, begun));
        true
    }
}

#[derive(Debug)]
struct Inner {
    moods: Moods,
    random: StdRng,
    said: Vec<Said>,
}

/// Where a contact leads. It ends with its owner.
#[derive(Debug)]
pub struct Receiver {
    address: SocketAddr,
    inner: Arc<Mutex<Inner>>,
    trap: Arc<Trap>,
    supervisor: Supervisor,
    /// The open door.
    door: Option<CancellationToken>,
    /// The door whose packets are swallowed, and what fills it.
    hole: Option<(TcpListener, Vec<TcpStream>)>,
}

impl Receiver {
    /// A receiver with these moods, on a port of the system's choice. `seed` decides when it has which.
    ///
    /// # Errors
    /// When no port can be bound.
    pub fn start(moods: Moods, seed: u64, trap: Arc<Trap>) -> Result<Self> {
        let listener = http::listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let inner = Inner { moods, random: StdRng::seed_from_u64(seed), said: Vec::new() };
        let mut receiver = Self {
            address: listener.local_addr()?,
            inner: Arc::new(Mutex::new(inner)),
            trap,
            supervisor: Supervisor::default(),
            door: None,
            hole: None,
        };
        receiver.accept_on(listener);
        Ok(receiver)
    }

    /// Where it listens, as a URL.
    pub fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    /// Takes every page from now on, without exception.
    pub fn cheers_up(&self) {
        lock(&self.inner).moods = vec![(1, Manner::Take)];
    }

    /// Everything it has read, in order.
    pub fn said(&self) -> Vec<Said> {
        lock(&self.inner).said.clone()
    }

    /// Whether its door is open.
    pub fn is_open(&self) -> bool {
        self.door.is_some()
    }

    /// Closes its door: every connect is refused.
    pub fn refuse(&mut self) {
        if let Some(door) = self.door.take() {
            door.cancel();
        }
    }

    /// Opens the door that was closed, or lets the packets through that were swallowed.
    ///
    /// # Errors
    /// When the port was taken meanwhile.
    pub async fn hear(&mut self) -> Result<()> {
        if let Some((listener, fillers)) = self.hole.take() {
            drop(fillers);
            socket2::SockRef::from(&listener).listen(1_024)?;
            self.accept_on(listener);
        }
        if self.door.is_none() {
            let listener = self.bind(1_024).await?;
            self.accept_on(listener);
        }
        Ok(())
    }

    /// From now on nobody gets an answer from the system either: packets of new connections are dropped.
    ///
    /// # Errors
    /// When the system goes on to answer.
    pub async fn swallow(&mut self) -> Result<()> {
        self.refuse();
        let listener = self.bind(SWALLOWS_AFTER).await?;
        let mut fillers = Vec::new();
        // The queue of those that nobody accepts is full sooner or later; then SYNs are dropped.
        for _ in 0..16 {
            let connect = TcpStream::connect(self.address);
            match tokio::time::timeout(CONNECTS_WITHIN, connect).await {
                Ok(connected) => fillers.push(connected?),
                Err(_) => {
                    self.hole = Some((listener, fillers));
                    return Ok(());
                }
            }
        }
        anyhow::bail!("{} still answers", self.address)
    }

    /// The task that held the port before may be about to end.
    async fn bind(&self, backlog: u32) -> Result<TcpListener> {
        wait_until(SOON, "a port that was in use", || async {
            let socket = TcpSocket::new_v4()?;
            socket.set_reuseaddr(true)?;
            socket.bind(self.address).with_context(|| format!("cannot bind {}", self.address))?;
            Ok(Look::Holds(socket.listen(backlog)?))
        })
        .await
    }

    fn accept_on(&mut self, listener: TcpListener) {
        let until = self.supervisor.stop_token().child_token();
        self.door = Some(until.clone());
        let (inner, trap) = (Arc::clone(&self.inner), Arc::clone(&self.trap));
        let tasks = self.supervisor.clone();
        self.supervisor.spawn(TaskKind::Session("receiver"), async move {
            loop {
                let accepted = tokio::select! {
                    () = until.cancelled() => return,
                    accepted = listener.accept() => accepted,
                };
                let Ok((stream, _)) = accepted else { continue }; // gone before we looked
                let (inner, trap) = (Arc::clone(&inner), Arc::clone(&trap));
                let stop = tasks.stop_token();
                tasks.spawn(TaskKind::Session("page received"), async move {
                    tokio::select! {
                        () = stop.cancelled() => {}
                        () = serve(stream, &inner, &trap) => {}
                    }
                });
            }
        });
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.supervisor.stop();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(mut stream: TcpStream, inner: &Mutex<Inner>, trap: &Trap) {
    if trap.reach(Step::Connected).await {
        return;
    }
    let Ok(Some(request)) = http::read_request(&mut stream).await else { return };
    let at = clock::instant();
    let body: Value = serde_json::from_slice(&request.body).unwrap_or(Value::Null);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let manner = {
        let mut inner = lock(inner);
        let manner = inner.draw();
        inner.said.push(Said {
            key: request.headers.get("idempotency-key").cloned().unwrap_or_default(),
            kind: text(&body["kind"]),
            incident: text(&body["incident"]["uid"]),
            check: text(&body["incident"]["check"]),
            body,
            shown: manner.shows(),
            at,
        });
        manner
    };
    if manner.shows() {
        trap.reach(Step::Received).await;
    }
    // A sender that left before the answer is the sender's business.
    match manner {
        Manner::Take => {
            drop(http::answer(&mut stream, 200, "thanks").await);
            trap.reach(Step::Answered(Duration::ZERO)).await;
        }
        Manner::Refuse(status) => drop(http::answer_later(&mut stream, status, 1).await),
        Manner::TakeAndReset | Manner::Reset => http::reset(stream),
        Manner::Hang => tokio::time::sleep(HANGS).await,
    }
}

impl Inner {
    fn draw(&mut self) -> Manner {
        let sum: u32 = self.moods.iter().map(|(parts, _)| parts).sum();
        let mut at = self.random.random_range(0..sum.max(1));
        for (parts, manner) in &self.moods {
            if at < *parts {
                return *manner;
            }
            at -= parts;
        }
        Manner::Take
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::harness::process::Process;

    /// Sends a page; the answer's first line, or what went wrong.
    async fn page(receiver: &Receiver) -> std::io::Result<String> {
        let body = r#"{"kind":"opened","incident":{"uid":"i","check":"c"}}"#;
        let mut stream = TcpStream::connect(receiver.address).await?;
        let head = format!(
            "POST /hook HTTP/1.1\r\nIdempotency-Key: k\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(head.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    }

    fn moody(manner: Manner) -> Result<Receiver> {
        Receiver::start(vec![(1, manner)], 1, Arc::default())
    }

    #[tokio::test]
    async fn each_manner_answers_and_shows_as_it_says() -> Result<()> {
        for (manner, answer, shown) in [
            (Manner::Take, Ok("HTTP/1.1 200"), true),
            (Manner::TakeAndReset, Err(ErrorKind::ConnectionReset), true),
            (Manner::Refuse(429), Ok("HTTP/1.1 429"), false),
            (Manner::Reset, Err(ErrorKind::ConnectionReset), false),
        ] {
            let receiver = moody(manner)?;
            match (page(&receiver).await, answer) {
                (Ok(said), Ok(wanted)) => assert!(said.starts_with(wanted), "{manner:?}: {said}"),
                (said, wanted) => {
                    assert_eq!(said.err().map(|error| error.kind()), wanted.err(), "{manner:?}");
                }
            }
            let said = receiver.said();
            assert_eq!(said.len(), 1);
            assert_eq!((said[0].shown, said[0].key.as_str()), (shown, "k"), "{manner:?}");
            assert_eq!((said[0].incident.as_str(), said[0].check.as_str()), ("i", "c"));
        }
        Ok(())
    }

    #[tokio::test]
    async fn a_door_is_closed_opened_and_its_packets_swallowed() -> Result<()> {
        let mut receiver = moody(Manner::Take)?;
        receiver.refuse();
        wait_until(SOON, "a refused connect", || async {
            let kind = page(&receiver).await.err().map(|error| error.kind());
            Ok(Look::when(kind == Some(ErrorKind::ConnectionRefused), kind))
        })
        .await?;
        receiver.swallow().await?;
        let swallowed = tokio::time::timeout(CONNECTS_WITHIN, page(&receiver)).await;
        assert!(swallowed.is_err(), "{swallowed:?}");
        receiver.hear().await?;
        assert!(page(&receiver).await?.starts_with("HTTP/1.1 200"));
        Ok(())
    }

    #[tokio::test]
    async fn a_trap_kills_at_its_step_and_nowhere_else() -> Result<()> {
        let dir = tempfile::tempdir()?;
        for (step, shown) in
            [(Step::Connected, 1), (Step::Received, 2), (Step::Answered(Duration::ZERO), 2)]
        {
            let trap = Arc::new(Trap::default());
            let receiver = Receiver::start(vec![(1, Manner::Take)], 1, Arc::clone(&trap))?;
            page(&receiver).await?;
            assert_eq!(trap.sprung(), None);
            let mut victim =
                Process::start("victim", "sleep", ["100"], &[], &dir.path().join("log"))?;
            trap.set(step, victim.id());
            let _ = page(&receiver).await; // who asks is not who is killed, and may get an answer
            let sprung = wait_until(SOON, "a sprung trap", || async {
                Ok(Look::some(trap.sprung(), "still set"))
            });
            assert_eq!(sprung.await?.0, step);
            wait_until(SOON, "the end of the victim", || {
                let ended = victim.ended();
                async move { Ok(Look::some(ended?, "it goes on")) }
            })
            .await?;
            assert_eq!(receiver.said().len(), shown, "{step:?}");
            assert!(!trap.take_away(), "{step:?}: it is gone");
        }
        Ok(())
    }
}
