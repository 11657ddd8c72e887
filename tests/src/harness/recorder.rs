//! Clients that read, write, compare and set and delete a few regions through whichever coordinator
//! answers, and write down what they asked for, when, and what came of it.
//!
//! [`Recorder::judge`] asks the checker of `tests/linearize` whether all of it could have happened one
//! at a time. A key is a region, its value the number that is the region's title; every write has a
//! number of its own. What nobody was told may have happened at any time since, or never.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use parallax_linearize::register::{Op, Register, Value};
use parallax_linearize::{Call, Found, check, smallest};
use parallax_proto::v1;
use parallax_runtime::clock;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tonic::{Code, Status};

use super::client::{Api, Applied, named, request_id};

/// Keys that clients choose from at one time.
const KEYS: u64 = 4;
/// An attempt that takes longer is made again elsewhere, under the same request id.
const PATIENCE: Duration = Duration::from_secs(1);
/// No attempt is begun later than this after the first: what became of it is unknown then.
const TRIES_FOR: Duration = Duration::from_secs(5);
/// Between two attempts of which the first failed.
const PAUSE: Duration = Duration::from_millis(10);
/// Tells the values of clients apart.
const VALUES_OF_ONE: u64 = 1_000_000_000;
/// Metadata with the rule that was broken.
const RULE: &str = "parallax-rule";

/// An operation, from before it was sent.
#[derive(Debug, Clone)]
struct Entry {
    from: u64,
    to: Option<u64>,
    /// None as long as it has seen and done nothing that anybody knows of.
    op: Option<Op>,
    client: u64,
    /// The endpoint of the last attempt.
    through: String,
}

#[derive(Debug, Default)]
struct History {
    keys: BTreeMap<String, Vec<Entry>>,
    /// What no operation may come to: the recorder asked wrongly, or was answered so.
    fault: Option<String>,
}

/// What a history came to that could have happened one operation at a time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Judged {
    /// Operations whose result was known, and writes of which nobody was told.
    pub operations: usize,
    /// Keys that they were of; each has a history of its own.
    pub keys: usize,
    /// Writes of which nobody was told.
    pub unknown: usize,
    /// Swaps and deletions that found another version.
    pub unequal: usize,
}

/// Where clients write down what they did. Clones share it.
#[derive(Debug, Clone)]
pub struct Recorder {
    began: Instant,
    turn: Arc<AtomicU64>,
    history: Arc<Mutex<History>>,
}

impl Default for Recorder {
    fn default() -> Self {
        Self { began: clock::instant(), turn: Arc::default(), history: Arc::default() }
    }
}

impl Recorder {
    /// From now on clients choose from new keys. Short histories are checked fast.
    pub fn next_keys(&self) {
        self.turn.fetch_add(1, Ordering::Relaxed);
    }

    /// A client with a number of its own, who asks the first of `endpoints` until it fails.
    pub fn client(&self, number: u64, endpoints: Vec<String>, tls: &Path, seed: u64) -> Client {
        let random = StdRng::seed_from_u64(seed.wrapping_add(number));
        Client {
            recorder: self.clone(),
            number,
            name: uuid::Uuid::from_u64_pair(seed, number).to_string(),
            endpoints,
            tls: tls.to_owned(),
            random,
            at: 0,
            api: None,
            request: 0,
            known: BTreeMap::new(),
        }
    }

    /// Whether everything that was written down could have happened one operation at a time.
    ///
    /// # Errors
    /// When not, with the part of a key's history that cannot be; and when a client was answered what
    /// it never may be.
    pub fn judge(&self) -> Result<Judged> {
        // A copy: clients go on while it is judged.
        let (keys, fault) = {
            let history = self.history();
            (history.keys.clone(), history.fault.clone())
        };
        if let Some(fault) = fault {
            bail!("{fault}");
        }
        let mut judged = Judged { keys: keys.len(), ..Judged::default() };
        let mut worst: Option<String> = None;
        for (key, entries) in &keys {
            let calls: Vec<Call<Op>> = entries.iter().filter_map(Entry::call).collect();
            judged.operations += calls.len();
            judged.unknown += calls.iter().filter(|call| call.to.is_none()).count();
            judged.unequal += calls.iter().filter(|it| matches!(it.op, Op::Unequal(_))).count();
            match check::<Register>(&calls) {
                Found::Order => {}
                Found::TooLong => bail!("{key}: {} operations are too many to order", calls.len()),
                Found::NoOrder => {
                    let told = tell(key, entries, &smallest::<Register>(&calls));
                    // The shortest says it best.
                    if worst
                        .as_ref()
                        .is_none_or(|worst| told.lines().count() < worst.lines().count())
                    {
                        worst = Some(told);
                    }
                }
            }
        }
        match worst {
            Some(told) => bail!("not linearizable: {told}"),
            None => Ok(judged),
        }
    }

    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> u64 {
        let since = clock::instant().duration_since(self.began);
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    }
}

