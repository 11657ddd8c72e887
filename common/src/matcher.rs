//! Matchers: conditions on the labels of something, as people write them: `team=payments`,
//! `team!=search`, `team=~pay.*|shop`, `team!~internal`.
//!
//! A label that is not there counts as an empty one. Patterns fit a whole value, take time linear in
//! it, and are bounded in what they may take.

use std::fmt;

use regex::{Regex, RegexBuilder};

use crate::limits::{
    LABEL_BYTES_MAX, MATCHER_COMPILED_BYTES_MAX, MATCHER_PATTERN_BYTES_MAX, PATTERN_DEPTH_MAX,
};
use crate::rule::{self, Rule};

/// How a matcher compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`
    Pattern,
    /// `!~`
    NotPattern,
}

impl Operator {
    /// As it is written.
    pub const fn sign(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Pattern => "=~",
            Self::NotPattern => "!~",
        }
    }

    /// Whether its value is a pattern.
    pub const fn is_pattern(self) -> bool {
        matches!(self, Self::Pattern | Self::NotPattern)
    }
}

/// One condition.
#[derive(Debug, Clone)]
pub struct Matcher {
    /// The label.
    pub key: String,
    /// How its value is compared.
    pub operator: Operator,
    /// With what.
    pub value: String,
    /// The compiled value of a pattern.
    pattern: Option<Regex>,
}

/// Why a matcher is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MatcherError {
    /// It has no operator.
    #[error(
        "`{0}` is no matcher: write label=value, label!=value, label=~pattern or label!~pattern"
    )]
    NoOperator(String),
    /// Its key could not be that of a label.
    #[error("`{0}` cannot be a label's key")]
    Key(String),
    /// Its value could not be that of a label.
    #[error(
        "the value has {0} bytes or a control character; at most {LABEL_BYTES_MAX} bytes are allowed"
    )]
    Value(usize),
    /// Its pattern is longer than is read.
    #[error("the pattern has {0} bytes; at most {MATCHER_PATTERN_BYTES_MAX} are allowed")]
    PatternTooLong(usize),
    /// Its pattern would take more than it may.
    #[error("the pattern is too large once it is compiled")]
    PatternTooLarge,
    /// Not a regular expression.
    #[error("not a regular expression: {0}")]
    Syntax(String),
}

impl MatcherError {
    /// The rule that it breaks.
    pub const fn rule(&self) -> Rule {
        match self {
            Self::NoOperator(_) | Self::Key(_) | Self::Value(_) => rule::MATCHER_FORMAT,
            Self::PatternTooLong(_) | Self::PatternTooLarge | Self::Syntax(_) => {
                rule::MATCHER_PATTERN
            }
        }
    }
}

impl Matcher {
    /// A matcher, its key and value checked.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(key: &str, operator: Operator, value: &str) -> Result<Self, MatcherError> {
        if !is_label_key(key) {
            return Err(MatcherError::Key(key.to_owned()));
        }
        let pattern = if operator.is_pattern() {
            if value.len() > MATCHER_PATTERN_BYTES_MAX {
                return Err(MatcherError::PatternTooLong(value.len()));
            }
            Some(compile(value)?)
        } else {
            if value.len() > LABEL_BYTES_MAX || value.chars().any(char::is_control) {
                return Err(MatcherError::Value(value.len()));
            }
            None
        };
        Ok(Self { key: key.to_owned(), operator, value: value.to_owned(), pattern })
    }

    /// One that was accepted once. A pattern that this build does not take any more fits nothing.
    pub fn stored(key: &str, operator: Operator, value: &str) -> Self {
        let pattern = operator.is_pattern().then(|| compile(value).ok()).flatten();
        Self { key: key.to_owned(), operator, value: value.to_owned(), pattern }
    }

    /// Reads a matcher as people write it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, MatcherError> {
        let at = text.find(['=', '!']).ok_or_else(|| MatcherError::NoOperator(text.to_owned()))?;
        let (key, rest) = text.split_at(at);
        // The longer ones first: `=~` begins as `=` does.
        let operators =
            [Operator::NotPattern, Operator::Pattern, Operator::NotEqual, Operator::Equal];
        for operator in operators {
            if let Some(value) = rest.strip_prefix(operator.sign()) {
                return Self::new(key.trim(), operator, value);
            }
        }
        Err(MatcherError::NoOperator(text.to_owned()))
    }

    /// Whether a label with this value fits; one that is not there has an empty value.
    pub fn fits(&self, value: &str) -> bool {
        let found = || self.pattern.as_ref().map(|pattern| pattern.is_match(value));
        match self.operator {
            Operator::Equal => self.value == value,
            Operator::NotEqual => self.value != value,
            Operator::Pattern => found() == Some(true),
            Operator::NotPattern => found() == Some(false),
        }
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}{}", self.key, self.operator.sign(), self.value)
    }
}

