//! The command line: noun, then verb. What each command does is in [`crate::command`].

use std::path::PathBuf;
use std::time::Duration;

use clap::parser::ValueSource;
use clap::{
    ArgMatches, Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum,
};

use parallax_common::limits::CALL_RETRY_MAX;

pub use self::attempt::{Attempt, Validate};
pub use self::export::Export;
pub use self::maintenance::Maintenance;
pub use self::past::{By, History, Moment, Uptime};
pub use self::pause::Pause;
pub use self::run::CheckRun;
pub use self::select::Select;
pub use self::silence::{Silence, SilenceAdd, SilenceExpire, SilenceGet, SilenceList};
use crate::dev::Dev;
use crate::pki::Pki;
use crate::top::Top;

mod attempt;
mod export;
mod maintenance;
mod past;
mod pause;
mod run;
mod select;
mod silence;

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "parallax",
    version,
    about = "Looks at a service from several places at once, and tells an outage from a bad path",
    after_help = EXAMPLES,
    disable_help_subcommand = true
)]
pub struct Cli {
    /// What every command takes.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Flags that only say how to talk to a coordinator, and how to print what it says.
const REMOTE: &[&str] = &["endpoint", "tls_dir", "namespace", "context", "retry_for", "output"];

impl Cli {
    /// Reads a command line. A flag that the command would not look at is refused, as whoever gives
    /// it expects something of it; in the environment it may stand for other commands.
    ///
    /// # Errors
    /// What clap says, help and version among it.
    pub fn read<I, T>(words: I) -> Result<Self, clap::Error>
    where
        I: IntoIterator<Item = T>,
        T: Into<std::ffi::OsString> + Clone,
    {
        let matches = Self::command().try_get_matches_from(words)?;
        let cli = Self::from_arg_matches(&matches)?;
        let unread: &[&str] = match &cli.command {
            Command::Pki(_) | Command::Dev(_) => REMOTE,
            Command::Version(Version { client: true })
            | Command::Check(Check::Try(_))
            | Command::Validate(_) => &REMOTE[..REMOTE.len() - 1],
            Command::Completions(_) | Command::Schema | Command::Man(_) => REMOTE,
            // It draws, and asks for as long as it runs.
            Command::Top(_) => &REMOTE[REMOTE.len() - 2..],
            _ => &[],
        };
        if let Some(flag) = unread.iter().find(|flag| is_given(&matches, flag)) {
            let flag = flag.replace('_', "-");
            return Err(Self::command().error(
                clap::error::ErrorKind::ArgumentConflict,
                match &cli.command {
                    Command::Top(_) => {
                        format!("--{flag} has no effect here: top draws, and never gives up")
                    }
                    _ => format!("--{flag} has no effect here: this command asks no coordinator"),
                },
            ));
        }
        Ok(cli)
    }
}

/// Whether a flag stands on the command line, before or after the verb.
fn is_given(matches: &ArgMatches, flag: &str) -> bool {
    let here = matches.try_contains_id(flag).unwrap_or(false)
        && matches.value_source(flag) == Some(ValueSource::CommandLine);
    here || matches.subcommand().is_some_and(|(_, matches)| is_given(matches, flag))
}

const EXAMPLES: &str = "\
Examples:
  parallax check try https://a.example  one look from here, without a mesh
  parallax dev                          a whole mesh on this machine
  parallax diff -f mesh.yaml            what would change
  parallax apply -f config/ --prune     make it so
  parallax export > mesh.yaml           what it holds, as a file
  parallax status                       checks x regions
  parallax check explain checkout       why a check is what it is
  parallax incident list --open         what is down

Exit codes:
  0  done
  1  refused: a rule is broken, a permission is missing, or the request failed;
     of `check try` and `check run`, a run failed, or somebody who was asked did not look
  2  the command line, a file or a context is wrong
  3  no coordinator could be reached, or none answered in time
  4  what was named does not exist
  5  somebody else changed it meanwhile; read it again
 10  `diff` only: something would change

Data goes to stdout, everything else to stderr.";

/// Flags of every command.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Connection and output")]
pub struct Global {
    /// Address of a coordinator's API, host:port; several are tried in turn
    #[arg(
        long,
        global = true,
        env = "PARALLAX_ENDPOINT",
        value_delimiter = ',',
        value_name = "HOST:PORT"
    )]
    pub endpoint: Vec<String>,
    /// Directory with ca.pem, cert.pem and key.pem
    #[arg(long, global = true, env = "PARALLAX_TLS_DIR", value_name = "DIR")]
    pub tls_dir: Option<PathBuf>,
    /// Namespace to work in
    #[arg(long, short, global = true, env = "PARALLAX_NAMESPACE", value_name = "NAME")]
    pub namespace: Option<String>,
    /// Context of ~/.config/parallax/config.yaml to use
    #[arg(long, global = true, env = "PARALLAX_CONTEXT", value_name = "NAME")]
    pub context: Option<String>,
    /// How to print data
    #[arg(long, short, global = true, value_enum, default_value_t = Format::Table)]
    pub output: Format,
    /// No colours, also on a terminal (NO_COLOR does the same)
    #[arg(long, global = true)]
    pub no_color: bool,
    /// How long to go on trying to reach a coordinator, such as 10s
    #[arg(long, global = true, value_name = "LENGTH", value_parser = length, default_value = "10s")]
    pub retry_for: Duration,
}

