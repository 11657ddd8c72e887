//! What a webhook receives: one JSON object of a stable shape, `version` 1.
//!
//! ```json
//! {
//!   "version": 1,
//!   "kind": "opened",
//!   "idempotency_key": "<incident>:<contact>:opened",
//!   "mesh": "prod",
//!   "summary": "checkout is down: 3 of 5 regions fail",
//!   "sentences": ["checkout is down since ...", "..."],
//!   "verdict": "down",
//!   "incident": {
//!     "uid": "0190...", "kind": "down", "namespace": "default",
//!     "check": "checkout", "region": null,
//!     "opened_at": "2026-11-20T03:12:07Z", "resolved_at": null, "cause": null,
//!     "severity": "critical"
//!   },
//!   "regions": [
//!     {"region": "eu-west", "probe": "a", "state": "fail", "reason": "connect_refused",
//!      "evidence": "203.0.113.7:443", "since": "2026-11-20T03:12:05Z"}
//!   ],
//!   "runbook": "https://...",
//!   "acknowledge_url": "https://.../ack/0190.../0191...",
//!   "storm": {"gathered": 12, "ended": 0, "incidents": [{"uid": "0190...", "name": "checkout", "ended": false}]},
//!   "labels": {"team": "payments"}
//! }
//! ```
//!
//! `kind` is `opened`, `escalated` and `reminder` (it goes on, and nobody has acknowledged it),
//! `resolved`, `combined` (opened and resolved before anybody was told) or `test`. `incident.severity`
//! is `critical`, `warning` or `info`; absent in a test, and where nothing is known of it.
//! `incident.insecure` is `true` where the check verified nobody, and absent elsewhere. `storm` is
//! `null` but in pages that tell of many incidents at once; it names the first of them, and a `reminder`
//! says there what has changed.
//! `state` is `pass`, `warn`, `fail`, `stale`, `excluded` or `none`. Times are UTC (RFC 3339).
//! Fields are added within a version, never taken away or given another meaning: ignore what you
//! do not know. An opening says what was known when the incident opened, however late it goes
//! out, so every attempt under one key says the same.

use std::collections::BTreeMap;

use parallax_common::text::format_duration;
use parallax_common::time::UtcTime;
use parallax_proto::v1::{
    self, BallotState, DecisionRecord, DegradedKind, IncidentKind, PageKind, ResolveCause, Verdict,
};
use serde::Serialize;

use crate::core::outbox::storm;
use crate::core::{explain, routing, stamp};

/// The number of this shape.
pub const VERSION: u32 = 1;

/// One page, ready to be written as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Page {
    /// [`VERSION`].
    pub version: u32,
    /// `opened`, `escalated`, `reminder`, `resolved`, `combined`, `test`.
    pub kind: &'static str,
    /// The same in every attempt.
    pub idempotency_key: String,
    /// Name of the mesh.
    pub mesh: String,
    /// One line, for a lock screen.
    pub summary: String,
    /// The same in more words.
    pub sentences: Vec<String>,
    /// `up`, `degraded`, `down`, `unknown`: of the record that this page tells of.
    pub verdict: &'static str,
    /// What it is about.
    pub incident: About,
    /// What each region said at that moment.
    pub regions: Vec<RegionSays>,
    /// A link, or empty.
    pub runbook: String,
    /// Where its receiver acknowledges the incident, as long as that goes on and links are wanted.
    pub acknowledge_url: Option<String>,
    /// Of the check.
    pub labels: BTreeMap<String, String>,
    /// What is told together, where many incidents are.
    pub storm: Option<StormSays>,
    /// When it was written, the same in every attempt. A mail's date, and in no body.
    #[serde(skip)]
    pub written: UtcTime,
}

/// The incident in a page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct About {
    /// Uid of the incident.
    pub uid: String,
    /// `down`, `region_silent`, `leaderless` or `test`.
    pub kind: &'static str,
    /// Of the check.
    pub namespace: String,
    /// Name of the check; absent for a region's incident.
    pub check: Option<String>,
    /// Name of the region; absent for a check's incident.
    pub region: Option<String>,
    /// When it opened.
    pub opened_at: Option<String>,
    /// When it ended; absent in an opening.
    pub resolved_at: Option<String>,
    /// Why it ended: `recovered`, `by_hand`, `check_deleted`, `check_paused`, `region_back`,
    /// `region_deleted`, `leader_back`.
    pub cause: Option<String>,
    /// `critical`, `warning`, `info`; absent where it is not known.
    pub severity: Option<&'static str>,
    /// Its check verified nobody when it opened; absent where it did.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub insecure: bool,
}

/// Many incidents in one page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StormSays {
    /// How many there are.
    pub gathered: u32,
    /// How many of them have ended.
    pub ended: u32,
    /// The first of them.
    pub incidents: Vec<StormMember>,
}

