//! What a member of an older build would take for something else, or keep without a part of it. It is
//! refused until the cluster's level says that no such member is left; levels never fall, so what is
//! once let through stays understood.

use parallax_common::rule::{self, Violation};
use parallax_proto::convert::{contact, hours};
use parallax_proto::v1;
use parallax_proto::v1::resource::Kind as ResourceKind;

use super::violation;
use crate::core::state::{
    ALERTS_LEVEL, CANARY_LEVEL, HOURS_LEVEL, Kind, LASTING_LEVEL, MAIL_LEVEL, ROUTING_LEVEL,
    STORM_LEVEL,
};

/// The level from which on checks have several probes a region, advisory regions and a choice for missing
/// data, and speak HTTP/3, and contacts have other kinds than webhooks, and webhooks all their options.
const VOTERS_AND_CONTACTS_LEVEL: u32 = 2;

/// The level from which on checks depend on others, keep incidents open and flap, and there are
/// maintenance windows.
const CALM_LEVEL: u32 = 3;

/// Refuses every field that the cluster's level does not have yet. Level 0 is that of a state without a
/// cluster, as of a test or a plan: nobody else would read it.
pub(super) fn refuse(
    kind: Kind,
    name: &str,
    after: &v1::Resource,
    level: u32,
    broken: &mut Vec<Violation>,
) {
    if level == 0 {
        return;
    }
    for (needs, field) in used(after).into_iter().filter(|(needs, _)| level < *needs) {
        let message = format!(
            "it needs feature level {needs} and the cluster is at {level}: it rises by itself once \
             every coordinator has been upgraded (see `parallax cluster status`)"
        );
        broken.push(violation(rule::LEVEL_TOO_LOW, kind.word(), name, field, message));
    }
}

/// The fields that a resource uses and that older builds do not know, with the level that they need.
fn used(after: &v1::Resource) -> Vec<(u32, &'static str)> {
    let all = match &after.kind {
        Some(ResourceKind::Check(check)) => of_check(check),
        Some(ResourceKind::Settings(settings)) => vec![
            (ROUTING_LEVEL, "routes", !settings.routes.is_empty()),
            (ROUTING_LEVEL, "mesh.public_url", !settings.public_url.is_empty()),
            (HOURS_LEVEL, "routes.during", hours::of_routes(&settings.routes).next().is_some()),
            (STORM_LEVEL, "mesh.storm", settings.storm.is_some()),
        ],
        Some(ResourceKind::Contact(it)) => {
            let newer = contact::newer_fields(it).into_iter();
            std::iter::once((VOTERS_AND_CONTACTS_LEVEL, "", !contact::is_first_form(it)))
                .chain(newer.map(|field| (MAIL_LEVEL, field, true)))
                .collect()
        }
        Some(ResourceKind::Maintenance(_)) => vec![(CALM_LEVEL, "", true)],
        _ => Vec::new(),
    };
    all.into_iter().filter(|(.., used)| *used).map(|(level, field, _)| (level, field)).collect()
}

fn of_check(check: &v1::Check) -> Vec<(u32, &'static str, bool)> {
    let voters = VOTERS_AND_CONTACTS_LEVEL;
    let chosen = check.missing != v1::MissingData::Unspecified as i32;
    vec![
        (voters, "http.http_version", asks_for_http3(check)),
        (voters, "probes_per_region", check.probes_per_region > 1),
        (voters, "advisory_regions", !check.advisory_regions.is_empty()),
        (voters, "missing", chosen),
        (LASTING_LEVEL, "regional", check.regional.is_some()),
        (LASTING_LEVEL, "warning", check.warning.is_some()),
        (ROUTING_LEVEL, "severity", check.severity() != v1::Severity::Unspecified),
        (CALM_LEVEL, "depends_on", !check.depends_on.is_empty()),
        (CALM_LEVEL, "min_open", check.min_open.is_some()),
        (CALM_LEVEL, "flap", check.flap.is_some()),
        (ALERTS_LEVEL, "alerts", !check.alerts.is_empty()),
        (ALERTS_LEVEL, "slo", check.slo.is_some()),
        (CANARY_LEVEL, "canary", check.canary.is_some()),
    ]
}

/// An older coordinator would hand it out as HTTP/1.1.
fn asks_for_http3(check: &v1::Check) -> bool {
    let mut steps = check.run.iter().flat_map(|run| &run.steps);
    steps.any(|step| match &step.kind {
        Some(v1::step::Kind::Http(http)) => http.http_version() == v1::HttpVersion::V3,
        _ => false,
    })
}