/// Whether a label may have this key.
pub fn is_label_key(key: &str) -> bool {
    let letter = |b: u8| b.is_ascii_alphanumeric();
    matches!(key.len(), 1..=LABEL_BYTES_MAX)
        && letter(key.as_bytes()[0])
        && key.bytes().all(|b| letter(b) || b"-_./".contains(&b))
}

/// The pattern, which is to fit the whole of a value.
fn compile(source: &str) -> Result<Regex, MatcherError> {
    let build = |source: &str| {
        RegexBuilder::new(source)
            .size_limit(MATCHER_COMPILED_BYTES_MAX)
            .dfa_size_limit(MATCHER_COMPILED_BYTES_MAX)
            .nest_limit(PATTERN_DEPTH_MAX)
            .build()
            .map_err(|error| match error {
                regex::Error::CompiledTooBig(_) => MatcherError::PatternTooLarge,
                // The engine draws the pattern; its last line says what is wrong.
                error => {
                    let text = error.to_string();
                    let said = text.lines().last().unwrap_or_default().trim();
                    MatcherError::Syntax(said.strip_prefix("error: ").unwrap_or(said).to_owned())
                }
            })
    };
    // Alone first: `a)|(b` is none, and would become one between the brackets.
    build(source)?;
    build(&format!("^(?:{source})$"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matchers_are_read_and_fit_as_the_table_says() {
        // Matcher, value, whether it fits.
        for (text, value, fits) in [
            ("team=payments", "payments", true),
            ("team=payments", "payment", false),
            ("team=", "", true),
            ("team=a=b", "a=b", true),
            ("team!=payments", "", true),
            ("team!=payments", "payments", false),
            ("team=~pay.*", "payments", true),
            ("team=~pay", "payments", false),
            ("team=~ments", "payments", false),
            ("team=~pay|shop", "shop", true),
            ("team=~pay|shop", "payshop", false),
            ("team=~.*", "", true),
            ("team!~pay.*", "payments", false),
            ("team!~pay.*", "", true),
            ("team=~\\w+", "zahlungen", true),
            (" team =x", "x", true),
        ] {
            let matcher = Matcher::parse(text).unwrap();
            assert_eq!(matcher.fits(value), fits, "{text} on `{value}`");
            let again = Matcher::parse(&matcher.to_string()).unwrap();
            assert_eq!((again.operator, &again.value), (matcher.operator, &matcher.value));
            let stored = Matcher::stored("team", matcher.operator, &matcher.value);
            assert_eq!(stored.fits(value), fits, "{text} as it is stored");
        }
    }

    #[test]
    fn what_is_no_matcher_says_why() {
        let long = format!("team={}", "x".repeat(LABEL_BYTES_MAX + 1));
        let pattern = format!("team=~{}", "x".repeat(MATCHER_PATTERN_BYTES_MAX + 1));
        for (text, rule, said) in [
            ("team", rule::MATCHER_FORMAT, "no matcher"),
            ("", rule::MATCHER_FORMAT, "no matcher"),
            ("team!x", rule::MATCHER_FORMAT, "no matcher"),
            ("=x", rule::MATCHER_FORMAT, "key"),
            ("te am=x", rule::MATCHER_FORMAT, "key"),
            ("team=a\nb", rule::MATCHER_FORMAT, "control"),
            (long.as_str(), rule::MATCHER_FORMAT, "257 bytes"),
            (pattern.as_str(), rule::MATCHER_PATTERN, "513 bytes"),
            ("team=~(", rule::MATCHER_PATTERN, "regular expression"),
            ("team=~a)|(b", rule::MATCHER_PATTERN, "regular expression"),
            ("team=~(?=a)", rule::MATCHER_PATTERN, "look-around"),
            ("team=~\\w{1000}", rule::MATCHER_PATTERN, "too large"),
        ] {
            let error = Matcher::parse(text).unwrap_err();
            assert_eq!(error.rule(), rule, "{text}");
            assert!(error.to_string().contains(said), "{text}: {error}");
        }
    }

    #[test]
    fn a_stored_pattern_that_is_none_any_more_fits_nothing() {
        for operator in [Operator::Pattern, Operator::NotPattern] {
            assert!(!Matcher::stored("team", operator, "(").fits("x"));
        }
    }
}
