//! `silence ...`.

use std::time::Duration;

use clap::{Args, Subcommand};
use parallax_common::limits::SILENCE_LENGTH_MAX;
use parallax_common::matcher::Matcher;
use parallax_common::text;

/// `silence ...`.
#[derive(Debug, Subcommand)]
pub enum Silence {
    /// Page nobody about what fits, for a while; checks go on and incidents open all the same
    #[command(after_help = "Examples:\n  \
        parallax silence add --check checkout --for 2h --comment \"moving the database\"\n  \
        parallax silence add --matcher team=payments --matcher 'check=~pay.*' \\\n    \
        --from 2026-03-01T22:00:00Z --until 2026-03-02T02:00:00Z --comment \"new switch\"")]
    Add(SilenceAdd),
    /// Silences that hold or will, the newest first
    #[command(after_help = "Examples:\n  parallax silence list --ended -o json")]
    List(SilenceList),
    /// One silence
    #[command(after_help = "Examples:\n  parallax silence get 0190b2a4")]
    Get(SilenceGet),
    /// End a silence now; what is still down is paged at once
    #[command(after_help = "Examples:\n  parallax silence expire 0190b2a4")]
    Expire(SilenceExpire),
}

/// `silence add`.
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("what").args(["check", "matchers"]).required(true).multiple(true)))]
#[command(group(clap::ArgGroup::new("end").args(["length", "until"]).required(true)))]
pub struct SilenceAdd {
    /// Incidents of this check: the same as --matcher check=NAME
    #[arg(long, value_name = "NAME")]
    pub check: Option<String>,
    /// label=value, label!=value, label=~pattern or label!~pattern; several must all fit
    #[arg(long = "matcher", short = 'm', value_name = "MATCHER", value_parser = matcher)]
    pub matchers: Vec<Matcher>,
    /// How long it lasts, such as 2h
    #[arg(long = "for", value_name = "LENGTH", value_parser = length)]
    pub length: Option<Duration>,
    /// When it ends, in RFC 3339
    #[arg(long, value_name = "WHEN", value_parser = instant)]
    pub until: Option<jiff::Timestamp>,
    /// When it begins, in RFC 3339 [default: now]
    #[arg(long, value_name = "WHEN", value_parser = instant)]
    pub from: Option<jiff::Timestamp>,
    /// Why; whoever wonders at night reads it
    #[arg(long)]
    pub comment: String,
}

/// `silence list`.
#[derive(Debug, Args)]
pub struct SilenceList {
    /// Those that have ended lately, too
    #[arg(long)]
    pub ended: bool,
    /// Answer from the member's own state without asking the leader
    #[arg(long)]
    pub stale: bool,
}

/// `silence get`.
#[derive(Debug, Args)]
pub struct SilenceGet {
    /// Its uid, or the start of it
    pub uid: String,
    /// Answer from the member's own state without asking the leader
    #[arg(long)]
    pub stale: bool,
}

/// `silence expire`.
#[derive(Debug, Args)]
pub struct SilenceExpire {
    /// Its uid, or the start of it
    pub uid: String,
}

fn matcher(text: &str) -> Result<Matcher, String> {
    Matcher::parse(text).map_err(|error| error.to_string())
}

fn length(text: &str) -> Result<Duration, String> {
    let length = text::parse_duration(text).map_err(|error| error.to_string())?;
    if length.is_zero() || length > SILENCE_LENGTH_MAX {
        return Err("above 0 and at most 366d".to_owned());
    }
    Ok(length)
}

fn instant(text: &str) -> Result<jiff::Timestamp, String> {
    text.parse().map_err(|_| "write a moment such as 2026-03-01T22:00:00Z".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Cli, Command};

    fn read(line: &[&str]) -> Result<Command, clap::Error> {
        let line = ["parallax", "silence", "add"].iter().chain(line);
        Cli::read(line.copied()).map(|cli| cli.command)
    }

    #[test]
    fn a_silence_says_what_until_when_and_why() {
        let line = ["--check", "web", "-m", "team=~pay.*", "--for", "2h", "--comment", "c"];
        let Ok(Command::Silence(Silence::Add(add))) = read(&line) else { panic!("refused") };
        assert_eq!(add.length, Some(Duration::from_secs(7_200)));
        assert_eq!(add.matchers[0].to_string(), "team=~pay.*");
        let until = ["-m", "a=b", "--until", "2026-03-01T22:00:00Z", "--comment", "c"];
        assert!(read(&until).is_ok());
        let rows: &[&[&str]] = &[
            &["--for", "2h", "--comment", "c"],
            &["--check", "web", "--comment", "c"],
            &["--check", "web", "--for", "2h"],
            &["--check", "web", "--for", "0s", "--comment", "c"],
            &["--check", "web", "--for", "367d", "--comment", "c"],
            &["--check", "web", "--until", "tomorrow", "--comment", "c"],
            &["--check", "web", "--from", "now", "--for", "2h", "--comment", "c"],
            &["--check", "web", "--for", "2h", "--until", "2026-03-01T22:00:00Z", "--comment", "c"],
            &["-m", "team", "--for", "2h", "--comment", "c"],
            &["-m", "team=~(", "--for", "2h", "--comment", "c"],
        ];
        for row in rows {
            assert!(read(row).is_err(), "{row:?}");
        }
    }
}
