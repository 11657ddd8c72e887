//! What a plugin wrote: its first line, and the performance data behind the bar.
//!
//! The form is that of the Monitoring Plugins' guidelines: `text | 'label'=value[unit];warn;crit;min;max`,
//! items with blanks between them. After the first line come lines of long text; once one of them has a
//! bar, it and all lines behind it are performance data, too. Thresholds are the plugin's own business and
//! passed over.

use std::collections::BTreeMap;

use parallax_common::expect::PerfValue;
use parallax_common::limits::{PLUGIN_LABEL_BYTES_MAX, PLUGIN_VALUES_MAX};

/// What a plugin wrote, taken apart.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Answer {
    /// The first line without its performance data.
    pub text: String,
    /// Each label once: the first of its values.
    pub perf: BTreeMap<String, PerfValue>,
}

/// Reads what a plugin wrote. What is no performance data is left out, and so is what comes behind the
/// most values that are kept.
pub fn read(written: &str) -> Answer {
    let mut lines = written.lines();
    let first = lines.next().unwrap_or_default();
    let (text, perf) = first.split_once('|').unwrap_or((first, ""));
    let mut answer = Answer { text: shown(text), perf: BTreeMap::new() };
    items(perf, &mut answer.perf);
    let mut in_perf = false;
    for line in lines {
        match line.split_once('|') {
            _ if in_perf => items(line, &mut answer.perf),
            Some((_, perf)) => {
                in_perf = true;
                items(perf, &mut answer.perf);
            }
            None => {}
        }
    }
    answer
}

/// A line as it can be shown: without control characters, and without blanks at its ends.
pub fn shown(line: &str) -> String {
    let plain: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    plain.trim().to_owned()
}

/// Reads the items of one line.
fn items(mut rest: &str, into: &mut BTreeMap<String, PerfValue>) {
    loop {
        rest = rest.trim_start();
        if rest.is_empty() || into.len() >= PLUGIN_VALUES_MAX {
            return;
        }
        let Some((label, after)) = label(rest) else {
            // Not an item: the next one begins behind the next blank.
            rest = rest.split_once(char::is_whitespace).map_or("", |(_, after)| after);
            continue;
        };
        let (said, after) = after.split_once(char::is_whitespace).unwrap_or((after, ""));
        rest = after;
        if label.is_empty() || label.len() > PLUGIN_LABEL_BYTES_MAX {
            continue;
        }
        if let Some(value) = value(said.split(';').next().unwrap_or_default()) {
            into.entry(label).or_insert(value);
        }
    }
}

/// The label at the front, and what is behind its `=`. One in quotes may hold blanks, and a quote as two.
fn label(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('\'') else {
        let end = text.find(|c: char| c == '=' || c.is_whitespace())?;
        return Some((text[..end].to_owned(), text[end..].strip_prefix('=')?));
    };
    let mut label = String::new();
    let mut rest = quoted;
    loop {
        let (part, after) = rest.split_once('\'')?;
        label.push_str(part);
        match after.strip_prefix('\'') {
            Some(more) => {
                label.push('\'');
                rest = more;
            }
            None => return Some((label, after.strip_prefix('=')?)),
        }
    }
}

/// A number with its unit. `U`, which stands for a value that is not known, is none.
fn value(text: &str) -> Option<PerfValue> {
    let (number, unit) = text.split_at(number(text.as_bytes()));
    let number: f64 = number.parse().ok()?;
    let letter = |c: char| c.is_alphabetic() || c == '%' || c == '/';
    let ns = match unit {
        "s" => 1e9,
        "ms" => 1e6,
        "us" | "µs" | "μs" => 1e3,
        "ns" => 1.0,
        // A comma for a point, say: half a number would be another one.
        other if !other.chars().all(letter) => return None,
        _ => return number.is_finite().then_some(PerfValue::Number(number)),
    };
    // Rounded: what is too large for the type is its end.
    number.is_finite().then_some(PerfValue::Time((number * ns).round() as i64))
}

