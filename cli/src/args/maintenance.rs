//! `maintenance ...`.

use clap::Subcommand;

use super::{Delete, Get, List};

/// `maintenance ...`.
#[derive(Debug, Subcommand)]
pub enum Maintenance {
    /// All windows, and when each comes next
    #[command(after_help = "Examples:\n  parallax maintenance list -o json")]
    List(List),
    /// One window, and the next times of it
    #[command(after_help = "Examples:\n  parallax maintenance get backup")]
    Get(Get),
    /// Delete a window; what it is quiet about now is paged at once if it is still down
    #[command(after_help = "Examples:\n  parallax maintenance delete backup")]
    Delete(Delete),
}
