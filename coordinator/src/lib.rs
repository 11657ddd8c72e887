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
pub mod mark_time;
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

use std::ffi::OsString;
use std::process::ExitCode;

use clap::CommandFactory as _;
use parallax_runtime::logging::Log;
use parallax_runtime::settings::{self, Gathered};
use tokio_util::sync::CancellationToken;

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
    /// Text on a terminal and JSON elsewhere (auto), or always one of them; JSON is one object a line.
    #[arg(long, env = "PARALLAX_LOG_FORMAT", value_enum, default_value_t)]
    log_format: parallax_runtime::logging::Format,
    #[command(flatten)]
    settings: settings::Flags,
}

/// Settings whose values are secrets unless they are references.
const SECRET: &[&str] = &["quorum_webhook", "heartbeat_url"];

/// The command line without the offline tools, for who documents it.
pub fn command() -> clap::Command {
    Args::command()
}

/// The coordinator's arguments and who gave them; `argv` begins with the program's name.
fn gathered(
    argv: impl IntoIterator<Item = OsString>,
) -> Result<Gathered<Args>, settings::SettingsError> {
    settings::gather(argv)
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
    let Gathered { args, settings } = match gathered(std::env::args_os()) {
        Ok(gathered) => gathered,
        Err(error) => return error.report(),
    };
    let Args { config, log, log_format, settings: asked } = args;
    if asked.print_config {
        return settings::printed(&settings.yaml(SECRET));
    }
    if asked.check_config {
        return settings::judged("parallax-coordinator", &config::refusals(&config, &log));
    }
    let log = match Log::start(&log, log_format) {
        Ok(log) => log,
        Err(error) => {
            eprintln!("--log: {error}");
            return ExitCode::from(2);
        }
    };
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
        let running = run(config, stop.clone(), ready);
        parallax_runtime::signal::run(running, stop, || log.reread(&settings)).await
    });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("parallax-coordinator: {}", parallax_runtime::error::causes(&error));
            ExitCode::from(error.exit_code())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A key of each flag, as a file has it, and the arguments' words by which its effect is seen.
    const KEYS: &[(&str, &str)] = &[
        ("mesh: file", "mesh: \"file\""),
        ("name: file", "name: \"file\""),
        ("data_dir: /file", "data_dir: \"/file\""),
        ("history_bytes_max: 67108865", "history_bytes_max: 67108865"),
        ("tls_dir: /file", "tls_dir: \"/file\""),
        ("listen_api: 127.0.0.1:1", "listen_api: 127.0.0.1:1,"),
        ("listen_probes: 127.0.0.1:2", "listen_probes: 127.0.0.1:2,"),
        ("listen_peers: 127.0.0.1:3", "listen_peers: 127.0.0.1:3,"),
        ("listen_public: 127.0.0.1:4", "listen_public: Some(127.0.0.1:4)"),
        ("advertise_probes: file:1", "advertise_probes: Some(\"file:1\")"),
        ("advertise_peers: file:2", "advertise_peers: Some(\"file:2\")"),
        ("advertise_api: file:3", "advertise_api: Some(\"file:3\")"),
        ("initial_members: ['file=h:1']", "InitialMember { name: \"file\""),
        ("join: file:4", "join: Some(\"file:4\")"),
        ("allow_env: [FILE]", "allow_env: [\"FILE\"]"),
        ("allow_file: [/file]", "allow_files: [\"/file\"]"),
        ("contact_allow_network: [10.7.0.0/16]", "10.7.0.0"),
        ("contact_deny_network: [10.8.0.0/16]", "10.8.0.0"),
        ("quorum_webhook: https://file/1", "quorum_webhook: Some(\"https://file/1\")"),
        ("heartbeat_url: https://file/2", "heartbeat_url: Some(\"https://file/2\")"),
        ("ports_file: /file", "ports_file: Some(\"/file\")"),
        ("log: debug", "log: \"debug\""),
        ("log_format: text", "log_format: Text"),
    ];

    /// What a file makes of the arguments, in words, and which keys there are.
    fn told(text: &str) -> (String, Vec<String>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("coordinator.yaml");
        std::fs::write(&path, text).unwrap();
        let config = format!("--config={}", path.display());
        let Gathered { mut args, settings } = gathered(["c".into(), config.into()]).unwrap();
        args.settings = settings::Flags::default();
        (format!("{args:?}"), settings.keys())
    }

    #[test]
    fn every_flag_has_a_key_and_every_key_an_effect() {
        let needed = [("mesh", "m"), ("name", "c1"), ("data_dir", "/d"), ("tls_dir", "/t")];
        let base = |but: &str| {
            let lines = needed.iter().filter(|(key, _)| *key != but);
            lines.map(|(key, value)| format!("{key}: {value}\n")).collect::<String>()
        };
        let (without, known) = told(&base(""));
        let rows: Vec<&str> =
            KEYS.iter().map(|(line, _)| line.split_once(':').unwrap().0).collect();
        assert_eq!(rows, known, "each flag of clap's own list has its row");
        for (line, effect) in KEYS {
            let (with, _) = told(&format!("{}{line}\n", base(line.split_once(':').unwrap().0)));
            assert!(with.contains(effect) && !without.contains(effect), "{line}: {with}");
        }
    }

    #[test]
    fn urls_that_hold_a_secret_are_not_printed() {
        let flags = ["c", "--mesh=m", "--name=c1", "--data-dir=/d", "--tls-dir=/t"];
        let urls = ["--quorum-webhook=https://q/t0ken", "--heartbeat-url=${env:BEAT}"];
        let argv = flags.iter().chain(&urls).map(OsString::from);
        let printed = gathered(argv).unwrap().settings.yaml(SECRET);
        assert!(!printed.contains("t0ken"), "{printed}");
        assert!(printed.contains("heartbeat_url: \"${env:BEAT}\""), "{printed}");
    }
}
