//! Checks: the list, one in full, and why it is what it is.

use std::collections::BTreeMap;

use parallax_common::outcome::Reason;
use parallax_proto::convert::enums;
use parallax_proto::convert::fields::hex;
use parallax_proto::v1;
use serde::Serialize;

mod websocket;

use self::websocket::WebSocketView;
use super::ballot::{BallotView, RecordView};
use super::incident::IncidentView;
use super::mark::{self, Tone};
use super::table::Table;
use super::{Shell, time, word};

mod alert;
mod http;
mod plugin;

pub use alert::{AlertView, SloView};
pub use http::{BasicView, HttpView, OAuth2View, ProxyView, RedirectsView};
use plugin::PluginView;

/// A check: the fields of YAML with all defaults filled in, and what the coordinator added.
#[derive(Debug, Serialize)]
pub struct CheckView {
    name: String,
    namespace: String,
    uid: String,
    set: String,
    etag: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    created_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    updated_at: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    title: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    description: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    group: String,
    public: bool,
    enabled: bool,
    source: String,
    steps: Vec<StepView>,
    interval: Option<String>,
    timeout: Option<String>,
    expect: Vec<String>,
    warn: Vec<String>,
    invert: bool,
    samples: u32,
    ip: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    source_address: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    resolver: String,
    regions: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    advisory_regions: Vec<String>,
    probes_per_region: u32,
    missing: String,
    severity: String,
    down: DownView,
    up: UpView,
    confirm_spacing: Option<String>,
    alert: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    regional: Option<LastingView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    warning: Option<LastingView>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    depends_on: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    min_open: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    flap: Option<FlapView>,
    /// What it is known to answer; not there when it tells of its target.
    #[serde(skip_serializing_if = "Option::is_none")]
    canary: Option<CanaryView>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    alerts: Vec<AlertView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    slo: Option<SloView>,
    #[serde(skip_serializing_if = "String::is_empty")]
    runbook: String,
    /// Sixteen hexadecimal digits: the version that votes are for.
    run_digest: String,
}

/// When a verdict of `degraded` is an incident, and who is told.
#[derive(Debug, Serialize)]
pub struct LastingView {
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    alert: Vec<String>,
    /// Not there when the check does not say one for these.
    #[serde(skip_serializing_if = "Option::is_none")]
    severity: Option<String>,
}

impl LastingView {
    fn new(lasting: &v1::Lasting) -> Self {
        Self {
            after: time::length(lasting.after.as_ref()),
            alert: lasting.alert.clone(),
            severity: word::said(word::severity(lasting.severity)),
        }
    }
}

/// One step: one of its kinds is there.
#[derive(Debug, Default, Serialize)]
pub struct StepView {
    #[serde(skip_serializing_if = "String::is_empty")]
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    http: Option<HttpView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tcp: Option<TcpView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls: Option<TlsView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dns: Option<DnsView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    udp: Option<UdpView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ssh: Option<SshView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    icmp: Option<IcmpView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    grpc: Option<GrpcView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    websocket: Option<WebSocketView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    plugin: Option<PluginView>,
    /// What later steps are told.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    capture: BTreeMap<String, String>,
}

/// A TCP connect.
#[derive(Debug, Serialize)]
pub struct TcpView {
    address: String,
    tls: bool,
    insecure: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    server_name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    ca_pem: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    min_tls: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    client_cert: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    client_key: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    starttls: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    dialogue: Vec<ExchangeView>,
}

/// One step of a dialogue.
#[derive(Debug, Serialize)]
pub struct ExchangeView {
    name: String,
    #[serde(flatten)]
    said: SaidView,
}

/// What is sent and what is expected, as written, bytes as pairs of hex digits.
#[derive(Debug, Default, Serialize)]
pub struct SaidView {
    #[serde(skip_serializing_if = "Option::is_none")]
    send: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    send_hex: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expect: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expect_hex: Option<String>,
}

