//! What can be done before a step begins: references filled in, patterns compiled, TLS configurations
//! found. For most steps that is before the clock of the run starts; one that fills captures in has to
//! wait for those.

use std::net::IpAddr;
use std::sync::Arc;

use parallax_common::capture::Captured;
use parallax_common::check::{DnsTransport, Run, Step, StepKind};
use parallax_common::outcome::Reason;

use super::capture::References;
use super::{
    Executor, Failure, dns, expect, grpc, icmp, plugin, redirects, tcp, tls, udp, websocket,
};

/// Fits wherever a captured value may be filled in, in base 64, in digits of base 16 and as a number, too.
const HARMLESS: &str = "0000";

/// A step with its references resolved and its TLS configuration found.
#[derive(Debug)]
pub(super) enum Prepared {
    /// To be prepared when the steps before it have captured what it fills in.
    Later,
    Http(Box<redirects::Visit>),
    Tcp(Box<tcp::Prepared>),
    Udp(Box<udp::Prepared>),
    Ssh(Option<IpAddr>),
    Websocket(Box<websocket::Prepared>),
    Tls(Arc<tls::Config>, Option<IpAddr>),
    Dns(Box<dns::message::Question>, dns::Way, Option<IpAddr>),
    Icmp(icmp::Plan),
    Grpc(Box<grpc::Call>, Option<Arc<tls::Config>>, Option<IpAddr>),
    Plugin(Box<plugin::Prepared>),
}

impl Prepared {
    /// Whether it has to ask for a token first.
    pub fn needs_token(&self) -> bool {
        matches!(self, Self::Http(visit) if visit.wish.is_some())
    }

    /// Values that came from references: they never leave in evidence.
    pub fn secrets(&self) -> &[String] {
        match self {
            Self::Http(visit) => &visit.request.secrets,
            Self::Grpc(call, ..) => &call.secrets,
            Self::Tcp(tcp) => &tcp.secrets,
            Self::Udp(udp) => &udp.secrets,
            Self::Websocket(websocket) => &websocket.secrets,
            Self::Plugin(plugin) => &plugin.secrets,
            Self::Later | Self::Tls(..) | Self::Dns(..) | Self::Icmp(..) | Self::Ssh(_) => &[],
        }
    }
}

impl Executor {
    /// Everything that can be done before the clock starts. Steps that fill captures in have to wait.
    pub(super) fn prepare(
        &self,
        run: &Run,
        ready: &plugin::Ready,
    ) -> Result<Vec<Prepared>, (u32, Failure)> {
        let prepare = |(place, step): (usize, &Step)| match step.fills_in() {
            true => Ok(Prepared::Later),
            false => self
                .prepare_step(run, (place, step), ready, &Captured::default())
                .map_err(|failure| (u32::try_from(place).unwrap_or(u32::MAX), failure)),
        };
        run.steps.iter().enumerate().map(prepare).collect()
    }

    /// A step that fills captures in. What was captured is the target's choice: when the step could be
    /// prepared with something harmless in its place, that it cannot be is no mistake of the check.
    pub(super) fn prepare_filled_in(
        &self,
        run: &Run,
        (place, step): (usize, &Step),
        ready: &plugin::Ready,
        captured: &Captured,
    ) -> Result<Prepared, Failure> {
        let prepare = |captured: &Captured| self.prepare_step(run, (place, step), ready, captured);
        prepare(captured).map_err(|failure| {
            match failure.reason == Reason::ConfigError
                && prepare(&captured.with_each(HARMLESS)).is_ok()
            {
                true => {
                    let evidence =
                        format!("what was captured does not fit here: {}", failure.evidence);
                    Failure::new(Reason::CaptureFailed, evidence)
                }
                false => failure,
            }
        })
    }

