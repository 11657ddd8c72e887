//! What a maintenance window may say, field by field.

use std::sync::Arc;

use parallax_common::calendar;
use parallax_common::matcher::Matcher;
use parallax_proto::convert::maintenance::EVERY;
use parallax_proto::convert::route::matcher_to;
use parallax_proto::v1;

use super::contact::one;
use super::reader::{Field, Reader, field, required};
use super::tree::{Node, Value};
use super::want::{LABELS, Shape, TEXT, Want, length, names, shaped, text, texts, whole, word};
use super::{Kind, Located, value};

const MOMENT: Want = text("a moment such as 2026-12-01T22:00:00Z");

/// As they go to the wire, from Monday.
const DAYS: [(&str, i32); 7] = {
    let mut days = [("", 0); 7];
    let mut at = 0;
    while at < days.len() {
        days[at] = (calendar::WEEKDAYS[at], at as i32 + 1);
        at += 1;
    }
    days
};

/// Fields of an item of `maintenance`.
pub(super) const WINDOW: &[Field<v1::Maintenance>] = &[
    required("name", text("a name such as `backup`"), |window, node, reader| {
        let name = value::text(node, reader).unwrap_or_default();
        window.meta.get_or_insert_default().name = name;
    }),
    field("labels", LABELS, |window, node, reader| {
        let labels = value::labels(node, reader).unwrap_or_default();
        window.meta.get_or_insert_default().labels = labels;
    }),
    required("matchers", texts("a list such as `[team=payments]`"), |window, node, reader| {
        window.matchers = matchers(node, reader);
    }),
    field("comment", TEXT, |window, node, reader| {
        window.comment = value::text(node, reader).unwrap_or_default();
    }),
    field("from", MOMENT, |window, node, reader| window.starts_at = moment(node, reader)),
    field("until", MOMENT, |window, node, reader| window.ends_at = moment(node, reader)),
    field(
        "every",
        word("one of daily, weekly, monthly", || names(&EVERY)),
        |window, node, reader| {
            window.every = value::word(node, &EVERY, reader).unwrap_or_default().into();
        },
    ),
    field(
        "days",
        shaped(
            "a list of days such as `[monday, friday]`",
            Shape::List(&Shape::Word(|| names(&DAYS))),
        ),
        |window, node, reader| {
            let days = value::words(node, &DAYS, reader).unwrap_or_default();
            window.days = days.into_iter().filter_map(|day| u32::try_from(day).ok()).collect();
        },
    ),
    field("day", whole("a day of the month, from 1 to 31"), |window, node, reader| {
        window.day = value::at_least_one(node, reader);
    }),
    field("at", text("a time of day such as \"02:30\""), |window, node, reader| {
        window.at = value::text(node, reader).unwrap_or_default();
    }),
    field("for", length("a length of time such as 2h"), |window, node, reader| {
        window.length = value::duration(node, reader);
    }),
    field("zone", text("a time zone such as Europe/Berlin"), |window, node, reader| {
        window.zone = value::text(node, reader).unwrap_or_default();
    }),
];

/// Reads one item of `maintenance:`.
pub(super) fn window(node: &Arc<Node>, reader: &mut Reader<'_>) -> Option<Located> {
    let window = v1::Maintenance::default();
    one(node, Kind::Maintenance, WINDOW, window, v1::resource::Kind::Maintenance, reader)
}

/// Nothing when one of them is none: rules about the others would name the wrong item.
fn matchers(node: &Node, reader: &mut Reader<'_>) -> Vec<v1::Matcher> {
    let Value::List(items) = &node.value else {
        reader.wrong_type(node);
        return Vec::new();
    };
    let mut read = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        read.extend(reader.at(index, |reader| {
            let text = value::text(item, reader)?;
            match Matcher::parse(&text) {
                Ok(matcher) => Some(matcher_to(&matcher)),
                Err(error) => {
                    reader.error(error.rule().id, item.place, error.to_string());
                    None
                }
            }
        }));
    }
    if read.len() == items.len() { read } else { Vec::new() }
}

fn moment(node: &Node, reader: &mut Reader<'_>) -> Option<prost_types::Timestamp> {
    let text = value::text(node, reader)?;
    match text.parse::<jiff::Timestamp>() {
        Ok(at) => {
            let (seconds, nanos) = (at.as_second(), at.subsec_nanosecond());
            Some(prost_types::Timestamp { seconds, nanos })
        }
        Err(_) => {
            reader.error("wrong_type", node.place, format!("`{text}` is not {}", MOMENT.words));
            None
        }
    }
}
