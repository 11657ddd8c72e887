//! One real probe under load: at a place of its own, streaming to one coordinator process.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use parallax_runtime::clock;

use super::place::{Place, keep_on};
use super::{binaries, cpu};
use crate::harness::http;
use crate::harness::mesh::Mesh;
use crate::harness::process::Process;
use crate::harness::wait::{Look, STALE, wait_until};

/// The region that it looks from.
pub const REGION: &str = "bench";

/// A mesh with one probe, which ends with this.
#[derive(Debug)]
pub struct Prober {
    mesh: Mesh,
    process: Process,
    health: String,
}

/// What it had done at a moment.
#[derive(Debug, Clone, Copy)]
pub struct Reading {
    /// When.
    pub at: Instant,
    /// Processor time, user and system.
    pub cpu: Duration,
    /// Runs that passed.
    pub passed: u64,
    /// Runs that warned or failed.
    pub failed: u64,
    /// Slots and runs that were missed.
    pub missed: u64,
}

const DATA: &str = "data-probe";
/// Descriptors that a probe may have: its bound of runs in flight, and its own.
const DESCRIPTORS: u64 = 10_000;

impl Prober {
    /// Starts a coordinator on `core`, with the rest of the machine, and a probe at `place`. Names
    /// of the files that the checks name are relative to the mesh's directory: `files` are written
    /// there.
    ///
    /// # Errors
    /// When a process does not come up, or the configuration is refused.
    pub async fn start(
        place: &Place,
        core: usize,
        yaml: &str,
        files: &[(&str, &str)],
    ) -> Result<Self> {
        Self::start_as(&[], place, core, yaml, files).await
    }

    /// The same with a command of its own in place of the probe's program, none for that: it is given
    /// the same flags, and serves the same metrics.
    ///
    /// # Errors
    /// When a process does not come up, or the configuration is refused.
    pub async fn start_as(
        command: &[&str],
        place: &Place,
        core: usize,
        yaml: &str,
        files: &[(&str, &str)],
    ) -> Result<Self> {
        let mesh = Mesh::coordinator_alone(binaries()?, &[REGION], Duration::ZERO).await?;
        keep_on(core, mesh.coordinator_id()?)?;
        for (name, text) in files {
            std::fs::write(mesh.path(name), text)?;
        }
        mesh.apply(yaml).await?;
        mesh.issue_probe(REGION, REGION).await?;
        let health = format!("127.0.0.1:{}", super::nginx::free_port(Ipv4Addr::LOCALHOST)?);
        let (tls, data) = (mesh.tls(REGION).display().to_string(), mesh.path(DATA));
        let coordinator = mesh.ports()?.probes.clone();
        let flags = [
            ["--tls-dir", &tls],
            ["--coordinator", &coordinator],
            ["--data-dir", &data],
            ["--health", &health],
        ];
        let descriptors = format!("--nofile={DESCRIPTORS}");
        let mut program = vec!["prlimit", &*descriptors];
        let usual = [mesh.probe_program()];
        program.extend(if command.is_empty() { &usual } else { command });
        program.extend(flags.as_flattened());
        let args = place.arguments(program[0], &program[1..]);
        let log = mesh.dir().join("probe.log");
        let process = Process::start("probe", "unshare", args, &[], &log)?;
        let mut prober = Self { mesh, process, health };
        if let Err(error) = prober.has_begun().await {
            return Err(error.context(prober.process.log_tail()));
        }
        Ok(prober)
    }

    async fn has_begun(&mut self) -> Result<()> {
        wait_until(STALE, "a first run of the probe", || {
            let running = self.process.check_running();
            let health = self.health.clone();
            async move {
                running?;
                let text = match http::get(&health, "/metrics").await {
                    Ok(answer) => answer.body,
                    Err(error) => return Ok(Look::NotYet(format!("{error:#}"))),
                };
                let runs = value(&text, "parallax_probe_runs_total")?;
                Ok(Look::when(runs > 0, runs))
            }
        })
        .await
    }

    /// Its metrics, as text.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn metrics(&self) -> Result<String> {
        Ok(http::get(&self.health, "/metrics").await?.body)
    }

    /// What it has done so far.
    ///
    /// # Errors
    /// When it is gone.
    pub async fn reading(&self) -> Result<Reading> {
        let text = self.metrics().await?;
        let outcome =
            |word| value(&text, &format!("parallax_probe_outcomes_total{{outcome=\"{word}\"}}"));
        Ok(Reading {
            at: clock::instant(),
            cpu: cpu::used_by(self.process.id())?,
            passed: outcome("pass")?,
            failed: outcome("warn")? + outcome("fail")?,
            missed: outcome("missed")?,
        })
    }

    /// Where it keeps its files.
    pub fn data_dir(&self) -> PathBuf {
        PathBuf::from(self.mesh.path(DATA))
    }

    /// Memory that it holds now, in bytes.
    ///
    /// # Errors
    /// When it is gone.
    pub fn memory(&self) -> Result<u64> {
        self.process.memory()
    }

    /// Its pid.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// To be called when everything was measured: without it the end prints every log.
    pub fn told(self) {
        self.mesh.told();
    }
}

/// One sample of an exposition.
///
/// # Errors
/// When it is not there.
pub fn value(text: &str, name: &str) -> Result<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let line = line.with_context(|| format!("no {name} in the probe's metrics"))?;
    Ok(line.parse()?)
}

impl Reading {
    /// What happened since an earlier one.
    ///
    /// # Errors
    /// When nothing did.
    pub fn since(self, before: Self) -> Result<Self> {
        let passed = self.passed - before.passed;
        let (failed, missed) = (self.failed - before.failed, self.missed - before.missed);
        ensure!(passed > 0, "no run passed: {failed} failed, {missed} were missed");
        Ok(Self { at: self.at, cpu: self.cpu - before.cpu, passed, failed, missed })
    }

    /// Runs that failed, and slots that were not carried out beyond this share, make every other figure one of
    /// something else: what could not connect for want of ports is missed and not failed.
    ///
    /// # Errors
    /// Which of both.
    pub fn ensure_done(&self, missed_percent_max: f64) -> Result<()> {
        ensure!(self.failed == 0, "{} runs of the probe failed", self.failed);
        let percent = self.missed as f64 / (self.passed + self.missed) as f64 * 100.0;
        ensure!(
            percent <= missed_percent_max,
            "{} of {} slots were missed: {percent:.2} %, at most {missed_percent_max} are allowed",
            self.missed,
            self.passed + self.missed
        );
        Ok(())
    }
}
