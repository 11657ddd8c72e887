//! A URL of this member's own configuration, as a contact.
//!
//! It takes the references that contacts take. They need no `--allow-env`: whoever may edit contacts
//! cannot write these, and what they name is what this process was started with.

use std::path::PathBuf;

use parallax_common::secret::{Reference, Template};
use parallax_proto::v1::{Contact, Meta, Secret, WebhookContact, contact, secret};

use crate::notify::secrets::Secrets;

/// Uid of the contact that hears of a lost quorum.
pub const UID: &str = "quorum";

/// Checks a URL that may hold references: clap's parser for it.
///
/// # Errors
/// What is wrong with it.
pub fn url(text: &str) -> Result<String, String> {
    let template = Template::parse(text).map_err(|error| error.to_string())?;
    if template.references().any(|reference| matches!(reference, Reference::Capture(_))) {
        return Err(
            "may hold ${env:NAME} and ${file:PATH}, nothing that a check captures".to_owned()
        );
    }
    if let Some(plain) = template.plain() {
        let uri: http::Uri = plain.parse().map_err(|_| "must be a URL".to_owned())?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.authority().is_none() {
            return Err("must be an http or https URL with a host".to_owned());
        }
    }
    Ok(text.to_owned())
}

/// The value as contacts hold it.
pub fn template(text: &str) -> Secret {
    Secret { value: Some(secret::Value::Template(text.to_owned())) }
}

/// What these URLs refer to, and nothing else.
pub fn secrets<'a>(urls: impl IntoIterator<Item = &'a str>) -> Secrets {
    let (mut env, mut files) = (Vec::new(), Vec::new());
    for template in urls.into_iter().filter_map(|url| Template::parse(url).ok()) {
        for reference in template.references() {
            match reference {
                Reference::Env(name) => env.push(name.clone()),
                Reference::File(path) => files.push(PathBuf::from(path)),
                // Refused when the URL was read.
                Reference::Capture(_) => {}
            }
        }
    }
    Secrets::new(env, files)
}

/// The contact behind `--quorum-webhook`.
pub fn webhook(url: &str) -> Contact {
    let meta = Meta { uid: UID.to_owned(), name: "quorum-webhook".to_owned(), ..Meta::default() };
    let webhook = WebhookContact { url: Some(template(url)), ..WebhookContact::default() };
    Contact { meta: Some(meta), kind: Some(contact::Kind::Webhook(webhook)), ..Contact::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_checked_as_far_as_it_is_known() {
        for good in
            ["https://h.example/x", "http://127.0.0.1:1/", "${env:URL}", "https://${file:/a}"]
        {
            assert_eq!(url(good).as_deref(), Ok(good));
        }
        for bad in [
            "",
            "h.example/x",
            "ftp://h.example/",
            "${env:URL",
            "${vault:x}",
            "http://",
            "${capture:x}",
        ] {
            assert!(url(bad).is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn what_the_operator_wrote_is_allowed_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("url");
        std::fs::write(&path, "https://h.example/\n").unwrap();
        let written = format!("${{file:{}}}", path.display());
        let secrets = secrets([written.as_str(), "http://plain.example/"]);
        let value = secrets.resolve(Some(&template(&written)), &mut vec![]).await.unwrap();
        assert_eq!(value, "https://h.example/");
        assert!(secrets.resolve(Some(&template("${env:PATH}")), &mut vec![]).await.is_err());
    }
}
