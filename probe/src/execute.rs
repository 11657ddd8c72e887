//! One run of one check: its steps in order, timed by phase, then its expectations; and the runs of a slot.
//!
//! [`Executor::run`] never fails: whatever happens becomes a finding. [`resolve`], [`connect`],
//! [`tls`], [`redirects`], [`http_exchange`], `converse`, [`tcp`], `udp`, `ssh`, `websocket`, `dns`,
//! `icmp`, `grpc` and [`plugin`] are the parts of a step, [`secrets`] fills in references before the clock
//! starts, [`expect`] judges after it has stopped. When runs start is the schedule's.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use parallax_common::capture::Captured;
use parallax_common::check::{Run, StepKind};
use parallax_common::expect::{
    Certificate, DnsAnswer, Echoes, Facts, GrpcAnswer, PluginAnswer, Redirects, SshOffer,
    Talk as Said, Upgraded,
};
use parallax_common::expiry::Expiry;
use parallax_common::limits::{EVIDENCE_BYTES_MAX, RUN_STALL_AFTER, SAMPLES_MAX};
use parallax_common::outcome::{Outcome, Phase, Reason};
use parallax_common::time::BootTime;
use parallax_runtime::clock;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use self::prepare::Prepared;
use crate::core::guard::Guard;
use crate::core::record::{Finding, cut, means};
use crate::core::samples::Samples;
use crate::core::talk::{Cut, Speaking, Talk};
use visit::{hide_and_tell, not_begun};

pub mod answer;
mod capture;
mod certificate;
pub mod connect;
mod converse;
pub mod decode;
mod dns;
mod errno;
pub mod expect;
#[doc(hidden)]
pub mod fuzzing;
mod grpc;
pub mod http2_exchange;
#[cfg(feature = "http3")]
mod http3_exchange;
pub mod http_exchange;
mod icmp;
pub mod keep;
pub mod look;
mod pause;
pub mod plugin;
mod prepare;
mod proxy;
#[cfg(feature = "http3")]
mod quic;
mod reach;
pub mod redirects;
pub mod request;
pub mod resolve;
pub mod secrets;
mod socket;
mod ssh;
mod stall;
pub mod tcp;
pub mod tls;
pub mod tokens;
mod turned;
mod udp;
mod visit;
mod websocket;

#[cfg(test)]
pub(crate) mod tests;

/// What a run is doing, so that a timeout can be named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Stage {
    #[default]
    Dns,
    Connect,
    Tls,
    Exchange,
    /// The answer of a name server that a check asks.
    Answer,
    /// The answers to echoes.
    Echo,
}

impl Stage {
    const fn timed_out(self) -> Reason {
        match self {
            Self::Dns | Self::Answer => Reason::DnsTimeout,
            Self::Connect => Reason::ConnectTimeout,
            Self::Tls => Reason::TlsTimeout,
            Self::Exchange => Reason::Timeout,
            Self::Echo => Reason::IcmpNoAnswer,
        }
    }
}

/// Why a step went wrong. A reason of the `missed` kind makes the run no vote at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub reason: Reason,
    pub evidence: String,
}

impl Failure {
    pub fn new(reason: Reason, evidence: impl Into<String>) -> Self {
        Self { reason, evidence: evidence.into() }
    }
}

