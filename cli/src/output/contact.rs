//! Contacts, without what is secret about them.

use std::collections::BTreeMap;

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
    /// Its options, under what it is.
    #[serde(flatten)]
    kind: BTreeMap<&'static str, BTreeMap<&'static str, Value>>,
}

/// A URL up to its host, and its references: a path often is a password.
fn redacted_url(secret_url: &str) -> String {
    if secret_url.contains("${") {
        return redacted(secret_url);
    }
    let Some((scheme, rest)) = secret_url.split_once("://") else { return redacted(secret_url) };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let host = rest[..end].rsplit('@').next().unwrap_or_default();
    match &rest[end..] {
        "" | "/" => format!("{scheme}://{host}{}", &rest[end..]),
        _ => format!("{scheme}://{host}/..."),
    }
}

/// Only the references of a template.
fn redacted(template: &str) -> String {
    match parallax_common::secret::Template::parse(template) {
        Ok(template) => template.redacted(),
        Err(_) => "...".to_owned(),
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
    /// The view of a message.
    pub fn new(contact: &v1::Contact) -> Self {
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
            kind: contact.kind.iter().map(|kind| (word(kind), options(kind))).collect(),
        }
    }

    /// What it is, where it leads, and the rest of its options.
    fn row(&self) -> [String; 4] {
        let Some((word, options)) = self.kind.first_key_value() else {
            return [self.name.clone(), "?".to_owned(), "-".to_owned(), "-".to_owned()];
        };
        let text = |value: &Value| match value {
            Value::String(text) => text.clone(),
            Value::Array(items) => {
                items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(",")
            }
            other => other.to_string(),
        };
        let to = ["channel", "chat_id", "url", "urls"];
        let to = to.iter().find_map(|name| options.get(name)).map(text);
        let timeout = options.get("timeout").map(text);
        [self.name.clone(), (*word).to_owned(), time::or_dash(to), time::or_dash(timeout)]
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
    pub fn new(contacts: &[v1::Contact], revision: u64) -> Self {
        Self { revision, contacts: contacts.iter().map(ContactView::new).collect() }
    }

    /// One line a contact.
    pub fn table(&self, shell: &Shell) -> String {
        let mut table = Table::new(["NAME", "KIND", "TO", "TIMEOUT"]);
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
