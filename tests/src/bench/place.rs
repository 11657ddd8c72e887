//! Where a measured process stands: on one core of its own, and with names of its own.
//!
//! A process sees its own `/etc/hosts` and `/etc/resolv.conf` in a mount namespace, so nothing of the
//! machine changes, and what is compared resolves the same names in the same way. Needs root.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

/// Puts the two files in place and becomes the program: its pid stays the one that was started.
const ENTER: &str = "mount --bind \"$1\" /etc/hosts && mount --bind \"$2\" /etc/resolv.conf && \
                     shift 2 && exec \"$@\"";

/// A core, and what names mean there.
#[derive(Debug, Clone)]
pub struct Place {
    core: String,
    hosts: String,
    resolv: String,
}

impl Place {
    /// Writes the two files into `dir`.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn make(dir: &Path, core: usize, hosts: &str, resolv: &str) -> Result<Self> {
        let file = |name: &str, text: &str| -> Result<String> {
            let path = dir.join(name);
            std::fs::write(&path, text)?;
            Ok(path.display().to_string())
        };
        let hosts = format!("127.0.0.1 localhost\n{hosts}");
        let (hosts, resolv) = (file("hosts", &hosts)?, file("resolv.conf", resolv)?);
        Ok(Self { core: core.to_string(), hosts, resolv })
    }

    /// The arguments of `unshare` that start `program` here.
    pub fn arguments<'a>(&'a self, program: &'a str, args: &[&'a str]) -> Vec<&'a str> {
        let mut all = vec!["--mount", "sh", "-c", ENTER, "sh", &self.hosts, &self.resolv];
        all.extend(["taskset", "--cpu-list", &self.core, program]);
        all.extend(args);
        all
    }
}

/// Keeps a process, with all its threads, on one core.
///
/// # Errors
/// When there is no such core or process, or no `taskset`.
pub fn keep_on(core: usize, pid: u32) -> Result<()> {
    let output = Command::new("taskset")
        .args(["--all-tasks", "--cpu-list", "--pid", &core.to_string(), &pid.to_string()])
        .stdin(Stdio::null())
        .output()
        .context("taskset comes with Debian's util-linux")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "taskset: {said}");
    Ok(())
}