fn length(text: &str) -> Result<Duration, String> {
    let length = parallax_common::text::parse_duration(text).map_err(|error| error.to_string())?;
    if length > CALL_RETRY_MAX {
        return Err(format!("at most {}", parallax_common::text::format_duration(CALL_RETRY_MAX)));
    }
    Ok(length)
}

/// How data is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Table,
    /// One JSON document; streams print one object a line.
    Json,
    /// One YAML document; streams print one document an item.
    Yaml,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make the mesh hold what files say
    #[command(after_help = APPLY_EXAMPLES)]
    Apply(Apply),
    /// Show what `apply` would change; exits with 10 when something would
    #[command(after_help = DIFF_EXAMPLES)]
    Diff(Diff),
    /// Print what the mesh holds as a file that `apply` takes
    #[command(after_help = export::EXAMPLES)]
    Export(Export),
    /// Say which rules files break, without asking a coordinator
    #[command(after_help = "Examples:\n  parallax validate config/")]
    Validate(Validate),
    /// What is tested
    #[command(subcommand)]
    Check(Check),
    /// Places to look from
    #[command(subcommand)]
    Region(Region),
    /// Where alerts go
    #[command(subcommand)]
    Contact(Contact),
    /// Every check as every region sees it
    #[command(
        after_help = "Examples:\n  parallax status\n  parallax status -l 'team=payments,tier!=test'"
    )]
    Status(List),
    /// Stretches of down
    #[command(subcommand)]
    Incident(Incident),
    /// Times at which nobody is paged
    #[command(subcommand)]
    Silence(Silence),
    /// Times of planned work, at which nobody is paged
    #[command(subcommand)]
    Maintenance(Maintenance),
    /// The agents that look
    #[command(subcommand)]
    Probe(Probe),
    /// The coordinators themselves
    #[command(subcommand)]
    Cluster(Cluster),
    /// Counts and latency of one check over time
    #[command(after_help = HISTORY_EXAMPLES)]
    History(History),
    /// How long checks were up, by what was decided
    #[command(after_help = UPTIME_EXAMPLES)]
    Uptime(Uptime),
    /// Print changes as they happen, until interrupted
    #[command(after_help = "Examples:\n  parallax watch\n  parallax watch --from 1200 -o json")]
    Watch(Watch),
    /// The mesh in this terminal, as it is now
    #[command(after_help = "Examples:\n  parallax top\n  parallax top -l team=payments --every 2s")]
    Top(Top),
    /// Save everything replicated, and what a member has of the past, in one file
    #[command(after_help = "Examples:\n  parallax backup mesh-2026-01-01.plx\n  \
                            parallax-coordinator restore mesh-2026-01-01.plx --data-dir DIR --name c1")]
    Backup(Backup),
    /// The version of this program and of the coordinator that answers
    #[command(after_help = "Examples:\n  parallax version\n  parallax version --client")]
    Version(Version),
    /// Print the JSON Schema of configuration files, for editors
    #[command(after_help = SCHEMA_EXAMPLES)]
    Schema,
    /// Print what makes a shell complete this command's words
    #[command(after_help = COMPLETIONS_EXAMPLES)]
    Completions(Completions),
    /// Write a manual page for each command into a directory
    #[command(after_help = "Examples:\n  parallax man ~/.local/share/man/man1")]
    Man(Man),
    /// The mesh's own authority and its certificates
    #[command(subcommand)]
    Pki(Pki),
    /// A whole mesh on this machine, to try things out
    Dev(Dev),
}

