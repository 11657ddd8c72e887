//! `parallax dev`: a whole mesh on loopback, made of the binaries' own `run()`.
//!
//! [`mesh`] starts it and shows what happens: coordinators and a probe in each of the
//! [`place::REGIONS`], with TLS and stores of their own in one directory ([`place`]), a [`target`]
//! to look at and a [`sink`] for pages. `dev break` and `dev heal`, from another terminal, speak to
//! its [`control`] socket and change its [`fault`]s; `dev stop` and `dev start` end a coordinator and
//! begin it again.

pub mod args;
pub mod control;
mod coordinators;
pub mod fault;
mod members;
pub mod mesh;
pub mod place;
pub mod samples;
pub mod screen;
pub mod show;
pub mod sink;
pub mod target;
mod watcher;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use self::args::Action;
pub use self::args::Dev;
use self::control::{ControlError, Request};
use self::place::PlaceError;

/// Why `dev` did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum DevError {
    /// The data directory cannot be used.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// The running mesh could not be asked, or said no.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// Certificates could not be made.
    #[error("cannot make certificates")]
    Pki(#[from] crate::pki::PkiError),
    /// A part that the mesh is made of could not be started.
    #[error("cannot start {what}")]
    Start {
        /// Which part.
        what: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The coordinator or a probe ended.
    #[error("{what} has ended: {why}; see {}", log.display())]
    Ended {
        /// Who.
        what: String,
        /// What it said.
        why: String,
        /// Where everything is logged.
        log: PathBuf,
    },
    /// The directory holds a mesh of another size.
    #[error(
        "the directory holds a mesh of {kept} coordinators, not {asked}: leave --coordinators out, or \
         give another --data-dir"
    )]
    Count {
        /// How many it holds.
        kept: usize,
        /// How many were asked for.
        asked: usize,
    },
    /// The sample checks were refused.
    #[error("the sample checks were not applied: {0}")]
    Samples(String),
    /// A part did not stop in time.
    #[error("{what} did not stop within {} s; see {}", .within.as_secs(), log.display())]
    Stop {
        /// Which part.
        what: &'static str,
        /// How long it had.
        within: Duration,
        /// Where everything is logged.
        log: PathBuf,
    },
}

/// Runs `dev ...`. Without an action: until interrupted.
pub async fn run(dev: Dev) -> Result<(), DevError> {
    let dir = dev.data_dir.clone().unwrap_or_else(crate::context::dev_dir);
    let screen = screen::Screen::stdout();
    match dev.action {
        None => mesh::run(&dir, dev.data_dir.is_some(), dev.coordinators, &screen).await,
        Some(Action::Break(args)) => ask(&dir, &args.request(), &screen).await,
        Some(Action::Heal(args)) => ask(&dir, &args.request(), &screen).await,
        Some(Action::Stop(args)) => {
            ask(&dir, &Request::Stop { coordinator: args.coordinator }, &screen).await
        }
        Some(Action::Start(args)) => {
            ask(&dir, &Request::Start { coordinator: args.coordinator }, &screen).await
        }
    }
}

async fn ask(dir: &Path, request: &Request, screen: &screen::Screen) -> Result<(), DevError> {
    let answer = control::ask(dir, request).await?;
    screen.line(&answer);
    Ok(())
}
