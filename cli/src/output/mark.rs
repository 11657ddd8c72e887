//! Marks and colours for verdicts and ballots: a mark and a word, so that nothing depends on
//! colour.

use owo_colors::OwoColorize as _;

/// How something stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// As it should be.
    Good,
    /// Worth a look.
    Warn,
    /// Not as it should be.
    Bad,
    /// Not known, or of no weight.
    Dim,
    /// No colour.
    Plain,
}

impl Tone {
    /// Of a verdict.
    pub fn of_verdict(word: &str) -> Self {
        match word {
            "up" => Self::Good,
            "degraded" => Self::Warn,
            "down" => Self::Bad,
            _ => Self::Dim,
        }
    }

    /// Of a ballot's state, as [`crate::output::status`] words it.
    pub fn of_ballot(word: &str) -> Self {
        match word {
            "pass" => Self::Good,
            "warn" | "split" => Self::Warn,
            "fail" => Self::Bad,
            _ => Self::Dim,
        }
    }

    /// The text in this tone.
    pub fn paint(self, text: &str, color: bool) -> String {
        if !color {
            return text.to_owned();
        }
        match self {
            Self::Good => text.green().to_string(),
            Self::Warn => text.yellow().to_string(),
            Self::Bad => text.red().bold().to_string(),
            Self::Dim => text.bright_black().to_string(),
            Self::Plain => text.to_owned(),
        }
    }
}

/// The mark of a verdict.
pub fn of_verdict(word: &str) -> char {
    match word {
        "up" => '✓',
        "degraded" => '!',
        "down" => '✗',
        "paused" => '-',
        _ => '?',
    }
}

/// The mark of a ballot's state.
pub fn of_ballot(word: &str) -> char {
    match word {
        "pass" => '✓',
        "warn" | "split" => '!',
        "fail" => '✗',
        "stale" => '~',
        "excluded" => '-',
        _ => '·',
    }
}
