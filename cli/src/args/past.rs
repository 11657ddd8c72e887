//! What commands about the past take: moments, and how to add up what was measured.

use std::time::Duration;

use clap::{Args, ValueEnum};
use parallax_common::outcome::Phase;
use parallax_common::text::parse_duration;
use parallax_common::time::UtcTime;

use super::Select;

/// A moment: so long ago, or a date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Before now.
    Ago(Duration),
    /// In UTC.
    At(UtcTime),
}

impl Moment {
    /// When that is.
    pub fn from(self, now: UtcTime) -> UtcTime {
        match self {
            Self::Ago(length) => now - length,
            Self::At(at) => at,
        }
    }
}

fn moment(text: &str) -> Result<Moment, String> {
    if let Ok(length) = parse_duration(text) {
        return Ok(Moment::Ago(length));
    }
    let at = text.parse::<jiff::Timestamp>().map_err(|_| {
        "must be a length such as 7d or 90m, or a moment such as 2026-01-31T12:00:00Z".to_owned()
    })?;
    let ns = i64::try_from(at.as_nanosecond()).map_err(|_| "is out of range".to_owned())?;
    Ok(Moment::At(UtcTime::from_ns(ns)))
}

fn step(text: &str) -> Result<Duration, String> {
    let length = parse_duration(text).map_err(|error| error.to_string())?;
    if length.is_zero() || length.subsec_nanos() != 0 {
        return Err("must be whole seconds, and not 0".to_owned());
    }
    Ok(length)
}

fn percent(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(percent) if percent > 0.0 && percent <= 100.0 => Ok(percent),
        _ => Err("must be above 0 and at most 100".to_owned()),
    }
}

fn phase(text: &str) -> Result<Phase, String> {
    Phase::from_word(text).ok_or_else(|| {
        let words: Vec<&str> = Phase::ALL.iter().map(|phase| phase.word()).collect();
        format!("must be one of {}", words.join(", "))
    })
}

/// What has rows of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum By {
    /// Each region.
    Region,
    /// Each phase.
    Phase,
    /// Each step of the run.
    Step,
}

/// `history`.
#[derive(Debug, Args)]
pub struct History {
    /// Name of a check
    pub name: String,
    /// Where to begin: so long ago, or a moment in RFC 3339
    #[arg(long, value_name = "WHEN", value_parser = moment, default_value = "24h")]
    pub since: Moment,
    /// Where to end [default: now]
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    pub until: Option<Moment>,
    /// One row for each such stretch of time; without it one for all
    #[arg(long, value_name = "LENGTH", value_parser = step)]
    pub step: Option<Duration>,
    /// Percentiles of the latency
    #[arg(long, value_name = "PERCENT", value_delimiter = ',', value_parser = percent,
          default_value = "50,95,99")]
    pub quantiles: Vec<f64>,
    /// Rows of their own for each of these
    #[arg(long, value_enum, value_delimiter = ',')]
    pub by: Vec<By>,
    /// Only these phases [default: total; all with --by phase]
    #[arg(long = "phase", value_name = "PHASE", value_delimiter = ',', value_parser = phase)]
    pub phases: Vec<Phase>,
    /// Find the check in the member's own state without asking the leader
    #[arg(long)]
    pub stale: bool,
}

/// `uptime`.
#[derive(Debug, Args)]
pub struct Uptime {
    /// Name of a check
    #[arg(required_unless_present = "all", conflicts_with_all = ["all", "selectors"])]
    pub name: Option<String>,
    /// All checks
    #[arg(long)]
    pub all: bool,
    /// With --all: which of them.
    #[command(flatten)]
    pub select: Select,
    /// Where to begin: so long ago, or a moment in RFC 3339
    #[arg(long, value_name = "WHEN", value_parser = moment, default_value = "30d")]
    pub since: Moment,
    /// Where to end [default: now]
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    pub until: Option<Moment>,
    /// Answer from the member's own state without asking the leader
    #[arg(long)]
    pub stale: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Cli, Command};

    #[test]
    fn moments_are_lengths_or_dates() {
        let now = UtcTime::from_ns(1_700_000_000_000_000_000);
        assert_eq!(moment("1h30m").unwrap().from(now), now - Duration::from_secs(5_400));
        assert_eq!(moment("2023-11-14T22:13:20Z").unwrap().from(now), now);
        for wrong in ["", "yesterday", "7", "2023-11-14"] {
            assert!(moment(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn lists_come_with_commas_and_nonsense_is_refused() {
        let line =
            "parallax history web --since 7d --quantiles 50,99.9 --by region,phase --step 1h";
        let Command::History(history) = Cli::read(line.split(' ')).unwrap().command else {
            panic!("another command");
        };
        assert_eq!(history.quantiles, [50.0, 99.9]);
        assert_eq!(history.by, [By::Region, By::Phase]);
        assert_eq!(history.step, Some(Duration::from_secs(3_600)));
        for wrong in [
            "history web --quantiles 0",
            "history web --quantiles 101",
            "history web --step 10ms",
            "history web --by check",
            "history web --phase dance",
            "uptime",
            "uptime web --all",
            "uptime web -l a=b",
        ] {
            let line = format!("parallax {wrong}");
            assert!(Cli::read(line.split(' ')).is_err(), "{wrong}");
        }
    }
}
