//! The command line of `parallax dev`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::dev::control::Request;
use crate::dev::coordinators::COUNTS;
use crate::dev::fault::Mode;

/// Coordinators of a dev mesh that is not told how many.
pub(super) const COORDINATORS: usize = 1;

/// `dev`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Dev {
    /// Keep state in this directory [default: a directory of yours among the temporary files,
    /// emptied at each start]
    #[arg(long, global = true, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Coordinators of the mesh: 1, 3 or 5; 3 outlive any one of them [default: 1, or as many as the
    /// directory holds]
    #[arg(long, value_name = "NUMBER", value_parser = coordinators)]
    pub coordinators: Option<usize>,
    /// What to do with the mesh that runs; without one, run it.
    #[command(subcommand)]
    pub action: Option<Action>,
}

fn coordinators(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count) if COUNTS.contains(&count) => Ok(count),
        _ => Err("must be 1, 3 or 5".to_owned()),
    }
}

const EXAMPLES: &str = "\
Examples:
  parallax dev                                     a mesh of five regions, until Ctrl-C
  parallax dev --data-dir ~/mesh                   the same, and it remembers
  parallax dev break --regions eu-west             one region cannot reach the target
  parallax dev break --mode slow                   the target answers late, everywhere
  parallax dev heal                                all is well again
  parallax dev --coordinators 3                    a mesh that outlives any one coordinator
  parallax dev stop c1                             one of them goes away
  parallax dev start c1                            and comes back";

/// What to do with the mesh that runs.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Let the demo target fail
    #[command(
        after_help = "Examples:\n  parallax dev break --regions eu-west\n  parallax dev break --mode slow"
    )]
    Break(Break),
    /// Let the demo target work again
    #[command(after_help = "Examples:\n  parallax dev heal")]
    Heal(Heal),
    /// Stop a coordinator of the mesh
    #[command(after_help = "Examples:\n  parallax dev stop c1")]
    Stop(Coordinator),
    /// Start a coordinator that was stopped
    #[command(after_help = "Examples:\n  parallax dev start c1")]
    Start(Coordinator),
}

/// `dev stop` and `dev start`.
#[derive(Debug, Args)]
pub struct Coordinator {
    /// Which one, such as c1
    #[arg(value_name = "NAME")]
    pub coordinator: String,
}

/// `dev break`.
#[derive(Debug, Args)]
pub struct Break {
    /// Only as these regions see it [default: all]
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    pub regions: Vec<String>,
    /// How it fails
    #[arg(long, value_enum, default_value_t = Mode::Refuse)]
    pub mode: Mode,
}

impl Break {
    pub(super) fn request(&self) -> Request {
        Request::Break { regions: self.regions.clone(), mode: self.mode }
    }
}

/// `dev heal`.
#[derive(Debug, Args)]
pub struct Heal {
    /// Only as these regions see it [default: all]
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    pub regions: Vec<String>,
}

impl Heal {
    pub(super) fn request(&self) -> Request {
        Request::Heal { regions: self.regions.clone() }
    }
}
