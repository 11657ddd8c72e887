//! What the bench binaries of `tests/src/bin/` share.
//!
//! Each of them prints one JSON object on stdout, talks on stderr, and ends with 1 when a figure
//! misses a bound that was asked for. [`figures`] sums up and judges, [`buckets`] reads histograms, [`cpu`]
//! reads what a process has used, [`windows`], [`lanes`] and [`fleet`] make the load, [`relay`] makes a long line,
//! [`etcd`] is a peer, [`grpc`] a client of few steps, [`syncs`] counts what reaches the disk, [`stalls`]
//! tells when the machine stood still. [`prober`] is one probe at a [`place`] of its own, [`targets`] is
//! what it looks at ([`nginx`], [`nameserver`], [`silent`]), [`blackbox`] its peer, [`bare`] a client that
//! does nothing else. [`opensmtpd`], [`dovecot`] and [`alertmanager`] are what others run behind a contact.

pub mod alertmanager;
pub mod bare;
pub mod blackbox;
pub mod buckets;
pub mod cpu;
pub mod dovecot;
pub mod etcd;
pub mod figures;
pub mod fleet;
pub mod grpc;
pub mod lanes;
pub mod nameserver;
pub mod nginx;
pub mod opensmtpd;
pub mod place;
pub mod prober;
pub mod prometheus;
pub mod relay;
pub mod silent;
pub mod stalls;
pub mod syncs;
pub mod targets;
pub mod windows;

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::harness::Binaries;

/// A name for the load of the machine in every report: figures of a busy one are worth little.
pub const LOAD: &str = "load_average_before";

/// Runs a bench: prints its report, and says by the exit code whether every bound holds.
///
/// The report's `missed` lists the bounds that do not, in words.
pub fn main(bench: impl Future<Output = Result<Value>>) -> ExitCode {
    main_on(tokio::runtime::Builder::new_multi_thread(), bench)
}

/// The same with one thread for all tasks: clients that take little of the machine they share with
/// what they measure.
pub fn main_on_one_thread(bench: impl Future<Output = Result<Value>>) -> ExitCode {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(1);
    main_on(runtime, bench)
}

fn main_on(
    mut runtime: tokio::runtime::Builder,
    bench: impl Future<Output = Result<Value>>,
) -> ExitCode {
    let runtime = match runtime.enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("cannot start the runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(bench) {
        Ok(report) => {
            println!("{report:#}");
            let missed = report["missed"].as_array().map_or(0, Vec::len);
            if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The load average of the last minute.
pub fn load_average() -> Value {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ')
        .next()
        .and_then(|first| first.parse::<f64>().ok())
        .map_or(Value::Null, Value::from)
}

/// The binaries that lie beside this one.
///
/// # Errors
/// When one is not there: `cargo build --release -p parallax-tests --bins` makes them all.
pub fn binaries() -> Result<Binaries> {
    let here = std::env::current_exe()?;
    let here = here.parent().context("this binary lies in no directory")?;
    let find = |name: &str| {
        let path = here.join(name);
        if !path.exists() {
            bail!("{} is not there: build with `-p parallax-tests --bins`", path.display());
        }
        // Three short paths, needed until the process ends.
        Ok(&*path.display().to_string().leak())
    };
    Ok(Binaries { px: find("px")?, coordinator: find("px-coordinator")?, probe: find("px-probe")? })
}
