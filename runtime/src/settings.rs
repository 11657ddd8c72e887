//! What a server is told at its start: flags, environment, and a YAML file under both.
//!
//! A program's flags are the one list of what there is to set: each long flag is a key of the file
//! (`--listen-api` is `listen_api`), and what the file says is read by the flag's own parser. [`gather`]
//! puts the three together; [`Settings`] remembers who said what. What is wrong in the file is said with
//! line and column. How a file becomes texts is in [`mod@file`].

pub mod file;
mod print;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::builder::Resettable;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, Parser};
use parallax_common::limits::SETTINGS_BYTES_MAX;
use parallax_common::text::nearest;

use self::file::{Entry, Place, Problem, Text, Value};
use crate::error::causes;

/// The flags by which a server is asked about its settings. They are of one start, and no keys.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Flags {
    /// A YAML file with the settings that neither flags nor the environment give: `listen_api: ...`
    /// for --listen-api, and so on.
    #[arg(long, env = "PARALLAX_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print the settings in force as YAML, each with where it comes from, and end.
    #[arg(long)]
    pub print_config: bool,
    /// Say whether a start would take the settings, and end: 0 when it would, else 2 and all that is wrong.
    #[arg(long, conflicts_with = "print_config")]
    pub check_config: bool,
}

/// Flags that are no keys.
const BESIDE: &[&str] = &["config", "print-config", "check-config", "help", "version"];

/// Why a program has no settings to go by.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// Its arguments are wrong, or asked for help only.
    #[error("{0}")]
    Usage(clap::Error),
    /// The file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file says something wrong.
    #[error("{}", at_places(path, problems))]
    Wrong {
        /// The file.
        path: String,
        /// All that is wrong, in the order of the file.
        problems: Vec<Problem>,
    },
}

impl SettingsError {
    /// Tells the person who started the program, and how it ends.
    pub fn report(&self) -> ExitCode {
        match self {
            Self::Usage(error) => {
                // Nobody is there to be told that nobody is there.
                let _ = error.print();
                ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
            }
            other => {
                eprintln!("{}", causes(other));
                ExitCode::from(2)
            }
        }
    }
}

fn at_places(path: &str, problems: &[Problem]) -> String {
    let lines: Vec<String> = problems.iter().map(|problem| format!("{path}:{problem}")).collect();
    lines.join("\n")
}

/// Who gave a setting its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The command line.
    Flag,
    /// This variable of the environment.
    Environment(String),
    /// The file, at this place.
    File(Place),
    /// The program: nobody said anything.
    Default,
    /// Nobody, and there is no default.
    Absent,
}

/// What the file says of a setting by now.
#[derive(Debug, PartialEq, Eq)]
pub enum Again {
    /// The process was started without a file.
    NoFile,
    /// The file has no say: this one comes before it.
    Above(Origin),
    /// The value that the file gives now, or the default when it gives none.
    Now(String),
}

/// The arguments of a program, and who gave them.
#[derive(Debug)]
pub struct Gathered<A> {
    /// As the program reads them.
    pub args: A,
    /// Who gave them.
    pub settings: Settings,
}

/// Who gave which setting.
#[derive(Debug, Clone)]
pub struct Settings {
    command: Command,
    matches: ArgMatches,
    path: Option<PathBuf>,
    places: BTreeMap<String, Place>,
}

/// Puts the arguments of `A`, which has [`Flags`] among them, together: flags, then the environment, then
/// the file, then defaults. `argv` begins with the program's name.
///
/// # Errors
/// [`SettingsError`] says what is wrong, or holds the help that was asked for.
pub fn gather<A: Parser>(
    argv: impl IntoIterator<Item = OsString>,
) -> Result<Gathered<A>, SettingsError> {
    let settings = gather_for(A::command(), argv)?;
    let args = A::from_arg_matches(&settings.matches).map_err(SettingsError::Usage)?;
    Ok(Gathered { args, settings })
}

/// The same for a program of which only the command is known.
///
/// # Errors
/// As [`gather`].
pub fn gather_for(
    command: Command,
    argv: impl IntoIterator<Item = OsString>,
) -> Result<Settings, SettingsError> {
    let mut argv: Vec<OsString> = argv.into_iter().collect();
    let given = match without_needs(&command).try_get_matches_from(&argv) {
        Ok(given) => given,
        Err(error) => {
            // In the words of the whole command, which say what is needed.
            let whole = command.try_get_matches_from(&argv).err();
            return Err(SettingsError::Usage(whole.unwrap_or(error)));
        }
    };
    let path = given.get_one::<PathBuf>("config").cloned();
    let mut places = BTreeMap::new();
    if let Some(path) = &path {
        for said in read(&command, path)? {
            let id = said.arg.get_id().as_str();
            let by = given.value_source(id);
            if matches!(by, Some(ValueSource::CommandLine | ValueSource::EnvVariable)) {
                continue;
            }
            argv.extend(said.words.into_iter().map(OsString::from));
            places.insert(id.to_owned(), said.place);
        }
    }
    let matches = command.clone().try_get_matches_from(argv).map_err(SettingsError::Usage)?;
    Ok(Settings { command, matches, path, places })
}

