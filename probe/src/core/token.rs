//! What is asked of a token endpoint, and what its answer means (RFC 6749, 4.4 and 5).

use std::time::Duration;

use parallax_common::limits::{
    TOKEN_BYTES_MAX, TOKEN_LIFE_DEFAULT, TOKEN_LIFE_MAX, TOKEN_MARGIN_MAX,
};
use parallax_common::target::form_encoded;

/// A token, and how long it can be used.
#[derive(Clone, PartialEq, Eq)]
pub struct Granted {
    /// Sent as it is.
    pub token: String,
    /// From now on. A margin for the way to the target is taken off.
    pub usable: Duration,
}

impl std::fmt::Debug for Granted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Granted({:?})", self.usable)
    }
}

/// Why there is no token. The texts hold nothing that a provider could hide a secret in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoToken {
    /// The provider says no to this client.
    Refused(String),
    /// It does not work, or its answer is none.
    Failed(String),
}

/// The form that is posted.
pub fn form(scopes: &[String], audience: Option<&str>) -> String {
    let mut form = "grant_type=client_credentials".to_owned();
    if !scopes.is_empty() {
        form.push_str(&format!("&scope={}", form_encoded(&scopes.join(" "))));
    }
    if let Some(audience) = audience {
        form.push_str(&format!("&audience={}", form_encoded(audience)));
    }
    form
}

/// Reads the answer.
///
/// # Errors
/// There is no token in it that can be used.
pub fn read(status: u16, body: &[u8]) -> Result<Granted, NoToken> {
    let failed = |why: &str| Err(NoToken::Failed(format!("status {status}: {why}")));
    let json: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    match status {
        200..=299 => {}
        // Too early or too often says nothing of the client.
        408 | 429 => return failed("the provider wants to be asked later"),
        400..=499 => {
            let code = json.as_ref().and_then(|json| json.get("error")?.as_str());
            let known = |code: &&str| ERRORS.contains(code);
            let code = code.filter(known).unwrap_or("it does not say why");
            return Err(NoToken::Refused(format!("status {status}: {code}")));
        }
        _ => return failed("no answer to the question"),
    }
    let Some(json) = json else { return failed("the answer is not JSON") };
    let Some(token) = json.get("access_token").and_then(|token| token.as_str()) else {
        return failed("there is no access_token in the answer");
    };
    if token.is_empty() || token.len() > TOKEN_BYTES_MAX {
        return failed("the access_token is empty, or too long to be sent");
    }
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return failed("the access_token cannot be sent");
    }
    let kind = json.get("token_type").and_then(|kind| kind.as_str()).unwrap_or("bearer");
    if !kind.eq_ignore_ascii_case("bearer") {
        return failed("the token is of another type than bearer");
    }
    Ok(Granted { token: token.to_owned(), usable: usable(life(json.get("expires_in"))) })
}

/// Codes of RFC 6749, 5.2. Others are not shown.
const ERRORS: [&str; 6] = [
    "invalid_request",
    "invalid_client",
    "invalid_grant",
    "unauthorized_client",
    "unsupported_grant_type",
    "invalid_scope",
];

/// Seconds, which some providers write as a text.
fn life(given: Option<&serde_json::Value>) -> Duration {
    let seconds = given.and_then(|given| {
        given.as_f64().or_else(|| given.as_str().and_then(|text| text.parse().ok()))
    });
    match seconds {
        Some(seconds) if seconds.is_finite() && seconds >= 0.0 => {
            Duration::from_secs_f64(seconds.min(TOKEN_LIFE_MAX.as_secs_f64()))
        }
        _ => TOKEN_LIFE_DEFAULT,
    }
}

/// A token is not used in its last moments: it might be over when it arrives.
fn usable(life: Duration) -> Duration {
    life - TOKEN_MARGIN_MAX.min(life / 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_says_what_is_wanted() {
        assert_eq!(form(&[], None), "grant_type=client_credentials");
        let scopes = ["read".to_owned(), "a/b".to_owned()];
        assert_eq!(
            form(&scopes, Some("https://shop")),
            "grant_type=client_credentials&scope=read+a%2Fb&audience=https%3A%2F%2Fshop"
        );
    }

    #[test]
    fn an_answer_is_a_token_or_says_why_not() {
        let seconds = Duration::from_secs;
        for (body, usable) in [
            (
                r#"{"access_token": "t", "token_type": "Bearer", "expires_in": 3600}"#,
                seconds(3_570),
            ),
            (r#"{"access_token": "t", "expires_in": "100"}"#, seconds(90)),
            (r#"{"access_token": "t", "expires_in": 10}"#, seconds(9)),
            (r#"{"access_token": "t", "expires_in": 0}"#, Duration::ZERO),
            (r#"{"access_token": "t"}"#, seconds(270)),
            (r#"{"access_token": "t", "expires_in": -5}"#, seconds(270)),
            (r#"{"access_token": "t", "expires_in": 1e300}"#, seconds(86_370)),
        ] {
            let granted = read(200, body.as_bytes()).unwrap();
            assert_eq!((granted.token.as_str(), granted.usable), ("t", usable), "{body}");
        }
        let long = format!(r#"{{"access_token": "{}"}}"#, "x".repeat(TOKEN_BYTES_MAX + 1));
        for (status, body, refused, says) in [
            (400, r#"{"error": "invalid_scope"}"#, true, "invalid_scope"),
            (401, r#"{"error": "invalid_client", "access_token": "t"}"#, true, "invalid_client"),
            (401, r#"{"error": "hunter2"}"#, true, "does not say why"),
            (403, "<html>", true, "status 403"),
            (404, "", true, "status 404"),
            (429, "{}", false, "later"),
            (500, r#"{"error": "invalid_client"}"#, false, "status 500"),
            (302, "", false, "status 302"),
            (200, "<html>", false, "not JSON"),
            (200, "{}", false, "no access_token"),
            (200, r#"{"access_token": 5}"#, false, "no access_token"),
            (200, r#"{"access_token": ""}"#, false, "empty"),
            (200, r#"{"access_token": "a\nb"}"#, false, "cannot be sent"),
            (200, r#"{"access_token": "t", "token_type": "mac"}"#, false, "another type"),
            (200, long.as_str(), false, "too long"),
        ] {
            match (read(status, body.as_bytes()), refused) {
                (Err(NoToken::Refused(why)), true) | (Err(NoToken::Failed(why)), false) => {
                    assert!(why.contains(says), "{body}: {why}");
                }
                (other, _) => panic!("{body}: {other:?}"),
            }
        }
    }
}
