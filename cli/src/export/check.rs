//! A check as a person would have written it: the writers for the fields of [`crate::config::check`].

use parallax_common::alert::percent;
use parallax_proto::convert::enums;
use parallax_proto::convert::resource::normalise;
use parallax_proto::v1;

use super::document::{Map, Value};
use super::step;
use crate::config::alert::SEVERITIES as ALERT_SEVERITIES;
use crate::config::check::{ANSWERS, FAMILIES, MISSING, QUORUMS, SEVERITIES, SOURCES};

/// One item of `checks:`, of a normalised check.
pub(super) fn check(given: &v1::Check) -> Map {
    let usual = usual(given);
    let mut out = Map::default();
    let meta = given.meta.clone().unwrap_or_default();
    out.put("name", meta.name.as_str());
    out.text("title", &given.title, &usual.title);
    out.text("description", &given.description, &usual.description);
    out.text("group", &given.group, &usual.group);
    out.flag("public", given.public, usual.public);
    out.flag("enabled", given.enabled.unwrap_or(true), usual.enabled.unwrap_or(true));
    out.word("source", SOURCES, given.source, usual.source);
    let (run, usual_run) = (or_default(&given.run), or_default(&usual.run));
    step::steps(&run.steps, &usual_run.steps, &mut out);
    out.texts("expect", &run.expect, &usual_run.expect);
    out.texts("warn", &run.warn, &usual_run.warn);
    out.flag("invert", run.invert, usual_run.invert);
    if let Some(canary) = &given.canary {
        out.map("canary", of_canary(canary));
    }
    out.length("interval", given.interval.as_ref(), None);
    out.length("timeout", run.timeout.as_ref(), usual_run.timeout.as_ref());
    out.number("samples", run.samples, usual_run.samples);
    out.word("ip", FAMILIES, run.ip, usual_run.ip);
    out.text("source_address", &run.source_address, &usual_run.source_address);
    out.text("resolver", &run.resolver, &usual_run.resolver);
    out.texts("regions", &given.regions, &usual.regions);
    out.texts("advisory_regions", &given.advisory_regions, &usual.advisory_regions);
    out.number("probes_per_region", given.probes_per_region, usual.probes_per_region);
    out.word("missing", MISSING, given.missing, usual.missing);
    out.some("down", down(or_default(&given.down), or_default(&usual.down)));
    out.some("up", up(or_default(&given.up), or_default(&usual.up)));
    let spacing = (given.confirm_spacing.as_ref(), usual.confirm_spacing.as_ref());
    out.length("confirm_spacing", spacing.0, spacing.1);
    out.word("severity", SEVERITIES, given.severity, usual.severity);
    out.texts("alert", &given.alert, &[]);
    for (name, lasting) in [("regional", &given.regional), ("warning", &given.warning)] {
        if let Some(lasting) = lasting {
            let mut map = Map::default();
            map.length("after", lasting.after.as_ref(), None);
            map.texts("alert", &lasting.alert, &[]);
            map.word("severity", SEVERITIES, lasting.severity, 0);
            out.map(name, map);
        }
    }
    out.length("min_open", given.min_open.as_ref(), usual.min_open.as_ref());
    if let (Some(given), Some(usual)) = (&given.flap, &usual.flap) {
        let mut map = Map::default();
        map.number("opens", given.opens, usual.opens);
        map.length("within", given.within.as_ref(), usual.within.as_ref());
        map.length("calm", given.calm.as_ref(), usual.calm.as_ref());
        out.map("flap", map);
    }
    out.texts("depends_on", &given.depends_on, &usual.depends_on);
    let alerts = given.alerts.iter().zip(&usual.alerts);
    out.list("alerts", alerts.map(|(given, usual)| Value::Map(alert(given, usual))));
    if let (Some(given), Some(usual)) = (&given.slo, &usual.slo) {
        let mut map = Map::default();
        map.put("target", Value::Word(percent::format(given.target_ppm)));
        map.length("over", given.over.as_ref(), usual.over.as_ref());
        map.texts("alert", &given.alert, &usual.alert);
        out.map("slo", map);
    }
    out.text("runbook", &given.runbook, &usual.runbook);
    out.labels("labels", &meta.labels);
    out
}

/// What a check is of which only that is said without which the rest has no default.
fn usual(given: &v1::Check) -> v1::Check {
    let steps = given.run.iter().flat_map(|run| &run.steps).map(step::bare).collect();
    let bare = v1::Check {
        interval: given.interval,
        alert: given.alert.clone(),
        run: Some(v1::Run { steps, ..v1::Run::default() }),
        flap: given.flap.as_ref().map(|_| v1::Flap::default()),
        alerts: vec![v1::Alert::default(); given.alerts.len()],
        slo: given.slo.as_ref().map(|_| v1::Slo::default()),
        ..v1::Check::default()
    };
    let resource = v1::Resource { kind: Some(v1::resource::Kind::Check(bare)) };
    match normalise(resource).kind {
        Some(v1::resource::Kind::Check(check)) => check,
        _ => v1::Check::default(),
    }
}

fn or_default<T: Clone + Default>(given: &Option<T>) -> T {
    given.clone().unwrap_or_default()
}

fn down(given: v1::Down, usual: v1::Down) -> Map {
    let mut out = Map::default();
    match given.regions() {
        v1::Quorum::Count => out.put("regions", Value::Number(given.count.into())),
        _ => out.word("regions", QUORUMS, given.regions, usual.regions),
    }
    out.number("failures", given.failures, usual.failures);
    out.number("of", given.of, usual.of);
    out
}

fn up(given: v1::Up, usual: v1::Up) -> Map {
    let mut out = Map::default();
    out.number("successes", given.successes, usual.successes);
    out.number("of", given.of, usual.of);
    out
}

fn alert(given: &v1::Alert, usual: &v1::Alert) -> Map {
    let mut out = Map::default();
    out.put("name", given.name.as_str());
    out.put("when", given.when.as_str());
    out.word("severity", ALERT_SEVERITIES, given.severity, usual.severity);
    out.texts("alert", &given.alert, &usual.alert);
    out
}

fn of_canary(canary: &v1::Canary) -> Map {
    let mut out = Map::default();
    out.word("expect", ANSWERS, canary.expect, v1::CanaryAnswer::Unspecified.into());
    if let Some(reason) = enums::reason(canary.reason) {
        out.put("reason", Value::Word(reason.word().to_owned()));
    }
    out
}
