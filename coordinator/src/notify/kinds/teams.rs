//! Microsoft Teams: an adaptive card to a workflow that a webhook starts.

use serde_json::{Value, json};

use super::words::{self, Tone};
use super::{Call, Plan, Telling};

/// A message may have 28 KB with everything around it.
const TEXT_MAX: usize = 4_000;

pub(super) fn plan(telling: &Telling<'_>, is_own: bool) -> Plan {
    let page = telling.page;
    let color = match words::tone(page) {
        Tone::Open => "Attention",
        Tone::Over => "Good",
    };
    let marked = |text: &str| json!({"type": "TextBlock", "text": text, "wrap": true});
    let block = |text: &str| marked(&escaped(text));
    let mut title = block(&words::cut(&words::headline(page), TEXT_MAX / 8));
    title["size"] = json!("Large");
    title["weight"] = json!("Bolder");
    title["color"] = json!(color);
    let mut body: Vec<Value> = vec![title];
    for (lines, is_own) in [(page.sentences.clone(), is_own), (words::regions(page), false)] {
        if !lines.is_empty() {
            // One line after the other needs an empty one between them.
            let text = words::cut(&lines.join("\n\n"), TEXT_MAX);
            body.push(if is_own { marked(&text) } else { block(&text) });
        }
    }
    let mut last = vec![words::origin(page)];
    last.extend(words::labels(page));
    let mut last = block(&words::cut(&last.join("  "), TEXT_MAX));
    last["isSubtle"] = json!(true);
    body.push(last);
    let mut card = json!({
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": body,
    });
    let open =
        |title: &str, url: &str| json!({"type": "Action.OpenUrl", "title": title, "url": url});
    let mut actions = Vec::new();
    if !page.runbook.is_empty() {
        actions.push(open("Runbook", &page.runbook));
    }
    if let Some(url) = &page.acknowledge_url {
        actions.push(open("Acknowledge", url));
    }
    if !actions.is_empty() {
        card["actions"] = json!(actions);
    }
    let message = json!({
        "type": "message",
        "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "contentUrl": null,
            "content": card,
        }],
    });
    Plan::one(Call::json(telling.values.get("url").to_owned(), &message))
}

/// Without what a text block would take for markup.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '*' | '_' | '[' | ']' | '`' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}
