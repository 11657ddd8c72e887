//! Contacts, without what is secret about them.

use std::collections::BTreeMap;

use parallax_proto::v1;
use serde::Serialize;

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
    #[serde(skip_serializing_if = "Option::is_none")]
    webhook: Option<WebhookView>,
}

/// A webhook.
#[derive(Debug, Serialize)]
pub struct WebhookView {
    url: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    headers: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout: Option<String>,
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

impl ContactView {
    /// The view of a message.
    pub fn new(contact: &v1::Contact) -> Self {
        let meta = contact.meta.clone().unwrap_or_default();
        let webhook = contact.kind.as_ref().map(|kind| match kind {
            v1::contact::Kind::Webhook(webhook) => WebhookView {
                url: redacted_url(&secret(webhook.url.as_ref())),
                headers: webhook
                    .headers
                    .iter()
                    .map(|it| (it.name.clone(), redacted(&secret(it.value.as_ref()))))
                    .collect(),
                timeout: time::length(webhook.timeout.as_ref()),
            },
        });
        Self {
            name: meta.name,
            namespace: meta.namespace,
            uid: meta.uid,
            set: meta.set,
            etag: meta.etag,
            labels: meta.labels,
            webhook,
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
        let mut table = Table::new(["NAME", "KIND", "TO", "HEADERS", "TIMEOUT"]);
        for contact in &self.contacts {
            let Some(webhook) = &contact.webhook else {
                table.row([contact.name.as_str(), "?", "-", "-", "-"]);
                continue;
            };
            let headers: Vec<&str> = webhook.headers.keys().map(String::as_str).collect();
            table.row([
                contact.name.clone(),
                "webhook".to_owned(),
                webhook.url.clone(),
                time::or_dash(Some(headers.join(","))),
                time::or_dash(webhook.timeout.clone()),
            ]);
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
