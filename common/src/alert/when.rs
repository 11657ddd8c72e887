//! The condition of an alert: a sentence of a small grammar.
//!
//! ```text
//! when       = measure ">" threshold { clause }
//!            | "cert_days" "<" NUMBER { clause } whole days; without "over"
//! measure    = "p" NUMBER [ "(" phase ")" ]      with a length as its threshold: 800ms
//!            | "error_rate"                      with a share: 2%
//! clause     = "over" LENGTH                     what one look adds up
//!            | "for" LENGTH                      every look of so long says so
//!            | "in" QUORUM [ "of" ] "regions"    majority, all, any or a number
//! ```
//!
//! Words stand apart; each clause at most once, in any order. What is left out: `over` is the shortest
//! time that says something, `for` is one look, `in` is a majority of the regions; of `cert_days` it is any
//! of them: what expires is a fact wherever it is seen, and a place that was forgotten at the renewal is
//! what one wants to know.

use std::fmt;
use std::time::Duration;

use crate::check::Quorum;
use crate::limits::{ALERT_CERT_DAYS_MAX, TIMEOUT_MAX};
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
    /// A certificate that is shown expires within fewer days than this.
    CertDays {
        /// Of 24 hours.
        below: u32,
    },
}

impl Measure {
    /// Where it must hold when nobody says.
    fn regions(self) -> Quorum {
        match self {
            Self::Latency { .. } | Self::ErrorRate { .. } => Quorum::Majority,
            Self::CertDays { .. } => Quorum::Any,
        }
    }
}

/// Why a text is no condition: something else is expected there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("column {column}: expected {expected}, found {found}")]
pub struct WhenError {
    /// Of the first character that is wrong, from 1.
    pub column: usize,
    /// In words.
    pub expected: &'static str,
    /// What stands there.
    pub found: String,
}

const MEASURE: &str = "p50 to p99.99, with a phase in brackets or without, error_rate or cert_days";
const PHASE: &str = "a phase in brackets such as (first_byte)";
const ABOVE: &str = "`>`";
const BELOW: &str = "`<`";
const DAYS: &str = "whole days up to 3650 such as 14";
const LENGTH_ABOVE: &str = "a length of at most 1m such as 800ms";
const SHARE: &str = "a share below 100% such as 2%";
const CLAUSE: &str = "`over`, `for` or `in`, each at most once";
const CLAUSE_OF_DAYS: &str = "`for` or `in`, each at most once";
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
            return Err(WhenError { column: self.end, expected, found });
        };
        let found = || format!("`{word}`");
        read(word).ok_or_else(|| WhenError { column, expected, found: found() })
    }

    fn skip(&mut self, word: &str) {
        self.words.next_if(|(_, next)| *next == word);
    }
}

/// A measure without its threshold.
enum Side {
    Latency(u32, Phase),
    ErrorRate,
    CertDays,
}

