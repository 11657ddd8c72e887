//! How lengths are written and read, which known name a wrong one is closest to, and how a text is
//! cut.
//!
//! Lengths: one or more `<number><unit>` pairs without spaces, largest unit first, each unit at
//! most once: `d`, `h`, `m`, `s`, `ms`, `us`, `ns`. The last number may have a decimal fraction:
//! `1m30s`, `500ms`, `1.5s`. A number without a unit is not a length.

use std::time::Duration;

/// Units with their nanoseconds, largest first.
pub const UNITS: [(&str, u64); 7] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

/// The text, or as much of its beginning as fits into so many bytes.
pub fn cut(text: &str, bytes: usize) -> &str {
    let end = (0..=bytes.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
    &text[..end.unwrap_or(0)]
}

/// A text that is not a length.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// Nothing there.
    #[error("a duration such as 500ms, 10s or 1m30s is needed")]
    Empty,
    /// A number without a unit.
    #[error("a unit is missing after `{0}`: use ms, s, m, h or d")]
    NoUnit(String),
    /// Not `<number><unit>` pairs.
    #[error("`{0}` is not a duration: use pairs of number and unit such as 500ms, 10s or 1m30s")]
    Malformed(String),
    /// Units not from large to small, or one of them twice.
    #[error("in `{0}` the units must go from large to small, each at most once")]
    Order(String),
    /// More than 64 bits of nanoseconds hold.
    #[error("`{0}` is too long")]
    TooLong(String),
}

/// Reads a length.
///
/// # Errors
/// What is wrong with the text; see the grammar above.
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    if text.is_empty() {
        return Err(DurationError::Empty);
    }
    let malformed = || DurationError::Malformed(text.to_owned());
    let too_long = || DurationError::TooLong(text.to_owned());
    let mut total: u64 = 0;
    let mut smallest = u64::MAX;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        let letters = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        if number.is_empty() {
            return Err(malformed());
        }
        if unit.is_empty() && after.is_empty() {
            return Err(DurationError::NoUnit(text.to_owned()));
        }
        let (_, scale) = *UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(malformed)?;
        if scale >= smallest {
            return Err(DurationError::Order(text.to_owned()));
        }
        smallest = scale;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
        // A fraction only at the end, of at most nine digits, with digits on both sides.
        if whole.is_empty() || fraction.is_empty() || fraction.len() > 9 || fraction.contains('.') {
            return Err(malformed());
        }
        if number.contains('.') && !after.is_empty() {
            return Err(malformed());
        }
        let whole: u64 = whole.parse().map_err(|_| too_long())?;
        let part: u64 = fraction.parse().map_err(|_| malformed())?;
        let part = u128::from(part) * u128::from(scale) / 10u128.pow(fraction.len() as u32);
        total = whole
            .checked_mul(scale)
            .and_then(|ns| ns.checked_add(u64::try_from(part).ok()?))
            .and_then(|ns| total.checked_add(ns))
            .ok_or_else(too_long)?;
        rest = after;
    }
    Ok(Duration::from_nanos(total))
}

/// Writes a length the way a person would: `1m30s`, `1.5s`, `800ms`, `2d`. Reading it gives the
/// same length, up to the 584 years that 64 bits of nanoseconds hold.
pub fn format_duration(length: Duration) -> String {
    let mut left = u64::try_from(length.as_nanos()).unwrap_or(u64::MAX);
    if left == 0 {
        return "0s".to_owned();
    }
    let mut out = String::new();
    for (unit, scale) in UNITS {
        let (whole, part) = (left / scale, left % scale);
        if whole == 0 {
            continue;
        }
        // From seconds down one number with a fraction reads better than two units.
        if scale <= 1_000_000_000 {
            let width = scale.ilog10() as usize;
            let fraction = format!("{part:0width$}");
            let fraction = if width == 0 { "" } else { fraction.trim_end_matches('0') };
            let point = if fraction.is_empty() { "" } else { "." };
            out.push_str(&format!("{whole}{point}{fraction}{unit}"));
            return out;
        }
        out.push_str(&format!("{whole}{unit}"));
        left = part;
    }
    out
}

/// The candidate that a person who wrote `word` most likely meant, if one is close enough to say.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = word.to_ascii_lowercase();
    // A third of the letters may be wrong, at least one: closer than that is a typo.
    let most = (lower.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| {
            (strsim::damerau_levenshtein(&lower, &candidate.to_ascii_lowercase()), candidate)
        })
        .filter(|(distance, _)| *distance <= most)
        .min_by_key(|(distance, candidate)| (*distance, *candidate))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_text_is_cut_between_characters() {
        for (bytes, expected) in [(0, ""), (1, "a"), (2, "a"), (3, "aß"), (4, "aßb"), (99, "aßb")]
        {
            assert_eq!(cut("aßb", bytes), expected, "{bytes}");
        }
    }

    #[test]
    fn lengths_are_read_and_written() {
        for (text, ns, written) in [
            ("0s", 0, "0s"),
            ("500ms", 500_000_000, "500ms"),
            ("1s", 1_000_000_000, "1s"),
            ("1.5s", 1_500_000_000, "1.5s"),
            ("1s500ms", 1_500_000_000, "1.5s"),
            ("1m30s", 90_000_000_000, "1m30s"),
            ("90s", 90_000_000_000, "1m30s"),
            ("1h", 3_600_000_000_000, "1h"),
            ("24h", 86_400_000_000_000, "1d"),
            ("250us", 250_000, "250us"),
            ("1.25ms", 1_250_000, "1.25ms"),
            ("7ns", 7, "7ns"),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_nanos(ns)), "{text}");
            assert_eq!(format_duration(Duration::from_nanos(ns)), written, "{text}");
        }
    }

    #[test]
    fn what_is_not_a_length_is_refused() {
        use DurationError::*;
        let same = |error: fn(String) -> DurationError, text: &str| error(text.to_owned());
        for (text, error) in [
            ("", Empty),
            ("10", same(NoUnit, "10")),
            ("1m30", same(NoUnit, "1m30")),
            ("s", same(Malformed, "s")),
            ("-1s", same(Malformed, "-1s")),
            ("1 s", same(Malformed, "1 s")),
            ("1S", same(Malformed, "1S")),
            ("1w", same(Malformed, "1w")),
            (".5s", same(Malformed, ".5s")),
            ("1.s", same(Malformed, "1.s")),
            ("1.5m30s", same(Malformed, "1.5m30s")),
            ("1.2.3s", same(Malformed, "1.2.3s")),
            ("30s1m", same(Order, "30s1m")),
            ("1s1s", same(Order, "1s1s")),
            ("99999999999999999999s", same(TooLong, "99999999999999999999s")),
            ("999999999999d", same(TooLong, "999999999999d")),
        ] {
            assert_eq!(parse_duration(text), Err(error), "{text}");
        }
    }

    #[test]
    fn the_nearest_name_is_a_typo_away() {
        let known = ["eu-west", "us-east", "ap-south"];
        for (word, meant) in [
            ("eu-wset", Some("eu-west")),
            ("EU-WEST", Some("eu-west")),
            ("us-eats", Some("us-east")),
            ("mars", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, known), meant, "{word}");
        }
        assert_eq!(nearest("ur", ["url", "uri"]), Some("uri"));
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(ns in any::<u64>()) {
            let length = Duration::from_nanos(ns);
            prop_assert_eq!(parse_duration(&format_duration(length)), Ok(length));
        }

        #[test]
        fn no_text_panics(text in "[0-9.dhmsun ]{0,16}") {
            let _ = parse_duration(&text);
        }
    }
}
