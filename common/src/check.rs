//! A check as every part of Parallax knows it: already validated, never checked again.
//!
//! Untrusted forms (YAML, gRPC) become these types in `parallax-proto::convert`, which reports
//! every broken rule at once.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::name::{RunDigest, Uid};

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
    /// Region names in rank order.
    pub regions: Vec<String>,
    /// When it is down and when it is well again.
    pub policy: Policy,
    /// Names of contacts.
    pub alert: Vec<String>,
    /// A link for the person who is paged.
    pub runbook: String,
    /// Time between the starts of ordered runs.
    pub confirm_spacing: Duration,
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
}

/// How many failing regions make a check down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quorum {
    /// `max(2, floor(R/2) + 1)` for R > 1, else 1.
    Majority,
    /// So many.
    Count(u32),
}

/// Everything that the run digest covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// At least one, in order.
    pub steps: Vec<Step>,
    /// Of the whole run.
    pub timeout: Duration,
    /// CEL sources; one that does not hold makes the run a fail.
    pub expect: Vec<String>,
    /// CEL sources; one that does not hold makes the run a warn.
    pub warn: Vec<String>,
    /// A fail is a pass and the other way round.
    pub invert: bool,
    /// Which addresses to use.
    pub ip: IpFamily,
    /// Where connections start from; the system's choice when absent.
    pub source_address: Option<std::net::IpAddr>,
    /// The DNS server to ask; the system's when absent.
    pub resolver: Option<std::net::SocketAddr>,
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
}

/// The kinds of step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepKind {
    /// One HTTP exchange on a new connection.
    Http(HttpStep),
    /// A TCP connect, with a TLS handshake when asked.
    Tcp(TcpStep),
}

/// One HTTP exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
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
}

/// A TCP connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TcpStep {
    /// Host name or address.
    pub host: String,
    /// 1 to 65535.
    pub port: u16,
    /// Handshake after the connect.
    pub tls: Option<TlsOptions>,
}

/// How a target's certificate is judged.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TlsOptions {
    /// Do not verify at all.
    pub insecure: bool,
    /// Name for SNI and verification; the host's when absent.
    pub server_name: Option<String>,
    /// PEM of the authorities to trust instead of the system's.
    pub ca_pem: Option<String>,
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
    pub of: u32,
    /// Start to start of ordered runs.
    pub confirm_spacing: Duration,
}
