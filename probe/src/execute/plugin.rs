//! A plugin step: a program of this machine looks, and says by its exit code what it found.
//!
//! What may be started is this probe's own configuration: files in the directories that it names, and
//! variables that it names. A plugin runs in a process group of its own, with a cleared environment and
//! nothing to read, and is gone with all of its group when the step ends. What it wrote is taken apart in
//! [`crate::core::perfdata`]. The guard does not reach into it: it opens its connections itself.
//!
//! Between the look at the file and its start somebody who may write to its directory can exchange it; so
//! neither file nor directory may be writable by everybody, or by a group other than root's.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parallax_common::check::{PluginStep, Run, StepKind};
use parallax_common::expect::{PerfValue, PluginAnswer};
use parallax_common::limits::{
    PLUGIN_DRAIN_MAX, PLUGIN_FLOOD_BYTES_MAX, PLUGIN_LEEWAY_MAX, PLUGIN_OUTPUT_BYTES_MAX,
    PLUGIN_TEXT_BYTES_MAX, PLUGIN_WAIT_MAX, PLUGINS_AT_ONCE_MAX,
};
use parallax_common::outcome::{Phase, Reason};
use parallax_runtime::clock;
use rustix::fs::Access;
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::Command;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;

use super::capture::References;
use super::{Failure, Seen, Stage, Trace};
use crate::core::perfdata;

/// Where every plugin finds the programs that it starts itself.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin";
/// Numbers and words as every parser of them expects.
const LANGUAGE: &str = "C";

/// Which plugins this probe starts, and how many at once.
#[derive(Debug)]
pub struct Plugins {
    dirs: Arc<[PathBuf]>,
    env: Vec<String>,
    permits: Arc<Semaphore>,
}

impl Default for Plugins {
    fn default() -> Self {
        Self::new(Vec::new(), Vec::new())
    }
}

impl Plugins {
    /// Plugins from these directories, the first that has one counts; checks may hand them variables of
    /// these names.
    pub fn new(dirs: Vec<PathBuf>, env: Vec<String>) -> Self {
        let permits = Arc::new(Semaphore::new(PLUGINS_AT_ONCE_MAX));
        Self { dirs: dirs.into(), env, permits }
    }

    /// Finds the plugins of a run and waits for its turn, before its clock starts: neither is its target's
    /// latency. Files are looked at off the threads that run checks, and that look is part of the turn: a
    /// directory that never answers keeps its place, so that no more threads than places wait for one.
    pub(super) async fn ready(&self, run: &Run) -> Result<Ready, (u32, Failure)> {
        let mut wanted = Vec::new();
        for (place, step) in run.steps.iter().enumerate() {
            if let StepKind::Plugin(plugin) = &step.kind {
                wanted.push((place, plugin.command.clone()));
            }
        }
        let Some(first) = wanted.first().map(|(place, _)| *place) else {
            return Ok(Ready::default());
        };
        let at = |place: usize| u32::try_from(place).unwrap_or(u32::MAX);
        let wait = PLUGIN_WAIT_MAX.min(run.timeout);
        let turn = tokio::time::timeout(wait, Arc::clone(&self.permits).acquire_owned()).await;
        let Ok(Ok(permit)) = turn else {
            let evidence = format!(
                "{PLUGINS_AT_ONCE_MAX} plugins run on this probe already, and none ended within {} ms",
                wait.as_millis()
            );
            return Err((at(first), Failure::new(Reason::MissedOverload, evidence)));
        };
        let turn = Turn { _place: Arc::new(permit) };
        let dirs = Arc::clone(&self.dirs);
        let look = turn.off_thread(move || {
            let look = |(place, command): (usize, String)| match find(&command, &dirs) {
                Ok(file) => Ok((place, file)),
                Err(why) => Err((place, why)),
            };
            wanted.into_iter().map(look).collect::<Result<Vec<_>, _>>()
        });
        let looked = tokio::time::timeout(run.timeout, look).await;
        match looked {
            Ok(Ok(Ok(files))) => Ok(Ready { files, turn: Some(turn) }),
            Ok(Ok(Err((place, why)))) => Err((at(place), Failure::new(Reason::ConfigError, why))),
            _ => {
                let why = "the directories of plugins were not read in time on this probe";
                Err((at(first), Failure::new(Reason::MissedOverload, why)))
            }
        }
    }
}

/// The plugins of a run, and its turn to start them, which lasts as long as this.
#[derive(Debug, Default)]
pub(super) struct Ready {
    files: Vec<(usize, PathBuf)>,
    turn: Option<Turn>,
}

/// One of the places of plugins that run at once. Clones are the same place.
#[derive(Debug, Clone)]
struct Turn {
    _place: Arc<OwnedSemaphorePermit>,
}

