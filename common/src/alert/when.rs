//! The condition of an alert: a sentence of a small grammar.
//!
//! ```text
//! when       = measure ">" threshold { clause }
//! measure    = "p" NUMBER [ "(" phase ")" ]      with a length as its threshold: 800ms
//!            | "error_rate"                      with a share: 2%
//! clause     = "over" LENGTH                     what one look adds up
//!            | "for" LENGTH                      every look of so long says so
//!            | "in" QUORUM [ "of" ] "regions"    majority, all, any or a number
//! ```
//!
//! Words stand apart; each clause at most once, in any order. What is left out: `over` is the shortest
//! time that says something, `for` is one look, `in` is a majority of the regions.

use std::fmt;
use std::time::Duration;

use crate::check::Quorum;
use crate::limits::TIMEOUT_MAX;
use crate::outcome::Phase;
use crate::text::{format_duration, parse_duration};

use super::{percent, whole_looks};

/// What has to hold, how long, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct When {
    /// What is compared with what.
    pub measure: Measure,
    /// What one look adds up; absent: see [`When::over`].
    pub over: Option<Duration>,
    /// Every look of so long must say so; zero: one is enough.
    pub hold: Duration,
    /// In how many regions.
    pub regions: Quorum,
}

/// What is compared with what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// A percentile of durations is above a length.
    Latency {
        /// Hundredths of a percent: 9990 is p99.9.
        percentile: u32,
        /// Of which phase.
        phase: Phase,
        /// The threshold.
        above: Duration,
    },
    /// More than this share of the runs fail.
    ErrorRate {
        /// Millionths.
        above_ppm: u32,
    },
}

/// Why a text is no condition.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WhenError {
    /// Something else is expected there.
    #[error("column {column}: expected {expected}, found {found}")]
    Expected {
        /// Of the first character that is wrong, from 1.
        column: usize,
        /// In words.
        expected: &'static str,
        /// What stands there.
        found: String,
    },
    /// A measure that is known and not built.
    #[error(
        "column {column}: `{measure}` is not measured yet; `warn` and `expect` of a check see it"
    )]
    NotYet {
        /// Of its first character, from 1.
        column: usize,
        /// The word.
        measure: String,
    },
}

const MEASURE: &str = "p50 to p99.99, with a phase in brackets or without, or error_rate";
const PHASE: &str = "a phase in brackets such as (first_byte)";
const ABOVE: &str = "`>`";
const LENGTH_ABOVE: &str = "a length of at most 1m such as 800ms";
const SHARE: &str = "a share below 100% such as 2%";
const CLAUSE: &str = "`over`, `for` or `in`, each at most once";
const LENGTH: &str = "a length such as 5m";
const QUORUM: &str = "majority, all, any or a number of regions";
const REGIONS: &str = "`regions`";

/// The words of a text with the column of each.
struct Words<'t> {
    words: std::iter::Peekable<std::vec::IntoIter<(usize, &'t str)>>,
    end: usize,
}

impl<'t> Words<'t> {
    fn of(text: &'t str) -> Self {
        let mut words = Vec::new();
        let (mut column, mut start) = (1, None);
        for (at, letter) in text.char_indices() {
            match (letter.is_whitespace(), start) {
                (true, Some((column, from))) => {
                    words.push((column, &text[from..at]));
                    start = None;
                }
                (false, None) => start = Some((column, at)),
                _ => {}
            }
            column += 1;
        }
        words.extend(start.map(|(column, from)| (column, &text[from..])));
        Self { words: words.into_iter().peekable(), end: column }
    }

