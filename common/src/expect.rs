//! Expectations: CEL expressions over what a run saw, admitted under limits and evaluated without
//! any clock or budget of their own.
//!
//! The interpreter has no evaluation budget, so an expression is limited when a check is applied:
//! source, names, functions, nesting and sums ([`admit`](Program::admit)); the probe measures wall
//! time around [`evaluate`](Program::evaluate) and keeps it off the timing path. What it could build
//! at the most is bounded before each run. [`Facts`] holds what
//! expressions see.
//!
//! When no `expect` of an `http` check mentions `status`, the probe applies the default rule: a
//! status of 2xx or 3xx, else `http_status` (see [`Program::mentions_status`]). The same holds for
//! `rcode` and `dns`: an answer without an error that has records, else a reason of its own; for `loss`
//! or `answered` and `icmp`: at least one answer; for `serving` or `grpc_status` and `grpc`: `SERVING`; for
//! `exit_code` and `plugin`: what the plugin's exit code says.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};

use cel::{Context, Env, Value};

use crate::check::{HttpVersion, StepKind};
use crate::limits::{
    EXPRESSION_BUILT_BYTES_MAX, EXPRESSION_BYTES_MAX, EXPRESSION_ITEMS_MAX, PROGRAMS_KEPT_MAX,
};
use crate::outcome::words;
use crate::rule::{self, Rule};

mod admission;
mod budget;
mod built;
mod facts;
mod seen;

pub use facts::{Facts, Redirects};
pub use seen::{
    Certificate, DnsAnswer, DnsFlags, DnsRecord, Echoes, GrpcAnswer, PerfValue, PluginAnswer,
    SshOffer, Talk, Upgraded,
};

words! {
    /// A name that expressions may use.
    Variable {
        /// HTTP status, an int.
        Status = "status",
        /// Map from lower-case header name to value; repeated headers are joined by `, `.
        Headers = "headers",
        /// The answer's body as a string.
        Body = "body",
        /// The answer's body parsed as JSON; an error when it is not JSON.
        Json = "json",
        /// Actual start to end of the run, a duration.
        Latency = "latency",
        /// Map from phase (`dns`, `connect`, `tls`, `first_byte`, `transfer`, `total`) to duration;
        /// phases that did not happen are not in it, those that a kept connection was spared are zero.
        Phases = "phases",
        /// The address that answered, a string.
        Ip = "ip",
        /// `HTTP/1.0`, `HTTP/1.1` or `HTTP/2`.
        HttpVersion = "http_version",
        /// The redirects that were followed: `count` (int), `url` (string), where they led.
        Redirects = "redirects",
        /// Whether the answer came over a connection that was kept from a run before, a bool.
        Reused = "reused",
        /// The certificate shown: `days_left` (int), `names` (list of strings), `issuer`, `subject`,
        /// `serial`, `signature`, `key_type` (strings), `key_bits` (int); `chain`, a list of all
        /// that were shown with the same fields, and `chain_days_left` (int), the least of theirs.
        Cert = "cert",
        /// `1.2` or `1.3`.
        TlsVersion = "tls_version",
        /// The cipher suite as IANA names it, a string.
        Cipher = "cipher",
        /// `NOERROR`, `NXDOMAIN` and so on.
        Rcode = "rcode",
        /// Map of the answer's flags to bools: `aa`, `tc`, `rd`, `ra`, `ad`, `cd`.
        Flags = "flags",
        /// Records that answer: a list of maps with `name`, `type`, `ttl` (int) and `data`.
        Answers = "answers",
        /// Records of the authority section.
        Authority = "authority",
        /// Records of the additional section.
        Additional = "additional",
        /// `udp`, `tcp`, `tls` or `https`: what brought the answer.
        Transport = "transport",
        /// The first line that the target said, a string.
        Banner = "banner",
        /// All that the target said in the dialogue, or its answer, a string.
        Received = "received",
        /// Map from a group's name to what it captured, a string.
        Captures = "captures",
        /// Map from the name of a dialogue's step to how long it took, a duration.
        Exchanges = "exchanges",
        /// The name and version that an SSH server gives itself, a string.
        Software = "software",
        /// Ways to exchange keys that an SSH server offers, a list of strings.
        Kex = "kex",
        /// Algorithms of host keys that it offers.
        HostKeyAlgorithms = "host_key_algorithms",
        /// Ciphers that it offers.
        Ciphers = "ciphers",
        /// Codes of message authentication that it offers.
        Macs = "macs",
        /// Echoes that were sent, an int.
        Sent = "sent",
        /// Echoes that were answered, an int.
        Answered = "answered",
        /// The part of the echoes that was not answered, a double from 0 to 1.
        Loss = "loss",
        /// The shortest round trip, a duration; not there when no echo was answered.
        RttMin = "rtt_min",
        /// The mean of the round trips, likewise.
        RttAvg = "rtt_avg",
        /// The longest round trip, likewise.
        RttMax = "rtt_max",
        /// `SERVING`, `NOT_SERVING` and so on; empty when the call was refused.
        Serving = "serving",
        /// The status that the call ended with, an int; 0 is OK.
        GrpcStatus = "grpc_status",
        /// The text that came with that status, a string.
        Message = "message",
        /// The subprotocol of a websocket that the target has chosen, a string; empty when it chose none.
        Subprotocol = "subprotocol",
        /// What the target closed the websocket with, an int; 1005 when it gave no code.
        CloseCode = "close_code",
        /// The exit code of a plugin, an int.
        ExitCode = "exit_code",
        /// The first line that a plugin wrote, without its performance data, a string.
        Output = "output",
        /// Map from a label of its performance data to the value: a duration where its unit is one of
        /// time, else a double.
        Perf = "perf",
    }
}

