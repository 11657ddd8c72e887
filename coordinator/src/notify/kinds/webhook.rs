//! Webhooks: the page as JSON or as the contact words it, and signatures over it.
//!
//! Requests are signed as Standard Webhooks 1.0 has it, so that receivers find a library: an id, a
//! time and a signature in three headers, HMAC-SHA256 over `id.time.body`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use parallax_common::page_template;
use parallax_proto::v1::WebhookContact;
use ring::hmac;

use super::{Call, Plan, Telling};

/// What a secret begins with whose rest is the key in base64.
const ENCODED: &str = "whsec_";

pub(super) fn plan(contact: &WebhookContact, telling: &Telling<'_>) -> Result<Plan, String> {
    let Worded { body, content_type, note } = worded(contact, telling)?;
    let values = telling.values;
    let mut call =
        Call::post(values.get("url").to_owned(), body).with("content-type", content_type);
    call.note = note;
    call.headers.extend(values.headers.iter().cloned());
    let secrets = values.all("signing_secrets");
    if !secrets.is_empty() {
        let seconds = telling.now.as_ns() / 1_000_000_000;
        let mut signatures = Vec::with_capacity(secrets.len());
        for secret in secrets {
            signatures.push(format!("v1,{}", signature(secret, telling.key, seconds, &call.body)?));
        }
        call = call
            .with("webhook-id", telling.key)
            .with("webhook-timestamp", seconds.to_string())
            .with("webhook-signature", signatures.join(" "));
    }
    Ok(Plan::one(call))
}

/// What is sent, as what, and what the log has to say of it.
struct Worded {
    body: Vec<u8>,
    content_type: String,
    note: String,
}

/// The page in the contact's words. A template that fails over this one page does not keep it back: it
/// goes out in the form that it has without one.
fn worded(contact: &WebhookContact, telling: &Telling<'_>) -> Result<Worded, String> {
    let unwritten = |error| format!("the page cannot be written as JSON: {error}");
    let mut note = String::new();
    if !contact.template.is_empty() {
        let page = serde_json::to_value(telling.page).map_err(unwritten)?;
        match page_template::render(&contact.template, &page) {
            Ok(text) if spoils(&text, &contact.content_type) => {
                note = "its template makes no JSON of this page".to_owned();
            }
            Ok(text) => {
                let content_type = contact.content_type.clone();
                return Ok(Worded { body: text.into_bytes(), content_type, note });
            }
            Err(error) => note = format!("its template fails over this page: {error}"),
        }
    }
    // From the page itself and not from the value, which has its fields in another order.
    let body = serde_json::to_vec(telling.page).map_err(unwritten)?;
    Ok(Worded { body, content_type: "application/json".to_owned(), note })
}

/// Whether a receiver would be told nothing, or something that it cannot read.
fn spoils(text: &str, content_type: &str) -> bool {
    let is_json = page_template::is_json(content_type);
    text.trim().is_empty()
        || is_json && serde_json::from_str::<serde::de::IgnoredAny>(text).is_err()
}

/// HMAC-SHA256 over what Standard Webhooks says, in base64.
fn signature(secret: &str, id: &str, seconds: i64, body: &[u8]) -> Result<String, String> {
    let key = match secret.strip_prefix(ENCODED) {
        Some(encoded) => STANDARD.decode(encoded).map_err(|_| {
            "config_error: signing_secrets: behind whsec_ there must be base64".to_owned()
        })?,
        None => secret.as_bytes().to_vec(),
    };
    let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
    let mut context = hmac::Context::with_key(&key);
    context.update(format!("{id}.{seconds}.").as_bytes());
    context.update(body);
    Ok(STANDARD.encode(context.sign()))
}
