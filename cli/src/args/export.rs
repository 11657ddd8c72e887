//! `export`.

use std::path::PathBuf;

use clap::Args;

use super::List;

/// `export`.
#[derive(Debug, Clone, Args)]
pub struct Export {
    /// What every list takes; with a selector only what fits it, and neither `mesh` nor `routes`.
    #[command(flatten)]
    pub list: List,
    /// Apply set to export [default: default]
    #[arg(long, value_name = "NAME")]
    pub set: Option<String>,
    /// Every set of the namespace, each in a file of its own: DIR/SET.yaml
    #[arg(long, requires = "dir", conflicts_with = "set")]
    pub all_sets: bool,
    /// Where the files of --all-sets go; made when it is not there
    #[arg(long, short = 'd', value_name = "DIR", requires = "all_sets")]
    pub dir: Option<PathBuf>,
    /// Write over files that say something else
    #[arg(long, requires = "all_sets")]
    pub force: bool,
}

/// Below the help of `export`.
pub(super) const EXAMPLES: &str = "\
What `apply` takes comes out: regions, contacts, `mesh`, `routes`, maintenance and checks, as a person
would have written them, with references in place of what they stand for. Applying it changes nothing.
It is YAML, or with -o json the same as JSON, which `apply` reads as well. Silences and incidents are no
configuration. A file does not say which set it belongs to: apply it with the same --set.

Examples:
  parallax export > mesh.yaml
  parallax export --set payments | parallax diff --set payments -f -
  parallax export -l team=search -o json
  parallax export --all-sets -d config/";
