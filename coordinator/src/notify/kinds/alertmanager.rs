//! Alertmanager's API v2: an alert with a beginning and an end, posted to each member of its cluster.
//!
//! An Alertmanager takes an alert that nobody repeats for resolved at its `endsAt`. Ours is far ahead
//! (`lasts`), as the end comes by a page of its own. Its members tell one another what they have sent,
//! not what they were told, so each of them gets every alert, and one that takes it is enough.

use std::collections::BTreeMap;
use std::time::Duration;

use parallax_common::limits::ALERT_OVER_LASTS;
use parallax_proto::v1::AlertmanagerContact;
use serde_json::{Value, json};

use super::{Call, Plan, Telling, join, words};

pub(super) fn plan(contact: &AlertmanagerContact, telling: &Telling<'_>) -> Result<Plan, String> {
    let lasts = contact.lasts.and_then(|length| Duration::try_from(length).ok());
    let lasts = lasts.ok_or("config_error: lasts: not a length of time")?;
    let alert = json!([alert(contact, telling, lasts)]);
    let call = |url: &String| {
        let mut call = Call::json(join(url, "api/v2/alerts"), &alert);
        call.field = "urls";
        call.headers.extend(telling.values.headers.iter().cloned());
        call
    };
    Ok(Plan::Any(telling.values.all("urls").iter().map(call).collect()))
}

fn alert(contact: &AlertmanagerContact, telling: &Telling<'_>, lasts: Duration) -> Value {
    let page = telling.page;
    let about = &page.incident;
    // What names the alert must be the same in its opening and in its end.
    let mut labels: BTreeMap<String, String> =
        page.labels.iter().map(|(key, value)| (label(key), value.clone())).collect();
    let own = [
        ("alertname", Some(format!("parallax_{}", about.kind))),
        ("mesh", Some(page.mesh.clone())),
        ("namespace", Some(about.namespace.clone()).filter(|namespace| !namespace.is_empty())),
        ("check", about.check.clone()),
        ("region", about.region.clone()),
        ("incident", Some(about.uid.clone())),
    ];
    labels.extend(own.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))));
    if let Some(severity) = about.severity {
        // A label that the check has always had keeps its meaning.
        labels.entry("severity".to_owned()).or_insert_with(|| severity.to_owned());
    }
    labels.extend(contact.labels.clone());
    let mut alert = json!({
        "labels": labels,
        "annotations": {
            "summary": page.summary,
            "description": page.sentences.join("\n"),
            "regions": words::regions(page).join("\n"),
        },
    });
    if !page.runbook.is_empty() {
        alert["annotations"]["runbook_url"] = json!(page.runbook);
    }
    if let Some(url) = &page.acknowledge_url {
        alert["annotations"]["acknowledge_url"] = json!(url);
    }
    if let Some(at) = &about.opened_at {
        alert["startsAt"] = json!(at);
        let end = match page.kind {
            // Of what has ended when it comes Alertmanager tells nobody; so it ends soon after.
            "combined" | "test" => after(telling.now.as_ns(), ALERT_OVER_LASTS),
            _ => about.resolved_at.clone().or_else(|| later(at, lasts)),
        };
        alert["endsAt"] = json!(end);
    }
    alert
}

/// The time so much later, in the same form.
fn later(at: &str, by: Duration) -> Option<String> {
    let at: jiff::Timestamp = at.parse().ok()?;
    after(i64::try_from(at.as_nanosecond()).ok()?, by)
}

fn after(utc_ns: i64, by: Duration) -> Option<String> {
    let at = jiff::Timestamp::from_nanosecond(utc_ns.into()).ok()?;
    let end = at.checked_add(jiff::SignedDuration::try_from(by).ok()?).ok()?;
    Some(end.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

/// A label's key as Prometheus takes it.
fn label(key: &str) -> String {
    let fits = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let text: String = key.chars().map(fits).collect();
    match text.starts_with(|c: char| c.is_ascii_digit()) {
        true => format!("_{text}"),
        false => text,
    }
}
