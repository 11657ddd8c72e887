//! `check pause` and `check resume`.

use clap::Args;

use super::Select;

/// Which checks.
#[derive(Debug, Clone, Args)]
pub struct Pause {
    /// Their names; each must be there, or nothing is done
    #[arg(value_name = "NAME", required_unless_present_any = ["selectors", "all"],
          conflicts_with_all = ["selectors", "all"])]
    pub names: Vec<String>,
    /// Which of them, where none is named.
    #[command(flatten)]
    pub select: Select,
    /// All of the namespace
    #[arg(long, conflicts_with = "selectors")]
    pub all: bool,
    /// Several that nobody named, also from a terminal
    #[arg(long)]
    pub yes: bool,
}

/// Below the help of `check pause`.
pub(super) const PAUSE: &str = "\
A paused check is not run and has no verdict. Its incidents end at once, and pages say so. It stays in
its set and is otherwise as it was. The next `apply` of files in which it is not `enabled: false` runs
it again; `parallax silence add` keeps it running and nobody is paged.

Examples:
  parallax check pause checkout
  parallax check pause -l team=payments --yes";

/// Below the help of `check resume`.
pub(super) const RESUME: &str = "\
It starts without any vote, as a new check does. The next `apply` of files in which it is
`enabled: false` pauses it again.

Examples:
  parallax check resume checkout
  parallax check resume --all --yes";
