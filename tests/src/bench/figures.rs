//! Samples summed up, and bounds.

use std::time::Duration;

use serde_json::{Value, json};

/// Durations in the order in which they were measured.
#[derive(Debug, Clone, Default)]
pub struct Samples(Vec<Duration>);

impl Samples {
    /// Adds one.
    pub fn push(&mut self, sample: Duration) {
        self.0.push(sample);
    }

    /// The value below or at which the fraction `q` of all samples lies (nearest rank); zero when
    /// there is none.
    pub fn quantile(&self, q: f64) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort();
        let rank = (q * sorted.len() as f64).ceil() as usize;
        sorted.get(rank.saturating_sub(1)).or(sorted.last()).copied().unwrap_or_default()
    }

    /// Median, p95, p99, least and greatest in milliseconds.
    pub fn summary(&self) -> Value {
        json!({
            "count": self.0.len(),
            "min_ms": ms(self.quantile(0.0)),
            "median_ms": ms(self.quantile(0.5)),
            "p95_ms": ms(self.quantile(0.95)),
            "p99_ms": ms(self.quantile(0.99)),
            "max_ms": ms(self.quantile(1.0)),
        })
    }

    /// Each sample in milliseconds, in order.
    pub fn all_ms(&self) -> Vec<f64> {
        self.0.iter().map(|sample| ms(*sample)).collect()
    }
}

/// Milliseconds, to a tenth.
pub fn ms(length: Duration) -> f64 {
    (length.as_secs_f64() * 10_000.0).round() / 10.0
}

/// Bounds that did not hold, in words.
#[derive(Debug, Clone, Default)]
pub struct Missed(Vec<String>);

impl Missed {
    /// `figure` must be at least `bound`, when there is one.
    pub fn at_least(&mut self, what: &str, figure: f64, bound: Option<f64>) {
        // A figure that is no number misses every bound.
        if let Some(bound) = bound.filter(|bound| figure.is_nan() || figure < *bound) {
            self.0.push(format!("{what}: {figure:.1} is below {bound}"));
        }
    }

    /// `figure` must be at most `bound`, when there is one.
    pub fn at_most(&mut self, what: &str, figure: f64, bound: Option<f64>) {
        if let Some(bound) = bound.filter(|bound| figure.is_nan() || figure > *bound) {
            self.0.push(format!("{what}: {figure:.1} is above {bound}"));
        }
    }

    /// For the report.
    pub fn into_json(self) -> Value {
        Value::from(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_samples_and_the_nearest_rank() {
        let mut samples = Samples::default();
        assert_eq!(samples.quantile(0.5), Duration::ZERO);
        for ms in (1..=100).rev() {
            samples.push(Duration::from_millis(ms));
        }
        let at = |q| ms(samples.quantile(q));
        assert_eq!((at(0.0), at(0.5), at(0.95), at(1.0)), (1.0, 50.0, 95.0, 100.0));
        assert_eq!(samples.all_ms()[0], 100.0);
    }

    #[test]
    fn a_bound_is_missed_on_the_wrong_side_and_by_no_number() {
        let mut missed = Missed::default();
        missed.at_least("a", 2.0, Some(2.0));
        missed.at_most("b", 2.0, Some(2.0));
        missed.at_least("c", 0.0, None);
        assert_eq!(missed.clone().into_json(), json!([]));
        missed.at_least("d", 1.0, Some(2.0));
        missed.at_most("e", f64::NAN, Some(2.0));
        assert_eq!(missed.into_json().as_array().map(Vec::len), Some(2));
    }
}
