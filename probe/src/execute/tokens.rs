//! Tokens of OAuth 2.0 for HTTP steps: got before the clock of a run starts, and kept until they end.
//!
//! A token is kept by everything that was asked for and how, so checks with the same credentials share
//! one. Whoever finds none asks, one at a time; the others wait for what comes of it, each as long as its
//! own run may take. Behind a run those are got anew that will not last until the next one
//! ([`Executor::renew`]), so that runs wait for the first one and for short-lived ones only. What is said
//! with the provider is in [`crate::core::token`].

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use parallax_common::capture::Captured;
use parallax_common::check::{HttpAuth, HttpStep, OAuth2, Run, StepKind, TlsOptions};
use parallax_common::limits::{TOKEN_RETRY_AFTER, TOKENS_KEPT_MAX};
use parallax_common::outcome::Reason;
use parallax_common::target::HttpUrl;
use parallax_runtime::clock;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::capture::References;
use super::request::Request;
use super::{Executor, Failure, Trace, http_exchange, proxy, tls};
use crate::core::token::{self, Granted, NoToken};

/// From here on the evidence of a failure says how long its run waited for a token: what was at hand takes
/// less.
pub(super) const TOLD_FROM: Duration = Duration::from_millis(1);

/// The client credentials of a step, when it shows a token.
fn asked_by(kind: &StepKind) -> Option<(&HttpStep, &OAuth2)> {
    match kind {
        StepKind::Http(step) => match &step.auth {
            Some(HttpAuth::OAuth2(oauth2)) => Some((step, oauth2)),
            _ => None,
        },
        _ => None,
    }
}

/// Whether a step of the run shows a token.
pub fn are_shown(run: &Run) -> bool {
    run.steps.iter().any(|step| asked_by(&step.kind).is_some())
}

/// A token that was got.
pub(super) struct Token {
    pub text: String,
    got_at: Instant,
    ends_at: Instant,
    /// The target would not have it.
    refused: AtomicBool,
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token")
    }
}

impl Token {
    /// The target answered that it does not take this one: the next run asks for another.
    pub fn refuse(&self) {
        self.refused.store(true, Ordering::Relaxed);
    }

    /// A token that was got just now is used even after a refusal: a target that refuses everything must
    /// not have the provider asked with each run.
    fn is_usable(&self, now: Instant) -> bool {
        let fresh = now.saturating_duration_since(self.got_at) < TOKEN_RETRY_AFTER;
        now < self.ends_at && (fresh || !self.refused.load(Ordering::Relaxed))
    }

    /// Whether a new one is to be got by now, for somebody who needs one that is good for so long. Whoever
    /// lives no longer than that is not: a new one would be over by then as well.
    fn is_to_be_renewed(&self, now: Instant, lasting: Duration) -> bool {
        let life = self.ends_at.saturating_duration_since(self.got_at);
        let left = self.ends_at.saturating_duration_since(now);
        life > lasting && (left <= lasting || !self.is_usable(now))
    }
}

/// All that makes one token another.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    url: String,
    client_id: String,
    client_secret: String,
    form: String,
    ca_pem: Option<Arc<str>>,
    /// How the provider is reached.
    way: String,
}

/// What a step asks for, with its references filled in.
pub(super) struct Wish {
    key: Key,
    request: Request,
    tls: Arc<tls::Config>,
}

impl std::fmt::Debug for Wish {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Wish")
    }
}

