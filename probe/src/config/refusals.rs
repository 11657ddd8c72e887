//! What a start would refuse of settings that could be read: all of it at once, and without starting.
//! Nothing is written, and nobody is spoken with.

use parallax_common::limits::ANCHORS_MAX;
use parallax_runtime::error::causes;
use parallax_runtime::settings::{may_listen, may_write};
use parallax_runtime::transport::{Credentials, Identity};
use tracing_subscriber::EnvFilter;

use super::{Args, Config};
use crate::{RunError, state};

/// What a start with `args` would be refused for.
pub(crate) fn refusals(args: &Args) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut mesh = None;
    match Credentials::load(&args.tls_dir) {
        Ok(credentials) => match credentials.identity() {
            Identity::Probe { mesh: own, .. } => mesh = Some(own.clone()),
            other => wrong.push(causes(&RunError::NotAProbe(other.describe()))),
        },
        Err(source) => {
            let dir = args.tls_dir.clone();
            wrong.push(causes(&RunError::Credentials { dir, source }));
        }
    }
    wrong.extend(args.guard().err().map(|it| causes(&it)));
    if args.anchors.len() > ANCHORS_MAX {
        wrong.push(causes(&RunError::Anchors(args.anchors.len())));
    }
    if let Some(dir) = &args.data_dir {
        match state::load(dir) {
            Ok(state::State { mesh: remembered, .. }) if !remembered.is_empty() => {
                if let Some(own) = mesh.filter(|own| *own != remembered) {
                    wrong.push(causes(&RunError::OtherMesh { remembered, own }));
                }
            }
            Ok(_) => {}
            Err(error) => wrong.push(causes(&error)),
        }
    }
    let spool_dir = Config::from(args.clone()).spool_dir();
    for (flag, dir) in [("--data-dir", &args.data_dir), ("--spool-dir", &spool_dir)] {
        if let Some(Err(error)) = dir.as_deref().map(may_write) {
            wrong.push(format!("{flag}: {error}"));
        }
    }
    if let Some(address) = args.health
        && let Err(source) = may_listen(address)
    {
        wrong.push(causes(&RunError::Health { address, source }));
    }
    wrong.extend(EnvFilter::try_new(&args.log).err().map(|error| format!("--log: {error}")));
    wrong
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[test]
    fn everything_that_a_start_would_refuse_is_said_at_once() {
        let mut flags: Vec<String> = [
            "--tls-dir=/nowhere/tls",
            "--coordinator=a:1",
            "--spool-dir=/proc/version",
            "--health=192.0.2.1:7104",
            "--log=info,[",
        ]
        .map(str::to_owned)
        .into();
        flags.extend((0..=ANCHORS_MAX).map(|it| format!("--anchor=a{it}:1")));
        flags.extend(
            (0..2_000).map(|it| format!("--deny-network=10.{}.{}.0/24", it / 250, it % 250)),
        );
        let data = tempfile::tempdir().unwrap();
        std::fs::write(data.path().join("probe.json"), "{").unwrap();
        flags.push(format!("--data-dir={}", data.path().display()));
        let args = Args::try_parse_from(["p".to_owned()].into_iter().chain(flags)).unwrap();
        let wrong = refusals(&args);
        let expected = [
            "cannot use the TLS files in /nowhere/tls: ",
            "network",
            "--anchor is given 9 times",
            "probe.json",
            "--spool-dir: ",
            "cannot listen on 192.0.2.1:7104",
            "--log: ",
        ];
        assert_eq!(wrong.len(), expected.len(), "{wrong:#?}");
        for (line, expected) in wrong.iter().zip(expected) {
            assert!(line.contains(expected), "{line}: {expected}");
        }
    }
}
