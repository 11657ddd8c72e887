//! A check as every part of Parallax knows it: already validated, never checked again.
//!
//! Untrusted forms (YAML, gRPC) become these types in `parallax-proto::convert`, which reports
//! every broken rule at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::alert::{Alert, Slo};
use crate::name::{RunDigest, Uid};
use crate::outcome::{DegradedKind, words};
use crate::target::shown_address;

mod canary;
mod certificate;
mod dns;
mod grpc;
mod icmp;
mod lasting;
mod oauth2;
mod plugin;
mod proxy;
mod talk;
mod websocket;

pub use canary::Canary;
pub use dns::{DnsClass, DnsStep, DnsTransport, DnsType};
pub use grpc::GrpcStep;
pub use icmp::IcmpStep;
pub use lasting::Lasting;
pub use oauth2::{OAuth2, is_scope};
pub use plugin::{PluginStep, shown_plugin};
pub use proxy::{Proxy, ProxyCredentials, ProxyScheme};
pub use talk::{Exchange, Expected, Payload, SshStep, StartTls, UdpStep};
pub use websocket::WebSocketStep;

/// What to test, how often, from where, and what counts as down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Never changes, never used again.
    pub uid: Uid,
    /// First component of every key.
    pub namespace: String,
    /// Unique in its namespace.
    pub name: String,
    /// Free key-value pairs, for selection and routing.
    pub labels: BTreeMap<String, String>,
    /// Log index of the last change.
    pub etag: u64,
    /// A disabled check has no assignments and no verdict.
    pub enabled: bool,
    /// What one execution does.
    pub run: Run,
    /// What a vote must be for.
    pub run_digest: RunDigest,
    /// Time between slots of one region.
    pub interval: Duration,
    /// Regions that count, in rank order.
    pub regions: Vec<String>,
    /// Regions that are looked from and shown, and never counted, in order. None is in `regions`.
    pub advisory_regions: Vec<String>,
    /// Probes of each region that run it, where there are so many. At least 1.
    pub probes_per_region: u32,
    /// When it is down and when it is well again.
    pub policy: Policy,
    /// Names of contacts.
    pub alert: Vec<String>,
    /// A link for the person who is paged.
    pub runbook: String,
    /// Time between the starts of ordered runs.
    pub confirm_spacing: Duration,
    /// When a failure that too few regions see becomes an incident.
    pub regional: Lasting,
    /// The same for warnings.
    pub warning: Lasting,
    /// Conditions on what was measured.
    pub alerts: Vec<Alert>,
    /// How many of its runs are to pass.
    pub slo: Option<Slo>,
}

impl Check {
    /// Every region it looks from: by rank those that count, after them the advisory ones.
    pub fn looks_from(&self) -> impl Iterator<Item = &String> + '_ {
        self.regions.iter().chain(&self.advisory_regions)
    }

    /// When a verdict of this kind becomes an incident.
    pub fn lasting(&self, kind: DegradedKind) -> &Lasting {
        match kind {
            DegradedKind::Regional => &self.regional,
            DegradedKind::Warning => &self.warning,
        }
    }

    /// Every contact that it names, some perhaps twice.
    pub fn contacts(&self) -> impl Iterator<Item = &String> + '_ {
        self.alert.iter().chain(&self.regional.alert).chain(&self.warning.alert)
    }

    /// Whether the region at this place of [`Check::looks_from`] is shown only.
    pub fn is_advisory(&self, place: usize) -> bool {
        place >= self.regions.len()
    }
}

/// The numbers a verdict follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Failing regions that make it down.
    pub regions: Quorum,
    /// Fails in a row that turn a region to fail. 1 to 32.
    pub failures: u32,
    /// Passes in a row that turn a region back. 1 to 32.
    pub successes: u32,
    /// M of N: so many of the newest runs are looked at for `failures`, at least as many, 32 at most. 0:
    /// in a row.
    pub failures_of: u32,
    /// The same for `successes`.
    pub successes_of: u32,
    /// What a region counts as that voted and is silent.
    pub missing: Missing,
}

