//! Selectors: which resources somebody means, by their labels, as they are written behind `-l`:
//! `team=payments,tier!=test,zone in (a,b),!old`.
//!
//! The grammar is the one that people know from Kubernetes: requirements between commas, all of which
//! must hold. A label of ours may hold what would end a value there: such a value stands in double
//! quotes. Nothing is a pattern; the conditions of silences and routes, which have patterns, are in
//! [`crate::matcher`].

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::limits::{LABEL_BYTES_MAX, SELECTOR_BYTES_MAX};
use crate::matcher::is_label_key;

/// Which resources are meant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selector {
    requirements: Vec<Requirement>,
}

/// One condition on one label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    /// The label.
    pub key: String,
    /// What is asked of it.
    pub test: Test,
}

/// What is asked of a label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Test {
    /// It is there, and has one of these values: `=`, `==`, `in`.
    Among(BTreeSet<String>),
    /// It is not there, or has none of these values: `!=`, `notin`.
    NotAmong(BTreeSet<String>),
    /// It is there: `key`.
    There,
    /// It is not there: `!key`.
    Absent,
}

/// Where a selector ends to be one, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("column {column}: {problem}")]
pub struct SelectorError {
    /// In characters, from 1.
    pub column: usize,
    /// What is wrong there.
    pub problem: Problem,
}

/// What is wrong with a selector.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// No requirement stands here.
    #[error(
        "a label's key is missing: write key=value, key!=value, key in (a,b), key notin (a,b), key or !key"
    )]
    NoKey,
    /// It could not be the key of a label.
    #[error("`{0}` cannot be a label's key")]
    Key(String),
    /// Something else than an operator stands behind a key.
    #[error(
        "`{0}` is no operator: it is one of =, ==, !=, in and notin, and a comma stands between requirements"
    )]
    Operator(String),
    /// `!key` says all that it can.
    #[error("nothing but a comma may stand behind !{0}")]
    AfterAbsent(String),
    /// `in` and `notin` take values in brackets.
    #[error("`(` must stand behind {0}, as in key {0} (a,b)")]
    NoBracket(&'static str),
    /// A value is missing inside brackets.
    #[error("a value is missing; an empty one is written \"\"")]
    NoValue,
    /// Brackets are not closed.
    #[error("`)` or a comma must stand here")]
    Open,
    /// A value goes on where it cannot.
    #[error(
        "`{0}` must not stand behind a value: a comma comes before the next requirement, and a value with such signs stands in \"quotes\""
    )]
    AfterValue(String),
    /// `=~` belongs to matchers.
    #[error(
        "a selector has no patterns, as matchers have: write key in (a,b), or the value in quotes"
    )]
    Pattern,
    /// A quote without its end.
    #[error("this quote has no end")]
    Quote,
    /// No label has such a value.
    #[error(
        "the value has {0} bytes or a control character; a label has at most {LABEL_BYTES_MAX} bytes and none"
    )]
    Value(usize),
    /// More than is read.
    #[error("the selector has {0} bytes; at most {SELECTOR_BYTES_MAX} are allowed")]
    TooLong(usize),
}

impl Selector {
    /// Reads a selector as people write it.
    ///
    /// # Errors
    /// Where it is none, and why.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        if text.len() > SELECTOR_BYTES_MAX {
            return Err(SelectorError { column: 1, problem: Problem::TooLong(text.len()) });
        }
        let mut reader = Reader { text, at: 0 };
        let mut requirements = vec![reader.requirement()?];
        while reader.takes(",") {
            requirements.push(reader.requirement()?);
        }
        Ok(Self { requirements })
    }

    /// What fits both.
    #[must_use]
    pub fn and(mut self, other: &Self) -> Self {
        self.requirements.extend(other.requirements.iter().cloned());
        self
    }

    /// Whether it asks for nothing, and everything fits.
    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }

    /// Whether something with these labels is meant.
    pub fn fits(&self, labels: &BTreeMap<String, String>) -> bool {
        self.requirements.iter().all(|it| it.holds(labels.get(&it.key)))
    }

    /// The part of it that says that a label has one value: what fits the selector has all of these
    /// labels, and may lack what else is asked for unless [`Self::is_equalities`].
    pub fn equalities(&self) -> BTreeMap<String, String> {
        let equal = self.requirements.iter().filter_map(Requirement::equality);
        equal.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    }

    /// Whether [`Self::equalities`] says all of it. Two values of one label do not fit into a map.
    pub fn is_equalities(&self) -> bool {
        let held = self.equalities();
        let says = |it: &Requirement| {
            it.equality().is_some_and(|(key, value)| held.get(key).is_some_and(|it| it == value))
        };
        self.requirements.iter().all(says)
    }

    /// A requirement that nothing can fit together with one of `other`, each of which asks for another
    /// value of the same label.
    pub fn contradiction(&self, other: &Self) -> Option<&Requirement> {
        let held = other.equalities();
        let contradicts = |it: &&Requirement| {
            it.equality().is_some_and(|(key, value)| held.get(key).is_some_and(|it| it != value))
        };
        self.requirements.iter().find(contradicts)
    }
}