impl Turn {
    /// Does what may block on a thread of its own, and keeps the place until it is done, whatever becomes
    /// of the run: what hangs in the system's kernel cannot be ended, so it has to be counted.
    fn off_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        let turn = self.clone();
        tokio::task::spawn_blocking(move || {
            let done = work();
            drop(turn);
            done
        })
    }
}

/// The file that a command means, when it may be started. Links are followed first: one inside an allowed
/// directory must not lead out of all of them.
fn find(command: &str, dirs: &[PathBuf]) -> Result<PathBuf, String> {
    if dirs.is_empty() {
        return Err("this probe starts no plugins (--plugin-dir)".to_owned());
    }
    if command.is_empty() || command.starts_with('.') || command.contains(['/', '\0']) {
        return Err(format!("`{command}` is not the name of a file"));
    }
    let real_dirs: Vec<PathBuf> = dirs.iter().filter_map(|dir| dir.canonicalize().ok()).collect();
    let found = real_dirs.iter().map(|dir| dir.join(command));
    let Some(found) = found.into_iter().find(|path| path.symlink_metadata().is_ok()) else {
        return Err(format!(
            "`{command}` is in no directory for plugins of this probe (--plugin-dir)"
        ));
    };
    let real =
        found.canonicalize().map_err(|_| format!("`{command}` cannot be read on this probe"))?;
    let Some(within) = real_dirs.iter().find(|dir| real.starts_with(dir)) else {
        return Err(format!("`{command}` leads out of the directories for plugins of this probe"));
    };
    let meta = std::fs::metadata(&real)
        .map_err(|_| format!("`{command}` cannot be read on this probe"))?;
    if !meta.is_file() {
        return Err(format!("`{command}` is not a file"));
    }
    if let Some(whom) = also_writable_by(&meta) {
        return Err(format!("`{command}` can be written by {whom} on this probe's machine"));
    }
    // From the file up to the directory that was named: who may write to one of them may exchange it.
    let above = real.ancestors().skip(1).take_while(|dir| dir.starts_with(within));
    for dir in above {
        let open = std::fs::metadata(dir).ok().and_then(|meta| also_writable_by(&meta));
        if let Some(whom) = open {
            let dir = dir.display();
            return Err(format!("{dir} can be written by {whom} on this probe's machine"));
        }
    }
    if rustix::fs::access(&real, Access::EXEC_OK).is_err() {
        return Err(format!("`{command}` cannot be executed by this probe"));
    }
    Ok(real)
}

/// Who may write to it besides its owner and root.
fn also_writable_by(meta: &std::fs::Metadata) -> Option<String> {
    let may = |bit| meta.mode() & bit != 0;
    match meta.gid() {
        _ if may(0o002) => Some("everybody".to_owned()),
        0 => None,
        group => may(0o020).then(|| format!("the group {group}")),
    }
}

/// A step with its file found and its references filled in.
#[derive(Debug)]
pub(super) struct Prepared {
    file: PathBuf,
    turn: Turn,
    env: Vec<(String, String)>,
    pub secrets: Vec<String>,
    /// The number that the first of its series has among those of the run.
    series_from: u32,
    /// Whether the default rule applies: what the exit code says.
    judge: bool,
}