    /// The next word, read by `read`; what it does not take is not what was expected.
    fn take<T>(
        &mut self,
        expected: &'static str,
        read: impl FnOnce(&'t str) -> Option<T>,
    ) -> Result<T, WhenError> {
        let Some((column, word)) = self.words.next() else {
            let found = "the end".to_owned();
            return Err(WhenError::Expected { column: self.end, expected, found });
        };
        let found = || format!("`{word}`");
        read(word).ok_or_else(|| WhenError::Expected { column, expected, found: found() })
    }

    fn skip(&mut self, word: &str) {
        self.words.next_if(|(_, next)| *next == word);
    }
}

/// A measure without its threshold.
enum Side {
    Latency(u32, Phase),
    ErrorRate,
}

impl When {
    /// Reads a condition.
    ///
    /// # Errors
    /// At which column something else is expected, and what.
    pub fn parse(text: &str) -> Result<Self, WhenError> {
        let mut words = Words::of(text);
        if let Some((column, word)) = words.words.next_if(|(_, word)| *word == "cert_days") {
            return Err(WhenError::NotYet { column, measure: word.to_owned() });
        }
        let side = match words.words.next_if(|(_, word)| *word == "error_rate") {
            Some(_) => Side::ErrorRate,
            None => percentile(&mut words)?,
        };
        words.take(ABOVE, |word| (word == ">").then_some(()))?;
        let measure = match side {
            Side::Latency(percentile, phase) => {
                let above = words.take(LENGTH_ABOVE, |word| {
                    parse_duration(word).ok().filter(|it| !it.is_zero() && *it <= TIMEOUT_MAX)
                })?;
                Measure::Latency { percentile, phase, above }
            }
            Side::ErrorRate => {
                let share = |word| percent::parse(word).filter(|ppm| *ppm < 1_000_000);
                Measure::ErrorRate { above_ppm: words.take(SHARE, share)? }
            }
        };
        let (mut over, mut hold, mut regions) = (None, None, None);
        let length =
            |word: &str| parse_duration(word).ok().filter(|length| *length > Duration::ZERO);
        while words.words.peek().is_some() {
            let (is_over, is_for, is_in) = (over.is_none(), hold.is_none(), regions.is_none());
            let clause = words.take(CLAUSE, |word| match word {
                "over" if is_over => Some(word),
                "for" if is_for => Some(word),
                "in" if is_in => Some(word),
                _ => None,
            })?;
            match clause {
                "over" => over = Some(words.take(LENGTH, length)?),
                "for" => hold = Some(words.take(LENGTH, length)?),
                _ => {
                    regions = Some(words.take(QUORUM, quorum)?);
                    words.skip("of");
                    let is_regions = |word| matches!(word, "regions" | "region").then_some(());
                    words.take(REGIONS, is_regions)?;
                }
            }
        }
        let (hold, regions) = (hold.unwrap_or_default(), regions.unwrap_or(Quorum::Majority));
        Ok(Self { measure, over, hold, regions })
    }

    /// What one look of a check with this interval adds up.
    pub fn over(&self, interval: Duration) -> Duration {
        let least = match self.measure {
            Measure::Latency { .. } => Duration::from_secs(60),
            Measure::ErrorRate { .. } => Duration::from_secs(300),
        };
        self.over.unwrap_or_else(|| least.max(whole_looks(interval)))
    }

