//! What a step says to its target and what it expects, field by field: `udp`, `ssh`, `websocket`, and the
//! dialogue of `tcp`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use parallax_proto::v1;

use super::reader::{Field, Reader, field, required};
use super::step::{TLS_VERSIONS, authorities, headers, pem_file, template};
use super::tree::{Node, Value};
use super::value;
use super::want::{
    BOOLEAN, LABELS, LENGTH, Shape, TEXT, Want, known, names, shaped, text, texts, word,
};

const HEX: Want = text("pairs of hex digits");
const BASE64: Want = text("base64");
const SENT: [&str; 3] = ["send", "send_hex", "send_base64"];
const AWAITED: [&str; 3] = ["expect", "expect_hex", "expect_base64"];

/// The words of `starttls`.
pub(crate) const PROTOCOLS: &[(&str, v1::StartTls)] = &[
    ("smtp", v1::StartTls::Smtp),
    ("imap", v1::StartTls::Imap),
    ("pop3", v1::StartTls::Pop3),
    ("ldap", v1::StartTls::Ldap),
    ("postgres", v1::StartTls::Postgres),
    ("mysql", v1::StartTls::Mysql),
];

/// What `dialogue` wants.
pub(super) const DIALOGUE: Want = shaped(
    "a list of steps with `send` and `expect`",
    Shape::List(&Shape::Mapping(|| known(EXCHANGE))),
);

const EXCHANGE: &[Field<v1::Exchange>] = &[
    field("name", text("a name"), |step, node, reader| {
        step.name = value::text(node, reader).unwrap_or_default();
    }),
    field("send", TEXT, |step, node, reader| {
        once(&mut step.send, value::text(node, reader).map(said), SENT, node, reader);
    }),
    field("send_hex", HEX, |step, node, reader| {
        once(&mut step.send, raw(hex, node, reader).map(sent), SENT, node, reader);
    }),
    field("send_base64", BASE64, |step, node, reader| {
        once(&mut step.send, raw(base64, node, reader).map(sent), SENT, node, reader);
    }),
    field("expect", text("a regular expression"), |step, node, reader| {
        once(&mut step.expect, value::text(node, reader).map(pattern), AWAITED, node, reader);
    }),
    field("expect_hex", HEX, |step, node, reader| {
        once(&mut step.expect, raw(hex, node, reader).map(awaited), AWAITED, node, reader);
    }),
    field("expect_base64", BASE64, |step, node, reader| {
        once(&mut step.expect, raw(base64, node, reader).map(awaited), AWAITED, node, reader);
    }),
];

/// Fields of `udp`.
pub(super) const UDP: &[Field<v1::UdpStep>] = &[
    required("address", text("a host and a port such as ntp.example:123"), |step, node, reader| {
        step.address = value::text(node, reader).unwrap_or_default();
    }),
    field("send", TEXT, |step, node, reader| {
        once(&mut step.send, value::text(node, reader).map(said), SENT, node, reader);
    }),
    field("send_hex", HEX, |step, node, reader| {
        once(&mut step.send, raw(hex, node, reader).map(sent), SENT, node, reader);
    }),
    field("send_base64", BASE64, |step, node, reader| {
        once(&mut step.send, raw(base64, node, reader).map(sent), SENT, node, reader);
    }),
    field("expect", text("a regular expression"), |step, node, reader| {
        once(&mut step.expect, value::text(node, reader).map(pattern), AWAITED, node, reader);
    }),
    field("expect_hex", HEX, |step, node, reader| {
        once(&mut step.expect, raw(hex, node, reader).map(awaited), AWAITED, node, reader);
    }),
    field("expect_base64", BASE64, |step, node, reader| {
        once(&mut step.expect, raw(base64, node, reader).map(awaited), AWAITED, node, reader);
    }),
    field("resend", LENGTH, |step, node, reader| {
        step.resend = value::duration(node, reader);
    }),
];

/// Fields of `ssh`.
pub(super) const SSH: &[Field<v1::SshStep>] = &[required(
    "address",
    text("a host and a port such as shop.example:22"),
    |step, node, reader| {
        step.address = value::text(node, reader).unwrap_or_default();
    },
)];

