//! Discord: a message with one embed, to the webhook of a channel.

use serde_json::json;

use super::words::{self, Tone};
use super::{Answer, Call, Plan, Telling, by_status, seconds};
use crate::core::outbox::Report;

const TITLE_MAX: usize = 256;
const DESCRIPTION_MAX: usize = 4_000;

pub(super) fn plan(telling: &Telling<'_>) -> Plan {
    let page = telling.page;
    let color = match words::tone(page) {
        Tone::Open => 0xd0_2020,
        Tone::Over => 0x20_a040,
    };
    let mut embed = json!({
        "title": words::cut(&words::headline(page), TITLE_MAX),
        "description": words::plain_within(page, DESCRIPTION_MAX),
        "color": color,
    });
    if !page.runbook.is_empty() {
        embed["url"] = json!(page.runbook);
    }
    // What stands in a page calls nobody: evidence may hold an `@everyone`.
    let body = json!({"embeds": [embed], "allowed_mentions": {"parse": []}});
    Plan::one(Call::json(telling.values.get("url").to_owned(), &body).understood_by(read))
}

/// As the status says; how long to wait stands in the body, too, and finer.
fn read(answer: &Answer) -> Report {
    let report = by_status(answer);
    match (report, answer.json()) {
        (Report::Answered { status: 429, retry_after, detail }, Some(said)) => {
            let wait = seconds(&said["retry_after"]).max(retry_after);
            Report::Answered { status: 429, retry_after: wait, detail: words::cut(&detail, 200) }
        }
        (report, _) => report,
    }
}
