//! What every mesh of real processes stands on: a directory, a PKI, a target, a sink, the command line.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::Binaries;
use super::process::{self, Process};
use super::sink::Sink;
use super::target::Target;

/// The mesh's name in certificates.
pub const MESH: &str = "test-mesh";

/// Two meshes at a time in a test process: stories wait more than they work, but on two cores more of
/// them would measure each other.
static TWO_AT_A_TIME: Semaphore = Semaphore::const_new(2);

/// Longest that one command may take.
const COMMAND_MAX: Duration = Duration::from_secs(60);

/// A place for a mesh. Everything in it ends with it.
#[derive(Debug)]
pub struct Site {
    /// Answers the checks.
    pub target: Target,
    /// Receives the pages.
    pub sink: Sink,
    pub(super) binaries: Binaries,
    pub(super) env: Vec<(String, String)>,
    /// Variables, besides the hook's, that checks and contacts may refer to.
    pub(super) allowed: Vec<String>,
    told: bool,
    dir: TempDir,
    _turn: SemaphorePermit<'static>,
}

impl Site {
    /// Makes a PKI with the admin anna. The hook's URL is in `env` as `PX_HOOK`.
    ///
    /// # Errors
    /// When a command fails or no port can be bound.
    pub async fn prepare(binaries: Binaries) -> Result<Self> {
        Self::prepare_at(binaries, Ipv4Addr::LOCALHOST).await
    }

    /// The same with a sink that listens at `here`.
    ///
    /// # Errors
    /// When a command fails or no port can be bound.
    pub async fn prepare_at(binaries: Binaries, here: Ipv4Addr) -> Result<Self> {
        let turn = TWO_AT_A_TIME.acquire().await?;
        let sink = Sink::start_at(here)?;
        let site = Self {
            target: Target::start()?,
            env: vec![("PX_HOOK".to_owned(), sink.url())],
            allowed: Vec::new(),
            sink,
            binaries,
            told: false,
            dir: tempfile::Builder::new().prefix("parallax-mesh-").tempdir()?,
            _turn: turn,
        };
        site.pki(&["init", "--mesh", MESH, "--dir", &site.path("pki")]).await?;
        site.issue(&["user", "anna", "--role", "admin"], "anna").await?;
        Ok(site)
    }

    /// Puts a variable into the environment of every process that is started from now on.
    pub fn set_env(&mut self, name: &str, value: &str) {
        self.env.push((name.to_owned(), value.to_owned()));
    }

    /// The same, and lets checks and contacts refer to it.
    pub fn allow_env(&mut self, name: &str, value: &str) {
        self.set_env(name, value);
        self.allowed.push(name.to_owned());
    }

    /// The mesh's own directory.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A path in the mesh's own directory.
    pub fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    /// The directory with the certificate that was issued under this name.
    pub fn tls(&self, name: &str) -> PathBuf {
        self.dir.path().join(format!("tls-{name}"))
    }

    /// Issues a certificate into [`Site::tls`] of `name`.
    ///
    /// # Errors
    /// When the command fails.
    pub async fn issue(&self, what: &[&str], name: &str) -> Result<()> {
        let (pki, out) = (self.path("pki"), self.tls(name).display().to_string());
        let mut args = vec!["issue"];
        args.extend(what);
        args.extend(["--dir", &pki, "--out", &out]);
        self.pki(&args).await
    }

    /// Issues a probe's certificate.
    ///
    /// # Errors
    /// When the command fails.
    pub async fn issue_probe(&self, name: &str, region: &str) -> Result<()> {
        self.issue(&["probe", name, "--region", region], name).await
    }

    /// Runs `px pki`, which asks no coordinator.
    ///
    /// # Errors
    /// When the command fails.
    pub async fn pki(&self, args: &[&str]) -> Result<()> {
        let mut all = vec!["pki"];
        all.extend(args);
        let output = self.run(&all).await?;
        if !output.status.success() {
            bail!("px {}: {}", all.join(" "), String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    }

    /// Runs the command line with these arguments and nothing of a developer's own settings.
    ///
    /// # Errors
    /// When it cannot be run or does not end.
    pub async fn run(&self, args: &[&str]) -> Result<Output> {
        let program = self.binaries.px;
        let mut command = tokio::process::Command::new(program);
        command.args(args).stdin(std::process::Stdio::null()).kill_on_drop(true);
        for name in process::foreign_settings() {
            command.env_remove(name);
        }
        tokio::time::timeout(COMMAND_MAX, command.output())
            .await
            .with_context(|| format!("px {} did not end within {COMMAND_MAX:?}", args.join(" ")))?
            .with_context(|| format!("cannot run {program}"))
    }

    /// To be called when a test's story has been told: without it the end prints every log.
    pub fn told(&mut self) {
        self.told = true;
    }

    /// Prints what is known of a story that failed.
    pub(super) fn tell_failure<'a>(&self, processes: impl Iterator<Item = &'a Process>) {
        if self.told {
            return;
        }
        for process in processes {
            eprintln!("--- log of {}:\n{}", process.name(), process.log_tail());
        }
        for page in self.sink.pages() {
            eprintln!("--- page: {page:?}");
        }
    }
}

/// What a command printed; it must have succeeded.
///
/// # Errors
/// When it did not; the message holds what it said.
pub(super) fn text_of(args: &[&str], output: Output) -> Result<String> {
    if !output.status.success() {
        bail!(
            "px {} ended with {}: {}{}",
            args.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stderr),
            String::from_utf8_lossy(&output.stdout),
        );
    }
    Ok(String::from_utf8(output.stdout)?)
}
