//! Alerts of a check and its error budget: defaults, rules, and who is told.

use std::collections::BTreeSet;
use std::time::Duration;

use parallax_common::alert::{Alert, Measure, Slo, When};
use parallax_common::check::{Quorum, Run};
use parallax_common::limits::{
    ALERT_LOOK_EVERY, ALERT_SPAN_MAX, ALERT_WHEN_BYTES_MAX, ALERTS_PER_CHECK_MAX, SLO_OVER_MAX,
    SLO_OVER_MIN, SLO_TARGET_PPM_MAX, SLO_TARGET_PPM_MIN,
};
use parallax_common::name::is_name;
use parallax_common::rule;
use parallax_common::text::format_duration;

use super::check::{Known, contacts, names};
use super::{Findings, time};
use crate::v1;

/// Over which time a budget is counted when nobody says.
const SLO_OVER_DEFAULT: Duration = Duration::from_secs(30 * 86_400);

/// Fills in whom they tell, how bad they are, and the time of a budget.
pub(super) fn normalise(check: &mut v1::Check) {
    let everybody = check.alert.clone();
    for alert in &mut check.alerts {
        if alert.severity == v1::Severity::Unspecified as i32 {
            alert.severity = v1::Severity::Warning as i32;
        }
        if alert.alert.is_empty() {
            alert.alert.clone_from(&everybody);
        }
    }
    if let Some(slo) = &mut check.slo {
        slo.over.get_or_insert(time::duration_to(SLO_OVER_DEFAULT));
        if slo.alert.is_empty() {
            slo.alert = everybody;
        }
    }
}

/// The checked form of a check's alerts. Of what was stored, one that this build cannot read is left
/// out.
pub(super) fn alerts(
    check: &v1::Check,
    interval: Option<Duration>,
    findings: &mut Findings<'_>,
) -> Vec<Alert> {
    if check.alerts.len() > ALERTS_PER_CHECK_MAX {
        let message = format!("{} alerts; at most {ALERTS_PER_CHECK_MAX}", check.alerts.len());
        findings.add(rule::ALERTS_TOO_MANY, "alerts", message);
    }
    let (mut built, mut seen) = (Vec::with_capacity(check.alerts.len()), BTreeSet::new());
    for (place, alert) in check.alerts.iter().enumerate() {
        let at = |field: &str| format!("alerts[{place}].{field}");
        if !is_name(&alert.name) {
            let message =
                format!("`{}` cannot be a name: {}", alert.name, rule::NAME_FORMAT.statement);
            findings.add(rule::NAME_FORMAT, at("name"), message);
        } else if !seen.insert(&alert.name) {
            let message = format!("an alert before it is called `{}`", alert.name);
            findings.add(rule::ALERT_DUPLICATE, at("name"), message);
        }
        if v1::Severity::try_from(alert.severity).is_err() {
            let message = "severity is critical, warning or info";
            findings.add(rule::ENUM_UNKNOWN, at("severity"), message);
        }
        own_names(check, &at("alert"), &alert.alert, findings);
        let when = match When::parse(&alert.when) {
            _ if alert.when.len() > ALERT_WHEN_BYTES_MAX => {
                let message = format!("longer than {ALERT_WHEN_BYTES_MAX} bytes");
                findings.add(rule::ALERT_WHEN, at("when"), message);
                continue;
            }
            Ok(when) => when,
            Err(error) => {
                findings.add(rule::ALERT_WHEN, at("when"), error.to_string());
                continue;
            }
        };
        spans(&when, interval, &at("when"), findings);
        let regions = check.regions.len();
        if let Quorum::Count(count) = when.regions
            && count as usize > regions
            && regions > 0
        {
            let message = format!("{count} regions, and the check looks from {regions}");
            findings.add(rule::ALERT_REGIONS, at("when"), message);
        }
        built.push(Alert { name: alert.name.clone(), when });
    }
    built
}

