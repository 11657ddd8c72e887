//! Values that may hold references: `${env:NAME}`, `${file:PATH}`, and in the steps of a check
//! `${capture:NAME}`, with `$${` for a plain `${`.
//!
//! Stored, exported and shown as written; resolved only where they are used, by a shell that owns
//! the environment and the files. Nothing here reads either.

use std::fmt;

/// A reference to a value that lives elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reference {
    /// An environment variable.
    Env(String),
    /// The content of a file, without one newline at its end.
    File(String),
    /// What an earlier step of the run has captured.
    Capture(String),
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "${{env:{name}}}"),
            Self::File(path) => write!(f, "${{file:{path}}}"),
            Self::Capture(name) => write!(f, "${{capture:{name}}}"),
        }
    }
}

/// Text with references in it, parsed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Reference(Reference),
}

/// Why a text is not a template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// `${` without `}`.
    #[error(
        "a reference that begins with `${{` must end with `}}`; write `$${{` for a plain `${{`"
    )]
    Unclosed,
    /// Neither `env:` nor `file:` nor `capture:`.
    #[error("`${{{0}}}` is not a reference: use ${{env:NAME}} or ${{file:PATH}}")]
    UnknownKind(String),
    /// Not a name an environment variable can have.
    #[error("`{0}` is not the name of an environment variable: use letters, digits and `_`")]
    EnvName(String),
    /// Not a name a capture can have.
    #[error("`{0}` is not the name of a capture: use letters, digits and `_`")]
    CaptureName(String),
    /// Not an absolute path.
    #[error("`{0}` is not an absolute path")]
    FilePath(String),
}

impl Template {
    /// Parses a text. One without `${` is itself.
    ///
    /// # Errors
    /// A reference that is not closed, of an unknown kind, or with a name that cannot be.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            plain.push_str(&rest[..at]);
            rest = &rest[at..];
            if let Some(after) = rest.strip_prefix("$${") {
                plain.push_str("${");
                rest = after;
            } else if let Some(after) = rest.strip_prefix("${") {
                let (inner, after) = after.split_once('}').ok_or(TemplateError::Unclosed)?;
                if !plain.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut plain)));
                }
                parts.push(Part::Reference(reference(inner)?));
                rest = after;
            } else {
                plain.push('$');
                rest = &rest[1..];
            }
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        Ok(Self { parts })
    }

    /// The references, in order, repeats included.
    pub fn references(&self) -> impl Iterator<Item = &Reference> {
        self.parts.iter().filter_map(|part| match part {
            Part::Reference(reference) => Some(reference),
            Part::Text(_) => None,
        })
    }

    /// The text, when there is no reference in it.
    pub fn plain(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [] => Some(""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// The text with every reference replaced by what `lookup` says.
    ///
    /// # Errors
    /// The first error of `lookup`.
    pub fn resolve<E>(
        &self,
        mut lookup: impl FnMut(&Reference) -> Result<String, E>,
    ) -> Result<String, E> {
        let mut out = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Reference(reference) => out.push_str(&lookup(reference)?),
            }
        }
        Ok(out)
    }

    /// What may be shown where the value is nobody's business: references as written, any other
    /// text as `***`.
    pub fn redacted(&self) -> String {
        self.parts
            .iter()
            .map(|part| match part {
                Part::Text(_) => "***".to_owned(),
                Part::Reference(reference) => reference.to_string(),
            })
            .collect()
    }
}

/// The template as it would be written: parsing it gives the same template.
impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parts.iter().try_for_each(|part| match part {
            Part::Text(text) => f.write_str(&text.replace("${", "$${")),
            Part::Reference(reference) => reference.fmt(f),
        })
    }
}

fn reference(inner: &str) -> Result<Reference, TemplateError> {
    if let Some(name) = inner.strip_prefix("env:") {
        let fits = !name.is_empty()
            && !name.starts_with(|c: char| c.is_ascii_digit())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        return match fits {
            true => Ok(Reference::Env(name.to_owned())),
            false => Err(TemplateError::EnvName(name.to_owned())),
        };
    }
    if let Some(path) = inner.strip_prefix("file:") {
        return match path.len() > 1 && path.starts_with('/') {
            true => Ok(Reference::File(path.to_owned())),
            false => Err(TemplateError::FilePath(path.to_owned())),
        };
    }
    if let Some(name) = inner.strip_prefix("capture:") {
        return match crate::capture::is_name(name) {
            true => Ok(Reference::Capture(name.to_owned())),
            false => Err(TemplateError::CaptureName(name.to_owned())),
        };
    }
    Err(TemplateError::UnknownKind(inner.to_owned()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn resolve(text: &str) -> String {
        let lookup = |reference: &Reference| {
            Ok::<_, std::convert::Infallible>(match reference {
                Reference::Env(name) => format!("<{name}>"),
                Reference::File(path) => format!("[{path}]"),
                Reference::Capture(name) => format!("({name})"),
            })
        };
        Template::parse(text).unwrap().resolve(lookup).unwrap()
    }

    #[test]
    fn references_are_found_and_escapes_are_not() {
        for (text, resolved, redacted) in [
            ("", "", ""),
            ("plain", "plain", "***"),
            ("${env:A_1}", "<A_1>", "${env:A_1}"),
            ("Bearer ${env:T}", "Bearer <T>", "***${env:T}"),
            ("${env:A}${file:/run/s}", "<A>[/run/s]", "${env:A}${file:/run/s}"),
            ("$${env:A}", "${env:A}", "***"),
            ("x${capture:a_1}", "x(a_1)", "***${capture:a_1}"),
            ("a$b$$c$", "a$b$$c$", "***"),
            ("$$${env:A}", "$${env:A}", "***"),
        ] {
            assert_eq!(resolve(text), resolved, "{text}");
            assert_eq!(Template::parse(text).unwrap().redacted(), redacted, "{text}");
        }
    }

    #[test]
    fn what_is_not_a_reference_is_refused() {
        use TemplateError::*;
        for (text, error) in [
            ("${env:A", Unclosed),
            ("${A}", UnknownKind("A".to_owned())),
            ("${}", UnknownKind(String::new())),
            ("${env:}", EnvName(String::new())),
            ("${env:1A}", EnvName("1A".to_owned())),
            ("${env:A-B}", EnvName("A-B".to_owned())),
            ("${capture:a-b}", CaptureName("a-b".to_owned())),
            ("${file:run/s}", FilePath("run/s".to_owned())),
            ("${file:/}", FilePath("/".to_owned())),
        ] {
            assert_eq!(Template::parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn a_lookup_that_fails_fails_the_whole() {
        let template = Template::parse("a ${env:MISSING} b").unwrap();
        assert_eq!(
            template.resolve(|reference| Err(reference.clone())),
            Err(Reference::Env("MISSING".to_owned()))
        );
    }

    proptest! {
        #[test]
        fn what_is_shown_parses_to_the_same(text in "[a${}:env/]{0,24}") {
            if let Ok(template) = Template::parse(&text) {
                prop_assert_eq!(Template::parse(&template.to_string()), Ok(template));
            }
        }
    }
}