impl Requirement {
    /// Whether it holds for a label that has this value, or is not there.
    fn holds(&self, value: Option<&String>) -> bool {
        match (&self.test, value) {
            (Test::There, value) => value.is_some(),
            (Test::Absent, value) => value.is_none(),
            (Test::Among(values), Some(value)) => values.contains(value),
            (Test::Among(_), None) => false,
            (Test::NotAmong(values), Some(value)) => !values.contains(value),
            (Test::NotAmong(_), None) => true,
        }
    }

    /// The label and its one value.
    fn equality(&self) -> Option<(&str, &str)> {
        match &self.test {
            Test::Among(values) if values.len() == 1 => Some((&self.key, values.first()?)),
            _ => None,
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, requirement) in self.requirements.iter().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            write!(f, "{comma}{requirement}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = &self.key;
        let listed = |values: &BTreeSet<String>| {
            values.iter().map(|value| quoted(value)).collect::<Vec<_>>().join(",")
        };
        match &self.test {
            Test::There => write!(f, "{key}"),
            Test::Absent => write!(f, "!{key}"),
            Test::Among(values) if values.len() == 1 => write!(f, "{key}={}", listed(values)),
            Test::NotAmong(values) if values.len() == 1 => write!(f, "{key}!={}", listed(values)),
            Test::Among(values) => write!(f, "{key} in ({})", listed(values)),
            Test::NotAmong(values) => write!(f, "{key} notin ({})", listed(values)),
        }
    }
}

/// A value as it may be written.
fn quoted(value: &str) -> String {
    if !value.is_empty() && !value.starts_with('~') && !value.contains(ends) {
        return value.to_owned();
    }
    format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Whether a sign ends a word that is not in quotes.
fn ends(sign: char) -> bool {
    sign.is_whitespace() || "=!,()<>\"\\".contains(sign)
}

/// Reads from left to right.
struct Reader<'t> {
    text: &'t str,
    /// Bytes that are read.
    at: usize,
}

impl<'t> Reader<'t> {
    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    /// Skips space, and a sign if it is this one.
    fn takes(&mut self, sign: &str) -> bool {
        self.skip_space();
        let taken = self.rest().starts_with(sign);
        if taken {
            self.at += sign.len();
        }
        taken
    }

    fn skip_space(&mut self) {
        self.at = self.text.len() - self.rest().trim_start().len();
    }

    fn error(&self, at: usize, problem: Problem) -> SelectorError {
        SelectorError { column: self.text[..at].chars().count() + 1, problem }
    }

    /// What stands up to the next sign or space, after skipping space; may be empty.
    fn word(&mut self) -> &'t str {
        self.skip_space();
        let rest = self.rest();
        let word = &rest[..rest.find(ends).unwrap_or(rest.len())];
        self.at += word.len();
        word
    }

