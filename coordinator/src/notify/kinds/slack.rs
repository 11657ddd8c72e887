//! Slack: blocks, by an incoming webhook or by a bot, whose later pages of an incident answer in the thread of its
//! first.

use parallax_common::limits::RECEIPT_BYTES_MAX;
use parallax_proto::v1::SlackContact;
use serde_json::{Value, json};

use super::words::{self, Tone};
use super::{Answer, Call, Plan, Telling, by_status, join};
use crate::core::outbox::Report;
use crate::notify::body::Page;

/// Longest text of a header, and of a section.
const HEADER_MAX: usize = 150;
const SECTION_MAX: usize = 3_000;

pub(super) fn plan(contact: &SlackContact, telling: &Telling<'_>, is_own: bool) -> Plan {
    let page = telling.page;
    let mut message = json!({
        "text": words::cut(&escaped(&words::headline(page)), SECTION_MAX),
        "blocks": blocks(page, is_own),
        "unfurl_links": false,
    });
    if contact.token.is_none() {
        return Plan::one(Call::json(telling.values.get("url").to_owned(), &message));
    }
    // `channel:time`, as it was answered.
    match telling.receipt.split_once(':') {
        Some((channel, thread)) => {
            message["channel"] = json!(channel);
            message["thread_ts"] = json!(thread);
            // In the channel, too: who reads only that must see that it is over, or that nobody has taken
            // care of it. A reminder says nothing new, but that of a storm, which names what has joined.
            let is_new = page.kind != "reminder" || page.storm.is_some();
            if is_new {
                message["reply_broadcast"] = json!(true);
            }
        }
        None => message["channel"] = json!(contact.channel),
    }
    let token = telling.values.get("token").trim();
    let mut call = Call::json(join(telling.values.get("api_url"), "chat.postMessage"), &message)
        .with("authorization", format!("Bearer {token}"))
        .understood_by(read);
    call.field = "api_url";
    Plan::one(call)
}

/// Slack says 200 whatever happens; whether it took the message stands in the body.
fn read(answer: &Answer) -> Report {
    if !answer.is_success() {
        return by_status(answer);
    }
    let Some(said) = answer.json().filter(|_| answer.whole) else {
        return Report::Ambiguous("the answer cannot be read".into());
    };
    if said["ok"] == true {
        let (channel, at) = (said["channel"].as_str(), said["ts"].as_str());
        let receipt = match (channel, at) {
            (Some(channel), Some(at)) => format!("{channel}:{at}"),
            _ => String::new(),
        };
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'.' || b == b':';
        let fits = receipt.len() <= RECEIPT_BYTES_MAX && receipt.bytes().all(plain);
        let receipt = if fits { receipt } else { String::new() };
        return Report::Taken { receipt, note: String::new() };
    }
    let error = said["error"].as_str().unwrap_or("no error is named");
    let passes = [
        "fatal_error",
        "internal_error",
        "ratelimited",
        "rate_limited",
        "request_timeout",
        "service_unavailable",
    ];
    let lasting = !passes.contains(&error);
    let retry_after = answer.retry_after;
    Report::Refused { why: format!("Slack says {}", words::cut(error, 100)), lasting, retry_after }
}

/// The three characters that mean something in a message.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn section(text: &str) -> Value {
    json!({"type": "section", "text": {"type": "mrkdwn", "text": words::cut(text, SECTION_MAX)}})
}

/// `is_own`: the sentences have marks of Slack in them, and what is none is escaped.
fn blocks(page: &Page, is_own: bool) -> Vec<Value> {
    let sign = match words::tone(page) {
        Tone::Open if page.incident.severity == Some("warning") => ":large_orange_circle:",
        Tone::Open if page.incident.severity == Some("info") => ":large_blue_circle:",
        Tone::Open => ":red_circle:",
        Tone::Over => ":large_green_circle:",
    };
    let headline = words::cut(&format!("{sign} {}", words::headline(page)), HEADER_MAX);
    let mut blocks = vec![
        json!({"type": "header", "text": {"type": "plain_text", "text": headline, "emoji": true}}),
    ];
    if !page.sentences.is_empty() {
        let text = page.sentences.join("\n");
        blocks.push(section(&if is_own { text } else { escaped(&text) }));
    }
    let regions: Vec<String> =
        words::regions(page).iter().map(|line| format!("\u{2022} {}", escaped(line))).collect();
    if !regions.is_empty() {
        blocks.push(section(&regions.join("\n")));
    }
    if !page.runbook.is_empty() {
        // A bar or an angle in the URL would end it early.
        let url = escaped(&page.runbook).replace('|', "%7C");
        blocks.push(section(&format!("<{url}|Runbook>")));
    }
    if let Some(url) = &page.acknowledge_url {
        blocks.push(section(&format!("<{}|Acknowledge>", escaped(url).replace('|', "%7C"))));
    }
    let mut context = vec![words::origin(page)];
    context.extend(words::labels(page));
    let context = words::cut(&escaped(&context.join("  ")), SECTION_MAX);
    blocks.push(json!({"type": "context", "elements": [{"type": "mrkdwn", "text": context}]}));
    blocks
}