/// One of many incidents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StormMember {
    /// Uid of the incident.
    pub uid: String,
    /// Its check, with its alert if it is of one.
    pub name: String,
    /// It is over.
    pub ended: bool,
}

/// One region in a page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RegionSays {
    /// Its name.
    pub region: String,
    /// The probe that votes for it.
    pub probe: String,
    /// `pass`, `warn`, `fail`, `stale`, `split`, `excluded`, `none`.
    pub state: &'static str,
    /// Why it does not pass.
    pub reason: Option<String>,
    /// What was seen, capped.
    pub evidence: Option<String>,
    /// Since when it says so.
    pub since: Option<String>,
    /// Shown, not counted.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub advisory: bool,
    /// Each probe of the region, where there are several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub probes: Vec<ProbeSays>,
}

/// One of several probes of a region.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProbeSays {
    /// Its name.
    pub probe: String,
    /// As that of a region, but never `split`.
    pub state: &'static str,
    /// Why it does not pass.
    pub reason: Option<String>,
    /// What was seen, capped.
    pub evidence: Option<String>,
    /// Since when it says so.
    pub since: Option<String>,
}

/// Renders a page about an incident.
pub fn page(incident: &v1::Incident, kind: PageKind, key: &str, mesh: &str) -> Page {
    let written = incident.deliveries.iter().find(|page| page.idempotency_key == key);
    let why_again = written.and_then(explain::why_again);
    let number = written.map_or(0, |page| page.number);
    let written = stamp::utc(written.and_then(|page| page.created_at.as_ref()));
    let incident = match kind {
        PageKind::Opened | PageKind::Unspecified | PageKind::Escalated | PageKind::Reminder => {
            at_the_opening(incident, number)
        }
        PageKind::Resolved | PageKind::Combined => at_the_end(incident),
    };
    let opened = incident.opened_by.clone().unwrap_or_default();
    let record = incident.resolved_by.clone().unwrap_or_else(|| opened.clone());
    let mut sentences = explain::incident(&incident);
    if matches!(kind, PageKind::Escalated | PageKind::Reminder) {
        sentences.extend(why_again);
    }
    Page {
        version: VERSION,
        kind: match kind {
            PageKind::Opened | PageKind::Unspecified => "opened",
            PageKind::Escalated => "escalated",
            PageKind::Reminder => "reminder",
            PageKind::Resolved => "resolved",
            PageKind::Combined => "combined",
        },
        idempotency_key: key.to_owned(),
        mesh: mesh.to_owned(),
        summary: summary(&incident, &opened),
        sentences,
        verdict: match record.verdict() {
            Verdict::Up => "up",
            Verdict::Degraded => "degraded",
            Verdict::Down => "down",
            Verdict::Unknown | Verdict::Unspecified => "unknown",
        },
        regions: record.ballots.iter().map(says).collect(),
        runbook: incident.runbook.clone(),
        acknowledge_url: None,
        labels: incident.labels.clone(),
        storm: incident.storm.as_ref().map(storm_says),
        incident: about(&incident),
        written,
    }
}

/// What a page that is a test says.
#[derive(Debug, Clone, Copy)]
pub struct Test<'a> {
    /// In place of an incident's uid: no incident has it.
    pub incident: &'a str,
    /// The contact's.
    pub namespace: &'a str,
    /// The coordinator that sends it.
    pub member: &'a str,
    /// Name of the mesh.
    pub mesh: &'a str,
    /// When it was asked for.
    pub at: UtcTime,
}

/// A page that says that it is a test, and is over already.
pub fn test(test: &Test<'_>, key: &str) -> Page {
    let at = rfc3339(Some(&stamp::timestamp(test.at)));
    let (mesh, member) = (test.mesh, test.member);
    Page {
        version: VERSION,
        kind: "test",
        idempotency_key: key.to_owned(),
        mesh: mesh.to_owned(),
        summary: format!("test of a contact by {member}"),
        sentences: vec![
            format!("This is a test that somebody asked coordinator {member} of mesh {mesh} for."),
            "Nothing is down on its account.".to_owned(),
        ],
        verdict: "up",
        incident: About {
            uid: test.incident.to_owned(),
            kind: "test",
            namespace: test.namespace.to_owned(),
            check: None,
            region: None,
            opened_at: at.clone(),
            resolved_at: at,
            cause: None,
            severity: None,
            insecure: false,
        },
        regions: vec![],
        runbook: String::new(),
        acknowledge_url: None,
        labels: BTreeMap::new(),
        storm: None,
        written: test.at,
    }
}

