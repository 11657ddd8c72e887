//! How long incidents of a check stay open, and when it flaps.

use std::time::Duration;

use parallax_common::limits::{
    FLAP_CALM_DEFAULT, FLAP_OPENS_DEFAULT, FLAP_OPENS_MAX, FLAP_WITHIN_DEFAULT, FLAP_WITHIN_MAX,
    FLAP_WITHIN_MIN, MIN_OPEN_MAX, MIN_OPEN_MIN,
};
use parallax_common::rule::{self, Rule};
use parallax_common::text::format_duration;

use crate::convert::{Findings, time};
use crate::v1;

/// Fills in what a check that may flap does not say.
pub(super) fn normalise(check: &mut v1::Check) {
    let Some(flap) = &mut check.flap else { return };
    if flap.opens == 0 {
        flap.opens = FLAP_OPENS_DEFAULT;
    }
    flap.within.get_or_insert_with(|| time::duration_to(FLAP_WITHIN_DEFAULT));
    flap.calm.get_or_insert_with(|| time::duration_to(FLAP_CALM_DEFAULT));
}

/// Every rule about them that a check breaks.
pub(super) fn validate(check: &v1::Check, findings: &mut Findings<'_>) {
    if let Some(min_open) = &check.min_open {
        let range = (MIN_OPEN_MIN, MIN_OPEN_MAX);
        within("min_open", min_open, range, rule::MIN_OPEN_RANGE, findings);
    }
    let Some(flap) = &check.flap else { return };
    if !(2..=FLAP_OPENS_MAX).contains(&flap.opens) {
        let message = format!("{} is not between 2 and {FLAP_OPENS_MAX}", flap.opens);
        findings.add(rule::FLAP_RANGE, "flap.opens", message);
    }
    let none = prost_types::Duration::default();
    for (field, length, range) in [
        ("flap.within", flap.within.as_ref(), (FLAP_WITHIN_MIN, FLAP_WITHIN_MAX)),
        ("flap.calm", flap.calm.as_ref(), (MIN_OPEN_MIN, MIN_OPEN_MAX)),
    ] {
        within(field, length.unwrap_or(&none), range, rule::FLAP_RANGE, findings);
    }
}

fn within(
    field: &str,
    given: &prost_types::Duration,
    (least, most): (Duration, Duration),
    rule: Rule,
    findings: &mut Findings<'_>,
) {
    if !time::duration(given).is_some_and(|length| (least..=most).contains(&length)) {
        let (least, most) = (format_duration(least), format_duration(most));
        findings.add(rule, field, format!("it must be from {least} to {most}"));
    }
}
