//! Contacts, without what is secret about them.

use std::collections::BTreeMap;

use parallax_proto::convert::contact::redacted::{text_of as redacted, url as redacted_url};
use parallax_proto::convert::contact::{Setting, settings, word};
use parallax_proto::v1;
use serde::Serialize;
use serde_json::{Value, json};

use super::check::secret;
use super::table::Table;
use super::{Shell, time};

/// A contact. Values that may be secret are shown as references; anything else in them is
/// replaced by dots.
#[derive(Debug, Serialize)]
pub struct ContactView {
    name: String,
    namespace: String,
    uid: String,
    set: String,
    etag: u64,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    fallback: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    rate: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    standing: Option<StandingView>,
    /// Its options, under what it is.
    #[serde(flatten)]
    kind: BTreeMap<&'static str, BTreeMap<&'static str, Value>>,
}

/// How a contact takes its pages.
#[derive(Debug, Serialize)]
pub struct StandingView {
    /// `ok`, `failing` (the last attempts told it nothing) or `tried` (so many that one page at a time
    /// tries).
    state: &'static str,
    /// Pages that are neither sent nor given up.
    waiting: u32,
    #[serde(skip_serializing_if = "is_none")]
    failures: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    failing_since: Option<String>,
    /// From when on a page may try it.
    #[serde(skip_serializing_if = "Option::is_none")]
    trial_at: Option<String>,
    /// When the last page goes that waits for its rate.
    #[serde(skip_serializing_if = "Option::is_none")]
    paced_until: Option<String>,
}

fn is_none(count: &u32) -> bool {
    *count == 0
}

impl StandingView {
    fn new(standing: &v1::ContactStanding) -> Self {
        let state = match (standing.failures, &standing.trial_at) {
            (0, _) => "ok",
            (_, None) => "failing",
            (_, Some(_)) => "tried",
        };
        Self {
            state,
            waiting: standing.waiting,
            failures: standing.failures,
            failing_since: time::instant(standing.failing_since.as_ref()),
            trial_at: time::instant(standing.trial_at.as_ref()),
            paced_until: time::instant(standing.paced_until.as_ref()),
        }
    }

    /// In a few words.
    fn line(&self) -> String {
        let mut line = self.state.to_owned();
        if let Some(since) = &self.failing_since {
            line.push_str(&format!(", {} failures since {since}", self.failures));
        }
        if self.waiting > 0 {
            line.push_str(&format!(", {} waiting", self.waiting));
        }
        line
    }
}

/// An option, without what is secret about it; nothing when it is not given.
fn shown(setting: Setting<'_>) -> Option<Value> {
    let url = |it: &v1::Secret| redacted_url(&secret(Some(it)));
    let hidden = |it: &v1::Secret| redacted(&secret(Some(it)));
    let value = match setting {
        Setting::Url(it) => json!(url(it?)),
        Setting::Urls(several) => json!(several.iter().map(url).collect::<Vec<_>>()),
        Setting::Secret(it) => json!(hidden(it?)),
        Setting::Secrets(several) => json!(several.iter().map(hidden).collect::<Vec<_>>()),
        Setting::Headers(headers) => headers
            .iter()
            .map(|it| (it.name.clone(), json!(redacted(&secret(it.value.as_ref())))))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        Setting::Texts(several) => json!(several),
        Setting::Text(text) | Setting::Source(text) => json!(text),
        Setting::Labels(labels) => json!(labels),
        Setting::Number(number) => json!(Some(number).filter(|number| *number > 0)?),
        Setting::Length(length) => json!(time::length(length)?),
    };
    let empty = match &value {
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(entries) => entries.is_empty(),
        _ => false,
    };
    (!empty).then_some(value)
}

impl ContactView {
    /// The view of a message; without a standing of a member that tells of none.
    pub fn new(contact: &v1::Contact, standing: Option<&v1::ContactStanding>) -> Self {
        let meta = contact.meta.clone().unwrap_or_default();
        let options = |kind| {
            settings(kind).into_iter().filter_map(|(name, it)| Some((name, shown(it)?))).collect()
        };
        Self {
            name: meta.name,
            namespace: meta.namespace,
            uid: meta.uid,
            set: meta.set,
            etag: meta.etag,
            labels: meta.labels,
            fallback: contact.fallback.clone(),
            rate: contact.rate.clone(),
            standing: standing.map(StandingView::new),
            kind: contact.kind.iter().map(|kind| (word(kind), options(kind))).collect(),
        }
    }

    /// What it is, where it leads, and the rest of its options.
    fn row(&self) -> [String; 5] {
        let standing = time::or_dash(self.standing.as_ref().map(StandingView::line));
        let Some((word, options)) = self.kind.first_key_value() else {
            let none = || "-".to_owned();
            return [self.name.clone(), "?".to_owned(), none(), none(), standing];
        };
        let text = |value: &Value| match value {
            Value::String(text) => text.clone(),
            Value::Array(items) => {
                items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(",")
            }
            other => other.to_string(),
        };
        let to = ["channel", "chat_id", "to", "url", "urls"];
        let to = to.iter().find_map(|name| options.get(name)).map(text);
        let timeout = options.get("timeout").map(text);
        let (to, timeout) = (time::or_dash(to), time::or_dash(timeout));
        [self.name.clone(), (*word).to_owned(), to, timeout, standing]
    }
}

/// `contact test`.
#[derive(Debug, Serialize)]
pub struct TestView {
    contact: String,
    sent: bool,
    detail: String,
    key: String,
    sent_by: String,
}

impl TestView {
    /// The view of an answer.
    pub fn new(contact: &str, answer: v1::TestContactResponse) -> Self {
        let v1::TestContactResponse { sent, detail, key, sent_by } = answer;
        Self { contact: contact.to_owned(), sent, detail, key, sent_by }
    }

    /// One sentence.
    pub fn text(&self) -> String {
        let (contact, by, detail) = (&self.contact, &self.sent_by, &self.detail);
        match self.sent {
            true => format!("{contact} has taken the test that {by} sent: {detail}\n"),
            false => format!("{contact} was not told by {by}: {detail}\n"),
        }
    }
}

/// `contact list`.
#[derive(Debug, Serialize)]
pub struct ContactsView {
    revision: u64,
    contacts: Vec<ContactView>,
}

impl ContactsView {
    /// The view of all pages.
    pub fn new(contacts: &[v1::Contact], standings: &[v1::ContactStanding], revision: u64) -> Self {
        let standing = |contact: &v1::Contact| {
            let uid = contact.meta.as_ref().map_or("", |meta| &meta.uid);
            standings.iter().find(|standing| standing.contact_uid == uid)
        };
        let view = |contact: &v1::Contact| ContactView::new(contact, standing(contact));
        Self { revision, contacts: contacts.iter().map(view).collect() }
    }

    /// One line a contact.
    pub fn table(&self, shell: &Shell) -> String {
        let mut table = Table::new(["NAME", "KIND", "TO", "TIMEOUT", "STANDING"]);
        for contact in &self.contacts {
            table.row(contact.row());
        }
        shell.rows(table)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_a_password_is_not_shown() {
        assert_eq!(redacted_url("https://hooks.example/T0/B1/secret"), "https://hooks.example/...");
        assert_eq!(redacted_url("https://u:p@hooks.example"), "https://hooks.example");
        assert_eq!(redacted_url("https://hooks.example?token=x"), "https://hooks.example/...");
        assert!(redacted_url("${env:OPS_URL}").contains("${env:OPS_URL}"));
        assert!(!redacted("Bearer abc").contains("abc"));
    }
}
