//! The coordinator: the replicated core of a mesh.
//!
//! [`core`] decides and [`raft`] replicates; everything else here waits, reads clocks and talks.
//! [`run()`] puts the parts together in one place. A walk through both paths is in ARCHITECTURE.md.

pub mod alert;
pub mod api;
pub mod config;
pub mod core;
pub mod escalation;
pub mod forward;
pub mod history;
pub mod hours;
pub mod identity;
pub mod judge;
pub mod ledger;
pub mod level;
pub mod link_key;
pub mod machine;
pub mod maintenance;
pub mod members;
pub mod mesh_clock;
pub mod mutant;
pub mod notify;
pub mod office;
pub mod offline;
pub mod peers;
pub mod propose;
pub mod public;
pub mod quiet;
pub mod quorum;
pub mod raft;
pub mod relay;
pub mod run;
pub mod session;
pub mod state_hash;
pub mod store;
pub mod view;
pub mod watch;

use std::io::IsTerminal as _;
use std::process::ExitCode;

use clap::Parser as _;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

pub use self::config::Config;
pub use self::run::{Bound, RunError, run};

/// What this build calls itself.
pub const BUILD: &str = concat!("parallax-coordinator ", env!("CARGO_PKG_VERSION"));

/// The command line: a coordinator's settings, and how this process logs.
#[derive(Debug, clap::Parser)]
#[command(after_long_help = offline::HELP)]
struct Args {
    #[command(flatten)]
    config: Config,
    /// What is logged, such as `info` or `parallax_coordinator=debug`.
    #[arg(long, env = "PARALLAX_LOG", default_value = "info,raft=warn")]
    log: String,
    /// One JSON object a line instead of text.
    #[arg(long)]
    log_json: bool,
}

/// Threads that serve: one core is left to the threads of Raft and of the stores. With one more, tasks
/// that answer one another would be woken across cores, and wait for the core they need.
fn workers() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    cores.saturating_sub(1).max(1)
}

/// The `parallax-coordinator` command.
pub fn main() -> ExitCode {
    if offline::is_asked(std::env::args_os().nth(1).as_deref()) {
        return offline::main();
    }
    let Args { config, log, log_json } = Args::parse();
    let filter = match EnvFilter::try_new(&log) {
        Ok(filter) => filter,
        Err(error) => {
            eprintln!("--log: {error}");
            return ExitCode::from(2);
        }
    };
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    if log_json {
        log.json().init()
    } else {
        log.init()
    }
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(workers()).enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("parallax-coordinator: cannot start the runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let ended = runtime.block_on(async {
        let stop = CancellationToken::new();
        let (ready, _bound) = tokio::sync::oneshot::channel();
        let mut running = std::pin::pin!(run(config, stop.clone(), ready));
        tokio::select! {
            ended = &mut running => ended,
            () = parallax_runtime::signal::terminated() => {
                stop.cancel();
                running.await
            }
        }
    });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("parallax-coordinator: {}", parallax_runtime::error::causes(&error));
            ExitCode::from(error.exit_code())
        }
    }
}
