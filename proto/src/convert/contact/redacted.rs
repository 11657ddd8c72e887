//! A contact without what is secret about it: for those who may look and not edit.
//!
//! What stands for a secret is no value that anybody uses by mistake, and [`is_redacted`] knows it again.
//! References stay, as they name where a secret is and are none.

use parallax_common::secret::Template;

use crate::v1;
use crate::v1::contact::Kind;

/// What stands for text that may be secret.
pub const HIDDEN: &str = "***";
/// What stands for the path of a URL, which often is a password.
const PATH: &str = "/...";

/// Whether an option may be shown up to its host.
#[derive(Clone, Copy)]
enum Sort {
    Url,
    Secret,
}

/// The contact without its secrets. Done twice it is the same.
#[must_use]
pub fn redacted(mut contact: v1::Contact) -> v1::Contact {
    each(&mut contact, |secret, sort| {
        let Some(value) = &mut secret.value else { return };
        *value = v1::secret::Value::Template(match (&*value, sort) {
            (v1::secret::Value::Template(text), Sort::Url) => url(text),
            (v1::secret::Value::Template(text), Sort::Secret) => text_of(text),
            (v1::secret::Value::Sealed(_), _) => HIDDEN.to_owned(),
        });
    });
    contact
}

/// Whether something of it was taken out by [`redacted`].
pub fn is_redacted(contact: &v1::Contact) -> bool {
    let mut any = false;
    each(&mut contact.clone(), |secret, sort| {
        let Some(v1::secret::Value::Template(text)) = &secret.value else { return };
        any |= text.contains(HIDDEN) || (matches!(sort, Sort::Url) && text.ends_with(PATH));
    });
    any
}

/// A URL up to its host, and its references.
pub fn url(secret_url: &str) -> String {
    if secret_url.contains("${") {
        return text_of(secret_url);
    }
    let Some((scheme, rest)) = secret_url.split_once("://") else { return text_of(secret_url) };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let host = rest[..end].rsplit('@').next().unwrap_or_default();
    match &rest[end..] {
        "" | "/" => format!("{scheme}://{host}{}", &rest[end..]),
        _ => format!("{scheme}://{host}{PATH}"),
    }
}

/// Only the references of a template.
pub fn text_of(template: &str) -> String {
    Template::parse(template).map_or_else(|_| HIDDEN.to_owned(), |template| template.redacted())
}

/// All of a contact that may be secret.
fn each(contact: &mut v1::Contact, mut with: impl FnMut(&mut v1::Secret, Sort)) {
    use Sort::{Secret, Url};
    let Some(kind) = &mut contact.kind else { return };
    let (urls, secrets, headers): (Vec<_>, Vec<_>, &mut [v1::Header]) = match kind {
        Kind::Webhook(it) => {
            (it.url.iter_mut().collect(), it.signing_secrets.iter_mut().collect(), &mut it.headers)
        }
        Kind::Pagerduty(it) => {
            (it.url.iter_mut().collect(), it.routing_key.iter_mut().collect(), &mut [])
        }
        Kind::Alertmanager(it) => (it.urls.iter_mut().collect(), Vec::new(), &mut it.headers),
        Kind::Slack(it) => (
            it.url.iter_mut().chain(&mut it.api_url).collect(),
            it.token.iter_mut().collect(),
            &mut [],
        ),
        Kind::Email(it) => {
            let login = it.username.iter_mut().chain(&mut it.password);
            (Vec::new(), login.collect(), &mut [])
        }
        Kind::Ntfy(it) => (it.url.iter_mut().collect(), it.token.iter_mut().collect(), &mut []),
        Kind::Discord(it) => (it.url.iter_mut().collect(), Vec::new(), &mut []),
        Kind::Telegram(it) => (it.url.iter_mut().collect(), it.token.iter_mut().collect(), &mut []),
        Kind::Opsgenie(it) => {
            (it.url.iter_mut().collect(), it.api_key.iter_mut().collect(), &mut [])
        }
        Kind::Teams(it) => (it.url.iter_mut().collect(), Vec::new(), &mut []),
    };
    urls.into_iter().for_each(|secret| with(secret, Url));
    secrets.into_iter().for_each(|secret| with(secret, Secret));
    for value in headers.iter_mut().filter_map(|header| header.value.as_mut()) {
        with(value, Secret);
    }
}
