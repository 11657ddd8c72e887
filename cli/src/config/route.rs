//! What routes and the settings of a namespace may say, field by field.

use std::sync::Arc;

use parallax_common::calendar::hours::Time;
use parallax_common::matcher::Matcher;
use parallax_common::text;
use parallax_proto::convert::hours::time_to;
use parallax_proto::convert::route::matcher_to;
use parallax_proto::convert::storm;
use parallax_proto::v1;

use super::check::judge;
use super::reader::{Field, Reader, field, required};
use super::tree::{Entry, Node, Value};
use super::want::{BOOLEAN, CONTACTS, Shape, Want, known, length, mapping, shaped, text, texts};
use super::{Kind, Located, value};

/// A route while it is read.
#[derive(Default)]
pub(super) struct Draft {
    route: v1::Route,
    alert: Option<Vec<String>>,
    steps: Option<Vec<v1::RouteStep>>,
}

const SETTINGS: &[Field<v1::Settings>] = &[
    field("mesh", mapping("a mapping with `alert`", || known(MESH)), |settings, node, reader| {
        reader.mapping(node, MESH, settings);
    }),
    field(
        "routes",
        shaped("a list of routes", Shape::List(&Shape::Mapping(|| known(ROUTE)))),
        |settings, node, reader| {
            let items = match &node.value {
                Value::List(items) => items.as_slice(),
                Value::Null => &[],
                _ => return reader.wrong_type(node),
            };
            for (index, item) in items.iter().enumerate() {
                let route = reader.at(index, |reader| route(item, reader));
                settings.routes.push(route);
            }
        },
    ),
];

/// Fields of `mesh`.
pub(super) const MESH: &[Field<v1::Settings>] = &[
    field("alert", CONTACTS, |settings, node, reader| {
        settings.mesh_alert = value::texts(node, reader).unwrap_or_default();
    }),
    field("public_url", text("an http or https URL"), |settings, node, reader| {
        settings.public_url = value::text(node, reader).unwrap_or_default();
    }),
    field(
        "storm",
        mapping("a mapping such as `{over: 10, within: 30s}`", || known(STORM)),
        |settings, node, reader| {
            let mut storm = storm::usual();
            reader.mapping(node, STORM, &mut storm);
            settings.storm = Some(storm);
        },
    ),
];

const STORM: &[Field<v1::StormRule>] = &[
    field(
        "over",
        shaped("a whole number, or 0 for no storms", Shape::Whole(0)),
        |storm, node, reader| {
            storm.over = value::number(node, reader).unwrap_or(storm.over);
        },
    ),
    field("within", length("a length of time such as 30s"), |storm, node, reader| {
        storm.within = value::duration(node, reader).or(storm.within);
    }),
];

/// Fields of an item of `routes`.
pub(super) const ROUTE: &[Field<Draft>] = &[
    required("name", text("a name such as `payments`"), |draft, node, reader| {
        draft.route.name = value::text(node, reader).unwrap_or_default();
    }),
    field("match", texts("a list of matchers such as `team=payments`"), |draft, node, reader| {
        draft.route.matchers = matchers(node, reader);
    }),
    field("alert", CONTACTS, |draft, node, reader| {
        draft.alert = Some(value::texts(node, reader).unwrap_or_default());
    }),
    field(
        "steps",
        shaped(
            "a list of steps such as `{after: 10m, alert: [boss]}`",
            Shape::List(&Shape::Mapping(|| known(STEP))),
        ),
        |draft, node, reader| {
            let Value::List(items) = &node.value else { return reader.wrong_type(node) };
            let mut steps = Vec::with_capacity(items.len());
            for (index, item) in items.iter().enumerate() {
                let mut step = v1::RouteStep::default();
                reader.at(index, |reader| reader.mapping(item, STEP, &mut step));
                steps.push(step);
            }
            draft.steps = Some(steps);
        },
    ),
    field("repeat", length("a length of time such as 4h"), |draft, node, reader| {
        draft.route.repeat = value::duration(node, reader);
    }),
    field("during", HOURS_SAID, |draft, node, reader| {
        hours(&mut draft.route.hours, false, node, reader);
    }),
    field("outside", HOURS_SAID, |draft, node, reader| {
        hours(&mut draft.route.hours, true, node, reader);
    }),
    field("wait", BOOLEAN, |draft, node, reader| {
        draft.route.wait = value::boolean(node, reader).unwrap_or_default();
    }),
    field("continue", BOOLEAN, |draft, node, reader| {
        draft.route.r#continue = value::boolean(node, reader).unwrap_or_default();
    }),
];

const STEP: &[Field<v1::RouteStep>] = &[
    field("after", length("a length of time such as 10m"), |step, node, reader| {
        // The one length that may be nothing: at once.
        let at_once = node
            .text()
            .is_some_and(|text| text::parse_duration(text).is_ok_and(|length| length.is_zero()));
        step.after = if at_once { None } else { value::duration(node, reader) };
    }),
    required("alert", CONTACTS, |step, node, reader| {
        step.alert = value::texts(node, reader).unwrap_or_default();
    }),
    field("during", HOURS_SAID, |step, node, reader| {
        hours(&mut step.hours, false, node, reader);
    }),
    field("outside", HOURS_SAID, |step, node, reader| {
        hours(&mut step.hours, true, node, reader);
    }),
];

const HOURS_SAID: Want =
    mapping("a mapping such as `{zone: Europe/Berlin, times: [mon-fri 09:00-17:00]}`", || {
        known(HOURS)
    });