/// What a region counts as whose vote has gone stale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Missing {
    /// As nothing: with too few others the verdict is `unknown`.
    #[default]
    Unknown,
    /// As nothing: with too few others the verdict stays what it was.
    Ignore,
    /// As failing.
    Fail,
    /// As passing, but never toward the end of an incident.
    Pass,
}

impl Missing {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Unknown, Self::Ignore, Self::Fail, Self::Pass];

    /// As it is written.
    pub fn word(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Ignore => "ignore",
            Self::Fail => "fail",
            Self::Pass => "pass",
        }
    }
}

/// How many failing regions make a check down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quorum {
    /// `max(2, floor(R/2) + 1)` for R > 1, else 1.
    Majority,
    /// All of them.
    All,
    /// One is enough.
    Any,
    /// So many.
    Count(u32),
}

/// Everything that the run digest covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// At least one, in order.
    pub steps: Vec<Step>,
    /// Of the whole run; of each, when a slot has several samples.
    pub timeout: Duration,
    /// CEL sources; one that does not hold makes the run a fail.
    pub expect: Vec<String>,
    /// CEL sources; one that does not hold makes the run a warn.
    pub warn: Vec<String>,
    /// A fail is a pass and the other way round.
    pub invert: bool,
    /// Its answer is known: a pass is to see it, a fail is to see another one.
    pub canary: Option<Canary>,
    /// Which addresses to use.
    pub ip: IpFamily,
    /// Where connections start from; the system's choice when absent.
    pub source_address: Option<std::net::IpAddr>,
    /// The DNS server to ask; the system's when absent.
    pub resolver: Option<std::net::SocketAddr>,
    /// How often it is done in a slot, at least 1. See [`Run::longest`].
    pub samples: u32,
}

impl Run {
    /// Authorities that are in `known` already are held once, and the others are put there: many checks
    /// trust the same few.
    pub fn share_authorities(&mut self, known: &mut BTreeSet<Arc<str>>) {
        for pem in self.steps.iter_mut().filter_map(|step| step.kind.authorities_mut()) {
            match known.get(&**pem) {
                Some(same) => *pem = Arc::clone(same),
                None => drop(known.insert(Arc::clone(pem))),
            }
        }
    }

    /// The longest that a slot may take: each sample starts when the one before it has ended, and none
    /// starts an interval or more after the slot.
    ///
    /// A token that is got before the clock of a run starts is waited for as long as for the run itself:
    /// that, too, is time in which nothing is heard of the slot.
    pub fn longest(&self, interval: Duration) -> Duration {
        let asks = |step: &Step| {
            let StepKind::Http(http) = &step.kind else { return false };
            matches!(http.auth, Some(HttpAuth::OAuth2(_)))
        };
        let waits = if self.steps.iter().any(asks) { 2 } else { 1 };
        let one = self.timeout.saturating_mul(waits);
        let all = one.saturating_mul(self.samples.max(1));
        all.min(interval.saturating_add(one))
    }
}

/// Which addresses a run may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IpFamily {
    /// Whatever the name has, IPv6 and IPv4 in the resolver's order.
    #[default]
    Auto,
    /// IPv4 only.
    V4,
    /// IPv6 only.
    V6,
}

/// One thing a run does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Shown with failures; may be empty when there is one step.
    pub name: String,
    /// What it does.
    pub kind: StepKind,
    /// What later steps are told of it, in order.
    pub captures: Vec<Capture>,
}

/// A value that a step captures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capture {
    /// Of its own within the run. See [`crate::capture::is_name`].
    pub name: String,
    /// CEL over what the step saw; gives a text or a number.
    pub value: String,
}