/// The incident without anything that came after its opening; a storm as of its page of this number.
fn at_the_opening(incident: &v1::Incident, number: u32) -> v1::Incident {
    v1::Incident {
        storm: incident.storm.as_ref().map(|told| storm::as_told(told, number)),
        held: None,
        resolved_at: None,
        resolved_by: None,
        cause: ResolveCause::Unspecified.into(),
        acknowledged_at: None,
        acknowledged_by: String::new(),
        timeline: vec![],
        deliveries: vec![],
        routed: vec![],
        ..incident.clone()
    }
}

/// The incident without its deliveries: who else was told, and how often we tried, is nothing that
/// a receiver needs, and would make every attempt say something else.
fn at_the_end(incident: &v1::Incident) -> v1::Incident {
    v1::Incident { deliveries: vec![], routed: vec![], ..incident.clone() }
}

fn storm_says(storm: &v1::Storm) -> StormSays {
    let member = |member: &v1::StormMember| StormMember {
        uid: member.incident_uid.clone(),
        name: member.name.clone(),
        ended: member.ended > 0,
    };
    let incidents = storm.members.iter().map(member).collect();
    StormSays { gathered: storm.gathered, ended: storm.ended, incidents }
}

fn summary(incident: &v1::Incident, opened: &DecisionRecord) -> String {
    let over = incident.resolved_at.is_some();
    match incident.kind() {
        IncidentKind::RegionSilent => {
            let region = &incident.region;
            let (all, silent) = explain::heard_of(opened);
            match (over, all) {
                (true, _) => format!("region {region} is heard again"),
                (false, all) if all == silent => format!("region {region} is silent"),
                (false, all) => {
                    format!("region {region}: {silent} of {all} probes are not heard")
                }
            }
        }
        IncidentKind::RegionExcluded => {
            let region = &incident.region;
            match over {
                true => format!("region {region}: its probe votes again"),
                false => {
                    format!("region {region}: a probe is not believed, its view is its own fault")
                }
            }
        }
        IncidentKind::RegionOutdated => {
            let region = &incident.region;
            let probe = match &opened.ballots[..] {
                [one] => format!("probe {} {}", one.probe, one.evidence),
                _ => {
                    let all = explain::heard_of(opened).0;
                    format!("{all} of its probes are older than what is asked of them")
                }
            };
            match over {
                true => format!("region {region}: no probe is outdated any more"),
                false => format!("region {region}: {probe}"),
            }
        }
        IncidentKind::CanaryInDoubt => {
            let check = &incident.check_name;
            match (over, incident.cause()) {
                (true, ResolveCause::Recovered) => {
                    format!("canary {check} is no longer in doubt")
                }
                (true, _) => format!("canary {check}: its doubt is over"),
                (false, _) => format!("canary {check}: {}", explain::unseen(opened)),
            }
        }
        IncidentKind::Leaderless => {
            let member = incident.labels.get("member").map(String::as_str).unwrap_or_default();
            match over {
                true => format!("member {member} sees a leader again"),
                false => incident.detail.clone(),
            }
        }
        IncidentKind::Storm => explain::storm_summary(incident),
        IncidentKind::Regional | IncidentKind::Warning => lasting(incident, opened, over),
        IncidentKind::Latency
        | IncidentKind::ErrorRate
        | IncidentKind::Certificate
        | IncidentKind::BurnRate => {
            let (check, alert) = (&incident.check_name, &incident.alert);
            match (over, incident.cause()) {
                (true, ResolveCause::AlertCleared) => format!("{check}: {alert} has cleared"),
                (true, _) => format!("{check}: {alert} is over"),
                (false, _) => explain::alert_summary(incident),
            }
        }
        IncidentKind::Down | IncidentKind::Unspecified => {
            let check = &incident.check_name;
            let regions = opened.rule.as_ref().map_or(0, |rule| rule.regions);
            let verb = if opened.failing == 1 { "fails" } else { "fail" };
            match (over, incident.cause()) {
                (true, ResolveCause::CheckDeleted) => format!("{check} was deleted while down"),
                (true, ResolveCause::CheckPaused) => format!("{check} was paused while down"),
                (true, ResolveCause::ByHand) => format!("{check}: incident resolved by hand"),
                (true, _) if incident.flapping.is_some() => {
                    format!("{check} is no longer down, and has calmed down")
                }
                (true, _) => format!("{check} is no longer down"),
                (false, _) => {
                    let failing = opened.failing;
                    let seen = format!("{failing} of {regions} regions {verb}");
                    match &incident.flapping {
                        None => format!("{check} is down: {seen}"),
                        Some(it) => format!(
                            "{check} is flapping, down {} times within {}: {seen}; its end is told \
                             once it has passed for {}",
                            it.opens,
                            length(it.within.as_ref()),
                            length(it.calm.as_ref())
                        ),
                    }
                }
            }
        }
    }
}

