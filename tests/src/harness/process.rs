//! One child process: its log in a file, killed with -9 on demand, and never left behind.

use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use anyhow::{Context, Result, bail, ensure};

/// Lines of a log that a failure shows.
const TAIL_LINES: usize = 60;

/// A process under test.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    /// Kills the child when this test process dies without running destructors: it waits for the
    /// end of its standard input, which only we hold open.
    watchdog: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `program`; its output is appended to `log`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start<I, S>(
        name: &str,
        program: &str,
        args: I,
        env: &[(String, String)],
        log: &Path,
    ) -> Result<Self>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        let out = File::options().create(true).append(true).open(log)?;
        let mut command = Command::new(program);
        for name in foreign_settings() {
            command.env_remove(name);
        }
        let mut child = command
            .args(args)
            .envs(env.iter().map(|(key, value)| (key, value)))
            .env("RUST_BACKTRACE", "1")
            // What is read here is read by people, too, when a test fails.
            .env("PARALLAX_LOG_FORMAT", "text")
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .spawn()
            .with_context(|| format!("cannot start {name} ({program})"))?;
        let watchdog = Command::new("sh")
            .args(["-c", "read -r _; kill -9 \"$0\"", &child.id().to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        match watchdog {
            Ok(watchdog) => {
                Ok(Self { name: name.to_owned(), child, watchdog, log: log.to_owned() })
            }
            Err(error) => {
                // Not left behind: without its watchdog it does not run.
                child.kill().and_then(|()| child.wait().map(drop)).ok();
                Err(error).context("cannot start the watchdog")
            }
        }
    }

    /// Its pid.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Most address space that it has ever had, in bytes, whether it touched it or not.
    ///
    /// # Errors
    /// When it has ended, or the system does not say.
    pub fn address_space_peak(&self) -> Result<u64> {
        self.status("VmPeak:")
    }

    /// Most memory that it has ever held, in bytes.
    ///
    /// # Errors
    /// When it has ended, or the system does not say.
    pub fn memory_peak(&self) -> Result<u64> {
        self.status("VmHWM:")
    }

    /// Memory that it holds now, in bytes.
    ///
    /// # Errors
    /// When it has ended, or the system does not say.
    pub fn memory(&self) -> Result<u64> {
        self.status("VmRSS:")
    }

    fn status(&self, name: &str) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
        let kib = kib.with_context(|| format!("no {name}"))?;
        Ok(kib.trim().parse::<u64>()? * 1_024)
    }

    /// Fails with its log when it has ended on its own.
    ///
    /// # Errors
    /// When it is not running.
    pub fn check_running(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("{} ended ({status}):\n{}", self.name, self.log_tail()),
        }
    }

    /// How it ended, if it has ended on its own.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Asks it to stop: SIGTERM.
    ///
    /// # Errors
    /// When the signal cannot be sent.
    pub fn terminate(&self) -> Result<()> {
        self.signal("TERM")
    }

    /// Sends it a signal, by its name.
    ///
    /// # Errors
    /// When it cannot be sent.
    pub fn signal(&self, signal: &str) -> Result<()> {
        let pid = self.id().to_string();
        // The shell's own: a small system has no program of this name.
        let mut kill = Command::new("sh");
        kill.args(["-c", "kill -s \"$0\" \"$1\"", signal, &pid]);
        let status = kill.stdin(Stdio::null()).status()?;
        ensure!(status.success(), "kill -s {signal} {pid}: {status}");
        Ok(())
    }

    /// Kill -9, and waits until it is gone.
    pub fn kill(&mut self) {
        // The watchdog goes first: after `wait` the pid may belong to somebody else.
        for process in [&mut self.watchdog, &mut self.child] {
            // An error means that it has ended already.
            process.kill().ok();
            process.wait().ok();
        }
    }

    /// Everything it has said so far.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn log(&self) -> Result<String> {
        Ok(String::from_utf8_lossy(&std::fs::read(&self.log)?).into_owned())
    }

    /// The last lines it said.
    pub fn log_tail(&self) -> String {
        let log = self.log().unwrap_or_else(|error| format!("(no log: {error})"));
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
    }

    /// The name it was started under.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// Variables of a developer's own mesh, which must not leak into a test's.
pub fn foreign_settings() -> impl Iterator<Item = std::ffi::OsString> {
    std::env::vars_os().map(|(name, _)| name).filter(|name| {
        name.to_str().is_some_and(|name| name.starts_with("PARALLAX_") || name == "RUST_LOG")
    })
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::wait::{Look, SOON, wait_until};

    /// A process that is alive, and not a zombie that waits to be reaped.
    fn is_running(pid: u32) -> bool {
        std::fs::read_to_string(format!("/proc/{pid}/stat"))
            .is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or_default().starts_with(" Z"))
    }

    #[test]
    fn a_dropped_process_is_gone_and_its_log_stays() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let log = dir.path().join("log");
        let process = Process::start("sleeper", "sleep", ["100"], &[], &log)?;
        let pid = process.id();
        assert!(is_running(pid));
        drop(process);
        assert!(!is_running(pid));
        assert!(log.exists());
        Ok(())
    }

    #[tokio::test]
    async fn a_process_dies_when_nobody_holds_its_watchdog_any_more() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let mut process =
            Process::start("sleeper", "sleep", ["100"], &[], &dir.path().join("log"))?;
        // What the kernel does to our descriptors when we are killed.
        drop(process.watchdog.stdin.take());
        wait_until(SOON, "the child's end", || {
            let ended = process.child.try_wait();
            async move { Ok(Look::some(ended?, "still running")) }
        })
        .await?;
        Ok(())
    }

    #[test]
    fn a_process_that_ended_is_reported_with_what_it_said() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let args = ["-c", "echo out of cheese; exit 3"];
        let mut process = Process::start("computer", "sh", args, &[], &dir.path().join("log"))?;
        process.child.wait()?;
        let message = process.check_running().err().map(|error| error.to_string());
        assert!(message.is_some_and(|message| message.contains("out of cheese")));
        Ok(())
    }
}
