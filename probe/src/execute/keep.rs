//! Connections that outlive a run, for steps with `keep_alive`: one for each origin of a check's version.
//!
//! Nothing moves on a connection that waits here: whatever its target said meanwhile is noticed when it is
//! taken up. What was seen when it was made (address, certificates) is remembered with it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use parallax_common::expect::Certificate;
use parallax_common::limits::{KEPT_CONNECTIONS_MAX, KEPT_IDLE_MAX, KEPT_LIFE_MAX};
use parallax_common::name::RunDigest;
use parallax_common::outcome::{Phase, Reason};
use parallax_common::target::HttpUrl;
use parallax_runtime::clock;
use tokio::io::{AsyncRead, AsyncWrite};

use super::request::Request;
use super::{Failure, Seen, Trace, http_exchange, http2_exchange, tls};

/// How often connections that wait are looked through.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// What bytes go over, with TLS or without.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Duplex for S {}

/// What a connection is for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Place {
    /// Of the version of the check: another one shares nothing with it.
    digest: RunDigest,
    step: u32,
    https: bool,
    host: String,
    port: u16,
    /// Under which its certificate was judged: a redirect leads there under the name in the URL, whatever
    /// `server_name` the step's own requests ask for.
    judged_as: String,
}

impl Place {
    pub fn new(digest: RunDigest, step: u32, url: &HttpUrl, judged_as: &str) -> Self {
        let (host, judged_as) = (url.host.clone(), judged_as.to_owned());
        Self { digest, step, https: url.https, host, port: url.port, judged_as }
    }
}

enum Spoken {
    Http1(Box<http_exchange::Line<Box<dyn Duplex>>>),
    Http2(Box<http2_exchange::Line<Box<dyn Duplex>>>),
}

/// An open connection, and what was seen when it was made.
pub(super) struct Line {
    spoken: Spoken,
    /// By which its target was judged.
    tls: Arc<tls::Config>,
    made_at: Instant,
    idle_since: Instant,
    remote: Option<SocketAddr>,
    cert: Option<Certificate>,
    not_after_s: Option<i64>,
    chain: Vec<Certificate>,
    tls_version: &'static str,
    cipher: Option<rustls::CipherSuite>,
    /// What the way to it took, in the step that made it: who uses it again is spared that.
    phases: Vec<Phase>,
}

/// The phases that making connections takes.
const MAKING: [Phase; 3] = [Phase::Dns, Phase::Connect, Phase::Tls];

impl Line {
    /// Begins to speak HTTP over a connection that was just made, as `trace` tells.
    pub async fn open(
        stream: Box<dyn Duplex>,
        http2: bool,
        tls: Arc<tls::Config>,
        trace: &Trace,
    ) -> Result<Self, Failure> {
        let spoken = match http2 {
            true => Spoken::Http2(Box::new(http2_exchange::Line::open(stream).await?)),
            false => Spoken::Http1(Box::new(http_exchange::Line::open(stream).await?)),
        };
        let now = clock::instant();
        let taken = |phase: &Phase| {
            let mut phases = trace.phases.iter();
            phases.any(|(step, of, _)| *step == trace.step && of == phase)
                || trace.spared.contains(phase)
        };
        let phases = MAKING.into_iter().filter(taken).collect();
        Ok(Self {
            spoken,
            tls,
            made_at: now,
            idle_since: now,
            remote: trace.remote,
            cert: trace.cert.clone(),
            not_after_s: trace.not_after_s,
            chain: trace.chain.clone(),
            tls_version: trace.tls_version,
            cipher: trace.cipher,
            phases,
        })
    }

    /// Sends the request and reads the answer. Says, too, whether another one can follow.
    pub async fn ask(
        &mut self,
        request: &Request,
        keep_body: bool,
        trace: &mut Trace,
    ) -> Result<(Seen, bool), Failure> {
        match &mut self.spoken {
            Spoken::Http1(line) => Box::pin(line.ask(request, keep_body, trace)).await,
            Spoken::Http2(line) => Box::pin(line.ask(request, keep_body, trace)).await,
        }
    }

    /// Whether the target has left it open.
    pub async fn is_open(&mut self) -> bool {
        match &mut self.spoken {
            Spoken::Http1(line) => line.is_open().await,
            Spoken::Http2(line) => line.is_open().await,
        }
    }

