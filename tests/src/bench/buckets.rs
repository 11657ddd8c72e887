//! Prometheus histograms of a text exposition: what they grew by, and quantiles of that.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::figures::ms;

/// A histogram's buckets, each with how many samples are at most its bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Buckets(Vec<(String, u64)>);

impl Buckets {
    /// Reads one.
    ///
    /// # Errors
    /// When it is not there.
    pub fn read(text: &str, name: &str) -> Result<Self> {
        let begins = format!("{name}_bucket{{le=\"");
        let mut buckets = Vec::new();
        for line in text.lines().filter_map(|line| line.strip_prefix(&begins)) {
            let (bound, count) = line.split_once("\"} ").context("a bucket has a count")?;
            buckets.push((bound.to_owned(), count.parse()?));
        }
        buckets.last().with_context(|| format!("no histogram {name}"))?;
        Ok(Self(buckets))
    }

    /// What came since an earlier look.
    pub fn since(mut self, before: &Self) -> Self {
        for ((_, count), (_, earlier)) in self.0.iter_mut().zip(&before.0) {
            *count -= earlier;
        }
        self
    }

    /// Samples.
    pub fn count(&self) -> u64 {
        self.0.last().map_or(0, |(_, count)| *count)
    }

    /// The bound of the bucket in which the sample of this rank is, in milliseconds: at most so
    /// much. Infinite above the last bound; no number without samples.
    pub fn quantile_ms(&self, q: f64) -> f64 {
        let rank = (q * self.count() as f64).ceil().max(1.0) as u64;
        let bucket = self.0.iter().find(|(_, count)| *count >= rank);
        match bucket.map(|(bound, _)| bound.parse::<f64>()) {
            // "+Inf" is a number to the standard library.
            Some(Ok(seconds)) if seconds.is_finite() => ms(Duration::from_secs_f64(seconds)),
            Some(Ok(infinite)) => infinite,
            _ => f64::NAN,
        }
    }

    /// Count, median, p99 and p99.9.
    pub fn summary(&self) -> Value {
        json!({
            "count": self.count(),
            "median_at_most_ms": self.quantile_ms(0.5),
            "p99_at_most_ms": self.quantile_ms(0.99),
            "p999_at_most_ms": self.quantile_ms(0.999),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(counts: [u64; 3]) -> String {
        let [a, b, c] = counts;
        format!(
            "# TYPE late histogram\nlate_bucket{{le=\"0.001\"}} {a}\nlate_bucket{{le=\"0.005\"}} {b}\n\
             late_bucket{{le=\"+Inf\"}} {c}\nlate_sum 1\nlate_count {c}\n"
        )
    }

    #[test]
    fn quantiles_are_bounds_of_what_came_in_between() -> Result<()> {
        let before = Buckets::read(&text([100, 100, 100]), "late")?;
        let grown = Buckets::read(&text([190, 199, 200]), "late")?.since(&before);
        assert_eq!(grown.count(), 100);
        assert_eq!((grown.quantile_ms(0.5), grown.quantile_ms(0.99)), (1.0, 5.0));
        assert!(grown.quantile_ms(1.0).is_infinite());
        assert!(before.clone().since(&before).quantile_ms(0.5).is_nan());
        assert!(Buckets::read(&text([0, 0, 0]), "early").is_err());
        Ok(())
    }
}