/// A datagram and its answer.
#[derive(Debug, Serialize)]
pub struct UdpView {
    address: String,
    #[serde(flatten)]
    said: SaidView,
    #[serde(skip_serializing_if = "Option::is_none")]
    resend: Option<String>,
}

/// The greeting of an SSH server.
#[derive(Debug, Serialize)]
pub struct SshView {
    address: String,
}

/// A TLS handshake.
#[derive(Debug, Serialize)]
pub struct TlsView {
    address: String,
    insecure: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    server_name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    ca_pem: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    min_tls: String,
}

/// A question to a name server.
#[derive(Debug, Serialize)]
pub struct DnsView {
    name: String,
    #[serde(rename = "type")]
    record_type: String,
    class: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    server: String,
    /// `udp`, `udp_only`, `tcp`, `tls` or `https`.
    transport: String,
    recursion: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    path: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    insecure: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    server_name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    ca_pem: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    min_tls: String,
}

/// Echoes to a host.
#[derive(Debug, Serialize)]
pub struct IcmpView {
    host: String,
    count: u32,
    spacing: Option<String>,
    payload_bytes: u32,
    dont_fragment: bool,
    /// The system's choice when it is not there.
    #[serde(skip_serializing_if = "is_zero")]
    ttl: u32,
}

/// A question to a gRPC health service. Metadata is shown as written: references stay references.
#[derive(Debug, Serialize)]
pub struct GrpcView {
    address: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    service: String,
    tls: bool,
    insecure: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    server_name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    ca_pem: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    min_tls: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    client_cert: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    client_key: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    authority: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    metadata: BTreeMap<String, String>,
}

/// When it is down.
#[derive(Debug, Serialize)]
pub struct DownView {
    /// `majority`, `all`, `any` or a number.
    regions: String,
    failures: u32,
    #[serde(skip_serializing_if = "is_zero")]
    of: u32,
}

/// When it is well again.
#[derive(Debug, Serialize)]
pub struct UpView {
    successes: u32,
    #[serde(skip_serializing_if = "is_zero")]
    of: u32,
}

/// What its target is known to answer.
#[derive(Debug, Serialize)]
struct CanaryView {
    /// `pass` or `fail`.
    expect: String,
    /// The only reason of a fail that is the known one.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
}

/// When it flaps.
#[derive(Debug, Serialize)]
pub struct FlapView {
    pub(super) opens: u32,
    pub(super) within: Option<String>,
    pub(super) calm: Option<String>,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// A secret as it is stored: a template, or that it is sealed.
pub fn secret(secret: Option<&v1::Secret>) -> String {
    match secret.and_then(|secret| secret.value.as_ref()) {
        Some(v1::secret::Value::Template(template)) => template.clone(),
        Some(v1::secret::Value::Sealed(_)) => "(sealed)".to_owned(),
        None => String::new(),
    }
}

impl CheckView {
    /// The view of a message.
    pub fn new(check: &v1::Check) -> Self {
        let meta = check.meta.clone().unwrap_or_default();
        let run = check.run.clone().unwrap_or_default();
        let down = check.down.unwrap_or_default();
        let up = check.up.unwrap_or_default();
        let regions = match down.regions() {
            v1::Quorum::Count => down.count.to_string(),
            _ => word::quorum(down.regions),
        };
        Self {
            created_at: time::instant(meta.created_at.as_ref()),
            updated_at: time::instant(meta.updated_at.as_ref()),
            name: meta.name,
            namespace: meta.namespace,
            uid: meta.uid,
            set: meta.set,
            etag: meta.etag,
            labels: meta.labels,
            title: check.title.clone(),
            description: check.description.clone(),
            group: check.group.clone(),
            public: check.public,
            enabled: check.enabled.unwrap_or(true),
            source: word::source(check.source),
            steps: run.steps.iter().map(StepView::new).collect(),
            interval: time::length(check.interval.as_ref()),
            timeout: time::length(run.timeout.as_ref()),
            invert: run.invert,
            samples: run.samples,
            ip: word::family(run.ip).trim_start_matches('v').to_owned(),
            expect: run.expect,
            warn: run.warn,
            source_address: run.source_address,
            resolver: run.resolver,
            regions: check.regions.clone(),
            advisory_regions: check.advisory_regions.clone(),
            probes_per_region: check.probes_per_region,
            missing: word::missing(check.missing),
            severity: word::said(word::severity(check.severity))
                .unwrap_or_else(|| "critical".to_owned()),
            down: DownView { regions, failures: down.failures, of: down.of },
            up: UpView { successes: up.successes, of: up.of },
            confirm_spacing: time::length(check.confirm_spacing.as_ref()),
            alert: check.alert.clone(),
            regional: check.regional.as_ref().map(LastingView::new),
            warning: check.warning.as_ref().map(LastingView::new),
            depends_on: check.depends_on.clone(),
            min_open: time::length(check.min_open.as_ref()),
            flap: check.flap.as_ref().map(|flap| FlapView {
                opens: flap.opens,
                within: time::length(flap.within.as_ref()),
                calm: time::length(flap.calm.as_ref()),
            }),
            canary: check.canary.as_ref().map(|canary| CanaryView {
                expect: word::answer(canary.expect),
                reason: enums::reason(canary.reason).map(Reason::word),
            }),
            alerts: check.alerts.iter().map(AlertView::new).collect(),
            slo: check.slo.as_ref().map(SloView::new),
            runbook: check.runbook.clone(),
            run_digest: format!("{:016x}", check.run_digest),
        }
    }

