//! The `parallax` command: configuration as code, status, incidents.
//!
//! [`args`] is its grammar, [`command`] what it does, [`config`] how YAML becomes resources,
//! [`client`] how a coordinator is reached and [`context`] which one, [`output`] how data looks,
//! [`exit`] how it ends. Data goes to stdout and talk to stderr, always. [`top`] is the
//! live view. [`pki`] makes certificates and [`dev`] runs a whole mesh; neither asks a coordinator that is there already.

pub mod args;
pub mod client;
pub mod command;
pub mod config;
pub mod context;
pub mod dev;
#[cfg(test)]
mod documents;
pub mod exit;
pub mod export;
pub mod output;
pub mod pki;
pub mod top;

use std::process::ExitCode;

use crate::args::{Cli, Command, Global};
use crate::client::{Client, TlsDial};
use crate::context::Places;
use crate::exit::{Exit, Failure};
use crate::output::Shell;

/// The program.
pub fn main() -> ExitCode {
    let cli = match Cli::read(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are asked for and go to stdout; anything else is a usage error.
            let code = if error.use_stderr() { Exit::Usage } else { Exit::Ok };
            let _ = error.print();
            return code.into();
        }
    };
    let mut shell = Shell::of_process(cli.global.output, cli.global.no_color);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            shell.say(&format!("error: cannot start: {error}"));
            return Exit::Refused.into();
        }
    };
    let result = runtime.block_on(run(cli, &mut shell));
    // What is still being read from stdin does not hold the exit up.
    runtime.shutdown_background();
    end(result, &mut shell).into()
}

/// Says what went wrong and gives the exit code.
pub fn end(result: Result<Exit, Failure>, shell: &mut Shell) -> Exit {
    match result {
        Ok(exit) => exit,
        Err(failure) => {
            let exit = failure.exit();
            if exit != Exit::Ok {
                shell.say(failure.render().trim_end());
            }
            exit
        }
    }
}

/// Runs the command. Those that need no coordinator are dispatched here, all others in
/// [`command::run()`].
async fn run(cli: Cli, shell: &mut Shell) -> Result<Exit, Failure> {
    match cli.command {
        Command::Version(args) if args.client => command::version::client_only(shell),
        Command::Pki(args) => {
            pki::run(&args, &mut shell.out, &mut shell.err)?;
            Ok(Exit::Ok)
        }
        Command::Dev(args) => {
            dev::run(args).await?;
            Ok(Exit::Ok)
        }
        Command::Top(args) => top::run(&args, || connect(&cli.global), shell).await,
        command => command::run(command, || connect(&cli.global), shell).await,
    }
}

/// A client for what flags, environment, context or a running dev mesh say. Nothing is dialled
/// yet.
fn connect(global: &Global) -> Result<Client, Failure> {
    let resolved = context::resolve(global, &Places::of_user())?;
    let dial = TlsDial::load(&resolved.tls_dir)?;
    let client =
        Client::new(Box::new(dial), resolved.endpoints, resolved.namespace, global.retry_for);
    Ok(client.saying(std::sync::Arc::new(|text| eprintln!("{text}"))))
}