impl Step {
    /// The names of what is captured once the step has ended: its own, and the groups of its patterns.
    pub fn captured(&self) -> impl Iterator<Item = String> {
        let patterns: Vec<&Expected> = match &self.kind {
            StepKind::Tcp(TcpStep { dialogue, .. })
            | StepKind::Websocket(WebSocketStep { dialogue, .. }) => {
                dialogue.iter().filter_map(|exchange| exchange.expect.as_ref()).collect()
            }
            StepKind::Udp(udp) => udp.expect.iter().collect(),
            _ => Vec::new(),
        };
        let groups = patterns.into_iter().filter_map(|expected| match expected {
            Expected::Pattern(source) => crate::pattern::Pattern::admit(source).ok(),
            Expected::Bytes(_) => None,
        });
        let groups: Vec<String> = groups
            .flat_map(|pattern| pattern.captures().map(str::to_owned).collect::<Vec<_>>())
            .collect();
        groups.into_iter().chain(self.captures.iter().map(|capture| capture.name.clone()))
    }

    /// Every text of it in which captures of earlier steps are filled in: the texts with references, and
    /// those that hold captures alone.
    pub fn fills_in(&self) -> bool {
        let [url, body] = self.kind.plain_with_captures();
        let begins = |text: &&str| text.contains("${capture:");
        self.kind.templates().iter().any(begins) || begins(&url) || begins(&body)
    }
}

/// The kinds of step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepKind {
    /// One HTTP exchange on a new connection, unless one is kept, and one more for each redirect that is followed.
    Http(HttpStep),
    /// A TCP connect, with a TLS handshake and a dialogue when asked.
    Tcp(TcpStep),
    /// A TLS handshake, and what it tells.
    Tls(TlsStep),
    /// One question to a name server.
    Dns(DnsStep),
    /// A datagram, and the answer to it.
    Udp(UdpStep),
    /// What an SSH server says of itself before anybody logs in.
    Ssh(SshStep),
    /// Echo requests to a host.
    Icmp(IcmpStep),
    /// One question to a gRPC health service.
    Grpc(GrpcStep),
    /// An upgrade to a websocket, and what is said over it.
    Websocket(WebSocketStep),
    /// A program of the probe's machine that looks.
    Plugin(PluginStep),
}

