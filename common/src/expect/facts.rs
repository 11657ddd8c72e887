//! What a run saw, and how expressions get at it: each value is built when it is asked for.

use std::collections::{BTreeMap, HashMap};
use std::sync::OnceLock;
use std::time::Duration;

use cel::common::types::{CelBool, CelDouble, CelDuration, CelInt, CelMap, CelMapKey, CelString};
use cel::common::value::{CowVal, Val};
use cel::context::VariableResolver;

use super::built::{self, Built};
use super::{
    Certificate, DnsAnswer, Echoes, GrpcAnswer, PerfValue, PluginAnswer, SshOffer, Talk, Upgraded,
    Variable,
};
use crate::limits::EXPRESSION_BODY_BYTES_MAX;
use crate::outcome::Phase;

/// What the last step of a run saw. Fields that its kind does not give stay empty; admission has
/// refused expressions that would ask for them.
///
/// Made with `Facts::default()` and assignments: the parsed body is remembered inside, so the body
/// must not be changed after the first evaluation.
#[derive(Debug, Default)]
pub struct Facts {
    /// HTTP status.
    pub status: Option<u16>,
    /// By lower-case name; repeated headers joined by `, `.
    pub headers: BTreeMap<String, String>,
    /// Body as it came. Expressions see its first
    /// [`EXPRESSION_BODY_BYTES_MAX`] bytes.
    pub body: bytes::Bytes,
    /// Actual start to end.
    pub latency: Duration,
    /// The phases that happened, and with no length those that a kept connection was spared.
    pub phases: Vec<(Phase, Duration)>,
    /// The address that answered.
    pub ip: String,
    /// `HTTP/1.0`, `HTTP/1.1` or `HTTP/2`.
    pub http_version: String,
    /// The certificate that was shown.
    pub cert: Option<Certificate>,
    /// The redirects that were followed.
    pub redirects: Redirects,
    /// The answer came over a connection that was kept.
    pub reused: bool,
    /// All certificates that were shown, that one first.
    pub chain: Vec<Certificate>,
    /// The version of TLS that was spoken: `1.2` or `1.3`.
    pub tls_version: String,
    /// The cipher suite, as IANA names it.
    pub cipher: String,
    /// What a name server answered.
    pub dns: Option<DnsAnswer>,
    /// What was said in a dialogue, or in answer to a datagram.
    pub talk: Option<Talk>,
    /// What an SSH server offers.
    pub ssh: Option<SshOffer>,
    /// What became of echoes.
    pub echoes: Option<Echoes>,
    /// What a gRPC health service said.
    pub grpc: Option<GrpcAnswer>,
    /// What was agreed on for a websocket.
    pub upgraded: Option<Upgraded>,
    /// What a plugin said.
    pub plugin: Option<PluginAnswer>,
    json: OnceLock<Result<Built, String>>,
    shown_cert: OnceLock<Built>,
    answers: OnceLock<Built>,
    authority: OnceLock<Built>,
    additional: OnceLock<Built>,
    flags: OnceLock<Built>,
    kex: OnceLock<Built>,
    host_key_algorithms: OnceLock<Built>,
    ciphers: OnceLock<Built>,
    macs: OnceLock<Built>,
}

/// What expressions see of the redirects that were followed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Redirects {
    /// How many.
    pub count: u32,
    /// Where they led: the URL that answered in the end.
    pub url: String,
}

impl Facts {
    pub(super) fn seen_body(&self) -> &[u8] {
        &self.body[..self.body.len().min(EXPRESSION_BODY_BYTES_MAX)]
    }

    /// The body parsed as JSON, once.
    pub(super) fn json(&self) -> Result<&Built, &str> {
        let parse = || {
            let parsed: serde_json::Value =
                serde_json::from_slice(self.seen_body()).map_err(|error| match error.line() {
                    0 => "it cannot be read".to_owned(),
                    line => format!("line {line}, column {}", error.column()),
                })?;
            Ok(built::json(parsed))
        };
        self.json.get_or_init(parse).as_ref().map_err(String::as_str)
    }

