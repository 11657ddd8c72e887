//! When openings are told together.

use parallax_common::limits::{
    STORM_OVER, STORM_OVER_MAX, STORM_WITHIN, STORM_WITHIN_MAX, STORM_WITHIN_MIN,
};
use parallax_common::rule;
use parallax_common::text::format_duration;

use super::{Findings, time};
use crate::v1;

/// The rule where nobody has written one.
pub fn usual() -> v1::StormRule {
    v1::StormRule { over: STORM_OVER, within: Some(time::duration_to(STORM_WITHIN)) }
}

pub(super) fn storm(storm: &v1::StormRule, findings: &mut Findings<'_>) {
    if storm.over > STORM_OVER_MAX {
        findings.add(rule::STORM_RULE, "mesh.storm.over", rule::STORM_RULE.statement);
    }
    let within = storm.within.as_ref().map(time::duration);
    let fits = within
        .is_none_or(|it| it.is_some_and(|it| (STORM_WITHIN_MIN..=STORM_WITHIN_MAX).contains(&it)));
    if !fits {
        findings.add(rule::STORM_RULE, "mesh.storm.within", rule::STORM_RULE.statement);
    }
}

/// What a rule says, as a person would write it.
pub(super) fn shown(storm: &v1::StormRule) -> String {
    let within = storm.within.as_ref().and_then(time::duration).unwrap_or(STORM_WITHIN);
    match storm.over {
        0 => "off".to_owned(),
        over => format!("over {over} within {}", format_duration(within)),
    }
}
