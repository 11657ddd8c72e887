//! Opsgenie's Alert API: an alert under an alias, and its closing.

use parallax_proto::v1::OpsgenieContact;
use serde_json::{Value, json};

use super::{Call, Plan, Telling, join, words};

const MESSAGE_MAX: usize = 130;
const DESCRIPTION_MAX: usize = 15_000;
const TAGS_MAX: usize = 20;
const TAG_MAX: usize = 50;

pub(super) fn plan(contact: &OpsgenieContact, telling: &Telling<'_>) -> Plan {
    let values = telling.values;
    let post = |path: &str, body: &Value| {
        let key = values.get("api_key").trim();
        let call = Call::json(join(values.get("url"), path), body);
        call.with("authorization", format!("GenieKey {key}"))
    };
    let create = post("v2/alerts", &alert(contact, telling));
    // A uid, a colon and a uid: nothing in it needs encoding.
    let path = format!("v2/alerts/{}/close?identifierType=alias", telling.thread());
    let note = words::cut(&telling.page.summary, DESCRIPTION_MAX);
    let close = post(&path, &json!({"source": "Parallax", "note": note}));
    match telling.page.kind {
        "opened" | "escalated" | "reminder" => Plan::one(create),
        // It is over already, and still has its place in the records.
        "combined" | "test" => Plan::InTurn(vec![create, close]),
        _ => Plan::one(close),
    }
}

fn alert(contact: &OpsgenieContact, telling: &Telling<'_>) -> Value {
    let page = telling.page;
    let tags: Vec<String> =
        words::labels(page).iter().take(TAGS_MAX).map(|tag| words::cut(tag, TAG_MAX)).collect();
    json!({
        "message": words::cut(&page.summary, MESSAGE_MAX),
        "alias": telling.thread(),
        "description": words::plain_within(page, DESCRIPTION_MAX),
        "entity": words::subject(page),
        "source": "Parallax",
        "priority": contact.priority,
        "tags": tags,
        "details": {
            "mesh": page.mesh,
            "namespace": page.incident.namespace,
            "incident": page.incident.uid,
            "kind": page.incident.kind,
            "severity": page.incident.severity.unwrap_or_default(),
            "runbook": page.runbook,
        },
    })
}