/// What a file says of one flag.
struct Said<'a> {
    arg: &'a Arg,
    place: Place,
    /// The same on a command line.
    words: Vec<String>,
}

/// Reads the file at `path` by the flags of `command`; each value is tried by its flag's own parser, also
/// where something else comes before the file.
fn read<'a>(command: &'a Command, path: &Path) -> Result<Vec<Said<'a>>, SettingsError> {
    let name = path.display().to_string();
    let failed = |source| SettingsError::Read { path: name.clone(), source };
    let text = bounded(path).map_err(failed)?;
    let wrong = |problems| SettingsError::Wrong { path: name.clone(), problems };
    let entries = file::parse(&text).map_err(|problem| wrong(vec![problem]))?;
    let mut problems = Vec::new();
    let mut said: Vec<Said<'a>> = Vec::new();
    for entry in &entries {
        let Some(arg) = keys(command).find(|arg| key(arg) == entry.key.text) else {
            problems.push(unknown(command, &entry.key));
            continue;
        };
        if let Some(first) = said.iter().find(|before| before.arg.get_id() == arg.get_id()) {
            let (key, line) = (&entry.key.text, first.place.line);
            let message = format!("`{key}` is given twice; the first is on line {line}");
            problems.push(Problem::new(entry.key.place, message));
            continue;
        }
        match words(command, arg, entry) {
            Ok(words) => said.push(Said { arg, place: entry.key.place, words }),
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() { Ok(said) } else { Err(wrong(problems)) }
}

/// The text of a file that may be one byte larger than it should: the parser says so.
fn bounded(path: &Path) -> std::io::Result<String> {
    use std::io::Read as _;
    let mut text = String::new();
    let file = std::fs::File::open(path)?;
    file.take(SETTINGS_BYTES_MAX as u64 + 1).read_to_string(&mut text)?;
    Ok(text)
}

/// The arguments of a command that may stand in a file.
fn keys(command: &Command) -> impl Iterator<Item = &Arg> {
    command.get_arguments().filter(|arg| arg.get_long().is_some_and(|long| !BESIDE.contains(&long)))
}

/// How a flag is called in a file.
fn key(arg: &Arg) -> String {
    arg.get_long().unwrap_or_default().replace('-', "_")
}

fn unknown(command: &Command, key_there: &Text) -> Problem {
    let known: Vec<String> = keys(command).map(key).collect();
    let message = match nearest(&key_there.text, known.iter().map(String::as_str)) {
        Some(near) => format!("`{}` is not a setting; did you mean `{near}`?", key_there.text),
        None => format!("`{}` is not a setting; known: {}", key_there.text, known.join(", ")),
    };
    Problem::new(key_there.place, message)
}

/// An entry of a file as words of a command line, if its flag would take them.
fn words(command: &Command, arg: &Arg, entry: &Entry) -> Result<Vec<String>, Problem> {
    let (flag, key) = (arg.get_long().unwrap_or_default(), &entry.key.text);
    let is_switch = matches!(arg.get_action(), ArgAction::SetTrue);
    let texts = match &entry.value {
        Value::One(text) if is_switch => {
            return match text.text.as_str() {
                "true" => Ok(vec![format!("--{flag}")]),
                "false" => Ok(Vec::new()),
                _ => Err(Problem::new(text.place, format!("`{key}` must be true or false"))),
            };
        }
        Value::One(text) => std::slice::from_ref(text),
        Value::List(list) if takes_several(arg) => list,
        Value::List(_) => {
            let message = format!("`{key}` must be one value, found a list");
            return Err(Problem::new(entry.key.place, message));
        }
    };
    let mut words = Vec::new();
    for text in texts {
        let several = arg.get_value_delimiter().filter(|mark| text.text.contains(*mark));
        if let (Value::List(_), Some(mark)) = (&entry.value, several) {
            let message = format!("`{key}`: \"{mark}\" stands between values; give each its own");
            return Err(Problem::new(text.place, message));
        }
        let word = format!("--{flag}={}", text.text);
        let alone = without_needs(command).mut_args(|arg| arg.env(Resettable::Reset));
        if let Err(error) = alone.try_get_matches_from(["", word.as_str()]) {
            return Err(Problem::new(text.place, format!("`{key}`: {}", reason(&error))));
        }
        words.push(word);
    }
    Ok(words)
}

fn takes_several(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::Append)
}

