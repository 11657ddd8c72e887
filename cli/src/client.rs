//! Calls to a coordinator: which one to dial, what to do when it is away, and who asks.
//!
//! A write carries a request id (client, number): sent again with the same id after a connection
//! broke, it is answered with the stored answer of the first time, never done twice. So every call
//! may be repeated, and is, for as long as `--retry-for` says. Any coordinator takes any call; the one
//! that answered last is asked first. A search that takes longer than an election is talked about.

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parallax_common::limits::{
    CALL_ANSWER_WITHIN, CALL_BACK_OFF_MAX, CALL_BACK_OFF_MIN, CALL_DIAL_WITHIN, CALL_KEEP_ALIVE,
    CALL_QUIET,
};
use parallax_proto::convert::request::shown;
use parallax_proto::v1;
use parallax_runtime::clock;
use parallax_runtime::transport::{self, Connector, Credentials, DialError};
use rand::{RngExt as _, SeedableRng as _};
use tonic::transport::Channel;
use tonic::{Code, Response, Status};

use crate::exit::Failure;

/// Metadata of a refusal that names the rule.
pub const RULE_KEY: &str = "parallax-rule";

/// Why no channel came about.
#[derive(Debug)]
pub struct Undialled {
    /// For a person.
    pub cause: String,
    /// Trying again is in vain: one end does not take the other's certificate.
    pub lasting: bool,
}

impl Undialled {
    fn new(error: &DialError) -> Self {
        Self { cause: chain(error), lasting: error.is_lasting() }
    }
}

/// A channel that is being opened.
pub type Dialling<'a> = Pin<Box<dyn Future<Output = Result<Channel, Undialled>> + Send + 'a>>;

/// Opens connections to coordinators. A seam: commands are tested without certificates.
pub trait Dial: Send + Sync {
    /// Connects to `endpoint`, host:port, or says why it cannot.
    fn dial<'a>(&'a self, endpoint: &'a str) -> Dialling<'a>;
}

/// Dials with the certificates of a directory.
#[derive(Debug)]
pub struct TlsDial {
    credentials: Credentials,
}

impl TlsDial {
    /// Loads `ca.pem`, `cert.pem` and `key.pem`.
    ///
    /// # Errors
    /// [`Failure::Usage`] when they are not there or no good.
    pub fn load(dir: &Path) -> Result<Self, Failure> {
        let credentials = Credentials::load(dir).map_err(|error| {
            let mut text = format!("cannot use the certificates in {}: {error}", dir.display());
            let mut cause = std::error::Error::source(&error);
            while let Some(error) = cause {
                text.push_str(&format!(": {error}"));
                cause = error.source();
            }
            Failure::Usage(text)
        })?;
        Ok(Self { credentials })
    }
}

impl Dial for TlsDial {
    fn dial<'a>(&'a self, endpoint: &'a str) -> Dialling<'a> {
        Box::pin(async move {
            let endpoint = transport::endpoint(endpoint).map_err(|error| Undialled::new(&error))?;
            let connected = endpoint
                .http2_keep_alive_interval(CALL_KEEP_ALIVE)
                .keep_alive_timeout(CALL_KEEP_ALIVE)
                .connect_with_connector(Connector::new(self.credentials.clone()))
                .await;
            connected.map_err(|error| match transport::dial_error(&error) {
                Some(error) => Undialled::new(error),
                None => Undialled { cause: chain(&error), lasting: false },
            })
        })
    }
}

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

/// Says a line to whoever waits.
pub type Say = Arc<dyn Fn(&str) + Send + Sync>;

/// One life of the program as coordinators see it.
pub struct Client {
    dial: Box<dyn Dial>,
    endpoints: Vec<String>,
    at: usize,
    channel: Option<Channel>,
    namespace: Option<String>,
    id: String,
    number: u64,
    retry_for: Duration,
    chance: rand::rngs::SmallRng,
    say: Say,
}

impl Client {
    /// A client with an id of its own. `endpoints` is not empty.
    pub fn new(
        dial: Box<dyn Dial>,
        endpoints: Vec<String>,
        namespace: Option<String>,
        retry_for: Duration,
    ) -> Self {
        // The one draw from the system's source; what this process needs later comes from it.
        let mut chance: rand::rngs::SmallRng = rand::make_rng();
        let id = uuid::Builder::from_random_bytes(chance.random()).into_uuid().to_string();
        let chance = rand::rngs::SmallRng::from_rng(&mut chance);
        Self {
            dial,
            endpoints,
            at: 0,
            channel: None,
            namespace,
            id,
            number: 0,
            retry_for,
            chance,
            say: Arc::new(|_| {}),
        }
    }

    /// The same, which says so when looking for a coordinator takes long.
    pub fn saying(self, say: Say) -> Self {
        Self { say, ..self }
    }