const SCHEMA_EXAMPLES: &str = "\
Examples:
  parallax schema > parallax.schema.json
  then, as the first line of a file:
  # yaml-language-server: $schema=parallax.schema.json";

const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  parallax completions bash > ~/.local/share/bash-completion/completions/parallax
  parallax completions zsh > \"${fpath[1]}/_parallax\"
  parallax completions fish > ~/.config/fish/completions/parallax.fish";

/// `completions`.
#[derive(Debug, Clone, Args)]
pub struct Completions {
    /// Which shell
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

/// `man`.
#[derive(Debug, Clone, Args)]
pub struct Man {
    /// Where the pages go; made when it is not there
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
}

const HISTORY_EXAMPLES: &str = "\
Examples:
  parallax history checkout --since 7d --quantiles 50,95,99,99.9 --by region,phase
  parallax history checkout --since 1h --step 1m -o json";

const UPTIME_EXAMPLES: &str = "\
Examples:
  parallax uptime checkout --since 30d
  parallax uptime --all -l team=payments --since 2026-01-01T00:00:00Z";

const APPLY_EXAMPLES: &str = "\
Examples:
  parallax apply -f mesh.yaml
  parallax apply -f config/ -f extra.yaml --set payments --prune
  generate | parallax apply -f - --dry-run";

const DIFF_EXAMPLES: &str = "\
Examples:
  parallax diff -f mesh.yaml
  parallax diff -f config/ --prune -o json";

/// `backup`.
#[derive(Debug, Args)]
pub struct Backup {
    /// The file to make; must not be there yet
    pub file: PathBuf,
    /// Leave out what probes measured; what was decided (uptime, incidents) is in it all the same
    #[arg(long)]
    pub without_history: bool,
}

/// `apply`.
#[derive(Debug, Args)]
pub struct Apply {
    /// What to apply and into which set.
    #[command(flatten)]
    pub what: What,
    /// Only say what would change
    #[arg(long)]
    pub dry_run: bool,
}

/// `diff`.
#[derive(Debug, Args)]
pub struct Diff {
    /// What to compare.
    #[command(flatten)]
    pub what: What,
}

/// What `apply` and `diff` share.
#[derive(Debug, Clone, Args)]
pub struct What {
    /// A YAML file, a directory of them, or - for the standard input; may be given several times
    #[arg(long = "file", short = 'f', required = true, value_name = "PATH")]
    pub files: Vec<String>,
    /// Apply set that the resources belong to [default: default]
    #[arg(long, value_name = "NAME")]
    pub set: Option<String>,
    /// Delete what is in the set and in none of the files
    #[arg(long)]
    pub prune: bool,
    /// How many resources a prune may delete, exactly; needed above 30 % of the set
    #[arg(long, value_name = "N", requires = "prune")]
    pub yes_delete: Option<u32>,
    /// Take resources over from other sets
    #[arg(long)]
    pub take: bool,
}

/// What every list takes.
#[derive(Debug, Clone, Default, Args)]
pub struct List {
    /// Which of them.
    #[command(flatten)]
    pub select: Select,
    /// Answer from the member's own state without asking the leader
    #[arg(long)]
    pub stale: bool,
}

/// What every get takes.
#[derive(Debug, Clone, Args)]
pub struct Get {
    /// Its name
    pub name: String,
    /// Answer from the member's own state without asking the leader
    #[arg(long)]
    pub stale: bool,
}

/// What every delete takes.
#[derive(Debug, Clone, Args)]
pub struct Delete {
    /// Its name
    pub name: String,
    /// Only if its last change is still this one
    #[arg(long, value_name = "REVISION")]
    pub etag: Option<u64>,
}

const TRY_EXAMPLES: &str = "\
Examples:
  parallax check try https://shop.example/ --warn 'cert.days_left > 14'
  parallax check try tls://shop.example:443
  parallax check try mesh.yaml --check checkout --count 5

Exits with 1 when a run fails.";

const RUN_EXAMPLES: &str = "\
Examples:
  parallax check run checkout
  parallax check run checkout --region eu-west --region us-east -o json

Exits with 1 when a probe that was asked saw a failure, or did not look.";

/// `check ...`.
#[derive(Debug, Subcommand)]
pub enum Check {
    /// All checks
    #[command(after_help = "Examples:\n  parallax check list -l team=payments -o json")]
    List(List),
    /// One check, as it is in force
    #[command(after_help = "Examples:\n  parallax check get checkout -o yaml")]
    Get(Get),
    /// Delete a check; an open incident ends with it
    #[command(
        after_help = "Examples:\n  parallax check delete checkout\n  parallax check delete checkout --etag 1200"
    )]
    Delete(Delete),
    /// Stop running checks; their open incidents end, and pages say so
    #[command(after_help = pause::PAUSE)]
    Pause(Pause),
    /// Run paused checks again
    #[command(after_help = pause::RESUME)]
    Resume(Pause),
    /// Why a check is up, degraded, down or unknown
    #[command(after_help = "Examples:\n  parallax check explain checkout")]
    Explain(Get),
    /// Look now from every region, and show the phases side by side
    ///
    /// It is a question and no vote: verdict, incidents and history stay as they are. A paused check is
    /// with no probe and cannot be run.
    #[command(after_help = RUN_EXAMPLES)]
    Run(CheckRun),
    /// Run checks from this machine, without any mesh, and show all that they see
    #[command(after_help = TRY_EXAMPLES)]
    Try(Attempt),
}

