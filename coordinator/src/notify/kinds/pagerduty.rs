//! PagerDuty's Events API v2: an alert that is triggered and resolved under one key.

use parallax_proto::v1::PagerDutyContact;
use serde_json::{Value, json};

use super::{Call, Plan, Telling, join, words};

/// Longest summary that is taken.
const SUMMARY_MAX: usize = 1_024;

pub(super) fn plan(contact: &PagerDutyContact, telling: &Telling<'_>) -> Plan {
    let event = |body: &Value| Call::json(join(telling.values.get("url"), "v2/enqueue"), body);
    let (trigger, resolve) = (trigger(contact, telling), bare("resolve", telling));
    match telling.page.kind {
        "opened" | "escalated" | "reminder" => Plan::one(event(&trigger)),
        // It is over already, and still has its place in the records.
        "combined" | "test" => Plan::InTurn(vec![event(&trigger), event(&resolve)]),
        _ => Plan::one(event(&resolve)),
    }
}

/// The milder of what the contact says, which is `critical` where nobody chose, and what the incident is:
/// a warning wakes nobody because of whom it is sent to.
fn severity<'a>(contact: &'a str, incident: Option<&'a str>) -> &'a str {
    let rank =
        |word: &str| ["info", "warning", "error", "critical"].iter().position(|it| *it == word);
    match incident {
        Some(incident) if rank(incident) < rank(contact) => incident,
        _ => contact,
    }
}

fn bare(action: &str, telling: &Telling<'_>) -> Value {
    json!({
        "routing_key": telling.values.get("routing_key").trim(),
        "event_action": action,
        "dedup_key": telling.thread(),
    })
}

fn trigger(contact: &PagerDutyContact, telling: &Telling<'_>) -> Value {
    let page = telling.page;
    let mut event = bare("trigger", telling);
    event["client"] = json!("Parallax");
    event["payload"] = json!({
        "summary": words::cut(&page.summary, SUMMARY_MAX),
        "source": words::subject(page),
        "severity": severity(&contact.severity, page.incident.severity),
        "component": words::subject(page),
        "group": page.incident.namespace,
        "class": page.incident.kind,
        "custom_details": {
            "sentences": page.sentences,
            "regions": words::regions(page),
            "labels": page.labels,
            "mesh": page.mesh,
            "incident": page.incident.uid,
            "runbook": page.runbook,
        },
    });
    if let Some(at) = &page.incident.opened_at {
        event["payload"]["timestamp"] = json!(at);
    }
    let mut links = Vec::new();
    if !page.runbook.is_empty() {
        links.push(json!({"href": page.runbook, "text": "Runbook"}));
    }
    if let Some(url) = &page.acknowledge_url {
        links.push(json!({"href": url, "text": "Acknowledge in Parallax"}));
    }
    if !links.is_empty() {
        event["links"] = json!(links);
    }
    event
}