    /// Its name, and that it does not verify whom it speaks with.
    fn shown_name(&self) -> String {
        let insecure = self.steps.iter().any(StepView::is_insecure);
        if insecure { format!("{} (insecure)", self.name) } else { self.name.clone() }
    }

    fn target(&self) -> String {
        let Some(first) = self.steps.first() else { return "-".to_owned() };
        let target = match first {
            StepView { http: Some(http), .. } => http.url.clone(),
            StepView { tcp: Some(tcp), .. } => tcp.address.clone(),
            StepView { tls: Some(tls), .. } => tls.address.clone(),
            StepView { dns: Some(dns), .. } => dns.question(),
            StepView { udp: Some(udp), .. } => udp.address.clone(),
            StepView { ssh: Some(ssh), .. } => ssh.address.clone(),
            StepView { icmp: Some(icmp), .. } => icmp.host.clone(),
            StepView { websocket: Some(websocket), .. } => websocket.url().to_owned(),
            StepView { plugin: Some(plugin), .. } => plugin.target(),
            StepView { grpc: Some(GrpcView { address, service, .. }), .. } => {
                format!("{address} {service}").trim_end().to_owned()
            }
            _ => "-".to_owned(),
        };
        match self.steps.len() {
            1 => target,
            steps => format!("{target} (+{} steps)", steps - 1),
        }
    }
}

impl StepView {
    fn is_insecure(&self) -> bool {
        self.http.as_ref().is_some_and(|of| of.insecure)
            || self.tcp.as_ref().is_some_and(|of| of.insecure)
            || self.tls.as_ref().is_some_and(|of| of.insecure)
            || self.dns.as_ref().is_some_and(|of| of.insecure)
            || self.grpc.as_ref().is_some_and(|of| of.insecure)
            || self.websocket.as_ref().is_some_and(|of| of.insecure)
    }