    fn key(&mut self) -> Result<&'t str, SelectorError> {
        let key = self.word();
        let at = self.at - key.len();
        match key {
            "" => Err(self.error(at, Problem::NoKey)),
            key if !is_label_key(key) => Err(self.error(at, Problem::Key(key.to_owned()))),
            key => Ok(key),
        }
    }

    /// Nothing, or the comma before the next requirement.
    fn is_over(&mut self) -> bool {
        self.skip_space();
        self.rest().is_empty() || self.rest().starts_with(',')
    }

    /// What stands here in place of what should, in short.
    fn found(&self) -> String {
        let mut signs = self.rest().chars();
        let first: String = signs.next().into_iter().collect();
        match first.contains(ends) {
            true => first,
            false => first + &signs.take_while(|sign| !ends(*sign)).collect::<String>(),
        }
    }

    fn requirement(&mut self) -> Result<Requirement, SelectorError> {
        if self.takes("!") {
            let key = self.key()?.to_owned();
            return match self.is_over() {
                true => Ok(Requirement { key, test: Test::Absent }),
                false => Err(self.error(self.at, Problem::AfterAbsent(key))),
            };
        }
        let key = self.key()?.to_owned();
        if self.is_over() {
            return Ok(Requirement { key, test: Test::There });
        }
        // The longer ones first.
        let test = if self.takes("!=") {
            Test::NotAmong([self.value()?].into())
        } else if self.takes("==") || self.takes("=") {
            Test::Among([self.value()?].into())
        } else {
            let (at, found) = (self.at, self.found());
            match self.word() {
                "in" => Test::Among(self.values("in")?),
                "notin" => Test::NotAmong(self.values("notin")?),
                _ => return Err(self.error(at, Problem::Operator(found))),
            }
        };
        match self.is_over() {
            true => Ok(Requirement { key, test }),
            false => Err(self.error(self.at, Problem::AfterValue(self.found()))),
        }
    }

    /// One value; nothing is an empty one.
    fn value(&mut self) -> Result<String, SelectorError> {
        self.skip_space();
        let start = self.at;
        let value = match self.rest().chars().next() {
            Some('"') => self.quote()?,
            // Whoever writes it means another thing, which would choose nothing, or with `!=` everything.
            Some('~') => return Err(self.error(start, Problem::Pattern)),
            _ => self.word().to_owned(),
        };
        if value.len() > LABEL_BYTES_MAX || value.chars().any(char::is_control) {
            return Err(self.error(start, Problem::Value(value.len())));
        }
        Ok(value)
    }

    /// What stands between quotes; behind a backslash any sign is itself.
    fn quote(&mut self) -> Result<String, SelectorError> {
        let (start, mut value) = (self.at, String::new());
        let mut signs = self.rest().char_indices().skip(1);
        while let Some((at, sign)) = signs.next() {
            match sign {
                '"' => {
                    self.at = start + at + 1;
                    return Ok(value);
                }
                '\\' => value.extend(signs.next().map(|(_, sign)| sign)),
                sign => value.push(sign),
            }
        }
        Err(self.error(start, Problem::Quote))
    }

    /// `(a,b)`.
    fn values(&mut self, operator: &'static str) -> Result<BTreeSet<String>, SelectorError> {
        if !self.takes("(") {
            return Err(self.error(self.at, Problem::NoBracket(operator)));
        }
        let mut values = BTreeSet::new();
        loop {
            self.skip_space();
            if self.rest().is_empty() || self.rest().starts_with([',', ')']) {
                return Err(self.error(self.at, Problem::NoValue));
            }
            values.insert(self.value()?);
            if self.takes(")") {
                return Ok(values);
            }
            if !self.takes(",") {
                return Err(self.error(self.at, Problem::Open));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn labels(text: &str) -> BTreeMap<String, String> {
        let pairs = text.split(';').filter_map(|pair| pair.split_once(':'));
        pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    }

    #[test]
    fn selectors_are_read_and_fit_as_the_table_says() {
        // Selector, labels, whether they fit.
        for (text, has, fits) in [
            ("team=payments", "team:payments", true),
            ("team=payments", "team:payment", false),
            ("team=payments", "", false),
            ("team==payments", "team:payments", true),
            ("team=", "team:", true),
            ("team=", "", false),
            ("team!=payments", "team:search", true),
            ("team!=payments", "team:payments", false),
            ("team!=payments", "", true),
            ("team in (a,b)", "team:b", true),
            ("team in (a,b)", "team:c", false),
            ("team in (a,b)", "", false),
            ("team in (a,\"\")", "team:", true),
            ("team notin (a,b)", "team:c", true),
            ("team notin (a,b)", "team:a", false),
            ("team notin (a,b)", "", true),
            ("team", "team:", true),
            ("team", "tier:a", false),
            ("!team", "tier:a", true),
            ("!team", "team:a", false),
            ("team=a,tier!=test", "team:a;tier:live", true),
            ("team=a,tier!=test", "team:a;tier:test", false),
            ("team=a,team=b", "team:a", false),
            (" team  in ( a , b ) , ! x ", "team:a", true),
            (" team  in ( a , b ) , ! x ", "team:a;x:", false),
            ("in in (in,notin)", "in:notin", true),
            ("notin=in", "notin:in", true),
            ("a.b/c-d_e=f", "a.b/c-d_e:f", true),
            ("team=\"a, (b) = \\\"c\\\" \\\\\"", "team:a, (b) = \"c\" \\", true),
            ("team=zürich", "team:zürich", true),
            ("team=\"~a\"", "team:~a", true),
        ] {
            let selector = Selector::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(selector.fits(&labels(has)), fits, "{text} on `{has}`");
            let again = Selector::parse(&selector.to_string());
            assert_eq!(again.as_ref(), Ok(&selector), "{text} written as {selector}");
        }
    }

    #[test]
    fn what_is_no_selector_says_where_and_why() {
        let long = format!("team={}", "x".repeat(SELECTOR_BYTES_MAX));
        let value = format!("team={}", "x".repeat(LABEL_BYTES_MAX + 1));
        for (text, column, said) in [
            ("", 1, "key is missing"),
            ("  ", 3, "key is missing"),
            ("=a", 1, "key is missing"),
            ("team=a,", 8, "key is missing"),
            ("team=a,,x", 8, "key is missing"),
            ("!", 2, "key is missing"),
            ("!=a", 2, "key is missing"),
            ("-team=a", 1, "`-team` cannot be"),
            ("te*am=a", 1, "`te*am` cannot be"),
            ("ü=a", 1, "`ü` cannot be"),
            ("team a", 6, "`a` is no operator"),
            ("team inn (a)", 6, "`inn` is no operator"),
            ("team>5", 5, "`>` is no operator"),
            ("team!a", 5, "`!` is no operator"),
            ("!team=a", 6, "nothing but a comma may stand behind !team"),
            ("team in a", 9, "`(` must stand behind in"),
            ("team notin", 11, "`(` must stand behind notin"),
            ("team in ()", 10, "a value is missing"),
            ("team in (a,)", 12, "a value is missing"),
            ("team in (", 10, "a value is missing"),
            ("team in (a", 11, "`)` or a comma"),
            ("team in (a b)", 12, "`)` or a comma"),
            ("team in (ü)x", 12, "`x` must not stand behind a value"),
            ("team=a b", 8, "`b` must not stand behind a value"),
            ("team=a=b", 7, "`=` must not stand behind a value"),
            ("team=~pay.*", 6, "no patterns"),
            ("team!=~pay.*", 7, "no patterns"),
            ("team!~pay.*", 5, "`!` is no operator"),
            ("team=\"a", 6, "this quote has no end"),
            ("team=\"a\\\"", 6, "this quote has no end"),
            ("team=\"a\"b", 9, "`b` must not stand behind a value"),
            ("x,team=\"a\tb\"", 8, "control character"),
            (value.as_str(), 6, "257 bytes"),
            (long.as_str(), 1, "4101 bytes"),
        ] {
            let error = Selector::parse(text).unwrap_err();
            assert_eq!(error.column, column, "{text}: {error}");
            assert!(error.to_string().contains(said), "{text}: {error}");
        }
    }

    #[test]
    fn what_is_equal_can_be_asked_of_a_coordinator_and_the_rest_is_known_to_be_more() {
        for (text, equal, all) in [
            ("team=a", "team:a", true),
            ("team in (a),tier==b", "team:a;tier:b", true),
            ("team=a,team=a", "team:a", true),
            ("team=a,tier!=b", "team:a", false),
            ("team in (a,b)", "", false),
            ("!team", "", false),
        ] {
            let selector = Selector::parse(text).unwrap();
            assert_eq!(selector.equalities(), labels(equal), "{text}");
            assert_eq!(selector.is_equalities(), all, "{text}");
        }
        assert!(!Selector::parse("team=a,team=b").unwrap().is_equalities());
        assert!(Selector::default().is_equalities() && Selector::default().is_empty());
    }

    #[test]
    fn two_selectors_contradict_each_other_over_a_label_that_both_want_otherwise() {
        for (one, other, wrong) in [
            ("team=a", "team=b", Some("team=a")),
            ("x,team=a", "team=b,y", Some("team=a")),
            ("team=a", "team=a", None),
            ("team=a", "tier=b", None),
            ("team!=a", "team=a", None),
        ] {
            let (one, other) = (Selector::parse(one).unwrap(), Selector::parse(other).unwrap());
            let found = one.contradiction(&other).map(ToString::to_string);
            assert_eq!(found.as_deref(), wrong, "{one} and {other}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_inside_itself(text in "[a-c=!,() \"\\\\~<inot\u{fc}]{0,24}") {
            match Selector::parse(&text) {
                Ok(selector) => {
                    prop_assert_eq!(Selector::parse(&selector.to_string()), Ok(selector));
                }
                Err(error) => prop_assert!(error.column <= text.chars().count() + 1),
            }
        }

        #[test]
        fn any_value_of_a_label_can_be_asked_for(value in "\\PC{0,40}") {
            prop_assume!(!value.chars().any(char::is_control));
            let test = Test::Among([value.clone()].into());
            let selector = Selector { requirements: vec![Requirement { key: "k".to_owned(), test }] };
            let read = Selector::parse(&selector.to_string()).unwrap();
            prop_assert!(read.fits(&[("k".to_owned(), value)].into()));
        }

        #[test]
        fn what_fits_both_is_what_fits_each(team in "[ab]?", tier in "[ab]?") {
            let has = [("team".to_owned(), team), ("tier".to_owned(), tier)].into();
            for (one, other) in [("team=a", "tier!=b"), ("!x", "team in (a,b)"), ("team", "tier=a")] {
                let (one, other) = (Selector::parse(one).unwrap(), Selector::parse(other).unwrap());
                let both = one.fits(&has) && other.fits(&has);
                prop_assert_eq!(one.and(&other).fits(&has), both);
            }
        }
    }
}