    /// The same, which gives a call up after this long.
    pub fn retrying_for(self, retry_for: Duration) -> Self {
        Self { retry_for, ..self }
    }

    /// The namespace that commands work in.
    pub fn namespace(&self) -> String {
        self.namespace.clone().unwrap_or_else(|| "default".to_owned())
    }

    /// The namespace that a flag, the environment or a context asked for.
    pub fn asked_namespace(&self) -> Option<&str> {
        self.namespace.as_deref()
    }

    /// Works in another namespace from here on.
    pub fn set_namespace(&mut self, namespace: String) {
        self.namespace = Some(namespace);
    }

    /// The id of the next write. There is only one at a time: every earlier answer may be
    /// forgotten.
    pub fn request_id(&mut self) -> v1::RequestId {
        self.number += 1;
        v1::RequestId { client: self.id.clone(), number: self.number, lowest_open: self.number }
    }

    /// Calls until somebody answers. `make` is called once for each attempt and must send the same
    /// request each time, id included. Only what says that nobody is there is tried again; the
    /// next coordinator is asked then. When every one of them does not take our certificate, or we
    /// theirs, the first round is the last.
    ///
    /// # Errors
    /// What the coordinator said, or that none could be reached for as long as `--retry-for`.
    pub async fn call<T, F, A>(
        &mut self,
        request: Option<&v1::RequestId>,
        make: F,
    ) -> Result<T, Failure>
    where
        F: FnMut(Channel) -> A,
        A: Future<Output = Result<Response<T>, Status>>,
    {
        self.attempt(request, make).await.map(Response::into_inner)
    }

    async fn attempt<T, F, A>(
        &mut self,
        request: Option<&v1::RequestId>,
        mut make: F,
    ) -> Result<T, Failure>
    where
        F: FnMut(Channel) -> A,
        A: Future<Output = Result<T, Status>>,
    {
        let started = clock::instant();
        let mut patience = Patience::new(started, self.retry_for, Arc::clone(&self.say));
        let mut wait = CALL_BACK_OFF_MIN;
        let (mut tried, mut first_round, mut hope) = (0, true, false);
        loop {
            let hurry = first_round && self.endpoints.len() > 1;
            let attempt = async {
                match self.channel(hurry).await {
                    Err(undialled) => Err(Away::Undialled(undialled)),
                    Ok(channel) => within(make(channel)).await.map_err(Away::Status),
                }
            };
            let (answered, undialled) = match patience.over(attempt).await {
                Ok(answer) => return Ok(answer),
                Err(Away::Status(status)) if !is_away(&status) => {
                    return Err(refusal(&status, request));
                }
                Err(Away::Status(status)) => (!is_cut(&status), undialled(&status)),
                Err(Away::Undialled(undialled)) => (false, undialled),
            };
            let lasting = undialled.lasting;
            patience.lose(answered, undialled.cause);
            self.channel = None;
            self.at = (self.at + 1) % self.endpoints.len();
            // The whole list is tried once without waiting, wherever in it we began.
            tried += 1;
            let round_done = tried == self.endpoints.len();
            hope |= !lasting;
            let over = started.elapsed() + wait > self.retry_for || !hope;
            if over && round_done {
                let (endpoints, cause) = (self.endpoints.join(", "), patience.cause);
                return Err(Failure::Unreachable { endpoints, cause });
            }
            if round_done {
                // Half to all of it: many clients that lost one coordinator do not come back as one.
                let jittered = wait.mul_f64(self.chance.random_range(0.5..1.0));
                patience.over(tokio::time::sleep(jittered)).await;
                wait = (wait * 2).min(CALL_BACK_OFF_MAX);
                (tried, first_round, hope) = (0, false, false);
            }
        }
    }

    /// Leaves the coordinator that went away and waits a little before the next is asked.
    pub async fn next_endpoint(&mut self) {
        self.channel = None;
        self.at = (self.at + 1) % self.endpoints.len();
        tokio::time::sleep(CALL_BACK_OFF_MIN.mul_f64(self.chance.random_range(0.5..1.0))).await;
    }

    async fn channel(&mut self, hurry: bool) -> Result<Channel, Undialled> {
        if let Some(channel) = &self.channel {
            return Ok(channel.clone());
        }
        let endpoint = &self.endpoints[self.at];
        let dialled = self.dial.dial(endpoint);
        let channel = if hurry {
            tokio::time::timeout(CALL_DIAL_WITHIN, dialled).await.unwrap_or_else(|_| {
                let seconds = CALL_DIAL_WITHIN.as_secs();
                Err(Undialled {
                    cause: format!("no connection within {seconds} s"),
                    lasting: false,
                })
            })?
        } else {
            dialled.await?
        };
        self.channel = Some(channel.clone());
        Ok(channel)
    }
}

/// Why an attempt has no answer.
enum Away {
    Undialled(Undialled),
    Status(Status),
}