    /// The value of a variable that is built once; `None` when it is none of those, or not there.
    pub(super) fn built(&self, variable: Variable) -> Option<&Built> {
        let dns = || self.dns.as_ref();
        let ssh = || self.ssh.as_ref();
        Some(match variable {
            Variable::Json => self.json().ok()?,
            Variable::Cert => {
                let leaf = self.cert.as_ref()?;
                self.shown_cert.get_or_init(|| built::cert(leaf, &self.chain))
            }
            Variable::Flags => {
                let flags = dns()?.flags;
                self.flags.get_or_init(|| built::flags(flags))
            }
            Variable::Answers => {
                let records = &dns()?.answers;
                self.answers.get_or_init(|| built::records(records))
            }
            Variable::Authority => {
                let records = &dns()?.authority;
                self.authority.get_or_init(|| built::records(records))
            }
            Variable::Additional => {
                let records = &dns()?.additional;
                self.additional.get_or_init(|| built::records(records))
            }
            Variable::Kex => {
                let offered = &ssh()?.kex;
                self.kex.get_or_init(|| built::texts(offered))
            }
            Variable::HostKeyAlgorithms => {
                let offered = &ssh()?.host_key_algorithms;
                self.host_key_algorithms.get_or_init(|| built::texts(offered))
            }
            Variable::Ciphers => {
                let offered = &ssh()?.ciphers;
                self.ciphers.get_or_init(|| built::texts(offered))
            }
            Variable::Macs => {
                let offered = &ssh()?.macs;
                self.macs.get_or_init(|| built::texts(offered))
            }
            _ => return None,
        })
    }
}

