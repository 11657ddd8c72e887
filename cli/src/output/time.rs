//! Instants and lengths as texts.

use std::time::Duration;

use parallax_common::text;
use parallax_common::time::UtcTime;

/// RFC 3339 in UTC, or nothing when the message has none.
pub fn instant(at: Option<&prost_types::Timestamp>) -> Option<String> {
    let at = at?;
    jiff::Timestamp::new(at.seconds, at.nanos).ok().map(|at| format!("{at:.3}"))
}

/// A length such as `1m30s`, or nothing when the message has none or a negative one.
pub fn length(length: Option<&prost_types::Duration>) -> Option<String> {
    Some(text::format_duration(positive(length?)?))
}

/// A measured length for a table, to three significant figures: `1.07ms`, `94.1us`, `12.4s`.
pub fn rounded(length: Option<&prost_types::Duration>) -> Option<String> {
    positive(length?).map(rounded_length)
}

/// The same of a length that is no message's.
pub fn rounded_length(length: Duration) -> String {
    let ns = u64::try_from(length.as_nanos()).unwrap_or(u64::MAX);
    let unit = 10_u64.pow(ns.checked_ilog10().unwrap_or_default().saturating_sub(2));
    let ns = (ns.saturating_add(unit / 2) / unit).saturating_mul(unit);
    text::format_duration(Duration::from_nanos(ns))
}

/// The length of a message that is not negative.
pub fn positive(length: &prost_types::Duration) -> Option<Duration> {
    Duration::try_from(*length).ok()
}

/// How long `at` lies back, coarse enough to be read at a glance: `47s`, `12m`, `3h12m`, `9d`.
pub fn age(at: Option<&prost_types::Timestamp>, now: UtcTime) -> String {
    let Some(at) = at else { return "-".to_owned() };
    let at = at.seconds.saturating_mul(1_000_000_000).saturating_add(at.nanos.into());
    let seconds = now.since(UtcTime::from_ns(at)).as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..600 => match seconds % 60 {
            0 => format!("{}m", seconds / 60),
            rest => format!("{}m{rest}s", seconds / 60),
        },
        600..3_600 => format!("{}m", seconds / 60),
        3_600..86_400 => match seconds % 3_600 / 60 {
            0 => format!("{}h", seconds / 3_600),
            rest => format!("{}h{rest}m", seconds / 3_600),
        },
        _ => format!("{}d", seconds / 86_400),
    }
}

/// The text of an optional value, or a dash.
pub fn or_dash(text: Option<String>) -> String {
    text.filter(|text| !text.is_empty()).unwrap_or_else(|| "-".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_coarser_the_older_they_are() {
        let now = UtcTime::from_ns(1_000_000_000_000_000);
        let age = |seconds: i64| {
            age(Some(&prost_types::Timestamp { seconds: 1_000_000 - seconds, nanos: 0 }), now)
        };
        assert_eq!(age(0), "0s");
        assert_eq!(age(-5), "0s");
        assert_eq!(age(125), "2m5s");
        assert_eq!(age(660), "11m");
        assert_eq!(age(3_600 * 3 + 720), "3h12m");
        assert_eq!(age(86_400 * 9), "9d");
    }

    #[test]
    fn measured_lengths_have_three_figures() {
        let rounded = |ns: u64| {
            let length = prost_types::Duration::try_from(Duration::from_nanos(ns)).unwrap();
            rounded(Some(&length)).unwrap()
        };
        for (ns, text) in [
            (0, "0s"),
            (7, "7ns"),
            (94_120, "94.1us"),
            (999_960, "1ms"),
            (1_069_987, "1.07ms"),
            (412_345_678, "412ms"),
            (12_449_000_000, "12.4s"),
            (83_000_000_000, "1m23s"),
        ] {
            assert_eq!(rounded(ns), text);
        }
    }

    #[test]
    fn instants_are_rfc_3339_with_milliseconds() {
        let at = prost_types::Timestamp { seconds: 1_700_000_000, nanos: 123_456_789 };
        assert_eq!(instant(Some(&at)).as_deref(), Some("2023-11-14T22:13:20.123Z"));
    }
}
