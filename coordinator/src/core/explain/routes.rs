//! Which routes took an incident and what comes next of them, and whom a route would tell.

use parallax_proto::convert;
use parallax_proto::convert::route::{after, matcher_shown};
use parallax_proto::v1::timeline_event::Event;
use parallax_proto::v1::{Incident, Route, Routed};

use super::words::{Clock, line, list, span};
use crate::core::{routing, stamp};

/// What routes have to say about an incident: nothing where its check, or the mesh, names contacts.
pub(super) fn taken(incident: &Incident, clock: &mut Clock) -> Vec<String> {
    if incident.routed.is_empty() {
        let untaken =
            |event: &Event| matches!(event, Event::RoutesTook(took) if took.routes.is_empty());
        let mut events = incident.timeline.iter().filter_map(|event| event.event.as_ref());
        return match events.any(untaken) {
            true => vec!["No route fits it: nobody is told.".to_owned()],
            false => Vec::new(),
        };
    }
    let names: Vec<String> = incident.routed.iter().map(|it| line(&it.route)).collect();
    let mut sentences = vec![match names.len() {
        1 => format!("Route {} took it.", list(&names)),
        _ => format!("Routes {} took it.", list(&names)),
    }];
    if routing::due(incident).is_none() {
        return sentences;
    }
    if let Some(until) = &incident.quiet_until {
        let until = clock.time(Some(until));
        sentences.push(format!("It is quiet until {until}: nobody else is told before."));
    }
    sentences.extend(incident.routed.iter().filter_map(|it| next(incident, it, clock)));
    sentences
}

/// What comes next of a route, unless somebody acknowledges the incident.
fn next(incident: &Incident, routed: &Routed, clock: &mut Clock) -> Option<String> {
    let mut comes = Vec::new();
    if let Some(at) = routing::step_due(incident, routed) {
        let at = clock.time(Some(&stamp::timestamp(at)));
        comes.push(format!("step {} comes at {at}", routed.done.saturating_add(1)));
    }
    if let Some(at) = routing::reminder_due(routed) {
        let at = clock.time(Some(&stamp::timestamp(at)));
        comes.push(format!("a reminder comes at {at}"));
    }
    if comes.is_empty() {
        return None;
    }
    let (route, comes) = (line(&routed.route), list(&comes));
    Some(format!("Unless somebody acknowledges it, {comes} (route {route})."))
}

/// Who is told of a check that goes down.
pub(super) fn would_tell(check: &str, taking: &[&Route]) -> String {
    let check = line(check);
    if taking.is_empty() {
        return format!(
            "If {check} goes down nobody is told: it names no contacts, and no route fits."
        );
    }
    let of = |route: &&Route| {
        let steps: Vec<String> = route
            .steps
            .iter()
            .map(|step| {
                let names = list(&step.alert.iter().map(|name| line(name)).collect::<Vec<_>>());
                match after(step).filter(|length| !length.is_zero()) {
                    None => format!("{names} at once"),
                    Some(length) => format!("{names} after {}", span(length)),
                }
            })
            .collect();
        let repeat = route.repeat.as_ref().and_then(convert::time::duration);
        let repeat = repeat.map(|length| format!(", and again every {}", span(length)));
        let all: Vec<String> = route.matchers.iter().map(|it| line(&matcher_shown(it))).collect();
        let why = match all.is_empty() {
            true => "fits everything".to_owned(),
            false => format!("fits: {}", all.join(", ")),
        };
        let (name, steps) = (line(&route.name), list(&steps));
        format!("route {name} ({why}) tells {steps}{}", repeat.unwrap_or_default())
    };
    let all: Vec<String> = taking.iter().map(of).collect();
    format!("If {check} goes down and nobody acknowledges it, {}.", all.join("; "))
}