/// `region ...`.
#[derive(Debug, Subcommand)]
pub enum Region {
    /// All regions, with their probes and checks
    #[command(
        after_help = "Examples:\n  parallax region list\n  parallax region list -l 'cloud in (a,b)' -o json"
    )]
    List(List),
}

/// `contact ...`.
#[derive(Debug, Subcommand)]
pub enum Contact {
    /// All contacts; secrets are shown as references
    #[command(
        after_help = "Examples:\n  parallax contact list\n  parallax contact list -l team=payments"
    )]
    List(List),
    /// One contact with all its options; secrets are shown as references
    #[command(after_help = "Examples:\n  parallax contact get ops -o yaml")]
    Get(Get),
    /// Send a page that says that it is a test, and show what became of it
    #[command(after_help = "Examples:\n  parallax contact test ops")]
    Test(ContactTest),
}

/// `contact test`.
#[derive(Debug, Clone, Args)]
pub struct ContactTest {
    /// Its name
    pub name: String,
}

/// `incident ...`.
#[derive(Debug, Subcommand)]
pub enum Incident {
    /// Incidents, the newest first
    #[command(after_help = "Examples:\n  parallax incident list --open\n  \
                            parallax incident list --check checkout")]
    List(IncidentList),
    /// One incident: why it opened, its ballots, pages and timeline
    #[command(after_help = "Examples:\n  parallax incident get 0190b2a4")]
    Get(IncidentGet),
    /// Say that somebody is on it
    #[command(after_help = "Examples:\n  parallax incident ack 0190b2a4 --note \"on it\"")]
    Ack(IncidentAck),
    /// End an incident by hand
    #[command(after_help = "Examples:\n  parallax incident resolve 0190b2a4 --force")]
    Resolve(IncidentResolve),
}

