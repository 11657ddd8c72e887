//! Values that one step of a run captures and a later one fills in: `${capture:NAME}`.
//!
//! In texts that hold references a capture is one of them ([`crate::secret::Reference`]). URLs and bodies
//! hold captures and no other reference: there whatever is not `${capture:NAME}` stays as it is.

use std::collections::BTreeMap;

/// What begins a capture in a URL or a body.
const BEGIN: &str = "${capture:";

/// Captured so far, by name. What is in it is nobody's business.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Captured(BTreeMap<String, String>);

impl std::fmt::Debug for Captured {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Captured {
    /// Takes a value; one of the same name is replaced.
    pub fn take(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.0.insert(name.into(), value.into());
    }

    /// The value of this name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The same names, each with this value.
    pub fn with_each(&self, value: &str) -> Self {
        Self(self.0.keys().map(|name| (name.clone(), value.to_owned())).collect())
    }

    /// All values.
    pub fn values(&self) -> impl Iterator<Item = &str> {
        self.0.values().map(String::as_str)
    }
}

/// Whether a capture can be called so: a letter or `_`, then letters, digits and `_`.
pub fn is_name(name: &str) -> bool {
    let first = name.chars().next();
    name.len() <= 63
        && first.is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// A part of a URL or a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece<'t> {
    /// As it is.
    Text(&'t str),
    /// To be filled in.
    Capture(&'t str),
}

/// Takes a URL or a body apart. What begins like a capture and is none is an error.
///
/// # Errors
/// The text from there, when it has no end or no name.
pub fn pieces(text: &str) -> Result<Vec<Piece<'_>>, String> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(BEGIN) {
        let (before, from) = rest.split_at(at);
        let inner = &from[BEGIN.len()..];
        let name = inner.split_once('}').map(|(name, _)| name).filter(|name| is_name(name));
        let Some(name) = name else {
            let shown: String = from.chars().take(40).collect();
            return Err(format!("`{shown}` is not a capture such as ${{capture:token}}"));
        };
        if !before.is_empty() {
            pieces.push(Piece::Text(before));
        }
        pieces.push(Piece::Capture(name));
        rest = &inner[name.len() + 1..];
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest));
    }
    Ok(pieces)
}

/// The text with each capture replaced by what `fill` makes of its name.
///
/// # Errors
/// It cannot be taken apart, or the first error of `fill`.
pub fn filled<E: From<String>>(
    text: &str,
    mut fill: impl FnMut(&str) -> Result<String, E>,
) -> Result<String, E> {
    let mut out = String::with_capacity(text.len());
    for piece in pieces(text)? {
        match piece {
            Piece::Text(text) => out.push_str(text),
            Piece::Capture(name) => out.push_str(&fill(name)?),
        }
    }
    Ok(out)
}

/// A value as it stands in a path or a query: all but letters, digits, `-`, `.`, `_` and `~` in
/// percent-encoding (RFC 3986, 2.3). `None` for one that would be a step through directories.
pub fn url_encoded(value: &str) -> Option<String> {
    if matches!(value, "." | "..") {
        return None;
    }
    let mut out = String::with_capacity(value.len());
    for byte in value.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn captures_are_found_and_all_else_stays() {
        let fill = |name: &str| Ok::<_, String>(format!("<{name}>"));
        for (text, wanted) in [
            ("", Ok("")),
            ("plain ${env:A} $${x} %{y}", Ok("plain ${env:A} $${x} %{y}")),
            ("${capture:a}", Ok("<a>")),
            ("/x/${capture:id}?t=${capture:_t9}.", Ok("/x/<id>?t=<_t9>.")),
            ("$${capture:a}", Ok("$<a>")),
            ("${capture:a", Err("`${capture:a` is not a capture such as ${capture:token}")),
            ("${capture:}", Err("`${capture:}` is not a capture such as ${capture:token}")),
            ("${capture:a b}", Err("`${capture:a b}` is not a capture such as ${capture:token}")),
        ] {
            let found = filled(text, fill);
            assert_eq!(found.as_deref().map_err(String::as_str), wanted, "{text}");
        }
    }

    #[test]
    fn what_stands_in_a_url_leads_nowhere_else() {
        for (value, wanted) in [
            ("a-Z_0.9~", Some("a-Z_0.9~")),
            ("a/../b", Some("a%2F..%2Fb")),
            ("?x=1&y#z", Some("%3Fx%3D1%26y%23z")),
            ("é %", Some("%C3%A9%20%25")),
            (".", None),
            ("..", None),
            ("...", Some("...")),
        ] {
            assert_eq!(url_encoded(value).as_deref(), wanted, "{value}");
        }
    }

    #[test]
    fn what_was_captured_is_not_shown() {
        let mut captured = Captured::default();
        captured.take("token", "s3cret");
        assert_eq!(format!("{captured:?}"), "{\"token\"}");
        assert_eq!(captured.with_each("0").get("token"), Some("0"));
        assert_eq!(captured.get("token"), Some("s3cret"));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[${}capture:a ]{0,40}") {
            let _ = pieces(&text);
        }
    }
}
