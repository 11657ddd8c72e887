//! Which routes took an incident and what comes next of them, and whom a route would tell.

use parallax_common::time::UtcTime;
use parallax_proto::convert::route::{after, matcher_shown};
use parallax_proto::convert::{self, hours};
use parallax_proto::v1::timeline_event::Event;
use parallax_proto::v1::{Incident, Route, Routed};

use super::words::{Clock, line, list, span};
use crate::core::outbox::{intents, steps};
use crate::core::routing::{self, Taking};
use crate::core::stamp;

/// What routes have to say about an incident: nothing where its check, or the mesh, names contacts.
pub(super) fn taken(incident: &Incident, clock: &mut Clock) -> Vec<String> {
    let mut sentences = passed_over(incident);
    if incident.routed.is_empty() {
        let untaken =
            |event: &Event| matches!(event, Event::RoutesTook(took) if took.routes.is_empty());
        let mut events = incident.timeline.iter().filter_map(|event| event.event.as_ref());
        if events.any(untaken) {
            let other = if sentences.is_empty() { "" } else { "other " };
            sentences.push(format!("No {other}route fits it: nobody is told."));
        }
        return sentences;
    }
    let names: Vec<String> = incident.routed.iter().map(|it| line(&it.route)).collect();
    sentences.push(match names.len() {
        1 => format!("Route {} took it.", list(&names)),
        _ => format!("Routes {} took it.", list(&names)),
    });
    sentences.extend(incident.routed.iter().filter_map(|it| told_nobody(incident, it)));
    sentences.extend(incident.routed.iter().flat_map(steps_passed));
    sentences.extend(incident.routed.iter().filter_map(|it| waits(incident, it, clock)));
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

/// Routes that fit it, and that it was not the time of.
fn passed_over(incident: &Incident) -> Vec<String> {
    let events = incident.timeline.iter().filter_map(|event| event.event.as_ref());
    let passed = events.filter_map(|event| match event {
        Event::RoutesPassed(passed) => Some(&passed.routes),
        _ => None,
    });
    passed
        .flatten()
        .map(|it| {
            let missed = it.hours.as_ref().map(hours::missed).unwrap_or_default();
            format!("Route {} fits it and was passed over: {}.", line(&it.route), line(&missed))
        })
        .collect()
}

/// Steps of a route that came due outside of their hours.
fn steps_passed(routed: &Routed) -> Vec<String> {
    let steps = routed.steps.iter().enumerate().filter(|(_, step)| step.passed);
    steps
        .map(|(place, step)| {
            let missed = step.hours.as_ref().map(hours::missed).unwrap_or_default();
            let (step, route) = (place + 1, line(&routed.route));
            format!("Step {step} of route {route} was passed over: {}.", line(&missed))
        })
        .collect()
}

/// That nobody is left of those whom the steps of a route that are done name.
fn told_nobody(incident: &Incident, routed: &Routed) -> Option<String> {
    let mut named = steps::told_by(routed).into_iter();
    let nobody = routed.done > 0 && named.all(|uid| intents::is_untold(incident, &uid));
    let route = line(&routed.route);
    nobody.then(|| format!("Route {route} has told nobody: whom it names was deleted."))
}

/// That a route waits for its hours, or had when there was nothing left to wait for.
fn waits(incident: &Incident, routed: &Routed, clock: &mut Clock) -> Option<String> {
    let until = clock.time(Some(routed.wait_until.as_ref()?));
    let route = line(&routed.route);
    let missed = line(&routed.hours.as_ref().map(hours::missed).unwrap_or_default());
    let nobody = if routed.done == 0 { "nobody" } else { "nobody again" };
    let over = match (&incident.acknowledged_at, &incident.resolved_at) {
        (Some(_), _) => "was acknowledged",
        (None, Some(_)) => "ended",
        (None, None) => {
            return Some(format!(
                "Route {route} waits until {until} ({missed}): it tells {nobody} before."
            ));
        }
    };
    Some(format!("Route {route} waited until {until} ({missed}) when it {over}: it told {nobody}."))
}

/// What comes next of a route, unless somebody acknowledges the incident.
fn next(incident: &Incident, routed: &Routed, clock: &mut Clock) -> Option<String> {
    let mut comes = Vec::new();
    // Neither comes while the route waits or it is quiet.
    let waits = [&routed.wait_until, &incident.quiet_until];
    let waits = waits.map(|until| stamp::utc(until.as_ref()));
    let mut time = |at: UtcTime| {
        let at = waits.into_iter().fold(at, UtcTime::max);
        clock.time(Some(&stamp::timestamp(at)))
    };
    if let Some(at) = routing::step_due(incident, routed) {
        comes.push(format!("step {} comes at {}", routed.done.saturating_add(1), time(at)));
    }
    if let Some(at) = routing::reminder_due(routed) {
        comes.push(format!("a reminder comes at {}", time(at)));
    }
    if comes.is_empty() {
        return None;
    }
    let (route, comes) = (line(&routed.route), list(&comes));
    Some(format!("Unless somebody acknowledges it, {comes} (route {route})."))
}

/// Who is told of a check that goes down now.
pub(super) fn would_tell(check: &str, taking: &Taking<'_>) -> Vec<String> {
    let check = line(check);
    let passed = taking.passed.iter().map(|route| {
        let missed = route.hours.as_ref().map(hours::missed).unwrap_or_default();
        format!("Route {} fits it and is passed over now: {}.", line(&route.name), line(&missed))
    });
    let unknown = taking.unknown.iter().map(|route| {
        let asked = route.hours.as_ref().map(hours::asked).unwrap_or_default();
        format!(
            "It is not written down when the hours of route {} are ({}): it is told, and so are those after \
             it.",
            line(&route.name),
            line(&asked)
        )
    });
    let mut sentences: Vec<String> = passed.chain(unknown).collect();
    if taking.routes.is_empty() {
        let other = if sentences.is_empty() { "" } else { "other " };
        sentences.push(format!(
            "If {check} goes down nobody is told: it names no contacts, and no {other}route fits."
        ));
        return sentences;
    }
    let of = |route: &&Route| {
        let steps: Vec<String> = route
            .steps
            .iter()
            .map(|step| {
                let names = list(&step.alert.iter().map(|name| line(name)).collect::<Vec<_>>());
                let asked = step.hours.as_ref().map(|it| format!(" ({})", line(&hours::asked(it))));
                let asked = asked.unwrap_or_default();
                match after(step).filter(|length| !length.is_zero()) {
                    None => format!("{names} at once{asked}"),
                    Some(length) => format!("{names} after {}{asked}", span(length)),
                }
            })
            .collect();
        let repeat = route.repeat.as_ref().and_then(convert::time::duration);
        let repeat = repeat.map(|length| format!(", and again every {}", span(length)));
        let all: Vec<String> = route.matchers.iter().map(|it| line(&matcher_shown(it))).collect();
        let mut why = match all.is_empty() {
            true => "fits everything".to_owned(),
            false => format!("fits: {}", all.join(", ")),
        };
        if let Some(asked) = route.hours.as_ref().map(|it| line(&hours::asked(it))) {
            let waits = if route.wait { "waits for: " } else { "" };
            why.push_str(&format!("; {waits}{asked}"));
        }
        let (name, steps) = (line(&route.name), list(&steps));
        format!("route {name} ({why}) tells {steps}{}", repeat.unwrap_or_default())
    };
    let all: Vec<String> = taking.routes.iter().map(of).collect();
    sentences.push(format!("If {check} goes down and nobody acknowledges it, {}.", all.join("; ")));
    sentences
}