    /// One step, with what was captured so far.
    pub(super) fn prepare_step(
        &self,
        run: &Run,
        (place, step): (usize, &Step),
        ready: &plugin::Ready,
        captured: &Captured,
    ) -> Result<Prepared, Failure> {
        let source = run.source_address.or(self.source_address);
        let last = run.steps.len().saturating_sub(1);
        // What sees the facts of a step: expectations those of the last, captures those of their own.
        let is_seen = place == last || !step.captures.is_empty();
        let references = References { secrets: &self.secrets, captured };
        let series_from = |place: usize| {
            let before = run.steps[..place].iter().map(|step| step.kind.exchanges());
            run.steps.len() + before.sum::<usize>()
        };
        match &step.kind {
            StepKind::Http(http) => {
                let extra = self.extra_header.clone();
                let judged = place == last && expect::mentions_status(run);
                self.visit(run, http, extra, !judged, references, source)
                    .map(|visit| Prepared::Http(Box::new(visit)))
            }
            StepKind::Tcp(tcp) => {
                let mut used = Vec::new();
                let config = tcp.tls.as_ref().map(|options| {
                    let client = self.client(options, references, &mut used)?;
                    self.tls.get_with(options, client, tls::Alpn::Nothing)
                });
                let (secrets, series_from) = ((references, used), series_from(place));
                config
                    .transpose()
                    .and_then(|config| {
                        tcp::Prepared::prepare(tcp, config, secrets, source, series_from)
                    })
                    .map(|tcp| Prepared::Tcp(Box::new(tcp)))
            }
            StepKind::Udp(udp) => udp::Prepared::prepare(udp, references, source)
                .map(|udp| Prepared::Udp(Box::new(udp))),
            StepKind::Ssh(_) => Ok(Prepared::Ssh(source)),
            StepKind::Websocket(websocket) => {
                let mut used = Vec::new();
                let tls = match websocket.is_secure() {
                    false => Ok(None),
                    true => self.client(&websocket.tls, references, &mut used).and_then(|client| {
                        let alpn = tls::Alpn::Http1;
                        self.tls.get_with(&websocket.tls, client, alpn).map(Some)
                    }),
                };
                tls.and_then(|tls| {
                    let awaits_close = is_seen && expect::mentions_close_code(run);
                    let series_from = series_from(place);
                    let wanted = websocket::Wanted { tls, source, series_from, awaits_close };
                    let draw = || self.token();
                    websocket::Prepared::prepare(websocket, wanted, references, used, draw)
                })
                .map(|prepared| Prepared::Websocket(Box::new(prepared)))
            }
            StepKind::Tls(step) => {
                let config = self.tls.get(&step.tls);
                config.map(|config| Prepared::Tls(config, source))
            }
            StepKind::Dns(dns) => {
                // Expressions see the last step; the default rule judges the others.
                let judge = place != last || !expect::mentions_rcode(run);
                let facts = is_seen && expect::mentions_answer(run);
                // RFC 8484, 4.1: the same question is the same message.
                let id = if dns.transport == DnsTransport::Https { 0 } else { self.id() };
                let question = dns::message::Question::prepare(dns, id, judge, facts);
                question.and_then(|question| {
                    let way = dns::Way::prepare(dns, &question, &self.tls)?;
                    Ok(Prepared::Dns(Box::new(question), way, source))
                })
            }
            StepKind::Icmp(_) => {
                let judge = place != last || !expect::mentions_echoes(run);
                let (id, token) = (self.id(), self.token());
                Ok(Prepared::Icmp(icmp::Plan { id, token, judge, source }))
            }
            StepKind::Plugin(plugin) => {
                let judge = place != last || !expect::mentions_exit_code(run);
                let (ready, own) = ((ready, place), (&self.plugins, references));
                plugin::Prepared::prepare(plugin, ready, own, series_from(place), judge)
                    .map(|plugin| Prepared::Plugin(Box::new(plugin)))
            }
            StepKind::Grpc(grpc) => {
                let judge = place != last || !expect::mentions_serving(run);
                let call = grpc::Call::prepare(grpc, references, run.timeout, judge);
                call.and_then(|mut call| {
                    let tls = match &grpc.tls {
                        None => None,
                        Some(options) => {
                            let client = self.client(options, references, &mut call.secrets)?;
                            Some(self.tls.get_with(options, client, tls::Alpn::Http2)?)
                        }
                    };
                    Ok(Prepared::Grpc(Box::new(call), tls, source))
                })
            }
        }
    }
}