    fn new(step: &v1::Step) -> Self {
        let capture = |of: &v1::Capture| (of.name.clone(), of.value.clone());
        let capture = step.capture.iter().map(capture).collect();
        let mut view = Self { name: step.name.clone(), capture, ..Self::default() };
        match &step.kind {
            Some(v1::step::Kind::Http(http)) => view.http = Some(HttpView::new(http)),
            Some(v1::step::Kind::Tcp(tcp)) => view.tcp = Some(TcpView::new(tcp)),
            Some(v1::step::Kind::Tls(tls)) => view.tls = Some(TlsView::new(tls)),
            Some(v1::step::Kind::Dns(dns)) => view.dns = Some(DnsView::new(dns)),
            Some(v1::step::Kind::Udp(udp)) => {
                view.udp = Some(UdpView {
                    address: udp.address.clone(),
                    said: SaidView::new(udp.send.as_ref(), udp.expect.as_ref()),
                    resend: time::length(udp.resend.as_ref()),
                });
            }
            Some(v1::step::Kind::Ssh(ssh)) => {
                view.ssh = Some(SshView { address: ssh.address.clone() });
            }
            Some(v1::step::Kind::Icmp(icmp)) => view.icmp = Some(IcmpView::new(icmp)),
            Some(v1::step::Kind::Grpc(grpc)) => view.grpc = Some(GrpcView::new(grpc)),
            Some(v1::step::Kind::Websocket(websocket)) => {
                view.websocket = Some(WebSocketView::new(websocket));
            }
            Some(v1::step::Kind::Plugin(plugin)) => view.plugin = Some(PluginView::new(plugin)),
            None => {}
        }
        view
    }
}

impl TcpView {
    fn new(step: &v1::TcpStep) -> Self {
        Self {
            address: step.address.clone(),
            tls: step.tls,
            insecure: step.insecure,
            server_name: step.server_name.clone(),
            ca_pem: step.ca_pem.clone(),
            min_tls: enums::tls_version(step.min_tls)
                .map_or(String::new(), |version| version.word().to_owned()),
            client_cert: secret(step.client_cert.as_ref()),
            client_key: secret(step.client_key.as_ref()),
            starttls: enums::start_tls(step.starttls)
                .map_or(String::new(), |protocol| protocol.word().to_owned()),
            dialogue: step.dialogue.iter().map(ExchangeView::new).collect(),
        }
    }
}

impl ExchangeView {
    fn new(exchange: &v1::Exchange) -> Self {
        let said = SaidView::new(exchange.send.as_ref(), exchange.expect.as_ref());
        Self { name: exchange.name.clone(), said }
    }
}

impl SaidView {
    fn new(send: Option<&v1::Payload>, expect: Option<&v1::Expected>) -> Self {
        let mut view = Self::default();
        match send.and_then(|send| send.form.as_ref()) {
            Some(v1::payload::Form::Text(text)) => view.send = Some(secret(Some(text))),
            Some(v1::payload::Form::Raw(raw)) => view.send_hex = Some(hex(raw)),
            None => {}
        }
        match expect.and_then(|expect| expect.form.as_ref()) {
            Some(v1::expected::Form::Pattern(text)) => view.expect = Some(text.clone()),
            Some(v1::expected::Form::Raw(raw)) => view.expect_hex = Some(hex(raw)),
            None => {}
        }
        view
    }
}

impl TlsView {
    fn new(step: &v1::TlsStep) -> Self {
        Self {
            address: step.address.clone(),
            insecure: step.insecure,
            server_name: step.server_name.clone(),
            ca_pem: step.ca_pem.clone(),
            min_tls: enums::tls_version(step.min_tls)
                .map_or(String::new(), |version| version.word().to_owned()),
        }
    }
}

impl DnsView {
    fn new(step: &v1::DnsStep) -> Self {
        Self {
            name: step.name.clone(),
            record_type: step.r#type.clone(),
            class: step.class.clone(),
            server: step.server.clone(),
            transport: word::transport(step.transport),
            recursion: step.recursion.unwrap_or(true),
            path: step.path.clone(),
            insecure: step.insecure,
            server_name: step.server_name.clone(),
            ca_pem: step.ca_pem.clone(),
            min_tls: enums::tls_version(step.min_tls)
                .map_or(String::new(), |version| version.word().to_owned()),
        }
    }

