//! Processor time that a process has used, from `/proc`.

use std::time::Duration;

use anyhow::{Context, Result};

/// What one tick of `/proc/PID/stat` is worth: USER_HZ is 100 on every platform we build for.
const TICK: Duration = Duration::from_millis(10);

/// Processor time of all threads of a process so far, in user and in kernel mode.
///
/// # Errors
/// When the process is gone.
pub fn used_by(pid: u32) -> Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    parse(&stat).with_context(|| format!("cannot read {stat:?}"))
}

/// The same of this process.
///
/// # Errors
/// When `/proc` is not there.
pub fn used_here() -> Result<Duration> {
    used_by(std::process::id())
}

/// Fields 14 (utime) and 15 (stime) of proc(5); the name in field 2 may hold blanks.
fn parse(stat: &str) -> Option<Duration> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let ticks = fields.get(11)?.parse::<u32>().ok()? + fields.get(12)?.parse::<u32>().ok()?;
    Some(TICK * ticks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_and_system_time_are_added_whatever_the_name() {
        let stat = "42 (a) b) S 1 42 42 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 1 0 100 1 1";
        assert_eq!(parse(stat), Some(Duration::from_secs(3)));
    }

    #[test]
    fn a_process_can_read_its_own() -> Result<()> {
        used_here().map(drop)
    }
}