/// What is known of a run at any moment of it.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    pub step: u32,
    pub stage: Stage,
    pub remote: Option<SocketAddr>,
    pub phases: Vec<(u32, Phase, Duration)>,
    pub cert: Option<Certificate>,
    /// All certificates that were shown, when somebody asks for them.
    pub chain: Vec<Certificate>,
    pub wants_chain: bool,
    /// When the first certificate of the newest handshake expires, in seconds of UTC.
    pub not_after_s: Option<i64>,
    /// The first to expire of all handshakes with the target.
    pub expiry: Option<Expiry>,
    pub tls_version: &'static str,
    pub cipher: Option<rustls::CipherSuite>,
    /// What an address answered while others of the name are still being connected to.
    pub refusal: Option<Failure>,
    /// Addresses of the name that the guard denied while it allowed others.
    pub left_out: Option<String>,
    /// What is spoken at this moment.
    pub speaking: Option<Speaking>,
    /// The number of the first step of the dialogue among the series of the run.
    pub series_from: u32,
    /// How long the steps of the dialogue took that have ended.
    pub exchanges: Vec<Duration>,
    /// A plugin warned: in which step, and what it said.
    pub warned: Option<(u32, String)>,
    /// When the run's time began.
    pub begun: Option<Instant>,
    /// When it is over.
    pub ends_at: Option<Instant>,
    /// What was spent between steps on captures: no part of what the target took.
    pub aside: Duration,
    /// At this moment the probe works on captures, and nobody else is waited for.
    pub is_aside: bool,
    /// What is spent aside is told there: the run's time is over so much later.
    pub pauses: Option<pause::Pauses>,
    /// A proxy is being connected to: nobody looks at the target yet.
    pub is_at_proxy: bool,
    /// Captured, or resolved for steps that fill captures in: never in evidence.
    pub secrets: Vec<String>,
    /// The head of an answer has come.
    pub is_answered: bool,
    /// Somebody watches.
    pub watcher: Option<look::Watcher>,
    /// Phases that the step did not need, for its connection had been made before.
    pub spared: Vec<Phase>,
}

impl Trace {
    /// The probe has something to do itself, which is no part of the run's time; since when.
    pub fn pause(&mut self) -> Instant {
        if let Some(pauses) = &mut self.pauses {
            pauses.begin();
        }
        clock::instant()
    }

    /// It is done. What follows has as much time as if that had taken none.
    pub fn goes_on(&mut self, since: Instant) {
        self.aside += clock::instant().saturating_duration_since(since);
        if let Some(pauses) = &mut self.pauses {
            self.ends_at = Some(pauses.end(self.aside));
        }
    }

    /// Ends a phase that began at `since`. What a step does several times is summed: it has one series
    /// for each phase.
    pub fn phase(&mut self, phase: Phase, since: Instant) {
        let length = clock::instant().saturating_duration_since(since);
        let before =
            self.phases.iter_mut().find(|(step, of, _)| (*step, *of) == (self.step, phase));
        match before {
            Some((.., sum)) => *sum += length,
            None => self.phases.push((self.step, phase, length)),
        }
    }

    /// Ends a step of a dialogue. Each has a series of its own, numbered behind the steps of the run.
    pub fn exchange(&mut self, step: usize, length: Duration) {
        self.exchanges.push(length);
        let number = self.series_from.saturating_add(u32::try_from(step).unwrap_or(u32::MAX));
        self.phases.push((number, Phase::Transfer, length));
    }

    /// Certificates of which the first expires then were shown; none of them could be read: `None`.
    pub fn was_shown(&mut self, not_after_s: Option<i64>) {
        self.not_after_s = not_after_s;
        let shown = not_after_s.map(|not_after_s| Expiry { not_after_s, step: self.step });
        self.expiry = Expiry::first(self.expiry, shown);
    }

    /// One sample of several that a step has of a phase.
    pub fn sample(&mut self, phase: Phase, length: Duration) {
        self.phases.push((self.step, phase, length));
    }
}

/// What the last step saw.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub status: Option<u16>,
    pub headers: http::HeaderMap,
    pub body: Bytes,
    pub body_bytes: u64,
    /// Its body may be encoded.
    pub coded: Option<decode::Coded>,
    pub http_version: &'static str,
    /// Redirects that were followed, and where they led.
    pub redirects: u32,
    pub url: String,
    /// It came over a connection that was kept.
    pub reused: bool,
    pub dns: Option<DnsAnswer>,
    /// What was said in a dialogue, or in answer to a datagram.
    pub talk: Option<Said>,
    pub ssh: Option<SshOffer>,
    pub echoes: Option<Echoes>,
    pub grpc: Option<GrpcAnswer>,
    /// What was agreed on for a websocket.
    pub upgraded: Option<Upgraded>,
    pub plugin: Option<PluginAnswer>,
}