    fn question(&self) -> String {
        let Self { name, record_type, server, .. } = self;
        match server.as_str() {
            "" => format!("{name} {record_type}"),
            server => format!("{name} {record_type} @{server}"),
        }
    }
}

impl IcmpView {
    fn new(step: &v1::IcmpStep) -> Self {
        Self {
            host: step.host.clone(),
            count: step.count,
            spacing: time::length(step.spacing.as_ref()),
            payload_bytes: step.payload_bytes,
            dont_fragment: step.dont_fragment,
            ttl: step.ttl,
        }
    }
}

impl GrpcView {
    fn new(step: &v1::GrpcStep) -> Self {
        let key = |header: &v1::Header| (header.name.clone(), secret(header.value.as_ref()));
        Self {
            address: step.address.clone(),
            service: step.service.clone(),
            tls: step.tls,
            insecure: step.insecure,
            server_name: step.server_name.clone(),
            ca_pem: step.ca_pem.clone(),
            min_tls: enums::tls_version(step.min_tls)
                .map_or(String::new(), |version| version.word().to_owned()),
            client_cert: secret(step.client_cert.as_ref()),
            client_key: secret(step.client_key.as_ref()),
            authority: step.authority.clone(),
            metadata: step.metadata.iter().map(key).collect(),
        }
    }
}

/// `check list`.
#[derive(Debug, Serialize)]
pub struct ChecksView {
    revision: u64,
    checks: Vec<CheckView>,
}

impl ChecksView {
    /// The view of all pages.
    pub fn new(checks: &[v1::Check], revision: u64) -> Self {
        Self { revision, checks: checks.iter().map(CheckView::new).collect() }
    }

    /// One line a check.
    pub fn table(&self, shell: &Shell) -> String {
        let mut table =
            Table::new(["NAME", "TARGET", "INTERVAL", "TIMEOUT", "REGIONS", "ALERT", "STATE"]);
        for check in &self.checks {
            table.row([
                check.shown_name(),
                check.target(),
                time::or_dash(check.interval.clone()),
                time::or_dash(check.timeout.clone()),
                check.regions.join(","),
                time::or_dash(Some(check.alert.join(","))),
                if check.enabled { "enabled" } else { "paused" }.to_owned(),
            ]);
        }
        shell.rows(table)
    }
}

/// `check explain`.
#[derive(Debug, Serialize)]
pub struct ExplainView {
    check: String,
    verdict: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    degraded: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<String>,
    /// Resolved by hand: it does not open again before it recovers once.
    latched: bool,
    /// What was decided, from the record.
    sentences: Vec<String>,
    /// What holds at this moment.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    now: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    record: Option<RecordView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    incident: Option<IncidentView>,
    revision: u64,
}

impl ExplainView {
    /// The view of an answer; `name` is what was asked for.
    pub fn new(name: &str, answer: &v1::ExplainCheckResponse) -> Self {
        let verdict = answer.verdict.clone().unwrap_or_default();
        let word = word::said(word::verdict(verdict.verdict));
        Self {
            check: name.to_owned(),
            verdict: word.unwrap_or_else(|| "unknown".to_owned()),
            degraded: word::said(word::degraded(verdict.degraded)),
            since: time::instant(verdict.since.as_ref()),
            latched: verdict.latched,
            sentences: answer.sentences.clone(),
            now: answer.now.clone(),
            record: verdict.record.as_ref().map(RecordView::new),
            incident: answer.incident.as_ref().map(|incident| IncidentView::new(incident, &[])),
            revision: answer.revision,
        }
    }

