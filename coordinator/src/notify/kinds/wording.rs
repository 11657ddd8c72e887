//! What a contact words itself of a page for people: the text below the headline, and the subject of a mail.
//!
//! The text takes the place of the sentences and of what the regions say. Headline, runbook, labels and the
//! link to acknowledge stay where the kind has them, so that no wording takes them away.

use std::borrow::Cow;

use parallax_common::page_template::render_with;
use parallax_proto::v1::contact::Kind;

use super::{slack, teams};
use crate::notify::body::Page;

/// A page as its contact wants it told.
#[derive(Debug)]
pub(super) struct Wording<'p> {
    /// Its sentences are the contact's own, if it has any.
    pub page: Cow<'p, Page>,
    /// Whether they are, and with them the marks of the kind.
    pub is_own: bool,
    /// The subject of a mail, if the contact has one.
    pub subject: Option<String>,
    /// What the log has to say of it; empty for nothing.
    pub note: String,
}

/// The page in the contact's words. A template that fails over this one page does not keep it back: it goes
/// out in ours.
pub(super) fn of<'p>(kind: &Kind, page: &'p Page) -> Wording<'p> {
    let (template, subject) = match kind {
        Kind::Slack(it) => (&*it.template, ""),
        Kind::Email(it) => (&*it.template, &*it.subject),
        Kind::Ntfy(it) => (&*it.template, ""),
        Kind::Discord(it) => (&*it.template, ""),
        Kind::Telegram(it) => (&*it.template, ""),
        Kind::Teams(it) => (&*it.template, ""),
        Kind::Webhook(_) | Kind::Pagerduty(_) | Kind::Alertmanager(_) | Kind::Opsgenie(_) => {
            ("", "")
        }
    };
    let escape = match kind {
        Kind::Slack(_) => slack::escaped,
        Kind::Teams(_) => teams::escaped,
        _ => str::to_owned,
    };
    let mut notes = Vec::new();
    let mut rendered = |what: &str, source: &str, escape: fn(&str) -> String| {
        if source.is_empty() {
            return None;
        }
        let values = serde_json::to_value(page).map_err(|error| error.to_string());
        let text = values
            .and_then(|values| render_with(source, &values, escape).map_err(|it| it.to_string()));
        match text {
            Ok(text) if !text.trim().is_empty() => return Some(text),
            Ok(_) => notes.push(format!("its {what} makes nothing of this page")),
            Err(error) => notes.push(format!("its {what} fails over this page: {error}")),
        }
        None
    };
    let text = rendered("template", template, escape);
    let subject = rendered("subject", subject, str::to_owned);
    let is_own = text.is_some();
    let page = match text {
        None => Cow::Borrowed(page),
        Some(text) => {
            let sentences = text.trim().lines().map(|line| line.trim_end().to_owned()).collect();
            Cow::Owned(Page { sentences, regions: Vec::new(), ..page.clone() })
        }
    };
    Wording { page, is_own, subject, note: notes.join("; ") }
}
