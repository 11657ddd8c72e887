//! Telegram: a message of a bot to a chat, in plain text.

use parallax_proto::v1::TelegramContact;
use serde_json::json;

use super::{Answer, Call, Plan, Telling, by_status, join, seconds, words};
use crate::core::outbox::Report;

/// Longest message that is taken.
const TEXT_MAX: usize = 4_096;

pub(super) fn plan(contact: &TelegramContact, telling: &Telling<'_>) -> Plan {
    let page = telling.page;
    let headline = words::cut(&words::headline(page), TEXT_MAX / 4);
    let room = TEXT_MAX - headline.chars().count() - 2;
    let text = format!("{headline}\n\n{}", words::plain_within(page, room));
    let mut body = json!({
        "chat_id": contact.chat_id,
        "text": text,
        "link_preview_options": {"is_disabled": true},
    });
    if let Ok(message) = telling.receipt.parse::<i64>() {
        body["reply_parameters"] =
            json!({"message_id": message, "allow_sending_without_reply": true});
    }
    let token = telling.values.get("token").trim();
    let path = format!("bot{token}/sendMessage");
    Plan::one(Call::json(join(telling.values.get("url"), &path), &body).understood_by(read))
}

/// Whether it was taken stands in the body; what went wrong does, and how long to wait.
fn read(answer: &Answer) -> Report {
    let said = answer.json().unwrap_or_default();
    if answer.is_success() {
        return match said["ok"] == true {
            true => {
                let receipt = said["result"]["message_id"].as_i64();
                let receipt = receipt.map(|id| id.to_string()).unwrap_or_default();
                Report::Taken { receipt, note: String::new() }
            }
            false => Report::Ambiguous("the answer cannot be read".into()),
        };
    }
    match by_status(answer) {
        Report::Answered { status, retry_after, detail } => {
            let wait = seconds(&said["parameters"]["retry_after"]).max(retry_after);
            let detail = said["description"].as_str().map_or(detail, |text| words::cut(text, 200));
            Report::Answered { status, retry_after: wait, detail }
        }
        other => other,
    }
}