/// The variables that a step's kind gives.
pub fn variables_of(kind: &StepKind) -> &'static [Variable] {
    use Variable as V;
    match kind {
        StepKind::Http(http) => {
            // Schemes are case-insensitive and `https` cannot begin anything else.
            let https = http.url.get(..6).is_some_and(|s| s.eq_ignore_ascii_case("https:"));
            let all = const {
                &[
                    V::Reused,
                    V::Status,
                    V::Headers,
                    V::Body,
                    V::Json,
                    V::Latency,
                    V::Phases,
                    V::Ip,
                    V::HttpVersion,
                    V::Redirects,
                    V::Cert,
                    V::TlsVersion,
                    V::Cipher,
                ]
            };
            let from = usize::from(!http.keep_alive);
            match (https, http.version) {
                (false, _) => &all[from..10],
                // Nobody tells the cipher of a QUIC connection.
                (true, HttpVersion::V3) => &all[from..12],
                (true, _) => &all[from..],
            }
        }
        StepKind::Tcp(tcp) => {
            let with_tls = const {
                &[
                    V::Latency,
                    V::Phases,
                    V::Ip,
                    V::Cert,
                    V::TlsVersion,
                    V::Cipher,
                    V::Banner,
                    V::Received,
                    V::Captures,
                    V::Exchanges,
                ]
            };
            let plain = const {
                &[V::Latency, V::Phases, V::Ip, V::Banner, V::Received, V::Captures, V::Exchanges]
            };
            match (tcp.tls.is_some(), tcp.starttls.is_some(), tcp.dialogue.is_empty()) {
                (false, _, true) => &plain[..3],
                (false, _, false) => plain,
                (true, false, true) => &with_tls[..6],
                (true, true, true) => &with_tls[..7],
                (true, _, false) => with_tls,
            }
        }
        StepKind::Tls(_) => &[V::Latency, V::Phases, V::Ip, V::Cert, V::TlsVersion, V::Cipher],
        StepKind::Udp(udp) => {
            let all = const { &[V::Latency, V::Phases, V::Ip, V::Received, V::Captures] };
            if udp.expect.is_some() { all } else { &all[..4] }
        }
        StepKind::Ssh(_) => &[
            V::Banner,
            V::Software,
            V::Kex,
            V::HostKeyAlgorithms,
            V::Ciphers,
            V::Macs,
            V::Latency,
            V::Phases,
            V::Ip,
        ],
        StepKind::Dns(dns) => {
            let all = const {
                &[
                    V::Rcode,
                    V::Flags,
                    V::Answers,
                    V::Authority,
                    V::Additional,
                    V::Transport,
                    V::Latency,
                    V::Phases,
                    V::Ip,
                    V::Cert,
                    V::TlsVersion,
                    V::Cipher,
                ]
            };
            if dns.tls.is_some() { all } else { &all[..9] }
        }
        StepKind::Icmp(_) => &[
            V::Sent,
            V::Answered,
            V::Loss,
            V::RttMin,
            V::RttAvg,
            V::RttMax,
            V::Latency,
            V::Phases,
            V::Ip,
        ],
        StepKind::Plugin(_) => &[V::ExitCode, V::Output, V::Perf, V::Latency, V::Phases],
        StepKind::Grpc(grpc) => {
            let all = const {
                &[
                    V::Serving,
                    V::GrpcStatus,
                    V::Message,
                    V::Latency,
                    V::Phases,
                    V::Ip,
                    V::Cert,
                    V::TlsVersion,
                    V::Cipher,
                ]
            };
            if grpc.tls.is_some() { all } else { &all[..6] }
        }
        StepKind::Websocket(websocket) => {
            let spoken = const {
                &[
                    V::Cert,
                    V::TlsVersion,
                    V::Cipher,
                    V::Subprotocol,
                    V::CloseCode,
                    V::Headers,
                    V::Latency,
                    V::Phases,
                    V::Ip,
                    V::Received,
                    V::Captures,
                    V::Exchanges,
                ]
            };
            let from = if websocket.is_secure() { 0 } else { 3 };
            let to = if websocket.dialogue.is_empty() { 9 } else { 12 };
            &spoken[from..to]
        }
    }
}