/// What a status says that means that nobody answered.
fn undialled(status: &Status) -> Undialled {
    transport::dial_error(status).map_or_else(
        || Undialled { cause: status.message().to_owned(), lasting: false },
        Undialled::new,
    )
}

/// Keeps quiet about a coordinator that is away for as long as another one takes to be elected, then
/// says it once.
struct Patience {
    speaks_at: Instant,
    retry_for: Duration,
    /// Why there is no answer; empty before the first attempt.
    cause: String,
    /// A coordinator said so itself.
    answered: bool,
    say: Option<Say>,
}

impl Patience {
    fn new(started: Instant, retry_for: Duration, say: Say) -> Self {
        let speaks_at = started + CALL_QUIET;
        Self { speaks_at, retry_for, cause: String::new(), answered: false, say: Some(say) }
    }

    /// Notes why an attempt came to nothing. What a coordinator says of itself tells more than that
    /// another one is not there.
    fn lose(&mut self, answered: bool, cause: String) {
        if answered || !self.answered {
            (self.answered, self.cause) = (answered, cause);
        }
    }

    /// What `doing` gives; speaks meanwhile, when it is time and there is something to say.
    async fn over<T>(&mut self, doing: impl Future<Output = T>) -> T {
        let mut doing = std::pin::pin!(doing);
        let cause = &self.cause;
        if let Some(say) = self.say.as_ref().filter(|_| !cause.is_empty()) {
            let quiet = self.speaks_at.saturating_duration_since(clock::instant());
            match tokio::time::timeout(quiet, &mut doing).await {
                Ok(done) => return done,
                Err(_) => {
                    let seconds = self.retry_for.as_secs();
                    say(&format!("no coordinator answers yet ({cause}); trying for {seconds} s"));
                    self.say = None;
                }
            }
        }
        doing.await
    }
}

/// An answer, or that nobody gave one in time.
async fn within<T>(answer: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    match tokio::time::timeout(CALL_ANSWER_WITHIN, answer).await {
        Ok(answer) => answer,
        Err(_) => {
            let seconds = CALL_ANSWER_WITHIN.as_secs();
            Err(Status::unavailable(format!("no answer within {seconds} s")))
        }
    }
}

/// Whether a status says that nobody answered: asking again is right, for writes too, as they have
/// an id. Perhaps it was done and only the answer was lost.
pub fn is_away(status: &Status) -> bool {
    status.code() == Code::Unavailable || is_cut(status)
}

/// A connection that broke in the middle of a call shows as an unknown, cancelled or internal
/// error of the transport, with its cause. What a coordinator sends has no cause.
fn is_cut(status: &Status) -> bool {
    matches!(status.code(), Code::Unknown | Code::Internal | Code::Cancelled)
        && std::error::Error::source(status).is_some()
}

/// A refusal as it is shown.
pub fn refusal(status: &Status, request: Option<&v1::RequestId>) -> Failure {
    let rule = status.metadata().get(RULE_KEY).and_then(|value| value.to_str().ok());
    let message = if status.message().is_empty() {
        status.code().description().to_owned()
    } else {
        status.message().to_owned()
    };
    Failure::Answered {
        code: status.code(),
        message,
        rule: rule.map(str::to_owned),
        request_id: request.map(shown),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Nobody is there; endpoints that begin with `refuses` say so for good.
    #[derive(Default)]
    struct Nobody(Arc<AtomicUsize>);

    impl Dial for Nobody {
        fn dial<'a>(&'a self, endpoint: &'a str) -> Dialling<'a> {
            self.0.fetch_add(1, Ordering::Relaxed);
            let lasting = endpoint.starts_with("refuses");
            Box::pin(async move { Err(Undialled { cause: endpoint.to_owned(), lasting }) })
        }
    }

    /// How often the endpoints were dialled before the client gave up.
    async fn dials(endpoints: &[&str]) -> usize {
        let dialled = Arc::<AtomicUsize>::default();
        let endpoints = endpoints.iter().map(|&endpoint| endpoint.to_owned()).collect();
        let dial = Box::new(Nobody(Arc::clone(&dialled)));
        let mut client = Client::new(dial, endpoints, None, Duration::from_millis(500));
        let called = client.call(None, |_| async { Ok(Response::new(())) }).await;
        assert!(matches!(called, Err(Failure::Unreachable { .. })));
        dialled.load(Ordering::Relaxed)
    }

    #[tokio::test]
    async fn who_is_refused_by_everybody_asks_once_and_who_finds_nobody_asks_again() {
        assert_eq!(dials(&["refuses-a:1"]).await, 1);
        assert_eq!(dials(&["refuses-a:1", "refuses-b:1"]).await, 2);
        assert!(dials(&["away:1"]).await > 1);
        assert!(dials(&["refuses-a:1", "away:1"]).await > 2);
    }
}