impl Entry {
    /// As the checker wants it.
    fn call(&self) -> Option<Call<Op>> {
        Some(Call { from: self.from, to: self.to, op: self.op.clone()? })
    }
}

/// The calls with who made them, a line each.
fn tell(key: &str, entries: &[Entry], calls: &[Call<Op>]) -> String {
    let mut told = format!("of {} operations on {key} these fit no order:", entries.len());
    let seconds = |ns: u64| format!("{:.6}", ns as f64 / 1e9);
    for call in calls {
        let entry = entries.iter().find(|entry| entry.from == call.from);
        let (client, through) = entry.map_or((0, ""), |it| (it.client, it.through.as_str()));
        let to = call.to.map_or("nobody knows".to_owned(), seconds);
        let _ = write!(
            told,
            "\n  {} to {to}: client {client} through {through}: {:?}",
            seconds(call.from),
            call.op
        );
    }
    told
}

/// One client: one operation at a time.
#[derive(Debug)]
pub struct Client {
    recorder: Recorder,
    number: u64,
    name: String,
    endpoints: Vec<String>,
    tls: PathBuf,
    random: StdRng,
    at: usize,
    api: Option<Api>,
    request: u64,
    /// What it saw last of a key: value and etag.
    known: BTreeMap<String, Option<(u64, u64)>>,
}

/// An operation that is written down.
struct Begun {
    key: String,
    at: usize,
}

impl Client {
    /// Goes on until it is dropped. What is asked for is drawn.
    pub async fn go_on(mut self) {
        loop {
            let turn = self.recorder.turn.load(Ordering::Relaxed);
            let key = format!("key-{turn}-{}", self.random.random_range(0..KEYS));
            let known = self.known.get(&key).copied().flatten();
            match (self.random.random_range(0..20), known) {
                (0..8, _) | (8..14, None) => {
                    self.read(&key, false).await;
                }
                (8..12, Some(_)) => self.swap(&key).await,
                (12..14, Some(_)) => self.delete(&key, true).await,
                (14..19, _) => self.write(&key).await,
                _ => self.delete(&key, false).await,
            }
            // What other turns are about is nobody's any more.
            if self.known.len() > 2 * KEYS as usize {
                self.known.clear();
            }
        }
    }

    /// Reads a key; whether it was answered. `stale`: as the coordinator has it.
    pub async fn read(&mut self, key: &str, stale: bool) -> bool {
        let begun = self.begin(key, None);
        let asked = key.to_owned();
        let call = move |api: Api| {
            let asked = asked.clone();
            async move { api.region(&asked, stale).await }
        };
        let answer = self.ask(call).await;
        let seen = match answer {
            Ok(Some(region)) => {
                let etag = region.meta.map_or(0, |meta| meta.etag);
                let Ok(value) = region.title.parse() else {
                    self.fault(&format!("{key} holds {:?}, which nobody wrote", region.title));
                    return false;
                };
                Some((value, etag))
            }
            Ok(None) => None,
            Err(status) => {
                self.unknown(&begun, &status);
                return false;
            }
        };
        self.end(&begun, Some(Op::Read(seen.map(|(value, _)| value))));
        self.known.insert(key.to_owned(), seen);
        true
    }

    /// Replaces whatever a key holds.
    pub async fn write(&mut self, key: &str) {
        self.put(key, None).await;
    }

    /// Replaces what this client saw last, if that is there still.
    pub async fn swap(&mut self, key: &str) {
        let known = self.known.get(key).copied().flatten();
        self.put(key, known).await;
    }

    async fn put(&mut self, key: &str, expected: Option<(u64, u64)>) {
        self.request += 1;
        let value = self.number * VALUES_OF_ONE + self.request;
        let (base, etag) = (expected.map(|(value, _)| value), expected.map_or(0, |(_, etag)| etag));
        let op = match base {
            Some(base) => Op::Swap(Some(base), Some(value)),
            None => Op::Write(Some(value)),
        };
        let begun = self.begin(key, Some(op.clone()));
        let id = request_id(&self.name, self.request);
        let meta = v1::Meta { etag, ..named(key) };
        let region = v1::Region { meta: Some(meta), title: value.to_string() };
        let call = move |api: Api| {
            let (id, region) = (id.clone(), region.clone());
            async move { api.put_region(id, region).await }
        };
        match self.ask(call).await {
            Ok(Applied::Committed(revision)) => {
                self.end(&begun, Some(op));
                self.known.insert(key.to_owned(), Some((value, revision)));
            }
            Ok(Applied::Refused(violations)) => {
                if violations.iter().any(|violation| violation.rule != "conflict") {
                    self.fault(&format!("a write of {key} was refused: {violations:?}"));
                }
                self.conflict(&begun, base);
            }
            Err(status) if is_conflict(&status) => self.conflict(&begun, base),
            Err(status) => self.unknown(&begun, &status),
        }
    }