    /// The same with everything said, for a check with this interval.
    pub fn whole(&self, interval: Duration) -> Self {
        Self { over: Some(self.over(interval)), ..*self }
    }
}

/// `p99.9(connect)`
fn percentile(words: &mut Words<'_>) -> Result<Side, WhenError> {
    let column = words.words.peek().map_or(words.end, |(column, _)| *column);
    let (number, phase) = words.take(MEASURE, |word| {
        let (number, phase) = match word.split_once('(') {
            Some((number, phase)) => (number, Some((number.len(), phase))),
            None => (word, None),
        };
        let number = number.strip_prefix('p')?;
        // As a share with at most two decimals.
        let ppm = percent::parse(&format!("{number}%"))?;
        let inside = (500_000..=999_900).contains(&ppm) && ppm.is_multiple_of(100);
        inside.then_some((ppm / 100, phase))
    })?;
    let phase = match phase {
        None => Phase::Total,
        Some((after, text)) => {
            let known = text.strip_suffix(')').and_then(Phase::from_word);
            known.ok_or_else(|| WhenError::Expected {
                column: column + after,
                expected: PHASE,
                found: format!("`({text}`"),
            })?
        }
    };
    Ok(Side::Latency(number, phase))
}

fn quorum(word: &str) -> Option<Quorum> {
    Some(match word {
        "majority" => Quorum::Majority,
        "all" => Quorum::All,
        "any" => Quorum::Any,
        number => {
            let is_number = number.bytes().all(|byte| byte.is_ascii_digit());
            Quorum::Count(number.parse().ok().filter(|count| is_number && *count > 0)?)
        }
    })
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.measure {
            Measure::Latency { percentile, phase, above } => {
                let share = percent::format(percentile * 100);
                write!(f, "p{}", share.trim_end_matches('%'))?;
                if phase != Phase::Total {
                    write!(f, "({phase})")?;
                }
                write!(f, " > {}", format_duration(above))?;
            }
            Measure::ErrorRate { above_ppm } => {
                write!(f, "error_rate > {}", percent::format(above_ppm))?;
            }
        }
        if let Some(over) = self.over {
            write!(f, " over {}", format_duration(over))?;
        }
        if !self.hold.is_zero() {
            write!(f, " for {}", format_duration(self.hold))?;
        }
        match self.regions {
            Quorum::Majority => f.write_str(" in majority of regions"),
            Quorum::All => f.write_str(" in all regions"),
            Quorum::Any => f.write_str(" in any region"),
            Quorum::Count(1) => f.write_str(" in 1 region"),
            Quorum::Count(count) => write!(f, " in {count} regions"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn conditions_are_read_as_they_are_meant() {
        // As written; as it is written out for a check that looks every 10 s.
        for (text, whole) in [
            ("p95 > 800ms", "p95 > 800ms over 1m in majority of regions"),
            (
                "p95 > 800ms for 5m in majority of regions",
                "p95 > 800ms over 1m for 5m in majority of regions",
            ),
            (
                "  p99.9(first_byte)  >  1.5s in all regions over 10m",
                "p99.9(first_byte) > 1.5s over 10m in all regions",
            ),
            ("error_rate > 2% over 10m in 2 regions", "error_rate > 2% over 10m in 2 regions"),
            ("error_rate > 0% in any region", "error_rate > 0% over 5m in any region"),
            ("error_rate > 0.5% in 1 region", "error_rate > 0.5% over 5m in 1 region"),
            (
                "error_rate > 1% in 3 of regions for 2h",
                "error_rate > 1% over 5m for 2h in 3 regions",
            ),
        ] {
            let when = When::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(when.whole(Duration::from_secs(10)).to_string(), whole);
        }
    }

    #[test]
    fn without_a_span_a_look_is_at_least_as_long_as_the_interval() {
        let when = When::parse("p95 > 1s").unwrap();
        for (interval, over) in [(1, 60), (60, 60), (61, 120), (600, 600), (3_600, 3_600)] {
            assert_eq!(when.over(Duration::from_secs(interval)), Duration::from_secs(over));
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_its_column() {
        for (text, column, expected) in [
            ("", 1, MEASURE),
            ("p95", 4, ABOVE),
            ("p95 > ", 7, LENGTH_ABOVE),
            ("p95 < 800ms", 5, ABOVE),
            ("p95 >= 800ms", 5, ABOVE),
            ("p95>800ms", 1, MEASURE),
            ("p95 > 800", 7, LENGTH_ABOVE),
            ("p95 > 2%", 7, LENGTH_ABOVE),
            ("p95 > 61s", 7, LENGTH_ABOVE),
            ("p95 > 0s", 7, LENGTH_ABOVE),
            ("p49 > 1s", 1, MEASURE),
            ("p100 > 1s", 1, MEASURE),
            ("p99.999 > 1s", 1, MEASURE),
            ("  p > 1s", 3, MEASURE),
            ("p95(body) > 1s", 4, PHASE),
            ("p95(connect > 1s", 4, PHASE),
            ("error_rate > 800ms", 14, SHARE),
            ("error_rate > 100%", 14, SHARE),
            ("latency > 800ms", 1, MEASURE),
            ("p95 > 1s forever", 10, CLAUSE),
            ("p95 > 1s for", 13, LENGTH),
            ("p95 > 1s for 5", 14, LENGTH),
            ("p95 > 1s for 0s", 14, LENGTH),
            ("p95 > 1s for 5m for 6m", 17, CLAUSE),
            ("p95 > 1s in", 12, QUORUM),
            ("p95 > 1s in 0 regions", 13, QUORUM),
            ("p95 > 1s in some regions", 13, QUORUM),
            ("p95 > 1s in 2", 14, REGIONS),
            ("p95 > 1s in majority of probes", 25, REGIONS),
            ("ü95 > 1s", 1, MEASURE),
            ("p95 > ü", 7, LENGTH_ABOVE),
        ] {
            match When::parse(text) {
                Err(WhenError::Expected { column: at, expected: what, .. }) => {
                    assert_eq!((at, what), (column, expected), "{text}");
                }
                other => panic!("{text}: {other:?}"),
            }
        }
        let error = When::parse("cert_days < 14").unwrap_err();
        assert!(matches!(error, WhenError::NotYet { column: 1, .. }), "{error}");
    }

    fn whens() -> impl Strategy<Value = When> {
        let phases = prop::sample::select(Phase::ALL.to_vec());
        let latency =
            (5_000u32..=9_999, phases, 1u64..60_000_000).prop_map(|(percentile, phase, us)| {
                Measure::Latency { percentile, phase, above: Duration::from_micros(us) }
            });
        let rate = (0u32..1_000_000).prop_map(|above_ppm| Measure::ErrorRate { above_ppm });
        let quorum = prop_oneof![
            Just(Quorum::Majority),
            Just(Quorum::All),
            Just(Quorum::Any),
            (1u32..100).prop_map(Quorum::Count)
        ];
        let over = prop::option::of(1u64..400);
        (prop_oneof![latency, rate], over, 0u64..400, quorum).prop_map(
            |(measure, over, hold, regions)| When {
                measure,
                over: over.map(|minutes| Duration::from_secs(60 * minutes)),
                hold: Duration::from_secs(60 * hold),
                regions,
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(when in whens()) {
            prop_assert_eq!(When::parse(&when.to_string()), Ok(when));
        }

        #[test]
        fn any_text_is_read_or_refused_within_itself(text in ".{0,60}") {
            if let Err(WhenError::Expected { column, .. }) = When::parse(&text) {
                prop_assert!((1..=text.chars().count() + 1).contains(&column));
            }
        }
    }
}
