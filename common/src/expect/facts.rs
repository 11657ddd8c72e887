//! What a run saw, and how expressions get at it: each value is built when it is asked for.

use std::collections::{BTreeMap, HashMap};
use std::sync::OnceLock;
use std::time::Duration;

use cel::common::types::{
    CelBool, CelDouble, CelDuration, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString,
};
use cel::common::value::{CowVal, Val};
use cel::context::VariableResolver;

use super::Variable;
use super::budget::VALUE_BYTES;
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
    /// The phases that happened.
    pub phases: Vec<(Phase, Duration)>,
    /// The address that answered.
    pub ip: String,
    /// `HTTP/1.0` or `HTTP/1.1`.
    pub http_version: String,
    /// The certificate that was shown.
    pub cert: Option<Certificate>,
    json: OnceLock<Result<Json, String>>,
}

/// What expressions see of a certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Certificate {
    /// Whole days until it expires; negative when it has.
    pub days_left: i64,
    /// DNS names and addresses it is for.
    pub names: Vec<String>,
    /// Its issuer's distinguished name.
    pub issuer: String,
}

/// A parsed body.
#[derive(Debug)]
pub(super) struct Json {
    value: Box<dyn Val>,
    /// Items of the largest list or map in it: what one loop can run over.
    pub(super) largest: u64,
    /// About what it takes in memory.
    pub(super) bytes: u64,
}

impl Facts {
    pub(super) fn seen_body(&self) -> &[u8] {
        &self.body[..self.body.len().min(EXPRESSION_BODY_BYTES_MAX)]
    }

    /// The body parsed as JSON, once.
    pub(super) fn json(&self) -> Result<&Json, &str> {
        let parse = || {
            let parsed: serde_json::Value =
                serde_json::from_slice(self.seen_body()).map_err(|error| match error.line() {
                    0 => "it cannot be read".to_owned(),
                    line => format!("line {line}, column {}", error.column()),
                })?;
            let (mut largest, mut bytes) = (1, 0);
            let value = json_value(parsed, &mut largest, &mut bytes);
            Ok(Json { value, largest, bytes })
        };
        self.json.get_or_init(parse).as_ref().map_err(String::as_str)
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
            Variable::Body => match String::from_utf8_lossy(self.seen_body()) {
                std::borrow::Cow::Borrowed(body) => CowVal::owned(CelString::from(body)),
                std::borrow::Cow::Owned(body) => CowVal::owned(CelString::from(body)),
            },
            Variable::Json => CowVal::Borrowed(self.json().ok()?.value.as_ref()),
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
            Variable::Cert => {
                let Certificate { days_left, names, issuer } = self.cert.as_ref()?;
                let names: Vec<_> = names.iter().map(|name| text(name)).collect();
                CowVal::owned(CelMap::from(HashMap::from([
                    (
                        CelMapKey::from("days_left"),
                        Box::new(CelInt::from(*days_left)) as Box<dyn Val + 'b>,
                    ),
                    (CelMapKey::from("names"), Box::new(CelList::from(names))),
                    (CelMapKey::from("issuer"), text(issuer)),
                ])))
            }
        })
    }
}

fn text<'b>(text: &'b str) -> Box<dyn Val + 'b> {
    Box::new(CelString::from(text))
}

fn duration(length: Duration) -> CelDuration {
    let ns = i64::try_from(length.as_nanos()).unwrap_or(i64::MAX);
    CelDuration::from(chrono::Duration::nanoseconds(ns))
}

/// Whole numbers that fit are ints, others doubles. Nesting is bounded by the parser (128).
fn json_value(json: serde_json::Value, largest: &mut u64, bytes: &mut u64) -> Box<dyn Val> {
    *bytes += VALUE_BYTES;
    match json {
        serde_json::Value::Null => Box::new(CelNull),
        serde_json::Value::Bool(value) => Box::new(CelBool::from(value)),
        serde_json::Value::Number(number) => match number.as_i64() {
            Some(whole) => Box::new(CelInt::from(whole)),
            None => Box::new(CelDouble::from(number.as_f64().unwrap_or(f64::NAN))),
        },
        serde_json::Value::String(value) => {
            *bytes += value.len() as u64;
            Box::new(CelString::from(value))
        }
        serde_json::Value::Array(items) => {
            *largest = (*largest).max(items.len() as u64);
            let items: Vec<_> =
                items.into_iter().map(|item| json_value(item, largest, bytes)).collect();
            Box::new(CelList::from(items))
        }
        serde_json::Value::Object(members) => {
            *largest = (*largest).max(members.len() as u64);
            let members: HashMap<_, _> = members
                .into_iter()
                .map(|(key, value)| {
                    *bytes += VALUE_BYTES + key.len() as u64;
                    (CelMapKey::from(key), json_value(value, largest, bytes))
                })
                .collect();
            Box::new(CelMap::from(members))
        }
    }
}