impl When {
    /// Reads a condition.
    ///
    /// # Errors
    /// At which column something else is expected, and what.
    pub fn parse(text: &str) -> Result<Self, WhenError> {
        let mut words = Words::of(text);
        let is_named = |(_, word): &(usize, &str)| matches!(*word, "error_rate" | "cert_days");
        let side = match words.words.next_if(is_named) {
            Some((_, "cert_days")) => Side::CertDays,
            Some(_) => Side::ErrorRate,
            None => percentile(&mut words)?,
        };
        match side {
            Side::CertDays => words.take(BELOW, |word| (word == "<").then_some(()))?,
            _ => words.take(ABOVE, |word| (word == ">").then_some(()))?,
        }
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
            Side::CertDays => Measure::CertDays { below: words.take(DAYS, days)? },
        };
        // What is shown is not added up.
        let adds_up = !matches!(measure, Measure::CertDays { .. });
        let clauses = if adds_up { CLAUSE } else { CLAUSE_OF_DAYS };
        let (mut over, mut hold, mut regions) = (None, None, None);
        let length =
            |word: &str| parse_duration(word).ok().filter(|length| *length > Duration::ZERO);
        while words.words.peek().is_some() {
            let (is_for, is_in) = (hold.is_none(), regions.is_none());
            let is_over = adds_up && over.is_none();
            let clause = words.take(clauses, |word| match word {
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
        let regions = regions.unwrap_or_else(|| measure.regions());
        Ok(Self { measure, over, hold: hold.unwrap_or_default(), regions })
    }

    /// What one look of a check with this interval adds up; nothing for what is not added up.
    pub fn over(&self, interval: Duration) -> Option<Duration> {
        let least = match self.measure {
            Measure::Latency { .. } => Duration::from_secs(60),
            Measure::ErrorRate { .. } => Duration::from_secs(300),
            Measure::CertDays { .. } => return None,
        };
        Some(self.over.unwrap_or_else(|| least.max(whole_looks(interval))))
    }

    /// The same with everything said, for a check with this interval.
    pub fn whole(&self, interval: Duration) -> Self {
        Self { over: self.over(interval), ..*self }
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
            known.ok_or_else(|| WhenError {
                column: column + after,
                expected: PHASE,
                found: format!("`({text}`"),
            })?
        }
    };
    Ok(Side::Latency(number, phase))
}

fn days(word: &str) -> Option<u32> {
    let is_number = word.bytes().all(|byte| byte.is_ascii_digit());
    word.parse().ok().filter(|days| is_number && *days <= ALERT_CERT_DAYS_MAX)
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
            Measure::CertDays { below } => write!(f, "cert_days < {below}")?,
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
            // A place that was forgotten at the renewal is enough.
            ("cert_days < 14", "cert_days < 14 in any region"),
            ("cert_days < 0", "cert_days < 0 in any region"),
            (
                "cert_days < 3650 in majority of regions for 1h",
                "cert_days < 3650 for 1h in majority of regions",
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
            let over = Some(Duration::from_secs(over));
            assert_eq!(when.over(Duration::from_secs(interval)), over);
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
            ("cert_days", 10, BELOW),
            ("cert_days > 14", 11, BELOW),
            ("cert_days <= 14", 11, BELOW),
            ("cert_days<14", 1, MEASURE),
            ("cert_days <", 12, DAYS),
            ("cert_days < 14d", 13, DAYS),
            ("cert_days < 1.5", 13, DAYS),
            ("cert_days < -1", 13, DAYS),
            ("cert_days < +1", 13, DAYS),
            ("cert_days < 3651", 13, DAYS),
            ("cert_days < 99999999999", 13, DAYS),
            ("cert_days < 14 over 5m", 16, CLAUSE_OF_DAYS),
            ("cert_days < 14 for 5m for 6m", 23, CLAUSE_OF_DAYS),
        ] {
            let WhenError { column: at, expected: what, .. } = When::parse(text).unwrap_err();
            assert_eq!((at, what), (column, expected), "{text}");
        }
    }

    fn whens() -> impl Strategy<Value = When> {
        let phases = prop::sample::select(Phase::ALL.to_vec());
        let latency =
            (5_000u32..=9_999, phases, 1u64..60_000_000).prop_map(|(percentile, phase, us)| {
                Measure::Latency { percentile, phase, above: Duration::from_micros(us) }
            });
        let rate = (0u32..1_000_000).prop_map(|above_ppm| Measure::ErrorRate { above_ppm });
        let days = (0..=ALERT_CERT_DAYS_MAX).prop_map(|below| Measure::CertDays { below });
        let quorum = prop_oneof![
            Just(Quorum::Majority),
            Just(Quorum::All),
            Just(Quorum::Any),
            (1u32..100).prop_map(Quorum::Count)
        ];
        let over = prop::option::of(1u64..400);
        (prop_oneof![latency, rate, days], over, 0u64..400, quorum).prop_map(
            |(measure, over, hold, regions)| {
                let over = over.filter(|_| !matches!(measure, Measure::CertDays { .. }));
                When {
                    measure,
                    over: over.map(|minutes| Duration::from_secs(60 * minutes)),
                    hold: Duration::from_secs(60 * hold),
                    regions,
                }
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
            if let Err(WhenError { column, .. }) = When::parse(&text) {
                prop_assert!((1..=text.chars().count() + 1).contains(&column));
            }
        }
    }
}
