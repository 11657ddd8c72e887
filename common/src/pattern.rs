//! Patterns: regular expressions over what a target sends, admitted under limits.
//!
//! The engine takes time linear in what it looks at, whatever the pattern; what it may cost beyond
//! that is bounded here, when a check is applied: the length of the source, the size of what it is
//! compiled to, and the number of its captures. They look at bytes: what arrives need not be UTF-8.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};

use regex::bytes::{Regex, RegexBuilder};

use crate::limits::{
    CAPTURES_MAX, PATTERN_BYTES_MAX, PATTERN_COMPILED_BYTES_MAX, PATTERN_DEPTH_MAX,
    PATTERNS_KEPT_MAX,
};

/// Why a text is no pattern that is taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// It is found everywhere, also where nothing has arrived.
    #[error(
        "the pattern is found in nothing, so it expects nothing; leave it out, or ask for a character"
    )]
    Empty,
    /// Longer than is read.
    #[error("the pattern has {0} bytes; at most {PATTERN_BYTES_MAX} are allowed")]
    TooLong(usize),
    /// It would take more than it may.
    #[error("the pattern is too large once it is compiled; repeat less, or fewer characters")]
    TooLarge,
    /// More captures than a dialogue keeps.
    #[error("the pattern has {0} groups; at most {CAPTURES_MAX} are allowed")]
    TooManyCaptures(usize),
    /// Not a regular expression.
    #[error("{0}")]
    Syntax(String),
}

/// A compiled pattern. Shared: the same source is compiled once while it is in use.
#[derive(Debug)]
pub struct Pattern {
    regex: Regex,
}

/// What a pattern found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Where the match ends.
    pub end: usize,
    /// What the named groups took, by name; a group that took no part is empty.
    pub captures: Vec<(String, Vec<u8>)>,
}

/// Patterns by source. A memo: it changes what admission costs, never what it says.
static INTERNED: LazyLock<Mutex<Interned>> = LazyLock::new(Mutex::default);

#[derive(Default)]
struct Interned {
    // Unordered: looked up, never gone through but to drop what is dead.
    by_source: HashMap<String, Weak<Pattern>>,
    /// The newest stay alive between two uses.
    kept: VecDeque<Arc<Pattern>>,
}

impl Interned {
    fn keep(&mut self, source: &str, pattern: &Arc<Pattern>) {
        if self.kept.len() == PATTERNS_KEPT_MAX {
            self.kept.pop_front();
            if self.by_source.len() > 2 * PATTERNS_KEPT_MAX {
                self.by_source.retain(|_, pattern| pattern.strong_count() > 0);
            }
        }
        self.kept.push_back(Arc::clone(pattern));
        self.by_source.insert(source.to_owned(), Arc::downgrade(pattern));
    }
}