impl VariableResolver for Facts {
    fn resolve<'b>(&'b self, name: &str) -> Option<CowVal<'b, 'b>> {
        Some(match Variable::from_word(name)? {
            Variable::Status => CowVal::owned(CelInt::from(i64::from(self.status?))),
            Variable::Headers => CowVal::owned(CelMap::from(
                self.headers
                    .iter()
                    .map(|(name, value)| (CelMapKey::from(name.as_str()), text(value)))
                    .collect::<HashMap<_, _>>(),
            )),
            Variable::Body => lossy(self.seen_body()),
            Variable::Received => lossy(&self.talk.as_ref()?.received),
            Variable::Banner => match (&self.talk, &self.ssh) {
                (Some(talk), _) => CowVal::owned(CelString::from(talk.banner.as_str())),
                (None, ssh) => CowVal::owned(CelString::from(ssh.as_ref()?.banner.as_str())),
            },
            Variable::Captures => CowVal::owned(CelMap::from(
                self.talk
                    .as_ref()?
                    .captures
                    .iter()
                    .map(|(name, value)| (CelMapKey::from(name.as_str()), text(value)))
                    .collect::<HashMap<_, _>>(),
            )),
            Variable::Exchanges => CowVal::owned(CelMap::from(
                self.talk
                    .as_ref()?
                    .exchanges
                    .iter()
                    .map(|(name, length)| {
                        let length: Box<dyn Val + 'b> = Box::new(duration(*length));
                        (CelMapKey::from(name.as_str()), length)
                    })
                    .collect::<HashMap<_, _>>(),
            )),
            Variable::Software => {
                CowVal::owned(CelString::from(self.ssh.as_ref()?.software.as_str()))
            }
            Variable::Latency => CowVal::owned(duration(self.latency)),
            Variable::Phases => CowVal::owned(CelMap::from(
                self.phases
                    .iter()
                    .map(|(phase, length)| {
                        let length: Box<dyn Val + 'b> = Box::new(duration(*length));
                        (CelMapKey::from(phase.word()), length)
                    })
                    .collect::<HashMap<_, _>>(),
            )),
            Variable::Ip => CowVal::owned(CelString::from(self.ip.as_str())),
            Variable::HttpVersion => CowVal::owned(CelString::from(self.http_version.as_str())),
            Variable::Redirects => CowVal::owned(CelMap::from(HashMap::from([
                (
                    CelMapKey::from("count"),
                    Box::new(CelInt::from(i64::from(self.redirects.count))) as Box<dyn Val + 'b>,
                ),
                (CelMapKey::from("url"), text(&self.redirects.url)),
            ]))),
            Variable::Reused => CowVal::owned(CelBool::from(self.reused)),
            Variable::TlsVersion => CowVal::owned(CelString::from(self.tls_version.as_str())),
            Variable::Cipher => CowVal::owned(CelString::from(self.cipher.as_str())),
            Variable::Rcode => CowVal::owned(CelString::from(self.dns.as_ref()?.rcode.as_str())),
            Variable::Transport => {
                CowVal::owned(CelString::from(self.dns.as_ref()?.transport.as_str()))
            }
            Variable::Sent => CowVal::owned(CelInt::from(i64::from(self.echoes?.sent))),
            Variable::Answered => CowVal::owned(CelInt::from(i64::from(self.echoes?.answered))),
            Variable::Loss => CowVal::owned(CelDouble::from(self.echoes?.loss())),
            Variable::RttMin => CowVal::owned(duration(self.echoes?.round_trips?.0)),
            Variable::RttAvg => CowVal::owned(duration(self.echoes?.round_trips?.1)),
            Variable::RttMax => CowVal::owned(duration(self.echoes?.round_trips?.2)),
            Variable::Serving => {
                CowVal::owned(CelString::from(self.grpc.as_ref()?.serving.as_str()))
            }
            Variable::GrpcStatus => {
                CowVal::owned(CelInt::from(i64::from(self.grpc.as_ref()?.status)))
            }
            Variable::Message => {
                CowVal::owned(CelString::from(self.grpc.as_ref()?.message.as_str()))
            }
            Variable::Subprotocol => {
                CowVal::owned(CelString::from(self.upgraded.as_ref()?.subprotocol.as_str()))
            }
            Variable::CloseCode => {
                CowVal::owned(CelInt::from(i64::from(self.upgraded.as_ref()?.close_code?)))
            }
            Variable::ExitCode => {
                CowVal::owned(CelInt::from(i64::from(self.plugin.as_ref()?.exit_code)))
            }
            Variable::Output => {
                CowVal::owned(CelString::from(self.plugin.as_ref()?.output.as_str()))
            }
            Variable::Perf => CowVal::owned(CelMap::from(
                self.plugin
                    .as_ref()?
                    .perf
                    .iter()
                    .map(|(label, value)| (CelMapKey::from(label.as_str()), perf(*value)))
                    .collect::<HashMap<_, _>>(),
            )),
            built @ (Variable::Json
            | Variable::Cert
            | Variable::Flags
            | Variable::Answers
            | Variable::Authority
            | Variable::Additional
            | Variable::Kex
            | Variable::HostKeyAlgorithms
            | Variable::Ciphers
            | Variable::Macs) => CowVal::Borrowed(self.built(built)?.value.as_ref()),
        })
    }
}

fn lossy(bytes: &[u8]) -> CowVal<'_, '_> {
    match String::from_utf8_lossy(bytes) {
        std::borrow::Cow::Borrowed(text) => CowVal::owned(CelString::from(text)),
        std::borrow::Cow::Owned(text) => CowVal::owned(CelString::from(text)),
    }
}

fn text<'b>(text: &'b str) -> Box<dyn Val + 'b> {
    Box::new(CelString::from(text))
}

fn perf<'b>(value: PerfValue) -> Box<dyn Val + 'b> {
    match value {
        PerfValue::Time(ns) => Box::new(CelDuration::from(chrono::Duration::nanoseconds(ns))),
        PerfValue::Number(number) => Box::new(CelDouble::from(number)),
    }
}

fn duration(length: Duration) -> CelDuration {
    let ns = i64::try_from(length.as_nanos()).unwrap_or(i64::MAX);
    CelDuration::from(chrono::Duration::nanoseconds(ns))
}
