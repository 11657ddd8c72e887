//! The command line of `parallax dev`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::dev::control::Request;
use crate::dev::fault::Mode;

/// `dev`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Dev {
    /// Keep state in this directory [default: a directory of yours among the temporary files,
    /// emptied at each start]
    #[arg(long, global = true, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// What to do with the mesh that runs; without one, run it.
    #[command(subcommand)]
    pub action: Option<Action>,
}

const EXAMPLES: &str = "\
Examples:
  parallax dev                                     a mesh of five regions, until Ctrl-C
  parallax dev --data-dir ~/mesh                   the same, and it remembers
  parallax dev break --regions eu-west             one region cannot reach the target
  parallax dev break --mode slow                   the target answers late, everywhere
  parallax dev heal                                all is well again";

/// What to do with the mesh that runs.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Let the demo target fail
    Break(Break),
    /// Let the demo target work again
    Heal(Heal),
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
