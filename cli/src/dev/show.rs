//! What a dev mesh says of a change: few words, and only when something has become different.

use std::collections::BTreeMap;

use parallax_proto::v1;
use parallax_proto::v1::watch_response::Change;

/// Incidents that are remembered. At it the oldest is forgotten, and may be said again.
const INCIDENTS_MAX: usize = 1_024;

/// Turns the changes of a watch into lines, and remembers enough not to say things twice.
#[derive(Debug, Default)]
pub struct Show {
    /// How far each incident was told, by uid; uids are in the order of time.
    told: BTreeMap<String, Told>,
}

/// What was said of an incident last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Opened,
    Acknowledged,
    Resolved,
}

impl Show {
    /// What kind of change it is and what to say; nothing for what nobody waits for.
    pub fn line(&mut self, change: &Change) -> Option<(&'static str, String)> {
        match change {
            Change::Verdict(verdict) => Some(("verdict", verdict_line(verdict))),
            Change::Incident(incident) => Some(("incident", self.incident(incident)?)),
            Change::Delivery(delivery) => Some(("page", delivery_line(delivery)?)),
            Change::Probe(probe) => {
                let state = word(probe.state().as_str_name(), "PROBE_STATE_");
                Some(("probe", format!("{} in {} is {state}", probe.name, probe.region)))
            }
            // Who applies something is told by the command that does it.
            Change::Resource(_) | Change::Silence(_) | Change::Progress(_) => None,
        }
    }

    fn incident(&mut self, incident: &v1::Incident) -> Option<String> {
        let what = match incident.kind() {
            v1::IncidentKind::RegionSilent => format!("region {} is silent", incident.region),
            v1::IncidentKind::RegionExcluded => {
                format!("a probe of region {} is not believed", incident.region)
            }
            v1::IncidentKind::RegionOutdated => {
                format!("a probe of region {} is outdated", incident.region)
            }
            v1::IncidentKind::CanaryInDoubt => {
                format!("canary {} is in doubt", incident.check_name)
            }
            v1::IncidentKind::Storm => "a storm of incidents".to_owned(),
            v1::IncidentKind::Regional => {
                format!("{} fails in too few regions to be down", incident.check_name)
            }
            v1::IncidentKind::Warning => format!("{} passes with a warning", incident.check_name),
            v1::IncidentKind::Latency
            | v1::IncidentKind::ErrorRate
            | v1::IncidentKind::Certificate
            | v1::IncidentKind::BurnRate => {
                format!("alert {} of {}", incident.alert, incident.check_name)
            }
            _ => format!("{} is down", incident.check_name),
        };
        let short: String = incident.uid.chars().take(13).collect();
        let now = match (&incident.resolved_at, &incident.acknowledged_at) {
            (Some(_), _) => Told::Resolved,
            (None, Some(_)) => Told::Acknowledged,
            (None, None) => Told::Opened,
        };
        let before = self.told.insert(incident.uid.clone(), now);
        if self.told.len() > INCIDENTS_MAX {
            self.told.pop_first();
        }
        match (before, now) {
            (Some(before), now) if before == now => None,
            (_, Told::Resolved) => {
                let cause = word(incident.cause().as_str_name(), "RESOLVE_CAUSE_");
                Some(format!("resolved: {what} ({cause})  {short}"))
            }
            (None, _) => Some(format!("opened: {what}  {short}")),
            (Some(_), Told::Acknowledged) => {
                Some(format!("{} is on it: {what}  {short}", incident.acknowledged_by))
            }
            // Changes come in order; one that would lead back is told by nobody.
            (Some(_), Told::Opened) => None,
        }
    }
}

fn verdict_line(verdict: &v1::CheckVerdict) -> String {
    let mut line = format!("{} is {}", verdict.check_name, {
        word(verdict.verdict().as_str_name(), "VERDICT_")
    });
    if verdict.verdict() == v1::Verdict::Degraded {
        let kind = word(verdict.degraded().as_str_name(), "DEGRADED_KIND_");
        line.push_str(&format!(" ({kind})"));
    }
    let Some(record) = &verdict.record else { return line };
    let regions = record.rule.map_or(record.ballots.len() as u32, |rule| rule.regions);
    if record.failing == 0 {
        line.push_str(&format!(": {} of {regions} regions pass", record.passing));
        return line;
    }
    let verb = if record.failing == 1 { "fails" } else { "fail" };
    line.push_str(&format!(": {} of {regions} regions {verb}", record.failing));
    let counted = |ballot: &&v1::Ballot| {
        let votes = !ballot.stale && !ballot.excluded && !ballot.advisory;
        votes && ballot.state() == v1::BallotState::Fail
    };
    let mut by_reason: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for ballot in record.ballots.iter().filter(counted) {
        let reason = word(ballot.reason().as_str_name(), "REASON_");
        by_reason.entry(reason).or_default().push(&ballot.region);
    }
    let reasons = by_reason.iter().map(|(why, whose)| format!("{why} in {}", whose.join(", ")));
    line.push_str(&format!(" ({})", reasons.collect::<Vec<_>>().join("; ")));
    line
}

