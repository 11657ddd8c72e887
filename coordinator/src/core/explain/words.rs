//! Times, lengths, numbers and lists as people read them.

use std::time::Duration;

use crate::core::stamp;

/// Writes times in UTC; the day is named the first time it comes up, and when it changes.
#[derive(Debug, Default)]
pub(super) struct Clock {
    day: String,
}

impl Clock {
    pub(super) fn time(&mut self, stamp: Option<&prost_types::Timestamp>) -> String {
        let Some(stamp) = stamp else { return "an unknown time".into() };
        let utc = stamp::utc(Some(stamp));
        let Ok(at) = jiff::Timestamp::from_nanosecond(i128::from(utc.as_ns())) else {
            return "an unknown time".into();
        };
        let day = at.strftime("%Y-%m-%d").to_string();
        let time = at.strftime("%H:%M:%S UTC").to_string();
        if day == self.day {
            return time;
        }
        let dated = format!("{day} {time}");
        self.day = day;
        dated
    }
}

/// A length in at most two units.
pub(super) fn span(length: Duration) -> String {
    let seconds = length.as_secs();
    let two = |big: u64, big_unit: &str, small: u64, small_unit: &str| match small {
        0 => format!("{big} {big_unit}"),
        small => format!("{big} {big_unit} {small} {small_unit}"),
    };
    match seconds {
        0 => millis(length),
        1..10 => format!("{}.{} s", seconds, length.subsec_millis() / 100),
        10..120 => format!("{seconds} s"),
        120..7_200 => two(seconds / 60, "min", seconds % 60, "s"),
        7_200..172_800 => two(seconds / 3_600, "h", seconds / 60 % 60, "min"),
        _ => two(seconds / 86_400, "d", seconds / 3_600 % 24, "h"),
    }
}

/// Under a second. A target next door answers in less than a millisecond, and `0 ms` tells nothing.
fn millis(length: Duration) -> String {
    let (whole, tenths) = (length.as_millis(), length.as_micros() / 100);
    match tenths {
        0 if length.is_zero() => "0 ms".to_owned(),
        0 => "under 0.1 ms".to_owned(),
        1..100 if tenths % 10 > 0 => format!("{whole}.{} ms", tenths % 10),
        _ => format!("{whole} ms"),
    }
}

/// "1 region", "3 regions".
pub(super) fn count(n: u32, noun: &str) -> String {
    let plural = if n == 1 { "" } else { "s" };
    format!("{n} {noun}{plural}")
}

/// "1 region fails", "3 regions fail".
pub(super) fn verb(n: u32, noun: &str, one: &str, many: &str) -> String {
    format!("{} {}", count(n, noun), if n == 1 { one } else { many })
}

/// "a", "a and b", "a, b and c".
pub(super) fn list(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [one] => one.clone(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}

/// Text from elsewhere on one line, without control characters.
pub(super) fn line(text: &str) -> String {
    let printable = |c: char| if c.is_control() { ' ' } else { c };
    text.trim().chars().map(printable).collect()
}