/// `incident list`.
#[derive(Debug, Args)]
pub struct IncidentList {
    /// What every list takes.
    #[command(flatten)]
    pub list: List,
    /// Only those that are open
    #[arg(long)]
    pub open: bool,
    /// Only those of this check
    #[arg(long, value_name = "NAME")]
    pub check: Option<String>,
}

/// `incident get`.
#[derive(Debug, Args)]
pub struct IncidentGet {
    /// Its uid, or the start of it
    pub uid: String,
    /// Answer from the member's own state without asking the leader
    #[arg(long)]
    pub stale: bool,
}

/// `incident ack`.
#[derive(Debug, Args)]
pub struct IncidentAck {
    /// Its uid, or the start of it
    pub uid: String,
    /// Kept in the timeline
    #[arg(long, default_value = "")]
    pub note: String,
}

/// `incident resolve`.
#[derive(Debug, Args)]
pub struct IncidentResolve {
    /// Its uid, or the start of it
    pub uid: String,
    /// Kept in the timeline
    #[arg(long, default_value = "")]
    pub note: String,
    /// Even while enough regions fail; it does not open again before they recover once
    #[arg(long)]
    pub force: bool,
}

/// `probe ...`.
#[derive(Debug, Subcommand)]
pub enum Probe {
    /// All probes; a selector is about the labels of their regions
    #[command(after_help = "Examples:\n  parallax probe list\n  parallax probe list -l cloud=a")]
    List(List),
    /// All that is known of one
    #[command(after_help = "Examples:\n  parallax probe get probe-1\n  \
                            parallax probe get probe-1 --region eu-west -o json")]
    Get(ProbeGet),
    /// Give one no checks any more, as before its machine is taken down; others of its region take them over
    #[command(
        after_help = "Examples:\n  parallax probe drain probe-1 --note 'new kernel' --wait\n  \
                            parallax probe drain probe-1 --undo"
    )]
    Drain(ProbeDrain),
}

/// `probe drain`.
#[derive(Debug, Clone, Args)]
pub struct ProbeDrain {
    /// Its name
    pub name: String,
    /// Its region: needed when probes of several regions have this name
    #[arg(long, value_name = "NAME")]
    pub region: Option<String>,
    /// Give it checks again
    #[arg(long, conflicts_with_all = ["force", "note", "wait"])]
    pub undo: bool,
    /// Also the only live probe of its region: nobody looks from there then
    #[arg(long)]
    pub force: bool,
    /// Why; shown with it
    #[arg(long, default_value = "", hide_default_value = true)]
    pub note: String,
    /// Wait until it runs no check any more, and say how many it still has
    #[arg(long)]
    pub wait: bool,
}

/// `probe get`.
#[derive(Debug, Clone, Args)]
pub struct ProbeGet {
    /// Its name, and whether the member that is asked may answer by itself
    #[command(flatten)]
    pub get: Get,
    /// Its region: needed when probes of several regions have this name
    #[arg(long, value_name = "NAME")]
    pub region: Option<String>,
}