impl StepKind {
    /// The word of every kind: in YAML, and in what a probe says it can run.
    pub const WORDS: [&'static str; 10] =
        ["http", "tcp", "tls", "dns", "icmp", "grpc", "udp", "ssh", "websocket", "plugin"];

    /// The word of this kind.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Http(_) => Self::WORDS[0],
            Self::Tcp(_) => Self::WORDS[1],
            Self::Tls(_) => Self::WORDS[2],
            Self::Dns(_) => Self::WORDS[3],
            Self::Icmp(_) => Self::WORDS[4],
            Self::Grpc(_) => Self::WORDS[5],
            Self::Udp(_) => Self::WORDS[6],
            Self::Ssh(_) => Self::WORDS[7],
            Self::Websocket(_) => Self::WORDS[8],
            Self::Plugin(_) => Self::WORDS[9],
        }
    }

    /// What a probe must say that it can: the kind's word, and what not every build of it has.
    pub fn needs(&self) -> impl Iterator<Item = &'static str> + use<> {
        let http3 = matches!(self, Self::Http(http) if http.version == HttpVersion::V3)
            .then_some(Self::HTTP3);
        std::iter::once(self.word()).chain(http3)
    }

    /// HTTP/3, as probes say that they can: a build may be without it, and older ones are.
    pub const HTTP3: &'static str = "http3";

    /// What it looks at, in a few words.
    pub fn target(&self) -> String {
        match self {
            Self::Http(http) => http.url.clone(),
            Self::Websocket(websocket) => websocket.url.clone(),
            Self::Tcp(tcp) => shown_address(&tcp.host, tcp.port),
            Self::Tls(tls) => shown_address(&tls.host, tls.port),
            Self::Dns(DnsStep { name, record_type, server, .. }) => match server {
                Some((host, port)) => {
                    format!("{name} {record_type} @{}", shown_address(host, *port))
                }
                None => format!("{name} {record_type}"),
            },
            Self::Udp(udp) => shown_address(&udp.host, udp.port),
            Self::Ssh(ssh) => shown_address(&ssh.host, ssh.port),
            Self::Icmp(icmp) => icmp.host.clone(),
            Self::Grpc(GrpcStep { host, port, service, .. }) => match service.as_str() {
                "" => shown_address(host, *port),
                service => format!("{} {service}", shown_address(host, *port)),
            },
            Self::Plugin(plugin) => plugin.shown(),
        }
    }

    /// The host it looks at, as written: what two checks have in common when one host fails both. For a
    /// plugin its command, for a question its name.
    pub fn host(&self) -> &str {
        let of_url = |url: &'_ str| {
            let after = url.split_once("://").map_or(0, |(scheme, _)| scheme.len() + 3);
            let end = url[after..].find(['/', '?', '#']).map_or(url.len(), |at| after + at);
            let authority = after..end;
            match url[authority.clone()].rfind(':') {
                // An IPv6 address has colons of its own.
                Some(at) if !url[authority.clone()].ends_with(']') => after..after + at,
                _ => authority,
            }
        };
        match self {
            Self::Http(http) => &http.url[of_url(&http.url)],
            Self::Websocket(websocket) => &websocket.url[of_url(&websocket.url)],
            Self::Tcp(tcp) => &tcp.host,
            Self::Tls(tls) => &tls.host,
            Self::Dns(dns) => &dns.name,
            Self::Udp(udp) => &udp.host,
            Self::Ssh(ssh) => &ssh.host,
            Self::Icmp(icmp) => &icmp.host,
            Self::Grpc(grpc) => &grpc.host,
            Self::Plugin(plugin) => &plugin.command,
        }
    }

    fn authorities_mut(&mut self) -> Option<&mut Arc<str>> {
        let tls = match self {
            Self::Http(http) => Some(&mut http.tls),
            Self::Websocket(websocket) => Some(&mut websocket.tls),
            Self::Tls(tls) => Some(&mut tls.tls),
            Self::Tcp(tcp) => tcp.tls.as_mut(),
            Self::Dns(dns) => dns.tls.as_mut(),
            Self::Grpc(grpc) => grpc.tls.as_mut(),
            Self::Udp(_) | Self::Ssh(_) | Self::Icmp(_) | Self::Plugin(_) => None,
        };
        tls?.ca_pem.as_mut()
    }

    /// Whether a certificate is shown to it that it does not verify.
    pub fn insecure(&self) -> bool {
        match self {
            Self::Http(http) => http.tls.insecure,
            Self::Tcp(tcp) => tcp.tls.as_ref().is_some_and(|tls| tls.insecure),
            Self::Tls(tls) => tls.tls.insecure,
            Self::Grpc(grpc) => grpc.tls.as_ref().is_some_and(|tls| tls.insecure),
            Self::Dns(dns) => dns.tls.as_ref().is_some_and(|tls| tls.insecure),
            Self::Websocket(websocket) => websocket.tls.insecure,
            Self::Icmp(_) | Self::Udp(_) | Self::Ssh(_) | Self::Plugin(_) => false,
        }
    }

    /// Steps of its dialogue, or times that its plugin tells: each has a series of its own.
    pub fn exchanges(&self) -> usize {
        match self {
            Self::Tcp(tcp) => tcp.dialogue.len(),
            Self::Websocket(websocket) => websocket.dialogue.len(),
            Self::Plugin(plugin) => plugin.series.len(),
            _ => 0,
        }
    }

    /// What [`StepKind::exchanges`] counts, each by its name.
    pub fn exchange_names(&self) -> Vec<&str> {
        let dialogue = match self {
            Self::Tcp(tcp) => &tcp.dialogue,
            Self::Websocket(websocket) => &websocket.dialogue,
            Self::Plugin(plugin) => return plugin.series.iter().map(String::as_str).collect(),
            _ => return Vec::new(),
        };
        dialogue.iter().map(|exchange| exchange.name.as_str()).collect()
    }

    /// The URL and the body, where they may hold captures and no other reference; else empty.
    pub fn plain_with_captures(&self) -> [&str; 2] {
        match self {
            Self::Http(http) => [&http.url, &http.body],
            _ => ["", ""],
        }
    }

    /// Every text of the step that may hold references.
    pub fn templates(&self) -> Vec<&str> {
        match self {
            Self::Http(http) => http.templates().collect(),
            Self::Grpc(grpc) => grpc.templates().collect(),
            Self::Websocket(websocket) => websocket.templates().collect(),
            Self::Tcp(tcp) => {
                let sent = tcp.dialogue.iter().filter_map(|exchange| exchange.send.as_ref());
                let client = tcp.tls.iter().filter_map(|tls| tls.client.as_ref());
                let client = client.flat_map(|client| [client.cert.as_str(), &client.key]);
                sent.filter_map(Payload::text).chain(client).collect()
            }
            Self::Udp(udp) => udp.send.text().into_iter().collect(),
            Self::Plugin(plugin) => plugin.templates().collect(),
            Self::Tls(_) | Self::Dns(_) | Self::Icmp(_) | Self::Ssh(_) => Vec::new(),
        }
    }
}