/// Why an expression is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// The rule it breaks.
    pub rule: Rule,
    /// For a person.
    pub message: String,
    /// The known name that was most likely meant.
    pub nearest: Option<String>,
}

/// Why an admitted expression gave no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvaluationError {
    /// It gave something else than true or false.
    #[error("the expression says {0}, not true or false")]
    NotBoolean(&'static str),
    /// It gave neither a text nor a number.
    #[error("the expression says {0}, not a text or a number")]
    NotValue(&'static str),
    /// It uses `json` and the body is not JSON.
    #[error("the body is not JSON: {0}")]
    BodyNotJson(String),
    /// Its loops would run over too many items, or build too much: `missed: expression_budget`.
    #[error("the answer is too large for the loops and sums of the expression")]
    Budget,
    /// Anything else: a missing key, types that cannot be compared.
    #[error("{0}")]
    Failed(String),
}

/// An admitted expression, compiled. Shared: the same source is compiled once while it is in use.
pub struct Program {
    source: String,
    compiled: cel::Program,
    variables: BTreeSet<Variable>,
    /// Comprehensions inside one another.
    depth: u32,
    /// Whether it matches patterns.
    patterns: bool,
    /// It collects or adds.
    builds: bool,
}

impl std::fmt::Debug for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Program").field(&self.source).finish()
    }
}

impl PartialEq for Program {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl Eq for Program {}

/// Every whole number below this has a double of its own: 2^53.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

static ENVIRONMENT: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::stdlib()));

/// Programs by source, so that thousands of checks with the same expectation share one. A memo: it
/// changes what admission costs, never what it says.
static INTERNED: LazyLock<Mutex<Interned>> = LazyLock::new(Mutex::default);

/// The same for those that give a value: what one may say the other may not.
static VALUES: LazyLock<Mutex<Interned>> = LazyLock::new(Mutex::default);

#[derive(Default)]
struct Interned {
    by_source: HashMap<String, Weak<Program>>,
    /// The newest stay alive between two uses.
    kept: VecDeque<Arc<Program>>,
}

impl Interned {
    fn get(&self, source: &str) -> Option<Arc<Program>> {
        self.by_source.get(source)?.upgrade()
    }

