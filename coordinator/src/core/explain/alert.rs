//! Sentences about alerts on what was measured.

use std::time::Duration;

use parallax_common::alert::percent;
use parallax_common::check::Check;
use parallax_common::time::MeshTime;
use parallax_proto::convert::time::{duration, mesh_timestamp};
use parallax_proto::v1::{self, AlertVote, IncidentKind};
use prost_types::Timestamp;

use super::words::{Clock, count, line, list, span};
use crate::core::alert::certificate::shown::Sights;
use crate::core::alert::certificate::{self, not_after};

/// What an incident of an alert says of itself, before its `since`: while it is open, and afterwards.
pub(super) fn headlines(incident: &v1::Incident) -> (String, String) {
    let (check, alert) = (line(&incident.check_name), line(&incident.alert));
    match incident.kind() {
        IncidentKind::Latency => {
            (format!("{check} is slow ({alert})"), format!("{check} was slow ({alert})"))
        }
        IncidentKind::ErrorRate => (
            format!("{check} fails too often ({alert})"),
            format!("{check} failed too often ({alert})"),
        ),
        IncidentKind::Certificate => (
            format!("{check} is shown a certificate near its end ({alert})"),
            format!("{check} was shown a certificate near its end ({alert})"),
        ),
        _ => (
            format!("{check} spends its error budget too fast"),
            format!("{check} spent its error budget too fast"),
        ),
    }
}

/// Why it opened.
pub(super) fn because(incident: &v1::Incident) -> String {
    let record = incident.alert_opened.clone().unwrap_or_default();
    match &record.burn {
        Some(burn) => burns(burn),
        None => {
            let holds = voices(&record, AlertVote::Holds);
            let of = count(number(record.regions.len()), "region");
            let needed = record.needed;
            let are = if needed == 1 { "is" } else { "are" };
            let when = line(&record.when);
            let at = at(&record);
            format!("{when}: it holds in {holds} of {of} ({needed} {are} needed){at}")
        }
    }
}

/// What each region measured.
pub(super) fn regions(record: &v1::AlertRecord) -> Option<String> {
    let said: Vec<String> = record.regions.iter().map(|of| region(record, of)).collect();
    (!said.is_empty()).then(|| format!("{}.", said.join("; ")))
}

/// Whose certificate it is, where it is about one.
fn at(record: &v1::AlertRecord) -> String {
    match line(&record.target).as_str() {
        "" => String::new(),
        target => format!(", by {target}"),
    }
}

fn region(record: &v1::AlertRecord, of: &v1::AlertRegion) -> String {
    let name = line(&of.region);
    // Whatever opens or ends an alert on certificates has seen one.
    if record.regions.iter().any(|of| of.not_after.is_some()) {
        let unheeded = match of.vote() {
            AlertVote::Silent => ", which is not believed",
            _ => "",
        };
        return match &of.not_after {
            Some(not_after) => {
                format!("{name} {}{unheeded}", left(record.until.as_ref(), not_after))
            }
            None => format!("{name} was shown none lately"),
        };
    }
    if of.samples == 0 {
        return format!("{name} measured nothing");
    }
    let unheeded = match of.vote() {
        AlertVote::Silent => ", which is not believed",
        _ => "",
    };
    match of.value.as_ref().and_then(duration) {
        Some(value) => {
            format!("{name} {} in {}{unheeded}", span(value), amount(of.samples, "sample"))
        }
        None => format!("{name} {} of {}{unheeded}", of.failed, amount(of.samples, "run")),
    }
}

/// What ends it.
pub(super) fn resolves_when(incident: &v1::Incident) -> String {
    match incident.alert_opened.as_ref().and_then(|record| record.burn.as_ref()) {
        Some(burn) => {
            let (factor, short) = (tenths(burn.factor_tenths), length(burn.short.as_ref()));
            format!(
                "It resolves when the last {short} burn no more than {factor} times as fast as they \
                 may, and have done so for as long."
            )
        }
        None => {
            "It resolves when the condition has not held for as long as it has to hold, and for \
                 5 min at least."
                .to_owned()
        }
    }
}