/// A run that was carried out.
#[derive(Debug, Clone)]
pub struct Execution {
    /// When its first step began.
    pub started: BootTime,
    /// When its last step ended.
    pub ended: BootTime,
    /// How long it waited for its tokens before it began, which is neither the target's latency nor the
    /// schedule's lateness; absent for a run that needs none.
    pub waited: Option<Duration>,
    /// What it found.
    pub finding: Finding,
}

/// Carries out runs.
#[derive(Debug)]
pub struct Executor {
    pub(crate) guard: Arc<Guard>,
    pub(crate) resolvers: resolve::Resolvers,
    pub(crate) tls: tls::Configs,
    pub(crate) secrets: secrets::Secrets,
    pub(crate) plugins: plugin::Plugins,
    pub(crate) decoder: decode::Decoder,
    pub(crate) evaluator: expect::Evaluator,
    pub(crate) tokens: tokens::Tokens,
    pub(crate) kept: keep::Pool,
    pub(crate) source_address: Option<IpAddr>,
    pub(crate) extra_header: Option<(HeaderName, HeaderValue)>,
    /// Where the ids of questions come from: who cannot see them must not guess them.
    ids: Mutex<StdRng>,
}

impl Executor {
    /// An executor that connects from `source_address` unless a check says otherwise, and sends
    /// `extra_header` with every HTTP request. It connects wherever the default guard allows it.
    pub fn new(
        secrets: secrets::Secrets,
        source_address: Option<IpAddr>,
        extra_header: Option<(HeaderName, HeaderValue)>,
    ) -> Self {
        Self {
            guard: Arc::default(),
            resolvers: resolve::Resolvers::default(),
            tls: tls::Configs::new(),
            secrets,
            plugins: plugin::Plugins::default(),
            decoder: decode::Decoder::default(),
            evaluator: expect::Evaluator::default(),
            tokens: tokens::Tokens::default(),
            kept: keep::Pool::default(),
            source_address,
            extra_header,
            ids: Mutex::new(StdRng::seed_from_u64(uuid::Uuid::now_v7().as_u64_pair().1)),
        }
    }

    /// The same executor with another guard.
    pub fn guarded(self, guard: Guard) -> Self {
        let guard = Arc::new(guard);
        Self { resolvers: resolve::Resolvers::new(Arc::clone(&guard)), guard, ..self }
    }

    /// The same executor, which starts these plugins. Without them it starts none.
    pub fn with_plugins(self, plugins: plugin::Plugins) -> Self {
        Self { plugins, ..self }
    }