impl Wish {
    /// Fills in references; what must not be shown goes to `used`.
    pub fn prepare(
        run: &Run,
        step: &HttpStep,
        oauth2: &OAuth2,
        (secrets, configs): (References<'_>, &tls::Configs),
        source: Option<IpAddr>,
        used: &mut Vec<String>,
    ) -> Result<Self, Failure> {
        let refuse = |why: String| Failure::new(Reason::ConfigError, why);
        let url = HttpUrl::parse(&oauth2.token_url).map_err(|error| refuse(error.message))?;
        let client_id = secrets.resolve(&oauth2.client_id, used)?;
        let client_secret = secrets.resolve(&oauth2.client_secret, used)?;
        let form = token::form(&oauth2.scopes, oauth2.audience.as_deref());
        let request = Request::for_token(url, (&client_id, &client_secret), &form, used)?;
        // The certificate is verified, whatever holds for the target's.
        let ca_pem = step.tls.ca_pem.clone();
        let min_version = step.tls.min_version;
        let options = TlsOptions { ca_pem: ca_pem.clone(), min_version, ..TlsOptions::default() };
        let tls = configs.get_with(&options, None, tls::Alpn::Http1)?;
        let via = step.proxy.as_ref().map(|proxy| (proxy.url(), &proxy.credentials));
        let way = format!("{:?}", (source, run.resolver, run.ip, min_version, via));
        let url = oauth2.token_url.clone();
        Ok(Self { key: Key { url, client_id, client_secret, form, ca_pem, way }, request, tls })
    }
}

/// What came of asking.
#[derive(Clone)]
enum Known {
    Token(Arc<Token>),
    /// Told to everybody who comes within a moment: one question a moment is enough.
    Failure(Instant, Failure),
}

impl Known {
    fn now(&self, now: Instant) -> Option<Result<Arc<Token>, Failure>> {
        match self {
            Self::Token(token) => token.is_usable(now).then(|| Ok(Arc::clone(token))),
            Self::Failure(at, failure) => {
                let fresh = now.saturating_duration_since(*at) < TOKEN_RETRY_AFTER;
                fresh.then(|| Err(failure.clone()))
            }
        }
    }
}

struct Entry {
    /// Whose turn it is to ask.
    turn: Arc<Semaphore>,
    known: Option<Known>,
    /// When it was last tried to get a new one ahead.
    renewed_at: Option<Instant>,
}

/// The tokens of a probe.
#[derive(Default)]
pub struct Tokens {
    entries: Mutex<HashMap<Key, Entry>>,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tokens")
    }
}