impl Prepared {
    pub fn prepare(
        step: &PluginStep,
        (ready, place): (&Ready, usize),
        (plugins, secrets): (&Plugins, References<'_>),
        series_from: usize,
        judge: bool,
    ) -> Result<Self, Failure> {
        let refuse = |why: String| Failure::new(Reason::ConfigError, why);
        let found = ready.files.iter().find(|(of, _)| *of == place);
        // Found for the same steps a moment ago.
        let (Some((_, file)), Some(turn)) = (found, &ready.turn) else {
            return Err(refuse("the step changed".to_owned()));
        };
        let (mut env, mut used) = (Vec::with_capacity(step.env.len()), Vec::new());
        for (name, template) in &step.env {
            if !plugins.env.contains(name) {
                let why = "is not handed to plugins on this probe (--plugin-env)";
                return Err(refuse(format!("the variable {name} {why}")));
            }
            let value = secrets.resolve(template, &mut used)?;
            if value.len() > PLUGIN_TEXT_BYTES_MAX || value.contains('\0') {
                let why = format!(
                    "has {} bytes; at most {PLUGIN_TEXT_BYTES_MAX} without a zero byte are handed over",
                    value.len()
                );
                return Err(refuse(format!("the value of the variable {name} {why}")));
            }
            env.push((name.clone(), value));
        }
        let series_from = u32::try_from(series_from).unwrap_or(u32::MAX);
        let (file, turn) = (file.clone(), turn.clone());
        Ok(Self { file, turn, env, secrets: used, series_from, judge })
    }
}

/// Starts the plugin, reads what it writes, and ends it.
pub(super) async fn run(
    run: &Run,
    step: &PluginStep,
    prepared: &Prepared,
    trace: &mut Trace,
) -> Result<Seen, Failure> {
    trace.stage = Stage::Exchange;
    let ends_at = trace.ends_at.unwrap_or_else(|| clock::instant() + run.timeout);
    let leeway = PLUGIN_LEEWAY_MAX.min(run.timeout / 10);
    let before = |length| ends_at.checked_sub(length).unwrap_or(ends_at);
    let ended = start(step, prepared, before(leeway), before(leeway / 2)).await?;
    let answer = perfdata::read(&String::from_utf8_lossy(&ended.stdout.kept));
    let said = ended.said(&answer.text);
    if let Some(signal) = ended.signalled {
        let allowed = (run.timeout - leeway).as_millis();
        let how = if signal == Signal::TERM { "asked to end" } else { "killed" };
        let evidence = format!("no end within {allowed} ms, so it was {how}; {said}");
        return Err(Failure::new(Reason::Timeout, evidence));
    }
    if ended.flooded {
        let evidence = format!("it wrote more than {PLUGIN_FLOOD_BYTES_MAX} bytes; {said}");
        return Err(Failure::new(Reason::PluginFailed, evidence));
    }
    let exit_code = match (ended.status.code(), ended.status.signal()) {
        (Some(code @ 0..=3), _) => code,
        (Some(code), _) => {
            let evidence = format!("exit code {code}; {said}");
            return Err(Failure::new(Reason::PluginFailed, evidence));
        }
        (None, signal) => {
            let evidence = format!("ended by signal {}; {said}", signal.unwrap_or_default());
            return Err(Failure::new(Reason::PluginFailed, evidence));
        }
    };
    for (place, label) in step.series.iter().enumerate() {
        if let Some(PerfValue::Time(ns)) = answer.perf.get(label)
            && let Ok(ns) = u64::try_from(*ns)
        {
            let number =
                prepared.series_from.saturating_add(u32::try_from(place).unwrap_or(u32::MAX));
            trace.phases.push((number, Phase::Transfer, Duration::from_nanos(ns)));
        }
    }
    match exit_code {
        1 if prepared.judge => trace.warned = Some((trace.step, said)),
        2 if prepared.judge => return Err(Failure::new(Reason::PluginCritical, said)),
        3 if prepared.judge => return Err(Failure::new(Reason::PluginUnknown, said)),
        _ => {}
    }
    let exit_code = u8::try_from(exit_code).unwrap_or_default();
    let plugin = PluginAnswer { exit_code, output: answer.text, perf: answer.perf };
    Ok(Seen { plugin: Some(plugin), ..Seen::default() })
}

/// How a plugin ended.
struct Ended {
    status: ExitStatus,
    stdout: Pipe,
    stderr: Pipe,
    /// The last signal that it was sent while it still ran, as its time was over.
    signalled: Option<Signal>,
    flooded: bool,
}

impl Ended {
    /// What it said, for a person: the first line, or that of what it wrote beside it.
    fn said(&self, text: &str) -> String {
        let mut said = text.to_owned();
        if said.is_empty() {
            let beside = String::from_utf8_lossy(&self.stderr.kept);
            said = perfdata::shown(beside.lines().next().unwrap_or_default());
        }
        if said.is_empty() {
            said = "it said nothing".to_owned();
        }
        if self.stdout.is_cut {
            said = format!("{said} (its output was cut after {PLUGIN_OUTPUT_BYTES_MAX} bytes)");
        }
        said
    }
}

/// One of a plugin's outputs.
struct Pipe {
    from: Option<Box<dyn AsyncRead + Send + Unpin>>,
    kept: Vec<u8>,
    seen: usize,
    is_cut: bool,
}

impl Pipe {
    fn new(from: Option<impl AsyncRead + Send + Unpin + 'static>) -> Self {
        let from = from.map(|from| Box::new(from) as Box<dyn AsyncRead + Send + Unpin>);
        Self { from, kept: Vec::new(), seen: 0, is_cut: false }
    }

