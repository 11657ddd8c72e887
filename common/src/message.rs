//! Texts that are sent in a dialogue: `%{name}` stands for what an earlier pattern captured, and
//! `%%{` for a plain `%{`. Between captures there may be references ([`crate::secret`]).
//!
//! A capture is filled in as it came and is never looked at again: a target cannot have a reference
//! resolved, nor another capture.

use crate::limits::CAPTURES_MAX;
use crate::secret::{Template, TemplateError};

/// A text that is sent, taken apart.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Message {
    parts: Vec<Part>,
}

/// A part of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// A text that may hold references, as written.
    Template(String),
    /// What the group of this name took.
    Capture(String),
}

/// Why a text is no message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// `%{` without `}`.
    #[error("a capture that begins with `%{{` must end with `}}`; write `%%{{` for a plain `%{{`")]
    Unclosed,
    /// Not what a group can be called.
    #[error("`{0}` is not the name of a group: use letters, digits and `_`")]
    Name(String),
    /// More than are filled in.
    #[error("{0} captures are filled in; at most {CAPTURES_MAX} are allowed")]
    TooMany(usize),
    /// What stands between them is no template.
    #[error(transparent)]
    Template(#[from] TemplateError),
}

impl Message {
    /// Takes a text apart. One without `%{` and `${` is itself.
    ///
    /// # Errors
    /// A capture or a reference that is not closed or cannot be, or too many captures.
    pub fn parse(text: &str) -> Result<Self, MessageError> {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('%') {
            plain.push_str(&rest[..at]);
            rest = &rest[at..];
            if let Some(after) = rest.strip_prefix("%%{") {
                plain.push_str("%{");
                rest = after;
            } else if let Some(after) = rest.strip_prefix("%{") {
                let (name, after) = after.split_once('}').ok_or(MessageError::Unclosed)?;
                if !is_group(name) {
                    return Err(MessageError::Name(name.to_owned()));
                }
                if !plain.is_empty() {
                    parts.push(Part::Template(std::mem::take(&mut plain)));
                }
                parts.push(Part::Capture(name.to_owned()));
                rest = after;
            } else {
                plain.push('%');
                rest = &rest[1..];
            }
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            parts.push(Part::Template(plain));
        }
        for part in &parts {
            if let Part::Template(text) = part {
                Template::parse(text)?;
            }
        }
        let message = Self { parts };
        match message.captures().count() {
            count if count > CAPTURES_MAX => Err(MessageError::TooMany(count)),
            _ => Ok(message),
        }
    }

    /// Its parts, in order.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The names of the captures that it fills in, repeats included.
    pub fn captures(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Capture(name) => Some(name.as_str()),
            Part::Template(_) => None,
        })
    }
}

/// As the engine of patterns has it, less what nobody types.
fn is_group(name: &str) -> bool {
    let first = name.chars().next();
    first.is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(text: &str) -> String {
        let message = Message::parse(text).unwrap();
        let part = |part: &Part| match part {
            Part::Template(text) => format!("[{text}]"),
            Part::Capture(name) => format!("<{name}>"),
        };
        message.parts().iter().map(part).collect()
    }

    #[test]
    fn captures_are_found_and_escapes_are_not() {
        for (text, parts) in [
            ("", ""),
            ("EHLO probe\r\n", "[EHLO probe\r\n]"),
            ("%{id}", "<id>"),
            ("a %{id} b%{_x9}", "[a ]<id>[ b]<_x9>"),
            ("100% sure %s %%", "[100% sure %s %%]"),
            ("%%{id}", "[%{id}]"),
            ("%%%{id}", "[%%{id}]"),
            ("PASS ${env:PW}\r\n%{id}", "[PASS ${env:PW}\r\n]<id>"),
            ("$${env:PW}", "[$${env:PW}]"),
        ] {
            assert_eq!(shown(text), parts, "{text}");
        }
    }

    #[test]
    fn what_is_no_message_is_refused() {
        for (text, error) in [
            ("%{id", MessageError::Unclosed),
            ("%{}", MessageError::Name(String::new())),
            ("%{a b}", MessageError::Name("a b".to_owned())),
            ("%{1}", MessageError::Name("1".to_owned())),
            ("${vault:x}", TemplateError::UnknownKind("vault:x".to_owned()).into()),
            ("${env:A%{id}", TemplateError::Unclosed.into()),
        ] {
            assert_eq!(Message::parse(text), Err(error), "{text}");
        }
        let many = "%{a}".repeat(CAPTURES_MAX + 1);
        assert_eq!(Message::parse(&many), Err(MessageError::TooMany(CAPTURES_MAX + 1)));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[%${}a:env_ ]{0,24}") {
            let _ = Message::parse(&text);
        }
    }
}
