//! How often processes sync, counted from outside by strace.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};

/// strace at work on some processes.
#[derive(Debug)]
pub struct Counting {
    tracers: Vec<Child>,
}

impl Counting {
    /// Begins to count the `fdatasync` and `fsync` calls of `pids` and of all their threads.
    ///
    /// # Errors
    /// When `strace` is not installed (Debian's package `strace`), or may not look.
    pub fn start(pids: &[u32]) -> Result<Self> {
        let mut tracers = Vec::new();
        for pid in pids {
            let mut tracer = Command::new("strace")
                .args(["-f", "-e", "trace=fdatasync,fsync", "-e", "signal=none", "-p"])
                .arg(pid.to_string())
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .context("strace comes with Debian's package strace")?;
            // It says "attached" once it looks; what comes before is not counted.
            let mut first = String::new();
            let stderr = tracer.stderr.as_mut().context("no stderr")?;
            let mut byte = [0];
            while !first.ends_with('\n') {
                std::io::Read::read_exact(stderr, &mut byte).context("strace ended")?;
                first.push(char::from(byte[0]));
            }
            ensure!(first.contains("attached"), "strace says: {first}");
            tracers.push(tracer);
        }
        Ok(Self { tracers })
    }

    /// Ends the count: calls of each process, in the order given.
    ///
    /// # Errors
    /// When a tracer is gone.
    pub fn end(self) -> Result<Vec<u64>> {
        let mut counts = Vec::new();
        for mut tracer in self.tracers {
            // SIGINT: it detaches and ends. The process under it goes on.
            let mut kill = Command::new("sh");
            kill.args(["-c", "kill -s INT \"$0\"", &tracer.id().to_string()]);
            let status = kill.status()?;
            ensure!(status.success(), "strace is gone");
            let stderr = tracer.stderr.take().context("no stderr")?;
            let begun = |line: &str| line.contains("sync(") && !line.contains("resumed>");
            let lines = BufReader::new(stderr).lines().map_while(Result::ok);
            counts.push(lines.filter(|line| begun(line)).count() as u64);
            tracer.wait()?;
        }
        Ok(counts)
    }
}
