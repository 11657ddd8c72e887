//! Where a step gets tokens.

use parallax_common::check::{OAuth2, is_scope};
use parallax_common::limits::{OAUTH2_SCOPES_MAX, OAUTH2_TEXT_BYTES_MAX};
use parallax_common::rule;
use parallax_common::target::HttpUrl;

use super::{Findings, http, http_url, no_reference, secret_to, template};
use crate::v1;

/// Reads client credentials. What cannot be read is none; that it is wrong is in the findings.
pub(super) fn oauth2(given: &v1::OAuth2, at: &str, findings: &mut Findings<'_>) -> Option<OAuth2> {
    let field = |name: &str| format!("{at}.{name}");
    if http_url(&given.token_url, &field("token_url"), findings).is_some_and(|url| !url.https) {
        let message = "a token, and the secret for it, would travel in the clear; use https";
        findings.add(rule::OAUTH2_URL, field("token_url"), message);
    }
    let client_id = template(given.client_id.as_ref(), &field("client_id"), findings);
    let one_line =
        |text: &str| text.len() <= OAUTH2_TEXT_BYTES_MAX && !text.chars().any(char::is_control);
    if client_id.is_some_and(|id| id.is_empty() || !one_line(id)) {
        let message = "a client id is one line of text";
        findings.add(rule::OAUTH2_TEXT, field("client_id"), message);
    }
    let client_secret =
        http::reference(given.client_secret.as_ref(), &field("client_secret"), findings);
    if given.scopes.len() > OAUTH2_SCOPES_MAX {
        let message = format!(
            "{} scopes are given; at most {OAUTH2_SCOPES_MAX} are allowed",
            given.scopes.len()
        );
        findings.add(rule::OAUTH2_SCOPE, field("scopes"), message);
    }
    for (place, scope) in given.scopes.iter().enumerate() {
        let field = format!("{at}.scopes[{place}]");
        if no_reference(scope, &field, findings) {
            continue;
        }
        if !is_scope(scope) || scope.len() > OAUTH2_TEXT_BYTES_MAX {
            let message = format!("`{scope}` is not one word of ASCII; each scope is an item");
            findings.add(rule::OAUTH2_SCOPE, field, message);
        }
    }
    no_reference(&given.audience, &field("audience"), findings);
    if !one_line(&given.audience) {
        let message = "an audience is one line of text";
        findings.add(rule::OAUTH2_TEXT, field("audience"), message);
    }
    HttpUrl::parse(&given.token_url).ok()?;
    Some(OAuth2 {
        token_url: given.token_url.clone(),
        client_id: client_id?.to_owned(),
        client_secret: client_secret?,
        scopes: given.scopes.clone(),
        audience: (!given.audience.is_empty()).then(|| given.audience.clone()),
    })
}

/// Client credentials as messages carry them.
pub(super) fn oauth2_to(oauth2: &OAuth2) -> v1::OAuth2 {
    v1::OAuth2 {
        token_url: oauth2.token_url.clone(),
        client_id: Some(secret_to(&oauth2.client_id)),
        client_secret: Some(secret_to(&oauth2.client_secret)),
        scopes: oauth2.scopes.clone(),
        audience: oauth2.audience.clone().unwrap_or_default(),
    }
}