    fn id(&self) -> u16 {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner).random()
    }

    fn token(&self) -> u64 {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner).random()
    }

    /// Carries out a slot: a run, or as many as the check wants samples, each started when the one
    /// before it has ended. None starts when the slot's `room` is over: the next slot has come by then.
    pub async fn slot(&self, run: &Run, room: Duration) -> Execution {
        self.samples(run, room, None).await
    }

    async fn samples(
        &self,
        run: &Run,
        room: Duration,
        watcher: Option<&look::Watcher>,
    ) -> Execution {
        let wanted = run.samples.clamp(1, SAMPLES_MAX);
        // What looking up secrets takes between samples must not add up.
        let all = run.timeout.saturating_mul(wanted - 1).saturating_add(RUN_STALL_AFTER);
        let begun = clock::instant();
        let (mut samples, mut first, mut any_begun) = (Samples::new(wanted), None, false);
        let mut between = Duration::ZERO;
        loop {
            let execution = self.watched(run, watcher).await;
            if wanted == 1 {
                return execution;
            }
            let Execution { started: of_this, ended, waited: its_wait, finding } = execution;
            any_begun |= ended > of_this;
            samples.take(finding, ended.since(of_this));
            if first.is_some() {
                between += its_wait.unwrap_or_default();
            }
            let (started, waited) = *first.get_or_insert((of_this, its_wait));
            let spent = clock::instant().saturating_duration_since(begun);
            if !samples.wants_more() || spent >= room.min(all) {
                let mut finding = samples.finding();
                cap(&mut finding.evidence);
                // What lay between runs none of which began is no time of the target's; neither is
                // what later ones waited for their tokens.
                let whole = ended.since(started).saturating_sub(between);
                let ended = if any_begun { started + whole } else { started };
                return Execution { started, ended, waited, finding };
            }
        }
    }

    /// Carries out one run.
    pub async fn run(&self, run: &Run) -> Execution {
        self.watched(run, None).await
    }

    async fn watched(&self, run: &Run, watcher: Option<&look::Watcher>) -> Execution {
        if let Some(watcher) = watcher {
            look::note_begin(watcher);
        }
        let execution = self.carry_out(run, watcher.cloned()).await;
        #[cfg(test)]
        tests::reasons::note(execution.finding.reason);
        execution
    }

    async fn carry_out(&self, run: &Run, watcher: Option<look::Watcher>) -> Execution {
        self.kept.sweep();
        self.secrets.load(run).await;
        let ready = self.plugins.ready(run).await;
        let prepared = ready.and_then(|ready| Ok((self.prepare(run, &ready)?, ready)));
        let (mut prepared, ready) = match prepared {
            Ok(prepared) => prepared,
            Err((step, failure)) => return not_begun(step, failure, &[]),
        };
        let mut waited = None;
        if prepared.iter().any(Prepared::needs_token) {
            let since = clock::instant();
            let patience = since + run.timeout;
            let authorized = Box::pin(self.authorize(run, &mut prepared, patience)).await;
            waited = Some(clock::instant().saturating_duration_since(since));
            if let Err((step, failure)) = authorized {
                return Execution { waited, ..not_begun(step, failure, &prepared) };
            }
        }
        let started = clock::boot_time();
        let begun = clock::instant();
        let ends_at = begun + run.timeout;
        let wants_chain = watcher.is_some() || expect::mentions_cert(run);
        let mut trace =
            Trace { wants_chain, begun: Some(begun), ends_at: Some(ends_at), ..Trace::default() };
        // Between steps this probe may have something to do itself.
        let pauses = (run.steps.len() > 1).then(|| pause::pauses(ends_at));
        let (pauses, paused) = pauses.unzip();
        (trace.pauses, trace.watcher) = (pauses, watcher);
        let steps = self.steps(run, &prepared, &ready, &mut trace);
        let outcome = match paused {
            None => tokio::time::timeout_at(ends_at.into(), steps).await.map_err(drop),
            Some(paused) => pause::within(ends_at, paused, Box::pin(steps)).await,
        };
        let (awake, in_all) =
            (clock::instant().saturating_duration_since(begun), clock::boot_time().since(started));
        let latency = awake.saturating_sub(trace.aside);
        let late = std::mem::take(&mut trace.secrets);
        let taken = stall::Taken { awake, in_all, aside: trace.aside, is_aside: trace.is_aside };
        let stalled = stall::told(taken, run.timeout);
        // A time the run cannot have taken is not told: it is the probe's, and no wire takes it.
        let ended = started + latency.min(run.timeout + RUN_STALL_AFTER);
        let left_out = trace.left_out.take();
        let is_at_proxy = trace.is_at_proxy;
        if let Some(watcher) = &trace.watcher {
            look::note_trace(watcher, &trace);
        }
        let mut finding = match outcome {
            // Also when an answer was there in the end: nobody knows when it came.
            _ if stalled.is_some() => {
                missed(trace, Failure::new(Reason::MissedOverload, stalled.unwrap_or_default()))
            }
            Err(()) if trace.is_aside => {
                let evidence = "the time of the run was over while this probe worked on captures";
                missed(trace, Failure::new(Reason::MissedOverload, evidence))
            }
            Err(()) => match trace.refusal.take() {
                Some(failure) if failure.reason.is_missed() => missed(trace, failure),
                // Of one of its addresses, while another is still silent.
                Some(failure) if is_at_proxy => {
                    let evidence = format!("the proxy: {}", failure.evidence);
                    failed(trace, Failure { evidence, ..failure })
                }
                Some(failure) => failed(trace, failure),
                None if trace.speaking.is_some() => {
                    let late = trace.speaking.take().map(|talk| talk.cut(Cut::Late).into());
                    let silent = || Failure::new(Reason::Timeout, "no end in time");
                    failed(trace, late.unwrap_or_else(silent))
                }
                None => {
                    let at = if is_at_proxy { "the proxy: " } else { "" };
                    let evidence = format!("{at}no end within {} ms", run.timeout.as_millis());
                    let reason = trace.stage.timed_out();
                    failed(trace, Failure::new(reason, evidence))
                }
            },
            Ok(Err(failure)) if failure.reason.is_missed() => missed(trace, failure),
            Ok(Err(failure)) => failed(trace, failure),
            Ok(Ok(seen)) => match self.decoder.undo(seen).await {
                Ok(seen) => self.judge(run, &prepared, trace, seen, latency).await,
                Err(failure) if failure.reason.is_missed() => missed(trace, failure),
                Err(failure) => failed(trace, failure),
            },
        };
        let waiting = waited.filter(|waited| *waited >= tokens::TOLD_FROM);
        let waiting =
            waiting.map(|it| format!("it waited {} ms for a token first", it.as_millis()));
        let more = left_out.into_iter().chain(waiting);
        let more = more.filter(|_| finding.outcome == Outcome::Fail);
        hide_and_tell(&mut finding.evidence, more, &prepared, &late);
        if run.invert && !is_at_proxy {
            turned::invert(&mut finding);
        }
        if let Some(canary) = run.canary {
            turned::compare(&mut finding, canary);
        }
        Execution { started, ended, waited, finding }
    }

    async fn steps(
        &self,
        run: &Run,
        prepared: &[Prepared],
        ready: &plugin::Ready,
        trace: &mut Trace,
    ) -> Result<Seen, Failure> {
        let (mut seen, mut captured) = (Seen::default(), Captured::default());
        for (place, (step, prepared)) in run.steps.iter().zip(prepared).enumerate() {
            let is_last = place + 1 == run.steps.len();
            trace.step = u32::try_from(place).unwrap_or(u32::MAX);
            trace.remote = None;
            trace.left_out = None;
            trace.spared.clear();
            trace.stage = Stage::Dns;
            let mut filled_in;
            let prepared = match prepared {
                Prepared::Later => {
                    let since = trace.pause();
                    filled_in = self.prepare_filled_in(run, (place, step), ready, &captured)?;
                    if filled_in.needs_token() {
                        let late = "no token before the time of the run was over";
                        trace.refusal = Some(Failure::new(Reason::AuthTokenFailed, late));
                        trace.secrets.extend_from_slice(filled_in.secrets());
                        let alone = std::slice::from_mut(&mut filled_in);
                        // There always is one while steps are taken.
                        let ends_at = trace.ends_at.unwrap_or(since);
                        let authorized = Box::pin(self.authorize(run, alone, ends_at)).await;
                        authorized.map_err(|(_, failure)| failure)?;
                        trace.refusal = None;
                    }
                    trace.secrets.extend_from_slice(filled_in.secrets());
                    trace.goes_on(since);
                    &filled_in
                }
                prepared => prepared,
            };
            seen = match (&step.kind, prepared) {
                (StepKind::Http(http), Prepared::Http(visit)) => {
                    let wanted = is_last || !step.captures.is_empty();
                    let keep_body = wanted && expect::mentions_body(run);
                    redirects::run(self, run, http, visit, keep_body, trace).await?
                }
                (StepKind::Tcp(step), Prepared::Tcp(prepared)) => {
                    Box::pin(tcp::run(self, run, step, prepared, trace)).await?
                }
                (StepKind::Udp(step), Prepared::Udp(prepared)) => {
                    Box::pin(udp::run(self, run, step, prepared, trace)).await?
                }
                (StepKind::Ssh(step), Prepared::Ssh(source)) => {
                    Box::pin(ssh::run(self, run, step, *source, trace)).await?
                }
                (StepKind::Websocket(step), Prepared::Websocket(prepared)) => {
                    Box::pin(websocket::run(self, run, step, prepared, trace)).await?
                }
                (StepKind::Tls(step), Prepared::Tls(config, source)) => {
                    let target = (step.host.as_str(), step.port);
                    let tls = (&**config, &step.tls);
                    Box::pin(tcp::handshake(self, run, target, tls, *source, trace)).await?
                }
                (StepKind::Dns(step), Prepared::Dns(question, way, source)) => {
                    let asked = (&**question, way);
                    Box::pin(dns::run(self, run, step, asked, *source, trace)).await?
                }
                (StepKind::Icmp(step), Prepared::Icmp(plan)) => {
                    Box::pin(icmp::run(self, run, step, plan, trace)).await?
                }
                (StepKind::Grpc(step), Prepared::Grpc(call, config, source)) => {
                    let tls = config.as_deref().zip(step.tls.as_ref());
                    Box::pin(grpc::run(self, run, step, call, tls, *source, trace)).await?
                }
                (StepKind::Plugin(step), Prepared::Plugin(prepared)) => {
                    Box::pin(plugin::run(run, step, prepared, trace)).await?
                }
                // Prepared from the same steps a moment ago.
                _ => return Err(Failure::new(Reason::ConfigError, "the step changed")),
            };
            if !is_last {
                // Expectations see the last step alone; the others are judged by the default rule.
                let wrong = seen.status.filter(|status| !(200..400).contains(status));
                if let Some(status) = wrong {
                    let evidence = format!("status {status}, {} bytes", seen.body_bytes);
                    return Err(Failure::new(Reason::HttpStatus, evidence));
                }
                let seen = std::mem::take(&mut seen);
                Box::pin(capture::take(self, run, step, seen, &mut captured, trace)).await?;
            }
        }
        Ok(seen)
    }

    async fn judge(
        &self,
        run: &Run,
        prepared: &[Prepared],
        mut trace: Trace,
        seen: Seen,
        latency: Duration,
    ) -> Finding {
        let judge_status = match prepared.last() {
            Some(Prepared::Http(visit)) => visit.request.judge_status,
            Some(Prepared::Later) => !expect::mentions_status(run),
            _ => false,
        };
        let wrong = seen.status.filter(|status| judge_status && !(200..400).contains(status));
        let wrong = wrong.map(|status| {
            let evidence = format!("status {status}, {} bytes", seen.body_bytes);
            Failure::new(Reason::HttpStatus, evidence)
        });
        let has_expressions = !run.expect.is_empty() || !run.warn.is_empty();
        let watcher = trace.watcher.take();
        let is_judged = wrong.is_none() && has_expressions;
        let facts = (is_judged || watcher.is_some()).then(|| facts(run, &mut trace, seen, latency));
        let judgement = match (watcher, facts) {
            (_, None) => expect::Judgement::Pass,
            (None, Some(facts)) => self.evaluator.judge(run, facts).await,
            (Some(watcher), Some(facts)) => {
                Box::pin(look::judge(&watcher, &self.evaluator, run, facts)).await
            }
        };
        if let Some(wrong) = wrong {
            return failed(trace, wrong);
        }
        match judgement {
            expect::Judgement::Pass => passed(trace),
            expect::Judgement::Warn(evidence) => {
                found(trace, Outcome::Warn, Some(Reason::Warning), evidence)
            }
            expect::Judgement::Fail(evidence) => {
                failed(trace, Failure::new(Reason::ExpectationFailed, evidence))
            }
            expect::Judgement::Budget(evidence) => {
                missed(trace, Failure::new(Reason::ExpressionBudget, evidence))
            }
            expect::Judgement::Refused(evidence) => {
                missed(trace, Failure::new(Reason::ConfigError, evidence))
            }
        }
    }
}

