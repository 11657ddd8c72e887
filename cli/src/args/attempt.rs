//! `check try` and `validate`: what needs no mesh.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use parallax_common::guard::Network;

/// `check try`.
#[derive(Debug, Clone, Args)]
pub struct Attempt {
    /// A URL, or a YAML file, a directory of them, or - for the standard input
    #[arg(value_name = "URL|FILE")]
    pub what: String,
    /// Of files: only this check; may be given several times
    #[arg(long = "check", value_name = "NAME")]
    pub checks: Vec<String>,
    /// Of a URL: what must hold, such as 'status == 200'; may be given several times
    #[arg(long, value_name = "EXPRESSION")]
    pub expect: Vec<String>,
    /// Of a URL: what should hold, such as 'cert.days_left > 14'; may be given several times
    #[arg(long, value_name = "EXPRESSION")]
    pub warn: Vec<String>,
    /// Of a URL: the time a run may take [default: 10s]
    #[arg(long, value_name = "LENGTH", value_parser = length)]
    pub timeout: Option<Duration>,
    /// Runs of each check, a second apart
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub count: u32,
    /// A variable that checks may refer to as ${env:NAME}; may be given several times
    #[arg(long, value_name = "NAME")]
    pub allow_env: Vec<String>,
    /// A file, or a directory of files, that checks may refer to as ${file:PATH}
    #[arg(long, value_name = "PATH")]
    pub allow_file: Vec<PathBuf>,
    /// A directory whose programs checks may start
    #[arg(long, value_name = "DIR")]
    pub plugin_dir: Vec<PathBuf>,
    /// A network or an address that checks may connect to although a default denies it
    #[arg(long, value_name = "NETWORK")]
    pub allow_network: Vec<Network>,
}

/// `validate`.
#[derive(Debug, Clone, Args)]
pub struct Validate {
    /// YAML files, directories of them, or - for the standard input
    #[arg(required_unless_present = "file", value_name = "PATH")]
    pub files: Vec<String>,
    /// The same, as `apply` takes it
    #[arg(short = 'f', long = "file", value_name = "PATH")]
    pub file: Vec<String>,
}

fn length(text: &str) -> Result<Duration, String> {
    parallax_common::text::parse_duration(text).map_err(|error| error.to_string())
}
