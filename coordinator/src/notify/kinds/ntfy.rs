//! ntfy: a message to a topic, published as JSON, so that no header has to carry a text.

use parallax_proto::v1::NtfyContact;
use serde_json::json;

use super::words::{self, Tone};
use super::{Call, Page, Plan, Telling};

/// A longer message becomes a file that somebody has to open.
const MESSAGE_BYTES_MAX: usize = 4_000;
const TITLE_MAX: usize = 200;

pub(super) fn plan(contact: &NtfyContact, telling: &Telling<'_>) -> Result<Plan, String> {
    let page = telling.page;
    let url = telling.values.get("url").trim().trim_end_matches('/');
    let topic = url.rsplit_once('/').filter(|(server, topic)| {
        !server.ends_with('/') && !topic.is_empty() && !topic.contains(['?', '#'])
    });
    let Some((server, topic)) = topic else {
        return Err("config_error: url: must end with /TOPIC".into());
    };
    let (tag, priority) = match words::tone(page) {
        Tone::Open => ("rotating_light", contact.priority),
        Tone::Over => ("white_check_mark", contact.priority.min(3)),
    };
    let mut body = json!({
        "topic": topic,
        "title": words::cut(&words::headline(page), TITLE_MAX),
        "message": message(page),
        "priority": priority,
        "tags": [tag],
    });
    if !page.runbook.is_empty() {
        body["click"] = json!(page.runbook);
    }
    let mut call = Call::json(format!("{server}/"), &body);
    let token = telling.values.get("token").trim();
    if !token.is_empty() {
        call = call.with("authorization", format!("Bearer {token}"));
    }
    Ok(Plan::one(call))
}

/// As much of a page as fits, counted in bytes as ntfy does.
fn message(page: &Page) -> String {
    let mut kept = words::plain(page);
    let mut characters = kept.chars().count();
    while kept.len() > MESSAGE_BYTES_MAX {
        characters -= (kept.len() - MESSAGE_BYTES_MAX).div_ceil(4).min(characters);
        kept = words::plain_within(page, characters);
    }
    kept
}