impl Pattern {
    /// Compiles a pattern and checks every limit.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn admit(source: &str) -> Result<Arc<Self>, PatternError> {
        // A panic elsewhere cannot leave a memo half written in a way that matters.
        let interned = || INTERNED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pattern) = interned().by_source.get(source).and_then(Weak::upgrade) {
            return Ok(pattern);
        }
        let pattern = Arc::new(Self::compile(source)?);
        interned().keep(source, &pattern);
        Ok(pattern)
    }

    fn compile(source: &str) -> Result<Self, PatternError> {
        if source.is_empty() {
            return Err(PatternError::Empty);
        }
        if source.len() > PATTERN_BYTES_MAX {
            return Err(PatternError::TooLong(source.len()));
        }
        let regex = RegexBuilder::new(source)
            .size_limit(PATTERN_COMPILED_BYTES_MAX)
            .dfa_size_limit(PATTERN_COMPILED_BYTES_MAX)
            .nest_limit(PATTERN_DEPTH_MAX)
            .build()
            .map_err(|error| match error {
                regex::Error::CompiledTooBig(_) => PatternError::TooLarge,
                // The engine draws the pattern and points into it; the last line says what is wrong.
                error => {
                    let text = error.to_string();
                    let said = text.lines().last().unwrap_or_default().trim();
                    let said = said.strip_prefix("error: ").unwrap_or(said);
                    PatternError::Syntax(format!("not a regular expression: {said}"))
                }
            })?;
        if regex.is_match(b"") {
            return Err(PatternError::Empty);
        }
        // Those without a name, too: the engine keeps two places for each group in each state.
        match regex.captures_len().saturating_sub(1) {
            count if count > CAPTURES_MAX => Err(PatternError::TooManyCaptures(count)),
            _ => Ok(Self { regex }),
        }
    }

    /// The names of its groups, in order.
    pub fn captures(&self) -> impl Iterator<Item = &str> {
        self.regex.capture_names().flatten()
    }

    /// The first match in these bytes.
    pub fn find(&self, bytes: &[u8]) -> Option<Found> {
        // Most looks find nothing, and without captures they cost much less.
        if !self.regex.is_match(bytes) {
            return None;
        }
        let groups = self.regex.captures(bytes)?;
        let captures = self.captures().map(|name| {
            let taken = groups.name(name).map(|taken| taken.as_bytes().to_vec());
            (name.to_owned(), taken.unwrap_or_default())
        });
        Some(Found { end: groups.get(0)?.end(), captures: captures.collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_finds_and_names_what_it_finds() {
        for (source, text, found) in [
            ("^220 ", "220 mail", Some((4, &[][..]))),
            ("^220 ", " 220 mail", None),
            (r"id=(?P<id>\d+)", "a id=42;", Some((7, &[("id", "42")]))),
            (r"(?<a>x)|(?<b>y)", "y", Some((1, &[("a", ""), ("b", "y")]))),
            (r"(?-u:\xff)", "\u{ff}", None),
        ] {
            let pattern = Pattern::admit(source).unwrap();
            let wanted = found.map(|(end, captures)| {
                let of =
                    |(name, text): &(&str, &str)| ((*name).to_owned(), text.as_bytes().to_vec());
                Found { end, captures: captures.iter().map(of).collect() }
            });
            assert_eq!(pattern.find(text.as_bytes()), wanted, "{source}");
        }
        let bytes = Pattern::admit(r"(?-u:\xff(?<rest>.))").unwrap();
        let found = bytes.find(&[0, 255, 254]).unwrap();
        assert_eq!((found.end, found.captures), (3, vec![("rest".to_owned(), vec![254])]));
    }

    #[test]
    fn what_may_cost_too_much_is_refused() {
        let long = "a".repeat(PATTERN_BYTES_MAX + 1);
        let deep = format!("{}a{}", "(".repeat(100), ")".repeat(100));
        let groups: String = (0..=CAPTURES_MAX).map(|n| format!("(?<g{n}>a)")).collect();
        for (source, said) in [
            ("", "expects nothing"),
            ("x*", "expects nothing"),
            ("(?<all>.*)", "expects nothing"),
            (long.as_str(), "at most 1024"),
            (r"\w{1000}{1000}", "too large"),
            (r"(?:\pL{200}){200}", "too large"),
            (deep.as_str(), "nest"),
            (groups.as_str(), "17 groups"),
            ("()()()()()()()()()()()()()()()()()a", "17 groups"),
            ("a(", "unclosed group"),
            (r"(?=a)", "look-around"),
            (r"(a)\1", "backreferences"),
            ("(?<a>x)(?<a>y)", "duplicate"),
        ] {
            let error = Pattern::admit(source).unwrap_err().to_string();
            assert!(error.contains(said) && !error.contains('\n'), "{source}: {error}");
        }
    }

    #[test]
    fn one_source_is_compiled_once() {
        let one = Pattern::admit("compiled (?<once>.)").unwrap();
        assert!(Arc::ptr_eq(&one, &Pattern::admit("compiled (?<once>.)").unwrap()));
    }
}