    /// It has served once more: what its target showed when it was made is what it shows.
    pub fn served(&self, trace: &mut Trace) {
        trace.was_shown(self.not_after_s);
    }

    /// Tells what was seen when it was made.
    pub fn recall(&self, trace: &mut Trace) {
        trace.remote = self.remote;
        trace.cert.clone_from(&self.cert);
        trace.chain.clone_from(&self.chain);
        trace.tls_version = self.tls_version;
        trace.cipher = self.cipher;
        trace.spared.extend_from_slice(&self.phases);
    }
}

/// Whether a connection may be used once more.
fn is_fresh(made_at: Instant, idle_since: Instant, now: Instant) -> bool {
    now.saturating_duration_since(made_at) < KEPT_LIFE_MAX
        && now.saturating_duration_since(idle_since) < KEPT_IDLE_MAX
}

/// Whether an exchange that ended so, before the head of an answer was there, may be tried on another
/// connection: the target had closed this one, and only now it shows.
pub(super) fn is_stale(reason: Reason) -> bool {
    matches!(reason, Reason::HttpReset | Reason::HttpTruncated | Reason::HttpGoaway)
}

/// The connections of a probe that wait for a next run.
#[derive(Default)]
pub struct Pool {
    kept: Mutex<HashMap<Place, Line>>,
    swept_at: Mutex<Option<Instant>>,
    /// So that a probe without any pays nothing.
    count: AtomicUsize,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pool")
    }
}

impl Pool {
    fn with<T>(&self, change: impl FnOnce(&mut HashMap<Place, Line>) -> T) -> T {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let result = change(&mut kept);
        self.count.store(kept.len(), Ordering::Relaxed);
        result
    }

    /// Closes those that have waited too long; looks once a second.
    pub(super) fn sweep(&self) {
        if self.count.load(Ordering::Relaxed) > 0 {
            let now = clock::instant();
            let mut swept_at = self.swept_at.lock().unwrap_or_else(PoisonError::into_inner);
            if swept_at.is_some_and(|at| now.saturating_duration_since(at) < SWEEP_EVERY) {
                return;
            }
            *swept_at = Some(now);
            drop(swept_at);
            self.with(|kept| kept.retain(|_, line| is_fresh(line.made_at, line.idle_since, now)));
        }
    }

    /// The connection for this place, when one waits; it is taken out. One that was judged by other options
    /// is closed.
    pub(super) fn take(&self, place: &Place, tls: &Arc<tls::Config>) -> Option<Line> {
        if self.count.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let now = clock::instant();
        let line = self.with(|kept| kept.remove(place))?;
        let fits = is_fresh(line.made_at, line.idle_since, now) && Arc::ptr_eq(&line.tls, tls);
        fits.then_some(line)
    }

    /// Keeps a connection for the next run, when there is room. Of two for one place the newer stays.
    pub(super) fn put(&self, place: Place, mut line: Line) {
        line.idle_since = clock::instant();
        self.with(|kept| {
            if kept.len() < KEPT_CONNECTIONS_MAX || kept.contains_key(&place) {
                kept.insert(place, line);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_serves_only_those_that_judge_its_target_by_the_same_name() {
        let url = HttpUrl::parse("https://shop.example/").unwrap();
        let place = |name| Place::new(RunDigest(7), 0, &url, name);
        assert_eq!(place("other.example"), place("other.example"));
        assert_ne!(place("other.example"), place("shop.example"));
    }

    #[test]
    fn a_connection_is_used_until_it_is_old_or_has_waited_long() {
        let made = clock::instant();
        let moment = Duration::from_millis(1);
        for (idle, now, fresh) in [
            (Duration::ZERO, Duration::ZERO, true),
            (Duration::ZERO, KEPT_IDLE_MAX - moment, true),
            (Duration::ZERO, KEPT_IDLE_MAX, false),
            (KEPT_LIFE_MAX - 2 * moment, KEPT_LIFE_MAX - moment, true),
            (KEPT_LIFE_MAX - moment, KEPT_LIFE_MAX, false),
        ] {
            assert_eq!(is_fresh(made, made + idle, made + now), fresh, "{idle:?} {now:?}");
        }
    }
}
