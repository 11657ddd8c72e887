//! What each command does: one file for each noun.

pub mod apply;
pub mod attempt;
pub mod backup;
pub mod check;
pub mod cluster;
pub mod contact;
pub mod export;
pub mod incident;
pub mod list;
pub mod maintenance;
pub mod past;
pub mod pause;
pub mod probe;
pub mod region;
pub mod run;
pub mod silence;
pub mod status;
pub mod version;
pub mod watch;

use std::io::Write as _;

use clap::CommandFactory as _;

use crate::args::{
    Check, Cli, Cluster, Command, Contact, Incident, Maintenance, Probe, Region, Silence,
};
use crate::client::Client;
use crate::config::schema;
use crate::exit::{Exit, Failure};
use crate::output::Shell;

/// Runs a command that talks to a coordinator. Files are read before `connect` is asked for a
/// client: what is wrong with them is told also where no coordinator or certificate is.
///
/// # Errors
/// What [`Failure`] lists; what was printed until then stands.
pub async fn run(
    command: Command,
    connect: impl FnOnce() -> Result<Client, Failure>,
    shell: &mut Shell,
) -> Result<Exit, Failure> {
    match command {
        Command::Apply(args) => {
            let loaded = apply::load(&args.what, shell)?;
            apply::apply(&args, &loaded, &mut connect()?, shell).await
        }
        Command::Diff(args) => {
            let loaded = apply::load(&args.what, shell)?;
            apply::diff(&args, &loaded, &mut connect()?, shell).await
        }
        Command::Export(args) => export::export(&args, &mut connect()?, shell).await,
        Command::Check(Check::List(args)) => check::list(&args, &mut connect()?, shell).await,
        Command::Check(Check::Get(args)) => check::get(&args, &mut connect()?, shell).await,
        Command::Check(Check::Delete(args)) => check::delete(&args, &mut connect()?, shell).await,
        Command::Check(Check::Pause(args)) => {
            pause::pause(&args, false, &mut connect()?, shell).await
        }
        Command::Check(Check::Resume(args)) => {
            pause::pause(&args, true, &mut connect()?, shell).await
        }
        Command::Check(Check::Explain(args)) => check::explain(&args, &mut connect()?, shell).await,
        Command::Check(Check::Run(args)) => run::run(&args, &mut connect()?, shell).await,
        Command::Region(Region::List(args)) => region::list(&args, &mut connect()?, shell).await,
        Command::Contact(Contact::List(args)) => contact::list(&args, &mut connect()?, shell).await,
        Command::Contact(Contact::Get(args)) => contact::get(&args, &mut connect()?, shell).await,
        Command::Contact(Contact::Test(args)) => contact::test(&args, &mut connect()?, shell).await,
        Command::Status(args) => status::status(&args, &mut connect()?, shell).await,
        Command::Incident(Incident::List(args)) => {
            incident::list(&args, &mut connect()?, shell).await
        }
        Command::Incident(Incident::Get(args)) => {
            incident::get(&args, &mut connect()?, shell).await
        }
        Command::Incident(Incident::Ack(args)) => {
            incident::ack(&args, &mut connect()?, shell).await
        }
        Command::Incident(Incident::Resolve(args)) => {
            incident::resolve(&args, &mut connect()?, shell).await
        }
        Command::Maintenance(Maintenance::List(args)) => {
            maintenance::list(&args, &mut connect()?, shell).await
        }
        Command::Maintenance(Maintenance::Get(args)) => {
            maintenance::get(&args, &mut connect()?, shell).await
        }
        Command::Maintenance(Maintenance::Delete(args)) => {
            maintenance::delete(&args, &mut connect()?, shell).await
        }
        Command::Silence(Silence::Add(args)) => silence::add(&args, &mut connect()?, shell).await,
        Command::Silence(Silence::List(args)) => silence::list(&args, &mut connect()?, shell).await,
        Command::Silence(Silence::Get(args)) => silence::get(&args, &mut connect()?, shell).await,
        Command::Silence(Silence::Expire(args)) => {
            silence::expire(&args, &mut connect()?, shell).await
        }
        Command::Probe(Probe::List(args)) => probe::list(&args, &mut connect()?, shell).await,
        Command::Probe(Probe::Get(args)) => probe::get(&args, &mut connect()?, shell).await,
        Command::Probe(Probe::Drain(args)) => probe::drain(&args, &mut connect()?, shell).await,
        Command::Cluster(Cluster::Status(args)) => {
            cluster::status(&args, &mut connect()?, shell).await
        }
        Command::Cluster(Cluster::Add(args)) => cluster::add(&args, &mut connect()?, shell).await,
        Command::Cluster(Cluster::Promote(args)) => {
            cluster::promote(&args, &mut connect()?, shell).await
        }
        Command::Cluster(Cluster::Remove(args)) => {
            cluster::remove(&args, &mut connect()?, shell).await
        }
        Command::Cluster(Cluster::Transfer(args)) => {
            cluster::transfer(&args, &mut connect()?, shell).await
        }
        Command::History(args) => past::history(&args, &mut connect()?, shell).await,
        Command::Uptime(args) => past::uptime(&args, &mut connect()?, shell).await,
        Command::Watch(args) => watch::watch(&args, &mut connect()?, shell).await,
        Command::Backup(args) => {
            backup::check(&args)?;
            backup::backup(&args, &mut connect()?, shell).await
        }
        Command::Version(_) => version::version(&mut connect()?, shell).await,
        Command::Validate(args) => attempt::validate(&args, shell),
        Command::Check(Check::Try(args)) => attempt::attempt(&args, shell).await,
        Command::Schema => {
            shell.out.write_all(schema::text().as_bytes())?;
            Ok(Exit::Ok)
        }
        Command::Completions(args) => {
            let mut script = Vec::new();
            clap_complete::generate(args.shell, &mut Cli::command(), "parallax", &mut script);
            shell.out.write_all(&script)?;
            Ok(Exit::Ok)
        }
        Command::Man(args) => {
            let cannot = |error: std::io::Error| {
                Failure::Usage(format!("cannot write to {}: {error}", args.dir.display()))
            };
            std::fs::create_dir_all(&args.dir).map_err(cannot)?;
            clap_mangen::generate_to(Cli::command(), &args.dir).map_err(cannot)?;
            shell.say(&format!("the pages are in {}", args.dir.display()));
            Ok(Exit::Ok)
        }
        Command::Pki(_) | Command::Dev(_) | Command::Top(_) => {
            Err(Failure::Usage("this command is run elsewhere".to_owned()))
        }
    }
}

#[cfg(test)]
mod tests;