/// Refuses what is asked of certificates when the check is never shown one.
pub(super) fn certificates(check: &v1::Check, run: &Run, findings: &mut Findings<'_>) {
    if run.steps.iter().any(|step| step.kind.may_see_certificate()) {
        return;
    }
    for (place, alert) in check.alerts.iter().enumerate() {
        if let Ok(When { measure: Measure::CertDays { .. }, .. }) = When::parse(&alert.when) {
            let kinds: BTreeSet<_> = run.steps.iter().map(|step| step.kind.word()).collect();
            let kinds: Vec<_> = kinds.into_iter().collect();
            let message =
                format!("a check of {} without TLS is never shown one", kinds.join(" and "));
            findings.add(rule::ALERT_CERTIFICATE, format!("alerts[{place}].when"), message);
        }
    }
}

/// Names of contacts. Those that stand for the check's own are judged there.
fn own_names(check: &v1::Check, field: &str, given: &[String], findings: &mut Findings<'_>) {
    if given != check.alert {
        names(field, given, rule::CONTACT_DUPLICATE, findings);
    }
}

fn spans(when: &When, interval: Option<Duration>, field: &str, findings: &mut Findings<'_>) {
    let whole = |length: Duration| {
        length.subsec_nanos() == 0 && length.as_secs().is_multiple_of(ALERT_LOOK_EVERY.as_secs())
    };
    let mut said = vec![("for", when.hold)];
    said.extend(when.over.map(|over| ("over", over)));
    for (word, length) in said {
        if !whole(length) || length > ALERT_SPAN_MAX {
            let message =
                format!("{word} {} is not whole minutes up to 6h", format_duration(length));
            findings.add(rule::ALERT_SPAN, field, message);
        }
    }
    // Without a run in each look nothing would ever be said.
    if let (Some(over), Some(interval)) = (when.over, interval)
        && over < interval
    {
        let (over, interval) = (format_duration(over), format_duration(interval));
        let message = format!("over {over} is shorter than the check's interval of {interval}");
        findings.add(rule::ALERT_SPAN, field, message);
    } else if when.over.is_none()
        && interval.and_then(|it| when.over(it)).is_some_and(|over| over > ALERT_SPAN_MAX)
    {
        let message = "the check is looked at less often than every 6h, which is the longest span";
        findings.add(rule::ALERT_SPAN, field, message);
    }
}

/// The checked form of a check's error budget.
pub(super) fn slo(check: &v1::Check, findings: &mut Findings<'_>) -> Option<Slo> {
    let slo = check.slo.as_ref()?;
    let mark = findings.mark();
    if !(SLO_TARGET_PPM_MIN..=SLO_TARGET_PPM_MAX).contains(&slo.target_ppm) {
        findings.add(rule::SLO_TARGET, "slo.target", rule::SLO_TARGET.statement);
    }
    let over = slo.over.as_ref().and_then(time::duration);
    let day = SLO_OVER_MIN.as_secs();
    let fits = |over: &Duration| {
        (SLO_OVER_MIN..=SLO_OVER_MAX).contains(over)
            && over.subsec_nanos() == 0
            && over.as_secs().is_multiple_of(day)
    };
    if !over.as_ref().is_some_and(fits) {
        findings.add(rule::SLO_OVER, "slo.over", rule::SLO_OVER.statement);
    }
    own_names(check, "slo.alert", &slo.alert, findings);
    let built = Slo { target_ppm: slo.target_ppm, over: over? };
    findings.none_since(mark).then_some(built)
}

/// Every contact of the alerts and the budget that does not exist.
pub(super) fn references(check: &v1::Check, known: &impl Known, findings: &mut Findings<'_>) {
    // Those that stand for the check's own are named there.
    let own = |names: &[String]| names == check.alert;
    for (place, alert) in check.alerts.iter().enumerate().filter(|(_, it)| !own(&it.alert)) {
        contacts(&format!("alerts[{place}].alert"), &alert.alert, known, findings);
    }
    if let Some(slo) = check.slo.as_ref().filter(|slo| !own(&slo.alert)) {
        contacts("slo.alert", &slo.alert, known, findings);
    }
}

/// Every contact that a check names beside `alert`.
pub fn contacts_of(check: &v1::Check) -> impl Iterator<Item = &String> {
    let alerts = check.alerts.iter().flat_map(|alert| &alert.alert);
    alerts.chain(check.slo.iter().flat_map(|slo| &slo.alert))
}