impl Tokens {
    fn entries(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known now, or whose turn it is to ask.
    fn look(&self, key: &Key) -> Result<Result<Arc<Token>, Failure>, Arc<Semaphore>> {
        let now = clock::instant();
        let mut entries = self.entries();
        if entries.len() >= TOKENS_KEPT_MAX && !entries.contains_key(key) {
            entries.retain(|_, entry| {
                entry.known.as_ref().is_none_or(|known| known.now(now).is_some())
            });
            if entries.len() >= TOKENS_KEPT_MAX {
                entries.clear();
            }
        }
        let new = || Entry { turn: Arc::new(Semaphore::new(1)), known: None, renewed_at: None };
        let entry = entries.entry(key.clone()).or_insert_with(new);
        let known = entry.known.as_ref().and_then(|known| known.now(now));
        known.ok_or_else(|| Arc::clone(&entry.turn))
    }

    fn keep(&self, key: &Key, known: Known) {
        if let Some(entry) = self.entries().get_mut(key) {
            entry.known = Some(known);
        }
    }

    fn keep_granted(&self, key: &Key, granted: Granted) -> Arc<Token> {
        let now = clock::instant();
        let Granted { token: text, usable } = granted;
        let refused = AtomicBool::new(false);
        let token = Arc::new(Token { text, got_at: now, ends_at: now + usable, refused });
        self.keep(key, Known::Token(Arc::clone(&token)));
        token
    }

    /// The turn to get a new token ahead, when the one that is kept is not good for so long, nobody asks,
    /// and nobody has tried just now.
    fn turn_to_renew(&self, key: &Key, lasting: Duration) -> Option<OwnedSemaphorePermit> {
        let now = clock::instant();
        let mut entries = self.entries();
        let entry = entries.get_mut(key)?;
        let Some(Known::Token(token)) = &entry.known else { return None };
        let since = entry.renewed_at.map(|at| now.saturating_duration_since(at));
        if since.is_some_and(|since| since < TOKEN_RETRY_AFTER)
            || !token.is_to_be_renewed(now, lasting)
        {
            return None;
        }
        let turn = Arc::clone(&entry.turn).try_acquire_owned().ok()?;
        entry.renewed_at = Some(now);
        Some(turn)
    }

    /// A token, from memory or from the provider. Takes until `ends_at` at the longest.
    pub(super) async fn get(
        &self,
        executor: &Executor,
        run: &Run,
        wish: &Wish,
        tunnel: Option<&proxy::Tunnel>,
        source: Option<IpAddr>,
        ends_at: Instant,
    ) -> Result<Arc<Token>, Failure> {
        let turn = match self.look(&wish.key) {
            Ok(known) => return known,
            Err(turn) => turn,
        };
        let deadline = tokio::time::Instant::from_std(ends_at);
        let late = |_elapsed| {
            let what = format!("{}: no answer in time", wish.request.url.without_query());
            Failure::new(Reason::AuthTokenFailed, what)
        };
        // Never closed.
        let _permit = tokio::time::timeout_at(deadline, turn.acquire()).await.map_err(late)?;
        // Somebody else may have asked meanwhile.
        if let Ok(known) = self.look(&wish.key) {
            return known;
        }
        let asked = ask(executor, run, wish, tunnel, source);
        // That this run had no more time says nothing of the provider: it is not told to others, who
        // may have more. The next of them asks.
        let asked = tokio::time::timeout_at(deadline, asked).await.map_err(late)?;
        match asked {
            Ok(granted) => Ok(self.keep_granted(&wish.key, granted)),
            Err(failure) => {
                self.keep(&wish.key, Known::Failure(clock::instant(), failure.clone()));
                Err(failure)
            }
        }
    }
}

impl Executor {
    /// Gets new tokens for a run that has ended, in place of those that will not last until the next one
    /// has begun, an `interval` later. That there is none is told by the run that finds none at hand: until
    /// then the one before it is used.
    pub async fn renew(&self, run: &Run, interval: Duration) {
        // No slot begins later than half an interval after its time.
        let lasting = interval.saturating_mul(3) / 2;
        let captured = Captured::default();
        let references = References { secrets: &self.secrets, captured: &captured };
        let source = run.source_address.or(self.source_address);
        for (step, oauth2) in run.steps.iter().filter_map(|step| asked_by(&step.kind)) {
            let used = &mut Vec::new();
            let with = (references, &self.tls);
            let wish = Wish::prepare(run, step, oauth2, with, source, used);
            let proxy = step.proxy.as_ref();
            let tunnel = proxy.map(|it| proxy::Tunnel::prepare(it, references, used)).transpose();
            // What fills captures in cannot be had here. It gets its tokens between two steps.
            let (Ok(wish), Ok(tunnel)) = (wish, tunnel) else { continue };
            let Some(_turn) = self.tokens.turn_to_renew(&wish.key, lasting) else { continue };
            let asked = ask(self, run, &wish, tunnel.as_ref(), source);
            if let Ok(Ok(granted)) = tokio::time::timeout(run.timeout, asked).await {
                self.tokens.keep_granted(&wish.key, granted);
            }
        }
    }
}

async fn ask(
    executor: &Executor,
    run: &Run,
    wish: &Wish,
    tunnel: Option<&proxy::Tunnel>,
    source: Option<IpAddr>,
) -> Result<Granted, Failure> {
    let url = &wish.request.url;
    let shown = url.without_query();
    // Nothing of it counts in the run's own phases.
    let mut trace = Trace::default();
    let exchange = async {
        let target = (url.host.as_str(), url.port);
        let stream = executor.reach(run, tunnel, target, source, &mut trace).await?;
        let stream = tls::handshake(&wish.tls, &url.host, stream, &mut trace).await?;
        http_exchange::exchange(&wish.request, stream, true, &mut trace).await
    };
    let seen = exchange.await.map_err(|failure| {
        let Failure { reason, evidence } = failure;
        let evidence = format!("{shown}: {evidence}");
        match reason.is_missed() {
            true => Failure::new(reason, evidence),
            false => Failure::new(Reason::AuthTokenFailed, evidence),
        }
    })?;
    token::read(seen.status.unwrap_or_default(), &seen.body).map_err(|none| match none {
        NoToken::Refused(why) => Failure::new(Reason::AuthTokenRefused, format!("{shown}: {why}")),
        NoToken::Failed(why) => Failure::new(Reason::AuthTokenFailed, format!("{shown}: {why}")),
    })
}