    /// The verdict, the sentences, and the ballots they rest on.
    pub fn text(&self, shell: &Shell) -> String {
        let mut verdict = self.verdict.clone();
        if let Some(kind) = &self.degraded {
            verdict = format!("{verdict} ({kind})");
        }
        let headline = format!("{} {verdict}", mark::of_verdict(&self.verdict));
        let headline = Tone::of_verdict(&self.verdict).paint(&headline, shell.color_out);
        let mut text = format!("{}  {headline}", super::table::clean(&self.check));
        if let Some(since) = &self.since {
            text.push_str(&format!("  since {since}"));
        }
        text.push('\n');
        if self.latched {
            text.push_str("resolved by hand: it does not open again before it recovers once\n");
        }
        for sentence in &self.sentences {
            text.push_str(&format!("  {}\n", super::table::clean(sentence)));
        }
        if !self.now.is_empty() {
            text.push_str("\nnow, which the verdict does not rest on\n");
        }
        for sentence in &self.now {
            text.push_str(&format!("  {}\n", super::table::clean(sentence)));
        }
        if let Some(record) = &self.record {
            text.push_str("\nballots when this was decided (`parallax status` has those of now)\n");
            text.push_str(&BallotView::table(&record.ballots, shell));
        }
        if let Some(incident) = &self.incident {
            text.push_str(&format!("\nincident {}: parallax incident get {0}\n", incident.uid));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(kind: v1::step::Kind) -> CheckView {
        let step = v1::Step { kind: Some(kind), ..Default::default() };
        let run = v1::Run { steps: vec![step], ..v1::Run::default() };
        CheckView::new(&v1::Check { run: Some(run), ..v1::Check::default() })
    }

    #[test]
    fn a_check_of_any_kind_that_verifies_nobody_is_shown_as_insecure() {
        use v1::step::Kind;
        let kinds = |insecure| {
            [
                Kind::Http(v1::HttpStep { insecure, ..Default::default() }),
                Kind::Tcp(v1::TcpStep { insecure, ..Default::default() }),
                Kind::Tls(v1::TlsStep { insecure, ..Default::default() }),
                Kind::Dns(v1::DnsStep { insecure, ..Default::default() }),
                Kind::Grpc(v1::GrpcStep { insecure, ..Default::default() }),
                Kind::Websocket(v1::WebSocketStep { insecure, ..Default::default() }),
            ]
        };
        for (insecure, shown) in [(true, "shop (insecure)"), (false, "shop")] {
            for kind in kinds(insecure) {
                let named = CheckView { name: "shop".to_owned(), ..view(kind.clone()) };
                assert_eq!(named.shown_name(), shown, "{kind:?}");
            }
        }
    }

    #[test]
    fn each_kind_shows_its_target_and_its_fields() {
        let http = v1::HttpStep { url: "https://shop.example/".to_owned(), ..Default::default() };
        let tcp = v1::TcpStep { address: "shop.example:80".to_owned(), ..Default::default() };
        let tls = v1::TlsStep {
            address: "shop.example:443".to_owned(),
            min_tls: v1::TlsVersion::V13.into(),
            ..Default::default()
        };
        let dns = v1::DnsStep {
            name: "shop.example".to_owned(),
            r#type: "MX".to_owned(),
            class: "IN".to_owned(),
            transport: v1::DnsTransport::UdpOnly.into(),
            ..Default::default()
        };
        let secure = v1::DnsStep {
            server: "ns1.shop.example:443".to_owned(),
            transport: v1::DnsTransport::Https.into(),
            insecure: true,
            server_name: "dns.shop.example".to_owned(),
            min_tls: v1::TlsVersion::V13.into(),
            path: "/q".to_owned(),
            ..dns.clone()
        };
        let named = v1::DnsStep { server: "ns1.shop.example".to_owned(), ..dns.clone() };
        let raw = |bytes: &'static [u8]| v1::expected::Form::Raw(bytes.into());
        let mail = v1::TcpStep {
            address: "mail.example:25".to_owned(),
            starttls: v1::StartTls::Smtp.into(),
            min_tls: v1::TlsVersion::V12.into(),
            client_cert: written("${file:/c}"),
            client_key: written("${file:/k}"),
            dialogue: vec![v1::Exchange {
                name: "1".to_owned(),
                send: Some(v1::Payload {
                    form: written("PASS ${env:PW}").map(v1::payload::Form::Text),
                }),
                expect: Some(v1::Expected { form: Some(raw(b"\r\n")) }),
            }],
            ..Default::default()
        };
        let udp = v1::UdpStep {
            address: "shop.example:7".to_owned(),
            send: Some(v1::Payload { form: Some(v1::payload::Form::Raw(vec![0, 255].into())) }),
            expect: Some(v1::Expected { form: Some(v1::expected::Form::Pattern("^x".to_owned())) }),
            resend: Some(prost_types::Duration { seconds: 1, nanos: 0 }),
        };
        let ssh = v1::SshStep { address: "shop.example:22".to_owned() };
        let icmp = v1::IcmpStep {
            host: "gw.example".to_owned(),
            count: 5,
            spacing: Some(prost_types::Duration { seconds: 0, nanos: 20_000_000 }),
            payload_bytes: 56,
            ttl: 3,
            ..Default::default()
        };
        let grpc = v1::GrpcStep {
            address: "shop.example:443".to_owned(),
            tls: true,
            client_cert: written("${file:/c}"),
            metadata: vec![v1::Header { name: "k".to_owned(), value: written("${env:K}") }],
            ..Default::default()
        };
        let websocket = v1::WebSocketStep {
            url: "wss://shop.example/live".to_owned(),
            headers: vec![v1::Header { name: "k".to_owned(), value: written("${env:K}") }],
            subprotocols: vec!["chat".to_owned()],
            min_tls: v1::TlsVersion::V13.into(),
            dialogue: vec![v1::Exchange {
                name: "1".to_owned(),
                send: Some(v1::Payload { form: written("hi").map(v1::payload::Form::Text) }),
                expect: None,
            }],
            ..Default::default()
        };
        let cart = v1::GrpcStep { service: "shop.Cart".to_owned(), ..grpc.clone() };
        let plugin = v1::PluginStep {
            command: "check_http".to_owned(),
            args: vec!["-H".to_owned(), "shop.example".to_owned()],
            env: vec![v1::Header { name: "K".to_owned(), value: written("${env:K}") }],
            series: vec!["time".to_owned()],
        };
        use v1::step::Kind;
        for (kind, target, field, json) in [
            (
                Kind::Plugin(plugin),
                "check_http -H shop.example",
                "plugin",
                Some(
                    r#"{"command":"check_http","args":["-H","shop.example"],"env":{"K":"${env:K}"},"series":["time"]}"#,
                ),
            ),
            (
                Kind::Icmp(icmp),
                "gw.example",
                "icmp",
                Some(
                    r#"{"host":"gw.example","count":5,"spacing":"20ms","payload_bytes":56,"dont_fragment":false,"ttl":3}"#,
                ),
            ),
            (
                Kind::Grpc(grpc),
                "shop.example:443",
                "grpc",
                Some(
                    r#"{"address":"shop.example:443","tls":true,"insecure":false,"client_cert":"${file:/c}","metadata":{"k":"${env:K}"}}"#,
                ),
            ),
            (Kind::Grpc(cart), "shop.example:443 shop.Cart", "grpc", None),
            (
                Kind::Websocket(websocket),
                "wss://shop.example/live",
                "websocket",
                Some(
                    r#"{"url":"wss://shop.example/live","headers":{"k":"${env:K}"},"subprotocols":["chat"],"insecure":false,"min_tls":"1.3","dialogue":[{"name":"1","send":"hi"}]}"#,
                ),
            ),
            (Kind::Http(http), "https://shop.example/", "http", None),
            (Kind::Tcp(tcp), "shop.example:80", "tcp", None),
            (
                Kind::Tls(tls),
                "shop.example:443",
                "tls",
                Some(r#"{"address":"shop.example:443","insecure":false,"min_tls":"1.3"}"#),
            ),
            (
                Kind::Dns(dns),
                "shop.example MX",
                "dns",
                Some(
                    r#"{"name":"shop.example","type":"MX","class":"IN","transport":"udp_only","recursion":true}"#,
                ),
            ),
            (
                Kind::Dns(secure),
                "shop.example MX @ns1.shop.example:443",
                "dns",
                Some(
                    r#"{"name":"shop.example","type":"MX","class":"IN","server":"ns1.shop.example:443","transport":"https","recursion":true,"path":"/q","insecure":true,"server_name":"dns.shop.example","min_tls":"1.3"}"#,
                ),
            ),
            (Kind::Dns(named), "shop.example MX @ns1.shop.example", "dns", None),
            (
                Kind::Tcp(mail),
                "mail.example:25",
                "tcp",
                Some(
                    r#"{"address":"mail.example:25","tls":false,"insecure":false,"min_tls":"1.2","client_cert":"${file:/c}","client_key":"${file:/k}","starttls":"smtp","dialogue":[{"name":"1","send":"PASS ${env:PW}","expect_hex":"0d0a"}]}"#,
                ),
            ),
            (
                Kind::Udp(udp),
                "shop.example:7",
                "udp",
                Some(
                    r#"{"address":"shop.example:7","send_hex":"00ff","expect":"^x","resend":"1s"}"#,
                ),
            ),
            (Kind::Ssh(ssh), "shop.example:22", "ssh", Some(r#"{"address":"shop.example:22"}"#)),
        ] {
            let view = view(kind);
            assert_eq!(view.target(), target);
            let shown = serde_json::to_value(&view.steps[0]).unwrap();
            let fields: Vec<&String> = shown.as_object().unwrap().keys().collect();
            assert_eq!(fields, [field]);
            if let Some(json) = json {
                let wanted: serde_json::Value = serde_json::from_str(json).unwrap();
                assert_eq!(shown[field], wanted);
            }
        }
    }

    fn written(text: &str) -> Option<v1::Secret> {
        Some(v1::Secret { value: Some(v1::secret::Value::Template(text.to_owned())) })
    }

    #[test]
    fn the_options_of_http_are_shown_as_they_are_written() {
        let shown = |step: &v1::HttpStep| serde_json::to_value(HttpView::new(step)).unwrap();
        let none = v1::HttpStep { url: "https://shop.example/".to_owned(), ..Default::default() };
        assert_eq!(
            shown(&none),
            serde_json::json!({
                "url": "https://shop.example/", "method": "", "body_max_bytes": 0,
                "insecure": false, "redirects": "none",
            })
        );
        let all = v1::HttpStep {
            redirects: Some(v1::Redirects { max: 3 }),
            basic: Some(v1::BasicAuth { username: written("me"), password: written("${env:PW}") }),
            bearer: written("${env:TOKEN}"),
            query: vec![v1::QueryParameter { name: "k".to_owned(), value: written("v") }],
            accept_encoding: vec![v1::ContentEncoding::Br.into()],
            http_version: v1::HttpVersion::V2.into(),
            min_tls: v1::TlsVersion::V13.into(),
            client_cert: written("${file:/c}"),
            client_key: written("${file:/k}"),
            keep_alive: true,
            oauth2: Some(v1::OAuth2 {
                token_url: "https://login.example/".to_owned(),
                client_id: written("me"),
                client_secret: written("${env:SECRET}"),
                scopes: vec!["read".to_owned()],
                ..Default::default()
            }),
            proxy: Some(v1::Proxy {
                url: "http://proxy.example:3128".to_owned(),
                username: written("me"),
                password: written("${env:PROXY}"),
            }),
            ..none
        };
        assert_eq!(
            shown(&all),
            serde_json::json!({
                "url": "https://shop.example/", "method": "", "body_max_bytes": 0,
                "insecure": false, "redirects": {"max": 3},
                "basic": {"username": "me", "password": "${env:PW}"}, "bearer": "${env:TOKEN}",
                "query": {"k": "v"}, "accept_encoding": ["br"], "http_version": "2",
                "min_tls": "1.3", "client_cert": "${file:/c}", "client_key": "${file:/k}",
                "keep_alive": true,
                "oauth2": {
                    "token_url": "https://login.example/", "client_id": "me",
                    "client_secret": "${env:SECRET}", "scopes": ["read"],
                },
                "proxy": {
                    "url": "http://proxy.example:3128", "username": "me", "password": "${env:PROXY}",
                },
            })
        );
    }
}