/// One HTTP exchange, and those that its redirects lead to.
///
/// The default has no URL and no method and is no valid step: it is for what is filled in.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HttpStep {
    /// `http` or `https`, with a host.
    pub url: String,
    /// `GET` unless given.
    pub method: String,
    /// In order. Values may hold references.
    pub headers: Vec<(String, String)>,
    /// Sent as is; empty means none.
    pub body: String,
    /// Bytes of the answer that are read.
    pub body_max_bytes: u64,
    /// TLS options; used for `https`.
    pub tls: TlsOptions,
    /// Redirects that are followed; with 0 a redirect is an answer like any other.
    pub redirects_max: u32,
    /// Who the request says it is from. Stays at the URL's origin.
    pub auth: Option<HttpAuth>,
    /// Added to the URL's query, encoded, in order. Values may hold references.
    pub query: Vec<(String, String)>,
    /// What is spoken over TLS or QUIC; without either HTTP/1.1.
    pub version: HttpVersion,
    /// Content codings that are asked for, and decoded. None: what comes is left as it is.
    pub accept_encoding: Vec<ContentEncoding>,
    /// Through whom every connection of the step goes.
    pub proxy: Option<Proxy>,
    /// A connection stays open for the next run.
    pub keep_alive: bool,
}

impl HttpStep {
    /// Every text of the step that may hold references.
    pub fn templates(&self) -> impl Iterator<Item = &str> {
        let (first, second) = match &self.auth {
            None => (None, None),
            Some(HttpAuth::Basic { username, password }) => (Some(username), Some(password)),
            Some(HttpAuth::Bearer(token)) => (Some(token), None),
            Some(HttpAuth::OAuth2(of)) => (Some(&of.client_id), Some(&of.client_secret)),
        };
        let client = self.tls.client.iter().flat_map(|client| [&client.cert, &client.key]);
        let pairs = self.headers.iter().chain(&self.query).map(|(_, value)| value);
        let proxy = self.proxy.iter().flat_map(Proxy::templates);
        pairs.chain(first).chain(second).chain(client).chain(proxy).map(String::as_str)
    }
}

/// Who a request says it is from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HttpAuth {
    /// RFC 7617. Both may hold references.
    Basic {
        /// Without a colon.
        username: String,
        /// Holds a reference.
        password: String,
    },
    /// RFC 6750: a token, which holds a reference.
    Bearer(String),
    /// The same with a token that is got by client credentials.
    OAuth2(Box<OAuth2>),
}

