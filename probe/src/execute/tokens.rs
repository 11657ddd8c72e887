//! Tokens of OAuth 2.0 for HTTP steps: got before the clock of a run starts, and kept until they end.
//!
//! A token is kept by everything that was asked for and how, so checks with the same credentials share
//! one. Whoever finds none asks, one at a time; the others wait for what comes of it, each as long as its
//! own run may take. What is said with the provider is in [`crate::core::token`].

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use parallax_common::check::{HttpStep, OAuth2, Run, TlsOptions};
use parallax_common::limits::{TOKEN_RETRY_AFTER, TOKENS_KEPT_MAX};
use parallax_common::outcome::Reason;
use parallax_common::target::HttpUrl;
use parallax_runtime::clock;
use tokio::sync::Semaphore;

use super::capture::References;
use super::request::Request;
use super::{Executor, Failure, Trace, http_exchange, proxy, tls};
use crate::core::token::{self, Granted, NoToken};

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
        let new = || Entry { turn: Arc::new(Semaphore::new(1)), known: None };
        let entry = entries.entry(key.clone()).or_insert_with(new);
        let known = entry.known.as_ref().and_then(|known| known.now(now));
        known.ok_or_else(|| Arc::clone(&entry.turn))
    }

    fn keep(&self, key: &Key, known: Known) {
        if let Some(entry) = self.entries().get_mut(key) {
            entry.known = Some(known);
        }
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
        let now = clock::instant();
        match asked {
            Ok(Granted { token: text, usable }) => {
                let refused = AtomicBool::new(false);
                let token = Token { text, got_at: now, ends_at: now + usable, refused };
                let token = Arc::new(token);
                self.keep(&wish.key, Known::Token(Arc::clone(&token)));
                Ok(token)
            }
            Err(failure) => {
                self.keep(&wish.key, Known::Failure(now, failure.clone()));
                Err(failure)
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