/// Fields of `websocket`.
pub(super) const WEBSOCKET: &[Field<v1::WebSocketStep>] = &[
    required("url", text("a ws or wss URL"), |step, node, reader| {
        step.url = value::text(node, reader).unwrap_or_default();
    }),
    field("headers", LABELS, |step, node, reader| {
        step.headers = headers(node, reader);
    }),
    field("subprotocols", texts("a list of names"), |step, node, reader| {
        step.subprotocols = value::texts(node, reader).unwrap_or_default();
    }),
    field("insecure", BOOLEAN, |step, node, reader| {
        step.insecure = value::boolean(node, reader).unwrap_or_default();
    }),
    field("server_name", TEXT, |step, node, reader| {
        step.server_name = value::text(node, reader).unwrap_or_default();
    }),
    field("ca_pem", text("certificates as PEM"), |step, node, reader| {
        authorities(&mut step.ca_pem, value::text(node, reader), node, reader);
    }),
    field("ca_file", text("the path of a PEM file"), |step, node, reader| {
        authorities(&mut step.ca_pem, pem_file(node, reader), node, reader);
    }),
    field("min_tls", word("1.2 or 1.3", || names(TLS_VERSIONS)), |step, node, reader| {
        step.min_tls = value::word(node, TLS_VERSIONS, reader).unwrap_or_default().into();
    }),
    field("client_cert", text("a reference to a certificate"), |step, node, reader| {
        step.client_cert = value::text(node, reader).and_then(template);
    }),
    field("client_key", text("a reference to a key"), |step, node, reader| {
        step.client_key = value::text(node, reader).and_then(template);
    }),
    field("dialogue", DIALOGUE, |step, node, reader| {
        step.dialogue = dialogue(node, reader);
    }),
];

/// Reads `dialogue:`.
pub(super) fn dialogue(node: &Node, reader: &mut Reader<'_>) -> Vec<v1::Exchange> {
    let Value::List(items) = &node.value else {
        reader.wrong_type(node);
        return Vec::new();
    };
    let mut dialogue = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        dialogue.push(reader.at(index, |reader| {
            let mut step = v1::Exchange::default();
            reader.mapping(item, EXCHANGE, &mut step);
            step
        }));
    }
    dialogue
}

/// Takes what is written in one form only.
fn once<T>(
    into: &mut Option<T>,
    given: Option<T>,
    names: [&str; 3],
    node: &Node,
    reader: &mut Reader<'_>,
) {
    if into.is_some() {
        let message = format!("only one of {} can be given", quoted(&names));
        reader.error("duplicate_field", node.place, message);
        return;
    }
    *into = given;
}

fn said(text: String) -> v1::Payload {
    let secret = v1::Secret { value: Some(v1::secret::Value::Template(text)) };
    v1::Payload { form: Some(v1::payload::Form::Text(secret)) }
}

fn sent(raw: Vec<u8>) -> v1::Payload {
    v1::Payload { form: Some(v1::payload::Form::Raw(raw.into())) }
}

fn pattern(pattern: String) -> v1::Expected {
    v1::Expected { form: Some(v1::expected::Form::Pattern(pattern)) }
}

fn awaited(raw: Vec<u8>) -> v1::Expected {
    v1::Expected { form: Some(v1::expected::Form::Raw(raw.into())) }
}

/// Bytes as somebody has written them. What cannot be read stands for one byte, so that nobody is told
/// that it is missing.
fn raw(
    read: fn(&str) -> Result<Vec<u8>, String>,
    node: &Node,
    reader: &mut Reader<'_>,
) -> Option<Vec<u8>> {
    let text = value::text(node, reader)?;
    Some(read(&text).unwrap_or_else(|why| {
        reader.error("bytes_format", node.place, why);
        vec![0]
    }))
}

/// Pairs of hex digits, with blanks between them or without.
fn hex(text: &str) -> Result<Vec<u8>, String> {
    let digits: Vec<u32> = text
        .chars()
        .filter(|c| !c.is_ascii_whitespace())
        .map(|c| c.to_digit(16).ok_or_else(|| format!("`{c}` is no hex digit")))
        .collect::<Result<_, _>>()?;
    let (pairs, []) = digits.as_chunks::<2>() else {
        return Err("a byte has two hex digits, and the last one has one".to_owned());
    };
    Ok(pairs.iter().filter_map(|[high, low]| u8::try_from(high * 16 + low).ok()).collect())
}

fn base64(text: &str) -> Result<Vec<u8>, String> {
    let whole: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    STANDARD
        .decode(whole)
        .map_err(|error| format!("no base64: {}", error.to_string().to_lowercase()))
}

/// Words as a list for a person.
pub(super) fn quoted(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_read_in_both_ways() {
        for (text, bytes) in [
            ("", Ok(&[][..])),
            ("0d0a", Ok(&[13, 10])),
            ("FF 00\n7f", Ok(&[255, 0, 127])),
            ("0d0", Err("two hex digits")),
            ("0x0d", Err("`x` is no hex digit")),
        ] {
            let read = hex(text);
            match bytes {
                Ok(bytes) => assert_eq!(read.unwrap(), bytes, "{text}"),
                Err(why) => assert!(read.unwrap_err().contains(why), "{text}"),
            }
        }
        assert_eq!(base64("aGVs\n bG8=").unwrap(), b"hello");
        assert!(base64("aGVsbG8").unwrap_err().starts_with("no base64: "));
    }
}