/// Pages that go well are shown by the sink that gets them.
fn delivery_line(delivery: &v1::Delivery) -> Option<String> {
    let to = &delivery.contact_name;
    match delivery.state() {
        v1::DeliveryState::Dead => Some(format!("given up: to {to}: {}", delivery.last_error)),
        v1::DeliveryState::Pending if !delivery.last_error.is_empty() => {
            let (attempts, error) = (delivery.attempts, &delivery.last_error);
            Some(format!("attempt {attempts} to {to} failed: {error}"))
        }
        _ => None,
    }
}

fn word(name: &str, prefix: &str) -> String {
    name.strip_prefix(prefix).unwrap_or(name).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ballot(region: &str, state: v1::BallotState, reason: v1::Reason, stale: bool) -> v1::Ballot {
        v1::Ballot {
            region: region.to_owned(),
            state: state.into(),
            reason: reason.into(),
            stale,
            ..v1::Ballot::default()
        }
    }

    #[test]
    fn a_verdict_says_how_many_regions_fail_and_why() {
        use v1::BallotState::{Fail, Pass};
        let record = v1::DecisionRecord {
            rule: Some(v1::Rule { regions: 5, ..v1::Rule::default() }),
            failing: 3,
            passing: 1,
            ballots: vec![
                ballot("eu-west", Fail, v1::Reason::ConnectRefused, false),
                ballot("us-east", Pass, v1::Reason::Unspecified, false),
                ballot("us-west", Fail, v1::Reason::Timeout, false),
                ballot("ap-south", Fail, v1::Reason::ConnectRefused, false),
                ballot("sa-east", Fail, v1::Reason::HttpStatus, true),
            ],
            ..v1::DecisionRecord::default()
        };
        let mut verdict = v1::CheckVerdict {
            check_name: "shop".to_owned(),
            verdict: v1::Verdict::Down.into(),
            record: Some(record),
            ..v1::CheckVerdict::default()
        };
        let mut show = Show::default();
        let said = show.line(&Change::Verdict(verdict.clone())).unwrap();
        let expected = "shop is down: 3 of 5 regions fail (connect_refused in eu-west, ap-south; \
                        timeout in us-west)";
        assert_eq!(said, ("verdict", expected.to_owned()));

        verdict.record = Some(v1::DecisionRecord {
            rule: Some(v1::Rule { regions: 5, ..v1::Rule::default() }),
            passing: 5,
            ..v1::DecisionRecord::default()
        });
        verdict.set_verdict(v1::Verdict::Degraded);
        verdict.set_degraded(v1::DegradedKind::Warning);
        let said = show.line(&Change::Verdict(verdict)).unwrap().1;
        assert_eq!(said, "shop is degraded (warning): 5 of 5 regions pass");
    }

    #[test]
    fn an_incident_is_said_when_it_opens_is_taken_and_ends() {
        let mut show = Show::default();
        let mut incident = v1::Incident {
            uid: "0190b2a4-7c1e-7d5a-9a51-5d3f6a2b8c01".to_owned(),
            kind: v1::IncidentKind::Down.into(),
            check_name: "shop".to_owned(),
            ..v1::Incident::default()
        };
        let mut say = |incident: &v1::Incident| {
            show.line(&Change::Incident(incident.clone())).map(|(_, text)| text)
        };
        assert_eq!(say(&incident).unwrap(), "opened: shop is down  0190b2a4-7c1e");
        assert_eq!(say(&incident), None);
        incident.acknowledged_at = Some(prost_types::Timestamp::default());
        incident.acknowledged_by = "anna".to_owned();
        assert_eq!(say(&incident).unwrap(), "anna is on it: shop is down  0190b2a4-7c1e");
        assert_eq!(say(&incident), None);
        incident.resolved_at = Some(prost_types::Timestamp::default());
        incident.set_cause(v1::ResolveCause::Recovered);
        assert_eq!(say(&incident).unwrap(), "resolved: shop is down (recovered)  0190b2a4-7c1e");
        // A page about its end that moves is no other end.
        assert_eq!(say(&incident), None);
    }

    #[test]
    fn only_pages_in_trouble_are_said() {
        let mut show = Show::default();
        let mut delivery = v1::Delivery {
            contact_name: "demo".to_owned(),
            state: v1::DeliveryState::Pending.into(),
            attempts: 2,
            ..v1::Delivery::default()
        };
        assert_eq!(show.line(&Change::Delivery(delivery.clone())), None);
        delivery.last_error = "connection refused".to_owned();
        let said = show.line(&Change::Delivery(delivery.clone())).unwrap().1;
        assert_eq!(said, "attempt 2 to demo failed: connection refused");
        delivery.set_state(v1::DeliveryState::Sent);
        assert_eq!(show.line(&Change::Delivery(delivery)), None);
    }
}
