//! Shares as people write them, `99.9%`, and as they are counted with: whole millionths.

/// Reads a share of at most a hundred percent with at most four decimals.
pub fn parse(text: &str) -> Option<u32> {
    let number = text.strip_suffix('%')?;
    let (whole, part) = match number.split_once('.') {
        Some((_, "")) => return None,
        Some((whole, part)) => (whole, part),
        None => (number, ""),
    };
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || whole.len() > 3 || part.len() > 4 || !digits(whole) || !digits(part) {
        return None;
    }
    let whole: u32 = whole.parse().ok()?;
    let part: u32 = format!("{part:0<4}").parse().ok()?;
    let ppm = whole * 10_000 + part;
    (ppm <= 1_000_000).then_some(ppm)
}

/// Writes a share. Reading it gives the same one.
pub fn format(ppm: u32) -> String {
    let (whole, part) = (ppm / 10_000, ppm % 10_000);
    let part = format!("{part:04}");
    match part.trim_end_matches('0') {
        "" => format!("{whole}%"),
        part => format!("{whole}.{part}%"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_share_is_a_number_and_a_sign() {
        for (text, ppm) in [
            ("2%", Some(20_000)),
            ("0%", Some(0)),
            ("99.9%", Some(999_000)),
            ("99.999%", Some(999_990)),
            ("0.0001%", Some(1)),
            ("100%", Some(1_000_000)),
            ("100.1%", None),
            ("2", None),
            ("%", None),
            (".5%", None),
            ("1.%", None),
            ("1.23456%", None),
            ("-1%", None),
            ("+1%", None),
            ("1e1%", None),
            ("9999%", None),
        ] {
            assert_eq!(parse(text), ppm, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(ppm in 0u32..=1_000_000) {
            prop_assert_eq!(parse(&format(ppm)), Some(ppm));
        }
    }
}