words! {
    /// Which HTTP is spoken.
    #[derive(Default)]
    HttpVersion {
        /// HTTP/2 when the target chooses it, else HTTP/1.1.
        Auto = "auto",
        /// HTTP/1.1.
        #[default]
        V1 = "1.1",
        /// HTTP/2.
        V2 = "2",
        /// HTTP/3, over QUIC.
        V3 = "3",
    }
}

words! {
    /// A content coding of HTTP (RFC 9110, 8.4.1).
    ContentEncoding {
        /// RFC 1952.
        Gzip = "gzip",
        /// The zlib format (RFC 1950), and plain deflate (RFC 1951), which some servers send.
        Deflate = "deflate",
        /// Brotli, RFC 7932.
        Br = "br",
        /// Zstandard, RFC 8878.
        Zstd = "zstd",
    }
}

words! {
    /// A version of TLS.
    TlsVersion {
        /// RFC 5246.
        V12 = "1.2",
        /// RFC 8446.
        V13 = "1.3",
    }
}

/// A TCP connect, and what is said over it.
///
/// The default has no host and no port and is no valid step: it is for what is filled in.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TcpStep {
    /// Host name or address.
    pub host: String,
    /// 1 to 65535.
    pub port: u16,
    /// Handshake after the connect.
    pub tls: Option<TlsOptions>,
    /// What is said before that handshake; there is one then.
    pub starttls: Option<StartTls>,
    /// What is said once the connection stands, with TLS or without.
    pub dialogue: Vec<Exchange>,
}

/// A TCP connect and a TLS handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsStep {
    /// Host name or address.
    pub host: String,
    /// 1 to 65535.
    pub port: u16,
    /// How the handshake is done, and the certificate judged.
    pub tls: TlsOptions,
}

/// How a target's certificate is judged.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TlsOptions {
    /// Do not verify at all.
    pub insecure: bool,
    /// Name for SNI and verification; the host's when absent.
    pub server_name: Option<String>,
    /// PEM of the authorities to trust instead of the system's.
    pub ca_pem: Option<Arc<str>>,
    /// The oldest version that is spoken; 1.2 when absent.
    pub min_version: Option<TlsVersion>,
    /// What is shown to a target that asks who we are.
    pub client: Option<ClientCertificate>,
}

/// A client certificate and its key: references to PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The chain, leaf first.
    pub cert: String,
    /// The leaf's private key.
    pub key: String,
}