    fn keep(&mut self, program: &Arc<Program>) {
        if self.kept.len() == PROGRAMS_KEPT_MAX {
            self.kept.pop_front();
            if self.by_source.len() > 2 * PROGRAMS_KEPT_MAX {
                self.by_source.retain(|_, program| program.strong_count() > 0);
            }
        }
        self.kept.push_back(Arc::clone(program));
        self.by_source.insert(program.source.clone(), Arc::downgrade(program));
    }
}

impl Program {
    /// Compiles an expression and checks every limit.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn admit(source: &str) -> Result<Arc<Self>, Refusal> {
        // A panic elsewhere cannot leave a memo half written in a way that matters.
        let interned = || INTERNED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(program) = interned().get(source) {
            return Ok(program);
        }
        let program = Arc::new(Self::compile(source, admission::Gives::Truth)?);
        interned().keep(&program);
        Ok(program)
    }

    /// The same for an expression that gives a text or a number.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn admit_value(source: &str) -> Result<Arc<Self>, Refusal> {
        let interned = || VALUES.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(program) = interned().get(source) {
            return Ok(program);
        }
        let program = Arc::new(Self::compile(source, admission::Gives::Value)?);
        interned().keep(&program);
        Ok(program)
    }

    fn compile(source: &str, gives: admission::Gives) -> Result<Self, Refusal> {
        if source.len() > EXPRESSION_BYTES_MAX {
            let message = format!(
                "the expression has {} bytes; at most {EXPRESSION_BYTES_MAX} are allowed",
                source.len()
            );
            return Err(Refusal { rule: rule::EXPRESSION_TOO_LONG, message, nearest: None });
        }
        let compiled = cel::Program::compile(source).map_err(|errors| {
            let message = match errors.errors.first() {
                Some(error) => format!("column {}: {}", error.pos.1.max(1), error.msg),
                None => "it cannot be parsed".to_owned(),
            };
            Refusal { rule: rule::EXPRESSION_SYNTAX, message, nearest: None }
        })?;
        let admission::Admitted { variables, depth, patterns, builds } =
            admission::admit(compiled.expression(), gives)?;
        Ok(Self { source: source.to_owned(), compiled, variables, depth, patterns, builds })
    }

    /// As it was written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The variables it uses.
    pub fn variables(&self) -> &BTreeSet<Variable> {
        &self.variables
    }

    /// Whether it says something about the HTTP status, so that the default rule does not apply.
    pub fn mentions_status(&self) -> bool {
        self.variables.contains(&Variable::Status)
    }

    /// Whether it says something about the code of a DNS answer, so that the default rule does not
    /// apply.
    pub fn mentions_rcode(&self) -> bool {
        self.variables.contains(&Variable::Rcode)
    }

    /// Whether it says something about how many echoes were answered, so that the default rule does
    /// not apply.
    pub fn mentions_echoes(&self) -> bool {
        [Variable::Answered, Variable::Loss].iter().any(|name| self.variables.contains(name))
    }

    /// Whether it says something about what a health service answered, so that the default rule does
    /// not apply.
    pub fn mentions_serving(&self) -> bool {
        [Variable::Serving, Variable::GrpcStatus].iter().any(|name| self.variables.contains(name))
    }

    /// Whether it says something about the exit code of a plugin, so that the default rule does not
    /// apply.
    pub fn mentions_exit_code(&self) -> bool {
        self.variables.contains(&Variable::ExitCode)
    }

    /// Whether it needs the body: for checks without such an expression nobody has to keep it.
    pub fn mentions_body(&self) -> bool {
        self.variables.contains(&Variable::Body) || self.variables.contains(&Variable::Json)
    }

    /// Whether its work can grow faster than its input: it has loops, or matches patterns. Any other
    /// expression costs some microseconds beside reading the body.
    pub fn is_heavy(&self) -> bool {
        self.depth > 0 || self.patterns
    }

    /// Whether the expression holds. Builds only the values that it uses; a JSON body is parsed
    /// once for all expressions that see the same facts.
    ///
    /// # Errors
    /// It gave no answer: a missing key, a body that is not JSON, types that do not fit.
    pub fn evaluate(&self, facts: &Facts) -> Result<bool, EvaluationError> {
        self.execute(facts, |value| match value {
            Value::Bool(holds) => Ok(*holds),
            other => Err(EvaluationError::NotBoolean(type_name(other))),
        })
    }

    /// The text or the number that it gives, as text.
    ///
    /// # Errors
    /// It gave no answer, or something else.
    pub fn value(&self, facts: &Facts) -> Result<String, EvaluationError> {
        self.execute(facts, |value| match value {
            Value::String(text) => Ok(text.to_string()),
            Value::Int(number) => Ok(number.to_string()),
            Value::UInt(number) => Ok(number.to_string()),
            // From there on whole numbers are rounded, and another one would be sent.
            Value::Float(number) if number.abs() >= EXACT_MAX || !number.is_finite() => {
                Err(EvaluationError::NotValue("a number that is not exact"))
            }
            Value::Float(number) => Ok(number.to_string()),
            other => Err(EvaluationError::NotValue(type_name(other))),
        })
    }

    fn execute<T>(
        &self,
        facts: &Facts,
        read: impl FnOnce(&Value) -> Result<T, EvaluationError>,
    ) -> Result<T, EvaluationError> {
        if self.variables.contains(&Variable::Json) {
            facts.json().map_err(|why| EvaluationError::BodyNotJson(why.to_owned()))?;
        }
        let lists = self.variables.iter().filter_map(|variable| facts.built(*variable));
        let largest = lists.map(|built| built.largest).max().unwrap_or(1);
        if largest.saturating_pow(self.depth) > EXPRESSION_ITEMS_MAX {
            return Err(EvaluationError::Budget);
        }
        if self.builds
            && budget::built(self.compiled.expression(), facts) > EXPRESSION_BUILT_BYTES_MAX
        {
            return Err(EvaluationError::Budget);
        }
        let mut context = Context::with_env(Arc::clone(&ENVIRONMENT));
        context.set_variable_resolver(facts);
        match self.compiled.execute(&context) {
            Ok(value) => read(&value),
            Err(error) => Err(EvaluationError::Failed(shown(&error, &self.source))),
        }
    }
}

