//! Who is told of an incident when neither its check nor the mesh names contacts: which routes take
//! it, and when the next step or reminder of one is due.
//!
//! Everything that decides later is copied into the incident when it opens ([`taken`]), so that an edit
//! of the routes changes what opens from then on and nothing that is open. What is written when
//! something is due is in `core/outbox/steps.rs`; when it is asked, in `core/state/routing.rs`.

use std::collections::BTreeMap;

use parallax_common::matcher::Matcher;
use parallax_common::time::UtcTime;
use parallax_proto::convert::{self, hours};
use parallax_proto::v1;
use parallax_proto::v1::timeline_event::Event;

use super::hours::When;
use super::outbox::storm;
use super::{quiet, stamp};

/// The routes of a namespace as they are used.
#[derive(Debug, Clone, Default)]
pub struct Routes(Vec<Route>);

#[derive(Debug, Clone)]
struct Route {
    wire: v1::Route,
    matchers: Vec<Matcher>,
}

impl Routes {
    /// Of settings that were accepted once.
    pub fn new(routes: &[v1::Route]) -> Self {
        let route = |wire: &v1::Route| Route {
            wire: wire.clone(),
            matchers: wire.matchers.iter().map(quiet::stored).collect(),
        };
        Self(routes.iter().map(route).collect())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those that take an incident: the first that fits, and as long as one hands on, those that fit
    /// after it. One that it is not the time of is passed over, unless it waits for its hours. One of which
    /// nobody knows takes it and hands on: it is for those after it, too, if it is not the time.
    pub fn taking(&self, incident: &v1::Incident, when: impl Fn(&v1::Hours) -> When) -> Taking<'_> {
        let mut taking = Taking::default();
        for route in self.0.iter().filter(|route| quiet::all_fit(&route.matchers, incident)) {
            let hours = route.wire.hours.as_ref().filter(|_| !route.wire.wait);
            let when = hours.map_or(When::Within, &when);
            match when {
                When::From(_) => {
                    taking.passed.push(&route.wire);
                    continue;
                }
                When::Unknown => taking.unknown.push(&route.wire),
                When::Within => {}
            }
            taking.routes.push(&route.wire);
            if when == When::Within && !route.wire.r#continue {
                break;
            }
        }
        taking
    }

    /// What is known of hours from an incident that has opened, by what they are called: whether it did
    /// within them. They are those of the routes that took it and of those that it says were passed over.
    pub fn hours_at_opening(&self, incident: &v1::Incident) -> BTreeMap<String, bool> {
        let took = |route: &&v1::Route| {
            !route.wait && incident.routed.iter().any(|routed| routed.route == route.name)
        };
        let took = self.0.iter().map(|route| &route.wire).filter(took);
        let took = took.filter_map(|route| route.hours.as_ref()).map(|it| (it, !it.outside));
        let events = incident.timeline.iter().filter_map(|event| event.event.as_ref());
        let passed = events.filter_map(|event| match event {
            Event::RoutesPassed(passed) => Some(&passed.routes),
            _ => None,
        });
        let passed = passed.flatten().filter_map(|route| route.hours.as_ref());
        let passed = passed.map(|it| (it, it.outside));
        took.chain(passed).map(|(hours, within)| (hours::shown(hours), within)).collect()
    }

    /// Whether there are times at which none of them takes an incident that one of them fits.
    pub fn leave_hours_out(&self, incident: &v1::Incident) -> bool {
        // None has its hours now; then those that say so are outside of them.
        let never = |_: &v1::Hours| When::From(UtcTime::default());
        let taking = self.taking(incident, never);
        let hours = taking.passed.iter().filter_map(|route| route.hours.as_ref());
        taking.routes.is_empty() && !taking.passed.is_empty() && !hours::leave_nothing_out(hours)
    }
}

/// Which routes take an incident.
#[derive(Debug, Default)]
pub struct Taking<'r> {
    /// Those that do, in their order.
    pub routes: Vec<&'r v1::Route>,
    /// Those that fit before the last of them, and that it is not the time of.
    pub passed: Vec<&'r v1::Route>,
    /// Those of [`Self::routes`] of whose hours nobody knows.
    pub unknown: Vec<&'r v1::Route>,
}