/// What a flag's parser says, without what clap says around it.
fn reason(error: &clap::Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => causes(source),
        None => {
            let text = error.to_string();
            text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned()
        }
    }
}

/// The command without what it needs: something else may give that.
fn without_needs(command: &Command) -> Command {
    command.clone().mut_args(|arg| arg.required(false))
}

impl Settings {
    /// The names of all settings, as they stand in a file.
    pub fn keys(&self) -> Vec<String> {
        keys(&self.command).map(key).collect()
    }

    /// Who gave the setting `key` its value.
    pub fn origin(&self, key_asked: &str) -> Origin {
        keys(&self.command)
            .find(|arg| key(arg) == key_asked)
            .map_or(Origin::Absent, |arg| self.origin_of(arg))
    }

    fn origin_of(&self, arg: &Arg) -> Origin {
        let id = arg.get_id().as_str();
        if let Some(place) = self.places.get(id) {
            return Origin::File(*place);
        }
        match self.matches.value_source(id) {
            Some(ValueSource::CommandLine) => Origin::Flag,
            Some(ValueSource::EnvVariable) => {
                let name = arg.get_env().map(|name| name.to_string_lossy().into_owned());
                Origin::Environment(name.unwrap_or_default())
            }
            Some(_) => Origin::Default,
            None => Origin::Absent,
        }
    }

    /// What the file says of a setting by now. The whole file is read, so that a mistake anywhere in it
    /// changes nothing.
    ///
    /// # Errors
    /// The file cannot be read, or something in it is wrong.
    pub fn again(&self, key_asked: &str) -> Result<Again, SettingsError> {
        let Some(path) = &self.path else { return Ok(Again::NoFile) };
        let origin = self.origin(key_asked);
        if matches!(origin, Origin::Flag | Origin::Environment(_)) {
            return Ok(Again::Above(origin));
        }
        let now = read(&self.command, path)?.into_iter().find(|said| key(said.arg) == key_asked);
        let said = now.and_then(|said| {
            said.words
                .into_iter()
                .next_back()
                .and_then(|word| Some(word.split_once('=')?.1.to_owned()))
        });
        let default = || {
            let arg = keys(&self.command).find(|arg| key(arg) == key_asked)?;
            Some(arg.get_default_values().first()?.to_string_lossy().into_owned())
        };
        Ok(Again::Now(said.or_else(default).unwrap_or_default()))
    }

    /// The settings in force as a file that would give the same, with who gave each. Of those whose keys
    /// are `secret` only references are shown.
    pub fn yaml(&self, secret: &[&str]) -> String {
        print::yaml(self, secret)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => write!(to, "flag"),
            Self::Environment(name) => write!(to, "environment, {name}"),
            Self::File(place) => write!(to, "file, line {}", place.line),
            Self::Default => write!(to, "default"),
            Self::Absent => write!(to, "not given"),
        }
    }
}

/// Why nothing could listen at `address`, whoever else listens there now.
///
/// # Errors
/// It is no address of this machine.
pub fn may_listen(mut address: SocketAddr) -> std::io::Result<()> {
    // With the scope that an address of a link needs.
    address.set_port(0);
    std::net::TcpListener::bind(address).map(drop)
}

/// Whether one of two listeners would keep the other from its port: the same address, or one that stands
/// for all of them. `[::]` takes what comes over IPv4, too. Port 0 is another one each time.
pub fn collide(one: SocketAddr, other: SocketAddr) -> bool {
    let covers = |all: SocketAddr, it: SocketAddr| {
        all.ip().is_unspecified() && (all.is_ipv6() || it.is_ipv4())
    };
    let same = one.ip() == other.ip() || covers(one, other) || covers(other, one);
    one.port() != 0 && one.port() == other.port() && same
}

/// Why nothing could be written below `dir`, which need not be there yet.
///
/// # Errors
/// It is no directory, or this process has not the right.
pub fn may_write(dir: &Path) -> std::io::Result<()> {
    let there = dir.ancestors().find(|it| !it.as_os_str().is_empty() && it.exists());
    let there = there.unwrap_or(Path::new("."));
    if !there.is_dir() {
        return Err(std::io::ErrorKind::NotADirectory.into());
    }
    use rustix::fs::Access;
    Ok(rustix::fs::access(there, Access::WRITE_OK | Access::EXEC_OK)?)
}

/// Prints what is in force; a reader that is gone is a failure and no panic.
pub fn printed(text: &str) -> ExitCode {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Tells what is wrong with the settings of a program, and how it ends.
pub fn judged(program: &str, wrong: &[String]) -> ExitCode {
    if wrong.is_empty() {
        println!("{program}: a start would take these settings");
        return ExitCode::SUCCESS;
    }
    for line in wrong {
        eprintln!("{program}: {line}");
    }
    ExitCode::from(2)
}

#[cfg(test)]
mod tests;
