//! `check run`.

use clap::Args;

/// `check run`.
#[derive(Debug, Clone, Args)]
pub struct CheckRun {
    /// Its name
    pub name: String,
    /// Ask only the probes of this region; may be given several times
    #[arg(long = "region", value_name = "NAME")]
    pub regions: Vec<String>,
    /// Take the check as the coordinator that answers has it: works without a leader
    #[arg(long)]
    pub stale: bool,
}