/// `cluster ...`.
#[derive(Debug, Subcommand)]
pub enum Cluster {
    /// Every coordinator: role, term, lag, round trip, disk, build
    #[command(after_help = "Examples:\n  parallax cluster status -o json")]
    Status(ClusterStatus),
    /// Let a new coordinator in; it votes once it has caught up
    #[command(after_help = "Examples:\n  parallax cluster add c4 c4.example:7102 --wait")]
    Add(ClusterAdd),
    /// Give a learner a vote now, if it has caught up
    #[command(after_help = "Examples:\n  parallax cluster promote c4")]
    Promote(ClusterMember),
    /// Take a coordinator out for ever; its node id is never used again
    #[command(after_help = "Examples:\n  parallax cluster remove c2")]
    Remove(ClusterMember),
    /// Hand the leadership to another coordinator
    #[command(after_help = "Examples:\n  parallax cluster transfer\n  \
                            parallax cluster transfer c2")]
    Transfer(ClusterTransfer),
}

/// `cluster status`.
#[derive(Debug, Args)]
pub struct ClusterStatus {
    /// Answer from the member's own state without asking the leader
    #[arg(long)]
    pub stale: bool,
}

/// `cluster add`.
#[derive(Debug, Args)]
pub struct ClusterAdd {
    /// Its name, as in its certificate
    pub name: String,
    /// host:port at which the other coordinators will reach it
    #[arg(value_name = "HOST:PORT")]
    pub peer_address: String,
    /// Wait until it votes, and say how far it is
    #[arg(long)]
    pub wait: bool,
}

/// `cluster promote` and `cluster remove`.
#[derive(Debug, Args)]
pub struct ClusterMember {
    /// Its name
    pub name: String,
}

/// `cluster transfer`.
#[derive(Debug, Args)]
pub struct ClusterTransfer {
    /// Who is to lead [default: the voter that lags the least]
    pub name: Option<String>,
}

/// `watch`.
#[derive(Debug, Args)]
pub struct Watch {
    /// Begin after this revision instead of now
    #[arg(long, value_name = "REVISION")]
    pub from: Option<u64>,
}

/// `version`.
#[derive(Debug, Args)]
pub struct Version {
    /// Do not ask a coordinator
    #[arg(long)]
    pub client: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn global_flags_stand_before_or_after_the_verb() {
        let before = Cli::try_parse_from(["parallax", "-o", "json", "check", "list"]).unwrap();
        let after = Cli::try_parse_from(["parallax", "check", "list", "-o", "json"]).unwrap();
        assert_eq!(before.global.output, Format::Json);
        assert_eq!(after.global.output, Format::Json);
    }

    #[test]
    fn several_endpoints_come_as_flags_or_with_commas() {
        let cli = Cli::try_parse_from([
            "parallax",
            "status",
            "--endpoint",
            "a:1,b:2",
            "--endpoint",
            "c:3",
        ]);
        assert_eq!(cli.unwrap().global.endpoint, ["a:1", "b:2", "c:3"]);
    }

    #[test]
    fn a_flag_that_would_do_nothing_is_refused() {
        let error = Cli::read(["parallax", "pki", "init", "--mesh", "m", "--dir", "d", "-n", "x"]);
        assert!(error.unwrap_err().to_string().contains("--namespace has no effect"));
        assert!(Cli::read(["parallax", "--endpoint", "a:1", "dev"]).is_err());
        assert!(Cli::read(["parallax", "version", "--client", "-o", "json"]).is_ok());
        assert!(Cli::read(["parallax", "version", "--client", "--tls-dir", "t"]).is_err());
        assert!(Cli::read(["parallax", "dev"]).is_ok());
    }

    #[test]
    fn retries_end_before_stored_answers_may_be_forgotten() {
        assert!(Cli::read(["parallax", "status", "--retry-for", "10m"]).is_ok());
        assert!(Cli::read(["parallax", "status", "--retry-for", "11m"]).is_err());
        assert!(Cli::read(["parallax", "status", "--retry-for", "10"]).is_err());
    }

    #[test]
    fn yes_delete_without_prune_is_refused_as_it_would_do_nothing() {
        let refused = Cli::try_parse_from(["parallax", "apply", "-f", "x", "--yes-delete", "3"]);
        assert!(refused.is_err());
    }
}