const HOURS: &[Field<v1::Hours>] = &[
    required("zone", text("a time zone such as Europe/Berlin"), |hours, node, reader| {
        hours.zone = value::text(node, reader).unwrap_or_default();
    }),
    required(
        "times",
        texts("a list such as `[mon-fri 09:00-17:00, sat]`"),
        |hours, node, reader| {
            hours.times = times(node, reader);
        },
    ),
];

/// Hours, or with `outside` all other times. Said twice, in both ways, they are refused.
fn hours(said: &mut Option<v1::Hours>, outside: bool, node: &Node, reader: &mut Reader<'_>) {
    let mut hours = v1::Hours { outside, ..v1::Hours::default() };
    reader.mapping(node, HOURS, &mut hours);
    if said.is_some() {
        let message = "say either `during` or `outside`: one is what the other leaves out";
        reader.error("route_hours", node.place, message);
    }
    *said = Some(hours);
}

/// Nothing when one of them is none: rules about the others would name the wrong item.
fn times(node: &Node, reader: &mut Reader<'_>) -> Vec<v1::HoursTime> {
    let given = value::texts(node, reader).unwrap_or_default();
    let Value::List(items) = &node.value else { return Vec::new() };
    let mut read = Vec::with_capacity(given.len());
    for (text, item) in given.iter().zip(items) {
        match Time::parse(text) {
            Some(time) => read.push(time_to(&time)),
            None => {
                let message = format!(
                    "`{text}` is no time of a week such as `mon-fri 09:00-17:00`, `sat,sun` or \
                     `22:00-06:00`"
                );
                reader.error("route_hours", item.place, message);
            }
        }
    }
    if read.len() == items.len() { read } else { Vec::new() }
}

fn route(node: &Node, reader: &mut Reader<'_>) -> v1::Route {
    let mut draft = Draft::default();
    reader.mapping(node, ROUTE, &mut draft);
    let Draft { mut route, alert, steps } = draft;
    route.steps = match (alert, steps) {
        (Some(_), Some(_)) => {
            let message = "`alert` is the first step: say either it or `steps`";
            reader.error("route_steps", node.place, message);
            Vec::new()
        }
        (Some(alert), None) => vec![v1::RouteStep { alert, ..v1::RouteStep::default() }],
        (None, steps) => steps.unwrap_or_default(),
    };
    route
}

fn matchers(node: &Node, reader: &mut Reader<'_>) -> Vec<v1::Matcher> {
    let Value::List(items) = &node.value else {
        reader.wrong_type(node);
        return Vec::new();
    };
    let mut found = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        reader.at(index, |reader| {
            let Some(text) = value::text(item, reader) else { return };
            match Matcher::parse(&text) {
                Ok(matcher) => found.push(matcher_to(&matcher)),
                Err(error) => {
                    reader.error(error.rule().id, item.place, error.to_string());
                }
            }
        });
    }
    found
}

/// Whether a key of a document is one of the settings of its namespace.
pub(super) fn is_setting(key: &str) -> bool {
    SETTINGS.iter().any(|field| field.name == key)
}

/// Reads what a document says of its namespace.
pub(super) fn settings(entries: &[Arc<Entry>], reader: &mut Reader<'_>) -> Option<Located> {
    let first = entries.first()?;
    let place = first.value.place;
    let depth = entries.iter().map(|entry| entry.value.depth + 1).max().unwrap_or_default();
    let body = Node { place, depth, value: Value::Map(entries.to_vec()) };
    let name = parallax_proto::convert::resource::SETTINGS_NAME.to_owned();
    let mut settings = v1::Settings {
        meta: Some(v1::Meta { name: name.clone(), ..v1::Meta::default() }),
        ..v1::Settings::default()
    };
    reader.enter(Kind::Settings.word(), &name);
    reader.map(entries, place, &[SETTINGS], &mut settings);
    let resource = v1::Resource { kind: Some(v1::resource::Kind::Settings(settings)) };
    judge(&resource, &body, place, reader);
    reader.leave();
    Some(Located { kind: Kind::Settings, name, resource, place, body: Arc::new(body) })
}

/// Makes one resource of what several documents say of their namespace, as long as no two of them say
/// the same: that is left as it is, and is an error.
pub(super) fn join(resources: &mut Vec<Located>) {
    let mut joined: Option<usize> = None;
    let mut at = 0;
    while at < resources.len() {
        if resources[at].kind != Kind::Settings {
            at += 1;
            continue;
        }
        let Some(first) = joined else {
            joined = Some(at);
            at += 1;
            continue;
        };
        let later = resources[at].clone();
        match both(&resources[first], &later) {
            Some(whole) => {
                resources[first] = whole;
                resources.remove(at);
            }
            None => at += 1,
        }
    }
}

fn both(one: &Located, other: &Located) -> Option<Located> {
    let (mine, theirs) = (one.body.entries()?, other.body.entries()?);
    if theirs.iter().any(|entry| one.body.get(&entry.key).is_some()) {
        return None;
    }
    let Some(v1::resource::Kind::Settings(first)) = &one.resource.kind else { return None };
    let Some(v1::resource::Kind::Settings(second)) = &other.resource.kind else { return None };
    let mut settings = first.clone();
    settings.mesh_alert.extend(second.mesh_alert.iter().cloned());
    settings.routes.extend(second.routes.iter().cloned());
    if settings.public_url.is_empty() {
        settings.public_url.clone_from(&second.public_url);
    }
    settings.storm = settings.storm.or(second.storm);
    let entries = mine.iter().chain(theirs).cloned().collect();
    let depth = one.body.depth.max(other.body.depth);
    let body = Node { place: one.body.place, depth, value: Value::Map(entries) };
    let resource = v1::Resource { kind: Some(v1::resource::Kind::Settings(settings)) };
    Some(Located { resource, body: Arc::new(body), ..one.clone() })
}