/// An error in words. Values are left out, and keys that are not in the source: they may be the
/// body.
fn shown(error: &cel::ExecutionError, source: &str) -> String {
    use cel::ExecutionError as E;
    match error {
        E::NoSuchKey(key) if source.contains(key.as_str()) => format!("there is no `{key}`"),
        E::NoSuchKey(_) => "a key is not there".to_owned(),
        E::UndeclaredReference(name) => format!("`{name}` is not there"),
        E::NoSuchOverload(overload) => {
            let types = overload.argument_types().join(", ");
            format!("`{}` cannot be applied to {types}", overload.function().trim_matches('_'))
        }
        E::IndexOutOfBounds(_) => "an index is outside its list".to_owned(),
        E::DivisionByZero(_) | E::RemainderByZero(_) => "a division by zero".to_owned(),
        E::Overflow(..) => "a number does not fit".to_owned(),
        E::UnexpectedType { got, want } => format!("a {want} is needed, not a {got}"),
        E::ValuesNotComparable(a, b) => {
            format!("a {} cannot be compared with a {}", type_name(a), type_name(b))
        }
        E::FunctionError { function, .. } => format!("`{function}` failed"),
        _ => "the expression failed on these values".to_owned(),
    }
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::List(_) => "a list",
        Value::Map(_) | Value::Struct(_) => "a map",
        Value::Int(_) | Value::UInt(_) | Value::Float(_) => "a number",
        Value::String(_) => "a string",
        Value::Bytes(_) => "bytes",
        Value::Bool(_) => "a bool",
        Value::Duration(_) => "a duration",
        Value::Timestamp(_) => "a time",
        Value::Null => "null",
        _ => "something else",
    }
}

#[cfg(test)]
mod tests;
