//! One run of one check: its steps in order, timed by phase, then its expectations.
//!
//! [`Executor::run`] never fails: whatever happens becomes a finding. [`resolve`], [`connect`],
//! [`tls`], [`http`] and [`tcp`] are the parts of a step, [`secrets`] fills in references before the
//! clock starts, [`expect`] judges after it has stopped. When runs start is the schedule's.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use parallax_common::check::{Run, StepKind};
use parallax_common::expect::{Certificate, Facts};
use parallax_common::limits::{EVIDENCE_BYTES_MAX, RUN_STALL_AFTER};
use parallax_common::outcome::{Outcome, Phase, Reason};
use parallax_common::time::BootTime;
use parallax_runtime::clock;

use crate::core::record::{Finding, cut};

pub mod connect;
pub mod expect;
pub mod http_exchange;
pub mod resolve;
pub mod secrets;
pub mod tcp;
pub mod tls;

#[cfg(test)]
mod tests;

/// What a run is doing, so that a timeout can be named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Stage {
    #[default]
    Dns,
    Connect,
    Tls,
    Exchange,
}

impl Stage {
    const fn timed_out(self) -> Reason {
        match self {
            Self::Dns => Reason::DnsTimeout,
            Self::Connect => Reason::ConnectTimeout,
            Self::Tls => Reason::TlsTimeout,
            Self::Exchange => Reason::Timeout,
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
    /// What an address answered while others of the name are still being connected to.
    pub refusal: Option<Failure>,
}

impl Trace {
    /// Ends a phase that began at `since`.
    pub fn phase(&mut self, phase: Phase, since: Instant) {
        let length = clock::instant().saturating_duration_since(since);
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
    pub http_version: &'static str,
}

/// A run that was carried out.
#[derive(Debug, Clone)]
pub struct Execution {
    /// When its first step began.
    pub started: BootTime,
    /// When its last step ended.
    pub ended: BootTime,
    /// What it found.
    pub finding: Finding,
}

/// Carries out runs.
#[derive(Debug)]
pub struct Executor {
    pub(crate) resolvers: resolve::Resolvers,
    pub(crate) tls: tls::Configs,
    pub(crate) secrets: secrets::Secrets,
    pub(crate) evaluator: expect::Evaluator,
    pub(crate) source_address: Option<IpAddr>,
    pub(crate) extra_header: Option<(HeaderName, HeaderValue)>,
}

impl Executor {
    /// An executor that connects from `source_address` unless a check says otherwise, and sends
    /// `extra_header` with every HTTP request.
    pub fn new(
        secrets: secrets::Secrets,
        source_address: Option<IpAddr>,
        extra_header: Option<(HeaderName, HeaderValue)>,
    ) -> Self {
        Self {
            resolvers: resolve::Resolvers::default(),
            tls: tls::Configs::new(),
            secrets,
            evaluator: expect::Evaluator::default(),
            source_address,
            extra_header,
        }
    }

    /// Carries out one run.
    pub async fn run(&self, run: &Run) -> Execution {
        self.secrets.load(run).await;
        let prepared = self.prepare(run);
        let started = clock::boot_time();
        let prepared = match prepared {
            Ok(prepared) => prepared,
            Err((step, failure)) => {
                let trace = Trace { step, ..Trace::default() };
                let mut finding = missed(trace, failure);
                cap(&mut finding.evidence);
                return Execution { started, ended: started, finding };
            }
        };
        let begun = clock::instant();
        let mut trace = Trace::default();
        let deadline = tokio::time::Instant::from_std(begun + run.timeout);
        let steps = self.steps(run, &prepared, &mut trace);
        let outcome = tokio::time::timeout_at(deadline, steps).await;
        let latency = clock::instant().saturating_duration_since(begun);
        let stalled = latency > run.timeout + RUN_STALL_AFTER;
        // A time the run cannot have taken is not told: it is the probe's, and no wire takes it.
        let ended = started + latency.min(run.timeout + RUN_STALL_AFTER);
        let mut finding = match outcome {
            // Also when an answer was there in the end: nobody knows when it came.
            _ if stalled => {
                let over = latency.saturating_sub(run.timeout).as_millis();
                let evidence = format!(
                    "this probe stood still: the end of the run was noticed {over} ms after its time"
                );
                missed(trace, Failure::new(Reason::MissedOverload, evidence))
            }
            Err(_elapsed) => match trace.refusal.take() {
                Some(failure) if failure.reason.is_missed() => missed(trace, failure),
                Some(failure) => failed(trace, failure),
                None => {
                    let evidence = format!("no end within {} ms", run.timeout.as_millis());
                    let reason = trace.stage.timed_out();
                    failed(trace, Failure::new(reason, evidence))
                }
            },
            Ok(Err(failure)) if failure.reason.is_missed() => missed(trace, failure),
            Ok(Err(failure)) => failed(trace, failure),
            Ok(Ok(seen)) => self.judge(run, &prepared, trace, seen, latency).await,
        };
        for secret in prepared.iter().flat_map(|step| step.secrets()) {
            if finding.evidence.contains(secret) {
                finding.evidence = finding.evidence.replace(secret, "***");
            }
        }
        cap(&mut finding.evidence);
        if run.invert {
            invert(&mut finding);
        }
        Execution { started, ended, finding }
    }

    /// Everything that can be done before the clock starts.
    fn prepare(&self, run: &Run) -> Result<Vec<Prepared>, (u32, Failure)> {
        let source = run.source_address.or(self.source_address);
        let last = run.steps.len().saturating_sub(1);
        let prepare = |(place, step): (usize, &parallax_common::check::Step)| {
            let prepared = match &step.kind {
                StepKind::Http(http) => {
                    let extra = self.extra_header.clone();
                    let judged = place == last && expect::mentions_status(run);
                    http_exchange::Request::prepare(http, &self.secrets, extra, !judged)
                        .and_then(|request| Ok((request, self.tls.get(&http.tls, true)?)))
                        .map(|(request, tls)| Prepared::Http(Box::new(request), tls, source))
                }
                StepKind::Tcp(tcp) => {
                    let config = tcp.tls.as_ref().map(|tls| self.tls.get(tls, false)).transpose();
                    config.map(|config| Prepared::Tcp(config, source))
                }
            };
            prepared.map_err(|failure| (u32::try_from(place).unwrap_or(u32::MAX), failure))
        };
        run.steps.iter().enumerate().map(prepare).collect()
    }

    async fn steps(
        &self,
        run: &Run,
        prepared: &[Prepared],
        trace: &mut Trace,
    ) -> Result<Seen, Failure> {
        let mut seen = Seen::default();
        for (place, (step, prepared)) in run.steps.iter().zip(prepared).enumerate() {
            trace.step = u32::try_from(place).unwrap_or(u32::MAX);
            trace.stage = Stage::Dns;
            seen = match (&step.kind, prepared) {
                (StepKind::Http(http), Prepared::Http(request, config, source)) => {
                    let keep_body = place + 1 == run.steps.len() && expect::mentions_body(run);
                    let target = (request.url.host.as_str(), request.url.port);
                    let stream = self.connect(run, target, *source, trace).await?;
                    if request.url.https {
                        let name = http.tls.server_name.as_deref().unwrap_or(target.0);
                        let stream = tls::handshake(config, name, stream, trace).await?;
                        http_exchange::exchange(request, stream, keep_body, trace).await?
                    } else {
                        http_exchange::exchange(request, stream, keep_body, trace).await?
                    }
                }
                (StepKind::Tcp(step), Prepared::Tcp(config, source)) => {
                    tcp::run(self, run, step, config.as_ref(), *source, trace).await?
                }
                // Prepared from the same steps a moment ago.
                _ => return Err(Failure::new(Reason::ConfigError, "the step changed")),
            };
        }
        Ok(seen)
    }

    /// Name to open connection.
    pub(crate) async fn connect(
        &self,
        run: &Run,
        (host, port): (&str, u16),
        source: Option<IpAddr>,
        trace: &mut Trace,
    ) -> Result<tokio::net::TcpStream, Failure> {
        let addresses = self.resolvers.resolve(host, run.ip, run.resolver, source, trace).await?;
        trace.stage = Stage::Connect;
        trace.remote = None;
        let wanted = connect::Wanted { port, source, timeout: run.timeout };
        connect::connect(&addresses, wanted, trace).await
    }

    async fn judge(
        &self,
        run: &Run,
        prepared: &[Prepared],
        mut trace: Trace,
        seen: Seen,
        latency: Duration,
    ) -> Finding {
        if let (Some(status), Some(Prepared::Http(request, ..))) = (seen.status, prepared.last())
            && request.judge_status
            && !(200..400).contains(&status)
        {
            let evidence = format!("status {status}, {} bytes", seen.body_bytes);
            return failed(trace, Failure::new(Reason::HttpStatus, evidence));
        }
        if run.expect.is_empty() && run.warn.is_empty() {
            return found(trace, Outcome::Pass, None, String::new());
        }
        let facts = facts(run, &mut trace, seen, latency);
        match self.evaluator.judge(run, facts).await {
            expect::Judgement::Pass => found(trace, Outcome::Pass, None, String::new()),
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

/// A step with its references resolved and its TLS configuration found.
#[derive(Debug)]
enum Prepared {
    Http(Box<http_exchange::Request>, Arc<tls::Config>, Option<IpAddr>),
    Tcp(Option<Arc<tls::Config>>, Option<IpAddr>),
}

impl Prepared {
    fn secrets(&self) -> &[String] {
        match self {
            Self::Http(request, ..) => &request.secrets,
            Self::Tcp(..) => &[],
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
    facts.phases =
        trace.phases.iter().filter(|(step, ..)| *step == last).map(|(_, p, d)| (*p, *d)).collect();
    facts.phases.push((Phase::Total, latency));
    facts.ip = trace.remote.map(|remote| remote.ip().to_string()).unwrap_or_default();
    facts.http_version = seen.http_version.to_owned();
    facts.cert = trace.cert.take();
    facts
}

fn found(trace: Trace, outcome: Outcome, reason: Option<Reason>, evidence: String) -> Finding {
    let Trace { step, remote, phases, .. } = trace;
    Finding { outcome, reason, step, evidence, remote, phases }
}

fn failed(trace: Trace, failure: Failure) -> Finding {
    found(trace, Outcome::Fail, Some(failure.reason), failure.evidence)
}

fn missed(trace: Trace, failure: Failure) -> Finding {
    found(trace, Outcome::Missed, Some(failure.reason), failure.evidence)
}

/// A fail is a pass and the other way round; what is no vote stays none.
fn invert(finding: &mut Finding) {
    (finding.outcome, finding.reason) = match finding.outcome {
        Outcome::Fail => (Outcome::Pass, None),
        Outcome::Pass | Outcome::Warn => (Outcome::Fail, Some(Reason::InvertedPass)),
        Outcome::Missed => return,
    };
}

/// Cuts evidence to its bound, at a character.
fn cap(evidence: &mut String) {
    if evidence.len() > EVIDENCE_BYTES_MAX {
        cut(evidence, EVIDENCE_BYTES_MAX - 3);
        evidence.push_str("...");
    }
}