/// How many bytes at the front are a decimal number.
fn number(text: &[u8]) -> usize {
    let digits = |from: usize| text[from..].iter().take_while(|b| b.is_ascii_digit()).count();
    let sign = |at: usize| usize::from(matches!(text.get(at), Some(b'+' | b'-')));
    let mut end = sign(0);
    end += digits(end);
    if text.get(end) == Some(&b'.') {
        end += 1;
        end += digits(end);
    }
    if matches!(text.get(end), Some(b'e' | b'E')) {
        let exponent = end + 1 + sign(end + 1);
        let length = if exponent <= text.len() { digits(exponent) } else { 0 };
        if length > 0 {
            end = exponent + length;
        }
    }
    end
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: i64 = 1_000_000;

    /// What was read, as a person writes it: `label number`, or `label time ns`.
    fn rows(written: &str) -> Vec<String> {
        let row = |(label, value): (String, PerfValue)| match value {
            PerfValue::Time(ns) => format!("{label}: {ns} ns"),
            PerfValue::Number(number) => format!("{label}: {number}"),
        };
        read(written).perf.into_iter().map(row).collect()
    }

    #[test]
    fn what_real_plugins_write_is_read() {
        for (written, text, perf) in [
            ("OK", "OK", &[][..]),
            ("", "", &[]),
            ("\n\n", "", &[]),
            (
                "HTTP OK: HTTP/1.1 200 OK - 615 bytes in 0.001 second response time \
                 |time=0.001254s;;;0.000000;10.000000 size=615B;;;0\n",
                "HTTP OK: HTTP/1.1 200 OK - 615 bytes in 0.001 second response time",
                &["size: 615", "time: 1254000 ns"],
            ),
            (
                "PING OK - Packet loss = 0%, RTA = 0.05 ms|rta=0.054000ms;100.0;500.0;0.0 pl=0%;20;60;0",
                "PING OK - Packet loss = 0%, RTA = 0.05 ms",
                &["pl: 0", "rta: 54000 ns"],
            ),
            (
                "OK - load average: 0.10, 0.20, 0.30|load1=0.100;5.000;10.000;0; load5=0.200;;;0;",
                "OK - load average: 0.10, 0.20, 0.30",
                &["load1: 0.1", "load5: 0.2"],
            ),
            (
                "DISK OK | /=2643MB;5948;5958;0;5968\n/ 15272 MB (77%);\n/boot 68 MB | /boot=68MB;88;93;0;98\n/home=69357MB;253404;253409;0;253414 \n",
                "DISK OK",
                &["/: 2643", "/boot: 68", "/home: 69357"],
            ),
            (
                "NTP OK: Offset -0.0005 secs|offset=-0.000512s;60;120;",
                "NTP OK: Offset -0.0005 secs",
                &["offset: -512000 ns"],
            ),
            ("x|'a b'=1 'it''s'=2c 'c=d'=3", "x", &["a b: 1", "c=d: 3", "it's: 2"]),
            ("x|t=3us u=4µs n=5ns", "x", &["n: 5 ns", "t: 3000 ns", "u: 4000 ns"]),
            // The first of two with one label, an unknown value, and what is none.
            (
                "x|a=1 a=2 b=U c= d e=0,5s f=1e3ms g=-.5 h=5e i=1.2.3 =7 ''=8 j=~ k=1",
                "x",
                &["a: 1", "f: 1000000000 ns", "g: -0.5", "h: 5", "k: 1"],
            ),
            ("x|'open=1 b=2", "x", &["b: 2"]),
            ("x|a=1e400s b=9e99s", "x", &["b: 9223372036854775807 ns"]),
            ("\tx\u{1b}[31m \r\n", "x [31m", &[]),
            ("|only=1s", "", &["only: 1000000000 ns"]),
        ] {
            assert_eq!(read(written).text, text, "{written:?}");
            assert_eq!(rows(written), perf, "{written:?}");
        }
        assert_eq!(read("x|t=1ms").perf["t"], PerfValue::Time(MS));
    }

    #[test]
    fn labels_and_values_are_bounded() {
        let many: String = (0..500).map(|n| format!("v{n:03}={n} ")).collect();
        let read_of = read(&format!("x|{many}"));
        assert_eq!(read_of.perf.len(), PLUGIN_VALUES_MAX);
        assert_eq!(read_of.perf["v000"], PerfValue::Number(0.0));
        let long = "l".repeat(PLUGIN_LABEL_BYTES_MAX + 1);
        assert_eq!(rows(&format!("x|{long}=1 b=2")), ["b: 2"]);
    }

    proptest! {
        /// Whatever a plugin writes is read to its end, within bounds.
        #[test]
        fn anything_is_read(written in "(?s).{0,200}") {
            let answer = read(&written);
            prop_assert!(!answer.text.contains(char::is_control));
            prop_assert!(answer.perf.len() <= PLUGIN_VALUES_MAX);
            prop_assert!(answer.perf.keys().all(|label| !label.is_empty() && !label.contains('\n')));
        }

        /// What is written by the rules is read as it was meant, in any order and among other items.
        #[test]
        fn what_follows_the_rules_is_read_back(
            values in proptest::collection::btree_map("[a-z/'][a-z' =/]{0,11}", -1_000_000_i64..1_000_000, 0..20),
            unit in prop::sample::select(vec!["s", "ms", "us", "B", "%", ""]),
            limits in prop::sample::select(vec!["", ";1", ";;@2:3;0;9", ";~:5;"]),
        ) {
            let items: Vec<String> = values
                .iter()
                .map(|(label, value)| {
                    format!("'{}'={value}{unit}{limits}", label.replace('\'', "''"))
                })
                .collect();
            let answer = read(&format!("text | {}", items.join(" ")));
            let wanted: BTreeMap<String, PerfValue> = values
                .iter()
                .map(|(label, value)| {
                    let number = *value as f64;
                    let value = match unit {
                        "s" => PerfValue::Time(value * 1_000 * MS),
                        "ms" => PerfValue::Time(value * MS),
                        "us" => PerfValue::Time(value * 1_000),
                        _ => PerfValue::Number(number),
                    };
                    (label.clone(), value)
                })
                .collect();
            prop_assert_eq!(answer.perf, wanted);
            prop_assert_eq!(answer.text, "text");
        }
    }
}