    /// Deletes a key: whatever it holds, or what this client saw last.
    pub async fn delete(&mut self, key: &str, compare: bool) {
        self.request += 1;
        let expected = self.known.get(key).copied().flatten().filter(|_| compare);
        let (base, etag) = (expected.map(|(value, _)| value), expected.map_or(0, |(_, etag)| etag));
        let op = match base {
            Some(base) => Op::Swap(Some(base), None),
            None => Op::Write(None),
        };
        let begun = self.begin(key, Some(op.clone()));
        let id = request_id(&self.name, self.request);
        let asked = key.to_owned();
        let call = move |api: Api| {
            let (id, asked) = (id.clone(), asked.clone());
            async move { api.delete_region(id, &asked, etag).await }
        };
        match self.ask(call).await {
            Ok(_) => {
                self.end(&begun, Some(op));
                self.known.insert(key.to_owned(), None);
            }
            // There was nothing: that was looked at, and nothing was done.
            Err(status) if status.code() == Code::NotFound => {
                self.end(&begun, Some(Op::Read(None)));
                self.known.insert(key.to_owned(), None);
            }
            Err(status) if is_conflict(&status) => self.conflict(&begun, base),
            Err(status) => self.unknown(&begun, &status),
        }
    }

    /// What was to be replaced was another version. A write without a version lost a race, which says
    /// nothing of what is there.
    fn conflict(&mut self, begun: &Begun, base: Value) {
        self.known.remove(&begun.key);
        self.end(begun, base.map(|base| Op::Unequal(Some(base))));
    }

    /// Asks until there is an answer that says what became of it, or the time is over; once in four
    /// times the first attempt is the last.
    async fn ask<T, F>(&mut self, call: impl Fn(Api) -> F) -> Result<T, Status>
    where
        F: Future<Output = Result<T, Status>>,
    {
        let until = clock::instant() + TRIES_FOR;
        let once = self.random.random_range(0..4) == 0;
        loop {
            let attempt = async {
                let api = match &self.api {
                    Some(api) => api.clone(),
                    None => {
                        let endpoint = &self.endpoints[self.at % self.endpoints.len()];
                        let api = Api::connect(endpoint, &self.tls).await;
                        api.map_err(|error| Status::unavailable(format!("{error:#}")))?
                    }
                };
                let answer = call(api.clone()).await;
                self.api = Some(api);
                answer
            };
            let late = |_| Err(Status::deadline_exceeded(format!("no answer in {PATIENCE:?}")));
            let answer = tokio::time::timeout(PATIENCE, attempt).await.unwrap_or_else(late);
            match answer {
                Err(status) if is_unclear(&status) => {
                    self.api = None;
                    self.at += 1;
                    tokio::time::sleep(PAUSE).await;
                    if once || clock::instant() >= until {
                        return Err(status);
                    }
                }
                answer => return answer,
            }
        }
    }

    /// Writes an operation down before it is sent; with what it does if anybody ever is told.
    fn begin(&self, key: &str, op: Option<Op>) -> Begun {
        let through = self.endpoints[self.at % self.endpoints.len()].clone();
        let mut history = self.recorder.history();
        let entries = history.keys.entry(key.to_owned()).or_default();
        let from = self.recorder.now();
        entries.push(Entry { from, to: None, op, client: self.number, through });
        Begun { key: key.to_owned(), at: entries.len() - 1 }
    }

    /// Writes down what came of it.
    fn end(&self, begun: &Begun, op: Option<Op>) {
        let to = self.recorder.now();
        let through = self.endpoints[self.at % self.endpoints.len()].clone();
        let mut history = self.recorder.history();
        if let Some(entry) = history.keys.get_mut(&begun.key).and_then(|all| all.get_mut(begun.at))
        {
            (entry.to, entry.op, entry.through) = (Some(to), op, through);
        }
    }

    /// Nobody was told what became of it, which is the only other thing that may happen.
    fn unknown(&mut self, begun: &Begun, status: &Status) {
        self.known.remove(&begun.key);
        if !is_unclear(status) {
            self.fault(&format!("{} ended with {status:?}", begun.key));
        }
    }

    fn fault(&self, what: &str) {
        let mut history = self.recorder.history();
        history.fault.get_or_insert_with(|| format!("client {}: {what}", self.number));
    }
}

/// Whether the write was refused for the version that is there.
fn is_conflict(status: &Status) -> bool {
    let rule = status.metadata().get(RULE).and_then(|rule| rule.to_str().ok());
    status.code() == Code::Aborted && rule == Some("conflict")
}

/// Whether it may have happened, or may happen when it is asked for again.
fn is_unclear(status: &Status) -> bool {
    use Code::{Cancelled, DeadlineExceeded, Internal, ResourceExhausted, Unavailable, Unknown};
    let codes = [Cancelled, DeadlineExceeded, Internal, ResourceExhausted, Unavailable, Unknown];
    codes.contains(&status.code())
}