    /// Reads once; never ends when there is nothing left to read.
    async fn read(&mut self) {
        let mut piece = [0; 4_096];
        let Some(from) = &mut self.from else { return std::future::pending().await };
        match from.read(&mut piece).await {
            Ok(0) | Err(_) => self.from = None,
            Ok(length) => {
                self.seen += length;
                let room = PLUGIN_OUTPUT_BYTES_MAX - self.kept.len();
                self.kept.extend_from_slice(&piece[..length.min(room)]);
                self.is_cut |= length > room;
            }
        }
    }
}

/// The processes of a plugin. They go with this, whatever becomes of the run.
///
/// The first of them is not waited for before that: while it is a zombie nobody else gets its number, so
/// no signal can reach another group.
struct Group(Pid);

impl Group {
    fn signal(&self, signal: Signal) {
        // Gone already: nothing is left to be told.
        let _ = rustix::process::kill_process_group(self.0, signal);
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

async fn start(
    step: &PluginStep,
    prepared: &Prepared,
    ask_at: Instant,
    kill_at: Instant,
) -> Result<Ended, Failure> {
    let mut child = Command::new(&prepared.file)
        .args(&step.args)
        .env_clear()
        .env("PATH", PATH)
        .env("LANG", LANGUAGE)
        .env("LC_ALL", LANGUAGE)
        .envs(prepared.env.iter().map(|(name, value)| (name, value)))
        .current_dir(Path::new("/"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| not_started(&step.command, &error))?;
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    let gone = || io::Error::from(Errno::SRCH);
    let pid = pid.ok_or_else(|| not_started(&step.command, &gone()))?;
    // Behind the child, and so dropped before it.
    let group = Group(pid);
    let mut end = prepared.turn.off_thread(move || wait_for_end(pid));
    let mut stdout = Pipe::new(child.stdout.take());
    let mut stderr = Pipe::new(child.stderr.take());
    let (mut signalled, mut flooded, mut has_ended) = (None, false, false);
    let mut wake_at = ask_at;
    while !has_ended || stdout.from.is_some() || stderr.from.is_some() {
        tokio::select! {
            () = stdout.read() => {}
            () = stderr.read() => {}
            _ = &mut end, if !has_ended => {
                has_ended = true;
                // What it left behind: its output would never end.
                group.signal(Signal::KILL);
                wake_at = clock::instant() + PLUGIN_DRAIN_MAX;
            }
            () = tokio::time::sleep_until(wake_at.into()) => {
                if has_ended {
                    break;
                }
                let signal = if signalled.is_none() { Signal::TERM } else { Signal::KILL };
                group.signal(signal);
                // After the second nothing is left to do; the run's own end comes then.
                wake_at = match signalled.replace(signal) {
                    None => kill_at,
                    Some(_) => kill_at + PLUGIN_LEEWAY_MAX,
                };
            }
        }
        if !flooded && stdout.seen.saturating_add(stderr.seen) > PLUGIN_FLOOD_BYTES_MAX {
            flooded = true;
            group.signal(Signal::KILL);
        }
    }
    drop(group);
    let status = child.wait().await.map_err(|error| not_started(&step.command, &error))?;
    Ok(Ended { status, stdout, stderr, signalled, flooded })
}

/// Returns when this child has ended, and leaves it to be waited for. It blocks a thread: one for each
/// plugin, which costs less than the plugin does. One that hangs in the kernel does not end when it is
/// killed; then the thread waits for as long.
fn wait_for_end(pid: Pid) {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    // Anything but a signal in between means that there is nothing to wait for any more.
    while let Err(Errno::INTR) = rustix::process::waitid(WaitId::Pid(pid), options) {}
}

/// A program that does not start is this probe's trouble, never its target's.
fn not_started(command: &str, error: &io::Error) -> Failure {
    let reason = match Errno::from_io_error(error) {
        Some(Errno::AGAIN | Errno::NOMEM | Errno::MFILE | Errno::NFILE) => Reason::ProbeResources,
        _ => Reason::ConfigError,
    };
    let why = match Errno::from_io_error(error) {
        // The file is there: its interpreter is not.
        Some(Errno::NOENT) => "the program that its first line names is not there".to_owned(),
        _ => super::errno::plain(error),
    };
    Failure::new(reason, format!("`{command}` does not start: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_plugin_that_has_not_ended_keeps_its_place_when_its_run_is_over() {
        let plugins = Plugins::default();
        let permit = Arc::clone(&plugins.permits).try_acquire_owned().unwrap();
        let turn = Turn { _place: Arc::new(permit) };
        // As one that hangs in the kernel: nothing that the run does on its way out ends it.
        let mut child = Command::new("sleep").arg("74001").kill_on_drop(true).spawn().unwrap();
        let pid = Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()).unwrap();
        let wait = turn.off_thread(move || wait_for_end(pid));
        drop(turn);
        assert!(tokio::time::timeout(Duration::from_millis(100), wait).await.is_err());
        assert_eq!(plugins.permits.available_permits(), PLUGINS_AT_ONCE_MAX - 1);
        child.start_kill().unwrap();
        let all = u32::try_from(PLUGINS_AT_ONCE_MAX).unwrap();
        let all = tokio::time::timeout(Duration::from_secs(20), plugins.permits.acquire_many(all));
        assert!(all.await.unwrap().is_ok());
        child.wait().await.unwrap();
    }
}
