//! Where a token is got before a request is made, and by whom.

/// A client that gets tokens by its own credentials (RFC 6749, 4.4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OAuth2 {
    /// The token endpoint: https.
    pub token_url: String,
    /// May hold references.
    pub client_id: String,
    /// Holds a reference.
    pub client_secret: String,
    /// What is asked for; the provider's choice when empty.
    pub scopes: Vec<String>,
    /// For whom the token is to be; some providers want it said.
    pub audience: Option<String>,
}

/// Whether a text can be a scope (RFC 6749, 3.3): printable ASCII without blank, quote and backslash.
pub fn is_scope(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_is_one_word() {
        for text in ["read", "https://shop.example/.default", "a:b!"] {
            assert!(is_scope(text), "{text}");
        }
        for text in ["", "a b", "a\"b", "a\\b", "\u{e4}", "a\n"] {
            assert!(!is_scope(text), "{text}");
        }
    }
}