fn facts(run: &Run, trace: &mut Trace, seen: Seen, latency: Duration) -> Facts {
    let mut facts = Facts::default();
    facts.status = seen.status;
    if expect::mentions_headers(run) {
        for name in seen.headers.keys() {
            let values =
                seen.headers.get_all(name).iter().map(|v| String::from_utf8_lossy(v.as_bytes()));
            let joined = values.collect::<Vec<_>>().join(", ");
            facts.headers.insert(name.as_str().to_owned(), joined);
        }
    }
    facts.body = seen.body;
    facts.latency = latency;
    let last = trace.step;
    let phases = means(&trace.phases).into_iter().filter(|(step, ..)| *step == last);
    facts.phases = phases.map(|(_, phase, length)| (phase, length)).collect();
    // Of what a connection took that had been made before, nothing was spent on it now: expressions see
    // the same keys as when it was made. Series have no such samples.
    for phase in std::mem::take(&mut trace.spared) {
        if !facts.phases.iter().any(|(of, _)| *of == phase) {
            facts.phases.push((phase, Duration::ZERO));
        }
    }
    facts.phases.push((Phase::Total, latency));
    facts.ip = trace.remote.map(|remote| remote.ip().to_string()).unwrap_or_default();
    facts.http_version = seen.http_version.to_owned();
    facts.cert = trace.cert.take();
    facts.redirects = Redirects { count: seen.redirects, url: seen.url };
    facts.reused = seen.reused;
    facts.chain = std::mem::take(&mut trace.chain);
    facts.tls_version = trace.tls_version.to_owned();
    // IANA's name does not say the version of 1.3.
    let cipher = trace.cipher.and_then(|it| it.as_str()).unwrap_or_default();
    facts.cipher = cipher.replacen("TLS13_", "TLS_", 1);
    facts.dns = seen.dns;
    facts.talk = seen.talk;
    facts.ssh = seen.ssh;
    facts.echoes = seen.echoes;
    facts.grpc = seen.grpc;
    facts.upgraded = seen.upgraded;
    facts.plugin = seen.plugin;
    facts
}

fn found(trace: Trace, outcome: Outcome, reason: Option<Reason>, evidence: String) -> Finding {
    let Trace { step, remote, phases, expiry, .. } = trace;
    Finding { outcome, reason, step, evidence, remote, phases, expiry }
}

/// A pass, or a warning when a plugin gave one.
fn passed(mut trace: Trace) -> Finding {
    let Some((step, evidence)) = trace.warned.take() else {
        return found(trace, Outcome::Pass, None, String::new());
    };
    trace.step = step;
    found(trace, Outcome::Warn, Some(Reason::Warning), evidence)
}

fn failed(trace: Trace, failure: Failure) -> Finding {
    found(trace, Outcome::Fail, Some(failure.reason), failure.evidence)
}

fn missed(trace: Trace, failure: Failure) -> Finding {
    found(trace, Outcome::Missed, Some(failure.reason), failure.evidence)
}

/// Cuts evidence to its bound, at a character.
fn cap(evidence: &mut String) {
    if evidence.len() > EVIDENCE_BYTES_MAX {
        cut(evidence, EVIDENCE_BYTES_MAX - 3);
        evidence.push_str("...");
    }
}