/// How bad an incident is when its check does not say: one of a check that is down wakes people, one
/// about the mesh itself rarely has to.
pub fn severity(kind: v1::IncidentKind, check: Option<&v1::Check>) -> v1::Severity {
    let own = check.map_or(v1::Severity::Unspecified, v1::Check::severity);
    let lasting = check.and_then(|check| match kind {
        v1::IncidentKind::Regional => check.regional.as_ref(),
        v1::IncidentKind::Warning => check.warning.as_ref(),
        _ => None,
    });
    let said = lasting.map_or(v1::Severity::Unspecified, v1::Lasting::severity);
    if said != v1::Severity::Unspecified {
        return said;
    }
    match (kind, own) {
        // It is not down: only who says so makes that worse than a warning.
        (v1::IncidentKind::Regional | v1::IncidentKind::Warning, own) => match own {
            v1::Severity::Info => v1::Severity::Info,
            _ => v1::Severity::Warning,
        },
        (kind, v1::Severity::Unspecified) => match kind {
            v1::IncidentKind::RegionSilent
            | v1::IncidentKind::RegionExcluded
            | v1::IncidentKind::RegionOutdated
            | v1::IncidentKind::CanaryInDoubt
            | v1::IncidentKind::Regional
            | v1::IncidentKind::Warning
            // Alerts bring their own.
            | v1::IncidentKind::Latency
            | v1::IncidentKind::ErrorRate
            | v1::IncidentKind::Certificate
            | v1::IncidentKind::BurnRate => v1::Severity::Warning,
            v1::IncidentKind::Down
            | v1::IncidentKind::Leaderless
            // As bad as the worst that it tells of.
            | v1::IncidentKind::Storm
            | v1::IncidentKind::Unspecified => v1::Severity::Critical,
        },
        (_, own) => own,
    }
}

/// An incident of this kind of a check, as routes would see it: for saying who would be told.
pub fn sample(check: &v1::Check, kind: v1::IncidentKind) -> v1::Incident {
    let meta = check.meta.clone().unwrap_or_default();
    v1::Incident {
        namespace: meta.namespace,
        kind: kind.into(),
        check_name: meta.name,
        labels: meta.labels,
        severity: severity(kind, Some(check)).into(),
        ..v1::Incident::default()
    }
}

/// The word for a severity; empty for an incident that opened before there was a choice.
pub fn severity_word(severity: v1::Severity) -> &'static str {
    match severity {
        v1::Severity::Critical => "critical",
        v1::Severity::Warning => "warning",
        v1::Severity::Info => "info",
        v1::Severity::Unspecified => "",
    }
}

/// A route as it is written into an incident that it takes. `contact` gives the uid of a contact by its
/// name; one that is gone is left out.
pub fn taken(route: &v1::Route, contact: impl Fn(&str) -> Option<String>) -> v1::Routed {
    let step = |step: &v1::RouteStep| v1::RoutedStep {
        after: Some(step.after.unwrap_or_default()),
        contacts: step.alert.iter().filter_map(|name| contact(name)).collect(),
        hours: step.hours.clone(),
        passed: false,
    };
    v1::Routed {
        route: route.name.clone(),
        steps: route.steps.iter().map(step).collect(),
        repeat: route.repeat,
        hours: route.hours.clone().filter(|_| route.wait),
        ..v1::Routed::default()
    }
}

/// When the next step of a route is due in an incident that nobody acknowledges.
pub fn step_due(incident: &v1::Incident, routed: &v1::Routed) -> Option<UtcTime> {
    let step = routed.steps.get(routed.done as usize)?;
    let after = step.after.as_ref().and_then(convert::time::duration).unwrap_or_default();
    Some(steps_since(incident, routed) + after)
}

/// From when on the times of a route's steps count.
pub fn steps_since(incident: &v1::Incident, routed: &v1::Routed) -> UtcTime {
    stamp::utc(incident.routed_since.as_ref()).max(stamp::utc(routed.since.as_ref()))
}

/// When those who were told are to be told again. Not before anybody was.
pub fn reminder_due(routed: &v1::Routed) -> Option<UtcTime> {
    let repeat = routed.repeat.as_ref().and_then(convert::time::duration);
    let repeat = repeat.filter(|length| !length.is_zero())?;
    let last = routed.last.as_ref().filter(|_| routed.done > 0)?;
    Some(stamp::utc(Some(last)) + repeat)
}

/// When a route has the next step or reminder to tell, however long it waits for its hours.
pub fn next_due(incident: &v1::Incident, routed: &v1::Routed) -> Option<UtcTime> {
    [step_due(incident, routed), reminder_due(routed)].into_iter().flatten().min()
}

/// When an incident is to be looked at again for the sake of its routes. Never once somebody has
/// acknowledged it, once it is over, and while its opening waits. A storm has none, and says itself when
/// it has something to tell.
pub fn due(incident: &v1::Incident) -> Option<UtcTime> {
    if incident.storm.is_some() {
        return storm::due(incident);
    }
    let waits = incident.resolved_at.is_some()
        || incident.acknowledged_at.is_some()
        || incident.held.is_some();
    if waits {
        return None;
    }
    let of = |routed: &v1::Routed| {
        Some(next_due(incident, routed)?.max(stamp::utc(routed.wait_until.as_ref())))
    };
    let first = incident.routed.iter().filter_map(of).min()?;
    let quiet = incident.quiet_until.as_ref().map(|until| stamp::utc(Some(until)));
    Some(quiet.map_or(first, |until| first.max(until)))
}

#[cfg(test)]
mod tests;
