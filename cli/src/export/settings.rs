//! What holds for a namespace, and windows of planned work: the writers for `config::route` and
//! `config::maintenance`.

use parallax_common::calendar::WEEKDAYS;
use parallax_common::calendar::hours::Time;
use parallax_proto::convert::maintenance::EVERY;
use parallax_proto::convert::route::matcher_shown;
use parallax_proto::v1;

use super::document::{Map, Value};

/// `mesh:` and `routes:`. Settings that say nothing are `mesh: {}`: they are there.
pub(super) fn settings(given: &v1::Settings, out: &mut Map) {
    let mut mesh = Map::default();
    mesh.texts("alert", &given.mesh_alert, &[]);
    mesh.text("public_url", &given.public_url, "");
    if let Some(storm) = &given.storm {
        let mut map = Map::default();
        map.put("over", Value::Number(storm.over.into()));
        map.length("within", storm.within.as_ref(), None);
        mesh.map("storm", map);
    }
    if !mesh.0.is_empty() || given.routes.is_empty() {
        out.map("mesh", mesh);
    }
    out.list("routes", given.routes.iter().map(|it| Value::Map(route(it))));
}

fn route(given: &v1::Route) -> Map {
    let mut out = Map::default();
    out.put("name", given.name.as_str());
    matchers("match", &given.matchers, &mut out);
    hours(given.hours.as_ref(), &mut out);
    out.flag("wait", given.wait, false);
    match given.steps.as_slice() {
        [only] if only.after.is_none() && only.hours.is_none() => {
            out.texts("alert", &only.alert, &[]);
        }
        steps => out.list("steps", steps.iter().map(|it| Value::Map(step(it)))),
    }
    out.length("repeat", given.repeat.as_ref(), None);
    out.flag("continue", given.r#continue, false);
    out
}

fn step(given: &v1::RouteStep) -> Map {
    let mut out = Map::default();
    out.length("after", given.after.as_ref(), None);
    out.list("alert", given.alert.iter().map(|name| name.as_str().into()));
    hours(given.hours.as_ref(), &mut out);
    out
}

fn hours(given: Option<&v1::Hours>, out: &mut Map) {
    let Some(given) = given else { return };
    let mut map = Map::default();
    map.put("zone", given.zone.as_str());
    map.list("times", given.times.iter().map(|it| time(it).as_str().into()));
    out.map(if given.outside { "outside" } else { "during" }, map);
}

/// A time of the week, as it is read. What is none is stored by nobody.
fn time(given: &v1::HoursTime) -> String {
    let minute = |minute: u32| u16::try_from(minute).unwrap_or_default();
    let days = given.days.iter().filter_map(|day| u8::try_from(*day).ok()).collect();
    Time { days, from: minute(given.from_minute), to: minute(given.to_minute) }.to_string()
}

fn matchers(name: &str, given: &[v1::Matcher], out: &mut Map) {
    out.list(name, given.iter().map(|it| matcher_shown(it).as_str().into()));
}

/// One item of `maintenance:`.
pub(super) fn window(given: &v1::Maintenance) -> Map {
    let mut out = Map::default();
    let meta = given.meta.clone().unwrap_or_default();
    out.put("name", meta.name.as_str());
    matchers("matchers", &given.matchers, &mut out);
    out.text("comment", &given.comment, "");
    for (name, at) in [("from", &given.starts_at), ("until", &given.ends_at)] {
        let at = at.as_ref().and_then(|at| jiff::Timestamp::new(at.seconds, at.nanos).ok());
        if let Some(at) = at {
            out.put(name, Value::Word(at.to_string()));
        }
    }
    out.word("every", &EVERY, given.every, v1::Every::Unspecified.into());
    let day = |day: &u32| WEEKDAYS.get(usize::try_from(*day).ok()?.checked_sub(1)?);
    let days = given.days.iter().filter_map(day);
    out.list("days", days.map(|day| Value::Word((*day).to_owned())));
    out.number("day", given.day, 0_u32);
    out.text("at", &given.at, "");
    out.length("for", given.length.as_ref(), None);
    out.text("zone", &given.zone, "");
    out.labels("labels", &meta.labels);
    out
}