/// Why it ended.
pub(super) fn cleared(incident: &v1::Incident) -> String {
    let record = incident.alert_resolved.clone().unwrap_or_default();
    match &record.burn {
        Some(burn) => format!(
            "It resolved because {} of {} failed in the last {}.",
            burn.short_failed,
            amount(burn.short_runs, "run"),
            length(burn.short.as_ref())
        ),
        None => match regions(&record) {
            Some(regions) => format!("It resolved because its condition holds no more: {regions}"),
            None => "It resolved because its condition holds no more.".to_owned(),
        },
    }
}

/// In a few words, for the first line of a page.
pub fn summary(incident: &v1::Incident) -> String {
    let (is, _) = headlines(incident);
    let record = incident.alert_opened.clone().unwrap_or_default();
    match &record.burn {
        Some(burn) => format!("{is}: {}", burns(burn)),
        None => {
            let holding: Vec<String> = record
                .regions
                .iter()
                .filter(|of| of.vote() == AlertVote::Holds)
                .map(|of| region(&record, of))
                .collect();
            format!("{is}: {}{}; {}", line(&record.when), at(&record), list(&holding))
        }
    }
}

/// What the regions of a check were shown of certificates lately: the one that expires first.
pub fn certificate(check: &Check, sights: &Sights, now: MeshTime) -> Option<String> {
    let seen =
        check.looks_from().filter_map(|region| Some((sights.fresh(check, region, now)?, region)));
    let (expiry, region) = seen.min_by_key(|(expiry, _)| *expiry)?;
    let left = left(Some(&mesh_timestamp(now)), &not_after(expiry));
    let target = line(&certificate::target(check, expiry));
    Some(format!(
        "Of the certificates shown lately that of {target} in {region} expires first: {left}."
    ))
}

/// How long a certificate lasts, at a time of which it is told.
fn left(at: Option<&Timestamp>, not_after: &Timestamp) -> String {
    let seconds = not_after.seconds - at.map_or(0, |at| at.seconds);
    let (length, date) = (span(Duration::from_secs(seconds.unsigned_abs())), day(not_after));
    match seconds {
        1.. => format!("{length} left, until {date}"),
        _ => format!("expired {length} ago, on {date}"),
    }
}

fn day(at: &Timestamp) -> String {
    Clock::default().time(Some(at))
}

fn burns(burn: &v1::BurnRecord) -> String {
    let budget = 1_000_000u32.saturating_sub(burn.target_ppm).max(1);
    let rate = |failed: u64, runs: u64| {
        // Tenths: failed / runs / budget.
        let tenths = u128::from(failed) * 10_000_000;
        let tenths = tenths.checked_div(u128::from(runs) * u128::from(budget)).unwrap_or(0);
        self::tenths(u32::try_from(tenths).unwrap_or(u32::MAX))
    };
    format!(
        "with a target of {} the last {} burn {} times as fast as they may ({} of {} failed, in {}), and \
         the last {} {} times ({} of {}); {} is too fast",
        percent::format(burn.target_ppm),
        length(burn.long.as_ref()),
        rate(burn.long_failed, burn.long_runs),
        burn.long_failed,
        amount(burn.long_runs, "run"),
        count(burn.long_regions, "region"),
        length(burn.short.as_ref()),
        rate(burn.short_failed, burn.short_runs),
        burn.short_failed,
        burn.short_runs,
        tenths(burn.factor_tenths),
    )
}

fn voices(record: &v1::AlertRecord, vote: AlertVote) -> u32 {
    number(record.regions.iter().filter(|of| of.vote() == vote).count())
}

fn number(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

fn amount(n: u64, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

fn tenths(tenths: u32) -> String {
    match (tenths / 10, tenths % 10) {
        (whole, 0) => whole.to_string(),
        (whole, part) => format!("{whole}.{part}"),
    }
}

fn length(length: Option<&prost_types::Duration>) -> String {
    length.and_then(duration).map(span).unwrap_or_default()
}
