//! What a step says to its target and what it expects: the writers for [`crate::config::talk`].

use parallax_proto::convert::fields::hex;
use parallax_proto::v1;

use super::document::{Map, Value, written};

/// A dialogue, whose steps without a name are called by their place.
pub(super) fn dialogue(given: &[v1::Exchange], usual: &[v1::Exchange], out: &mut Map) {
    let steps = given.iter().zip(usual).map(|(given, usual)| {
        let mut step = Map::default();
        step.text("name", &given.name, &usual.name);
        said(given.send.as_ref(), given.expect.as_ref(), &mut step);
        Value::Map(step)
    });
    out.list("dialogue", steps);
}

/// What is sent and what must arrive. Bytes are pairs of hex digits, however they were written.
pub(super) fn said(send: Option<&v1::Payload>, expect: Option<&v1::Expected>, out: &mut Map) {
    match send.and_then(|send| send.form.as_ref()) {
        Some(v1::payload::Form::Text(text)) => out.put("send", written(text)),
        Some(v1::payload::Form::Raw(raw)) => out.put("send_hex", hex(raw).as_str()),
        None => {}
    }
    match expect.and_then(|expect| expect.form.as_ref()) {
        Some(v1::expected::Form::Pattern(pattern)) => out.put("expect", pattern.as_str()),
        Some(v1::expected::Form::Raw(raw)) => out.put("expect_hex", hex(raw).as_str()),
        None => {}
    }
}
