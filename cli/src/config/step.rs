//! What a step may say, field by field: `http`, `tcp`, and a list of them.

use std::io::Read as _;

use parallax_common::limits;
use parallax_proto::v1;

use super::reader::{Field, Reader, field, required};
use super::tree::{Node, Value};
use super::value::{self, at_least_one};

const TEXT: &str = "a text";
const BOOLEAN: &str = "true or false";

pub(super) const HTTP: &[Field<v1::HttpStep>] = &[
    required("url", "an http or https URL", |step, node, reader| {
        step.url = value::text(node, reader).unwrap_or_default();
    }),
    field("method", "a method such as GET", |step, node, reader| {
        step.method = value::text(node, reader).unwrap_or_default();
    }),
    field("headers", "a mapping of names to texts", |step, node, reader| {
        step.headers = headers(node, reader);
    }),
    field("body", TEXT, |step, node, reader| {
        step.body = value::text(node, reader).unwrap_or_default();
    }),
    field("body_max_bytes", "a whole number of bytes", |step, node, reader| {
        step.body_max_bytes = at_least_one(node, reader);
    }),
    field("insecure", BOOLEAN, |step, node, reader| {
        step.insecure = value::boolean(node, reader).unwrap_or_default();
    }),
    field("server_name", TEXT, |step, node, reader| {
        step.server_name = value::text(node, reader).unwrap_or_default();
    }),
    field("ca_pem", "certificates as PEM", |step, node, reader| {
        authorities(&mut step.ca_pem, value::text(node, reader), node, reader);
    }),
    field("ca_file", "the path of a PEM file", |step, node, reader| {
        authorities(&mut step.ca_pem, pem_file(node, reader), node, reader);
    }),
];

pub(super) const TCP: &[Field<v1::TcpStep>] = &[
    required("address", "a host and a port such as db.example:5432", |step, node, reader| {
        step.address = value::text(node, reader).unwrap_or_default();
    }),
    field("tls", BOOLEAN, |step, node, reader| {
        step.tls = value::boolean(node, reader).unwrap_or_default();
    }),
    field("insecure", BOOLEAN, |step, node, reader| {
        step.insecure = value::boolean(node, reader).unwrap_or_default();
    }),
    field("server_name", TEXT, |step, node, reader| {
        step.server_name = value::text(node, reader).unwrap_or_default();
    }),
    field("ca_pem", "certificates as PEM", |step, node, reader| {
        authorities(&mut step.ca_pem, value::text(node, reader), node, reader);
    }),
    field("ca_file", "the path of a PEM file", |step, node, reader| {
        authorities(&mut step.ca_pem, pem_file(node, reader), node, reader);
    }),
];

/// A step while it is read.
#[derive(Default)]
struct StepDraft {
    name: String,
    http: Option<v1::HttpStep>,
    tcp: Option<v1::TcpStep>,
}

const STEP: &[Field<StepDraft>] = &[
    field("name", "a name", |step, node, reader| {
        step.name = value::text(node, reader).unwrap_or_default();
    }),
    field("http", "a mapping with `url`", |step, node, reader| {
        let mut http = v1::HttpStep::default();
        reader.mapping(node, HTTP, &mut http);
        step.http = Some(http);
    }),
    field("tcp", "a mapping with `address`", |step, node, reader| {
        let mut tcp = v1::TcpStep::default();
        reader.mapping(node, TCP, &mut tcp);
        step.tcp = Some(tcp);
    }),
];

/// Headers with values that may hold references, in the order in which they are written.
pub(super) fn headers(node: &Node, reader: &mut Reader<'_>) -> Vec<v1::Header> {
    let pairs = value::pairs(node, reader).unwrap_or_default();
    pairs
        .into_iter()
        .map(|(name, template)| v1::Header {
            name,
            value: Some(v1::Secret { value: Some(v1::secret::Value::Template(template)) }),
        })
        .collect()
}

fn authorities(into: &mut String, pem: Option<String>, node: &Node, reader: &mut Reader<'_>) {
    if !into.is_empty() {
        let message = "`ca_pem` and `ca_file` cannot both be given";
        reader.error("duplicate_field", node.place, message);
        return;
    }
    *into = pem.unwrap_or_default();
}

/// Reads a PEM file now: what is applied does not depend on files of one machine.
fn pem_file(node: &Node, reader: &mut Reader<'_>) -> Option<String> {
    let path = value::text(node, reader)?;
    let full = reader.sources.directory(node.place.source).join(&path);
    let mut pem = String::new();
    let read = std::fs::File::open(full)
        .and_then(|file| file.take(limits::RESOURCE_BYTES_MAX as u64 + 1).read_to_string(&mut pem));
    match read {
        Ok(_) if pem.trim().is_empty() => {
            reader.error("ca_pem", node.place, format!("`{path}` is empty"));
            None
        }
        Ok(_) => Some(pem),
        Err(error) => {
            reader.error("ca_pem", node.place, format!("cannot read `{path}`: {error}"));
            None
        }
    }
}

/// Reads `steps:`.
pub(super) fn steps(node: &Node, reader: &mut Reader<'_>) -> Vec<v1::Step> {
    let Value::List(items) = &node.value else {
        reader.wrong_type(node);
        return Vec::new();
    };
    let mut steps = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        steps.push(reader.at(index, |reader| {
            let mut draft = StepDraft::default();
            reader.mapping(item, STEP, &mut draft);
            let kind = match (draft.http, draft.tcp) {
                (Some(http), None) => Some(v1::step::Kind::Http(http)),
                (None, Some(tcp)) => Some(v1::step::Kind::Tcp(tcp)),
                (Some(http), Some(_)) => {
                    kind_twice(item, reader);
                    Some(v1::step::Kind::Http(http))
                }
                (None, None) => {
                    if item.entries().is_some() {
                        reader.error("kind_missing", item.place, "a step needs `http` or `tcp`");
                    }
                    None
                }
            };
            v1::Step { name: draft.name, kind }
        }));
    }
    steps
}

/// Says that a check or a step is two things at once, at the second of them.
pub(super) fn kind_twice(node: &Node, reader: &mut Reader<'_>) {
    let kinds = node.entries().unwrap_or_default().iter();
    let second =
        kinds.filter(|entry| matches!(entry.key.as_str(), "http" | "tcp" | "steps")).nth(1);
    let place = second.map_or(node.place, |entry| entry.place);
    reader.error("kind_twice", place, "only one of `http`, `tcp` and `steps` can be given");
}
