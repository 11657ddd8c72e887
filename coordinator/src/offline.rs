//! What is done to a data directory while no member runs on it: looking, rebuilding, restoring.
//!
//! Each tool is a word behind `parallax-coordinator`, in a file of its own. All of them hold the
//! lock of the data directory, so that none works on one that is in use, and none deletes
//! anything: what has to make room is moved aside.

pub mod inspect;
pub mod place;
pub mod rebuild;
pub mod restore;
pub mod tail;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};
use thiserror::Error;

use crate::identity::IdentityError;
use crate::raft::log::LogError;
use crate::store::backup::BackupError;
use crate::store::rows::RowError;
use crate::store::snapshot::SnapshotError;

/// The tools, for the help of the command without any.
pub const HELP: &str = "\
Offline tools, on a data directory that no member uses:
  parallax-coordinator inspect            what is in it, and whether it is whole
  parallax-coordinator rebuild-from-peer  state from another member's snapshot, the log is kept
  parallax-coordinator restore            a new cluster from a backup file
  parallax-coordinator accept-lost-tail   go on without entries that the disk lost
Each explains itself with --help.";

const WORDS: &[&str] = &["inspect", "rebuild-from-peer", "restore", "accept-lost-tail"];

/// Whether the command line asks for a tool rather than for a member.
pub fn is_asked(first: Option<&std::ffi::OsStr>) -> bool {
    first.and_then(|word| word.to_str()).is_some_and(|word| WORDS.contains(&word))
}

/// The command line of the tools.
#[derive(Debug, Parser)]
#[command(name = "parallax-coordinator", version, disable_help_subcommand = true)]
pub struct Cli {
    /// Which tool.
    #[command(subcommand)]
    pub tool: Tool,
}

/// A tool.
#[derive(Debug, Subcommand)]
pub enum Tool {
    /// Says what is in a data directory or in a backup, and verifies all of it.
    ///
    /// Nothing in the directory is written to: log and rows are copied to a scratch directory and
    /// opened there, as a start would open them. Exits with 1 when something is damaged.
    Inspect(Inspect),
    /// Replaces damaged rows and snapshots by the newest snapshot of another member.
    ///
    /// For a member whose rows and snapshots cannot be used, or differ from those of the others,
    /// and whose log is whole. The log is kept, and with it the votes and the entries that this
    /// member has promised to others; so it comes back under its own node id. Old rows and snapshots
    /// are moved aside, not deleted.
    ///
    /// It is refused when the log itself is damaged or lost: what was promised is then unknown, and a
    /// member that forgets a promise can make the whole cluster lose what it acknowledged. Such a
    /// machine gets a new node id: `parallax cluster remove NAME`, move the data directory aside,
    /// `parallax cluster add NAME ...`, and start it with --join. Its state then comes by itself.
    RebuildFromPeer(Rebuild),
    /// Begins a new cluster of one member with what a backup holds.
    ///
    /// Everything replicated comes back: configuration, verdicts, incidents, deliveries and which
    /// of them were sent, audit, request ids; and history, unless the backup was made without it. The cluster has a new id and a higher epoch, so that
    /// members of the old one are refused and probes take its plans; its only member is this one,
    /// and `parallax cluster add` lets others in. Revisions go on 1 000 000 above the backup's, so that
    /// none is given twice. What was written after the backup is gone.
    Restore(Restore),
    /// Lets a lone member start although its log lost its end.
    ///
    /// For the only voter of a cluster whose log ends before its rows do: the disk lost what it had
    /// said was safe. Restoring from a backup is one way out; this is the other. The rows and snapshots
    /// behind the end of the log are moved aside, and the next start rebuilds the state from what
    /// is left. Everything committed behind that entry is lost.
    AcceptLostTail(AcceptLostTail),
}

/// See [`Tool::Inspect`].
#[derive(Debug, Args)]
pub struct Inspect {
    /// A file made by `parallax backup`, instead of a data directory.
    pub file: Option<PathBuf>,
    /// The data directory.
    #[arg(long, env = "PARALLAX_DATA_DIR", required_unless_present = "file")]
    pub data_dir: Option<PathBuf>,
    /// Where log and rows are copied to; needs as much room as they take.
    #[arg(long, value_name = "DIR")]
    pub scratch_dir: Option<PathBuf>,
    /// How to print it.
    #[arg(long, short, value_enum, default_value_t = Format::Text)]
    pub output: Format,
}

/// How a tool prints what it found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON document.
    Json,
}

/// See [`Tool::RebuildFromPeer`].
#[derive(Debug, Args)]
pub struct Rebuild {
    /// The data directory.
    #[arg(long, env = "PARALLAX_DATA_DIR")]
    pub data_dir: PathBuf,
    /// Directory with ca.pem, cert.pem and key.pem of this member.
    #[arg(long, env = "PARALLAX_TLS_DIR")]
    pub tls_dir: PathBuf,
    /// Peer listener of a running member.
    #[arg(long, value_name = "HOST:PORT")]
    pub peer: String,
}

/// See [`Tool::Restore`].
#[derive(Debug, Args)]
pub struct Restore {
    /// A file made by `parallax backup`.
    pub file: PathBuf,
    /// An empty or new data directory.
    #[arg(long, env = "PARALLAX_DATA_DIR")]
    pub data_dir: PathBuf,
    /// Name of the member that will run on it; must be the one in its certificate.
    #[arg(long, env = "PARALLAX_NAME", value_parser = crate::config::name)]
    pub name: String,
    /// Move what is in the data directory aside first.
    #[arg(long)]
    pub force: bool,
}

/// See [`Tool::AcceptLostTail`].
#[derive(Debug, Args)]
pub struct AcceptLostTail {
    /// The data directory.
    #[arg(long, env = "PARALLAX_DATA_DIR")]
    pub data_dir: PathBuf,
}

/// Why a tool did not do what it was asked. Unless it says otherwise, nothing was changed.
#[derive(Debug, Error)]
pub enum OfflineError {
    /// The directory is not there.
    #[error("there is no data directory {0}")]
    NoDirectory(PathBuf),
    /// A member runs on it.
    #[error("the data directory {0} is used by another process; stop it first")]
    Locked(PathBuf),
    /// The disk.
    #[error("could not {action}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Who the member is cannot be read.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The rows.
    #[error(transparent)]
    Rows(#[from] RowError),
    /// The snapshots.
    #[error(transparent)]
    Snapshots(#[from] SnapshotError),
    /// The backup.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// The history that is being restored.
    #[error("history cannot be put into the data directory")]
    History(#[from] crate::history::segment::SegmentError),
    /// The tool must not be used here.
    #[error("{0}")]
    Refused(String),
    /// A file could not be printed.
    #[error("the answer could not be printed")]
    Print(#[source] serde_json::Error),
}

impl OfflineError {
    /// For `map_err` on plain files.
    pub(crate) fn io(action: &'static str) -> impl Fn(std::io::Error) -> Self {
        move |source| Self::Io { action, source }
    }
}

/// Runs the tool that the command line asks for.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::WARN)
        .with_writer(std::io::stderr)
        .init();
    let done = match &cli.tool {
        Tool::Inspect(args) => inspect::run(args),
        Tool::RebuildFromPeer(args) => rebuild::run(args),
        Tool::Restore(args) => restore::run(args),
        Tool::AcceptLostTail(args) => tail::run(args),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("parallax-coordinator: {}", parallax_runtime::error::causes(&error));
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests;