/// A check as one probe is told to run it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// Of the check.
    pub check: Uid,
    /// For logs.
    pub namespace: String,
    /// For logs.
    pub name: String,
    /// Copied into every outcome.
    pub run_digest: RunDigest,
    /// What to do.
    pub run: std::sync::Arc<Run>,
    /// Time between slots.
    pub interval: Duration,
    /// Slots are `phase_ns + k * interval` in mesh time.
    pub phase_ns: i64,
    /// From the policy: decides when outcomes are sent at once.
    pub failures: u32,
    /// From the policy.
    pub successes: u32,
    /// From the policy; 0 means in a row.
    pub failures_of: u32,
    /// From the policy; 0 means in a row.
    pub successes_of: u32,
    /// Start to start of ordered runs.
    pub confirm_spacing: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_takes_as_long_as_its_samples_and_the_tokens_they_wait_for() {
        let seconds = Duration::from_secs;
        let run = |auth: Option<HttpAuth>, samples: u32| Run {
            steps: vec![Step {
                name: String::new(),
                kind: StepKind::Http(HttpStep { auth, ..HttpStep::default() }),
                captures: vec![],
            }],
            timeout: seconds(3),
            expect: vec![],
            warn: vec![],
            invert: false,
            canary: None,
            ip: IpFamily::Auto,
            source_address: None,
            resolver: None,
            samples,
        };
        let bearer = || Some(HttpAuth::Bearer("${env:TOKEN}".to_owned()));
        let of = OAuth2 {
            token_url: "https://login.example/".to_owned(),
            client_id: "me".to_owned(),
            client_secret: "${env:SECRET}".to_owned(),
            scopes: vec![],
            audience: None,
        };
        let token = || Some(HttpAuth::OAuth2(Box::new(of.clone())));
        for (auth, samples, interval, longest) in [
            (None, 1, 10, 3),
            (bearer(), 1, 10, 3),
            (None, 5, 10, 13),
            (token(), 1, 10, 6),
            (token(), 1, 1, 6),
            (token(), 2, 10, 12),
            (token(), 5, 10, 16),
        ] {
            let run = run(auth, samples);
            assert_eq!(run.longest(seconds(interval)), seconds(longest), "{run:?}");
        }
    }

    #[test]
    fn each_kind_has_a_word_and_a_target() {
        let dns = |server: Option<&str>| {
            StepKind::Dns(DnsStep {
                name: "shop.example".to_owned(),
                record_type: DnsType::Mx,
                class: DnsClass::In,
                server: server.map(|host| (host.to_owned(), 53)),
                transport: DnsTransport::Udp,
                recursion: true,
                tls: None,
                path: None,
            })
        };
        let insecure = TlsOptions { insecure: true, ..TlsOptions::default() };
        let icmp = IcmpStep {
            host: "::1".to_owned(),
            count: 3,
            spacing: Duration::from_millis(100),
            payload_bytes: 56,
            dont_fragment: false,
            ttl: None,
        };
        let grpc = |service: &str, tls| {
            StepKind::Grpc(GrpcStep {
                host: "shop.example".to_owned(),
                port: 50_051,
                service: service.to_owned(),
                tls,
                authority: None,
                metadata: vec![],
            })
        };
        let plugin = |args: &[&str]| {
            StepKind::Plugin(PluginStep {
                command: "check_http".to_owned(),
                args: args.iter().map(|arg| (*arg).to_owned()).collect(),
                env: vec![],
                series: vec![],
            })
        };
        let tls = TlsStep { host: "::1".to_owned(), port: 443, tls: insecure.clone() };
        let tcp = |tls| {
            let host = "db.example".to_owned();
            StepKind::Tcp(TcpStep { host, port: 1, tls, ..TcpStep::default() })
        };
        for (kind, word, target, insecure) in [
            (tcp(None), "tcp", "db.example:1", false),
            (tcp(Some(TlsOptions::default())), "tcp", "db.example:1", false),
            (tcp(Some(insecure.clone())), "tcp", "db.example:1", true),
            (StepKind::Tls(tls), "tls", "[::1]:443", true),
            (dns(None), "dns", "shop.example MX", false),
            (StepKind::Icmp(icmp), "icmp", "::1", false),
            (grpc("", None), "grpc", "shop.example:50051", false),
            (grpc("shop.Cart", None), "grpc", "shop.example:50051 shop.Cart", false),
            (grpc("", Some(insecure)), "grpc", "shop.example:50051", true),
            (dns(Some("::1")), "dns", "shop.example MX @[::1]:53", false),
            (
                StepKind::Udp(UdpStep {
                    host: "shop.example".to_owned(),
                    port: 123,
                    send: Payload::Bytes(vec![0]),
                    expect: None,
                    resend: None,
                }),
                "udp",
                "shop.example:123",
                false,
            ),
            (StepKind::Ssh(SshStep { host: "::1".to_owned(), port: 22 }), "ssh", "[::1]:22", false),
            (
                StepKind::Websocket(WebSocketStep {
                    url: "wss://shop.example/live".to_owned(),
                    tls: TlsOptions { insecure: true, ..TlsOptions::default() },
                    ..WebSocketStep::default()
                }),
                "websocket",
                "wss://shop.example/live",
                true,
            ),
            (plugin(&["-H", "shop.example"]), "plugin", "check_http -H shop.example", false),
            (plugin(&[&"x".repeat(60), "-v"]), "plugin", "check_http ...", false),
        ] {
            assert_eq!((kind.word(), kind.target().as_str()), (word, target));
            assert_eq!(kind.insecure(), insecure, "{target}");
        }
    }
}