fn lasting(incident: &v1::Incident, opened: &DecisionRecord, over: bool) -> String {
    let check = &incident.check_name;
    let regions = opened.rule.as_ref().map_or(0, |rule| rule.regions);
    let (what, many) = match incident.kind() {
        IncidentKind::Warning => ("with a warning", opened.warning),
        _ => ("in too few regions to be down", opened.failing),
    };
    let verb = match (incident.kind(), many) {
        (IncidentKind::Warning, 1) => "passes",
        (IncidentKind::Warning, _) => "pass",
        (_, 1) => "fails",
        _ => "fail",
    };
    match (over, incident.cause()) {
        (false, _) if many == 0 => format!("{check}: probes of one region do not agree"),
        (false, _) => format!("{check}: {many} of {regions} regions {verb} {what}"),
        (true, ResolveCause::BecameDown) => format!("{check} is down now"),
        (true, ResolveCause::CheckDeleted) => format!("{check} was deleted"),
        (true, ResolveCause::CheckPaused) => format!("{check} was paused"),
        (true, ResolveCause::ByHand) => format!("{check}: incident resolved by hand"),
        (true, _) => {
            let ended = incident.resolved_by.clone().unwrap_or_default();
            match (ended.verdict(), ended.degraded()) {
                (Verdict::Up, _) => format!("{check} is well again in every region"),
                (Verdict::Degraded, DegradedKind::Regional) => {
                    format!("{check} fails in too few regions to be down now")
                }
                (Verdict::Degraded, DegradedKind::Warning) => {
                    format!("{check} passes with a warning now")
                }
                _ => format!("{check}: it is something else now"),
            }
        }
    }
}

fn length(length: Option<&prost_types::Duration>) -> String {
    format_duration(length.map(stamp::length).unwrap_or_default())
}

fn about(incident: &v1::Incident) -> About {
    let some = |text: &String| (!text.is_empty()).then(|| text.clone());
    let over = incident.resolved_at.is_some();
    About {
        uid: incident.uid.clone(),
        kind: match incident.kind() {
            IncidentKind::RegionSilent => "region_silent",
            IncidentKind::RegionExcluded => "region_excluded",
            IncidentKind::RegionOutdated => "region_outdated",
            IncidentKind::CanaryInDoubt => "canary_in_doubt",
            IncidentKind::Storm => "storm",
            IncidentKind::Leaderless => "leaderless",
            IncidentKind::Regional => "regional",
            IncidentKind::Warning => "warning",
            IncidentKind::Latency => "latency",
            IncidentKind::ErrorRate => "error_rate",
            IncidentKind::Certificate => "certificate",
            IncidentKind::BurnRate => "burn_rate",
            IncidentKind::Down | IncidentKind::Unspecified => "down",
        },
        namespace: incident.namespace.clone(),
        check: some(&incident.check_name),
        region: some(&incident.region),
        opened_at: rfc3339(incident.opened_at.as_ref()),
        resolved_at: rfc3339(incident.resolved_at.as_ref()),
        cause: over.then(|| word(incident.cause().as_str_name(), "RESOLVE_CAUSE_")),
        severity: Some(routing::severity_word(incident.severity())).filter(|word| !word.is_empty()),
        insecure: incident.insecure,
    }
}

fn says(ballot: &v1::Ballot) -> RegionSays {
    let state = match ballot.state() {
        _ if ballot.excluded => "excluded",
        _ if ballot.stale => "stale",
        _ if ballot.split => "split",
        BallotState::Pass => "pass",
        BallotState::Warn => "warn",
        BallotState::Fail => "fail",
        BallotState::None | BallotState::Unspecified => "none",
    };
    let reason = ballot.reason();
    RegionSays {
        region: ballot.region.clone(),
        probe: ballot.probe.clone(),
        state,
        reason: (reason != v1::Reason::Unspecified).then(|| word(reason.as_str_name(), "REASON_")),
        evidence: (!ballot.evidence.is_empty()).then(|| ballot.evidence.clone()),
        since: rfc3339(ballot.since.as_ref()),
        advisory: ballot.advisory,
        probes: ballot.probes.iter().map(probe_says).collect(),
    }
}

fn probe_says(ballot: &v1::Ballot) -> ProbeSays {
    let RegionSays { probe, state, reason, evidence, since, .. } = says(ballot);
    ProbeSays { probe, state, reason, evidence, since }
}

/// `REASON_CONNECT_REFUSED` as `connect_refused`.
fn word(name: &str, prefix: &str) -> String {
    name.strip_prefix(prefix).unwrap_or(name).to_ascii_lowercase()
}

fn rfc3339(stamp: Option<&prost_types::Timestamp>) -> Option<String> {
    let stamp = stamp?;
    let at = jiff::Timestamp::new(stamp.seconds, stamp.nanos).ok()?;
    Some(at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

#[cfg(test)]
mod tests;
