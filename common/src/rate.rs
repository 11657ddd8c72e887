//! How many pages a contact takes in a stretch of time: `10/m`.

use std::time::Duration;

use crate::limits::RATE_PAGES_MAX;

/// A number of pages in a second, a minute or an hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// From 1 to 1 000.
    pub pages: u32,
    /// A second, a minute or an hour.
    pub per: Duration,
}

/// A text is no rate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a rate such as 1/s, 10/m or 100/h, of 1 to {RATE_PAGES_MAX} pages")]
pub struct NotARate(String);

impl Rate {
    /// Reads a rate.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(text: &str) -> Result<Self, NotARate> {
        let wrong = || NotARate(text.to_owned());
        let (pages, unit) = text.split_once('/').ok_or_else(wrong)?;
        let seconds = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3_600,
            _ => return Err(wrong()),
        };
        let is_number = pages.bytes().all(|b| b.is_ascii_digit()) && !pages.starts_with('0');
        let pages = pages.parse().ok().filter(|pages| is_number && *pages <= RATE_PAGES_MAX);
        Ok(Self { pages: pages.ok_or_else(wrong)?, per: Duration::from_secs(seconds) })
    }

    /// From one page to the next when they come evenly.
    pub fn spacing(self) -> Duration {
        self.per / self.pages.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_number_of_pages_in_a_unit_of_time() {
        #[rustfmt::skip]
        let table = [
            ("1/s",     Some((1, 1))),
            ("10/m",    Some((10, 60))),
            ("1000/h",  Some((1_000, 3_600))),
            ("1001/h",  None),
            ("0/m",     None),
            ("010/m",   None),
            ("+1/m",    None),
            ("/m",      None),
            ("10",      None),
            ("10/d",    None),
            ("10/ m",   None),
            ("10/m/s",  None),
            ("",        None),
        ];
        for (text, expected) in table {
            let rate = Rate::parse(text).ok().map(|rate| (rate.pages, rate.per.as_secs()));
            assert_eq!(rate, expected, "{text}");
        }
        assert_eq!(Rate::parse("10/m").unwrap().spacing(), Duration::from_secs(6));
    }
}
